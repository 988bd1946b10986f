"""Frame header error control of AOS frames (CCSDS 732.0-B-4, 4.1.2.6): a shortened Reed-Solomon code (10,6).

Its ten symbols of 4 bits are octets 0, 1 and 5 of the header (spacecraft and virtual channel, signalling field)
and the two octets of the field itself, octets 6 and 7; the frame count is not protected. Field
x^4 + x + 1, roots alpha^6 to alpha^9: up to two wrong symbols are corrected.

The four parity symbols that a header lacks, 16 bits, tell which symbols are wrong: they are looked up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import U8Array
from gateway_codecs.declared import FormatError

HEADER_OCTETS = 6
FIELD_OCTETS = 2
PROTECTED = (0, 1, 5, 6, 7)
"""The octets of header and field that are symbols of the code, in its order."""
UNCORRECTABLE = -1
_POWERS = (1, 2, 4, 8, 3, 6, 12, 11, 5, 10, 7, 14, 15, 13, 9)
_GENERATOR = (_POWERS[3], _POWERS[1], _POWERS[3], 1)
"""x^4 + a^3 x^3 + a x^2 + a^3 x + 1 without its first term."""

_U16Array = NDArray[np.uint16]


@dataclass(frozen=True, slots=True, eq=False)
class Corrected:
    """Headers with their field, uint8 (n, 8), and how many symbols (0 to 2) were corrected in each, int8 (n,).

    -1 = uncorrectable: that header is as received.
    """

    headers: U8Array
    corrected: NDArray[np.int8]


def protect(headers: U8Array) -> U8Array:
    """Return the field, uint8 (n, 2), of AOS primary headers uint8 (n, 6). Raises FormatError for other shapes."""
    _check(headers, HEADER_OCTETS)
    return _parity(headers).astype(">u2").view(np.uint8).reshape(-1, FIELD_OCTETS)


def correct(headers: U8Array) -> Corrected:
    """Correct headers that are followed by their field, uint8 (n, 8); the input is not changed.

    Raises FormatError for other shapes.
    """
    _check(headers, HEADER_OCTETS + FIELD_OCTETS)
    out = headers.copy()
    received = (headers[:, 6].astype(np.uint16) << 8) | headers[:, 7]
    syndrome = _parity(headers) ^ received
    patterns, counts = _corrections()
    wrong = np.flatnonzero(syndrome)
    if len(wrong):
        out[wrong[:, None], PROTECTED] ^= patterns[syndrome[wrong]]
    return Corrected(out, counts[syndrome])


def _check(headers: U8Array, octets: int) -> None:
    if headers.ndim != 2 or headers.shape[1] != octets or headers.dtype != np.uint8:
        raise FormatError(f"header error control: headers are uint8 (n, {octets}), not {headers.dtype} {headers.shape}")


def _parity(headers: U8Array) -> _U16Array:
    table = _parity_table()
    parity: _U16Array = table[0, headers[:, 0]] ^ table[1, headers[:, 1]] ^ table[2, headers[:, 5]]
    return parity


def _times(a: int, b: int) -> int:
    return _POWERS[(_POWERS.index(a) + _POWERS.index(b)) % 15] if a and b else 0


def _parity_of(symbols: list[int]) -> int:
    """Return the four parity symbols of six, as 16 bits: the remainder of a division by the generator."""
    rest = [0, 0, 0, 0]
    for symbol in symbols:
        factor = symbol ^ rest[0]
        rest = [down ^ _times(factor, g) for down, g in zip([*rest[1:], 0], _GENERATOR, strict=True)]
    return rest[0] << 12 | rest[1] << 8 | rest[2] << 4 | rest[3]


@cache
def _parity_table() -> _U16Array:
    """Return what each octet at each of the three places adds to the parity, uint16 (3, 256)."""
    table = np.zeros((3, 256), np.uint16)
    for place in range(3):
        for octet in range(256):
            symbols = [0] * 6
            symbols[2 * place : 2 * place + 2] = octet >> 4, octet & 15
            table[place, octet] = _parity_of(symbols)
    return table


@cache
def _corrections() -> tuple[U8Array, NDArray[np.int8]]:
    """Return for each of the 65,536 syndromes what to add to the protected octets, and how many symbols that are.

    All patterns of one or two wrong symbols have a syndrome of their own (the code's distance is five).
    """
    patterns = np.zeros((1 << 16, len(PROTECTED)), np.uint8)
    counts = np.full(1 << 16, UNCORRECTABLE, np.int8)
    counts[0] = 0
    values = np.arange(1, 16, dtype=np.uint8)
    single = np.zeros((10, 15, len(PROTECTED)), np.uint8)
    for place in range(10):
        single[place, :, place // 2] = values << (0 if place % 2 else 4)
    syndromes = _parity_table()[np.arange(3), single[..., :3]]
    syndrome = np.bitwise_xor.reduce(syndromes, axis=-1) ^ (single[..., 3].astype(np.uint16) << 8) ^ single[..., 4]
    patterns[syndrome], counts[syndrome] = single, 1
    for one, other in combinations(range(10), 2):
        both = syndrome[one][:, None] ^ syndrome[other]
        patterns[both], counts[both] = single[one][:, None] ^ single[other], 2
    return patterns, counts
