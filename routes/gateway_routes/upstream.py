"""What a gateway keeps of another one that it gets items from, its *upstream*, and what it believes of it. Pure.

Of each journal that the upstream has served a cursor is kept, and of all of them one path: the journals that items
which came this way have passed through. Both are journalled together with the items (docs/chaining.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import numpy as np

from gateway_codecs.batches import BoolArray, I64Array
from gateway_routes.delivery import RANGES_MAX, Cursor, DeliveryError, parse_cursor

JOURNALS_MAX, PATH_MAX, NAMES_MAX = 64, 256, 1024
SEQUENTIAL_RANGES = RANGES_MAX // 2
"""With so many ranges above the low water no second lane is asked for: a range that is forgotten would come twice."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class UpstreamError(ConnectionError):
    """The upstream, or what it says, cannot be used."""


class Loop(UpstreamError):
    """What the upstream sends has been here before."""


@dataclass(frozen=True, slots=True)
class JournalKey:
    """Which journal, and which revision of its streams."""

    journal_id: str
    revision: int

    def __str__(self) -> str:
        return f"{self.journal_id}/{self.revision}"

    @classmethod
    def told(cls, message: Mapping[str, Any]) -> JournalKey:
        """Return the journal that a message of the upstream names. Raises UpstreamError."""
        (journal_id,) = _journals([message.get("journal_id")])
        return cls(journal_id, _whole(message, "revision"))


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """What is journalled of an upstream. `now` is the key of the journal that it served last, empty = none yet."""

    now: str = ""
    cursors: Mapping[str, Cursor] = field(default_factory=dict)
    path: tuple[str, ...] = ()

    @classmethod
    def of(cls, link_state: Mapping[str, Any]) -> UpstreamState:
        """Return what a link's journalled state says. Raises DeliveryError for a cursor that is none."""
        kept = link_state.get("upstream", {})
        cursors = {key: parse_cursor(row) for key, row in kept.get("journals", {}).items()}
        return cls(kept.get("now", ""), cursors, tuple(kept.get("path", ())))

    @property
    def cursor(self) -> Cursor:
        """The cursor of the journal that is served now."""
        return self.cursors[self.now]

    def moved(self, cursor: Cursor) -> UpstreamState:
        """Return the state with another cursor of the journal that is served now."""
        return replace(self, cursors={**self.cursors, self.now: cursor})

    def with_path(self, path: Iterable[str]) -> UpstreamState:
        """Return the state with more on its path. Raises UpstreamError when that is too long to be one."""
        longer = tuple(dict.fromkeys([*self.path, *path]))
        if len(longer) > PATH_MAX:
            raise UpstreamError(f"items have passed {len(longer)} journals on their way, more than {PATH_MAX}")
        return replace(self, path=longer)

    def serving(self, key: JournalKey, begin: int) -> UpstreamState:
        """Return the state when a journal is served: one that is new is taken from `begin` on. Raises UpstreamError."""
        name = str(key)
        if name not in self.cursors and len(self.cursors) >= JOURNALS_MAX:
            raise UpstreamError(f"this link has had {JOURNALS_MAX} different journals: what is at that address?")
        return replace(self, now=name, cursors={name: Cursor(begin), **self.cursors})

    def patch(self) -> dict[str, Any]:
        """Return what is to be journalled: the cursor of the journal that is served now, and the path."""
        cursor = self.cursor
        row = {"low_water": cursor.low_water, "ranges": [list(pair) for pair in cursor.ranges]}
        return {"upstream": {"now": self.now, "journals": {self.now: row}, "path": list(self.path)}}


@dataclass(frozen=True, slots=True)
class Path:
    """The journals that the upstream's items `passed`, and those of which more may come: `connected`."""

    passed: tuple[str, ...]
    connected: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Both."""
        return (*self.passed, *self.connected)


@dataclass(frozen=True, slots=True)
class Welcome:
    """What the upstream says of itself when it lets us in."""

    key: JournalKey
    tail: int
    head: int
    cursor: Cursor
    path: Path
    spacecraft: Mapping[int, str]  # names by its numbers; one that is no name of ours has none


def parse_welcome(told: Mapping[str, Any]) -> Welcome:
    """Return what a welcome says. Raises UpstreamError."""
    try:
        names = {int(number): name for number, name in told["names"]["spacecraft"].items()}
        cursor = parse_cursor(told)
    except (KeyError, TypeError, ValueError, AttributeError, DeliveryError) as error:
        raise UpstreamError(f"its welcome cannot be understood: {str(error)[:200]}") from error
    if len(names) > NAMES_MAX:
        raise UpstreamError(f"it names {len(names)} spacecraft, more than {NAMES_MAX}")
    good = {number: name for number, name in names.items() if isinstance(name, str) and NAME.fullmatch(name)}
    tail, head = _whole(told, "tail"), _whole(told, "head")
    return Welcome(JournalKey.told(told), tail, head, cursor, parse_path(told), good)


def parse_path(told: Mapping[str, Any]) -> Path:
    """Return the path of a message. Raises UpstreamError."""
    path, connected = told.get("path"), told.get("connected", [])
    lists = isinstance(path, list) and isinstance(connected, list)
    if not lists or not path or len(path) + len(connected) > PATH_MAX:
        raise UpstreamError(f"it does not tell the path of its items (1 to {PATH_MAX} journals): an older version?")
    return Path(_journals(path), _journals(connected))


def check_loop(own: str, path: Path) -> None:
    """Refuse what would bring our own items home. Raises Loop."""
    if own in path.all:
        remedy = "take links of its own alone (selection.links), or leave a link of the circle out"
        raise Loop(f"loop: what it sends has passed this journal ({own}), or would; {remedy}")


def not_had(cursor: Cursor, positions: I64Array) -> BoolArray:
    """Return which positions (rising, int64 (n,)) a cursor does not hold, bool (n,)."""
    new: BoolArray = positions >= cursor.low_water
    if len(positions):
        for first, end in cursor.ranges:
            if first <= positions[-1] and positions[0] < end:
                new &= (positions < first) | (positions >= end)
    return np.asarray(new)


def missing_range(told: Mapping[str, Any]) -> tuple[int, int, str]:
    """Return (first, end, why) of positions that will not come. Raises UpstreamError."""
    first, end = _whole(told, "first"), _whole(told, "end")
    if first >= end:
        raise UpstreamError(f"it says that positions {first}..{end} are missing, which is no range")
    return first, end, str(told.get("reason", ""))[:200] or "no reason was told"


def _whole(told: Mapping[str, Any], key: str) -> int:
    value = told.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 62:
        raise UpstreamError(f"{key!r} is a whole number, not {str(value)[:64]!r}")
    return value


def _journals(ids: Iterable[Any]) -> tuple[str, ...]:
    try:
        return tuple(str(UUID(one)) for one in ids)
    except (ValueError, AttributeError, TypeError):
        raise UpstreamError("it names a journal by what is no journal id") from None
