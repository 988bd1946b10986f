"""UDP links: on a simulated network and virtual time, and on real sockets, whose kernel really drops."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from gateway.datagram_socket import UdpSocket
from gateway.journal import Journal, Recording
from gateway.journal.recording import WholeUnits
from gateway.links import Link, LinkContext, LinkSettings, UdpSource
from gateway.links.link import SEAMLESS_S
from gateway.links.news import LOSS_EVERY_S
from gateway.real import TcpNetwork
from gateway.world import Network
from gateway_codecs.batches import ItemBatch, Quality, Unit
from gateway_codecs.datagrams import LOST_IN_KERNEL
from gateway_codecs.intake import FrameIntake, LinkFormat
from gateway_routes.link_state import LinkStatus
from gateway_routes.selection import Selection
from gateway_simulators.spacecraft import FRAME_OCTETS, Spacecraft
from tests.gateway.simulated import SimClock, SimDatagrams, SimNetwork, SimStorage, inline, on_virtual_time
from tests.gateway.test_tcp_links import FORMAT, Contacts, journal, until

PORT = 5000
EVERYTHING = Selection(kinds=None, bad_quality=True, idle=True)


def frames(count: int, seed: int = 1) -> list[bytes]:
    craft = Spacecraft(seed)
    return [craft.next_frame().octets for _ in range(count)]


def link(
    log: Journal,
    source: UdpSource,
    events: list[Any],
    contacts: Contacts | None = None,
    recording: Recording | None = None,
) -> Link:
    settings = LinkSettings("u", "udp", "s", watchdog_s=10.0, retry_min_s=0.5, retry_max_s=30.0)
    context = LinkContext(log, SimClock(), contacts or Contacts(), events.append, inline, inline, recording)
    return Link(settings, source, lambda: FrameIntake(LinkFormat(1, FORMAT, 1)), context)


def counter(tested: Link, name: str) -> int:
    return int(tested.snapshot()["counters"].get(name, 0))


async def items(log: Journal) -> ItemBatch:
    return (await log.read(0, EVERYTHING, 100_000, 1 << 26)).batch


def texts(found: ItemBatch) -> list[str]:
    return [found.octets_of(int(k)).decode() for k in (found.items["unit"] == Unit.EVENT).nonzero()[0]]


@on_virtual_time
async def test_datagrams_become_packets_and_the_peer_is_shown() -> None:
    """R6: frames in datagrams, one or several each, an empty one and one of the wrong size between them."""
    network, events, log = SimNetwork(), list[Any](), await journal()
    tested = link(log, UdpSource(network, "127.0.0.1", PORT), events)
    tested.start()
    await until(lambda: PORT in network.bound)
    assert (tested.status, tested.snapshot()["peer"]) == (LinkStatus.CONNECTED, "127.0.0.1:5000")
    sent = frames(60)
    network.send(PORT, *sent[:20], b"", b"".join(sent[20:40]), b"odd", *sent[40:])
    await until(lambda: counter(tested, "frames") == 60)
    assert tested.status == LinkStatus.RECEIVING
    assert tested.snapshot()["peer"] == "127.0.0.1:5000 from 10.0.0.1:4000"
    assert (counter(tested, "datagrams"), counter(tested, "datagrams_empty")) == (43, 1)
    assert (counter(tested, "rejected_length"), counter(tested, "datagrams_lost")) == (1, 0)
    await tested.stop()
    found = await items(log)
    wanted = FrameIntake(LinkFormat(1, FORMAT, 1)).feed(b"".join(sent), 1).items
    packets = [found.octets_of(int(k)) for k in (found.items["unit"] == Unit.PACKET).nonzero()[0]]
    assert packets == [wanted.octets_of(k) for k in range(len(wanted)) if wanted.items["unit"][k] == Unit.PACKET]
    odd = (found.items["quality"] == Quality.LENGTH).nonzero()[0]
    assert [found.octets_of(int(k)) for k in odd] == [b"odd"]


@on_virtual_time
async def test_what_the_kernel_dropped_is_counted_once_and_journalled() -> None:
    """R6: the counter, the gaps in the journal and the frame counts say the same number, and events do not flood."""
    network, events, log = SimNetwork(), list[Any](), await journal()
    source = UdpSource(network, "127.0.0.1", PORT, buffer_octets=10 * FRAME_OCTETS)
    tested = link(log, source, events)
    tested.start()
    await until(lambda: PORT in network.bound)
    sent = frames(2000)
    for at in range(0, 2000, 20):  # of each twenty ten fit
        network.send(PORT, *sent[at : at + 20])
        await asyncio.sleep(0.1)
    await asyncio.sleep(1)
    assert counter(tested, "datagrams_lost") == 1000
    tested.reset()
    assert counter(tested, "datagrams_lost") == 0
    network.send(PORT, *frames(2011, seed=1)[2000:])
    await tested.stop()
    assert counter(tested, "datagrams_lost") == 1, "the one that did not fit is counted at the end too"
    gaps = [text for text in texts(await items(log)) if '"what":"datagrams"' in text]
    numbers = [int(text.split('"missing":')[1].split(",")[0]) for text in gaps]
    assert sum(numbers) == 1001
    assert 2 <= len(numbers) <= 12 / LOSS_EVERY_S + 3
    assert all(LOST_IN_KERNEL in text for text in gaps)
    missing = [text for text in texts(await items(log)) if '"what":"frames"' in text]
    assert {text.split('"reason":"')[1].split('"')[0] for text in missing} == {LOST_IN_KERNEL}


@pytest.mark.parametrize("end", ["disable", "stop"])
@on_virtual_time
async def test_what_the_kernel_has_when_a_link_ends_is_taken(end: str) -> None:
    """R6: datagrams that came before the link was disabled or stopped are journalled; those of others are refused."""
    network, events, log = SimNetwork(), list[Any](), await journal()
    tested = link(log, UdpSource(network, "127.0.0.1", PORT, allowed_peers=("10.0.0.1",)), events)
    tested.start()
    await until(lambda: PORT in network.bound)
    sent = frames(3000)  # more than one turn reads
    network.send(PORT, *sent[:2000])
    network.send(PORT, b"x" * FRAME_OCTETS, peer=("10.0.0.9", 4000))
    network.send(PORT, *sent[2000:])
    await getattr(tested, end)()
    assert PORT not in network.bound
    assert (counter(tested, "frames"), counter(tested, "datagrams"), counter(tested, "refused")) == (3000, 3000, 1)
    assert counter(tested, "datagrams_lost") == 0
    assert not [text for text in texts(await items(log)) if '"type":"gap"' in text]


@on_virtual_time
async def test_what_a_link_that_ends_has_no_time_for_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """R6, R7: a link ends in time, and what it could not take is a loss that is counted and journalled."""
    monkeypatch.setattr("gateway.links.link.DRAIN_S", -1.0)
    network, events, log = SimNetwork(), list[Any](), await journal()
    tested = link(log, UdpSource(network, "127.0.0.1", PORT), events)
    tested.start()
    await until(lambda: PORT in network.bound)
    network.send(PORT, *frames(30))
    await tested.disable()
    assert (counter(tested, "frames"), counter(tested, "datagrams_lost")) == (0, 30)
    assert ['"missing":30' in text for text in texts(await items(log)) if '"what":"datagrams"' in text] == [True]


@on_virtual_time
async def test_peers_that_are_not_allowed() -> None:
    """R13: their datagrams are counted, their addresses told once, and the station's pass untouched between them."""
    network, events, log = SimNetwork(), list[Any](), await journal()
    tested = link(log, UdpSource(network, "127.0.0.1", PORT, ("10.0.0.1",)), events)
    tested.start()
    await until(lambda: PORT in network.bound)
    sent = frames(30)
    for k, one in enumerate(sent):
        network.send(PORT, sent[0], peer=(f"10.0.1.{k % 7}", 99))
        network.send(PORT, one)
    network.send(PORT, sent[0], peer=("10.0.1.1", 99))
    await until(lambda: counter(tested, "frames") == 30)
    await asyncio.sleep(300)
    assert (counter(tested, "refused"), counter(tested, "datagrams")) == (31, 30)
    told = [event for event in events if event["type"] == "refused"]
    assert len(told) == 1
    assert "31 datagrams refused: allowed_peers does not have 10.0.1.0, 10.0.1.1" in told[0]["message"]
    network.send(PORT, b"x", peer=("10.0.1.9", 99))
    await asyncio.sleep(1)
    assert "1 datagram refused" in events[-1]["message"]
    await tested.stop()
    assert not any('"frames' in text for text in texts(await items(log)))


