"""Turns on the event loop: many sessions of one home base are one of many."""

from __future__ import annotations

import asyncio

import pytest

from gateway.homes.turns import Turns

from .simulated import on_virtual_time


@on_virtual_time
async def test_sixty_four_sessions_of_one_are_as_one() -> None:
    """R5: while everybody has something to do, a home base with 64 sessions has as many steps as one with one."""
    turns, steps, ending = Turns(), dict.fromkeys(("hostile", "a", "b"), 0), asyncio.Event()

    async def work(home: str) -> None:
        while not ending.is_set():
            await turns.mine(home)
            steps[home] += 1
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(work("hostile")) for _ in range(64)]
    tasks += [asyncio.create_task(work(home)) for home in ("a", "b")]
    for _ in range(2000):
        await asyncio.sleep(0)
    ending.set()
    await asyncio.gather(*tasks)
    assert steps["a"] == pytest.approx(steps["b"], abs=3)
    assert steps["hostile"] <= 1.2 * steps["a"]
    assert steps["hostile"] > 500, "nobody starves"


@on_virtual_time
async def test_a_turn_that_is_free_is_had_at_once() -> None:
    """Who is alone waits for nobody, and steps come in the order in which they were asked for."""
    turns, done = Turns(), list[int]()
    assert turns.free("a")
    assert not turns.free("a")
    assert turns.free("b")
    for k in range(3):
        turns.later("a", lambda k=k: done.append(k))  # type: ignore[misc]
    assert done == []
    await asyncio.sleep(0.001)
    assert done == [0, 1, 2]
    assert turns.free("a")


@on_virtual_time
async def test_a_step_that_fails_or_is_given_up_takes_no_other_with_it() -> None:
    """A step that raises, and one who waits and is cancelled: the others have their turns."""
    loop, turns, done, raised = asyncio.get_running_loop(), Turns(), list[str](), list[str]()
    loop.set_exception_handler(lambda _, context: raised.append(str(context.get("exception"))))

    def fails() -> None:
        raise ValueError("of ours")

    turns.free("a")
    waits = asyncio.create_task(turns.mine("a"))
    await asyncio.sleep(0)
    waits.cancel()
    turns.later("a", fails)
    turns.later("b", lambda: done.append("b"))
    turns.later("a", lambda: done.append("a"))
    await asyncio.sleep(0.001)
    assert sorted(done) == ["a", "b"]
    assert raised == ["of ours"]
