"""The timely queue: bounded in age and octets, skips its oldest, and says exactly what it skipped (DESIGN 5)."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway_codecs.batches import ITEM_DTYPE, ItemBatch, Kind, Unit, no_items
from gateway_routes.selection import Selection
from gateway_routes.timely import (
    STREAMS_MAX,
    Skipped,
    SkipReason,
    StreamCount,
    StreamKey,
    Taken,
    Tally,
    TimelyLimits,
    TimelyQueue,
    selected,
)

ROW = ITEM_DTYPE.itemsize
ALL = Selection(kinds=None, idle=True, bad_quality=True)
MANY = 1 << 30


def batch(numbers: list[int], octets: int = 10, apid: int | None = None) -> ItemBatch:
    """Packets, each beginning with its number, which is its receive time too; the number's last digit is its APID."""
    items = no_items(len(numbers))
    items["kind"], items["unit"], items["spacecraft"], items["vcid"] = Kind.TM, Unit.PACKET, 1, 3
    items["length"] = octets
    items["offset"] = np.arange(len(numbers)) * octets
    items["receive_time_ns"] = numbers
    items["apid"] = [n % 10 for n in numbers] if apid is None else apid
    data = b"".join(n.to_bytes(4, "big") + bytes(octets - 4) for n in numbers)
    return ItemBatch(np.frombuffer(data, np.uint8), items)


def numbers_of(taken: ItemBatch) -> list[int]:
    return [int.from_bytes(taken.octets_of(k)[:4], "big") for k in range(len(taken))]


def told(taken: Taken) -> dict[str, tuple[int, int, int, int]]:
    rows = ((s.reason.value, s.total) for s in taken.skipped)
    return {why: (t.items, t.octets, t.first_receive_time_ns, t.last_receive_time_ns) for why, t in rows}


TABLE: list[tuple[str, TimelyLimits, list[tuple[float, list[int]]], float, list[int], dict[str, object]]] = [
    ("nothing offered", TimelyLimits(), [], 0.0, [], {}),
    ("all in time", TimelyLimits(1.0), [(0.0, [1, 2]), (0.5, [3])], 1.0, [1, 2, 3], {}),
    ("at the limit is in time", TimelyLimits(1.0), [(0.0, [1])], 1.0, [1], {}),
    ("the oldest is late", TimelyLimits(1.0), [(0.0, [1, 2]), (0.5, [3])], 1.1, [3], {"late": (2, 20, 1, 2)}),
    ("all are late", TimelyLimits(1.0), [(0.0, [1]), (0.5, [2, 3])], 9.0, [], {"late": (3, 30, 1, 3)}),
    ("full: the oldest goes", TimelyLimits(9.0, 2 * (ROW + 10)), [(0.0, [1]), (0.0, [2]), (0.0, [3])], 0.0, [2, 3],
     {"full": (1, 10, 1, 1)}),
    ("full: whole batches go", TimelyLimits(9.0, 3 * (ROW + 10)), [(0.0, [1, 2]), (0.0, [3, 4])], 0.0, [3, 4],
     {"full": (2, 20, 1, 2)}),
    ("one batch too large: its newest stay", TimelyLimits(9.0, 2 * (ROW + 10)), [(0.0, [1, 2, 3, 4, 5])], 0.0, [4, 5],
     {"full": (3, 30, 1, 3)}),
    ("one item too large", TimelyLimits(9.0, 5), [(0.0, [7])], 0.0, [], {"full": (1, 10, 7, 7)}),
    ("late, then full", TimelyLimits(1.0, 2 * (ROW + 10)), [(0.0, [1]), (2.0, [2, 3]), (2.0, [4])], 2.0, [4],
     {"late": (1, 10, 1, 1), "full": (2, 20, 2, 3)}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("limits", "offers", "now", "taken", "skipped"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_the_table(
    limits: TimelyLimits,
    offers: list[tuple[float, list[int]]],
    now: float,
    taken: list[int],
    skipped: dict[str, object],
) -> None:
    """Timely mode: each case of age and size, what comes out of it, and what is told as skipped."""
    queue = TimelyQueue(limits)
    for at, numbers in offers:
        queue.offer(batch(numbers), at)
    found = queue.take(now, MANY, MANY)
    assert numbers_of(found.batch) == taken
    assert told(found) == skipped
    assert queue.idle
    assert queue.waiting_octets == queue.waiting_items == 0
    assert queue.take(now, MANY, MANY).skipped == (), "told once"


def test_a_take_is_bounded_and_cuts_between_items() -> None:
    """A take gives at most so many items and octets, one item at least, and the rest with the next one."""
    queue = TimelyQueue(TimelyLimits())
    queue.offer(batch([1, 2, 3]), 0.0)
    queue.offer(batch([4, 5]), 0.0)
    assert numbers_of(queue.take(0.0, 2, MANY).batch) == [1, 2]
    assert numbers_of(queue.take(0.0, MANY, 25).batch) == [3, 4]
    assert numbers_of(queue.take(0.0, MANY, 3).batch) == [5]
    assert queue.idle


def test_what_was_skipped_is_told_by_stream() -> None:
    """Skips are exact: items, octets and receive times of each (spacecraft, VC, APID), and of all together."""
    queue = TimelyQueue(TimelyLimits(1.0))
    queue.offer(batch([11, 22, 31, 41]), 0.0)
    (skipped,) = queue.take(5.0, MANY, MANY).skipped
    one, two = StreamCount(3, 30, 11, 41), StreamCount(1, 10, 22, 22)
    streams = {StreamKey(1, 3, 1): one, StreamKey(1, 3, 2): two}
    assert skipped == Skipped(SkipReason.LATE, StreamCount(4, 40, 11, 41), streams)


def test_streams_without_end_take_bounded_memory() -> None:
    """R5: who sends every APID on every channel makes no table without end; the sums stay exact."""
    tally = Tally()
    items = no_items(3 * STREAMS_MAX)
    items["apid"], items["vcid"], items["length"] = np.arange(len(items)) % 2048, np.arange(len(items)) // 2048, 7
    for _ in range(2):
        tally.add(items)
    assert len(tally.streams) == STREAMS_MAX
    assert tally.others is not None
    assert tally.total == StreamCount(6 * STREAMS_MAX, 42 * STREAMS_MAX, 0, 0)
    assert sum(count.items for count in tally.streams.values()) + tally.others.items == tally.total.items


def test_a_selection_keeps_the_octets_of_its_items_alone() -> None:
    """R5: a listener of one APID holds its items' octets, contiguous and in order, not a link's whole buffer."""
    whole = batch([11, 22, 31, 42], octets=1000)
    part = selected(whole, Selection(apids=frozenset({2})))
    assert numbers_of(part) == [22, 42]
    assert len(part.octets) == 2000
    assert part.octets.base is None or not isinstance(part.octets.base, np.ndarray)
    one = selected(whole, Selection(apids=frozenset({2}), vcids=frozenset({5})))
    assert not len(one)
    everything = selected(whole, ALL)
    assert everything.octets is whole.octets, "who takes all shares it"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(-1, 3), st.integers(4, 90)), max_size=60))
