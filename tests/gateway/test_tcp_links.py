"""TCP links on a simulated network and virtual time: cuts, silent and hostile peers, the operator's hand.

The last test checks that real sockets keep the same contract.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.journal import Journal, JournalSettings, Recording
from gateway.journal.recording import WholeUnits
from gateway.links import Link, LinkContext, LinkSettings, Source, TcpClientSource, TcpServerSource
from gateway.links.link import COMMIT_S, GATHER_S, SEAMLESS_S
from gateway.links.sources import Pause, next_read_octets
from gateway.real import TcpNetwork
from gateway.timely import TimelyTap
from gateway.world import Network, Stream, Worker
from gateway_codecs import uslp_frame
from gateway_codecs.batches import IntakeBatch, Quality, Unit
from gateway_codecs.frames import FrameFormat, VcFormat
from gateway_codecs.intake import FrameIntake, LinkFormat
from gateway_codecs.packet_stream import make_intake
from gateway_codecs.turns import MOST_HEADERS
from gateway_routes.link_state import LinkStatus
from gateway_routes.selection import Selection
from gateway_simulators.spacecraft import FRAME_OCTETS, SCID, Spacecraft
from tests.gateway.simulated import SimClock, SimNetwork, SimStorage, inline, on_virtual_time

FORMAT = FrameFormat(
    "tm",
    FRAME_OCTETS,
    {SCID: 1},
    {0: VcFormat(), 1: VcFormat(), 3: VcFormat("opaque"), 7: VcFormat("idle")},
    ocf="by_flag",
)
PORT = 5000


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


async def journal(writer: Worker = inline) -> Journal:
    settings = JournalSettings(reserve_octets=0)
    return await Journal.open(SimStorage(random.Random(1)), SimClock(), writer, inline, settings, "m")


def link(log: Journal, name: str, source: Source, events: list[Any], contacts: Contacts | None = None) -> Link:
    settings = LinkSettings(name, "tcp", "s", watchdog_s=10.0, retry_min_s=0.5, retry_max_s=30.0)
    context = LinkContext(log, SimClock(), contacts or Contacts(), events.append, inline, inline)
    return Link(settings, source, lambda: FrameIntake(LinkFormat(1, FORMAT, 1)), context)


async def until(what: Callable[[], bool], limit_s: float = 120) -> None:
    async with asyncio.timeout(limit_s):
        while not what():
            await asyncio.sleep(0.01)


def says(data: bytes) -> Callable[[Stream], Awaitable[None]]:
    """A peer that says something and stays."""

    async def peer(stream: Stream) -> None:
        await stream.write(data)

    return peer


@on_virtual_time
async def test_a_cut_link_comes_back_and_says_what_is_missing() -> None:
    """A TCP cut in the middle of a frame: the half frame is kept, the link reconnects, the gap is an event."""
    data, parts = frames(20), iter([(0, 5 * FRAME_OCTETS + 100), (8 * FRAME_OCTETS, 20 * FRAME_OCTETS)])

    async def peer(stream: Stream) -> None:
        begin, end = next(parts)
        await stream.write(data[begin:end])
        if begin == 0:
            await stream.close()

    network = SimNetwork(random.Random(3))
    await network.listen("127.0.0.1", PORT, peer)
    events: list[Any] = []
    log = await journal()
    tested = link(log, "a", TcpClientSource(network, "127.0.0.1", PORT), events)
    tested.start()
    await until(lambda: tested.snapshot()["counters"]["frames"] >= 17)
    await tested.stop()
    assert [event["after"] for event in events][:4] == ["unavailable", "connected", "receiving", "unavailable"]
    everything = await log.read(0, Selection(kinds=None, bad_quality=True), 10_000, 1 << 24)
    units = everything.batch.items["unit"]
    assert any(len(everything.batch.octets_of(int(k))) == 100 for k in (units == Unit.OCTETS).nonzero()[0])
    texts = [everything.batch.octets_of(int(k)).decode() for k in (units == Unit.EVENT).nonzero()[0]]
    assert any("link cut" in text for text in texts)


def inside_a_packet(data: bytes) -> int:
    """Return after how many frames a packet is under way."""
    intake = FrameIntake(LinkFormat(1, FORMAT, 1))
    for at in range(0, len(data), FRAME_OCTETS):
        state = intake.feed(data[at : at + FRAME_OCTETS], 1).state or {}
        if any(vc["open"] for vc in state["vcs"].values()):
            return at // FRAME_OCTETS + 1
    raise AssertionError("no packet spans two frames")


@pytest.mark.parametrize("away_s", [30.0, 90.0])
@on_virtual_time
async def test_a_packet_spans_a_cut_that_lost_nothing(away_s: float) -> None:
    """R6: all frames arrive, so all packets do, across the cut too; after a long silence the halves are kept apart."""
    data = frames(40)
    cut = inside_a_packet(data) * FRAME_OCTETS
    parts = iter([data[:cut], data[cut:]])

    async def peer(stream: Stream) -> None:
        part = next(parts)
        await stream.write(part)
        if len(part) == cut:
            await stream.close()
            network.listening.pop(PORT)
            asyncio.get_running_loop().call_later(away_s, lambda: network.listening.setdefault(PORT, peer))

    network = SimNetwork(random.Random(3))
    await network.listen("127.0.0.1", PORT, peer)
    log = await journal()
    tested = link(log, "a", TcpClientSource(network, "127.0.0.1", PORT), [])
    tested.start()
    await until(lambda: tested.snapshot()["counters"]["frames"] == 40, 300)
    await tested.stop()
    items = (await log.read(0, Selection(kinds=None, bad_quality=True, idle=True), 10_000, 1 << 24)).batch
    whole = FrameIntake(LinkFormat(1, FORMAT, 1)).feed(data, 1).items
    wanted = [whole.octets_of(k) for k in range(len(whole)) if whole.items["unit"][k] == Unit.PACKET]
    got = [items.octets_of(k) for k in range(len(items)) if items.items["unit"][k] == Unit.PACKET]
    rejected = tested.snapshot()["counters"].get("rejected_packet_truncated", 0)
    kept = items.items["quality"] == Quality.PACKET_TRUNCATED
    assert rejected == int(kept.sum()), "the link counts what is given up at a cut and at its end"
    if away_s < SEAMLESS_S:
        assert got == wanted
    else:
        assert len(got) < len(wanted)
        assert kept.any()


@on_virtual_time
async def test_the_watchdog_reconnects_inside_a_contact_only() -> None:
    """R10: a half-open peer inside a contact is dropped within one period; outside a contact it is left in peace."""
    network, contacts, events = SimNetwork(), Contacts(), list[Any]()
    await network.listen("127.0.0.1", PORT, says(frames(3)))
    tested = link(await journal(), "a", TcpClientSource(network, "127.0.0.1", PORT), events, contacts)
    tested.start()
    await until(lambda: tested.status == LinkStatus.RECEIVING)
    network.streams[0].freeze()
    await asyncio.sleep(3600)
    assert len(network.streams) == 1, "an hour of silence outside a contact disturbs nobody"
    assert tested.status == LinkStatus.CONNECTED, "and is shown as connected (no data)"
    contacts.active = True
    began = asyncio.get_running_loop().time()
    await until(lambda: len(network.streams) >= 2)
    assert 10.0 <= asyncio.get_running_loop().time() - began <= 12.0
    assert any("silent for 10 s" in event["message"] for event in events)
    await tested.stop()


@on_virtual_time
async def test_reconnection_is_capped_and_jittered() -> None:
    """R10: an unreachable peer is tried less and less often, at most every retry_max_s, never at equal distances."""
    tried: list[float] = []

    class Nobody(SimNetwork):
        async def connect(self, host: str, port: int) -> Any:
            tried.append(asyncio.get_running_loop().time())
            return await super().connect(host, port)

    tested = link(await journal(), "a", TcpClientSource(Nobody(), "127.0.0.1", PORT), [])
    tested.start()
    await asyncio.sleep(600)
    await tested.stop()
    waits = [b - a for a, b in itertools.pairwise(tried)]
    assert max(waits) <= 30.1, "capped"
    assert min(waits[-5:]) > 5 > waits[0], "less often with time"
    assert len({round(w, 3) for w in waits[-8:]}) == 8, "jittered"


@on_virtual_time
async def test_hostile_peers_disturb_nobody() -> None:
    """R6, R13: rubbish at full speed and a trickle of single octets beside a good link: it gets everything through."""
    data = frames(40)

    async def rubbish(stream: Stream) -> None:
        while True:
            await stream.write(bytes(range(256)) * 256)
            await asyncio.sleep(0.001)

    async def trickle(stream: Stream) -> None:
        for octet in data[:200]:
            await stream.write(bytes([octet]))
            await asyncio.sleep(0.1)

    network = SimNetwork(random.Random(1))
    for port, peer in enumerate((rubbish, trickle, says(data))):
        await network.listen("127.0.0.1", PORT + port, peer)
    log, events = await journal(), list[Any]()
    links = [
        link(log, name, TcpClientSource(network, "127.0.0.1", PORT + port), events) for port, name in enumerate("rtg")
    ]
    for tested in links:
        tested.start()
    await until(lambda: links[2].snapshot()["counters"]["frames"] == 40)
    await until(lambda: links[0].snapshot()["counters"].get("rejected_fecf", 0) > 1000)
    assert links[2].snapshot()["rejected"] == 0
    assert not any("internal error" in event["message"] for event in events)
    for tested in links:
        await tested.stop()
    for task in list(network.tasks):
        task.cancel()


@on_virtual_time
async def test_a_server_takes_one_allowed_peer() -> None:
    """A listening link takes one peer at a time; others are refused and counted; the next may come afterwards."""
    network = SimNetwork()
    source = TcpServerSource(network, "127.0.0.1", PORT, ("127.0.0.1",))
    tested = link(await journal(), "a", source, [])
    tested.start()
    await until(lambda: source.port > 0)
    first = await network.connect("127.0.0.1", PORT)
    await until(lambda: tested.status == LinkStatus.CONNECTED)
    second = await network.connect("127.0.0.1", PORT)
    assert await second.read(10) == b""
    assert source.refused == 1
    await first.write(frames(3))
    await until(lambda: tested.snapshot()["counters"]["frames"] == 3)
    await first.close()
    await until(lambda: tested.status == LinkStatus.UNAVAILABLE)
    third = await network.connect("127.0.0.1", PORT)
    await until(lambda: tested.status == LinkStatus.CONNECTED)
    await tested.disable()
    assert await third.read(10) == b""
    with pytest.raises(ConnectionRefusedError):
        await network.connect("127.0.0.1", PORT)
    await tested.stop()


@on_virtual_time
async def test_a_station_that_lost_its_connection_without_a_word_returns() -> None:
    """A half-open peer holds a listening link, outside a contact too, only while a new one has not come: it is replaced
    when it was silent for the watchdog's period, and not before."""
    network, events = SimNetwork(), list[Any]()
    source = TcpServerSource(network, "127.0.0.1", PORT, silence_s=10.0)
    tested = link(await journal(), "a", source, events)
    tested.start()
    await until(lambda: source.port > 0)
    first = await network.connect("127.0.0.1", PORT)
    await first.write(frames(2))
    await until(lambda: tested.snapshot()["counters"]["frames"] == 2)
    await asyncio.sleep(5)
    early = await network.connect("127.0.0.1", PORT)
    assert await early.read(10) == b""
    assert tested.snapshot()["counters"]["refused"] == 1
    await asyncio.sleep(6)
    again = await network.connect("127.0.0.1", PORT)
    await again.write(frames(3))
    await until(lambda: tested.snapshot()["counters"]["frames"] == 5, 2)
    assert any("replaced by a new connection" in event["message"] for event in events)
    await tested.stop()


