"""Packets to columns: which type each packet is of, and the values of its parameters, many packets at a time.

A `Decoder` is made once for a database; what a packet type needs is compiled when its first packet comes. What packets
say raises nothing: values that cannot be are flagged, the other packets of the batch are not touched, and memory and
work are bounded by the octets that are given: a packet of a variable layout that asks more than its octets allow, or of
a batch that does, has the values before that, and the others are undecodable. Not for several threads at once.
"""

from __future__ import annotations

import contextlib
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from gateway_codecs.batches import I64Array, U8Array, gather
from gateway_codecs.mdb.columns import Column, Decoded
from gateway_codecs.mdb.derive import Derivations, Derived, Together
from gateway_codecs.mdb.identify import I32Array, Identification, Identifier, grouped
from gateway_codecs.mdb.model import Database
from gateway_codecs.mdb.report import DatabaseError
from gateway_codecs.mdb.shapes import UNEVEN_OCTETS, Packets, Shapes
from gateway_codecs.mdb.steps import Compiler
from gateway_codecs.mdb.walk import Layouts

SCATTERED = 2
"""Buffers larger than so many times their packets are packed first."""
SCATTERED_OCTETS = 1 << 16
WANTS_KEPT = 1024


class Decoder:
    """Decodes the packets of one mission database.

    `given_up` counts, by type, the packets that were left undecodable because their batch took too much work.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._compiler, self._layouts = Compiler(database), Layouts()
        self._identifier = Identifier(database, self._compiler, self._layouts)
        self.packet_types: tuple[str, ...] = tuple(self._identifier.packet_types)
        self._parameters = dict(database.parameters)
        self.derivations = Derivations(database)
        self._joined: dict[str, Derived] | None = None
        self.given_up: Counter[str] = Counter()
        self._shapes: OrderedDict[tuple[int, frozenset[str] | None], Shapes | None] = OrderedDict()

    @property
    def problems(self) -> Mapping[str, DatabaseError]:
        """Containers that cannot be used, and why; they are found when the first packet of their kind comes."""
        return self._identifier.problems

    def identify(self, octets: U8Array, offset: I64Array, length: I64Array) -> I32Array:
        """Return for each packet the index of its type in `packet_types`, int32 (n,); -1 = of no type."""
        return self.identification(octets, offset, length).types

    def identification(self, octets: U8Array, offset: I64Array, length: I64Array) -> Identification:
        """Return the type of each packet, and whether more than one container held (the first is taken)."""
        with np.errstate(all="ignore"):
            return self._identifier.identify(_packets(octets, offset, length))

    def decode(
        self, octets: U8Array, offset: I64Array, length: I64Array, want: frozenset[str] | None = None
    ) -> list[Decoded]:
        """Return the columns of packets octets[offset:offset+length], grouped by type and shape.

        Every packet of a type is in exactly one `Decoded`; those of no type are in none. `want` restricts the columns
        to these parameters (an aggregate: all its members). Derived parameters whose inputs all stand in the packet are
        columns too; those across packet types are up to who has both (`derivations`). Raises ValueError for packets
        beyond the octets.
        """
        packets = _packets(octets, offset, length)
        found: list[Decoded] = []
        with np.errstate(all="ignore"):  # once: it takes longer than most steps of a plan
            identified = self._identifier.identify(packets)
            for index, rows in _by_type(identified.types):
                found += self._decode(index, packets.chosen(rows), rows, want)
        if identified.ambiguous.any():
            found = [replace(one, ambiguous=int(identified.ambiguous[one.rows].sum())) for one in found]
        return found

    def _decode(self, index: int, packets: Packets, rows: I64Array, want: frozenset[str] | None) -> list[Decoded]:
        name = self.packet_types[index]
        shapes = self._shapes_of(index, want)
        if shapes is None:
            return [Decoded(name, rows, {})]
        before = shapes.given_up
        found = [
            Decoded(name, rows[mine], self._with_derived(columns, want)) for mine, columns in shapes.decode(packets)
        ]
        if shapes.given_up > before:
            self.given_up[name] += shapes.given_up - before
        return sorted(found, key=lambda one: int(one.rows[0])) if len(found) > 1 else found

    def joined(self) -> Mapping[str, Derived]:
        """Return the derived parameters whose inputs no packet type holds together, each after those that it reads."""
        if self._joined is None:
            within: set[str] = set()
            for name in self.packet_types if self.derivations.order else ():
                with contextlib.suppress(DatabaseError):
                    within |= self.derivations.within({leaf.name for leaf in self._compiler.packet(name).leaves})
            self._joined = {one.name: one for one in self.derivations.order if one.name not in within}
        return self._joined

    def _with_derived(self, columns: Mapping[str, Column], want: frozenset[str] | None) -> Mapping[str, Column]:
        if not self.derivations.order:
            return columns
        derived = self.derivations.columns(columns, want)
        if want is None:
            return Together(columns, derived) if derived else columns
        return {name: one for name, one in columns.items() if name in _columns({name}, want)} | derived

    def _shapes_of(self, index: int, want: frozenset[str] | None) -> Shapes | None:
        key = (index, want)
        if key not in self._shapes:
            self._shapes[key] = self._new_shapes(self.packet_types[index], want)
            if len(self._shapes) > WANTS_KEPT + 2 * len(self.packet_types):
                self._shapes.popitem(last=False)
        self._shapes.move_to_end(key)
        return self._shapes[key]

    def _new_shapes(self, name: str, want: frozenset[str] | None) -> Shapes | None:
        try:
            packet = self._compiler.packet(name)
        except DatabaseError as error:
            self._identifier.problems[name] = error
            return None
        inputs = None if want is None else self.derivations.inputs(want)
        wanted = None if inputs is None else _columns({leaf.name for leaf in packet.leaves}, inputs)
        return Shapes(self._layouts, packet, self._parameters, wanted)


def _columns(known: set[str], want: frozenset[str]) -> frozenset[str]:
    """Return the columns that are meant: parameters, members, all members of an aggregate, arrays of elements."""
    plain = {name.partition("[")[0] for name in want} | want
    return frozenset(one for one in known if any(one == name or one.startswith(f"{name}.") for name in plain))


def _packets(octets: U8Array, offset: I64Array, length: I64Array) -> Packets:
    offset, length = np.asarray(offset, np.int64), np.asarray(length, np.int64)
    if len(offset) and (int(offset.min()) < 0 or int(length.min()) < 0 or int((offset + length).max()) > len(octets)):
        raise ValueError(f"packets beyond the {len(octets)} octets that are given")
    total, longest = int(length.sum()), int(length.max(initial=0))
    if len(octets) > SCATTERED * total + SCATTERED_OCTETS:
        octets = gather(octets, offset, length)
        offset = np.cumsum(length) - length
    buffer = np.zeros(len(octets) + longest + 2 * UNEVEN_OCTETS, np.uint8)
    buffer[: len(octets)] = octets
    return Packets(buffer, offset, length)


def _by_type(types: I32Array) -> list[tuple[int, I64Array]]:
    return [(value, rows) for value, rows in grouped(types) if value >= 0]
