"""The pictures the console draws of mission databases: trees of packets, tables of bits, parameters in words. Pure."""

from __future__ import annotations

import difflib
import json
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from gateway.console.tables import many
from gateway_codecs.mdb import canonical, layout, words
from gateway_codecs.mdb.diff import Change, Difference
from gateway_codecs.mdb.model import (
    ALWAYS,
    AllOf,
    Container,
    ContainerEntry,
    Database,
    FixedEntry,
    Location,
    Parameter,
    ParameterEntry,
    ParameterType,
    Points,
    Reference,
    States,
)
from gateway_codecs.mdb.report import Remark

SEVERITY_STYLES = {"watch": "cyan", "warning": "yellow", "distress": "yellow", "critical": "red", "severe": "bold red"}
WHAT_STYLES = {"added": "green", "removed": "red", "changed": "yellow"}
NEAR_MAX, ROWS_MAX, PACKETS_NAMED = 3, 40, 3


def packets(database: Database) -> list[str]:
    """Return the containers that a packet can be."""
    return [
        name for name, one in database.containers.items() if not one.abstract and (one.base or name in database.roots)
    ]


def heading(database: Database) -> RenderableType:
    """Return what a database is, on a line or two."""
    text = Text(database.name or "(no name)", style="bold")
    text.append(f" {database.version}" if database.version else "", style="bold")
    counts = f"{many(len(packets(database)), 'packet')}, {many(len(database.parameters), 'parameter')}"
    text.append(f"  {counts}", style="not bold")
    derived = sum(bool(one.derivation) for one in database.parameters.values())
    text.append(f" ({derived:,} derived)" if derived else "", style="not bold")
    text.append(f"  version {canonical.digest(database)[:12]}", style="dim not bold")
    lines: list[RenderableType] = [text]
    if database.description:
        lines.append(Text(database.description, style="dim"))
    return Group(*lines)


def remark(one: Remark) -> Text:
    """Return a remark on a line: where, what, why."""
    style = "red" if one.kind == "wrong" else "dim"
    where = f"{one.where}: " if one.where.file else ""
    return Text.assemble((f"{one.kind:<8}", style), (where, "cyan"), (f"{one.what}: ", "bold"), one.why)


def verdict(wrong: int, ignored: int) -> Text:
    """Return the last line of a check."""
    told = f"{ignored:,} ignored" if ignored else "nothing ignored"
    if wrong:
        return Text(f" {wrong:,} wrong, {told} ", style="bold red")
    return Text(f" nothing wrong, {told} ", style="green")


def nearest(database: Database, name: str) -> list[str]:
    """Return names that look like one that is not there."""
    short = words.short_names(database)
    every = {short(full): full for full in (*database.containers, *database.parameters)}
    by_case = {one.lower(): one for one in every}
    near = difflib.get_close_matches(name.lower(), list(by_case), NEAR_MAX)
    return [by_case[one] for one in near]


# ---- the tree of packets


def tree(database: Database) -> RenderableType:
    """Return the tree of containers as identification walks it, and what stands beside it."""
    short = words.short_names(database)
    children: dict[str, list[str]] = {}
    for name, one in database.containers.items():
        children.setdefault(one.base, []).append(name)
    lines: list[RenderableType] = []
    for root in database.roots:
        branch = Tree(_node(database, root, short), guide_style="dim")
        _grow(database, branch, root, children, short, {root})
        lines.append(branch)
    others = [name for name in children.get("", []) if name not in database.roots]
    if others:
        lines.append(Text("parts of packets", style="dim"))
        lines += [Text.assemble("  ", _node(database, name, short)) for name in others]
    return Group(*lines)


def _grow(
    database: Database, branch: Tree, name: str, children: dict[str, list[str]], short: words.Short, seen: set[str]
) -> None:
    for child in children.get(name, []):
        if child not in seen and len(seen) < len(database.containers) + 1:
            seen.add(child)
            _grow(database, branch.add(_node(database, child, short)), child, children, short, seen)


