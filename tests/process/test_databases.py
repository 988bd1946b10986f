"""Mission database files with real processes: they break, change or vanish under a running gateway; hostile ones."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.values_world import database, temperature, use
from tests.mdb.hostile_files import MEGABYTE, canonical
from tests.process.running import ENV, GATEWAY, ROOT, Daemon, http, run_gateway, until
from tests.process.test_values import COUNT, HISTORY, LINK, MISSION, latest

pytestmark = pytest.mark.process
MEMORY_OCTETS = 1 << 30
SECONDS = 60
"""For one command, on a busy machine."""


def configured(folder: Path, mission: str = MISSION) -> None:
    for name, text in {"missions/m": mission, "links/l": LINK, "homes/h": "name: h\n"}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(text)
    (folder / "packets.bin").write_bytes(b"".join(temperature(k, k % 200) for k in range(COUNT)))


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A gateway that takes a file of packets of a spacecraft with a database."""
    configured(tmp_path)
    use(tmp_path, database())
    running = Daemon(tmp_path)
    running.start()
    yield running
    running.kill()


def conditions(daemon: Daemon, what: str, word: str) -> list[dict[str, Any]]:
    return [c for c in daemon.get("/status")["conditions"] if c["what"] == what and word in c["text"]]


def events(daemon: Daemon) -> list[dict[str, Any]]:
    return list(daemon.get("/instances/m.simulation/events?limit=1000")["events"])


def reload(daemon: Daemon) -> httpx.Response:
    url = f"{daemon.url}/api/v1/instances/m.simulation/databases/picard/reload"
    return http.post(url)


def history(daemon: Daemon, **more: str) -> httpx.Response:
    span = {"parameter": "TEMP", "from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z", "limit": "1000"} | more
    return http.get(f"{daemon.url}{HISTORY}/history", params=span)


def test_a_file_that_changes_breaks_and_vanishes(daemon: Daemon, tmp_path: Path) -> None:
    """Issue: whatever happens to the file, values go on with the version that was read, status and events say what
    happened; a start with a broken file names it, takes packets all the same, and goes on when it was mended."""
    expected = (COUNT - 1) % 200 * 0.5
    until(lambda: latest(daemon) == expected, "the last value")
    digest = history(daemon).json()["database"]
    path = tmp_path / "x.json"
    path.write_text(path.read_text() + " ")
    until(lambda: conditions(daemon, "database file", "was changed"), "that it was changed")
    path.write_text("{")
    refused = reload(daemon)
    assert (refused.status_code, str(path) in refused.text) == (409, True)
    (row,) = until(lambda: conditions(daemon, "database file", "cannot be used"), "that it was refused")
    assert row["severity"] == "error"
    assert str(path) in row["text"]
    assert digest[:12] in row["text"], "which version values go on with"
    use(tmp_path, database())
    assert reload(daemon).json()["digest"] == digest
    assert conditions(daemon, "database file", "") == []
    path.unlink()
    until(lambda: conditions(daemon, "database file", "not there any more"), "that it is gone")
    found = history(daemon).json()
    assert (latest(daemon), found["database"], len(found["samples"])) == (expected, digest, COUNT)
    for word in ("was changed", "cannot be used", "not there any more"):
        until(lambda word=word: [e for e in events(daemon) if word in e["message"]], f"an event: {word}")
    daemon.kill()

    path.write_text('{"format":')
    checked = run_gateway("check", str(tmp_path))
    assert checked.returncode == 2
    assert f"{path}:1: no JSON" in checked.stderr
    daemon.start()
    (row,) = until(lambda: conditions(daemon, "no values", "x.json"), "that there are no values")
    assert "no JSON" in row["text"]
    refused = history(daemon)
    assert (refused.status_code, str(path) in refused.text) == (409, True)
    old = history(daemon, mdb=digest[:12]).json()["samples"]
    assert len(old) == COUNT, "what was read once can be asked for by its digest"
    use(tmp_path, database())
    assert reload(daemon).status_code == 200
    assert len(history(daemon).json()["samples"]) == COUNT
    assert conditions(daemon, "no values", "") == []


