"""`gateway homes playback` and `resend` with real processes: asked for, fetched over a kill -9, sent again."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.homes.store import HomeStore
from gateway.real import LocalStorage
from gateway_codecs.batches import DataMode, Unit
from gateway_simulators.spacecraft import Spacecraft
from tests.process.test_timely import INSTANCE, MINIMAL, packets_of

from .running import ENV, GATEWAY, ROOT, Daemon, run_gateway, until

pytestmark = pytest.mark.process
FRAMES = 200


def subscriber(daemon: Daemon, store: Path, *more: str) -> subprocess.Popen[str]:
    command = ["subscribe", INSTANCE, "--home", "laboratory-a", "--url", daemon.url, "--store", str(store), "--json"]
    return subprocess.Popen(
        [*GATEWAY, *command, *more], env=ENV, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def told(daemon: Daemon, *arguments: str) -> Any:
    done = run_gateway("homes", *arguments, "--instance", INSTANCE, "--url", daemon.url, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_playback_over_a_kill_and_a_range_sent_again(tmp_path: Path) -> None:
    """R4: the return of a playback goes on over kill -9 of the gateway and holds exactly the range, tagged; a range
    that the operator orders again comes again to a running subscriber, whose store holds each position once."""
    shutil.copytree(MINIMAL, tmp_path / "config")
    station = socket.create_server(("127.0.0.1", 0))
    link = tmp_path / "config/links/station.yaml"
    link.write_text(link.read_text().replace("port: 5500", f"port: {station.getsockname()[1]}") + "watchdog_s: 600\n")
    craft = Spacecraft(3)
    data = b"".join(craft.next_frame().octets for _ in range(FRAMES))
    packets = packets_of(data)
    daemon = Daemon(tmp_path / "config")
    daemon.start()
    station.settimeout(120)
    peer, _ = station.accept()
    clients: list[subprocess.Popen[str]] = []
    try:
        peer.sendall(data)
        until(lambda: daemon.get(f"/instances/{INSTANCE}/journal")["head"] >= len(packets), "all is journalled")
        clients.append(live := subscriber(daemon, tmp_path / "live", "--kind", "tm"))
        asked = told(daemon, "playback", "ask", "laboratory-a", "--from", "-1h", "--to", "now", "--kind", "tm")
        assert (asked["state"], asked["asked_by"].split()[0], asked["low_water"]) == ("accepted", "operator", 0)
        name = asked["playback"]
        fetch = ["--mode", "playback", "--subscription", name, "--rate-limit-bps", "600000", "--export"]
        clients.append(fetching := subscriber(daemon, tmp_path / "fetched", *fetch, str(tmp_path / "fetched.bin")))
        until(lambda: daemon.get(f"/instances/{INSTANCE}/playbacks")[0]["items"] > 0, "it comes")
        daemon.kill()
        daemon.start()
        said, complaint = fetching.communicate(timeout=120)
        assert fetching.returncode == 0, complaint
        assert (tmp_path / "fetched.bin").read_bytes() == b"".join(packets)
        assert json.loads(said)["connects"] >= 2, "the kill came while it was under way"
        row = told(daemon, "playback", "list", "laboratory-a")[0]
        assert (row["state"], row["progress"], row["sessions"] >= 2) == ("done", 1.0, True)
        until(lambda: subscription(daemon)["lag_items"] == 0, "the live subscriber has all")
        upto = len(packets) // 2
        ordered = told(daemon, "resend", "laboratory-a", "all", "--from-position", "0", "--upto-position", str(upto))
        assert (ordered["positions"], ordered["by"].split()[0]) == (upto, "operator")
        until(lambda: subscription(daemon)["resend"] == [] and subscription(daemon)["lag_items"] == 0, "sent again")
        live.send_signal(signal.SIGINT)
        said, complaint = live.communicate(timeout=120)
    finally:
        for client in clients:
            client.kill()
        peer.close()
        station.close()
        daemon.terminate()
    assert json.loads(said)["duplicates"] >= 1, "received again"
    assert held(tmp_path / "live") == packets
    assert not [mode for mode in modes(tmp_path / "fetched") if mode != DataMode.PLAYBACK]
    script = [str(ROOT / "docs/read_blocks.py"), str(tmp_path / "fetched")]
    counted = subprocess.run([ENV.get("PYTHON", "python3"), *script], capture_output=True, text=True, check=True)
    assert counted.stdout.split() == [str(len(packets)), hashlib.sha256(b"".join(packets)).hexdigest()]


def subscription(daemon: Daemon) -> dict[str, Any]:
    rows = daemon.get(f"/instances/{INSTANCE}/subscriptions")
    return next(row for row in rows if row["mode"] == "complete")


def stored(folder: Path) -> HomeStore:
    return HomeStore(LocalStorage(folder))


def held(folder: Path) -> list[bytes]:
    blocks = list(stored(folder).blocks())
    positions = [int(at) for block in blocks for at in block.positions]
    assert len(positions) == len(set(positions)), "each position once"
    rows = [(block.batch, k) for block in blocks for k in (block.batch.items["unit"] == Unit.PACKET).nonzero()[0]]
    return [batch.octets_of(int(k)) for batch, k in rows]


def modes(folder: Path) -> list[int]:
    return [int(mode) for block in stored(folder).blocks() for mode in block.batch.items["data_mode"]]
