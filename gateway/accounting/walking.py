"""Looks through ranges of the journal in pieces, in a worker, so that nobody waits long and it can be cancelled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import numpy as np

from gateway.journal import Damage, Journal
from gateway.journal.block import GroupFilter
from gateway.journal.bulk import joined
from gateway.journal.salvage import Salvaged
from gateway.world import Worker
from gateway_codecs.batches import BoolArray, I64Array, ItemBatch
from gateway_routes.selection import Selection

PIECE_S = 0.02
TOGETHER_ITEMS, TOGETHER_OCTETS = 16_384, 4 << 20
TakeUnread = Callable[[I64Array, ItemBatch, BoolArray], None]
EVERYTHING = Selection(kinds=None, idle=True, bad_quality=True)


async def walk_in_pieces(
    journal: Journal,
    worker: Worker,
    first: int,
    end: int,
    take: Callable[[I64Array, ItemBatch], None],
    wanted: GroupFilter = EVERYTHING,
    unread: TakeUnread | None = None,
) -> list[Damage]:
    """Give wanted items of [first, end), end <= head, to `take`, in the worker; return what is damaged. Raises OSError.

    Others get as much time as it takes itself. To be cancelled between two pieces. `take` gets whole commits. `unread`
    gets what is known still of commits that cannot be read whole, and which of their items cannot, bool (n,); returned
    is then what nothing is known of.
    """
    salvage = None if unread is None else journal.salvaged
    walk, done = _Walk(journal.walk(first, end, wanted), take, salvage, unread), False
    while not done:
        began = time.monotonic()
        done = await worker(walk.some)
        await asyncio.sleep(0 if done else min(PIECE_S, time.monotonic() - began))
    return walk.damaged


class _Walk:
    """What small commits hold is taken together."""

    def __init__(
        self,
        found: Iterator[tuple[I64Array, ItemBatch] | Damage],
        take: Callable[[I64Array, ItemBatch], None],
        salvage: Callable[[Damage], Salvaged | None] | None,
        unread: TakeUnread | None,
    ) -> None:
        self._found, self._take, self._salvage, self._unread = found, take, salvage, unread
        self.damaged: list[Damage] = []
        self._held: list[tuple[I64Array, ItemBatch]] = []
        self._items = self._octets = 0

    def some(self) -> bool:
        """Look through the journal for a while; returns whether there is nothing more."""
        until = time.monotonic() + PIECE_S
        while time.monotonic() < until:
            found = next(self._found, None)
            if isinstance(found, Damage):
                self._flush()
                self._damage(found)
            elif found is not None:
                self._held.append(found)
                self._items += len(found[0])
                self._octets += len(found[1].octets)
            if found is None or self._items >= TOGETHER_ITEMS or self._octets >= TOGETHER_OCTETS:
                self._flush()
            if found is None:
                return True
        return False

    def _damage(self, damage: Damage) -> None:
        salvaged = None if self._salvage is None else self._salvage(damage)
        if salvaged is None or self._unread is None:
            self.damaged.append(damage)
        else:
            self._unread(*salvaged)

    def _flush(self) -> None:
        held, self._held, self._items, self._octets = self._held, [], 0, 0
        if len(held) == 1:
            self._take(*held[0])
        elif held:
            self._take(np.concatenate([positions for positions, _ in held]), joined([batch for _, batch in held]))
