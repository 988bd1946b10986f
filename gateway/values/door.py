"""The way to the values of one mission instance: all of it is loaded when somebody, or a first packet, needs it.

A gateway whose databases nobody uses starts as if it had none: this module imports nothing of the decoders.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from gateway.errors import GatewayError, NotFound
from gateway.journal import Journal, Slice, SmallStore
from gateway.world import Clock, Storage, Worker
from gateway_codecs.batches import DataMode, ItemBatch, Kind, Unit
from gateway_config import DatabaseSettings
from gateway_routes.conditions import Condition
from gateway_routes.selection import Selection

if TYPE_CHECKING:
    from gateway.values.service import Values

log = structlog.get_logger()
LIVE_ITEMS, LIVE_OCTETS = 8192, 4 << 20
REST_SHARE, REST_MAX_S = 4.0, 2.0
"""After a turn, values rest so many times as long as it took: deliveries go first, and more packets make one batch."""
QUIET_POSITIONS = 1 << 16
"""So far back a start reads what was told of before, to know the newest values and limit states again."""
KEEP_S, RETRY_S, WATCH_S = 1.0, 30.0, 2.0
BEHIND_POSITIONS, BEHIND_S = 1 << 15, 5.0


@dataclass(frozen=True, slots=True)
class ValuesAround:
    """What values need of their instance; `cache_folder` None = no cache."""

    name: str
    journal: Journal
    storage: Storage
    clock: Clock
    decoder: Worker  # of live values
    historian: Worker  # of long ranges
    keeper: Worker
    small_store: SmallStore
    directory: Path
    cache_folder: Path | None
    cache_octets: int
    databases: Mapping[str, DatabaseSettings]  # by spacecraft
    prime: frozenset[str]
    emit: Callable[[dict[str, Any]], None]


class ValuesDoor:
    """See the module. `follow` and `watch` are one task each, for as long as the instance is open."""

    def __init__(self, around: ValuesAround) -> None:
        self.around = around
        self._values: Values | None = None
        self._opening = asyncio.Lock()
        self.position = 0  # everything below is decoded
        self._told = 0  # up to here limit transitions were told, by an earlier start
        self._kept = -1
        self.problems: dict[str, str] = {}  # why a spacecraft's database cannot be used
        self._again_s: dict[str, float] = {}  # when an unusable database is tried again (monotonic s)
        self._behind_since_s: float | None = None

    @property
    def loaded(self) -> Values | None:
        """The values, if anybody needed them yet."""
        return self._values

    async def open(self) -> Values:
        """Return the values, made at the first time. Raises NotFound when no spacecraft has a database."""
        if not self.around.databases:
            hint = "give a spacecraft a database: in its mission file, and start again"
            raise NotFound(f"{self.around.name} has no mission database", hint)
        async with self._opening:
            if self._values is None:
                self._values = await self.around.historian(lambda: _made(self.around))
        return self._values

    # ---- live ----

    async def follow(self) -> None:
        """Decode what the prime links bring, behind the commits; what cannot be decoded now waits in the journal."""
        journal = self.around.journal
        await self._begin()
        wanted = self._selection()
        loop = asyncio.get_running_loop()
        kept_s = loop.time()
        while True:
            began_s = loop.time()
            found = await journal.read(self.position, wanted, LIVE_ITEMS, LIVE_OCTETS)
            for part, quiet in _split(found, self._told):
                await self._take(part, quiet)
            self.position = max(found.end_position, self.position)
            if loop.time() - kept_s >= KEEP_S:
                kept_s = loop.time()
                await self.keep()
            await asyncio.sleep(min(REST_SHARE * (loop.time() - began_s), REST_MAX_S))
            if self.position >= journal.head:
                await self._wait()

    async def watch(self) -> None:
        """Look at the files of the databases in use from time to time."""
        while True:
            await asyncio.sleep(WATCH_S)
            if self._values is not None:
                await self._values.look_at_files()

    async def _wait(self) -> None:
        """Wait for more; meanwhile what was done is kept."""
        journal = self.around.journal
        if journal.finished:
            await asyncio.Event().wait()
        try:
            async with asyncio.timeout(KEEP_S if self.position != self._kept else None):
                await journal.wait_beyond(self.position)
        except TimeoutError:
            await self.keep()

    def _selection(self) -> Selection:
        """Return what live values are of (DESIGN 1): real-time, good packets of the prime links."""
        ids = {name: number for number, name in self.around.journal.names("spacecraft").items()}
        links = {name: number for number, name in self.around.journal.names("links").items()}
        return Selection(
            kinds=frozenset({Kind.TM}),
            units=frozenset({Unit.PACKET}),
            spacecraft=frozenset(ids[name] for name in self.around.databases),
            links=frozenset(links[name] for name in self.around.prime if name in links),
            data_modes=frozenset({DataMode.REAL_TIME}),
        )

    async def _begin(self) -> None:
        """Go on where the last start ended; what is a little older is read again, quietly."""
        around = self.around
        kept = await around.keeper(lambda: around.small_store.get(f"values {around.name}")) or {}
        head = around.journal.head
        of_this = kept.get("journal_id") == str(around.journal.journal_id)
        self._told = min(int(kept.get("position", head)), head) if of_this else head
        self.position = max(around.journal.tail, self._told - QUIET_POSITIONS)
        self._kept = -1 if not of_this else self._told

    async def keep(self) -> None:
        """Keep how far limit transitions were told, durably; tried again when the disk refuses."""
        around, position = self.around, self.position
        if position == self._kept or position < self._told:
            return
        row = {"journal_id": str(around.journal.journal_id), "position": position}
        try:
            await around.keeper(lambda: around.small_store.put(f"values {around.name}", row))
            self._kept = position
        except OSError as error:
            log.warning("the position of live values is not kept", instance=around.name, why=str(error))
            await asyncio.sleep(KEEP_S)

    async def _take(self, found: Slice, quiet: bool) -> None:
        """Decode packets, spacecraft by spacecraft; one without a usable database does not hold up the others."""
        names = self.around.journal.names("spacecraft")
        now_s = asyncio.get_running_loop().time()
        for number in sorted(set(found.batch.items["spacecraft"].tolist())):
            name = names[number]
            if now_s < self._again_s.get(name, 0.0):
                continue
            try:
                values = await self.open()
                await values.take_live(name, number, found, quiet)
                self.problems.pop(name, None)
            except (GatewayError, OSError, ValueError) as error:
                self._note_problem(name, str(error))

    def _note_problem(self, spacecraft: str, why: str) -> None:
        if self.problems.get(spacecraft) != why:
            log.warning("no values", instance=self.around.name, spacecraft=spacecraft, why=why)
        self.problems[spacecraft] = why
        self._again_s[spacecraft] = asyncio.get_running_loop().time() + RETRY_S

    async def reload(self, spacecraft: str) -> dict[str, Any]:
        """Read a spacecraft's database anew, and use it. Raises NotFound, Conflict, OSError: then nothing changes."""
        values = await self.open()
        found = await values.reload(values.spacecraft(spacecraft))
        self.problems.pop(spacecraft, None)
        self._again_s.pop(spacecraft, None)
        return found

    # ---- what is seen ----

    def conditions(self, now_s: float) -> list[Condition]:
        """Return what the operator should know."""
        found = []
        for name, why in self.problems.items():
            remedy = "mend the database, then `gateway params reload`; all packets are journalled, history shows them"
            found.append(Condition("error", "no values", f"database of {name}", f"no values: {why}", remedy))
        behind = self.around.journal.head - self.position
        if self._values is None or behind < BEHIND_POSITIONS:
            self._behind_since_s = None
        else:
            self._behind_since_s = self._behind_since_s or now_s
            if now_s - self._behind_since_s > BEHIND_S:
                text = f"live values are {behind} positions behind; nothing is lost, they are late"
                remedy = "less traffic or a faster machine; deliveries are not held up"
                found.append(Condition("warning", "values behind", f"values {self.around.name}", text, remedy))
        return found + (self._values.conditions() if self._values is not None else [])

    def state(self) -> dict[str, Any] | None:
        """Return what the API shows of live values; None = no spacecraft has a database."""
        if not self.around.databases:
            return None
        loaded = self._values
        return {
            "position": self.position,
            "behind": max(0, self.around.journal.head - self.position) if loaded is not None else 0,
            "databases": [] if loaded is None else loaded.databases_state(),
            "packet_types": [] if loaded is None else loaded.counts_state(),
            "unidentified": {} if loaded is None else loaded.unidentified_state(),
            "out_of_limits": 0 if loaded is None else loaded.out_of_limits(),
            "cache": None if loaded is None else loaded.cache_state(),
        }


def _split(found: Slice, told: int) -> list[tuple[Slice, bool]]:
    """Return the items below `told`, which are taken quietly, and the others; what is empty is left out."""
    count = int(np.searchsorted(found.positions, told))
    parts = []
    for rows, quiet in ((slice(0, count), True), (slice(count, None), False)):
        if len(found.positions[rows]):
            part = ItemBatch(found.batch.octets, found.batch.items[rows])
            parts.append((Slice(found.positions[rows], part, found.end_position), quiet))
    return parts


def _made(around: ValuesAround) -> Values:
    """Import everything and make the values. In a worker: it takes long."""
    from gateway.values.service import Values

    return Values(around)
