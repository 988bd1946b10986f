"""The binary block that home bases receive and store (docs/wire-format.md). Big-endian throughout.

Three kinds: *data* carries a table row per item and then all octets in position order; a *mark* says how many
items the lane delivered since the previous mark and the SHA-256 over their octets; *timely* is like data, of items
that have no position yet.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import construct as c
import numpy as np

from gateway_codecs.batches import I64Array, ItemBatch, Records, U8Array, no_items

MAGIC = b"UGB1"
DATA, MARK, TIMELY = 1, 2, 3
NO_POSITION = -1
"""The position of an item in a timely block: it is not journalled yet, and may never be."""
FINAL = 0x0001  # flag of a mark: the stream is finished
_HEADER = struct.Struct(">4sBBHIqqII")
HEADER_OCTETS = _HEADER.size
BLOCK_MAX_OCTETS = 16 << 20

HEADER = c.Struct(
    "magic" / c.Const(MAGIC),
    "kind" / c.Int8ub,
    "lane" / c.Int8ub,
    "flags" / c.Int16ub,
    "count" / c.Int32ub,
    "from_position" / c.Int64sb,
    "upto_position" / c.Int64sb,
    "body_octets" / c.Int32ub,
    "crc32" / c.Int32ub,
)
"""The header as declared. `crc32` is zlib's CRC-32 over the header with this field zero, then the body."""

ROW_DTYPE = np.dtype(
    [
        ("position", ">i8"),
        ("receive_time_ns", ">i8"),
        ("earth_receive_time_ns", ">i8"),
        ("generation_time_ns", ">i8"),
        ("vc_count", ">i8"),
        ("length", ">u4"),
        ("apid", ">i4"),
        ("sequence_count", ">i4"),
        ("missing_before", ">u4"),
        ("vcid", ">i2"),
        ("spacecraft", ">u2"),
        ("link", ">u2"),
        ("flags", ">u2"),
        ("kind", "u1"),
        ("unit", "u1"),
        ("quality", "u1"),
        ("data_mode", "u1"),
        ("version", "i1"),
        ("reserved", "V3"),
    ]
)
_SHARED = [name for name in ROW_DTYPE.names or () if name not in ("position", "reserved")]


class DeliveryBlockError(ValueError):
    """A block that cannot be read: what was expected, what was found."""


@dataclass(frozen=True, slots=True, eq=False)
class DeliveryBlock:
    """A decoded block. Data, timely: `positions` int64 (count,), `batch`. Mark: `items` and `digest` (32 octets)."""

    kind: int
    lane: int
    flags: int
    from_position: int
    upto_position: int
    positions: I64Array
    batch: ItemBatch
    items: int = 0
    digest: bytes = b""


def encode_data(
    lane: int, from_position: int, upto_position: int, positions: I64Array, batch: ItemBatch, flags: int = 0
) -> bytes:
    """Return a data block; the batch's octets lie contiguous in position order."""
    return _sealed(DATA, lane, flags, len(batch), from_position, upto_position, _body(positions, batch))


def encode_timely(batch: ItemBatch) -> bytes:
    """Return a timely block: no range, no positions; the batch's octets lie contiguous in order of its items."""
    return _sealed(TIMELY, 0, 0, len(batch), 0, 0, _body(NO_POSITION, batch))


def _body(positions: I64Array | int, batch: ItemBatch) -> bytes:
    rows = np.zeros(len(batch), ROW_DTYPE)
    rows["position"] = positions
    for name in _SHARED:
        rows[name] = batch.items[name]
    return rows.tobytes() + batch.octets.tobytes()


def encode_mark(lane: int, from_position: int, upto_position: int, items: int, digest: bytes, flags: int = 0) -> bytes:
    """Return a mark: the lane is complete up to `upto_position`, with `items` items since `from_position`."""
    return _sealed(MARK, lane, flags, items, from_position, upto_position, digest)


def _sealed(kind: int, lane: int, flags: int, count: int, first: int, upto: int, body: bytes) -> bytes:
    crc = zlib.crc32(body, zlib.crc32(_HEADER.pack(MAGIC, kind, lane, flags, count, first, upto, len(body), 0)))
    return _HEADER.pack(MAGIC, kind, lane, flags, count, first, upto, len(body), crc) + body


def block_octets(data: bytes | memoryview) -> int:
    """Return the whole length of the block that begins `data`. Raises DeliveryBlockError."""
    if len(data) < HEADER_OCTETS:
        raise DeliveryBlockError(f"a block header has {HEADER_OCTETS} octets, here are {len(data)}")
    magic, *_, body, _ = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise DeliveryBlockError(f"a block begins with {MAGIC!r}, not {bytes(magic)!r}")
    if body > BLOCK_MAX_OCTETS:
        raise DeliveryBlockError(f"a block has at most {BLOCK_MAX_OCTETS} octets, this one says {body}")
    return HEADER_OCTETS + int(body)


def decode(data: bytes | memoryview) -> DeliveryBlock:
    """Decode one whole block. Raises DeliveryBlockError."""
    if len(data) != block_octets(data):
        raise DeliveryBlockError(f"the block says {block_octets(data)} octets, here are {len(data)}")
    _, kind, lane, flags, count, first, upto, size, crc = _HEADER.unpack_from(data)
    body = memoryview(data)[HEADER_OCTETS:]
    zeroed = _HEADER.pack(MAGIC, kind, lane, flags, count, first, upto, size, 0)
    if zlib.crc32(body, zlib.crc32(zeroed)) != crc:
        raise DeliveryBlockError("the block's CRC-32 does not match")
    if not 0 <= first <= upto:
        raise DeliveryBlockError(f"positions {first}..{upto} are no range")
    if kind == MARK:
        if len(body) != 32:
            raise DeliveryBlockError(f"a mark carries 32 octets of SHA-256, not {len(body)}")
        empty = ItemBatch(np.zeros(0, np.uint8), no_items())
        return DeliveryBlock(kind, lane, flags, first, upto, np.zeros(0, np.int64), empty, count, bytes(body))
    if kind not in {DATA, TIMELY}:
        raise DeliveryBlockError(f"unknown kind {kind}; 1 is data, 2 is a mark, 3 is timely")
    return _decode_items(kind, lane, flags, count, first, upto, body)


def _decode_items(
    kind: int, lane: int, flags: int, count: int, first: int, upto: int, body: memoryview
) -> DeliveryBlock:
    table = count * ROW_DTYPE.itemsize
    if table > len(body):
        raise DeliveryBlockError(f"{count} rows need {table} octets, the body has {len(body)}")
    rows = np.frombuffer(body[:table], ROW_DTYPE)
    octets: U8Array = np.frombuffer(body[table:], np.uint8)
    positions = rows["position"].astype(np.int64)
    lengths = rows["length"].astype(np.int64)
    if int(lengths.sum()) != len(octets):
        raise DeliveryBlockError(f"the rows say {int(lengths.sum())} octets, the body has {len(octets)}")
    if kind == TIMELY and (first or upto or (positions != NO_POSITION).any()):
        raise DeliveryBlockError("a timely block has no range and no positions")
    inside = kind == TIMELY or not count or (positions[0] >= first and positions[-1] < upto)
    if not inside or (kind == DATA and (np.diff(positions) <= 0).any()):
        raise DeliveryBlockError("positions must rise within the block's range")
    items: Records = no_items(count)
    for name in _SHARED:
        items[name] = rows[name]
    items["offset"] = np.cumsum(lengths) - lengths
    return DeliveryBlock(kind, lane, flags, first, upto, positions, ItemBatch(octets, items))
