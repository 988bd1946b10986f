"""Engineering values with real processes: a configured database, live values, a corrected calibration, plots."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.values_world import database, temperature, use
from tests.home_files import everything
from tests.process.running import Daemon, http, run_gateway, until

pytestmark = pytest.mark.process
MISSION = """name: m
spacecraft:
  - name: picard
    database: {file: x.json}
    packets: {packet_versions: [0]}
"""
LINK = "name: l\nmission: m\nspacecraft: picard\ntype: file\nunit: packets\npath: packets.bin\n"
COUNT = 300
HISTORY = "/api/v1/instances/m.simulation/parameters"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A gateway that takes a file of packets of a spacecraft with a database."""
    for name, text in {"missions/m": MISSION, "links/l": LINK, "homes/h": everything("h", "m")}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "packets.bin").write_bytes(b"".join(temperature(k, k % 200) for k in range(COUNT)))
    use(tmp_path, database())
    running = Daemon(tmp_path)
    running.start()
    yield running
    running.kill()


def latest(daemon: Daemon) -> Any:
    """The newest value, if any."""
    rows = http.get(f"{daemon.url}{HISTORY}/latest", params={"parameter": "TEMP"}).json()
    return rows[0]["value"] if isinstance(rows, list) and rows else None


def params(daemon: Daemon, *arguments: str, code: int = 0) -> str:
    done = run_gateway("params", *arguments, "--url", daemon.url)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_values_on_the_command_line(daemon: Daemon, tmp_path: Path) -> None:
    """Issue: newest values, history, CSV, plots; a corrected calibration by reload; the old one by its digest."""
    until(lambda: latest(daemon) == (COUNT - 1) % 200 * 0.5, "the last value came")
    listed = json.loads(params(daemon, "list", "temperature", "--json"))
    (row,) = listed["parameters"]
    assert (row["parameter"], row["latest"]["value"], row["unit"]) == ("/X/TEMP", (COUNT - 1) % 200 * 0.5, "degC")
    assert "degC" in params(daemon, "get", "TEMP", "T1")
    assert "no parameter" in run_gateway("params", "get", "NOPE", "--url", daemon.url).stderr
    as_csv = params(daemon, "get", "TEMP", "--from", "-1h", "--csv")
    values = [float(one["value"]) for one in csv.DictReader(io.StringIO(as_csv))]
    assert values == [k % 200 * 0.5 for k in range(COUNT)]
    (changed, *_) = params(daemon, "watch", "TEMP", "--count", "1", "--json").splitlines()
    assert json.loads(changed)["parameter"] == "/X/TEMP"
    assert "\u2524" in params(daemon, "plot", "TEMP", "--from", "-1h")
    assert "\u2524" in params(daemon, "plot", "TEMP")
    params(daemon, "plot", "TEMP", "--from", "-1h", "--svg", str(tmp_path / "p.svg"))
    assert "<polyline" in (tmp_path / "p.svg").read_text()

    use(tmp_path, database(gain=2.0))
    before = listed["database"]
    assert before[:12] not in params(daemon, "reload")
    new = [json.loads(line) for line in params(daemon, "get", "TEMP", "--from", "-1h", "--json").splitlines()]
    assert [one["value"] for one in new] == [k % 200 * 2.0 for k in range(COUNT)]
    old = params(daemon, "get", "TEMP", "--from", "-1h", "--json", "--mdb", before[:12]).splitlines()
    assert [json.loads(line)["value"] for line in old] == values
    (tmp_path / "x.json").write_text("{")
    params(daemon, "reload", code=1)
    assert json.loads(params(daemon, "list", "--json"))["database"] != before
    whole = http.get(
        f"{daemon.url}{HISTORY}/history.csv",
        params={"parameter": "TEMP", "from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"},
    )
    assert len(list(csv.DictReader(io.StringIO(whole.text)))) == COUNT
    metrics = http.get(f"{daemon.url}/metrics").text
    assert 'gateway_values_packets_total{instance="m.simulation",packet_type="/X/TEMPERATURES"' in metrics
