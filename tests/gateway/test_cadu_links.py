"""Links of CADUs on a simulated network: what happens to their alignment is told, and never floods."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.journal import Recording
from gateway.journal.recording import WholeUnits
from gateway.links import Link, LinkContext, LinkSettings, TcpClientSource, UdpSource
from gateway.links.sync_news import TOLD_ONE_BY_ONE, WINDOW_S, SyncNews
from gateway.wiring import about_recording, intake_maker
from gateway.world import Stream
from gateway_codecs.batches import Transition, Unit
from gateway_config import LinkConfig, Spacecraft, load
from gateway_config.loader import EXAMPLES
from gateway_routes.selection import Selection
from gateway_simulators.coder import CODE, MARKER, Coder
from gateway_simulators.spacecraft import Spacecraft as Simulated
from tests.gateway.simulated import SimClock, SimNetwork, SimStorage, inline, on_virtual_time
from tests.gateway.test_tcp_links import PORT, Contacts, journal, until

CADU_OCTETS = len(MARKER) + CODE.codeblock_octets


def craft() -> Spacecraft:
    return load(Path(str(EXAMPLES / "demo"))).missions["demo"].spacecraft[0]


def config(**more: Any) -> LinkConfig:
    wanted = {"name": "c", "mission": "demo", "spacecraft": "picard", "type": "tcp_client", "port": 1, "unit": "cadus"}
    return LinkConfig.model_validate({**wanted, **more})


def cadus(count: int) -> bytes:
    simulated, coder = Simulated(3), Coder(3, 0)
    return b"".join(coder.cadu(simulated.next_frame().octets) for _ in range(count))


def transitions(*whats: Any) -> list[Transition]:
    return [Transition(what, 1000 * k, 1) for k, what in enumerate(whats)]


def test_few_are_told_one_by_one() -> None:
    """Lock, loss, slip and inversion are events with place and size; what is bad news is a warning."""
    news = SyncNews("c")
    events = news.take(
        [Transition("lock", 180, 180), Transition("slip", 9000, -2), Transition("inversion", 20_000),
         Transition("loss", 30_000, 8000)], 0.0,
    )  # fmt: skip
    assert [event["severity"] for event in events] == ["info", "warning", "warning", "warning"]
    assert [event["message"] for event in events] == [
        "c: in lock at bit 180 after 180 bits outside CADUs",
        "c: slip of 2 bits early at bit 9000",
        "c: the polarity is inverted from bit 20000 on",
        "c: lock lost at bit 30000, 8000 bits after the last good marker",
    ]
    assert news.take([], 1.0) == []


def test_many_are_summed_up() -> None:
    """A noisy link tells a few events in a window, then how many more there were; none is left out of the sum."""
    news = SyncNews("c")
    rng, told, summed, sent = random.Random(1), 0, 0, 0
    for second in range(100):
        batch = transitions(*(rng.choice(["lock", "loss", "slip"]) for _ in range(50)))
        sent += len(batch)
        for event in [*news.take(batch, float(second)), *news.take([], second + 0.5)]:
            told += event["transition"] != "several"
            summed += sum(event.get(name, 0) for name in ("locks", "losses", "slips"))
    last = news.take([], 100.0, last=True)
    summed += sum(event.get(name, 0) for event in last for name in ("locks", "losses", "slips"))
    assert told + summed == sent
    assert told <= TOLD_ONE_BY_ONE * (100 / WINDOW_S + 1)


@on_virtual_time
async def test_a_slip_and_a_cut() -> None:
    """A TCP link of CADUs: lock and slip are events, the state is shown, a cut ends in search; octets are recorded."""
    data = cadus(40)
    bits = np.insert(np.unpackbits(np.frombuffer(data, np.uint8)), 20 * 8 * CADU_OCTETS + 300, 1)
    sent = np.packbits(bits).tobytes()

    async def peer(stream: Stream) -> None:
        await stream.write(sent)

    network, events, log = SimNetwork(random.Random(3)), list[Any](), await journal()
    await network.listen("127.0.0.1", PORT, peer)
    storage, clock, wanted = SimStorage(random.Random(2)), SimClock(), config()
    about = about_recording("demo.simulation", wanted, craft())
    assert (about["unit"], about["unit_octets"]) == ("cadus", 1)
    recording = Recording(storage, clock, "m/recording/c", about, 7)
    settings = LinkSettings("c", "tcp_client", "picard", watchdog_s=10.0)
    context = LinkContext(log, clock, Contacts(), events.append, inline, inline, recording)
    maker = intake_maker(wanted, craft(), 1, 1)
    tested = Link(settings, TcpClientSource(network, "127.0.0.1", PORT), maker, context)
    tested.start()
    await until(lambda: tested.snapshot()["counters"]["octets"] == len(sent))
    assert tested.snapshot()["sync"] == "lock"
    await tested.stop()
    assert tested.snapshot()["sync"] == "search"
    counters = tested.snapshot()["counters"]
    assert (counters["frames"], counters["locks"], counters["slips"]) == (40, 1, 1)
    assert counters["rejected_reed_solomon"] == 1, "the CADU with the slip"
    told = [event for event in events if event["type"] == "sync"]
    assert [event["transition"] for event in told] == ["lock", "slip"]
    assert told[1]["bits"] == 1
    assert b"".join(WholeUnits(storage, "m/recording/c", 1)) == sent
    found = (await log.read(0, Selection(kinds=None, bad_quality=True, idle=True), 100_000, 1 << 26)).batch
    good = (found.items["unit"] == Unit.PACKET).sum()
    clean = maker()
    whole = [clean.feed(data, 1), clean.finish(1)]
    assert 0 < sum(int((batch.items.items["unit"] == Unit.PACKET).sum()) for batch in whole) - good < 30
    json.dumps(tested.snapshot())


@on_virtual_time
async def test_a_link_that_never_locks_says_what_it_gets() -> None:
    """Frames without markers on a link of CADUs: kept as octets, and the hint says what they are."""
    simulated = Simulated(3)
    data = b"".join(simulated.next_frame().octets for _ in range(400))

    async def peer(stream: Stream) -> None:
        for at in range(0, len(data), 10_000):
            await stream.write(data[at : at + 10_000])

    network, events, log = SimNetwork(random.Random(3)), list[Any](), await journal()
    await network.listen("127.0.0.1", PORT, peer)
    settings = LinkSettings("c", "tcp_client", "picard")
    context = LinkContext(log, SimClock(), Contacts(), events.append, inline, inline)
    maker = intake_maker(config(), craft(), 1, 1)
    tested = Link(settings, TcpClientSource(network, "127.0.0.1", PORT), maker, context)
    tested.start()
    await until(lambda: bool(tested.snapshot()["hint"]) and tested.snapshot()["counters"]["octets"] == len(data))
    hint = tested.snapshot()["hint"]
    await tested.stop()
    assert hint == "frames of 1115 octets follow each other without markers, the link says unit: cadus"
    found = (await log.read(0, Selection(kinds=None, bad_quality=True, idle=True), 100_000, 1 << 26)).batch
    octets = [found.octets_of(int(k)) for k in (found.items["unit"] == Unit.OCTETS).nonzero()[0]]
    assert b"".join(octets) == data


@on_virtual_time
async def test_cadus_in_datagrams() -> None:
    """One datagram holds whole CADUs; there is no state of a synchroniser to show."""
    network, events, log = SimNetwork(), list[Any](), await journal()
    wanted = config(type="udp", port=PORT)
    settings = LinkSettings("c", "udp", "picard")
    context = LinkContext(log, SimClock(), Contacts(), events.append, inline, inline)
    source = UdpSource(network, "127.0.0.1", PORT)
    tested = Link(settings, source, intake_maker(wanted, craft(), 1, 1), context)
    tested.start()
    await until(lambda: PORT in network.bound)
    data = cadus(30)
    network.send(PORT, data[:CADU_OCTETS], data[CADU_OCTETS : 10 * CADU_OCTETS], b"odd", data[10 * CADU_OCTETS :])
    await until(lambda: tested.snapshot()["counters"]["frames"] == 30)
    await asyncio.sleep(0)
    snapshot = tested.snapshot()
    await tested.stop()
    assert (snapshot["sync"], snapshot["bad_frames"], snapshot["counters"]["rejected_length"]) == (None, 0, 1)
    assert about_recording("demo.simulation", wanted, craft())["unit_octets"] == CADU_OCTETS


@pytest.mark.parametrize("marker", ["none", "1ACFFC1D"])
def test_what_a_recording_of_code_blocks_is(marker: str) -> None:
    """Code blocks without markers are whole units in a recording: nothing else tells where they begin."""
    coded = craft()
    assert coded.coding is not None
    coded = coded.model_copy(update={"coding": coded.coding.model_copy(update={"marker": marker})})
    octets = about_recording("demo.simulation", config(), coded)["unit_octets"]
    assert octets == (1275 if marker == "none" else 1)
