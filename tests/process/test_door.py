"""The control plane's door and the daemon's start, with real sockets: foreign pages, bodies, floods, leftovers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from gateway.console.app import app
from gateway_config.loader import EXAMPLES
from gateway_simulators.spacecraft import Spacecraft
from tests.home_files import everything

from .crowd import Crowd
from .crowd import connect as connect_from
from .running import ENV, GATEWAY, ROOT, Daemon, free_port, http, run_gateway, until

pytestmark = pytest.mark.process
INSTANCE = "demo.simulation"


def minimal(folder: Path, station_port: int = 1, watchdog_s: float = 20) -> Path:
    """The minimal example with a link that listens."""
    import shutil

    config = folder / "config"
    shutil.copytree(str(EXAMPLES / "minimal"), config)
    (config / "gateway.yaml").write_text(f"data_dir: ../var\nreplay_folders: [{folder}]\n")
    (config / "homes/laboratory-a.yaml").write_text(everything("laboratory-a", "demo"))
    (config / "links/station.yaml").write_text(
        "name: station\nmission: demo\nspacecraft: picard\ntype: tcp_server\n"
        f"unit: frames\nport: {station_port}\nwatchdog_s: {watchdog_s}\n"
    )
    return config


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A gateway with one listening link."""
    running = Daemon(minimal(tmp_path_factory.mktemp("d"), free_port(), watchdog_s=2))
    running.start()
    yield running
    assert running.terminate() == 0


def ask(daemon: Daemon, method: str, path: str, **more: Any) -> httpx.Response:
    return http.request(method, daemon.url + path, **more)


def test_a_foreign_page_moves_nothing(daemon: Daemon) -> None:
    """Deny by default: a form, a script or a WebSocket of another page, and a name that is not ours, are refused."""
    disable = f"/api/v1/instances/{INSTANCE}/links/station/disable"
    evil = {"Origin": "http://evil.example"}
    for headers in (evil, {"Origin": "null"}, {"Origin": f"http://127.0.0.1:{daemon.port + 1}"}):
        answer = ask(daemon, "POST", disable, headers=headers, content="x=1")
        assert (answer.status_code, "may not use" in answer.json()["error"]) == (403, True)
    for host in ("evil.example", f"rebound.example:{daemon.port}", "", "a" * 300):
        answer = ask(daemon, "GET", "/api/v1/status", headers={"Host": host})
        assert answer.status_code in {400, 421}, host
    assert daemon.get("/links")[0]["state"] != "disabled"
    address = daemon.url.replace("http", "ws") + f"/api/v1/instances/{INSTANCE}/subscribe"
    with pytest.raises(InvalidStatus, match="403"), connect(address, origin="http://evil.example", proxy=None):
        pass
    own = {"Origin": daemon.url}
    assert ask(daemon, "POST", f"/api/v1/instances/{INSTANCE}/links/station/reset", headers=own).status_code == 200
    named = {"Host": f"localhost:{daemon.port}"}
    assert ask(daemon, "GET", "/health/live", headers=named).status_code == 200


def test_an_unknown_instance_is_told_to_who_is_slow(daemon: Daemon) -> None:
    """The error comes as an answer to the first message, however late that is: a close alone would say nothing."""
    address = daemon.url.replace("http", "ws") + "/api/v1/instances/nope/subscribe"
    with connect(address, proxy=None, open_timeout=60) as socket:
        time.sleep(0.5)
        socket.send('{"type": "subscribe"}')
        told = json.loads(socket.recv(timeout=60))
    assert (told["type"], told["code"]) == ("error", "unknown instance")
    assert "nope" in told["message"]


def test_a_subscriber_of_an_unknown_instance_ends(daemon: Daemon, tmp_path: Path) -> None:
    """A refusal ends the command with exit 1 and the reason; it does not try for ever."""
    arguments = ("subscribe", "nope", "--home", "laboratory-a", "--store", str(tmp_path / "s"), "--url", daemon.url)
    done = run_gateway(*arguments)
    assert done.returncode == 1
    assert "the gateway refused (unknown instance): " in done.stderr
    assert "hint" not in done.stderr


