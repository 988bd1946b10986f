"""Contacts (DESIGN 1) as a pure machine: planned, active, done, missed, withdrawn.

A contact is opened by its plan, by the operator, or by the first good data; closed by its plan, the operator
or silence. Plans are wall-clock times (TAI ns); silence is measured in monotonic seconds only, so that a step
of the wall clock changes no timer. A plan is compared with the wall clock at every `tick`.

At most one contact of a spacecraft is active, and no two plans overlap:

| the active contact is | none                      | of data or the operator    | of a plan |
| ---                   | ---                       | ---                        | ---       |
| a planned AOS comes   | the plan opens            | goes on as the planned one | waits     |
| a planned LOS comes   | missed, if still planned  | missed, if still planned   | closes    |
| good data             | opens the due one, or new | noted                      | noted     |
| silence               | -                         | closes                     | -         |
| the operator opens    | opens a new one           | refused                    | refused   |
| the operator closes   | a planned one: withdrawn  | closes                     | closes    |

What closes is done when it had good data, else missed. Two plans can only be due at once in a book of before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from gateway_codecs.time_scales import format_utc


class ContactState(StrEnum):
    """Where a contact is in its life."""

    PLANNED = "planned"
    ACTIVE = "active"
    DONE = "done"
    MISSED = "missed"
    WITHDRAWN = "withdrawn"  # a plan that was taken back; what went on as a planned contact


OPEN = frozenset({ContactState.PLANNED, ContactState.ACTIVE})


@dataclass(slots=True)
class Contact:
    """One contact of a spacecraft with a peer; times in TAI ns, None = not known."""

    id: str
    spacecraft: str
    peer: str
    state: ContactState
    opened_by: str
    planned_aos_ns: int | None = None
    planned_los_ns: int | None = None
    first_good_ns: int | None = None
    last_good_ns: int | None = None
    closed_by: str = ""


FIELDS = tuple(field.name for field in fields(Contact))


@dataclass(frozen=True, slots=True)
class ContactEvent:
    """A contact changed its state."""

    contact: Contact
    what: str  # the new state
    why: str


class ContactRefused(ValueError):
    """What was asked contradicts the book; `hint` says the way out."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


Plan = tuple[str, str, int, int]
"""Spacecraft, peer, planned AOS and LOS (ns TAI since 1958-01-01)."""
CLOSED_KEPT = 200
PLANNED_MAX = 1000
EARLY_NS = 60 * 1_000_000_000


