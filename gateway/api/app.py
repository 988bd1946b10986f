"""Builds the FastAPI application: /api/v1, /metrics, /health/live, /health/ready."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from gateway import __version__
from gateway.api import contacts, downloads, instances, links, replays, stream
from gateway.api.door import Door
from gateway.api.metrics import render_metrics
from gateway.errors import Conflict, GatewayError, NotFound, Refused
from gateway.service import Gateway

STATUS = {NotFound: 404, Conflict: 409, Refused: 403}

DESCRIPTION = """The control plane of the ground-segment gateway.

Mission instances own links, contacts, a journal and subscriptions. Home bases receive their items over the
WebSocket `/api/v1/instances/{instance}/subscribe` (docs/wire-format.md). Errors are `{"error", "hint"}`.
"""


def build_app(service: Gateway) -> FastAPI:
    """Return the application over one running service; it holds no state of its own."""
    app = FastAPI(
        title="usoc-gateway", version=__version__, description=DESCRIPTION, openapi_url="/api/v1/openapi.json"
    )
    app.state.service = service
    app.add_middleware(Door, names=service.configuration.gateway.api.names)
    app.add_exception_handler(GatewayError, _problem)
    app.add_exception_handler(OSError, _disk_problem)
    for module in (instances, links, contacts, downloads, replays, stream):
        app.include_router(module.router, prefix="/api/v1")
    app.add_api_route("/metrics", _metrics, methods=["GET"], response_class=PlainTextResponse, tags=["operation"])
    app.add_api_route("/health/live", _live, methods=["GET"], tags=["operation"])
    app.add_api_route("/health/ready", _ready, methods=["GET"], tags=["operation"])
    return app


async def _problem(request: Request, error: Exception) -> JSONResponse:
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 400)
    return JSONResponse({"error": str(error), "hint": getattr(error, "hint", "")}, status_code=status)


async def _disk_problem(request: Request, error: Exception) -> JSONResponse:
    hint = "what was asked may not have been kept: look at `gateway status`, mend the disk, ask again"
    return JSONResponse({"error": str(error), "hint": hint}, status_code=503)


async def _metrics(request: Request) -> Response:
    """Prometheus metrics of the whole gateway."""
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
