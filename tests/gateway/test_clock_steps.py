"""Clocks that jump: what decides goes by steady time, what is stamped goes by the wall clock (R11)."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from gateway.journal import Recording
from gateway.journal.recording import record_files
from gateway.real import SystemClock
from gateway_routes.clock_watch import STEP_NS, ClockWatch
from tests.gateway.simulated import SimClock, SimStorage
from tests.gateway.test_journal import SMALL, Journal, replace
from tests.gateway.test_journal import inline as inline_worker
from tests.gateway.test_journal_pressure import DAY_NS, fill

S = 1_000_000_000


async def _aged(storage: SimStorage, clock: SimClock) -> Journal:
    return await Journal.open(storage, clock, inline_worker, inline_worker, replace(SMALL, keep_days=10), "m")


async def _day_by_day(journal: Journal, clock: SimClock, days: int) -> None:
    for _ in range(days):
        await fill(journal, 1, 100)
        clock.now_ns += DAY_NS


async def test_commits_after_a_step_forward_remove_nothing() -> None:
    """R11: a clock that is set 400 days ahead makes no segment older, though everything committed is stamped so."""
    storage, clock = SimStorage(random.Random(1)), SimClock()
    journal = await _aged(storage, clock)
    await _day_by_day(journal, clock, 5)
    clock.step(400 * DAY_NS)
    await _day_by_day(journal, clock, 5)
    assert await journal.retain() == 0
    assert journal.tail == 0
    await _day_by_day(journal, clock, 6)
    assert await journal.retain() > 0, "days that pass count as ever"
    await journal.close()


async def test_commits_after_a_step_back_remove_nothing_early() -> None:
    """R11: a clock that is set back by a day, and forth again, makes no segment a day older than it is."""
    storage, clock = SimStorage(random.Random(1)), SimClock()
    journal = await _aged(storage, clock)
    await _day_by_day(journal, clock, 2)
    clock.step(-DAY_NS)
    await _day_by_day(journal, clock, 2)
    clock.step(DAY_NS)
    await _day_by_day(journal, clock, 7)
    assert await journal.retain() == 0
    assert journal.tail == 0
    await _day_by_day(journal, clock, 2)
    await journal.retain()
    assert journal.tail == 2, "the third day ended nine days before the newest commit; it was stamped as the second"
    await journal.close()


def test_a_recording_keeps_its_days_whatever_the_clock_does() -> None:
    """R11: raw octets of the last days stay when the clock jumps, in either direction."""
    for step in (400 * DAY_NS, -DAY_NS):
        storage, clock = SimStorage(random.Random(1)), SimClock()
        recording = Recording(storage, clock, "m/recording/a", {"unit_octets": 100}, 3)
        for day in range(5):
            if day == 2:
                clock.step(step)
            recording.append(clock.tai_ns(), b"x" * 100)
            recording.retain()
            clock.now_ns += int(0.7 * DAY_NS)
        assert record_files(storage, "m/recording/a") == [f"{n:08}.rec" for n in (1, 2, 3)]
        for _ in range(4):
            clock.now_ns += DAY_NS
            recording.append(clock.tai_ns(), b"x" * 100)
        recording.retain()
        assert "00000001.rec" not in record_files(storage, "m/recording/a"), "days that pass count as ever"
        recording.close()


# ---- the watch ----


@given(st.lists(st.tuples(st.integers(0, 10 * S), st.integers(-400 * 86_400 * S, 400 * 86_400 * S)), max_size=20))
def test_steady_time_makes_no_step(moves: list[tuple[int, int]]) -> None:
    """R11: whatever is done to the wall clock, steady time moves by what passed, within half a second a step."""
    wall = unset = 10**18
    watch = ClockWatch(wall, unset)
    for passed, moved in moves:
        before = watch.steady_ns(wall)
        wall, unset = wall + passed + moved, unset + passed
        step = watch.observe(wall, unset)
        assert (step is not None) == (abs(moved) >= STEP_NS)
        assert abs(watch.steady_ns(wall) - before - passed) < 2 * STEP_NS
    assert watch.steps == sum(abs(moved) >= STEP_NS for _, moved in moves)


def test_a_clock_that_is_set_back_is_forgiven() -> None:
    """A day forth and a day back: two steps, and steady time is wall time again."""
    watch = ClockWatch(0, 0)
    assert watch.observe(86_400 * S + S, S) is not None
    assert watch.offset_ns == 86_400 * S
    assert watch.observe(2 * S, 2 * S) is not None
    assert (watch.offset_ns, watch.steps) == (0, 2)


def test_slewing_is_followed() -> None:
    """A clock that is disciplined, by half a thousandth at most, is no step however long that goes on."""
    watch = ClockWatch(0, 0)
    for second in range(1, 10_000):
        assert watch.observe(second * S + second * S // 2000, second * S) is None
    assert watch.steady_ns(123) == 123


def test_the_system_clock_tells_its_steps() -> None:
    """Stamps follow the wall clock, decisions do not, until the operator accepts it."""
    now = [1000 * S, 0]
    clock = SystemClock(lambda: (now[0], now[1]))
    now[:] = [1001 * S + 3600 * S, S]
    assert (clock.tai_ns(), clock.steady_tai_ns()) == (4601 * S, 1001 * S)
    now[:] = [4602 * S, 2 * S]
    steps = clock.steps()
    assert (steps.steps, steps.offset_s, steps.last_s, steps.age_s) == (1, 3600.0, 3600.0, 1.0)
    assert clock.accept() == 3600.0
    assert clock.steady_tai_ns() == 4602 * S
    assert clock.steps().offset_s == 0.0


def test_the_real_clocks_agree() -> None:
    """The machine's own clocks are read close enough together to be no step."""
    clock = SystemClock()
    for _ in range(2000):
        clock.tai_ns()
    assert clock.steps().steps == 0
