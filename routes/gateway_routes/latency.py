"""How long items take from the gateway's receiving them to their acknowledgement, in bounded memory. No clock.

What is noted is a block: so many items, acknowledged together, of which the *oldest* was received so long ago. So each
percentile is a bound: that share of the items took at most so long. When a record is full, neighbours become one with
the longer time: the bound stays true and becomes coarser.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

POINTS_MAX = 1024
Point = tuple[int, int, int, int]
"""First position, end, items, latency in ns."""


@dataclass(slots=True)
class Latencies:
    """Of one subscription, since the gateway started."""

    points: list[Point] = field(default_factory=list)
    items: int = 0

    def note(self, first: int, end: int, items: int, latency_ns: int) -> None:
        """Items of positions [first, end) were acknowledged, the oldest so long after it was received.

        A wall clock that was set back makes it look shorter than nothing: that is taken as nothing.
        """
        if items <= 0:
            return
        self.items += items
        self.points.append((first, end, items, max(0, latency_ns)))
        if len(self.points) > POINTS_MAX:
            self.points = [_joined(self.points[k : k + 2]) for k in range(0, len(self.points), 2)]

    def of(self, first: int, end: int) -> list[Point]:
        """Return what was noted of a range of positions."""
        return [point for point in self.points if point[0] < end and point[1] > first]


def _joined(points: list[Point]) -> Point:
    firsts, ends, items, latencies = zip(*points, strict=True)
    return min(firsts), max(ends), sum(items), max(latencies)


def percentiles(points: Iterable[Point], shares: Iterable[float] = (0.5, 0.9, 0.99, 1.0)) -> dict[str, float]:
    """Return the latency in seconds that this share of the items did not exceed; {} when nothing was noted."""
    rising = sorted((latency, items) for _, _, items, latency in points)
    total = sum(items for _, items in rising)
    found: dict[str, float] = {}
    for share in shares if total else ():
        left = share * total
        for latency, items in rising:
            left -= items
            if left <= 1e-9:
                found[f"p{share * 100:g}_s"] = latency / 1e9
                break
        else:
            found[f"p{share * 100:g}_s"] = rising[-1][0] / 1e9
    return found
