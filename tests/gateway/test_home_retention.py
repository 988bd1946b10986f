"""What an agent's store keeps: what is old or too much goes, whole, and never what somebody still needs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from gateway.agent import agent as agent_module
from gateway.homes.digests import IncompleteStore, StoreDigester
from gateway.homes.retention import DAY_NS, Keep, Retention
from gateway.homes.store import HomeStore
from gateway.homes.store_reader import StoreReader
from gateway_codecs.delivery_block import decode, encode_data
from gateway_routes.delivery import Cursor
from tests.gateway.home_world import HomeWorld
from tests.gateway.simulated import PowerLoss, SimStorage, inline, on_virtual_time
from tests.gateway.test_home_agent import FILES, Laboratory
from tests.gateway.test_journal import packets

DAY = DAY_NS


def block(first: int, count: int) -> bytes:
    batch = packets([b"packet %d" % k for k in range(first, first + count)])
    return encode_data(0, first, first + count, np.arange(first, first + count), batch)


def filled(storage: SimStorage, *, file_octets: int = 1 << 12, upto: int = 200) -> HomeStore:
    """A store of positions 0..upto in blocks of ten."""
    store = HomeStore(storage, "all", file_octets=file_octets)
    store.begin("j", 0, 0, {})
    for first in range(0, upto, 10):
        data = block(first, 10)
        store.append(decode(data), data)
    store.force()
    return store


def positions_of(store: HomeStore) -> list[int]:
    return [int(position) for one in store.blocks() for position in one.positions]


def test_what_is_old_goes_and_is_never_asked_for_again() -> None:
    """Closed files go when they are older than the days that are kept; the store's cursor does not move, over a restart
    neither; what is sent again is not stored; readers are told; a digest over it is not made up."""
    storage = SimStorage(random.Random(1))
    store, now = filled(storage), 100 * DAY
    retention = Retention(Keep(days=2))
    retention.look(store, {}, now)
    assert store.removed_counts["positions"] == 0
    files = [file for file in store.files() if file.closed_ns is not None]
    assert len(files) > 2
    retention.look(store, {}, now + 2 * DAY)
    assert store.removed == []
    retention.look(store, {}, now + 2 * DAY + 1)
    assert store.removed == [(0, files[-1].end)]
    retention.look(store, {}, now + 5 * DAY)
    assert (store.removed, store.files()) == ([(0, 200)], []), "the last one is closed, and goes, without new data"
    assert store.cursor() == Cursor(200)
    again = HomeStore(storage, "all")
    assert (again.cursor(), again.items, again.removed_counts["items"]) == (Cursor(200), 0, 200)
    data = block(30, 10)
    assert again.append(decode(data), data) is False
    more = block(200, 10)
    assert again.append(decode(more), more) is True
    again.force()
    reader = StoreReader(storage, again)
    told = []
    while (portion := reader.next()) is not None:
        told.append((portion.first, portion.end, portion.absent))
        reader.finish(portion)
    assert told == [(0, 200, True), (200, 210, False)]
    digester = StoreDigester(storage, again, inline)
    with pytest.raises(IncompleteStore, match="removed here"):
        asyncio.run(digester(100, 210))
    assert asyncio.run(digester(200, 210))[0] == 10


def test_the_oldest_go_beyond_the_octets_that_are_kept() -> None:
    """What is more than the octets goes, the oldest first, and no more than that."""
    store = filled(SimStorage(random.Random(2)))
    keep = store.octets // 2
    retention = Retention(Keep(octets=keep))
    retention.look(store, {}, DAY)
    assert keep - 2 * (1 << 12) < store.octets <= keep
    assert (retention.over_octets, retention.held_by) == (0, ())
    assert positions_of(store) == list(range(store.removed[0][1], 200))
    assert Keep(octets=1 << 30).file_octets == 1 << 26
    assert Keep(octets=1 << 20).file_octets == 1 << 17


def test_nothing_goes_that_somebody_is_not_done_with() -> None:
    """Who is not done with something holds it, however old it is, and is named; what all are done with goes."""
    store = filled(SimStorage(random.Random(3)))
    retention = Retention(Keep(days=1, octets=1 << 12))
    retention.look(store, {}, DAY)
    for holder in (None, Cursor(0), Cursor(5, ((100, 200),))):
        fresh = filled(SimStorage(random.Random(3)))
        retention.look(fresh, {"archive": holder, "other": Cursor(200)}, DAY)
        retention.look(fresh, {"archive": holder, "other": Cursor(200)}, 9 * DAY)
        assert retention.held_by == ("archive",)
        assert fresh.cursor() == Cursor(200)
        lost = set(range(200)) - set(positions_of(fresh))
        assert not lost & set(range(100 if holder and holder.ranges else 200))
        assert bool(lost) == bool(holder and holder.ranges)
        assert retention.over_octets > 0


@pytest.mark.parametrize("seed", range(60))
def test_whenever_the_power_goes_nothing_comes_twice_or_is_lost(seed: int) -> None:
    """Losses of power while files go: what the store says is removed or stored is each position once, as before."""
    rng = random.Random(seed)
    storage = SimStorage(rng)
    filled(storage).close()
    now = DAY
    for _ in range(6):
        storage.fuse = rng.randrange(1, 25)
        try:
            store = HomeStore(storage, "all", file_octets=1 << 12)
            for _ in range(4):
                now += DAY
                done = Cursor(rng.randrange(0, 220))
                Retention(Keep(days=0.5)).look(store, {"archive": done}, now)
        except PowerLoss:
            storage.crash()
    store = HomeStore(storage, "all", file_octets=1 << 12)
    assert store.cursor() == Cursor(200)
    removed = {k for first, end in store.removed for k in range(first, end)}
    assert sorted([*removed, *positions_of(store)]) == list(range(200))


@on_virtual_time
async def test_an_agent_keeps_what_its_files_have_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """R4, R12: with little kept, files in trouble hold the store, and it is told; when they go on everything is in them
    once, and the store becomes small;
    nothing is asked for again after a kill."""
    monkeypatch.setattr(agent_module, "RETAIN_S", 1.0)
    world = await HomeWorld.open(5)
    world.calm = True
    there = Laboratory(world, {"keep_octets": 1 << 16}, archive=FILES)
    there.out["files"].fail_opens = 3
    there.start()
    for _ in range(30):
        await world.commit_large(10)
        await asyncio.sleep(0.1)
    await asyncio.sleep(2)
    row = retention_of(there)
    assert (row["held_by"], row["removed_items"], row["over_octets"] > 0) == (["archive"], 0, True)
    await there.until(lambda: len(b"".join(there.files().values())) == sum(map(len, world.large)))
    await there.until(lambda: retention_of(there)["over_octets"] == 0)
    assert b"".join(there.files().values()) == b"".join(world.large)
    before = retention_of(there)
    assert before["removed_items"] > 200
    assert row_of(there)["lag_positions"] == 0
    await there.kill()
    there.start()
    await there.until(lambda: there.statuses[-1]["state"] == "well")
    await asyncio.sleep(3)
    assert row_of(there)["items"] + retention_of(there)["removed_items"] == len(world.large)
    assert b"".join(there.files().values()) == b"".join(world.large), "nothing twice"
    assert row_of(there)["duplicates"] == 0
    await there.stop()
    await world.end()


def row_of(there: Laboratory) -> Mapping[str, Any]:
    return dict(there.statuses[-1]["subscriptions"]["all"])


def retention_of(there: Laboratory) -> Mapping[str, Any]:
    return dict(row_of(there)["retention"])
