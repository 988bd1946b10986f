"""Subscriptions to parameters as dialogues: on change, newest at a pace, complete by position."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.homes.registry import SubscriptionRegistry
from gateway_codecs.batches import DataMode
from gateway_codecs.mdb.model import Database, Parameter, ParameterType, Source
from tests.gateway.simulated import granted, inline, on_virtual_time, small_store
from tests.gateway.test_sessions import Peer
from tests.gateway.values_world import MODE, T0, TEMP, S, World, batch, counting, database, temperature, use


@asynccontextmanager
async def served(folder: Path, made: Database | None = None) -> AsyncIterator[tuple[World, SubscriptionRegistry]]:
    """A world whose values are followed, and whose home bases are served."""
    world = await World.open(folder, made or database())
    registry = SubscriptionRegistry(world.journal, small_store(), inline, *granted("a"), frozenset({"station"}))
    registry.values = world.door
    task = asyncio.create_task(world.door.follow(), name="values")
    yield world, registry
    task.cancel()
    for session in registry.all_sessions():
        session.stop("the test is over")
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(1)
    await world.journal.close()


def derived() -> Database:
    """With SUM, of TEMP and COUNT, which are in packets of two types."""
    found = database()
    total = ParameterType("/X/sum", "float")
    parameter = Parameter("/X/SUM", "/X/sum", Source.DERIVED, derivation="'/X/TEMP' + '/X/COUNT'")
    return replace(
        found,
        types={**found.types, total.name: total},
        parameters={**found.parameters, parameter.name: parameter},
    )


async def subscriber(registry: SubscriptionRegistry, *names: str, **more: Any) -> tuple[Peer, dict[str, Any]]:
    peer = Peer(registry)
    hello = {"subscription": "v", "mode": "values", "parameters": list(names)} | more
    return peer, await peer.hello(**hello)


async def rows(peer: Peer, count: int) -> list[tuple[str, Any]]:
    """So many values, in the order in which they come."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        message = await peer.hear()
        assert isinstance(message, dict)
        assert message["type"] == "values", message
        found += message["values"]
    return [(row["parameter"], row["value"]) for row in found]


def warm(first: int, values: list[int], mode: int = 1) -> list[tuple[int, bytes]]:
    return [(T0 + (first + k) * S, temperature(first + k, value, mode)) for k, value in enumerate(values)]


@on_virtual_time
async def test_on_change(tmp_path: Path) -> None:
    """A value comes when it, its validity or its limit state is another one; dumps and other links are not live."""
    async with served(tmp_path) as (world, registry):
        peer, welcome = await subscriber(registry, "TEMP", MODE)
        assert (welcome["type"], welcome["parameters"], welcome["delivery"]) == ("welcome", [TEMP, MODE], "change")
        await world.take(batch(warm(0, [20, 20, 22])))
        await world.take(batch(warm(3, [90]), mode=DataMode.DUMP))
        await world.take(batch(warm(4, [90]), link=2))
        await world.take(batch(warm(5, [22, 20])))
        assert await rows(peer, 4) == [(TEMP, 10), (MODE, "ON"), (TEMP, 11), (TEMP, 10)]
        (row,) = [one for one in registry.snapshot() if one["mode"] == "values"]
        assert (row["sent_items"], row["state"]) == (4, "live")
        await peer.leave()
        assert registry.snapshot() == []


@on_virtual_time
async def test_what_is_late_is_not_live(tmp_path: Path) -> None:
    """Issue: late data never look live: a packet older than one before it is no change, also of a session that began
    between the two; `complete` has it."""
    async with served(tmp_path) as (world, registry):
        await world.take(batch(warm(10, [20])))
        await asyncio.sleep(1)
        live, _ = await subscriber(registry, TEMP)
        whole, _ = await subscriber(registry, TEMP, subscription="w", delivery="complete", from_position=0)
        await world.take(batch(warm(5, [90, 92])))
        await world.take(batch([*warm(11, [22]), *warm(7, [94]), *warm(12, [24])]))
        assert await rows(live, 2) == [(TEMP, 11), (TEMP, 12)]
        assert [value for _, value in await rows(whole, 6)] == [10, 45, 46, 11, 47, 12]
        await live.leave()
        await whole.leave()


