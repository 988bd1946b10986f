"""Peers behind a cable that is pulled, in a network of their own (`unshare --net`): run by test_vanished_peers.py.

`python -m tests.process.vanishing site FOLDER WATCH_S [mended]` is the gateway's side: it makes a second network for
the peers, measures, and prints what it saw as JSON; the gateway ends with the cable mended, or not.
`... peers PORT LINK KINDS` is the far side. The cable is pulled by a route to nowhere: from then on the peers get
everything, and nothing that they or their kernel say comes back, not even a reset.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.home_files import everything

from .crowd import UPGRADE, rss_octets, text_frame
from .running import ENV, ROOT, Daemon, free_port, http, until
from .test_bad_weather import INSTANCE, SUBSCRIBE, Home, Station, _Flow, _flow, events, journal, metric, running
from .test_door import minimal

HERE, THERE = "10.218.0.1", [f"10.218.0.{k}" for k in range(2, 22)]
TOKEN = f"Authorization: {os.environ.get('AUTHORIZATION', '')}"
"""What the far side shows: the gateway is reached from another network, so it asks for tokens."""
# silent ones come last: they are ended soonest
KINDS = {"complete": 50, "timely": 30, "half a request": 40, "silent": 80}
AT_A_GLANCE = {"complete": 12, "timely": 12, "half a request": 36, "silent": 140}  # when nobody watches how they end


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


# ---- the far side ----


def _begin(sock: socket.socket, kind: str, k: int) -> None:
    """Say what a peer of a kind says after it has connected."""
    if kind in {"complete", "timely"}:
        upgrade = UPGRADE.format(path=SUBSCRIBE).replace("127.0.0.1", HERE)
        sock.sendall(upgrade.replace("\r\n\r\n", f"\r\n{TOKEN}\r\n\r\n").encode())
        assert b" 101 " in sock.recv(1000)
        hello = {"type": "subscribe", "home": f"laboratory-{'ab'[k % 2]}", "subscription": f"{kind[0]}{k}"}
        sock.sendall(text_frame(hello | {"mode": kind} | ({"from": "head"} if kind == "complete" else {})))
        assert sock.recv(1000), "its welcome, before the next one comes: this is no flood"
    elif kind == "half a request":
        path = f"/api/v1/instances/{INSTANCE}/contacts"
        kind = f"Content-Type: application/json\r\n{TOKEN}"
        head = f"POST {path} HTTP/1.1\r\nHost: {HERE}\r\n{kind}\r\nContent-Length: 9\r\n\r\n"
        sock.sendall(head.encode() + b"{")


def _peers(port: int, link: int, kinds: dict[str, int]) -> None:
    """Connect so many of each kind, say "there", read all that comes until the end."""
    selector, number = selectors.DefaultSelector(), 0
    for kind, count in kinds.items():
        for k in range(count):
            sock = socket.socket()
            sock.bind((THERE[number % len(THERE)], 0))
            sock.connect((HERE, port))
            _begin(sock, kind, k)
            number += 1
            selector.register(sock, selectors.EVENT_READ)
    station = socket.create_connection((HERE, link))
    print("there", flush=True)
    while station:
        for key, _ in selector.select(1):
            if not key.fileobj.recv(1 << 18):  # type: ignore[union-attr]
                selector.unregister(key.fileobj)


# ---- the gateway's side ----


class PatientDaemon(Daemon):
    """One that is asked beside 200 peers, maybe on a machine that is busy with other tests."""

    def get(self, path: str) -> Any:
        response = http.get(f"{self.url}/api/v1{path}", headers=self.headers)
        response.raise_for_status()
        return response.json()


class FarNetwork:
    """A second network behind a virtual cable; a process in it holds it open."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(["unshare", "-n", "sleep", "1000"])
        until(lambda: Path(f"/proc/{self._holder.pid}/comm").read_text() == "sleep\n")
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(self._holder.pid))
        run("ip", "addr", "add", f"{HERE}/24", "dev", "near")
        run("ip", "link", "set", "near", "up")
        for address in THERE:
            self.run("ip", "addr", "add", f"{address}/24", "dev", "far")
        self.run("ip", "link", "set", "far", "up")

    def inside(self, *command: str) -> list[str]:
        return ["nsenter", "-t", str(self._holder.pid), "-n", *command]

    def run(self, *command: str) -> None:
        run(*self.inside(*command))

    def pull_the_cable(self) -> None:
        self.run("ip", "route", "add", "blackhole", f"{HERE}/32")

    def mend_the_cable(self) -> None:
        self.run("ip", "route", "del", "blackhole", f"{HERE}/32")

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()


