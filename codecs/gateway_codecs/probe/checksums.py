"""After how many octets of each frame its CRC-16 fits (CCSDS 132.0-B-3 4.1.6): the length of frames with FECF."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import U8Array
from gateway_codecs.crc import crc16, crc32c

ROWS = 96
LEAST_GOOD = 3
LEAST_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class FecfFound:
    """Frames end after `length_octets` with a CRC-16: `good` of `tested` different frames."""

    length_octets: int
    good: int
    tested: int


def different_rows(rows: U8Array) -> U8Array:
    """Return each row of uint8 (n, L) once, in order."""
    first = {row.tobytes(): k for k, row in reversed(list(enumerate(rows)))}
    return rows[sorted(first.values())]


def find_fecf(frames: U8Array) -> FecfFound | None:
    """Return where the frames, uint8 (n, U), end with their CRC-16; None when it fits nowhere.

    Frames that are alike count once. Chance makes one good in 65,536, at each of the U lengths.
    """
    rows = different_rows(frames)
    rows = rows[np.linspace(0, len(rows) - 1, min(ROWS, len(rows))).astype(np.int64)]
    table, state = _table(), np.full(len(rows), 0xFFFF, np.uint16)
    good = np.zeros(rows.shape[1], np.int64)
    for at in range(rows.shape[1]):
        state = (state << np.uint16(8)) ^ table[(state >> np.uint16(8)) ^ rows[:, at]]
        good[at] = np.count_nonzero(state == 0)
    if not len(rows) or good.max() < LEAST_GOOD or good.max() < LEAST_SHARE * len(rows):
        return None
    length = int(np.flatnonzero(good >= good.max() / 2)[0]) + 1  # zeros behind a good frame leave it good
    return FecfFound(length, int(good[length - 1]), len(rows))


def find_other_check(frames: U8Array) -> FecfFound | None:
    """Return whether the frames, uint8 (n, U), end with a CRC-32C, which no book of ours knows, None if they do not."""
    rows = different_rows(frames)[:ROWS]
    ends = [int.from_bytes(row[-4:].tobytes(), "big") for row in rows]
    good = sum(end == crc32c(row[:-4].tobytes()) for end, row in zip(ends, rows, strict=True))
    return FecfFound(frames.shape[1], good, len(rows)) if good >= 1 and good >= LEAST_SHARE * len(rows) else None


@cache
def _table() -> NDArray[np.uint16]:
    """Return the CRC-16 of one octet from a cleared register, uint16 (256,)."""
    base = crc16(bytes(3))
    rows = [crc16(bytes([0, 0, value])) ^ base for value in range(256)]
    return np.array(rows, np.uint16)
