"""Slots: the columns of a packet shape, put together of the runs of their elements, and what they depend on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gateway_codecs.batches import I64Array, U8Array
from gateway_codecs.mdb.calibrate import expression_names
from gateway_codecs.mdb.columns import Validity
from gateway_codecs.mdb.model import Expression, Parameter, ParameterType
from gateway_codecs.mdb.steps import Leaf, names_of_match, names_of_type
from gateway_codecs.mdb.walk import Run

FAR_BITS = 1 << 40  # beyond every packet


@dataclass(slots=True, eq=False)
class Slot:
    """A column: its leaf, its elements `row` to `row + count` of all rows, and where its values are.

    `bank`, `bank_row`: of the raw values, bank -1 = they are no numbers. `real_row`: of engineering values in float64,
    -1 = none. `whole_row`, `label_row`, `flag_row`: of whole numbers, label indices, booleans. `matrix`, `matrix_row`:
    which of these are the engineering values, -1 = they are the raw values. `is_one`: one number in each packet, and
    none of its own way.
    """

    leaf: Leaf
    parameter: Parameter | None
    shape: tuple[int, ...]
    bits: I64Array
    sizes: I64Array
    fates: U8Array
    wanted: bool
    row: int = 0
    count: int = 0
    bank: int = -1
    bank_row: int = 0
    real_row: int = -1
    whole_row: int = -1
    label_row: int = -1
    flag_row: int = -1
    matrix: int = -1
    matrix_row: int = -1
    is_one: bool = False
    labels: tuple[str, ...] = ()
    time_offset_ns: I64Array | None = None

    @property
    def kind(self) -> ParameterType:
        """The type."""
        return self.leaf.kind


def gather_slots(
    runs: list[Run], parameters: Mapping[str, Parameter], wanted: frozenset[str], needed: frozenset[str] | None
) -> dict[str, Slot]:
    """Return a slot for each needed column (None = all) in the order of the packet."""
    by_name: dict[str, list[Run]] = {}
    for run in runs:
        if needed is None or run.leaf.name in needed:
            by_name.setdefault(run.leaf.name, []).append(run)
    return {name: _slot(_present(mine), parameters, needed is None or name in wanted) for name, mine in by_name.items()}


def _present(runs: list[Run]) -> list[Run]:
    """Drop what is absent where the same turn of a repetition has the value elsewhere, and empty repetitions."""
    if len(runs) == 1:
        return runs
    there = {run.turn for run in runs if run.fate is not Validity.ABSENT and math.prod(run.counts) > 0}
    kept: list[Run] = []
    for run in runs:
        if run.fate is Validity.ABSENT:
            if run.turn in there:
                continue
            there.add(run.turn)
        elif not math.prod(run.counts):
            continue
        kept.append(run)
    return kept or runs[:1]


def _slot(runs: list[Run], parameters: Mapping[str, Parameter], wanted: bool) -> Slot:
    leaf, counts = runs[0].leaf, runs[0].counts
    if len(runs) == 1 and not counts and not runs[0].turn:
        return _one(runs[0], parameters, wanted)
    if len(runs) == 1 and not runs[0].turn:
        shape = counts
    elif all(run.counts == counts for run in runs):
        shape = (len(runs), *counts)
    else:
        shape = (sum(math.prod(run.counts) for run in runs),)
    sizes = [math.prod(run.counts) for run in runs]
    slot = Slot(
        leaf,
        parameters.get(leaf.parameter),
        shape,
        np.concatenate([_bits(run) for run in runs]),
        np.repeat(np.array([min(run.size_bits, FAR_BITS) for run in runs], np.int64), sizes),
        np.repeat(np.array([run.fate for run in runs], np.uint8), sizes),
        wanted,
        count=sum(sizes),
    )
    first = runs[0]
    if len(runs) == 1 and counts and (first.period_ns or first.first_ns):
        slot.time_offset_ns = first.first_ns + first.period_ns * np.arange(counts[0], dtype=np.int64)
    return slot


def _one(run: Run, parameters: Mapping[str, Parameter], wanted: bool) -> Slot:
    """Return the slot of what stands once in a packet: most do, and each length of a packet has its own plan."""
    bit = min(max(run.bit, 0), FAR_BITS)
    places = np.array([bit]), np.array([min(run.size_bits, FAR_BITS)]), np.array([run.fate], np.uint8)
    return Slot(run.leaf, parameters.get(run.leaf.parameter), (), *places, wanted, count=1)


def _bits(run: Run) -> I64Array:
    bits = np.array([min(max(run.bit, 0), FAR_BITS)], np.int64)
    for count, stride in zip(run.counts, run.strides, strict=True):
        step = max(-FAR_BITS, min(stride, FAR_BITS))
        bits = (bits[:, None] + np.arange(count, dtype=np.int64) * step).ravel()
    return np.clip(bits, 0, FAR_BITS)


# ---- what the values of a column depend on ----


def closure(names: Iterable[str], leaves: Mapping[str, Leaf], parameters: Mapping[str, Parameter]) -> frozenset[str]:
    """Return the columns that are needed for the values, validity and limits of `names`."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = column_of(todo.pop(), leaves)
        if name is None or name in found:
            continue
        found.add(name)
        todo += _looked_at(leaves[name], parameters)
    return frozenset(found)


def elements(names: Iterable[str], leaves: Mapping[str, Leaf], parameters: Mapping[str, Parameter]) -> frozenset[str]:
    """Return the columns of which `names`, or what they depend on, look at one element: `A` where `A[3]` is asked."""
    asked = list(names)
    for name in closure(asked, leaves, parameters):
        asked += _looked_at(leaves[name], parameters)
    return frozenset(column for one in asked if one not in leaves and (column := column_of(one, leaves)) is not None)


def _looked_at(leaf: Leaf, parameters: Mapping[str, Parameter]) -> list[str]:
    texts = {text: expression_names(text) for text in _expressions(leaf.kind)}
    found = list(names_of_type(leaf.kind, texts))
    found += [one for context in leaf.kind.alarms.contexts for one in names_of_match(context.context)]
    if leaf.parameter in parameters:
        found += names_of_match(parameters[leaf.parameter].valid_when)
    return found


def column_of(name: str, leaves: Mapping[str, Any]) -> str | None:
    """Return the column that a name refers to: its own, or the array of which it is an element."""
    if name in leaves:
        return name
    plain = name.rpartition("[")[0] if name.endswith("]") else ""
    return plain if plain in leaves else None


def _expressions(kind: ParameterType) -> list[str]:
    found = [kind.calibration.default, *(one.calibrator for one in kind.calibration.contexts)]
    return [one.text for one in found if isinstance(one, Expression)]
