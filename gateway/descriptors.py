"""File descriptors: how many are open of how many, and a few kept back for the journal (R13).

When the process has no descriptor left, opening a segment, a folder to force or a file to read takes one of the
reserve; it is filled again as soon as the system gives any. Connections are limited long before (gateway.weather).
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
RESERVE, RESERVE_MIN, LEFT_FREE = 16, 8, 4
"""How many are kept; how many at least when there are hardly any; how many are then left for connections that come."""
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE})
OPEN_FILES = "/proc/self/fd"


class Descriptors:
    """Thread-safe. `close` gives the reserve back."""

    def __init__(self, reserve: int = RESERVE) -> None:
        self.wanted, self._most = reserve, reserve
        self._kept: list[int] = []
        self._lock = threading.Lock()
        self._fill()

    def open(self, path: str | Path, flags: int, mode: int = 0o777) -> int:
        """As os.open; takes from the reserve when there is none left. Raises OSError."""
        return self.lend(lambda: os.open(path, flags | os.O_CLOEXEC, mode))

    def lend(self, work: Callable[[], T]) -> T:
        """Do work that opens a file or two; when there are none left, again with two of the reserve. Raises OSError."""
        try:
            result = work()
        except OSError as error:
            if error.errno not in EXHAUSTED or not self._kept:
                raise
        else:
            self._fill()
            return result
        with self._lock:
            for _ in range(min(2, len(self._kept))):
                os.close(self._kept.pop())
            return work()

    def _fill(self) -> None:
        if len(self._kept) >= self.wanted:
            return
        with self._lock, contextlib.suppress(OSError):
            while len(self._kept) < self.wanted:
                self._kept.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    @property
    def kept(self) -> int:
        """How many are in reserve now."""
        return len(self._kept)

    def usage(self) -> tuple[int, int]:
        """Return how many are open, the reserve not counted, and how many may be. Raises OSError."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        count = len(self.lend(lambda: os.listdir(OPEN_FILES))) - 1  # the listing itself
        return count - len(self._kept), limit

    def leave_room(self) -> None:
        """Make the reserve smaller while descriptors are scarce: who cannot be accepted cannot even be told why."""
        used, limit = self.usage()
        self.wanted = min(self._most, max(RESERVE_MIN, limit - used - LEFT_FREE))
        with self._lock:
            self._shrink()
        self._fill()

    def _shrink(self) -> None:
        while len(self._kept) > self.wanted:
            os.close(self._kept.pop())

    @property
    def short(self) -> bool:
        """Whether the reserve is not whole."""
        return len(self._kept) < self._most

    def close(self) -> None:
        """Give the reserve back."""
        with self._lock:
            self.wanted = self._most = 0
            self._shrink()
