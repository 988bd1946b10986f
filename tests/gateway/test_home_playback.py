"""Playbacks of the Python client: asked for once, each packet of the range once, apart from what is live."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.agent.playback_run import PlaybackAround, PlaybackRun
from gateway.api.playback_requests import PlaybackAsk
from gateway.errors import Conflict, GatewayError, UsageError
from gateway.homes import HomeBase
from gateway.homes.client import SubscriptionRefused
from gateway.homes.home_base import Around
from gateway.playback.book import Asked, PlaybackBook
from gateway_codecs.batches import DataMode
from gateway_routes.playback import PlaybackState
from gateway_routes.rights import Actor, ActorKind
from tests.gateway.home_world import HOME, HomeWorld, Program
from tests.gateway.simulated import SimClock, SimStorage, end_all, inline, on_virtual_time, small_store

FIRST, END = 10, 45


class BookDesk:
    """The book of the simulated gateway, asked as the API asks it; it may be away, and the answer may get lost."""

    def __init__(self, world: HomeWorld) -> None:
        self.world, self.asked = world, 0
        self.book = world.registry.playbacks = PlaybackBook(
            "m", world.registry, small_store(), inline, SimClock(), lambda told: None
        )

    async def ask(self, body: Mapping[str, Any]) -> str:
        await asyncio.sleep(0.01)
        if not self.world.reachable:
            raise ConnectionError("nobody there")
        ask = PlaybackAsk.model_validate(body)
        for row in self.book.rows(HOME):
            if row["state"] in {"accepted", "running"} and row["selection"] == ask.selection:
                return str(row["playback"])
        self.asked += 1
        try:
            asked = Asked(Actor(ActorKind.HOME, HOME), ask.home, ask.selection, ask.span())
            request = await self.book.ask(asked)
        except GatewayError as error:
            raise SubscriptionRefused(str(error), "playback refused") from None
        if not self.world.calm and self.world.rng.random() < 0.3:
            raise ConnectionError("the answer got lost")
        return request.id

    def home(self, disk: SimStorage | None = None) -> HomeBase:
        world = self.world
        return HomeBase.around(
            Around(disk or world.disk, inline, inline, world.dial, desk=self, jitter=world.rng.random), HOME
        )


class Once(Program):
    """A program that loops over a playback and notes what it has finished, at any time killed and begun again."""

    def __init__(self, desk: BookDesk) -> None:
        super().__init__(desk.world)
        self.desk = desk
        self.finished: dict[int, bytes] = {}

    async def run(self) -> None:
        async with self.desk.home() as home:
            loop = home.playback(from_position=FIRST, upto_position=END, apid=5)
            async for batch in loop:
                assert not batch.missing
                assert set(batch.data_modes.tolist()) == {DataMode.PLAYBACK}
                positions = batch.positions.tolist()
                assert not set(self.finished) & set(positions), "what was finished came again"
                octets = batch.packets
                await asyncio.sleep(self.world.rng.choice([0, 0.01, 0.5]))
                if self.world.rng.random() < 0.7:
                    await loop.finish()
                    self.finished |= dict(zip(positions, octets, strict=True))
                else:  # the next turn finishes it
                    self.finished |= dict(zip(positions, octets, strict=True))
                    await loop.finish()
        self.over = True


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 1 << 32), st.lists(st.sampled_from(["loop", "leave", "kill", "cut", "full", "away"]), max_size=12)
)
def test_each_packet_of_the_range_once_whatever_happens(seed: int, steps: list[str]) -> None:
    """R4: killed, cut, left, its disk full, the answer to the asking lost: what was finished is the range, each packet
    once; one request was made for it, and it is done."""

    @on_virtual_time
    async def run() -> None:
        world = await HomeWorld.open(seed)
        await world.commit(60)
        desk = BookDesk(world)
        program = Once(desk)
        await program.through(steps)
        await program.until(lambda: program.over)
        assert [program.finished[k] for k in range(FIRST, END)] == world.wanted()[FIRST:END]
        assert len(program.finished) == END - FIRST
        (row,) = desk.book.rows()
        assert (row["state"], row["playback"], desk.asked) == ("done", "playback-1", 1)
        await world.end()

    run()


async def fetched(home: HomeBase, *request: str, **more: Any) -> list[bytes]:
    return [octets async for batch in home.playback(*request, **more) for octets in batch]


@on_virtual_time
async def test_it_is_apart_and_can_be_had_again() -> None:
    """A playback changes nothing of a live subscription; what is here needs no gateway any more; a store that lost it
    gets all of it again, by its id, though another one had acknowledged it."""
    world = await HomeWorld.open(1)
    world.calm = True
    await world.commit(100)
    desk = BookDesk(world)
    span = {"from_position": 10, "upto_position": 30}
    async with desk.home() as home:
        live = home.packets(subscription="all")
        first = await anext(live)
        assert await fetched(home, **span) == world.wanted()[10:30]
        await world.commit(5)
        assert await fetched(home, **span) == [], "each packet was finished"
        assert len(first) + sum([len(await anext(live)) for _ in range(1)]) <= 105
        assert set(first.data_modes.tolist()) == {DataMode.REAL_TIME}
    assert world.registry.subscriptions.keys() == {(HOME, "all")}
    world.reachable = False
    async with desk.home() as home:
        assert await fetched(home, consumer="again", **span) == world.wanted()[10:30]
    world.reachable = True
    async with desk.home(SimStorage(random.Random(2))) as home:
        assert await fetched(home, "playback-1") == world.wanted()[10:30]
    assert desk.book.one("playback-1").state is PlaybackState.DONE
    await world.end()


@on_virtual_time
async def test_what_cannot_be_is_told() -> None:
    """A range that is none, a selection beside an id, a request that is refused, cancelled or of nobody: told."""
    world = await HomeWorld.open(3)
    world.calm = True
    await world.commit(20)
    desk = BookDesk(world)
    async with desk.home() as home:
        for wrong in (
            {}, {"from_position": 1}, {"from_utc": "2026-11-26T00:00:00Z", "to_utc": "yesterday"},
            {"from_position": 1, "upto_position": 2, "to_utc": "2026-11-26T00:00:00Z"},
            {"request": "playback-1", "apid": 3}, {"request": "../x"},
        ):  # fmt: skip
            with pytest.raises(UsageError):
                home.playback(**wrong)
        with pytest.raises(SubscriptionRefused, match="beyond the head"):
            await fetched(home, from_position=3, upto_position=21)
        with pytest.raises(SubscriptionRefused, match="no playback request"):
            await fetched(home, "playback-9")
        asked = await desk.ask({"home": HOME, "selection": {"kinds": ["tm"]}, "from_position": 0, "upto_position": 9})
        await desk.book.cancel(asked, "the operator")
        with pytest.raises(SubscriptionRefused, match="cancelled by the operator"):
            await fetched(home, asked)
    await world.end()


class Fetched:
    """`gateway home playback` in a folder on a simulated disk, that can be killed."""

    def __init__(self, desk: BookDesk) -> None:
        self.desk, rng = desk, desk.world.rng
        self.disk, self.out = SimStorage(rng), SimStorage(rng)
        self.task: asyncio.Task[None] | None = None

    def begin(self, asked: Mapping[str, Any] | str | None) -> PlaybackRun:
        world = self.desk.world
        around = PlaybackAround(
            self.disk, self.out, lambda name: inline, world.dial, self.desk, world.rng.random
        )  # fmt: skip
        return PlaybackRun(HOME, asked, around)

    def start(self, asked: Mapping[str, Any] | str | None) -> PlaybackRun:
        run = self.begin(asked)
        self.task = asyncio.create_task(run.run(lambda told: None), name="playback")
        return run

    async def kill(self) -> None:
        for disk in (self.disk, self.out):
            disk.dead = True
        await end_all("home base", "subscriber", "outlet", "playback")
        for disk in (self.disk, self.out):
            disk.crash()

    def octets(self) -> bytes:
        return b"".join(bytes(octets) for octets in self.out.volatile.values())


ASKED = {"home": HOME, "selection": {"kinds": ["tm"]}, "from_position": FIRST, "upto_position": END}


@pytest.mark.parametrize("seed", range(12))
@on_virtual_time
async def test_its_files_are_exact_over_kills(seed: int) -> None:
    """R4: `gateway home playback`, killed with the power at any moment and begun again without its range: each packet
    once in the files; one request was made; another range into the same folder is refused."""
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # tasks that die with the power
    world = await HomeWorld.open(seed)
    await world.commit(60)
    desk = BookDesk(world)
    there = Fetched(desk)
    with pytest.raises(UsageError):
        there.begin(None)
    for _ in range(4):
        there.start(ASKED)
        await asyncio.sleep(world.rng.uniform(0, 1.5))
        await there.kill()
    run = there.start(None if desk.asked and there.disk.names("store") else ASKED)
    assert there.task is not None
    async with asyncio.timeout(1000):
        await there.task
    assert there.octets() == b"".join(world.wanted()[FIRST:END])
    assert (run.last["finished"], run.last["packets"], desk.asked) == (True, END - FIRST, 1)
    assert desk.book.rows()[0]["state"] == "done"
    with pytest.raises(Conflict, match="another playback"):
        there.begin({**ASKED, "upto_position": END + 1})
    world.reachable = False
    there.start(ASKED)
    await there.task  # nobody need be asked any more
    await world.end()
