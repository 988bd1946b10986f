"""Plain JSON values to values of the model, each held against the type that the model declares.

What a class of the model says of its fields is the grammar: nothing else is taken, so that whoever gets a value needs
not ask what it is. A mistake is told by its place: `database.types[/X/T].encoding.size_bits: 'x' is no int`.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Literal, TypeAlias, cast

from gateway_codecs.mdb import model
from gateway_codecs.time_codes import TimeCode

TAG, HEX = "$is", "$hex"  # no qualified name begins so
DEPTH_MAX = 200
"""Values within values; conditions of 64 levels, as far as any reader goes, have 140."""
SHOWN_MAX = 60
CLASSES: dict[str, type] = {
    name: kind
    for name, kind in vars(model).items()
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind is not model.Where
} | {"TimeCode": TimeCode}

Read: TypeAlias = Callable[[Any, int], Any]  # (plain value, depth)


class PlainError(ValueError):
    """Why a plain value is none of the model, and where: the innermost key is first in `path`."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why, self.path = why, list[str]()

    def __str__(self) -> str:
        return f"{''.join(reversed(self.path)).lstrip('.')}: {self.why}" if self.path else self.why


def value_of(plain: Any, hint: Any) -> Any:
    """Return the value of the type `hint` that a plain value says. Raises PlainError, RecursionError."""
    return _reading(hint)(plain, 0)


def _no(plain: Any, wanted: str) -> PlainError:
    told = repr(plain) if isinstance(plain, str | int | float | None) else type(plain).__name__
    return PlainError(f"{told[:SHOWN_MAX]} is no {wanted}")


@functools.cache
def _reading(hint: Any) -> Read:
    """Return what reads values of a type."""
    origin = typing.get_origin(hint)
    if origin in {typing.Union, types.UnionType}:
        return _of_union(typing.get_args(hint))
    if origin is Literal:
        return _of_choice(typing.get_args(hint))
    if origin is tuple:
        return _of_tuple(typing.get_args(hint))
    if origin is Mapping:
        return _of_names(_reading(typing.get_args(hint)[1]))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _of_enum(hint)
    return _of_class(hint) if dataclasses.is_dataclass(hint) else _SCALARS[hint]


# ---- scalars ----


def _text(plain: Any, depth: int) -> str:
    if not isinstance(plain, str):
        raise _no(plain, "text")
    if not plain.isascii() and any("\ud800" <= one <= "\udfff" for one in plain):
        raise _no(plain, "text: it has half characters")
    return plain


def _whole(plain: Any, depth: int) -> int:
    if not isinstance(plain, int) or isinstance(plain, bool):
        raise _no(plain, "whole number")
    return plain


def _real(plain: Any, depth: int) -> int | float:
    if not isinstance(plain, int | float) or isinstance(plain, bool):
        raise _no(plain, "number")
    return plain


def _truth(plain: Any, depth: int) -> bool:
    if not isinstance(plain, bool):
        raise _no(plain, "true or false")
    return plain


def _nothing(plain: Any, depth: int) -> None:
    if plain is not None:
        raise _no(plain, "null")


def _octets(plain: Any, depth: int) -> bytes:
    if not isinstance(plain, dict) or list(plain) != [HEX] or not isinstance(plain[HEX], str):
        raise _no(plain, f"octets, {{{HEX!r}: hexadecimal digits}}")
    try:
        return bytes.fromhex(plain[HEX])
    except ValueError:
        raise _no(plain[HEX], "hexadecimal digits") from None


_SCALARS: dict[Any, Read] = {
    str: _text, int: _whole, float: _real, bool: _truth, bytes: _octets, type(None): _nothing,
}  # fmt: skip


# ---- what is made of others ----