@on_virtual_time
async def test_peers_that_flap_do_not_shut_out_the_next() -> None:
    """A listening link does not wait longer and longer after peers that connect and leave."""
    network = SimNetwork()
    source = TcpServerSource(network, "127.0.0.1", PORT)
    tested = link(await journal(), "a", source, [])
    tested.start()
    await until(lambda: source.port > 0)
    for _ in range(8):
        flap = await network.connect("127.0.0.1", PORT)
        await asyncio.sleep(0.2)
        await flap.close()
        await asyncio.sleep(0.2)
    good = await network.connect("127.0.0.1", PORT)
    await good.write(frames(3))
    await until(lambda: tested.snapshot()["counters"]["frames"] == 3, 1)
    await tested.stop()


@on_virtual_time
async def test_a_full_disk_and_the_watchdog_lose_nothing_in_silence() -> None:
    """R6, R12: while the journal is blocked the watchdog may end a connection; every batch that was counted is
    committed when space returns, in order."""
    disk = SimStorage(random.Random(1))
    log = await Journal.open(disk, SimClock(), inline, inline, JournalSettings(reserve_octets=1), "m")
    network, contacts = SimNetwork(random.Random(5)), Contacts()
    contacts.active = True
    sent = frames(40)
    places = iter(range(0, 40, 8))

    async def station(stream: Stream) -> None:
        at = next(places, 40) * FRAME_OCTETS
        await stream.write(sent[at : at + 8 * FRAME_OCTETS])

    await network.listen("127.0.0.1", PORT, station)
    tested = link(log, "a", TcpClientSource(network, "127.0.0.1", PORT), [], contacts)
    disk.free = 0
    tested.start()
    await asyncio.sleep(100)
    assert log.blocked is not None
    disk.free = 1 << 40
    await until(lambda: tested.snapshot()["counters"]["frames"] == 40, 300)
    await tested.stop()
    await log.drain()
    found = await log.read(0, Selection(kinds=None, bad_quality=True, idle=True), 10_000, 1 << 24)
    intake, wanted = FrameIntake(LinkFormat(1, FORMAT, 1)), list[bytes]()
    for at in range(0, len(sent), 8 * FRAME_OCTETS):  # each connection brings eight frames
        part = intake.feed(sent[at : at + 8 * FRAME_OCTETS], 1).items
        wanted += [part.octets_of(k) for k in range(len(part)) if part.items["unit"][k] == Unit.PACKET]
        intake.cut(1, "link cut")
    units = found.batch.items["unit"]
    assert [found.batch.octets_of(int(k)) for k in (units == Unit.PACKET).nonzero()[0]] == wanted


