"""The journal: positions, commits, crashes, damage, retention (DESIGN 4)."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import StartError
from gateway.journal import Journal, JournalSettings
from gateway.journal.block import (
    HEADER,
    HEADER_OCTETS,
    TRAILER,
    TRAILER_OCTETS,
    Block,
    BlockError,
    build_block,
    decode_block,
    read_header,
    read_trailer,
)
from gateway.real import LocalStorage, ThreadWorker
from gateway_codecs.batches import Gap, IntakeBatch, ItemBatch, Kind, Unit, no_frames, no_items
from gateway_routes.selection import Selection
from tests.conftest import SEEDS
from tests.gateway.simulated import SimClock, SimStorage, inline

ALL = Selection(kinds=None, idle=True, bad_quality=True)
SMALL = JournalSettings(
    segment_octets=1 << 16, reserve_octets=0, memory_octets=1 << 16, snapshot_every=8, retry_s=0.001
)


def packets(values: list[bytes], apid: int = 5, vcid: int = 0) -> ItemBatch:
    items = no_items(len(values))
    items["kind"], items["unit"], items["apid"], items["vcid"] = Kind.TM, Unit.PACKET, apid, vcid
    lengths = np.array([len(v) for v in values], np.int64)
    items["length"], items["offset"] = lengths, np.cumsum(lengths) - lengths
    return ItemBatch(np.frombuffer(b"".join(values), np.uint8), items)


@asynccontextmanager
async def opened(storage: SimStorage, wanted: JournalSettings = SMALL) -> AsyncIterator[Journal]:
    journal = await Journal.open(storage, SimClock(), inline, inline, wanted, "m")
    yield journal
    await journal.close()


async def read_all(journal: Journal, selection: Selection = ALL, max_items: int = 7) -> list[tuple[int, bytes]]:
    at, found = journal.tail, []
    while at < journal.head:
        part = await journal.read(at, selection, max_items, 1 << 16)
        found += [(int(p), part.batch.octets_of(k)) for k, p in enumerate(part.positions)]
        assert part.end_position > at
        at = part.end_position
    return found


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_crashes_lose_nothing_acknowledged(seed: int) -> None:
    """R2, R4: after any crash every acknowledged item is there once, in order, with the state of its commit."""
    rng = random.Random(seed)
    storage, acknowledged, written = SimStorage(rng), {}, set()
    settings_here = replace(SMALL, segment_octets=3000) if seed % 2 else SMALL
    lost = asyncio.Event()
    storage.on_loss = lost.set
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # tasks that die with the power
    for life in range(4):
        journal = await Journal.open(storage, SimClock(), inline, inline, settings_here, "m")
        if rng.random() < 0.5:
            storage.fuse = rng.randrange(1, 40)
        have = dict(await read_all(journal))
        hidden = {p for d in journal.damaged for p in range(d.first, d.end)}
        assert {p: have.get(p) for p in acknowledged} == acknowledged, f"seed {seed}"
        assert sorted(have.keys() | hidden) == list(range(journal.head)), f"seed {seed}: positions are gapless"
        told = {value for value in have.values() if value.startswith(b'{"time"')}
        assert set(have.values()) - told <= written, f"seed {seed}: nothing is invented"
        last = max(acknowledged, default=-1)
        if last >= 0:
            assert journal.state["links"]["x"]["n"] >= int(acknowledged[last].split()[1])
        number = journal.state.get("links", {}).get("x", {}).get("n", 0)
        for _ in range(rng.randrange(1, 12)):
            values = [
                b"%d %d %d %s" % (life, number + 1, k, rng.randbytes(rng.randrange(300)).hex().encode())
                for k in range(rng.randrange(1, 6))
            ]
            number += 1
            written.update(values)
            task = asyncio.create_task(journal.append(IntakeBatch(packets(values), state={"n": number}), "x"))
            if rng.random() < 0.15:
                storage.fail_writes = rng.randrange(1, 3)
            if rng.random() < 0.1:
                storage.fail_syncs = rng.randrange(1, 3)
            if rng.random() < 0.1:
                await asyncio.sleep(0)
                break
            losing = asyncio.create_task(lost.wait())
            await asyncio.wait([task, losing], return_when=asyncio.FIRST_COMPLETED)
            losing.cancel()
            if lost.is_set():
                break
            commit = await task
            acknowledged |= {commit.first_position + k: value for k, value in enumerate(values)}
        task.cancel()
        if journal._task is not None:
            journal._task.cancel()
            await asyncio.gather(task, journal._task, return_exceptions=True)
        storage.fail_writes = storage.fail_syncs = 0
        storage.crash()
        lost.clear()


ROLLING = replace(SMALL, segment_octets=4000)


async def test_power_lost_between_a_roll_and_the_first_block() -> None:
    """R4: the empty segment that a crash left behind is the one that goes on; nothing is hidden (found by seed 22)."""
    storage = SimStorage(random.Random(1))
    async with opened(storage, ROLLING) as journal:
        for k in range(20):
            await journal.append(IntakeBatch(packets([bytes([k]) * 1000])))
        newest = [name for name in storage.names("m/journal") if name.endswith(".seg")][-1]
    storage.open_append(f"m/journal/{int(newest[:8]) + 1:08}.seg")
    async with opened(storage, ROLLING) as journal:
        await journal.append(IntakeBatch(packets([b"more"])))
        assert len(await read_all(journal)) == journal.head == 21
    async with opened(storage, ROLLING) as journal:
        assert len(await read_all(journal)) == 21
        assert not journal.damaged


@pytest.mark.parametrize("zeros", ["to the end", "in the middle"])
async def test_a_newest_block_that_was_never_whole_gives_no_state(zeros: str) -> None:
    """R2: zeros where the newest block's octets never reached the disk: its state is not taken, a source gives them
    again. A block without its trailer was never written whole and is cut; with it, its positions stay given."""
    storage = SimStorage(random.Random(1))
    async with opened(storage) as journal:
        await journal.append(IntakeBatch(packets([b"a" * 500]), state={"source_offset": 500}), "x")
        safe = len(storage.volatile["m/journal/00000001.seg"])
        await journal.append(IntakeBatch(packets([b"b" * 500]), state={"source_offset": 1000}), "x")
    segment = storage.volatile["m/journal/00000001.seg"]
    whole, torn = len(segment), len(segment) - 300
    end = whole if zeros == "to the end" else whole - TRAILER_OCTETS
    segment[torn:end] = bytes(end - torn)
    async with opened(storage) as journal:
        assert journal.recovery.state["links"]["x"]["source_offset"] == 500
        assert journal.recovery.head == (1 if zeros == "to the end" else 2)
        assert [(d.first, d.end) for d in journal.damaged] == ([] if zeros == "to the end" else [(1, 2)])
        assert journal.recovery.cut_octets == (whole - safe if zeros == "to the end" else 0)


async def test_a_roll_that_fails_is_tried_again() -> None:
    """R12: no file descriptor for the next segment: the journal is blocked, says so, and goes on when there is one."""
    storage = SimStorage(random.Random(1))
    async with opened(storage, ROLLING) as journal:
        for k in range(4):
            await journal.append(IntakeBatch(packets([bytes([k]) * 1000])))
        storage.fail_opens = 3
        task = asyncio.create_task(journal.append(IntakeBatch(packets([b"x" * 1000] * 3))))
        later = asyncio.create_task(journal.append(IntakeBatch(packets([b"y" * 1000] * 3))))
        await asyncio.sleep(0)
        await asyncio.gather(task, later)
        assert journal.blocked is None
        assert len([value for _, value in await read_all(journal) if len(value) == 1000]) == 10
        names = [name for name in storage.names("m/journal") if name.endswith(".seg")]
        assert names == [f"{n + 1:08}.seg" for n in range(len(names))]


async def test_the_identity_is_durable_before_the_first_commit() -> None:
    """A home base that was welcomed before the first commit finds the same journal after a crash."""
    storage = SimStorage(random.Random(1))
    first = await Journal.open(storage, SimClock(), inline, inline, SMALL, "m")
    storage.crash()
    again = await Journal.open(storage, SimClock(), inline, inline, SMALL, "m")
    assert again.journal_id == first.journal_id


async def test_group_commit_keeps_the_order() -> None:
    """Appends that wait together become one block, in order."""
    async with opened(SimStorage(random.Random(1))) as journal:
        commits = await asyncio.gather(*[journal.append(IntakeBatch(packets([b"%d" % k]))) for k in range(50)])
        assert [c.first_position for c in commits] == list(range(50))
        assert journal.commits < 50
        assert [value for _, value in await read_all(journal)] == [b"%d" % k for k in range(50)]


async def test_memory_and_disk_say_the_same() -> None:
    """A reader far behind gets from disk what one close behind gets from memory."""
    storage = SimStorage(random.Random(2))
    async with opened(storage, replace(SMALL, memory_octets=2000)) as journal:
        for k in range(60):
            await journal.append(IntakeBatch(packets([b"%d" % k * 20, b"x" * k], apid=k % 3)))
        everything = await read_all(journal)
        assert len(everything) == 120
    async with opened(storage) as journal:
        assert [e for e in await read_all(journal) if e[0] < 120] == everything


async def test_a_slice_of_one_apid() -> None:
    """A selection gives its items only, in position order, and says how far it looked."""
    async with opened(SimStorage(random.Random(3))) as journal:
        for k in range(30):
            await journal.append(IntakeBatch(packets([b"%d" % k], apid=k % 5, vcid=k % 2)))
        found = await journal.read(0, Selection(apids=frozenset({3}), vcids=frozenset({1})), 100, 1 << 20)
        assert found.positions.tolist() == [3, 13, 23]
        assert found.end_position == journal.head


async def test_gaps_become_events() -> None:
    """A gap is journalled as an event in the same commit, and the same subscriptions deliver it."""
    async with opened(SimStorage(random.Random(4))) as journal:
        gap = Gap("frames", 1, 3, -1, 7, 9, 1, "space link")
        await journal.append(IntakeBatch(packets([b"a"]), gaps=(gap,)), "station")
        found = await journal.read(0, Selection(kinds=frozenset({Kind.EVENT})), 10, 1 << 20)
        assert b'"missing":1' in found.batch.octets_of(0)
        assert found.batch.items["vcid"][0] == 3


@pytest.mark.parametrize("seed", range(60))
async def test_damage_hides_one_block_only(seed: int) -> None:
    """R14: one wrong octet anywhere hides at most one block; its exact range is told, all else is served."""
    rng = random.Random(seed)
    storage = SimStorage(rng)
    async with opened(storage) as journal:
        for k in range(25):
            await journal.append(IntakeBatch(packets([b"%d-%d" % (k, n) for n in range(3)])))
        before = await read_all(journal)
    segment = "m/journal/00000001.seg"
    at = rng.randrange(len(storage.volatile[segment]))
    storage.volatile[segment][at] ^= 1 << rng.randrange(8)
    if seed % 2:
        storage.remove("m/journal/marks.jsonl")
    async with opened(storage) as journal:
        assert journal.recovery.head == len(before), "a position that was given out is never given again"
        after = [item for item in await read_all(journal) if item[0] < len(before)]
        hidden = {p for d in journal.damaged for p in range(d.first, d.end)}
        assert after == [item for item in before if item[0] not in hidden]
        assert len(hidden) in {0, 3}


@pytest.mark.parametrize("seed", range(40))
async def test_a_damaged_snapshot_does_not_lose_the_state(seed: int) -> None:
    """Recovery begins at the newest snapshot that is good: with an older one it reads more, and ends with the same."""
    storage, rng = SimStorage(random.Random(seed)), random.Random(seed)
    count = rng.randrange(10, 60)
    async with opened(storage) as journal:
        for k in range(count):
            await journal.append(IntakeBatch(packets([b"%d" % k]), state={"n": k, "b": {str(k % 7): k}}), "x")
        state = journal.state
    data = storage.volatile["m/journal/00000001.seg"]
    places = [n for n in range(len(data)) if data[n:].startswith(b"UGWJBLK1")]
    newest = places[(count - 1) // 8 * 8]
    data[newest + rng.randrange(8, 150)] ^= 0x40
    if rng.random() < 0.3:
        line = storage.volatile["m/journal/marks.jsonl"]
        line[rng.randrange(len(line))] ^= 1
    async with opened(storage) as journal:
        recovered = journal.recovery.state["links"]["x"]
        lost = {"n", "b"} if newest == places[-1] else set()
        assert journal.recovery.head == count
        assert lost or recovered["n"] == state["links"]["x"]["n"]
        older = {key: value for key, value in recovered["b"].items() if value == state["links"]["x"]["b"][key]}
        assert len(older) >= min(7, count) - 1, "only what the damaged block alone held can be older"


class CountingStorage(SimStorage):
    """Counts the octets that are read."""

    octets_read = 0

    def read(self, name: str, offset: int, length: int) -> bytes:
        data = super().read(name, offset, length)
        self.octets_read += len(data)
        return data


async def test_a_reader_of_one_apid_reads_its_slice() -> None:
    """DESIGN 4: a reader of one APID in a hundred reads its slice; damage in another APID's octets hides nothing."""
    storage = CountingStorage(random.Random(8))
    batch = packets([bytes([k % 100]) * 500 for k in range(2000)])
    batch.items["apid"] = np.arange(2000) % 100
    async with opened(storage, replace(SMALL, segment_octets=1 << 24)) as journal:
        await journal.append(IntakeBatch(batch))
    segment = storage.volatile["m/journal/00000001.seg"]
    segment[segment.index(bytes([63]) * 500) + 7] ^= 1
    async with opened(storage) as journal:
        journal._recent.clear()
        storage.octets_read = 0
        found = await journal.read(0, Selection(apids=frozenset({5})), 10_000, 1 << 24)
        assert [found.batch.octets_of(k) for k in range(len(found.positions))] == [bytes([5]) * 500] * 20
        assert found.positions.tolist() == list(range(5, 2000, 100))
        assert storage.octets_read < len(segment) / 8
        damaged = await journal.read(0, Selection(apids=frozenset({63})), 10_000, 1 << 24)
        assert (len(damaged.positions), [(d.first, d.end) for d in damaged.damaged]) == (0, [(0, 2000)])


