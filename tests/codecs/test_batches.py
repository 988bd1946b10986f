"""What is quicker for a few rows gives what the general way gives."""

from __future__ import annotations

import random
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_codecs import batches, channels
from gateway_codecs.batches import (
    FEW_ROWS,
    FRAME_DTYPE,
    ITEM_DTYPE,
    distinct,
    gather,
    joined_rows,
    no_frames,
    no_items,
    own_rows,
    picked,
)
from gateway_codecs.frames import FrameFormat, VcFormat
from gateway_codecs.intake import FrameIntake, LinkFormat
from gateway_codecs.packet_stream import PacketIntake
from gateway_codecs.space_packet import SpacePacket, encode
from gateway_simulators.spacecraft import FRAME_OCTETS, SCID, Spacecraft

FORMAT = FrameFormat(
    "tm", FRAME_OCTETS, {SCID: 1, SCID ^ 1: 2}, {0: VcFormat(), 3: VcFormat("opaque"), 7: VcFormat("idle")},
    ocf="by_flag",
)  # fmt: skip

PIECES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 8)), min_size=1, max_size=2 * FEW_ROWS)


@given(PIECES)
def test_few_pieces_are_gathered_as_many_are(pieces: list[tuple[int, int]]) -> None:
    """A batch of few rows is a batch; neighbours are joined in both ways."""
    octets = np.arange(48, dtype=np.uint8)
    offset, length = (np.array(column, np.int64) for column in zip(*pieces, strict=True))
    wanted = b"".join(octets[at : at + size].tobytes() for at, size in pieces)
    assert gather(octets, offset, length.astype(np.uint32)).tobytes() == wanted
    start, size = batches._runs(offset, length)
    assert batches._few_runs(offset, length) == list(zip(start.tolist(), (start + size).tolist(), strict=True))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=10), st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_many_short_pieces_are_gathered_as_few_are(lengths: list[int], rng: random.Random) -> None:
    """Pieces of one length, of a few, of too many, empty ones too: the same octets, whatever lies beneath."""
    pieces = [(rng.randrange(90), rng.choice(lengths)) for _ in range(batches.MANY_PIECES + FEW_ROWS)]
    offset, length = (np.array(column, np.int64) for column in zip(*pieces, strict=True))
    whole = np.arange(200, dtype=np.uint8)
    for octets in (whole[:100], whole[::2], np.frombuffer(whole[:100].tobytes(), np.uint8)):
        wanted = b"".join(octets[at : at + size].tobytes() for at, size in pieces)
        assert gather(octets, offset, length.astype(np.uint32)).tobytes() == wanted


def test_a_piece_that_is_not_there_is_no_piece_of_something_else() -> None:
    """Many pieces, one of which reaches beyond the octets: an error, not the octets of others."""
    offset = np.arange(batches.MANY_PIECES, dtype=np.int64) * 2
    with pytest.raises(IndexError):
        gather(np.zeros(2 * len(offset) - 1, np.uint8), offset[::-1], np.full(len(offset), 2))


@given(st.integers(0, 40), st.randoms(use_true_random=False))
def test_rows_are_picked_and_copied_as_numpy_does(count: int, rng: random.Random) -> None:
    """By index and by mask, of whole arrays and of every second row; what is picked is one's own."""
    for dtype in (ITEM_DTYPE, FRAME_DTYPE):
        rows = np.frombuffer(bytearray(rng.randbytes(count * dtype.itemsize)), dtype)
        for part in (rows, rows[::2]):
            index = np.array([rng.randrange(len(part)) for _ in part], np.int64)
            mask = np.array([rng.random() < 0.5 for _ in part], np.bool_)
            for which in (index, mask):
                assert picked(part, which).tobytes() == part[which].tobytes()
            copied = own_rows(part)
            assert copied.tobytes() == part.tobytes()
            assert not np.shares_memory(copied, rows)
            assert copied.dtype == picked(part, mask).dtype == dtype


