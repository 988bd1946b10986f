"""The agent: outlets that are exact, whatever is cut, killed or full; a slow tool costs itself alone; a true status."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.agent.agent import STATUS, AgentAround, HomeAgent
from gateway.agent.day_tables import by_day
from gateway.agent.exact_files import ExactFiles
from gateway.agent.hour_files import by_hour
from gateway.agent.status import picture
from gateway.agent.systemd import Notifier
from gateway.errors import Conflict
from gateway_codecs.batches import Unit
from gateway_codecs.time_scales import parse_utc
from gateway_config import AgentSettings
from tests.gateway.home_world import HOME, HomeWorld
from tests.gateway.simulated import PowerLoss, SimClock, SimNetwork, SimStorage, end_all, inline, on_virtual_time
from tests.gateway.test_journal import packets

NAMES = ("home base", "subscriber", "outlet", "agent")


class GoingClock(SimClock):
    """A wall clock that goes on with the loop's time."""

    def tai_ns(self) -> int:
        return super().tai_ns() + round(asyncio.get_running_loop().time() * 1e9)


class Laboratory:
    """A home base with an agent that can be killed."""

    def __init__(self, world: HomeWorld, keep: dict[str, Any] | None = None, **outlets: dict[str, Any]) -> None:
        self.world, self.network = world, SimNetwork()
        self.out = {name: SimStorage(world.rng) for name in ("files", "csv")}
        self.settings = AgentSettings.model_validate(
            {
                "url": "http://gateway", "instance": "m.simulation", "home": HOME, "reserve_octets": 1000,
                "subscriptions": {"all": keep or {}}, "outlets": outlets,
            }
        )  # fmt: skip
        self.statuses: list[dict[str, Any]] = []
        self.agent: HomeAgent | None = None
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self.task is None:
            around = AgentAround(
                self.world.disk, self.out.__getitem__, lambda name: inline, self.network, GoingClock(), self.world.dial,
                self.world.rng.random,
            )  # fmt: skip
            self.agent = HomeAgent(self.settings, around, self.statuses.append)
            self.task = asyncio.create_task(self.agent.run(), name="agent")

    async def stop(self) -> None:
        """SIGTERM."""
        task, self.task = self.task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def kill(self) -> None:
        """kill -9 and a loss of power, in the midst of everything."""
        self.task = None
        for disk in (self.world.disk, *self.out.values()):
            disk.dead = True
        await end_all(*NAMES)
        for disk in (self.world.disk, *self.out.values()):
            disk.crash()

    def files(self) -> dict[str, bytes]:
        return {name: bytes(octets) for name, octets in self.out["files"].volatile.items()}

    async def until(self, true: Any, limit_s: float = 2000) -> None:
        async with asyncio.timeout(limit_s):
            while not true():
                await asyncio.sleep(0.5)


FILES = {"type": "files", "folder": "files"}
STEPS = st.lists(st.sampled_from(["commit", "start", "stop", "kill", "cut", "full", "fuse", "away"]), max_size=16)


@pytest.mark.parametrize("keep", [{}, {"keep_days": 2 / 86400}], ids=["all is kept", "two seconds are kept"])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1 << 32), steps=STEPS)
def test_files_are_exact_whatever_happens(keep: dict[str, Any], seed: int, steps: list[str]) -> None:
    """R4: kills in the midst of a write, losses of power, cuts and full disks, also where the store soon removes what
    it need not keep: each packet is once in the files, in order of position."""

    @on_virtual_time
    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # tasks that die with the power
        world = await HomeWorld.open(seed)
        there = Laboratory(world, dict(keep), archive=FILES)
        for step in steps:
            await do(there, step)
        world.reachable = True
        await there.kill()
        there.start()
        await there.until(lambda: sum(map(len, there.files().values())) >= sum(map(len, world.wanted())))
        await asyncio.sleep(90 if keep else 1)
        row = there.statuses[-1]["subscriptions"]["all"]
        assert row["low_water"] == world.journal.head
        if keep:
            assert (row["items"], row["retention"]["removed_items"]) == (0, world.made)
        await there.stop()
        assert b"".join(there.files().values()) == b"".join(world.wanted())
        assert json.loads(world.disk.durable[STATUS])["state"] == "stopped"
        await world.end()

    run()


