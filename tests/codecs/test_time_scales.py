"""Times are exact integers: every TAI instant has one UTC text, and every UTC text one TAI instant."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway_codecs import time_scales as ts
from gateway_codecs.batches import ABSENT

S = ts.SECOND_NS
INT64_MAX = int(np.iinfo(np.int64).max)
TAI_NS = st.integers(ABSENT + 1, INT64_MAX)
INNER_NS = st.integers(-(9 * 10**18), 9 * 10**18)
LAST_STEP = ts.utc_to_tai_ns(ts.day_of(2017, 1, 1), 0)

KNOWN = [  # instants worked out by hand from the IERS list
    ("1958-01-01T00:00:00.000000000Z", 0),
    ("1970-01-01T00:00:00.000000000Z", 378_691_200 * S),
    ("1971-12-31T23:59:59.999999999Z", 5113 * 86400 * S - 1),
    ("1971-12-31T23:59:60.000000000Z", 5113 * 86400 * S),
    ("1971-12-31T23:59:69.999999999Z", (5113 * 86400 + 10) * S - 1),
    ("1972-01-01T00:00:00.000000000Z", (5113 * 86400 + 10) * S),
    ("1980-01-06T00:00:00.000000000Z", (8040 * 86400 + 19) * S),
    ("2016-12-31T23:59:59.999999999Z", (21550 * 86400 + 36) * S - 1),
    ("2016-12-31T23:59:60.000000000Z", (21550 * 86400 + 36) * S),
    ("2016-12-31T23:59:60.999999999Z", (21550 * 86400 + 37) * S - 1),
    ("2017-01-01T00:00:00.000000000Z", (21550 * 86400 + 37) * S),
    ("2024-02-29T12:34:56.789000000Z", 2_087_901_333_789_000_000),
    ("1957-12-31T23:59:59.000000000Z", -S),
]


@pytest.mark.parametrize(("text", "tai_ns"), KNOWN)
def test_known_instants(text: str, tai_ns: int) -> None:
    """Instants from the standards' sheets are told and read exactly, leap seconds included."""
    assert ts.format_utc(tai_ns) == text
    assert ts.parse_utc(text) == tai_ns


@given(TAI_NS)
@example(LAST_STEP - 1)
@example(LAST_STEP - S)
@example(ABSENT + 1)
@example(INT64_MAX)
def test_every_instant_survives_its_text(tai_ns: int) -> None:
    """Formatting and parsing any int64 instant gives it back."""
    assert ts.parse_utc(ts.format_utc(tai_ns)) == tai_ns


@given(st.integers(0, len(ts._STEPS) - 1), st.integers(-12 * S, 12 * S))
def test_text_is_in_order_around_leap_seconds(step: int, shift_ns: int) -> None:
    """Around every step of TAI-UTC the text round-trips and stays in the order of the instants."""
    tai_ns = ts._STEP_TAI_NS[step] + shift_ns
    assert ts.parse_utc(ts.format_utc(tai_ns)) == tai_ns
    assert ts.format_utc(tai_ns) < ts.format_utc(tai_ns + 1)


@given(st.dates())
def test_days_agree_with_the_standard_library(day: date) -> None:
    """Day numbers and dates agree with an independent calendar, and code B says the same as code A."""
    number = (day - date(1958, 1, 1)).days
    assert ts.day_of(day.year, day.month, day.day) == number
    assert ts.date_of(number) == (day.year, day.month, day.day)
    assert ts.parse_calendar(f"{day.isoformat()}T00:00:00") == (number, 0)
    assert ts.parse_calendar(f"{day:%Y-%jT00:00:00Z}".rjust(18, "0")) == (number, 0)


@given(st.datetimes(datetime(1972, 1, 2), datetime(2200, 1, 1)))
def test_unix_time_agrees_with_the_standard_library(when: datetime) -> None:
    """Unix nanoseconds become the TAI instant whose text the standard library prints."""
    unix_ns = (when - datetime(1970, 1, 1)) // timedelta(microseconds=1) * 1000
    tai_ns = ts.unix_ns_to_tai_ns(unix_ns)
    assert ts.format_utc(tai_ns) == f"{when.replace(tzinfo=UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"
    assert ts.tai_ns_to_unix_ns(tai_ns) == unix_ns


