"""One home base's session over MQTT: a message channel as the session core wants it, on two topics.

The gateway publishes to the subscription's own topic, control (JSON) and data (blocks) in one order, which is what
MQTT promises for one topic; the home base publishes to `request` below it. Nothing here is a guarantee: what gets lost
is found by the home base, by the numbers of control messages and the positions of blocks, and asked for again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gateway.mqtt.topics import HomeTopic
from gateway_codecs.mqtt_fragment import fragments

WAITING_MAX = 1024
Publish = Callable[[str, bytes], Awaitable[None]]


class MqttChannel:
    """See the module, and gateway.homes.session.Channel."""

    def __init__(
        self, topic: HomeTopic, session: str, publish: Publish, lease_s: float, max_octets: int, now_s: float
    ) -> None:
        self.topic, self.session = topic, session
        self._publish, self._lease_s, self._max_octets = publish, lease_s, max_octets
        self._waiting: deque[dict[str, Any]] = deque()
        self._came = asyncio.Event()
        self._heard_s = now_s
        self._number = 0
        self._order = asyncio.Lock()
        self._cut = ""

    def push(self, message: dict[str, Any], now_s: float) -> None:
        """Take a message of the home base."""
        self._heard_s = now_s
        if len(self._waiting) >= WAITING_MAX:
            self.cut(f"more than {WAITING_MAX} messages that are not answered yet")
            return
        self._waiting.append(message)
        self._came.set()

    def cut(self, why: str) -> None:
        """End it from outside: nothing is sent any more, from this moment on."""
        self._cut = self._cut or why
        self._came.set()

    async def receive(self) -> str:
        """Return the next message for the session; a sign of life is answered here. Raises ConnectionError."""
        while True:
            if self._cut:
                raise ConnectionError(self._cut)
            if not self._waiting:
                await self._wait()
                continue
            message = self._waiting.popleft()
            if message["type"] == "alive":
                await self.send(json.dumps({"type": "alive"}))
                continue
            if message["type"] == "leave":
                raise ConnectionError("the home base left")
            return json.dumps(message)

    async def _wait(self) -> None:
        """Wait for a message, until the lease is over."""
        self._came.clear()
        left_s = self._heard_s + self._lease_s - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(left_s):
                await self._came.wait()
        except TimeoutError:
            self.cut(f"no sign of life for {self._lease_s:g} s")

    async def send(self, message: str | bytes) -> None:
        """Send one message; control gets the session and its number. Raises ConnectionError."""
        async with self._order:
            self._number += 1
            data = message if isinstance(message, bytes) else self._numbered(message)
            for piece in fragments(data, self._max_octets):
                if self._cut:
                    raise ConnectionError(self._cut)
                await self._publish(str(self.topic), piece)

    def _numbered(self, message: str) -> bytes:
        told: dict[str, Any] = json.loads(message)
        if told["type"] == "welcome":
            told["lease_s"] = self._lease_s
        return json.dumps({**told, "session": self.session, "number": self._number}).encode()

    async def close(self, reason: str) -> None:
        """Say that the session is over, also one that a newer one replaced; never raises."""
        self.cut(reason or "closed")
        told = {"type": "closed", "reason": reason or self._cut, "session": self.session}
        with contextlib.suppress(ConnectionError):
            await self._publish(str(self.topic), json.dumps(told).encode())


def told_to(topic: HomeTopic, message: Mapping[str, Any]) -> tuple[str, bytes]:
    """Return topic and octets of a message to a home base that has no session."""
    return str(topic), json.dumps(message).encode()
