"""Reading long ranges of a journal: many small blocks at a time give what they give one by one, damage included."""

from __future__ import annotations

import random

import numpy as np
import pytest

from gateway.journal import Damage, Journal
from gateway.journal.bulk import SMALL_BLOCK_OCTETS
from gateway_codecs.batches import IntakeBatch, ItemBatch, Kind, Quality, Unit, no_items
from gateway_routes.selection import Selection
from tests.gateway.simulated import SimStorage
from tests.gateway.test_journal import ALL, opened

SELECTIONS = [ALL, Selection(), Selection(apids=frozenset({3, 5})), Selection(apids=frozenset({99}))]


def some(rng: random.Random) -> ItemBatch:
    """Items of a few streams, one mostly, of a block that may be large."""
    count = rng.choice([1, 1, 1, 1, 2, 5, 40])
    items = no_items(count)
    items["kind"], items["unit"] = Kind.TM, Unit.PACKET
    for row in items:
        row["apid"], row["vcid"], row["spacecraft"] = rng.randrange(6), rng.randrange(2), rng.randrange(1, 3)
        row["generation_time_ns"], row["receive_time_ns"] = rng.randrange(1 << 60), rng.randrange(1 << 60)
        row["sequence_count"], row["quality"] = rng.randrange(16384), rng.choice([Quality.GOOD] * 5 + [Quality.FECF])
    big = SMALL_BLOCK_OCTETS if rng.random() < 0.05 else 60
    items["length"] = [rng.randrange(big) for _ in range(count)]
    items["offset"] = np.cumsum(items["length"].astype(np.int64)) - items["length"]
    return ItemBatch(np.frombuffer(rng.randbytes(int(items["length"].sum())), np.uint8), items)


async def filled(storage: SimStorage, journal: Journal, rng: random.Random, blocks: int = 60) -> None:
    for k in range(blocks):
        await journal.append(IntakeBatch(some(rng), state={"offset": k * 7919 ** rng.randrange(4)}), "link")
        if rng.random() < 0.1:
            await journal.append_events([{"type": "x", "severity": "info", "message": str(k)}])


async def one_by_one(journal: Journal, wanted: Selection, first: int, end: int) -> list[tuple[int, bytes, bytes]]:
    """What a reader of single blocks gives, damage left out."""
    found, at = list[tuple[int, bytes, bytes]](), first
    while at < end:
        block, following, _ = journal._segments.at(at, journal.head, wanted)
        if block is not None and block.holds(wanted):
            positions, items = block.select(wanted, at)
            batch = ItemBatch(block.octets, items)
            found += [(int(p), batch.octets_of(k), _row(items[k])) for k, p in enumerate(positions.tolist()) if p < end]
        at = max(following, at + 1)
    return found


def _row(item: np.void) -> bytes:
    copy = item.copy()
    copy["offset"] = 0
    return bytes(copy.tobytes())


def walked(
    journal: Journal, wanted: Selection, first: int, end: int
) -> tuple[list[tuple[int, bytes, bytes]], list[tuple[int, int]]]:
    found, damaged = list[tuple[int, bytes, bytes]](), list[tuple[int, int]]()
    for part in journal.walk(first, end, wanted):
        if isinstance(part, Damage):
            damaged.append((part.first, part.end))
            continue
        positions, batch = part
        assert len(positions) == len(batch.items)
        found += [(int(p), batch.octets_of(k), _row(batch.items[k])) for k, p in enumerate(positions.tolist())]
    return found, damaged


@pytest.mark.parametrize("seed", range(12))
async def test_many_at_a_time_are_as_one_by_one(seed: int) -> None:
    """Position by position, column by column, octet by octet, for every selection and range."""
    rng = random.Random(seed)
    storage = SimStorage(rng)
    async with opened(storage) as journal:
        await filled(storage, journal, rng)
        for wanted in SELECTIONS:
            for _ in range(3):
                first, end = sorted((rng.randrange(journal.head), rng.randrange(journal.head + 1)))
                expected = await one_by_one(journal, wanted, first, end)
                assert walked(journal, wanted, first, end) == (expected, [])
                assert walked(journal, wanted, first, end) == (expected, []), "again, from where it was found"


@pytest.mark.parametrize("seed", range(12))
async def test_damage_among_small_blocks(seed: int) -> None:
    """R14: what is damaged is told, everything else is there, nothing of a damaged group is given."""
    rng = random.Random(seed)
    storage = SimStorage(rng)
    async with opened(storage) as journal:
        await filled(storage, journal, rng)
        whole, _ = walked(journal, ALL, 0, journal.head)
        for _ in range(3):
            name = rng.choice([n for n in storage.volatile if n.endswith(".seg")])
            data = storage.volatile[name]
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        expected = await one_by_one(journal, ALL, 0, journal.head)
        found, damaged = walked(journal, ALL, 0, journal.head)
        gone = {p for first, end in damaged for p in range(first, end)}
        assert {p for p, *_ in found} >= {p for p, *_ in expected}
        assert [row for row in whole if row[0] not in gone] == found


async def test_nothing_is_left_out_behind_commits_without_items() -> None:
    """R14: small commits that hold no items, before a large one or the end of a segment, take no position with them."""
    storage = SimStorage(random.Random(1))
    nothing = ItemBatch(np.zeros(0, np.uint8), no_items())
    async with opened(storage) as journal:
        for k in range(3):
            for octets in (10, 2 * SMALL_BLOCK_OCTETS):
                items = no_items(2)
                items["kind"], items["unit"], items["length"], items["offset"] = Kind.TM, Unit.PACKET, octets, 0
                await journal.append(IntakeBatch(ItemBatch(np.zeros(octets, np.uint8), items)))
                await journal.append(IntakeBatch(nothing, state={"offset": k}), "link")
        for first in range(journal.head):
            found, damaged = walked(journal, ALL, first, journal.head)
            assert ([position for position, _, _ in found], damaged) == ([*range(first, journal.head)], [])
