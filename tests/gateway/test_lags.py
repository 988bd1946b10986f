"""How late each home base is: told in every look, whether it is there or away, catches up or was just restarted."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.api.metrics import CAUSES, render_metrics
from gateway.api.models import GatewayState
from gateway.homes.registry import Subscription
from gateway.journal import JournalSettings
from gateway_routes.delivery import Cursor
from tests.gateway import reported_world
from tests.gateway.reported_world import S, World
from tests.gateway.simulated import on_virtual_time
from tests.gateway.test_sessions import Peer

SMALL_MEMORY = JournalSettings(reserve_octets=0, segment_octets=1 << 12, memory_octets=1, snapshot_every=4)
"""All but the newest block is on disk alone."""


def lag_s(world: World, home: str = "a") -> float:
    """What an operator is told, in seconds; it must be told."""
    (row,) = [row for row in world.accounts.homes() if row["home"] == home]
    assert isinstance(row["lag_s"], float), row
    return float(row["lag_s"])


def true_lag_s(world: World, home: str = "a") -> float:
    """Read it from the journal: since when its oldest position that is not acknowledged is committed."""
    waters = [one.cursor.low_water for key, one in world.registry.subscriptions.items() if key[0] == home]
    water = max(min(waters), world.journal.tail)
    if water >= world.journal.head:
        return 0.0
    return (world.clock.steady_tai_ns() - world.journal.committed(water)[0]) / 1e9


async def commit_slowly(world: World, count: int) -> None:
    """Commit packets, a minute of the clock apart."""
    for _ in range(count):
        await world.commit(1)
        world.clock.now_ns += 60 * S


@on_virtual_time
async def test_who_lags_a_little_is_told_in_every_look() -> None:
    """Issue: lag in seconds of each home base is there in every scrape, also when one comes between two looks at the
    disk, and is that of the oldest position that it has not acknowledged."""
    world = await World.open()
    running = asyncio.create_task(world.accounts.run(), name="accounts")
    peer = Peer(world.registry)
    await peer.hello()
    for number in range(20):
        await commit_slowly(world, 2)  # two minutes, in no time of the loop: nobody looked
        assert lag_s(world) == pytest.approx(true_lag_s(world), abs=0.1)
        assert lag_s(world) > 100
        await peer.take(2 * number + 1)
        await asyncio.sleep(0.3)
        assert lag_s(world) == pytest.approx(true_lag_s(world), abs=0.1)
    await peer.take(40)
    await asyncio.sleep(0.3)
    assert lag_s(world) == 0.0
    await peer.leave()
    running.cancel()


@on_virtual_time
async def test_who_is_away_is_told_and_after_a_restart_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue: the lag of a home base that is away is right, far behind what is in memory, and right after a restart
    before anybody has looked."""
    monkeypatch.setattr(reported_world, "SETTINGS", SMALL_MEMORY)
    world = await World.open()
    peer = Peer(world.registry)
    await peer.hello()
    await commit_slowly(world, 5)
    await peer.take(2)
    await asyncio.sleep(0.1)
    await peer.leave()
    await commit_slowly(world, 30)
    await world.accounts._look()
    for _ in range(3):
        assert lag_s(world) == pytest.approx(true_lag_s(world), abs=0.1)
        assert lag_s(world) > 1800
        world.clock.now_ns += 600 * S
    await world.journal.close()
    again = await World.open(world)
    assert lag_s(again) == pytest.approx(true_lag_s(again), abs=0.1)
    assert lag_s(again) > 3600


