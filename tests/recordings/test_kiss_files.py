"""KISS files of amateur satellites against what independent tools found in them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

import pytest

from gateway.wiring import intake_maker
from gateway_codecs import ax25
from gateway_codecs.batches import ABSENT, Quality, Unit
from gateway_codecs.kiss import Splitter, decode, looks_like_kiss
from gateway_config import LinkConfig, example_mission
from tests.conftest import SHARED

KISS = SHARED / "data/kiss"


def files() -> list[dict[str, Any]]:
    return json.loads((KISS / "expected_kiss.json").read_text())["files"] if KISS.exists() else []


def link() -> LinkConfig:
    return LinkConfig(
        name="x", mission="generic-kiss", spacecraft="generic-kiss", type="file", path="-", container="kiss"
    )


@pytest.mark.skipif(not KISS.exists(), reason="the shared recordings are not beside the checkout")
@pytest.mark.parametrize("row", files(), ids=lambda row: row["file"])
def test_kiss_file(row: dict[str, Any]) -> None:
    """R6: frames, commands, lengths, octets and AX.25 headers are those that others found; nothing is left over."""
    data = (KISS / row["file"]).read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (row["size"], row["sha256"])
    assert looks_like_kiss(data)
    frames = [decode(piece.octets) for piece in Splitter().feed(data)]
    assert len(frames) == row["kiss_frames"]
    assert Counter(f"{frame.port << 4 | frame.command:02x}" for frame in frames) == row["commands"]
    intake = intake_maker(link(), example_mission("generic-kiss").spacecraft[0], 1, 1)()
    batch, end = intake.feed(data, 1), intake.finish(1)
    rows, octets = batch.items.items, [batch.items.octets_of(k) for k in range(len(batch.items))]
    assert not len(end.items)
    assert set(rows["unit"]) == {Unit.FRAME}
    assert set(rows["quality"]) == {Quality.GOOD}
    lengths, digests = row["data_lengths"], row["data_sha256"]
    found = [len(one) for one in octets]
    assert (Counter(map(str, found)) if isinstance(lengths, dict) else found) == lengths
    assert [hashlib.sha256(one).hexdigest() for one in octets][: len(digests)] == digests
    assert ((rows["earth_receive_time_ns"] != ABSENT) == ("09" in row["commands"])).all()
    for one, wanted in zip(octets, row.get("ax25") or [], strict=False):
        frame = ax25.decode(one)
        named = {"dest": str(frame.destination), "src": str(frame.source), "control": f"{frame.control:02x}"}
        told = {**named, "pid": f"{frame.pid:02x}", "info_len": len(frame.info), "info_head": frame.info[:16].hex()}
        assert told == wanted
        assert ax25.encode(frame) == one
    if row.get("kind") == "ax25":
        assert all(ax25.decode(one) for one in octets)
