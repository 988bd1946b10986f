"""The loops of a Python client: asynchronous iterators that keep their place, and lose nothing when cancelled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import structlog

from gateway.errors import Conflict
from gateway.homes.keeper import Follower
from gateway.homes.line import Line
from gateway.homes.places import keep, read_object
from gateway.homes.received import PacketBatch, ValueBatch, packets_of
from gateway.homes.store_reader import Portion
from gateway.world import Storage, Worker
from gateway_codecs.batches import empty_items
from gateway_codecs.delivery_block import TIMELY, DeliveryBlockError, decode
from gateway_routes.delivery import Cursor

log = structlog.get_logger()


@dataclass(slots=True)
class Place:
    """Where a loop of values goes on: `upto` of this journal; None: it is new."""

    journal_id: str | None = None
    upto: int | None = None


def read_upto(storage: Storage, path: str) -> Place:
    """Return where a loop of values goes on. Raises Conflict, OSError."""
    return place_of(read_object(storage, path), path)


def place_of(told: dict[str, Any] | None, path: str) -> Place:
    """Return the place that a file of the store says; None: there is no such file. Raises Conflict."""
    if told is None:
        return Place()
    if not isinstance(told.get("journal_id"), str) or not isinstance(told.get("upto"), int):
        raise Conflict(f"{path} of the store says no journal_id and upto", "restore it, or remove it to begin anew")
    return Place(told["journal_id"], told["upto"])


class Loop:
    """What all loops have: `close`, also as a context."""

    def __init__(self, end: Callable[[], None] = lambda: None) -> None:
        self._end = end

    def __aiter__(self) -> Self:
        return self

    async def close(self) -> None:
        """Leave the loop for good; what was not finished comes again in the next one."""
        self._end()


class Packets(Loop):
    """See HomeBase.packets."""

    def __init__(
        self, follower: Follower, storage: Storage, path: str, worker: Worker, end: Callable[[], None]
    ) -> None:
        super().__init__(end)
        self._follower, self._storage, self._path, self._worker = follower, storage, path, worker
        self._taken: Portion | None = None

    async def __anext__(self) -> PacketBatch:
        """Finish the batch before, and return the next one. Raises SubscriptionRefused, MarkMismatch, Conflict."""
        await self.finish()
        while (portion := await self._follower.next()) is not None:
            store = self._follower.keeper.store
            items, positions = packets_of(portion.batch, portion.positions)
            if not len(items) and not portion.absent:
                self._follower.finish(portion)  # kept with the next one that has something
                continue
            self._taken = portion
            names = store.meta.get("names", {}) if store else {}
            return PacketBatch(items, positions, names, portion.first, portion.end, portion.absent)
        raise StopAsyncIteration

    async def finish(self) -> None:
        """The batch that came last is done: it does not come again, also after a kill."""
        if (taken := self._taken) is None:
            return
        done = (self._follower.done or Cursor()).with_range(taken.first, taken.end)
        await keep(self._worker, self._storage, self._path, {"low_water": done.low_water, "ranges": done.ranges})
        self._follower.finish(taken)
        self._taken = None

    @property
    def state(self) -> dict[str, Any]:
        """How it goes: `connected`, `waiting` (positions stored and not finished), `marks_confirmed`, `trouble` (text,
        or None)."""
        keeper = self._follower.keeper
        return {
            "connected": keeper.progress.connected,
            "waiting": self._follower.waiting(),
            "marks_confirmed": keeper.progress.marks_confirmed,
            "trouble": keeper.trouble.text if keeper.trouble else None,
        }


class TimelyPackets(Loop):
    """See HomeBase.timely."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line
        self._names: dict[str, Any] = {}

    async def __anext__(self) -> PacketBatch:
        """Return what came, or a batch without packets that says what was skipped. Raises SubscriptionRefused."""
        while True:
            message = await self._line.receive()
            if isinstance(message, bytes):
                try:
                    block = decode(message)
                except DeliveryBlockError as error:
                    await self._line.broke(f"a block that cannot be read: {error}")
                    continue
                if block.kind != TIMELY:
                    await self._line.broke("a block with positions came, in a timely session")
                    continue
                items, positions = packets_of(block.batch, block.positions)
                return PacketBatch(items, positions, self._names)
            if message["type"] == "welcome":
                self._names = message.get("names", {})
            elif message["type"] == "skipped":
                return PacketBatch(empty_items(), np.zeros(0, np.int64), self._names, skipped=message)
            elif message["type"] == "finished":
                await self.close()
                raise StopAsyncIteration

    async def close(self) -> None:
        """Leave."""
        await self._line.close()


