"""Links: what the operator sees and may do."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path

from gateway.api.access import ServiceDep
from gateway.api.described import described
from gateway.api.parameters import InstanceName, LinkName

router = APIRouter(tags=["links"])
Action = Annotated[Literal["enable", "disable", "reset"], Path(description="reset: the counters")]


@router.get("/links", **described("LinkRow", many=True))
async def links(service: ServiceDep) -> list[dict[str, Any]]:
    """Return every link of every instance."""
    return [
        {"instance": name, **link} for name, instance in service.instances.items() for link in instance.state()["links"]
    ]


@router.get("/instances/{instance}/links/{link}", **described("LinkDetail", 404, 422))
async def one_link(instance: InstanceName, link: LinkName, service: ServiceDep) -> dict[str, Any]:
    """Return one link."""
    return service.instance(instance).link_state(link)


@router.post("/instances/{instance}/links/{link}/{action}", **described("LinkDetail", 404, 422, 503))
async def link_action(instance: InstanceName, link: LinkName, action: Action, service: ServiceDep) -> dict[str, Any]:
    """Enable, disable, or reset the counters of a link; returns its new state."""
    owner = service.instance(instance)
    await owner.link_action(link, action)
    return owner.link_state(link)
