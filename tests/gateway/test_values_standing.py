"""Limit states that look at the samples before (persistence, changes): the same live, in history, wherever a page
begins, in each order, however late packets come."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.journal import JournalSettings
from gateway.values import history
from gateway_codecs.batches import DataMode
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
from tests.gateway.simulated import on_virtual_time
from tests.gateway.test_values_live import following, settle
from tests.gateway.values_world import COUNT, FAST, MODE, T0, TEMP, S, World, batch, counting, database, temperature

RATIO, TWICE = "/X/RATIO", "/X/TWICE"
ORDERS = ("generation", "reception", "journal")


def high(top: float, persistence: int) -> Limits:
    return Limits((RangeLimit(Severity.WARNING, Interval(None, top)),), persistence=persistence)


def watched_database() -> Database:
    """TEMP: three in a row above 50, or a rise by 30; when MODE is ON two in a row above 70. FAST: two packets in a
    row with one above 100. RATIO = COUNT / TEMP: two in a row above 10; TWICE of it."""
    of = database()
    rise = dataclasses.replace(high(50, 3), deltas=(DeltaLimit(Severity.CRITICAL, rise=30.0),))
    alarms = {
        "/X/temp": Alarms(rise, (ContextLimits(Comparison(MODE, "ON"), high(70, 2)),)),
        "/X/fast": Alarms(high(100, 2)),
    }
    kinds = {name: dataclasses.replace(of.types[name], alarms=one) for name, one in alarms.items()}
    ratio = ParameterType("/X/ratio", "float", alarms=Alarms(high(10, 2)))
    derived = (
        Parameter(RATIO, ratio.name, Source.DERIVED, derivation=f"'{COUNT}' / '{TEMP}'"),
        Parameter(TWICE, ratio.name, Source.DERIVED, derivation=f"2 * '{RATIO}'"),
    )
    return dataclasses.replace(
        of, types={**of.types, **kinds, ratio.name: ratio},
        parameters={**of.parameters, **{one.name: one for one in derived}},
    )  # fmt: skip


Packet = tuple[int, bytes]


def made(rng: random.Random, count: int) -> list[Packet]:
    """One packet a second, with values that are often beyond limits for a while; some are too short for FAST."""
    packets, hot = list[Packet](), False
    for k in range(count):
        hot ^= rng.random() < 0.25
        if rng.random() < 0.2:
            packets.append((T0 + k * S, counting(k, 1000 if hot else 10)))
            continue
        fast = bytes(rng.choice((5, 150 if hot else 6)) for _ in range(4))
        degrees = rng.choice((55, 75, 95)) if hot else rng.choice((10, 20, 45))
        octets = temperature(k, 2 * degrees, int(rng.random() < 0.3), fast)
        if rng.random() < 0.05:
            octets = octets[:4] + b"\0\0" + octets[6:7]  # too short for TEMP
        packets.append((T0 + k * S, octets))
    return packets


def by_hand(packets: list[Packet]) -> list[str]:
    """What the limits of TEMP mean, sample by sample, in order."""
    found, row, before = [], 0, None
    for _, octets in packets:
        if octets[1] != 102:
            continue
        if len(octets) < 9:
            found.append("ok")
            continue
        value, on = int.from_bytes(octets[6:8], "big", signed=True) / 2, octets[8] == 1
        state, needed = ("high warning" if value > (70 if on else 50) else "ok"), (2 if on else 3)
        if not on and before is not None and value - before > 30:
            state = "delta critical"
        before = value
        row = row + 1 if state != "ok" else 0
        found.append(state if row >= needed else "ok")
    return found


def limits(found: Mapping[str, Any]) -> list[str]:
    return [row["limit"] for row in found["samples"]]


async def test_history_is_what_live_was(tmp_path: Path) -> None:
    """Issue: limits with persistence: the newest value shows, packet by packet, what history shows of each in every
    order, and both what the limits mean."""
    packets = made(random.Random(1), 120)
    seen: dict[str, list[str]] = {TEMP: [], FAST: []}
    async with following(tmp_path, watched_database()) as world:
        values = await world.door.open()
        for packet in packets:
            await world.take(batch([packet]))
            await settle(world)
            for row in values.latest(None, seen):
                if row["position"] == world.journal.head - 1:
                    seen[row["parameter"]].append(row["limit"])
        for order in ORDERS:
            assert limits(await world.history(order=order)) == by_hand(packets)
        assert seen[TEMP] == by_hand(packets)
        fast = (await world.history(FAST))["samples"]
        worst = {row["position"]: "ok" for row in fast}
        worst |= {row["position"]: row["limit"] for row in fast if row["limit"] != "ok"}
        assert list(worst.values()) == seen[FAST]
    assert {"ok", "high warning", "delta critical"} <= {*by_hand(packets)}
    assert {"ok", "high warning"} == {*seen[FAST]}


def arrivals(rng: random.Random, packets: list[Packet]) -> list[tuple[list[Packet], int, DataMode, int]]:
    """The packets as they may come: live with gaps, dumps of the gaps and more, parts of it over the other link."""
    live = [one for k, one in enumerate(packets) if k % 40 < 30]
    came = [(live[k : k + 17], 0, DataMode.REAL_TIME, 1) for k in range(0, len(live), 17)]
    for first in range(25, len(packets), 40):
        dumped = (packets[first : first + 20], 10_000 + first, DataMode.DUMP, 2)
        came.insert(min(len(came), first // 17 + rng.randrange(1, 9)), dumped)
    return came


async def filled(folder: Path, packets: list[Packet], rng: random.Random, cache_octets: int) -> World:
    settings = JournalSettings(segment_octets=1 << 16)
    world = await World.open(folder, watched_database(), cache_octets, settings=settings)
    for some, late_s, mode, link in arrivals(rng, packets):
        received = T0 + late_s * S if late_s else max(time for time, _ in some) + S
        await world.take(batch(some, received, mode, link))
        if rng.random() < 0.3:
            await world.history(rng.choice((TEMP, RATIO)))
    return world


async def whole_by_pages(world: World, parameter: str, order: str, limit: int) -> list[dict[str, Any]]:
    from gateway.values.service import parse_after

    rows: list[dict[str, Any]] = []
    after = None
    while True:
        page = await world.history(parameter, order=order, limit=limit, after=parse_after(after) if after else None)
        rows, after = rows + page["samples"], page["after"]
        if after is None:
            return rows


@pytest.mark.parametrize(("seed", "cache_octets"), [(2, 0), (3, 1 << 28)])
async def test_wherever_a_page_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, cache_octets: int
) -> None:
    """Issue: late dumps give the history of the in-order run, limit states too; ranges and pages that begin anywhere,
    over chunks, show of each sample what the whole shows."""
    monkeypatch.setattr(history, "CHUNK_POSITIONS", 24)
    monkeypatch.setattr(history, "STORE_EVERY_POSITIONS", 8)
    rng = random.Random(seed)
    packets = made(rng, 130)
    in_order = await World.open(tmp_path / "whole", watched_database())
    await in_order.take(batch(packets))
    world = await filled(tmp_path / "late", packets, rng, cache_octets)
    keys = ("time_utc", "value", "validity", "limit")
    for parameter in (TEMP, FAST, RATIO, TWICE):
        whole = {order: (await world.history(parameter, order=order))["samples"] for order in ORDERS}
        expected = (await in_order.history(parameter))["samples"]
        assert [[row[k] for k in keys] for row in whole["generation"]] == [[row[k] for k in keys] for row in expected]
        assert {"ok", "high warning"} <= {row["limit"] for row in expected}, parameter
        of_one = {(row["time_utc"], row["position"], row.get("element")): row["limit"] for row in whole["generation"]}
        for order in ORDERS:
            assert {(r["time_utc"], r["position"], r.get("element")): r["limit"] for r in whole[order]} == of_one
            assert await whole_by_pages(world, parameter, order, rng.choice((17, 23))) == whole[order]
        for first in rng.sample(range(130), 6):
            part = (await world.history(parameter, first, first + 9))["samples"]
            inside = [row for row in whole["generation"] if first <= _second(row) < first + 9]
            assert [(row["position"], row["limit"]) for row in part] == [(r["position"], r["limit"]) for r in inside]
    part = (await world.history(TEMP, 10_000, 20_000, order="reception"))["samples"]
    assert len(part) > 20, "dumps alone, among samples that were not asked for"
    known = {(row["time_utc"]): row["limit"] for row in (await world.history(TEMP))["samples"]}
    assert [row["limit"] for row in part] == [known[row["time_utc"]] for row in part]
    for one in (world, in_order):
        await one.journal.close()


def _second(row: Mapping[str, Any]) -> float:
    from gateway_codecs.time_scales import parse_utc

    return (parse_utc(row["time_utc"]) - T0) / S


async def test_buckets_show_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A violation that is too short for its persistence is none in a plot either; in pieces as whole."""
    world = await World.open(tmp_path, watched_database())
    values = [10, 60, 60, 10, 60, 60, 60, 60, 60, 10]
    rows = [(T0 + k * S, temperature(k, 2 * value, 0)) for k, value in enumerate(values)]
    await world.take(batch(rows))
    door = await world.door.open()
    for rows_at_once in (4_000_000, 3):
        monkeypatch.setattr(history, "SAMPLES_MAX", rows_at_once)
        found = await door.buckets(None, TEMP, (T0, T0 + 10 * S), None, 10)
        assert [row["limit"] for row in found["buckets"]] == ["ok"] * 6 + ["warning"] * 3 + ["ok"]
        later = await door.buckets(None, TEMP, (T0 + 6 * S, T0 + 8 * S), None, 2)
        assert [row["limit"] for row in later["buckets"]] == ["warning"] * 2
    await world.journal.close()


@on_virtual_time
async def test_a_violation_is_told_where_history_has_it(tmp_path: Path) -> None:
    """The event, the condition and the newest value say the same state as history, at the same packet."""
    async with following(tmp_path, watched_database()) as world:
        for k, degrees in enumerate((20, 45, 60, 60)):
            await world.take(batch([(T0 + k * S, temperature(k, 2 * degrees, 0))]))
            await settle(world)
        assert [row for row in world.events if row["type"] == "limit"] == []
        assert world.door.conditions(0.0) == []
        assert limits(await world.history()) == ["ok"] * 4
        await world.take(batch([(T0 + 4 * S, temperature(4, 120, 0))]))
        await settle(world)
        (event,) = [row for row in world.events if row["type"] == "limit"]
        (condition,) = world.door.conditions(0.0)
        *before, last = (await world.history())["samples"]
        assert ([row["limit"] for row in before], last["limit"]) == (["ok"] * 4, "high warning")
        assert (event["packet_position"], event["after"]) == (last["position"], last["limit"])
        assert "high warning" in condition.text
