"""R6 across frames: packets are joined from consecutive frames only, and alike however the frames were batched."""

from __future__ import annotations

import time

import numpy as np
import pytest

from gateway_codecs import packet_times, space_packet
from gateway_codecs.frames import VcFormat
from gateway_codecs.intake import LinkFormat
from gateway_codecs.packet_stream import PacketIntake
from gateway_codecs.time_codes import TimeCode, decode_batch
from tests.codecs.links import (
    FAR,
    IDLE,
    NO_START,
    ZONE_OCTETS,
    aos,
    aos_intake,
    halves,
    in_pieces,
    items,
    packet,
    packets,
    tm,
    tm_intake,
)

CUTS = ([], [2, 3], [1, 1, 3], [1, 1, 1, 1, 1])


@pytest.mark.parametrize("cuts", CUTS)
def test_a_gap_shown_by_an_idle_frame_breaks_the_open_packet(cuts: list[int]) -> None:
    """R6: octets on both sides of a gap are never one packet, be it an idle frame that shows the gap."""
    (first, _), (_, second), (third, fourth) = (halves(packet(5, k)) for k in range(3))
    frames = [tm(0, 0, first), tm(3, IDLE), tm(4, NO_START, second), tm(5, 0, third), tm(6, NO_START, fourth)]
    batches = in_pieces(tm_intake(), frames, cuts)
    assert items(batches) == [
        ("OCTETS", "PACKET_TRUNCATED", first),
        ("OCTETS", "NO_PACKET_START", second),
        ("PACKET", "GOOD", third + fourth),
    ]
    assert [g.missing for b in batches for g in b.gaps] == [2]


@pytest.mark.parametrize("cuts", CUTS)
def test_idle_frames_inside_a_packet(cuts: list[int]) -> None:
    """R6: idle frames that follow the count leave the open packet open."""
    first, second = halves(packet(5, 0))
    frames = [tm(0, 0, first), tm(1, IDLE), tm(2, IDLE), tm(3, NO_START, second), tm(4, IDLE)]
    assert packets(in_pieces(tm_intake(), frames, cuts)) == [first + second]


@pytest.mark.parametrize("cuts", [[], [1]])
def test_octets_after_a_packet_that_ends_with_its_frame(cuts: list[int]) -> None:
    """R6: a frame without a start, after a packet that filled its frame, has the same cause in any batch."""
    whole = packet(5, 0, 14)
    assert items(in_pieces(tm_intake(), [tm(0, 0, whole), tm(1, NO_START)], cuts)) == [
        ("PACKET", "GOOD", whole),
        ("OCTETS", "NO_PACKET_START", bytes(ZONE_OCTETS)),
    ]


@pytest.mark.parametrize("cuts", [[], [1], [2], [1, 1]])
def test_a_frame_without_a_data_field(cuts: list[int]) -> None:
    """R6: a frame whose secondary header leaves no data field gives no item of no octets."""
    zone = b"x" * ZONE_OCTETS
    full = bytearray(tm(1, NO_START, bytes([ZONE_OCTETS - 1]) + bytes(ZONE_OCTETS - 1)))
    full[4] |= 0x80
    frames = [tm(0, NO_START, zone)[:-2] + b"", bytes(full[:-2]), tm(2, NO_START, zone)[:-2]]
    intake = tm_intake(fecf=False, frame_length_octets=ZONE_OCTETS + 6)
    assert items(in_pieces(intake, frames, cuts)) == [("OCTETS", "NO_PACKET_START", zone)] * 2


def test_frames_without_packets_cost_time_in_proportion() -> None:
    """R13: a batch of short frames whose packets are all bad takes CPU time in proportion to its frames."""
    frame = bytearray(tm(0, 5, b"\x40" * ZONE_OCTETS)[:-2])
    stream = bytearray()
    for count in range(131_072):
        frame[3] = count % 256
        stream += frame
    intake = tm_intake(fecf=False, frame_length_octets=ZONE_OCTETS + 6)
    began = time.process_time()
    batch = intake.feed(bytes(stream), 1)
    assert time.process_time() - began < 3, "a tenth of it is enough; work in proportion to the square took nine"
    assert int(batch.items.items["length"].sum()) == 131_072 * ZONE_OCTETS


@pytest.mark.parametrize("cuts", [[], [1, 1, 1], [2]])
@pytest.mark.parametrize("counting", ["vc_count", "none"])
@pytest.mark.parametrize("refused", [tm(1, FAR), tm(1, 0, sync=True)], ids=["pointer", "service"])
def test_a_frame_refused_for_its_pointer_breaks_the_open_packet(refused: bytes, counting: str, cuts: list[int]) -> None:
    """R6: octets before and after a frame that could not be used are never one packet, counted or not."""
    (first, _), (_, second) = halves(packet(5, 0)), halves(packet(5, 1))
    intake = tm_intake(VcFormat(counting=counting))  # type: ignore[arg-type]
    found = items(in_pieces(intake, [tm(0, 0, first), refused, tm(2, NO_START, second)], cuts))
    assert [(item.quality, item.octets) for item in found if item.unit == "OCTETS"] == [
        ("PACKET_TRUNCATED", first),
        ("NO_PACKET_START", second),
    ]
    assert [item.unit for item in found] == ["OCTETS", "FRAME", "OCTETS"]


