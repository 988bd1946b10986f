"""`gateway run` and `gateway check`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import typer

from gateway import daemon
from gateway.patient_log import set_up_logging
from gateway.service import Gateway
from gateway_config import MqttSettings, load, schemas


def run_gateway(config: Path, data_dir: Path | None, port: int | None, log_json: bool) -> None:
    """Run until a signal."""
    set_up_logging(log_json)
    configuration = load(config)
    service = Gateway(configuration, data_dir)
    api = configuration.gateway.api
    bound = api.port if port is None else port

    def ready(real_port: int) -> None:
        url = f"http://{_address(api.host, real_port)}"
        typer.echo(f"gateway ready: {url}  (API documentation at /docs, Ctrl-C to stop)")
        sys.stdout.flush()

    daemon.run_blocking(daemon.run(service, api.host, bound, ready))


def check_configuration(directory: Path, schema: bool) -> None:
    """Check a directory, or print the schemas."""
    if schema:
        typer.echo(json.dumps(schemas(), indent=2))
        return
    found = load(directory)
    for warning in found.warnings:
        typer.secho(f"warning: {warning}", fg="yellow", err=True)
    typer.echo(
        f"{directory}: well. {len(found.missions)} missions, {len(found.links)} links, {len(found.homes)} home bases; "
        f"API on {_address(found.gateway.api.host, found.gateway.api.port)}, {_mqtt(found.gateway.mqtt)}"
        f"data in {found.data_dir}"
    )


def _mqtt(keys: MqttSettings) -> str:
    """Where the broker is, if there is one."""
    whose = "MQTT on" if keys.broker == "nats" else "MQTT through the broker at"
    return f"{whose} {_address(keys.host, keys.port)}, " if keys.enabled else ""


def _address(host: str, port: int) -> str:
    """A host and its port as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