async def test_a_torn_last_block_is_cut_and_said() -> None:
    """An incomplete last block was never acknowledged: it is cut, and an event says so."""
    storage = SimStorage(random.Random(5))
    async with opened(storage) as journal:
        await journal.append(IntakeBatch(packets([b"safe"])))
        whole = bytes(storage.volatile["m/journal/00000001.seg"])
        await journal.append(IntakeBatch(packets([b"torn"])))
    storage.volatile["m/journal/00000001.seg"][:] = storage.volatile["m/journal/00000001.seg"][: len(whole) + 50]
    async with opened(storage) as journal:
        assert journal.recovery.cut_octets == 50
        values = [value for _, value in await read_all(journal)]
        assert values[0] == b"safe"
        assert b"cut: 50 octets" in values[1]


async def test_a_full_disk_blocks_and_recovers() -> None:
    """R12: below the reserve nothing is acknowledged; when space returns everything is committed, in order."""
    storage = SimStorage(random.Random(6))
    async with opened(storage, replace(SMALL, reserve_octets=1000)) as journal:
        storage.free = 10
        tasks = [asyncio.create_task(journal.append(IntakeBatch(packets([b"%d" % k])))) for k in range(3)]
        await asyncio.sleep(0.02)
        assert journal.blocked is not None
        assert not any(task.done() for task in tasks)
        storage.free = 1 << 40
        assert [(await task).first_position for task in tasks] == [0, 1, 2]
        assert journal.blocked is None


