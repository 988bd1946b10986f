"""Monitoring parameters (pcf): how they are coded, what they mean, when they are valid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway_codecs.mdb.mib import schema
from gateway_codecs.mdb.mib.calibrations import Calibrations, Curve
from gateway_codecs.mdb.mib.encodings import DEDUCED, SAVED, Coded, Unsupported, coded
from gateway_codecs.mdb.mib.form import MibForm
from gateway_codecs.mdb.mib.limits import LimitTables
from gateway_codecs.mdb.mib.names import Names
from gateway_codecs.mdb.mib.numbers import number
from gateway_codecs.mdb.mib.tables import Row, TableSet
from gateway_codecs.mdb.model import (
    ALWAYS,
    AnyOf,
    Calibration,
    Comparison,
    Match,
    Not,
    Number,
    Operator,
    Parameter,
    ParameterType,
    Source,
    States,
    TypeKind,
)
from gateway_codecs.mdb.remarks import RemarkList

RAW, CONSTANT = "R", "C"


@dataclass(frozen=True, slots=True)
class Held:
    """A parameter that can stand in a packet: its name, its size (None = the packet says) and its row of `pcf`."""

    name: str
    size_bits: int | None
    is_integer: bool
    row: Row


class Parameters:
    """All parameters of a MIB; by MIB names `held`, those that packets can hold, and `deduced`, those of PTC 11."""

    def __init__(
        self,
        tables: TableSet,
        names: Names,
        form: MibForm,
        packets_of: Mapping[str, frozenset[int]],
        remarks: RemarkList,
    ) -> None:
        self._names, self._form, self._packets_of, self._remarks = names, form, packets_of, remarks
        self.types: dict[str, ParameterType] = {}
        self.parameters: dict[str, Parameter] = {}
        self.held: dict[str, Held] = {}
        self.deduced: dict[str, Row] = {}
        self._calibrations = Calibrations(tables, remarks)
        self._limits = LimitTables(tables, remarks)
        rows = tables.rows(schema.PCF)
        named = [(name, row) for row in rows if (name := self._named(row)) is not None]
        for name, row in named:
            self._define(row, name)
        known = [row.text("NAME") for row in rows]
        self._calibrations.unused_choices(known)
        self._limits.unused(known)

    def by_board_identifier(self) -> dict[int, Held]:
        """Return the parameters that the spacecraft knows by a number (PCF_PID); of two with one number the last."""
        found: dict[int, Held] = {}
        for held in self.held.values():
            identifier = held.row.maybe("PID")
            if identifier is None:
                continue
            if identifier in found:
                what, other = f"pcf {found[identifier].row.text('NAME')}: PID {identifier}", held.row.text("NAME")
                self._remarks.often("wrong", what, f"is that of {other} too, which is used", held.row.where)
            found[identifier] = held
        return found

    def _named(self, row: Row) -> str | None:
        """Return the qualified name of a parameter; None for a deduced one, and one that is left out."""
        if row.whole("PTC") == DEDUCED:
            self.deduced[row.text("NAME")] = row
            return None
        name = self._names.give(row.text("NAME"))
        if name is None:
            why = "another parameter or the packet header has this name already: left out"
            self._remarks.wrong(f"pcf {row.text('NAME')}", why, row.where)
        return name

    def _define(self, row: Row, name: str) -> None:
        how = self._coded(row)
        if how is None and row.text("NATUR") == RAW:
            return self._unknown(row, name)
        kind = self._type(row, name, how)
        self.types[name] = kind
        self.parameters[name] = self._parameter(row, name)
        if how is not None and row.text("NATUR") == RAW:
            is_integer = how.is_number and how.kind in {"integer", "boolean"}
            self.held[row.text("NAME")] = Held(name, how.size_bits, is_integer, row)
        return None

    def _unknown(self, row: Row, name: str) -> None:
        """Keep the name of a parameter that cannot be decoded, so that what refers to it is not called dangling."""
        self.types[name] = ParameterType(name, "binary", unit=row.text("UNIT"), where=row.where)
        self.parameters[name] = self._parameter(row, name)

    def _coded(self, row: Row) -> Coded | None:
        ptc, pfc, is_little = row.whole("PTC"), row.whole("PFC"), row.text("ENDIAN") == "L"
        if ptc == SAVED:
            return None
        as_number = row.text("CATEG") == "S" or bool(row.text("CURTX"))
        what = f"pcf {row.text('NAME')}"
        try:
            return coded(ptc, pfc, self._form, is_little, as_number)
        except Unsupported as error:
            if not is_little:
                self._remarks.wrong(what, f"{error}: it is not decoded", row.where)
                return None
            self._remarks.wrong(what, f"{error}: read as ENDIAN B", row.where)
        try:
            return coded(ptc, pfc, self._form, False, as_number)
        except Unsupported:
            return None

    def _type(self, row: Row, name: str, how: Coded | None) -> ParameterType:
        made = ParameterType(name, "float", unit=row.text("UNIT"), where=row.where)
        if how is not None:
            is_unsigned = how.kind == "integer" and row.whole("PTC") != 4
            made = replace(made, kind=how.kind, encoding=how.encoding, time=how.time, signed=not is_unsigned)
        if how is None or not how.is_number:
            if row.text("CURTX") or self._calibrations.choices_of(row.text("NAME")):
                why = f"cannot be applied to PTC {row.whole('PTC')}: left out"
                self._remarks.wrong(f"pcf {row.text('NAME')}: calibration", why, row.where)
        elif row.text("CATEG") == "S":
            made = self._status(row, made)
        else:
            made = self._number(row, made)
        takes = {"enumerated": "text", "string": "text", "integer": "numbers", "float": "numbers", "boolean": "raw"}
        alarms = self._limits.alarms(
            row.text("NAME"), takes.get(made.kind, "nothing"), _labels(made.calibration), self._names.of
        )
        encoding = made.encoding if row.text("NATUR") == RAW else None
        return replace(made, alarms=alarms, encoding=encoding)

    def _status(self, row: Row, made: ParameterType) -> ParameterType:
        calibration = self._calibrations.of_text(row, self._names.of)
        if calibration == Calibration():
            why = "a status parameter (CATEG S) without texts: its value stays a number"
            self._remarks.wrong(f"pcf {row.text('NAME')}", why, row.where)
            return made
        self._elsewhere(row, [one.text("RLCHK") for one in self._calibrations.choices_of(row.text("NAME"))], "cur")
        return replace(made, kind="enumerated", calibration=calibration, signed=True)

    def _number(self, row: Row, made: ParameterType) -> ParameterType:
        calibration, curves = self._calibrations.of_number(row, self._names.of)
        if calibration == Calibration():
            return made
        self._elsewhere(row, [one.text("RLCHK") for one in self._calibrations.choices_of(row.text("NAME"))], "cur")
        whole, signed = _engineering(curves)
        unit = row.text("UNIT") or next((curve.unit for curve in curves if curve.unit), "")
        kind: TypeKind = "integer" if whole else "float"
        return replace(made, kind=kind, calibration=calibration, signed=signed, unit=unit)

    def _parameter(self, row: Row, name: str) -> Parameter:
        nature = row.text("NATUR")
        made = Parameter(
            name,
            name,
            Source.TELEMETERED if nature == RAW else Source.CONSTANT if nature == CONSTANT else Source.GROUND,
            description=row.text("DESCR"),
            long_description=row.text("DESCR2"),
            aliases=() if name.endswith("/" + row.text("NAME")) else (row.text("NAME"),),
            decimals=_decimals(row),
            where=row.where,
        )
        if nature == CONSTANT:
            return replace(made, initial=self._constant(row))
        if nature != RAW:
            why = "calculated on ground (NATUR D, P, H, S): how is not in the tables, so it has no values"
            self._remarks.often("ignored", "pcf: synthetic parameters", why, row.where)
            return made
        return replace(made, valid_when=self._validity(row))

    def _constant(self, row: Row) -> Number | str | None:
        content = row.text("PARVAL")
        if not content:
            self._remarks.wrong(f"pcf {row.text('NAME')}", "a constant (NATUR C) without PARVAL", row.where)
            return None
        value = number(content)
        return content if value is None else value

    def _validity(self, row: Row) -> Match:
        by, name = row.text("VALID"), row.text("NAME")
        if not by:
            return ALWAYS
        full = self._names.of(by)
        if full is None:
            self._remarks.wrong(f"pcf {name}: VALID {by}", "there is no such parameter: always valid", row.where)
            return ALWAYS
        holds = Comparison(full, row.whole("VALPAR"), calibrated=False)
        held, needed = self._packets_of.get(by, frozenset()), self._packets_of.get(name, frozenset())
        if needed <= held:
            return holds
        self._elsewhere(row, [by], "pcf VALID")
        is_there = AnyOf(
            (Comparison(full, 0, Operator.LESS, False), Comparison(full, 0, Operator.GREATER_OR_EQUAL, False))
        )
        return AnyOf((holds, Not(is_there))) if needed & held else ALWAYS

    def _elsewhere(self, row: Row, names: list[str], what: str) -> None:
        """Tell of conditions by parameters that are not in every packet of the parameter."""
        needed = self._packets_of.get(row.text("NAME"), frozenset())
        for by in names:
            if not needed <= self._packets_of.get(by, frozenset()) and self._names.of(by) is not None:
                why = "conditions are judged within a packet: there the condition is not looked at"
                self._remarks.ignored(f"{what} of {row.text('NAME')}: {by} stands in other packets", why, row.where)


def _decimals(row: Row) -> int:
    decimals = row.maybe("DECIM")
    return decimals if decimals is not None and 0 <= decimals <= 17 else -1


def _engineering(curves: list[Curve]) -> tuple[bool, bool]:
    """Return whether all curves give whole numbers, and whether these can be below zero."""
    formats = {curve.engineering for curve in curves}
    return "R" not in formats, "U" not in formats or len(formats) > 1


def _labels(calibration: Calibration) -> frozenset[str]:
    calibrators = [calibration.default, *(context.calibrator for context in calibration.contexts)]
    return frozenset(state.label for one in calibrators if isinstance(one, States) for state in one.states)
