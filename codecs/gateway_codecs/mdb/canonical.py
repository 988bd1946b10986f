"""One text for one database: canonical JSON, its SHA-256 as the version, and the way back.

The text is what a gateway keeps of every database it ever decoded with, so that old values can be computed again.
`where` is no part of it: a definition that moved in its file is the same definition.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any, cast

from gateway_codecs.mdb import model
from gateway_codecs.mdb.model import Database
from gateway_codecs.mdb.report import DatabaseError
from gateway_codecs.time_codes import TimeCode

FORMAT = "usoc-gateway mission database 1"
TAG, HEX = "$is", "$hex"  # no qualified name begins so
_CLASSES = {
    name: kind
    for name, kind in vars(model).items()
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind is not model.Where
} | {"TimeCode": TimeCode}


def digest(database: Database) -> str:
    """Return the content hash, 64 hex digits: SHA-256 over the canonical text."""
    return hashlib.sha256(to_text(database)).hexdigest()


def to_text(database: Database) -> bytes:
    """Return the canonical text, JSON in UTF-8: keys sorted, fields at their default left out."""
    plain = {"format": FORMAT, "database": _plain(database)}
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=True).encode()


def from_text(text: bytes) -> Database:
    """Return the database of a canonical text. Raises DatabaseError when it is none."""
    try:
        plain = json.loads(text)
        if plain["format"] != FORMAT:
            raise DatabaseError(f"format {plain['format']!r}, expected {FORMAT!r}")
        return cast(Database, _value(plain["database"]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, DatabaseError):
            raise
        raise DatabaseError(f"no canonical database: {error!r}") from None


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


def _value(plain: Any) -> Any:
    if isinstance(plain, list):
        return tuple(_value(one) for one in plain)
    if not isinstance(plain, dict):
        return plain
    if HEX in plain:
        return bytes.fromhex(plain[HEX])
    if TAG not in plain:
        return {key: _value(one) for key, one in plain.items()}
    kind = _CLASSES[plain[TAG]]
    enums = _enums(kind)
    given = {key: _value(one) for key, one in plain.items() if key != TAG}
    return kind(**{key: enums[key](one) if key in enums else one for key, one in given.items()})


@functools.cache
def _enums(kind: type) -> dict[str, type[Enum]]:
    hints = typing.get_type_hints(kind)
    return {name: hint for name, hint in hints.items() if _is_enum(hint)}


def _is_enum(hint: Any) -> bool:
    return isinstance(hint, type) and not isinstance(hint, types.GenericAlias) and issubclass(hint, Enum)