async def test_retention_keeps_the_newest_segment() -> None:
    """Retention removes whole oldest segments, never the newest, and a read below the tail is told the exact range."""
    storage = SimStorage(random.Random(7))
    async with opened(storage, replace(SMALL, keep_octets=70_000)) as journal:
        for k in range(100):
            await journal.append(IntakeBatch(packets([bytes([k]) * 3000])))
        assert len(storage.names("m/journal")) > 3
        assert await journal.retain() > 0
        assert journal.tail > 0
        expired = await journal.read(0, ALL, 10, 1 << 20)
        assert expired.expired == (0, journal.tail)
        found = await read_all(journal)
        assert found[0][0] == journal.tail
    async with opened(storage) as journal:
        assert journal.tail == found[0][0]


def test_one_writer(tmp_path: Path) -> None:
    """A second gateway on the same directory is refused, with the holder's process id."""
    first = LocalStorage(tmp_path, lock=True)
    with pytest.raises(StartError, match="in use by another gateway"):
        LocalStorage(tmp_path, lock=True)
    first.close()
    LocalStorage(tmp_path, lock=True).close()


async def test_on_a_real_disk(tmp_path: Path) -> None:
    """The real storage and thread do what the simulated ones promise; a long journal opens without reading it all."""
    storage, worker = LocalStorage(tmp_path), ThreadWorker("w")
    settings_here = replace(SMALL, segment_octets=1 << 20, snapshot_every=16)
    journal = await Journal.open(storage, SimClock(), worker, worker, settings_here, "m")
    for k in range(100):
        await journal.append(IntakeBatch(packets([b"%d" % k]), state={"n": k}), "x")
    await journal.close()
    again = await Journal.open(storage, SimClock(), worker, worker, settings_here, "m")
    assert (again.head, again.state["links"]["x"]["n"]) == (100, 99)
    assert again.recovery.blocks_read <= 16
    assert [v for _, v in await read_all(again)] == [b"%d" % k for k in range(100)]
    await again.close()
    worker.close()


