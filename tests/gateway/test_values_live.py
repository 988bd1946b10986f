"""Live values: of real-time, good packets of the prime links alone; late data change nothing; limits are told once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from prometheus_client import generate_latest

from gateway.journal import SmallStore
from gateway.values.live import Live
from gateway_codecs.batches import DataMode, Quality
from tests.gateway.simulated import on_virtual_time, small_store
from tests.gateway.values_world import (
    COUNT,
    MODE,
    T0,
    TEMP,
    UNKNOWN_APID,
    S,
    World,
    batch,
    counting,
    database,
    temperature,
    use,
)  # fmt: skip


@asynccontextmanager
async def following(folder: Path, of: Any = None, store: SmallStore | None = None) -> AsyncIterator[World]:
    """A world whose live values are followed."""
    world = await World.open(folder, of, store=store)
    task = asyncio.create_task(world.door.follow(), name="values")
    yield world
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await world.journal.close()


def warm(first: int, values: list[float]) -> list[tuple[int, bytes]]:
    """Packets with temperatures, one a second."""
    return [(T0 + (first + k) * S, temperature(first + k, int(value * 2))) for k, value in enumerate(values)]


async def settle(world: World) -> None:
    """Until everything committed is decoded."""
    async with asyncio.timeout(60):
        while world.door.position < world.journal.head:
            await asyncio.sleep(0.01)


def latest(world: World, name: str = TEMP) -> Any:
    loaded = world.door.loaded
    assert loaded is not None
    (row,) = loaded.latest(None, [name]) or [None]
    return row


def limits(world: World) -> list[tuple[str, str, str]]:
    return [(e["before"], e["after"], e["severity"]) for e in world.events if e["type"] == "limit"]


@on_virtual_time
async def test_the_newest_value(tmp_path: Path) -> None:
    """The newest value has its provenance, its age, and is stale when it does not come any more."""
    async with following(tmp_path, database()) as world:
        await world.take(batch(warm(0, [20, 21, 22.5])))
        await settle(world)
        row = latest(world)
        assert (row["value"], row["raw"], row["unit"], row["limit"]) == (22.5, 45, "degC", "ok")
        assert (row["position"], row["packet_type"], row["validity"]) == (2, "/X/TEMPERATURES", "valid")
        assert latest(world, MODE)["value"] == "ON"
        assert latest(world, "/X/FAST")["value"] == [1, 2, 3, 4]
        assert not row["stale"]
        world.door.around.clock.step(60 * S)  # type: ignore[attr-defined]
        world.door.around.clock.stepped_ns = 0  # type: ignore[attr-defined]
        assert latest(world)["stale"]
        assert latest(world)["age_s"] >= 55
        assert latest(world, COUNT) is None
        (row,) = (await world.door.open()).databases_state()
        assert row["name"] == "X"


@on_virtual_time
async def test_what_is_not_live_changes_nothing(tmp_path: Path) -> None:
    """DESIGN 1: dumped, played back, bad packets, those of other links, and late ones: no value, no violation."""
    async with following(tmp_path, database()) as world:
        await world.take(batch(warm(100, [20])))
        await settle(world)
        hot = [(T0 + 200 * S, temperature(1, 400))]
        for mode in (DataMode.DUMP, DataMode.PLAYBACK):
            await world.take(batch(hot, mode=mode))
        await world.take(batch(hot, link=2))
        bad = batch(hot)
        bad.items["quality"] = Quality.FECF
        await world.take(bad)
        await world.take(batch(warm(10, [200, 200, 200])))  # real time by its mode, but older than what was there
        await settle(world)
        assert latest(world)["value"] == 20
        assert limits(world) == []
        loaded = await world.door.open()
        (counts,) = loaded.counts_state()
        assert (counts["packets"], counts["late"], counts["out_of_limit"]) == (4, 3, 0)
        found = await world.history()
        assert len(found["samples"]) == 5, "history has all the good ones, equal packets once"


@on_virtual_time
async def test_limits_are_told_when_they_are_passed(tmp_path: Path) -> None:
    """One event for each change of a limit state, with value, position and database; conditions while it lasts."""
    async with following(tmp_path, database()) as world:
        for first, values in ((0, [20, 21]), (10, [85]), (20, [86, 87]), (30, [101]), (40, [50]), (50, [90, 20, 90])):
            await world.take(batch(warm(first, values)))
            await settle(world)
        assert limits(world) == [
            ("ok", "high warning", "warning"),
            ("high warning", "high critical", "critical"),
            ("high critical", "ok", "info"),
            ("ok", "high warning", "warning"),
        ]
        first, *_, last = [e for e in world.events if e["type"] == "limit"]
        assert (first["parameter"], first["value"], first["packet_position"]) == (TEMP, 85.0, 2)
        assert first["message"] == "picard /X/TEMP: ok -> high warning (85 degC)"
        assert last["changes"] == 3, "a batch with several changes is one event that says so"
        (condition,) = world.door.conditions(0.0)
        assert (condition.severity, condition.what) == ("warning", "out of limits")
        assert "/X/TEMP high warning (90 degC)" in condition.text
        await world.take(batch(warm(60, [20])))
        await settle(world)
        assert world.door.conditions(0.0) == []
        (counts,) = (await world.door.open()).counts_state()
        assert counts["out_of_limit"] == 6


@on_virtual_time
async def test_persistence(tmp_path: Path) -> None:
    """A limit with persistence is passed by so many samples in a row, over batches; one good sample begins anew."""
    async with following(tmp_path, database(persistence=3)) as world:
        for first, values in ((0, [85, 85]), (10, [20]), (20, [85]), (30, [85, 85]), (40, [20])):
            await world.take(batch(warm(first, values)))
            await settle(world)
        assert limits(world) == [("ok", "high warning", "warning"), ("high warning", "ok", "info")]
        assert [e["packet_position"] for e in world.events] == [5, 6]


@on_virtual_time
async def test_a_restart_tells_nothing_twice(tmp_path: Path) -> None:
    """What was told before a restart is not told again; what was committed and not decoded yet is told then."""
    store = small_store()
    async with following(tmp_path, database(), store) as world:
        await world.take(batch(warm(0, [20, 85])))
        await settle(world)
        await asyncio.sleep(5)
        assert len(limits(world)) == 1
    offline = await World.open(tmp_path, store=store)
    await offline.take(batch(warm(10, [101])))
    await offline.journal.close()
    async with following(tmp_path, None, store) as world:
        await settle(world)
        assert limits(world) == [("high warning", "high critical", "critical")]
        assert latest(world)["value"] == 101
    async with following(tmp_path, None, small_store()) as world:
        await settle(world)
        assert latest(world)["value"] == 101, "without what was kept the newest values are there too"
        assert limits(world) == []


@on_virtual_time
async def test_what_no_container_describes_is_counted(tmp_path: Path) -> None:
    """Packets of unknown APIDs are counted and hide nobody else's values."""
    async with following(tmp_path, database()) as world:
        unknown = [(T0 + 5 * S, temperature(1, 1, apid=UNKNOWN_APID))]
        await world.take(batch([*warm(0, [20]), *unknown, (T0 + 6 * S, counting(3, 77))]))
        await settle(world)
        assert (latest(world)["value"], latest(world, COUNT)["value"]) == (20, 77)
        state = world.door.state()
        assert state is not None
        assert state["unidentified"] == {"picard": 1}
        assert {row["packet_type"]: row["packets"] for row in state["packet_types"]} == {
            "/X/TEMPERATURES": 1, "/X/COUNTS": 1,
        }  # fmt: skip


