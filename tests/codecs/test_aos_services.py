"""AOS bitstreams and header error control: vectors, the declaration against batches, and damage."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_codecs import aos_frame
from gateway_codecs.batches import FrameFlag, ItemFlag, Quality, Unit
from gateway_codecs.declared import FormatError
from gateway_codecs.frames import FrameFormat, VcFormat, decode_frames
from gateway_codecs.intake import FrameIntake, LinkFormat
from tests.codecs.links import IDLE, SCID, packet, packets
from tests.codecs.test_uslp_frame import needs_vectors, vectors
from tests.conftest import RUBBISH_UNITS

BITS = VcFormat("bitstream")


def bitstream(octets: bytes, fmt: FrameFormat) -> list[tuple[bytes, int, int]]:
    """What an intake delivers: octets, bits of the last one that are not valid, the frame's count."""
    items = FrameIntake(LinkFormat(1, fmt, 1)).feed(octets, 5, 7).items
    rows = items.items
    assert (rows["unit"] == Unit.OCTETS).all()
    assert (rows["quality"] == Quality.GOOD).all()
    assert (rows["earth_receive_time_ns"] == 7).all()
    unused = rows["flags"] & ItemFlag.UNUSED_BITS
    return [(items.octets_of(k), int(unused[k]), int(rows["vc_count"][k])) for k in range(len(items))]


@needs_vectors
def test_bitstream_vectors() -> None:
    """The valid bits of another encoder's B_PDUs are delivered: all of them, and the first 80."""
    found = {}
    for vector in vectors("aos_frames"):
        octets = bytes.fromhex(vector["hex"])
        if "bpdu" in vector["id"]:
            fmt = FrameFormat("aos", len(octets), {octets[0] << 2 & 255 | octets[1] >> 6: 1}, {4: BITS})
            frame = aos_frame.decode(octets, True, 0, False, False, b_pdu=True)
            assert aos_frame.encode(frame, True) == octets
            found[vector["id"]] = bitstream(octets, fmt)
            assert frame.valid_bits == 8 * len(found[vector["id"]][0][0])
    assert found["aos_bpdu_all_data"] == [(bytes(range(20)), 0, 1)]
    assert found["aos_bpdu_80bits"] == [(bytes(range(10)), 0, 2)]


pointers = st.sampled_from([0x3FFF, 0x3FFE, 0, 7, 8, 78, 79, 80, 0x3FFD]) | st.integers(0, 100)


