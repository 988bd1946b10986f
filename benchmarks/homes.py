"""Delivery to home bases: fan-out over WebSocket and MQTT, the floor, a restart, and a return to a backlog.

`python -m benchmarks.homes --help` says what can be chosen. The gateway, the broker and the home bases are processes of
their own, and we play the station. Each packet bears the time at which we wrote it; a latency is that of the oldest
packet of each block, so a percentile is a bound. Everybody shares the machine's cores: read the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import uvloop

from benchmarks import mqtt
from benchmarks.end_to_end import INSTANCE, Bench, receive
from benchmarks.home_listeners import STAMP, STAMP_AT, Heard, Spec, mqtt_packet, mqtt_text
from benchmarks.home_returns import Returned
from benchmarks.restart import _inline, _UnforcedStorage
from gateway.journal import Journal, JournalSettings
from gateway.real import SystemClock
from gateway_codecs.batches import IntakeBatch, ItemBatch, Kind, Unit, no_items
from gateway_codecs.space_packet import SpacePacket, encode

PARTS = ("fanout", "floor", "restart", "backlog")
PACKET_OCTETS = mqtt.PACKET_OCTETS
APIDS = 4
PACED_S = 5
BLOCK_PACKETS = 4000
FLOOR_HOMES, FLOOR_PACKETS_PER_S = 100, 1000
FLOOR_BACKFILL_PER_S, FLOOR_LIVE_P99_S, FLOOR_RESTART_S = 50_000, 0.05, 5.0
TOPIC = "bench/one"
UNBOUNDED = "max_queued_messages 0\nmax_queued_bytes 0\n"
"""By default mosquitto drops what a subscriber has not read; here it is to deliver all, as we do."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    homes: tuple[int, ...] = (1, 10, 100)
    packets: int = 30_000
    floor_s: int = 60
    journal_gb: float = 10.0
    backlog_packets: int = 10_000_000


def home_names(count: int) -> list[str]:
    """Return the names of so many home bases."""
    return [f"home-{number:03}" for number in range(count)]


class Station:
    """Writes packets of 200 octets, four APIDs in turn, each with the time at which it was written."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer, self._sent = writer, 0

    async def send(self, count: int, packets_per_s: int | None = None) -> None:
        """Send so many packets, at a pace or as fast as the gateway reads."""
        began, sent = time.perf_counter(), 0
        while sent < count:
            due = count if packets_per_s is None else int((time.perf_counter() - began) * packets_per_s) + 1
            for _ in range(min(due, count, sent + 100) - sent):
                self._writer.write(self._packet())
                sent += 1
            await self._writer.drain()
            if packets_per_s is not None and sent >= due:
                await asyncio.sleep(max(0.0, began + sent / packets_per_s - time.perf_counter()))

    def _packet(self) -> bytes:
        number, self._sent = self._sent, self._sent + 1
        body = STAMP.pack(time.monotonic_ns()) + bytes(PACKET_OCTETS - STAMP_AT - STAMP.size)
        return encode(SpacePacket(100 + number % APIDS, number // APIDS % 16384, body))


def _configure(homes: int, broker_port: int | None, data_dir: Path | None, config: Path, port: int) -> None:
    """A link that takes packets, and so many home bases that get all of them."""
    (config / "links/station.yaml").write_text(
        "name: station\nmission: demo\nspacecraft: picard\ntype: tcp_client\nunit: packets\n"
        f"port: {port}\nwatchdog_s: 60\n"
    )
    for name in home_names(homes):
        (config / f"homes/{name}.yaml").write_text(
            f"name: {name}\ngrants:\n  - {{mission: demo, support_modes: [simulation], kinds: [tm, event]}}\n"
        )
    gateway = config / "gateway.yaml"
    if data_dir is not None:
        gateway.write_text(re.sub(r"data_dir: .*", f"data_dir: {data_dir}", gateway.read_text()))
    if broker_port is not None:
        with gateway.open("a") as file:
            file.write(f"\nmqtt: {{enabled: true, broker: external, port: {broker_port}}}\n")


def gateway(folder: Path, homes: int, broker_port: int | None = None, data_dir: Path | None = None) -> Bench:
    """Return a gateway with so many home bases; `data_dir` is kept, and may hold a journal."""
    place = Path(tempfile.mkdtemp(dir=folder, prefix="gateway-"))
    return Bench(place, prepare=partial(_configure, homes, broker_port, data_dir))


class Listeners:
    """The process of home bases that listen."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> str:
        """Return what it says. Raises EOFError when it has died."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise EOFError("the home bases' process ended")
        return line.decode()

    def count(self, packets: int) -> None:
        """From now on, count until everybody has so many."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"%d\n" % packets)

    async def heard(self) -> Heard:
        """Return what they heard. Raises RuntimeError when a session broke, or something did not come."""
        heard = Heard(**json.loads(await self.line()))
        if heard.broken:
            raise RuntimeError(heard.broken)
        return heard