def test_leap_second_shares_its_unix_time_with_the_next_second() -> None:
    """POSIX has no number for 23:59:60; ours folds it on the next second and never runs backwards by more."""
    leap = ts.parse_utc("2016-12-31T23:59:60.5Z")
    assert ts.tai_ns_to_unix_ns(leap) == ts.tai_ns_to_unix_ns(leap + S)


@given(INNER_NS)
def test_gps_time_is_a_fixed_shift(gps_ns: int) -> None:
    """GPS time converts both ways and lies 18 s before UTC's reading since 2017."""
    assert ts.tai_ns_to_gps_ns(ts.gps_ns_to_tai_ns(gps_ns)) == gps_ns
    assert ts.format_utc(ts.gps_ns_to_tai_ns(1_393_245_314 * S)) == "2024-02-29T12:34:56.000000000Z"


@given(st.lists(INNER_NS, max_size=20))
@example([LAST_STEP - S, LAST_STEP - 1, LAST_STEP, ts._STEP_TAI_NS[0] - 1, ts._STEP_TAI_NS[0] - 10 * S])
def test_batches_equal_single_conversions(instants: list[int]) -> None:
    """The batch functions give what the single ones give."""
    rows = np.array(instants, np.int64)
    days, ns_of_day = ts.tai_ns_to_utc_batch(rows)
    assert list(zip(days.tolist(), ns_of_day.tolist(), strict=True)) == [ts.tai_ns_to_utc(t) for t in instants]
    assert ts.utc_to_tai_ns_batch(days, ns_of_day).tolist() == instants
    assert ts.unix_ns_to_tai_ns_batch(rows // 2).tolist() == [ts.unix_ns_to_tai_ns(t // 2) for t in instants]


REFUSED = [
    "", "2024", "2024-02-29", "2024-02-29T12:34", "12:34:56Z", "2024-02-30T00:00:00Z", "2023-02-29T00:00:00Z",
    "2024-13-01T00:00:00Z", "2024-00-01T00:00:00Z", "2024-01-00T00:00:00Z", "2024-000T00:00:00Z",
    "2023-366T00:00:00Z", "2024-367T00:00:00Z", "2024-01-01T24:00:00Z", "2024-01-01T00:60:00Z",
    "2024-01-01T23:59:60Z", "2016-12-31T12:59:60Z", "2016-12-31T23:59:61Z", "2016-12-31T23:58:60Z",
    "2024-01-01T00:00:00.Z", "2024-01-01T00:00:00.1234567890Z", "2024-01-01 00:00:00Z", "2024-01-01T00:00:00z",
    "2024-01-01T00:00:00+00:00", " 2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z\n", "٢٠٢٤-01-01T00:00:00Z",
    "9999-01-01T00:00:00Z", "1000-01-01T00:00:00Z",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_texts_that_are_refused(text: str) -> None:
    """Truncated codes, impossible fields, other digits and times beyond int64 are refused with the text."""
    with pytest.raises(ValueError, match=r"no time|exist|fit"):
        ts.parse_utc(text)


@given(st.text(alphabet="0123456789-T:.Z", max_size=32))
def test_rubbish_text_is_only_ever_refused(text: str) -> None:
    """Any text either is refused by ValueError or is told again as the same instant."""
    try:
        tai_ns = ts.parse_utc(text)
    except ValueError:
        return
    assert ts.parse_utc(ts.format_utc(tai_ns)) == tai_ns


@pytest.mark.parametrize("value", [ABSENT, ABSENT - 1, INT64_MAX + 1])
def test_no_time_is_not_told(value: int) -> None:
    """The mark for an absent time, and what does not fit, are never printed as a date."""
    with pytest.raises(ValueError, match="no time"):
        ts.format_utc(value)


def test_leap_seconds_accepted_only_in_utc() -> None:
    """A calendar without leap seconds (TAI, GPS) refuses ':60'."""
    with pytest.raises(ValueError, match="exist"):
        ts.parse_calendar("2016-12-31T23:59:60Z", leap_seconds=False)
