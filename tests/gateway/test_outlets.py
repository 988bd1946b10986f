"""Outlets: plain packets for tools that speak nothing else; what is skipped costs its own client alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from gateway.homes.outlets import DATAGRAM_MAX_OCTETS, SENT_IN_MAX_OCTETS, Outlets, OutletSettings
from gateway.supervision import Supervisor
from gateway_codecs.batches import DataMode, ItemBatch, Kind, Unit, concatenate, no_items
from gateway_routes.rights import HomeRights
from tests.gateway.simulated import EVERYTHING, SimNetwork, SimStream, on_virtual_time
from tests.gateway.test_journal import packets
from tests.gateway.test_sessions import World

WISH = {"kinds": ["tm"], "units": ["packet"], "data_modes": ["real_time"]}
TCP = OutletSettings("a", "quicklook", "tcp", "127.0.0.1", 5600, WISH, max_clients=2)
UDP = OutletSettings("a", "display", "udp", "127.0.0.1", 5601, WISH)


class OutletWorld:
    """The outlets of a world, and what passes its tap."""

    def __init__(self, world: World) -> None:
        self.world, self.network, supervisor = world, SimNetwork(), Supervisor()
        self.outlets = Outlets("m.flight", world.registry, self.network, supervisor.keep)
        world.registry.outlets = self.outlets

    def pass_by(self, *octets: bytes, apid: int = 5, **columns: Any) -> None:
        batch = packets(list(octets), apid=apid)
        for column, value in columns.items():
            batch.items[column] = value
        self.world.registry.timely.offer(batch)

    async def client(self, port: int = 5600) -> SimStream:
        stream = await self.network.connect("127.0.0.1", port)
        await asyncio.sleep(0.1)
        return stream

    def row(self, name: str = "quicklook") -> dict[str, Any]:
        return next(row for row in self.outlets.rows() if row["outlet"] == name)

    def told(self) -> list[str]:
        return [one.what for one in self.outlets.conditions(asyncio.get_running_loop().time())]


@asynccontextmanager
async def serving(*settings: OutletSettings) -> AsyncIterator[OutletWorld]:
    world = OutletWorld(await World.open())
    world.outlets.exchange(settings)
    await asyncio.sleep(0.1)
    yield world
    await world.outlets.close()
    assert not world.world.registry.timely.feeds, "nobody listens any more"
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("outlet")]


async def read(stream: SimStream, count: int) -> bytes:
    found = b""
    async with asyncio.timeout(30):
        while len(found) < count:
            found += await stream.read(1 << 16)
    return found


@on_virtual_time
async def test_packets_back_to_back() -> None:
    """TCP: each client gets every packet that passes while it is there, whole and in order, and nothing else."""
    async with serving(TCP) as world:
        one = await world.client()
        world.pass_by(b"first", b"second")
        other = await world.client()
        world.pass_by(b"third")
        world.pass_by(b"bad", quality=1)
        world.pass_by(b"idle", flags=0x80)
        world.pass_by(b"old", data_mode=DataMode.DUMP)
        world.pass_by(b"frame", unit=Unit.FRAME)
        world.pass_by(b"event", kind=Kind.EVENT, unit=Unit.EVENT)
        world.pass_by(b"last")
        assert await read(one, 20) == b"firstsecondthirdlast"
        assert await read(other, 9) == b"thirdlast"
        row = world.row()
        assert (row["state"], row["clients"], row["connects"], row["address"]) == ("serving", 2, 2, "127.0.0.1:5600")
        assert (row["delivered_items"], row["delivered_octets"], row["skipped_items"]) == (6, 29, 0)
        await one.close()
        await asyncio.sleep(0.1)
        assert world.row()["clients"] == 1


@on_virtual_time
async def test_one_packet_is_one_datagram() -> None:
    """UDP: each packet is one datagram; what fits none, and what is refused at the other end, is counted."""
    async with serving(UDP) as world:
        world.pass_by(b"nobody hears it")
        await asyncio.sleep(0.1)
        socket = await world.network.receive_datagrams("127.0.0.1", 5601, 1 << 20)
        world.pass_by(b"one", b"two", bytes(DATAGRAM_MAX_OCTETS + 1), b"three")
        await asyncio.sleep(0.1)
        found = await socket.receive()
        assert (found.octets, found.lengths) == (b"onetwothree", [3, 3, 5])
        row = world.row("display")
        assert (row["delivered_items"], row["not_sent"], row["skipped_items"]) == (3, 2, 0)


@on_virtual_time
async def test_a_slow_client_costs_itself_alone() -> None:
    """R5: who does not read loses its own oldest packets, counted and shown; who reads beside it gets all."""
    async with serving(TCP) as world:
        slow, quick = await world.client(), await world.client()
        got, sent = b"", 300
        for k in range(sent):
            world.pass_by(k.to_bytes(4, "big") + bytes(4092))
            await asyncio.sleep(0.05)
            got += await quick.read(1 << 20)
        assert len(got) == sent * 4096
        row = world.row()
        assert row["skipped_items"] > 100
        assert world.told() == ["outlet skips"]
        await asyncio.sleep(2)
        late = b""
        while slow._inbox or len(late) < 4096:
            late += await slow.read(1 << 20)
            await asyncio.sleep(0.1)
        numbers = [int.from_bytes(late[at : at + 4], "big") for at in range(0, len(late), 4096)]
        assert len(late) % 4096 == 0, "what is sent is whole packets"
        assert numbers == sorted(set(numbers))
        row = world.row()
        assert row["delivered_items"] + row["skipped_items"] == 2 * sent, "delivered or counted as skipped"
        assert world.told() == ["outlet skips"]
        await asyncio.sleep(61)
        assert world.told() == []


@on_virtual_time
async def test_a_slow_line_of_datagrams_skips() -> None:
    """UDP too: what waits longer than it may is skipped and counted, nothing piles up."""
    async with serving(UDP) as world:
        await world.network.receive_datagrams("127.0.0.1", 5601, 1 << 20)
        world.network.slow_s = 0.1
        for _ in range(100):
            world.pass_by(b"x" * 100)
            await asyncio.sleep(0.01)
        await asyncio.sleep(100)
        row = world.row("display")
        assert row["skipped_items"] > 0
        assert row["delivered_items"] + row["skipped_items"] == 100


@on_virtual_time
async def test_clients_are_bounded() -> None:
    """R13: one more than max_clients is closed at once and counted; who talks too much, or is half-open, ends alone."""
    async with serving(TCP) as world:
        first, second, third = await world.client(), await world.client(), await world.client()
        assert await third.read(10) == b""
        assert (world.row()["clients"], world.row()["clients_refused"]) == (2, 1)
        first.freeze()
        chatter = b"GET / HTTP/1.1\r\n" * 100
        for _ in range(2 + SENT_IN_MAX_OCTETS // len(chatter)):
            try:
                await second.write(chatter)
            except OSError:
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert world.row()["clients"] == 1
        fourth = await world.client()
        world.pass_by(b"fine")
        assert await read(fourth, 4) == b"fine"


@on_virtual_time
async def test_rights_hold_and_change_at_once() -> None:
    """Deny by default: packets of the grants alone; when they change clients end, and what comes then is what is
    granted then; without a grant nobody listens."""
    async with serving(TCP, UDP) as world:
        policy, socket = world.world.registry.policy, await world.network.receive_datagrams("x", 5601, 1 << 20)

        async def grant(*grants: Any) -> None:
            policy.exchange({"a": HomeRights(grants)})
            world.world.registry.recheck()
            await asyncio.sleep(0.1)

        await grant(replace(EVERYTHING, items={"apids": [5]}))
        client = await world.client()
        world.pass_by(b"six", apid=6)
        world.pass_by(b"five", apid=5)
        assert await read(client, 4) == b"five"
        await grant(replace(EVERYTHING, items={"apids": [6]}))
        assert await client.read(10) == b"", "ended"
        client = await world.client()
        world.pass_by(b"five", apid=5)
        world.pass_by(b"six", apid=6)
        assert await read(client, 3) == b"six"
        await grant(replace(EVERYTHING, modes=frozenset({"complete"})))
        assert await client.read(10) == b""
        assert 5600 not in world.network.listening
        world.pass_by(b"nothing", apid=6)
        await asyncio.sleep(0.1)
        assert (await socket.receive()).octets == b"fivesix"
        assert world.told() == ["outlet not granted", "outlet not granted"]
        assert "mode 'timely'" in world.row()["detail"]
        await grant(EVERYTHING)
        assert world.row()["state"] == "serving"


@on_virtual_time
async def test_an_exchange_touches_the_changed_ones_alone() -> None:
    """R9: an outlet that stays as it is keeps its clients; one that is gone ends them."""
    async with serving(TCP, UDP) as world:
        client = await world.client()
        world.outlets.exchange([TCP, replace(UDP, port=5602)])
        await asyncio.sleep(0.1)
        world.pass_by(b"still here")
        assert await read(client, 10) == b"still here"
        assert [row["address"] for row in world.outlets.rows()] == ["127.0.0.1:5600", "127.0.0.1:5602"]
        world.outlets.exchange([replace(TCP, wish={**WISH, "apids": [9]})])
        assert await client.read(10) == b""
        await asyncio.sleep(0.1)
        client = await world.client()
        world.pass_by(b"five")
        world.pass_by(b"nine", apid=9)
        assert await read(client, 4) == b"nine"


@on_virtual_time
async def test_a_taken_port_is_tried_again() -> None:
    """R10: a port that is somebody else's is told, and tried again until it is free."""
    world = OutletWorld(await World.open())
    listen, taken = world.network.listen, True

    async def listen_if_free(*arguments: Any) -> Any:
        if taken:
            raise OSError(98, "Address already in use")
        return await listen(*arguments)

    world.network.listen = listen_if_free  # type: ignore[method-assign]
    world.outlets.exchange([TCP])
    await asyncio.sleep(1)
    assert world.told() == ["outlet unavailable"]
    assert world.row()["detail"] == "Address already in use"
    taken = False
    await asyncio.sleep(10)
    client = await world.client()
    world.pass_by(b"now")
    assert await read(client, 3) == b"now"
    await world.outlets.close()


@on_virtual_time
async def test_batches_stay_what_they_are() -> None:
    """A batch of many is sent whole; an empty one is nothing."""
    async with serving(TCP) as world:
        client = await world.client()
        many = concatenate([packets([b"%03d" % k]) for k in range(600)])
        world.world.registry.timely.offer(ItemBatch(np.zeros(0, np.uint8), no_items()))
        world.world.registry.timely.offer(many)
        assert await read(client, 1800) == b"".join(b"%03d" % k for k in range(600))
