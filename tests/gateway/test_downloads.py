"""Downloads of a journal's range: of one link or spacecraft, and of what damage spared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gateway.api.app import build_app
from gateway.service import Gateway
from gateway_codecs.batches import IntakeBatch, concatenate
from gateway_config import load
from tests.codecs.links import packet
from tests.gateway.test_journal import packets
from tests.home_files import opened

MISSION = "name: m\nspacecraft: [{name: picard}, {name: soho}]\n"
LINK = "name: {name}\nmission: m\nspacecraft: {craft}\ntype: file\nunit: packets\npath: {name}.bin\nprime: {prime}\n"
LINKS = {"kiruna": ("picard", "true"), "spare": ("picard", "false"), "kourou": ("soho", "true")}
PATH = "/api/v1/instances/m.simulation/journal/packets"
JOURNAL = "var/m.simulation/journal"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration of two spacecraft and three links, each with one packet of its own length."""
    for name in ("missions", "links"):
        (tmp_path / name).mkdir()
    (tmp_path / "missions/m.yaml").write_text(MISSION)
    for k, (name, (craft, prime)) in enumerate(LINKS.items()):
        (tmp_path / f"links/{name}.yaml").write_text(LINK.format(name=name, craft=craft, prime=prime))
        (tmp_path / f"{name}.bin").write_bytes(packet(5, 0, 10 + k))
    (tmp_path / "gateway.yaml").write_text("journal: {memory_octets: 1048576}\n")
    return tmp_path


@pytest.fixture
async def service(folder: Path) -> AsyncIterator[Gateway]:
    """A gateway that has taken the files."""
    running = Gateway(opened(load(folder)))
    await running.start()
    async with asyncio.timeout(60):
        while any(link.status != "finished" for link in running.instance("m.simulation").links.values()):
            await asyncio.sleep(0.01)
    yield running
    await running.drain()
    await running.stop()


async def lengths(service: Gateway, query: str) -> list[int]:
    """The lengths of the packets that a download gives."""
    transport = httpx.ASGITransport(build_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get(f"{PATH}?{query}")
    assert answer.status_code == 200, answer.text
    data, found = answer.content, []
    while data:
        found.append(7 + int.from_bytes(data[4:6], "big"))
        data = data[found[-1] :]
    return sorted(found)


@pytest.mark.parametrize(
    ("query", "expected"),
    [("", [16, 18]), ("link=spare", [17]), ("spacecraft=soho", [18]), ("link=spare&link=kiruna", [16, 17])],
)
async def test_links_and_spacecraft_are_separated(service: Gateway, query: str, expected: list[int]) -> None:
    """A download is of the prime links, or of the links and spacecraft that it names."""
    assert await lengths(service, query) == expected


async def test_what_damage_spared_is_given(folder: Path) -> None:
    """R14: damage of one channel does not withhold another one of the same block; the damaged one is a conflict."""
    first = Gateway(opened(load(folder)))
    await first.start()
    journal = first.instance("m.simulation").journal
    block = concatenate([packets([b"a" * 9000], vcid=1), packets([b"b" * 90000], vcid=2)])
    block.items["link"] = journal.name_id("links", "kiruna")
    await journal.append(IntakeBatch(block))
    await first.drain()
    await first.stop()
    (segment,) = (folder / JOURNAL).glob("*.seg")
    data = bytearray(segment.read_bytes())
    data[data.index(b"a" * 9000) + 5] ^= 1
    segment.write_bytes(data)
    again = Gateway(opened(load(folder)))
    await again.start()
    transport = httpx.ASGITransport(build_app(again))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        broken = await client.get(f"{PATH}?vcid=1&partial=true")
        assert broken.content == b""
        assert again.instance("m.simulation").journal.damaged
        assert (await client.get(f"{PATH}?vcid=1")).status_code == 409
        assert (await client.get(f"{PATH}?vcid=2")).content == b"b" * 90000
    await again.drain()
    await again.stop()
