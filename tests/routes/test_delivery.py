"""The delivery machine: lanes, cursor, acknowledgements (DESIGN 5)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway_codecs.batches import ItemFlag, Kind, Quality, Unit, no_items
from gateway_routes.delivery import Cursor, Delivery, DeliveryError, Lane, normalised, parse_cursor
from gateway_routes.selection import Selection, parse_selection

ranges = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda r: (r[0], r[0] + r[1])), max_size=8)


@given(st.integers(0, 30), ranges)
def test_a_cursor_is_the_set_of_its_positions(low_water: int, wanted: list[tuple[int, int]]) -> None:
    """However ranges come, the cursor covers exactly their union, sorted, disjoint, joined to the low water."""
    cursor = normalised(low_water, wanted)
    covered = set(range(low_water)) | {p for a, b in wanted for p in range(a, b)}
    have = set(range(cursor.low_water)) | {p for a, b in cursor.ranges for p in range(a, b)}
    assert have == covered
    flat = [p for r in cursor.ranges for p in r]
    assert flat == sorted(set(flat))
    assert all(a > cursor.low_water for a, _ in cursor.ranges)
    missing = {p for a, b in cursor.missing(100) for p in range(a, b)}
    assert missing == set(range(100)) - covered


class Deliveries(RuleBasedStateMachine):
    """Any interleaving of commits, sends, acknowledgements and cuts: every position once, cursor never ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.head = 10
        self.received: list[int] = []
        self.stored = Cursor()
        self.connect(False)

    def connect(self, sequential: bool) -> None:
        self.machine = Delivery(self.stored, self.head, sequential=sequential, window_octets=40, window_blocks=5)
        self.sent: dict[Lane, int] = {}

    @rule(count=st.integers(1, 20))
    def commit(self, count: int) -> None:
        self.head += count

    @rule(size=st.integers(1, 7))
    def send(self, size: int) -> None:
        lane = self.machine.next_lane(self.head)
        if lane is None:
            return
        first, end = self.machine.next_range(lane, self.head)
        upto = min(end, first + size)
        self.machine.sent(lane, first, upto, 10)
        self.received += range(first, upto)
        self.stored = self.stored.with_range(first, upto)
        self.sent[lane] = upto

    @rule(back=st.integers(0, 5))
    def acknowledge(self, back: int) -> None:
        for lane, upto in self.sent.items():
            self.machine.acknowledge(lane, max(0, upto - back))

    @rule(sequential=st.booleans())
    def cut_and_resume(self, sequential: bool) -> None:
        self.connect(sequential)

    @invariant()
    def every_position_at_most_once(self) -> None:
        assert len(self.received) == len(set(self.received))

    @invariant()
    def the_cursor_is_never_ahead(self) -> None:
        cursor, have = self.machine.cursor, set(self.received)
        assert set(range(cursor.low_water)) <= have
        assert all(set(range(a, b)) <= have for a, b in cursor.ranges)

    def teardown(self) -> None:
        self.connect(False)
        for _ in range(10_000):
            lane = self.machine.next_lane(self.head)
            if lane is None:
                break
            first, end = self.machine.next_range(lane, self.head)
            self.machine.sent(lane, first, end, 1)
            self.received += range(first, end)
            self.machine.acknowledge(lane, end)
        assert sorted(self.received) == list(range(self.head))
        assert self.machine.idle(self.head)


TestDeliveries = Deliveries.TestCase


def test_live_is_not_starved_by_backfill() -> None:
    """Live has a guaranteed share beside backfill: they take turns."""
    machine = Delivery(Cursor(), 1000, sequential=False, window_octets=1 << 20, window_blocks=1000)
    turns = []
    for head in range(1001, 1021):
        lane = machine.next_lane(head)
        assert lane is not None
        first, _ = machine.next_range(lane, head)
        machine.sent(lane, first, first + 1, 1)
        turns.append(lane)
    assert turns.count(Lane.LIVE) == 10


def test_a_full_window_stops_a_lane() -> None:
    """Bounded memory: nothing more is sent until something is acknowledged."""
    machine = Delivery(Cursor(), 100, sequential=True, window_octets=10, window_blocks=99)
    machine.sent(Lane.LIVE, 0, 5, 10)
    assert machine.next_lane(100) is None
    assert machine.acknowledge(Lane.LIVE, 5)
    assert machine.next_lane(100) == Lane.LIVE


