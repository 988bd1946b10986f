"""The journal under pressure: a full disk, retention beside readers, clocks that jump, readers that find nothing."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gateway.journal.block import SNAPSHOT, build_block, read_header
from gateway.journal.journal import DAY_NS, DISK_BLOCKS_MAX, SWEEP_BLOCKS
from gateway.journal.taking import TURN_BLOCKS
from gateway.real import LocalStorage, ThreadWorker
from gateway_codecs.batches import IntakeBatch, no_frames
from gateway_routes.selection import Selection
from tests.gateway.simulated import SimClock, SimStorage, inline
from tests.gateway.test_journal import ALL, ROLLING, SMALL, Journal, opened, packets, read_all, replace
from tests.gateway.test_journal_damage import SEGMENT, segments_of

T = TypeVar("T")
NOTHING = Selection(apids=frozenset({999}))
FULL = replace(SMALL, reserve_octets=1000)
KEEP = replace(SMALL, keep_octets=70_000)


async def fill(journal: Journal, count: int, octets: int = 3000) -> None:
    for k in range(count):
        await journal.append(IntakeBatch(packets([bytes([k % 250]) * octets])))


# ---- readers ----


async def test_a_reader_that_finds_nothing_leaves_the_loop_to_others() -> None:
    """A filtered reader over many small blocks in memory never holds the loop for long."""
    async with opened(SimStorage(random.Random(1)), replace(SMALL, memory_octets=1 << 26)) as journal:
        one = IntakeBatch(packets([b"x" * 20]))
        for _ in range(4000):
            await journal.append(one)
        turns, done = 0, False

        async def tick() -> None:
            nonlocal turns
            while not done:
                turns += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        await asyncio.sleep(0)
        assert not len((await journal.read(0, NOTHING, 100, 1 << 20)).positions)
        done = True
        await ticking
        assert turns >= 4000 // TURN_BLOCKS


def block_of(values: list[bytes]) -> Any:
    return build_block(
        packets(values), no_frames(), {}, first_position=0, sequence=0, commit_time_ns=0, journal_id=b"j" * 16,
        revision=1, snapshot=False,
    )[0]  # fmt: skip


@pytest.mark.parametrize("values", [[b"x" * 20], [b"x" * 7] * 5000, [b"x" * 60_000]])
def test_memory_is_counted_as_it_is(values: list[bytes]) -> None:
    """What a block is counted for is what it takes in memory, within a third."""
    kept = [block_of(values)]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept += [block_of(values) for _ in range(20)]
    real = (tracemalloc.get_traced_memory()[0] - before) / 20
    tracemalloc.stop()
    assert 0.66 < kept[0].memory_octets / real < 1.5


async def test_memory_stays_within_its_limit() -> None:
    """memory_octets bounds what the blocks in memory really take; the newest block stays."""
    async with opened(SimStorage(random.Random(1))) as journal:
        await fill(journal, 200, 20)
        assert journal._recent.octets <= SMALL.memory_octets
        assert journal._recent.octets == sum(block.memory_octets for block in journal._recent.blocks)
        await fill(journal, 1, 100_000)
        assert len(journal._recent.blocks) == 1
        assert [p for p, _ in await read_all(journal)] == list(range(201))


class CountedStorage(SimStorage):
    """Counts what is read of it."""

    reads = octets = 0

    def read(self, name: str, offset: int, length: int) -> bytes:
        data = super().read(name, offset, length)
        self.reads, self.octets = self.reads + 1, self.octets + len(data)
        return data


async def test_one_read_walks_a_bounded_part_of_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scanner gets an empty slice that says how far it looked, so that others get their turn with the disk."""
    monkeypatch.setattr("gateway.journal.segments.WINDOW_OCTETS", 4096)
    storage = CountedStorage(random.Random(1))
    async with opened(storage, replace(SMALL, memory_octets=0)) as journal:
        await fill(journal, 1000, 20)
        whole, at, reads = sum(len(data) for data in storage.volatile.values()), 0, 0
        while at < journal.head:
            before = storage.octets
            found = await journal.read(at, NOTHING, 100, 1 << 20)
            assert not len(found.positions)
            assert found.end_position > at
            assert storage.octets - before <= DISK_BLOCKS_MAX / SWEEP_BLOCKS * 2 * 4096
            at, reads = found.end_position, reads + 1
        assert reads >= whole / (DISK_BLOCKS_MAX / SWEEP_BLOCKS * 2 * 4096)


