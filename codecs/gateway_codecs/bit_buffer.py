"""Bits of a source at any place: octets from a bit on, markers at every bit, wrong bits of markers. Pure.

Bits are counted from the beginning of the source, the highest bit of an octet first.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import BoolArray, I64Array, U8Array
from gateway_codecs.sync_markers import LONGEST_BITS, SyncMarker

_PADDING = np.zeros(LONGEST_BITS // 8 + 16, np.uint8)
"""Zeros behind the bits that are there, so that a word may be read where a marker no longer fits."""


class BitBuffer:
    """The bits of a source that are still needed: from `begin` (whole octets) to `end`."""

    def __init__(self, begin: int = 0) -> None:
        self.begin = begin - begin % 8
        self._octets = _PADDING
        self._spare_bits = 0

    @property
    def end(self) -> int:
        """The bit behind the last one that is here."""
        return self.begin + 8 * (len(self._octets) - len(_PADDING)) - self._spare_bits

    def append(self, octets: U8Array, spare_bits: int = 0) -> None:
        """Take the next octets of the source, uint8 (n,); the last bits of the last ones may be none."""
        self._spare_bits = spare_bits
        self._octets = np.concatenate([self._octets[: len(self._octets) - len(_PADDING)], octets, _PADDING])

    def forget(self, before: int) -> None:
        """Give up the bits before a place, as far as they are whole octets."""
        octets = (min(before, self.end) - self.begin) // 8
        if octets > 0:
            self._octets = self._octets[octets:]
            self.begin += 8 * octets

    def close(self) -> int:
        """Give up all bits; returns where the next octet begins."""
        self._spare_bits = 0
        self.forget(self.end)
        return self.end

    def windows(self, places: I64Array, bits: int) -> U8Array:
        """Return the bits from each place on, uint8 (n, octets for `bits`); spare bits of the last octet are zero."""
        local = places - self.begin
        octets = (bits + 7) // 8
        rows = self._octets[(local >> 3)[:, None] + np.arange(octets + 1)].astype(np.uint16)
        shift = (8 - (local & 7)).astype(np.uint16)[:, None]
        found: U8Array = ((rows[:, :-1] << 8 | rows[:, 1:]) >> shift).astype(np.uint8)
        if bits % 8:
            found[:, -1] &= 0xFF << (8 - bits % 8) & 0xFF
        return found

    def rows(self, first: int, step: int, count: int, octets: int) -> U8Array:
        """Return `octets` octets from each of `count` places `step` bits apart, uint8 (count, octets), a copy."""
        if step % 8 or not count:
            return self.windows(first + step * np.arange(count), 8 * octets)
        at, shift = divmod(first - self.begin, 8)
        span = self._octets[at : at + (count - 1) * (step // 8) + octets + 1]
        flat = (span[:-1] << shift) | (span[1:] >> (8 - shift)) if shift else span
        return np.array(np.ndarray((count, octets), np.uint8, np.ascontiguousarray(flat).data, 0, (step // 8, 1)))

    def piece(self, place: int, bits: int) -> bytes:
        """Return some bits as octets, the first bit highest; spare bits of the last octet are zero."""
        octets = (bits + 7) // 8
        found = self.rows(place, 8, 1, octets)
        if bits % 8:
            found[0, -1] &= 0xFF << (8 - bits % 8) & 0xFF
        return found.tobytes()

    def errors(self, places: I64Array, marker: SyncMarker) -> I64Array:
        """Return how many bits of a marker at each place are wrong, int64 (n,); all of them = it is inverted."""
        wrong = np.bitwise_count(self.windows(places, marker.bits) ^ marker.octets)
        total: I64Array = wrong.sum(axis=1, dtype=np.int64)
        return total

    def errors_at(self, place: int, value: int, bits: int) -> int:
        """Return how many bits at a place are not those of a number: for one place many times faster than `errors`."""
        at, shift = divmod(place - self.begin, 8)
        octets = (shift + bits + 7) // 8
        found = int.from_bytes(self._octets[at : at + octets].tobytes(), "big") >> (8 * octets - shift - bits)
        return ((found ^ value) & ((1 << bits) - 1)).bit_count()

    def find(
        self, marker: SyncMarker, first: int, upto: int, errors: int, octets_only: bool, either: bool
    ) -> tuple[I64Array, BoolArray]:
        """Return the places in [first, upto) where a marker stands, at most `errors` of its bits wrong, in order.

        `octets_only` looks at octet boundaries, `either` at inverted markers too: those are true in the second array.
        A marker must lie wholly in the buffer: `upto` is at most `end` - bits + 1.
        """
        at = (first - self.begin) // 8
        count = (upto - 1 - self.begin) // 8 + 1 - at
        if upto <= first or count <= 0:
            return np.zeros(0, np.int64), np.zeros(0, np.bool_)
        table = _possible_shifts(marker, errors, octets_only, either)
        shifts = table.take(self._second_and_third(at, count), mode="clip")
        candidates = np.flatnonzero(shifts != 0)
        shifts = shifts[candidates]
        at_shift = [8 * candidates[shifts >> shift & 1 != 0] + shift for shift in range(8)]
        places = np.sort(np.concatenate(at_shift)) + self.begin + 8 * at
        places = places[(places >= first) & (places < upto)]
        wrong = self.errors(places, marker)
        inverted = wrong > marker.bits // 2
        found = np.where(inverted, marker.bits - wrong, wrong) <= errors
        if not either:
            found &= ~inverted
        return places[found], inverted[found]

    def _second_and_third(self, at: int, count: int) -> NDArray[np.uint16]:
        """Return for each octet from `at` on the two behind it as one little-endian number, uint16 (count,)."""
        octets = np.ascontiguousarray(self._octets[at : at + count + 2])
        return np.ndarray((count,), "<u2", octets.data, 1, (1,))


@lru_cache(maxsize=32)
def _possible_shifts(marker: SyncMarker, errors: int, octets_only: bool, either: bool) -> U8Array:
    """Return at which bits of an octet a marker may begin, by the two octets behind that one (little-endian), uint8
    (65536,): bit `shift` is set when they have at most `errors` wrong bits then.

    Those two octets lie within the first 24 bits of the marker wherever it begins, so one look-up per octet tells the
    few places that need a closer look.
    """
    head = int.from_bytes(marker.octets[:3].tobytes(), "big")
    octets = np.arange(1 << 16, dtype=np.uint16).byteswap()
    shifts = np.zeros(1 << 16, np.uint8)
    for shift in range(1 if octets_only else 8):
        wrong = np.bitwise_count(octets ^ np.uint16(head >> shift & 0xFFFF))
        possible = (wrong <= errors) | (either & (wrong >= 16 - errors))
        shifts |= possible.astype(np.uint8) << shift
    return shifts
