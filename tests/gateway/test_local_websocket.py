"""The agent's local WebSocket: what comes now, bounded; everything from a position on; nobody from elsewhere."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.typing import Origin
from websockets.uri import parse_uri

from gateway.agent import local_websocket
from tests.gateway.home_world import HomeWorld
from tests.gateway.simulated import on_virtual_time
from tests.gateway.test_home_agent import Laboratory

PORT = 9


class Client:
    """A program that speaks WebSocket over the simulated network, by the library's own client."""

    def __init__(self, there: Laboratory, path: str = "/", origin: str | None = None) -> None:
        self._there, self._path = there, path
        self.protocol = ClientProtocol(
            parse_uri(f"ws://127.0.0.1:{PORT}{path}"), origin=None if origin is None else Origin(origin), max_size=None
        )
        self.status = 0
        self.body = ""
        self.told: list[dict[str, Any]] = []
        self.pongs = 0
        self.stream: Any = None

    async def come(self) -> Client:
        self.stream = await self._there.network.connect("127.0.0.1", PORT)
        self.protocol.send_request(self.protocol.connect())
        await self.flush()
        while not self.status:
            await self.read()
        return self

    async def flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                await self.stream.write(data)

    async def read(self) -> bool:
        """Take what is there; False at the end."""
        data = await self.stream.read(1 << 16)
        if data:
            self.protocol.receive_data(data)
        else:
            self.protocol.receive_eof()
        for event in self.protocol.events_received():
            if isinstance(event, Response):
                self.status, self.body = event.status_code, (event.body or b"").decode()
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self.told.append(json.loads(event.data))
            elif isinstance(event, Frame):
                self.pongs += event.opcode is Opcode.PONG
        return bool(data)

    async def take(self) -> None:
        """Read to the end."""
        try:
            while await self.read():
                await self.flush()
        except OSError:
            return

    def items(self) -> list[dict[str, Any]]:
        return [row for told in self.told for row in told.get("items", [])]

    def octets(self) -> list[bytes]:
        return [bytes.fromhex(row["octets"]) for row in self.items()]


def laboratory(world: HomeWorld, **more: Any) -> Laboratory:
    there = Laboratory(world, live={"type": "websocket", "port": PORT, **more})
    there.start()
    return there


def described(there: Laboratory) -> dict[str, Any]:
    assert there.agent is not None
    return there.agent.outlets["live"].described()


@on_virtual_time
async def test_everything_from_a_position_on_and_what_comes_now() -> None:
    """R4: from a position on everything comes, in order, each once, behind a word of which journal it is of; who says
    none gets what comes from then on; a ping is answered; who leaves is forgotten."""
    world = await HomeWorld.open(1)
    await world.commit(30)
    there = laboratory(world)
    await there.until(lambda: there.statuses and there.statuses[-1]["state"] == "well")
    now = await Client(there).come()
    oldest, later = await Client(there, "/?from=oldest").come(), await Client(there, "?from=20").come()
    taking = [asyncio.create_task(client.take()) for client in (now, oldest, later)]
    await asyncio.sleep(1)
    assert now.items() == []
    await world.commit(30)
    now.protocol.send_ping(b"?")
    await now.flush()
    await there.until(lambda: len(oldest.items()) == 60 and len(now.items()) == 30 and now.pongs == 1)
    await there.until(lambda: len(later.items()) == 40)
    assert (oldest.octets(), later.octets()) == (world.wanted(), world.wanted()[20:])
    assert sorted(now.octets()) == sorted(world.wanted()[30:])
    journal = str(world.journal.journal_id)
    assert [client.told[0] for client in (oldest, later, now)] == [
        {"subscription": "all", "journal_id": journal, "from": first} for first in (0, 20, None)
    ]
    row = oldest.items()[7]
    assert (row["position"], row["apid"], row["unit"], row["quality"]) == (7, 5, "packet", "good")
    assert sorted(client["lag_positions"] for client in described(there)["clients"]) == [0, 0, 0]
    now.protocol.send_close()
    await now.flush()
    await asyncio.gather(taking[0])
    await there.until(lambda: len(described(there)["clients"]) == 2)
    await there.stop()
    await asyncio.gather(*taking)
    assert later.protocol.close_rcvd is not None
    assert later.protocol.close_rcvd.code == 1001
    await world.end()


