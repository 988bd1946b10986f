"""Notices steps of the wall clock, and keeps the time that decisions go by free of them (R11). Pure.

The wall clock is compared with one that cannot be set. What changes by half a second or more at once is a step; what
changes by less is the slewing of a clock that is being disciplined, and is followed. *Steady time* is wall time as if
no step had happened since the start, or since the operator accepted the wall clock: plans and retention go by it.
"""

from __future__ import annotations

from dataclasses import dataclass

STEP_NS = 500_000_000


@dataclass(frozen=True, slots=True)
class ClockStep:
    """A step of the wall clock: by how much, and when by the clock that cannot be set."""

    step_ns: int
    at_ns: int


class ClockWatch:
    """Times in ns. `offset_ns` is how far the wall clock is ahead of steady time."""

    def __init__(self, wall_ns: int, unset_ns: int) -> None:
        self._difference_ns = wall_ns - unset_ns
        self.offset_ns = 0
        self.steps = 0
        self.last: ClockStep | None = None

    def observe(self, wall_ns: int, unset_ns: int) -> ClockStep | None:
        """Compare both clocks, read at the same moment; returns the step that happened since the last time."""
        change_ns = wall_ns - unset_ns - self._difference_ns
        self._difference_ns += change_ns
        if abs(change_ns) < STEP_NS:
            return None
        self.offset_ns += change_ns
        self.steps += 1
        self.last = ClockStep(change_ns, unset_ns)
        if abs(self.offset_ns) < STEP_NS:  # it was set back
            self.offset_ns = 0
        return self.last

    def steady_ns(self, wall_ns: int) -> int:
        """Return steady time for the wall time that was observed last."""
        return wall_ns - self.offset_ns

    def accept(self) -> int:
        """Take the wall clock as right: steady time goes on from it. Returns by how much it moves, in ns."""
        moved_ns, self.offset_ns = self.offset_ns, 0
        return moved_ns
