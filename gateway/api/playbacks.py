"""Playback requests of home bases, and re-sending by the operator's order."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from gateway.api.access import ServiceDep
from gateway.api.described import described
from gateway.api.parameters import HomeName, InstanceName, SubscriptionName
from gateway.api.playback_requests import PlaybackAsk, ResendOrder
from gateway.errors import UsageError
from gateway.playback.book import Asked
from gateway_routes.rights import LOCAL_OPERATOR

router = APIRouter(tags=["playback"])
PlaybackName = Annotated[str, Path(max_length=64, description="id of a playback request, such as playback-7")]
OfHome = Annotated[str | None, Query(max_length=64, description="only those of this home base")]


@router.get("/instances/{instance}/playbacks", **described("PlaybackRow", 404, 422, many=True))
async def playbacks(instance: InstanceName, service: ServiceDep, home: OfHome = None) -> list[dict[str, Any]]:
    """Return the playback requests: the open ones, and of each home base the newest that are closed."""
    return service.instance(instance).playbacks.rows(home)


@router.post("/instances/{instance}/playbacks", **described("PlaybackRow", 400, 403, 404, 409, 422, 503, status=201))
async def ask(instance: InstanceName, request: PlaybackAsk, service: ServiceDep) -> dict[str, Any]:
    """Ask for a playback for a home base.

    It is accepted at once, and the home base fetches it with a session in mode `playback`; or it is refused, and
    kept with the reason, when it lies outside of the grants (403) or nothing of it is there any more (409).
    """
    book = service.instance(instance).playbacks
    try:
        made = await book.ask(Asked(LOCAL_OPERATOR, request.home, request.selection, request.span()))
    except ValueError as error:
        raise UsageError(str(error)) from None
    return book.row(made)


@router.get("/instances/{instance}/playbacks/{playback}", **described("PlaybackRow", 404, 422))
async def one(instance: InstanceName, playback: PlaybackName, service: ServiceDep) -> dict[str, Any]:
    """Return one playback request with its progress."""
    book = service.instance(instance).playbacks
    return book.row(book.one(playback))


@router.post("/instances/{instance}/playbacks/{playback}/cancel", **described("PlaybackRow", 404, 409, 422, 503))
async def cancel(instance: InstanceName, playback: PlaybackName, service: ServiceDep) -> dict[str, Any]:
    """Cancel a request that is open; a session that fetches it ends with the reason."""
    book = service.instance(instance).playbacks
    return book.row(await book.cancel(playback, str(LOCAL_OPERATOR)))


@router.post(
    "/instances/{instance}/subscriptions/{home}/{subscription}/resend",
    **described("ResendRow", 400, 404, 409, 422, 503),
)
async def resend(
    instance: InstanceName, home: HomeName, subscription: SubscriptionName, order: ResendOrder, service: ServiceDep
) -> dict[str, Any]:
    """Order what a subscription has acknowledged of a range to be sent again, whatever its client holds.

    A range of time becomes the positions from the first to the last item of that time. What is sent again comes with
    the positions that it had: a store keeps each position once. Times are looked for in the whole journal, which takes
    as long as reading it.
    """
    return await service.instance(instance).resend(home, subscription, order.span(), str(LOCAL_OPERATOR))
