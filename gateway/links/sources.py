"""Where a link's octets come from. A source is opened again and again by its link; it never decides anything."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import Protocol

from gateway.world import Listener, Network, Stream, Worker
from gateway_codecs.datagrams import Datagrams

READ_OCTETS = 1 << 18
PACE_S = 0.02


@dataclass(frozen=True, slots=True)
class Remarks:
    """What a source noticed beside its data."""

    lost: int = 0  # datagrams that the kernel dropped, ever
    refused: int = 0  # datagrams of peers that are not allowed, since the last reset
    refused_peers: tuple[str, ...] = ()  # the first few of their addresses
    peers: tuple[str, ...] = ()  # that sent last, the newest last
    notice: str = ""  # what the operator should mend


class Source(Protocol):
    """One way in."""

    resumable: bool
    connectionless: bool  # nobody connects: it is open as long as the link is enabled, heard of or not
    refused: int  # peers that were turned away, or their datagrams
    read_octets: int  # of a stream or file, at most so many are read at a time

    @property
    def listening(self) -> bool:
        """Whether peers can come without a new attempt of ours."""
        ...

    async def prepare(self) -> None:
        """Take the port that peers come to, if there is one. Raises OSError: it is another's."""
        ...

    async def open(self, offset: int) -> str:
        """Open (at `offset` when resumable) and return the peer's name. Raises OSError."""
        ...

    async def read(self) -> bytes | Datagrams:
        """Return some octets, b'' at the end, or datagrams. Raises OSError when cut."""
        ...

    def waiting(self) -> Datagrams | None:
        """Return datagrams that are here when the link ends, None when there are no more."""
        ...

    async def reread(self, offset: int, length: int) -> bytes:
        """Read again what a resumable source gave before."""
        ...

    async def close(self) -> None:
        """Close the connection or file; never raises."""
        ...

    async def shut(self) -> None:
        """Close, and listen no more; never raises."""
        ...

    def progress(self) -> tuple[int, int] | None:
        """Return (octets done, octets in all), None when there is no end."""
        ...

    def remarks(self) -> Remarks:
        """Return what was noticed beside the data."""
        ...


@dataclass(slots=True)
class FileSource:
    """A file of frames or packets, as fast as possible or paced in octets per second."""

    path: str
    worker: Worker
    octets_per_s: float | None = None
    read_octets: int = READ_OCTETS
    resumable: bool = True
    connectionless: bool = False
    refused: int = 0
    listening: bool = False
    _fd: int = -1
    _at: int = 0
    _size: int = 0
    _due: float = 0.0

    async def prepare(self) -> None:
        """Nothing: a file may come later."""

    async def open(self, offset: int) -> str:
        """Open the file; its size is taken now."""
        await self.close()
        self._fd = await self.worker(lambda: os.open(self.path, os.O_RDONLY | os.O_CLOEXEC))
        self._size = os.fstat(self._fd).st_size
        self._at, self._due = offset, asyncio.get_running_loop().time()
        if offset > self._size:
            raise OSError(
                22, f"{self.path} has {self._size} octets, the run had come to {offset}: is it the same file?"
            )
        return self.path

    async def read(self) -> bytes:
        """Return the next octets, when they are due."""
        size = self.read_octets
        if self.octets_per_s is not None:
            size = max(1, min(self.read_octets, int(self.octets_per_s * PACE_S)))
            self._due = max(self._due, asyncio.get_running_loop().time() - 1.0)
            await asyncio.sleep(max(0.0, self._due - asyncio.get_running_loop().time()))
        data = await self.worker(lambda: os.pread(self._fd, size, self._at))
        self._at += len(data)
        if self.octets_per_s is not None:
            self._due += len(data) / self.octets_per_s
        return data

    def waiting(self) -> None:
        """Nothing: what was not read stays in the file."""

    async def reread(self, offset: int, length: int) -> bytes:
        """Read a part again."""
        return await self.worker(lambda: os.pread(self._fd, length, offset))

    async def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def shut(self) -> None:
        """Close the file."""
        await self.close()

    def progress(self) -> tuple[int, int] | None:
        """Octets read, octets in all."""
        return self._at, self._size

    def remarks(self) -> Remarks:
        """Nothing: what is in a file is its data."""
        return Remarks()


