"""Over MQTT, through both brokers: a foreign client hears everything, home bases end exact whatever is killed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .brokers import MOSQUITTO_PUB, MOSQUITTO_SUB, Broker, connected, heard, mosquitto_sub, needs
from .running import ROOT, Daemon, ended, http, run_gateway, subscriber, until
from .test_exactness import HERA, assert_exact, hera_config, hera_expected

INSTANCE = "hera.simulation"
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not HERA.exists(), reason="the shared recordings are not beside the checkout"),
]
BOTH = pytest.mark.parametrize("kind", ["nats", "mosquitto"])
Site = tuple[Daemon, Broker]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[[str, float], Site]]:
    """Make a gateway with a broker that plays Hera once its link is enabled."""
    made: list[Site] = []

    def make(kind: str, frames_per_s: float) -> Site:
        needs(kind)
        broker = Broker(kind, tmp_path)
        config = hera_config(tmp_path, frames_per_s)
        with (config / "gateway.yaml").open("a") as file:
            file.write(broker.keys())
        with (config / "links/recorded-pass.yaml").open("a") as file:
            file.write("enabled: false\n")
        broker.start()
        daemon = Daemon(config)
        made.append((daemon, broker))
        daemon.start()
        connected(daemon)
        return daemon, broker

    yield make
    for daemon, broker in made:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()
        broker.stop()


def play(daemon: Daemon, verb: str = "enable") -> None:
    http.post(f"{daemon.url}/api/v1/instances/{INSTANCE}/links/recorded-pass/{verb}").raise_for_status()


def head(daemon: Daemon) -> int:
    return int(daemon.get(f"/instances/{INSTANCE}/journal")["head"])


def retained(broker: Broker, into: Path) -> dict[str, Any]:
    """What somebody who comes now is told at once, by topic."""
    mosquitto_sub(into, "-p", str(broker.port), "-t", "gw/v1/+/+", "-F", "%r %t %p", "-W", "1").wait(60)
    rows = [line.decode().split(" ", 2) for line in heard(into.read_bytes().splitlines())]
    return {topic: json.loads(payload) for told, topic, payload in rows if told == "1"}


def late_listener_knows(told: dict[str, Any]) -> bool:
    """Whether who comes late finds the gateway, the streams, the links as they are, and contacts."""
    return (
        told.keys()
        >= {"gw/v1/status/gateway", *(f"gw/v1/{INSTANCE}/{one}" for one in ("streams", "links", "contacts"))}
        and told["gw/v1/status/gateway"]["state"] == "online"
        and {row["vcid"] for row in told[f"gw/v1/{INSTANCE}/streams"]["streams"]} >= {1}
        and told[f"gw/v1/{INSTANCE}/links"]["links"][0]["state"] == "finished"
        and "contacts" in told[f"gw/v1/{INSTANCE}/contacts"]
    )


def home_base(broker: Broker, daemon: Daemon, folder: Path) -> subprocess.Popen[str]:
    return subscriber(
        f"mqtt://127.0.0.1:{broker.port}", INSTANCE, "laboratory-a", folder / "store",
        "--kind", "tm", "--vc", "1", "--count", "2302", "--export", str(folder / "packets.bin"),
    )  # fmt: skip


def acknowledged(daemon: Daemon) -> int:
    rows = daemon.get(f"/instances/{INSTANCE}/subscriptions")
    return int(rows[0]["low_water"]) if rows else 0


@BOTH
@pytest.mark.skipif(MOSQUITTO_SUB is None, reason="mosquitto_sub is not installed (apt-get install mosquitto-clients)")
def test_a_foreign_client_hears_every_packet(tmp_path: Path, kind: str, site: Callable[[str, float], Site]) -> None:
    """mosquitto_sub and a script of 50 lines end with all 2302 packets of VC1, octet for octet, by APID."""
    daemon, broker = site(kind, 400)
    topics = ("-t", f"gw/v1/{INSTANCE}/+/tm/#")
    listener = mosquitto_sub(tmp_path / "heard", "-p", str(broker.port), *topics, "-F", "%t %x")
    try:
        play(daemon)
        until(lambda: daemon.get("/links")[0]["state"] == "finished", "played")
        until(lambda: daemon.get("/status")["mqtt"]["counters"]["shared_items"] >= 2302, "published")
        until(lambda: late_listener_knows(retained(broker, tmp_path / "late")), "the descriptors")
        metrics = http.get(f"{daemon.url}/metrics").text
        assert "gateway_mqtt_connected 1.0" in metrics
        assert "gateway_mqtt_shared_items_total 2302.0" in metrics
    finally:
        listener.send_signal(signal.SIGTERM)
        listener.wait()
    lines = b"".join(heard((tmp_path / "heard").read_bytes().splitlines(keepends=True)))
    script = [sys.executable, "-I", str(ROOT / "docs/read_mqtt.py"), str(tmp_path / "packets")]
    told = subprocess.run(script, input=lines, capture_output=True, timeout=60, check=True).stdout.decode()
    rows = [line.split() for line in told.splitlines()]
    of_vc1 = [row for row in rows if row[0].split("/")[5] == "1"]
    assert sum(int(row[2]) for row in of_vc1) == hera_expected()["packets"] == 2302
    assert all(row[3] == row[4] == "0" for row in rows), "nothing skipped, nothing lost"
    assert_same_packets(tmp_path, {row[0].split("/")[6]: row[5] for row in of_vc1})
    assert daemon.terminate() == 0


def assert_same_packets(folder: Path, digests: dict[str, str]) -> None:
    """The packets of each APID are those of the journal, which is proven by other people's digest."""
    exported = folder / "exported.bin"
    done = run_gateway("journal", "export", str(folder / "var" / INSTANCE), str(exported), "--packets", "--vc", "1")
    assert done.returncode == 0, done.stderr
    data, at = exported.read_bytes(), 0
    assert hashlib.sha256(data).hexdigest() == hera_expected()["packets_sha256_concatenated"]
    by_apid: dict[str, Any] = {}
    while at < len(data):
        size = 7 + int.from_bytes(data[at + 4 : at + 6], "big")
        apid = str(int.from_bytes(data[at : at + 2], "big") & 0x7FF)
        by_apid.setdefault(apid, hashlib.sha256()).update(data[at : at + size])
        at += size
    assert digests == {apid: digest.hexdigest() for apid, digest in by_apid.items()}


