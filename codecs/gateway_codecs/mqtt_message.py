"""The message of a shared telemetry topic over MQTT (docs/mqtt.md): the items of one topic in one turn. Big-endian.

One header, a table with a row for each item, then the items' octets, back to back in the same order. Which spacecraft,
virtual channel and APID they are of, the topic says.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import construct as c
import numpy as np

from gateway_codecs.batches import ItemBatch, ItemFlag, Records, U8Array, no_items

MAGIC = b"UGM"
VERSION = 1
_HEADER = struct.Struct(">3sBHHIIIIqqq")
HEADER_OCTETS = _HEADER.size
NO_POSITION = -1
U32_MAX = (1 << 32) - 1


class MessageFlag:
    """Bits of the header's `flags`; the others are zero."""

    COMMITTED = 0x0001  # the items are in the journal: first and last position are theirs
    SKIPPED = 0x0002  # items of this topic were skipped since its previous message


class RowFlag:
    """Bits of a row's `flags`; the others are zero."""

    REPLAY = 0x01  # AOS replay flag
    IDLE = 0x02  # idle packet


HEADER = c.Struct(
    "magic" / c.Const(MAGIC),
    "version" / c.Const(VERSION, c.Int8ub),
    "flags" / c.Int16ub,
    "reserved" / c.Const(0, c.Int16ub),
    "sequence" / c.Int32ub,
    "count" / c.Int32ub,
    "skipped" / c.Int32ub,
    "octets" / c.Int32ub,
    "receive_time_ns" / c.Int64sb,
    "first_position" / c.Int64sb,
    "last_position" / c.Int64sb,
)
"""The header as declared, 48 octets."""

ROW_DTYPE = np.dtype(
    [
        ("length", ">u4"),
        ("receive_delta_ns", ">u4"),
        ("missing_before", ">u4"),
        ("quality", "u1"),
        ("unit", "u1"),
        ("data_mode", "u1"),
        ("flags", "u1"),
    ]
)
ROW_OCTETS = ROW_DTYPE.itemsize


class MqttMessageError(ValueError):
    """A message that cannot be read, or items that do not fit one: what was expected, what was found."""


@dataclass(frozen=True, slots=True, eq=False)
class MqttMessage:
    """A decoded message.

    `batch` has items with length, receive_time_ns, missing_before, quality, unit, data_mode and the flags REPLAY and
    IDLE; the other columns are none. `sequence` counts the messages of the topic modulo 2**32; `skipped` items of the
    topic were left out just before. Positions are -1 when the items were sent before their commit.
    """

    sequence: int
    skipped: int
    first_position: int
    last_position: int
    batch: ItemBatch


def encode(batch: ItemBatch, sequence: int, skipped: int = 0, positions: tuple[int, int] | None = None) -> bytes:
    """Return the message of a batch whose octets lie contiguous in order of its items.

    `sequence` is taken modulo 2**32, `skipped` is 2**32 - 1 at most. Raises MqttMessageError for items that one message
    cannot hold: received more than 2**32 - 1 ns (4.29 s) apart, or positions that are no range.
    """
    first, last = positions if positions is not None else (NO_POSITION, NO_POSITION)
    if positions is not None and not 0 <= first <= last:
        raise MqttMessageError(f"positions {first}..{last} are no range")
    items, count = batch.items, len(batch)
    times = items["receive_time_ns"]
    base = int(times.min()) if count else 0
    if count and int(times.max()) - base > U32_MAX:
        raise MqttMessageError(f"items received {int(times.max()) - base} ns apart; one message holds {U32_MAX} ns")
    rows = np.zeros(count, ROW_DTYPE)
    rows["receive_delta_ns"] = times - base
    for name in ("length", "missing_before", "quality", "unit", "data_mode"):
        rows[name] = items[name]
    rows["flags"] = ((items["flags"] & ItemFlag.REPLAY) > 0) * RowFlag.REPLAY
    rows["flags"] |= (((items["flags"] & ItemFlag.IDLE) > 0) * RowFlag.IDLE).astype(np.uint8)
    flags = (positions is not None) * MessageFlag.COMMITTED | (skipped > 0) * MessageFlag.SKIPPED
    head = _HEADER.pack(
        MAGIC, VERSION, flags, 0, sequence & U32_MAX, count, min(skipped, U32_MAX), len(batch.octets), base, first, last
    )
    return b"".join((head, rows.tobytes(), batch.octets.data))


def decode(data: bytes | memoryview) -> MqttMessage:
    """Decode one whole message. Raises MqttMessageError."""
    if len(data) < HEADER_OCTETS:
        raise MqttMessageError(f"a message header has {HEADER_OCTETS} octets, here are {len(data)}")
    magic, version, flags, spare, sequence, count, skipped, octets, base, first, last = _HEADER.unpack_from(data)
    if (magic, version) != (MAGIC, VERSION):
        raise MqttMessageError(f"a message begins with {MAGIC!r} and version {VERSION}, not {magic!r} and {version}")
    if flags & ~(MessageFlag.COMMITTED | MessageFlag.SKIPPED) or spare:
        raise MqttMessageError(f"flags {flags:#06x} and spare {spare:#06x}: bits are set that version 1 does not know")
    if flags & MessageFlag.COMMITTED and not 0 <= first <= last:
        raise MqttMessageError(f"positions {first}..{last} are no range")
    wanted = HEADER_OCTETS + count * ROW_OCTETS + octets
    if len(data) != wanted:
        raise MqttMessageError(f"{count} items of {octets} octets make {wanted} octets, here are {len(data)}")
    table = HEADER_OCTETS + count * ROW_OCTETS
    rows = np.frombuffer(data[HEADER_OCTETS:table], ROW_DTYPE)
    return MqttMessage(sequence, skipped, first, last, _batch(rows, np.frombuffer(data[table:], np.uint8), base))


def _batch(rows: Records, octets: U8Array, base_ns: int) -> ItemBatch:
    lengths = rows["length"].astype(np.int64)
    if int(lengths.sum()) != len(octets):
        raise MqttMessageError(f"the rows say {int(lengths.sum())} octets, the header {len(octets)}")
    if len(rows) and base_ns > np.iinfo(np.int64).max - U32_MAX:
        raise MqttMessageError(f"a receive time of {base_ns} ns is no time")
    items = no_items(len(rows))
    for name in ("length", "missing_before", "quality", "unit", "data_mode"):
        items[name] = rows[name]
    items["offset"] = np.cumsum(lengths) - lengths
    items["receive_time_ns"] = base_ns + rows["receive_delta_ns"].astype(np.int64)
    items["flags"] = ((rows["flags"] & RowFlag.REPLAY) > 0) * ItemFlag.REPLAY
    items["flags"] |= (((rows["flags"] & RowFlag.IDLE) > 0) * ItemFlag.IDLE).astype(np.uint16)
    return ItemBatch(octets, items)
