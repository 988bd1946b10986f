"""The batch shapes that cross the rooms: one buffer of octets plus one structured array of columns.

A batch stays a batch from the socket to the edge. Arrays are treated as immutable once a
batch has been handed on. All times are int64 nanoseconds TAI since 1958-01-01; `ABSENT` marks
a time that nobody stated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

ABSENT = int(np.iinfo(np.int64).min)
"""A time that is not known (int64 minimum)."""
FEW_ROWS = 64
"""Of so few rows a loop in Python is done before numpy has begun."""
MANY_PIECES, FEW_LENGTHS, SHORT_OCTETS = 512, 8, 1 << 10
"""So many pieces, of so few lengths and so short, are copied quicker length by length than one by one."""

U8Array = NDArray[np.uint8]
I64Array = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Records = NDArray[np.void]


class Kind(IntEnum):
    """The kind of stream an item belongs to."""

    TM = 1
    TC = 2
    VIDEO = 3
    VOICE = 4
    EVENT = 5


class Unit(IntEnum):
    """What the octets of an item are."""

    PACKET = 1  # one whole space or encapsulation packet
    FRAME = 2  # one whole transfer frame (opaque service, or a frame that could not be used)
    OCTETS = 3  # good: valid octets of a bitstream; else octets that belong to no unit (between packets, behind frames)
    EVENT = 4  # UTF-8 JSON object


class DataMode(IntEnum):
    """How the data reached us (DESIGN 3)."""

    REAL_TIME = 0
    DUMP = 1
    PLAYBACK = 2


class Quality(IntEnum):
    """GOOD, or the one cause for which a unit was rejected. Names are used as counter labels."""

    GOOD = 0
    FECF = 1  # frame error control failed
    VERSION = 2  # transfer frame version is not the link's
    SPACECRAFT = 3  # spacecraft id is not in the link's set
    UNKNOWN_VC = 4  # virtual channel is not configured
    FHP_OUT_OF_RANGE = 5  # first header pointer beyond the data field
    SERVICE = 6  # synchronisation flag does not match the configured service
    FIELD = 7  # a header field is impossible (secondary header longer than the frame, ...)
    LENGTH = 8  # trailing octets that are no whole unit, or a datagram of the wrong size
    PACKET_VERSION = 9  # packet version not accepted on this VC
    PACKET_LENGTH = 10  # packet longer than the configured maximum, or an impossible length
    PACKET_TRUNCATED = 11  # open packet cut off: frame lost, or next first header pointer too early
    PACKET_EXCESS = 12  # octets between the end of a packet and the next first header pointer
    NO_PACKET_START = 13  # octets before the first known packet start (searching)
    REED_SOLOMON = 14  # a code word of the frame is uncorrectable
    SYNC = 15  # octets outside CADUs, or outside frames of varying length
    FHEC = 16  # frame header error control failed
    CONTAINER = 17  # a container (a KISS frame, ...) that is broken


FRAME_CAUSES = frozenset(
    {
        Quality.REED_SOLOMON,
        Quality.FHEC,
        Quality.FECF,
        Quality.VERSION,
        Quality.SPACECRAFT,
        Quality.UNKNOWN_VC,
        Quality.FHP_OUT_OF_RANGE,
        Quality.SERVICE,
        Quality.FIELD,
    }
)
"""Causes for which a whole frame was refused; the others are of packets and of octets between units."""


class ItemFlag:
    """Bits of the `flags` column."""

    SEQUENCE_FLAGS = 0x0003  # the two sequence flags of a space packet
    SECONDARY_HEADER = 0x0004
    TELECOMMAND = 0x0008  # packet type bit
    PACKET_VERSION_SHIFT = 4  # bits 4-6: packet version number
    PACKET_VERSION = 0x0070
    IDLE = 0x0080  # idle packet: kept, not delivered unless asked for
    REPLAY = 0x0100  # AOS replay flag was set on the frame
    MAP_SHIFT = 9  # bits 9-12: MAP id of a USLP frame (frame version 12)
    MAP = 0x1E00
    EXPEDITED = 0x2000  # USLP bypass flag was set on the frame
    BACKFILL = 0x4000  # from another gateway, in its backfill lane: late, so it drives nothing live
    UNUSED_BITS = 0x0007  # of good octets (bitstream): bits at the end of the last octet that are not valid


ITEM_DTYPE = np.dtype(
    [
        ("offset", "<i8"),  # octets: start of the item in ItemBatch.octets
        ("length", "<u4"),  # octets
        ("kind", "u1"),  # Kind
        ("unit", "u1"),  # Unit
        ("quality", "u1"),  # Quality
        ("data_mode", "u1"),  # DataMode
        ("spacecraft", "<u2"),  # the journal's id of the spacecraft; 0 = none
        ("link", "<u2"),  # the journal's id of the source link; 0 = none
        ("version", "i1"),  # transfer frame version number, -1 = no frame
        ("vcid", "<i2"),  # virtual channel, -1 = none
        ("apid", "<i4"),  # application process id, -1 = none
        ("sequence_count", "<i4"),  # packet sequence count, -1 = none
        ("missing_before", "<u4"),  # packets missing just before it, by the APID's counting rule
        ("flags", "<u2"),  # ItemFlag
        ("vc_count", "<i8"),  # VC frame count of the frame holding the first octet, -1 = none
        ("receive_time_ns", "<i8"),  # gateway receive
        ("earth_receive_time_ns", "<i8"),  # as the peer states it, or ABSENT
        ("generation_time_ns", "<i8"),  # on-board, correlated, or ABSENT
        # columns stand on disk by their number: new ones come last
        ("upstream_position", "<i8"),  # of an item of another gateway: its position in that one's journal, -1 = none
    ]
)

FRAME_DTYPE = np.dtype(
    [
        ("link", "<u2"),
        ("spacecraft", "<u2"),
        ("version", "u1"),  # transfer frame version number
        ("vcid", "u1"),
        ("quality", "u1"),  # Quality
        ("flags", "u1"),  # FrameFlag
        ("scid", "<u2"),
        ("mc_count", "<i2"),  # master channel frame count, -1 = none (AOS)
        ("vc_count", "<i8"),
        ("fhp", "<i2"),  # first header pointer (AOS bitstream: last valid bit), -1 = none; USLP: its 16 bits, signed
        ("ocf", "<u4"),  # operational control field, 0 when FrameFlag.OCF is not set
        ("receive_time_ns", "<i8"),
        ("earth_receive_time_ns", "<i8"),
        ("source_offset", "<i8"),  # octet offset of the frame in its source, -1 = none; of a CADU: of its first bit
        # columns stand on disk by their number: new ones come last
        ("corrected_symbols", "<i2"),  # by Reed-Solomon, over all code words; -1 = no Reed-Solomon, or uncorrectable
        ("map_id", "i1"),  # MAP id of a USLP frame, -1 = none
    ]
)


class FrameFlag:
    """Bits of the frame column `flags`."""

    OCF = 0x01
    SECONDARY_HEADER = 0x02
    REPLAY = 0x04
    IDLE = 0x08  # only idle data
    OPAQUE = 0x10  # octets kept as one opaque item
    SYNC_MISS = 0x20  # of a CADU: no marker stands before it
    SUSPECT = 0x40  # of a CADU: no marker, or a displaced or inverted one, stands where it ends
    EXPEDITED = 0x80  # USLP bypass flag: counted apart from sequence-controlled frames


def _row(dtype: np.dtype[Any], **values: int) -> bytes:
    """Return the octets of one row, zero but for `values`."""
    row = np.zeros(1, dtype)
    for name, value in values.items():
        row[name] = value
    return row.tobytes()


_NO_ITEM = _row(
    ITEM_DTYPE, version=-1, vcid=-1, apid=-1, sequence_count=-1, vc_count=-1, earth_receive_time_ns=ABSENT,
    generation_time_ns=ABSENT, upstream_position=-1,
)  # fmt: skip
_NO_FRAME = _row(
    FRAME_DTYPE, mc_count=-1, fhp=-1, earth_receive_time_ns=ABSENT, source_offset=-1, corrected_symbols=-1, map_id=-1
)


def no_items(count: int = 0) -> Records:
    """Return `count` item rows with every column at its 'none' value (shape (count,), ITEM_DTYPE)."""
    return np.frombuffer(bytearray(_NO_ITEM * count), ITEM_DTYPE)


def no_frames(count: int = 0) -> Records:
    """Return `count` frame rows with every column at its 'none' value (shape (count,), FRAME_DTYPE)."""
    return np.frombuffer(bytearray(_NO_FRAME * count), FRAME_DTYPE)


def joined_rows(parts: Sequence[Records]) -> Records:
    """Return the rows of at least one array, all of the same dtype, in one array of its own.

    As `np.concatenate`, which asks the dtypes field by field what they have in common.
    """
    return np.frombuffer(bytearray().join([part.tobytes() for part in parts]), parts[0].dtype)


def picked(rows: Records, which: NDArray[Any]) -> Records:
    """Return the rows of an index or a mask as an array of their own: as `rows[which]`, which copies field by field."""
    picked_rows: Records = rows.view(f"V{rows.dtype.itemsize}")[which].view(rows.dtype)
    return picked_rows


def own_rows(rows: Records) -> Records:
    """Return a copy: as `rows.copy()`, which copies field by field."""
    copied: Records = rows.view(f"V{rows.dtype.itemsize}").copy().view(rows.dtype)
    return copied


def distinct(column: NDArray[Any]) -> list[int]:
    """Return the different values of an integer column, in rising order; of few without numpy's beginning."""
    if len(column) <= FEW_ROWS:
        return sorted(set(column.tolist()))
    values: list[int] = np.unique(column).tolist()
    return values


