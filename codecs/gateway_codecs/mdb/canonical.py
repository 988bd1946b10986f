"""One text for one database: canonical JSON, its SHA-256 as the version, and the way back.

The text is what a gateway keeps of every database it ever decoded with, so that old values can be computed again.
`where` is no part of it: a definition that moved in its file is the same definition.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from enum import Enum
from typing import Any, cast

from gateway_codecs.mdb.model import Database, Where
from gateway_codecs.mdb.plain import HEX, TAG, PlainError, value_of
from gateway_codecs.mdb.report import DatabaseError

FORMAT = "usoc-gateway mission database 1"


def digest(database: Database) -> str:
    """Return the content hash, 64 hex digits: SHA-256 over the canonical text."""
    return hashlib.sha256(to_text(database)).hexdigest()


def to_text(database: Database) -> bytes:
    """Return the canonical text, JSON in UTF-8: keys sorted, fields at their default left out.

    Of the containers with one base the first that holds is a packet's: where they are not in order of their names,
    `order` has them in theirs.
    """
    plain = {"format": FORMAT, "database": _plain(database)}
    order = [name for names in _siblings(database).values() if names != sorted(names) for name in names]
    plain |= {"order": order} if order else {}
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=True).encode()


def from_text(text: bytes) -> Database:
    """Return the database of a canonical text. Raises DatabaseError when it is none."""
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatabaseError(f"no JSON: {_why(error)}", Where(line=getattr(error, "lineno", 0))) from None
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        told = f"format {plain.get('format')!r}" if isinstance(plain, dict) else type(plain).__name__
        raise DatabaseError(f"no canonical database: {told}, expected an object of format {FORMAT!r}")
    try:
        return _in_order(cast(Database, value_of(plain.get("database"), Database)), plain.get("order", []))
    except (PlainError, RecursionError) as error:
        raise DatabaseError(f"no canonical database: {_why(error)}") from None


def _siblings(database: Database) -> dict[str, list[str]]:
    """Return the containers of each base, the bases by name."""
    found: dict[str, list[str]] = {}
    for name, container in database.containers.items():
        if container.base:
            found.setdefault(container.base, []).append(name)
    return {base: found[base] for base in sorted(found)}


def _in_order(database: Database, order: Any) -> Database:
    """Return a database with some of its containers in an order of their own."""
    if not isinstance(order, list) or not all(isinstance(name, str) for name in order):
        raise PlainError("order is a list of containers")
    if len(set(order)) < len(order) or not database.containers.keys() >= set(order):
        raise PlainError("order names each of some containers once")
    listed = [name for name in database.containers if name not in set(order)] + order if order else database.containers
    return dataclasses.replace(database, containers={name: database.containers[name] for name in listed})


def _why(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else str(error)


def plain(value: Any) -> Any:
    """Return any value of the model as JSON has it: its class as `$is`, without fields at their default."""
    return _plain(value)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        told = {TAG: type(value).__name__}
        for field in _fields(type(value)):
            here = getattr(value, field.name)
            if not _is_default(field, here):
                told[field.name] = _plain(here)
        return told
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return {HEX: value.hex()}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


@functools.cache
def _fields(kind: type) -> tuple[dataclasses.Field[Any], ...]:
    return tuple(field for field in dataclasses.fields(kind) if field.name != "where")


def _is_default(field: dataclasses.Field[Any], value: Any) -> bool:
    default = field.default
    return type(value) is type(default) and value == default
