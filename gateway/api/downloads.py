"""Journal ranges and downloads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import Field

from gateway.api.access import ServiceDep
from gateway.api.described import described, refusals
from gateway.api.parameters import InstanceName

router = APIRouter(tags=["journal"])
Vcid = Annotated[int, Field(ge=-1, le=63)]
OCTETS = {
    "description": "packets, concatenated",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}
Apid = Annotated[int, Field(ge=-1, le=2047)]


@router.get("/instances/{instance}/journal", **described("JournalRange", 404, 422, 503))
async def journal(instance: InstanceName, service: ServiceDep) -> dict[str, Any]:
    """Return the readable range, the segments and the damaged ranges of the journal."""
    return await service.instance(instance).journal_ranges()


@router.get(
    "/instances/{instance}/journal/packets",
    response_class=StreamingResponse,
    responses={200: OCTETS, **refusals(404, 409, 422, 503)},
)
async def packets(
    instance: InstanceName,
    service: ServiceDep,
    position: Annotated[int | None, Query(ge=0, description="first position, default the oldest")] = None,
    upto: Annotated[int | None, Query(ge=0, description="position after the last, default the head")] = None,
    link: Annotated[list[str] | None, Query(description="links by name, default the prime ones")] = None,
    spacecraft: Annotated[list[str] | None, Query(description="spacecraft by name, default all")] = None,
    vcid: Annotated[list[Vcid] | None, Query(description="virtual channels, default all; -1 = none")] = None,
    apid: Annotated[list[Apid] | None, Query(description="APIDs, default all; -1 = none")] = None,
    idle: Annotated[bool, Query(description="idle packets too")] = False,
    partial: Annotated[bool, Query(description="give what is there although some of the range is gone")] = False,
) -> StreamingResponse:
    """Stream the packets of a range, concatenated in position order; without `link` those of the prime links only.

    A range of which something selected is gone (retention, damage), or that reaches beyond the head, is a conflict that
    says so; damage that shows only while streaming breaks the answer off, so that a short file is never taken for a
    whole one.
    """
    owner = service.instance(instance)
    selection = {"links": link, "spacecraft": spacecraft, "vcids": vcid, "apids": apid, "idle": idle}
    chunks: AsyncIterator[bytes] = await owner.packets(position, upto, selection, partial)
    return StreamingResponse(chunks, media_type="application/octet-stream")
