"""CUC and CDS time codes (CCSDS 301.0-B-4, 3.2 and 3.3), declared once and decoded in batches.

A code stands in packets and frames either after its P-field (preamble) or alone, its P-field implied
by configuration. `decode` is the reference, drawn from the `construct` declarations below; it gives
the raw counts and the instant. `decode_batch` gives the same instants for a 2-D array of octets
without a loop over rows. Instants are int64 nanoseconds TAI since 1958-01-01, rounded to the
nearest; some codes count finer (`TimeCode.finer_than_ns`), so whoever needs that keeps the octets.

CCS (calendar) codes are not decoded here, and say so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, cast

import construct as c
import numpy as np

from gateway_codecs.batches import ABSENT, BoolArray, I64Array, U8Array
from gateway_codecs.time_scales import (
    DAY_NS,
    DAY_S,
    SECOND_NS,
    TAI_MINUS_GPS_NS,
    leap_seconds_after,
    parse_calendar,
    tai_ns_to_utc,
    utc_to_tai_ns,
    utc_to_tai_ns_batch,
)

Scale = Literal["tai", "utc", "gps"]
SubMillisecond = Literal["none", "us", "ps"]

CCSDS_EPOCH = "1958-01-01T00:00:00Z"
CUC_CCSDS, CUC_AGENCY, CDS = 0b001, 0b010, 0b100
LAST_MS_OF_DAY = 86_400_999
"""During a positive leap second CDS counts 86,400,000 to 86,400,999 ms; there is no longer day."""
EPOCHS_KEPT = 256
_INT64_MAX = int(np.iinfo(np.int64).max)
_SUB_OCTETS = {"none": 0, "us": 2, "ps": 4}
_SUB_LIMIT = {"none": 0, "us": 999, "ps": 999_999_999}
_SUB_CODES: tuple[SubMillisecond, ...] = ("none", "us", "ps")

P_FIELD = c.BitStruct(
    "extended" / c.Flag,  # an extension octet follows
    "code_id" / c.BitsInteger(3),
    "detail" / c.BitsInteger(4),
)
CUC_EXTENSION = c.BitStruct(
    "extended" / c.Flag,  # a further octet follows: not defined by the standard
    "coarse_octets" / c.BitsInteger(2),  # beyond those of the first octet
    "fine_octets" / c.BitsInteger(3),
    "reserved" / c.BitsInteger(2),  # for the mission: not looked at
)


def _count(octets: int) -> c.Construct:
    return c.BytesInteger(octets) if octets else c.Computed(0)


def cuc_t_field(coarse_octets: int, fine_octets: int) -> c.Construct:
    """Return the declaration of a CUC T-field: whole seconds, then binary fractions of a second (3.2.3)."""
    return c.Struct("coarse" / _count(coarse_octets), "fine" / _count(fine_octets))


def cds_t_field(day_octets: int, submillisecond_octets: int) -> c.Construct:
    """Return the declaration of a CDS T-field: day, millisecond of day, us or ps of millisecond (3.3.3)."""
    return c.Struct("days" / _count(day_octets), "ms_of_day" / c.Int32ub, "sub" / _count(submillisecond_octets))


class TimeCodeError(ValueError):
    """Octets or values that are no time in the code that was expected; the message has the facts."""


@dataclass(frozen=True, slots=True)
class TimeCode:
    """What a mission says of a time code. Raises TimeCodeError when it cannot be.

    `epoch` is text (ASCII A or B) read in `scale`. CUC counts seconds from there: `tai` and `gps` count
    every second; `utc` counts 86,400 a day and leaves leap seconds out, as Unix time does. CDS
    counts days from midnight of `epoch`. `scale` None is the standard's own: TAI for CUC, UTC for CDS.
    An epoch such as 2000-01-01T00:00:00 UTC with leap seconds counted is 2000-01-01T00:00:32 in `tai`.
    With `p_field` present the widths are read from each P-field and those here serve to encode.
    """

    code: Literal["cuc", "cds"]
    p_field: Literal["present", "implied"] = "implied"
    coarse_octets: int = 4  # CUC: 1 to 7
    fine_octets: int = 2  # CUC: 0 to 10
    day_octets: int = 2  # CDS: 2 or 3
    submillisecond: SubMillisecond = "none"  # CDS
    epoch: str = CCSDS_EPOCH
    scale: Scale | None = None

    def __post_init__(self) -> None:
        _require(self.code in {"cuc", "cds"}, "code", "cuc or cds", self.code)
        _require(self.p_field in {"present", "implied"}, "p_field", "present or implied", self.p_field)
        _require(1 <= self.coarse_octets <= 7, "coarse_octets", "1 to 7", self.coarse_octets)
        _require(0 <= self.fine_octets <= 10, "fine_octets", "0 to 10", self.fine_octets)
        _require(self.day_octets in {2, 3}, "day_octets", "2 or 3", self.day_octets)
        _require(self.submillisecond in _SUB_OCTETS, "submillisecond", "none, us or ps", self.submillisecond)
        _require(self.scale in {None, "tai", "utc", "gps"}, "scale", "tai, utc or gps", self.scale)
        _, ns_of_day = self.epoch_utc
        _require(self.code == "cuc" or ns_of_day == 0, "epoch of a CDS code", "midnight", self.epoch)
        _require(0 <= self.epoch_ns < _INT64_MAX // 2, "epoch", "a year from 1958 to 2103", self.epoch)

    @property
    def counts_in(self) -> Scale:
        """The scale, the standard's own put in."""
        return self.scale or ("tai" if self.code == "cuc" else "utc")

    @property
    def epoch_utc(self) -> tuple[int, int]:
        """(day since 1958-01-01, ns of day) of the epoch in its own scale."""
        try:
            return _calendar(self.epoch, self.counts_in == "utc")
        except ValueError as error:
            raise TimeCodeError(f"epoch: {error}") from None

    @property
    def epoch_ns(self) -> int:
        """Where the counts begin: ns TAI since 1958-01-01 for `tai` and `gps`, ns of UTC days for `utc`."""
        day, ns_of_day = self.epoch_utc
        return day * DAY_NS + ns_of_day + (TAI_MINUS_GPS_NS if self.counts_in == "gps" else 0)

    @property
    def agency_epoch(self) -> bool:
        """Whether the P-field says that the agency chose the epoch (else 1958-01-01 in the standard's scale)."""
        return self.epoch_ns != 0 or self.counts_in != ("tai" if self.code == "cuc" else "utc")

    @property
    def finer_than_ns(self) -> bool:
        """Whether the code counts finer than nanoseconds: then the instant is rounded, the octets are exact."""
        return self.submillisecond == "ps" if self.code == "cds" else self.fine_octets > 3

    @property
    def octets(self) -> int:
        """Octets of the whole code as declared, its P-field included when present."""
        return (len(p_field(self)) if self.p_field == "present" else 0) + self.t_field_octets

    @property
    def t_field_octets(self) -> int:
        """Octets of the T-field."""
        if self.code == "cuc":
            return self.coarse_octets + self.fine_octets
        return self.day_octets + 4 + _SUB_OCTETS[self.submillisecond]


