"""CUC and CDS: the sheet's vectors, an independent implementation, batches equal to the declarations, rubbish."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from spacepackets.ccsds.time import CdsShortTimestamp

from gateway_codecs import time_codes
from gateway_codecs.batches import ABSENT
from gateway_codecs.time_codes import (
    CdsTime,
    CucTime,
    TimeCode,
    TimeCodeError,
    decode,
    decode_batch,
    encode,
    encode_tai_ns,
    p_field,
    read_p_field,
)
from gateway_codecs.time_scales import DAY_NS, format_utc, format_utc_batch, parse_utc

VECTORS = Path(__file__).parents[3] / "shared" / "spec" / "vectors" / "time_codes.json"
GPS_EPOCH = "1980-01-06T00:00:00Z"
CUC = TimeCode("cuc", "present")
CUC_GPS = TimeCode("cuc", "present", epoch=GPS_EPOCH, scale="gps")
CDS = TimeCode("cds", "present")
LEAP = parse_utc("2016-12-31T23:59:60.25Z")


def vector(name: str) -> dict[str, Any]:
    if not VECTORS.exists():
        pytest.skip("the fact sheets' vectors are not here (../shared/spec/vectors)")
    return next(v for v in json.loads(VECTORS.read_text())["vectors"] if v["id"] == name)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cds_p40_16bit_day_ms", CDS),
        ("cds_p41_us", CDS),
        ("cds_p42_ps", CDS),
        ("cds_p44_24bit_day", CDS),
        ("cds_no_pfield_sle8", TimeCode("cds", submillisecond="us")),
        ("cuc_p1f_4_3", CUC),
        ("cuc_p1e_4_2", CUC),
        ("cuc_p2e_gps_epoch_4_2", CUC_GPS),
        ("cuc_ext_5_2", CUC),
    ],
)
def test_vectors_of_the_sheet(name: str, settings: TimeCode) -> None:
    """Every CUC and CDS vector decodes to its counts, encodes back octet for octet, and equals the batch."""
    known = vector(name)
    data = bytes.fromhex(known["hex"])
    found = decode(data + b"more", settings)
    assert found.octets == len(data)
    assert encode(found.raw, found.layout) == data
    if settings.p_field == "present":
        assert p_field(found.layout).hex() == known["pfield"]
    if isinstance(found.raw, CdsTime):
        counts = (found.raw.days, found.raw.ms_of_day, found.raw.submillisecond)
        assert counts == (known["days"], known["ms"], known.get("us", known.get("ps", 0)))
    elif "coarse" in known:
        assert found.raw.coarse == known["coarse"]
    tai_ns, valid = decode_batch(np.frombuffer(data, np.uint8)[None], settings)
    assert valid.tolist() == [True]
    assert tai_ns.tolist() == [found.tai_ns]


@pytest.mark.parametrize(
    ("octets", "settings", "utc"),
    [
        ("405e6502b32c95", CDS, "2024-02-29T12:34:56.789000000Z"),
        ("415e6502b32c95007b", CDS, "2024-02-29T12:34:56.789123000Z"),
        ("425e6502b32c95075bcd15", CDS, "2024-02-29T12:34:56.789123457Z"),
        ("1f7c72d895c9fbe7", CUC, "2024-02-29T12:34:56.788999975Z"),
        ("1e7c72d895c000", CUC, "2024-02-29T12:34:56.750000000Z"),
        ("2e530b3c82c000", CUC_GPS, "2024-02-29T12:34:56.750000000Z"),
        ("9e20007c72d895c000", CUC, "2024-02-29T12:34:56.750000000Z"),
    ],
)
def test_instants(octets: str, settings: TimeCode, utc: str) -> None:
    """Known codes name the UTC instants of the sheet to the nanosecond."""
    assert format_utc(decode(bytes.fromhex(octets), settings).tai_ns) == utc


@pytest.mark.parametrize("name", ["ccs_month_day", "ccs_doy_2sub"])
@pytest.mark.parametrize("settings", [CUC, CDS])
def test_calendar_codes_are_refused(name: str, settings: TimeCode) -> None:
    """A CCS code is refused with its code id, not read as something else."""
    with pytest.raises(TimeCodeError, match="found 101"):
        decode(bytes.fromhex(vector(name)["hex"]), settings)


@given(st.integers(0, 65535), st.integers(0, 86_399_999))
def test_cds_agrees_with_an_independent_implementation(days: int, ms: int) -> None:
    """The `spacepackets` package writes the same octets for the same counts, and reads the same instant."""
    theirs = CdsShortTimestamp(days, ms)
    assert encode(CdsTime(days, ms), CDS) == bytes(theirs.pack())
    ours = decode(bytes(theirs.pack()), CDS)
    assert ours.raw == CdsTime(days, ms)
    if theirs.as_unix_seconds() > 0:
        unix_ms = (days - 4383) * 86_400_000 + ms
        assert format_utc(ours.tai_ns)[:19] == theirs.as_datetime().isoformat()[:19]
        assert round(theirs.as_unix_seconds() * 1000) == unix_ms


def test_leap_second_in_cds() -> None:
    """Milliseconds 86,400,000 to 86,400,999 are the leap second of their day, one more is refused."""
    day = 21549  # 2016-12-31
    inside = decode(encode(CdsTime(day, 86_400_250), CDS), CDS)
    assert format_utc(inside.tai_ns) == "2016-12-31T23:59:60.250000000Z"
    assert encode_tai_ns(LEAP, CDS) == encode(CdsTime(day, 86_400_250), CDS)
    after = decode(encode(CdsTime(day + 1, 0), CDS), CDS)
    assert after.tai_ns - inside.tai_ns == 750_000_000
    beyond = bytes.fromhex("40") + day.to_bytes(2) + (86_401_000).to_bytes(4)
    with pytest.raises(TimeCodeError, match="ms_of_day"):
        decode(beyond, CDS)
    assert not decode_batch(np.frombuffer(beyond, np.uint8)[None], CDS)[1].any()


def test_rounding_out_of_a_leap_second_carries_to_the_next_day() -> None:
    """The last half millisecond of a leap second is encoded as the next day's beginning."""
    late = parse_utc("2016-12-31T23:59:60.9999Z")
    assert decode(encode_tai_ns(late, CDS), CDS).raw == CdsTime(21550, 0)


