"""`gateway probe`: what an unknown recording holds, why, what stays undecided, and a configuration that plays it."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.errors import GatewayError, UsageError
from gateway_codecs.frames import FrameFormat, VcFormat
from gateway_codecs.probe import Coding, Layout, Report, Rewriter, probe
from gateway_config import load

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
PIECE_OCTETS = 1 << 20
STANDARD_INPUT = "-"
UPLINK = {"cltus": "CLTUs: telecommands", "tc_frames": "TC transfer frames: telecommands"}
NAMES = {"cadus": "CADUs", "packets": "packets back to back", "frames": "frames", **UPLINK}
STEPS = {
    "cadus": "sync markers",
    "packets": "packets back to back",
    "frames": "frames without a marker",
    "cltus": "start sequences of CLTUs",
    "tc_frames": "TC frames",
}


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """The command's options."""

    file: str
    write: Path | None
    name: str
    max_octets: int
    as_json: bool


@dataclass(frozen=True, slots=True)
class Proposal:
    """A configuration as the files of its directory hold it; `link.path` as seen from there."""

    mission: dict[str, Any]
    link: dict[str, Any]


def probe_file(options: ProbeOptions) -> int:
    """Probe, print, write if asked to; returns the exit code: 1 when nothing is recognised. Raises UsageError."""
    if options.write is not None and options.file == STANDARD_INPUT:
        raise UsageError("--write needs a file that a link can play, not -", "save what comes in first")
    if options.name and not NAME.fullmatch(options.name):
        raise UsageError(f"--name {options.name!r}: 1 to 64 letters, digits, '-' or '_', no sign first")
    data, whole = _read(options)
    with _progress(options.as_json) as told:
        report = probe(data, whole, told)
    name = options.name or _name(options.file)
    proposal = None if report.layout is None else proposed(report.layout, name, _path(options))
    _print(options, report, proposal, whole)
    if options.write is not None:
        if proposal is None or report.layout is None:
            raise GatewayError("nothing was written: no configuration plays what was found")
        _write(options, options.write, report, report.layout, proposal)
    return 1 if report.kind == "nothing" else 0


def _read(options: ProbeOptions) -> tuple[bytes, bool]:
    """Return the octets to look at, and whether they are all."""
    if options.file == STANDARD_INPUT:
        data = sys.stdin.buffer.read(options.max_octets)
        return data, len(data) < options.max_octets
    path = Path(options.file)
    if path.is_dir():
        raise UsageError(
            f"{path} is a folder", "gateway journal export FOLDER FILE --frames makes a file of a recording"
        )
    with path.open("rb") as source:
        data = source.read(options.max_octets)
        return data, not source.read(1)


@contextmanager
def _progress(as_json: bool) -> Iterator[Callable[[str], None]]:
    """Say on a terminal what is tried just now."""
    console = Console(stderr=True)
    if as_json or not console.is_terminal:
        yield lambda step: None
        return
    with console.status("reading") as status:
        yield lambda step: status.update(f"looking for {STEPS[step]} ...")


def _name(file: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9_-]", "-", Path(file).stem).lstrip("-_")[:40]
    return stem.lower() or "unknown"


def _path(options: ProbeOptions) -> str:
    return "-" if options.file == STANDARD_INPUT else str(Path(options.file).resolve())


# ---- the configuration


def proposed(layout: Layout, name: str, path: str) -> Proposal:
    """Return the mission and the link that read such a recording."""
    craft: dict[str, Any] = {"name": name}
    unit = "frames"
    if layout.storage == "kiss":
        pass  # its frames are kept whole: there is nothing to say of them
    elif layout.frames is not None:
        craft["scids"] = list(layout.scids)
        if layout.coding is not None:
            craft["coding"] = _coding(layout.coding, layout.frames.suffix_octets)
        craft["frames"] = _frames(layout.frames, layout.coding is not None)
        unit = "frames" if layout.coding is None else "cadus"
    else:
        craft["packets"] = _packets(layout)
        unit = "packets"
    mission = {
        "name": name,
        "description": "found by gateway probe",
        "support_modes": ["simulation", "test"],
        "spacecraft": [craft],
    }
    link: dict[str, Any] = {"name": name, "mission": name, "spacecraft": name, "type": "file", "path": path}
    if layout.storage == "kiss":
        link["container"] = "kiss"
    else:
        link["unit"] = unit
    if unit == "cadus" and layout.storage == "bits":
        link["container"] = "unpacked_bits"
    if unit == "cadus" and layout.coding is not None and layout.coding.marker:
        link["sync"] = {"alignment": "octet" if layout.octet_aligned else "bit"}
    return Proposal(mission, link)


