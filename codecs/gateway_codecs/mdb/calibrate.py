"""Calibrators over whole columns: raw values in, engineering values out; NaN (numbers) or -1 (states) = not reached."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.mdb import expression
from gateway_codecs.mdb.model import (
    Calibration,
    Calibrator,
    Expression,
    Logarithmic,
    Points,
    Polynomial,
    States,
)
from gateway_codecs.mdb.report import DatabaseError

F64Array = NDArray[np.float64]
I32Array = NDArray[np.int32]
CURVES_KEPT = 4096
BEYOND = 1 << 70  # every raw integer
Named = Callable[[str], "F64Array | None"]
"""Returns the engineering values of a parameter that an expression names; None = it has none."""


def numeric(calibrator: Calibrator, raw: NDArray[Any], named: Named) -> F64Array:
    """Return the engineering values of raw numbers, of the same shape; NaN where the calibrator does not reach.

    Under the caller's `np.errstate(all="ignore")`: it is set once for many calibrators.
    """
    x = raw.astype(np.float64, copy=False)
    match calibrator:
        case Polynomial(coefficients):
            return polynomial(coefficients, x)
        case Points():
            return between(calibrator, x)
        case Logarithmic(coefficients):
            below = polynomial(coefficients, np.log(np.where(x > 0, x, np.nan)))
            np.divide(1.0, below, out=below)
            return below
        case Expression(text):
            return _expressed(text, x, named)
        case States():
            return np.full(x.shape, np.nan)


def polynomial(coefficients: tuple[float, ...], x: F64Array) -> F64Array:
    """Return sum(coefficients[k] * x ** k)."""
    if not coefficients:
        return np.zeros(x.shape)
    total = np.full(x.shape, float(coefficients[-1]))
    for coefficient in coefficients[-2::-1]:
        total *= x
        total += coefficient
    return total


def between(curve: Points, x: F64Array) -> F64Array:
    """Return the values of point pairs: the point at or before (order 0), or the line between two (order 1)."""
    if not curve.points:
        return np.full(x.shape, np.nan)
    at, value, slope = _segments(curve)
    found: F64Array
    if curve.order == 0:
        found = value[np.maximum(at.searchsorted(x, "right") - 1, 0)]
    elif len(at) == 1:
        found = np.full(x.shape, value[0])
    else:  # of the inner points the one at or before; the first and the last line go on
        left = at[1:-1].searchsorted(x, "right")
        found = value[left] + (x - at[left]) * slope[left]
    outside = np.isnan(x) if curve.extrapolate else ~((x >= at[0]) & (x <= at[-1]))
    np.copyto(found, np.nan, where=outside)
    return found


@lru_cache(CURVES_KEPT)
def _segments(curve: Points) -> tuple[F64Array, F64Array, F64Array]:
    """Return the raw values and values of points, and the slopes of the lines between them."""
    at, value = np.array(curve.points, np.float64).T.copy()
    width = np.diff(at)
    return at, value, np.divide(np.diff(value), width, out=np.zeros(len(width)), where=width > 0)


def _expressed(text: str, x: F64Array, named: Named) -> F64Array:
    try:
        parsed = expression.parse(text)
    except DatabaseError:
        return np.full(x.shape, np.nan)
    values: dict[str, F64Array] = {}
    for name in parsed.names:
        column = x if name == "raw" else named(name)
        if column is None:
            return np.full(x.shape, np.nan)
        values[name] = column
    found = np.empty(x.shape)
    found[...] = expression.evaluate(parsed, values)
    return found


def expression_names(text: str) -> tuple[str, ...]:
    """Return the parameters that an expression names, none when it cannot be read."""
    try:
        return expression.parse(text).names
    except DatabaseError:
        return ()


# ---- states ----


@dataclass(frozen=True, slots=True, eq=False)
class StateTable:
    """States as segments: raw values from `edges[k]` up to (not with) the next one have label `index[k]`.

    Raw values below the first edge have `outside`. `exact` states (of real raw values) are compared one by one.
    """

    edges: NDArray[Any]
    index: I32Array
    outside: int
    states: tuple[tuple[float, float, int], ...] = ()


def labels_of(calibration: Calibration) -> tuple[str, ...]:
    """Return all labels that a calibration may give, each once, in the order in which they are defined."""
    found: dict[str, None] = {}
    for calibrator in (calibration.default, *(one.calibrator for one in calibration.contexts)):
        if isinstance(calibrator, States):
            found |= {state.label: None for state in calibrator.states}
            if calibrator.otherwise:
                found[calibrator.otherwise] = None
    return tuple(found)


def state_table(states: States, labels: tuple[str, ...]) -> StateTable:
    """Return the table of states whose labels are indices into `labels`."""
    index = {label: k for k, label in enumerate(labels)}
    outside = index[states.otherwise] if states.otherwise else -1
    listed = tuple((state.low, state.high, index[state.label]) for state in states.states)
    whole = [(_whole(low, math.ceil), _whole(high, math.floor) + 1, k) for low, high, k in listed if low <= high]
    edges = sorted({edge for low, behind, _ in whole if low < behind for edge in (low, behind)})
    found = np.full(len(edges), outside, np.int32)
    for low, behind, k in reversed(whole):  # the first state wins, so it is written last
        if low < behind:
            found[_place(edges, low) : _place(edges, behind)] = k
    return StateTable(np.array(edges, object), found, outside, listed)


def _whole(bound: float, rounded: Callable[[float], int]) -> int:
    return rounded(bound) if math.isfinite(bound) else BEYOND if bound > 0 else -BEYOND


def _place(edges: list[int], edge: int) -> int:
    low, high = 0, len(edges)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if edges[middle] < edge else (low, middle)
    return low


def state_indices(table: StateTable, raw: NDArray[Any]) -> I32Array:
    """Return the label index of each raw number, int32 of the same shape; -1 = no state."""
    if raw.dtype.kind == "f":
        found = np.full(raw.shape, table.outside, np.int32)
        for low, high, index in reversed(table.states):
            found[(raw >= low) & (raw <= high)] = index
        return found
    edges, labels, floor = _clipped(table, raw.dtype)
    segments = np.searchsorted(edges, raw, "right")
    padded = np.concatenate((np.array([floor], np.int32), labels))
    return padded[segments]


def _clipped(table: StateTable, dtype: np.dtype[Any]) -> tuple[NDArray[Any], I32Array, int]:
    """Return the edges that an integer type can hold, and what stands below them."""
    bounds = np.iinfo(dtype)
    below = [k for k, edge in enumerate(table.edges) if edge <= bounds.min]
    keep = [k for k, edge in enumerate(table.edges) if bounds.min < edge <= bounds.max]
    floor = int(table.index[below[-1]]) if below else table.outside
    return np.array([table.edges[k] for k in keep], dtype), table.index[keep], floor


def small_table(table: StateTable, values: int) -> I32Array:
    """Return the label index of each raw value from 0 to `values` - 1, and of what lies above as the last one."""
    return state_indices(table, np.arange(values + 1, dtype=np.uint64))
