"""The plan of one packet shape: plain tables of where each value stands and what becomes of it.

All integers and reals of a shape are rows of one matrix (rows, packets): each step of `execute` is one operation over
many parameters. Rows are sorted by what is to be done with them, and a step is mostly a slice. A plan holds arrays
of numbers only (and the model's definitions for the few parameters that need more), so that a compiled kernel can
execute the same plan.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import I64Array, U8Array
from gateway_codecs.mdb.calibrate import F64Array, I32Array, expression_names, labels_of, small_table, state_table
from gateway_codecs.mdb.columns import LimitFlag
from gateway_codecs.mdb.limits import RangeRow, inclusive, range_rows
from gateway_codecs.mdb.model import (
    Calibrator,
    Expression,
    FloatEncoding,
    IntegerEncoding,
    IntegerKind,
    Limits,
    ParameterType,
    Polynomial,
    States,
)
from gateway_codecs.mdb.slots import Slot
from gateway_codecs.mdb.steps import decodable, is_plain

UNSIGNED, SIGNED = 0, 1  # banks of plain integers; the others are of one encoding each
EXACT_BITS = 53  # integers that float64 holds
TABLE_STATES = 4096
"""Raw values up to this are looked up in a table of labels."""

Rows: TypeAlias = "slice | I64Array"


class Matrix(IntEnum):
    """Where engineering values that are not the raw values lie."""

    REAL = 0
    WHOLE = 1
    LABEL = 2
    FLAG = 3


@dataclass(frozen=True, slots=True, eq=False)
class Bank:
    """Rows of the matrix that have one encoding that is not plain."""

    first: int
    behind: int
    encoding: IntegerEncoding | FloatEncoding


@dataclass(frozen=True, slots=True, eq=False)
class Copy:
    """Raw values of a bank that become float64."""

    bank: int
    source: Rows
    target: Rows


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Rows of float64 that one calibrator turns into engineering values."""

    calibrator: Calibrator
    rows: Rows


@dataclass(frozen=True, slots=True, eq=False)
class Checks:
    """One range for each of some rows: `reals` of float64, `rows` of all; arrays (rows, 1)."""

    reals: Rows
    rows: Rows
    low: F64Array
    high: F64Array
    below: U8Array
    above: U8Array
    inside: U8Array | None


@dataclass(frozen=True, slots=True, eq=False)
class Ones:
    """The wanted columns of one number in each packet, as what their `Column`s are made of.

    `raw`: bank and row of it; `values`: matrix and row of it, None = the raw values; `rows`: of all rows; `limited`:
    the same, -1 = it has no limits.
    """

    names: tuple[str, ...] = ()
    raw: tuple[tuple[int, int], ...] = ()
    values: tuple[tuple[int, int] | None, ...] = ()
    rows: tuple[int, ...] = ()
    limited: tuple[int, ...] = ()
    units: tuple[str, ...] = ()
    labels: tuple[tuple[str, ...], ...] = ()
    time_offsets_ns: tuple[I64Array | None, ...] = ()


