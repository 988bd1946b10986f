"""The clock: the operator says that it is right."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from gateway.api.access import ServiceDep
from gateway.api.described import described

router = APIRouter(tags=["operation"])


@router.post("/clock/accept", **described("ClockAccepted", 503))
async def accept(service: ServiceDep) -> dict[str, Any]:
    """Take the wall clock as right after a step: plans of contacts and retention go by it from now on."""
    return service.accept_clock()
