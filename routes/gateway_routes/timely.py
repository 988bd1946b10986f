"""Timely delivery as a machine (DESIGN 5): bounded delay, may skip, says exactly what it skipped. No sockets, no clock.

A queue holds batches in order of their offer, bounded in age and in octets. What is too old, or does not fit, goes at
the *front*: a timely listener wants the newest. What went is summed up exactly, so that at any time

    items offered = items taken + items skipped + items waiting.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from gateway_codecs.batches import I64Array, ItemBatch, Records, concatenate, gather, own_rows, picked
from gateway_routes.selection import Selection

STREAMS_MAX = 1024
"""So many streams are told apart in what was skipped; what more there are is summed up as `others`."""


class SkipReason(StrEnum):
    """Why items were skipped."""

    LATE = "late"  # they waited longer than the delay allows
    FULL = "full"  # the queue was full, and they were its oldest


class StreamKey(NamedTuple):
    """A stream of items; -1 = none."""

    spacecraft: int
    vcid: int
    apid: int


@dataclass(frozen=True, slots=True)
class StreamCount:
    """How much of one stream, and when it was received (gateway receive, ns TAI)."""

    items: int
    octets: int
    first_receive_time_ns: int
    last_receive_time_ns: int

    def __add__(self, other: StreamCount) -> StreamCount:
        return StreamCount(
            self.items + other.items,
            self.octets + other.octets,
            min(self.first_receive_time_ns, other.first_receive_time_ns),
            max(self.last_receive_time_ns, other.last_receive_time_ns),
        )


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was skipped for one reason: `total`, and of that each stream; `others` = streams beyond STREAMS_MAX."""

    reason: SkipReason
    total: StreamCount
    streams: dict[StreamKey, StreamCount]
    others: StreamCount | None = None


@dataclass(slots=True)
class Tally:
    """Sums up items by stream, in bounded memory."""

    total: StreamCount | None = None
    streams: dict[StreamKey, StreamCount] = field(default_factory=dict)
    others: StreamCount | None = None

    def add(self, items: Records) -> None:
        """Add items (ITEM_DTYPE, (n,))."""
        for key, count in _counts(items):
            self.total = _sum(self.total, count)
            if key in self.streams or len(self.streams) < STREAMS_MAX:
                self.streams[key] = _sum(self.streams.get(key), count)
            else:
                self.others = _sum(self.others, count)


@dataclass(frozen=True, slots=True)
class TimelyLimits:
    """How long an item may wait in a queue, and how many octets (rows of 84 octets included) may."""

    max_delay_s: float = 1.0
    max_octets: int = 4 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """What a listener gets: everything in `skipped` was offered before the first item of `batch`. Either may be
    empty. The batch's octets lie contiguous, in order of its items."""

    batch: ItemBatch
    skipped: tuple[Skipped, ...] = ()


class _Entry(NamedTuple):
    offered_s: float
    batch: ItemBatch


class TimelyQueue:
    """See the module. Times are seconds of a monotonic clock, and never go back."""

    def __init__(self, limits: TimelyLimits) -> None:
        self.limits = limits
        self._entries: deque[_Entry] = deque()
        self._tallies: dict[SkipReason, Tally] = {}
        self.waiting_octets = 0
        self.offered_items = 0
        self.taken_items = 0
        self.skipped_items = 0

    @property
    def waiting_items(self) -> int:
        """How many items wait."""
        return self.offered_items - self.taken_items - self.skipped_items

    @property
    def idle(self) -> bool:
        """Whether there is nothing to take: no item, and no skip that was not told."""
        return not self._entries and not self._tallies

    def offer(self, batch: ItemBatch, now_s: float) -> None:
        """Take a batch as `selected` made it; the oldest goes for it."""
        if not len(batch):
            return
        self._entries.append(_Entry(now_s, batch))
        self.offered_items += len(batch)
        self.waiting_octets += _weight(batch)
        self.expire(now_s)
        while self.waiting_octets > self.limits.max_octets:
            self._drop_oldest()

    def expire(self, now_s: float) -> None:
        """Skip what has waited too long."""
        while self._entries and now_s - self._entries[0].offered_s > self.limits.max_delay_s:
            self._skip(self._pop(), SkipReason.LATE)

    def take(self, now_s: float, max_items: int, max_octets: int) -> Taken:
        """Return the oldest items that are young enough, at most so many (one at least), and what was skipped."""
        self.expire(now_s)
        parts, octets = list[ItemBatch](), 0
        while self._entries and max_items > 0:
            count = _fitting(self._entries[0].batch, max_items, max_octets - octets, at_least=not parts)
            if not count:
                break
            part = self._pop(count)
            parts.append(_compact(part))
            max_items -= count
            octets += len(parts[-1].octets)
        self.taken_items += sum(len(part) for part in parts)
        return Taken(concatenate(parts), self._take_skipped())

    def _take_skipped(self) -> tuple[Skipped, ...]:
        tallies, self._tallies = self._tallies, {}
        return tuple(Skipped(why, t.total, t.streams, t.others) for why, t in tallies.items() if t.total is not None)

    def clear(self) -> None:
        """Forget everything: nobody takes any more."""
        self._entries.clear()
        self._tallies.clear()
        self.waiting_octets = 0

    def _drop_oldest(self) -> None:
        """Skip the oldest batch; of one that is too large alone, its oldest items."""
        if len(self._entries) > 1:
            self._skip(self._pop(), SkipReason.FULL)
            return
        batch = self._entries[0].batch
        newest = batch.items[::-1]
        sizes = np.cumsum(newest["length"].astype(np.int64) + newest.dtype.itemsize)
        fit = int(np.searchsorted(sizes, self.limits.max_octets, side="right"))
        self._skip(self._pop(len(batch) - fit), SkipReason.FULL)

    def _skip(self, batch: ItemBatch, reason: SkipReason) -> None:
        self.skipped_items += len(batch)
        self._tallies.setdefault(reason, Tally()).add(batch.items)

    def _pop(self, count: int | None = None) -> ItemBatch:
        """Remove the oldest batch, or its first `count` items."""
        entry = self._entries.popleft()
        batch = entry.batch
        if count is not None and count < len(batch):
            rest = ItemBatch(batch.octets, batch.items[count:])
            self._entries.appendleft(_Entry(entry.offered_s, rest))
            batch = ItemBatch(batch.octets, batch.items[:count])
        self.waiting_octets -= _weight(batch)
        return batch


