"""Parameters derived of several packet types: joined over time in history, and live."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from gateway.values import history
from gateway_codecs.mdb.model import (
    Alarms,
    Comparison,
    ContextLimits,
    Database,
    DeltaLimit,
    Interval,
    Limits,
    Parameter,
    ParameterType,
    RangeLimit,
    Severity,
    Source,
)
from gateway_codecs.time_scales import format_utc
from tests.gateway.test_values_live import following, settle
from tests.gateway.values_world import (
    COUNT,
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
)

PER_DEGREE, TWICE = "/X/PER_DEGREE", "/X/TWICE"


def joined_database() -> Database:
    """COUNT / TEMP with a limit, and twice that; the inputs are of two packet types."""
    of = database()
    limits = Limits((RangeLimit(Severity.WARNING, Interval(None, 10)),))
    kind = ParameterType("/X/ratio", "float", alarms=Alarms(limits), unit="1/degC")
    derived = (
        Parameter(PER_DEGREE, kind.name, Source.DERIVED, derivation=f"'{COUNT}' / '{TEMP}'"),
        Parameter(TWICE, kind.name, Source.DERIVED, derivation=f"2 * '{PER_DEGREE}'"),
    )
    return dataclasses.replace(
        of,
        types={**of.types, kind.name: kind},
        parameters={**of.parameters, **{one.name: one for one in derived}},
    )


def both() -> list[tuple[int, bytes]]:
    """TEMP is k degrees at even seconds, COUNT is 12 * k at odd ones."""
    return [(T0 + k * S, counting(k, 12 * k) if k % 2 else temperature(k, 2 * k)) for k in range(1, 10)]


async def test_history_joins_over_time(tmp_path: Path, monkeypatch: Any) -> None:
    """At each sample of either input there is one of the derived parameter, of the newest of both; late data too."""
    monkeypatch.setattr(history, "CHUNK_POSITIONS", 4)
    world = await World.open(tmp_path, joined_database())
    made = both()
    await world.take(batch(made[:2] + made[5:]))
    await world.take(batch(made[2:5], T0 + 9_000 * S))
    found = await world.history(PER_DEGREE)
    expected = {k: 12 * (k if k % 2 else k - 1) / (k - 1 if k % 2 else k) for k in range(2, 10)}
    assert dict(zip(seconds(found), shown(found), strict=True)) == expected
    assert {row["limit"] for row in found["samples"]} == {"ok", "high warning"}
    assert found["unit"] == "1/degC"
    assert shown(await world.history(TWICE)) == [2 * value for value in expected.values()]
    part = await world.history(PER_DEGREE, 4, 7)
    assert dict(zip(seconds(part), shown(part), strict=True)) == {k: expected[k] for k in (4, 5, 6)}
    page = await world.history(PER_DEGREE, limit=3)
    assert (shown(page), page["after"] is not None) == (list(expected.values())[:3], True)
    order = await world.history(PER_DEGREE, order="journal")
    assert [row["position"] for row in order["samples"]] == sorted(row["position"] for row in found["samples"])
    await world.journal.close()


async def test_live_values_and_limits(tmp_path: Path) -> None:
    """A new sample of either input gives a new value, and a limit that it passes is told."""
    async with following(tmp_path, joined_database()) as world:
        for packet in both():
            await world.take(batch([packet]))
            await settle(world)
        values = world.door.loaded
        assert values is not None
        (row,) = values.latest(None, [PER_DEGREE])
        assert row["value"] == 12 * 9 / 8
        assert row["limit"] == "high warning"
        assert row["time_utc"] == format_utc(T0 + 9 * S)
        ratios = [12 * (k if k % 2 else k - 1) / (k - 1 if k % 2 else k) for k in range(2, 10)]
        beyond = sum(value > 10 for value in ratios) + sum(2 * value > 10 for value in ratios)
        counts = values.counts_state()
        assert sum(row["out_of_limit"] for row in counts) == beyond, "with the packets that complete them"
        assert all(row["out_of_limit"] > 0 for row in counts)
        told = [event for event in world.events if event.get("parameter") == PER_DEGREE]
        assert [(event["before"], event["after"]) for event in told][:1] == [("ok", "high warning")]


async def test_limits_that_depend_on_a_state(tmp_path: Path) -> None:
    """Persistence and changes are those of the limits that apply to the sample, not of another context."""
    of = database()
    on = Comparison(MODE, "ON")
    wide, slow = Interval(None, 50), Limits((RangeLimit(Severity.WARNING, Interval(None, 50)),), persistence=3)
    quick = Limits(deltas=(DeltaLimit(Severity.CRITICAL, rise=5.0),))
    kind = of.types["/X/temp"]
    alarms = Alarms(Limits((RangeLimit(Severity.WARNING, wide),)), (ContextLimits(on, slow),))
    for chosen, expected in (
        (alarms, [("ok", "high warning"), ("high warning", "ok"), ("ok", "high warning")]),
        (Alarms(None, (ContextLimits(on, quick),)), [("ok", "delta critical"), ("delta critical", "ok")]),
    ):
        types = {**of.types, kind.name: dataclasses.replace(kind, alarms=chosen)}
        folder = tmp_path / str(len(expected))
        async with following(folder, dataclasses.replace(of, types=types)) as world:
            for k, (degrees, mode) in enumerate([(0, 0), (60, 0), (61, 1), (20, 1), (90, 1), (91, 1), (92, 1)]):
                await world.take(batch([(T0 + k * S, temperature(k, 2 * degrees, mode))]))
                await settle(world)
            told = [(event["before"], event["after"]) for event in world.events if event.get("parameter") == TEMP]
            assert told == expected
