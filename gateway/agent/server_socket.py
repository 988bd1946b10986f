"""The server's end of one WebSocket (RFC 6455) over a stream of ours, for programs and pages of the laboratory."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from http import HTTPStatus

from websockets.exceptions import InvalidOrigin, InvalidState, WebSocketException
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Origin

from gateway.world import Stream

READ_OCTETS = 4096
MESSAGE_MAX_OCTETS = 4096
HANDSHAKE_MAX_OCTETS = 16384
HANDSHAKE_S = 10.0
QUIET = logging.getLogger("gateway.agent.websocket")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False


class HandshakeRefused(Exception):
    """Whoever came is not let in, and has been told why. `origin`: for the page that it comes from."""

    def __init__(self, why: str, origin: bool = False) -> None:
        super().__init__(why)
        self.origin = origin


class ServerSocket:
    """See the module. One task sends, one listens. `origins`: pages that may come in, besides programs."""

    def __init__(self, stream: Stream, origins: Sequence[str]) -> None:
        allowed = [None, *(Origin(one) for one in origins)]
        self._protocol = ServerProtocol(origins=allowed, max_size=MESSAGE_MAX_OCTETS, logger=QUIET)
        self._stream, self._writing = stream, asyncio.Lock()

    async def accept(self, refused: Callable[[str], str | None]) -> str:
        """Return the path of a client that is let in; `refused` says of a path why not. Raises HandshakeRefused,
        OSError, TimeoutError."""
        async with asyncio.timeout(HANDSHAKE_S):
            request = await self._request()
            response = self._protocol.accept(request)
            error = self._protocol.handshake_exc
            if error is None and (why := refused(request.path)) is not None:
                response = self._protocol.reject(HTTPStatus.BAD_REQUEST, f"{why}\n")
            self._protocol.send_response(response)
            await self._flush()
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            text = (response.body or b"").decode().strip()
            raise HandshakeRefused(text, isinstance(error, InvalidOrigin))
        return request.path

    async def _request(self) -> Request:
        octets = 0
        while True:
            data = await self._stream.read(READ_OCTETS)
            octets += len(data)
            if not data or octets > HANDSHAKE_MAX_OCTETS:
                raise HandshakeRefused("no handshake of a WebSocket came")
            self._protocol.receive_data(data)
            for event in self._protocol.events_received():
                if isinstance(event, Request):
                    return event
            if self._protocol.handshake_exc is not None:
                raise HandshakeRefused(str(self._protocol.handshake_exc))

    async def send(self, text: bytes) -> None:
        """Send a message, waiting while the client does not read. Raises OSError: it has gone."""
        try:
            self._protocol.send_text(text)
        except InvalidState as error:
            raise ConnectionError(str(error)) from None
        await self._flush()

    async def listen(self) -> None:
        """Return when the client has gone; what it says is not looked at, its pings are answered."""
        with contextlib.suppress(OSError, WebSocketException):
            while data := await self._stream.read(READ_OCTETS):
                self._protocol.receive_data(data)
                self._protocol.events_received()
                await self._flush()
                if self._protocol.close_expected():
                    return

    async def close(self, code: int, why: str) -> None:
        """Say that it ends, if it can be said at once. Never raises."""
        with contextlib.suppress(OSError, WebSocketException, TimeoutError):
            self._protocol.send_close(code, why)
            async with asyncio.timeout(1.0):
                await self._flush()
        await self._stream.close()

    async def _flush(self) -> None:
        async with self._writing:
            if data := b"".join(self._protocol.data_to_send()):
                await self._stream.write(data)
