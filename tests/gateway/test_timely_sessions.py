"""Timely sessions as dialogues: the newest within a bounded delay, without positions, and what was skipped, exactly."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from gateway.homes.session import TIMELY_PER_HOME_MAX
from gateway_codecs.batches import IntakeBatch
from gateway_codecs.delivery_block import TIMELY, DeliveryBlock
from gateway_routes.timely import TimelyLimits
from tests.conftest import SEEDS
from tests.gateway.simulated import on_virtual_time
from tests.gateway.test_journal import packets
from tests.gateway.test_sessions import Peer, World


async def listener(world: World, name: str = "now", **more: Any) -> Peer:
    """A peer that was welcomed to a timely session."""
    peer = world.peer()
    welcome = await peer.hello(subscription=name, mode="timely", **more)
    assert (welcome["type"], welcome["mode"]) == ("welcome", "timely"), welcome
    return peer


def values(block: DeliveryBlock) -> list[bytes]:
    assert block.kind == TIMELY
    assert (block.positions == -1).all()
    return [block.batch.octets_of(k) for k in range(len(block.positions))]


async def heard(peer: Peer) -> DeliveryBlock:
    message = await peer.hear()
    assert isinstance(message, DeliveryBlock), message
    return message


@on_virtual_time
async def test_items_come_before_they_are_committed() -> None:
    """Timely mode, R3: what is offered comes at once, without a position, before anything is in the journal."""
    world = await World.open()
    peer = await listener(world)
    world.registry.timely.offer(packets([b"one", b"two"]))
    assert values(await heard(peer)) == [b"one", b"two"]
    assert world.journal.head == 0
    await world.journal.append(IntakeBatch(packets([b"one", b"two"])))
    await asyncio.sleep(5)
    assert peer._down.empty(), "the commit is nothing to a timely session"
    await peer.leave()
    assert not world.registry.timely.wanted


@on_virtual_time
async def test_a_selection_holds_for_timely_sessions_too() -> None:
    """A timely session gets the items of its selection only, and its row says so."""
    world = await World.open()
    peer = await listener(world, selection={"apids": [6]}, max_delay_ms=250)
    for apid in (5, 6, 7):
        world.registry.timely.offer(packets([b"of %d" % apid], apid=apid))
    assert values(await heard(peer)) == [b"of 6"]
    (row,) = world.registry.snapshot()
    assert (row["mode"], row["sent_items"], row["drops"], row["max_delay_ms"]) == ("timely", 1, 0, 250)
    await peer.leave()
    assert world.registry.snapshot() == [], "nothing of a timely session is kept"
    assert world.registry.timely_counts["a"].delivered_items == 1


@on_virtual_time
async def test_who_does_not_read_is_told_what_was_skipped() -> None:
    """R5, timely mode: what a stopped reader missed is told in its place: before the items that followed it."""
    world = await World.open()
    peer = await listener(world)
    peer.deaf = True
    for k in range(40):
        world.registry.timely.offer(packets([b"%02d" % k], apid=k % 2))
        await asyncio.sleep(0.1)
    peer.deaf = False
    block = await heard(peer)
    assert values(block) == [b"00"], "was on its way when the peer stopped"
    told = await peer.hear()
    assert isinstance(told, dict)
    following = values(await heard(peer))
    while following[-1] != b"39":
        following += values(await heard(peer))
    first = 40 - len(following)
    assert following == [b"%02d" % k for k in range(first, 40)]
    assert (told["type"], told["reason"], told["items"], told["octets"]) == (
        "skipped",
        "late",
        first - 1,
        2 * first - 2,
    )
    assert sum(row["items"] for row in told["streams"]) == first - 1
    assert [row["apid"] for row in told["streams"]] == [0, 1]
    await peer.leave()
    assert world.registry.timely_counts["a"].skipped_items == first - 1


@pytest.mark.parametrize(
    "message", [{"type": "ack", "lane": 0, "upto": 1}, {"type": "ack"}, {"type": "subscribe"}, {"type": ""}]
)
@on_virtual_time
async def test_there_is_nothing_to_acknowledge(message: dict[str, Any]) -> None:
    """A client that acknowledges in a timely session is told why it must not; others do not notice."""
    world = await World.open()
    peer, other = await listener(world), await listener(world, "other")
    peer.say(message)
    told = await peer.hear_told("error")
    assert told["code"] == "bad message"
    assert "no positions, nothing to acknowledge" in told["message"]
    world.registry.timely.offer(packets([b"goes on"]))
    assert values(await heard(other)) == [b"goes on"]
    await other.leave()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"cursor": {"low_water": 0}}, "leave 'cursor' out"),
        ({"from": "tail"}, "leave 'from' out"),
        ({"from_position": 0}, "leave 'from_position' out"),
        ({"sequential": True}, "leave 'sequential' out"),
        ({"max_delay_ms": 9}, "from 10 to 60000, not 9"),
        ({"max_delay_ms": 60_001}, "from 10 to 60000"),
        ({"max_delay_ms": True}, "from 10 to 60000"),
        ({"max_delay_ms": "x" * 1000}, "from 10 to 60000"),
        ({"mode": "complete", "max_delay_ms": 100}, "is for mode timely"),
        ({"mode": "hasty"}, "mode is complete, timely, offline, values or playback"),
    ],
)
@on_virtual_time
async def test_a_hello_that_contradicts_itself_is_refused(more: dict[str, Any], says: str) -> None:
    """What has no meaning in timely mode is refused with the way out, and nobody listens."""
    world = await World.open()
    peer = world.peer()
    told = await peer.hello(**{"mode": "timely", **more})
    assert told["type"] == "error"
    assert says in told["message"]
    await peer.leave()
    assert not world.registry.timely.wanted
    assert world.registry.snapshot() == []


@on_virtual_time
async def test_a_newer_session_replaces_the_older_and_there_are_not_too_many() -> None:
    """R13: one timely session by name, so many names for a home; the limit of one home is not that of another."""
    world = await World.open()
    peers = [await listener(world, f"s{k}") for k in range(TIMELY_PER_HOME_MAX)]
    refused = world.peer()
    assert (await refused.hello(subscription="more", mode="timely"))["code"] == "too many"
    queues = [feed.counts.limits.max_octets for feed in world.registry.timely.feeds]
    assert sum(queues) <= 28 << 20, "R5: what one home base does not read is bounded, however many sessions it has"
    assert max(queues) == TimelyLimits().max_octets
    newer = await listener(world, "s0")
    await asyncio.wait([peers[0]._task])
    assert peers[0].closed == "replaced by a newer session of the same subscription"
    of_b = world.peer()
    assert (await of_b.hello(home="b", subscription="more", mode="timely"))["type"] == "welcome"
    for peer in [*peers[1:], newer, of_b, refused]:
        await peer.leave()
    assert not world.registry.timely_sessions
    assert not world.registry.timely.wanted


@on_virtual_time
async def test_the_end_of_a_run_is_told() -> None:
    """When nothing will come any more what waits is sent, then the end; the session stays until the peer leaves."""
    world = await World.open()
    peer = await listener(world)
    world.registry.timely.offer(packets([b"last"]))
    world.registry.timely.finish()
    assert values(await heard(peer)) == [b"last"]
    assert await peer.hear() == {"type": "finished"}
    await peer.leave()


async def any_world(seed: int) -> None:
    """Offers, stopped readers and time at random; then everything is accounted for."""
    rng = random.Random(seed)
    world = await World.open()
    peers = [await listener(world, f"s{k}", max_delay_ms=rng.choice([10, 100, 1000])) for k in range(3)]
    offered = 0
    for _ in range(rng.randrange(5, 60)):
        count = rng.choice([1, 1, 3, 20])
        made = [(offered + k).to_bytes(4, "big") + bytes(rng.randrange(200)) for k in range(count)]
        world.registry.timely.offer(packets(made, apid=rng.randrange(3)))
        offered += count
        for peer in peers[1:]:  # the first one always reads
            peer.deaf = rng.random() < 0.5
        await asyncio.sleep(rng.choice([0, 0, 0.005, 0.3, 2.0]))
    for peer in peers:
        peer.deaf = False
    world.registry.timely.finish()
    for k, peer in enumerate(peers):
        next_number = skipped = 0
        while (message := await peer.hear()) != {"type": "finished"}:
            if isinstance(message, dict):
                assert message["type"] == "skipped", f"seed {seed}"
                assert message["items"] == sum(row["items"] for row in message["streams"])
                next_number += message["items"]
                skipped += message["items"]
                continue
            for value in values(message):
                assert int.from_bytes(value[:4], "big") == next_number, f"seed {seed}: skips are told in their place"
                next_number += 1
        assert next_number == offered, f"seed {seed}: delivered + skipped = offered"
        assert k or not skipped, f"seed {seed}: who reads misses nothing, whoever else does not"
        await peer.leave()


@pytest.mark.parametrize("seed", range(SEEDS // 8))
def test_delivered_and_skipped_are_what_was_offered(seed: int) -> None:
    """Timely mode: whoever stops reading, whenever: every item is delivered or told as skipped, once, in order."""
    on_virtual_time(any_world)(seed)
