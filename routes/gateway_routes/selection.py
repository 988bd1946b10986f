"""Which items a subscription wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import BoolArray, DataMode, ItemFlag, Kind, Quality, Records, Unit

Ids = frozenset[int] | None
_ENUMS = {"kinds": Kind, "units": Unit, "data_modes": DataMode}
_NUMBERS = {"vcids": 63, "apids": 2047}
FEW = 4
_EVENT, _GOOD = int(Kind.EVENT), int(Quality.GOOD)
_FLAGS = ("idle", "bad_quality")


@dataclass(frozen=True, slots=True)
class Selection:
    """A filter. None = all of them. `idle` adds idle packets, `bad_quality` adds rejected units.

    `spacecraft` and `links` are the journal's ids; an event that concerns no spacecraft or link passes these two.
    `grants`: one of these must want an item too (`within`); None = nobody restricts it.
    """

    kinds: Ids = frozenset({Kind.TM, Kind.EVENT})
    units: Ids = None
    spacecraft: Ids = None
    links: Ids = None
    vcids: Ids = None
    apids: Ids = None
    data_modes: Ids = None
    idle: bool = False
    bad_quality: bool = False
    grants: tuple[Selection, ...] | None = None

    def wants_group(self, kind: int, unit: int, spacecraft: int, vcid: int, apid: int) -> bool:
        """Whether items of a group can be wanted."""
        return (
            (self.kinds is None or kind in self.kinds)
            and (self.units is None or unit in self.units)
            and (self.spacecraft is None or spacecraft in self.spacecraft or (kind == Kind.EVENT and not spacecraft))
            and (self.vcids is None or vcid in self.vcids)
            and (self.apids is None or apid in self.apids)
            and (self.grants is None or any(g.wants_group(kind, unit, spacecraft, vcid, apid) for g in self.grants))
        )

    def mask(self, items: Records) -> BoolArray:
        """Which of the items (ITEM_DTYPE, (n,)) are wanted, bool (n,)."""
        keep = np.ones(len(items), np.bool_)
        for column, wanted in (
            ("kind", self.kinds),
            ("unit", self.units),
            ("vcid", self.vcids),
            ("apid", self.apids),
        ):
            if wanted is not None:
                keep &= _among(items[column], wanted)
        event = items["kind"] == _EVENT
        for column, wanted in (("spacecraft", self.spacecraft), ("link", self.links)):
            if wanted is not None:
                keep &= _among(items[column], wanted) | (event & (items[column] == 0))
        if self.data_modes is not None:
            keep &= _among(items["data_mode"], self.data_modes) | event
        if not self.idle:
            keep &= (items["flags"] & ItemFlag.IDLE) == 0
        if not self.bad_quality:
            keep &= items["quality"] == _GOOD
        if self.grants is not None:
            given = np.zeros(len(items), np.bool_)
            for grant in self.grants:
                given |= grant.mask(items)
            keep &= given
        return keep


_SETS = ("kinds", "units", "spacecraft", "links", "vcids", "apids", "data_modes")


def within(wish: Selection, grants: Sequence[Selection]) -> Selection:
    """Return what a wish and at least one grant want: never more than is granted.

    Grants that can give nothing of the wish are left out; with one left the two become one plain selection.
    """
    able = tuple(grant for grant in dict.fromkeys(grants) if not _apart(wish, grant))
    if len(able) != 1:
        return replace(wish, grants=able)
    one = able[0]
    both: dict[str, Any] = {key: _both(getattr(wish, key), getattr(one, key)) for key in _SETS}
    return Selection(**both, idle=wish.idle and one.idle, bad_quality=wish.bad_quality and one.bad_quality)


def _apart(one: Selection, other: Selection) -> bool:
    """Whether nothing can be of both. What concerns no spacecraft or link, as events may, is of every one."""
    kinds = _both(one.kinds, other.kinds)
    keys = ("units", "vcids", "apids") if kinds is None or _EVENT in kinds else _SETS
    return kinds == frozenset() or any(_both(getattr(one, key), getattr(other, key)) == frozenset() for key in keys)


def _both(one: Ids, other: Ids) -> Ids:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _among(column: NDArray[Any], wanted: frozenset[int]) -> BoolArray:
    """Which values are wanted; most selections name a few, and to compare with those is faster than `isin`."""
    if len(wanted) > FEW:
        return np.isin(column, list(wanted))
    parts = [column == int(value) for value in wanted]
    if not parts:
        return np.zeros(len(column), np.bool_)
    found: BoolArray = parts[0]
    for part in parts[1:]:
        found |= part
    return found


def parse_selection(
    wish: Mapping[str, Any], spacecraft: Mapping[str, int], links: Mapping[str, int] | None = None
) -> Selection:
    """Return the selection of a JSON object with names. Raises ValueError that says what is allowed."""
    allowed = {*_ENUMS, *_NUMBERS, *_FLAGS, "spacecraft", "links"}
    unknown = sorted(set(wish) - allowed)
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r} in selection; allowed: {', '.join(sorted(allowed))}")
    fields: dict[str, Any] = {}
    for key, value in wish.items():
        if value is None:
            continue
        if key in _FLAGS:
            fields[key] = _flag(key, value)
        elif key in _ENUMS:
            names = {member.name.lower(): int(member) for member in _ENUMS[key]}
            fields[key] = frozenset(_named(key, name, names) for name in _list(key, value))
        elif key in _NUMBERS:
            fields[key] = frozenset(_number(key, number) for number in _list(key, value))
        else:
            known = spacecraft if key == "spacecraft" else links or {}
            fields[key] = frozenset(_named(key, name, known) for name in _list(key, value))
    return Selection(**fields)


def _list(key: str, value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > 4096:
        raise ValueError(f"selection {key!r} must be a list of at most 4096 entries")
    return value


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"selection {key!r} must be true or false, not {value!r}")
    return value


def _number(key: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -1 <= value <= _NUMBERS[key]:
        most = _NUMBERS[key]
        raise ValueError(f"selection {key!r} takes whole numbers from -1 (none) to {most}, not {str(value)[:64]}")
    return value


def _named(key: str, name: Any, known: Mapping[str, int]) -> int:
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"selection {key!r}: {name!r} is not one of {', '.join(sorted(known)) or '(none)'}")
    return known[name]
