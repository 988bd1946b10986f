"""Columns that need more than a table: contexts, expressions over parameters, texts, octets, times.

Each is one operation over all packets, in the order of their dependencies. A column that depends on itself has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import BoolArray, I64Array, U8Array
from gateway_codecs.mdb import limits as checks
from gateway_codecs.mdb.calibrate import F64Array, numeric, state_indices, state_table
from gateway_codecs.mdb.columns import Validity
from gateway_codecs.mdb.conditions import Known, holds
from gateway_codecs.mdb.model import (
    BinaryEncoding,
    Calibrator,
    Limits,
    States,
    StringEncoding,
    TimeEncoding,
    TimeMeaning,
)
from gateway_codecs.mdb.plan import (
    Matrix,
    has_limits,
    has_states,
    needs_own_limits,
    own_valid_range,
)
from gateway_codecs.mdb.slots import Slot, column_of
from gateway_codecs.mdb.steps import is_plain
from gateway_codecs.mdb.texts import as_bytes, cut, text_octets, to_utf8
from gateway_codecs.mdb.times import absolute, counted_ns, relative_s
from gateway_codecs.time_codes import decode_batch
from gateway_codecs.time_scales import SECOND_NS

if TYPE_CHECKING:
    from gateway_codecs.mdb.execute import Frame

PADDED_OCTETS = 16 * 8192
"""Texts of different sizes in one column lie in boxes of one size: so many octets of a packet at most."""


class Singles:
    """The columns of one frame that are computed one by one, when they are asked for."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._raw: dict[str, NDArray[Any]] = {}
        self._made: dict[str, NDArray[Any]] = {}
        self._left = set(frame.plan.single)
        self._making: set[str] = set()

    def all(self) -> None:
        """Compute all of them."""
        for name in self._frame.plan.single:
            self._ensure(self._frame.plan.slots[name])

    def _ensure(self, slot: Slot) -> bool:
        """Compute the engineering values of a column unless they are there; False = it depends on itself."""
        name = slot.leaf.name
        if name in self._making:
            return False
        if name in self._left:
            self._making.add(name)
            self._compute(slot)
            self._making.discard(name)
            self._left.discard(name)
        return True

    # ---- what there is ----

    def raw(self, slot: Slot) -> NDArray[Any]:
        """Return the raw values of a column, (count, packets), octets (count, packets, octets)."""
        if slot.bank >= 0:
            found: NDArray[Any] = self._frame.banks[slot.bank][slot.bank_row : slot.bank_row + slot.count]
            return found
        if slot.leaf.name not in self._raw:
            self._raw[slot.leaf.name] = self._cut(slot)
        return self._raw[slot.leaf.name]

    def engineering(self, slot: Slot) -> NDArray[Any]:
        """Return the engineering values of a column as they are so far, (count, packets, ...)."""
        frame, count = self._frame, slot.count
        if slot.leaf.name in self._made:
            return self._made[slot.leaf.name]
        if slot.matrix < 0:
            return self.raw(slot)
        return frame.matrices[slot.matrix][slot.matrix_row : slot.matrix_row + count]

    def _validity(self, slot: Slot) -> U8Array:
        return self._frame.validity[slot.row : slot.row + slot.count]

    def _worsen(self, slot: Slot, where: BoolArray, cause: Validity) -> None:
        """Note a cause where a value stands in the packet and has no worse one."""
        if not where.any():
            return
        self._frame.flawed = True
        mine = self._validity(slot)
        np.copyto(mine, np.uint8(cause), where=where & (mine < min(cause, Validity.ABSENT)))

    # ---- conditions ----

    def _known(self, name: str, calibrated: bool, asking: Slot | None) -> Known | None:
        """Return the values of another column as one that asks sees them: element by element where both have the same
        shape, else the last element, or the one that is named."""
        slots = self._frame.plan.slots
        column = column_of(name, slots)
        if column is None or not slots[column].count:
            return None
        slot = slots[column]
        if calibrated and not self._ensure(slot):
            return None
        values = self._so_far(slot) if calibrated else self.raw(slot)
        rows: Any = slice(None) if asking is not None and slot.shape == asking.shape else -1
        if column != name:
            index = name[len(column) + 1 : -1]
            if not (index.isascii() and index.isdigit() and int(index) < slot.count):
                return None
            rows = int(index)
        worst = Validity.UNCALIBRATED if calibrated else Validity.ABSENT
        known = self._validity(slot)[rows] < worst if self._frame.flawed else None
        if calibrated and slot.matrix in {Matrix.REAL, Matrix.WHOLE}:
            known = _reached(slot, values[rows], known)
        labels = slot.labels if calibrated and has_states(slot.kind) else None
        return Known(values[rows], known, labels)

    def newest(self, name: str, calibrated: bool) -> Known | None:
        """Return the values of a column, (packets,): those of its last element, or of the one that is named."""
        return self._known(name, calibrated, None)

    def _so_far(self, slot: Slot) -> NDArray[Any]:
        """Engineering values before they are rounded to whole numbers at the end."""
        if slot.whole_row >= 0:
            return np.rint(self._frame.real[slot.real_row : slot.real_row + slot.count])
        return self.engineering(slot)

    def _holds(self, match: Any, slot: Slot) -> BoolArray:
        shape = (slot.count, self._frame.packets)
        return holds(match, lambda name, calibrated: self._known(name, calibrated, slot), shape)

    def _named(self, name: str, slot: Slot) -> F64Array | None:
        """Return the engineering values of a parameter in an expression: numbers, NaN where there is none."""
        found = self._known(name, True, slot)
        if found is None or found.labels is not None or found.values.dtype.kind not in "iufb":
            return None
        if found.values.dtype == np.uint8:
            return None
        values = found.values.astype(np.float64)
        if found.known is not None:
            values[~found.known] = np.nan
        return values

    # ---- engineering values ----

    def _compute(self, slot: Slot) -> None:
        kind = slot.kind
        if kind.encoding is None or (slot.bank < 0 and not isinstance(
            kind.encoding, StringEncoding | BinaryEncoding | TimeEncoding
        )):  # fmt: skip
            self._worsen(slot, np.ones((slot.count, self._frame.packets), np.bool_), Validity.UNDECODABLE)
            self._raw[slot.leaf.name] = np.zeros((slot.count, self._frame.packets), np.uint64)
            self._made[slot.leaf.name] = self._nothing(slot)
        elif kind.kind in {"absolute_time", "relative_time"}:
            self._made[slot.leaf.name] = self._times(slot)
        elif has_states(kind):
            self._made[slot.leaf.name] = self._states(slot)
        elif slot.real_row >= 0:
            self._reals(slot)
        elif kind.kind == "boolean":
            self._made[slot.leaf.name] = self._booleans(slot)
        elif isinstance(kind.encoding, StringEncoding):
            self._made[slot.leaf.name] = self._texts(slot)
        else:
            self.raw(slot)  # cut while the octets are there

    def _nothing(self, slot: Slot) -> NDArray[Any]:
        shape = (slot.count, self._frame.packets)
        kind = slot.kind.kind
        if has_states(slot.kind):
            return np.full(shape, -1, np.int32)
        if kind in {"float", "relative_time"}:
            return np.full(shape, np.nan)
        if kind == "string":
            return np.zeros(shape, "S1")
        if kind == "binary":
            return np.zeros((*shape, 0), np.uint8)
        return np.zeros(shape, np.bool_ if kind == "boolean" else np.int64)

    def _chosen(self, slot: Slot) -> list[tuple[Calibrator | None, BoolArray]]:
        """Return each calibrator with where it applies: the first context that holds, else the default."""
        left = np.ones((slot.count, self._frame.packets), np.bool_)
        found: list[tuple[Calibrator | None, BoolArray]] = []
        for context in slot.kind.calibration.contexts:
            here = left & self._holds(context.context, slot)
            left = left & ~here
            found.append((context.calibrator, here))
        return [*found, (slot.kind.calibration.default, left)]

    def _reals(self, slot: Slot) -> None:
        raw = self.raw(slot)
        mine = self._frame.real[slot.real_row : slot.real_row + slot.count]
        for calibrator, here in self._chosen(slot):
            if here.any():
                values = raw if calibrator is None else numeric(calibrator, raw, lambda name: self._named(name, slot))
                np.copyto(mine, values, where=here, casting="unsafe")
        self._worsen(slot, np.isnan(mine), Validity.UNCALIBRATED)

    def _states(self, slot: Slot) -> NDArray[np.int32]:
        raw = self.raw(slot)
        found = np.full((slot.count, self._frame.packets), -1, np.int32)
        for calibrator, here in self._chosen(slot):
            if isinstance(calibrator, States) and here.any():
                table = state_table(calibrator, slot.labels)
                number = raw.dtype.kind in "iuf" and raw.dtype != np.uint8
                values = state_indices(table, raw) if number else np.full(found.shape, table.outside, np.int32)
                np.copyto(found, values, where=here)
        self._worsen(slot, found < 0, Validity.UNCALIBRATED)
        return found

    def _booleans(self, slot: Slot) -> BoolArray:
        raw = self.raw(slot)
        if slot.bank >= 0:
            return np.asarray(raw != 0, np.bool_)
        if raw.dtype == np.uint8:
            return np.asarray(raw.any(axis=-1), np.bool_)
        yes, no = (
            raw == np.bytes_(text.encode("utf-8", "replace")) for text in (slot.kind.one_text, slot.kind.zero_text)
        )
        self._worsen(slot, ~(yes | no), Validity.UNCALIBRATED)
        return np.asarray(yes, np.bool_)

    def _texts(self, slot: Slot) -> NDArray[Any]:
        encoding = cast(StringEncoding, slot.kind.encoding)
        texts, wrong = to_utf8(self.raw(slot), encoding.charset)
        if wrong is not None:
            self._worsen(slot, wrong, Validity.UNDECODABLE)
        return texts

    def _times(self, slot: Slot) -> NDArray[Any]:
        encoding, meaning = slot.kind.encoding, slot.kind.time or TimeMeaning()
        raw = self.raw(slot)
        is_absolute = slot.kind.kind == "absolute_time"
        if isinstance(encoding, TimeEncoding):
            return self._coded_times(slot, raw, encoding, is_absolute)
        if slot.bank < 0:
            self._worsen(slot, np.ones((slot.count, self._frame.packets), np.bool_), Validity.UNCALIBRATED)
            return np.zeros((slot.count, self._frame.packets), np.int64 if is_absolute else np.float64)
        if slot.kind.calibration.default is not None or slot.kind.calibration.contexts:
            raw = self._calibrated(slot, raw)
        if not is_absolute:
            seconds = relative_s(raw, meaning)
            self._worsen(slot, np.isnan(seconds), Validity.UNCALIBRATED)
            return seconds
        if meaning.offset_from:
            return self._after_other(slot, raw, meaning)
        times, good = absolute(raw, meaning)
        self._worsen(slot, ~good, Validity.UNCALIBRATED)
        return times

    def _calibrated(self, slot: Slot, raw: NDArray[Any]) -> NDArray[Any]:
        found = np.full(raw.shape, np.nan)
        for calibrator, here in self._chosen(slot):
            values = raw if calibrator is None else numeric(calibrator, raw, lambda name: self._named(name, slot))
            np.copyto(found, values, where=here, casting="unsafe")
        return found

    def _coded_times(self, slot: Slot, raw: NDArray[Any], encoding: TimeEncoding, is_absolute: bool) -> NDArray[Any]:
        count, packets, width = raw.shape
        flat = raw.reshape(count * packets, width)
        times, good = decode_batch(flat, encoding.code)
        missing = ~good.reshape(count, packets)
        self._worsen(slot, missing, Validity.UNDECODABLE)
        ns = np.where(good, times, 0).reshape(count, packets)
        if is_absolute:
            return ns
        seconds = np.where(missing, np.nan, (ns - encoding.code.epoch_ns) / SECOND_NS)
        return np.asarray(seconds, np.float64)

    def _after_other(self, slot: Slot, raw: NDArray[Any], meaning: TimeMeaning) -> I64Array:
        """A time counted from the time of another parameter of the packet."""
        ns, good = counted_ns(raw, meaning)
        other = self._known(meaning.offset_from, True, slot)
        if other is None or other.values.dtype != np.int64:
            self._worsen(slot, np.ones(ns.shape, np.bool_), Validity.UNCALIBRATED)
            return np.zeros(ns.shape, np.int64)
        known = np.ones(ns.shape, np.bool_) if other.known is None else np.broadcast_to(other.known, ns.shape)
        small = (np.abs(ns) < 1 << 62) & (np.abs(other.values) < 1 << 62)
        good = good & known & small
        self._worsen(slot, ~good, Validity.UNCALIBRATED)
        return np.where(good, ns + other.values, 0)

    # ---- octets ----

    def _cut(self, slot: Slot) -> NDArray[Any]:
        frame, encoding = self._frame, slot.kind.encoding
        longest_bits = int(frame.length_bits.max(initial=0))  # what is longer is truncated in every packet
        sizes = np.where((slot.fates == 0) & (slot.bits + slot.sizes <= longest_bits), slot.sizes, 0)
        sizes = self._bounded(slot, sizes)
        pieces = cut(frame.octets, np.where(slot.fates == 0, slot.bits, 0), sizes)
        missing = self._validity(slot) >= Validity.ABSENT
        if missing.any():
            pieces[missing] = 0
        if not isinstance(encoding, StringEncoding):
            return pieces
        text, wrong = text_octets(pieces, sizes, encoding)
        if wrong is not None:
            self._worsen(slot, wrong, Validity.UNDECODABLE)
        return as_bytes(text)

    def _bounded(self, slot: Slot, sizes: I64Array) -> I64Array:
        """Keep what boxes of one size take together near what the packet has."""
        most = int(-(-sizes.max(initial=0) // 8))
        if slot.count * most <= max(PADDED_OCTETS, 2 * int(sizes.sum()) // 8):
            return sizes
        room_bits = PADDED_OCTETS // slot.count * 8
        self._worsen(slot, np.repeat((sizes > room_bits)[:, None], self._frame.packets, 1), Validity.UNDECODABLE)
        return np.where(sizes > room_bits, 0, sizes)

    # ---- checks ----

    def check(self) -> None:
        """Validity conditions, and the ranges and limits that are not checked together with others."""
        for name in self._frame.plan.own_checks:
            slot = self._frame.plan.slots[name]
            if slot.parameter is not None and not is_plain(slot.parameter.valid_when):
                self._worsen(slot, ~self._holds(slot.parameter.valid_when, slot), Validity.INVALID)
            if own_valid_range(slot):
                self._valid_range(slot)
            if needs_own_limits(slot):
                self._limits(slot)

    def _valid_range(self, slot: Slot) -> None:
        values = self.raw(slot) if slot.kind.valid_range_of_raw else self.engineering(slot)
        interval = slot.kind.valid_range
        if interval is None or not _comparable(values) or (has_states(slot.kind) and not slot.kind.valid_range_of_raw):
            return
        outside = np.isnan(values)  # NaN is within nothing
        if interval.low is not None:
            outside |= values < interval.low if interval.low_included else values <= interval.low
        if interval.high is not None:
            outside |= values > interval.high if interval.high_included else values >= interval.high
        self._worsen(slot, outside, Validity.OUT_OF_RANGE)

    def _limits(self, slot: Slot) -> None:
        mine = self._frame.limit[slot.row : slot.row + slot.count]
        left = np.ones(mine.shape, np.bool_)
        alarms = slot.kind.alarms
        for context in alarms.contexts:
            here = left & self._holds(context.context, slot)
            left &= ~here
            if context.limits is not None and here.any():
                np.copyto(mine, self._limit_states(slot, context.limits), where=here)
        if alarms.default is not None and left.any():
            np.copyto(mine, self._limit_states(slot, alarms.default), where=left)

    def _limit_states(self, slot: Slot, limits: Limits) -> U8Array:
        values = self.raw(slot) if limits.of_raw else self.engineering(slot)
        state = np.zeros((slot.count, self._frame.packets), np.uint8)
        if not has_limits(limits):
            return state
        labelled = bool(slot.labels) and not limits.of_raw
        if limits.ranges and _comparable(values) and not labelled:
            state = checks.check_ranges(values, checks.range_rows(limits))
        if labelled:
            index = values.astype(np.int32) if values.dtype.kind == "b" else values
            return checks.more_severe(state, checks.label_states(limits, slot.labels)[index])
        if values.dtype.kind == "S" and (limits.labels or limits.otherwise):
            return self._text_states(values, limits)
        return state

    def _text_states(self, values: NDArray[Any], limits: Limits) -> U8Array:
        labels = [one.label for one in limits.labels]
        states = checks.label_states(limits, [*labels, ""])
        found = np.full(values.shape, states[len(labels)], np.uint8)
        for label, state in zip(labels, states, strict=False):
            found[values == np.bytes_(label.encode("utf-8", "replace"))] = state
        return found

    def blank(self, slot: Slot, missing: BoolArray) -> None:
        """Put nothing where there is no value."""
        made = self._made.get(slot.leaf.name)
        if made is None or made is self._raw.get(slot.leaf.name) or not made.size:
            return
        nothing: Any = -1 if has_states(slot.kind) else np.nan if made.dtype.kind == "f" else 0
        made[missing] = b"" if made.dtype.kind == "S" else nothing


def _reached(slot: Slot, values: NDArray[Any], known: BoolArray | None) -> BoolArray | None:
    """Leave out what a calibrator did not reach: it is not marked before all columns are there."""
    good = np.abs(values) < 2.0**63 if slot.matrix == Matrix.WHOLE else ~np.isnan(values)
    return known if good.all() else np.asarray(good if known is None else good & known)


def _comparable(values: NDArray[Any]) -> bool:
    return values.dtype.kind in "iuf" and values.dtype != np.uint8