@on_virtual_time
async def test_a_link_stops_while_the_disk_is_full() -> None:
    """R7: a blocked journal holds neither `disable` nor the shutdown."""
    disk = SimStorage(random.Random(1))
    log = await Journal.open(disk, SimClock(), inline, inline, JournalSettings(reserve_octets=1), "m")
    network = SimNetwork(random.Random(5))
    await network.listen("127.0.0.1", PORT, says(frames(200) + b"rest"))
    tested = link(log, "a", TcpClientSource(network, "127.0.0.1", PORT), [])
    disk.free = 0
    tested.start()
    await asyncio.sleep(5)
    async with asyncio.timeout(5):
        await tested.act("disable")
        await tested.stop()


@on_virtual_time
async def test_the_operators_last_word_counts() -> None:
    """`enable` that is asked for while `disable` is still at work comes after it."""
    network = SimNetwork()
    await network.listen("127.0.0.1", PORT, says(frames(2)))
    tested = link(await journal(), "a", TcpClientSource(network, "127.0.0.1", PORT), [])
    tested.start()
    await until(lambda: tested.status == LinkStatus.RECEIVING)
    await asyncio.gather(tested.act("disable"), tested.act("enable"))
    await until(lambda: tested.status == LinkStatus.RECEIVING, 5)
    await tested.stop()


