"""The samples of one parameter over time, as columns: in order, each once, summed up for a plot. Pure.

A sample is what one packet says of one parameter (several, of a parameter that it holds several times). Its time is the
packet's generation time, or its reception where the packet states none. The same packet received twice, live and by a
later dump, is one sample with two sources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import ABSENT, BoolArray, I64Array, ItemBatch, U8Array
from gateway_codecs.mdb.columns import Column

Columns = Mapping[str, NDArray[Any]]
DTYPES: Mapping[str, str] = {
    "time_ns": "<i8",  # generation time, else reception; of an occurrence: its own
    "position": "<i8",  # of the packet in the journal
    "element": "<i4",  # which occurrence or array element, row by row; 0 when there is one
    "receive_time_ns": "<i8",
    "generated": "|b1",  # whether time_ns is a generation time
    "data_mode": "|u1",  # DataMode
    "link": "<u2",  # the journal's id of the source link
    "validity": "|u1",  # columns.Validity
    "limit": "|u1",  # Severity and columns.LimitFlag
    "identity": "<u8",  # equal for equal packets: over APID, sequence count and octets
}
"""Every column but `raw` and `engineering`, whose dtypes are those of `columns.Column`."""
WORD = 8
SIZE_OCTETS = 4
FOLD_OCTETS = 1 << 16
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Order(StrEnum):
    """By what samples are ordered."""

    GENERATION = "generation"  # by time_ns
    RECEPTION = "reception"  # by when the gateway received the packet
    JOURNAL = "journal"  # by position


@dataclass(frozen=True, slots=True, eq=False)
class Again:
    """Further receptions of samples: arrays (m,), `row` int64 says of which sample."""

    row: I64Array
    position: I64Array
    link: NDArray[np.uint16]
    data_mode: U8Array


def _never() -> Again:
    return Again(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint16), np.zeros(0, np.uint8))


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Samples of one parameter: arrays (n, ...) by column name; a subset of the columns may be there.

    `labels` are of an enumerated parameter, whose engineering values are indices, -1 = none.
    """

    parameter: str
    columns: Columns
    unit: str = ""
    labels: tuple[str, ...] = ()
    again: Again = field(default_factory=_never)

    def __len__(self) -> int:
        return len(self.columns["time_ns"])

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def take(self, rows: I64Array | BoolArray | slice) -> Samples:
        """Return some of the samples, in the order of `rows`; what was received again is not taken along."""
        taken = {name: column[rows] for name, column in self.columns.items()}
        return Samples(self.parameter, taken, self.unit, self.labels)


def no_samples(parameter: str) -> Samples:
    """Return no samples."""
    columns = {name: np.zeros(0, dtype) for name, dtype in DTYPES.items()}
    return Samples(parameter, {**columns, "raw": np.zeros(0), "engineering": np.zeros(0)})


def samples_of(batch: ItemBatch, positions: I64Array, rows: I64Array, column: Column) -> Samples:
    """Return the samples of a decoded column: `rows` int64 (n,) are its packets in the batch, `positions` (m,) of all.

    Repeats and arrays (n, k, ...) become n * k samples. Every sample of the column is kept, whatever its validity.
    """
    items = batch.items[rows]
    generation, reception = items["generation_time_ns"], items["receive_time_ns"]
    generated = generation != ABSENT
    each = _elements(column)
    time_ns = np.repeat(np.where(generated, generation, reception), each)
    if column.time_offset_ns is not None and len(rows):
        repeats = each // max(len(column.time_offset_ns), 1)
        time_ns = time_ns + np.tile(np.repeat(column.time_offset_ns, repeats), len(rows))
    found = {
        "time_ns": time_ns,
        "position": np.repeat(positions[rows], each),
        "element": np.tile(np.arange(each, dtype=np.int32), len(rows)),
        "receive_time_ns": np.repeat(reception, each),
        "generated": np.repeat(generated, each),
        "data_mode": np.repeat(items["data_mode"], each),
        "link": np.repeat(items["link"], each),
        "validity": column.validity.reshape(-1),
        "limit": column.limit.reshape(-1),
        "identity": np.repeat(identities(batch, rows), each),
        "raw": _flat(column.raw, column.validity),
        "engineering": _flat(column.engineering, column.validity),
    }
    return Samples(column.parameter, found, column.unit, column.labels)


def _elements(column: Column) -> int:
    """Return how many samples a packet holds."""
    return int(np.prod(column.validity.shape[1:], dtype=np.int64))


def _flat(values: NDArray[Any], validity: U8Array) -> NDArray[Any]:
    """Return values (n, k, ...) as (n * k,); binary ones as 'V': how many octets (4, least first), then the octets."""
    if values.ndim == validity.ndim:
        return values.reshape(-1)
    width = int(np.prod(values.shape[validity.ndim :], dtype=np.int64))
    sized = np.zeros((validity.size, SIZE_OCTETS + width), np.uint8)
    sized[:, :SIZE_OCTETS] = np.frombuffer(width.to_bytes(SIZE_OCTETS, "little"), np.uint8)
    sized[:, SIZE_OCTETS:] = values.reshape(validity.size, width)
    return sized.reshape(-1).view(f"V{SIZE_OCTETS + width}")


def octets_of(value: bytes) -> bytes:
    """Return the octets of a binary value of samples."""
    return value[SIZE_OCTETS : SIZE_OCTETS + int.from_bytes(value[:SIZE_OCTETS], "little")]


