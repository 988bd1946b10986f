"""The gateway's one connection to its broker: kept up, told about, and never in anybody's way.

Publishing waits while the broker does not read, and fails within WRITE_S: whoever publishes loses its own, links and
other sessions nothing. A broker that accepts and does not answer, that refuses, dies or hangs is a state with a reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from enum import StrEnum

import aiomqtt
import structlog

from gateway.mqtt.backoff import Backoff
from gateway.mqtt.clients import BrokerAddress, BrokerError, Client, Inbox, close_client, open_client, subscribe

log = structlog.get_logger()
WRITE_S = 5.0
INBOX_OCTETS = 8 << 20
RESUBSCRIBE_S = 30.0
TURN_S = 0.002
Tell = Callable[[str, str], None]


class ConnectionState(StrEnum):
    """What an operator sees."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    UNAVAILABLE = "unavailable"


@dataclass(slots=True)
class Counters:
    """What was counted since the start."""

    connects: int = 0
    cuts: int = 0
    failures: int = 0  # attempts that did not connect
    messages: int = 0  # published
    octets: int = 0
    received: int = 0
    discarded: int = 0  # received, too large or too many


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the connection calls. `connected` may publish; `lost` and `message` do not wait."""

    address: Callable[[], Awaitable[BrokerAddress]]  # waits until there is a broker; raises BrokerError
    connected: Callable[[], Awaitable[None]]
    lost: Callable[[str], None]
    message: Callable[[str, bytes, bool], Hashable]  # topic, payload, retained; returns whose it was
    tell: Tell
    topics: tuple[str, ...] = ()
    discarded: Callable[[str], None] = lambda topic: None  # a message of a topic, because too much waits
    will: aiomqtt.Will | None = None
    message_max_octets: int = 1 << 18


@dataclass(slots=True)
class BrokerConnection:
    """See the module. `run` is one task."""

    hooks: Hooks
    identifier: str = field(default_factory=lambda: f"gateway-{secrets.token_hex(8)}")
    counters: Counters = field(default_factory=Counters)
    state: ConnectionState = ConnectionState.CONNECTING
    detail: str = "not connected yet"
    refused: tuple[str, ...] = ()
    up: asyncio.Event = field(default_factory=asyncio.Event)
    _client: Client | None = None
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self) -> None:
        """Connect, serve, and again; until cancelled."""
        loop, backoff = asyncio.get_running_loop(), Backoff()
        while True:
            began = loop.time()
            try:
                await self._life()
            except ConnectionError as error:
                self._down(str(error))
            except Exception as error:
                log.exception("MQTT connection failed")
                self._down(f"internal error: {type(error).__name__}: {error}")
            await asyncio.sleep(backoff.after(loop.time() - began))

    async def _life(self) -> None:
        hooks = self.hooks
        address = await hooks.address()
        inbox = Inbox(INBOX_OCTETS, self._note_discarded, hooks.message_max_octets)
        client = await open_client(address, self.identifier, inbox, hooks.will)
        try:
            self._client = client
            self.counters.connects += 1
            await self._subscribe(client)
            self.state, self.detail = ConnectionState.CONNECTED, str(address)
            self.hooks.tell("info", f"connected to the MQTT broker {address}")
            self.up.set()
            await hooks.connected()
            await self._receive(client)
        finally:
            self._client = None
            self.up.clear()
            await close_client(client)

    async def _subscribe(self, client: Client) -> None:
        """Subscribe to what we listen to; a refusal is told, and what can be done without it goes on."""
        if not self.hooks.topics:
            return
        refused = tuple(await subscribe(client, self.hooks.topics))
        if refused and refused != self.refused:
            self.hooks.tell("error", f"the MQTT broker refuses the gateway's subscription to {', '.join(refused)}")
        self.refused = refused

    async def _receive(self, client: Client) -> None:
        """Hand over what comes: in a turn of the loop one message of each home base, so that acknowledgements of many
        keep up and one who publishes without end costs little. Raises BrokerError at the end."""
        loop = asyncio.get_running_loop()
        while True:
            message: aiomqtt.Message | None = await client.next()
            began, had = loop.time(), set[Hashable]()
            while message is not None:
                whose = self._hand_over(message)
                if whose in had or loop.time() - began > TURN_S:
                    break
                had.add(whose)
                message = client.next_now()
            # what takes long gives the loop to others for as long
            await asyncio.sleep(took if (took := loop.time() - began) > TURN_S else 0)

    def _hand_over(self, message: aiomqtt.Message) -> Hashable:
        self.counters.received += 1
        payload = message.payload if isinstance(message.payload, bytes) else b""
        return self.hooks.message(str(message.topic), payload, message.retain)

    async def ask_again(self) -> None:
        """Ask a broker that refused a subscription again, now and then: rights may be given later. One task."""
        while True:
            await asyncio.sleep(RESUBSCRIBE_S)
            client = self._client
            if self.refused and client is not None:
                with contextlib.suppress(BrokerError):
                    await self._subscribe(client)

    def waiting_octets(self) -> int:
        """Return what has come from the broker and is not read yet: in our inbox and in the system's buffer."""
        client = self._client
        return 0 if client is None else client.waiting_octets()

    def _note_discarded(self, topic: str) -> None:
        self.counters.discarded += 1
        self.hooks.discarded(topic)

    def _down(self, why: str) -> None:
        was, self.state = self.state, ConnectionState.UNAVAILABLE
        if was == ConnectionState.CONNECTED:
            self.counters.cuts += 1
            self.hooks.lost(why)
        else:
            self.counters.failures += 1
        if was != ConnectionState.UNAVAILABLE:
            self.hooks.tell("warning", f"no MQTT broker: {why}")
        self.detail = why

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send one message at QoS 0; waits while the broker does not read. Raises BrokerError."""
        client = self._client
        async with self._writing:
            if client is None or client is not self._client:
                raise BrokerError("not connected to the broker")
            try:
                await client.publish(topic, payload, retain=retain, timeout=WRITE_S)
            except (aiomqtt.MqttError, OSError, ValueError, RuntimeError) as error:
                client.cut()
                raise BrokerError(f"the broker does not take what is published: {error}") from None
        self.counters.messages += 1
        self.counters.octets += len(payload)

    async def farewell(self, retained: dict[str, bytes], within_s: float) -> None:
        """Publish some last words, if the broker takes them in time; never raises."""
        with contextlib.suppress(BrokerError, TimeoutError):
            async with asyncio.timeout(within_s):
                for topic, payload in retained.items():
                    await self.publish(topic, payload, retain=True)
