"""Where the entries of a packet stand: what can be said of it before there is a packet.

Used to show, to check and to compare databases; decoding has plans of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from gateway_codecs.mdb.model import (
    ALWAYS,
    Container,
    ContainerEntry,
    Database,
    Encoding,
    Entry,
    FixedEntry,
    FloatEncoding,
    IntegerEncoding,
    ParameterEntry,
    ParameterType,
    Reference,
    Repeat,
    StringEncoding,
    TimeEncoding,
)

PLACES_MAX, DEPTH_MAX = 30_000, 60


@dataclass(frozen=True, slots=True)
class Place:
    """An entry in a packet. Bits count from the first of the packet; None = that varies from packet to packet.

    `size_bits` is of all repeats together, `each_bits` of one. `depth` is 0 for entries of the packet and its bases,
    and one more in each container that is included. `behind` tells apart what the place depends on where it varies.
    """

    entry: Entry
    container: str
    depth: int
    first_bit: int | None
    size_bits: int | None
    each_bits: int | None
    behind: str = ""


def lineage(database: Database, name: str) -> list[Container]:
    """Return a container's bases, the first of them first, and itself; a cycle or a missing base ends it."""
    found: list[Container] = []
    while name in database.containers and all(one.name != name for one in found) and len(found) < DEPTH_MAX:
        found.append(database.containers[name])
        name = found[-1].base
    return found[::-1]


def places(database: Database, name: str, sizes: Sizes | None = None) -> list[Place]:
    """Return every entry of a container and its bases in order, with those of included containers behind theirs.

    At most `PLACES_MAX`; of what is included in a cycle, the first round. `sizes` saves work over many containers.
    """
    walk = _Walk(database, sizes or Sizes(database))
    for container in lineage(database, name):
        walk.entries(container, 0, (container.name,))
    return walk.found


def size_bits(database: Database, name: str) -> int | None:
    """Return the size of a packet of one size, None when it varies: where the last of its entries ends."""
    end: int | None = 0
    for place in places(database, name):
        if place.first_bit is None or place.size_bits is None:
            return None
        end = max(end or 0, place.first_bit + place.size_bits)
    return end


