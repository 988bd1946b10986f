"""Playback requests from the ask to the last acknowledgement, and re-sending by order: on virtual time, hostile too."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import replace
from typing import Any

import pytest

from gateway.errors import Conflict, NotFound, Refused
from gateway.homes.client import Progress, Subscriber, SubscriptionRefused, Wish
from gateway.homes.store import HomeStore
from gateway.journal import SmallStore
from gateway.playback.book import ASKS_PER_MINUTE, CLOSED_KEPT_PER_HOME, OPEN_PER_HOME_MAX, Asked, PlaybackBook
from gateway.playback.resend import RESEND_RANGES_MAX, Resent, resend
from gateway_codecs.batches import DataMode, IntakeBatch
from gateway_codecs.delivery_block import MARK, DeliveryBlock, decode
from gateway_routes.playback import PlaybackRequest, PlaybackState, RangeBy, Span
from gateway_routes.rights import Actor, ActorKind, HomeRights
from tests.conftest import SEEDS
from tests.gateway.simulated import EVERYTHING, SimClock, SimStorage, inline, on_virtual_time, small_store
from tests.gateway.test_journal import packets
from tests.gateway.test_sessions import Peer, World

S = 1_000_000_000


class PlaybackWorld(World):
    """A world with a book of playback requests; packet k of APID 5 was made and received at k seconds."""

    book: PlaybackBook
    events: list[dict[str, Any]]

    @classmethod
    async def begin(cls, store: SmallStore | None = None, disk: SimStorage | None = None) -> PlaybackWorld:
        world = await cls.open(store, disk)
        assert isinstance(world, PlaybackWorld)
        registry, world.events = world.registry, []
        world.book = registry.playbacks = PlaybackBook(
            "m", registry, world.store, inline, SimClock(), world.events.append
        )
        await world.book.load()
        return world

    async def receive(self, *times_s: float, apid: int = 5) -> None:
        for at in times_s:
            batch = packets([b"%d at %g" % (apid, at)], apid=apid)
            batch.items["receive_time_ns"] = batch.items["generation_time_ns"] = round(at * S)
            await self.journal.append(IntakeBatch(batch))

    async def ask(self, first: int, end: int, home: str = "a", by: RangeBy = RangeBy.POSITIONS, **wish: Any) -> str:
        asked = Asked(Actor(ActorKind.HOME, home), home, wish, Span(by, first, end))
        return (await self.book.ask(asked)).id

    def state(self, request: str) -> PlaybackRequest:
        return self.book.one(request)

    async def resend(self, first: int, end: int, by: RangeBy = RangeBy.POSITIONS) -> Resent:
        return await resend(self.registry, "a", "all", Span(by, first, end), inline)


class Line:
    """Channels between a client and the gateway of the moment, that may be cut after so many messages."""

    def __init__(self, world: PlaybackWorld, rng: random.Random | None = None) -> None:
        self.world, self._rng = world, rng
        self.peers: list[_Wire] = []

    async def __call__(self) -> _Wire:
        wire = _Wire(self.world, self._rng.randint(1, 30) if self._rng is not None else 1 << 30)
        self.peers.append(wire)
        return wire


class _Wire(Peer):
    """The client's end; the session has the other one."""

    def __init__(self, world: PlaybackWorld, life: int) -> None:
        self.life, self.heard = life, list[DeliveryBlock]()
        super().__init__(world.registry)
        self.client = _ClientEnd(self)

    async def send(self, message: str | bytes) -> None:
        self.life -= 1
        if self.life < 0:
            self._down.put_nowait("")
            raise ConnectionError("cut")
        if isinstance(message, bytes) and (block := decode(message)).kind != MARK:
            self.heard.append(block)
        await super().send(message)

    async def close(self, reason: str) -> None:
        self._down.put_nowait("")
        await super().close(reason)


class _ClientEnd:
    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    async def receive(self) -> str | bytes:
        message = await self._wire._down.get()
        if message == "":
            raise ConnectionError("cut")
        return message

    async def send(self, message: str | bytes) -> None:
        self._wire.say(message)

    async def close(self, reason: str) -> None:
        self._wire._up.put_nowait(None)


def subscriber(line: Line, store: HomeStore, wish: Wish, enough: Any = None) -> Subscriber:
    async def dial() -> Any:
        return (await line()).client

    enough = enough or (lambda store, progress: progress.final)
    return Subscriber(dial, store, inline, wish, enough=enough, jitter=lambda: 0.5)


