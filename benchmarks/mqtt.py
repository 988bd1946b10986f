"""Packets to many MQTT subscribers through a broker, beside the same messages published straight to mosquitto."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from gateway_codecs.space_packet import SpacePacket, encode
from gateway_config.loader import EXAMPLES

PACKET_OCTETS = 200
APIDS = range(100, 104)
PACKETS = 60_000
SUBSCRIBERS = (1, 10, 100)
QUIET_S = 1.5
CHUNK = 100 * PACKET_OCTETS
TOPICS = "gw/v1/demo.simulation/+/tm/#"
HEADER = struct.Struct(">3sBHHIII")
FLOOR_TO_TEN = 20_000


def mosquitto() -> str | None:
    """Return mosquitto, or None where it is not installed."""
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def packets(count: int = PACKETS) -> bytes:
    """Return packets of 200 octets, four APIDs in turn, back to back."""
    body = bytes(PACKET_OCTETS - 6)
    return b"".join(encode(SpacePacket(APIDS[k % len(APIDS)], k // len(APIDS) % 16384, body)) for k in range(count))


@dataclass
class Listener(asyncio.Protocol):
    """A subscriber that counts: a socket and as little Python as can be."""

    topic: str
    keep: list[bytes] | None = None
    items: int = 0
    messages: int = 0
    last_s: float = 0.0
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    _rest: bytes = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        name = os.urandom(8).hex().encode()
        body = b"\x00\x04MQTT\x04\x02\x00\x00" + len(name).to_bytes(2, "big") + name
        wish = b"\x00\x01" + len(self.topic).to_bytes(2, "big") + self.topic.encode() + b"\x00"
        transport.write(b"\x10" + bytes([len(body)]) + body + b"\x82" + bytes([len(wish)]) + wish)

    def data_received(self, data: bytes) -> None:
        data, at = self._rest + data, 0
        while (end := packet_end(data, at)) is not None:
            start, stop = end
            if data[at] & 0xF0 == 0x30:
                self._published(data, start)
                if self.keep is not None:
                    self.keep.append(data[at:stop])
            elif data[at] == 0x90:
                self.ready.set()
            at = stop
        self._rest = data[at:]

    def _published(self, data: bytes, start: int) -> None:
        topic_octets = int.from_bytes(data[start : start + 2], "big")
        magic, _, _, _, _, count, _ = HEADER.unpack_from(data, start + 2 + topic_octets)
        assert magic == b"UGM"
        self.items += count
        self.messages += 1
        self.last_s = time.perf_counter()


def packet_end(data: bytes, at: int) -> tuple[int, int] | None:
    """Return where the body of an MQTT packet begins and ends; None while it is not whole."""
    size = shift = 0
    for k in range(at + 1, min(at + 5, len(data))):
        size |= (data[k] & 0x7F) << shift
        shift += 7
        if not data[k] & 0x80:
            return (k + 1, k + 1 + size) if k + 1 + size <= len(data) else None
    return None


@asynccontextmanager
async def listening(
    port: int, count: int, topic: str, keep: list[bytes] | None = None
) -> AsyncIterator[list[Listener]]:
    """Connect subscribers; the first keeps what it hears."""
    loop = asyncio.get_running_loop()
    made = [Listener(topic, keep if k == 0 else None) for k in range(count)]
    transports = [(await loop.create_connection(lambda one=one: one, "127.0.0.1", port))[0] for one in made]  # type: ignore[misc]
    for one in made:
        await asyncio.wait_for(one.ready.wait(), 10)
    yield made
    for transport in transports:
        transport.close()


async def quiet(listeners: list[Listener], wanted: int, began: float) -> None:
    """Wait until everybody has all, or nothing more comes."""
    while any(one.items < wanted for one in listeners):
        await asyncio.sleep(0.05)
        if time.perf_counter() - max([began + 5, *(one.last_s for one in listeners)]) > QUIET_S:
            return


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@asynccontextmanager
async def broker(folder: Path, settings: str = "") -> AsyncIterator[int]:
    """Run mosquitto; yields its port. `settings` are more lines of its configuration."""
    port = free_port()
    path = folder / "mosquitto.conf"
    path.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n{settings}")
    process = subprocess.Popen(
        [str(mosquitto()), "-c", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    await asyncio.sleep(0.5)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def gateway(folder: Path, kind: str, port: int) -> AsyncIterator[tuple[str, asyncio.StreamWriter]]:
    """Run a gateway on a broker, with a station that we play; yields its address and the station's end of the link."""
    coming: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda _, writer: coming.set_result(writer), "127.0.0.1", 0)
    config = folder / f"config-{kind}-{port}"
    shutil.copytree(str(EXAMPLES / "demo"), config)
    station = server.sockets[0].getsockname()[1]
    (config / "links/station.yaml").write_text(
        "name: station\nmission: demo\nspacecraft: picard\ntype: tcp_client\nunit: packets\n"
        f"port: {station}\nwatchdog_s: 60\n"
    )
    with (config / "gateway.yaml").open("a") as file:
        file.write(f"\nmqtt: {{enabled: true, broker: {kind}, port: {port}}}\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "run", "--config", str(config), "--port", "0", "--access", "open"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        line = await asyncio.to_thread(process.stdout.readline)  # type: ignore[union-attr]
        api = re.findall(r"http://\S+", line)[0]
        writer = await asyncio.wait_for(coming, 30)
        while state(api)["state"] != "connected":
            await asyncio.sleep(0.1)
        yield api, writer
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)
        server.close()