@on_virtual_time
async def test_a_server_refuses_a_stranger() -> None:
    """A peer whose address is not allowed is refused and counted; the link goes on waiting."""
    network = SimNetwork()
    source = TcpServerSource(network, "127.0.0.1", PORT, ("192.0.2.7",))
    tested = link(await journal(), "a", source, [])
    tested.start()
    await until(lambda: source.port > 0)
    stranger = await network.connect("127.0.0.1", PORT)
    assert await stranger.read(10) == b""
    assert (source.refused, tested.snapshot()["counters"]["refused"]) == (1, 1)
    assert tested.status != LinkStatus.CONNECTED
    await tested.stop()


@on_virtual_time
async def test_the_operators_hand() -> None:
    """Disable closes the socket, enable opens it again, reset sets the counters to zero."""
    network = SimNetwork()
    await network.listen("127.0.0.1", PORT, says(frames(2)))
    tested = link(await journal(), "a", TcpClientSource(network, "127.0.0.1", PORT), [])
    tested.start()
    await until(lambda: tested.status == LinkStatus.RECEIVING)
    await tested.disable()
    assert tested.status == LinkStatus.DISABLED
    assert network.streams[0].ended
    tested.enable()
    await until(lambda: tested.status == LinkStatus.RECEIVING)
    tested.reset()
    assert tested.snapshot()["counters"]["frames"] == 0
    await tested.stop()


