"""Reports and confirmed digests: a journal, sessions, a home base's real store, a world without time."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.access.policy import described
from gateway.accounting.accountant import LOOK_S, Accountant, AccountedFor, span_asked
from gateway.accounting.ranges import LATE_NS, day_span, position_at
from gateway.accounting.rules import CountingRules, selection_of
from gateway.errors import Conflict, NotFound, UsageError
from gateway.homes.client import Subscriber, Wish
from gateway.homes.digests import StoreDigester
from gateway.homes.registry import SubscriptionRegistry
from gateway.homes.session import Session
from gateway.homes.store import HomeStore
from gateway.homes.versions import VERSIONS_KEPT
from gateway.journal import Journal, JournalSettings, SmallStore
from gateway.journal.small_store import CONFIRMATIONS_KEPT
from gateway.mqtt.topics import HomeTopic
from gateway.playback.resend import resend
from gateway_codecs.batches import Gap, IntakeBatch, Unit, concatenate
from gateway_codecs.time_scales import format_utc
from gateway_config import Mission, example_mission, example_names
from gateway_routes.accounts import StreamKey
from gateway_routes.playback import RangeBy, Span
from gateway_routes.rights import Grant, HomeRights
from gateway_routes.selection import Selection
from tests.gateway.simulated import SimClock, SimStorage, granted, inline, on_virtual_time, small_store
from tests.gateway.simulated_mqtt import SimBroker, SimInstance
from tests.gateway.test_journal import packets
from tests.gateway.test_sessions import LIMITS, Peer

S = 1_000_000_000
DAY = 86_400 * S
SETTINGS = JournalSettings(reserve_octets=0, segment_octets=1 << 16)


class World:
    """A journal, its registry, its accountant, and a contact book that the test writes."""

    def __init__(self, disk: SimStorage, store: SmallStore, clock: SimClock) -> None:
        self.disk, self.store, self.clock = disk, store, clock
        self.contacts: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.journal: Journal
        self.registry: SubscriptionRegistry
        self.accounts: Accountant
        self.sent = 0

    @classmethod
    async def open(cls, before: World | None = None) -> World:
        world = cls(SimStorage(random.Random(1)), small_store(), SimClock()) if before is None else before
        world.journal = await Journal.open(world.disk, world.clock, inline, inline, SETTINGS, "m")
        world.journal.name_id("spacecraft", "picard")
        world.journal.name_id("links", "station")
        world.registry = SubscriptionRegistry(world.journal, world.store, inline, *granted("a", "b"))
        await world.registry.load()
        mission = example_mission(example_names()[0])
        world.accounts = Accountant(
            AccountedFor(
                "m", lambda: (mission, []), world.registry, world.store, inline, inline, world.clock,
                lambda: world.contacts, world.events.append,
            )
        )  # fmt: skip
        await world.accounts.open()
        return world

    async def commit(self, count: int, apid: int = 5, missing: int = 0, reason: str = "space link") -> None:
        """Commit packets one by one; the first has a gap before it."""
        for k in range(count):
            batch = packets([b"%d %d %d" % (apid, self.sent, k)], apid=apid)
            batch.items["link"] = batch.items["spacecraft"] = 1
            batch.items["receive_time_ns"] = self.clock.tai_ns()
            gaps: tuple[Gap, ...] = ()
            if missing and not k:
                batch.items["missing_before"] = missing
                gaps = (Gap("packets", 1, 0, apid, 0, missing + 1, missing, reason),)
            self.sent += 1
            await self.journal.append(IntakeBatch(batch, gaps=gaps), "station")

    def contact(self, number: int, first: int, last: int, state: str = "done") -> None:
        """Write a contact into the book, with good data then."""
        row = {"id": str(number), "spacecraft": "picard", "peer": "kiruna", "state": state}
        self.contacts.append(row | {"first_good_ns": first, "last_good_ns": last})

    async def report(self, **asked: Any) -> dict[str, Any]:
        return await self.accounts.report(span_asked(self.accounts, asked))


def row_of(report: dict[str, Any], home: str = "a", subscription: str = "all") -> dict[str, Any]:
    (found,) = [
        row
        for one in report["homes"]
        if one["home"] == home
        for row in one["subscriptions"]
        if row["subscription"] == subscription
    ]
    return dict(found)


@on_virtual_time
async def test_a_report_adds_up() -> None:
    """Issue: expected, received, entitled, delivered, acknowledged, and gaps with their reasons."""
    world = await World.open()
    await world.commit(3)
    await world.commit(4, missing=2)
    await world.commit(5, apid=7, missing=3, reason="gateway restart")
    peer = Peer(world.registry)
    await peer.hello(selection={"apids": [5], "kinds": ["tm"]})
    await peer.take(8)
    await asyncio.sleep(1)
    report = await world.report()
    assert [(row["apid"], row["received"], row["missing"]) for row in report["streams"]] == [
        (5, 7, {"space_link": 2}), (7, 5, {"gateway_restart": 3}),
    ]  # fmt: skip
    assert {row["counting"] for row in report["streams"]} == {None}, "the configuration has no such link"
    row = row_of(report)
    assert (row["entitled"], row["acknowledged"], row["waiting"] + row["sent"]) == (7, 7, 0)
    assert row["not_selected"] == report["journal"]["items"] - 7
    assert row["latency"]["measured_items"] == 7
    assert row["latency"]["p100_s"] < 1
    assert report["range"]["under_way"] is True
    await peer.leave()
    await world.commit(2)
    late = row_of(await world.report())
    assert (late["entitled"], late["acknowledged"], late["waiting"], late["sent"]) == (9, 7, 2, 0)


@on_virtual_time
async def test_in_flight() -> None:
    """What was sent and is not acknowledged is in flight: delivered, not acknowledged."""
    world = await World.open()
    await world.commit(6)
    peer = Peer(world.registry)
    await peer.hello()
    while not world.registry.sessions["a", "all"].sent_items >= 6:
        await asyncio.sleep(0.01)
    row = row_of(await world.report())
    assert (row["entitled"], row["sent"], row["delivered"], row["acknowledged"]) == (6, 6, 6, 0)
    await peer.leave()
    row = row_of(await world.report())
    assert (row["waiting"], row["sent"]) == (6, 0), "what a session did not get acknowledged is sent again"


@on_virtual_time
async def test_contacts_and_days() -> None:
    """A contact is from its first good data to its last, or to the next one; a day is what was committed in it."""
    world = await World.open()
    clock = world.clock
    begun = clock.now_ns
    await world.commit(4)
    world.contact(1, begun, clock.now_ns)
    clock.now_ns += 5 * S
    second = clock.now_ns
    await world.commit(3)
    world.contact(2, second, clock.now_ns, "active")
    first = await world.report(contact="1")
    assert (first["range"]["first"], first["range"]["end"], first["range"]["peer"]) == (0, 4, "kiruna")
    active = await world.report(contact="2")
    assert (active["range"]["first"], active["range"]["end"], active["range"]["under_way"]) == (4, 7, True)
    clock.now_ns += DAY
    await world.commit(2)
    day = format_utc(begun)[:10]
    of_day = await world.report(day=day)
    assert (of_day["range"]["first"], of_day["range"]["end"], of_day["range"]["under_way"]) == (0, 7, False)
    between = await world.report(from_utc=format_utc(second), to_utc=format_utc(second + S))
    assert (between["range"]["first"], between["range"]["end"]) == (4, 7)
    assert (await world.report(first=2, end=5))["journal"]["items"] == 3
    world.contacts.append(
        {"id": "3", "spacecraft": "picard", "state": "missed", "first_good_ns": None, "last_good_ns": None}
    )
    for error, asked in (
        (NotFound, {"contact": "9"}), (Conflict, {"contact": "3"}), (UsageError, {"day": "yesterday"}),
        (UsageError, {"day": "2026-1-1"}), (UsageError, {"first": 5, "end": 2}), (Conflict, {"end": 99}),
        (UsageError, {"day": day, "contact": "1"}),
        (UsageError, {"from_utc": format_utc(second), "to_utc": format_utc(begun)}),
    ):  # fmt: skip
        with pytest.raises(error):
            await world.report(**asked)


@on_virtual_time
async def test_every_position_by_its_time() -> None:
    """The first position committed at a time or later is found, whatever the blocks are, and where one is damaged."""
    world = await World.open()
    for k in range(40):
        world.clock.now_ns += S
        await world.commit(1 + k % 3)
    journal = world.journal
    committed = [journal.committed(position)[0] for position in range(journal.head)]
    for at in [committed[0] - 1, *committed, committed[-1] + 1]:
        expected = next((p for p, time in enumerate(committed) if time >= at), journal.head)
        assert position_at(journal, at) == expected


@on_virtual_time
async def test_holes() -> None:
    """What retention removed, or cannot be read, is told as positions: what they held is not known."""
    world = await World.open()
    await world.commit(200)
    journal = world.journal
    journal.settings = replace(SETTINGS, keep_octets=1)
    await world.commit(600)
    await journal.retain()
    assert journal.tail > 0
    report = await world.report(first=0)
    assert report["journal"]["expired_positions"] == journal.tail
    assert any("retention" in remark for remark in report["remarks"])
    segment = sorted(name for name in world.disk.durable if name.endswith(".seg"))[-1]
    world.disk.bad.append((segment, 3000, 3001))
    report = await world.report(first=journal.tail)
    lost = report["journal"]["damaged_positions"]
    assert lost > 0
    assert report["journal"]["items"] + lost == report["range"]["end"] - journal.tail


async def damaged_world() -> World:
    """Commits of two packets, of APIDs 5 and 7; in the second one the octets of APID 7 are damaged."""
    world = await World.open()
    for k in range(3):
        parts = [packets([b"%d of %d" % (k, apid)], apid=apid) for apid in (5, 7)]
        for one in parts:
            one.items["link"] = one.items["spacecraft"] = 1
        await world.journal.append(IntakeBatch(concatenate(parts)), "station")
    await world.journal.close()
    data = world.disk.volatile["m/journal/00000001.seg"]
    data[data.index(b"1 of 7")] ^= 1
    return await World.open(world)


@on_virtual_time
async def test_damaged_items_are_counted() -> None:
    """Issue: what cannot be read any more is told in items, for each stream and home base; who wanted nothing of it
    has no hole."""
    world = await damaged_world()
    whole, other = Peer(world.registry), Peer(world.registry)
    await whole.hello(selection={"kinds": ["tm"]})
    await whole.take(6)
    await other.hello(home="b", selection={"apids": [5], "kinds": ["tm"]})
    await other.take(6)
    await asyncio.sleep(1)
    report = await world.report()
    about = report["journal"]
    assert (about["items"], about["damaged_positions"], about["damaged_items"], about["damaged"]) == (6, 1, 1, [])
    assert [(row["apid"], row["received"]) for row in report["streams"]] == [(5, 3), (7, 3)]
    a, b = row_of(report), row_of(report, "b")
    assert (a["entitled"], a["acknowledged"], a["damaged"]) == (6, 4, 2), "of such a block it was told all as missing"
    assert (b["entitled"], b["acknowledged"], b["damaged"]) == (3, 3, 0)
    assert (a["digest"]["state"], b["digest"]["state"]) == ("cannot be compared", "not confirmed")
    assert b["digest"]["sha256"] == hashlib.sha256(b"0 of 51 of 52 of 5").hexdigest()
    for peer in (whole, other):
        await peer.leave()


@on_virtual_time
async def test_what_was_told_as_missing_stays_so() -> None:
    """A disk that could not be read for a while: what was told as missing is not counted as acknowledged, nor is it
    part of a digest that could be confirmed; sent again, it is acknowledged."""
    world = await World.open()
    await world.commit(6)
    await world.journal.close()
    whole = bytes(world.disk.volatile["m/journal/00000001.seg"])
    world.disk.volatile["m/journal/00000001.seg"][whole.index(b"5 2 2")] ^= 1
    world = await World.open(world)
    peer = Peer(world.registry)
    await peer.hello()
    await peer.take(6)
    await asyncio.sleep(1)
    await peer.leave()
    await world.journal.close()
    world.disk.volatile["m/journal/00000001.seg"][:] = whole
    again = await World.open(world)
    row = row_of(await again.report())
    assert (row["entitled"], row["acknowledged"], row["damaged"]) == (6, 5, 1)
    assert row["digest"]["state"] == "cannot be compared"
    await resend(again.registry, "a", "all", Span(RangeBy.POSITIONS, 1, 4), inline)
    row = row_of(await again.report())
    assert (row["acknowledged"], row["waiting"], row["damaged"]) == (3, 3, 0)


@on_virtual_time
async def test_rights_that_changed() -> None:
    """Issue: what a home base was entitled to before a change of rights counts by what it was entitled to then, also
    after a restart."""
    world = await World.open()
    for apid in (5, 7, 5):
        await world.commit(2, apid)
    peer = Peer(world.registry)
    await peer.hello(selection={"apids": [5], "kinds": ["tm"]})
    await peer.take(6)
    await asyncio.sleep(1)
    await peer.leave()
    peer = Peer(world.registry)
    await peer.hello(selection={"apids": [7], "kinds": ["tm"]})
    for apid in (5, 7, 7):
        await world.commit(1, apid)
    await peer.take(9)
    await asyncio.sleep(1)
    await peer.leave()
    world = await World.open(world)
    row = row_of(await world.report())
    assert (row["entitled"], row["acknowledged"], row["of_before"]) == (6, 6, 0)
    assert row["former"] == [{"version": 1, "selection": {"apids": [5], "kinds": ["tm"]}, "acknowledged": 4}]
    assert {s["apid"]: s["acknowledged"] for s in row["streams"]} == {5: 4, 7: 2}
    assert row["not_selected"] == 3
    peer = Peer(world.registry)
    told = {
        "journal_id": str(world.journal.journal_id),
        "revision": world.journal.revision,
        "low_water": 0,
        "ranges": [],
    }
    await peer.hello(selection={"apids": [7], "kinds": ["tm"]}, cursor=told)
    await peer.take(9)
    await asyncio.sleep(1)
    row = row_of(await world.report())
    assert (row["entitled"], row["acknowledged"], row["of_before"]) == (4, 4, 0), (
        "it came once more, under other rights"
    )
    await peer.leave()
    await world.registry.remove("a", "all")
    peer = Peer(world.registry)
    await peer.hello(**{"from": "head"})
    assert not world.registry.versions.of("a", "all", 9)
    row = row_of(await world.report())
    assert (row["of_before"], row["former"]) == (world.journal.head, [])
    await peer.leave()


@on_virtual_time
async def test_who_lost_a_right_sees_no_number_of_what_came_since() -> None:
    """No crossing: the report for one home base counts what it got of a stream that it may not have any more, and tells
    nothing of that stream itself; the operator's tells all. Also of what retention has removed."""
    world = await World.open()
    await world.commit(3)
    peer = Peer(world.registry)
    await peer.hello(selection={"kinds": ["tm"]})
    await peer.take(3)
    await asyncio.sleep(1)
    world.registry.policy.exchange({"a": HomeRights((Grant("m", items={"kinds": ["tm"], "apids": [7]}),))})
    world.registry.recheck()
    await peer.leave()
    await world.commit(40, missing=9)
    await world.commit(2, apid=7)
    peer = Peer(world.registry)
    await peer.hello(selection={"kinds": ["tm"]})
    await peer.take(world.journal.head)
    await asyncio.sleep(1)
    for removed in (False, True):
        if removed:
            await world.accounts.count_outlived(world.journal.head)
            world.journal.tail = world.journal.head  # as retention does
        span = span_asked(world.accounts, {"first": 0})
        own = await world.accounts.report(span, frozenset({"a"}), whole=False)
        assert [row["apid"] for row in own["streams"]] == [7]
        row = row_of(own)
        assert [stream["apid"] for stream in row["streams"]] == [7]
        assert (row["received"], row["entitled"], row["acknowledged"]) == (5, 5, 5), removed
        every = await world.report(first=0)
        assert [one["apid"] for one in every["streams"]] == [5, 7]
        assert row_of(every)["received"] == world.journal.head
    await peer.leave()


