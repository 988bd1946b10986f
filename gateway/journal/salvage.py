"""What is known of a block that cannot be read whole: its head says what it held, each group is read by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gateway.journal.block import GROUP_KEYS
from gateway.journal.bulk import own
from gateway.journal.segments import Damage, Segments
from gateway_codecs.batches import BoolArray, I64Array, ItemBatch, Records

Salvaged = tuple[I64Array, ItemBatch, BoolArray]


@dataclass(frozen=True, slots=True)
class OneGroup:
    """A filter of one group (kind, unit, spacecraft, VC, APID); of none: the head alone is read."""

    keys: tuple[int, ...] = ()

    def wants_group(self, kind: int, unit: int, spacecraft: int, vcid: int, apid: int) -> bool:
        """Whether it is this group."""
        return (kind, unit, spacecraft, vcid, apid) == self.keys

    def mask(self, items: Records) -> BoolArray:
        """All of its items, bool (n,)."""
        return np.ones(len(items), np.bool_)


def salvaged(segments: Segments, damage: Damage) -> Salvaged | None:
    """Return what is known of the items of a damaged range of one block: positions int64 (n,), the items, and which of
    them cannot be read, bool (n,): their rows are right, but they have no octets.

    None when the head is damaged too, or retention has taken it. Blocking. Raises OSError.
    """
    try:
        block, _, _ = segments.at(damage.first, damage.end, OneGroup())
        if block is None or not len(block.directory):
            return None
        parts = []
        for group in block.directory:
            wanted = OneGroup(tuple(int(group[key]) for key in GROUP_KEYS))
            read, _, _ = segments.at(damage.first, damage.end, wanted)
            parts.append((*(read or block).select(wanted, damage.first), read))
    except FileNotFoundError:
        return None
    positions = np.concatenate([at for at, _, _ in parts])
    batches = [
        ItemBatch(np.zeros(0, np.uint8), rows.copy()) if read is None else own(read.octets, rows)
        for _, rows, read in parts
    ]
    begun = 0
    for batch, (_, _, read) in zip(batches, parts, strict=True):
        batch.items["offset"] = 0 if read is None else batch.items["offset"] + begun
        begun += len(batch.octets)
    unread = np.concatenate([np.full(len(at), read is None, np.bool_) for at, _, read in parts])
    order = np.argsort(positions, kind="stable")
    items = np.concatenate([batch.items for batch in batches])[order]
    keep = positions[order] < damage.end
    octets = np.concatenate([batch.octets for batch in batches])
    return positions[order][keep], ItemBatch(octets, items[keep]), unread[order][keep]
