"""The subscriptions of one mission instance: their durable cursors and the sessions that serve them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.journal import Journal, SmallStore
from gateway.world import Worker
from gateway_routes.delivery import Cursor, parse_cursor
from gateway_routes.selection import Selection, parse_selection

if TYPE_CHECKING:
    from gateway.homes.session import Session

Key = tuple[str, str]
SUBSCRIPTIONS_PER_HOME_MAX = 64


@dataclass(slots=True)
class Subscription:
    """What is durable of one subscription of a home base."""

    home: str
    name: str
    version: int
    selection: dict[str, Any]
    cursor: Cursor
    version_from: int = 0

    def stored(self, journal: Journal) -> dict[str, Any]:
        """Return the durable form."""
        return {
            "journal_id": str(journal.journal_id),
            "revision": journal.revision,
            "version": self.version,
            "version_from": self.version_from,
            "selection": self.selection,
            "low_water": self.cursor.low_water,
            "ranges": [list(r) for r in self.cursor.ranges],
        }


@dataclass(slots=True)
class SubscriptionRegistry:
    """Knows every subscription, live or not."""

    journal: Journal
    store: SmallStore
    worker: Worker
    homes: frozenset[str]
    prime_links: frozenset[str] = frozenset()
    subscriptions: dict[Key, Subscription] = field(default_factory=dict)
    sessions: dict[Key, Session] = field(default_factory=dict)
    offline: list[Session] = field(default_factory=list)
    _dirty: dict[Key, Subscription] = field(default_factory=dict)
    _storing: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Read the stored cursors; those of another journal are left alone."""
        for home, name, kept in await self.worker(self.store.cursors):
            if kept["journal_id"] == str(self.journal.journal_id):
                cursor = parse_cursor(kept)
                if max([cursor.low_water, *(e for _, e in cursor.ranges)]) <= self.journal.head:
                    self.subscriptions[home, name] = Subscription(
                        home, name, kept["version"], kept["selection"], cursor, kept.get("version_from", 0)
                    )

    def selection(self, wish: Mapping[str, Any]) -> Selection:
        """Return the selection of a client's wish; without links the prime links. Raises ValueError."""
        spacecraft, links = self._ids("spacecraft"), self._ids("links")
        if wish.get("links") is None and self.prime_links:
            wish = {**wish, "links": sorted(self.prime_links)}
        return parse_selection(wish, spacecraft, links)

    def _ids(self, what: str) -> dict[str, int]:
        return {name: number for number, name in self.journal.names(what).items()}

    async def put(self, subscription: Subscription) -> None:
        """Store a cursor durably; concurrent ones share one transaction. Raises OSError."""
        self._dirty[subscription.home, subscription.name] = subscription
        if self._storing is None or self._storing.done():
            self._storing = asyncio.create_task(self._store_all(), name="cursor store")
        task = self._storing
        await asyncio.shield(task)
        if (subscription.home, subscription.name) in self._dirty:
            await self.put(subscription)

    async def _store_all(self) -> None:
        while self._dirty:
            taken, self._dirty = self._dirty, {}
            rows = {key: subscription.stored(self.journal) for key, subscription in taken.items()}
            try:
                await self.worker(lambda rows=rows: self.store.put_cursors(rows))  # type: ignore[misc]
            except OSError:
                self._dirty = taken | self._dirty
                raise

    def snapshot(self) -> list[dict[str, Any]]:
        """Return every subscription's state for the API."""
        rows = []
        for key, subscription in self.subscriptions.items():
            session = self.sessions.get(key)
            row = {
                "home": subscription.home,
                "subscription": subscription.name,
                "mode": "complete",
                "version": subscription.version,
                "state": session.state if session else "away",
                "low_water": subscription.cursor.low_water,
                "acknowledged_ranges": [list(r) for r in subscription.cursor.ranges],
                "lag_items": self._lag(subscription.cursor),
                "selection": subscription.selection,
                "drops": 0,
            }
            rows.append(row | (session.snapshot() if session else {}))
        return rows + [session.snapshot() for session in self.offline]

    def _lag(self, cursor: Cursor) -> int:
        return sum(end - first for first, end in cursor.missing(self.journal.head))
