"""Two versions of a database: which parameters have other values with the new one, and why; what came and went.

A value is other when it is coded, calibrated, placed or found otherwise, when its packets are told otherwise, or when
a parameter that it depends on is other. Limits, units and descriptions are told too, and change no value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

from gateway_codecs.mdb import layout, references, words
from gateway_codecs.mdb.canonical import digest
from gateway_codecs.mdb.model import (
    ALWAYS,
    BinaryEncoding,
    Comparison,
    Container,
    ContainerEntry,
    Database,
    DynamicInteger,
    Entry,
    FixedEntry,
    LookupInteger,
    Match,
    Not,
    Parameter,
    ParameterEntry,
    ParameterType,
    Size,
    StringEncoding,
)

Kind = Literal["parameter", "packet", "type"]
What = Literal["added", "removed", "changed"]
D = TypeVar("D", Parameter, ParameterType, Container)
Used: TypeAlias = tuple[str, bool]
"""A parameter that is used, and whether its engineering value is (else its raw one)."""
SHOWN = 3
NAMES_MAX = 10


@dataclass(frozen=True, slots=True)
class Change:
    """One definition that differs. `values` = decoded values differ, not only what is said of them."""

    kind: Kind
    what: What
    name: str
    values: bool = False
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """All that differs, in the order of the new database; what was removed stands last."""

    old_digest: str
    new_digest: str
    changes: tuple[Change, ...] = ()

    @property
    def other_values(self) -> tuple[str, ...]:
        """The qualified names of the parameters that are in both and have other values."""
        return tuple(
            one.name for one in self.changes if one.kind == "parameter" and one.what == "changed" and one.values
        )


def diff(old: Database, new: Database) -> Difference:
    """Compare two databases by the qualified names of their definitions."""
    digests = digest(old), digest(new)
    if digests[0] == digests[1]:
        return Difference(*digests)
    return Difference(*digests, tuple(_Diff(old, new).changes()))


class _Diff:
    def __init__(self, old: Database, new: Database) -> None:
        self._old, self._new = old, new
        self._short = words.short_names(new)
        self._why: dict[str, list[str]] = {}  # of values that are other, by parameter
        self._also: dict[str, list[str]] = {}  # what differs and changes no value
        self._raw: set[str] = set()  # those of which even the raw values are other

    def changes(self) -> list[Change]:
        """Return every change."""
        both = [name for name in self._new.parameters if name in self._old.parameters]
        for name in both:
            self._meaning(name)
        self._places(both)
        self._follow(both)
        parameters = [
            Change(
                "parameter",
                "changed",
                name,
                name in self._why,
                tuple(self._why.get(name, []) + self._also.get(name, [])),
            )
            for name in both
            if name in self._why or name in self._also
        ]
        return [
            *self._came("parameter", self._old.parameters, self._new.parameters, self._about_parameter),
            *parameters,
            *self._gone("parameter", self._old.parameters, self._new.parameters),
            *self._packets(),
            *self._types(),
        ]

    def _came(
        self, kind: Kind, old: Mapping[str, D], new: Mapping[str, D], about: Callable[[D], tuple[str, ...]]
    ) -> list[Change]:
        return [Change(kind, "added", name, True, about(one)) for name, one in new.items() if name not in old]

    @staticmethod
    def _gone(kind: Kind, old: Mapping[str, D], new: Mapping[str, D]) -> list[Change]:
        return [Change(kind, "removed", name, True) for name in old if name not in new]

    # ---- parameters

    def _about_parameter(self, one: Parameter) -> tuple[str, ...]:
        if one.derivation:
            return (f"derived: {one.derivation}",)
        kind = self._new.types.get(one.type_name)
        return (words.type_of(kind, self._short),) if kind is not None else ()

    def _differs(self, name: str, what: str, old: str, new: str) -> None:
        self._why.setdefault(name, []).append(f"{what}: {old} -> {new}" if old != new else f"{what} differs")

    def _mentions(self, name: str, what: str, old: str, new: str) -> None:
        self._also.setdefault(name, []).append(f"{what}: {old or 'none'} -> {new or 'none'}" if old != new else what)

    def _meaning(self, name: str) -> None:
        """Note what differs in a parameter itself and in its type."""
        old, new = self._old.parameters[name], self._new.parameters[name]
        short = self._short
        if old.derivation != new.derivation or old.source != new.source:
            self._differs(name, "derivation", old.derivation or str(old.source), new.derivation or str(new.source))
        if repr(old.valid_when) != repr(new.valid_when):
            self._differs(name, "valid when", words.match(old.valid_when, short), words.match(new.valid_when, short))
        if repr(old.initial) != repr(new.initial):
            self._differs(name, "first value", str(old.initial), str(new.initial))
        if (old.description, old.long_description) != (new.description, new.long_description):
            self._mentions(name, "description", old.description, new.description)
        if old.aliases != new.aliases:
            self._mentions(name, "aliases", ", ".join(old.aliases), ", ".join(new.aliases))
        if old.decimals != new.decimals:
            self._mentions(name, "decimals", str(old.decimals), str(new.decimals))
        types = self._old.types.get(old.type_name), self._new.types.get(new.type_name)
        if types[0] is not None and types[1] is not None:
            self._type(name, types[0], types[1], ())
        elif types[0] is not types[1]:
            self._differs(name, "type", old.type_name, new.type_name)

    def _type(self, name: str, old: ParameterType, new: ParameterType, path: tuple[str, ...]) -> None:
        """Note what differs between two types; of arrays and aggregates what differs inside."""
        if len(path) > layout.DEPTH_MAX:
            return
        within = f"{'.'.join(path)} " if path else ""
        short = self._short
        if _repr(old.encoding) != _repr(new.encoding) or old.kind != new.kind:
            self._differs(name, f"{within}coding", words.type_of(old, short), words.type_of(new, short))
            self._raw.add(name)
        if _repr(old.dimensions) != _repr(new.dimensions):
            self._differs(name, f"{within}size", words.type_of(old, short), words.type_of(new, short))
        self._calibration(name, within, old, new)
        for what, pair in {
            "time": (old.time, new.time),
            "texts": ((old.zero_text, old.one_text), (new.zero_text, new.one_text)),
            "engineering size": ((old.signed, old.size_bits), (new.signed, new.size_bits)),
            "valid range": ((old.valid_range, old.valid_range_of_raw), (new.valid_range, new.valid_range_of_raw)),
        }.items():
            if _repr(pair[0]) != _repr(pair[1]):
                self._differs(name, f"{within}{what}", *(_told(what, one, self) for one in (old, new)))
        self._alarms(name, within, old, new)
        if old.unit != new.unit:
            self._mentions(name, f"{within}unit", old.unit, new.unit)
        self._inside(name, old, new, path)

    def _calibration(self, name: str, within: str, old: ParameterType, new: ParameterType) -> None:
        one, other = old.calibration, new.calibration
        if _repr(one.default) != _repr(other.default):
            texts = (words.calibrator(each.default, self._short) for each in (one, other))
            self._differs(name, f"{within}calibration", *texts)
        if _repr(one.contexts) != _repr(other.contexts):
            self._differs(name, f"{within}calibration under conditions", *(self._contexts(each) for each in (old, new)))

    def _contexts(self, one: ParameterType) -> str:
        told = [
            f"if {words.match(each.context, self._short)}: {words.calibrator(each.calibrator, self._short)}"
            for each in one.calibration.contexts
        ]
        return "; ".join(told) or "none"

    def _alarms(self, name: str, within: str, old: ParameterType, new: ParameterType) -> None:
        if _repr(old.alarms.default) != _repr(new.alarms.default):
            self._mentions(
                name, f"{within}limits", *("; ".join(words.limits(one.alarms.default)) for one in (old, new))
            )
        if _repr(old.alarms.contexts) != _repr(new.alarms.contexts):
            self._also.setdefault(name, []).append(f"{within}limits under conditions differ")

    def _inside(self, name: str, old: ParameterType, new: ParameterType, path: tuple[str, ...]) -> None:
        if [one.name for one in old.members] != [one.name for one in new.members]:
            self._differs(name, "members", *(", ".join(each.name for each in one.members) for one in (old, new)))
            return
        pairs = [(f"{one.name}", one.type_name, other.type_name)
                 for one, other in zip(old.members, new.members, strict=True)]  # fmt: skip
        if old.element_type and new.element_type:
            pairs.append(("elements", old.element_type, new.element_type))
        for what, one_name, other_name in pairs:
            one, other = self._old.types.get(one_name), self._new.types.get(other_name)
            if one is not None and other is not None:
                self._type(name, one, other, (*path, what))

    # ---- where they stand

    def _places(self, both: Iterable[str]) -> None:
        old, new = _occurrences(self._old), _occurrences(self._new)
        for name in both:
            one, other = old.get(name, {}), new.get(name, {})
            for packet in dict.fromkeys((*one, *other)):
                if one.get(packet) != other.get(packet):
                    text = self._moved(packet, one.get(packet), other.get(packet))
                    self._why.setdefault(name, []).append(text)
                    self._raw.add(name)

    def _moved(self, packet: str, old: _Held | None, new: _Held | None) -> str:
        name = self._short(packet)
        if old is None or new is None:
            return f"{name}: {'no longer in it' if new is None else 'also in it'}"
        if old.told != new.told:
            return f"{name}: the packet is told otherwise ({old.told_words} -> {new.told_words})"
        if [each[0] for each in old.places] != [each[0] for each in new.places]:
            return f"{name}: place {old.bits()} -> {new.bits()}"
        return f"{name}: when, how often or how large it stands there differs"

    # ---- what depends on others

    def _follow(self, both: list[str]) -> None:
        """Values are other too when they depend on such: by meaning, or because their place in a packet does."""
        meaning: dict[Used, set[str]] = {}
        place: dict[Used, set[str]] = {}
        for name, used in _used_for_places(self._new).items():
            for one in used:
                place.setdefault(one, set()).add(name)
        for name in both:
            for one in self._used_for_values(name):
                meaning.setdefault(one, set()).add(name)
        known = set(both)
        todo = [(name, raw) for name in self._why for raw in {False, name in self._raw}]
        while todo:
            changed, raw = todo.pop()
            for users, raw_too in ((meaning, False), (place, True)):
                for user in sorted(users.get((changed, not raw), set()) & known - {changed}):
                    if user not in self._why:
                        self._why[user] = [f"depends on {self._short(changed)}"]
                        todo.append((user, False))
                    if raw_too and user not in self._raw:
                        self._raw.add(user)
                        todo.append((user, True))

    def _used_for_values(self, name: str) -> set[Used]:
        parameter = self._new.parameters[name]
        names = [(one, True) for one in references.derived_from(parameter)]
        kind = self._new.types.get(parameter.type_name)
        names += [(one, True) for one in references.in_values(kind)] if kind is not None else []
        return _known(self._new, [*names, *_in_match(parameter.valid_when)])

    # ---- packets and types

    def _packets(self) -> list[Change]:
        old, new = self._old.containers, self._new.containers
        changed = []
        for name, one in new.items():
            if name in old and _repr(_bare(one)) != _repr(_bare(old[name])):
                told = self._packet_words(old[name], one)
                values = told != ("description",) if told else True
                changed.append(Change("packet", "changed", name, values, told))
        return [
            *self._came("packet", old, new, lambda one: (_told_by(one, self._short),)),
            *changed,
            *self._gone("packet", old, new),
            *self._roots(),
        ]

    def _packet_words(self, old: Container, new: Container) -> tuple[str, ...]:
        told = []
        if (old.base, repr(old.restriction)) != (new.base, repr(new.restriction)):
            told.append(f"told by: {_told_by(old, self._short)} -> {_told_by(new, self._short)}")
        if old.abstract != new.abstract:
            told.append("now only a base of others" if new.abstract else "now a packet of its own")
        names = [_entry_names(one) for one in (old, new)]
        for what, left, right in (("gains", names[1], names[0]), ("loses", names[0], names[1])):
            extra = [self._short(name) for name in left if name not in right]
            if extra:
                more = f" and {len(extra) - NAMES_MAX} more" if len(extra) > NAMES_MAX else ""
                told.append(f"{what} {', '.join(extra[:NAMES_MAX])}{more}")
        if _repr(old.entries) != _repr(new.entries) and not any(one.startswith(("gains", "loses")) for one in told):
            told.append("order, places or conditions of its entries differ")
        return tuple(told) or ("description",)

    def _roots(self) -> list[Change]:
        if self._old.roots == self._new.roots:
            return []
        texts = (", ".join(self._short(name) for name in one.roots) or "nothing" for one in (self._old, self._new))
        return [Change("packet", "changed", "roots", True, (f"identification begins with: {' -> '.join(texts)}",))]

    def _types(self) -> list[Change]:
        """Types that several parameters share; a parameter's own type is told with the parameter."""
        old = {name: one for name, one in self._old.types.items() if name not in self._old.parameters}
        new = {name: one for name, one in self._new.types.items() if name not in self._new.parameters}
        shared = [name for name in new if name in old and _repr(_bare(old[name])) != _repr(_bare(new[name]))]
        return [
            *self._came("type", old, new, lambda one: (words.type_of(one, self._short),)),
            *(Change("type", "changed", name, words=self._users(name)) for name in shared),
            *self._gone("type", old, new),
        ]

    def _users(self, name: str) -> tuple[str, ...]:
        users = [self._short(one.name) for one in self._new.parameters.values() if one.type_name == name]
        more = f" and {len(users) - NAMES_MAX} more" if len(users) > NAMES_MAX else ""
        return (f"used by {', '.join(users[:NAMES_MAX])}{more}",) if users else ("used by no parameter directly",)

    def told_time(self, one: ParameterType) -> str:
        """Return a time's meaning in words."""
        return words.time(one.time, self._short) if one.time is not None else "none"