def test_sums_by_stream_are_those_of_a_plain_loop(rows: list[tuple[int, int, int, int]]) -> None:
    """The batch sum equals counting one by one."""
    items = no_items(len(rows))
    for k, (spacecraft, vcid, apid, length) in enumerate(rows):
        items["spacecraft"][k], items["vcid"][k], items["apid"][k], items["length"][k] = spacecraft, vcid, apid, length
        items["receive_time_ns"][k] = (k * 37) % 11
    tally = Tally()
    tally.add(items[: len(rows) // 2])
    tally.add(items[len(rows) // 2 :])
    counted, octets = Counter[StreamKey](), Counter[StreamKey]()
    times: dict[StreamKey, list[int]] = {}
    for k, (spacecraft, vcid, apid, length) in enumerate(rows):
        key = StreamKey(spacecraft, vcid, apid)
        counted[key] += 1
        octets[key] += length
        times.setdefault(key, []).append((k * 37) % 11)
    wanted = {key: StreamCount(counted[key], octets[key], min(times[key]), max(times[key])) for key in counted}
    assert tally.streams == wanted


class Queue(RuleBasedStateMachine):
    """Any interleaving of offers, takes and time: nothing is lost or doubled, bounds hold, order is kept."""

    LIMITS = TimelyLimits(max_delay_s=1.0, max_octets=6 * (ROW + 10))

    def __init__(self) -> None:
        super().__init__()
        self.queue = TimelyQueue(self.LIMITS)
        self.now = 0.0
        self.offered: dict[int, float] = {}
        self.left: list[int] = []  # by our own account: what neither came nor was told
        self.skipped = 0

    @rule(count=st.integers(0, 8), octets=st.integers(4, 40))
    def offer(self, count: int, octets: int) -> None:
        numbers = list(range(len(self.offered), len(self.offered) + count))
        self.queue.offer(selected(batch(numbers, octets), ALL), self.now)
        self.offered |= dict.fromkeys(numbers, self.now)
        self.left += numbers

    @rule(seconds=st.sampled_from([0.1, 0.4, 0.9, 3.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(items=st.integers(1, 9), octets=st.integers(1, 200))
    def take(self, items: int, octets: int) -> None:
        taken = self.queue.take(self.now, items, octets)
        gone = sum(s.total.items for s in taken.skipped)
        for s in taken.skipped:
            assert sum(count.items for count in s.streams.values()) == s.total.items
            assert sum(count.octets for count in s.streams.values()) == s.total.octets
        numbers = numbers_of(taken.batch)
        assert len(numbers) <= items
        assert numbers == self.left[gone : gone + len(numbers)], "skipped is the oldest, then the rest in order"
        assert all(self.now - self.offered[number] <= 1.0 for number in numbers), "bounded delay"
        assert len(numbers) <= 1 or len(taken.batch.octets) <= octets
        self.left = self.left[gone + len(numbers) :]
        self.skipped += gone

    @invariant()
    def bounds(self) -> None:
        assert self.queue.waiting_octets <= self.LIMITS.max_octets
        assert self.queue.offered_items == len(self.offered)
        parts = self.queue.taken_items + self.queue.skipped_items + self.queue.waiting_items
        assert parts == self.queue.offered_items

    def teardown(self) -> None:
        while not self.queue.idle:
            self.take(9, 200)
        assert not self.left, "delivered + skipped = offered"


Queue.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestQueue = Queue.TestCase
