"""Which messages the shared telemetry topics get of a batch (DESIGN 5): one per stream, none too large. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gateway_codecs.batches import I64Array, ItemBatch, gather, picked
from gateway_codecs.mqtt_message import HEADER_OCTETS, ROW_OCTETS, U32_MAX
from gateway_routes.timely import StreamKey


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What one message of a stream carries; its octets lie contiguous in order of its items."""

    stream: StreamKey
    batch: ItemBatch
    oversize: int = 0  # items of this stream just before these that no message can hold


def topic_level(number: int) -> str:
    """Return a virtual channel or an APID as a level of a topic; -1 = `none`."""
    return str(number) if number >= 0 else "none"


def parts(batch: ItemBatch, max_octets: int) -> list[Part]:
    """Return the messages of a batch, streams in order of their first item; each has at most `max_octets` octets.

    Within a stream the items keep their order. An item that no message can hold is left out and counted, in the next
    part of its stream, or in one without items. Items received more than 4.29 s apart get messages of their own.
    """
    if not len(batch):
        return []
    items = batch.items
    key = (items["spacecraft"].astype(np.int64) << 40) | ((items["vcid"].astype(np.int64) + 1) << 24)
    key |= items["apid"].astype(np.int64) + 1
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    heads = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    groups = np.split(order, heads[1:])
    groups.sort(key=lambda rows: int(rows[0]))
    return [part for rows in groups for part in _stream_parts(batch, rows, max_octets)]


def _stream_parts(batch: ItemBatch, rows: I64Array, max_octets: int) -> list[Part]:
    items = batch.items
    head = items[rows[0]]
    stream = StreamKey(int(head["spacecraft"]), int(head["vcid"]), int(head["apid"]))
    sizes = items["length"][rows].astype(np.int64) + ROW_OCTETS
    fits = sizes <= max_octets - HEADER_OCTETS
    left_out = 0
    found: list[Part] = []
    for begin, end in _runs(fits):
        if not fits[begin]:
            left_out += end - begin
            continue
        for piece in _pieces(rows[begin:end], sizes[begin:end], items["receive_time_ns"], max_octets - HEADER_OCTETS):
            found.append(Part(stream, _taken(batch, piece), left_out))
            left_out = 0
    if left_out:
        found.append(Part(stream, _taken(batch, rows[:0]), left_out))
    return found


def _runs(flags: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[tuple[int, int]]:
    """Return the ranges [begin, end) in which the flags do not change."""
    if flags.all():
        return [(0, len(flags))]
    edges = [0, *(np.flatnonzero(flags[1:] != flags[:-1]) + 1).tolist(), len(flags)]
    return list(pairwise(edges))


def _pieces(rows: I64Array, sizes: I64Array, times: I64Array, room: int) -> list[I64Array]:
    """Cut rows into pieces that fit a message, in size and in time."""
    found, at = list[I64Array](), 0
    filled = np.cumsum(sizes)
    while at < len(rows):
        before = int(filled[at - 1]) if at else 0
        end = int(np.searchsorted(filled, before + room, side="right"))
        found += _close_in_time(rows[at:end], times)
        at = end
    return found


def _close_in_time(rows: I64Array, times: I64Array) -> list[I64Array]:
    received = times[rows]
    if int(received.max()) - int(received.min()) <= U32_MAX:
        return [rows]
    half = len(rows) // 2
    return _close_in_time(rows[:half], times) + _close_in_time(rows[half:], times)


def _taken(batch: ItemBatch, rows: I64Array) -> ItemBatch:
    items = picked(batch.items, rows)
    lengths = items["length"].astype(np.int64)
    octets = gather(batch.octets, items["offset"], items["length"])
    items["offset"] = np.cumsum(lengths) - lengths
    return ItemBatch(octets, items)
