"""A station sends a rough stream of CADUs to a real gateway: what had to arrive is in its journal, nothing else is."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.console.journal import read_blocks
from gateway.console.reconcile import Stream, compare, read_ledger
from gateway_codecs.batches import Quality, Unit
from gateway_config.loader import EXAMPLES

from .running import ENV, ROOT, Daemon, http, run_gateway, until

pytestmark = pytest.mark.process
INSTANCE = "demo.simulation"
IDLE_APID = 2047


def station(ledger: Path) -> tuple[subprocess.Popen[str], int]:
    """A station that waits for the gateway; returns its port too."""
    child = subprocess.Popen(
        [
            sys.executable, "-m", "gateway_simulators", "station", "--port", "0", "--duration-s", "4",
            "--frames-per-s", "150", "--seed", "5", "--ledger", str(ledger), "--noise", "0.02", "--cadus", "3",
            "--slips", "0.03", "--inversions", "0.02", "--bit-noise", "0.00001",
        ],
        env=ENV, cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    return child, int(json.loads(child.stdout.readline())["port"])


def configured(folder: Path, port: int) -> Path:
    """The demo's configuration, its link of CADUs."""
    config = folder / "config"
    shutil.copytree(str(EXAMPLES / "demo"), config)
    (config / "gateway.yaml").write_text("data_dir: ../var\n")
    link = config / "links/station.yaml"
    text = link.read_text().replace("port: 5500", f"port: {port}") + "unit: cadus\n"
    link.write_text(text)
    return config


def journalled(folder: Path) -> dict[Stream, list[tuple[int, str]]]:
    """The good items of a journal per stream, as a ledger has them."""
    found: dict[Stream, list[tuple[int, str]]] = {}
    for block in read_blocks(folder, []):
        for row in block.arrival.argsort(kind="stable").tolist():
            item = block.items[row]
            good = item["quality"] == Quality.GOOD and item["unit"] in {Unit.PACKET, Unit.FRAME}
            if not good or item["apid"] == IDLE_APID:
                continue
            start, count = int(item["offset"]), item["vc_count" if item["unit"] == Unit.FRAME else "sequence_count"]
            digest = hashlib.sha256(block.octets[start : start + int(item["length"])].tobytes()).hexdigest()[:16]
            found.setdefault((int(item["vcid"]), int(item["apid"])), []).append((int(count), digest))
    return found


def texts(folder: Path) -> str:
    """The events of a journal."""
    blocks = (block for block in read_blocks(folder, []) if (block.items["unit"] == Unit.EVENT).any())
    return " ".join(block.octets.tobytes().decode("latin-1") for block in blocks)


def until_lock(daemon: Daemon) -> dict[str, Any]:
    """Wait until the link's synchroniser is in lock; returns its state."""
    until(lambda: daemon.get("/links")[0]["sync"] == "lock", "lock")
    return dict(daemon.get("/links")[0])


def test_a_rough_stream_of_cadus(tmp_path: Path) -> None:
    """R6: slips, inversions, noise, fades and a cut: every item in whole frames once, no other; all of it is told.

    The raw octets were recorded, and a replay of the recording finds the same.
    """
    child, port = station(tmp_path / "ledger.jsonl")
    daemon = Daemon(configured(tmp_path, port))
    try:
        daemon.start()
        assert until_lock(daemon)["type"] == "tcp_client"
        metrics = http.get(f"{daemon.url}/metrics").text
        assert f'gateway_link_sync{{instance="{INSTANCE}",link="station",state=' in metrics
        assert child.wait(120) == 0
        time.sleep(0.5)  # the last octets are on their way through loopback
        told = daemon.get("/links")[0]
        assert daemon.terminate() == 0
    finally:
        child.kill()
        child.communicate()
        daemon.kill()
    folder = tmp_path / "var" / INSTANCE
    ledger = read_ledger(tmp_path / "ledger.jsonl")
    assert ledger.complete
    assert {cause for row in ledger.lost.values() for cause in row} >= {"slip", "inversion", "noise", "cut"}
    assert compare("journal", ledger, journalled(folder)) == []
    for name in ("locks", "slips", "inversions", "corrected_symbols", "outside_bits", "rejected_reed_solomon"):
        assert told["counters"][name] > 0, name
    shown = texts(folder)
    for words in ("station: in lock at bit", "station: slip of", "the polarity is inverted from bit"):
        assert words in shown
    replayed = run_gateway(
        "replay", str(folder / "recording/station"), "--config", str(tmp_path / "config"),
        "--data-dir", str(tmp_path / "again"), "--run", "again", "--json",
    )  # fmt: skip
    assert replayed.returncode == 0, replayed.stderr
    assert compare("replay", ledger, journalled(tmp_path / "again" / f"{INSTANCE}.replay-again")) == []
