"""History as a view of the journal: the version asked for, late data in their place, each sample once; the cache is
never the truth."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import Conflict, GatewayError, NotFound, UsageError
from gateway.journal import JournalSettings
from gateway.values import history
from gateway_codecs.batches import ABSENT, DataMode
from gateway_codecs.mdb.model import (
    BinaryEncoding,
    DynamicInteger,
    IntegerEncoding,
    Parameter,
    ParameterEntry,
    ParameterType,
)
from gateway_codecs.time_scales import format_utc
from tests.gateway.values_world import (
    APID,
    COUNT,
    FAST,
    MODE,
    T0,
    TEMP,
    S,
    World,
    batch,
    counting,
    database,
    seconds,
    shown,
    temperature,
    use,
)  # fmt: skip


def live(first: int, end: int) -> list[tuple[int, bytes]]:
    """Packets of each second."""
    return [(T0 + k * S, temperature(k, k)) for k in range(first, end)]


@pytest.mark.parametrize("cache_octets", [0, 1 << 28])
async def test_a_corrected_calibration(tmp_path: Path, cache_octets: int) -> None:
    """Issue: history asked with the old and the new database gives old and new values of the same packets."""
    world = await World.open(tmp_path, database(gain=0.5), cache_octets)
    await world.take(batch(live(0, 10)))
    before = await world.history()
    assert shown(before) == [k * 0.5 for k in range(10)]
    use(tmp_path, database(gain=0.25))
    told = await world.door.reload("picard")
    assert told["digest"] != before["database"]
    after = await world.history()
    assert (shown(after), after["database"]) == ([k * 0.25 for k in range(10)], told["digest"])
    old = await world.history(mdb=before["database"][:10])
    assert old["samples"] == before["samples"]
    assert [row["position"] for row in after["samples"]] == [row["position"] for row in old["samples"]] == [*range(10)]
    (event,) = world.events
    assert (event["type"], event["before"], event["after"]) == ("database", before["database"], told["digest"])
    await world.journal.close()
    again = await World.open(tmp_path, None, cache_octets)
    assert shown(await again.history(mdb=before["database"])) == shown(before), "every version is kept"
    rows = await (await again.door.open()).databases()
    assert [row["digest"] for row in rows] == [before["database"], told["digest"]], "the first used first"
    assert {(row["spacecraft"], row["file"], row["name"]) for row in rows} == {("picard", "x.json", "X")}
    assert all(row["first_used_utc"] for row in rows)
    modes = {path.stat().st_mode & 0o111 for path in (tmp_path / "var/databases").iterdir()}
    assert modes == {0}, "what is stored is not to be executed"
    await again.journal.close()


@pytest.mark.parametrize("cache_octets", [0, 1 << 28])
async def test_a_dump_two_hours_late(tmp_path: Path, cache_octets: int) -> None:
    """Issue: a dump that arrives two hours late gives the same history in generation-time order as the in-order run;
    what was received live too is shown once, with both sources."""
    whole = await World.open(tmp_path / "whole", database())
    late = await World.open(tmp_path / "late", database(), cache_octets)
    await whole.take(batch(live(0, 7300)))
    await late.take(batch(live(0, 60)))
    await late.take(batch(live(100, 3600)))
    assert len((await late.history())["samples"]) == 3560
    await late.take(batch(live(3600, 7300)))
    await late.take(batch(live(40, 120), T0 + 9000 * S, DataMode.DUMP, link=2))
    expected, found = await whole.history(), await late.history()
    keys = ("time_utc", "value", "validity", "limit")
    assert [[row[key] for key in keys] for row in found["samples"]] == [
        [row[key] for key in keys] for row in expected["samples"]
    ]
    twice = [row for row in found["samples"] if row.get("also")]
    assert len(twice) == 40
    assert {(row["data_mode"], row["link"]) for row in twice} == {("real_time", "station")}
    assert {(row["also"][0]["data_mode"], row["also"][0]["link"]) for row in twice} == {("dump", "dump")}
    received = await late.history(order="reception")
    assert seconds(received)[-40:] == [float(k) for k in range(60, 100)], "in the order of reception it came last"
    by_journal = await late.history(order="journal")
    positions = [row["position"] for row in by_journal["samples"]]
    assert positions == sorted(positions)
    for world in (whole, late):
        await world.journal.close()


async def test_out_of_order_over_many_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the order of arrival, whenever it is asked, however chunks are cut: the same history; pages join."""
    monkeypatch.setattr(history, "CHUNK_POSITIONS", 64)
    monkeypatch.setattr(history, "STORE_EVERY_POSITIONS", 16)
    rng = random.Random(3)
    world = await World.open(tmp_path, database(), settings=JournalSettings(segment_octets=1 << 16))
    left = live(0, 400)
    rng.shuffle(left)
    left += rng.sample(left, 100)
    while left:
        some, left = left[:37], left[37:]
        await world.take(batch(some, T0 + 10_000 * S))
        if rng.random() < 0.5:
            await world.history()
    found = await world.history()
    assert seconds(found) == [float(k) for k in range(400)]
    assert sum(len(row.get("also", ())) for row in found["samples"]) == 100
    for order in ("generation", "reception", "journal"):
        whole, paged, after = await world.history(order=order), [], None
        while True:
            from gateway.values.service import parse_after

            page = await world.history(order=order, limit=23, after=parse_after(after) if after else None)
            paged += page["samples"]
            after = page["after"]
            if after is None:
                break
        assert paged == whole["samples"], order
    part = await world.history(first_s=100, end_s=150)
    assert seconds(part) == [float(k) for k in range(100, 150)]
    await world.journal.close()


