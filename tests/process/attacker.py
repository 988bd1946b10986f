"""A process of its own: a hostile home base, with a token that holds, does all at once, for as long as it is let.

It reads one line of JSON (what to do), says `begun`, goes on until standard input ends, and tells in one line of JSON
what it did and was told. What counts as *unexplained*: an end without an HTTP answer, an error message or a close
frame with a reason, of something that was said in whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from plain_websocket import CLOSE, TEXT, PlainWebSocket, client_frame, open_plain

SOURCE, SUBSCRIBES_FROM = "127.0.0.2", ("127.0.0.3", "127.0.0.4")
TRIES_S = 150.0
"""After the others have all of theirs it goes on for so long, until it has tried all that it was told to."""
WAIT_S = 60.0
MODES: list[dict[str, Any]] = [
    {}, {"mode": "timely", "max_delay_ms": 60_000}, {"mode": "offline"}, {"selection": {"apids": [100, 101]}}
]  # fmt: skip
MALFORMED: list[bytes] = [
    client_frame(b"{"),
    client_frame(b"[]"),
    client_frame(b'{"type":"subscribe","bogus":1}'),
    client_frame(b'{"type":"ack","lane":0,"upto":1}'),
    client_frame(b"[" * 100_000),
    client_frame(b"\xff\xfe\xfd"),
    client_frame(b"\0" * 64, 2),
    client_frame(b"x" * (300 << 10)),
    b"\x81\xff" + struct.pack(">Q", 1 << 40) + bytes(4),
    b"\x81\x05hello",
    b"\xf1\x80" + bytes(4),
]


class Attacker:
    """See the module. `told` counts what it was told, by what it tried."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.port, self.path, self.token, self.home = told["port"], told["path"], told["token"], told["home"]
        self.about: dict[str, Any] = told
        self.told: Counter[str] = Counter()
        self.held: list[PlainWebSocket] = []
        self.tried = self.asking = 0

    async def run(self, until: Awaitable[None]) -> None:
        """All of it, until told to stop."""
        works: list[Callable[[], Awaitable[None]]] = [self.flood_mqtt]
        if not self.about["mqtt_port"]:
            works = [self.subscribe] * 160 + [self.talk_rubbish] * 3 + [self.guess] * 8 + [self.half_open]
            works += [self.flood] * 2
        if not self.about["mqtt_port"]:
            for _ in MALFORMED:  # all of it once, before it is put off
                await self.talk_rubbish()
        self.tasks = [asyncio.create_task(self.forever(work)) for work in works]
        await until

    @property
    def is_busy(self) -> bool:
        """Whether it has not tried all subscriptions yet, or waits for an answer to one."""
        return not self.about["mqtt_port"] and (self.tried < self.about["subscriptions"] or self.asking > 0)

    async def forever(self, work: Callable[[], Awaitable[None]]) -> None:
        """Again and again; a cut connection is no news."""
        while True:
            try:
                await asyncio.wait_for(work(), WAIT_S)
            except TimeoutError:
                self.told[f"{work.__name__}: unexplained: nothing in {WAIT_S:g} s"] += 1
            except OSError as error:
                self.told[f"{work.__name__}: cut: {type(error).__name__}"] += 1
                await asyncio.sleep(0.01)
            await asyncio.sleep(0)

    # ---- what it does ----

    async def subscribe(self) -> None:
        """Open one subscription more, and never read on if it is welcome."""
        if self.tried >= self.about["subscriptions"]:
            await asyncio.sleep(WAIT_S / 2)
            return
        self.tried += 1
        hello = {"type": "subscribe", "home": self.home, "subscription": f"s{self.tried}"} | MODES[self.tried % 4]
        self.asking += 1
        try:
            socket = await self.session("subscribe", client_frame(json.dumps(hello).encode()))
        finally:
            self.asking -= 1
        if socket is not None:
            self.held.append(socket)
            socket.transport.pause_reading()

    async def talk_rubbish(self) -> None:
        """Say what is malformed or too large."""
        self.rubbish = getattr(self, "rubbish", -1) + 1
        socket = await self.session("malformed", MALFORMED[self.rubbish % len(MALFORMED)])
        if socket is not None:
            socket.transport.abort()

    async def session(self, what: str, said: bytes) -> PlainWebSocket | None:
        """Open a session, say something first; return it when it is welcome."""
        answers: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        socket = await open_plain(
            self.port,
            self.path,
            self.token,
            lambda opcode, data: answers.put_nowait((opcode, data)),
            SUBSCRIBES_FROM[self.tried % 2] if what == "subscribe" else SOURCE,
        )
        if socket.status != 101:
            self.note(what, socket)
            socket.transport.abort()
            return None
        socket.transport.write(said)
        end = asyncio.create_task(socket.ended.wait())
        first = asyncio.create_task(answers.get())
        await asyncio.wait([end, first], return_when=asyncio.FIRST_COMPLETED)
        end.cancel()
        if not first.done():
            first.cancel()
            self.told[f"{what}: unexplained: closed without a word"] += 1
            return None
        opcode, data = first.result()
        if opcode == TEXT:
            message = json.loads(data)
            self.told[f"{what}: {message.get('code', message['type'])}"] += 1
            if message["type"] == "welcome":
                return socket
        elif opcode == CLOSE:
            code, reason = int.from_bytes(data[:2], "big"), data[2:]
            self.told[f"{what}: closed {code}" if reason else f"{what}: unexplained: closed {code}"] += 1
        socket.transport.abort()
        return None

    def note(self, what: str, socket: PlainWebSocket) -> None:
        """Count an HTTP answer."""
        explained = b'"error"' in socket.answer or not socket.status
        if not socket.status:
            self.told[f"{what}: cut: no answer"] += 1
        else:
            self.told[f"{what}: {socket.status}" if explained else f"{what}: unexplained: {socket.status}"] += 1

    async def guess(self) -> None:
        """Show wrong tokens, as fast as they are answered: ten on a connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(SOURCE, 0))
        try:
            for _ in range(10):
                token = f"gwt_{os.urandom(5).hex()}.{'x' * 43}"
                writer.write(
                    f"GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
                )
                head = await reader.readuntil(b"\r\n\r\n")
                size = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                body = await reader.readexactly(size)
                status = int(head.split(b" ", 2)[1])
                self.told[f"guess: {status}" if b'"error"' in body else f"guess: unexplained: {status}"] += 1
        except asyncio.IncompleteReadError:
            self.told["guess: cut: no answer"] += 1
        finally:
            writer.transport.abort()

    async def half_open(self) -> None:
        """Leave half requests, as many as there is room for; they end after a while, and are opened again."""
        writers = []
        try:
            for _ in range(self.about["half_open"]):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(SOURCE, 0))
                writers.append(writer)
                writer.write(b"GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: ")
                with contextlib.suppress(TimeoutError):
                    answer = await asyncio.wait_for(reader.read(1 << 12), 0.005)
                    self.told["half open: 503" if b'"error"' in answer else "half open: cut"] += 1
            await asyncio.sleep(5)
            self.told["half open: held"] += len(writers)
        finally:
            for writer in writers:
                writer.transport.abort()

    async def flood(self) -> None:
        """In a session that is welcome: acknowledgements, pings and pieces without end, and nothing is read."""
        if not self.held:
            await asyncio.sleep(0.1)
            return
        socket = self.held[self.told["flood"] % len(self.held)]
        self.told["flood"] += 1
        ack = client_frame(b'{"type":"ack","lane":0,"upto":0}')
        if socket.ended.is_set():
            await asyncio.sleep(0.01)
            return
        if socket.transport.get_write_buffer_size() < 1 << 16:
            socket.transport.write((ack if self.told["flood"] % 2 else client_frame(b"", 9)) * 1000)
        await asyncio.sleep(0.005)

    async def flood_mqtt(self) -> None:
        """Publish subscribe messages over MQTT as fast as the broker takes them; listen to nothing."""
        name, _, secret = self.token.partition(".")
        reader, writer = await asyncio.open_connection("127.0.0.1", self.about["mqtt_port"], local_addr=(SOURCE, 0))
        heard = asyncio.create_task(reader.read(1 << 12))
        try:
            writer.write(mqtt_connect(name, secret))
            answer = await asyncio.wait_for(heard, 10)
            self.told["mqtt: connected" if answer[3:4] == b"\0" else f"mqtt: refused {answer[3:4].hex()}"] += 1
            if answer[3:4] != b"\0":
                await asyncio.sleep(0.5)
                return
            heard = asyncio.create_task(reader.read(1 << 12))
            k = 0
            while not heard.done():
                pieces = [self.mqtt_hello(k + i) for i in range(200)]
                k += len(pieces)
                writer.write(b"".join(pieces))
                self.told["mqtt: hellos"] += len(pieces)
                await writer.drain()
            self.told["mqtt: put out"] += 1
        finally:
            heard.cancel()
            self.told["mqtt: ends"] += 1
            writer.transport.abort()

    def mqtt_hello(self, k: int) -> bytes:
        topic = f"gw/v1/{self.about['instance']}/home/{self.home}/m{k % 5000}/request".encode()
        hello = json.dumps({"type": "subscribe", "session": f"x{k}", "token": self.token if k % 2 else "gwt_x.y"})
        return mqtt_packet(0x30, struct.pack(">H", len(topic)) + topic + hello.encode())


def mqtt_packet(kind: int, body: bytes) -> bytes:
    """MQTT 3.1.1, 2.2: the fixed header."""
    size, length = len(body), b""
    while True:
        size, low = size >> 7, size & 0x7F
        length += bytes([low | (0x80 if size else 0)])
        if not size:
            return bytes([kind]) + length + body


def mqtt_connect(name: str, password: str) -> bytes:
    """MQTT 3.1.1, 3.1: with a name and a password, a clean session."""
    texts = [b"hostile", name.encode(), password.encode()]
    return mqtt_packet(0x10, b"\0\4MQTT\4\xc2\0\0" + b"".join(struct.pack(">H", len(text)) + text for text in texts))


async def main() -> None:
    attacker = Attacker(json.loads(sys.stdin.readline()))
    loop = asyncio.get_running_loop()
    print("begun", flush=True)

    async def until_told() -> None:
        await loop.run_in_executor(None, sys.stdin.readline)
        until_s = loop.time() + TRIES_S
        while attacker.is_busy and loop.time() < until_s:
            await asyncio.sleep(0.1)

    await attacker.run(until_told())
    print(json.dumps({"tried": attacker.tried, "held": len(attacker.held), "told": attacker.told}), flush=True)
    os._exit(0)  # nobody waits for what it still does


if __name__ == "__main__":
    asyncio.run(main())
