"""Many small blocks at once: for readers of long ranges, where a commit often holds one packet.

Blocks that are cut alike (the same sections of the same lengths, the same columns that hold one value) are stacked into
a matrix of octets, and their columns are read together. Whatever is not as it should be is left to the reader of single
blocks (`segments`), which knows what to say of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gateway.journal.block import (
    ARRIVAL,
    BASE,
    DIRECTORY,
    ENTRY,
    GROUP_DTYPE,
    GROUP_KEYS,
    HEADER_OCTETS,
    ITEM0,
    ITEM_COLUMNS,
    ITEM_VALUES,
    STATE,
    BlockError,
    GroupFilter,
    Header,
    read_header,
)
from gateway_codecs.batches import (
    ITEM_DTYPE,
    BoolArray,
    I64Array,
    ItemBatch,
    Records,
    U8Array,
    gather,
    no_items,
    own_rows,
    picked,
)
from gateway_codecs.crc import crc32c

SMALL_BLOCK_OCTETS = 1 << 16
WINDOW_OCTETS = 1 << 20
_SIZES = [ITEM_DTYPE[name].itemsize for name in ITEM_COLUMNS]
Cut = tuple[int, tuple[tuple[int, int, int], ...], tuple[int, ...]]
"""How a block's head is cut: items, (tag, width, octets) of its sections, the columns that hold one value."""


@dataclass(frozen=True, slots=True, eq=False)
class Swept:
    """Wanted items of several blocks in position order, and the position and octet of the segment to go on with."""

    positions: I64Array
    batch: ItemBatch
    end_position: int
    end_offset: int


def sweep(data: bytes, offset: int, position: int, identity: bytes, wanted: GroupFilter) -> Swept:
    """Return what the small blocks at the beginning of `data` hold, which lies at `offset` of a segment.

    The first of them begins at `position`. It ends before the first block that is large, not whole in `data`, damaged,
    not of this journal, or not the next one; so `end_offset` may be `offset`.
    """
    view, octets = memoryview(data), np.frombuffer(data, np.uint8)
    alike: dict[Cut, list[tuple[int, Header]]] = {}
    at, following = 0, position
    while (header := _whole(view, at, following, identity)) is not None:
        cut = _cut(view, at, header)
        if cut is None:
            break
        if header.item_count:
            alike.setdefault(cut, []).append((at, header))
        at, following = at + header.block_octets, header.end_position
    found = [_checked(octets, view, cut, blocks, wanted) for cut, blocks in alike.items()]
    bad = min((one[2] for one in found if one[2] is not None), default=None)
    if bad is not None:  # what stands before it is good
        return sweep(data[:bad], offset, position, identity, wanted)
    positions = np.concatenate([one[0] for one in found]) if found else np.zeros(0, np.int64)
    items = _joined([one[1] for one in found]) if found else no_items()
    order = np.argsort(positions, kind="stable")
    return Swept(positions[order], own(octets, picked(items, order)), following, offset + at)


def _whole(view: memoryview, at: int, position: int, identity: bytes) -> Header | None:
    """Return the header of the block there, None when it is none for us."""
    try:
        header = read_header(view[at : at + HEADER_OCTETS])
    except BlockError:
        return None
    is_ours = header.journal_id == identity and header.first_position == position
    fits = header.block_octets <= SMALL_BLOCK_OCTETS and at + header.block_octets <= len(view)
    if not is_ours or not fits or crc32c(view[at + HEADER_OCTETS : at + header.head_octets]) != header.head_crc32c:
        return None
    return header


def _cut(view: memoryview, at: int, header: Header) -> Cut | None:
    """Return how a block's head is cut, None when the table does not say it."""
    sections, values = list[tuple[int, int, int]](), tuple[int, ...]()
    table = at + HEADER_OCTETS
    begin = table + header.section_count * ENTRY.size
    for k in range(header.section_count):
        tag, width, size = ENTRY.unpack_from(view, table + k * ENTRY.size)
        if tag == ITEM_VALUES:
            keys = _keys(view[begin : begin + size])
            if keys is None:
                return None
            values = keys
        if tag != STATE:  # the last one, and of any length
            sections.append((tag, width, size))
        begin += size
    return header.item_count, tuple(sections), values


