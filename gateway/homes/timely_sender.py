"""The sending half of a timely session: blocks without positions, and what was skipped, each where it belongs."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway.homes.lines import Pace
from gateway.timely import FeedEnded, TimelyFeed
from gateway_codecs.delivery_block import encode_timely
from gateway_routes.delivery import DeliveryError
from gateway_routes.timely import Skipped, StreamCount, Taken, TimelyLimits

DELAY_MS = 1000
DELAY_MS_MIN, DELAY_MS_MAX = 10, 60_000
LARGE_QUEUES, SMALL_QUEUE_OCTETS = 4, 1 << 20
"""So many sessions of a home base have the whole queue, its others a smaller one: what it does not read is bounded."""
WITHOUT_POSITIONS = ("sequential", "from", "cursor", "from_position", "upto_position")


@dataclass(slots=True)
class TimelyCount:
    """What a home base got and missed over all its timely sessions since the start."""

    delivered_items: int = 0
    skipped_items: int = 0


def timely_limits(hello: Mapping[str, Any], others: int = 0) -> TimelyLimits:
    """Return what a hello asks for, for a home base that has so many timely sessions already. Raises DeliveryError."""
    for key in WITHOUT_POSITIONS:
        if hello.get(key) is not None:
            text = f"a timely session begins now and has no positions: leave {key!r} out, or use mode complete"
            raise DeliveryError("bad message", text)
    delay_ms = hello.get("max_delay_ms", DELAY_MS)
    if not isinstance(delay_ms, int) or isinstance(delay_ms, bool) or not DELAY_MS_MIN <= delay_ms <= DELAY_MS_MAX:
        text = f'"max_delay_ms" is a whole number from {DELAY_MS_MIN} to {DELAY_MS_MAX}, not {str(delay_ms)[:64]}'
        raise DeliveryError("bad message", text)
    plain = TimelyLimits(max_delay_s=delay_ms / 1000)
    return plain if others < LARGE_QUEUES else replace(plain, max_octets=SMALL_QUEUE_OCTETS)


class TimelySender:
    """Sends what a feed gives until it ends. `names` gives the names behind the journal's spacecraft ids."""

    def __init__(
        self,
        feed: TimelyFeed,
        send: Callable[[str | bytes], Awaitable[None]],
        pace: Pace,
        names: Callable[[], Mapping[int, str]],
        count: TimelyCount,
    ) -> None:
        self.feed = feed
        self._send, self._pace, self._names, self._count = send, pace, names, count
        self.sent_items = self.skipped_items = self.sent_octets = 0

    async def run(self, max_items: int, max_octets: int) -> None:
        """Send until the feed has ended, then say so. Raises ConnectionError."""
        max_items, max_octets = self._pace.limits(max_items, max_octets)
        while True:
            try:
                await self.feed.ready()
            except FeedEnded:
                break
            async with self._pace.sending(live=True) as turn:  # taken when it may go: what waits gets no older unseen
                taken = self.feed.take_now(max_items, max_octets)
                messages = self._messages(taken)
                turn.cost = sum(len(message) for message in messages)
            self._pace.went_live()
            for message in messages:
                await self._send(message)
            self._note(taken, turn.cost)
        await self._send(json.dumps({"type": "finished"}))

    def _messages(self, taken: Taken) -> list[str | bytes]:
        """Return what is sent: what was skipped was offered before the batch."""
        told: list[str | bytes] = [json.dumps(skipped_message(skipped, self._names())) for skipped in taken.skipped]
        return [*told, encode_timely(taken.batch)] if len(taken.batch) else told

    def _note(self, taken: Taken, octets: int) -> None:
        skipped = sum(skipped.total.items for skipped in taken.skipped)
        self.skipped_items += skipped
        self._count.skipped_items += skipped
        self.sent_items += len(taken.batch)
        self.sent_octets += octets
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
