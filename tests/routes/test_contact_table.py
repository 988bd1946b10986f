"""Contacts of one spacecraft: every cell of the table in gateway_routes.contact (DESIGN 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway_routes.contact import ContactBook, ContactRefused

S = 1_000_000_000
AOS, LOS = 1000 * S, 2000 * S
Step = Callable[[ContactBook], Any]


def none(book: ContactBook) -> None:
    """No contact is active."""


def of_data(book: ContactBook) -> None:
    """Good data opened contact 1 before any plan."""
    book.good_data("a", "station", 0.0, 900 * S)


def of_operator(book: ContactBook) -> None:
    """The operator opened contact 1; nothing was heard."""
    book.open("a", "by hand", 0.0)


def of_plan(book: ContactBook) -> None:
    """Contact 1 was planned from 900 s until 1000 s, and is active."""
    book.plan("a", "first", 900 * S, AOS)
    book.tick(0.0, 900 * S)


def plan(book: ContactBook) -> None:
    book.plan("a", "kiruna", AOS, LOS)


def time(at_ns: int, now_s: float = 1.0) -> Step:
    return lambda book: book.tick(now_s, at_ns)


def data(at_ns: int) -> Step:
    return lambda book: book.good_data("a", "station", 1.0, at_ns)


def shut(contact: str) -> Step:
    return lambda book: book.close(contact)


A, P, D, M, W = "active", "planned", "done", "missed", "withdrawn"
CELLS: list[tuple[str, list[Step], dict[str, str], list[str]]] = [
    # -- no contact is active
    ("the plan opens", [none, plan, time(AOS)], {"1": A}, ["1 planned planned", "1 active plan"]),
    ("a plan whose LOS passed is missed", [none, plan, time(LOS)], {"1": M}, ["1 planned planned", "1 missed plan"]),
    ("a due plan opens by data", [none, plan, data(AOS - 60 * S)], {"1": A}, ["1 planned planned", "1 active data"]),
    ("data before it opens a new one", [none, plan, data(AOS - 61 * S)], {"1": P, "2": A},
     ["1 planned planned", "2 active data"]),
    ("data after it opens a new one", [none, plan, data(LOS)], {"1": P, "2": A},
     ["1 planned planned", "2 active data"]),
    ("the operator opens", [of_operator], {"1": A}, ["1 active operator"]),
    ("a plan is withdrawn", [none, plan, shut("1")], {"1": W}, ["1 planned planned", "1 withdrawn operator"]),
    # -- data or the operator opened it
    ("data's goes on as the planned", [of_data, plan, time(AOS)], {"1": W, "2": A},
     ["1 active data", "2 planned planned", "1 withdrawn it goes on as contact 2", "2 active plan"]),
    ("the operator's goes on as the planned", [of_operator, plan, time(AOS)], {"1": W, "2": A},
     ["1 active operator", "2 planned planned", "1 withdrawn it goes on as contact 2", "2 active plan"]),
    ("data is noted, the plan waits for its AOS", [of_data, plan, data(AOS - S)], {"1": A, "2": P},
     ["1 active data", "2 planned planned"]),
    ("silence closes data's", [of_data, time(950 * S, 30.0)], {"1": D}, ["1 active data", "1 done silence"]),
    ("silence closes the operator's", [of_operator, time(0, 30.0)], {"1": M},
     ["1 active operator", "1 missed silence"]),
    ("data's is closed by hand", [of_data, shut("1")], {"1": D}, ["1 active data", "1 done operator"]),
    # -- a plan opened it
    ("another plan opens as it closes", [of_plan, plan, data(950 * S), time(AOS)], {"1": D, "2": A},
     ["1 planned planned", "1 active plan", "2 planned planned", "1 done plan", "2 active plan"]),
    ("data is noted", [of_plan, plan, data(950 * S)], {"1": A, "2": P},
     ["1 planned planned", "1 active plan", "2 planned planned"]),
    ("silence closes no plan", [of_plan, time(950 * S, 99.0)], {"1": A}, ["1 planned planned", "1 active plan"]),
    ("its LOS closes it", [of_plan, time(AOS)], {"1": M}, ["1 planned planned", "1 active plan", "1 missed plan"]),
    ("a plan's is closed by hand", [of_plan, data(950 * S), shut("1")], {"1": D},
     ["1 planned planned", "1 active plan", "1 done operator"]),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "states", "told"), [cell[1:] for cell in CELLS], ids=[cell[0] for cell in CELLS])
def test_every_cell(steps: list[Step], states: dict[str, str], told: list[str]) -> None:
    """DESIGN 1: a spacecraft has at most one active contact, and every change is told."""
    book = ContactBook(silence_s=30)
    events = []
    for step in steps:
        step(book)
        assert sum(row["state"] == A for row in book.snapshot()) <= 1
        events += [f"{e.contact.id} {e.what} {e.why}" for e in book.take_events()]
    assert {row["id"]: row["state"] for row in book.snapshot()} == states
    assert events == told


def test_a_planned_contact_takes_over_what_data_opened() -> None:
    """DESIGN 1: the planned contact has the first good frame that was heard before its AOS, and closes by plan."""
    book = ContactBook(silence_s=30)
    for step in (of_data, plan, data(950 * S), time(AOS), data(AOS + S), time(LOS, 500.0)):
        step(book)
    before, planned = book.snapshot()
    assert (before["first_good_ns"], before["closed_by"]) == (None, "plan")
    assert (planned["first_good_ns"], planned["last_good_ns"]) == (900 * S, AOS + S)
    assert (planned["state"], planned["closed_by"], planned["peer"]) == (D, "plan", "kiruna")


@pytest.mark.parametrize(("aos", "los"), [(AOS, LOS), (AOS - S, AOS + S), (LOS - S, LOS + S), (AOS + S, LOS - S)])
def test_an_overlapping_plan_is_refused(aos: int, los: int) -> None:
    """DESIGN 1: contacts of one spacecraft do not overlap: the refusal says with which, and the way out."""
    book = ContactBook(silence_s=30)
    plan(book)
    with pytest.raises(
        ContactRefused, match=r"overlaps contact 1 with kiruna from 1958-01-01T00:1.*Z until 1958"
    ) as no:
        book.plan("a", "redu", aos, los)
    assert no.value.hint == "close contact 1 first, or plan around it"
    book.plan("b", "redu", aos, los)
    book.close("1")
    assert book.plan("a", "redu", aos, los).state == P, "a plan that was withdrawn is in nobody's way"


def test_plans_may_touch() -> None:
    """DESIGN 1: a plan that begins as another ends does not overlap it, whichever was made first."""
    book = ContactBook(silence_s=30)
    plan(book)
    book.plan("a", "before", AOS - S, AOS)
    book.plan("a", "after", LOS, LOS + S)
    active = []
    for at in (AOS - S, AOS, LOS):
        book.tick(0.0, at)
        active.append(book.active("a"))
    assert [contact and contact.peer for contact in active] == ["before", "kiruna", "after"]


@pytest.mark.parametrize("opened", [of_data, of_operator, of_plan])
def test_a_second_contact_is_not_opened(opened: Step) -> None:
    """DESIGN 1: the operator who opens a contact while one is active is told which."""
    book = ContactBook(silence_s=30)
    opened(book)
    with pytest.raises(ContactRefused, match=r"contact 1 of a with .* is active") as no:
        book.open("a", "x", 1.0)
    assert no.value.hint == "close contact 1 first"


def test_overlapping_plans_of_an_older_book_wait() -> None:
    """DESIGN 1: a book kept before plans were compared may hold two at once: the second begins after the first."""
    book, older = ContactBook(silence_s=30), ContactBook(silence_s=30)
    plan(older)
    older.plan("a", "redu", LOS, LOS + 9 * S)
    rows = older.snapshot()
    rows[1]["planned_aos_ns"] = AOS
    book.restore(rows, 0.0)
    for at, peer in ((AOS, "kiruna"), (LOS - 1, "kiruna"), (LOS, "redu")):
        book.tick(0.0, at)
        active = book.active("a")
        assert active is not None
        assert active.peer == peer
        assert sum(row["state"] == A for row in book.snapshot()) == 1


def test_the_first_due_plan_takes_the_data() -> None:
    """DESIGN 1: of two plans that are due the earlier one is opened by data, whichever was made first."""
    book = ContactBook(silence_s=30)
    plan(book)
    book.plan("a", "before", AOS - 90 * S, AOS)
    book.good_data("a", "station", 0.0, AOS - 30 * S)
    active = book.active("a")
    assert active is not None
    assert active.peer == "before"


def test_the_version_tells_of_every_change() -> None:
    """R7: whoever keeps the book sees that first or last good moved; time that passes alone changes nothing."""
    book = ContactBook(silence_s=30)
    seen = [book.version]
    for step in (of_data, data(901 * S), plan, time(AOS), shut("2")):
        step(book)
        seen.append(book.version)
    assert sorted(set(seen)) == seen
    book.tick(2.0, AOS + S)
    assert book.version == seen[-1]
