"""R9 with a real process: SIGHUP and `gateway reload` change what they change, and nothing else; or nothing at all."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from gateway_codecs.delivery_block import decode
from tests.process.running import Daemon, run_gateway, until

PACKETS = {apid: bytes.fromhex(f"{apid:04x}c000000300010203") for apid in (1, 2, 3)}
MISSION = "name: m\nsupport_modes: [flight]\nspacecraft:\n  - {name: s, packets: {packet_versions: [0]}}\n"
LINK = "name: {}\nmission: m\nsupport_mode: flight\nspacecraft: s\ntype: tcp_client\nunit: packets\nport: {}\n{}"
HOME = "name: {}\ngrants:\n  - {{mission: m, apids: {}}}\n"


class Station:
    """The far end of a link, in threads of its own."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.peers: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.peers.append(self._server.accept()[0])

    def send(self, *apids: int) -> None:
        self.peers[-1].sendall(b"".join(PACKETS[apid] for apid in apids))

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for peer in self.peers:
            peer.close()


class Home:
    """A home base on a real WebSocket, which acknowledges what comes."""

    def __init__(self, daemon: Daemon, name: str) -> None:
        url = f"ws://127.0.0.1:{daemon.port}/api/v1/instances/m.flight/subscribe"
        self._stack = contextlib.ExitStack()
        self._socket: ClientConnection = self._stack.enter_context(
            connect(url, proxy=None, compression=None, open_timeout=60)
        )
        self._socket.send(json.dumps({"type": "subscribe", "home": name, "subscription": "all"}))
        self.apids: list[int] = []
        self.reason: str | None = None
        self.ended_s = 0.0
        self.welcome = json.loads(self._socket.recv(60))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            for message in self._socket:
                if isinstance(message, bytes):
                    block = decode(message)
                    self.apids += block.batch.items["apid"].tolist()
                    if len(block.batch.items):
                        ack = {"type": "ack", "lane": int(block.lane), "upto": block.upto_position}
                        self._socket.send(json.dumps(ack))
        except ConnectionClosed:
            pass
        self.ended_s = time.monotonic()
        self.reason = self._socket.close_reason or ""

    def close(self) -> None:
        self._stack.close()
        self._reader.join(60)


@pytest.fixture
def stations() -> Iterator[list[Station]]:
    made = [Station(), Station()]
    yield made
    for station in made:
        station.close()


@pytest.fixture
def daemon(tmp_path: Path, stations: list[Station]) -> Iterator[Daemon]:
    write(
        tmp_path,
        gateway="data_dir: var\napi: {access: open}\n",
        missions__m=MISSION,
        links__one=LINK.format("one", stations[0].port, "watchdog_s: 600\n"),
        links__two=LINK.format(
            "two", stations[1].port, "prime: false\nwatchdog_s: 600\n"
        ),  # silence ends none meanwhile
        homes__a=HOME.format("a", [1, 2]),
        homes__b=HOME.format("b", [2, 3]),
    )
    running = Daemon(tmp_path)
    running.start()
    yield running
    if running.process is not None and running.process.poll() is None:
        assert running.terminate() == 0


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def reloads(daemon: Daemon) -> dict[str, int]:
    return dict(daemon.get("/status")["configuration"]["reloads"])


def reload_events(daemon: Daemon) -> list[dict[str, Any]]:
    events = daemon.get("/instances/m.flight/events?limit=1000")["events"]
    return [one for one in events if one["type"] == "reload"]


def test_a_hang_up_reloads(daemon: Daemon, stations: list[Station], tmp_path: Path) -> None:
    """R9: SIGHUP applies the difference: one session ends within a second, the other and its link are not touched."""
    until(lambda: all(station.peers for station in stations))
    a, b = Home(daemon, "a"), Home(daemon, "b")
    stations[0].send(1, 2, 3)
    until(lambda: a.apids == [1, 2] and b.apids == [2, 3])
    write(
        tmp_path,
        homes__a=HOME.format("a", [1]),
        links__two=LINK.format("two", stations[1].port, "prime: false\nwatchdog_s: 500\n"),
    )
    shown = run_gateway("diff", str(tmp_path), "--url", daemon.url)
    assert shown.returncode == 1, shown.stderr
    assert "- m (flight): tm, all VCs, APID 2; all modes" in shown.stdout
    assert "watchdog_s: 600 -> 500" in shown.stdout
    assert daemon.process is not None
    told_s = time.monotonic()
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: a.reason is not None)
    assert a.reason == "rights changed: subscribe again"
    until(lambda: reloads(daemon) == {"applied": 1, "refused": 0})
    (event,) = until(lambda: reload_events(daemon), "an event")
    assert event["who"] == "SIGHUP"
    until(lambda: len(stations[1].peers) == 2)
    again = Home(daemon, "a")
    stations[0].send(2, 1)
    until(lambda: b.apids == [2, 3, 2] and again.apids == [1])
    assert (a.apids, b.reason, len(stations[0].peers), again.welcome["version"]) == ([1, 2], None, 1, 2)
    assert a.ended_s - told_s < 30  # of which the gateway took a part: a second by its own clock
    assert run_gateway("diff", str(tmp_path), "--url", daemon.url).returncode == 0
    for home in (b, again):
        home.close()


def test_wrong_files_change_nothing(daemon: Daemon, stations: list[Station], tmp_path: Path) -> None:
    """R9: a hang-up with a wrong file is refused and told; `gateway reload` says every problem; SIGTERM drains."""
    until(lambda: all(station.peers for station in stations))
    b = Home(daemon, "b")
    before = daemon.get("/configuration")
    write(tmp_path, homes__a="nme: a\n", homes__b="name: b\ngrant: []\n", missions__n=MISSION.replace("m", "n", 1))
    assert daemon.process is not None
    for _ in range(3):
        daemon.process.send_signal(signal.SIGHUP)
    until(lambda: reloads(daemon)["refused"] >= 1)
    ran = run_gateway("reload", "--url", daemon.url)
    assert ran.returncode == 2
    assert "homes/a.yaml:1: nme" in ran.stderr
    assert "homes/b.yaml:2: grant" in ran.stderr
    assert run_gateway("diff", str(tmp_path), "--url", daemon.url).returncode == 2
    assert daemon.get("/configuration") == before
    assert "homes/a.yaml" in daemon.get("/status")["configuration"]["last_refusal"]
    write(tmp_path, homes__a=HOME.format("a", [1, 2]), homes__b=HOME.format("b", [2, 3]))
    (tmp_path / "missions" / "n.yaml").unlink()
    write(tmp_path, gateway="data_dir: var\napi: {access: open, port: 9}\n")
    ran = run_gateway("reload", "--url", daemon.url)
    assert (ran.returncode, "needs a restart: api.port" in ran.stderr) == (1, True)
    assert run_gateway("diff", str(tmp_path), "--url", daemon.url).returncode == 3
    assert (b.reason, [len(station.peers) for station in stations]) == (None, [1, 1])
    daemon.process.send_signal(signal.SIGHUP)
    assert daemon.terminate() == 0  # R7, also with a reload under way
    until(lambda: b.reason is not None)
    assert b.reason == "the gateway is stopping"
    b.close()
