"""Nobody waits for ever: full queues when a session ends, silence, cancellations that come in a bad moment."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import aiomqtt
import pytest

from gateway.homes import client as home_client
from gateway.homes import lane_sender
from gateway.homes.client import Subscriber, Wish, _ClientChannel
from gateway.homes.lines import Line
from gateway.homes.mqtt_dial import WELCOME_S, _HomeChannel
from gateway.homes.registry import SubscriptionRegistry
from gateway.homes.session import Channel
from gateway.homes.store import HomeStore
from gateway.journal import Journal
from gateway.mqtt.clients import Client, Inbox
from gateway.mqtt.topics import HomeTopic
from gateway.world import Worker
from gateway_codecs.batches import IntakeBatch
from gateway_codecs.mqtt_fragment import fragments
from tests.conftest import SEEDS
from tests.gateway.home_world import HOME, HomeWorld
from tests.gateway.simulated import SimClock, SimStorage, granted, inline, on_virtual_time, small_store
from tests.gateway.simulated_mqtt import SimBroker, SimClient, SimInstance
from tests.gateway.test_journal import packets
from tests.gateway.test_sessions import SETTINGS, World

T = TypeVar("T")
ALL = HomeTopic("m.test", "a", "all")


class OneWay:
    """A channel whose way to the gateway breaks, while what the gateway has sent still comes."""

    def __init__(self, inner: Channel, sends: int) -> None:
        self._inner, self._sends = inner, sends

    async def receive(self) -> str | bytes:
        return await self._inner.receive()

    async def send(self, message: str | bytes) -> None:
        self._sends -= 1
        if self._sends < 0:
            raise ConnectionError("the broker does not take what is published")
        await self._inner.send(message)

    async def close(self, reason: str) -> None:
        await self._inner.close(reason)


async def slowly(work: Callable[[], T]) -> T:
    """A disk on which everything takes a second."""
    await asyncio.sleep(1)
    return work()


@pytest.mark.parametrize("sends", [1, 2, 3, 5])
def test_a_session_ends_while_more_has_come_than_is_taken(sends: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """R4: an acknowledgement that cannot be sent ends the session, also when the queue of what came is full; the next
    session has the rest."""
    monkeypatch.setattr(home_client, "WAITING_BLOCKS_MAX", 2)

    @on_virtual_time
    async def story() -> None:
        world = await HomeWorld.open(3)
        world.calm = True
        await world.commit(100)
        store, dialled = HomeStore(SimStorage(random.Random(1)), "s"), 0

        async def dial() -> Channel:
            nonlocal dialled
            dialled += 1
            return OneWay(await world.dial("s")(), sends if dialled == 1 else 1 << 30)

        wish = Wish(HOME, "s", {"kinds": ["tm"]})
        subscriber = Subscriber(dial, store, slowly, wish, enough=lambda store, _: store.items >= 100)
        async with asyncio.timeout(600):
            await subscriber.run()
        assert dialled == 2
        await world.end()

    story()


@on_virtual_time
async def test_what_a_store_lost_is_asked_for_though_nothing_comes() -> None:
    """R14: a gateway that has nothing to say may be silent for days; what is to be had again is asked for at once."""
    world = await HomeWorld.open(4)
    world.calm = True
    await world.commit(20)
    store = HomeStore(SimStorage(random.Random(1)), "s")
    subscriber = Subscriber(world.dial("s"), store, inline, Wish(HOME, "s", {"kinds": ["tm"]}))
    task = asyncio.create_task(subscriber.run(), name="subscriber")
    await asyncio.sleep(3600)
    assert (store.items, subscriber.progress.connects) == (20, 1), "silence alone is no reason"
    subscriber.again()
    await asyncio.sleep(5)
    assert subscriber.progress.connects == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await world.end()


class Stalled(OneWay):
    """A channel of a gateway that stands still after some messages."""

    async def receive(self) -> str | bytes:
        self._sends -= 1
        if self._sends < 0:
            await asyncio.Event().wait()
        return await self._inner.receive()

    async def send(self, message: str | bytes) -> None:
        await self._inner.send(message)


@on_virtual_time
async def test_a_gateway_that_stands_still_is_asked_anew() -> None:
    """R4: a gateway has shown positions that are not here, and nothing comes: after two minutes the home base begins a
    new session, whatever holds the old one."""
    world = await HomeWorld.open(6)
    world.calm = True
    await world.commit(100)
    store, dialled = HomeStore(SimStorage(random.Random(1)), "s"), list[float]()

    async def dial() -> Channel:
        dialled.append(asyncio.get_running_loop().time())
        return Stalled(await world.dial("s")(), 3 if len(dialled) == 1 else 1 << 30)

    wish = Wish(HOME, "s", {"kinds": ["tm"]})
    subscriber = Subscriber(dial, store, inline, wish, enough=lambda store, _: store.items >= 100)
    async with asyncio.timeout(600):
        await subscriber.run()
    assert "nothing came for 120 s" in subscriber.progress.last_error
    assert dialled[1] - dialled[0] == pytest.approx(120, abs=2)
    await world.end()


@pytest.mark.parametrize("turns", range(4))
def test_a_turn_is_not_lost_with_who_leaves_as_it_is_given(turns: int) -> None:
    """R5: a session that ends in the very moment in which it gets its turn to read takes the turn from nobody."""

    @on_virtual_time
    async def story() -> None:
        line, had = Line(), []

        async def reader(name: str) -> None:
            async with line.turn(name, 1, live=False) as turn:
                turn.cost = 1
                had.append(name)

        async def ends_the_first() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            first.cancel()

        ending = asyncio.create_task(ends_the_first())
        first, second = (asyncio.create_task(reader(name)) for name in ("first", "second"))
        if turns == 3:  # in the same turn of the loop as it is given, and before
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_soon(first.cancel)
        async with asyncio.timeout(10):
            await asyncio.gather(ending, first, second, return_exceptions=True)
        assert had[-1] == "second"
        async with asyncio.timeout(10):
            await reader("third")

    story()


@pytest.mark.parametrize("turns", range(5))
def test_a_cancellation_that_comes_with_the_brokers_answer_is_one(turns: int) -> None:
    """R7: who is told to end while the broker answers ends."""

    @on_virtual_time
    async def story() -> None:
        client = Client(Inbox(1 << 20, on_discard=lambda topic: None), "127.0.0.1", 1)
        answered = asyncio.Event()
        ended = False

        async def publishes() -> None:
            nonlocal ended
            await client._wait_for(answered.wait(), 5)
            ended = True
            await asyncio.Event().wait()

        task = asyncio.create_task(publishes())
        await asyncio.sleep(0.1)
        answered.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=1)
        assert task.cancelled()

    story()


@on_virtual_time
async def test_a_broker_that_does_not_answer_is_told() -> None:
    """R10: what the broker is asked has a limit of time, and says so."""
    client = Client(Inbox(1 << 20, on_discard=lambda topic: None), "127.0.0.1", 1)
    with pytest.raises(aiomqtt.MqttError, match="in time"):
        await client._wait_for(asyncio.Event().wait(), 5)
    assert asyncio.get_running_loop().time() == pytest.approx(5, abs=0.1)


async def over_mqtt() -> tuple[World, SimBroker, _HomeChannel, SimClient]:
    """A gateway, a broker, and a channel of a home base with its connection."""
    world = await World.open()
    broker = SimBroker(random.Random(1), {"m.test": SimInstance(world.registry)})
    channel: Any = await broker.dial(ALL)
    return world, broker, channel, channel._client


async def others_are_heard(broker: SimBroker) -> None:
    """A gateway that serves another session on the same topic."""
    number = 0
    while True:
        number += 1
        told = {"type": "alive", "session": "another", "number": number}
        await broker.publish(str(ALL), json.dumps(told).encode())
        await broker.publish(str(ALL), b"UGB1 a block of that session")
        await asyncio.sleep(1)


async def silent_for(channel: Channel) -> float:
    """How long a home base listens before it gives up, when nothing comes for it."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    with pytest.raises(ConnectionError, match="has said nothing for") as silence:
        await channel.receive()
    before_the_welcome = isinstance(channel, _HomeChannel) and not channel._number
    assert ("Is it that of 'a', and is m.test there?" in str(silence.value)) == before_the_welcome
    return loop.time() - began_s


