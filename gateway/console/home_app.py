"""`gateway home`: the agent of a home base on the command line; each command's work is imported late."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gateway.console.options import AsJson, readable_errors

home_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="The agent of a home base: receives into a store, acknowledges only what is stored, serves local tools.",
    epilog="[bold]gateway home init[/bold] writes a commented home.yaml, [bold]gateway home run[/bold] runs it, "
    "[bold]gateway home status[/bold] tells how it is. The page: docs/home-base.md.",
)
Config = Annotated[Path, typer.Option("--config", "-c", help="The agent's configuration.")]
DEFAULT = Path("home.yaml")


class OfTime(StrEnum):
    """Which time a range of time is of."""

    RECEIVE = "receive"
    GENERATION = "generation"


@home_app.command("run")
def home_run(
    config: Config = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="Print the status as lines of JSON.")] = False,
    every_s: Annotated[float, typer.Option("--every", min=1, max=3600, help="Seconds between lines of status.")] = 10,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="End when every stream has ended (replays) and all files are written.")
    ] = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log lines as JSON.")] = False,
) -> None:
    """Receive and serve until Ctrl-C or SIGTERM. On a terminal it shows a live status.

    What is received is stored and forced, and only then acknowledged: kill it, cut it off, fill its disk: it goes on
    where it was.
    """
    with readable_errors():
        from gateway.console.home import RunOptions, run_agent

        raise typer.Exit(run_agent(RunOptions(config, as_json, every_s, until_end, log_json)))


@home_app.command("check")
def home_check(
    config: Annotated[Path, typer.Argument(help="The agent's configuration.")] = DEFAULT,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of the file and exit.")] = False,
) -> None:
    """Check a configuration: every error at once (file, line, key, value, what would be right). Starts nothing."""
    with readable_errors():
        from gateway.console.home import check_agent

        check_agent(config, schema)


@home_app.command("init")
def home_init(
    config: Annotated[Path, typer.Argument(help="The file to write; one that is there is left as it is.")] = DEFAULT,
) -> None:
    """Write a commented configuration to begin with."""
    with readable_errors():
        from gateway.console.home import write_example

        write_example(config)


@home_app.command("status")
def home_status(
    config: Config = DEFAULT,
    store: Annotated[
        Path | None, typer.Option(help="The agent's store, instead of the one that the configuration names.")
    ] = None,
    as_json: AsJson = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show it again and again until Ctrl-C.")] = False,
) -> None:
    """Show how an agent is, from what it writes into its store. Exit 1 when it does not run, or is in trouble."""
    with readable_errors():
        from gateway.console.home import show_status

        raise typer.Exit(show_status(config, store, as_json, follow))


@home_app.command("playback")
def home_playback(
    into: Annotated[Path, typer.Option(help="A folder of its own: what is fetched, and PATH/packets with the files.")],
    from_utc: Annotated[str | None, typer.Option("--from", help="First time, UTC, or before now (-2h).")] = None,
    to_utc: Annotated[str | None, typer.Option("--to", help="Time behind the last, UTC, or before now; `now`.")] = None,
    by: Annotated[OfTime, typer.Option(help="Times of reception at the gateway, or of generation on board.")] = (
        OfTime.RECEIVE
    ),
    from_position: Annotated[int | None, typer.Option(min=0, help="First position, instead of times.")] = None,
    upto_position: Annotated[int | None, typer.Option(min=0, help="Position after the last.")] = None,
    request: Annotated[str | None, typer.Option(help="A request that was asked for, such as playback-7.")] = None,
    spacecraft: Annotated[list[str] | None, typer.Option(help="Only these spacecraft.")] = None,
    vcid: Annotated[list[int] | None, typer.Option("--vc", help="Only these virtual channels.")] = None,
    apid: Annotated[list[int] | None, typer.Option(help="Only these APIDs.")] = None,
    config: Config = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Have a range of the gateway's journal once more, into files by APID and UTC hour; ends when all is there.

    It runs beside the agent and touches nothing of its store. Killed, or cut off: the same command goes on.

    [bold]gateway home playback --from -2h --to -1h --apid 200 --into again[/bold]
    """
    with readable_errors():
        from gateway.console.home_playback import PlaybackOptions, fetch

        selection = {"spacecraft": spacecraft, "vcids": vcid, "apids": apid}
        times, positions = (from_utc, to_utc), (from_position, upto_position)
        options = PlaybackOptions(config, into, request, times, f"{by.value}_time", positions, selection, as_json)
        raise typer.Exit(fetch(options))


@home_app.command("unsubscribe")
def home_unsubscribe(
    subscription: Annotated[str, typer.Argument(help="Its name at the gateway.", show_default=False)],
    config: Config = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """End a subscription of this home base at the gateway: its place there is forgotten, and the quota has room again.

    For one that is not wanted any more: without this the gateway keeps its place, and counts it as late, for ever. What
    is stored here stays. One that is being received is refused: take it out of the configuration, and start the agent
    again, first.

    [bold]gateway home unsubscribe old-display[/bold]
    """
    with readable_errors():
        from gateway.console.unsubscribe import end_own_subscription

        end_own_subscription(config, subscription, as_json)


@home_app.command("unit")
def home_unit(
    config: Config = DEFAULT,
    user: Annotated[str, typer.Option(help="Whose process it is to be; owns the store and the token.")] = "gateway",
) -> None:
    """Print a systemd unit for this configuration: restarts, watchdog, and nothing written but the agent's folders.

    [bold]gateway home unit -c /etc/gateway/home.yaml > /etc/systemd/system/gateway-home.service[/bold]
    """
    with readable_errors():
        from gateway.console.home import print_unit

        print_unit(config, user)
