"""Replay runs: a recorded file through the same code, in an instance of its own."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from gateway.api.access import ServiceDep
from gateway.api.models import ReplayRequest

router = APIRouter(tags=["replays"])


@router.get("/replays")
async def replays(service: ServiceDep) -> list[dict[str, Any]]:
    """Return every replay run with its progress."""
    return service.replays()


@router.post("/replays", status_code=201)
async def start(request: ReplayRequest, service: ServiceDep) -> dict[str, Any]:
    """Start or continue a run. The same id with another file is a conflict."""
    return await service.start_replay(request.model_dump())


@router.get("/replays/{run}")
async def one(run: str, service: ServiceDep) -> dict[str, Any]:
    """Return one run."""
    return service.replay(run)
