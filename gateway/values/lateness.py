"""Which packets are late: older than one of their APID that came before, or backfilled by an upstream gateway.

They are not live.

An on-board clock that was set back makes all packets late: that is believed after `CLOCK_BACK_S` of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gateway_codecs.batches import ABSENT, BoolArray, I64Array, ItemFlag

CLOCK_BACK_S = 60.0
SECOND_NS = 1_000_000_000


@dataclass(slots=True)
class _Stream:
    """What is known of an APID: its newest packet's time, and when that was received."""

    newest_ns: int
    received_ns: int


class Lateness:
    """What was seen of the APIDs of a spacecraft, whose packets are shown to it in position order."""

    def __init__(self) -> None:
        self._streams: dict[int, _Stream] = {}

    def copy(self) -> Lateness:
        """Return another one that has seen the same."""
        other = Lateness()
        other._streams = {apid: replace(one) for apid, one in list(self._streams.items())}
        return other

    def not_late(self, items: Any) -> BoolArray:
        """Return which packets are as new as the newest of their APID before them, bool (n,)."""
        live: BoolArray = (items["flags"] & ItemFlag.BACKFILL) == 0
        if not live.all():
            live[live] = self._not_older(items[live])
            return live
        return self._not_older(items)

    def _not_older(self, items: Any) -> BoolArray:
        times = _times(items)
        live = np.ones(len(items), np.bool_)
        for apid in np.unique(items["apid"]).tolist():
            rows = np.flatnonzero(items["apid"] == apid)
            received = items["receive_time_ns"][rows]
            stream = self._streams.get(apid)
            if stream is not None and (times[rows] < stream.newest_ns).all():
                waited_ns = int(received[0]) - stream.received_ns
                stream = None if waited_ns > CLOCK_BACK_S * SECOND_NS else stream
            floor = np.iinfo(np.int64).min if stream is None else stream.newest_ns
            newest = np.maximum.accumulate(np.concatenate([[floor], times[rows]]))
            live[rows] = times[rows] >= newest[:-1]
            best = int(np.argmax(times[rows]))
            if int(times[rows][best]) >= floor:
                self._streams[apid] = _Stream(int(newest[-1]), int(received[np.flatnonzero(live[rows])[-1]]))
        return live


def _times(items: Any) -> I64Array:
    generation = items["generation_time_ns"]
    times: I64Array = np.where(generation == ABSENT, items["receive_time_ns"], generation)
    return times