@dataclass(slots=True, eq=False)
class Plan:
    """All tables of a shape. F rows are integers and reals, R rows are all; see `execute` for what is done when."""

    slots: dict[str, Slot]
    wanted: dict[str, Slot] = field(default_factory=dict)
    rows: int = 0
    fields: int = 0
    octet: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))  # (F,) first octet of the window
    left: NDArray[np.uint64] = field(default_factory=lambda: np.zeros((0, 1), np.uint64))  # (F, 1) bits before
    right: NDArray[np.uint64] = field(default_factory=lambda: np.zeros((0, 1), np.uint64))  # (F, 1) 64 - width
    end_bits: I64Array = field(default_factory=lambda: np.zeros(0, np.int64))  # (R,)
    fates: U8Array | None = None  # (R, 1), None = all valid
    wide: I64Array = field(default_factory=lambda: np.zeros(0, np.int64))  # rows that reach into a ninth octet
    unsigned: int = 0  # rows 0 to here are plain unsigned, from there to `signed` two's complement
    signed: int = 0
    banks: tuple[Bank, ...] = ()
    need_octets: int = 0
    need_bits: int = 0
    reals: int = 0
    copies: tuple[Copy, ...] = ()
    leading: F64Array = field(default_factory=lambda: np.zeros((0, 1)))  # (P, 1) polynomials: the last coefficient
    lower: tuple[tuple[int, F64Array], ...] = ()  # then (how many rows go on, their next coefficient (rows, 1))
    curves: tuple[Curve, ...] = ()
    may_miss: tuple[tuple[Rows, Rows], ...] = ()  # rows of float64 and of all that may be NaN
    wholes: tuple[Rows, Rows] | None = None  # rows of float64 and of all that are rounded to whole numbers
    whole_rows: int = 0
    label_rows: int = 0
    flag_rows: int = 0
    state_source: Rows | None = None  # unsigned rows that are looked up in `state_table`
    state_all: Rows | None = None
    state_base: I64Array = field(default_factory=lambda: np.zeros((0, 1), np.int64))
    state_top: NDArray[np.uint64] = field(default_factory=lambda: np.zeros((0, 1), np.uint64))
    state_table: I32Array = field(default_factory=lambda: np.zeros(0, np.int32))
    flags: tuple[tuple[int, Rows, Rows], ...] = ()  # (bank, raw rows, rows of booleans)
    single: tuple[str, ...] = ()  # columns whose engineering values are computed one by one, in any order
    valid_ranges: Checks | None = None
    limits: tuple[Checks, ...] = ()
    own_checks: tuple[str, ...] = ()  # columns with conditions or checks of their own
    matrix_rows: dict[Matrix, Rows] = field(default_factory=dict)  # which of all rows the rows of a matrix are
    ones: Ones = Ones()
    weight: int = 1


def rows_of(numbers: Iterable[int]) -> Rows:
    """Return row numbers as a slice when they follow each other, else as an array."""
    listed = list(numbers)
    if listed and listed == list(range(listed[0], listed[0] + len(listed))):
        return slice(listed[0], listed[0] + len(listed))
    return np.array(listed, np.int64)


# ---- the tables ----


def compile_plan(slots: dict[str, Slot]) -> Plan:
    """Return the tables for these columns."""
    plan = Plan(slots)
    scalars = [slot for slot in slots.values() if _is_scalar(slot)]
    others = [slot for slot in slots.values() if not _is_scalar(slot)]
    scalars.sort(key=_sort_key)
    for slot in (*scalars, *others):
        slot.row = plan.rows
        plan.rows += slot.count
    plan.fields = sum(slot.count for slot in scalars)
    _windows(plan, scalars)
    _banks(plan, scalars)
    _reals(plan, scalars)
    _states(plan, scalars)
    _flags(plan, scalars)
    _checks(plan)
    _matrices(plan)
    _needs(plan, (*scalars, *others))
    plan.weight = 8 + plan.rows
    return plan


def _is_scalar(slot: Slot) -> bool:
    encoding = slot.kind.encoding
    return isinstance(encoding, IntegerEncoding | FloatEncoding) and decodable(encoding)


