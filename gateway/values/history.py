"""Values as a view of the journal (DESIGN 4): packets are read, decoded with the version asked for, put in order.

The journal is cut into chunks of positions. What a chunk says of a parameter is a part, kept in the cache; a part of a
whole chunk never changes, that of the newest one grows. Late, dumped and out-of-order packets need nothing special:
every chunk is looked at for every range of time, a part says which times it holds. Blocking; runs in a worker.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

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
from gateway_routes.selection import Selection

CHUNK_POSITIONS = 1 << 18
DECODE_PACKETS, DECODE_OCTETS = 8192, 4 << 20
BEFORE_NS = 3600 * 1_000_000_000
"""So long before a range the inputs of a derived parameter are looked for, where they are of several packet types."""
SAMPLES_MAX = 4_000_000
"""So many samples are put in order at a time; more are taken in pieces, or refused where that cannot be."""
STORE_EVERY_POSITIONS = 1 << 14
NEWEST_PARTS = 64
NEEDED = ("time_ns", "position", "element", "generated", "identity", "data_mode", "link", "validity", "limit")
SHOWN = (*NEEDED, "receive_time_ns", "engineering", "raw")


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
    """The sample behind which a page begins."""

    key_ns: int
    position: int
    element: int


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
        return _Asked(query, version, ids[query.spacecraft], holders, self._journal.head, told, derived)

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
            part = self._columns(asked, *left.pop(0), SHOWN, (from_ns, query.to_ns))
            held, first = (part if first else concatenated([held, part])), False
            _refuse_many(len(held))
            if left and int((held["time_ns"] < upto_ns).sum()) > limit + (0 if after is None else 1):
                held = held.take(held["time_ns"] < upto_ns)
                break
            upto_ns = query.to_ns
        found = _behind(once(by_time(held)), "time_ns", after)
        return _cut(found, limit), len(found) > limit or bool(left)

    def _other_page(self, asked: _Asked, limit: int, after: After | None) -> tuple[Samples, bool]:
        key = {Order.RECEPTION: "receive_time_ns", Order.JOURNAL: "position"}.get(asked.query.order, "time_ns")
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
        for key, part in chosen:
            pieces.append(self._columns(asked, key, part, names, (query.from_ns, query.to_ns), of_reception))
            rows += len(pieces[-1])
            _refuse_many(rows)
        if not pieces:
            return no_samples(query.parameter)
        return ordered(once(by_time(concatenated(pieces))), query.order)

    def _in_pieces(self, asked: _Asked) -> Iterator[Samples]:
        """Yield the samples of a range, each once, in pieces of time that do not overlap."""
        query = asked.query
        if asked.derived is not None:
            yield self._derived(asked, asked.derived)
            return
        parts = list(self._parts(asked, query.from_ns, query.to_ns))
        if not parts:
            return
        first_ns = max(query.from_ns, min(part.time[0] for _, part in parts))
        end_ns = min(query.to_ns, max(part.time[1] for _, part in parts) + 1)
        count = -(-sum(part.rows for _, part in parts) // SAMPLES_MAX)
        edges = [first_ns + (end_ns - first_ns) * k // count for k in range(count + 1)]
        for span in pairwise(edges):
            here = [one for one in parts if one[1].time[0] < span[1] and one[1].time[1] >= span[0]]
            pieces = [self._columns(asked, key, part, (*NEEDED, "engineering"), span) for key, part in here]
            if pieces:
                yield once(by_time(concatenated(pieces)))

    def _derived(self, asked: _Asked, derived: Derived) -> Samples:
        """Return the samples of a parameter that is derived of several packet types, from those of its inputs."""
        query, inputs = asked.query, dict[str, Samples]()
        earlier = replace(query, from_ns=query.from_ns - BEFORE_NS, order=Order.GENERATION)
        for name in derived.parsed.names:
            mine = replace(earlier, parameter=base_name(name) if name.endswith("]") else name)
            samples = self._whole(self._asked(mine, asked.version, asked.damaged), SHOWN)
            inputs[name] = element_of(samples, name)
        found = joined_samples(derived, inputs)
        times = found["receive_time_ns" if query.order is Order.RECEPTION else "time_ns"]
        return ordered(found.take((times >= query.from_ns) & (times < query.to_ns)), query.order)

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
        before = None if known is None else self._all_columns(key, known)
        start = first if before is None or known is None else known.upto
        samples, whole = self._decoded(asked, start, end)
        if before is not None:
            samples = by_time(concatenated([before, samples])) if len(samples) else before
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

    def _all_columns(self, key: PartKey, part: Part) -> Samples | None:
        return part.samples or self._cache.samples(key, part, SHOWN)

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
        for decoded in asked.version.decoder.decode(batch.octets, items["offset"], lengths, frozenset({name})):
            column = decoded.columns.get(name)
            if column is not None and column.validity.size:
                yield samples_of(batch, positions, decoded.rows, column)


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


def _next_edge(parts: list[tuple[PartKey, Part]]) -> int:
    """Return the first time of the part behind the first one."""
    return parts[1][1].time[0] if len(parts) > 1 else 0


def _behind(samples: Samples, key: str, after: After | None) -> Samples:
    """Return the samples behind a place in their order."""
    if after is None:
        return samples
    times, position, element = samples[key], samples["position"], samples["element"]
    behind = (times > after.key_ns) | (
        (times == after.key_ns)
        & ((position > after.position) | ((position == after.position) & (element > after.element)))
    )
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
