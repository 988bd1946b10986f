"""What one subscription was entitled to of a range of the journal, and what became of it. No I/O, no clock.

Of each item received: *not selected* (the home base did not ask for it), *not granted* (it asked, no grant gives it),
*of before* (it stands where the subscription had not begun, or another version of it held, which nobody keeps), or
*entitled*. Entitled are: *acknowledged*, *sent* and not yet acknowledged, *waiting* to be sent. Sent and acknowledged
together are delivered. The digest is SHA-256 over the octets of what it is entitled to from `begin` on, in position
order: the rule of marks (docs/wire-format.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
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

    def begin(self, first: int) -> int:
        """Return from where on, in a range from `first`, all that was delivered is of this version."""
        return max(first, self.version_from)


@dataclass(slots=True)
class Counts:
    """How many items of what. entitled = acknowledged + sent + waiting."""

    received: int = 0
    not_selected: int = 0
    not_granted: int = 0
    of_before: int = 0
    entitled: int = 0
    acknowledged: int = 0
    sent: int = 0
    waiting: int = 0

    def add(self, other: Counts) -> None:
        """Add the counts of another."""
        for name in NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def delivered(self) -> int:
        """How many were sent, acknowledged or not."""
        return self.acknowledged + self.sent


NAMES = ("received", "not_selected", "not_granted", "of_before", "entitled", "acknowledged", "sent", "waiting")


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
    _digest: Any = field(default_factory=hashlib.sha256)

    def take(self, positions: I64Array, batch: ItemBatch, which: I64Array) -> None:
        """Take items with their positions (rising) and their streams, int64 (n,), -1 = of none."""
        contract, items = self.contract, batch.items
        granted = contract.granted.mask(items)
        wished = contract.wish.mask(items) | granted
        done = within(positions, [(0, contract.cursor.low_water), *contract.cursor.ranges])
        # what was acknowledged below it was so under another version, or before there was one
        before = (positions < contract.version_from) & done & wished
        entitled = granted & ~before
        acknowledged, sent = entitled & done, entitled & ~done & within(positions, contract.sent)
        kinds = {
            "received": np.ones(len(items), np.bool_), "not_selected": ~wished,
            "not_granted": wished & ~granted & ~before, "of_before": before, "entitled": entitled,
            "acknowledged": acknowledged, "sent": sent, "waiting": entitled & ~done & ~sent,
        }  # fmt: skip
        most = int(which.max(initial=-1)) + 2
        found = np.stack([np.bincount(which[kinds[name]] + 1, minlength=most) for name in NAMES])
        for index in np.flatnonzero(found[0]).tolist():
            counts = self.others if index == 0 else self.streams.setdefault(index - 1, Counts())
            for name, count in zip(NAMES, found[:, index].tolist(), strict=True):
                setattr(counts, name, getattr(counts, name) + count)
        if self.digested:
            self._add_octets(batch, np.flatnonzero(granted & (positions >= contract.version_from)))

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


def within(positions: I64Array, ranges: Sequence[Range]) -> BoolArray:
    """Which positions are in one of the ranges [first, end), which are sorted and disjoint; bool (n,)."""
    if not ranges:
        return np.zeros(len(positions), np.bool_)
    edges = np.array(ranges, np.int64)
    at = np.searchsorted(edges[:, 0], positions, side="right") - 1
    inside: BoolArray = (at >= 0) & (positions < edges[np.maximum(at, 0), 1])
    return inside
