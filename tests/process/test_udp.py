"""UDP into a real gateway: cold, fast, too fast; what the kernel dropped and what the counts miss are one number."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.console.journal import read_blocks
from gateway_codecs.batches import Unit
from gateway_config.loader import EXAMPLES
from gateway_simulators.spacecraft import digest

from .running import ENV, ROOT, Daemon, free_port, http

pytestmark = pytest.mark.process
DURATION_S = 10.0 if os.environ.get("GATEWAY_SOAK") else 2.0
INSTANCE = "load.simulation"
MISSION = """
name: load
support_modes: [simulation]
spacecraft:
  - name: aos
    scids: [42]
    frames: {version: aos, frame_length_octets: 1115, vcs: {1: {service: opaque}}}
"""


def free_udp_port() -> int:
    """A loopback port that was free for datagrams a moment ago."""
    return free_port(socket.SOCK_DGRAM)


def config(folder: Path, port: int, more: str = "") -> Path:
    """A configuration with one UDP link."""
    for sub in ("missions", "links"):
        (folder / "config" / sub).mkdir(parents=True)
    (folder / "config/missions/load.yaml").write_text(MISSION)
    (folder / "config/gateway.yaml").write_text("data_dir: ../var\n")
    text = f"name: u\nmission: load\nspacecraft: aos\ntype: udp\nport: {port}\nallowed_peers: [127.0.0.1]\n{more}"
    (folder / "config/links/u.yaml").write_text(text)
    return folder / "config"


def simulator(*arguments: str) -> subprocess.Popen[str]:
    """The other end, as a process."""
    command = [sys.executable, "-m", "gateway_simulators", *arguments]
    return subprocess.Popen(
        command, env=ENV, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def flooded(
    daemon: Daemon, port: int, frames_per_s: int, duration_s: float = DURATION_S
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Start cold and be flooded the moment the gateway is ready; returns what was sent, and the link at the end."""
    rate = ("--frames-per-s", str(frames_per_s), "--duration-s", str(duration_s))
    with simulator("flood", "--port", str(port), *rate, "--wait") as flood:
        assert flood.stdout is not None
        assert json.loads(flood.stdout.readline()) == {"waiting": True}
        daemon.start()
        out, err = flood.communicate("now\n", timeout=duration_s * 10 + 30)
    assert flood.returncode == 0, err
    sent = json.loads(out)
    until_s = time.monotonic() + 120
    while True:
        link = daemon.get(f"/instances/{INSTANCE}/links/u")
        counters = link["counters"]
        if counters["frames"] + counters["datagrams_lost"] >= sent["sent"]:
            return sent, link
        assert time.monotonic() < until_s, (sent, counters)
        time.sleep(0.1)


def journalled(folder: Path) -> tuple[int, int, set[str]]:
    """Frames kept, datagrams that gaps say are lost, reasons of frames that are missing: as the journal has them."""
    frames = lost = 0
    reasons: set[str] = set()
    for block in read_blocks(folder, []):
        units = block.items["unit"]
        frames += int((units == Unit.FRAME).sum())
        for row in (units == Unit.EVENT).nonzero()[0].tolist():
            start = int(block.items["offset"][row])
            event = json.loads(block.octets[start : start + int(block.items["length"][row])].tobytes())
            if event["type"] == "gap" and event["what"] == "datagrams":
                lost += event["missing"]
            elif event["type"] == "gap":
                reasons.add(event["reason"])
    return frames, lost, reasons


@pytest.mark.parametrize("frames_per_s", [pytest.param(5000, marks=pytest.mark.soak), 30_000])
def test_from_a_cold_start(tmp_path: Path, frames_per_s: int) -> None:
    """From the moment it is ready nothing is lost, or exactly what the kernel counts is what the frame counts miss."""
    port = free_udp_port()
    daemon = Daemon(config(tmp_path, port, "record: false\n"))
    try:
        sent, link = flooded(daemon, port, frames_per_s)
        assert daemon.terminate() == 0
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()
    counters, channel = link["counters"], link["statistics"]["vcs"]["42/1"]
    print(f"{frames_per_s} frames/s: {sent}, {counters}")
    assert (channel["first_count"], channel["last_count"]) == (0, sent["sent"] - 1)
    assert channel["frames_missing_mod"] == counters["datagrams_lost"]
    assert counters["frames"] + counters["datagrams_lost"] == counters["datagrams"] + counters["datagrams_lost"]
    assert counters["frames"] + counters["datagrams_lost"] == sent["sent"]
    assert link["rejected"] == counters["refused"] == channel["repeated_counts"] == 0
    frames, lost, reasons = journalled(tmp_path / "var" / INSTANCE)
    assert (frames, lost) == (counters["frames"], counters["datagrams_lost"])
    assert reasons <= {"datagrams lost in the kernel"}


