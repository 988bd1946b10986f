"""Events on their way into the journal: emitted anywhere on the loop, committed in order by one task."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Protocol

import structlog

log = structlog.get_logger()

EVENTS_WAITING_MAX = 10_000


class EventLog(Protocol):
    """The part of a journal that takes events."""

    async def append_events(self, events: list[dict[str, Any]]) -> object:
        """Commit the events, in order."""
        ...


class EventPump:
    """A bounded queue of events with one task that commits them.

    While the journal is blocked the newest events are dropped and counted, and the count is
    journalled as an event itself once space returns: nothing disappears without a trace.
    """

    def __init__(self, journal: EventLog) -> None:
        self._journal = journal
        self._waiting: deque[dict[str, Any]] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.dropped = 0

    def emit(self, event: dict[str, Any]) -> None:
        """Queue one event (`type`, `severity`, `message`, and its own fields)."""
        if len(self._waiting) >= EVENTS_WAITING_MAX:
            self.dropped += 1
            return
        self._waiting.append(event)
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Commit events until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                events, lost = list(self._waiting), self.dropped
                self._waiting.clear()
                try:
                    await self._journal.append_events([*events, *_lost(lost)])
                except Exception:  # a bug of ours: counted and told, and the next events are journalled
                    log.exception("events not journalled", events=len(events))
                    self.dropped += len(events)
                else:
                    self.dropped -= lost
            self._idle.set()

    async def flushed(self) -> None:
        """Wait until everything emitted so far is committed."""
        await self._idle.wait()


def _lost(count: int) -> list[dict[str, Any]]:
    """Return what is told of so many events that could not be journalled: an event, or nothing."""
    message = f"{count} events could not be journalled"
    return [{"type": "events lost", "severity": "warning", "message": message, "count": count}] if count else []