@dataclass(frozen=True, slots=True)
class CucTime:
    """Raw CUC counts: seconds since the epoch, and the fraction in units of 256 ** -fine_octets s."""

    coarse: int
    fine: int = 0


@dataclass(frozen=True, slots=True)
class CdsTime:
    """Raw CDS counts: days since the epoch, ms of day, and us or ps of that ms. Raises TimeCodeError."""

    days: int
    ms_of_day: int
    submillisecond: int = 0

    def __post_init__(self) -> None:
        _require(0 <= self.ms_of_day <= LAST_MS_OF_DAY, "ms_of_day", f"0 to {LAST_MS_OF_DAY}", self.ms_of_day)


@dataclass(frozen=True, slots=True)
class DecodedTime:
    """A decoded code: the layout as found, the raw counts, the instant (ns TAI since 1958) and the octets it took."""

    layout: TimeCode
    raw: CucTime | CdsTime
    tai_ns: int
    octets: int


def _require(good: bool, what: str, expected: str, found: object) -> None:
    if not good:
        raise TimeCodeError(f"{what}: expected {expected}, found {found}")


# ---- the P-field ----


def p_field(settings: TimeCode) -> bytes:
    """Return the P-field that these settings have (301.0-B-4, 3.2.2 and 3.3.2), one octet or two."""
    if settings.code == "cds":
        detail = (
            settings.agency_epoch << 3 | (settings.day_octets == 3) << 2 | _SUB_CODES.index(settings.submillisecond)
        )
        return bytes(P_FIELD.build({"extended": False, "code_id": CDS, "detail": detail}))
    coarse, fine = min(settings.coarse_octets, 4), min(settings.fine_octets, 3)
    more_coarse, more_fine = settings.coarse_octets - coarse, settings.fine_octets - fine
    extended = more_coarse + more_fine > 0
    code_id = CUC_AGENCY if settings.agency_epoch else CUC_CCSDS
    first = P_FIELD.build({"extended": extended, "code_id": code_id, "detail": (coarse - 1) << 2 | fine})
    more = {"extended": False, "coarse_octets": more_coarse, "fine_octets": more_fine, "reserved": 0}
    return bytes(first + (CUC_EXTENSION.build(more) if extended else b""))