@BOTH
def test_a_home_base_ends_exact_over_kills(tmp_path: Path, kind: str, site: Callable[[str, float], Site]) -> None:
    """R4 over MQTT: the broker is killed, the home base is killed, stays away and fills its hole, the broker is killed
    again: it ends with every packet once, in order."""
    daemon, broker = site(kind, 130)
    client = home_base(broker, daemon, tmp_path)
    try:
        until(lambda: daemon.get("/status")["mqtt"]["sessions"] == 1, "the session")
        play(daemon)
        until(lambda: acknowledged(daemon) > 200, "some packets")
        broker.kill(daemon)
        until(lambda: head(daemon) > 600, "more packets")
        play(daemon, "disable")  # enough is left for a hole, however long the session takes to come back
        until(lambda: acknowledged(daemon) > 600, "the session came back")
        client.kill()
        client.communicate()
        at = acknowledged(daemon)
        play(daemon)
        until(lambda: head(daemon) > at + 500, "a hole")
        client = home_base(broker, daemon, tmp_path)
        until(lambda: acknowledged(daemon) > at, "the hole is being filled")
        broker.kill(daemon)
        assert_exact(ended(client), tmp_path / "packets.bin")
        told = Counter(e["severity"] for e in daemon.get(f"/instances/{INSTANCE}/events?limit=1000")["events"]
                       if e["type"] == "mqtt")  # fmt: skip
        assert told["warning"] >= 1, "the loss of a broker is an event"
        assert daemon.get("/status")["mqtt"]["counters"]["cuts"] >= 1
        assert daemon.terminate() == 0
    finally:
        client.kill()


