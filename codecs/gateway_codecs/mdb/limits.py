"""Limits: the state of each sample by itself, of samples in a row (persistence), and live (deltas too).

A limit state is one octet (`LimitFlag`): the severity in the lowest three bits, and which side was left. Values that
are not valid are not checked, their state is 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import BoolArray, U8Array
from gateway_codecs.mdb.columns import LimitFlag
from gateway_codecs.mdb.model import DeltaLimit, Interval, Limits, Severity


def inclusive(interval: Interval) -> tuple[float, float]:
    """Return the least and the greatest float64 within an interval."""
    low = -math.inf if interval.low is None else _float(interval.low)
    high = math.inf if interval.high is None else _float(interval.high)
    if interval.low is not None and not interval.low_included:
        low = math.nextafter(low, math.inf)
    if interval.high is not None and not interval.high_included:
        high = math.nextafter(high, -math.inf)
    return low, high


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


@dataclass(frozen=True, slots=True, eq=False)
class RangeRow:
    """One range of one value: outside (or, `inside`, within) [low, high] it has `severity`."""

    low: float
    high: float
    severity: int
    inside: bool = False


def range_rows(limits: Limits | None) -> list[RangeRow]:
    """Return the ranges of limits, the least severe first, so that what is written last is the most severe."""
    if limits is None:
        return []
    rows = [RangeRow(*inclusive(one.interval), int(one.severity), one.inside) for one in limits.ranges if one.severity]
    return sorted(rows, key=lambda row: row.severity)


def check_ranges(values: NDArray[Any], rows: Sequence[RangeRow]) -> U8Array:
    """Return the limit states of numbers of any shape against the ranges of one parameter."""
    state = np.zeros(values.shape, np.uint8)
    for row in rows:
        with np.errstate(invalid="ignore"):
            below, above = values < row.low, values > row.high
        if row.inside:
            inside = ~(below | above) & ~_nan(values)
            state[inside] = row.severity
        else:
            state[below] = row.severity | LimitFlag.LOW
            state[above] = row.severity | LimitFlag.HIGH
    return state


def _nan(values: NDArray[Any]) -> BoolArray:
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, np.bool_)


def label_states(limits: Limits, labels: Sequence[str]) -> U8Array:
    """Return the limit state of each label, and of no label (index -1) as the last one."""
    severe = {one.label: 0 for one in limits.labels}
    for one in limits.labels:
        severe[one.label] = max(severe[one.label], int(one.severity))
    states = [severe.get(label, int(limits.otherwise)) for label in labels]
    return np.array([state | LimitFlag.LABEL if state else 0 for state in states] + [0], np.uint8)


def more_severe(one: U8Array, other: U8Array) -> U8Array:
    """Return, sample by sample, the state of the higher severity; where they are equal, the flags of both."""
    mask = LimitFlag.SEVERITY
    mine, theirs = one & mask, other & mask
    return np.where(mine > theirs, one, np.where(theirs > mine, other, one | other))


# ---- samples in a row ----


def persistent(states: U8Array, persistence: int, checked: BoolArray | None = None, before: int = 0) -> U8Array:
    """Return limit states that say a violation only from the `persistence`-th sample in a row that violates.

    `states` uint8 (n,) in the order of the samples; `checked` bool (n,): the others (not valid) neither count nor end a
    row, and get the state of the sample before them. `before`: how many violated in a row before the first.
    """
    if persistence <= 1 and checked is None:
        return states
    kept = np.arange(len(states)) if checked is None else np.flatnonzero(checked)
    mine = states[kept]
    violating = (mine & LimitFlag.SEVERITY) > 0
    place = np.arange(len(mine))
    last_good = np.maximum.accumulate(np.where(violating, -1 - before, place)) if len(mine) else place
    said = np.where(violating & (place - last_good >= persistence), mine, 0).astype(np.uint8)
    if checked is None:
        return said
    found = np.zeros(len(states), np.uint8)
    latest = np.cumsum(checked) - 1
    known = latest >= 0
    found[known] = said[latest[known]]
    return found


def _row_at_end(states: U8Array, before: int) -> int:
    """How many samples violate in a row up to the last."""
    good = np.flatnonzero((states & LimitFlag.SEVERITY) == 0)
    return len(states) + before if not len(good) else len(states) - 1 - int(good[-1])


@dataclass(frozen=True, slots=True)
class Transition:
    """A limit state of a parameter that changed at a sample: `row` of the arrays that were fed."""

    parameter: str
    row: int
    before: int
    after: int


@dataclass(slots=True)
class _Watched:
    value: float | None = None
    violating: int = 0
    state: int = 0


class LimitMonitor:
    """Limit states of live samples, in their order: what one sample shows, how many in a row, how much it changed."""

    def __init__(self) -> None:
        self._watched: dict[str, _Watched] = {}

    def states(self) -> Mapping[str, int]:
        """Return the state of every parameter that was fed."""
        return {name: one.state for name, one in self._watched.items()}

    def feed(
        self, parameter: str, values: NDArray[Any], states: U8Array, valid: BoolArray, limits: Limits | None
    ) -> tuple[U8Array, list[Transition]]:
        """Return the limit states (n,) with persistence and deltas, and where they changed.

        `values` (n,) numbers (raw or engineering, as `limits.of_raw` says; others have no deltas); `states` (n,) of
        each sample by itself, as `Column.limit` has them; `valid` (n,). Samples that are not valid change nothing.
        """
        one = self._watched.setdefault(parameter, _Watched())
        chosen = np.flatnonzero(valid)
        mine = states[chosen]
        if values.dtype.kind in "iuf":
            deltas = limits.deltas if limits is not None else ()
            changes = self._changes(one, values[chosen].astype(np.float64), deltas)
            mine = more_severe(mine, changes) if deltas else mine
        persistence = limits.persistence if limits is not None else 1
        said = persistent(mine, persistence, before=one.violating)
        one.violating = min(_row_at_end(mine, one.violating), 1 << 62)
        transitions = self._transitions(parameter, one, said, chosen)
        found = np.empty(len(states), np.uint8)
        latest = np.cumsum(valid) - 1
        found[:] = np.concatenate((said, [_before(transitions, one)]))[latest]
        if len(said):
            one.state = int(said[-1])
        return found, transitions

    def _changes(self, one: _Watched, values: NDArray[np.float64], deltas: Sequence[DeltaLimit]) -> U8Array:
        if not len(values):
            return np.zeros(0, np.uint8)
        first = values[0] if one.value is None else one.value
        change = np.diff(values, prepend=first)
        one.value = float(values[-1])
        state = np.zeros(len(values), np.uint8)
        for delta in sorted(deltas, key=lambda delta: delta.severity):
            too_much = np.zeros(len(values), np.bool_)
            if delta.rise is not None:
                too_much |= change > delta.rise
            if delta.fall is not None:
                too_much |= -change > delta.fall
            if delta.severity is not Severity.NONE:
                state[too_much] = int(delta.severity) | LimitFlag.DELTA
        return state

    @staticmethod
    def _transitions(parameter: str, one: _Watched, said: U8Array, chosen: NDArray[np.intp]) -> list[Transition]:
        before = np.concatenate((np.array([one.state], np.uint8), said[:-1])) if len(said) else said
        return [
            Transition(parameter, int(chosen[k]), int(before[k]), int(said[k])) for k in np.flatnonzero(said != before)
        ]


def _before(transitions: list[Transition], one: _Watched) -> int:
    """The state before the first valid sample."""
    return one.state
