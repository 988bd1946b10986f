"""The delivery block: round trip, declaration, rubbish (docs/wire-format.md)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_codecs.batches import ItemBatch, no_items
from gateway_codecs.delivery_block import (
    DATA,
    HEADER,
    HEADER_OCTETS,
    ROW_DTYPE,
    TIMELY,
    DeliveryBlockError,
    _sealed,
    block_octets,
    decode,
    encode_data,
    encode_mark,
    encode_timely,
)


def batch_of(values: list[bytes]) -> ItemBatch:
    items = no_items(len(values))
    lengths = np.array([len(v) for v in values], np.int64)
    items["length"], items["offset"], items["apid"] = lengths, np.cumsum(lengths) - lengths, 7
    return ItemBatch(np.frombuffer(b"".join(values), np.uint8), items)


@given(st.lists(st.tuples(st.integers(1, 5), st.binary(max_size=30)), max_size=10), st.integers(0, 1 << 50))
def test_round_trip(rows: list[tuple[int, bytes]], first: int) -> None:
    """decode(encode(items)) gives the items back, and the header is the declared one."""
    positions = first + np.cumsum([step for step, _ in rows]).astype(np.int64)
    upto = int(positions[-1]) + 1 if rows else first
    data = encode_data(1, first, upto, positions, batch_of([v for _, v in rows]))
    block = decode(data)
    assert block.positions.tolist() == positions.tolist()
    assert [block.batch.octets_of(k) for k in range(len(rows))] == [v for _, v in rows]
    head = HEADER.parse(data)
    assert (head.kind, head.lane, head.count, head.from_position) == (DATA, 1, len(rows), first)
    assert HEADER.build(head) == data[:HEADER_OCTETS]


def test_marks_round_trip() -> None:
    """A mark carries its count, range and digest."""
    mark = decode(encode_mark(0, 5, 9, 3, b"d" * 32, 1))
    assert (mark.from_position, mark.upto_position, mark.items, mark.digest, mark.flags) == (5, 9, 3, b"d" * 32, 1)


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_timely_blocks_round_trip(values: list[bytes]) -> None:
    """R3: a timely block gives its items back, each without a position."""
    data = encode_timely(batch_of(values))
    block = decode(data)
    assert (block.kind, block.from_position, block.upto_position) == (TIMELY, 0, 0)
    assert block.positions.tolist() == [-1] * len(values)
    assert [block.batch.octets_of(k) for k in range(len(values))] == values
    assert HEADER.parse(data).kind == TIMELY


@pytest.mark.parametrize(("position", "first", "upto"), [(0, 0, 0), (-1, 0, 1), (-1, 1, 2), (5, 5, 6), (-2, 0, 0)])
def test_a_timely_block_with_positions_is_refused(position: int, first: int, upto: int) -> None:
    """R3: nothing that is not journalled may bear a position."""
    body = np.zeros(1, ROW_DTYPE)
    body["position"] = position
    with pytest.raises(DeliveryBlockError, match="no range and no positions"):
        decode(_sealed(TIMELY, 0, 0, 1, first, upto, body.tobytes()))


def test_data_without_positions_is_refused() -> None:
    """R3: what may be acknowledged has positions."""
    with pytest.raises(DeliveryBlockError, match="within the block's range"):
        decode(encode_data(0, 0, 1, np.array([-1]), batch_of([b"x"])))


@given(st.binary(max_size=200))
def test_rubbish(data: bytes) -> None:
    """Rubbish raises DeliveryBlockError and nothing else."""
    with pytest.raises(DeliveryBlockError):
        decode(data)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_changed_octet_is_found(at: int, change: int) -> None:
    """No octet of a block can change unseen."""
    data = bytearray(encode_data(0, 1, 3, np.array([1, 2]), batch_of([b"ab", b"c"])))
    data[at % len(data)] ^= change
    with pytest.raises(DeliveryBlockError):
        decode(bytes(data))


def test_a_huge_length_is_refused_before_allocating() -> None:
    """A length from the wire is checked before anything is allocated."""
    data = bytearray(encode_mark(0, 0, 0, 0, bytes(32)))
    data[28:32] = b"\xff\xff\xff\xff"
    with pytest.raises(DeliveryBlockError, match="at most"):
        block_octets(bytes(data))
