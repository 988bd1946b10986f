"""The timely tap of a mission instance: what links and the event pump hand to the journal passes here before.

Items have no position yet, and may never get one. Whoever listens gets a queue of its own, bounded in age and in
octets (gateway_routes.timely): a slow listener loses its own oldest items, is told which, and costs nobody else.
While nobody listens an offer costs one comparison.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from gateway_codecs.batches import ItemBatch, Kind
from gateway_routes.selection import Selection
from gateway_routes.timely import Taken, TimelyLimits, TimelyQueue, selected

TAKE_ITEMS = 2048
TAKE_OCTETS = 1 << 18


class FeedEnded(ConnectionError):
    """Nothing will come any more: the feed was closed, or its instance has come to its end."""


class TimelyFeed:
    """What one listener gets. Made by `TimelyTap.open`; to be closed, best by `with`."""

    def __init__(self, tap: TimelyTap, selection: Selection, limits: TimelyLimits) -> None:
        self._tap, self.selection = tap, selection
        self._queue = TimelyQueue(limits)
        self._changed = asyncio.Event()
        self._ended = False

    async def take(self, max_items: int = TAKE_ITEMS, max_octets: int = TAKE_OCTETS) -> Taken:
        """Wait for items, or for something skipped to tell; return the oldest, at most so many items and octets.

        One item at least comes, if there is one, however large it is. Raises FeedEnded, after everything was taken.
        """
        await self.ready()
        return self.take_now(max_items, max_octets)

    async def ready(self) -> None:
        """Wait until there is something to take. Raises FeedEnded, after everything was taken."""
        while self._queue.idle:
            if self._ended:
                raise FeedEnded("the stream has ended")
            self._changed.clear()
            await self._changed.wait()

    def take_now(self, max_items: int = TAKE_ITEMS, max_octets: int = TAKE_OCTETS) -> Taken:
        """Return what can be taken now; both parts may be empty."""
        return self._queue.take(_now_s(), max_items, max_octets)

    @property
    def counts(self) -> TimelyQueue:
        """The queue, to read its counts: offered_items, taken_items, skipped_items, waiting_items, waiting_octets."""
        return self._queue

    def close(self) -> None:
        """Listen no more; what waits is forgotten."""
        self._tap.feeds.discard(self)
        self._queue.clear()
        self.end()

    def end(self) -> None:
        """Nothing will be offered any more; what waits can be taken."""
        self._ended = True
        self._changed.set()

    def offer(self, batch: ItemBatch, now_s: float) -> None:
        """Take what the tap has selected for us."""
        self._queue.offer(batch, now_s)
        self._changed.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class TimelyTap:
    """See the module. All on the event loop; nothing is waited for in `offer`."""

    def __init__(self) -> None:
        self.feeds: set[TimelyFeed] = set()
        self.finished = False

    @property
    def wanted(self) -> bool:
        """Whether anybody listens: who offers can spare the work of making a batch."""
        return bool(self.feeds)

    def wants_link(self, link: int) -> bool:
        """Whether anybody listens to items of a link (the journal's id of it), not to events alone."""
        return any(_wants_link(feed.selection, link) for feed in self.feeds)

    def open(self, selection: Selection, limits: TimelyLimits | None = None) -> TimelyFeed:
        """Return a feed of what is offered from now on.

        The selection is one of this instance's ids (`SubscriptionRegistry.selection` makes it, prime links included).
        """
        feed = TimelyFeed(self, selection, limits or TimelyLimits())
        self.feeds.add(feed)
        if self.finished:
            feed.end()
        return feed

    def offer(self, batch: ItemBatch) -> None:
        """Offer items on their way into the journal to all who want some of them; each selection works once."""
        if not self.feeds or not len(batch):
            return
        now_s, found = _now_s(), dict[Selection, ItemBatch]()
        for feed in self.feeds:
            if feed.selection not in found:
                found[feed.selection] = selected(batch, feed.selection)
            if len(found[feed.selection]):
                feed.offer(found[feed.selection], now_s)

    def finish(self) -> None:
        """Nothing will be offered any more: every feed ends when it is taken empty, a new one at once."""
        self.finished = True
        for feed in self.feeds:
            feed.end()


def _wants_link(selection: Selection, link: int) -> bool:
    events_alone = selection.kinds is not None and selection.kinds <= {Kind.EVENT}
    return not events_alone and (selection.links is None or link in selection.links)


def _now_s() -> float:
    return asyncio.get_running_loop().time()


__all__ = ["FeedEnded", "TimelyFeed", "TimelyTap"]
