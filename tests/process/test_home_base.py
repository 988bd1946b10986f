"""The Python client against a real gateway: the examples of docs/home-base.md as they stand there, and kills."""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.home_gateway import COUNT, PACKETS, gateway_of_packets
from tests.process.running import ENV, ROOT, Daemon

pytestmark = pytest.mark.process
PAGE = ROOT / "docs/home-base.md"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A gateway that has taken a file of packets."""
    running = gateway_of_packets(tmp_path_factory.mktemp("gateway"))
    yield running
    running.kill()


def examples(daemon: Daemon) -> list[str]:
    """The Python programs of the page; of their text the address alone is changed."""
    programs: list[str] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    found = [text for text in programs if "HomeBase" in text]
    assert len(found) == 4
    assert all("http://127.0.0.1:8440" in text for text in found)
    return [text.replace("http://127.0.0.1:8440", daemon.url) for text in found]


def program(text: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", text], cwd=folder, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(text: str, folder: Path) -> list[str]:
    process = program(text, folder)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.splitlines()


def test_the_examples_of_the_page_run(daemon: Daemon, tmp_path: Path) -> None:
    """docs/home-base.md: each program does what the page says, and a second run gets nothing a second time."""
    packets, _, values, playback = examples(daemon)
    assert run(packets, tmp_path) == [f"{k} {octets.hex()}" for k, octets in enumerate(PACKETS)]
    named = packets.replace("print(count, octets.hex())", "pass").replace(
        "loop.finish()", "loop.finish(); print(batch.spacecraft[0])"
    )
    assert run(named.replace("apid=102", 'apid=102, consumer="named"'), tmp_path) == ["picard"]
    rows = [line.split()[1:4] for line in run(values, tmp_path)]
    assert rows == [["/X/TEMP", str(k % 200 * 0.5), "degC"] for k in range(COUNT)]
    hours = ("2026-11-24T10:00:00Z", "2026-11-24T11:00:00Z")
    assert all(hour in playback for hour in hours)
    playback = playback.replace(hours[0], "2020-01-01T00:00:00Z").replace(hours[1], "2100-01-01T00:00:00Z")
    assert run(playback, tmp_path) == [f"{k} {octets.hex()}" for k, octets in enumerate(PACKETS)]
    assert run(playback, tmp_path) == []
    (row,) = daemon.get("/instances/demo.simulation/playbacks")
    assert (row["state"], row["items"]) == ("done", COUNT)
    again = program(packets, tmp_path)
    with pytest.raises(subprocess.TimeoutExpired):
        again.communicate(timeout=1.5)
    again.terminate()
    assert again.communicate(timeout=60)[0] == "", "what was finished came again"


def test_a_program_that_is_killed_ends_exact(daemon: Daemon, tmp_path: Path) -> None:
    """R4: the page's database program, killed with SIGKILL at any moment, has each packet once in the end."""
    text, rng = examples(daemon)[1], random.Random(5)
    for _ in range(3):
        process = program(text, tmp_path)
        time.sleep(rng.uniform(0.3, 1.2))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    found = sqlite3.connect(tmp_path / "packets.db")
    if found.execute("SELECT count(*) FROM sqlite_master").fetchone() != (1,) or found.execute(
        "SELECT count(*) FROM packet"
    ).fetchone() != (COUNT,):
        run(text, tmp_path)
    rows = found.execute("SELECT count, octets FROM packet ORDER BY position").fetchall()
    found.close()
    assert rows == list(enumerate(PACKETS))
