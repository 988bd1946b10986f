"""The newest blocks in memory: what readers close behind the head are served from."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace

from gateway.journal.block import Block
from gateway_codecs.batches import no_frames


class RecentBlocks:
    """Blocks with items in position order, within a limit of real memory; the newest one always stays."""

    def __init__(self, limit_octets: int) -> None:
        self._limit_octets = limit_octets
        self.blocks: list[Block] = []
        self.octets = 0

    def add(self, block: Block) -> None:
        """Keep a block's items; the oldest blocks go when there is no room."""
        if not block.header.item_count:
            return
        kept = replace(block, frames=no_frames(), state={})  # readers ask for neither
        self.blocks.append(kept)
        self.octets += kept.memory_octets
        count, freed = 0, 0
        while self.octets - freed > self._limit_octets and count < len(self.blocks) - 1:
            freed += self.blocks[count].memory_octets
            count += 1
        self._drop(count)

    def find(self, position: int) -> Block | None:
        """Return the block that holds a position."""
        k = bisect_right(self.blocks, position, key=lambda b: b.header.first_position) - 1
        return self.blocks[k] if k >= 0 and self.blocks[k].header.end_position > position else None

    def drop_below(self, position: int) -> None:
        """Forget the blocks that end at `position` or before."""
        self._drop(bisect_right(self.blocks, position, key=lambda b: b.header.end_position))

    def clear(self) -> None:
        """Forget all."""
        self._drop(len(self.blocks))

    def _drop(self, count: int) -> None:
        self.octets -= sum(block.memory_octets for block in self.blocks[:count])
        del self.blocks[:count]
