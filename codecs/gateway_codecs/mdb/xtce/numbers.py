"""Numbers as XTCE files write them."""

from __future__ import annotations

import math
import re

from gateway_codecs.mdb.model import Number

_RADIX = {"0x": 16, "0o": 8, "0b": 2}
_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_DIGITS_MAX = 400


def number(text: str) -> Number | None:
    """Return a decimal, hexadecimal (0x), octal (0o) or binary (0b) number; None when it is none.

    A comma for the decimal point is read (`has_comma` tells). Integers beyond 64 bits become floats.
    """
    text = text.strip()
    if not text or len(text) > _DIGITS_MAX or "_" in text:
        return None
    unsigned = text.lstrip("+-")
    radix = _RADIX.get(unsigned[:2].lower(), 10)
    try:
        value: Number = int(text, radix)
        return value if abs(value) < 1 << 64 else float(value)
    except (ValueError, OverflowError):
        pass
    try:
        value = float(text.replace(",", ".") if has_comma(text) else text)
    except ValueError:
        return None
    return None if math.isnan(value) else value


def has_comma(text: str) -> bool:
    """Return whether a number has a comma for its decimal point."""
    return bool(_COMMA.fullmatch(text.strip()))


def whole(text: str) -> int | None:
    """Return a whole number; None when it is none."""
    value = number(text)
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value == int(value) else None
    return value