async def test_every_kind_of_value(tmp_path: Path) -> None:
    """States are labels, repeats have times of their own, raw values come with them; each says where it is from."""
    world = await World.open(tmp_path, database())
    await world.take(batch([(T0, temperature(1, -7, mode=0, fast=b"\5\6\7\10")), (T0 + S, counting(9, 1 << 31))]))
    assert shown(await world.history(MODE, raw=True)) == ["OFF"]
    fast = await world.history("FAST", raw=True)
    assert (fast["parameter"], shown(fast), seconds(fast)) == (FAST, [5, 6, 7, 8], [0, 0.25, 0.5, 0.75])
    assert [row["element"] for row in fast["samples"]] == [0, 1, 2, 3]
    (count,) = (await world.history(COUNT))["samples"]
    assert (count["value"], count["position"], count["generated"], count["link"]) == (1 << 31, 1, True, "station")
    (temp,) = (await world.history("T1", raw=True))["samples"]
    assert (temp["value"], temp["raw"], temp["receive_time_utc"]) == (-3.5, -7, format_utc(T0 + S))
    await world.journal.close()


async def test_octets_of_any_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Binary values of varying size: all octets of each and no more, of none too; over chunks, cached, subscribed."""
    monkeypatch.setattr(history, "CHUNK_POSITIONS", 4)
    of = database()
    number = ParameterType("/X/n", "integer", IntegerEncoding(8), signed=False)
    blob = ParameterType("/X/blob", "binary", BinaryEncoding(DynamicInteger("/X/N", 8)))
    parameters = (Parameter("/X/N", number.name), Parameter("/X/BLOB", blob.name))
    entries = tuple(ParameterEntry(one.name) for one in parameters)
    container = replace(of.containers["/X/COUNTS"], entries=entries)
    of = replace(
        of, types={**of.types, number.name: number, blob.name: blob},
        parameters={**of.parameters, **{one.name: one for one in parameters}},
        containers={**of.containers, container.name: container},
    )  # fmt: skip
    rng = random.Random(8)
    values = [bytes(rng.choice((0, 0, 1, 255)) for _ in range(rng.choice((0, 1, 2, 7)))) for _ in range(30)]
    packets = [
        (T0 + k * S, counting(k, 0)[:4] + len(one).to_bytes(2, "big") + bytes([len(one)]) + one)
        for k, one in enumerate(values)
    ]
    world = await World.open(tmp_path, of)
    for first in range(0, 30, 7):
        await world.take(batch(packets[first : first + 7]))
        for _ in range(2):
            found = await world.history("/X/BLOB", raw=True)
            assert shown(found) == [one.hex() for one in values[: first + 7]]
            assert [row["raw"] for row in found["samples"]] == shown(found)
    await world.journal.close()


async def test_packets_without_a_time(tmp_path: Path) -> None:
    """Without a generation time the reception counts, and says so."""
    world = await World.open(tmp_path, database())
    await world.take(batch([(ABSENT, temperature(1, 4))], T0 + 5 * S))
    (row,) = (await world.history())["samples"]
    assert (row["generated"], row["time_utc"]) == (False, format_utc(T0 + 5 * S))
    await world.journal.close()


async def test_a_truncated_packet_is_flagged(tmp_path: Path) -> None:
    """A packet shorter than its layout: what fits is shown, the rest is flagged; the others are untouched."""
    world = await World.open(tmp_path, database())
    short = temperature(1, 9)[:8]
    await world.take(batch([(T0, temperature(0, 8)), (T0 + S, short), (T0 + 2 * S, temperature(2, 10))]))
    assert shown(await world.history()) == [4, 4.5, 5]
    mode = await world.history(MODE)
    assert [row["validity"] for row in mode["samples"]] == ["valid", "truncated", "valid"]
    await world.journal.close()


async def test_buckets_keep_extremes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spike of one sample is in the plot; a packet that came twice counts once; in pieces as whole."""
    world = await World.open(tmp_path, database())
    packets = live(0, 100)
    packets[37] = (T0 + 37 * S, temperature(37, 9000))
    await world.take(batch(packets))
    await world.take(batch(live(50, 60), mode=DataMode.DUMP, link=2))
    values = await world.door.open()
    span = (T0, T0 + 100 * S)
    found = await values.buckets(None, TEMP, span, None, 10)
    assert [row["count"] for row in found["buckets"]] == [10] * 10
    assert found["buckets"][3]["max"] == 4500
    assert found["buckets"][3]["max_time_utc"] == format_utc(T0 + 37 * S)
    assert found["buckets"][3]["limit"] == "critical"
    assert (found["unit"], found["labels"]) == ("degC", [])
    monkeypatch.setattr(history, "SAMPLES_MAX", 7)
    assert await values.buckets(None, TEMP, span, None, 10) == found
    with pytest.raises(UsageError, match="more than 7 samples"):
        await world.history(order="journal")
    await world.journal.close()


