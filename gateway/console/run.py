"""`gateway run` and `gateway check`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import typer

from gateway.errors import UsageError
from gateway_config import Configuration, MqttSettings, load, schemas
from gateway_config.differences import revision


def run_gateway(
    config: Path, data_dir: Path | None, port: int | None, log_json: bool, access: str | None = None
) -> None:
    """Run until a signal."""
    found = load(config)
    configuration = _with_access(found, access)

    from gateway import daemon  # late: what is wrong in a configuration is told without the server
    from gateway.blocking import run_blocking
    from gateway.patient_log import set_up_logging
    from gateway.service import Gateway

    set_up_logging(log_json)
    service = Gateway(configuration, data_dir)
    service.reloader.follow(found, lambda after: _with_access(after, access))
    api = configuration.gateway.api
    bound = api.port if port is None else port

    def ready(real_port: int) -> None:
        url = f"http://{_address(api.host, real_port)}"
        typer.echo(f"gateway ready: {url}  (API documentation at /docs, Ctrl-C to stop)")
        sys.stdout.flush()

    run_blocking(daemon.run(service, api.host, bound, ready))


def _with_access(configuration: Configuration, access: str | None) -> Configuration:
    """Return a configuration with another api.access. Raises UsageError for one that is not for loopback alone."""
    api = configuration.gateway.api
    if access is None or access == api.access:
        return configuration
    if access == "open" and api.expose:
        raise UsageError("--access open is for loopback alone, and api.expose is set", "leave one of them out")
    changed = api.model_copy(update={"access": access})
    return replace(configuration, gateway=configuration.gateway.model_copy(update={"api": changed}))


def check_configuration(directory: Path, schema: bool, as_json: bool = False) -> None:
    """Check a directory, or print the schemas."""
    if schema:
        typer.echo(json.dumps(schemas(), indent=2))
        return
    from gateway.console import contract  # late: a start needs none of it

    found = load(directory)
    reckoned = contract.reckon(found)
    for warning in [*found.warnings, *reckoned.warnings]:
        typer.secho(f"warning: {warning}", fg="yellow", err=True)
    _check_databases(found)
    if as_json:
        warnings = [asdict(warning) for warning in [*found.warnings, *reckoned.warnings]]
        about = {"revision": revision(found), "warnings": warnings, "contract": reckoned.as_json()}
        typer.echo(json.dumps(about, indent=2))
        return
    if any(home.quotas.backlog_days or home.quotas.rate_limit_bps for home in found.homes.values()):
        contract.show(reckoned)
    typer.echo(
        f"{directory}: well. {_counted(found)}; "
        f"API on {_address(found.gateway.api.host, found.gateway.api.port)}, {_mqtt(found.gateway.mqtt)}"
        f"data in {found.data_dir}"
    )


def _counted(found: Configuration) -> str:
    """Return how much of what is configured."""
    from gateway.console.tables import many

    counts = ((len(found.missions), "mission"), (len(found.links), "link"), (len(found.homes), "home base"))
    return ", ".join(many(count, what) for count, what in counts)


def _check_databases(found: Configuration) -> None:
    """Read every mission database; one that cannot be used is an error, what is wrong in it a warning."""
    problems = []
    for mission in found.missions.values():
        for craft in mission.spacecraft:
            keys = craft.database
            if keys is None or not (found.directory / keys.file).exists():
                continue  # a file that is not there yet is a warning of the configuration
            from gateway.databases import load_database  # late: most configurations have no database
            from gateway_codecs.mdb.check import check
            from gateway_codecs.mdb.report import DatabaseError

            chosen = None if keys.format == "auto" else keys.format
            where = f"missions of {mission.name}: spacecraft {craft.name}, database.file"
            try:
                reading = load_database(found.directory / keys.file, chosen, keys.apid, mib=keys.mib)
            except DatabaseError as error:
                problems.append(f"{where}: {error}" + (f"\n  hint: {error.hint}" if error.hint else ""))
                continue
            except OSError as error:
                problems.append(f"{where}: {error}")
                continue
            told = {one.where for one in reading.remarks}
            found_too = [one for one in check(reading.database) if one.where not in told or not one.where.file]
            if wrong := [one for one in (*reading.remarks, *found_too) if one.kind == "wrong"]:
                text = f"{where}: {len(wrong)} definitions are wrong; `gateway mdb check {keys.file}` tells them"
                typer.secho(f"warning: {text}", fg="yellow", err=True)
    if problems:
        raise UsageError("\n".join(problems))


def _mqtt(keys: MqttSettings) -> str:
    """Where the broker is, if there is one."""
    whose = "MQTT on" if keys.broker == "nats" else "MQTT through the broker at"
    return f"{whose} {_address(keys.host, keys.port)}, " if keys.enabled else ""


def _address(host: str, port: int) -> str:
    """A host and its port as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
