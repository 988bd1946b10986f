"""Console commands that look at a running gateway through its API: status, events, links."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from gateway.console import tables
from gateway.console.remote import Remote, Unreachable
from gateway.console.terminal import Terminal
from gateway.errors import Conflict, NotFound

FOLLOW_WAIT_S = 5.0
RECONNECT_S = 1.0
TOGETHER_S = 0.1


def show_status(url: str, as_json: bool) -> int:
    """Print the state, worst first; return 1 when a condition is an error or worse."""
    state = Remote(url).get("/status")
    if as_json:
        print(json.dumps(state, indent=2))
    else:
        Terminal().print(tables.overview(state))
    return int(any(c["severity"] in {"critical", "error"} for c in state["conditions"]))


def show_links(url: str, as_json: bool) -> None:
    """Print every link of every instance."""
    rows = Remote(url).get("/links")
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    console = Terminal()
    for instance in sorted({row["instance"] for row in rows}):
        console.print(f"\n{instance}", style="bold")
        console.print(tables.links([row for row in rows if row["instance"] == instance]))
    for row in rows:
        causes = {k: v for k, v in row.get("counters", {}).items() if k.startswith("rejected_") and v}
        if causes:
            console.print(f"  {row['name']}: " + ", ".join(f"{k[9:]} {v}" for k, v in causes.items()))


def act_on_link(url: str, instance: str | None, link: str, action: str) -> None:
    """Enable, disable or reset one link, and print its new state."""
    remote = Remote(url)
    owners = [row["instance"] for row in remote.get("/links") if row["name"] == link]
    if instance is None:
        instance = _only(owners, link)
    after = remote.post(f"/instances/{instance}/links/{link}/{action}")
    Terminal().print(tables.links([after]))


def _only(owners: list[str], link: str) -> str:
    if not owners:
        raise NotFound(f"no link is named {link!r}", "`gateway links list` shows them")
    if len(owners) > 1:
        raise Conflict(f"link {link!r} is in {', '.join(owners)}", "say which with --instance")
    return owners[0]


def accept_clock(url: str) -> None:
    """Let plans and retention go by the wall clock as it is now."""
    moved_s = Remote(url).post("/clock/accept")["moved_s"]
    print(f"accepted: plans of contacts and retention moved by {moved_s:+.3f} s")


def show_events(url: str, instance: str | None, follow: bool, count: int, as_json: bool) -> None:
    """Print the newest events and, if wanted, follow; a gateway that goes away is waited for."""
    remote = Remote(url, timeout_s=FOLLOW_WAIT_S + 10)
    console = Terminal()
    positions: dict[str, int] = {}
    for name in [instance] if instance else _instances(remote):
        answer = remote.get(f"/instances/{name}/events", limit=count)
        _print_events(console, answer["events"], as_json)
        positions[name] = answer["next_position"]
    away = False
    while follow:
        try:
            for event in _new_events(remote, positions):
                _print_events(console, [event], as_json)
            if instance is None:  # one opened since: all of its events are new
                positions = {name: positions.get(name, 0) for name in _instances(remote)}
            away = False
        except Unreachable as error:
            if not away:
                print(f"{error}; waiting for it, Ctrl-C ends", file=sys.stderr, flush=True)
            away = True
            time.sleep(RECONNECT_S)


def _instances(remote: Remote) -> list[str]:
    return [row["instance"] for row in remote.get("/instances")]


def _new_events(remote: Remote, positions: dict[str, int]) -> Iterator[dict[str, Any]]:
    wait_s = FOLLOW_WAIT_S if len(positions) == 1 else 0.0
    for name, position in list(positions.items()):
        answer = remote.get(f"/instances/{name}/events", position=position, limit=1000, wait_s=wait_s)
        positions[name] = answer["next_position"]
        yield from answer["events"]
    time.sleep(TOGETHER_S if wait_s else RECONNECT_S)


def _print_events(console: Terminal, events: list[dict[str, Any]], as_json: bool) -> None:
    for event in events:
        if as_json:
            print(json.dumps(event), flush=True)
        else:
            console.print(tables.event_line(event), soft_wrap=True)
