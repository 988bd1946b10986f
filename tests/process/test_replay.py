"""`gateway replay` as an engineer uses it: a run, its continuation, and a file that is not what the mission says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .running import SHARED, Daemon, run_gateway

FRAMES = SHARED / "data/frames"
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not FRAMES.exists(), reason="the shared recordings are not beside the checkout"),
]


def test_a_file_that_is_not_what_the_mission_says(tmp_path: Path) -> None:
    """Counts by cause, a hint that names both lengths, nothing dropped, exit 1; the event is in the journal."""
    file = FRAMES / "integral_tm_890.bin"
    done = run_gateway("replay", str(file), "--mission", "hera", "--run", "r", "--data-dir", str(tmp_path), "--json")
    report = json.loads(done.stdout.strip().splitlines()[-1])
    assert done.returncode == 1
    assert report["hint"] == "a TM header repeats every 890 octets, the link says 1113"
    assert report["counters"]["rejected_spacecraft"] + report["counters"]["rejected_version"] > 200
    for_people = run_gateway("replay", str(file), "--mission", "hera", "--run", "q", "--data-dir", str(tmp_path))
    assert "a TM header repeats every 890 octets" in " ".join(for_people.stdout.split())
    events = run_gateway("journal", "show", str(tmp_path / "hera.simulation.replay-r"), "--limit", "10000").stdout
    assert "a TM header repeats every 890 octets, the link says 1113" in events


def test_the_same_run_continues(tmp_path: Path) -> None:
    """The same run id continues a finished run without repeating anything; the file must be the same."""
    command = ["replay", str(FRAMES / "queqiao2_aos_220.bin"), "--mission", "queqiao-2", "--run", "one", "--json"]
    reports = [run_gateway(*command, "--data-dir", str(tmp_path)) for _ in range(2)]
    first, second = (json.loads(done.stdout.strip().splitlines()[-1]) for done in reports)
    assert [done.returncode for done in reports] == [0, 0]
    assert sum(r["packets"] for r in first["streams"] if r["apid"] is not None) == 315
    assert second["head"] < first["head"] + 10, "only events are added"
    other = run_gateway("replay", str(FRAMES / "lucy_aos_1113.bin"), "--mission", "queqiao-2", "--run", "one",
                        "--data-dir", str(tmp_path))  # fmt: skip
    assert other.returncode == 1
    assert "use a new run id" in other.stderr + other.stdout


def test_a_daemon_ends_a_replay_as_the_command_does(tmp_path: Path) -> None:
    """The same file has the same report and exit status, whoever plays it."""
    (tmp_path / "missions").mkdir()
    (tmp_path / "missions/m.yaml").write_text("name: m\nspacecraft: [{name: s}]\n")
    (tmp_path / "gateway.yaml").write_text(f"replay_folders: [{FRAMES}]\n")
    daemon = Daemon(tmp_path)
    daemon.start()
    try:
        command = [
            "replay",
            str(FRAMES / "integral_tm_890.bin"),
            "--mission",
            "hera",
            "--spacecraft",
            "hera",
            "--run",
            "r",
        ]
        ways = [("--url", daemon.url), ("--data-dir", str(tmp_path / "here"))]
        there, here = (run_gateway(*command, *way, "--json") for way in ways)
        assert [there.returncode, here.returncode] == [1, 1]
        reports = [json.loads(done.stdout.strip().splitlines()[-1]) for done in (there, here)]
        for report in reports:
            report.pop("head")  # events are journalled one by one or together
        assert reports[0] == reports[1]
    finally:
        assert daemon.terminate() == 0
