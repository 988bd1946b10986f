"""How long commits take: the durations of the last minute, and of the one under way. Times are monotonic seconds."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW_S = 60.0
KEPT_MAX = 4096


@dataclass(frozen=True, slots=True)
class Durations:
    """Of the commits of the last minute: how many, the median, the 99th percentile, the longest; and under way now."""

    commits: int = 0
    p50_s: float = 0.0
    p99_s: float = 0.0
    longest_s: float = 0.0
    under_way_s: float = 0.0


class CommitTimes:
    """Bounded: under a storm of commits only the newest are looked at."""

    def __init__(self) -> None:
        self._done: deque[tuple[float, float]] = deque(maxlen=KEPT_MAX)
        self._began_s: float | None = None

    def begin(self, now_s: float) -> None:
        """A write begins."""
        self._began_s = now_s

    def end(self, now_s: float, committed: bool) -> None:
        """It ended; one that was refused says nothing of how fast the disk is."""
        if committed and self._began_s is not None:
            self._done.append((now_s, now_s - self._began_s))
        self._began_s = None

    def durations(self, now_s: float) -> Durations:
        """Return what the last minute was like."""
        while self._done and now_s - self._done[0][0] > WINDOW_S:
            self._done.popleft()
        under_way_s = 0.0 if self._began_s is None else now_s - self._began_s
        times = sorted(took for _, took in self._done)
        if not times:
            return Durations(under_way_s=under_way_s)
        last = len(times) - 1
        return Durations(len(times), times[last // 2], times[-(-last * 99 // 100)], times[-1], under_way_s)
