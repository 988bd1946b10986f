"""Packets, or lines of JSON, for tools that connect over TCP. Each client reads the store at its own pace: one that is
slow lags, and costs the others nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from gateway.agent.outlet import Outlet, good_packets, spacecraft_name, spacecraft_names
from gateway.homes.keeper import Follower, Keeper
from gateway.homes.store_reader import Order, Portion
from gateway.world import Listener, Network, Stream, Worker
from gateway_codecs.batches import ABSENT, DataMode, Quality, Unit, gather
from gateway_codecs.time_scales import format_utc
from gateway_routes.delivery import Cursor

PORTION_OCTETS = 1 << 17
"""What a client holds in memory at a time, or one block, if that is larger."""
Names = Mapping[str, Mapping[str, int]]
Encode = Callable[[Portion, Names], tuple[int, bytes]]


def packets_alone(portion: Portion, names: Names) -> tuple[int, bytes]:
    """Return how many good packets there are, and their octets back to back."""
    items = portion.batch.items[good_packets(portion.batch)]
    return len(items), gather(portion.batch.octets, items["offset"], items["length"]).tobytes()


def lines_of_json(portion: Portion, names: Names) -> tuple[int, bytes]:
    """Return how many items there are, and a line for each; what will never come is a line too."""
    if portion.absent:
        return 0, _line({"missing": [portion.first, portion.end]})
    rows, known = portion.batch.items, spacecraft_names(names)
    lines = []
    for k, position in enumerate(portion.positions.tolist()):
        row, octets = rows[k], portion.batch.octets_of(k)
        craft = int(row["spacecraft"])
        told: dict[str, Any] = {
            "position": position,
            "unit": _named(Unit, row["unit"]),
            "spacecraft": spacecraft_name(craft, known) if craft else None,
            "vcid": _known(row["vcid"]),
            "apid": _known(row["apid"]),
            "sequence_count": _known(row["sequence_count"]),
            "missing_before": int(row["missing_before"]),
            "quality": _named(Quality, row["quality"]),
            "data_mode": _named(DataMode, row["data_mode"]),
            **{
                f"{key}_utc": _utc(row[f"{key}_ns"])
                for key in ("receive_time", "earth_receive_time", "generation_time")
            },
            "octets": octets.hex(),
        }
        lines.append(_line(_as_event(told, octets) if row["unit"] == Unit.EVENT else told))
    return len(lines), b"".join(lines)


def _line(told: Mapping[str, Any]) -> bytes:
    return json.dumps(told, separators=(",", ":")).encode() + b"\n"


def _named(kind: Any, value: Any) -> str | int:
    """Return the name of a value, or the value, when a newer gateway has more of them."""
    try:
        return str(kind(int(value)).name).lower()
    except ValueError:
        return int(value)


def _known(value: Any) -> int | None:
    return None if value < 0 else int(value)


def _utc(time_ns: Any) -> str | None:
    return None if time_ns == ABSENT else format_utc(int(time_ns))


def _as_event(told: dict[str, Any], octets: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        told = {key: value for key, value in told.items() if key != "octets"} | {"event": json.loads(octets)}
    return told


class LocalServer(Outlet):
    """See AgentOutlet, types tcp and feed."""

    def __init__(
        self,
        name: str,
        kind: str,
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
        self.kind = kind
        self._keeper, self._network, self._worker, self._address = keeper, network, worker, address
        self._encode: Encode = packets_alone if kind == "tcp" else lines_of_json
        self._from_now, self._order, self._clients_max = begin == "now", order, clients_max
        self._clients: dict[asyncio.Task[None], tuple[str, Follower]] = {}
        self._listener: Listener | None = None
        self.refused = 0

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
        while (portion := await follower.next(PORTION_OCTETS)) is not None:
            names = self._keeper.store.meta.get("names", {}) if self._keeper.store else {}
            count, octets = await self._worker(partial(self._encode, portion, names))
            if octets:
                await stream.write(octets)
            follower.finish(portion)
            self.items += count
            self.octets += len(octets)

    def lag(self) -> int | None:
        """Return the largest lag of a client."""
        return max((follower.waiting() for _, follower in self._clients.values()), default=0)

    def described(self) -> dict[str, Any]:
        """Return what the status shows."""
        clients = [{"peer": peer, "lag_positions": follower.waiting()} for peer, follower in self._clients.values()]
        where = f"{self._address[0]}:{self.port}" if self.port else None
        return {**super().described(), "listens_on": where, "clients": clients, "clients_refused": self.refused}


async def _wait_for_end(stream: Stream) -> None:
    """Return when the client has closed; what it sends is not looked at."""
    with contextlib.suppress(OSError):
        while await stream.read(4096):
            pass
