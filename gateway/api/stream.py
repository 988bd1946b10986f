"""The home bases' door: one WebSocket, one session (docs/wire-format.md)."""

from __future__ import annotations

import asyncio
import contextlib
import json

from fastapi import APIRouter, WebSocket

from gateway.api.access import ServiceDep
from gateway.api.connections import payer_of
from gateway.api.guard import ActorDep
from gateway.errors import NotFound
from gateway.homes.websocket import WebSocketChannel
from gateway_routes.tolls import REFUSED

router = APIRouter(tags=["delivery"])
HELLO_S = 10.0


@router.websocket("/instances/{instance}/subscribe")
async def subscribe(socket: WebSocket, instance: str, service: ServiceDep, actor: ActorDep) -> None:
    """Serve one session until either end leaves."""
    await socket.accept()
    channel = WebSocketChannel(socket)
    try:
        owner = service.instance(instance)
    except NotFound as error:
        await _refuse(channel, str(error)[:400])
        refused = "unknown instance"
        service.access.count(refused)
    else:
        refused = await owner.serve(channel, actor=actor)
    payer = payer_of("", actor)
    if refused and payer is not None:
        service.tolls.charge(payer, REFUSED, asyncio.get_running_loop().time())


async def _refuse(channel: WebSocketChannel, message: str) -> None:
    """Answer the first message with the error: a client that is still writing it would find only the close."""
    with contextlib.suppress(ConnectionError):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HELLO_S):
                await channel.receive()
        await channel.send(json.dumps({"type": "error", "code": "unknown instance", "message": message}))
    await channel.close(message)
