"""CADUs as a stream of bits, and what a rough channel does to them. Seeded, pure.

What happens to a frame is either mended by its code or certain to destroy it, so that a ledger can say which frames
must arrive.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from gateway_simulators.coder import MARKER, Coder
from gateway_simulators.space_link import LOST, NOISE, SENT

SLIP, INVERTED = "slip", "inversion"
MOST_SLIPPED_BITS = 2


@dataclass(frozen=True, slots=True)
class Roughness:
    """Chances per frame of a slip of one or two bits and of an inversion; the share of bits that noise changes."""

    slips: float = 0.0
    inversions: float = 0.0
    bit_noise: float = 0.0


class RadioLink:
    """Takes frames with their fate, gives octets of a stream of bits: what does not fill an octet waits."""

    def __init__(self, seed: int, roughness: Roughness, coder: Coder) -> None:
        self._random = random.Random(seed ^ 0xB175)
        self._noise = np.random.default_rng(seed)
        self._rough, self._coder = roughness, coder
        self._rest = np.zeros(0, np.uint8)
        self._inverted = False
        self.begin()

    def begin(self) -> None:
        """A demodulator begins: at any bit of an octet."""
        self._rest = self._some_bits(self._random.randrange(8))

    def pass_on(self, fate: str, frame: bytes) -> tuple[str, bytes]:
        """Return a frame's fate and the octets that arrive. A frame that the space link lost comes as noise."""
        octets = np.frombuffer(self._coder.cadu(frame, spoilt=fate == NOISE), np.uint8)
        if fate == LOST:
            octets = self._noise.integers(0, 256, len(octets), dtype=np.uint8)
        bits = np.unpackbits(octets)
        if fate == SENT:
            fate, bits = self._roughened(bits)
        bits ^= (self._noise.random(len(bits)) < self._rough.bit_noise).astype(np.uint8)
        return fate, self._take(bits ^ np.uint8(self._inverted) if fate != INVERTED else bits)

    def _roughened(self, bits: np.ndarray) -> tuple[str, np.ndarray]:
        """Let bits slip, or change the polarity, in the first half of a code block."""
        chance, at = self._random.random(), self._random.randrange(8 * len(MARKER), len(bits) // 2)
        if chance < self._rough.slips:
            count = self._random.randint(1, MOST_SLIPPED_BITS)
            if self._random.random() < 0.5:
                return SLIP, np.delete(bits, slice(at, at + count))
            return SLIP, np.insert(bits, at, self._some_bits(count))
        if chance < self._rough.slips + self._rough.inversions:
            bits ^= np.uint8(self._inverted)
            self._inverted = not self._inverted
            bits[at:] ^= 1
            return INVERTED, bits
        return SENT, bits

    def _some_bits(self, count: int) -> np.ndarray:
        return np.array([self._random.randrange(2) for _ in range(count)], np.uint8)

    def _take(self, bits: np.ndarray) -> bytes:
        whole = np.concatenate([self._rest, bits])
        count = len(whole) // 8 * 8
        self._rest = whole[count:]
        return np.packbits(whole[:count]).tobytes()

    def flush(self) -> bytes:
        """Return what waits, filled to an octet: nothing follows."""
        rest, self._rest = self._rest, np.zeros(0, np.uint8)
        return np.packbits(rest).tobytes()