@pytest.mark.parametrize(
    ("utc", "settings", "raw"),
    [
        ("2024-02-29T23:59:59.9996Z", CDS, CdsTime(24166, 0)),
        ("2024-02-29T23:59:59.999999600Z", TimeCode("cds", submillisecond="us"), CdsTime(24166, 0, 0)),
        ("2016-12-31T23:59:59.9996Z", CDS, CdsTime(21549, 86_400_000)),
        ("2016-12-31T23:59:60.9996Z", CDS, CdsTime(21550, 0)),
        ("2024-02-29T23:59:59.9994Z", CDS, CdsTime(24165, 86_399_999)),
    ],
)
def test_rounding_up_at_the_end_of_a_day(utc: str, settings: TimeCode, raw: CdsTime) -> None:
    """301.0-B-4 3.3: 86,400,000 ms is a leap second's number; on any other day rounding up carries to the next day."""
    assert decode(encode_tai_ns(parse_utc(utc), settings), settings).raw == raw


def test_rounding_up_at_the_end_of_a_tai_day() -> None:
    """A CDS code that counts TAI days knows no leap second at all."""
    settings = TimeCode("cds", scale="tai")
    assert decode(encode_tai_ns(21550 * DAY_NS - 400_000, settings), settings).raw == CdsTime(21550, 0)


