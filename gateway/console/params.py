"""The work of `gateway params`: a client of the API like any other."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gateway.console import tables
from gateway.console.harmless import harmless
from gateway.console.remote import Remote
from gateway.console.tables import Column
from gateway.console.terminal import Terminal
from gateway.errors import NotFound, UsageError
from gateway.values import sample_csv
from gateway_codecs.time_scales import SECOND_NS, format_utc, parse_utc

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
PAGE = 5000
PIPE_WIDTH = 10_000
TEXT_SHOWN = 40
NAMES_AT_ONCE = 50
LIST_CSV = ("parameter", "kind", "source", "unit", "description", "aliases", "value", "limit", "time_utc")
LIST_COLUMNS = (
    Column("parameter", shrinks="end"), Column("value", right=True), Column("unit"), Column("state"),
    Column("kind", spare=2), Column("description", spare=1, shrinks="begin"),
)  # fmt: skip
LATEST_COLUMNS = (
    Column("parameter", shrinks="end"), Column("value", right=True), Column("unit"), Column("state"),
    Column("age", right=True, spare=1), Column("time", spare=2), Column("position", right=True, spare=3),
)  # fmt: skip
HISTORY_COLUMNS = (
    Column("time"), Column("value", right=True), Column("unit"), Column("raw", right=True), Column("state"),
    Column("position", right=True, spare=1), Column("source", spare=2),
)  # fmt: skip
Row = dict[str, Any]


@dataclass(slots=True)
class Place:
    """Whose values: a gateway, an instance, a spacecraft, a version of its database."""

    url: str
    instance: str | None
    spacecraft: str | None = None
    mdb: str | None = None
    remote: Remote = field(init=False)

    def __post_init__(self) -> None:
        self.remote = Remote(self.url, timeout_s=120.0)

    def get(self, path: str, **parameters: Any) -> Any:
        """Ask the instance. Raises GatewayError."""
        return self.remote.get(f"/instances/{self.chosen()}{path}", spacecraft=self.spacecraft, **parameters)

    def chosen(self) -> str:
        """Return the instance: the one that is named, or the only one with a database. Raises NotFound, UsageError."""
        if self.instance is None:
            there = [row["instance"] for row in self.remote.instances() if row["values"] is not None]
            if not there:
                raise NotFound("no mission instance has a mission database", "docs/values.md says how to give one")
            if len(there) > 1:
                raise UsageError("which mission instance?", f"say --instance: {', '.join(there)}")
            self.instance = there[0]
        return self.instance

    def time(self, text: str) -> str:
        """Return a time in UTC: as it is, or before the gateway's now. Raises UsageError."""
        ago = re.fullmatch(r"-(\d{1,9}(?:\.\d{1,3})?)([smhd])", text)
        if text != "now" and ago is None:
            try:
                return format_utc(parse_utc(text))
            except ValueError as error:
                raise UsageError(str(error), "or say it before now: -90s, -10m, -2h, -3d") from None
        now_ns = parse_utc(self.remote.now_utc())
        back_s = float(ago[1]) * UNITS_S[ago[2]] if ago is not None else -1.0  # `now` has what came this second
        return format_utc(now_ns - int(back_s * SECOND_NS))


# ---- list, latest, watch ----


def list_parameters(place: Place, words: str, limit: int, as_json: bool, as_csv: bool) -> None:
    """Print parameters and their newest values."""
    found = place.get("/parameters", search=words, mdb=place.mdb, limit=limit)
    newest = {row["parameter"]: row for row in _latest_of(place, found)}
    rows = [{**row, "latest": newest.get(row["parameter"])} for row in found["parameters"]]
    if as_json:
        print(json.dumps({**found, "parameters": rows}, indent=2))
    elif as_csv:
        flat = [{**row, "aliases": " ".join(row["aliases"]), **_of_latest(row["latest"])} for row in rows]
        _print_csv(LIST_CSV, flat)
    else:
        console, width = _console()
        console.print(_list_table(rows, width))
        more = found["total"] - len(rows)
        console.print(tables.many(found["total"], "parameter") + (f", {more} more: -n shows them" if more > 0 else ""))


def _latest_of(place: Place, found: Row) -> list[Row]:
    """Return newest values of the parameters found; none of a database that is not in use: they are of another."""
    names = [row["parameter"] for row in found["parameters"]]
    if place.mdb is not None:  # not each name need be in the database in use
        there = set(names)
        rows = [row for row in place.get("/parameters/latest") if row["parameter"] in there]
    else:
        rows = _latest(place, names)
    return [row for row in rows if row["database"] == found["database"]]


