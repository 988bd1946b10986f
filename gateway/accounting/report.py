"""The reconciliation of a range: from the journal, in pieces, with bounded memory (docs/homes.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from gateway.accounting.confirmations import Confirmations
from gateway.accounting.outlived import Outlived
from gateway.accounting.ranges import Span, resolved, utc_of
from gateway.accounting.rules import CountingRules, contract_of
from gateway.accounting.walking import walk_in_pieces
from gateway.homes.registry import Subscription, SubscriptionRegistry
from gateway.journal import Damage
from gateway.world import Worker
from gateway_codecs.batches import BoolArray, I64Array, ItemBatch, Kind, Quality, Unit, no_items
from gateway_routes.accounts import Counter, GapTold, Stream, StreamAccounts, gap_told
from gateway_routes.delivery import Lane, Range
from gateway_routes.entitled import Counts, Entitled
from gateway_routes.latency import percentiles

DAMAGED_SHOWN = 100
SCOPE = (
    "home bases: mode complete; timely since the gateway was started, not of the range; values, offline ranges, "
    "playbacks and outlets are not reconciled"
)


@dataclass(frozen=True, slots=True, eq=False)
class ReportAsked:
    """A range, whose home bases (None = all), and what the report is made of. `whole`: streams too that no home base
    shown is entitled to."""

    instance: str
    span: Span
    homes: frozenset[str] | None
    registry: SubscriptionRegistry
    rules: CountingRules
    confirmations: Confirmations
    worker: Worker
    now_ns: int
    whole: bool = True
    outlived: Outlived | None = None


async def report(asked: ReportAsked) -> dict[str, Any]:
    """Return the reconciliation, JSON-able. Cancelled between two pieces. Raises Conflict, OSError."""
    journal = asked.registry.journal
    first, end = await asked.worker(lambda: resolved(journal, asked.span))
    work = _Work(asked, first, end)
    if asked.outlived is not None:
        for removed in await asked.outlived.within(first, min(end, journal.tail)):
            work.add(*removed)
    damaged = await walk_in_pieces(journal, asked.worker, first, end, work.take, unread=work.take_unread)
    return work.result(damaged)


async def summary(asked: ReportAsked) -> dict[str, Any]:
    """Return what a range holds as JSON, for when it is removed. Raises Conflict, OSError."""
    journal = asked.registry.journal
    first, end = await asked.worker(lambda: resolved(journal, asked.span))
    work = _Work(asked, first, end, digested=False)
    damaged = await walk_in_pieces(journal, asked.worker, first, end, work.take, unread=work.take_unread)
    return work.kept(damaged)


class _Work:
    def __init__(self, asked: ReportAsked, first: int, end: int, digested: bool = True) -> None:
        self._asked, self._first, self._end = asked, first, end
        journal = asked.registry.journal
        self._crafts, self._links = journal.names("spacecraft"), journal.names("links")
        self._accounts = StreamAccounts(asked.rules, {name: number for number, name in self._crafts.items()})
        self._entitled: list[tuple[Subscription, Entitled]] = []
        self._unread: list[str] = []  # subscriptions that cannot be accounted for, and why
        self._items = self._items_unread = 0
        self._items_removed = 0
        self._tail = journal.tail
        for (home, name), subscription in sorted(asked.registry.subscriptions.items()):
            if asked.homes is not None and home not in asked.homes:
                continue
            try:
                contract = contract_of(asked.registry, subscription)
                self._entitled.append((subscription, Entitled(contract, digested)))
            except ValueError as error:
                self._unread.append(f"{home}/{name} is left out: {error}")

    def take(self, positions: I64Array, batch: ItemBatch) -> None:
        """Take items of whole commits. In the worker."""
        self._items += len(positions)
        which = self._accounts.take(positions, batch.items, _gaps(positions, batch))
        for _, entitled in self._entitled:
            entitled.take(positions, batch, which)

    def take_unread(self, positions: I64Array, batch: ItemBatch, unread: BoolArray) -> None:
        """Take the items of a commit that cannot be read whole."""
        self._items += len(positions)
        self._items_unread += int(np.count_nonzero(unread))
        rows = np.flatnonzero(~unread)
        gaps = _gaps(positions[rows], ItemBatch(batch.octets, batch.items[rows]))
        which = self._accounts.take(positions, batch.items, gaps)
        for _, entitled in self._entitled:
            entitled.take(positions, batch, which, unread)

    # ---- what was counted before it was removed ----

    def kept(self, damaged: list[Damage]) -> dict[str, Any]:
        """Return what was taken, for `add`."""
        homes = [[one.home, one.name, entitled.kept()] for one, entitled in self._entitled]
        unknown = sum(min(one.end, self._end) - max(one.first, self._first) for one in damaged)
        counted = {"items": self._items, "unread": self._items_unread, "unknown": unknown}
        return {**counted, "accounts": self._accounts.kept(), "homes": homes}

    def add(self, first: int, end: int, kept: Mapping[str, Any]) -> None:
        """Add a range that was removed."""
        which, accounts = self._accounts.add(kept["accounts"]), kept["accounts"]
        self._items += kept["items"]
        self._items_removed += kept["items"]
        homes = {(home, name): row for home, name, row in kept["homes"]}
        for subscription, entitled in self._entitled:
            row = homes.get((subscription.home, subscription.name))
            entitled.granted_now |= {k for k in set(which) if self._is_granted(entitled, k)}
            if row is None or end <= subscription.begun:
                entitled.add_of_before(accounts, which, kept["items"])
            else:
                entitled.add(row, which, first, end)

    def _is_granted(self, entitled: Entitled, index: int) -> bool:
        """Whether the newest version of a subscription is granted good items of a stream."""
        key, item = self._accounts.streams[index].key, no_items(1)
        item["kind"], item["unit"], item["link"], item["spacecraft"] = Kind.TM, key.unit, key.link, key.spacecraft
        item["vcid"], item["apid"] = key.vcid, key.apid
        return bool(entitled.contract.granted.mask(item)[0])

    # ---- what is shown ----

    def result(self, damaged: list[Damage]) -> dict[str, Any]:
        """Return the report."""
        asked, first, end, journal = self._asked, self._first, self._end, self._asked.registry.journal
        tail = max(self._tail, journal.tail)
        expired = max(0, min(end, tail) - first)
        holes = [(max(d.first, first), min(d.end, end), d.cause) for d in damaged]
        told = [hole for hole in holes if hole[0] < hole[1]]
        span, accounts = asked.span, self._accounts
        shown = [(index, stream) for index, stream in enumerate(accounts.streams) if self._is_shown(index, stream)]
        return {
            "instance": asked.instance,
            "range": {
                "what": span.what, "first": first, "end": end, "from_utc": utc_of(span.from_ns),
                "to_utc": utc_of(span.end_ns), "under_way": span.under_way(asked.now_ns),
                "spacecraft": span.spacecraft, "peer": span.contact["peer"] if span.contact else None,
            },
            "journal": {
                "journal_id": str(journal.journal_id), "revision": journal.revision,
                "items": self._items if asked.whole else None, "events": accounts.events if asked.whole else None,
                "idle_packets": accounts.idle if asked.whole else None, "expired_positions": expired,
                "expired_items": self._items_removed if asked.whole else None,
                "damaged_positions": sum(b - a for a, b, _ in told) + self._items_unread,
                "damaged_items": self._items_unread if asked.whole else None,
                "damaged": [list(hole) for hole in told[:DAMAGED_SHOWN]],
            },
            "streams": sorted((self._stream_row(stream) for _, stream in shown), key=_order),
            "shared_counts": self._groups({index for index, _ in shown}),
            "refused": self._refused() if asked.whole else [],
            "link_gaps": self._link_gaps() if asked.whole else [],
            "homes": self._homes([(first, first + expired), *((a, b) for a, b, _ in told)], dict(shown)),
            "timely": self._timely(),
            "scope": SCOPE,
            "remarks": self._remarks(expired, told),
        }  # fmt: skip

    def _is_shown(self, index: int, stream: Stream) -> bool:
        craft = self._asked.span.spacecraft
        mine = any(
            index in one.granted_now and one.streams[index].entitled
            for _, one in self._entitled
            if index in one.streams
        )
        return (craft is None or self._crafts.get(stream.key.spacecraft) == craft) and (self._asked.whole or mine)

    def _stream_row(self, stream: Stream) -> dict[str, Any]:
        shared = stream.shared
        return {
            **self._stream_name(stream),
            "counting": stream.rule or None,
            "expected": stream.expected,
            "received": stream.received,
            "octets": stream.octets,
            "missing": {} if shared else _missing(stream.counter),
        }

    def _stream_name(self, stream: Stream) -> dict[str, Any]:
        key = stream.key
        return {
            "spacecraft": self._crafts.get(key.spacecraft), "link": self._links.get(key.link),
            "vcid": key.vcid, "apid": key.apid, "unit": "others" if not key.unit else Unit(key.unit).name.lower(),
        }  # fmt: skip

    def _groups(self, shown: Set[int]) -> list[dict[str, Any]]:
        """Return the counts that streams share: all, or those that are shown whole."""
        rows = []
        for key, counter in sorted(self._accounts.groups.items(), key=lambda one: one[0]):
            members = [index for index, stream in enumerate(self._accounts.streams) if stream.counter is counter]
            if self._asked.whole or shown >= set(members):
                rows.append(self._group_row(key, counter, [self._accounts.streams[index] for index in members]))
        return rows

    def _link_gaps(self) -> list[dict[str, Any]]:
        return [
            {"link": self._links.get(link), "what": what, "reason": reason, "missing": missing}
            for (link, what, reason), missing in sorted(self._accounts.link_gaps.items())
        ]

    def _group_row(self, key: tuple[int, int, str], counter: Counter, members: list[Stream]) -> dict[str, Any]:
        link, vcid, group = key
        received = sum(stream.received for stream in members)
        return {
            "link": self._links.get(link), "vcid": vcid, "group": group,
            "apids": sorted(stream.key.apid for stream in members), "received": received,
            "expected": received + counter.missing_items, "missing": _missing(counter),
        }  # fmt: skip

    def _refused(self) -> list[dict[str, Any]]:
        rows = sorted(self._accounts.refused.items())
        return [
            {"link": self._links.get(link), "cause": _cause(cause), "units": units} for (link, cause), units in rows
        ]

    def _timely(self) -> list[dict[str, Any]]:
        """Return what was sent and skipped in timely mode: it has no positions, so it is not of the range."""
        homes = self._asked.homes
        return [row for row in self._asked.registry.timely_snapshot() if homes is None or row["home"] in homes]

    def _homes(self, holes: Sequence[Range], shown: Mapping[int, Stream]) -> list[dict[str, Any]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for subscription, entitled in self._entitled:
            found.setdefault(subscription.home, []).append(self._subscription(subscription, entitled, holes, shown))
        return [{"home": home, "subscriptions": rows} for home, rows in sorted(found.items())]

    def _subscription(
        self, subscription: Subscription, entitled: Entitled, holes: Sequence[Range], shown: Mapping[int, Stream]
    ) -> dict[str, Any]:
        contract, ledger = entitled.contract, self._asked.registry.ledger
        by_lane = ledger.latencies.get((subscription.home, subscription.name), {})
        points = {lane: kept.of(self._first, self._end) for lane, kept in by_lane.items()}
        live, every = points.get(Lane.LIVE, []), [point for of_lane in points.values() for point in of_lane]
        streams = [
            {**self._stream_name(stream), **_counts(entitled.streams[index])}
            for index, stream in shown.items()
            if index in entitled.streams and entitled.streams[index].entitled
        ]
        return {
            "subscription": subscription.name,
            "version": contract.version,
            "version_from": contract.version_from,
            **_counts(entitled.total if self._asked.whole else _own(entitled)),
            "streams": sorted(streams, key=_order),
            "latency": {
                "measured_items": sum(items for _, _, items, _ in every), **percentiles(every),
                "live": {"measured_items": sum(items for _, _, items, _ in live), **percentiles(live)},
            },
            "former": self._former(subscription, entitled),
            "digest": self._digest(entitled, holes),
        }  # fmt: skip

    def _former(self, subscription: Subscription, entitled: Entitled) -> list[dict[str, Any]]:
        """Return the versions before: what each selected, and what of the range was acknowledged under it."""
        versions = self._asked.registry.versions.of(subscription.home, subscription.name, subscription.version)
        counts = [entitled.former.get(one.version, Counts()) for one in versions]
        return [
            {"version": one.version, "selection": dict(one.selection), "acknowledged": count.entitled}
            for one, count in zip(versions, counts, strict=True)
        ]

    def _digest(self, entitled: Entitled, holes: Sequence[Range]) -> dict[str, Any]:
        """Return what the gateway computes, and what the home base has said of the same range."""
        contract = entitled.contract
        begin = contract.begin(self._first)
        row: dict[str, Any] = {
            "first": begin, "end": max(begin, self._end), "items": entitled.items, "octets": entitled.octets,
            "sha256": entitled.sha256, "state": "not confirmed", "confirmed_utc": None,
        }  # fmt: skip
        key = (contract.home, contract.name)
        told = self._asked.confirmations.of_range(key, begin, self._end)
        gone = [*holes, *((a, b) for a, b, _ in contract.missing)]
        if entitled.unread or any(a < self._end and begin < b and a < b for a, b in gone):
            row["state"] = "cannot be compared"
        elif told is not None and told.state == "confirmed":
            same = (told.items, told.sha256) == (entitled.items, entitled.sha256)
            row |= {"state": "confirmed" if same else "differs", "confirmed_utc": utc_of(told.at_ns)}
        elif told is not None:
            row |= {"state": told.state, "home_items": told.told_items, "home_sha256": told.told_sha256}
        return row

    def _remarks(self, expired: int, damaged: list[tuple[int, int, str]]) -> list[str]:
        """Return what a reader must know to read the numbers rightly."""
        remarks = list(self._unread)
        lost, unknown = self._items_unread, sum(b - a for a, b, _ in damaged)
        if uncounted := expired - self._items_removed:
            remarks.append(f"{uncounted} positions of the range were removed by retention and not counted before")
        if self._items_removed:
            remarks.append(f"{self._items_removed} items were removed by retention: they are as they were counted then")
        if lost:
            remarks.append(f"{lost} items cannot be read any more: what they were is known, and counted")
        if unknown:
            remarks.append(f"{unknown} positions cannot be read: what they held is not known")
        for subscription, entitled in self._entitled:
            if count := entitled.total.of_before:
                name = f"{subscription.home}/{subscription.name}"
                text = f"{name}: {count} items are from before it began, or of a version of it that is not kept"
                remarks.append(text)
        if any(stream.rule == "" for stream in self._accounts.streams):
            remarks.append("streams without a counting rule are of links that the configuration does not have (so)")
        return remarks


def _gaps(positions: I64Array, batch: ItemBatch) -> list[GapTold]:
    rows = np.flatnonzero(batch.items["kind"] == Kind.EVENT)
    found = []
    for row in rows.tolist():
        gap, item = gap_told(int(positions[row]), batch.octets_of(row)), batch.items[row]
        if gap is not None and item["upstream_position"] >= 0:  # its numbers are those of the gateway it came from
            gap = replace(gap, link=int(item["link"]), spacecraft=int(item["spacecraft"]))
        found += [] if gap is None else [gap]
    return found


def _counts(counts: Counts) -> dict[str, int]:
    return {**asdict(counts), "delivered": counts.delivered}


def _own(entitled: Entitled) -> Counts:
    """Return the sums of what a home base may know: of streams that it gets something of, and what else it gets."""
    total = Counts()
    mine = [(index, counts) for index, counts in entitled.streams.items() if counts.entitled]
    total.add(_nothing_of_others(entitled.others))
    for index, counts in mine:  # of what it is not granted any more: what it got, not what came since
        total.add(counts if index in entitled.granted_now else _nothing_of_others(counts))
    return total


def _nothing_of_others(counts: Counts) -> Counts:
    return replace(counts, received=counts.entitled + counts.of_before, not_selected=0, not_granted=0)


def _missing(counter: Counter) -> dict[str, int]:
    return {reason.value: count for reason, count in sorted(counter.missing.items())}


def _order(row: Mapping[str, Any]) -> tuple[str, str, int, int, str]:
    return row["spacecraft"] or "", row["link"] or "", row["vcid"], row["apid"], row["unit"]


def _cause(cause: int) -> str:
    return Quality(cause).name.lower() if cause in CAUSES else str(cause)


CAUSES: frozenset[int] = frozenset(int(cause) for cause in Quality)
__all__ = ["ReportAsked", "report"]
