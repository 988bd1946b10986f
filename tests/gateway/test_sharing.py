"""What sessions that ask alike share: the same blocks as each would have read and encoded for itself."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from gateway.homes import sharing
from gateway.homes.sharing import SharedReading
from gateway.journal import Journal, Slice
from gateway_codecs.delivery_block import MARK, DeliveryBlock, encode_data
from gateway_routes.delivery import Lane
from gateway_routes.selection import Selection
from tests.gateway.simulated import on_virtual_time
from tests.gateway.test_sessions import LIMITS, World

SELECTIONS = [Selection(), Selection(apids=frozenset({5})), Selection(apids=frozenset({6, 7})), Selection(apids=None)]


def counted(journal: Journal) -> Counter[int]:
    """Count the reads of a journal by position, from now on."""
    reads, read = Counter[int](), journal.read

    async def counting(position: int, *about: Any) -> Slice:
        reads[position] += 1
        return await read(position, *about)

    journal.read = counting  # type: ignore[method-assign]
    return reads


@pytest.mark.parametrize("seed", range(20))
@on_virtual_time
async def test_what_is_shared_is_what_the_journal_gives(seed: int) -> None:
    """R4: whoever asks, for what, at which head and within which limits: nothing is missing, old or another's."""
    rng = random.Random(seed)
    world = await World.open()
    reading = SharedReading(world.journal)
    for _ in range(120):
        if rng.random() < 0.2:
            await world.commit(rng.randrange(1, 4), apid=rng.randrange(5, 8))
        at, wanted = rng.randrange(world.journal.head + 1), rng.choice(SELECTIONS)
        limits = rng.choice([1, 3, 100]), rng.choice([1, 8, 1 << 16])
        portion = await reading.read(at, wanted, limits)
        own = await world.journal.read(at, wanted, *limits)
        end = rng.randrange(at, world.journal.head + 1)
        for shared, upto in ((portion, own.end_position), (portion.until(end), min(end, own.end_position))):
            count = int(np.searchsorted(own.positions, upto))
            assert shared.end_position == upto
            assert shared.found.positions.tolist() == own.positions[:count].tolist()
            for lane, first in ((Lane.LIVE, at), (Lane.BACKFILL, max(0, at - 1))):
                found = shared.found
                assert shared.block(lane, first) == encode_data(lane, first, upto, found.positions, found.batch)
    await world.journal.close()


@on_virtual_time
async def test_a_commit_is_read_once_for_all_who_follow_alike() -> None:
    """Performance: a hundred home bases with the same filter cost one reading of each position, not a hundred."""
    world = await World.open()
    peers = [world.peer() for _ in range(20)]
    for number, peer in enumerate(peers):
        await peer.hello(subscription=f"s{number}", home="ab"[number % 2])
    reads = counted(world.journal)
    for _ in range(5):
        head = world.journal.head
        await world.commit(3)
        heard = [await peer.take(head + 3) for peer in peers]
        assert all(one == heard[0] for one in heard)
        assert len(heard[0]) == 3
    assert max(reads.values()) <= 3, (
        "the positions of a commit are read once for each of its packets at most: each may be a commit"
    )
    for peer in peers:
        await peer.leave()


@on_virtual_time
async def test_what_is_kept_for_others_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """R5: what is kept to be shared has a bound, whatever is read."""
    monkeypatch.setattr(sharing, "KEPT_OCTETS", 20_000)
    world = await World.open()
    await world.commit(400)
    reading = SharedReading(world.journal)
    for at in range(400):
        await reading.read(at, SELECTIONS[at % 4], (50, 1 << 16))
        kept = sum(one.portion.kept_octets() for one in reading._kept.values())
        assert reading._octets == kept <= 20_000
    assert reading._kept


@on_virtual_time
async def test_who_follows_gets_a_mark_now_and_then_not_with_every_block() -> None:
    """Delivery: what was delivered is confirmed soon after, a few times a second at most."""
    world = await World.open()
    peer = world.peer()
    await peer.hello()
    marks = blocks = items = confirmed = 0

    async def hear() -> None:
        nonlocal marks, blocks, items, confirmed
        while True:
            block = await peer.hear()
            if isinstance(block, DeliveryBlock) and block.kind == MARK:
                marks, confirmed = marks + 1, confirmed + block.items
            elif isinstance(block, DeliveryBlock):
                blocks, items = blocks + 1, items + len(block.positions)
                peer.say({"type": "ack", "lane": block.lane, "upto": block.upto_position})

    hearing = asyncio.create_task(hear(), name="peer")
    for _ in range(100):
        await world.commit(1)
        await asyncio.sleep(0.01)
    assert (blocks, items) == (100, 100)
    assert 1 <= marks <= 1.2 / LIMITS.idle_mark_s
    await asyncio.sleep(2 * LIMITS.idle_mark_s)
    assert confirmed == 100, "soon after the last block"
    hearing.cancel()
    await peer.leave()
