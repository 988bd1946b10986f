"""`gateway journal ls|show|verify|export`: read-only looks into journals on disk."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from gateway.console import tables
from gateway.errors import Conflict, NotFound, UsageError
from gateway.journal.block import TOO_SHORT, Block, BlockError
from gateway.journal.recording import WholeUnits, read_about
from gateway.journal.segments import INCOMPLETE, Found, Segments
from gateway.journal.tally import journalled_names
from gateway.real import LocalStorage
from gateway_codecs import ax25
from gateway_codecs.batches import ABSENT, ITEM_DTYPE, ItemFlag, Kind, Quality, Unit
from gateway_codecs.declared import FormatError
from gateway_codecs.time_scales import format_utc

Names = Mapping[str, Mapping[int, str]]
NO_CHOICE = "raw frames of a recording cannot be chosen: replay it, then export the packets of the run's journal"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which items are looked at; what is None or empty chooses all."""

    vcids: list[int] | None = None
    apids: list[int] | None = None
    links: list[str] | None = None
    spacecraft: list[str] | None = None
    idle: bool = False

    def takes(self, item: Mapping[str, Any]) -> bool:
        """Whether an item is chosen."""
        return (
            (not self.vcids or item["vcid"] in self.vcids)
            and (not self.apids or item["apid"] in self.apids)
            and (not self.links or item["link_name"] in self.links)
            and (not self.spacecraft or item["spacecraft_name"] in self.spacecraft)
            and (self.idle or not item["flags"] & ItemFlag.IDLE)
        )

    def check(self, names: Names) -> None:
        """Refuse names that the journal does not know: nothing would come out. Raises NotFound."""
        for word, what, wanted in (("link", "links", self.links), ("spacecraft", "spacecraft", self.spacecraft)):
            known = sorted(names.get(what, {}).values())
            for name in wanted or []:
                if name not in known:
                    raise NotFound(f"the journal has no {word} {name!r}", f"it has {', '.join(known) or 'none'}")


def _segments(folder: Path) -> Segments:
    found = Segments(LocalStorage(folder), "journal")
    if not found.names():
        raise NotFound(f"{folder} holds no journal", "`gateway journal ls DATA_DIR` lists the instances' folders")
    found.identify()
    return found


def _folders(data_dir: Path) -> list[Path]:
    if (data_dir / "journal").is_dir():
        return [data_dir]
    return sorted(p.parent for p in data_dir.glob("*/journal") if p.is_dir())


def read_blocks(folder: Path, damage: list[dict[str, Any]]) -> Iterator[Block]:
    """Yield every good block; what cannot be read is put into `damage` with its position range.

    A segment that retention removes meanwhile is left out.
    """
    segments, expected = _segments(folder), None
    for segment in segments.names():
        for found in _scanned(segments, segment):
            where = {"segment": segment, "offset": found.offset}
            if found.header is None:
                damage.append({**where, "cause": found.cause, "first": expected, "end": None})
                continue
            for earlier in damage:
                if earlier["end"] is None:
                    earlier["end"] = found.header.first_position
            try:
                block = segments.load(segment, found)
            except FileNotFoundError:
                break
            except BlockError as error:
                span = {"first": found.header.first_position, "end": found.header.end_position}
                damage.append({**where, "cause": str(error), **span})
                expected = found.header.end_position
                continue
            expected = block.header.end_position
            yield block


def _scanned(segments: Segments, segment: str) -> Iterator[Found]:
    with contextlib.suppress(FileNotFoundError):
        yield from segments.scan(segment)


