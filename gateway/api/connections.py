"""The connections of the control plane: who may connect, and how long somebody may say, read or finish nothing.

uvicorn alone would hold for ever a connection that sends no request, or half of one, or reads no answer, and would
take as many of them as there are descriptors. Here each connection is admitted or refused when it comes (with an
answer that says why), and is looked at each second.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gateway_routes.admission import Admission, peer_of

REQUEST_S = 10.0
BODY_S = 30.0
UNREAD_S = 60.0
CLOSING_S = 10.0
LOOK_S = 1.0
TOLD_S = 1.0
"""A connection that is refused is given so long to read why."""
UNREAD_MAX_OCTETS = 2 << 20  # more than the largest block under way


class Connections:
    """All open connections, admitted by `admission`. `watch` runs as long as the server does."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.open: set[BoundedHttp | BoundedWebSocket] = set()
        self.being_told = 0

    def http(self, **settings: Any) -> BoundedHttp:
        """Return the protocol of a new connection; uvicorn calls it as it calls a class."""
        return BoundedHttp(self, **settings)

    def websocket(self, **settings: Any) -> BoundedWebSocket:
        """Return the protocol of a connection that became a WebSocket."""
        return BoundedWebSocket(self, **settings)

    async def watch(self) -> None:
        """Each second, end the connections whose time is over."""
        while True:
            now_s = asyncio.get_running_loop().time()
            for connection in list(self.open):
                if why := connection.overdue(now_s):
                    self.admission.closed[why] += 1
                    connection.transport.abort()
            await asyncio.sleep(LOOK_S)

    def leave_unasked(self) -> None:
        """The server ends: whose request is not whole will get no answer any more."""
        for connection in list(self.open):
            if isinstance(connection, BoundedHttp) and connection.owes_a_request:
                connection.transport.abort()


class _Patience:
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


class BoundedHttp(H11Protocol):
    """One HTTP connection; see the module."""

    def __init__(self, connections: Connections, **settings: Any) -> None:
        super().__init__(**settings)
        self._all = connections
        self._peer = ""
        self._refused = self._upgraded = False
        self._patience = _Patience()
        self._waits_since_s: float | None = None  # for the rest of a request
        self._waits_for_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Admit it, or say why not."""
        super().connection_made(transport)
        self._peer = peer_of(self.client[0] if self.client else "unknown")
        refusal = self._all.admission.admit(self._peer)
        if refusal is not None:
            self._refused = True
            self._tell(refusal[1])
            return
        self._all.open.add(self)
        self._waits_since_s = self.loop.time()

    def _tell(self, why: str) -> None:
        if self._all.being_told >= self._all.admission.told_at_once:
            self.transport.abort()
            return
        self._all.being_told += 1
        hint = "close what is not needed, try again later; the limits are in gateway.yaml and docs/bad-weather.md"
        body = json.dumps({"error": f"refused: {why}", "hint": hint}).encode()
        head = (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 10\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.write_eof()
        self.loop.call_later(TOLD_S, self._told)

    def _told(self) -> None:
        self._all.being_told -= 1
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        super().connection_lost(exc)
        self._all.open.discard(self)
        if not self._refused:
            self._all.admission.leave(self._peer)

    def data_received(self, data: bytes) -> None:
        """Take octets; who is refused says what he likes."""
        if self._refused:
            return
        super().data_received(data)
        if not self._upgraded:
            self._note_waiting()

    def _note_waiting(self) -> None:
        """Whether the peer owes the rest of a request, and since when: more octets of it win no time."""
        state = self.conn.their_state
        for_body = state is h11.SEND_BODY
        if not for_body and state is not h11.IDLE:
            self._waits_since_s = None
        elif self._waits_since_s is None or for_body != self._waits_for_body:
            self._waits_since_s = self.loop.time()
        self._waits_for_body = for_body

    def on_response_complete(self) -> None:
        """The next request may come: uvicorn's timer of idle connections runs from here."""
        super().on_response_complete()
        self._waits_since_s, self._waits_for_body = None, False

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """From here on it is a WebSocket; it stays admitted."""
        self._upgraded = True
        self._all.open.discard(self)
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._all.admission.closed["no HTTP"] += 1
        super().send_400_response(msg)

    def pause_writing(self) -> None:
        """The peer does not read."""
        self._patience.unread_s = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """It reads again."""
        self._patience.unread_s = None
        super().resume_writing()

    @property
    def owes_a_request(self) -> bool:
        """Whether the peer has not sent the whole of a request."""
        return self._waits_since_s is not None

    def overdue(self, now_s: float) -> str:
        """Return why the connection is to be ended, or nothing."""
        since_s, limit_s = self._waits_since_s, BODY_S if self._waits_for_body else REQUEST_S
        if since_s is not None and now_s - since_s > limit_s:
            return "half a request" if self._waits_for_body else "no request"
        return self._patience.over(self.transport, now_s)


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """One WebSocket. Answers to pings go out without flow control: who pings for ever and never reads is cut off.

    What a session sends is bounded by its window, and a peer that does not answer our pings is ended; here that end is
    at once: octets that a peer does not read would otherwise hold the connection for ever.
    """

    def __init__(self, connections: Connections, **settings: Any) -> None:
        super().__init__(**settings)
        self._all = connections
        self._peer = ""
        self._patience = _Patience()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It was admitted as an HTTP connection."""
        super().connection_made(transport)
        self._peer = peer_of(self.client[0] if self.client else "unknown")
        self._all.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        super().connection_lost(exc)
        self._all.open.discard(self)
        self._all.admission.leave(self._peer)

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
