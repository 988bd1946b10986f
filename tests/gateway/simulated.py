"""A simulated world: a disk that loses what was not forced, a network that cuts and freezes, time that jumps."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import random
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import async_solipsism

from gateway.access.policy import Policy
from gateway.journal import SmallStore
from gateway.world import Received
from gateway_routes.rights import Grant, HomeRights, Where

T = TypeVar("T")


class SimClock:
    """A wall clock that the test moves."""

    def __init__(self, start_ns: int = 2_000_000_000 * 10**9) -> None:
        self.now_ns = start_ns
        self.stepped_ns = 0

    def tai_ns(self) -> int:
        self.now_ns += 1000
        return self.now_ns

    def steady_tai_ns(self) -> int:
        return self.tai_ns() - self.stepped_ns

    def step(self, ns: int) -> None:
        """Somebody sets the wall clock: no time passes."""
        self.now_ns += ns
        self.stepped_ns += ns


async def _done(work: Callable[[], T]) -> T:
    return work()


def inline(work: Callable[[], T]) -> Awaitable[T]:
    """A worker without a thread."""
    return _done(work)


class PowerLoss(BaseException):
    """The power went in the middle of a disk operation; no `except Exception` of the product may survive it."""


class SimStorage:
    """See gateway.world.Storage. A `fuse` of n lets the power go at the n-th step that changes the disk."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.durable: dict[str, bytearray] = {}
        self.volatile: dict[str, bytearray] = {}
        self.fail_writes = self.fail_opens = self.fail_syncs = 0
        self.bad: list[tuple[str, int, int]] = []  # unreadable places: name, first octet, end
        self.free = 1 << 40
        self.forced: list[str] = []
        self.fuse: int | None = None
        self.dead = False
        self.on_loss: Callable[[], None] = lambda: None

    def step(self) -> bool:
        """Return whether the power goes now. Raises PowerLoss when it is gone already."""
        if self.dead:
            raise PowerLoss
        if self.fuse is not None:
            self.fuse -= 1
            self.dead = self.fuse <= 0
        return self.dead

    def lose(self) -> None:
        """The power goes."""
        self.on_loss()
        raise PowerLoss

    def step_or_lose(self) -> None:
        """A step in which nothing can be half done."""
        if self.step():
            self.lose()

    def _file(self, name: str) -> bytearray:
        if self.dead:
            raise PowerLoss
        if name not in self.volatile:
            raise FileNotFoundError(name)
        return self.volatile[name]

    def names(self, folder: str) -> list[str]:
        start = f"{folder}/" if folder else ""
        return sorted(n[len(start) :] for n in self.volatile if n.startswith(start) and "/" not in n[len(start) :])

    def size(self, name: str) -> int:
        return len(self._file(name))

    def read(self, name: str, offset: int, length: int) -> bytes:
        if any(name == bad and offset < end and first < offset + length for bad, first, end in self.bad):
            raise OSError(5, "Input/output error")
        return bytes(self._file(name)[offset : offset + length])

    def open_append(self, name: str) -> SimFile:
        if name not in self.volatile:
            self.step_or_lose()
            if self.fail_opens:
                self.fail_opens -= 1
                raise OSError(24, "Too many open files")
            self.volatile[name], self.durable[name] = bytearray(), bytearray()
            self.step_or_lose()
        return SimFile(self, name)

    def write_whole(self, name: str, data: bytes) -> None:
        self.step_or_lose()
        self.volatile[name], self.durable[name] = bytearray(data), bytearray(data)
        self.step_or_lose()

    def remove(self, name: str) -> None:
        self.step_or_lose()
        self.volatile.pop(name, None)
        self.durable.pop(name, None)

    def free_octets(self) -> int:
        return self.free

    def crash(self) -> None:
        """Lose power: of what was not forced a part survives, or all of it with zeros at its end or in its middle."""
        for name, whole in self.volatile.items():
            safe = self.durable[name]
            loose = whole[len(safe) :] if whole.startswith(safe) else bytearray()
            self.durable[name] = safe + self._left_of(loose)
        self.volatile = {name: bytearray(data) for name, data in self.durable.items()}
        self.fuse, self.dead = None, False

    def _left_of(self, loose: bytearray) -> bytearray:
        first, end = sorted((self.rng.randint(0, len(loose)), self.rng.randint(0, len(loose))))
        how = self.rng.random()
        if how < 0.5:
            return loose[:first]
        if how < 0.6:
            return loose
        end = len(loose) if how < 0.9 else end
        return loose[:first] + bytes(end - first) + loose[end:]