def _node(database: Database, name: str, short: words.Short) -> Text:
    one = database.containers.get(name)
    if one is None:
        return Text(f"{short(name)} (not there)", style="red")
    text = Text(short(name), style="dim" if one.abstract else "bold")
    if one.restriction != ALWAYS:
        text.append(f"  {told_by(one, short)}", style="cyan not bold")
    count = sum(isinstance(entry, ParameterEntry) for entry in one.entries)
    text.append(f"  {many(count, 'parameter')}", style="not bold")
    size = layout.size_bits(database, name)
    text.append(f", {_octets(size)}", style="not bold")
    if one.description:
        text.append(f"  {one.description}", style="dim not bold")
    return text


def _octets(bits: int | None) -> str:
    if bits is None:
        return "length varies"
    octets, rest = divmod(bits, 8)
    return f"{octets} octets" + (f" and {rest} bits" if rest else "")


def told_by(one: Container, short: words.Short) -> str:
    """Return how a container is told, the terms of its restriction side by side."""
    terms = one.restriction.terms if isinstance(one.restriction, AllOf) else (one.restriction,)
    return ", ".join(words.match(term, short) for term in terms)


# ---- one packet


def packet(database: Database, name: str) -> RenderableType:
    """Return a packet: how it is told, and a table of its bits."""
    short = words.short_names(database)
    one = database.containers[name]
    title = Text(short(name), style="bold")
    title.append(f"  {_octets(layout.size_bits(database, name))}", style="not bold")
    title.append("  only a base of others" if one.abstract else "", style="dim not bold")
    lines: list[RenderableType] = [title]
    if one.description:
        lines.append(Text(one.description, style="dim"))
    for each in layout.lineage(database, name):
        if each.restriction != ALWAYS:
            of = "" if each.name == name else f" ({short(each.name)})"
            lines.append(Text.assemble(("told by ", "dim"), (told_by(each, short), "cyan"), (of, "dim")))
    table = _table(">octet.bit", ">bits", "parameter", "coding", "value", "limits")
    for place in layout.places(database, name):
        table.add_row(*_row(database, place, short))
    return Group(*lines, table, Text(""))


def _row(database: Database, place: layout.Place, short: words.Short) -> tuple[RenderableType, ...]:
    at = "" if place.first_bit is None else f"{place.first_bit // 8}.{place.first_bit % 8}"
    bits = "varies" if place.size_bits is None else str(place.size_bits)
    pad = "  " * place.depth
    entry = place.entry
    extra = _extra(place, short)
    if isinstance(entry, FixedEntry):
        value = f"always {entry.value.hex()}" if entry.value else ""
        return Text(at or "varies", "dim"), Text(bits, "dim"), Text(f"{pad}(spare){extra}", "dim"), "", value, ""
    if isinstance(entry, ContainerEntry):
        name = Text.assemble(pad, (short(entry.container), "bold cyan"), (extra, "cyan"))
        return Text(at or "varies"), Text(bits), name, "container", "", ""
    name = Text.assemble(pad, (short(entry.parameter), "bold"), (extra, "cyan"))
    one = database.parameters.get(entry.parameter)
    kind = database.types.get(one.type_name) if one is not None else None
    if kind is None:
        return Text(at or "varies"), Text(bits), name, Text("not defined", "red"), "", ""
    meaning = _value(kind, short)
    if one is not None and one.valid_when != ALWAYS:
        meaning.append(f"{chr(10) if meaning else ''}valid if {words.match(one.valid_when, short)}", style="dim")
    return Text(at or "varies"), Text(bits), name, _coding(kind, short), meaning, limits(kind)


