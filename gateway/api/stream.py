"""The home bases' door: one WebSocket, one session (docs/wire-format.md)."""

from __future__ import annotations

import json

from fastapi import APIRouter, WebSocket

from gateway.api.access import ServiceDep
from gateway.errors import NotFound
from gateway.homes.websocket import WebSocketChannel

router = APIRouter(tags=["delivery"])


@router.websocket("/instances/{instance}/subscribe")
async def subscribe(socket: WebSocket, instance: str, service: ServiceDep) -> None:
    """Serve one session until either end leaves."""
    await socket.accept()
    channel = WebSocketChannel(socket)
    try:
        owner = service.instance(instance)
    except NotFound as error:
        await channel.send(json.dumps({"type": "error", "code": "unknown instance", "message": str(error)[:400]}))
        await channel.close(str(error))
        return
    await owner.serve(channel)