@dataclass(frozen=True, slots=True, eq=False)
class ItemBatch:
    """Items in arrival order: `octets` uint8 (total,), `items` ITEM_DTYPE (n,) pointing into it."""

    octets: U8Array
    items: Records

    def __len__(self) -> int:
        return len(self.items)

    def octets_of(self, row: int) -> bytes:
        """Return a copy of the octets of one item (for edges and tests, not for the hot path)."""
        start = int(self.items["offset"][row])
        return self.octets[start : start + int(self.items["length"][row])].tobytes()


def empty_items() -> ItemBatch:
    """Return a batch without items."""
    return ItemBatch(np.zeros(0, np.uint8), no_items())


@dataclass(frozen=True, slots=True)
class Gap:
    """Something is missing, as a value: which stream, how much, why.

    `what` is `frames` (VC frame count), `packets` (APID sequence count) or `datagrams` (of a link, as its kernel
    counts); `missing` is modulo the counter; `ambiguous` says that a multiple of the modulus may have been lost too.
    """

    what: str
    spacecraft: int
    vcid: int
    apid: int
    last: int
    next: int
    missing: int
    reason: str  # "space link", "gateway restart", "link cut", "datagrams lost in the kernel"
    occurrences: int = 1  # how many jumps this value sums up
    ambiguous: bool = False
    group: str = ""  # APIDs that share one count: `apid` is the one that showed the gap


