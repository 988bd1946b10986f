"""What one read of a journal takes: from blocks in memory and from what was found on the disk, within its limits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np

from gateway.journal.block import Block, GroupFilter
from gateway.journal.segments import Damage
from gateway_codecs.batches import I64Array, ItemBatch, Records, U8Array, concatenate, gather, own_rows

TURN_S, TURN_BLOCKS = 0.002, 64
AHEAD_OCTETS = 8 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """What a read found: `positions` int64 (n,), items in position order; everything selected in
    [position, end_position) is here, except `damaged` ranges. `expired` is the range retention took, if any.
    A slice without items is not the end: a read looks at a bounded part of the disk."""

    positions: I64Array
    batch: ItemBatch
    end_position: int
    damaged: tuple[Damage, ...] = ()
    expired: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What `wanted` finds on the disk in positions [first, end): items that lie contiguous, or damage, or nothing."""

    first: int
    end: int
    wanted: GroupFilter
    items: tuple[I64Array, ItemBatch] | Damage | None
    small: bool  # many small blocks may follow

    @property
    def octets(self) -> int:
        """What it takes to keep it."""
        if not isinstance(self.items, tuple):
            return 0
        positions, batch = self.items
        return positions.nbytes + batch.items.nbytes + batch.octets.nbytes


class ReadAhead:
    """What was found on the disk and not taken yet: the reader's next read goes on there. Within AHEAD_OCTETS."""

    def __init__(self) -> None:
        self._found: list[Found] = []

    def take(self, position: int, wanted: GroupFilter) -> Found | None:
        """Return, and forget, what was found at a position."""
        for k, found in enumerate(self._found):
            if found.first <= position < found.end and found.wanted == wanted:
                return self._found.pop(k)
        return None

    def keep(self, found: Found) -> None:
        """Keep it, and the newest others that there is room for."""
        self._found.append(found)
        while sum(one.octets for one in self._found) > AHEAD_OCTETS:
            self._found.pop(0)


class Turn:
    """Leaves the loop to others after 2 ms of work, or 64 blocks: a virtual clock stands still while we work."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began, self._blocks = self._loop.time(), 0

    async def fair(self) -> None:
        """Call after each block."""
        self._blocks += 1
        if self._blocks >= TURN_BLOCKS or self._loop.time() - self._began >= TURN_S:
            await asyncio.sleep(0)
            self._began, self._blocks = self._loop.time(), 0


class Taken:
    """Collects what a read takes from several blocks, within its limits."""

    def __init__(self, max_items: int, max_octets: int) -> None:
        self._items_left, self._octets_left = max_items, max_octets
        self.positions: list[I64Array] = []
        self.batches: list[ItemBatch] = []
        self.damaged: list[Damage] = []
        self.full = False

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to tell yet."""
        return not self.batches and not self.damaged

    def take(self, block: Block, wanted: GroupFilter, position: int) -> int:
        """Take wanted items of one block; returns the position to go on with."""
        if not block.holds(wanted):
            return block.header.end_position
        positions, rows = block.select(wanted, position)
        count = self._fitting(rows)
        if count:
            octets = gather(block.octets, rows["offset"][:count], rows["length"][:count])
            self._add(positions[:count], own_rows(rows[:count]), octets)
        return block.header.end_position if count == len(rows) else int(positions[count])

    def take_found(self, found: Found, position: int) -> int:
        """Take items of what was found on the disk; returns the position to go on with."""
        if isinstance(found.items, Damage):
            self.damaged.append(found.items)
        if not isinstance(found.items, tuple):
            return found.end
        positions, batch = found.items
        begin = int(np.searchsorted(positions, position))
        rows = batch.items[begin:]
        count = self._fitting(rows)
        if count:
            first, last = rows[0], rows[count - 1]
            octets = batch.octets[int(first["offset"]) : int(last["offset"]) + int(last["length"])]
            self._add(positions[begin : begin + count], own_rows(rows[:count]), octets.copy())
        return found.end if count == len(rows) else int(positions[begin + count])

    def _fitting(self, rows: Records) -> int:
        """Return how many of the rows fit; at least one, if nothing was taken before."""
        if not len(rows):
            return 0
        sizes = np.cumsum(rows["length"].astype(np.int64))
        fit = int(np.searchsorted(sizes, self._octets_left, side="right"))
        count = min(len(rows), self._items_left, max(fit, 0 if self.batches else 1))
        if count:
            self._items_left -= count
            self._octets_left -= int(sizes[count - 1])
        self.full = count < len(rows) or self._items_left <= 0 or self._octets_left <= 0
        return count

    def _add(self, positions: I64Array, rows: Records, octets: U8Array) -> None:
        """Take rows of one's own, whose octets lie contiguous."""
        lengths = rows["length"].astype(np.int64)
        rows["offset"] = np.cumsum(lengths) - lengths
        self.positions.append(positions)
        self.batches.append(ItemBatch(octets, rows))

    def result(self, end_position: int) -> Slice:
        """Return everything taken."""
        positions = np.concatenate(self.positions) if self.positions else np.zeros(0, np.int64)
        return Slice(positions, concatenate(self.batches), end_position, tuple(self.damaged))