def read_p_field(data: bytes, settings: TimeCode) -> tuple[TimeCode, int]:
    """Return (the layout a P-field states, octets of the P-field). `settings` gives the agency's epoch and scale.

    Raises TimeCodeError for another code than the settings', one that is not defined, too few octets, and an
    agency epoch where the settings have none.
    """
    _require(len(data) >= 1, "P-field", "1 octet", f"{len(data)} octets")
    first = P_FIELD.parse(data[:1])
    if first.code_id == CDS and settings.code == "cds":
        return _cds_layout(first, settings), 1
    if first.code_id in {CUC_CCSDS, CUC_AGENCY} and settings.code == "cuc":
        return _cuc_layout(data, first, settings)
    expected = "010 or 001 (CUC)" if settings.code == "cuc" else "100 (CDS)"
    raise TimeCodeError(f"code id at octet 0: expected {expected}, found {first.code_id:03b}")


def _cds_layout(first: c.Container, settings: TimeCode) -> TimeCode:
    sub = first.detail & 0b11
    _require(not first.extended, "extension flag of a CDS P-field at octet 0", "0", 1)
    _require(sub < len(_SUB_CODES), "sub-millisecond code at octet 0", "00, 01 or 10", f"{sub:02b}")
    layout = _with_epoch(settings, bool(first.detail & 0b1000))
    return replace(layout, day_octets=3 if first.detail & 0b100 else 2, submillisecond=_SUB_CODES[sub])


def _cuc_layout(data: bytes, first: c.Container, settings: TimeCode) -> tuple[TimeCode, int]:
    coarse, fine = (first.detail >> 2) + 1, first.detail & 0b11
    layout = _with_epoch(settings, first.code_id == CUC_AGENCY)
    if not first.extended:
        return replace(layout, coarse_octets=coarse, fine_octets=fine), 1
    _require(len(data) >= 2, "P-field with extension", "2 octets", f"{len(data)} octets")
    more = CUC_EXTENSION.parse(data[1:2])
    _require(not more.extended, "extension flag at octet 1", "0", 1)
    coarse, fine = coarse + more.coarse_octets, fine + more.fine_octets
    return replace(layout, coarse_octets=coarse, fine_octets=fine), 2


