"""One parameter over a day of 10 packets/s: from the packets, from the cache, and after a restart of the cache."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.restart import _inline, _UnforcedStorage
from gateway.api.values import CSV_PAGE
from gateway.journal import Journal, JournalSettings
from gateway.real import SystemClock
from gateway.values import as_csv
from gateway.values.cache import ValueCache
from gateway.values.history import After, History, Query
from gateway.values.versions import Version
from gateway_codecs.batches import IntakeBatch, ItemBatch, Kind, Unit, no_items
from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.mdb.headers import HeaderForm, header
from gateway_codecs.mdb.model import (
    Calibration,
    Container,
    Database,
    IntegerEncoding,
    Parameter,
    ParameterEntry,
    ParameterType,
    Polynomial,
)

PACKETS, PER_S, OCTETS, APID = 864_000, 10, 200, 100
SINGLE_BLOCKS = 20_000
S = 1_000_000_000
T0 = 2_000_000_000 * S
FLOOR_S, CSV_FLOOR_S = 0.05, 8.0
NAME = "/B/P7"


def database() -> Database:
    """Ninety parameters of two octets in a packet of 200."""
    head = header("/B", HeaderForm())
    kind = ParameterType("/B/t", "float", IntegerEncoding(16), Calibration(Polynomial((1.0, 0.25, 1e-6))))
    names = [f"/B/P{k}" for k in range(90)]
    packet = Container("/B/HK", tuple(ParameterEntry(n) for n in names), head.container, head.of_packet(APID))
    return Database(
        "B", types={**head.types, kind.name: kind},
        parameters={**head.parameters, **{name: Parameter(name, kind.name) for name in names}},
        containers={**head.containers, packet.name: packet}, roots=(head.root,),
    )  # fmt: skip


def packets(first: int, count: int) -> ItemBatch:
    """Packets of a tenth of a second each, among other items of another APID."""
    items = no_items(count)
    items["kind"], items["unit"], items["spacecraft"], items["link"], items["vcid"] = Kind.TM, Unit.PACKET, 1, 1, 0
    items["apid"], items["length"], items["offset"] = APID, OCTETS, np.arange(count) * OCTETS
    numbers = np.arange(first, first + count)
    items["sequence_count"] = numbers % 16384
    items["generation_time_ns"] = T0 + numbers * (S // PER_S)
    items["receive_time_ns"] = items["generation_time_ns"] + S
    octets = np.random.default_rng(first).integers(0, 256, (count, OCTETS), np.uint8)
    octets[:, :6] = np.frombuffer(struct.pack(">HHH", APID, 0xC000, OCTETS - 7), np.uint8)
    octets[:, 2:4] = (0xC000 | items["sequence_count"]).astype(">u2").view(np.uint8).reshape(-1, 2)
    return ItemBatch(octets.reshape(-1), items)


async def _journal(folder: Path, count: int, per_block: int) -> Journal:
    settings = JournalSettings(memory_octets=1 << 20, reserve_octets=0)
    journal = await Journal.open(_UnforcedStorage(folder), SystemClock(), _inline, _inline, settings, "m")
    journal.name_id("spacecraft", "x")
    for first in range(0, count, per_block):
        await journal.append(IntakeBatch(packets(first, min(per_block, count - first))))
    return journal


def _best(work: Callable[[], Any], times: int = 5) -> float:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return min(took)


def _csv(history: History, query: Query, version: Version) -> int:
    """Make the text of a whole range, page after page, as the API streams it; returns its octets."""
    octets, after = 0, None
    while True:
        found = history.page(query, version, CSV_PAGE, after)
        octets += sum(map(len, as_csv.pieces(found.samples, "float", {1: "station"}, version.digest)))
        if not found.more:
            return octets
        last = [int(found.samples[name][-1]) for name in ("time_ns", "position", "element", "time_ns")]
        after = After(*last)


def measure(folder: Path) -> list[tuple[str, float, str]]:
    """Return rows (what, seconds, note)."""
    version = Version("0" * 64, database(), Decoder(database()))
    day = Query("x", NAME, T0, T0 + 86_400 * S)
    rows = []
    journal = asyncio.run(_journal(folder / "day", PACKETS, 256))
    cache = ValueCache(folder / "cache", 1 << 30)
    history = History(journal, cache)
    began = time.perf_counter()
    found = history.all(day, version, ("time_ns", "position", "element", "generated", "identity", "engineering"))
    cold_s = time.perf_counter() - began
    if len(found.samples) != PACKETS:
        raise AssertionError(f"{len(found.samples)} samples of {PACKETS}")
    rows.append(("a day of one parameter, cold", cold_s, f"{PACKETS / cold_s:,.0f} packets/s from the journal"))
    names = ("time_ns", "position", "element", "generated", "validity", "limit", "engineering", "link", "data_mode")
    cached_s = _best(lambda: History(journal, cache).all(day, version, names))
    note = f"{PACKETS:,} samples with provenance; {cold_s / cached_s:,.0f} x faster than cold"
    rows.append(("  cached", cached_s, f"{note}; floor {FLOOR_S * 1e3:.0f} ms"))
    plot_s = _best(lambda: history.buckets(day, version, 500))
    rows.append(("  cached, 500 spans for a plot", plot_s, "extremes, means, worst limits"))
    hour = Query("x", NAME, T0 + 40_000 * S, T0 + 43_600 * S)
    rows.append(("  cached, an hour of it", _best(lambda: history.page(hour, version, 40_000)), "36,000 samples"))
    octets = _csv(history, day, version)
    csv_s = _best(lambda: _csv(history, day, version), 2)
    rows.append(
        ("  cached, as CSV", csv_s, f"{PACKETS / csv_s:,.0f} rows/s, {octets / 1e6:.0f} MB; floor {CSV_FLOOR_S:.0f} s")
    )
    single = asyncio.run(_journal(folder / "single", SINGLE_BLOCKS, 1))
    began = time.perf_counter()
    History(single, ValueCache(folder, 0)).all(day, version)
    single_s = time.perf_counter() - began
    rows.append(("  cold, a commit for each packet", single_s, f"{SINGLE_BLOCKS / single_s:,.0f} packets/s"))
    return rows


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name:
        for what, took, told in measure(Path(name)):
            print(f"{what:<34} {took:>12.4f}  s; {told}")