def _keys(values: memoryview) -> tuple[int, ...] | None:
    at, keys = 0, list[int]()
    while at < len(values):
        key = values[at]
        if key >= len(_SIZES):
            return None
        keys.append(key)
        at += 1 + _SIZES[key]
    return tuple(keys) if at == len(values) else None


def _checked(
    octets: U8Array, view: memoryview, cut: Cut, blocks: list[tuple[int, Header]], wanted: GroupFilter
) -> tuple[I64Array, Records, int | None]:
    """As `_stacked`; sections that cannot be columns are bad blocks."""
    try:
        return _stacked(octets, view, cut, blocks, wanted)
    except (ValueError, IndexError, KeyError):
        return np.zeros(0, np.int64), no_items(), blocks[0][0]


def _stacked(
    octets: U8Array, view: memoryview, cut: Cut, blocks: list[tuple[int, Header]], wanted: GroupFilter
) -> tuple[I64Array, Records, int | None]:
    """Return positions and rows of wanted items of blocks that are cut alike, and where the first bad block begins."""
    count, sections, keys = cut
    at = np.array([begin for begin, _ in blocks], np.int64)
    table = HEADER_OCTETS + np.array([header.section_count for _, header in blocks], np.int64) * ENTRY.size
    heads = octets[(at + table)[:, None] + np.arange(sum(size for _, _, size in sections))]
    parts, begin = dict[int, tuple[int, U8Array]](), 0
    for tag, width, size in sections:
        parts[tag] = (width, np.ascontiguousarray(heads[:, begin : begin + size]))
        begin += size
    if DIRECTORY not in parts or parts[DIRECTORY][1].shape[1] % GROUP_DTYPE.itemsize:
        return np.zeros(0, np.int64), no_items(), int(at[0])
    directory = parts[DIRECTORY][1].view(GROUP_DTYPE).reshape(len(blocks), -1)
    items = no_items(len(blocks) * count)
    good = directory["rows"].sum(axis=1, dtype=np.int64) == count
    if good.all():
        _fill(items, directory, parts, keys, len(blocks))
        good &= _consistent(items, directory, blocks)
    starts = at + np.array([header.head_octets for _, header in blocks], np.int64)
    chosen = _wanted_groups(directory, wanted)
    good &= _octets_good(view, directory, chosen, starts)
    if not good.all():
        return np.zeros(0, np.int64), no_items(), int(at[np.flatnonzero(~good)[0]])
    lengths = items["length"].astype(np.int64).reshape(len(blocks), count)
    items["offset"] = (starts[:, None] + np.cumsum(lengths, axis=1) - lengths).reshape(-1)
    first = np.array([header.first_position for _, header in blocks], np.int64)
    positions = (first[:, None] + _arrival(parts, len(blocks), count)).reshape(-1)
    keep = np.repeat(chosen.reshape(-1), directory["rows"].reshape(-1))
    rows = np.flatnonzero(keep)
    found = picked(items, rows)
    wants = wanted.mask(found)
    return positions[rows[wants]], picked(found, wants), None


def _fill(
    items: Records, directory: Records, parts: dict[int, tuple[int, U8Array]], keys: tuple[int, ...], blocks: int
) -> None:
    """Put the columns of all blocks into the rows of their items."""
    for group_key in GROUP_KEYS:
        items[group_key] = np.repeat(directory[group_key].reshape(-1), directory["rows"].reshape(-1))
    count = len(items) // blocks
    at = 0
    for key in keys:
        value = np.ascontiguousarray(parts[ITEM_VALUES][1][:, at + 1 : at + 1 + _SIZES[key]])
        name = ITEM_COLUMNS[key]
        items[name] = np.repeat(value.view(ITEM_DTYPE[name]).reshape(-1), count)
        at += 1 + _SIZES[key]
    for k, name in enumerate(ITEM_COLUMNS):
        if ITEM0 + k in parts:
            items[name] = _column(*parts[ITEM0 + k], ITEM_DTYPE[name], count).reshape(-1)