@asynccontextmanager
async def listening(spec: Spec) -> AsyncIterator[Listeners]:
    """Run home bases; they are all served when this goes on."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.home_listeners", json.dumps(asdict(spec)),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 28,
    )  # fmt: skip
    try:
        listeners = Listeners(process)
        assert await listeners.line() == "ready\n"
        yield listeners
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def percentile(latencies: Sequence[tuple[int, int]], share: float) -> float:
    """Return the seconds that this share of the items did not exceed; `latencies` are (ns, items)."""
    table = np.array(sorted(latencies), np.int64).reshape(-1, 2)
    if not len(table):
        return float("nan")
    counts = np.cumsum(table[:, 1])
    return float(table[np.searchsorted(counts, share * counts[-1]), 0]) / 1e9


@dataclass(frozen=True, slots=True)
class FanOut:
    """One measurement: as many as it could, and at the floor's pace. CPU seconds are the gateway's; those of a
    delivery hold on a busy machine too. `own_per_s`: mosquitto's own deliveries/s of the same messages."""

    homes: int
    deliveries_per_s: float
    block_items: float
    delivery_cpu_s: float
    p50_s: float
    p99_s: float
    cpu_share: float
    own_per_s: float | None = None


async def fan_out(bench: Bench, spec: Spec, packets: int) -> FanOut:
    """Push packets in as fast as they are taken, then at the floor's pace."""
    station = Station(bench.writer)
    async with listening(spec) as listeners:
        listeners.count(packets)
        began, cpu_s = time.monotonic(), bench.cpu_s()
        await station.send(packets)
        burst = await listeners.heard()
        cpu_s = bench.cpu_s() - cpu_s
        if spec.keep:
            Path(spec.keep).rename(f"{spec.keep}.burst")
        paced, cpu = await paced_run(bench, station, listeners, PACED_S)
    deliveries = packets * len(spec.homes)
    return FanOut(
        len(spec.homes), deliveries / (burst.last_s - began), sum(burst.items) / burst.blocks, cpu_s / deliveries,
        percentile(paced.latencies, 0.5), percentile(paced.latencies, 0.99), cpu,
    )  # fmt: skip


async def paced_run(bench: Bench, station: Station, listeners: Listeners, for_s: int) -> tuple[Heard, float]:
    """Send at the floor's pace for so long; returns what was heard, and the cores that the gateway used."""
    count = FLOOR_PACKETS_PER_S * for_s
    listeners.count(count)
    began, cpu_s = time.monotonic(), bench.cpu_s()
    await station.send(count, FLOOR_PACKETS_PER_S)
    heard = await listeners.heard()
    return heard, (bench.cpu_s() - cpu_s) / (time.monotonic() - began)


async def over_websocket(folder: Path, sizes: Sizes) -> list[FanOut]:
    """Measure each number of home bases."""
    rows = []
    for count in sizes.homes:
        async with gateway(folder, count) as bench:
            port = int(bench.api.rsplit(":", 1)[1])
            rows.append(await fan_out(bench, Spec("websocket", port, INSTANCE, home_names(count)), sizes.packets))
    return rows