class SimFile:
    """See gateway.world.AppendFile."""

    def __init__(self, storage: SimStorage, name: str) -> None:
        self._storage, self._name, self._closed = storage, name, False

    @property
    def size(self) -> int:
        return len(self._storage.volatile[self._name])

    def append(self, buffers: Sequence[Any]) -> None:
        assert not self._closed, f"{self._name} is written after it was closed"
        data, storage = b"".join(bytes(b) for b in buffers), self._storage
        going = storage.step()
        failing = storage.fail_writes > 0
        if going or failing:
            storage.volatile[self._name] += data[: storage.rng.randint(0, len(data))]
        if going:
            storage.lose()
        if failing:
            storage.fail_writes -= 1
            raise OSError(28, "No space left on device")
        storage.volatile[self._name] += data

    def sync(self) -> None:
        self._storage.step_or_lose()
        if self._storage.fail_syncs:
            self._storage.fail_syncs -= 1
            raise OSError(5, "Input/output error")
        self._storage.durable[self._name] = bytearray(self._storage.volatile[self._name])
        self._storage.forced.append(self._name)
        self._storage.step_or_lose()

    def truncate(self, size: int) -> None:
        self._storage.step_or_lose()
        del self._storage.volatile[self._name][size:]
        self.sync()

    def close(self) -> None:
        assert not self._closed, f"{self._name} is closed twice"
        self._closed = True


