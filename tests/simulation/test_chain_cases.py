"""What can happen between two gateways: loops, expired and damaged positions, another journal, odd names, rubbish."""

from __future__ import annotations

import asyncio
import functools
import json
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.accounting.report import _gaps
from gateway.homes.client import SubscriptionRefused
from gateway.instance_rows import event_row
from gateway.timely import TimelyTap
from gateway.values.lateness import Lateness
from gateway.wiring import _token as token_in
from gateway_codecs.batches import DataMode, Gap, IntakeBatch, ItemFlag, Kind, Quality, Unit, no_items
from gateway_codecs.delivery_block import encode_data, encode_mark, encode_timely
from gateway_routes.delivery import RANGES_MAX
from gateway_routes.link_state import LinkStatus
from tests.gateway.simulated import SimLoop, SimStorage
from tests.gateway.test_journal import packets
from tests.simulation.chain import EVERYTHING, Gate, begin, end, until

OWN = {"links": ["station"], "kinds": ["tm"]}


def in_calm(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on virtual time, in a world where nothing breaks by itself."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def begun() -> None:
            begin()
            await test(*args, **kwargs)

        with asyncio.Runner(loop_factory=SimLoop) as runner:
            runner.run(begun())

    return run


class Calm(random.Random):
    """Chance that never breaks anything."""

    def random(self) -> float:
        return 0.5

    def choice(self, seq: Any) -> Any:
        return seq[0]


def calm(name: str) -> Gate:
    gate = Gate(name, Calm(), fuses=False)
    gate.finishes = False
    return gate


async def feed(gate: Gate, *values: bytes, link: str = "station", spacecraft: str = "picard", **columns: int) -> None:
    """Packets arrive at a gateway's own station."""
    batch = packets(list(values), apid=7)
    batch.items["link"], batch.items["data_mode"] = gate.journal.name_id("links", link), DataMode.REAL_TIME
    batch.items["spacecraft"] = gate.journal.name_id("spacecraft", spacecraft) if spacecraft else 0
    for name, value in columns.items():
        batch.items[name] = value
    await gate.journal.append(IntakeBatch(batch))


async def held(gate: Gate, **columns: int) -> list[bytes]:
    """Return the telemetry that a gateway has, in its own order."""
    _, batch = await gate.items()
    items = batch.items
    rows = (items["kind"] == Kind.TM).nonzero()[0].tolist()
    return [batch.octets_of(k) for k in rows if all(items[name][k] == value for name, value in columns.items())]


def told(gate: Gate, kind: str = "upstream") -> list[dict[str, Any]]:
    return [event for event in gate.events if event["type"] == kind]


async def journalled(gate: Gate, kind: str) -> list[dict[str, Any]]:
    """Return the events of a type in a gateway's journal."""
    _, batch = await gate.items()
    rows = (batch.items["kind"] == Kind.EVENT).nonzero()[0].tolist()
    events = [json.loads(batch.octets_of(k)) for k in rows]
    return [event for event in events if event["type"] == kind]


def connected(gate: Gate, link: str = "relay") -> bool:
    return gate.links[link].status in {LinkStatus.CONNECTED, LinkStatus.RECEIVING}


@pytest.mark.parametrize("names", ["ab", "abc", "a"])
@in_calm
async def test_a_circle_never_closes(names: str) -> None:
    """Loops: in a circle of gateways that all start at once no item comes home, one link is refused, nobody spins."""
    gates = [calm(name) for name in names]
    for k, gate in enumerate(gates):
        gate.chance = random.Random(k).random  # of waiting longer: those who never differ would meet for ever
        gate.after(gates[k - 1])
    for gate in gates:
        await gate.start()
    await asyncio.sleep(60)
    refused = [gate for gate in gates if not connected(gate)]
    assert len(refused) == 1
    attempts = sum(len(gate.sessions) for gate in gates)
    for k, gate in enumerate(gates):
        await feed(gate, b"of %d" % k)
    await asyncio.sleep(600)
    assert [gate for gate in gates if not connected(gate)] == refused
    assert "loop: what it sends" in refused[0].links["relay"].snapshot()["detail"]
    assert [e["severity"] for e in told(refused[0]) if "loop" in e["message"]] == ["error"], "told once"
    for gate in gates:
        found = await held(gate)
        assert len(found) == len(set(found)), f"{gate.name} got something twice: {found}"
        assert [octets for octets in found if octets == b"of %d" % gates.index(gate)], "its own is there"
    last = gates[(gates.index(refused[0]) - 1) % len(gates)]
    assert len(await held(last)) == len(gates), "what is not refused is passed on"
    assert sum(len(gate.sessions) for gate in gates) - attempts < 600, "it is tried again, not faster and faster"
    await end(gates)


@in_calm
async def test_two_gateways_give_each_other_what_is_their_own() -> None:
    """A loop is one of items, not of gateways: links of their own alone can be exchanged both ways."""
    a, b = calm("a"), calm("b")
    a.after(b, OWN), b.after(a, OWN)
    for gate in (a, b):
        await gate.start()
        gate.journal.name_id("links", "station")
        await feed(gate, b"at " + gate.name.encode())
    await until(lambda: connected(a) and connected(b))
    await asyncio.sleep(5)
    assert sorted(await held(a)) == sorted(await held(b)) == [b"at a", b"at b"]
    await end([a, b])


@in_calm
async def test_what_the_upstream_has_no_more_is_a_gap() -> None:
    """R4: positions that retention took, or that are damaged, become gap events with the exact range and reason."""
    a, b = calm("a"), calm("b")
    b.after(a)
    await a.start()
    a.journal.settings = a.journal.settings.__class__(segment_octets=2000, keep_octets=6000, reserve_octets=0)
    await b.start()
    await feed(a, b"first")
    await until(lambda: connected(b))
    await asyncio.sleep(1)
    await b.kill()
    for k in range(60):
        await feed(a, b"%d" % k * 50)
    await a.journal.retain()
    tail = a.journal.tail
    assert tail > 10
    await b.start()
    await until(lambda: b.links["relay"].snapshot()["counters"]["missing_positions"] > 0)
    await asyncio.sleep(5)
    (gap,) = await journalled(b, "gap")
    assert (gap["first"], gap["end"], gap["missing"], gap["reason"]) == (1, tail, tail - 1, "upstream: expired")
    assert gap["upstream"] == {"journal_id": str(a.journal.journal_id), "revision": 1}
    _, batch = await b.items()
    where = batch.items["upstream_position"]
    theirs, _ = await a.items()
    assert sorted(where[where >= 0].tolist()) == [0, *theirs.tolist()]
    await end([a, b])


@in_calm
async def test_another_journal_is_told_and_taken_from_its_beginning() -> None:
    """A replaced upstream: it is told, and taken whole; when the old one returns it goes on, nothing comes twice."""
    a, b = calm("a"), calm("b")
    b.after(a)
    await a.start()
    await b.start()
    await feed(a, b"old 1", b"old 2")
    await until(lambda: connected(b))
    await asyncio.sleep(1)
    await a.kill()
    old_disk, old_id, a.disk = a.disk, a.journal.journal_id, SimStorage(Calm())
    await a.start()
    assert a.journal.journal_id != old_id
    await feed(a, b"new 1")
    await asyncio.sleep(30)
    assert await held(b) == [b"old 1", b"old 2", b"new 1"]
    news = await journalled(b, "upstream")
    assert [(e["severity"], e["from"], e["before"]) for e in news] == [
        ("info", 0, None), ("error", 0, f"{old_id}/1")
    ]  # fmt: skip
    assert f"what that had beyond position {2} is not there" in news[1]["message"]
    await a.kill()
    a.disk = old_disk
    await a.start()
    await feed(a, b"old 3")
    await asyncio.sleep(30)
    assert await held(b) == [b"old 1", b"old 2", b"new 1", b"old 3"]
    await end([a, b])


@in_calm
async def test_spacecraft_go_by_name() -> None:
    """Numbers are the upstream's: here a spacecraft is the one of that name; one that is not ours is kept, and told."""
    a, b = calm("a"), calm("b")
    b.after(a)
    await a.start()
    await b.start()
    for filler in ("x", "y"):
        b.journal.name_id("spacecraft", filler)
    await feed(a, b"ours")
    await until(lambda: connected(b))
    await feed(a, b"strange", b"strange too", spacecraft="stranger")
    await feed(a, b"of none", spacecraft="")
    await asyncio.sleep(10)
    _, batch = await b.items()
    names = b.journal.names("spacecraft")
    found = {batch.octets_of(k): names.get(int(batch.items["spacecraft"][k])) for k in range(len(batch))
             if batch.items["kind"][k] == Kind.TM}  # fmt: skip
    assert found == {b"ours": "picard", b"strange": "stranger", b"strange too": "stranger", b"of none": None}
    shown = b.links["relay"].snapshot()
    assert shown["counters"]["unknown_spacecraft"] == 2
    assert "stranger" in shown["notice"]
    assert len([e for e in told(b) if "stranger" in e["message"]]) == 1
    await end([a, b])


@in_calm
async def test_only_what_is_live_drives_what_is_live() -> None:
    """DESIGN 1: what comes as backfill opens no contact, goes to no timely listener, and says that it is late."""
    a, b = calm("a"), calm("b")
    b.after(a)
    await a.start()
    await feed(a, b"before")
    await b.start()
    tap = TimelyTap()
    b.links["relay"]._context.timely = tap
    with tap.open(EVERYTHING) as feed_of_b:
        await until(lambda: connected(b))
        await asyncio.sleep(5)
        assert await held(b) == [b"before"]
        assert b.good == []
        await feed(a, b"now")
        await feed(a, b"dumped", data_mode=DataMode.DUMP)
        await feed(a, b"bad", quality=Quality.FECF)
        await asyncio.sleep(0.5)
        taken = await feed_of_b.take()
    offered = [taken.batch.octets_of(k) for k in range(len(taken.batch)) if taken.batch.items["kind"][k] == Kind.TM]
    assert offered == [b"now", b"dumped", b"bad"]
    assert b.good == ["picard"], "real-time, good and live alone"
    _, batch = await b.items()
    late = {batch.octets_of(k): bool(batch.items["flags"][k] & ItemFlag.BACKFILL) for k in range(len(batch))
            if batch.items["kind"][k] == Kind.TM}  # fmt: skip
    assert late == {b"before": True, b"now": False, b"dumped": False, b"bad": False}
    assert b.links["relay"].snapshot()["counters"]["rejected_fecf"] == 1
    await end([a, b])


def test_backfill_is_late_for_live_values() -> None:
    """DESIGN 1: a backfilled packet is no live value, however new its time is, and makes no other packet late."""
    items = no_items(4)
    items["apid"], items["generation_time_ns"] = 5, [10, 99, 11, 12]
    items["flags"] = [0, ItemFlag.BACKFILL, 0, 0]
    assert Lateness().not_late(items).tolist() == [True, False, True, True]


@in_calm
async def test_events_of_the_upstream_speak_of_it() -> None:
    """Numbers in an event of the upstream are the upstream's; the columns, and what is counted by them, are ours."""
    a, b = calm("a"), calm("b")
    b.after(a)
    await a.start()
    for filler in ("x", "y"):
        a.journal.name_id("links", filler)
    number = a.journal.name_id("links", "station")
    await b.start()
    await until(lambda: connected(b))
    gap = Gap("packets", a.journal.name_id("spacecraft", "picard"), 0, 7, 0, 3, 2, "space link")
    batch = packets([b"after a gap"], apid=7)
    batch.items["link"] = number
    await a.journal.append(IntakeBatch(batch, gaps=(gap,)), "station")
    await asyncio.sleep(5)
    positions, found = await b.items()
    (told_here,) = _gaps(positions, found)
    assert told_here.link == b.journal.name_id("links", "relay") != number
    assert told_here.spacecraft == b.journal.name_id("spacecraft", "picard")
    assert (told_here.what, told_here.missing, told_here.reason) == ("packets", 2, "space link")
    row = (found.items["kind"] == Kind.EVENT).nonzero()[0].tolist()[-1]
    shown = event_row(int(positions[row]), found, row, b.journal.names("links"))
    assert shown["position"] == positions[row]
    assert shown["upstream"] == {"link": "relay", "position": found.items["upstream_position"][row]}
    await end([a, b])


@in_calm
async def test_silence_in_a_contact_is_down_until_something_comes() -> None:
    """R10: an upstream that says nothing in a contact is marked down; the connection stays, data bring it back."""
    a, b = calm("a"), calm("b")
    b.after(a)
    await a.start()
    await b.start()
    await until(lambda: connected(b))
    b.contact = True
    await asyncio.sleep(4)
    assert connected(b)
    await asyncio.sleep(3)
    assert b.links["relay"].status == LinkStatus.UNAVAILABLE
    assert "silent for 5 s" in b.links["relay"].snapshot()["detail"]
    await feed(a, b"back")
    await asyncio.sleep(1)
    assert b.links["relay"].status == LinkStatus.RECEIVING
    assert b.links["relay"].snapshot()["counters"]["connects"] == 1, b.events
    await end([a, b])


@in_calm
async def test_a_full_disk_here_costs_nothing() -> None:
    """R2, R12: while our disk takes nothing the upstream is not told of anything; then all of it comes, once."""
    a, b = calm("a"), calm("b")
    b.after(a)
    await a.start()
    await b.start()
    await until(lambda: connected(b))
    await asyncio.sleep(1)
    b.disk.fail_writes = 200
    await feed(a, b"one")
    await feed(a, b"two")
    await asyncio.sleep(1)
    (subscription,) = a.registry.subscriptions.values()  # type: ignore[union-attr]
    assert subscription.cursor.low_water == 0
    await b.act("relay", "disable")  # what waits for the disk is committed later, and must not be asked for again
    await b.act("relay", "enable")
    await asyncio.sleep(1)
    b.disk.fail_writes = 0
    await asyncio.sleep(10)
    (subscription,) = a.registry.subscriptions.values()  # type: ignore[union-attr]
    assert subscription.cursor.low_water == 2
    assert await held(b) == [b"one", b"two"]
    await end([a, b])


@in_calm
async def test_many_ranges_are_not_forgotten() -> None:
    """R4: with too many ranges above the low water the one lane is asked for, so that none is forgotten and doubled."""
    a, b = calm("a"), calm("b")
    b.after(a)
    await a.start()
    await feed(a, *[b"%d" % k for k in range(RANGES_MAX + 10)])
    await b.start()
    await until(lambda: connected(b))
    journal_id = str(a.journal.journal_id)
    await b.kill()
    await b.start()
    await b.act("relay", "disable")
    row = {"low_water": 0, "ranges": [[2 * k + 1, 2 * k + 2] for k in range(RANGES_MAX // 2)]}
    state = {"upstream": {"now": f"{journal_id}/1", "journals": {f"{journal_id}/1": row}, "path": [journal_id]}}
    before = len(await held(b))
    await b.journal.append(IntakeBatch(no_batch(), state=state), "relay")
    await b.act("relay", "enable")
    await asyncio.sleep(20)
    upstream = b.links["relay"].snapshot()["upstream"]
    assert (upstream["acknowledged_ranges"], upstream["low_water"]) == ([], a.journal.head)
    assert len(await held(b)) - before == a.journal.head - RANGES_MAX // 2
    await end([a, b])


def no_batch() -> Any:
    from gateway_codecs.batches import empty_items

    return empty_items()


class Forger:
    """A channel to an upstream that says what it likes."""

    def __init__(self, *messages: str | bytes) -> None:
        self.messages, self.sent = list(messages), list[Any]()

    async def receive(self) -> str | bytes:
        if not self.messages:
            await asyncio.Event().wait()
        return self.messages.pop(0)

    async def send(self, message: str | bytes) -> None:
        self.sent.append(json.loads(message))

    async def close(self, reason: str) -> None:
        pass


FORGED = "3f3b0a3e-1d5a-4f0e-9d55-111111111111"
WELCOME: dict[str, Any] = {
    "type": "welcome", "journal_id": FORGED, "revision": 1, "tail": 0, "head": 0, "low_water": 0, "ranges": [],
    "lanes": {"live": 0}, "names": {"spacecraft": {"1": "picard"}, "links": {}}, "path": [FORGED],
}  # fmt: skip


def data(count: int = 2, first: int = 0, **columns: Any) -> bytes:
    batch = packets([b"%d" % k for k in range(count)], apid=7)
    batch.items["spacecraft"] = 1
    for name, values in columns.items():
        batch.items[name] = values
    return encode_data(0, first, first + count, np.arange(first, first + count), batch)


async def forged(*messages: Any) -> tuple[Gate, Forger]:
    """Let a gateway connect to a forger once."""
    a, b = calm("a"), calm("b")
    b.after(a)
    await b.start()
    await b.act("relay", "disable")
    forger = Forger(*[m if isinstance(m, bytes | str) else json.dumps(m) for m in messages])
    calls = iter([forger])

    async def dial() -> Forger:
        try:
            return next(calls)
        except StopIteration:
            raise ConnectionError("nobody there") from None

    b.links["relay"]._dial = dial  # type: ignore[attr-defined]
    await b.act("relay", "enable")
    await asyncio.sleep(30)
    return b, forger


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        (["no JSON"], "no control message"),
        ([b"octets"], "no control message"),
        ([{"type": "error", "code": "too many", "message": "go away"}], "refused (too many): go away"),
        ([WELCOME | {"path": None}], "path of its items"),
        ([WELCOME | {"path": ["me"]}], "no journal id"),
        ([WELCOME | {"journal_id": "../../etc"}], "no journal id"),
        ([WELCOME | {"revision": "1"}], "'revision' is a whole number"),
        ([WELCOME | {"names": []}], "welcome cannot be understood"),
        ([WELCOME | {"lanes": {"sideways": 0}}], "welcome cannot be understood"),
        ([WELCOME | {"ranges": [[5, 1]]}], "welcome cannot be understood"),
        ([WELCOME | {"names": {"spacecraft": {str(k): "x" for k in range(2000)}}}], "names 2000 spacecraft"),
        ([WELCOME, b"rubbish"], "block that cannot be read"),
        ([WELCOME, data(first=7)], "something got lost"),
        ([WELCOME, encode_timely(packets([b"x"]))], "timely block"),
        ([WELCOME, {"type": "missing", "lane": 0, "first": 9, "end": 3}], "which is no range"),
        ([WELCOME, {"type": "path", "path": []}], "path of its items"),
        ([WELCOME, data(spacecraft=9)], "number 9 came after the welcome"),
    ],
)
@in_calm
async def test_an_upstream_that_says_what_cannot_be(messages: list[Any], why: str) -> None:
    """R6: whatever the upstream says, the link tells why it does not go on, and tries again later."""
    b, _ = await forged(*messages)
    assert any(why in event["message"] for event in told(b) + told(b, "link")), (told(b), told(b, "link"))
    assert b.links["relay"].status == LinkStatus.UNAVAILABLE
    assert b.links["relay"].snapshot()["counters"]["failures"] == 0
    await end([b])


@in_calm
async def test_no_right_to_come_in() -> None:
    """A token that is not there, or not accepted, is told once with the way out, and looked for again each time."""
    a, b = calm("a"), calm("b")
    b.after(a)
    await b.start()
    await b.act("relay", "disable")
    tries = iter(range(1000))

    async def dial() -> Any:
        if next(tries) < 3:
            token_in(Path("nowhere.token"))
        raise SubscriptionRefused("the gateway refused (unknown token): revoked", "unknown token")

    b.links["relay"]._dial = dial  # type: ignore[attr-defined]
    await b.act("relay", "enable")
    await asyncio.sleep(60)
    first, second = (event["message"] for event in told(b))
    assert "no token in nowhere.token" in first
    assert "gateway homes token" in first
    assert "unknown token" in second
    assert b.links["relay"].status == LinkStatus.UNAVAILABLE
    await end([b])


@in_calm
async def test_what_came_before_the_rubbish_is_kept() -> None:
    """R6: a bad block hides nothing of the good one before it, which is journalled and acknowledged."""
    b, forger = await forged(WELCOME, data(), b"rubbish")
    assert await held(b) == [b"0", b"1"]
    assert forger.sent[-1] == {"type": "ack", "lane": 0, "upto": 2}
    assert b.links["relay"].snapshot()["upstream"]["low_water"] == 2
    await end([b])


@in_calm
async def test_items_that_cannot_be_are_set_apart() -> None:
    """R6: a kind, a quality, an event that is none: kept as octets that belong to nothing, counted; good ones stay."""
    bad = {"kind": [1, 9, 1, 5, 5, 1], "unit": [1, 1, 1, 4, 4, 1], "quality": [0, 0, 99, 0, 0, 0],
           "vcid": [1, 1, 1, -1, -1, 77], "receive_time_ns": [5, 5, 5, 5, 5, -9]}  # fmt: skip
    b, _ = await forged(WELCOME, data(6, **bad), data(1, first=6))
    _, batch = await b.items()
    rows = (batch.items["upstream_position"] >= 0).nonzero()[0].tolist()
    kinds = [(int(batch.items["unit"][k]), int(batch.items["quality"][k])) for k in rows]
    good, apart = (int(Unit.PACKET), 0), (int(Unit.OCTETS), int(Quality.CONTAINER))
    assert kinds == [good, apart, apart, apart, apart, apart, good], "0 to 5 are no JSON objects"
    assert (batch.items["receive_time_ns"] >= 0).all()
    assert b.links["relay"].snapshot()["counters"]["rejected_container"] == 5
    await end([b])


@in_calm
async def test_an_upstream_that_sends_twice_is_heard_once() -> None:
    """R4: positions that are here already are counted, not journalled again."""
    again = encode_data(1, 0, 3, np.arange(3), packets([b"0", b"1", b"2"]))
    b, _ = await forged(WELCOME | {"lanes": {"live": 0, "backfill": 0}}, data(2), again)
    assert await held(b) == [b"0", b"1", b"2"]
    assert b.links["relay"].snapshot()["counters"]["duplicates"] == 2
    await end([b])


@in_calm
async def test_a_mark_that_differs_ends_the_link() -> None:
    """What arrived is not what was sent: the link stays disabled, with an error, until a person looks at it."""
    b, _ = await forged(WELCOME, data(), encode_mark(0, 0, 2, 2, b"\0" * 32))
    assert b.links["relay"].status == LinkStatus.DISABLED
    assert any(e["severity"] == "error" and "not what the upstream says it sent" in e["message"] for e in told(b))
    assert await held(b) == [b"0", b"1"]
    await end([b])
