"""Reports: what was received, entitled, delivered and acknowledged adds up, for each contact, day and range."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from gateway.accounting.ranges import day_span, position_at
from gateway.accounting.rules import CountingRules
from gateway.errors import Conflict, NotFound, UsageError
from gateway_codecs.batches import Unit
from gateway_codecs.time_scales import format_utc
from gateway_config import Mission
from gateway_routes.accounts import StreamKey
from tests.gateway.reported_world import DAY, S, World, row_of
from tests.gateway.simulated import on_virtual_time
from tests.gateway.test_sessions import Peer


@on_virtual_time
async def test_a_report_adds_up() -> None:
    """Issue: expected, received, entitled, delivered, acknowledged, and gaps with their reasons."""
    world = await World.open()
    await world.commit(3)
    await world.commit(4, missing=2)
    await world.commit(5, apid=7, missing=3, reason="gateway restart")
    peer = Peer(world.registry)
    await peer.hello(selection={"apids": [5], "kinds": ["tm"]})
    await peer.take(8)
    await asyncio.sleep(1)
    report = await world.report()
    assert [(row["apid"], row["received"], row["missing"]) for row in report["streams"]] == [
        (5, 7, {"space_link": 2}), (7, 5, {"gateway_restart": 3}),
    ]  # fmt: skip
    assert {row["counting"] for row in report["streams"]} == {None}, "the configuration has no such link"
    row = row_of(report)
    assert (row["entitled"], row["acknowledged"], row["waiting"] + row["sent"]) == (7, 7, 0)
    assert row["not_selected"] == report["journal"]["items"] - 7
    assert row["latency"]["measured_items"] == 7
    assert row["latency"]["p100_s"] < 1
    assert report["range"]["under_way"] is True
    await peer.leave()
    await world.commit(2)
    late = row_of(await world.report())
    assert (late["entitled"], late["acknowledged"], late["waiting"], late["sent"]) == (9, 7, 2, 0)


@on_virtual_time
async def test_in_flight() -> None:
    """What was sent and is not acknowledged is in flight: delivered, not acknowledged."""
    world = await World.open()
    await world.commit(6)
    peer = Peer(world.registry)
    await peer.hello()
    while not world.registry.sessions["a", "all"].sent_items >= 6:
        await asyncio.sleep(0.01)
    row = row_of(await world.report())
    assert (row["entitled"], row["sent"], row["delivered"], row["acknowledged"]) == (6, 6, 6, 0)
    await peer.leave()
    row = row_of(await world.report())
    assert (row["waiting"], row["sent"]) == (6, 0), "what a session did not get acknowledged is sent again"


@on_virtual_time
async def test_contacts_and_days() -> None:
    """A contact is from its first good data to its last, or to the next one; a day is what was committed in it."""
    world = await World.open()
    clock = world.clock
    begun = clock.now_ns
    await world.commit(4)
    world.contact(1, begun, clock.now_ns)
    clock.now_ns += 5 * S
    second = clock.now_ns
    await world.commit(3)
    world.contact(2, second, clock.now_ns, "active")
    first = await world.report(contact="1")
    assert (first["range"]["first"], first["range"]["end"], first["range"]["peer"]) == (0, 4, "kiruna")
    active = await world.report(contact="2")
    assert (active["range"]["first"], active["range"]["end"], active["range"]["under_way"]) == (4, 7, True)
    clock.now_ns += DAY
    await world.commit(2)
    day = format_utc(begun)[:10]
    of_day = await world.report(day=day)
    assert (of_day["range"]["first"], of_day["range"]["end"], of_day["range"]["under_way"]) == (0, 7, False)
    between = await world.report(from_utc=format_utc(second), to_utc=format_utc(second + S))
    assert (between["range"]["first"], between["range"]["end"]) == (4, 7)
    assert (await world.report(first=2, end=5))["journal"]["items"] == 3
    world.contacts.append(
        {"id": "3", "spacecraft": "picard", "state": "missed", "first_good_ns": None, "last_good_ns": None}
    )
    for error, asked in (
        (NotFound, {"contact": "9"}), (Conflict, {"contact": "3"}), (UsageError, {"day": "yesterday"}),
        (UsageError, {"day": "2026-1-1"}), (UsageError, {"first": 5, "end": 2}), (Conflict, {"end": 99}),
        (UsageError, {"day": day, "contact": "1"}),
        (UsageError, {"from_utc": format_utc(second), "to_utc": format_utc(begun)}),
    ):  # fmt: skip
        with pytest.raises(error):
            await world.report(**asked)


@on_virtual_time
async def test_every_position_by_its_time() -> None:
    """The first position committed at a time or later is found, whatever the blocks are, and where one is damaged."""
    world = await World.open()
    for k in range(40):
        world.clock.now_ns += S
        await world.commit(1 + k % 3)
    journal = world.journal
    committed = [journal.committed(position)[0] for position in range(journal.head)]
    for at in [committed[0] - 1, *committed, committed[-1] + 1]:
        expected = next((p for p, time in enumerate(committed) if time >= at), journal.head)
        assert position_at(journal, at) == expected


def test_counting_rules_are_those_of_the_configuration() -> None:
    """A stream's rule is what its link, channel and APID say; what the configuration does not have is not known."""
    frames = {
        "version": "tm", "frame_length_octets": 100,
        "vcs": {
            0: {"default_counting": "none", "apids": {5: {"counting": "apid"}, 6: {"counting": "shared:bus"}}},
            1: {"service": "opaque"}, 2: {"service": "opaque", "counting": "none"},
        },
    }  # fmt: skip
    packets = {"default_counting": "shared:all"}
    craft = {"name": "c", "scids": [1], "frames": frames, "packets": packets}
    mission = Mission.model_validate({"name": "m", "spacecraft": [craft]})
    links = {
        "f": SimpleNamespace(spacecraft="c", unit="frames"), "p": SimpleNamespace(spacecraft="c", unit="packets"),
        "g": SimpleNamespace(upstream="x"),
    }  # fmt: skip
    rules = CountingRules(mission, links, {1: "f", 2: "p", 3: "g"})  # type: ignore[arg-type]
    packet, frame = int(Unit.PACKET), int(Unit.FRAME)
    for key, rule in (
        ((1, 1, 0, 5, packet), "apid"), ((1, 1, 0, 6, packet), "shared:bus"), ((1, 1, 0, 7, packet), "none"),
        ((1, 1, 1, -1, frame), "vc_count"), ((1, 1, 2, -1, frame), "none"), ((1, 1, 9, 5, packet), "apid"),
        ((2, 1, -1, 5, packet), "shared:all"), ((3, 1, 0, 5, packet), ""), ((4, 1, 0, 5, packet), ""),
    ):  # fmt: skip
        assert rules(StreamKey(*key)) == rule, key