rows = st.lists(
    st.tuples(st.binary(max_size=40), st.integers(-1, 5), st.integers(-1, 3), st.sampled_from([1, 5])), max_size=12
)


@given(rows, st.integers(0, 1 << 40))
@settings(max_examples=60)
def test_blocks_round_trip(values: list[tuple[bytes, int, int, int]], first: int) -> None:
    """decode(build(batch)) gives the batch back, and the header is the declared one."""
    batch = packets([v for v, *_ in values])
    for k, (_, apid, vcid, kind) in enumerate(values):
        batch.items["apid"][k], batch.items["vcid"][k], batch.items["kind"][k] = apid, vcid, kind
    block, data = build_block(
        batch, no_frames(2), {"a": {"b": None}}, first_position=first, sequence=3, commit_time_ns=4,
        journal_id=b"j" * 16, revision=1, snapshot=True,
    )  # fmt: skip
    assert len(data) % 8 == 0
    declared = HEADER.parse(data)
    assert (declared.first_position, declared.item_count, declared.block_octets) == (first, len(values), len(data))
    assert HEADER.build(declared) == data[:HEADER_OCTETS]
    trailer = TRAILER.parse(data[-TRAILER_OCTETS:])
    assert (trailer.end_position, trailer.block_octets) == (first + len(values), len(data))
    assert read_trailer(data) is not None
    again = decode_block(data)
    positions, items = again.select(ALL, 0)
    assert positions.tolist() == list(range(first, first + len(values)))
    octets = [again.octets[i["offset"] : i["offset"] + i["length"]].tobytes() for i in items]
    assert octets == [v for v, *_ in values]
    assert items["apid"].tolist() == [a for _, a, _, _ in values]
    assert again.state == {"a": {"b": None}}
    assert (again.frames == block.frames).all()


