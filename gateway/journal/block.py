"""The journal's block: one commit, self-describing (docs/journal-format.md).

A header with its own CRC-32C, a section table, then sections: a directory of groups, item columns, the
order of arrival, frame columns, octets, and the state patch as JSON. A column whose values are all
equal is stored once. Everything is little-endian.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import construct as c
import numpy as np

from gateway_codecs.batches import FRAME_DTYPE, ITEM_DTYPE, BoolArray, I64Array, ItemBatch, Records, U8Array, gather
from gateway_codecs.crc import crc32c

MAGIC = b"UGWJBLK1"
SNAPSHOT = 0x0001
BLOCK_MAX_OCTETS = 64 << 20
_HEADER = struct.Struct("<8sIIIHHQqqIII16sII")
HEADER_OCTETS = _HEADER.size
_ENTRY = struct.Struct("<BBI")

HEADER = c.Struct(
    "magic" / c.Const(MAGIC),
    "block_octets" / c.Int32ul,
    "item_count" / c.Int32ul,
    "frame_count" / c.Int32ul,
    "flags" / c.Int16ul,
    "section_count" / c.Int16ul,
    "sequence" / c.Int64ul,
    "first_position" / c.Int64sl,
    "commit_time_ns" / c.Int64sl,
    "revision" / c.Int32ul,
    "octets_length" / c.Int32ul,
    "reserved" / c.Int32ul,
    "journal_id" / c.Bytes(16),
    "body_crc32c" / c.Int32ul,
    "header_crc32c" / c.Int32ul,
)
"""The header as declared; `read_header` and `build_block` are tested against it."""

GROUP_DTYPE = np.dtype(
    [
        ("kind", "u1"),
        ("unit", "u1"),
        ("spacecraft", "<u2"),
        ("vcid", "<i2"),
        ("apid", "<i4"),
        ("rows", "<u4"),
        ("octets", "<u4"),
    ]
)
_GROUP_KEYS = ("kind", "unit", "spacecraft", "vcid", "apid")
_ITEM_COLUMNS = [n for n in ITEM_DTYPE.names or () if n not in ("offset", *_GROUP_KEYS)]
_FRAME_COLUMNS = list(FRAME_DTYPE.names or ())
_DIRECTORY, _ARRIVAL, _OCTETS, _STATE, _ITEM0, _FRAME0 = 1, 2, 3, 4, 16, 64


class BlockError(ValueError):
    """A block that cannot be read: says which check failed."""


class GroupFilter(Protocol):
    """What a reader wants; `routes` decides, the journal only asks."""

    def wants_group(self, kind: int, unit: int, spacecraft: int, vcid: int, apid: int) -> bool:
        """Whether items of this group can be wanted."""
        ...

    def mask(self, items: Records) -> BoolArray:
        """Which items are wanted, bool (n,)."""
        ...


@dataclass(frozen=True, slots=True)
class Header:
    """A block's header."""

    block_octets: int
    item_count: int
    frame_count: int
    flags: int
    section_count: int
    sequence: int
    first_position: int
    commit_time_ns: int
    revision: int
    octets_length: int
    journal_id: bytes
    body_crc32c: int

    @property
    def end_position(self) -> int:
        """The position after the last item."""
        return self.first_position + self.item_count


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A block in memory: items grouped by stream, `arrival` int64 (n,) the index of each row in order of arrival."""

    header: Header
    directory: Records
    items: Records
    arrival: I64Array
    octets: U8Array
    frames: Records
    state: Mapping[str, Any]

    def select(self, wanted: GroupFilter, position: int) -> tuple[I64Array, Records]:
        """Return positions int64 (m,) and rows of wanted items from `position` on, in position order."""
        rows = self._rows(wanted)
        positions = self.header.first_position + self.arrival[rows]
        keep = positions >= position
        rows, positions = rows[keep], positions[keep]
        order = np.argsort(positions, kind="stable")
        items = self.items[rows[order]]
        chosen = wanted.mask(items)
        return positions[order][chosen], items[chosen]

    def _rows(self, wanted: GroupFilter) -> I64Array:
        ends = np.cumsum(self.directory["rows"])
        parts = [
            np.arange(int(end) - int(group["rows"]), int(end))
            for group, end in zip(self.directory, ends, strict=True)
            if wanted.wants_group(*(int(group[key]) for key in _GROUP_KEYS))
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def build_block(
    batch: ItemBatch,
    frames: Records,
    state: Mapping[str, Any],
    *,
    first_position: int,
    sequence: int,
    commit_time_ns: int,
    journal_id: bytes,
    revision: int,
    snapshot: bool,
) -> tuple[Block, bytes]:
    """Group a batch given in order of arrival; return the block in memory and as octets."""
    items = batch.items
    order = np.lexsort(tuple(items[key] for key in reversed(_GROUP_KEYS)))
    grouped = items[order]
    octets = gather(batch.octets, grouped["offset"], grouped["length"])
    lengths = grouped["length"].astype(np.int64)
    grouped["offset"] = np.cumsum(lengths) - lengths
    directory = _directory(grouped)
    sections = _sections(directory, grouped, order, frames, octets, state)
    table = b"".join(_ENTRY.pack(tag, encoding, len(data)) for tag, encoding, data in sections)
    body = b"".join([table, *(data for _, _, data in sections)])
    body += bytes(-(HEADER_OCTETS + len(body)) % 8)
    header = Header(
        HEADER_OCTETS + len(body), len(items), len(frames), SNAPSHOT if snapshot else 0, len(sections), sequence,
        first_position, commit_time_ns, revision, len(octets), journal_id, crc32c(body),
    )  # fmt: skip
    return Block(header, directory, grouped, order, octets, frames, state), _pack_header(header) + body


def _pack_header(h: Header) -> bytes:
    packed = _HEADER.pack(
        MAGIC, h.block_octets, h.item_count, h.frame_count, h.flags, h.section_count, h.sequence, h.first_position,
        h.commit_time_ns, h.revision, h.octets_length, 0, h.journal_id, h.body_crc32c, 0,
    )  # fmt: skip
    return packed[:-4] + struct.pack("<I", crc32c(packed[:-4]))


def _directory(grouped: Records) -> Records:
    first = np.ones(len(grouped), np.bool_)
    first[1:] = False
    for key in _GROUP_KEYS:
        first[1:] |= grouped[key][1:] != grouped[key][:-1]
    heads = np.flatnonzero(first)
    directory = np.zeros(len(heads), GROUP_DTYPE)
    for key in _GROUP_KEYS:
        directory[key] = grouped[key][heads]
    directory["rows"] = np.diff(np.append(heads, len(grouped)))
    if len(heads):
        directory["octets"] = np.add.reduceat(grouped["length"].astype(np.int64), heads)
    return directory


def _sections(
    directory: Records, grouped: Records, order: I64Array, frames: Records, octets: U8Array, state: Mapping[str, Any]
) -> list[tuple[int, int, bytes | memoryview]]:
    sections: list[tuple[int, int, bytes | memoryview]] = []
    if len(grouped):
        sections.append((_DIRECTORY, 0, directory.tobytes()))
        sections += [_column(_ITEM0 + k, grouped[name]) for k, name in enumerate(_ITEM_COLUMNS)]
        if (order[1:] < order[:-1]).any():
            sections.append((_ARRIVAL, 0, order.astype("<u4").tobytes()))
        sections.append((_OCTETS, 0, np.ascontiguousarray(octets).data))
    if len(frames):
        sections += [_column(_FRAME0 + k, frames[name]) for k, name in enumerate(_FRAME_COLUMNS)]
    if state:
        sections.append((_STATE, 0, json.dumps(state, separators=(",", ":")).encode()))
    return sections


def _column(tag: int, values: np.ndarray) -> tuple[int, int, bytes]:
    if (values == values[0]).all():
        return tag, 1, values[:1].tobytes()
    return tag, 0, values.tobytes()


def read_header(data: bytes | memoryview) -> Header:
    """Return the header at the start of `data`. Raises BlockError."""
    if len(data) < HEADER_OCTETS:
        raise BlockError("shorter than a block header")
    fields = _HEADER.unpack_from(data)
    if fields[0] != MAGIC:
        raise BlockError("no block magic")
    if fields[14] != crc32c(bytes(data[: HEADER_OCTETS - 4])):
        raise BlockError("header CRC-32C")
    header = Header(*fields[1:11], *fields[12:14])
    if not HEADER_OCTETS <= header.block_octets <= BLOCK_MAX_OCTETS or header.block_octets % 8:
        raise BlockError(f"block length {header.block_octets}")
    return header


def decode_block(data: bytes) -> Block:
    """Decode one whole block. Raises BlockError; never trusts a length that the CRC did not cover."""
    header = read_header(data)
    if len(data) < header.block_octets:
        raise BlockError("incomplete block")
    body = memoryview(data)[HEADER_OCTETS : header.block_octets]
    if crc32c(body) != header.body_crc32c:
        raise BlockError("block CRC-32C")
    try:
        return _decode_body(header, body)
    except (ValueError, KeyError, struct.error) as error:
        raise BlockError(f"inconsistent block: {error}") from error


def _decode_body(header: Header, body: memoryview) -> Block:
    at = header.section_count * _ENTRY.size
    found: dict[int, tuple[int, memoryview]] = {}
    for k in range(header.section_count):
        tag, encoding, size = _ENTRY.unpack_from(body, k * _ENTRY.size)
        found[tag] = (encoding, body[at : at + size])
        at += size
    count = header.item_count
    items = np.zeros(count, ITEM_DTYPE)
    directory = np.zeros(0, GROUP_DTYPE)
    arrival = np.arange(count)
    octets = np.zeros(0, np.uint8)
    if count:
        directory = np.frombuffer(found[_DIRECTORY][1], GROUP_DTYPE)
        for key in _GROUP_KEYS:
            items[key] = np.repeat(directory[key], directory["rows"])
        _read_columns(items, _ITEM_COLUMNS, _ITEM0, found)
        lengths = items["length"].astype(np.int64)
        items["offset"] = np.cumsum(lengths) - lengths
        if _ARRIVAL in found:
            arrival = np.frombuffer(found[_ARRIVAL][1], "<u4").astype(np.int64)
        octets = np.frombuffer(found[_OCTETS][1], np.uint8)
    frames = np.zeros(header.frame_count, FRAME_DTYPE)
    if header.frame_count:
        _read_columns(frames, _FRAME_COLUMNS, _FRAME0, found)
    state = json.loads(bytes(found[_STATE][1])) if _STATE in found else {}
    return Block(header, directory, items, arrival, octets, frames, state)


def _read_columns(rows: Records, names: list[str], tag0: int, found: dict[int, tuple[int, memoryview]]) -> None:
    for k, name in enumerate(names):
        encoding, data = found[tag0 + k]
        values = np.frombuffer(data, rows.dtype[name])
        rows[name] = values[0] if encoding == 1 else values
