"""Reading ahead of what is journalled: one commit then serves all that has come meanwhile. Bounded in octets."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

from gateway.homes.channel import Channel

AHEAD_OCTETS = 4 << 20
COMMIT_OCTETS, COMMIT_MESSAGES = 1 << 20, 64
MESSAGE_OCTETS = 256  # of a message beside its text


class ReadAhead:
    """Reads a channel while it is entered."""

    def __init__(self, channel: Channel, name: str) -> None:
        self._channel, self._name = channel, name
        self._waiting: deque[str | bytes] = deque()
        self._octets = 0
        self._changed = asyncio.Event()
        self._error: Exception | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._read(), name=self._name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while True:
                message = await self._channel.receive()
                self._waiting.append(message)
                self._octets += len(message) + MESSAGE_OCTETS
                self._changed.set()
                while self._octets > AHEAD_OCTETS:
                    self._changed.clear()
                    await self._changed.wait()
        except Exception as error:  # raised where the messages are taken, behind those that came before it
            self._error = error
            self._changed.set()

    async def take(self) -> list[str | bytes]:
        """Return what has come, some of it at least. Raises what ended the channel when all of it was taken."""
        while not self._waiting:
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()
        taken: list[str | bytes] = []
        octets = 0
        while self._waiting and octets < COMMIT_OCTETS and len(taken) < COMMIT_MESSAGES:
            taken.append(self._waiting.popleft())
            octets += len(taken[-1]) + MESSAGE_OCTETS
        self._octets -= octets
        self._changed.set()
        return taken
