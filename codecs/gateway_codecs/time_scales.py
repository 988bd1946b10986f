"""Time scales: int64 nanoseconds TAI since 1958-01-01 inside; UTC, GPS and Unix time only at the edges.

The core is free of `datetime`, which knows no leap second and nothing finer than a microsecond. A
UTC time is a pair (day since 1958-01-01, nanoseconds of that day); inside a leap second the
nanoseconds run on beyond 86400 s, so `23:59:60` survives a round trip.

The steps of TAI-UTC are those of the IERS list. Before 1972 UTC had no whole steps, and by
convention TAI-UTC is taken as 0 there. The ten seconds that this convention lacks are told as
`1971-12-31T23:59:60` to `:69`, so that every TAI time has exactly one UTC time.
Text is ASCII code A or B of CCSDS 301.0-B-4, 3.5.
"""

from __future__ import annotations

import re
from bisect import bisect_right

import numpy as np

from gateway_codecs.batches import ABSENT, I64Array

SECOND_NS = 1_000_000_000
DAY_S = 86_400
DAY_NS = DAY_S * SECOND_NS
UNIX_EPOCH_DAY = 4383
"""Days from 1958-01-01 to 1970-01-01."""
GPS_EPOCH_DAY = 8040
"""Days from 1958-01-01 to 1980-01-06, where GPS time begins with TAI-GPS = 19 s, for good."""
TAI_MINUS_GPS_NS = 19 * SECOND_NS
_GPS_EPOCH_TAI_NS = GPS_EPOCH_DAY * DAY_NS + TAI_MINUS_GPS_NS
_INT64 = np.iinfo(np.int64)