async def test_who_is_far_behind_reads_small_blocks_by_the_hundred_and_each_once() -> None:
    """Performance: a home base that comes back to a night of single packets is not served a block at a time."""
    storage = CountedStorage(random.Random(1))
    async with opened(storage, replace(SMALL, memory_octets=0, segment_octets=1 << 30)) as journal:
        for k in range(1500):
            await journal.append(IntakeBatch(packets([b"%d" % k], apid=5 + k % 3)))
        for wanted in (ALL, Selection(apids=frozenset({6})), NOTHING):
            storage.reads = storage.octets = 0
            found = await read_all(journal, wanted)
            assert found == [
                (k, b"%d" % k) for k in range(1500) if wanted is ALL or (wanted.apids == {6} and k % 3 == 1)
            ]
            assert storage.reads < 300
            assert storage.octets < 2 * sum(len(data) for data in storage.volatile.values()) + (1 << 20)


async def test_nobody_reads_what_is_being_written() -> None:
    """R2: a block that stands in the file and is not forced yet is not delivered to who reads the file beside it."""
    storage, going_on = SimStorage(random.Random(1)), asyncio.Event()
    going_on.set()

    async def writer(work: Callable[[], T]) -> T:
        done = work()
        await going_on.wait()
        return done

    settings = replace(SMALL, memory_octets=0, segment_octets=1 << 30)
    journal = await Journal.open(storage, SimClock(), writer, inline, settings, "m")
    await fill(journal, 100, 20)
    going_on.clear()
    writing = asyncio.create_task(fill(journal, 1, 20))
    await asyncio.sleep(0)
    while storage.volatile[SEGMENT].count(b"UGWJBLK1") == 100:
        await asyncio.sleep(0)
    at = 0
    while at < 100:
        found = await journal.read(at, ALL, 7, 1 << 16)
        assert at < found.end_position <= 100
        assert found.positions.tolist() == list(range(at, found.end_position))
        at = found.end_position
    going_on.set()
    await writing
    assert (await journal.read(100, ALL, 7, 1 << 16)).positions.tolist() == [100]
    await journal.close()


async def test_what_is_read_ahead_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """R5: many who read at many places hold little of what they have not taken."""
    monkeypatch.setattr("gateway.journal.taking.AHEAD_OCTETS", 20_000)
    async with opened(SimStorage(random.Random(1)), replace(SMALL, memory_octets=0)) as journal:
        await fill(journal, 300, 100)
        for at in range(0, 300, 7):
            found = await journal.read(at, Selection(apids=frozenset({5, at})), 2, 1 << 16)
            assert found.positions.tolist() == [at, at + 1][: 300 - at]
            assert sum(one.octets for one in journal._ahead._found) <= 20_000


# ---- a full disk ----


async def test_a_journal_with_something_to_tell_opens_on_a_full_disk() -> None:
    """R12: the events of a recovery wait for space, the start does not; they are committed first."""
    storage = SimStorage(random.Random(1))
    async with opened(storage) as journal:
        await fill(journal, 1)
    storage.volatile[SEGMENT] += b"UGWJBLK1" + bytes(40)
    storage.free = 10
    async with asyncio.timeout(5):
        journal = await Journal.open(storage, SimClock(), inline, inline, FULL, "m")
    assert journal.blocked is not None
    later = asyncio.create_task(journal.append(IntakeBatch(packets([b"later"]))))
    await asyncio.sleep(0.01)
    storage.free = 1 << 40
    assert (await later).first_position == 2
    assert b"cut: 48 octets" in (await read_all(journal))[1][1]
    await journal.close()


async def test_retention_frees_a_full_disk() -> None:
    """R12: retention does its work and returns while nothing can be committed; its event is committed later."""
    storage = SimStorage(random.Random(7))
    async with opened(storage, replace(KEEP, reserve_octets=1000)) as journal:
        await fill(journal, 100)
        storage.free = 10
        task = asyncio.create_task(journal.append(IntakeBatch(packets([b"waits"]))))
        await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            assert await journal.retain() > 0
        assert not task.done()
        storage.free = 1 << 40
        await task
        await journal.drain()
        assert any(b"were removed by retention" in value for _, value in await read_all(journal))