class _StreamSource:
    resumable = False
    connectionless = False

    def __init__(self) -> None:
        self._stream: Stream | None = None
        self.read_octets = READ_OCTETS
        self.refused = 0

    @property
    def listening(self) -> bool:
        """Whether peers can connect."""
        return False

    async def prepare(self) -> None:
        """Nothing: the peer may be there later."""

    async def close(self) -> None:
        """Close the connection."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            await stream.close()

    async def shut(self) -> None:
        """Close the connection."""
        await self.close()

    async def read(self) -> bytes:
        """Read from the connection."""
        if self._stream is None:
            raise ConnectionError("not connected")
        return await self._stream.read(self.read_octets)

    def waiting(self) -> None:
        """Nothing: a peer is told by the end of the connection that not all of it was read."""

    async def reread(self, offset: int, length: int) -> bytes:
        """A connection cannot be read again."""
        raise OSError("a TCP source cannot be read again")

    def progress(self) -> tuple[int, int] | None:
        """A connection has no end."""
        return None

    def remarks(self) -> Remarks:
        """Nothing: a connection loses nothing, or ends."""
        return Remarks()


class TcpClientSource(_StreamSource):
    """We connect to the peer."""

    def __init__(self, network: Network, host: str, port: int, connect_s: float = 10.0) -> None:
        super().__init__()
        self._network, self._host, self._port, self._connect_s = network, host, port, connect_s

    async def open(self, offset: int) -> str:
        """Connect within the time allowed."""
        try:
            async with asyncio.timeout(self._connect_s):
                self._stream = await self._network.connect(self._host, self._port)
        except TimeoutError:
            raise OSError(110, f"no answer from {self._host}:{self._port} in {self._connect_s:.0f} s") from None
        return f"{self._host}:{self._port}"


class TcpServerSource(_StreamSource):
    """The peer connects to us: one at a time, allowed addresses only; others are refused and counted.

    `close` ends the connection, the listener stays for the next peer. A peer that was silent for `silence_s` is
    replaced by one that connects anew: a station that lost its connection without a word must be able to return.
    """

    def __init__(
        self, network: Network, host: str, port: int, allowed_peers: tuple[str, ...] = (), silence_s: float = 10.0
    ) -> None:
        super().__init__()
        self._network, self._host, self._port, self._allowed = network, host, port, allowed_peers
        self._silence_s, self._replaced = silence_s, False
        self._waiting_since_s: float | None = None  # for octets of the peer; None = it is we who do not read
        self._listener: Listener | None = None
        self._arrived: asyncio.Queue[Stream] = asyncio.Queue(1)

    @property
    def port(self) -> int:
        """The port bound, 0 when not listening."""
        return self._listener.port if self._listener else 0

    async def prepare(self) -> None:
        """Listen, if need be."""
        if self._listener is None:
            self._listener = await self._network.listen(self._host, self._port, self._on_stream)

    async def open(self, offset: int) -> str:
        """Listen if need be, and wait for a peer."""
        await self.prepare()
        self._stream = await self._arrived.get()
        self._replaced = False
        return self._stream.peer

    @property
    def listening(self) -> bool:
        """Whether peers can connect."""
        return self._listener is not None

    async def read(self) -> bytes:
        """Read from the connection."""
        self._waiting_since_s = _now()
        try:
            data = await super().read()
        except OSError:
            if not self._replaced:
                raise
            data = b""
        finally:
            self._waiting_since_s = None
        if not data and self._replaced:
            raise ConnectionError(f"silent for {self._silence_s:g} s, replaced by a new connection")
        return data

    async def _on_stream(self, stream: Stream) -> None:
        address = stream.peer.rsplit(":", 1)[0]
        waiting = self._waiting_since_s
        stale = waiting is not None and _now() - waiting >= self._silence_s
        busy = (self._stream is not None and not stale) or self._arrived.full()
        if busy or (self._allowed and address not in self._allowed):
            self.refused += 1
            await stream.close()
            return
        self._arrived.put_nowait(stream)
        if self._stream is not None:
            self._replaced = True
            await self._stream.close()

    async def shut(self) -> None:
        """Stop listening, and close a peer that was not taken yet."""
        await self.close()
        while not self._arrived.empty():
            await self._arrived.get_nowait().close()
        if self._listener is not None:
            await self._listener.close()
            self._listener = None


def _now() -> float:
    return asyncio.get_running_loop().time()


@dataclass(slots=True)
class Pause:
    """Lets other links run: yields after each time slice on the loop."""

    slice_s: float = 0.002
    _began: float = field(default=0.0)

    async def fair(self) -> None:
        """Yield when the slice is used up."""
        now = asyncio.get_running_loop().time()
        if now - self._began >= self.slice_s:
            await asyncio.sleep(0)
            self._began = asyncio.get_running_loop().time()


LONG_S, SHORT_S = 0.02, 0.01
LEAST_READ_OCTETS = 1 << 14


def next_read_octets(octets: int, took_s: float) -> int:
    """Return how many octets to read at a time when the last piece took so long on the loop.

    Finding markers in noise, or correcting every code word, costs many times what a good stream does, and everybody
    else waits meanwhile.
    """
    if took_s > LONG_S:
        return max(LEAST_READ_OCTETS, octets // 2)
    return min(READ_OCTETS, octets * 2) if took_s < SHORT_S else octets