@on_virtual_time
async def test_who_does_not_read_loses_its_own_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """R5: what waits for a client that does not read is bounded; what is skipped is counted, and told exactly before
    what came behind it; others get everything, the store is filled; one that wants everything loses nothing."""
    monkeypatch.setattr(local_websocket, "WAITING_OCTETS", 1 << 18)
    world = await HomeWorld.open(2)
    there = laboratory(world)
    slow, slow_from = await Client(there).come(), await Client(there, "/?from=oldest").come()
    quick = await Client(there).come()
    taking = [asyncio.create_task(quick.take())]
    await asyncio.sleep(1)
    for _ in range(30):
        await world.commit_large(40)
        await asyncio.sleep(0.2)
    await there.until(lambda: len(quick.items()) == len(world.large))
    told = {
        client["from"]: client
        for client in described(there)["clients"]
        if client["skipped_items"] or client["from"] == 0
    }
    assert told[None]["skipped_items"] > 100
    assert told[None]["waiting_octets"] <= local_websocket.WAITING_OCTETS
    assert (told[0]["skipped_items"], told[0]["lag_positions"] > 500) == (0, True)
    await there.until(lambda: world.registry.subscriptions["a", "all"].cursor.low_water == world.journal.head)
    taking += [asyncio.create_task(client.take()) for client in (slow, slow_from)]
    await there.until(lambda: slow_from.octets() == world.large)
    skipped = [one["skipped"] for one in slow.told if "skipped" in one]
    lost = {k for one in skipped for first, end in one["positions"] for k in range(first, end)}
    assert len(lost) == sum(one["items"] for one in skipped) == described(there)["skipped_items"] > 100
    assert lost | {row["position"] for row in slow.items()} == set(range(len(world.large)))
    assert len(slow.items()) + len(lost) == len(world.large)
    await there.stop()
    await asyncio.gather(*taking)
    await world.end()


@on_virtual_time
async def test_no_page_of_elsewhere_reads_it() -> None:
    """A page that is not named is refused, whatever it says it is; a program, and a page that is named, is let in; what
    there is not is told; there are no more clients than said."""
    world = await HomeWorld.open(3)
    await world.commit(1)
    there = laboratory(world, origins=["http://localhost:3000"], clients_max=2)
    await asyncio.sleep(1)
    for page in ("https://evil.example", "null", "http://localhost", "http://localhost:3000.evil.example", ""):
        refused = await Client(there, origin=page).come()
        assert (refused.status, "Origin" in refused.body) == (403, True), page
    for path in ("/x", "/?from=-1", "/?from=1&from=2", "/?from=", "/?from=" + "9" * 19, "/?from=%D9%A1", "/?token=x"):
        refused = await Client(there, path).come()
        assert (refused.status, "from" in refused.body) == (400, True), path
    assert (described(there)["clients_refused"], described(there)["pages_refused"]) == (12, 5)
    let_in = [await Client(there).come(), await Client(there, "/?from=0", "http://localhost:3000").come()]
    assert [client.status for client in let_in] == [101, 101]
    third = await Client(there).come()
    assert (third.status, third.body) == (400, "there are 2 clients already\n")
    silent = await there.network.connect("127.0.0.1", PORT)
    began_s = asyncio.get_running_loop().time()
    assert await silent.read(1) == b""
    assert asyncio.get_running_loop().time() - began_s <= 11
    await there.stop()
    await world.end()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.booleans(), st.integers(0, 1 << 32))
def test_rubbish_costs_its_client_alone(rubbish: bytes, handshake: bool, seed: int) -> None:
    """R6: whatever a client sends, before or after the handshake, the outlet serves the next one, and no task dies."""

    @on_virtual_time
    async def run() -> None:
        world = await HomeWorld.open(seed)
        world.calm = True
        await world.commit(2)
        died: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: died.append(context))
        there = laboratory(world)
        await asyncio.sleep(1)
        if handshake:
            bad = await Client(there, "/?from=0").come()
            stream = bad.stream
        else:
            stream = await there.network.connect("127.0.0.1", PORT)
        await stream.write(rubbish)
        await asyncio.sleep(random.Random(seed).choice([0, 1]))
        await stream.close()
        good = await Client(there, "/?from=0").come()
        taking = asyncio.create_task(good.take())
        await there.until(lambda: len(good.items()) == 2)
        assert described(there)["trouble"] is None
        await there.stop()
        await taking
        await world.end()
        assert not died

    run()