@given(st.lists(st.integers(-(2**40), 2**40), max_size=2 * FEW_ROWS))
def test_distinct_values_are_those_of_numpy(values: list[int]) -> None:
    """Few or many: the different values, rising, as Python's integers."""
    column = np.array(values, np.int64)
    with patch.object(batches, "FEW_ROWS", 0):
        many = distinct(column)
    assert distinct(column) == many == np.unique(column).tolist()
    assert all(type(value) is int for value in distinct(column))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_rows_are_joined_as_numpy_does(counts: list[int], rng: random.Random) -> None:
    """Rows of several batches, in order, in one array that can be written; the parts stay as they were."""
    for dtype in (ITEM_DTYPE, FRAME_DTYPE):
        octets = [bytes(rng.randrange(256) for _ in range(count * dtype.itemsize)) for count in counts]
        parts = [np.frombuffer(data, dtype) for data in octets]
        joined = joined_rows(parts)
        assert joined.tobytes() == np.concatenate(parts).tobytes()
        if len(joined):
            joined["vcid"] = 1
        assert [part.tobytes() for part in parts] == octets


def test_rows_without_values_can_be_written_each_by_itself() -> None:
    """Each call gives rows of its own, every column at its 'none' value."""
    for make in (no_items, no_frames):
        one, other = make(3), make(3)
        one["vcid"] = 5
        assert other.tobytes() == make(3).tobytes() == make(1).tobytes() * 3
        assert len(make()) == 0


@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
@settings(max_examples=20)
def test_an_intake_takes_few_rows_as_many(seed: int, at_a_time: int) -> None:
    """Fast == general: good, bad and opaque frames of several channels, one way and the other, octet for octet."""
    rng = random.Random(seed)
    data = bytearray(rough_frames(rng, 40))
    for _ in range(rng.randrange(6)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    fmt = LinkFormat(1, FORMAT, 1)

    def taken() -> list[tuple[object, ...]]:
        intake, step = FrameIntake(fmt), at_a_time * FRAME_OCTETS
        fed = [intake.feed(bytes(data[at : at + step]), 7) for at in range(0, len(data), step)]
        return [
            (b.items.items.tobytes(), b.items.octets.tobytes(), b.frames.tobytes(), b.gaps, b.state, b.counters)
            for b in fed
        ]

    few = taken()
    with patch.object(batches, "FEW_ROWS", 0):
        assert taken() == few


@given(st.integers(0, 2**32 - 1), st.integers(1, 90))
@settings(max_examples=30)
def test_few_packets_are_counted_as_many(seed: int, at_a_time: int) -> None:
    """Fast == general: jumps, repeats, idle, telecommand and encapsulation packets, every rule, rubbish; all counts."""
    rng = random.Random(seed)
    counts = dict.fromkeys((5, 6, 7, 8, 2047), rng.randrange(16384))
    chunks = [b"".join(rough_packet(rng, counts) for _ in range(at_a_time)) for _ in range(4)]
    rules = {6: "none", 7: "shared:both", 8: "shared:both"}
    fmt = LinkFormat(1, packets=VcFormat(apid_counting=rules, max_packet_octets=300))

    def taken() -> list[object]:
        intake = PacketIntake(fmt)
        fed = [intake.feed(chunk, 7) for chunk in chunks]
        told = [(b.items.items.tobytes(), b.items.octets.tobytes(), b.gaps, b.state, b.counters) for b in fed]
        return [told, intake.statistics(), intake.state()]

    few = taken()
    with patch.object(channels, "FEW_ROWS", 0):
        assert taken() == few
    with patch.object(channels, "FEW_ROWS", 1 << 20):
        assert taken() == few


def rough_packet(rng: random.Random, counts: dict[int, int]) -> bytes:
    """Return one packet, at times out of order, rarely rubbish."""
    if rng.random() < 0.1:
        return bytes([0xE0 | rng.randrange(8) << 2 | 1, 2 + (size := rng.randrange(9)), *bytes(size)])
    apid = rng.choice(list(counts))
    counts[apid] = (counts[apid] + rng.choice((1, 1, 1, 1, 1, 0, 3, 9000))) % 16384
    body, kind = bytes(rng.randrange(1, 40)), rng.randrange(4)
    packet = encode(SpacePacket(apid, counts[apid], body, telecommand=kind == 1, secondary_header=kind > 1))
    return rng.randbytes(3) if rng.random() < 0.02 else packet


def rough_frames(rng: random.Random, count: int) -> bytes:
    """Return frames of packet, opaque, idle and unknown channels, some of them missing."""
    craft = Spacecraft(rng.randrange(1 << 16))
    frames = [craft.next_frame().octets for _ in range(count)]
    return b"".join(frame for frame in frames if rng.random() > 0.1)
