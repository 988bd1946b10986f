"""`gateway params`: what people see, in terminals of every width."""

from __future__ import annotations

import re
from typing import Any, cast

import pytest
from rich.console import Console
from typer.testing import CliRunner

from gateway.console import params, params_plot, tables
from gateway.console.app import app
from gateway.console.terminal import Terminal
from gateway_codecs.time_scales import SECOND_NS, parse_utc

NAMES = ("/JPSS_Geolocation_Packets/ADGPSPOSX", "/JPSS_Geolocation_Packets/MSEC", "/JPSS_Geolocation_Packets/MODE")


def latest(
    name: str, value: Any, limit: str = "ok", stale: bool = False, decimals: int | None = None
) -> dict[str, Any]:
    """One newest value as the API tells it."""
    return {
        "parameter": name, "value": value, "unit": "m", "validity": "valid", "limit": limit, "stale": stale,
        "decimals": decimals, "age_s": 204.3, "time_utc": "2021-04-09T01:59:59.005260000Z", "position": 7203,
        "kind": "float", "description": "Ephemeris: position (ECEF), X, in the frame of the solid earth",
    }  # fmt: skip


ROWS = [
    latest(NAMES[0], -1530757.625, "high critical", stale=True),
    latest(NAMES[1], 7199005.1234, decimals=3),
    latest(NAMES[2], "SAFE"),
]