def _one_width(columns: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
    """Return binary columns with room for the longest value of all."""
    widths = {column.dtype.itemsize for column in columns if column.dtype.kind == "V"}
    if len(widths) < 2:
        return columns
    found = []
    for column in columns:
        padded = np.zeros((len(column), max(widths)), np.uint8)
        padded[:, : column.dtype.itemsize] = column.view(np.uint8).reshape(len(column), column.dtype.itemsize)
        found.append(padded.reshape(-1).view(f"V{max(widths)}"))
    return found


def identities(batch: ItemBatch, rows: I64Array) -> NDArray[np.uint64]:
    """Return a number for each of the packets, uint64 (n,): equal for equal APID, sequence count and octets.

    Different packets have different ones but for a chance of 2^-64 a pair. Packets of one length go together.
    """
    items = batch.items[rows]
    found = _mixed(items["apid"].astype(np.uint64) << np.uint64(32) | items["sequence_count"].astype(np.uint32))
    for length in np.unique(items["length"]).tolist():
        some = np.flatnonzero(items["length"] == length)
        step = max(1, (4 << 20) // max(length, 1))
        for begin in range(0, len(some), step):
            part = some[begin : begin + step]
            found[part] ^= _sums(batch.octets, items["offset"][part], length)
    return found


def _sums(octets: U8Array, offset: I64Array, length: int) -> NDArray[np.uint64]:
    """Return a sum over the octets of packets of one length, uint64 (n,): each word by an odd factor of its own."""
    words = -(-length // WORD)
    padded = np.zeros((len(offset), words * WORD), np.uint8)
    padded[:, :length] = octets[offset[:, None] + np.arange(length)]
    factors = _mixed(np.arange(1, words + 1, dtype=np.uint64) * _GOLDEN) | np.uint64(1)
    sums = (_mixed(padded.view("<u8")) * factors).sum(axis=1, dtype=np.uint64)
    return _mixed(sums + np.uint64(length))


def _mixed(x: NDArray[Any]) -> NDArray[np.uint64]:
    """Return the finaliser of splitmix64 of each: every bit of it depends on every bit."""
    x = x.astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return mixed


def concatenated(parts: Sequence[Samples]) -> Samples:
    """Join samples of one parameter, in the order given; all parts have the same columns."""
    if len(parts) == 1:
        return parts[0]
    columns = {name: np.concatenate(_one_width([part.columns[name] for part in parts])) for name in parts[0].columns}
    unit = next((part.unit for part in parts if part.unit), "")
    labels = next((part.labels for part in parts if part.labels), ())
    return Samples(parts[0].parameter, columns, unit, labels)


def is_sorted(values: NDArray[Any]) -> bool:
    """Whether values never fall."""
    return bool((values[1:] >= values[:-1]).all())


def by_time(samples: Samples) -> Samples:
    """Return the samples in generation-time order; of one time in journal order, then by element."""
    time_ns = samples["time_ns"]
    if is_sorted(time_ns) and _ties_in_order(samples):
        return samples
    return samples.take(np.lexsort((samples["element"], samples["position"], time_ns)))


def _ties_in_order(samples: Samples) -> bool:
    equal = np.flatnonzero(samples["time_ns"][1:] == samples["time_ns"][:-1])
    position, element = samples["position"], samples["element"]
    after, before = equal + 1, equal
    rising = (position[after] > position[before]) | (
        (position[after] == position[before]) & (element[after] >= element[before])
    )
    return bool(rising.all())


def once(samples: Samples) -> Samples:
    """Return each sample once, with what was received again; the samples are in generation-time order.

    The same packet is one of the same APID, sequence count, generation time and octets. Packets that state no
    generation time are never the same: a counter that wraps would make them so.
    """
    time_ns = samples["time_ns"]
    tied = np.flatnonzero(time_ns[1:] == time_ns[:-1])
    if not len(tied):
        return samples
    rows = np.union1d(tied, tied + 1)
    rows = rows[samples["generated"][rows]]
    keys = (samples["position"][rows], samples["element"][rows], samples["identity"][rows], time_ns[rows])
    rows = rows[np.lexsort(keys)]
    same = np.zeros(len(rows), np.bool_)
    same[1:] = True
    for name in ("time_ns", "identity", "element"):
        column = samples[name][rows]
        same[1:] &= column[1:] == column[:-1]
    if not same.any():
        return samples
    shown = rows[np.maximum.accumulate(np.where(same, 0, np.arange(len(rows))))]  # the first of each run
    keep = np.ones(len(samples), np.bool_)
    keep[rows[same]] = False
    new_row = np.cumsum(keep) - 1
    gone = rows[same]
    again = Again(new_row[shown[same]], samples["position"][gone], samples["link"][gone], samples["data_mode"][gone])
    kept = samples.take(keep)
    return Samples(kept.parameter, kept.columns, kept.unit, kept.labels, again)


def ordered(samples: Samples, order: Order) -> Samples:
    """Return samples that are in generation-time order in another order, with what was received again."""
    if order is Order.GENERATION:
        return samples
    keys: tuple[NDArray[Any], ...] = (samples["element"], samples["position"])
    if order is Order.RECEPTION:
        keys = (*keys, samples["receive_time_ns"])
    rows = np.lexsort(keys)
    place = np.empty(len(rows), np.int64)
    place[rows] = np.arange(len(rows))
    again = samples.again
    moved = Again(place[again.row], again.position, again.link, again.data_mode)
    taken = samples.take(rows)
    return Samples(taken.parameter, taken.columns, taken.unit, taken.labels, moved)
