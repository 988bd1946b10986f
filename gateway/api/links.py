"""Links: what the operator sees and may do."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter

from gateway.api.access import ServiceDep

router = APIRouter(tags=["links"])


@router.get("/links")
async def links(service: ServiceDep) -> list[dict[str, Any]]:
    """Return every link of every instance."""
    return [
        {"instance": name, **link} for name, instance in service.instances.items() for link in instance.state()["links"]
    ]


@router.get("/instances/{instance}/links/{link}")
async def one_link(instance: str, link: str, service: ServiceDep) -> dict[str, Any]:
    """Return one link."""
    return service.instance(instance).link_state(link)


@router.post("/instances/{instance}/links/{link}/{action}")
async def act(
    instance: str, link: str, action: Literal["enable", "disable", "reset"], service: ServiceDep
) -> dict[str, Any]:
    """Enable, disable, or reset the counters of a link; returns its new state."""
    owner = service.instance(instance)
    await owner.link_action(link, action)
    return owner.link_state(link)
