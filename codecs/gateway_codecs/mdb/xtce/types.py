"""Parameter types of XTCE: Integer, Float, Enumerated, Boolean, String, Binary, times, Array, Aggregate."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from gateway_codecs.mdb.model import (
    BinaryEncoding,
    Calibration,
    Dimension,
    Encoding,
    FloatEncoding,
    IntegerEncoding,
    IntegerKind,
    Interval,
    Member,
    ParameterType,
    Polynomial,
    StringEncoding,
    TimeMeaning,
    TypeKind,
)
from gateway_codecs.mdb.xtce.alarms import alarms, interval
from gateway_codecs.mdb.xtce.calibrators import calibration, states
from gateway_codecs.mdb.xtce.conditions import integer, reference
from gateway_codecs.mdb.xtce.elements import Element
from gateway_codecs.mdb.xtce.encodings import coded
from gateway_codecs.mdb.xtce.numbers import whole
from gateway_codecs.mdb.xtce.scope import Definition, Scope, encoding, members
from gateway_codecs.time_scales import parse_utc

KINDS: Mapping[str, TypeKind] = {
    "IntegerParameterType": "integer",
    "FloatParameterType": "float",
    "EnumeratedParameterType": "enumerated",
    "BooleanParameterType": "boolean",
    "StringParameterType": "string",
    "BinaryParameterType": "binary",
    "AbsoluteTimeParameterType": "absolute_time",
    "RelativeTimeParameterType": "relative_time",
    "ArrayParameterType": "array",
    "AggregateParameterType": "aggregate",
}
_EPOCHS = {"TAI", "J2000", "UNIX", "GPS"}
_TIME_UNITS_S = {"seconds": 1.0, "picoSeconds": 1e-12, "days": 86_400.0, "": 1.0}
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_RANGE_OF_RAW = ("validRangeAppliesToCalibrated", "rangeAppliesToCalibrated")


def parameter_type(definition: Definition, scope: Scope) -> ParameterType | None:
    """Return a type; None, and a remark, when it cannot be read. Raises DatabaseError for what no packet can hold."""
    name, system = definition.name, definition.system
    element = scope.whole_type(name)
    kind = KINDS[element.name]
    told = ParameterType(
        name,
        kind,
        unit=_unit(element),
        description=element.child_text("LongDescription") or element.get("shortDescription"),
        where=scope.where(definition.element),
    )
    if kind == "array":
        return _array(told, element, scope, system)
    if kind == "aggregate":
        return _aggregate(told, element, scope, system)
    told = replace(
        told, zero_text=element.get("zeroStringValue") or "False", one_text=element.get("oneStringValue") or "True"
    )
    told = _with_range(told, element, scope)
    holder = encoding(element)
    if kind == "enumerated":
        told = replace(told, calibration=Calibration(states(element, scope, name)))
    if kind in {"absolute_time", "relative_time"}:
        told = _with_time(told, element, holder, scope, system)
    if holder:
        told = _with_encoding(told, holder, element, scope, system)
    return replace(told, alarms=alarms(element, told.kind, scope, system, name))


def _unit(element: Element) -> str:
    told = element.first("UnitSet")
    parts: list[str] = []
    for unit in told.all("Unit") if told else ():
        power, factor = unit.get("power", "1"), unit.get("factor", "1")
        text = unit.text if power in {"1", "1.0", ""} else f"{unit.text}^{power}"
        parts.append(text if factor in {"1", "1.0", ""} else f"{factor} {text}")
    return " ".join(part for part in parts if part.strip())


def _with_range(told: ParameterType, element: Element, scope: Scope) -> ParameterType:
    holder = element.first("ValidRange")
    if holder is None:
        return told
    if told.kind not in {"integer", "float", "relative_time"}:
        scope.remarks.ignored(
            f"ValidRange of {told.name}", f"values of the kind {told.kind} have no range", holder.line
        )
        return told
    span = interval(holder, scope, told.name)
    if span == Interval():
        return told
    return replace(
        told, valid_range=span, valid_range_of_raw=not all(holder.flag(name, True) for name in _RANGE_OF_RAW)
    )


# ---- encodings ----


def _with_encoding(told: ParameterType, holder: Element, element: Element, scope: Scope, system: str) -> ParameterType:
    found = coded(holder, scope, system, told.name)
    kind = told.kind if not found.opaque else "binary"
    kind = _kind_of(kind, found.encoding, holder, scope, told.name)
    if kind != told.kind:  # octets or text, whatever the type says
        return replace(told, kind=kind, encoding=found.encoding, calibration=Calibration(), time=None, valid_range=None)
    if kind in {"absolute_time", "relative_time"}:
        return _time_calibration(replace(told, encoding=found.encoding), holder, scope, system)
    if kind in {"integer", "float"}:
        told = replace(told, calibration=calibration(holder, scope, system, told.name))
    else:
        _no_calibration(holder, scope, told.name, kind)
    signed, size_bits = _size(element, found.encoding, told)
    return replace(told, encoding=found.encoding, signed=signed, size_bits=size_bits)


def _kind_of(kind: TypeKind, found: Encoding | None, holder: Element, scope: Scope, what: str) -> TypeKind:
    if isinstance(found, StringEncoding):
        fits: TypeKind = "string"
    elif isinstance(found, BinaryEncoding):
        fits = "binary"
    else:
        if found is not None and kind in {"string", "binary"}:
            scope.remarks.wrong(what, f"a {kind} value with an {holder.name}: read as a number", holder.line)
            return "integer" if isinstance(found, IntegerEncoding) else "float"
        return kind
    if kind not in {fits, "binary"} or (kind == "binary" and fits == "string"):
        scope.remarks.ignored(what, f"a value of kind {kind} in a {holder.name}: read as {fits}", holder.line)
    return fits


def _no_calibration(holder: Element, scope: Scope, what: str, kind: str) -> None:
    told = holder.first("DefaultCalibrator", "ContextCalibratorList")
    if told:
        scope.remarks.ignored(f"{told.name} of {what}", f"a value of kind {kind} comes from its raw value", told.line)


def _size(element: Element, found: Encoding | None, told: ParameterType) -> tuple[bool, int]:
    """Return the engineering sign and size: what the type says, but never less than the raw value needs."""
    plain = isinstance(found, IntegerEncoding) and told.calibration == Calibration()
    unsigned = plain and isinstance(found, IntegerEncoding) and found.kind == IntegerKind.UNSIGNED
    bits = whole(element.get("sizeInBits"))
    needed = found.size_bits if isinstance(found, IntegerEncoding | FloatEncoding) else 0
    fits = bits in {8, 16, 32, 64} and bits >= needed
    return element.flag("signed", not unsigned), bits if fits and bits else told.size_bits


# ---- times ----


def _with_time(
    told: ParameterType, element: Element, holder: Element | None, scope: Scope, system: str
) -> ParameterType:
    wrapper = element.first("Encoding")
    scale, offset, unit_s = 1.0, 0.0, 1.0
    if wrapper:
        scale = float(_or(scope.number(wrapper, "scale", told.name), 1))
        offset = float(_or(scope.number(wrapper, "offset", told.name), 0))
        units = wrapper.get("units")
        unit_s = _TIME_UNITS_S.get(units, 0.0)
        if not unit_s:
            why = f"units={units!r} have no fixed length; the raw value is shown"
            scope.remarks.ignored(f"Encoding of {told.name}", why, wrapper.line)
            number: TypeKind = "float" if holder and holder.name == "FloatDataEncoding" else "integer"
            return replace(told, kind=number)
    epoch, offset_from = _epoch(told, element, scope, system)
    if told.kind == "absolute_time" and not epoch and not offset_from:
        scope.remarks.wrong(
            told.name, "no ReferenceTime that can be read: shown as seconds, not as a date", element.line
        )
        told = replace(told, kind="relative_time")
    return replace(told, time=TimeMeaning(scale * unit_s, offset * unit_s, epoch, offset_from))


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def _epoch(told: ParameterType, element: Element, scope: Scope, system: str) -> tuple[str, str]:
    holder = element.first("ReferenceTime")
    one = holder.first("Epoch", "OffsetFrom") if holder else None
    if one is None:
        return "", ""
    if one.name == "OffsetFrom":
        return "", reference(one, scope, system, told.name)
    text = one.text.strip()
    if text.upper() in _EPOCHS:
        return text.upper(), ""
    text = f"{text}T00:00:00Z" if _DATE.fullmatch(text) else text if text.endswith("Z") else f"{text}Z"
    if text.startswith("1970-01-01T00:00:00"):
        return "UNIX", ""  # who counts from there counts 86,400 s a day
    try:
        parse_utc(text)
    except ValueError:
        scope.remarks.wrong(
            told.name, f"Epoch {one.text[:40]!r} is no TAI, J2000, UNIX, GPS, date or UTC time", one.line
        )
        return "", ""
    return text, ""


def _time_calibration(told: ParameterType, holder: Element, scope: Scope, system: str) -> ParameterType:
    """A straight line in the encoding of a time joins its scale and offset; nothing else is read."""
    found = calibration(holder, scope, system, told.name)
    if found == Calibration() or told.time is None:
        return told
    line = found.default.coefficients if isinstance(found.default, Polynomial) else ()
    if found.contexts or not 1 <= len(line) <= 2:
        why = "the calibrator of a time other than a straight line: the raw value is shown"
        scope.remarks.ignored(f"Encoding of {told.name}", why, holder.line)
        kind: TypeKind = "integer" if isinstance(told.encoding, IntegerEncoding) else "float"
        return replace(told, kind=kind, time=None)
    slope = line[1] if len(line) > 1 else 0.0
    time = told.time
    return replace(told, time=replace(time, scale=time.scale * slope, offset=time.offset + time.scale * line[0]))


# ---- arrays and aggregates ----


def dimensions(holder: Element, scope: Scope, system: str, what: str) -> tuple[Dimension, ...] | None:
    """Return the dimensions of a DimensionList; None, and a remark, when one cannot be read."""
    found: list[Dimension] = []
    listed = holder.first("DimensionList")
    for one in listed.all("Dimension") if listed else ():
        first, last = one.first("StartingIndex"), one.first("EndingIndex")
        low = integer(first, scope, system, what) if first else 0
        high = integer(last, scope, system, what) if last else None
        if low is None or high is None:
            scope.remarks.wrong(what, "a Dimension without an EndingIndex that can be read", one.line)
            return None
        if isinstance(low, int) and isinstance(high, int) and not 0 <= low <= high:
            scope.remarks.wrong(what, f"a Dimension from {low} to {high}", one.line)
            return None
        found.append(Dimension(low, high))
    return tuple(found)


def _array(told: ParameterType, element: Element, scope: Scope, system: str) -> ParameterType | None:
    inner = element.get("arrayTypeRef")
    name = scope.type_name(inner, system)
    if not name:
        scope.remarks.wrong(told.name, f"arrayTypeRef={inner!r} is not defined: the type is left out", element.line)
        return None
    found = dimensions(element, scope, system, told.name)
    if found is None:
        return None
    told_count = whole(element.get("numberOfDimensions"))  # XTCE 1.0 and 1.1: the entries say the indices
    if not found and not told_count:
        scope.remarks.wrong(told.name, "an array without dimensions: the type is left out", element.line)
        return None
    return replace(told, element_type=name, dimensions=found)


def _aggregate(told: ParameterType, element: Element, scope: Scope, system: str) -> ParameterType | None:
    found: dict[str, Member] = {}
    for one in members(element):
        name = scope.type_name(one.get("typeRef"), system)
        if not name or not one.get("name") or one.get("name") in found:
            why = f"member {one.get('name')!r} of type {one.get('typeRef')!r} is not defined or not the only one"
            scope.remarks.wrong(told.name, f"{why}: the type is left out", one.line)
            return None
        found[one.get("name")] = Member(one.get("name"), name)
    if not found:
        scope.remarks.wrong(told.name, "an aggregate without members: the type is left out", element.line)
        return None
    return replace(told, members=tuple(found.values()))