def _of_latest(row: Row | None) -> Row:
    return {key: row[key] for key in ("value", "limit", "time_utc")} if row else {}


def _list_table(rows: Iterable[Row], width: int | None) -> Table:
    cells: list[list[str | Text]] = []
    for row in rows:
        latest = row["latest"]
        value = value_text(latest["value"], row["decimals"]) if latest else ""
        state = _state(latest) if latest else ""
        cells.append([row["parameter"], value, row["unit"], state, row["kind"] or "", row["description"]])
    return tables.fitted(LIST_COLUMNS, cells, width)


def show_latest(place: Place, names: list[str], as_json: bool, as_csv: bool) -> int:
    """Print newest values; return 1 when one of the names has none."""
    rows = _latest(place, names)
    if as_json:
        print(json.dumps(rows, indent=2))
    elif as_csv:
        _print_csv(sample_csv.LATEST_COLUMNS, rows)
    else:
        console, width = _console()
        console.print(_latest_table(rows, width))
    if len(rows) < len(names):
        print(f"{len(names) - len(rows)} of {len(names)} have no live value yet", file=sys.stderr)
    return int(len(rows) < len(names))


def _latest(place: Place, names: list[str]) -> list[Row]:
    """Return newest values, of all for no names; names that are not known are told."""
    if not names:
        return []
    rows: list[Row] = []
    for begin in range(0, len(names), NAMES_AT_ONCE):
        rows += place.get("/parameters/latest", parameter=names[begin : begin + NAMES_AT_ONCE])
    return rows


def _latest_table(rows: Iterable[Row], width: int | None) -> Table:
    cells: list[list[str | Text]] = [
        [
            row["parameter"], value_text(row["value"], row["decimals"]), row["unit"], _state(row),
            tables.age(row["age_s"]), (row["time_utc"] or "")[:23], str(row["position"]),
        ]
        for row in rows
    ]  # fmt: skip
    return tables.fitted(LATEST_COLUMNS, cells, width)


def _console() -> tuple[Terminal, int | None]:
    """Return the console, and the width that tables must fit; in a pipe they are as wide as they are."""
    fits = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Terminal(width=None if fits else PIPE_WIDTH)
    return console, console.width if fits else None


def watch(place: Place, names: list[str], every_s: float, count: int | None, as_json: bool) -> None:
    """Show newest values again and again."""
    if as_json:
        for row in _changes(place, names, every_s, count):
            print(json.dumps(row), flush=True)
        return
    console, width = _console()
    if not sys.stdout.isatty():
        for rows in _looked(place, names, every_s, count):
            console.print(_latest_table(rows, width))
            sys.stdout.flush()
        return
    with Live(console=console, auto_refresh=False, screen=True) as live:
        for rows in _looked(place, names, every_s, count):
            live.update(_watched(rows, console.width, console.height), refresh=True)


def _watched(rows: list[Row], width: int, height: int) -> Group:
    """Return as many values as a terminal has lines, and how many it has no lines for."""
    room = max(1, height - 2)
    left = len(rows) - room
    below = [Text(f"{left} more: a taller window shows them, or name those to watch", style="dim")] if left > 0 else []
    return Group(_latest_table(rows[:room], width), *below)


def _looked(place: Place, names: list[str], every_s: float, count: int | None) -> Iterator[list[Row]]:
    """Yield the newest values, look for look."""
    for _ in _looks(every_s, count):
        yield _latest(place, names) if names else place.get("/parameters/latest")


def _changes(place: Place, names: list[str], every_s: float, count: int | None) -> Iterator[Row]:
    seen: dict[tuple[str, str], int] = {}
    for rows in _looked(place, names, every_s, count):
        for row in rows:
            key = (row["spacecraft"], row["parameter"])
            if seen.get(key) != row["position"]:
                seen[key] = row["position"]
                yield row


def _looks(every_s: float, count: int | None) -> Iterator[int]:
    number = 0
    while count is None or number < count:
        if number:
            time.sleep(every_s)
        yield number
        number += 1


# ---- history ----


