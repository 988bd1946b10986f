"""Which packet type: down the tree of containers, many packets at once.

Among the children of a container the first whose restriction holds is taken. Restrictions that compare whole numbers
for equality (APID, type, subtype) are looked up in tables; the others are evaluated over columns. A branch that ends
in an abstract container is none, and the next child is tried.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import BoolArray, I64Array
from gateway_codecs.mdb.conditions import Lookup, holds
from gateway_codecs.mdb.model import (
    AllOf,
    Comparison,
    Database,
    IntegerEncoding,
    IntegerKind,
    Match,
    Operator,
    Parameter,
)
from gateway_codecs.mdb.report import DatabaseError
from gateway_codecs.mdb.shapes import Packets, Shapes
from gateway_codecs.mdb.slots import closure
from gateway_codecs.mdb.steps import NESTED_MAX, Compiler, decodable, is_plain, names_of_match
from gateway_codecs.mdb.walk import Layouts

I32Array = NDArray[np.int32]
NOBODY = np.iinfo(np.int32).max


@dataclass(frozen=True, slots=True, eq=False)
class Identification:
    """`types` int32 (n,): index of the packet type, -1 = none; `ambiguous` bool (n,): more than one child held."""

    types: I32Array
    ambiguous: BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Children whose restrictions compare the same parameters with whole numbers.

    A packet's values are looked up in `values` (one sorted array for each parameter), their places make a key, and
    `keys` (sorted) says which child comes first and how many have the same.
    """

    parameters: tuple[tuple[str, bool], ...]
    values: tuple[I64Array, ...]
    keys: I64Array
    first: I32Array
    count: I32Array

    def find(self, look: Lookup, packets: int) -> tuple[I32Array, I32Array]:
        """Return (the first child that holds, NOBODY = none, how many hold), (n,) each."""
        key, hit = np.zeros(packets, np.int64), np.ones(packets, np.bool_)
        for (name, calibrated), values in zip(self.parameters, self.values, strict=True):
            known = look(name, calibrated)
            if known is None:
                return np.full(packets, NOBODY, np.int32), np.zeros(packets, np.int32)
            mine = known.values.view(np.int64)
            place = np.minimum(np.searchsorted(values, mine), len(values) - 1)
            hit &= values[place] == mine
            if known.known is not None:
                hit &= known.known
            key = key * len(values) + place
        place = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
        hit &= self.keys[place] == key
        return np.where(hit, self.first[place], NOBODY), np.where(hit, self.count[place], 0)


@dataclass(slots=True, eq=False)
class _Node:
    name: str
    index: int  # packet type, -1 = abstract
    restriction: Match
    children: list[_Node] = field(default_factory=list)
    shapes: Shapes | None = None
    tables: list[_Table] = field(default_factory=list)
    others: list[int] = field(default_factory=list)  # children whose restrictions are evaluated
    leaf_types: I32Array = field(default_factory=lambda: np.zeros(0, np.int32))  # of the children
    is_deep: bool = False  # whether a child has children


