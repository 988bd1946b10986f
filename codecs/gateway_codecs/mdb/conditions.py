"""Conditions over whole columns: which packets a match holds for.

What cannot be looked up or compared does not hold, as in `scalar.holds`, which says the same for one packet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import BoolArray
from gateway_codecs.mdb.model import AllOf, AnyOf, Comparison, Match, Not, Operator


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """The values of a parameter, one for each packet, (n,), or one for each element and packet, (k, n).

    `known` is where there is a value at all, None = everywhere. `labels`: the values are indices into these. Octets
    are uint8 with one more axis; no other values are uint8.
    """

    values: NDArray[Any]
    known: BoolArray | None = None
    labels: tuple[str, ...] | None = None


Lookup = Callable[[str, bool], Known | None]
"""Returns the values of a parameter, (qualified name, calibrated); None = it is in none of the packets."""

_OPERATIONS: Mapping[Operator, Callable[[Any, Any], Any]] = {
    Operator.EQUAL: np.equal,
    Operator.NOT_EQUAL: np.not_equal,
    Operator.LESS: np.less,
    Operator.LESS_OR_EQUAL: np.less_equal,
    Operator.GREATER: np.greater,
    Operator.GREATER_OR_EQUAL: np.greater_equal,
}


def holds(match: Match, lookup: Lookup, shape: tuple[int, ...]) -> BoolArray:
    """Return for which of the packets a condition holds, bool of `shape`."""
    match match:
        case AllOf(terms):
            return reduce(np.logical_and, (holds(term, lookup, shape) for term in terms), np.ones(shape, np.bool_))
        case AnyOf(terms):
            return reduce(np.logical_or, (holds(term, lookup, shape) for term in terms), np.zeros(shape, np.bool_))
        case Not(term):
            return ~holds(term, lookup, shape)
        case Comparison():
            return np.broadcast_to(_compares(match, lookup, shape), shape)


def _compares(match: Comparison, lookup: Lookup, shape: tuple[int, ...]) -> BoolArray:
    left = lookup(match.parameter, match.calibrated)
    right = lookup(match.other, match.calibrated) if match.other else None
    if left is None or (match.other and right is None):
        return np.zeros(shape, np.bool_)
    if right is None:
        result = _with_value(left, match.value, match.operator)
    else:
        result = _with_other(left, right, match.operator)
    for side in (left, right):
        if side is not None and side.known is not None:
            result = result & side.known
    return result


def _unlike(values: NDArray[Any], operator: Operator) -> BoolArray:
    """Values of different kinds are different, and in no order."""
    return np.full(values.shape[:-1] if _is_octets(values) else values.shape, operator is Operator.NOT_EQUAL)


def _is_octets(values: NDArray[Any]) -> bool:
    return values.dtype == np.uint8


def _with_value(left: Known, value: Any, operator: Operator) -> BoolArray:
    values, operation = left.values, _OPERATIONS[operator]
    if values.dtype.kind == "b" and left.labels is None:
        values = values.astype(np.int64)
        if isinstance(value, str):
            return _named_flags(values, value.lower(), operator)
    named = left.labels is not None or values.dtype.kind == "S" or _is_octets(values)
    if named != isinstance(value, str):
        return _unlike(values, operator)
    if left.labels is not None:
        table = np.array([_ordered(operator, label, value) for label in left.labels] + [False], np.bool_)
        return np.asarray(table[values])
    if values.dtype.kind == "S":
        return np.asarray(operation(values, np.bytes_(value.encode("utf-8", "replace"))), np.bool_)
    return _octets(values, value, operator) if named else np.asarray(operation(values, value), np.bool_)


def _named_flags(values: NDArray[Any], value: str, operator: Operator) -> BoolArray:
    table = np.array([_ordered(operator, text, value) for text in ("false", "true")], np.bool_)
    return np.asarray(table[values])


def _ordered(operator: Operator, left: Any, right: Any) -> bool:
    return bool(
        {
            Operator.EQUAL: left == right,
            Operator.NOT_EQUAL: left != right,
            Operator.LESS: left < right,
            Operator.LESS_OR_EQUAL: left <= right,
            Operator.GREATER: left > right,
            Operator.GREATER_OR_EQUAL: left >= right,
        }[operator]
    )


def _octets(values: NDArray[Any], value: str, operator: Operator) -> BoolArray:
    wanted = value.encode("utf-8", "replace")
    found = [_ordered(operator, octets, wanted) for octets in _each(values)]
    return np.array(found, np.bool_).reshape(values.shape[:-1])


def _each(values: NDArray[Any]) -> list[bytes]:
    """Return the octets of each value."""
    rows = values.reshape(math.prod(values.shape[:-1]), values.shape[-1])
    return [row.tobytes() for row in rows]


def _with_other(left: Known, right: Known, operator: Operator) -> BoolArray:
    if left.labels is not None or right.labels is not None:
        if left.labels is None or right.labels is None:
            return _unlike(left.values, operator)
        return _with_other(_named(left), _named(right), operator)
    kinds = {_sort(left.values), _sort(right.values)}
    if len(kinds) > 1:
        return _unlike(left.values, operator)
    if _is_octets(left.values):
        return _octet_pairs(left.values, right.values, operator)
    return np.asarray(_OPERATIONS[operator](left.values, right.values), np.bool_)


def _octet_pairs(left: NDArray[Any], right: NDArray[Any], operator: Operator) -> BoolArray:
    shape = np.broadcast_shapes(left.shape[:-1], right.shape[:-1])
    sides = (_each(np.broadcast_to(side, (*shape, side.shape[-1]))) for side in (left, right))
    return np.array([_ordered(operator, a, b) for a, b in zip(*sides, strict=True)], np.bool_).reshape(shape)


def _named(known: Known) -> Known:
    names = np.array([label.encode("utf-8", "replace") for label in known.labels or ()] + [b""], np.bytes_)
    return Known(names[known.values], known.known)


def _sort(values: NDArray[Any]) -> str:
    return "text" if values.dtype.kind == "S" else "octets" if _is_octets(values) else "number"
