"""Packets in files by spacecraft, APID and UTC hour, each packet once, in order of position."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from gateway.agent.exact_files import ExactFiles
from gateway.agent.outlet import Outlet, good_packets, spacecraft_name, spacecraft_names
from gateway.errors import Conflict
from gateway.homes.keeper import Follower, Keeper
from gateway.homes.store_reader import Portion
from gateway.world import Worker
from gateway_codecs.batches import ABSENT, ItemBatch, gather, picked
from gateway_codecs.time_scales import tai_ns_to_utc_batch
from gateway_routes.delivery import Cursor, DeliveryError, parse_cursor

PORTION_OCTETS = 4 << 20
"""So much at a time, when there is much: each file that grows is forced once for it."""
HOUR_NS = 3600 * 10**9
MJD_OF_1958 = np.datetime64("1958-01-01", "D")


class HourFiles(Outlet):
    """See AgentOutlet, type files: `SPACECRAFT/APID/YYYY-MM-DDTHHZ.packets`, packets back to back."""

    kind = "files"

    def __init__(self, name: str, keeper: Keeper, files: ExactFiles, worker: Worker, hour_of: str) -> None:
        super().__init__(name)
        self._keeper, self._files, self._worker, self._hour_of = keeper, files, worker, hour_of
        self._follower: Follower | None = None

    async def _serve(self) -> None:
        place = await self._worker(self._files.load)
        follower = self._follower = Follower(self._keeper, self._worker, _cursor(place))
        self._well()
        while (portion := await follower.next(PORTION_OCTETS)) is not None:
            done = (follower.done or Cursor()).with_range(portion.first, portion.end)
            place = {"low_water": done.low_water, "ranges": [list(one) for one in done.ranges]}
            await self._worker(partial(self._write, portion, place))
            follower.finish(portion)
            if not follower.waiting():
                await self._worker(self._files.settle)
            self.octets = self._files.octets
        await self._worker(self._files.settle)

    def _write(self, portion: Portion, place: dict[str, Any]) -> None:
        names = self._keeper.store.meta.get("names", {}) if self._keeper.store else {}
        parts = by_hour(portion.batch, names, self._hour_of)
        self._files.append(parts, place)
        self.items += int(good_packets(portion.batch).sum())

    def reads(self, keeper: Keeper) -> bool:
        """Whether it reads that store."""
        return keeper is self._keeper

    def durably_done(self) -> Cursor | None:
        """Return what need not be read again, whatever happens now."""
        return _cursor(self._files.durable)

    def lag(self) -> int | None:
        """Return how many positions are stored and not written."""
        return None if self._follower is None else self._follower.waiting()


def _cursor(place: Mapping[str, Any] | None) -> Cursor | None:
    try:
        return None if place is None else parse_cursor(place)
    except DeliveryError as error:
        raise Conflict(f"the place of the files cannot be read: {error}", "restore it") from None


def by_hour(batch: ItemBatch, names: Mapping[str, Mapping[str, str]], hour_of: str) -> dict[str, bytes]:
    """Return the octets of good packets by file name, those of one file in the order of the batch."""
    items = picked(batch.items, good_packets(batch))
    if not len(items):
        return {}
    times = items["receive_time_ns"].astype(np.int64)
    if hour_of == "generation_time":
        times = np.where(items["generation_time_ns"] == ABSENT, times, items["generation_time_ns"])
    days, ns_of_day = tai_ns_to_utc_batch(times)
    keys = np.stack([items["spacecraft"], items["apid"], days, np.minimum(ns_of_day // HOUR_NS, 23)], axis=1)
    rows, group = np.unique(keys.astype(np.int64), axis=0, return_inverse=True)
    known, parts = spacecraft_names(names), {}
    for k, (craft, apid, day, hour) in enumerate(rows.tolist()):
        mine = np.flatnonzero(group.reshape(-1) == k)
        octets = gather(batch.octets, items["offset"][mine], items["length"][mine])
        date = MJD_OF_1958 + np.timedelta64(day, "D")
        folder = "apid-none" if apid < 0 else f"apid-{apid:04}"
        parts[f"{spacecraft_name(craft, known)}/{folder}/{date}T{hour:02}Z.packets"] = octets.tobytes()
    return parts
