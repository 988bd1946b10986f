"""Randomisers of telemetry (CCSDS 131.0-B-5, clause 10): the sequences that make code blocks look like noise.

A sequence begins anew at the first bit behind the marker and is added (exclusive or) to the whole
code block, parity included, never to the marker; doing it twice undoes it. *short* is the sequence of
255 bits of all issues (x^8 + x^7 + x^5 + x^3 + 1), *long* the one of 131,071 bits from issue 5 on
(x^17 + x^14 + 1). The randomiser of telecommands (CCSDS 231.0-B, section 6) is another one: `tc_sequence`.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np

from gateway_codecs.batches import U8Array
from gateway_codecs.declared import FormatError

RandomiserKind = Literal["none", "short", "long"]
SHORT_TAPS = (0, 3, 5, 7)
"""s[n+8] is the sum of the bits s[n+tap]."""
LONG_TAPS = (0, 14)
"""s[n+17] is the sum of the bits s[n+tap]."""
TC_TAPS = (0, 1, 2, 3, 4, 6)
"""Of telecommands: x^8 + x^6 + x^4 + x^3 + x^2 + x + 1; the seed is that of the short sequence."""
SHORT_SEED = "11111111"
LONG_SEED = "00011100011100011"
"""In the order sent. The book prints it the other way round: its last printed bit is sent first."""


def sequence(kind: RandomiserKind, octets: int) -> U8Array:
    """Return the first `octets` octets of the sequence as uint8 (octets,); zeros for "none"."""
    if octets < 0:
        raise FormatError(f"randomiser: a sequence of {octets} octets")
    period = _period_octets(kind)
    return np.resize(period, octets) if octets > len(period) else period[:octets].copy()


def derandomise(blocks: U8Array, kind: RandomiserKind) -> U8Array:
    """Return the code blocks (n, L) uint8 without the sequence (or with it, if they had none).

    The input is not changed; with "none" it is what is returned. Raises FormatError when the blocks
    are no two-dimensional uint8.
    """
    if blocks.ndim != 2 or blocks.dtype != np.uint8:
        raise FormatError(f"randomiser: code blocks are uint8 (n, octets), not {blocks.dtype} {blocks.shape}")
    if kind == "none":
        return blocks
    return blocks ^ sequence(kind, blocks.shape[1])


def tc_sequence(octets: int) -> U8Array:
    """Return the first `octets` octets of the sequence of telecommands as uint8 (octets,)."""
    if octets < 0:
        raise FormatError(f"randomiser: a sequence of {octets} octets")
    return np.resize(_tc_period_octets(), octets)


@cache
def _tc_period_octets() -> U8Array:
    return np.packbits(np.tile(_period_bits(SHORT_SEED, TC_TAPS), 8))


@cache
def _period_octets(kind: RandomiserKind) -> U8Array:
    """Return the octets after which the sequence repeats at an octet boundary."""
    if kind == "none":
        return np.zeros(1, np.uint8)
    bits = _period_bits(SHORT_SEED, SHORT_TAPS) if kind == "short" else _period_bits(LONG_SEED, LONG_TAPS)
    return np.packbits(np.tile(bits, 8))


def _period_bits(seed: str, taps: tuple[int, ...]) -> U8Array:
    """Return one period of the recurrence as bits, uint8 (2**degree - 1,).

    Squaring a polynomial over GF(2) doubles its exponents, so the sequence obeys the recurrence with
    all distances times 2, 4, 8, ... too, and more and more bits can be made at a time.
    """
    degree = len(seed)
    bits = np.zeros((1 << degree) - 1, np.uint8)
    bits[:degree] = [int(bit) for bit in seed]
    known, scale = degree, 1
    while known < len(bits):
        while 2 * scale * degree <= known:
            scale *= 2
        start = known - scale * degree
        new = min(scale * (degree - taps[-1]), len(bits) - known)
        for tap in taps:
            bits[known : known + new] ^= bits[start + scale * tap : start + scale * tap + new]
        known += new
    return bits
