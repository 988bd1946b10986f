"""The connections of the control plane: who may connect, and how long somebody may say, read or finish nothing.

uvicorn alone would hold for ever a connection that sends no request, or half of one, or reads no answer, and would
take as many of them as there are descriptors. Here each connection is admitted or refused when it comes (with an
answer that says why), and is looked at each second.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.access.tokens import TokenRefused
from gateway.api.bounded_websocket import TOLD_S, BoundedWebSocket, Patience
from gateway.homes.turns import Turns
from gateway_routes.admission import Admission, peer_of
from gateway_routes.rights import NOBODY, Actor, ActorKind
from gateway_routes.tolls import REFUSED, REQUESTS_PER_S, Tolls

REQUEST_S = 10.0
BODY_S = 30.0
LOOK_S = 1.0
HELD_S = 1.0
"""Who has used up an allowance is answered so much later: each connection asks once in that time, at most."""
BEARER = re.compile(rb"\r\nauthorization:[ \t]*bearer[ \t]+([^\r\n]{1,512})", re.IGNORECASE)
HEAD_OCTETS = 1 << 14


class Connections:
    """All open connections, admitted by `admission`. `watch` runs as long as the server does.

    `identify` returns who shows a token, or None: who shows none is the operator; it raises TokenRefused. `count`
    counts what is refused at the door. `turns` are those of the home bases.
    """

    def __init__(
        self,
        admission: Admission,
        tolls: Tolls,
        turns: Turns,
        identify: Callable[[str | None], Actor],
        count: Callable[[str], None],
    ) -> None:
        self.admission, self.tolls, self.turns = admission, tolls, turns
        self._identify, self._count = identify, count
        self.open: set[BoundedHttp | BoundedWebSocket] = set()
        self.being_told = 0

    def lets_in(self, peer: str, head: bytes) -> bool:
        """Whether a request, of which this is the beginning, is within the allowance of who asks."""
        shown, cost = BEARER.search(head, 0, HEAD_OCTETS), 1.0
        try:
            actor = self._identify(None if shown is None else shown[1].decode("latin-1").strip())
        except TokenRefused:
            actor = NOBODY
            cost += REFUSED if shown is not None else 0
        payer = payer_of(peer, actor)
        if payer is None or self.tolls.admit(payer, cost, asyncio.get_running_loop().time()):
            return True
        self._count("too fast")
        return False

    def note_malformed(self, peer: str, actor: Actor | None, *, oversized: bool) -> None:
        """A WebSocket's peer sent what is none, or a message that is too large."""
        self.admission.closed["message too large" if oversized else "malformed message"] += 1
        payer = payer_of(peer, actor or NOBODY)
        if payer is not None:
            self.tolls.charge(payer, REFUSED, asyncio.get_running_loop().time())

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


def payer_of(peer: str, actor: Actor) -> str | None:
    """Return who pays for what an actor asks; an operator pays nothing."""
    if actor.kind is ActorKind.OPERATOR:
        return None
    return f"address {peer}" if actor is NOBODY else f"{actor.kind} {actor.name}"


def answer(status: str, error: str, hint: str, retry_after_s: int) -> bytes:
    """Return a whole answer, for who is not let as far as the application."""
    body = json.dumps({"error": error, "hint": hint}).encode()
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nretry-after: {retry_after_s}\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


TOO_FAST = answer(
    "429 Too Many Requests",
    "refused: more requests, or more refused ones, than one home base or address may make",
    f"wait a little: {REQUESTS_PER_S:g} requests a second, each refused one counts as {1 + REFUSED:g}",
    2,
)


class BoundedHttp(H11Protocol):
    """One HTTP connection; see the module."""

    def __init__(self, connections: Connections, **settings: Any) -> None:
        super().__init__(**settings)
        self._all = connections
        self._peer = ""
        self._refused = self._upgraded = self._held = False
        self._asks_anew = True  # what comes next is the beginning of a request
        self._patience = Patience()
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
        self.transport.write(answer("503 Service Unavailable", f"refused: {why}", hint, 10))
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
        if self._refused or self._held:
            return
        if self._asks_anew:
            if not self._all.lets_in(self._peer, data):
                self._hold()
                return
            self._asks_anew = False
        super().data_received(data)
        if not self._upgraded:
            self._note_waiting()

    def _hold(self) -> None:
        """This request is too much: it is not read, and answered after a while."""
        self._held, self._waits_since_s = True, None
        self._unset_keepalive_if_required()
        self.transport.pause_reading()
        self.loop.call_later(HELD_S, self._tell_too_fast)

    def _tell_too_fast(self) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(TOO_FAST)
        self.transport.write_eof()
        self.transport.resume_reading()  # what was not read would have the system throw the answer away
        self.loop.call_later(TOLD_S, self.transport.abort)

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
        ahead = self.conn.trailing_data[0]  # of it, if it has come already
        if ahead and not self.transport.is_closing() and not self._all.lets_in(self._peer, ahead):
            self._hold()
            return
        self._asks_anew = not ahead
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
