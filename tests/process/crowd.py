"""Many connections at once, for bad weather: idle ones, half a request, WebSockets that read or do not."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def text_frame(message: dict[str, Any] | str) -> bytes:
    """A masked text frame of a client (RFC 6455, 5.2)."""
    data = (message if isinstance(message, str) else json.dumps(message)).encode()
    length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
    return b"\x81" + length + bytes(4) + data


def connect(port: int, source: str = "127.0.0.1", receive_octets: int = 0) -> socket.socket:
    """A connection from one of the loopback addresses, as if from one of many machines."""
    sock = socket.socket()
    sock.settimeout(60)
    if receive_octets:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_octets)
    sock.bind((source, 0))
    sock.connect(("127.0.0.1", port))
    return sock


def websocket(port: int, path: str, hello: dict[str, Any] | None, **how: Any) -> socket.socket:
    """A WebSocket that has said hello, or nothing."""
    sock = connect(port, **how)
    sock.sendall(UPGRADE.format(path=path).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        part = sock.recv(1)
        assert part, answer
        answer += part
    assert b" 101 " in answer, answer
    if hello is not None:
        sock.sendall(text_frame(hello))
    return sock


def is_over(sock: socket.socket) -> bool:
    """Whether the other end has closed or cut the connection; what is there to read is read away."""
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        try:
            while data := sock.recv(1 << 16):
                del data
        except OSError as error:
            if isinstance(error, BlockingIOError):
                raise
        return True
    return False


@dataclass
class Crowd:
    """Sockets that are closed together."""

    sockets: list[socket.socket] = field(default_factory=list)

    def add(self, sockets: Iterable[socket.socket]) -> list[socket.socket]:
        """Keep some; returns them."""
        found = list(sockets)
        self.sockets += found
        return found

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self.sockets:
            sock.close()


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        user, system = file.read().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def rss_octets(pid: int) -> int:
    """Resident memory of a process."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
