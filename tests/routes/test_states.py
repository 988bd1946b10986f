"""The link machine: a test per cell, watchdog and retry; contacts as an operator lives them (DESIGN 1, R10, R11)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_routes.contact import ContactBook, ContactState
from gateway_routes.link_state import TABLE, LinkInput, LinkMachine, LinkStatus

S = 1_000_000_000


def machine(status: LinkStatus) -> LinkMachine:
    made = LinkMachine(watchdog_s=5, retry_min_s=1, retry_max_s=8)
    made.status = status
    return made


@pytest.mark.parametrize("status", LinkStatus)
@pytest.mark.parametrize("what", LinkInput)
def test_every_cell(status: LinkStatus, what: LinkInput) -> None:
    """Every (state, input): it leads where the table says, or changes nothing and says nothing."""
    made = machine(status)
    change = made.take(what, 1.0, "why")
    wanted = TABLE.get((status, what), status)
    assert made.status == wanted
    assert (change is None) == (wanted == status)
    if change is not None:
        assert (change.before, change.after, change.why) == (status, wanted, "why")


def test_the_table_by_hand() -> None:
    """The cells an operator lives by, written out."""
    down, up, data = LinkStatus.UNAVAILABLE, LinkStatus.CONNECTED, LinkStatus.RECEIVING
    assert TABLE[down, LinkInput.CONNECTED] == up
    assert TABLE[up, LinkInput.GOOD] == data
    assert TABLE[data, LinkInput.QUIET] == up
    assert TABLE[data, LinkInput.LOST] == TABLE[up, LinkInput.LOST] == down
    assert (LinkStatus.DISABLED, LinkInput.GOOD) not in TABLE
    assert all(TABLE[state, LinkInput.DISABLE] == LinkStatus.DISABLED for state in LinkStatus)


def test_the_watchdog_barks_inside_contacts_only() -> None:
    """R10: silent for a whole period inside a contact = down; outside it nobody is woken."""
    made = machine(LinkStatus.CONNECTED)
    made.take(LinkInput.GOOD, 10.0)
    assert not made.silent(14.9, in_contact=True)
    assert made.silent(15.0, in_contact=True)
    assert not made.silent(1000.0, in_contact=False)
    made.begin_period(1000.0)
    assert not made.silent(1004.0, in_contact=True)
    assert made.silent(1005.0, in_contact=True)


@given(st.integers(0, 60), st.floats(0, 1, exclude_max=True))
def test_retries_are_capped_and_jittered(failures: int, chance: float) -> None:
    """R10: the delay doubles up to its cap, between half and all of it."""
    made = machine(LinkStatus.UNAVAILABLE)
    for _ in range(failures):
        made.take(LinkInput.LOST, 0.0)
    whole = min(2 ** max(failures - 1, 0), 8)
    assert whole / 2 <= made.retry_delay_s(chance) <= whole


def test_age_of_the_last_good_unit() -> None:
    """The data age counts from the last good unit; never = None."""
    made = machine(LinkStatus.CONNECTED)
    assert made.age_s(5.0) is None
    made.take(LinkInput.GOOD, 5.0)
    assert made.age_s(7.5) == 2.5


def states(book: ContactBook) -> list[str]:
    return [event.what for event in book.take_events()]


def test_data_opens_and_silence_closes() -> None:
    """A contact without a plan begins with the first good data and ends by silence."""
    book = ContactBook(silence_s=30)
    assert book.good_data("a", "station", 0.0, 100 * S)
    assert not book.good_data("a", "station", 10.0, 110 * S)
    book.tick(39.9, 140 * S)
    assert book.active("a") is not None
    book.tick(40.0, 141 * S)
    assert states(book) == ["active", "done"]
    row = book.snapshot()[0]
    assert (row["first_good_ns"], row["last_good_ns"], row["closed_by"]) == (100 * S, 110 * S, "silence")


def test_a_plan_opens_and_closes() -> None:
    """A planned contact becomes active at AOS and done at LOS; silence does not close it."""
    book = ContactBook(silence_s=1)
    book.plan("a", "station", 100 * S, 200 * S)
    book.tick(0.0, 99 * S)
    assert book.active("a") is None
    book.tick(1.0, 100 * S)
    book.good_data("a", "station", 2.0, 101 * S)
    book.tick(90.0, 190 * S)
    assert book.active("a") is not None
    book.tick(101.0, 200 * S)
    assert states(book) == ["planned", "active", "done"]


def test_a_plan_without_data_is_missed() -> None:
    """LOS without a good frame is a missed contact."""
    book = ContactBook(silence_s=1)
    book.plan("a", "station", 100 * S, 200 * S)
    book.tick(0.0, 150 * S)
    book.tick(50.0, 200 * S)
    assert states(book) == ["planned", "active", "missed"]
    book.plan("a", "station", 300 * S, 400 * S)
    book.tick(60.0, 500 * S)
    assert states(book) == ["planned", "missed"]


def test_early_data_belongs_to_the_plan() -> None:
    """Data a little before the planned AOS opens that contact, not another one."""
    book = ContactBook(silence_s=1)
    planned = book.plan("a", "station", 100 * S, 200 * S)
    book.good_data("a", "station", 0.0, 70 * S)
    assert book.active("a") is planned


def test_the_operators_hand() -> None:
    """The operator opens and closes; closing twice changes nothing; an unknown id is an error."""
    book = ContactBook(silence_s=30)
    contact = book.open("a", "operator", 0.0)
    assert book.close(contact.id).state == ContactState.MISSED
    assert book.close(contact.id).state == ContactState.MISSED
    with pytest.raises(KeyError):
        book.close("99")
    with pytest.raises(ValueError, match="LOS"):
        book.plan("a", "x", 2 * S, 2 * S)


@given(st.lists(st.integers(-(10**6), 10**6), max_size=5))
def test_clock_steps_close_nothing(steps: list[int]) -> None:
    """R11: steps of the wall clock neither close nor prolong a contact that silence governs."""
    book = ContactBook(silence_s=30)
    book.good_data("a", "station", 0.0, 10**9 * S)
    for step in steps:
        book.tick(29.0, (10**9 + step) * S)
        assert book.active("a") is not None
    book.tick(30.0, 0)
    assert book.active("a") is None


def test_contacts_survive_a_restart() -> None:
    """A snapshot restores: the active contact is active, its silence counted from now."""
    book = ContactBook(silence_s=30)
    book.good_data("a", "station", 0.0, 5 * S)
    again = ContactBook(silence_s=30)
    again.restore(book.snapshot(), 1000.0)
    again.tick(1029.0, 0)
    assert again.active("a") is not None
    assert again.open("b", "x", 1.0).id == "2"
