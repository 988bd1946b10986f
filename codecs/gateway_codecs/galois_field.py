"""The field of the Reed-Solomon codes, GF(256) modulo x^8 + x^7 + x^2 + x + 1 (CCSDS 131.0-B-5, 4.3), for numpy.

Everything that these codes compute from symbols is linear over GF(2), so a code word's parity, its syndromes
and the values of its polynomials are sums (exclusive or) of one table row per symbol: `row_sums`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import U8Array

FIELD_POLYNOMIAL = 0x187
CHUNK_OCTETS = 1 << 21
"""Rows gathered at a time: they are read again at once, so they must stay in a cache."""

_U64Array = NDArray[np.uint64]


def _powers() -> U8Array:
    powers, value = [], 1
    for _ in range(255):
        powers.append(value)
        value <<= 1
        value ^= FIELD_POLYNOMIAL if value >> 8 else 0
    return np.array(powers * 2, np.uint8)


EXP = _powers()
"""alpha^i for i in 0..509, uint8."""
LOG = np.zeros(256, np.intp)
"""i with alpha^i = the value, for values 1..255; 0 for 0, which has none."""
LOG[EXP[:255]] = np.arange(255)


def times_power(values: U8Array, exponents: NDArray[Any]) -> U8Array:
    """Return values * alpha^exponents, broadcast together, as uint8. For making tables."""
    return np.where(values == 0, np.uint8(0), EXP[(LOG[values] + exponents) % 255])


PRODUCTS: U8Array = np.where(
    np.arange(256)[:, None] == 0, np.uint8(0), times_power(np.arange(256, dtype=np.uint8)[None], LOG[:, None])
).ravel()
"""a * b at 256 a + b, uint8 (65536,)."""


def multiply(a: U8Array, b: U8Array) -> U8Array:
    """Return the products, broadcast together, as uint8."""
    return PRODUCTS.take((a.astype(np.uint16) << 8) | b, mode="clip")


def as_rows(table: U8Array) -> _U64Array:
    """Return a table uint8 (places, 256, width) for `row_sums`; the width is a multiple of 8 octets."""
    return np.ascontiguousarray(table).view(np.uint64)


def row_sums(table: _U64Array, symbols: U8Array) -> U8Array:
    """Return for each column of symbols (places, n) the sum of table[place, symbol], as uint8 (n, width).

    `table` is of `as_rows`. Three numpy calls per chunk: measured faster than one place at a time.
    """
    places, count = symbols.shape
    width = table.shape[2]
    flat = table.reshape(-1, width)
    first_row = (np.arange(places, dtype=np.intp) * 256)[:, None]
    sums = np.empty((count, width), np.uint64)
    step = max(1, CHUNK_OCTETS // max(1, places * width * 8))
    for at in range(0, count, step):
        rows = flat.take(symbols[:, at : at + step] + first_row, axis=0, mode="clip")
        np.bitwise_xor.reduce(rows, axis=0, out=sums[at : at + step])
    return sums.view(np.uint8)
