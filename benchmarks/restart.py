"""R8: how long a journal takes to open after kill -9, by size and by number of blocks."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from gateway.journal import Journal, JournalSettings
from gateway.real import LocalAppendFile, LocalStorage, SystemClock
from gateway_codecs.batches import IntakeBatch, ItemBatch, Kind, Unit, no_items
from gateway_routes.selection import Selection
from gateway_simulators.spacecraft import FRAME_OCTETS

T = TypeVar("T")
GIGAOCTETS = float(os.environ.get("GATEWAY_BENCH_JOURNAL_GB", "1"))
SMALL_BLOCKS = 100_000


class _UnforcedFile(LocalAppendFile):
    def sync(self) -> None:
        """Building is not what is measured."""


class _UnforcedStorage(LocalStorage):
    def open_append(self, name: str) -> LocalAppendFile:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return _UnforcedFile(path)


async def _done(work: Callable[[], T]) -> T:
    return work()


def _inline(work: Callable[[], T]) -> Awaitable[T]:
    return _done(work)


def _batch(packets: int, octets: int) -> IntakeBatch:
    items = no_items(packets)
    items["kind"], items["unit"], items["apid"] = Kind.TM, Unit.PACKET, np.arange(packets) % 20
    items["length"], items["offset"] = octets, np.arange(packets) * octets
    return IntakeBatch(ItemBatch(np.zeros(packets * octets, np.uint8), items), state={"source_offset": 1})


async def _build(folder: Path, blocks: int, batch: IntakeBatch) -> None:
    settings = JournalSettings(memory_octets=1 << 20)
    journal = await Journal.open(_UnforcedStorage(folder), SystemClock(), _inline, _inline, settings, "m")
    for _ in range(blocks):
        await journal.append(batch, "x")  # never closed, as after kill -9


async def _open(folder: Path) -> tuple[float, int]:
    began = time.perf_counter()
    journal = await Journal.open(LocalStorage(folder), SystemClock(), _inline, _inline, JournalSettings(), "m")
    await journal.read(journal.head // 2, Selection(), 100, 1 << 20)
    return time.perf_counter() - began, journal.octets


def measure(folder: Path) -> list[tuple[str, float, float]]:
    """Return rows (what, seconds until the first read was served, gigaoctets)."""
    rows = []
    large = int(GIGAOCTETS * 1e9 / (4000 * 1000))
    for name, blocks, batch in (
        ("large blocks", large, _batch(4000, 1000)),
        (f"{SMALL_BLOCKS} one-frame blocks", SMALL_BLOCKS, _batch(5, FRAME_OCTETS // 5)),
    ):
        place = folder / name.replace(" ", "-")
        asyncio.run(_build(place, blocks, batch))
        for index in ("with marks", "marks deleted"):
            if index == "marks deleted":
                (place / "m/journal/marks.jsonl").unlink()
            took, octets = asyncio.run(_open(place))
            rows.append((f"{name}, {index}", took, octets / 1e9))
    return rows
