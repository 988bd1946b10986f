"""The pictures the console draws of a gateway's state (the dictionary of GET /api/v1/status). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

STYLES = {"critical": "bold white on red", "error": "bold red", "warning": "yellow", "info": "dim"}
LINK_STYLES = {"receiving": "green", "connected": "cyan", "unavailable": "bold red", "disabled": "dim"}
LIMIT_STYLES = {
    "watch": "cyan", "warning": "yellow", "distress": "bold yellow", "critical": "bold red", "severe": "bold red"
}  # fmt: skip
State = Mapping[str, Any]
CONTACTS_SHOWN = 5
DECIMALS_MAX = 1e15
"""Above this a number has no decimals to show."""
SHRUNK_LEAST = 14


def overview(state: State, rates: Mapping[str, float] | None = None) -> RenderableType:
    """Return the whole picture: conditions worst first, then links, contacts, streams and subscriptions."""
    parts: list[RenderableType] = [conditions(state["conditions"]), configuration(state)]
    if state.get("mqtt"):
        parts.append(mqtt(state["mqtt"]))
    for instance in state["instances"]:
        parts += [heading(instance), links(instance["links"])]
        if instance["contacts"]:
            parts.append(contacts(instance["contacts"][-CONTACTS_SHOWN:]))
        if instance["subscriptions"]:
            parts.append(subscriptions(instance["subscriptions"]))
        parts += beside_subscriptions(instance)
        if instance["streams"]:
            parts.append(streams(instance["streams"], rates or {}))
    return Group(*parts)


def heading(instance: State) -> RenderableType:
    """Return one line on the instance and its journal."""
    journal = instance["journal"]
    text = Text(f"\n{instance['instance']}", style="bold")
    text.append(f"  {instance['support_mode']}, {instance['data_mode']}; journal {journal['tail']}..{journal['head']}")
    text.append(f", {octets(journal['octets'])}", style="dim")
    return text


def configuration(state: State) -> RenderableType:
    """Return one line on the configuration in use."""
    used = state["configuration"]
    return Text(f"configuration {used['revision']} since {used['since_utc'][:19]}Z", style="dim")


def conditions(rows: Iterable[State]) -> RenderableType:
    """Return the conditions, or one reassuring line."""
    lines: list[RenderableType] = []
    for row in rows:
        since = Text(f" (since {_time_of_day(row.get('since_utc'))})", style="dim")
        head = (f" {row['severity']:<8} ", STYLES.get(row["severity"], ""))
        lines.append(Text.assemble(head, f" {row['subject']}: {row['text']}", since))
        if row.get("remedy"):
            lines.append(Text(f"           -> {row['remedy']}", style="dim"))
    return Group(*lines) if lines else Text(" all well ", style="green")


def mqtt(state: State) -> RenderableType:
    """Return one line on delivery over MQTT."""
    counters = state["counters"]
    text = Text(f"\nMQTT {state['address']}", style="bold")
    text.append(f"  {state['state']}", style=LINK_STYLES.get(state["state"], ""))
    text.append(f"  {number(counters['shared_items'])} items shared", style="")
    text.append(f", {number(counters['skipped_items'])} skipped, {state['sessions']} sessions", style="")
    return text


def _upstream(upstream: State) -> str:
    """Return where a link is that has another gateway as its peer."""
    if upstream["journal_id"] is None:
        return f"upstream {upstream['address']}: never connected yet"
    lag, ranges = upstream["lag_items"], upstream["acknowledged_ranges"]
    behind = "not connected" if lag is None else "nothing missing" if not lag else f"{number(lag)} positions to come"
    above = f" and {number(sum(end - first for first, end in ranges))} above" if ranges else ""
    return f"upstream journal {upstream['journal_id']}: all below {upstream['low_water']}{above}, {behind}"


def links(rows: Iterable[State]) -> RenderableType:
    """Return the table of links, and below it what there is to say of them."""
    table = _table("link", "state", "contact", "data age", ">frames", ">bad", ">pieces", ">octets")
    lines: list[RenderableType] = [table]
    for row in rows:
        counters = row.get("counters", {})
        table.add_row(
            row["name"],
            Text(row["state"], style=LINK_STYLES.get(row["state"], "")),
            str(row.get("contact", "") or "none"),
            age(row.get("age_s")),
            number(counters.get("frames", 0)),
            number(row.get("bad_frames", 0)),
            number(row.get("rejected", 0) - row.get("bad_frames", 0)),
            octets(counters.get("octets", 0)),
        )
        if row.get("detail"):
            lines.append(Text(f"  {row['name']}: {row['detail']}", style="dim"))
        if row.get("upstream"):
            lines.append(Text(f"  {row['name']}: {_upstream(row['upstream'])}", style="dim"))
        if row.get("sync"):
            lines.append(Text(f"  {row['name']}: CADUs: {_synchronised(row['sync'], counters)}", style="dim"))
    return Group(*lines)


def _synchronised(state: str, counters: Mapping[str, int]) -> str:
    """Return one line on a synchroniser and its code blocks."""
    told = {
        "sync_losses": "losses of lock", "slips": "slips", "inversions": "inversions", "sync_misses": "missing markers",
        "corrected_symbols": "corrected symbols", "rejected_reed_solomon": "uncorrectable",
    }  # fmt: skip
    return ", ".join(
        [state, *(f"{number(counters[name])} {what}" for name, what in told.items() if counters.get(name))]
    )


def contacts(rows: Iterable[State]) -> Table:
    """Return the table of contacts."""
    table = _table("contact", "spacecraft", "state", "first good", "last good", "peer")
    for row in rows:
        first, last = (_time_of_day(row.get(key)) for key in ("first_good_utc", "last_good_utc"))
        table.add_row(str(row["id"]), row["spacecraft"], row["state"], first, last, row["peer"])
    return table


def _time_of_day(utc: str | None) -> str:
    """Return HH:MM:SS of a time such as 2026-11-24T10:00:00.5Z."""
    return utc[11:19] if utc else ""


def streams(rows: Iterable[State], rates: Mapping[str, float]) -> Table:
    """Return the table of virtual channels and APIDs; `rates` is packets per second by stream key."""
    table = _table("stream", ">frames", ">missing", ">packets", ">per s", ">missing", ">octets")
    rows = list(rows)
    several_ids = _with_several("scid", rows)
    several_links = _with_several("link", rows)
    for row in rows:
        is_vc = row["apid"] is None
        name = _channel_name(row, several_ids, several_links) if is_vc else f"   APID {row['apid']}"
        rate = rates.get(stream_key(row))
        table.add_row(
            Text(name, style="bold" if is_vc else ""),
            number(row["frames"]),
            number(row["missing_frames"]),
            number(row["packets"]),
            f"{rate:.0f}" if rate is not None else "",
            number(row["missing_packets"]) if not is_vc or row["shared_missing"] else "",
            octets(row["octets"]),
        )
    return table


def _with_several(column: str, rows: Iterable[State]) -> frozenset[str]:
    """Return the spacecraft whose rows differ in a column."""
    pairs = {(row["spacecraft"], row[column]) for row in rows}
    return frozenset(name for name, _ in pairs if sum(other == name for other, _ in pairs) > 1)


def _channel_name(row: State, several_ids: frozenset[str], several_links: frozenset[str]) -> str:
    """Return how a channel is called, with what tells it from others of its spacecraft."""
    spacecraft = row["spacecraft"]
    scid = f" SCID {row['scid']}" if spacecraft in several_ids and row["scid"] is not None else ""
    channel = "packets" if row["vcid"] is None else f"VC{row['vcid']}"
    link = f" ({row['link']})" if spacecraft in several_links else ""
    of_map = "" if row["map_id"] is None else f" MAP {row['map_id']}"
    apart = " replay" if row["replay"] else " expedited" if row["expedited"] else ""
    return f"{spacecraft}{scid} {channel}{of_map}{apart}{link}"


def subscriptions(rows: Iterable[State]) -> Table:
    """Return the table of home-base subscriptions."""
    table = _table("home / subscription", "state", "mode", ">sent", ">low water", ">lag", ">drops")
    for row in rows:
        state = str(row.get("state", ""))
        table.add_row(
            f"{row['home']} / {row['subscription']}",
            Text(state, style="green" if state in {"live", "connected"} else "yellow"),
            str(row.get("mode", "")),
            number(row.get("sent_items", 0)),
            number(row.get("low_water", 0)),
            number(row.get("lag_items", 0)),
            number(row.get("drops", 0)),
        )
    return table


def beside_subscriptions(instance: State) -> list[RenderableType]:
    """Return the tables of outlets and of open playback requests, of those that there are."""
    outlets_, playbacks_ = instance["outlets"], instance["playbacks"]
    return [*([outlets(outlets_)] if outlets_ else ()), *([playbacks(playbacks_)] if playbacks_ else ())]


def outlets(rows: Iterable[State]) -> Table:
    """Return the table of outlets: plain packets for tools of home bases."""
    table = _table("home / outlet", "state", "address", ">clients", ">given", ">lost")
    for row in rows:
        lost = row["skipped_items"] + row["not_sent"]
        table.add_row(
            f"{row['home']} / {row['outlet']}",
            Text(row["state"], style="green" if row["state"] == "serving" else "yellow"),
            f"{row['type']} {row['address']}", str(row["clients"]), number(row["delivered_items"]),
            Text(number(lost), style="yellow" if lost else ""),
        )  # fmt: skip
    return table


def playbacks(rows: Iterable[State]) -> Table:
    """Return the table of open playback requests."""
    table = _table("home / playback", "state", ">done", ">items", ">missing", "asked by")
    for row in rows:
        missing = Text(number(row["missing_positions"]), style="yellow" if row["missing_positions"] else "")
        table.add_row(
            f"{row['home']} / {row['playback']}",
            Text(row["state"], style="green" if row["receiving"] else "yellow"),
            f"{row['progress']:.0%}", number(row["items"]), missing, row["asked_by"].removeprefix("home "),
        )  # fmt: skip
    return table


def values(rows: Iterable[State]) -> Table:
    """Return the table of newest values: what each is, and how it stands to its limits."""
    table = _table("parameter", ">value", "unit", "limits", ">age")
    for row in rows:
        name = str(row["parameter"]).rpartition("/")[2]
        style = LIMIT_STYLES.get(str(row["limit"]).rpartition(" ")[2], "")
        valid = row["validity"] == "valid"
        shown = Text(short_value(row["value"], row.get("decimals")), style=style if valid else "dim")
        state = Text(row["limit"] if valid else row["validity"], style=style)
        table.add_row(name, shown, row["unit"], state, age(row.get("age_s")))
    return table


def many(count: int, what: str) -> str:
    """Return `1 packet`, `2 packets`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def short_value(value: Any, decimals: int | None = None) -> str:
    """Return a value for people: real numbers with the decimals that the database says, else six digits."""
    if isinstance(value, float):
        return f"{value:.6g}" if decimals is None or abs(value) >= DECIMALS_MAX else f"{value:.{decimals}f}"
    return "" if value is None else str(value)


