"""Looks through ranges of the journal in pieces, in a worker, so that nobody waits long and it can be cancelled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

from gateway.journal import Damage, Journal
from gateway.journal.block import GroupFilter
from gateway.world import Worker
from gateway_codecs.batches import I64Array, ItemBatch
from gateway_routes.selection import Selection

PIECE_S = 0.02
EVERYTHING = Selection(kinds=None, idle=True, bad_quality=True)


async def walk_in_pieces(
    journal: Journal,
    worker: Worker,
    first: int,
    end: int,
    take: Callable[[I64Array, ItemBatch], None],
    wanted: GroupFilter = EVERYTHING,
) -> list[Damage]:
    """Give wanted items of [first, end), end <= head, to `take`, in the worker; return what is damaged. Raises OSError.

    Others get as much time as it takes itself. To be cancelled between two pieces. `take` gets whole commits.
    """
    walk, damaged, done = journal.walk(first, end, wanted), list[Damage](), False
    while not done:
        began = time.monotonic()
        done = await worker(lambda: _some(walk, take, damaged))
        await asyncio.sleep(0 if done else min(PIECE_S, time.monotonic() - began))
    return damaged


def _some(
    walk: Iterator[tuple[I64Array, ItemBatch] | Damage],
    take: Callable[[I64Array, ItemBatch], None],
    damaged: list[Damage],
) -> bool:
    """Take pieces for a while; returns whether there is nothing more."""
    until = time.monotonic() + PIECE_S
    while time.monotonic() < until:
        found = next(walk, None)
        if found is None:
            return True
        if isinstance(found, Damage):
            damaged.append(found)
        else:
            take(*found)
    return False
