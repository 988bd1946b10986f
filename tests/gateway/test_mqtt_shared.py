"""The shared topics and retained descriptors of an instance: every item published or told as skipped, nothing stale."""

from __future__ import annotations

import asyncio
import json
import random
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from gateway.mqtt.clients import BrokerError
from gateway.mqtt.descriptors import Descriptors
from gateway.mqtt.shared import SharedCounters, SharedTopics
from gateway.timely import TimelyTap
from gateway_codecs.batches import ItemBatch, Kind, Quality, Unit, no_items
from gateway_codecs.mqtt_message import decode
from gateway_routes.selection import parse_selection
from tests.gateway.simulated import on_virtual_time


class Connection:
    """A connection that a test breaks."""

    def __init__(self) -> None:
        self.up = asyncio.Event()
        self.up.set()
        self.published: list[tuple[str, bytes]] = []
        self.retained: dict[str, bytes] = {}
        self.slow_s = 0.0

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        await asyncio.sleep(self.slow_s)
        if not self.up.is_set():
            raise BrokerError("not connected to the broker")
        if retain:
            self.retained[topic] = payload
        else:
            self.published.append((topic, payload))


def items(values: list[tuple[int, bytes]], quality: int = Quality.GOOD) -> ItemBatch:
    """Packets by APID."""
    rows = no_items(len(values))
    lengths = np.array([len(octets) for _, octets in values], np.int64)
    rows["length"], rows["offset"], rows["apid"] = lengths, np.cumsum(lengths) - lengths, [apid for apid, _ in values]
    rows["kind"], rows["unit"], rows["spacecraft"], rows["vcid"] = Kind.TM, Unit.PACKET, 1, 3
    rows["quality"] = quality
    return ItemBatch(np.frombuffer(b"".join(octets for _, octets in values), np.uint8), rows)


def shared(
    connection: Connection, tap: TimelyTap, max_octets: int = 10_000, bad: bool = False, told: list[str] | None = None
) -> SharedTopics:
    instance: Any = SimpleNamespace(
        name="m.test",
        timely=tap,
        journal=SimpleNamespace(names=lambda what: {1: "craft"}),
        registry=SimpleNamespace(selection=lambda wish: parse_selection(wish, {"craft": 1})),
    )
    heard, made = told if told is not None else list[str](), cast("Any", connection)
    return SharedTopics(
        instance, made, max_octets, False, bad, SharedCounters(), lambda severity, text: heard.append(text)
    )


def heard(connection: Connection) -> dict[str, tuple[list[bytes], int, list[int]]]:
    """By topic: the items, how many were skipped, the sequence numbers."""
    found: dict[str, tuple[list[bytes], int, list[int]]] = {}
    for topic, payload in connection.published:
        message = decode(payload)
        rows, skipped, numbers = found.get(topic, ([], 0, []))
        more = [message.batch.octets_of(k) for k in range(len(message.batch))]
        found[topic] = (rows + more, skipped + message.skipped, [*numbers, message.sequence])
    return found


@on_virtual_time
async def test_one_message_per_topic_and_turn() -> None:
    """What comes together goes together, each stream to its topic, in order, numbered from 0."""
    connection, tap = Connection(), TimelyTap()
    task = asyncio.create_task(shared(connection, tap).run())
    await asyncio.sleep(0.01)
    for turn in range(3):
        for k in range(5):
            tap.offer(items([(7, b"%d %d" % (turn, k)), (9, b"x")]))
        await asyncio.sleep(0.1)
    assert len(connection.published) == 6
    found = heard(connection)
    assert found["gw/v1/m.test/craft/tm/3/7"] == ([b"%d %d" % (t, k) for t in range(3) for k in range(5)], 0, [0, 1, 2])
    assert found["gw/v1/m.test/craft/tm/3/9"][0] == [b"x"] * 15
    tap.finish()
    await task


@pytest.mark.parametrize("seed", range(10))
def test_every_item_is_published_or_told(seed: int) -> None:
    """Brokers come and go, some are slow, items are too large: published + told as skipped = offered, by stream."""

    @on_virtual_time
    async def story() -> None:
        rng = random.Random(seed)
        connection, tap = Connection(), TimelyTap()
        told: list[str] = []
        topics = shared(connection, tap, max_octets=300, told=told)
        task = asyncio.create_task(topics.run())
        await asyncio.sleep(0.01)
        offered = dict.fromkeys(range(4), 0)
        for _ in range(200):
            values = [(rng.randrange(4), bytes(rng.choice([3, 30, 30, 280]))) for _ in range(rng.randrange(1, 9))]
            for apid, _ in values:
                offered[apid] += 1
            tap.offer(items(values))
            connection.slow_s = rng.choice([0, 0, 0.01, 0.3])
            await asyncio.sleep(rng.choice([0, 0.001, 0.2, 3]))
            if rng.random() < 0.1:
                connection.up.clear()
                await asyncio.sleep(rng.choice([0.01, 2]))
                connection.up.set()
        connection.slow_s = 0
        await asyncio.sleep(5)
        for apid in offered:
            tap.offer(items([(apid, b"last")]))
        await asyncio.sleep(5)
        found = heard(connection)
        for apid, count in offered.items():
            rows, skipped, numbers = found[f"gw/v1/m.test/craft/tm/3/{apid}"]
            assert len(rows) + skipped == count + 1
            assert numbers == list(range(len(numbers)))
            assert b"last" in rows
        assert topics.counters.oversize
        assert len([text for text in told if "larger than" in text]) == 1, "told once"
        tap.finish()
        await task

    story()