async def over_mqtt(folder: Path, sizes: Sizes) -> list[FanOut]:
    """Measure each number of home bases, and mosquitto alone with the messages that the first of them heard."""
    rows = []
    for count in sizes.homes:
        kept = folder / "kept"
        async with mqtt.broker(folder, UNBOUNDED) as port:
            async with gateway(folder, count, port) as bench:
                while mqtt.state(bench.api)["state"] != "connected":
                    await asyncio.sleep(0.1)
                spec = Spec("mqtt", port, INSTANCE, home_names(count), keep=str(kept))
                row = await fan_out(bench, spec, sizes.packets)
            messages = _messages(Path(f"{kept}.burst").read_bytes())
            own = await straight(
                Spec("broker", port, INSTANCE, home_names(count), TOPIC), messages, sizes.packets
            )  # fmt: skip
            rows.append(FanOut(**{**asdict(row), "own_per_s": own}))
    return rows


def _messages(kept: bytes) -> list[bytes]:
    """Return the blocks that a listener kept, as MQTT messages to one topic."""
    messages, at = [], 0
    while at < len(kept):
        size = int.from_bytes(kept[at : at + 4], "big")
        messages.append(mqtt_packet(0x30, mqtt_text(TOPIC.encode()) + kept[at + 4 : at + 4 + size]))
        at += 4 + size
    return messages