def _column(width: int, part: U8Array, dtype: np.dtype[Any], count: int) -> Any:
    """Return a column of every block, (blocks, count). Raises ValueError for one of another length."""
    if not width:
        return part.view(dtype).reshape(len(part), count)
    low = np.ascontiguousarray(part[:, : BASE.size]).view("<i8")
    above = np.ascontiguousarray(part[:, BASE.size :]).view(f"<u{width}").reshape(len(part), count)
    return (above.astype(np.int64) + low).astype(dtype)


def _arrival(parts: dict[int, tuple[int, U8Array]], blocks: int, count: int) -> I64Array:
    if ARRIVAL not in parts:
        return np.broadcast_to(np.arange(count, dtype=np.int64), (blocks, count))
    found: I64Array = _column(*parts[ARRIVAL], np.dtype(np.int64), count)
    return found


def _consistent(items: Records, directory: Records, blocks: list[tuple[int, Header]]) -> BoolArray:
    """Return which blocks' lengths agree: of items, of groups, of the header."""
    lengths = items["length"].astype(np.int64).reshape(len(blocks), -1).sum(axis=1)
    stated = np.array([header.octets_length for _, header in blocks], np.int64)
    agree: BoolArray = (lengths == stated) & (directory["octets"].sum(axis=1, dtype=np.int64) == stated)
    return agree


def _wanted_groups(directory: Records, wanted: GroupFilter) -> BoolArray:
    """Return which groups can hold wanted items, bool (blocks, groups)."""
    keys = np.stack([directory[key].astype(np.int64).reshape(-1) for key in GROUP_KEYS])
    different, where = np.unique(keys, axis=1, return_inverse=True)
    wants = np.array([wanted.wants_group(*key) for key in different.T.tolist()], np.bool_)
    return wants[where.reshape(-1)].reshape(directory.shape)


def _octets_good(view: memoryview, directory: Records, chosen: BoolArray, starts: I64Array) -> BoolArray:
    """Return which blocks' wanted octets have their CRC-32C, bool (blocks,)."""
    lengths = directory["octets"].astype(np.int64)
    begins = starts[:, None] + np.cumsum(lengths, axis=1) - lengths
    rows, groups = np.nonzero(chosen)
    good = np.ones(len(directory), np.bool_)
    for row, begin, length, crc in zip(
        rows.tolist(), begins[rows, groups].tolist(), lengths[rows, groups].tolist(),
        directory["crc32c"][rows, groups].tolist(), strict=True,
    ):  # fmt: skip
        if crc32c(view[begin : begin + length]) != crc:
            good[row] = False
    return good


def own(octets: U8Array, items: Records) -> ItemBatch:
    """Return items with their octets alone."""
    mine = own_rows(items)
    lengths = mine["length"].astype(np.int64)
    taken = gather(octets, items["offset"], lengths)
    mine["offset"] = np.cumsum(lengths) - lengths
    return ItemBatch(taken, mine)


def _joined(parts: list[Records]) -> Records:
    """Join rows; numpy looks at every field of every part, unless the rows are octets to it."""
    whole: Records = np.concatenate([part.view(f"V{ITEM_DTYPE.itemsize}") for part in parts]).view(ITEM_DTYPE)
    return whole


def within(positions: I64Array, batch: ItemBatch, first: int, end: int) -> tuple[I64Array, ItemBatch] | None:
    """Return the items within [first, end), None when there are none."""
    low, high = np.searchsorted(positions, (first, end)).tolist()
    if low == high:
        return None
    if (low, high) == (0, len(positions)):
        return positions, batch
    return positions[low:high], own(batch.octets, batch.items[low:high])


def joined(batches: list[ItemBatch]) -> ItemBatch:
    """Join batches whose items lie contiguous in their octets, in order."""
    items = _joined([one.items for one in batches])
    lengths = items["length"].astype(np.int64)
    items["offset"] = np.cumsum(lengths) - lengths
    return ItemBatch(np.concatenate([one.octets for one in batches]), items)


__all__ = ["SMALL_BLOCK_OCTETS", "WINDOW_OCTETS", "Swept", "joined", "own", "sweep", "within"]
