"""Home bases and tokens: who there is, what they are granted, and who holds a token."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from gateway.api.access import ServiceDep
from gateway.api.described import described
from gateway.api.requests import TokenRequest

router = APIRouter(tags=["homes"])
TokenId = Annotated[str, Path(max_length=64, description="id of a token, which is no secret")]


@router.get("/homes", **described("HomeRow", many=True))
async def homes(service: ServiceDep) -> list[dict[str, Any]]:
    """Return the home bases with their grants, dates and quotas."""
    return service.homes()


@router.get("/tokens", **described("TokenRow", 422, many=True))
async def tokens(
    service: ServiceDep,
    home: Annotated[str | None, Query(max_length=64, description="of this home base alone")] = None,
) -> list[dict[str, Any]]:
    """Return all tokens, without their secrets, which nobody has."""
    return service.access.tokens(home)


@router.post("/tokens", **described("NewToken", 400, 404, 422, 503, status=201))
async def make_token(request: TokenRequest, service: ServiceDep) -> dict[str, Any]:
    """Make a token. Its text is in this answer, and never shown again."""
    return await service.make_token(request.model_dump())


@router.delete("/tokens/{token}", **described("TokenRow", 404, 422, 503))
async def revoke_token(token: TokenId, service: ServiceDep) -> dict[str, Any]:
    """End a token; sessions that showed it end at once."""
    return await service.revoke_token(token)
