"""The journal's block: one commit, self-describing (docs/journal-format.md).

A header with its own CRC-32C, a section table, then sections: a directory of groups, item columns, the order of
arrival, frame columns, the state patch as JSON, and last the octets, grouped. Columns whose values are all equal
are stored as one value, those at their default not at all, the others in as few octets as their span needs. All but
the octets has one CRC-32C and each group's octets have their own, so that a reader of one APID reads and checks its
slice alone. A trailer tells a block that was written whole and damaged later from one whose writing was cut.
Everything is little-endian.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import construct as c
import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import (
    FEW_ROWS,
    FRAME_DTYPE,
    ITEM_DTYPE,
    BoolArray,
    I64Array,
    ItemBatch,
    Records,
    U8Array,
    gather,
    no_frames,
    no_items,
    picked,
)
from gateway_codecs.crc import crc32c

TOO_SHORT = "shorter than a block header"
MAGIC, END_MAGIC = b"UGWJBLK1", b"UGWJEND1"
SNAPSHOT = 0x0001
BLOCK_MAX_OCTETS = 64 << 20
ITEMS_MAX = 1 << 20
BLOCK_OVERHEAD_OCTETS = 1536  # of a block in memory: its objects beside the contents of its arrays (measured)
_HEADER = struct.Struct("<8sIIIHHQqqIII16sII")
HEADER_OCTETS = _HEADER.size
ENTRY = struct.Struct("<BBI")
BASE = struct.Struct("<q")
_TRAILER = struct.Struct("<8sQqII")
TRAILER_OCTETS = _TRAILER.size

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
    "head_octets" / c.Int32ul,
    "journal_id" / c.Bytes(16),
    "head_crc32c" / c.Int32ul,
    "header_crc32c" / c.Int32ul,
)
TRAILER = c.Struct(
    "magic" / c.Const(END_MAGIC),
    "sequence" / c.Int64ul,
    "end_position" / c.Int64sl,
    "block_octets" / c.Int32ul,
    "trailer_crc32c" / c.Int32ul,
)
"""Header and trailer as declared; `read_header`, `read_trailer` and `build_block` are tested against them."""

GROUP_DTYPE = np.dtype(
    [
        ("kind", "u1"),
        ("unit", "u1"),
        ("spacecraft", "<u2"),
        ("vcid", "<i2"),
        ("apid", "<i4"),
        ("rows", "<u4"),
        ("octets", "<u4"),
        ("crc32c", "<u4"),  # of the group's octets
    ]
)
GROUP_KEYS = ("kind", "unit", "spacecraft", "vcid", "apid")
ITEM_COLUMNS = [n for n in ITEM_DTYPE.names or () if n not in ("offset", *GROUP_KEYS)]
_FRAME_COLUMNS = list(FRAME_DTYPE.names or ())
_ITEM_DEFAULTS = {name: int(no_items(1)[name][0]) for name in ITEM_COLUMNS}
_FRAME_DEFAULTS = {name: int(no_frames(1)[name][0]) for name in _FRAME_COLUMNS}
DIRECTORY, ARRIVAL, STATE, ITEM_VALUES, FRAME_VALUES, ITEM0, FRAME0 = 1, 2, 4, 5, 6, 16, 64


class BlockError(ValueError):
    """A block that cannot be read: says which check failed."""


class GroupError(BlockError):
    """The octets of a group are damaged; others of its block may be good."""


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
    head_octets: int
    journal_id: bytes
    head_crc32c: int

    @property
    def end_position(self) -> int:
        """The position after the last item."""
        return self.first_position + self.item_count


@dataclass(frozen=True, slots=True)
class Trailer:
    """The end of a block that was written whole."""

    sequence: int
    end_position: int
    block_octets: int


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A block in memory: items grouped by stream, `arrival` int64 (n,) the index of each row in order of arrival.

    A block read for some groups only has undefined `octets` for the others.
    """

    header: Header
    directory: Records
    items: Records
    arrival: I64Array
    octets: U8Array
    frames: Records
    state: Mapping[str, Any]

    @property
    def memory_octets(self) -> int:
        """What the block takes in memory."""
        arrays = (self.directory, self.items, self.arrival, self.octets, self.frames)
        return BLOCK_OVERHEAD_OCTETS + sum(array.nbytes for array in arrays)

    def holds(self, wanted: GroupFilter) -> bool:
        """Whether there can be wanted items: a look at the directory, cheaper than `select`."""
        return any(wants(wanted, group) for group in self.directory)

    def select(self, wanted: GroupFilter, position: int) -> tuple[I64Array, Records]:
        """Return positions int64 (m,) and rows of wanted items from `position` on, in position order."""
        if len(self.directory) == 1:
            return self._select_of_one(wanted, position)
        rows = self._rows(wanted)
        positions = self.header.first_position + self.arrival[rows]
        keep = positions >= position
        rows, positions = rows[keep], positions[keep]
        order = np.argsort(positions, kind="stable")
        items = picked(self.items, rows[order])
        chosen = wanted.mask(items)
        return positions[order][chosen], picked(items, chosen)

    def _select_of_one(self, wanted: GroupFilter, position: int) -> tuple[I64Array, Records]:
        """Select from one group, whose rows stand in order of arrival."""
        if not wants(wanted, self.directory[0]):
            return np.zeros(0, np.int64), self.items[:0]
        begin = max(0, position - self.header.first_position)
        items = self.items[begin:]
        chosen = wanted.mask(items).nonzero()[0]
        return self.header.first_position + begin + chosen, picked(items, chosen)

    def _rows(self, wanted: GroupFilter) -> I64Array:
        ends = np.cumsum(self.directory["rows"])
        parts = [
            np.arange(int(end) - int(group["rows"]), int(end))
            for group, end in zip(self.directory, ends, strict=True)
            if wants(wanted, group)
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
    order = _grouping(items)
    grouped = picked(items, order)
    octets = np.ascontiguousarray(gather(batch.octets, grouped["offset"], grouped["length"]))
    octets = octets if octets.base is None else octets.copy()  # a view would keep a link's whole buffer in memory
    lengths = grouped["length"].astype(np.int64)
    grouped["offset"] = np.cumsum(lengths) - lengths
    directory = _directory(grouped, octets)
    sections = _sections(directory, grouped, order, frames, state)
    table = [ENTRY.pack(tag, width, len(data)) for tag, width, data in sections]
    head = b"".join([*table, *(data for _, _, data in sections)])
    head_octets = HEADER_OCTETS + len(head)
    padding = bytes(-(head_octets + len(octets) + TRAILER_OCTETS) % 8)
    block_octets = head_octets + len(octets) + len(padding) + TRAILER_OCTETS
    header = Header(
        block_octets, len(items), len(frames), SNAPSHOT if snapshot else 0, len(sections), sequence,
        first_position, commit_time_ns, revision, len(octets), head_octets, journal_id, crc32c(head),
    )  # fmt: skip
    parts: list[bytes | memoryview] = [_pack_header(header), head, octets.data, padding, _pack_trailer(header)]
    whole = b"".join(parts)
    return Block(header, directory, grouped, order, octets, frames, state), whole


def _pack_header(h: Header) -> bytes:
    packed = _HEADER.pack(
        MAGIC, h.block_octets, h.item_count, h.frame_count, h.flags, h.section_count, h.sequence, h.first_position,
        h.commit_time_ns, h.revision, h.octets_length, h.head_octets, h.journal_id, h.head_crc32c, 0,
    )  # fmt: skip
    return packed[:-4] + struct.pack("<I", crc32c(packed[:-4]))


def _pack_trailer(h: Header) -> bytes:
    packed = _TRAILER.pack(END_MAGIC, h.sequence, h.end_position, h.block_octets, 0)
    return packed[:-4] + struct.pack("<I", crc32c(packed[:-4]))


def _grouping(items: Records) -> I64Array:
    """Return the order that brings the rows of each group together."""
    if 0 < len(items) <= FEW_ROWS and len(set(_group_keys(items))) == 1:
        return np.arange(len(items))
    return np.lexsort(tuple(items[key] for key in reversed(GROUP_KEYS)))


def _group_keys(rows: Records) -> list[tuple[int, ...]]:
    """Return the group of each of a few rows."""
    return list(zip(*(rows[key].tolist() for key in GROUP_KEYS), strict=True))


def _heads(grouped: Records) -> I64Array:
    """Return the first row of each group."""
    if len(grouped) <= FEW_ROWS:
        keys = _group_keys(grouped)
        return np.array([k for k, key in enumerate(keys) if not k or key != keys[k - 1]], np.int64)
    first = np.ones(len(grouped), np.bool_)
    first[1:] = False
    for name in GROUP_KEYS:
        first[1:] |= grouped[name][1:] != grouped[name][:-1]
    return np.flatnonzero(first)


def _directory(grouped: Records, octets: U8Array) -> Records:
    heads = _heads(grouped)
    directory = np.zeros(len(heads), GROUP_DTYPE)
    for key in GROUP_KEYS:
        directory[key] = grouped[key][heads]
    directory["rows"] = np.diff(heads, append=len(grouped))
    if len(heads):
        directory["octets"] = np.add.reduceat(grouped["length"].astype(np.int64), heads)
    for group, (start, end) in enumerate(_group_spans(directory)):
        directory["crc32c"][group] = crc32c(octets[start:end].data)
    return directory


def _group_spans(directory: Records) -> list[tuple[int, int]]:
    """Return where each group's octets lie: [start, end) pairs."""
    ends = np.cumsum(directory["octets"].astype(np.int64))
    return list(zip((ends - directory["octets"]).tolist(), ends.tolist(), strict=True))


def _sections(
    directory: Records, grouped: Records, order: I64Array, frames: Records, state: Mapping[str, Any]
) -> list[tuple[int, int, bytes]]:
    """Return (tag, width, octets) of each section but the octets; width 0 = as it is, else of a narrowed column."""
    sections: list[tuple[int, int, bytes]] = []
    if len(grouped):
        sections.append((DIRECTORY, 0, directory.tobytes()))
        sections += _columns(grouped, _ITEM_DEFAULTS, ITEM_VALUES, ITEM0)
        if (order[1:] < order[:-1]).any():
            sections.append((ARRIVAL, *_narrowed(order, 0, len(order) - 1)))
    if len(frames):
        sections += _columns(frames, _FRAME_DEFAULTS, FRAME_VALUES, FRAME0)
    if state:
        sections.append((STATE, 0, json.dumps(state, separators=(",", ":")).encode()))
    return sections


def _columns(rows: Records, defaults: Mapping[str, int], values_tag: int, tag0: int) -> list[tuple[int, int, bytes]]:
    sections: list[tuple[int, int, bytes]] = []
    values = b""
    for k, ((name, default), (low, high)) in enumerate(zip(defaults.items(), _spans(rows, defaults), strict=True)):
        if low < high:
            sections.append((tag0 + k, *_narrowed(rows[name], low, high)))
        elif low != default:
            values += bytes([k]) + rows[name][:1].tobytes()
    return [(values_tag, 0, values), *sections] if values else sections


def _spans(rows: Records, names: Iterable[str]) -> list[tuple[int, int]]:
    """Return the lowest and the highest value of columns; of a few rows without numpy."""
    if len(rows) > FEW_ROWS:
        return [(int(rows[name].min()), int(rows[name].max())) for name in names]
    columns = dict(zip(rows.dtype.names or (), zip(*rows.tolist(), strict=True), strict=True))
    return [(min(columns[name]), max(columns[name])) for name in names]


def _narrowed(column: NDArray[Any], low: int, high: int) -> tuple[int, bytes]:
    """Return (width, octets): the lowest value, then what each is above it, in as few octets as the span needs."""
    span = high - low
    width = 1 if span < 1 << 8 else 2 if span < 1 << 16 else 4 if span < 1 << 32 else 8
    if width >= column.itemsize:
        return 0, column.tobytes()
    return width, BASE.pack(low) + (column.astype(np.int64) - low).astype(f"<u{width}").tobytes()


def _widened(data: memoryview, width: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    if width == 0:
        return np.frombuffer(data, dtype)
    if width not in {1, 2, 4, 8}:
        raise BlockError(f"column width {width}")
    low = BASE.unpack_from(data)[0]
    above = np.frombuffer(data, f"<u{width}", offset=BASE.size).astype(np.int64)
    widened: NDArray[Any] = (above + low).astype(dtype)
    return widened


def read_header(data: bytes | memoryview) -> Header:
    """Return the header at the start of `data`. Raises BlockError."""
    if len(data) < HEADER_OCTETS:
        raise BlockError(TOO_SHORT)
    fields = _HEADER.unpack_from(data)
    if fields[0] != MAGIC:
        raise BlockError("no block magic")
    if fields[14] != crc32c(bytes(data[: HEADER_OCTETS - 4])):
        raise BlockError("header CRC-32C")
    header = Header(*fields[1:14])
    if not HEADER_OCTETS + TRAILER_OCTETS <= header.block_octets <= BLOCK_MAX_OCTETS or header.block_octets % 8:
        raise BlockError(f"block length {header.block_octets}")
    table = HEADER_OCTETS + header.section_count * ENTRY.size
    if not table <= header.head_octets <= header.head_octets + header.octets_length <= header.block_octets:
        raise BlockError("lengths in the header do not agree")
    if header.item_count > ITEMS_MAX or header.frame_count > ITEMS_MAX:
        raise BlockError(f"{header.item_count} items, {header.frame_count} frames")
    return header


def read_trailer(data: bytes | memoryview) -> Trailer | None:
    """Return the trailer that `data` ends with; None when there is none."""
    if len(data) < TRAILER_OCTETS:
        return None
    packed = bytes(data[-TRAILER_OCTETS:])
    magic, sequence, end_position, block_octets, crc = _TRAILER.unpack(packed)
    if magic != END_MAGIC or crc != crc32c(packed[:-4]):
        return None
    return Trailer(sequence, end_position, block_octets)


Read = Callable[[int, int], bytes]


def decode_block(data: bytes) -> Block:
    """Decode one whole block and check all of it. Raises BlockError."""
    header = read_header(data)
    if len(data) < header.block_octets:
        raise BlockError("incomplete block")
    trailer = read_trailer(memoryview(data)[: header.block_octets])
    if trailer != Trailer(header.sequence, header.end_position, header.block_octets):
        raise BlockError("block trailer")
    if any(data[header.head_octets + header.octets_length : header.block_octets - TRAILER_OCTETS]):
        raise BlockError("padding")
    return decode_groups(header, lambda at, length: data[at : at + length], None)


def decode_groups(header: Header, read: Read, wanted: GroupFilter | None) -> Block:
    """Decode a block with the octets of wanted groups only (None = all). `read(offset, octets)` reads from the
    block's start. Raises BlockError; no length is trusted that a CRC did not cover."""
    try:
        return _decode(header, read, wanted)
    except (ValueError, KeyError, IndexError, struct.error) as error:
        raise error if isinstance(error, BlockError) else BlockError(f"inconsistent block: {error}") from error


def read_state(header: Header, read: Read) -> dict[str, Any]:
    """Return a block's state patch alone. Raises BlockError."""
    try:
        return _state(_checked_sections(header, read(0, header.head_octets)))
    except (ValueError, struct.error) as error:
        raise error if isinstance(error, BlockError) else BlockError(f"inconsistent block: {error}") from error


Sections = Mapping[int, tuple[int, memoryview]]


def _checked_sections(header: Header, head: bytes) -> Sections:
    """Return (width, octets) of each section by its tag."""
    if len(head) < header.head_octets:
        raise BlockError("incomplete block")
    view = memoryview(head)[: header.head_octets]
    if crc32c(view[HEADER_OCTETS:]) != header.head_crc32c:
        raise BlockError("block head CRC-32C")
    at = HEADER_OCTETS + header.section_count * ENTRY.size
    found: dict[int, tuple[int, memoryview]] = {}
    for k in range(header.section_count):
        tag, width, size = ENTRY.unpack_from(head, HEADER_OCTETS + k * ENTRY.size)
        found[tag] = (width, view[at : at + size])
        at += size
    return found


def _state(found: Sections) -> dict[str, Any]:
    state = json.loads(bytes(found[STATE][1])) if STATE in found else {}
    return dict(state)


def _decode(header: Header, read: Read, wanted: GroupFilter | None) -> Block:
    found = _checked_sections(header, read(0, header.head_octets))
    items, frames = no_items(header.item_count), no_frames(header.frame_count)
    directory = np.zeros(0, GROUP_DTYPE)
    arrival = np.arange(header.item_count)
    if header.item_count:
        directory = np.frombuffer(found[DIRECTORY][1], GROUP_DTYPE)
        if int(directory["rows"].astype(np.int64).sum()) != header.item_count:
            raise BlockError("rows of the groups and items do not agree")
        for key in GROUP_KEYS:
            items[key] = np.repeat(directory[key], directory["rows"])
        _read_columns(items, ITEM_COLUMNS, ITEM_VALUES, ITEM0, found)
        lengths = items["length"].astype(np.int64)
        items["offset"] = np.cumsum(lengths) - lengths
        if ARRIVAL in found:
            width, data = found[ARRIVAL]
            arrival = _widened(data, width, np.dtype(np.int64))
        if not (np.sort(arrival) == np.arange(len(items))).all():
            raise BlockError("order of arrival")
        if not int(lengths.sum()) == int(directory["octets"].sum()) == header.octets_length:
            raise BlockError("lengths of items, groups and octets do not agree")
    _read_columns(frames, _FRAME_COLUMNS, FRAME_VALUES, FRAME0, found)
    octets = _read_octets(header, directory, read, wanted)
    return Block(header, directory, items, arrival, octets, frames, _state(found))


def _read_columns(rows: Records, names: list[str], values_tag: int, tag0: int, found: Sections) -> None:
    values, at = bytes(found[values_tag][1]) if values_tag in found else b"", 0
    while at < len(values):
        name = names[values[at]]
        rows[name] = np.frombuffer(values, rows.dtype[name], 1, at + 1)[0]
        at += 1 + rows.dtype[name].itemsize
    for k, name in enumerate(names):
        if tag0 + k in found:
            width, data = found[tag0 + k]
            rows[name] = _widened(data, width, rows.dtype[name])


def _read_octets(header: Header, directory: Records, read: Read, wanted: GroupFilter | None) -> U8Array:
    """Read the octets of wanted groups, neighbours together, and check each group."""
    octets = np.empty(header.octets_length, np.uint8)
    spans = _group_spans(directory)
    chosen = [k for k, group in enumerate(directory) if wanted is None or wants(wanted, group)]
    at = 0
    while at < len(chosen):
        last = at
        while last + 1 < len(chosen) and chosen[last + 1] == chosen[last] + 1:
            last += 1
        start, end = spans[chosen[at]][0], spans[chosen[last]][1]
        octets[start:end] = np.frombuffer(read(header.head_octets + start, end - start), np.uint8)
        for group in chosen[at : last + 1]:
            begin, until = spans[group]
            if crc32c(octets[begin:until].data) != directory["crc32c"][group]:
                raise GroupError(f"octets of group {group} CRC-32C")
        at = last + 1
    return octets


def wants(wanted: GroupFilter, group: np.void) -> bool:
    """Whether a directory row's items can be wanted."""
    return wanted.wants_group(*(int(group[key]) for key in GROUP_KEYS))