@pytest.mark.parametrize(("octets", "settings"), [("2e530b3c82c000", CUC), ("485e6502b32c95", CDS)])
def test_an_agency_epoch_that_nobody_configured(octets: str, settings: TimeCode) -> None:
    """A P-field that says `agency epoch` is no time, and no wrong one, where the settings know of none."""
    with pytest.raises(TimeCodeError, match="epoch"):
        decode(bytes.fromhex(octets), settings)
    tai_ns, valid = decode_batch(np.frombuffer(bytes.fromhex(octets), np.uint8)[None], settings)
    assert (tai_ns.tolist(), valid.tolist()) == ([ABSENT], [False])


def test_p_fields_are_read_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """R13: hostile P-fields cost a reading each, refused ones too, not one in every batch."""
    read: list[bytes] = []

    def counting(data: bytes, settings: TimeCode) -> tuple[TimeCode, int]:
        read.append(bytes(data))
        return read_p_field(data, settings)

    monkeypatch.setattr(time_codes, "read_p_field", counting)
    time_codes.layout_of.cache_clear()
    rows = np.random.default_rng(1).integers(0, 256, (20_000, 12), np.uint8)
    decode_batch(rows, CUC)
    assert len(read) == len(set(read)), "each once"
    once = len(read)
    decode_batch(rows, CUC)
    assert len(read) == once, "and kept"
    time_codes.layout_of.cache_clear()


def test_cuc_counts_leap_seconds_or_not_as_its_scale_says() -> None:
    """In TAI and GPS a leap second is counted; in `utc` the count stands for 86,400 seconds a day."""
    tai, utc = TimeCode("cuc", epoch=GPS_EPOCH, scale="gps"), TimeCode("cuc", epoch=GPS_EPOCH, scale="utc")
    seconds = 1_167_264_017  # GPS seconds at 2016-12-31T23:59:60
    assert format_utc(decode(encode(CucTime(seconds), tai), tai).tai_ns) == "2016-12-31T23:59:60.000000000Z"
    days = 13_510 * 86_400  # 1980-01-06 to 2017-01-01
    assert format_utc(decode(encode(CucTime(days), utc), utc).tai_ns) == "2017-01-01T00:00:00.000000000Z"


CUC_CODES = st.builds(
    TimeCode,
    st.just("cuc"),
    st.sampled_from(["present", "implied"]),
    coarse_octets=st.integers(1, 7),
    fine_octets=st.integers(0, 10),
    epoch=st.sampled_from(["1958-01-01T00:00:00", GPS_EPOCH, "2000-001T11:58:55.816Z", "2100-12-31T23:59:59"]),
    scale=st.sampled_from([None, "tai", "utc", "gps"]),
)
CDS_CODES = st.builds(
    TimeCode,
    st.just("cds"),
    st.sampled_from(["present", "implied"]),
    day_octets=st.sampled_from([2, 3]),
    submillisecond=st.sampled_from(["none", "us", "ps"]),
    epoch=st.sampled_from(["1958-01-01T00:00:00", GPS_EPOCH, "2000-01-01T00:00:00Z"]),
    scale=st.sampled_from([None, "tai", "utc", "gps"]),
)
CODES = CUC_CODES | CDS_CODES


@given(CODES, st.data())
def test_octets_survive(settings: TimeCode, data: st.DataObject) -> None:
    """Any T-field that decodes encodes back to the same octets, with explicit or implied P-field."""
    t_field = data.draw(st.binary(min_size=settings.t_field_octets, max_size=settings.t_field_octets))
    code = (p_field(settings) if settings.p_field == "present" else b"") + t_field
    try:
        found = decode(code, settings)
    except TimeCodeError:
        return
    assert found.layout.counts_in == settings.counts_in
    assert found.layout.epoch_ns == settings.epoch_ns
    assert encode(found.raw, settings) == code
    assert found.octets == settings.octets == len(code)


