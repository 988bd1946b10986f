"""TCP links on real loopback sockets: client and server, cuts, hostile and silent peers, the operator's hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.journal import Journal, JournalSettings
from gateway.links import Link, LinkContext, LinkSettings, Source, TcpClientSource, TcpServerSource
from gateway.real import TcpNetwork
from gateway_codecs.batches import Unit
from gateway_codecs.frames import FrameFormat, VcFormat
from gateway_codecs.intake import FrameIntake, LinkFormat
from gateway_routes.link_state import LinkStatus
from gateway_routes.selection import Selection
from gateway_simulators.spacecraft import FRAME_OCTETS, SCID, Spacecraft
from tests.gateway.simulated import SimClock, SimStorage, inline

FORMAT = FrameFormat(
    "tm",
    FRAME_OCTETS,
    {SCID: 1},
    {0: VcFormat(), 1: VcFormat(), 3: VcFormat("opaque"), 7: VcFormat("idle")},
    ocf="by_flag",
)


class Contacts:
    """A contact book that the test sets."""

    active = False

    def in_contact(self, spacecraft: str) -> bool:
        return self.active

    def good_data(self, spacecraft: str, peer: str) -> None:
        pass


def frames(count: int, seed: int = 1) -> bytes:
    craft = Spacecraft(seed)
    return b"".join(craft.next_frame().octets for _ in range(count))


async def journal() -> Journal:
    import random

    settings = JournalSettings(reserve_octets=0)
    return await Journal.open(SimStorage(random.Random(1)), SimClock(), inline, inline, settings, "m")


def link(log: Journal, name: str, source: Source, events: list[Any], contacts: Contacts | None = None) -> Link:
    settings = LinkSettings(name, "tcp", "s", watchdog_s=0.3, retry_min_s=0.02, retry_max_s=0.05)
    context = LinkContext(log, SimClock(), contacts or Contacts(), events.append, inline)
    return Link(settings, source, lambda: FrameIntake(LinkFormat(1, FORMAT, 1)), context)


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not what():
            await asyncio.sleep(0.005)


async def serve(peer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> tuple[Any, int]:
    server = await asyncio.start_server(peer, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def test_a_cut_link_comes_back_and_says_what_is_missing() -> None:
    """A TCP cut in the middle of a frame: the half frame is kept, the link reconnects, the gap is an event."""
    data, parts = frames(20), iter([(0, 5 * FRAME_OCTETS + 100), (8 * FRAME_OCTETS, 20 * FRAME_OCTETS)])

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        part = next(parts, None)
        if part is not None:
            writer.write(data[part[0] : part[1]])
            await writer.drain()
        writer.close()

    server, port = await serve(peer)
    events: list[Any] = []
    log = await journal()
    tested = link(log, "a", TcpClientSource(TcpNetwork(), "127.0.0.1", port), events)
    tested.start()
    await until(lambda: tested.snapshot()["counters"]["frames"] >= 17)
    await tested.stop()
    server.close()
    states = [event["after"] for event in events]
    assert states[:3] == ["connected", "receiving", "unavailable"] or states[1:4] == [
        "connected",
        "receiving",
        "unavailable",
    ]
    everything = await log.read(0, Selection(kinds=None, bad_quality=True), 10_000, 1 << 24)
    units = everything.batch.items["unit"]
    assert any(len(everything.batch.octets_of(int(k))) == 100 for k in (units == Unit.OCTETS).nonzero()[0])
    texts = [everything.batch.octets_of(int(k)).decode() for k in (units == Unit.EVENT).nonzero()[0]]
    assert any("link cut" in text for text in texts)


async def test_the_watchdog_reconnects_inside_a_contact_only() -> None:
    """R10: a half-open peer inside a contact is dropped within one period; outside a contact it is left in peace."""
    connections = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.read()
        writer.close()

    server, port = await serve(silent)
    contacts, events = Contacts(), list[Any]()
    tested = link(await journal(), "a", TcpClientSource(TcpNetwork(), "127.0.0.1", port), events, contacts)
    tested.start()
    await until(lambda: tested.status == LinkStatus.CONNECTED)
    await asyncio.sleep(0.8)
    assert len(connections) == 1
    contacts.active = True
    await until(lambda: len(connections) >= 2)
    assert any("silent" in event["message"] for event in events)
    await tested.stop()
    server.close()


async def test_hostile_peers_disturb_nobody() -> None:
    """R6, R13: rubbish at full speed and a trickle of single octets beside a good link: it gets everything through."""
    data = frames(40)

    async def rubbish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(30):
            writer.write(bytes(range(256)) * 256)
            await writer.drain()
        await reader.read()
        writer.close()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for octet in data[:200]:
            writer.write(bytes([octet]))
            await writer.drain()
            await asyncio.sleep(0.001)
        await reader.read()
        writer.close()

    async def good(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        await reader.read()
        writer.close()

    served = [await serve(peer) for peer in (rubbish, trickle, good)]
    log, events = await journal(), list[Any]()
    links = [
        link(log, name, TcpClientSource(TcpNetwork(), "127.0.0.1", port), events)
        for name, (_, port) in zip("rtg", served, strict=True)
    ]
    for tested in links:
        tested.start()
    await until(lambda: links[2].snapshot()["counters"]["frames"] == 40)
    await until(lambda: links[0].snapshot()["counters"].get("rejected_fecf", 0) > 1000)
    assert links[2].snapshot()["rejected"] == 0
    assert not any("internal error" in event["message"] for event in events)
    for tested in links:
        await tested.stop()
    for server, _ in served:
        server.close()


async def test_a_server_takes_one_allowed_peer() -> None:
    """A listening link takes one peer at a time; others are refused and counted; the next may come afterwards."""
    source = TcpServerSource(TcpNetwork(), "127.0.0.1", 0, ("127.0.0.1",))
    tested = link(await journal(), "a", source, [])
    tested.start()
    await until(lambda: source.port > 0)
    _, first = await asyncio.open_connection("127.0.0.1", source.port)
    await until(lambda: tested.status == LinkStatus.CONNECTED)
    second_reader, second = await asyncio.open_connection("127.0.0.1", source.port)
    assert await second_reader.read() == b""
    assert source.refused == 1
    first.write(frames(3))
    await until(lambda: tested.snapshot()["counters"]["frames"] == 3)
    first.close()
    await until(lambda: tested.status == LinkStatus.UNAVAILABLE)
    await until(lambda: not source._arrived.full() and tested.snapshot()["counters"]["cuts"] == 1)
    _, third = await asyncio.open_connection("127.0.0.1", source.port)
    await until(lambda: tested.status == LinkStatus.CONNECTED)
    for writer in (second, third):
        writer.close()
    await tested.stop()


async def test_the_operators_hand() -> None:
    """Disable closes the socket, enable opens it again, reset sets the counters to zero."""

    async def good(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frames(2))
        await reader.read()
        writer.close()

    server, port = await serve(good)
    tested = link(await journal(), "a", TcpClientSource(TcpNetwork(), "127.0.0.1", port), [])
    tested.start()
    await until(lambda: tested.status == LinkStatus.RECEIVING)
    await tested.disable()
    assert tested.status == LinkStatus.DISABLED
    tested.enable()
    await until(lambda: tested.status == LinkStatus.RECEIVING)
    tested.reset()
    assert tested.snapshot()["counters"]["frames"] == 0
    await tested.stop()
    server.close()
