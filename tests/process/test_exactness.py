"""Exact delivery through real processes: kills, stops, traces; judged against the input file, never our own journal."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.console.journal import read_blocks
from gateway.journal.state import merge
from tests.home_files import everything

from .running import PATIENCE_S, SHARED, Daemon, ended, run_gateway, subscriber

HERA = SHARED / "data/frames/hera_tm_1113_lowrate.bin"
FEW = 50  # positions: less than a second of the replay
FRAMES, KILL_WITHIN_S = 1113, 0.6
KILLS, INSIDE = 20, 3  # so many, of which some while a packet is open across frames
STOPPED_S = 30
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not HERA.exists(), reason="the shared recordings are not beside the checkout"),
]


def hera_expected() -> dict[str, Any]:
    """What other people's tools found in the recording."""
    files = json.loads((HERA.parent / "expected_frames.json").read_text())["files"]
    return next(f for f in files if f["file"] == HERA.name)["virtual_channels"]["1"]


def hera_config(folder: Path, frames_per_s: float) -> Path:
    """A configuration directory that replays Hera, paced, through a file link."""
    config = folder / "config"
    for sub in ("missions", "links", "homes"):
        (config / sub).mkdir(parents=True)
    import gateway_config

    source = Path(gateway_config.__file__).parent / "examples" / "missions" / "hera.yaml"
    shutil.copy(source, config / "missions" / "hera.yaml")
    for home in ("laboratory-a", "laboratory-b"):
        (config / "homes" / f"{home}.yaml").write_text(everything(home, "hera"))
    (config / "gateway.yaml").write_text("data_dir: ../var\n")
    pace(config, frames_per_s)
    return config


def pace(config: Path, frames_per_s: float) -> None:
    """Say how fast the recording is replayed."""
    (config / "links" / "recorded-pass.yaml").write_text(
        "name: recorded-pass\nmission: hera\nsupport_mode: simulation\nspacecraft: hera\n"
        f"type: file\nunit: frames\npath: {HERA.resolve()}\nframes_per_s: {frames_per_s}\ndata_mode: playback\n"
    )


def assert_exact(summary: dict[str, Any], exported: Path) -> None:
    """Every VC1 packet once, in order, octet for octet."""
    expected = hera_expected()
    assert summary["packets"] == expected["packets"] == 2302
    assert hashlib.sha256(exported.read_bytes()).hexdigest() == expected["packets_sha256_concatenated"]


def a_packet_is_open(journal: Path) -> bool:
    """Whether the last commit of a gateway that was killed left a packet under way."""
    state: dict[str, Any] = {}
    for block in read_blocks(journal, []):
        state = merge(state, block.state)
    link = state.get("links", {}).get("recorded-pass", {})
    return any(vc["open"] for vc in link.get("vcs", {}).values())


@pytest.mark.soak  # the short form is in test_homes_exact.py
def test_kills_of_the_daemon(tmp_path: Path) -> None:
    """R2-R4: kill -9 at random instants of a paced replay; the subscriber ends with every packet once, in order."""
    seed = int(os.environ.get("GATEWAY_SEED", random.randrange(1 << 30)))
    print(f"seed {seed} (repeat with GATEWAY_SEED={seed})")
    rng = random.Random(seed)
    config = hera_config(tmp_path, frames_per_s=1)
    daemon = Daemon(config)
    frames_per_s = min(45.0, FRAMES / (2 * KILLS * (KILL_WITHIN_S + daemon.start())))  # on a slow machine slower
    daemon.kill()
    pace(config, frames_per_s)
    daemon.start()
    exported = tmp_path / "packets.bin"
    client = subscriber(
        daemon.url, "hera.simulation", "laboratory-a", tmp_path / "store",
        "--kind", "tm", "--vc", "1", "--count", "2302", "--export", str(exported),
    )  # fmt: skip
    inside_a_packet = 0
    try:
        for _ in range(KILLS):
            time.sleep(rng.uniform(0.05, KILL_WITHIN_S))
            daemon.kill()
            inside_a_packet += a_packet_is_open(tmp_path / "var/hera.simulation")
            daemon.start()
        assert inside_a_packet >= INSIDE, "kills while a packet is open across frames are among them"
        assert daemon.get("/links")[0]["state"] != "finished", "the kills must fall inside the replay"
        assert_exact(ended(client, PATIENCE_S + FRAMES / frames_per_s), exported)
        assert daemon.terminate() == 0
    finally:
        client.kill()
        daemon.kill()
        with client:  # closes its pipes
            pass


