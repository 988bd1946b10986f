"""Communications link transmission unit with BCH code blocks (CCSDS 231.0-B, section 3, 5 and 6).

Start sequence, code blocks, tail sequence. The last block is filled with 55; who receives cuts the fill by the
length field of the frame (`tc_frame.read_frames`). A receiver does not look for the tail sequence: a CLTU ends
with the first code block that cannot be decoded, and the tail is made to be one, in both modes and also with
one bit wrong.

The randomiser (`randomiser.tc_sequence`) is added to the frame alone, before the fill; implementations that fill first
randomise the fill too, which no receiver sees. Start sequences are looked for at octets and without errors: bits that
are not aligned are the demodulator's business. CLTUs with LDPC codes are not here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gateway_codecs import bch
from gateway_codecs.batches import I64Array, U8Array
from gateway_codecs.bch import BLOCK_OCTETS, DATA_OCTETS, BchMode
from gateway_codecs.declared import FormatError
from gateway_codecs.randomiser import tc_sequence

START = bytes.fromhex("EB90")
TAIL = bytes.fromhex("C5C5C5C5C5C5C579")
FILL = b"\x55"
FIRST_BLOCKS = 16
"""So many blocks are decoded at first; twice as many each time that all are good."""


@dataclass(frozen=True, slots=True)
class Cltu:
    """One CLTU in octets[start:end], which ends before the first block that cannot be decoded.

    `data` is what its blocks hold, derandomised if asked for, with the fill of the last one. `tail`: whether the tail
    sequence follows, octet for octet.
    """

    start: int
    end: int
    data: bytes
    corrected_bits: int
    tail: bool

    @property
    def blocks(self) -> int:
        """The code blocks that could be decoded."""
        return len(self.data) // DATA_OCTETS


def encode(frames: bytes, randomised: bool = False) -> bytes:
    """Return the CLTU of one or more TC frames back to back. Raises FormatError when there is none."""
    if not frames:
        raise FormatError("CLTU: there is no frame to send")
    if randomised:
        frames = _randomised(frames)
    data = np.frombuffer(frames + FILL * (-len(frames) % DATA_OCTETS), np.uint8)
    return START + bch.encode(data.reshape(-1, DATA_OCTETS)).tobytes() + TAIL


def decode(octets: bytes, mode: BchMode = "ted", randomised: bool = False) -> Cltu:
    """Decode the CLTU that begins with the first octet. Raises FormatError without start sequence or good block."""
    if octets[:2] != START:
        raise FormatError(f"CLTU: expected the start sequence {START.hex().upper()}, found {octets[:2].hex().upper()}")
    cltu = _decode_at(np.frombuffer(octets, np.uint8), 0, mode, randomised)
    if not cltu.blocks:
        block = octets[2 : 2 + BLOCK_OCTETS]
        raise FormatError(f"CLTU: the first code block, {block.hex().upper()}, cannot be decoded ({mode})")
    return cltu


def start_sequences(octets: U8Array) -> I64Array:
    """Return where start sequences stand in octets, uint8 (n,): at all octets, also inside code blocks. int64 (k,)."""
    return np.flatnonzero((octets[:-1] == START[0]) & (octets[1:] == START[1]))


def find_cltus(octets: U8Array, mode: BchMode = "ted", randomised: bool = False) -> Iterator[Cltu]:
    """Give the CLTUs with at least one good code block in octets, uint8 (n,), in order; nothing raises.

    Behind each one the search goes on at the block that ended it, so that a CLTU that was cut hides none behind it.
    As in a receiver, a start sequence by chance with a good block by chance (one in 128 in *ted*, one in two in *sec*)
    hides one that begins inside that block.
    """
    starts = start_sequences(octets)
    starts = starts[starts + len(START) + BLOCK_OCTETS <= len(octets)]
    first = octets[starts[:, None] + len(START) + np.arange(BLOCK_OCTETS)]
    end = 0
    for start in starts[bch.decode(first, mode).corrected >= 0].tolist():
        if start >= end:
            cltu = _decode_at(octets, start, mode, randomised)
            end = cltu.end
            yield cltu


def _decode_at(octets: U8Array, start: int, mode: BchMode, randomised: bool) -> Cltu:
    at, step, corrected, parts = start + len(START), FIRST_BLOCKS, 0, list[bytes]()
    while whole := min(step, (len(octets) - at) // BLOCK_OCTETS):
        decoded = bch.decode(octets[at : at + whole * BLOCK_OCTETS].reshape(-1, BLOCK_OCTETS), mode)
        bad = np.flatnonzero(decoded.corrected < 0)
        good = int(bad[0]) if len(bad) else whole
        parts.append(decoded.data[:good].tobytes())
        corrected += int(decoded.corrected[:good].sum())
        at += good * BLOCK_OCTETS
        if len(bad):
            break
        step *= 2
    data = b"".join(parts)
    tail = octets[at : at + len(TAIL)].tobytes() == TAIL
    return Cltu(start, at, _randomised(data) if randomised else data, corrected, tail)


def _randomised(data: bytes) -> bytes:
    return (np.frombuffer(data, np.uint8) ^ tc_sequence(len(data))).tobytes()
