"""Tables of a MIB as rows: one line each, cells between tabs, no header, no quoting.

A `Table` declares its columns in order. Reading checks every cell once: a row without what it must have is left out and
told, an optional cell that cannot be is told and replaced by its default, so that the rest of the reader works with
values. Older exports have fewer columns, newer ones more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from gateway_codecs.mdb.mib.numbers import whole
from gateway_codecs.mdb.model import Where
from gateway_codecs.mdb.remarks import RemarkList
from gateway_codecs.mdb.report import Budget, DatabaseError

VALUES_KEPT = 1 << 14
"""Texts of a column whose values are kept while its table is read."""
WHOLE_MAX = 10**12
"""Beyond every whole number of the ICD, and far within 64 bits."""
Cell: TypeAlias = "int | str | None"


@dataclass(frozen=True, slots=True)
class Column:
    """A column: `whole` numbers, `text`, or a letter of `codes`. `default` is read as if it stood in an empty cell."""

    name: str
    kind: Literal["text", "whole", "code"] = "text"
    required: bool = False
    default: str = ""
    codes: str = ""


def text(name: str, default: str = "") -> Column:
    """Return a column of text."""
    return Column(name, default=default)


def key(name: str) -> Column:
    """Return a column of text that must not be empty."""
    return Column(name, required=True)


def count(name: str, default: str = "") -> Column:
    """Return a column of whole numbers."""
    return Column(name, "whole", default=default)


def need(name: str) -> Column:
    """Return a column of whole numbers that must not be empty."""
    return Column(name, "whole", required=True)


def code(name: str, codes: str, default: str = "") -> Column:
    """Return a column of one letter out of `codes`; without a default it must not be empty."""
    return Column(name, "code", not default, default, codes)


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its name, its columns in order, and the columns by which a row is found."""

    name: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...] = ()

    def places(self) -> dict[str, int]:
        """Return the place of each column."""
        return {column.name: place for place, column in enumerate(self.columns)}


@dataclass(frozen=True, slots=True)
class Row:
    """A row that was read: values by column, and where it stands."""

    where: Where
    places: Mapping[str, int]
    cells: tuple[Cell, ...]

    def text(self, column: str) -> str:
        """Return a cell of text; empty when there is none."""
        cell = self.cells[self.places[column]]
        return "" if cell is None else str(cell)

    def maybe(self, column: str) -> int | None:
        """Return a whole number, None when the cell is empty."""
        cell = self.cells[self.places[column]]
        return cell if isinstance(cell, int) else None

    def whole(self, column: str) -> int:
        """Return a whole number of a column that always has one."""
        cell = self.cells[self.places[column]]
        return cell if isinstance(cell, int) else 0


class TableSet:
    """The tables of a MIB. Raises DatabaseError when they ask for more than the budget."""

    def __init__(self, tables: Mapping[str, bytes], folder: str, budget: Budget, remarks: RemarkList) -> None:
        self._tables, self._folder, self._budget, self._remarks = tables, folder, budget, remarks
        octets = sum(map(len, tables.values()))
        if octets > budget.file_octets:
            raise DatabaseError(f"{octets:,} octets of tables, at most {budget.file_octets:,}", Where(folder))
        self.counts: dict[str, int] = {}
        self._left = budget.definitions

    def where(self, table: str, line: int = 0) -> Where:
        """Return where a row stands."""
        return Where(f"{self._folder}/{table}.dat" if self._folder else f"{table}.dat", line)

    def lines(self, table: str) -> Iterator[tuple[int, bytes]]:
        """Yield the lines that are not empty, with their numbers, and count them."""
        data = self._tables.get(table, b"").removeprefix(b"\xef\xbb\xbf").rstrip(b"\x1a\x00")
        end = b"\n" if b"\n" in data else b"\r"
        if data.count(end) > self._left:
            most = self._budget.definitions
            raise DatabaseError(f"more than {most:,} rows in all tables", self.where(table), "is it a MIB table?")
        self.counts.setdefault(table, 0)
        for number, line in enumerate(data.split(end), start=1):
            if len(line) > self._budget.text_octets:
                most = self._budget.text_octets
                raise DatabaseError(f"a line of {len(line):,} octets, at most {most:,}", self.where(table, number))
            if line.strip(b" \r\t"):
                self.counts[table] += 1
                yield number, line.rstrip(b"\r")
        self._left -= self.counts[table]

    def count(self, table: str) -> int:
        """Count the rows of a table that is not read any further."""
        return sum(1 for _ in self.lines(table))

    def rows(self, table: Table) -> list[Row]:
        """Return the rows of a table; of several with the same key the first."""
        places, found, seen = table.places(), list[Row](), dict[tuple[Cell, ...], int]()
        encoding = _encoding(self._tables.get(table.name, b""))
        known: list[dict[str, Cell]] = [{} for _ in table.columns]
        at = [places[name] for name in table.keys]
        for line, octets in self.lines(table.name):
            where = self.where(table.name, line)
            cells = self._cells(table, octets.decode(encoding).split("\t"), where, known)
            if cells is None:
                continue
            known_by = tuple(cells[place] for place in at)
            if at and known_by in seen:
                name = " ".join(str(cell) for cell in known_by)
                self._remarks.wrong(
                    f"{table.name} {name}", f"stands in line {seen[known_by]} already: the first is used", where
                )
                continue
            seen[known_by] = line
            found.append(Row(where, places, cells))
        return found

    def _cells(
        self, table: Table, texts: list[str], where: Where, known: list[dict[str, Cell]]
    ) -> tuple[Cell, ...] | None:
        """Return the cells of a row; `known` are the values of the texts that came before, which most do again."""
        if any(one.strip() for one in texts[len(known) :]):
            self._remarks.often("ignored", f"{table.name}: more than {len(known)} columns", "not known", where)
        texts += [""] * (len(known) - len(texts))
        try:
            return tuple([values[content] for values, content in zip(known, texts, strict=False)])
        except KeyError:
            pass
        cells: list[Cell] = []
        for column, values, content in zip(table.columns, known, texts, strict=False):
            try:
                cell = _cell(column, content.strip())
            except ValueError as error:
                what = f"{table.name} {texts[0].strip()}: {column.name} {content.strip()!r}"
                if column.required:
                    self._remarks.wrong(what, f"{error}: the row is left out", where)
                    return None
                self._remarks.wrong(what, f"{error}: taken as {column.default or 'empty'}", where)
                cell = _cell(column, "")
            else:
                if len(values) < VALUES_KEPT:
                    values[content] = cell
            cells.append(cell)
        return tuple(cells)


def _cell(column: Column, given: str) -> Cell:
    """Return the value of a cell. Raises ValueError."""
    content = given or column.default
    if not content:
        if column.required:
            raise ValueError("must not be empty")
        return None
    if column.kind == "whole":
        value = whole(content)
        if value is None or abs(value) >= WHOLE_MAX:
            raise ValueError("is no whole number" if value is None else f"is too large: below {WHOLE_MAX:,}")
        return value
    if column.kind == "code" and (len(content) != 1 or content not in column.codes):
        raise ValueError(f"is none of {', '.join(column.codes)}")
    return content


def _encoding(data: bytes) -> str:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8-sig" if data.startswith(b"\xef\xbb\xbf") else "utf-8"