@dataclass(frozen=True, slots=True)
class Transition:
    """What happened to the alignment of CADUs, and at which bit of the source.

    `lock`: `bits` before it were searched since the last CADU; `loss`: `bits` since the last good marker; `slip`: by so
    many `bits` the marker came late (or early, below zero); `inversion`: the polarity is another one from here on.
    """

    what: Literal["lock", "loss", "slip", "inversion"]
    position_bits: int
    bits: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class IntakeBatch:
    """What one turn of a link gives the journal; committed as a whole or not at all.

    `frames` has FRAME_DTYPE (n,); `state` is a JSON-able merge patch for this link's durable
    state (source offset, counts, open packets); `counters` are increments by name; `transitions` are for people.
    """

    items: ItemBatch
    frames: Records = field(default_factory=no_frames)
    gaps: tuple[Gap, ...] = ()
    state: dict[str, Any] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    octets_in: int = 0
    transitions: tuple[Transition, ...] = ()


def gather(octets: U8Array, offset: I64Array, length: NDArray[Any]) -> U8Array:
    """Copy the pieces octets[offset[i]:offset[i]+length[i]], in order, into one uint8 array.

    Neighbouring pieces are joined first, so that a batch taken whole is one copy; many pieces of few lengths are copied
    length by length. This is one of the seams for a compiled kernel.
    """
    if len(offset) == 0:
        return np.zeros(0, np.uint8)
    if len(offset) <= FEW_ROWS:
        return _joined_runs(octets, _few_runs(offset, length))
    start, size = _runs(offset, length)
    if len(start) >= MANY_PIECES and int(size.max()) <= SHORT_OCTETS:
        lengths = np.flatnonzero(np.bincount(size))
        if len(lengths) <= FEW_LENGTHS:
            return _by_length(np.ascontiguousarray(octets), start, size, lengths)
    return _joined_runs(octets, list(zip(start.tolist(), (start + size).tolist(), strict=True)))


