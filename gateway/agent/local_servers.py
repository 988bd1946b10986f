"""Packets for tools that connect over TCP. Each client reads the store at its own pace: a slow one lags alone."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import Any

import structlog

from gateway.agent.outlet import Outlet, good_packets
from gateway.homes.keeper import Follower, Keeper
from gateway.homes.store_reader import Order, Portion
from gateway.world import Listener, Network, Stream, Worker
from gateway_codecs.batches import gather
from gateway_routes.delivery import Cursor

log = structlog.get_logger()

PORTION_OCTETS = 1 << 17
"""What a client holds in memory at a time, or one block, if that is larger."""


def packets_alone(portion: Portion) -> tuple[int, bytes]:
    """Return how many good packets there are, and their octets back to back."""
    items = portion.batch.items[good_packets(portion.batch)]
    return len(items), gather(portion.batch.octets, items["offset"], items["length"]).tobytes()


class LocalServer(Outlet):
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
        super().__init__(name)
        self._keeper, self._network, self._worker, self._address = keeper, network, worker, address
        self._from_now, self._order, self._clients_max = begin == "now", order, clients_max
        self._clients: dict[asyncio.Task[None], tuple[str, Follower]] = {}
        self._listener: Listener | None = None
        self.refused = 0
        self.behind = 0  # how often a client lagged behind what is kept

    @property
    def port(self) -> int | None:
        """The port really bound."""
        return None if self._listener is None else self._listener.port

    async def _serve(self) -> None:
        self._listener = await self._network.listen(*self._address, self._accepted)
        self._well()
        await asyncio.Event().wait()

    async def _close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.close()
        tasks = list(self._clients)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accepted(self, stream: Stream) -> None:
        """Serve one client to its end."""
        if len(self._clients) >= self._clients_max or self._listener is None:
            self.refused += 1
            await stream.close()
            return
        begin = Cursor() if not self._from_now else None
        follower = Follower(self._keeper, self._worker, begin, self._order, self._from_now)
        sending = asyncio.create_task(self._send(stream, follower), name=f"outlet {self.name} client")
        self._clients[sending] = (stream.peer, follower)
        leaving = asyncio.create_task(_wait_for_end(stream), name=f"outlet {self.name} client's end")
        try:
            await asyncio.wait([sending, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._clients.pop(sending, None)
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            await stream.close()

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

    def lag(self) -> int | None:
        """Return the largest lag of a client."""
        return max((follower.waiting() for _, follower in self._clients.values()), default=0)

    def described(self) -> dict[str, Any]:
        """Return what the status shows."""
        clients = [{"peer": peer, "lag_positions": follower.waiting()} for peer, follower in self._clients.values()]
        where = f"{self._address[0]}:{self.port}" if self.port else None
        return {
            **super().described(),
            "listens_on": where,
            "clients": clients,
            "clients_refused": self.refused,
            "clients_behind": self.behind,
        }


async def _wait_for_end(stream: Stream) -> None:
    """Return when the client has closed; what it sends is not looked at."""
    with contextlib.suppress(OSError):
        while await stream.read(4096):
            pass
