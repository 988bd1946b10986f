"""What one home base may have the gateway do over MQTT, where all home bases come in by one connection.

A subscribe message costs, a refused one more (gateway_routes.tolls). When the gateway cannot read as fast as is
published, the home base that published most of it is not heard, and put out at a broker of our own, for a while: its
messages would push those of others out of the queues on the way.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway_routes.tolls import REFUSED, Tolls

BEHIND_OCTETS, BEHIND_S, BEHIND_MESSAGES = 1 << 16, 1.0, 50
"""The gateway is behind while more than this waits to be read; for so long, and so many messages, it is not at once."""
OUT_S = 30.0
ANSWERS_PER_HOME_MAX = 16
HOMES_MAX = 256


@dataclass(slots=True)
class Floods:
    """The allowances, by the home base that a topic names. `tell` is called when one is put out."""

    tell: Callable[[str], None] = lambda text: None
    waiting_octets: Callable[[], int] = lambda: 0  # what has come from the broker and is not read yet
    _subscribes: Tolls = field(default_factory=Tolls)
    _out_until_s: dict[str, float] = field(default_factory=dict)
    _behind_since_s: float | None = None
    _came: Counter[str] = field(default_factory=Counter)  # since then, by home base

    def hears(self, home: str, now_s: float) -> bool:
        """Whether a message of a home base is looked at."""
        if self.waiting_octets() < BEHIND_OCTETS:
            self._behind_since_s = None
        elif self._behind_since_s is None:
            self._behind_since_s = now_s
            self._came.clear()
        else:
            self._note(home, now_s, self._behind_since_s)
        return self._out_until_s.get(home, now_s) <= now_s

    def _note(self, home: str, now_s: float, since_s: float) -> None:
        """The gateway is behind: who published most of what came since then is put out when that has lasted."""
        if home in self._came or len(self._came) < HOMES_MAX:
            self._came[home] += 1
        total = self._came.total()
        if now_s - since_s < BEHIND_S or total < BEHIND_MESSAGES:
            return
        self._behind_since_s = None
        most, count = self._came.most_common(1)[0]
        if 2 * count > total and len(self.out(now_s)) < HOMES_MAX:
            self._out_until_s[most] = now_s + OUT_S
            self.tell(f"home base {most} publishes more over MQTT than can be read: not heard for {OUT_S:g} s")

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