@pytest.mark.parametrize("noise", [False, True])
def test_silence_before_the_welcome_has_an_end(noise: bool) -> None:
    """R10: a gateway that does not hear the hello, or whose welcome is lost, is asked anew within 10 s, also when it
    goes on with an older session on the topic."""

    @on_virtual_time
    async def story() -> None:
        _, broker, channel, _ = await over_mqtt()
        broker.to_gateway = lambda topic, payload: None  # type: ignore[method-assign] not subscribed
        others = asyncio.create_task(others_are_heard(broker) if noise else asyncio.sleep(0))
        await channel.send(json.dumps({"type": "subscribe", "home": "a", "subscription": "all"}))
        assert await silent_for(channel) == pytest.approx(WELCOME_S, abs=0.1)
        others.cancel()
        await channel.close("")

    story()


@on_virtual_time
async def test_a_welcome_behind_half_a_message_is_heard() -> None:
    """R4: an older session that was cut off in the midst of a message in pieces costs the next one nothing."""
    _, broker, channel, _ = await over_mqtt()
    for piece in fragments(b"UGB1" + bytes(5000), 1000)[:-1]:
        await broker.publish(str(ALL), piece)
    await channel.send(json.dumps({"type": "subscribe", "home": "a", "subscription": "all"}))
    began_s = asyncio.get_running_loop().time()
    assert json.loads(await channel.receive())["type"] == "welcome"
    assert asyncio.get_running_loop().time() - began_s < 1
    await channel.close("")


