"""The packets of a range of a journal, for who downloads them: one after the other, in position order, in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from gateway.errors import Conflict, UsageError
from gateway.homes.registry import SubscriptionRegistry
from gateway.journal import Journal
from gateway_routes.selection import Selection

PIECE_ITEMS, PIECE_OCTETS = 4096, 1 << 16


async def packets(
    journal: Journal,
    registry: SubscriptionRegistry,
    position: int | None,
    upto: int | None,
    wish: Mapping[str, Any],
    partial: bool,
) -> AsyncIterator[bytes]:
    """Return the packets of a range, concatenated in position order, in pieces.

    Raises UsageError for a selection or a range that is none, Conflict when some of it is not there: positions
    not given yet, and, unless `partial`, what retention or damage took of the packets selected.
    """
    try:
        selection = registry.selection({**wish, "units": ["packet"]})
    except ValueError as error:
        raise UsageError(str(error)) from None
    first, end = journal.tail if position is None else position, journal.head if upto is None else upto
    if max(first, end) > journal.head:
        text = f"position {max(first, end)} is beyond the head {journal.head} of journal {journal.journal_id}"
        raise Conflict(text, "it has not been given yet, or is of another journal")
    if position is not None and position > end:
        raise UsageError(f"the range begins at {position} and ends before, at {end}")
    gone = [] if partial else await _gone(journal, first, end, selection)
    if gone:
        told = ", ".join(f"{a}..{b}" for a, b in gone)
        raise Conflict(f"gone from {first}..{end}: positions {told}", "partial=true gives what is there")
    return _pieces(journal, max(first, journal.tail), end, selection, partial)


async def _gone(journal: Journal, first: int, end: int, selection: Selection) -> list[tuple[int, int]]:
    """Return the ranges that retention or damage took; damage that spares what is selected took nothing of it."""
    expired = [(first, min(end, journal.tail))] if first < min(end, journal.tail) else []
    damaged = [(max(first, d.first), min(end, d.end)) for d in journal.damaged if d.first < end and d.end > first]
    return expired + [span for span in damaged if not await _whole(journal, *span, selection)]


async def _whole(journal: Journal, at: int, end: int, selection: Selection) -> bool:
    """Whether everything selected of a range can be read."""
    while at < end:
        found = await journal.read(at, selection, PIECE_ITEMS, PIECE_OCTETS)
        if found.expired or any(damage.first < end for damage in found.damaged):
            return False
        at = max(found.end_position, at + 1)
    return True


async def _pieces(journal: Journal, at: int, end: int, selection: Selection, partial: bool) -> AsyncIterator[bytes]:
    while at < end:
        data, after = await _piece(journal, at, end, selection, partial)
        yield data  # nothing else is held while the client does not read
        if after <= at:
            return
        at = after


async def _piece(journal: Journal, at: int, end: int, selection: Selection, partial: bool) -> tuple[bytes, int]:
    found = await journal.read(at, selection, PIECE_ITEMS, PIECE_OCTETS)
    gone = found.expired or any(damage.first < end for damage in found.damaged)
    if gone and not partial:
        raise Conflict(f"positions near {at} are gone")  # the answer is under way: it breaks off
    inside = found.positions < end
    octets = int(found.batch.items["length"][inside].astype("int64").sum())
    return found.batch.octets[:octets].tobytes(), found.end_position
