"""Reports and rights: what changed counts by what was granted then, and no home base sees the numbers of others."""

from __future__ import annotations

import asyncio
import json

from gateway.access.policy import described
from gateway.accounting.accountant import span_asked
from gateway.accounting.rules import selection_of
from gateway.homes.versions import VERSIONS_KEPT
from gateway_routes.rights import Grant, HomeRights
from gateway_routes.selection import Selection
from tests.gateway.reported_world import World, row_of
from tests.gateway.simulated import on_virtual_time
from tests.gateway.test_sessions import Peer


@on_virtual_time
async def test_rights_that_changed() -> None:
    """Issue: what a home base was entitled to before a change of rights counts by what it was entitled to then, also
    after a restart."""
    world = await World.open()
    for apid in (5, 7, 5):
        await world.commit(2, apid)
    peer = Peer(world.registry)
    await peer.hello(selection={"apids": [5], "kinds": ["tm"]})
    await peer.take(6)
    await asyncio.sleep(1)
    await peer.leave()
    peer = Peer(world.registry)
    await peer.hello(selection={"apids": [7], "kinds": ["tm"]})
    for apid in (5, 7, 7):
        await world.commit(1, apid)
    await peer.take(9)
    await asyncio.sleep(1)
    await peer.leave()
    world = await World.open(world)
    row = row_of(await world.report())
    assert (row["entitled"], row["acknowledged"], row["of_before"]) == (6, 6, 0)
    assert row["former"] == [{"version": 1, "selection": {"apids": [5], "kinds": ["tm"]}, "acknowledged": 4}]
    assert {s["apid"]: s["acknowledged"] for s in row["streams"]} == {5: 4, 7: 2}
    assert row["not_selected"] == 3
    peer = Peer(world.registry)
    told = {
        "journal_id": str(world.journal.journal_id),
        "revision": world.journal.revision,
        "low_water": 0,
        "ranges": [],
    }
    await peer.hello(selection={"apids": [7], "kinds": ["tm"]}, cursor=told)
    await peer.take(9)
    await asyncio.sleep(1)
    row = row_of(await world.report())
    assert (row["entitled"], row["acknowledged"], row["of_before"]) == (4, 4, 0), (
        "it came once more, under other rights"
    )
    await peer.leave()
    await world.registry.remove("a", "all")
    peer = Peer(world.registry)
    await peer.hello(**{"from": "head"})
    assert not world.registry.versions.of("a", "all", 9)
    row = row_of(await world.report())
    assert (row["of_before"], row["former"]) == (world.journal.head, [])
    await peer.leave()


@on_virtual_time
async def test_who_lost_a_right_sees_no_number_of_what_came_since() -> None:
    """No crossing: the report for one home base counts what it got of a stream that it may not have any more, and tells
    nothing of that stream itself; the operator's tells all. Also of what retention has removed."""
    world = await World.open()
    await world.commit(3)
    peer = Peer(world.registry)
    await peer.hello(selection={"kinds": ["tm"]})
    await peer.take(3)
    await asyncio.sleep(1)
    world.registry.policy.exchange({"a": HomeRights((Grant("m", items={"kinds": ["tm"], "apids": [7]}),))})
    world.registry.recheck()
    await peer.leave()
    await world.commit(40, missing=9)
    await world.commit(2, apid=7)
    peer = Peer(world.registry)
    await peer.hello(selection={"kinds": ["tm"]})
    await peer.take(world.journal.head)
    await asyncio.sleep(1)
    for removed in (False, True):
        if removed:
            await world.accounts.count_outlived(world.journal.head)
            world.journal.tail = world.journal.head  # as retention does
        span = span_asked(world.accounts, {"first": 0})
        own = await world.accounts.report(span, frozenset({"a"}), whole=False)
        assert [row["apid"] for row in own["streams"]] == [7]
        row = row_of(own)
        assert [stream["apid"] for stream in row["streams"]] == [7]
        assert (row["received"], row["entitled"], row["acknowledged"]) == (5, 5, 5), removed
        every = await world.report(first=0)
        assert [one["apid"] for one in every["streams"]] == [5, 7]
        assert row_of(every)["received"] == world.journal.head
    await peer.leave()


@on_virtual_time
async def test_many_changes_of_rights_are_bounded() -> None:
    """R13: of a home base that changes its selection for ever the newest versions are kept; of the rest it is said
    that they are not."""
    world = await World.open()
    for k in range(3 * VERSIONS_KEPT):
        await world.commit(1)
        peer = Peer(world.registry)
        await peer.hello(selection={"apids": [5], "vcids": [0, k % 64], "kinds": ["tm"]})
        await peer.take(k + 1)
        await asyncio.sleep(1)
        await peer.leave()
    assert len(world.registry.versions.of("a", "all", 1 << 30)) == VERSIONS_KEPT
    report = await world.report()
    row = row_of(report)
    assert row["of_before"] == 3 * VERSIONS_KEPT - VERSIONS_KEPT - 1
    assert row["acknowledged"] == VERSIONS_KEPT + 1
    assert any("not kept" in remark for remark in report["remarks"])


@on_virtual_time
async def test_a_home_base_sees_its_own_alone() -> None:
    """A home base that asks for its report sees the streams that it is entitled to, and no number of others."""
    world = await World.open()
    await world.commit(3)
    await world.commit(5, apid=7, missing=4)
    peer = Peer(world.registry)
    await peer.hello(selection={"apids": [5], "kinds": ["tm"]})
    await peer.take(8)
    other = Peer(world.registry)
    await other.hello(home="b")
    await asyncio.sleep(1)
    report = await world.accounts.report(span_asked(world.accounts, {}), frozenset({"a"}), whole=False)
    assert [row["apid"] for row in report["streams"]] == [5]
    assert [home["home"] for home in report["homes"]] == ["a"]
    row = row_of(report)
    assert (row["received"], row["entitled"], row["not_selected"], row["not_granted"]) == (3, 3, 0, 0)
    assert (report["refused"], report["link_gaps"], report["journal"]["items"]) == ([], [], None)
    await peer.leave()
    await other.leave()


def test_rights_are_kept_as_json() -> None:
    """The rights of a version are read back as they were: the account is of what was granted then."""
    one = Selection(apids=frozenset({1, 2}), kinds=None, grants=(Selection(vcids=frozenset({3})),), idle=True)
    assert selection_of(json.loads(json.dumps(described(one)))) == one
