"""Recorded CADUs and bit streams through the code that flies, against what other people's tools found in them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

from gateway.wiring import intake_maker
from gateway_codecs.batches import FrameFlag, IntakeBatch, Quality, Unit
from gateway_codecs.cadu_intake import CaduIntake
from gateway_config import LinkConfig, Spacecraft, example_mission
from gateway_config.models import CodingSettings, FrameSettings

from .test_recordings import SHARED, items

pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="the shared recordings are not beside the checkout")
SNPP = "snpp_synchronized_cadus.dat"
MARKER_BITS = 32
CHUNKS = (1 << 22, 4096, 1001, 37)


def expected(file: str) -> dict[str, Any]:
    rows = json.loads((SHARED / "cadu/expected_cadu.json").read_text())["files"]
    return next(row for row in rows if row["file"] == file)


def data_of(file: str) -> bytes:
    return (SHARED / "cadu" / file).read_bytes()


def made(craft: Spacecraft, **link: Any) -> CaduIntake:
    config = LinkConfig(name="x", mission="m", spacecraft=craft.name, type="file", path="-", unit="cadus", **link)
    intake = intake_maker(config, craft, 1, 1)()
    assert isinstance(intake, CaduIntake)
    return intake


def snpp() -> CaduIntake:
    return made(example_mission("snpp").spacecraft[0])


def fed(intake: CaduIntake, data: bytes, chunk: int) -> list[IntakeBatch]:
    return [*(intake.feed(data[at : at + chunk], 1) for at in range(0, len(data), chunk)), intake.finish(1)]


@pytest.mark.parametrize("chunk", CHUNKS)
def test_suomi_npp(chunk: int) -> None:
    """R6: all 65 CADUs, clean code words, ids, counts and packets are what independent tools found."""
    wanted = expected(SNPP)
    intake = snpp()
    batches = fed(intake, data_of(SNPP), chunk)
    frames = np.concatenate([batch.frames for batch in batches])
    assert len(frames) == wanted["cadus"]
    assert (frames["quality"] == Quality.GOOD).all()
    assert (frames["corrected_symbols"] == 0).all()
    assert not (frames["flags"] & (FrameFlag.SYNC_MISS | FrameFlag.SUSPECT)).any()
    assert frames["source_offset"].tolist() == [1024 * k for k in range(65)]
    assert {str(k): v for k, v in Counter(frames["scid"].tolist()).items()} == wanted["scid_counts"]
    assert {str(k): v for k, v in Counter(frames["version"].tolist()).items()} == wanted["version_counts"]
    channel, vc = intake.statistics()["vcs"]["157/16/replay"], wanted["virtual_channels"]["16"]
    assert (channel["frames"], channel["first_count"], channel["last_count"]) == (
        vc["frames"], vc["first_count"], vc["last_count"],
    )  # fmt: skip
    assert (channel["count_jumps"], channel["frames_missing_mod"]) == (vc["count_jumps"], vc["frames_missing"])
    packets = [item[-1] for item in items(batches) if item[0] == Unit.PACKET]
    assert len(packets) == vc["packets"]
    assert hashlib.sha256(b"".join(packets)).hexdigest() == vc["packets_sha256_concatenated"]
    for apid, row in vc["apids"].items():
        mine = channel["apids"][int(apid)]
        assert (mine["packets"], mine["octets"], mine["seq_gaps"]) == (row["packets"], row["bytes"], row["seq_gaps"])


@pytest.mark.parametrize("shift", [0, 3])
@pytest.mark.parametrize("inverted", [False, True])
def test_suomi_npp_shifted_and_damaged(shift: int, inverted: bool) -> None:
    """The same items when the stream is shifted, inverted, and 16 symbols of every code word are wrong."""
    damaged = np.frombuffer(data_of(SNPP), np.uint8).reshape(-1, 1024).copy()
    rng = np.random.default_rng(shift)
    for row in damaged:
        for word in range(4):
            at = 4 + word + 4 * rng.choice(255, 16, replace=False)
            row[at] ^= rng.integers(1, 256, 16).astype(np.uint8)
    bits = np.concatenate([np.zeros(shift, np.uint8), np.unpackbits(damaged.reshape(-1)) ^ inverted])
    batches = fed(snpp(), np.packbits(bits).tobytes(), 5000)
    clean = items(fed(snpp(), data_of(SNPP), 1 << 22))
    assert [item for item in items(batches) if item[1] != Quality.SYNC] == clean
    assert sum(batch.counters.get("corrected_symbols", 0) for batch in batches) == 65 * 4 * 16


def test_a_restart_anywhere_continues_exactly() -> None:
    """A file of CADUs continues after a crash without losing or repeating an item, open packets included."""
    bits = np.concatenate([[1, 0, 1], np.unpackbits(np.frombuffer(data_of(SNPP), np.uint8)) ^ 1])
    data = np.packbits(bits).tobytes()
    whole = items(fed(snpp(), data, 1 << 20))
    for cut in range(0, len(data), 3307):
        before, after = snpp(), snpp()
        first = before.feed(data[:cut], 1)
        state = json.loads(json.dumps(before.state()))
        after.restore(state, lambda at, length: data[at : at + length])
        rest = [after.feed(data[state["source_offset"] :], 1), after.finish(1)]
        assert items([first, *rest]) == whole, cut


def bluewalker(period_bits: int, **link: Any) -> CaduIntake:
    """What is known of the file: the marker and its period, not what the blocks hold."""
    frames = FrameSettings(version="aos", frame_length_octets=(period_bits - MARKER_BITS) // 8, fecf=False)
    craft = Spacecraft(name="b", scids=[0], frames=frames, coding=CodingSettings(randomiser="none"))
    return made(craft, **link)


def test_bluewalker() -> None:
    """The bit stream, packed and one bit per octet: every marker found where others found it, every bit kept once."""
    wanted = expected("bluewalker3_bits_with_asm.u8")
    period, first, last = wanted["period_bits"], wanted["asm_first_bit_index"], wanted["asm_last_bit_index"]
    unpacked, packed = data_of(wanted["file"]), data_of(wanted["packed_file"]["file"])
    results = []
    for data, options in ((packed, {}), (unpacked, {"container": "unpacked_bits"})):
        for chunk in CHUNKS[:3]:
            intake = bluewalker(period, **options)
            batches = fed(intake, data, chunk)
            offsets = np.concatenate([batch.frames for batch in batches])["source_offset"]
            results.append(items(batches))
            places = first + period * np.arange(wanted["asm_exact_positions"] - 1)  # the last CADU is not whole
            assert offsets.tolist() == (places if options else places // 8).tolist()
            transitions = [t for batch in batches for t in batch.transitions]
            assert [(t.what, t.position_bits) for t in transitions] == [("lock", first)]
            assert intake.statistics()["sync"]["outside_bits"] == first + wanted["bits"] - last
    assert all(result == results[0] for result in results)
    bits = np.frombuffer(unpacked, np.uint8)
    frames = [item[-1] for item in results[0] if item[0] == Unit.FRAME]
    assert frames == [np.packbits(bits[at + MARKER_BITS : at + period]).tobytes() for at in places.tolist()]
    outside = [np.unpackbits(np.frombuffer(item[-1], np.uint8)) for item in results[0] if item[1] == Quality.SYNC]
    assert (outside[0][:first] == bits[:first]).all()
    assert (outside[1][: wanted["bits"] - last] == bits[last:]).all()
