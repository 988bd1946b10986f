"""An agent with all its outlets behind WebSocket, the gateway's own broker and mosquitto, killed again and again."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from websockets.sync.client import connect

from tests.gateway.values_world import database, temperature, use
from tests.home_files import everything

from .brokers import Broker, connected, needs
from .home_gateway import LINK, MISSION
from .running import ENV, GATEWAY, ROOT, Daemon, http, run_gateway, until
from .test_home_agent import files, received, status, stopped, table

pytestmark = [pytest.mark.process, pytest.mark.soak]
HOME, INSTANCE = "laboratory-a", "demo.simulation"
COUNT, PACKETS_PER_S = 12_000, 800
PACKETS = [temperature(k, k % 200) for k in range(COUNT)]
WHOLE = b"".join(PACKETS)


class Laboratory:
    """A gateway that asks for tokens, a broker perhaps, and an agent."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.kind, self.lab = folder, kind, folder / "lab"
        self.broker = None if kind == "websocket" else Broker(kind, folder)
        self.process: subprocess.Popen[str] | None = None
        self._configure()
        self.daemon = Daemon(folder / "config", access=())
        self.daemon.start()
        self.lab.mkdir(exist_ok=True)
        made = http.post(f"{self.daemon.url}/api/v1/tokens", json={"name": HOME}, headers=self.daemon.headers)
        (self.lab / "token").write_text(str(made.raise_for_status().json()["token"]) + "\n")
        self._configure_agent()

    def _configure(self) -> None:
        config, rate_bps = self.folder / "config", PACKETS_PER_S * 8 * len(PACKETS[0])
        gateway = "data_dir: ../var\n"
        if self.kind == "mosquitto":
            assert self.broker is not None
            self._let_mosquitto_ask()
            self.broker.start()
            user = "username: gateway, password_file: gateway.password"
            gateway += self.broker.keys().replace("lease_s: 3", f"lease_s: 3, {user}")
        elif self.broker is not None:
            gateway += self.broker.keys()
        link = f"{LINK}rate_bps: {rate_bps}\nenabled: false\n"
        texts = {"missions/demo": MISSION, "links/l": link, f"homes/{HOME}": everything(HOME, "demo")}
        for name, text in {**texts, "gateway": gateway}.items():
            (config / name).parent.mkdir(parents=True, exist_ok=True)
            (config / f"{name}.yaml").write_text(text)
        (config / "packets.bin").write_bytes(WHOLE)
        (config / "gateway.password").write_text("one\n")
        use(config, database())

    def _let_mosquitto_ask(self) -> None:
        assert self.broker is not None
        passwords = self.folder / "passwords"
        passwords.write_text(f"gateway:one\n{HOME}:two\n")
        subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True, timeout=60)
        passwords.chmod(0o644)
        self.broker.settings = f"allow_anonymous false\npassword_file {passwords}\nuser root\n"

    def _configure_agent(self) -> None:
        made: dict[str, Any] = {"url": self.daemon.url, "instance": INSTANCE, "home": HOME, "token_file": "token"}
        if self.broker is not None:
            user = f"{HOME}@" if self.kind == "mosquitto" else ""
            made["url"] = f"mqtt://{user}127.0.0.1:{self.broker.port}"
        if self.kind == "mosquitto":
            (self.lab / "password").write_text("two\n")
            made["password_file"] = "password"
        made["subscriptions"] = {"all": {"selection": {"kinds": ["tm"]}}}
        made["outlets"] = {
            "archive": {"type": "files", "folder": "packets"},
            "table": {"type": "csv", "folder": "csv", "parameters": ["TEMP"], "begin": "oldest"},
            "tools": {"type": "tcp", "begin": "oldest", "order": "position"},
            "live": {"type": "websocket"},
            "display": {"type": "udp", "port": 9, "begin": "oldest"},
        }
        made["reserve_octets"] = 0
        (self.lab / "home.yaml").write_text(yaml.safe_dump(made))

    def start(self) -> None:
        command = [*GATEWAY, "home", "run", "--config", str(self.lab / "home.yaml"), "--json", "--every", "1"]
        self.process = subprocess.Popen(
            command, env=ENV, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate(timeout=60)
            self.process = None

    def row(self) -> dict[str, Any]:
        try:
            return dict(status(self.lab / "store"))
        except FileNotFoundError:
            return {"state": "", "outlets": {}, "subscriptions": {}}

    def send(self) -> None:
        """The station sends; the gateways to come know that too."""
        link = self.folder / "config/links/l.yaml"
        link.write_text(link.read_text().replace("enabled: false", "enabled: true"))
        url = f"{self.daemon.url}/api/v1/instances/{INSTANCE}/links/l/enable"
        http.post(url, headers=self.daemon.headers).raise_for_status()

    def stop(self) -> None:
        self.kill()
        self.daemon.kill()
        if self.broker is not None:
            self.broker.stop()


@pytest.fixture(params=["websocket", "nats", "mosquitto"])
def there(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Laboratory]:
    """Run it."""
    if request.param != "websocket":
        needs(request.param)
    made = Laboratory(tmp_path, request.param)
    yield made
    made.stop()


@pytest.fixture
def on_a_small_disk(tmp_path: Path) -> Iterator[Laboratory]:
    """Run it, with all of the laboratory on a file system of 24 MiB."""
    lab = tmp_path / "lab"
    lab.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(lab)]
    mounted = subprocess.run(words, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    made = Laboratory(tmp_path, "websocket")
    yield made
    made.stop()
    subprocess.run(["umount", "-l", str(lab)], check=False)


def fill(file: Path) -> None:
    """Take all room that a file system has."""
    with file.open("ab", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))


