"""A report and the state of home bases as text for a terminal of 80 columns. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gateway.console.tables import number

Row = Mapping[str, Any]
REASONS = {
    "space_link": "lost on the space link", "bad_frame": "in bad frames", "gateway_restart": "gateway restart",
    "link_cut": "link cut", "kernel": "dropped by the kernel", "not_journalled": "disk refused",
    "before_range": "before the range", "unknown": "unknown",
}  # fmt: skip
SELECTED_SHOWN = 8
DIGEST_STYLES = {"confirmed": "green", "differs": "bold red", "cannot be compared": "yellow"}


def report(told: Row) -> RenderableType:
    """Return a report."""
    parts: list[RenderableType] = [heading(told)]
    parts += [Text("\nReceived", style="bold"), streams(told["streams"])]
    if told["shared_counts"]:
        parts += [Text("\nShared counts", style="bold"), shared(told["shared_counts"])]
    parts += [Text(line, style="dim") for line in noted(told)]
    for home in told["homes"]:
        parts += [Text(f"\nHome base {home['home']}", style="bold"), subscriptions(home["subscriptions"])]
        if len(told["homes"]) == 1:
            parts += [delivered(row) for row in home["subscriptions"] if row["streams"]]
        parts += [Text(f"  {line}") for row in home["subscriptions"] for line in beside(row)]
        parts += [line for row in home["subscriptions"] for line in _digest_lines(row)]
    if not told["homes"]:
        parts.append(Text("\nno home base has a subscription", style="dim"))
    parts += [Text(line) for line in timely(told["timely"])]
    parts.append(Text(f"reconciled: {told['scope']}", style="dim"))
    parts += [Text(f"! {remark}", style="yellow") for remark in told["remarks"]]
    return Group(*parts)


def heading(told: Row) -> Text:
    """Return what the report is about."""
    text = Text(title(told), style="bold")
    text.append(f"\n{span(told)}", style="")
    if told["range"]["under_way"]:
        text.append("\nunder way: more may come", style="yellow")
    return text


def title(told: Row) -> str:
    """Return one line: what, of which spacecraft, where."""
    about = told["range"]
    craft = f" of {about['spacecraft']}" if about["spacecraft"] else ""
    peer = f" with {about['peer']}" if about["peer"] else ""
    what = {"time": "a span of time", "positions": "a range of positions"}.get(about["what"], about["what"])
    return f"{what}{craft}{peer}, {told['instance']}"


def span(told: Row) -> str:
    """Return the positions and times."""
    about = told["range"]
    times = [(about["from_utc"] or "")[:19], (about["to_utc"] or "")[:19]]
    between = f", {times[0] or 'the beginning'} until {times[1] or 'now'} UTC" if any(times) else ""
    return f"positions {about['first']}..{about['end']}{between}"


def missing(row: Row) -> str:
    """Return what is missing, by reason."""
    return ", ".join(f"{number(count)} {REASONS.get(why, why)}" for why, count in row["missing"].items())


def name_of(row: Row) -> str:
    """Return a stream's name."""
    what = f"VC{row['vcid']}" if row["vcid"] >= 0 else ""
    unit = (
        f"APID {row['apid']}"
        if row["apid"] >= 0
        else {"packet": "packets", "frame": "frames"}.get(row["unit"], row["unit"])
    )
    return " ".join(part for part in (row["spacecraft"] or "", row["link"] or "", what, unit) if part)


def streams(rows: Sequence[Row]) -> RenderableType:
    """Return what was expected and received of each stream."""
    if not rows:
        return Text("nothing", style="dim")
    table = _table("stream", ">expected", ">received", "missing")
    for row in rows:
        expected = number(row["expected"]) or "not known"
        lost = "with its shared count" if str(row["counting"]).startswith("shared:") else missing(row)
        table.add_row(name_of(row), expected, number(row["received"]), Text(lost, style="yellow" if lost else ""))
    return table


def shared(rows: Iterable[Row]) -> Table:
    """Return the counts that APIDs share."""
    table = _table("count", ">expected", ">received", "missing")
    for row in rows:
        name = f"{row['link'] or ''} VC{row['vcid']} {row['group']}: APIDs {', '.join(map(str, row['apids']))}"
        table.add_row(name, number(row["expected"]), number(row["received"]), missing(row))
    return table


def noted(told: Row) -> list[str]:
    """Return lines on what was refused, and on missing frames and datagrams."""
    refused = [f"{row['link'] or ''}: {number(row['units'])} refused, {row['cause']}" for row in told["refused"]]
    gaps = [
        f"{row['link'] or ''}: {number(row['missing'])} {row['what']} missing, {row['reason']}"
        for row in told["link_gaps"]
    ]
    journal = told["journal"]
    if journal["items"] is None:
        return [*refused, *gaps]
    rest = [f"{number(journal['items'])} items in the journal, {number(journal['events'])} of them events, "
            f"{number(journal['idle_packets'])} idle packets"]  # fmt: skip
    return [*refused, *gaps, *rest]


