"""What octets look like when they are not what the link says: other frames, packets, CADUs. A guess, for people.

Headers: TM CCSDS 132.0-B-3 4.1.2, AOS CCSDS 732.0-B-4 4.1.2; sync marker: CCSDS 131.0-B-4 9.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import I64Array, U8Array
from gateway_codecs.frames import FrameFormat
from gateway_codecs.intake import LinkFormat
from gateway_codecs.packet_walk import packet_length

SAMPLE_OCTETS = 128 << 10
SHORTEST_FRAME_OCTETS, LONGEST_FRAME_OCTETS = 24, 4096
LEAST_FRAMES, LEAST_PACKETS = 6, 8
SURE = 0.6
ASM = np.array([0x1A, 0xCF, 0xFC, 0x1D], np.uint8)


@dataclass(frozen=True, slots=True)
class FrameGuess:
    """Frames that a sample seems to hold; `score` 0 to 1."""

    version: Literal["tm", "aos"]
    length_octets: int
    scid: int
    score: float


def hint(sample: bytes, settings: LinkFormat) -> str:
    """Return a sentence on what the sample looks like beside what the link says, '' when nothing can be said."""
    octets = np.frombuffer(sample, np.uint8)[:SAMPLE_OCTETS]
    period = marker_period(octets)
    if period:
        return f"the sync marker 1ACFFC1D repeats every {period} octets: these are CADUs, not bare {_unit(settings)}"
    if holds_packets(sample):  # asked first: packets of one length look like frames
        return "" if settings.frames is None else "packets follow each other without frames, the link says unit: frames"
    guess = guess_frames(octets)
    return "" if guess is None else _frames_hint(guess, settings)


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
    if guess.scid not in frames.scids:
        known = ", ".join(str(scid) for scid in sorted(frames.scids))
        return f"the frames carry spacecraft id {guess.scid}, the link accepts {known}"
    return _field_hint(frames)


def _field_hint(frames: FrameFormat) -> str:
    if frames.fecf:
        return "length, version and spacecraft id are as the link says: is fecf: true right, or was it removed?"
    return ""


def guess_frames(octets: U8Array) -> FrameGuess | None:
    """Return the fixed-length frames that the sample, uint8 (n,), seems to begin with; None when nothing fits.

    A length is good when version and spacecraft id stay the same from frame to frame and a frame count goes up.
    """
    best: FrameGuess | None = None
    longest = min(LONGEST_FRAME_OCTETS, len(octets) // LEAST_FRAMES)
    for length in range(SHORTEST_FRAME_OCTETS, longest + 1):
        frames = octets[: len(octets) // length * length].reshape(-1, length)[:, :6].astype(np.int64)
        for guess in (_as_tm(frames, length), _as_aos(frames, length)):
            if guess.score > SURE and (best is None or guess.score > best.score):
                best = guess
    return best


def _as_tm(heads: I64Array, length: int) -> FrameGuess:
    first = heads[:, 0] << 8 | heads[:, 1]
    scid, share = _usual(np.where(first >> 14 == 0, first >> 4, -1))
    steps = max(_counting(heads[:, 2], 256), _counting_by(first >> 1 & 7, heads[:, 3], 256))
    return FrameGuess("tm", length, scid, share * steps)


def _as_aos(heads: I64Array, length: int) -> FrameGuess:
    first = heads[:, 0] << 8 | heads[:, 1]
    scid, share = _usual(np.where(first >> 14 == 1, first >> 6 & 0xFF, -1))
    count = heads[:, 2] << 16 | heads[:, 3] << 8 | heads[:, 4]
    return FrameGuess("aos", length, scid, share * _counting_by(first & 63, count, 1 << 24))


def _usual(values: I64Array) -> tuple[int, float]:
    found, counts = np.unique(values, return_counts=True)
    at = int(counts.argmax())
    return int(found[at]), 0.0 if found[at] < 0 else float(counts[at] / len(values))


def _goes_up(steps: I64Array, modulus: int) -> NDArray[np.float64]:
    """Rate steps of a count, float (n,): 1 for the next, less for a jump over a few lost frames, else 0."""
    forward = steps % modulus
    return np.where(forward == 1, 1.0, np.where((forward > 1) & (forward < 9), 0.7, 0.0))


def _counting(count: I64Array, modulus: int) -> float:
    return float(_goes_up(np.diff(count), modulus).mean())


def _counting_by(channel: I64Array, count: I64Array, modulus: int) -> float:
    order = np.argsort(channel, kind="stable")
    same = channel[order][1:] == channel[order][:-1]
    if same.mean() <= SURE:
        return 0.0
    return float(_goes_up(np.diff(count[order]), modulus)[same].mean())


def marker_period(octets: U8Array) -> int:
    """Return the distance at which the attached sync marker repeats in the sample, 0 when it does not."""
    hits = np.flatnonzero(
        (octets[:-3] == ASM[0]) & (octets[1:-2] == ASM[1]) & (octets[2:-1] == ASM[2]) & (octets[3:] == ASM[3])
    )
    if len(hits) < LEAST_FRAMES:
        return 0
    period, share = _usual(np.diff(hits))
    return period if share > SURE else 0


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
