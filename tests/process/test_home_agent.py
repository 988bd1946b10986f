"""The agent as a process: killed, stopped, its disk full; what its outlets have served is exact."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.process.home_gateway import COUNT, PACKETS, gateway_of_packets
from tests.process.running import ENV, GATEWAY, ROOT, Daemon, run_gateway, until

pytestmark = pytest.mark.process
WHOLE = b"".join(PACKETS)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A gateway that has taken a file of packets."""
    running = gateway_of_packets(tmp_path_factory.mktemp("gateway"))
    yield running
    running.kill()


def written(folder: Path, daemon: Daemon, **more: Any) -> Path:
    """Write the agent's configuration."""
    made = {"url": daemon.url, "instance": "demo.simulation", "home": "laboratory-a", "subscriptions": {"all": {}}}
    folder.mkdir(exist_ok=True)
    (folder / "home.yaml").write_text(yaml.safe_dump({**made, **more}))
    return folder / "home.yaml"


def agent(config: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*GATEWAY, "home", "run", "--config", str(config), "--json", "--every", "1", *arguments],
        env={**ENV, **more}, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def stopped(process: subprocess.Popen[str]) -> str:
    """SIGTERM, and a clean end; returns the log."""
    process.send_signal(signal.SIGTERM)
    log = process.communicate(timeout=60)[1]
    assert process.returncode == 0, log
    return log


def files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*.packets")))


def table(folder: Path) -> list[str]:
    text = "".join(path.read_text() for path in sorted(folder.glob("*.csv")))
    return [row["value"] for row in csv.DictReader(io.StringIO(text))]


def status(store: Path) -> dict[str, Any]:
    """What the agent wrote last."""
    return dict(json.loads((store / "status.json").read_text()))


def test_killed_again_and_again_all_outlets_are_exact(daemon: Daemon, tmp_path: Path) -> None:
    """R4: after SIGKILLs at any moment each packet is once in the store, in the files and in the CSV; tools that
    connect get everything; the store's digest is that of what was sent; SIGTERM ends cleanly; a second agent over one
    store is refused."""
    display = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    display.bind(("127.0.0.1", 0))
    config = written(
        tmp_path / "lab",
        daemon,
        token_file="token",
        outlets={
            "archive": {"type": "files", "folder": "packets"},
            "table": {"type": "csv", "folder": "csv", "parameters": ["TEMP"], "begin": "oldest"},
            "tools": {"type": "tcp", "begin": "oldest", "order": "position"},
            "live": {"type": "websocket"},
            "display": {"type": "udp", "port": display.getsockname()[1], "begin": "oldest"},
        },
    )
    there, rng = config.parent, random.Random(3)
    made = run_gateway("homes", "token", "laboratory-a", "--save", str(there / "token"), "--url", daemon.url)
    assert made.returncode == 0, made.stderr
    for _ in range(3):
        process = agent(config)
        time.sleep(rng.uniform(0.6, 1.4))
        process.kill()
        process.communicate(timeout=60)
    process = agent(config)
    until(lambda: files(there / "packets") == WHOLE, "the files are not whole")
    until(lambda: table(there / "csv") == [str(k % 200 * 0.5) for k in range(COUNT)], "the table is not whole")
    assert {path.name for path in (there / "packets").iterdir()} == {"picard"}
    until(lambda: status(there / "store")["state"] == "well", "the agent is not well")
    told = json.loads(run_gateway("home", "status", "--config", str(config), "--json").stdout)
    assert (told["running"], told["subscriptions"]["all"]["packets"]) == (True, COUNT)
    assert received(told["outlets"]["tools"]["listens_on"], len(WHOLE)) == WHOLE
    lines = [line.split() for line in run_of_the_page(told["outlets"]["live"]["listens_on"])]
    assert [octets for _, apid, octets in lines] == [octets.hex() for octets in PACKETS]
    assert sorted({int(position) for position, *_ in lines}) == [int(position) for position, *_ in lines]
    display.settimeout(10)
    assert display.recv(1 << 16) in PACKETS
    display.close()
    second = run_gateway("home", "run", "--config", str(config))
    assert (second.returncode, "is in use by another process" in second.stderr) == (1, True)
    stopped(process)
    assert status(there / "store")["state"] == "stopped"
    read = [sys.executable, str(ROOT / "docs/read_blocks.py"), str(there / "store" / "all")]
    digest = subprocess.run(read, capture_output=True, text=True, check=True).stdout.split()
    assert digest == [str(COUNT), hashlib.sha256(WHOLE).hexdigest()]
    assert files(there / "packets") == WHOLE


def run_of_the_page(address: str) -> list[str]:
    """What the page's program prints that reads the local WebSocket; of its text the address alone is changed."""
    programs: list[str] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/home-base.md").read_text(), re.S)
    (text,) = [one for one in programs if "ws://127.0.0.1:5601/" in one]
    command = [sys.executable, "-c", text.replace("127.0.0.1:5601", address)]
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def received(address: str, octets: int) -> bytes:
    host, port = address.rsplit(":", 1)
    found = b""
    with socket.create_connection((host, int(port)), timeout=10) as client:
        while len(found) < octets:
            found += client.recv(1 << 16)
    return found


def test_a_full_disk_stops_acknowledging_and_goes_on(daemon: Daemon, tmp_path: Path) -> None:
    """R2, R12: on a file system without room nothing is acknowledged, it is told, and it goes on when there is room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        config = written(tmp_path / "lab", daemon, store=str(disk / "store"), reserve_octets=0, home="laboratory-a")
        (disk / "filler").write_bytes(bytes((1 << 20) - 3 * 4096))
        process = agent(config)
        lines: list[str] = []
        until(lambda: "nothing is stored" in lines_so_far(process, lines), "a full disk was not told")
        (disk / "filler").unlink()
        until(
            lambda: (disk / "store/status.json").exists() and status(disk / "store")["state"] == "well",
            "it did not go on",
        )
        assert status(disk / "store")["subscriptions"]["all"]["packets"] == COUNT
        stopped(process)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
        shutil.rmtree(disk, ignore_errors=True)


def lines_so_far(process: subprocess.Popen[str], lines: list[str]) -> str:
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), False)
    lines += process.stderr.readlines()
    return "".join(lines)


def test_the_service_manager_hears_of_it(tmp_path: Path) -> None:
    """READY and WATCHDOG come though there is no gateway, STOPPING at SIGTERM: systemd starts no circle of restarts."""
    made = {"url": "http://127.0.0.1:1", "instance": "demo.simulation", "home": "a", "subscriptions": {"all": {}}}
    (tmp_path / "home.yaml").write_text(yaml.safe_dump(made))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        process = agent(tmp_path / "home.yaml", NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="60000000")
        heard = ""
        while "READY=1" not in heard or "WATCHDOG=1" not in heard:
            heard += manager.recv(4096).decode() + "\n"
        log = stopped(process)
        while "STOPPING=1" not in heard:
            heard += manager.recv(4096).decode() + "\n"
    assert "Traceback" not in log
