"""The Python client: each packet once in a loop, whatever is cut, cancelled or killed; what is finished stays so."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Conflict, UsageError
from gateway.homes import HomeBase, PacketBatch
from gateway.homes.client import SubscriptionRefused
from gateway.homes.digests import StoreDigester
from gateway.homes.store import HomeStore
from gateway.homes.store_reader import DamagedStore
from tests.gateway.home_world import HOME, HomeWorld, Program
from tests.gateway.simulated import SimStorage, inline, on_virtual_time
from tests.gateway.test_journal import packets

KINDS = st.sampled_from(["commit", "loop", "leave", "kill", "cut", "full", "away"])


class Reader(Program):
    """Somebody's loop for ever; notes what came and what was finished."""

    def __init__(self, world: HomeWorld, order: str) -> None:
        super().__init__(world)
        self.order = order
        self.came: dict[int, bytes] = {}
        self.finished: set[int] = set()
        self.order_of_arrival: list[int] = []

    async def run(self) -> None:
        async with self.world.home() as home:
            loop = home.packets(apid=5, order=self.order)  # type: ignore[arg-type]
            async for batch in loop:
                positions = batch.positions.tolist()
                assert not self.finished & set(positions), "what was finished came again"
                await asyncio.sleep(self.world.rng.choice([0, 0.01, 0.5]))
                self.came |= dict(zip(positions, batch, strict=True))
                if self.world.rng.random() < 0.7:
                    await loop.finish()
                    self.finished |= set(positions)
                    self.order_of_arrival += positions


async def weather(seed: int, steps: list[str], order: str) -> Reader:
    world = await HomeWorld.open(seed)
    reader = Reader(world, order)
    await reader.through(steps)
    await reader.until(lambda: len(reader.came) >= world.made)
    await reader.stop(kill=False)
    assert [reader.came[position] for position in sorted(reader.came)] == world.wanted()
    await world.end()
    return reader


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32), st.lists(KINDS, max_size=14))
def test_every_packet_comes_and_what_is_finished_does_not_come_again(seed: int, steps: list[str]) -> None:
    """R4: loops that are left, cancelled, killed with their disk's cache, cut off: every packet comes, in order of
    position, and nothing that was finished comes again."""
    found: list[int] = []

    @on_virtual_time
    async def run() -> None:
        found.extend((await weather(seed, steps, "position")).order_of_arrival)

    run()
    assert found == sorted(found)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1 << 32), st.lists(KINDS, max_size=14))
def test_in_order_of_arrival_nothing_is_lost_either(seed: int, steps: list[str]) -> None:
    """R4: the same, where live data go before what is caught up."""

    @on_virtual_time
    async def run() -> None:
        await weather(seed, steps, "arrival")

    run()


async def take(home: HomeBase, wanted: int, **more: Any) -> list[bytes]:
    found: list[bytes] = []
    loop = home.packets(**more)
    async for batch in loop:
        found += batch.packets
        if len(found) >= wanted:
            await loop.finish()
            break
    await loop.close()
    return found


@on_virtual_time
async def test_live_goes_before_what_is_caught_up() -> None:
    """A home base that was away sees in order of arrival what comes now while it catches up; by position it waits."""
    world = await HomeWorld.open(3)
    await world.commit(10)
    async with world.home() as home:
        assert await take(home, 10, order="arrival") == world.wanted()
    await world.commit(600)
    async with world.home() as home:
        loop = home.packets(order="arrival")
        seen: list[int] = []
        async for batch in loop:
            if not seen:
                await world.commit(20)
            seen += batch.positions.tolist()
            await asyncio.sleep(0.2)
            if len(seen) == 620:
                break
    assert sorted(seen) == list(range(10, 630))
    assert seen != sorted(seen), "live data came before the end of what was caught up"
    await world.end()


