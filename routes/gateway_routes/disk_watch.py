"""How long the disk will last: free octets over the last minutes. Pure; times are monotonic seconds."""

from __future__ import annotations

from collections import deque

from gateway_routes.conditions import Condition

WINDOW_S, RATE_AFTER_S = 300.0, 60.0
SOON_S = 3600.0
LOW_RESERVES = 4
REMEDY = (
    "free space on the device, or let journal.keep_days, journal.keep_octets or recording.keep_days remove older data"
)


class DiskWatch:
    """Takes what is free every few seconds."""

    def __init__(self, reserve_octets: int) -> None:
        self.reserve_octets = reserve_octets
        self.free_octets: int | None = None
        self._seen: deque[tuple[float, int]] = deque()

    def observe(self, now_s: float, free_octets: int) -> None:
        """Take what is free now."""
        self.free_octets = free_octets
        self._seen.append((now_s, free_octets))
        while now_s - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()

    def left_s(self) -> float | None:
        """Return in how many seconds the reserve is reached at the rate of the last minutes, None = not known."""
        if len(self._seen) < 2 or self._seen[-1][0] - self._seen[0][0] < RATE_AFTER_S:
            return None
        (first_s, before), (last_s, after) = self._seen[0], self._seen[-1]
        if after >= before:
            return None
        return max(0.0, (after - self.reserve_octets) * (last_s - first_s) / (before - after))

    def conditions(self) -> list[Condition]:
        """Return a warning when intake will stop soon, or has little room."""
        free, left_s = self.free_octets, self.left_s()
        if free is None:
            return []
        if free < self.reserve_octets:
            text = f"{_megabytes(free)} free, intake needs more than {_megabytes(self.reserve_octets)}"
            return [Condition("critical", "disk full", "disk", text, REMEDY)]
        soon = left_s is not None and left_s < SOON_S
        if not soon and free >= LOW_RESERVES * self.reserve_octets:
            return []
        when = f", at the present rate in {left_s / 60:.0f} min" if soon and left_s is not None else ""
        text = f"{_megabytes(free)} free; intake stops at {_megabytes(self.reserve_octets)}{when}"
        return [Condition("warning", "disk nearly full", "disk", text, REMEDY)]


def _megabytes(octets: int) -> str:
    return f"{octets / 1e6:.1f} MB"
