"""What a home base's store keeps: whole files go when they are old, or too many, and everybody is done with them.

Removed positions stay in the store's cursor, durably and before the file goes: they are never asked for again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.homes.store import FILE_OCTETS, HomeStore, StoredFile
from gateway_routes.delivery import Cursor

DAY_NS = 86_400 * 10**9
FILES_MIN = 8
FILE_OCTETS_MIN = 1 << 14


@dataclass(frozen=True, slots=True)
class Keep:
    """For how long, and how much of it. None: no limit."""

    days: float | None = None
    octets: int | None = None

    def __bool__(self) -> bool:
        """Whether there is a limit."""
        return self.days is not None or self.octets is not None

    @property
    def file_octets(self) -> int:
        """After how many octets a file is closed: a few of them make what is kept."""
        return FILE_OCTETS if self.octets is None else min(FILE_OCTETS, max(FILE_OCTETS_MIN, self.octets // FILES_MIN))

    @property
    def roll_ns(self) -> int | None:
        """After how long a file is closed, so that its age can come."""
        return None if self.days is None else round(min(1.0, self.days / FILES_MIN) * DAY_NS)


@dataclass(slots=True)
class Retention:
    """Looks at one store now and then. Blocking; runs in the store's worker."""

    keep: Keep
    held_by: tuple[str, ...] = ()  # who is not done with what would go
    over_octets: int = 0  # how much more there is than is to be kept
    trouble: str | None = None

    def look(self, store: HomeStore, holders: Mapping[str, Cursor | None], now_ns: int, closing: bool = True) -> None:
        """Remove what may go. `holders`: who reads the store, and what it is done with, durably; None: with nothing.

        `now_ns` is TAI, by a clock that makes no steps; `closing`: the disk takes something, so that files may be
        closed. Raises OSError: what was removed before is.
        """
        if closing:
            store.close_files(self.keep.roll_ns, now_ns)
        held: dict[str, None] = {}
        for file in store.files():
            if not self._is_due(store, file, now_ns):
                continue
            keeping = [name for name, done in holders.items() if not _is_done(done, file)]
            if keeping:
                held |= dict.fromkeys(keeping)
            elif file.closed_ns is not None:
                store.remove(file.name)
        self.held_by = tuple(held)
        self.over_octets = 0 if self.keep.octets is None else max(0, store.octets - self.keep.octets)

    def _is_due(self, store: HomeStore, file: StoredFile, now_ns: int) -> bool:
        old = self.keep.days is not None and file.closed_ns is not None
        if old and now_ns - (file.closed_ns or 0) > (self.keep.days or 0) * DAY_NS:
            return True
        return self.keep.octets is not None and store.octets > self.keep.octets

    def described(self, store: HomeStore | None) -> dict[str, Any]:
        """Return what the status shows."""
        removed: Mapping[str, int] = store.removed_counts if store is not None else {}
        return {
            "keep_days": self.keep.days, "keep_octets": self.keep.octets, "held_by": list(self.held_by),
            "over_octets": self.over_octets, "trouble": self.trouble,
            **{f"removed_{what}": removed.get(what, 0) for what in ("positions", "items", "octets")},
        }  # fmt: skip


def _is_done(done: Cursor | None, file: StoredFile) -> bool:
    return done is not None and not any(end > file.first for _, end in done.missing(file.end))
