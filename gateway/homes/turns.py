"""Turns on the event loop: of all that wants to be done for one home base, one step in each turn of the loop.

The loop takes what is ready one after the other. Without this a home base with sixty-four sessions would be sixty-four
of a hundred and sixty; with it, one of a hundred. While there is nobody else, its next step comes at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable

Step = Callable[[], object]


class Turns:
    """See the module. A key is whose steps they are."""

    def __init__(self) -> None:
        self._had: set[Hashable] = set()  # in this turn of the loop
        self._waiting: dict[Hashable, deque[Step]] = {}
        self._armed = False

    def free(self, key: Hashable) -> bool:
        """Take the turn of a key, if it has had none in this turn of the loop and nothing of it waits."""
        if key in self._had or key in self._waiting:
            return False
        self._had.add(key)
        self._arm()
        return True

    def later(self, key: Hashable, step: Step) -> None:
        """Call a step when its turn comes: never before this call has returned."""
        self._waiting.setdefault(key, deque()).append(step)
        self._arm()

    async def mine(self, key: Hashable) -> None:
        """Wait for a turn: not at all if the key had none yet."""
        if self.free(key):
            return
        come = asyncio.Event()
        self.later(key, come.set)
        await come.wait()

    def _arm(self) -> None:
        if not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._armed = False
        self._had.clear()
        loop = asyncio.get_running_loop()
        for key, steps in list(self._waiting.items()):
            self._had.add(key)
            loop.call_soon(steps.popleft())  # each alone: one that fails takes no other with it
            if not steps:
                del self._waiting[key]
        if self._had:
            self._arm()