@on_virtual_time
async def test_what_several_containers_describe_is_counted(tmp_path: Path) -> None:
    """Packets of which two containers hold are of the first of them, and counted as ambiguous by its type."""
    of = database()
    first = of.containers["/X/TEMPERATURES"]
    other = replace(first, name="/X/OTHER", entries=first.entries[:1])
    async with following(tmp_path, replace(of, containers={**of.containers, other.name: other})) as world:
        await world.take(batch([*warm(0, [20, 21, 22]), (T0 + 6 * S, counting(3, 77))]))
        await settle(world)
        assert (latest(world)["value"], latest(world)["packet_type"]) == (22, "/X/TEMPERATURES")
        state = world.door.state()
        assert state is not None
        counts = {row["packet_type"]: (row["packets"], row["ambiguous"]) for row in state["packet_types"]}
        assert counts == {"/X/TEMPERATURES": (3, 3), "/X/COUNTS": (1, 0)}
        told = generate_latest(_Registry([{"instance": "m", "values": state}])).decode()
        key = '{instance="m",packet_type="/X/TEMPERATURES",spacecraft="picard"}'
        assert f"gateway_values_ambiguous_total{key} 3.0" in told


class _Registry:
    """What the metrics of values say of these instances."""

    def __init__(self, instances: list[dict[str, Any]]) -> None:
        self._instances = instances

    def collect(self) -> Any:
        from gateway.api.metrics import _values

        return _values(self._instances)