@on_virtual_time
async def test_many_changes_of_rights_are_bounded() -> None:
    """R13: of a home base that changes its selection for ever the newest versions are kept; of the rest it is said
    that they are not."""
    world = await World.open()
    for k in range(3 * VERSIONS_KEPT):
        await world.commit(1)
        peer = Peer(world.registry)
        await peer.hello(selection={"apids": [5], "vcids": [0, k % 64], "kinds": ["tm"]})
        await peer.take(k + 1)
        await asyncio.sleep(1)
        await peer.leave()
    assert len(world.registry.versions.of("a", "all", 1 << 30)) == VERSIONS_KEPT
    report = await world.report()
    row = row_of(report)
    assert row["of_before"] == 3 * VERSIONS_KEPT - VERSIONS_KEPT - 1
    assert row["acknowledged"] == VERSIONS_KEPT + 1
    assert any("not kept" in remark for remark in report["remarks"])


# ---- confirmed digests ----


class Home:
    """A home base with a store, that confirms."""

    def __init__(self, world: World, disk: SimStorage | None = None, dial: Any = None) -> None:
        self.disk = disk or SimStorage(random.Random(2))
        self.store = HomeStore(self.disk, "store")
        self.told: list[tuple[int, int, bool]] = []
        self._world = world
        digester = StoreDigester(self.disk, self.store, inline)
        self.client = Subscriber(
            dial or self._dial, self.store, inline, Wish("a", "all"), digester=digester,
            on_confirmed=lambda *told: self.told.append(told),
        )  # fmt: skip
        self._task = asyncio.create_task(self.client.run(), name="home")

    async def _dial(self) -> Any:
        return _Ends(self._world.registry)

    async def stored(self, upto: int) -> None:
        while (cursor := self.store.cursor()) is None or cursor.low_water < upto:
            await asyncio.sleep(0.05)

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.sleep(1)


