"""Re-sending by the operator's order: a range of a subscription's positions is missing again, until acknowledged again.

The order stands in the subscription and is as durable as its cursor. Whatever cursor a client comes with, what is
ordered is taken out of it; its store tells by the positions that it has these items already.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gateway.errors import Conflict, NotFound
from gateway.homes.versions import still_missing
from gateway.journal import Damage, Journal
from gateway.world import Worker
from gateway_routes.delivery import Cursor, Range, normalised, overlap
from gateway_routes.playback import RangeBy, Span, limited

if TYPE_CHECKING:
    from gateway.homes.registry import SubscriptionRegistry

RESEND_RANGES_MAX = 64


@dataclass(frozen=True, slots=True)
class Resent:
    """What an order became: the positions to send again, what is `waiting` in all, and what retention took."""

    ranges: tuple[Range, ...]
    waiting: tuple[Range, ...]
    expired: Range | None

    def told(self, home: str, subscription: str, by: str) -> dict[str, Any]:
        """Return the event that tells it."""
        ranges = ", ".join(f"{first}..{end}" for first, end in self.ranges)
        gone = f"; {self.expired[0]}..{self.expired[1]} were removed by retention" if self.expired else ""
        return {
            "type": "resend", "severity": "info",
            "message": f"{by} ordered positions {ranges} to be sent again to {home}/{subscription}{gone}",
            "home": home, "subscription": subscription, "by": by, "ranges": [list(r) for r in self.ranges],
            "waiting": [list(r) for r in self.waiting], "expired": list(self.expired) if self.expired else None,
            "positions": sum(end - first for first, end in self.ranges),
        }  # fmt: skip


def still_to_send(resend: Iterable[Range], cursor: Cursor) -> tuple[Range, ...]:
    """Return what of an order is not acknowledged since."""
    resend = tuple(resend)
    return tuple(overlap(resend, cursor.missing(resend[-1][1]))) if resend else ()


async def resend(registry: SubscriptionRegistry, home: str, name: str, span: Span, thinker: Worker) -> Resent:
    """Order what a subscription has acknowledged of a span to be sent again; durable when this returns.

    A session that serves it ends with the reason, and its home base comes back for the rest. Raises NotFound,
    Conflict when nothing of it was acknowledged yet or is there any more, OSError: then nothing may have changed.
    """
    positions, selection = span, _known(registry, home, name).selection
    if span.by is not RangeBy.POSITIONS:
        wanted = limited(registry.selection(selection), span)
        found = await thinker(lambda: _positions(registry.journal, wanted))
        if found is None:
            raise Conflict(
                "nothing that this subscription selects is of that time", "look at `gateway journal` for when"
            )
        positions = Span(RangeBy.POSITIONS, *found)
    journal, known = registry.journal, _known(registry, home, name)
    first, end = max(positions.first, journal.tail), min(positions.end, journal.head)
    expired = (positions.first, min(positions.end, journal.tail)) if positions.first < journal.tail else None
    acknowledged = [(0, known.cursor.low_water), *known.cursor.ranges]
    ranges = tuple(overlap([(first, end)], acknowledged)) if first < end else ()
    if not ranges:
        text = f"{home}/{name} has acknowledged nothing of positions {positions.first}..{positions.end} that is there"
        raise Conflict(text, "what is not acknowledged yet will come by itself; what retention took will not")
    waiting = _together(known.resend, ranges)
    if len(waiting) > RESEND_RANGES_MAX:
        raise Conflict(
            f"{len(waiting)} ranges would wait to be sent again", f"at most {RESEND_RANGES_MAX}: let some go first"
        )
    cursor = known.cursor
    for a, b in ranges:
        cursor = cursor.without(a, b)
    session = registry.sessions.get((home, name))
    if session is not None:  # from here on it changes nothing any more
        session.stop("the operator ordered positions to be sent again: connect again")
    missing = still_missing(known.missing, cursor)
    await registry.put(replace(known, cursor=cursor, resend=waiting, missing=missing))
    return Resent(ranges, waiting, expired)


def _known(registry: SubscriptionRegistry, home: str, name: str) -> Any:
    known = registry.subscriptions.get((home, name))
    if known is None:
        raise NotFound(f"{home!r} has no subscription {name!r}", "`gateway status` shows which there are")
    return known


def _together(ranges: Iterable[Range], more: Iterable[Range]) -> tuple[Range, ...]:
    cursor = normalised(0, [*ranges, *more])
    return (((0, cursor.low_water),) if cursor.low_water else ()) + cursor.ranges


def _positions(journal: Journal, wanted: Any) -> Range | None:
    """Return from the first to behind the last position that is wanted, of the whole journal. In a worker."""
    first = end = -1
    for part in journal.walk(journal.tail, journal.head, wanted):
        if isinstance(part, Damage) or not len(part[0]):
            continue
        first = int(part[0][0]) if first < 0 else first
        end = int(part[0][-1]) + 1
    return None if first < 0 else (first, end)
