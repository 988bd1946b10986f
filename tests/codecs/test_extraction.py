"""R6 across frames: packets are joined from consecutive frames only, and alike however the frames were batched."""

from __future__ import annotations

import time

import pytest

from tests.codecs.links import IDLE, NO_START, ZONE_OCTETS, halves, in_pieces, items, packet, packets, tm, tm_intake

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
