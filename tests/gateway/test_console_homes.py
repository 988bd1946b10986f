"""What `gateway homes list` says of a grant."""

from __future__ import annotations

from gateway.access.policy import home_row, rights_of
from gateway.console.homes import grant_in_words
from gateway_config import Home


def in_words(**keys: object) -> str:
    home = Home.model_validate({"name": "a", "grants": [{"mission": "hera", **keys}]})
    (grant,) = home_row(home, rights_of({"a": home})["a"], 0, 0)["grants"]
    return grant_in_words(grant)


def test_a_grant_by_all_ways_names_none() -> None:
    """House rule (one truth): ways of delivery are told where they are fewer than all; what narrows a grant, always."""
    assert "by" not in in_words()
    assert in_words(modes=["complete", "timely"]).endswith("by complete, timely alone")
    told = in_words(vcids=[1], apids=[5, 6], bad_quality=True, replays=True, parameters=["T*"])
    for words in ("hera (flight)", "vcids 1", "apids 5, 6", "rejected units too", "replays too", "parameters T*"):
        assert words in told