@pytest.mark.soak
def test_a_stopped_subscriber_costs_only_itself(tmp_path: Path) -> None:
    """R5: SIGSTOP of one subscriber for a while: the other's rate is unchanged, the stopped one catches up exactly."""
    daemon = Daemon(hera_config(tmp_path, frames_per_s=16))
    daemon.start()
    options = ("--kind", "tm", "--vc", "1", "--count", "2302")
    steady, stopped = (
        subscriber(
            daemon.url, "hera.simulation", home, tmp_path / home, *options, "--export", str(tmp_path / f"{home}.bin")
        )
        for home in ("laboratory-a", "laboratory-b")
    )
    try:
        while any(_behind(daemon).get(home, 1 << 30) > FEW for home in ("laboratory-a", "laboratory-b")):
            time.sleep(0.1)
        stopped.send_signal(signal.SIGSTOP)
        memory_before = _rss_octets(daemon)
        began, head = time.monotonic(), _head(daemon)
        lags = []
        while time.monotonic() - began < STOPPED_S:
            time.sleep(1)
            lags.append(_behind(daemon)["laboratory-a"])
        memory_growth = _rss_octets(daemon) - memory_before
        stalled = _behind(daemon)["laboratory-b"]
        moved = _head(daemon) - head
        stopped.send_signal(signal.SIGCONT)
        assert moved > STOPPED_S * FEW / 2, "the replay went on"
        assert sorted(lags)[len(lags) // 2] <= FEW, f"the other keeps up with the journal: {lags}"
        assert stalled >= moved - FEW
        assert memory_growth < 64 << 20
        assert_exact(ended(steady), tmp_path / "laboratory-a.bin")
        assert_exact(ended(stopped), tmp_path / "laboratory-b.bin")
        assert daemon.terminate() == 0
    finally:
        for process in (steady, stopped):
            process.kill()
        daemon.kill()


def _head(daemon: Daemon) -> int:
    return int(daemon.get("/instances/hera.simulation/journal")["head"])


def _behind(daemon: Daemon) -> dict[str, int]:
    """How many positions each home base has not acknowledged."""
    rows = daemon.get("/instances/hera.simulation/subscriptions")
    return {row["home"]: row["lag_items"] for row in rows}


def _rss_octets(daemon: Daemon) -> int:
    assert daemon.process is not None
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) << 10  # type: ignore[index]


def test_a_second_gateway_on_the_same_directory_refuses(tmp_path: Path) -> None:
    """One writer per data directory: the second start is refused with the holder's process id."""
    config = hera_config(tmp_path, frames_per_s=10)
    daemon = Daemon(config)
    daemon.start()
    try:
        second = run_gateway("run", "--config", str(config), "--port", "0")
        assert second.returncode == 1
        assert str(daemon.process.pid) in second.stderr  # type: ignore[union-attr]
        assert daemon.terminate() == 0
    finally:
        daemon.kill()


@pytest.mark.parametrize("frames_per_s", [None, 400.0])
def test_same_recording_at_different_speeds_same_digest(tmp_path: Path, frames_per_s: float | None) -> None:
    """The pace of a replay changes no octet: `replay --subscribe` ends exact, in another process."""
    pace = ["--frames-per-s", str(frames_per_s)] if frames_per_s else []
    done = run_gateway(
        "replay", str(HERA), "--mission", "hera", "--run", "speed", "--data-dir", str(tmp_path / "var"),
        "--subscribe", str(tmp_path / "store"), "--vc", "1", "--json", *pace,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.strip().splitlines()[-1])
    assert report["subscriber"]["sha256"] == hera_expected()["packets_sha256_concatenated"]