class _Ends:
    """A client's channel to a session in memory."""

    def __init__(self, registry: SubscriptionRegistry) -> None:
        self._up: asyncio.Queue[Any] = asyncio.Queue()
        self._down: asyncio.Queue[Any] = asyncio.Queue()
        up, down = self._up, self._down

        class Far:
            async def receive(self) -> Any:
                message = await up.get()
                if message is None:
                    raise ConnectionError("gone")
                return message

            async def send(self, message: Any) -> None:
                down.put_nowait(message)

            async def close(self, reason: str) -> None:
                down.put_nowait(None)

        self._task = asyncio.create_task(Session(Far(), registry, LIMITS).run(), name="session")
        self._task.add_done_callback(lambda task: down.put_nowait(None))

    async def receive(self) -> Any:
        message = await self._down.get()
        if message is None:
            raise ConnectionError("gone")
        return message

    async def send(self, message: Any) -> None:
        self._up.put_nowait(message)

    async def close(self, reason: str) -> None:
        self._up.put_nowait(None)
        await asyncio.wait([self._task])


async def until(what: Any) -> None:
    """Wait for something, a minute of virtual time at most."""
    async with asyncio.timeout(60):
        while not what():
            await asyncio.sleep(LOOK_S / 4)


@on_virtual_time
async def test_a_home_base_confirms_a_contact() -> None:
    """Issue: the home base recomputes the digest from its store and confirms; that is kept through a restart."""
    world = await World.open()
    keeping = asyncio.create_task(world.accounts.run(), name="accounts")
    home = Home(world)
    begun = world.clock.now_ns
    await world.commit(20)
    world.contact(1, begun, world.clock.now_ns)
    await home.stored(20)
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
    await home.leave()
    keeping.cancel()
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
    keeping = asyncio.create_task(world.accounts.run(), name="accounts")
    home = Home(world)
    begun = world.clock.now_ns
    await world.commit(20)
    world.contact(1, begun, world.clock.now_ns)
    await home.stored(20)

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
    keeping.cancel()
    await home.leave()


