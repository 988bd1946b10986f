"""Limit states that depend on the samples before: how many in a row violate, how much a value changed. Pure.

A parameter of which some limits have a persistence or changes is *watched*: its samples bear three columns more
(`WATCHED`), and `Standing` goes along them in their order. Of several samples in a packet the worst is the packet's,
packets are counted, and changes are not looked at. Which of the limits apply is decided within each packet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import BoolArray, I64Array, U8Array
from gateway_codecs.mdb import conditions
from gateway_codecs.mdb.columns import Column, LimitFlag, Validity
from gateway_codecs.mdb.derive import known
from gateway_codecs.mdb.limits import LimitMonitor, Transition
from gateway_codecs.mdb.lookup import members, type_of
from gateway_codecs.mdb.model import Alarms, Database, Limits
from gateway_codecs.mdb.samples import Samples
from gateway_codecs.mdb.steps import names_of_match

WATCHED = ("worst", "counts", "context")
"""uint8, the worst state in the packet; uint8, 0 = it has no valid sample, ONE, SEVERAL = of its kind; int16, which
limits apply."""
ONE, SEVERAL = 1, 2
REMEMBERED = 256
"""So many packets are known again when more of their samples come."""
LimitRun = tuple[int, int, Limits | None]


def alarms_of(database: Database, name: str) -> Alarms | None:
    """Return the limits of a parameter or member, of an array those of its elements; None = it has none."""
    kind = type_of(database, name)
    for _ in range(8):
        if kind is None or kind.kind != "array":
            break
        kind = database.types.get(kind.element_type)
    has_some = kind is not None and (kind.alarms.default is not None or kind.alarms.contexts)
    return kind.alarms if kind is not None and has_some else None


def all_alarms(database: Database) -> dict[str, Alarms]:
    """Return the parameters and members that have limits."""
    names = (part for whole in database.parameters for part in members(database, whole))
    return {name: alarms for name in names if (alarms := alarms_of(database, name)) is not None}


def every_limit(alarms: Alarms) -> list[Limits | None]:
    """Return the limits of each context, then those that apply without one."""
    return [*(one.limits for one in alarms.contexts), alarms.default]


def applied(alarms: Alarms, columns: Mapping[str, Column], packets: int) -> NDArray[np.int16]:
    """Return which of `every_limit` apply in each packet, int16 (n,).

    Of what stands several times in a packet a context sees the last, as the decoder does.
    """

    def lookup(name: str, calibrated: bool) -> conditions.Known | None:
        return known(name, calibrated, columns, (packets,))

    index = np.full(packets, len(alarms.contexts), np.int16)
    for k in range(len(alarms.contexts) - 1, -1, -1):
        index[conditions.holds(alarms.contexts[k].context, lookup, (packets,))] = k
    return index


def limit_runs(alarms: Alarms, index: NDArray[np.int16]) -> list[LimitRun]:
    """Return which limits apply to which samples, in order: (first, end, limits); `index` as `applied` returns it."""
    every = every_limit(alarms)
    edges = [0, *(np.flatnonzero(np.diff(index)) + 1).tolist(), len(index)]
    return [(first, end, every[index[first]]) for first, end in pairwise(edges) if first < end]


def worst_in_packet(column: Column) -> tuple[U8Array, BoolArray]:
    """Return the worst limit state of the valid samples of each packet, and whether it has any, (n,) each."""
    states, usable = column.limit, column.validity == Validity.VALID
    if states.ndim == 1:
        return states, usable
    states, usable = states.reshape(len(states), -1), usable.reshape(len(usable), -1)
    severity = np.where(usable, states & LimitFlag.SEVERITY, 0)
    worst = np.argmax(severity, axis=1)
    return states[np.arange(len(states)), worst], usable.any(axis=1)


def fed(
    monitor: LimitMonitor,
    parameter: str,
    numbers: tuple[NDArray[Any], NDArray[Any]],
    states: U8Array,
    usable: BoolArray,
    runs: list[LimitRun],
) -> tuple[U8Array, list[Transition]]:
    """Return the states (n,) with persistence and changes, and where they changed; each run by its own limits.

    `numbers`: raw and engineering values; those of more than one dimension have no changes.
    """
    said, transitions = [np.zeros(0, np.uint8)], list[Transition]()
    for first, end, limits in runs:
        values = numbers[0 if limits is not None and limits.of_raw else 1][first:end]
        plain = values if values.ndim == 1 else np.zeros(end - first, np.bool_)
        mine, changed = monitor.feed(parameter, plain, states[first:end], usable[first:end], limits)
        said.append(mine)
        transitions += [replace(one, row=one.row + first) for one in changed]
    return np.concatenate(said), transitions


@dataclass(frozen=True, slots=True)
class Watch:
    """A watched parameter: its limits, the parameters that decide which of them apply, how far back a state looks."""

    parameter: str
    alarms: Alarms
    inputs: frozenset[str]
    packets_before: int

    def columns(self, column: Column, columns: Mapping[str, Column]) -> dict[str, NDArray[Any]]:
        """Return the columns `WATCHED` of the samples of a decoded column, as `samples_of` has them."""
        packets = len(column.validity)
        each = column.validity.size // packets if packets else 0
        worst, usable = worst_in_packet(column)
        counts = usable.astype(np.uint8) * np.uint8(ONE if column.validity.ndim == 1 else SEVERAL)
        found: tuple[NDArray[Any], ...] = (worst, counts, applied(self.alarms, columns, packets))
        return {name: np.repeat(one, each) for name, one in zip(WATCHED, found, strict=True)}


def watch_of(database: Database, parameter: str) -> Watch | None:
    """Return how a parameter is watched; None: each sample shows its limit state by itself."""
    alarms = alarms_of(database, parameter)
    if alarms is None:
        return None
    some = [one for one in every_limit(alarms) if one is not None]
    longest = max((one.persistence for one in some), default=1)
    if longest <= 1 and not any(one.deltas for one in some):
        return None
    inputs = frozenset(name for one in alarms.contexts for name in names_of_match(one.context))
    return Watch(parameter, alarms, inputs, longest)  # all but one in a row, and the one from which the first changed


class Standing:
    """Goes along the samples of one watched parameter, piece by piece in their order."""

    def __init__(self, watch: Watch) -> None:
        self._watch, self._monitor = watch, LimitMonitor()
        self._said: dict[int, int] = {}  # of the last packets, by position

    def shown(self, samples: Samples) -> Samples:
        """Return the samples, which have the columns `WATCHED`, with limit states that look at those before."""
        if not len(samples):
            return samples
        limit = self._of_several(samples) if _has_several(samples) else self._of_each(samples)
        return replace(samples, columns={**samples.columns, "limit": limit})

    def _feed(self, samples: Samples, rows: Any, has_changes: bool) -> U8Array:
        values = samples["raw"][rows], samples["engineering"][rows]
        numbers = values if has_changes else (values[0].reshape(-1, 1), values[1].reshape(-1, 1))
        runs = limit_runs(self._watch.alarms, samples["context"][rows])
        states, usable = samples["worst"][rows], samples["counts"][rows] > 0
        return fed(self._monitor, self._watch.parameter, numbers, states, usable, runs)[0]

    def _of_each(self, samples: Samples) -> U8Array:
        said = self._feed(samples, slice(None), has_changes=True)
        return np.where(samples["counts"] > 0, said, np.uint8(0))

    def _of_several(self, samples: Samples) -> U8Array:
        """Of a packet's samples each shows its own state, where that of the packet is beyond a limit."""
        positions, first, packet = np.unique(samples["position"], return_index=True, return_inverse=True)
        said = np.array([self._said.get(position, -1) for position in positions.tolist()], np.int64)
        new = np.flatnonzero(said < 0)
        new = new[np.argsort(first[new], kind="stable")]
        said[new] = self._feed(samples, first[new], has_changes=False)
        again = np.argsort(first, kind="stable")[-REMEMBERED:]
        self._said = dict(zip(positions[again].tolist(), said[again].tolist(), strict=True))
        beyond = (said & LimitFlag.SEVERITY)[packet] > 0
        return np.where(beyond, samples["limit"], np.uint8(0))


def packets_that_count(samples: Samples) -> int:
    """Return how many packets with a valid sample there are."""
    positions: I64Array = samples["position"][samples["counts"] > 0]
    return len(np.unique(positions)) if _has_several(samples) else len(positions)


def _has_several(samples: Samples) -> bool:
    return bool((samples["counts"] == SEVERAL).any())
