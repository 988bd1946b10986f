"""What requests cost who asks: each has an allowance that fills again, and who has used it up is put off (R13). Pure.

A *payer* is a home base, whatever tokens, connections and addresses it uses; or, of who shows no token that holds, the
address. So a home base behind the same address as somebody who guesses tokens pays nothing for him.
"""

from __future__ import annotations

REQUESTS_PER_S, REQUESTS_AT_ONCE = 25.0, 250.0
"""What an allowance gets each second, and the most that it holds; a request costs one."""
REFUSED = 4.0
"""What a refusal costs beside: it is made anew for each who asks, and nobody needs many."""
PAYERS_MAX = 4096
OTHERS = "others"
"""Beyond so many payers at a time the rest share one allowance: who has many addresses wins nothing by it."""


class Tolls:
    """The allowances; only those that are not full are kept. Times are seconds of a monotonic clock."""

    def __init__(self, per_s: float = REQUESTS_PER_S, at_once: float = REQUESTS_AT_ONCE) -> None:
        self._per_s, self._at_once = per_s, at_once
        self._left: dict[str, tuple[float, float]] = {}  # what was left, and when

    def admit(self, payer: str, cost: float, now_s: float) -> bool:
        """Take what a request costs, and return whether there was any allowance left; if not, nothing is taken."""
        left = self._allowance(payer, now_s)
        if left < 1:
            return False
        self.charge(payer, cost, now_s)
        return True

    def charge(self, payer: str, cost: float, now_s: float) -> None:
        """Take what something has cost, also when there is not so much: then it is missing later."""
        key = self._kept(payer, now_s)
        self._left[key] = (max(-self._at_once, self._allowance(key, now_s) - cost), now_s)

    def _allowance(self, payer: str, now_s: float) -> float:
        left, then_s = self._left.get(payer) or self._left.get(self._kept(payer, now_s), (self._at_once, now_s))
        return min(self._at_once, left + max(0.0, now_s - then_s) * self._per_s)

    def _kept(self, payer: str, now_s: float) -> str:
        """Return under which name a payer is kept; what is full again is forgotten when there are many."""
        if payer in self._left or len(self._left) < PAYERS_MAX:
            return payer
        full_s = self._at_once / self._per_s
        self._left = {
            key: (left, then_s)
            for key, (left, then_s) in self._left.items()
            if now_s - then_s < 2 * full_s and left + (now_s - then_s) * self._per_s < self._at_once
        }
        return payer if len(self._left) < PAYERS_MAX else OTHERS

    def __len__(self) -> int:
        """How many payers are kept."""
        return len(self._left)
