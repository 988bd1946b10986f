"""The sending end of the physical channel: frames become CADUs, and the channel spoils symbols of them. Seeded, pure.

CCSDS 131.0-B-5: Reed-Solomon (255,223), interleave 5 (frames of 1115 octets), dual basis; the short randomiser; the
marker 1ACFFC1D.
"""

from __future__ import annotations

import random

import numpy as np

from gateway_codecs.randomiser import derandomise
from gateway_codecs.reed_solomon import ReedSolomon

MARKER = bytes.fromhex("1ACFFC1D")
CODE = ReedSolomon(16, 5, "dual")


class Coder:
    """Makes CADUs in which up to `symbol_errors` symbols of each code word are wrong, at most 16 can be mended."""

    def __init__(self, seed: int, symbol_errors: int) -> None:
        self._random, self._symbol_errors = random.Random(seed ^ 0xC0DE), symbol_errors

    def cadu(self, frame: bytes, spoilt: bool = False) -> bytes:
        """Return the CADU of a frame, uint8 octets; `spoilt` with one symbol more than can be mended in one word."""
        blocks = CODE.encode(np.frombuffer(frame, np.uint8)[np.newaxis])
        sent = derandomise(blocks, "short")[0].copy()
        for word in range(CODE.interleave):
            errors = self._random.randint(0, self._symbol_errors)
            if spoilt and word == 0:
                errors = CODE.e + 1
            for symbol in self._random.sample(range(len(sent) // CODE.interleave), errors):
                sent[symbol * CODE.interleave + word] ^= self._random.randint(1, 255)
        return MARKER + bytes(sent)
