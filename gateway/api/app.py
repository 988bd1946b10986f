"""Builds the FastAPI application: /api/v1, /metrics, /health/live, /health/ready."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import NoMatchFound

from gateway import __version__
from gateway.api import (
    clock,
    configuration,
    contacts,
    downloads,
    homes,
    instances,
    links,
    playbacks,
    replays,
    reports,
    stream,
    values,
)
from gateway.api.described import answer, described
from gateway.api.door import Door
from gateway.api.guard import Identity, may
from gateway.api.pages import add_pages
from gateway.api.queries import only_known
from gateway.api.refusals import add_refusals
from gateway.service import Gateway

DESCRIPTION = """The control plane of the ground-segment gateway.

Mission instances own links, contacts, a journal and subscriptions.

**Home bases** receive their items over the WebSocket `/api/v1/instances/{instance}/subscribe`, which OpenAPI cannot
describe. The first text message is the client's, `{"type": "subscribe", "home": …, "subscription": …}`; then text
messages are JSON and control, binary messages are blocks of items. The whole protocol is one page,
`docs/wire-format.md`; `gateway subscribe` speaks it.

**Errors** are `{"error", "hint"}`, whatever went wrong. A query parameter that an operation does not have is refused
with 422, which names those that it has. Beside what each operation states, any request may be refused
with 403 (sent by a foreign page), 413 (too large), 421 (a host name that is not this gateway's), or 503 (too many
connections).
"""


DOCUMENT = "/api/v1/openapi.json"


class _Application(FastAPI):
    """FastAPI, with a document that is made late."""

    def openapi(self) -> dict[str, Any]:
        """Return the document, made at the first time."""
        if self.openapi_schema is None:
            from gateway.api.document import openapi_document  # the models are behind it: a start needs none of them

            self.openapi_schema = openapi_document(self)
        return self.openapi_schema


def build_app(service: Gateway) -> FastAPI:
    """Return the application over one running service; it holds no state of its own."""
    app = _Application(
        title="usoc-gateway",
        version=__version__,
        description=DESCRIPTION,
        openapi_url=None,
        dependencies=[Depends(may), Depends(only_known)],
    )
    app.state.service = service
    app.add_middleware(Identity, service=service)
    app.add_middleware(Door, names=service.configuration.gateway.api.names)
    add_refusals(app)
    add_pages(app, DOCUMENT)
    app.add_api_route(DOCUMENT, _document, methods=["GET"], include_in_schema=False)
    modules = (
        instances, links, contacts, downloads, values, replays, playbacks, reports, clock, configuration, homes, stream,
    )  # fmt: skip
    for module in modules:
        app.include_router(module.router, prefix="/api/v1")
    app.add_api_route("/metrics", _metrics, methods=["GET"], response_class=PlainTextResponse, tags=["operation"])
    ready = described("Health")
    ready["responses"][503] = answer("Health", "with the reasons")
    app.add_api_route("/health/live", _live, methods=["GET"], tags=["operation"], **described("Health"))
    app.add_api_route("/health/ready", _ready, methods=["GET"], tags=["operation"], **ready)
    return app


def prepare(app: FastAPI) -> None:
    """Do what the first request would wait for, and with it the event loop: 100 ms, so in a worker.

    The routes are built when they are looked at first, and what runs blocking handlers is imported by the first one.
    """
    with contextlib.suppress(NoMatchFound):
        app.url_path_for("no route has this name: all of them are looked at")
    asyncio.run(run_in_threadpool(int))


def _document(request: Request) -> Response:
    """Return the OpenAPI document. It is no coroutine: to make it takes long, and so a thread does it."""
    return JSONResponse(request.app.openapi())


async def _metrics(request: Request) -> Response:
    """Prometheus metrics of the whole gateway."""
    from gateway.api.metrics import render_metrics  # late: who is not asked for metrics starts faster

    body, media_type = render_metrics(request.app.state.service.state())
    return Response(body, media_type=media_type)


async def _live(request: Request) -> dict[str, str]:
    """Answer while the event loop turns."""
    return {"status": "live"}


async def _ready(request: Request) -> Response:
    """200 when every instance is open and can commit, else 503 with the reasons."""
    reasons = request.app.state.service.not_ready()
    body = {"status": "ready"} if not reasons else {"status": "not ready", "reasons": reasons}
    return JSONResponse(body, status_code=503 if reasons else 200)
