"""Packets across the frames of one virtual channel (CCSDS 132.0-B-3 4.1.4, 732.0-B-4 4.1.4), a batch at a time.

`VcExtractor.feed` takes the frames of one VC in arrival order. Every frame with a pointer is one
segment of a lockstep walk. A frame that brings nothing (only idle data, or a pointer that lies) is a zone of
no octets: it says only whether a discontinuity lies before it. What belongs to no packet is kept as pieces
with a cause. The result does not depend on how the frames were cut into batches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gateway_codecs.batches import ABSENT, BoolArray, I64Array, Quality, U8Array
from gateway_codecs.frames import VcFormat
from gateway_codecs.packet_walk import Walk, walk

NO_POINTER = -1


@dataclass(frozen=True, slots=True, eq=False)
class Zones:
    """Data zones of a VC's frames with packets: `octets` uint8 (total,), per frame (m,) int64 `length`, `pointer`
    (octet index of the first packet start, -1 = none), `row` (frame row in the batch), `breaks` bool: a
    discontinuity lies just before the frame."""

    octets: U8Array
    length: I64Array
    pointer: I64Array
    row: I64Array
    breaks: BoolArray


@dataclass(slots=True)
class OpenPacket:
    """A packet that has begun and not ended: its octets so far, and where and when it began."""

    octets: bytes
    source_offset: int  # of the frame where it began
    index: int  # in that frame's zone
    vc_count: int
    receive_time_ns: int
    earth_receive_time_ns: int = ABSENT
    place: tuple[int, ...] = ()  # what else is needed to find that frame in its source again


@dataclass(frozen=True, slots=True, eq=False)
class Extracted:
    """Pieces of `octets` by rising offset: whole packets (quality GOOD) and rejected octets with their cause.

    All (n,): `offset`, `length` int64; `quality` uint8; `begin_row` frame row of the first octet, -1 = the
    packet was open before this batch; `end_row`, `end_key`: arrival order.
    """

    octets: U8Array
    offset: I64Array
    length: I64Array
    quality: U8Array
    begin_row: I64Array
    end_row: I64Array
    end_key: I64Array
    idle_octets: int
    padding_octets: int
    opened: OpenPacket | None  # the packet that was open before, for its first pieces


@dataclass(frozen=True, slots=True, eq=False)
class _Segments:
    start: I64Array
    start_end: I64Array
    data_end: I64Array
    frame: I64Array  # frame of the anchor, -1 = the open packet
    cut: BoolArray  # the data end is a discontinuity
    last: BoolArray  # the data end is the end of the batch


class VcExtractor:
    """Packet extraction of one virtual channel; `open` is the packet under way."""

    def __init__(self, settings: VcFormat) -> None:
        self._max = settings.max_packet_octets
        self._padding = settings.packet_zone_padding
        self._versions = np.zeros(8, np.bool_)
        self._versions[list(settings.packet_versions)] = True
        self.open: OpenPacket | None = None

    def feed(self, zones: Zones) -> Extracted:
        """Extract from the zones of one batch (at least one frame)."""
        opened, lead = self.open, self.open.octets if self.open else b""
        octets = np.concatenate([np.frombuffer(lead, np.uint8), zones.octets]) if lead else zones.octets
        bounds = len(lead) + np.concatenate([[0], np.cumsum(zones.length)]).astype(np.int64)
        segments = self._segments(zones, bounds, opened)
        found = walk(octets, segments.start, segments.start_end, segments.data_end, self._versions, self._max)
        padding = self._padding_octets(segments, found, bounds)
        rests, leftover = self._rests(segments, found, octets, bounds)
        self.open = None
        pieces = self._pieces(zones, octets, bounds, found, rests, padding, opened)
        if leftover is not None:
            self._keep_open(octets, bounds, zones, leftover, opened)
        return pieces

    def _pieces(
        self,
        zones: Zones,
        octets: U8Array,
        bounds: I64Array,
        found: Walk,
        rests: tuple[I64Array, I64Array, U8Array],
        padding_octets: int,
        opened: OpenPacket | None,
    ) -> Extracted:
        offset = np.concatenate([found.offset, rests[0]])
        end = np.concatenate([found.offset + found.length, rests[1]])
        quality = np.concatenate([np.zeros(len(found.offset), np.uint8), rests[2]])
        order = np.argsort(end, kind="stable")
        offset, end, quality = offset[order], end[order], quality[order]
        begin_frame = np.searchsorted(bounds, offset, side="right") - 1
        end_frame = np.searchsorted(bounds, end, side="left") - 1
        end_frame = np.clip(end_frame, 0, len(zones.row) - 1)
        lead = int(bounds[0])
        end_row = zones.row[end_frame]
        late = np.zeros(len(end), np.bool_)
        if quality.any():
            late, rows = _shown_later(zones, octets, bounds, offset, end, quality)
            own, end_row[late] = end_row[late], rows
            late[late] = (own != rows) | (end[late] <= lead)  # else its own frame cuts it off
        return Extracted(
            octets,
            offset,
            end - offset,
            quality,
            np.where(offset < lead, -1, zones.row[np.clip(begin_frame, 0, len(zones.row) - 1)]),
            end_row,
            np.where(late, -1, end - bounds[end_frame]),
            found.idle_octets,
            padding_octets,
            opened,
        )

    def _keep_open(self, octets: U8Array, bounds: I64Array, zones: Zones, at: int, opened: OpenPacket | None) -> None:
        rest = octets[at:].tobytes()
        if at < bounds[0] and opened is not None:
            opened.octets = rest
            self.open = opened
            return
        frame = int(np.searchsorted(bounds, at, side="right")) - 1
        self.open = OpenPacket(rest, frame, int(at - bounds[frame]), -1, -1)

    def drop_open(self) -> OpenPacket | None:
        """Give up the packet under way and return it."""
        lost, self.open = self.open, None
        return lost

    def _segments(self, zones: Zones, bounds: I64Array, opened: OpenPacket | None) -> _Segments:
        frame = np.flatnonzero(zones.pointer != NO_POINTER)
        start = bounds[frame] + zones.pointer[frame]
        start_end = start + 1 if self._padding else bounds[frame + 1]  # with padding one packet starts in a frame
        if opened is not None:
            frame = np.concatenate([[-1], frame])
            start = np.concatenate([[0], start])
            start_end = np.concatenate([[1], start_end])
        cuts = bounds[:-1][zones.breaks]
        limits = np.unique(np.concatenate([start, cuts, bounds[-1:]]))
        data_end = limits[np.searchsorted(limits, start, side="right")] if len(start) else start
        return _Segments(start, start_end, data_end, frame, np.isin(data_end, cuts), data_end == bounds[-1])

    def _padding_octets(self, s: _Segments, found: Walk, bounds: I64Array) -> int:
        """Count the octets behind the packets of frames that are filled with padding."""
        if not self._padding:
            return 0
        ended = (found.stop < s.data_end) & (found.stop >= s.start_end) & ~_at_frame_end(bounds, found.stop)
        return int((_frame_end(bounds, found.stop, s.data_end) - found.stop)[ended].sum())

    def _rests(
        self, s: _Segments, found: Walk, octets: U8Array, bounds: I64Array
    ) -> tuple[tuple[I64Array, I64Array, U8Array], int | None]:
        """Return what no packet covers as (offset, end, cause) arrays, and where the packet still open begins."""
        stopped = found.stop < s.data_end
        beyond = stopped & (found.stop >= s.start_end)
        excess = beyond & ~_at_frame_end(bounds, found.stop)  # there, it is the next frame that shows no start
        faulty = stopped & ~beyond & (found.fault != Quality.GOOD)
        short = stopped & ~beyond & ~faulty
        open_at = short & s.last & ~s.cut
        truncated = short & ~open_at
        own_end = _frame_end(bounds, found.stop, s.data_end)
        if faulty.any():
            own_end[faulty] = _bad_until(bounds, octets, found.stop[faulty], found.fault[faulty], own_end[faulty])
        end = np.where(truncated, s.data_end, own_end)
        cause = np.where(
            excess, np.uint8(Quality.PACKET_EXCESS), np.where(faulty, found.fault, np.uint8(Quality.PACKET_TRUNCATED))
        )
        chosen = excess | faulty | truncated
        searched_from = np.where(chosen, end, np.where(beyond, found.stop, s.data_end))
        if self._padding:
            chosen = chosen & ~excess
        gaps = _uncovered(s, searched_from, bounds)
        offset = np.concatenate([found.stop[chosen], gaps[0]])
        ends = np.concatenate([end[chosen], gaps[1]])
        causes = np.concatenate([cause[chosen], np.full(len(gaps[0]), Quality.NO_PACKET_START)]).astype(np.uint8)
        leftover = int(found.stop[open_at][0]) if open_at.any() else None
        return (offset, ends, causes), leftover


def _at_frame_end(bounds: I64Array, stop: I64Array) -> BoolArray:
    """Return whether each `stop` is where a frame ends and the next begins."""
    at_end: BoolArray = bounds[np.searchsorted(bounds, stop)] == stop
    return at_end


def _frame_end(bounds: I64Array, stop: I64Array, data_end: I64Array) -> I64Array:
    """Return where the frame holding `stop` ends, at most the segment's end."""
    end: I64Array = bounds[np.searchsorted(bounds, stop, side="right").clip(max=len(bounds) - 1)]
    return np.minimum(end, data_end)


