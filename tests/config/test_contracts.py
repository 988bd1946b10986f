"""`gateway check` reckons the contracts of home bases: what does not fit is told with file, key, value and remedy."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from gateway.console.app import app
from gateway_config import load
from gateway_config.contracts import DAY_S, Found, Past, contract

MISSION = "name: m\nsupport_modes: [flight]\nspacecraft:\n  - {name: s, packets: {packet_versions: [0]}}\n"
LINK = "name: {}\nmission: m\nsupport_mode: flight\nspacecraft: s\ntype: tcp_client\nport: 5\nunit: packets\n{}"
HOME = "name: a\ngrants: [{{mission: m{}}}]\nquotas: {{{}}}\n"
ROOM = Found({}, 0, 10**12)


def written(
    folder: Path, link: str = "expected_bps: 8000\n", home: str = "backlog_days: 10", gateway: str = "data_dir: var\n"
) -> Path:
    """A configuration with one link of 1000 octets/s, and one home base that is promised something."""
    texts = {"missions/m": MISSION, "links/l": LINK.format("l", link), "homes/a": HOME.format("", home)}
    for name, text in (texts | {"gateway": gateway}).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(text)
    return folder


def told(folder: Path, found: Found = ROOM) -> list[str]:
    return [str(warning) for warning in contract(load(folder), found).warnings]


def test_what_is_said_is_reckoned_with(tmp_path: Path) -> None:
    """1000 octets/s for ten days, with the journal's share, against what is free; the reserve is not for it."""
    found = contract(load(written(tmp_path)), ROOM)
    (row,) = found.instances
    assert (row.octets_per_s, row.source, row.backlog_days) == (1000.0, "expected_bps of l", 10)
    assert row.journal_octets == 1.2 * 1000 * 10 * DAY_S == found.needed_octets
    assert found.available_octets == 10**12 - (64 << 20)
    assert (found.homes[0].streams_bps, found.homes[0].at_most, found.warnings) == (8000, False, ())


def test_the_disk(tmp_path: Path) -> None:
    """Too little room names the home base with the longest backlog; what journals hold already is room for them."""
    (line,) = told(written(tmp_path), Found({}, 0, 10**9))
    assert line.startswith("homes/a.yaml:3: quotas.backlog_days = 10: the device has room for 933 MB")
    assert "needs 1.0 GB" in line
    assert not told(tmp_path, Found({"m.flight": Past(10**8, 60)}, 10**8, 10**9))


def test_what_is_kept(tmp_path: Path) -> None:
    """Retention by age or size that is below a promise is told, with what would be right."""
    assert told(written(tmp_path, gateway="journal: {keep_days: 7}\n")) == [
        "homes/a.yaml:3: quotas.backlog_days = 10: journal.keep_days is 7, older items are removed: "
        "make that 10 at least"
    ]
    (line,) = told(written(tmp_path, gateway="journal: {keep_octets: 1000000}\n"))
    assert "m.flight brings 1.0 GB in that time, journal.keep_octets is 1 MB" in line


def test_the_line(tmp_path: Path) -> None:
    """The sum of what home bases get must fit the line; a limit below the stream never catches up."""
    (line,) = told(written(tmp_path, gateway="api: {line_bps: 5000}\n"))
    assert line.startswith("gateway.yaml:1: api.line_bps = 5000: the home bases together get 8000 bits/s")
    (line,) = told(written(tmp_path, home="rate_limit_bps: 4000"))
    assert line.startswith("homes/a.yaml:3: quotas.rate_limit_bps = 4000: its streams bring 8000 bits/s")
    row = contract(load(written(tmp_path, home="rate_limit_bps: 24000, backlog_days: 10")), ROOM).homes[0]
    assert row.catch_up_days == 5.0
    (tmp_path / "homes/a.yaml").write_text(HOME.format(", apids: [1]", "rate_limit_bps: 4000"))
    found = contract(load(tmp_path), ROOM)
    assert (found.homes[0].at_most, found.warnings) == (True, ())


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    """A link that says nothing is reckoned from its journal's past, else said to be not known: nothing is invented."""
    (row,) = contract(load(written(tmp_path, link="")), ROOM).instances
    assert (row.octets_per_s, row.journal_octets) == (None, None)
    assert row.source == "not known: give expected_bps in links/l"
    past = Found({"m.flight": Past(86_400_000, 2 * DAY_S)}, 0, 10**12)
    (row,) = contract(load(tmp_path), past).instances
    assert (row.octets_per_s, row.source) == (500.0, "its journal: 2.0 days until now")
    assert row.journal_octets == 500.0 * 10 * DAY_S
    written(tmp_path, link="expected_bps: 0\n")
    assert contract(load(tmp_path), ROOM).needed_octets == 0


def test_the_command(tmp_path: Path) -> None:
    """`gateway check` prints the reckoning, with --json too; a warning is no error."""
    written(tmp_path, gateway="journal: {keep_days: 7}\n")
    ran = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert ran.exit_code == 0
    assert "m.flight: brings 1 kB/s (expected_bps of l); 10 days of it: 1.0 GB" in ran.stdout
    assert "may be away for 10 days" in ran.stdout
    assert "journal.keep_days is 7" in ran.stderr
    ran = CliRunner().invoke(app, ["check", str(tmp_path), "--json"])
    about = json.loads(ran.stdout)
    assert about["contract"]["instances"][0]["octets_per_s"] == 1000
    assert [(w["file"], w["key"]) for w in about["warnings"]] == [("homes/a.yaml", "quotas.backlog_days")]
