"""`gateway homes report` and `gateway homes status`: what the API tells, as text, JSON or a page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import typer

from gateway.console import params, report_tables, tables
from gateway.console.remote import Remote
from gateway.console.terminal import Terminal
from gateway.errors import UsageError

REPORT_S = 3600.0
"""A report of a long range takes its time; Ctrl-C gives it up, on both sides."""


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """The options of `report`."""

    url: str
    instance: str | None
    home: str | None
    contact: str | None
    day: str | None
    from_utc: str | None
    to_utc: str | None
    first: int | None
    end: int | None
    html: Path | None
    as_json: bool

    def asked(self) -> dict[str, Any]:
        """Return the parameters of the request; times before now are told in UTC. Raises GatewayError."""
        names = ("contact", "day", "first", "end")
        place = params.Place(self.url, self.instance)
        times = {"from_utc": self.from_utc, "to_utc": self.to_utc}
        said = {name: None if text is None else place.time(text) for name, text in times.items()}
        return {**{name: getattr(self, name) for name in names}, **said}


def show_report(options: ReportOptions) -> None:
    """Ask for a report and show it. Raises GatewayError, OSError."""
    with Remote(options.url, timeout_s=REPORT_S) as remote:
        instance = _instance(remote, options.instance)
        of = "" if options.home is None else f"/homes/{quote(options.home, safe='')}"
        report = remote.get(f"/instances/{instance}{of}/reports", **options.asked())
    if options.home is not None and not report["homes"]:
        raise UsageError(f"{options.home!r} has no subscription in {instance}", "`gateway homes status` lists them")
    if options.html is not None:
        from gateway.console.report_page import page

        options.html.write_text(page(report), encoding="utf-8")
        typer.echo(f"{options.html} is written", err=True)
    if options.as_json:
        typer.echo(json.dumps(report, indent=2))
    elif options.html is None:
        Terminal().print(report_tables.report(report))


def show_status(url: str, instance: str | None, as_json: bool) -> None:
    """Show each home base of each instance, or of one. Raises GatewayError."""
    with Remote(url) as remote:
        state = remote.get("/status")
    if instance is not None and instance not in (names := [one["instance"] for one in state["instances"]]):
        raise UsageError(f"there is no mission instance {instance!r}", f"it has {', '.join(names)}")
    chosen = [one for one in state["instances"] if instance in (None, one["instance"])]
    if as_json:
        typer.echo(json.dumps({one["instance"]: one["homes"] for one in chosen}, indent=2))
        return
    for one in chosen:
        Terminal().print(report_tables.homes(one["instance"], one["homes"]), *tables.beside_subscriptions(one))


def _instance(remote: Remote, instance: str | None) -> str:
    """Return the instance asked for, or the only one. Raises UsageError."""
    if instance is not None:
        return instance
    names = [one["instance"] for one in remote.instances()]
    if len(names) != 1:
        raise UsageError(f"which mission instance? there are {len(names)}", f"--instance {' or '.join(names)}")
    return str(names[0])
