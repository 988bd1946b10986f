"""Calibrations of a MIB: point pairs (caf, cap), polynomials (mcf), logarithms (lgf), texts (txf, txp), and cur."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from gateway_codecs.mdb.mib import schema
from gateway_codecs.mdb.mib.numbers import number
from gateway_codecs.mdb.mib.tables import Row, Table, TableSet
from gateway_codecs.mdb.model import (
    Calibration,
    Calibrator,
    Comparison,
    ContextCalibrator,
    Logarithmic,
    Number,
    Points,
    Polynomial,
    State,
    States,
    Where,
)
from gateway_codecs.mdb.remarks import RemarkList

Known = TypeVar("Known")
Qualify = Callable[[str], str | None]
"""Gives the qualified name of a parameter, None = there is no such parameter."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A numeric calibration; `engineering` is I, U or R."""

    calibrator: Calibrator
    engineering: str = "R"
    unit: str = ""


class Calibrations:
    """All calibrations by their identifiers, and which parameter uses which under which condition."""

    def __init__(self, tables: TableSet, remarks: RemarkList) -> None:
        self._remarks = remarks
        self.curves: dict[str, Curve] = {}
        self.texts: dict[str, States] = {}
        self._point_pairs(tables)
        self._polynomials(tables, schema.MCF, Polynomial)
        self._polynomials(tables, schema.LGF, Logarithmic)
        self._labels(tables)
        self._choices = grouped(tables.rows(schema.CUR), "PNAME")

    def choices_of(self, name: str) -> list[Row]:
        """Return the rows of `cur` for a parameter, in the order in which they are tried."""
        return sorted(self._choices.get(name, ()), key=lambda row: row.whole("POS"))

    def unused_choices(self, names: Iterable[str]) -> None:
        """Tell of conditions for parameters that do not exist."""
        for name in self._choices.keys() - set(names):
            self._remarks.wrong(f"cur {name}", "there is no such parameter in pcf", self._choices[name][0].where)

    def of_text(self, row: Row, qualify: Qualify) -> Calibration:
        """Return the texts of a status parameter, a row of `pcf`."""
        return self._calibration(row, self.texts, "txf", lambda states: states, qualify)

    def of_number(self, row: Row, qualify: Qualify) -> tuple[Calibration, list[Curve]]:
        """Return the calibration of a numeric parameter, a row of `pcf`, and the curves in it."""
        used: list[Curve] = []

        def use(curve: Curve) -> Calibrator:
            used.append(curve)
            return curve.calibrator

        return self._calibration(row, self.curves, "caf, mcf or lgf", use, qualify), used

    def _calibration(
        self, row: Row, known: Mapping[str, Known], tables: str, use: Callable[[Known], Calibrator], qualify: Qualify
    ) -> Calibration:
        def found(name: str, where: Where) -> Calibrator | None:
            if name not in known:
                self._remarks.wrong(f"{row.text('NAME')}: calibration {name}", f"is not in {tables}", where)
                return None
            return use(known[name])

        default = found(row.text("CURTX"), row.where) if row.text("CURTX") else None
        contexts: list[ContextCalibrator] = []
        for one in self.choices_of(row.text("NAME")):
            calibrator, by = found(one.text("SELECT"), one.where), qualify(one.text("RLCHK"))
            if by is None:
                what = f"cur {one.text('PNAME')}: RLCHK {one.text('RLCHK')}"
                self._remarks.wrong(what, "there is no such parameter in pcf", one.where)
            elif calibrator is not None:
                holds = Comparison(by, one.whole("VALPAR"), calibrated=False)
                contexts.append(ContextCalibrator(holds, calibrator))
        return Calibration(default, tuple(contexts))

    def _point_pairs(self, tables: TableSet) -> None:
        pairs = grouped(tables.rows(schema.CAP), "NUMBR")
        for row in tables.rows(schema.CAF):
            name = row.text("NUMBR")
            rows = pairs.pop(name, [])
            self._count(f"caf {name}: NCURVE", row.maybe("NCURVE"), len(rows), row)
            points = self._points(rows, row)
            if points:
                extrapolate = row.text("INTER") == "P"
                curve = Points(tuple(sorted(points.items())), extrapolate=extrapolate)
                self.curves[name] = Curve(curve, row.text("ENGFMT"), row.text("UNIT"))
            else:
                self._remarks.wrong(f"caf {name}", "has no points in cap: left out", row.where)
        self._strays("cap", "caf", pairs)

    def _points(self, rows: list[Row], owner: Row) -> dict[float, float]:
        points: dict[float, float] = {}
        for row in rows:
            x = self._number(row, "XVALS", owner.text("RADIX") if owner.text("RAWFMT") == "U" else "D")
            y = self._number(row, "YVALS")
            if x is None or y is None:
                continue
            if float(x) in points:
                what = f"cap {row.text('NUMBR')}: XVALS {row.text('XVALS')}"
                self._remarks.wrong(what, "stands before already: the first point is used", row.where)
            points.setdefault(float(x), float(y))
        return points

    def _polynomials(self, tables: TableSet, table: Table, make: Callable[[tuple[float, ...]], Calibrator]) -> None:
        for row in tables.rows(table):
            values = [self._number(row, column) for column in schema.POLYNOMIAL]
            if None in values:
                continue
            coefficients = [float(value) for value in values if value is not None]
            while len(coefficients) > 1 and coefficients[-1] == 0:
                coefficients.pop()
            if row.text("IDENT") in self.curves:
                what = f"{table.name} {row.text('IDENT')}"
                self._remarks.wrong(what, "is the name of another calibration already: that one is used", row.where)
            self.curves.setdefault(row.text("IDENT"), Curve(make(tuple(coefficients))))

    def _labels(self, tables: TableSet) -> None:
        ranges = grouped(tables.rows(schema.TXP), "NUMBR")
        for row in tables.rows(schema.TXF):
            name = row.text("NUMBR")
            rows = ranges.pop(name, [])
            self._count(f"txf {name}: NALIAS", row.maybe("NALIAS"), len(rows), row)
            states = tuple(state for one in rows if (state := self._state(one)) is not None)
            if states:
                self.texts[name] = States(states)
            else:
                self._remarks.wrong(f"txf {name}", "has no texts in txp: left out", row.where)
        self._strays("txp", "txf", ranges)

    def _state(self, row: Row) -> State | None:
        low, high = self._number(row, "FROM"), self._number(row, "TO")
        if low is None or high is None:
            return None
        if low > high:
            what = f"txp {row.text('NUMBR')}: {row.text('ALTXT')}"
            self._remarks.wrong(what, f"from {low} to {high} is no range: left out", row.where)
            return None
        return State(low, high, row.text("ALTXT"))

    def _number(self, row: Row, column: str, radix: str = "D") -> Number | None:
        value = number(row.text(column), radix)
        if value is None:
            self._remarks.wrong(f"{column} {row.text(column)!r}", "is no number: the row is left out", row.where)
        return value

    def _count(self, what: str, told: int | None, found: int, row: Row) -> None:
        if told is not None and told != found:
            self._remarks.wrong(what, f"says {told}, {found} rows found: all are used", row.where)

    def _strays(self, table: str, owner: str, left: Mapping[str, list[Row]]) -> None:
        for name, rows in left.items():
            self._remarks.wrong(f"{table} {name}", f"has no row in {owner}: left out", rows[0].where)


def grouped(rows: list[Row], column: str) -> dict[str, list[Row]]:
    """Return rows by the text in one of their columns, each in the order of the table."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.text(column), []).append(row)
    return found
