"""How much a container becomes when everything within it is written out: bounded before anybody does so.

A few lines of XTCE can say containers within containers, or arrays of arrays, of more entries than there is memory.
Only counts are computed here, each definition once.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway_codecs.mdb.model import (
    ALWAYS,
    BinaryEncoding,
    Container,
    Dimension,
    Entry,
    FixedEntry,
    FloatEncoding,
    IntegerEncoding,
    ParameterEntry,
    ParameterType,
    StringEncoding,
)
from gateway_codecs.mdb.report import Budget, DatabaseError
from gateway_codecs.mdb.xtce.containers import Read
from gateway_codecs.mdb.xtce.encodings import PACKET_BITS

ENTRIES_MAX = 100_000
"""Entries of one packet type, those of all containers within it written out, repeats counted once."""


class Extent(NamedTuple):
    """`bits` are at least needed; `values` at least stand there; `entries` are written out."""

    bits: int = 0
    values: int = 0
    entries: int = 0


class Bounds:
    """Refuses types and containers that no packet holds. Everything that they name is known and free of circles."""

    def __init__(self, read: Read, budget: Budget) -> None:
        self._read, self._budget = read, budget
        self._types: dict[str, Extent] = {}
        self._containers: dict[str, Extent] = {}
        self._total = 0

    def check(self, container: Container) -> None:
        """Take a container whose base and inner containers are taken. Raises DatabaseError."""
        extent = self._containers.get(container.base, Extent())
        for entry in container.entries:
            extent = _sum(extent, self._entry(entry))
        self._containers[container.name] = extent
        self._total += extent.entries
        wrong = ""
        if extent.bits > PACKET_BITS:
            wrong = f"needs at least {_told(extent.bits)} bits; a packet holds {PACKET_BITS:,}"
        elif extent.values > PACKET_BITS:
            wrong = f"holds at least {_told(extent.values)} values; a packet holds {PACKET_BITS:,} bits"
        elif extent.entries > ENTRIES_MAX:
            wrong = f"becomes {_told(extent.entries)} entries with all containers within it; at most {ENTRIES_MAX:,}"
        elif self._total > self._budget.definitions:
            wrong = f"brings all containers to more than {self._budget.definitions:,} entries"
        if wrong:
            raise DatabaseError(f"container {container.name} {wrong}", container.where)

    def _entry(self, entry: Entry) -> Extent:
        if isinstance(entry, FixedEntry):
            return Extent(entry.size_bits, 1, 1)
        if isinstance(entry, ParameterEntry):
            parameter = self._read.parameters[entry.parameter]
            once = self._typed(self._read.types[parameter.type_name], entry.dimensions)
        else:
            once = self._containers[entry.container]
        if entry.condition != ALWAYS:
            return Extent(0, 0, once.entries + 1)  # it may be absent
        count = entry.repeat.count if entry.repeat else 1
        times = max(count, 0) if isinstance(count, int) else 0
        return Extent(once.bits * times, once.values * times, once.entries + 1)

    def _typed(self, told: ParameterType, dimensions: tuple[Dimension, ...] = ()) -> Extent:
        if not dimensions and told.name in self._types:
            return self._types[told.name]
        extent = Extent(_bits(told), 1, 1)
        if told.kind == "array":
            inner = self._typed(self._read.types[told.element_type])
            times = 1
            for dimension in dimensions or told.dimensions:
                low, high = dimension.first, dimension.last
                times *= max(high - low + 1, 0) if isinstance(low, int) and isinstance(high, int) else 0
            extent = Extent(inner.bits * times, inner.values * times, inner.entries + 1)
        elif told.kind == "aggregate":
            extent = Extent()
            for member in told.members:
                extent = _sum(extent, self._typed(self._read.types[member.type_name]))
        if not dimensions:
            self._types[told.name] = extent
        return extent


def _sum(a: Extent, b: Extent) -> Extent:
    return Extent(a.bits + b.bits, a.values + b.values, a.entries + b.entries)


def _told(count: int) -> str:
    return f"{count:,}" if count < 10**15 else "more than 10^15"


def _bits(told: ParameterType) -> int:
    encoding = told.encoding
    if isinstance(encoding, IntegerEncoding | FloatEncoding):
        return encoding.size_bits
    if isinstance(encoding, BinaryEncoding | StringEncoding) and isinstance(encoding.size, int):
        return encoding.size
    return 0