async def fetch(
    line: Line, request: str, home: str = "a", store: HomeStore | None = None
) -> tuple[HomeStore, Progress]:
    store = store or HomeStore(SimStorage(random.Random(2)))
    client = subscriber(line, store, Wish(home, request, mode="playback"))
    async with asyncio.timeout(600):
        await client.run()
    await asyncio.sleep(1)
    return store, client.progress


def held(store: HomeStore) -> dict[int, bytes]:
    found = [(int(p), b.batch.octets_of(k)) for b in store.blocks() for k, p in enumerate(b.positions)]
    assert len(found) == len(dict(found)), "each position once"
    return dict(found)


@on_virtual_time
async def test_a_range_comes_back_tagged_and_is_done() -> None:
    """Playback: exactly the range comes, as data mode playback, with its own times, marked; nothing is journalled."""
    world = await PlaybackWorld.begin()
    await world.receive(*range(40))
    request = await world.ask(10, 30)
    assert world.state(request).state is PlaybackState.ACCEPTED
    head, events = world.journal.head, len(world.events)
    store, progress = await fetch(Line(world), request)
    assert held(store) == {k: b"5 at %d" % k for k in range(10, 30)}
    blocks = list(store.blocks())
    assert all((b.batch.items["data_mode"] == DataMode.PLAYBACK).all() for b in blocks)
    assert [int(t) for b in blocks for t in b.batch.items["receive_time_ns"]] == [k * S for k in range(10, 30)]
    assert progress.marks_confirmed >= 1
    row = world.book.row(world.state(request))
    assert (row["state"], row["items"], row["progress"], row["missing_positions"]) == ("done", 20, 1.0, 0)
    assert row["octets"] == sum(len(v) for v in held(store).values())
    assert None not in (row["requested_utc"], row["accepted_utc"], row["began_utc"], row["ended_utc"])
    assert (world.journal.head, len(world.events)) == (head, events + 1)
    assert world.events[-1]["state"] == "done"
    found = await world.journal.read(10, world.registry.selection({}), 4, 1 << 20)
    assert set(found.batch.items["data_mode"].tolist()) == {DataMode.REAL_TIME}, (
        "the journal's items stay what they are"
    )


@pytest.mark.parametrize("by", [RangeBy.RECEIVE_TIME, RangeBy.GENERATION_TIME])
@on_virtual_time
async def test_a_range_of_time_takes_late_items_too(by: RangeBy) -> None:
    """Playback: a range of time is exact, in whatever order items were journalled, and holds the selection too."""
    world = await PlaybackWorld.begin()
    for at in (1, 7, 3, 9, 5, 2, 8):
        for apid in (5, 6):
            batch = packets([b"%d at %d" % (apid, at)], apid=apid)
            batch.items[f"{by.value}_ns"] = at * S
            await world.journal.append(IntakeBatch(batch))
    request = await world.ask(3 * S, 8 * S, by=by, apids=[6])
    await world.receive(4, apid=6)  # after the acceptance: not of the request
    store, _ = await fetch(Line(world), request)
    assert list(held(store).values()) == [b"6 at 7", b"6 at 3", b"6 at 5"]
    assert world.state(request).state is PlaybackState.DONE