def test_expired_ranges_are_told_exactly() -> None:
    """What retention took is skipped and told as an exact range."""
    machine = Delivery(Cursor(3), 100, sequential=False, window_octets=1 << 20, window_blocks=10)
    assert machine.skip_expired(Lane.BACKFILL, 40) == (3, 40)
    assert machine.next_range(Lane.BACKFILL, 100) == (40, 100)
    assert machine.cursor.low_water == 40


@pytest.mark.parametrize(
    "value",
    [
        {"low_water": -1}, {"low_water": "x"}, {"low_water": True}, {"low_water": 1, "ranges": [[5, 5]]},
        {"low_water": 1, "ranges": [[7, 5]]}, {"low_water": 1, "ranges": "x"}, {"low_water": 1, "ranges": [[1, 2, 3]]},
        {"low_water": 1, "ranges": [[1 << 70, 1 << 71]]}, {"low_water": 1, "ranges": [[0, 1]] * 2000},
    ],
)  # fmt: skip
def test_bad_cursors_are_refused(value: dict[str, object]) -> None:
    """A cursor from the wire is hostile."""
    with pytest.raises(DeliveryError):
        parse_cursor(value)


def test_a_cursor_beyond_the_head_is_an_error() -> None:
    """A cursor beyond the head is refused, never silently clipped."""
    with pytest.raises(DeliveryError, match="reaches 11"):
        Delivery(Cursor(11), 10, sequential=False, window_octets=1, window_blocks=1)


@pytest.mark.parametrize(("lane", "upto"), [(7, 1), (0, 99), (0, -1), (0, "x"), (None, 1)])
def test_bad_acknowledgements_are_refused(lane: object, upto: object) -> None:
    """An acknowledgement of what was never sent breaks the protocol."""
    machine = Delivery(Cursor(), 10, sequential=True, window_octets=100, window_blocks=10)
    machine.sent(Lane.LIVE, 0, 5, 1)
    with pytest.raises(DeliveryError):
        machine.acknowledge(lane, upto)  # type: ignore[arg-type]


def test_the_default_selection() -> None:
    """By default a home base gets good telemetry and events, neither idle packets nor rejected units."""
    items = no_items(5)
    items["kind"] = [Kind.TM, Kind.TM, Kind.TM, Kind.EVENT, Kind.TC]
    items["unit"] = Unit.PACKET
    items["flags"][1] = ItemFlag.IDLE
    items["quality"][2] = Quality.FECF
    assert Selection().mask(items).tolist() == [True, False, False, True, False]
    assert Selection(idle=True, bad_quality=True).mask(items).tolist() == [True, True, True, True, False]


@given(
    st.lists(st.tuples(st.sampled_from([1, 5]), st.integers(0, 2), st.integers(-1, 3), st.integers(-1, 3)), max_size=20)
)
def test_groups_and_masks_agree(rows: list[tuple[int, int, int, int]]) -> None:
    """A group that is not wanted holds no wanted item."""
    items = no_items(len(rows))
    for k, row in enumerate(rows):
        items["kind"][k], items["spacecraft"][k], items["vcid"][k], items["apid"][k] = row
    selection = parse_selection({"kinds": ["tm"], "spacecraft": ["a"], "vcids": [1, 2], "apids": [0, 1]}, {"a": 1})
    for item, wanted in zip(items, selection.mask(items), strict=True):
        group = (int(item[key]) for key in ("kind", "unit", "spacecraft", "vcid", "apid"))
        assert selection.wants_group(*group) or not wanted


@pytest.mark.parametrize(
    "wish",
    [
        {"apid": [1]},
        {"apids": 1},
        {"apids": ["x"]},
        {"apids": [5000]},
        {"kinds": ["radio"]},
        {"spacecraft": ["b"]},
        {"idle": 1},
    ],
)
def test_bad_selections_say_what_is_allowed(wish: dict[str, object]) -> None:
    """A selection that cannot be is refused with what is allowed."""
    with pytest.raises(ValueError, match=r"allowed|must be|takes|not one of"):
        parse_selection(wish, {"a": 1})


def test_mask_of_nothing() -> None:
    """An empty batch gives an empty mask."""
    assert Selection(apids=frozenset({1})).mask(no_items(0)).tolist() == np.zeros(0, bool).tolist()
