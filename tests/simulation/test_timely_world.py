"""Timely listeners beside everything else in bad weather, seeded, on virtual time: the link world of test_tcp_world,
with sessions that read, that read seldom, and that never read."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from gateway.homes.registry import SubscriptionRegistry
from gateway.homes.session import Session, SessionLimits
from gateway.links.hand_over import AT_RISK_S
from gateway_codecs.batches import Unit
from gateway_codecs.delivery_block import TIMELY, decode
from tests.conftest import SEEDS
from tests.gateway.simulated import SimLoop, end_all, granted, inline, small_store
from tests.simulation.test_tcp_world import TcpWorld

SLOW = 3


class Ear:
    """The other end of a timely session. `pauses_s`: how long each message takes it; None = it never reads."""

    def __init__(self, name: str, pauses_s: list[float] | None, rng: random.Random) -> None:
        hello = {"home": "a", "subscription": name, "mode": "timely", "max_delay_ms": 500}
        selection = {"kinds": ["tm"], "idle": True, "units": ["packet"]}
        self._hello: str | None = json.dumps({"type": "subscribe", **hello, "selection": selection})
        self._pauses_s, self._rng = pauses_s, rng
        self.heard: list[tuple[float, bytes]] = []
        self.skipped = 0
        self.finished = False

    async def receive(self) -> str | bytes:
        hello, self._hello = self._hello, None
        if hello is not None:
            return hello
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, message: str | bytes) -> None:
        if self._pauses_s is None:
            await asyncio.Event().wait()
        elif self._pauses_s:
            await asyncio.sleep(self._rng.choice(self._pauses_s))
        if isinstance(message, str):
            told = json.loads(message)
            self.skipped += told["items"] if told["type"] == "skipped" else 0
            self.finished |= told["type"] == "finished"
            return
        block = decode(message)
        assert block.kind == TIMELY
        now = asyncio.get_running_loop().time()
        self.heard += [(now, block.batch.octets_of(k)) for k in range(len(block.positions))]

    async def close(self, reason: str) -> None:
        pass


class Life:
    """What was heard between a start of the gateway and its end."""

    def __init__(self, ears: list[Ear], world: TimelyWorld) -> None:
        self.ears, self.feeds, self.ended_s, self.was_full = ears, [], float("inf"), False
        registry = SubscriptionRegistry(world.journal, small_store(), inline, *granted("a"), timely=world.tap)
        self.sessions = [Session(ear, registry, SessionLimits()) for ear in ears]
        self.tasks = [asyncio.create_task(s.run(), name=f"session {k}") for k, s in enumerate(self.sessions)]

    def rows(self) -> list[dict[str, Any]]:
        return [session.snapshot() for session in self.sessions]


class TimelyWorld(TcpWorld):
    """The link's world; each start of the gateway has a quick listener, `slow` ones, and one that never reads."""

    def __init__(self, seed: int, slow: int) -> None:
        super().__init__(seed)
        self._slow, self._ear_rng = slow, random.Random(seed)  # not the world's: it must be the same without them
        self.lives: list[Life] = []

    async def start_gateway(self) -> None:
        self.tap = type(self.tap)()
        await super().start_gateway()
        ears = [Ear("quick", [], self._ear_rng)]
        if self._slow:
            ears += [Ear(f"slow{k}", [0.0, 0.3, 2.0, 9.0], self._ear_rng) for k in range(self._slow)]
            ears += [Ear("never", None, self._ear_rng)]
        self.lives.append(Life(ears, self))

    async def crash_gateway(self) -> None:
        self.lives[-1].ended_s = asyncio.get_running_loop().time()
        await end_all("session")
        await super().crash_gateway()

    async def full_disk(self) -> None:
        self.lives[-1].was_full = True
        await super().full_disk()
        self.lives[-1].was_full = True  # it may have been started meanwhile

    async def run(self) -> None:
        await super().run()
        self.tap.finish()
        await asyncio.sleep(60)
        self.rows = self.lives[-1].rows()
        self.counters = self.link.snapshot()["counters"]
        await end_all("session")


def ran(seed: int, slow: int) -> TimelyWorld:
    world = TimelyWorld(seed, slow)
    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(world.run())
    return world


@pytest.mark.parametrize("seed", range(SEEDS // 60))
def test_slow_listeners_cost_the_others_nothing(seed: int) -> None:
    """R5: with slow and deaf listeners or without, the journal, the link and who reads have the same, just then."""
    alone, beside = ran(seed, 0), ran(seed, SLOW)
    for world in (alone, beside):
        assert world.caught_up
    assert alone.packets() == beside.packets()
    assert [event["message"] for event in alone.events] == [event["message"] for event in beside.events]
    assert alone.counters == beside.counters
    quick = [[life.ears[0].heard for life in world.lives] for world in (alone, beside)]
    assert quick[0] == quick[1], "each item at the same instant"


@pytest.mark.parametrize("seed", range(SEEDS // 60))
def test_timely_through_bad_weather(seed: int) -> None:
    """R3, R12: who reads hears every packet of the link in order, full disk or not; little of it is lost by a crash."""
    world = ran(seed, SLOW)
    place = {octets: k for k, octets in enumerate(world.station.packets())}
    journalled = {octets for octets, _ in world.packets()}
    for life in world.lives:
        quick = life.ears[0]
        assert not quick.skipped
        where = [place[octets] for _, octets in quick.heard]
        assert where == sorted(set(where)), "once, in order"
        safe = [octets for at, octets in quick.heard if at < life.ended_s - AT_RISK_S]
        if not life.was_full:
            assert set(safe) <= journalled
        for ear in life.ears:  # a slow one: what it heard is a part of that, in order
            told = [place[octets] for _, octets in ear.heard]
            assert told == sorted(set(told))
    last = world.lives[-1]
    heard = {octets for _, octets in last.ears[0].heard}
    ours = [octets for octets, _ in world.packets()][-len(heard) :]
    assert set(ours) == heard, "what is journalled in the last life was heard in it, and the other way round"
    for ear, row in zip(last.ears[:-1], world.rows[:-1], strict=True):
        assert ear.finished
        assert row["waiting_items"] == 0
        assert len(ear.heard) + ear.skipped == len(heard), "delivered + skipped = offered"
    assert world.rows[-1]["waiting_items"] <= len(heard)
    units = world.items.items["unit"]
    assert int((units == Unit.PACKET).sum()) == len(journalled)
