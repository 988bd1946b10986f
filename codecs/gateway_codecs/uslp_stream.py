"""USLP frames of varying length in a byte stream (CCSDS 732.1-B-2): the length field delimits, the FECF proves.

Where no good frame begins, every octet is tried in turn, so that no frame good by its error control is lost behind a
length field that lies. Octets between good frames that are a chain of headers and lengths are frames whose error
control failed; others are octets outside frames. What is found does not depend on how the stream was cut.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from gateway_codecs.batches import BoolArray, I64Array, Quality
from gateway_codecs.crc import Fecf, fecf_octets, frame_check
from gateway_codecs.uslp_frame import SHORTEST_HEADER_OCTETS, TRUNCATED_HEADER_OCTETS, VERSION

NO_FRAME, UNKNOWN = 0, -1
PIECE_OCTETS = 65536
"""Octets outside frames are kept in items of at most this size."""
LEAST_UNDECIDED_OCTETS = 4096
"""What lies behind a good frame is decided at the latest when so much, or twice the longest frame, holds no other."""


@dataclass(frozen=True, slots=True, eq=False)
class Delimited:
    """What a scan found, in order: frames (n,) and octets outside frames (m,), which take the first `taken` octets.

    `offset`, `length` int64; `good` bool, by the error control; `stray_row`: how many frames lie before; `stray_cause`
    uint8 (Quality). `lost` and `ruled_out` are for the scan of what is left with more behind it.
    """

    offset: I64Array
    length: I64Array
    good: BoolArray
    stray_offset: I64Array
    stray_length: I64Array
    stray_row: I64Array
    stray_cause: I64Array
    taken: int
    lost: bool
    ruled_out: int


@dataclass(slots=True)
class _Found:
    frames: list[tuple[int, int, bool]] = field(default_factory=list)
    strays: list[tuple[int, int, int, int]] = field(default_factory=list)

    def stray(self, begin: int, end: int, cause: Quality) -> None:
        """Keep octets that are no frame, in pieces."""
        for at in range(begin, end, PIECE_OCTETS):
            self.strays.append((at, min(end - at, PIECE_OCTETS), len(self.frames), int(cause)))


class UslpDelimiter:
    """Finds the frames of some spacecraft, of at most `longest_octets`; `truncated` is the length of those by VC.

    Without error control a plausible header is believed.
    """

    def __init__(
        self, scids: frozenset[int], longest_octets: int, fecf: Fecf, truncated: Mapping[int, int] | None = None
    ) -> None:
        self._scids, self._longest, self._fecf, self._truncated = scids, longest_octets, fecf, truncated or {}
        self._undecided = max(LEAST_UNDECIDED_OCTETS, 2 * longest_octets)
        self._shortest = SHORTEST_HEADER_OCTETS + 1 + fecf_octets(fecf)
        self._header = re.compile(b"|".join(header_pattern(scid) for scid in sorted(scids)), re.DOTALL)

    def scan(self, data: bytes, lost: bool = False, ruled_out: int = 0, last: bool = False) -> Delimited:
        """Cut `data` into frames and what lies between.

        `lost`: no frame ended where it begins; `ruled_out`: so many octets were tried before. With `last` all is
        taken: what is incomplete is LENGTH.
        """
        view, size, found = memoryview(data), len(data), _Found()
        begin, at, searching = 0, ruled_out, lost or ruled_out > 0
        while at < size:
            length = self._length(view[at : at + SHORTEST_HEADER_OCTETS], searching)
            if not last and (length == UNKNOWN or length > size - at):
                break
            if 0 < length <= size - at and self._good(view[at : at + length]):
                self._decide(view, begin, at, found, Quality.SYNC)
                found.frames.append((at, length, True))
                begin = at = at + length
                searching = lost = False
                continue
            searching = True
            at = self._next(data, at + 1)
            while at - begin >= self._undecided:
                begin, lost = self._decide_some(view, begin, found), True
        if last:
            self._decide(view, begin, size, found, Quality.LENGTH)
            begin, at, lost = size, size, False
        return _delimited(found, begin, lost, at - begin)

    def _length(self, header: memoryview, searching: bool) -> int:
        """Return the length of the frame with this header; UNKNOWN if more is needed, NO_FRAME if none has it.

        While nothing is lost a frame of any spacecraft is one if its error control is good.
        """
        if header[0] >> 4 != VERSION:
            return NO_FRAME
        if len(header) < TRUNCATED_HEADER_OCTETS:
            return UNKNOWN
        scid = (header[0] & 15) << 12 | header[1] << 4 | header[2] >> 4
        if scid not in self._scids and (searching or not self._fecf):
            return NO_FRAME
        if header[3] & 1:
            return self._truncated.get((header[2] & 7) << 3 | header[3] >> 5, NO_FRAME)
        if len(header) < SHORTEST_HEADER_OCTETS:
            return UNKNOWN
        length = (header[4] << 8 | header[5]) + 1
        return length if self._shortest <= length <= self._longest else NO_FRAME

    def _good(self, frame: memoryview) -> bool:
        octets = fecf_octets(self._fecf)
        return not octets or frame_check(frame[:-octets], self._fecf) == frame[-octets:]

    def _next(self, data: bytes, at: int) -> int:
        """Return the next place where a header may begin, or where too few octets are left to tell."""
        place = self._header.search(data, at)
        return place.start() if place is not None else max(at, len(data) - 2)

    def _chain(self, view: memoryview, begin: int, end: int) -> tuple[list[tuple[int, int, bool]], int]:
        """Follow headers and lengths from `begin` on; return the frames so found, and where they end."""
        frames, at = list[tuple[int, int, bool]](), begin
        while self._fecf and at < end:
            length = self._length(view[at : min(at + SHORTEST_HEADER_OCTETS, end)], searching=True)
            if length <= 0 or at + length > end:
                break
            frames.append((at, length, False))
            at += length
        return frames, at

    def _decide(self, view: memoryview, begin: int, end: int, found: _Found, cause: Quality) -> None:
        """Say what octets are that hold no good frame, and end where one begins or the stream does."""
        frames, reached = self._chain(view, begin, end)
        if reached == end:
            found.frames += frames
        else:
            found.stray(begin, end, cause)

    def _decide_some(self, view: memoryview, begin: int, found: _Found) -> int:
        """Say what the first octets are that are undecided; return where they end."""
        end = begin + self._undecided
        frames, reached = self._chain(view, begin, end)
        header = view[reached : min(reached + SHORTEST_HEADER_OCTETS, end)]
        if frames and (not header or self._length(header, searching=True) != NO_FRAME):
            found.frames += frames
            return reached
        found.stray(begin, begin + self._undecided // 2, Quality.SYNC)
        return begin + self._undecided // 2


def header_pattern(scid: int) -> bytes:
    """Return the pattern of how the headers of a spacecraft begin: version, id, and four bits of any value."""
    head = re.escape(bytes([VERSION << 4 | scid >> 12, scid >> 4 & 0xFF]))
    low = (scid & 15) << 4
    return head + b"[" + re.escape(bytes([low])) + b"-" + re.escape(bytes([low | 15])) + b"]"


def _delimited(found: _Found, taken: int, lost: bool, ruled_out: int) -> Delimited:
    frames = np.array(found.frames, np.int64).reshape(-1, 3)
    strays = np.array(found.strays, np.int64).reshape(-1, 4)
    return Delimited(
        frames[:, 0], frames[:, 1], frames[:, 2] != 0, strays[:, 0], strays[:, 1], strays[:, 2], strays[:, 3],
        taken, lost, ruled_out,
    )  # fmt: skip
