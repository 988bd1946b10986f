"""What a range of the journal holds of each stream, what is missing of it, and why. No I/O, no clock.

`StreamAccounts.take` is given the items of whole commits, in position order, with the gaps that the journal tells
(`gap_told`). A stream is (link, spacecraft, VC, APID, unit). Expected is what its counting rule says: what was
received, and what counts say is missing; a stream whose rule is `none`, or not known, has no such number.

The reason of what is missing is what the journal tells, and no more. Of a gap that it calls "space link":

| in the window between the two packets that show the gap                               | reason         |
| ---                                                                                   | ---            |
| no unit of the link was refused                                                       | `space_link`   |
| as many refused frames name the VC as its frame count misses (all windows of a gap),  | `bad_frame`    |
| and the missing packets fit into them                                                 |                |
| anything else                                                                         | `unknown`      |
| the window begins before the range                                                    | `before_range` |
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from gateway_codecs.batches import I64Array, ItemFlag, Kind, Quality, Records, Unit, picked

STREAMS_MAX = 8192
"""Streams that have a row of their own; what is of others is summed up in one."""
SPACE_LINK = "space link"
PACKET_OCTETS_MIN = 7


class Reason(StrEnum):
    """Why items are missing."""

    SPACE_LINK = "space_link"  # the counts jump, and nothing that was refused can have held them
    BAD_FRAME = "bad_frame"  # frames that were refused for their own check held them
    GATEWAY_RESTART = "gateway_restart"
    LINK_CUT = "link_cut"
    KERNEL = "kernel"  # datagrams that the kernel of the gateway's machine dropped
    NOT_JOURNALLED = "not_journalled"  # received, and lost while the disk refused
    BEFORE_RANGE = "before_range"  # between the last packet before the range and the first in it
    UNKNOWN = "unknown"


REASONS = frozenset(reason.value for reason in Reason)
TOLD: Mapping[str, Reason] = {
    "gateway restart": Reason.GATEWAY_RESTART,
    "link cut": Reason.LINK_CUT,
    "datagrams lost in the kernel": Reason.KERNEL,
}
EFFECTS = (Quality.PACKET_TRUNCATED, Quality.PACKET_EXCESS, Quality.NO_PACKET_START)
"""Octets that a lost frame left behind: no cause of their own."""


@dataclass(frozen=True, slots=True)
class GapTold:
    """A gap as the journal tells it (gateway.journal.events), at a position."""

    position: int
    what: str  # packets, frames, datagrams, items, positions (of another gateway)
    link: int
    spacecraft: int
    vcid: int
    apid: int
    missing: int
    occurrences: int
    reason: str
    group: str = ""
    streams: tuple[tuple[str, int, int, int], ...] = ()  # of items: spacecraft, VC, APID, how many


def gap_told(position: int, octets: bytes) -> GapTold | None:
    """Return the gap of an event's octets; None for another event, or one that cannot be read."""
    if b'"gap"' not in octets:
        return None
    try:
        told = json.loads(octets)
        if told["type"] != "gap":
            return None
        streams = tuple(
            (str(row["spacecraft"] or ""), int(row["vcid"]), int(row["apid"]), _amount(row["items"]))
            for row in told.get("streams", ())
        )
        link, spacecraft, vcid, apid, missing, times = (int(told.get(key, default)) for key, default in _NUMBERS)
        what, reason, group = str(told["what"]), str(told["reason"]), str(told.get("group", ""))
        missing, times = _amount(missing), _amount(times)
        return GapTold(position, what, link, spacecraft, vcid, apid, missing, times, reason, group, streams)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None


def _amount(told: Any) -> int:
    """Return how many; of an event that another gateway sent it may be anything. Raises ValueError, TypeError."""
    if not 0 <= int(told) < 1 << 48:
        raise ValueError("no amount")
    return int(told)


_NUMBERS = (("link_id", 0), ("spacecraft_id", 0), ("vcid", -1), ("apid", -1), ("missing", 0), ("occurrences", 1))


@dataclass(frozen=True, slots=True, order=True)
class StreamKey:
    """One stream; numbers are the journal's. -1 = none. OTHERS is what has no row of its own."""

    link: int
    spacecraft: int
    vcid: int
    apid: int
    unit: int


