"""Which journals the items of a mission instance have passed through, so that no chain of gateways closes on itself.

A *path* is a list of journal ids. That of a link whose peer is another gateway is journalled together with the first
items that came that way (`links.NAME.upstream.path` of the journal's state). Whoever subscribes and asks for it is told
the path of what it gets before it gets it: items never come home. What is *connected* may send items later: it is told
too, so that a circle is seen before anything goes round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from gateway.journal import Journal

SETTLE_S = 0.2


class Paths:
    """The paths of one instance."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._connected: dict[str, tuple[str, ...]] = {}
        self.listeners: dict[Callable[[], None], None] = {}  # in the order in which they came

    def connect(self, link: str, path: Collection[str]) -> None:
        """A link may bring items that have passed through these journals, from now on."""
        if self._connected.get(link) != tuple(path):
            self._connected[link] = tuple(path)
            self._changed()

    def disconnect(self, link: str) -> None:
        """A link brings nothing any more; what came of it is in the journal's state."""
        if self._connected.pop(link, None) is not None:
            self._changed()

    def _changed(self) -> None:
        for listener in list(self.listeners):
            listener()

    def of(self, links: Collection[int] | None) -> dict[str, list[str]]:
        """Return `path` of items of these links (the journal's ids; None = all), our own journal first, and what more
        is `connected`."""
        path, connected = dict.fromkeys([str(self._journal.journal_id)]), dict[str, None]()
        for number, name in self._journal.names("links").items():
            if links is None or number in links:
                kept = self._journal.state.get("links", {}).get(name, {}).get("upstream", {})
                path |= dict.fromkeys(kept.get("path", ()))
                connected |= dict.fromkeys(self._connected.get(name, ()))
        return {"path": list(path), "connected": [one for one in connected if one not in path]}


class PathTelling:
    """What one session tells of the paths of its items. `wake` is called when there may be something to tell."""

    def __init__(
        self, paths: Paths, say: Callable[[Mapping[str, Any]], Awaitable[None]], wake: Callable[[], None]
    ) -> None:
        self._paths, self._say, self._wake = paths, say, wake
        self._told: dict[str, list[str]] = {}

    def begin(self, links: Collection[int] | None) -> dict[str, list[str]]:
        """Return what the welcome says."""
        self._paths.listeners[self._wake] = None
        self._told = self._paths.of(links)
        return self._told

    async def tell(self, links: Collection[int] | None) -> None:
        """Tell what changed: before anything is sent that came by it. Raises ConnectionError."""
        now = self._paths.of(links)
        if now != self._told:
            self._told = now
            await self._say({"type": "path", **now})

    def end(self) -> None:
        """There is nobody to tell any more."""
        self._paths.listeners.pop(self._wake, None)


async def settle(wake: asyncio.Event, tell: Callable[[], Awaitable[None]]) -> None:
    """Do nothing but tell paths for a moment: who starts together sees a circle before anything goes round."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    over.add_done_callback(lambda _: wake.set())
    timer = loop.call_later(SETTLE_S, over.set_result, None)
    try:
        while not over.done():
            wake.clear()
            await tell()
            await wake.wait()
    finally:
        timer.cancel()