def events(rows: Iterable[State]) -> RenderableType:
    """Return events, one a line."""
    return Group(*[event_line(row) for row in rows])


def event_line(event: State) -> Text:
    """Return one event as a line: time, severity, type, message."""
    severity = str(event.get("severity", "info"))
    line = Text(f"{event.get('time', '')} ", style="dim")
    line.append(f"{severity:<8}", style=STYLES.get(severity, ""))
    line.append(f" {event.get('type', '')}: ", style="bold")
    line.append(str(event.get("message", "")))
    if isinstance(came := event.get("upstream"), dict) and "link" in came:
        line.append(f" (by {came['link']})", style="dim")
    return line


def stream_key(row: State) -> str:
    """Return the key under which a stream's rate is kept."""
    return "/".join(str(row[column]) for column in ("link", "scid", "vcid", "map_id", "replay", "expedited", "apid"))


def segments(rows: Iterable[State]) -> Table:
    """Return the table of a journal's segments, each of one UTC day."""
    table = _table("segment", ">blocks", ">positions", "committed from", "to", ">octets")
    for row in rows:
        positions = f"{row['first']}..{row['end']}"
        times = (row["from_utc"][:19], _time_of_day(row["to_utc"]))
        table.add_row(row["segment"], number(row["blocks"]), positions, *times, octets(row["octets"]))
    return table


