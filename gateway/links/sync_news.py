"""What happened to the alignment of a link's CADUs, as events: each at once while there are few, else summed up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from gateway_codecs.batches import Transition

TOLD_ONE_BY_ONE = 6
WINDOW_S = 10.0
PLURAL = {"lock": "locks", "loss": "losses", "slip": "slips", "inversion": "inversions"}


class SyncNews:
    """Remembers how many were told in this window. Times are monotonic seconds, given as arguments."""

    def __init__(self, link: str) -> None:
        self._link = link
        self._began_s = float("-inf")
        self._told = 0
        self._untold: Counter[str] = Counter()

    def take(self, transitions: Iterable[Transition], now_s: float, last: bool = False) -> list[dict[str, Any]]:
        """Return events for transitions, and for those of before whose window is over; at the `last` time for all."""
        events = [self._summary()] if self._untold and (last or now_s - self._began_s >= WINDOW_S) else []
        for transition in transitions:
            if now_s - self._began_s >= WINDOW_S:
                self._began_s, self._told = now_s, 0
            if self._told < TOLD_ONE_BY_ONE and not self._untold:
                self._told += 1
                events.append(self._event(transition))
            else:
                self._untold[transition.what] += 1
        if last and self._untold:
            events.append(self._summary())
        return events

    def _event(self, transition: Transition) -> dict[str, Any]:
        told = {"transition": transition.what, "position_bits": transition.position_bits, "bits": transition.bits}
        return {
            "what": "sync",
            "severity": "info" if transition.what == "lock" else "warning",
            "message": f"{self._link}: {_words(transition)}",
            **told,
        }

    def _summary(self) -> dict[str, Any]:
        counts, self._untold = dict(self._untold), Counter()
        text = ", ".join(f"{count} {PLURAL[what] if count > 1 else what}" for what, count in counts.items())
        message = f"{self._link}: synchronisation is unsteady: {text} more"
        return {"what": "sync", "severity": "warning", "message": message, "transition": "several", **_counted(counts)}


def _counted(counts: dict[str, int]) -> dict[str, int]:
    return {PLURAL[what]: count for what, count in counts.items()}


def _words(transition: Transition) -> str:
    at, bits = f"at bit {transition.position_bits}", transition.bits
    if transition.what == "lock":
        return f"in lock {at}" + (f" after {bits} bits outside CADUs" if bits else "")
    if transition.what == "loss":
        return f"lock lost {at}, {bits} bits after the last good marker"
    if transition.what == "slip":
        return f"slip of {abs(bits)} {'bit' if abs(bits) == 1 else 'bits'} {'late' if bits > 0 else 'early'} {at}"
    return f"the polarity is inverted from {at[3:]} on"