def _joined_runs(octets: U8Array, runs: list[tuple[int, int]]) -> U8Array:
    if len(runs) == 1:
        begin, end = runs[0]
        return octets[begin:end]
    view = np.ascontiguousarray(octets).data
    return np.frombuffer(b"".join([view[begin:end] for begin, end in runs]), np.uint8)


def _by_length(octets: U8Array, start: I64Array, size: I64Array, lengths: I64Array) -> U8Array:
    """Copy the pieces of each length at once: to numpy an array of all places at which one could begin."""
    if len(lengths) == 1:
        return np.frombuffer(_places(octets, int(lengths[0]))[start], np.uint8)
    taken = np.empty(int(size.sum()), np.uint8)
    to = np.cumsum(size) - size
    for length in lengths[lengths > 0].tolist():
        mine = np.flatnonzero(size == length)
        _places(taken, length)[to[mine]] = _places(octets, length)[start[mine]]
    return taken


def _places(octets: U8Array, length: int) -> NDArray[np.void]:
    return np.ndarray((max(0, len(octets) - length + 1),), f"V{length}", octets, strides=(1,))


def _runs(offset: I64Array, length: NDArray[Any]) -> tuple[I64Array, I64Array]:
    """Return where pieces (n >= 1) begin and their lengths, those that are neighbours as one."""
    start = offset.astype(np.int64, copy=False)
    end = start + length
    first = np.empty(len(start), np.bool_)
    first[0] = True
    np.not_equal(start[1:], end[:-1], out=first[1:])
    heads = np.flatnonzero(first)
    tails = np.append(heads[1:], len(start)) - 1
    return start[heads], end[tails] - start[heads]


def _few_runs(offset: I64Array, length: NDArray[Any]) -> list[tuple[int, int]]:
    """As `_runs`, quicker for a few."""
    runs: list[tuple[int, int]] = []
    for begin, octets in zip(offset.tolist(), length.tolist(), strict=True):
        if runs and runs[-1][1] == begin:
            runs[-1] = (runs[-1][0], begin + octets)
        else:
            runs.append((begin, begin + octets))
    return runs


def concatenate(batches: list[ItemBatch]) -> ItemBatch:
    """Join batches in order into one; octets are copied once."""
    if len(batches) == 1:
        return batches[0]
    if not batches:
        return empty_items()
    items = joined_rows([b.items for b in batches])
    shift, row = 0, 0
    for batch in batches:
        items["offset"][row : row + len(batch)] += shift
        shift += len(batch.octets)
        row += len(batch)
    return ItemBatch(np.concatenate([b.octets for b in batches]), items)
