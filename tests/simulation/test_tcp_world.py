"""A live TCP link through bad weather, seeded, on virtual time: what cannot be sent again is missed, once, and said.

The station sends while it is connected and forgets what it sent. The network cuts, freezes (half-open) and gives
short reads; the wall clock steps; the disk is full for a while; the gateway loses power. Real code but for the world.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from typing import Any

import pytest

from gateway.journal import Journal
from gateway.links import Link, LinkContext, LinkSettings, TcpClientSource, TcpServerSource
from gateway.timely import TimelyTap
from gateway.world import Stream
from gateway_codecs.batches import ItemBatch, Kind, Unit, concatenate
from gateway_codecs.intake import FrameIntake, LinkFormat
from gateway_routes.contact import ContactBook
from gateway_routes.selection import Selection
from gateway_simulators.spacecraft import Spacecraft
from tests.conftest import WORLDS
from tests.gateway.simulated import SimClock, SimLoop, SimNetwork, SimStorage, end_all, inline
from tests.simulation.test_whole_gateway import SETTINGS, fmt

PORT, FRAME_S, FRAMES = 5001, 0.25, 120
EVERYTHING = Selection(kinds=None, bad_quality=True, idle=True)


class Station:
    """Makes a frame every quarter of a second and sends it if somebody is connected; it keeps nothing."""

    def __init__(self, seed: int) -> None:
        self._craft = Spacecraft(seed)
        self.sent: list[bytes] = []
        self.stream: Stream | None = None
        self.done = False

    async def accept(self, stream: Stream) -> None:
        if self.stream is not None:
            await self.stream.close()
        self.stream = stream

    async def run(self) -> None:
        for _ in range(FRAMES):
            await asyncio.sleep(FRAME_S)
            frame = self._craft.next_frame().octets
            self.sent.append(frame)
            if self.stream is None:
                continue
            try:
                await self.stream.write(frame)
            except OSError:
                self.stream = None
        self.done = True

    def packets(self) -> list[bytes]:
        """Every packet that lies wholly in what was made."""
        batch = FrameIntake(LinkFormat(1, fmt(1), 1)).feed(b"".join(self.sent), 1).items
        return [batch.octets_of(k) for k in range(len(batch)) if batch.items["unit"][k] == Unit.PACKET]


class TcpWorld:
    """One seeded world with one link, by turns client and server."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.disk, self.clock = SimStorage(self.rng), SimClock()
        self.network = SimNetwork(self.rng)
        self.station, self.book = Station(seed), ContactBook(60.0)
        self.server = seed % 2 == 1
        self.events: list[dict[str, Any]] = []
        self.journal: Journal
        self.link: Link
        self.disturbed = False
        self.tap = TimelyTap()

    def in_contact(self, spacecraft: str) -> bool:
        return self.book.active(spacecraft) is not None

    def good_data(self, spacecraft: str, peer: str) -> None:
        self.book.good_data(spacecraft, peer, asyncio.get_running_loop().time(), self.clock.tai_ns())

    async def start_gateway(self) -> None:
        self.journal = await Journal.open(self.disk, self.clock, inline, inline, SETTINGS, "m")
        ids = self.journal.name_id("links", "x"), self.journal.name_id("spacecraft", "picard")
        context = LinkContext(
            self.journal, self.clock, self, self.events.append, inline, inline, chance=self.rng.random, timely=self.tap
        )
        kind = TcpServerSource if self.server else TcpClientSource
        settings = LinkSettings("x", "tcp", "picard", watchdog_s=2.0, retry_min_s=0.1, retry_max_s=1.0)
        self.link = Link(
            settings,
            kind(self.network, "127.0.0.1", PORT),
            lambda: FrameIntake(LinkFormat(ids[0], fmt(ids[1]), ids[1])),
            context,
        )
        self.link.start()

    async def crash_gateway(self) -> None:
        await end_all("journal", "append", "link", "watch")
        self.disk.crash()
        for stream in self.network.streams:
            stream.reset()
        if self.server:
            self.network.listening.pop(PORT, None)

    async def dial(self) -> None:
        """The station's side of a server link: it connects again and again, and notices silence itself."""
        while True:
            await asyncio.sleep(0.2)
            stream = self.station.stream
            if stream is None or stream.ended or stream.cut:  # type: ignore[attr-defined]
                with contextlib.suppress(OSError):
                    self.station.stream = await self.network.connect("127.0.0.1", PORT)

    async def misfortune(self) -> None:
        while not self.station.done:
            await asyncio.sleep(self.rng.uniform(0.5, 8))
            what = self.rng.choice(["cut", "freeze", "crash", "clock", "clock", "full", "nothing"])
            self.disturbed |= what in {"cut", "freeze", "crash", "full"}
            if what == "clock":
                self.clock.now_ns += self.rng.choice([-86_400, -5, 5, 3600]) * 10**9
            elif what == "crash":
                await self.crash_gateway()
                await asyncio.sleep(self.rng.uniform(0, 2))
                await self.start_gateway()
            elif what == "full":
                await self.full_disk()
            elif what != "nothing" and self.network.streams:
                stream = self.network.streams[-1]
                stream.reset() if what == "cut" else stream.freeze()

    async def full_disk(self) -> None:
        """No room for 1 to 12 seconds; now and then the gateway crashes and starts in the middle of it."""
        self.disk.free = -1
        await asyncio.sleep(self.rng.uniform(1, 12))
        if self.rng.random() < 0.3:
            await self.crash_gateway()
            await self.start_gateway()
            await asyncio.sleep(self.rng.uniform(0, 3))
        self.disk.free = 1 << 40

    async def run(self) -> None:
        helpers = []
        if self.server:
            helpers.append(asyncio.create_task(self.dial()))
        else:
            await self.network.listen("127.0.0.1", PORT, self.station.accept)
        await self.start_gateway()
        await asyncio.sleep(1)
        helpers.append(asyncio.create_task(self.misfortune()))
        await self.station.run()
        await asyncio.gather(*helpers[-1:])
        self.caught_up = await self.last_frames_arrive()
        for helper in helpers:
            helper.cancel()
        await self.link.stop()
        await self.journal.drain()
        self.items = await self.everything()

    async def everything(self) -> ItemBatch:
        """Return all items of the journal; one read may end before."""
        parts, at = list[ItemBatch](), self.journal.tail
        while at < self.journal.head:
            part = await self.journal.read(at, EVERYTHING, 1_000_000, 1 << 30)
            parts.append(part.batch)
            at = part.end_position
        return concatenate(parts)

    async def last_frames_arrive(self) -> bool:
        """When the weather is good again the link recovers by itself within its watchdog and retry times."""
        before = self.link.snapshot()["counters"]["frames"]
        for _ in range(80):
            await self.station_frame()
        return int(self.link.snapshot()["counters"]["frames"]) > before

    async def station_frame(self) -> None:
        await asyncio.sleep(FRAME_S)
        frame = self.station._craft.next_frame().octets
        self.station.sent.append(frame)
        if self.station.stream is not None:
            with contextlib.suppress(OSError):
                await self.station.stream.write(frame)

    def packets(self) -> list[tuple[bytes, int]]:
        rows = self.items.items
        chosen = [k for k in range(len(rows)) if rows["unit"][k] == Unit.PACKET and rows["kind"][k] == Kind.TM]
        return [(self.items.octets_of(k), int(rows["missing_before"][k])) for k in chosen]

    def gaps(self) -> list[dict[str, Any]]:
        rows = self.items.items
        chosen = [k for k in range(len(rows)) if rows["unit"][k] == Unit.EVENT]
        events = [json.loads(self.items.octets_of(k)) for k in chosen]
        return [e for e in events if e["type"] == "gap"]


@pytest.mark.parametrize("seed", range(WORLDS // 2))
def test_what_is_missed_is_said(seed: int) -> None:
    """R6, R10, R11: every packet at most once, in order, each loss stated before it, and the link always recovers."""
    world = TcpWorld(seed)
    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(world.run())
    sent, got = world.station.packets(), world.packets()
    assert world.caught_up, "the link recovers by itself"
    place = {octets: k for k, octets in enumerate(sent)}
    assert len(place) == len(sent), "the simulator's packets are distinct"
    where = [place[octets] for octets, _ in got]
    assert len(set(where)) == len(where), "no packet twice"
    last: dict[int, int] = {}
    for octets, missing in got:
        apid, count = ((octets[0] & 7) << 8) | octets[1], ((octets[2] & 0x3F) << 8) | octets[3]
        if apid != 2047 and apid in last:
            assert (count - last[apid] - 1) % 16384 == missing, f"apid {apid}, count {count}"
        last[apid] = count
    reasons = {gap["reason"] for gap in world.gaps()}
    assert reasons <= {"link cut", "gateway restart"}, "nothing was lost on the space link"
    if not world.disturbed:
        assert not reasons
