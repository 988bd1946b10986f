"""`gateway homes playback` and `resend`: what people see, and what they are told when it is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.api.playback_answers import PLAYBACK
from gateway.console.app import app
from gateway.console.playback import playback_table
from tests.gateway.test_console_params import drawn

ROWS: list[dict[str, Any]] = [
    PLAYBACK,
    {**PLAYBACK, "playback": "playback-8", "state": "refused", "reason": "apids 9 is not granted", "receiving": False,
     "range": {"by": "positions", "first": 10, "end": 20}, "items": 0, "progress": 0.0, "missing_positions": 3},
]  # fmt: skip


@pytest.mark.parametrize("width", [220, 120, 80, 60, None])
def test_states_and_numbers_are_whole(width: int | None) -> None:
    """A row is a line, in every terminal; what is cut is never the state or a number."""
    lines = drawn(playback_table(ROWS, width), width)
    assert len(lines) == 3
    assert all(len(line.rstrip()) <= (width or 1000) for line in lines)
    for line, request, state, items in zip(
        lines[1:], ("playback-7", "playback-8"), ("running, receiving", "refused"), ("311", "0"), strict=True
    ):
        assert request in line
        assert state in line
        assert items in line.split()
    if width in {220, None}:
        assert "received 2026-11-24T10:00:00Z to 2026-11-24T11:00:00Z" in lines[1]
        assert "apids 9 is not granted" in lines[2]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["playback", "ask", "a"], "a range has two ends, either times or positions"),
        (["playback", "ask", "a", "--from", "-1h"], "a range has two ends"),
        (["playback", "ask", "a", "--from-position", "1", "--to", "now"], "a range has two ends"),
        (["playback", "ask", "a", "--from", "-1h", "--to", "now", "--upto-position", "2"], "a range has two ends"),
        (["resend", "a", "all", "--from", "soon", "--to", "now"], "soon"),
        (["resend", "a"], "Missing argument"),
        (["resend", "a", "all", "--from-position", "-1", "--upto-position", "2"], "Error"),
    ],
)
def test_wrong_usage(arguments: list[str], told: str) -> None:
    """Exit code 2 with what is wrong; nothing is asked of any gateway."""
    done = CliRunner().invoke(app, ["homes", *arguments, "--instance", "m.flight", "--url", "http://127.0.0.1:9"])
    assert done.exit_code == 2, done.output
    assert told in " ".join(done.output.replace("\u2502", " ").split())


def test_a_mode_that_says_itself_what_comes(tmp_path: Any) -> None:
    """`subscribe --mode playback` takes no selection: the request has one."""
    common = ["subscribe", "m.flight", "--home", "a", "--subscription", "playback-1", "--mode", "playback"]
    for more in (["--apid", "5"], ["--from-position", "3"]):
        done = CliRunner().invoke(app, [*common, "--store", str(tmp_path / "s"), *more])
        assert (done.exit_code, "says itself what comes" in done.output) == (2, True)
    done = CliRunner().invoke(app, common)
    assert (done.exit_code, "where?" in done.output) == (2, True)
