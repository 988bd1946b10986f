"""What a database may ask for, whatever it was read from: a few lines can say more than any machine holds.

Containers that include others twice, and these others twice again, are 2^60 entries after 60 lines. All is counted
here, each definition once, before anything is laid out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from gateway_codecs.mdb.model import (
    BinaryEncoding,
    Container,
    ContainerEntry,
    Database,
    FixedEntry,
    FloatEncoding,
    IntegerEncoding,
    Parameter,
    ParameterEntry,
    ParameterType,
    RestOfPacket,
    StringEncoding,
)
from gateway_codecs.mdb.report import DatabaseError

DEPTH_MAX = 64
ENTRIES_MAX = 100_000
"""Values of one packet, those of included containers, aggregates and arrays of aggregates counted."""
PACKET_BITS_MAX = 8 * 65_542  # CCSDS 133.0-B-2, 4.1.3.5.3: 65,536 octets of data behind a header of 6

Edges = Callable[[Any], Iterable[str]]


def refuse_absurd(database: Database) -> None:
    """Refuse what would not end, or not fit. Raises DatabaseError with the definition's place; cycles are no matter
    of this: `check` tells them, and what is in one is not decoded."""
    for one in database.types.values():
        _refuse_size(one)
    types = _counted(database.types, _parts, lambda _: 1, "type")
    of_type = {name: types.get(one.type_name, 1) for name, one in database.parameters.items()}

    def own(one: Container) -> int:
        return sum(_own(entry, of_type) for entry in one.entries)

    entries = _counted(database.containers, _included, own, "container")
    _refuse_chains(database, entries)


def _own(entry: Any, of_type: Mapping[str, int]) -> int:
    if isinstance(entry, FixedEntry) and not 0 <= entry.size_bits <= PACKET_BITS_MAX:
        raise DatabaseError(f"padding of {entry.size_bits:,} bits; a packet holds at most {PACKET_BITS_MAX:,}")
    return of_type.get(entry.parameter, 1) if isinstance(entry, ParameterEntry) else 1


def _refuse_size(one: ParameterType) -> None:
    encoding = one.encoding
    if isinstance(encoding, IntegerEncoding | FloatEncoding):
        sizes = [encoding.size_bits]
    elif isinstance(encoding, StringEncoding | BinaryEncoding):
        size = encoding.size.trailing_bits if isinstance(encoding.size, RestOfPacket) else encoding.size
        sizes = [encoding.tag_bits, *([size] if isinstance(size, int) else [])]
    else:
        return
    wrong = [size for size in sizes if not 0 <= size <= PACKET_BITS_MAX]
    if wrong:
        hint = "give a size that a packet can have, or say which parameter states it"
        raise DatabaseError(f"{one.name} has {wrong[0]:,} bits; 0 to {PACKET_BITS_MAX:,} can be", one.where, hint)


def _included(one: Container) -> list[str]:
    return [entry.container for entry in one.entries if isinstance(entry, ContainerEntry)]


def _parts(one: ParameterType) -> list[str]:
    return ([one.element_type] if one.element_type else []) + [member.type_name for member in one.members]


def _refuse_chains(database: Database, entries: Mapping[str, int]) -> None:
    """A container has the entries of its bases too."""

    def base(one: Container) -> list[str]:
        return [one.base] if one.base else []

    _counted(database.containers, base, lambda one: entries[one.name], "container")


def _counted(nodes: Mapping[str, Any], edges: Edges, own: Callable[[Any], int], what: str) -> dict[str, int]:
    """Return how many entries each node has with those of the nodes it names. Raises DatabaseError beyond a bound."""
    counts: dict[str, int] = {}
    depths: dict[str, int] = {}
    for one in _inner_first(nodes, edges):
        below = [name for name in edges(one) if name in counts]  # what is in a cycle is not counted yet
        depths[one.name] = 1 + max((depths[name] for name in below), default=0)
        counts[one.name] = max(own(one), 1) + sum(counts[name] for name in below)
        if depths[one.name] > DEPTH_MAX:
            raise DatabaseError(f"{what} {one.name} is nested deeper than {DEPTH_MAX}", one.where)
        if counts[one.name] > ENTRIES_MAX:
            message = f"{what} {one.name} has {counts[one.name]:,} entries, those of its parts counted"
            raise DatabaseError(f"{message}; at most {ENTRIES_MAX:,}", one.where, "fewer parts, or an array of them")
    return counts


def _inner_first(nodes: Mapping[str, Any], edges: Edges) -> Iterator[Parameter | ParameterType | Container | Any]:
    """Yield each node after those that it names, but for cycles; without recursion, for graphs of any depth."""
    begun: set[str] = set()
    for start in nodes:
        stack = [(start, iter(edges(nodes[start])))] if start not in begun else []
        begun.add(start)
        while stack:
            name, rest = stack[-1]
            following = next((other for other in rest if other in nodes and other not in begun), None)
            if following is None:
                stack.pop()
                yield nodes[name]
            else:
                begun.add(following)
                stack.append((following, iter(edges(nodes[following]))))