async def do(there: Laboratory, step: str) -> None:
    world = there.world
    disk = world.rng.choice([world.disk, there.out["files"]])
    if step == "commit":
        await world.commit(world.rng.randrange(1, 20))
    elif step == "start":
        there.start()
    elif step in {"stop", "kill"}:
        await getattr(there, step)()
    elif step == "cut":
        world.cut()
    elif step == "full":
        disk.fail_writes = world.rng.randrange(1, 4)
    elif step == "fuse":
        disk.fuse = world.rng.randrange(1, 40)
    world.reachable = step != "away"
    await asyncio.sleep(world.rng.choice([0, 0.05, 8.0]))
    if disk.dead:
        await there.kill()


@on_virtual_time
async def test_each_tool_reads_at_its_own_pace() -> None:
    """R5: a tool that does not read lags alone; the others get everything, the store is filled and acknowledged."""
    world = await HomeWorld.open(2)
    in_order = {"order": "position", "begin": "oldest"}
    there = Laboratory(world, tools={"type": "tcp", "port": 7, **in_order})
    there.start()
    await asyncio.sleep(1)
    slow, quick = [await there.network.connect("127.0.0.1", 7) for _ in range(2)]
    received = bytearray()
    tasks = [asyncio.create_task(_read(quick, received))]
    for _ in range(60):
        await world.commit_large(40)
        await asyncio.sleep(0.2)
    await there.until(lambda: len(received) == sum(map(len, world.large)))
    assert received == b"".join(world.large)
    assert there.agent is not None
    tools = there.agent.outlets["tools"].described()
    lags = sorted(client["lag_positions"] for client in tools["clients"])
    assert lags[0] == 0
    assert lags[1] > 500, "the slow one"
    await asyncio.sleep(5)
    assert world.registry.subscriptions[HOME, "all"].cursor.low_water == world.journal.head
    caught_up = bytearray()
    tasks.append(asyncio.create_task(_read(slow, caught_up)))
    await there.until(lambda: len(caught_up) == len(received))
    assert caught_up == received
    await there.stop()
    await asyncio.gather(*tasks)
    await world.end()


async def _read(stream: Any, into: bytearray) -> None:
    try:
        while data := await stream.read(1 << 16):
            into += data
    except OSError:
        return


@on_virtual_time
async def test_the_status_is_true() -> None:
    """The status says what is stored, what lags and what is wrong, in its file too; people can read it."""
    world = await HomeWorld.open(3)
    world.calm = True
    await world.commit(30)
    there = Laboratory(world, archive=FILES, again={"type": "tcp", "port": 7}, same={"type": "tcp", "port": 9})
    world.disk.free = 10
    there.start()
    await asyncio.sleep(10)
    row = there.statuses[-1]["subscriptions"]["all"]
    assert there.statuses[-1]["state"] == "trouble"
    assert (row["state"], row["items"], row["lag_positions"]) == ("disk", 0, 30)
    assert row["behind_s"] > 5
    assert "reserve" in row["trouble"]
    world.disk.free = 1 << 40
    await there.until(lambda: there.statuses[-1]["state"] == "well")
    row = there.statuses[-1]["subscriptions"]["all"]
    assert (row["state"], row["items"], row["low_water"], row["lag_positions"]) == ("live", 30, 30, 0)
    assert there.statuses[-1]["outlets"]["archive"]["items"] == 30
    assert json.loads(world.disk.durable[STATUS])["subscriptions"]["all"]["items"] == 30
    world.reachable = False
    world.cut()
    await asyncio.sleep(3)
    row = there.statuses[-1]["subscriptions"]["all"]
    assert (there.statuses[-1]["state"], row["state"], row["last_error"]) == ("waiting", "connecting", "nobody there")
    for status in there.statuses:
        assert picture(status, 1.0).renderables
    await there.stop()
    await world.end()


@on_virtual_time
async def test_an_outlet_in_trouble_troubles_no_other() -> None:
    """A folder that cannot be written is told, tried again, and costs neither the store nor the other outlets."""
    world = await HomeWorld.open(4)
    await world.commit(10)
    there = Laboratory(world, archive=FILES, tools={"type": "tcp", "port": 7, "begin": "oldest"})
    there.out["files"].fail_opens = 2
    there.start()
    await asyncio.sleep(3)
    client = await there.network.connect("127.0.0.1", 7)
    received = bytearray()
    reading = asyncio.create_task(_read(client, received))
    assert there.statuses[-1]["outlets"]["archive"]["trouble"]
    await there.until(lambda: received == b"".join(world.wanted()))
    await there.until(lambda: there.statuses[-1]["outlets"]["archive"]["trouble"] is None)
    await there.until(lambda: b"".join(there.files().values()) == b"".join(world.wanted()))
    await there.stop()
    await reading
    await world.end()


