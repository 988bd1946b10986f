"""Bit patterns of many fields of one encoding into numbers: byte and bit order, signs, digits, reals.

A pattern is a uint64 with the field's bits at the low end, the first bit sent the most significant one. `scalar` does
the same for one value and is what this is tested against.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import BoolArray
from gateway_codecs.mdb.model import FloatEncoding, FloatKind, IntegerEncoding, IntegerKind

U64Array = NDArray[np.uint64]
_SWAPS = ((1, 0x5555555555555555), (2, 0x3333333333333333), (4, 0x0F0F0F0F0F0F0F0F))


def numbers(patterns: U64Array, encoding: IntegerEncoding | FloatEncoding) -> tuple[NDArray[Any], BoolArray | None]:
    """Return the raw values of patterns, of the same shape, and where they are none (zero there; None = nowhere).

    Under `np.errstate(invalid="ignore")`: a signalling NaN becomes a quiet one.
    """
    ordered = in_order(patterns, encoding)
    if isinstance(encoding, IntegerEncoding):
        return _integers(ordered, encoding)
    if encoding.kind is FloatKind.MIL_STD_1750A:
        return _mil_std_1750a(ordered, encoding.size_bits), None
    return _ieee_754(ordered, encoding.size_bits), None


def in_order(patterns: U64Array, encoding: IntegerEncoding | FloatEncoding) -> U64Array:
    """Turn the bits first, then put the octets in order of their significance."""
    size, order = encoding.size_bits, encoding.byte_order
    if encoding.least_significant_bit_first:
        patterns = _turned(patterns) >> np.uint64(64 - size)
    octets = size // 8
    if not order or order == tuple(range(octets))[::-1]:
        return patterns
    if order == tuple(range(octets)):
        return patterns.byteswap() >> np.uint64(64 - size)
    found = np.zeros_like(patterns)
    for sent, significance in enumerate(order):
        octet = patterns >> np.uint64(8 * (octets - 1 - sent)) & np.uint64(0xFF)
        found |= octet << np.uint64(8 * significance)
    return found


def _turned(patterns: U64Array) -> U64Array:
    """Reverse all 64 bits."""
    for shift, mask in _SWAPS:
        width, low = np.uint64(shift), np.uint64(mask)
        patterns = (patterns >> width & low) | (patterns & low) << width
    return patterns.byteswap()


def _integers(patterns: U64Array, encoding: IntegerEncoding) -> tuple[NDArray[Any], BoolArray | None]:
    size = encoding.size_bits
    top = np.uint64(1 << (size - 1))
    match encoding.kind:
        case IntegerKind.TWOS_COMPLEMENT:
            unused = np.int64(64 - size)
            return (patterns.view(np.int64) << unused) >> unused, None
        case IntegerKind.ONES_COMPLEMENT:
            mask = np.uint64((1 << size) - 1)
            return np.where(patterns & top, -((~patterns & mask).view(np.int64)), patterns.view(np.int64)), None
        case IntegerKind.SIGN_MAGNITUDE:
            magnitude = (patterns & ~top).view(np.int64)
            return np.where(patterns & top, -magnitude, magnitude), None
        case IntegerKind.BCD:
            return _digits(patterns, size, 8)
        case IntegerKind.PACKED_BCD:
            return _digits(patterns, size, 4)
        case _:
            return patterns, None


def _digits(patterns: U64Array, size: int, width: int) -> tuple[U64Array, BoolArray | None]:
    value, bad = np.zeros_like(patterns), np.zeros(patterns.shape, np.bool_)
    mask, ten = np.uint64((1 << width) - 1), np.uint64(10)
    for shift in range(size - width, -1, -width):
        digit = patterns >> np.uint64(shift) & mask
        bad |= digit > 9
        value = value * ten + digit
    if not bad.any():
        return value, None
    value[bad] = 0
    return value, bad


def _ieee_754(patterns: U64Array, size: int) -> NDArray[np.float64]:
    if size == 64:
        return patterns.view(np.float64)
    whole, real = (np.uint32, np.float32) if size == 32 else (np.uint16, np.float16)
    narrow = patterns.astype(whole).view(real)
    return narrow.astype(np.float64)


def _mil_std_1750a(patterns: U64Array, size: int) -> NDArray[np.float64]:
    """MIL-STD-1750A 4.1.4: 24 bits of mantissa and 8 of exponent; in 48 bits 16 more of mantissa follow."""
    signed = patterns.view(np.int64) << np.int64(64 - size)
    mantissa = signed >> np.int64(40)
    exponent = (signed << np.int64(24)) >> np.int64(56)
    bits = 23
    if size == 48:
        mantissa = mantissa << np.int64(16) | (patterns & np.uint64(0xFFFF)).view(np.int64)
        bits = 39
    return np.ldexp(mantissa.astype(np.float64), (exponent - bits).astype(np.int32))


def native(windows: U64Array) -> U64Array:
    """Turn windows of eight octets, as they lie in memory, into numbers, in place."""
    return windows.byteswap(inplace=True) if sys.byteorder == "little" else windows
