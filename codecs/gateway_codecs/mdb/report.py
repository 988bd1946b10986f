"""What a reader tells: the database, how much was read, and what was ignored and why, with file and line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gateway_codecs.mdb.model import NOWHERE, Database, Where


class DatabaseError(ValueError):
    """A database that cannot be used: what is wrong, where, and the way out; `others` that are wrong too."""

    def __init__(
        self, message: str, where: Where = NOWHERE, hint: str = "", others: tuple[DatabaseError, ...] = ()
    ) -> None:
        super().__init__(f"{where}: {message}" if where.file else message)
        self.message, self.where, self.hint, self.others = message, where, hint, others


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing to know. `ignored`: not read, values are as if it were not there; `wrong`: a defect of the file."""

    kind: Literal["ignored", "wrong"]
    what: str  # which definition: an element, a row, a name
    why: str
    where: Where = NOWHERE


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