@on_virtual_time
async def test_a_store_that_cannot_say() -> None:
    """A store that cannot be read says so; nothing is confirmed, nothing is an alarm, the session goes on."""
    world = await World.open()
    keeping = asyncio.create_task(world.accounts.run(), name="accounts")
    home = Home(world)
    begun = world.clock.now_ns
    await world.commit(5)
    world.contact(1, begun, world.clock.now_ns)
    await home.stored(5)

    async def unreadable(first: int, end: int) -> tuple[int, str]:
        raise OSError("input or output error")

    home.client._digester = unreadable
    world.clock.now_ns += 3 * LATE_NS
    await asyncio.sleep(10)
    await world.commit(5)
    await home.stored(10)
    assert row_of(await world.report(contact="1"))["digest"]["state"] == "not confirmed"
    assert (home.told, world.events, home.client.progress.connects) == ([], [], 1)
    keeping.cancel()
    await home.leave()


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
    keeping = asyncio.create_task(world.accounts.run(), name="accounts")
    broker = SimBroker(random.Random(1), {"m.test": SimInstance(world.registry)})
    home = Home(world, dial=lambda: broker.dial(HomeTopic("m.test", "a", "all")))
    begun = world.clock.now_ns
    await world.commit(20)
    world.contact(1, begun, world.clock.now_ns)
    await home.stored(20)
    world.clock.now_ns += 3 * LATE_NS
    await until(lambda: home.told)
    assert home.told == [(0, 20, True)]
    keeping.cancel()
    await home.leave()
    await broker.door.close(1.0)


