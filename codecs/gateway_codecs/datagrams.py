"""Datagrams in a batch: one buffer plus lengths. One datagram holds one or more whole units, and never a part of one.

A datagram of the wrong size is kept with Quality.LENGTH and shifts nothing: the next one begins a new unit. Its first
units are taken if they are good by their own error control; what does not end where a unit ends is doubted otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from gateway_codecs.batches import BoolArray, Gap, I64Array, IntakeBatch, U8Array, gather

LOST_IN_KERNEL = "datagrams lost in the kernel"
SPACE_OR_NETWORK = "space link or network"
"""Datagrams that a network loses are not told from frames that the space link loses."""


@dataclass(frozen=True, slots=True, eq=False)
class Datagrams:
    """Datagrams in order of arrival: `octets` of all, back to back; `lengths` int64 (n,), 0 for empty ones.

    `lost_at` is the index of the first datagram before which the receiving kernel lost others, -1 = none.
    """

    octets: bytes
    lengths: I64Array
    lost_at: int = -1

    @property
    def starts(self) -> I64Array:
        """Where each datagram begins in `octets`, int64 (n,)."""
        ends: I64Array = np.cumsum(self.lengths)
        return ends - self.lengths

    def parts(self) -> Iterator[Datagrams]:
        """Yield what came before a loss in the kernel, and what came from there on (with `lost_at` 0)."""
        at = self.lost_at
        if at <= 0:
            yield self
            return
        octets = int(self.lengths[:at].sum())
        yield Datagrams(self.octets[:octets], self.lengths[:at])
        yield Datagrams(self.octets[octets:], self.lengths[at:], 0)

    def told(self, batch: IntakeBatch) -> IntakeBatch:
        """Return what an intake made of the datagrams, with their counts, and with what may have lost others."""
        usual = LOST_IN_KERNEL if self.lost_at == 0 else SPACE_OR_NETWORK
        gaps = [replace(gap, reason=usual) if gap.reason == "space link" else gap for gap in batch.gaps]
        counters = {**batch.counters, "datagrams": len(self.lengths)}
        if empty := int((self.lengths == 0).sum()):
            counters["datagrams_empty"] = empty
        return replace(batch, gaps=tuple(gaps), counters=counters)


class Units(NamedTuple):
    """Units of one size, found in datagrams."""

    octets: U8Array  # (n * unit,) back to back
    offset: I64Array  # (n,) where each begins in the datagrams
    stray_offset: I64Array  # (m,) octets of datagrams of the wrong size that are no unit
    stray_length: I64Array  # (m,)
    stray_row: I64Array  # (m,) how many units lie before them


def find_units(datagrams: Datagrams, unit_octets: int, good: Callable[[U8Array], BoolArray] | None) -> Units:
    """Cut datagrams into units of one size.

    `good` says which of n units (n * unit_octets,) are good by their own check; without it a datagram of the wrong
    size holds none.
    """
    octets, lengths, starts = np.frombuffer(datagrams.octets, np.uint8), datagrams.lengths, datagrams.starts
    counts = lengths // unit_octets
    wrong = np.flatnonzero(lengths % unit_octets)
    if len(wrong):
        counts[wrong] = _good_ones(octets, starts[wrong], counts[wrong], unit_octets, good)
    before = np.cumsum(counts) - counts
    units = gather(octets, starts, counts * unit_octets)
    offset = np.repeat(starts - before * unit_octets, counts) + np.arange(int(counts.sum())) * unit_octets
    taken = counts[wrong] * unit_octets
    return Units(units, offset, starts[wrong] + taken, lengths[wrong] - taken, (before + counts)[wrong])


def _good_ones(
    octets: U8Array, starts: I64Array, counts: I64Array, unit_octets: int, good: Callable[[U8Array], BoolArray] | None
) -> I64Array:
    """Return how many units at the beginning of each datagram are good, int64 (n,)."""
    if good is None or not counts.any():
        return np.zeros(len(starts), np.int64)
    found = good(gather(octets, starts, counts * unit_octets))
    ends = np.cumsum(counts)
    bad = np.append(np.flatnonzero(~found), len(found))
    first_bad = bad[np.searchsorted(bad, ends - counts)]
    taken: I64Array = np.minimum(first_bad, ends) - (ends - counts)
    return taken


def lost_datagrams(count: int, spacecraft: int) -> Gap:
    """Return the gap that says how many datagrams a link's kernel lost."""
    return Gap("datagrams", spacecraft, -1, -1, -1, -1, count, LOST_IN_KERNEL)