class Identifier:
    """The tree of containers of a database. `problems` says which containers cannot be used, and why."""

    def __init__(self, database: Database, compiler: Compiler, layouts: Layouts) -> None:
        self._database, self._compiler, self._layouts = database, compiler, layouts
        self._parameters: dict[str, Parameter] = dict(database.parameters)
        self.packet_types: list[str] = []
        self.problems: dict[str, DatabaseError] = {}
        by_base: dict[str, list[str]] = {}
        for name, container in database.containers.items():
            by_base.setdefault(container.base, []).append(name)
        self._by_base = by_base
        roots = [name for name in dict.fromkeys(database.roots) if name in database.containers]
        self._top = _Node("", -1, AllOf(), [self._node(name, 0) for name in roots])

    def _node(self, name: str, depth: int) -> _Node:
        container = self._database.containers[name]
        index = -1
        if not container.abstract:
            index = len(self.packet_types)
            self.packet_types.append(name)
        node = _Node(name, index, container.restriction)
        if depth >= NESTED_MAX:
            self.problems[name] = DatabaseError(f"container {name}: more than {NESTED_MAX} bases", container.where)
            return node
        node.children = [self._node(child, depth + 1) for child in self._by_base.get(name, ())]
        return node

    def identify(self, packets: Packets) -> Identification:
        """Return the type of each packet. Under `np.errstate(all="ignore")`, as `shapes.Shapes`."""
        types = np.full(len(packets), -1, np.int32)
        ambiguous = np.zeros(len(packets), np.bool_)
        left = np.arange(len(packets))
        for root in self._top.children:
            if not len(left):
                break
            self._root(root, packets, left, types, ambiguous)
            left = left[types[left] < 0]
        return Identification(types, ambiguous)

    def _root(self, root: _Node, packets: Packets, rows: I64Array, types: I32Array, ambiguous: BoolArray) -> None:
        if is_plain(root.restriction):
            self._descend(root, packets, rows, types, ambiguous)
            return
        wanted = frozenset(names_of_match(root.restriction))
        shapes = self._shapes(root.name, wanted)
        for mine, look in shapes.looks(packets.chosen(rows)) if shapes is not None else ():
            met = mine[holds(root.restriction, look, (len(mine),))]
            self._descend(root, packets, rows[met], types, ambiguous)

    def _shapes(self, name: str, wanted: frozenset[str]) -> Shapes | None:
        try:
            packet = self._compiler.packet(name)
        except DatabaseError as error:
            self.problems[name] = error
            return None
        leaves = {leaf.name: leaf for leaf in packet.leaves}
        return Shapes(self._layouts, packet, self._parameters, closure(wanted, leaves, self._parameters))

    def _descend(self, node: _Node, packets: Packets, rows: I64Array, types: I32Array, ambiguous: BoolArray) -> None:
        """Set the types of rows that are of this container."""
        types[rows] = node.index
        if not node.children or not len(rows):
            return
        if node.shapes is None:
            self._prepare(node)
        if node.shapes is None:
            return
        for chosen, look in node.shapes.looks(packets.chosen(rows)):
            self._children(node, packets, rows[chosen], look, types, ambiguous)

    def _children(
        self, node: _Node, packets: Packets, rows: I64Array, look: Lookup, types: I32Array, ambiguous: BoolArray
    ) -> None:
        first, count = self._first(node, look, len(rows))
        several = count > 1
        ambiguous[rows[several]] = True
        taken = first != NOBODY
        types[rows[taken]] = node.leaf_types[first[taken]]
        if node.is_deep:
            for child, mine in grouped(first):
                if child != NOBODY:
                    self._descend(node.children[child], packets, rows[mine], types, ambiguous)
        again = np.flatnonzero(several & (types[rows] < 0)) if several.any() else ()
        if len(again):
            self._later(node, packets, rows, np.asarray(again), first, look, types, ambiguous)
        if node.index >= 0:
            types[rows[types[rows] < 0]] = node.index

    def _first(self, node: _Node, look: Lookup, packets: int) -> tuple[I32Array, I32Array]:
        first, count = np.full(packets, NOBODY, np.int32), np.zeros(packets, np.int32)
        for table in node.tables:
            found, many = table.find(look, packets)
            np.minimum(first, found, out=first)
            count += many
        for child in node.others:
            held = holds(node.children[child].restriction, look, (packets,))
            first[held & (first > child)] = child
            count += held
        return first, count

    def _later(
        self,
        node: _Node,
        packets: Packets,
        rows: I64Array,
        again: I64Array,
        first: I32Array,
        look: Lookup,
        types: I32Array,
        ambiguous: BoolArray,
    ) -> None:
        """Several children held and the first led nowhere: try those behind it, one by one."""
        for child, one in enumerate(node.children):
            held = holds(one.restriction, look, (len(rows),))
            mine = again[held[again] & (first[again] < child) & (types[rows[again]] < 0)]
            if len(mine):
                self._descend(one, packets, rows[mine], types, ambiguous)

    # ---- tables ----

    def _prepare(self, node: _Node) -> None:
        wanted = frozenset(name for child in node.children for name in names_of_match(child.restriction))
        node.shapes = self._shapes(node.name, wanted)
        node.leaf_types = np.array([child.index for child in node.children], np.int32)
        node.is_deep = any(child.children for child in node.children)
        groups: dict[tuple[tuple[str, bool], ...], list[tuple[int, tuple[int, ...]]]] = {}
        for number, child in enumerate(node.children):
            terms = self._whole_terms(child.restriction)
            if terms:
                keys = tuple(sorted(terms))
                groups.setdefault(keys, []).append((number, tuple(terms[key] for key in keys)))
            else:
                node.others.append(number)
        for parameters, listed in groups.items():
            table = _table(parameters, listed)
            if table is None:
                node.others += [number for number, _ in listed]
            else:
                node.tables.append(table)

    def _whole_terms(self, match: Match) -> dict[tuple[str, bool], int] | None:
        """Return what a restriction demands when it is `parameter == whole number and ...`, else None."""
        listed = match.terms if isinstance(match, AllOf) else (match,)
        found: dict[tuple[str, bool], int] = {}
        for term in listed:
            if not isinstance(term, Comparison) or term.operator is not Operator.EQUAL or term.other:
                return None
            value, key = term.value, (term.parameter, term.calibrated)
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            if not whole or isinstance(value, str) or key in found or not self._is_whole(term, int(value)):
                return None
            found[key] = int(value)
        return found

    def _is_whole(self, term: Comparison, value: int) -> bool:
        """Whether the values to compare are the plain integers as they stand in the packet."""
        parameter = self._parameters.get(term.parameter)
        kind = self._database.types.get(parameter.type_name) if parameter is not None else None
        if kind is None or not isinstance(kind.encoding, IntegerEncoding) or not decodable(kind.encoding):
            return False
        calibrated = kind.calibration.default is not None or bool(kind.calibration.contexts)
        if term.calibrated and (kind.kind != "integer" or calibrated):
            return False
        unsigned = kind.encoding.kind in {IntegerKind.UNSIGNED, IntegerKind.BCD, IntegerKind.PACKED_BCD}
        return (0 if unsigned else -(1 << 63)) <= value < 1 << 63