async def straight(spec: Spec, messages: list[bytes], items: int) -> float:
    """Publish messages with so many items to mosquitto as fast as it reads; returns its deliveries/s of items."""
    async with listening(spec) as listeners:
        _, writer = await asyncio.open_connection("127.0.0.1", spec.port)
        writer.write(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04sent")
        await asyncio.sleep(0.1)
        listeners.count(items)
        began = time.monotonic()
        for message in messages:
            writer.write(message)
            await writer.drain()
        heard = await listeners.heard()
        writer.close()
    return items * len(spec.homes) / (heard.last_s - began)


async def floor(folder: Path, sizes: Sizes) -> tuple[float, FanOut, int]:
    """100 home bases, 1,000 packets/s: returns the rate that each got, the measurement, and the gateway's memory."""
    async with gateway(folder, FLOOR_HOMES) as bench:
        port = int(bench.api.rsplit(":", 1)[1])
        async with listening(Spec("websocket", port, INSTANCE, home_names(FLOOR_HOMES))) as listeners:
            began = time.monotonic()
            heard, cpu = await paced_run(bench, Station(bench.writer), listeners, sizes.floor_s)
            rate, blocks = sum(heard.items) / (heard.last_s - began), heard.blocks
            row = FanOut(FLOOR_HOMES, rate, sum(heard.items) / blocks, cpu / rate, percentile(heard.latencies, 0.5),
                         percentile(heard.latencies, 0.99), cpu)  # fmt: skip
            return rate / FLOOR_HOMES, row, bench.memory_octets()


# ---- journals that are there already ----


async def build(data_dir: Path, packets: float = math.inf, octets: float = math.inf) -> int:
    """Write a journal until it has so many packets or octets, and end as kill -9 would; returns its octets."""
    settings = JournalSettings(memory_octets=1 << 20)
    storage, clock = _UnforcedStorage(data_dir), SystemClock()
    journal = await Journal.open(storage, clock, _inline, _inline, settings, INSTANCE)
    items = no_items(BLOCK_PACKETS)
    items["kind"], items["unit"] = Kind.TM, Unit.PACKET
    items["spacecraft"], items["link"] = journal.name_id("spacecraft", "picard"), journal.name_id("links", "station")
    items["apid"], items["length"] = 100 + np.arange(BLOCK_PACKETS) % APIDS, PACKET_OCTETS
    items["offset"], items["receive_time_ns"] = np.arange(BLOCK_PACKETS) * PACKET_OCTETS, clock.tai_ns()
    random = np.random.default_rng(1).integers(0, 256, BLOCK_PACKETS * PACKET_OCTETS, np.uint8)
    while journal.head < packets and journal.octets < octets:
        items["sequence_count"] = (journal.head + np.arange(BLOCK_PACKETS)) // APIDS % 16384
        await journal.append(IntakeBatch(ItemBatch(random, items.copy())), "station")
    force(data_dir)
    return journal.octets


def force(folder: Path, forget: bool = False) -> None:
    """Force segments to the disk, as a gateway has; those to `forget` are taken out of the page cache: what is read
    then is read from the disk."""
    for path in folder.rglob("*.seg"):
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
            if forget:
                os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(number)


async def restart(folder: Path, sizes: Sizes) -> tuple[float, list[tuple[str, float, float]]]:
    """Return the journal's gigaoctets, and rows (what, seconds until the API was there, until a home base had its first
    block of the oldest packets), each after kill -9."""
    data_dir = folder / "restart"
    octets = await build(data_dir, octets=sizes.journal_gb * 1e9)
    rows = []
    for what in ("pages in the cache", "page cache emptied"):
        if what.endswith("emptied"):
            force(data_dir, forget=True)
        began = time.monotonic()
        async with gateway(folder, 1, data_dir=data_dir) as bench:
            up_s = bench.api_s - began
            await receive(bench.api, 1, {"kinds": ["tm"]}, lambda *_: None)
            rows.append((what, up_s, time.monotonic() - began))
            bench.process.kill()
    shutil.rmtree(data_dir)
    return octets / 1e9, rows


@dataclass(frozen=True, slots=True)
class Backlog:
    """A return to a backlog, seen from both sides."""

    packets: int
    rate_per_s: float
    p50_s: float
    p99_s: float
    live: int
    gateway_octets: int
    gateway_idle_octets: int
    home_octets: int


async def backlog(folder: Path, sizes: Sizes) -> Backlog:
    """A home base fetches everything, while packets come in at the floor's pace."""
    data_dir = folder / "backlog"
    await build(data_dir, sizes.backlog_packets)
    async with gateway(folder, 1, data_dir=data_dir) as bench:
        idle = bench.memory_octets()
        live = asyncio.create_task(Station(bench.writer).send(1 << 40, FLOOR_PACKETS_PER_S), name="live")
        home = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.home_returns", bench.api, INSTANCE, home_names(1)[0],
            str(folder / "store"), stdout=asyncio.subprocess.PIPE, limit=1 << 28,
        )  # fmt: skip
        ending, most = asyncio.create_task(home.communicate()), idle
        while not ending.done():
            await asyncio.wait([ending], timeout=0.2)
            most = max(most, bench.memory_octets())
        live.cancel()
        found = Returned(**json.loads((await ending)[0]))
        await asyncio.gather(live, return_exceptions=True)
    shutil.rmtree(data_dir)
    shutil.rmtree(folder / "store")
    return Backlog(
        found.backfilled, found.backfilled / (found.last_s - found.began_s), percentile(found.latencies, 0.5),
        percentile(found.latencies, 0.99), sum(count for _, count in found.latencies), most, idle, found.rss_octets,
    )  # fmt: skip


# ---- what is said of it ----


def measure(folder: Path, sizes: Sizes, parts: Sequence[str] = PARTS) -> Iterator[str]:
    """Yield the lines of the table, as they are measured."""
    said: dict[str, Callable[[Path, Sizes], Iterator[str]]] = {
        "fanout": _fanout_lines, "floor": _floor_lines, "restart": _restart_lines, "backlog": _backlog_lines,
    }  # fmt: skip
    for part in parts:
        yield from said[part](folder, sizes)


def _line(what: str, value: float, digits: int, note: str) -> str:
    return f"{what:<34} {value:>12,.{digits}f}  {note}"


