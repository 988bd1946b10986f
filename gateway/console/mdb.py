"""`gateway mdb`: look into mission databases of any format, check them, compare them, convert them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from gateway.console import mdb_pictures as pictures
from gateway.console.harmless import harmless
from gateway.console.tables import many
from gateway.console.terminal import Terminal
from gateway.databases import Format, load_database
from gateway.errors import GatewayError, UsageError
from gateway_codecs.mdb import canonical, words
from gateway_codecs.mdb.check import check
from gateway_codecs.mdb.diff import Difference, diff
from gateway_codecs.mdb.model import Database
from gateway_codecs.mdb.report import DatabaseError, Reading, Remark

if TYPE_CHECKING:
    from gateway_config import MibSettings

STANDARD_OUTPUT = "-"
REMARKS_SHOWN = 200
PIPE_WIDTH = 160
WRITTEN = {".yaml": "yaml", ".yml": "yaml", ".json": "canonical"}


@dataclass(frozen=True, slots=True)
class Source:
    """A database as the command line names it."""

    path: Path
    database_format: str | None = None
    apid: int | None = None
    mib: list[str] | None = None

    def read(self) -> Reading:
        """Read it. Raises DatabaseError, OSError."""
        chosen = None if self.database_format is None else cast(Format, str(self.database_format))
        return load_database(self.path, chosen, self.apid, mib=_mib_settings(self.mib))


def _mib_settings(told: list[str] | None) -> MibSettings | None:
    """Return the keys of `database.mib` that were given as KEY=VALUE. Raises UsageError."""
    if not told:
        return None
    from pydantic import ValidationError

    from gateway_config import MibSettings

    known = ", ".join(MibSettings.model_fields)
    given = dict(one.partition("=")[::2] for one in told)
    for key, value in given.items():
        if key not in MibSettings.model_fields or not value:
            raise UsageError(f"--mib {key}={value}: there is no such key, or it has no value", f"KEY=VALUE of {known}")
    made: dict[str, Any] = {key: int(text) if text.isdecimal() else text for key, text in given.items()}
    try:
        return MibSettings(**made)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"--mib {' '.join(told)}: {first['msg']}", "docs/configuration.md, MibSettings") from None


@contextmanager
def _told(as_json: bool = False) -> Iterator[None]:
    """Print everything that is wrong with a database that cannot be used, and exit with 1."""
    try:
        yield
    except DatabaseError as error:
        every = (error, *error.others)
        if as_json:
            print(json.dumps({"usable": False, "errors": [_error(one) for one in every]}), flush=True)
            raise typer.Exit(1) from None
        for one in every:
            typer.secho(f"error: {one}", fg="red", err=True)
            if one.hint:
                typer.echo(f"  hint: {one.hint}", err=True)
        if len(every) > 1:
            typer.echo(f"{len(every)} errors", err=True)
        raise typer.Exit(1) from None


def _error(one: DatabaseError) -> dict[str, Any]:
    return {"file": one.where.file, "line": one.where.line, "error": one.message, "hint": one.hint}


def _console() -> Terminal:
    """Return the console; in a pipe that says no width (COLUMNS) lines are as long as they are."""
    fits = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Terminal(soft_wrap=not fits, width=None if fits else PIPE_WIDTH)


# ---- check


def check_database(source: Source, as_json: bool) -> int:
    """Read and check; print what is wrong and what was ignored. Returns 1 when something is wrong."""
    with _told(as_json):
        reading = source.read()
    told = {one.where for one in reading.remarks if one.kind == "wrong" and one.where.line}
    remarks = (*reading.remarks, *(one for one in check(reading.database) if one.where not in told))
    wrong = [one for one in remarks if one.kind == "wrong"]
    if as_json:
        print(
            json.dumps(_summary(reading) | {"usable": True, "remarks": [_remark(one) for one in remarks]}), flush=True
        )
        return 1 if wrong else 0
    console = _console()
    ignored = [one for one in remarks if one.kind == "ignored"]
    for kind, rows in (("wrong", wrong), ("ignored", ignored)):
        for one in rows[:REMARKS_SHOWN]:
            console.print(pictures.remark(one), soft_wrap=True)
        if len(rows) > REMARKS_SHOWN:
            console.print(f"  and {len(rows) - REMARKS_SHOWN:,} more {kind}: --json has them all", style="dim")
    console.print(pictures.heading(reading.database))
    console.print(pictures.verdict(len(wrong), len(ignored)))
    return 1 if wrong else 0


def _remark(one: Remark) -> dict[str, Any]:
    return {"kind": one.kind, "file": one.where.file, "line": one.where.line, "what": one.what, "why": one.why}


def _summary(reading: Reading) -> dict[str, Any]:
    database = reading.database
    return {
        "name": database.name,
        "version": database.version,
        "description": database.description,
        "digest": canonical.digest(database),
        "packets": len(pictures.packets(database)),
        "containers": len(database.containers),
        "parameters": len(database.parameters),
        "types": len(database.types),
        "read": dict(reading.counts),
    }


# ---- show and find


def show_database(source: Source, names: list[str], as_json: bool) -> int:
    """Show a whole database, or packets and parameters of it. Returns 1 when a name is not there."""
    with _told(as_json):
        reading = source.read()
    database = reading.database
    if not names:
        return _show_all(reading, as_json)
    found = [(name, *_named(database, name)) for name in names]
    missing = [name for name, packets, parameters in found if not packets and not parameters]
    if as_json:
        told = {
            "packets": [pictures.packet_json(database, one) for _, packets, _ in found for one in packets],
            "parameters": [pictures.parameter_json(database, one) for _, _, parameters in found for one in parameters],
            "missing": missing,
        }
        print(json.dumps(told), flush=True)
    else:
        console = _console()
        for _, packets, parameters in found:
            for one in packets:
                console.print(pictures.packet(database, one))
            for one in parameters:
                console.print(pictures.parameter(database, one))
    for name in missing:
        near = pictures.nearest(database, name)
        hint = (
            f"did you mean {harmless(', '.join(near))}?"
            if near
            else f"gateway mdb find {source.path} TEXT looks for parts of names"
        )
        typer.secho(f"error: {source.path}: there is no packet or parameter {name}", fg="red", err=True)
        typer.echo(f"  hint: {hint}", err=True)
    return 1 if missing else 0


def _show_all(reading: Reading, as_json: bool) -> int:
    database = reading.database
    if as_json:
        told = _summary(reading) | {
            "roots": list(database.roots),
            "packet_tree": [pictures.packet_json(database, name) for name in database.containers],
            "parameter_list": [pictures.parameter_json(database, name) for name in database.parameters],
        }
        print(json.dumps(told), flush=True)
        return 0
    console = _console()
    console.print(pictures.heading(database))
    console.print(pictures.tree(database))
    if reading.remarks:
        console.print(f"{many(len(reading.remarks), 'remark')} of the reader: gateway mdb check", style="dim")
    return 0


def _named(database: Database, name: str) -> tuple[list[str], list[str]]:
    """Return the containers and the parameters that a name means."""
    tail = "/" + name.lstrip("/")
    exact = [name] if name in database.containers else []
    packets = exact or [full for full in database.containers if full.endswith(tail)]
    return packets, database.find_parameter(name)


def find_in_database(source: Source, text: str, limit: int, as_json: bool) -> int:
    """List packets and parameters that have a text in name, alias, description or unit. Returns 1 when none has."""
    with _told(as_json):
        database = source.read().database
    wanted = text.lower()
    packets = [
        name for name, one in database.containers.items() if wanted in name.lower() or wanted in one.description.lower()
    ]
    parameters = [name for name in database.parameters if wanted in _about(database, name).lower()]
    if as_json:
        told = {
            "packets": [pictures.packet_json(database, name) for name in packets],
            "parameters": [pictures.parameter_json(database, name) for name in parameters],
        }
        print(json.dumps(told), flush=True)
    elif packets or parameters:
        _console().print(pictures.found(database, packets[:limit], parameters[:limit], text))
        more = sum(max(0, len(rows) - limit) for rows in (packets, parameters))
        if more:
            typer.echo(f"and {more:,} more: --limit {len(packets) + len(parameters)}")
    else:
        typer.secho(f"nothing in {source.path} has {text!r} in name, alias, description or unit", fg="yellow", err=True)
    return 0 if packets or parameters else 1


def _about(database: Database, name: str) -> str:
    one = database.parameters[name]
    kind = database.types.get(one.type_name)
    return "\n".join((name, *one.aliases, one.description, one.long_description, kind.unit if kind is not None else ""))


# ---- diff


def compare_databases(old: Source, new: Source, as_json: bool) -> int:
    """Print what differs between two databases. Returns 1 when something does."""
    with _told(as_json):
        before, after = old.read().database, new.read().database
    difference = diff(before, after)
    if as_json:
        print(json.dumps(_difference(difference)), flush=True)
    else:
        _console().print(pictures.difference(difference, words.short_names(after)))
    return 1 if difference.changes else 0


def _difference(difference: Difference) -> dict[str, Any]:
    return {
        "old": difference.old_digest,
        "new": difference.new_digest,
        "other_values": list(difference.other_values),
        "changes": [
            {"kind": one.kind, "what": one.what, "name": one.name, "values": one.values, "words": list(one.words)}
            for one in difference.changes
        ],
    }


# ---- convert


def convert_database(source: Source, target: str, force: bool) -> int:
    """Write a database as YAML (or canonical JSON), read it back, and say what the source had besides."""
    path = Path(target)
    form = "yaml" if target == STANDARD_OUTPUT else WRITTEN.get(path.suffix.lower(), "")
    if not form:
        raise UsageError(f"{target}: what form shall that have?", "a name that ends with .yaml or .json, or -")
    if target != STANDARD_OUTPUT and path.exists() and not force:
        raise UsageError(f"{target} is there already", "--force writes over it")
    with _told():
        reading = source.read()
        octets = _written(reading.database, form)
    if target == STANDARD_OUTPUT:
        sys.stdout.write(octets.decode())
        sys.stdout.flush()
    else:
        path.write_bytes(octets)
    database = reading.database
    told = f"{many(len(database.parameters), 'parameter')} in {many(len(pictures.packets(database)), 'packet')}"
    typer.echo(
        f"{'' if target == STANDARD_OUTPUT else f'{target}: '}{told}, version {canonical.digest(database)[:12]}",
        err=True,
    )
    _tell_ignored(source, reading.remarks)
    return 0


def _written(database: Database, form: str) -> bytes:
    """Return the text of a database that is proven to read back as it was."""
    if form == "canonical":
        return canonical.to_text(database)
    from gateway_codecs.mdb.yaml_form import read_yaml, write_yaml

    octets = write_yaml(database).encode()
    if canonical.digest(read_yaml(octets, "what was written").database) != canonical.digest(database):
        raise GatewayError("what was written does not read back as it was: nothing was kept", "please report it")
    return octets


def _tell_ignored(source: Source, remarks: Iterable[Remark]) -> None:
    rows = list(remarks)
    if rows:
        typer.echo(f"{many(len(rows), 'remark')} on what was not read: gateway mdb check {source.path}", err=True)


def print_schema() -> None:
    """Print the JSON Schema of our YAML form."""
    from gateway_codecs.mdb.yaml_form import json_schema

    print(json.dumps(json_schema(), indent=2))