def _bank_of(encoding: Any) -> int:
    if isinstance(encoding, IntegerEncoding):
        size = encoding.size_bits
        in_order = not encoding.byte_order or encoding.byte_order == tuple(range(size // 8))[::-1]
        if in_order and not encoding.least_significant_bit_first:
            return {IntegerKind.UNSIGNED: UNSIGNED, IntegerKind.TWOS_COMPLEMENT: SIGNED}.get(encoding.kind, 2)
    return 2


def degree(kind: ParameterType) -> int:
    """Return the degree of the polynomial that calibrates a type in every context, -1 = there is none."""
    calibrator = kind.calibration.default
    if kind.calibration.contexts or not isinstance(calibrator, Polynomial) or kind.kind not in {"integer", "float"}:
        return -1
    return max(len(calibrator.coefficients) - 1, 0)


def _sort_key(slot: Slot) -> tuple[Any, ...]:
    bank = _bank_of(slot.kind.encoding)
    encoding = repr(slot.kind.encoding) if bank > SIGNED else ""
    return bank, encoding, -degree(slot.kind), not needs_real(slot), not in_table(slot), slot.kind.kind != "boolean"


def _windows(plan: Plan, scalars: list[Slot]) -> None:
    if not scalars:
        return
    bits = np.concatenate([np.where(slot.fates == 0, slot.bits, 0) for slot in scalars])
    sizes = np.concatenate([np.full(slot.count, slot.leaf.size_bits, np.int64) for slot in scalars])
    before = bits & 7
    plan.octet = (bits >> 3).astype(np.intp)
    plan.left = before.astype(np.uint64)[:, None]
    plan.right = (64 - sizes).astype(np.uint64)[:, None]
    plan.wide = np.flatnonzero(before + sizes > 64)


def _banks(plan: Plan, scalars: list[Slot]) -> None:
    banks: list[Bank] = []
    for slot in scalars:
        encoding = slot.kind.encoding
        slot.bank = _bank_of(encoding)
        behind = slot.row + slot.count
        if slot.bank == UNSIGNED:
            plan.unsigned = behind
        elif slot.bank == SIGNED:
            plan.signed = behind
        elif banks and banks[-1].encoding == encoding:
            banks[-1] = Bank(banks[-1].first, behind, banks[-1].encoding)
        else:
            assert isinstance(encoding, IntegerEncoding | FloatEncoding)  # noqa: S101
            banks.append(Bank(slot.row, behind, encoding))
        if slot.bank > SIGNED:
            slot.bank = SIGNED + len(banks)
    plan.signed = max(plan.signed, plan.unsigned)
    plan.banks = tuple(banks)
    firsts = [0, plan.unsigned, *(bank.first for bank in banks)]
    for slot in scalars:
        slot.bank_row = slot.row - firsts[slot.bank]


def has_states(kind: ParameterType) -> bool:
    """Return whether the engineering values of a type are labels."""
    found = (kind.calibration.default, *(one.calibrator for one in kind.calibration.contexts))
    return kind.kind == "enumerated" or (kind.kind != "boolean" and any(isinstance(one, States) for one in found))


def is_number(slot: Slot) -> bool:
    """Return whether the engineering values of a column are numbers made from numbers."""
    return slot.kind.kind in {"integer", "float"} and _is_scalar(slot) and not has_states(slot.kind)


def is_calibrated(kind: ParameterType) -> bool:
    """Return whether a type has a calibrator at all."""
    return kind.calibration.default is not None or bool(kind.calibration.contexts)


def needs_real(slot: Slot) -> bool:
    """Return whether the engineering values of a column are needed in float64."""
    kind = slot.kind
    if not is_number(slot):
        return False
    if kind.kind == "float" or is_calibrated(kind) or isinstance(kind.encoding, FloatEncoding):
        return True
    return _checked_as_real(kind)


def _checked_as_real(kind: ParameterType) -> bool:
    default = kind.alarms.default
    checked = kind.valid_range is not None or (default is not None and bool(default.ranges))
    return checked and fits_real(kind)


def fits_real(kind: ParameterType) -> bool:
    """Return whether float64 holds every raw number of a type exactly."""
    encoding = kind.encoding
    if isinstance(encoding, IntegerEncoding):
        return encoding.size_bits <= EXACT_BITS or encoding.kind is IntegerKind.BCD
    return isinstance(encoding, FloatEncoding)


def _rows(slot: Slot, first: int) -> range:
    return range(first, first + slot.count)


def _reals(plan: Plan, scalars: list[Slot]) -> None:
    mine = sorted((slot for slot in scalars if needs_real(slot)), key=lambda slot: -degree(slot.kind))
    for slot in mine:
        slot.real_row = plan.reals
        plan.reals += slot.count
    copies: dict[int, tuple[list[int], list[int]]] = {}
    for slot in mine:
        source, target = copies.setdefault(slot.bank, ([], []))
        source += _rows(slot, slot.bank_row)
        target += _rows(slot, slot.real_row)
    plan.copies = tuple(Copy(bank, rows_of(source), rows_of(target)) for bank, (source, target) in copies.items())
    _polynomials(plan, [slot for slot in mine if degree(slot.kind) >= 0])
    _curves(plan, mine)
    _wholes(plan, mine)
    plan.single = tuple(slot.leaf.name for slot in plan.slots.values() if _is_single(slot))
    missing = [slot for slot in mine if may_miss(slot.kind)]
    if missing:
        reals = rows_of(row for slot in missing for row in _rows(slot, slot.real_row))
        plan.may_miss = ((reals, rows_of(row for slot in missing for row in _rows(slot, slot.row))),)


def _polynomials(plan: Plan, slots: list[Slot]) -> None:
    if not slots:
        return
    coefficients = []
    for slot in slots:
        calibrator = slot.kind.calibration.default
        assert isinstance(calibrator, Polynomial)  # noqa: S101
        coefficients += [calibrator.coefficients or (0.0,)] * slot.count
    if not coefficients:
        return
    plan.leading = np.array([[one[-1]] for one in coefficients], np.float64)
    lower = []
    for power in range(len(coefficients[0]) - 2, -1, -1):
        going = [one[power] for one in coefficients if len(one) > power + 1]
        lower.append((len(going), np.array(going, np.float64)[:, None]))
    plan.lower = tuple(lower)


def _curves(plan: Plan, slots: list[Slot]) -> None:
    """Calibrators without context that are no polynomials: those that are equal are computed together."""
    groups: dict[Any, list[int]] = {}
    for slot in slots:
        calibrator = slot.kind.calibration.default
        if calibrator is None or degree(slot.kind) >= 0 or _is_single(slot):
            continue
        groups.setdefault(calibrator, []).extend(_rows(slot, slot.real_row))
    plan.curves = tuple(Curve(calibrator, rows_of(rows)) for calibrator, rows in groups.items())


def _is_single(slot: Slot) -> bool:
    """Whether the engineering values need conditions, other columns, or are no plain numbers, labels, booleans."""
    kind = slot.kind
    if not _is_scalar(slot):
        return True
    if kind.kind in {"absolute_time", "relative_time"} or kind.calibration.contexts:
        return True
    default = kind.calibration.default
    if isinstance(default, Expression) and any(name != "raw" for name in expression_names(default.text)):
        return True
    return has_states(kind) and not in_table(slot)


def may_miss(kind: ParameterType) -> bool:
    """Return whether a calibrated value may be NaN: the calibrator does not reach, or the raw value is NaN or large."""
    if not is_calibrated(kind):
        return kind.kind == "integer"
    calibrator = kind.calibration.default
    if kind.calibration.contexts or not isinstance(calibrator, Polynomial):
        return True
    if isinstance(kind.encoding, FloatEncoding) or not all(map(math.isfinite, calibrator.coefficients)):
        return True
    return sum(abs(one) * 2.0 ** min(64 * k, 1000) for k, one in enumerate(calibrator.coefficients)) > 1e300


def _wholes(plan: Plan, slots: list[Slot]) -> None:
    """Integer types whose values come from a calibrator or a real raw value."""
    reals: list[int] = []
    everywhere: list[int] = []
    for slot in slots:
        if slot.kind.kind == "integer" and (is_calibrated(slot.kind) or isinstance(slot.kind.encoding, FloatEncoding)):
            slot.whole_row = plan.whole_rows
            plan.whole_rows += slot.count
            reals += _rows(slot, slot.real_row)
            everywhere += _rows(slot, slot.row)
    if reals:
        plan.wholes = rows_of(reals), rows_of(everywhere)


def in_table(slot: Slot) -> bool:
    """Return whether the labels of a column are looked up together with those of others."""
    kind, encoding = slot.kind, slot.kind.encoding
    default = kind.calibration.default
    if not has_states(kind) or kind.calibration.contexts or not isinstance(default, States):
        return False
    if not isinstance(encoding, IntegerEncoding) or _bank_of(encoding) != UNSIGNED:
        return False
    return encoding.size_bits <= 12 or all(state.high < TABLE_STATES for state in default.states)


def _states(plan: Plan, scalars: list[Slot]) -> None:
    """Tables of labels, one behind the other; a raw value above its table is looked up as the last one of it."""
    source: list[int] = []
    everywhere: list[int] = []
    bases: list[int] = []
    tops: list[int] = []
    tables: list[I32Array] = []
    known: dict[Any, tuple[int, int]] = {}
    length = 0
    for slot in plan.slots.values():
        if has_states(slot.kind):
            slot.labels = labels_of(slot.kind.calibration)
        elif slot.kind.kind == "boolean":
            slot.labels = (slot.kind.zero_text, slot.kind.one_text)
    for slot in scalars:
        if not has_states(slot.kind):
            continue
        if in_table(slot):
            key = (slot.kind.calibration.default, slot.labels)
            if key not in known:
                table = _table(slot)
                known[key] = length, len(table) - 1
                tables.append(table)
                length += len(table)
            base, top = known[key]
            bases += [base] * slot.count
            tops += [top] * slot.count
            source += _rows(slot, slot.bank_row)
            everywhere += _rows(slot, slot.row)
            slot.label_row = plan.label_rows
            plan.label_rows += slot.count
    if source:
        plan.state_source, plan.state_all = rows_of(source), rows_of(everywhere)
        plan.state_base = np.array(bases, np.int64)[:, None]
        plan.state_top = np.array(tops, np.uint64)[:, None]
        plan.state_table = np.concatenate(tables)


def _table(slot: Slot) -> I32Array:
    default, encoding = slot.kind.calibration.default, slot.kind.encoding
    assert isinstance(default, States)  # noqa: S101
    assert isinstance(encoding, IntegerEncoding)  # noqa: S101
    highest = max((int(min(state.high, TABLE_STATES)) for state in default.states), default=0)
    return small_table(state_table(default, slot.labels), max(highest + 1, 1))


def _flags(plan: Plan, scalars: list[Slot]) -> None:
    groups: dict[int, tuple[list[int], list[int]]] = {}
    for slot in scalars:
        if slot.kind.kind == "boolean":
            slot.flag_row = plan.flag_rows
            plan.flag_rows += slot.count
            source, target = groups.setdefault(slot.bank, ([], []))
            source += _rows(slot, slot.bank_row)
            target += _rows(slot, slot.flag_row)
    plan.flags = tuple((bank, rows_of(source), rows_of(target)) for bank, (source, target) in groups.items())


# ---- checks ----


def _checks(plan: Plan) -> None:
    passes: list[list[tuple[Slot, RangeRow]]] = []
    valid: list[tuple[Slot, RangeRow]] = []
    own: list[str] = []
    for name, slot in plan.slots.items():
        kind, default = slot.kind, slot.kind.alarms.default
        grouped = slot.real_row >= 0 and fits_real(kind)
        if kind.valid_range is not None and grouped and not _of_raw(kind):
            valid.append((slot, RangeRow(*inclusive(kind.valid_range), 0)))
        if default is not None and not needs_own_limits(slot) and grouped:
            for k, row in enumerate(range_rows(default)):
                if k == len(passes):
                    passes.append([])
                passes[k].append((slot, row))
        if needs_own_checks(slot):
            own.append(name)
    plan.valid_ranges = _check_table(valid) if valid else None
    plan.limits = tuple(_check_table(one) for one in passes)
    plan.own_checks = tuple(own)


def _of_raw(kind: ParameterType) -> bool:
    return kind.valid_range_of_raw and is_calibrated(kind)


def own_valid_range(slot: Slot) -> bool:
    """Return whether the valid range of a column is checked by itself."""
    kind = slot.kind
    if kind.valid_range is None:
        return False
    return not (slot.real_row >= 0 and fits_real(kind) and not _of_raw(kind))


def needs_own_limits(slot: Slot) -> bool:
    """Return whether the limits of a column are checked by themselves."""
    alarms = slot.kind.alarms
    if alarms.contexts:
        return True
    default = alarms.default
    if default is None or not has_limits(default):
        return False
    grouped = slot.real_row >= 0 and fits_real(slot.kind)
    of_raw = default.of_raw and is_calibrated(slot.kind)
    return of_raw or not grouped or bool(default.labels) or bool(default.otherwise)


def has_limits(limits: Limits) -> bool:
    """Return whether single samples can violate these limits."""
    return bool(limits.ranges or limits.labels or limits.otherwise)


def needs_own_checks(slot: Slot) -> bool:
    """Return whether a column has a validity condition, or checks that are not done together with those of others."""
    condition = slot.parameter is not None and not is_plain(slot.parameter.valid_when)
    return condition or own_valid_range(slot) or needs_own_limits(slot)


def _check_table(chosen: list[tuple[Slot, RangeRow]]) -> Checks:
    chosen = sorted(chosen, key=lambda one: one[0].real_row)
    listed = [(slot.real_row + k, slot.row + k, row) for slot, row in chosen for k in range(slot.count)]
    low = np.array([[row.low] for _, _, row in listed])
    high = np.array([[row.high] for _, _, row in listed])
    outside = np.array([[0 if row.inside else row.severity] for _, _, row in listed], np.uint8)
    inside = np.array([[row.severity if row.inside else 0] for _, _, row in listed], np.uint8)
    below, above = (np.where(outside, outside | flag, 0).astype(np.uint8) for flag in (LimitFlag.LOW, LimitFlag.HIGH))
    reals, rows = rows_of(real for real, _, _ in listed), rows_of(row for _, row, _ in listed)
    return Checks(reals, rows, low, high, below, above, inside if inside.any() else None)


def _matrices(plan: Plan) -> None:
    """Which matrix holds the engineering values of each column, and which rows the rows of a matrix are."""
    sized = ((Matrix.REAL, plan.reals), (Matrix.WHOLE, plan.whole_rows), (Matrix.LABEL, plan.label_rows),
             (Matrix.FLAG, plan.flag_rows))  # fmt: skip
    rows = {of: np.zeros(size, np.int64) for of, size in sized if size}
    single = set(plan.single)
    for name, slot in plan.slots.items():
        firsts = (slot.real_row, slot.whole_row, slot.label_row, slot.flag_row)
        for of, listed in rows.items():
            if firsts[of] >= 0:
                listed[firsts[of] : firsts[of] + slot.count] = _rows(slot, slot.row)
        if slot.real_row >= 0 and (slot.kind.kind == "float" or is_calibrated(slot.kind)):
            slot.matrix = Matrix.REAL
        for of in (Matrix.WHOLE, Matrix.LABEL, Matrix.FLAG):
            if firsts[of] >= 0:
                slot.matrix = of
        slot.matrix_row = firsts[slot.matrix] if slot.matrix >= 0 else -1
        slot.is_one = slot.shape == () and slot.bank >= 0 and (name not in single or slot.real_row >= 0)
    plan.matrix_rows = {of: rows_of(listed.tolist()) for of, listed in rows.items()}
    plan.wanted = {name: slot for name, slot in plan.slots.items() if slot.wanted}
    plan.ones = _ones([slot for slot in plan.wanted.values() if slot.is_one])


def _ones(slots: list[Slot]) -> Ones:
    alarms = [slot.kind.alarms for slot in slots]
    return Ones(
        tuple(slot.leaf.name for slot in slots),
        tuple((slot.bank, slot.bank_row) for slot in slots),
        tuple((slot.matrix, slot.matrix_row) if slot.matrix >= 0 else None for slot in slots),
        tuple(slot.row for slot in slots),
        tuple(slot.row if one.default or one.contexts else -1 for slot, one in zip(slots, alarms, strict=True)),
        tuple(slot.kind.unit for slot in slots),
        tuple(slot.labels for slot in slots),
        tuple(slot.time_offset_ns for slot in slots),
    )


def _needs(plan: Plan, slots: Iterable[Slot]) -> None:
    listed = list(slots)
    if not listed:
        return
    ends = [np.where(slot.fates == 0, slot.bits + slot.sizes, 0) for slot in listed]
    plan.end_bits = np.concatenate(ends)
    fates = np.concatenate([slot.fates for slot in listed])
    plan.fates = fates[:, None] if fates.any() else None
    plan.need_bits = int(plan.end_bits.max(initial=0))
    plan.need_octets = -(-plan.need_bits // 8)
