"""Who asks, and whether they may: before any handler sees a request.

`Identity` finds out who shows a token; `may` is a dependency of every route, and looks up in one table what the route
is. What the table does not name only an operator may do.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends
from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.access.tokens import TokenRefused
from gateway.api.answering import refuse
from gateway.errors import Refused
from gateway.service import Gateway
from gateway_routes.rights import LOCAL_OPERATOR, NOBODY, Action, Actor, ActorKind

OPEN_TO_ALL = frozenset({"/health/live", "/health/ready", "/docs", "/api/v1/openapi.json"})
OPEN_FOLDERS = ("/docs/assets/",)
IN_URL = frozenset({"token", "access_token", "authorization", "auth"})
BEARER = {"WWW-Authenticate": 'Bearer realm="gateway"'}
SHOW_ONE = "Authorization: Bearer gwt_...; `gateway homes token` makes one"
ACTIONS: dict[str, Action] = {
    "GET /status": Action.OBSERVE,
    "GET /instances": Action.OBSERVE,
    "GET /instances/{instance}": Action.OBSERVE,
    "GET /missions": Action.OBSERVE,
    "GET /spacecraft": Action.OBSERVE,
    "GET /instances/{instance}/streams": Action.OBSERVE,
    "GET /instances/{instance}/subscriptions": Action.OBSERVE,
    "DELETE /instances/{instance}/subscriptions/{home}/{subscription}": Action.OWN,
    "GET /instances/{instance}/events": Action.OBSERVE,
    "GET /instances/{instance}/journal": Action.OBSERVE,
    "GET /instances/{instance}/journal/packets": Action.READ,
    "GET /instances/{instance}/containers": Action.OBSERVE,
    "GET /instances/{instance}/databases": Action.OBSERVE,
    "POST /instances/{instance}/databases/{spacecraft}/reload": Action.OPERATE,
    "GET /instances/{instance}/parameters": Action.OBSERVE,
    "GET /instances/{instance}/parameters/definition": Action.OBSERVE,
    "GET /instances/{instance}/parameters/buckets": Action.READ,
    "GET /instances/{instance}/parameters/history": Action.READ,
    "GET /instances/{instance}/parameters/history.csv": Action.READ,
    "GET /instances/{instance}/parameters/latest": Action.READ,
    "GET /contacts": Action.OBSERVE,
    "POST /instances/{instance}/contacts": Action.OPERATE,
    "POST /instances/{instance}/contacts/{contact}/close": Action.OPERATE,
    "GET /homes": Action.OBSERVE,
    "GET /tokens": Action.ADMINISTER,
    "POST /tokens": Action.ADMINISTER,
    "DELETE /tokens/{token}": Action.ADMINISTER,
    "GET /links": Action.OBSERVE,
    "GET /instances/{instance}/links/{link}": Action.OBSERVE,
    "POST /instances/{instance}/links/{link}/{action}": Action.OPERATE,
    "GET /replays": Action.OBSERVE,
    "GET /replays/{run}": Action.OBSERVE,
    "GET /replays/{run}/report": Action.OBSERVE,
    "POST /replays": Action.OPERATE,
    "POST /clock/accept": Action.OPERATE,
    "GET /configuration": Action.OBSERVE,
    "POST /reload": Action.ADMINISTER,
    "GET /openapi.json": Action.KNOW,
    "GET /docs": Action.KNOW,
    "GET /health/live": Action.KNOW,
    "GET /health/ready": Action.KNOW,
    "GET /metrics": Action.OBSERVE,
    "GET /instances/{instance}/playbacks": Action.OWN,
    "POST /instances/{instance}/playbacks": Action.OWN,
    "GET /instances/{instance}/playbacks/{playback}": Action.OWN,
    "POST /instances/{instance}/playbacks/{playback}/cancel": Action.OWN,
    "POST /instances/{instance}/subscriptions/{home}/{subscription}/resend": Action.OPERATE,
    "GET /instances/{instance}/reports": Action.OBSERVE,
    "GET /instances/{instance}/homes/{home}/reports": Action.OWN,
    "WS /instances/{instance}/subscribe": Action.RECEIVE,
}
"""What each route is, below /api/v1 or at the root; `tests/gateway/test_guard.py` goes through all routes."""


class Identity:
    """Finds out who asks, and refuses who shows a token that does not hold, or puts it where it does not belong."""

    def __init__(self, app: ASGIApp, service: Gateway) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its actor, or answer why not."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        access = self._service.access
        if IN_URL & _query_keys(scope):
            access.count("token in a URL")
            told = "a token in a URL ends up in logs and histories: revoke it, and send the next one as a header"
            await refuse(scope, receive, send, 400, told, SHOW_ONE)
            return
        try:
            actor = self._actor(scope)
        except TokenRefused as error:
            access.count("bad token")
            await refuse(scope, receive, send, 401, str(error), SHOW_ONE, BEARER)
            return
        if actor is NOBODY and scope["path"] not in OPEN_TO_ALL and not scope["path"].startswith(OPEN_FOLDERS):
            access.count("no token")
            await refuse(scope, receive, send, 401, "this gateway answers who shows a token", SHOW_ONE, BEARER)
            return
        scope.setdefault("state", {})["actor"] = actor
        await self._app(scope, receive, send)

    def _actor(self, scope: Scope) -> Actor:
        """Return who asks. Raises TokenRefused."""
        shown = [value for name, value in scope["headers"] if name == b"authorization"]
        if not shown:
            return LOCAL_OPERATOR if self._service.access.open else NOBODY
        kind, _, text = shown[0].decode("latin-1").partition(" ")
        if len(shown) > 1 or kind.lower() != "bearer":
            raise TokenRefused("the Authorization header is one `Bearer` and a token")
        return self._service.access.identify(text.strip())


def _query_keys(scope: Scope) -> set[str]:
    query = scope.get("query_string", b"").decode("latin-1").lower()
    return {part.partition("=")[0] for part in query.replace(";", "&").split("&")}


def actor_of(connection: HTTPConnection) -> Actor:
    """Return who asks, as `Identity` found out."""
    found: Actor = getattr(connection.state, "actor", NOBODY)
    return found


ActorDep = Annotated[Actor, Depends(actor_of)]


def whose(service: Gateway, actor: Actor, instance: str, home: str | None) -> str | None:
    """Return about which home base somebody may ask: of none in particular a home base about itself. Raises Refused."""
    asked = actor.name if home is None and actor.kind is ActorKind.HOME else home
    found = service.policy.decide(actor, Action.OWN, home=asked or "", where=service.instance(instance).where)
    if not found.allowed:
        raise Refused(found.why)
    return asked


async def may(connection: HTTPConnection) -> None:
    """Let an actor through who may do what the route is; for all routes. Raises HTTPException, WebSocketException."""
    service: Gateway = connection.app.state.service
    route: Any = connection.scope.get("route")
    action = ACTIONS.get(route_key(method_of(connection.scope), getattr(route, "path", "")), Action.ADMINISTER)
    found = service.policy.decide(actor_of(connection), action)
    if found.allowed:
        return
    service.access.count(found.code)
    if connection.scope["type"] == "websocket":
        raise WebSocketException(1008, found.why)
    raise HTTPException(403, found.why)


def route_key(method: str, path: str) -> str:
    """Return how the table names a route."""
    return f"{method} {path.removeprefix('/api/v1')}"


def method_of(scope: Scope) -> str:
    """Return the method of a request as the table has it."""
    method = "WS" if scope["type"] == "websocket" else str(scope["method"])
    return "GET" if method == "HEAD" else method
