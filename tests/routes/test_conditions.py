"""Conditions as an operator lives them: told once, told when over; admission and the disk's outlook as plain values."""

from __future__ import annotations

from gateway_routes.admission import NEWCOMERS_EXTRA, OWN_EXTRA, Admission, peer_of
from gateway_routes.conditions import SETTLED_S, Condition, ConditionBook, worst_first
from gateway_routes.disk_watch import DiskWatch

FULL = Condition("critical", "disk full", "disk", "no room", "free some")


def test_a_condition_is_told_when_it_begins_and_when_it_ends() -> None:
    """Nobody is woken twice: one event however long it holds and whatever its words, one when it is over."""
    book = ConditionBook()
    assert [change.state for change in book.update([FULL], 10.0)] == ["begun"]
    other_words = Condition("critical", "disk full", "disk", "less room")
    assert book.update([other_words], 11.0) == []
    assert book.since_s(FULL) == 10.0
    assert book.update([], 12.0) == []
    (ended,) = book.update([], 11.0 + SETTLED_S)
    assert (ended.state, ended.lasted_s) == ("ended", 1.0)
    assert ended.event()["severity"] == "info"
    assert "less room" in ended.event()["message"]
    assert book.since_s(FULL) is None


def test_what_flaps_is_one_condition() -> None:
    """Gone for less than a few seconds is not over."""
    book, told = ConditionBook(), []
    for second in range(60):
        told += book.update([FULL] if second % 2 else [], float(second))
    assert [change.state for change in told] == ["begun"]


def test_what_grows_worse_is_told_again() -> None:
    """A warning that becomes an error is news; going back and forth is none."""
    book, told = ConditionBook(), []
    for second, severity in enumerate(["warning", "error", "warning", "error", "critical"]):
        told += book.update([Condition(severity, "x", "y", "z")], float(second))
    assert [(change.state, change.condition.severity) for change in told] == [
        ("begun", "warning"), ("worse", "error"), ("worse", "critical"),
    ]  # fmt: skip


def test_what_is_told_elsewhere_is_remembered_only() -> None:
    """A condition whose finder has an event of its own makes none here, but it is known since when it holds."""
    book, row = ConditionBook(), Condition("warning", "link unavailable", "link a", "gone", told=True)
    assert book.update([row], 5.0) == []
    assert book.since_s(row) == 5.0
    assert book.update([], 20.0) == []


def test_the_worst_stands_first() -> None:
    """The order of `status`."""
    rows = [Condition(severity, "x", severity, "") for severity in ("info", "critical", "warning", "error")]
    assert [row.severity for row in worst_first(rows)] == ["critical", "error", "warning", "info"]


# ---- admission ----


def test_a_peer_has_its_share_and_no_more() -> None:
    """R13: the next one is refused and counted, others come in, and who leaves makes room."""
    door = Admission(per_peer=2, in_all=100)
    assert [door.admit("a") for _ in range(2)] == [None, None]
    refusal = door.admit("a")
    assert refusal is not None
    assert refusal[0] == "per peer"
    assert "2 connections" in refusal[1]
    assert door.admit("b") is None
    door.leave("a")
    assert door.admit("a") is None
    assert (door.inside, door.refused["per peer"], door.take_refused()) == (3, 1, (1, {"a": 1}))
    assert door.take_refused() == (0, {})


def test_a_newcomer_gets_in_when_the_place_is_full() -> None:
    """R13: one peer fills the place; another one, with hardly any, still reaches the gateway; not for ever."""
    door = Admission(per_peer=1000, in_all=10)
    assert sum(door.admit("hog") is None for _ in range(100)) == 10
    assert door.admit("operator") is None
    assert sum(door.admit(f"p{k}") is None for k in range(100)) == NEWCOMERS_EXTRA - 1
    assert sum(door.admit("127.0.0.1") is None for _ in range(100)) == OWN_EXTRA, "the machine's own operator"
    assert door.refused["in all"] == 90 + 100 - NEWCOMERS_EXTRA + 1 + 100 - OWN_EXTRA


def test_ipv6_peers_are_sites() -> None:
    """One host has as many IPv6 addresses as it likes, in its /64."""
    assert peer_of("2001:db8:1:2::1") == peer_of("2001:db8:1:2:ffff::9") != peer_of("2001:db8:1:3::1")
    assert peer_of("::ffff:10.1.2.3") == peer_of("10.1.2.3") == "10.1.2.3"
    assert peer_of("fe80::1%eth0") == "fe80::/64"
    assert peer_of("unknown") == "unknown"


# ---- the disk ----


def test_the_outlook_of_a_disk() -> None:
    """Enough room says nothing; little room, or little time at the present rate, is a warning; none is critical."""
    disk = DiskWatch(64_000_000)
    assert disk.conditions() == []
    disk.observe(0.0, 100_000_000_000)
    assert disk.conditions() == []
    disk = DiskWatch(64_000_000)
    for second in range(0, 120, 2):
        disk.observe(float(second), 10_000_000_000 - second * 10_000_000)
    (soon,) = disk.conditions()
    assert soon.severity == "warning"
    assert "at the present rate in 15 min" in soon.text
    for second in range(120, 600, 2):
        disk.observe(float(second), 8_800_000_000)
    assert disk.conditions() == [], "nobody writes any more"
    disk.observe(700.0, 200_000_000)
    assert disk.conditions()[0].what == "disk nearly full"
    disk.observe(702.0, 60_000_000)
    assert disk.conditions()[0].severity == "critical"
