"""Telecommands: CLTUs by their start sequences (CCSDS 231.0-B), TC frames by their length fields (CCSDS 232.0-B).

They are told, and no configuration is made of them: links bring telemetry. What random octets would need for the
same is weighed in bits, as in `headers`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice, pairwise

import numpy as np

from gateway_codecs.batches import BoolArray, Quality, Records, U8Array
from gateway_codecs.bch import BLOCK_OCTETS, DATA_OCTETS
from gateway_codecs.cltu import START, TAIL, Cltu, find_cltus, start_sequences
from gateway_codecs.crc import crc16
from gateway_codecs.packet_walk import packet_length
from gateway_codecs.probe.findings import Notes
from gateway_codecs.probe.headers import Steps, steps_by
from gateway_codecs.randomiser import tc_sequence
from gateway_codecs.tc_frame import (
    AD,
    BC,
    BD,
    FECF_OCTETS,
    HEADER_OCTETS,
    LONGEST_OCTETS,
    UNSEGMENTED,
    TcFrames,
    read_frames,
)

MOST_OCTETS = 4 << 20
MOST_UNITS = 4096
"""So much is looked at: more would say no more."""
LEAST_BITS = 40.0
START_BITS, BLOCK_BITS, TAIL_BITS = 16, 7, 64
IDLE = (0x55, 0xAA)
"""The octets of acquisition and idle sequences, alternating bits."""
LEAST_SHARE = 0.5
"""Of the octets must be CLTUs or idle; of the CLTUs with data must hold frames; of the frames must be of one craft."""
TYPES = {AD: "AD", BD: "BD", BC: "BC"}
SPACE_PACKETS = [version == 0 for version in range(8)]
LEAST_STEPS = 3


@dataclass(frozen=True, slots=True)
class Unit:
    """One start sequence and what follows: the first blocks that are good, `blocks` up to the tail if there is one."""

    cltu: Cltu
    blocks: int

    @property
    def end(self) -> int:
        """Where the unit ends, behind its tail."""
        return self.cltu.start + len(START) + self.blocks * BLOCK_OCTETS + len(TAIL) * self.cltu.tail

    @property
    def bits(self) -> int:
        """What speaks for it against chance."""
        return START_BITS + BLOCK_BITS * self.cltu.blocks + TAIL_BITS * self.cltu.tail


def describe_cltus(octets: U8Array, notes: Notes) -> None:
    """Note what CLTUs the octets, uint8 (n,), hold; nothing when there are none."""
    octets = octets[:MOST_OCTETS]
    units, starts = _units(octets)
    if not units or max(unit.bits for unit in units) - np.log2(len(octets)) < LEAST_BITS:
        return
    looked_at = octets if len(units) < MOST_UNITS else octets[: units[-1].end]
    known = sum(unit.end - unit.cltu.start for unit in units) + int(np.isin(looked_at, IDLE).sum())
    if known < LEAST_SHARE * len(looked_at):
        return
    how = "start sequences are followed by good code blocks or, at a block's end, the tail sequence"
    notes.found("start sequence", f"{START.hex().upper()} (CLTU, CCSDS 231.0-B)", len(units), starts, how)
    sizes = sorted(unit.end - unit.cltu.start for unit in units)
    value = f"{sizes[0]} octets" if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]} octets"
    notes.found("CLTU length", value, len(units), len(units), "CLTUs are so long from start sequence to tail")
    _note_tail(looked_at, units, notes)
    _note_blocks(units, notes)


def _units(octets: U8Array) -> tuple[list[Unit], int]:
    """Return what follows each start sequence that is in no other unit, if it is a CLTU, and how many were tried."""
    view, starts = octets.tobytes(), start_sequences(octets).tolist()
    good = {cltu.start: cltu for cltu in islice(find_cltus(octets), MOST_UNITS)}
    units, end, tried = list[Unit](), 0, 0
    for start, following in pairwise([*starts, len(view)]):
        if start < end or len(units) >= MOST_UNITS:
            continue
        tried += 1
        begin = start + len(START)
        cltu = good.get(start, Cltu(start, begin, b"", 0, False))
        blocks = cltu.blocks
        if not cltu.tail:
            tail = view.find(TAIL, cltu.end, max(following, cltu.end) + len(TAIL))
            if tail >= 0 and (tail - begin) % BLOCK_OCTETS == 0:
                cltu, blocks = replace(cltu, tail=True), (tail - begin) // BLOCK_OCTETS
        if cltu.blocks or cltu.tail:
            units.append(Unit(cltu, blocks))
            end = units[-1].end
    return units, tried


def _note_tail(octets: U8Array, units: list[Unit], notes: Notes) -> None:
    tails = sum(unit.cltu.tail for unit in units)
    if tails:
        notes.found("tail sequence", TAIL.hex().upper(), tails, len(units), "CLTUs end with it")
        return
    other, count = Counter(octets[unit.end : unit.end + len(TAIL)].tobytes() for unit in units).most_common(1)[0]
    why = f"no CLTU ends with {TAIL.hex().upper()}; behind the last good block stands"
    notes.open("tail sequence", f"{why} {other.hex().upper() or 'nothing'} ({count} of {len(units)})")


def _note_blocks(units: list[Unit], notes: Notes) -> None:
    good, total = sum(unit.cltu.blocks for unit in units), sum(unit.blocks for unit in units)
    if not good:
        why = f"none of {total} code blocks has the parity of BCH (63,56): another code, damaged, or no data at all"
        notes.open("code blocks", why)
        return
    notes.found("code blocks", "BCH (63,56)", good, total, "code blocks up to the first bad one of each CLTU are good")
    data = [np.frombuffer(unit.cltu.data, np.uint8) for unit in units if unit.cltu.blocks]
    readings = {name: [_frames_of(row, name) for row in data] for name in ("none", "of telecommands (255 bits)")}
    name, held = max(readings.items(), key=lambda reading: sum(map(len, reading[1])))
    whole = [frames for frames in held if len(frames)]
    if len(whole) < LEAST_SHARE * len(data):
        notes.open("frames", "the code blocks hold no TC frames, with the randomiser or without: what they are is open")
        return
    notes.found("randomiser", name, len(whole), len(data), "CLTUs hold frames of fitting lengths when it is taken off")
    _describe(read_frames(np.concatenate(whole), fecf=False), notes)


def _frames_of(data: U8Array, randomiser: str) -> U8Array:
    """Return the frames that a CLTU holds, without the fill; nothing when they do not fit its blocks."""
    if randomiser != "none":
        data = data ^ tc_sequence(len(data))
    frames = read_frames(data, fecf=False)
    fits = len(data) - frames.taken < DATA_OCTETS and bool((frames.rows["quality"] == Quality.GOOD).all())
    return data[: frames.taken] if fits else data[:0]


def describe_tc_frames(octets: U8Array, whole_file: bool, notes: Notes) -> None:
    """Note what TC frames stand back to back in the octets, uint8 (n,), from the first on; nothing when there are none.

    `whole_file`: the octets are all there is, not the beginning of more.
    """
    frames = read_frames(octets[:MOST_OCTETS], fecf=False)
    left = len(octets[:MOST_OCTETS]) - frames.taken
    if len(frames.rows) < 2 or left >= LONGEST_OCTETS or left * 4 > frames.taken:
        return
    cut = not whole_file or len(octets) > MOST_OCTETS
    inner = Notes()
    if _bits(frames, exact_end=not left) < LEAST_BITS or not _describe(frames, inner):
        return
    notes.take(inner)
    if left and not cut:
        notes.open("end", f"the last {left} octets are no whole frame")
    notes.open(
        "before the recording", "start sequences, code blocks or a randomiser that were taken off leave no trace"
    )


def _bits(frames: TcFrames, exact_end: bool) -> float:
    """Return what speaks for these frames against chance; frames that are alike count once."""
    rows, different = frames.rows, _different(frames)
    own = int((_usual_craft(rows) & (rows["quality"] == Quality.GOOD))[different].sum())
    others = len(different) - own
    return 14.0 * (own - 1) - 10.0 * others + 10 * exact_end + max(0.0, _steps(rows).bits)


def _usual_craft(rows: Records) -> BoolArray:
    usual: BoolArray = rows["scid"] == np.bincount(rows["scid"]).argmax()
    return usual


def _different(frames: TcFrames) -> list[int]:
    """Return which frames are the first of those that are alike."""
    first = {frames.octets_of(k): k for k in range(len(frames.rows) - 1, -1, -1)}
    return sorted(first.values())


def _steps(rows: Records) -> Steps:
    """Return how the sequence numbers of frames of type AD go up in their channels."""
    mine = rows[rows["type"] == AD]
    return steps_by(mine["vcid"].astype(np.int64), mine["sequence_number"].astype(np.int64), 256)


def _describe(frames: TcFrames, notes: Notes) -> bool:
    """Note what the frames are; returns whether something beside headers and lengths shows that they are frames."""
    rows = frames.rows
    total, good = len(rows), int((rows["quality"] == Quality.GOOD).sum())
    how = "frames have version 0, spare bits 0, a legal type, and a length that fits"
    notes.found("frame type", "TC (version 1, CCSDS 232.0-B)", good, total, how)
    usual = _usual_craft(rows)
    if usual.mean() >= LEAST_SHARE:
        notes.found("spacecraft id", int(rows["scid"][usual][0]), int(usual.sum()), total, "frames carry it")
    else:
        notes.open("spacecraft id", f"{len(np.unique(rows['scid']))} different ones in {total} frames")
    short, long = int(rows["length"].min()), int(rows["length"].max())
    value = f"{short} octets" if short == long else f"{short} to {long} octets"
    notes.found("frame length", value, total, total, "frames say so")
    fecf, steps = _note_fecf(frames, notes), _steps(rows)
    shown = [*_note_channels(frames, fecf, notes)]
    counted = steps.next >= LEAST_STEPS and steps.next * 2 >= steps.total
    return fecf or counted or any(shown)


def _note_fecf(frames: TcFrames, notes: Notes) -> bool:
    octets = [frames.octets_of(k) for k in _different(frames)]
    good = sum(crc16(frame) == 0 for frame in octets)
    if good >= 3 or good * 2 >= len(octets):
        notes.found("FECF", "present, CRC-16", good, len(octets), "different frames end with their CRC-16")
        return True
    why = f"{good} of {len(octets)} different frames end with their CRC-16: absent, or another check"
    notes.open("FECF", why)
    return False


def _note_channels(frames: TcFrames, fecf: bool, notes: Notes) -> Iterator[bool]:
    """Note what each virtual channel has; gives for each whether it holds packets."""
    rows = frames.rows
    for vcid in np.unique(rows["vcid"]).tolist():
        which = np.flatnonzero((rows["vcid"] == vcid) & (rows["quality"] == Quality.GOOD))
        mine = rows[which]
        types = Counter(mine["type"].tolist())
        value = ", ".join(f"{count} of type {TYPES[kind]}" for kind, count in sorted(types.items()))
        steps = _steps(mine)
        if steps.total:
            notes.found(
                f"VC{vcid}", value, steps.next, steps.total, "sequence numbers of type AD are the one before plus 1"
            )
        elif types:
            notes.found(f"VC{vcid}", value, len(mine), len(mine), "frames say so")
        data = [frames.octets_of(int(k)) for k in which[mine["type"] != BC]]
        yield bool(data) and _note_segments([frame[: len(frame) - FECF_OCTETS * fecf] for frame in data], vcid, notes)


def _note_segments(data: list[bytes], vcid: int, notes: Notes) -> bool:
    """Note whether data frames, without their FECF, have a segment header; returns whether packets show it."""
    plain = sum(_whole_packets(frame, HEADER_OCTETS) for frame in data)
    behind = sum(
        len(frame) > HEADER_OCTETS and frame[HEADER_OCTETS] >> 6 == UNSEGMENTED
        and _whole_packets(frame, HEADER_OCTETS + 1) for frame in data
    )  # fmt: skip
    name, total = f"VC{vcid} segment header", len(data)
    if max(plain, behind) * 2 < total or plain == behind:
        notes.open(name, "it is managed, and no whole packets show whether there is one")
        return False
    how = "data frames hold whole packets and nothing else when read so"
    notes.found(name, "present" if behind > plain else "absent", max(plain, behind), total, how)
    return True


def _whole_packets(frame: bytes, at: int) -> bool:
    """Whether space packets fill the frame from there on to its end."""
    view = memoryview(frame)
    begin = at
    while at < len(view):
        length, fault = packet_length(view, at, len(view), SPACE_PACKETS, 65542)
        if fault or not length:
            return False
        at += length
    return at == len(view) > begin
