"""Bandwidth caps and priorities between sessions, on virtual time: caps hold, live goes first, nobody starves."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypeVar

import pytest

from gateway.homes.lines import LIVE_WITHIN_S, REST_MAX_S, Lines
from gateway.homes.registry import SubscriptionRegistry
from gateway.homes.session import Session, SessionLimits
from gateway.journal import Journal
from gateway.world import Worker
from gateway_codecs.batches import IntakeBatch
from gateway_codecs.delivery_block import MARK, DeliveryBlock, decode
from tests.gateway.simulated import SimClock, SimStorage, granted, inline, on_virtual_time, small_store
from tests.gateway.test_journal import packets
from tests.gateway.test_sessions import HELLO, SETTINGS

T = TypeVar("T")
RATE_BPS = 1_000_000


class Eater:
    """A peer that reads and acknowledges at once, and notes when how much came, and when each item."""

    def __init__(self, registry: SubscriptionRegistry, **hello: Any) -> None:
        self._up: asyncio.Queue[str] = asyncio.Queue()
        self.messages: list[tuple[float, int]] = []
        self.items: dict[bytes, float] = {}
        self.told: list[dict[str, Any]] = []
        self._up.put_nowait(json.dumps(HELLO | hello))
        self._task = asyncio.create_task(Session(self, registry, SessionLimits()).run(), name="session")

    async def receive(self) -> str | bytes:
        return await self._up.get()

    async def send(self, message: str | bytes) -> None:
        now = asyncio.get_running_loop().time()
        self.messages.append((now, len(message)))
        if isinstance(message, str):
            self.told.append(json.loads(message))
            return
        block = decode(message)
        self._take(block, now)

    def _take(self, block: DeliveryBlock, now: float) -> None:
        for row in range(len(block.positions)):
            self.items.setdefault(block.batch.octets_of(row), now)
        if block.kind not in {MARK, 3}:
            self._up.put_nowait(json.dumps({"type": "ack", "lane": block.lane, "upto": block.upto_position}))

    async def close(self, reason: str) -> None:
        pass

    def octets(self, begin: float, end: float) -> int:
        return sum(size for at, size in self.messages if begin <= at < end)

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class World:
    """A journal with a past, and sessions on it."""

    def __init__(self) -> None:
        self.journal: Journal
        self.registry: SubscriptionRegistry
        self.eaters: list[Eater] = []
        self.count = 0

    async def open(self, past: int, lines: Lines | None = None, reader: Worker = inline, memory: int = 1 << 26) -> None:
        settings = replace(SETTINGS, memory_octets=memory, segment_octets=1 << 24)
        self.journal = await Journal.open(SimStorage(random.Random(1)), SimClock(), inline, reader, settings, "m")
        self.registry = SubscriptionRegistry(
            self.journal, small_store(), inline, *granted("a", "b"), lines=lines or Lines()
        )
        for _ in range(0, past, 250):
            await self.commit(250)

    def eater(self, **hello: Any) -> Eater:
        self.eaters.append(Eater(self.registry, **hello))
        return self.eaters[-1]

    async def commit(self, count: int, apid: int = 5) -> list[bytes]:
        """Packets of 200 octets, all different."""
        values = [(self.count + k).to_bytes(8, "big") + bytes(192) for k in range(count)]
        self.count += count
        batch = packets(values, apid=apid)
        self.registry.timely.offer(batch)
        await self.journal.append(IntakeBatch(batch))
        return values

    async def close(self) -> None:
        for eater in self.eaters:
            await eater.leave()
        await end_of(self.journal)


async def end_of(journal: Journal) -> None:
    await journal.drain()
    await journal.close()


def now_s() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize(("mode", "rate_bps"), [("complete", RATE_BPS), ("offline", 64_000)])
@on_virtual_time
async def test_a_subscription_keeps_the_limit_it_asked_for(mode: str, rate_bps: int) -> None:
    """A cap: what one subscription gets is within 1 % of its rate in any 10 s, and what it gets is exact."""
    world = World()
    await world.open(12_000)
    eater = world.eater(mode=mode, rate_limit_bps=rate_bps)
    begin = now_s()
    await asyncio.sleep(22)
    for second in range(0, 11, 2):
        octets = eater.octets(begin + second, begin + second + 10)
        assert octets * 8 / 10 == pytest.approx(rate_bps, rel=0.01)
    assert (eater.told[0]["rate_limit_bps"], eater.told[0]["priority"]) == (rate_bps, "normal")
    numbers = [int.from_bytes(value[:8], "big") for value in eater.items]
    assert numbers == list(range(len(numbers))), "each once, in order"
    await world.close()


@on_virtual_time
async def test_a_timely_subscription_keeps_its_limit_and_tells_the_rest() -> None:
    """A cap below what comes: timely skips what does not fit, tells it, and stays as young as it promised."""
    world = World()
    await world.open(0)
    eater = world.eater(mode="timely", subscription="t", rate_limit_bps=200_000, max_delay_ms=500)
    offered: dict[bytes, float] = {}
    begin = now_s()
    await asyncio.sleep(0.01)
    for _ in range(220):  # 400 packets/s, 870 kbit/s
        for value in await world.commit(20):
            offered[value] = now_s()
        await asyncio.sleep(0.05)
    assert eater.octets(begin + 1, begin + 11) * 8 / 10 == pytest.approx(200_000, rel=0.01)
    await asyncio.sleep(2)
    skipped = sum(told["items"] for told in eater.told if told["type"] == "skipped")
    assert len(eater.items) + skipped == len(offered)
    assert {told["reason"] for told in eater.told if told["type"] == "skipped"} == {"late"}
    assert max(at - offered[value] for value, at in eater.items.items()) <= 0.5
    await world.close()


@on_virtual_time
async def test_a_home_shares_its_line_by_priority() -> None:
    """A home's `rate_limit_bps`: all its sessions stay within it together; live goes first, low is not starved."""
    world = World()
    await world.open(16_000, Lines({"a": RATE_BPS}))
    bulk = world.eater(subscription="bulk", priority="low", selection={"apids": [5]})
    archive = world.eater(subscription="archive", priority="normal", mode="offline")
    urgent = world.eater(subscription="urgent", priority="high", selection={"apids": [6]}, **{"from": "head"})
    timely = world.eater(subscription="seen", priority="high", mode="timely", selection={"apids": [6]})
    other = world.eater(home="b", subscription="free")
    await asyncio.sleep(0.001)
    rng, begin, sent = random.Random(7), now_s(), dict[bytes, float]()
    while now_s() < begin + 12:
        (value,) = await world.commit(1, apid=6)
        sent[value] = now_s()
        await asyncio.sleep(rng.uniform(0.02, 0.08))
    ours = [bulk, archive, urgent, timely]
    for second in range(3):
        octets = sum(eater.octets(begin + second, begin + second + 10) for eater in ours)
        assert octets * 8 / 10 == pytest.approx(RATE_BPS, rel=0.01)
    for live in (urgent, timely):
        waits = [live.items[value] - at for value, at in sent.items() if at < begin + 11]
        assert max(waits) < 0.09, "a message or two of 40 ms, however much is caught up beside it"
    shares = [eater.octets(begin + 1, begin + 11) for eater in (bulk, archive)]
    assert shares[1] / shares[0] == pytest.approx(4, rel=0.1), "normal beside low"
    pauses = [after - before for (before, _), (after, _) in pairwise(bulk.messages) if after < begin + 11]
    assert max(pauses) < 1.0, "low is served again and again"
    assert len(other.items) == world.count, "another home has no part in it"
    assert timely.told[0]["rate_limit_bps"] == RATE_BPS
    await world.close()