@dataclass(frozen=True, slots=True)
class _Held:
    """Where a parameter stands in a packet, and how that packet is told."""

    told: tuple[str, ...]
    told_words: str
    places: tuple[tuple[int | None, str, str], ...]

    def bits(self) -> str:
        """Return the places in words."""
        bits = ["varies" if first is None else f"bit {first}" for first, _, _ in self.places[:SHOWN]]
        return ", ".join(bits) + (f" and {len(self.places) - SHOWN} more" if len(self.places) > SHOWN else "")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and (self.told, self.places) == (other.told, other.places)

    def __hash__(self) -> int:
        return hash((self.told, self.places))


def _occurrences(database: Database) -> dict[str, dict[str, _Held]]:
    """Return for each parameter the containers in which it stands; a base's entries are its own, not its packets'."""
    found: dict[str, dict[str, _Held]] = {}
    sizes = layout.Sizes(database)
    short = words.short_names(database)
    for name, one in database.containers.items():
        if not one.base and name not in database.roots:
            continue
        chain = layout.lineage(database, name)
        told = tuple(f"{each.name}:{each.restriction!r}" for each in chain)
        by_words = " and ".join(words.match(each.restriction, short) for each in chain if each.restriction != ALWAYS)
        held: dict[str, list[tuple[int | None, str, str]]] = {}
        conditions: list[str] = []
        for place in _own_places(database, name, sizes):
            del conditions[place.depth :]
            entry = place.entry
            if isinstance(entry, ContainerEntry):
                conditions.append(_repr((entry.condition, entry.repeat, place.each_bits)))
            elif isinstance(entry, ParameterEntry):
                how = _repr((entry.condition, entry.repeat, entry.dimensions, *conditions))
                held.setdefault(entry.parameter, []).append((place.first_bit, place.behind, how))
        for parameter, rows in held.items():
            found.setdefault(parameter, {})[name] = _Held(told, by_words or "always", tuple(rows))
    return found


