"""MQTT clients as we need them: opened with a deadline, closed at once, with a bounded inbox.

aiomqtt (paho inside) connects in a thread that cannot be cancelled, returns a refused subscription as if nothing were
wrong, keeps every message that comes, and leaves its socket open when it fails. What of that matters is settled here,
for the gateway's own connection and for home bases.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import select
import socket
import ssl
import termios
import threading
import time
from array import array
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import aiomqtt
from aiomqtt.exceptions import MqttConnectError

T = TypeVar("T")
KEEP_ALIVE_S = 10
OPEN_S = 8.0
CLOSE_S = 1.0
SEND_BUFFER_OCTETS = 1 << 20
SILENT_S = 10.0
LOOK_S = 1.0
INBOX_MESSAGES = 4096
READ_AHEAD_MESSAGES, READ_AHEAD_OCTETS, READ_S = 256, 1 << 20, 0.002
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


class BrokerRefuses(BrokerError):
    """The broker does not know who comes, or does not let him in."""


class Inbox(asyncio.Queue[aiomqtt.Message | None]):
    """What came and was not taken yet; None = the connection has ended. What does not fit is discarded.

    It does not fit when more than `max_octets` or INBOX_MESSAGES wait, or it alone has more than `most_of_one`.
    `on_discard` gets the topic of what does not.
    """

    def __init__(self, max_octets: int, on_discard: Callable[[str], None], most_of_one: int | None = None) -> None:
        super().__init__()
        self._max_octets, self._on_discard, self._most_of_one = max_octets, on_discard, most_of_one
        self.waiting_octets = 0
        self.came = 0  # what was taken and what was discarded

    @property
    def much(self) -> bool:
        """Whether what waits is enough for now."""
        return self.qsize() >= READ_AHEAD_MESSAGES or self.waiting_octets >= READ_AHEAD_OCTETS

    def _put(self, item: aiomqtt.Message | None) -> None:
        self.waiting_octets += _size(item)
        super()._put(item)

    def _get(self) -> aiomqtt.Message | None:
        item = super()._get()
        self.waiting_octets -= _size(item)
        return item

    def put_nowait(self, item: aiomqtt.Message | None) -> None:
        """Take what came, or discard it."""
        self.came += 1
        too_large = self._most_of_one is not None and _size(item) > self._most_of_one
        too_many = self.qsize() >= INBOX_MESSAGES or self.waiting_octets + _size(item) > self._max_octets
        if item is not None and (too_large or too_many):
            self._on_discard(str(item.topic))
            return
        super().put_nowait(item)


def _size(message: aiomqtt.Message | None) -> int:
    return len(message.payload) if message is not None and isinstance(message.payload, bytes | str) else 0


class Client(aiomqtt.Client):
    """aiomqtt's client, whose end is always seen.

    uvloop closes its handle of a socket that has an error, without a word; what aiomqtt does to that socket then raises
    in the midst of paho's closing, and a connection that is gone would look alive for ever (seen under a flood).
    """

    def __init__(self, inbox: Inbox, *args: Any, **settings: Any) -> None:
        super().__init__(*args, queue_type=cast("Any", lambda maxsize: inbox), **settings)
        self.inbox = inbox
        self._thread = threading.get_ident()  # that of the loop
        self._disconnected.add_done_callback(_looked_at)

    async def _wait_for(self, fut: Awaitable[T], timeout: float | None) -> T:
        """Wait for an answer of the broker. Raises MqttError when none comes in time, or the connection ends before.

        aiomqtt's own, by CPython 3.11's asyncio.wait_for, forgets a cancellation that comes together with the answer.
        """
        waiting = asyncio.ensure_future(fut)
        either: set[asyncio.Future[Any]] = {waiting, self._disconnected}
        most_s = self.timeout if timeout is None else timeout
        try:
            await asyncio.wait(either, timeout=most_s, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
            broke = self._disconnected.done()
            raise aiomqtt.MqttError("the connection broke" if broke else "the broker does not answer in time")
        finally:
            waiting.cancel()

    def watch_end(self) -> None:
        """From now on, the end of the connection comes into the inbox behind what has come before."""
        self._disconnected.add_done_callback(_looked_at)
        self._disconnected.add_done_callback(lambda _: self.inbox.put_nowait(None))

    def broken(self) -> str:
        """Return why the connection is of no use any more; empty while it is."""
        if self._disconnected.done():
            return (
                str(self._disconnected.exception() or "disconnected") if not self._disconnected.cancelled() else "cut"
            )
        sock = self._client.socket()
        if sock is None or sock.fileno() < 0:
            return "the connection is closed"
        look = select.poll()
        look.register(sock.fileno(), select.POLLERR | select.POLLHUP | getattr(select, "POLLRDHUP", 0))
        if look.poll(0):
            return "the broker closed the connection"
        asked_s = self._client._ping_t  # 0 = answered
        if self._misc_task is None or self._misc_task.done() or (asked_s and time.monotonic() - asked_s > SILENT_S):
            return "the broker does not answer any more"
        return ""

    async def next(self) -> aiomqtt.Message:
        """Return the next message. Raises BrokerError when the connection has ended, seen within LOOK_S."""
        while True:
            if self.inbox.empty() and (why := self.broken()):
                raise BrokerError(f"the connection to the broker broke: {why}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    message = await self.inbox.get()
                    if message is not None:
                        return message

    def next_now(self) -> aiomqtt.Message | None:
        """Return the next message if it is here already; that the connection has ended `next` finds."""
        return None if self.inbox.empty() else self.inbox.get_nowait()

    def waiting_octets(self) -> int:
        """Return what has come and was not taken: in the inbox and in the system's buffer."""
        sock, count = self._client.socket(), array("i", [0])
        if sock is not None and sock.fileno() >= 0:
            with contextlib.suppress(OSError):
                fcntl.ioctl(sock.fileno(), termios.FIONREAD, count)
        return count[0] + self.inbox.waiting_octets

    def cut(self) -> None:
        """End the connection at once: everything that waits for it ends."""
        sock = self._client.socket()
        if sock is not None:
            with contextlib.suppress(OSError):
                cast("Any", sock).shutdown(socket.SHUT_RDWR)

    def close_socket(self) -> None:
        """Close the socket, now."""
        self.cut()
        with contextlib.suppress(Exception):  # whatever paho meets on the way, it closes
            self._client._sock_close()

    # ---- paho's callbacks: none of them may raise ----

    def _on_socket_open(self, client: Any, userdata: Any, sock: Any) -> None:
        super()._on_socket_open(client, userdata, sock)
        self._loop.call_soon_threadsafe(self._watch_readable, sock)

    def _watch_readable(self, sock: Any) -> None:
        """Read in place of aiomqtt, which takes one message in a turn of the loop, however many are there."""
        now = cast("Any", self._client.socket())
        if now is sock and now.fileno() >= 0:
            self._loop.add_reader(now.fileno(), self._readable)

    def _readable(self) -> None:
        """Read what is there; when it is much, or much waits in the inbox, the rest in the next turns."""
        until_s = time.monotonic() + READ_S
        try:
            while True:
                came = self.inbox.came
                self._client.loop_read()
                if self.inbox.came == came or self.inbox.much or time.monotonic() > until_s:
                    break
            pending = getattr(self._client.socket(), "pending", None)  # of TLS: read, and to be seen nowhere else
            if pending is not None and pending():
                self._loop.call_soon(self._readable)
        except Exception as error:
            self._end(error)

    def _on_socket_close(self, client: Any, userdata: Any, sock: Any) -> None:
        with contextlib.suppress(RuntimeError, ValueError, OSError):
            super()._on_socket_close(client, userdata, sock)
        with contextlib.suppress(RuntimeError):  # the loop may be closed: paho closes when it is collected, too
            self._loop.call_soon_threadsafe(self._closed)

    def _closed(self) -> None:
        """End what lives with the socket: aiomqtt would wait for an answer of the broker all the same."""
        if self._misc_task is not None:
            self._misc_task.cancel()
        error = aiomqtt.MqttError("the broker closed the connection")
        if not self._connected.done():
            self._connected.set_exception(error)
            self._connected.exception()  # there may be nobody who waits for it
        else:
            self._end(error)

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:
        """Something is to be written. On the loop it goes at once, as far as the socket takes it: who publishes waits
        for no turn of the loop while the broker reads. (paho connects in a thread.)"""
        if threading.get_ident() != self._thread:
            self._loop.call_soon_threadsafe(self._watch_writable, sock)
            return
        self._writable()
        if self._client.want_write():
            self._watch_writable(sock)

    def _watch_writable(self, sock: Any) -> None:
        now = cast("Any", self._client.socket())
        if now is not sock:
            return  # closed meanwhile; its number may be another's by now
        try:
            self._loop.add_writer(sock.fileno(), self._writable)
        except (RuntimeError, ValueError, OSError) as error:
            self._end(error)

    def _writable(self) -> None:
        try:
            self._client.loop_write()
        except Exception as error:
            self._end(error)

    def _end(self, error: Exception) -> None:
        if not self._disconnected.done():
            self._disconnected.set_exception(error)

    def _on_socket_unregister_write(self, client: Any, userdata: Any, sock: Any) -> None:
        with contextlib.suppress(RuntimeError, ValueError, OSError):
            super()._on_socket_unregister_write(client, userdata, sock)


