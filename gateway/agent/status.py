"""How a home base's agent is: as an object for other tools, and as a table for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from gateway.console.harmless import harmless
from gateway.console.tables import Column, fitted
from gateway.homes.keeper import Keeper, Trouble
from gateway_routes.delivery import Cursor

STALE_S = 10.0
RANGES_SHOWN = 20
COLOURS = {"well": "green", "ended": "green", "stopped": "yellow", "waiting": "yellow", "trouble": "red"}


@dataclass(slots=True)
class Behind:
    """Since when a subscription is behind what it knows of, by the event loop's time."""

    since_s: float | None = None

    def seconds(self, lag: int, now_s: float) -> float:
        """Return for how long there has been a lag."""
        if not lag:
            self.since_s = None
            return 0.0
        if self.since_s is None:
            self.since_s = now_s
        return now_s - self.since_s


def keeper_status(keeper: Keeper, behind: Behind, now_s: float) -> dict[str, Any]:
    """Return how one subscription is. Positions count what is not selected too."""
    store, progress = keeper.store, keeper.progress
    cursor = (store.cursor() if store is not None else None) or Cursor()
    head = max(progress.head, cursor.highest)
    holes = cursor.missing(head)
    lag = sum(end - first for first, end in holes)
    trouble = keeper.trouble or _differing(progress.digests_differing)
    return {
        "state": _state(keeper, lag),
        "trouble": trouble.text if trouble is not None else None,
        "connected": progress.connected,
        "connects": progress.connects,
        "last_error": "" if progress.connected else progress.last_error,
        "silent_s": round(now_s - progress.heard_s, 1) if progress.heard_s else None,
        "head": head,
        "low_water": cursor.low_water,
        "lag_positions": lag,
        "behind_s": round(behind.seconds(lag, now_s), 1),
        "holes": [list(hole) for hole in holes[:RANGES_SHOWN]],
        "lost_before": progress.lost_before,
        "missing_for_ever": store.missing[-RANGES_SHOWN:] if store is not None else [],
        "items": store.items if store is not None else 0,
        "packets": store.packets if store is not None else 0,
        "octets": store.octets if store is not None else 0,
        "marks_confirmed": progress.marks_confirmed,
        "digests_confirmed": progress.digests_confirmed,
        "digests_differing": progress.digests_differing,
        "duplicates": progress.duplicates,
        "retention": keeper.retention.described(store) if keeper.retention is not None else None,
    }


def _differing(ranges: int) -> Trouble | None:
    """Return what is wrong when the gateway has other data than the store in some ranges."""
    return Trouble("digest", f"{ranges} ranges are stored otherwise than the gateway has them") if ranges else None


def _state(keeper: Keeper, lag: int) -> str:
    if keeper.trouble is not None:
        return keeper.trouble.kind
    if keeper.finished:
        return "ended"
    if not keeper.progress.connected:
        return "connecting"
    return "catching up" if lag else "live"


def overall(subscriptions: Mapping[str, Mapping[str, Any]], outlets: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the worst of all: trouble, waiting (for the gateway, or for what is caught up), ended, well."""
    if any(row["trouble"] for row in (*subscriptions.values(), *outlets.values())):
        return "trouble"
    states = {row["state"] for row in subscriptions.values()}
    if states & {"connecting", "catching up"}:
        return "waiting"
    return "ended" if states and states <= {"ended"} else "well"


def picture(status: Mapping[str, Any], age_s: float | None = None, width: int | None = None) -> Group:
    """Return tables of a status, of at most `width` characters; `age_s` of one that was read from a file."""
    state = str(status["state"])
    head = Text.assemble(
        (f"{status['home']}", "bold"), f" at {status['instance']}, {status['url']}: ",
        (state, COLOURS.get(state, "yellow")),
        f"; running for {status['running_s']:.0f} s as process {status['process']}",
        "" if age_s is None else f"; {age_s:.0f} s old",
    )  # fmt: skip
    parts: list[Any] = [head]
    if status["subscriptions"]:
        parts.append(_subscriptions(status["subscriptions"], width))
    if status["outlets"]:
        parts.append(_outlets(status["outlets"], width))
    parts += [Text(harmless(f"{name}: {row['trouble']}"), "red") for name, row in _rows(status) if row["trouble"]]
    parts += [
        Text(harmless(f"{name}: {row['last_error']}"), "yellow") for name, row in _rows(status) if row.get("last_error")
    ]
    for name, row in status["subscriptions"].items():
        parts += [Text(f"{name}: {text}", "yellow") for text in _remarks(row)]
    return Group(*parts)


def _remarks(row: Mapping[str, Any]) -> list[str]:
    """Return what is to be said of a subscription below the tables."""
    told = [f"positions {first}..{end} will never come" for first, end in row["missing_for_ever"]]
    retention = row.get("retention")
    if retention and retention["held_by"]:
        over = f", {retention['over_octets']} octets too much" if retention["over_octets"] else ""
        told.append(f"more is kept than is to be{over}: not done with it: {', '.join(retention['held_by'])}")
    if retention and retention["trouble"]:
        told.append(f"what need not be kept cannot be removed: {harmless(retention['trouble'])}")
    return told


def _rows(status: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [*status["subscriptions"].items(), *status["outlets"].items()]


def _subscriptions(rows: Mapping[str, Mapping[str, Any]], width: int | None) -> Table:
    columns = (
        Column("subscription", shrinks="begin"), Column("state"), Column("stored", right=True),
        Column("lag", right=True), Column("behind", right=True, spare=1), Column("holes", right=True, spare=2),
        Column("lost before", right=True, spare=3), Column("silent", right=True, spare=4),
        Column("connects", right=True, spare=7), Column("marks", right=True, spare=6),
        Column("digests", right=True, spare=5),
    )  # fmt: skip
    cells: list[list[str | Text]] = []
    for name, row in rows.items():
        state = Text(row["state"], "red" if row["trouble"] else "green" if row["state"] == "live" else "yellow")
        # what came to the gateway since it was heard last is not known here
        lag = f"{row['lag_positions']}" if row["connected"] or row["state"] == "ended" else f"{row['lag_positions']}+"
        silent = "-" if row["silent_s"] is None else f"{row['silent_s']:.0f} s"
        cells.append([
            name, state, f"{row['items']}", lag, f"{row['behind_s']:.0f} s", f"{len(row['holes'])}",
            f"{row['lost_before']}", silent, f"{row['connects']}", f"{row['marks_confirmed']}",
            f"{row['digests_confirmed']}",
        ])  # fmt: skip
    return fitted(columns, cells, width)


def _outlets(rows: Mapping[str, Mapping[str, Any]], width: int | None) -> Table:
    columns = (
        Column("outlet", shrinks="begin"), Column("type"), Column("state"), Column("served", right=True),
        Column("lag", right=True), Column("clients", right=True, spare=1), Column("skipped", right=True, spare=3),
        Column("listens on", spare=2),
    )  # fmt: skip
    cells: list[list[str | Text]] = []
    for name, row in rows.items():
        lag = "-" if row["lag_positions"] is None else f"{row['lag_positions']}"
        clients = f"{len(row['clients'])}" if "clients" in row else ""
        skipped = f"{row['skipped_items']}" if row.get("skipped_items") else ""
        state = Text(row["state"], "red" if row["trouble"] else "green")
        cells.append([name, row["type"], state, f"{row['items']}", lag, clients, skipped, row.get("listens_on") or ""])
    return fitted(columns, cells, width)
