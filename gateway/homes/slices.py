"""Parts of what was read of the journal."""

from __future__ import annotations

import numpy as np

from gateway.journal import Slice
from gateway_codecs.batches import ItemBatch


def trimmed(found: Slice, end: int) -> Slice:
    """Return a slice cut at position `end`."""
    if found.end_position <= end:
        return found
    count = int(np.searchsorted(found.positions, end))
    items = found.batch.items[:count]
    octets = found.batch.octets[: int(items["length"].astype(np.int64).sum())]
    return Slice(found.positions[:count], ItemBatch(octets, items), end, found.damaged)
