"""Walks the packet chains of many frames in lockstep: the seam for a compiled kernel.

Space packets: CCSDS 133.0-B-2 4.1; encapsulation packets: CCSDS 133.1-B-3 4.1. Plain arrays in,
plain arrays out, no state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gateway_codecs.batches import BoolArray, I64Array, Quality, U8Array

IDLE_OCTET = 0xE0
_HEADER_OCTETS = np.array([1, 2, 4, 8], np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """What a walk found.

    `offset`, `length` int64 (p,): whole packets, by rising offset; `stop` int64 (k,): where each segment's
    chain stopped; `fault` uint8 (k,): Quality of a bad header at `stop`, else GOOD; `idle_octets`: one-octet
    idle packets skipped.
    """

    offset: I64Array
    length: I64Array
    stop: I64Array
    fault: U8Array
    idle_octets: int


FEW_SEGMENTS = 6
"""Below this many segments a scalar loop is faster than the lockstep (measured: 25 us a numpy step)."""


def walk(
    zone: U8Array, start: I64Array, start_end: I64Array, data_end: I64Array, versions: BoolArray, max_octets: int
) -> Walk:
    """Follow the packet chain of each segment.

    zone: uint8 (total,). A segment's packets start in [start, start_end) and must end at or before
    data_end (all int64 (k,)). versions: bool (8,), which packet versions are accepted.
    """
    if len(start) <= FEW_SEGMENTS:
        return walk_few(zone, start, start_end, data_end, versions, max_octets)
    return walk_lockstep(zone, start, start_end, data_end, versions, max_octets)


def walk_few(
    zone: U8Array, start: I64Array, start_end: I64Array, data_end: I64Array, versions: BoolArray, max_octets: int
) -> Walk:
    """`walk` for a handful of segments: one packet after the other."""
    view, accepted = np.ascontiguousarray(zone).data, versions.tolist()
    found: list[tuple[int, int]] = []
    stops, faults, idle = [], [], 0
    for begin, until, end in zip(start.tolist(), start_end.tolist(), data_end.tolist(), strict=True):
        at, fault = begin, int(Quality.GOOD)
        while at < until:
            length, fault = packet_length(view, at, end, accepted, max_octets)
            if fault or not length or at + length > end:
                break
            if view[at] == IDLE_OCTET:
                idle += 1
            else:
                found.append((at, length))
            at += length
        stops.append(at)
        faults.append(fault)
    found.sort()
    pairs = np.array(found, np.int64).reshape(-1, 2)
    return Walk(pairs[:, 0], pairs[:, 1], np.array(stops, np.int64), np.array(faults, np.uint8), idle)


def packet_length(view: memoryview, at: int, end: int, accepted: list[bool], max_octets: int) -> tuple[int, int]:
    """Return (length, fault) of the packet header at `at`; length 0 = the header is not whole before `end`."""
    first = view[at]
    if not accepted[first >> 5]:
        return 0, Quality.PACKET_VERSION
    if first >> 5 == 7:
        header = 1 << (first & 3)
        if end - at < header:
            return 0, Quality.GOOD
        size = (0, 1, 2, 4)[first & 3]
        length = int.from_bytes(view[at + header - size : at + header], "big") if size else 1
        if length < header or (size == 0 and first != IDLE_OCTET):
            return 0, Quality.PACKET_LENGTH
    elif end - at < 6:
        return 0, Quality.GOOD
    else:
        length = ((view[at + 4] << 8) | view[at + 5]) + 7
    return (0, Quality.PACKET_LENGTH) if length > max_octets else (length, Quality.GOOD)


def walk_lockstep(
    zone: U8Array, start: I64Array, start_end: I64Array, data_end: I64Array, versions: BoolArray, max_octets: int
) -> Walk:
    """`walk` for many segments: every step advances all of them by one packet."""
    cursor = start.astype(np.int64, copy=True)
    fault = np.zeros(len(cursor), np.uint8)
    active = np.flatnonzero(cursor < start_end)
    found_offset: list[I64Array] = []
    found_length: list[I64Array] = []
    idle = 0
    busy: I64Array | None = None
    while len(active):
        at, end = cursor[active], data_end[active]
        first = zone[at]
        length, bad = _lengths(zone, at, end, first, versions, max_octets)
        one_octet = (first == IDLE_OCTET) & (bad == Quality.GOOD)
        if one_octet.any():
            if busy is None:
                busy = np.append(np.flatnonzero(zone != IDLE_OCTET), len(zone))
            run_end = np.minimum(busy[np.searchsorted(busy, at)], start_end[active])
            idle += int((run_end - at)[one_octet].sum())
            length = np.where(one_octet, run_end - at, length)
        fault[active] = bad
        whole = (bad == Quality.GOOD) & (length > 0) & (at + length <= end)
        keep = whole & ~one_octet
        found_offset.append(at[keep])
        found_length.append(length[keep])
        cursor[active[whole]] += length[whole]
        active = active[whole]
        active = active[cursor[active] < start_end[active]]
    offset, length = _joined(found_offset), _joined(found_length)
    order = np.argsort(offset, kind="stable")
    return Walk(offset[order], length[order], cursor, fault, idle)


def _joined(parts: list[I64Array]) -> I64Array:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _lengths(
    zone: U8Array, at: I64Array, end: I64Array, first: U8Array, versions: BoolArray, max_octets: int
) -> tuple[I64Array, U8Array]:
    """Return packet lengths (0 = header not whole yet) and faults at the cursors."""
    version = first >> 5
    bad = np.where(versions[version], Quality.GOOD, Quality.PACKET_VERSION).astype(np.uint8)
    left = end - at
    last = len(zone) - 1
    length = (zone[np.minimum(at + 4, last)].astype(np.int64) << 8) + zone[np.minimum(at + 5, last)] + 7
    length[left < 6] = 0
    if versions[7] and (version == 7).any():
        length, bad = _encapsulation(zone, at, left, first, length, bad)
    bad[(bad == Quality.GOOD) & (length > max_octets)] = Quality.PACKET_LENGTH
    return length, bad


def _encapsulation(
    zone: U8Array, at: I64Array, left: I64Array, first: U8Array, length: I64Array, bad: U8Array
) -> tuple[I64Array, U8Array]:
    last = len(zone) - 1
    size_code = first & 3
    header = _HEADER_OCTETS[size_code]
    value = np.ones(len(at), np.int64)
    for code, octets in ((1, 1), (2, 2), (3, 4)):
        total = np.zeros(len(at), np.int64)
        for k in range(octets):
            total = (total << 8) | zone[np.minimum(at + (8 if code == 3 else 4 if code == 2 else 2) - octets + k, last)]
        value = np.where(size_code == code, total, value)
    mine = (first >> 5) == 7
    length = np.where(mine, np.where(left < header, 0, value), length)
    wrong = mine & (left >= header) & ((value < header) | ((size_code == 0) & (first != IDLE_OCTET)))
    return length, np.where(wrong, np.uint8(Quality.PACKET_LENGTH), bad)
