"""The versions that a subscription had before: what it selected, what of that was granted, what was acknowledged then.

They change with rights and selections, seldom; so they are kept beside the cursor, which is stored at every turn. Kept
before the cursor with the new version is: of a version that never came to be nothing is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway.journal import SmallStore
from gateway.world import Worker
from gateway_routes.delivery import Cursor, DeliveryError, Range, overlap, parse_cursor

VERSIONS_KEPT, RANGES_KEPT = 16, 64
MISSING_KEPT = 256
Missing = tuple[tuple[int, int, str], ...]
"""Positions [first, end) that a home base was told as missing, and the cause: expired, damaged."""


@dataclass(frozen=True, slots=True)
class FormerVersion:
    """One version: what was acknowledged under it, and not since taken back. `granted`: see `policy.described`."""

    version: int
    selection: Mapping[str, Any]
    granted: Mapping[str, Any]
    ranges: tuple[Range, ...]

    def stored(self) -> dict[str, Any]:
        """Return the durable form."""
        ranges = [list(one) for one in self.ranges]
        return {"version": self.version, "selection": self.selection, "granted": self.granted, "ranges": ranges}


def acknowledged(cursor: Cursor) -> list[Range]:
    """Return the ranges that a cursor has acknowledged."""
    return [*([(0, cursor.low_water)] if cursor.low_water else []), *cursor.ranges]


def ended(
    former: Iterable[FormerVersion], version: int, selection: Mapping[str, Any], granted: Mapping[str, Any],
    cursor: Cursor, begun: int,
) -> tuple[tuple[FormerVersion, ...], int]:  # fmt: skip
    """Return the former versions when one more has ended at a cursor: what the others had not acknowledged is its.

    `begun`: what is acknowledged below it, and of no former version, is of nobody knows which. It is returned as it is
    then: higher when more had to be forgotten.
    """
    kept = taken_back(former, cursor)
    of_others = [span for one in kept for span in one.ranges]
    mine = overlap(acknowledged(cursor), _without(of_others, begun))
    last = FormerVersion(version, selection, granted, tuple(mine[-RANGES_KEPT:]))
    every = (*kept, last)
    forgotten = [*mine[:-RANGES_KEPT], *(span for one in every[:-VERSIONS_KEPT] for span in one.ranges)]
    return every[-VERSIONS_KEPT:], max([begun, *(end for _, end in forgotten)])


def lowered(begun: int, cursor: Cursor) -> int:
    """Return `begun` for who comes back with less than before: between it and what is returned nothing is acknowledged,
    so that all of it will be of the version that serves it now."""
    below = [min(end, begun) for first, end in acknowledged(cursor) if first < begun]
    return max(below, default=0)


def taken_back(former: Iterable[FormerVersion], cursor: Cursor) -> tuple[FormerVersion, ...]:
    """Return what of the former versions is acknowledged still: a home base may come back with less."""
    there = acknowledged(cursor)
    return tuple(replace(one, ranges=tuple(overlap(one.ranges, there))) for one in former)


def _without(ranges: Iterable[Range], begin: int) -> list[Range]:
    """Return all positions from `begin` on that are in none of the ranges, which are disjoint."""
    gaps, at = [], begin
    for first, end in sorted(ranges):
        if first > at:
            gaps.append((at, first))
        at = max(at, end)
    return [*gaps, (at, 1 << 62)]


def noted(missing: Missing, first: int, end: int, reason: str) -> Missing:
    """Return the ranges that were told as missing with one more; beyond MISSING_KEPT the lowest are forgotten."""
    cause = reason.split(":", maxsplit=1)[0]
    rows = list[tuple[int, int, str]]()
    for row in sorted([*missing, (first, end, cause)]):
        if rows and rows[-1][2] == row[2] and row[0] <= rows[-1][1]:
            rows[-1] = (rows[-1][0], max(rows[-1][1], row[1]), row[2])
        else:
            rows.append(row)
    return tuple(rows[-MISSING_KEPT:])


def still_missing(missing: Missing, cursor: Cursor) -> Missing:
    """Return what of it the home base does not ask for again."""
    there = acknowledged(cursor)
    return tuple((a, b, cause) for first, end, cause in missing for a, b in overlap([(first, end)], there))


class FormerVersions:
    """Those of the subscriptions of one journal, durable. Every method that waits raises OSError."""

    def __init__(self, journal_id: str, store: SmallStore, worker: Worker) -> None:
        self._journal_id, self._store, self._worker = journal_id, store, worker
        self._known: dict[tuple[str, str], tuple[FormerVersion, ...]] = {}

    def of(self, home: str, name: str, version: int) -> tuple[FormerVersion, ...]:
        """Return those of a subscription that is at a version, the oldest first."""
        return tuple(one for one in self._known.get((home, name), ()) if one.version < version)

    async def load(self, home: str, name: str) -> None:
        """Read those of a subscription."""
        rows = await self._worker(lambda: self._store.get(self._key(home, name))) or []
        self._known[home, name] = tuple(one for row in rows if (one := _restored(row)) is not None)

    async def put(self, home: str, name: str, former: tuple[FormerVersion, ...]) -> None:
        """Keep those of a subscription."""
        rows = [one.stored() for one in former]
        await self._worker(lambda: self._store.put(self._key(home, name), rows))
        self._known[home, name] = former

    async def remove(self, home: str, name: str) -> None:
        """Forget those of a subscription."""
        if self._known.pop((home, name), ()):
            await self._worker(lambda: self._store.remove([self._key(home, name)]))

    def _key(self, home: str, name: str) -> str:
        return f"versions {self._journal_id} {home}/{name}"


def _restored(row: Any) -> FormerVersion | None:
    """Return a kept row; None for one that cannot be used."""
    try:
        cursor = parse_cursor({"ranges": row["ranges"]})
        return FormerVersion(row["version"], row["selection"], row["granted"], tuple(acknowledged(cursor)))
    except (KeyError, TypeError, DeliveryError):
        return None
