"""Missions, spacecraft, streams, subscriptions and events of the mission instances."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from gateway.api.access import ServiceDep
from gateway.api.described import described
from gateway.api.guard import ActorDep, whose
from gateway.api.parameters import HomeName, InstanceName, SubscriptionName
from gateway_routes.rights import ActorKind

router = APIRouter(tags=["instances"])
Wait = Annotated[float, Query(ge=0, le=60, description="seconds to wait for the first event")]


@router.get("/status", **described("GatewayState"))
async def status(service: ServiceDep) -> dict[str, Any]:
    """Return the whole gateway, worst conditions first."""
    return service.state()


@router.get("/instances", **described("InstanceState", many=True))
async def list_instances(service: ServiceDep) -> list[dict[str, Any]]:
    """Return every mission instance."""
    return [instance.state() for instance in service.instances.values()]


@router.get("/instances/{instance}", **described("InstanceState", 404, 422))
async def one_instance(instance: InstanceName, service: ServiceDep) -> dict[str, Any]:
    """Return one mission instance."""
    return service.instance(instance).state()


@router.get("/missions", **described("MissionRow", many=True))
async def missions(service: ServiceDep) -> list[dict[str, Any]]:
    """Return the configured missions with their spacecraft and instances."""
    return service.missions()


@router.get("/spacecraft", **described("SpacecraftRow", many=True))
async def spacecraft(service: ServiceDep) -> list[dict[str, Any]]:
    """Return the spacecraft of every mission."""
    return [{"mission": m["mission"], **craft} for m in service.missions() for craft in m["spacecraft"]]


@router.get("/instances/{instance}/streams", **described("StreamRow", 404, 422, many=True))
async def streams(instance: InstanceName, service: ServiceDep) -> list[dict[str, Any]]:
    """Return counts per link, virtual channel and APID."""
    return service.instance(instance).streams()


@router.get("/instances/{instance}/subscriptions", **described("SubscriptionState", 404, 422, many=True))
async def subscriptions(instance: InstanceName, service: ServiceDep) -> list[dict[str, Any]]:
    """Return the home bases' subscriptions: lag, position, drops, state."""
    return service.instance(instance).subscriptions()


@router.delete(
    "/instances/{instance}/subscriptions/{home}/{subscription}", **described("EndedRow", 403, 404, 409, 422, 503)
)
async def end_subscription(
    instance: InstanceName, home: HomeName, subscription: SubscriptionName, service: ServiceDep, actor: ActorDep
) -> dict[str, Any]:
    """End a subscription that nobody needs any more: the operator any, a home base its own.

    Its cursor is forgotten, so is what was confirmed of it; the journal keeps everything. Refused (409) while a session
    serves it. Who subscribes by that name again begins anew, or where its own cursor is.
    """
    # an operator ends those of a home base too that the configuration has no more
    whose(service, actor, instance, home if actor.kind is ActorKind.HOME else None)
    return await service.instance(instance).end_subscription(home, subscription, actor)


@router.get("/instances/{instance}/events", **described("Events", 404, 409, 422, 503))
async def events(
    instance: InstanceName,
    service: ServiceDep,
    position: Annotated[int | None, Query(ge=0, description="first position wanted; none = the newest")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="how many at most")] = 100,
    wait_s: Wait = 0,
) -> dict[str, Any]:
    """Return events from a position on, and the position to ask for next; waits up to `wait_s` when there is none."""
    return await service.instance(instance).events(position, limit, wait_s)
