"""R9: a reload applies all of a new configuration without touching what it does not change, or changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.accounting.accountant import span_asked
from gateway.api.app import build_app
from gateway.errors import Conflict, GatewayError, UsageError
from gateway.reload.reloader import _told_in
from gateway.service import Gateway
from gateway_codecs.delivery_block import decode
from gateway_config import load
from gateway_config.differences import Effect, HomeChange, difference, revision
from tests.home_files import everything

PACKETS = {apid: bytes.fromhex(f"{apid:04x}c000000300010203") for apid in (1, 2, 3)}
MISSION = "name: m\nsupport_modes: {modes}\nspacecraft:\n  - name: s\n    packets: {{packet_versions: [0]}}\n{more}"
GRANTED = "name: {name}\ngrants:\n  - {{mission: m, apids: {apids}}}\n{more}"


class Station:
    """The far end of a link: it counts who connects."""

    def __init__(self) -> None:
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def open(self) -> Station:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        with contextlib.suppress(OSError):
            await reader.read()

    async def send(self, *apids: int) -> None:
        self.writers[-1].write(b"".join(PACKETS[apid] for apid in apids))
        await self.writers[-1].drain()

    def close(self) -> None:
        self._server.close()
        for writer in self.writers:
            writer.close()


class Home:
    """A session of a home base, seen from its end."""

    def __init__(self) -> None:
        self._said: asyncio.Queue[str] = asyncio.Queue()
        self.heard: list[Any] = []
        self.apids: list[int] = []
        self.reason: str | None = None

    async def receive(self) -> str | bytes:
        return await self._said.get()

    async def send(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self.heard.append(json.loads(message))
            return
        block = decode(message)
        items = block.batch.items
        self.apids += items["apid"].tolist()
        if len(items):
            self.say({"type": "ack", "lane": int(block.lane), "upto": block.upto_position})

    async def close(self, reason: str) -> None:
        self.reason = reason

    def say(self, told: Any) -> None:
        self._said.put_nowait(json.dumps(told))

    @property
    def welcomed(self) -> bool:
        return any(told["type"] == "welcome" for told in self.heard)


async def until(what: Callable[[], Any], limit_s: float = 60.0) -> None:
    async with asyncio.timeout(limit_s):
        while not what():
            await asyncio.sleep(0.005)


class World:
    """A gateway, its configuration directory, and the other ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stations: dict[str, Station] = {}
        self._sessions: list[asyncio.Task[None]] = []

    def write(self, **texts: str | None) -> None:
        """Write files; `missions__m` is missions/m.yaml, None removes it."""
        for name, text in texts.items():
            path = self.folder / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(exist_ok=True)
            if text is None:
                path.unlink()
            else:
                path.write_text(text)

    async def link(self, name: str, more: str = "", mode: str = "flight", station: bool = True) -> str:
        """Return the text of a link to a station of its own."""
        if station and name not in self.stations:
            self.stations[name] = await Station().open()
        about = f"type: tcp_client\nport: {self.stations[name].port}\n" if station else ""
        common = f"name: {name}\nmission: m\nsupport_mode: {mode}\nspacecraft: s\nunit: packets\nretry_min_s: 0.05\n"
        return f"{common}{about}{more}"

    async def start(self) -> None:
        self.gateway = Gateway(load(self.folder))
        await self.gateway.start()

    async def session(self, home: str, instance: str = "m.flight", **more: Any) -> Home:
        """A session that has been welcomed."""
        peer = Home()
        peer.say({"type": "subscribe", "home": home, "subscription": "all", **more})
        serving = self.gateway.instance(instance).serve(peer)
        self._sessions.append(asyncio.create_task(serving))
        await until(lambda: peer.welcomed or peer.reason is not None)
        return peer

    async def reload(self) -> dict[str, Any]:
        return await self.gateway.reloader.reload("a test")

    def snapshot(self, link: str, instance: str = "m.flight") -> dict[str, Any]:
        return self.gateway.instance(instance).links[link].snapshot()

    async def events(self, instance: str = "m.flight") -> list[dict[str, Any]]:
        owner = self.gateway.instance(instance)
        await owner._everything_committed()
        return [one for one in (await owner.events(0, 1000, 0.0))["events"] if one["type"] == "reload"]

    async def stop(self) -> None:
        await self.gateway.drain()
        await self.gateway.stop()
        await asyncio.gather(*self._sessions)
        for station in self.stations.values():
            station.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Two links, two home bases with APIDs of their own."""
    made = World(tmp_path)
    made.write(
        gateway="data_dir: var\napi: {access: open}\n",
        missions__m=MISSION.format(modes="[flight]", more=""),
        links__one=await made.link("one"),
        links__two=await made.link("two", "prime: false\n"),
        homes__a=GRANTED.format(name="a", apids=[1, 2], more=""),
        homes__b=GRANTED.format(name="b", apids=[2, 3], more=""),
    )
    await made.start()
    await until(lambda: all(station.connections for station in made.stations.values()))
    yield made
    await made.stop()


async def test_what_is_not_changed_is_not_touched(world: World) -> None:
    """R9: an untouched link keeps its connection and counters, a session with the same rights its socket."""
    a, b = await world.session("a"), await world.session("b")
    await world.stations["one"].send(1, 2, 3)
    await until(lambda: len(a.apids) == len(b.apids) == 2)
    before = world.snapshot("one")
    world.write(links__two=await world.link("two", "prime: false\nwatchdog_s: 3.0\n"), homes__c=everything("c", "m"))
    report = await world.reload()
    effects = {(row["what"], row["name"]): row["effect"] for row in report["changes"]}
    assert effects == {("link", "two"): "restarted", ("home", "c"): "added"}
    assert {row["name"] for row in report["untouched"]} == {"one", "m.flight"}
    assert world.snapshot("one") | {"age_s": 0} == before | {"age_s": 0}
    await until(lambda: world.stations["two"].connections == 2)
    assert world.stations["one"].connections == 1
    await world.stations["one"].send(2)
    await until(lambda: a.apids == [1, 2, 2] and b.apids == [2, 3, 2])
    assert (a.reason, b.reason, report["sessions_ended"]) == (None, None, 0)
    (told,) = await world.events()
    of_link, of_home = told["changes"]
    assert of_link == "link two: restarted (watchdog_s: 10 -> 3)"
    assert of_home.startswith("home c: added (gains m (flight, ")
    assert (told["who"], told["after"]) == ("a test", revision(load(world.folder)))


async def test_changed_rights_end_their_session_alone(world: World) -> None:
    """Who loses an APID is told so at once; when the reload answers nothing of it leaves any more."""
    a, b = await world.session("a"), await world.session("b")
    await world.stations["one"].send(1, 2, 3)
    await until(lambda: len(a.apids) == len(b.apids) == 2)
    world.write(homes__a=GRANTED.format(name="a", apids=[1], more=""))
    began_s = asyncio.get_running_loop().time()
    report = await world.reload()
    assert asyncio.get_running_loop().time() - began_s < 1
    assert (report["sessions_ended"], report["sessions_left"]) == (1, 0)
    await world.stations["one"].send(2, 1)
    again = await world.session("a")
    await until(lambda: b.apids == [2, 3, 2] and 1 in again.apids)
    assert a.reason == "rights changed: subscribe again"
    assert (a.apids, again.apids, b.reason) == ([1, 2], [1], None)
    (row,) = report["changes"]
    assert row["lost"] == ["m (flight): tm, all VCs, APID 2; all modes"]


async def test_a_home_that_goes_or_is_over_is_ended(world: World) -> None:
    """Removing a home file, or its dates, ends its sessions with the reason."""
    a, b = await world.session("a"), await world.session("b")
    past = "valid_until_utc: 2020-01-01T00:00:00Z\n"
    world.write(homes__a=None, homes__b=GRANTED.format(name="b", apids=[2, 3], more=past))
    await world.reload()
    await until(lambda: a.reason is not None and b.reason is not None)
    assert "no home base" in str(a.reason)
    assert "not valid" in str(b.reason)


WRONG = {
    "an unknown key": ({"homes__a": "name: a\ngrant: []\n"}, UsageError, "homes/a.yaml:2"),
    "a lost link": ({"links__three": "name: three\nmission: x\nspacecraft: s\ntype: udp\n"}, UsageError, "links/"),
    "two problems": ({"homes__a": "nme: a\n", "missions__m": "name: [\n"}, UsageError, "missions/m.yaml"),
    "another port": ({"gateway": "data_dir: var\napi: {access: open, port: 1}\n"}, Conflict, "restart: api.port"),
    "another data directory": ({"gateway": "data_dir: else\napi: {access: open}\n"}, Conflict, "data_dir"),
    "a bad database": (
        {"missions__m": MISSION.format(modes="[flight]", more="    database: {file: gateway.yaml}\n")},
        UsageError, "database.file gateway.yaml",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
async def test_an_invalid_file_changes_nothing(world: World, what: str) -> None:
    """R9: whatever is wrong with one file, nothing of the others is applied; why is told, and journalled."""
    texts, kind, told = WRONG[what]
    a, before = await world.session("a"), world.gateway.configuration
    state = world.gateway.state()["configuration"]
    world.write(homes__b=None, **texts)
    with pytest.raises(kind) as caught:
        await world.reload()
    assert told in str(caught.value)
    after = world.gateway.state()["configuration"]
    assert (world.gateway.configuration, after["revision"]) == (before, state["revision"])
    assert after["reloads"] == {"applied": 0, "refused": 1}
    assert sorted(world.gateway.policy.rights) == ["a", "b"]
    assert (a.reason, [station.connections for station in world.stations.values()]) == (None, [1, 1])
    (event,) = await world.events()
    assert event["severity"] == "warning"
    assert "nothing is changed" in event["message"]


async def test_a_link_that_cannot_be_opened_takes_everything_back(world: World) -> None:
    """All or nothing: a port that another program has undoes new instances and links that had already ended."""
    before = world.gateway.configuration
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listens = f"type: tcp_server\nport: {port}\nprime: false\n"
        world.write(
            missions__m=MISSION.format(modes="[flight, test]", more=""),
            links__one=await world.link("one", "watchdog_s: 3.0\n"),
            links__three=await world.link("three", listens, station=False),
            homes__a=None,
        )
        with pytest.raises(Conflict, match=f"link three cannot be opened.*{port}"):
            await world.reload()
    assert list(world.gateway.instances) == ["m.flight"]
    assert (world.gateway.configuration, sorted(world.gateway.policy.rights)) == (before, ["a", "b"])
    assert sorted(world.gateway.instance("m.flight").links) == ["one", "two"]
    assert [station.connections for station in world.stations.values()] == [1, 1]
    report = await world.reload()  # the port is free now
    assert {row["name"] for row in report["changes"]} == {"m.test", "one", "three", "a"}
    assert world.snapshot("three")["state"] == "unavailable"
    await until(lambda: world.stations["one"].connections == 2)


async def test_a_port_goes_from_one_link_to_another(world: World) -> None:
    """A port that a link of ours gives up is its successor's in the same reload; who fails then gets it back."""
    port = free_port()
    listens = f"type: tcp_server\nport: {port}\nallowed_peers: [127.0.0.1]\nprime: false\n"
    world.write(links__old=await world.link("old", listens, station=False))
    await world.reload()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        other = f"type: tcp_server\nport: {taken.getsockname()[1]}\nprime: false\n"
        world.write(
            links__old=None,
            links__new=await world.link("new", listens, station=False),
            links__bad=await world.link("bad", other, station=False),
        )
        with pytest.raises(Conflict, match="link bad cannot be opened"):
            await world.reload()
    await until(lambda: world.gateway.instance("m.flight").links["old"]._source.listening)  # type: ignore[attr-defined]
    world.write(links__bad=None)
    await world.reload()
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PACKETS[1])
    await until(lambda: world.snapshot("new")["counters"]["packets"] == 1)
    writer.close()
    assert "old" not in world.gateway.instance("m.flight").links


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