def test_days_are_next_to_each_other() -> None:
    """Where a day ends the next one begins, also behind a leap second: no item is in two days, or in none."""
    for before, after in (("2016-12-31", "2017-01-01"), ("2026-02-28", "2026-03-01")):
        assert day_span(after).from_ns == day_span(before).end_ns
    assert (day_span("2016-12-31").end_ns or 0) - (day_span("2016-12-31").from_ns or 0) == DAY + S


@on_virtual_time
async def test_nobody_makes_rows_of_his_own() -> None:
    """R13: whoever says names that nobody configured, subscribes to what he may not, or is no home base any more, makes
    no row and no series; refusals are counted by a few words."""
    world = await World.open()
    await world.commit(3)
    for k in range(50):
        peer = Peer(world.registry)
        await peer.hello(**[{"home": f"x{k}"}, {"mode": f"m{k}"}, {"selection": {f"k{k}": 1}}][k % 3])
        await peer.leave()
    limit = world.registry.policy.rights["a"].subscriptions
    for k in range(limit + 5):
        peer = Peer(world.registry)
        told = await peer.hello(subscription=f"s{k}", selection={"apids": [k]})
        assert (told["type"] == "welcome") is (k < limit)
        await peer.leave()
    assert [(row["home"], row["subscriptions"]) for row in world.accounts.homes()] == [("a", limit)]
    assert len(world.registry.refused) <= 5, world.registry.refused
    assert {key[0] for key in world.registry.ledger.latencies} <= {"a"}
    world.registry.ledger.last_seen_ns["gone"] = 1  # as it was kept, of a home base that is not configured any more
    assert "gone" not in {row["home"] for row in world.accounts.homes()}
