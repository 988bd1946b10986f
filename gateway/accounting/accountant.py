"""The accounting of one mission instance: reports, confirmed digests, and what is seen of each home base."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from gateway.accounting.confirmations import Confirmations
from gateway.accounting.lags import Lags
from gateway.accounting.outlived import Outlived
from gateway.accounting.ranges import DAY_NS, LATE_NS, Span, contact_span, day_span, resolved, time_span
from gateway.accounting.report import ReportAsked, report, summary
from gateway.accounting.rules import CountingRules
from gateway.errors import Conflict, UsageError
from gateway.homes.registry import SubscriptionRegistry
from gateway.journal import SmallStore
from gateway.world import Clock, Worker
from gateway_codecs.time_scales import format_utc
from gateway_config import LinkConfig, Mission
from gateway_routes.conditions import Condition

if TYPE_CHECKING:
    from gateway.instance import Surroundings

log = structlog.get_logger()
LOOK_S = 1.0
COUNTING_S = 300.0
DAYS_CONFIRMED = 7
REPORTS_WAITING_MAX = 8
SEEN_EVERY_S = 30.0
Ranges = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class AccountedFor:
    """What the accountant is given. `worker` is for what takes long, `keeper` of the small store; `contacts` are the
    rows of the contact book."""

    instance: str
    configured: Callable[[], tuple[Mission, Sequence[LinkConfig]]]  # as it is now
    registry: SubscriptionRegistry
    store: SmallStore
    keeper: Worker
    worker: Worker
    clock: Clock
    contacts: Callable[[], list[dict[str, Any]]]
    emit: Callable[[dict[str, Any]], None]


class Accountant:
    """See the module. All methods run on the event loop."""

    def __init__(self, around: AccountedFor) -> None:
        self._around = around
        registry = around.registry
        self.confirmations = Confirmations(
            registry, around.store, around.keeper, around.worker, around.clock.tai_ns, around.emit
        )
        registry.on_digest = self.confirmations.answered
        registry.ledger.wall_ns = around.clock.tai_ns
        self._ended: dict[str, tuple[Span, int, int]] = {}  # ranges that do not change any more
        self.outlived = Outlived(str(registry.journal.journal_id), around.store, around.keeper)
        self.ranges: Ranges = ()
        self._one_report = asyncio.Lock()
        self._reports_waiting = 0
        self.lags = Lags(registry, around.worker, around.clock.steady_tai_ns)
        self._seen_kept: dict[str, int] = {}
        self.problem = ""

    async def open(self) -> None:
        """Read what is kept, and how late the home bases are. Raises OSError."""
        await self.confirmations.load()
        await self.outlived.load()
        kept = await self._around.keeper(lambda: self._around.store.get(self._seen_name)) or {}
        ledger = self._around.registry.ledger
        self._seen_kept = {str(home): int(at_ns) for home, at_ns in kept.items()}
        ledger.last_seen_ns.update(self._seen_kept)
        try:
            await self.lags.look()
        except OSError as error:  # a part of the disk that cannot be read keeps nobody from starting
            self.problem = str(error)

    @property
    def _seen_name(self) -> str:
        return f"homes seen {self._around.instance}"

    async def run(self) -> None:
        """Each second: ask for digests that are due, look how late who lags is; tried again when the disk refuses."""
        loop = asyncio.get_running_loop()
        seen_s = loop.time()
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self._look()
                if loop.time() - seen_s >= SEEN_EVERY_S or self._heard_first():
                    seen_s = loop.time()
                    await self.keep_seen()
            except (OSError, ConnectionError) as error:
                self.problem = str(error)
            else:
                self.problem = ""

    async def _look(self) -> None:
        await self.lags.look()
        if any(session.asking.wanted for session in self._around.registry.sessions.values()):
            self.ranges = await self._due()
            await self.confirmations.ask(self.ranges)

    def _heard_first(self) -> bool:
        """Return whether a home base was heard of which nothing is kept: that it was heard must outlast a kill."""
        return not self._around.registry.ledger.last_seen_ns.keys() <= self._seen_kept.keys()

    async def keep_seen(self) -> None:
        """Keep when each home base was heard last, durably. Raises OSError."""
        seen = dict(self._around.registry.ledger.last_seen_ns)
        if seen != self._seen_kept:
            await self._around.keeper(lambda: self._around.store.put(self._seen_name, seen))
            self._seen_kept = seen

    # ---- ranges that home bases confirm ----

    async def _due(self) -> Ranges:
        """Return the contacts that have ended and the days that are over, oldest first, as (what, first, end)."""
        now_ns = self._around.clock.steady_tai_ns()
        spans = [*self._contact_spans(), *_days_before(now_ns)]
        journal = self._around.registry.journal
        over = {span.what: span for span in spans if span.end_ns is not None and span.end_ns + LATE_NS <= now_ns}
        self._ended = {what: kept for what, kept in self._ended.items() if over.get(what) == kept[0]}
        for what, span in over.items():
            if what not in self._ended:
                first, end = await self._around.worker(lambda span=span: resolved(journal, span))  # type: ignore[misc]
                self._ended[what] = (span, first, end)
        found = [(what, first, end) for what, (_, first, end) in self._ended.items() if first < end]
        return tuple(sorted(found, key=lambda row: (row[2], row[1], row[0])))

    def _contact_spans(self) -> list[Span]:
        rows = self._around.contacts()
        return [contact_span(rows, row["id"]) for row in rows if row["state"] == "done" and row["first_good_ns"]]

    # ---- reports ----

    async def report(self, span: Span, homes: frozenset[str] | None = None, whole: bool = True) -> dict[str, Any]:
        """Return the reconciliation of a span. One at a time. Raises Conflict, OSError."""
        around = self._around
        if self._reports_waiting >= REPORTS_WAITING_MAX:
            raise Conflict(f"{REPORTS_WAITING_MAX} reports of {around.instance} wait already", "try again later")
        self._reports_waiting += 1
        try:
            async with self._one_report:
                return await report(self._asked(span, homes, whole))
        finally:
            self._reports_waiting -= 1

    def _asked(self, span: Span, homes: frozenset[str] | None = None, whole: bool = True) -> ReportAsked:
        around = self._around
        mission, configs = around.configured()
        rules = CountingRules(mission, {link.name: link for link in configs}, around.registry.journal.names("links"))
        return ReportAsked(
            around.instance, span, homes, around.registry, rules, self.confirmations, around.worker,
            around.clock.steady_tai_ns(), whole, self.outlived,
        )  # fmt: skip

    async def count_outlived(self, upto: int) -> None:
        """Count what retention is about to remove, so that it can be reported still; what takes too long is not."""
        journal = self._around.registry.journal
        first, end = journal.tail, min(upto, journal.head)
        if first >= end:
            return
        try:
            async with asyncio.timeout(COUNTING_S):
                row = await summary(self._asked(Span("positions", first=first, end=end)))
                await self.outlived.put(first, end, row)
        except (OSError, TimeoutError, Conflict) as error:
            log.warning("a range that retention removes is not counted", first=first, end=end, why=str(error))

    def span_of_contact(self, contact: str) -> Span:
        """Return the span of a contact. Raises NotFound, Conflict."""
        return contact_span(self._around.contacts(), contact)

    # ---- what is seen of home bases ----

    def homes(self) -> list[dict[str, Any]]:
        """Return one row for each home base that has a subscription, a session or was heard, the worst first."""
        registry = self._around.registry
        names = {key[0] for key in registry.subscriptions} | (
            set(registry.ledger.last_seen_ns) & set(registry.policy.rights)
        )
        names |= {session.home for session in registry.all_sessions() if session.home}
        lags_s = self.lags.lags_s()
        rows = [self._home(name, lags_s.get(name, 0.0)) for name in sorted(names)]
        return sorted(rows, key=lambda row: (-row["digests_differing"], -row["backlog_items"], row["home"]))

    def _home(self, home: str, lag_s: float) -> dict[str, Any]:
        registry, ledger = self._around.registry, self._around.registry.ledger
        mine = [one for key, one in registry.subscriptions.items() if key[0] == home]
        lags = [sum(b - a for a, b in one.cursor.missing(registry.journal.head)) for one in mine]
        timely = registry.timely_counts.get(home)
        drops = dict(ledger.drops.get(home, {})) | ({"late": timely.skipped_items} if timely else {})
        seen_ns = ledger.last_seen_ns.get(home)
        ranges, confirmations = self.ranges, self.confirmations
        return {
            "home": home,
            "sessions": sum(session.home == home for session in registry.all_sessions()),
            "subscriptions": len(mine),
            "lag_items": max(lags, default=0),
            "lag_s": lag_s,
            "backlog_items": sum(lags),
            "drops": drops,
            "last_seen_utc": None if seen_ns is None else format_utc(seen_ns),
            "last_seen_age_s": None if seen_ns is None else max(0.0, (ledger.wall_ns() - seen_ns) / 1e9),
            "digests_unconfirmed": sum(
                confirmations.unconfirmed((home, one.name), ranges, one.version_from) for one in mine
            ),
            "digests_differing": confirmations.differing(home),
        }

    def conditions(self) -> list[Condition]:
        """Return what the operator should know."""
        return self.confirmations.conditions()


def accountant_of(
    instance: str,
    configured: Callable[[], tuple[Mission, Sequence[LinkConfig]]],
    registry: SubscriptionRegistry,
    around: Surroundings,
    contacts: Callable[[], list[dict[str, Any]]],
    emit: Callable[[dict[str, Any]], None],
) -> Accountant:
    """Return the accountant of a mission instance."""
    worker = around.accountant or around.thinker
    return Accountant(
        AccountedFor(
            instance, configured, registry, around.small_store, around.keeper, worker, around.clock, contacts, emit
        )
    )


def _days_before(now_ns: int) -> list[Span]:
    """Return the UTC days that ended last."""
    days = {format_utc(now_ns - back * DAY_NS)[:10] for back in range(1, DAYS_CONFIRMED + 1)}
    return [day_span(day) for day in sorted(days)]


def span_asked(accountant: Accountant, asked: Mapping[str, Any]) -> Span:
    """Return the span of a request: `contact`, `day`, `from_utc`/`to_utc` or `first`/`end`; none = everything.

    Raises UsageError, NotFound, Conflict.
    """
    kinds = (("contact",), ("day",), ("from_utc", "to_utc"), ("first", "end"))
    given = [kind for kind in kinds if any(asked.get(key) is not None for key in kind)]
    if len(given) > 1:
        raise UsageError("give a contact, a day, times or positions: one of them", "")
    if asked.get("contact") is not None:
        return accountant.span_of_contact(asked["contact"])
    if asked.get("day") is not None:
        return day_span(asked["day"])
    first, end = asked.get("first"), asked.get("end")
    if first is not None or end is not None:
        if first is not None and end is not None and first > end:
            raise UsageError(f"the range begins at {first} and ends before, at {end}")
        return Span("positions", first=first, end=end)
    return time_span(asked.get("from_utc"), asked.get("to_utc"))