@pytest.mark.parametrize("seed", range(max(3, SEEDS // 100)))
@on_virtual_time
async def test_it_survives_cuts_and_restarts(seed: int) -> None:
    """R4 for playback: over cuts, kills of the gateway and of the client, each item of the range is held once."""
    rng = random.Random(seed)
    disk, small, client_disk = SimStorage(random.Random(seed)), small_store(), SimStorage(random.Random(seed + 1))
    world = await PlaybackWorld.begin(small, disk)
    await world.receive(*range(120))
    request, line = await world.ask(5, 105), Line(world, rng)
    for _ in range(6):
        client = subscriber(line, HomeStore(client_disk), Wish("a", request, mode="playback"))
        task = asyncio.create_task(client.run())
        await asyncio.wait([task], timeout=rng.uniform(0.01, 0.6))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(3)
        if rng.random() < 0.5:
            client_disk.crash()
        if rng.random() < 0.5:
            line.world = world = await PlaybackWorld.begin(small, disk)
    line._rng = None
    store, _ = await fetch(line, request, store=HomeStore(client_disk))
    assert held(store) == {k: b"5 at %d" % k for k in range(5, 105)}, f"seed {seed}"
    again = await PlaybackWorld.begin(small, disk)
    assert again.state(request).state is PlaybackState.DONE
    assert (await fetch(Line(again), request))[1].final, "what is done can be had once more"


@on_virtual_time
async def test_requests_are_durable() -> None:
    """Playback requests outlive a restart, with their numbers; those of another journal have failed."""
    small, disk = small_store(), SimStorage(random.Random(1))
    world = await PlaybackWorld.begin(small, disk)
    await world.receive(*range(20))
    first, second = await world.ask(0, 5), await world.ask(5, 9, apids=[5])
    await world.book.cancel(second, "operator x")
    rows = world.book.rows()
    again = await PlaybackWorld.begin(small, disk)
    assert again.book.rows() == rows
    assert await again.ask(0, 1) == "playback-3"
    other = await PlaybackWorld.begin(small, SimStorage(random.Random(9)))
    assert [r["state"] for r in other.book.rows()] == ["failed", "cancelled", "failed"]
    assert "its journal is not this one" in other.state(first).reason
    small.put(f"playback m {first}", {"request": {"id": 5}})
    small.put(f"playback m {second}", "rubbish")
    assert [r["playback"] for r in (await PlaybackWorld.begin(small, disk)).book.rows()] == ["playback-3"]


@on_virtual_time
async def test_what_is_refused() -> None:
    """Quota, range, journal's end: each is told; what was refused for good is kept with its reason, and is bounded."""
    world = await PlaybackWorld.begin()
    await world.receive(*range(20))
    with pytest.raises(Refused, match="no home base is named 'nobody'"):
        await world.ask(0, 5, home="nobody")
    with pytest.raises(Refused, match="this token is of home base 'b', not of 'a'"):
        await world.book.ask(Asked(Actor(ActorKind.HOME, "b"), "a", {}, Span(RangeBy.POSITIONS, 0, 5)))
    assert not world.book.rows(), "nobody fills another's list"
    world.registry.policy.exchange(
        {**world.registry.policy.rights, "b": HomeRights((replace(EVERYTHING, items={"apids": [5]}),))}
    )
    with pytest.raises(Refused, match="playback-1 is refused: apids 6 is not granted in "):
        await world.ask(0, 5, home="b", apids=[6])
    assert [r["state"] for r in world.book.rows("b")] == ["refused"]
    with pytest.raises(Conflict, match="beyond the head 20"):
        await world.ask(0, 21)
    with pytest.raises(ValueError, match="unknown key"):
        await world.ask(0, 5, colour=["red"])
    world.journal.tail = 10
    with pytest.raises(Conflict, match="retention has removed it all"):
        await world.ask(0, 10)
    for _ in range(OPEN_PER_HOME_MAX):
        await world.ask(0, 20)
    with pytest.raises(Conflict, match="8 open playback requests already"):
        await world.ask(0, 20)
    await world.ask(0, 20, home="b")
    for request in [row["playback"] for row in world.book.rows("a") if row["state"] == "accepted"]:
        await world.book.cancel(request, "home a")
    with pytest.raises(Conflict, match="is cancelled: cancelled by home a; it cannot be cancelled now"):
        await world.book.cancel(request, "home a")
    with pytest.raises(NotFound):
        await world.book.cancel("playback-999", "home a")
    for _ in range(CLOSED_KEPT_PER_HOME + 5):
        await world.book.cancel(await world.ask(10, 20), "home a")
    await world.ask(10, 20)
    assert len(world.book.rows("a")) == CLOSED_KEPT_PER_HOME + 1
    assert len(world.book.rows("b")) == 2
    with pytest.raises(Conflict, match="asked 120 times within a minute"):  # noqa: PT012 some of them are refused
        for _ in range(ASKS_PER_MINUTE):
            with contextlib.suppress(Refused):
                await world.ask(0, 5, home="b", apids=[6])
    await asyncio.sleep(60)
    with pytest.raises(Refused, match="apids 6 is not granted"):
        await world.ask(0, 5, home="b", apids=[6])


@on_virtual_time
async def test_a_cancelled_return_ends() -> None:
    """Cancel: a running session ends with the reason, the client is told and does not come again."""
    world = await PlaybackWorld.begin()
    await world.receive(*range(40))
    request = await world.ask(0, 40)
    peer = world.peer()
    await peer.hello(subscription=request, mode="playback")
    await world.book.cancel(request, "operator x")
    await asyncio.wait([peer._task])
    assert peer.closed == f"playback request {request} is cancelled: cancelled by operator x"
    with pytest.raises(SubscriptionRefused, match="cancelled by operator x"):
        await fetch(Line(world), request)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"subscription": "playback-99"}, "unknown playback"),
        ({"home": "b"}, "unknown playback"),
        ({"selection": {"apids": [1]}}, "bad selection"),
        ({"cursor": 5}, "bad cursor"),
        ({"cursor": {"journal_id": "x", "low_water": 1}}, "other journal"),
        ({"low": 9}, "bad cursor"),
        ({"low": "a"}, "bad cursor"),
        ({"low": 31}, "cursor beyond head"),
    ],
)
@on_virtual_time
async def test_hostile_hellos(more: dict[str, Any], code: str) -> None:
    """R13: who asks for another home base's playback, or with a false cursor, is told; the request stays as it was."""
    world = await PlaybackWorld.begin()
    await world.receive(*range(40))
    request = await world.ask(10, 30)
    before = world.state(request)
    if "low" in more:
        low = more["low"]
        ranges = [[3, 1]] if low == 9 else []
        cursor = {"journal_id": str(world.journal.journal_id), "revision": 1, "low_water": low, "ranges": ranges}
        more = {"cursor": cursor}
    peer = world.peer()
    answer = await peer.hello(**{"subscription": request, "mode": "playback"} | more)
    assert (answer["type"], answer["code"]) == ("error", code)
    await peer.leave()
    assert world.state(request) == before
    assert (await fetch(Line(world), request))[1].final