@given(st.lists(pointers, min_size=1, max_size=8), st.booleans())
def test_fast_bitstream_is_declared_bitstream(given_pointers: list[int], fhec: bool) -> None:
    """fast == declared: so many valid bits, none, or a pointer beyond the data, which is refused and kept."""
    frames = [
        aos_frame.encode(
            aos_frame.AosFrame(SCID, 1, k, bytes([k]) * 10, None, b"zz", b"OCF!", bitstream_data_pointer=pointer),
            True, fhec,
        )
        for k, pointer in enumerate(given_pointers)
    ]  # fmt: skip
    fmt = FrameFormat(
        "aos", len(frames[0]), {SCID: 1}, {1: BITS}, ocf="present", insert_zone_octets=2, header_error_control=fhec
    )
    rows = decode_frames(np.frombuffer(b"".join(frames), np.uint8), fmt, 1, 0).rows
    wanted = []
    for row, octets in zip(rows, frames, strict=True):
        declared = aos_frame.decode(octets, True, 2, True, False, True, fhec)
        bits = declared.valid_bits
        assert (row["fhp"], row["ocf"]) == (declared.bitstream_data_pointer, int.from_bytes(b"OCF!", "big"))
        assert row["quality"] == (Quality.FHP_OUT_OF_RANGE if bits is None else Quality.GOOD)
        assert bool(row["flags"] & FrameFlag.IDLE) == (bits == 0)
        if bits:
            wanted.append((declared.data[: (bits + 7) // 8], -bits % 8, declared.vc_count))
    batch = FrameIntake(LinkFormat(1, fmt, 1)).feed(b"".join(frames), 1)
    items = batch.items.items
    good = np.flatnonzero(items["quality"] == Quality.GOOD)
    found = [(batch.items.octets_of(k), int(items["flags"][k] & 7), int(items["vc_count"][k])) for k in good.tolist()]
    assert found == wanted
    assert len(items) - len(good) == int((rows["quality"] == Quality.FHP_OUT_OF_RANGE).sum())
    assert (items["unit"][items["quality"] != Quality.GOOD] == Unit.FRAME).all()


def test_bitstreams_have_statistics_and_gaps() -> None:
    """R6: missing frames of a bitstream are a gap; its octets are counted, those without valid bits are not."""
    made = [
        aos_frame.AosFrame(SCID, 1, k, bytes(10), bitstream_data_pointer=p)
        for k, p in ((0, 15), (1, 0x3FFE), (4, 0x3FFF))
    ]
    octets = [aos_frame.encode(frame, True) for frame in made]
    intake = FrameIntake(LinkFormat(1, FrameFormat("aos", len(octets[0]), {SCID: 1}, {1: BITS}), 1))
    batches = [intake.feed(one, 1) for one in octets]
    assert [(gap.what, gap.missing) for batch in batches for gap in batch.gaps] == [("frames", 2)]
    shown = intake.statistics()["vcs"][f"{SCID}/1"]
    assert (shown["frames"], shown["octets"]) == (3, 2 + 10)


@given(st.binary(min_size=26, max_size=26 * 4), st.sampled_from(["packets", "bitstream", "opaque"]))
def test_any_octets_with_header_error_control(data: bytes, service: str) -> None:
    """R6: the batch refuses exactly the frames that the declaration refuses, whatever the octets are."""
    fmt = FrameFormat(
        "aos", 26, dict.fromkeys(range(256), 1), {k: VcFormat(service) for k in range(64)}, fecf=False,  # type: ignore[arg-type]
        ocf="present", insert_zone_octets=3, header_error_control=True,
    )  # fmt: skip
    octets = data[: len(data) // 26 * 26]
    decoded = decode_frames(np.frombuffer(octets, np.uint8), fmt, 1, 0)
    for k, row in enumerate(decoded.rows):
        one = octets[26 * k : 26 * k + 26]
        declared: aos_frame.AosFrame | None = None
        cause = Quality.GOOD
        try:
            declared = aos_frame.decode(one, False, 3, True, service == "packets", service == "bitstream", True)
        except FormatError as error:
            cause = Quality.FHEC if "wrong symbols" in str(error) else Quality.VERSION
        if declared is None:
            assert row["quality"] == cause
            continue
        assert row["quality"] in {Quality.GOOD, Quality.FHP_OUT_OF_RANGE}
        assert (row["scid"], row["vcid"]) == (declared.scid, declared.vcid)
        assert decoded.view[k, decoded.start[k] : decoded.end[k]].tobytes() == declared.data


ZONE = 30
FORMAT = FrameFormat("aos", ZONE + 10, {SCID: 1}, {1: VcFormat(), 2: VcFormat()}, fecf=False, header_error_control=True)


def frame(count: int, vcid: int = 1, pointer: int = 0, zone: bytes = b"") -> bytes:
    made = aos_frame.AosFrame(SCID, vcid, count, zone or packet(5, count % 16384, ZONE - 6), pointer)
    return aos_frame.encode(made, False, True)


def damaged(octets: bytes, symbols: list[int], rng: random.Random) -> bytes:
    """Change so many of the ten symbols of four bits that the field protects."""
    changed = bytearray(octets)
    for symbol in symbols:
        changed[(0, 1, 5, 6, 7)[symbol // 2]] ^= rng.randrange(1, 16) << (0 if symbol % 2 else 4)
    return bytes(changed)


def test_damaged_headers_are_corrected() -> None:
    """R6: up to two wrong symbols of each header, the version among them, cost nothing and are counted."""
    rng = random.Random(1)
    sent = [frame(k) for k in range(200)]
    hurt = [damaged(one, rng.sample(range(10), k % 3), rng) for k, one in enumerate(sent)]
    intake = FrameIntake(LinkFormat(1, FORMAT, 1))
    batch = intake.feed(b"".join(hurt), 1)
    assert packets([batch]) == [packet(5, k, ZONE - 6) for k in range(200)]
    assert batch.counters["corrected_headers"] == sum(k % 3 > 0 for k in range(200))
    assert (batch.frames["quality"] == Quality.GOOD).all()
    assert not batch.gaps


@pytest.mark.parametrize("seed", [1, 2])
def test_headers_beyond_correction_between_good_frames(seed: int) -> None:
    """R6: a header that cannot be corrected is refused with that cause and kept; the frames around it come out."""
    rng = random.Random(seed)
    stream, wanted, kept = [], [], []
    for k in range(RUBBISH_UNITS // 4):
        octets = frame(k % (1 << 24), pointer=rng.choice([0, 0, IDLE]))
        if rng.random() < 0.3:
            octets = damaged(octets, rng.sample(range(10), 4), rng)
            try:
                aos_frame.decode(octets, False, 0, False, True, header_error_control=True)
                continue  # taken for another header: four wrong symbols are more than the code is sure to find
            except FormatError as error:
                kept.append(("FHEC" if "symbols" in str(error) else "VERSION", octets))
        elif octets[9] == 0:
            wanted.append(packet(5, k % 16384, ZONE - 6))
        stream.append(octets)
    intake = FrameIntake(LinkFormat(1, FORMAT, 1))
    batches, data, at = [], b"".join(stream), 0
    while at < len(data):
        size = rng.choice([1, 39, 40, 41, 1000, 20_000])
        batches.append(intake.feed(data[at : at + size], 1))
        at += size
    found = [
        (Quality(int(row["quality"])).name, batch.items.octets_of(k))
        for batch in batches
        for k, row in enumerate(batch.items.items)
        if row["unit"] == Unit.FRAME
    ]
    assert found == kept
    assert "FHEC" in {cause for cause, _ in kept}
    assert packets(batches) == wanted


def test_error_control_of_the_frame_comes_first() -> None:
    """A frame that its own check refuses is told as that, and nothing counts as corrected in it."""
    octets = aos_frame.encode(aos_frame.AosFrame(SCID, 1, 0, packet(5, 0, ZONE - 6), 0), True, True)
    fmt = FrameFormat("aos", len(octets), {SCID: 1}, {1: VcFormat()}, header_error_control=True)
    batch = FrameIntake(LinkFormat(1, fmt, 1)).feed(b"\x00" + octets[1:] + octets, 1)
    assert batch.frames["quality"].tolist() == [Quality.FECF, Quality.GOOD]
    assert "corrected_headers" not in batch.counters
