"""What one subscription was entitled to of a range of the journal, and what became of it. No I/O, no clock.

Of each item received: *not selected* (the home base did not ask for it), *not granted* (it asked, no grant gives it),
*of before* (it stands where the subscription had not begun, or is of a version that was forgotten), or *entitled*. What
was acknowledged under a version is counted by what that version selected and was granted. Entitled are: *acknowledged*,
*sent* and not yet acknowledged, *waiting* to be sent, and what will not come any more: *expired* and *damaged*. Sent
and acknowledged together are delivered. The digest is SHA-256 over the octets of what it is entitled to from `begin`
on, in position order: the rule of marks (docs/wire-format.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from gateway_codecs.batches import BoolArray, I64Array, ItemBatch, Records, gather
from gateway_routes.delivery import Cursor, Range


class Wanted(Protocol):
    """A filter of items."""

    def mask(self, items: Records) -> BoolArray:
        """Which of the items (ITEM_DTYPE, (n,)) are wanted, bool (n,)."""
        ...


@dataclass(frozen=True, slots=True)
class Former:
    """A version that has ended: what it wished, what of it was granted, and what was acknowledged under it."""

    version: int
    wish: Wanted
    granted: Wanted
    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Contract:
    """A subscription as the gateway has it: its wish, what of it is granted, and how far it is."""

    home: str
    name: str
    wish: Wanted
    granted: Wanted
    cursor: Cursor
    version: int = 1
    version_from: int = 0
    sent: tuple[Range, ...] = ()  # and not acknowledged
    former: tuple[Former, ...] = ()
    begun: int = 0  # what is acknowledged below it, and of no former version, is *of before*
    missing: tuple[tuple[int, int, str], ...] = ()  # positions told as missing, and why: expired, damaged

    def begin(self, first: int) -> int:
        """Return from where on, in a range from `first`, all that was delivered is of this version."""
        return max(first, self.version_from)


@dataclass(slots=True)
class Counts:
    """How many items of what. received = not_selected + not_granted + of_before + entitled, and
    entitled = acknowledged + sent + waiting + expired + damaged."""

    received: int = 0
    not_selected: int = 0
    not_granted: int = 0
    of_before: int = 0
    entitled: int = 0
    acknowledged: int = 0
    sent: int = 0
    waiting: int = 0
    expired: int = 0
    damaged: int = 0

    def add(self, other: Counts) -> None:
        """Add the counts of another."""
        for name in NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def delivered(self) -> int:
        """How many were sent, acknowledged or not."""
        return self.acknowledged + self.sent


NAMES = tuple(Counts.__dataclass_fields__)


@dataclass(slots=True, eq=False)
class Entitled:
    """The account of one subscription. `streams` has counts by index of stream (`StreamAccounts.take`); what is of no
    stream (events, idle packets, refused units) is in `others`."""

    contract: Contract
    digested: bool = True
    streams: dict[int, Counts] = field(default_factory=dict)
    others: Counts = field(default_factory=Counts)
    items: int = 0  # of the digest
    octets: int = 0
    unread: int = 0  # of the digest, that cannot be read any more: it is not whole
    former: dict[int, Counts] = field(default_factory=dict)  # received and entitled, by former version
    granted_now: set[int] = field(default_factory=set)  # streams of which something is granted by the newest version
    _digest: Any = field(default_factory=hashlib.sha256)

    def take(self, positions: I64Array, batch: ItemBatch, which: I64Array, unread: BoolArray | None = None) -> None:
        """Take items with their positions (rising) and their streams, int64 (n,), -1 = of none; `unread`, bool (n,):
        their octets cannot be read any more."""
        items, lost = batch.items, np.zeros(len(positions), np.bool_) if unread is None else unread
        wished, granted, before = self._rights(positions, items)
        kinds = self._kinds(positions, wished, granted, before, lost)
        most = int(which.max(initial=-1)) + 2
        found = np.stack([np.bincount(which[kinds[name]] + 1, minlength=most) for name in NAMES])
        for index in np.flatnonzero(found[0]).tolist():
            counts = self.others if index == 0 else self.streams.setdefault(index - 1, Counts())
            for name, count in zip(NAMES, found[:, index].tolist(), strict=True):
                setattr(counts, name, getattr(counts, name) + count)
        now = self.contract.granted.mask(items)
        self.granted_now.update(np.unique(which[now & (which >= 0)]).tolist())
        mine = now & (positions >= self.contract.version_from)
        self.unread += int(np.count_nonzero(mine & lost))
        if self.digested:
            self._add_octets(batch, np.flatnonzero(mine & ~lost))

    def _rights(self, positions: I64Array, items: Records) -> tuple[BoolArray, BoolArray, BoolArray]:
        """Return which items are wished, granted, and of before; each by the version that it was acknowledged under."""
        contract = self.contract
        granted = contract.granted.mask(items)
        wished = contract.wish.mask(items) | granted
        of_former = np.zeros(len(positions), np.bool_)
        for former in contract.former:
            rows = np.flatnonzero(within(positions, former.ranges))
            if len(rows):
                of_former[rows], then = True, former.granted.mask(items[rows])
                granted[rows], wished[rows] = then, former.wish.mask(items[rows]) | then
                counts = self.former.setdefault(former.version, Counts())
                counts.received += len(rows)
                counts.entitled += int(np.count_nonzero(then))
        before = (positions < contract.begun) & self._done(positions) & wished & ~of_former
        return wished, granted & ~before, before

    def _done(self, positions: I64Array) -> BoolArray:
        cursor = self.contract.cursor
        return within(positions, [(0, cursor.low_water), *cursor.ranges])

    def _kinds(
        self, positions: I64Array, wished: BoolArray, granted: BoolArray, before: BoolArray, lost: BoolArray
    ) -> dict[str, BoolArray]:
        """Return which items are of which count; `granted` ones are entitled."""
        contract, done = self.contract, self._done(positions)
        told = {
            cause: within(positions, [(a, b) for a, b, why in contract.missing if why == cause])
            for cause in ("expired", "damaged")
        }
        expired = granted & told["expired"]
        damaged = granted & ~expired & (told["damaged"] | (lost & ~done))
        left = granted & ~expired & ~damaged
        sent = left & ~done & within(positions, contract.sent)
        return {
            "received": np.ones(len(positions), np.bool_), "not_selected": ~wished,
            "not_granted": wished & ~granted & ~before, "of_before": before, "entitled": granted,
            "acknowledged": left & done, "sent": sent, "waiting": left & ~done & ~sent, "expired": expired,
            "damaged": damaged,
        }  # fmt: skip

    # ---- what is kept of a range that is removed ----

    def kept(self) -> dict[str, Any]:
        """Return the counts as JSON, streams by index; `add` takes them."""
        streams = [[index, *astuple(counts)] for index, counts in self.streams.items()]
        return {"streams": streams, "others": list(astuple(self.others))}

    def add(self, kept: Mapping[str, Any], which: Sequence[int], first: int, end: int) -> None:
        """Add what `kept` has returned for [first, end), removed since; `which` is what its streams are here.

        What was not acknowledged then is expired, unless all of it was acknowledged in the moment before it went.
        """
        contract = self.contract
        spans = [(0, contract.cursor.low_water), *contract.cursor.ranges]
        told = any(a < end and first < b for a, b, _ in contract.missing)
        had = not told and any(a <= first and end <= b for a, b in spans)
        for index, *numbers in kept["streams"]:
            self.streams.setdefault(which[index], Counts()).add(_removed(Counts(*numbers), had))
        self.others.add(_removed(Counts(*kept["others"]), had))

    def add_of_before(self, accounts: Mapping[str, Any], which: Sequence[int], items: int) -> None:
        """Add a range that was removed before this subscription began."""
        for index, row in zip(which, accounts["streams"], strict=True):
            self.streams.setdefault(index, Counts()).add(Counts(received=row[5], of_before=row[5]))
            items -= row[5]
        self.others.add(Counts(received=items, of_before=items))

    def _add_octets(self, batch: ItemBatch, rows: I64Array) -> None:
        lengths = batch.items["length"][rows].astype(np.int64)
        self._digest.update(gather(batch.octets, batch.items["offset"][rows], lengths))
        self.items += len(rows)
        self.octets += int(lengths.sum())

    @property
    def total(self) -> Counts:
        """The sums over all streams and the rest."""
        total = Counts()
        for counts in (*self.streams.values(), self.others):
            total.add(counts)
        return total

    @property
    def sha256(self) -> str:
        """The digest so far, hexadecimal."""
        return str(self._digest.hexdigest())


def _removed(counts: Counts, had: bool) -> Counts:
    """Return counts of items that are there no more: what was to come has come, or will not."""
    left = counts.sent + counts.waiting
    gone = {"acknowledged": counts.acknowledged + left} if had else {"expired": counts.expired + left}
    return replace(counts, sent=0, waiting=0, **gone)


def within(positions: I64Array, ranges: Sequence[Range]) -> BoolArray:
    """Which positions are in one of the ranges [first, end), which are sorted and disjoint; bool (n,)."""
    if not ranges:
        return np.zeros(len(positions), np.bool_)
    edges = np.array(ranges, np.int64)
    at = np.searchsorted(edges[:, 0], positions, side="right") - 1
    inside: BoolArray = (at >= 0) & (positions < edges[np.maximum(at, 0), 1])
    return inside