def _with_epoch(settings: TimeCode, agency: bool) -> TimeCode:
    if not agency:
        return replace(settings, epoch=CCSDS_EPOCH, scale=None)
    _require(settings.agency_epoch, "epoch", "an agency epoch in the settings, as the P-field says", settings.epoch)
    return settings


LAYOUTS_KEPT = 1 << 14
"""Layouts kept of P-fields read in batches: more than the 8,320 P-fields that can differ, some 100 octets each."""


@lru_cache(LAYOUTS_KEPT)
def layout_of(data: bytes, settings: TimeCode) -> tuple[TimeCode, int] | None:
    """As read_p_field, with None for a P-field that it refuses; remembered, for whatever the link sends."""
    try:
        return read_p_field(data, settings)
    except TimeCodeError:
        return None


# ---- one code at a time: the reference ----


def decode(data: bytes, settings: TimeCode) -> DecodedTime:
    """Decode the code at the beginning of `data`. Raises TimeCodeError."""
    layout, used = (settings, 0) if settings.p_field == "implied" else read_p_field(data, settings)
    end = used + layout.t_field_octets
    _require(len(data) >= end, "time code", f"{end} octets", f"{len(data)} octets")
    raw = _read_t_field(data[used:end], layout)
    return DecodedTime(layout, raw, to_tai_ns(raw, layout), end)


def _read_t_field(t_field: bytes, layout: TimeCode) -> CucTime | CdsTime:
    if layout.code == "cuc":
        cuc = cuc_t_field(layout.coarse_octets, layout.fine_octets).parse(t_field)
        return CucTime(cuc.coarse, cuc.fine)
    cds = cds_t_field(layout.day_octets, _SUB_OCTETS[layout.submillisecond]).parse(t_field)
    _check_submillisecond(cds.sub, layout)
    return CdsTime(cds.days, cds.ms_of_day, cds.sub)


def _check_submillisecond(sub: int, layout: TimeCode) -> None:
    limit = _SUB_LIMIT[layout.submillisecond]
    _require(0 <= sub <= limit, f"{layout.submillisecond} of millisecond", f"0 to {limit}", sub)


def encode(raw: CucTime | CdsTime, settings: TimeCode) -> bytes:
    """Return the octets of raw counts, after the P-field when it is present. Raises TimeCodeError on a misfit."""
    if isinstance(raw, CucTime):
        _require(settings.code == "cuc", "counts", "CDS", raw)
        _require(
            0 <= raw.coarse < 1 << 8 * settings.coarse_octets, "coarse", f"{settings.coarse_octets} octets", raw.coarse
        )
        _require(0 <= raw.fine < 1 << 8 * settings.fine_octets, "fine", f"{settings.fine_octets} octets", raw.fine)
        t_field = cuc_t_field(settings.coarse_octets, settings.fine_octets).build(
            {"coarse": raw.coarse, "fine": raw.fine}
        )
    else:
        _require(settings.code == "cds", "counts", "CUC", raw)
        _require(0 <= raw.days < 1 << 8 * settings.day_octets, "days", f"{settings.day_octets} octets", raw.days)
        _check_submillisecond(raw.submillisecond, settings)
        values = {"days": raw.days, "ms_of_day": raw.ms_of_day, "sub": raw.submillisecond}
        t_field = cds_t_field(settings.day_octets, _SUB_OCTETS[settings.submillisecond]).build(values)
    return (p_field(settings) if settings.p_field == "present" else b"") + bytes(t_field)