class ForeignHome:
    """A home base of mosquitto_sub, mosquitto_pub and docs/read_blocks.py: what docs/mqtt.md says, nothing of ours."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self._broker, self._folder, self._topic = broker, folder, f"gw/v1/{INSTANCE}/home/laboratory-b/foreign"
        (folder / "store").mkdir(parents=True)
        self._journal: dict[str, Any] | None = None  # of which journal, from the first welcome on
        self.at, self.items = 0, 0

    def say(self, message: dict[str, Any]) -> None:
        assert MOSQUITTO_PUB is not None
        command = [MOSQUITTO_PUB, "-p", str(self._broker.port), "-t", f"{self._topic}/request", "-m"]
        subprocess.run([*command, json.dumps(message)], check=True, timeout=60)

    def listen(self, session: str, enough: Callable[[], bool], timeout_s: float = 120) -> None:
        """Subscribe with our own cursor, store and acknowledge until it is enough; then vanish without a word."""
        file, self._session, self._welcome = self._folder / session, session, False
        listener = mosquitto_sub(file, "-p", str(self._broker.port), "-t", self._topic, "-F", "%x")
        limit, alive_s = time.monotonic() + timeout_s, 0.0
        try:
            cursor = self._journal and {**self._journal, "low_water": self.at, "ranges": []}
            hello = {"type": "subscribe", "session": session, "sequential": True, "cursor": cursor}
            self.say({**hello, "selection": {"kinds": ["tm"], "vcids": [1]}})
            with file.open("rb") as lines:
                while not enough():
                    assert time.monotonic() < limit, f"{session}: {self.items} items, up to {self.at}"
                    self._hear(lines)
                    if time.monotonic() > alive_s:
                        alive_s = time.monotonic() + 1
                        self.say({"type": "alive", "session": session})
        finally:
            listener.kill()
            listener.wait()

    def _hear(self, lines: Any) -> None:
        at, began = self.at, lines.tell()
        while (line := lines.readline()).endswith(b"\n"):
            began = lines.tell()
            for one in heard([line]):
                self._take(bytes.fromhex(one.decode()))
        lines.seek(began)  # half a line
        if self.at != at:
            self.say({"type": "ack", "session": self._session, "lane": 0, "upto": self.at})
        time.sleep(0.1)

    def _take(self, message: bytes) -> None:
        if message.startswith(b"{"):
            told = json.loads(message)
            assert told["type"] not in {"error", "closed", "missing"} or told["session"] != self._session, told
            if told["type"] == "welcome" and told["session"] == self._session:
                self._journal, self._welcome = {key: told[key] for key in ("journal_id", "revision")}, True
                self.at = told["low_water"]
            return
        magic, kind, _, _, count, first, upto = struct.unpack_from(">4sBBHIqq", message)
        if magic == b"UGB1" and kind == 1 and self._welcome:
            assert first == self.at, "each block begins where the one before ended"
            with (self._folder / "store/1.blocks").open("ab") as store:
                store.write(message)
            self.items, self.at = self.items + count, upto

    def read(self) -> list[str]:
        """What the script in docs finds: how many packets, and their SHA-256."""
        script = [sys.executable, "-I", str(ROOT / "docs/read_blocks.py"), str(self._folder / "store")]
        return subprocess.run(script, capture_output=True, text=True, timeout=60, check=True).stdout.split()


@BOTH
@pytest.mark.skipif(MOSQUITTO_SUB is None, reason="mosquitto_sub is not installed (apt-get install mosquitto-clients)")
@pytest.mark.parametrize(("away_s", "frames_per_s"), [(4, 80), pytest.param(60, 6, marks=pytest.mark.soak)])
def test_a_foreign_home_base_that_was_off(
    tmp_path: Path, kind: str, away_s: float, frames_per_s: float, site: Callable[[str, float], Site]
) -> None:
    """R4 over MQTT for anybody: mosquitto's clients go in the middle of a pass without a word, for longer than their
    lease (soak: a minute), come back with their cursor, and end with every packet once, in order."""
    daemon, broker = site(kind, frames_per_s)
    home = ForeignHome(broker, tmp_path / "foreign")
    play(daemon)
    home.listen("first", lambda: home.items > 200)
    had, gone_s = home.items, time.monotonic()
    until(lambda: daemon.get("/status")["mqtt"]["sessions"] == 0, "its lease is over")
    time.sleep(max(0.0, gone_s + away_s - time.monotonic()))
    missed = daemon.get(f"/instances/{INSTANCE}/journal")["head"] - home.at
    assert missed > 500, "a hole"
    home.listen("second", lambda: home.items >= 2302)
    assert had < 2302
    assert home.read() == ["2302", hera_expected()["packets_sha256_concatenated"]]
    assert daemon.terminate() == 0


@pytest.mark.soak
@BOTH
@pytest.mark.parametrize("killed", [False, True], ids=["", "broker-killed"])
def test_a_home_base_that_was_off_for_a_minute(
    tmp_path: Path, kind: str, killed: bool, site: Callable[[str, float], Site]
) -> None:
    """R4 over MQTT: off for 60 s of a pass, longer than the broker's and the session's patience; the broker is killed
    in the middle of that, and again while the hole is filled: every packet once, in order."""
    daemon, broker = site(kind, 5)
    client = home_base(broker, daemon, tmp_path)
    try:
        play(daemon)
        until(lambda: acknowledged(daemon) > 100, "some packets")
        client.kill()
        client.communicate()
        time.sleep(30)
        at = acknowledged(daemon)
        if killed:
            broker.kill(daemon)
        time.sleep(30)
        connected(daemon)
        assert daemon.get("/status")["mqtt"]["sessions"] == 0
        assert daemon.get("/links")[0]["state"] == "receiving", "the pass goes on"
        assert daemon.get(f"/instances/{INSTANCE}/journal")["head"] > at + 1000, "a hole"
        client = home_base(broker, daemon, tmp_path)
        until(lambda: acknowledged(daemon) > at, "the hole is being filled")
        if killed:
            broker.kill(daemon)
        assert_exact(ended(client), tmp_path / "packets.bin")
        assert daemon.terminate() == 0
    finally:
        client.kill()


def test_a_broker_of_our_own_costs_nobody_else(tmp_path: Path, site: Callable[[str, float], Site]) -> None:
    """R7, R13: it ends with a gateway that is killed; one that hangs holds neither links nor WebSocket sessions nor the
    end of the gateway, and ends with it."""
    daemon, _ = site("nats", 400)
    pid = int(daemon.get("/status")["mqtt"]["broker_pid"])
    daemon.kill()
    until(lambda: not Path(f"/proc/{pid}").exists(), "the broker has ended")
    daemon.start()
    connected(daemon)
    pid = int(daemon.get("/status")["mqtt"]["broker_pid"])
    os.kill(pid, signal.SIGSTOP)
    client = subscriber(
        daemon.url, INSTANCE, "laboratory-b", tmp_path / "store", "--kind", "tm", "--vc", "1", "--count", "2302",
        "--export", str(tmp_path / "packets.bin"),
    )  # fmt: skip
    try:
        play(daemon)
        assert_exact(ended(client), tmp_path / "packets.bin")
        assert daemon.terminate() == 0
        assert not Path(f"/proc/{pid}").exists()
    finally:
        client.kill()