def _looked_at(ended: asyncio.Future[None]) -> None:
    """Nobody may ask why a connection ended: asyncio need not complain."""
    if not ended.cancelled():
        ended.exception()


async def open_client(
    address: BrokerAddress, identifier: str, inbox: Inbox, will: aiomqtt.Will | None = None
) -> Client:
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
        kind = BrokerRefuses if isinstance(error, MqttConnectError) else BrokerError
        raise kind(f"{address}: {_in_words(error)}") from None
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
    inbox: Inbox,
    will: aiomqtt.Will | None,
    context: ssl.SSLContext | None,
) -> Client:
    client = Client(
        inbox, address.host, address.port, username=address.username, password=address.password, logger=QUIET,
        identifier=identifier, will=will, clean_session=True, timeout=OPEN_S, keepalive=KEEP_ALIVE_S,
        tls_context=context, socket_options=SOCKET_OPTIONS,
    )  # fmt: skip
    try:
        await client.__aenter__()
    except BaseException:
        client.close_socket()
        raise
    client.watch_end()
    return client


def _in_words(error: aiomqtt.MqttError) -> str:
    if isinstance(error, MqttConnectError):
        return f"the broker refuses the connection ({error.rc})"
    return str(error) or type(error).__name__


async def close_client(client: Client) -> None:
    """Say goodbye if the broker listens, and close; never raises."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await client.__aexit__(None, None, None)
    except (TimeoutError, aiomqtt.MqttError, OSError, ValueError, RuntimeError):
        pass
    finally:
        client.close_socket()


async def subscribe(client: Client, topics: Sequence[str]) -> list[str]:
    """Subscribe at QoS 0; returns the topics that the broker refused. Raises BrokerError."""
    try:
        codes = await client.subscribe([(topic, 0) for topic in topics])
    except (aiomqtt.MqttError, OSError, ValueError, RuntimeError) as error:
        raise BrokerError(f"subscribing failed: {error}") from None
    values = [code if isinstance(code, int) else code.value for code in codes]
    return [topic for topic, value in zip(topics, values, strict=False) if value >= REFUSED]
