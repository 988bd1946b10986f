"""Packets for tools that connect over TCP. Each client reads the store at its own pace: a slow one lags alone."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import Any

import structlog

from gateway.agent.listening_outlet import PORTION_OCTETS, ListeningOutlet
from gateway.agent.outlet import good_packets
from gateway.homes.keeper import Follower, Keeper
from gateway.homes.store_reader import Order, Portion
from gateway.world import Network, Stream, Worker
from gateway_codecs.batches import gather, picked
from gateway_routes.delivery import Cursor

log = structlog.get_logger()


def packets_alone(portion: Portion) -> tuple[int, bytes]:
    """Return how many good packets there are, and their octets back to back."""
    items = picked(portion.batch.items, good_packets(portion.batch))
    return len(items), gather(portion.batch.octets, items["offset"], items["length"]).tobytes()


class LocalServer(ListeningOutlet):
    """See AgentOutlet, type tcp."""

    kind = "tcp"

    def __init__(
        self,
        name: str,
        keeper: Keeper,
        network: Network,
        worker: Worker,
        address: tuple[str, int],
        *,
        begin: str,
        order: Order,
        clients_max: int,
    ) -> None:
        super().__init__(name, keeper, network, worker, address, clients_max)
        self._from_now, self._order = begin == "now", order
        self._clients: dict[Stream, Follower] = {}
        self.behind = 0  # how often a client lagged behind what is kept

    async def _serve(self) -> None:
        await self._listen()
        await asyncio.Event().wait()

    async def _serve_client(self, stream: Stream) -> None:
        begin = Cursor() if not self._from_now else None
        follower = Follower(self._keeper, self._worker, begin, self._order, self._from_now)
        self._clients[stream] = follower
        try:
            await self._until_either_ends(self._send(stream, follower), _wait_for_end(stream))
        finally:
            del self._clients[stream]

    async def _send(self, stream: Stream, follower: Follower) -> None:
        begun = self._from_now  # what was removed before it came is not lost to it
        while (portion := await follower.next(PORTION_OCTETS)) is not None:
            if portion.absent and begun and self._was_here(portion):
                self.behind += 1
                log.warning("a client lags behind what is kept", outlet=self.name, first=portion.first, end=portion.end)
            count, octets = await self._worker(partial(packets_alone, portion))
            if octets:
                await stream.write(octets)
            follower.finish(portion)
            begun = begun or not portion.absent
            self.items += count
            self.octets += len(octets)

    def _was_here(self, portion: Portion) -> bool:
        """Whether what will not come was stored, and removed here."""
        store = self._keeper.store
        return store is not None and any(a < portion.end and portion.first < b for a, b in store.removed)

    def _clients_told(self) -> list[dict[str, Any]]:
        return [
            {"peer": stream.peer, "lag_positions": follower.waiting()} for stream, follower in self._clients.items()
        ]

    def described(self) -> dict[str, Any]:
        """Return what the status shows."""
        return {**super().described(), "clients_behind": self.behind}


async def _wait_for_end(stream: Stream) -> None:
    """Return when the client has closed; what it sends is not looked at."""
    with contextlib.suppress(OSError):
        while await stream.read(4096):
            pass
