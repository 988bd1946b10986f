"""The real world: wall clock, local files, TCP streams, a worker thread (see gateway.world)."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gateway import datagram_socket
from gateway.descriptors import Descriptors
from gateway.errors import StartError
from gateway.world import Buffer, DatagramSender, DatagramSocket, Listener, Stream
from gateway_codecs.time_scales import unix_ns_to_tai_ns
from gateway_routes.clock_watch import ClockWatch

T = TypeVar("T")
Opener = Callable[..., int]  # as os.open
FILE_MODE = 0o640
READ_OCTETS = 1 << 18
READ_TRIES, READ_TOGETHER_NS = 20, 1_000_000
KEEP_ALIVE = (
    ((socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1),
    ((socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 15),
    ((socket.IPPROTO_TCP, socket.TCP_KEEPINTVL), 5),
    ((socket.IPPROTO_TCP, socket.TCP_KEEPCNT), 3),
)


@dataclass(frozen=True, slots=True)
class ClockSteps:
    """How often the wall clock stepped, how far it is ahead of steady time; the newest step, and its age if any."""

    steps: int
    offset_s: float
    last_s: float
    age_s: float | None


def _both_clocks() -> tuple[int, int]:
    """Return wall time (TAI: a leap second is no step of it) and the time since boot, read within a millisecond."""
    for _ in range(READ_TRIES):
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wall_ns, after = unix_ns_to_tai_ns(time.time_ns()), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if after - before < READ_TOGETHER_NS:
            break
    return wall_ns, (before + after) // 2


class SystemClock:
    """The system's wall clock, watched for steps. `read` gives the wall clock and one that cannot be set, in ns."""

    def __init__(self, read: Callable[[], tuple[int, int]] = _both_clocks) -> None:
        self._read = read
        self._lock = threading.Lock()  # read in workers too
        wall_ns, unset_ns = read()
        self._watch = ClockWatch(wall_ns, unset_ns)

    def tai_ns(self) -> int:
        """Return now as nanoseconds TAI since 1958-01-01."""
        return self._observe()[0]

    def steady_tai_ns(self) -> int:
        """Return now without the steps of the wall clock."""
        return self._observe()[1]

    def _observe(self) -> tuple[int, int]:
        with self._lock:
            wall_ns, unset_ns = self._read()
            self._watch.observe(wall_ns, unset_ns)
            return wall_ns, self._watch.steady_ns(wall_ns)

    def steps(self) -> ClockSteps:
        """Look at the clock; return what its steps were."""
        with self._lock:
            wall_ns, unset_ns = self._read()
            self._watch.observe(wall_ns, unset_ns)
            last, watch = self._watch.last, self._watch
            age_s = None if last is None else (unset_ns - last.at_ns) / 1e9
            return ClockSteps(watch.steps, watch.offset_ns / 1e9, 0.0 if last is None else last.step_ns / 1e9, age_s)

    def accept(self) -> float:
        """Let decisions go by the wall clock as it is now; returns by how many seconds they move."""
        with self._lock:
            return self._watch.accept() / 1e9