def _fanout_lines(folder: Path, sizes: Sizes) -> Iterator[str]:
    ways = [("WebSocket", over_websocket), ("MQTT, mosquitto", over_mqtt)]
    if mqtt.mosquitto() is None:
        yield "home bases over MQTT: skipped, mosquitto is not installed (apt-get install mosquitto)"
        ways.pop()
    for way, measured in ways:
        for row in uvloop.run(measured(folder, sizes)):
            beside = "" if row.own_per_s is None else (
                f"mosquitto's own fan-out of the same messages {row.own_per_s:,.0f}: "
                f"{row.deliveries_per_s / row.own_per_s:.2f} x; "
            )  # fmt: skip
            yield _line(f"{way}, {row.homes} home bases", row.deliveries_per_s, 0,
                        f"deliveries/s of {PACKET_OCTETS} octets, complete; {row.block_items:.0f} in a block, "
                        f"{row.delivery_cpu_s * 1e6:.1f} us of CPU each; {beside}"
                        f"at {FLOOR_PACKETS_PER_S:,} packets/s p50 {row.p50_s * 1e3:.1f} ms, "
                        f"p99 {row.p99_s * 1e3:.1f} ms, {row.cpu_share:.2f} cores")  # fmt: skip


def _floor_lines(folder: Path, sizes: Sizes) -> Iterator[str]:
    rate, row, octets = uvloop.run(floor(folder, sizes))
    yield _line(f"{FLOOR_HOMES} home bases for {sizes.floor_s} s", rate, 0,
                f"packets/s to each, complete; floor {FLOOR_PACKETS_PER_S:,}, which is what was sent; p50 "
                f"{row.p50_s * 1e3:.1f} ms, p99 {row.p99_s * 1e3:.1f} ms; gateway {row.cpu_share:.2f} cores, "
                f"{octets / 1e6:.0f} MB; {row.block_items:.1f} in a block")  # fmt: skip


def _restart_lines(folder: Path, sizes: Sizes) -> Iterator[str]:
    if shutil.disk_usage(folder).free < 2e9 * sizes.journal_gb:
        yield f"restart: skipped, {folder} has no room for twice {sizes.journal_gb:g} GB (--journal-gb, TMPDIR)"
        return
    gigaoctets, rows = uvloop.run(restart(folder, sizes))
    for what, up_s, served_s in rows:
        yield _line(f"restart, {what}", served_s, 2, f"s to the first block at a home base, {up_s:.2f} s to the API, "
                    f"{gigaoctets:.1f} GB journal, after kill -9; floor {FLOOR_RESTART_S:.0f}")  # fmt: skip


def _backlog_lines(folder: Path, sizes: Sizes) -> Iterator[str]:
    found = uvloop.run(backlog(folder, sizes))
    yield _line(f"back to {found.packets:,} packets", found.rate_per_s, 0,
                f"packets/s of backfill, stored; floor {FLOOR_BACKFILL_PER_S:,}; beside it live at "
                f"{FLOOR_PACKETS_PER_S:,} packets/s ({found.live:,}): p50 {found.p50_s * 1e3:.1f} ms, "
                f"p99 {found.p99_s * 1e3:.1f} ms; floor p99 {FLOOR_LIVE_P99_S * 1e3:.0f} ms")  # fmt: skip
    yield _line("  memory of the gateway", found.gateway_octets / 1e6, 0,
                f"MB at most, {found.gateway_idle_octets / 1e6:.0f} before; home base "
                f"{found.home_octets / 1e6:.0f} MB at most")  # fmt: skip


def main() -> None:
    """Measure what is asked for."""
    plain = Sizes()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.homes", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--homes", type=int, nargs="+", default=plain.homes, help="fanout: home bases (1 10 100)")
    parser.add_argument("--packets", type=int, default=plain.packets, help="fanout: packets at once (%(default)s)")
    parser.add_argument("--floor-s", type=int, default=plain.floor_s, help="floor: for so long (%(default)s)")
    parser.add_argument("--journal-gb", type=float, default=plain.journal_gb, help="restart: journal (%(default)s)")
    parser.add_argument("--backlog-packets", type=int, default=plain.backlog_packets, help="backlog: (%(default)s)")
    given = vars(parser.parse_args())
    parts = given.pop("parts") or PARTS
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"there is no part {unknown[0]!r}: {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name:
        for line in measure(Path(name), Sizes(**{**given, "homes": tuple(given["homes"])}), parts):
            print(line, flush=True)


if __name__ == "__main__":
    main()