def test_bodies_are_bounded(daemon: Daemon) -> None:
    """R13: more than 1 MiB is refused whether its length is stated or it comes in chunks."""
    path = f"/api/v1/instances/{INSTANCE}/contacts"
    large = b" " * (2 << 20)
    assert ask(daemon, "POST", path, content=large).status_code == 413
    pieces = (large[k : k + 65536] for k in range(0, len(large), 65536))
    assert ask(daemon, "POST", path, content=pieces).status_code == 413


@pytest.mark.parametrize("peer", ["k\ud800", "x" * 65, "", "two\nlines"])
def test_names_in_contacts_are_names(daemon: Daemon, peer: str) -> None:
    """A peer that is no name is refused, and the operator's view stays whole."""
    body = json.dumps({"spacecraft": "picard", "peer": peer})
    answer = ask(daemon, "POST", f"/api/v1/instances/{INSTANCE}/contacts", content=body)
    assert answer.status_code == 422
    assert ask(daemon, "GET", "/api/v1/status").status_code == 200


def test_rubbish_replays_leave_nothing_behind(daemon: Daemon) -> None:
    """R7: replays that cannot be are refused one by one, and the next start needs no repair."""
    folder = daemon.config.parent
    (folder / "p.bin").write_bytes(bytes(2000))
    good = {"file": str(folder / "p.bin"), "mission": "demo", "run": "r"}
    for change, status in (
        ({"mission": "nosuch"}, 404), ({"file": "a\0b"}, 404), ({"file": str(folder / ("x" * 300))}, 404),
        ({"run": "../x"}, 422),
        ({"file": "/etc/passwd"}, 403), ({"frames_per_s": 1e300}, 422), ({"support_mode": "fligth"}, 422),
    ):  # fmt: skip
        answer = ask(daemon, "POST", "/api/v1/replays", json=good | change)
        assert answer.status_code == status, (change, answer.text)
    assert not list((folder / "var").glob("replays/*"))


def test_a_run_asked_for_many_times_at_once(daemon: Daemon) -> None:
    """The same run asked for by several at the same time is one run."""
    folder = daemon.config.parent
    (folder / "q.bin").write_bytes(bytes(2000))
    body = {"file": str(folder / "q.bin"), "mission": "demo", "run": "many"}

    async def together() -> list[int]:
        async with httpx.AsyncClient(base_url=daemon.url, verify=False, trust_env=False, timeout=60) as client:
            answers = await asyncio.gather(*[client.post("/api/v1/replays", json=body) for _ in range(6)])
        return [answer.status_code for answer in answers]

    assert asyncio.run(together()) == [201] * 6


def test_downloads_say_what_they_cannot_give(daemon: Daemon) -> None:
    """A selection that is none is an error before the first octet, not a broken answer."""
    path = f"/api/v1/instances/{INSTANCE}/journal/packets"
    assert ask(daemon, "GET", f"{path}?vcid=99999").status_code == 422
    assert ask(daemon, "GET", f"{path}?apid=-7").status_code == 422
    assert ask(daemon, "GET", path).status_code == 200


def test_subscriptions_can_be_removed(daemon: Daemon) -> None:
    """A subscription that nobody needs goes; one that is served, or unknown, does not."""
    address = daemon.url.replace("http", "ws") + f"/api/v1/instances/{INSTANCE}/subscribe"
    path = f"/api/v1/instances/{INSTANCE}/subscriptions/laboratory-a/old"
    with connect(address, proxy=None, open_timeout=60) as client:
        client.send(json.dumps({"type": "subscribe", "home": "laboratory-a", "subscription": "old"}))
        assert json.loads(client.recv(timeout=60))["type"] == "welcome"
        assert ask(daemon, "DELETE", path).status_code == 409
    until(lambda: ask(daemon, "DELETE", path).status_code == 200, "it is not served any more")
    assert ask(daemon, "DELETE", path).status_code == 404


