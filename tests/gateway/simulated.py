"""A simulated disk: octets that were not forced can be lost, torn or turned to zeros in a crash; errors on demand."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class SimClock:
    """A wall clock that the test moves."""

    def __init__(self, start_ns: int = 2_000_000_000 * 10**9) -> None:
        self.now_ns = start_ns

    def tai_ns(self) -> int:
        self.now_ns += 1000
        return self.now_ns


async def _done(work: Callable[[], T]) -> T:
    return work()


def inline(work: Callable[[], T]) -> Awaitable[T]:
    """A worker without a thread."""
    return _done(work)


class SimStorage:
    """See gateway.world.Storage."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.durable: dict[str, bytearray] = {}
        self.volatile: dict[str, bytearray] = {}
        self.fail_writes = 0
        self.free = 1 << 40
        self.forced: list[str] = []

    def _file(self, name: str) -> bytearray:
        if name not in self.volatile:
            raise FileNotFoundError(name)
        return self.volatile[name]

    def names(self, folder: str) -> list[str]:
        start = f"{folder}/" if folder else ""
        return sorted(n[len(start) :] for n in self.volatile if n.startswith(start) and "/" not in n[len(start) :])

    def size(self, name: str) -> int:
        return len(self._file(name))

    def read(self, name: str, offset: int, length: int) -> bytes:
        return bytes(self._file(name)[offset : offset + length])

    def open_append(self, name: str) -> SimFile:
        self.volatile.setdefault(name, bytearray())
        self.durable.setdefault(name, bytearray())
        return SimFile(self, name)

    def write_whole(self, name: str, data: bytes) -> None:
        self.volatile[name], self.durable[name] = bytearray(data), bytearray(data)

    def remove(self, name: str) -> None:
        self.volatile.pop(name, None)
        self.durable.pop(name, None)

    def free_octets(self) -> int:
        return self.free

    def crash(self) -> None:
        """Lose power: what was not forced survives only in part, or as zeros."""
        for name, whole in self.volatile.items():
            safe = self.durable[name]
            loose = whole[len(safe) :] if whole.startswith(safe) else bytearray()
            kept = loose[: self.rng.randint(0, len(loose))]
            if kept and self.rng.random() < 0.3:
                kept[self.rng.randrange(len(kept)) :] = bytes(len(kept) - self.rng.randrange(len(kept)))
            self.durable[name] = safe + kept
        self.volatile = {name: bytearray(data) for name, data in self.durable.items()}


class SimFile:
    """See gateway.world.AppendFile."""

    def __init__(self, storage: SimStorage, name: str) -> None:
        self._storage, self._name = storage, name

    @property
    def size(self) -> int:
        return len(self._storage.volatile[self._name])

    def append(self, buffers: Sequence[Any]) -> None:
        data = b"".join(bytes(b) for b in buffers)
        if self._storage.fail_writes:
            self._storage.fail_writes -= 1
            self._storage.volatile[self._name] += data[: self._storage.rng.randint(0, len(data))]
            raise OSError(28, "No space left on device")
        self._storage.volatile[self._name] += data

    def sync(self) -> None:
        self._storage.durable[self._name] = bytearray(self._storage.volatile[self._name])
        self._storage.forced.append(self._name)

    def truncate(self, size: int) -> None:
        del self._storage.volatile[self._name][size:]
        self.sync()

    def close(self) -> None:
        pass
