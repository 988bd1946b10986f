"""Links that are ended at awkward moments."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from gateway.journal import Journal, JournalSettings, Recording
from gateway.links import Link, LinkContext, LinkSettings, TcpClientSource
from gateway.real import TcpNetwork
from gateway_codecs.batches import Unit
from gateway_codecs.intake import FrameIntake, LinkFormat
from gateway_routes.link_state import LinkStatus
from gateway_routes.selection import Selection
from gateway_simulators.spacecraft import FRAME_OCTETS
from tests.codecs.links import NO_START, halves, packet, tm, tm_intake
from tests.gateway.simulated import SimClock, SimNetwork, SimStorage, inline, on_virtual_time
from tests.gateway.test_tcp_links import FORMAT, PORT, Contacts, frames, inside_a_packet, journal, link, says, until

EVERYTHING = Selection(kinds=None, bad_quality=True, idle=True)


@on_virtual_time
async def test_the_operator_disables_in_the_very_turn_of_the_watchdog() -> None:
    """R7, R10: `disable` (and a shutdown) ends a link although the watchdog fires in the same turn of the loop."""
    network, events, asked = SimNetwork(), list[Any](), list[asyncio.Task[None]]()

    class Book(Contacts):
        """The operator's request comes in the turn in which the watchdog looks."""

        def in_contact(self, spacecraft: str) -> bool:
            if tested._machine.silent(asyncio.get_running_loop().time(), True) and tested._waiting and not asked:
                asked.append(asyncio.create_task(tested.act("disable")))
            return True

    await network.listen("127.0.0.1", PORT, says(frames(3)))
    tested = link(await journal(), "a", TcpClientSource(network, "127.0.0.1", PORT), events, Book())
    tested.start()
    await until(lambda: tested.status == LinkStatus.RECEIVING)
    network.streams[0].freeze()
    await until(lambda: bool(asked))
    done, _ = await asyncio.wait(asked, timeout=60)
    assert done, f"disable is still waiting; the link is {tested.status}, {len(network.streams)} connections"
    assert tested.status == LinkStatus.DISABLED


@pytest.mark.parametrize("end", ["disable", "stop"])
@on_virtual_time
async def test_what_was_read_is_journalled_though_the_link_ends_while_it_is_recorded(end: str) -> None:
    """R6, R7: octets that were read from the peer are journalled, also when `disable` or SIGTERM comes while the
    recording's thread writes them."""
    data = frames(10)
    network = SimNetwork()
    await network.listen("127.0.0.1", PORT, says(data))
    log, recording_it = await journal(), asyncio.Event()

    async def slow(work: Callable[[], Any]) -> Any:
        done = work()
        if tested.status == LinkStatus.RECEIVING:
            recording_it.set()
            await asyncio.sleep(1)
        return done

    recording = Recording(SimStorage(random.Random(1)), SimClock(), "m/recording/a", {"unit_octets": FRAME_OCTETS}, 1)
    settings = LinkSettings("a", "tcp", "s")
    context = LinkContext(log, SimClock(), Contacts(), [].append, slow, inline, recording)
    tested = Link(
        settings, TcpClientSource(network, "127.0.0.1", PORT), lambda: FrameIntake(LinkFormat(1, FORMAT, 1)), context
    )
    tested.start()
    await recording_it.wait()
    await (tested.disable() if end == "disable" else tested.stop())
    await log.drain()
    whole = FrameIntake(LinkFormat(1, FORMAT, 1)).feed(data, 1).items
    rows = (await log.read(0, EVERYTHING, 1000, 1 << 24)).batch
    kept = [rows.octets_of(k) for k in range(len(rows)) if rows.items["unit"][k] == Unit.PACKET]
    assert kept == [whole.octets_of(k) for k in range(len(whole)) if whole.items["unit"][k] == Unit.PACKET]
    assert tested.snapshot()["counters"]["frames"] == 10


