"""The playback requests of one mission instance: asked for, decided, fetched, ended; durable at each step.

A request is kept in the small store before its asker hears of it. What is closed stays to be looked at, the newest
of each home base. The source of what is returned is this gateway's own journal: there is no other yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import structlog

from gateway.errors import Conflict, NotFound, Refused
from gateway.journal import Journal, SmallStore
from gateway.playback.resend import resend
from gateway.playback.returning import PlaybackReturn
from gateway.world import Clock, Worker
from gateway_codecs.time_scales import format_utc
from gateway_routes.delivery import Cursor, DeliveryError
from gateway_routes.playback import (
    PlaybackAct,
    PlaybackRefused,
    PlaybackRequest,
    RangeBy,
    Span,
    restored,
)
from gateway_routes.rights import Action, Actor

if TYPE_CHECKING:
    from gateway.homes.registry import SubscriptionRegistry
    from gateway.homes.session import Session

log = structlog.get_logger()
OPEN_PER_HOME_MAX = 8
CLOSED_KEPT_PER_HOME = 64
ASKS_PER_MINUTE, PACE_S = 120, 60.0
SOURCE = "journal"


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks for: who, for which home base, what, of which range."""

    by: Actor
    home: str
    selection: Mapping[str, Any]
    span: Span


@dataclass(slots=True)
class PlaybackBook:
    """See the module. `emit` journals an event."""

    instance: str
    registry: SubscriptionRegistry
    store: SmallStore
    worker: Worker
    clock: Clock
    emit: Callable[[dict[str, Any]], None]
    historian: Worker | None = None  # of what takes long; None = `worker`
    requests: dict[str, PlaybackRequest] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    _number: int = 0
    _asked_s: dict[str, list[float]] = field(default_factory=dict)

    @property
    def journal(self) -> Journal:
        """Where what is returned comes from."""
        return self.registry.journal

    # ---- durable ----

    async def load(self) -> None:
        """Read what is kept; an open request of another journal has failed. Raises OSError."""
        index = await self.worker(lambda: self.store.get(self._index)) or {"number": 0, "ids": []}
        self._number = int(index["number"])
        for name in index["ids"]:
            row = await self.worker(lambda name=name: self.store.get(self._key(name)))  # type: ignore[misc]
            try:
                request = restored(row["request"])
                same = (row["journal_id"], row["revision"]) == self._identity
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                log.warning("a kept playback request is left out", request=str(name)[:64], why=str(error))
                continue
            self.requests[request.id] = request
            if request.open and not same:
                await self._change(request, PlaybackAct.FAIL, "its journal is not this one: the positions mean nothing")

    @property
    def _identity(self) -> tuple[str, int]:
        return str(self.journal.journal_id), self.journal.revision

    @property
    def _index(self) -> str:
        return f"playbacks {self.instance}"

    def _key(self, request: str) -> str:
        return f"playback {self.instance} {request}"

    async def keep(self, request: str) -> None:
        """Store a request as it is now. Raises OSError."""
        journal_id, revision = self._identity
        row = {"request": self.requests[request].stored(), "journal_id": journal_id, "revision": revision}
        await self.worker(lambda: self.store.put(self._key(request), row))

    async def _keep_index(self) -> None:
        index = {"number": self._number, "ids": list(self.requests)}
        await self.worker(lambda: self.store.put(self._index, index))

    # ---- asked for ----

    async def ask(self, asked: Asked) -> PlaybackRequest:
        """Decide a request and keep it; returns it accepted.

        Raises ValueError for a selection that is none; Refused when the home base may have nothing of it, Conflict
        when nothing of the range is there any more: both are kept, with the reason. Raises Conflict beyond the quota,
        and OSError: then nothing is kept.
        """
        beyond = self._beyond_rights(asked)
        if sum(request.open and request.home == asked.home for request in self.requests.values()) >= OPEN_PER_HOME_MAX:
            text = f"home base {asked.home} has {OPEN_PER_HOME_MAX} open playback requests already"
            raise Conflict(text, "fetch or cancel one of them first")
        self._check_positions(asked.span)
        request = self._new(asked)
        refusal = beyond or self._gone(request)
        now_ns = self.clock.tai_ns()
        if refusal is None:
            request = request.after(PlaybackAct.ACCEPT, now_ns)
        else:
            request = request.after(PlaybackAct.REFUSE, now_ns, str(refusal))
        await self._enter(request)
        if refusal is not None:
            raise type(refusal)(f"playback request {request.id} is refused: {refusal}", refusal.hint)
        return request

    def _beyond_rights(self, asked: Asked) -> Refused | None:
        """Return why the home base is not granted it. Raises ValueError for a selection that is none, Refused for who
        may not ask for this home base at all: nothing is kept of that."""
        registry = self.registry
        registry.selection(asked.selection)
        decision = registry.policy.decide(
            asked.by, Action.RECEIVE, home=asked.home, where=registry.where, selector="playback"
        )
        if not decision.allowed and decision.code != "not granted":
            raise Refused(decision.why)
        self.check_pace(asked.home)
        if not decision.allowed:
            return Refused(decision.why, "the operator grants it in homes/NAME.yaml")
        try:
            wanted = registry.granted(asked.selection, decision)
        except ValueError as error:
            return Refused(str(error), "ask for what is granted, or leave that key out")
        return Refused("nothing of it is granted") if wanted.grants == () else None

    def check_pace(self, home: str) -> None:
        """Each request is a forced write and an event: not too many in a minute. Raises Conflict."""
        now_s = asyncio.get_running_loop().time()
        recent = [at for at in self._asked_s.get(home, []) if now_s - at < PACE_S]
        if len(recent) >= ASKS_PER_MINUTE:
            raise Conflict(f"home base {home} asked {ASKS_PER_MINUTE} times within a minute", "ask again later")
        self._asked_s[home] = [*recent, now_s]

    def _check_positions(self, span: Span) -> None:
        head = self.journal.head
        if span.by is RangeBy.POSITIONS and span.end > head:
            text = f"position {span.end} is beyond the head {head} of journal {self.journal.journal_id}"
            raise Conflict(text, "it has not been given yet, or is of another journal")

    def _new(self, asked: Asked) -> PlaybackRequest:
        self._number += 1
        now_ns, span = self.clock.tai_ns(), asked.span
        request = PlaybackRequest(
            f"playback-{self._number}",
            asked.home,
            str(asked.by),
            dict(asked.selection),
            span,
            SOURCE,
            requested_ns=now_ns,
        )
        if span.by is RangeBy.POSITIONS:
            return request.bounded(span.first, span.end)
        return request.bounded(self.journal.tail, self.journal.head)

    def _gone(self, request: PlaybackRequest) -> Conflict | None:
        if request.end_position > self.journal.tail or request.first_position == request.end_position:
            return None
        return Conflict(f"retention has removed it all: the journal begins at position {self.journal.tail}")

    async def _enter(self, request: PlaybackRequest) -> None:
        self.requests[request.id] = request
        try:
            await self.keep(request.id)
            await self._keep_index()
        except OSError:
            del self.requests[request.id]
            raise
        self.tell(request)
        await self._forget_oldest(request.home)

    async def _forget_oldest(self, home: str) -> None:
        closed = [one.id for one in self.requests.values() if one.home == home and not one.open]
        old = closed[: max(0, len(closed) - CLOSED_KEPT_PER_HOME)]
        for name in old:
            del self.requests[name]
        if old:
            await self._keep_index()
            await self.worker(lambda: self.store.remove([self._key(name) for name in old]))

    # ---- ended ----

    def one(self, request: str) -> PlaybackRequest:
        """Return a request. Raises NotFound."""
        if request not in self.requests:
            raise NotFound(
                f"{self.instance} has no playback request {request[:80]!r}",
                "`gateway homes playback list` shows the open ones, and the newest that are closed",
            )
        return self.requests[request]

    async def cancel(self, request: str, by: str) -> PlaybackRequest:
        """Cancel a request that is open. Raises NotFound, Conflict, OSError."""
        try:
            changed = await self._change(self.one(request), PlaybackAct.CANCEL, f"cancelled by {by}")
        except PlaybackRefused as error:
            raise Conflict(str(error)) from None
        return changed

    async def _change(self, request: PlaybackRequest, act: PlaybackAct, reason: str) -> PlaybackRequest:
        """Let a request end, and the session that serves it. Raises PlaybackRefused, OSError."""
        changed = request.after(act, self.clock.tai_ns(), reason)
        self.requests[request.id] = changed
        session = self.sessions.get(request.id)
        if session is not None:
            session.stop(f"playback request {request.id} is {changed.state}: {reason}")
        self.tell(changed)
        await self.keep(request.id)
        return changed

    def tell(self, request: PlaybackRequest) -> None:
        """Journal where a request stands."""
        because = f": {request.reason}" if request.reason else ""
        text = (
            f"playback request {request.id} of {request.asked_by} for home {request.home} is {request.state}{because}"
        )
        told = {"type": "playback", "severity": "info", "message": text, "playback": request.id, "home": request.home}
        self.emit({**told, "state": str(request.state), "asked_by": request.asked_by})

    async def resend(self, home: str, subscription: str, span: Span, by: str) -> dict[str, Any]:
        """Order positions that a subscription has acknowledged to be sent again; returns the event that tells it.

        Raises NotFound, Conflict, OSError.
        """
        resent = await resend(self.registry, home, subscription, span, self.historian or self.worker)
        told = resent.told(home, subscription, by)
        self.emit(told)
        return told

    # ---- fetched ----

    def of(self, home: str, request: str) -> PlaybackRequest:
        """Return a request of a home base. Raises DeliveryError; what another home base asked for is not there."""
        known = self.requests.get(request)
        if known is None or known.home != home:
            raise DeliveryError("unknown playback", f"home base {home} has no playback request {request!r} here")
        return known

    async def begin(self, request: str, told: Cursor | None, session: Session) -> PlaybackReturn:
        """Begin, or go on with, the return of a request of `of`; `told` is the client's cursor, which wins.

        Raises DeliveryError, OSError.
        """
        known = self.requests[request]
        try:
            begun = known.after(PlaybackAct.BEGIN, self.clock.tai_ns())
        except PlaybackRefused as error:
            raise DeliveryError(f"playback {known.state}", str(error)) from None
        cursor = Cursor(known.low_water) if told is None else told
        if cursor.highest > known.end_position:
            text = f"the cursor reaches {cursor.highest}, playback request {request} ends at {known.end_position}"
            raise DeliveryError("cursor beyond head", text)
        if cursor.low_water < known.first_position:
            cursor = cursor.with_range(0, known.first_position)
        before = self.sessions.get(request)
        if before is not None:
            before.stop("replaced by a newer session of the same playback request")
        self.sessions[request] = session
        self.requests[request] = replace(begun, low_water=cursor.low_water)
        await self.keep(request)
        return PlaybackReturn(self, request, cursor, begun.end_position, begun.span)

    def leave(self, request: str, session: Session) -> None:
        """A session has ended."""
        if self.sessions.get(request) is session:
            del self.sessions[request]

    # ---- seen ----

    def rows(self, home: str | None = None) -> list[dict[str, Any]]:
        """Return the requests for the API, of one home base or of all, in the order in which they were asked for."""
        return [self.row(one) for one in self.requests.values() if home is None or one.home == home]

    def row(self, request: PlaybackRequest) -> dict[str, Any]:
        """Return one request for the API."""
        of_times = request.span.by is not RangeBy.POSITIONS
        ends = [format_utc(end) if of_times else end for end in (request.span.first, request.span.end)]
        times = {
            key: format_utc(ns) if (ns := getattr(request, key.replace("utc", "ns"))) else None
            for key in ("requested_utc", "accepted_utc", "began_utc", "ended_utc")
        }
        return {
            "playback": request.id, "instance": self.instance, "home": request.home, "asked_by": request.asked_by,
            "selection": request.selection, "range": {"by": request.span.by.value, "first": ends[0], "end": ends[1]},
            "source": request.source, "state": request.state.value, "reason": request.reason,
            "first_position": request.first_position, "end_position": request.end_position,
            "low_water": request.low_water, "progress": round(request.progress, 4), "items": request.items,
            "octets": request.octets, "missing_positions": request.missing_positions, "sessions": request.sessions,
            "receiving": request.id in self.sessions, **times,
        }  # fmt: skip