def selected(batch: ItemBatch, selection: Selection) -> ItemBatch:
    """Return the items that a selection wants, with octets of their own, contiguous in order of the items."""
    mask = selection.mask(batch.items)
    items = batch.items if mask.all() else picked(batch.items, mask)
    return _compact(ItemBatch(batch.octets, items))


def _compact(batch: ItemBatch) -> ItemBatch:
    """Return the batch with its items' octets alone; a view would keep a link's whole buffer in memory."""
    lengths = batch.items["length"].astype(np.int64)
    offset: I64Array = np.cumsum(lengths) - lengths
    if len(batch) and int(offset[-1] + lengths[-1]) == len(batch.octets) and (batch.items["offset"] == offset).all():
        return batch
    octets = gather(batch.octets, batch.items["offset"], batch.items["length"])
    items = own_rows(batch.items)
    items["offset"] = offset
    return ItemBatch(octets.copy() if isinstance(octets.base, np.ndarray) else octets, items)


def _weight(batch: ItemBatch) -> int:
    """What the items take, with their rows."""
    return int(batch.items["length"].sum(dtype=np.int64)) + batch.items.nbytes


def _fitting(batch: ItemBatch, max_items: int, max_octets: int, *, at_least: bool) -> int:
    """Return how many items fit, one at least if so wished."""
    if len(batch) <= max_items and len(batch.octets) <= max_octets:
        return len(batch)
    sizes = np.cumsum(batch.items["length"], dtype=np.int64)
    fit = int(np.searchsorted(sizes, max_octets, side="right"))
    return min(max(fit, 1 if at_least else 0), max_items, len(batch))


def _counts(items: Records) -> list[tuple[StreamKey, StreamCount]]:
    """Sum up items by stream."""
    if not len(items):
        return []
    order = np.lexsort((items["apid"], items["vcid"], items["spacecraft"]))
    rows = picked(items, order)
    first = np.ones(len(rows), np.bool_)
    first[1:] = False
    for name in ("spacecraft", "vcid", "apid"):
        first[1:] |= rows[name][1:] != rows[name][:-1]
    heads = np.flatnonzero(first)
    counts = np.diff(np.append(heads, len(rows)))
    octets = np.add.reduceat(rows["length"].astype(np.int64), heads)
    earliest, latest = (function.reduceat(rows["receive_time_ns"], heads) for function in (np.minimum, np.maximum))
    keys = (StreamKey(int(r["spacecraft"]), int(r["vcid"]), int(r["apid"])) for r in rows[heads])
    values = zip(counts.tolist(), octets.tolist(), earliest.tolist(), latest.tolist(), strict=True)
    return [(key, StreamCount(*value)) for key, value in zip(keys, values, strict=True)]


def _sum(one: StreamCount | None, other: StreamCount) -> StreamCount:
    return other if one is None else one + other


__all__ = [
    "STREAMS_MAX",
    "SkipReason",
    "Skipped",
    "StreamCount",
    "StreamKey",
    "Taken",
    "Tally",
    "TimelyLimits",
    "TimelyQueue",
    "selected",
]
