"""What an operator should know of a mission instance: its journal, its links, its home bases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.homes.registry import SubscriptionRegistry
from gateway.instance_rows import slow_commits
from gateway.journal import Journal
from gateway.links import Supervised
from gateway_routes.conditions import Condition
from gateway_routes.link_state import LinkStatus

AWAY_SHOWN = 3  # of one home base; more are summed up
FREE_SPACE = "free space on the device: everything goes on by itself then"
LOOK_AT_DISK = "look at the disk's errors (dmesg) and at what else writes to it; nothing is lost, everything is late"


def journal_conditions(instance: str, journal: Journal, house_problem: str, events_lost: int) -> list[Condition]:
    """Return what there is to say of a journal and of the housekeeping around it."""
    subject, found = f"journal {instance}", list[Condition]()
    if journal.blocked is not None:
        text = f"intake is not committed: {journal.blocked}; complete subscriptions wait"
        found.append(Condition("critical", "journal blocked", subject, text, FREE_SPACE))
    if slow := slow_commits(journal.durations()):
        found.append(Condition("warning", "slow commits", subject, slow, LOOK_AT_DISK))
    if house_problem:
        remedy = "it is tried again each second; look at the disk"
        found.append(Condition("error", "housekeeping", f"housekeeping {instance}", house_problem, remedy))
    if lost := events_lost:
        text = f"{lost} events could not be journalled yet; their number will be"
        found.append(Condition("error", "events lost", subject, text, told=True))
    for damage in journal.damaged:
        text = f"positions {damage.first}..{damage.end} cannot be read: {damage.cause}"
        remedy = "`gateway journal verify` shows where; home bases are told the range"
        where, told = f"{subject} {damage.first}..{damage.end}", damage in journal.recovery.damaged
        found.append(Condition("error", "journal damaged", where, text, remedy, told))
    return found


def link_conditions(
    instance: str, links: Mapping[str, Supervised], in_contact: Callable[[str], bool]
) -> list[Condition]:
    """Return what there is to say of links; `in_contact` of a spacecraft: then a silent link is an error."""
    found = []
    for name, link in links.items():
        seen, subject = link.snapshot(), f"link {name} of {instance}"
        if link.status == LinkStatus.UNAVAILABLE:
            severity = "error" if in_contact(link.settings.spacecraft) else "warning"
            text = f"unavailable: {seen['detail'] or 'nobody has connected yet'}"
            remedy = "it is tried again by itself; look at the peer and the network"
            found.append(Condition(severity, "link unavailable", subject, text, remedy, told=True))
        if octets := seen["unrecorded_octets"]:
            text = f"raw octets are not recorded: {octets} so far"
            found.append(Condition("error", "not recorded", subject, text, FREE_SPACE, told=True))
        if lost := seen["unjournalled_items"]:
            text = f"read on for timely listeners, {lost} items are lost to the journal so far"
            found.append(Condition("critical", "lost to the journal", subject, text, FREE_SPACE))
        if lost := seen["counters"].get("datagrams_lost"):
            text = f"datagrams lost in the kernel: {lost} since the counters were reset"
            remedy = "raise receive_buffer_octets of the link; `gateway links reset` sets the count to zero"
            found.append(Condition("warning", "datagrams lost", subject, text, remedy, told=True))
        if notice := seen["notice"]:
            found.append(Condition("warning", "notice", subject, notice, told=True))
        if hint := seen["hint"]:
            text, remedy = f"units are refused: {hint}", "compare the link's settings with what the peer sends"
            found.append(Condition("warning", "units refused", subject, text, remedy, told=True))
    return found


def subscription_conditions(instance: str, registry: SubscriptionRegistry) -> list[Condition]:
    """Return what there is to say of cursors, and of home bases that are away."""
    found = []
    if problem := registry.problem:
        text = f"cursors are not stored: {problem}; after a restart they are where they were stored last"
        found.append(Condition("error", "cursors not stored", f"subscriptions {instance}", text, FREE_SPACE))
    away: dict[str, list[dict[str, Any]]] = {}
    for row in registry.snapshot():
        if row.get("lag_items") and row["state"] == "away":
            away.setdefault(row["home"], []).append(row)
    for home, rows in away.items():
        if len(rows) > AWAY_SHOWN:
            text = f"{len(rows)} subscriptions are away, up to {max(r['lag_items'] for r in rows)} positions behind"
            found.append(Condition("info", "away", f"home {home} of {instance}", text, told=True))
            continue
        for row in rows:
            text = f"away, {row['lag_items']} positions behind"
            subject = f"subscription {home}/{row['subscription']} of {instance}"
            found.append(Condition("info", "away", subject, text, told=True))
    return found
