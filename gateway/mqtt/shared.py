"""The shared topics of one mission instance: what its timely tap gives, batched, one message per topic and turn."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.instance import MissionInstance
from gateway.mqtt import topics
from gateway.mqtt.clients import BrokerError
from gateway.mqtt.connection import BrokerConnection
from gateway.timely import FeedEnded, TimelyFeed
from gateway_codecs.batches import empty_items
from gateway_codecs.mqtt_message import encode
from gateway_routes.selection import Selection
from gateway_routes.shared_topics import Part, parts
from gateway_routes.timely import StreamKey, Taken

TAKE_ITEMS = 16_384
TAKE_OCTETS = 1 << 20
TURN_S = 0.002
STREAMS_MAX = 1 << 16


@dataclass(slots=True)
class SharedCounters:
    """What was counted of all shared topics since the start."""

    items: int = 0  # published
    messages: int = 0
    skipped: int = 0  # told as skipped: too late, too many, or no broker
    oversize: int = 0  # of these, larger than a message may be


@dataclass(slots=True)
class SharedTopics:
    """See the module. `run` is one task, until the instance's stream ends."""

    instance: MissionInstance
    connection: BrokerConnection
    max_octets: int
    idle: bool
    bad_quality: bool
    counters: SharedCounters
    tell: Callable[[str, str], None]
    _sequences: Counter[StreamKey] = field(default_factory=Counter)
    _skipped: Counter[StreamKey] = field(default_factory=Counter)
    _names: dict[int, str] = field(default_factory=dict)
    _feed: TimelyFeed | None = None

    async def run(self) -> None:
        """Publish what the tap gives. What waits while there is no broker grows old, is skipped and told."""
        loop = asyncio.get_running_loop()
        with self.instance.timely.open(self._selection()) as self._feed:
            self.renew()
            feed = self._feed
            while True:
                await self.connection.up.wait()
                try:
                    taken = await feed.take(TAKE_ITEMS, TAKE_OCTETS)
                except FeedEnded:
                    return
                began = loop.time()
                await self._publish(taken)
                await asyncio.sleep(max(TURN_S, loop.time() - began))  # at most half of the loop's time is ours

    def renew(self) -> None:
        """Go on with the links and spacecraft that the instance has now; what waits is published."""
        self._names = self.instance.journal.names("spacecraft")  # all are named when an instance opens or changes
        if self._feed is not None:
            self._feed.selection = self._selection()

    def _selection(self) -> Selection:
        wish = {"kinds": ["tm"], "idle": self.idle, "bad_quality": self.bad_quality}
        return self.instance.registry.selection(wish)

    async def _publish(self, taken: Taken) -> None:
        """Publish one turn; what cannot be is noted as skipped."""
        for skipped in taken.skipped:
            for stream, count in skipped.streams.items():
                self._note_skipped(stream, count.items)
            if skipped.others is not None:
                self.counters.skipped += skipped.others.items
        found = parts(taken.batch, self.max_octets)
        for part in found:
            self._note_oversize(part)
        told = {part.stream for part in found}
        loop = asyncio.get_running_loop()
        turn_s = loop.time()
        for number, part in enumerate(found):
            try:
                await self._publish_part(part)
            except BrokerError:
                for lost in found[number:]:
                    self._note_skipped(lost.stream, len(lost.batch))
                return
            if loop.time() - turn_s > TURN_S:
                await asyncio.sleep(0)
                turn_s = loop.time()
        await self._tell_skipped(told)

    async def _tell_skipped(self, told: set[StreamKey]) -> None:
        """Tell streams of which nothing but the skip is there."""
        for stream in [stream for stream in self._skipped if stream not in told]:
            try:
                await self._publish_part(Part(stream, empty_items()))
            except BrokerError:
                return

    def _note_skipped(self, stream: StreamKey, items: int) -> None:
        self.counters.skipped += items
        if stream in self._skipped or len(self._skipped) < STREAMS_MAX:
            self._skipped[stream] += items

    def _note_oversize(self, part: Part) -> None:
        if not part.oversize:
            return
        if not self.counters.oversize:
            what = f"{self._topic(part.stream)}: an item is larger than mqtt.max_message_octets ({self.max_octets})"
            self.tell("warning", f"{what}: it is skipped there, and complete subscriptions get it")
        self.counters.oversize += part.oversize
        self._note_skipped(part.stream, part.oversize)

    async def _publish_part(self, part: Part) -> None:
        """Publish one message with what was skipped before it. Raises BrokerError; then that is still to be told."""
        skipped = self._skipped[part.stream]
        data = encode(part.batch, self._sequences[part.stream], skipped)
        await self.connection.publish(self._topic(part.stream), data)
        del self._skipped[part.stream]
        self._sequences[part.stream] += 1
        self.counters.messages += 1
        self.counters.items += len(part.batch)

    def _topic(self, stream: StreamKey) -> str:
        name = self._names.get(stream.spacecraft, "none")
        return topics.shared(self.instance.name, name, stream.vcid, stream.apid)
