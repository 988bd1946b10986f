"""MQTT clients as we need them: opened with a deadline, closed at once, with a bounded inbox.

aiomqtt (paho inside) connects in a thread that cannot be cancelled, returns a refused subscription as if nothing were
wrong, keeps every message that comes, and leaves its socket open when it fails. What of that matters is settled here,
for the gateway's own connection and for home bases.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import aiomqtt
from aiomqtt.exceptions import MqttConnectError

KEEP_ALIVE_S = 10
OPEN_S = 8.0
CLOSE_S = 1.0
SEND_BUFFER_OCTETS = 1 << 20
INBOX_MESSAGES = 4096
REFUSED = 0x80
QUIET = logging.getLogger("gateway.mqtt.paho")
QUIET.setLevel(logging.CRITICAL + 1)
SOCKET_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_OCTETS),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a broker is and how to come in. `tls_ca` None = the system's authorities."""

    host: str
    port: int
    username: str | None = None
    password: str | None = None
    tls: bool = False
    tls_ca: str | None = None

    def __str__(self) -> str:
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return f"{shown}:{self.port}"


class BrokerError(ConnectionError):
    """The broker cannot be reached, refuses us, or breaks off: why, for people."""


def bounded_inbox(
    max_octets: int, on_discard: Callable[[], None], most_of_one: int | None = None
) -> type[asyncio.Queue[aiomqtt.Message]]:
    """Return a queue that discards what does not fit: more than `max_octets` waiting, or one message too large."""

    class Inbox(asyncio.Queue[aiomqtt.Message]):
        waiting_octets = 0

        def _put(self, item: aiomqtt.Message) -> None:
            self.waiting_octets += _size(item)
            super()._put(item)

        def _get(self) -> aiomqtt.Message:
            item = super()._get()
            self.waiting_octets -= _size(item)
            return item

        def put_nowait(self, item: aiomqtt.Message) -> None:
            too_large = most_of_one is not None and _size(item) > most_of_one
            if too_large or self.qsize() >= INBOX_MESSAGES or self.waiting_octets + _size(item) > max_octets:
                on_discard()
                return
            super().put_nowait(item)

    return Inbox


def _size(message: aiomqtt.Message) -> int:
    return len(message.payload) if isinstance(message.payload, bytes | bytearray | str) else 0


async def open_client(
    address: BrokerAddress,
    identifier: str,
    inbox: type[asyncio.Queue[aiomqtt.Message]],
    will: aiomqtt.Will | None = None,
) -> aiomqtt.Client:
    """Connect. Raises BrokerError within OPEN_S, whatever the broker does."""
    try:
        async with asyncio.timeout(OPEN_S):
            context = (
                await asyncio.to_thread(ssl.create_default_context, cafile=address.tls_ca) if address.tls else None
            )
            await _knock(address, context)
            return await _opened(address, identifier, inbox, will, context)
    except TimeoutError:
        raise BrokerError(f"{address}: no answer within {OPEN_S:g} s") from None
    except aiomqtt.MqttError as error:
        raise BrokerError(f"{address}: {_in_words(error)}") from None
    except (OSError, ValueError) as error:
        if isinstance(error, BrokerError):
            raise
        raise BrokerError(f"{address}: {error}") from None


async def _knock(address: BrokerAddress, context: ssl.SSLContext | None) -> None:
    """Connect and close: what hangs here can be given up, what hangs in paho's thread cannot. Raises OSError."""
    name = address.host if context is not None else None
    _, writer = await asyncio.open_connection(address.host, address.port, ssl=context, server_hostname=name)
    writer.transport.abort()


async def _opened(
    address: BrokerAddress,
    identifier: str,
    inbox: type[asyncio.Queue[aiomqtt.Message]],
    will: aiomqtt.Will | None,
    context: ssl.SSLContext | None,
) -> aiomqtt.Client:
    client = aiomqtt.Client(
        address.host, address.port, username=address.username, password=address.password, logger=QUIET,
        identifier=identifier, queue_type=inbox, will=will, clean_session=True, timeout=OPEN_S, keepalive=KEEP_ALIVE_S,
        tls_context=context, socket_options=SOCKET_OPTIONS,
    )  # fmt: skip
    try:
        await client.__aenter__()
    except BaseException:
        cut(client)
        raise
    return client


def _in_words(error: aiomqtt.MqttError) -> str:
    if isinstance(error, MqttConnectError):
        return f"the broker refuses the connection ({error.rc})"
    return str(error) or type(error).__name__


def cut(client: aiomqtt.Client) -> None:
    """End a connection at once: its reader finds the end, and everything that waits for it ends."""
    sock = client._client.socket()
    if sock is not None:
        with contextlib.suppress(OSError):
            cast("Any", sock).shutdown(socket.SHUT_RDWR)


async def close_client(client: aiomqtt.Client) -> None:
    """Say goodbye if the broker listens, and close; never raises."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await client.__aexit__(None, None, None)
    except (TimeoutError, aiomqtt.MqttError, OSError, ValueError):
        pass
    finally:
        cut(client)


async def subscribe(client: aiomqtt.Client, topics: Sequence[str]) -> list[str]:
    """Subscribe at QoS 0; returns the topics that the broker refused. Raises BrokerError."""
    try:
        codes = await client.subscribe([(topic, 0) for topic in topics])
    except (aiomqtt.MqttError, ValueError) as error:
        raise BrokerError(f"subscribing failed: {error}") from None
    values = [code if isinstance(code, int) else code.value for code in codes]
    return [topic for topic, value in zip(topics, values, strict=False) if value >= REFUSED]