async def test_a_file_goes_on_from_where_it_was(world: World) -> None:
    """A restarted link begins at its durable offset: nothing of the file is journalled twice, nothing is left out."""
    (world.folder / "packets.bin").write_bytes(PACKETS[1] * 400)
    paced = "type: file\npath: packets.bin\nrate_bps: {}\nprime: false\n"
    text = (await world.link("file", paced.format(16_000), station=False)).replace("retry_min_s: 0.05\n", "")
    world.write(links__file=text)
    await world.reload()
    await until(lambda: world.snapshot("file")["counters"]["packets"] > 3)
    world.write(links__file=text.replace("16000", "1000000"))
    report = await world.reload()
    assert [(row["name"], row["effect"]) for row in report["changes"]] == [("file", "restarted")]
    assert world.snapshot("file")["counters"]["packets"] < 400
    a = await world.session("a", selection={"links": ["file"]})
    await until(lambda: world.snapshot("file")["state"] == "finished")
    await until(lambda: len(a.apids) >= 400)
    assert a.apids == [1] * 400


async def test_the_operators_hand_stays(world: World) -> None:
    """A link that the operator disabled is not enabled by a reload that changes something else of it."""
    await world.gateway.instance("m.flight").link_action("two", "disable")
    world.write(links__two=await world.link("two", "prime: false\nwatchdog_s: 3.0\n"))
    await world.reload()
    assert world.snapshot("two")["state"] == "disabled"
    world.write(links__two=await world.link("two", "prime: false\nwatchdog_s: 3.0\nenabled: false\n"))
    await world.reload()
    world.write(links__two=await world.link("two", "prime: false\nwatchdog_s: 3.0\n"))
    await world.reload()
    await until(lambda: world.stations["two"].connections == 2)


