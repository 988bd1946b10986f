"""A container as steps: what to place, where, under which condition, how often. Compiled once for each packet type.

Inheritance, nested containers, arrays and aggregates are resolved here; what is left are leaves (one coded value under
one column name) and groups of steps. `walk` goes through the steps and finds where each leaf stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from gateway_codecs.mdb.model import (
    ALWAYS,
    AllOf,
    BinaryEncoding,
    Comparison,
    Container,
    ContainerEntry,
    Database,
    Dimension,
    DynamicInteger,
    Entry,
    Expression,
    FixedEntry,
    FloatEncoding,
    FloatKind,
    Integer,
    IntegerEncoding,
    IntegerKind,
    Location,
    LookupInteger,
    Match,
    Not,
    ParameterEntry,
    ParameterType,
    Size,
    StringEncoding,
    TimeEncoding,
)
from gateway_codecs.mdb.report import DatabaseError

NESTED_MAX = 64
LEAVES_MAX = 100_000
"""Coded values in the definition of one packet type, each repetition counted once."""
_DIGIT_BITS = {IntegerKind.BCD: 8, IntegerKind.PACKED_BCD: 4}


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """One coded value: the column it belongs to, its type, and its bits when they are the same in every packet."""

    name: str
    kind: ParameterType
    parameter: str
    size_bits: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Count:
    """`last` - `first` + `more` occurrences."""

    last: Integer
    first: Integer = 0
    more: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """What must be known of a packet before a step can be placed."""

    what: Literal["condition", "bits", "last", "first", "gap"]
    wanted: Match | Integer
    of: int = 0  # which count


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A leaf, a group or padding (bits): where, when, how often, `gap` bits between.

    `asks` is what depends on the packet. `container`: locations within count from its start.
    """

    body: Leaf | tuple[Step, ...] | int
    leaves: tuple[Leaf, ...]
    location: Location = Location()
    condition: Match = ALWAYS
    counts: tuple[Count, ...] = ()
    gap: Integer = 0
    container: bool = False
    first_ns: int = 0
    period_ns: int = 0
    asks: tuple[Ask, ...] = ()


Steps: TypeAlias = tuple[Step, ...]


def decodable(encoding: IntegerEncoding | FloatEncoding) -> bool:
    """Return whether an encoding can be: its size fits its kind and its byte order."""
    size, order = encoding.size_bits, encoding.byte_order
    if order and (size != 8 * len(order) or sorted(order) != list(range(len(order)))):
        return False
    if isinstance(encoding, FloatEncoding):
        return size in ({16, 32, 64} if encoding.kind is FloatKind.IEEE_754 else {32, 48})
    return 1 <= size <= 64 and size % _DIGIT_BITS.get(encoding.kind, 1) == 0


def fixed_bits(kind: ParameterType) -> int | None:
    """Return the bits that a scalar type always takes, None when the packet says how many."""
    encoding = kind.encoding
    if isinstance(encoding, IntegerEncoding | FloatEncoding):
        return max(encoding.size_bits, 0)
    if isinstance(encoding, TimeEncoding):
        return 8 * encoding.code.t_field_octets if encoding.code.p_field == "implied" else None
    if isinstance(encoding, StringEncoding):
        return encoding.size if isinstance(encoding.size, int) and encoding.size >= 0 else None
    if isinstance(encoding, BinaryEncoding):
        fixed = isinstance(encoding.size, int) and encoding.size >= 0 and not encoding.tag_bits
        return encoding.size if fixed and isinstance(encoding.size, int) else None
    return 0


def chain(database: Database, name: str) -> list[Container]:
    """Return a container with its bases, the outermost first. Raises DatabaseError for a cycle or an unknown name."""
    found: list[Container] = []
    while name:
        if name not in database.containers:
            raise DatabaseError(f"container {name} is not defined")
        found.append(database.containers[name])
        if len(found) > NESTED_MAX:
            raise DatabaseError(f"container {found[0].name}: more than {NESTED_MAX} bases", found[0].where)
        name = found[-1].base
    return found[::-1]


