"""How a request is refused before the application sees it: `Problem`, over HTTP and in a WebSocket's handshake."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket


async def refuse(
    scope: Scope,
    receive: Receive,
    send: Send,
    status: int,
    error: str,
    hint: str,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Answer with a status and why; a WebSocket is not opened."""
    response = JSONResponse({"error": error, "hint": hint}, status_code=status, headers=headers)
    if scope["type"] == "websocket":
        await receive()
        await WebSocket(scope, receive, send).send_denial_response(response)
        return
    await response(scope, receive, send)
