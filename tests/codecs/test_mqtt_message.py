"""The message of the shared MQTT topics: round trip, declaration, rubbish (docs/mqtt.md)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_codecs.batches import ItemBatch, ItemFlag, no_items
from gateway_codecs.mqtt_message import (
    HEADER,
    HEADER_OCTETS,
    U32_MAX,
    MessageFlag,
    MqttMessageError,
    decode,
    encode,
)

COLUMNS = ("length", "offset", "receive_time_ns", "missing_before", "quality", "unit", "data_mode", "flags")
ROWS = st.lists(
    st.tuples(
        st.binary(max_size=40), st.integers(0, U32_MAX), st.integers(0, U32_MAX), st.integers(0, 17),
        st.integers(1, 4), st.integers(0, 2), st.sampled_from([0, ItemFlag.IDLE, ItemFlag.REPLAY, 0x180]),
    ),
    max_size=8,
)  # fmt: skip


def batch_of(rows: list[tuple[bytes, int, int, int, int, int, int]], base_ns: int = 0) -> ItemBatch:
    items = no_items(len(rows))
    for k, (octets, delta, missing, quality, unit, mode, flags) in enumerate(rows):
        items[k]["length"], items[k]["receive_time_ns"], items[k]["missing_before"] = (
            len(octets),
            base_ns + delta,
            missing,
        )
        items[k]["quality"], items[k]["unit"], items[k]["data_mode"], items[k]["flags"] = quality, unit, mode, flags
    lengths = items["length"].astype(np.int64)
    items["offset"] = np.cumsum(lengths) - lengths
    return ItemBatch(np.frombuffer(b"".join(row[0] for row in rows), np.uint8), items)


@given(ROWS, st.integers(0, 1 << 60), st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_round_trip(
    rows: list[tuple[bytes, int, int, int, int, int, int]], base: int, sequence: int, skip: int
) -> None:
    """decode(encode(items)) gives back every column that a message carries, and the header is the declared one."""
    batch = batch_of(rows, base)
    data = encode(batch, sequence, skip)
    message = decode(data)
    for name in COLUMNS:
        assert message.batch.items[name].tolist() == batch.items[name].tolist(), name
    assert message.batch.octets.tobytes() == batch.octets.tobytes()
    assert (message.sequence, message.skipped) == (sequence & U32_MAX, min(skip, U32_MAX))
    assert (message.first_position, message.last_position) == (-1, -1)
    head = HEADER.parse(data)
    assert (head.count, head.octets, head.flags) == (len(rows), len(batch.octets), 2 if skip else 0)
    assert HEADER.build(head) == data[:HEADER_OCTETS]


def test_positions_of_committed_items() -> None:
    """Items that are in the journal carry their first and last position; a range that is none is refused."""
    message = decode(encode(batch_of([(b"ab", 0, 0, 0, 1, 0, 0)]), 1, positions=(5, 9)))
    assert (message.first_position, message.last_position) == (5, 9)
    with pytest.raises(MqttMessageError, match="no range"):
        encode(batch_of([]), 1, positions=(9, 5))


def test_items_too_far_apart() -> None:
    """What does not fit a field is refused when it is made: receive times more than 4.29 s apart."""
    batch = batch_of([(b"a", 0, 0, 0, 1, 0, 0), (b"b", 0, 0, 0, 1, 0, 0)])
    batch.items["receive_time_ns"] = [0, U32_MAX + 1]
    with pytest.raises(MqttMessageError, match="ns apart"):
        encode(batch, 0)


@given(st.binary(max_size=200))
def test_rubbish(data: bytes) -> None:
    """Rubbish raises MqttMessageError and nothing else."""
    with pytest.raises(MqttMessageError):
        decode(data)


@given(st.integers(0, 200), st.integers(1, 255))
def test_lengths_that_lie(at: int, change: int) -> None:
    """A message with any octet changed is read or refused, never beyond its end."""
    data = bytearray(encode(batch_of([(b"abc", 5, 1, 0, 1, 0, 0)] * 3, 1 << 60), 7, 2))
    data[at % len(data)] ^= change
    try:
        message = decode(bytes(data))
    except MqttMessageError:
        return
    assert sum(message.batch.items["length"].tolist()) == len(message.batch.octets) == 9


def test_flags_of_a_later_version() -> None:
    """Bits that this version does not know are refused, not ignored: they may change what the octets mean."""
    data = bytearray(encode(batch_of([]), 0, 1))
    assert data[5] == MessageFlag.SKIPPED
    data[4] = 0x80
    with pytest.raises(MqttMessageError, match="does not know"):
        decode(bytes(data))
