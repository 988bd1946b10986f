"""What requests cost who asks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway_routes.tolls import OTHERS, PAYERS_MAX, REFUSED, Tolls


def test_who_asks_too_fast_is_put_off_and_nobody_else() -> None:
    """R13: an allowance that is used up fills again; another payer has its own."""
    tolls = Tolls(per_s=10, at_once=20)
    assert [tolls.admit("a", 1, 0.0) for _ in range(21)] == [True] * 20 + [False]
    assert tolls.admit("b", 1, 0.0)
    assert not tolls.admit("a", 1, 0.05), "half of one"
    assert [tolls.admit("a", 1, 1.0) for _ in range(11)] == [True] * 10 + [False]


def test_refusals_cost_more_and_are_paid_later() -> None:
    """R13: what was refused is paid, at most for one whole allowance: who stops is served again in a known time."""
    tolls = Tolls(per_s=10, at_once=20)
    for _ in range(100):
        tolls.charge("a", REFUSED, 0.0)
    assert not tolls.admit("a", 1, 2.0)
    assert tolls.admit("a", 1, 2.1 + 0.01)


def test_a_clock_that_stands_still_gives_nothing() -> None:
    """R11: time that goes back fills no allowance."""
    tolls = Tolls(per_s=10, at_once=2)
    assert tolls.admit("a", 2, 100.0)
    assert not tolls.admit("a", 1, 50.0)


def test_many_payers_are_bounded() -> None:
    """R13: what is kept is bounded, whoever invents addresses; beyond the bound they share one allowance."""
    tolls = Tolls(per_s=1, at_once=10)
    for k in range(3 * PAYERS_MAX):
        tolls.charge(f"p{k}", 10, 0.0)
    assert len(tolls) <= PAYERS_MAX + 1
    assert not tolls.admit("one more", 1, 0.0), f"{OTHERS} have used theirs"
    assert not tolls.admit("p0", 1, 0.0)
    assert tolls.admit("much later", 1, 1000.0)
    assert len(tolls) < 10, "what is full again is forgotten"


@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from(["admit", "charge"]), st.floats(0.1, 9)), max_size=60))
def test_no_more_than_the_allowance(steps: list[tuple[float, str, float]]) -> None:
    """R13: whatever is asked when, what was let in is at most what was there and came since."""
    tolls, now_s, taken = Tolls(per_s=3, at_once=12), 0.0, 0.0
    for wait_s, what, cost in steps:
        now_s += wait_s
        if what == "charge":
            tolls.charge("a", cost, now_s)
        elif tolls.admit("a", cost, now_s):
            taken += cost
    assert taken <= 12 + 3 * now_s + 9
