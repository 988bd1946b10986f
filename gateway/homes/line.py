"""The client's end of sessions in which it only listens (timely, values): opened again when they break."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.homes.channel import Channel
from gateway.homes.client import BACKOFF_FIRST_S, BACKOFF_MAX_S, CONNECT_S, SubscriptionRefused


class Line:
    """Says `hello` on each channel that `dial` opens, and hands out what comes. Cancelling `receive` loses nothing."""

    def __init__(
        self,
        dial: Callable[[], Awaitable[Channel]],
        hello: Callable[[], dict[str, Any]],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._dial, self._hello, self._jitter = dial, hello, jitter
        self._channel: Channel | None = None
        self._delay_s = 0.0
        self.last_error = ""

    @property
    def connected(self) -> bool:
        """Whether a session is open."""
        return self._channel is not None

    async def receive(self) -> dict[str, Any] | bytes:
        """Return the next message: control as an object with `type`. Raises SubscriptionRefused."""
        while True:
            try:
                if self._channel is None:
                    self._channel = await self._opened()
                return self._read(await self._channel.receive())
            except (ConnectionError, TimeoutError) as error:
                await self.broke(str(error) or type(error).__name__)

    def _read(self, message: str | bytes) -> dict[str, Any] | bytes:
        if isinstance(message, bytes):
            self._delay_s = 0.0
            return message
        try:
            told = json.loads(message)
            kind = told["type"]
        except (ValueError, TypeError, KeyError):
            raise ConnectionError("a control message that cannot be read") from None
        if kind == "error":
            code = str(told.get("code"))
            refusal = SubscriptionRefused(f"the gateway refused ({code}): {told.get('message')}", code)
            raise ConnectionError(str(refusal)) if refusal.passing else refusal
        if kind != "welcome":
            self._delay_s = 0.0
        return dict(told)

    async def _opened(self) -> Channel:
        if self._delay_s:
            await asyncio.sleep(self._delay_s * (0.5 + self._jitter() / 2))
        async with asyncio.timeout(CONNECT_S):
            channel = await self._dial()
            try:
                await channel.send(json.dumps(self._hello()))
            except BaseException:
                await channel.close("")
                raise
        return channel

    async def broke(self, why: str) -> None:
        """End the session, for what came on it cannot be used; the next one begins after a while."""
        self.last_error = why
        self._delay_s = min(max(BACKOFF_FIRST_S, self._delay_s * 2), BACKOFF_MAX_S)
        await self.close()

    async def close(self) -> None:
        """End the session, if there is one."""
        channel, self._channel = self._channel, None
        if channel is not None:
            with contextlib.suppress(ConnectionError):
                await channel.close("")
