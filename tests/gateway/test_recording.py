"""The recording of raw octets: a folder that can be copied, read to the first torn record, aligned after cuts."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from gateway.journal.recording import DAY_NS, Recording, WholeUnits, read_about, read_records, record_files
from tests.gateway.simulated import SimClock, SimStorage
from tests.gateway.test_contacts_kept import configured

ABOUT = {"mission": "m", "unit": "frames", "unit_octets": 10}


def recorded(storage: SimStorage, clock: SimClock, keep_days: float = 7) -> Recording:
    return Recording(storage, clock, "m/recording/x", ABOUT, keep_days)


def test_each_connection_begins_a_new_unit() -> None:
    """A frame cut off by a lost connection does not shift the frames of the next one; it is counted as left out."""
    storage, clock = SimStorage(random.Random(1)), SimClock()
    recording = recorded(storage, clock)
    for pieces in ((b"a" * 10, b"b" * 7), (b"c" * 3, b"c" * 7 + b"d" * 10), (b"e",)):
        recording.begin()
        for piece in pieces:
            recording.append(clock.tai_ns(), piece)
    recording.close()
    units = WholeUnits(storage, "m/recording/x", 10)
    assert b"".join(units) == b"a" * 10 + b"c" * 10 + b"d" * 10
    assert units.left_out_octets == 8
    assert read_about(storage, "m/recording/x") == ABOUT


@pytest.mark.parametrize("seed", range(50))
def test_a_crash_leaves_whole_records(seed: int) -> None:
    """After a loss of power what was forced is there, and what follows is whole records or nothing; it goes on."""
    rng = random.Random(seed)
    storage, clock = SimStorage(rng), SimClock()
    recording, written, forced = recorded(storage, clock), [], 0
    for _ in range(rng.randrange(1, 30)):
        written.append(rng.randbytes(rng.randrange(1, 50)))
        recording.append(clock.tai_ns(), written[-1])
        if rng.random() < 0.2:
            recording.force()
            forced = len(written)
    storage.crash()
    found = [
        octets
        for name in record_files(storage, "m/recording/x")
        for _, octets in read_records(storage, f"m/recording/x/{name}")
    ]
    assert found == written[: len(found)]
    assert len(found) >= forced
    again = recorded(storage, clock)
    again.append(clock.tai_ns(), b"after")
    again.close()
    newest = record_files(storage, "m/recording/x")[-1]
    assert [octets for _, octets in read_records(storage, f"m/recording/x/{newest}")] == [b"after"]


def test_old_files_go_the_newest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """keep_days removes whole files that are older; nothing else."""
    monkeypatch.setattr("gateway.journal.recording.FILE_OCTETS", 100)
    storage, clock = SimStorage(random.Random(1)), SimClock()
    recording = recorded(storage, clock, keep_days=2)
    for _ in range(10):
        clock.now_ns += DAY_NS
        recording.append(clock.tai_ns(), bytes(100))
        recording.retain()
    recording.close()
    assert record_files(storage, "m/recording/x") == ["00000008.rec", "00000009.rec", "00000010.rec"]


@pytest.mark.parametrize(("keep_days", "kept"), [(2, 4), (0.25, 2), (0, 11)])
def test_a_slow_link_does_not_keep_its_octets_for_ever(keep_days: float, kept: int) -> None:
    """keep_days: a file ends when it is a day old, so a link that never fills one keeps a day more at most."""
    storage, clock = SimStorage(random.Random(1)), SimClock()
    recording, oldest = recorded(storage, clock, keep_days), 0
    for _ in range(100):
        clock.now_ns += DAY_NS // 10
        recording.append(clock.tai_ns(), b"slow")
        recording.retain()
        first = record_files(storage, "m/recording/x")[0]
        oldest = next(read_records(storage, f"m/recording/x/{first}"))[0]
    files = record_files(storage, "m/recording/x")
    if keep_days:
        assert len(files) <= kept
        assert clock.now_ns - oldest <= (keep_days + min(keep_days, 1) + 0.2) * DAY_NS
    else:
        assert files[0] == "00000001.rec"


def test_a_silent_link_keeps_its_recording() -> None:
    """R11: age counts up to the newest record: neither silence nor a clock that jumps removes anything."""
    storage, clock = SimStorage(random.Random(1)), SimClock()
    recording = recorded(storage, clock, keep_days=2)
    for _ in range(3):
        recording.append(clock.tai_ns(), b"x")
        clock.now_ns += DAY_NS
    clock.now_ns += 1000 * DAY_NS
    recording.retain()
    again = recorded(storage, clock, keep_days=2)
    again.retain()
    assert len(record_files(storage, "m/recording/x")) == 3


def test_a_damaged_about_is_said() -> None:
    """about.json without unit_octets is refused with its name."""
    storage = SimStorage(random.Random(1))
    storage.write_whole("x/about.json", b"{}")
    with pytest.raises(ValueError, match=r"x/about\.json does not say unit_octets"):
        read_about(storage, "x")


def test_a_disk_that_refuses_costs_only_what_it_refused() -> None:
    """R6: a torn record ends its file; what comes after the hole begins a new file and a new unit."""
    storage, clock = SimStorage(random.Random(2)), SimClock()
    recording = recorded(storage, clock)
    recording.append(clock.tai_ns(), b"a" * 10 + b"b" * 4)
    storage.fail_writes = 2
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            recording.append(clock.tai_ns(), b"b" * 6)
    recording.append(clock.tai_ns(), b"c" * 10)
    recording.close()
    units = WholeUnits(storage, "m/recording/x", 10)
    assert b"".join(units) == b"a" * 10 + b"c" * 10
    assert units.left_out_octets == 4


async def test_the_housekeeping_retains_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """keep_days removes old files while the gateway runs, also when no new file is begun."""
    monkeypatch.setattr("gateway.instance.HOUSEKEEPING_S", 0.01)
    monkeypatch.setattr("gateway.instance.RETENTION_S", 0.0)
    service = configured(tmp_path)
    await service.start()
    storage, clock = SimStorage(random.Random(1)), SimClock()
    recording = recorded(storage, clock, keep_days=1)
    for _ in range(4):
        recording.append(clock.tai_ns(), b"x")
        clock.now_ns += DAY_NS
    service.instance("m.simulation")._recordings.append(recording)
    async with asyncio.timeout(60):
        while len(record_files(storage, "m/recording/x")) > 2:
            await asyncio.sleep(0.01)
    await service.drain()
    await service.stop()