async def test_a_failed_fsync_is_no_commit() -> None:
    """R2: what fdatasync refused is not acknowledged; it is cut, written and forced again."""
    storage = SimStorage(random.Random(1))
    async with opened(storage) as journal:
        await fill(journal, 2)
        storage.fail_syncs = 3
        task = asyncio.create_task(journal.append(IntakeBatch(packets([b"acknowledged"]))))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not task.done()
        assert journal.blocked == "Input/output error"
        assert (await task).first_position == 2
        assert journal.blocked is None
        storage.crash()
    async with opened(storage) as journal:
        assert [value for _, value in await read_all(journal)][2] == b"acknowledged"
        assert not journal.damaged


async def test_names_given_during_a_commit_are_kept() -> None:
    """A name that gets its number while a block is being written goes into the next one; no number is given twice."""
    storage, gate, slow = SimStorage(random.Random(1)), asyncio.Event(), False

    async def writer(work: Callable[[], T]) -> T:
        result = work()
        if slow:
            await gate.wait()
        return result

    journal = await Journal.open(storage, SimClock(), writer, inline, SMALL, "m")
    slow = True
    assert journal.name_id("links", "a") == 1
    task = asyncio.create_task(journal.append(IntakeBatch(packets([b"1"]))))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert journal.name_id("links", "b") == 2
    gate.set()
    await task
    assert journal.name_id("links", "c") == 3
    await journal.append(IntakeBatch(packets([b"2"])))
    await journal.close()
    async with opened(storage) as again:
        assert again.names("links") == {1: "a", 2: "b", 3: "c"}
        assert again.name_id("links", "b") == 2


# ---- segments and days ----


async def on_day(journal: Journal, clock: SimClock, day: float) -> None:
    clock.now_ns = int((30_000 + day) * DAY_NS)
    await fill(journal, 1, 100)


async def test_a_segment_ends_with_its_day_and_only_forward() -> None:
    """A later UTC day begins a segment, with a snapshot; a clock that toggles over midnight does not begin one each."""
    storage, clock = SimStorage(random.Random(1)), SimClock()
    journal = await Journal.open(storage, clock, inline, inline, SMALL, "m")
    for day in (0.5, 0.9, 1.1, 0.9, 1.1, 0.9, 1.2, 2.1):
        await on_day(journal, clock, day)
    await journal.close()
    assert len(segments_of(storage)) == 3
    journal = await Journal.open(storage, clock, inline, inline, SMALL, "m")
    await on_day(journal, clock, 2.5)
    assert len(segments_of(storage)) == 3, "the day of the segment is known after a start"
    await on_day(journal, clock, 3.1)
    assert len(segments_of(storage)) == 4
    for name in segments_of(storage):
        assert read_header(bytes(storage.volatile[f"m/journal/{name}"])).flags & SNAPSHOT
    await journal.close()


async def test_every_segment_begins_with_the_whole_state() -> None:
    """A segment that rolled by its size begins with a snapshot too: nothing in it needs an older one."""
    storage = SimStorage(random.Random(1))
    async with opened(storage, replace(ROLLING, snapshot_every=1000)) as journal:
        await fill(journal, 20, 1000)
    assert len(segments_of(storage)) > 3
    for name in segments_of(storage):
        assert read_header(bytes(storage.volatile[f"m/journal/{name}"])).flags & SNAPSHOT


async def by_days(storage: SimStorage, clock: SimClock, days: list[float]) -> Journal:
    journal = await Journal.open(storage, clock, inline, inline, replace(SMALL, keep_days=10), "m")
    for day in days:
        await on_day(journal, clock, day)
    return journal


async def test_retention_by_age() -> None:
    """keep_days removes the segments whose last commit is older than that before the newest; nothing younger."""
    storage, clock = SimStorage(random.Random(1)), SimClock()
    journal = await by_days(storage, clock, [0, 1, 2, 3, 11.5])
    await journal.retain()
    assert journal.tail == 1, "day 0 ended when day 1 began, 10.5 days ago; day 1 ended 9.5 days ago"
    assert [value[:1] for _, value in await read_all(journal)][:4] == [b"\0"] * 4
    await journal.close()


