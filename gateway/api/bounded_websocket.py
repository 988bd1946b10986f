"""One WebSocket of the control plane, bounded in what its peer may have it do (docs/bad-weather.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode

from gateway_routes.admission import peer_of
from gateway_routes.rights import Actor, ActorKind

if TYPE_CHECKING:
    from gateway.api.connections import Connections

UNREAD_MAX_OCTETS = 2 << 20  # more than the largest block under way
UNREAD_S = 60.0
CLOSING_S = 10.0
TOLD_S = 1.0
"""Who is told why it ends is given so long to read it."""
PIECE_OCTETS = 1024
"""So much of what a peer sent is looked at in one step: a piece of the smallest frames takes about a millisecond."""


class Patience:
    """Since when a connection has been unread, or closing (monotonic s)."""

    def __init__(self) -> None:
        self.unread_s: float | None = None
        self._closing_s: float | None = None

    def over(self, transport: asyncio.Transport, now_s: float) -> str:
        """Return why it has lasted too long, or nothing."""
        if transport.is_closing():
            self._closing_s = now_s if self._closing_s is None else self._closing_s
            return "does not finish" if now_s - self._closing_s > CLOSING_S else ""
        unread = self.unread_s is not None and now_s - self.unread_s > UNREAD_S
        return "does not read" if unread else ""


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """Answers to pings go out without flow control: who pings for ever and never reads is cut off.

    What a session sends is bounded by its window, and a peer that does not answer our pings is ended; here that end is
    at once: octets that a peer does not read would otherwise hold the connection for ever. What it sends is taken piece
    by piece, in the turns of its home base: a read may hold thousands of frames.
    """

    def __init__(self, connections: Connections, **settings: Any) -> None:
        super().__init__(**settings)
        self._all = connections
        self._peer = ""
        self._patience = Patience()
        self._unfed = bytearray()
        self._feeding = self._deaf = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It was admitted as an HTTP connection."""
        super().connection_made(transport)
        self._peer = peer_of(self.client[0] if self.client else "unknown")
        self._all.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        super().connection_lost(exc)
        self._unfed.clear()
        self._all.open.discard(self)
        self._all.admission.leave(self._peer)

    # ---- what comes ----

    def data_received(self, data: bytes) -> None:
        """Take octets: at once what is little, else in turns."""
        if self._deaf:
            return
        if not self._unfed and len(data) <= PIECE_OCTETS and self._all.turns.free(self._key()):
            super().data_received(data)
            return
        self._unfed += data
        self._stop_reading()
        self._feed_later()

    def _key(self) -> Hashable:
        """Return whose turns these are: those of a home base are one."""
        actor = self._actor()
        return actor.name if actor is not None and actor.kind is ActorKind.HOME else id(self)

    def _actor(self) -> Actor | None:
        """Return who showed a token in the handshake, once that is known."""
        found: Actor | None = getattr(self, "scope", {}).get("state", {}).get("actor")
        return found

    def _stop_reading(self) -> None:
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def _feed_later(self) -> None:
        if self._unfed and not self._feeding and not self.read_paused:
            self._feeding = True
            self._all.turns.later(self._key(), self._feed)

    def _feed(self) -> None:
        self._feeding = False
        if self._deaf or self.transport.is_closing():
            self._unfed.clear()
            return
        piece = bytes(self._unfed[:PIECE_OCTETS])
        del self._unfed[:PIECE_OCTETS]
        super().data_received(piece)
        if self._unfed:
            self._feed_later()
        elif not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    async def receive(self) -> Any:
        """Return the next event; when the last message was taken, what waits behind it is looked at."""
        event = await super().receive()
        if self._unfed:
            self._stop_reading()
            self._feed_later()
        return event

    def send_receive_event_to_app(self) -> None:
        """Hand a message over, if it is one."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError as error:
                self.frames = []
                self.conn.fail(CloseCode.INVALID_DATA, f"text that is no UTF-8, at octet {error.start}")
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def handle_parser_exception(self) -> None:
        """What came is no WebSocket, or too large: say why, and hear nothing more."""
        sent = self.conn.close_sent
        code, reason = (sent.code, sent.reason) if sent is not None else (CloseCode.ABNORMAL_CLOSURE, "")
        self._all.note_malformed(self._peer, self._actor(), oversized=code == CloseCode.MESSAGE_TOO_BIG)
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self._deaf = self.close_sent = True
        self._unfed.clear()
        if self.transport.is_closing():
            return
        self.transport.write(b"".join(self.conn.data_to_send()))
        # closed at once, with octets that were not read, the system would reset it, and the reason could be lost
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.transport.resume_reading()
        self.loop.call_later(TOLD_S, self.transport.abort)

    # ---- what goes ----

    async def send(self, message: Any) -> None:
        """Send; a handshake that was refused in full is over, and no error of ours to be logged."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True

    def handle_ping(self) -> None:
        """Answer, and cut off who does not read answers."""
        super().handle_ping()
        if self.transport.get_write_buffer_size() > UNREAD_MAX_OCTETS:
            self._all.admission.closed["does not read"] += 1
            self.transport.abort()

    def keepalive_timeout(self) -> None:
        """No answer to our ping."""
        self._all.admission.closed["no answer to a ping"] += 1
        super().keepalive_timeout()
        self.transport.abort()

    def overdue(self, now_s: float) -> str:
        """Return why the connection is to be ended, or nothing."""
        return self._patience.over(self.transport, now_s)
