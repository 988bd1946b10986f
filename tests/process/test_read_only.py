"""The disk of a real gateway process turns read-only while it works: a fault in its system calls, and a real one."""

from __future__ import annotations

import errno
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .running import ENV, GATEWAY, ROOT, Daemon, free_port, http, run_gateway, until
from .test_bad_weather import (
    INSTANCE,
    Home,
    Station,
    condition,
    events,
    journal,
    metric,
    running,
)
from .test_door import minimal
from .weather import Weather

pytestmark = pytest.mark.process


def ready(daemon: Daemon) -> int:
    return http.get(f"{daemon.url}/health/ready").status_code


def site(folder: Path, port: int, data: Path) -> Path:
    """A gateway with its data there, small segments, and one link."""
    config = minimal(folder, port)
    (config / "gateway.yaml").write_text(
        f"data_dir: {data}\njournal: {{segment_octets: 1000000, reserve_octets: 1000000}}\n"
    )
    return config


def holds(daemon: Daemon, complete: Home, timely: Home, why: str) -> None:
    """R12 while nothing can be written: told, not ready, complete waits, timely goes on, nothing is acknowledged."""
    row = until(lambda: condition(daemon, "journal blocked"), what="it is told")
    assert row["severity"] == "critical"
    assert why in row["text"]
    until(lambda: condition(daemon, "not recorded"), what="the recording too")
    assert ready(daemon) == 503
    assert metric(daemon, "gateway_journal_blocked") == 1
    until(lambda: complete.positions[-1] + 1 >= journal(daemon)["head"], "what was committed before has arrived")
    head, had, heard = journal(daemon)["head"], complete.items, timely.items
    time.sleep(1.5)
    assert (journal(daemon)["head"], complete.items) == (head, had), "nothing is committed, nothing is delivered"
    until(lambda: timely.items > heard + 50, "timely goes on")


def told_states(daemon: Daemon) -> list[str]:
    return [row["state"] for row in events(daemon) if row.get("condition") == "journal blocked"]


def once_in_order(home: Home) -> None:
    first = home.positions[0]
    assert home.positions == list(range(first, first + len(home.positions))), "every position once, in order"


def test_a_disk_that_turns_read_only_and_back(tmp_path: Path) -> None:
    """R12: every write fails with EROFS, SQLite's too: told, timely goes on, complete waits; all resumes by itself."""
    port = free_port()
    weather = Weather(tmp_path / "weather", tmp_path / "var")
    daemon = Daemon(site(tmp_path, port, tmp_path / "var"), prefix=weather.prefix)
    with running(daemon), Station(port, 200) as station:
        with Home(daemon, "all", "complete") as complete, Home(daemon, "now", "timely") as timely:
            until(lambda: complete.items > 100)
            times, waits = 0, None
            while waits is None and times < 5:  # rarely no acknowledgement waits to be stored at that moment
                weather.disk_refuses(errno.EROFS)
                holds(daemon, complete, timely, "Read-only file system")
                waits, times = condition(daemon, "cursors not stored"), times + 1
                had = complete.items
                weather.disk_refuses(0)
                until(lambda had=had: complete.items > had + 100, what="it resumes by itself")  # type: ignore[misc]
                # the watch looks each second: two outages within it would be one
                told = ["begun", "ended"] * times
                until(lambda told=told: told_states(daemon) == told, what="its end is told")  # type: ignore[misc]
            assert waits is not None, "cursors wait"
            bad = {"critical", "error"}
            until(lambda: not [row for row in daemon.get("/status")["conditions"] if row["severity"] in bad])
            assert ready(daemon) == 200
        assert station.connects == 1, "the link was not lost"
        once_in_order(complete)
        assert journal(daemon)["damaged"] == []


def test_a_start_on_a_disk_that_is_read_only(tmp_path: Path) -> None:
    """The start is refused in two lines, with the directory, the reason and the way out."""
    weather = Weather(tmp_path / "weather", tmp_path / "var")
    weather.disk_refuses(errno.EROFS)
    command = [*weather.prefix, *GATEWAY, "run", "--config", str(site(tmp_path, free_port(), tmp_path / "var"))]
    done = subprocess.run(command, env=ENV, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    told = " ".join(done.stderr.split())
    assert f"the data directory {tmp_path / 'var'} cannot be used: Read-only file system" in told
    assert "data_dir in gateway.yaml" in told


class Ext4:
    """A file system in a file, which turns read-only at its first error. Skips where it cannot be mounted."""

    def __init__(self, image: Path, folder: Path) -> None:
        self._image, self._folder = image, folder
        folder.mkdir()
        image.write_bytes(b"")
        subprocess.run(["truncate", "-s", "64M", str(image)], check=True)
        for command in (["mkfs.ext4", "-q", "-F", str(image)], self._mounting()):
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except FileNotFoundError:
                pytest.skip(f"{command[0]} is not installed")
            if done.returncode:
                pytest.skip(f"ext4 cannot be mounted here: {done.stderr.strip()}")

    def _mounting(self) -> list[str]:
        return ["mount", "-o", "loop,errors=remount-ro", str(self._image), str(self._folder)]

    def fail(self) -> None:
        """The kernel finds an error and turns the file system read-only, whatever is open for writing."""
        device = next(row.split()[0] for row in Path("/proc/mounts").read_text().splitlines() if self._is_here(row))
        Path("/sys/fs/ext4", Path(device).name, "trigger_fs_error").write_text("weather")

    def _is_here(self, row: str) -> bool:
        return row.split()[1] == str(self._folder)

    def mend(self) -> None:
        """What an operator does: unmount, check, mount."""
        subprocess.run(["umount", str(self._folder)], check=True)
        assert subprocess.run(["e2fsck", "-p", str(self._image)], capture_output=True, check=False).returncode <= 1
        subprocess.run(self._mounting(), check=True)

    def close(self) -> None:
        subprocess.run(["umount", "-l", str(self._folder)], capture_output=True, check=False)


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[Ext4]:
    """For the data; needs root and loop devices."""
    made = Ext4(tmp_path / "image", tmp_path / "var")
    yield made
    made.close()


@pytest.mark.soak
def test_a_file_system_that_failed(tmp_path: Path, ext4: Ext4) -> None:
    """R7, R12: ext4 turns read-only under the gateway, which goes on as above, ends in order, and after the repair
    starts without a word: what was acknowledged is there, nobody misses a position, none is given twice."""
    port = free_port()
    daemon = Daemon(site(tmp_path, port, tmp_path / "var"))
    with Station(port, 200):
        with running(daemon), Home(daemon, "all", "complete") as complete, Home(daemon, "now", "timely") as timely:
            until(lambda: complete.items > 300)
            ext4.fail()
            holds(daemon, complete, timely, "Read-only file system")
            time.sleep(5)
            assert metric(daemon, "gateway_task_failures_total") == 0, "nothing of ours fails for it"
        once_in_order(complete)
        ext4.mend()
        with running(daemon), Home(daemon, "all", "complete") as again:
            until(lambda: again.items > 300)
            assert journal(daemon)["damaged"] == []
    once_in_order(again)
    assert complete.positions[0] < again.positions[0] <= complete.positions[-1] + 1, "from its cursor on"
    first = again.positions[0]
    seen = complete.checks[first - complete.positions[0] :]
    assert again.checks[: len(seen)] == seen, "what was seen before is what is there"
    verified = run_gateway("journal", "verify", str(tmp_path / "var" / INSTANCE))
    assert verified.returncode == 0, verified.stdout + verified.stderr