@given(rows, st.integers(0, 1 << 40), st.integers(0, 14))
@settings(max_examples=60)
def test_a_block_of_few_rows_is_as_one_of_many(
    values: list[tuple[bytes, int, int, int]], first: int, later: int
) -> None:
    """Fast == general: the same octets however many rows are few, and of one group the items that `_rows` finds."""
    batch = packets([v for v, *_ in values])
    for k, (_, apid, vcid, kind) in enumerate(values):
        batch.items["apid"][k], batch.items["vcid"][k], batch.items["kind"][k] = apid, vcid % 2, kind

    def build() -> tuple[Block, bytes]:
        return build_block(
            batch, no_frames(3), {}, first_position=first, sequence=3, commit_time_ns=4, journal_id=b"j" * 16,
            revision=1, snapshot=False,
        )  # fmt: skip

    block, data = build()
    with patch("gateway.journal.block.FEW_ROWS", 0):
        assert build()[1] == data
    for wanted in (ALL, Selection(kinds=None, apids=frozenset({1, 2}), idle=True)):
        positions, items = block.select(wanted, first + later)
        mine = [k for k, (_, apid, _, _) in enumerate(values) if k >= later and (wanted is ALL or apid in {1, 2})]
        assert positions.tolist() == [first + k for k in mine]
        assert items["apid"].tolist() == [values[k][1] for k in mine]


