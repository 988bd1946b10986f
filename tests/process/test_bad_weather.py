"""Bad weather around a real daemon: a full disk, no descriptors, a crowd, half-open clients (R5, R11, R12, R13)."""

from __future__ import annotations

import json
import resource
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_websocket

from gateway_codecs.delivery_block import DATA, decode
from gateway_simulators.spacecraft import Spacecraft
from tests.home_files import everything

from .crowd import UPGRADE, Crowd, connect, cpu_s, is_over, rss_octets, text_frame, websocket
from .running import Daemon, free_port, http, until
from .test_door import minimal

pytestmark = pytest.mark.process
INSTANCE = "demo.simulation"
SUBSCRIBE = f"/api/v1/instances/{INSTANCE}/subscribe"
PACKETS = f"GET /api/v1/instances/{INSTANCE}/journal/packets HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


class Station:
    """Sends frames to the gateway's listening link at a steady pace; waits while the gateway does not read."""

    def __init__(self, port: int, frames_per_s: float = 200) -> None:
        self._port, self.frames_per_s = port, frames_per_s
        self._craft = Spacecraft(1)
        self.sent = self.connects = 0
        self._stop, self._silent = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def pause(self) -> None:
        """Send nothing; the connection stays."""
        self._silent.set()

    def go_on(self) -> None:
        """Send again."""
        self._silent.clear()

    def __enter__(self) -> Station:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=0.5) as sock:
                self.connects += 1
                self._send(sock)
            self._stop.wait(0.1)

    def _send(self, sock: socket.socket) -> None:
        batch = 10
        due = time.monotonic()
        while not self._stop.is_set():
            if self._silent.wait(0) and not self._stop.wait(0.05):
                continue
            left = memoryview(b"".join(self._craft.next_frame().octets for _ in range(batch)))
            while left and not self._stop.is_set():
                with suppress(TimeoutError):
                    left = left[sock.send(left) :]
            self.sent += batch
            due = max(due + batch / self.frames_per_s, time.monotonic() - 1)
            self._stop.wait(max(0.0, due - time.monotonic()))


class Home:
    """A home base in a thread: counts what comes; a complete one acknowledges."""

    def __init__(self, daemon: Daemon, name: str, mode: str, home: str = "laboratory-a") -> None:
        self._hello = {"type": "subscribe", "home": home, "subscription": name, "mode": mode}
        self._hello |= {"selection": {"idle": True, "bad_quality": True}}
        self._hello |= {"sequential": True} if mode == "complete" else {}
        self._url, self._headers = f"ws://127.0.0.1:{daemon.port}{SUBSCRIBE}", daemon.headers
        self.items, self.positions, self.told = 0, list[int](), list[dict[str, Any]]()
        self.checks = list[int]()  # of `positions`: the CRC-32 of each item
        self.slowest_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Home:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with connect_websocket(
            self._url, proxy=None, max_size=None, open_timeout=30, additional_headers=self._headers
        ) as socket_:
            socket_.send(json.dumps(self._hello))
            last = time.monotonic()
            while not self._stop.is_set():
                with suppress(TimeoutError, ConnectionClosed):
                    self._take(socket_, socket_.recv(timeout=0.1))
                    self.slowest_s, last = max(self.slowest_s, time.monotonic() - last), time.monotonic()

    def _take(self, socket_: Any, message: str | bytes) -> None:
        if isinstance(message, str):
            self.told.append(json.loads(message))
            return
        block = decode(message)
        self.items += len(block.batch)
        if block.kind == DATA:
            self.positions += block.positions.tolist()
            self.checks += [crc32(block.batch.octets_of(row)) for row in range(len(block.batch))]
        if self._hello["mode"] == "complete":
            socket_.send(json.dumps({"type": "ack", "lane": int(block.lane), "upto": block.upto_position}))


def condition(daemon: Daemon, what: str) -> dict[str, Any] | None:
    rows = daemon.get("/status")["conditions"]
    return next((row for row in rows if row["what"] == what), None)


def seen(daemon: Daemon, what: str) -> dict[str, Any] | None:
    """A condition, asked for while others take all there is: who is not let in asks again."""
    with suppress(httpx.HTTPError):
        return condition(daemon, what)
    return None


