"""The shapes that packets of one type have, found as packets come, each with its plan.

Packets go down a tree: at each node the walk stopped with a question, packets with the same answer go on together, and
at a leaf stands the plan that decodes them. Real traffic has few shapes; the tree is bounded for what has many.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import BoolArray, I64Array, U8Array
from gateway_codecs.mdb.columns import Column, Validity
from gateway_codecs.mdb.conditions import Known, Lookup, holds
from gateway_codecs.mdb.execute import SPARE, execute, look
from gateway_codecs.mdb.model import (
    DynamicInteger,
    Integer,
    LookupInteger,
    Match,
    Parameter,
    StringEncoding,
    TimeEncoding,
)
from gateway_codecs.mdb.plan import Plan, compile_plan
from gateway_codecs.mdb.slots import closure, elements, gather_slots
from gateway_codecs.mdb.steps import Leaf, Step, names_asked, names_of_integer, names_of_match
from gateway_codecs.mdb.texts import cut
from gateway_codecs.mdb.walk import Answer, Layouts, Question, Run, Walk
from gateway_codecs.time_codes import layout_of

WEIGHT_MAX = 1 << 18
"""Rows of all plans of one packet type that are kept; beyond, the shapes are found anew."""
UNEVEN_OCTETS = 64
NO_PLAN = Plan({})
NODE_WEIGHT = 8
WORK_OF_ANY, WORK_PER_OCTET = 80_000, 3
"""Work for one batch of a packet type of many shapes: so much, and more for each of its octets; a unit takes some ten
microseconds. A good packet of a shape that no other has takes one or two for each octet."""
QUESTION_WORK, LEAF_WORK = 20, 40
NUMBERS = (int, DynamicInteger, LookupInteger)


@dataclass(frozen=True, slots=True, eq=False)
class Packets:
    """Some packets of a buffer; `buffer` has room behind the last packet for as much as the longest of them."""

    buffer: U8Array
    offset: I64Array
    length: I64Array

    def __len__(self) -> int:
        return len(self.offset)

    def chosen(self, rows: I64Array | BoolArray) -> Packets:
        """Return some of them."""
        return Packets(self.buffer, self.offset[rows], self.length[rows])

    def behind(self, octets: int) -> Packets:
        """Return what follows of each; none is shorter."""
        return Packets(self.buffer, self.offset + octets, self.length - octets) if octets else self

    def matrix(self, need_octets: int) -> U8Array:
        """Return the first octets of each, uint8 (n, width): what is needed as far as they go, and spare ones."""
        width = min(need_octets, int(self.length.max(initial=0))) + SPARE
        rows = np.ndarray((len(self.buffer) - width + 1, width), np.uint8, self.buffer.data, 0, (1, 1))
        return rows[self.offset]


@dataclass(slots=True, eq=False)
class _Node:
    """`plan` decodes (no question), or gives what the question looks at, from `octet` of the packet on."""

    walk: Walk
    question: Question | None
    plan: Plan
    octet: int = 0
    branches: dict[Answer, _Node] = field(default_factory=dict)


class Shapes:
    """The shapes of one packet type, with the columns that are wanted (None = all).

    What a batch may cost is bounded by its octets (`WORK_OF_ANY`, `WORK_PER_OCTET`): the groups of most packets go
    first, then those that asked least, and what is left when the work is done has the values that need no question;
    the others are undecodable. `given_up` counts such packets.

    Its methods work under `np.errstate(all="ignore")`, which is set once for a whole batch (`decoder`).
    """

    def __init__(
        self, layouts: Layouts, packet: Step, parameters: dict[str, Parameter], wanted: frozenset[str] | None
    ) -> None:
        self._layouts, self._packet, self._parameters = layouts, packet, parameters
        self._leaves: dict[str, Leaf] = {leaf.name: leaf for leaf in packet.leaves}
        self._wanted = frozenset(self._leaves) if wanted is None else wanted & frozenset(self._leaves)
        self._needed = None if wanted is None else closure(self._wanted, self._leaves, parameters)
        asked = list(names_asked(packet))
        self._watched = closure(asked, self._leaves, parameters)
        self._whole = elements(asked, self._leaves, parameters)
        self._root: _Node | None = None
        self._weight = 0
        self._asked: dict[int, tuple[Match | Integer, frozenset[str]]] = {}
        self._looks: dict[tuple[Any, ...], Plan] = {}
        self.given_up = 0

    def decode(self, packets: Packets) -> Iterator[tuple[I64Array, Mapping[str, Column]]]:
        """Give (rows of the packets, their columns) for each shape."""
        if not self._wanted:
            yield np.arange(len(packets)), {}
            return
        for rows, plan in self._leaves_of(packets):
            for chosen in _even(packets, rows, plan.need_octets):
                mine = packets.chosen(chosen)
                yield chosen, execute(plan, mine.matrix(plan.need_octets), mine.length * 8)

    def looks(self, packets: Packets) -> Iterator[tuple[I64Array, Lookup]]:
        """Give (rows of the packets, a look at their newest values) for each shape."""
        for rows, plan in self._leaves_of(packets):
            for chosen in _even(packets, rows, plan.need_octets):
                mine = packets.chosen(chosen)
                yield chosen, look(plan, mine.matrix(plan.need_octets), mine.length * 8)

    def _leaves_of(self, packets: Packets) -> Iterator[tuple[I64Array, Plan]]:
        if self._weight > WEIGHT_MAX:
            self._root, self._weight, self._looks = None, 0, {}
        if self._root is None:
            self._root = self._node(Walk(self._layouts, self._packet, self._watched, self._whole))
        if self._root.question is None:
            yield np.arange(len(packets)), self._root.plan
            return
        work = WORK_OF_ANY + WORK_PER_OCTET * int(packets.length.sum())
        node, rows, order = self._root, np.arange(len(packets)), 0
        todo: list[tuple[int, int, _Node, Answer, I64Array]] = []
        while True:
            if node.question is None:
                work -= LEAF_WORK + node.plan.rows
                yield rows, node.plan
            else:
                work -= QUESTION_WORK
                for answer, mine in ask(node.question, node.plan, node.octet, packets.chosen(rows)):
                    order += 1
                    group = rows[mine]
                    heapq.heappush(todo, (-len(group), order, node, answer, group))
            if not todo or work < 0:
                break
            _, _, parent, answer, rows = heapq.heappop(todo)
            node = self._branch(parent, answer)
        if todo:
            left = np.sort(np.concatenate([rows for *_, rows in todo]))
            self.given_up += len(left)
            yield left, self._without_questions(packets.chosen(left))

    def _without_questions(self, packets: Packets) -> Plan:
        """Return the plan of what stands before the first question."""
        walk = Walk(self._layouts, self._packet, self._watched, self._whole)
        walk.length_bits = int(packets.length.max()) * 8
        if walk.go() is not None:
            walk.give_up()
            walk.go()
        return compile_plan(gather_slots(walk.runs(), self._parameters, self._wanted, self._needed))

    def _branch(self, node: _Node, answer: Answer) -> _Node:
        found = node.branches.get(answer)
        if found is None:
            walk = node.walk.copy()
            walk.answer(answer)
            found = node.branches[answer] = self._node(walk)
        return found

    def _node(self, walk: Walk) -> _Node:
        question = walk.go()
        octet, plan = 0, NO_PLAN
        if question is None:
            plan = compile_plan(gather_slots(walk.runs(), self._parameters, self._wanted, self._needed))
            self._weight += plan.weight
        elif question.what in {"condition", "number"}:
            octet, plan = self._look_plan(walk, question)
        self._weight += NODE_WEIGHT
        return _Node(walk, question, plan, octet)

    def _look_plan(self, walk: Walk, question: Question) -> tuple[int, Plan]:
        """Return (first octet, plan from there on) of what a question looks at.

        The turns of a repetition look at the same things in other places: they share a plan.
        """
        seen = [run for name in self._looked_at(question.wanted) for run in walk.seen.get(name, ())]
        bits = [run.bit for run in seen if run.fate is Validity.VALID]
        down = any(stride < 0 for run in seen for stride in run.strides)
        octet = 0 if not bits or down else max(0, min(*bits, cast(int, walk.length_bits)) // 8)
        moved = [_as_if(run, 8 * octet) for run in seen] if len({run.leaf for run in seen}) == len(seen) else None
        if moved is None:
            plan = compile_plan(gather_slots(seen, self._parameters, frozenset(), None))
            self._weight += plan.weight
            return 0, plan
        key = tuple((one.leaf, one.bit, one.size_bits, one.counts, one.strides, one.fate, one.turn) for one in moved)
        found = self._looks.get(key)
        if found is None:
            found = self._looks[key] = compile_plan(gather_slots(moved, self._parameters, frozenset(), None))
            self._weight += found.weight
        return octet, found

    def _looked_at(self, wanted: Match | Integer) -> frozenset[str]:
        found = self._asked.get(id(wanted))
        if found is None:  # what is asked is of the database: there are as many as it says
            names = names_of_integer(wanted) if isinstance(wanted, NUMBERS) else names_of_match(wanted)
            found = self._asked[id(wanted)] = wanted, closure(names, self._leaves, self._parameters)
        return found[1]


def _as_if(run: Run, bits: int) -> Run:
    """Return a run as it is seen from a later bit, in whatever turn."""
    return replace(run, bit=run.bit - bits if run.fate is Validity.VALID else 0, turn=run.turn[:1] and (0,))


def _even(packets: Packets, rows: I64Array, need_octets: int) -> Iterator[I64Array]:
    """Give packets that are long enough together, and shorter ones with those of about their length."""
    length = packets.length[rows]
    if not len(length) or int(length.min()) >= need_octets:
        yield rows
        return
    short = length < need_octets
    if not short.all():
        yield rows[~short]
    rows, length = rows[short], length[short]
    order = np.argsort(length, kind="stable")
    rows, length = rows[order], length[order]
    while len(rows):
        behind = int(np.searchsorted(length, 2 * int(length[0]) + UNEVEN_OCTETS, "right"))
        yield np.sort(rows[:behind])
        rows, length = rows[behind:], length[behind:]


# ---- questions ----

Answers = list[tuple[Answer, NDArray[Any]]]


def ask(question: Question, plan: Plan, octet: int, packets: Packets) -> Answers:
    """Return each answer that packets give, with a bool (n,) or the rows (m,) of those that give it.

    `plan` gives what a condition or number looks at in what follows from `octet` on.
    """
    match question.what:
        case "length":
            return _each(packets.length * 8, None)
        case "condition":
            found = holds(cast(Match, question.wanted), _look(plan, packets.behind(octet)), (len(packets),))
            return [(value, where) for value, where in ((1, found), (0, ~found)) if where.any()]
        case "number":
            return _numbers(question, _look(plan, packets.behind(octet)), len(packets))
        case "tag":
            return _tags(question, packets)
        case "terminator":
            return _terminators(question, packets)
        case _:
            return _time_codes(question, packets)


def _look(plan: Plan, packets: Packets) -> Lookup:
    return look(plan, packets.matrix(plan.need_octets), packets.length * 8)


def _each(values: NDArray[Any], known: BoolArray | None) -> Answers:
    """Split by value; where it is not known the answer is None."""
    if known is None and len(values) and (values == values[0]).all():
        return [(values[0].item(), np.arange(len(values)))]
    rows = np.arange(len(values)) if known is None else np.flatnonzero(known)
    found: Answers = []
    if len(rows):
        order = np.argsort(values[rows], kind="stable")
        rows = rows[order]
        sorted_values = values[rows]
        firsts = np.flatnonzero(np.append(True, sorted_values[1:] != sorted_values[:-1]))
        groups = np.split(rows, firsts[1:])
        found = [(value.item(), group) for value, group in zip(sorted_values[firsts], groups, strict=True)]
    if known is not None and len(rows) < len(values):
        found.append((None, np.flatnonzero(~known)))
    return found


def _numbers(question: Question, lookup: Lookup, count: int) -> Answers:
    wanted = question.wanted
    everyone = np.arange(count)
    if isinstance(wanted, DynamicInteger):
        known = lookup(wanted.parameter, wanted.calibrated)
        if known is None or known.labels is not None or not _is_number(known):
            return [(None, everyone)]
        there = known.known
        if known.values.dtype.kind == "f":
            finite: BoolArray = np.isfinite(known.values)
            there = finite if there is None else np.logical_and(finite, there)
        answers = _each(known.values, there)
        return _merged([(_linear(wanted, value), rows) for value, rows in answers])
    if isinstance(wanted, LookupInteger):
        return _cases(wanted, lookup, count)
    return [(cast(int, wanted), everyone)]


def _is_number(known: Known) -> bool:
    return known.values.dtype.kind in "iufb" and known.values.dtype != np.uint8


def _linear(wanted: DynamicInteger, value: Any) -> Answer:
    if value is None:
        return None
    found = wanted.slope * value + wanted.intercept
    return math.floor(found) if isinstance(found, int) or math.isfinite(found) else None


def _merged(answers: Answers) -> Answers:
    """Join those whose answers came out equal."""
    groups: dict[Answer, list[NDArray[Any]]] = {}
    for answer, rows in answers:
        groups.setdefault(answer, []).append(rows)
    return [(answer, np.sort(np.concatenate(rows))) for answer, rows in groups.items()]


def _cases(wanted: LookupInteger, lookup: Lookup, count: int) -> Answers:
    left = np.ones(count, np.bool_)
    found: Answers = []
    for condition, value in wanted.cases:
        here = left & holds(condition, lookup, (count,))
        left &= ~here
        if here.any():
            found.append((value, np.flatnonzero(here)))
    if left.any():
        found.append((None, np.flatnonzero(left)))
    return _merged(found)


def _tags(question: Question, packets: Packets) -> Answers:
    at, size = question.at_bit, question.size_bits
    if at + size > int(packets.length[0]) * 8 or size > 64:  # the length was asked before: it is the same for all
        return [(None, np.arange(len(packets)))]
    octets = packets.matrix(-(-(at + size) // 8))
    pieces = cut(octets, np.array([at]), np.array([size]))[0]
    values = np.zeros(len(packets), np.uint64)
    for k in range(pieces.shape[-1]):
        values = values << np.uint64(8) | pieces[:, k]
    return _each(values >> np.uint64(-size % 8), None)


def _terminators(question: Question, packets: Packets) -> Answers:
    """Bits before the terminator, which is looked for at multiples of its own length."""
    encoding = cast(StringEncoding, cast(Leaf, question.leaf).kind.encoding)
    terminator, room = encoding.terminator, question.size_bits
    step = len(terminator)
    places = room // 8 // step
    if not places:
        return [(None, np.arange(len(packets)))]
    octets = packets.matrix(-(-(question.at_bit + room) // 8))
    box = cut(octets, np.array([question.at_bit]), np.array([room]))[0]
    found = np.ones((len(packets), places), np.bool_)
    for k, octet in enumerate(terminator):
        found &= box[:, k : places * step : step] == octet
    return _each(found.argmax(axis=1) * (8 * step), np.asarray(found.any(axis=1)))


def _time_codes(question: Question, packets: Packets) -> Answers:
    """Bits of a time code with its P-field in front."""
    code = cast(TimeEncoding, cast(Leaf, question.leaf).kind.encoding).code
    room = min(int(packets.length[0]) * 8 - question.at_bit, 16) // 8 * 8
    if room <= 0:
        return [(None, np.arange(len(packets)))]
    octets = packets.matrix(-(-(question.at_bit + room) // 8))
    fields = cut(octets, np.array([question.at_bit]), np.array([room]))[0]
    keys = fields[:, 0].astype(np.int64) << 8 | (fields[:, 1] if room == 16 else 0)
    found: Answers = []
    for key, rows in _each(keys, None):
        stated = layout_of(cast(int, key).to_bytes(2, "big")[: room // 8], code)
        found.append((None if stated is None else 8 * (stated[1] + stated[0].t_field_octets), rows))
    return _merged(found)
