"""Which journals the items of a mission instance have passed through, so that no chain of gateways closes on itself.

A *path* is a set of journal ids. Those of a link whose peer is another gateway are journalled together with the first
items that came that way (`links.NAME.upstream.path` of the journal's state), and hold from the moment it is connected.
Whoever subscribes and asks for it is told the path of what it gets before it gets it: items never come home.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from gateway.journal import Journal


class Paths:
    """The paths of one instance."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._connected: dict[str, tuple[str, ...]] = {}
        self.listeners: set[Callable[[], None]] = set()

    def connect(self, link: str, path: Collection[str]) -> None:
        """A link gets items that have passed through these journals, from now on."""
        if self._connected.get(link) != tuple(path):
            self._connected[link] = tuple(path)
            for listener in list(self.listeners):
                listener()

    def disconnect(self, link: str) -> None:
        """A link gets nothing any more; what came of it is in the journal's state."""
        self._connected.pop(link, None)

    def of(self, links: Collection[int] | None) -> list[str]:
        """Return the journals that items of these links (the journal's ids; None = all) have passed, ours first."""
        found = dict.fromkeys([str(self._journal.journal_id)])
        for number, name in self._journal.names("links").items():
            if links is None or number in links:
                kept = self._journal.state.get("links", {}).get(name, {}).get("upstream", {})
                found |= dict.fromkeys([*kept.get("path", ()), *self._connected.get(name, ())])
        return list(found)