@on_virtual_time
async def test_silence_in_a_session_has_an_end() -> None:
    """R10: a gateway that has forgotten a session, and whose every word about that is lost, is asked anew within the
    lease; what another session is told on the topic is no sign of life of this one."""
    _, broker, channel, client = await over_mqtt()
    await channel.send(json.dumps({"type": "subscribe", "home": "a", "subscription": "all"}))
    assert json.loads(await channel.receive())["type"] == "welcome"
    broker.to_gateway = lambda topic, payload: None  # type: ignore[method-assign]
    broker.clients.remove(client)
    await broker.door.close(0)
    broker.clients.append(client)

    async def noise() -> None:
        while True:
            told = {"type": "alive", "session": "another", "number": 1}
            await broker.publish(str(ALL), json.dumps(told).encode())
            await asyncio.sleep(1)

    others = asyncio.create_task(noise())
    assert await silent_for(channel) == pytest.approx(broker.lease_s, abs=0.1)
    others.cancel()
    await channel.close("")


@on_virtual_time
async def test_who_can_give_no_sign_of_life_begins_anew() -> None:
    """R10: a home base whose signs of life the broker does not take does not wait for its lease to end."""
    _, broker, channel, client = await over_mqtt()
    await channel.send(json.dumps({"type": "subscribe", "home": "a", "subscription": "all"}))
    assert json.loads(await channel.receive())["type"] == "welcome"

    async def refused(topic: str, payload: str) -> None:
        raise aiomqtt.MqttError("the broker does not answer in time")

    client.publish = refused  # type: ignore[method-assign]
    began_s = asyncio.get_running_loop().time()
    with pytest.raises(ConnectionError, match="broke"):
        await channel.receive()
    assert asyncio.get_running_loop().time() - began_s < broker.lease_s
    await channel.close("")
    await broker.door.close(0)


@on_virtual_time
async def test_a_digest_that_is_lost_is_said_again() -> None:
    """Issue, accounting: the answer to `confirm` gets to the gateway though the broker loses it twice; what comes once
    too often is not looked at."""
    world, broker, channel, _ = await over_mqtt()
    await channel.send(json.dumps({"type": "subscribe", "home": "a", "subscription": "all", "confirm": True}))
    assert json.loads(await channel.receive())["type"] == "welcome"
    taken: list[dict[str, Any]] = []

    async def keep(session: Any, told: Any) -> dict[str, Any]:
        taken.append(told)
        return {"type": "confirmed"}

    world.registry.on_digest = keep
    asking, whole, dropped = world.registry.sessions["a", "all"].asking, broker.to_gateway, 0

    def lossy(topic: str, payload: bytes) -> None:
        nonlocal dropped
        dropped += (lost := json.loads(payload)["type"] == "digest" and dropped < 2)
        if not lost:
            whole(topic, payload)

    broker.to_gateway = lossy  # type: ignore[method-assign]
    await asking.ask("contact", 3, 7)
    assert json.loads(await channel.receive())["type"] == "confirm"
    await channel.send(json.dumps({"type": "digest", "first": 3, "end": 7, "items": 0, "sha256": "0" * 64}))
    confirmed = json.loads(await channel.receive())
    assert (confirmed["type"], confirmed["first"], confirmed["end"]) == ("confirmed", 3, 7)
    await asyncio.sleep(60)
    assert len(taken) == 1
    assert broker.door.open_sessions == 1, "nor does it end the session"
    await channel.close("")