@on_virtual_time
async def test_nothing_is_acknowledged_that_is_not_stored() -> None:
    """R2: while the home base's disk takes nothing, nothing is acknowledged; it goes on by itself."""
    world = await HomeWorld.open(4)
    await world.commit(40)
    world.disk.free = 0
    async with world.home() as home:
        loop = home.packets()
        waiting = asyncio.create_task(anext(loop))
        await asyncio.sleep(30)
        assert not waiting.done()
        assert "reserve" in loop.state["trouble"]
        known = world.registry.subscriptions[HOME, next(name for _, name in world.registry.subscriptions)]
        assert known.cursor.highest == 0
        world.disk.free = 1 << 40
        found = (await asyncio.wait_for(waiting, 60)).packets
        while len(found) < 40:
            found += (await anext(loop)).packets
        assert loop.state["trouble"] is None
        assert set(loop.state) == {"connected", "waiting", "marks_confirmed", "trouble"}
        await asyncio.sleep(5)
        assert loop.state["marks_confirmed"] > 0
    assert found == world.wanted()
    assert world.registry.subscriptions[HOME, known.name].cursor.low_water == 40
    await world.end()


@on_virtual_time
async def test_damage_of_the_store_is_fetched_again() -> None:
    """R14: a block that is damaged on the home base's disk while it runs is taken out and delivered again."""
    world = await HomeWorld.open(5)
    await world.commit(60)
    async with world.home() as home:
        assert await take(home, 60, subscription="s") == world.wanted()
        name = next(name for name in world.disk.volatile if name.endswith(".blocks"))
        for files in (world.disk.volatile, world.disk.durable):
            files[name][len(files[name]) // 2] ^= 0xFF
        assert await take(home, 60, subscription="s", consumer="second") == world.wanted()
    assert [o for b in HomeStore(world.disk, "s").blocks() for o in PacketBatch(b.batch, b.positions, {})] == (
        world.wanted()
    )
    await world.end()


@on_virtual_time
async def test_damage_that_a_digest_finds_is_fetched_again() -> None:
    """R14: when the gateway asks for a digest and the store is damaged, the damage is mended, and the next answer is
    right."""
    world = await HomeWorld.open(14)
    await world.commit(60)
    async with world.home() as home:
        assert await take(home, 60, subscription="s") == world.wanted()
        keeper = home._kept["s"][0]
        assert keeper.store is not None
        digester = StoreDigester(world.disk, keeper.store, inline)
        wanted = (60, hashlib.sha256(b"".join(world.wanted())).hexdigest())
        assert await keeper._digest(digester, 0, 60) == wanted
        name = next(name for name in world.disk.volatile if name.endswith(".blocks"))
        for files in (world.disk.volatile, world.disk.durable):
            files[name][len(files[name]) // 3] ^= 0x01
        with pytest.raises(DamagedStore):
            await keeper._digest(digester, 0, 60)
        await asyncio.sleep(60)
        assert await keeper._digest(digester, 0, 60) == wanted
    await world.end()


@on_virtual_time
async def test_each_consumer_has_a_place_and_loops_are_cancelled_safely() -> None:
    """R4: two consumers of one subscription each get everything; a wait that is cancelled loses nothing."""
    world = await HomeWorld.open(6)
    await world.commit(20)
    async with world.home() as home:
        assert await take(home, 20, subscription="s") == world.wanted()
        loop = home.packets(subscription="s", consumer="second")
        found: list[bytes] = []
        while len(found) < 30:
            try:
                async with asyncio.timeout(0.02):
                    found += (await anext(loop)).packets
            except TimeoutError:
                if world.made < 30:
                    await world.commit(1)
        assert found == world.wanted()
    assert len([name for name in world.disk.durable if "consumers/" in name]) == 2
    await world.end()


@on_virtual_time
async def test_filters_make_subscriptions_of_their_own() -> None:
    """A loop over one APID gets that one; the same arguments continue it, another selection does not mix with it."""
    world = await HomeWorld.open(7)
    await world.commit(3, apid=5)
    await world.commit(3, apid=6)
    async with world.home() as home:
        assert await take(home, 3, apid=5) == world.wanted()[:3]
        assert await take(home, 3, apid=[6]) == world.wanted()[3:]
        await world.commit(2, apid=5)
        assert await take(home, 2, apid=5) == world.wanted()[6:]
    assert len(world.registry.subscriptions) == 2
    await world.end()


@on_virtual_time
async def test_what_cannot_be_is_refused() -> None:
    """Wrong use is a clear error at once; what the gateway refuses is raised in the loop."""
    world = await HomeWorld.open(8)
    home = world.home()
    with pytest.raises(UsageError, match="not open"):
        home.packets()
    async with home:
        loop = home.packets(subscription="s")
        with pytest.raises(UsageError, match="share one place"):
            home.packets(subscription="s")
        with pytest.raises(UsageError, match="another selection"):
            home.packets(subscription="s", apid=5, consumer="x")
        with pytest.raises(UsageError, match="no name"):
            home.packets(subscription="../up")
        with pytest.raises(UsageError, match="selects nothing"):
            home.packets(apid=[])
        await loop.close()
        with pytest.raises(SubscriptionRefused, match="is not one of"):
            await anext(home.packets(spacecraft="nobody"))
        world.disk.write_whole("t/consumers/main.json", b'{"low_water": -3}')
        with pytest.raises(Conflict, match=r"t/consumers/main\.json"):
            home.packets(subscription="t")
    with pytest.raises(UsageError):
        await anext(loop)
    async with HomeBase.around(world.around(), "stranger") as stranger:
        with pytest.raises(SubscriptionRefused, match="unknown home"):
            await anext(stranger.packets())
    await world.end()


@on_virtual_time
async def test_a_new_store_gets_everything_again() -> None:
    """A home base that lost its store gets all that the gateway still has, though it was acknowledged before."""
    world = await HomeWorld.open(13)
    await world.commit(50)
    async with world.home() as home:
        assert await take(home, 50, subscription="s") == world.wanted()
        await asyncio.sleep(5)
    assert world.registry.subscriptions[HOME, "s"].cursor.low_water == 50
    world.disk = SimStorage(world.rng)
    async with world.home() as home:
        assert await take(home, 50, subscription="s") == world.wanted()
    await world.end()


@on_virtual_time
async def test_the_end_of_a_stream_ends_the_loop() -> None:
    """A replay that has ended ends the loops over it, after everything of it."""
    world = await HomeWorld.open(9)
    await world.commit(25)
    world.journal.finish()
    async with world.home() as home:
        assert [octets async for batch in home.packets() for octets in batch] == world.wanted()
        assert [octets async for batch in home.packets(consumer="again") for octets in batch] == world.wanted()
    await world.end()


@on_virtual_time
async def test_what_has_expired_is_told() -> None:
    """R4: positions that the gateway has no more are told in the loop, with their exact range."""
    world = await HomeWorld.open(10)
    await world.commit(400)
    store = HomeStore(world.disk, "s")
    store.begin(str(world.journal.journal_id), world.journal.revision, 0, {"kinds": ["tm"], "units": ["packet"]})
    store.note_missing(0, 100)
    async with world.home() as home:
        loop, told, found = home.packets(subscription="s"), list[tuple[int, int]](), list[bytes]()
        async for batch in loop:
            if batch.missing:
                told.append((batch.first_position, batch.end_position))
            found += batch.packets
            if len(found) == 300:
                break
    assert told == [(0, 100)]
    assert found == world.wanted()[100:]
    await world.end()


@on_virtual_time
async def test_timely_loops_come_at_once_and_tell_what_they_skipped() -> None:
    """A timely loop that is slow gets the newest, and is told exactly how much it missed."""
    world = await HomeWorld.open(11)
    world.calm = True
    async with world.home() as home:
        loop = home.timely(apid=5, max_delay_ms=100)
        first = asyncio.create_task(anext(loop))
        await asyncio.sleep(2)
        received = skipped = 0
        task = asyncio.create_task(_offer_slowly(world, 200))
        received += len(await first)
        while received + skipped < 200:
            batch = await asyncio.wait_for(anext(loop), 60)
            received, skipped = received + len(batch), skipped + (batch.skipped or {"items": 0})["items"]
            await asyncio.sleep(0.3)
        await task
        await loop.close()
    assert skipped
    assert received + skipped == 200
    await world.end()


async def _offer_slowly(world: HomeWorld, count: int) -> None:
    for k in range(count):
        world.registry.timely.offer(packets([b"%d" % k]))
        await asyncio.sleep(0.02)


def test_a_place_that_is_kept_is_json() -> None:
    """What a consumer keeps can be read by people."""

    @on_virtual_time
    async def run() -> None:
        world = await HomeWorld.open(12)
        await world.commit(5)
        async with world.home() as home:
            await take(home, 5, subscription="s")
        assert json.loads(world.disk.durable["s/consumers/main.json"]) == {"low_water": 5, "ranges": []}
        await world.end()

    run()
