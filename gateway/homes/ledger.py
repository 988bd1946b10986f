"""What is noted of home bases while they are served: when they were heard last, what was dropped and why, latencies."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway_routes.delivery import Lane
from gateway_routes.latency import Latencies

Key = tuple[str, str]


@dataclass(slots=True)
class HomeLedger:
    """Of one mission instance, since the gateway started. `wall_ns` is the wall clock, TAI."""

    wall_ns: Callable[[], int] = lambda: 0
    last_seen_ns: dict[str, int] = field(default_factory=dict)
    drops: dict[str, dict[str, int]] = field(default_factory=dict)  # positions told as missing, by home base and cause
    latencies: dict[Key, dict[Lane, Latencies]] = field(default_factory=dict)

    def seen(self, home: str) -> None:
        """A message of a home base came."""
        self.last_seen_ns[home] = self.wall_ns()

    def dropped(self, home: str, reason: str, positions: int) -> None:
        """A home base was told positions as missing; what stands behind a colon are the details of the reason."""
        causes, cause = self.drops.setdefault(home, {}), reason.split(":", maxsplit=1)[0]
        causes[cause] = causes.get(cause, 0) + positions

    def latency(self, home: str, subscription: str, lane: Lane) -> Latencies:
        """Return what was measured of a subscription's lane."""
        return self.latencies.setdefault((home, subscription), {}).setdefault(lane, Latencies())


class SentBlocks:
    """The blocks of one session that are not acknowledged yet, with the receive time of their oldest items.

    Bounded by the session's window.
    """

    def __init__(self, ledger: HomeLedger, home: str, subscription: str) -> None:
        self._ledger, self._home, self._name = ledger, home, subscription
        self._sent: dict[Lane, deque[tuple[int, int, int, int]]] = {}

    def sent(self, lane: Lane, first: int, end: int, items: int, oldest_ns: int) -> None:
        """A block was sent, whose oldest item was received at that time."""
        if items:
            self._sent.setdefault(lane, deque()).append((first, end, items, oldest_ns))

    def acknowledged(self, lane: int, upto: int) -> None:
        """Everything sent in a lane below a position is acknowledged."""
        waiting = self._sent.get(Lane(lane))
        while waiting and waiting[0][1] <= upto:
            first, end, items, oldest_ns = waiting.popleft()
            latency = self._ledger.latency(self._home, self._name, Lane(lane))
            latency.note(first, end, items, self._ledger.wall_ns() - oldest_ns)