@on_virtual_time
async def test_the_watchdog_marks_down_and_data_bring_it_back() -> None:
    """R10: silence inside a contact is down within a period, without losing the socket; after it nobody is woken."""
    network, contacts, events = SimNetwork(), Contacts(), list[Any]()
    tested = link(await journal(), UdpSource(network, "127.0.0.1", PORT), events, contacts)
    tested.start()
    await until(lambda: PORT in network.bound)
    bound, sent = network.bound[PORT], frames(60)
    for part in (sent[:10], sent[10:20]):
        network.send(PORT, *part)
        await asyncio.sleep(3600)
    assert tested.status == LinkStatus.CONNECTED, "silence outside a contact is no fault"
    assert counter(tested, "rejected_packet_truncated") == 0, "and the frame counts alone say what was lost"
    contacts.active = True
    began = asyncio.get_running_loop().time()
    await until(lambda: tested.status == LinkStatus.UNAVAILABLE)
    assert asyncio.get_running_loop().time() - began <= 12.0
    assert "silent for 10 s inside a contact" in events[-1]["message"]
    await asyncio.sleep(60)
    network.send(PORT, *sent[20:40])
    await until(lambda: tested.status == LinkStatus.RECEIVING, 1)
    assert network.bound[PORT] is bound
    await until(lambda: tested.status == LinkStatus.UNAVAILABLE)
    contacts.active = False
    await until(lambda: tested.status == LinkStatus.CONNECTED, 1)
    assert counter(tested, "cuts") == 2
    truncated = counter(tested, "rejected_packet_truncated")
    await asyncio.sleep(SEAMLESS_S)
    network.send(PORT, *sent[40:])
    await until(lambda: counter(tested, "frames") == 60)
    assert counter(tested, "rejected_packet_truncated") > truncated, "no packet spans two passes"
    await tested.stop()


