"""The demo is honest, and a store can be read with nothing of ours."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.console.app import app

from .running import ROOT, run_gateway

pytestmark = pytest.mark.process


def told(*arguments: str) -> Result:
    """What `gateway journal` says, in this process: it has nothing to do with the one that wrote the journal."""
    return CliRunner().invoke(app, ["journal", *arguments])


def test_the_demo_holds_and_its_stores_are_readable(tmp_path: Path) -> None:
    """The demo ends by itself without a terminal, exit 0; a foreign script reads the same packets; each has values."""
    done = run_gateway("demo", "--duration-s", "6", "--keep", str(tmp_path / "demo"), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["holds"]
    lost = [cause for row in result["streams"] for cause in row["lost"]]
    assert {"noise", "lost", "cut"} <= set(lost), "the pass must have bad weather"
    expected = sum(row["expected"] for row in result["streams"] if row["apid"] is not None)
    values = result["values"]
    assert (values["packets"], values["packet_types"], values["unidentified"]) == (expected, 21, 0)
    assert values["out_of_limit"] > 0
    for home in ("laboratory-a", "laboratory-b"):
        script = [
            sys.executable,
            "-I",
            str(ROOT / "docs/read_blocks.py"),
            str(tmp_path / "demo" / home),
            str(tmp_path / home),
        ]
        count, digest = subprocess.run(script, capture_output=True, text=True, check=True).stdout.split()
        assert int(count) == expected
        assert hashlib.sha256((tmp_path / home).read_bytes()).hexdigest() == digest
    journal = tmp_path / "demo/var/demo.simulation"
    assert told("verify", str(journal)).exit_code == 0
    for form in ("packets", "frames", "csv", "sqlite"):
        out = told("export", str(journal), str(tmp_path / form), f"--{form}")
        assert out.exit_code == 0, out.output
        assert (tmp_path / form).stat().st_size > 1000
    replayed = run_gateway(
        "replay", str(journal / "recording/station"),
        "--config", str(ROOT / "config/gateway_config/examples/demo"),
        "--data-dir", str(tmp_path / "again"), "--run", "again", "--json",
    )  # fmt: skip
    assert replayed.returncode == 0, replayed.stderr
    report = json.loads(replayed.stdout.strip().splitlines()[-1])
    assert sum(row["packets"] for row in report["streams"] if row["apid"] not in {None, 2047}) >= expected
    shown = told("show", str(journal), "--limit", "100000").output
    assert "station: disabled -> unavailable" in shown
    assert len(shown.splitlines()) > expected


@pytest.mark.parametrize("where", ["delivered", pytest.param("journalled", marks=pytest.mark.soak)])
def test_one_dropped_packet_is_noticed(where: str) -> None:
    """A demo in which one packet is dropped, after delivery or before the journal, exits 1 and names it."""
    done = run_gateway("demo", "--duration-s", "5", "--sabotage", where, "--json")
    assert done.returncode == 1
    result = json.loads(done.stdout)
    assert any("1 missing" in problem for problem in result["problems"])


def test_the_script_is_short_and_alone() -> None:
    """docs/read_blocks.py has under 50 lines and imports the standard library only."""
    text = (ROOT / "docs/read_blocks.py").read_text()
    assert len(text.splitlines()) < 50
    assert "gateway" not in text