@on_virtual_time
async def test_a_count_that_goes_on_after_hours_of_silence_joins_nothing() -> None:
    """R6: decision 0005, between two passes nothing is joined: also when the station reconnects at once and is silent
    until the next pass."""
    first, _ = halves(packet(1, 0))
    _, other = halves(packet(1, 9))
    log = await journal()
    network, peers = SimNetwork(), list[Any]()

    async def peer(stream: Any) -> None:
        peers.append(stream)
        if len(peers) == 1:
            await stream.write(tm(0, 0, first))
            await stream.close()

    await network.listen("127.0.0.1", PORT, peer)
    settings = LinkSettings("a", "tcp", "s")
    context = LinkContext(log, SimClock(), Contacts(), [].append, inline, inline)
    tested = Link(settings, TcpClientSource(network, "127.0.0.1", PORT), tm_intake, context)
    tested.start()
    await until(lambda: len(peers) == 2)
    await asyncio.sleep(7200)  # the next pass: 256 frames, or a multiple, were lost meanwhile
    await peers[-1].write(tm(257, NO_START, other))
    await until(lambda: tested.snapshot()["counters"]["frames"] == 2)
    await tested.stop()
    rows = (await log.read(0, EVERYTHING, 100, 1 << 20)).batch
    assert [rows.octets_of(k) for k in range(len(rows)) if rows.items["unit"][k] == Unit.PACKET] == []


@pytest.mark.parametrize("end", ["disable", "stop"])
@on_virtual_time
async def test_a_disk_that_fills_up_just_before_holds_no_link(end: str) -> None:
    """R7, R12: a disk that is full since the last commit holds neither `disable` nor the shutdown: what is given up
    then is the first thing that cannot be committed."""
    disk = SimStorage(random.Random(1))
    log = await Journal.open(disk, SimClock(), inline, inline, JournalSettings(reserve_octets=1), "m")
    network = SimNetwork(random.Random(5))
    data = frames(40)
    data = data[: inside_a_packet(data) * FRAME_OCTETS]
    await network.listen("127.0.0.1", PORT, says(data))
    tested = link(log, "a", TcpClientSource(network, "127.0.0.1", PORT), [])
    tested.start()
    await until(lambda: tested.snapshot()["counters"]["frames"] == len(data) // FRAME_OCTETS)
    await log.drain()
    disk.free = 0
    async with asyncio.timeout(10):
        await (tested.act("disable") if end == "disable" else tested.stop())


async def test_octets_that_arrived_before_a_reset_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """R6: good frames that the gateway's socket has taken are not lost because the peer's connection is reset while the
    gateway was busy with its disk."""
    monkeypatch.setattr("gateway.links.raw_octets.WAITING_OCTETS_MAX", 0)
    data = frames(200)
    log = await journal()
    server = socket.create_server(("127.0.0.1", 0))
    server.setblocking(False)
    loop = asyncio.get_running_loop()
    source = TcpClientSource(TcpNetwork(), "127.0.0.1", server.getsockname()[1])
    gate = asyncio.Event()

    async def slow(work: Callable[[], Any]) -> Any:
        if tested.status == LinkStatus.RECEIVING:
            await gate.wait()
        return work()

    recording = Recording(SimStorage(random.Random(1)), SimClock(), "m/recording/a", {"unit_octets": FRAME_OCTETS}, 1)
    settings = LinkSettings("a", "tcp", "s")
    context = LinkContext(log, SimClock(), Contacts(), [].append, slow, inline, recording)
    tested = Link(settings, source, lambda: FrameIntake(LinkFormat(1, FORMAT, 1)), context)
    tested.start()
    peer, _ = await loop.sock_accept(server)
    for begin, end in ((0, 10), (10, 11), (11, 200)):
        await loop.sock_sendall(peer, data[begin * FRAME_OCTETS : end * FRAME_OCTETS])
        await asyncio.sleep(0.2)
    await asyncio.sleep(0.3)  # the writer thread is busy: the octets wait in our process
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    await asyncio.sleep(0.3)
    gate.set()
    await asyncio.sleep(0.5)
    await tested.stop()
    server.close()
    assert tested.snapshot()["counters"]["frames"] == 200