def journal(daemon: Daemon) -> dict[str, Any]:
    return dict(daemon.get("/status")["instances"][0]["journal"])


def events(daemon: Daemon) -> list[dict[str, Any]]:
    return list(daemon.get(f"/instances/{INSTANCE}/events?limit=1000")["events"])


def metric(daemon: Daemon, begins: str) -> float:
    text = http.get(f"{daemon.url}/metrics", headers=daemon.headers).text
    rows = [line for line in text.splitlines() if line.startswith(begins)]
    return float(rows[0].rsplit(" ", 1)[1]) if rows else 0.0


@contextmanager
def small_device(folder: Path, octets: int) -> Iterator[Callable[[int], None]]:
    """A tmpfs of so many octets; the function given sets its size. Skips where it cannot be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={octets}", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    try:
        yield lambda size: _resize(folder, size)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _resize(folder: Path, octets: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={octets}", str(folder)], check=True)


@contextmanager
def running(daemon: Daemon) -> Iterator[Daemon]:
    """A daemon that ends well whatever the weather was (R7)."""
    daemon.start()
    try:
        yield daemon
        assert daemon.terminate() == 0
    finally:
        daemon.kill()


def test_a_full_disk(tmp_path: Path) -> None:
    """R12: timely goes on, complete waits and says so, cursors are stored, the log may fail; all resumes by itself."""
    link = free_port()
    config = minimal(tmp_path, link)
    (config / "gateway.yaml").write_text("data_dir: ../var\njournal: {reserve_octets: 1000000}\n")
    unwritable_log = ["sh", "-c", 'exec "$@" 2>/dev/full', "sh"]
    daemon = Daemon(config, prefix=unwritable_log)
    with small_device(tmp_path / "var", 3_000_000) as resize, running(daemon), Station(link, 400) as station:
        with Home(daemon, "all", "complete") as complete, Home(daemon, "now", "timely") as timely:
            assert until(lambda: condition(daemon, "disk nearly full"), "a warning comes first")
            row = until(lambda: condition(daemon, "journal blocked"), "intake stops at the reserve")
            assert row["severity"] == "critical"
            assert "reserve of 1000000" in row["text"]
            assert http.get(f"{daemon.url}/health/ready").status_code == 503
            head, heard, had = journal(daemon)["head"], timely.items, complete.items
            until(lambda: timely.items > heard + 500, "timely goes on")
            assert complete.items <= had + 50, "complete waits (a few events are within the reserve)"
            assert head <= journal(daemon)["head"] < head + 50
            assert metric(daemon, "gateway_journal_blocked") == 1
            assert metric(daemon, 'gateway_condition{condition="journal blocked"') == 1
            assert metric(daemon, "gateway_log_lines_lost_total") > 0
            until(lambda: "journal blocked" in _begun(daemon), "events are journalled within the reserve")
            stored = until(lambda: _stored_cursor(tmp_path / "var/small.sqlite") >= head - 50, "cursors too")
            assert stored
            resize(64_000_000)
            until(lambda: journal(daemon)["blocked"] is None, "it resumes by itself")
            until(lambda: complete.items > had + 500)
            until(lambda: condition(daemon, "disk full") is None and condition(daemon, "journal blocked") is None)
            assert http.get(f"{daemon.url}/health/ready").status_code == 200
            until(lambda: "journal blocked" in _over(daemon), "told when over")
        assert station.connects == 1, "the link was not lost"
        positions = complete.positions
        assert positions == list(range(positions[0], positions[0] + len(positions))), "every position once, in order"


def _begun(daemon: Daemon) -> set[str]:
    """The conditions of which there is an event."""
    return {event["condition"] for event in events(daemon) if event["type"] == "condition"}


def _over(daemon: Daemon) -> set[str]:
    """The conditions of which an event says that they are over."""
    return {event["condition"] for event in events(daemon) if event.get("state") == "ended"}


def _stored_cursor(path: Path) -> int:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT cursor FROM journal_cursors WHERE subscription = 'all'").fetchall()
    database.close()
    return int(json.loads(rows[0][0])["low_water"]) if rows else -1


@pytest.mark.soak
def test_a_device_that_has_nothing_left_at_all(tmp_path: Path) -> None:
    """R12: another program takes the last octet: SQLite, events and recording refuse too; seen, and all resumes."""
    link = free_port()
    config = minimal(tmp_path, link)
    (config / "gateway.yaml").write_text("data_dir: ../var\njournal: {reserve_octets: 100000}\n")
    daemon = Daemon(config)
    with small_device(tmp_path / "var", 6_000_000), running(daemon), Station(link, 100):
        with Home(daemon, "all", "complete") as complete:
            until(lambda: complete.items > 100)
            hog = tmp_path / "var/hog"
            with hog.open("wb", buffering=0) as file, suppress(OSError):
                while file.write(b"x" * 4096):
                    pass
            until(lambda: condition(daemon, "journal blocked"))
            assert until(lambda: condition(daemon, "not recorded"))
            assert daemon.get("/contacts")
            opened = http.get(f"{daemon.url}/health/live")
            assert opened.status_code == 200
            time.sleep(1.5)
            had = complete.items
            hog.unlink()
            until(lambda: complete.items > had + 100)
            until(
                lambda: not [c for c in daemon.get("/status")["conditions"] if c["severity"] in {"critical", "error"}]
            )
        positions = complete.positions
        assert positions == list(range(positions[0], positions[0] + len(positions)))


def test_no_descriptors_left(tmp_path: Path) -> None:
    """R13: 300 peers at a gateway that may open 100 files: it says so, journals on, rolls segments, and recovers."""
    link = free_port()
    config = minimal(tmp_path, link)
    (config / "gateway.yaml").write_text("data_dir: ../var\njournal: {segment_octets: 65536}\n")
    daemon = Daemon(config, prefix=["prlimit", "--nofile=100:100"])
    segments = tmp_path / "var" / INSTANCE / "journal"
    with running(daemon), Station(link, 200) as station:
        until(lambda: journal(daemon)["head"] > 50)
        assert daemon.process is not None
        with Crowd() as crowd:
            began, cpu_before = time.monotonic(), cpu_s(daemon.process.pid)
            many = crowd.add(connect(daemon.port, f"127.0.1.{k % 250 + 1}") for k in range(300))
            row = until(lambda: seen(daemon, "file descriptors"), "the operator gets in")
            assert " of 100 in use" in row["text"]
            assert condition(daemon, "connections refused")
            assert metric(daemon, 'gateway_connections_refused_total{reason="in all"}') > 200
            assert metric(daemon, "gateway_descriptors_limit") == 100
            there, head = len(list(segments.glob("*.seg"))), journal(daemon)["head"]
            until(lambda: len(list(segments.glob("*.seg"))) > there + 2, "segments roll")
            assert journal(daemon)["head"] > head
            assert station.connects == 1
            answers = [_answer(sock) for sock in many]
            assert any("all that it has room for" in answer for answer in answers), "refused ones are told why"
            assert cpu_s(daemon.process.pid) - cpu_before < 0.6 * (time.monotonic() - began), "nothing spins"
        until(lambda: condition(daemon, "file descriptors") is None)
        until(lambda: "file descriptors" in _over(daemon))


def _answer(sock: socket.socket) -> str:
    sock.settimeout(0)
    with suppress(OSError):
        return sock.recv(2000).decode(errors="replace")
    return ""


@pytest.mark.soak
def test_a_limit_that_shrinks_under_a_running_gateway(tmp_path: Path) -> None:
    """R13: not one descriptor more than are open: files open out of the reserve, the operator still gets in."""
    link = free_port()
    config = minimal(tmp_path, link)
    (config / "gateway.yaml").write_text("data_dir: ../var\njournal: {segment_octets: 65536}\n")
    daemon = Daemon(config)
    segments = tmp_path / "var" / INSTANCE / "journal"
    with running(daemon), Station(link, 200):
        until(lambda: journal(daemon)["head"] > 50)
        assert daemon.process is not None
        pid, limits = daemon.process.pid, resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
        highest = max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir())
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
        row = until(lambda: condition(daemon, "file descriptors"))
        assert row["severity"] == "error"
        there = len(list(segments.glob("*.seg")))
        until(lambda: len(list(segments.glob("*.seg"))) > there + 2, "segments roll")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        until(lambda: condition(daemon, "file descriptors") is None)


@pytest.mark.parametrize(
    ("unread", "downloads", "keeps"), [(20, 10, 0.7), pytest.param(120, 80, 0.95, marks=pytest.mark.soak)]
)
def test_a_crowd(tmp_path: Path, unread: int, downloads: int, keeps: float) -> None:
    """R5, R13: 1,000 idle, 200 that never read, garbage and half requests: who is served keeps its rate, < 64 MB.

    Idle ones are ended by themselves. Who follows is compared with itself, without the crowd, in the same run; where
    other tests run beside it, a thread of this one that comes late must not look like a slow gateway: `keeps`.
    """
    link = free_port()
    config = minimal(tmp_path, link)
    (config / "homes/laboratory-b.yaml").write_text(everything("laboratory-b", "demo"))
    with (
        running(Daemon(config)) as daemon,
        Station(link, 200) as station,
        Home(daemon, "f", "complete", "laboratory-b") as home,
    ):
        assert daemon.process is not None
        until(lambda: home.items > 500)
        pid, span_s = daemon.process.pid, 3.0
        alone = _flow(daemon, home, station, span_s)
        rss_before, head_before = rss_octets(pid), journal(daemon)["octets"]
        with Crowd() as crowd:
            idle = crowd.add(connect(daemon.port, f"127.0.1.{k % 20 + 1}") for k in range(400))
            quiet = crowd.add(
                websocket(daemon.port, SUBSCRIBE, None, source=f"127.0.2.{k % 20 + 1}") for k in range(250)
            )
            stations = crowd.add(connect(link) for _ in range(250))
            loris = crowd.add(connect(daemon.port, f"127.0.3.{k % 20 + 1}") for k in range(100))
            for sock in loris:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            crowd.add(_unread(daemon.port, k) for k in range(unread))
            for sock in crowd.add(connect(daemon.port, "127.0.5.1", receive_octets=4096) for _ in range(downloads)):
                sock.sendall(PACKETS)
            garbage = crowd.add(websocket(daemon.port, SUBSCRIBE, None, source="127.0.6.1") for _ in range(20))
            for k, sock in enumerate(garbage):
                sock.sendall([b"\xff" * 500, text_frame("{" * 200), text_frame("[1]"), b"\x82\x85abcdefghi"][k % 4])
            with suppress(OSError):
                garbage[0].sendall(UPGRADE.encode() * 50)
            crowded = _flow(daemon, home, station, span_s)
            growth = rss_octets(pid) - rss_before - (journal(daemon)["octets"] - head_before)
            assert crowded.share > keeps * min(1.0, alone.share), f"{crowded}, without the crowd {alone}"
            assert crowded.frames_per_s > keeps * alone.frames_per_s, f"{crowded}, without the crowd {alone}"
            assert growth < 64 << 20
            until(lambda: all(is_over(sock) for sock in stations), "the link has one peer")
            until(lambda: all(is_over(sock) for sock in garbage), "garbage ends a session")
            until(lambda: all(is_over(sock) for sock in [*idle, *quiet, *loris]), "idle ones are ended")
        assert metric(daemon, 'gateway_connections_closed_total{reason="no request"}') >= 500
        until(lambda: daemon.get("/status")["machine"]["connections"]["open"] <= 10, "nobody is left")
        assert station.connects == 1


def _unread(port: int, k: int) -> socket.socket:
    hello = {"type": "subscribe", "home": f"laboratory-{'ab'[k % 2]}", "subscription": f"s{k // 2}"}
    return websocket(port, SUBSCRIBE, hello, source=f"127.0.4.{k % 20 + 1}", receive_octets=4096)


@dataclass(frozen=True)
class _Flow:
    """What went through in a while: frames a second from the station, and which share of what was committed came on."""

    frames_per_s: float
    share: float


def _flow(daemon: Daemon, home: Home, station: Station, span_s: float) -> _Flow:
    sent, began = station.sent, time.monotonic()
    head, items = journal(daemon)["head"], home.items
    time.sleep(span_s)
    took_s, gained = time.monotonic() - began, home.items - items
    frames_per_s = min((station.sent - sent) / took_s, station.frames_per_s)  # more: it makes up for a pause before
    return _Flow(frames_per_s, gained / (journal(daemon)["head"] - head))