@on_virtual_time
async def test_what_comes_live_does_not_wait_for_a_reading_of_what_is_caught_up() -> None:
    """R5: one session that catches up from a disk that takes a second for each reading has what comes live at once."""

    async def slow_disk(work: Callable[[], T]) -> T:
        await asyncio.sleep(1)
        return work()

    world = World()
    await world.open(40_000, reader=slow_disk, memory=1 << 18)
    eater = world.eater()
    await asyncio.sleep(0.5)
    sent: dict[bytes, float] = {}
    for _ in range(100):
        (value,) = await world.commit(1)
        sent[value] = now_s()
        await asyncio.sleep(0.13)
    waits = [eater.items[value] - at for value, at in sent.items()]
    assert max(waits) < 0.002
    assert 0 < len(eater.items) - len(sent) < 40_000, "it catches up meanwhile, and has not yet"
    await world.close()


def other_than(k: int) -> dict[str, Any]:
    """A wish that reads for itself: those that ask alike share what is read."""
    return {"kinds": ["tm"], "apids": [5, 1000 + k]}


@on_virtual_time
async def test_who_catches_up_does_not_delay_who_is_live() -> None:
    """R5: ten low backfills from a slow disk: a live session has its items at once, a high backfill sixteen shares."""
    busy = asyncio.Lock()

    async def slow_disk(work: Callable[[], T]) -> T:
        async with busy:
            await asyncio.sleep(0.01)
            return work()

    world = World()
    await world.open(40_000, reader=slow_disk, memory=1 << 18)
    low = [
        world.eater(subscription=f"low{k}", priority="low", mode="offline", home="ab"[k % 2], selection=other_than(k))
        for k in range(8)
    ]
    high = world.eater(subscription="high", priority="high")
    live = world.eater(subscription="live", priority="normal", **{"from": "head"})
    await asyncio.sleep(0.001)
    sent, had, most = dict[bytes, float](), 0, 0
    for _ in range(100):
        (value,) = await world.commit(1)
        sent[value] = now_s()
        if len(high.items) < 40_000:  # when it has caught up, the others may have all
            had, most = len(high.items), max(len(eater.items) for eater in low)
        await asyncio.sleep(0.02)
    assert max(live.items[value] - at for value, at in sent.items()) < 0.002
    assert all(len(eater.items) > 0 for eater in low), "nobody starves"
    assert 10_000 < had < 40_000
    assert most < had / 4
    await world.close()