@given(CODES, st.integers(2_300_000_000, 4_000_000_000), st.integers(0, 999_999_999))
@example(TimeCode("cds", submillisecond="ps"), LEAP // 10**9, 999_999_999)
def test_instants_survive(settings: TimeCode, tai_s: int, ns: int) -> None:
    """An instant comes back within half a count; codes finer than a nanosecond give it back exactly."""
    tai_ns = tai_s * 10**9 + ns
    try:
        code = encode_tai_ns(tai_ns, settings)
    except TimeCodeError:
        return  # the field is too narrow, or the epoch later
    if settings.code == "cuc":
        half_ns = 5 * 10**8 / (1 << 8 * settings.fine_octets) + 0.5
    else:
        half_ns = {"none": 500_000, "us": 500, "ps": 0}[settings.submillisecond]
    in_leap = settings.code == "cuc" and settings.counts_in == "utc" and ":60." in format_utc(tai_ns)
    assert abs(decode(code, settings).tai_ns - tai_ns) <= (10**9 + half_ns if in_leap else half_ns)
    if settings.finer_than_ns and not in_leap:
        assert decode(code, settings).tai_ns == tai_ns


def single(row: bytes, settings: TimeCode) -> tuple[int, bool]:
    try:
        return decode(row, settings).tai_ns, True
    except TimeCodeError:
        return ABSENT, False


def assert_batch_equals_declaration(rows: list[bytes], width: int, settings: TimeCode) -> None:
    octets = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), width)
    tai_ns, valid = decode_batch(octets, settings)
    expected = [single(row, settings) for row in rows]
    assert list(zip(tai_ns.tolist(), valid.tolist(), strict=True)) == expected


@given(CODES, st.integers(0, 20), st.data())
def test_batch_equals_declaration(settings: TimeCode, width: int, data: st.DataObject) -> None:
    """Fast == declared for any octets at any width, rubbish included; a bad row never hides a good one."""
    rows = data.draw(st.lists(st.binary(min_size=width, max_size=width), max_size=8))
    assert_batch_equals_declaration(rows, width, settings)


@given(st.sampled_from([CUC, CUC_GPS, CDS]), st.lists(CODES, max_size=8), st.data())
def test_batch_of_mixed_preambles(settings: TimeCode, layouts: list[TimeCode], data: st.DataObject) -> None:
    """Each row's own P-field is obeyed: widths, epochs, codes of the other kind among them."""
    rows = [p_field(layout) + data.draw(st.binary(min_size=20, max_size=20)) for layout in layouts]
    assert_batch_equals_declaration([row[:20] for row in rows], 20, settings)


@pytest.mark.parametrize("settings", [TimeCode("cuc", coarse_octets=7, fine_octets=10), TimeCode("cds", day_octets=3)])
@pytest.mark.parametrize("fill", [0x00, 0x01, 0x7F, 0x80, 0xFF])
def test_extremes_do_not_wrap(settings: TimeCode, fill: int) -> None:
    """Counts beyond int64 nanoseconds are not valid; they never wrap into a time."""
    assert_batch_equals_declaration([bytes([fill]) * 20, bytes(20)], 20, settings)


@given(st.binary(max_size=24), CODES)
def test_rubbish_is_only_ever_refused(data: bytes, settings: TimeCode) -> None:
    """No octets raise anything but TimeCodeError, and no code reads beyond its octets."""
    with suppress(TimeCodeError):
        assert 0 < decode(data, settings).octets <= len(data)


@pytest.mark.parametrize(
    ("octets", "settings", "fact"),
    [
        ("", CUC, "1 octet"),
        ("9e", CUC, "P-field with extension"),
        ("9ea000000000000000", CUC, "extension flag at octet 1"),
        ("1e7c72d895c0", CUC, "expected 7 octets, found 6 octets"),
        ("435e6502b32c95", CDS, "sub-millisecond code"),
        ("c05e6502b32c95", CDS, "extension flag of a CDS"),
        ("415e6502b32c9503e8", CDS, "us of millisecond: expected 0 to 999, found 1000"),
        ("425e6502b32c953b9aca00", CDS, "ps of millisecond"),
        ("1e7c72d895c000", CDS, "found 001"),
        ("6e7c72d895c000", CUC, "found 110"),
    ],
)
def test_bad_codes_name_their_fault(octets: str, settings: TimeCode, fact: str) -> None:
    """Each kind of bad code is refused with what was expected and what was found."""
    with pytest.raises(TimeCodeError, match=fact):
        decode(bytes.fromhex(octets), settings)


