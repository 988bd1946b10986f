"""One value at a time: bits to raw value, raw to engineering value, conditions. Plain Python, meant to be read.

This is what the columns of `decoder` are tested against, and what `declared` needs to know where the next entry is.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import reduce

from gateway_codecs.mdb.expression import evaluate, parse
from gateway_codecs.mdb.model import (
    AllOf,
    AnyOf,
    Calibrator,
    Comparison,
    DynamicInteger,
    Encoding,
    Expression,
    FloatEncoding,
    FloatKind,
    Integer,
    IntegerEncoding,
    IntegerKind,
    Logarithmic,
    LookupInteger,
    Match,
    Not,
    Operator,
    ParameterType,
    Points,
    Polynomial,
    States,
)

Raw = int | float | bytes
Value = int | float | bytes | str | bool


class Undecodable(ValueError):
    """A value or layout that cannot be: which, and why."""


Look = Callable[[str, bool], Value]
"""Returns the newest value of a parameter in the packet: (qualified name, calibrated). Raises Undecodable."""


# ---- bits and raw values (a bit is an octet 0 or 1) ----


def from_bits(bits: bytes, encoding: Encoding) -> Raw:
    """Return the raw value of the bits of a field. Raises Undecodable."""
    if isinstance(encoding, IntegerEncoding):
        return _integer(_in_order(bits, encoding), len(bits), encoding.kind)
    if isinstance(encoding, FloatEncoding):
        return _real(_in_order(bits, encoding), len(bits), encoding.kind)
    return octets(bits)


def to_bits(raw: Raw, encoding: Encoding, size_bits: int) -> bytes:
    """Return the bits of a raw value. Raises Undecodable when it does not fit."""
    if isinstance(encoding, IntegerEncoding):
        return _sent(integer_pattern(int(raw), size_bits, encoding.kind), size_bits, encoding)
    if isinstance(encoding, FloatEncoding):
        return _sent(_real_pattern(float(raw), size_bits, encoding.kind), size_bits, encoding)
    if not isinstance(raw, bytes):
        raise Undecodable(f"{raw!r} is no octets")
    bits = bits_of(raw)
    if len(bits) < size_bits:
        bits += bytes(size_bits - len(bits))
    if any(bits[size_bits:]):
        raise Undecodable(f"{len(raw)} octets do not fit {size_bits} bits")
    return bits[:size_bits]


def bits_of(data: bytes) -> bytes:
    """Return one octet, 0 or 1, for each bit of `data`, most significant first."""
    return bytes(octet >> shift & 1 for octet in data for shift in range(7, -1, -1))


def octets(bits: bytes) -> bytes:
    """Return bits as octets, left-aligned, the last one filled with zeros."""
    padded = bits + bytes(-len(bits) % 8)
    return bytes(int(bytes(48 + bit for bit in padded[k : k + 8]), 2) for k in range(0, len(padded), 8))


def _number(bits: bytes) -> int:
    return int(bytes(48 + bit for bit in bits) or b"0", 2)


def _in_order(bits: bytes, encoding: IntegerEncoding | FloatEncoding) -> int:
    """Turn the bits first, then put the octets in order of their significance."""
    if encoding.least_significant_bit_first:
        bits = bits[::-1]
    if not encoding.byte_order:
        return _number(bits)
    if len(bits) != 8 * len(encoding.byte_order):
        raise Undecodable(f"{len(bits)} bits, byte order of {len(encoding.byte_order)} octets")
    return sum(octet << 8 * place for octet, place in zip(octets(bits), encoding.byte_order, strict=True))


def _sent(pattern: int, size_bits: int, encoding: IntegerEncoding | FloatEncoding) -> bytes:
    if encoding.byte_order:
        sent = bytes(pattern >> 8 * place & 0xFF for place in encoding.byte_order)
        bits = bits_of(sent)
    else:
        bits = bytes(pattern >> shift & 1 for shift in range(size_bits - 1, -1, -1))
    return bits[::-1] if encoding.least_significant_bit_first else bits


def _integer(pattern: int, size: int, kind: IntegerKind) -> int:
    top = 1 << (size - 1)
    match kind:
        case IntegerKind.TWOS_COMPLEMENT:
            return pattern - (pattern & top) * 2
        case IntegerKind.ONES_COMPLEMENT:
            return pattern - (2 * top - 1) if pattern & top else pattern
        case IntegerKind.SIGN_MAGNITUDE:
            return -(pattern - top) if pattern & top else pattern
        case IntegerKind.BCD | IntegerKind.PACKED_BCD:
            width = 8 if kind is IntegerKind.BCD else 4
            if size % width:
                raise Undecodable(f"{size} bits of BCD: no whole number of digits")
            digits = [pattern >> shift & (1 << width) - 1 for shift in range(size - width, -1, -width)]
            if any(digit > 9 for digit in digits):
                raise Undecodable(f"digits {digits}: BCD has 0 to 9")
            return int("".join(map(str, digits)) or "0")
        case _:
            return pattern


def integer_pattern(raw: int, size: int, kind: IntegerKind) -> int:
    """Return the bits of an integer as a number, most significant first. Raises Undecodable when it does not fit."""
    top = 1 << (size - 1)
    patterns = {
        IntegerKind.UNSIGNED: raw,
        IntegerKind.TWOS_COMPLEMENT: raw % (2 * top) if -top <= raw < top else -1,
        IntegerKind.ONES_COMPLEMENT: raw if raw >= 0 else 2 * top - 1 + raw if raw > -top else -1,
        IntegerKind.SIGN_MAGNITUDE: raw if raw >= 0 else top - raw if raw > -top else -1,
        IntegerKind.BCD: _digits(raw, 8),
        IntegerKind.PACKED_BCD: _digits(raw, 4),
    }
    signed = kind in {IntegerKind.TWOS_COMPLEMENT, IntegerKind.ONES_COMPLEMENT, IntegerKind.SIGN_MAGNITUDE}
    pattern = patterns[kind]
    if not 0 <= pattern < 2 * top or (signed and raw >= top):
        raise Undecodable(f"{raw} does not fit {size} bits {kind}")
    return pattern


def _digits(raw: int, width: int) -> int:
    return -1 if raw < 0 else sum(int(digit) << width * k for k, digit in enumerate(reversed(str(raw))))


_IEEE = {16: (">e", ">H"), 32: (">f", ">I"), 64: (">d", ">Q")}


def _real(pattern: int, size: int, kind: FloatKind) -> float:
    if kind is FloatKind.MIL_STD_1750A:
        return _mil_std_1750a(pattern, size)
    if size not in _IEEE:
        raise Undecodable(f"IEEE 754 of {size} bits: 16, 32 or 64")
    real, whole = _IEEE[size]
    return float(struct.unpack(real, struct.pack(whole, pattern))[0])


def _mil_std_1750a(pattern: int, size: int) -> float:
    """32 bits: 24 of mantissa, 8 of exponent; 48 bits: the low 16 of a 40 bit mantissa follow (MIL-STD-1750A 4.1.4)."""
    if size not in {32, 48}:
        raise Undecodable(f"MIL-STD-1750A of {size} bits: 32 or 48")
    first = pattern >> (size - 32)
    mantissa, exponent, width = first >> 8, first & 0xFF, 24
    if size == 48:
        mantissa, width = mantissa << 16 | pattern & 0xFFFF, 40
    mantissa -= (mantissa >> (width - 1)) << width
    exponent -= (exponent >> 7) << 8
    return float(Fraction(mantissa) * Fraction(2) ** (exponent - (width - 1)))


def _real_pattern(raw: float, size: int, kind: FloatKind) -> int:
    if kind is FloatKind.IEEE_754 and size in _IEEE:
        real, whole = _IEEE[size]
        try:
            return int(struct.unpack(whole, struct.pack(real, raw))[0])
        except OverflowError:
            raise Undecodable(f"{raw} does not fit IEEE 754 of {size} bits") from None
    if kind is FloatKind.MIL_STD_1750A and size in {32, 48} and math.isfinite(raw):
        return _to_mil_std_1750a(raw, size)
    raise Undecodable(f"{raw} as {kind} of {size} bits")


def _to_mil_std_1750a(raw: float, size: int) -> int:
    width = 24 if size == 32 else 40
    fraction, exponent = math.frexp(raw)  # 0.5 <= |fraction| < 1
    if fraction == -0.5:  # normalised: the two bits after the sign differ from it
        fraction, exponent = -1.0, exponent - 1
    mantissa = round(fraction * (1 << (width - 1)))
    if mantissa == 1 << (width - 1):
        mantissa, exponent = mantissa >> 1, exponent + 1
    if mantissa and exponent > 127:
        raise Undecodable(f"{raw} does not fit MIL-STD-1750A")
    if not mantissa or exponent < -128:
        mantissa = exponent = 0
    mantissa %= 1 << width
    first = (mantissa >> (width - 24)) << 8 | exponent % 256
    return first if size == 32 else first << 16 | mantissa & 0xFFFF


# ---- raw and engineering values ----


def calibrated(raw: Raw, calibrator: Calibrator, look: Look) -> Value:
    """Return the engineering value. Raises Undecodable where the calibrator does not reach."""
    if isinstance(calibrator, States):
        return _state(raw, calibrator)
    if isinstance(raw, bytes):
        raise Undecodable("octets are not calibrated")
    x = float(raw)
    match calibrator:
        case Polynomial(coefficients):
            last, *others = coefficients[::-1] or (0.0,)  # begun with the last: a constant is one of an infinite x too
            return reduce(lambda total, coefficient: total * x + coefficient, others, float(last))
        case Points():
            return _between(x, calibrator)
        case Logarithmic(coefficients):
            if x <= 0:
                raise Undecodable(f"logarithm of {x}")
            below = sum(coefficient * math.log(x) ** k for k, coefficient in enumerate(coefficients))
            return 1 / below if below else math.inf
        case Expression(text):
            parsed = parse(text)
            names: Mapping[str, float] = {
                name: x if name == "raw" else float(_numeric(look(name, True))) for name in parsed.names
            }
            return float(evaluate(parsed, names))  # type: ignore[arg-type]


def _numeric(value: Value) -> float:
    if isinstance(value, bytes | str):
        raise Undecodable(f"{value!r} is no number")
    return float(value)


def _state(raw: Raw, states: States) -> str:
    if not isinstance(raw, bytes):
        for state in states.states:
            if state.low <= raw <= state.high:
                return state.label
    if not states.otherwise:
        raise Undecodable(f"{raw!r} is in no state")
    return states.otherwise


def _between(x: float, curve: Points) -> float:
    points = curve.points
    outside = not points or not points[0][0] <= x <= points[-1][0]
    if outside and (not curve.extrapolate or not points):
        raise Undecodable(f"{x} is outside the points")
    if curve.order == 0:
        return max((point for point in points if point[0] <= x), default=points[0])[1]
    if len(points) == 1:
        return points[0][1]
    above = next((k for k in range(1, len(points) - 1) if x < points[k][0]), len(points) - 1)
    (x0, y0), (x1, y1) = points[above - 1], points[above]
    return y0 + (x - x0) * (y1 - y0) / (x1 - x0) if x1 != x0 else y0


def calibrator_for(kind: ParameterType, look: Look) -> Calibrator | None:
    """Return the calibrator that applies here: the first context that holds, else the default."""
    for context in kind.calibration.contexts:
        if holds(context.context, look):
            return context.calibrator
    return kind.calibration.default


def engineering(raw: Raw, kind: ParameterType, look: Look) -> Value:
    """Return the engineering value of a number, state, boolean, text or octets (times: as the raw value)."""
    calibrator = calibrator_for(kind, look)
    value = raw if calibrator is None else calibrated(raw, calibrator, look)
    if kind.kind == "boolean" and not isinstance(value, str):
        return bool(value)
    if kind.kind == "string" and isinstance(value, bytes):
        charset = getattr(kind.encoding, "charset", "utf-8")
        return value.decode(charset, "replace")
    return value


# ---- conditions and counts ----


def holds(match: Match, look: Look) -> bool:
    """Return whether a condition holds. What cannot be looked up or compared does not."""
    match match:
        case AllOf(terms):
            return all(holds(term, look) for term in terms)
        case AnyOf(terms):
            return any(holds(term, look) for term in terms)
        case Not(term):
            return not holds(term, look)
        case Comparison():
            return _compares(match, look)


def _compares(match: Comparison, look: Look) -> bool:
    try:
        left = look(match.parameter, match.calibrated)
        right: Value = look(match.other, match.calibrated) if match.other else match.value
    except Undecodable:
        return False
    left, right = _alike(left, right)
    if isinstance(left, str) != isinstance(right, str) or isinstance(left, bytes) != isinstance(right, bytes):
        return match.operator is Operator.NOT_EQUAL
    return bool(_OPERATIONS[match.operator](left, right))


def _alike(left: Value, right: Value) -> tuple[Value, Value]:
    if isinstance(left, bytes) and isinstance(right, str):
        return left, right.encode()
    if isinstance(left, bool) and isinstance(right, str):
        return str(left).lower(), right.lower()
    return left, right


_OPERATIONS: Mapping[Operator, Callable[..., bool]] = {
    Operator.EQUAL: lambda a, b: a == b,
    Operator.NOT_EQUAL: lambda a, b: a != b,
    Operator.LESS: lambda a, b: a < b,
    Operator.LESS_OR_EQUAL: lambda a, b: a <= b,
    Operator.GREATER: lambda a, b: a > b,
    Operator.GREATER_OR_EQUAL: lambda a, b: a >= b,
}


def integer(wanted: Integer, look: Look) -> int:
    """Return a number that the packet may state. Raises Undecodable."""
    if isinstance(wanted, int):
        return wanted
    if isinstance(wanted, DynamicInteger):
        value = wanted.slope * _numeric(look(wanted.parameter, wanted.calibrated)) + wanted.intercept
        if not math.isfinite(value):
            raise Undecodable(f"{wanted.parameter} gives {value}")
        return math.floor(value)
    return _lookup(wanted, look)


def _lookup(wanted: LookupInteger, look: Look) -> int:
    for condition, value in wanted.cases:
        if holds(condition, look):
            return value
    raise Undecodable("no case of the lookup holds")