@on_virtual_time
async def test_what_no_packet_has_by_itself(tmp_path: Path) -> None:
    """Issue: a parameter derived of several packet types comes in each way, with the packet that completes it."""
    async with served(tmp_path, derived()) as (world, registry):
        peers = {}
        for delivery in ("change", "complete"):
            peers[delivery], welcome = await subscriber(registry, "SUM", delivery=delivery, subscription=delivery)
            assert (welcome["type"], welcome["parameters"]) == ("welcome", ["/X/SUM"])
        packets = [*warm(0, [20]), (T0 + S, counting(1, 5)), *warm(2, [22, 22]), (T0 + 4 * S, counting(2, 5))]
        await world.take(batch(packets))
        assert await rows(peers["change"], 2) == [("/X/SUM", 15), ("/X/SUM", 16)]
        assert await rows(peers["complete"], 4) == [("/X/SUM", value) for value in (15, 16, 16, 16)]
        peers["latest"], _ = await subscriber(registry, "SUM", delivery="latest", interval_ms=50)
        assert await rows(peers["latest"], 1) == [("/X/SUM", 16)]
        for peer in peers.values():
            await peer.leave()


@on_virtual_time
async def test_the_newest_wins(tmp_path: Path) -> None:
    """`latest`: at its pace the newest value only, and nothing while nothing is new."""
    async with served(tmp_path) as (world, registry):
        peer, _ = await subscriber(registry, TEMP, delivery="latest", interval_ms=1000)
        for k in range(30):
            await world.take(batch(warm(k, [2 * k])))
            await asyncio.sleep(0.1)
        got = await rows(peer, 1)
        while got[-1] != (TEMP, 29):
            got += await rows(peer, 1)
        assert 3 <= len(got) <= 5
        assert got == sorted(got, key=lambda row: row[1])
        await asyncio.sleep(5)
        assert peer._down.empty()
        await peer.leave()


@on_virtual_time
async def test_complete_by_position(tmp_path: Path) -> None:
    """Every sample once, dumps too, in position order; who was cut goes on at `upto` with nothing lost or twice."""
    async with served(tmp_path) as (world, registry):
        for first in range(0, 1500, 50):
            await world.take(batch(warm(first, list(range(first, first + 50)))))
        await world.take(batch([(T0, counting(1, 2))]))
        await world.take(batch(warm(1500, [7]), mode=DataMode.DUMP))
        found: list[dict[str, Any]] = []
        upto = 0
        while len(found) < 1501:
            peer, welcome = await subscriber(registry, TEMP, delivery="complete", from_position=upto)
            assert welcome["from_position"] == upto
            for _ in range(3):
                message = await peer.hear()
                assert isinstance(message, dict)
                found += message["values"]
                upto = message["upto"]
                found = [row for row in found if row["position"] < upto]
                if len(found) == 1501:
                    break
            await peer.leave()
        assert [row["position"] for row in found] == [*range(1500), 1501]
        assert [row["value"] for row in found] == [k * 0.5 for k in range(1500)] + [3.5]
        assert found[-1]["data_mode"] == "dump"


@on_virtual_time
async def test_an_old_database_and_a_new_one(tmp_path: Path) -> None:
    """A session follows a database that is exchanged; one that names a version stays with it."""
    async with served(tmp_path) as (world, registry):
        await world.take(batch(warm(0, [20])))
        before = (await world.history())["database"]
        use(tmp_path, database(gain=2.0))
        await world.door.reload("picard")
        new, _ = await subscriber(registry, TEMP, delivery="complete", from_position=0)
        old, _ = await subscriber(registry, TEMP, subscription="w", delivery="complete", from_position=0, mdb=before)
        assert (await rows(new, 1), await rows(old, 1)) == ([(TEMP, 40)], [(TEMP, 10)])
        use(tmp_path, database(gain=3.0))
        await world.door.reload("picard")
        await world.take(batch(warm(1, [20])))
        assert (await rows(new, 1), await rows(old, 1)) == ([(TEMP, 60)], [(TEMP, 10)])
        await new.leave()
        await old.leave()


