"""`gateway home`: the agent of a home base on the command line; each command's work is imported late."""

from __future__ import annotations

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
