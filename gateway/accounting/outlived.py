"""What retention removes is counted before it goes: per stream and subscription, kept in the small store as one row.

A row is of one removal, [first, end). Segments end with the UTC day, so days stay countable; of a range that cuts a row
in two the positions are told, and nothing is made up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import structlog

from gateway.journal import SmallStore
from gateway.world import Worker

log = structlog.get_logger()
ROWS_KEPT = 400
ROW_OCTETS_MAX = 1 << 20


class Outlived:
    """The rows of one journal, oldest first."""

    def __init__(self, journal_id: str, store: SmallStore, keeper: Worker) -> None:
        self._journal_id, self._store, self._keeper = journal_id, store, keeper
        self.ranges: list[tuple[int, int]] = []

    async def load(self) -> None:
        """Read which rows there are. Raises OSError."""
        kept = await self._keeper(lambda: self._store.get(self._index)) or []
        self.ranges = [(int(first), int(end)) for first, end in kept]

    @property
    def _index(self) -> str:
        return f"outlived {self._journal_id}"

    def _key(self, first: int) -> str:
        return f"outlived {self._journal_id} {first}"

    async def put(self, first: int, end: int, row: Mapping[str, Any]) -> None:
        """Keep a row; of many the newest are kept. Raises OSError."""
        text = json.dumps(row)
        if len(text) > ROW_OCTETS_MAX:
            log.warning("a removed range is not counted: too many streams", first=first, end=end)
            return
        ranges = sorted({*self.ranges, (first, end)})
        left, old = ranges[-ROWS_KEPT:], ranges[:-ROWS_KEPT]

        def store() -> None:
            self._store.put(self._key(first), row)
            self._store.put(self._index, left)
            if old:
                self._store.remove([self._key(begin) for begin, _ in old])

        await self._keeper(store)
        self.ranges = left

    async def within(self, first: int, end: int) -> list[tuple[int, int, dict[str, Any]]]:
        """Return the rows that lie wholly in [first, end). Raises OSError."""
        found = []
        for begin, upto in [one for one in self.ranges if first <= one[0] and one[1] <= end]:
            row = await self._keeper(lambda begin=begin: self._store.get(self._key(begin)))  # type: ignore[misc]
            if row is not None:
                found.append((begin, upto, row))
        return found
