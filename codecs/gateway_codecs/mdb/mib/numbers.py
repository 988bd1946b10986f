"""Numbers as MIB tables write them: decimal, 0x hexadecimal, leading 0 octal, a point or a comma."""

from __future__ import annotations

import math
import re
from functools import lru_cache

from gateway_codecs.mdb.model import Number

_WHOLE = re.compile(r"[+-]?[0-9]+"), 10
_OCTAL = re.compile(r"[+-]?0[0-7]+"), 8
_HEX = re.compile(r"[+-]?0[xX][0-9a-fA-F]+"), 16
_REAL = re.compile(r"[+-]?(?:[0-9]+[.,]?[0-9]*|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?")
_BARE = {"H": (re.compile(r"[+-]?[0-9a-fA-F]+"), 16), "O": (re.compile(r"[+-]?[0-7]+"), 8)}
_LENGTH_MAX = 64
REMEMBERED = 1 << 14
"""Texts whose numbers are kept: most cells of a MIB are one of few."""


@lru_cache(REMEMBERED)
def number(text: str, radix: str = "D") -> Number | None:
    """Return the number in a cell, None when it is none; `radix` H or O: digits without prefix are of that base.

    A leading 0 makes a whole number octal, unless it has an 8 or a 9.
    """
    text = text.strip()
    if not text or len(text) > _LENGTH_MAX:
        return None
    for pattern, base in (_HEX, *([_BARE[radix]] if radix in _BARE else []), _OCTAL, _WHOLE):
        if pattern.fullmatch(text):
            value = int(text, base)
            return value if abs(value) < 1 << 63 else float(value)
    if _REAL.fullmatch(text):
        real = float(text.replace(",", "."))
        return real if math.isfinite(real) else None
    return None


@lru_cache(REMEMBERED)
def whole(text: str) -> int | None:
    """Return the whole number in a cell, None when it is none; 3.0 is 3."""
    value = number(text)
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value