# ---- the cache is never the truth ----


async def cached(world: World) -> list[Path]:
    return sorted(path for path in (world.folder / "var/values").rglob("*.col"))


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world of several whole chunks, all of them cached."""
    monkeypatch.setattr(history, "CHUNK_POSITIONS", 64)
    made = await World.open(tmp_path, database())
    for first in range(0, 300, 50):
        await made.take(batch(live(first, first + 50)))
    await made.history()
    assert len(await cached(made)) == 4
    return made


async def test_the_cache_answers_without_packets(world: World) -> None:
    """What was asked once is not decoded again but for the newest chunk."""
    values = await world.door.open()
    before = values._history.decoded_packets
    expected = await world.history()
    assert values._history.decoded_packets == before
    assert values.cache_state()["hits"] > 0
    (world.folder / "x.json").unlink()
    assert len(expected["samples"]) == 300


async def test_the_cache_may_be_deleted(world: World) -> None:
    """At any time."""
    expected = await world.history()
    for path in await cached(world):
        path.unlink()
    assert await world.history() == expected
    assert len(await cached(world)) == 4


@pytest.mark.parametrize("seed", range(25))
async def test_a_damaged_cache_is_noticed(world: World, seed: int) -> None:
    """Octets changed, cut, or of another file: the answer is the same."""
    rng = random.Random(seed)
    expected = await world.history(raw=True)
    files = await cached(world)
    for path in files:
        data = bytearray(path.read_bytes())
        how = rng.randrange(4)
        if how == 0:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif how == 1:
            del data[rng.randrange(len(data)) :]
        elif how == 2:
            data = bytearray(rng.choice(files).read_bytes())
        else:
            data[: rng.randrange(100)] = rng.randbytes(50)
        path.write_bytes(data)
    assert await world.history(raw=True) == expected


async def test_the_cache_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than the limit, whatever is asked; what was used last stays, and the answers are right."""
    monkeypatch.setattr(history, "CHUNK_POSITIONS", 64)
    world = await World.open(tmp_path, database(), cache_octets=60_000)
    await world.take(batch(live(0, 1500)))
    for parameter in (TEMP, MODE, FAST, "/X/CCSDS_APID"):
        assert len((await world.history(parameter))["samples"]) == (6000 if parameter == FAST else 1500)
        sizes = [path.stat().st_size for path in await cached(world)]
        assert 0 < sum(sizes) <= 60_000
    await world.journal.close()


