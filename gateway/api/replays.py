"""Replay runs: a recorded file through the same code, in an instance of its own."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from gateway.api.access import ServiceDep
from gateway.api.described import described
from gateway.api.parameters import RunName
from gateway.api.requests import ReplayRequest

router = APIRouter(tags=["replays"])


@router.get("/replays", **described("ReplayState", many=True))
async def replays(service: ServiceDep) -> list[dict[str, Any]]:
    """Return every replay run with its progress."""
    return service.replays()


@router.post("/replays", **described("ReplayState", 400, 403, 404, 409, 422, 503, status=201))
async def start(request: ReplayRequest, service: ServiceDep) -> dict[str, Any]:
    """Start or continue a run.

    The same id with another file, mission, spacecraft or unit is a conflict, and so is another pace while it is open.
    """
    return await service.start_replay(request.model_dump())


@router.get("/replays/{run}", **described("ReplayState", 404, 422))
async def one(run: RunName, service: ServiceDep) -> dict[str, Any]:
    """Return one run."""
    return service.replay(run)


@router.get("/replays/{run}/report", **described("ReplayReport", 404, 422, 503))
async def report(run: RunName, service: ServiceDep) -> dict[str, Any]:
    """Return one run with what was counted of it: what `gateway replay` shows at the end."""
    return await service.replay_report(run)
