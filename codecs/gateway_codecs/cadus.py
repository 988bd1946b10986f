"""What a link's CADUs vary in, and the way from code blocks to frames: derandomised, then Reed-Solomon decoded.

CCSDS 131.0-B-5: the sender codes a frame, then randomises the whole code block, then puts the marker before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import I64Array, Quality, U8Array
from gateway_codecs.randomiser import RandomiserKind, derandomise
from gateway_codecs.reed_solomon import UNCORRECTABLE, ReedSolomon
from gateway_codecs.synchroniser import SyncSettings


@dataclass(frozen=True, slots=True)
class CaduFormat:
    """How frames are sent as CADUs. `unpacked_bits`: the source holds one bit per octet (0 or 1); `tail_octets` follow
    each code block and belong to none (they count as octets of the synchroniser's block)."""

    sync: SyncSettings
    randomiser: RandomiserKind = "none"
    reed_solomon: ReedSolomon | None = None
    unpacked_bits: bool = False
    tail_octets: int = 0

    @property
    def parity_octets(self) -> int:
        """Octets of a code block behind its frame."""
        code = self.reed_solomon
        return 0 if code is None else code.codeblock_octets - code.frame_octets


@dataclass(frozen=True, slots=True, eq=False)
class DecodedBlocks:
    """Frames uint8 (n, frame length) of code blocks, `quality` uint8 (n,): GOOD, or REED_SOLOMON when a code word is
    uncorrectable (its octets are as received); `corrected` int16 (n,) symbols in all, -1 = uncorrectable or no code."""

    frames: U8Array
    quality: U8Array
    corrected: NDArray[np.int16]


def decode_blocks(blocks: U8Array, fmt: CaduFormat) -> DecodedBlocks:
    """Return the frames of code blocks, uint8 (n, block octets), each with its tail, which is left out."""
    plain = derandomise(np.ascontiguousarray(blocks[:, : blocks.shape[1] - fmt.tail_octets]), fmt.randomiser)
    quality, none = np.zeros(len(blocks), np.uint8), np.full(len(blocks), -1, np.int16)
    if fmt.reed_solomon is None:
        return DecodedBlocks(plain, quality, none)
    decoded = fmt.reed_solomon.decode(plain)
    bad = (decoded.corrected == UNCORRECTABLE).any(axis=1)
    quality[bad] = Quality.REED_SOLOMON
    return DecodedBlocks(
        decoded.frames, quality, np.where(bad, none, decoded.corrected.sum(axis=1, dtype=np.int16)).astype(np.int16)
    )


def pack_bits(octets: U8Array) -> tuple[U8Array, int]:
    """Return octets of one bit each (n,) as octets of eight (n / 8,), the first highest, and how many were no bit.

    What is neither 0 nor 1 counts as its lowest bit. The last octet is filled with zeros.
    """
    return np.packbits(octets & 1), int((octets > 1).sum())


def source_offsets(position_bits: I64Array, fmt: CaduFormat) -> I64Array:
    """Return in which octet of the source each bit lies, int64 (n,)."""
    return position_bits if fmt.unpacked_bits else position_bits >> 3
