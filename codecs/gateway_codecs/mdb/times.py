"""Counted times: seconds = scale * raw + offset since an epoch, exact to the nanosecond where the count is."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import BoolArray, I64Array
from gateway_codecs.mdb.model import TimeMeaning
from gateway_codecs.time_scales import (
    DAY_NS,
    SECOND_NS,
    UNIX_EPOCH_DAY,
    gps_ns_to_tai_ns,
    parse_utc,
    unix_ns_to_tai_ns_batch,
)

J2000_TAI_NS = (day := 15340) * DAY_NS + (43_200 - 32) * SECOND_NS - 184_000_000
"""2000-01-01T12:00:00 TT: TAI is TT - 32.184 s; day 15340 since 1958-01-01."""
_LAST_NS = float((1 << 63) - 1025)
_DENOMINATOR_MAX = 10**12


def epoch_tai_ns(epoch: str) -> int | None:
    """Return an epoch in ns TAI since 1958 (UNIX: of its first second), None when the text is none."""
    named = {"": 0, "TAI": 0, "J2000": J2000_TAI_NS, "GPS": gps_ns_to_tai_ns(0), "UNIX": UNIX_EPOCH_DAY * DAY_NS}
    if epoch.upper() in named:
        return named[epoch.upper()]
    try:
        return parse_utc(epoch)
    except ValueError:
        return None


def counted_ns(raw: NDArray[Any], meaning: TimeMeaning) -> tuple[I64Array, BoolArray]:
    """Return ns = (scale * raw + offset) * 1e9 to the nearest, int64, and where int64 holds it."""
    offset_ns = Fraction(meaning.offset) * SECOND_NS if math.isfinite(meaning.offset) else Fraction(0)
    if raw.dtype.kind == "f" or not math.isfinite(meaning.scale):
        return _real_ns(raw.astype(np.float64), meaning)
    scale = Fraction(repr(float(meaning.scale))) if meaning.scale != 0 else Fraction(0)
    binary = Fraction(meaning.scale)
    per_count = (binary if binary.denominator <= 1 << 40 else scale) * SECOND_NS
    per_count = per_count.limit_denominator(_DENOMINATOR_MAX)
    if abs(per_count.numerator) * per_count.denominator >= 1 << 62 or abs(offset_ns) >= 1 << 63:
        return _real_ns(raw.astype(np.float64), meaning)
    good = _fits(raw, float(per_count), float(offset_ns))
    count = np.where(good, raw, 0)
    whole, part = _split(count, per_count.denominator)
    product = part * per_count.numerator
    rounded = (2 * product + per_count.denominator) // (2 * per_count.denominator)
    return whole * per_count.numerator + rounded + round(offset_ns), good


def _fits(raw: NDArray[Any], per_count: float, offset_ns: float) -> BoolArray:
    estimate = raw.astype(np.float64) * per_count
    good: BoolArray = (np.abs(estimate) < _LAST_NS / 2) & (abs(offset_ns) < _LAST_NS / 2)
    return good


def _split(count: NDArray[Any], denominator: int) -> tuple[I64Array, I64Array]:
    if count.dtype.kind == "u":
        whole, part = np.divmod(count, np.uint64(denominator))
        return whole.astype(np.int64), part.astype(np.int64)
    whole, part = np.divmod(count, np.int64(denominator))
    return whole, part


def _real_ns(raw: NDArray[np.float64], meaning: TimeMeaning) -> tuple[I64Array, BoolArray]:
    """Whole seconds and their fraction apart, so that as little as can be is lost."""
    with np.errstate(all="ignore"):
        seconds = raw * meaning.scale + meaning.offset
        good: BoolArray = np.abs(seconds) < _LAST_NS / SECOND_NS / 2
        seconds = np.where(good, seconds, 0.0)
    whole = np.floor(seconds)
    fraction = np.rint((seconds - whole) * SECOND_NS).astype(np.int64)
    return whole.astype(np.int64) * SECOND_NS + fraction, good


def absolute(raw: NDArray[Any], meaning: TimeMeaning) -> tuple[I64Array, BoolArray]:
    """Return counted times in ns TAI since 1958, int64, and where they are times.

    UNIX counts 86,400 s a day; every other epoch counts all seconds, leap seconds too.
    """
    ns, good = counted_ns(raw, meaning)
    epoch = epoch_tai_ns(meaning.epoch)
    if epoch is None:
        return np.zeros_like(ns), np.zeros(ns.shape, np.bool_)
    if meaning.epoch.upper() == "UNIX":
        flat = np.where(good, ns, 0).ravel()
        good &= np.abs(ns) < 1 << 61
        return unix_ns_to_tai_ns_batch(np.where(good.ravel(), flat, 0)).reshape(ns.shape), good
    good &= np.abs(ns) < (1 << 63) - 1 - abs(epoch)
    return np.where(good, ns, 0) + epoch, good


def relative_s(raw: NDArray[Any], meaning: TimeMeaning | None) -> NDArray[np.float64]:
    """Return counted durations in seconds, float64."""
    with np.errstate(all="ignore"):
        seconds = raw.astype(np.float64)
        return seconds if meaning is None else seconds * meaning.scale + meaning.offset