async def test_instances_come_and_go(world: World) -> None:
    """A support mode that is added is opened, one that is removed is drained; its journal stays and goes on."""
    world.write(
        missions__m=MISSION.format(modes="[flight, test]", more=""),
        links__three=await world.link("three", mode="test"),
        homes__a=everything("a", "m"),
    )
    await world.reload()
    await until(lambda: world.stations["three"].connections == 1)
    peer = await world.session("a", "m.test")
    await world.stations["three"].send(1, 2, 3)
    await until(lambda: peer.apids.count(3) == 1)
    head = world.gateway.instance("m.test").journal.head
    world.write(missions__m=MISSION.format(modes="[flight]", more=""), links__three=None)
    report = await world.reload()
    assert {(row["name"], row["effect"]) for row in report["changes"]} == {("m.test", "removed"), ("three", "removed")}
    assert list(world.gateway.instances) == ["m.flight"]
    await until(lambda: peer.reason is not None)
    assert peer.reason == "the mission instance was taken out of the configuration"
    world.write(
        missions__m=MISSION.format(modes="[flight, test]", more=""), links__three=await world.link("three", mode="test")
    )
    await world.reload()
    assert world.gateway.instance("m.test").journal.head >= head
    told = [one["message"] for one in await world.events("m.test")]
    assert sum("instance m.test: removed" in text for text in told) == 1