def take_under_way(folder: Path, damage: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Take the incomplete last block out of the damage: it is being written, or was cut off and never acknowledged."""
    last = _segments(folder).names()[-1]
    if not damage or damage[-1]["segment"] != last or damage[-1]["end"] is not None:
        return None
    if damage[-1]["cause"] not in {INCOMPLETE, TOO_SHORT}:
        return None
    offset = damage.pop()["offset"]
    return {"segment": last, "offset": offset, "octets": (folder / "journal" / last).stat().st_size - offset}


def _span(row: Mapping[str, Any]) -> str:
    first, end = "?" if row["first"] is None else row["first"], "the end" if row["end"] is None else row["end"]
    return f"positions {first}..{end}"


def list_journals(data_dir: Path, as_json: bool) -> None:
    """List instances and segments."""
    folders = [folder for folder in _folders(data_dir) if any((folder / "journal").glob("*.seg"))]
    if not folders:
        raise NotFound(f"{data_dir} holds no journals", "give the data_dir of a gateway")
    rows: list[dict[str, Any]] = []
    for folder in folders:
        segments = _segments(folder)
        for name in segments.names():
            headers = [f.header for f in segments.scan(name) if f.header is not None]
            if headers:
                rows.append(
                    {
                        "instance": folder.name, "segment": name, "blocks": len(headers),
                        "first": headers[0].first_position, "end": headers[-1].end_position,
                        "from_utc": format_utc(headers[0].commit_time_ns),
                        "to_utc": format_utc(headers[-1].commit_time_ns),
                        "octets": (folder / "journal" / name).stat().st_size,
                    }
                )  # fmt: skip
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    console = Console()
    for folder in folders:
        mine = [row for row in rows if row["instance"] == folder.name]
        if mine:
            console.print(f"[bold]{escape(str(folder))}[/bold]", soft_wrap=True)
            console.print(tables.segments(mine))


def names_of(folder: Path) -> Names:
    """Return the names of spacecraft and links by the journal's ids."""
    return journalled_names(LocalStorage(folder), "journal")


def items_of(folder: Path, damage: list[dict[str, Any]], names: Names) -> Iterator[dict[str, Any]]:
    """Yield every readable item in position order, with names and `octets`; a time that is not known is None."""
    for block in read_blocks(folder, damage):
        upstreams = _upstreams(block)
        order = block.arrival.argsort(kind="stable")
        for row in order.tolist():
            item = block.items[row]
            start = int(item["offset"])
            yield {
                "position": block.header.first_position + int(block.arrival[row]),
                **{name: _value(name, int(item[name])) for name in ITEM_DTYPE.names or () if name != "offset"},
                "spacecraft_name": _name(names, "spacecraft", int(item["spacecraft"])),
                "link_name": (link := _name(names, "links", int(item["link"]))),
                "upstream_journal": upstreams.get(link) if item["upstream_position"] >= 0 else None,
                "octets": block.octets[start : start + int(item["length"])].tobytes(),
            }


def _upstreams(block: Block) -> dict[str, str]:
    """Return, by link, the journal (id/revision) of the gateway that a block's items came from."""
    links = block.state.get("links", {}).items()
    return {name: link["upstream"]["now"] for name, link in links if "upstream" in link}


def _value(name: str, value: int) -> int | None:
    unknown = value == ABSENT if name.endswith("_time_ns") else name == "upstream_position" and value < 0
    return None if unknown else value


def _name(names: Names, what: str, number: int) -> str:
    return names.get(what, {}).get(number, f"#{number}") if number else ""


def show_items(
    folder: Path, position: int | None, limit: int, choice: Choice, with_octets: bool, as_json: bool
) -> None:
    """Show items from a position on; where there are several links or spacecraft, with their names. Raises NotFound."""
    damage: list[dict[str, Any]] = []
    names = names_of(folder)
    choice.check(names)
    several = any(len(known) > 1 for known in names.values())
    wanted = (i for i in items_of(folder, damage, names) if i["position"] >= (position or 0) and choice.takes(i))
    for item in itertools.islice(wanted, limit):
        typer.echo(_as_json(item) if as_json else _as_line(item, several, with_octets))
    take_under_way(folder, damage)
    for row in damage:
        typer.secho(f"damaged: {_span(row)} of {row['segment']}: {row['cause']}", fg="red", err=True)


def _as_json(item: dict[str, Any]) -> str:
    return json.dumps({**item, "octets": item["octets"].hex()})


def _as_line(item: dict[str, Any], with_names: bool, with_octets: bool) -> str:
    time, journal = _utc(item["receive_time_ns"]), item["upstream_journal"]
    upstream = f", there {item['upstream_position']} of journal {journal}" if journal else ""
    if item["kind"] == Kind.EVENT:
        event = json.loads(item["octets"])
        return f"{item['position']:>8} {time} event {event.get('severity')}: {event.get('message')}{upstream}"
    quality = "" if item["quality"] == Quality.GOOD else f" REJECTED {Quality(item['quality']).name.lower()}"
    stream = f"VC{item['vcid']}" if item["vcid"] >= 0 else _ax25(item) or "no VC"
    stream += f" APID {item['apid']} count {item['sequence_count']}" if item["apid"] >= 0 else ""
    if with_names:
        stream = f"{item['spacecraft_name']} by {item['link_name']} {stream}"
    about = f"{stream} {item['length']} octets{quality}{upstream}"
    line = f"{item['position']:>8} {time} {Unit(item['unit']).name.lower()} {about}"
    return f"{line}\n         {item['octets'].hex()}" if with_octets else line


def _ax25(item: dict[str, Any]) -> str:
    """Return who sent a frame to whom, when it is an AX.25 frame as a KISS file holds it."""
    if item["unit"] != Unit.FRAME or item["version"] >= 0:
        return ""
    try:
        frame = ax25.decode(item["octets"])
    except FormatError:
        return ""
    return f"AX.25 {frame.source} > {' > '.join(map(str, [*frame.repeaters, frame.destination]))}"


def verify_journal(folder: Path, as_json: bool) -> int:
    """Check every block; returns 1 when something is damaged. A last block that is under way is none."""
    damage: list[dict[str, Any]] = []
    blocks = items = jumps = 0
    sequence = position = None
    seen = 0
    for block in read_blocks(folder, damage):
        header = block.header
        if len(damage) > seen:  # what is missing here is told as damage
            seen, sequence, position = len(damage), None, None
        jumps += sequence is not None and header.sequence != sequence + 1
        jumps += position is not None and header.first_position != position
        sequence, position = header.sequence, header.end_position
        blocks, items = blocks + 1, items + header.item_count
    under_way = take_under_way(folder, damage)
    result = {"folder": str(folder), "blocks": blocks, "items": items, "jumps": int(jumps), "damage": damage}
    result["under_way"] = under_way
    if as_json:
        print(json.dumps(result))
    else:
        for row in damage:
            typer.secho(f"{row['segment']} at {row['offset']}: {_span(row)}: {row['cause']}", fg="red")
        if under_way:
            where = f"{under_way['octets']} octets at {under_way['offset']} of {under_way['segment']}"
            typer.echo(f"the last block is under way or was cut off: {where}")
        found = f"{len(damage)} damaged places" + (f", positions missing at {int(jumps)} places" if jumps else "")
        typer.echo(f"{folder}: {blocks} good blocks, {items} items, {found}")
    return int(bool(damage or jumps))


def export_journal(folder: Path, target: Path, form: str, choice: Choice) -> None:
    """Export to a new file. Raises Conflict, NotFound, UsageError.

    Raises typer.Exit(1) when damage was left out: it is told.
    """
    if target.exists():
        raise Conflict(f"{target} exists", "name a new file")
    damage: list[dict[str, Any]] = []
    if form == "frames":
        if choice != Choice():
            raise UsageError("--frames takes no --vc, --apid, --link, --spacecraft or --idle", NO_CHOICE)
        written = write_frames(recording_of(folder), target)
    else:
        written = f"{_write_items(folder, target, form, choice, damage)} items"
    typer.echo(f"{written} in {target}")
    if damage:
        raise typer.Exit(1)


def _write_items(folder: Path, target: Path, form: str, choice: Choice, damage: list[dict[str, Any]]) -> int:
    names = names_of(folder)
    choice.check(names)
    chosen = (item for item in items_of(folder, damage, names) if choice.takes(item))
    count = {"packets": _packets, "csv": _csv, "sqlite": _sqlite}[form](chosen, target)
    take_under_way(folder, damage)
    for row in damage:
        typer.secho(f"left out: {_span(row)} of {row['segment']}: {row['cause']}", fg="red", err=True)
    return count


def _packets(items: Iterator[dict[str, Any]], target: Path) -> int:
    count = 0
    with target.open("wb") as file:
        for item in items:
            if item["unit"] == Unit.PACKET:
                file.write(item["octets"])
                count += 1
    return count


def recording_of(folder: Path) -> Path:
    """Return the one recording below an instance's folder, or the folder itself. Raises NotFound, Conflict."""
    if any(folder.glob("*.rec")):
        return folder
    found = sorted(path for path in (folder / "recording").glob("*") if any(path.glob("*.rec")))
    if not found:
        raise NotFound(f"{folder} holds no recording", "raw octets are kept of TCP frame links with record: true")
    if len(found) > 1:
        raise Conflict(f"{folder} holds several recordings", f"name one of {', '.join(map(str, found))}")
    return found[0]


def about_recording(recording: Path) -> dict[str, Any]:
    """Return what a recording says of itself. Raises NotFound."""
    try:
        return read_about(LocalStorage(recording.parent), recording.name)
    except (OSError, ValueError) as error:
        raise NotFound(f"{recording}: {error}", "a recording has an about.json beside its .rec files") from None


def write_frames(recording: Path, target: Path) -> str:
    """Write a recording's whole frames back to back, each connection from its first octet; returns how many.

    Of frames that vary in length, and of a stream of CADUs, all octets are written: lengths and markers delimit them.
    """
    about = about_recording(recording)
    unit_octets, held = int(about["unit_octets"]), "CADUs" if about.get("unit") == "cadus" else "frames"
    units = WholeUnits(LocalStorage(recording.parent), recording.name, unit_octets)
    with target.open("wb") as file:
        for octets in units:
            file.write(octets)
        written = f"{file.tell() // unit_octets} {f'octets of {held}' if unit_octets == 1 else held}"
    if units.left_out_octets:
        text = f"left out: {units.left_out_octets} octets of {held} that a cut left incomplete"
        typer.secho(text, fg="yellow", err=True)
    return written


def _readable(item: dict[str, Any]) -> dict[str, Any]:
    row = {**item, "octets": item["octets"].hex()}
    for key in ("kind", "unit", "quality"):
        row[key] = {"kind": Kind, "unit": Unit, "quality": Quality}[key](item[key]).name.lower()
    for key in ("receive_time_ns", "earth_receive_time_ns", "generation_time_ns"):
        row[key.replace("_ns", "_utc")] = _utc(item[key])
    return row


def _utc(time_ns: int | None) -> str:
    return "" if time_ns is None else format_utc(time_ns)


def _csv(items: Iterator[dict[str, Any]], target: Path) -> int:
    count, writer = 0, None
    with target.open("w", newline="", encoding="utf-8") as file:
        for item in items:
            row = _readable(item)
            if writer is None:
                writer = csv.DictWriter(file, list(row))
                writer.writeheader()
            writer.writerow(row)
            count += 1
    return count


def _sqlite(items: Iterator[dict[str, Any]], target: Path) -> int:
    columns = [n for n in ITEM_DTYPE.names or () if n != "offset"]
    names = ["position", *columns, "spacecraft_name", "link_name", "upstream_journal", "octets"]
    with contextlib.closing(sqlite3.connect(target)) as database, database:
        database.execute(f"CREATE TABLE items ({', '.join(names)}, PRIMARY KEY (position))")
        marks = ", ".join("?" * len(names))
        rows = ([item[name] for name in names] for item in items)
        cursor = database.executemany(f"INSERT INTO items VALUES ({marks})", rows)  # noqa: S608
        return cursor.rowcount if cursor.rowcount > 0 else 0
