"""The space link's bad weather, seeded: what becomes of each frame. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass

SENT, NOISE, LOST, CUT = "sent", "noise", "lost", "cut"


@dataclass(frozen=True, slots=True)
class Weather:
    """Chances per frame, and how long a run of lost frames is at most."""

    noise: float = 0.01
    loss: float = 0.008
    burst_frames: int = 4


class SpaceLink:
    """Decides each frame's fate and damages the noisy ones."""

    def __init__(self, seed: int, weather: Weather) -> None:
        self._random, self._weather, self._burst = random.Random(seed ^ 0x5EED), weather, 0

    def pass_on(self, octets: bytes) -> tuple[str, bytes]:
        """Return the fate of a frame and the octets that arrive (empty when lost)."""
        fate = self.fate()
        return fate, b"" if fate == LOST else self._noisy(octets) if fate == NOISE else octets

    def fate(self) -> str:
        """Return what becomes of the next frame."""
        if self._burst:
            self._burst -= 1
            return LOST
        chance = self._random.random()
        if chance < self._weather.loss:
            self._burst = self._random.randrange(self._weather.burst_frames)
            return LOST
        return NOISE if chance < self._weather.loss + self._weather.noise else SENT

    def _noisy(self, octets: bytes) -> bytes:
        """Flip one to three neighbouring bits: the CRC-16 finds every such burst."""
        damaged = bytearray(octets)
        damaged[self._random.randrange(len(octets))] ^= self._random.choice((0x01, 0x18, 0x70))
        return bytes(damaged)
