"""Sessions as dialogues over a channel in memory: this message in, these messages out; hostile peers included."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from dataclasses import replace
from typing import Any

import pytest

from gateway.homes.registry import SubscriptionRegistry
from gateway.homes.session import OFFLINE_PER_HOME_MAX, Session, SessionLimits
from gateway.journal import Journal, JournalSettings, SmallStore
from gateway_codecs.batches import IntakeBatch
from gateway_codecs.delivery_block import MARK, DeliveryBlock, decode
from gateway_routes.delivery import RANGES_MAX
from tests.gateway.simulated import SimClock, SimStorage, granted, inline, on_virtual_time, small_store
from tests.gateway.test_journal import packets

SETTINGS = JournalSettings(reserve_octets=0, segment_octets=1 << 16)
LIMITS = SessionLimits(block_items=4)
HELLO: dict[str, Any] = {"type": "subscribe", "home": "a", "subscription": "all"}


class World:
    """A journal, its registry and the peers that come."""

    def __init__(self, journal: Journal, store: SmallStore, registry: SubscriptionRegistry) -> None:
        self.journal, self.store, self.registry = journal, store, registry

    @classmethod
    async def open(cls, store: SmallStore | None = None, disk: SimStorage | None = None) -> World:
        disk, store = disk or SimStorage(random.Random(1)), store or small_store()
        journal = await Journal.open(disk, SimClock(), inline, inline, SETTINGS, "m")
        registry = SubscriptionRegistry(journal, store, inline, *granted("a", "b"))
        await registry.load()
        return cls(journal, store, registry)

    async def commit(self, count: int, apid: int = 5) -> None:
        for k in range(count):
            await self.journal.append(IntakeBatch(packets([b"%d %d" % (apid, k)], apid=apid)))

    def peer(self) -> Peer:
        return Peer(self.registry)


class Peer:
    """The other end of a session, in memory. `deaf` = it does not read."""

    def __init__(self, registry: SubscriptionRegistry) -> None:
        self._up: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self._down: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.deaf = False
        self.closed: str | None = None
        self._task = asyncio.create_task(Session(self, registry, LIMITS).run(), name="session")

    # what the session sees

    async def receive(self) -> str | bytes:
        message = await self._up.get()
        if message is None:
            raise ConnectionError("the peer left")
        return message

    async def send(self, message: str | bytes) -> None:
        while self.deaf:
            await asyncio.sleep(0.5)
        self._down.put_nowait(message)

    async def close(self, reason: str) -> None:
        while self.deaf:
            await asyncio.sleep(0.5)
        self.closed = reason

    # what a test does

    def say(self, message: Any) -> None:
        self._up.put_nowait(message if isinstance(message, str | bytes) else json.dumps(message))

    async def hear(self) -> dict[str, Any] | DeliveryBlock:
        async with asyncio.timeout(60):
            message = await self._down.get()
        return json.loads(message) if isinstance(message, str) else decode(message)

    async def hear_told(self, wanted: str) -> dict[str, Any]:
        """Return the next control message of a type; blocks in between are passed over."""
        while True:
            message = await self.hear()
            if isinstance(message, dict) and message["type"] == wanted:
                return message

    async def hello(self, **more: Any) -> dict[str, Any]:
        self.say(HELLO | more)
        message = await self.hear()
        assert isinstance(message, dict)
        return message

    async def take(self, upto: int) -> list[bytes]:
        """Receive and acknowledge blocks until a position; return the octets of the items."""
        found: list[bytes] = []
        while True:
            block = await self.hear()
            if not isinstance(block, DeliveryBlock) or block.kind == MARK:
                continue
            found += [block.batch.octets_of(k) for k in range(len(block.positions))]
            self.say({"type": "ack", "lane": block.lane, "upto": block.upto_position})
            if block.upto_position >= upto:
                return found

    async def leave(self) -> None:
        self._up.put_nowait(None)
        await asyncio.wait([self._task])
        self._task.result()


@on_virtual_time
async def test_the_path_is_told_before_what_came_by_it() -> None:
    """DESIGN 2: a chain never closes on itself: who asks is told the path before the first item that came by it."""
    world = await World.open()
    own = str(world.journal.journal_id)
    chained, other = world.peer(), world.peer()
    assert (await chained.hello(path=True))["path"] == [own]
    assert "path" not in await other.hello(subscription="another")
    link, state = world.journal.name_id("links", "relay"), {"upstream": {"path": ["x", "y"]}}
    world.registry.paths.connect("relay", ["x"])
    assert await chained.hear() == {"type": "path", "path": [own], "connected": ["x"]}
    batch = packets([b"from afar"])
    batch.items["link"] = link
    await world.journal.append(IntakeBatch(batch, state=state), "relay")
    assert await chained.hear() == {"type": "path", "path": [own, "x", "y"], "connected": []}
    world.registry.paths.disconnect("relay")
    block = await chained.hear()
    assert isinstance(block, DeliveryBlock)
    assert isinstance(await other.hear(), DeliveryBlock), "nobody else is told"
    await asyncio.sleep(1)
    batch = packets([b"from farther"])
    batch.items["link"] = link
    await world.journal.append(IntakeBatch(batch, state={"upstream": {"path": ["x", "y", "z"]}}), "relay")
    heard = await chained.hear()
    while isinstance(heard, DeliveryBlock) and not len(heard.positions):
        heard = await chained.hear()
    assert heard == {"type": "path", "path": [own, "x", "y", "z"], "connected": []}, "before the item"
    by_another = world.peer()
    elsewhere = await by_another.hello(subscription="station", path=True, selection={"links": []})
    assert elsewhere["path"] == [own], "what is not selected has no part in the path"
    for peer in (chained, other, by_another):
        await peer.leave()
    refused = world.peer()
    assert "path" in (await refused.hello(path="yes"))["message"]
    await refused.leave()


@on_virtual_time
async def test_a_hello_that_is_refused_changes_nothing() -> None:
    """R4: a cursor beyond the head is refused, and the subscription goes on where it was acknowledged."""
    world = await World.open()
    await world.commit(10)
    first = world.peer()
    await first.hello()
    await first.take(10)
    await first.hear_told("cursor")
    await first.leave()
    before = world.registry.subscriptions["a", "all"]
    for low_water in (11, 10**9):
        cursor = {"journal_id": str(world.journal.journal_id), "revision": 1, "low_water": low_water}
        refused = world.peer()
        assert (await refused.hello(cursor=cursor, selection={"apids": [7]}))["code"] == "cursor beyond head"
        await refused.leave()
    assert world.registry.subscriptions["a", "all"] == before
    await world.commit(5)
    again = world.peer()
    welcome = await again.hello()
    assert (welcome["low_water"], welcome["version"]) == (10, 1)
    assert len(await again.take(15)) == 5


@on_virtual_time
async def test_a_new_subscription_is_durable_before_it_is_told() -> None:
    """R2, R4: `from: head` and a changed selection survive a crash that comes before the first acknowledgement."""
    store, disk = small_store(), SimStorage(random.Random(1))
    world = await World.open(store, disk)
    await world.commit(10)
    assert (await world.peer().hello(**{"from": "head"}))["low_water"] == 10
    assert (await world.peer().hello(subscription="b", selection={"apids": [1]}))["version"] == 1
    assert (await world.peer().hello(subscription="b", selection={"apids": [2]}))["version"] == 2
    await world.commit(10)
    disk.crash()
    world = await World.open(store, disk)
    assert (await world.peer().hello())["low_water"] == 10
    assert (await world.peer().hello(subscription="b", selection={"apids": [3]}))["version"] == 3


@on_virtual_time
async def test_cursors_belong_to_their_journal() -> None:
    """R2: the same home and subscription of two instances have a durable cursor each."""
    store = small_store()
    disks = [SimStorage(random.Random(k)) for k in range(2)]
    for upto, disk in zip((9, 3), disks, strict=True):
        world = await World.open(store, disk)
        await world.commit(upto)
        peer = world.peer()
        await peer.hello()
        await peer.take(upto)
        while (await peer.hear_told("cursor"))["low_water"] < upto:
            pass
        await peer.leave()
    marks = [(await World.open(store, disk)).registry.subscriptions["a", "all"].cursor.low_water for disk in disks]
    assert marks == [9, 3]


@on_virtual_time
async def test_a_replaced_session_cannot_move_the_cursor() -> None:
    """R4: a session that is stuck in a send ends when it is replaced; what its peer says then changes nothing."""
    world = await World.open()
    await world.commit(10)
    old = world.peer()
    await old.hello()
    old.deaf = True
    await world.commit(10)
    new = world.peer()
    await new.hello()
    await new.take(20)
    old.say({"type": "ack", "lane": 1, "upto": 1})
    await asyncio.sleep(5)
    assert world.registry.subscriptions["a", "all"].cursor.low_water == 20
    assert old._task.done(), "a peer that does not read holds nothing"
    assert len(world.registry.sessions) == 1


@on_virtual_time
async def test_a_changed_selection_is_exact_from_a_stated_position() -> None:
    """DESIGN 5: a new version begins above what was acknowledged, live ranges included, and everything from there on
    comes under the new selection."""
    world = await World.open()
    await world.commit(4, apid=1)
    first = world.peer()
    await first.hello(selection={"apids": [1]})
    await world.commit(6, apid=1)
    await world.commit(6, apid=2)
    live = []
    while not live:
        block = await first.hear()
        if isinstance(block, DeliveryBlock) and block.lane == 0:
            live.append(block.upto_position)
            first.say({"type": "ack", "lane": 0, "upto": block.upto_position})
    await asyncio.sleep(1)
    await first.leave()
    acknowledged = world.registry.subscriptions["a", "all"].cursor
    assert acknowledged.low_water == 0, "the backfill lane was not acknowledged"
    await world.commit(3, apid=2)
    second = world.peer()
    welcome = await second.hello(selection={"apids": [2]})
    assert (welcome["version"], welcome["version_from"]) == (2, acknowledged.highest)
    got = await second.take(world.journal.head)
    wanted = [k for k in range(world.journal.head) if k >= acknowledged.highest and k >= 10]
    assert len(got) >= len(wanted)
    assert all(value.startswith(b"2 ") for value in got)


@on_virtual_time
async def test_ranges_are_bounded_and_a_bad_row_does_not_stop_the_gateway() -> None:
    """R7, R13: acknowledging beyond 1024 ranges forgets the highest (delivered again, never lost); a stored row that
    cannot be used is left out."""
    store, disk = small_store(), SimStorage(random.Random(1))
    world = await World.open(store, disk)
    await world.commit(RANGES_MAX * 2 + 2)
    head = world.journal.head
    ranges = [[k, k + 1] for k in range(1, RANGES_MAX * 2, 2)]
    cursor = {"journal_id": str(world.journal.journal_id), "revision": 1, "low_water": 0, "ranges": ranges}
    peer = world.peer()
    await peer.hello(cursor=cursor)
    await world.commit(1)
    while True:
        block = await peer.hear()
        if isinstance(block, DeliveryBlock) and block.lane == 0 and block.kind != MARK:
            peer.say({"type": "ack", "lane": 0, "upto": block.upto_position})
            break
    await asyncio.sleep(1)
    kept = world.registry.subscriptions["a", "all"].cursor
    assert len(kept.ranges) == RANGES_MAX
    assert kept.highest < head
    store.put_cursors(str(world.journal.journal_id), {("b", "bad"): {"low_water": -1}, ("b", "old"): {"low_water": 1}})
    again = await World.open(store, disk)
    assert set(again.registry.subscriptions) == {("a", "all")}


RUBBISH = [
    ("no JSON at all", "bad message"),
    (b"\x00\x01", "bad message"),
    ("[1, 2]", "bad message"),
    ('{"type": 3}', "bad message"),
    ("[" * 100_000, "bad message"),
    ("x" * (1 << 19), "bad message"),
    ({"type": "ack", "lane": 0, "upto": 1}, "no subscribe"),
    (HELLO | {"home": "nobody"}, "unknown home"),
    (HELLO | {"home": "a" * 100_000}, "bad name"),
    (HELLO | {"subscription": "../../etc"}, "bad name"),
    (HELLO | {"subscription": ""}, "bad name"),
    (HELLO | {"mode": ["complete"]}, "bad mode"),
    (HELLO | {"mode": "hasty"}, "bad mode"),
    (HELLO | {"from": "yesterday"}, "bad message"),
    (HELLO | {"from": {}}, "bad message"),
    (HELLO | {"sequential": "yes"}, "bad message"),
    (HELLO | {"sequental": True}, "bad message"),
    (HELLO | {"selection": [1]}, "bad selection"),
    (HELLO | {"selection": {"apids": [99999]}}, "bad selection"),
    (HELLO | {"selection": {"apids": [True]}}, "bad selection"),
    (HELLO | {"selection": {"kinds": ["tm", {}]}}, "bad selection"),
    (HELLO | {"selection": {"spacecraft": ["unknown"]}}, "bad selection"),
    (HELLO | {"cursor": 5}, "bad cursor"),
    (HELLO | {"cursor": {"journal_id": "another"}}, "other journal"),
    (HELLO | {"mode": "offline", "from_position": -1}, "bad range"),
    (HELLO | {"mode": "offline", "from_position": 5, "upto_position": 2}, "bad range"),
    (HELLO | {"mode": "offline", "upto_position": 10**9}, "bad range"),
    (HELLO | {"mode": "offline", "upto_position": "1"}, "bad range"),
]


@pytest.mark.parametrize(("message", "code"), RUBBISH, ids=range(len(RUBBISH)))
def test_a_bad_hello_gets_a_clear_error(message: Any, code: str) -> None:
    """Whatever comes instead of a hello: one short error that names the fault, and the session is closed."""

    @on_virtual_time
    async def talk() -> None:
        world = await World.open()
        await world.commit(3)
        peer = world.peer()
        peer.say(message)
        told = await peer.hear()
        assert isinstance(told, dict)
        assert (told["type"], told["code"]) == ("error", code)
        assert len(told["message"]) < 400
        await asyncio.wait([peer._task])
        peer._task.result()
        assert peer.closed is not None
        assert not world.registry.subscriptions
        assert not world.registry.sessions

    talk()


BAD_LATER: list[Any] = [
    {"type": "ack", "lane": [], "upto": 1},
    {"type": "ack", "lane": {}, "upto": 1},
    {"type": "ack", "lane": 7, "upto": 1},
    {"type": "ack", "lane": True, "upto": 1},
    {"type": "ack", "lane": 0, "upto": -5},
    {"type": "ack", "lane": 0, "upto": 10**6},
    {"type": "ack", "lane": 0, "upto": 1.5},
    {"type": "ack"},
    HELLO,
    b"binary",
]


@pytest.mark.parametrize("message", BAD_LATER, ids=range(len(BAD_LATER)))
def test_a_bad_message_ends_its_session_alone(message: Any) -> None:
    """A client that breaks the protocol: a clear error, its session alone closed, the other one goes on."""

    @on_virtual_time
    async def talk() -> None:
        world = await World.open()
        await world.commit(3)
        bad, good = world.peer(), world.peer()
        await bad.hello()
        await good.hello(home="b")
        bad.say(message)
        assert (await bad.hear_told("error"))["code"].startswith("bad")
        assert len(await good.take(3)) == 3
        assert list(world.registry.sessions) == [("b", "all")]

    talk()


@on_virtual_time
async def test_a_fault_of_ours_is_told() -> None:
    """A journal that cannot be read ends the session with an error that the peer sees, not in silence."""
    world = await World.open()
    await world.commit(3)

    async def failing(*_: Any) -> Any:
        raise OSError(24, "Too many open files")

    world.journal.read = failing  # type: ignore[method-assign]
    peer = world.peer()
    await peer.hello()
    told = await peer.hear_told("error")
    assert told["code"] == "internal"
    assert "Too many open files" in told["message"]


@on_virtual_time
async def test_marks_confirm_what_came_before_a_hole() -> None:
    """A range that retention took while a client was slow: everything before and after it is in marks whose counts
    and digests a client can recompute, and the exact missing range is told between them."""
    disk = SimStorage(random.Random(1))
    settings = replace(SETTINGS, segment_octets=4096, keep_octets=9000, memory_octets=1 << 20)
    journal = await Journal.open(disk, SimClock(), inline, inline, settings, "m")
    world = World(journal, small_store(), SubscriptionRegistry(journal, small_store(), inline, *granted("a")))
    for k in range(10):
        await journal.append(IntakeBatch(packets([b"%d" % k * 700])))
    peer = world.peer()
    await peer.hello(sequential=True)
    await peer.hear()  # the first block is under way
    peer.deaf = True
    for k in range(10, 60):
        await journal.append(IntakeBatch(packets([b"%d" % k * 700])))
    await journal.retain()
    assert journal.tail > 10
    peer.deaf = False
    count, digest, missing, confirmed = 0, hashlib.sha256(), [], 0
    journal.finish()
    while True:
        heard = await peer.hear()
        if isinstance(heard, dict):
            if heard["type"] == "missing":
                missing.append((heard["first"], heard["end"]))
                assert count == 0, "a mark came before the hole was told"
            continue
        if heard.kind == MARK:
            if confirmed or missing:  # the block that was heard above is not in our count
                assert (heard.items, heard.digest) == (count, digest.digest())
            confirmed += heard.items
            count, digest = 0, hashlib.sha256()
            if heard.flags:
                break
            continue
        count += len(heard.positions)
        digest.update(heard.batch.octets)
        peer.say({"type": "ack", "lane": heard.lane, "upto": heard.upto_position})
    assert len(missing) == 1
    first, end = missing[0]
    assert end == journal.tail
    assert confirmed == journal.head - (end - first)


@on_virtual_time
async def test_offline_sessions_are_few() -> None:
    """R13: one home has at most four offline sessions at a time; the next is refused, the others go on."""
    world = await World.open()
    await world.commit(3)
    peers = [world.peer() for _ in range(OFFLINE_PER_HOME_MAX + 1)]
    answers = [await peer.hello(mode="offline") for peer in peers]
    assert [answer["type"] for answer in answers] == ["welcome"] * OFFLINE_PER_HOME_MAX + ["error"]
    assert len(await peers[0].take(3)) == 3
    assert world.registry.snapshot()[0]["mode"] == "offline"


@on_virtual_time
async def test_a_cursor_of_another_revision_is_told_apart() -> None:
    """R4: a cursor that does not fit says what differs: the journal, or its revision."""
    world = await World.open()
    own = str(world.journal.journal_id)
    for cursor, words in (
        ({"journal_id": "x", "revision": 1}, f"of another journal; this one is {own}"),
        ({"journal_id": own, "revision": 2}, "of revision 2 of this journal, now at 1"),
        ({"journal_id": own}, "of revision None of this journal, now at 1"),
    ):
        peer = world.peer()
        told = await peer.hello(cursor=cursor | {"low_water": 0})
        assert (told["code"], words in told["message"]) == ("other journal", True)


@on_virtual_time
@pytest.mark.parametrize(("key", "most"), [("vcids", 63), ("apids", 2047)])
async def test_numbers_that_cannot_be_are_refused(key: str, most: int) -> None:
    """Deny by default: a virtual channel or APID that no header can carry is a mistake, and is told."""
    world = await World.open()
    assert (await world.peer().hello(selection={key: [-1, most]}))["type"] == "welcome"
    for wrong in (-2, most + 1, 10**50, True):
        told = await world.peer().hello(selection={key: [wrong]})
        assert (told["code"], f"from -1 (none) to {most}" in told["message"]) == ("bad selection", True)
