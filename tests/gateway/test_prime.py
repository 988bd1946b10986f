"""Which links' items are delivered to a home base that names no links."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.service import Gateway
from gateway_codecs.batches import Kind
from gateway_codecs.delivery_block import MARK, DeliveryBlock
from gateway_config import load
from tests.codecs.links import packet
from tests.gateway.test_sessions import Peer
from tests.home_files import everything, opened

FILES = {
    "missions/m": "name: m\nspacecraft: [{name: s}]\n",
    "links/l": "name: l\nmission: m\nspacecraft: s\ntype: file\nunit: packets\npath: packets.bin\nprime: %s\n",
    "homes/a": everything("a", "m"),
}
WISHES = [({}, True), ({"links": ["l"]}, True), ({}, False), ({"links": ["l"]}, False)]


async def running(folder: Path, prime: bool) -> Gateway:
    """A gateway whose only link has read three packets."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(text % str(prime).lower() if "%s" in text else text)
    (folder / "packets.bin").write_bytes(b"".join(packet(5, k) for k in range(3)))
    service = Gateway(opened(load(folder)))
    await service.start()
    async with asyncio.timeout(60):
        while service.instance("m.simulation").links["l"].status != "finished":
            await asyncio.sleep(0.01)
    await service.instance("m.simulation")._pump.flushed()
    return service


async def kinds(peer: Peer, upto: int) -> list[int]:
    found: list[int] = []
    while True:
        block = await peer.hear()
        if isinstance(block, DeliveryBlock) and block.kind != MARK:
            found += block.batch.items["kind"].tolist()
            if block.upto_position >= upto:
                return found


@pytest.mark.parametrize(("selection", "prime"), WISHES)
async def test_other_links_are_journalled_only(tmp_path: Path, selection: dict[str, object], prime: bool) -> None:
    """DESIGN 4: each stream has one prime link, the others are journalled, not delivered, unless they are asked for.

    That holds when no link is prime, too; events are delivered all the same.
    """
    service = await running(tmp_path, prime)
    registry = service.instance("m.simulation").registry
    peer = Peer(registry)
    welcome = await peer.hello(selection=selection)
    found = await kinds(peer, welcome["head"])
    assert found.count(Kind.TM) == (3 if prime or selection else 0)
    assert Kind.EVENT in found
    await peer.leave()
    await service.drain()
    await service.stop()