def _rss_octets(daemon: Daemon) -> int:
    assert daemon.process is not None
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) << 10  # type: ignore[index]


def _send_many(sock: socket.socket, data: bytes, times: int) -> bool:
    """Whether all of it could be sent."""
    try:
        for _ in range(times):
            sock.sendall(data)
    except OSError:
        return False
    return True


def test_a_flood_of_pings_is_bounded(daemon: Daemon) -> None:
    """R5: a client that pings for ever and never reads is cut off; memory stays bounded."""
    before = _rss_octets(daemon)
    with socket.create_connection(("127.0.0.1", daemon.port)) as sock:
        sock.sendall(
            f"GET /api/v1/instances/{INSTANCE}/subscribe HTTP/1.1\r\nHost: 127.0.0.1:{daemon.port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        assert b"101" in sock.recv(100)
        ping = struct.pack(">BB", 0x89, 0x80 | 125) + bytes(4) + bytes(125)
        sock.settimeout(5)
        assert not _send_many(sock, ping * 500, 2000), "cut off, or not read any more"
    assert _rss_octets(daemon) - before < 48 << 20
    assert ask(daemon, "GET", "/health/ready").status_code == 200


def test_one_peer_has_its_share(daemon: Daemon) -> None:
    """R13: one address has at most connections_per_peer; the next is refused with the reason, others are served."""
    with Crowd() as crowd:
        crowd.add(connect_from(daemon.port, "127.0.9.9") for _ in range(256))
        (late,) = crowd.add([connect_from(daemon.port, "127.0.9.9")])
        late.sendall(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        answer = late.recv(2000).decode()
        assert answer.startswith("HTTP/1.1 503 ")
        assert "127.0.9.9 has 256 connections already" in answer
        assert ask(daemon, "GET", "/health/live").status_code == 200
        rows = until(
            lambda: [c["text"] for c in daemon.get("/status")["conditions"] if c["what"] == "connections refused"]
        )
        assert "127.0.9.9 (1)" in rows[0]
        assert 'gateway_connections_refused_total{reason="per peer"} 1.0' in ask(daemon, "GET", "/metrics").text


def test_a_station_that_returns(daemon: Daemon) -> None:
    """On real sockets: a peer that went silent is replaced by the next one, in a contact or not."""
    link = json.loads((daemon.config / "links/station.yaml").read_text().split("port: ")[1].split("\n")[0])
    craft = Spacecraft(1)
    data = [craft.next_frame().octets for _ in range(6)]
    with socket.create_connection(("127.0.0.1", link)) as first:
        first.sendall(data[0])
        until(lambda: daemon.get("/links")[0]["counters"]["frames"] >= 1, "the first is heard")
        time.sleep(2.5)
        with socket.create_connection(("127.0.0.1", link)) as second:
            second.sendall(b"".join(data[1:]))
            until(lambda: daemon.get("/links")[0]["counters"]["frames"] >= 6, "the second is heard")


def test_leftovers_of_replays_do_not_stop_a_start(tmp_path: Path) -> None:
    """R7: a torn, a foreign and an impossible replay file: the gateway starts, serves, and says so."""
    folder = tmp_path / "var/replays"
    folder.mkdir(parents=True)
    (folder / "a.json.new").write_text("{")
    (folder / "b.json").write_text("{")
    (folder / "c.json").write_text("[1]")
    kept = {"run": "d", "file": "/x", "size_octets": 1, "mission": "gone", "support_mode": "test", "frames_per_s": None}
    (folder / "d.json").write_text(json.dumps({**kept, "instance": "gone.test.replay-d"}))
    daemon = Daemon(minimal(tmp_path, free_port()))
    daemon.start()
    try:
        told = [c["text"] for c in daemon.get("/status")["conditions"] if c["subject"].startswith("replay run")]
        assert len(told) == 3
        assert any("no mission 'gone'" in text for text in told)
    finally:
        assert daemon.terminate() == 0


def test_a_second_start_with_the_port_taken(tmp_path: Path) -> None:
    """A port that is taken is told before anything is started; exit 1."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = str(sock.getsockname()[1])
        done = run_gateway("run", "--config", str(minimal(tmp_path)), "--port", port)
    assert done.returncode == 1
    assert "cannot listen" in done.stderr
    assert "gateway started" not in done.stderr


WRONG = (
    ("replay", "nowhere.bin", "--mission", "hera"), ("replay",), ("replay", str(Path(__file__))),
    ("run", "--port", "99999"), ("replay", str(Path(__file__)), "--mission", "hera", "--run", "../x"),
    ("replay", str(Path(__file__)), "--mission", "hera", "--support-mode", "fligth"),
    ("demo", "--sabotage", "foo"), ("events", "-n", "2000"),
)  # fmt: skip


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_usage_is_exit_2(arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong usage: a line that says what is wrong, exit 2, nothing written."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, type(done.exception)) == (2, SystemExit), done.output
    assert done.stderr
    assert not list(tmp_path.iterdir())


def test_an_unknown_mission_is_exit_2(tmp_path: Path) -> None:
    """The same of a process: no traceback, exit 2, nothing written."""
    command = [*GATEWAY, "replay", str(Path(__file__)), "--mission", "nosuch"]
    done = subprocess.run(command, env=ENV, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert "no mission 'nosuch'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_list_of_missions_needs_no_file() -> None:
    """`gateway replay --missions` as the README says."""
    done = run_gateway("replay", "--missions")
    assert (done.returncode, "hera" in done.stdout.split()) == (0, True)


def test_a_demo_that_is_terminated_leaves_nobody(tmp_path: Path) -> None:
    """SIGTERM ends the demo and its children, as Ctrl-C does; exit 143."""
    demo = subprocess.Popen(
        [*GATEWAY, "demo", "--keep", str(tmp_path / "demo")], env=ENV, cwd=ROOT, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until((tmp_path / "demo").exists, "the demo begins")
    time.sleep(1)  # its children are there, or just begin
    demo.send_signal(signal.SIGTERM)
    _, err = demo.communicate(timeout=60)
    assert demo.returncode == 143, err
    assert "Traceback" not in err
    left = subprocess.run(["pgrep", "-f", str(tmp_path / "demo")], capture_output=True, text=True, check=False).stdout
    assert left == ""


def test_a_replay_opens_nothing_else(tmp_path: Path) -> None:
    """A second run in the same directory leaves the first as it was; a finished run that is asked for again is told."""
    craft = Spacecraft(1)
    (tmp_path / "a.bin").write_bytes(b"".join(craft.next_frame().octets for _ in range(50)))
    config = minimal(tmp_path)
    common = ("--config", str(config), "--mission", "demo", "--data-dir", str(tmp_path / "runs"))

    def replay(run: str) -> subprocess.CompletedProcess[str]:
        return run_gateway("replay", str(tmp_path / "a.bin"), "--run", run, *common)

    def segments() -> str:
        octets = [p.read_bytes() for p in sorted((tmp_path / "runs/demo.simulation.replay-one/journal").glob("*.seg"))]
        return hashlib.sha256(b"".join(octets)).hexdigest()

    first = replay("one")
    assert first.returncode == 0, first.stderr
    before = segments()
    assert replay("two").returncode == 0
    again = replay("one")
    assert (again.returncode, "played to its end before" in again.stderr) == (0, True)
    assert "packets in its journal: VC0" in again.stdout
    assert segments() == before
    assert not (tmp_path / "runs/demo.simulation").exists(), "the missions of the configuration were not opened"
