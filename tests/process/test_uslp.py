"""USLP frames from a simulated spacecraft to a home base, through a real gateway: exact by the simulator's ledger."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gateway.console.journal import read_blocks
from gateway.console.reconcile import Entry, Stream, read_ledger
from gateway_codecs.batches import ItemFlag, Kind, Unit

from .running import ENV, ROOT, Daemon

pytestmark = pytest.mark.process
IDLE_APID = 2047
MISSION = """
name: deep
spacecraft:
  - name: probe
    scids: [42]
    {coding}
    frames:
      version: uslp
      frame_length_octets: {octets}
      fecf: crc32
      {more}
      vcs: {{0: {{}}, 1: {{}}, 3: {{service: opaque}}}}
"""
LINK = "name: station\nmission: deep\nspacecraft: probe\ntype: tcp_client\nport: {port}\nretry_max_s: 0.5\n"
CODING = "coding: {randomiser: short, reed_solomon: {e: 16, interleave: 5, basis: dual}}"
WAYS = {
    "uslp": ({"coding": CODING, "octets": 1115, "more": ""}, "unit: cadus\n", ("--cadus", "6")),
    "uslp-varying": ({"coding": "", "octets": 8192, "more": "variable_length: true"}, "", ()),
}


def config(folder: Path, port: int, mission: dict[str, Any], link: str) -> Path:
    for sub in ("missions", "links"):
        (folder / "config" / sub).mkdir(parents=True)
    (folder / "config/missions/deep.yaml").write_text(MISSION.format(**mission))
    (folder / "config/gateway.yaml").write_text("data_dir: ../var\n")
    (folder / "config/links/station.yaml").write_text(LINK.format(port=port) + link)
    return folder / "config"


def journalled(folder: Path) -> tuple[dict[Stream, list[Entry]], set[tuple[int, int]]]:
    """What the journal has per stream, in order, and of which MAP each APID is."""
    rows: list[tuple[int, Stream, Entry]] = []
    maps = set()
    for block in read_blocks(folder, []):
        for k, item in enumerate(block.items):
            opaque = item["unit"] == Unit.FRAME
            if item["kind"] != Kind.TM or item["quality"] or not (opaque or item["unit"] == Unit.PACKET):
                continue
            octets = block.octets[int(item["offset"]) : int(item["offset"]) + int(item["length"])].tobytes()
            count = int(item["vc_count"]) if opaque else int(item["sequence_count"])
            stream = (int(item["vcid"]), int(item["apid"]))
            position = block.header.first_position + int(block.arrival[k])
            rows.append((position, stream, (count, hashlib.sha256(octets).hexdigest()[:16])))
            maps.add((stream[1], (int(item["flags"]) & ItemFlag.MAP) >> ItemFlag.MAP_SHIFT))
    found: dict[Stream, list[Entry]] = {}
    for _, stream, entry in sorted(rows):
        if stream[1] != IDLE_APID:
            found.setdefault(stream, []).append(entry)
    return found, maps


@pytest.mark.parametrize("frames", WAYS)
def test_a_pass_of_uslp_frames(tmp_path: Path, frames: str) -> None:
    """R6: noise, lost frames and a link cut; every packet wholly in good frames is journalled once, in its MAP."""
    mission, link, more = WAYS[frames]
    ledger = tmp_path / "ledger"
    command = [sys.executable, "-m", "gateway_simulators", "station", "--port", "0", "--frames", frames, *more,
               "--duration-s", "3", "--frames-per-s", "250", "--seed", "11", "--ledger", str(ledger)]  # fmt: skip
    with subprocess.Popen(command, env=ENV, cwd=ROOT, stdout=subprocess.PIPE, text=True) as station:
        assert station.stdout is not None
        port = json.loads(station.stdout.readline())["port"]
        daemon = Daemon(config(tmp_path, port, mission, link))
        daemon.start()
        try:
            assert station.wait(120) == 0
            sent = read_ledger(ledger)
            assert sent.complete
            fates = json.loads(ledger.read_text().splitlines()[-1])["summary"]["fates"]
            until_s = time.monotonic() + 120
            while (state := daemon.get("/instances/deep.simulation/links/station"))["counters"]["frames"] < fates[
                "sent"
            ]:
                assert time.monotonic() < until_s, (state["counters"], fates)
                time.sleep(0.1)
            metrics = Counter(
                (row["vcid"], row["map_id"]) for row in daemon.get("/instances/deep.simulation")["streams"]
            )
            assert daemon.terminate() == 0
        finally:
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.kill()
    found, maps = journalled(tmp_path / "var/deep.simulation")
    assert min(fates.get(fate, 0) for fate in ("noise", "lost", "cut")) > 0, fates
    assert found == sent.expected
    assert sum(map(len, found.values())) > 300
    assert {pair for pair in maps if pair[0] in {100, 200, 201}} == {(100, 0), (200, 1), (201, 2)}
    assert {(0, None), (0, 0), (1, None), (1, 1), (1, 2), (3, None), (3, 0)} <= set(metrics)
    shown = state["statistics"]["vcs"]
    refused = "reed_solomon" if frames == "uslp" else "sync"
    assert state["statistics"]["causes"].get(refused, 0) + state["statistics"]["causes"].get("fecf", 0) > 0
    assert shown["42/1"]["frames"] == shown["42/1/1"]["frames"] + shown["42/1/2"]["frames"]