def _coding(coding: Coding, tail_octets: int) -> dict[str, Any]:
    keys: dict[str, Any] = {"marker": coding.marker.hex().upper() or "none", "randomiser": coding.randomiser}
    code = coding.reed_solomon
    if code is not None:
        keys["reed_solomon"] = {"e": code.e, "interleave": code.interleave, "basis": code.basis}
    return keys | ({"tail_octets": tail_octets} if tail_octets else {})


def _frames(frames: FrameFormat, coded: bool) -> dict[str, Any]:
    keys: dict[str, Any] = {"version": frames.version, "frame_length_octets": frames.frame_length_octets}
    keys["fecf"] = frames.fecf
    normal = FrameFormat(frames.version, 0, {}, {})
    around = () if coded else ("octet_interleave", "prefix_octets", "suffix_octets")
    for key in ("ocf", "insert_zone_octets", "header_error_control", "variable_length", "mc_counting", *around):
        if getattr(frames, key) != getattr(normal, key):
            keys[key] = getattr(frames, key)
    keys["vcs"] = {vcid: _channel(vc) for vcid, vc in sorted(frames.vcs.items())}
    return keys


def _channel(vc: VcFormat) -> dict[str, Any]:
    keys: dict[str, Any] = {"service": vc.service}
    if vc.counting != "vc_count":
        keys["counting"] = vc.counting
    if vc.maps:
        keys["maps"] = dict(sorted(vc.maps.items()))
    if "packets" in {vc.service, *vc.maps.values()}:
        if vc.packet_start is not None:
            keys["packet_start"] = vc.packet_start
        if vc.packet_zone_padding:
            keys["packet_zone_padding"] = "ignore"
        keys |= _packet_keys(vc)
    return keys


def _packets(layout: Layout) -> dict[str, Any]:
    keys: dict[str, Any] = {} if layout.packets is None else _packet_keys(layout.packets)
    return keys | ({"prefix_octets": layout.packet_prefix_octets} if layout.packet_prefix_octets else {})


def _packet_keys(vc: VcFormat) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    if vc.packet_versions != VcFormat().packet_versions:
        keys["packet_versions"] = sorted(vc.packet_versions)
    if vc.default_apid_counting != "apid":
        keys["default_counting"] = vc.default_apid_counting
    if vc.apid_counting:
        keys["apids"] = {apid: {"counting": rule} for apid, rule in sorted(vc.apid_counting.items())}
    return keys


def _yaml(keys: dict[str, Any], about: str) -> str:
    parts = [
        yaml.safe_dump({key: value}, sort_keys=False, default_flow_style=None if isinstance(value, list) else False)
        for key, value in keys.items()
    ]
    text = "".join(parts)
    return "".join(f"# {line}\n" for line in about.splitlines()) + text


# ---- what is printed


def _print(options: ProbeOptions, report: Report, proposal: Proposal | None, whole: bool) -> None:
    if options.as_json:
        print(json.dumps(_as_json(report, proposal, whole)), flush=True)
        return
    console = Console()
    if not whole:
        size = f"{report.octets_looked_at:,} octets"
        console.print(f"only the first {size} were looked at (--max-octets): channels that come later are not known")
    if report.kind == "nothing":
        _print_nothing(console, report)
        return
    console.print(Text(f"{options.file}: {report.about or NAMES[report.kind]}", style="bold"))
    console.print(_findings(report))
    for row in report.undecided:
        console.print(Text.assemble((" undecided ", "yellow"), (f" {row.item}: ", "bold"), row.why), soft_wrap=True)
    if proposal is None:
        why = "what the units hold is not known, so that nothing can be taken out of them"
        why = "telecommands go up, and links bring telemetry" if report.kind in UPLINK else why
        console.print(f" no configuration: {why}", style="yellow")
    elif options.write is None:
        console.print(Text(_yaml(proposal.mission, "missions/NAME.yaml")), soft_wrap=True)
        console.print(Text(_yaml(proposal.link, "links/NAME.yaml")), soft_wrap=True)
        console.print("--write DIR writes these into a configuration directory", style="dim")