def test_a_full_disk_costs_no_outlet_anything(on_a_small_disk: Laboratory) -> None:
    """R2, R12, issue: store, files and CSV on one disk that is full again and again while packets come, and the agent
    killed while it is: when there is room everything goes on by itself, each packet and sample once."""
    there, rng = on_a_small_disk, random.Random(7)
    there.start()
    until(lambda: there.row()["state"] in {"well", "waiting"}, "the agent runs")
    there.send()
    while_it_came = 0
    for k in range(6):
        before = len(files(there.lab / "packets"))
        until(lambda before=before: len(files(there.lab / "packets")) > before or before == len(WHOLE), "more packets")  # type: ignore[misc]
        fill(there.lab / "filler")
        time.sleep(rng.uniform(0.5, 1.5))
        fill(there.lab / "filler")
        stored = len(files(there.lab / "packets"))
        while_it_came += stored < len(WHOLE)
        if k % 2:
            there.kill()
            there.start()
            time.sleep(rng.uniform(0.5, 3))
        assert there.process is not None
        assert there.process.poll() is None, there.process.communicate()[1]
        (there.lab / "filler").unlink()
    assert while_it_came >= 3
    until(lambda: files(there.lab / "packets") == WHOLE, "the files are whole")
    until(lambda: table(there.lab / "csv") == [str(k % 200 * 0.5) for k in range(COUNT)], "the table is whole")
    until(lambda: there.row()["state"] == "well", "the agent is well")
    assert there.row()["subscriptions"]["all"]["packets"] == COUNT
    assert there.process is not None
    assert "Traceback" not in stopped(there.process)
    there.process = None


def test_all_outlets_are_exact_by_every_way_in(there: Laboratory) -> None:
    """R4, issue: the agent killed 20 times while packets come, and its broker too: store, files and CSV have each
    packet and sample once; TCP and the local WebSocket give all of it; a playback by its id brings it once more."""
    seed = int(os.environ.get("GATEWAY_SEED", random.randrange(1 << 30)))
    print(f"seed {seed} (repeat with GATEWAY_SEED={seed})")
    rng = random.Random(seed)
    if there.broker is not None:
        connected(there.daemon)
    there.start()
    until(lambda: there.row()["state"] in {"well", "waiting"}, "the agent runs")
    there.send()
    while_it_came = 0
    for k in range(20):
        before = len(files(there.lab / "packets"))
        until(lambda before=before: len(files(there.lab / "packets")) > before or before == len(WHOLE), "more packets")  # type: ignore[misc]
        time.sleep(rng.uniform(0, 0.4))
        while_it_came += len(files(there.lab / "packets")) < len(WHOLE)
        there.kill()
        if there.broker is not None and k % 7 == 3:
            there.broker.kill(there.daemon)
        there.start()
    assert while_it_came >= 5
    until(lambda: files(there.lab / "packets") == WHOLE, "the files are whole")
    until(lambda: table(there.lab / "csv") == [str(k % 200 * 0.5) for k in range(COUNT)], "the table is whole")
    until(lambda: there.row()["state"] == "well", "the agent is well")
    told = there.row()
    assert told["subscriptions"]["all"]["packets"] == COUNT
    assert received(told["outlets"]["tools"]["listens_on"], len(WHOLE)) == WHOLE
    with connect(f"ws://{told['outlets']['live']['listens_on']}/?from=oldest", max_size=None, proxy=None) as outlet:
        rows: list[dict[str, Any]] = []
        while len(rows) < COUNT:
            rows += json.loads(outlet.recv(timeout=60)).get("items", [])
    assert [bytes.fromhex(row["octets"]) for row in rows] == PACKETS
    assert there.process is not None
    assert "Traceback" not in stopped(there.process)
    there.process = None
    playback_of(there)


def playback_of(there: Laboratory) -> None:
    """`gateway home playback`, over the way in that the agent has."""
    ask = {"home": HOME, "from_position": 0, "upto_position": COUNT // 2}
    url = f"{there.daemon.url}/api/v1/instances/{INSTANCE}/playbacks"
    row = http.post(url, json=ask, headers=there.daemon.headers).raise_for_status().json()
    words = ["home", "playback", "--config", str(there.lab / "home.yaml"), "--into", str(there.folder / "again")]
    done = run_gateway(*words, "--request", row["playback"], "--json")
    assert done.returncode == 0, done.stderr
    found = files(there.folder / "again/packets")
    assert WHOLE.startswith(found)
    assert json.loads(done.stdout)["packets"] * len(PACKETS[0]) == len(found) > len(WHOLE) // 3