def _used_for_places(database: Database) -> dict[str, set[Used]]:
    """Return for each parameter those that decide whether its packet is what it is, and where it stands in it."""
    found: dict[str, set[Used]] = {}
    sizes = layout.Sizes(database)
    for name in database.containers:
        for_packet = [use for one in layout.lineage(database, name) for use in _in_match(one.restriction)]
        told, before, own = _known(database, for_packet), frozenset[Used](), False
        for place in layout.places(database, name, sizes):
            own = place.container == name or (own and place.depth > 0)
            mine = _known(database, _in_entry(database, place.entry))
            if own and isinstance(place.entry, ParameterEntry):
                varying = before if place.first_bit is None else frozenset()
                found.setdefault(place.entry.parameter, set()).update(told, mine, varying)
            if not mine <= before:
                before |= mine
    return found


def _known(database: Database, uses: Iterable[Used]) -> set[Used]:
    return {(known, how) for one, how in uses if (known := references.defined_part(database, one)) is not None}


def _in_match(match: Match) -> list[Used]:
    if isinstance(match, Comparison):
        return [(match.parameter, match.calibrated), *([(match.other, match.calibrated)] if match.other else [])]
    terms = [match.term] if isinstance(match, Not) else list(match.terms)
    return [use for term in terms for use in _in_match(term)]


