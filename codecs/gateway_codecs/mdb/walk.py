"""Where everything stands: a walk through the steps of a packet type, for all packets of one shape at once.

A walk goes on until it must know something of the packets (a length, a count, a condition); then it stops with a
`Question`. The packets are split by their answers, the walk is copied for each, and goes on. A packet type with a fixed
layout asks nothing. What a packet says is never believed beyond its own length: a count that is more than the packet
can hold gives the occurrences that fit, and one more that is marked truncated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, cast

from gateway_codecs.mdb.columns import Validity
from gateway_codecs.mdb.model import (
    BinaryEncoding,
    Integer,
    Location,
    Match,
    Reference,
    RestOfPacket,
    Size,
    StringEncoding,
    TimeEncoding,
)
from gateway_codecs.mdb.steps import Ask, Leaf, Step

STEPS_MAX, STEPS_OF_ANY, STEPS_PER_OCTET = 80_000, 4_000, 4
"""Steps that one walk may take: so many, so many more for each octet of the packet, and never more than the first; what
is left behind is undecodable. A question counts as `QUESTION_COST`, and the values that it may look at as some more."""
QUESTION_COST = 20
SEEN_PER_STEP = 8
ELEMENTS_MAX = 8 * 65542
"""Values of one packet: one for each bit of the longest space packet. Overlapping definitions may ask for more."""
ELEMENTS_UNASKED = 4096
"""Up to so many values of a fixed layout are laid out without asking how long the packets are."""

Key: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Occurrences of a leaf: at `bit` + sum(index * stride); `fate` other than VALID has no bits.

    `turn` is which turn of the repetitions around it, when those had to be walked one by one.
    """

    leaf: Leaf
    bit: int
    size_bits: int
    counts: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    fate: Validity = Validity.VALID
    turn: Key = ()
    first_ns: int = 0
    period_ns: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What the walk must know of a packet: its length in bits, whether a condition holds, a number, what is at a bit.

    `at_bit`, `size_bits`: where a tag, a P-field, or a text with a terminator is looked for.
    """

    what: Literal["length", "condition", "number", "tag", "terminator", "time"]
    wanted: Match | Integer = 0
    leaf: Leaf | None = None
    at_bit: int = 0
    size_bits: int = 0


Answer: TypeAlias = int | None
"""A number (conditions: 0, 1); None = it cannot be known."""


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    step: Step
    start: int  # of the container around
    turn: Key
    answers: tuple[Answer, ...] = ()
    left: int = -1  # of a repetition that is walked: turns to go; -1 = the step itself
    placed_at: int = -1  # of a leaf without fixed size: where it stands, its size is asked for
    gap: int = 0
    resumes: bool = False  # what stood at the end of the packet is done: go on at `resume_at`
    resume_at: int | None = None


_Stack: TypeAlias = "tuple[_Task, _Stack] | None"
_Runs: TypeAlias = "tuple[Run, _Runs] | None"


@dataclass(frozen=True, slots=True, eq=False)
class _Template:
    """A step that looks the same wherever it stands: its runs from bit 0."""

    runs: tuple[Run, ...]
    size_bits: int


class Layouts:
    """What is the same for all walks: templates, and what needs no length."""

    def __init__(self) -> None:
        self._templates: dict[Step, _Template | None] = {}
        self._asking: dict[Step, tuple[bool, int]] = {}

    def template(self, step: Step) -> _Template | None:
        """Return the runs of one occurrence of a step, None when they depend on the packet or on the place."""
        if step not in self._templates:
            self._templates[step] = self._template(step)
        return self._templates[step]

    def _template(self, step: Step) -> _Template | None:
        body = step.body
        if isinstance(body, int):
            return _Template((), body)
        if isinstance(body, Leaf):
            return None if body.size_bits is None else _Template((Run(body, 0, body.size_bits),), body.size_bits)
        return None if self._inside(body)[1] > ELEMENTS_UNASKED else self._group_template(step)

    def _group_template(self, step: Step) -> _Template | None:
        runs: list[Run] = []
        cursor = 0
        for inner in cast(tuple[Step, ...], step.body):
            place = inner.location
            loose = place.reference is Reference.PREVIOUS or (step.container and place.reference is Reference.CONTAINER)
            one = self.template(inner)
            if inner.asks or not loose or place.align_bits > 1 or one is None:
                return None
            at = cast(int, place.bits) + (cursor if place.reference is Reference.PREVIOUS else 0)
            counts = _counts(inner, ())
            if at < 0 or counts is None:
                return None
            found, cursor = _laid_out(one, inner, at, counts, cast(int, inner.gap))
            runs += found
        return _Template(tuple(runs), cursor)

    def asking(self, step: Step) -> tuple[bool, int]:
        """Return (whether a step asks anything of the packets, how many values it has if it asks nothing)."""
        if step not in self._asking:
            asks, elements = bool(step.asks) or step.location.reference is Reference.END, 1
            if isinstance(step.body, Leaf):
                asks |= step.body.size_bits is None
            elif isinstance(step.body, tuple):
                inner, elements = self._inside(step.body)
                asks |= inner or bool(step.counts and self.template(step) is None)  # turns are walked, to the end
            if not asks:
                elements *= math.prod(_counts(step, ()) or (1,))
            self._asking[step] = asks, elements
        return self._asking[step]

    def _inside(self, steps: tuple[Step, ...]) -> tuple[bool, int]:
        found = [self.asking(one) for one in steps]
        return any(asks for asks, _ in found), sum(count for _, count in found) or 1


def _counts(step: Step, answers: tuple[Answer, ...]) -> tuple[int, ...] | None:
    """Return how often, None when that cannot be: below zero, or not known."""
    asked = {(ask.what, ask.of): answer for ask, answer in zip(step.asks, answers, strict=False)}
    found = []
    for k, count in enumerate(step.counts):
        last = count.last if isinstance(count.last, int) else asked.get(("last", k))
        first = count.first if isinstance(count.first, int) else asked.get(("first", k))
        if last is None or first is None or last - first + count.more < 0:
            return None
        found.append(last - first + count.more)
    return tuple(found)


def _laid_out(one: _Template, step: Step, at: int, counts: tuple[int, ...], gap: int) -> tuple[list[Run], int]:
    """Return the runs of a step with a template at a bit, and the bit behind it."""
    if not counts:
        return [_moved(run, at, (), (), step) for run in one.runs], at + one.size_bits
    total, stride = math.prod(counts), one.size_bits + gap
    strides = [stride]
    for count in counts[:0:-1]:
        strides.append(strides[-1] * count)
    runs = [_moved(run, at, counts, tuple(strides[::-1]), step) for run in one.runs]
    return runs, at + total * stride - gap if total else at


def _moved(run: Run, at: int, counts: tuple[int, ...], strides: tuple[int, ...], step: Step) -> Run:
    times = (step.first_ns, step.period_ns) if step.period_ns or step.first_ns else (run.first_ns, run.period_ns)
    return Run(
        run.leaf, run.bit + at, run.size_bits, counts + run.counts, strides + run.strides, run.fate, run.turn, *times
    )


class Walk:
    """One walk. `runs()` is what was found, newest first while it lasts; `copy` before each different answer.

    `seen` has the newest runs of the columns `watched`, and all runs of those of which single elements are asked for
    (`whole`).
    """

    def __init__(self, layouts: Layouts, packet: Step, watched: frozenset[str], whole: frozenset[str]) -> None:
        self._layouts = layouts
        self._watched, self._whole = watched, whole
        self._cursor: int | None = 0
        self._budget = STEPS_MAX
        self._seen = 0
        self._elements = 0
        self._runs: _Runs = None
        self._todo: _Stack = (_Task(packet, 0, ()), None)
        self.length_bits: int | None = None
        self.seen: dict[str, tuple[Run, ...]] = {}
        asks, elements = layouts.asking(packet)
        self._ask_length = asks or elements > ELEMENTS_UNASKED
        self._question: Question | None = None

    def copy(self) -> Walk:
        """Return a walk that goes on from here by itself."""
        other = Walk.__new__(Walk)
        other.__dict__.update(self.__dict__)
        other.seen = dict(self.seen)
        return other

    def give_up(self) -> None:
        """Take no further step and no answer: what is left is undecodable once `go` is called."""
        self._question, self._budget = None, 0

    def runs(self) -> list[Run]:
        """Return what was found, in the order of the walk."""
        found = []
        rest = self._runs
        while rest is not None:
            found.append(rest[0])
            rest = rest[1]
        return found[::-1]

    def answer(self, answer: Answer) -> None:
        """Take the answer to the question that `go` returned."""
        question = self._question
        if question is None:
            raise ValueError("nothing was asked")
        self._question = None
        if question.what == "length":
            self.length_bits = cast(int, answer)
            self._budget = min(STEPS_MAX, STEPS_OF_ANY + STEPS_PER_OCTET * self.length_bits // 8)
            return
        self._budget -= QUESTION_COST + self._seen // SEEN_PER_STEP
        task, rest = self._pop()
        if task.placed_at >= 0:
            self._todo = rest
            self._sized(task, question, answer)
        else:
            self._todo = (replace(task, answers=(*task.answers, answer)), rest)

    def go(self) -> Question | None:
        """Walk on; return what must be known first, None at the end."""
        if self._ask_length and self.length_bits is None:
            self._question = Question("length")
            return self._question
        while self._todo is not None:
            task, rest = self._pop()
            if task.resumes:
                self._todo, self._cursor = rest, task.resume_at
                continue
            self._budget -= 1
            if self._budget < 0:
                self._todo = rest
                self._unknown(task.step, task.turn, lost=True)
                continue
            question = self._asked(task)
            if question is not None:
                self._question = question
                return question
            self._todo = rest
            if task.left >= 0:
                self._again(task)
            else:
                self._place(task)
        return None

    def _pop(self) -> tuple[_Task, _Stack]:
        if self._todo is None:
            raise ValueError("the walk is over")
        return self._todo

    def _push(self, task: _Task) -> None:
        self._todo = (task, self._todo)

    def _add(self, run: Run) -> None:
        self._elements += math.prod(run.counts)
        if self._elements > ELEMENTS_MAX:
            self._elements -= math.prod(run.counts)
            run = Run(run.leaf, 0, 0, fate=Validity.UNDECODABLE, turn=run.turn)
        self._runs = (run, self._runs)
        name = run.leaf.name
        if name in self._watched:
            before = self.seen.get(name, ())
            self.seen[name] = (*before, run) if name in self._whole else (run,)
            self._seen += len(self.seen[name]) - len(before)

    def _mark(self, step: Step, turn: Key, fate: Validity) -> None:
        for leaf in step.leaves:
            self._add(Run(leaf, 0, 0, fate=fate, turn=turn))

    def _unknown(self, step: Step, turn: Key, lost: bool, at: int | None = None) -> None:
        """A step whose place, size or count cannot be: truncated if the packet has ended, else undecodable."""
        ended = at is not None and self.length_bits is not None and at >= self.length_bits
        self._mark(step, turn, Validity.TRUNCATED if ended else Validity.UNDECODABLE)
        if lost:
            self._cursor = at if ended else None

    # ---- asking ----

    def _asked(self, task: _Task) -> Question | None:
        if task.left >= 0:
            return None
        if task.placed_at >= 0:
            return self._size_question(task)
        asks, answers = task.step.asks, task.answers
        if len(answers) >= len(asks):
            return None
        if asks[0].what == "condition" and answers == (0,):
            return None
        ask: Ask = asks[len(answers)]
        return Question("condition" if ask.what == "condition" else "number", ask.wanted)

    def _size_question(self, task: _Task) -> Question | None:
        leaf, at = cast(Leaf, task.step.body), task.placed_at
        encoding = leaf.kind.encoding
        if isinstance(encoding, TimeEncoding):
            return Question("time", leaf=leaf, at_bit=at)
        if isinstance(encoding, BinaryEncoding) and encoding.tag_bits:
            return Question("tag", leaf=leaf, at_bit=at, size_bits=encoding.tag_bits)
        if isinstance(encoding, StringEncoding) and encoding.size is None:
            if encoding.tag_bits:
                return Question("tag", leaf=leaf, at_bit=at, size_bits=encoding.tag_bits)
            room = max(0, min(cast(int, self.length_bits) - at, encoding.max_bits)) // 8 * 8
            return Question("terminator", leaf=leaf, at_bit=at, size_bits=room) if encoding.terminator else None
        size = cast(Size, cast("StringEncoding | BinaryEncoding", encoding).size)
        return None if isinstance(size, int | RestOfPacket) else Question("number", size)

    # ---- placing ----

    def _place(self, task: _Task) -> None:
        step = task.step
        if task.placed_at >= 0:
            self._sized(task, None, None)
            return
        if step.asks and step.asks[0].what == "condition" and task.answers[0] != 1:
            self._mark(step, task.turn, Validity.ABSENT)
            return
        if step.location.reference is Reference.END:
            self._push(_Task(step, task.start, task.turn, resumes=True, resume_at=self._cursor))
        asked = {ask.what: answer for ask, answer in zip(step.asks, task.answers, strict=True)}
        at = self._place_of(step.location, task.start, asked.get("bits"))
        counts = _counts(step, task.answers)
        gap = step.gap if isinstance(step.gap, int) else asked.get("gap")
        if at is None or at < 0 or counts is None or gap is None:
            self._unknown(step, task.turn, lost=True, at=at)
            return
        template = self._layouts.template(step)
        if template is not None:
            self._lay_out(task, template, at, counts, gap)
        elif step.counts:
            self._repeat(task, at, math.prod(counts), gap)
        else:
            self._cursor = at
            self._enter(step, at if step.container else task.start, task.turn)

    def _place_of(self, location: Location, start: int, bits: Answer) -> int | None:
        base = {
            Reference.PREVIOUS: self._cursor, Reference.CONTAINER: start, Reference.PACKET: 0,
            Reference.END: self.length_bits,
        }[location.reference]  # fmt: skip
        offset = location.bits if isinstance(location.bits, int) else bits
        if base is None or offset is None:
            return None
        if location.reference is Reference.END:
            offset = -offset
        return base + offset + -(base + offset) % max(location.align_bits, 1)

    def _lay_out(self, task: _Task, template: _Template, at: int, counts: tuple[int, ...], gap: int) -> None:
        step, total = task.step, math.prod(counts)
        runs, behind = _laid_out(template, step, at, counts, gap)
        most = self._most(at, template.size_bits, gap)
        if counts and most is not None and total > most:
            runs, _ = _laid_out(template, step, at, (most,), gap)
        for run in runs:
            self._add(replace(run, turn=task.turn) if task.turn else run)
        self._cursor = behind

    def _most(self, at: int, size_bits: int, gap: int) -> int | None:
        """How many occurrences a packet can hold, and one more; None = its length was not asked for."""
        if self.length_bits is None:
            return None
        room = max(self.length_bits - at, 0)
        stride = size_bits + gap
        return (min(room, (room + max(gap, 0)) // stride) if stride > 0 else room) + 1

    def _repeat(self, task: _Task, at: int, total: int, gap: int) -> None:
        self._cursor = at
        turns = min(total, max(cast(int, self.length_bits) - at, 0) + 1)
        if turns == 0:
            for leaf in task.step.leaves:
                self._add(Run(leaf, 0, 0, (0,), (0,), turn=task.turn))
            return
        self._push(_Task(task.step, task.start, task.turn, (turns,), turns, gap=gap))

    def _again(self, task: _Task) -> None:
        """One more turn of a repetition that is walked."""
        turn = cast(int, task.answers[0]) - task.left
        ended = self._cursor is not None and self._cursor >= cast(int, self.length_bits)
        if task.left > 1 and not (ended and turn):
            self._push(replace(task, left=task.left - 1))
        if turn and self._cursor is not None:
            self._cursor += task.gap
            if self._cursor < 0:
                self._cursor = None
        start = self._cursor if task.step.container and self._cursor is not None else task.start
        self._enter(task.step, start, (*task.turn, turn))

    def _enter(self, step: Step, start: int, turn: Key) -> None:
        """What is in a step, once, where the cursor is."""
        if isinstance(step.body, tuple):
            for inner in reversed(step.body):
                self._push(_Task(inner, start, turn))
            return
        if self._cursor is None:
            self._mark(step, turn, Validity.UNDECODABLE)
            return
        self._push(_Task(step, start, turn, placed_at=self._cursor))

    # ---- leaves whose size the packet states ----

    def _sized(self, task: _Task, question: Question | None, answer: Answer) -> None:
        step, at = task.step, task.placed_at
        leaf = cast(Leaf, step.body)
        tag_bits = question.size_bits if question is not None and question.what == "tag" else 0
        size = self._size(leaf, question, answer, at)
        length = cast(int, self.length_bits)
        if size is None or size < 0:
            searched = question is not None and question.what == "terminator" and at + question.size_bits > length - 8
            cut = at >= length or at + tag_bits > length or searched
            self._unknown(step, task.turn, lost=True, at=length if cut else -1)
            return
        begin = at + tag_bits
        self._cursor = begin + size
        if question is not None and question.what == "terminator":
            encoding = cast(StringEncoding, leaf.kind.encoding)
            self._cursor += 8 * len(encoding.terminator)
        if begin + size > length:
            self._add(Run(leaf, 0, 0, fate=Validity.TRUNCATED, turn=task.turn))
        else:
            self._add(Run(leaf, begin, size, turn=task.turn))

    def _size(self, leaf: Leaf, question: Question | None, answer: Answer, at: int) -> int | None:
        """Return the bits of a leaf (of its text, without tag and terminator), None when that cannot be known."""
        encoding = leaf.kind.encoding
        if question is None:
            size = getattr(encoding, "size", None)
            if isinstance(size, RestOfPacket):
                return cast(int, self.length_bits) - at - size.trailing_bits
            return size if isinstance(size, int) else None
        if answer is None:
            return None
        if question.what == "tag":
            return answer * cast("StringEncoding | BinaryEncoding", encoding).tag_unit_bits
        return answer
