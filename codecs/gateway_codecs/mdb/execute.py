"""A plan executed: the octets of many packets of one shape become columns.

Inside, a row is an element of a column and arrays are (rows, packets), so that a column is a slice and one operation
does many columns. In order: windows of eight octets are shifted into numbers, bank by bank; polynomials, curves and
labels; what needs conditions or other columns, one column at a time (`single`); then validity and limits.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, ValuesView
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import BoolArray, I64Array, U8Array
from gateway_codecs.mdb import single
from gateway_codecs.mdb.calibrate import numeric
from gateway_codecs.mdb.columns import Column, Validity
from gateway_codecs.mdb.conditions import Lookup
from gateway_codecs.mdb.convert import U64Array, native, numbers
from gateway_codecs.mdb.plan import Checks, Matrix, Plan, Rows
from gateway_codecs.mdb.slots import Slot

WINDOW = 8
SPARE = 9
_LEFT = np.uint64(8)
_NEW_COLUMN: Callable[[Iterable[Any]], Column] = partial(tuple.__new__, Column)  # `Column._make` without the checks


class Frame:
    """Everything known of the packets of one shape while a plan is executed; arrays are (rows, packets)."""

    def __init__(self, plan: Plan, octets: U8Array, length_bits: I64Array) -> None:
        self.plan, self.octets, self.length_bits = plan, octets, length_bits
        self.packets = len(octets)
        self.banks: list[NDArray[Any]] = []
        n = self.packets
        self.flawed = False  # whether anything is known to be not valid
        self.validity = np.zeros((plan.rows, n), np.uint8)
        self.limit = np.zeros((plan.rows, n), np.uint8)
        self.real = np.empty((plan.reals, n), np.float64)
        self.whole = np.zeros((plan.whole_rows, n), np.int64)
        self.label = np.zeros((plan.label_rows, n), np.int32)
        self.flag = np.zeros((plan.flag_rows, n), np.bool_)
        self.matrices: tuple[NDArray[Any], ...] = (self.real, self.whole, self.label, self.flag)  # by `Matrix`
        self.singles = single.Singles(self)


class Columns(Mapping[str, Column]):
    """The wanted columns of a frame: all is computed, the views on it are made when they are asked for.

    Who goes through all of them has them made together.
    """

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._made: dict[str, Column] = {}
        self._whole: dict[str, Column] | None = None

    def __getitem__(self, name: str) -> Column:
        found = self._made.get(name)
        if found is None:
            found = self._made[name] = _column(self._frame, self._frame.plan.wanted[name])
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._frame.plan.wanted)

    def __len__(self) -> int:
        return len(self._frame.plan.wanted)

    def __contains__(self, name: object) -> bool:
        return name in self._frame.plan.wanted

    def items(self) -> ItemsView[str, Column]:
        """Return all, with their names."""
        return self._all().items()

    def values(self) -> ValuesView[Column]:
        """Return all."""
        return self._all().values()

    def _all(self) -> dict[str, Column]:
        if self._whole is None:
            wanted, made = self._frame.plan.wanted, _ones(self._frame)
            if len(made) < len(wanted):
                made = {name: made.get(name) or self[name] for name in wanted}
            self._made = self._whole = made
        return self._whole


def execute(plan: Plan, octets: U8Array, length_bits: I64Array) -> Columns:
    """Return the wanted columns of packets.

    `octets` uint8 (n, width), C-contiguous: each packet and at least `SPARE` octets, whatever they are; what the plan
    needs beyond is truncated, as is what lies behind `length_bits` (n,). Under `np.errstate(all="ignore")`, as `look`:
    that is set once for a whole batch.
    """
    frame = Frame(plan, octets, length_bits)
    _values(frame)
    _wholes(frame)
    _check(frame)
    frame.singles.check()
    _blank(frame)
    frame.octets = octets[:0]  # the columns need it no more
    return Columns(frame)


def look(plan: Plan, octets: U8Array, length_bits: I64Array) -> Lookup:
    """Return a look at the newest values of packets, for conditions and counts; arguments as of `execute`."""
    frame = Frame(plan, octets, length_bits)
    _values(frame)
    return frame.singles.newest


def _values(frame: Frame) -> None:
    _fates(frame)
    _extract(frame)
    _calibrate(frame)
    _labels(frame)
    frame.singles.all()


def _fates(frame: Frame) -> None:
    plan = frame.plan
    if plan.fates is not None:
        frame.validity |= plan.fates
        frame.flawed = True
    if frame.packets and plan.need_bits > int(frame.length_bits.min()):
        frame.validity[plan.end_bits[:, None] > frame.length_bits] = Validity.TRUNCATED
        frame.flawed = True


def _extract(frame: Frame) -> None:
    plan, octets = frame.plan, frame.octets
    if not plan.fields:
        none: U64Array = np.zeros((0, frame.packets), np.uint64)  # what is repeated no times has a bank all the same
        frame.banks = [none, none.view(np.int64), *(numbers(none, bank.encoding)[0] for bank in plan.banks)]
        return
    n, width = octets.shape
    first = plan.octet
    if plan.need_octets + WINDOW >= width:  # the packets are shorter: what lies behind them is truncated anyhow
        first = np.minimum(first, width - WINDOW - 1)
    windows = np.ndarray((n, width - WINDOW + 1), np.uint64, octets.data, 0, (width, 1))
    found: U64Array = native(windows.T[first])
    found <<= plan.left
    if len(plan.wide):
        ninth = octets.T[first[plan.wide] + WINDOW].astype(np.uint64)
        found[plan.wide] |= ninth >> (_LEFT - plan.left[plan.wide])
    signed = found[plan.unsigned : plan.signed].view(np.int64)
    signed >>= plan.right[plan.unsigned : plan.signed].view(np.int64)
    found[: plan.unsigned] >>= plan.right[: plan.unsigned]
    found[plan.signed :] >>= plan.right[plan.signed :]
    if frame.flawed:
        found[frame.validity[: plan.fields] != 0] = 0
    frame.banks = [found[: plan.unsigned], signed]
    for bank in plan.banks:
        values, bad = numbers(found[bank.first : bank.behind], bank.encoding)
        if bad is not None:
            frame.validity[bank.first : bank.behind][bad] = Validity.UNDECODABLE
            frame.flawed = True
        frame.banks.append(values)


def _calibrate(frame: Frame) -> None:
    plan, real = frame.plan, frame.real
    for copy in plan.copies:
        real[copy.target] = frame.banks[copy.bank][copy.source]
    count = len(plan.leading)
    if count:
        x = real[:count]
        total = np.empty_like(x)
        total[:] = plan.leading
        for going, coefficient in plan.lower:
            total[:going] *= x[:going]
            total[:going] += coefficient
        real[:count] = total
    for curve in plan.curves:
        real[curve.rows] = numeric(curve.calibrator, real[curve.rows], lambda name: None)


def _labels(frame: Frame) -> None:
    plan = frame.plan
    if plan.state_source is not None and plan.state_all is not None:
        at = np.minimum(frame.banks[0][plan.state_source], plan.state_top).view(np.int64)
        at += plan.state_base
        found = plan.state_table[at]
        frame.label[: len(found)] = found
        missing = found < 0
        if np.count_nonzero(missing):
            _raise_validity(frame, plan.state_all, missing, Validity.UNCALIBRATED)
    for bank, source, target in plan.flags:
        np.not_equal(frame.banks[bank][source], 0, out=frame.flag[target])


def _wholes(frame: Frame) -> None:
    plan, real = frame.plan, frame.real
    for reals, rows in plan.may_miss:
        missing = np.isnan(real[reals])
        if np.count_nonzero(missing):
            _raise_validity(frame, rows, missing, Validity.UNCALIBRATED)
    if plan.wholes is None:
        return
    reals, rows = plan.wholes
    rounded = np.rint(real[reals])
    missing = ~(np.abs(rounded) < 2.0**63)
    if np.count_nonzero(missing):
        _raise_validity(frame, rows, missing, Validity.UNCALIBRATED)
        rounded[missing] = 0
    frame.whole[:] = rounded


def _raise_validity(frame: Frame, rows: Rows, where: NDArray[np.bool_], cause: Validity) -> None:
    frame.flawed = True
    mine = frame.validity[rows]
    mine[where] = np.maximum(mine[where], cause)
    frame.validity[rows] = mine


def _check(frame: Frame) -> None:
    plan = frame.plan
    if plan.valid_ranges is not None:
        checks = plan.valid_ranges
        values = frame.real[checks.reals]
        outside = ~((values >= checks.low) & (values <= checks.high))  # NaN is within nothing
        if np.count_nonzero(outside):
            _raise_validity(frame, checks.rows, outside, Validity.OUT_OF_RANGE)
    for checks in plan.limits:
        state = limit_states(frame.real[checks.reals], checks)
        if state is None:
            continue
        mine = frame.limit[checks.rows]
        np.copyto(mine, state, where=state != 0)
        if not isinstance(checks.rows, slice):
            frame.limit[checks.rows] = mine


def limit_states(values: NDArray[np.float64], checks: Checks) -> U8Array | None:
    """Return the limit states of rows of values against one range each, None = all are 0."""
    below, above = values < checks.low, values > checks.high
    if checks.inside is not None:
        inside = ~(below | above) & ~np.isnan(values)
        return _outside(below, above, checks) + inside * checks.inside
    if not (np.count_nonzero(below) or np.count_nonzero(above)):
        return None
    return _outside(below, above, checks)


def _outside(below: BoolArray, above: BoolArray, checks: Checks) -> U8Array:
    state: U8Array = below * checks.below
    np.copyto(state, checks.above, where=above)
    return state


def _blank(frame: Frame) -> None:
    """Values that are not valid have no limit state; where there is no value at all it is NaN, -1 or zero."""
    plan, validity = frame.plan, frame.validity
    if not frame.flawed:
        return
    frame.limit[validity != 0] = 0
    missing = validity >= Validity.UNCALIBRATED
    if not np.count_nonzero(missing):
        return
    for of, nothing in ((Matrix.REAL, np.nan), (Matrix.WHOLE, 0), (Matrix.LABEL, -1), (Matrix.FLAG, False)):
        rows = plan.matrix_rows.get(of)
        if rows is not None:
            np.copyto(frame.matrices[of], nothing, where=missing[rows], casting="unsafe")
    for name in plan.single:
        slot = plan.slots[name]
        frame.singles.blank(slot, missing[slot.row : slot.row + slot.count])


def _ones(frame: Frame) -> dict[str, Column]:
    """Return the columns of one number in each packet."""
    ones, banks, matrices, limit = frame.plan.ones, frame.banks, frame.matrices, frame.limit
    nothing = np.zeros(frame.packets, np.uint8)  # one for all that have nothing to tell
    nothing.flags.writeable = False
    raw = [banks[bank][row] for bank, row in ones.raw]
    values = [matrices[place[0]][place[1]] if place else same for place, same in zip(ones.values, raw, strict=True)]
    validity = [frame.validity[row] for row in ones.rows] if frame.flawed else repeat(nothing)
    limits = [nothing if row < 0 else limit[row] for row in ones.limited]
    columns = zip(ones.names, raw, values, validity, limits, ones.units, ones.labels, ones.time_offsets_ns)  # noqa: B905
    return dict(zip(ones.names, map(_NEW_COLUMN, columns), strict=True))


def _column(frame: Frame, slot: Slot) -> Column:
    leaf, shape, row = slot.leaf, slot.shape, slot.row
    raw: NDArray[Any]
    if slot.is_one:
        raw = frame.banks[slot.bank][slot.bank_row]
        value = raw if slot.matrix < 0 else frame.matrices[slot.matrix][slot.matrix_row]
        validity, limit = frame.validity[row], frame.limit[row]
    else:
        rows = slice(row, row + slot.count)
        raw, value = shaped(frame.singles.raw(slot), shape), shaped(frame.singles.engineering(slot), shape)
        validity, limit = shaped(frame.validity[rows], shape), shaped(frame.limit[rows], shape)
    return Column(leaf.name, raw, value, validity, limit, leaf.kind.unit, slot.labels, slot.time_offset_ns)


def shaped(rows: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return rows (count, packets, ...) as (packets, *shape, ...)."""
    if not shape:
        found: NDArray[Any] = rows[0]
        return found
    if len(shape) == 1:
        return rows.swapaxes(0, 1)
    return np.moveaxis(rows.reshape(*shape, *rows.shape[1:]), len(shape), 0)
