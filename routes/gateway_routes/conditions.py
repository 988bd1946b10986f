"""What is wrong now, and what of it is new or over: conditions as values, and a book that remembers them. Pure.

A condition is found anew each time somebody looks; the book compares what is found with what was found before, so
that each one becomes one event when it begins (or grows worse) and one when it ends, and says since when it holds.
Time is the monotonic time in seconds, given as an argument.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

SEVERITIES = ("critical", "error", "warning", "info")
"""The worst first."""
SETTLED_S = 3.0
"""A condition that was gone for less than this has not ended: one that flaps is one condition."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Something the operator should know: what (a fixed word or two), of what, in which words, what to do about it.

    `told` says that whoever found it has an event of its own for it.
    """

    severity: str
    what: str
    subject: str
    text: str
    remedy: str = ""
    told: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same condition as before, though its text and severity change."""
        return (self.what, self.subject)


def worst_first(rows: Iterable[Condition]) -> list[Condition]:
    """Return the conditions in the order in which they are shown."""
    return sorted(rows, key=lambda row: SEVERITIES.index(row.severity))


@dataclass(frozen=True, slots=True)
class Change:
    """A condition began, became worse, or ended after `lasted_s`."""

    condition: Condition
    state: str  # begun, worse, ended
    lasted_s: float = 0.0

    def event(self) -> dict[str, Any]:
        """Return the event that tells it."""
        row = self.condition
        text = f"{row.subject}: {row.text}"
        if self.state == "ended":
            text = f"{row.subject}: over after {self.lasted_s:.0f} s ({row.what}: {row.text})"
        severity = "info" if self.state == "ended" else row.severity
        told = {"type": "condition", "severity": severity, "message": text, "condition": row.what}
        return told | {"subject": row.subject, "state": self.state, "remedy": row.remedy}


@dataclass(slots=True)
class _Held:
    condition: Condition
    since_s: float
    seen_s: float


class ConditionBook:
    """Remembers which conditions hold. `update` is called about each second with all that are found."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], _Held] = {}

    def update(self, found: Iterable[Condition], now_s: float) -> list[Change]:
        """Take what is found now; returns what is new, worse or over."""
        changes: list[Change] = []
        for row in found:
            held = self._held.get(row.key)
            if held is None:
                self._held[row.key] = _Held(row, now_s, now_s)
                changes.append(Change(row, "begun"))
                continue
            if SEVERITIES.index(row.severity) < SEVERITIES.index(held.condition.severity):
                changes.append(Change(row, "worse"))
                held.condition = row
            held.condition, held.seen_s = replace(row, severity=_worse(row, held.condition)), now_s
        for key, held in list(self._held.items()):
            if now_s - held.seen_s >= SETTLED_S:
                del self._held[key]
                changes.append(Change(held.condition, "ended", held.seen_s - held.since_s))
        return [change for change in changes if not change.condition.told]

    def since_s(self, row: Condition) -> float | None:
        """Return since when a condition holds, None when the book has not seen it yet."""
        held = self._held.get(row.key)
        return None if held is None else held.since_s


def _worse(one: Condition, other: Condition) -> str:
    return min(one.severity, other.severity, key=SEVERITIES.index)
