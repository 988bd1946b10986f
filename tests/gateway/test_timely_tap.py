"""The timely tap: what links hand to the journal reaches who listens before, and nobody waits for a listener."""

from __future__ import annotations

import asyncio

import pytest

from gateway.timely import FeedEnded, TimelyTap
from gateway_codecs.batches import ItemBatch
from gateway_routes.selection import Selection
from gateway_routes.timely import TimelyLimits
from tests.gateway.simulated import on_virtual_time
from tests.gateway.test_journal import packets

ALL = Selection()


def values(batch: ItemBatch) -> list[bytes]:
    return [batch.octets_of(k) for k in range(len(batch))]


@on_virtual_time
async def test_each_listener_gets_what_it_selected() -> None:
    """Timely mode: a listener gets the items of its selection, offered while it listens, in order."""
    tap = TimelyTap()
    tap.offer(packets([b"before"]))
    with tap.open(ALL) as everything, tap.open(Selection(apids=frozenset({6}))) as some:
        tap.offer(packets([b"one"], apid=5))
        tap.offer(packets([b"two"], apid=6))
        tap.offer(packets([b"three"], apid=6))
        assert values((await everything.take()).batch) == [b"one", b"two", b"three"]
        assert values((await some.take()).batch) == [b"two", b"three"]
    assert not tap.wanted


@on_virtual_time
async def test_a_slow_listener_loses_its_own_oldest_items() -> None:
    """R5: who does not take is told what it missed; who takes gets everything at once."""
    tap = TimelyTap()
    with tap.open(ALL, TimelyLimits(max_delay_s=0.5)) as slow, tap.open(ALL) as quick:
        for k in range(20):
            tap.offer(packets([b"%d" % k]))
            assert values((await quick.take()).batch) == [b"%d" % k]
            await asyncio.sleep(0.1)
        late = await slow.take()
        assert values(late.batch) == [b"%d" % k for k in range(20 - len(late.batch), 20)]
        assert [(s.reason, s.total.items) for s in late.skipped] == [("late", 20 - len(late.batch))]
        assert 4 <= len(late.batch) <= 5
        assert slow.counts.offered_items == 20


@on_virtual_time
async def test_a_listener_waits_until_something_comes() -> None:
    """A take returns with the first item, not before."""
    tap = TimelyTap()
    with tap.open(ALL) as feed:
        taking = asyncio.create_task(feed.take())
        await asyncio.sleep(5)
        assert not taking.done()
        tap.offer(packets([b"now"]))
        assert values((await taking).batch) == [b"now"]


@on_virtual_time
async def test_a_feed_ends_when_it_is_taken_empty() -> None:
    """At the end of a run what waits still comes, then the end is told; who comes later is told at once."""
    tap = TimelyTap()
    feed = tap.open(ALL)
    waiting = tap.open(Selection(apids=frozenset({99})))
    ending = asyncio.create_task(waiting.take())
    await asyncio.sleep(0)
    tap.offer(packets([b"last"]))
    tap.finish()
    assert values((await feed.take()).batch) == [b"last"]
    for ended in (feed, waiting, tap.open(ALL)):
        with pytest.raises(FeedEnded):
            await ended.take()
        ended.close()
    with pytest.raises(FeedEnded):
        await ending
    assert not tap.wanted