def _networks() -> list[Any]:
    return [pytest.param(SimNetwork, id="simulated"), pytest.param(TcpNetwork, id="sockets")]


@pytest.mark.parametrize("make", _networks())
async def test_the_simulated_network_keeps_the_contract_of_sockets(make: Callable[[], Network]) -> None:
    """What the simulation proves holds on sockets: octets in order, an end is b'', a closed peer is an error."""
    network, accepted = make(), asyncio.Queue[Stream]()
    listener = await network.listen("127.0.0.1", 0, accepted.put)
    near = await network.connect("127.0.0.1", listener.port)
    far = await accepted.get()
    await near.write(b"to the ")
    await near.write(b"station")
    got = b""
    while len(got) < 14:
        got += await far.read(5)
    assert got == b"to the station"
    await far.write(b"answer")
    assert await near.read(100) == b"answer"
    other = await network.connect("127.0.0.1", listener.port)
    other_far = await accepted.get()
    await other.close()
    with contextlib.suppress(ConnectionResetError):
        assert await other_far.read(10) == b""
    await listener.close()
    for stream in (near, far, other, other_far):
        await stream.close()
    with pytest.raises(ConnectionRefusedError):
        await network.connect("127.0.0.1", listener.port)


@pytest.mark.parametrize(
    ("octets", "took_s", "after"),
    [(1 << 18, 0.05, 1 << 17), (1 << 17, 0.015, 1 << 17), (1 << 17, 0.001, 1 << 18), (1 << 18, 0.001, 1 << 18),
     (1 << 14, 9.0, 1 << 14)],
)  # fmt: skip
def test_costly_octets_are_read_in_smaller_pieces(octets: int, took_s: float, after: int) -> None:
    """R13: what costs much to take apart holds the loop only shortly; what costs little comes in bulk again."""
    assert next_read_octets(octets, took_s) == after


@on_virtual_time
async def test_a_link_whose_octets_cost_much_reads_less_at_a_time() -> None:
    """R13: taking a piece apart for long makes the next one smaller, and every frame still comes."""

    class SlowClock(SimClock):
        def steady_tai_ns(self) -> int:
            self.now_ns += 50_000_000  # each look at it finds that much time gone
            return super().steady_tai_ns()

    network, source_data, events = SimNetwork(random.Random(5)), frames(40), list[Any]()
    await network.listen("127.0.0.1", PORT, says(source_data))
    source = TcpClientSource(network, "127.0.0.1", PORT)
    context = LinkContext(await journal(), SlowClock(), Contacts(), events.append, inline, inline)
    settings = LinkSettings("a", "tcp", "s", watchdog_s=10.0, retry_min_s=0.5, retry_max_s=30.0)
    tested = Link(settings, source, lambda: FrameIntake(LinkFormat(1, FORMAT, 1)), context)
    before = source.read_octets
    tested.start()
    await until(lambda: tested.snapshot()["counters"]["frames"] >= 40)
    await tested.stop()
    assert source.read_octets < before


@on_virtual_time
async def test_a_link_that_ends_amid_costly_octets_takes_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """R6, R13: what is taken in pieces lets others run between; who disables the link meanwhile loses nothing."""
    monkeypatch.setattr("gateway.links.link.Pause", lambda: Pause(slice_s=-1.0))
    frame = uslp_frame.encode(uslp_frame.UslpFrame(SCID, 1, map_id=0, data=b"x", construction_rule=4), True)
    network, events = SimNetwork(), list[Any]()
    uslp = FrameFormat("uslp", 2000, {SCID: 1}, {1: VcFormat("opaque")}, fecf=True, variable_length=True)
    await network.listen("127.0.0.1", PORT, says(frame * 5000))
    settings = LinkSettings("a", "tcp", "s", watchdog_s=10.0, retry_min_s=0.5, retry_max_s=30.0)
    context = LinkContext(await journal(), SimClock(), Contacts(), events.append, inline, inline)
    source = TcpClientSource(network, "127.0.0.1", PORT)
    tested = Link(settings, source, lambda: make_intake(LinkFormat(1, uslp, 1)), context)
    ending: list[asyncio.Task[int]] = []

    async def end() -> int:
        taken = tested.snapshot()["counters"]["frames"]
        await tested.disable()
        return int(taken)

    def emit(event: Any) -> None:
        if event.get("after") == "receiving":
            ending.append(asyncio.ensure_future(end()))

    monkeypatch.setattr(context, "emit", emit)
    tested.start()
    await until(lambda: bool(ending) and ending[0].done())
    assert (ending[0].result(), tested.snapshot()["counters"]["frames"]) == (MOST_HEADERS, 5000)


