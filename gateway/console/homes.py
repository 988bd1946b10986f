"""`gateway homes …`: home bases of a running gateway, what they are granted, and their tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.console.options import DEFAULT_URL, AsJson, Url, readable_errors
from gateway.console.playback_app import playback_app, resend, unsubscribe

homes_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Home bases of a running gateway: what they are granted, their tokens, playback requests, sending again.",
    epilog="[bold]gateway homes token laboratory-a --save a.token[/bold] makes a token: its text is shown once. "
    "Who a home base is and what it gets stands in homes/NAME.yaml: docs/homes.md.",
)
homes_app.add_typer(playback_app, name="playback")
homes_app.command("resend")(resend)
homes_app.command("unsubscribe")(unsubscribe)
WHOLE = ("token", "state", "made", "expires", "tokens")
"""Columns that are never broken."""
TokenKind = Annotated[str, typer.Option("--kind", help="home, operator or observer (looks, and sees no data).")]


@homes_app.command("list")
def list_homes(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show the home bases: grants, dates, quotas, how many tokens are valid."""
    with readable_errors():
        rows = _remote(url).get("/homes")
        if as_json:
            typer.echo(json.dumps(rows, indent=2))
            return
        _print(_homes_table(rows), "no home bases: add homes/NAME.yaml" if not rows else "")


@homes_app.command("tokens")
def list_tokens(
    home: Annotated[str | None, typer.Argument(help="Of this home base alone.")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show all tokens, without their secrets, which nobody has."""
    with readable_errors():
        rows = _remote(url).get("/tokens", home=home)
        if as_json:
            typer.echo(json.dumps(rows, indent=2))
            return
        _print(_tokens_table(rows), "no tokens: `gateway homes token NAME` makes one" if not rows else "")


@homes_app.command("token")
def make_token(
    name: Annotated[str, typer.Argument(help="The home base, or who the token is for.", show_default=False)],
    kind: TokenKind = "home",
    expires: Annotated[str | None, typer.Option(help="UTC, such as 2027-06-01T00:00:00Z; without it never.")] = None,
    instance: Annotated[
        list[str] | None, typer.Option(help="For this mission instance alone; may be repeated.")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Write it into this new file instead of showing it.")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Make a token. It is shown once: the gateway keeps a hash alone."""
    with readable_errors():
        if save is not None and save.exists():
            raise FileExistsError(17, "is there already: choose a new file, or remove it", str(save))
        body = {"kind": kind, "name": name, "expires_utc": expires, "instances": instance}
        made = _remote(url).post("/tokens", body)
        text = made.pop("token")
        if save is not None:
            from gateway.access.local import write

            write(save, text)
            made["saved"] = str(save)
        else:
            made["token"] = text
        if as_json:
            typer.echo(json.dumps(made, indent=2))
            return
        until = f", until {made['expires_utc']}" if made["expires_utc"] else ""
        typer.echo(f"token {made['id']} of {kind} {name}{until}:", err=True)
        typer.echo(f"saved in {save}" if save is not None else text)


@homes_app.command("revoke")
def revoke_token(
    token: Annotated[str, typer.Argument(help="Id of the token: `gateway homes tokens`.", show_default=False)],
    url: Url = DEFAULT_URL,
) -> None:
    """End a token; the sessions that showed it end at once."""
    with readable_errors():
        row = _remote(url).delete(f"/tokens/{token}")
        typer.echo(f"token {row['id']} of {row['kind']} {row['name']} is revoked")


@homes_app.command("acl")
def write_acl(
    directory: Annotated[Path, typer.Argument(help="Configuration directory.")] = Path("."),
) -> None:
    """Print the rights of the home files as an access control file of mosquitto, for `mqtt.broker: external`.

    `gateway homes acl my-gateway > acl`, then `acl_file` in mosquitto.conf: the file says what else it takes.
    """
    with readable_errors():
        from gateway.mqtt.mosquitto_acl import mosquitto_acl
        from gateway.real import SystemClock
        from gateway_config import load

        typer.echo(mosquitto_acl(load(directory), SystemClock().tai_ns()), nl=False)


def _remote(url: str) -> Any:
    from gateway.console.remote import Remote

    return Remote(url)


def _print(table: Any, empty: str) -> None:
    from gateway.console.terminal import Terminal

    if empty:
        typer.echo(empty)
        return
    Terminal().print(table)


def _folding_table(title: str, *columns: str) -> Any:
    """Return a table that breaks what is too long for the terminal, and cuts nothing."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in WHOLE)
    return table


def _minute(utc: str) -> str:
    return f"{utc[:16].replace('T', ' ')}Z"


def _homes_table(rows: list[dict[str, Any]]) -> Any:
    table = _folding_table("home bases", "home base", "valid", "granted", "quotas", "tokens")
    for row in rows:
        until = row["valid_until_utc"]
        valid = ("yes" if row["valid"] else "no") + (f", until {_minute(until)}" if until else "")
        granted = "\n".join(grant_in_words(grant) for grant in row["grants"]) or "nothing"
        rate = f", {row['rate_limit_bps']} bit/s" if row["rate_limit_bps"] else ""
        quotas = f"{row['sessions_max']} sessions, {row['subscriptions_max']} subscriptions{rate}"
        table.add_row(f"{row['home']}\n{row['description']}".strip(), valid, granted, quotas, str(row["tokens"]))
    return table


def grant_in_words(grant: dict[str, Any]) -> str:
    """Return a grant, as the API shows it, in a line."""
    from gateway_config.home_models import ALL_MODES  # late: other commands need no models

    items, modes = grant["items"], grant["modes"]
    parts = [f"{key} {', '.join(map(str, items[key]))}" for key in sorted(items) if key != "bad_quality"]
    parts += ["rejected units too"] if items.get("bad_quality") else []
    parts += [f"parameters {', '.join(grant['parameters'])}"] if grant["parameters"] else []
    parts += ["replays too"] if grant["replays"] else []
    parts += [] if set(modes) == set(ALL_MODES) else [f"by {', '.join(modes)} alone"]
    return f"{grant['mission']} ({', '.join(grant['support_modes'])}): " + "; ".join(parts)


def _tokens_table(rows: list[dict[str, Any]]) -> Any:
    table = _folding_table("tokens", "token", "of", "state", "made", "expires", "instances")
    for row in rows:
        where = ", ".join(row["instances"]) if row["instances"] is not None else "all"
        made, ends = _minute(row["created_utc"]), _minute(row["expires_utc"]) if row["expires_utc"] else "never"
        table.add_row(row["id"], f"{row['kind']} {row['name']}", row["state"], made, ends, where)
    return table
