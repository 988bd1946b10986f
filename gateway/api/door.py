"""What is checked of every request before a handler sees it: who is asked, from which page, how much is sent.

Without these a page in the operator's browser could stop a link: by a form sent to loopback (cross-site request
forgery), by a name that suddenly resolves to loopback (DNS rebinding), by a WebSocket, which no browser restricts.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api.answering import explained, refuse

BODY_MAX_OCTETS = 1 << 20
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class BodyTooLarge(HTTPException):
    """More was sent than a request may have."""

    def __init__(self) -> None:
        super().__init__(413, f"a request has at most {BODY_MAX_OCTETS} octets")


class Door:
    """Lets requests in that name this gateway, come from no foreign page, and are not too large.

    `names` are the host names under which clients reach it, beside localhost; addresses need no name: only a name
    can be made to resolve to somewhere else.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str] = ()) -> None:
        self._app = app
        self._names = frozenset(name.lower() for name in (*names, "localhost"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer why not."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        status, error, hint = self._checked(scope)
        if status:
            await refuse(scope, receive, send, status, error, hint)
            return
        answering = explained(scope, receive, send) if scope["type"] == "websocket" else send
        await self._app(scope, _limited(receive), answering)

    def _checked(self, scope: Scope) -> tuple[int, str, str]:
        headers = _headers(scope)
        host = headers.get("host", "")
        if not self._is_ours(host):
            hint = "use the gateway's address, or add the name to api.names in gateway.yaml"
            return 421, f"this gateway is not {host[:100]!r}", hint
        unsafe = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        origin = headers.get("origin")
        if unsafe and origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, f"the page {origin[:100]!r} may not use this gateway", "send no Origin header from a program"
        stated = headers.get("content-length", "")
        if stated.isdigit() and int(stated) > BODY_MAX_OCTETS:
            return 413, BodyTooLarge().detail, ""
        return 0, "", ""

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _headers(scope: Scope) -> Mapping[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _limited(receive: Receive) -> Receive:
    """Count the octets of a request's body as they come: a chunked one does not say its length."""
    octets = 0

    async def counted() -> Message:
        nonlocal octets
        message = await receive()
        if message["type"] == "http.request":
            octets += len(message.get("body", b""))
            if octets > BODY_MAX_OCTETS:
                raise BodyTooLarge
        return message

    return counted
