"""Values as a view of the journal (DESIGN 4): packets are read, decoded with the version asked for, put in order.

The journal is cut into chunks of positions. What a chunk says of a parameter is a part, kept in the cache; a part of a
whole chunk never changes, that of the newest one grows. Late, dumped and out-of-order packets need nothing special:
every chunk is looked at for every range of time, a part says which times it holds. Blocking; runs in a worker.

Limit states that depend on the samples before (persistence, changes) and parameters derived of several packet types
are of generation-time order, each sample once, whatever order is asked for; as many samples before the range are looked
at as that needs, so a sample is the same wherever a range or a page begins.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.errors import UsageError
from gateway.journal import Damage, Journal
from gateway.journal.bulk import joined
from gateway.values.cache import Part, PartKey, ValueCache
from gateway.values.versions import Version
from gateway_codecs.batches import I64Array, ItemBatch, Kind, Unit
from gateway_codecs.mdb.columns import LimitFlag, Validity
from gateway_codecs.mdb.decimation import Buckets
from gateway_codecs.mdb.derive import Derived
from gateway_codecs.mdb.holders import Apids, apids, base_name
from gateway_codecs.mdb.join import element_of, joined_samples
from gateway_codecs.mdb.samples import (
    DTYPES,
    Order,
    Samples,
    by_time,
    concatenated,
    no_samples,
    once,
    ordered,
    samples_of,
)
from gateway_codecs.mdb.standing import WATCHED, Standing, Watch, watch_of
from gateway_routes.selection import Selection

CHUNK_POSITIONS = 1 << 18
DECODE_PACKETS, DECODE_OCTETS = 8192, 4 << 20
EARLIEST_NS, LATEST_NS = -(1 << 62), 1 << 62
SAMPLES_MAX = 4_000_000
"""So many samples are put in order at a time; more are taken in pieces, or refused where that cannot be."""
STORE_EVERY_POSITIONS = 1 << 14
NEWEST_PARTS = 64
NEEDED = ("time_ns", "position", "element", "generated", "identity", "data_mode", "link", "validity", "limit")
SHOWN = (*NEEDED, "receive_time_ns", "engineering", "raw")
STANDING = (*NEEDED, "engineering", "raw", *WATCHED)


@dataclass(frozen=True, slots=True)
class Query:
    """Which samples: of a spacecraft and a parameter (qualified name), from `from_ns` up to before `to_ns`.

    The times are generation times; of the other orders they are of reception.
    """

    spacecraft: str
    parameter: str
    from_ns: int
    to_ns: int
    order: Order = Order.GENERATION


@dataclass(frozen=True, slots=True)
class After:
    """The sample behind which a page begins; its time, for a packet may complete several derived samples."""

    key_ns: int
    position: int
    element: int
    time_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What was asked, as far as the journal holds it: positions below `head`; `damaged` cannot be read."""

    samples: Samples
    digest: str
    head: int
    more: bool = False
    damaged: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """A query with all that is needed to answer it."""

    query: Query
    version: Version
    spacecraft_id: int
    apids: Apids
    head: int
    damaged: list[tuple[int, int]]
    derived: Derived | None = None  # it has samples of its own only by those of its inputs
    watch: Watch | None = None  # its limit states depend on the samples before

    def columns(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the columns that are needed to show these."""
        return tuple(dict.fromkeys((*names, *(STANDING if self.watch is not None else ()))))


class History:
    """The values of one mission instance's journal."""

    def __init__(self, journal: Journal, cache: ValueCache) -> None:
        self._journal, self._cache = journal, cache
        self._newest: OrderedDict[PartKey, Part] = OrderedDict()
        self.decoded_packets = 0

    # ---- what may be asked ----

    def page(self, query: Query, version: Version, limit: int, after: After | None = None) -> Found:
        """Return the first `limit` samples, behind `after`. Raises UsageError, OSError."""
        asked = self._asked(query, version)
        if query.order is Order.GENERATION:
            found, more = self._generation_page(asked, limit, after)
        else:
            found, more = self._other_page(asked, limit, after)
        return Found(found, version.digest, asked.head, more, tuple(asked.damaged))

    def buckets(self, query: Query, version: Version, buckets: int) -> tuple[Buckets, Found]:
        """Return the samples of a range summed up in so many spans; never too many of them. Raises UsageError, OSError.

        The returned samples are none: their head and damage count.
        """
        asked, found = self._asked(query, version), Buckets.empty(query.from_ns, query.to_ns, buckets)
        for samples in self._in_pieces(asked):
            if samples["engineering"].dtype.kind not in "iufb":
                raise UsageError(f"{query.parameter} is text or octets: there is nothing to sum up", "ask for samples")
            usable = samples["validity"] == Validity.VALID
            values = samples["engineering"].astype(np.float64)
            found.add(samples["time_ns"], values, usable, samples["limit"] & np.uint8(LimitFlag.SEVERITY))
        return found, Found(no_samples(query.parameter), version.digest, asked.head, False, tuple(asked.damaged))

    def all(self, query: Query, version: Version, names: Sequence[str] = SHOWN) -> Found:
        """Return all samples of a range. Raises UsageError when they are too many, OSError."""
        asked = self._asked(query, version)
        return Found(self._whole(asked, names), version.digest, asked.head, False, tuple(asked.damaged))

    # ---- answers ----

    def _asked(self, query: Query, version: Version, damaged: list[tuple[int, int]] | None = None) -> _Asked:
        if query.from_ns >= query.to_ns:
            raise UsageError("the range ends before it begins", "give from before to")
        ids = {name: number for number, name in self._journal.names("spacecraft").items()}
        holders = apids(version.database, query.parameter)
        derived = version.decoder.joined().get(query.parameter)
        told = [] if damaged is None else damaged
        watch = watch_of(version.database, query.parameter)
        return _Asked(query, version, ids[query.spacecraft], holders, self._journal.head, told, derived, watch)

    def _generation_page(self, asked: _Asked, limit: int, after: After | None) -> tuple[Samples, bool]:
        """Take parts in order of their first time until a page is complete: nothing earlier can come then."""
        query = asked.query
        if asked.derived is not None:
            return self._other_page(asked, limit, after)
        from_ns = query.from_ns if after is None else max(query.from_ns, after.key_ns)
        left = sorted(self._parts(asked, from_ns, query.to_ns), key=lambda one: one[1].time)
        held = no_samples(query.parameter)
        first = True
        while left:
            upto_ns = _next_edge(left)
            part = self._columns(asked, *left.pop(0), asked.columns(SHOWN), (from_ns, query.to_ns))
            held, first = (part if first else concatenated([held, part])), False
            _refuse_many(len(held))
            if left and int((held["time_ns"] < upto_ns).sum()) > limit + (0 if after is None else 1):
                held = held.take(held["time_ns"] < upto_ns)
                break
            upto_ns = query.to_ns
        stands = self._standing(asked, from_ns)
        found = _behind(_shown(stands, once(by_time(held))), "time_ns", after)
        return _cut(found, limit), len(found) > limit or bool(left)

    def _other_page(self, asked: _Asked, limit: int, after: After | None) -> tuple[Samples, bool]:
        key = {Order.RECEPTION: "receive_time_ns", Order.JOURNAL: "position"}.get(asked.query.order, "time_ns")
        if after is not None and asked.query.order is Order.GENERATION:
            begin_ns = min(max(asked.query.from_ns, after.key_ns), asked.query.to_ns - 1)
            asked = replace(asked, query=replace(asked.query, from_ns=begin_ns))
        found = _behind(self._whole(asked, SHOWN), key, after)
        return _cut(found, limit), len(found) > limit

    def _whole(self, asked: _Asked, names: Sequence[str]) -> Samples:
        query = asked.query
        if asked.derived is not None:
            return self._derived(asked, asked.derived)
        of_reception = query.order is not Order.GENERATION
        chosen = list(self._parts(asked, query.from_ns, query.to_ns, of_reception))
        _refuse_many(sum(part.rows for _, part in chosen) if of_reception else 0)
        pieces, rows = list[Samples](), 0
        wanted, span = asked.columns(names), (query.from_ns, query.to_ns)
        for key, part in chosen:
            pieces.append(self._columns(asked, key, part, wanted, span, of_reception))
            rows += len(pieces[-1])
            _refuse_many(rows)
        if not rows:
            return no_samples(query.parameter)
        found = once(by_time(concatenated(pieces)))
        if not of_reception:
            return _shown(self._standing(asked, query.from_ns), found)
        return ordered(self._standing_among_all(asked, found), query.order)

    def _in_pieces(self, asked: _Asked) -> Iterator[Samples]:
        """Yield the samples of a range, each once, in pieces of time that do not overlap."""
        if asked.derived is not None:
            yield self._derived(asked, asked.derived)
            return
        stands = self._standing(asked, asked.query.from_ns)
        for piece in self._pieces(asked, (*NEEDED, "engineering"), asked.query.from_ns, asked.query.to_ns):
            yield _shown(stands, piece)

    def _pieces(self, asked: _Asked, names: Iterable[str], from_ns: int, to_ns: int) -> Iterator[Samples]:
        parts = list(self._parts(asked, from_ns, to_ns))
        if not parts:
            return
        first_ns = max(from_ns, min(part.time[0] for _, part in parts))
        end_ns = min(to_ns, max(part.time[1] for _, part in parts) + 1)
        count = -(-sum(part.rows for _, part in parts) // SAMPLES_MAX)
        edges = [first_ns + (end_ns - first_ns) * k // count for k in range(count + 1)]
        wanted = asked.columns(names)
        for span in pairwise(edges):
            here = [one for one in parts if one[1].time[0] < span[1] and one[1].time[1] >= span[0]]
            pieces = [self._columns(asked, key, part, wanted, span) for key, part in here]
            if pieces:
                yield once(by_time(concatenated(pieces)))

    # ---- what the samples before decide ----

    def _standing(self, asked: _Asked, from_ns: int) -> Standing | None:
        """Return what goes along the samples from a time on, knowing those before; None when they do not matter."""
        if asked.watch is None:
            return None
        stands = Standing(asked.watch)
        stands.shown(self._before(asked, from_ns, asked.watch.packets_before))
        return stands

    def _standing_among_all(self, asked: _Asked, found: Samples) -> Samples:
        """Return samples that are not all of their span of time with the limit states that they have among all."""
        if asked.watch is None:
            return found
        times = found["time_ns"]
        from_ns, to_ns = int(times.min()), int(times.max()) + 1
        stands, limit = self._standing(asked, from_ns), np.zeros(len(found), np.uint8)
        for piece in self._pieces(asked, STANDING, from_ns, to_ns):
            shown = _shown(stands, piece)
            rows = np.concatenate((np.arange(len(shown)), shown.again.row))
            positions = np.concatenate((shown["position"], shown.again.position))
            here, there = _same(found["position"], found["element"], positions, shown["element"][rows])
            limit[here] = shown["limit"][rows[there]]
        return replace(found, columns={**found.columns, "limit": limit})

    def _before(self, asked: _Asked, end_ns: int, packets: int) -> Samples:
        """Return the samples of the last packets before a time: so many that count, or all there are; in order."""
        if asked.derived is not None:
            return self._derived_before(asked, asked.derived, end_ns, packets)
        wanted = asked.columns(SHOWN)
        left = sorted(self._parts(asked, EARLIEST_NS, end_ns), key=lambda one: min(one[1].time[1], end_ns - 1))
        held, floor_ns = no_samples(asked.query.parameter), EARLIEST_NS
        while left and left[-1][1].time[1] >= floor_ns:
            part = self._columns(asked, *left.pop(), wanted, (floor_ns, end_ns))
            if not len(part):
                continue
            held = once(by_time(concatenated([held, part]) if len(held) else part))
            held, is_enough = _last_packets(held, packets)
            floor_ns = int(held["time_ns"][0]) if is_enough else EARLIEST_NS
        return held

    # ---- what is derived of several packet types ----

    def _derived(self, asked: _Asked, derived: Derived) -> Samples:
        """Return the samples of a parameter that is derived of several packet types, from those of its inputs."""
        query = asked.query
        by_generation = query.order is Order.GENERATION
        span = (query.from_ns, query.to_ns) if by_generation else self._joined_span(asked, derived)
        if span[0] >= span[1]:
            return no_samples(query.parameter)
        found = self._joined(asked, derived, *span, 1)
        found = found.take(found["time_ns"] >= span[0])
        found = _shown(self._standing(asked, span[0]), found)
        times = found["time_ns" if by_generation else "receive_time_ns"]
        return ordered(found.take((times >= query.from_ns) & (times < query.to_ns)), query.order)

    def _inputs(self, asked: _Asked, derived: Derived) -> dict[str, _Asked]:
        """Return the questions for the inputs, in generation-time order, by the names that are read."""
        found = {}
        for name in derived.parsed.names:
            mine = replace(asked.query, parameter=base_name(name) if name.endswith("]") else name)
            found[name] = self._asked(mine, asked.version, asked.damaged)
        return found

    def _joined_span(self, asked: _Asked, derived: Derived) -> tuple[int, int]:
        """Return from which generation time on there is what came within a time of reception.

        What came late changes what is derived at later times too, up to the input's next sample: no end is known.
        """
        times = [
            int(samples["time_ns"].min())
            for one in self._inputs(asked, derived).values()
            if len(samples := self._whole(one, SHOWN))
        ]
        return min(times, default=LATEST_NS), LATEST_NS

    def _joined(self, asked: _Asked, derived: Derived, from_ns: int, to_ns: int, packets: int) -> Samples:
        """Return the samples from a time on, and some before it: by so many packets of each input before."""
        inputs = {}
        for name, one in self._inputs(asked, derived).items():
            generation = replace(one, query=replace(one.query, from_ns=from_ns, to_ns=to_ns, order=Order.GENERATION))
            before = element_of(self._before(one, from_ns, packets), name)
            wanted = packets
            while not len(before) and wanted < SAMPLES_MAX and one.query.parameter != name:  # an element few have
                wanted *= 16
                before = element_of(self._before(one, from_ns, wanted), name)
            since = element_of(self._whole(generation, SHOWN), name) if from_ns < to_ns else before.take(slice(0, 0))
            shown = [part.take(slice(None)) for part in (before, since) if len(part)]
            shown = [replace(part, columns={name: part[name] for name in SHOWN}) for part in shown]
            inputs[name] = concatenated(shown) if shown else no_samples(one.query.parameter)
        return joined_samples(derived, inputs, asked.watch)

    def _derived_before(self, asked: _Asked, derived: Derived, end_ns: int, packets: int) -> Samples:
        """Return the last samples before a time: so many that count, or all there are."""
        wanted, known = packets, -1
        while True:
            found = self._joined(asked, derived, end_ns, end_ns, wanted)
            held, is_enough = _last_packets(found, packets)
            if is_enough or len(found) == known or wanted >= SAMPLES_MAX:
                return held
            wanted, known = wanted * 16, len(found)

    # ---- parts ----

    def _parts(
        self, asked: _Asked, from_ns: int, to_ns: int, of_reception: bool = False
    ) -> Iterator[tuple[PartKey, Part]]:
        """Yield the parts that hold samples of a span of time, by position."""
        tail = self._journal.tail
        for chunk in range(tail // CHUNK_POSITIONS, -(-asked.head // CHUNK_POSITIONS)):
            key = PartKey(
                str(self._journal.journal_id), self._journal.revision, asked.version.digest, asked.query.spacecraft,
                asked.query.parameter, chunk,
            )  # fmt: skip
            part = self._part(asked, key)
            first_ns, last_ns = part.received if of_reception else part.time
            if part.rows and first_ns < to_ns and last_ns >= from_ns:
                yield key, part

    def _part(self, asked: _Asked, key: PartKey) -> Part:
        """Return what a chunk holds below the head, from memory, from the cache, or from its packets."""
        first = key.chunk * CHUNK_POSITIONS
        end = min(first + CHUNK_POSITIONS, asked.head)
        known = self._newest.get(key) or self._cache.load(key)
        if known is not None and known.upto >= end:
            return known
        before = None if known is None else self._all_columns(asked, key, known)
        start = first if before is None or known is None else known.upto
        samples, whole = self._decoded(asked, start, end)
        if before is not None:
            samples = by_time(concatenated([one for one in (before, samples) if len(one)] or [before]))
        part = _part_of(first, end, samples)
        if whole:
            self._keep(key, part, known, end == first + CHUNK_POSITIONS)
        return part

    def _keep(self, key: PartKey, part: Part, known: Part | None, complete: bool) -> None:
        """Keep a part: a growing one in memory, and in the cache from time to time."""
        stored = self._cache.load(key) if known is not None else None
        if complete or part.upto - (part.first if stored is None else stored.upto) >= STORE_EVERY_POSITIONS:
            self._cache.store(key, part)
        if complete and self._cache.load(key) is not None:
            self._newest.pop(key, None)
            return
        self._newest[key] = part
        self._newest.move_to_end(key)
        while len(self._newest) > NEWEST_PARTS:
            self._newest.popitem(last=False)

    def _all_columns(self, asked: _Asked, key: PartKey, part: Part) -> Samples | None:
        return part.samples or self._cache.samples(key, part, asked.columns(SHOWN))

    def _columns(
        self,
        asked: _Asked,
        key: PartKey,
        part: Part,
        names: Iterable[str],
        span: tuple[int, int],
        of_reception: bool = False,
    ) -> Samples:
        """Return the samples of a part within a span of time, and those alone that retention has not taken."""
        wanted = tuple(dict.fromkeys((*names, "receive_time_ns") if of_reception else names))
        samples = part.samples or self._cache.samples(key, part, wanted)
        if samples is None:  # the cache was emptied, or is damaged
            self._newest.pop(key, None)
            again = self._part(asked, key)
            samples = again.samples or self._cache.samples(key, again, wanted) or self._decoded_alone(asked, again)
        times = samples["receive_time_ns" if of_reception else "time_ns"]
        if of_reception:
            rows: Any = (times >= span[0]) & (times < span[1])
        else:
            rows = slice(*np.searchsorted(times, span).tolist())
        some = Samples(samples.parameter, {n: samples[n] for n in wanted}, samples.unit, samples.labels).take(rows)
        if part.first < self._journal.tail:
            some = some.take(some["position"] >= self._journal.tail)
        return some

    def _decoded_alone(self, asked: _Asked, part: Part) -> Samples:
        return self._decoded(asked, part.first, part.upto)[0]

    # ---- packets ----

    def _decoded(self, asked: _Asked, first: int, end: int) -> tuple[Samples, bool]:
        """Return the samples of positions [first, end) in generation-time order, and whether nothing is damaged."""
        pieces, whole = list[Samples](), True
        wanted = Selection(
            kinds=frozenset({Kind.TM}), units=frozenset({Unit.PACKET}), spacecraft=frozenset({asked.spacecraft_id}),
            apids=asked.apids,
        )  # fmt: skip

        def damaged(damage: Damage) -> None:
            nonlocal whole
            whole = False
            asked.damaged.append((max(first, damage.first), min(end, damage.end)))

        for positions, batch in packets(self._journal, first, end, wanted, damaged):
            pieces += self._decode(asked, positions, batch)
        if not pieces:
            return no_samples(asked.query.parameter), whole
        return by_time(concatenated(pieces)), whole

    def _decode(self, asked: _Asked, positions: I64Array, batch: ItemBatch) -> Iterator[Samples]:
        name = asked.query.parameter
        items = batch.items
        self.decoded_packets += len(items)
        lengths = items["length"].astype(np.int64)
        watch = asked.watch
        want = frozenset({name} if watch is None else {name, *watch.inputs})
        for decoded in asked.version.decoder.decode(batch.octets, items["offset"], lengths, want):
            column = decoded.columns.get(name)
            if column is None or not column.validity.size:
                continue
            found = samples_of(batch, positions, decoded.rows, column)
            more = watch.columns(column, decoded.columns) if watch is not None else {}
            yield replace(found, columns={**found.columns, **more})


def packets(
    journal: Journal, first: int, end: int, wanted: Selection, damaged: Callable[[Damage], None]
) -> Iterator[tuple[I64Array, ItemBatch]]:
    """Yield wanted items of [first, end) with their positions, many at a time, in position order. Blocking."""
    positions, pieces, count, octets = list[I64Array](), list[ItemBatch](), 0, 0
    for found in journal.walk(first, end, wanted):
        if isinstance(found, Damage):
            damaged(found)
            continue
        positions.append(found[0])
        pieces.append(found[1])
        count, octets = count + len(found[0]), octets + len(found[1].octets)
        if count >= DECODE_PACKETS or octets >= DECODE_OCTETS:
            yield np.concatenate(positions), joined(pieces)
            positions, pieces, count, octets = [], [], 0, 0
    if pieces:
        yield np.concatenate(positions), joined(pieces)


def _part_of(first: int, upto: int, samples: Samples) -> Part:
    if not len(samples):
        return Part(first, upto, 0, (0, 0), (0, 0), samples)
    spans = [(int(samples[n].min()), int(samples[n].max())) for n in ("time_ns", "receive_time_ns")]
    return Part(first, upto, len(samples), spans[0], spans[1], samples)


def _shown(stands: Standing | None, samples: Samples) -> Samples:
    return samples if stands is None else stands.shown(samples)


def _last_packets(samples: Samples, packets: int) -> tuple[Samples, bool]:
    """Return the samples of so many packets at the end, those of one time together, and whether there are so many.

    Where it is known which packets count, others are not counted.
    """
    positions = samples["position"]
    some = np.flatnonzero(samples["counts"]) if "counts" in samples.columns else np.arange(len(samples))
    _, last = np.unique(positions[some][::-1], return_index=True)
    if len(last) < packets:
        return samples, False
    row = some[len(some) - 1 - np.partition(last, packets - 1)[packets - 1]]
    first = int(np.searchsorted(samples["time_ns"], samples["time_ns"][row]))
    return samples.take(slice(first, None)), True


def _same(
    position: I64Array, element: NDArray[Any], positions: I64Array, elements: NDArray[Any]
) -> tuple[I64Array, I64Array]:
    """Return where two lists of samples, each once, have the same ones: rows of the one and of the other."""
    width = 1 + max(int(element.max(initial=0)), int(elements.max(initial=0)))
    keys = position * width + element, positions * width + elements
    _, here, there = np.intersect1d(*keys, assume_unique=True, return_indices=True)
    return here, there


def _next_edge(parts: list[tuple[PartKey, Part]]) -> int:
    """Return the first time of the part behind the first one."""
    return parts[1][1].time[0] if len(parts) > 1 else 0


def _behind(samples: Samples, key: str, after: After | None) -> Samples:
    """Return the samples behind a place in their order."""
    if after is None:
        return samples
    behind = np.zeros(len(samples), np.bool_)
    tied = np.ones(len(samples), np.bool_)
    place = ((key, after.key_ns), ("position", after.position), ("element", after.element), ("time_ns", after.time_ns))
    for name, value in place:
        behind |= tied & (samples[name] > value)
        tied &= samples[name] == value
    return _kept(samples, int(np.argmax(behind)) if behind.any() else len(samples), len(samples))


def _cut(samples: Samples, limit: int) -> Samples:
    return _kept(samples, 0, min(limit, len(samples)))


def _kept(samples: Samples, first: int, end: int) -> Samples:
    """Return samples [first, end) with what was received again of them."""
    taken, again = samples.take(slice(first, end)), samples.again
    inside = (again.row >= first) & (again.row < end)
    moved = replace(
        again, row=again.row[inside] - first, position=again.position[inside], link=again.link[inside],
        data_mode=again.data_mode[inside],
    )  # fmt: skip
    return replace(taken, again=moved)


def _refuse_many(rows: int) -> None:
    if rows > SAMPLES_MAX:
        hint = "ask for buckets (they keep the extremes), or for a shorter range"
        raise UsageError(f"more than {SAMPLES_MAX} samples at once", hint)


__all__ = ["CHUNK_POSITIONS", "DTYPES", "After", "Found", "History", "Query", "packets"]