def state(api: str) -> dict[str, Any]:
    """What the gateway says of MQTT."""
    return dict(httpx.get(f"{api}/api/v1/status", trust_env=False).json()["mqtt"])


@dataclass(frozen=True, slots=True)
class Found:
    """One measurement: how many heard, how much of what was sent each heard, and how fast."""

    subscribers: int
    deliveries_per_s: float
    heard_share: float

    @property
    def packets_per_s(self) -> float:
        """What each subscriber got."""
        return self.deliveries_per_s / self.subscribers


def found(listeners: list[Listener], wanted: int, began: float) -> Found:
    """Sum up."""
    took = max(one.last_s for one in listeners) - began
    items = sum(one.items for one in listeners)
    return Found(len(listeners), items / took, items / wanted / len(listeners))


async def through_the_gateway(folder: Path, kind: str, data: bytes, kept: list[bytes]) -> list[Found]:
    """Push packets in as fast as the link takes them, and last at the floor's pace to ten; the timely topics carry what
    they can. Keeps the messages of the fastest run to most subscribers."""
    rows = []
    count = len(data) // PACKET_OCTETS
    async with broker(folder) as mosquitto_port:
        port = mosquitto_port if kind == "external" else free_port()
        async with gateway(folder, kind, port) as (_, writer):
            for subscribers in SUBSCRIBERS:
                kept.clear()
                async with listening(port, subscribers, TOPICS, kept) as listeners:
                    began = time.perf_counter()
                    await push(writer, data, None)
                    await quiet(listeners, count, began)
                    rows.append(found(listeners, count, began))
            async with listening(port, 10, TOPICS) as listeners:
                began = time.perf_counter()
                await push(writer, data, FLOOR_TO_TEN)
                await quiet(listeners, count, began)
                rows.append(found(listeners, count, began))
    return rows


async def push(writer: asyncio.StreamWriter, data: bytes, packets_per_s: int | None) -> None:
    """Send packets over the link, at a pace or as fast as it takes them."""
    began = time.perf_counter()
    for at in range(0, len(data), CHUNK):
        if packets_per_s is not None:
            await asyncio.sleep(began + at / PACKET_OCTETS / packets_per_s - time.perf_counter())
        writer.write(data[at : at + CHUNK])
        await writer.drain()


async def straight(folder: Path, messages: list[bytes]) -> list[Found]:
    """Publish the same messages straight to mosquitto, as fast as it reads."""
    rows = []
    probe = Listener("")
    for message in messages:
        begin_end = packet_end(message, 0)
        assert begin_end is not None
        probe._published(message, begin_end[0])
    async with broker(folder) as port:
        for subscribers in SUBSCRIBERS:
            async with listening(port, subscribers, "gw/v1/#") as listeners:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04sent")
                await asyncio.sleep(0.1)
                began = time.perf_counter()
                for message in messages:
                    writer.write(message)
                    await writer.drain()
                await quiet(listeners, probe.items, began)
                rows.append(found(listeners, probe.items, began))
                writer.close()
    return rows


def measure(folder: Path) -> list[tuple[str, Found, Found | None]]:
    """Return by broker: through the gateway, and mosquitto's own fan-out of the messages that the gateway made.

    The last of each broker was pushed in at the pace of the floor; nothing stands beside it.
    """
    data = packets()
    kept: list[bytes] = []
    own: list[Found] = []
    rows: list[tuple[str, Found, Found | None]] = []
    for kind, name in (("external", "mosquitto"), ("nats", "nats-server")):
        ours = asyncio.run(through_the_gateway(folder, kind, data, kept))
        own = own or asyncio.run(straight(folder, list(kept)))
        rows += [(name, one, other) for one, other in zip(ours, [*own, None], strict=True)]
    return rows