async def test_a_full_disk_costs_the_cache_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be stored is computed each time."""
    expected = await world.history()
    for path in await cached(world):
        path.unlink()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert await world.history() == expected
    assert await world.history() == expected
    assert await cached(world) == []


async def test_retention_takes_the_values_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of packets that are gone are not shown, though the cache still holds them."""
    monkeypatch.setattr(history, "CHUNK_POSITIONS", 64)
    settings = JournalSettings(segment_octets=1 << 16, keep_octets=1 << 16)
    world = await World.open(tmp_path, database(), settings=settings)
    for first in range(0, 6000, 50):
        await world.take(batch(live(first, first + 50)))
    assert len((await world.history())["samples"]) == 6000
    await world.journal.retain()
    assert world.journal.tail > 0
    found = await world.history()
    assert found["samples"][0]["position"] == world.journal.tail
    assert len(found["samples"]) == 6000 - world.journal.tail
    await world.journal.close()


async def test_damage_is_told(tmp_path: Path) -> None:
    """R14: values around a damaged block are shown, its range is told, and nothing of it is cached."""
    world = await World.open(tmp_path, database())
    for first in range(0, 40, 10):
        await world.take(batch(live(first, first + 10)))
    (segment,) = (world.folder / "var/m.flight/journal").glob("*.seg")
    data = bytearray(segment.read_bytes())
    at = data.index(temperature(15, 15))
    data[at + 7] ^= 0xFF
    segment.write_bytes(data)
    found = await world.history()
    assert seconds(found) == [float(k) for k in (*range(10), *range(20, 40))]
    assert found["damaged"] == [[10, 20]]
    assert (await world.history())["damaged"] == [[10, 20]]
    await world.journal.close()


# ---- what cannot be ----


async def test_errors_say_the_way_out(tmp_path: Path) -> None:
    """Unknown and ambiguous names, versions and ranges; a database that is not there, or is none."""
    world = await World.open(tmp_path, database())
    for parameter, kind, text in (
        ("TEMPP", NotFound, "no parameter"), ("/X/TEMP[0]", UsageError, "element"), ("", NotFound, "no parameter"),
    ):  # fmt: skip
        with pytest.raises(kind, match=text) as caught:
            await world.history(parameter)
        assert caught.value.hint
    with pytest.raises(NotFound, match="no database of this gateway begins"):
        await world.history(mdb="abcd")
    with pytest.raises(UsageError, match="ends before"):
        await world.history(first_s=5, end_s=5)
    await world.journal.close()
    for text, message in ((None, "is not there"), ("{}", "cannot be used")):
        broken = await World.open(tmp_path / str(text is None))
        if text is not None:
            (broken.folder / "x.json").write_text(text)
        with pytest.raises(Conflict, match=message):
            await broken.history()
        await broken.journal.close()


async def test_a_damaged_version_is_told(tmp_path: Path) -> None:
    """A stored database whose octets changed is not used."""
    world = await World.open(tmp_path, database())
    await world.take(batch(live(0, 3)))
    digest = (await world.history())["database"]
    await world.journal.close()
    path = tmp_path / f"var/databases/{digest}.json"
    path.write_bytes(path.read_bytes().replace(b"0.5", b"0.7"))
    again = await World.open(tmp_path)
    with pytest.raises((OSError, GatewayError), match="damaged"):
        await again.history(mdb=digest)
    await again.journal.close()


def test_the_apids_of_a_parameter() -> None:
    """Who reads one parameter looks at its packets only."""
    from gateway_codecs.mdb.holders import all_apids, apids

    assert apids(database(), TEMP) == {APID}
    assert all_apids(database()) == {APID, 103}
    assert apids(database(), "/X/CCSDS_APID") is None or APID in (apids(database(), "/X/CCSDS_APID") or ())
