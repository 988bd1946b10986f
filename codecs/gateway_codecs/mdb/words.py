"""Definitions in words: what a type is, how it is calibrated and checked, how a packet is told."""

from __future__ import annotations

from collections.abc import Callable

from gateway_codecs.mdb.expression import renamed
from gateway_codecs.mdb.model import (
    BIG,
    AllOf,
    BinaryEncoding,
    Calibrator,
    Comparison,
    Database,
    DeltaLimit,
    DynamicInteger,
    Encoding,
    Expression,
    FloatEncoding,
    FloatKind,
    Integer,
    IntegerEncoding,
    IntegerKind,
    Interval,
    LabelLimit,
    Limits,
    Logarithmic,
    LookupInteger,
    Match,
    Not,
    Number,
    ParameterType,
    Points,
    Polynomial,
    RangeLimit,
    RestOfPacket,
    Severity,
    Size,
    State,
    States,
    StringEncoding,
    TimeEncoding,
    TimeMeaning,
    little,
)
from gateway_codecs.mdb.report import DatabaseError

Short = Callable[[str], str]
_KINDS = {
    IntegerKind.UNSIGNED: "unsigned",
    IntegerKind.TWOS_COMPLEMENT: "signed",
    IntegerKind.ONES_COMPLEMENT: "ones' complement",
    IntegerKind.SIGN_MAGNITUDE: "sign and magnitude",
    IntegerKind.BCD: "BCD",
    IntegerKind.PACKED_BCD: "packed BCD",
}
SHOWN_MAX = 12


def short_names(database: Database) -> Short:
    """Return what makes names short: the system is left out where all is in one, and something is left then."""
    systems = {name.split("/")[1] for name in (*database.parameters, *database.containers) if name.startswith("/")}
    prefix = f"/{systems.pop()}/" if len(systems) == 1 else ""
    return lambda name: name.removeprefix(prefix) or name


def number(value: Number) -> str:
    """Return a number as it is best read."""
    return str(value) if isinstance(value, int) else f"{value:.10g}"


# ---- how it is coded --------------------------------------------------------------------------------------------


def encoding(one: Encoding | None, short: Short = str) -> str:
    """Return how a value is coded, its size first."""
    if one is None:
        return "in no packet"
    if isinstance(one, IntegerEncoding):
        return f"{one.size_bits} bits, {_KINDS[one.kind]}{_orders(one)}"
    if isinstance(one, FloatEncoding):
        name = "IEEE 754" if one.kind is FloatKind.IEEE_754 else "MIL-STD-1750A"
        return f"{one.size_bits} bits, real ({name}){_orders(one)}"
    if isinstance(one, TimeEncoding):
        widths = (
            f"{one.code.coarse_octets} + {one.code.fine_octets} octets"
            if one.code.code == "cuc"
            else f"{one.code.octets} octets"
        )
        return f"time code {one.code.code.upper()}, {widths}, epoch {one.code.epoch}"
    return _box(one, short)