@on_virtual_time
async def test_what_retention_took_meanwhile_is_told() -> None:
    """R4: positions that are gone when they are fetched are told as missing and counted; the request is done."""
    world = await PlaybackWorld.begin()
    for first in range(0, 2000, 100):
        await world.receive(*range(first, first + 100))
    request, whole = await world.ask(0, 1500), await world.ask(0, 1)
    world.journal.settings = type(world.journal.settings)(keep_octets=3 << 16, segment_octets=1 << 16)
    await world.journal.retain()
    tail = world.journal.tail
    assert 0 < tail < 1500
    store, _ = await fetch(Line(world), request)
    assert sorted(held(store)) == list(range(tail, 1500))
    assert (world.state(request).missing_positions, world.state(request).state) == (tail, PlaybackState.DONE)
    await fetch(Line(world), whole)
    assert (world.state(whole).missing_positions, world.state(whole).state) == (1, PlaybackState.DONE)


# ---- forced re-send ----


async def live_client(world: PlaybackWorld, line: Line, disk: SimStorage) -> tuple[Subscriber, HomeStore, Any]:
    store = HomeStore(disk)
    client = subscriber(line, store, Wish("a", "all"), lambda store, progress: False)
    task = asyncio.create_task(client.run(), name="client")
    await asyncio.sleep(5)
    assert store.items == world.journal.head
    return client, store, task


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(3)


@pytest.mark.parametrize("by", list(RangeBy))
@on_virtual_time
async def test_a_range_is_sent_again_and_held_once(by: RangeBy) -> None:
    """Forced re-send: the range is received at least once again, the store still holds each position once, and live
    goes on without loss."""
    world = await PlaybackWorld.begin()
    await world.receive(*range(50))
    line, disk = Line(world), SimStorage(random.Random(3))
    client, store, task = await live_client(world, line, disk)
    scale = 1 if by is RangeBy.POSITIONS else S
    resent = await world.resend(10 * scale, 20 * scale, by)
    assert resent.ranges == ((10, 20),)
    told = resent.told("a", "all", "operator x")
    assert (told["positions"], told["waiting"]) == (10, [[10, 20]])
    await world.receive(*range(50, 60))
    await asyncio.sleep(5)
    subscription = world.registry.subscriptions["a", "all"]
    assert (subscription.cursor.low_water, subscription.cursor.ranges, subscription.resend) == (60, (), ())
    assert client.progress.duplicates >= 1
    assert held(store) == {k: b"5 at %d" % k for k in range(60)}
    await ended(task)
    assert held(HomeStore(disk)) == {k: b"5 at %d" % k for k in range(60)}
    sent_again = [b for wire in line.peers[1:] for b in wire.heard if b.from_position in range(10, 20)]
    assert sum(len(b.positions) for b in sent_again) == 10


