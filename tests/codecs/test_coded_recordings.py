"""Derandomising and Reed-Solomon on whole CADUs, made and recorded by others, whose place is known."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway_codecs.crc import crc16
from gateway_codecs.randomiser import RandomiserKind, derandomise
from gateway_codecs.reed_solomon import ReedSolomon

SHARED = Path(__file__).parents[3] / "shared"
needs_vectors = pytest.mark.skipif(not SHARED.exists(), reason="the shared vectors are not beside the checkout")
needs_data = pytest.mark.skipif(not (SHARED / "data").exists(), reason="the recordings are not beside the checkout")
MARKER_OCTETS = 4


def cadus() -> dict[str, np.ndarray]:
    known = json.loads((SHARED / "spec/vectors/cadu.json").read_text())["vectors"]
    return {v["id"]: np.frombuffer(bytes.fromhex(v["hex"]), np.uint8)[None] for v in known}


@needs_vectors
@pytest.mark.parametrize(
    ("name", "kind"),
    [("cadu_no_randomizer", "none"), ("cadu_short_randomizer", "short"), ("cadu_long_randomizer", "long"),
     ("cadu_short_inverted", "short")],
)  # fmt: skip
def test_cadu_vectors(name: str, kind: RandomiserKind) -> None:
    """The vectors' CADUs give their frame back, whatever the randomiser and the polarity."""
    known = cadus()
    cadu = ~known[name] if "inverted" in name else known[name]
    assert cadu[0, :MARKER_OCTETS].tobytes().hex() == "1acffc1d"
    block = derandomise(cadu[:, MARKER_OCTETS:], kind)
    assert (block == known["codeblock"]).all()
    decoded = ReedSolomon().decode(block)
    assert (decoded.frames == known["frame"]).all()
    assert decoded.corrected.tolist() == [[0]]
    assert crc16(decoded.frames[0].tobytes()) == 0


@needs_vectors
def test_cadu_with_sixteen_wrong_symbols() -> None:
    """The vector with sixteen wrong octets gives its frame; they are counted; coded again it is what was sent."""
    known = cadus()
    decoded = ReedSolomon().decode(known["codeblock_16_symbol_errors"])
    assert (decoded.frames == known["frame"]).all()
    assert decoded.corrected.tolist() == [[16]]
    assert (ReedSolomon().encode(decoded.frames) == known["codeblock"]).all()


@needs_data
def test_suomi_npp() -> None:
    """The recorded CADUs of Suomi NPP: all 260 code words clean, the frames those that others found."""
    expected = json.loads((SHARED / "data/cadu/expected_cadu.json").read_text())["files"][0]
    data = np.fromfile(SHARED / "data/cadu" / expected["file"], np.uint8).reshape(-1, expected["cadu_length"])
    decoded = ReedSolomon(16, 4, "dual").decode(derandomise(data[:, MARKER_OCTETS:], "short"))
    assert decoded.corrected.shape == (expected["cadus"], 4)
    assert not decoded.corrected.any()
    digest = hashlib.sha256(decoded.frames.tobytes()).hexdigest()
    assert digest == expected["frames_sha256_after_derandomising_892_each"]


@needs_data
@pytest.mark.parametrize("name", ["dumpFile_aos_1.hex", "dumpFile_tm_1.hex"])
def test_dumps_with_parity(name: str) -> None:
    """Dumps of another project: as many code words with as many errors as two other decoders found."""
    known: list[dict[str, Any]] = json.loads((SHARED / "data/vectors/expected_dumps.json").read_text())["files"]
    expected = next(entry for entry in known if entry["file"].endswith(name))
    lines = (SHARED / "data/vectors/dumps" / name).read_text().split()
    data = np.frombuffer(bytes.fromhex("".join(lines)), np.uint8).reshape(len(lines), -1)
    code = ReedSolomon(16, expected["rs_interleave"], "dual")
    assert code.frame_octets == expected["frame_length"]
    decoded = code.decode(data[:, MARKER_OCTETS:])
    counts = Counter(decoded.corrected.ravel().tolist())
    assert counts == {int(errors): words for errors, words in expected["rs_symbol_errors_reedsolo"].items()}
