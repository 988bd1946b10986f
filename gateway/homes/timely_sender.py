"""The sending half of a timely session: blocks without positions, and what was skipped, each where it belongs."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.timely import FeedEnded, TimelyFeed
from gateway_codecs.delivery_block import encode_timely
from gateway_routes.delivery import DeliveryError
from gateway_routes.timely import Skipped, StreamCount, Taken, TimelyLimits

DELAY_MS = 1000
DELAY_MS_MIN, DELAY_MS_MAX = 10, 60_000
WITHOUT_POSITIONS = ("sequential", "from", "cursor", "from_position", "upto_position")


@dataclass(slots=True)
class TimelyCount:
    """What a home base got and missed over all its timely sessions since the start."""

    delivered_items: int = 0
    skipped_items: int = 0


def timely_limits(hello: Mapping[str, Any]) -> TimelyLimits:
    """Return what a hello asks for. Raises DeliveryError."""
    for key in WITHOUT_POSITIONS:
        if hello.get(key) is not None:
            text = f"a timely session begins now and has no positions: leave {key!r} out, or use mode complete"
            raise DeliveryError("bad message", text)
    delay_ms = hello.get("max_delay_ms", DELAY_MS)
    if not isinstance(delay_ms, int) or isinstance(delay_ms, bool) or not DELAY_MS_MIN <= delay_ms <= DELAY_MS_MAX:
        text = f'"max_delay_ms" is a whole number from {DELAY_MS_MIN} to {DELAY_MS_MAX}, not {str(delay_ms)[:64]}'
        raise DeliveryError("bad message", text)
    return TimelyLimits(max_delay_s=delay_ms / 1000)


class TimelySender:
    """Sends what a feed gives until it ends. `names` gives the names behind the journal's spacecraft ids."""

    def __init__(
        self,
        feed: TimelyFeed,
        send: Callable[[str | bytes], Awaitable[None]],
        names: Callable[[], Mapping[int, str]],
        count: TimelyCount,
    ) -> None:
        self.feed = feed
        self._send, self._names, self._count = send, names, count
        self.sent_items = self.skipped_items = self.sent_octets = 0

    async def run(self, max_items: int, max_octets: int) -> None:
        """Send until the feed has ended, then say so. Raises ConnectionError."""
        while True:
            try:
                taken = await self.feed.take(max_items, max_octets)
            except FeedEnded:
                break
            await self._send_taken(taken)
        await self._send(json.dumps({"type": "finished"}))

    async def _send_taken(self, taken: Taken) -> None:
        for skipped in taken.skipped:  # all of it was offered before the batch
            self.skipped_items += skipped.total.items
            self._count.skipped_items += skipped.total.items
            await self._send(json.dumps(skipped_message(skipped, self._names())))
        if len(taken.batch):
            data = encode_timely(taken.batch)
            await self._send(data)
            self.sent_items += len(taken.batch)
            self.sent_octets += len(data)
            self._count.delivered_items += len(taken.batch)


def skipped_message(skipped: Skipped, names: Mapping[int, str]) -> dict[str, Any]:
    """Return what is told of skipped items (docs/wire-format.md)."""
    streams = [
        {"spacecraft": names.get(key.spacecraft), "vcid": key.vcid, "apid": key.apid, **_count(count)}
        for key, count in sorted(skipped.streams.items())
    ]
    others = None if skipped.others is None else _count(skipped.others)
    told = {"type": "skipped", "reason": skipped.reason.value, **_count(skipped.total)}
    return {**told, "streams": streams, "others": others}


def _count(count: StreamCount) -> dict[str, int]:
    return {
        "items": count.items,
        "octets": count.octets,
        "first_receive_time_ns": count.first_receive_time_ns,
        "last_receive_time_ns": count.last_receive_time_ns,
    }