class SimLoop(async_solipsism.EventLoop):  # type: ignore[misc]
    """A loop whose time jumps to the next timer. It knows in which order tasks were made, so that a seed repeats."""

    def __init__(self) -> None:
        super().__init__()
        self._made: weakref.WeakKeyDictionary[asyncio.Task[Any], int] = weakref.WeakKeyDictionary()
        self._count = itertools.count()

    def create_task(self, *args: Any, **kwargs: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = super().create_task(*args, **kwargs)
        self._made[task] = next(self._count)
        return task

    def tasks(self) -> list[asyncio.Task[Any]]:
        """Return the tasks that have not ended, the oldest first; `asyncio.all_tasks` has no order."""
        return sorted(asyncio.all_tasks(self), key=lambda task: self._made.get(task, -1))


def all_tasks() -> list[asyncio.Task[Any]]:
    """Return the tasks of this loop in the order in which they were made."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimLoop)
    return loop.tasks()


def on_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on a loop whose time jumps to the next timer: nothing really sleeps."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=SimLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


class SimStream:
    """One end of a simulated connection; see gateway.world.Stream. Reads are short when the network says so."""

    WINDOW_OCTETS = 1 << 16

    def __init__(self, network: SimNetwork, peer: str) -> None:
        self._network, self.peer = network, peer
        self._inbox = bytearray()
        self._changed = asyncio.Event()
        self.other: SimStream = self
        self.ended = self.cut = self.frozen = self.closed = False

    def _wake(self) -> None:
        for end in (self, self.other):
            end._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def read(self, max_octets: int) -> bytes:
        while not self._inbox or self.frozen:
            if self.cut or self.closed:
                raise ConnectionResetError(104, "Connection reset by peer")
            if self.ended and not self.frozen:
                return b""
            await self._change()
        size = min(max_octets, self._network.read_size(len(self._inbox)))
        data = bytes(self._inbox[:size])
        del self._inbox[:size]
        self._wake()
        return data

    async def write(self, data: Any) -> None:
        while len(self.other._inbox) > self.WINDOW_OCTETS and not (self.cut or self.closed or self.other.closed):
            await self._change()
        if self.cut or self.closed or self.other.closed:
            raise ConnectionResetError(104, "Connection reset by peer")
        self.other._inbox += data
        self._wake()

    async def close(self) -> None:
        self.closed = True
        self.other.ended = True
        self._wake()

    def reset(self) -> None:
        """Cut the connection: both ends get an error, what was under way is lost."""
        for end in (self, self.other):
            end.cut = True
            end._inbox.clear()
        self._wake()

    def freeze(self) -> None:
        """Half-open: nothing arrives any more, nobody is told."""
        self.frozen = self.other.frozen = True


class SimListener:
    """See gateway.world.Listener."""

    def __init__(self, network: SimNetwork, port: int) -> None:
        self._network, self.port = network, port

    async def close(self) -> None:
        self._network.listening.pop(self.port, None)


class SimDatagrams:
    """See gateway.world.DatagramSocket: a queue of so many octets; what does not fit is dropped and counted."""

    TURN_OCTETS = 1 << 18

    def __init__(self, network: SimNetwork, port: int, buffer_octets: int) -> None:
        self._network, self.port, self.buffer_octets = network, port, buffer_octets
        self._queue: list[tuple[bytes, tuple[str, int], int]] = []  # octets, peer, dropped before
        self._dropped = self._dropped_seen = 0
        self._changed = asyncio.Event()
        self.counts_drops = True
        self.broken: OSError | None = None

    def arrive(self, octets: bytes, peer: tuple[str, int]) -> None:
        if sum(len(one) for one, *_ in self._queue) + len(octets) > self.buffer_octets:
            self._dropped += 1
        else:
            self._queue.append((octets, peer, self._dropped))
        self._changed.set()

    def fail(self, error: OSError) -> None:
        """The next read fails."""
        self.broken = error
        self._changed.set()

    async def receive(self) -> Received:
        while not self._queue:
            if self.broken is not None:
                raise self.broken
            self._changed.clear()
            await self._changed.wait()
        return self._receive()

    def waiting(self) -> Received:
        self._network.bound.pop(self.port, None)
        return self._receive()

    def _receive(self) -> Received:
        count, octets = 0, 0
        while count < len(self._queue) and octets < self.TURN_OCTETS:
            octets += len(self._queue[count][0])
            count += 1
        taken, self._queue = self._queue[:count], self._queue[count:]
        drops = [self._dropped_seen, *[dropped for *_, dropped in taken]]
        self._dropped_seen = drops[-1]
        lost_at = next((k for k in range(count) if drops[k + 1] > drops[k]), -1)
        return Received(
            b"".join(one for one, *_ in taken), [len(one) for one, *_ in taken], [peer for _, peer, _ in taken], lost_at
        )

    def dropped(self) -> int | None:
        return self._dropped if self.counts_drops else None

    async def close(self) -> None:
        self._network.bound.pop(self.port, None)


class SimSender:
    """See gateway.world.DatagramSender. Nobody there: refused, as by a host that says so. `slow_s`: a slow line."""

    def __init__(self, network: SimNetwork, port: int) -> None:
        self._network, self._port = network, port

    async def send(self, datagram: Any) -> bool:
        if self._network.slow_s:
            await asyncio.sleep(self._network.slow_s)
        there = self._port in self._network.bound
        self._network.send(self._port, bytes(datagram), peer=("127.0.0.1", 40001))
        return there

    async def close(self) -> None:
        pass


class SimNetwork:
    """See gateway.world.Network. `streams` are the accepting ends, newest last; `bound` the sockets for datagrams."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng
        self.bound: dict[int, SimDatagrams] = {}
        self.slow_s = 0.0  # how long a datagram takes to be handed over
        self.buffer_octets_max = 1 << 30  # what the kernel gives at most
        self.listening: dict[int, Callable[[Any], Awaitable[None]]] = {}
        self.streams: list[SimStream] = []
        self.tasks: set[asyncio.Task[None]] = set()

    def read_size(self, waiting: int) -> int:
        return waiting if self._rng is None else self._rng.randint(1, waiting)

    async def connect(self, host: str, port: int) -> SimStream:
        await asyncio.sleep(0.001)
        if port not in self.listening:
            raise ConnectionRefusedError(111, "Connection refused")
        near, far = SimStream(self, f"{host}:{port}"), SimStream(self, "127.0.0.1:40000")
        near.other, far.other = far, near
        self.streams.append(far)
        task = asyncio.ensure_future(self._accepted(port, far))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return near

    async def _accepted(self, port: int, stream: SimStream) -> None:
        with contextlib.suppress(OSError):
            await self.listening[port](stream)

    async def listen(self, host: str, port: int, on_stream: Callable[[Any], Awaitable[None]]) -> SimListener:
        port = port or 50000 + len(self.listening)
        self.listening[port] = on_stream
        return SimListener(self, port)

    async def receive_datagrams(self, host: str, port: int, buffer_octets: int) -> SimDatagrams:
        port = port or 50000 + len(self.bound)
        if port in self.bound:
            raise OSError(98, "Address already in use")
        self.bound[port] = SimDatagrams(self, port, min(buffer_octets, self.buffer_octets_max))
        return self.bound[port]

    async def send_datagrams(self, host: str, port: int) -> SimSender:
        return SimSender(self, port)

    def send(self, port: int, *datagrams: bytes, peer: tuple[str, int] = ("10.0.0.1", 4000)) -> None:
        """Datagrams arrive, if somebody is there."""
        for one in datagrams:
            if port in self.bound:
                self.bound[port].arrive(one, peer)


async def end_all(*names: str) -> None:
    """A process dies: every task with such a name ends, and those that a dying one starts while it cleans up."""
    while tasks := [task for task in all_tasks() if task.get_name().startswith(names)]:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


WHERE = Where("m", "m", "flight")
EVERYTHING = Grant(
    "m", items={"kinds": ["tm", "tc", "video", "voice", "event"], "bad_quality": True}, parameters=("*",)
)


def granted(*homes: str) -> tuple[Policy, Where]:
    """Home bases that are granted everything, in the mission instance `WHERE`."""
    return Policy({home: HomeRights((EVERYTHING,)) for home in homes}), WHERE


def small_store(kind: type[SmallStore] = SmallStore) -> SmallStore:
    """A store in memory that is closed when nobody holds it any more."""
    store = kind(None)
    weakref.finalize(store, store._db.close)
    return store