def test_reserved_bits_and_agency_epochs_in_the_preamble() -> None:
    """The mission's reserved bits do not matter; the epoch bit chooses between 1958 and the agency's epoch."""
    assert read_p_field(bytes.fromhex("9e23"), CUC) == (TimeCode("cuc", "present", coarse_octets=5), 2)
    agency = TimeCode("cds", "present", epoch="2000-01-01T00:00:00Z")
    assert p_field(agency).hex() == "48"
    assert decode(bytes.fromhex("48000000000000"), agency).tai_ns == parse_utc("2000-01-01T00:00:00Z")
    assert decode(bytes.fromhex("40000000000000"), agency).tai_ns == 0


@pytest.mark.parametrize(
    ("raw", "settings"),
    [
        (CucTime(1 << 32), TimeCode("cuc")),
        (CucTime(-1), TimeCode("cuc")),
        (CucTime(0, 1 << 16), TimeCode("cuc")),
        (CdsTime(1 << 16, 0), TimeCode("cds")),
        (CdsTime(0, 0, 1), TimeCode("cds")),
        (CdsTime(0, 0, 1000), TimeCode("cds", submillisecond="us")),
        (CdsTime(0, 0), TimeCode("cuc")),
        (CucTime(0), TimeCode("cds")),
    ],
)
def test_counts_that_do_not_fit_are_refused(raw: CucTime | CdsTime, settings: TimeCode) -> None:
    """A count never leaks into its neighbour's octets."""
    with pytest.raises(TimeCodeError):
        encode(raw, settings)


@pytest.mark.parametrize(
    ("code", "settings"),
    [
        ("ccs", {}),
        ("cuc", {"coarse_octets": 0}),
        ("cuc", {"coarse_octets": 8}),
        ("cuc", {"fine_octets": 11}),
        ("cuc", {"epoch": "1957-12-31T00:00:00Z"}),
        ("cuc", {"epoch": "yesterday"}),
        ("cuc", {"epoch": "2016-12-31T23:59:60Z"}),
        ("cuc", {"scale": "mars"}),
        ("cds", {"day_octets": 4}),
        ("cds", {"submillisecond": "ns"}),
        ("cds", {"epoch": "2000-01-01T12:00:00Z"}),
        ("cds", {"p_field": "maybe"}),
    ],
)
def test_settings_that_cannot_be_are_refused(code: Any, settings: dict[str, Any]) -> None:
    """Settings outside the standard are refused when they are made."""
    with pytest.raises(TimeCodeError, match=r"expected|epoch"):
        TimeCode(code, **settings)


def test_batch_wants_rows() -> None:
    """A caller's mistake, not the wire's, is an exception."""
    with pytest.raises(ValueError, match="2 dimensions"):
        decode_batch(np.zeros(8, np.uint8), CUC)


def test_many_times_as_text_are_each_as_text() -> None:
    """What is formatted for a whole column is what is formatted one by one: eras, midnights, leap seconds."""
    rng = np.random.default_rng(5)
    leap = parse_utc("2016-12-31T23:59:59Z") + np.arange(0, 3 * 10**9, 250_000_000)
    ends = np.array([-(2**63) + 1, 2**63 - 1, 0, -1, DAY_NS - 1, DAY_NS])
    times = np.concatenate((leap, ends, rng.integers(-(2**63) + 1, 2**63 - 1, 500)))
    assert format_utc_batch(times) == [format_utc(one) for one in times.tolist()]
    assert format_utc_batch(times[:0]) == []
    with pytest.raises(ValueError, match="no time"):
        format_utc_batch(np.array([0, -(2**63)]))