@on_virtual_time
async def test_a_link_goes_on_while_its_recording_is_busy() -> None:
    """Bounded delay: who records slowly holds nobody up; all is recorded in the end, in order, when a link ends too."""
    network, gate, sent = SimNetwork(), asyncio.Event(), frames(30)
    source = TcpServerSource(network, "127.0.0.1", PORT)
    storage = SimStorage(random.Random(1))
    recording = Recording(storage, SimClock(), "m/recording/a", {"unit_octets": FRAME_OCTETS}, 7)

    async def slow(work: Callable[[], Any]) -> Any:
        await gate.wait()
        return work()

    context = LinkContext(await journal(), SimClock(), Contacts(), [].append, slow, inline, recording)
    tested = Link(LinkSettings("a", "tcp", "s"), source, lambda: FrameIntake(LinkFormat(1, FORMAT, 1)), context)
    tested.start()
    await until(lambda: source.port > 0)
    peer = await network.connect("127.0.0.1", PORT)
    for at in range(0, len(sent), 10 * FRAME_OCTETS):
        await peer.write(sent[at : at + 10 * FRAME_OCTETS])
        await asyncio.sleep(0.1)
    await until(lambda: tested.snapshot()["counters"]["frames"] == 30)
    ending = asyncio.create_task(tested.stop())
    await asyncio.sleep(1)
    assert not ending.done(), "what was read is recorded before the end"
    gate.set()
    await ending
    assert b"".join(WholeUnits(storage, "m/recording/a", FRAME_OCTETS)) == sent


@on_virtual_time
async def test_a_link_waits_while_too_much_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """R13: octets that wait for a recording are bounded; then the peer holds the data."""
    monkeypatch.setattr("gateway.links.raw_octets.WAITING_OCTETS_MAX", 5 * FRAME_OCTETS)
    network, gate, sent = SimNetwork(), asyncio.Event(), frames(30)
    source = TcpServerSource(network, "127.0.0.1", PORT)
    recording = Recording(SimStorage(random.Random(1)), SimClock(), "m/r", {"unit_octets": FRAME_OCTETS}, 7)

    async def slow(work: Callable[[], Any]) -> Any:
        await gate.wait()
        return work()

    context = LinkContext(await journal(), SimClock(), Contacts(), [].append, slow, inline, recording)
    tested = Link(LinkSettings("a", "tcp", "s"), source, lambda: FrameIntake(LinkFormat(1, FORMAT, 1)), context)
    tested.start()
    await until(lambda: source.port > 0)
    peer = await network.connect("127.0.0.1", PORT)
    for at in range(0, len(sent), FRAME_OCTETS):
        await peer.write(sent[at : at + FRAME_OCTETS])
        await asyncio.sleep(0.1)
    assert tested.snapshot()["counters"]["frames"] == 6
    gate.set()
    await until(lambda: tested.snapshot()["counters"]["frames"] == 30)
    await tested.stop()