@pytest.mark.parametrize("version", ["tm", "aos"])
def test_a_packet_spans_a_cut_that_lost_nothing(version: str) -> None:
    """R6: frames whose counts follow are consecutive, though the link was cut between them; the rest is kept."""
    first, second = halves(packet(5, 0))
    make, intake = (tm, tm_intake()) if version == "tm" else (aos, aos_intake())
    batches = [intake.feed(make(0, 0, first) + b"rest", 1), intake.cut(2, "link cut")]
    batches += [intake.feed(make(1, NO_START, second), 3), intake.finish(4)]
    assert items(batches) == [("OCTETS", "LENGTH", b"rest"), ("PACKET", "GOOD", first + second)]
    assert not [gap for batch in batches for gap in batch.gaps]


@pytest.mark.parametrize("count", [2, 0, 255])
def test_a_cut_that_lost_frames_breaks_the_open_packet(count: int) -> None:
    """R6: after a cut a count that does not go on by one shows a loss; the first half is kept."""
    (first, _), (_, second) = halves(packet(5, 0)), halves(packet(5, 1))
    intake = tm_intake()
    batches = [intake.feed(tm(0, 0, first), 1), intake.cut(2, "link cut")]
    batches += [intake.feed(tm(count, NO_START, second), 3), intake.finish(4)]
    assert items(batches) == [("OCTETS", "PACKET_TRUNCATED", first), ("OCTETS", "NO_PACKET_START", second)]
    assert [gap.reason for batch in batches for gap in batch.gaps] == ["link cut"] * (count != 0)


def test_a_cut_breaks_the_open_packet_of_a_channel_without_counting() -> None:
    """R6: where no count tells whether anything was lost, octets before and after a cut are never one packet."""
    (first, _), (_, second) = halves(packet(5, 0)), halves(packet(5, 1))
    intake = tm_intake(VcFormat(counting="none"))
    batches = [intake.feed(tm(0, 0, first) + b"rest", 1), intake.cut(2, "link cut")]
    batches += [intake.feed(tm(1, NO_START, second), 3), intake.finish(4)]
    assert items(batches) == [
        ("OCTETS", "PACKET_TRUNCATED", first),
        ("OCTETS", "LENGTH", b"rest"),
        ("OCTETS", "NO_PACKET_START", second),
    ]
    assert batches[1].counters == {"rejected_packet_truncated": 1, "rejected_length": 1}


def test_what_is_given_up_after_a_cut_is_kept() -> None:
    """R6: a peer that stays away costs the packet under way, never its octets, and nothing is joined to it later."""
    (first, _), (_, second) = halves(packet(5, 0)), halves(packet(5, 1))
    intake = tm_intake()
    batches = [intake.feed(tm(0, 0, first), 1), intake.cut(2, "link cut"), intake.give_up(3)]
    batches += [intake.feed(tm(1, NO_START, second), 4), intake.finish(5)]
    assert items(batches) == [("OCTETS", "PACKET_TRUNCATED", first), ("OCTETS", "NO_PACKET_START", second)]
    assert batches[2].counters == {"rejected_packet_truncated": 1}


def test_the_end_counts_what_it_gives_up() -> None:
    """R6: every rejected unit is counted by cause in the batch that holds it, at the end of the source too."""
    intake = tm_intake()
    intake.feed(tm(0, 0, halves(packet(5, 0))[0]) + b"rest", 1)
    last = intake.finish(2)
    assert last.counters == {"rejected_packet_truncated": 1, "rejected_length": 1}
    assert intake.statistics()["causes"] == {"packet_truncated": 1, "length": 1}


@pytest.mark.parametrize("cuts", [[], [1], [1, 1], [1, 1, 1, 1]])
def test_times_of_a_packet_are_those_of_its_first_octet(cuts: list[int]) -> None:
    """DESIGN 3: receive times, VC count, replay flag and data mode are of the frame holding the first octet."""
    (first, second), (third, _) = halves(packet(5, 0)), halves(packet(5, 1))
    frames = [aos(7, 0, first, True), aos(8, NO_START, second, True), aos(9, 0, third, True)]
    batches = in_pieces(aos_intake(), frames, cuts)
    began = [k for k, count in enumerate(cuts or [3], 1) for _ in range(count)]
    began += [len(cuts) + 1] * (3 - len(began))
    names = ("vc_count", "receive_time_ns", "earth_receive_time_ns", "data_mode", "flags", "version", "spacecraft")
    rows = [[int(row[name]) for name in names] for batch in batches for row in batch.items.items]
    packet_flags, replay = 3, 0x100
    assert rows == [
        [7, began[0], began[0] * 1000, 1, replay | packet_flags, 1, 1],
        [9, began[2], began[2] * 1000, 1, replay, 1, 1],
    ]


def test_one_decode_for_the_times_of_all_apids(monkeypatch: pytest.MonkeyPatch) -> None:
    """R13: however many APIDs a batch holds, times with the same code are decoded together."""
    decoded: list[int] = []

    def counting(octets: np.ndarray, code: TimeCode) -> tuple[np.ndarray, np.ndarray]:
        decoded.append(len(octets))
        return decode_batch(octets, code)

    monkeypatch.setattr(packet_times, "decode_batch", counting)
    sent = [space_packet.SpacePacket(apid, 0, apid.to_bytes(6, "big"), secondary_header=True) for apid in range(2000)]
    settings = VcFormat(default_time=packet_times.PacketTime(TimeCode("cuc", fine_octets=2)))
    intake = PacketIntake(LinkFormat(1, None, 1, settings))
    batch = intake.feed(b"".join(space_packet.encode(packet) for packet in sent), 1)
    assert decoded == [2000]
    expected = [round(apid * 1_000_000_000 / 65536) for apid in range(2000)]
    assert np.abs(batch.items.items["generation_time_ns"] - expected).max() <= 1
