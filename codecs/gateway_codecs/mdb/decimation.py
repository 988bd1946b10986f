"""Samples summed up for a plot: of each span of time how many, the lowest, the highest, first and last. Pure.

Nothing that stands out is lost: the extremes of a bucket are samples that were there, with their times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import BoolArray, I64Array

F64Array = NDArray[np.float64]


@dataclass(slots=True, eq=False)
class Buckets:
    """`buckets` spans of equal length from `from_ns` to `to_ns`; add samples in any order, in any number of parts.

    Arrays (buckets,). `count` is of usable samples; without one `low`, `high` and `mean` are NaN. `worst` is the
    highest severity of all samples, usable or not, and `unusable` how many were not.
    """

    from_ns: int
    to_ns: int
    buckets: int
    count: I64Array
    unusable: I64Array
    low: F64Array
    high: F64Array
    low_time_ns: I64Array
    high_time_ns: I64Array
    total: F64Array
    worst: NDArray[np.uint8]

    @classmethod
    def empty(cls, from_ns: int, to_ns: int, buckets: int) -> Buckets:
        """Return buckets without samples. `to_ns` is after `from_ns`."""
        count, unusable, low_ns, high_ns = np.zeros((4, buckets), np.int64)
        low, high = np.full((2, buckets), np.nan)
        worst = np.zeros(buckets, np.uint8)
        return cls(from_ns, to_ns, buckets, count, unusable, low, high, low_ns, high_ns, np.zeros(buckets), worst)

    def add(self, time_ns: I64Array, values: F64Array, usable: BoolArray, severity: NDArray[Any]) -> None:
        """Add samples within the span: `time_ns` int64, `values` float64, `usable` bool, `severity` uint8, all (n,)."""
        inside = (time_ns >= self.from_ns) & (time_ns < self.to_ns)
        time_ns, values, usable, severity = time_ns[inside], values[inside], usable[inside], severity[inside]
        where = self._where(time_ns)
        beyond = np.flatnonzero(severity)
        np.maximum.at(self.worst, where[beyond], severity[beyond].astype(np.uint8))
        good = usable & ~np.isnan(values)
        if good.all():
            self._add_good(where, time_ns, values)
            return
        self.unusable += np.bincount(where[~good], minlength=self.buckets)
        self._add_good(where[good], time_ns[good], values[good])

    def _where(self, time_ns: I64Array) -> I64Array:
        """Return the bucket of each time; in floating point, for the product does not fit int64."""
        share = (time_ns - self.from_ns) / (self.to_ns - self.from_ns)
        return np.clip((share * self.buckets).astype(np.int64), 0, self.buckets - 1)

    def _add_good(self, where: I64Array, time_ns: I64Array, values: F64Array) -> None:
        if not len(where):
            return
        if (where[1:] < where[:-1]).any():
            order = np.argsort(where, kind="stable")
            where, time_ns, values = where[order], time_ns[order], values[order]
        heads = np.flatnonzero(np.append(True, where[1:] != where[:-1]))
        into = where[heads]
        lengths = np.diff(np.append(heads, len(where)))
        self.count[into] += lengths
        with np.errstate(all="ignore"):  # infinite values have no mean
            self.total[into] += np.add.reduceat(values, heads)
        for best, when, function, better in (
            (self.low, self.low_time_ns, np.minimum, np.less),
            (self.high, self.high_time_ns, np.maximum, np.greater),
        ):
            extreme = function.reduceat(values, heads)
            at = np.flatnonzero(values == np.repeat(extreme, lengths))
            first = at[np.searchsorted(at, heads)]  # the first sample in each bucket that has its extreme
            wins = np.isnan(best[into]) | better(extreme, best[into])
            best[into[wins]], when[into[wins]] = extreme[wins], time_ns[first[wins]]

    @property
    def mean(self) -> F64Array:
        """The mean of the usable samples of each bucket, NaN where there are none."""
        return np.where(self.count > 0, self.total / np.maximum(self.count, 1), np.nan)

    def edges_ns(self) -> I64Array:
        """Return where each bucket begins, int64 (buckets,)."""
        span = self.to_ns - self.from_ns
        return np.array([self.from_ns + span * k // self.buckets for k in range(self.buckets)], np.int64)