@on_virtual_time
async def test_bad_items_by_wish_only() -> None:
    """Rejected units come only where the configuration says so, with their quality."""
    for bad in (False, True):
        connection, tap = Connection(), TimelyTap()
        task = asyncio.create_task(shared(connection, tap, bad=bad).run())
        await asyncio.sleep(0.01)
        tap.offer(items([(7, b"bad")], Quality.PACKET_TRUNCATED))
        await asyncio.sleep(0.1)
        assert [decode(p).batch.items["quality"].tolist() for _, p in connection.published] == [[11]] * bad
        tap.finish()
        await task


class Instance:
    """The part of a mission instance that descriptors tell of."""

    def __init__(self, apids: int = 1) -> None:
        self.name, self.support_mode, self.replay = "m.test", "test", None
        self.mission = SimpleNamespace(name="m")
        self.journal = SimpleNamespace(journal_id="id", revision=1, names=lambda what: {1: "craft"})
        self.state = "connected"
        self.apids = apids
        self.links = {"l": SimpleNamespace(snapshot=self._link)}

    def _link(self) -> dict[str, Any]:
        return {
            "name": "l", "type": "udp", "spacecraft": "craft", "prime": True, "state": self.state,
            "contact": "contact", "counters": {"frames": random.random()},
        }  # fmt: skip

    def streams(self) -> list[dict[str, Any]]:
        row = {"spacecraft": "craft", "link": "l", "scid": 1, "vcid": 3, "packets": random.random()}
        return [{**row, "apid": None}, *({**row, "apid": apid} for apid in range(self.apids))]

    def contacts(self) -> list[dict[str, Any]]:
        return []


@on_virtual_time
async def test_descriptors_follow_what_is() -> None:
    """Changes are published, what only counts on is not; a new connection gets all; a wrong last will is corrected."""
    connection, instance = Connection(), Instance()
    made: Any = connection
    descriptors = Descriptors("gw", lambda: {"m.test": instance}, made, 10_000)  # type: ignore[dict-item]
    task = asyncio.create_task(descriptors.run())
    await asyncio.sleep(3)
    assert json.loads(connection.retained["gw/v1/status/gw"])["state"] == "online"
    assert json.loads(connection.retained["gw/v1/m.test/streams"])["streams"] == [
        {"spacecraft": "craft", "link": "l", "scid": 1, "vcid": 3, "apid": 0}
    ]
    connection.retained.clear()
    await asyncio.sleep(3)
    assert not connection.retained, "nothing has changed"
    instance.state = "unavailable"
    await asyncio.sleep(1)
    assert list(connection.retained) == ["gw/v1/m.test/links"]
    descriptors.told_otherwise(b'{"gateway": "gw", "state": "offline"}')
    await asyncio.sleep(1)
    assert json.loads(connection.retained["gw/v1/status/gw"])["state"] == "online"
    descriptors.forget()
    connection.retained.clear()
    await asyncio.sleep(1)
    assert len(connection.retained) == 4
    words = descriptors.last_words()
    assert json.loads(words.pop("gw/v1/status/gw"))["state"] == "offline"
    assert set(words.values()) == {b""}
    task.cancel()


@on_virtual_time
async def test_more_streams_than_a_message_holds() -> None:
    """The descriptor stays within the limit, and says how many streams it leaves out."""
    connection: Any = Connection()
    descriptors = Descriptors("gw", lambda: {"m.test": Instance(2048)}, connection, 4096)  # type: ignore[dict-item]
    task = asyncio.create_task(descriptors.run())
    await asyncio.sleep(1)
    payload = connection.retained["gw/v1/m.test/streams"]
    told = json.loads(payload)
    assert len(payload) <= 4096
    assert len(told["streams"]) + told["streams_left_out"] == 2048
    task.cancel()


@on_virtual_time
async def test_an_instance_that_goes_leaves_no_descriptor() -> None:
    """What is retained of an instance that a reload took away is cleared at the broker, all else stays."""
    connection, there = Connection(), {"m.test": Instance(), "m.flight": Instance()}
    made: Any = connection
    descriptors = Descriptors("gw", lambda: there, made, 10_000)  # type: ignore[arg-type,return-value]
    task = asyncio.create_task(descriptors.run())
    await asyncio.sleep(3)
    del there["m.test"]
    await asyncio.sleep(1)
    cleared = {topic for topic, payload in connection.retained.items() if not payload}
    assert cleared == {f"gw/v1/m.test/{what}" for what in ("streams", "links", "contacts")}
    assert json.loads(connection.retained["gw/v1/status/gw"])["instances"] == ["m.flight"]
    task.cancel()


@on_virtual_time
async def test_other_prime_links_are_published_without_a_gap() -> None:
    """A reload that makes another link the prime one: its items come from then on, numbers go on, nothing is lost."""
    connection, tap, links = Connection(), TimelyTap(), ["one"]
    topics = shared(connection, tap)
    registry: Any = topics.instance.registry
    registry.selection = lambda wish: parse_selection({**wish, "links": links}, {"craft": 1}, {"one": 1, "two": 2})
    task = asyncio.create_task(topics.run())
    await asyncio.sleep(0.01)
    for number in range(4):
        for link in (1, 2):
            batch = items([(7, b"%d of %d" % (number, link))])
            batch.items["link"] = link
            tap.offer(batch)
        if number == 1:
            links[:] = ["two"]
            topics.renew()
        await asyncio.sleep(0.1 if number != 1 else 0)
    await asyncio.sleep(0.1)
    wanted = [b"0 of 1", b"1 of 1", b"2 of 2", b"3 of 2"]
    rows, skipped, numbers = heard(connection)["gw/v1/m.test/craft/tm/3/7"]
    assert (rows, skipped, numbers) == (wanted, 0, list(range(len(numbers))))
    tap.finish()
    await task
