"""The journal of one mission instance: positions at commit, group commit, reading, retention (DESIGN 4)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from uuid import UUID, uuid4

import numpy as np
import structlog

from gateway.errors import GatewayError
from gateway.journal.block import Block, GroupFilter, build_block
from gateway.journal.bulk import SMALL_BLOCK_OCTETS, own, within
from gateway.journal.commit_times import CommitTimes, Durations
from gateway.journal.events import Event, event_items, gap_event
from gateway.journal.recent import RecentBlocks
from gateway.journal.salvage import Salvaged, salvaged
from gateway.journal.segments import IDENTITY, Damage, Mark, Recovery, Segments
from gateway.journal.state import merge, names_not_in
from gateway.journal.taking import Found, ReadAhead, Slice, Taken, Turn
from gateway.world import AppendFile, Clock, Storage, Worker
from gateway_codecs.batches import (
    ABSENT,
    I64Array,
    IntakeBatch,
    ItemBatch,
    concatenate,
    empty_items,
    joined_rows,
)
from gateway_routes.selection import Selection

log = structlog.get_logger()
T = TypeVar("T")
DAY_NS = 86_400 * 1_000_000_000
NEAR_ITEMS, WALKERS_MAX, DISK_BLOCKS_MAX, SWEEP_BLOCKS = 8192, 4, 256, 16
HEADS_ONLY = Selection(units=frozenset())
PROMISED = "destroyed: acknowledged by a home base"
RESERVE_FOR_EVENTS = 0.75
"""Events may use this share of the reserve; the rest is for cursors, command states and audit."""


class CommitFailed(GatewayError):
    """An append that could not be committed for another reason than the disk: a bug, told to whoever appended."""


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """What an operator may set. Ages in days, sizes in octets; 0 = no limit."""

    segment_octets: int = 1 << 30
    keep_days: float = 0
    keep_octets: int = 0
    reserve_octets: int = 64 << 20
    memory_octets: int = 32 << 20
    block_octets: int = 4 << 20
    snapshot_every: int = 256
    retry_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Commit:
    """What one append became: positions [first_position, end_position)."""

    first_position: int
    end_position: int


@dataclass(slots=True, eq=False)
class _Waiting:
    batch: IntakeBatch
    done: asyncio.Future[Commit]
    size: int = field(default=0)
    small: bool = False  # events alone: they are committed within the reserve too


class Journal:
    """One writer, many readers. Made by `Journal.open`; all methods run on the event loop."""

    def __init__(
        self, storage: Storage, clock: Clock, writer: Worker, reader: Worker, settings: JournalSettings, name: str
    ) -> None:
        self._storage, self._clock, self._writer, self._reader = storage, clock, writer, reader
        self.settings, self.name = settings, name
        self._segments = Segments(storage, f"{name}/journal")
        self.journal_id: UUID = uuid4()
        self.revision = 1
        self.tail = 0
        self.head = 0
        self.state: dict[str, Any] = {}
        self.blocked: str | None = None
        self.finished = False
        self.recovery = Recovery()
        self.damaged: list[Damage] = []
        self.octets = 0
        self.commits = 0
        self.free_octets: int | None = None  # on the device, when it was looked at last
        self._sequence = 0
        self._file: AppendFile | None = None
        self._segment = ""
        self._segment_day = -1
        self._since_snapshot = 0
        self._newest_ns = 0
        self._recent = RecentBlocks(settings.memory_octets)
        self._ahead = ReadAhead()
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None
        self._grown: asyncio.Future[None] | None = None
        self._followers: dict[Callable[[], None], None] = {}  # in the order in which they came
        self._names_patch: dict[str, Any] = {}
        self._is_blocked = asyncio.Event()
        self._times = CommitTimes()
        self._walkers = asyncio.Semaphore(WALKERS_MAX)

    @classmethod
    async def open(
        cls,
        storage: Storage,
        clock: Clock,
        writer: Worker,
        reader: Worker,
        settings: JournalSettings,
        name: str,
        promised: int = 0,
    ) -> Journal:
        """Recover what is on disk and return the journal. Raises OSError.

        What recovery has to tell is committed first of all; on a full disk it waits for space, the caller does not.
        `promised` is the end of what any home base has acknowledged of this journal (`stored_id` says of which): these
        positions are never given again, and what is not there of them is told as damage.
        """
        journal = cls(storage, clock, writer, reader, settings, name)
        await writer(lambda: journal._recover(promised))
        events = journal._recovery_events()
        if events:
            await journal._tell(events)
        return journal

    def _recover(self, promised: int) -> None:
        found = self.recovery = self._segments.recover()
        self._identify(found)
        self.tail = self._segments.oldest_position(found.head, found.state.get("tail", 0))
        if found.head < promised:
            lost = Damage(found.head, promised, found.segment, found.segment_octets, PROMISED)
            found.damaged.append(lost)
            found.head = promised
        self.head, self._sequence, self.state = found.head, found.sequence, found.state
        for damage in found.damaged:
            self._note_damage(damage)
        names = self._segments.names()
        self.octets = sum(self._storage.size(self._segments.path(n)) for n in names)
        self._newest_ns = found.commit_time_ns
        if found.segment:
            self._segment = found.segment
            self._file = self._storage.open_append(self._segments.path(found.segment))
            self._segment_day = found.commit_time_ns // DAY_NS
            self._since_snapshot = self.settings.snapshot_every

    def _identify(self, found: Recovery) -> None:
        """Take the journal's id from its blocks or its identity file; a new one is durable before anybody sees it."""
        name = f"{self.name}/journal/{IDENTITY}"
        if found.journal_id:
            self.journal_id, self.revision = UUID(bytes=found.journal_id), found.revision
        else:
            self._storage.write_whole(name, str(self.journal_id).encode())
            self._segments.identity = self.journal_id.bytes

    def _recovery_events(self) -> list[Event]:
        events: list[Event] = []
        if self.recovery.cut_octets:
            text = f"an incomplete last block was cut: {self.recovery.cut_octets} octets that were never acknowledged"
            events.append({"type": "journal recovered", "severity": "warning", "message": text})
        events += [_damage_event(d) for d in self.recovery.damaged]
        return events

    # ---- names ----

    def name_id(self, what: str, name: str) -> int:
        """Return the small number (>= 1) that stands for a spacecraft or link in this journal's columns."""
        known: Mapping[str, int] = merge(self.state, self._names_patch).get("names", {}).get(what, {})
        if name not in known:
            new = max(known.values(), default=0) + 1
            self._names_patch = merge(self._names_patch, {"names": {what: {name: new}}})
            return new
        return known[name]

    def names(self, what: str) -> dict[int, str]:
        """Return the names behind the numbers."""
        known: Mapping[str, int] = merge(self.state, self._names_patch).get("names", {}).get(what, {})
        return {number: name for name, number in known.items()}

    # ---- writing ----

    async def append(self, batch: IntakeBatch, link: str = "") -> Commit:
        """Commit a batch; returns after the forced write. Its state patch goes under state['links'][link].

        Waits while the disk refuses. Raises CommitFailed.
        """
        state = {"links": {link: batch.state}} if link and batch.state else batch.state
        items = batch.items
        if batch.gaps:
            link_id = self.name_id("links", link) if link else 0
            events = event_items([gap_event(gap, link_id) for gap in batch.gaps], self._clock.tai_ns())
            items = concatenate([items, events]) if len(items) else events
        return await self._queue(IntakeBatch(items, batch.frames, state=dict(state)))

    async def append_events(self, events: Sequence[Event], state: Mapping[str, Any] | None = None) -> Commit:
        """Commit events as items, while intake waits for space too: within the reserve."""
        items = event_items(events, self._clock.tai_ns())
        return await self._queue(IntakeBatch(items, state=dict(state or {})), small=True)

    async def _tell(self, events: Sequence[Event], state: Mapping[str, Any] | None = None) -> None:
        """Queue events of our own; return when they are committed, or the journal is blocked: then they wait."""
        items = event_items(events, self._clock.tai_ns())
        done = self._queue(IntakeBatch(items, state=dict(state or {})), small=True)
        done.add_done_callback(lambda future: future.cancelled() or future.exception())  # logged where it failed
        await self.or_blocked([done])
        if done.done():
            done.result()

    async def or_blocked(self, work: Iterable[asyncio.Future[Any]]) -> None:
        """Wait until all of `work` is done, or the journal is blocked: then it is not known how long that takes."""
        left = {one for one in work if not one.done()}
        blocked = asyncio.create_task(self._is_blocked.wait(), name=f"journal {self.name} blocked")
        try:
            while left and not blocked.done():
                await asyncio.wait({*left, blocked}, return_when=asyncio.FIRST_COMPLETED)
                left = {one for one in left if not one.done()}
        finally:
            blocked.cancel()

    def _queue(self, batch: IntakeBatch, small: bool = False) -> asyncio.Future[Commit]:
        done = asyncio.get_running_loop().create_future()
        waiting = _Waiting(batch, done, len(batch.items.octets) + 4096, small)
        self._waiting.append(waiting)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_waiting(), name=f"journal {self.name}")
        return waiting.done

    async def _write_waiting(self) -> None:
        """Commit what waits, in order, again and again while the disk refuses; then what is small goes ahead."""
        while self._waiting:
            group = self._take_group(self._waiting)
            refused = await self._commit(group)
            if refused is None:
                self.blocked = None
                self._is_blocked.clear()
                continue
            self.blocked = refused
            self._is_blocked.set()
            self._waiting.extendleft(reversed(group))
            await self._commit_small()
            await asyncio.sleep(self.settings.retry_s)

    async def _commit_small(self) -> None:
        """Commit the events among what waits, as far as the reserve lets them."""
        small = deque(waiting for waiting in self._waiting if waiting.small)
        while small:
            group = self._take_group(small)
            if await self._commit(group) is not None:
                return
            done = set(group)
            self._waiting = deque(waiting for waiting in self._waiting if waiting not in done)

    async def _commit(self, group: list[_Waiting]) -> str | None:
        """Commit a group; returns why the disk refused it, if it did."""
        names = self._names_patch  # replaced, never changed in place: names given meanwhile go into the next block
        try:
            block, state = await self._timed(lambda: self._write(group, names))
        except OSError as error:
            await self._writer(self._forget_torn)
            return f"{error.strerror or error}"
        except Exception as error:  # a bug of ours: those who wait must hear of it, and the journal goes on
            log.exception("commit failed", journal=self.name)
            await self._writer(self._forget_torn)
            for waiting in group:
                if not waiting.done.done():
                    waiting.done.set_exception(CommitFailed(f"not journalled: {type(error).__name__}: {error}"))
        else:
            self._publish(group, block, state)
        return None

    async def _timed(self, work: Callable[[], T]) -> T:
        """Do work in the writer, and note how long it took, its turn in the queue included."""
        loop, committed = asyncio.get_running_loop(), False
        self._times.begin(loop.time())
        try:
            result = await self._writer(work)
            committed = True
        finally:
            self._times.end(loop.time(), committed)
        return result

    def durations(self) -> Durations:
        """Return how long commits took in the last minute, and how long one is under way."""
        return self._times.durations(asyncio.get_running_loop().time())

    def _take_group(self, queue: deque[_Waiting]) -> list[_Waiting]:
        """Take what fits into one block from a queue's beginning."""
        group: list[_Waiting] = []
        size = 0
        while queue and (not group or size + queue[0].size <= self.settings.block_octets):
            group.append(queue.popleft())
            size += group[-1].size
        return group

    def _write(self, group: list[_Waiting], names: Mapping[str, Any]) -> tuple[Block, dict[str, Any]]:
        """Build and force one block. In the writer."""
        self._check_room(all(waiting.small for waiting in group))
        now = self._clock.steady_tai_ns()
        self._roll(now)
        patch = dict(names)
        for waiting in group:
            patch = merge(patch, waiting.batch.state)
        state = merge(self.state, patch)
        snapshot = self._since_snapshot >= self.settings.snapshot_every
        block, data = build_block(
            concatenate([w.batch.items for w in group]),
            joined_rows([w.batch.frames for w in group]),
            state if snapshot else patch,
            first_position=self.head,
            sequence=self._sequence,
            commit_time_ns=now,
            journal_id=self.journal_id.bytes,
            revision=self.revision,
            snapshot=snapshot,
        )
        file = self._file
        if file is None:
            raise AssertionError("a segment is open after rolling")
        offset = self._torn = file.size
        file.append([data])
        file.sync()
        self._wrote(block, offset, len(data), snapshot)
        self._torn = None
        return block, state

    def _check_room(self, small: bool) -> None:
        """Raises OSError when less than the reserve is free; what is small may use a part of the reserve."""
        self.free_octets = self._storage.free_octets()
        reserve = self.settings.reserve_octets
        floor = int(reserve * (1 - RESERVE_FOR_EVENTS)) if small else reserve
        if self.free_octets < floor:
            raise OSError(28, f"{self.free_octets} octets free on the device, the reserve of {floor} is kept")

    _torn: int | None = None  # where the block under way begins

    def _forget_torn(self) -> None:
        """Cut what a failed write left behind. In the writer."""
        if self._torn is not None and self._file is not None:
            try:
                self._file.truncate(self._torn)
            except OSError:
                return
            self._torn = None

    def _wrote(self, block: Block, offset: int, octets: int, snapshot: bool) -> None:
        self._sequence += 1
        self._newest_ns = block.header.commit_time_ns
        self.octets += octets
        self._since_snapshot = 1 if snapshot else self._since_snapshot + 1
        if snapshot:
            self._segments.mark(Mark(block.header.first_position, block.header.sequence, self._segment, offset))
        self._segments.hint(block.header.first_position, self._segment, offset)

    def _roll(self, now_ns: int) -> None:
        if self._torn is not None:
            raise OSError(5, "the torn end of the last write could not be cut")
        day, size = now_ns // DAY_NS, -1 if self._file is None else self._file.size
        if size == 0:
            self._segment_day = day  # a crash came between the roll and the first block
        if 0 <= size < self.settings.segment_octets and day <= self._segment_day:
            return  # a clock that goes back over midnight ends nothing
        number = int(self._segment.split(".")[0]) + 1 if self._segment else 1
        segment = f"{number:08}.seg"
        file = self._storage.open_append(self._segments.path(segment))  # may fail: the old segment stays as it was
        self._close_file()
        self._segment, self._file, self._segment_day = segment, file, day
        self._since_snapshot = self.settings.snapshot_every

    def _publish(self, group: list[_Waiting], block: Block, state: dict[str, Any]) -> None:
        self.state = state
        self._names_patch = names_not_in(state, self._names_patch)
        self.commits += 1
        self._recent.add(block)
        self.head = block.header.end_position
        position = block.header.first_position
        for waiting in group:
            count = len(waiting.batch.items)
            if not waiting.done.cancelled():
                waiting.done.set_result(Commit(position, position + count))
            position += count
        self.wake()

    @property
    def uncommitted(self) -> int:
        """How many appends wait for their commit."""
        return len(self._waiting)

    # ---- reading ----

    async def read(self, position: int, wanted: GroupFilter, max_items: int, max_octets: int) -> Slice:
        """Return wanted items from `position` on, at most so many (at least one when there is one).

        Who follows near the head reads at once; of those that catch up only a few walk at a time, the others wait for
        their turn: a hundred that come back together must not hold up who is there.
        """
        if self.head - position <= NEAR_ITEMS:
            return await self._read(position, wanted, max_items, max_octets)
        async with self._walkers:
            return await self._read(position, wanted, max_items, max_octets)

    async def _read(self, position: int, wanted: GroupFilter, max_items: int, max_octets: int) -> Slice:
        first, taken, turn, walked, small = position, Taken(max_items, max_octets), Turn(), 0, False
        while self.tail <= position < self.head and not taken.full and walked < DISK_BLOCKS_MAX:
            block = self._recent.find(position)
            if block is not None:
                position = taken.take(block, wanted, position)
            else:
                found = self._ahead.take(position, wanted)
                if found is None:
                    found = await self._from_disk(position, wanted, small)
                    small, walked = found.small, walked + (SWEEP_BLOCKS if small else 1)
                if position < self.tail:  # retention came between: what was found may have been half gone
                    break
                if isinstance(found.items, Damage):
                    self._note_damage(found.items)
                position = taken.take_found(found, position)
                if position < found.end:
                    self._ahead.keep(found)
            await turn.fair()
        if position < self.tail and taken.nothing:
            return Slice(np.zeros(0, np.int64), empty_items(), self.tail, expired=(first, self.tail))
        return taken.result(min(position, self.head))

    async def _from_disk(self, position: int, wanted: GroupFilter, small: bool) -> Found:
        """Read what stands at a position, of interest only while the tail is not above. Raises OSError."""
        head = self.head
        try:
            items, end, more = await self._reader(lambda: self._walked(position, head, wanted, small))
        except FileNotFoundError:
            if position >= self.tail:
                raise
            return Found(position, position, wanted, None, small)
        if isinstance(items, tuple):  # a sweep may have seen what is being written
            items = within(*items, position, head)
        return Found(position, min(end, head), wanted, items, more)

    def walk(self, first: int, end: int, wanted: GroupFilter) -> Iterator[tuple[I64Array, ItemBatch] | Damage]:
        """Yield wanted items of positions [first, end) with their positions, in order, and what is damaged.

        Blocking: for a worker of the caller's own, so that who reads long ranges holds nobody up. What retention takes
        meanwhile is left out. `end` is at most the head. Raises OSError.
        """
        at, small = max(first, self.tail), False
        while at < end:
            try:
                found, following, small = self._walked(at, end, wanted, small)
            except FileNotFoundError:
                if at >= self.tail:
                    raise
                found, following = None, self.tail
            if isinstance(found, Damage):
                yield found
            elif found is not None and (kept := within(*found, first, end)) is not None:
                yield kept
            at = max(following, at + 1, self.tail)

    def salvaged(self, damage: Damage) -> Salvaged | None:
        """Return what is known of a damaged range of `walk`: see `salvage`. Blocking: for a worker. Raises OSError."""
        return salvaged(self._segments, damage)

    def committed(self, position: int) -> tuple[int, int, int]:
        """Return when the block that holds a position (tail <= position < head) was committed, in ns TAI, and its
        first and end positions; of a damaged one ABSENT and its range. Blocking: for a worker. Raises OSError."""
        block, following, _ = self._segments.at(position, self.head, HEADS_ONLY)
        if block is None:
            return ABSENT, position, following
        return block.header.commit_time_ns, block.header.first_position, block.header.end_position

    def committed_lately(self, position: int) -> int | None:
        """Return when a position was committed, in ns TAI, if its block is in memory: near the head it is."""
        block = self._recent.find(position)
        return None if block is None else block.header.commit_time_ns

    def _walked(
        self, at: int, end: int, wanted: GroupFilter, small: bool
    ) -> tuple[tuple[I64Array, ItemBatch] | Damage | None, int, bool]:
        """Return what stands at a position: of one block, or, behind a `small` one, of many; the position to go on
        with; and whether what follows may be small."""
        swept = self._segments.sweep(at, wanted) if small else None
        if swept is not None and swept.end_position > at:  # else it passed blocks that hold no items, and a larger one
            return (swept.positions, swept.batch), swept.end_position, True
        block, following, damage = self._segments.at(at, end, wanted)
        if damage is not None:
            return (damage if damage.first < damage.end else None), following, small
        small = block is not None and block.header.block_octets <= SMALL_BLOCK_OCTETS
        if block is None or not block.holds(wanted):
            return None, following, small
        positions, items = block.select(wanted, at)
        return (positions, own(block.octets, items)), following, small

    def _note_damage(self, damage: Damage) -> None:
        """Remember a damaged range, as one with those it overlaps and with its neighbours of the same segment."""
        same = [d for d in self.damaged if _belong_together(d, damage)]
        apart = [d for d in self.damaged if d not in same]
        first, end = min(d.first for d in [*same, damage]), max(d.end for d in [*same, damage])
        self.damaged = [*apart, replace((same or [damage])[0], first=first, end=end)]

    async def wait_beyond(self, position: int) -> None:
        """Wait until head > position."""
        while self.head <= position and not self.finished:
            if self._grown is None or self._grown.done():
                self._grown = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._grown)

    def finish(self) -> None:
        """Say that nothing will be appended any more (a replay that ended); wakes those who wait."""
        self.finished = True
        self.wake()

    def wake(self) -> None:
        """Wake all who wait in `wait_beyond` or follow."""
        if self._grown is not None and not self._grown.done():
            self._grown.set_result(None)
            self._grown = None
        for follower in self._followers:
            follower()

    @contextlib.contextmanager
    def followed(self, by: Callable[[], None]) -> Iterator[None]:
        """Call `by` whenever the head has moved, or nothing will be appended any more; it does not wait or raise."""
        self._followers[by] = None
        try:
            yield
        finally:
            self._followers.pop(by, None)

    # ---- housekeeping ----

    async def outlived(self) -> int:
        """Return up to which position `retain` would delete now; the tail when nothing. Raises OSError."""
        return max(self.tail, (await self._writer(self._outlived))[1])

    async def retain(self, upto: int | None = None) -> int:
        """Delete whole oldest segments beyond the retention, never the newest; returns octets freed. `upto`: not those
        that hold something from that position on. The tail moves before any file goes.
        Works on a full disk too: then its event waits for space, the caller does not. Raises OSError.
        """
        victims, tail = await self._writer(lambda: self._outlived(upto))
        if not victims:
            return 0
        before, self.tail = self.tail, max(self.tail, tail)
        self._recent.drop_below(self.tail)
        self.damaged = [damage for damage in self.damaged if damage.end > self.tail]
        freed = await self._writer(lambda: self._drop(victims))
        text = f"positions {before}..{self.tail} were removed by retention"
        event = {"type": "retention", "severity": "info", "message": text, "first": before, "end": self.tail}
        await self._tell([event], {"tail": self.tail})
        return freed

    def _outlived(self, upto: int | None = None) -> tuple[list[str], int]:
        """Return the oldest segments that are beyond the retention, and the tail without them. In the writer."""
        names, victims, octets = self._segments.names(), list[str](), self.octets
        for segment, following in itertools.pairwise(names):
            too_big = self.settings.keep_octets and octets > self.settings.keep_octets
            if not (too_big or self._is_too_old(following)):
                break
            if upto is not None and self._segments.first_position(following, self.head) > upto:
                break
            victims.append(segment)
            octets -= self._storage.size(self._segments.path(segment))
        return victims, self._segments.first_position(names[len(victims)], self.head) if victims else self.tail

    def _is_too_old(self, following: str) -> bool:
        """Whether the segment before `following` is: its last commit is as old as the first one that followed.

        Age counts up to the newest commit: a wall clock that jumps makes nothing older, nor does silence.
        """
        ended_ns = self._segments.commit_time_ns(following) if self.settings.keep_days else None
        now_ns = min(self._newest_ns, self._clock.steady_tai_ns())
        return ended_ns is not None and now_ns - ended_ns > self.settings.keep_days * DAY_NS

    def _drop(self, victims: list[str]) -> int:
        freed = 0
        for segment in victims:
            octets = self._segments.drop(segment)
            freed, self.octets = freed + octets, self.octets - octets
        return freed

    async def drain(self) -> None:
        """Wait until everything appended is committed."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def close(self) -> None:
        """Commit what waits (unless blocked) and close the files."""
        if self._task is not None:
            await self.or_blocked([self._task])
            self._task.cancel()
        await self._writer(self._close_file)

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def stored_id(storage: Storage, name: str) -> UUID | None:
    """Return the id of the journal in an instance's folder, None when there is none. Blocking. Raises OSError."""
    identity = Segments(storage, f"{name}/journal").identify()
    return UUID(bytes=identity) if identity else None


def _belong_together(one: Damage, other: Damage) -> bool:
    overlap = one.first < other.end and other.first < one.end
    return overlap or (one.segment == other.segment and one.first <= other.end and other.first <= one.end)


def _damage_event(damage: Damage) -> Event:
    text = f"positions {damage.first}..{damage.end} of {damage.segment} cannot be read: {damage.cause}"
    return {
        "type": "journal damaged", "severity": "error", "message": text, "first": damage.first, "end": damage.end,
        "cause": damage.cause,
    }  # fmt: skip


__all__ = ["Commit", "CommitFailed", "Journal", "JournalSettings", "Slice", "stored_id"]
