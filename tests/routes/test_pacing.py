"""Rates and fair turns: caps that hold in every window, shares by weight, nobody starves."""

from __future__ import annotations

import itertools
import random
from collections import Counter, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_routes.pacing import (
    BURST_S,
    LIVE_WEIGHT,
    WEIGHTS,
    WINDOW_LEAST_OCTETS,
    DelayWindow,
    FairTurns,
    Priority,
    TokenBucket,
    message_octets,
)

messages = st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 5000), st.floats(0, 0.02)), min_size=1, max_size=80)


@given(st.sampled_from([8_000.0, 64_000.0, 10e6]), messages)
def test_no_window_passes_more_than_its_rate(rate_bps: float, wishes: list[tuple[float, int, float]]) -> None:
    """A cap holds in every window: its rate, a burst of 40 ms, and one message; late timers gain nothing more."""
    bucket, now, sent = TokenBucket(rate_bps), 0.0, list[tuple[float, int]]()
    for pause, octets, late in wishes:
        now += pause
        wait = bucket.wait_s(now)
        now += wait + (late if wait else 0.0)
        bucket.spend(octets, now)
        sent.append((now, octets))
    for first, (begin, _) in enumerate(sent):
        total = 0
        for end, octets in sent[first:]:
            total += octets
            allowed = rate_bps / 8 * (end - begin + BURST_S) + octets
            assert total <= allowed + 1e-6 * total + 1