def subscriptions(rows: Iterable[Row]) -> Table:
    """Return what became of the items of each subscription."""
    table = _table(
        "subscription", ">entitled", ">delivered", ">acknowl.", ">in flight", ">lost", ">filtered", ">live p50/p99"
    )
    for row in rows:
        lost = row["expired"] + row["damaged"]
        table.add_row(
            row["subscription"], number(row["entitled"]), number(row["delivered"]), number(row["acknowledged"]),
            number(row["sent"] + row["waiting"]), Text(number(lost), style="bold red" if lost else ""),
            number(row["not_selected"] + row["not_granted"]), percentiles(row["latency"]["live"]),
        )  # fmt: skip
    return table


def delivered(row: Row) -> Table:
    """Return what became of each stream in one subscription."""
    table = _table(f"of {row['subscription']}", ">entitled", ">delivered", ">acknowl.", ">in flight", ">lost")
    for one in row["streams"]:
        lost = one["expired"] + one["damaged"]
        table.add_row(
            name_of(one), number(one["entitled"]), number(one["delivered"]), number(one["acknowledged"]),
            number(one["sent"] + one["waiting"]), Text(number(lost), style="bold red" if lost else ""),
        )  # fmt: skip
    return table


def beside(row: Row) -> list[str]:
    """Return lines on what was lost at the gateway, and on the versions that a subscription had before."""
    lost = [f"{number(row[name])} {name}" for name in ("expired", "damaged") if row[name]]
    said = [f"{row['subscription']}: {', '.join(lost)}: they were there, and will not come"] if lost else []
    return said + [
        f"{row['subscription']}: {number(one['acknowledged'])} of them acknowledged under version {one['version']}, "
        f"which selected {selected(one['selection'])}"
        for one in row["former"]
        if one["acknowledged"]
    ]


def selected(selection: Mapping[str, Any]) -> str:
    """Return a selection in words."""
    parts = [f"{key} {_listed(value)}" for key, value in sorted(selection.items()) if value not in (None, False)]
    return ", ".join(parts) or "all that was granted"


def _listed(value: Any) -> str:
    if not isinstance(value, list):
        return "yes" if value is True else str(value)
    shown = ", ".join(map(str, value[:SELECTED_SHOWN]))
    return f"{shown} and {len(value) - SELECTED_SHOWN} more" if len(value) > SELECTED_SHOWN else shown


def timely(rows: Iterable[Row]) -> list[str]:
    """Return lines on what home bases got in timely mode."""
    return [
        f"{row['home']} in timely mode, since the gateway was started: {number(row['delivered_items'])} items sent, "
        f"{number(row['skipped_items'])} skipped and told"
        for row in rows
    ]


def percentiles(row: Row) -> str:
    """Return the median and the 99th percentile."""
    found = [row.get(key) for key in ("p50_s", "p99_s")]
    return "" if None in found else " / ".join(duration(value) for value in found if value is not None)


def duration(seconds: float) -> str:
    """Return a time for people, such as 3 ms, 2.5 s, 4 min, 3 h, 2 d."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for most, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < most:
            return f"{seconds / size:.1f} {unit}" if seconds < 10 else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def _digest_lines(row: Row) -> list[Text]:
    digest = row["digest"]
    text = Text(f"  {row['subscription']}: ")
    text.append(digest["state"], style=DIGEST_STYLES.get(digest["state"], ""))
    text.append(f" {digest['sha256'][:16]}…, {number(digest['items'])} items of {digest['first']}..{digest['end']}")
    if digest["state"] == "differs":
        text.append(f"\n  the home base has {number(digest.get('home_items'))} items", style="bold red")
    return [text]


def homes(instance: str, rows: Sequence[Row]) -> RenderableType:
    """Return the home bases of an instance."""
    head = Text(f"\n{instance}", style="bold")
    if not rows:
        return Group(head, Text("no home base was heard yet", style="dim"))
    table = _table("home base", ">sessions", ">lag", ">late", ">backlog", ">seen", ">digests", "drops")
    for row in rows:
        table.add_row(
            row["home"], Text(str(row["sessions"]), style="" if row["sessions"] else "yellow"),
            number(row["lag_items"]), duration(row["lag_s"]),
            number(row["backlog_items"]), _seen(row), _digests(row),
            ", ".join(f"{number(count)} {cause}" for cause, count in row["drops"].items() if count),
        )  # fmt: skip
    return Group(head, table)


def _seen(row: Row) -> str:
    age_s = row["last_seen_age_s"]
    return "never" if age_s is None else duration(age_s)


def _digests(row: Row) -> Text:
    if row["digests_differing"]:
        return Text(f"{row['digests_differing']} differ", style="bold red")
    return Text(f"{row['digests_unconfirmed']} open" if row["digests_unconfirmed"] else "", style="yellow")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if right else "left", no_wrap=right, overflow="fold")
    return table
