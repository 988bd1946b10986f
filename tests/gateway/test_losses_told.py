"""What a home base will never get is told to it, as the exact range and with the reason (DESIGN 5)."""

from __future__ import annotations

import random
from dataclasses import replace

from gateway.homes.registry import Subscription, SubscriptionRegistry
from gateway_codecs.batches import IntakeBatch
from gateway_routes.delivery import Cursor
from tests.gateway.simulated import SimStorage, inline, on_virtual_time, small_store
from tests.gateway.test_journal import packets
from tests.gateway.test_sessions import World


@on_virtual_time
async def test_damage_is_told_to_the_home_base() -> None:
    """A damaged block is told as its range; everything beside it arrives."""
    disk = SimStorage(random.Random(1))
    world = await World.open(disk=disk)
    await world.commit(10)
    await world.journal.close()
    data = disk.volatile["m/journal/00000001.seg"]
    data[data.index(b"5 4")] ^= 1
    world = await World.open(disk=disk)
    peer = world.peer()
    await peer.hello()
    told = await peer.hear_told("missing")
    assert (told["first"], told["end"]) == (4, 5)
    assert told["reason"] == "damaged: octets of group 0 CRC-32C"
    await peer.leave()
    peer = world.peer()
    await peer.hello()
    assert await peer.take(10) == [b"5 %d" % k for k in range(10) if k != 4]
    await peer.leave()


@on_virtual_time
async def test_what_retention_took_is_told_to_the_home_base() -> None:
    """A home base that was away for too long is told which positions are gone, then gets the rest."""
    world = await World.open()
    for k in range(100):
        await world.journal.append(IntakeBatch(packets([bytes([k]) * 3000])))
    cursor = {"journal_id": str(world.journal.journal_id), "revision": 1, "low_water": 3, "ranges": []}
    world.journal.settings = replace(world.journal.settings, keep_octets=100_000)
    await world.journal.retain()
    tail = world.journal.tail
    assert 3 < tail < 100
    peer = world.peer()
    await peer.hello(cursor=cursor)
    told = await peer.hear_told("missing")
    assert (told["first"], told["end"], told["reason"]) == (3, tail, "expired")
    assert (await peer.take(100))[: 100 - tail] == [bytes([k]) * 3000 for k in range(tail, 100)]
    await peer.leave()


async def test_cursors_are_there_after_a_restart() -> None:
    """R2: the newest cursor that was put is the one that the next start finds."""
    world = await World.open()
    await world.commit(10)
    for low_water in (2, 7):
        await world.registry.put(Subscription("a", "all", 1, {}, Cursor(low_water, ((8, 9),))))
    again = SubscriptionRegistry(world.journal, world.store, inline, frozenset({"a"}))
    await again.load()
    assert again.subscriptions["a", "all"].cursor == Cursor(7, ((8, 9),))
    other = SubscriptionRegistry(world.journal, small_store(), inline, frozenset({"a"}))
    await other.load()
    assert not other.subscriptions
