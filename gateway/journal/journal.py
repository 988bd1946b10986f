"""The journal of one mission instance: positions at commit, group commit, reading, retention (DESIGN 4)."""

from __future__ import annotations

import asyncio
import itertools
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import structlog

from gateway.errors import GatewayError
from gateway.journal.block import Block, GroupFilter, build_block
from gateway.journal.events import Event, event_items, gap_event
from gateway.journal.segments import Damage, Mark, Recovery, Segments
from gateway.journal.state import merge
from gateway.world import AppendFile, Clock, Storage, Worker
from gateway_codecs.batches import (
    I64Array,
    IntakeBatch,
    ItemBatch,
    Records,
    concatenate,
    empty_items,
    gather,
    no_frames,
)

log = structlog.get_logger()
DAY_NS = 86_400 * 1_000_000_000
IDENTITY = "journal.id"


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


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """What a read found: `positions` int64 (n,), items in position order; everything selected in
    [position, end_position) is here, except `damaged` ranges. `expired` is the range retention took, if any."""

    positions: I64Array
    batch: ItemBatch
    end_position: int
    damaged: tuple[Damage, ...] = ()
    expired: tuple[int, int] | None = None


@dataclass(slots=True)
class _Waiting:
    batch: IntakeBatch
    done: asyncio.Future[Commit]
    size: int = field(default=0)


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
        self._sequence = 0
        self._file: AppendFile | None = None
        self._segment = ""
        self._segment_day = -1
        self._since_snapshot = 0
        self._memory: deque[Block] = deque()
        self._memory_octets = 0
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None
        self._grown: asyncio.Future[None] | None = None
        self._names_patch: dict[str, Any] = {}

    @classmethod
    async def open(
        cls,
        storage: Storage,
        clock: Clock,
        writer: Worker,
        reader: Worker,
        settings: JournalSettings,
        name: str,
    ) -> Journal:
        """Recover what is on disk and return the journal. Raises OSError."""
        journal = cls(storage, clock, writer, reader, settings, name)
        await writer(journal._recover)
        events = journal._recovery_events()
        if events:
            await journal.append_events(events)
        return journal

    def _recover(self) -> None:
        found = self.recovery = self._segments.recover()
        self._identify(found)
        self.head, self._sequence, self.state = found.head, found.sequence, found.state
        self.damaged = list(found.damaged)
        names = self._segments.names()
        self.octets = sum(self._storage.size(self._segments.path(n)) for n in names)
        self.tail = self._segments.oldest_position(self.head)
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
        elif IDENTITY in self._storage.names(f"{self.name}/journal"):
            self.journal_id = UUID(self._storage.read(name, 0, 64).decode().strip())
        else:
            self._storage.write_whole(name, str(self.journal_id).encode())

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
        return await self._commit(IntakeBatch(items, batch.frames, state=dict(state)))

    async def append_events(self, events: Sequence[Event], state: Mapping[str, Any] | None = None) -> Commit:
        """Commit events as items."""
        items = event_items(events, self._clock.tai_ns())
        return await self._commit(IntakeBatch(items, state=dict(state or {})))

    async def _commit(self, batch: IntakeBatch) -> Commit:
        waiting = _Waiting(batch, asyncio.get_running_loop().create_future(), len(batch.items.octets) + 4096)
        self._waiting.append(waiting)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_waiting(), name=f"journal {self.name}")
        return await waiting.done

    async def _write_waiting(self) -> None:
        while self._waiting:
            group = self._take_group()
            try:
                block, state = await self._committed(group)
            except Exception as error:  # a bug of ours: those who wait must hear of it, and the journal goes on
                log.exception("commit failed", journal=self.name)
                await self._writer(self._forget_torn)
                for waiting in group:
                    if not waiting.done.done():
                        waiting.done.set_exception(CommitFailed(f"not journalled: {type(error).__name__}: {error}"))
                continue
            self._publish(group, block, state)

    async def _committed(self, group: list[_Waiting]) -> tuple[Block, dict[str, Any]]:
        """Write a group, again and again while the disk refuses."""
        while True:
            try:
                written = await self._writer(lambda: self._write(group))
            except OSError as error:
                self.blocked = f"{error.strerror or error}"
                await self._writer(self._forget_torn)
                await asyncio.sleep(self.settings.retry_s)
            else:
                self.blocked = None
                return written

    def _take_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        size = 0
        while self._waiting and (not group or size + self._waiting[0].size <= self.settings.block_octets):
            group.append(self._waiting.popleft())
            size += group[-1].size
        return group

    def _write(self, group: list[_Waiting]) -> tuple[Block, dict[str, Any]]:
        """Build and force one block. In the writer."""
        if self._storage.free_octets() < self.settings.reserve_octets:
            raise OSError(28, f"less than {self.settings.reserve_octets} octets free: the reserve is kept")
        now = self._clock.tai_ns()
        self._roll(now)
        patch = dict(self._names_patch)
        for waiting in group:
            patch = merge(patch, waiting.batch.state)
        state = merge(self.state, patch)
        snapshot = self._since_snapshot >= self.settings.snapshot_every
        block, data = build_block(
            concatenate([w.batch.items for w in group]),
            np.concatenate([w.batch.frames for w in group]) if any(len(w.batch.frames) for w in group) else no_frames(),
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
        if 0 <= size < self.settings.segment_octets and day == self._segment_day:
            return
        number = int(self._segment.split(".")[0]) + 1 if self._segment else 1
        segment = f"{number:08}.seg"
        file = self._storage.open_append(self._segments.path(segment))  # may fail: the old segment stays as it was
        self._close_file()
        self._segment, self._file, self._segment_day = segment, file, day
        self._since_snapshot = self.settings.snapshot_every

    def _publish(self, group: list[_Waiting], block: Block, state: dict[str, Any]) -> None:
        self.state = state
        self._names_patch = {}
        self.commits += 1
        self._remember(block)
        self.head = block.header.end_position
        position = block.header.first_position
        for waiting in group:
            count = len(waiting.batch.items)
            if not waiting.done.cancelled():
                waiting.done.set_result(Commit(position, position + count))
            position += count
        if self._grown is not None and not self._grown.done():
            self._grown.set_result(None)
            self._grown = None

    def _remember(self, block: Block) -> None:
        if not block.header.item_count:
            return
        self._memory.append(block)
        self._memory_octets += block.header.block_octets
        while self._memory_octets > self.settings.memory_octets and len(self._memory) > 1:
            self._memory_octets -= self._memory.popleft().header.block_octets

    @property
    def uncommitted(self) -> int:
        """How many appends wait for their commit."""
        return len(self._waiting)

    # ---- reading ----

    async def read(self, position: int, wanted: GroupFilter, max_items: int, max_octets: int) -> Slice:
        """Return wanted items from `position` on, at most so many (at least one when there is one)."""
        if position < self.tail:
            return Slice(np.zeros(0, np.int64), empty_items(), self.tail, expired=(position, self.tail))
        taken = _Taken(max_items, max_octets)
        while position < self.head and not taken.full:
            block, following, damage = self._in_memory(position), 0, None
            if block is None:
                block, following, damage = await self._from_disk(position, wanted)
            else:
                following = block.header.end_position
            if damage is not None and damage.first < damage.end:
                taken.damaged.append(damage)
                self._note_damage(damage)
            position = following if block is None else taken.take(block, wanted, position)
        return taken.result(min(position, self.head))

    def _in_memory(self, position: int) -> Block | None:
        if not self._memory or position < self._memory[0].header.first_position:
            return None
        k = bisect_right(self._memory, position, key=lambda b: b.header.first_position) - 1
        block = self._memory[k]
        return block if block.header.end_position > position else None

    async def _from_disk(self, position: int, wanted: GroupFilter) -> tuple[Block | None, int, Damage | None]:
        head = self.head
        return await self._reader(lambda: self._segments.at(position, head, wanted))

    def _note_damage(self, damage: Damage) -> None:
        if all((d.first, d.end) != (damage.first, damage.end) for d in self.damaged):
            self.damaged.append(damage)

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
        """Wake all who wait in `wait_beyond`."""
        if self._grown is not None and not self._grown.done():
            self._grown.set_result(None)
            self._grown = None

    # ---- housekeeping ----

    async def retain(self) -> int:
        """Delete whole oldest segments beyond the retention, never the newest; returns octets freed."""
        freed, tail = await self._writer(self._retain)
        if freed:
            before, self.tail = self.tail, tail
            while self._memory and self._memory[0].header.end_position <= tail:
                self._memory_octets -= self._memory.popleft().header.block_octets
            text = f"positions {before}..{tail} were removed by retention"
            await self.append_events(
                [{"type": "retention", "severity": "info", "message": text, "first": before, "end": tail}]
            )
        return freed

    def _retain(self) -> tuple[int, int]:
        freed, now = 0, self._clock.tai_ns()
        names = self._segments.names()
        for segment, following in itertools.pairwise(names):
            too_big = self.settings.keep_octets and self.octets > self.settings.keep_octets
            too_old = self.settings.keep_days and self._age_days(following, now) > self.settings.keep_days
            if not (too_big or too_old):
                break
            size = self._segments.drop(segment)
            freed, self.octets = freed + size, self.octets - size
        return freed, self._segments.oldest_position(self.head)

    def _age_days(self, segment: str, now_ns: int) -> float:
        for found in self._segments.scan(segment):
            if found.header is not None:
                return (now_ns - found.header.commit_time_ns) / DAY_NS
        return 0.0

    async def drain(self) -> None:
        """Wait until everything appended is committed."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def close(self) -> None:
        """Commit what waits (unless blocked) and close the files."""
        if self.blocked is None:
            await self.drain()
        elif self._task is not None:
            self._task.cancel()
        await self._writer(self._close_file)

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class _Taken:
    """Collects what a read takes from several blocks, within its limits."""

    def __init__(self, max_items: int, max_octets: int) -> None:
        self._items_left, self._octets_left = max_items, max_octets
        self.positions: list[I64Array] = []
        self.batches: list[ItemBatch] = []
        self.damaged: list[Damage] = []
        self.full = False

    def take(self, block: Block, wanted: GroupFilter, position: int) -> int:
        """Take wanted items of one block; returns the position to go on with."""
        positions, rows = block.select(wanted, position)
        if not len(rows):
            return block.header.end_position
        sizes = np.cumsum(rows["length"].astype(np.int64))
        fit = int(np.searchsorted(sizes, self._octets_left, side="right"))
        count = min(len(rows), self._items_left, max(fit, 0 if self.batches else 1))
        if count < len(rows):
            self.full = True
        if count == 0:
            return position
        self._add(block, positions[:count], rows[:count])
        self._items_left -= count
        self._octets_left -= int(sizes[count - 1])
        self.full = self.full or self._items_left <= 0 or self._octets_left <= 0
        return block.header.end_position if count == len(rows) else int(positions[count])

    def _add(self, block: Block, positions: I64Array, rows: Records) -> None:
        items = rows.copy()
        octets = gather(block.octets, items["offset"], items["length"])
        lengths = items["length"].astype(np.int64)
        items["offset"] = np.cumsum(lengths) - lengths
        self.positions.append(positions)
        self.batches.append(ItemBatch(octets, items))

    def result(self, end_position: int) -> Slice:
        """Return everything taken."""
        positions = np.concatenate(self.positions) if self.positions else np.zeros(0, np.int64)
        return Slice(positions, concatenate(self.batches), end_position, tuple(self.damaged))


def _damage_event(damage: Damage) -> Event:
    text = f"positions {damage.first}..{damage.end} of {damage.segment} cannot be read: {damage.cause}"
    return {
        "type": "journal damaged", "severity": "error", "message": text, "first": damage.first, "end": damage.end,
        "cause": damage.cause,
    }  # fmt: skip


__all__ = ["Commit", "CommitFailed", "Journal", "JournalSettings", "Slice"]
