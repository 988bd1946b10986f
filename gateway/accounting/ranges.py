"""Which positions a report is about: a contact, a UTC day, a span of time, a range of positions.

Times are those of the commit (journal-format.md): positions rise with them, so a span of time is one range of
positions, which home bases can be asked about. A contact begins at its first good data and ends with its last, and
LATE_NS for what was on its way into the journal then, or where the next contact of its spacecraft begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from gateway.errors import Conflict, NotFound, UsageError
from gateway.journal import Journal
from gateway_codecs.batches import ABSENT
from gateway_codecs.time_scales import format_utc, parse_utc

DAY_NS = 86_400 * 1_000_000_000
LATE_NS = 3 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Span:
    """What is asked for. Times in ns TAI; None = not bounded by time. `end_ns` may lie ahead: then it is under way."""

    what: str  # "contact 7", "day 2026-11-26", "time", "positions"
    from_ns: int | None = None
    end_ns: int | None = None
    first: int | None = None
    end: int | None = None
    spacecraft: str | None = None
    contact: Mapping[str, Any] | None = None

    def under_way(self, now_ns: int) -> bool:
        """Whether more may come to it."""
        if self.first is not None or self.end is not None:
            return self.end is None
        return self.end_ns is None or self.end_ns > now_ns


def day_span(day: str) -> Span:
    """Return a UTC day, YYYY-MM-DD. Raises UsageError."""
    try:
        if len(day) != 10:
            raise ValueError("a day is YYYY-MM-DD")
        begin_ns = parse_utc(f"{day}T00:00:00Z")
        end_ns = parse_utc(f"{date.fromisoformat(day) + timedelta(days=1)}T00:00:00Z")
    except ValueError as error:
        raise UsageError(f"{day[:40]!r} is no day: {error}", "a day is YYYY-MM-DD, in UTC") from None
    return Span(f"day {day}", begin_ns, end_ns)


def time_span(from_utc: str | None, to_utc: str | None) -> Span:
    """Return a span of time; None = from the beginning, up to now. Raises UsageError."""
    try:
        from_ns, end_ns = (None if text is None else parse_utc(text) for text in (from_utc, to_utc))
    except ValueError as error:
        raise UsageError(str(error)) from None
    if from_ns is not None and end_ns is not None and from_ns >= end_ns:
        raise UsageError(f"the range ends ({to_utc}) where it begins ({from_utc}), or before")
    return Span("time", from_ns, end_ns)


def contact_span(contacts: Sequence[Mapping[str, Any]], contact: str) -> Span:
    """Return the span of a contact, of the book's rows. Raises NotFound, Conflict when there was none of it yet."""
    row = next((row for row in contacts if row["id"] == contact), None)
    if row is None:
        raise NotFound(
            f"there is no contact {contact[:64]!r}", "`gateway status` shows the newest, GET /api/v1/contacts all"
        )
    begin_ns, last_ns = row["first_good_ns"], row["last_good_ns"]
    if begin_ns is None or last_ns is None:
        raise Conflict(f"contact {contact} is {row['state']} and had no good data", "there is nothing to account for")
    later = [
        other["first_good_ns"] for other in contacts
        if other["spacecraft"] == row["spacecraft"] and (other["first_good_ns"] or 0) > last_ns
    ]  # fmt: skip
    end_ns = None if row["state"] == "active" else min([last_ns + LATE_NS, *later])
    return Span(f"contact {contact}", begin_ns, end_ns, spacecraft=row["spacecraft"], contact=row)


def position_at(journal: Journal, time_ns: int) -> int:
    """Return the first position that was committed at a time (ns TAI) or later; the head when there is none.

    Blocking: for a worker. Damaged blocks count with what follows them. Raises OSError.
    """
    low, high = journal.tail, journal.head
    while low < high:
        middle = (low + high) // 2
        committed_ns, first, end = journal.committed(middle)
        while committed_ns == ABSENT and end < high:
            committed_ns, _, end = journal.committed(end)
        if committed_ns == ABSENT or committed_ns >= time_ns:
            high = max(low, min(first, middle))
        else:
            low = max(end, middle + 1)
    return low


def resolved(journal: Journal, span: Span) -> tuple[int, int]:
    """Return the positions [first, end) of a span, as far as there are any. Blocking: for a worker.

    Raises Conflict for positions that were not given yet, OSError.
    """
    if span.first is not None or span.end is not None:
        first = journal.tail if span.first is None else span.first
        end = journal.head if span.end is None else span.end
        if max(first, end) > journal.head:
            text = f"position {max(first, end)} is beyond the head {journal.head} of journal {journal.journal_id}"
            raise Conflict(text, "it has not been given yet, or is of another journal")
        return first, max(first, end)
    first = journal.tail if span.from_ns is None else position_at(journal, span.from_ns)
    end = journal.head if span.end_ns is None else position_at(journal, span.end_ns)
    return first, max(first, end)


def utc_of(time_ns: int | None) -> str | None:
    """Return a time as UTC text."""
    return None if time_ns is None else format_utc(time_ns)