def test_too_fast_for_a_small_buffer(tmp_path: Path) -> None:
    """What a buffer of 32 frames cannot hold is lost, and told: counter, gaps, reasons, condition and counts agree."""
    port = free_udp_port()
    daemon = Daemon(config(tmp_path, port, "receive_buffer_octets: 36000\n"))
    try:
        sent, link = flooded(daemon, port, 60_000, 0.5)
        rows = daemon.get("/status")["conditions"]
        conditions = [row["text"] for row in rows if row["subject"] == f"link u of {INSTANCE}"]
        metrics = http.get(f"{daemon.url}/metrics").text
        assert daemon.terminate() == 0
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()
    lost = link["counters"]["datagrams_lost"]
    assert lost > 0
    assert link["statistics"]["vcs"]["42/1"]["frames_missing_mod"] == lost
    assert f"datagrams lost in the kernel: {lost} since the counters were reset" in conditions
    assert f'gateway_link_units_total{{instance="{INSTANCE}",link="u",what="datagrams_lost"}} {float(lost)}' in metrics
    frames, told, reasons = journalled(tmp_path / "var" / INSTANCE)
    assert (frames, told) == (sent["sent"] - lost, lost)
    assert reasons == {"datagrams lost in the kernel"}


def test_cadus_with_reed_solomon(tmp_path: Path) -> None:
    """R6: CADUs in datagrams: what the code can mend becomes packets, all of them; what it cannot is kept as bad."""
    port, ledger = free_udp_port(), tmp_path / "ledger"
    shutil.copytree(str(EXAMPLES / "demo"), tmp_path / "config")
    link = f"name: station\nmission: demo\nspacecraft: picard\ntype: udp\nunit: cadus\nport: {port}\n"
    (tmp_path / "config/links/station.yaml").write_text(link)
    daemon = Daemon(tmp_path / "config")
    daemon.start()
    try:
        play = ("--udp", "--port", str(port), "--cadus", "16", "--duration-s", "2", "--frames-per-s", "200")
        with simulator("station", *play, "--noise", "0.05", "--ledger", str(ledger)) as station:
            assert station.wait(120) == 0, station.communicate()
        rows = [json.loads(line) for line in ledger.read_text().splitlines()]
        fates = next(row["summary"]["fates"] for row in rows if "summary" in row)
        until_s = time.monotonic() + 120
        while (found := daemon.get("/links")[0])["counters"]["datagrams"] < fates["sent"] + fates["noise"]:
            assert time.monotonic() < until_s, found
            time.sleep(0.1)
        assert daemon.terminate() == 0
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()
    counters = found["counters"]
    assert (counters["rejected_reed_solomon"], found["bad_frames"]) == (fates["noise"], fates["noise"])
    assert counters["frames"] == fates["sent"] + fates["noise"]
    assert counters["corrected_symbols"] > 10 * fates["sent"]
    sent = {
        (row["frame"]["vcid"], row["frame"]["number"]) for row in rows if row.get("frame", {}).get("fate") == "sent"
    }
    items = [row["item"] for row in rows if "item" in row and row["item"]["apid"] >= 0]
    whole = [one for one in items if all((one["vcid"], k) in sent for k in frames_of(one))]
    journalled = {
        digest(block.octets[int(row["offset"]) : int(row["offset"]) + int(row["length"])].tobytes())
        for block in read_blocks(tmp_path / "config/var/demo.simulation", [])
        for row in block.items[block.items["unit"] == Unit.PACKET]
    }
    assert len(whole) > 300
    assert [one for one in whole if one["digest"] not in journalled] == []


def frames_of(item: dict[str, Any]) -> range:
    """The numbers of the frames that hold a packet."""
    return range(item["first_frame"], item["last_frame"] + 1)