def _print_nothing(console: Console, report: Report) -> None:
    console.print(Text(f"nothing recognised in {report.octets_looked_at:,} octets", style="bold yellow"))
    if report.about:
        console.print(f" {report.about}")
    for text in report.tried:
        console.print(f" not there: {text}", style="dim", soft_wrap=True)


def _findings(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for heading in ("item", "found", "score", "what says so"):
        table.add_column(heading, justify="right" if heading == "score" else "left", overflow="fold")
    for row in report.findings:
        score = f"{row.score:.0%}" if row.tested else "-"
        table.add_row(row.item, Text(row.value, style="green"), score, f"{row.agreed} of {row.tested} {row.how}")
    return table


def _as_json(report: Report, proposal: Proposal | None, whole: bool) -> dict[str, Any]:
    return {
        "recognised": report.kind,
        "about": report.about,
        "octets_looked_at": report.octets_looked_at,
        "whole_file": whole,
        "findings": [{**asdict(row), "score": round(row.score, 4)} for row in report.findings],
        "undecided": [asdict(row) for row in report.undecided],
        "tried": list(report.tried),
        "mission": None if proposal is None else proposal.mission,
        "link": None if proposal is None else proposal.link,
    }


# ---- what is written


def _write(options: ProbeOptions, directory: Path, report: Report, layout: Layout, proposal: Proposal) -> None:
    name = proposal.mission["name"]
    about = f"Found by gateway probe in {options.file}, {report.octets_looked_at:,} octets of it"
    open_ = "\n".join(f"undecided: {row.item}: {row.why}" for row in report.undecided)
    link, played = dict(proposal.link), Path(options.file)
    targets = {
        directory / "gateway.yaml": "# Everything has a default: docs/configuration.md\ndata_dir: var\n",
        directory / "missions" / f"{name}.yaml": _yaml(proposal.mission, f"{about}\n{open_}"),
    }
    if not layout.playable_as_it_is:
        played = directory / "recordings" / f"{name}.bin"
        link["path"] = f"recordings/{name}.bin"
    targets[directory / "links" / f"{name}.yaml"] = _yaml(link, about)
    mine = [path for path in (*targets, played) if path.name != "gateway.yaml" and path != Path(options.file)]
    there = next((path for path in mine if path.exists()), None)
    if there is not None:
        raise GatewayError(f"{there} is there already", "give another --name, or a new folder")
    for path, text in targets.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(text, encoding="utf-8")
    if played != Path(options.file):
        _rewrite(Path(options.file), played, layout)
    load(directory)
    said = "" if played == Path(options.file) else f", and {played}, the same recording as a link plays it"
    typer.echo(f"written: {name} in {directory}{said}", err=options.as_json)
    typer.echo(f"next: gateway check {directory} && {_replay(played, link, directory)}", err=options.as_json)


def _replay(file: Path, link: dict[str, Any], directory: Path) -> str:
    """Return the command that plays the file with the configuration, as a shell takes it."""
    container = ["--container", link["container"]] if "container" in link else []
    unit = ["--unit", link["unit"]] if link.get("unit") == "cadus" else []
    words = ["gateway", "replay", str(file), "--mission", link["mission"], "--config", str(directory)]
    return shlex.join([*words, *unit, *container])


def _rewrite(source: Path, target: Path, layout: Layout) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    rewriter = Rewriter(layout)
    with source.open("rb") as octets, target.open("xb") as written:
        while piece := octets.read(PIECE_OCTETS):
            written.write(rewriter.feed(piece))
