"""A home base that comes back to a backlog: the real client and store, in a process of its own.

`python -m benchmarks.home_returns API INSTANCE HOME FOLDER` fetches everything from the oldest item on, until its
backfill is whole; then it says what was found, as JSON (`Returned`).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import uvloop

from benchmarks.end_to_end import rss_octets
from benchmarks.home_listeners import HEADER, STAMP, STAMP_AT
from gateway.homes.channel import Channel
from gateway.homes.client import Progress, Subscriber, WebSocketDial, Wish
from gateway.homes.store import HomeStore
from gateway.real import LocalStorage, ThreadWorker
from gateway_codecs.delivery_block import DATA, HEADER_OCTETS, ROW_DTYPE
from gateway_routes.delivery import Lane

LOOK_S = 0.2


@dataclass
class Returned:
    """What was found; `latencies` of the live lane while the backfill ran, as those of `home_listeners.Heard`."""

    began_s: float = 0.0  # monotonic clock
    last_s: float = 0.0  # of the backfill
    backfilled: int = 0
    missing: int = -1  # positions of the backfill that are not there yet
    rss_octets: int = 0
    latencies: list[tuple[int, int]] = field(default_factory=list)


class _Watched:
    """A channel that looks at the headers of the blocks that pass."""

    def __init__(self, channel: Channel, found: Returned) -> None:
        self._channel, self._found = channel, found
        self.send, self.close = channel.send, channel.close

    async def receive(self) -> str | bytes:
        message = await self._channel.receive()
        if isinstance(message, bytes):
            self._look(message)
        elif self._found.missing < 0:
            lanes = json.loads(message)["lanes"]
            self._found.began_s, self._found.missing = time.monotonic(), lanes["live"] - lanes["backfill"]
        return message

    def _look(self, block: bytes) -> None:
        _, kind, lane, _, count, first, upto, _, _ = HEADER.unpack_from(block)
        if kind != DATA:
            return
        if lane == Lane.BACKFILL:
            self._found.missing -= upto - first
            self._found.backfilled += count
            self._found.last_s = time.monotonic()
        elif count:
            (sent_ns,) = STAMP.unpack_from(block, HEADER_OCTETS + count * ROW_DTYPE.itemsize + STAMP_AT)
            self._found.latencies.append((time.monotonic_ns() - sent_ns, count))


async def come_back(api: str, instance: str, home: str, folder: Path) -> Returned:
    """Fetch all; returns when the backfill is stored."""
    found, dial, worker = Returned(), WebSocketDial(api, instance), ThreadWorker("store")

    async def watched() -> Channel:
        return _Watched(await dial(), found)

    def enough(store: HomeStore, _: Progress) -> bool:
        return found.missing == 0

    storage = LocalStorage(folder, lock=True)
    store = HomeStore(storage)
    receiving = asyncio.create_task(Subscriber(watched, store, worker, Wish(home, "bench", {"kinds": ["tm"]}),
                                               enough=enough).run())  # fmt: skip
    while not receiving.done():
        found.rss_octets = max(found.rss_octets, rss_octets("self"))
        await asyncio.wait([receiving], timeout=LOOK_S)
    await receiving
    store.close()
    worker.close()
    storage.close()
    return found


if __name__ == "__main__":
    API, INSTANCE, HOME, FOLDER = sys.argv[1:]
    print(json.dumps(asdict(uvloop.run(come_back(API, INSTANCE, HOME, Path(FOLDER))))))