def _orders(one: IntegerEncoding | FloatEncoding) -> str:
    text = ""
    if one.byte_order != BIG:
        plain = one.byte_order == little(one.size_bits // 8)
        text = ", little endian" if plain else f", octets in the order {' '.join(map(str, one.byte_order))}"
    return text + (", bits reversed" if one.least_significant_bit_first else "")


def _box(one: StringEncoding | BinaryEncoding, short: Short) -> str:
    told = ["text" if isinstance(one, StringEncoding) else "octets"]
    if isinstance(one, StringEncoding) and one.charset != "utf-8":
        told[0] += f" ({one.charset})"
    told += [size(one.size, short)] if one.size is not None else []
    if one.tag_bits:
        told.append(f"its length in front ({one.tag_bits} bits, in {one.tag_unit_bits} bits)")
    if isinstance(one, StringEncoding) and one.terminator:
        told.append(f"up to {one.terminator.hex()}")
    return ", ".join(told)


def size(one: Size, short: Short = str) -> str:
    """Return a size of bits."""
    if isinstance(one, RestOfPacket):
        return f"the rest but {one.trailing_bits} bits" if one.trailing_bits else "the rest"
    if isinstance(one, int):
        return f"{one // 8} octets" if one % 8 == 0 else f"{one} bits"
    if isinstance(one, DynamicInteger) and one.slope == 8 and one.intercept == 0:
        return f"{short(one.parameter)} octets"
    return f"{integer(one, short)} bits"


def integer(one: Integer, short: Short = str) -> str:
    """Return a number, or what states it."""
    if isinstance(one, int):
        return str(one)
    if isinstance(one, LookupInteger):
        return " or ".join(f"{value} (if {match(case, short)})" for case, value in one.cases[:SHOWN_MAX]) or "none"
    name = short(one.parameter)
    text = name if one.slope == 1 else f"{number(one.slope)} × {name}"
    if one.intercept:
        text += f" {'+' if one.intercept > 0 else '-'} {number(abs(one.intercept))}"
    return text


# ---- what it means ----------------------------------------------------------------------------------------------


def type_of(one: ParameterType, short: Short = str) -> str:
    """Return what a type is, in a few words."""
    if one.kind == "array":
        sizes = " x ".join(
            str(each.last - each.first + 1)
            if isinstance(each.last, int) and isinstance(each.first, int)
            else f"{integer(each.first, short)}..{integer(each.last, short)}"
            for each in one.dimensions
        )
        return f"array of {sizes} {short(one.element_type)}"
    if one.kind == "aggregate":
        return "aggregate of " + ", ".join(each.name for each in one.members)
    kind = one.kind.replace("_", " ")
    text = encoding(one.encoding, short)
    return text if kind in {"integer", "float", "string", "binary"} else f"{text}, {kind}"


def time(one: TimeMeaning, short: Short = str) -> str:
    """Return what a counted time means."""
    text = "raw" if one.scale == 1 else f"{number(one.scale)} × raw"
    if one.offset:
        text += f" {'+' if one.offset > 0 else '-'} {number(abs(one.offset))}"
    after = one.epoch or (short(one.offset_from) if one.offset_from else "")
    return f"{text} seconds{f' after {after}' if after else ''}"


def calibrator(one: Calibrator | None, short: Short = str) -> str:
    """Return how the raw value becomes the value, on one line."""
    if one is None:
        return "as it is"
    if isinstance(one, Polynomial):
        return _sum(one.coefficients, "raw")
    if isinstance(one, Logarithmic):
        return f"1 / ({_sum(one.coefficients, 'ln(raw)')})"
    if isinstance(one, Expression):
        return expression(one.text, short)
    if isinstance(one, Points):
        how = "straight lines through" if one.order else "steps at"
        beyond = ", and beyond" if one.extrapolate else ""
        return f"{how} {len(one.points)} points{_span(one.points)}{beyond}"
    return _states(one)


def expression(text: str, short: Short = str) -> str:
    """Return an expression with short names."""
    try:
        return renamed(text, short)
    except DatabaseError:
        return text


def _sum(coefficients: tuple[float, ...], variable: str) -> str:
    text = ""
    for power, factor in enumerate(coefficients):
        if factor == 0:
            continue
        times = "" if power == 0 else variable if power == 1 else f"{variable}^{power}"
        size_ = number(abs(factor))
        term = size_ if not times else times if size_ == "1" else f"{size_} × {times}"
        text += f" {'-' if factor < 0 else '+'} {term}" if text else f"{'-' if factor < 0 else ''}{term}"
    return text or "0"


def _span(points: tuple[tuple[float, float], ...]) -> str:
    if not points:
        return ""
    (x0, y0), (x1, y1) = points[0], points[-1]
    return f" from {number(x0)} = {number(y0)} to {number(x1)} = {number(y1)}"


def _states(one: States) -> str:
    told = [f"{_state_span(each)} = {each.label}" for each in one.states[:SHOWN_MAX]]
    if len(one.states) > SHOWN_MAX:
        told.append(f"{len(one.states) - SHOWN_MAX} more")
    return ", ".join([*told, *([f"else {one.otherwise}"] if one.otherwise else [])])


def _state_span(one: State) -> str:
    return number(one.low) if one.low == one.high else f"{number(one.low)}..{number(one.high)}"


def interval(one: Interval) -> str:
    """Return an interval: 26 to 30, below 3, from 5."""
    low = "" if one.low is None else f"{'from' if one.low_included else 'above'} {number(one.low)}"
    high = "" if one.high is None else f"{'to' if one.high_included else 'below'} {number(one.high)}"
    if one.low is not None and one.low_included and one.high is not None and one.high_included:
        return f"{number(one.low)} to {number(one.high)}"
    return f"{low} {high}".strip() or "anything"


def limits(one: Limits | None) -> list[str]:
    """Return what is checked, a line for each."""
    if one is None:
        return []
    of_raw = "raw value " if one.of_raw else ""
    every: tuple[RangeLimit | LabelLimit | DeltaLimit, ...] = (*one.ranges, *one.labels, *one.deltas)
    lines = [f"{_severity(each)}: {of_raw}{_limit(each)}" for each in every]
    if one.otherwise is not Severity.NONE:
        lines.append(f"{one.otherwise.name.lower()}: any other label")
    return lines + ([f"after {one.persistence} in a row"] if one.persistence != 1 else [])


def _severity(one: RangeLimit | LabelLimit | DeltaLimit) -> str:
    return one.severity.name.lower()


def _limit(one: RangeLimit | LabelLimit | DeltaLimit) -> str:
    if isinstance(one, LabelLimit):
        return f"is {one.label!r}"
    if isinstance(one, RangeLimit):
        return f"within {interval(one.interval)}" if one.inside else _outside(one.interval)
    if one.rise == one.fall and one.rise is not None:
        return f"changes by more than {number(one.rise)}"
    changes = (("rises", one.rise), ("falls", one.fall))
    told = [f"{what} by more than {number(value)}" for what, value in changes if value is not None]
    return " or ".join(told) or "never"


def _outside(one: Interval) -> str:
    """Return what is not in an interval: below 3, above 5, outside 3 to 5."""
    if one.low is not None and one.high is None:
        return f"{'below' if one.low_included else 'up to'} {number(one.low)}"
    if one.high is not None and one.low is None:
        return f"{'above' if one.high_included else 'from'} {number(one.high)}"
    return f"outside {interval(one)}" if one.low is not None else "never"


# ---- conditions -------------------------------------------------------------------------------------------------


def match(one: Match, short: Short = str) -> str:
    """Return a condition as one says it."""
    return _match(one, short, False)


def _match(one: Match, short: Short, within: bool) -> str:
    if isinstance(one, Comparison):
        left = short(one.parameter) if one.calibrated else f"raw({short(one.parameter)})"
        right = short(one.other) if one.other else _value(one.value)
        return f"{left} {'=' if one.operator == '==' else one.operator} {right}"
    if isinstance(one, Not):
        return f"not {_match(one.term, short, True)}"
    word = " and " if isinstance(one, AllOf) else " or "
    if not one.terms:
        return "always" if isinstance(one, AllOf) else "never"
    text = word.join(_match(term, short, True) for term in one.terms)
    return f"({text})" if within and len(one.terms) > 1 else text


def _value(value: Number | str | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else number(value)