@on_virtual_time
async def test_a_database_that_cannot_be_used(tmp_path: Path) -> None:
    """It is a condition, the packets stay in the journal, and after it was mended everything goes on."""
    async with following(tmp_path) as world:
        (tmp_path / "x.json").write_text("nonsense")
        await world.take(batch(warm(0, [20])))
        await settle(world)
        (condition,) = world.door.conditions(0.0)
        assert (condition.severity, condition.what) == ("error", "no values")
        assert "reload" in condition.remedy
        use(tmp_path, database())
        await world.take(batch(warm(10, [21])))
        await settle(world)
        assert latest_or_none(world) is None, "an unusable file is not read for every packet"
        await asyncio.sleep(31)
        await world.take(batch(warm(20, [22])))
        await settle(world)
        assert (latest(world)["value"], world.door.conditions(0.0)) == (22, [])
        assert len((await world.history())["samples"]) == 3


def latest_or_none(world: World) -> Any:
    loaded = world.door.loaded
    return None if loaded is None else next(iter(loaded.latest(None, None)), None)


@on_virtual_time
async def test_a_new_database_while_it_runs(tmp_path: Path) -> None:
    """Live values go on with the new version; a value that is out of its limits now is told."""
    async with following(tmp_path, database()) as world:
        await world.take(batch(warm(0, [70])))
        await settle(world)
        use(tmp_path, database(gain=0.5, warning=60.0))
        told = await world.door.reload("picard")
        await world.take(batch(warm(1, [70])))
        await settle(world)
        assert latest(world)["database"] == told["digest"]
        assert limits(world) == [("ok", "high warning", "warning")]


@on_virtual_time
async def test_nothing_is_loaded_before_it_is_needed(tmp_path: Path) -> None:
    """A database nobody uses costs nothing: no file is read, whatever other packets come."""
    async with following(tmp_path) as world:  # there is no database file at all
        await world.take(batch(warm(0, [20]), mode=DataMode.DUMP))
        await asyncio.sleep(5)
        assert world.door.loaded is None
        assert world.door.conditions(0.0) == []
        assert world.door.state() is not None


def test_a_clock_on_board_that_is_set_back() -> None:
    """Packets older than the newest are late, until nothing newer came for a minute: the clock was set back."""
    from gateway.values.versions import Version
    from gateway_codecs.mdb.decoder import Decoder

    live, of = Live("picard"), database()
    version = Version("d" * 64, of, Decoder(of))

    def feed(time_s: int, received_s: int) -> bool:
        import numpy as np

        one = batch([(T0 + time_s * S, temperature(1, 2))], T0 + received_s * S)
        return bool(live.take(version, np.arange(1), one).live[0])

    assert feed(1000, 0)
    assert [feed(10 + k, k) for k in range(1, 60)] == [False] * 59
    assert feed(70, 61)
    assert feed(71, 62)
    assert not feed(60, 63)
