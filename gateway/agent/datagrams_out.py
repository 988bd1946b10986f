"""A packet a datagram, to an address: best effort, for displays. Nobody answers, so nothing can be exact."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any

from gateway.agent.outlet import Outlet, good_packets
from gateway.homes.keeper import Follower, Keeper
from gateway.homes.store_reader import Order
from gateway.world import Worker
from gateway_codecs.batches import ItemBatch
from gateway_routes.delivery import Cursor

PORTION_OCTETS = 1 << 16
FULL_S = 0.002


class DatagramsOut(Outlet):
    """See AgentOutlet, type udp. `send` sends one datagram without waiting, as `socket.send`."""

    kind = "udp"

    def __init__(
        self,
        name: str,
        keeper: Keeper,
        worker: Worker,
        connect: Callable[[], socket.socket],
        *,
        begin: str,
        order: Order,
    ) -> None:
        super().__init__(name)
        self._keeper, self._worker, self._connect = keeper, worker, connect
        self._from_now, self._order = begin == "now", order
        self._follower: Follower | None = None
        self._socket: socket.socket | None = None
        self.too_large = self.refused = 0

    async def _serve(self) -> None:
        begin = Cursor() if not self._from_now else None
        if self._follower is None:  # it goes on where it was after an error
            self._follower = Follower(self._keeper, self._worker, begin, self._order, self._from_now)
        self._socket = await self._worker(self._connect)
        self._well()
        while (portion := await self._follower.next(PORTION_OCTETS)) is not None:
            await self._send(portion.batch)
            self._follower.finish(portion)

    async def _send(self, batch: ItemBatch) -> None:
        for row in good_packets(batch).nonzero()[0].tolist():
            octets = batch.octets_of(row)
            while self._socket is not None:
                try:
                    self._socket.send(octets)
                    self.items, self.octets = self.items + 1, self.octets + len(octets)
                except (BlockingIOError, InterruptedError):
                    await asyncio.sleep(FULL_S)
                    continue
                except ConnectionRefusedError:  # of one before: nobody listens there now
                    self.refused += 1
                    continue
                except OSError as error:
                    if error.errno != errno.EMSGSIZE:
                        raise
                    self.too_large += 1
                break

    async def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def lag(self) -> int | None:
        """Return how many positions are stored and not sent."""
        return None if self._follower is None else self._follower.waiting()

    def described(self) -> dict[str, Any]:
        """Return what the status shows."""
        return {**super().described(), "too_large": self.too_large, "refused": self.refused}


def connected(host: str, port: int) -> Callable[[], socket.socket]:
    """Return what makes a socket that sends to an address. The result raises OSError."""

    def connect() -> socket.socket:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        made = socket.socket(family, kind, protocol)
        try:
            made.setblocking(False)
            made.connect(address)
        except OSError:
            made.close()
            raise
        return made

    return connect
