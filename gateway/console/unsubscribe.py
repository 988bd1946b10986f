"""The work of `gateway homes unsubscribe` and `gateway home unsubscribe`: a client of the API like any other."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import typer

from gateway.console.playback import Place
from gateway.console.remote import Remote
from gateway.errors import UsageError
from gateway_config import load_agent


def end_subscription(place: Place, home: str, subscription: str, as_json: bool) -> None:
    """End a subscription, and say what of it was not acknowledged. Raises GatewayError."""
    _end(place.remote, place.path, home, subscription, as_json)


def end_own_subscription(config: Path, subscription: str, as_json: bool) -> None:
    """End a subscription of an agent's home base, by its configuration. Raises ConfigError, GatewayError."""
    settings = load_agent(config)
    if not settings.url.startswith("http"):
        raise UsageError(
            f"{config} has {settings.url}: over MQTT a subscription cannot be ended",
            f"operator: gateway homes unsubscribe {settings.home} {subscription} --instance {settings.instance}",
        )
    token_file = config.parent / settings.token_file if settings.token_file else None
    path = f"/instances/{quote(settings.instance, safe='')}"
    _end(Remote(settings.url, token_file=token_file), path, settings.home, subscription, as_json)
    if subscription in settings.subscriptions:
        typer.echo(f"{config} still names {subscription}: the agent begins it anew when it runs again", err=True)


def _end(remote: Remote, path: str, home: str, subscription: str, as_json: bool) -> None:
    names = "/".join(quote(name, safe="") for name in (home, subscription))
    row = remote.delete(f"{path}/subscriptions/{names}")
    print(json.dumps(row)) if as_json else typer.echo(row["message"])
