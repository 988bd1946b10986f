"""The subscriptions of one mission instance: their durable cursors and the sessions that serve them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from gateway.access.policy import Policy, granted_selections, not_granted
from gateway.errors import Conflict, NotFound
from gateway.homes.ledger import HomeLedger
from gateway.homes.lines import Lines
from gateway.homes.paths import Paths
from gateway.homes.sharing import SharedReading
from gateway.homes.timely_sender import TimelyCount
from gateway.homes.versions import FormerVersions, Missing
from gateway.journal import Journal, SmallStore
from gateway.timely import TimelyTap
from gateway.values.door import ValuesDoor
from gateway.world import Worker
from gateway_routes.delivery import Cursor, DeliveryError, Range, parse_cursor
from gateway_routes.rights import Decision, Where
from gateway_routes.selection import Selection, parse_selection, within

if TYPE_CHECKING:
    from gateway.homes.outlets import Outlets
    from gateway.homes.session import Session
    from gateway.playback.book import PlaybackBook

log = structlog.get_logger()
Key = tuple[str, str]
NAMES_TOLD = 8
DigestTaken = Callable[["Session", Mapping[str, Any]], Awaitable[dict[str, Any] | None]]


@dataclass(frozen=True, slots=True)
class Subscription:
    """What is durable of one subscription of a home base. A value: a session that was replaced cannot change it."""

    home: str
    name: str
    version: int
    selection: dict[str, Any]
    cursor: Cursor
    version_from: int = 0
    drops: int = 0  # positions told as missing
    resend: tuple[Range, ...] = ()  # ordered to be sent again, and not acknowledged since
    granted: dict[str, Any] = field(default_factory=dict)  # the selection within the rights of that version
    begun: int = 0  # below it is acknowledged what no version is known of: it had not begun, or that was forgotten
    missing: Missing = ()  # told as missing, and not asked for again since

    def stored(self, journal: Journal) -> dict[str, Any]:
        """Return the durable form."""
        return {
            "journal_id": str(journal.journal_id),
            "revision": journal.revision,
            "version": self.version,
            "version_from": self.version_from,
            "begun": self.begun,
            "drops": self.drops,
            "missing": [list(row) for row in self.missing],
            "selection": self.selection,
            "granted": self.granted,
            "low_water": self.cursor.low_water,
            "ranges": [list(r) for r in self.cursor.ranges],
            "resend": [list(r) for r in self.resend],
        }


def some(names: Sequence[str]) -> str:
    """Return names for people: the first of many."""
    told, more = ", ".join(names[:NAMES_TOLD]) or "none", len(names) - NAMES_TOLD
    return f"{told} and {more} more" if more > 0 else told


def acknowledged_end(kept: Mapping[str, Any]) -> int:
    """Return the end of all that a stored cursor has ever acknowledged; 0 for a row that is no cursor."""
    try:
        return max([parse_cursor(kept).highest, *(end for _, end in _resend(kept))])
    except DeliveryError:
        return 0


def _resend(kept: Mapping[str, Any]) -> tuple[Range, ...]:
    """Return what is ordered to be sent again. Raises DeliveryError."""
    cursor = parse_cursor({"ranges": kept.get("resend", [])})
    return (((0, cursor.low_water),) if cursor.low_water else ()) + cursor.ranges


@dataclass(slots=True)
class SubscriptionRegistry:
    """Knows every subscription, live or not."""

    journal: Journal
    store: SmallStore
    worker: Worker
    policy: Policy
    where: Where
    prime_links: frozenset[str] | None = None  # whose items are delivered to who names no links; None = all of them
    subscriptions: dict[Key, Subscription] = field(default_factory=dict)
    sessions: dict[Key, Session] = field(default_factory=dict)
    offline: list[Session] = field(default_factory=list)
    lines: Lines = field(default_factory=Lines)
    timely: TimelyTap = field(default_factory=TimelyTap)
    timely_sessions: dict[Key, Session] = field(default_factory=dict)
    values: ValuesDoor | None = None
    value_sessions: dict[Key, Session] = field(default_factory=dict)
    playbacks: PlaybackBook | None = None
    outlets: Outlets | None = None
    timely_counts: dict[str, TimelyCount] = field(default_factory=dict)
    ledger: HomeLedger = field(default_factory=HomeLedger)
    on_digest: DigestTaken | None = None  # keeps what home bases confirm; returns what to answer
    refused: Counter[str] = field(default_factory=Counter)  # sessions, by code
    paths: Paths = field(init=False)
    reading: SharedReading = field(init=False)
    versions: FormerVersions = field(init=False)
    problem: str = ""  # why cursors cannot be stored now
    _dirty: dict[Key, Subscription | None] = field(default_factory=dict)
    _storing: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.paths = Paths(self.journal)
        self.reading = SharedReading(self.journal)
        self.versions = FormerVersions(self._journal_id, self.store, self.worker)

    async def load(self) -> None:
        """Read the stored cursors of this journal; one that cannot be used is left out and said. Raises OSError."""
        for home, name, kept in await self.worker(lambda: self.store.cursors(self._journal_id)):
            try:
                loaded = self.subscriptions[home, name] = self._loaded(home, name, kept)
                if loaded.version > 1:
                    await self.versions.load(home, name)
            except (DeliveryError, KeyError, TypeError, ValueError) as error:
                log.warning("a stored cursor is left out", home=home, subscription=name, why=str(error))

    def _loaded(self, home: str, name: str, kept: Mapping[str, Any]) -> Subscription:
        cursor = parse_cursor(kept)
        if cursor.highest > self.journal.head:
            raise DeliveryError("cursor beyond head", f"it reaches {cursor.highest}, the head is {self.journal.head}")
        drops, granted = kept.get("drops", 0), kept.get("granted", {})
        version, begin, resend = kept["version"], kept["version_from"], _resend(kept)
        missing = tuple((int(a), int(b), str(cause)) for a, b, cause in kept.get("missing", ()))
        begun = kept.get("begun", begin)
        return Subscription(
            home, name, version, kept["selection"], cursor, begin, drops, resend, granted, begun, missing
        )

    @property
    def _journal_id(self) -> str:
        return str(self.journal.journal_id)

    def granted(self, wish: Mapping[str, Any], decision: Decision) -> Selection:
        """Return what a home base gets of a wish: no more than the grants of a decision. Raises ValueError."""
        asked, spacecraft = self.selection(wish), self._ids("spacecraft")
        given = granted_selections(decision.grants, spacecraft)
        if refused := not_granted(wish, asked, given, spacecraft):
            raise ValueError(f"{refused} is not granted in {self.where.instance}")
        return within(asked, given)

    @property
    def book(self) -> PlaybackBook:
        """The playback requests. Raises DeliveryError when there are none here."""
        if self.playbacks is None:
            raise DeliveryError("unknown playback", "this mission instance has no playback requests")
        return self.playbacks

    def playback_wish(self, home: str, name: str, told: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a playback request selects, for the session that fetches it. Raises DeliveryError."""
        if told:
            raise DeliveryError("bad selection", "the playback request says what comes: leave the selection out")
        return dict(self.book.of(home, name).selection)

    def recheck(self) -> None:
        """The rights may have changed: each session whose rights are not the same any more ends, at once."""
        for session in self.all_sessions():
            session.recheck()
        if self.outlets is not None:
            self.outlets.recheck()

    def selection(self, wish: Mapping[str, Any]) -> Selection:
        """Return the selection of a client's wish; without links the prime links. Raises ValueError."""
        spacecraft, links = self._ids("spacecraft"), self._ids("links")
        if wish.get("links") is None and self.prime_links is not None:
            wish = {**wish, "links": sorted(self.prime_links)}
        return parse_selection(wish, spacecraft, links)

    def _ids(self, what: str) -> dict[str, int]:
        return {name: number for number, name in self.journal.names(what).items()}

    async def put(self, subscription: Subscription) -> None:
        """Take a subscription's new state and store it durably. Raises OSError."""
        key = (subscription.home, subscription.name)
        self.subscriptions[key] = subscription
        await self._store(key, subscription)

    def of_home(self, home: str) -> list[str]:
        """Return the names of a home base's subscriptions."""
        return sorted(name for owner, name in self.subscriptions if owner == home)

    def check_room(self, home: str) -> None:
        """Raises DeliveryError when a home base has as many subscriptions as it may: which, and how it ends one."""
        owned, most = self.of_home(home), self.policy.rights[home].subscriptions
        if len(owned) >= most:
            raise DeliveryError(
                "too many",
                f"home base {home!r} has as many subscriptions as it may, {most}: {some(owned)}. End one that nobody "
                f"needs any more, with your token or the operator's: `gateway homes unsubscribe {home} NAME --instance "
                f"{self.where.instance}`; or let the operator raise quotas.subscriptions of homes/{home}.yaml",
            )

    def that_can_end(self, home: str, name: str) -> Subscription:
        """Return a subscription that nobody is served by now. Raises NotFound, Conflict."""
        if (home, name) not in self.subscriptions:
            text = f"home base {home!r} has no subscription {name!r} in {self.where.instance}"
            raise NotFound(text, f"its subscriptions are: {some(self.of_home(home))}")
        if (home, name) in self.sessions:
            raise Conflict(f"a session serves {home}/{name}", "stop its subscriber first: it would begin it anew")
        return self.subscriptions[home, name]

    async def remove(self, home: str, name: str) -> None:
        """Forget a subscription for good. Raises NotFound, Conflict while a session serves it, OSError: then it is
        there still."""
        key, known = (home, name), self.that_can_end(home, name)
        del self.subscriptions[key]
        try:
            await self._store(key, None)
        except OSError:
            if key not in self.subscriptions:
                self.subscriptions[key] = known
                self._dirty.pop(key, None)
            raise
        self.ledger.latencies.pop(key, None)
        await self.versions.remove(home, name)

    async def _store(self, key: Key, subscription: Subscription | None) -> None:
        """Store durably; what waits together shares one transaction."""
        self._dirty[key] = subscription
        if self._storing is None or self._storing.done():
            self._storing = asyncio.create_task(self._store_all(), name="cursor store")
        task = self._storing
        await asyncio.shield(task)
        if key in self._dirty:
            await self._store(key, self._dirty[key])

    async def _store_all(self) -> None:
        while self._dirty:
            taken, self._dirty = self._dirty, {}
            rows = {key: kept and kept.stored(self.journal) for key, kept in taken.items()}
            try:
                await self.worker(lambda rows=rows: self.store.put_cursors(self._journal_id, rows))  # type: ignore[misc]
            except OSError as error:
                self._dirty, self.problem = taken | self._dirty, error.strerror or str(error)
                raise
            self.problem = ""

    def all_sessions(self) -> list[Session]:
        """Return who is served now, in every mode."""
        return [*self.sessions.values(), *self.offline, *self._without_cursor()]

    def _without_cursor(self) -> list[Session]:
        returns = [] if self.playbacks is None else self.playbacks.sessions.values()
        return [*self.timely_sessions.values(), *self.value_sessions.values(), *returns]

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
                "drops": subscription.drops,
                "resend": [list(r) for r in subscription.resend],
            }
            rows.append(row | (session.snapshot() if session else {}))
        return rows + [session.snapshot() for session in [*self.offline, *self._without_cursor()]]

    def timely_snapshot(self) -> list[dict[str, Any]]:
        """Return what the home bases got and missed in timely mode."""
        counts = self.timely_counts.items()
        return [{"home": home, **asdict(n)} for home, n in counts if n.delivered_items or n.skipped_items]

    def _lag(self, cursor: Cursor) -> int:
        return sum(end - first for first, end in cursor.missing(self.journal.head))
