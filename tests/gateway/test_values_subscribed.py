"""What subscriptions send is what history has: derived of several packet types, limit states that look back."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.homes.registry import SubscriptionRegistry
from gateway_codecs.batches import DataMode
from gateway_codecs.mdb.arriving import Arriving, Joining
from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.mdb.samples import Samples, concatenated
from gateway_codecs.mdb.standing import Standing, Watch, watch_of
from tests.gateway.simulated import on_virtual_time
from tests.gateway.test_value_sessions import served, subscriber
from tests.gateway.test_values_standing import RATIO, TWICE, by_hand, made, watched_database
from tests.gateway.values_world import COUNT, FAST, MODE, T0, TEMP, S, World, batch, counting, temperature

NAMES = (TEMP, FAST, RATIO, TWICE)
Rows = list[dict[str, Any]]


async def told(world: World, registry: SubscriptionRegistry, names: tuple[str, ...], **more: Any) -> Rows:
    """All that a subscription says until it has looked at everything that is there."""
    peer, welcome = await subscriber(registry, *names, **more)
    assert welcome["type"] == "welcome", welcome
    rows: Rows = []
    while True:
        message = await peer.hear()
        assert isinstance(message, dict)
        rows += message["values"]
        if message["upto"] >= world.journal.head:
            await peer.leave()
            return rows


def of_one(rows: Rows, name: str) -> list[tuple[Any, ...]]:
    keys = ("position", "time_utc", "element", "value", "validity", "limit")
    return [tuple(row.get(key) for key in keys) for row in rows if row.get("parameter", name) == name]


@on_virtual_time
async def test_complete_is_history_by_position(tmp_path: Path) -> None:
    """Issue: of packets in order `complete` sends, position by position, what history has, limit states and derived
    values too; who goes on from any place gets the rest of it."""
    rng = random.Random(4)
    packets = made(rng, 150)
    async with served(tmp_path, watched_database()) as (world, registry):
        for first in range(0, len(packets), 11):
            await world.take(batch(packets[first : first + 11]))
        for begin in (0, *rng.sample(range(150), 4)):
            rows = await told(world, registry, NAMES, delivery="complete", from_position=begin)
            for name in NAMES:
                whole = of_one((await world.history(name, order="journal"))["samples"], name)
                expected = [row for row in whole if row[0] >= begin]
                assert of_one(rows, name) == expected, name
                assert {row[-1] for row in whole} >= {"ok", "high warning"}
            assert [row["position"] for row in rows] == sorted(row["position"] for row in rows)


@on_virtual_time
async def test_packets_that_overtake_each_other(tmp_path: Path) -> None:
    """Packets of two types out of order by seconds: of each time the last that came is what history has."""
    rng = random.Random(5)
    packets = sorted(made(rng, 150), key=lambda one: one[0] + rng.randrange(6 * S))
    async with served(tmp_path, watched_database()) as (world, registry):
        for first in range(0, len(packets), 11):
            await world.take(batch(packets[first : first + 11]))
        rows = await told(world, registry, (RATIO, TWICE), delivery="complete", from_position=0)
        for name in (RATIO, TWICE):
            last = {row[1]: row for row in of_one(rows, name)}
            found = of_one((await world.history(name))["samples"], name)
            assert [row[:-1] for row in found] == [last[time][:-1] for time in sorted(last)]


@on_virtual_time
async def test_a_dump_between(tmp_path: Path) -> None:
    """A dump among live packets neither ends nor makes violations of theirs, and is joined with itself; what is live
    shows the states of live values."""
    rng = random.Random(6)
    dumped, packets = made(rng, 200), made(rng, 900)
    dumped = [(time - 100_000 * S, octets) for time, octets in dumped]
    async with served(tmp_path, watched_database()) as (world, registry):
        live, _ = await subscriber(registry, TEMP)
        for k in range(60):
            await world.take(batch(packets[k * 15 : k * 15 + 15]))
            if k >= 40:
                await world.take(batch(dumped[k * 10 - 400 : k * 10 - 390], mode=DataMode.DUMP))
        rows = await told(world, registry, NAMES, delivery="complete", from_position=0)
        for mode, came in (("real_time", packets), ("dump", dumped)):
            assert [row["limit"] for row in rows if (row["parameter"], row["data_mode"]) == (TEMP, mode)] == by_hand(
                came
            )
        in_order = await World.open(tmp_path / "dump", watched_database())
        await in_order.take(batch(dumped))
        expected = of_one((await in_order.history(RATIO, -1e6))["samples"], RATIO)
        ratios = of_one([row for row in rows if row["data_mode"] == "dump"], RATIO)
        assert [row[1:] for row in ratios] == [row[1:] for row in expected]
        await in_order.journal.close()
        changes: Rows = []
        real = [row for row in rows if (row["parameter"], row["data_mode"]) == (TEMP, "real_time")]
        seen: Any = None
        for row in real:
            changes += [row] if (row["value"], row["validity"], row["limit"]) != seen else []
            seen = (row["value"], row["validity"], row["limit"])
        got: Rows = []
        while len(got) < len(changes):
            message = await live.hear()
            assert isinstance(message, dict)
            got += message["values"]
        assert of_one(got, TEMP) == of_one(changes, TEMP)
        await live.leave()


# ---- pure ----

OF = watched_database()
DECODER = Decoder(OF)
PACKETS = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from((0, 20, 60, 75)), st.booleans(), st.integers(0, 4)),
    min_size=1, max_size=24,
)  # fmt: skip


def decoded(rows: list[tuple[int, int, bool, int]]) -> dict[str, Samples]:
    """Samples of TEMP and COUNT by position: (seconds, value, whether a COUNT, which of the rows they repeat)."""
    packets = [
        (T0 + time * S, counting(k, 8 * value) if counts else temperature(k, 2 * value, int(value == 75)))
        for k, (time, value, counts, _) in enumerate(rows)
    ]
    for k, (_, _, _, again) in enumerate(rows):
        if again == 1 and k:
            packets[k] = packets[k // 2]
    of = batch(packets)
    watch, found = watch_of(OF, TEMP), dict[str, list[Samples]]()
    assert watch is not None
    lengths = of.items["length"].astype(np.int64)
    from gateway_codecs.mdb.samples import samples_of

    for one in DECODER.decode(of.octets, of.items["offset"], lengths, frozenset({TEMP, COUNT, MODE})):
        for name in (TEMP, COUNT):
            if name in one.columns:
                column = one.columns[name]
                samples = samples_of(of, np.arange(len(rows)), one.rows, column)
                more = watch.columns(column, one.columns) if name == TEMP else {}
                found.setdefault(name, []).append(
                    Samples(name, {**samples.columns, **more}, samples.unit, samples.labels)
                )
    whole = {name: concatenated(pieces) for name, pieces in found.items()}
    return {name: one.take(np.argsort(one["position"], kind="stable")) for name, one in whole.items()}


def cut(samples: dict[str, Samples], edges: list[int]) -> list[dict[str, Samples]]:
    ends = [0, *sorted(edges), 1 << 40]
    return [
        {name: one.take((one["position"] >= a) & (one["position"] < b)) for name, one in samples.items()}
        for a, b in pairwise(ends)
    ]


def _once_told(samples: list[Samples]) -> list[tuple[Any, ...]]:
    names = ("position", "time_ns", "engineering", "limit")
    return [row for one in samples for row in zip(*(one[name].tolist() for name in names), strict=True)]


@pytest.mark.parametrize("kept", [4, 256])
def test_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    """However packets are cut into batches, in whatever order they come: the same states and the same samples."""
    monkeypatch.setattr("gateway_codecs.mdb.arriving.KEPT", kept)
    watch = watch_of(OF, TEMP)
    assert watch is not None
    watch = Watch(watch.parameter, watch.alarms, watch.inputs, 1 if kept < 10 else watch.packets_before)

    @given(PACKETS, st.lists(st.integers(0, 24), max_size=4))
    def check(rows: list[tuple[int, int, bool, int]], edges: list[int]) -> None:
        whole = decoded(rows)
        ways = []
        for pieces in ([whole], cut(whole, edges), cut(whole, list(range(25)))):
            states, joining = Arriving(watch), Joining(DECODER.joined()[RATIO], frozenset(DECODER.joined()), None)
            shown = [states.shown(one[TEMP]) for one in pieces if TEMP in one]
            made = [joining.take(one) for one in pieces]
            ways.append((_once_told(shown), _once_told([one for one in made if len(one)])))
        assert ways[0][0] == ways[1][0] == ways[2][0]
        assert repr(ways[0][1]) == repr(ways[1][1]) == repr(ways[2][1])

    check()


@given(PACKETS)
def test_the_last_state_is_that_of_all(rows: list[tuple[int, int, bool, int]]) -> None:
    """When a packet has come, its limit state is what history says of what is there."""
    from gateway_codecs.mdb.samples import by_time, once

    watch = watch_of(OF, TEMP)
    assert watch is not None
    came = decoded(rows).get(TEMP)
    if came is None:
        return
    told_then = Arriving(watch).shown(came)["limit"].tolist()
    for k, state in enumerate(told_then):
        merged = once(by_time(came.take(slice(0, k + 1))))
        limit = Standing(watch).shown(merged)["limit"]
        row = np.flatnonzero(merged["position"] == came["position"][k])
        if not len(row):
            row = merged.again.row[merged.again.position == came["position"][k]]
        assert limit[row[0]] == state