def _header_end(octets: U8Array, at: I64Array, fault: U8Array) -> I64Array:
    """Return where the part of each bad header ends that shows it to be bad: its version, or the whole header."""
    first = octets[at]
    whole = np.where(first >> 5 == 7, 1 << (first & 3).astype(np.int64), 6)
    end: I64Array = at + np.where(fault == Quality.PACKET_VERSION, 1, whole)
    return end


def _bad_until(bounds: I64Array, octets: U8Array, at: I64Array, fault: U8Array, frame_end: I64Array) -> I64Array:
    """Return where the octets with a bad header end: with its frame, or before the frame that shows it to be bad."""
    showing = np.searchsorted(bounds, _header_end(octets, at, fault) - 1, side="right") - 1
    before = bounds[showing.clip(min=0)]
    return np.where(before > at, before, frame_end)


def _shown_later(
    zones: Zones, octets: U8Array, bounds: I64Array, offset: I64Array, end: I64Array, quality: U8Array
) -> tuple[BoolArray, I64Array]:
    """Return which pieces a later frame shows to be lost, and the rows of those frames, for the order of arrival.

    They are packets cut off where a frame ends, and headers of which the bad part lies in the next frame.
    """
    late = (quality == Quality.PACKET_TRUNCATED) & _at_frame_end(bounds, end)
    late |= (quality == Quality.PACKET_LENGTH) & (_header_end(octets, offset, quality) > end)
    begins = bounds[:-1]
    rows = zones.row[np.searchsorted(begins, end[late], side="right") - 1]
    cuts = begins[zones.breaks]
    cut = np.isin(end[late], cuts)
    rows[cut] = zones.row[zones.breaks][np.searchsorted(cuts, end[late][cut])]
    return late, rows


def _uncovered(s: _Segments, searched_from: I64Array, bounds: I64Array) -> tuple[I64Array, I64Array]:
    """Return the octets that no segment reaches, split at frame boundaries: [from, to) pairs."""
    begin = np.concatenate([[0], searched_from])
    until = np.concatenate([s.start, bounds[-1:]])
    some = begin < until
    begin, until = begin[some], until[some]
    if not len(begin):
        return begin, until
    places = np.unique(bounds)
    pair = np.searchsorted(begin, places) - 1  # the last pair that begins before each boundary; pairs do not overlap
    inside = places[(pair >= 0) & (places < until[pair])]
    return np.sort(np.concatenate([begin, inside])), np.sort(np.concatenate([inside, until]))