def day_of(year: int, month: int, day: int) -> int:
    """Return the day since 1958-01-01 of a date of the Gregorian calendar (its fields are not checked)."""
    years = year - (month <= 2)
    era, year_of_era = divmod(years, 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return era * 146_097 + day_of_era - 719_468 + UNIX_EPOCH_DAY


def date_of(day: int) -> tuple[int, int, int]:
    """Return (year, month, day of month) of a day since 1958-01-01."""
    era, day_of_era = divmod(day - UNIX_EPOCH_DAY + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    return year_of_era + era * 400 + (month <= 2), month, day_of_year - (153 * shifted + 2) // 5 + 1


_STEPS = (
    (1972, 1, 10), (1972, 7, 11), (1973, 1, 12), (1974, 1, 13), (1975, 1, 14), (1976, 1, 15), (1977, 1, 16),
    (1978, 1, 17), (1979, 1, 18), (1980, 1, 19), (1981, 7, 20), (1982, 7, 21), (1983, 7, 22), (1985, 7, 23),
    (1988, 1, 24), (1990, 1, 25), (1991, 1, 26), (1992, 7, 27), (1993, 7, 28), (1994, 7, 29), (1996, 1, 30),
    (1997, 7, 31), (1999, 1, 32), (2006, 1, 33), (2009, 1, 34), (2012, 7, 35), (2015, 7, 36), (2017, 1, 37),
)  # fmt: skip
_STEP_DAYS = [day_of(year, month, 1) for year, month, _ in _STEPS]
_OFFSETS_S = [0, *(offset for _, _, offset in _STEPS)]
_STEP_TAI_NS = [day * DAY_NS + offset * SECOND_NS for day, offset in zip(_STEP_DAYS, _OFFSETS_S[1:], strict=True)]
_STEP_DAY_ROW = np.array([*_STEP_DAYS, _INT64.max], np.int64)  # the last never comes
_OFFSET_ROW_NS = np.array(_OFFSETS_S, np.int64) * SECOND_NS
_STEP_TAI_ROW_NS = np.array(_STEP_TAI_NS, np.int64)


def tai_minus_utc_s(day: int) -> int:
    """Return TAI-UTC in seconds on a UTC day since 1958-01-01 (IERS list; 0 before 1972 by convention)."""
    return _OFFSETS_S[bisect_right(_STEP_DAYS, day)]


def leap_seconds_after(day: int) -> int:
    """Return how many seconds are put in at the end of a UTC day (1971-12-31: 10, by the convention above)."""
    return tai_minus_utc_s(day + 1) - tai_minus_utc_s(day)


def utc_to_tai_ns(day: int, ns_of_day: int) -> int:
    """Return TAI ns for a UTC day since 1958-01-01 and the ns of that day (beyond 86400 s in a leap second)."""
    return day * DAY_NS + tai_minus_utc_s(day) * SECOND_NS + ns_of_day


def tai_ns_to_utc(tai_ns: int) -> tuple[int, int]:
    """Return (UTC day since 1958-01-01, ns of that day, beyond 86400 s inside a leap second)."""
    step = bisect_right(_STEP_TAI_NS, tai_ns)
    day, ns_of_day = divmod(tai_ns - _OFFSETS_S[step] * SECOND_NS, DAY_NS)
    if step < len(_STEP_DAYS) and day == _STEP_DAYS[step]:
        return day - 1, ns_of_day + DAY_NS  # the new day has not begun yet
    return day, ns_of_day


def utc_to_tai_ns_batch(days: I64Array, ns_of_day: I64Array) -> I64Array:
    """As utc_to_tai_ns for int64 arrays (n,); days must lie within +-106,000 of 1958, or int64 wraps."""
    offset_ns = _OFFSET_ROW_NS[np.searchsorted(_STEP_DAY_ROW[:-1], days, side="right")]
    return days * DAY_NS + offset_ns + ns_of_day


def tai_ns_to_utc_batch(tai_ns: I64Array) -> tuple[I64Array, I64Array]:
    """As tai_ns_to_utc for an int64 array (n,): returns (days int64 (n,), ns of day int64 (n,))."""
    step = np.searchsorted(_STEP_TAI_ROW_NS, tai_ns, side="right")
    days, ns_of_day = np.divmod(tai_ns - _OFFSET_ROW_NS[step], np.int64(DAY_NS))
    in_leap = days == _STEP_DAY_ROW[step]
    return days - in_leap, ns_of_day + in_leap * np.int64(DAY_NS)


def unix_ns_to_tai_ns(unix_ns: int) -> int:
    """Return TAI ns for Unix ns (POSIX: 86400 s a day, leap seconds have no number of their own)."""
    day, ns_of_day = divmod(unix_ns, DAY_NS)
    return utc_to_tai_ns(day + UNIX_EPOCH_DAY, ns_of_day)


def tai_ns_to_unix_ns(tai_ns: int) -> int:
    """Return Unix ns; a leap second shares its numbers with the first second of the next day, as POSIX has it."""
    day, ns_of_day = tai_ns_to_utc(tai_ns)
    return (day - UNIX_EPOCH_DAY) * DAY_NS + ns_of_day


def unix_ns_to_tai_ns_batch(unix_ns: I64Array) -> I64Array:
    """As unix_ns_to_tai_ns for an int64 array (n,)."""
    days, ns_of_day = np.divmod(unix_ns, np.int64(DAY_NS))
    return utc_to_tai_ns_batch(days + UNIX_EPOCH_DAY, ns_of_day)


def gps_ns_to_tai_ns(gps_ns: int) -> int:
    """Return TAI ns for ns of GPS time since 1980-01-06T00:00:00 UTC."""
    return gps_ns + _GPS_EPOCH_TAI_NS


def tai_ns_to_gps_ns(tai_ns: int) -> int:
    """Return ns of GPS time since 1980-01-06T00:00:00 UTC."""
    return tai_ns - _GPS_EPOCH_TAI_NS


_TEXT = re.compile(
    r"([0-9]{4})-(?:([0-9]{2})-([0-9]{2})|([0-9]{3}))T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?Z?"
)


def parse_calendar(text: str, leap_seconds: bool = True) -> tuple[int, int]:
    """Return (day since 1958-01-01, ns of day) of whole ASCII code A or B, in whatever scale the text is meant.

    `leap_seconds` accepts `:60` where UTC had one. Raises ValueError for truncated codes, fields out
    of range and more than nine decimals.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no time like 2024-02-29T12:34:56.789Z or 2024-060T12:34:56.789Z")
    year, month, of_month, of_year, hour, minute, second = (int(field or 0) for field in match.groups()[:7])
    day = day_of(year, month, of_month) if match[2] else day_of(year, 1, of_year)
    exists = date_of(day) == (year, month, of_month) if match[2] else of_year > 0 and date_of(day)[0] == year
    at_end = (hour, minute) == (23, 59)
    seconds = 60 + (leap_seconds_after(day) if leap_seconds and at_end else 0)
    if not exists or hour > 23 or minute > 59 or second >= seconds:
        raise ValueError(f"{text!r} names a day or a time of day that does not exist")
    return day, (hour * 3600 + minute * 60 + second) * SECOND_NS + int((match[8] or "0").ljust(9, "0"))


def parse_utc(text: str) -> int:
    """Return TAI ns for UTC in whole ASCII code A or B (the Z may be missing). Raises ValueError."""
    tai_ns = utc_to_tai_ns(*parse_calendar(text))
    if not _INT64.min < tai_ns <= _INT64.max:
        raise ValueError(f"{text!r} does not fit int64 nanoseconds (years 1666 to 2250 do)")
    return tai_ns


def format_utc(tai_ns: int) -> str:
    """Return ASCII code A with nanoseconds, `2024-02-29T12:34:56.789000000Z`. Raises ValueError for ABSENT."""
    if not ABSENT < tai_ns <= _INT64.max:
        raise ValueError(f"{tai_ns} is no time in int64 nanoseconds TAI")
    day, ns_of_day = tai_ns_to_utc(int(tai_ns))
    seconds, ns = divmod(ns_of_day, SECOND_NS)
    minutes = min(seconds // 60, 1439)  # a leap second belongs to 23:59
    year, month, of_month = date_of(day)
    clock = f"{minutes // 60:02}:{minutes % 60:02}:{seconds - 60 * minutes:02}"
    return f"{year:04}-{month:02}-{of_month:02}T{clock}.{ns:09}Z"


_UTC_TEXT = np.frombuffer(b"0000-00-00T00:00:00.000000000Z", np.uint8)


def format_utc_batch(tai_ns: I64Array) -> list[str]:
    """As format_utc for an int64 array (n,). Raises ValueError when one is ABSENT."""
    if len(tai_ns) and int(tai_ns.min()) <= ABSENT:
        raise ValueError(f"{ABSENT} is no time in int64 nanoseconds TAI")
    days, ns_of_day = tai_ns_to_utc_batch(tai_ns)
    seconds, ns = np.divmod(ns_of_day, np.int64(SECOND_NS))
    minutes = np.minimum(seconds // 60, 1439)
    text = np.tile(_UTC_TEXT, (len(tai_ns), 1))
    known, row = np.unique(days, return_inverse=True)
    dates = "".join("{:04}-{:02}-{:02}".format(*date_of(day)) for day in known.tolist()).encode()
    text[:, :10] = np.frombuffer(dates, np.uint8).reshape(-1, 10)[row]
    fields = ((11, 2, minutes // 60), (14, 2, minutes % 60), (17, 2, seconds - 60 * minutes), (20, 9, ns))
    for first, digits, value in fields:
        left = value.astype(np.uint32)
        for column in range(first + digits - 1, first - 1, -1):
            left, digit = np.divmod(left, np.uint32(10))
            text[:, column] += digit.astype(np.uint8)
    found: list[str] = text.view("S30").ravel().astype("U30").tolist()
    return found