async def test_a_prime_link_that_comes_is_told(world: World) -> None:
    """Who names no links gets other ones then: its subscription begins a new version; who names them goes on."""
    a, b = await world.session("a"), await world.session("b", selection={"links": ["one"]})
    world.write(links__one=await world.link("one", "prime: false\n"), links__two=await world.link("two"))
    report = await world.reload()
    assert (report["sessions_ended"], b.reason) == (1, None)
    again = await world.session("a")
    await until(lambda: world.stations["two"].connections == 2)
    await world.stations["two"].send(1, 2)
    await until(lambda: again.apids == [1, 2])
    assert a.reason == "rights changed: subscribe again"
    assert next(told for told in again.heard if told["type"] == "welcome")["version"] == 2
    assert b.apids == []


async def test_contacts_follow_the_plan(world: World) -> None:
    """Contacts are planned and withdrawn while the gateway runs; what the operator planned stays."""
    row = "{{peer: {}, aos_utc: 2090-01-0{}T00:00:00Z, los_utc: 2090-01-0{}T00:1{}:00Z}}"
    owner = world.gateway.instance("m.flight")
    await owner.add_contact("s", "mine", "2090-01-05T00:00:00Z", "2090-01-05T00:10:00Z")

    async def planned(*rows: str) -> list[tuple[str, str, str]]:
        more = f"    contacts: [{', '.join(rows)}]\n"
        world.write(missions__m=MISSION.format(modes="[flight]", more=more))
        await world.reload()
        return [
            (one["peer"], one["planned_los_utc"][8:16], one["state"]) for one in owner.contacts() if one["id"] != "1"
        ]

    one, other = row.format("x", 1, 1, 0), row.format("y", 2, 2, 0)
    assert await planned(one, other) == [("x", "01T00:10", "planned"), ("y", "02T00:10", "planned")]
    longer = row.format("y", 2, 2, 5)
    assert await planned(longer) == [("x", "01T00:10", "withdrawn"), ("y", "02T00:15", "planned")]
    again = await planned(longer, one)
    assert again == [("x", "01T00:10", "withdrawn"), ("y", "02T00:15", "planned"), ("x", "01T00:10", "planned")]
    await planned(longer, one, row.format("z", 5, 5, 2))
    assert not [one for one in owner.contacts() if one["peer"] == "z"]
    assert owner.contacts()[0]["state"] == "planned"


