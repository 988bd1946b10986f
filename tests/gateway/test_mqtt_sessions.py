"""Home bases over MQTT: exact whatever a broker loses, and a door that hostile messages do not open."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from typing import Any

import pytest

from gateway.errors import UsageError
from gateway.homes.client import Progress, Subscriber, Wish
from gateway.homes.hello import CONTROL_MAX_OCTETS
from gateway.homes.mqtt_dial import broker_address
from gateway.homes.store import HomeStore
from gateway.mqtt.accounts import Accounts, BrokerUser, HomeAccount, without
from gateway.mqtt.channel import WAITING_MAX
from gateway.mqtt.door import SESSIONS_MAX, SESSIONS_PER_HOME_MAX
from gateway.mqtt.floods import ANSWERS_PER_HOME_MAX, BEHIND_OCTETS, OUT_S
from gateway.mqtt.topics import HomeTopic, requested
from gateway.playback.book import Asked, PlaybackBook
from gateway_codecs.batches import DataMode
from gateway_codecs.delivery_block import MARK, decode
from gateway_routes.delivery import Cursor
from gateway_routes.playback import RangeBy, Span
from gateway_routes.rights import Actor, ActorKind
from tests.conftest import SEEDS
from tests.gateway.simulated import SimClock, SimStorage, inline, on_virtual_time
from tests.gateway.simulated_mqtt import SimBroker, SimInstance
from tests.gateway.test_home_store import stored
from tests.gateway.test_journal import packets
from tests.gateway.test_sessions import World

ALL = HomeTopic("m.test", "a", "all")
ITEMS = 120


@pytest.mark.parametrize("seed", range(SEEDS // 20))
def test_exact_whatever_a_broker_loses(seed: int) -> None:
    """R4 over MQTT: messages vanish in both directions and the broker dies; the store ends exact, and at no moment has
    the gateway a cursor over what the home base has not stored."""

    @on_virtual_time
    async def story() -> None:
        rng = random.Random(seed)
        world, storage = await World.open(), SimStorage(random.Random(seed))
        max_octets, loss = rng.choice([(96, 0.01), (96, 0.03), (400, 0.05), (2000, 0.05), (2000, 0.2)])  # 96: pieces
        broker = SimBroker(rng, {"m.test": SimInstance(world.registry)}, loss=loss, max_octets=max_octets)
        store = HomeStore(storage)

        def enough(store: HomeStore, progress: Progress) -> bool:
            known = world.registry.subscriptions.get(("a", "all"))
            assert known is None or within(store.cursor() or Cursor(), known.cursor, world.journal.head)
            return store.items >= ITEMS

        subscriber = Subscriber(
            lambda: broker.dial(ALL), store, inline, Wish("a", "all", {"kinds": ["tm"]}), enough=enough,
            jitter=rng.random,
        )  # fmt: skip
        task = asyncio.create_task(subscriber.run(), name="subscriber")
        sent = 0
        while sent < ITEMS:
            count = min(rng.randrange(1, 9), ITEMS - sent)
            await world.commit(count, apid=5)
            sent += count
            await asyncio.sleep(rng.choice([0, 0.01, 0.5, 4]))
            if rng.random() < 0.1:
                broker.cut()
                await asyncio.sleep(rng.choice([0.1, 5]))
                broker.up = True
        async with asyncio.timeout(7200):
            await task
        await broker.door.close(1.0)
        assert len(stored(store)) == ITEMS
        positions = [p for block in store.blocks() for p in block.positions.tolist()]
        assert positions == sorted(set(positions))
        store.close()

    story()


def within(stored: Cursor, known: Cursor, head: int) -> bool:
    """Whether everything that the gateway holds for acknowledged is stored."""
    return all(any(a <= first and end <= b for a, b in known.missing(head)) for first, end in stored.missing(head))


async def site(**more: Any) -> tuple[World, SimBroker]:
    world = await World.open()
    return world, SimBroker(random.Random(1), {"m.test": SimInstance(world.registry)}, **more)


def said(broker: SimBroker, kind: str) -> list[dict[str, Any]]:
    """The control messages of a type that the gateway published."""
    told = [json.loads(payload) for _, payload in broker.heard if payload[:1] == b"{"]
    return [row for row in told if row["type"] == kind]


def ask(broker: SimBroker, what: Any, topic: str = ALL.request) -> None:
    payload = what if isinstance(what, bytes) else json.dumps(what).encode()
    broker.door.take(topic, payload, False)


HOSTILE: list[tuple[Any, str]] = [
    (b"", "no JSON"),
    (b"\xff\xfe{", "no JSON"),
    (b"[" * 100_000, "no JSON"),
    (b'{"type":"subscribe","session":"s"' + b" " * CONTROL_MAX_OCTETS + b"}", "at most"),
    ([1], "an object"),
    ({"session": "s"}, "an object"),
    ({"type": "subscribe"}, '"session" is'),
    ({"type": "subscribe", "session": "a b"}, '"session" is'),
    ({"type": "subscribe", "session": "s" * 65}, '"session" is'),
    ({"type": "subscribe", "session": ["s"]}, '"session" is'),
    ({"type": "subscribe", "session": "s", "home": "b"}, "not that of the topic"),
    ({"type": "subscribe", "session": "s", "subscription": 7}, "not that of the topic"),
    ({"type": "subscribe", "session": "s", "bogus": 1}, "subscribe has no 'bogus'"),
    ({"type": "subscribe", "session": "s", "mode": "best"}, "mode is"),
    ({"type": "shout", "session": "s"}, "the first message is subscribe"),
]


@on_virtual_time
async def test_hostile_requests_are_told_what_is_wrong() -> None:
    """R6, R13: each is answered with the way out, opens nothing, and costs the next one nothing."""
    _, broker = await site()
    answers = asyncio.create_task(broker.door.run())
    for what, wanted in HOSTILE:
        broker.heard.clear()
        ask(broker, what)
        await asyncio.sleep(1)
        assert [wanted in row["message"] for row in said(broker, "error")] == [True], (what[:60], broker.heard)
        assert broker.door.open_sessions == 0
    ask(broker, {"type": "subscribe", "session": "good"})
    await asyncio.sleep(0.1)
    assert said(broker, "welcome")[0]["session"] == "good"
    answers.cancel()
    await broker.door.close(0)


@on_virtual_time
async def test_digests_reach_the_session() -> None:
    """Issue: what a home base confirms over MQTT gets to its session, which is told so even if nobody asked for it."""
    _, broker = await site()
    answers = asyncio.create_task(broker.door.run())
    ask(broker, {"type": "subscribe", "session": "s", "confirm": True})
    await asyncio.sleep(0.1)
    ask(broker, {"type": "digest", "session": "s", "first": 0, "end": 1, "items": 1, "sha256": "0" * 64})
    await asyncio.sleep(1)
    assert ["not 'digest'" in row["message"] for row in said(broker, "error")] == [True]
    answers.cancel()
    await broker.door.close(0)


@on_virtual_time
async def test_topics_that_are_no_home_bases() -> None:
    """What does not come from a request topic of ours, or was retained for whoever comes, begins nothing."""
    _, broker = await site()
    hello = {"type": "subscribe", "session": "s"}
    for topic in (
        "",
        "gw/v1/x",
        "gw/v1/m.test/home/a b/all/request",
        "gw/v1/m.test/home/a/+/request",
        "gw/v1/m.test/home/a/é/request",
        "gw/v1/m.test/home/a/all/request/request",
        "gw/v1//home/a/all/request",
    ):
        assert requested(topic) is None, topic
        ask(broker, hello, topic)
    broker.door.take(ALL.request, json.dumps(hello).encode(), True)
    ask(broker, hello, "gw/v1/no.such/home/a/all/request")
    ask(broker, hello, "gw/v1/m.test/home/nobody/all/request")
    answers = asyncio.create_task(broker.door.run())
    await asyncio.sleep(1)
    assert broker.door.open_sessions == 0
    assert {row["code"] for row in said(broker, "error")} == {"unknown instance", "unknown home"}
    assert broker.door.counters.bad_requests == 9
    answers.cancel()


@on_virtual_time
async def test_a_flood_is_bounded() -> None:
    """R13: neither answers nor sessions nor what waits in one session grow without bound."""
    _, broker = await site()
    for _ in range(40 * ANSWERS_PER_HOME_MAX):
        ask(broker, b"rubbish")
    assert len(broker.door._answers) == ANSWERS_PER_HOME_MAX
    for k in range(SESSIONS_PER_HOME_MAX + 5):
        ask(broker, {"type": "subscribe", "session": "s"}, HomeTopic("m.test", "a", f"s{k}").request)
    assert broker.door.open_sessions == SESSIONS_PER_HOME_MAX
    for k in range(SESSIONS_MAX):
        ask(broker, {"type": "subscribe", "session": "s"}, HomeTopic("m.test", f"h{k}", "all").request)
    assert broker.door.open_sessions == SESSIONS_MAX
    first = HomeTopic("m.test", "a", "s0")
    for _ in range(WAITING_MAX + 5):
        ask(broker, {"type": "alive", "session": "s"}, first.request)
    await asyncio.sleep(1)
    assert not [t for t in broker.door._channels if t == first], "who floods its own session loses it"
    await broker.door.close(0)
    assert broker.door.open_sessions == 0


@on_virtual_time
async def test_the_newest_session_has_the_topic() -> None:
    """A newer subscribe replaces the session on its topic: after its welcome nothing of the older one comes."""
    world, broker = await site()
    await world.commit(50)
    ask(broker, {"type": "subscribe", "session": "one"})
    await asyncio.sleep(0.002)
    ask(broker, {"type": "subscribe", "session": "two"})
    await asyncio.sleep(1)
    welcomes = [k for k, (_, payload) in enumerate(broker.heard) if b'"welcome"' in payload]
    assert [json.loads(broker.heard[k][1])["session"] for k in welcomes][-1] == "two"
    after = [decode(payload) for _, payload in broker.heard[welcomes[-1] :] if payload[:1] != b"{"]
    begun = [block.from_position for block in after if block.kind != MARK]
    assert begun[0] == 0, "what was not acknowledged comes again"
    assert begun == sorted(set(begun)), "and once"
    assert said(broker, "closed") == [
        {"type": "closed", "reason": "replaced by a newer session of the same subscription", "session": "one"}
    ]
    ask(broker, {"type": "ack", "session": "one", "lane": 0, "upto": 50})
    answers = asyncio.create_task(broker.door.run())
    await asyncio.sleep(1)
    assert "no such session" in said(broker, "closed")[-1]["reason"]
    answers.cancel()
    await broker.door.close(0)


@on_virtual_time
async def test_a_lease_ends_and_signs_keep_it() -> None:
    """A home base that is silent for its lease is gone; signs of life keep it, and are answered with the count."""
    _, broker = await site(lease_s=3.0)
    ask(broker, {"type": "subscribe", "session": "s"})
    for _ in range(5):
        await asyncio.sleep(2)
        ask(broker, {"type": "alive", "session": "s"})
    await asyncio.sleep(0.1)
    alive = said(broker, "alive")
    assert [row["session"] for row in alive] == ["s"] * 5
    numbers = [row["number"] for row in alive]
    assert numbers == sorted(numbers)
    assert broker.door.open_sessions == 1
    await asyncio.sleep(3.1)
    assert broker.door.open_sessions == 0
    assert said(broker, "closed")[-1]["reason"] == "no sign of life for 3 s"


@on_virtual_time
async def test_a_timely_session_over_mqtt() -> None:
    """The modes are those of the session core: a timely session hears items at once, and lives by its lease too."""
    world, broker = await site()
    ask(broker, {"type": "subscribe", "session": "s", "mode": "timely", "selection": {"kinds": ["tm"]}})
    await asyncio.sleep(0.1)
    assert said(broker, "welcome")[0]["mode"] == "timely"
    world.registry.timely.offer(packets([b"now"], apid=5))
    await asyncio.sleep(0.1)
    blocks = [decode(payload) for _, payload in broker.heard if payload[:1] != b"{"]
    assert [block.batch.octets_of(0) for block in blocks] == [b"now"]
    await asyncio.sleep(3.1)
    assert broker.door.open_sessions == 0


@on_virtual_time
async def test_a_playback_over_mqtt() -> None:
    """Playback: over MQTT as over WebSocket, on the topic of the request, resumed when messages vanish."""
    world = await World.open()
    await world.commit(60)
    events: list[dict[str, Any]] = []
    book = PlaybackBook("m.test", world.registry, world.store, inline, SimClock(), events.append)
    world.registry.playbacks = book
    asked = Asked(Actor(ActorKind.HOME, "a"), "a", {}, Span(RangeBy.POSITIONS, 10, 50))
    request = (await book.ask(asked)).id
    broker = SimBroker(random.Random(3), {"m.test": SimInstance(world.registry)}, loss=0.05)
    store = HomeStore(SimStorage(random.Random(1)))
    topic, wish = HomeTopic("m.test", "a", request), Wish("a", request, mode="playback")
    client = Subscriber(lambda: broker.dial(topic), store, inline, wish, enough=lambda store, progress: progress.final)
    async with asyncio.timeout(7200):
        await client.run()
    await broker.door.close(1.0)
    assert [p for block in store.blocks() for p in block.positions.tolist()] == list(range(10, 50))
    assert {int(mode) for block in store.blocks() for mode in block.batch.items["data_mode"]} == {DataMode.PLAYBACK}
    assert (book.one(request).state, events[-1]["state"]) == ("done", "done")
    store.close()


@on_virtual_time
async def test_leaving_ends_a_session_at_once() -> None:
    """`leave` ends it; the cursor stays."""
    world, broker = await site()
    await world.commit(3)
    ask(broker, {"type": "subscribe", "session": "s"})
    await asyncio.sleep(0.5)
    ask(broker, {"type": "ack", "session": "s", "lane": 1, "upto": 3})
    await asyncio.sleep(0.5)
    ask(broker, {"type": "leave", "session": "s"})
    await asyncio.sleep(0.1)
    assert broker.door.open_sessions == 0
    assert world.registry.subscriptions["a", "all"].cursor.low_water == 3


@on_virtual_time
async def test_a_gateway_that_stops_says_so() -> None:
    """Who asks while the gateway stops is told to come again, not refused for good."""
    _, broker = await site()
    await broker.door.close(0)
    ask(broker, {"type": "subscribe", "session": "s"})
    answers = asyncio.create_task(broker.door.run())
    await asyncio.sleep(0.5)
    assert said(broker, "closed")[0]["reason"] == "the gateway is stopping"
    answers.cancel()


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("mqtt://", "is no broker"),
        ("http://h", "is no broker"),
        ("mqtt://h/topic", "is no broker"),
        ("mqtt://h:99999", "is no address"),
        ("mqtt://u:secret@h", "does not belong"),
    ],
)
def test_addresses_of_brokers(url: str, wanted: str) -> None:
    """An address that is none is refused with what would be one."""
    with pytest.raises(UsageError, match=wanted):
        broker_address(url)
    good = broker_address("mqtts://u@broker.example", "p")
    assert (good.host, good.port, good.username, good.password, good.tls) == ("broker.example", 8883, "u", "p", True)
    assert str(broker_address("mqtt://[::1]:1884")) == "[::1]:1884"


@on_virtual_time
async def test_who_publishes_without_end_is_not_heard_and_put_out() -> None:
    """R5, R13: one home base floods: it is told why, not heard for a while, put out; the others are heard."""
    _, broker = await site()
    answers = asyncio.create_task(broker.door.run())
    door, loop, refused = broker.door, asyncio.get_running_loop(), Counter[str]()
    door.count = lambda code: refused.update([code])
    for k in range(400):
        ask(broker, {"type": "subscribe", "session": "s", "home": "other"}, HomeTopic("m.test", "a", f"s{k}").request)
    assert refused["too fast"] > 300, "refused sessions cost more than others"
    await asyncio.sleep(1)
    for _ in range(200):
        ask(broker, {"type": "alive", "session": "s"}, ALL.request)
        await asyncio.sleep(0.01)
    assert not door.floods.out(loop.time()), "everybody is read in time"
    door.floods.waiting_octets = lambda: BEHIND_OCTETS
    for k in range(200):
        ask(broker, {"type": "alive", "session": "s"}, ALL.request)
        if k % 3 == 0:
            ask(broker, {"type": "alive", "session": "s"}, HomeTopic("m.test", "b", "all").request)
        await asyncio.sleep(0.01)
    door.floods.waiting_octets = lambda: 0
    assert door.floods.out(loop.time()) == {"a"}
    assert 50 < door.counters.unheard < 150, "of the flood alone"
    ask(broker, {"type": "alive", "session": "s"}, ALL.request)
    ask(broker, {"type": "subscribe", "session": "s"}, HomeTopic("m.test", "nobody", "all").request)
    await asyncio.sleep(2)
    assert {row["code"] for row in said(broker, "error")} == {"too fast", "unknown home"}
    assert not without(accounts_of("a", "b"), door.floods.out(loop.time())).homes[0].users
    assert without(accounts_of("a", "b"), door.floods.out(loop.time())).homes[1].users
    await asyncio.sleep(OUT_S)
    assert not door.floods.out(loop.time())
    ask(broker, {"type": "subscribe", "session": "s2"}, ALL.request)
    await asyncio.sleep(1)
    assert said(broker, "welcome"), "who has stopped is served again"
    answers.cancel()
    await door.close(0)


def accounts_of(*homes: str) -> Accounts:
    """Accounts of some home bases, a user in each."""
    rows = [HomeAccount(home, (BrokerUser(f"gwt_{home}", "x"),), ("m.test",), ()) for home in homes]
    return Accounts((), tuple(rows))
