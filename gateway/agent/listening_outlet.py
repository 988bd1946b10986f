"""What the outlets have in common that local programs connect to: where they listen, whom they serve, how they end."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Coroutine
from typing import Any, ClassVar

from gateway.agent.outlet import Outlet
from gateway.homes.keeper import Keeper
from gateway.world import Listener, Network, Stream, Worker

PORTION_OCTETS = 1 << 17
"""What a client holds in memory at a time, or one block, if that is larger."""


class ListeningOutlet(Outlet):
    """Serves local programs that connect, `clients_max` at a time, each one in a task of its own."""

    newcomers_max: ClassVar[int] = 0
    """So many more may be there that have not said yet what they want."""

    def __init__(
        self, name: str, keeper: Keeper, network: Network, worker: Worker, address: tuple[str, int], clients_max: int
    ) -> None:
        super().__init__(name)
        self._keeper, self._network, self._worker, self._address = keeper, network, worker, address
        self._clients_max = clients_max
        self._serving: set[asyncio.Task[Any]] = set()
        self._listener: Listener | None = None
        self.refused = 0

    @property
    def port(self) -> int | None:
        """The port really bound."""
        return None if self._listener is None else self._listener.port

    async def _listen(self) -> None:
        """Let clients come. Raises OSError."""
        self._listener = await self._network.listen(*self._address, self._accepted)
        self._well()

    async def _accepted(self, stream: Stream) -> None:
        """Serve one client to its end, if there is room for it."""
        task = asyncio.current_task()
        if task is None or len(self._serving) >= self._clients_max + self.newcomers_max or self._listener is None:
            self.refused += 1
            await stream.close()
            return
        self._serving.add(task)
        try:
            await self._serve_client(stream)
        finally:
            self._serving.discard(task)
            await stream.close()

    @abstractmethod
    async def _serve_client(self, stream: Stream) -> None:
        """Serve one client to its end; whoever called closes the stream."""

    async def _until_either_ends(
        self, sending: Coroutine[Any, Any, None], listening: Coroutine[Any, Any, None]
    ) -> asyncio.Task[None]:
        """Send to a client while it listens. Returns the sending: it has ended, or was cancelled as the client left."""
        parts = [asyncio.create_task(part, name=f"outlet {self.name} client") for part in (sending, listening)]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
        return parts[0]

    async def _close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.close()
        tasks = list(self._serving)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @abstractmethod
    def _clients_told(self) -> list[dict[str, Any]]:
        """Return what the status shows of each client, with its `lag_positions`."""

    def lag(self) -> int | None:
        """Return the largest lag of a client."""
        return max((client["lag_positions"] for client in self._clients_told()), default=0)

    def described(self) -> dict[str, Any]:
        """Return what the status shows."""
        return {
            **super().described(), "listens_on": f"{self._address[0]}:{self.port}" if self.port else None,
            "clients": self._clients_told(), "clients_refused": self.refused,
        }  # fmt: skip