DATABASE = """mission_database: 1
name: {}
header: ccsds
packets:
  HK: {{apid: 1, parameters: [{{A: 8}}]}}
"""


async def test_a_database_comes_and_goes(world: World) -> None:
    """Values go on with another database, read before anything is changed; sessions of values subscribe again."""
    for name in "DE":
        (world.folder / f"{name}.yaml").write_text(DATABASE.format(name))
    world.write(homes__c=everything("c", "m"))

    async def use(name: str) -> None:
        more = f"    database: {{file: {name}.yaml}}\n" if name else ""
        world.write(missions__m=MISSION.format(modes="[flight]", more=more))
        await world.reload()

    async def values(name: str) -> Home:
        about = {"mode": "values", "parameters": [f"/{name}/A"], "delivery": "change"}
        return await world.session("c", subscription="values", **about)

    await use("D")
    a, of_values = await world.session("a"), await values("D")
    assert of_values.welcomed, of_values.heard
    await use("E")
    await until(lambda: of_values.reason is not None)
    assert "subscribe again" in str(of_values.reason)
    again = await values("E")
    await world.stations["one"].send(1)
    await until(lambda: any(told["type"] == "values" for told in again.heard))
    world.write(missions__m=MISSION.format(modes="[flight]", more="    database: {file: gateway.yaml}\n"))
    with pytest.raises(UsageError):
        await world.reload()
    assert (a.reason, again.reason) == (None, None)

    def tasks() -> int:
        names = {"values m.flight", "databases m.flight"}
        return sum(task.get_name() in names for task in asyncio.all_tasks())

    assert tasks() == 2
    await use("")
    assert tasks() == 0
    assert world.gateway.instance("m.flight").values.state() is None
    assert a.reason is None
    await until(lambda: again.reason is not None)


async def test_limits_of_rate_and_age_change_while_sessions_go_on(world: World) -> None:
    """A quota of bandwidth holds from the next message on, and goes as it came; retention is taken over too."""
    a = await world.session("a")
    limited = "quotas: {rate_limit_bps: 20000, sessions: 3}\n"
    world.write(homes__a=GRANTED.format(name="a", apids=[1, 2], more=limited))
    world.write(gateway="data_dir: var\napi: {access: open}\njournal: {keep_days: 3, keep_octets: 1000000}\n")
    await world.reload()

    def told() -> Any:
        return next(row for row in world.gateway.instance("m.flight").subscriptions() if row["home"] == "a")

    assert (told()["rate_limit_bps"], world.gateway.policy.rights["a"].sessions) == (20_000, 3)
    settings = world.gateway.instance("m.flight").journal.settings
    assert (settings.keep_days, settings.keep_octets) == (3, 1_000_000)
    await world.stations["one"].send(*[1] * 200)
    began_s = asyncio.get_running_loop().time()
    await until(lambda: 0 < len(a.apids) < 200)
    await asyncio.sleep(0.3)
    assert len(a.apids) < 200  # 200 items with their rows take seconds at this rate
    world.write(homes__a=GRANTED.format(name="a", apids=[1, 2], more=""))
    await world.reload()
    await until(lambda: len(a.apids) == 200)
    assert asyncio.get_running_loop().time() - began_s < 6
    assert (told()["rate_limit_bps"], a.reason) == (None, None)