def _table(parameters: tuple[tuple[str, bool], ...], listed: list[tuple[int, tuple[int, ...]]]) -> _Table | None:
    values = tuple(np.unique(np.array(column, np.int64)) for column in zip(*(key for _, key in listed), strict=True))
    size = 1
    for one in values:
        size *= len(one)
    if size >= 1 << 62:
        return None
    children: dict[int, list[int]] = {}
    for number, demanded in listed:
        key = 0
        for one, value in zip(values, demanded, strict=True):
            key = key * len(one) + int(np.searchsorted(one, value))
        children.setdefault(key, []).append(number)
    keys = sorted(children)
    return _Table(
        parameters,
        values,
        np.array(keys, np.int64),
        np.array([min(children[key]) for key in keys], np.int32),
        np.array([len(children[key]) for key in keys], np.int32),
    )


def grouped(values: I32Array) -> list[tuple[int, I64Array]]:
    """Return each value that occurs, in rising order, with its rows, in rising order."""
    if not len(values):
        return []
    if (values == values[0]).all():
        return [(int(values[0]), np.arange(len(values)))]
    order = np.argsort(values, kind="stable")
    in_order = values[order]
    behind = [*(np.flatnonzero(in_order[1:] != in_order[:-1]) + 1).tolist(), len(values)]
    starts = [0, *behind[:-1]]
    return [(int(in_order[a]), order[a:b]) for a, b in zip(starts, behind, strict=True)]