def number(value: int | None) -> str:
    """Return an integer with thin thousands; None, for what is not counted, is nothing."""
    if value is None:
        return ""
    return f"{value:,}".replace(",", " ")


def octets(value: float) -> str:
    """Return an amount of octets for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return ""


def age(seconds: float | None) -> str:
    """Return an age for people; none is 'never'."""
    if seconds is None:
        return "never"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table that fits its terminal.

    `spare` above 0: it is left out where there is no room, the highest first. `shrinks`: `end` keeps the end of what
    does not fit, `begin` its beginning; what does neither is always whole.
    """

    title: str
    right: bool = False
    spare: int = 0
    shrinks: Literal["", "begin", "end"] = ""


def fitted(columns: Sequence[Column], rows: Iterable[Sequence[str | Text]], width: int | None) -> Table:
    """Return a table of at most `width` characters (None: any), in which no number and no state is cut."""
    cells = [list(row) for row in rows]
    widths = [max(map(_width, [one.title, *(row[k] for row in cells)])) for k, one in enumerate(columns)]
    kept = list(range(len(columns)))
    while width is not None and (spare := [k for k in kept if columns[k].spare]):
        if sum(min(widths[k], SHRUNK_LEAST) if columns[k].shrinks else widths[k] for k in kept) + _gaps(kept) <= width:
            break
        kept.remove(max(spare, key=lambda k: columns[k].spare))
    if width is not None:
        _shrink(columns, kept, widths, width)
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 1))
    for k in kept:
        title = _cut(columns[k].title, widths[k], "begin" if columns[k].shrinks else "")
        table.add_column(title, justify="right" if columns[k].right else "left", no_wrap=True)
    for row in cells:
        table.add_row(*(_cut(row[k], widths[k], columns[k].shrinks) for k in kept))
    return table


def _gaps(kept: Sequence[int]) -> int:
    return 2 * (len(kept) - 1)


def _shrink(columns: Sequence[Column], kept: Sequence[int], widths: list[int], width: int) -> None:
    """Make the widest of the columns that shrink smaller until all fit, as far as that can be."""
    shrinking = [k for k in kept if columns[k].shrinks]
    over = sum(widths[k] for k in kept) + _gaps(kept) - width
    while over > 0 and shrinking:
        widest = max(shrinking, key=lambda k: widths[k])
        if widths[widest] <= 4:
            return
        widths[widest] -= 1
        over -= 1


def _width(cell: str | Text) -> int:
    return cell.cell_len if isinstance(cell, Text) else cell_len(cell)


def _cut(cell: str | Text, width: int, shrinks: str) -> str | Text:
    if not shrinks or isinstance(cell, Text) or cell_len(cell) <= width:
        return cell
    return "\u2026" + cell[1 - width :] if shrinks == "end" else cell[: width - 1] + "\u2026"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 1))
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if right else "left", no_wrap=True)
    return table
