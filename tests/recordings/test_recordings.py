"""Every real recording, through the built-in missions' settings, against what other people's tools found in it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.wiring import intake_maker
from gateway_codecs.batches import IntakeBatch, Quality, Unit
from gateway_config import LinkConfig, example_mission

SHARED = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="the shared recordings are not beside the checkout")
FRAMES = {
    "lucy_aos_1113.bin": "lucy",
    "hera_tm_1113_lowrate.bin": "hera",
    "integral_tm_890.bin": "integral",
    "emm_hope_aos_223_crc.bin": "emm-hope",
    "change5_aos_220_insert8.bin": "chang-e-5",
    "dart_tm_1113_sechdr.bin": "dart",
    "equuleus_aos_444_ocf.bin": "equuleus",
    "queqiao2_aos_220.bin": "queqiao-2",
    "bgm1_tm_892_crc_interleaved.bin": "blue-ghost",
}
CHUNKS = (1 << 22, 65536, 4096, 1001)


def expected_frames() -> dict[str, Any]:
    if not SHARED.exists():
        return {}
    return {f["file"]: f for f in json.loads((SHARED / "frames/expected_frames.json").read_text())["files"]}


def maker(mission_name: str) -> Any:
    craft = example_mission(mission_name).spacecraft[0]
    unit = "frames" if craft.frames else "packets"
    link = LinkConfig(name="x", mission=mission_name, spacecraft=craft.name, type="file", path="-", unit=unit)
    return intake_maker(link, craft, 1, 1)


def replay(mission: str, data: bytes, chunk: int) -> tuple[dict[str, Any], list[IntakeBatch]]:
    intake = maker(mission)()
    batches = [intake.feed(data[at : at + chunk], 1) for at in range(0, len(data), chunk)]
    batches.append(intake.finish(1))
    return intake.statistics(), batches


def items(batches: list[IntakeBatch]) -> list[tuple[Any, ...]]:
    names = ("unit", "quality", "vcid", "apid", "sequence_count", "missing_before", "vc_count", "flags")
    return [
        (*[int(row[name]) for name in names], batch.items.octets_of(k))
        for batch in batches
        for k, row in enumerate(batch.items.items)
    ]


def test_every_recording_is_here() -> None:
    """No recording is left out."""
    assert set(expected_frames()) == set(FRAMES)


@pytest.mark.parametrize("file", FRAMES)
def test_frames(file: str) -> None:
    """R6: frames, counts, gaps, packets per APID and SHA-256 per VC are what independent tools found."""
    expected = expected_frames()[file]
    data = (SHARED / "frames" / file).read_bytes()
    statistics, batches = replay(FRAMES[file], data, 65536)
    assert statistics["frames"] == expected["frames"]
    assert statistics["causes"].get("fecf", 0) == len(expected.get("fecf_bad_frame_indices", []))
    found = items(batches)
    channels = {name.split("/")[1]: vc for name, vc in statistics["vcs"].items()}
    assert set(channels) == set(expected["virtual_channels"])
    for vcid, wanted in expected["virtual_channels"].items():
        have = channels[vcid]
        for key in ("frames", "first_count", "last_count", "count_jumps", "repeated_counts", "frames_missing_mod"):
            assert have[key] == wanted[key], (vcid, key)
        packets = [i for i in found if i[2] == int(vcid) and i[0] == Unit.PACKET]
        if "packets_sha256_concatenated" not in wanted:
            assert packets == []
            continue
        assert len(packets) == wanted["packets"]
        digest = hashlib.sha256(b"".join(i[-1] for i in packets)).hexdigest()
        assert digest == wanted["packets_sha256_concatenated"]
        assert {str(apid) for apid in have["apids"]} == set(wanted["apids"])
        for apid, row in wanted["apids"].items():
            mine = have["apids"][int(apid)]
            assert (mine["packets"], mine["octets"], mine["seq_gaps"]) == (
                row["packets"],
                row["bytes"],
                row["seq_gaps"],
            )
            assert (mine["first_seq"], mine["last_seq"]) == (row["first_seq"], row["last_seq"])
    if "mc_count_jumps" in expected:
        assert statistics["mc_count_jumps"] == expected["mc_count_jumps"]


@pytest.mark.parametrize(
    "file", ["emm_hope_aos_223_crc.bin", "dart_tm_1113_sechdr.bin", "bgm1_tm_892_crc_interleaved.bin"]
)
def test_channels_without_packets_are_kept_octet_for_octet(file: str) -> None:
    """Nothing is thrown away: opaque and bad frames come out whole, in order, as items."""
    data, length = (SHARED / "frames" / file).read_bytes(), expected_frames()[file]["frame_length"]
    frames = [data[at : at + length] for at in range(0, len(data), length)]
    if file.startswith("bgm1"):  # the documented pre-step: element j of each group of 4 belongs to block j
        frames = [b"".join(frame[k::4] for k in range(4)) for frame in frames]
    _, batches = replay(FRAMES[file], data, 65536)
    kept = [i[-1] for i in items(batches) if i[0] == Unit.FRAME]
    vcids = {
        int(v) for v, x in expected_frames()[file]["virtual_channels"].items() if not x.get("pointer_7fe_only_idle")
    }
    shift, mask = (1, 7) if file.startswith(("dart", "bgm1")) else (0, 63)
    bad = set(expected_frames()[file].get("fecf_bad_frame_indices", []))
    wanted = [f for k, f in enumerate(frames) if k in bad or ((f[1] >> shift) & mask) in vcids]
    assert kept == wanted


@pytest.mark.parametrize("file", FRAMES)
def test_chunks_do_not_matter(file: str) -> None:
    """However the octets are cut, items, order and counts are the same."""
    data = (SHARED / "frames" / file).read_bytes()[:200_000]
    results = [replay(FRAMES[file], data, chunk) for chunk in CHUNKS]
    first = items(results[0][1])
    for statistics, batches in results[1:]:
        assert items(batches) == first
        assert statistics == results[0][0]


@pytest.mark.parametrize("file", ["hera_tm_1113_lowrate.bin", "queqiao2_aos_220.bin", "lucy_aos_1113.bin"])
def test_a_restart_anywhere_continues_exactly(file: str) -> None:
    """A resumable source continues after a crash without losing or repeating an item, open packets included."""
    data = (SHARED / "frames" / file).read_bytes()[:120_000]
    whole = items(replay(FRAMES[file], data, 1 << 20)[1])
    make = maker(FRAMES[file])
    for cut in range(0, len(data), 3307):
        before, after = make(), make()
        first = before.feed(data[:cut], 1)
        state = json.loads(json.dumps(before.state()))
        after.restore(state, lambda at, length: data[at : at + length])
        rest = [after.feed(data[state["source_offset"] :], 1), after.finish(1)]
        assert items([first, *rest]) == whole, cut


def test_encapsulation_packets_of_blue_ghost() -> None:
    """One-octet idle packets are counted, encapsulation packets are items: VC7 holds one of 31 octets a frame."""
    mission = example_mission("blue-ghost")
    craft = mission.spacecraft[0]
    assert craft.frames is not None
    vc = craft.frames.vcs[7].model_copy(update={"service": "packets"})
    frames = craft.frames.model_copy(update={"vcs": {**craft.frames.vcs, 7: vc}})
    link = LinkConfig(name="x", mission="blue-ghost", spacecraft=craft.name, type="file", path="-")
    intake = intake_maker(link, craft.model_copy(update={"frames": frames}), 1, 1)()
    batch = intake.feed((SHARED / "frames/bgm1_tm_892_crc_interleaved.bin").read_bytes(), 1)
    packets = [i[-1] for i in items([batch]) if i[2] == 7 and i[0] == Unit.PACKET]
    assert len(packets) == 28
    assert all(p[:4].hex() == "fe00001f" and len(p) == 31 for p in packets)
    assert (
        intake.statistics()["idle_octets"] == 28 * 853
    )  # docs/decisions/0001: the recording wins over its description


def packet_files() -> list[tuple[str, str, dict[str, Any], int]]:
    if not SHARED.exists():
        return []
    rows = []
    for name, mission in (("jpss1", "jpss-1"), ("idex", "idex"), ("suda", "suda")):
        found = json.loads((SHARED / f"packets/expected_{name}.json").read_text())
        rows.append((found["packets_file"], mission, found["apids"], found["packets"]))
    for found in json.loads((SHARED / "packets/expected_packets2.json").read_text())["files"]:
        rows.append((found["file"], "generic-packets", found["apids"], found["packets"]))
    return rows


@pytest.mark.parametrize(("file", "mission", "apids", "count"), packet_files())
def test_packets(file: str, mission: str, apids: dict[str, Any], count: int) -> None:
    """Packet files: every packet, its octets, and the gaps per APID; no octet is left over."""
    data = (SHARED / "packets" / file).read_bytes()
    results = [replay(mission, data, chunk) for chunk in (1 << 22, 4096)]
    statistics, batches = results[0]
    packets = statistics["vcs"]["packets"]
    assert packets["packets"] == count
    for apid, row in apids.items():
        mine = packets["apids"][int(apid)]
        assert (mine["packets"], mine["octets"], mine["seq_gaps"]) == (row["packets"], row["bytes"], row["seq_gaps"])
    assert all(i[1] == Quality.GOOD for i in items(batches))
    assert items(batches) == items(results[1][1])
    prefix = 4 if mission == "suda" else 0
    assert sum(len(i[-1]) + prefix for i in items(batches)) == len(data)
