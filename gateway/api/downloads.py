"""Journal ranges and downloads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from gateway.api.access import ServiceDep

router = APIRouter(tags=["journal"])


@router.get("/instances/{instance}/journal")
async def journal(instance: str, service: ServiceDep) -> dict[str, Any]:
    """Return the readable range, the segments and the damaged ranges of the journal."""
    return await service.instance(instance).journal_ranges()


@router.get("/instances/{instance}/journal/packets", response_class=StreamingResponse)
async def packets(
    instance: str,
    service: ServiceDep,
    position: Annotated[int | None, Query(ge=0, description="first position, default the oldest")] = None,
    upto: Annotated[int | None, Query(ge=0, description="position after the last, default the head")] = None,
    vcid: Annotated[list[int] | None, Query()] = None,
    apid: Annotated[list[int] | None, Query()] = None,
    idle: bool = False,
) -> StreamingResponse:
    """Stream the packets of a range, concatenated in position order."""
    owner = service.instance(instance)
    selection = {"units": ["packet"], "vcids": vcid, "apids": apid, "idle": idle}
    chunks: AsyncIterator[bytes] = owner.packets(position, upto, selection)
    return StreamingResponse(chunks, media_type="application/octet-stream")