async def trickled(fed: list[float], writer: Worker = inline, timely: TimelyTap | None = None) -> tuple[Link, Stream]:
    """A link that has got 200 frames, one each millisecond, and its peer. When it fed its intake is in `fed`."""
    loop = asyncio.get_running_loop()

    class Counted(FrameIntake):
        def feed(self, octets: bytes, *times: int) -> IntakeBatch:
            fed.append(loop.time())
            return super().feed(octets, *times)

    network, sent = SimNetwork(), frames(200)
    source = TcpServerSource(network, "127.0.0.1", PORT)
    log = await journal(writer)
    context = LinkContext(log, SimClock(), Contacts(), [].append, inline, inline, timely=timely or TimelyTap())
    tested = Link(LinkSettings("a", "tcp", "s"), source, lambda: Counted(LinkFormat(1, FORMAT, 1)), context)
    tested.start()
    await until(lambda: source.port > 0)
    peer = await network.connect("127.0.0.1", PORT)
    for at in range(0, len(sent), FRAME_OCTETS):
        await peer.write(sent[at : at + FRAME_OCTETS])
        await asyncio.sleep(0.001)
    await until(lambda: tested.snapshot()["counters"]["frames"] == 200)
    return tested, peer


@on_virtual_time
async def test_what_comes_little_by_little_is_gathered() -> None:
    """A thousand frames each second, one by one, are few batches; a frame that comes alone does not wait."""
    fed, loop = list[float](), asyncio.get_running_loop()
    tested, peer = await trickled(fed)
    assert 40 < len(fed) < 100
    assert min(later - one for one, later in itertools.pairwise(fed)) >= GATHER_S - 1e-6
    await asyncio.sleep(1)
    began = loop.time()
    await peer.write(frames(1))
    await until(lambda: tested.snapshot()["counters"]["frames"] == 201)
    assert fed[-1] - began < GATHER_S / 2
    await tested.stop()


@pytest.mark.parametrize(("commit_s", "apart_s"), [(0.01, 0.01), (1.0, COMMIT_S)])
@on_virtual_time
async def test_what_comes_during_a_commit_is_read_when_it_has_ended(commit_s: float, apart_s: float) -> None:
    """Little by little, one read for one commit: but a disk that hangs holds reading up for COMMIT_S alone."""

    async def slow(work: Callable[[], Any]) -> Any:
        await asyncio.sleep(commit_s)
        return work()

    fed = list[float]()
    tested, _ = await trickled(fed, slow)
    assert fed[1] - fed[0] == pytest.approx(apart_s, abs=GATHER_S)
    assert commit_s > COMMIT_S or len(fed) <= 200 * 0.001 / commit_s + 1
    await tested.stop()


@on_virtual_time
async def test_a_commit_holds_up_no_reading_for_who_listens_timely() -> None:
    """R3: timely listeners get what came before it is journalled, however long the commits take."""

    async def slow(work: Callable[[], Any]) -> Any:
        await asyncio.sleep(0.01)
        return work()

    fed, tap = list[float](), TimelyTap()
    with tap.open(Selection()):
        tested, _ = await trickled(fed, slow, tap)
        assert max(later - one for one, later in itertools.pairwise(fed)) < 2 * GATHER_S
    await tested.stop()


@on_virtual_time
async def test_a_length_that_is_too_small_for_a_few_frames_is_told() -> None:
    """Frames of varying length, a few of them longer than the link says, long after its beginning: status says so."""

    def uslp(octets: int, count: int) -> bytes:
        frame = uslp_frame.UslpFrame(SCID, 1, 0, bytes(octets), 4, vc_count=count % 256, vc_count_octets=1)
        return uslp_frame.encode(frame, True)

    short = b"".join(uslp(300, k) for k in range(1000))
    network, events = SimNetwork(random.Random(5)), list[Any]()
    await network.listen("127.0.0.1", PORT, says(short + uslp(900, 1000) + short))
    fmt = FrameFormat("uslp", 500, {SCID: 1}, {1: VcFormat("opaque")}, fecf=True, variable_length=True)
    settings = LinkSettings("a", "tcp", "s", watchdog_s=10.0, retry_min_s=0.5, retry_max_s=30.0)
    context = LinkContext(await journal(), SimClock(), Contacts(), events.append, inline, inline)
    source = TcpClientSource(network, "127.0.0.1", PORT)
    tested = Link(settings, source, lambda: make_intake(LinkFormat(1, fmt, 1)), context)
    tested.start()
    await until(lambda: bool(tested.snapshot()["hint"]))
    assert "of up to 911 octets come, the link says at most 500" in tested.snapshot()["hint"]
    assert [event["hint"] for event in events if event["type"] == "hint"] == [tested.snapshot()["hint"]]
    await tested.stop()
