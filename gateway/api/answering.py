"""How a request is refused before the application sees it: `Problem`, over HTTP and in a WebSocket's handshake."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket

SEE_DOCS = "the API is described at /docs"
PATH_SHOWN_MAX = 200


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


def explained(scope: Scope, receive: Receive, send: Send) -> Send:
    """Return a `send` that answers a WebSocket which is closed before it was opened as a request is: with why.

    Without it the server answers the handshake with 403 and no word, whatever reason was given.
    """
    begun = False

    async def sent(message: Message) -> None:
        nonlocal begun
        if message["type"] == "websocket.close" and not begun:
            why = message.get("reason")
            error = f"{scope['path'][:PATH_SHOWN_MAX]}: {why or 'there is no WebSocket here'}"
            await JSONResponse({"error": error, "hint": SEE_DOCS}, 403 if why else 404)(scope, receive, send)
            return
        begun = begun or message["type"] == "websocket.accept"
        await send(message)

    return sent
