"""The work of `gateway homes playback` and `gateway homes resend`: a client of the API like any other."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import typer

from gateway.console import params, tables
from gateway.console.remote import Remote
from gateway.console.tables import Column
from gateway.console.terminal import Terminal
from gateway.errors import NotFound, UsageError

COLUMNS = (
    Column("request"), Column("home", shrinks="end"), Column("state"), Column("progress", right=True),
    Column("items", right=True), Column("missing", right=True, spare=2), Column("range", spare=1),
    Column("asked by", spare=3), Column("reason", spare=4, shrinks="begin"),
)  # fmt: skip
Row = dict[str, Any]


@dataclass(slots=True)
class Place:
    """Whose playbacks: a gateway and one of its mission instances."""

    url: str
    instance: str | None
    remote: Remote = field(init=False)

    def __post_init__(self) -> None:
        self.remote = Remote(self.url, timeout_s=600.0)  # a range of time is looked for in the whole journal

    @property
    def path(self) -> str:
        """The instance's part of addresses. Raises NotFound, UsageError."""
        if self.instance is None:
            there = [row["instance"] for row in self.remote.instances()]
            if not there:
                raise NotFound("the gateway has no mission instance")
            if len(there) > 1:
                raise UsageError("which mission instance?", f"say --instance: {', '.join(there)}")
            self.instance = there[0]
        return f"/instances/{quote(self.instance, safe='')}"

    def time(self, text: str) -> str:
        """Return a time in UTC. Raises UsageError."""
        return params.Place(self.url, self.instance).time(text)


@dataclass(frozen=True, slots=True)
class Range:
    """A range of times or of positions, as it was given."""

    from_utc: str | None
    to_utc: str | None
    by: str
    from_position: int | None
    upto_position: int | None

    def body(self, place: Place) -> Row:
        """Return it as the API takes it. Raises UsageError."""
        times = {"from_utc": self.from_utc, "to_utc": self.to_utc}
        positions = {"from_position": self.from_position, "upto_position": self.upto_position}
        given = [pair for pair in (times, positions) if any(end is not None for end in pair.values())]
        if len(given) != 1 or None in given[0].values():
            hint = "--from and --to, or --from-position and --upto-position"
            raise UsageError("a range has two ends, either times or positions", hint)
        if given[0] is positions:
            return positions
        return {**{key: place.time(str(text)) for key, text in times.items()}, "by": f"{self.by}_time"}


def ask_playback(place: Place, home: str, span: Range, selection: Row, as_json: bool) -> None:
    """Ask, and say how it is fetched. Raises GatewayError."""
    chosen = {key: value for key, value in selection.items() if value}
    row = place.remote.post(f"{place.path}/playbacks", {"home": home, "selection": chosen, **span.body(place)})
    if as_json:
        print(json.dumps(row))
        return
    typer.echo(f"{row['playback']} is {row['state']}: {_range(row)}, from positions "
               f"{row['first_position']}..{row['end_position']} of {row['instance']}")  # fmt: skip
    typer.echo(f"  fetch it: gateway subscribe {row['instance']} --home {home} --mode playback "
               f"--subscription {row['playback']} --store DIR")  # fmt: skip
    typer.echo(f"  or beside its agent: gateway home playback --request {row['playback']} --into DIR")


def list_playbacks(place: Place, home: str | None, as_json: bool) -> None:
    """Show the requests. Raises GatewayError."""
    rows = place.remote.get(f"{place.path}/playbacks", home=home)
    if as_json:
        print(json.dumps(rows))
    elif rows:
        fits = sys.stdout.isatty() or "COLUMNS" in os.environ
        console = Terminal(width=None if fits else params.PIPE_WIDTH)
        console.print(playback_table(rows, console.width if fits else None))
    else:
        typer.echo("no playback requests")


def playback_table(rows: list[Row], width: int | None) -> Any:
    """Return the table of playback requests, of at most `width` characters."""
    return tables.fitted(COLUMNS, [_cells(row) for row in rows], width)


def _cells(row: Row) -> list[str]:
    missing = str(row["missing_positions"]) if row["missing_positions"] else ""
    state = f"{row['state']}, receiving" if row["receiving"] else row["state"]
    return [
        row["playback"], row["home"], state, f"{row['progress']:.0%}", str(row["items"]), missing, _range(row),
        row["asked_by"], row["reason"],
    ]  # fmt: skip


def _range(row: Row) -> str:
    span = row["range"]
    if span["by"] == "positions":
        return f"positions {span['first']}..{span['end']}"
    ends = " to ".join(str(end)[:19] + "Z" for end in (span["first"], span["end"]))
    return f"{'generated' if span['by'] == 'generation_time' else 'received'} {ends}"


def cancel_playback(place: Place, playback: str, as_json: bool) -> None:
    """Cancel one. Raises GatewayError."""
    row = place.remote.post(f"{place.path}/playbacks/{quote(playback, safe='')}/cancel")
    print(json.dumps(row)) if as_json else typer.echo(f"{row['playback']} is {row['state']}: {row['reason']}")


def order_resend(place: Place, home: str, subscription: str, span: Range, as_json: bool) -> None:
    """Order a range to be sent again. Raises GatewayError."""
    names = "/".join(quote(name, safe="") for name in (home, subscription))
    row = place.remote.post(f"{place.path}/subscriptions/{names}/resend", span.body(place))
    print(json.dumps(row)) if as_json else typer.echo(row["message"])