@dataclass
class Watched:
    """What was seen of the peers after they vanished: when each number of connections was reached, what was told."""

    daemon: Daemon
    began_s: float = field(default_factory=time.monotonic)
    growth: int = 0
    gone_s: float | None = None
    link_gone_s: float | None = None
    conditions: set[str] = field(default_factory=set)

    def watch(self, span_s: float, grown: Any) -> None:
        """Look twice a second, until all are ended or the time is over."""
        while True:
            passed_s = time.monotonic() - self.began_s
            status = self.daemon.get("/status")
            connections = status["machine"]["connections"]
            self.growth = max(self.growth, grown())
            self.conditions |= {f"{row['what']}: {row['subject']}" for row in status["conditions"]}
            link = next(row for row in self.daemon.get("/links") if row["name"] == "far")
            if self.link_gone_s is None and link["state"] != "connected":
                self.link_gone_s = passed_s
            if self.gone_s is None and connections["open"] <= OWN:
                self.gone_s = passed_s
            if None not in {self.gone_s, self.link_gone_s} or passed_s >= span_s:
                return
            time.sleep(0.5)


OWN = 3  # the good subscriber, and who asks for the status


def _configuration(folder: Path, near: int, far: int) -> Path:
    config = minimal(folder, near, watchdog_s=2)
    (config / "homes/laboratory-b.yaml").write_text(everything("laboratory-b", "demo"))
    (config / "gateway.yaml").write_text("data_dir: ../var\napi: {host: 0.0.0.0, expose: true}\n")
    station = (config / "links/station.yaml").read_text()
    far_link = station.replace("name: station", "name: far").replace(f"port: {near}", f"port: {far}\nhost: {HERE}")
    (config / "links/far.yaml").write_text(far_link.replace("watchdog_s: 2", "watchdog_s: 600\nprime: false"))
    return config


def _site(folder: Path, watch_s: float, mended: bool) -> dict[str, Any]:
    near, far, network = free_port(), free_port(), FarNetwork()
    try:
        with (
            running(PatientDaemon(_configuration(folder, near, far), access=())) as daemon,
            Station(near, 200) as station,
            Home(daemon, "good", "complete") as home,
        ):
            seen = _measured(daemon, station, home, network, far, watch_s)
            if mended:
                network.mend_the_cable()
        return seen
    finally:
        network.close()


def _undisturbed(measure: Callable[[], _Flow], alone: _Flow, enough: float) -> _Flow:
    """The best of three: what else the machine does comes and goes, what the peers cost does not."""
    found = [measure()]
    while len(found) < 3 and (
        found[-1].share < enough * min(1.0, alone.share) or found[-1].frames_per_s < 0.97 * alone.frames_per_s
    ):
        found.append(measure())
    return max(found, key=lambda flow: min(flow.share, flow.frames_per_s / alone.frames_per_s))


def _opened(daemon: Daemon) -> int:
    return int(daemon.get("/status")["machine"]["connections"]["open"])


def _measured(
    daemon: Daemon, station: Station, home: Home, network: FarNetwork, far: int, watch_s: float
) -> dict[str, Any]:
    assert daemon.process is not None
    pid, span_s = daemon.process.pid, 5.0 if watch_s else 2.0
    until(lambda: home.items > 100)
    alone = _flow(daemon, home, station, span_s)
    before = rss_octets(pid) - journal(daemon)["octets"]
    kinds = KINDS if watch_s else AT_A_GLANCE
    command = [sys.executable, "-m", "tests.process.vanishing", "peers", str(daemon.port), str(far), json.dumps(kinds)]
    shown = {"AUTHORIZATION": daemon.headers["Authorization"]}
    peers = subprocess.Popen(network.inside(*command), env=ENV | shown, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert peers.stdout is not None
        assert peers.stdout.readline() == "there\n"
        count = sum(kinds.values())
        until(lambda: _opened(daemon) >= count + 1, "not all are there")
        until(lambda: next(row for row in daemon.get("/links") if row["name"] == "far")["state"] == "connected")
        network.pull_the_cable()
        pulled = Watched(daemon)
        crowded = _undisturbed(lambda: _flow(daemon, home, station, span_s), alone, 0.97 if watch_s else 0.85)
        there = _opened(daemon)
        pulled.watch(watch_s, lambda: rss_octets(pid) - journal(daemon)["octets"] - before)
    finally:
        peers.kill()
        peers.wait()
        peers.stdout.close()  # type: ignore[union-attr]
    positions, told = list(home.positions), events(daemon)
    not_prime = {row["position"] for row in told if row.get("link") == "far"}  # journalled, not delivered
    return {
        "frames_per_s": [flow.frames_per_s for flow in (alone, crowded)],
        "shares": [flow.share for flow in (alone, crowded)],
        "slowest_s": home.slowest_s,
        "exact": positions == [k for k in range(positions[0], positions[-1] + 1) if k not in not_prime],
        "connects": station.connects,
        "peers": count,
        "there": there,
        "growth": pulled.growth,
        "gone_s": pulled.gone_s,
        "link_gone_s": pulled.link_gone_s,
        "closed": daemon.get("/status")["machine"]["connections"]["closed"],  # after the last one is counted too
        "metric": metric(daemon, 'gateway_connections_closed_total{reason="no answer to a ping"}'),
        "conditions": sorted(pulled.conditions),
    }


if __name__ == "__main__":
    if sys.argv[1] == "peers":
        with suppress(OSError):
            _peers(int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4]))
        time.sleep(300)
    else:
        print(json.dumps(_site(Path(sys.argv[2]), float(sys.argv[3]), len(sys.argv) > 4)))
