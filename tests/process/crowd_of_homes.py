"""A process of its own: home bases that behave, each counts what comes, acknowledges it, and notes its longest pause.

Reads one line of JSON from standard input (what to do), says `live` when all are welcome, and at the end one line of
JSON with a row for each: items, first and last (monotonic s), longest pause (s).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from plain_websocket import BINARY, TEXT, PlainWebSocket, open_plain

HEADER = struct.Struct(">4sBBHIqq")


@dataclass
class Home:
    """One of them."""

    home: str
    wanted: int
    items: int = 0
    first_s: float = 0.0
    last_s: float = 0.0
    pause_s: float = 0.0
    trouble: str = ""
    _socket: PlainWebSocket | None = None
    _welcome: asyncio.Event = field(default_factory=asyncio.Event)
    _done: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, opcode: int, data: bytes) -> None:
        """Take a message."""
        if opcode == BINARY:
            _, kind, lane, _, count, _, upto = HEADER.unpack_from(data)
            if kind == 1:
                self._took(count)
                self.say({"type": "ack", "lane": lane, "upto": upto})
        elif opcode == TEXT:
            told = json.loads(data)
            if told["type"] == "welcome":
                self._welcome.set()
            elif told["type"] in {"error", "missing"}:
                self.trouble = str(told)
                self._welcome.set()
        else:
            self.trouble = f"closed: {data!r}"

    def say(self, message: dict[str, Any]) -> None:
        """Say something."""
        if self._socket is not None:
            self._socket.say(message)

    def _took(self, items: int) -> None:
        now_s = time.monotonic()
        if self.items:
            self.pause_s = max(self.pause_s, now_s - self.last_s)
        else:
            self.first_s = now_s
        self.items, self.last_s = self.items + items, now_s
        if self.items >= self.wanted:
            self._done.set()

    async def begin(self, port: int, path: str, token: str, source: str) -> None:
        """Connect and subscribe."""
        self._socket = await open_plain(port, path, token, self.take, source)
        self.say({"type": "subscribe", "home": self.home, "subscription": "all", "selection": {"kinds": ["tm"]}})
        await asyncio.wait_for(self._welcome.wait(), 30)

    async def end(self) -> None:
        """Wait until all has come, or the connection is gone."""
        assert self._socket is not None
        waits = [asyncio.create_task(self._done.wait()), asyncio.create_task(self._socket.ended.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()

    def row(self) -> dict[str, Any]:
        """What is told of it."""
        keys = ("home", "items", "first_s", "last_s", "pause_s", "trouble")
        return {key: getattr(self, key) for key in keys}


async def main() -> None:
    told = json.loads(sys.stdin.readline())
    homes = [Home(name, told["wanted"]) for name in told["tokens"]]
    for k, one in enumerate(homes):
        source = f"127.0.1.{1 + k % 250}"
        await one.begin(told["port"], told["path"], told["tokens"][one.home], source)
    print("live", flush=True)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*(one.end() for one in homes)), told["limit_s"])
    print(json.dumps([one.row() for one in homes]), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