OTHERS = StreamKey(-1, -1, -1, -1, 0)


@dataclass(slots=True, eq=False)
class Counter:
    """A count that one stream, or the APIDs of a group, show: what is missing by it, and where it was seen last."""

    link: int
    vcid: int
    missing: dict[Reason, int] = field(default_factory=dict)
    last: int = -1  # position of its newest item, -1 = none in the range
    refused: int = 0  # units of the link refused up to there
    named: int = 0  # of them frames that name the VC
    octets: int = 0  # of these frames
    frames: int = 0  # frames that its VC missed up to there
    explained: int = 0  # of all that its VC missed, how many are explained

    def miss(self, reason: Reason, count: int) -> None:
        """Add what is missing."""
        if count:
            self.missing[reason] = self.missing.get(reason, 0) + count

    @property
    def missing_items(self) -> int:
        """How many are missing in all."""
        return sum(self.missing.values())


@dataclass(slots=True, eq=False)
class Stream:
    """What was received of one stream. `rule`: apid, shared:GROUP, vc_count, none; "" = not known."""

    key: StreamKey
    rule: str
    counter: Counter
    received: int = 0
    octets: int = 0

    @property
    def shared(self) -> bool:
        """Whether other streams share its count."""
        return self.rule.startswith("shared:")

    @property
    def expected(self) -> int | None:
        """How many there must have been; None = not known."""
        return None if self.shared or self.rule in ("", "none") else self.received + self.counter.missing_items


class _Marks:
    """Positions of something, and running totals over the pieces: how much of it came before a position."""

    def __init__(self) -> None:
        self.total = 0
        self._positions: list[int] = []
        self._sums: list[int] = []

    def begin(self) -> None:
        """A new piece: what came before is one number."""
        self._positions.clear()
        self._sums.clear()

    def add(self, positions: Sequence[int], amounts: Sequence[int] | None = None) -> None:
        for k, position in enumerate(positions):
            self._positions.append(position)
            self._sums.append(self.total)
            self.total += 1 if amounts is None else amounts[k]

    def below(self, position: int) -> int:
        """Return how much came below a position (of this piece, or later)."""
        at = bisect_left(self._positions, position)
        return self.total if at == len(self._positions) else self._sums[at]