class Sizes:
    """Sizes of types, each computed once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, int | None] = {}
        self._depth = 0

    def of_type(self, name: str) -> int | None:
        """Return the bits of a type, None when they vary, or it is none."""
        if name not in self._known:
            self._known[name] = None  # what contains itself has no size
            one = self._database.types.get(name)
            self._depth += 1
            self._known[name] = None if one is None or self._depth > DEPTH_MAX else self._of(one)
            self._depth -= 1
        return self._known[name]

    def _of(self, one: ParameterType) -> int | None:
        if one.kind == "aggregate":
            sizes = [self.of_type(member.type_name) for member in one.members]
            return None if None in sizes else sum(size or 0 for size in sizes)
        if one.kind == "array":
            return self.of_array(one.element_type, one)
        return of_encoding(one.encoding)

    def of_array(self, element: str, one: ParameterType | ParameterEntry) -> int | None:
        """Return the bits of an array with the dimensions of a type or an entry."""
        size = self.of_type(element)
        for dimension in one.dimensions:
            if not isinstance(dimension.first, int) or not isinstance(dimension.last, int) or size is None:
                return None
            size *= max(0, dimension.last - dimension.first + 1)
        return size

    def of_entry(self, entry: ParameterEntry) -> int | None:
        """Return the bits of one occurrence."""
        parameter = self._database.parameters.get(entry.parameter)
        if parameter is None:
            return None
        one = self._database.types.get(parameter.type_name)
        if one is not None and one.kind == "array" and entry.dimensions:
            return self.of_array(one.element_type, entry)
        return self.of_type(parameter.type_name)


def of_encoding(encoding: Encoding | None) -> int | None:
    """Return the bits of an encoding, None when they vary; no encoding takes none."""
    if encoding is None:
        return 0
    if isinstance(encoding, IntegerEncoding | FloatEncoding):
        return encoding.size_bits
    if isinstance(encoding, TimeEncoding):
        return 8 * encoding.code.octets
    boxed = isinstance(encoding, StringEncoding) or not encoding.tag_bits
    return encoding.size if boxed and isinstance(encoding.size, int) else None


class _Walk:
    def __init__(self, database: Database, sizes: Sizes) -> None:
        self._database, self._sizes = database, sizes
        self._bit: int | None = 0
        self._behind = ""
        self.found: list[Place] = []

    def entries(self, container: Container, depth: int, path: tuple[str, ...]) -> None:
        """Place the entries of a container."""
        for entry in container.entries:
            if len(self.found) >= PLACES_MAX:
                return
            before = self._bit, self._behind
            self._move(entry)
            if isinstance(entry, ContainerEntry):
                self._include(entry, container.name, depth, path)
            else:
                each = entry.size_bits if isinstance(entry, FixedEntry) else self._sizes.of_entry(entry)
                repeat = None if isinstance(entry, FixedEntry) else entry.repeat
                self._add(entry, container.name, depth, each, repeated(each, repeat))
                self._pass(entry, repeated(each, repeat))
            if entry.location.reference is Reference.END:
                self._bit, self._behind = before

    def _move(self, entry: Entry) -> None:
        location = entry.location
        if location.reference is Reference.END:
            self._bit, self._behind = None, _chained("", location)
            return
        start = self._bit if location.reference is Reference.PREVIOUS else 0
        if not isinstance(location.bits, int):
            self._bit, self._behind = None, _chained(self._behind, location)
        elif start is None:
            self._behind = _chained(self._behind, location)
        else:
            if location.reference is not Reference.PREVIOUS:
                self._behind = ""
            bit = start + location.bits
            self._bit = bit + -bit % max(1, location.align_bits)

    def _include(self, entry: ContainerEntry, within: str, depth: int, path: tuple[str, ...]) -> None:
        at = len(self.found)
        first, behind = self._bit, self._behind
        inner = self._database.containers.get(entry.container)
        self._add(entry, within, depth, None, None)
        if inner is not None and entry.container not in path and len(path) < DEPTH_MAX:
            for one in lineage(self._database, entry.container):
                self.entries(one, depth + 1, (*path, entry.container))
        each = self._bit - first if self._bit is not None and first is not None else None
        size = repeated(each, entry.repeat)
        self.found[at] = Place(entry, within, depth, first, size, each, behind)
        self._bit = first
        self._pass(entry, size)

    def _add(self, entry: Entry, within: str, depth: int, each: int | None, size: int | None) -> None:
        self.found.append(Place(entry, within, depth, self._bit, size, each, self._behind))

    def _pass(self, entry: Entry, size: int | None) -> None:
        """Go to where an entry ends."""
        always = isinstance(entry, FixedEntry) or entry.condition == ALWAYS
        if size is None or not always or self._bit is None:
            self._bit, self._behind = None, _chained(self._behind, self._told(entry))
        else:
            self._bit += size

    def _told(self, entry: Entry) -> object:
        """Return what the size of an entry depends on."""
        if not isinstance(entry, ParameterEntry) or entry.parameter not in self._database.parameters:
            return entry
        one = self._database.types.get(self._database.parameters[entry.parameter].type_name)
        return (entry, None if one is None else (one.encoding, one.dimensions, one.element_type, one.members))


def repeated(each: int | None, repeat: Repeat | None) -> int | None:
    """Return the bits of all repeats of `each` bits."""
    if repeat is None:
        return each
    if each is None or not isinstance(repeat.count, int) or not isinstance(repeat.offset_bits, int):
        return None
    return max(0, repeat.count * each + (repeat.count - 1) * repeat.offset_bits) if repeat.count > 0 else 0


def _chained(behind: str, told: object) -> str:
    return hashlib.sha256(f"{behind}{told!r}".encode()).hexdigest()[:16]


def packets_of(database: Database, parameter: str) -> Iterator[tuple[str, Place]]:
    """Yield every container that is no mere base or part and holds a parameter, with its place there."""
    for name, one in database.containers.items():
        if one.abstract or (name not in database.roots and not one.base):
            continue
        for place in places(database, name):
            if isinstance(place.entry, ParameterEntry) and place.entry.parameter == parameter:
                yield name, place
