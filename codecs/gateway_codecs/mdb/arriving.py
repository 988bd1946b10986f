"""Samples as they come, in position order: what history knows of each when its packet has come. Pure.

Limit states that look at the samples before (`Arriving`), and parameters derived of several packet types (`Joining`),
are of generation-time order (gateway_codecs.mdb.standing, .join). Of each parameter the newest samples are kept, in
that order; what comes among them is put in its place. What is older than all that is kept goes along rows of its own,
so that a dump is counted and joined with itself. Memory is bounded, and what is told depends on the samples and their
order alone, not on how they are cut into batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np

from gateway_codecs.batches import I64Array, U8Array
from gateway_codecs.mdb.derive import Derived
from gateway_codecs.mdb.join import element_of, made_of
from gateway_codecs.mdb.samples import Samples, by_time, concatenated, no_samples, once
from gateway_codecs.mdb.standing import Standing, Watch

KEPT = 256
"""So many of the newest samples of a parameter are kept."""
EARLIEST_NS = -(1 << 62)


def _joined(parts: list[Samples], name: str) -> Samples:
    some = [part for part in parts if len(part)]
    return concatenated(some) if some else no_samples(name)


def _rising(times: I64Array) -> Iterator[tuple[int, int]]:
    """Yield the runs [first, end) within which times do not fall."""
    edges = [0, *(np.flatnonzero(times[1:] < times[:-1]) + 1).tolist(), len(times)]
    return ((first, end) for first, end in pairwise(edges) if first < end)


class _Row:
    """The newest samples of one parameter in generation-time order, each once; of what is derived the last of a time
    counts (`replaces`)."""

    def __init__(self, name: str, kept: int, replaces: bool) -> None:
        self._limit, self._replaces = kept, replaces
        self.samples = no_samples(name)

    @property
    def floor_ns(self) -> int:
        """What is older than this came too late to be put in its place."""
        is_full = len(self.samples) >= self._limit
        return int(self.samples["time_ns"][0]) if is_full else EARLIEST_NS

    def begin_anew_before(self, time_ns: int) -> bool:
        """Forget everything when a time is older than all that is kept, and more was; whether it was so."""
        if time_ns >= self.floor_ns:
            return False
        self.samples = no_samples(self.samples.parameter)
        return True

    def in_order(self, came: Samples) -> int:
        """Return from which row on samples, whose times do not fall, are behind all that is kept."""
        if not len(self.samples):
            return 0
        last_ns = int(self.samples["time_ns"][-1])
        return int(np.searchsorted(came["time_ns"], last_ns, "right"))

    def add(self, came: Samples) -> None:
        """Take samples in their places."""
        merged = by_time(_joined([self.samples, came], self.samples.parameter))
        if self._replaces:
            times = merged["time_ns"]
            merged = merged.take(np.append(times[1:] != times[:-1], True) if len(times) else slice(None))
        else:
            merged = once(merged)
        self.samples = merged

    def repeats(self, came: Samples) -> bool:
        """Whether some of the samples came before, or twice."""
        if self._replaces or not len(came):
            return False
        merged = by_time(_joined([self.samples, came], self.samples.parameter))
        return len(once(merged)) < len(merged)

    def forget(self) -> None:
        """Keep no more than the newest."""
        if len(self.samples) > self._limit:
            self.samples = self.samples.take(slice(len(self.samples) - self._limit, None))


# ---- limits ----


class Arriving:
    """The limit states of one watched parameter."""

    def __init__(self, watch: Watch, is_derived: bool = False) -> None:
        kept = max(KEPT, 8 * watch.packets_before)
        self._rows = [_CountedRow(watch, kept, is_derived) for _ in range(2)]

    def shown(self, samples: Samples) -> Samples:
        """Return samples, in position order and with the columns `standing.WATCHED`, with their limit states."""
        limit = np.zeros(len(samples), np.uint8)
        for first, end in _rising(samples["time_ns"]):
            newest, older = self._rows
            cut = first + int(np.searchsorted(samples["time_ns"][first:end], newest.floor_ns))
            for row, rows in ((older, slice(first, cut)), (newest, slice(cut, end))):
                if rows.start < rows.stop:
                    limit[rows] = row.states(samples.take(rows))
        return replace(samples, columns={**samples.columns, "limit": limit})


class _CountedRow(_Row):
    def __init__(self, watch: Watch, kept: int, replaces: bool) -> None:
        super().__init__(watch.parameter, kept, replaces)
        self._watch, self._stands = watch, Standing(watch)

    def states(self, came: Samples) -> U8Array:
        """Return the limit states of samples whose times do not fall, and keep them."""
        if self.begin_anew_before(int(came["time_ns"][0])):
            self._stands = Standing(self._watch)
        cut = self.in_order(came)
        states = [self._placed(came.take(rows)) for rows in _packets(came, 0, cut)]
        behind = came.take(slice(cut, None))
        if len(behind):
            before = len(self.samples)
            self.add(behind)
            if len(self.samples) < before + len(behind):  # some came twice
                return np.concatenate([*states, *self._each_again(behind)])
            states.append(self._stands.shown(behind)["limit"])
            self.forget()
        return np.concatenate(states)

    def _each_again(self, behind: Samples) -> list[U8Array]:
        """Return the states of samples of which some came twice: one packet after the other."""
        positions = np.unique(behind["position"])
        self.samples = self.samples.take(~np.isin(self.samples["position"], positions))
        return [self._placed(behind.take(rows)) for rows in _packets(behind, 0, len(behind))]

    def _placed(self, packet: Samples) -> U8Array:
        """Put the samples of one packet in their places; what is kept behind them is counted anew."""
        self.add(packet)
        merged = self.samples
        end = int(np.searchsorted(merged["time_ns"], packet["time_ns"][-1], "right"))
        limit = Standing(self._watch).shown(merged.take(slice(0, end)))["limit"]
        is_of_it = merged["position"][:end] == packet["position"][0]
        rows = np.flatnonzero(is_of_it & np.isin(merged["time_ns"][:end], packet["time_ns"]))
        if len(rows) < len(packet):  # it came before: its state is that of the first
            rows = merged.again.row[merged.again.position == packet["position"][0]]
        self.forget()
        self._stands = Standing(self._watch)
        self._stands.shown(self.samples)
        found: U8Array = limit[rows[: len(packet)]]
        return found


def _packets(samples: Samples, first: int, end: int) -> Iterator[slice]:
    """Yield the rows of each packet; what is derived is taken sample by sample."""
    if first >= end:
        return
    positions = samples["position"][first:end]
    is_one = (positions[1:] == positions[:-1]) & (samples["element"][first + 1 : end] > 0)
    edges = [first, *(np.flatnonzero(~is_one) + first + 1).tolist(), end]
    yield from (slice(one, other) for one, other in pairwise(edges))


# ---- what is derived of several packet types ----


class Joining:
    """The samples of one parameter that is derived of several packet types, of its inputs as they come.

    A packet that brings an input gives a sample at each time at which the derived value becomes another one by it: its
    own, and those of other inputs up to the next sample of this one. Of one time the last that is told holds.
    """

    def __init__(self, derived: Derived, joined: frozenset[str], watch: Watch | None) -> None:
        self.derived, self._watch = derived, watch
        names = derived.parsed.names
        self._tiers = [{name: _Row(name, KEPT, name in joined) for name in names} for _ in range(2)]

    def take(self, came: Mapping[str, Samples]) -> Samples:
        """Return the samples by position, then time; `came` has samples in position order, by parameter or element."""
        news = {name: _of_input(name, came) for name in self._tiers[0]}
        position = np.concatenate([one["position"] for one in news.values()])
        time_ns = np.concatenate([one["time_ns"] for one in news.values()])
        events = np.unique(np.stack((position, time_ns)), axis=1)
        found = list[Samples]()
        for first, end in _rising(events[1]):
            found += self._run(news, events[:, first:end])
        told = _joined(found, self.derived.name)
        return told.take(np.argsort(told["position"], kind="stable"))

    def _run(self, news: Mapping[str, Samples], events: I64Array) -> list[Samples]:
        """Take a run of events, rising in position and not falling in time."""
        newest, older = self._tiers
        cut = int(np.searchsorted(events[1], max(row.floor_ns for row in newest.values())))
        early, late = events[:, :cut], events[:, cut:]
        found = []
        if cut:  # of some input it is not known any more what was then: those join with one another
            if any(row.begin_anew_before(int(early[1][0])) for row in older.values()):
                for row in older.values():
                    row.samples = no_samples(row.samples.parameter)
            found += [self._placed(newest, news, early[:, k : k + 1]) for k in range(cut)]
            found += self._into(older, news, early)
        if late.shape[1]:
            found += self._into(newest, news, late)
        return [one for one in found if len(one)]

    def _into(self, tier: Mapping[str, _Row], news: Mapping[str, Samples], events: I64Array) -> list[Samples]:
        last_ns = max(int(row.samples["time_ns"][-1]) if len(row.samples) else EARLIEST_NS for row in tier.values())
        behind = int(np.searchsorted(events[1], last_ns))
        if any(row.repeats(_at(news[name], events[:, behind:])) for name, row in tier.items()):
            behind = events.shape[1]
        found = [self._placed(tier, news, events[:, k : k + 1]) for k in range(behind)]
        if behind < events.shape[1]:
            found.append(self._in_order(tier, news, events[:, behind:]))
        return found

    def _in_order(self, tier: Mapping[str, _Row], news: Mapping[str, Samples], events: I64Array) -> Samples:
        """Each event is behind all that came before it: of every input the newest is the one to take."""
        rows, known, every = {}, np.ones(events.shape[1], np.bool_), {}
        for name, row in tier.items():
            mine = _at(news[name], events)
            held = row.samples.take(slice(max(0, len(row.samples) - 1), None))
            every[name] = _joined([held, mine], name)
            place = np.append(np.full(len(held), -1), _places(mine, events))
            rows[name] = np.searchsorted(place, np.arange(events.shape[1]), "right") - 1
            known &= rows[name] >= 0
            row.add(mine)
            row.forget()
        if not known.any():
            return no_samples(self.derived.name)
        inputs = {name: every[name].take(rows[name][known]) for name in tier}
        return made_of(self.derived, inputs, events[1][known], self._watch)

    def _placed(self, tier: Mapping[str, _Row], news: Mapping[str, Samples], event: I64Array) -> Samples:
        """One event among those that came: the times at which it changes what is derived, with what is known now."""
        time_ns, times = int(event[1][0]), set[int]()
        for name, row in tier.items():
            mine = _at(news[name], event)
            if not len(mine) or time_ns < row.floor_ns:
                continue
            row.add(mine)
            if len(row.samples.again.row):  # it came before
                row.samples = replace(row.samples, again=no_samples(name).again)
                continue
            after = row.samples["time_ns"][int(np.searchsorted(row.samples["time_ns"], time_ns, "right")) :]
            end_ns = int(after[0]) if len(after) else -EARLIEST_NS
            times.add(time_ns)
            for other in tier.values():
                held = other.samples["time_ns"]
                times.update(held[(held > time_ns) & (held < end_ns)].tolist())
        if not times:
            return no_samples(self.derived.name)
        at = np.array(sorted(times), np.int64)
        rows = {name: np.searchsorted(row.samples["time_ns"], at, "right") - 1 for name, row in tier.items()}
        known = np.logical_and.reduce([one >= 0 for one in rows.values()])
        inputs = {name: row.samples.take(rows[name][known]) for name, row in tier.items()}
        for row in tier.values():
            row.forget()
        return made_of(self.derived, inputs, at[known], self._watch) if known.any() else no_samples(self.derived.name)


def _of_input(name: str, came: Mapping[str, Samples]) -> Samples:
    plain = name.partition("[")[0] if name.endswith("]") else name
    return element_of(came[plain], name) if plain in came else no_samples(name)


def _places(samples: Samples, events: I64Array) -> I64Array:
    """Return which of the events each sample is of; events rise by position, then time."""
    keys = np.stack((samples["position"], samples["time_ns"]))
    _, inverse = np.unique(np.concatenate((events, keys), axis=1), axis=1, return_inverse=True)
    inverse = inverse.reshape(-1)
    of_event = np.full(int(inverse.max(initial=-1)) + 1, -1)
    of_event[inverse[: events.shape[1]]] = np.arange(events.shape[1])
    found: I64Array = of_event[inverse[events.shape[1] :]]
    return found


def _at(samples: Samples, events: I64Array) -> Samples:
    """Return the samples that are of one of the events."""
    return samples.take(_places(samples, events) >= 0) if len(samples) else samples