def _extra(place: layout.Place, short: words.Short) -> str:
    """Return what else there is to say of an entry: how often, under which condition, where it is put."""
    entry = place.entry
    told = []
    if not isinstance(entry, FixedEntry):
        if entry.repeat is not None:
            told.append(f" x {words.integer(entry.repeat.count, short)}")
        if entry.condition != ALWAYS:
            told.append(f" if {words.match(entry.condition, short)}")
    location: Location = entry.location
    if location.reference is Reference.END:
        told.append(f" {words.integer(location.bits, short)} bits before the end")
    elif not isinstance(location.bits, int):
        start = "bit" if location.reference is not Reference.PREVIOUS else "after"
        told.append(f" at {start} {words.integer(location.bits, short)}")
    return "".join(told)


def _coding(kind: ParameterType, short: words.Short) -> str:
    """Return how a value is coded, without the size that has a column of its own."""
    text = words.type_of(kind, short)
    size, _, rest = text.partition(" bits, ")
    return rest if size.isdigit() and rest else text


def _value(kind: ParameterType, short: words.Short) -> Text:
    text = Text()
    if kind.calibration.default is not None:
        text.append(words.calibrator(kind.calibration.default, short))
    if kind.calibration.contexts:
        text.append(f"{' ' if text else ''}({len(kind.calibration.contexts)} under conditions)", style="dim")
    if kind.time is not None:
        text.append(words.time(kind.time, short))
    if kind.unit:
        text.append(f"{' ' if text else ''}{kind.unit}", style="green")
    return text


def limits(kind: ParameterType) -> Text:
    """Return the limits of a type, a line for each, in their colours."""
    lines = words.limits(kind.alarms.default)
    text = _limit_lines(lines)
    if kind.alarms.contexts:
        text.append(f"{chr(10) if lines else ''}{len(kind.alarms.contexts)} under conditions", style="dim")
    return text


# ---- one parameter


def parameter(database: Database, name: str) -> RenderableType:
    """Return a parameter: what it means in words, and where it stands."""
    short = words.short_names(database)
    one = database.parameters[name]
    kind = database.types.get(one.type_name)
    title = Text(short(name), style="bold")
    title.append(f"  {one.description}" if one.description else "", style="not bold")
    facts = Table(box=None, pad_edge=False, show_header=False, padding=(0, 1))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for key, value in _facts(one, kind, short):
        facts.add_row(key, value)
    lines: list[RenderableType] = [title, facts]
    if kind is not None:
        lines += _tables(kind)
    places = list(layout.packets_of(database, name))
    if places:
        table = _table("stands in", ">octet.bit", ">bits", "")
        for packet_name, place in places[:ROWS_MAX]:
            at, bits, *_ = _row(database, place, short)
            table.add_row(Text(short(packet_name), "bold"), at, bits, Text(_extra(place, short), "cyan"))
        lines.append(table)
        if len(places) > ROWS_MAX:
            lines.append(Text(f"and {len(places) - ROWS_MAX:,} more", style="dim"))
    elif not one.derivation:
        lines.append(Text("stands in no packet", style="dim"))
    return Group(*lines, Text(""))


Facts = list[tuple[str, RenderableType]]


def _facts(one: Parameter, kind: ParameterType | None, short: words.Short) -> Facts:
    told: Facts = [("name", one.name)]
    if one.aliases:
        told.append(("aliases", ", ".join(one.aliases)))
    if one.long_description:
        told.append(("description", one.long_description))
    if one.derivation:
        told.append(("derived", words.expression(one.derivation, short)))
    elif one.source != "telemetered":
        told.append(("source", str(one.source)))
    if kind is None:
        told.append(("type", Text(f"{short(one.type_name)} (not there)", "red")))
    else:
        told += _type_facts(one, kind, short)
    if one.valid_when != ALWAYS:
        told.append(("valid when", words.match(one.valid_when, short)))
    where = str(one.where)
    return told + ([("defined in", Text(where, "cyan"))] if where else [])