@on_virtual_time
async def test_a_small_buffer_and_a_taken_port_are_said() -> None:
    """What the kernel did not give is an event and a notice, with the way out; a port that is taken is retried."""
    network, events = SimNetwork(), list[Any]()
    network.buffer_octets_max = 212_992
    tested = link(await journal(), UdpSource(network, "127.0.0.1", PORT), events)
    network.bound[PORT] = SimDatagrams(network, PORT, 1)
    tested.start()
    await asyncio.sleep(5)
    assert (tested.status, tested.snapshot()["detail"]) == (LinkStatus.UNAVAILABLE, "Address already in use")
    await network.bound[PORT].close()
    await until(lambda: tested.status == LinkStatus.CONNECTED)
    await asyncio.sleep(1)
    advice = "the kernel gave 212992 of 33554432 octets for the receive buffer: sysctl -w net.core.rmem_max=33554432"
    assert advice in tested.snapshot()["notice"]
    assert sum(advice in event["message"] for event in events) == 1
    await tested.stop()


@on_virtual_time
async def test_a_socket_that_fails_is_bound_anew() -> None:
    """An error of the socket is a cut: a new one is bound, and what the old one lost stays counted."""
    network, events, log = SimNetwork(), list[Any](), await journal()
    tested = link(log, UdpSource(network, "127.0.0.1", PORT, buffer_octets=FRAME_OCTETS), events)
    tested.start()
    await until(lambda: PORT in network.bound)
    sent = frames(4)
    network.send(PORT, *sent[:2])
    await until(lambda: counter(tested, "datagrams_lost") == 1)
    network.bound[PORT].fail(OSError(105, "No buffer space available"))
    await until(lambda: tested.status == LinkStatus.UNAVAILABLE)
    await until(lambda: tested.status == LinkStatus.CONNECTED)
    network.send(PORT, *sent[2:])
    await until(lambda: counter(tested, "datagrams_lost") == 2)
    assert counter(tested, "frames") == 2
    await tested.disable()
    assert PORT not in network.bound
    await tested.stop()