class StreamAccounts:
    """See the module. `rule_of` gives the counting rule of a stream, `spacecraft` the journal's ids by name."""

    def __init__(self, rule_of: Callable[[StreamKey], str], spacecraft: Mapping[str, int] | None = None) -> None:
        self._rule_of, self._spacecraft = rule_of, spacecraft or {}
        self.streams: list[Stream] = []
        self.groups: dict[tuple[int, int, str], Counter] = {}
        self.refused: dict[tuple[int, int], int] = {}  # by link and cause (Quality)
        self.link_gaps: dict[tuple[int, str, str], int] = {}  # by link, what (frames of VC…, datagrams), reason
        self.idle = self.events = self.gaps_not_told = 0
        self._by_key: dict[StreamKey, int] = {}
        self._refused: dict[int, _Marks] = {}
        self._named: dict[tuple[int, int], _Marks] = {}
        self._octets: dict[tuple[int, int], _Marks] = {}  # of the frames that are named
        self._frames: dict[tuple[int, int], _Marks] = {}

    def take(self, positions: I64Array, items: Records, gaps: Sequence[GapTold] = ()) -> I64Array:
        """Take the items (ITEM_DTYPE) of whole commits, positions rising; `gaps` are those that their events tell.

        Returns of each item which of `streams` it is of, int64 (n,); -1 = of none (events, idle packets, refused).
        """
        for marks in (self._refused, self._named, self._octets, self._frames):
            for one in marks.values():
                one.begin()
        event = items["kind"] == Kind.EVENT
        good = items["quality"] == Quality.GOOD
        idle = ~event & good & ((items["flags"] & ItemFlag.IDLE) != 0)
        self.events += int(np.count_nonzero(event))
        self.idle += int(np.count_nonzero(idle))
        self._take_refused(positions, items, ~event & ~good)
        for gap in gaps:
            self._take_gap(gap)
        which = np.full(len(items), -1, np.int64)
        mine = np.flatnonzero(~event & good & ~idle)
        if len(mine):
            which[mine] = self._take_streams(positions[mine], items[mine], gaps)
        return which

    def stream(self, key: StreamKey) -> int:
        """Return the index of a stream, new when it was not seen before."""
        index = self._by_key.get(key)
        if index is None:
            if len(self.streams) > STREAMS_MAX and key != OTHERS:
                return self.stream(OTHERS)
            rule = "" if key == OTHERS else self._rule_of(key)
            counter = Counter(key.link, key.vcid)
            if rule.startswith("shared:"):
                counter = self.groups.setdefault((key.link, key.vcid, rule.removeprefix("shared:")), counter)
            index = self._by_key[key] = len(self.streams)
            self.streams.append(Stream(key, rule, counter))
        return index

    # ---- what is kept of a range that is removed ----

    def kept(self) -> dict[str, Any]:
        """Return all of it as JSON; `add` takes it."""
        return {
            "streams": [
                [*astuple(one.key), one.received, one.octets, {} if one.shared else _by_name(one.counter)]
                for one in self.streams
            ],
            "groups": [[*key, _by_name(counter)] for key, counter in self.groups.items()],
            "refused": [[*key, units] for key, units in self.refused.items()],
            "link_gaps": [[*key, missing] for key, missing in self.link_gaps.items()],
            "idle": self.idle, "events": self.events,
        }  # fmt: skip

    def add(self, kept: Mapping[str, Any]) -> list[int]:
        """Add what `kept` has returned for a range that comes before; returns which of `streams` each stream is now."""
        which = []
        for *key, received, octets, missing in kept["streams"]:
            which.append(self.stream(StreamKey(*key)))
            stream = self.streams[which[-1]]
            stream.received, stream.octets = stream.received + received, stream.octets + octets
            _miss_named(stream.counter, missing)
        for link, vcid, group, missing in kept["groups"]:
            _miss_named(self.groups.setdefault((link, vcid, group), Counter(link, vcid)), missing)
        for link, cause, units in kept["refused"]:
            self.refused[link, cause] = self.refused.get((link, cause), 0) + units
        for link, what, reason, missing in kept["link_gaps"]:
            self.link_gaps[link, what, reason] = self.link_gaps.get((link, what, reason), 0) + missing
        self.idle, self.events = self.idle + kept["idle"], self.events + kept["events"]
        return which

    # ---- what was refused, and what the journal tells ----

    def _take_refused(self, positions: I64Array, items: Records, refused: Any) -> None:
        rows = np.flatnonzero(refused)
        if not len(rows):
            return
        part, at = picked(items, rows), positions[rows]
        pairs = np.stack([part["link"].astype(np.int64), part["quality"].astype(np.int64)], axis=1)
        for (link, cause), count in zip(*np.unique(pairs, axis=0, return_counts=True), strict=True):
            key = (int(link), int(cause))
            self.refused[key] = self.refused.get(key, 0) + int(count)
        causes = ~np.isin(part["quality"], EFFECTS)
        for link in np.unique(part["link"][causes]).tolist():
            of_link = causes & (part["link"] == link)
            self._refused.setdefault(link, _Marks()).add(at[of_link].tolist())
            frames = of_link & (part["unit"] == Unit.FRAME)
            for vcid in np.unique(part["vcid"][frames]).tolist():
                mine = frames & (part["vcid"] == vcid)
                self._named.setdefault((link, vcid), _Marks()).add(at[mine].tolist())
                self._octets.setdefault((link, vcid), _Marks()).add(at[mine].tolist(), part["length"][mine].tolist())

    def _take_gap(self, gap: GapTold) -> None:
        if gap.what == "frames":
            self._frames.setdefault((gap.link, gap.vcid), _Marks()).add([gap.position], [gap.missing])
        if gap.what in ("frames", "datagrams", "positions"):
            what = f"frames of VC{gap.vcid}" if gap.what == "frames" else gap.what
            key = (gap.link, what, gap.reason)
            self.link_gaps[key] = self.link_gaps.get(key, 0) + gap.missing
        for name, vcid, apid, count in gap.streams:
            if gap.what == "items" and 0 <= apid < 2047:
                of_craft = self._spacecraft.get(name, 0)
                lost = self.streams[self.stream(StreamKey(gap.link, of_craft, vcid, apid, Unit.PACKET))]
                lost.counter.miss(Reason.NOT_JOURNALLED, count)

    # ---- streams ----

    def _take_streams(self, positions: I64Array, items: Records, gaps: Sequence[GapTold]) -> I64Array:
        """Count what was received; `items` are good and none is idle."""
        columns = ("link", "spacecraft", "vcid", "apid", "unit")
        keys = np.zeros(len(items), np.int64)
        for column, bits in zip(columns, (16, 16, 7, 12, 3), strict=True):
            value = items[column].astype(np.int64) + (column in ("vcid", "apid"))
            keys = (keys << bits) | np.clip(value, 0, (1 << bits) - 1)
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        known = [self.stream(StreamKey(*(int(items[column][row]) for column in columns))) for row in first.tolist()]
        which: I64Array = np.array(known, np.int64)[inverse.reshape(-1)]
        counts = np.bincount(which, minlength=len(self.streams))
        octets = np.bincount(which, items["length"], len(self.streams))
        for index in np.flatnonzero(counts).tolist():
            self.streams[index].received += int(counts[index])
            self.streams[index].octets += int(octets[index])
        self._take_counters(positions, items["missing_before"].astype(np.int64), which, gaps)
        return which

    def _take_counters(self, positions: I64Array, missing: I64Array, which: I64Array, gaps: Sequence[GapTold]) -> None:
        """Find the jumps of each count, and the reasons of what is missing there."""
        present = np.unique(which).tolist()
        counters: dict[int, tuple[Counter, list[int]]] = {}
        for index in present:
            counter = self.streams[index].counter
            counters.setdefault(id(counter), (counter, []))[1].append(index)
        jumping = set(which[missing > 0].tolist())
        for counter, members in counters.values():
            stream = self.streams[members[0]]
            mine = positions[which == members[0]] if len(members) == 1 else positions[np.isin(which, members)]
            if stream.key.unit == Unit.FRAME:
                self._miss_frames(stream, int(mine[-1]), gaps)
            elif jumping & set(members):
                amounts = missing[which == members[0]] if len(members) == 1 else missing[np.isin(which, members)]
                told = [gap for gap in gaps if gap.what == "packets" and _is_of(gap, stream)]
                self._miss_packets(counter, mine, amounts, told)
            self._seen(counter, int(mine[-1]))

    def _miss_packets(self, counter: Counter, positions: I64Array, missing: I64Array, told: list[GapTold]) -> None:
        """Give each jump of a count its reason. The journal tells gaps behind the items of their append."""
        rows = np.flatnonzero(missing > 0)
        before = np.concatenate([[counter.last], positions[:-1]])[rows]
        jumps = list(zip(before.tolist(), positions[rows].tolist(), missing[rows].tolist(), strict=True))
        ends = [gap for gap in told for _ in range(min(gap.occurrences, len(jumps)))]
        untold = sum(jump[1] > told[-1].position for jump in jumps) if told else len(jumps)
        covered = len(jumps) - untold
        if covered > len(ends):  # an event is not there: which of the jumps are told cannot be said
            untold, covered = len(jumps), 0
        aligned = [*(ends[len(ends) - covered :] if covered else []), *[None] * untold]
        for jump, gap in zip(jumps, aligned, strict=True):
            if gap is None:
                counter.miss(Reason.BEFORE_RANGE if jump[0] < 0 else Reason.UNKNOWN, jump[2])
        for gap in told:
            if together := [jump for jump, other in zip(jumps, aligned, strict=True) if other is gap]:
                self._explain(counter, gap, together)

    def _explain(self, counter: Counter, gap: GapTold, jumps: list[tuple[int, int, int]]) -> None:
        """Give the jumps (last position, position, missing) that one gap sums up their reasons."""
        told = TOLD.get(gap.reason, Reason.UNKNOWN)
        begin, end = jumps[0][0], jumps[-1][1]
        if gap.reason == SPACE_LINK and begin >= 0:
            named, frames = self._named_and_missed(counter, begin, end, gap.position)
            most = self._octets_between(counter, begin, end) // PACKET_OCTETS_MIN + len(jumps)
            if 0 < named == frames and sum(missing for _, _, missing in jumps) <= most:
                told = Reason.BAD_FRAME
                counter.explained = self._missed(counter, gap.position)
        for last, position, missing in jumps:
            reason = told
            if gap.reason == SPACE_LINK and last < 0:
                reason = Reason.BEFORE_RANGE
            elif gap.reason == SPACE_LINK and not self._refused_between(counter, last, position):
                reason = Reason.SPACE_LINK
            counter.miss(reason, missing)

    def _refused_between(self, counter: Counter, last: int, position: int) -> int:
        """Return how many units of the link were refused between two items of a count."""
        marks = self._refused.get(counter.link)
        if marks is None:
            return 0
        return marks.below(position) - (counter.refused if last == counter.last else marks.below(last))

    def _named_and_missed(self, counter: Counter, last: int, position: int, told_at: int) -> tuple[int, int]:
        """Return how many refused frames between two items name the VC, and how many frames the VC missed, as far as
        it was told at a position. What was told behind the first item, and is not explained, may be of before it."""
        marks = self._named.get((counter.link, counter.vcid))
        named = 0 if marks is None else marks.below(position)
        known = counter.last == last
        named -= counter.named if known else 0 if marks is None else marks.below(last)
        before = counter.frames if known else self._missed(counter, last)
        return named, self._missed(counter, told_at) - max(before, counter.explained)

    def _octets_between(self, counter: Counter, last: int, position: int) -> int:
        """Return how many octets the refused frames between two items have that name the VC: the frame count wraps
        around, so that many more frames may be missing than it says; no more packets than fit are explained."""
        marks = self._octets.get((counter.link, counter.vcid))
        if marks is None:
            return 0
        return marks.below(position) - (counter.octets if counter.last == last else marks.below(last))

    def _missed(self, counter: Counter, position: int) -> int:
        marks = self._frames.get((counter.link, counter.vcid))
        return 0 if marks is None else marks.below(position)

    def _seen(self, counter: Counter, position: int) -> None:
        refused, named = self._refused.get(counter.link), self._named.get((counter.link, counter.vcid))
        counter.refused = 0 if refused is None else refused.below(position)
        counter.named = 0 if named is None else named.below(position)
        octets = self._octets.get((counter.link, counter.vcid))
        counter.octets = 0 if octets is None else octets.below(position)
        counter.frames, counter.last = self._missed(counter, position), position

    def _miss_frames(self, stream: Stream, last: int, gaps: Sequence[GapTold]) -> None:
        """Of frames that are kept whole: the gaps of their VC's count are the stream's. `last` is the newest."""
        counter, channel = stream.counter, (stream.key.link, stream.key.vcid)
        mine = [gap for gap in gaps if gap.what == "frames" and (gap.link, gap.vcid) == channel]
        if not mine:
            return
        refused = self._refused_between(counter, counter.last, last)
        named, frames = self._named_and_missed(counter, counter.last, last, mine[-1].position + 1)
        counter.explained = self._missed(counter, mine[-1].position + 1)
        for gap in mine:
            reason = TOLD.get(gap.reason, Reason.UNKNOWN)
            if gap.reason == SPACE_LINK and counter.last < 0 and gap is mine[0]:
                reason = Reason.BEFORE_RANGE
            elif gap.reason == SPACE_LINK and not refused:
                reason = Reason.SPACE_LINK
            elif gap.reason == SPACE_LINK and named == frames and counter.last >= 0:
                reason = Reason.BAD_FRAME
            counter.miss(reason, gap.missing)


def _by_name(counter: Counter) -> dict[str, int]:
    return {reason.value: count for reason, count in counter.missing.items()}


def _miss_named(counter: Counter, missing: Mapping[str, int]) -> None:
    """Add what is missing by the names of its reasons."""
    for name, count in missing.items():
        counter.miss(Reason(name) if name in REASONS else Reason.UNKNOWN, count)


def _is_of(gap: GapTold, stream: Stream) -> bool:
    if (gap.link, gap.vcid) != (stream.key.link, stream.key.vcid):
        return False
    if stream.shared:
        return gap.group == stream.rule.removeprefix("shared:")
    return not gap.group and gap.apid == stream.key.apid