@on_virtual_time
async def test_who_catches_up_is_told_as_at_the_last_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue: a home base whose cursor moves faster than anybody looks is never without a lag: it is told as at the last
    look, and right with the next; one that was never looked at is told no more than is known."""
    monkeypatch.setattr(reported_world, "SETTINGS", SMALL_MEMORY)
    world = await World.open()
    await commit_slowly(world, 40)
    await world.registry.put(Subscription("a", "all", 1, {}, Cursor(3)))
    assert 0 <= lag_s(world) <= true_lag_s(world)
    await world.accounts._look()
    before = true_lag_s(world)
    assert lag_s(world) == pytest.approx(before, abs=0.1)
    for water in (9, 17, 30):
        moved = replace(world.registry.subscriptions["a", "all"], cursor=Cursor(water))
        await world.registry.put(moved)
        assert lag_s(world) == pytest.approx(before, abs=0.1)
    await world.accounts._look()
    assert lag_s(world) == pytest.approx(true_lag_s(world), abs=0.1)
    assert lag_s(world) < before


@on_virtual_time
async def test_the_worst_subscription_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue: of several subscriptions the one that waits longest counts; of many home bases all are told."""
    monkeypatch.setattr(reported_world, "SETTINGS", SMALL_MEMORY)
    world = await World.open()
    await commit_slowly(world, 200)
    for k in range(150):
        await world.registry.put(Subscription(f"h{k}", "x", 1, {}, Cursor(199 - k)))
        await world.registry.put(Subscription(f"h{k}", "y", 1, {}, Cursor(200)))
    for _ in range(3):
        await world.accounts._look()
    for k in range(150):
        assert lag_s(world, f"h{k}") == pytest.approx(true_lag_s(world, f"h{k}"), abs=0.2), k


@on_virtual_time
async def test_what_retention_removed_or_the_disk_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue: a home base that waits for what retention has removed is as late as the oldest that is left; where blocks
    are damaged, as what comes behind; and a disk that cannot be read takes no number away."""
    monkeypatch.setattr(reported_world, "SETTINGS", replace(SMALL_MEMORY, keep_octets=1 << 14))
    world = await World.open()
    await world.registry.put(Subscription("a", "all", 1, {}, Cursor(0)))
    await commit_slowly(world, 100)
    await world.journal.retain()
    tail = world.journal.tail
    assert 0 < tail < 90
    await world.accounts._look()
    assert lag_s(world) == pytest.approx(true_lag_s(world), abs=0.1)
    segments = [f"m/journal/{name}" for name in world.disk.names("m/journal") if name.endswith(".seg")]
    world.disk.volatile[segments[0]][:100] = bytes(100)
    await world.registry.put(Subscription("b", "all", 1, {}, Cursor(tail)))
    await world.accounts._look()
    assert lag_s(world) - 130 < lag_s(world, "b") < lag_s(world) - 50, "a minute, and what lies between"
    world.disk.bad += [(name, 0, 1 << 30) for name in segments]
    await world.registry.put(Subscription("c", "all", 1, {}, Cursor(tail)))
    told = lag_s(world), lag_s(world, "b")
    await world.accounts._look()
    assert (lag_s(world), lag_s(world, "b")) == pytest.approx(told, abs=0.1)
    assert lag_s(world, "c") >= 0


@on_virtual_time
async def test_when_it_was_heard_last_outlasts_a_kill() -> None:
    """Issue: when a home base was heard last is known after a kill -9 also if it was first heard a moment before."""
    world = await World.open()
    running = asyncio.create_task(world.accounts.run(), name="accounts")
    await world.commit(1)
    peer = Peer(world.registry)
    await peer.hello()
    await asyncio.sleep(2.5)
    await peer.leave()
    running.cancel()
    again = await World.open(world)
    (row,) = again.accounts.homes()
    assert row["last_seen_age_s"] is not None


def test_every_number_of_every_home_base_is_there() -> None:
    """Issue: each metric of a home base is there from the beginning: of one that has only just begun, or was never
    heard, too; who never was heard was heard infinitely long ago."""
    (state,) = GatewayState.model_json_schema()["examples"]
    (instance,) = state["instances"]
    (known,) = instance["homes"]
    new = {
        **known,
        "home": "b",
        "sessions": 0,
        "lag_s": 0.0,
        "drops": {},
        "last_seen_utc": None,
        "last_seen_age_s": None,
    }
    text, _ = render_metrics({**state, "instances": [{**instance, "homes": [known, new]}]})
    found = {one.name: one.samples for one in text_string_to_metric_families(text.decode())}
    mine = {name: samples for name, samples in found.items() if name.startswith("gateway_home_")}
    assert len(mine) == 7
    for name, samples in mine.items():
        many = {"gateway_home_drops": len(CAUSES), "gateway_home_digests": 2}.get(name, 1)
        of_new = [one for one in samples if one.labels["home"] == "b" and not one.name.endswith("_created")]
        assert len(of_new) == many, name
    (seen,) = [one.value for one in mine["gateway_home_last_seen_age_seconds"] if one.labels["home"] == "b"]
    assert seen == float("inf")
