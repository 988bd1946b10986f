"""Time scales: everything inside is int64 nanoseconds TAI since 1958-01-01; UTC, GPS and Unix only at the edges.

Source of the leap seconds: the IERS list as in CCSDS 301.0-B-4 annex A's references. Before 1972 TAI-UTC is
taken as 0 by convention and such times are not meant to be converted.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from datetime import date, timedelta

SECOND_NS = 1_000_000_000
DAY_S = 86400
EPOCH_1958 = date(1958, 1, 1)
UNIX_EPOCH_S = 378_691_200  # 1958-01-01 to 1970-01-01 in UTC seconds
GPS_EPOCH_TAI_NS = (8040 * DAY_S + 19) * SECOND_NS  # 1980-01-06T00:00:00 UTC, TAI-UTC = 19 s

_STEPS = (
    (1972, 1, 10), (1972, 7, 11), (1973, 1, 12), (1974, 1, 13), (1975, 1, 14), (1976, 1, 15), (1977, 1, 16),
    (1978, 1, 17), (1979, 1, 18), (1980, 1, 19), (1981, 7, 20), (1982, 7, 21), (1983, 7, 22), (1985, 7, 23),
    (1988, 1, 24), (1990, 1, 25), (1991, 1, 26), (1992, 7, 27), (1993, 7, 28), (1994, 7, 29), (1996, 1, 30),
    (1997, 7, 31), (1999, 1, 32), (2006, 1, 33), (2009, 1, 34), (2012, 7, 35), (2015, 7, 36), (2017, 1, 37),
)  # fmt: skip
_STEP_DAYS = [(date(y, m, 1) - EPOCH_1958).days for y, m, _ in _STEPS]
_OFFSETS = [0, *(offset for _, _, offset in _STEPS)]
_STEP_TAI_S = [day * DAY_S + offset for day, (_, _, offset) in zip(_STEP_DAYS, _STEPS, strict=True)]
_UTC = re.compile(r"(\d{4})-(?:(\d{2})-(\d{2})|(\d{3}))T(\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?Z?")


def tai_minus_utc_s(day: int) -> int:
    """Return TAI-UTC in seconds on a UTC day counted from 1958-01-01."""
    return _OFFSETS[bisect_right(_STEP_DAYS, day)]


def utc_to_tai_ns(day: int, ns_of_day: int) -> int:
    """Return TAI for a UTC day since 1958-01-01 and nanoseconds of that day (a leap second runs past 86400 s)."""
    return (day * DAY_S + tai_minus_utc_s(day)) * SECOND_NS + ns_of_day


def tai_ns_to_utc(tai_ns: int) -> tuple[int, int]:
    """Return (UTC day since 1958-01-01, nanoseconds of day); inside a leap second these exceed 86400 s."""
    seconds, rest = divmod(tai_ns, SECOND_NS)
    step = bisect_right(_STEP_TAI_S, seconds)
    day, second = divmod(seconds - _OFFSETS[step], DAY_S)
    if 0 < step < len(_STEP_TAI_S) and seconds == _STEP_TAI_S[step] - 1:
        day, second = _STEP_DAYS[step] - 1, DAY_S
    return day, second * SECOND_NS + rest


def unix_ns_to_tai_ns(unix_ns: int) -> int:
    """Return TAI for Unix nanoseconds (which do not know leap seconds)."""
    day, ns_of_day = divmod(unix_ns + UNIX_EPOCH_S * SECOND_NS, DAY_S * SECOND_NS)
    return utc_to_tai_ns(day, ns_of_day)


def gps_ns_to_tai_ns(gps_ns: int) -> int:
    """Return TAI for nanoseconds of GPS time since 1980-01-06."""
    return gps_ns + GPS_EPOCH_TAI_NS


def format_utc(tai_ns: int) -> str:
    """Return ASCII code A of CCSDS 301.0-B-4 3.5 with nanoseconds, `2024-02-29T12:34:56.789000000Z`."""
    day, ns_of_day = tai_ns_to_utc(tai_ns)
    seconds, rest = divmod(ns_of_day, SECOND_NS)
    whole = min(seconds, DAY_S - 1)
    text = (EPOCH_1958 + timedelta(days=day)).isoformat()
    return f"{text}T{whole // 3600:02}:{whole % 3600 // 60:02}:{whole % 60 + seconds - whole:02}.{rest:09}Z"


def parse_utc(text: str) -> int:
    """Return TAI ns for ASCII code A or B, whole codes only. Raises ValueError."""
    match = _UTC.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no UTC time like 2024-02-29T12:34:56.789Z or 2024-060T12:34:56Z")
    year, month, day, of_year, hour, minute, second, fraction = match.groups()
    when = date(int(year), int(month), int(day)) if month else date(int(year), 1, 1) + timedelta(int(of_year) - 1)
    days = (when - EPOCH_1958).days
    length = 60 + int(tai_minus_utc_s(days + 1) > tai_minus_utc_s(days) and (hour, minute) == ("23", "59"))
    if when.year != int(year) or int(hour) > 23 or int(minute) > 59 or int(second) >= length:
        raise ValueError(f"{text!r} has a field out of range")
    seconds = int(hour) * 3600 + int(minute) * 60 + int(second)
    return utc_to_tai_ns(days, seconds * SECOND_NS + int((fraction or "0").ljust(9, "0")))
