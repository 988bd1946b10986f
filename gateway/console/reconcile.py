"""Compares what a simulator sent with what home bases stored, and explains every gap. Pure but for reading files."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.homes.store import HomeStore
from gateway_codecs.batches import Kind, Unit

SENT = "sent"
IDLE_APID = 2047
Stream = tuple[int, int]  # (vcid, apid); apid -1 = opaque frames
Entry = tuple[int, str]  # (sequence count, short SHA-256)


@dataclass(slots=True)
class Ledger:
    """What was made, per stream in order, and what became of it."""

    expected: dict[Stream, list[Entry]] = field(default_factory=dict)
    made: dict[Stream, int] = field(default_factory=dict)
    lost: dict[Stream, dict[str, int]] = field(default_factory=dict)
    missing_frames: dict[int, int] = field(default_factory=dict)  # by VC, as an 8-bit count can see them
    complete: bool = False


def read_ledger(path: Path) -> Ledger:
    """Read a simulator's ledger. Raises OSError, ValueError."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    fates = {(f["vcid"], f["number"]): f["fate"] for line in lines if (f := line.get("frame"))}
    ledger = Ledger(complete=any("summary" in line for line in lines))
    for line in lines:
        if (item := line.get("item")) is not None:
            _take(ledger, item, fates)
    for vcid in {vcid for vcid, _ in fates}:
        sent = sorted(number for (vc, number), fate in fates.items() if vc == vcid and fate == SENT)
        steps = itertools.pairwise(sent)
        ledger.missing_frames[vcid] = sum((after - before - 1) % 256 for before, after in steps)
    return ledger


def _take(ledger: Ledger, item: Mapping[str, Any], fates: Mapping[tuple[int, int], str]) -> None:
    stream = (item["vcid"], item["apid"])
    ledger.made[stream] = ledger.made.get(stream, 0) + 1
    frames = range(item["first_frame"], item["last_frame"] + 1)
    causes = [fate for number in frames if (fate := fates.get((item["vcid"], number), "never sent")) != SENT]
    if not causes:
        ledger.expected.setdefault(stream, []).append((item["sequence_count"], item["digest"]))
    else:
        by_cause = ledger.lost.setdefault(stream, {})
        by_cause[causes[0]] = by_cause.get(causes[0], 0) + 1


def stored_entries(store: HomeStore) -> dict[Stream, list[Entry]]:
    """Return what a home base stored, per stream in position order."""
    found: dict[Stream, list[Entry]] = {}
    for block in store.blocks():
        items = block.batch.items
        for row in (items["kind"] == Kind.TM).nonzero()[0].tolist():
            item = items[row]
            opaque = item["unit"] == Unit.FRAME
            if not opaque and item["unit"] != Unit.PACKET:
                continue
            count = int(item["vc_count"]) if opaque else int(item["sequence_count"])
            digest = hashlib.sha256(block.batch.octets_of(row)).hexdigest()[:16]
            found.setdefault((int(item["vcid"]), int(item["apid"])), []).append((count, digest))
    return found


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a home base's store is not what it must be."""

    home: str
    stream: Stream
    what: str


def compare(home: str, ledger: Ledger, stored: Mapping[Stream, list[Entry]]) -> list[Difference]:
    """Return every difference between what must have arrived and what is stored: missing, twice, order, strangers."""
    found = []
    for stream in sorted({*ledger.expected, *stored}):
        expected, have = ledger.expected.get(stream, []), stored.get(stream, [])
        if have == expected:
            continue
        missing, extra = _counted(expected, have), _counted(have, expected)
        what = f"{len(missing)} missing {missing[:3]}, {len(extra)} too many {extra[:3]}"
        found.append(Difference(home, stream, what if missing or extra else "wrong order"))
    return found


def _counted(these: Iterable[Entry], those: Iterable[Entry]) -> list[Entry]:
    left: dict[Entry, int] = {}
    for entry in those:
        left[entry] = left.get(entry, 0) + 1
    result = []
    for entry in these:
        if left.get(entry, 0):
            left[entry] -= 1
        else:
            result.append(entry)
    return result


def compare_frames(ledger: Ledger, counted: Mapping[int, int]) -> list[str]:
    """Return where the gateway's count of missing frames is not what the ledger says."""
    return [
        f"VC{vcid}: the gateway counted {counted.get(vcid, 0)} missing frames, the ledger says {expected}"
        for vcid, expected in sorted(ledger.missing_frames.items())
        if counted.get(vcid, 0) != expected
    ]


def rows(ledger: Ledger, stores: Mapping[str, Mapping[Stream, list[Entry]]]) -> list[dict[str, Any]]:
    """Return one row per stream: made, lost by cause, expected, stored by home."""
    return [
        {
            "vcid": stream[0],
            "apid": None if stream[1] < 0 else stream[1],
            "made": ledger.made[stream],
            "lost": ledger.lost.get(stream, {}),
            "expected": len(ledger.expected.get(stream, [])),
            "stored": {home: len(found.get(stream, [])) for home, found in stores.items()},
        }
        for stream in sorted(ledger.made)
        if stream[1] != IDLE_APID
    ]