def _of_union(hints: tuple[Any, ...]) -> Read:
    by_class = {str(getattr(hint, "__name__", "")): hint for hint in hints if dataclasses.is_dataclass(hint)}
    by_type: dict[Any, Read] = {hint: _SCALARS[hint] for hint in hints if hint in _SCALARS}
    choices = tuple(one for hint in hints if typing.get_origin(hint) is Literal for one in typing.get_args(hint))
    if choices:
        by_type[str] = _of_choice(choices)
    if float in by_type:
        by_type.setdefault(int, _real)
    wanted = " or ".join([*(hint.__name__ for hint in by_type), *by_class]).replace("NoneType", "null")

    def read(plain: Any, depth: int) -> Any:
        if isinstance(plain, dict):
            tag = plain.get(TAG)
            if isinstance(tag, str) and tag in by_class:
                return _reading(cast(Any, by_class[tag]))(plain, depth)
            raise _no(tag if isinstance(tag, str) else plain, wanted)
        one = by_type.get(type(plain))
        if one is None:
            raise _no(plain, wanted)
        return one(plain, depth)

    return read


def _of_choice(choices: tuple[Any, ...]) -> Read:
    def read(plain: Any, depth: int) -> Any:
        if not isinstance(plain, str) or plain not in choices:
            raise _no(plain, f"one of {', '.join(map(str, choices))}")
        return plain

    return read


def _of_enum(hint: type[Enum]) -> Read:
    def read(plain: Any, depth: int) -> Enum:
        if not isinstance(plain, str | int) or isinstance(plain, bool):
            raise _no(plain, hint.__name__)
        try:
            return hint(plain)
        except ValueError:
            raise _no(plain, hint.__name__) from None

    return read


def _of_tuple(hints: tuple[Any, ...]) -> Read:
    endless = len(hints) == 2 and hints[1] is Ellipsis

    def read(plain: Any, depth: int) -> tuple[Any, ...]:
        if not isinstance(plain, list) or not (endless or len(plain) == len(hints)):
            raise _no(plain, "list" if endless else f"list of {len(hints)}")
        if depth > DEPTH_MAX:
            raise PlainError(f"nested deeper than {DEPTH_MAX}")
        found = []
        for index, one in enumerate(plain):
            try:
                found.append(_reading(hints[0 if endless else index])(one, depth + 1))
            except PlainError as error:
                error.path.append(f"[{index}]")
                raise
        return tuple(found)

    return read


def _of_names(read_one: Read) -> Read:
    def read(plain: Any, depth: int) -> dict[str, Any]:
        if not isinstance(plain, dict):
            raise _no(plain, "object")
        found = {}
        for name, one in plain.items():
            try:
                made = found[_text(name, depth)] = read_one(one, depth + 1)
                if made.name != name:
                    raise PlainError(f"its name is {made.name!r}"[:SHOWN_MAX])
            except PlainError as error:
                error.path.append(f"[{name[:SHOWN_MAX]}]")
                raise
        return found

    return read


def _of_class(kind: Any) -> Read:
    name: str = kind.__name__

    @functools.cache  # later: classes hold each other
    def fields() -> dict[str, Read]:
        hints = typing.get_type_hints(kind)
        return {field.name: _reading(hints[field.name]) for field in dataclasses.fields(kind) if field.name != "where"}

    def read(plain: Any, depth: int) -> Any:
        if not isinstance(plain, dict) or plain.get(TAG) != name:
            raise _no(plain, name)
        if depth > DEPTH_MAX:
            raise PlainError(f"nested deeper than {DEPTH_MAX}")
        given, known = {}, fields()
        for key, one in plain.items():
            if key == TAG:
                continue
            if key not in known:
                raise PlainError(f"{name} has no {key[:SHOWN_MAX]!r}")
            try:
                given[key] = known[key](one, depth + 1)
            except PlainError as error:
                error.path.append(f".{key}")
                raise
        try:
            return kind(**given)
        except (TypeError, ValueError) as error:
            raise PlainError(str(error).replace("__init__()", "")) from None

    return read
