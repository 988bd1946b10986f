"""Reports: what became of each item of a contact, a day, a range."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from gateway.accounting.accountant import span_asked
from gateway.api.access import ServiceDep
from gateway.api.described import described
from gateway.api.guard import ActorDep, whose
from gateway.api.parameters import HomeName, InstanceName
from gateway.api.requests import Utc

router = APIRouter(tags=["homes"])
LOOK_S = 0.5
Contact = Annotated[str | None, Query(max_length=64, description="id of a contact")]
Day = Annotated[str | None, Query(max_length=10, description="a UTC day, YYYY-MM-DD")]
From = Annotated[Utc | None, Query(description="committed then or later")]
To = Annotated[Utc | None, Query(description="committed before")]
First = Annotated[int | None, Query(ge=0, lt=1 << 62, description="first position")]
End = Annotated[int | None, Query(ge=0, lt=1 << 62, description="position after the last")]


def _asked(
    contact: Contact = None,
    day: Day = None,
    from_utc: From = None,
    to_utc: To = None,
    first: First = None,
    end: End = None,
) -> dict[str, Any]:
    return {"contact": contact, "day": day, "from_utc": from_utc, "to_utc": to_utc, "first": first, "end": end}


Asked = Annotated[dict[str, Any], Depends(_asked)]


@router.get("/instances/{instance}/reports", **described("Report", 404, 409, 422, 503))
async def report(request: Request, instance: InstanceName, service: ServiceDep, asked: Asked) -> dict[str, Any]:
    """Return the reconciliation of a contact, a UTC day, a span of time or of positions; of none: of all.

    One is made at a time; it is given up when the client leaves.
    """
    accounts = service.instance(instance).accounts
    return await _made(request, accounts.report(span_asked(accounts, asked)))


@router.get("/instances/{instance}/homes/{home}/reports", **described("Report", 403, 404, 409, 422, 503))
async def report_of_home(
    request: Request, instance: InstanceName, home: HomeName, service: ServiceDep, actor: ActorDep, asked: Asked
) -> dict[str, Any]:
    """Return the reconciliation for one home base: of the streams that it is entitled to, and nothing of others."""
    whose(service, actor, instance, home)
    accounts = service.instance(instance).accounts
    return await _made(request, accounts.report(span_asked(accounts, asked), frozenset({home}), whole=False))


async def _made(request: Request, work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """Make a report, unless the client leaves before."""
    task = asyncio.create_task(work, name=f"report {request.url.path[:100]}")
    try:
        while not (await asyncio.wait([task], timeout=LOOK_S))[0]:
            if await request.is_disconnected():
                return {}
        return task.result()
    finally:
        task.cancel()
