"""What one home base may have the gateway do over MQTT, where all home bases come in by one connection.

Every message costs, a subscribe message more, a refused one most. Who goes on beyond that is not heard, and put out
at a broker of our own for a while: what it publishes would push the messages of others out of the queues on the way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway_routes.tolls import REFUSED, Tolls

MESSAGES_PER_S, MESSAGES_AT_ONCE = 200.0, 1_000.0
"""Paid only while more waits to be read than BEHIND_OCTETS: who is alone may publish what the gateway can read."""
BEHIND_OCTETS = 1 << 16
OUT_S = 30.0
ANSWERS_PER_HOME_MAX = 16
HOMES_MAX = 256


@dataclass(slots=True)
class Floods:
    """The allowances, by the home base that a topic names. `tell` is called when one is put out."""

    tell: Callable[[str], None] = lambda text: None
    waiting_octets: Callable[[], int] = lambda: 0  # what has come from the broker and is not read yet
    _messages: Tolls = field(default_factory=lambda: Tolls(MESSAGES_PER_S, MESSAGES_AT_ONCE))
    _subscribes: Tolls = field(default_factory=Tolls)
    _out_until_s: dict[str, float] = field(default_factory=dict)

    def hears(self, home: str, now_s: float) -> bool:
        """Whether a message of a home base is looked at."""
        if self._out_until_s.get(home, now_s) <= now_s and self.waiting_octets() < BEHIND_OCTETS:
            return True
        if self._messages.admit(home, 1, now_s):
            return True
        self._messages.charge(home, 1, now_s)
        if self._out_until_s.get(home, now_s) <= now_s and len(self.out(now_s)) < HOMES_MAX:
            self._out_until_s[home] = now_s + OUT_S
            self.tell(f"home base {home} publishes more than can be read: not heard for {OUT_S:g} s")
        return False

    def rubbish(self, home: str, now_s: float) -> None:
        """A message was no request."""
        self._messages.charge(home, REFUSED, now_s)

    def may_subscribe(self, home: str, now_s: float) -> bool:
        """Whether a home base may begin one session more now."""
        return self._subscribes.admit(home, 1, now_s)

    def refused(self, home: str, now_s: float) -> None:
        """A session was refused."""
        self._subscribes.charge(home, REFUSED, now_s)

    def out(self, now_s: float) -> frozenset[str]:
        """Return the home bases that are put out now."""
        self._out_until_s = {home: until_s for home, until_s in self._out_until_s.items() if until_s > now_s}
        return frozenset(self._out_until_s)


class Answers:
    """What is to be said to who has no session: a few for each home base, in turns, so that none crowds others out."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[tuple[str, bytes]]] = {}
        self._came = asyncio.Event()

    def put(self, home: str, topic: str, payload: bytes) -> None:
        """Keep an answer; of a home base the newest are kept."""
        if home not in self._waiting and len(self._waiting) >= HOMES_MAX:
            return
        self._waiting.setdefault(home, deque(maxlen=ANSWERS_PER_HOME_MAX)).append((topic, payload))
        self._came.set()

    async def next(self) -> tuple[str, bytes]:
        """Return the next answer: topic and octets."""
        while not self._waiting:
            self._came.clear()
            await self._came.wait()
        home = next(iter(self._waiting))
        queue = self._waiting.pop(home)
        answer = queue.popleft()
        if queue:
            self._waiting[home] = queue  # behind the others
        return answer

    def __len__(self) -> int:
        """How many wait."""
        return sum(len(queue) for queue in self._waiting.values())