@pytest.mark.parametrize("seed", range(80))
def test_appends_are_once_over_any_loss_of_power(seed: int) -> None:
    """Files that are appended with a place: whenever the power goes, what is there after a restart is what the place
    says, octet for octet."""
    rng = random.Random(seed)
    store, out = SimStorage(rng), SimStorage(rng)
    wanted: dict[str, bytes] = {}
    done = 0
    for _ in range(8):
        files = ExactFiles(store, "outlets/x.json", out)
        rng.choice([store, out]).fuse = rng.randrange(1, 60)
        try:
            place = files.load()
            done = place["upto"] if place else 0
            while True:
                parts = {f"{rng.randrange(3)}.txt": b"<%d>" % done}
                files.append(parts, {"upto": done + 1}, b"head\n")
                done += 1
                if rng.random() < 0.3:
                    files.settle()
        except PowerLoss:
            store.crash()
            out.crash()
    files = ExactFiles(store, "outlets/x.json", out)
    place = files.load()
    done = place["upto"] if place else 0
    found = b"".join(bytes(octets) for octets in out.volatile.values())
    texts = sorted(int(one) for one in found.replace(b"head\n", b"").replace(b"<", b" ").replace(b">", b" ").split())
    assert texts == list(range(done)), f"seed {seed}"
    assert all(bytes(octets).count(b"head\n") == (len(octets) > 0) for octets in out.volatile.values()), wanted


def test_a_state_that_cannot_be_read_is_told() -> None:
    """A place that is rubbish is never taken for the beginning."""
    storage = SimStorage(random.Random(1))
    for rubbish in (b"", b"[]", b'{"place": 1}', b'{"place": {}, "sizes": 3}'):
        storage.write_whole("x.json", rubbish)
        with pytest.raises(Conflict, match=r"x\.json"):
            ExactFiles(storage, "x.json", storage).load()


def test_packets_are_filed_by_spacecraft_apid_and_hour() -> None:
    """The hour is UTC; rejected units and frames are no packets; a hostile name is no folder."""
    batch = packets([b"a", b"bb", b"c", b"no", b"frame"])
    items = batch.items
    items["spacecraft"] = [1, 1, 2, 1, 1]
    items["quality"][3], items["unit"][4] = 1, Unit.FRAME
    items["receive_time_ns"] = parse_utc("2026-11-26T23:59:59.5Z")
    items["receive_time_ns"][1] += 10**9
    items["generation_time_ns"] = items["receive_time_ns"]
    items["generation_time_ns"][0] = parse_utc("2026-11-01T00:00:00Z")
    items["apid"][2] = -1
    names = {"spacecraft": {"1": "picard", "2": "../../etc"}}  # as a welcome has them
    assert by_hour(batch, names, "receive_time") == {
        "picard/apid-0005/2026-11-26T23Z.packets": b"a",
        "picard/apid-0005/2026-11-27T00Z.packets": b"bb",
        "spacecraft-2/apid-none/2026-11-26T23Z.packets": b"c",
    }
    assert by_hour(batch, names, "generation_time")["picard/apid-0005/2026-11-01T00Z.packets"] == b"a"


def test_tables_are_safe_for_spreadsheets() -> None:
    """A text that a spreadsheet would compute is quoted; samples without a time have a file of their own."""
    rows = ({"time_utc": "2026-11-26T00:00:00Z", "value": "=1+1"}, {"value": 3}, {"time_utc": "../x", "value": 4})
    assert by_day(rows, "d1") == {
        "2026-11-26.csv": b"2026-11-26T00:00:00Z,,'=1+1,,,,,,,,,,d1\r\n",
        "unknown.csv": b",,3,,,,,,,,,,d1\r\n../x,,4,,,,,,,,,,d1\r\n",
    }


def test_the_service_manager_is_told() -> None:
    """READY, WATCHDOG and STATUS go to the socket that systemd names, an abstract one too; without one nothing does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0gateway-home-test")
        manager.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": "@gateway-home-test", "WATCHDOG_USEC": "60000000"})
        assert notifier.watchdog_s == 60
        notifier.tell(READY=1)
        notifier.tell(WATCHDOG=1, STATUS="all is well\nMAINPID=1")
        assert manager.recv(1000) == b"READY=1"
        assert manager.recv(1000) == b"WATCHDOG=1\nSTATUS=all is well"
    nobody = Notifier({"NOTIFY_SOCKET": "/nowhere/at/all", "WATCHDOG_USEC": "x"})
    nobody.tell(READY=1)
    assert nobody.watchdog_s is None