BLOCK_OF_0_1 = (
    "RYzA!LQG3BNC5x<0RR910{{R3000XB2><{9000001poj500000=mP)%000000RR910{{R3BLM&aYHDg~YHDg~YHDg~YHDg~5`ZNZ"
    "ny6v#0RR>N000F51poj51^^2H002V(0{{R3L;wQ-002b*0{{R3NCXrB002q=3;+NCO92Z2002z_4gdfE1OO!f0003300031|NsC0"
    "0RR910{{R3w?9iZ00RI3000310RaF40R}1n0RaL40RR922nPTF0000000000009610BI2c0000000jU50RR910Av6F00000003mj"
    "0000000000007?rz5#n8Y-w(5b0Ru>B4Hvrdm?jhb#h~6UvFk+b7gcQIyN>reSLjlVq*XRRYzA!MNUL92><{9000001^@s600000"
    "NC5x<lLm<%"
)  # fmt: skip
"""A block as version 0.1 wrote it, before frames had corrected symbols; base 85."""


def test_a_block_of_an_earlier_version() -> None:
    """R7: a journal written before a column was added is read; the column holds its 'none' value."""
    block = decode_block(base64.b85decode(BLOCK_OF_0_1))
    assert block.octets.tobytes() == b"abc"
    assert block.frames["vc_count"].tolist() == [7, 8, 70000]
    assert block.frames["quality"].tolist() == [0, 1, 0]
    assert block.frames["ocf"].tolist() == [0, 0x01000005, 0]
    assert block.frames["source_offset"].tolist() == [0, 223, 446]
    assert block.frames["corrected_symbols"].tolist() == [-1, -1, -1]
    assert block.state == {"links": {"a": {"source_offset": 669}}}


@given(st.binary(max_size=300), st.integers(0, 200), st.integers(0, 255))
def test_rubbish_blocks_are_refused(data: bytes, at: int, value: int) -> None:
    """Octets that are no block, and a block with any octet changed, raise BlockError and nothing else."""
    good = bytearray(build_block(packets([b"abc"]), no_frames(), {}, first_position=0, sequence=0, commit_time_ns=0,
                                 journal_id=b"j" * 16, revision=1, snapshot=False)[1])  # fmt: skip
    with pytest.raises(BlockError):
        decode_block(data)
    changed = bytes(good[: at % len(good)]) + bytes([value]) + bytes(good[at % len(good) + 1 :])
    if changed != bytes(good):
        with pytest.raises(BlockError):
            decode_block(changed)
    read_header(bytes(good))