@on_virtual_time
async def test_a_home_base_that_confirms_nothing_right() -> None:
    """R13: a hostile home base that says a wrong digest of every contact, session after session, makes one condition,
    one event for each contact, and no more forced writes than there is news."""
    world = await World.open()
    keeping = asyncio.create_task(world.accounts.run(), name="accounts")
    home = Home(world)
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
    assert condition.text.startswith("10 contacts and days differ; the oldest: a/all has stored 0 items of contact 0 ")
    assert condition.subject == "subscription a/all"
    world.store.put_confirmation = put  # type: ignore[method-assign]
    keeping.cancel()
    await home.leave()


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


@on_virtual_time
async def test_a_home_base_sees_its_own_alone() -> None:
    """A home base that asks for its report sees the streams that it is entitled to, and no number of others."""
    world = await World.open()
    await world.commit(3)
    await world.commit(5, apid=7, missing=4)
    peer = Peer(world.registry)
    await peer.hello(selection={"apids": [5], "kinds": ["tm"]})
    await peer.take(8)
    other = Peer(world.registry)
    await other.hello(home="b")
    await asyncio.sleep(1)
    report = await world.accounts.report(span_asked(world.accounts, {}), frozenset({"a"}), whole=False)
    assert [row["apid"] for row in report["streams"]] == [5]
    assert [home["home"] for home in report["homes"]] == ["a"]
    row = row_of(report)
    assert (row["received"], row["entitled"], row["not_selected"], row["not_granted"]) == (3, 3, 0, 0)
    assert (report["refused"], report["link_gaps"], report["journal"]["items"]) == ([], [], None)
    await peer.leave()
    await other.leave()


