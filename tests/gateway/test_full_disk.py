"""A disk that fills up, refuses, is slow: what waits, what goes on, what is told (R12)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TypeVar

import pytest

from gateway.journal import Recording
from gateway.journal.recording import WholeUnits
from gateway_codecs.batches import IntakeBatch
from tests.gateway.simulated import SimClock, SimStorage, inline, on_virtual_time
from tests.gateway.test_journal import SMALL, Journal, opened, packets, read_all, replace

T = TypeVar("T")
FULL = replace(SMALL, reserve_octets=1000)


async def test_events_are_journalled_within_the_reserve() -> None:
    """R12: intake stops at the reserve, events do not: who looks at night sees them; intake goes on behind them."""
    storage = SimStorage(random.Random(1))
    async with opened(storage, FULL) as journal:
        await journal.append(IntakeBatch(packets([b"before"])))
        storage.free = 900
        waiting = asyncio.create_task(journal.append(IntakeBatch(packets([b"intake"]))))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            commit = await journal.append_events([{"type": "x", "severity": "info", "message": "the disk is full"}])
        assert commit.first_position == 1
        assert not waiting.done()
        assert journal.blocked is not None
        assert "900 octets free" in journal.blocked
        storage.free = 200  # the last part of the reserve is not for events
        late = asyncio.create_task(journal.append_events([{"type": "x", "severity": "info", "message": "late"}]))
        await asyncio.sleep(0.1)
        assert not late.done()
        storage.free = 1 << 40
        assert (await waiting).first_position == 2, "in the order in which they came"
        assert (await late).first_position == 3
        assert journal.blocked is None
        values = [value for _, value in await read_all(journal)]
        assert [b"the disk is full" in v or b"late" in v or v for v in values] == [b"before", True, b"intake", True]


async def test_a_reserve_that_is_eaten_by_others_loses_nothing() -> None:
    """R12: ENOSPC in the middle of a write of events and of intake: both are cut, written again, in order."""
    storage = SimStorage(random.Random(3))
    async with opened(storage, FULL) as journal:
        storage.fail_writes = 4
        tasks = [asyncio.create_task(journal.append(IntakeBatch(packets([b"one"]))))]
        tasks += [asyncio.create_task(journal.append_events([{"type": "x", "message": "two"}]))]
        commits = [await task for task in tasks]
        assert [commit.first_position for commit in commits] == [0, 1]
        assert journal.head == 2
    async with opened(storage, FULL) as journal:
        assert not journal.damaged
        assert [position for position, _ in await read_all(journal)] == [0, 1]


def test_a_recording_takes_nothing_of_the_reserve() -> None:
    """R12: raw octets are the first that are not written any more; what comes later begins a new unit."""
    storage = SimStorage(random.Random(1))
    recording = Recording(storage, SimClock(), "m/recording/a", {"unit_octets": 4}, 7, 1000)
    recording.append(1, b"aaaa")
    storage.free = 999
    with pytest.raises(OSError, match="reserve of 1000 octets"):
        recording.append(2, b"bb")
    storage.free = 1 << 40
    recording.append(3, b"cccc")
    recording.close()
    units = WholeUnits(storage, "m/recording/a", 4)
    assert list(units) == [b"aaaa", b"cccc"]


@on_virtual_time
async def test_how_long_commits_take_is_known() -> None:
    """A disk that takes 2 s for each forced write is seen: while a commit is under way, and for a minute after."""
    slow = 0.0

    async def writer(work: Callable[[], T]) -> T:
        await asyncio.sleep(slow)
        return work()

    journal = await Journal.open(SimStorage(random.Random(1)), SimClock(), writer, inline, SMALL, "m")
    for _ in range(300):
        await journal.append(IntakeBatch(packets([b"x"])))
    assert journal.durations().p99_s == 0.0
    slow = 2.0
    task = asyncio.create_task(journal.append(IntakeBatch(packets([b"slow"]))))
    await asyncio.sleep(1.5)
    assert journal.durations().under_way_s == pytest.approx(1.5)
    await task
    for _ in range(9):
        await journal.append(IntakeBatch(packets([b"slow"])))
    found = journal.durations()
    assert (found.commits, found.p50_s, found.p99_s, found.longest_s) == (310, 0.0, 2.0, 2.0)
    slow = 0.0
    await asyncio.sleep(61)
    assert journal.durations().commits == 0
    await journal.close()
