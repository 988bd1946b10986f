"""What octets look like when a link of CADUs makes nothing of them: another marker, length, randomiser, code. A guess.

Reed-Solomon alone proves no randomiser: its sequence is itself a code word at interleaving depths 1, 2, 4 and 8, so
blocks are correct with the wrong one too. The headers of the frames tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import numpy as np

from gateway_codecs.batches import BoolArray, I64Array, Quality, U8Array
from gateway_codecs.bit_buffer import BitBuffer
from gateway_codecs.cadus import CaduFormat, decode_blocks, pack_bits
from gateway_codecs.frames import FrameFormat, decode_bare_frames
from gateway_codecs.randomiser import RandomiserKind
from gateway_codecs.sync_markers import MARKERS, SyncMarker
from gateway_codecs.synchroniser import Synchroniser

LEAST_CADUS = 4
SURE = 0.6
BLOCKS_LOOKED_AT = 64
_HEADERS_THAT_DO_NOT_FIT = (Quality.VERSION, Quality.SPACECRAFT, Quality.FECF, Quality.FHEC)


def cadu_hint(octets: U8Array, fmt: CaduFormat, frames: FrameFormat) -> str:
    """Return a sentence on what a sample, uint8 (n,), looks like beside what the link says, '' when nothing can be."""
    if wrong := _container(octets, fmt):
        return wrong
    packed = pack_bits(octets)[0] if fmt.unpacked_bits else octets
    if fmt.sync.marker.bits and (wrong := _marker(packed, fmt)):
        return wrong
    blocks = Synchroniser(fmt.sync).feed(packed).bodies[:BLOCKS_LOOKED_AT]
    return _coding(blocks, fmt, frames) if len(blocks) >= LEAST_CADUS else ""


def holds_cadus(sample: bytes, fmt: CaduFormat) -> bool:
    """Whether the link's marker, inverted or not, repeats in the sample at the distance of its CADUs."""
    if not fmt.sync.marker.bits:
        return False
    octets = np.frombuffer(sample, np.uint8)
    buffer = BitBuffer()
    buffer.append(pack_bits(octets)[0] if fmt.unpacked_bits else octets)
    return _period(_places(buffer, fmt.sync.marker)[0]) == fmt.sync.period_bits


def _container(octets: U8Array, fmt: CaduFormat) -> str:
    beyond = int((octets > 1).sum())
    if not beyond and not fmt.unpacked_bits and octets.any() and not octets.all():
        return "every octet is 0 or 1: these are unpacked bits, the link does not say container: unpacked_bits"
    if beyond and fmt.unpacked_bits:
        return "octets are not only 0 and 1: these are no unpacked bits, the link says container: unpacked_bits"
    return ""


def _marker(packed: U8Array, fmt: CaduFormat) -> str:
    buffer, sync = BitBuffer(), fmt.sync
    buffer.append(packed)
    places, inverted = _places(buffer, sync.marker)
    period = _period(places)
    if not period:
        return _other_marker(buffer, sync.marker)
    name = f"the sync marker {sync.marker.hex}"
    if period != sync.period_bits:
        length = f"every {period // 8} octets" if period % 8 == 0 else f"every {period} bits"
        wanted = f"{sync.marker.bits} bits of marker and {sync.block_octets} octets of code block"
        return f"{name} repeats {length}, the link says {wanted}: are frame_length_octets and reed_solomon right?"
    if sync.polarity == "normal" and inverted.mean() > SURE:
        return f"{name} is inverted, the link says polarity: normal"
    if sync.alignment == "octet" and (places % 8 != 0).mean() > SURE:
        return f"{name} does not begin at octets, the link says alignment: octet"
    return ""


def _places(buffer: BitBuffer, marker: SyncMarker) -> tuple[I64Array, BoolArray]:
    return buffer.find(marker, 0, buffer.end - marker.bits + 1, 0, octets_only=False, either=True)


def _period(places: I64Array) -> int:
    """Return the distance at which most markers follow each other, 0 when there is none."""
    if len(places) < LEAST_CADUS:
        return 0
    steps, counts = np.unique(np.diff(places), return_counts=True)
    at = int(counts.argmax())
    return int(steps[at]) if counts[at] > SURE * counts.sum() else 0


def _other_marker(buffer: BitBuffer, marker: SyncMarker) -> str:
    for what, text in MARKERS.items():
        period = _period(_places(buffer, SyncMarker(text))[0])
        if period:
            return f"the marker {text} ({what}) repeats every {period} bits, the link says {marker.hex}"
    return ""


def _coding(blocks: U8Array, fmt: CaduFormat, frames: FrameFormat) -> str:
    """Return what is wrong with the code blocks: not correct, or correct with headers that do not fit."""
    correct, fitting = _shares(blocks, fmt, frames)
    others = [(other, words) for other, words in _others(fmt) if _shares(blocks, other, frames)[1] > SURE]
    if fitting > SURE:
        return ""
    if fmt.reed_solomon is not None and correct > SURE:
        advice = f"with {others[0][1]} they do" if others else "is the randomiser setting right?"
        return f"frames are RS-correct but no header fits: {advice}"
    if others:
        return f"with {others[0][1]} the code blocks are correct and the headers fit"
    if fmt.reed_solomon is not None:
        return "most code blocks are uncorrectable: are e, interleave, basis and randomiser right?"
    return "no header fits: is the randomiser setting right, are the frames coded?"


def _shares(blocks: U8Array, fmt: CaduFormat, frames: FrameFormat) -> tuple[float, float]:
    """Return the share of blocks that are correct, and of those that are and whose headers and checks fit."""
    decoded = decode_blocks(blocks, fmt)
    correct = decoded.quality == Quality.GOOD
    quality = decode_bare_frames(decoded.frames, frames, 0, decoded.quality).rows["quality"]
    return float(correct.mean()), float((correct & ~np.isin(quality, _HEADERS_THAT_DO_NOT_FIT)).mean())


def _others(fmt: CaduFormat) -> Iterator[tuple[CaduFormat, str]]:
    """Yield other randomisers and bases, with the words for them."""
    kinds: tuple[RandomiserKind, ...] = get_args(RandomiserKind)
    for kind in kinds:
        words = [f"randomiser: {kind}"] if kind != fmt.randomiser else []
        if words:
            yield replace(fmt, randomiser=kind), words[0]
        if (code := fmt.reed_solomon) is not None:
            other = replace(code, basis="conventional" if code.basis == "dual" else "dual")
            words.append(f"basis: {other.basis}")
            yield replace(fmt, randomiser=kind, reed_solomon=other), " and ".join(words)
