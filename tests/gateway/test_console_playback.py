"""`gateway homes playback` and `resend`: what people see, and what they are told when it is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.api.playback_answers import PLAYBACK
from gateway.console.app import app
from gateway.console.playback import playback_table
from gateway.console.remote import Remote
from gateway.errors import Refused
from gateway_codecs.time_scales import parse_utc
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


def test_a_list_that_is_piped_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who pipes the list into a file or `grep` gets all columns: ids and states are why he does."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(Remote, "get", lambda self, path, **asked: ROWS)
    done = CliRunner().invoke(app, ["homes", "playback", "list", "--instance", "m.flight"])
    for words in ("playback-8", "refused", "apids 9 is not granted", "received 2026-11-24T10:00:00Z to 2026-11-24T11:"):
        assert words in done.output


def test_a_home_base_asks_with_its_own_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a home base may ask for itself it can say as the operator does: "-2h" and "now" need no right to look at the
    gateway's state, and where its token lists no instances the way out is told."""
    asked: list[dict[str, Any]] = []

    def refuse(self: Remote, path: str, **parameters: Any) -> Any:
        raise Refused(f"GET {path}: a home base may not observe")

    def post(self: Remote, path: str, body: Any = None) -> Any:
        asked.append(body)
        return {**ROWS[0], "instance": "m.flight"}

    monkeypatch.setattr(Remote, "get", refuse)
    monkeypatch.setattr(Remote, "post", post)
    ask = ["homes", "playback", "ask", "a", "--from", "-2h", "--to", "now"]
    done = CliRunner().invoke(app, [*ask, "--instance", "m.flight"])
    assert done.exit_code == 0, done.output
    begin_ns, end_ns = parse_utc(asked[0]["from_utc"]), parse_utc(asked[0]["to_utc"])
    assert 7_200 <= (end_ns - begin_ns) / 10**9 < 7_300
    done = CliRunner().invoke(app, ask)
    assert done.exit_code == 2, done.output
    assert "say --instance" in done.output


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
