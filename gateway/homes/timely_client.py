"""The listener: receives a timely subscription. Nothing is stored or acknowledged; what was skipped is told."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from gateway.homes.channel import Channel
from gateway.homes.client import BACKOFF_FIRST_S, BACKOFF_MAX_S, CONNECT_S, SubscriptionRefused
from gateway_codecs.batches import ItemBatch, Unit
from gateway_codecs.delivery_block import TIMELY, DeliveryBlockError, decode


@dataclass(slots=True)
class Heard:
    """What a listener has got in this run."""

    connects: int = 0
    items: int = 0
    packets: int = 0
    octets: int = 0
    skipped_items: int = 0
    finished: bool = False
    last_error: str = ""


class Listener:
    """Receives over channels that `dial` opens. `hello` is the subscribe message (docs/wire-format.md)."""

    def __init__(
        self,
        dial: Callable[[], Awaitable[Channel]],
        hello: dict[str, Any],
        *,
        on_items: Callable[[ItemBatch], None] = lambda batch: None,
        on_skipped: Callable[[dict[str, Any]], None] = lambda told: None,
        enough: Callable[[Heard], bool] = lambda heard: False,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._dial, self._hello = dial, {"type": "subscribe", **hello, "mode": "timely"}
        self._on_items, self._on_skipped, self._enough, self._jitter = on_items, on_skipped, enough, jitter
        self.heard = Heard()

    async def run(self) -> None:
        """Receive until enough, or the stream has ended; reconnects for ever. Raises SubscriptionRefused."""
        delay = BACKOFF_FIRST_S
        while True:
            before = self.heard.items
            try:
                async with asyncio.timeout(CONNECT_S):
                    channel = await self._dial()
                await self._session(channel)
                return
            except (ConnectionError, TimeoutError) as error:
                self.heard.last_error = str(error) or type(error).__name__
            delay = BACKOFF_FIRST_S if self.heard.items > before else min(delay * 2, BACKOFF_MAX_S)
            await asyncio.sleep(delay * (0.5 + self._jitter() / 2))

    async def _session(self, channel: Channel) -> None:
        try:
            await channel.send(json.dumps(self._hello))
            while not self.heard.finished and not self._enough(self.heard):
                message = await channel.receive()
                if isinstance(message, str):
                    self._control(json.loads(message))
                else:
                    self._take(message)
        finally:
            await channel.close("")

    def _control(self, told: dict[str, Any]) -> None:
        if told["type"] == "error":
            raise SubscriptionRefused(f"the gateway refused ({told['code']}): {told['message']}")
        if told["type"] == "welcome":
            self.heard.connects += 1
        elif told["type"] == "skipped":
            self.heard.skipped_items += told["items"]
            self._on_skipped(told)
        elif told["type"] == "finished":
            self.heard.finished = True

    def _take(self, message: bytes) -> None:
        try:
            block = decode(message)
        except DeliveryBlockError as error:
            raise ConnectionError(f"a block that cannot be read: {error}") from error
        if block.kind != TIMELY:
            raise ConnectionError("a block with positions came, in a timely session")
        self.heard.items += len(block.batch)
        self.heard.packets += int((block.batch.items["unit"] == Unit.PACKET).sum())
        self.heard.octets += len(block.batch.octets)
        self._on_items(block.batch)
