"""What an operator and a scraper see, and what is kept, at awkward moments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.api.app import build_app
from gateway.event_pump import EventPump
from gateway.service import Gateway
from gateway_codecs.batches import IntakeBatch
from gateway_config import load
from tests.codecs.links import packet
from tests.gateway.test_journal import packets
from tests.home_files import opened

MISSION = "name: m\nspacecraft: [{name: PICARD}]\n"
LINK = "name: {name}\nmission: m\nspacecraft: PICARD\ntype: file\nunit: packets\npath: packets.bin\n"
INSTANCE = "/api/v1/instances/m.simulation"


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway with two links of packets, whose names differ in case only."""
    files = {
        "missions/m": MISSION,
        "links/1": LINK.format(name="Kiruna"),
        "links/2": LINK.format(name="kiruna") + "prime: false\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "packets.bin").write_bytes(b"".join(packet(5, k) for k in (0, 1, 4)) + b"\xff" * 10)
    service = Gateway(opened(load(tmp_path)))
    await service.start()
    async with asyncio.timeout(60):
        while any(link.status != "finished" for link in service.instance("m.simulation").links.values()):
            await asyncio.sleep(0.01)
    yield service
    await service.drain()
    await service.stop()


@pytest.fixture
async def api(running: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(build_app(running)), base_url="http://localhost"
    ) as found:
        yield found


async def test_metrics_name_links_as_they_are_named(api: httpx.AsyncClient) -> None:
    """Operation: a link has one name in all metrics, and no series is given twice."""
    text = (await api.get("/metrics")).text
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    keys = [(s.name, tuple(sorted(s.labels.items()))) for s in samples]
    assert {k for k in keys if keys.count(k) > 1} == set(), "no series twice"
    names = {s.labels["link"] for s in samples if s.name.startswith("gateway_stream") and "link" in s.labels}
    assert names == {"Kiruna", "kiruna"}


async def test_streams_of_packets_have_no_missing_frames(api: httpx.AsyncClient) -> None:
    """Operation: what is not counted has no figure: a link without frames misses none (decision: null)."""
    rows = (await api.get(f"{INSTANCE}/streams")).json()
    assert {row["missing_frames"] for row in rows} == {None}


async def test_a_reset_sets_the_statistics_to_zero_too(api: httpx.AsyncClient) -> None:
    """Operation: the API says that statistics are counted since the link was reset."""
    after = (await api.post(f"{INSTANCE}/links/Kiruna/reset")).json()
    assert after["rejected"] == 0
    assert sum(after["statistics"]["causes"].values()) == 0


async def test_waiting_for_events_waits_for_events(running: Gateway) -> None:
    """R13: `wait_s` is seconds to wait for the first event: packets that are committed meanwhile do not end it."""
    instance = running.instance("m.simulation")
    await instance._pump.flushed()
    head = instance.journal.head

    async def traffic() -> None:
        for _ in range(40):
            await asyncio.sleep(0.02)
            await instance.journal.append(IntakeBatch(packets([b"x"])))

    task = asyncio.create_task(traffic())
    position, asked, loop = head, 0, asyncio.get_running_loop()
    until = loop.time() + 0.7
    while loop.time() < until:
        answer = await instance.events(position, 100, 0.7)
        position, asked = answer["next_position"], asked + 1
        assert not answer["events"]
    await task
    assert asked <= 2, f"{asked} requests in 0.7 s, none of them brought an event"


class Failing:
    """A journal that refuses so often."""

    def __init__(self, failures: int) -> None:
        self.failures, self.events = failures, list[dict[str, Any]]()

    async def append_events(self, events: list[dict[str, Any]]) -> None:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("a bug")
        self.events += events


async def test_events_lost_twice_are_all_counted() -> None:
    """R6: the count of events that could not be journalled survives a second failure."""
    log = Failing(2)
    pump = EventPump(log)
    task = asyncio.create_task(pump.run())
    for _ in range(5):
        pump.emit({"type": "x"})
    await asyncio.sleep(0)
    await pump.flushed()
    pump.emit({"type": "x"})
    await pump.flushed()
    pump.emit({"type": "x"})
    await pump.flushed()
    task.cancel()
    assert [e["count"] for e in log.events if e["type"] == "events lost"] == [6]


async def test_a_disk_that_fills_up_just_before_holds_no_drain(
    running: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R7, R12: SIGTERM drains within 10 s, also when an event is the first thing that the full disk refuses."""
    storage = running._storage
    free = storage.free_octets
    monkeypatch.setattr(type(storage), "free_octets", lambda self: 0)
    running.instance("m.simulation").emit({"type": "x", "severity": "info", "message": "the last words"})
    try:
        async with asyncio.timeout(60):
            await running.drain()
    finally:
        monkeypatch.undo()
        assert free() > 0
        await asyncio.sleep(1.5)  # space returns: the fixture can end
