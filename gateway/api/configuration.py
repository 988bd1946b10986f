"""The configuration in use, and reading it again."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from gateway.api.access import ServiceDep
from gateway.api.described import described
from gateway.api.guard import ActorDep

router = APIRouter(tags=["operation"])


@router.get("/configuration", **described("ConfigurationInUse"))
async def configuration(service: ServiceDep) -> dict[str, Any]:
    """Return the configuration in use, as its files said. There are no secrets in it."""
    return service.reloader.contents()


@router.post("/reload", **described("ReloadReport", 409, 422, 503))
async def reload(service: ServiceDep, actor: ActorDep) -> dict[str, Any]:
    """Read the configuration directory again and apply what changed, or change nothing and say why.

    422: the files are wrong; all problems are told. 409: something in it needs a restart, or a link cannot be opened.
    It answers when it is done: nothing of rights that were taken leaves any more.
    """
    return await service.reloader.reload(str(actor))
