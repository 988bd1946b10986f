"""Missions, spacecraft, streams, subscriptions and events of the mission instances."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from gateway.api.access import ServiceDep
from gateway.api.models import GatewayState, InstanceState, StreamRow

router = APIRouter(tags=["instances"])
Wait = Annotated[float, Query(ge=0, le=60, description="seconds to wait for the first event")]


@router.get("/status", response_model=GatewayState)
async def status(service: ServiceDep) -> dict[str, Any]:
    """Return the whole gateway, worst conditions first."""
    return service.state()


@router.get("/instances", response_model=list[InstanceState])
async def list_instances(service: ServiceDep) -> list[dict[str, Any]]:
    """Return every mission instance."""
    return [instance.state() for instance in service.instances.values()]


@router.get("/instances/{instance}", response_model=InstanceState)
async def one_instance(instance: str, service: ServiceDep) -> dict[str, Any]:
    """Return one mission instance."""
    return service.instance(instance).state()


@router.get("/missions")
async def missions(service: ServiceDep) -> list[dict[str, Any]]:
    """Return the configured missions with their spacecraft and instances."""
    return service.missions()


@router.get("/spacecraft")
async def spacecraft(service: ServiceDep) -> list[dict[str, Any]]:
    """Return the spacecraft of every mission."""
    return [{"mission": m["mission"], **craft} for m in service.missions() for craft in m["spacecraft"]]


@router.get("/instances/{instance}/streams", response_model=list[StreamRow])
async def streams(instance: str, service: ServiceDep) -> list[dict[str, Any]]:
    """Return counts per link, virtual channel and APID."""
    return service.instance(instance).streams()


@router.get("/instances/{instance}/subscriptions")
async def subscriptions(instance: str, service: ServiceDep) -> list[dict[str, Any]]:
    """Return the home bases' subscriptions: lag, position, drops, state."""
    return service.instance(instance).subscriptions()


@router.delete("/instances/{instance}/subscriptions/{home}/{subscription}", status_code=204)
async def remove_subscription(instance: str, home: str, subscription: str, service: ServiceDep) -> None:
    """Forget a subscription that nobody needs any more: its cursor is gone. Refused while a session serves it."""
    await service.instance(instance).registry.remove(home, subscription)


@router.get("/instances/{instance}/events")
async def events(
    instance: str,
    service: ServiceDep,
    position: Annotated[int | None, Query(ge=0, description="first position wanted; none = the newest")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    wait_s: Wait = 0,
) -> dict[str, Any]:
    """Return events from a position on, and the position to ask for next; waits up to `wait_s` when there is none."""
    return await service.instance(instance).events(position, limit, wait_s)
