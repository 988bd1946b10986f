"""Derived parameters: made on the ground from others, whole columns at a time, each after those that it reads.

Within one packet type the inputs stand in the same rows. Across packet types they are joined over time: at each sample
of any input, the others have the value of their newest sample at or before it (`as_of`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import BoolArray, I64Array, U8Array
from gateway_codecs.mdb import conditions, expression
from gateway_codecs.mdb.calibrate import F64Array, labels_of, numeric, state_indices, state_table
from gateway_codecs.mdb.columns import Column, Validity
from gateway_codecs.mdb.limits import check_ranges, inclusive, label_states, range_rows
from gateway_codecs.mdb.model import (
    ALWAYS,
    Calibrator,
    Database,
    Limits,
    Parameter,
    ParameterType,
    Source,
    States,
)
from gateway_codecs.mdb.report import DatabaseError

Columns = Mapping[str, Column]
CHOSEN_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Derived:
    """A derived parameter that can be computed: its expression, and its definitions."""

    parameter: Parameter
    kind: ParameterType
    parsed: expression.Parsed

    @property
    def name(self) -> str:
        """The qualified name."""
        return self.parameter.name


class Derivations:
    """The derived parameters of a database. `problems` says which cannot be computed, and why."""

    def __init__(self, database: Database) -> None:
        self.problems: dict[str, DatabaseError] = {}
        self._all = {name: one for name, one in self._parsed(database) if one is not None}
        self.order: tuple[Derived, ...] = tuple(self._sorted())
        self._chosen: dict[tuple[frozenset[str], frozenset[str] | None], tuple[Derived, ...]] = {}

    def _parsed(self, database: Database) -> list[tuple[str, Derived | None]]:
        sources = [one for one in database.parameters.values() if one.source is Source.DERIVED and one.derivation]
        return [(one.name, self._read(database, one)) for one in sources]

    def _read(self, database: Database, one: Parameter) -> Derived | None:
        try:
            parsed = expression.parse(one.derivation)
            unknown = [name for name in parsed.names if plain_name(name, database.parameters) is None]
            if unknown:
                raise DatabaseError(f"{one.name} is derived of {unknown[0]}, which is no parameter", one.where)
            if one.type_name not in database.types:
                raise DatabaseError(f"{one.name}: type {one.type_name} is not defined", one.where)
            return Derived(one, database.types[one.type_name], parsed)
        except DatabaseError as error:
            self.problems[one.name] = error
            return None

    def _sorted(self) -> list[Derived]:
        """Return all in an order in which each comes after those that it reads; those in a cycle are problems."""
        order = TopologicalSorter({name: self._reads(one) for name, one in self._all.items()})
        with suppress(CycleError):
            order.prepare()  # what is in no cycle, and behind none, comes all the same
        done: list[Derived] = []
        while ready := order.get_ready():
            done += [self._all[name] for name in sorted(ready) if name in self._all]
            order.done(*ready)
        waiting = sorted(self._all.keys() - {one.name for one in done})
        for name in waiting:
            message = f"{name} is derived of itself, by way of others: {', '.join(waiting[:5])}"
            self.problems[name] = DatabaseError(message, self._all[name].parameter.where)
        return [one for one in done if not any(name in self.problems for name in self._reads(one))]

    def _reads(self, one: Derived) -> list[str]:
        return [plain_name(name, self._all) or name for name in one.parsed.names]

    def inputs(self, names: frozenset[str]) -> frozenset[str]:
        """Return the names and everything that they are derived from."""
        found = set(names)
        for one in reversed(self.order):
            if one.name in found:
                found.update(one.parsed.names)
        return frozenset(found)

    def within(self, names: set[str]) -> set[str]:
        """Return the derived parameters that can be computed of these parameters alone."""
        return {one.name for one in self._choose(set(names), None)}

    def columns(self, given: Columns, want: frozenset[str] | None = None) -> dict[str, Column]:
        """Return the columns of the derived parameters (of `want`) whose inputs all stand in the same rows."""
        key = (frozenset(given), want)
        chosen = self._chosen.get(key)
        if chosen is None:
            if len(self._chosen) >= CHOSEN_KEPT:
                self._chosen.clear()
            chosen = self._chosen[key] = self._choose(set(given), want)
        made: dict[str, Column] = {}
        known = Together(given, made)
        for one in chosen:
            column = computed(one, known)
            if column is not None:
                made[one.name] = column
        return {name: column for name, column in made.items() if _is_wanted(name, want)}

    def _choose(self, known: set[str], want: frozenset[str] | None) -> tuple[Derived, ...]:
        needed = None if want is None else self.inputs(want)
        chosen = []
        for one in self.order:
            wanted = needed is None or one.name in needed
            if wanted and one.parsed.names and all(plain_name(name, known) for name in one.parsed.names):
                known.add(one.name)
                chosen.append(one)
        return tuple(chosen)


class Together(Mapping[str, Column]):
    """Two mappings as one, the second first; what is not asked for is not made."""

    def __init__(self, given: Columns, more: Columns) -> None:
        self._given, self._more = given, more

    def __getitem__(self, name: str) -> Column:
        return self._more[name] if name in self._more else self._given[name]

    def __contains__(self, name: object) -> bool:
        return name in self._more or name in self._given

    def __iter__(self) -> Iterator[str]:
        yield from self._given
        yield from (name for name in self._more if name not in self._given)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _is_wanted(name: str, want: frozenset[str] | None) -> bool:
    return want is None or name in want


def plain_name(name: str, known: Any) -> str | None:
    """Return which of the known names is meant: itself, or that of which `name` is an element or a member."""
    while name not in known:
        cut = max(name.rfind("["), name.rfind("."))
        if cut <= name.rfind("/"):
            return None
        name = name[:cut]
    return name


def computed(one: Derived, columns: Columns) -> Column | None:
    """Return the column of a derived parameter from those of its inputs, None when they have no common shape."""
    values, validities = {}, []
    for name in one.parsed.names:
        found = _input(name, columns)
        if found is None:
            return None
        values[name], validity = found
        validities.append(validity)
    try:
        raw = np.array(expression.evaluate(one.parsed, values))
        validity = np.array(np.broadcast_to(reduce(np.maximum, validities), raw.shape))
    except ValueError:
        return None
    raw[validity >= Validity.UNCALIBRATED] = np.nan
    return finished(one.parameter, one.kind, raw, validity, columns)


def _input(name: str, columns: Columns) -> tuple[NDArray[Any], U8Array] | None:
    """Return the numbers of an input and their validity; states count by their raw value."""
    plain = plain_name(name, columns)
    if plain is None:
        return None
    column = columns[plain]
    values, validity = _numbers(column), column.validity
    if values is None:
        return None
    for part in name[len(plain) :].replace("]", "").split("[")[1:]:
        if not part.isdigit() or validity.ndim < 2 or int(part) >= validity.shape[1]:
            return None
        values, validity = values[:, int(part)], validity[:, int(part)]
    return values, validity


def _numbers(column: Column) -> NDArray[Any] | None:
    values = column.raw if column.labels and column.engineering.dtype.kind != "b" else column.engineering
    return values if values.dtype.kind in "iufb" and values.shape == column.validity.shape else None


def finished(parameter: Parameter, kind: ParameterType, raw: F64Array, validity: U8Array, others: Columns) -> Column:
    """Return the column of computed values: calibrated, checked for validity and limits by the parameter's type.

    `raw` float64 and `validity` uint8 of one shape (n, ...). `others` are what contexts and conditions may name.
    """

    def lookup(name: str, calibrated: bool) -> conditions.Known | None:
        return known(name, calibrated, others, raw.shape)

    validity = np.maximum(validity, np.where(np.isnan(raw), np.uint8(Validity.UNCALIBRATED), np.uint8(0)))
    labels = labels_of(kind.calibration) if kind.kind != "boolean" else (kind.zero_text, kind.one_text)
    engineering, reached = _calibrated(kind, raw, labels, lookup)
    validity = np.maximum(validity, np.where(reached, np.uint8(0), np.uint8(Validity.UNCALIBRATED)))
    checked = raw if kind.valid_range_of_raw else engineering
    if kind.valid_range is not None and checked.dtype.kind in "iuf":
        low, high = inclusive(kind.valid_range)
        outside = ~((checked >= low) & (checked <= high))
        validity = np.maximum(validity, np.where(outside, np.uint8(Validity.OUT_OF_RANGE), np.uint8(0)))
    if parameter.valid_when != ALWAYS:
        wrong = ~conditions.holds(parameter.valid_when, lookup, raw.shape)
        validity = np.maximum(validity, np.where(wrong, np.uint8(Validity.INVALID), np.uint8(0)))
    limit = _limit_states(kind, raw, engineering, labels, lookup)
    limit[validity != Validity.VALID] = 0
    return Column(parameter.name, raw, engineering, validity.astype(np.uint8), limit, kind.unit, labels)


def known(name: str, calibrated: bool, columns: Columns, shape: tuple[int, ...]) -> conditions.Known | None:
    """Return what columns say of a parameter, for a condition on a column of `shape` (n, ...); None = they do not.

    Element by element where both have that shape, else the last element, or the one that is named.
    """
    plain = plain_name(name, columns)
    if plain is None:
        return None
    column = columns[plain]
    values = column.engineering if calibrated else column.raw
    is_label = calibrated and bool(column.labels) and values.dtype.kind != "b"
    usable = column.validity < (Validity.UNCALIBRATED if calibrated else Validity.ABSENT)
    if plain != name or usable.shape != shape:
        index = _element(name[len(plain) :], math.prod(usable.shape[1:]))
        if index is None:
            return None
        more = values.shape[usable.ndim :]  # of octets
        flat, spread = (len(usable), math.prod(usable.shape[1:])), (len(usable), *(1 for _ in shape[1:]))
        values = np.broadcast_to(values.reshape(*flat, *more)[:, index].reshape(*spread, *more), (*shape, *more))
        usable = np.broadcast_to(usable.reshape(flat)[:, index].reshape(spread), shape)
    return conditions.Known(values, usable, column.labels if is_label else None)


def _element(index: str, count: int) -> int | None:
    """Return which of so many elements `[3]` is, nothing being the last; None = none of them."""
    digits = index[1:-1]
    if not index:
        return count - 1 if count else None
    return int(digits) if index[0] == "[" and digits.isascii() and digits.isdigit() and int(digits) < count else None


def _calibrated(
    kind: ParameterType, raw: F64Array, labels: tuple[str, ...], lookup: conditions.Lookup
) -> tuple[NDArray[Any], BoolArray]:
    """Return the engineering values, and where the calibrator reaches."""
    rows = [(np.ones(raw.shape, np.bool_), kind.calibration.default)]
    for context in reversed(kind.calibration.contexts):
        rows.append((conditions.holds(context.context, lookup, raw.shape), context.calibrator))
    if kind.kind == "boolean":
        return np.nan_to_num(raw) != 0, ~np.isnan(raw)
    if kind.kind == "enumerated":
        found = np.full(raw.shape, -1, np.int32)
        for where, calibrator in rows:
            found[where] = _labelled(calibrator, raw[where], labels)
        return found, found >= 0
    values = np.array(raw)
    with np.errstate(all="ignore"):
        for where, calibrator in rows:
            values[where] = raw[where] if calibrator is None else numeric(calibrator, raw[where], lambda name: None)
    if kind.kind != "integer":
        return values, ~np.isnan(values)
    reached = np.abs(values) < 2.0**63
    return np.where(reached, np.rint(np.where(reached, values, 0.0)), 0.0).astype(np.int64), reached


def _labelled(calibrator: Calibrator | None, raw: F64Array, labels: tuple[str, ...]) -> NDArray[np.int32]:
    if isinstance(calibrator, States):
        return state_indices(state_table(calibrator, labels), raw)
    return np.full(raw.shape, -1, np.int32)


def _limit_states(
    kind: ParameterType, raw: F64Array, engineering: NDArray[Any], labels: tuple[str, ...], lookup: conditions.Lookup
) -> U8Array:
    state = _states_of(kind.alarms.default, raw, engineering, labels)
    for context in reversed(kind.alarms.contexts):
        where = conditions.holds(context.context, lookup, raw.shape)
        state[where] = _states_of(context.limits, raw, engineering, labels)[where]
    return state


def _states_of(limits: Limits | None, raw: F64Array, engineering: NDArray[Any], labels: tuple[str, ...]) -> U8Array:
    if limits is None:
        return np.zeros(raw.shape, np.uint8)
    if labels and not limits.of_raw:
        return label_states(limits, labels)[engineering.astype(np.int64)]
    return check_ranges(raw if limits.of_raw else engineering, range_rows(limits))


# ---- inputs of several packet types ----


def as_of(times: Mapping[str, I64Array]) -> tuple[I64Array, dict[str, I64Array]]:
    """Join the samples of inputs over time.

    `times` int64 (n,), rising, for each input. Returns the times of all samples from the first at which every input
    has a value, each once, int64 (m,), and for each input the row of its newest sample at or before, int64 (m,).
    """
    if not times or any(not len(each) for each in times.values()):
        return np.zeros(0, np.int64), {name: np.zeros(0, np.int64) for name in times}
    every = np.unique(np.concatenate(list(times.values())))
    every = every[every >= max(int(each[0]) for each in times.values())]
    return every, {name: np.searchsorted(each, every, "right") - 1 for name, each in times.items()}