class Compiler:
    """Makes the steps of containers of one database; what several packet types share is made once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._made: dict[str, Step] = {}
        self._making: set[str] = set()

    def packet(self, name: str) -> Step:
        """Return a container with its bases as one step.

        Raises DatabaseError for a definition without an end, one of too many values, and unknown names.
        """
        if name in self._made:
            return self._made[name]
        if name in self._making or len(self._making) > NESTED_MAX:
            raise DatabaseError(f"container {name} holds itself, or containers are nested deeper than {NESTED_MAX}")
        self._making.add(name)
        try:
            held = [entry for one in chain(self._database, name) for entry in one.entries]
            self._made[name] = _group([self._entry(entry) for entry in held], container=True)
        finally:
            self._making.discard(name)
        return self._made[name]

    def _entry(self, entry: Entry) -> Step:
        if isinstance(entry, FixedEntry):
            return _asked(Step(max(entry.size_bits, 0), (), entry.location))
        if isinstance(entry, ContainerEntry):
            whole = self.packet(entry.container)
            body, leaves, container = whole.body, whole.leaves, True
            counts: tuple[Count, ...] = ()
        else:
            inner = self._parameter(entry)
            body, leaves, counts, container = inner.body, inner.leaves, inner.counts, False
        repeat = entry.repeat
        if repeat is None:
            return _asked(Step(body, leaves, entry.location, entry.condition, counts, container=container))
        if counts and repeat.offset_bits != 0:  # the gap is between the arrays, not between their elements
            body, counts = (_asked(Step(body, leaves, counts=counts)),), ()
        counts = (Count(repeat.count), *counts)
        times = (repeat.first_ns, repeat.period_ns)
        step = Step(body, leaves, entry.location, entry.condition, counts, repeat.offset_bits, container, *times)
        return _asked(step)

    def _parameter(self, entry: ParameterEntry) -> Step:
        parameter = self._database.parameters.get(entry.parameter)
        if parameter is None:
            raise DatabaseError(f"parameter {entry.parameter} is not defined")
        return self._typed(entry.parameter, entry.parameter, parameter.type_name, entry.dimensions, 0)

    def _typed(self, name: str, parameter: str, type_name: str, dimensions: tuple[Dimension, ...], depth: int) -> Step:
        kind = self._database.types.get(type_name)
        if kind is None or depth > NESTED_MAX:
            raise DatabaseError(f"{name}: type {type_name} " + ("is not defined" if kind is None else "never ends"))
        if kind.kind == "aggregate":
            members = [
                self._typed(f"{name}.{member.name}", parameter, member.type_name, (), depth + 1)
                for member in kind.members
            ]
            return _group(members)
        if kind.kind == "array":
            element = self._typed(name, parameter, kind.element_type, (), depth + 1)
            counts = tuple(Count(one.last, one.first, 1) for one in dimensions or kind.dimensions)
            return _asked(Step(element.body, element.leaves, counts=(*counts, *element.counts)))
        leaf = Leaf(name, kind, parameter, fixed_bits(kind))
        return Step(leaf, (leaf,))


def _group(steps: list[Step], container: bool = False) -> Step:
    leaves = tuple(leaf for step in steps for leaf in step.leaves)
    if len(leaves) > LEAVES_MAX:
        raise DatabaseError(f"{leaves[0].name} and what follows: more than {LEAVES_MAX} values in one packet")
    return Step(tuple(steps), leaves, container=container)


def _asked(step: Step) -> Step:
    """Return the step with what must be asked of each packet, in the order in which it is needed."""
    asks: list[Ask] = [] if step.condition == ALWAYS else [Ask("condition", step.condition)]
    numbers: list[tuple[Literal["bits", "last", "first", "gap"], Integer, int]] = [("bits", step.location.bits, 0)]
    for k, count in enumerate(step.counts):
        numbers += [("last", count.last, k), ("first", count.first, k)]
    numbers.append(("gap", step.gap, 0))
    asks += [Ask(what, wanted, k) for what, wanted, k in numbers if not isinstance(wanted, int)]
    known = (step.body, step.leaves, step.location, step.condition, step.counts, step.gap, step.container)
    return Step(*known, step.first_ns, step.period_ns, tuple(asks))


# ---- which parameters something refers to ----


def names_of_match(match: Match) -> Iterator[str]:
    """Give the names that a condition looks at."""
    if isinstance(match, Comparison):
        yield match.parameter
        if match.other:
            yield match.other
    elif isinstance(match, Not):
        yield from names_of_match(match.term)
    else:
        for term in match.terms:
            yield from names_of_match(term)


def names_of_integer(wanted: Size | None) -> Iterator[str]:
    """Give the names that a number or size looks at."""
    if isinstance(wanted, DynamicInteger):
        yield wanted.parameter
    elif isinstance(wanted, LookupInteger):
        for condition, _ in wanted.cases:
            yield from names_of_match(condition)


def names_of_type(kind: ParameterType, expression_names: dict[str, tuple[str, ...]]) -> Iterator[str]:
    """Give the names that the engineering value of a type looks at; `expression_names` by expression text."""
    calibrators = [kind.calibration.default, *(one.calibrator for one in kind.calibration.contexts)]
    for calibrator in calibrators:
        if isinstance(calibrator, Expression):
            yield from (name for name in expression_names.get(calibrator.text, ()) if name != "raw")
    for context in kind.calibration.contexts:
        yield from names_of_match(context.context)
    if kind.time is not None and kind.time.offset_from:
        yield kind.time.offset_from


def names_asked(step: Step) -> Iterator[str]:
    """Give the names that the layout of a step depends on."""
    for ask in step.asks:
        if ask.what == "condition":
            yield from names_of_match(ask.wanted)  # type: ignore[arg-type]
        else:
            yield from names_of_integer(ask.wanted)  # type: ignore[arg-type]
    if isinstance(step.body, Leaf):
        encoding = step.body.kind.encoding
        if isinstance(encoding, StringEncoding | BinaryEncoding):
            yield from names_of_integer(encoding.size)
    elif isinstance(step.body, tuple):
        for inner in step.body:
            yield from names_asked(inner)


def is_plain(match: Match) -> bool:
    """Return whether a condition always holds."""
    return match == ALWAYS or (isinstance(match, AllOf) and not match.terms)
