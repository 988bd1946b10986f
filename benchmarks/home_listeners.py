"""Home bases that only listen, many in one process of their own: they read the headers of blocks, and acknowledge.

`python -m benchmarks.home_listeners SPEC` with a JSON object (`Spec`). It says `ready` when every home base is served.
Then for each line `N` on its input it counts until everybody has heard N items more, and says what was found, as JSON.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import uvloop

from benchmarks.mqtt import packet_end
from gateway_codecs.delivery_block import DATA, HEADER_OCTETS, MAGIC, ROW_DTYPE

HEADER = struct.Struct(">4sBBHIqqII")
STAMP = struct.Struct(">q")
STAMP_AT = 6
"""Behind a packet's primary header: when it was written, in ns of the monotonic clock that all processes share."""
SIGN_OF_LIFE_S = 8.0
SILENT_S = 20.0
TEXT, PING, CLOSE, PONG = 1, 9, 8, 10


@dataclass(frozen=True)
class Spec:
    """Who listens where. `way` is websocket, mqtt, or broker: then all hear `topic`, and nobody acknowledges."""

    way: str
    port: int
    instance: str
    homes: list[str]
    topic: str = ""
    keep: str = ""  # a file for the blocks that the first one hears, each behind its length


@dataclass
class Heard:
    """What was found: `latencies` are (ns, items), of the oldest item of each block, so each share is a bound."""

    items: list[int]
    last_s: float  # monotonic clock
    blocks: int
    broken: str
    latencies: list[tuple[int, int]]


@dataclass
class Tally:
    """What all listeners of this process count together."""

    blocks: int = 0
    last_s: float = 0.0
    broken: str = ""
    latencies: list[tuple[int, int]] = field(default_factory=list)


class Listener(asyncio.Protocol, ABC):
    """One home base: it takes blocks off a transport. Subclasses know how messages lie in octets."""

    def __init__(self, spec: Spec, home: str, tally: Tally, keep: Callable[[bytes], object] | None) -> None:
        self.spec, self.home, self.tally, self.keep = spec, home, tally, keep
        self.items = 0
        self.ready = asyncio.Event()
        self.transport: asyncio.Transport
        self._rest = b""
        self._upto: dict[int, int] = {}  # by lane
        self._acknowledge: set[int] = set()  # lanes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self.tally.broken = self.tally.broken or f"{self.home}: the connection ended ({exc})"

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        self._rest = data[self.taken(data) :]
        for lane in self._acknowledge:
            self.say({"type": "ack", "lane": lane, "upto": self._upto[lane]})
        self._acknowledge.clear()

    def block(self, data: bytes, at: int, end: int) -> None:
        """Take a block: is it the next of its lane, how many items, how old is the oldest?"""
        magic, kind, lane, _, count, first, upto, _, _ = HEADER.unpack_from(data, at)
        if magic != MAGIC or kind != DATA:
            return
        if self.keep is not None:
            self.keep(data[at:end])
        if self._upto.get(lane, first) != first:
            self.tally.broken = f"{self.home}: lane {lane} goes on at {first}, behind {self._upto[lane]}"
        self._upto[lane] = upto
        if self.spec.way != "broker":
            self._acknowledge.add(lane)
        if count:
            now_ns = time.monotonic_ns()
            (sent_ns,) = STAMP.unpack_from(data, at + HEADER_OCTETS + count * ROW_DTYPE.itemsize + STAMP_AT)
            self.items += count
            self.tally.blocks += 1
            self.tally.latencies.append((now_ns - sent_ns, count))
            self.tally.last_s = now_ns / 1e9

    def control(self, text: bytes) -> None:
        """Take a control message."""
        kind = json.loads(text)["type"]
        if kind == "welcome":
            self.ready.set()
        elif kind in {"error", "closed", "missing"}:
            self.tally.broken = f"{self.home}: {text.decode()}"
            self.ready.set()

    def hello(self) -> dict[str, object]:
        """What this home base wants: all telemetry from now on."""
        return {
            "type": "subscribe", "home": self.home, "subscription": "bench", "mode": "complete", "from": "head",
            "selection": {"kinds": ["tm"]},
        }  # fmt: skip

    @abstractmethod
    def begin(self) -> None:
        """Ask to be served."""

    @abstractmethod
    def taken(self, data: bytes) -> int:
        """Take the whole messages of some octets; return where the first one begins that is not whole."""

    @abstractmethod
    def say(self, told: dict[str, object]) -> None:
        """Send a control message."""