def drawn(table: Any, width: int | None) -> list[str]:
    """The lines of a table in a terminal of a width."""
    console = Console(width=width or 1000, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get().splitlines()


@pytest.mark.parametrize("width", [200, 120, 80, 60, 50, None])
def test_numbers_and_states_are_whole(width: int | None) -> None:
    """A number without its exponent, or a state without `stale`, is worse than none: names give way, columns go."""
    for table in (params._latest_table(ROWS, width), params._list_table([{**r, "latest": r} for r in ROWS], width)):
        lines = drawn(table, width)
        assert len(lines) == 1 + len(ROWS), "a row is a line"
        assert all(len(line.rstrip()) <= (width or 1000) for line in lines)
        for line, value, name in zip(lines[1:], ("-1.53076e+06", "7199005.123", "SAFE"), NAMES, strict=True):
            assert f" {value} " in line
            assert name[-6:] in line, "of a name the end is kept"
        assert "high critical, stale" in lines[1]


def test_a_wide_terminal_shows_all() -> None:
    """Nothing is left out where there is room, nor in a pipe."""
    for width in (200, None):
        lines = drawn(params._latest_table(ROWS, width), width)
        assert lines[0].split() == ["parameter", "value", "unit", "state", "age", "time", "position"]
        assert NAMES[0] in lines[1]
        assert lines[1].rstrip().endswith("7203")


def test_history_in_a_narrow_terminal() -> None:
    """Time, value and state come before position and source; decimals are those of the database."""
    row = {**latest(NAMES[0], 21.5), "data_mode": "real_time", "raw": 2048}
    lines = drawn(params._history_table([row], True, 2, True, 70), 70)
    assert "2021-04-09T01:59:59.005260" in lines[1]
    assert " 21.50 " in lines[1]
    assert " 2048 " in lines[1]
    assert "source" not in lines[0]


@pytest.mark.parametrize(
    ("value", "decimals", "shown"),
    [
        (21.456, 2, "21.46"), (21.456, None, "21.456"), (7, 2, "7"), (None, 2, "-"), (1e300, 3, "1e+300"),
        ([1.0, 2.5], 1, "1.0 2.5"), ("00" * 500, None, "0" * 40 + "\u2026"),
        (18446744073709551615, None, "18446744073709551615"),
    ],
)  # fmt: skip
def test_values_for_people(value: Any, decimals: int | None, shown: str) -> None:
    """Decimals are as the database says, whole numbers are whole, an image is not poured out."""
    assert params.value_text(value, decimals) == shown


class Answers:
    """A gateway that tells one range of values, as `gateway.console.params.Place`."""

    mdb = None

    def __init__(self, buckets: list[dict[str, Any]], kind: str = "float") -> None:
        self.buckets, self.kind = buckets, kind

    def time(self, text: str) -> str:
        return text

    def get(self, path: str, **_: Any) -> dict[str, Any]:
        assert path == "/parameters/buckets"
        about = {"parameter": NAMES[0], "unit": "m", "spacecraft": "jpss-1", "database": "3f1c" * 16}
        about |= {"labels": [], "kind": self.kind}
        return {**about, "buckets": self.buckets}


@pytest.mark.parametrize("width", [200, 80, 50, 49, 40, 30, 24])
@pytest.mark.parametrize("samples", [0, 1, 60])
def test_a_plot_fits_its_terminal(width: int, samples: int) -> None:
    """No line of a plot is longer than the terminal, however narrow it is: a broken line breaks the picture."""
    begin, end = "2021-04-09T00:00:00Z", "2021-04-09T01:00:00Z"
    buckets = [
        {
            "from_utc": f"2021-04-09T00:{k:02}:00Z",
            "min": -7e6 - k,
            "max": 7e6,
            "mean": 1e3 * k,
            "limit": "ok",
            "count": 3,
        }
        for k in range(samples)
    ]
    options = params_plot.PlotOptions("ADGPSPOSX", begin, end, None, None, 1200, 500, False, False)
    console = Console(width=width, height=20, color_system=None)
    with console.capture() as capture:
        console.print(params_plot._in_terminal(cast(Any, Answers(buckets)), options, console))
    lines = capture.get().splitlines()
    assert all(len(line.rstrip()) <= width for line in lines)
    if not samples:
        assert lines[1].rstrip() == "no numbers in this range"
        return
    assert sum("\u2524" in line for line in lines) == 15, "each row of the picture is one line"
    assert any("2021-04-09 00:00:00" in line for line in lines[-2:])
    assert lines[-1].rstrip().endswith("2021-04-09 01:00:00")


def test_options_of_history_alone_are_refused() -> None:
    """An option that would do nothing is told."""
    for options in (["--mdb", "abcd"], ["--raw"], ["-n", "3"], ["--order", "journal"], ["--to", "-1h"]):
        result = CliRunner().invoke(app, ["params", "get", "T1", *options])
        assert result.exit_code == 2
        assert "--from" in result.output


def test_two_forms_at_once_are_refused() -> None:
    """JSON and CSV at once is told, and not decided in silence."""
    for command in (["get", "T1"], ["list"], ["get", "T1", "--from", "-1h"]):
        result = CliRunner().invoke(app, ["params", *command, "--json", "--csv"])
        assert result.exit_code == 2
        assert "say one of them" in result.output


def test_the_size_of_no_picture_is_refused() -> None:
    """A size that would do nothing is told."""
    for options in (["--width", "400"], ["--height", "400"]):
        result = CliRunner().invoke(app, ["params", "plot", "T1", *options])
        assert result.exit_code == 2
        assert "--svg or --png" in result.output


@pytest.mark.parametrize(
    ("seconds", "label"),
    [(3_600, r"\d\d:\d\d:\d\d"), (10 * 86_400, r"04-\d\d \d\d:\d\d"), (9 * 10**8, r"20\d\d-\d\d-\d\d")],
)
def test_a_plot_of_times_has_an_axis_in_utc(seconds: int, label: str) -> None:
    """An on-board time is plotted as a time, not as 2 10^18 nanoseconds; in a picture too."""
    first = parse_utc("2021-04-09T00:10:00Z")
    buckets = [
        {"from_utc": f"2021-04-09T00:{k:02}:00Z", "limit": "ok", "count": 1}
        | dict.fromkeys(("min", "max", "mean"), float(first + k * seconds * SECOND_NS / 40))
        for k in range(40)
    ]
    options = params_plot.PlotOptions(
        "T", "2021-04-09T00:00:00Z", "2021-04-09T01:00:00Z", None, None, 1200, 500, False, False
    )
    place, console = Answers(buckets, "absolute_time"), Console(width=100, height=20, color_system=None)
    with console.capture() as capture:
        console.print(params_plot._in_terminal(cast(Any, place), options, console))
    lines = [line for line in capture.get().splitlines() if "\u2524" in line]
    labels = [found for line in lines if (found := line.partition("\u2524")[0].strip())]
    assert labels
    assert all(re.fullmatch(label, one) for one in labels)
    picture = params_plot.svg(params_plot._curve(cast(Any, place), options, 500), 1200, 500)
    assert re.search(f'text-anchor="end">{label}</text>', picture)
    assert "e+18" not in picture


EVIL = "\x1b[2J\x1b]0;owned\x07\x9b31m[bold]b\u202e"


def test_what_a_database_says_does_nothing_to_a_terminal() -> None:
    """Names, units, labels and descriptions come from untrusted files: shown, not obeyed."""
    row = {
        **latest("/X/" + EVIL, EVIL),
        "unit": EVIL,
        "description": EVIL,
        "kind": EVIL,
        "data_mode": EVIL,
        "raw": EVIL,
    }
    console = Terminal(width=300, force_terminal=True)
    with console.capture() as capture:
        console.print(params._latest_table([row], 300))
        console.print(params._list_table([{**row, "latest": row}], 300))
        console.print(params._history_table([row], True, 2, True, 300))
        console.print(tables.values([row]))
    shown = re.sub("\x1b\\[[0-9;]*m", "", capture.get())  # rich's own colours
    assert all(one.isprintable() or one in "\n " for one in shown)
    assert shown.count("owned\N{REPLACEMENT CHARACTER}") >= 8
    assert "[bo" in shown


def test_one_parameter_is_no_plural() -> None:
    """One parameter, two parameters."""
    assert [tables.many(k, "parameter") for k in (0, 1, 1000)] == ["0 parameters", "1 parameter", "1,000 parameters"]


class Newest:
    """A gateway whose database was changed: it knows T2 no more, and has newest values of the new one."""

    mdb: str | None = "old"

    def get(self, path: str, parameter: Any = None, **_: Any) -> Any:
        """Return parameters of the old database, and newest values of the new."""
        if path == "/parameters":
            rows: list[dict[str, Any]] = [
                {"parameter": one, "unit": "V", "decimals": None, "kind": "float", "aliases": []} for one in "TU"
            ]
            return {"database": self.mdb or "new", "total": 2, "parameters": [dict(r, description="") for r in rows]}
        assert self.mdb is None or parameter is None, "a name of an old database need not be in the new"
        return [{**latest("T", 1.5), "database": "new"}]


@pytest.mark.parametrize("mdb", ["old", "new", None])
def test_a_list_of_an_old_database_has_no_values_of_a_new_one(
    mdb: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was renamed since is listed; a newest value stands beside the unit of its own database only."""
    place = Newest()
    place.mdb = mdb
    params.list_parameters(cast(Any, place), "", 200, as_json=False, as_csv=False)
    shown = capsys.readouterr().out
    assert "2 parameters" in shown
    assert ("1.5" in shown) == (mdb != "old")


def test_watching_in_a_pipe_prints_each_look_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe every look is printed, with all its lines, and the last line ends."""

    class Many:
        def get(self, path: str, **_: Any) -> Any:
            return [latest(f"/S/P{k}", k) for k in range(60)]

    params.watch(cast(Any, Many()), [], 0.0, 2, as_json=False)
    shown = capsys.readouterr().out
    assert shown.count("/S/P59 ") == 2
    assert shown.endswith("\n")


def test_watching_says_what_a_terminal_has_no_lines_for() -> None:
    """Values without a line are told by their number, not left out in silence."""
    rows = [latest(f"/S/P{k}", k) for k in range(60)]
    lines = drawn(params._watched(rows, 80, 24), 80)
    assert len(lines) <= 24
    assert lines[-1].startswith("38 more")
    assert "more" not in "".join(drawn(params._watched(rows[:20], 80, 24), 80))
