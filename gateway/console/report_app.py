"""`gateway homes status` and `gateway homes report`; their work is imported late."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.console.options import DEFAULT_URL, AsJson, Url, readable_errors

OneHome = Annotated[str | None, typer.Argument(help="A home base; default all.", show_default=False)]
InstanceOption = Annotated[str | None, typer.Option("--instance", "-i", help="Mission instance; default the only one.")]


def homes_status(url: Url = DEFAULT_URL, instance: InstanceOption = None, as_json: AsJson = False) -> None:
    """Show each home base: sessions, lag, backlog, when it was heard last, drops, digests; the worst first."""
    with readable_errors():
        from gateway.console.report import show_status

        show_status(url, instance, as_json)


def homes_report(
    home: OneHome = None,
    instance: InstanceOption = None,
    contact: Annotated[str | None, typer.Option(help="Of a contact, by its id.")] = None,
    day: Annotated[str | None, typer.Option(help="Of a UTC day, YYYY-MM-DD.")] = None,
    from_utc: Annotated[
        str | None, typer.Option("--from", help="Committed at this time (UTC; or before now, -2h) or later.")
    ] = None,
    to_utc: Annotated[str | None, typer.Option("--to", help="Committed before this time (likewise; now).")] = None,
    first: Annotated[int | None, typer.Option("--first", min=0, help="From this position on.")] = None,
    end: Annotated[int | None, typer.Option("--end", min=0, help="Below this position.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page for a browser or a printer into this file.")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Reconcile a contact, a day or a range: expected, received, delivered, acknowledged, each gap with its reason.

    Without a contact, a day or a range: all that the journal holds.
    """
    with readable_errors():
        from gateway.console.report import ReportOptions, show_report

        show_report(ReportOptions(url, instance, home, contact, day, from_utc, to_utc, first, end, html, as_json))


def mount(homes_app: typer.Typer) -> None:
    """Add the two commands to the group."""
    homes_app.command("status")(homes_status)
    homes_app.command("report")(homes_report)
