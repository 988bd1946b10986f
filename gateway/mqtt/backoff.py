"""How long to wait before trying again: longer each time, capped, jittered, short again after a life that held."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

HELD_S = 10.0


@dataclass(slots=True)
class Backoff:
    """Waits between attempts. A life of HELD_S or more begins anew."""

    first_s: float = 0.2
    most_s: float = 10.0
    chance: Callable[[], float] = random.random
    _next_s: float = 0.0

    def after(self, lived_s: float) -> float:
        """Return how long to wait after an attempt that lived so long."""
        self._next_s = self.first_s if lived_s >= HELD_S or not self._next_s else min(self._next_s * 2, self.most_s)
        return self._next_s * (0.5 + self.chance() / 2)
