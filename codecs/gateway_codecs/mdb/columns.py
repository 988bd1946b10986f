"""Decoded parameters: one column per parameter and packet type, one row per packet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import I64Array, U8Array


class Validity(IntEnum):
    """Whether a sample can be used; the first cause that holds, from the bottom up."""

    VALID = 0
    INVALID = 1  # the parameter's validity condition does not hold
    OUT_OF_RANGE = 2  # beyond the valid range of its type
    UNCALIBRATED = 3  # no calibrator reaches its raw value: the engineering value is NaN, no label, or zero
    ABSENT = 4  # the entry's condition does not hold: there is no such value in this packet
    TRUNCATED = 5  # the packet ends before it
    UNDECODABLE = 6  # a count, size or code that cannot be (a digit above 9, a size below zero, no lookup case)


class LimitFlag:
    """Bits of the limit state: the lowest three are the `Severity`."""

    SEVERITY = 0x07
    LOW = 0x08  # below a range
    HIGH = 0x10  # above a range
    DELTA = 0x20  # changed too much
    LABEL = 0x40  # a state or text that is an alarm


class Column(NamedTuple):
    """The samples of one parameter; arrays (n,), or (n, k, ...) for repeats and arrays of one shape.

    A tuple, because small batches of many packet types make thousands of them: a frozen dataclass takes five times as
    long to make. Compare its arrays, not columns.

    `raw`: uint64, int64, float64, bytes ('S'), or uint8 (n, octets) for binary and time codes, as the encoding says.
    `engineering`: int64, uint64, float64, bool, bytes in UTF-8 ('S'), uint8 (n, octets); enumerated: int32 indices into
    `labels`, -1 = none; absolute times: int64 ns TAI since 1958-01-01; relative times: float64 seconds.
    `validity`: uint8, `Validity`; `limit`: uint8, `Severity` and `LimitFlag`. `labels`: of enumerated ones, booleans
    (no, yes). `time_offset_ns`: int64 (k,) of each occurrence after the packet's time, None = all at it.
    """

    parameter: str
    raw: NDArray[Any]
    engineering: NDArray[Any]
    validity: U8Array
    limit: U8Array
    unit: str = ""
    labels: tuple[str, ...] = ()
    time_offset_ns: I64Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """Packets of one type and shape: `rows` int64 (n,) says which of the batch; columns by qualified parameter name.

    `ambiguous`: so many of the packets are of another container too; the first that holds was taken.
    """

    packet_type: str  # qualified name of the container
    rows: I64Array
    columns: Mapping[str, Column]
    ambiguous: int = 0

    def __len__(self) -> int:
        return len(self.rows)


def no_limit(shape: tuple[int, ...]) -> U8Array:
    """Return limit states for samples that nobody checks."""
    return np.zeros(shape, np.uint8)
