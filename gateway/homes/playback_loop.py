"""A playback at the home base: asked for once, fetched into a folder of its own, looped over; resumed like all else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from gateway.homes.client import BACKOFF_FIRST_S, BACKOFF_MAX_S
from gateway.homes.keeper import Keeper
from gateway.homes.loops import Loop, Packets
from gateway.homes.places import keep, read_object
from gateway.homes.playback_desk import Desk
from gateway.homes.received import PacketBatch
from gateway.world import Storage, Worker

log = structlog.get_logger()
REQUEST = "request.json"


class PlaybackFolder:
    """What a folder of the storage says of one playback: `request.json`, durable before anything comes."""

    def __init__(self, storage: Storage, worker: Worker, folder: str) -> None:
        self._storage, self._worker, self.path = storage, worker, f"{folder}/{REQUEST}"
        self.told = read_object(storage, self.path)

    async def request(self, asked: Mapping[str, Any] | str, desk: Desk, jitter: Callable[[], float]) -> str:
        """Return the id of the request: the one that is noted, else that of `asked`, else it is asked for, until the
        gateway answers. Raises SubscriptionRefused, UsageError."""
        if self.told is None:
            found = asked if isinstance(asked, str) else await _answered(asked, desk, jitter)
            await self._note({"playback": found, "asked": None if isinstance(asked, str) else dict(asked)})
        return str((self.told or {}).get("playback"))

    @property
    def complete(self) -> bool:
        """Whether everything is here: nobody need be asked any more."""
        return bool((self.told or {}).get("complete"))

    async def completed(self) -> None:
        """Everything is here."""
        await self._note({**(self.told or {}), "complete": True})

    async def _note(self, told: dict[str, Any]) -> None:
        await keep(self._worker, self._storage, self.path, told)
        self.told = told

    async def fill(self, keeper: Keeper) -> None:
        """Fetch what is not here, to the end, or until the keeper has failed."""
        if self.complete:
            await keeper.settled()
            return
        await keeper.run()
        if keeper.finished:
            await self.completed()


async def _answered(asked: Mapping[str, Any], desk: Desk, jitter: Callable[[], float]) -> str:
    delay_s = BACKOFF_FIRST_S
    while True:
        try:
            return await desk.ask(asked)
        except ConnectionError as error:
            log.warning("a playback cannot be asked for yet", why=str(error))
        await asyncio.sleep(delay_s * (0.5 + jitter() / 2))
        delay_s = min(delay_s * 2, BACKOFF_MAX_S)


class Playback(Loop):
    """See HomeBase.playback."""

    def __init__(self, begin: Callable[[], Awaitable[tuple[str, Packets]]], end: Callable[[], None]) -> None:
        super().__init__(end)
        self._begin = begin
        self._packets: Packets | None = None
        self.request: str | None = None

    async def __anext__(self) -> PacketBatch:
        """Finish the batch before, and return the next one. Raises SubscriptionRefused, MarkMismatch, Conflict."""
        if self._packets is None:
            self.request, self._packets = await self._begin()
        try:
            return await self._packets.__anext__()
        except StopAsyncIteration:
            await self.close()
            raise

    async def finish(self) -> None:
        """The batch that came last is done: it does not come again, also after a kill."""
        if self._packets is not None:
            await self._packets.finish()

    @property
    def state(self) -> dict[str, Any]:
        """How it goes, as of `packets`; and `request`, the id of the request (None: not answered yet)."""
        known = self._packets.state if self._packets is not None else {"connected": False, "waiting": 0}
        return {"request": self.request, **known}
