"""The WebSocket transport of a session: starlette's WebSocket as a message channel."""

from __future__ import annotations

import contextlib

from starlette.websockets import WebSocket, WebSocketDisconnect

NORMAL = 1000
CLOSE_REASON_MAX_OCTETS = 123  # RFC 6455, 5.5


class WebSocketChannel:
    """See gateway.homes.session.Channel."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def receive(self) -> str | bytes:
        """Return the next text or binary message."""
        message = await self._socket.receive()
        if message["type"] != "websocket.receive":
            raise ConnectionError("the peer left")
        text = message.get("text")
        return text if text is not None else bytes(message.get("bytes") or b"")

    async def send(self, message: str | bytes) -> None:
        """Send; waits while the peer does not read."""
        try:
            if isinstance(message, str):
                await self._socket.send_text(message)
            else:
                await self._socket.send_bytes(message)
        except (WebSocketDisconnect, RuntimeError, OSError) as error:
            raise ConnectionError(str(error)) from error

    async def close(self, reason: str) -> None:
        """Close with a reason the peer can read."""
        with contextlib.suppress(Exception):
            await self._socket.close(NORMAL, reason.encode()[:CLOSE_REASON_MAX_OCTETS].decode(errors="ignore"))
