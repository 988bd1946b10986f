"""The database files behind the versions in use: what happened to them since they were read. Values go on all the same.

A file is not read again by itself: an operator decides when (`gateway params reload`, or a start). That it changed,
went away or was refused is a condition, for the next start takes what is there then.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gateway.values.versions import DIGEST_SHORT
from gateway_routes.conditions import Condition

TABLE = ".dat"
Fingerprint = tuple[tuple[str, int, int, int], ...]


def fingerprint(path: Path) -> Fingerprint:
    """Return what tells a file, or a folder of tables, from one that was written anew; empty = it cannot be looked at.

    Blocking.
    """
    try:
        tables = [one for one in path.iterdir() if one.suffix.lower() == TABLE] if path.is_dir() else [path]
        stats = [(one.name, one.stat()) for one in sorted(tables)]
    except OSError:
        return ()
    return tuple((name, about.st_mtime_ns, about.st_size, about.st_ino) for name, about in stats)


@dataclass(slots=True)
class DatabaseFile:
    """The file of a spacecraft's database, of which a version is in use."""

    spacecraft: str
    path: Path
    read: Fingerprint
    digest: str
    now: Fingerprint | None = None
    refused: str = ""  # why it could not be taken, when that was tried

    @property
    def state(self) -> str:
        """Return `read`, `changed` or `gone`: what the last look found."""
        if self.now is None or self.now == self.read:
            return "read"
        return "changed" if self.now else "gone"

    def look(self, now: Fingerprint) -> str:
        """Take what a look found; returns what is new, in words, or an empty text."""
        before, self.now = self.state, now
        return "" if self.state == before else self.told

    @property
    def told(self) -> str:
        """Return the state in words."""
        return f"{self.path} {_TOLD[self.state]}; values go on with version {self.digest[:DIGEST_SHORT]}"

    @property
    def severity(self) -> str:
        """Return how bad the state is."""
        return "warning" if self.state == "gone" else "info"

    def condition(self) -> Condition | None:
        """Return what the operator should know. Each has an event: whoever looks, and whoever refuses, tells it."""
        subject = f"database of {self.spacecraft}"
        if self.refused:
            text = f"{self.refused}; values go on with version {self.digest[:DIGEST_SHORT]}"
            remedy = "mend it, then `gateway params reload`; a start before that has no values"
            return Condition("error", "database file", subject, text, remedy, told=True)
        if self.state == "read":
            return None
        return Condition(self.severity, "database file", subject, self.told, _REMEDIES[self.state], told=True)


_TOLD = {"read": "is again what was read", "changed": "was changed", "gone": "is not there any more"}
_REMEDIES = {
    "gone": "put it back: a start without it has no values; `gateway params reload` takes it",
    "changed": "`gateway mdb check` tells whether it is well, `gateway params reload` takes it, and so does a start",
}
