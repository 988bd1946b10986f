"""A WebSocket client of few instructions: a hundred of them in one process must cost less than a gateway."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable
from typing import Any

HEAD = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def client_frame(data: bytes, opcode: int = TEXT) -> bytes:
    """One frame of a client; its mask is zero (RFC 6455, 5.2)."""
    size = len(data)
    if size < 126:
        length = bytes([0x80 | size])
    else:
        length = b"\xfe" + struct.pack(">H", size) if size < 1 << 16 else b"\xff" + struct.pack(">Q", size)
    return bytes([0x80 | opcode]) + length + bytes(4) + data


class PlainWebSocket(asyncio.Protocol):
    """Hands whole messages to `take(opcode, octets)`; `status` is that of the handshake, `ended` is set at its end."""

    def __init__(self, path: str, token: str, take: Callable[[int, bytes], None]) -> None:
        self._path, self._token, self._take = path, token, take
        self._data = b""
        self.status = 0
        self.answer = b""
        self.opened = asyncio.Event()  # the handshake is over, whatever came of it
        self.ended = asyncio.Event()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        bearer = f"Authorization: Bearer {self._token}\r\n" if self._token else ""
        transport.write(f"{HEAD.format(path=self._path)}{bearer}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self.opened.is_set() and not self._open():
            return
        while self.status == 101 and self._frame():
            pass

    def _open(self) -> bool:
        head, found, rest = self._data.partition(b"\r\n\r\n")
        if not found:
            return False
        self.status = int(head.split(b" ", 2)[1])
        self._data, self.answer = (rest, b"") if self.status == 101 else (b"", rest)
        self.opened.set()
        return True

    def _frame(self) -> bool:
        if len(self._data) < 2:
            return False
        size, at = self._data[1] & 0x7F, 2
        if size >= 126:
            at = 4 if size == 126 else 10
            if len(self._data) < at:
                return False
            size = int.from_bytes(self._data[2:at], "big")
        if len(self._data) < at + size:
            return False
        opcode, body = self._data[0] & 0x0F, self._data[at : at + size]
        self._data = self._data[at + size :]
        if opcode == PING:
            self.transport.write(client_frame(body, PONG))
        else:
            self._take(opcode, body)
        return True

    def say(self, message: dict[str, Any] | str | bytes) -> None:
        text = json.dumps(message) if isinstance(message, dict) else message
        self.transport.write(client_frame(text.encode() if isinstance(text, str) else text))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.opened.set()
        self.ended.set()


async def open_plain(
    port: int, path: str, token: str, take: Callable[[int, bytes], None], source: str = "127.0.0.1"
) -> PlainWebSocket:
    """Connect from a loopback address, as from a machine of its own, and wait for the handshake's answer."""
    loop = asyncio.get_running_loop()
    _, found = await loop.create_connection(
        lambda: PlainWebSocket(path, token, take), "127.0.0.1", port, local_addr=(source, 0)
    )
    await found.opened.wait()
    return found
