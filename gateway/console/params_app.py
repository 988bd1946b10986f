"""`gateway params`: engineering values on the command line; each command's work is imported late."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gateway.console.options import DEFAULT_URL, AsJson, Url, readable_errors
from gateway.errors import UsageError

params_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Engineering values of a running gateway: find parameters, newest values, history, plots.",
    epilog="[bold]gateway params list temp[/bold] finds parameters, [bold]gateway params plot TEMP_1 --from -2h[/bold] "
    "draws two hours. Times are UTC, such as 2026-11-24T10:00:00Z, or before now: -90s, -10m, -2h, -3d.",
)


class HistoryOrder(StrEnum):
    """By what samples are ordered."""

    GENERATION = "generation"
    RECEPTION = "reception"
    JOURNAL = "journal"


Instance = Annotated[str | None, typer.Option(help="Mission instance; default the only one with a database.")]
Craft = Annotated[str | None, typer.Option(help="Spacecraft; default the only one with a database.")]
Mdb = Annotated[str | None, typer.Option(help="Digest of a database that was used before, or its beginning.")]
Name = Annotated[str, typer.Argument(help="Parameter: whole name, its end, or an alias.", show_default=False)]
From = Annotated[str, typer.Option("--from", help="First time, UTC, or before now (-2h).")]
To = Annotated[str, typer.Option("--to", help="Time behind the last, UTC, or before now; `now`.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]


def _refuse_both(as_json: bool, as_csv: bool) -> None:
    if as_json and as_csv:
        raise UsageError("--json and --csv are two forms", "say one of them")


@params_app.command("list")
def params_list(
    words: Annotated[list[str] | None, typer.Argument(help="Words in name, alias or description.")] = None,
    url: Url = DEFAULT_URL,
    instance: Instance = None,
    spacecraft: Craft = None,
    mdb: Mdb = None,
    limit: Annotated[int, typer.Option("-n", min=1, max=10_000, help="How many at most.")] = 200,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List parameters, with the newest value of those that have one."""
    with readable_errors():
        _refuse_both(as_json, as_csv)
        from gateway.console.params import Place, list_parameters

        list_parameters(Place(url, instance, spacecraft, mdb), " ".join(words or []), limit, as_json, as_csv)


@params_app.command("get")
def params_get(
    name: Annotated[list[str], typer.Argument(help="Parameters: whole names, their ends, or aliases.")],
    url: Url = DEFAULT_URL,
    instance: Instance = None,
    spacecraft: Craft = None,
    mdb: Mdb = None,
    from_time: Annotated[
        str | None, typer.Option("--from", help="History from this time on, UTC, or before now (-2h).")
    ] = None,
    to_time: To = "now",
    order: Annotated[HistoryOrder, typer.Option(help="Of history.")] = HistoryOrder.GENERATION,
    raw: Annotated[bool, typer.Option("--raw", help="Raw values of history too; --csv has them anyway.")] = False,
    limit: Annotated[int | None, typer.Option("-n", min=1, help="Samples at most; default all.")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show the newest values of parameters, or with --from their history. Exit 1 when one has no newest value."""
    with readable_errors():
        _refuse_both(as_json, as_csv)
        from gateway.console.params import Place, show_history, show_latest

        place = Place(url, instance, spacecraft, mdb)
        if from_time is None:
            if mdb is not None or to_time != "now" or order is not HistoryOrder.GENERATION or raw or limit is not None:
                raise UsageError(
                    "--mdb, --to, --order, --raw and -n are of history", "say --from too, such as --from -1h"
                )
            raise typer.Exit(show_latest(place, name, as_json, as_csv))
        for number, one in enumerate(name):
            show_history(place, one, from_time, to_time, order.value, raw, limit, as_json, as_csv, head=not number)


@params_app.command("watch")
def params_watch(
    name: Annotated[list[str] | None, typer.Argument(help="Parameters; default all that have a value.")] = None,
    url: Url = DEFAULT_URL,
    instance: Instance = None,
    spacecraft: Craft = None,
    every_s: Annotated[float, typer.Option(min=0.1, max=60, help="How often it is looked.")] = 1.0,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many looks.")] = None,
    as_json: AsJson = False,
) -> None:
    """Watch newest values until Ctrl-C; with --json a line for each that changed."""
    with readable_errors():
        from gateway.console.params import Place, watch

        watch(Place(url, instance, spacecraft), name or [], every_s, count, as_json)


@params_app.command("plot")
def params_plot(
    name: Name,
    url: Url = DEFAULT_URL,
    instance: Instance = None,
    spacecraft: Craft = None,
    mdb: Mdb = None,
    from_time: Annotated[
        str,
        typer.Option("--from", help="First time, UTC, or before now (-2h); default what there is of the last hour."),
    ] = "",
    to_time: To = "now",
    svg: Annotated[Path | None, typer.Option(help="Write a picture (SVG) instead.")] = None,
    png: Annotated[Path | None, typer.Option(help=r"Write a picture (PNG) instead; needs usoc-gateway\[plot].")] = None,
    width: Annotated[
        int | None, typer.Option(min=200, max=8000, help="Of a picture, in pixels; default 1200.", show_default=False)
    ] = None,
    height: Annotated[
        int | None, typer.Option(min=100, max=8000, help="Of a picture, in pixels; default 500.", show_default=False)
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Draw anew each two seconds until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Plot a parameter in the terminal: each column shows lowest and highest, so nothing that stands out is lost."""
    with readable_errors():
        if svg is None and png is None and (width is not None or height is not None):
            raise UsageError("--width and --height are of a picture", "say --svg or --png; a terminal has its own size")
        from gateway.console.params import Place
        from gateway.console.params_plot import PlotOptions, plot

        options = PlotOptions(name, from_time, to_time, svg, png, width or 1200, height or 500, follow, as_json)
        plot(Place(url, instance, spacecraft, mdb), options)


@params_app.command("reload")
def params_reload(
    spacecraft: Annotated[str | None, typer.Argument(help="Spacecraft; default the only one with a database.")] = None,
    url: Url = DEFAULT_URL,
    instance: Instance = None,
    as_json: AsJson = False,
) -> None:
    """Let the gateway read a changed database; one that cannot be used changes nothing."""
    with readable_errors():
        from gateway.console.params import Place, reload_database

        reload_database(Place(url, instance, spacecraft), as_json)
