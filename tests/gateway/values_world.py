"""A small mission for the tests of values: a database, packets made from it, a journal, and its values."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gateway.journal import Journal, JournalSettings, SmallStore
from gateway.real import LocalStorage
from gateway.values.door import ValuesAround, ValuesDoor
from gateway_codecs.batches import DataMode, IntakeBatch, ItemBatch, Kind, Unit, no_items
from gateway_codecs.mdb.canonical import to_text
from gateway_codecs.mdb.headers import HeaderForm, header
from gateway_codecs.mdb.model import (
    Alarms,
    Calibration,
    Container,
    Database,
    IntegerEncoding,
    IntegerKind,
    Interval,
    Limits,
    Parameter,
    ParameterEntry,
    ParameterType,
    Polynomial,
    RangeLimit,
    Repeat,
    Severity,
    State,
    States,
)
from gateway_config import DatabaseSettings
from tests.gateway.simulated import SimClock, inline, small_store

S = 1_000_000_000
T0 = 2_000_000_000 * S
APID, OTHER_APID, UNKNOWN_APID = 102, 103, 700
TEMP, MODE, FAST, COUNT = "/X/TEMP", "/X/MODE", "/X/FAST", "/X/COUNT"
SPACECRAFT = "picard"


def database(gain: float = 0.5, persistence: int = 1, warning: float = 80.0) -> Database:
    """TEMP (gain * raw, limits at `warning` and 100), MODE (states), FAST (four times a packet), COUNT elsewhere."""
    head = header("/X", HeaderForm())
    limits = Limits(
        (
            RangeLimit(Severity.WARNING, Interval(None, warning)),
            RangeLimit(Severity.CRITICAL, Interval(-20, 100)),
        ),
        persistence=persistence,
    )
    signed = IntegerEncoding(16, IntegerKind.TWOS_COMPLEMENT)
    types = (
        ParameterType("/X/temp", "float", signed, Calibration(Polynomial((0.0, gain))), Alarms(limits), unit="degC"),
        ParameterType(
            "/X/mode", "enumerated", IntegerEncoding(8), Calibration(States((State(0, 0, "OFF"), State(1, 1, "ON"))))
        ),
        ParameterType("/X/fast", "integer", IntegerEncoding(8), signed=False),
        ParameterType("/X/count", "integer", IntegerEncoding(32), signed=False),
    )
    parameters = (
        Parameter(TEMP, "/X/temp", description="detector temperature", aliases=("T1",)),
        Parameter(MODE, "/X/mode", description="what it does"),
        Parameter(FAST, "/X/fast", description="fast samples"),
        Parameter(COUNT, "/X/count", description="events"),
    )
    fast = ParameterEntry(FAST, repeat=Repeat(4, period_ns=S // 4))
    temperatures = Container(
        "/X/TEMPERATURES", (ParameterEntry(TEMP), ParameterEntry(MODE), fast), head.container, head.of_packet(APID)
    )
    counts = Container("/X/COUNTS", (ParameterEntry(COUNT),), head.container, head.of_packet(OTHER_APID))
    return Database(
        "X",
        types={**head.types, **{one.name: one for one in types}},
        parameters={**head.parameters, **{one.name: one for one in parameters}},
        containers={**head.containers, temperatures.name: temperatures, counts.name: counts},
        roots=(head.root,),
    )


def temperature(count: int, raw: int, mode: int = 1, fast: bytes = b"\1\2\3\4", apid: int = APID) -> bytes:
    """A packet of TEMPERATURES, made without the database."""
    body = struct.pack(">hB", raw, mode) + fast
    return struct.pack(">HHH", apid, 0xC000 | (count & 0x3FFF), len(body) - 1) + body


def counting(count: int, value: int) -> bytes:
    """A packet of COUNTS."""
    return struct.pack(">HHHI", OTHER_APID, 0xC000 | (count & 0x3FFF), 3, value)


def batch(
    packets: Iterable[tuple[int, bytes]],
    received_ns: int | None = None,
    mode: DataMode = DataMode.REAL_TIME,
    link: int = 1,
    spacecraft: int = 1,
) -> ItemBatch:
    """Packets with their generation times, received then or at `received_ns`."""
    rows = list(packets)
    items = no_items(len(rows))
    items["kind"], items["unit"], items["link"], items["spacecraft"] = Kind.TM, Unit.PACKET, link, spacecraft
    items["data_mode"], items["vcid"] = mode, 0
    items["length"] = [len(octets) for _, octets in rows]
    items["offset"] = np.cumsum(items["length"].astype(np.int64)) - items["length"]
    head = [struct.unpack_from(">HH", octets) for _, octets in rows]
    items["apid"], items["sequence_count"] = [a & 2047 for a, _ in head], [c & 0x3FFF for _, c in head]
    items["generation_time_ns"] = [time for time, _ in rows]
    items["receive_time_ns"] = items["generation_time_ns"] + S if received_ns is None else received_ns
    return ItemBatch(np.frombuffer(b"".join(octets for _, octets in rows), np.uint8), items)


class World:
    """A journal with values. `gone` after `close`; open it again on the same folder."""

    def __init__(self, folder: Path, journal: Journal, door: ValuesDoor, events: list[dict[str, Any]]) -> None:
        self.folder, self.journal, self.door, self.events = folder, journal, door, events

    @classmethod
    async def open(
        cls,
        folder: Path,
        of: Database | None = None,
        cache_octets: int = 1 << 28,
        store: SmallStore | None = None,
        settings: JournalSettings | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> World:
        storage, events = LocalStorage(folder / "var"), list[dict[str, Any]]()
        clock = SimClock(T0)
        wanted = replace(settings or JournalSettings(), reserve_octets=0)
        journal = await Journal.open(storage, clock, inline, inline, wanted, "m.flight")
        for what, name in (("spacecraft", SPACECRAFT), ("links", "station"), ("links", "dump")):
            journal.name_id(what, name)
        if of is not None:
            use(folder, of)
        around = ValuesAround(
            "m.flight", journal, storage, clock, inline, inline, inline, store or small_store(), folder,
            folder / "var" / "values" / "m.flight", cache_octets,
            {SPACECRAFT: DatabaseSettings(file="x.json")}, frozenset({"station"}), events.append,
        )  # fmt: skip
        return cls(folder, journal, ValuesDoor(replace(around, **dict(more or {}))), events)

    async def take(self, items: ItemBatch) -> None:
        """Commit packets."""
        await self.journal.append(IntakeBatch(items))

    async def history(self, parameter: str = TEMP, first_s: float = -1e6, end_s: float = 1e7, **more: Any) -> Any:
        """Return a page of history, of seconds after T0."""
        from gateway.values.service import Order

        values = await self.door.open()
        span = (T0 + int(first_s * S), T0 + int(end_s * S))
        wish = {"order": "generation", "mdb": None, "limit": 10_000, "after": None, "raw": False} | more
        return await values.history(
            None, parameter, span, Order(wish["order"]), wish["mdb"], wish["limit"], wish["after"], wish["raw"]
        )


def use(folder: Path, of: Database) -> None:
    """Write a database where the configuration says it is."""
    (folder / "x.json").write_bytes(to_text(of))


def seconds(found: Mapping[str, Any]) -> list[float]:
    """Return the times of samples, in seconds after T0."""
    from gateway_codecs.time_scales import parse_utc

    return [(parse_utc(row["time_utc"]) - T0) / S for row in found["samples"]]


def shown(found: Mapping[str, Any]) -> list[Any]:
    """Return the values of samples."""
    return [row["value"] for row in found["samples"]]
