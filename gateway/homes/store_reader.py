"""Reads a home base's store while it is being filled: what is forced, each item once, for one consumer.

A consumer's state is a cursor as in delivery: everything below its low water and in its ranges is done. In order of
*position* it waits at a hole until that is filled or told as missing; in order of *arrival* what came last (live) goes
before what is caught up, in turns.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gateway.errors import GatewayError
from gateway.homes.store import Extent, HomeStore
from gateway.world import Storage
from gateway_codecs.batches import BoolArray, I64Array, ItemBatch, concatenate, empty_items, gather, picked
from gateway_codecs.delivery_block import (
    DATA,
    HEADER_OCTETS,
    DeliveryBlockError,
    block_octets,
    decode,
)
from gateway_routes.delivery import Cursor, Range, normalised

Order = Literal["position", "arrival"]
READ_OCTETS = 1 << 19
_KIND_AND_RANGE = struct.Struct(">4xB7xqq")  # of a block's header


class DamagedStore(GatewayError):
    """A file of the store cannot be read where it was forced: `name`."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} of the store is damaged: {why}")
        self.name = name


@dataclass(frozen=True, slots=True, eq=False)
class Portion:
    """Positions [first, end): their items, or, if `absent`, the word that they will never come."""

    first: int
    end: int
    positions: I64Array
    batch: ItemBatch
    absent: bool = False


class StoreReader:
    """One consumer of a store. Blocking; runs in one worker, which need not be the store's."""

    def __init__(
        self, storage: Storage, store: HomeStore, done: Cursor | None = None, order: Order = "position"
    ) -> None:
        self._storage, self._store, self._order = storage, store, order
        self.done = done
        self._at: tuple[str, int, int] | None = None  # file, offset, position where its next block begins
        self._oldest_next = False

    def from_here(self) -> None:
        """Begin behind everything that is stored now."""
        ends = [extent.end for extent in self._store.extents] + [end for _, end in self._store.absent]
        self.done = Cursor(max([self._store.meta.get("start", 0), *ends]))

    def waiting(self) -> int:
        """Return how many positions are stored, or known to be absent, and not done."""
        return sum(end - first for first, end, _ in self._pieces())

    def next(self, octets_max: int = READ_OCTETS) -> Portion | None:
        """Return what comes next, None while there is nothing; `finish` it, or it comes again. Raises DamagedStore,
        OSError."""
        pieces = self._pieces()
        if not pieces:
            return None
        first, end, extent = pieces[0]
        if self._order == "arrival" and not self._oldest_next:
            first, end, extent = pieces[-1]
        elif self._order == "position" and self.done is not None and first > self.done.low_water:
            return None
        if extent is None:
            return Portion(first, end, np.zeros(0, np.int64), empty_items(), absent=True)
        try:
            return self._read(first, end, extent, octets_max)
        except FileNotFoundError:
            if extent in self._store.extents:
                raise
            return self.next(octets_max)  # it was removed meanwhile

    def finish(self, portion: Portion) -> None:
        """What was taken is done."""
        self.done = (self.done or Cursor()).with_range(portion.first, portion.end)
        self._oldest_next = not self._oldest_next

    def _pieces(self) -> list[tuple[int, int, Extent | None]]:
        """Return what is there and not done, in order of position."""
        if not self._store.meta:
            return []
        if self.done is None or self.done.low_water < self._store.meta["start"]:
            self.done = normalised(self._store.meta["start"], self.done.ranges if self.done else ())
        done, found = self.done, list[tuple[int, int, Extent | None]]()
        for extent in self._store.extents:
            found += [(a, b, extent) for a, b in _undone(done, (extent.first, extent.end))]
        for absent in self._store.absent:
            found += [(a, b, None) for a, b in _undone(done, absent)]
        return sorted(found, key=lambda piece: piece[:2])

    # ---- files ----

    def _read(self, first: int, end: int, extent: Extent, octets_max: int) -> Portion:
        batches, positions, upto, octets = [], [], first, 0
        offset = self._offset_of(first, extent)
        while upto < end and octets < octets_max and offset < extent.octets:
            data = self._block(extent, offset)
            try:
                block = decode(data)
            except DeliveryBlockError as error:
                raise DamagedStore(extent.name, f"octet {offset}: {error}") from None
            offset += len(data)
            if block.kind != DATA or block.upto_position <= first:
                continue
            inside = (block.positions >= first) & (block.positions < end)
            positions.append(block.positions[inside])
            batches.append(block.batch if inside.all() else _part(block.batch, inside))
            upto, octets = min(block.upto_position, end), octets + len(data)
        if upto == first:
            raise DamagedStore(extent.name, f"position {first} is not in it")
        self._at = (extent.name, offset, upto)
        return Portion(first, upto, np.concatenate(positions), concatenate(batches))

    def _offset_of(self, position: int, extent: Extent) -> int:
        """Return where the block begins that holds a position, or one before it."""
        name, offset, known = self._at or ("", 0, 0)
        if name != extent.name or known > position or offset > extent.octets:
            offset = 0
        return self._skipped(position, extent, offset)

    def _skipped(self, position: int, extent: Extent, offset: int) -> int:
        window, begin = b"", 0
        while offset < extent.octets:
            if not begin <= offset <= begin + len(window) - HEADER_OCTETS:
                window, begin = self._octets(extent, offset, READ_OCTETS), offset
            header = window[offset - begin : offset - begin + HEADER_OCTETS]
            try:
                length = block_octets(header)
            except DeliveryBlockError as error:
                raise DamagedStore(extent.name, f"octet {offset}: {error}") from None
            kind, _, upto = _KIND_AND_RANGE.unpack_from(header)
            if kind == DATA and upto > position:
                break
            offset += length
        return offset

    def _block(self, extent: Extent, offset: int) -> bytes:
        try:
            length = block_octets(self._octets(extent, offset, HEADER_OCTETS))
        except DeliveryBlockError as error:
            raise DamagedStore(extent.name, f"octet {offset}: {error}") from None
        return self._octets(extent, offset, length)

    def _octets(self, extent: Extent, offset: int, length: int) -> bytes:
        return self._storage.read(self._store.path(extent.name), offset, min(length, extent.octets - offset))


def _undone(done: Cursor, span: Range) -> list[Range]:
    """Return the parts of a range that are not done."""
    first, end = span
    return [(max(a, first), b) for a, b in done.missing(end) if b > first]


def _part(batch: ItemBatch, inside: BoolArray) -> ItemBatch:
    """Return some items of a batch with their octets, contiguous."""
    items = picked(batch.items, inside)
    octets = gather(batch.octets, items["offset"], items["length"])
    lengths = items["length"].astype(np.int64)
    items["offset"] = np.cumsum(lengths) - lengths
    return ItemBatch(octets, items)