# ---- hostile files ----

LAUGHS = "".join(f'<!ENTITY l{k} "{f"&l{k - 1};" * 10}">' for k in range(1, 10))
CYCLIC = {
    "/X/A": {"$is": "Container", "name": "/X/A", "base": "/X/B"},
    "/X/B": {"$is": "Container", "name": "/X/B", "base": "/X/A"},
}
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "laughs.xml": (
        f'<!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]><SpaceSystem name="&l9;"/>'.encode,
        "DOCTYPE",
    ),
    "cyclic.json": (canonical(containers=CYCLIC), "A: it continues itself: A -> B -> A"),
    "line.xml": (lambda: b'<SpaceSystem name="' + b"x" * (100 * MEGABYTE), "of more than 1,048,576"),
    "line.csv": (lambda: b"x" * (100 * MEGABYTE), "field larger"),
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A configuration with a spacecraft for each file."""
    folder = tmp_path_factory.mktemp("hostile")
    crafts = "".join(
        f"  - name: {name.replace('.', '-')}\n    database: {{file: {name}}}\n    packets: {{packet_versions: [0]}}\n"
        for name in HOSTILE
    )
    configured(folder, f"name: m\nspacecraft:\n{crafts}")
    (folder / "links/l.yaml").write_text(LINK.replace("picard", "line-csv"))
    for name, (content, _) in HOSTILE.items():
        (folder / name).write_bytes(content())
    yield folder
    for name in HOSTILE:
        (folder / name).unlink()


def started(*arguments: str) -> subprocess.Popen[str]:
    """Start a command whose memory is bounded."""
    return subprocess.Popen(
        ["prlimit", f"--as={2 * MEMORY_OCTETS}", *GATEWAY, *arguments],
        env=ENV, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_check_of_hostile_files(hostile: Path) -> None:
    """Issue: a hostile file is a clear error that names it, in bounded time and memory, no traceback: exit code 1 of
    `gateway mdb check`, 2 of `gateway check`, which names all of them at once."""
    commands = {name: started("mdb", "check", str(hostile / name)) for name in HOSTILE}
    whole = started("check", str(hostile))
    try:
        for name, process in commands.items():
            said = process.communicate(timeout=SECONDS)[0]
            assert (process.returncode, "Traceback" in said) == (1, False), said[-2000:]
            assert HOSTILE[name][1] in said, said[-2000:]
            assert name in said or name == "cyclic.json", "what is wrong in a readable file is told by definition"
            assert len(said) < 10_000
        said = whole.communicate(timeout=SECONDS)[0]
        assert (whole.returncode, "Traceback" in said) == (2, False), said[-2000:]
        for name, (_, word) in HOSTILE.items():
            words = word if name != "cyclic.json" else "1 definitions are wrong; `gateway mdb check"
            assert any(name in line and words in line for line in said.splitlines()), said[-2000:]
    finally:
        for process in (whole, *commands.values()):
            process.kill()
            process.communicate()


def test_run_with_a_hostile_file(hostile: Path) -> None:
    """`gateway run` starts with hostile files, takes packets, says which database cannot be used, keeps its memory, and
    ends in time."""
    running = Daemon(hostile)
    running.start()
    try:
        (row,) = until(lambda: conditions(running, "no values", "line.csv"), "that there are no values")
        assert HOSTILE["line.csv"][1] in row["text"]
        until(lambda: running.get("/instances/m.simulation")["journal"]["head"] >= COUNT, "the packets")
        assert running.process is not None
        status = Path(f"/proc/{running.process.pid}/status").read_text()
        peak = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024
        assert peak < MEMORY_OCTETS, f"{peak:,} octets"
        assert http.get(f"{running.url}/health/ready").status_code == 200
    finally:
        assert running.terminate() == 0