@pytest.mark.parametrize("rate_bps", [8_000, 64_000, 1_000_000, 50_000_000])
@pytest.mark.parametrize("seed", range(5))
def test_a_cap_is_held_within_one_per_cent(rate_bps: int, seed: int) -> None:
    """Who always wants gets its rate within 1 % over 10 s, with timers up to 10 ms late; or but for one message."""
    rng, bucket, now, passed = random.Random(seed), TokenBucket(rate_bps), 0.0, 0
    most = message_octets(rate_bps, 1 << 18)
    while True:
        if wait := bucket.wait_s(now):
            now += wait + rng.random() * 0.01
        if now >= 10.0:
            break
        octets = rng.randint(most // 2, most)
        bucket.spend(octets, now)
        passed += octets
    assert passed * 8 / rate_bps == pytest.approx(10.0, abs=max(0.1, most * 8 / rate_bps))


def test_messages_fit_the_rate() -> None:
    """A slow line gets small messages, a fast one as large as they may be."""
    assert message_octets(1_000_000, 1 << 18) == 5000
    assert message_octets(1000, 1 << 18) == 256
    assert message_octets(10**9, 1 << 18) == 1 << 18


def served(weights: dict[str, int], turns: int, rng: random.Random) -> tuple[Counter[str], list[str]]:
    """What each subscription used when all always want; and who had each turn."""
    queue, used, order = FairTurns(), Counter[str](), list[str]()
    for name, share in weights.items():
        queue.ask(name, share)
    while len(order) < turns:
        ticket, cost = queue.next(), rng.randint(100, 10_000)
        assert ticket is not None
        assert queue.next() is None, "one at a time"
        order.append(str(ticket.key))
        used[str(ticket.key)] += cost
        queue.done(ticket, cost)
        queue.ask(ticket.key, weights[str(ticket.key)])
    return used, order


@pytest.mark.parametrize("seed", range(5))
def test_shares_follow_the_weights_and_nobody_starves(seed: int) -> None:
    """Among those who always want, what each gets is as its weight; the least gets its turn again and again."""
    weights = {"high": 16, "normal": 4, "normal too": 4, "low": 1}
    used, order = served(weights, 10_000, random.Random(seed))
    whole = sum(used.values())
    for name, share in weights.items():
        assert used[name] / whole == pytest.approx(share / 25, rel=0.1), name
    waits = [k for k, name in enumerate(order) if name == "low"]
    longest = max(after - before for before, after in itertools.pairwise(waits))
    assert longest < 25 * 10 * 3, "a turn of low costs at most as much as others use meanwhile, by their weights"


@pytest.mark.parametrize("even", [True, False])
def test_who_is_live_is_next(even: bool) -> None:
    """A live subscription that asks now and then waits for one turn, however many catch up, and in which step."""
    queue, rng = FairTurns(), random.Random(1)
    for k in range(50):
        queue.ask(f"bulk {k}", WEIGHTS[Priority.HIGH])
    current = queue.next()
    for _ in range(200):
        assert current is not None
        live = queue.ask("live", WEIGHTS[Priority.LOW], live=True)
        queue.done(current, 1 << 18 if even else rng.randint(10_000, 1 << 18))
        queue.ask(current.key, 16)
        current = queue.next()
        assert current is live
        queue.done(live, 500)
        current = queue.next()


def test_live_does_not_starve_what_is_caught_up() -> None:
    """Who is live and always wants leaves one part in nine to those who catch up."""
    queue, used = FairTurns(), {True: 0, False: 0}
    for live in (True, False):
        for k in range(3):
            queue.ask((live, k), 4, live)
    for _ in range(5000):
        ticket = queue.next()
        assert ticket is not None
        used[ticket.live] += 1000
        queue.done(ticket, 1000)
        queue.ask(ticket.key, 4, ticket.live)
    assert used[False] / (used[True] + used[False]) == pytest.approx(1 / (1 + LIVE_WEIGHT), rel=0.02)


def test_who_leaves_costs_nothing() -> None:
    """A wish that is withdrawn takes no turn; a slot comes back from a turn that did nothing."""
    queue = FairTurns()
    first, second, third = (queue.ask(name, 1) for name in "abc")
    assert queue.next() is first
    assert not queue.due
    queue.leave(second)
    queue.done(first, 0)
    assert queue.due
    assert queue.next() is third
    queue.done(third, 0)
    assert queue.next() is None
    assert not queue.due


def test_a_new_session_of_the_same_subscription_does_not_jump_the_queue() -> None:
    """R13: who reconnects after each message has the share of its weight, no more."""
    queue, used = FairTurns(), Counter[str]()
    waiting = [queue.ask("flapping", 1), queue.ask("patient", 1)]
    for _ in range(1000):
        ticket = queue.next()
        assert ticket is not None
        waiting.remove(ticket)
        used[str(ticket.key)] += 100
        queue.done(ticket, 100)
        waiting.append(queue.ask(ticket.key, 1))
        if flapping := [other for other in waiting if other.key == "flapping"]:
            queue.leave(flapping[0])
            waiting.remove(flapping[0])
            waiting.append(queue.ask("flapping", 1))
    assert used["flapping"] == pytest.approx(used["patient"], rel=0.01)


@pytest.mark.parametrize("round_trip_s", [0.001, 0.02, 0.1, 0.3])
@pytest.mark.parametrize("octets_per_s", [1e6, 5e6, 15e6, 50e6])
def test_what_is_caught_up_fills_the_way_and_leaves_little_standing_on_it(
    octets_per_s: float, round_trip_s: float
) -> None:
    """Issue 5: a backlog uses the whole way to a home base, and live items behind it on one connection wait little."""
    most, block = 4 << 20, 1 << 18
    window, under_way, waits = DelayWindow(most), deque[tuple[float, int]](), list[float]()
    now_s = free_s = 0.0  # `free_s`: when the way has carried all that was sent
    sent = arrived = 0
    while now_s < 20:
        while block * len(under_way) < window.octets:
            sent, free_s = sent + 1, max(free_s, now_s) + block / octets_per_s
            window.sent(sent, block, now_s)
            under_way.append((free_s + round_trip_s, sent))
        now_s, upto = under_way.popleft()
        window.acknowledged(upto, now_s)
        if now_s > 5:
            arrived += block
            waits.append(max(0.0, free_s - now_s))
    assert arrived / 15 >= 0.8 * min(octets_per_s, most / (round_trip_s + block / octets_per_s))
    assert sorted(waits)[len(waits) // 2] <= max(0.08, WINDOW_LEAST_OCTETS / octets_per_s)
    assert WINDOW_LEAST_OCTETS <= window.octets <= most


def test_a_window_for_what_is_caught_up_never_shuts() -> None:
    """Issue 5: however late acknowledgements come, something may be under way; small windows stay as they are."""
    for most in (1, 1 << 16, 4 << 20):
        window, now_s = DelayWindow(most), 0.0
        for k in range(200):
            window.sent(k, 1 << 18, now_s)
            now_s += 0.001 if k == 0 else 5.0
            window.acknowledged(k, now_s)
            assert min(most, WINDOW_LEAST_OCTETS) <= window.octets <= most
