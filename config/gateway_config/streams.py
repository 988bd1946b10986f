"""What grants give, as sets of streams that can be subtracted: what a change of them gives and takes, exactly.

A *box* is one set of streams: a choice in each dimension (mission instance, spacecraft, VC, APID and so on), all of
which must hold. A choice is some values, or all but some: nobody knows all the spacecraft that a mission will have.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

from gateway_config.home_models import Grant, GrantedMode, Home

BOXES_MAX = 200
"""More than so many boxes of one home base tell nobody anything."""
SHOWN_MAX = 12
DIMENSIONS = (
    "mission", "support_mode", "run", "spacecraft", "kind", "vcid", "apid", "data_mode", "quality", "mode",
)  # fmt: skip
OF_VALUES = ("mission", "support_mode", "run", "parameter")
Value = str | int


class TooMany(Exception):
    """The difference has more parts than anybody reads."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Some values of a dimension, or, `but`, all except these."""

    values: frozenset[Value]
    but: bool = False

    def __and__(self, other: Choice) -> Choice:
        if self.but and other.but:
            return Choice(self.values | other.values, but=True)
        if self.but or other.but:
            some, without = (other, self) if self.but else (self, other)
            return Choice(some.values - without.values)
        return Choice(self.values & other.values)

    def __sub__(self, other: Choice) -> Choice:
        return self & Choice(other.values, not other.but)

    def __bool__(self) -> bool:
        return self.but or bool(self.values)

    def __contains__(self, value: Value) -> bool:
        return (value in self.values) is not self.but

    def words(self, one: str, many: str, every: str) -> str:
        """Return it for people: `APID 7`, `APIDs 7, 9`, `all APIDs but 7`."""
        if not self.values:
            return every
        ordered = sorted(self.values, key=lambda value: (isinstance(value, str), value))
        shown = ", ".join(map(str, ordered[:SHOWN_MAX]))
        shown += f" and {len(ordered) - SHOWN_MAX} more" if len(ordered) > SHOWN_MAX else ""
        if self.but:
            return f"{every} but {shown}"
        return f"{one if len(ordered) == 1 else many} {shown}".strip()


ITEM_MODES = frozenset(get_args(GrantedMode)) - {"values"}
ALL = Choice(frozenset(), but=True)
Box = tuple[Choice, ...]
"""One choice for each of DIMENSIONS, or of OF_VALUES."""


def _some(*values: Value) -> Choice:
    return Choice(frozenset(values))


def _listed(values: Sequence[Value] | None) -> Choice:
    return ALL if values is None else Choice(frozenset(values))


def _where(grant: Grant) -> Box:
    runs = _some("live", "replay") if grant.replays else _some("live")
    return _some(grant.mission), _listed(grant.support_modes), runs


def item_boxes(grants: Iterable[Grant]) -> list[Box]:
    """Return the items that grants give. Events have no VC, APID or data mode, and are never of bad quality."""
    found = []
    for grant in grants:
        modes = Choice(frozenset(mode for mode in grant.modes if mode != "values"))
        if not modes:
            continue
        craft = _listed(grant.spacecraft)
        others = Choice(frozenset(kind for kind in grant.kinds if kind != "event"))
        quality = _some("good", "bad") if grant.bad_quality else _some("good")
        narrowed = (_listed(grant.vcids), _listed(grant.apids), _listed(grant.data_modes), quality)
        if others:
            found.append((*_where(grant), craft, others, *narrowed, modes))
        if "event" in grant.kinds:
            found.append((*_where(grant), craft, _some("event"), ALL, ALL, ALL, _some("good"), modes))
    return found


def value_boxes(grants: Iterable[Grant]) -> list[Box]:
    """Return the engineering values that grants give, by the patterns of their names."""
    return [
        (*_where(grant), _listed(grant.parameters)) for grant in grants if grant.parameters and "values" in grant.modes
    ]


def minus(boxes: Sequence[Box], others: Sequence[Box]) -> list[Box]:
    """Return what is in `boxes` and in none of `others`, as boxes that share nothing. Raises TooMany."""
    found: list[Box] = []
    for box in boxes:
        left = [box]
        for other in [*others, *found]:
            left = [part for one in left for part in _without(one, other)]
            if len(left) + len(found) > BOXES_MAX:
                raise TooMany
        found += left
    return found


def _without(box: Box, other: Box) -> list[Box]:
    """Return the parts of a box outside of another: the dimensions before the one that differs are shared."""
    if not all(mine & its for mine, its in zip(box, other, strict=True)):
        return [box]
    found, shared = [], list(box)
    for k, (mine, its) in enumerate(zip(box, other, strict=True)):
        if outside := mine - its:
            found.append((*shared[:k], outside, *box[k + 1 :]))
        shared[k] = mine & its
    return found


def words(box: Box) -> str:
    """Return a box for people."""
    mission, modes, runs = box[:3]
    where = mission.words("", "", "all missions")
    where += f" ({modes.words('', '', 'all support modes')}{_runs(runs)})"
    if len(box) == len(OF_VALUES):
        return f"{where}: values of {box[3].words('', '', 'all parameters')}"
    spacecraft, kinds, vcids, apids, data_modes, quality, ways = box[3:]
    told = [kinds.words("", "", "all kinds")]
    told += [f"of {spacecraft.words('', '', 'all spacecraft')}"] if spacecraft != ALL else []
    if kinds != _some("event"):
        told += [vcids.words("VC", "VCs", "all VCs"), apids.words("APID", "APIDs", "all APIDs")]
        told += [data_modes.words("", "", "all data modes")] if data_modes != ALL else []
        told += ["rejected units"] if "good" not in quality else ["rejected units too"] if "bad" in quality else []
    every = ways == ALL or ways.values >= ITEM_MODES
    return f"{where}: {', '.join(told)}; {'all modes' if every else ways.words('', '', 'all modes')}"


def _runs(runs: Choice) -> str:
    if "replay" not in runs:
        return ""
    return ", replay runs too" if "live" in runs else ", replay runs"


def gained_and_lost(before: Home | None, after: Home | None) -> tuple[list[str], list[str]]:
    """Return in words which streams a home base gains and loses by a change of its grants."""
    old, new = (() if home is None else tuple(home.grants) for home in (before, after))
    try:
        return _difference(new, old), _difference(old, new)
    except TooMany:
        text = f"too much to be listed (more than {BOXES_MAX} parts): compare the grants themselves"
        return [text], [text]


def _difference(grants: Sequence[Grant], others: Sequence[Grant]) -> list[str]:
    parts = [*minus(item_boxes(grants), item_boxes(others)), *minus(value_boxes(grants), value_boxes(others))]
    return sorted(map(words, parts))
