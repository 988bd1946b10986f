"""Who may send how much, and who goes first when subscriptions compete (DESIGN 5). No sockets, no clock.

A *token bucket* holds a rate: in any time t it lets pass at most rate x (t + BURST_S), and one message.
*Fair turns* order those who want the same thing by start-time fair queueing: a turn begins, in virtual time, where the
previous one of the same subscription ended, or now; it lasts its cost divided by its weight; the earliest beginning
is next. So shares follow the weights among those who always want, and nobody starves. What is live and what is
caught up compete as two in the same way, LIVE_WEIGHT to one: who is live and wants little waits for one turn of those
who catch up, however many they are.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Hashable
from enum import StrEnum

BURST_S = 0.04
MESSAGE_S = 0.04
TICK_S = 1e-6
"""No timer is finer."""
MESSAGE_OCTETS_MIN = 256
RATE_BPS_MIN, RATE_BPS_MAX = 1000, 10**12
LIVE_WEIGHT = 8


class Priority(StrEnum):
    """How subscriptions compete."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


WEIGHTS = {Priority.HIGH: 16, Priority.NORMAL: 4, Priority.LOW: 1}
WINDOW_LEAST_OCTETS, WINDOW_FIRST_OCTETS, QUEUE_S = 1 << 19, 1 << 20, 0.025


class TokenBucket:
    """A rate in bits per second of whole messages. Times are seconds of a monotonic clock."""

    def __init__(self, rate_bps: float) -> None:
        self.rate_bps = rate_bps
        self._next_s = float("-inf")

    def wait_s(self, now_s: float) -> float:
        """Return how long to wait before the next message; 0 = send it."""
        wait_s = self._next_s - now_s
        return wait_s if wait_s > TICK_S else 0.0

    def spend(self, octets: int, now_s: float) -> None:
        """Note a message that is sent, waited for or not."""
        self._next_s = max(self._next_s, now_s - BURST_S) + octets * 8 / self.rate_bps


def message_octets(rate_bps: float, most: int) -> int:
    """Return how large a message may be so that a rate is even; an item that is larger goes alone."""
    return min(most, max(MESSAGE_OCTETS_MIN, int(rate_bps / 8 * MESSAGE_S)))


class DelayWindow:
    """How much of what is caught up may be under way, so that live items behind it on one connection wait little.

    It grows while acknowledgements come about as soon as they ever did, and shrinks when they come QUEUE_S later: then
    octets wait somewhere on the way (as LEDBAT, RFC 6817, has it). Times are seconds of a monotonic clock.
    """

    def __init__(self, most_octets: int) -> None:
        self._most = most_octets
        self.octets = min(most_octets, WINDOW_FIRST_OCTETS)
        self._sent: deque[tuple[int, int, float]] = deque()
        self._soonest_s = float("inf")
        self._shrunk_s = float("-inf")

    def sent(self, upto: int, octets: int, now_s: float) -> None:
        """A block that ends at a position was sent."""
        self._sent.append((upto, octets, now_s))

    def acknowledged(self, upto: int, now_s: float) -> None:
        """Everything below a position is acknowledged."""
        while self._sent and self._sent[0][0] <= upto:
            _, octets, sent_s = self._sent.popleft()
            took_s = now_s - sent_s
            self._soonest_s = min(self._soonest_s, took_s)
            if took_s <= self._soonest_s + QUEUE_S:
                self.octets = min(self._most, self.octets + octets // 2)
            elif sent_s > self._shrunk_s:  # once for all that was under way then
                self.octets, self._shrunk_s = max(min(self._most, WINDOW_LEAST_OCTETS), self.octets * 3 // 4), now_s


class Ticket:
    """One wish for a turn, of the subscription `key`."""

    __slots__ = ("gone", "key", "live", "start", "weight")

    def __init__(self, key: Hashable, weight: float, live: bool, start: float) -> None:
        self.key, self.weight, self.live, self.start = key, weight, live, start
        self.gone = False


class _Queue:
    """Those who wait, by where their turns begin; live or not."""

    def __init__(self) -> None:
        self.virtual = 0.0  # where the newest turn began
        self.wanted = 0
        self._ends: dict[Hashable, float] = {}  # where each subscription's previous turn ended, if later than that
        self._waiting: list[tuple[float, float, int, Ticket]] = []
        self._count = 0

    def add(self, key: Hashable, weight: float, live: bool) -> Ticket:
        ticket = Ticket(key, weight, live, max(self.virtual, self._ends.get(key, 0.0)))
        self._count += 1
        self.wanted += 1
        heapq.heappush(self._waiting, (ticket.start, -weight, self._count, ticket))
        return ticket

    def pop(self) -> Ticket:
        """Return the next one; there is one."""
        ticket = heapq.heappop(self._waiting)[-1]
        while ticket.gone:
            ticket = heapq.heappop(self._waiting)[-1]
        self.wanted -= 1
        self.virtual = max(self.virtual, ticket.start)
        return ticket

    def end(self, ticket: Ticket, cost: float) -> None:
        end = max(self._ends.get(ticket.key, 0.0), ticket.start + cost / ticket.weight)
        self._ends = {key: other for key, other in self._ends.items() if other > self.virtual}
        if end > self.virtual:
            self._ends[ticket.key] = end


class FairTurns:
    """Orders turns, one at a time. See the module."""

    def __init__(self) -> None:
        self._busy = False
        self._queues = {True: _Queue(), False: _Queue()}  # live, caught up
        self._virtual = 0.0
        self._ends = {True: 0.0, False: 0.0}

    @property
    def due(self) -> bool:
        """Whether somebody waits, and could have a turn."""
        return not self._busy and any(queue.wanted for queue in self._queues.values())

    def ask(self, key: Hashable, weight: float, live: bool = False) -> Ticket:
        """Wish for a turn; of those that begin together the heavier is first, then who asked first."""
        return self._queues[live].add(key, weight, live)

    def leave(self, ticket: Ticket) -> None:
        """Wish no more; only for one that has no turn."""
        ticket.gone = True
        self._queues[ticket.live].wanted -= 1

    def next(self) -> Ticket | None:
        """Give the turn to whoever is next, if somebody waits and nobody has it."""
        if not self.due:
            return None
        live = min((live for live, queue in self._queues.items() if queue.wanted), key=self._start)
        self._virtual, self._busy = self._start(live), True
        return self._queues[live].pop()

    def _start(self, live: bool) -> float:
        return max(self._virtual, self._ends[live])

    def done(self, ticket: Ticket, cost: float) -> None:
        """End a turn that has cost so much."""
        self._busy = False
        self._ends[ticket.live] = self._start(ticket.live) + cost / (LIVE_WEIGHT if ticket.live else 1)
        self._queues[ticket.live].end(ticket, cost)
