"""Counting rules: what the frame counts of a virtual channel and the sequence counts of an APID say is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gateway_codecs.batches import BoolArray, I64Array

SEQUENCE_MODULUS = 16384
RESET_BEYOND = SEQUENCE_MODULUS // 2  # a count that seems to jump farther than half the modulus went back, not forward


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """How a count moved, per unit (n,): `jump` bool (step other than +1), `missing` int64 (0 without jump, when
    repeated and when reset), `repeated` bool."""

    jump: BoolArray
    missing: I64Array
    repeated: BoolArray


def steps(counts: I64Array, last: int | None, modulus: I64Array | int, reset_beyond: I64Array | int) -> Steps:
    """Return the steps of counts (n,), continuing from `last`; the first unit ever is no jump.

    A jump over more than `reset_beyond` is a count that began anew: nothing is known to be missing.
    """
    before = np.empty(len(counts), np.int64)
    before[1:] = counts[:-1]
    before[0] = counts[0] - 1 if last is None else last
    missing = (counts - before - 1) % modulus
    jump = missing != 0
    if not np.count_nonzero(jump):
        return Steps(jump, missing, jump)
    repeated = missing == modulus - 1
    missing[repeated | (missing > reset_beyond)] = 0
    return Steps(jump, missing, repeated)


@dataclass(slots=True)
class CountState:
    """One counter's durable and shown state."""

    first: int | None = None
    last: int | None = None
    units: int = 0
    jumps: int = 0
    repeated: int = 0
    missing: int = 0
    octets: int = 0
    reason: str = ""  # why the next jump would be, when it is known not to be the space link

    def reset(self) -> None:
        """Count from zero; `last` and `reason` stay, for the next unit."""
        self.first = None
        self.units = self.jumps = self.repeated = self.missing = self.octets = 0

    def take_reason(self) -> str:
        """Return why units are missing before the next one, and forget it: it explains one jump."""
        reason, self.reason = self.reason or "space link", ""
        return reason

    def note(self, counts: I64Array) -> None:
        """Take a batch (at least one unit) whose steps say nothing."""
        if self.first is None:
            self.first = int(counts[0])
        self.last = int(counts[-1])
        self.units += len(counts)

    def go_on(self, first: int, last: int, units: int, modulus: int) -> bool:
        """Take units whose counts follow each other, if the first follows the last one known; else take nothing."""
        if self.last is not None and (first - self.last) % modulus != 1:
            return False
        self.reason = ""  # it would have explained one jump, and there is none
        if self.first is None:
            self.first = first
        self.last = last
        self.units += units
        return True

    def take(self, counts: I64Array, modulus: I64Array | int, reset_beyond: I64Array | int) -> Steps:
        """Take a batch (at least one unit) and count its steps."""
        moved = steps(counts, self.last, modulus, reset_beyond)
        self.note(counts)
        if jumps := int(np.count_nonzero(moved.jump)):
            self.jumps += jumps
            self.repeated += int(np.count_nonzero(moved.repeated))
            self.missing += int(moved.missing.sum())
        return moved

    def snapshot(self) -> dict[str, Any]:
        """Return the state as a JSON-able dictionary."""
        return {
            "first_count": self.first,
            "last_count": self.last,
            "count_jumps": self.jumps,
            "repeated_counts": self.repeated,
            "missing": self.missing,
        }