async def test_a_clock_that_jumps_removes_nothing() -> None:
    """R11: retention counts from the newest commit: a wrong clock, or silence, makes no data older."""
    storage, clock = SimStorage(random.Random(1)), SimClock()
    journal = await by_days(storage, clock, [0, 1, 2, 3])
    clock.now_ns += 400 * DAY_NS
    assert await journal.retain() == 0
    assert journal.tail == 0
    await journal.close()


# ---- retention beside readers ----


async def test_marks_and_hints_go_with_their_segment() -> None:
    """After retention nothing points to a file that is gone, in memory or in the index."""
    storage = SimStorage(random.Random(7))
    async with opened(storage, KEEP) as journal:
        await fill(journal, 100)
        await read_all(journal)
        await journal.retain()
        names = set(segments_of(storage))
        assert {mark.segment for mark in journal._segments.marks} == names
        assert {segment for segment, _ in journal._segments._hints.values()} <= names
        assert {mark.segment for mark in journal._segments._stored_marks()} == names


async def test_a_reader_during_retention_is_told_the_range() -> None:
    """The tail moves before a file goes: a reader between the two is told what expired, and nothing of damage."""
    storage, gate, slow = SimStorage(random.Random(7)), asyncio.Event(), False

    async def writer(work: Callable[[], T]) -> T:
        result = work()
        if slow:
            await gate.wait()
        return result

    journal = await Journal.open(storage, SimClock(), writer, inline, KEEP, "m")
    await fill(journal, 100)
    names = len(segments_of(storage))
    slow = True
    task = asyncio.create_task(journal.retain())
    await asyncio.sleep(0.01)
    found = await journal.read(0, ALL, 5, 1 << 20)
    assert len(found.positions) or found.expired is not None
    assert len(segments_of(storage)) == names, "no file goes before readers know"
    gate.set()
    slow = False
    await task
    assert journal.tail > 0
    assert len(segments_of(storage)) < names
    assert not journal.damaged
    await journal.close()


async def test_a_segment_that_goes_while_it_is_read() -> None:
    """A reader whose file is removed in the middle of its scan is told what expired."""
    storage = SimStorage(random.Random(7))
    during: list[Callable[[], Awaitable[Any]]] = []

    async def reader(work: Callable[[], T]) -> T:
        try:
            return work()
        finally:
            while during:
                await during.pop()()

    async def late_reader(work: Callable[[], T]) -> T:
        while during:
            await during.pop()()
        return work()

    for worker in (reader, late_reader):
        journal = await Journal.open(storage, SimClock(), inline, worker, replace(KEEP, memory_octets=0), "m")
        await fill(journal, 100)
        tail = journal.tail
        during.append(journal.retain)
        found = await journal.read(tail, ALL, 5, 1 << 20)
        assert journal.tail > tail
        assert found.expired == (tail, journal.tail)
        assert not found.damaged
        assert not journal.damaged
        await journal.close()


async def test_a_hint_to_a_removed_segment_is_forgotten() -> None:
    """A reader that ran beside retention may have left a hint to a file that is gone: the next one finds its way."""
    storage = SimStorage(random.Random(7))
    async with opened(storage, replace(KEEP, memory_octets=0)) as journal:
        await fill(journal, 100)
        await journal.retain()
        journal._segments.hint(journal.tail, "00000001.seg", 64)
        found = await journal.read(journal.tail, ALL, 5, 1 << 20)
        assert found.positions[0] == journal.tail


async def test_retention_beside_readers_on_real_threads(tmp_path: Path) -> None:
    """Readers at the tail meet retention again and again: nothing is raised and no damage is told."""
    storage, writer, reader = LocalStorage(tmp_path), ThreadWorker("w"), ThreadWorker("r")
    settings = replace(KEEP, segment_octets=1 << 12, keep_octets=20_000, memory_octets=0)
    journal = await Journal.open(storage, SimClock(), writer, reader, settings, "m")
    done = False

    async def read() -> None:
        while not done:
            at = journal.tail
            await asyncio.sleep(0.0005)
            for _ in range(5):
                found = await journal.read(at, ALL, 3, 1 << 20)
                assert not found.damaged
                at = found.end_position

    readers = [asyncio.create_task(read()) for _ in range(3)]
    removed = 0
    for _ in range(25):
        await fill(journal, 10)
        removed += await journal.retain() > 0
    done = True
    assert removed >= 20
    await asyncio.gather(*readers)
    assert not journal.damaged
    await journal.close()
    writer.close()
    reader.close()
