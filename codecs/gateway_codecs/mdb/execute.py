"""A plan executed: the octets of many packets of one shape become columns.

Inside, a row is an element of a column and arrays are (rows, packets), so that a column is a slice and one operation
does many columns. In order: windows of eight octets are shifted into numbers, bank by bank; polynomials, curves and
labels; what needs conditions or other columns, one column at a time (`single`); then validity and limits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import I64Array, U8Array
from gateway_codecs.mdb import single
from gateway_codecs.mdb.calibrate import numeric
from gateway_codecs.mdb.columns import Column, Validity
from gateway_codecs.mdb.conditions import Lookup
from gateway_codecs.mdb.convert import U64Array, native, numbers
from gateway_codecs.mdb.plan import Checks, Plan, Rows, Slot

WINDOW = 8
SPARE = 9
_LEFT = np.uint64(8)


class Frame:
    """Everything known of the packets of one shape while a plan is executed; arrays are (rows, packets)."""

    def __init__(self, plan: Plan, octets: U8Array, length_bits: I64Array) -> None:
        self.plan, self.octets, self.length_bits = plan, octets, length_bits
        self.packets = len(octets)
        self.banks: list[NDArray[Any]] = []
        n = self.packets
        self.validity = np.zeros((plan.rows, n), np.uint8)
        self.limit = np.zeros((plan.rows, n), np.uint8)
        self.real = np.empty((plan.reals, n), np.float64)
        self.whole = np.zeros((plan.whole_rows, n), np.int64)
        self.label = np.zeros((plan.label_rows, n), np.int32)
        self.flag = np.zeros((plan.flag_rows, n), np.bool_)
        self.singles = single.Singles(self)

    def of_slot(self, slot: Slot, first: int) -> slice:
        """Return the rows of a column in a matrix where they begin at `first`."""
        return slice(first, first + slot.count)


def execute(plan: Plan, octets: U8Array, length_bits: I64Array) -> dict[str, Column]:
    """Return the wanted columns of packets.

    `octets` uint8 (n, width), C-contiguous: each packet and at least `SPARE` octets, whatever they are; what the plan
    needs beyond is truncated, as is what lies behind `length_bits` (n,).
    """
    frame = Frame(plan, octets, length_bits)
    with np.errstate(all="ignore"):
        _values(frame)
        _wholes(frame)
        _check(frame)
        frame.singles.check()
        _blank(frame)
    return {name: _column(frame, slot) for name, slot in plan.slots.items() if slot.wanted}


def look(plan: Plan, octets: U8Array, length_bits: I64Array) -> Lookup:
    """Return a look at the newest values of packets, for conditions and counts; arguments as of `execute`."""
    frame = Frame(plan, octets, length_bits)
    with np.errstate(all="ignore"):
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
    if len(frame.length_bits) and plan.need_bits > int(frame.length_bits.min()):
        frame.validity[plan.end_bits[:, None] > frame.length_bits] = Validity.TRUNCATED


def _extract(frame: Frame) -> None:
    plan, octets = frame.plan, frame.octets
    if not plan.fields:
        frame.banks = [np.zeros((0, frame.packets), np.uint64), np.zeros((0, frame.packets), np.int64)]
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
    if frame.validity[: plan.fields].any():
        found[frame.validity[: plan.fields] != 0] = 0
    frame.banks = [found[: plan.unsigned], signed]
    for bank in plan.banks:
        values, bad = numbers(found[bank.first : bank.behind], bank.encoding)
        if bad is not None:
            frame.validity[bank.first : bank.behind][bad] = Validity.UNDECODABLE
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
        if missing.any():
            _raise_validity(frame, plan.state_all, missing, Validity.UNCALIBRATED)
    for bank, source, target in plan.flags:
        np.not_equal(frame.banks[bank][source], 0, out=frame.flag[target])


def _wholes(frame: Frame) -> None:
    plan, real = frame.plan, frame.real
    for reals, rows in plan.may_miss:
        missing = np.isnan(real[reals])
        if missing.any():
            _raise_validity(frame, rows, missing, Validity.UNCALIBRATED)
    if plan.wholes is None:
        return
    reals, rows = plan.wholes
    rounded = np.rint(real[reals])
    missing = ~(np.abs(rounded) < 2.0**63)
    if missing.any():
        _raise_validity(frame, rows, missing, Validity.UNCALIBRATED)
        rounded[missing] = 0
    frame.whole[:] = rounded


def _raise_validity(frame: Frame, rows: Rows, where: NDArray[np.bool_], cause: Validity) -> None:
    mine = frame.validity[rows]
    mine[where] = np.maximum(mine[where], cause)
    frame.validity[rows] = mine


def _check(frame: Frame) -> None:
    plan = frame.plan
    if plan.valid_ranges is not None:
        checks = plan.valid_ranges
        values = frame.real[checks.reals]
        _raise_validity(frame, checks.rows, (values < checks.low) | (values > checks.high), Validity.OUT_OF_RANGE)
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
    if checks.inside.any():
        inside = ~(below | above) & ~np.isnan(values)
        return below * checks.below + above * checks.above + inside * checks.inside
    if not (below.any() or above.any()):
        return None
    return below.view(np.uint8) * checks.below + above.view(np.uint8) * checks.above


def _blank(frame: Frame) -> None:
    """Values that are not valid have no limit state; where there is no value at all it is NaN, -1 or zero."""
    plan, validity = frame.plan, frame.validity
    if not validity.any():
        return
    frame.limit[validity != 0] = 0
    if int(validity.max()) < Validity.UNCALIBRATED:
        return
    for slot in plan.slots.values():
        mine = validity[slot.row : slot.row + slot.count]
        if int(mine.max(initial=0)) < Validity.UNCALIBRATED:
            continue
        missing = mine >= Validity.UNCALIBRATED
        for first, matrix, nothing in (
            (slot.real_row, frame.real, np.nan),
            (slot.whole_row, frame.whole, 0),
            (slot.label_row, frame.label, -1),
            (slot.flag_row, frame.flag, False),
        ):
            if first >= 0:
                matrix[first : first + slot.count][missing] = nothing
        frame.singles.blank(slot, missing)


def _column(frame: Frame, slot: Slot) -> Column:
    name, rows = slot.leaf.name, slice(slot.row, slot.row + slot.count)
    shape = slot.shape
    return Column(
        name,
        shaped(frame.singles.raw(slot), shape),
        shaped(frame.singles.engineering(slot), shape),
        shaped(frame.validity[rows], shape),
        shaped(frame.limit[rows], shape),
        slot.kind.unit,
        slot.labels,
        slot.time_offset_ns,
    )


def shaped(rows: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return rows (count, packets, ...) as (packets, *shape, ...)."""
    if not shape:
        found: NDArray[Any] = rows[0]
        return found
    if len(shape) == 1:
        return rows.swapaxes(0, 1)
    return np.moveaxis(rows.reshape(*shape, *rows.shape[1:]), len(shape), 0)