class ContactBook:
    """All contacts of a mission instance. `version` rises with every change."""

    def __init__(self, silence_s: float) -> None:
        self._silence_s = silence_s
        self._contacts: dict[str, Contact] = {}
        self._heard_s: dict[str, float] = {}
        self._number = self.version = 0
        self._events: list[ContactEvent] = []

    def plan(self, spacecraft: str, peer: str, aos_ns: int, los_ns: int) -> Contact:
        """Plan a contact. Raises ContactRefused: LOS is not after AOS, another plan overlaps, there are too many."""
        if los_ns <= aos_ns:
            raise ContactRefused("the planned LOS must be after the planned AOS", "")
        if (other := self._overlapping(spacecraft, aos_ns, los_ns)) is not None:
            raise ContactRefused(f"it overlaps {_planned(other)}", f"close contact {other.id} first, or plan around it")
        if sum(c.state == ContactState.PLANNED for c in self._contacts.values()) >= PLANNED_MAX:
            raise ContactRefused(f"{PLANNED_MAX} contacts are planned already", "close some first")
        contact = self._new(spacecraft, peer, ContactState.PLANNED, "plan")
        contact.planned_aos_ns, contact.planned_los_ns = aos_ns, los_ns
        self._tell(contact, "planned")
        return contact

    def _overlapping(self, spacecraft: str, aos_ns: int, los_ns: int) -> Contact | None:
        """Return a contact of the spacecraft, not yet closed, whose plan shares time with [AOS, LOS)."""
        for contact in self._contacts.values():
            first, end = contact.planned_aos_ns, contact.planned_los_ns
            planned = first is not None and end is not None and first < los_ns and aos_ns < end
            if planned and contact.spacecraft == spacecraft and contact.state in OPEN:
                return contact
        return None

    def has_plan(self, spacecraft: str, peer: str, aos_ns: int) -> bool:
        """Whether a contact with this plan is in the book, whatever became of it."""
        plans = ((c.spacecraft, c.peer, c.planned_aos_ns) for c in self._contacts.values())
        return (spacecraft, peer, aos_ns) in plans

    def follow(
        self, before: Iterable[Plan], after: Iterable[Plan], now_ns: int, silence_s: float
    ) -> list[tuple[str, str]]:
        """Take another configuration's plans: new ones are planned, others withdrawn if they have not begun.

        A plan whose LOS alone is another keeps its contact. What the operator planned stays; returned is what is not
        planned because of it, with its spacecraft.
        """
        self._silence_s, old, new = silence_s, set(before), set(after)
        kept = {plan[:3] for plan in new}
        for contact in list(self._contacts.values()):
            plan = (contact.spacecraft, contact.peer, contact.planned_aos_ns, contact.planned_los_ns)
            if plan in old and plan[:3] not in kept and contact.state == ContactState.PLANNED:
                self.close(contact.id, "configuration")
        return [(plan[0], told) for plan in sorted(new - old) if (told := self._follow_one(plan, now_ns))]

    def _follow_one(self, plan: Plan, now_ns: int) -> str:
        spacecraft, peer, aos_ns, los_ns = plan
        contacts = [c for c in self._contacts.values() if c.state in OPEN]
        known = next((c for c in contacts if (c.spacecraft, c.peer, c.planned_aos_ns) == plan[:3]), None)
        try:
            if known is None and now_ns < los_ns:
                self.plan(spacecraft, peer, aos_ns, los_ns)
            elif known is not None and known.planned_los_ns != los_ns:
                self._move_los(known, aos_ns, los_ns)
        except ContactRefused as error:
            return f"the configured contact of {spacecraft} with {peer} is not planned: {error}"
        return ""

    def _move_los(self, contact: Contact, aos_ns: int, los_ns: int) -> None:
        before, contact.planned_los_ns = contact.planned_los_ns, None  # so that it does not overlap itself
        if (other := self._overlapping(contact.spacecraft, aos_ns, los_ns)) is not None:
            contact.planned_los_ns = before
            raise ContactRefused(f"it overlaps {_planned(other)}", f"close contact {other.id} first")
        contact.planned_los_ns = los_ns
        self._tell(contact, "its planned LOS is another")

    def open(self, spacecraft: str, peer: str, now_s: float, by: str = "operator") -> Contact:
        """Open a contact now. Raises ContactRefused while one is active."""
        if (active := self.active(spacecraft)) is not None:
            text = f"contact {active.id} of {spacecraft} with {active.peer} is active"
            raise ContactRefused(text, f"close contact {active.id} first")
        contact = self._new(spacecraft, peer, ContactState.ACTIVE, by)
        self._heard_s[contact.id] = now_s
        self._tell(contact, by)
        return contact

    def close(self, contact_id: str, by: str = "operator") -> Contact:
        """Close an active contact, or withdraw a planned one; closing a closed one changes nothing. Raises KeyError."""
        contact = self._contacts[contact_id]
        if contact.state == ContactState.ACTIVE:
            self._end(contact, ContactState.DONE if contact.first_good_ns is not None else ContactState.MISSED, by)
        elif contact.state == ContactState.PLANNED:
            self._end(contact, ContactState.WITHDRAWN, by)
        return contact

    def good_data(self, spacecraft: str, peer: str, now_s: float, now_ns: int) -> bool:
        """Note good real-time data; opens a contact when none is active. Returns whether one was opened."""
        contact = self.active(spacecraft)
        opened = contact is None
        if contact is None:
            contact = self._due_plan(spacecraft, now_ns) or self.open(spacecraft, peer, now_s, "data")
            self._activate(contact, now_s, "data")
        if contact.first_good_ns is None:
            contact.first_good_ns = now_ns
        contact.last_good_ns = now_ns
        self._heard_s[contact.id] = now_s
        self.version += 1
        return opened

    def tick(self, now_s: float, now_ns: int) -> None:
        """Let time pass: plans open and close, silence closes what data or the operator opened."""
        for contact in list(self._contacts.values()):
            if contact.state == ContactState.ACTIVE:
                self._tick_active(contact, now_s, now_ns)
        for contact in list(self._contacts.values()):
            if contact.state == ContactState.PLANNED:
                self._tick_planned(contact, now_s, now_ns)

    def _tick_planned(self, contact: Contact, now_s: float, now_ns: int) -> None:
        if contact.planned_los_ns is not None and now_ns >= contact.planned_los_ns:
            self._end(contact, ContactState.MISSED, "plan")
        elif contact.planned_aos_ns is not None and now_ns >= contact.planned_aos_ns:
            self._begin_planned(contact, now_s)

    def _begin_planned(self, planned: Contact, now_s: float) -> None:
        """A planned AOS has come."""
        active = self.active(planned.spacecraft)
        if active is None:
            self._activate(planned, now_s, "plan")
        elif active.planned_los_ns is None:
            self._go_on_as(planned, active)
            self._activate(planned, now_s, "plan")

    def _go_on_as(self, planned: Contact, active: Contact) -> None:
        """What data or the operator opened is the planned contact from now on, with all that was heard."""
        planned.first_good_ns, planned.last_good_ns = active.first_good_ns, active.last_good_ns
        active.first_good_ns = active.last_good_ns = None
        active.state, active.closed_by = ContactState.WITHDRAWN, "plan"
        self._tell(active, f"it goes on as contact {planned.id}")

    def _tick_active(self, contact: Contact, now_s: float, now_ns: int) -> None:
        if contact.planned_los_ns is not None:
            if now_ns >= contact.planned_los_ns:
                self.close(contact.id, "plan")
        elif now_s - self._heard_s.get(contact.id, now_s) >= self._silence_s:
            self.close(contact.id, "silence")

    def active(self, spacecraft: str) -> Contact | None:
        """Return the active contact of a spacecraft."""
        rows = self._contacts.values()
        return next((c for c in rows if c.spacecraft == spacecraft and c.state == ContactState.ACTIVE), None)

    def take_events(self) -> list[ContactEvent]:
        """Return and forget what happened."""
        events, self._events = self._events, []
        return events

    def snapshot(self) -> list[dict[str, Any]]:
        """Return all contacts, JSON-able."""
        return [{name: getattr(c, name) for name in FIELDS} | {"state": c.state.value} for c in self._contacts.values()]

    def restore(self, rows: list[dict[str, Any]], now_s: float) -> None:
        """Take contacts over from a snapshot; the silence of active ones is counted from now."""
        for row in rows:
            contact = Contact(**{**row, "state": ContactState(row["state"])})
            self._contacts[contact.id] = contact
            self._heard_s[contact.id] = now_s
            self._number = max(self._number, int(contact.id))

    def _new(self, spacecraft: str, peer: str, state: ContactState, by: str) -> Contact:
        self._number += 1
        contact = Contact(str(self._number), spacecraft, peer, state, by)
        self._contacts[contact.id] = contact
        closed = [c.id for c in self._contacts.values() if c.state not in OPEN]
        for old in closed[:-CLOSED_KEPT]:
            del self._contacts[old]
            self._heard_s.pop(old, None)
        return contact

    def _due_plan(self, spacecraft: str, now_ns: int) -> Contact | None:
        """The first planned contact that the data may belong to: its AOS is at most a minute ahead, it is not over."""
        due = [
            (contact.planned_aos_ns, int(contact.id), contact)
            for contact in self._contacts.values()
            if contact.spacecraft == spacecraft and contact.state == ContactState.PLANNED
            and contact.planned_aos_ns is not None and contact.planned_los_ns is not None
            and contact.planned_aos_ns - EARLY_NS <= now_ns < contact.planned_los_ns
        ]  # fmt: skip
        return min(due)[2] if due else None

    def _activate(self, contact: Contact, now_s: float, why: str) -> None:
        self._heard_s[contact.id] = now_s
        if contact.state != ContactState.ACTIVE:
            contact.state = ContactState.ACTIVE
            self._tell(contact, why)

    def _end(self, contact: Contact, state: ContactState, by: str) -> None:
        contact.state, contact.closed_by = state, by
        self._tell(contact, by)

    def _tell(self, contact: Contact, why: str) -> None:
        self.version += 1
        self._events.append(ContactEvent(contact, contact.state.value, why))


def _planned(contact: Contact) -> str:
    aos_ns, los_ns = contact.planned_aos_ns or 0, contact.planned_los_ns or 0
    return f"contact {contact.id} with {contact.peer} from {format_utc(aos_ns)} until {format_utc(los_ns)}"
