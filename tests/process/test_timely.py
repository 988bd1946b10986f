"""`gateway subscribe --mode timely` with real processes: what a station sends is heard at once, and exported."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from gateway_codecs.batches import ItemFlag, Unit
from gateway_codecs.intake import FrameIntake, LinkFormat
from gateway_simulators.spacecraft import Spacecraft
from tests.gateway.test_tcp_links import FORMAT

from .running import ENV, GATEWAY, ROOT, Daemon, run_gateway, until

pytestmark = pytest.mark.process
MINIMAL = ROOT / "config/gateway_config/examples/minimal"
INSTANCE, FRAMES = "demo.simulation", 150


def packets_of(data: bytes) -> list[bytes]:
    """The packets that are not idle, in order."""
    items = FrameIntake(LinkFormat(1, FORMAT, 1)).feed(data, 1).items
    wanted = (items.items["unit"] == Unit.PACKET) & (items.items["flags"] & ItemFlag.IDLE == 0)
    return [items.octets_of(k) for k in wanted.nonzero()[0].tolist()]


def test_a_listener_hears_what_comes(tmp_path: Path) -> None:
    """Timely mode from socket to file: everything that came while it listened, in order, and counted by home."""
    station = socket.create_server(("127.0.0.1", 0))
    shutil.copytree(MINIMAL, tmp_path / "config")
    link = tmp_path / "config/links/station.yaml"
    link.write_text(link.read_text().replace("port: 5500", f"port: {station.getsockname()[1]}") + "watchdog_s: 600\n")
    craft = Spacecraft(3)
    before, now = (b"".join(craft.next_frame().octets for _ in range(FRAMES)) for _ in range(2))
    first, both = packets_of(before), packets_of(before + now)
    daemon = Daemon(tmp_path / "config")
    daemon.start()
    arguments = ["subscribe", INSTANCE, "--home", "laboratory-a", "--mode", "timely", "--kind", "tm", "--json"]
    arguments += ["--max-delay-ms", "10000"]  # nothing is late, however busy the machine is
    arguments += ["--url", daemon.url, "--export", str(tmp_path / "heard.bin"), "--count", str(len(both) - len(first))]
    listener = None
    station.settimeout(120)
    peer, _ = station.accept()
    try:
        peer.sendall(before)
        listener = subprocess.Popen(
            [*GATEWAY, *arguments], env=ENV, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        until(lambda: daemon.get(f"/instances/{INSTANCE}/journal")["head"] >= len(first), "journalled")
        live = f"/instances/{INSTANCE}/subscriptions"
        rows = until(lambda: [row for row in daemon.get(live) if row["state"] == "live"], "it listens")
        assert (rows[0]["mode"], rows[0]["max_delay_ms"], rows[0]["priority"]) == ("timely", 10_000, "normal")
        for at in range(0, len(now), 5000):
            peer.sendall(now[at : at + 5000])
            time.sleep(0.005)
        said, complaint = listener.communicate(timeout=60)
        assert listener.returncode == 0, complaint
        state = daemon.get("/status")["instances"][0]["timely"]
        refused = run_gateway(*arguments[:-2], "--store", str(tmp_path / "store"))
    finally:
        if listener is not None:
            listener.kill()
        peer.close()
        station.close()
        daemon.terminate()
    summary = json.loads(said)
    assert (tmp_path / "heard.bin").read_bytes() == b"".join(both[len(first) :])
    assert (summary["skipped_items"], summary["connects"]) == (0, 1)
    assert state[0]["home"] == "laboratory-a"
    assert state[0]["delivered_items"] >= summary["items"]
    assert refused.returncode == 2
    assert "--store has no meaning in timely mode" in refused.stderr
