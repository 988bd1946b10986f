"""Refuses query parameters that a route does not know: who mistypes one must not get the answer to another question.

One dependency for all routes below /api/v1; what a route knows is what FastAPI has read from its signature.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection

from gateway.errors import UsageError

BELOW = "/api/v1/"
SHOWN, SHOWN_CHARACTERS = 4, 64


async def only_known(connection: HTTPConnection) -> None:
    """Let a request through whose query names nothing unknown; for all routes. Raises UsageError."""
    route = connection.scope.get("route")
    if not isinstance(connection, Request) or not isinstance(route, APIRoute) or not route.include_in_schema:
        return
    if not connection.scope["path"].startswith(BELOW):  # who asks for health or metrics may add what he likes
        return
    known = names(route)
    unknown = [name for name in dict.fromkeys(connection.query_params) if name not in known]
    if not unknown:
        return
    told = ", ".join(repr(name[:SHOWN_CHARACTERS]) for name in unknown[:SHOWN])
    near = get_close_matches(unknown[0][:SHOWN_CHARACTERS], known, 1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    knows = f"it has {', '.join(known)}" if known else "it has none"
    raise UsageError(f"this operation has no query parameter {told}{meant}", knows)


def names(route: APIRoute) -> tuple[str, ...]:
    """Return the query parameters that a route knows, as they are called in a request."""
    return tuple(dict.fromkeys(_names(route.dependant)))


def _names(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for other in dependant.dependencies:
        yield from _names(other)