@pytest.mark.parametrize("seed", range(20))
@on_virtual_time
async def test_bad_weather_on_the_network(seed: int) -> None:
    """R6: loss, reordering, duplicates and rubbish by seed: every frame that arrives is counted and no task dies."""
    rng, network, events, log = random.Random(seed), SimNetwork(), list[Any](), await journal()
    tested = link(log, UdpSource(network, "127.0.0.1", PORT, buffer_octets=40 * FRAME_OCTETS), events)
    tested.start()
    await until(lambda: PORT in network.bound)
    weathered, sent = list[bytes](), frames(400, seed)
    for one in sent:
        fate = rng.random()
        copies = 0 if fate < 0.05 else 2 if fate < 0.1 else 1
        for _ in range(copies):
            weathered.insert(len(weathered) - rng.choice((0, 0, 0, 1, 3)), one)
        if fate > 0.97:
            weathered.append(rng.randbytes(rng.randrange(3 * FRAME_OCTETS)))
    known = set(sent)
    good = sum(one in known for one in weathered)
    while weathered:
        network.send(PORT, *weathered[: (part := rng.randrange(60))])
        weathered = weathered[part:]
        await asyncio.sleep(rng.choice((0.0, 0.01)))
    await asyncio.sleep(1)
    counted, lost = tested.statistics(), counter(tested, "datagrams_lost")
    channels = counted["vcs"].values()
    taken = sum(vc["frames"] for vc in channels)
    assert good - lost <= taken <= good
    assert sum(vc["repeated_counts"] for vc in channels) > 0
    assert sum(vc["count_jumps"] for vc in channels) > sum(vc["repeated_counts"] for vc in channels)
    assert not any("internal error" in event["message"] for event in events)
    await tested.stop()


@on_virtual_time
async def test_the_recording_keeps_the_bounds_that_matter() -> None:
    """A recording of datagrams replays to the same frames: one of the wrong size shifts nothing there either."""
    storage, network, log = SimStorage(random.Random(1)), SimNetwork(), await journal()
    recording = Recording(storage, SimClock(), "m/recording/u", {"unit_octets": FRAME_OCTETS}, 7)
    tested = link(log, UdpSource(network, "127.0.0.1", PORT), [], recording=recording)
    tested.start()
    await until(lambda: PORT in network.bound)
    sent = frames(9)
    network.send(PORT, sent[0], b"", sent[1] + sent[2], sent[3] + b"odd", b"odder", sent[4])
    await until(lambda: counter(tested, "frames") == 5)
    network.send(PORT, b"oddest", *sent[5:])
    await until(lambda: counter(tested, "frames") == 9)
    await tested.stop()
    units = WholeUnits(storage, "m/recording/u", FRAME_OCTETS)
    assert b"".join(units) == b"".join(sent)
    assert units.left_out_octets == len(b"oddodderoddest")


# ---- real sockets ----


def _networks() -> list[Any]:
    return [pytest.param(SimNetwork, id="simulated"), pytest.param(TcpNetwork, id="sockets")]