class OverWebSocket(Listener):
    """Frames of RFC 6455, unfragmented as the gateway sends them; what we send is masked with zeros."""

    _open = False

    def begin(self) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self.transport.write(
            f"GET /api/v1/instances/{self.spec.instance}/subscribe HTTP/1.1\r\nHost: 127.0.0.1:{self.spec.port}\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
        )

    def taken(self, data: bytes) -> int:
        at = 0
        if not self._open:
            at = data.find(b"\r\n\r\n") + 4
            if at < 4:
                return 0
            if b" 101 " not in data[:at]:
                raise ConnectionError(data[:at].decode())
            self._open = True
            self.say(self.hello())
        while len(data) - at >= 2:
            size, body = data[at + 1] & 0x7F, at + 2
            if size >= 126:
                width = 2 if size == 126 else 8
                size, body = int.from_bytes(data[body : body + width], "big"), body + width
            if len(data) < body + size:
                break
            self._frame(data, data[at] & 15, body, body + size)
            at = body + size
        return at

    def _frame(self, data: bytes, opcode: int, begin: int, end: int) -> None:
        if opcode == TEXT:
            self.control(data[begin:end])
        elif opcode == PING:
            self._write(PONG, data[begin:end])
        elif opcode != CLOSE:
            self.block(data, begin, end)

    def say(self, told: dict[str, object]) -> None:
        self._write(TEXT, json.dumps(told).encode())

    def _write(self, opcode: int, body: bytes) -> None:
        size = bytes([0x80 | len(body)]) if len(body) < 126 else b"\xfe" + len(body).to_bytes(2, "big")
        self.transport.write(bytes([0x80 | opcode]) + size + bytes(4) + body)


class OverMqtt(Listener):
    """The home base's topic at a broker (docs/mqtt.md), or one topic for all."""

    _session = ""

    def begin(self) -> None:
        self._session = os.urandom(8).hex()
        name = self._session.encode()
        own = f"gw/v1/{self.spec.instance}/home/{self.home}/bench"
        self._request, topic = f"{own}/request".encode(), (self.spec.topic or own).encode()
        self.transport.write(mqtt_packet(0x10, b"\x00\x04MQTT\x04\x02\x00\x00" + mqtt_text(name)))
        self.transport.write(mqtt_packet(0x82, b"\x00\x01" + mqtt_text(topic) + b"\x00"))

    def taken(self, data: bytes) -> int:
        at = 0
        while (found := packet_end(data, at)) is not None:
            begin, end = found
            if data[at] & 0xF0 == 0x30:
                body = begin + 2 + int.from_bytes(data[begin : begin + 2], "big")
                if data[body : body + 1] == b"{":
                    self.control(data[body:end])
                else:
                    self.block(data, body, end)
            elif data[at] == 0x90:
                self._subscribed()
            at = end
        return at

    def _subscribed(self) -> None:
        if self.spec.way == "broker":
            self.ready.set()
        else:
            self.say(self.hello())
            self._live()

    def _live(self) -> None:
        if not self.transport.is_closing():
            asyncio.get_running_loop().call_later(SIGN_OF_LIFE_S, self._live)
            if self.ready.is_set():
                self.say({"type": "alive"})

    def control(self, text: bytes) -> None:
        if json.loads(text).get("session") == self._session:
            super().control(text)

    def say(self, told: dict[str, object]) -> None:
        payload = json.dumps({**told, "session": self._session}).encode()
        self.transport.write(mqtt_packet(0x30, mqtt_text(self._request) + payload))


def mqtt_text(text: bytes) -> bytes:
    """Return a string as MQTT writes it."""
    return len(text).to_bytes(2, "big") + text


def mqtt_packet(first: int, body: bytes) -> bytes:
    """Return a control packet of MQTT 3.1.1."""
    return bytes([first]) + _size(len(body)) + body


def _size(octets: int) -> bytes:
    """MQTT 3.1.1, 2.2.3."""
    parts = []
    while octets > 127:
        parts.append(octets & 127 | 128)
        octets >>= 7
    return bytes([*parts, octets])


async def listen(spec: Spec) -> None:
    """Connect everybody, then do what is told."""
    loop, tally = asyncio.get_running_loop(), Tally()
    kept: list[bytes] = []
    kind = OverWebSocket if spec.way == "websocket" else OverMqtt
    everybody: list[Listener] = []
    for home in spec.homes:
        one = kind(spec, home, tally, kept.append if spec.keep and not everybody else None)
        everybody.append(one)
        await loop.create_connection(lambda one=one: one, "127.0.0.1", spec.port)  # type: ignore[misc]
        await asyncio.wait_for(one.ready.wait(), 20)
    print("ready", flush=True)
    before = [0] * len(everybody)  # what comes before the line was read counts for it
    while line := await asyncio.to_thread(sys.stdin.readline):
        await _until(everybody, [count + int(line) for count in before], tally)
        if spec.keep:
            Path(spec.keep).write_bytes(b"".join(len(data).to_bytes(4, "big") + data for data in kept))
        items = [one.items - count for one, count in zip(everybody, before, strict=True)]
        print(json.dumps(asdict(Heard(items, tally.last_s, tally.blocks, tally.broken, tally.latencies))), flush=True)
        before = [one.items for one in everybody]
        tally.blocks, tally.latencies = 0, []
        kept.clear()


async def _until(everybody: list[Listener], wanted: list[int], tally: Tally) -> None:
    """Wait until everybody has all, something broke, or nothing comes any more."""
    began = time.monotonic()
    while not tally.broken and any(one.items < count for one, count in zip(everybody, wanted, strict=True)):
        if time.monotonic() - max(began, tally.last_s) > SILENT_S:
            tally.broken = f"nothing came for {SILENT_S:.0f} s"
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    uvloop.run(listen(Spec(**json.loads(sys.argv[1]))))
