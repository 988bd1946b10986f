"""Playback requests of home bases, and re-sending by the operator's order."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from gateway.api.access import ServiceDep
from gateway.api.described import described
from gateway.api.guard import ActorDep, whose
from gateway.api.parameters import HomeName, InstanceName, SubscriptionName
from gateway.api.playback_requests import PlaybackAsk, ResendOrder
from gateway.errors import UsageError
from gateway.playback.book import Asked
from gateway.service import Gateway
from gateway_routes.rights import Actor

router = APIRouter(tags=["playback"])
PlaybackName = Annotated[str, Path(max_length=64, description="id of a playback request, such as playback-7")]
OfHome = Annotated[str | None, Query(max_length=64, description="only those of this home base")]


@router.get("/instances/{instance}/playbacks", **described("PlaybackRow", 404, 422, many=True))
async def playbacks(
    instance: InstanceName, service: ServiceDep, actor: ActorDep, home: OfHome = None
) -> list[dict[str, Any]]:
    """Return the playback requests: the open ones, and of each home base the newest that are closed."""
    asked = whose(service, actor, instance, home)
    return service.instance(instance).playbacks.rows(asked)


@router.post("/instances/{instance}/playbacks", **described("PlaybackRow", 400, 403, 404, 409, 422, 503, status=201))
async def ask(instance: InstanceName, request: PlaybackAsk, service: ServiceDep, actor: ActorDep) -> dict[str, Any]:
    """Ask for a playback for a home base.

    It is accepted at once, and the home base fetches it with a session in mode `playback`; or it is refused, and
    kept with the reason, when it lies outside of the grants (403) or nothing of it is there any more (409).
    """
    whose(service, actor, instance, request.home)
    book = service.instance(instance).playbacks
    try:
        made = await book.ask(Asked(actor, request.home, request.selection, request.span()))
    except ValueError as error:
        raise UsageError(str(error)) from None
    return book.row(made)


@router.get("/instances/{instance}/playbacks/{playback}", **described("PlaybackRow", 404, 422))
async def one(instance: InstanceName, playback: PlaybackName, service: ServiceDep, actor: ActorDep) -> dict[str, Any]:
    """Return one playback request with its progress."""
    return _own(instance, playback, service, actor)


def _own(instance: str, playback: str, service: Gateway, actor: Actor) -> dict[str, Any]:
    """Return a request of whom the actor may speak for. Raises NotFound, Refused."""
    book = service.instance(instance).playbacks
    row = book.row(book.one(playback))
    whose(service, actor, instance, row["home"])
    return row


@router.post("/instances/{instance}/playbacks/{playback}/cancel", **described("PlaybackRow", 404, 409, 422, 503))
async def cancel(
    instance: InstanceName, playback: PlaybackName, service: ServiceDep, actor: ActorDep
) -> dict[str, Any]:
    """Cancel a request that is open; a session that fetches it ends with the reason."""
    _own(instance, playback, service, actor)
    book = service.instance(instance).playbacks
    return book.row(await book.cancel(playback, str(actor)))


@router.post(
    "/instances/{instance}/subscriptions/{home}/{subscription}/resend",
    **described("ResendRow", 400, 404, 409, 422, 503),
)
async def resend(
    instance: InstanceName,
    home: HomeName,
    subscription: SubscriptionName,
    order: ResendOrder,
    service: ServiceDep,
    actor: ActorDep,
) -> dict[str, Any]:
    """Order what a subscription has acknowledged of a range to be sent again, whatever its client holds.

    A range of time becomes the positions from the first to the last item of that time. What is sent again comes with
    the positions that it had: a store keeps each position once. Times are looked for in the whole journal, which takes
    as long as reading it.
    """
    return await service.instance(instance).playbacks.resend(home, subscription, order.span(), str(actor))
