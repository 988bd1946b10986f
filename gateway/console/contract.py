"""What `gateway check` tells beside errors: whether the contracts of the home bases fit the disk and the line."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from gateway.journal.segments import Segments
from gateway.real import LocalStorage
from gateway_config import Configuration
from gateway_config.contracts import Contract, Found, HomeRow, InstanceRow, Past, amount, contract
from gateway_config.differences import instances_of

PAST_MIN_S = 3600.0
"""What a younger journal has taken says nothing of the days to come."""
TAI_UNIX_S = 378_691_200 + 37
"""From the epoch of the journal's times, 1958 TAI, to that of the file system's, within leap seconds to come."""


def reckon(configuration: Configuration) -> Contract:
    """Look at the data directory, if there is one, and reckon. Blocking; a gateway may run on it."""
    data_dir = configuration.data_dir
    journals = {name: past for name in instances_of(configuration) if (past := _past(data_dir, name)) is not None}
    recorded = sum(_octets(data_dir / name / "recording") for name in instances_of(configuration))
    return contract(configuration, Found(journals, recorded, _free_octets(data_dir)))


def _past(data_dir: Path, instance: str) -> Past | None:
    """Return what a journal has taken, from its oldest segment on; None = there is none."""
    folder = data_dir / instance / "journal"
    try:
        segments = Segments(LocalStorage(data_dir / instance), "journal")
        names = segments.names()
        if not names:
            return None
        segments.identify()
        began_ns, ended_s = segments.commit_time_ns(names[0]), (folder / names[-1]).stat().st_mtime
        octets = sum((folder / name).stat().st_size for name in names)
    except OSError:
        return None  # it cannot be read now: then it says nothing
    over_s = 0.0 if began_ns is None else ended_s - (began_ns / 1e9 - TAI_UNIX_S)
    return Past(octets, over_s if over_s >= PAST_MIN_S else 0.0)


def _octets(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except OSError:
        return 0


def _free_octets(folder: Path) -> int | None:
    """Return what is free on the device that the data directory is, or will be, on."""
    there = next((path for path in (folder, *folder.absolute().parents) if path.is_dir()), None)
    if there is None:
        return None
    try:
        found = os.statvfs(there)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def show(found: Contract) -> None:
    """Print the reckoning."""
    for instance in found.instances:
        typer.echo(_instance(instance))
    for home in found.homes:
        typer.echo(_home(home))
    needed = "not known" if found.needed_octets is None else amount(found.needed_octets)
    there = "not known" if found.available_octets is None else amount(found.available_octets)
    typer.echo(f"disk: needed for the backlogs and recordings: {needed}; room for them: {there}")
    if found.line_bps is not None:
        promised = "not known" if found.promised_bps is None else f"{found.promised_bps:,.0f}"
        typer.echo(f"line: {found.line_bps:,.0f} bits/s; the home bases get {promised}, on average, items alone")


def _instance(row: InstanceRow) -> str:
    if row.octets_per_s is None:
        return f"{row.instance}: brings {row.source}"
    days = f"; {row.backlog_days:g} days of it: {amount(row.journal_octets or 0)}" if row.backlog_days else ""
    recorded = f"; recordings: {amount(row.recording_octets)}" if row.recording_octets else ""
    return f"{row.instance}: brings {amount(row.octets_per_s)}/s ({row.source}){days}{recorded}"


def _home(row: HomeRow) -> str:
    if not row.instances:
        return f"{row.home}: gets no items of an instance that is here"
    most = "at most " if row.at_most else ""
    streams = "not known" if row.streams_bps is None else f"{most}{row.streams_bps:,.0f} bits/s"
    told = [f"gets {streams} of {', '.join(row.instances)}"]
    told += [f"limited to {row.rate_limit_bps:,}"] if row.rate_limit_bps is not None else []
    told += [f"may be away for {row.backlog_days:g} days"] if row.backlog_days is not None else []
    told += [f"and has caught up {row.catch_up_days:.1f} days later"] if row.catch_up_days is not None else []
    return f"{row.home}: {', '.join(told)}"
