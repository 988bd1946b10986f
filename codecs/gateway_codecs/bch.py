"""BCH code of telecommands (CCSDS 231.0-B, section 3): 56 bits of data, 7 of parity, a filler bit.

g(x) = x^7 + x^6 + x^2 + 1. The parity is sent inverted, and a filler bit, 0, makes eight octets. A decoder works in one
of two modes: *ted* detects up to three wrong bits and corrects none; *sec* corrects one and detects two. The
filler bit is not protected and says nothing: it is not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import U8Array
from gateway_codecs.declared import FormatError

BchMode = Literal["ted", "sec"]
"""Triple error detection, or single error correction."""
DATA_OCTETS, BLOCK_OCTETS = 7, 8
GENERATOR = 0xC5
"""x^7 + x^6 + x^2 + 1."""
CODE_BITS = 63
UNCORRECTABLE = -1
_TOP, _MASK = 0x80, 0x7F
_BIT = np.array([0x80 >> bit for bit in range(8)], np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """The data of code blocks, uint8 (n, 7), and how many bits (0 or 1) were corrected in each, int8 (n,).

    -1 = more is wrong than the mode corrects: that data is as received. A bit corrected in the parity counts.
    """

    data: U8Array
    corrected: NDArray[np.int8]


def encode(data: U8Array) -> U8Array:
    """Return the code blocks, uint8 (n, 8), of data uint8 (n, 7). Raises FormatError for other shapes."""
    _check(data, DATA_OCTETS)
    return np.concatenate([data, (~_remainder(data) << 1 & 0xFE)[:, None]], axis=1)


def decode(blocks: U8Array, mode: BchMode = "ted") -> Decoded:
    """Decode code blocks, uint8 (n, 8); the input is not changed. Raises FormatError for other shapes."""
    _check(blocks, BLOCK_OCTETS)
    syndrome = _remainder(blocks) ^ ~blocks[:, DATA_OCTETS] >> 1
    data, corrected = blocks[:, :DATA_OCTETS].copy(), np.where(syndrome == 0, 0, UNCORRECTABLE).astype(np.int8)
    if mode == "sec":
        bits = _wrong_bits()[syndrome]
        corrected[bits >= 0] = 1
        mend = np.flatnonzero((bits >= 0) & (bits < 8 * DATA_OCTETS))
        data[mend, bits[mend] // 8] ^= _BIT[bits[mend] & 7]
    return Decoded(data, corrected)


def _check(rows: U8Array, octets: int) -> None:
    if rows.ndim != 2 or rows.shape[1] != octets or rows.dtype != np.uint8:
        raise FormatError(f"BCH: rows are uint8 (n, {octets}), not {rows.dtype} {rows.shape}")


def _remainder(rows: U8Array) -> U8Array:
    """Return the remainder, uint8 (n,), of the first seven octets of the rows: the parity before it is inverted."""
    table = _table()
    parts = table[np.arange(DATA_OCTETS), rows[:, :DATA_OCTETS]]
    remainder: U8Array = np.bitwise_xor.reduce(parts, axis=1)
    return remainder


@cache
def _table() -> U8Array:
    """Return what each octet at each of the seven places adds to the remainder, uint8 (7, 256)."""
    table = np.zeros((DATA_OCTETS, 256), np.uint8)
    for place in range(DATA_OCTETS):
        for octet in range(256):
            table[place, octet] = _divided(octet << 8 * (DATA_OCTETS - 1 - place))
    return table


def _divided(data: int) -> int:
    """Return the remainder of data, 56 bits, times x^7, divided by the generator."""
    rest = 0
    for bit in range(8 * DATA_OCTETS - 1, -1, -1):
        rest = rest << 1 ^ (data >> bit & 1) << 7
        rest ^= GENERATOR if rest & _TOP else 0
    return rest & _MASK


@cache
def _wrong_bits() -> NDArray[np.int8]:
    """Return for each of the 128 syndromes which single bit, 0 (sent first) to 62, is wrong; -1 = no single one.

    All 63 have a syndrome of their own; that of the tail sequence of a CLTU is none of them.
    """
    bits = np.full(_MASK + 1, -1, np.int8)
    power = 1  # x^0 is the last parity bit
    for bit in range(CODE_BITS - 1, -1, -1):
        bits[power] = bit
        power = power << 1 ^ (GENERATOR if power << 1 & _TOP else 0)
    return bits
