"""Contacts: planned, opened and closed by the operator."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from gateway.api.access import ServiceDep
from gateway.api.described import described
from gateway.api.parameters import ContactId, InstanceName
from gateway.api.requests import ContactRequest

router = APIRouter(tags=["contacts"])


@router.get("/contacts", **described("ContactRow", many=True))
async def contacts(service: ServiceDep) -> list[dict[str, Any]]:
    """Return every contact of every instance."""
    return [
        {"instance": name, **contact} for name, instance in service.instances.items() for contact in instance.contacts()
    ]


@router.post("/instances/{instance}/contacts", **described("ContactState", 400, 404, 409, 422, 503, status=201))
async def add_contact(instance: InstanceName, request: ContactRequest, service: ServiceDep) -> dict[str, Any]:
    """Plan a contact, or open one now when no planned times are given. Contacts of one spacecraft do not overlap."""
    return await service.instance(instance).add_contact(
        request.spacecraft, request.peer, request.aos_utc, request.los_utc
    )


@router.post("/instances/{instance}/contacts/{contact}/close", **described("ContactState", 404, 422, 503))
async def close_contact(instance: InstanceName, contact: ContactId, service: ServiceDep) -> dict[str, Any]:
    """Close an active contact by the operator's hand; one that is still planned is withdrawn."""
    return await service.instance(instance).close_contact(contact)