class LocalAppendFile:
    """A growing file; see gateway.world.AppendFile."""

    def __init__(self, path: Path, opener: Opener = os.open) -> None:
        self._fd = opener(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        self._size = os.fstat(self._fd).st_size

    @property
    def size(self) -> int:
        """Octets in the file."""
        return self._size

    def append(self, buffers: Sequence[Buffer]) -> None:
        """Write at the end."""
        for buffer in buffers:
            view = memoryview(buffer)
            while view:
                written = os.pwrite(self._fd, view, self._size)
                self._size += written
                view = view[written:]

    def sync(self) -> None:
        """fdatasync."""
        os.fdatasync(self._fd)

    def truncate(self, size: int) -> None:
        """Cut and force."""
        os.ftruncate(self._fd, size)
        os.fsync(self._fd)
        self._size = size

    def close(self) -> None:
        """Close."""
        os.close(self._fd)


class LocalStorage:
    """Files below one directory; see gateway.world.Storage. `lock=True` makes it the only writer."""

    def __init__(self, root: Path, lock: bool = False, descriptors: Descriptors | None = None) -> None:
        self.root, self._descriptors = root, descriptors or Descriptors(0)
        self._open = self._descriptors.open
        self._lock: int | None = None
        self._known: set[Path] = set()  # folders and files whose entries this process has forced
        if lock:
            self._make_folder(root)
            self._lock = _locked(root / "lock")

    def names(self, folder: str) -> list[str]:
        """Return the sorted names of the files in a folder."""
        return self._entries(folder, Path.is_file)

    def folders(self, folder: str = "") -> list[str]:
        """Return the sorted names of the folders in a folder."""
        return self._entries(folder, Path.is_dir)

    def _entries(self, folder: str, wanted: Callable[[Path], bool]) -> list[str]:
        path = self.root / folder
        if not path.is_dir():
            return []
        names = self._descriptors.lend(lambda: os.listdir(path))
        return sorted(name for name in names if wanted(path / name))

    def size(self, name: str) -> int:
        """Return a file's size in octets."""
        return (self.root / name).stat().st_size

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Return up to `length` octets from `offset`."""
        fd = self._open(self.root / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(fd, length, offset)
        finally:
            os.close(fd)

    def open_append(self, name: str) -> LocalAppendFile:
        """Open for appending; the name is durable at once, also one that a crash left before it was."""
        path = self.root / name
        self._make_folder(path.parent)
        known = path in self._known and path.exists()
        file = LocalAppendFile(path, self._open)
        if not known:
            self._sync_folder(path.parent)
            self._known.add(path)
        return file

    def _make_folder(self, folder: Path) -> None:
        """Make a folder; the entry of each level is forced, also one that a crash left before it was."""
        if folder in self._known and folder.is_dir():
            return
        levels = [folder, *folder.parents]
        new = [level for level in levels if not level.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        ours = [level for level in levels if level != self.root and level.is_relative_to(self.root)]
        for level in reversed(levels):
            if level in new or level in ours:
                self._sync_folder(level.parent)
        self._known.add(folder)

    def write_whole(self, name: str, data: bytes) -> None:
        """Replace a small file atomically and durably."""
        path = self.root / name
        self._make_folder(path.parent)
        temporary = path.with_name(path.name + ".new")
        with open(temporary, "wb", opener=lambda path, flags: self._open(path, flags, FILE_MODE)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        self._sync_folder(path.parent)

    def _sync_folder(self, folder: Path) -> None:
        _sync_folder(folder, self._open)

    def remove(self, name: str) -> None:
        """Delete a file if it is there."""
        (self.root / name).unlink(missing_ok=True)

    def free_octets(self) -> int:
        """Return the octets free on the device."""
        self._make_folder(self.root)
        return shutil.disk_usage(self.root).free

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _locked(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise StartError(
            f"the data directory {path.parent} is in use by another gateway (process {holder})",
            "stop that one, or give this one a data_dir of its own",
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, str(os.getpid()).encode(), 0)
    return fd


def _sync_folder(folder: Path, opener: Opener) -> None:
    fd = opener(folder, os.O_RDONLY | os.O_DIRECTORY, 0)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class ThreadWorker:
    """One thread that does blocking work in order; see gateway.world.Worker."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiting = 0  # pieces of work that were given and are not begun
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._began_s: float | None = None

    def __call__(self, work: Callable[[], T]) -> Awaitable[T]:
        """Run `work` in the thread."""
        self.waiting += 1
        return asyncio.get_running_loop().run_in_executor(self._pool, self._work, work)

    def _work(self, work: Callable[[], T]) -> T:
        self.waiting -= 1
        self._began_s = time.monotonic()
        try:
            return work()
        finally:
            self._began_s = None

    def busy_s(self) -> float:
        """Return how long the piece of work under way takes already; 0 = none."""
        began_s = self._began_s
        return 0.0 if began_s is None else time.monotonic() - began_s

    def close(self) -> None:
        """Wait for what is running and end the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _keep_alive(sock: Any) -> None:
    """A peer that is gone without a word (half-open) is noticed within about half a minute, in a contact or not."""
    for option, value in KEEP_ALIVE:
        with contextlib.suppress(OSError):
            sock.setsockopt(*option, value)


class _PatientReader(asyncio.StreamReader):
    """Hands out everything that arrived before it raises what broke the connection; asyncio's own throws it away."""

    broken: Exception | None = None

    def set_exception(self, exc: Exception) -> None:
        """The connection broke: the end comes after what is here already."""
        self.broken = exc
        self.feed_eof()


class TcpStream:
    """A TCP connection; see gateway.world.Stream."""

    def __init__(self, reader: _PatientReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        _keep_alive(writer.get_extra_info("socket"))
        address = writer.get_extra_info("peername")
        self._peer = f"{address[0]}:{address[1]}" if address else "unknown"

    @property
    def peer(self) -> str:
        """The other end."""
        return self._peer

    async def read(self, max_octets: int) -> bytes:
        """Read some octets."""
        data = await self._reader.read(max_octets)
        if not data and self._reader.broken is not None:
            raise self._reader.broken
        return data

    async def write(self, data: Buffer) -> None:
        """Write everything."""
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        """Close at once."""
        self._writer.transport.abort()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class TcpListener:
    """A listening TCP socket; see gateway.world.Listener."""

    def __init__(self, server: asyncio.Server) -> None:
        self._server = server
        self._port = int(server.sockets[0].getsockname()[1])

    @property
    def port(self) -> int:
        """The port bound."""
        return self._port

    async def close(self) -> None:
        """Stop listening."""
        self._server.close()


class TcpNetwork:
    """TCP through asyncio, UDP past it; see gateway.world.Network."""

    async def connect(self, host: str, port: int) -> Stream:
        """Connect."""
        loop = asyncio.get_running_loop()
        reader = _PatientReader(READ_OCTETS, loop)
        transport, protocol = await loop.create_connection(lambda: asyncio.StreamReaderProtocol(reader), host, port)
        return TcpStream(reader, asyncio.StreamWriter(transport, protocol, reader, loop))

    async def listen(self, host: str, port: int, on_stream: Callable[[Stream], Awaitable[None]]) -> Listener:
        """Listen."""
        loop = asyncio.get_running_loop()

        def connection() -> asyncio.StreamReaderProtocol:
            reader = _PatientReader(READ_OCTETS, loop)

            async def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await on_stream(TcpStream(reader, writer))

            return asyncio.StreamReaderProtocol(reader, accepted)

        return TcpListener(await loop.create_server(connection, host, port))

    async def receive_datagrams(self, host: str, port: int, buffer_octets: int) -> DatagramSocket:
        """Bind for datagrams."""
        return await datagram_socket.bind(host, port, buffer_octets)

    async def send_datagrams(self, host: str, port: int) -> DatagramSender:
        """Send datagrams."""
        return datagram_socket.ConnectedSender(host, port)
