"""Items of a store as JSON: what a local tool gets that does not take packets as they are."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any

from gateway.agent.outlet import spacecraft_name, spacecraft_names
from gateway.homes.store_reader import Portion
from gateway_codecs.batches import ABSENT, DataMode, Quality, Unit
from gateway_codecs.time_scales import format_utc

Names = Mapping[str, Mapping[str, str]]
TIMES = ("receive_time", "earth_receive_time", "generation_time")
COLUMNS = (
    "offset", "length", "unit", "spacecraft", "vcid", "apid", "sequence_count", "missing_before", "quality",
    "data_mode", *(f"{time}_ns" for time in TIMES),
)  # fmt: skip
MESSAGE_ROWS, MESSAGE_CHARACTERS = 200, 1 << 19


@dataclass(frozen=True, slots=True)
class Message:
    """What is said of positions [first, end): `text` is an object of JSON with that many items."""

    first: int
    end: int
    items: int
    text: bytes


def messages(portion: Portion, names: Names) -> list[Message]:
    """Return `{"items":[…]}` of at most 200 items and some 500,000 characters each, or `{"missing":[first,end]}` for
    positions that will not come."""
    if portion.absent:
        return [Message(portion.first, portion.end, 0, _json({"missing": [portion.first, portion.end]}))]
    made, first, part, size = [], portion.first, list[bytes](), 0
    for position, row in _rows(portion, names):
        part.append(row)
        size += len(row)
        if len(part) == MESSAGE_ROWS or size >= MESSAGE_CHARACTERS:
            made.append(Message(first, position + 1, len(part), _together(part)))
            first, part, size = position + 1, [], 0
    if part:
        made.append(Message(first, portion.end, len(part), _together(part)))
    return made


def _rows(portion: Portion, names: Names) -> Iterator[tuple[int, bytes]]:
    columns = {name: portion.batch.items[name].tolist() for name in COLUMNS}
    known, octets = spacecraft_names(names), portion.batch.octets.tobytes()
    for k, position in enumerate(portion.positions.tolist()):
        row = {name: column[k] for name, column in columns.items()}
        mine = octets[row["offset"] : row["offset"] + row["length"]]
        told: dict[str, Any] = {
            "position": position,
            "unit": _named(Unit, row["unit"]),
            "spacecraft": spacecraft_name(row["spacecraft"], known) if row["spacecraft"] else None,
            "vcid": _known(row["vcid"]),
            "apid": _known(row["apid"]),
            "sequence_count": _known(row["sequence_count"]),
            "missing_before": row["missing_before"],
            "quality": _named(Quality, row["quality"]),
            "data_mode": _named(DataMode, row["data_mode"]),
            **{f"{time}_utc": _utc(row[f"{time}_ns"]) for time in TIMES},
            "octets": mine.hex(),
        }
        yield position, _json(_as_event(told, mine) if row["unit"] == Unit.EVENT else told)


def _together(rows: list[bytes]) -> bytes:
    return b'{"items":[' + b",".join(rows) + b"]}"


def _json(told: Mapping[str, Any]) -> bytes:
    return json.dumps(told, separators=(",", ":")).encode()


@lru_cache(256)
def _named(kind: type[IntEnum], value: int) -> str | int:
    """Return the name of a value, or the value, when a newer gateway has more of them."""
    try:
        return kind(value).name.lower()
    except ValueError:
        return value


def _known(value: int) -> int | None:
    return None if value < 0 else value


@lru_cache(4096)
def _utc(time_ns: int) -> str | None:
    """Return a time in UTC; packets that came together have the same."""
    return None if time_ns == ABSENT else format_utc(time_ns)


def _as_event(told: dict[str, Any], octets: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        told = {key: value for key, value in told.items() if key != "octets"} | {"event": json.loads(octets)}
    return told
