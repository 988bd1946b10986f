"""Complete delivery as a machine (DESIGN 5): lanes, cursor, acknowledgements, window. No sockets, no clock.

A *cursor* is what a home base has acknowledged: everything below `low_water`, and some ranges above it. On
resume the *backfill* lane serves what is missing below the head of that moment, the *live* lane what comes
after it. Each lane is in position order and acknowledged separately; both together are every position once.
`sequential` puts everything into one lane.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

Range = tuple[int, int]
RANGES_MAX = 1024
OPEN_END = 1 << 62


class Lane(IntEnum):
    """Which lane a block belongs to."""

    LIVE = 0  # `sequential` and offline sessions have this one only
    BACKFILL = 1


class DeliveryError(ValueError):
    """The other end broke the protocol: `code` and `facts` for machines, the message for people."""

    def __init__(self, code: str, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.code, self.facts = code, facts


@dataclass(frozen=True, slots=True)
class Cursor:
    """Everything below `low_water` and in `ranges` (sorted, disjoint, [first, end)) is acknowledged."""

    low_water: int = 0
    ranges: tuple[Range, ...] = ()

    def with_range(self, first: int, end: int) -> Cursor:
        """Return the cursor with one more acknowledged range."""
        if not self.ranges and first <= self.low_water:  # of who follows it is always so
            return self if end <= self.low_water else Cursor(end)
        return normalised(self.low_water, (*self.ranges, (first, end)))

    def without(self, first: int, end: int) -> Cursor:
        """Return the cursor with a range that is not acknowledged any more: it is to be delivered again."""
        spans = [(0, self.low_water), *self.ranges]
        left = [(a, min(b, first)) for a, b in spans] + [(max(a, end), b) for a, b in spans]
        return normalised(min(self.low_water, first), [(a, b) for a, b in left if a < b])

    @property
    def highest(self) -> int:
        """The end of the highest acknowledged range."""
        return max([self.low_water, *(end for _, end in self.ranges)])

    def missing(self, end: int) -> list[Range]:
        """Return the ranges below `end` that are not acknowledged, in order."""
        gaps, at = [], self.low_water
        for first, after in self.ranges:
            if at < min(first, end):
                gaps.append((at, min(first, end)))
            at = max(at, after)
        if at < end:
            gaps.append((at, end))
        return gaps


def normalised(low_water: int, ranges: Iterable[Range]) -> Cursor:
    """Return a cursor with ranges sorted, merged, and joined to the low water where they touch it.

    Beyond RANGES_MAX ranges the highest are forgotten: what lay in them is delivered again, never lost.
    """
    merged: list[Range] = []
    for first, end in sorted(r for r in ranges if r[1] > max(low_water, r[0])):
        if first <= low_water:
            low_water = max(low_water, end)
        elif merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((first, end))
    while merged and merged[0][0] <= low_water:
        low_water = max(low_water, merged.pop(0)[1])
    return Cursor(low_water, tuple(merged[:RANGES_MAX]))


def overlap(ranges: Iterable[Range], others: Iterable[Range]) -> list[Range]:
    """Return what two lists of disjoint ranges share, in order."""
    others = list(others)
    shared = [(max(a, c), min(b, d)) for a, b in ranges for c, d in others]
    return sorted((first, end) for first, end in shared if first < end)


def parse_cursor(value: Mapping[str, Any]) -> Cursor:
    """Return the cursor of a JSON object. Raises DeliveryError."""
    low_water, ranges = value.get("low_water", 0), value.get("ranges", [])
    if not _whole(low_water) or not isinstance(ranges, list) or len(ranges) > RANGES_MAX:
        raise DeliveryError("bad cursor", f"a cursor has low_water >= 0 and at most {RANGES_MAX} ranges")
    for pair in ranges:
        if not isinstance(pair, list) or len(pair) != 2 or not all(_whole(p) for p in pair) or pair[0] >= pair[1]:
            raise DeliveryError("bad cursor", f"a cursor's range is [first, end) with first < end, not {pair!r}")
    return normalised(low_water, [(a, b) for a, b in ranges])


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


@dataclass(slots=True)
class LaneState:
    """Where one lane is: the ranges still to send, and what is sent but not acknowledged."""

    todo: list[Range]  # [first, end); the live lane's last end is open (OPEN_END)
    acknowledged: int
    sent: int
    unacknowledged: list[tuple[int, int, int]] = field(default_factory=list)  # (from, upto, octets)
    window_octets: int = 0
    most_octets: int = OPEN_END  # the lane's own bound of them, within that of all lanes


class Delivery:
    """The lanes of one session. Positions only; what the items are is none of its business."""

    def __init__(
        self,
        cursor: Cursor,
        head: int,
        *,
        sequential: bool,
        window_octets: int,
        window_blocks: int,
        again: Iterable[Range] = (),
    ) -> None:
        """`again` are ranges that are sent once more by order: no block holds something of them and something else."""
        if cursor.highest > head:
            raise DeliveryError("cursor beyond head", f"the cursor reaches {cursor.highest}, the journal only {head}")
        self.cursor = cursor
        self._window_octets, self._window_blocks = window_octets, window_blocks
        backfill, live = _cut_at(cursor.missing(head), {end for ends in again for end in ends}), (head, OPEN_END)
        self.lanes: dict[Lane, LaneState] = {}
        if sequential:
            whole = (
                [*backfill[:-1], (backfill[-1][0], OPEN_END)]
                if backfill and backfill[-1][1] == head
                else [*backfill, live]
            )
            self.lanes[Lane.LIVE] = _lane(whole)
        else:
            self.lanes[Lane.LIVE] = _lane([live])
            if backfill:
                self.lanes[Lane.BACKFILL] = _lane(backfill)
        self._turn = Lane.BACKFILL

    def next_lane(self, head: int) -> Lane | None:
        """Return the lane to serve now: fair turns, within the window; None = nothing to do."""
        able = [lane for lane in self.lanes if self.is_ready(lane, head)]
        if not able:
            return None
        self._turn = able[0] if len(able) == 1 else Lane.BACKFILL if self._turn == Lane.LIVE else Lane.LIVE
        return self._turn

    def is_ready(self, lane: Lane, head: int) -> bool:
        """Whether there is something to send in a lane, and room for it in the window. KeyError: no such lane."""
        state = self.lanes[lane]
        most = min(self._window_octets, state.most_octets)
        open_window = state.window_octets < most and len(state.unacknowledged) < self._window_blocks
        return bool(state.todo) and state.todo[0][0] < min(state.todo[0][1], head) and open_window

    def next_range(self, lane: Lane, head: int) -> Range:
        """Return the range [first, end) to read from next in a lane."""
        first, end = self.lanes[lane].todo[0]
        return first, min(end, head)

    def sent(self, lane: Lane, first: int, upto: int, octets: int) -> None:
        """Note that [first, upto) was sent in a lane."""
        state = self.lanes[lane]
        _, end = state.todo[0]
        if upto >= end:
            state.todo.pop(0)
        else:
            state.todo[0] = (upto, end)
        state.sent = upto
        state.unacknowledged.append((first, upto, octets))
        state.window_octets += octets

    def acknowledge(self, lane: int, upto: int) -> bool:
        """Take an acknowledgement of everything sent in a lane below `upto`; returns whether the cursor moved."""
        if not _whole(lane) or lane not in self.lanes:
            raise DeliveryError("bad acknowledgement", f"there is no lane {lane} in this session")
        state = self.lanes[Lane(lane)]
        if not _whole(upto) or upto > state.sent:
            raise DeliveryError("bad acknowledgement", f"acknowledged {upto}, but only {state.sent} was sent")
        before = self.cursor
        while state.unacknowledged and state.unacknowledged[0][1] <= upto:
            first, end, octets = state.unacknowledged.pop(0)
            state.window_octets -= octets
            self.cursor = self.cursor.with_range(first, end)
        if state.unacknowledged and state.unacknowledged[0][0] < upto:
            first, end, octets = state.unacknowledged[0]
            self.cursor = self.cursor.with_range(first, upto)
            state.unacknowledged[0] = (upto, end, octets)
        state.acknowledged = max(state.acknowledged, upto)
        return self.cursor != before

    def skip_expired(self, lane: Lane, tail: int) -> Range | None:
        """Skip what retention removed; returns the exact missing range of this lane's first open range."""
        state = self.lanes[lane]
        if not state.todo or state.todo[0][0] >= tail:
            return None
        first, end = state.todo[0]
        upto = min(end, tail)
        if upto == end:
            state.todo.pop(0)
        else:
            state.todo[0] = (upto, end)
        self.cursor = self.cursor.with_range(first, upto)
        state.sent = max(state.sent, upto)
        return first, upto

    def idle(self, head: int) -> bool:
        """Whether everything below `head` was sent and acknowledged."""
        return all(
            (not lane.todo or lane.todo[0][0] >= head) and not lane.unacknowledged for lane in self.lanes.values()
        )

    def in_flight(self) -> list[Range]:
        """Return the ranges that were sent and are not acknowledged, in order of position."""
        lanes = self.lanes.values()
        return sorted((first, upto) for lane in lanes for first, upto, _ in lane.unacknowledged)

    def drained(self, lane: Lane, head: int) -> bool:
        """Whether everything below `head` was sent in a lane."""
        state = self.lanes[lane]
        return not state.todo or state.todo[0][0] >= head


def _cut_at(ranges: list[Range], cuts: set[int]) -> list[Range]:
    """Return the ranges, cut in two wherever a cut lies inside."""
    cut: list[Range] = []
    for first, end in ranges:
        edges = [first, *sorted(at for at in cuts if first < at < end), end]
        cut += itertools.pairwise(edges)
    return cut


def _lane(todo: list[Range]) -> LaneState:
    return LaneState(list(todo), todo[0][0], todo[0][0])
