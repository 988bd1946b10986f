"""What `gateway homes list` says of a grant, and `gateway homes tokens` of a token."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from gateway.access.policy import home_row, rights_of
from gateway.console.app import app
from gateway.console.homes import grant_in_words
from gateway.console.remote import Remote
from gateway_config import Home


def in_words(**keys: object) -> str:
    home = Home.model_validate({"name": "a", "grants": [{"mission": "hera", **keys}]})
    (grant,) = home_row(home, rights_of({"a": home})["a"], 0, 0)["grants"]
    return grant_in_words(grant)


def test_a_grant_by_all_ways_names_none() -> None:
    """House rule (one truth): ways of delivery are told where they are fewer than all; what narrows a grant, always."""
    assert "by" not in in_words()
    assert in_words(modes=["complete", "timely"]).endswith("by complete, timely alone")
    told = in_words(vcids=[1], apids=[5, 6], bad_quality=True, replays=True, parameters=["*/T"])
    for words in ("hera (flight)", "vcids 1", "apids 5, 6", "rejected units too", "replays too", "parameters */T"):
        assert words in told


def test_when_a_token_expires_is_told_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """House rule (one glance): in 80 columns, long names and all, the minute in which a token ends is not cut off."""
    row = {"id": "0a788cab7b", "kind": "home", "name": "laboratory-of-a-long-name", "state": "valid",
           "created_utc": "2026-11-26T09:20:41.5Z", "expires_utc": "2027-06-01T08:30:00Z",
           "instances": ["demo.simulation"]}  # fmt: skip
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(Remote, "get", lambda self, path, **asked: [row])
    told = CliRunner().invoke(app, ["homes", "tokens"]).output
    assert "2026-11-26 09:20Z" in told
    assert "2027-06-01 08:30Z" in told
    assert "\u2026" not in told