@pytest.mark.parametrize("make", _networks())
async def test_the_simulated_datagrams_keep_the_contract_of_sockets(make: Callable[[], Network]) -> None:
    """What the simulation proves holds on sockets: bounds, order, empty ones, peers; a port is bound once."""
    network = make()
    bound = await network.receive_datagrams("127.0.0.1", 0, 1 << 16)
    waiting = asyncio.create_task(bound.receive())
    await asyncio.sleep(0)
    sent = [b"one", b"", b"x" * 1000]

    def send(*datagrams: bytes) -> None:
        if isinstance(network, SimNetwork):
            network.send(bound.port, *datagrams, peer=("127.0.0.1", 40000))
            return
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("127.0.0.1", 0))
            for one in datagrams:
                sender.sendto(one, ("127.0.0.1", bound.port))

    send(*sent)
    received = await asyncio.wait_for(waiting, 60)
    assert (received.octets, received.lengths, received.lost_at) == (b"".join(sent), [3, 0, 1000], -1)
    assert {host for host, *_ in received.peers} == {"127.0.0.1"}
    assert bound.dropped() == 0
    with pytest.raises(OSError, match="Address already in use"):
        await network.receive_datagrams("127.0.0.1", bound.port, 1 << 16)
    cancelled = asyncio.create_task(bound.receive())
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    send(b"before the end")
    await asyncio.sleep(0.05)
    assert bound.waiting().octets == b"before the end"
    send(b"behind it")
    await asyncio.sleep(0.05)
    assert bound.waiting().lengths == []
    assert bound.dropped() == 0
    await bound.close()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_the_kernel_counts_each_drop_once(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Datagrams received and dropped are together those sent, at any time; the first after a loss is known."""

    async def run() -> None:
        bound = await TcpNetwork().receive_datagrams("127.0.0.1", 0, 1 << 17)
        assert isinstance(bound, UdpSocket)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            total, received, previous = 0, 0, -1
            for burst in (2000, 10, 3000):
                for k in range(burst):
                    sender.sendto((total + k).to_bytes(4, "big") + bytes(996), ("127.0.0.1", bound.port))
                total += burst
                numbers = list[int]()
                while received + len(numbers) + (bound.dropped() or 0) < total:
                    found = await asyncio.wait_for(bound.receive(), 60)
                    new = [int.from_bytes(found.octets[at : at + 4], "big") for at in range(0, len(found.octets), 1000)]
                    if found.lost_at >= 0:
                        before = [previous, *numbers, *new][1 + len(numbers) + found.lost_at - 1]
                        assert new[found.lost_at] > before + 1, "something is missing right before it"
                    numbers += new
                received += len(numbers)
                previous = numbers[-1]
                assert numbers == sorted(numbers)
            assert received + (bound.dropped() or 0) == total
            assert (bound.dropped() or 0) > 1000
        await bound.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


async def test_the_largest_datagram_and_ipv6() -> None:
    """A datagram of 65,507 octets behind others is whole; a socket on ::1 shows its peer in brackets."""
    bound = await TcpNetwork().receive_datagrams("127.0.0.1", 0, 4 << 20)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for k in range(12):
            sender.sendto(bytes([k]) * 65507, ("127.0.0.1", bound.port))
    lengths: list[int] = []
    async with asyncio.timeout(60):
        while len(lengths) < 12:
            received = await bound.receive()
            lengths += received.lengths
            assert len(received.octets) == 65507 * len(received.lengths)
    assert lengths == [65507] * 12
    await bound.close()
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    source = UdpSource(TcpNetwork(), "::1", 0, ("::1",), 1 << 16)
    assert await source.open(0) == f"[::1]:{source.port}"
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"six", ("::1", source.port))
    assert (await asyncio.wait_for(source.read(), 60)).octets == b"six"
    assert source.remarks().peers[0].startswith("[::1]:")
    await source.shut()