class LiveValues(Loop):
    """See HomeBase.latest and HomeBase.changes."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    async def __anext__(self) -> ValueBatch:
        """Return the next values. Raises SubscriptionRefused."""
        while True:
            message = await self._line.receive()
            if isinstance(message, dict) and message["type"] == "finished":
                await self.close()
                raise StopAsyncIteration
            found = await _values_of(self._line, message)
            if found is not None and (found.rows or found.missing):
                return found

    async def close(self) -> None:
        """Leave."""
        await self._line.close()


class CompleteValues(Loop):
    """See HomeBase.values."""

    def __init__(
        self,
        line: Line,
        place: Place,
        keep_place: Callable[[dict[str, Any]], Awaitable[None]],
        end: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(end)
        self._line, self._keep_place = line, keep_place
        self._place, self._taken = place, False
        self._next = place.upto

    async def __anext__(self) -> ValueBatch:
        """Finish the batch before, and return the next one. Raises SubscriptionRefused, Conflict."""
        await self.finish()
        while True:
            message = await self._line.receive()
            if isinstance(message, dict) and message["type"] == "welcome":
                await self._welcomed(message)
            elif isinstance(message, dict) and message["type"] == "finished":
                await self.close()
                raise StopAsyncIteration
            elif (found := await _values_of(self._line, message)) is not None:
                # what is told as missing in the midst is told before the samples in front of it
                ahead = found.missing is not None and found.missing[0] > (self._next or 0)
                self._next = self._next if ahead else found.upto
                if found.rows or found.missing:
                    self._taken = True
                    return found

    async def finish(self) -> None:
        """The batch that came last is done: it does not come again, also after a kill."""
        if self._taken:
            await self._keep()
            self._taken = False

    async def _welcomed(self, welcome: dict[str, Any]) -> None:
        """A new loop knows from now on where it began; a known one is of this journal. Raises Conflict."""
        journal = str(welcome.get("journal_id"))
        if self._place.journal_id not in {None, journal}:
            raise Conflict(
                f"this place is in journal {self._place.journal_id}, the gateway serves {journal}",
                "use another store for another journal",
            )
        if self._place.journal_id is None:
            self._next = int(welcome["from_position"])
            self._place.journal_id = journal
            await self._keep()
        self._next = self._place.upto

    async def _keep(self) -> None:
        self._place.upto = self._next
        await self._keep_place({"journal_id": self._place.journal_id, "upto": self._place.upto})

    async def close(self) -> None:
        """Leave; what was not finished comes again in the next loop."""
        await self._line.close()
        self._end()


async def _values_of(line: Line, message: dict[str, Any] | bytes) -> ValueBatch | None:
    """Return what a message of a session of values brings; None: nothing. What cannot be read ends the session."""
    try:
        if not isinstance(message, dict):
            raise ValueError("a block came, in a session of values")
        if message["type"] == "missing":
            return ValueBatch((), int(message["end"]), missing=(int(message["first"]), int(message["end"])))
        if message["type"] != "values":
            return None
        return ValueBatch(tuple(message["values"]), int(message["upto"]), message.get("database"))
    except (KeyError, TypeError, ValueError) as error:
        await line.broke(f"a message that cannot be read: {error!r}")
        return None