def _type_facts(one: Parameter, kind: ParameterType, short: words.Short) -> Facts:
    told: Facts = [("type", short(kind.name))] if kind.name != one.name else []
    if kind.encoding is not None or kind.kind in {"array", "aggregate"}:
        told.append(("coding", words.type_of(kind, short)))
    if kind.calibration.default is not None or kind.encoding is not None:
        told.append(("value", words.calibrator(kind.calibration.default, short)))
    for context in kind.calibration.contexts:
        told.append((f"  if {words.match(context.context, short)}", words.calibrator(context.calibrator, short)))
    if kind.time is not None:
        told.append(("time", words.time(kind.time, short)))
    if kind.unit:
        told.append(("unit", Text(kind.unit, "green")))
    if kind.valid_range is not None:
        told.append(("valid range", words.interval(kind.valid_range) + (" (raw)" if kind.valid_range_of_raw else "")))
    if kind.alarms.default is not None:
        told.append(("limits", _limit_lines(words.limits(kind.alarms.default))))
    for limit in kind.alarms.contexts:
        told.append((f"  if {words.match(limit.context, short)}", _limit_lines(words.limits(limit.limits) or ["none"])))
    return told


def _limit_lines(lines: list[str]) -> Text:
    return Text("\n").join(Text(line, style=SEVERITY_STYLES.get(line.split(":")[0], "dim")) for line in lines)


def _tables(kind: ParameterType) -> list[RenderableType]:
    """Return the points or the states of a type as a table."""
    calibrator = kind.calibration.default
    if isinstance(calibrator, Points):
        table = _table(">raw", f">{kind.unit or 'value'}")
        for x, y in calibrator.points[:ROWS_MAX]:
            table.add_row(words.number(x), words.number(y))
        return [table]
    if isinstance(calibrator, States) and len(calibrator.states) > words.SHOWN_MAX:
        table = _table(">raw", "label")
        for state in calibrator.states:
            low, high = words.number(state.low), words.number(state.high)
            table.add_row(low if low == high else f"{low}..{high}", state.label)
        return [table]
    return []


# ---- find and diff


def found(database: Database, in_packets: list[str], in_parameters: list[str], text: str) -> RenderableType:
    """Return the packets and parameters that were found."""
    short = words.short_names(database)
    lines: list[RenderableType] = []
    if in_packets:
        table = _table("packet", "told by", "")
        for name in in_packets:
            one = database.containers[name]
            table.add_row(
                _lit(short(name), text, "bold"), Text(told_by(one, short), "cyan"), _lit(one.description, text)
            )
        lines.append(table)
    if in_parameters:
        table = _table("parameter", "coding", "unit", "in", "")
        holders = _holders(database)
        for name in in_parameters:
            parameter_ = database.parameters[name]
            kind = database.types.get(parameter_.type_name)
            coding = words.type_of(kind, short) if kind is not None else ""
            table.add_row(
                _lit(short(name), text, "bold"),
                "derived" if parameter_.derivation else coding,
                _lit(kind.unit if kind is not None else "", text, "green"),
                _some([short(each) for each in holders.get(name, [])]),
                _lit(parameter_.description, text, "dim"),
            )
        lines.append(table)
    return Group(*lines)


def _lit(shown: str, wanted: str, style: str = "") -> Text:
    text = Text(shown, style=style)
    at = shown.lower().find(wanted.lower())
    if at >= 0:
        text.stylize("reverse", at, at + len(wanted))
    return text


def _some(names: list[str]) -> str:
    more = f" and {len(names) - PACKETS_NAMED} more" if len(names) > PACKETS_NAMED else ""
    return ", ".join(names[:PACKETS_NAMED]) + more


def _holders(database: Database) -> dict[str, list[str]]:
    """Return the packets that hold each parameter, or the containers that packets include or continue."""
    held: dict[str, list[str]] = {}
    for name, one in database.containers.items():
        for entry in dict.fromkeys(each.parameter for each in one.entries if isinstance(each, ParameterEntry)):
            held.setdefault(entry, []).append(name)
    return held


