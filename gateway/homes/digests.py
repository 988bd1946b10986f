"""The home base's side of a confirmation: the digest of a range, computed from what is stored (docs/wire-format.md)."""

from __future__ import annotations

import hashlib
from typing import Any

from gateway.homes.store import HomeStore
from gateway.homes.store_reader import StoreReader
from gateway.world import Storage, Worker
from gateway_codecs.batches import gather
from gateway_routes.delivery import Cursor


class IncompleteStore(ConnectionError):
    """The store does not hold all of a range: the gateway asks again later."""


class StoreDigester:
    """Computes digests of ranges of a store that is being filled, in pieces, in a worker of its own."""

    def __init__(self, storage: Storage, store: HomeStore, worker: Worker) -> None:
        self._storage, self._store, self._worker = storage, store, worker

    async def __call__(self, first: int, end: int) -> tuple[int, str]:
        """Return how many items of positions [first, end) are stored, and the SHA-256 over their octets in position
        order. Raises IncompleteStore, DamagedStore, OSError."""
        reader = StoreReader(self._storage, self._store, Cursor(first))
        digest, items, at = hashlib.sha256(), 0, first
        while at < end:
            found = await self._worker(lambda: _next(reader, end, digest))
            if found is None:
                raise IncompleteStore(f"the store ends at position {at}, below {end}")
            if any(a < found[1] and at < b for a, b in self._store.removed):
                raise IncompleteStore(
                    f"some of positions {at} to {found[1]} were removed here: they are kept no longer"
                )
            items, at = items + found[0], found[1]
        return items, digest.hexdigest()


def _next(reader: StoreReader, end: int, digest: Any) -> tuple[int, int] | None:
    """Add the next portion; return how many items it had below `end`, and where it ends; None when there is none."""
    portion = reader.next()
    if portion is None:
        return None
    count = int((portion.positions < end).sum())
    rows = portion.batch.items[:count]
    digest.update(gather(portion.batch.octets, rows["offset"], rows["length"]).tobytes())
    reader.finish(portion)
    return count, portion.end
