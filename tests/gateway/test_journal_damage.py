"""The journal on a disk that is damaged: what cannot be read is told as a range, everything else is served (R14)."""

from __future__ import annotations

import random

import pytest

from gateway.journal.block import HEADER_OCTETS, MAGIC, build_block
from gateway_codecs.batches import IntakeBatch, no_frames
from gateway_routes.selection import Selection
from tests.gateway.simulated import SimClock, SimStorage
from tests.gateway.test_journal import ALL, ROLLING, SMALL, Journal, inline, opened, packets, read_all, replace

SEGMENT = "m/journal/00000001.seg"
INDEX = "m/journal/marks.jsonl"


async def filled(storage: SimStorage, count: int = 40) -> list[tuple[int, bytes]]:
    """Fill a journal of one segment, one item a block."""
    async with opened(storage) as journal:
        for k in range(count):
            await journal.append(IntakeBatch(packets([b"%d" % k + b"x" * 300]), state={"n": k}), "x")
        return await read_all(journal)


def hidden_of(journal: Journal) -> set[int]:
    return {p for d in journal.damaged for p in range(d.first, d.end)}


def segments_of(storage: SimStorage) -> list[str]:
    return [name for name in storage.names("m/journal") if name.endswith(".seg")]


@pytest.mark.parametrize("seed", range(30))
async def test_unreadable_sectors_hide_their_blocks_only(seed: int) -> None:
    """A sector that gives EIO is damage like any other: the journal opens, its range is told, the rest is served."""
    storage, rng = SimStorage(random.Random(seed)), random.Random(seed)
    before = await filled(storage)
    page = rng.randrange(storage.size(SEGMENT) // 4096) * 4096
    storage.bad.append((SEGMENT, page, page + 4096))
    if seed % 3 == 0:
        storage.remove(INDEX)
    if seed % 3 == 1:
        storage.bad.append((INDEX, 0, 1))
    async with opened(storage) as journal:
        after = [item for item in await read_all(journal) if item[0] < len(before)]
        assert after == [item for item in before if item[0] not in hidden_of(journal)]
        assert 1 <= len(hidden_of(journal)) <= 12
        assert journal.recovery.head == len(before)
        assert journal.recovery.state["links"]["x"]["n"] == len(before) - 1


async def test_an_unreadable_end_is_not_cut() -> None:
    """What cannot be read is not what was never written: it is told, and nothing is cut."""
    storage = SimStorage(random.Random(1))
    before = await filled(storage)
    size = storage.size(SEGMENT)
    storage.bad.append((SEGMENT, size - 200, size))
    async with opened(storage) as journal:
        assert journal.recovery.cut_octets == 0
        assert hidden_of(journal) == {len(before) - 1}
        assert storage.size(SEGMENT) > size
        assert journal.recovery.head == len(before)


async def test_too_many_open_files_are_no_damage() -> None:
    """An error of ours, not of the disk, must not tell home bases that their data are gone."""
    storage = SimStorage(random.Random(1))
    await filled(storage)
    async with opened(storage) as journal:
        journal._recent.clear()

        def refuse(name: str, offset: int, length: int) -> bytes:
            raise OSError(24, "Too many open files")

        storage.read = refuse  # type: ignore[method-assign]
        with pytest.raises(OSError, match="Too many open files"):
            await journal.read(0, ALL, 10, 1 << 16)
        assert not journal.damaged


def carried(journal_id: bytes, position: int, sequence: int) -> bytes:
    """A block of a journal, carried as the contents of a packet."""
    evil = {"links": {"x": {"n": 999}}}
    return build_block(
        packets([b"evil"]), no_frames(), evil, first_position=position, sequence=sequence, commit_time_ns=1,
        journal_id=journal_id, revision=1, snapshot=True,
    )[1]  # fmt: skip


@pytest.mark.parametrize(
    "kind", ["another journal's", "one of a far journal", "an older one of this journal", "one of a far future"]
)
@pytest.mark.parametrize("torn", [True, False])
async def test_a_block_inside_a_packet_is_not_believed(kind: str, torn: bool) -> None:
    """Somebody's packets may carry journals. When the block around one is torn or damaged, it is no block of ours."""
    storage = SimStorage(random.Random(1))
    async with opened(storage) as journal:
        for k in range(5):
            await journal.append(IntakeBatch(packets([b"%d" % k]), state={"n": k}), "x")
        identity = journal.journal_id
        ours, start = identity.bytes, storage.size(SEGMENT)
        inside = {
            "another journal's": carried(b"E" * 16, 5, 5),
            "one of a far journal": carried(b"E" * 16, 10**15, 10**9),
            "an older one of this journal": carried(ours, 2, 2),
            "one of a far future": carried(ours, 10**15, 10**9),
        }[kind]
        await journal.append(IntakeBatch(packets([b"A" * 500 + inside + b"B" * 5000])))
        if not torn:
            await journal.append(IntakeBatch(packets([b"last"])))
    data = storage.volatile[SEGMENT]
    if torn:
        del data[-3000:]
    else:
        data[start + 20] ^= 1
        storage.remove(INDEX)
    async with opened(storage) as journal:
        assert journal.journal_id == identity
        assert journal.recovery.head == (5 if torn else 7)
        assert journal.recovery.state["links"]["x"]["n"] == 4
        assert [(d.first, d.end) for d in journal.damaged] == ([] if torn else [(5, 6)])
        assert [value[:4] for _, value in await read_all(journal)][:5] == [b"0", b"1", b"2", b"3", b"4"]
        assert b"evil" not in [value for _, value in await read_all(journal)]


async def test_a_lost_identity_file_is_found_in_the_blocks() -> None:
    """The first octets of a segment are always a block of ours: a damaged journal.id makes no other journal of it."""
    storage = SimStorage(random.Random(1))
    before = await filled(storage)
    async with opened(storage) as journal:
        identity = journal.journal_id
    storage.volatile["m/journal/journal.id"][3:5] = b"00"
    async with opened(storage) as journal:
        assert journal.journal_id == identity
        assert (await read_all(journal))[: len(before)] == before


@pytest.mark.parametrize("how", ["last page", "last segment", "every segment"])
async def test_positions_that_a_home_base_acknowledged_are_never_given_again(how: str) -> None:
    """R2: what is destroyed above the last good block was acknowledged: its range is told, its positions stay used."""
    storage = SimStorage(random.Random(1))
    async with opened(storage, ROLLING) as journal:
        for k in range(20):
            await journal.append(IntakeBatch(packets([b"%d" % k + b"x" * 100])))
        head = journal.head
    newest = segments_of(storage)[-1]
    if how == "last page":
        data = storage.volatile[f"m/journal/{newest}"]
        cut = data.rfind(MAGIC)
        data[cut:] = b"\xee" * (len(data) - cut)
    for name in segments_of(storage):
        if how == "every segment" or (how == "last segment" and name == newest):
            storage.remove(f"m/journal/{name}")
    journal = await Journal.open(storage, SimClock(), inline, inline, ROLLING, "m", promised=head)
    lost = journal.damaged[-1]
    assert lost.end == head
    assert lost.first < head
    assert lost.cause == "destroyed: acknowledged by a home base"
    assert (await journal.append(IntakeBatch(packets([b"new"])))).first_position >= head
    found = await read_all(journal)
    assert found[-1][1] == b"new"
    assert any(b"acknowledged by a home base" in value for _, value in found)
    told = await journal.read(lost.first, ALL, 1, 1 << 16)
    assert [(d.first, d.end) for d in told.damaged] == [(lost.first, head)]
    await journal.close()
    async with opened(storage, ROLLING) as again:
        assert again.recovery.head == journal.head
        assert (await again.read(lost.first, ALL, 1, 1 << 16)).expired is None


async def test_one_damaged_block_is_one_condition() -> None:
    """A reader that meets a damaged block at many positions reports one range."""
    storage = SimStorage(random.Random(1))
    async with opened(storage) as journal:
        await journal.append(IntakeBatch(packets([b"x" * 30 for _ in range(50)])))
        await journal.append(IntakeBatch(packets([b"y"])))
    data = storage.volatile[SEGMENT]
    data[data.index(b"x" * 30)] ^= 1
    async with opened(storage) as journal:
        for position in (30, 10, 20, 0, 49):
            await journal.read(position, ALL, 10, 1000)
        assert [(d.first, d.end) for d in journal.damaged] == [(0, 50)]


async def filled_and_retained(storage: SimStorage) -> int:
    async with opened(storage, replace(SMALL, keep_octets=70_000)) as journal:
        for k in range(100):
            await journal.append(IntakeBatch(packets([bytes([k]) * 3000])))
        await journal.retain()
        assert journal.tail > 0
        return journal.tail


@pytest.mark.parametrize("index", [True, False])
async def test_a_damaged_beginning_after_retention_is_damage(index: bool) -> None:
    """What retention took has expired; what the oldest segment's damaged first block held is destroyed, and told so."""
    storage = SimStorage(random.Random(1))
    tail = await filled_and_retained(storage)
    storage.volatile[f"m/journal/{segments_of(storage)[0]}"][20] ^= 1
    if not index:
        storage.remove(INDEX)
    for _ in range(2):
        async with opened(storage) as journal:
            assert journal.tail == tail
            found = await journal.read(tail, ALL, 1, 1 << 20)
            assert found.expired is None
            assert [(d.first, d.end) for d in found.damaged] == [(tail, tail + 1)]


class ReadCounting(SimStorage):
    """Counts reads."""

    reads = octets = 0

    def read(self, name: str, offset: int, length: int) -> bytes:
        data = super().read(name, offset, length)
        self.reads, self.octets = self.reads + 1, self.octets + len(data)
        return data


async def test_a_deleted_index_is_made_again() -> None:
    """R8: without the index one start walks all headers, many small blocks at a time; the next one is short again."""
    storage = ReadCounting(random.Random(1))
    async with opened(storage) as journal:
        for k in range(800):
            await journal.append(IntakeBatch(packets([bytes([k % 250]) * 300])))
    size = sum(storage.size(f"m/journal/{name}") for name in segments_of(storage))
    storage.remove(INDEX)
    reads, octets = list[int](), list[int]()
    for _ in range(2):
        storage.reads = storage.octets = 0
        async with opened(storage) as journal:
            assert journal.recovery.head == 800
            reads.append(storage.reads)
            octets.append(storage.octets)
    assert reads[0] < 100
    assert octets[0] < 3 * size
    assert reads[1] < 100
    assert octets[1] < size / 4


async def test_large_blocks_are_not_read_to_find_the_next_one() -> None:
    """R8: without the index of a journal of large blocks little more than headers and states is read."""
    storage = ReadCounting(random.Random(1))
    long = replace(SMALL, segment_octets=1 << 30)
    async with opened(storage, long) as journal:
        for k in range(40):
            await journal.append(IntakeBatch(packets([bytes([k]) * 50_000] * 8)))
    storage.remove(INDEX)
    storage.reads = storage.octets = 0
    async with opened(storage, long) as journal:
        assert journal.recovery.blocks_read == 40
        assert storage.octets < storage.size(SEGMENT) / 10


async def test_a_search_through_damage_finds_the_next_block_at_a_page_edge() -> None:
    """Unreadable pages are stepped over one by one: a block that begins right behind one is found."""
    storage = SimStorage(random.Random(1))
    before = await filled(storage, 60)
    data = storage.volatile[SEGMENT]
    places = [n for n in range(len(data)) if data[n:].startswith(MAGIC)]
    storage.bad.append((SEGMENT, places[20] + HEADER_OCTETS - 4, places[20] + HEADER_OCTETS))
    async with opened(storage) as journal:
        found = [p for p, _ in await read_all(journal, Selection(kinds=None, idle=True)) if p < len(before)]
        assert set(range(len(before))) - set(found) == hidden_of(journal)
        assert 20 in hidden_of(journal)
        assert len(hidden_of(journal)) <= 14, "at most what lies in one page of 4096 octets"
