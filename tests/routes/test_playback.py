"""Playback requests: every cell of the table in gateway_routes.playback, spans of time, and what resending reopens."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_codecs.batches import ABSENT, no_items
from gateway_routes.delivery import Cursor, Delivery, Lane, normalised, overlap
from gateway_routes.playback import (
    TABLE,
    PlaybackAct,
    PlaybackRefused,
    PlaybackRequest,
    PlaybackState,
    RangeBy,
    Span,
    Unacknowledged,
    limited,
    restored,
)
from gateway_routes.selection import Selection

ALL = Span(RangeBy.POSITIONS, 0, 100)
WAYS = {
    "requested": [],
    "accepted": ["accept"],
    "refused": ["refuse"],
    "running": ["accept", "begin"],
    "done": ["accept", "begin", "complete"],
    "failed": ["fail"],
    "cancelled": ["cancel"],
}
CELLS = {
    "requested": {"accept": "accepted", "refuse": "refused", "fail": "failed", "cancel": "cancelled"},
    "accepted": {"begin": "running", "fail": "failed", "cancel": "cancelled"},
    "refused": {},
    "running": {"begin": "running", "complete": "done", "fail": "failed", "cancel": "cancelled"},
    "done": {"begin": "done", "complete": "done"},
    "failed": {},
    "cancelled": {},
}


def request_in(state: str) -> PlaybackRequest:
    made = PlaybackRequest("playback-1", "a", "operator x", {}, ALL, requested_ns=1)
    for k, act in enumerate(WAYS[state]):
        made = made.after(PlaybackAct(act), k + 2, f"by {act}")
    assert made.state == state
    return made


ACTS = {"accept": "accepted", "refuse": "refused", "begin": "fetched", "complete": "completed",
        "fail": "given up", "cancel": "cancelled"}  # fmt: skip


@pytest.mark.parametrize("state", list(PlaybackState))
@pytest.mark.parametrize("act", list(PlaybackAct))
def test_every_cell(state: str, act: str) -> None:
    """Each act in each state leads where the table says, or is refused with state and reason; nothing else."""
    before = request_in(state)
    wanted = CELLS[state].get(act)
    if wanted is None:
        with pytest.raises(PlaybackRefused, match=f"playback-1 is {state}.* it cannot be {ACTS[act]} now"):
            before.after(PlaybackAct(act), 99)
        return
    after = before.after(PlaybackAct(act), 99, "why")
    assert (after.state, after.reason) == (wanted, "why")
    assert (after.accepted_ns == 99) == (act == "accept")
    assert after.open == (wanted in {"accepted", "running"})
    if wanted in {"refused", "done", "failed", "cancelled"}:
        assert after.ended_ns == (before.ended_ns or 99), "when it ended first"
    assert restored(json.loads(json.dumps(after.stored()))) == after


def test_the_table_has_no_other_cells() -> None:
    """The cells tested are all of them."""
    assert {(str(s), str(a)) for s, a in TABLE} == {(s, a) for s, row in CELLS.items() for a in row}


def test_progress_counts_what_is_acknowledged() -> None:
    """R2: items count when their block is acknowledged, each once, and the progress is that of the positions."""
    waiting = Unacknowledged()
    waiting.sent(10, 3, 30)
    waiting.sent(20, 5, 50)
    assert waiting.take(9) == (0, 0)
    assert waiting.take(15) == (3, 30)
    assert waiting.take(15) == (0, 0)
    assert waiting.take(20) == (5, 50)
    running = request_in("running").bounded(50, 150).progressed(75, 3, 30, 2)
    assert (running.progress, running.items, running.octets, running.missing_positions) == (0.25, 3, 30, 2)
    assert running.after(PlaybackAct.COMPLETE, 9).progress == 1.0


@pytest.mark.parametrize("by", [RangeBy.RECEIVE_TIME, RangeBy.GENERATION_TIME])
def test_a_span_of_times_takes_what_lies_in_it(by: RangeBy) -> None:
    """The first instant is within, the last is not; an item without the time is in no span; the filter holds too."""
    items = no_items(5)
    items["kind"], items["apid"] = 1, [7, 7, 7, 7, 8]
    items[f"{by.value}_ns"] = [99, 100, 199, 200, 150]
    items["generation_time_ns" if by is RangeBy.RECEIVE_TIME else "receive_time_ns"] = 0
    wanted = limited(Selection(apids=frozenset({7})), Span(by, 100, 200))
    assert wanted.mask(items).tolist() == [False, True, True, False, False]
    items[f"{by.value}_ns"] = ABSENT
    assert not wanted.mask(items).any()
    assert wanted.wants_group(1, 1, 1, 1, 7)
    assert not wanted.wants_group(1, 1, 1, 1, 8)
    plain = Selection()
    assert limited(plain, ALL) is plain


@pytest.mark.parametrize("span", [(5, 5), (6, 5), (-1, 5), (0, 1 << 62)])
def test_what_is_no_range(span: tuple[int, int]) -> None:
    """Bad input gets a clear error: empty and impossible ranges of positions."""
    with pytest.raises(ValueError, match=r"the range is empty|positions are whole numbers"):
        Span(RangeBy.POSITIONS, *span)


Ends = st.integers(0, 60)


@given(low=Ends, ranges=st.lists(st.tuples(Ends, Ends), max_size=6), first=Ends, end=Ends)
def test_a_range_is_taken_out_of_a_cursor(low: int, ranges: list[tuple[int, int]], first: int, end: int) -> None:
    """Forced re-send: exactly the positions of the range are missing again, no others."""
    cursor = normalised(low, ranges)
    held = set(range(61)) - {p for a, b in cursor.missing(61) for p in range(a, b)}
    after = cursor.without(first, end) if first < end else cursor
    again = set(range(61)) - {p for a, b in after.missing(61) for p in range(a, b)}
    assert again == held - set(range(first, end))


@given(one=st.lists(st.tuples(Ends, Ends), max_size=5), other=st.lists(st.tuples(Ends, Ends), max_size=5))
def test_what_two_lists_of_ranges_share(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    """The overlap is that of the sets of positions."""
    a, b = (list(normalised(0, ranges).ranges) for ranges in (one, other))
    sets = [{p for first, end in ranges for p in range(first, end)} for ranges in (a, b, overlap(a, b))]
    assert sets[2] == sets[0] & sets[1]


@given(again=st.tuples(Ends, Ends), sequential=st.booleans(), step=st.integers(1, 9))
def test_blocks_do_not_straddle_what_is_sent_again(again: tuple[int, int], sequential: bool, step: int) -> None:
    """A block is of what is sent again or of what is new, never of both: the store keeps blocks whole."""
    if again[0] >= again[1]:
        return
    cursor = Cursor(50).without(*again)
    delivery = Delivery(cursor, 60, sequential=sequential, window_octets=1 << 30, window_blocks=999, again=[again])
    sent = []
    while (lane := delivery.next_lane(60)) is not None:
        first, end = delivery.next_range(lane, 60)
        upto = min(end, first + step)
        delivery.sent(lane, first, upto, 1)
        sent.append((first, upto))
    assert {p for a, b in sent for p in range(a, b)} == {p for a, b in cursor.missing(60) for p in range(a, b)}
    inside = set(range(*again))
    assert all(set(range(a, b)) <= inside or not set(range(a, b)) & inside for a, b in sent)
    for lane in delivery.lanes:
        delivery.acknowledge(lane, delivery.lanes[Lane(lane)].sent)
    assert delivery.cursor == Cursor(60)


def test_arrays_stay_what_they_are() -> None:
    """A batch is immutable once handed on: a span changes none of its columns."""
    items = no_items(2)
    before = items.copy()
    limited(Selection(), Span(RangeBy.RECEIVE_TIME, 0, 5)).mask(items)
    assert np.array_equal(items, before)
