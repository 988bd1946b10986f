"""Confirmed digests: a home base computes them from its real store, and what differs is loud."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.accounting.ranges import LATE_NS
from gateway.homes.digests import StoreDigester
from gateway.homes.store import HomeStore
from gateway.journal.small_store import CONFIRMATIONS_KEPT
from gateway.mqtt.topics import HomeTopic
from tests.gateway.reported_world import Home, S, World, row_of, until
from tests.gateway.simulated import SimStorage, inline, on_virtual_time, small_store
from tests.gateway.simulated_mqtt import SimBroker, SimInstance
from tests.gateway.test_sessions import Peer


@asynccontextmanager
async def at_home(world: World, dial: Any = None) -> AsyncIterator[Home]:
    """A home base that is there while the gateway keeps accounts."""
    keeping = asyncio.create_task(world.accounts.run(), name="accounts")
    home = Home(world, dial=dial)
    yield home
    await home.leave()
    keeping.cancel()


async def contact_stored(world: World, home: Home, count: int) -> None:
    """A contact in which packets came, and are stored."""
    begun = world.clock.now_ns
    await world.commit(count)
    world.contact(1, begun, world.clock.now_ns)
    await home.stored(count)


@on_virtual_time
async def test_a_home_base_confirms_a_contact() -> None:
    """Issue: the home base recomputes the digest from its store and confirms; that is kept through a restart."""
    world = await World.open()
    async with at_home(world) as home:
        await contact_stored(world, home, 20)
        assert not home.told, "a contact that may still go on is not asked for"
        world.clock.now_ns += 3 * LATE_NS
        await world.commit(5)
        await until(lambda: home.told)
        assert home.told == [(0, 20, True)]
        report = await world.report(contact="1")
        digest = row_of(report)["digest"]
        whole = b"".join(block.batch.octets.tobytes() for block in home.store.blocks())
        own = hashlib.sha256(b"".join(_octets(home.store, 20))).hexdigest()
        assert len(whole) > digest["octets"]
        assert (digest["state"], digest["items"], digest["sha256"]) == ("confirmed", 20, own)
        assert [row["digests_unconfirmed"] for row in world.accounts.homes()] == [0]
    await world.journal.close()
    again = await World.open(world)
    assert row_of(await again.report(contact="1"))["digest"]["state"] == "confirmed"
    assert again.accounts.homes()[0]["last_seen_utc"] is not None, "who is heard first is kept within a second"


def _octets(store: HomeStore, end: int) -> list[bytes]:
    return [
        block.batch.octets_of(k)
        for block in store.blocks()
        for k, position in enumerate(block.positions.tolist())
        if position < end
    ]


@on_virtual_time
async def test_a_store_that_differs_is_loud() -> None:
    """Issue: a mismatch is an event, a condition and a word to the home base; a repaired store confirms later."""
    world = await World.open()
    async with at_home(world) as home:
        await contact_stored(world, home, 20)

        async def wrong(first: int, end: int) -> tuple[int, str]:
            return end - first - 1, "0" * 64

        right, home.client._digester = home.client._digester, wrong
        world.clock.now_ns += 3 * LATE_NS
        await until(lambda: home.told)
        assert home.told == [(0, 20, False)]
        assert [(e["type"], e["severity"], e["items"], e["home_items"]) for e in world.events] == [
            ("digest differs", "error", 20, 19)
        ]
        (condition,) = world.accounts.conditions()
        assert (condition.severity, condition.what) == ("error", "digest differs")
        assert row_of(await world.report(contact="1"))["digest"]["state"] == "differs"
        assert world.accounts.homes()[0]["digests_differing"] == 1
        home.client._digester = right
        home.client.again()
        await world.commit(1)
        await until(lambda: home.told[1:])
        assert home.told[1:] == [(0, 20, True)]
        assert not world.accounts.conditions()


@on_virtual_time
async def test_a_store_that_cannot_say() -> None:
    """A store that cannot be read says so; nothing is confirmed, nothing is an alarm, the session goes on."""
    world = await World.open()
    async with at_home(world) as home:
        await contact_stored(world, home, 5)

        async def unreadable(first: int, end: int) -> tuple[int, str]:
            raise OSError("input or output error")

        home.client._digester = unreadable
        world.clock.now_ns += 3 * LATE_NS
        await asyncio.sleep(10)
        await world.commit(5)
        await home.stored(10)
        assert row_of(await world.report(contact="1"))["digest"]["state"] == "not confirmed"
        assert (home.told, world.events, home.client.progress.connects) == ([], [], 1)


@on_virtual_time
async def test_a_digest_that_nobody_asked_for() -> None:
    """Hostile: a digest without being asked, or of other positions, ends this session with an error."""
    world = await World.open()
    await world.commit(5)
    peer = Peer(world.registry)
    await peer.hello(confirm=True)
    await peer.take(5)
    peer.say({"type": "digest", "first": 0, "end": 5, "items": 5, "sha256": "0" * 64})
    assert (await peer.hear_told("error"))["code"] == "bad message"
    await peer.leave()
    other = Peer(world.registry)
    await other.hello(confirm=True)
    await world.registry.sessions["a", "all"].asking.ask("contact 1", 0, 5)
    asked = await other.hear_told("confirm")
    assert (asked["first"], asked["end"]) == (0, 5)
    other.say({"type": "digest", "first": 0, "end": 4, "items": [], "sha256": {}})
    assert (await other.hear_told("error"))["code"] == "bad message"
    await other.leave()
    refused = Peer(world.registry)
    assert "confirm" in (await refused.hello(confirm=1))["message"]
    await refused.leave()


@on_virtual_time
async def test_a_home_base_confirms_over_mqtt() -> None:
    """Issue: over MQTT the same: asked, computed, confirmed."""
    world = await World.open()
    broker = SimBroker(random.Random(1), {"m.test": SimInstance(world.registry)})
    async with at_home(world, lambda: broker.dial(HomeTopic("m.test", "a", "all"))) as home:
        await contact_stored(world, home, 20)
        world.clock.now_ns += 3 * LATE_NS
        await until(lambda: home.told)
        assert home.told == [(0, 20, True)]
    await broker.door.close(1.0)


@on_virtual_time
async def test_a_home_base_that_confirms_nothing_right() -> None:
    """R13: a hostile home base that says a wrong digest of every contact, session after session, makes one condition,
    one event for each contact, and no more forced writes than there is news."""
    world = await World.open()
    async with at_home(world) as home:
        for number in range(10):
            begun = world.clock.now_ns
            await world.commit(2)
            world.contact(number, begun, world.clock.now_ns)
            world.clock.now_ns += 5 * S
        await home.stored(20)

        async def wrong(first: int, end: int) -> tuple[int, str]:
            return 0, "0" * 64

        home.client._digester = wrong
        world.clock.now_ns += 3 * LATE_NS
        writes = list[str]()
        put, world.store.put_confirmation = world.store.put_confirmation, lambda *row: writes.append(row[1])  # type: ignore[method-assign]
        for again in range(3):
            await until(lambda count=10 * (again + 1): len(home.told) >= count)
            home.client.again()
            await world.commit(1)
        assert not any(same for _, _, same in home.told)
        assert (len(world.events), len(writes)) == (10, 10)
        (condition,) = world.accounts.conditions()
        assert condition.text.startswith(
            "10 contacts and days differ; the oldest: a/all has stored 0 items of contact 0 "
        )
        assert condition.subject == "subscription a/all"
        world.store.put_confirmation = put  # type: ignore[method-assign]


@pytest.mark.parametrize("seed", range(4))
def test_digests_are_equal_however_it_was_delivered(seed: int) -> None:
    """R4: whatever lanes, cuts and returns, the store's digest of each range is the gateway's."""

    @on_virtual_time
    async def run() -> None:
        rng = random.Random(seed)
        world = await World.open()
        disk = SimStorage(random.Random(seed))
        edges = [0]
        for _ in range(6):
            home = Home(world, disk)
            for _ in range(rng.randrange(1, 6)):
                await world.commit(rng.randrange(1, 9), apid=rng.choice([5, 6]), missing=rng.choice([0, 2]))
                edges.append(world.journal.head)
                await asyncio.sleep(rng.choice([0, 0.05, 0.5]))
            await home.leave()
            await world.commit(rng.randrange(1, 40))
            home.store.close()
        home = Home(world, disk)
        await home.stored(world.journal.head)
        for _ in range(8):
            first, end = sorted(rng.sample(edges, 2)) if len(set(edges)) > 1 else (0, edges[-1])
            if first == end:
                continue
            items, sha256 = await StoreDigester(disk, home.store, inline)(first, end)
            own = row_of(await world.report(first=first, end=end))["digest"]
            assert (own["items"], own["sha256"]) == (items, sha256)
        await home.leave()

    run()


def test_of_confirmations_the_newest_are_kept() -> None:
    """R13: what home bases confirm is bounded, of each subscription by itself."""
    store = small_store()
    for k in range(CONFIRMATIONS_KEPT + 20):
        store.put_confirmation("j", "a", "all", {"what": f"contact {k}", "end": k})
    store.put_confirmation("j", "b", "all", {"what": "contact 1", "end": 1})
    kept = [value["end"] for home, _, value in store.confirmations("j") if home == "a"]
    assert kept == [*range(20, CONFIRMATIONS_KEPT + 20)]
    assert len(store.confirmations("j")) == CONFIRMATIONS_KEPT + 1
