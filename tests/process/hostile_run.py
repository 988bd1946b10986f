"""One run of a gateway with many home bases, with a hostile one or without: every party in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from gateway_codecs.space_packet import SpacePacket, encode
from tests.home_files import everything

from .crowd import cpu_s, rss_octets
from .running import ENV, ROOT, Daemon, free_port

HERE = Path(__file__).parent
INSTANCE = "demo.simulation"
SUBSCRIBE = f"/api/v1/instances/{INSTANCE}/subscribe"
MISSION = "name: demo\nspacecraft: [{name: picard, packets: {packet_versions: [0]}}]\n"
PACKET_OCTETS = 200
HOSTILE = "hostile"


@dataclass(frozen=True)
class Crowded:
    """How many home bases beside the hostile one, how much they get, and how much that one tries."""

    homes: int
    packets: int
    packets_per_s: int
    subscriptions: int
    half_open: int
    mqtt: bool = False
    settle_s: float = 3.0  # of attack, before the data begin to flow


@dataclass
class Found:
    """One run."""

    rates_per_s: list[float]
    pause_s: float
    growth_octets: int
    gateway_cpu_s: float
    troubles: list[str]
    attack: dict[str, Any]
    hostile_sessions: int
    metrics: str
    status: dict[str, Any]

    @property
    def told(self) -> Counter[str]:
        """What the hostile one was told."""
        return Counter(self.attack.get("told", {}))

    def counted(self, name: str) -> float:
        """The sum of a counter over its labels."""
        lines = [line for line in self.metrics.splitlines() if line.startswith((name + "{", name + " "))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


@dataclass
class Party:
    """A process of its own that is told in JSON what to do, and tells in JSON what came of it."""

    script: str
    about: dict[str, Any]
    nice: int = 0
    process: subprocess.Popen[str] = field(init=False)

    def begin(self, said: str) -> None:
        """Start, and wait until it says so."""
        path = f"{ENV['PYTHONPATH']}{os.pathsep}{HERE}"
        command = ["nice", "-n", str(self.nice), sys.executable, str(HERE / self.script)]
        self.process = subprocess.Popen(
            command, env={**ENV, "PYTHONPATH": path}, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._say(json.dumps(self.about))
        assert self._line() == said, self.script

    def stop(self) -> None:
        """Tell it to end."""
        self._say("end")

    def _say(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def answered(self) -> bool:
        """Whether it has told what came of it."""
        return bool(select.select([self.process.stdout], [], [], 0)[0])

    def result(self) -> Any:
        """What came of it."""
        return json.loads(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


class Station:
    """Sends packets at the rate that is asked for, in ten bursts a second, whatever becomes of them: late is late."""

    def __init__(self, crowded: Crowded) -> None:
        self._crowded = crowded
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(30)
        self.port = int(self._socket.getsockname()[1])
        self._peer: socket.socket | None = None
        self._thread = threading.Thread(target=self._send, name="station", daemon=True)

    def accept(self) -> None:
        """Wait for the gateway."""
        self._peer = self._socket.accept()[0]

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def _send(self) -> None:
        assert self._peer is not None
        crowded, body, began_s = self._crowded, os.urandom(PACKET_OCTETS - 6), time.monotonic()
        burst = max(1, crowded.packets_per_s // 10)
        with contextlib.suppress(OSError):
            for first in range(0, crowded.packets, burst):
                time.sleep(max(0.0, began_s + first / crowded.packets_per_s - time.monotonic()))
                last = min(first + burst, crowded.packets)
                self._peer.sendall(b"".join(encode(SpacePacket(100, k % 16384, body)) for k in range(first, last)))

    def close(self) -> None:
        """Leave."""
        for one in (self._peer, self._socket):
            if one is not None:
                one.close()


def home_names(crowded: Crowded) -> list[str]:
    return [f"home-{k}" for k in range(crowded.homes)]


def configured(folder: Path, crowded: Crowded, mqtt_port: int, station: int) -> Path:
    """Write the configuration; returns its folder."""
    config = folder / "config"
    link = "name: l\nmission: demo\nspacecraft: picard\nsupport_mode: simulation\ntype: tcp_client\nunit: packets\n"
    files = {"missions/demo": MISSION, "links/l": f"{link}port: {station}\n"}
    files |= {f"homes/{home}": everything(home, "demo") for home in [HOSTILE, *home_names(crowded)]}
    files["gateway"] = "data_dir: ../var\n"
    if crowded.mqtt:
        files["gateway"] += f"mqtt: {{enabled: true, port: {mqtt_port}}}\n"
    for name, text in files.items():
        (config / name).parent.mkdir(parents=True, exist_ok=True)
        (config / f"{name}.yaml").write_text(text)
    return config


def run(folder: Path, crowded: Crowded, hostile: bool, watch: Callable[[int], None] = lambda pid: None) -> Found:
    """One run. `watch` gets the gateway's process id when the data begin to flow."""
    mqtt_port = free_port()
    station = Station(crowded)
    daemon = Daemon(configured(folder, crowded, mqtt_port, station.port), access=())
    daemon.start()
    parties: list[Party] = []
    try:
        with httpx.Client(base_url=f"{daemon.url}/api/v1", headers=daemon.headers, trust_env=False, timeout=60) as api:
            station.accept()
            return _run(daemon, api, station, crowded, mqtt_port if crowded.mqtt else 0, hostile, parties, watch)
    finally:
        for party in parties:
            party.kill()
        daemon.kill()
        station.close()