def unsteady(rng: random.Random) -> Worker:
    """A disk that takes its time, now and then much of it."""

    async def worker(work: Callable[[], T]) -> T:
        await asyncio.sleep(rng.choice([0, 0, 0.001, 0.01, 0.1]))
        return work()

    return worker


@pytest.mark.parametrize("seed", range(SEEDS // 33))
def test_after_bad_weather_everything_is_there_soon(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """R4: two home bases far behind, slow disks on both sides, a broker that loses messages, dies and comes back: a
    minute after it has ended both have everything. Whatever holds a session beyond that is found here."""
    monkeypatch.setattr(home_client, "WAITING_BLOCKS_MAX", 3)
    monkeypatch.setattr(lane_sender, "NEAR_POSITIONS", 4)

    @on_virtual_time
    async def story() -> None:
        rng = random.Random(seed)
        settings = replace(SETTINGS, memory_octets=1 << 10)
        journal = await Journal.open(SimStorage(rng), SimClock(), unsteady(rng), unsteady(rng), settings, "m")
        registry = SubscriptionRegistry(journal, small_store(), unsteady(rng), *granted("a", "b"))
        await registry.load()
        broker = SimBroker(rng, {"m.test": SimInstance(registry)}, loss=rng.choice([0, 0.01, 0.1]), max_octets=1000)
        stores = {home: HomeStore(SimStorage(rng), home) for home in ("a", "b")}
        tasks = [asyncio.create_task(receive(broker, home, store, rng), name="home") for home, store in stores.items()]
        sent = 0
        for _ in range(20):
            count = rng.randrange(1, 30)
            await journal.append(IntakeBatch(packets([b"%d" % (sent + k) for k in range(count)])))
            sent += count
            await asyncio.sleep(rng.choice([0, 0.01, 0.1, 1, 3]))
            if rng.random() < 0.3:
                broker.cut()
                await asyncio.sleep(rng.choice([0, 0.3, 4]))
                broker.up = True
            elif rng.random() < 0.3 and broker.clients:
                rng.choice(broker.clients).drop()
        broker.loss = 0
        async with asyncio.timeout(60):
            while any(store.items < sent for store in stores.values()):
                await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        async with asyncio.timeout(10):
            await asyncio.gather(*tasks, return_exceptions=True)
        await broker.door.close(1.0)
        await journal.close()

    story()


async def receive(broker: SimBroker, home: str, store: HomeStore, rng: random.Random) -> None:
    topic = HomeTopic("m.test", home, "all")
    wish = Wish(home, "all", {"kinds": ["tm"]})
    await Subscriber(lambda: broker.dial(topic), store, unsteady(rng), wish, jitter=rng.random).run()


class Quiet:
    """A WebSocket that says what it is given, and then nothing."""

    def __init__(self, *said: str) -> None:
        self.said = list(said)

    async def recv(self) -> str:
        return self.said.pop(0) if self.said else await asyncio.Event().wait()  # type: ignore[func-returns-value]


@on_virtual_time
async def test_a_gateway_that_accepts_and_says_nothing_is_asked_anew() -> None:
    """R10: over WebSocket the first word has to come within 30 s; then pings tell whether the gateway is there."""
    assert await silent_for(_ClientChannel(Quiet())) == pytest.approx(home_client.WELCOME_S, abs=0.1)
    channel = _ClientChannel(Quiet("welcome"))
    assert await channel.receive() == "welcome"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600):
            await channel.receive()