def test_counting_rules_are_those_of_the_configuration() -> None:
    """A stream's rule is what its link, channel and APID say; what the configuration does not have is not known."""
    frames = {
        "version": "tm", "frame_length_octets": 100,
        "vcs": {
            0: {"default_counting": "none", "apids": {5: {"counting": "apid"}, 6: {"counting": "shared:bus"}}},
            1: {"service": "opaque"}, 2: {"service": "opaque", "counting": "none"},
        },
    }  # fmt: skip
    packets = {"default_counting": "shared:all"}
    craft = {"name": "c", "scids": [1], "frames": frames, "packets": packets}
    mission = Mission.model_validate({"name": "m", "spacecraft": [craft]})
    links = {
        "f": SimpleNamespace(spacecraft="c", unit="frames"), "p": SimpleNamespace(spacecraft="c", unit="packets"),
        "g": SimpleNamespace(upstream="x"),
    }  # fmt: skip
    rules = CountingRules(mission, links, {1: "f", 2: "p", 3: "g"})  # type: ignore[arg-type]
    packet, frame = int(Unit.PACKET), int(Unit.FRAME)
    for key, rule in (
        ((1, 1, 0, 5, packet), "apid"), ((1, 1, 0, 6, packet), "shared:bus"), ((1, 1, 0, 7, packet), "none"),
        ((1, 1, 1, -1, frame), "vc_count"), ((1, 1, 2, -1, frame), "none"), ((1, 1, 9, 5, packet), "apid"),
        ((2, 1, -1, 5, packet), "shared:all"), ((3, 1, 0, 5, packet), ""), ((4, 1, 0, 5, packet), ""),
    ):  # fmt: skip
        assert rules(StreamKey(*key)) == rule, key