async def test_two_at_once_and_a_stop_meanwhile(world: World) -> None:
    """Two reloads come one after the other; a stop of the gateway takes back what is not beyond return, and drains."""
    world.write(homes__a=None)
    first, second = await asyncio.gather(world.reload(), world.reload())
    assert (first["applied"], second["applied"]) == (True, False)
    held = asyncio.Event()
    instance = world.gateway.instance("m.flight")

    async def slow(detail: str = "") -> None:
        held.set()
        await asyncio.sleep(3600)

    instance.links["two"].disable = slow  # type: ignore[method-assign]
    world.write(links__two=None, homes__b=None)
    waiting = [asyncio.create_task(world.reload()) for _ in range(2)]
    await held.wait()
    before = world.gateway.configuration
    async with asyncio.timeout(60):
        await world.gateway.drain()
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError | Conflict) for end in ends)
    assert (world.gateway.configuration, sorted(world.gateway.policy.rights)) == (before, ["b"])
    assert sorted(instance.links) == ["one", "two"]


async def test_a_refusal_is_a_condition_until_a_reload_is_accepted(world: World) -> None:
    """Operation: who comes to the gateway later sees that the files are not what is in use, and that they are again."""
    good = (world.folder / "homes/b.yaml").read_text()
    world.write(homes__b="name: b\ngrant: []\n")
    with pytest.raises(UsageError):
        await world.reload()
    (condition,) = world.gateway.state()["conditions"]
    assert (condition["severity"], condition["what"], condition["subject"]) == (
        "warning", "reload refused", "configuration",
    )  # fmt: skip
    assert "homes/b.yaml" in condition["text"]
    assert "gateway check" in condition["remedy"]
    world.write(homes__b=good)
    report = await world.reload()
    assert (report["applied"], world.gateway.state()["conditions"]) == (False, [])
    assert [event["severity"] for event in await world.events()] == ["warning", "info"]
    world.write(gateway="data_dir: elsewhere\napi: {access: open}\n")
    with pytest.raises(Conflict):
        await world.reload()
    (condition,) = world.gateway.state()["conditions"]
    assert "restart" in condition["text"]
    world.write(gateway=None, homes__b=GRANTED.format(name="b", apids=[5], more=""))
    with pytest.raises(GatewayError):
        await world.reload()
    world.write(gateway="data_dir: var\napi: {access: open}\n")
    assert (await world.reload())["applied"]
    assert not world.gateway.state()["conditions"]


async def test_over_the_api(world: World) -> None:
    """The control plane gives the configuration in use, reloads, and says why not, with every problem."""
    transport = httpx.ASGITransport(build_app(world.gateway))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        told = (await client.get("/api/v1/configuration")).json()
        assert told["homes"]["a"]["grants"] == [{"mission": "m", "apids": [1, 2]}]
        world.write(homes__a="nme: a\n", homes__b="name: b\ngrant: []\n")
        refused = await client.post("/api/v1/reload")
        assert refused.status_code == 422
        assert all(f"homes/{name}.yaml" in refused.json()["error"] for name in "ab")
        world.write(homes__a=None, homes__b=GRANTED.format(name="b", apids=[2, 3], more=""))
        report = (await client.post("/api/v1/reload")).json()
        assert [row["name"] for row in report["changes"]] == ["a"]
        metrics = (await client.get("/metrics")).text
        assert f'gateway_configuration_info{{revision="{report["after"]}"}} 1.0' in metrics
        assert 'gateway_reloads_total{result="refused"} 1.0' in metrics
        world.write(gateway="data_dir: var\napi: {access: open, port: 1}\n")
        assert (await client.post("/api/v1/reload")).status_code == 409
    assert difference(world.gateway.configuration, load(world.folder)).refused


