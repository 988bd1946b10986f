"""What octets look like when they are not what the link says: other frames, packets, CADUs. A guess, for people.

Headers: TM CCSDS 132.0-B-3 4.1.2, AOS CCSDS 732.0-B-4 4.1.2, USLP CCSDS 732.1-B-2 4.1.2; sync marker: CCSDS
131.0-B-4 9.3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

import numpy as np

from gateway_codecs.batches import U8Array
from gateway_codecs.cadu_hints import cadu_hint
from gateway_codecs.crc import fecf_octets, frame_check
from gateway_codecs.frames import FrameFormat
from gateway_codecs.intake import SAMPLE_OCTETS, LinkFormat
from gateway_codecs.packet_walk import packet_length
from gateway_codecs.probe.headers import Version
from gateway_codecs.probe.markers import find_markers
from gateway_codecs.probe.periods import find_plain_units
from gateway_codecs.sync_markers import CODED_OR_NOT
from gateway_codecs.uslp_frame import SHORTEST_HEADER_OCTETS
from gateway_codecs.uslp_frame import VERSION as USLP_VERSION
from gateway_codecs.uslp_stream import header_pattern

LEAST_FRAMES, LEAST_PACKETS = 6, 8
HEADERS_LOOKED_AT = 1 << 12


@dataclass(frozen=True, slots=True)
class FrameGuess:
    """Frames that a sample seems to hold; `score` 0 to 1."""

    version: Version
    length_octets: int
    scid: int
    score: float


@dataclass(frozen=True, slots=True)
class UslpGuess:
    """USLP frames that follow each other in a sample, by their length fields."""

    scid: int
    shortest_octets: int
    longest_octets: int

    @property
    def what(self) -> str:
        """In words."""
        if self.shortest_octets == self.longest_octets:
            return f"a USLP header repeats every {self.longest_octets} octets"
        return f"USLP frames of {self.shortest_octets} to {self.longest_octets} octets follow each other"


def hint(sample: bytes, settings: LinkFormat) -> str:
    """Return a sentence on what the sample looks like beside what the link says, '' when nothing can be said."""
    octets = np.frombuffer(sample, np.uint8)[:SAMPLE_OCTETS]
    if settings.cadus is not None and settings.frames is not None:
        return cadu_hint(octets, settings.cadus, settings.frames) or _bare_frames(octets, settings.frames)
    period = marker_period(octets)
    if period:
        return f"the sync marker 1ACFFC1D repeats every {period} octets: these are CADUs, not bare {_unit(settings)}"
    if holds_packets(sample):  # asked first: packets of one length look like frames
        return "" if settings.frames is None else "packets follow each other without frames, the link says unit: frames"
    uslp = guess_uslp(sample[:SAMPLE_OCTETS])
    if uslp is not None:
        return _uslp_hint(uslp, settings)
    guess = guess_frames(octets)
    return "" if guess is None else _frames_hint(guess, settings)


def _bare_frames(octets: U8Array, frames: FrameFormat) -> str:
    """Return what to say of frames without markers on a link of CADUs."""
    guess = guess_frames(octets)
    if guess is None or guess.scid not in frames.scids:
        return ""
    return f"frames of {guess.length_octets} octets follow each other without markers, the link says unit: cadus"


def _unit(settings: LinkFormat) -> str:
    return "frames" if settings.frames is not None else "packets"


def _frames_hint(guess: FrameGuess, settings: LinkFormat) -> str:
    what = f"{'a TM' if guess.version == 'tm' else 'an AOS'} header"
    frames = settings.frames
    if frames is None:
        return f"{what} repeats every {guess.length_octets} octets, the link says unit: packets"
    if guess.length_octets != frames.unit_octets:
        return f"{what} repeats every {guess.length_octets} octets, the link says {frames.unit_octets}"
    if guess.version != frames.version:
        return f"{what} repeats every {guess.length_octets} octets, the link says version: {frames.version}"
    return _identity_hint(guess.scid, frames)


def _uslp_hint(guess: UslpGuess, settings: LinkFormat) -> str:
    frames = settings.frames
    if frames is None:
        return f"{guess.what}, the link says unit: packets"
    if frames.version != "uslp":
        return f"{guess.what}, the link says version: {frames.version}"
    if frames.variable_length and guess.longest_octets > frames.frame_length_octets:
        return f"{guess.what}, the link says at most {frames.frame_length_octets}"
    if not frames.variable_length and guess.shortest_octets != guess.longest_octets:
        return f"{guess.what}, the link says {frames.unit_octets}: is variable_length: true right?"
    if not frames.variable_length and guess.longest_octets != frames.unit_octets:
        return f"{guess.what}, the link says {frames.unit_octets}"
    return _identity_hint(guess.scid, frames)


def longer_hint(sample: bytes, frames: FrameFormat) -> str:
    """Return what to say of USLP frames in the sample that are longer than the link allows, '' when there are none.

    They are good by their own error control; without one, another header stands where they end.
    """
    header = re.compile(b"|".join(header_pattern(scid) for scid in sorted(frames.scids)), re.DOTALL)
    view, longest, check_octets = memoryview(sample), 0, fecf_octets(frames.fecf)
    for found in islice(header.finditer(sample), HEADERS_LOOKED_AT):
        at = found.start()
        head = view[at : at + SHORTEST_HEADER_OCTETS]
        if len(head) < SHORTEST_HEADER_OCTETS or head[3] & 1:
            continue
        end = at + (head[4] << 8 | head[5]) + 1
        if end - at <= max(longest, frames.frame_length_octets) or end > len(view):
            continue
        if frames.fecf:
            right = frame_check(view[at : end - check_octets], frames.fecf) == view[end - check_octets : end]
        else:
            right = header.match(sample, end) is not None
        longest = end - at if right else longest
    if not longest:
        return ""
    said = frames.frame_length_octets
    return f"USLP frames of up to {longest} octets come, the link says at most {said} (frame_length_octets)"


def _identity_hint(scid: int, frames: FrameFormat) -> str:
    if scid not in frames.scids:
        known = ", ".join(str(scid) for scid in sorted(frames.scids))
        return f"the frames carry spacecraft id {scid}, the link accepts {known}"
    if frames.fecf:
        said = "crc32" if frames.fecf == "crc32" else "true"
        return f"length, version and spacecraft id are as the link says: is fecf: {said} right, or was it removed?"
    return ""


def guess_uslp(sample: bytes) -> UslpGuess | None:
    """Return the USLP frames of one spacecraft that the sample begins with; None when they are too few."""
    view, at, lengths = memoryview(sample), 0, list[int]()
    ids = bytes(view[:3])
    while at + SHORTEST_HEADER_OCTETS <= len(view):
        head = view[at : at + SHORTEST_HEADER_OCTETS]
        alike = head[:2] == ids[:2] and head[2] >> 4 == ids[2] >> 4
        length = (head[4] << 8 | head[5]) + 1
        if head[0] >> 4 != USLP_VERSION or not alike or head[3] & 1 or length <= SHORTEST_HEADER_OCTETS:
            break
        lengths.append(length)
        at += length
    if len(lengths) < LEAST_FRAMES:
        return None
    return UslpGuess((ids[0] & 15) << 12 | ids[1] << 4 | ids[2] >> 4, min(lengths), max(lengths))


def guess_frames(octets: U8Array) -> FrameGuess | None:
    """Return the fixed-length frames that the sample, uint8 (n,), seems to begin with; None when nothing fits."""
    found = find_plain_units(octets)
    if found is None:
        return None
    headers = found.headers
    return FrameGuess(headers.version, found.place.unit_octets, headers.scid, headers.score)


def marker_period(octets: U8Array) -> int:
    """Return the distance in octets at which the attached sync marker repeats in the sample, 0 when it does not."""
    train = find_markers(octets)
    if train is None or train.marker.hex().upper() != CODED_OR_NOT or train.seen < LEAST_FRAMES:
        return 0
    return train.period_bits // 8 if train.period_bits % 8 == 0 else 0


def holds_packets(sample: bytes) -> bool:
    """Whether space packets of version 0 follow each other from the first octet on."""
    view, at, found = memoryview(sample), 0, 0
    accepted = [version == 0 for version in range(8)]
    while at + 6 <= len(view):
        length, fault = packet_length(view, at, len(view), accepted, 65542)
        if fault or length <= 7:
            return False
        found, at = found + 1, at + length
    return found >= LEAST_PACKETS