def to_tai_ns(raw: CucTime | CdsTime, layout: TimeCode) -> int:
    """Return the instant of raw counts, to the nearest ns. Raises TimeCodeError when int64 cannot hold it."""
    if isinstance(raw, CucTime):
        unit = 1 << 8 * layout.fine_octets
        count_ns = raw.coarse * SECOND_NS + (2 * raw.fine * SECOND_NS + unit) // (2 * unit)
        total = layout.epoch_ns + count_ns
        tai_ns = utc_to_tai_ns(*divmod(total, DAY_NS)) if layout.counts_in == "utc" else total
    else:
        sub_ns = (raw.submillisecond + 500) // 1000 if layout.submillisecond == "ps" else raw.submillisecond * 1000
        ns_of_day = raw.ms_of_day * 1_000_000 + sub_ns
        day = layout.epoch_utc[0] + raw.days
        in_days = layout.epoch_ns + raw.days * DAY_NS + ns_of_day
        tai_ns = utc_to_tai_ns(day, ns_of_day) if layout.counts_in == "utc" else in_days
    _require(tai_ns <= _last_tai_ns(), "instant", "a year up to 2250", f"{raw}")
    return tai_ns


def _last_tai_ns() -> int:
    return _INT64_MAX - 2 * DAY_NS  # room for the time of day and leap seconds in every intermediate sum


