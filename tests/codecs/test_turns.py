"""R13: what costs much to take apart is taken in small pieces, whatever a hostile peer sends; the rest in bulk."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_codecs.cadus import CaduFormat
from gateway_codecs.frames import FrameFormat, VcFormat
from gateway_codecs.intake import LinkFormat
from gateway_codecs.reed_solomon import ReedSolomon
from gateway_codecs.sync_markers import CODED_OR_NOT, SyncMarker
from gateway_codecs.synchroniser import SyncSettings
from gateway_codecs.turns import LONGEST_OCTETS, MOST_CADUS, MOST_HEADERS, MOST_MARKERS, Turns, turns

MARKER = bytes.fromhex(CODED_OR_NOT)
INVERTED = bytes(255 - octet for octet in MARKER)
HEADER = bytes.fromhex("c002a002fffff0")
READ = LONGEST_OCTETS


def of_cadus(frame_octets: int = 1115, unpacked_bits: bool = False, **sync: object) -> Turns:
    """Of a link of CADUs with Reed-Solomon, I = 5, or of tiny ones without."""
    coded = frame_octets == 1115
    keys = SyncSettings(1275 if coded else frame_octets, SyncMarker(), **sync)  # type: ignore[arg-type]
    cadus = CaduFormat(keys, "none", ReedSolomon(16, 5, "dual", 0) if coded else None, unpacked_bits)
    frames = FrameFormat("aos", frame_octets, {42: 1}, {1: VcFormat()}, fecf=not coded)
    return turns(LinkFormat(1, frames, 1, cadus=cadus))


def of_uslp(**more: object) -> Turns:
    """Of a link of USLP frames."""
    keys = {"version": "uslp", "frame_length_octets": 65536, "scids": {42: 1}, "vcs": {1: VcFormat()}, **more}
    return turns(LinkFormat(1, FrameFormat(**keys), 1))  # type: ignore[arg-type]


NOISE = np.random.default_rng(4).integers(0, 256, READ, np.uint8).tobytes()
CADUS = b"".join(MARKER + NOISE[k : k + 1275] for k in range(0, READ - 1275, 1279))
USLP_FRAMES = b"".join(HEADER + NOISE[k : k + 993] for k in range(0, 60_000, 1000))


@given(st.lists(st.sampled_from([MARKER, INVERTED, HEADER, b"\0" * 50, NOISE[:300]]), max_size=300), st.integers(1, 9))
def test_pieces_are_the_octets(parts: list[bytes], most: int) -> None:
    """R6: together the pieces are what came, in order; none is empty, none too long, none holds too much."""
    octets = b"".join(parts)
    cut = Turns(1000, (MARKER, INVERTED), most)
    pieces = list(cut.cut(octets))
    assert b"".join(pieces) == octets
    for piece in pieces:
        assert 0 < len(piece) <= cut.most_octets
        assert piece.count(MARKER) + piece.count(INVERTED) <= most


@pytest.mark.parametrize(
    ("cut", "octets"),
    [(of_cadus(), CADUS), (of_cadus(alignment="octet"), NOISE), (of_uslp(variable_length=True), USLP_FRAMES),
     (of_uslp(), HEADER * 30_000), (turns(LinkFormat(1)), NOISE)],
    ids=["cadus", "noise", "uslp of varying length", "uslp of one length", "packets"],
)  # fmt: skip
def test_what_costs_little_comes_in_bulk(cut: Turns, octets: bytes) -> None:
    """An ordinary stream comes in pieces of 64 KiB at least."""
    assert all(len(piece) >= 1 << 16 for piece in list(cut.cut(octets))[:-1])


@pytest.mark.parametrize(
    ("cut", "octets", "most_octets"),
    [(of_cadus(), MARKER * (READ // 4), 4 * MOST_MARKERS), (of_cadus(), INVERTED * (READ // 4), 4 * MOST_MARKERS),
     (of_cadus(alignment="bit"), NOISE, READ // 4), (of_cadus(20), NOISE, 24 * MOST_CADUS),
     (of_cadus(20, unpacked_bits=True), NOISE, 24 * 8 * MOST_CADUS),
     (of_uslp(variable_length=True), HEADER * (READ // 7), 7 * MOST_HEADERS),
     (of_uslp(variable_length=True), NOISE, READ // 4)],
    ids=["markers", "inverted markers", "bits", "tiny cadus", "unpacked bits", "uslp headers", "uslp"],
)  # fmt: skip
def test_what_may_cost_much_comes_in_pieces(cut: Turns, octets: bytes, most_octets: int) -> None:
    """R13: a flood of markers or headers, and what cannot be counted, is cut."""
    assert max(map(len, cut.cut(octets))) <= most_octets
