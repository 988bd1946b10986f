"""`gateway diff` and `gateway reload`: what a new configuration changes, and letting a running gateway apply it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from gateway.console.remote import Remote
from gateway.errors import GatewayError, UsageError
from gateway_config import Configuration, load
from gateway_config.differences import Effect, as_rows, difference, of_contents

SAME, DIFFERENT, TROUBLE, RESTART = 0, 1, 2, 3
RELOAD_S = 60.0
COLOURS = {"added": "green", "removed": "red", "restarted": "yellow", "changed": "cyan", "needs a restart": "magenta"}


def compare(directory: Path, url: str, old: Path | None, as_json: bool) -> int:
    """Print what a configuration changes; return SAME, DIFFERENT or RESTART. Raises ConfigError, UsageError."""
    after = load(directory)
    before = load(old) if old is not None else _in_use(url)
    found = difference(before, after)
    rows = as_rows(found)
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        whose = str(old) if old is not None else f"the gateway at {url}"
        typer.echo(f"{whose}: {found.before} -> {directory}: {found.after}")
        _show(rows)
        _advise(rows, old is None)
    if found.refused:
        return RESTART
    return DIFFERENT if found.changes else SAME


def _in_use(url: str) -> Configuration:
    """Return the configuration of a running gateway. Raises UsageError."""
    try:
        told = Remote(url).get("/configuration")
        return of_contents(told, Path(told["directory"]))
    except GatewayError as error:
        raise UsageError(str(error), error.hint or "compare with a directory: --config OLD") from None
    except (KeyError, TypeError, ValueError) as error:
        hint = "it may be another version; compare with a directory: --config OLD"
        raise UsageError(f"{url} tells a configuration that is not known here: {error}", hint) from None


def reload(url: str, as_json: bool) -> None:
    """Let a running gateway reload, and print what it changed. Raises GatewayError: nothing changed."""
    report = Remote(url, timeout_s=RELOAD_S).post("/reload")
    if as_json:
        print(json.dumps(report, indent=2))
        return
    for warning in report["warnings"]:
        typer.secho(f"warning: {warning}", fg="yellow", err=True)
    if not report["applied"]:
        typer.echo(f"configuration {report['after']}: nothing to change")
        return
    typer.echo(f"configuration {report['before']} -> {report['after']}, in {report['took_s']:.2f} s")
    _show(report)
    typer.echo(f"{report['sessions_ended']} sessions were told to subscribe again, or ended")


def _show(rows: Mapping[str, Any]) -> None:
    """Print the changes, one block for each, then what is untouched in one line."""
    for row in rows["changes"]:
        head = typer.style(f"{row['effect']:<16}", fg=COLOURS[row["effect"]])
        typer.echo(f"{head}{row['what']} {row['name']}")
        for sign, lines in (("  ", row["why"]), ("+ ", row.get("gained", [])), ("- ", row.get("lost", []))):
            for line in lines:
                typer.echo(f"{'':<16}  {sign}{line}")
    names = [f"{row['what']} {row['name']}" for row in rows["untouched"]]
    if names:
        typer.echo(f"{Effect.UNTOUCHED.value:<16}{', '.join(names)}")


def _advise(rows: Mapping[str, Any], running: bool) -> None:
    if not rows["changes"]:
        typer.echo("no change")
    elif any(row["effect"] == Effect.NEEDS_RESTART.value for row in rows["changes"]):
        typer.echo("a reload refuses this: it needs a restart")
    elif running:
        typer.echo("`gateway reload` applies it, or SIGHUP")
