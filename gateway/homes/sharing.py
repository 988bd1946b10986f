"""What sessions that ask alike are given alike: read of the journal and encoded once, not once for each of them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gateway.homes.slices import trimmed
from gateway.journal import Journal, Slice
from gateway_codecs.batches import ABSENT
from gateway_codecs.delivery_block import ROW_DTYPE, encode_data
from gateway_routes.delivery import Lane
from gateway_routes.selection import Selection

KEPT_OCTETS = 8 << 20
_Key = tuple[int, Selection]


class Portion:
    """Items in position order, as they were read, and the block that carries them, which is encoded once."""

    def __init__(self, found: Slice) -> None:
        self.found = found
        self.items = len(found.positions)
        self._block: tuple[Lane, int, bytes] | None = None

    @property
    def end_position(self) -> int:
        """The portion is all that is wanted below it, from where it was read."""
        return self.found.end_position

    def until(self, end: int) -> Portion:
        """Return the portion below a position."""
        return self if self.end_position <= end else Portion(trimmed(self.found, end))

    def block(self, lane: Lane, first: int) -> bytes:
        """Return the block that carries it in a lane, which is complete from `first` on."""
        if self._block is None or self._block[:2] != (lane, first):
            found = self.found
            data = encode_data(lane, first, found.end_position, found.positions, found.batch)
            self._block = lane, first, data
        return self._block[2]

    @cached_property
    def oldest_ns(self) -> int:
        """The earliest time of reception; ABSENT of no items."""
        return int(np.min(self.found.batch.items["receive_time_ns"])) if self.items else ABSENT

    def kept_octets(self) -> int:
        """What it takes to keep it, with its block."""
        batch = self.found.batch
        return 2 * len(batch.octets) + batch.items.nbytes + self.items * ROW_DTYPE.itemsize + 1024


@dataclass(frozen=True, slots=True)
class _Kept:
    portion: Portion
    limits: tuple[int, int]
    cut: bool  # by the limits: there was more

    def serves(self, limits: tuple[int, int], head: int) -> bool:
        """Whether the journal would give the same now."""
        if self.cut:
            return self.limits == limits
        portion, (items, octets) = self.portion, limits
        return portion.end_position == head and portion.items <= items and len(portion.found.batch.octets) <= octets


class SharedReading:
    """Reads one journal for its sessions, and keeps what was read last, within KEPT_OCTETS: others ask for it next."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._octets = 0

    async def read(self, position: int, wanted: Selection, limits: tuple[int, int]) -> Portion:
        """Return wanted items from a position on, as `Journal.read` does; `limits` are items and octets."""
        key = position, wanted
        kept = self._kept.get(key)
        if kept is not None and kept.serves(limits, self._journal.head):
            return kept.portion
        found = await self._journal.read(position, wanted, *limits)
        portion = Portion(found)
        if found.expired is None and not found.damaged:  # those are told as they are at the moment
            self._keep(key, _Kept(portion, limits, found.end_position < self._journal.head))
        return portion

    def _keep(self, key: _Key, kept: _Kept) -> None:
        before = self._kept.pop(key, None)
        self._octets += kept.portion.kept_octets() - (before.portion.kept_octets() if before else 0)
        self._kept[key] = kept
        while self._octets > KEPT_OCTETS:
            _, oldest = self._kept.popitem(last=False)
            self._octets -= oldest.portion.kept_octets()
