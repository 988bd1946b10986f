"""Finds attached sync markers (CCSDS 131.0-B-5, clause 9) at every bit, in both polarities, and their distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gateway_codecs.batches import BoolArray, I64Array, U8Array
from gateway_codecs.probe.periods import shifted
from gateway_codecs.sync_markers import MARKERS

SHORTEST_OCTETS = 64
LEAST_MARKERS = 3
LEAST_SHARE = 0.5
LONGEST_PERIOD_OCTETS = 1 << 14
LONGEST_HOLE = 20
"""So many markers in a row may be damaged before the distance is counted anew."""


@dataclass(frozen=True, slots=True, eq=False)
class MarkerTrain:
    """Markers at a fixed distance. Positions are of the first bit of each unit, its marker included.

    `seen`: markers found exactly, `on_time` those with another one period away; `positions` int64 (n,) and
    `inverted` bool (n,) are of all units that are whole, those with a damaged marker between others too.
    """

    marker: bytes
    period_bits: int
    seen: int
    on_time: int
    positions: I64Array
    inverted: BoolArray

    @property
    def octet_aligned(self) -> bool:
        """Whether all units begin at octets."""
        return not (self.positions % 8).any()

    def blocks(self, octets: U8Array, most: int) -> U8Array:
        """Return what stands behind the markers of the first `most` units, uint8 (n, octets of a block), upright."""
        begin = self.positions[:most] + 8 * len(self.marker)
        length = (self.period_bits - 8 * len(self.marker)) // 8
        at, shift = begin >> 3, (begin & 7).astype(np.uint16)
        there = at[:, None] + np.arange(length + 1)
        pieces = octets[np.minimum(there, len(octets) - 1)].astype(np.uint16)
        wide = pieces[:, :-1] << 8 | pieces[:, 1:]
        blocks = (wide >> (8 - shift)[:, None]).astype(np.uint8)
        upright: U8Array = np.where(self.inverted[:most, None], ~blocks, blocks)
        return upright


def find_markers(octets: U8Array) -> MarkerTrain | None:
    """Return the markers that stand at a fixed distance in the octets, uint8 (n,); None when none do."""
    if len(octets) < SHORTEST_OCTETS:
        return None
    trains = [
        train
        for marker, hits in _hits(octets).items()
        if (train := _train(bytes.fromhex(marker), hits, len(octets) * 8)) is not None
    ]
    return max(trains, key=lambda train: (train.on_time, len(train.marker)), default=None)


def _hits(octets: U8Array) -> dict[str, list[tuple[I64Array, bool]]]:
    """Return where each marker stands, in bits, with its polarity."""
    hits: dict[str, list[tuple[I64Array, bool]]] = {marker: [] for marker in MARKERS.values()}
    for shift in range(8):
        stream = shifted(octets, shift)
        words = stream[:-2].astype(np.uint32) << 16 | stream[1:-1].astype(np.uint32) << 8 | stream[2:]
        for marker in MARKERS.values():
            for inverted in (False, True):
                pattern = np.frombuffer(bytes.fromhex(marker), np.uint8) ^ np.uint8(0xFF if inverted else 0)
                at = np.flatnonzero(words == int.from_bytes(pattern[:3].tobytes(), "big"))
                at = at[at + len(pattern) <= len(stream)]
                whole = (stream[at[:, None] + np.arange(len(pattern))] == pattern).all(axis=1)
                hits[marker].append((at[whole] * 8 + shift, inverted))
    return hits


def _train(marker: bytes, found: list[tuple[I64Array, bool]], total_bits: int) -> MarkerTrain | None:
    positions = np.concatenate([at for at, _ in found])
    inverted = np.concatenate([np.full(len(at), flag) for at, flag in found])
    order = np.argsort(positions)
    positions, inverted = positions[order], inverted[order]
    if len(positions) < LEAST_MARKERS:
        return None
    distances, counts = np.unique(np.diff(positions), return_counts=True)
    period = int(distances[counts.argmax()])
    before = np.isin(positions - period, positions)
    fits = 8 * len(marker) < period <= 8 * LONGEST_PERIOD_OCTETS
    on_time = int((before | np.isin(positions + period, positions)).sum())
    if int(before.sum()) < LEAST_MARKERS - 1 or on_time < LEAST_SHARE * len(positions) or not fits:
        return None
    filled, flags = _fill(positions, inverted, period)
    whole = filled + period <= total_bits
    return MarkerTrain(marker, period, len(positions), on_time, filled[whole], flags[whole])


def _fill(positions: I64Array, inverted: BoolArray, period: int) -> tuple[I64Array, BoolArray]:
    """Return the positions with those between them where a marker is damaged, and their polarity."""
    holes, rest = np.divmod(np.diff(positions), period)
    between = np.where((rest == 0) & (holes <= LONGEST_HOLE), np.maximum(holes, 1), 1)
    repeats = np.append(between, 1)
    index = np.repeat(np.arange(len(positions)), repeats)
    place = np.arange(len(index)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    return positions[index] + place * period, inverted[index]