@pytest.mark.parametrize(("reading_s", "rest_s"), [(0.004, 0.004), (0.1, REST_MAX_S)])
@on_virtual_time
async def test_reading_what_is_caught_up_rests_while_anybody_is_live(reading_s: float, rest_s: float) -> None:
    """R5: live has a share beside backfill: a rest as long as a turn of reading, within a bound, while it is there."""
    began = list[float]()

    async def disk(work: Callable[[], T]) -> T:
        began.append(now_s())
        await asyncio.sleep(reading_s)
        return work()

    async def apart_s() -> float:
        """How long after one reading has ended the next one begins, of one that catches up."""
        began.clear()
        eater = world.eater(subscription="all", mode="offline")
        await asyncio.sleep(6 * reading_s)
        await eater.leave()
        return max(later - one for one, later in pairwise(began)) - reading_s

    world = World()
    await world.open(40_000, reader=disk, memory=1 << 18)
    assert await apart_s() == pytest.approx(0, abs=1e-6)
    world.eater(subscription="live", **{"from": "head"})

    async def committing() -> None:
        while True:
            await world.commit(1)
            await asyncio.sleep(0.05)

    committed = asyncio.create_task(committing())
    await asyncio.sleep(0.1)
    assert rest_s - 1e-6 <= await apart_s() <= REST_MAX_S + 1e-6
    committed.cancel()
    await asyncio.sleep(LIVE_WITHIN_S + 0.1)
    assert await apart_s() == pytest.approx(0, abs=1e-6), "nobody is live any more"
    await world.close()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"rate_limit_bps": 999}, "from 1000 to"),
        ({"rate_limit_bps": True}, "from 1000 to"),
        ({"rate_limit_bps": 1e6}, "from 1000 to"),
        ({"rate_limit_bps": "1 Mbit/s" * 100}, "from 1000 to"),
        ({"priority": "urgent"}, "high, normal or low, not 'urgent'"),
        ({"priority": 9}, "high, normal or low"),
        ({"priority": None}, "high, normal or low"),
    ],
)
@on_virtual_time
async def test_a_pace_that_is_none_is_refused(more: dict[str, Any], says: str) -> None:
    """A rate or priority that cannot be is refused with what is right, and changes nothing."""
    world = World()
    await world.open(0)
    eater = world.eater(**more)
    await asyncio.sleep(1)
    assert eater.told[0]["type"] == "error"
    assert says in eater.told[0]["message"]
    assert not world.registry.subscriptions
    await world.close()