def show_history(
    place: Place,
    name: str,
    from_time: str,
    to_time: str,
    order: str,
    raw: bool,
    limit: int | None,
    as_json: bool,
    as_csv: bool,
    head: bool = True,
) -> None:
    """Print samples, page by page; JSON is one sample a line, CSV has raw values, and with `head` column names."""
    wish: Row = {"parameter": name, "from": place.time(from_time), "to": place.time(to_time), "order": order}
    wish["raw"] = raw or as_csv
    (console, width), first, left = _console(), True, limit
    for page in _pages(place, wish, limit):
        rows = [{**row, "parameter": page["parameter"], "unit": page["unit"]} for row in page["samples"]][:left]
        left = None if left is None else left - len(rows)
        if as_json:
            print("".join(json.dumps(row) + "\n" for row in rows), end="")
        elif as_csv:
            rows = [{**row, "database": page["database"]} for row in rows]
            _print_csv(sample_csv.SAMPLE_COLUMNS, rows, head=first and head)
        else:
            console.print(_history_table(rows, raw, page["decimals"], first, width))
        if first and page["damaged"]:
            print(f"positions that cannot be read: {page['damaged']}", file=sys.stderr)
        first = False


def _pages(place: Place, wish: Row, limit: int | None) -> Iterator[Row]:
    mdb, after, seen = place.mdb, None, 0
    while True:
        size = PAGE if limit is None else min(PAGE, limit - seen)
        page = place.get("/parameters/history", mdb=mdb, limit=size, after=after, **wish)
        yield page
        mdb, after, seen = page["database"], page["after"], seen + len(page["samples"])
        if after is None or (limit is not None and seen >= limit):
            return


def _history_table(rows: Iterable[Row], raw: bool, decimals: int | None, head: bool, width: int | None) -> Table:
    cells: list[list[str | Text]] = []
    for row in rows:
        also = "".join(f", {one['data_mode'].replace('_', ' ')} {one['position']}" for one in row.get("also", ()))
        source = row["data_mode"].replace("_", " ") + also
        told = [value_text(row["raw"])] if raw else []
        cells.append([
            (row["time_utc"] or "")[:26], value_text(row["value"], decimals), row["unit"], *told, _state(row),
            str(row["position"]), source,
        ])  # fmt: skip
    table = tables.fitted([one for one in HISTORY_COLUMNS if raw or one.title != "raw"], cells, width)
    table.show_header = head
    return table


def reload_database(place: Place, as_json: bool) -> None:
    """Let the gateway read a database anew, and print what it is now."""
    spacecraft = place.spacecraft
    if spacecraft is None:
        spacecraft = place.get("/parameters", limit=1)["spacecraft"]
    row = place.remote.post(f"/instances/{place.chosen()}/databases/{spacecraft}/reload")
    if as_json:
        print(json.dumps(row, indent=2))
    else:
        about = harmless(f"{row['name']} {row['version']}".strip())
        parameters = tables.many(row["parameters"], "parameter")
        print(f"{row['spacecraft']}: {about}, {parameters}, digest {row['digest'][:12]}")


# ---- shown ----


def value_text(value: Any, decimals: int | None = None) -> str:
    """Return a value for people; numbers are whole, long text and octets are not."""
    if isinstance(value, list):
        return " ".join(value_text(one, decimals) for one in value[:8]) + (" ..." if len(value) > 8 else "")
    shown = "-" if value is None else tables.short_value(value, decimals)
    return shown if len(shown) <= TEXT_SHOWN or not isinstance(value, str) else shown[:TEXT_SHOWN] + "\u2026"


def _state(row: Row) -> Text:
    """Return validity, limit and staleness, in the colour of the worst."""
    if row["validity"] != "valid":
        return Text(row["validity"].replace("_", " "), style="magenta")
    stale = ", stale" if row.get("stale") else ""
    return Text(row["limit"] + stale, style=limit_style(row["limit"]) or ("dim" if stale else ""))


def limit_style(limit: str) -> str:
    """Return the colour of a limit state."""
    severity = limit.rpartition(" ")[2]
    return {"ok": "", "watch": "cyan", "warning": "yellow"}.get(severity, "bold red")


def _print_csv(names: tuple[str, ...], rows: Iterable[Row], head: bool = True) -> None:
    """Print rows; what texts say is for programs as it is, for a terminal harmless."""
    if sys.stdout.isatty():
        rows = [{key: harmless(one) if isinstance(one, str) else one for key, one in row.items()} for row in rows]
    head_line = sample_csv.heading(names) if head else ""
    sys.stdout.write(head_line + "".join(sample_csv.line(names, row) for row in rows))