def difference(one: Difference, short: words.Short) -> RenderableType:
    """Return what differs, whose values change first."""
    if not one.changes:
        return Text(f"no difference: both are version {one.new_digest[:12]}", style="green")
    lines: list[RenderableType] = [Text(f"version {one.old_digest[:12]} -> {one.new_digest[:12]}", style="dim")]
    values = [each for each in one.changes if each.kind == "parameter" and each.what == "changed" and each.values]
    if values:
        lines.append(Text(f"\nother values: {many(len(values), 'parameter')}", style="bold yellow"))
        lines += [_change(each, short) for each in values]
    said = [each for each in one.changes if each.kind == "parameter" and each.what == "changed" and not each.values]
    if said:
        lines.append(Text(f"\nthe same values, told otherwise: {many(len(said), 'parameter')}", style="bold"))
        lines += [_change(each, short) for each in said]
    for what in ("added", "removed"):
        rows = [each for each in one.changes if each.kind == "parameter" and each.what == what]
        if rows:
            lines.append(Text(f"\n{what}: {many(len(rows), 'parameter')}", style=f"bold {WHAT_STYLES[what]}"))
            lines += [_change(each, short) for each in rows]
    for kind in ("packet", "type"):
        rows = [each for each in one.changes if each.kind == kind]
        if rows:
            lines.append(Text(f"\n{kind}s", style="bold"))
            lines += [_change(each, short, each.what) for each in rows]
    return Group(*lines)


def _change(one: Change, short: words.Short, what: str = "") -> Text:
    text = Text("  ")
    if what:
        text.append(f"{what:<8}", style=WHAT_STYLES[what])
    text.append(short(one.name), style="bold")
    for k, line in enumerate(one.words):
        text.append(f"  {line}" if k == 0 else f"\n      {line}")
    return text


# ---- the same as data


def packet_json(database: Database, name: str) -> dict[str, Any]:
    """Return a packet as data: how it is told, and its entries with their bits."""
    one = database.containers[name]
    return {
        "name": name,
        "base": one.base or None,
        "abstract": one.abstract,
        "description": one.description,
        "told_by": words.match(one.restriction),
        "size_bits": layout.size_bits(database, name),
        "file": one.where.file,
        "line": one.where.line,
        "entries": [_entry_json(place) for place in layout.places(database, name)],
    }


def _entry_json(place: layout.Place) -> dict[str, Any]:
    entry = place.entry
    told: dict[str, Any] = {"first_bit": place.first_bit, "size_bits": place.size_bits, "container": place.container}
    if isinstance(entry, FixedEntry):
        return {"spare_bits": entry.size_bits, "value": entry.value.hex()} | told
    kind = {"parameter": entry.parameter} if isinstance(entry, ParameterEntry) else {"includes": entry.container}
    if entry.repeat is not None:
        told["repeat"] = words.integer(entry.repeat.count)
    return kind | told | ({"when": words.match(entry.condition)} if entry.condition != ALWAYS else {})


def parameter_json(database: Database, name: str) -> dict[str, Any]:
    """Return a parameter as data: its definition in full, and in words."""
    one = database.parameters[name]
    kind = database.types.get(one.type_name)
    told: dict[str, Any] = {
        "name": name,
        "description": one.description,
        "aliases": list(one.aliases),
        "derived": one.derivation or None,
        "unit": kind.unit if kind is not None else "",
        "coding": words.type_of(kind) if kind is not None else "",
        "calibration": words.calibrator(kind.calibration.default) if kind is not None else "",
        "limits": words.limits(kind.alarms.default) if kind is not None else [],
        "valid_when": words.match(one.valid_when) if one.valid_when != ALWAYS else None,
        "file": one.where.file,
        "line": one.where.line,
    }
    told["definition"] = _plain(Database("", parameters={name: one}, types={} if kind is None else {kind.name: kind}))
    return told


def _plain(database: Database) -> dict[str, Any]:
    """Return definitions as the canonical text has them."""
    told = json.loads(canonical.to_text(database))["database"]
    return {key: next(iter(told[key].values())) for key in ("parameters", "types") if key in told}


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 1))
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if right else "left", overflow="fold", no_wrap=right)
    return table
