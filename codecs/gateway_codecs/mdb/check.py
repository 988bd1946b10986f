"""What is wrong with a database that could be read: references, cycles, layouts, identification, meaning.

A reader refuses what it cannot understand; this says what it understood and no packet can be decoded with, or not as
its author thought. Nothing here changes how packets are decoded.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from gateway_codecs.mdb import layout, references, words
from gateway_codecs.mdb.model import (
    NOWHERE,
    UNUSABLE,
    Alarms,
    AllOf,
    Calibrator,
    Container,
    ContainerEntry,
    Database,
    FixedEntry,
    FloatEncoding,
    FloatKind,
    IntegerEncoding,
    IntegerKind,
    Interval,
    Limits,
    Match,
    Parameter,
    ParameterEntry,
    ParameterType,
    Points,
    Polynomial,
    RangeLimit,
    Severity,
    States,
    StringEncoding,
)
from gateway_codecs.mdb.report import Remark

PACKET_OCTETS_MAX = 65_542  # CCSDS 133.0-B-2, 4.1.3.5.3: 65,536 octets of data behind a header of 6
FLOAT_SIZES = {FloatKind.IEEE_754: {16, 32, 64}, FloatKind.MIL_STD_1750A: {32, 48}}
REMARKS_MAX, PLACES_ALL_MAX = 1_000, 1_000_000


def check(database: Database, most: int = REMARKS_MAX) -> tuple[Remark, ...]:
    """Return what is wrong, in the order of the file where lines are known; at most `most`, then how many more.

    The same `database` gives the same remarks, whatever it was read from.
    """
    found = _Check(database).remarks()
    unique = list(dict.fromkeys(found))
    unique.sort(key=lambda one: (one.where.file, one.where.line))
    if len(unique) <= most:
        return tuple(unique)
    rest = len(unique) - most
    return (*unique[:most], Remark("wrong", "the database", f"{rest:,} further remarks are not shown"))


class _Check:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._short = words.short_names(database)
        self._bases = {one.base for one in database.containers.values() if one.base}
        self._sizes = layout.Sizes(database)
        self._places_left = PLACES_ALL_MAX
        self._held: dict[str, frozenset[str]] = {}

    def remarks(self) -> Iterator[Remark]:
        """Yield everything, in no order."""
        yield from self._references()
        yield from self._cycles()
        for one in self._database.types.values():
            yield from self._type(one)
        for parameter in self._database.parameters.values():
            yield from self._parameter(parameter)
        for container in self._database.containers.values():
            yield from self._container(container)
        yield from self._identification()
        if self._places_left <= 0:
            why = f"more than {PLACES_ALL_MAX:,} entries, included ones counted: not every layout was looked at"
            yield Remark("wrong", "the database", why)

    def _wrong(self, one: ParameterType | Parameter | Container, why: str) -> Remark:
        return Remark("wrong", self._short(one.name), why, one.where)

    # ---- references and cycles

    def _references(self) -> Iterator[Remark]:
        for reference in references.of(self._database):
            if not references.is_defined(self._database, reference):
                why = f"there is no {reference.kind} {self._short(reference.name)}"
                yield Remark("wrong", self._short(reference.of), why, reference.where)
        for name in self._database.roots:
            if name not in self._database.containers:
                yield Remark("wrong", "roots", f"there is no container {self._short(name)}")

    def _cycles(self) -> Iterator[Remark]:
        database = self._database
        graphs: tuple[tuple[str, Mapping[str, Any], Callable[[Any], Iterable[str]]], ...] = (
            ("continues itself", database.containers, lambda one: [one.base] if one.base else []),
            ("includes itself", database.containers, _included),
            ("is made of itself", database.types, _parts),
            ("is derived from itself", database.parameters, references.derived_from),
            ("counts its time from itself", database.parameters, self._time_of),
        )
        for what, nodes, edges in graphs:
            for cycle in _cycles(nodes, edges):
                way = " -> ".join(self._short(name) for name in [*cycle, cycle[0]])
                yield self._wrong(nodes[cycle[0]], f"it {what}: {way}")

    def _time_of(self, one: Parameter) -> list[str]:
        kind = self._database.types.get(one.type_name)
        return [kind.time.offset_from] if kind is not None and kind.time is not None and kind.time.offset_from else []

    # ---- types

    def _type(self, one: ParameterType) -> Iterator[Remark]:
        encoding = one.encoding
        if isinstance(encoding, IntegerEncoding):
            yield from (self._wrong(one, why) for why in _wrong_integer(encoding))
        elif isinstance(encoding, FloatEncoding) and encoding.size_bits not in FLOAT_SIZES[encoding.kind]:
            yield self._wrong(one, f"a real number of {encoding.size_bits} bits ({encoding.kind})")
        elif isinstance(encoding, StringEncoding) and not _is_charset(encoding.charset):
            yield self._wrong(one, f"the character set {encoding.charset[:40]} is not known")
        yield from (self._wrong(one, why) for why in _wrong_order(encoding))
        if one.kind == "array" and not one.element_type:
            yield self._wrong(one, "an array of nothing: it names no type of its elements")
        if one.kind == "aggregate" and not one.members:
            yield self._wrong(one, "an aggregate without members")
        for calibrator in _calibrators(one):
            yield from (self._wrong(one, why) for why in _wrong_calibrator(calibrator))
        yield from (self._wrong(one, why) for why in self._wrong_limits(one))
        if one.valid_range is not None and _is_empty(one.valid_range):
            yield self._wrong(one, f"its valid range {words.interval(one.valid_range)} holds nothing")

    @staticmethod
    def _wrong_limits(one: ParameterType) -> Iterator[str]:
        labels = _labels(one)
        for limits in _limits(one.alarms):
            for limit in limits.ranges:
                if _is_empty(limit.interval):
                    yield f"the limits {words.interval(limit.interval)} hold nothing"
            yield from _hidden_limits(limits)
            for label in limits.labels:
                if labels is not None and label.label not in labels:
                    yield f"a {label.severity.name.lower()} limit is for the label {label.label!r}, which it never has"

    # ---- parameters

    def _parameter(self, one: Parameter) -> Iterator[Remark]:
        for text, problem in references.wrong_expressions(self._database, one):
            yield self._wrong(one, f"{problem} ({text[:40]})" if text not in problem else problem)

    # ---- containers

    def _container(self, one: Container) -> Iterator[Remark]:
        for entry in one.entries:
            if isinstance(entry, ParameterEntry) and self._has_no_coding(entry.parameter):
                name = self._short(entry.parameter)
                yield self._wrong(one, f"{name} stands in it, and does not say how it is coded")
        if one.base:
            yield from self._told_by(one)
        if one.name not in self._bases:  # what stands in a base is told of those that continue it
            yield from self._places(one)

    def _has_no_coding(self, name: str) -> bool:
        parameter = self._database.parameters.get(name)
        one = self._database.types.get(parameter.type_name) if parameter is not None else None
        return one is not None and one.encoding is None and one.kind not in {"array", "aggregate"}

    def _told_by(self, one: Container) -> Iterator[Remark]:
        """A restriction is decided by what the base holds: a parameter that stands elsewhere has no value then."""
        before = self._held_by(one.base)
        for name in references.in_match(one.restriction):
            known = references.defined_part(self._database, name)
            if self._places_left > 0 and known is not None and known not in before:
                why = f"it is told by {self._short(name)}, which does not stand in {self._short(one.base)}, its base"
                yield self._wrong(one, why)

    def _places(self, one: Container) -> Iterator[Remark]:
        places = self._all_places(one.name)
        if len(places) >= layout.PLACES_MAX:
            yield self._wrong(one, f"it has more than {layout.PLACES_MAX:,} entries, those of what it includes counted")
            return
        seen: set[str] = set()
        for place in places:
            yield from self._stated_before(one, place, seen)
            if isinstance(place.entry, ParameterEntry):
                seen.add(place.entry.parameter)
            if place.first_bit is not None and place.first_bit < 0:
                yield self._wrong(one, f"{self._name(place)} stands {-place.first_bit} bits before the packet")
        fixed = [place for place in places if place.first_bit is not None and place.size_bits]
        end = max((place.first_bit or 0) + (place.size_bits or 0) for place in fixed) if fixed else 0
        if end > 8 * PACKET_OCTETS_MAX:
            yield self._wrong(one, f"it has {-(-end // 8):,} octets; a packet has at most {PACKET_OCTETS_MAX:,}")
        yield from self._overlaps(one, fixed)

    def _held_by(self, name: str) -> frozenset[str]:
        """Return the parameters in a container and its bases."""
        if name not in self._held:
            entries = (place.entry for place in self._all_places(name))
            self._held[name] = frozenset(one.parameter for one in entries if isinstance(one, ParameterEntry))
        return self._held[name]

    def _all_places(self, name: str) -> list[layout.Place]:
        """Return the places of a container; none when so many were looked at that it would take too long."""
        places = layout.places(self._database, name, self._sizes) if self._places_left > 0 else []
        self._places_left -= len(places) + 1
        return places

    def _name(self, place: layout.Place) -> str:
        entry = place.entry
        if isinstance(entry, FixedEntry):
            return "padding"
        return self._short(entry.parameter if isinstance(entry, ParameterEntry) else entry.container)

    def _stated_before(self, one: Container, place: layout.Place, seen: set[str]) -> Iterator[Remark]:
        for name in references.stating(self._database, place.entry):
            known = references.defined_part(self._database, name)
            if known is not None and known not in seen:
                why = f"{self._name(place)} depends on {self._short(name)}, which does not stand before it"
                yield self._wrong(one, why)

    def _overlaps(self, one: Container, fixed: list[layout.Place]) -> Iterator[Remark]:
        """Entries of one container that hold the same bits, each with the first that it meets.

        Those under conditions may, and a container may look again at the bits of its base.
        """
        last: layout.Place | None = None
        for place in sorted(fixed, key=lambda each: (each.first_bit or 0, each.depth)):
            entry = place.entry
            if isinstance(entry, ContainerEntry | FixedEntry) or entry.condition != AllOf():
                continue
            if place.container != one.name:
                continue
            start, end = place.first_bit or 0, (place.first_bit or 0) + (place.size_bits or 0)
            last_end = 0 if last is None else (last.first_bit or 0) + (last.size_bits or 0)
            if last is not None and start < last_end:
                under = f"{self._name(last)} (bits {last.first_bit} to {last_end - 1})"
                yield self._wrong(one, f"{self._name(place)} (bit {start}) lies on {under}")
            if end > last_end:
                last = place

    # ---- identification

    def _identification(self) -> Iterator[Remark]:
        told: dict[tuple[str, str], Container] = {}
        for one in self._database.containers.values():
            if not one.base:
                continue
            key = (one.base, _order_apart(one.restriction))
            other = told.setdefault(key, one)
            if other is not one:
                how = words.match(one.restriction, self._short)
                yield self._wrong(one, f"nothing tells it from {self._short(other.name)}: both are met when {how}")
        packets = [one for one in self._database.containers.values() if not one.abstract]
        if self._database.containers and not self._database.roots:
            yield Remark("wrong", "roots", "there are none: no packet is ever identified")
        elif self._database.containers and not packets:
            yield Remark("wrong", "the database", "all containers are abstract: no packet is ever identified", NOWHERE)


# ---- helpers ----------------------------------------------------------------------------------------------------


def _included(one: Container) -> list[str]:
    return [entry.container for entry in one.entries if isinstance(entry, ContainerEntry)]


def _parts(one: ParameterType) -> list[str]:
    return ([one.element_type] if one.element_type else []) + [member.type_name for member in one.members]


def _cycles(nodes: Mapping[str, Any], edges: Callable[[Any], Iterable[str]]) -> Iterator[list[str]]:
    """Yield each cycle once; without recursion, for graphs of any depth."""
    done: set[str] = set()
    for start in nodes:
        path: list[str] = []
        on_path: dict[str, int] = {}
        stack: list[tuple[str, Iterator[str]]] = []
        if start not in done:
            stack.append((start, iter(edges(nodes[start]))))
            on_path[start] = 0
            path.append(start)
        while stack:
            name, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                stack.pop()
                path.pop()
                del on_path[name]
                done.add(name)
            elif following in on_path:
                yield path[on_path[following] :]
            elif following in nodes and following not in done:
                on_path[following] = len(path)
                path.append(following)
                stack.append((following, iter(edges(nodes[following]))))


def _wrong_integer(one: IntegerEncoding) -> Iterator[str]:
    if not 1 <= one.size_bits <= 64:
        yield f"an integer of {one.size_bits} bits; 1 to 64 can be decoded"
    digit = {IntegerKind.BCD: 8, IntegerKind.PACKED_BCD: 4}.get(one.kind, 1)
    if one.size_bits % digit:
        yield f"{one.kind} of {one.size_bits} bits; a digit has {digit}"


def _wrong_order(encoding: object) -> Iterator[str]:
    if isinstance(encoding, IntegerEncoding | FloatEncoding) and encoding.byte_order:
        octets, bits = divmod(encoding.size_bits, 8)
        if bits:
            yield f"a byte order of {encoding.size_bits} bits: only whole octets have an order"
        elif sorted(encoding.byte_order) != list(range(octets)):
            yield f"the byte order {list(encoding.byte_order)} does not name each of {octets} octets once"


def _is_charset(name: str) -> bool:
    try:
        codecs.lookup(name)
    except (LookupError, ValueError):
        return False
    return True


def _calibrators(one: ParameterType) -> list[Calibrator]:
    every = [one.calibration.default, *(context.calibrator for context in one.calibration.contexts)]
    return [calibrator for calibrator in every if calibrator is not None]


def _wrong_calibrator(one: Calibrator) -> Iterator[str]:
    if isinstance(one, Polynomial) and not one.coefficients:
        yield "a polynomial without coefficients"
    if isinstance(one, Points) and one != UNUSABLE:  # of that one its reader has told
        if len(one.points) < 1 + one.order:
            yield f"{len(one.points)} points; straight lines need 2" if one.order else "no points"
        if any(not one.points[k][0] <= one.points[k + 1][0] for k in range(len(one.points) - 1)):
            yield "points whose raw values do not rise"
    if isinstance(one, States):
        yield from _wrong_states(one)


def _wrong_states(one: States) -> Iterator[str]:
    ranges = sorted((state.low, state.high, k) for k, state in enumerate(one.states))
    for low, high, _ in ranges:
        if low > high:
            yield f"a state from {words.number(low)} to {words.number(high)}"
    last_high: float | None = None
    for low, high, k in ranges:
        if last_high is not None and low <= last_high:
            yield f"the state {one.states[k].label!r} ({words.number(low)}) lies on another: the first of them counts"
            return
        last_high = high if last_high is None else max(last_high, high)


def _limits(alarms: Alarms) -> list[Limits]:
    every = [alarms.default, *(context.limits for context in alarms.contexts)]
    return [limits for limits in every if limits is not None]


def _labels(one: ParameterType) -> set[str] | None:
    """Return the labels that a type can have, None when it is no matter of labels."""
    if one.kind == "boolean":
        return {one.zero_text, one.one_text}
    states = [each for each in _calibrators(one) if isinstance(each, States)]
    if one.kind != "enumerated" or len(states) != len(_calibrators(one)) or not states:
        return None
    return {state.label for each in states for state in each.states} | {each.otherwise for each in states}


def _is_empty(one: Interval) -> bool:
    if one.low is None or one.high is None:
        return False
    return one.low > one.high or (one.low == one.high and not (one.low_included and one.high_included))


def _hidden_limits(limits: Limits) -> Iterator[str]:
    """A milder limit is never seen when a graver one is at least as tight on both sides."""
    outside = [limit for limit in limits.ranges if not limit.inside and limit.severity is not Severity.NONE]
    for mild in outside:
        for grave in outside:
            if grave.severity > mild.severity and _is_within(grave, mild):
                mild_text, grave_text = (words.interval(limit.interval) for limit in (mild, grave))
                yield (
                    f"its {mild.severity.name.lower()} limits {mild_text} are never seen: "
                    f"{grave.severity.name.lower()} is {grave_text}"
                )


def _is_within(inner: RangeLimit, outer: RangeLimit) -> bool:
    one, other = inner.interval, outer.interval
    low = other.low is None or (one.low is not None and one.low >= other.low)
    high = other.high is None or (one.high is not None and one.high <= other.high)
    return low and high


def _order_apart(match: Match) -> str:
    """Return a text that is the same for conditions that differ in the order of their terms only."""
    if isinstance(match, AllOf):
        return "&".join(sorted(repr(term) for term in match.terms))
    return repr(match)
