"""What is read from nodes: numbers, words, lists, keys; refused with line, value and what would be right."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable
from enum import Enum
from typing import TypeVar

from gateway_codecs.mdb.model import NOWHERE, Number, Where
from gateway_codecs.mdb.report import DatabaseError
from gateway_codecs.mdb.yaml_form.nodes import Mapping, Node, Scalar, Sequence, scalar_text

E = TypeVar("E", bound=Enum)
T = TypeVar("T")
U = TypeVar("U")
SHOWN = 60


class Refused(DatabaseError):
    """Something in a line that cannot be; the file is added where it is known."""

    def __init__(self, node: Node | int, message: str, hint: str = "") -> None:
        super().__init__(message, NOWHERE, hint)
        self.line = node if isinstance(node, int) else node.line

    def placed(self, file: str, within: str) -> DatabaseError:
        """Return the error with its place: the file, and the definition in which it stands."""
        return DatabaseError(f"{within}: {self.message}" if within else self.message, Where(file, self.line), self.hint)


def shown(node: Node) -> str:
    """Return a value as a message shows it."""
    if isinstance(node, Scalar):
        text = node.text if isinstance(node.value, str) else scalar_text(node.value)
        return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
    return f"a list of {len(node.items)}" if isinstance(node, Sequence) else f"keys ({', '.join(list(node.items)[:4])})"


def wanted(node: Node, key: str, what: str) -> Refused:
    """Return the error that `key` has another value than `what`."""
    return Refused(node, f"{key} is {shown(node)}", f"{key} is {what}")


def keys(node: Node, what: str, known: Iterable[str]) -> Mapping:
    """Return a mapping all of whose keys are known."""
    if not isinstance(node, Mapping):
        raise Refused(node, f"{what} is {shown(node)}", f"{what} has keys: {', '.join(known)}")
    names = list(known)
    for key in node.items:
        if key not in names:
            near = difflib.get_close_matches(key, names, 1)
            hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(names)}"
            raise Refused(node.lines[key], f"{what} has no key {key[:SHOWN]}", hint)
    return node


def items(node: Node, key: str) -> list[Node]:
    """Return the items of a list."""
    if not isinstance(node, Sequence):
        raise wanted(node, key, "a list")
    return node.items


def text(node: Node, key: str) -> str:
    """Return a text; a number or a word that stands unquoted is the text it is written with."""
    if not isinstance(node, Scalar) or node.value is None:
        raise wanted(node, key, "a text")
    return node.text


def number(node: Node, key: str) -> Number:
    """Return a number as it is written, whole or not; it is finite."""
    if not isinstance(node, Scalar) or isinstance(node.value, bool) or not isinstance(node.value, int | float):
        raise wanted(node, key, "a number")
    if isinstance(node.value, float) and not math.isfinite(node.value):
        raise wanted(node, key, "a finite number, below 1.8e308")
    return node.value


def real(node: Node, key: str) -> float:
    """Return a number as a real one."""
    value = number(node, key)
    try:
        return float(value)
    except OverflowError:
        raise wanted(node, key, "a number below 1.8e308") from None


def whole(node: Node, key: str, least: int | None = None, most: int | None = None) -> int:
    """Return a whole number within bounds."""
    value = number(node, key)
    low, high = -math.inf if least is None else least, math.inf if most is None else most
    if not isinstance(value, int) or not low <= value <= high:
        span = f" from {least}" if least is not None else ""
        raise wanted(node, key, f"a whole number{span}{f' to {most}' if most is not None else ''}")
    return value


def flag(node: Node, key: str) -> bool:
    """Return true or false."""
    if not isinstance(node, Scalar) or not isinstance(node.value, bool):
        raise wanted(node, key, "true or false")
    return node.value


def word(node: Node, key: str, words: Iterable[str]) -> str:
    """Return one of some words."""
    known = list(words)
    if not isinstance(node, Scalar) or node.text not in known:
        raise wanted(node, key, f"one of {', '.join(known)}")
    return node.text


def member(node: Node, key: str, kind: type[E]) -> E:
    """Return the member of an enumeration of texts."""
    return kind(word(node, key, [str(one.value) for one in kind]))


def octets(node: Node, key: str) -> bytes:
    """Return octets that are written in hexadecimal digits."""
    try:
        return bytes.fromhex(text(node, key))
    except ValueError:
        raise wanted(node, key, "octets in hexadecimal digits, such as 0d0a") from None


def given(node: Mapping, key: str, read: Callable[[Node, str], T], otherwise: U) -> T | U:
    """Return what `read` makes of a key that is there, else `otherwise`."""
    return read(node.items[key], key) if key in node.items else otherwise
