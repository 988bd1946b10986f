"""Where fixed-length units without a marker begin: every length, bit shift, prefix and octet interleave is tried.

Two differences are the same whatever the polarity and the randomiser: the exclusive or of neighbouring rows is zero
where a version and spacecraft id stand, and 2**k - 1 where a count went up by one. So one scan finds the rows, and
`headers` decides how they read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import BoolArray, I64Array, U8Array
from gateway_codecs.probe.headers import HEADER_OCTETS, LEAST_FRAMES, Headers, read_headers
from gateway_codecs.randomiser import RandomiserKind, sequence

SHORTEST_UNIT_OCTETS, LONGEST_UNIT_OCTETS = 16, 4096
LEAST_FRAME_OCTETS = 12
ROWS, ROWS_BEHIND_PREFIX = 48, 24
"""Of each length so many rows are compared in the scan."""
LONGEST_PREFIX_OCTETS = 64
SCAN_OCTETS = ROWS * LONGEST_UNIT_OCTETS
IDENTITY_MASK = 0xFFC0  # version and the eight bits of a spacecraft id that TM and AOS have in common
LEAST_STEPS, LEAST_IDENTITY = 0.1, 0.3
"""Of the pairs of rows a scan wants to see a count go up, and version and spacecraft id stay."""
READ_ROWS = 2048
BEST = 4
"""So many places that each scan likes best are read."""
NO_DOUBT_BITS, NO_DOUBT_SCORE = 300.0, 0.85
RANDOMISERS: tuple[RandomiserKind, ...] = ("none", "short", "long")


@dataclass(frozen=True, slots=True)
class Place:
    """Units of `unit_octets` back to back, the first `start_bits` into the recording; their headers every
    `interleave` octets."""

    start_bits: int
    unit_octets: int
    interleave: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """How units at a place read: polarity, randomiser, headers."""

    place: Place
    inverted: bool
    randomiser: RandomiserKind
    headers: Headers

    @property
    def key(self) -> tuple[float, int, int, int]:
        """The better reading has the greater key: what fits best, then what is simplest."""
        return self.headers.bits, self.is_plain, -self.place.interleave, -self.place.start_bits

    @property
    def is_plain(self) -> bool:
        """Upright, and not randomised."""
        return not self.inverted and self.randomiser == "none"

    @property
    def leaves_no_doubt(self) -> bool:
        """Whether other places need not be looked at."""
        return self.headers.bits >= NO_DOUBT_BITS and self.headers.score >= NO_DOUBT_SCORE


def shifted(octets: U8Array, bits: int) -> U8Array:
    """Return the octets, uint8 (n,), from so many bits on; a last incomplete octet is left out."""
    whole, shift = divmod(bits, 8)
    rest = octets[whole:]
    stream: U8Array = rest
    if shift:
        stream = (rest[:-1] << np.uint8(shift)) | (rest[1:] >> np.uint8(8 - shift))
    return stream


def units(octets: U8Array, place: Place) -> U8Array:
    """Return the units at a place, uint8 (n, unit octets), octet interleave undone."""
    rest = shifted(octets, place.start_bits)
    count = len(rest) // place.unit_octets
    return deinterleaved(rest[: count * place.unit_octets].reshape(count, place.unit_octets), place.interleave)


def deinterleaved(rows: U8Array, depth: int) -> U8Array:
    """Return rows, uint8 (n, L), whose octet j of each group of `depth` belongs to block j, block after block."""
    if depth == 1:
        return rows
    return np.ascontiguousarray(rows.reshape(len(rows), -1, depth).transpose(0, 2, 1).reshape(len(rows), -1))


def readings(heads: U8Array, place: Place) -> Iterator[Reading]:
    """Yield every polarity and randomiser of rows, uint8 (n, at least 6), with the headers that come out."""
    for inverted in (False, True):
        for randomiser in RANDOMISERS if place.interleave == 1 else RANDOMISERS[:1]:
            mask = sequence(randomiser, HEADER_OCTETS) ^ np.uint8(0xFF if inverted else 0)
            yield Reading(place, inverted, randomiser, read_headers(heads[:, :HEADER_OCTETS] ^ mask))


def find_units(octets: U8Array) -> Reading | None:
    """Return the best reading of units without a marker in the octets, uint8 (n,); None when chance explains all."""
    best: Reading | None = None
    for places in _scans(octets):
        best = _best(octets, places, best)
        if best is not None and best.leaves_no_doubt:
            break
    return best


def find_plain_units(octets: U8Array) -> Reading | None:
    """As `find_units`, but only of units that begin with the octets, upright and not randomised."""
    best = _best(octets, _scan(octets[:SCAN_OCTETS], 0), None)
    return best if best is not None and best.is_plain else None


def _best(octets: U8Array, places: Iterable[Place], best: Reading | None) -> Reading | None:
    for place in (part for whole in places for part in _parts(whole)):
        if place.start_bits // 8 + LEAST_FRAME_OCTETS > place.unit_octets:
            continue  # nothing is left of a unit behind such a prefix
        heads = _heads(octets, place)
        for reading in readings(heads, place) if len(heads) > 1 else ():
            if reading.headers.sure and (best is None or reading.key > best.key):
                best = reading
    return best


def _parts(place: Place) -> Iterator[Place]:
    """Yield a place and those with units of a part of its length: channels that take turns repeat in a multiple."""
    yield place
    if place.start_bits >= 8:
        return
    for parts in (2, 3, 4, 5, 6):
        length, rest = divmod(place.unit_octets, parts)
        if not rest and length >= SHORTEST_UNIT_OCTETS and length % place.interleave == 0:
            yield replace(place, unit_octets=length)


def _heads(octets: U8Array, place: Place) -> U8Array:
    """Return the first octets of the units, uint8 (n, 6), of a last one that is not whole too."""
    stream = shifted(octets[: (READ_ROWS + 1) * place.unit_octets + place.start_bits // 8], place.start_bits)
    last = len(stream) - (HEADER_OCTETS - 1) * place.interleave
    at = np.arange(0, max(0, last), place.unit_octets)[:READ_ROWS]
    heads: U8Array = stream[at[:, None] + np.arange(HEADER_OCTETS) * place.interleave]
    return heads


def _scans(octets: U8Array) -> Iterator[Iterator[Place]]:
    """Yield scans, the likeliest first."""
    sample = octets[:SCAN_OCTETS]
    yield _scan(sample, 0)
    for shift in range(1, 8):
        yield _scan(shifted(sample, shift), shift)
    for depth in range(2, 9):
        yield _scan(sample, 0, depth)
    for prefix in range(1, LONGEST_PREFIX_OCTETS + 1):
        yield _scan(sample[prefix:], 8 * prefix, rows=ROWS_BEHIND_PREFIX)


def _scan(octets: U8Array, start_bits: int, depth: int = 1, rows: int = ROWS) -> Iterator[Place]:
    """Yield the best lengths at which rows look like headers whose counts go up."""
    longest = min(LONGEST_UNIT_OCTETS, (len(octets) - HEADER_OCTETS) // (LEAST_FRAMES - 1))
    lengths = np.arange(SHORTEST_UNIT_OCTETS, longest + 1, dtype=np.int64)
    if depth > 1:
        lengths = lengths[lengths % depth == 0]
    if not len(lengths):
        return
    at = lengths[:, None] * np.arange(rows)
    there = at + (HEADER_OCTETS - 1) * depth < len(octets)
    at[~there] = 0
    pairs = there[:, 1:] & there[:, :-1]
    differ = [_differences(octets, at + k * depth) for k in range(5)]
    first = differ[0] << 8 | differ[1]
    alike = pairs & (first & IDENTITY_MASK == 0)
    same = pairs & (first == 0)
    aos = same & _up_by_one(differ[2] << 16 | differ[3] << 8 | differ[4])
    steps = np.maximum.reduce(
        [_share(alike & _up_by_one(differ[2]), pairs), _share(same & _up_by_one(differ[3]), pairs), _share(aos, pairs)]
    )
    identity = _share(alike, pairs)
    likely = np.flatnonzero((steps >= LEAST_STEPS) & (identity >= LEAST_IDENTITY))
    order = np.argsort(-(steps + identity / 8)[likely], kind="stable")
    for k in likely[order][:BEST].tolist():
        yield Place(start_bits, int(lengths[k]), depth)


def _differences(octets: U8Array, at: I64Array) -> NDArray[np.int32]:
    rows = octets[at].astype(np.int32)
    difference: NDArray[np.int32] = rows[:, 1:] ^ rows[:, :-1]
    return difference


def _up_by_one(difference: NDArray[np.int32]) -> BoolArray:
    """Whether the exclusive or of two counts, int32, is what a step by one leaves: 1, 3, 7, 15, ..."""
    result: BoolArray = (difference & (difference + 1) == 0) & (difference > 0)
    return result


def _share(hits: BoolArray, of: BoolArray) -> NDArray[np.float64]:
    count = of.sum(axis=1)
    share: NDArray[np.float64] = np.where(count >= 3, hits.sum(axis=1) / np.maximum(count, 1), 0.0)
    return share
