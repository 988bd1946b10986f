"""What a home base will never get is told to it, as the exact range and with the reason (DESIGN 5)."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from gateway import homes
from gateway.console import subscribe
from gateway.console.subscribe import SubscribeOptions, print_summary
from gateway.homes.client import Progress, Subscriber, Wish
from gateway.homes.registry import Subscription, SubscriptionRegistry
from gateway.homes.store import HomeStore
from gateway_codecs.batches import IntakeBatch
from gateway_routes.delivery import Cursor
from tests.gateway.simulated import SimStorage, granted, inline, on_virtual_time, small_store
from tests.gateway.test_journal import packets
from tests.gateway.test_sessions import Peer, World


async def damaged() -> World:
    """A journal of five blocks of three packets, the third of which cannot be read."""
    disk = SimStorage(random.Random(1))
    world = await World.open(disk=disk)
    for k in range(5):
        await world.journal.append(IntakeBatch(packets([b"%d %d" % (k, n) for n in range(3)])))
    await world.journal.close()
    data = disk.volatile["m/journal/00000001.seg"]
    data[data.index(b"2 1")] ^= 1
    return await World.open(world.store, disk)


async def expired() -> World:
    """A journal whose first items are gone."""
    world = await World.open()
    for k in range(100):
        await world.journal.append(IntakeBatch(packets([bytes([k]) * 3000])))
    world.journal.settings = replace(world.journal.settings, keep_octets=100_000)
    await world.journal.retain()
    assert 3 < world.journal.tail < 100
    return world


def told_drops(world: World) -> list[int]:
    return [row["drops"] for row in world.registry.snapshot()]


@on_virtual_time
async def test_damage_is_told_to_the_home_base() -> None:
    """A damaged block is told as its range; everything beside it arrives."""
    disk = SimStorage(random.Random(1))
    world = await World.open(disk=disk)
    await world.commit(10)
    await world.journal.close()
    data = disk.volatile["m/journal/00000001.seg"]
    data[data.index(b"5 4")] ^= 1
    world = await World.open(disk=disk)
    peer = world.peer()
    await peer.hello()
    told = await peer.hear_told("missing")
    assert (told["first"], told["end"]) == (4, 5)
    assert told["reason"] == "damaged: octets of group 0 CRC-32C"
    await peer.leave()
    peer = world.peer()
    await peer.hello()
    assert await peer.take(10) == [b"5 %d" % k for k in range(10) if k != 4]
    await peer.leave()


@on_virtual_time
async def test_what_retention_took_is_told_to_the_home_base() -> None:
    """A home base that was away for too long is told which positions are gone, then gets the rest."""
    world = await expired()
    tail = world.journal.tail
    cursor = {"journal_id": str(world.journal.journal_id), "revision": 1, "low_water": 3, "ranges": []}
    peer = world.peer()
    await peer.hello(cursor=cursor)
    told = await peer.hear_told("missing")
    assert (told["first"], told["end"], told["reason"]) == (3, tail, "expired")
    assert (await peer.take(100))[: 100 - tail] == [bytes([k]) * 3000 for k in range(tail, 100)]
    await peer.leave()


async def test_cursors_are_there_after_a_restart() -> None:
    """R2: the newest cursor that was put is the one that the next start finds."""
    world = await World.open()
    await world.commit(10)
    for low_water in (2, 7):
        await world.registry.put(Subscription("a", "all", 1, {}, Cursor(low_water, ((8, 9),))))
    again = SubscriptionRegistry(world.journal, world.store, inline, *granted("a"))
    await again.load()
    assert again.subscriptions["a", "all"].cursor == Cursor(7, ((8, 9),))
    other = SubscriptionRegistry(world.journal, small_store(), inline, *granted("a"))
    await other.load()
    assert not other.subscriptions


@on_virtual_time
async def test_damaged_items_are_drops() -> None:
    """R4, operation: `drops` counts the positions that a subscription did not get, by retention or damage."""
    world = await damaged()
    peer = world.peer()
    await peer.hello()
    told = await peer.hear_told("missing")
    assert (told["first"], told["end"]) == (6, 9)
    assert told_drops(world) == [3]
    await peer.leave()


@on_virtual_time
async def test_what_is_missing_is_told_exactly() -> None:
    """R4: a home base that has a part of a block that was damaged later is told the rest of it as missing, no more."""
    world = await damaged()
    peer = world.peer()
    cursor = {"journal_id": str(world.journal.journal_id), "revision": 1, "low_water": 7, "ranges": []}
    await peer.hello(cursor=cursor)
    told = await peer.hear_told("missing")
    assert (told["first"], told["end"]) == (7, 9)
    await peer.leave()


@on_virtual_time
async def test_drops_are_kept_with_the_subscription() -> None:
    """R4, operation: `drops` stays when the session leaves, over another selection, and over a restart."""
    world = await expired()
    tail = world.journal.tail
    cursor = {"journal_id": str(world.journal.journal_id), "revision": 1, "low_water": 3, "ranges": []}
    peer = world.peer()
    await peer.hello(cursor=cursor)
    await peer.take(100)
    await peer.hear_told("cursor")
    await peer.leave()
    assert told_drops(world) == [tail - 3]
    again = World(world.journal, world.store, SubscriptionRegistry(world.journal, world.store, inline, *granted("a")))
    await again.registry.load()
    assert told_drops(again) == [tail - 3]
    peer = again.peer()
    await peer.hello(selection={"apids": [9]})
    assert told_drops(again) == [tail - 3]
    await peer.leave()


@on_virtual_time
async def test_a_subscriber_tells_what_is_missing_at_once() -> None:
    """R4: who runs a subscriber is told each range that will never come, with the reason, and the store lists it."""
    world, heard = await expired(), list[tuple[int, int, str]]()
    tail, journal_id = world.journal.tail, str(world.journal.journal_id)
    store = HomeStore(SimStorage(random.Random(2)))
    store.begin(journal_id, 1, 3, {})

    async def dial() -> Pipe:
        return Pipe(world.peer())

    wish = Wish("a", "all")

    def enough(store: HomeStore, progress: Progress) -> bool:
        return store.packets == 100 - tail

    await Subscriber(dial, store, inline, wish, enough=enough, on_missing=lambda *told: heard.append(told)).run()
    assert heard == [(3, tail, "expired")]
    assert store.missing == [[3, tail]]


@pytest.mark.parametrize("as_json", [True, False])
def test_the_summary_lists_what_is_missing(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    """R4: at its end the command says what will never come, for people and as JSON."""
    store = HomeStore(SimStorage(random.Random(1)))
    store.begin("journal", 1, 0, {})
    for lost in ((3, 84), (90, 91)):
        store.note_missing(*lost)
    options = SubscribeOptions(
        "", "m", "a", "all", Path("store"), {}, False, False, None, False, None, None, None, as_json
    )  # fmt: skip
    print_summary(options, store, Progress())
    told = capsys.readouterr().out
    if as_json:
        assert json.loads(told)["missing"] == [[3, 84], [90, 91]]
    else:
        assert "gone for ever, as the gateway told: positions 3..84, 90..91" in told


def test_marks_and_digests_are_called_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """House rule (one name for one thing): a mark is the gateway's count of what it sent; a digest is of a range that
    it asked for. Summary, status and client call them so, and the errors that the page names can be imported."""
    options = SubscribeOptions(
        "", "m", "a", "all", Path("store"), {}, False, False, None, False, None, None, None, False
    )
    store = HomeStore(SimStorage(random.Random(1)))
    print_summary(options, store, Progress(marks_confirmed=3, digests_confirmed=1))
    assert "in this run 3 marks confirmed, 1 digest of ranges confirmed\n" in capsys.readouterr().out
    print_summary(options, store, Progress(marks_confirmed=1, digests_differing=2))
    assert "1 mark confirmed, 0 digests of ranges confirmed, 2 differ\n" in capsys.readouterr().out
    for name in homes.__all__:
        assert getattr(homes, name).__name__ == name
    page = (Path(__file__).parents[2] / "docs" / "home-base.md").read_text()
    for word in ("SubscriptionRefused", "MarkMismatch", "Conflict"):
        assert f"`{word}`" in page
        assert word in homes.__all__


class Pipe:
    """The client's end of a session in memory."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    async def receive(self) -> str | bytes:
        return await self.peer._down.get()

    async def send(self, message: str | bytes) -> None:
        self.peer.say(message)

    async def close(self, reason: str) -> None:
        await self.peer.leave()


@pytest.mark.parametrize("differing", [0, 1])
def test_a_store_that_is_not_what_the_gateway_has_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, differing: int
) -> None:
    """R2: a digest that differs is trouble to a script too, though everything was received."""

    async def received(*_: object) -> Progress:
        return Progress(digests_differing=differing)

    monkeypatch.setattr(subscribe, "_receive", received)
    options = SubscribeOptions(
        "", "m", "a", "all", tmp_path / "store", {}, False, False, None, False, None, None, None, False
    )
    assert subscribe.subscribe_home(options) == differing