def _in_size(size: Size | None) -> list[Used]:
    if isinstance(size, DynamicInteger):
        return [(size.parameter, size.calibrated)]
    return [use for case, _ in size.cases for use in _in_match(case)] if isinstance(size, LookupInteger) else []


def _in_entry(database: Database, entry: Entry) -> list[Used]:
    uses = _in_size(entry.location.bits)
    if isinstance(entry, FixedEntry):
        return uses
    uses += _in_match(entry.condition)
    if entry.repeat is not None:
        uses += _in_size(entry.repeat.count) + _in_size(entry.repeat.offset_bits)
    if isinstance(entry, ParameterEntry) and entry.parameter in database.parameters:
        kind = database.types.get(database.parameters[entry.parameter].type_name)
        for dimension in entry.dimensions or (kind.dimensions if kind is not None else ()):
            uses += _in_size(dimension.first) + _in_size(dimension.last)
        if kind is not None and isinstance(kind.encoding, StringEncoding | BinaryEncoding):
            uses += _in_size(kind.encoding.size)
    return uses


def _own_places(database: Database, name: str, sizes: layout.Sizes) -> list[layout.Place]:
    """Return the places of a container's own entries, included ones too, behind those of its bases."""
    places, own = layout.places(database, name, sizes), False
    found = []
    for place in places:
        own = place.container == name or (own and place.depth > 0)
        if own:
            found.append(place)
    return found


def _told(what: str, one: ParameterType, of: _Diff) -> str:
    if what == "time":
        return of.told_time(one)
    if what == "texts":
        return f"{one.zero_text}, {one.one_text}"
    if what == "engineering size":
        return f"{'signed' if one.signed else 'unsigned'}, {one.size_bits} bits"
    if one.valid_range is None:
        return "none"
    return f"{'raw ' if one.valid_range_of_raw else ''}{words.interval(one.valid_range)}"


def _told_by(one: Container, short: words.Short) -> str:
    how = words.match(one.restriction, short) if one.restriction != ALWAYS else ""
    base = short(one.base) if one.base else ""
    return f"{base} with {how}" if base and how else base or how or "always"


def _entry_names(one: Container) -> list[str]:
    named = [entry for entry in one.entries if not isinstance(entry, FixedEntry)]
    return [entry.parameter if isinstance(entry, ParameterEntry) else entry.container for entry in named]


def _bare(one: Container | ParameterType) -> tuple[object, ...]:
    """Return all of a definition but where it stands."""
    return tuple(getattr(one, name) for name in type(one).__dataclass_fields__ if name != "where")


def _repr(value: object) -> str:
    return repr(value)