def encode_tai_ns(tai_ns: int, settings: TimeCode) -> bytes:
    """Return the code of an instant, rounded to the nearest count. Raises TimeCodeError when it does not fit.

    CUC in `utc` has no count for a leap second: it gets that of the next second.
    """
    utc = settings.counts_in == "utc"
    day, ns_of_day = tai_ns_to_utc(tai_ns) if utc else divmod(tai_ns - settings.epoch_ns, DAY_NS)
    if settings.code == "cds":
        leap_s = leap_seconds_after(day) if utc else 0
        days = day - settings.epoch_utc[0] if utc else day
        return encode(_cds_counts(days, ns_of_day, (DAY_S + leap_s) * 1000, settings), settings)
    unit = 1 << 8 * settings.fine_octets
    since = day * DAY_NS + ns_of_day - (settings.epoch_ns if utc else 0)
    coarse, fine = divmod((2 * since * unit + SECOND_NS) // (2 * SECOND_NS), unit)
    return encode(CucTime(coarse, fine), settings)


def _cds_counts(days: int, ns_of_day: int, ms_in_day: int, settings: TimeCode) -> CdsTime:
    unit_ns = {"none": 1_000_000, "us": 1000, "ps": 1}[settings.submillisecond]
    units = (2 * ns_of_day + unit_ns) // (2 * unit_ns)
    in_ms = 1_000_000 // unit_ns
    ms, sub = divmod(units, in_ms)
    if ms == ms_in_day:  # rounded up out of the day
        days, ms = days + 1, 0
    return CdsTime(days, ms, sub * (1000 if settings.submillisecond == "ps" else 1))


@lru_cache(EPOCHS_KEPT)
def _calendar(text: str, leap_seconds: bool) -> tuple[int, int]:
    return parse_calendar(text, leap_seconds)  # read once, not with every batch


# ---- batches ----


def decode_batch(octets: U8Array, settings: TimeCode) -> tuple[I64Array, BoolArray]:
    """Decode one code from the beginning of each row of `octets`, uint8 (n, width).

    Returns (int64 (n,) ns TAI since 1958, bool (n,) valid); rows that are no time hold ABSENT.
    Equal to `decode` row by row; a row narrower than its code is not valid. Nothing is raised for
    what the octets say. Raises ValueError when `octets` is not 2-D.
    """
    if octets.ndim != 2:
        raise ValueError(f"octets: expected 2 dimensions, found {octets.ndim}")
    if settings.p_field == "implied":
        return _t_fields(octets, settings)
    tai_ns, valid = np.full(len(octets), ABSENT, np.int64), np.zeros(len(octets), np.bool_)
    if octets.size == 0:
        return tai_ns, valid
    keys = _p_field_keys(octets)
    order = np.argsort(keys, kind="stable")
    found, first = np.unique(keys[order], return_index=True)  # a few in reality, some thousands at the very most
    for key, rows in zip(found.tolist(), np.split(order, first[1:]), strict=True):
        stated = layout_of(key.to_bytes(2)[: octets.shape[1]], settings)
        if stated is not None:
            layout, used = stated
            tai_ns[rows], valid[rows] = _t_fields(octets[rows, used:], layout)
    return tai_ns, valid


def _p_field_keys(octets: U8Array) -> I64Array:
    keys = octets[:, 0].astype(np.int64) << 8
    if octets.shape[1] > 1:
        keys += np.where(octets[:, 0] & 0x80, octets[:, 1] & 0xFC, 0)  # the reserved bits do not matter
    return cast(I64Array, keys)


def _t_fields(octets: U8Array, layout: TimeCode) -> tuple[I64Array, BoolArray]:
    if octets.shape[1] < layout.t_field_octets:
        return np.full(len(octets), ABSENT, np.int64), np.zeros(len(octets), np.bool_)
    tai_ns, valid = (_cuc_batch if layout.code == "cuc" else _cds_batch)(octets, layout)
    return np.where(valid, tai_ns, ABSENT), valid


def _cuc_batch(octets: U8Array, layout: TimeCode) -> tuple[I64Array, BoolArray]:
    coarse = _join(octets[:, : layout.coarse_octets])
    fraction_ns = _fraction_ns(octets[:, layout.coarse_octets : layout.t_field_octets])
    last_s = (_INT64_MAX - layout.epoch_ns) // SECOND_NS - 2  # checked before it is multiplied
    fits = coarse <= last_s
    total = layout.epoch_ns + np.where(fits, coarse, 0) * SECOND_NS + fraction_ns
    if layout.counts_in == "utc":
        fits &= total <= _last_tai_ns()
        days, ns_of_day = np.divmod(np.where(fits, total, 0), np.int64(DAY_NS))
        total = utc_to_tai_ns_batch(days, ns_of_day)
    return total, fits & (total <= _last_tai_ns())


def _cds_batch(octets: U8Array, layout: TimeCode) -> tuple[I64Array, BoolArray]:
    at = layout.day_octets
    days, ms = _join(octets[:, :at]), _join(octets[:, at : at + 4])
    sub = _join(octets[:, at + 4 : layout.t_field_octets])
    valid = (ms <= LAST_MS_OF_DAY) & (sub <= _SUB_LIMIT[layout.submillisecond])
    last_day = (_INT64_MAX - layout.epoch_ns) // DAY_NS - 2  # checked before it is multiplied
    valid &= days <= last_day
    sub_ns = (sub + 500) // 1000 if layout.submillisecond == "ps" else sub * 1000
    ns_of_day = np.where(valid, ms * 1_000_000 + sub_ns, 0)
    days = np.where(valid, days, 0)
    if layout.counts_in == "utc":
        tai_ns = utc_to_tai_ns_batch(days + layout.epoch_utc[0], ns_of_day)
    else:
        tai_ns = layout.epoch_ns + days * DAY_NS + ns_of_day
    return tai_ns, valid & (tai_ns <= _last_tai_ns())


def _join(octets: U8Array) -> I64Array:
    """Return the big-endian integers of uint8 (n, up to 7) as int64 (n,)."""
    value = np.zeros(len(octets), np.int64)
    for column in range(octets.shape[1]):
        value = value << 8 | octets[:, column]
    return value


def _fraction_ns(fine: U8Array) -> I64Array:
    """Return binary fractions of a second, uint8 (n, up to 10), as int64 ns (n,), rounded to the nearest.

    Four octets at a time, the least weight first, so that no product leaves int64.
    """
    ns = np.zeros(len(fine), np.int64)
    for start in reversed(range(0, fine.shape[1], 4)):
        group = fine[:, start : start + 4]
        bits = 8 * group.shape[1]
        half = 1 << (bits - 1) if start == 0 else 0
        ns = (_join(group) * SECOND_NS + ns + half) >> bits
    return ns
