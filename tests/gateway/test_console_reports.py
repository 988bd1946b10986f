"""Reports for people: text that fits a terminal of 80 columns, a page that loads nothing, whatever the names are."""

from __future__ import annotations

import copy
import io
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import RenderableType
from typer.testing import CliRunner

from gateway.api.metrics import render_metrics
from gateway.api.models import GatewayState
from gateway.api.playback_answers import PLAYBACK as OPEN
from gateway.api.report_answers import HOME, RECONCILIATION
from gateway.console import report_tables, tables
from gateway.console.app import app
from gateway.console.report_page import page
from gateway.console.terminal import Terminal
from gateway_routes.accounts import Reason


def shown(what: RenderableType) -> str:
    """The text on a terminal of 80 columns."""
    out = io.StringIO()
    Terminal(file=out, width=80).print(what)
    return out.getvalue()


def changed(**digest: Any) -> dict[str, Any]:
    """A report with another digest."""
    report: dict[str, Any] = copy.deepcopy(RECONCILIATION)
    report["homes"][0]["subscriptions"][0]["digest"].update(digest)
    return report


def test_a_report_as_text() -> None:
    """A report says what, expected, received, why, and what came of the digest, within 80 columns."""
    text = shown(report_tables.report(RECONCILIATION))
    assert max(map(len, text.splitlines())) <= 80
    for part in ("contact 7 of picard with kiruna", "2 470", "lost on the space link", "in bad frames", "confirmed"):
        assert part in " ".join(text.split()), text
    under_way = copy.deepcopy(RECONCILIATION)
    under_way["range"]["under_way"] = True
    under_way["remarks"] = ["12 positions were removed"]
    under_way["homes"] = []
    text = shown(report_tables.report(under_way))
    assert "under way" in text
    assert "12 positions were removed" in text
    assert "no home base" in text
    assert "the home base has 5 items" in shown(report_tables.report(changed(state="differs", home_items=5)))


def test_every_reason_has_words() -> None:
    """Each reason is told in words."""
    assert set(report_tables.REASONS) == {reason.value for reason in Reason}


class _Page(HTMLParser):
    """Collects the tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.mark.parametrize(
    "name", ["laboratory-a", '<script src="http://x">', "a & b", "\x1b[2J", "\u202egnp.exe", '" onload="x']
)
def test_the_page_loads_nothing(name: str) -> None:
    """The page is one file: no script, no address, whatever a name is; the numbers of the text are on it."""
    report = changed(state="differs", home_items=5)
    report["homes"][0]["home"] = report["streams"][0]["link"] = report["remarks"] = name
    report["remarks"] = [name]
    text = page(report)
    found = _Page()
    found.feed(text)
    tags = {tag for tag, _ in found.tags}
    assert tags <= {"html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "span", "code", "table",
                    "thead", "tbody", "tr", "th", "td", "div", "i"}  # fmt: skip
    assert not [keys for _, keys in found.tags if {"src", "href"} & set(keys)]
    assert not re.search(r"url\(|@import", text)
    assert {key for _, keys in found.tags for key in keys} <= {
        "lang", "charset", "http-equiv", "content", "name", "class", "data-label", "style",
    }  # fmt: skip
    assert text.replace("\n", "").isprintable(), "no control character, no turned direction"
    for part in ("2 470", "@media print", "prefers-color-scheme: dark", "max-width: 44rem", report["scope"]):
        assert part in text


def test_the_page_tells_what_was_lost() -> None:
    """Issue: per VC and APID what was delivered, acknowledged, expired, damaged; and the versions before."""
    report = changed()
    row = report["homes"][0]["subscriptions"][0]
    for counts in (row, row["streams"][0]):
        counts |= {"entitled": 2567, "expired": 60, "damaged": 40}
    row["former"] = [{"version": 1, "selection": {"apids": [*range(20)], "idle": True}, "acknowledged": 2000}]
    text = page(report)
    told = (
        "2 000 of them acknowledged under version 1, which selected apids 0, 1, 2, 3, 4, 5, 6, 7 and 12 more, idle yes"
    )
    for part in ('<span class="bad">60</span>', '<span class="bad">40</span>', "60 expired, 40 damaged", told):
        assert part in text, text
    flat = " ".join(shown(report_tables.report(report)).split())
    assert "60 expired, 40 damaged" in flat
    assert "picard station VC1 APID 200 2 567 2 467 2 440 27 100" in flat
    assert told in flat


def test_the_state_of_home_bases() -> None:
    """The state fits 80 columns and tells who was never heard, who is late, and what differs."""
    rows = [
        {**HOME, "digests_differing": 2},
        {**HOME, "home": "b", "last_seen_age_s": None, "drops": {}},
    ]
    text = shown(report_tables.homes("demo.simulation", rows))
    assert max(map(len, text.splitlines())) <= 80
    assert "2 differ" in text
    assert "never" in text
    assert "12 expired" in text
    assert "no home base" in shown(report_tables.homes("demo.simulation", []))


def test_outlets_and_playbacks_are_seen() -> None:
    """Operation: `gateway status` shows the outlets and the open playback requests, within 80 columns."""
    text = shown(tables.overview(_state()))
    assert max(map(len, text.splitlines())) <= 80
    for part in ("laboratory-a / quicklook", "tcp 127.0.0.1:5600", "home / playback", OPEN["playback"], OPEN["state"]):
        assert part in text, text
    (instance,) = _state()["instances"]
    assert not tables.beside_subscriptions({**instance, "outlets": [], "playbacks": []})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 ms"), (0.0314, "31 ms"), (2.46, "2.5 s"), (90, "90 s"), (300, "5 min"), (7300, "2 h"), (1e6, "12 d")],
)
def test_durations(seconds: float, text: str) -> None:
    """Times are short."""
    assert report_tables.duration(seconds) == text


def _state() -> dict[str, Any]:
    """The state of the documentation."""
    (state,) = GatewayState.model_json_schema()["examples"]
    return dict(state)


def test_metrics_of_home_bases() -> None:
    """Issue: lag in items and seconds, backlog, drops by cause and last seen of each home base are metrics."""
    text, _ = render_metrics(_state())
    found = {one.name: one.samples for one in text_string_to_metric_families(text.decode())}
    for name, value in (
        ("gateway_home_lag_items", 47), ("gateway_home_lag_seconds", 0.4), ("gateway_home_backlog_items", 47),
        ("gateway_home_last_seen_age_seconds", 0.1), ("gateway_home_sessions", 1),
    ):  # fmt: skip
        assert [sample.value for sample in found[name]] == [value], name
    drops = [sample for sample in found["gateway_home_drops"] if sample.name.endswith("_total")]
    assert {one.labels["cause"]: one.value for one in drops} == {"expired": 12, "damaged": 0, "late": 0}


def test_help_teaches() -> None:
    """The commands explain themselves, and refuse what cannot be reached with a way out."""
    runner = CliRunner()
    assert "Reconcile" in runner.invoke(app, ["homes", "report", "--help"]).output
    refused = runner.invoke(app, ["homes", "status", "--url", "http://127.0.0.1:21699"])
    assert refused.exit_code == 1
    assert "gateway run" in refused.output