@on_virtual_time
async def test_an_order_waits_for_who_is_away_and_survives_a_restart() -> None:
    """Forced re-send is durable: ordered while the home base is away, kept over a restart, taken out of the cursor that
    the client brings, and promised positions stay promised."""
    small, disk, client_disk = small_store(), SimStorage(random.Random(1)), SimStorage(random.Random(3))
    world = await PlaybackWorld.begin(small, disk)
    await world.receive(*range(30))
    _, _, task = await live_client(world, Line(world), client_disk)
    await ended(task)
    await world.resend(0, 5)
    await world.resend(20, 30)
    world = await PlaybackWorld.begin(small, disk)
    subscription = world.registry.subscriptions["a", "all"]
    assert (subscription.resend, subscription.cursor.missing(30)) == (((0, 5), (20, 30)), [(0, 5), (20, 30)])
    from gateway.homes.registry import acknowledged_end

    assert acknowledged_end(subscription.stored(world.journal)) == 30
    line = Line(world)
    client, store, task = await live_client(world, line, client_disk)
    await asyncio.sleep(3)
    assert sum(len(b.positions) for b in line.peers[0].heard) == 15
    assert (client.progress.duplicates > 0, store.items) == (True, 30)
    assert world.registry.subscriptions["a", "all"].resend == ()
    await ended(task)


@pytest.mark.parametrize("seed", range(max(3, SEEDS // 100)))
@on_virtual_time
async def test_orders_in_bad_weather(seed: int) -> None:
    """Forced re-send among cuts, kills and live data: every position is held once, every order is carried out."""
    rng = random.Random(seed)
    disk, small, client_disk = SimStorage(random.Random(seed)), small_store(), SimStorage(random.Random(seed + 1))
    world = await PlaybackWorld.begin(small, disk)
    line, at = Line(world, rng), 0
    for _ in range(12):
        await world.receive(*range(at, at + (more := rng.randint(1, 20))))
        at += more
        client = subscriber(
            line, HomeStore(client_disk), Wish("a", "all", sequential=rng.random() < 0.3), lambda s, p: False
        )
        task = asyncio.create_task(client.run())
        await asyncio.sleep(rng.uniform(0.05, 2))
        if rng.random() < 0.7:
            first = rng.randrange(at)
            with contextlib.suppress(Conflict, NotFound):
                await world.resend(first, min(at, first + rng.randint(1, 30)))
            await asyncio.sleep(rng.uniform(0, 2))
        await ended(task)
        if rng.random() < 0.4:
            client_disk.crash()
        if rng.random() < 0.3:
            line.world = world = await PlaybackWorld.begin(small, disk)
    line._rng = None
    store = HomeStore(client_disk)
    task = asyncio.create_task(subscriber(line, store, Wish("a", "all"), lambda s, p: False).run())
    await asyncio.sleep(30)
    assert held(store) == {k: b"5 at %d" % k for k in range(at)}, f"seed {seed}"
    assert world.registry.subscriptions["a", "all"].resend == (), f"seed {seed}"
    await ended(task)


@on_virtual_time
async def test_what_cannot_be_sent_again() -> None:
    """Bad input gets a clear error: no such subscription, nothing acknowledged, nothing of that time, too many."""
    world = await PlaybackWorld.begin()
    await world.receive(*range(10))
    with pytest.raises(NotFound, match="no subscription 'all'"):
        await world.resend(0, 5)
    peer = world.peer()
    await peer.hello()
    with pytest.raises(Conflict, match=r"has acknowledged nothing of positions 0\.\.5"):
        await world.resend(0, 5)
    await peer.take(10)
    with pytest.raises(Conflict, match="nothing that this subscription selects is of that time"):
        await world.resend(99 * S, 100 * S, RangeBy.RECEIVE_TIME)
    await peer.leave()
    await world.commit(3 * RESEND_RANGES_MAX)
    peer = world.peer()
    await peer.hello()
    await peer.take(world.journal.head)
    await peer.hear_told("cursor")
    await peer.leave()
    for k in range(RESEND_RANGES_MAX):
        await world.resend(3 * k, 3 * k + 1)
    with pytest.raises(Conflict, match="65 ranges would wait"):
        await world.resend(200, 201)
