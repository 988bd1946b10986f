"""Reports: what became of each item of a contact, a day, a range."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from gateway.accounting.accountant import span_asked
from gateway.api.access import ServiceDep
from gateway.api.described import described
from gateway.api.parameters import InstanceName
from gateway.api.requests import Utc

router = APIRouter(tags=["homes"])
LOOK_S = 0.5


@router.get("/instances/{instance}/reports", **described("Report", 404, 409, 422, 503))
async def report(
    request: Request,
    instance: InstanceName,
    service: ServiceDep,
    contact: Annotated[str | None, Query(max_length=64, description="id of a contact")] = None,
    day: Annotated[str | None, Query(max_length=10, description="a UTC day, YYYY-MM-DD")] = None,
    from_utc: Annotated[Utc | None, Query(description="committed then or later")] = None,
    to_utc: Annotated[Utc | None, Query(description="committed before")] = None,
    first: Annotated[int | None, Query(ge=0, lt=1 << 62, description="first position")] = None,
    end: Annotated[int | None, Query(ge=0, lt=1 << 62, description="position after the last")] = None,
    home: Annotated[str | None, Query(max_length=64, description="of one home base; default all")] = None,
) -> dict[str, Any]:
    """Return the reconciliation of a contact, a UTC day, a span of time or of positions; of none: of all.

    One is made at a time; it is given up when the client leaves.
    """
    accounts = service.instance(instance).accounts
    asked = {"contact": contact, "day": day, "from_utc": from_utc, "to_utc": to_utc, "first": first, "end": end}
    homes = None if home is None else frozenset({home})
    work = asyncio.create_task(accounts.report(span_asked(accounts, asked), homes), name=f"report {instance}")
    try:
        while not (await asyncio.wait([work], timeout=LOOK_S))[0]:
            if await request.is_disconnected():
                return {}
        return work.result()
    finally:
        work.cancel()
