"""How late home bases are: for how long the oldest position that they have not acknowledged is committed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.homes.registry import SubscriptionRegistry
from gateway.journal import Journal
from gateway.world import Worker
from gateway_codecs.batches import ABSENT

LOOKED_AT_ONCE = 64
BLOCKS_PASSED_MAX = 16


@dataclass(frozen=True, slots=True)
class _Committed:
    """When a position was committed, and all from it to `end`; what is behind it was so later."""

    position: int
    end: int
    at_ns: int


class Lags:
    """Near the head it is known from memory. Who is further behind is looked up on the disk, by `look`: between two
    looks what it waits for is that of the last one. All methods run on the event loop.
    """

    def __init__(self, registry: SubscriptionRegistry, worker: Worker, steady_ns: Callable[[], int]) -> None:
        self._registry, self._worker, self._steady_ns = registry, worker, steady_ns
        self._looked: dict[str, _Committed] = {}  # by home base; who was looked up longest ago comes first

    async def look(self) -> None:
        """Look up those whose lag is on the disk alone; of very many some, and the others next. Raises OSError."""
        journal, waits = self._registry.journal, self._waits()
        self._looked = {home: seen for home, seen in self._looked.items() if home in waits}
        new = [home for home in waits if home not in self._looked]
        wanted = [home for home in [*new, *self._looked] if self._is_unknown(home, waits[home])]
        chosen = {home: waits[home] for home in wanted[:LOOKED_AT_ONCE]}
        if not chosen:
            return
        now_ns = self._steady_ns()
        found = await self._worker(lambda: {water: _committed(journal, water, now_ns) for water in {*chosen.values()}})
        for home, water in chosen.items():
            self._looked.pop(home, None)
            self._looked[home] = found[water]

    def lags_s(self) -> dict[str, float]:
        """Return how late each home base is that has not everything; 0 of who was never looked up yet."""
        journal, now_ns, found = self._registry.journal, self._steady_ns(), dict[str, float]()
        for home, water in self._waits().items():
            at_ns, seen = journal.committed_lately(water), self._looked.get(home)
            if at_ns is None:
                at_ns = now_ns if seen is None else seen.at_ns
            found[home] = max(0.0, (now_ns - at_ns) / 1e9)
        return found

    def _waits(self) -> dict[str, int]:
        """Return, for each home base that lags, the oldest position that it waits for and can be had still."""
        journal, waits = self._registry.journal, dict[str, int]()
        for (home, _), one in self._registry.subscriptions.items():
            if one.cursor.low_water < journal.head:
                water = max(one.cursor.low_water, journal.tail)
                waits[home] = min(water, waits.get(home, water))
        return waits

    def _is_unknown(self, home: str, water: int) -> bool:
        seen = self._looked.get(home)
        known = seen is not None and seen.position <= water < seen.end
        return not known and self._registry.journal.committed_lately(water) is None


def _committed(journal: Journal, water: int, now_ns: int) -> _Committed:
    """Return when a position was committed; of what cannot be read, as what comes behind it. Raises OSError."""
    at = max(water, journal.tail)
    for _ in range(BLOCKS_PASSED_MAX):
        if at >= journal.head:
            break
        committed_ns, _, end = journal.committed(at)
        if committed_ns != ABSENT:
            return _Committed(water, end, committed_ns)
        at = max(end, at + 1)
    return _Committed(water, at, now_ns)  # nothing near it can be read: it waits since now at least
