"""Frame dumps that another implementation made, against what independent tools found in them."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from gateway_codecs.batches import Unit
from gateway_codecs.frames import FrameFormat, VcFormat
from gateway_codecs.intake import FrameIntake, LinkFormat
from tests.conftest import SHARED

VECTORS = SHARED / "data/vectors"
ASM_OCTETS = 4


def dumps() -> list[dict[str, Any]]:
    if not VECTORS.exists():
        return []
    rows = json.loads((VECTORS / "expected_dumps.json").read_text())["files"]
    return [row for row in rows if "frame_length" in row]  # the others hold telecommands


def dump_format(row: dict[str, Any], line_octets: int) -> FrameFormat:
    """The layout that the description says to use: an OCF in every frame, no FECF; RS parity behind some."""
    aos = "aos" in row["file"]
    prefix = ASM_OCTETS if row["asm_attached"] else 0
    vcs = {int(vcid): VcFormat() for vcid in row["vc"] if not (aos and vcid == "63")}
    return FrameFormat(
        "aos" if aos else "tm", row["frame_length"], {int(scid): 1 for scid in row["scid_counts"]}, vcs, fecf=False,
        ocf="present" if aos else "by_flag", prefix_octets=prefix,
        suffix_octets=line_octets - prefix - row["frame_length"],
    )  # fmt: skip


@pytest.mark.skipif(not VECTORS.exists(), reason="the shared dumps are not beside the checkout")
@pytest.mark.parametrize("row", dumps(), ids=lambda row: row["file"].split("/")[-1])
def test_frame_dumps(row: dict[str, Any]) -> None:
    """R6: frames, counts, jumps and packets per VC are those that were found with the layout to use."""
    lines = [bytes.fromhex(line.strip()) for line in (VECTORS / row["file"]).read_text().splitlines() if line.strip()]
    assert len(lines) == row["lines"]
    intake = FrameIntake(LinkFormat(1, dump_format(row, len(lines[0])), 1))
    items = intake.feed(b"".join(lines), 1).items.items
    statistics = intake.statistics()
    scid = next(iter(row["scid_counts"]))
    for vcid, wanted in row["vc"].items():
        channel = statistics["vcs"][f"{scid}/{vcid}"]
        found = [channel[key] for key in ("frames", "first_count", "last_count", "count_jumps")]
        assert found == [wanted["frames"], wanted["first"], wanted["last"], wanted["jumps"]]
        lengths = items["length"][(items["vcid"] == int(vcid)) & (items["unit"] == Unit.PACKET)].tolist()
        packets = wanted["layouts_tried"]["4-byte OCF"]
        assert len(lengths) + (statistics["idle_octets"] if packets["encapsulation"] else 0) == packets["packets"]
        sizes = Counter(lengths)
        assert {octets: sizes[int(octets)] for octets in packets["sizes"]} == packets["sizes"]
