"""A TCP proxy for the process tests: it lets so much pass, cuts connections, and can keep every octet that passes."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

PIECE_OCTETS = 1 << 16


@dataclass(eq=False)
class Carried:
    """One connection: what passed, and how to end it."""

    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    kept: list[bytes] = field(default_factory=list)


class Proxy:
    """Listens on a loopback port and carries to another, in a thread of its own. `keep`: keep all octets, both ways."""

    def __init__(self, target_port: int, keep: bool = False) -> None:
        self._target, self._keep = target_port, keep
        self._open: set[Carried] = set()
        self.kept: list[list[bytes]] = []  # by connection, in the order they were made
        self.octets = 0  # to clients, of all connections
        self._allowed, self._more = sys.maxsize, asyncio.Event()
        self.cuts = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._carry, "127.0.0.1", 0))
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> int:
        """Cut every connection at once, with what is on its way; returns how many there were."""
        return int(self._do(self._cut()))

    def allow(self, octets: int | None) -> None:
        """From now on let so many octets more pass to clients and hold the rest back; None: all."""

        async def allowed() -> None:
            self._allowed = sys.maxsize if octets is None else self.octets + octets
            self._more.set()

        self._do(allowed())

    def is_holding(self) -> bool:
        """Whether what was allowed has passed."""
        return self.octets >= self._allowed

    def recorded(self) -> bytes:
        """All octets that were kept, connection after connection."""
        return b"".join(b"".join(list(parts)) for parts in self.kept)

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _end(self) -> None:
        self._server.close()
        await self._cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=5)
        await asyncio.sleep(0.01)  # what was aborted is closed in the next turn

    async def _cut(self) -> int:
        cut = list(self._open)
        for carried in cut:
            for writer in carried.writers:
                writer.transport.abort()
        self.cuts += len(cut)
        return len(cut)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:  # nobody is there
            writer.transport.abort()
            return
        carried = Carried((writer, back))
        self._open.add(carried)
        self.kept.append(carried.kept)
        try:
            await asyncio.gather(self._pass(reader, back, carried, 0), self._pass(there, writer, carried, 1))
        finally:
            self._open.discard(carried)
            for one in carried.writers:
                one.transport.abort()

    async def _to_client(self, data: bytes, to: asyncio.StreamWriter) -> None:
        while data and not to.transport.is_closing():
            room = self._allowed - self.octets
            if room <= 0:
                self._more.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._more.wait(), 0.2)
                continue
            part, data = data[:room], data[room:]
            self.octets += len(part)
            to.write(part)
            await to.drain()

    async def _pass(self, of: asyncio.StreamReader, to: asyncio.StreamWriter, carried: Carried, back: int) -> None:
        with contextlib.suppress(OSError):
            while data := await of.read(PIECE_OCTETS):
                if self._keep:
                    carried.kept.append(data)
                if back:
                    await self._to_client(data, to)
                else:
                    to.write(data)
                    await to.drain()
        for writer in carried.writers:  # what was written is sent first
            writer.close()
