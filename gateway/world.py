"""The outside world as the gateway sees it: clock, storage, network and workers, all injected.

The real ones live in `gateway.real`; the simulated ones, with seeded bad weather on virtual
time, in `tests/simulation`. Timers use the event loop's monotonic time (`asyncio.sleep`,
`loop.time()`), never the wall clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")
Buffer = bytes | bytearray | memoryview


class Clock(Protocol):
    """Wall time. Used for stamps and plans only, never for timers."""

    def tai_ns(self) -> int:
        """Return now as nanoseconds TAI since 1958-01-01, as the wall clock says: for stamps."""
        ...

    def steady_tai_ns(self) -> int:
        """Return now as if the wall clock had made no step since the start: for every decision (R11)."""
        ...


class AppendFile(Protocol):
    """A file that only grows, except for cutting a torn tail."""

    @property
    def size(self) -> int:
        """Octets in the file, those not yet forced included."""
        ...

    def append(self, buffers: Sequence[Buffer]) -> None:
        """Write the buffers at the end. Raises OSError; then the tail is undefined until truncate()."""
        ...

    def sync(self) -> None:
        """Force everything appended to the disk (fdatasync)."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to `size` octets and force that."""
        ...

    def close(self) -> None:
        """Close the file; nothing is forced by closing."""
        ...


class Storage(Protocol):
    """Files below one directory; names are relative, with '/' between folders. Blocking: call in a worker."""

    def names(self, folder: str) -> list[str]:
        """Return the sorted names (not paths) of the files in `folder`; empty when it does not exist."""
        ...

    def size(self, name: str) -> int:
        """Return the size in octets. Raises FileNotFoundError."""
        ...

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Return up to `length` octets from `offset` (fewer at the end). Raises FileNotFoundError, OSError."""
        ...

    def open_append(self, name: str) -> AppendFile:
        """Open for appending; the file and its folder are made when missing, durably."""
        ...

    def write_whole(self, name: str, data: bytes) -> None:
        """Replace a small file atomically and durably."""
        ...

    def remove(self, name: str) -> None:
        """Delete a file; no error when it is gone."""
        ...

    def free_octets(self) -> int:
        """Return the octets free for us on the device."""
        ...


class Stream(Protocol):
    """One connected byte stream."""

    @property
    def peer(self) -> str:
        """The other end, for people."""
        ...

    async def read(self, max_octets: int) -> bytes:
        """Return at least one octet, or b'' at the end. Raises OSError when cut."""
        ...

    async def write(self, data: Buffer) -> None:
        """Send everything, waiting while the peer does not read. Raises OSError."""
        ...

    async def close(self) -> None:
        """Close; never raises."""
        ...


class Listener(Protocol):
    """A listening socket."""

    @property
    def port(self) -> int:
        """The port really bound."""
        ...

    async def close(self) -> None:
        """Stop listening; connections already accepted stay."""
        ...


@dataclass(frozen=True, slots=True)
class Received:
    """Datagrams that came together: octets back to back, and of each its length and who sent it."""

    octets: bytes
    lengths: list[int]
    peers: list[tuple[str, int]]  # address, port
    lost_at: int = -1  # index of the first before which the kernel dropped others, -1 = none


class DatagramSocket(Protocol):
    """A bound socket that receives datagrams."""

    @property
    def port(self) -> int:
        """The port really bound."""
        ...

    @property
    def buffer_octets(self) -> int:
        """The receive buffer that the kernel gave, in the octets that were asked for."""
        ...

    async def receive(self) -> Received:
        """Wait for datagrams and return those that are here, bounded (DESIGN 3). Raises OSError."""
        ...

    def waiting(self) -> Received:
        """Return datagrams that are here, bounded as `receive`, or none; from the first call on no more come."""
        ...

    def dropped(self) -> int | None:
        """Return how many datagrams the kernel has dropped since the socket was made; None = it does not say."""
        ...

    async def close(self) -> None:
        """Close; never raises."""
        ...


class DatagramSender(Protocol):
    """A socket that sends datagrams to one address."""

    async def send(self, datagram: Buffer) -> bool:
        """Hand one to the kernel, waiting while its buffer is full; False: the other end refuses them."""
        ...

    async def close(self) -> None:
        """Close; never raises."""
        ...


class Network(Protocol):
    """Byte-stream connections and datagrams."""

    async def connect(self, host: str, port: int) -> Stream:
        """Connect. Raises OSError."""
        ...

    async def listen(self, host: str, port: int, on_stream: Callable[[Stream], Awaitable[None]]) -> Listener:
        """Listen; each accepted stream is given to `on_stream` in a task of its own. Raises OSError."""
        ...

    async def receive_datagrams(self, host: str, port: int, buffer_octets: int) -> DatagramSocket:
        """Bind a socket for datagrams with a receive buffer as large as can be had. Raises OSError."""
        ...

    async def send_datagrams(self, host: str, port: int) -> DatagramSender:
        """Return a socket that sends datagrams to an IP address. Raises OSError."""
        ...


class Worker(Protocol):
    """Runs blocking work one piece at a time, in order: a thread in reality, inline when simulated."""

    def __call__(self, work: Callable[[], T]) -> Awaitable[T]:
        """Return an awaitable of work()'s result."""
        ...
