"""What a reader tells: the database, how much was read, and what was ignored and why, with file and line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gateway_codecs.mdb.model import NOWHERE, Database, Where

TOLD_MAX = 600
"""Characters of one sentence on a file: what it quotes may be a megabyte."""


def printable(text: str, most: int = TOLD_MAX) -> str:
    """Return text from a file as a terminal may show it: no control characters, no half characters, not too long."""
    if len(text) > most:
        text = f"{text[: most - 100]} ... {text[-90:]}"
    return text if text.isprintable() else "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(one: str) -> str:
    return one if one == "\n" else repr(one)[1:-1]


class DatabaseError(ValueError):
    """A database that cannot be used: what is wrong, where, and the way out; `others` that are wrong too."""

    def __init__(
        self, message: str, where: Where = NOWHERE, hint: str = "", others: tuple[DatabaseError, ...] = ()
    ) -> None:
        message, hint = printable(message), printable(hint)
        super().__init__(f"{where}: {message}" if where.file else message)
        self.message, self.where, self.hint, self.others = message, where, hint, others


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing to know. `ignored`: not read, values are as if it were not there; `wrong`: a defect of the file."""

    kind: Literal["ignored", "wrong"]
    what: str  # which definition: an element, a row, a name
    why: str
    where: Where = NOWHERE

    def __post_init__(self) -> None:
        """What is quoted is shortened, and harmless to a terminal."""
        object.__setattr__(self, "what", printable(self.what))
        object.__setattr__(self, "why", printable(self.why))


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader gives. `counts` is how many of each element or table row were met, by their own names."""

    database: Database
    counts: Mapping[str, int]
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True)
class Budget:
    """How much an untrusted file may ask for; beyond it a reader raises `DatabaseError`."""

    file_octets: int = 256 << 20
    depth: int = 64  # nested elements, containers, expressions
    definitions: int = 1_000_000  # elements or rows
    text_octets: int = 1 << 20  # of one text, name or attribute
    remarks: int = 10_000  # told one by one; the rest is summed up