def test_events_tell_nothing_of_other_missions() -> None:
    """Who may hear the events of one mission does not learn what home bases get of another."""
    change = HomeChange("home", "a", Effect.CHANGED, (), ("m (flight): x",), ("n (flight): y",))
    assert _told_in(change, "m") == "home a: changed (gains m (flight): x)"
    assert _told_in(change, "o") == ""


async def test_outlets_come_change_and_go(world: World) -> None:
    """An outlet that stays keeps its client; one whose port changes hands, or that goes, ends its own alone."""
    one, two = free_port(), free_port()

    def outlets(*pairs: tuple[str, int]) -> str:
        rows = [
            f"  - {{name: {name}, type: tcp, mission: m, port: {port}, data_modes: [real_time]}}\n"
            for name, port in pairs
        ]
        return GRANTED.format(name="a", apids=[1, 2], more="outlets:\n" + "".join(rows))

    async def client(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for _ in range(100):
            with contextlib.suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", port)
            await asyncio.sleep(0.02)
        raise AssertionError("nobody listens")

    def clients() -> int:
        return sum(row["clients"] for row in world.gateway.instance("m.flight").state()["outlets"])

    world.write(homes__a=outlets(("x", one), ("y", two)))
    await world.reload()
    (stays, first), (goes, second) = await client(one), await client(two)
    await until(lambda: clients() == 2)
    world.write(homes__a=outlets(("x", one), ("z", two)))
    await world.reload()
    assert await goes.read() == b"", "the outlet that had the port is gone"
    other, third = await client(two)
    await until(lambda: clients() == 2)
    await world.stations["one"].send(1, 3)
    assert await stays.readexactly(10) == await other.readexactly(10) == PACKETS[1]
    world.write(homes__a=GRANTED.format(name="a", apids=[1, 2], more=""))
    await world.reload()
    assert (await stays.read(), await other.read()) == (b"", b"")
    assert world.gateway.instance("m.flight").state()["outlets"] == []
    for writer in (first, second, third):
        writer.close()


async def test_an_outlet_goes_by_the_new_rights_when_the_reload_answers(world: World) -> None:
    """A plain TCP tool gets nothing of an APID that its home base lost, from the moment that the reload answers."""
    port = free_port()
    outlet = f"outlets:\n  - {{name: tool, type: tcp, mission: m, port: {port}}}\n"
    world.write(homes__a=GRANTED.format(name="a", apids=[1, 2], more=outlet))
    await world.reload()
    instance = world.gateway.instance("m.flight")
    await until(lambda: instance.outlets.rows()[0]["state"] == "serving")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await until(lambda: instance.outlets.rows()[0]["clients"] == 1)
    await world.stations["one"].send(2, 1)
    assert await reader.readexactly(20) == PACKETS[2] + PACKETS[1]
    world.write(homes__a=GRANTED.format(name="a", apids=[1], more=outlet))
    report = await world.reload()
    assert (report["sessions_left"], instance.outlets.ending) == (0, False)
    await world.stations["one"].send(2)
    assert await reader.read() == b""
    writer.close()
    await until(lambda: instance.outlets.rows()[0]["state"] == "serving")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await until(lambda: instance.outlets.rows()[0]["clients"] == 1)
    await world.stations["one"].send(2, 1)
    assert await reader.readexactly(10) == PACKETS[1]
    writer.close()


async def test_an_instance_counts_what_retention_removes(world: World) -> None:
    """Issue: expired items are counted before they go, by the running gateway itself."""
    instance = world.gateway.instances["m.flight"]
    instance.journal.settings = replace(instance.journal.settings, segment_octets=1 << 12, keep_octets=1)
    for _ in range(30):
        head = instance.journal.head
        await world.stations["one"].send(1, 2, 1)
        await until(lambda head=head: instance.journal.head > head)
    await instance._retain()
    assert (tail := instance.journal.tail) > 0
    report = await instance.accounts.report(span_asked(instance.accounts, {"first": 0}))
    about = report["journal"]
    assert (about["expired_positions"], about["expired_items"], about["items"]) == (tail, tail, report["range"]["end"])
    await instance._everything_committed()
    events = (await instance.events(None, 100, 0.0))["events"]
    assert [event["end"] for event in events if event["type"] == "retention"] == [tail]
