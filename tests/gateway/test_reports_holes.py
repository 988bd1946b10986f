"""Reports of what is not there any more: removed, damaged, told as missing."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace

from gateway.playback.resend import resend
from gateway_codecs.batches import IntakeBatch, concatenate
from gateway_routes.playback import RangeBy, Span
from tests.gateway.reported_world import SETTINGS, World, row_of
from tests.gateway.simulated import inline, on_virtual_time
from tests.gateway.test_journal import packets
from tests.gateway.test_sessions import Peer


async def damaged_world() -> World:
    """Commits of two packets, of APIDs 5 and 7; in the second one the octets of APID 7 are damaged."""
    world = await World.open()
    for k in range(3):
        parts = [packets([b"%d of %d" % (k, apid)], apid=apid) for apid in (5, 7)]
        for one in parts:
            one.items["link"] = one.items["spacecraft"] = 1
        await world.journal.append(IntakeBatch(concatenate(parts)), "station")
    await world.journal.close()
    data = world.disk.volatile["m/journal/00000001.seg"]
    data[data.index(b"1 of 7")] ^= 1
    return await World.open(world)


@on_virtual_time
async def test_holes() -> None:
    """What retention removed, or cannot be read, is told as positions: what they held is not known."""
    world = await World.open()
    await world.commit(200)
    journal = world.journal
    journal.settings = replace(SETTINGS, keep_octets=1)
    await world.commit(600)
    await journal.retain()
    assert journal.tail > 0
    report = await world.report(first=0)
    assert report["journal"]["expired_positions"] == journal.tail
    assert any("retention" in remark for remark in report["remarks"])
    segment = sorted(name for name in world.disk.durable if name.endswith(".seg"))[-1]
    world.disk.bad.append((segment, 3000, 3001))
    report = await world.report(first=journal.tail)
    lost = report["journal"]["damaged_positions"]
    assert lost > 0
    assert report["journal"]["items"] + lost == report["range"]["end"] - journal.tail


@on_virtual_time
async def test_damaged_items_are_counted() -> None:
    """Issue: what cannot be read any more is told in items, for each stream and home base; who wanted nothing of it
    has no hole."""
    world = await damaged_world()
    whole, other = Peer(world.registry), Peer(world.registry)
    await whole.hello(selection={"kinds": ["tm"]})
    await whole.take(6)
    await other.hello(home="b", selection={"apids": [5], "kinds": ["tm"]})
    await other.take(6)
    await asyncio.sleep(1)
    report = await world.report()
    about = report["journal"]
    assert (about["items"], about["damaged_positions"], about["damaged_items"], about["damaged"]) == (6, 1, 1, [])
    assert [(row["apid"], row["received"]) for row in report["streams"]] == [(5, 3), (7, 3)]
    a, b = row_of(report), row_of(report, "b")
    assert (a["entitled"], a["acknowledged"], a["damaged"]) == (6, 4, 2), "of such a block it was told all as missing"
    assert (b["entitled"], b["acknowledged"], b["damaged"]) == (3, 3, 0)
    assert (a["digest"]["state"], b["digest"]["state"]) == ("cannot be compared", "not confirmed")
    assert b["digest"]["sha256"] == hashlib.sha256(b"0 of 51 of 52 of 5").hexdigest()
    for peer in (whole, other):
        await peer.leave()


@on_virtual_time
async def test_what_was_told_as_missing_stays_so() -> None:
    """A disk that could not be read for a while: what was told as missing is not counted as acknowledged, nor is it
    part of a digest that could be confirmed; sent again, it is acknowledged."""
    world = await World.open()
    await world.commit(6)
    await world.journal.close()
    whole = bytes(world.disk.volatile["m/journal/00000001.seg"])
    world.disk.volatile["m/journal/00000001.seg"][whole.index(b"5 2 2")] ^= 1
    world = await World.open(world)
    peer = Peer(world.registry)
    await peer.hello()
    await peer.take(6)
    await asyncio.sleep(1)
    await peer.leave()
    await world.journal.close()
    world.disk.volatile["m/journal/00000001.seg"][:] = whole
    again = await World.open(world)
    row = row_of(await again.report())
    assert (row["entitled"], row["acknowledged"], row["damaged"]) == (6, 5, 1)
    assert row["digest"]["state"] == "cannot be compared"
    await resend(again.registry, "a", "all", Span(RangeBy.POSITIONS, 1, 4), inline)
    row = row_of(await again.report())
    assert (row["acknowledged"], row["waiting"], row["damaged"]) == (3, 3, 0)