def test_of_confirmations_the_newest_are_kept() -> None:
    """R13: what home bases confirm is bounded, of each subscription by itself."""
    store = small_store()
    for k in range(CONFIRMATIONS_KEPT + 20):
        store.put_confirmation("j", "a", "all", {"what": f"contact {k}", "end": k})
    store.put_confirmation("j", "b", "all", {"what": "contact 1", "end": 1})
    kept = [value["end"] for home, _, value in store.confirmations("j") if home == "a"]
    assert kept == [*range(20, CONFIRMATIONS_KEPT + 20)]
    assert len(store.confirmations("j")) == CONFIRMATIONS_KEPT + 1


def test_rights_are_kept_as_json() -> None:
    """The rights of a version are read back as they were: the account is of what was granted then."""
    one = Selection(apids=frozenset({1, 2}), kinds=None, grants=(Selection(vcids=frozenset({3})),), idle=True)
    assert selection_of(json.loads(json.dumps(described(one)))) == one


def test_days_are_next_to_each_other() -> None:
    """Where a day ends the next one begins, also behind a leap second: no item is in two days, or in none."""
    for before, after in (("2016-12-31", "2017-01-01"), ("2026-02-28", "2026-03-01")):
        assert day_span(after).from_ns == day_span(before).end_ns
    assert (day_span("2016-12-31").end_ns or 0) - (day_span("2016-12-31").from_ns or 0) == DAY + S


@on_virtual_time
async def test_nobody_makes_rows_of_his_own() -> None:
    """R13: whoever says names that nobody configured, subscribes to what he may not, or is no home base any more, makes
    no row and no series; refusals are counted by a few words."""
    world = await World.open()
    await world.commit(3)
    for k in range(50):
        peer = Peer(world.registry)
        await peer.hello(**[{"home": f"x{k}"}, {"mode": f"m{k}"}, {"selection": {f"k{k}": 1}}][k % 3])
        await peer.leave()
    limit = world.registry.policy.rights["a"].subscriptions
    for k in range(limit + 5):
        peer = Peer(world.registry)
        told = await peer.hello(subscription=f"s{k}", selection={"apids": [k]})
        assert (told["type"] == "welcome") is (k < limit)
        await peer.leave()
    assert [(row["home"], row["subscriptions"]) for row in world.accounts.homes()] == [("a", limit)]
    assert len(world.registry.refused) <= 5, world.registry.refused
    assert {key[0] for key in world.registry.ledger.latencies} <= {"a"}
    world.registry.ledger.last_seen_ns["gone"] = 1  # as it was kept, of a home base that is not configured any more
    assert "gone" not in {row["home"] for row in world.accounts.homes()}
