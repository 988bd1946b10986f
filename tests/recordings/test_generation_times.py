"""Generation times of real packets and frames, against what independent tools read in the same recordings."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gateway.wiring import intake_maker
from gateway_codecs.batches import ABSENT, ItemFlag, Unit, no_items
from gateway_codecs.packet_times import PacketTime, fill_generation_times
from gateway_codecs.time_codes import TimeCode, decode_batch
from gateway_codecs.time_scales import format_utc, parse_utc
from gateway_config import LinkConfig, example_mission
from tests.recordings.test_recordings import SHARED, expected_frames

pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="the shared recordings are not beside the checkout")


def generation_times(mission: str, file: str, unit: str) -> tuple[np.ndarray, list[bytes]]:
    craft = example_mission(mission).spacecraft[0]
    link = LinkConfig(name="x", mission=mission, spacecraft=craft.name, type="file", path="-", unit=unit)
    batch = intake_maker(link, craft, 1, 1)().feed((SHARED / file).read_bytes(), 1).items
    chosen = np.flatnonzero(batch.items["unit"] == Unit.PACKET)
    return batch.items["generation_time_ns"][chosen], [batch.octets_of(int(k)) for k in chosen]


def test_cds_of_jpss_1() -> None:
    """CDS with microseconds: the first and last of 7200 packets, and each step, are what two XTCE tools decode."""
    expected = json.loads((SHARED / "packets/expected_jpss1.json").read_text())
    times, _ = generation_times("jpss-1", f"packets/{expected['packets_file']}", "packets")
    fields = expected["ccsdspy_fields"]
    midnight = parse_utc("2021-04-09T00:00:00Z")
    assert (int(fields["DOY"]["first"]), len(times)) == (23109, 7200)
    for row, which in ((0, "first"), (-1, "last")):
        ns = int(fields["MSEC"][which]) * 10**6 + int(fields["USEC"][which]) * 1000
        assert int(times[row]) == midnight + ns
    since_us = (times - midnight) // 1000
    assert int(since_us.sum()) == int(fields["MSEC"]["sum"]) * 1000 + int(fields["USEC"]["sum"])
    assert (np.diff(times) > 0).all()


def test_cuc_of_lucy() -> None:
    """CUC of four octets with an agency epoch: the first and last packet of VC0."""
    row = expected_frames()["lucy_aos_1113.bin"]["times"]
    times, octets = generation_times("lucy", "frames/lucy_aos_1113.bin", "frames")
    flagged = [int(t) for t, o in zip(times, octets, strict=True) if o[0] & 8 and ((o[0] & 7) << 8) | o[1] != 2047]
    assert format_utc(flagged[0]).startswith(row["first"])
    assert format_utc(flagged[-1]).startswith(row["last"])
    assert ABSENT not in flagged


def test_cuc_in_the_frames_of_dart() -> None:
    """The same decoder reads the 48-bit time in DART's frame secondary headers, 2**-16 s since 2010."""
    row = expected_frames()["dart_tm_1113_sechdr.bin"]["times"]
    frames = np.fromfile(SHARED / "frames/dart_tm_1113_sechdr.bin", np.uint8).reshape(-1, 1113)
    times, valid = decode_batch(frames[:, 8:14], TimeCode("cuc", epoch="2010-01-01T00:00:00Z", scale="utc"))
    assert valid.all()
    for which, index in (("first", 0), ("last", -1)):
        assert abs(int(times[index]) - parse_utc(row[which] + "Z")) < 16_000  # the expectation gives microseconds


def test_a_packet_without_a_readable_time_is_good() -> None:
    """R6: a short packet, or a code that says no time, keeps its octets; only the time is absent, and counted."""
    items = no_items(4)
    items["offset"], items["length"] = [0, 8, 28, 48], [8, 20, 20, 20]
    items["flags"] = [ItemFlag.SECONDARY_HEADER] * 3 + [0]
    octets = np.zeros(68, np.uint8)
    octets[28 + 6 + 2 : 28 + 6 + 6] = 255  # a millisecond of day that no day has
    time = PacketTime(TimeCode("cds", submillisecond="us"))
    assert fill_generation_times(items, np.arange(4), octets, time) == 2
    assert (items["generation_time_ns"] == [ABSENT, parse_utc("1958-01-01T00:00:00Z"), ABSENT, ABSENT]).all()