def _run(
    daemon: Daemon, api: httpx.Client, station: Station, crowded: Crowded, mqtt_port: int, hostile: bool,
    parties: list[Party], watch: Callable[[int], None],
) -> Found:  # fmt: skip
    assert daemon.process is not None
    pid = daemon.process.pid
    tokens = {
        home: str(api.post("/tokens", json={"name": home}).json()["token"]) for home in [HOSTILE, *home_names(crowded)]
    }
    about = {"port": daemon.port, "path": SUBSCRIBE, "instance": INSTANCE}
    limit_s = 60 + 3 * crowded.packets / crowded.packets_per_s
    token = tokens.pop(HOSTILE)
    crowd = Party("crowd_of_homes.py", {**about, "tokens": tokens, "wanted": crowded.packets, "limit_s": limit_s})
    parties.append(crowd)
    crowd.begin("live")
    tries = {"subscriptions": crowded.subscriptions, "half_open": crowded.half_open, "token": token, "home": HOSTILE}
    attackers = [
        Party("attacker.py", {**about, **tries, "mqtt_port": port}, nice=19)
        for port in ([0, mqtt_port] if mqtt_port else [0]) if hostile
    ]  # fmt: skip
    before, most = rss_octets(pid), 0
    for attacker in attackers:
        parties.append(attacker)
        attacker.begin("begun")
    time.sleep(crowded.settle_s)
    watch(pid)
    station.start()
    cpu_before_s = cpu_s(pid)
    while not crowd.answered():
        most = max(most, rss_octets(pid))
        time.sleep(0.2)
    used_s = cpu_s(pid) - cpu_before_s
    found = crowd.result()
    rows = api.get(f"/instances/{INSTANCE}/subscriptions").json()
    sessions = sum(row["home"] == HOSTILE and row["state"] == "live" for row in rows)
    attacks = []
    for attacker in attackers:
        attacker.stop()
        attacks.append(attacker.result())
    told = sum((Counter(attack["told"]) for attack in attacks), Counter[str]())
    attack = {**attacks[0], "told": told} if attacks else {}
    metrics = httpx.get(f"{daemon.url}/metrics", headers=daemon.headers, trust_env=False, timeout=60).text
    rates = [row["items"] / max(1.0, row["last_s"] - row["first_s"]) for row in found]
    troubles = [f"{row['home']}: {row['items']} items, {row['trouble']}" for row in found
                if row["items"] != crowded.packets or row["trouble"]]  # fmt: skip
    pause_s = max(row["pause_s"] for row in found)
    return Found(rates, pause_s, most - before, used_s, troubles, attack, sessions, metrics, api.get("/status").json())
