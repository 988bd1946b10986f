"""Timely listeners beside a disk that refuses or is slow: they go on, and what the journal loses is a gap in it."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from gateway.journal import Journal, JournalSettings
from gateway.links import Link, LinkContext, LinkSettings, TcpClientSource, hand_over
from gateway.timely import TimelyFeed, TimelyTap
from gateway.world import Worker
from gateway_codecs.batches import ItemBatch, Kind, Unit
from gateway_codecs.intake import FrameIntake, LinkFormat
from gateway_routes.selection import Selection
from gateway_routes.timely import TimelyLimits
from gateway_simulators.spacecraft import Spacecraft
from tests.gateway.simulated import SimClock, SimNetwork, SimStorage, SimStream, inline, on_virtual_time
from tests.gateway.test_tcp_links import FORMAT, PORT, Contacts
from tests.simulation.test_whole_gateway import SimSource

T = TypeVar("T")
ALL = Selection(kinds=None, idle=True, bad_quality=True)
PATIENT = TimelyLimits(max_delay_s=3600, max_octets=1 << 30)


def packets_of(batch: ItemBatch) -> list[bytes]:
    return [batch.octets_of(k) for k in (batch.items["unit"] == Unit.PACKET).nonzero()[0].tolist()]


class World:
    """A link from a station, a journal on a disk that the test fills, a tap."""

    def __init__(self) -> None:
        self.disk, self.tap, self.network = SimStorage(random.Random(1)), TimelyTap(), SimNetwork()
        self.events: list[dict[str, Any]] = []
        self.sent: list[bytes] = []  # frames
        self._craft = Spacecraft(1)
        self.journal: Journal
        self.link: Link
        self.station: SimStream

    async def open(self, writer: Worker = inline) -> None:
        settings = JournalSettings(reserve_octets=1000, retry_s=0.5)
        self.journal = await Journal.open(self.disk, SimClock(), writer, inline, settings, "m")
        self.journal.name_id("spacecraft", "picard")
        arrived: asyncio.Future[SimStream] = asyncio.get_running_loop().create_future()

        async def accepted(stream: SimStream) -> None:
            arrived.set_result(stream)

        await self.network.listen("", PORT, accepted)
        self.link = self.make_link(TcpClientSource(self.network, "h", PORT))
        self.link.start()
        self.station = await arrived

    def make_link(self, source: Any) -> Link:
        context = LinkContext(self.journal, SimClock(), Contacts(), self.events.append, inline, inline, timely=self.tap)
        return Link(LinkSettings("l", "tcp", "picard"), source, lambda: FrameIntake(LinkFormat(1, FORMAT, 1)), context)

    async def send(self, count: int) -> None:
        """Frames, ten a second, each a read of its own."""
        for _ in range(count):
            frame = self._craft.next_frame().octets
            self.sent.append(frame)
            await self.station.write(frame)
            await asyncio.sleep(0.1)

    def all_packets(self) -> list[bytes]:
        """Every packet of what was sent, in order."""
        batch = FrameIntake(LinkFormat(1, FORMAT, 1)).feed(b"".join(self.sent), 1)
        return packets_of(batch.items)

    async def journalled(self) -> list[bytes | dict[str, Any]]:
        """The packets of the journal, and the gaps between them, in position order."""
        found = await self.journal.read(0, ALL, 1 << 20, 1 << 30)
        rows: list[bytes | dict[str, Any]] = []
        for k, item in enumerate(found.batch.items):
            if item["unit"] == Unit.PACKET:
                rows.append(found.batch.octets_of(k))
            elif item["kind"] == Kind.EVENT:
                rows.append(json.loads(found.batch.octets_of(k)))
        return rows

    async def close(self) -> None:
        await self.link.stop()
        await self.journal.close()


async def heard(feed: TimelyFeed) -> list[bytes]:
    """The packets that wait in a feed."""
    found: list[bytes] = []
    while not feed.counts.idle:
        taken = await feed.take()
        assert not taken.skipped
        found += packets_of(taken.batch)
    return found


@on_virtual_time
async def test_timely_goes_on_when_the_disk_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """R12: a full disk is nothing to timely listeners; what the journal lost is an exact gap in it, in its place."""
    monkeypatch.setattr(hand_over, "HELD_OCTETS", 20_000)
    world = World()
    await world.open()
    with world.tap.open(Selection(kinds=frozenset({Kind.TM}), idle=True), PATIENT) as feed:
        await world.send(20)
        world.disk.free = 10
        await world.send(100)
        assert world.journal.blocked is not None
        assert await heard(feed) == world.all_packets(), "everything, while nothing can be committed"
        assert world.link.snapshot()["unjournalled_items"] > 0
        world.disk.free = 1 << 40
        await asyncio.sleep(2)
        assert world.link.snapshot()["unjournalled_items"] == 0
        await world.send(20)
        after = await heard(feed)
        assert after
        assert after == world.all_packets()[-len(after) :]
    rows = await world.journalled()
    (at,) = [k for k, row in enumerate(rows) if isinstance(row, dict)]
    gap = rows[at]
    assert isinstance(gap, dict)
    whole, kept = world.all_packets(), [row for row in rows if isinstance(row, bytes)]
    lost = len(whole) - len(kept)
    assert kept == whole[:at] + whole[at + lost :], "what was held, the gap, what came after it"
    assert lost > 100
    packets_lost = sum(row["items"] for row in gap["streams"] if row["apid"] >= 0)
    assert packets_lost == lost
    assert sum(row["items"] for row in gap["streams"]) == gap["missing"]
    octets_lost = sum(row["octets"] for row in gap["streams"] if row["apid"] >= 0)
    assert octets_lost == sum(len(value) for value in whole[at : at + lost])
    assert (gap["type"], gap["what"], gap["severity"], gap["link"]) == ("gap", "items", "error", "l")
    assert "10 octets free" in gap["reason"]
    assert {row["spacecraft"] for row in gap["streams"]} == {"picard"}
    await world.close()


@on_virtual_time
async def test_what_is_held_is_not_lost() -> None:
    """R12: a disk that is full for a while costs nothing: what came meanwhile was held, and is journalled in order."""
    world = World()
    await world.open()
    with world.tap.open(ALL, PATIENT):
        await world.send(5)
        world.disk.free = 10
        await world.send(50)
        world.disk.free = 1 << 40
        await asyncio.sleep(2)
        await world.send(5)
    rows = await world.journalled()
    assert rows == world.all_packets()
    await world.close()


@on_virtual_time
async def test_without_listeners_the_peer_holds_the_data() -> None:
    """R12: nobody listens, so the link is not read while the disk is full, and nothing is lost."""
    world = World()
    await world.open()
    with world.tap.open(Selection(kinds=frozenset({Kind.EVENT}))), world.tap.open(Selection(links=frozenset({99}))):
        world.disk.free = 10
        await world.send(50)
        assert len(world.link._out.pending) == 2
        assert len(world.station.other._inbox) > 40_000, "it waits at the peer, or on its way"
        world.disk.free = 1 << 40
        await asyncio.sleep(5)
    assert await world.journalled() == world.all_packets()
    await world.close()


@on_virtual_time
async def test_who_comes_to_listen_later_is_served_at_once() -> None:
    """R12: a listener that opens while the disk is full hears from then on, and a cut of the link changes nothing."""
    world = World()
    await world.open()
    world.disk.free = 10
    await world.send(20)
    with world.tap.open(Selection(kinds=frozenset({Kind.TM}), idle=True), PATIENT) as feed:
        await asyncio.sleep(0.2)
        waited = await heard(feed)
        assert waited == world.all_packets()[-len(waited) :]
        assert len(waited) > 15
        reopened: asyncio.Future[SimStream] = asyncio.get_running_loop().create_future()

        async def accepted(stream: SimStream) -> None:
            reopened.set_result(stream)

        world.network.listening[PORT] = accepted
        world.station.reset()
        world.station = await reopened
        await world.send(10)
        assert len(await heard(feed)) > 10
    world.disk.free = 1 << 40
    await asyncio.sleep(2)
    assert [row for row in await world.journalled() if isinstance(row, bytes)] == world.all_packets()
    await world.close()


@on_virtual_time
async def test_a_file_waits_for_the_disk() -> None:
    """R12: a source that can be read again loses nothing to a full disk, whoever listens."""
    world = World()
    await world.open()
    await world.link.stop()
    data = b"".join(world._craft.next_frame().octets for _ in range(200))
    with world.tap.open(ALL, PATIENT):
        world.disk.free = 10
        link = world.make_link(SimSource(data, random.Random(5)))
        link.start()
        await asyncio.sleep(100)
        assert world.journal.head == 0
        world.disk.free = 1 << 40
        async with asyncio.timeout(3600):
            await asyncio.wait([link._task])  # type: ignore[list-item]
    assert [row for row in await world.journalled() if isinstance(row, bytes)] == expected_of(data)
    await link.stop()
    await world.close()


def expected_of(data: bytes) -> list[bytes]:
    intake = FrameIntake(LinkFormat(1, FORMAT, 1))
    return [p for batch in (intake.feed(data, 1), intake.finish(1)) for p in packets_of(batch.items)]


@pytest.mark.parametrize("commit_s", [0.0, 0.01, 0.3, 2.0])
@on_virtual_time
async def test_little_is_at_risk(commit_s: float) -> None:
    """R3: however slow the disk is, what timely listeners got and a crash would take spans at most 50 ms."""
    world, risky = World(), list[float]()

    async def slow(work: Callable[[], T]) -> T:
        await asyncio.sleep(commit_s)
        return work()

    await world.open(slow)
    with world.tap.open(Selection(kinds=frozenset({Kind.TM}), idle=True), PATIENT) as feed:
        sending = asyncio.create_task(world.send(60))
        offered: list[tuple[float, int]] = []  # when, and how many packets by then
        while not sending.done() or world.link._out.pending:
            await asyncio.sleep(0.005)
            now, count = asyncio.get_running_loop().time(), feed.counts.offered_items
            if not offered or offered[-1][1] != count:
                offered.append((now, count))
            uncommitted = [at for at, by in offered if by > world.journal.head]
            if uncommitted:
                risky.append(uncommitted[-1] - uncommitted[0])
        await sending
        assert await heard(feed) == world.all_packets()
    assert max(risky, default=0.0) <= 0.05 + 0.01
    await world.close()