WRONG = [
    ({"parameters": []}, "bad message"),
    ({"parameters": "TEMP"}, "bad message"),
    ({"parameters": ["NOPE"]}, "bad parameters"),
    ({"parameters": [TEMP], "delivery": "fast"}, "bad message"),
    ({"parameters": [TEMP], "interval_ms": 1}, "bad message"),
    ({"parameters": [TEMP], "interval_ms": True}, "bad message"),
    ({"parameters": [TEMP], "from_position": 1}, "bad message"),
    ({"parameters": [TEMP], "delivery": "complete", "from_position": 10**9}, "bad range"),
    ({"parameters": [TEMP], "mdb": "ffff"}, "bad parameters"),
    ({"parameters": [TEMP], "spacecraft": "nobody"}, "bad parameters"),
    ({"parameters": [TEMP], "mode": "complete"}, "bad message"),
]


@pytest.mark.parametrize(("wish", "code"), WRONG)
def test_what_cannot_be_is_refused(tmp_path: Path, wish: dict[str, Any], code: str) -> None:
    """A wish that cannot be is told why, and leaves nothing behind."""

    @on_virtual_time
    async def dialogue() -> None:
        async with served(tmp_path) as (_, registry):
            peer = Peer(registry)
            told = await peer.hello(**{"subscription": "v", "mode": "values", **wish})
            assert (told["type"], told["code"]) == ("error", code)
            await asyncio.sleep(1)
            assert registry.value_sessions == {}

    dialogue()


@on_virtual_time
async def test_a_slow_reader_costs_itself(tmp_path: Path) -> None:
    """R5: who does not read holds nothing: what it missed is read from the journal when it reads again."""
    async with served(tmp_path) as (world, registry):
        peer, _ = await subscriber(registry, TEMP)
        peer.deaf = True
        for first in range(0, 5000, 100):
            await world.take(batch(warm(first, [(first + k) % 300 for k in range(100)])))
        await asyncio.sleep(5)
        peer.deaf = False
        assert await rows(peer, 5000) == [(TEMP, k % 300 * 0.5) for k in range(5000)]
        await peer.leave()


@on_virtual_time
async def test_over_mqtt(tmp_path: Path) -> None:
    """The same session over MQTT: messages fit what a broker takes, and a lease keeps it alive."""
    import random

    from gateway.mqtt.topics import HomeTopic
    from tests.gateway.simulated_mqtt import SimBroker, SimInstance

    async with served(tmp_path, derived()) as (world, registry):
        broker = SimBroker(random.Random(1), {"m.flight": SimInstance(registry)}, max_octets=2000)
        channel = await broker.dial(HomeTopic("m.flight", "a", "v"))
        hello = {"type": "subscribe", "mode": "values", "parameters": ["TEMP", "SUM"], "delivery": "complete"}
        await channel.send(json.dumps(hello))
        welcome = json.loads(await channel.receive())
        assert (welcome["type"], welcome["parameters"]) == ("welcome", [TEMP, "/X/SUM"])
        await world.take(batch([*warm(0, list(range(300))), (T0 + 300 * S, counting(1, 5))]))
        found: list[dict[str, Any]] = []
        while len(found) < 301:
            message = json.loads(await channel.receive())
            found += message.get("values", [])
            assert all(row["position"] < message["upto"] for row in message.get("values", []))
        assert [row["value"] for row in found] == [k * 0.5 for k in range(300)] + [299 * 0.5 + 5]
        assert max(len(payload) for _, payload in broker.heard) <= 2000
        await channel.close("enough")
        await broker.door.close(1.0)
