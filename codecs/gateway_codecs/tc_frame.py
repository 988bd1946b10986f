"""TC transfer frame (CCSDS 232.0-B, clause 4.1): the declaration, one frame as a value, and frames in batches.

The primary header, the segment header where a virtual channel has one (which is managed, never told by the frame), the
data field and the frame error control field. What control commands (type BC) say and the order of frames belong to
COP-1 (CCSDS 232.1-B) and are not looked at; nor are the security header and trailer of SDLS, which stay in the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import construct as c
import numpy as np

from gateway_codecs.batches import Quality, Records, U8Array
from gateway_codecs.crc import crc16
from gateway_codecs.declared import FormatError, build, fits, parse

HEADER_OCTETS, FECF_OCTETS = 5, 2
LONGEST_OCTETS = 1024
FIRST, CONTINUING, LAST, UNSEGMENTED = 1, 0, 2, 3
"""Sequence flags of a segment header."""
AD, AC, BD, BC = 0, 1, 2, 3
"""Frame types as bypass flag and control command flag; AC is illegal."""

TC_FRAME_HEADER = c.BitStruct(
    "version" / c.BitsInteger(2),
    "bypass_flag" / c.Flag,
    "control_command_flag" / c.Flag,
    "spare" / c.BitsInteger(2),
    "scid" / c.BitsInteger(10),
    "vcid" / c.BitsInteger(6),
    "frame_length" / c.BitsInteger(10),
    "sequence_number" / c.BitsInteger(8),
)
"""The primary header (4.1.2). `frame_length` is the frame's octets - 1."""
SEGMENT_HEADER = c.BitStruct("sequence_flags" / c.BitsInteger(2), "map_id" / c.BitsInteger(6))
"""The segment header (4.1.3.2.2)."""
TC_FRAME_DTYPE = np.dtype(
    [
        ("offset", "<i8"),  # where the frame begins
        ("length", "<u2"),  # octets
        ("scid", "<u2"),
        ("vcid", "u1"),
        ("type", "u1"),  # AD, BD, BC, or the illegal AC
        ("sequence_number", "u1"),
        ("quality", "u1"),  # Quality: GOOD, FECF, or FIELD (spare bits, the illegal type)
    ]
)


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment header."""

    sequence_flags: int
    map_id: int

    def __post_init__(self) -> None:
        fits("TC segment header", sequence_flags=(self.sequence_flags, 2), map_id=(self.map_id, 6))


@dataclass(frozen=True, slots=True)
class TcFrame:
    """One TC frame. `segment` None = the channel has no segment header; frames of type BC never have one."""

    scid: int
    vcid: int
    sequence_number: int
    data: bytes
    bypass: bool = False
    control_command: bool = False
    segment: Segment | None = None

    def __post_init__(self) -> None:
        fits(
            "TC frame", scid=(self.scid, 10), vcid=(self.vcid, 6), sequence_number=(self.sequence_number, 8),
        )  # fmt: skip
        if self.control_command and not self.bypass:
            raise FormatError("TC frame: a control command without the bypass flag is illegal (type AC)")
        if self.control_command and self.segment is not None:
            raise FormatError("TC frame: a control command has no segment header")
        if not self.data and self.segment is None:
            raise FormatError("TC frame: the data field is empty")


@dataclass(frozen=True, slots=True, eq=False)
class TcFrames:
    """Frames back to back, `rows` TC_FRAME_DTYPE (n,), in the first `taken` octets; what follows is no whole frame."""

    octets: U8Array
    rows: Records
    taken: int

    def octets_of(self, k: int) -> bytes:
        """Return the octets of one frame."""
        at = int(self.rows["offset"][k])
        return self.octets[at : at + int(self.rows["length"][k])].tobytes()


def encode(frame: TcFrame, fecf: bool) -> bytes:
    """Return the frame's octets, with the FECF if asked for.

    Raises FormatError for a frame of more than 1024 octets, and for one of type B with a sequence number (4.1.2.8).
    """
    octets = _length_octets(frame, fecf)
    if frame.bypass and frame.sequence_number:
        raise FormatError(f"TC frame: one of type B has the sequence number 0, not {frame.sequence_number}")
    fields = {
        "version": 0, "bypass_flag": frame.bypass, "control_command_flag": frame.control_command, "spare": 0,
        "scid": frame.scid, "vcid": frame.vcid, "frame_length": octets - 1, "sequence_number": frame.sequence_number,
    }  # fmt: skip
    out = build(TC_FRAME_HEADER, fields, "TC frame")
    if frame.segment is not None:
        what = {"sequence_flags": frame.segment.sequence_flags, "map_id": frame.segment.map_id}
        out += build(SEGMENT_HEADER, what, "TC segment header")
    out += frame.data
    return out + crc16(out).to_bytes(FECF_OCTETS, "big") if fecf else out


def _length_octets(frame: TcFrame, fecf: bool) -> int:
    octets = HEADER_OCTETS + (frame.segment is not None) + len(frame.data) + FECF_OCTETS * fecf
    if octets > LONGEST_OCTETS:
        raise FormatError(f"TC frame: {octets} octets, the longest has {LONGEST_OCTETS}")
    return octets


def decode(data: bytes, fecf: bool, segment_header: bool = False) -> TcFrame:
    """Decode one frame; `segment_header`: whether data frames of its channel have one.

    Raises FormatError: FECF, version, spare bits, another length than the header says, the illegal type AC, no data.
    """
    head = parse(TC_FRAME_HEADER, data[:HEADER_OCTETS], "TC frame header")
    if head.version != 0 or head.spare != 0:
        raise FormatError(f"TC frame: version {head.version} and spare bits {head.spare}, expected 0 and 0")
    if head.frame_length != len(data) - 1:
        raise FormatError(f"TC frame: the length field says {head.frame_length + 1} octets, there are {len(data)}")
    if fecf and crc16(data) != 0:
        raise FormatError("TC frame: the frame error control field does not match")
    field, segment = data[HEADER_OCTETS : len(data) - FECF_OCTETS * fecf], None
    if segment_header and not head.control_command_flag:
        what = parse(SEGMENT_HEADER, field[:1], "TC segment header")
        segment, field = Segment(what.sequence_flags, what.map_id), field[1:]
    return TcFrame(
        head.scid, head.vcid, head.sequence_number, field, head.bypass_flag, head.control_command_flag, segment,
    )  # fmt: skip


def read_frames(octets: U8Array, fecf: bool) -> TcFrames:
    """Read frames back to back, each as long as its length field says, from octets uint8 (n,); nothing raises.

    The chain ends, with no way to find it again, where no header of version 0 stands, or one with a length that holds
    no data or reaches beyond the end. Of what a CLTU holds the fill is left over then: 55 is of another version.
    """
    offsets, taken = _offsets(octets, HEADER_OCTETS + FECF_OCTETS * fecf)
    at = np.array(offsets, np.int64)
    heads = octets[at[:, None] + np.arange(HEADER_OCTETS)].astype(np.uint16)
    rows = np.zeros(len(at), TC_FRAME_DTYPE)
    rows["offset"], rows["length"] = at, ((heads[:, 2] & 3) << 8 | heads[:, 3]) + 1
    rows["scid"], rows["vcid"] = (heads[:, 0] & 3) << 8 | heads[:, 1], heads[:, 2] >> 2
    rows["type"], rows["sequence_number"] = heads[:, 0] >> 4 & 3, heads[:, 4]
    wrong = (heads[:, 0] & 0x0C != 0) | (rows["type"] == AC)
    rows["quality"] = np.where(wrong, Quality.FIELD, Quality.GOOD)
    if fecf and len(rows):
        view = np.ascontiguousarray(octets).data
        ends = [*offsets[1:], taken]
        bad = [crc16(view[start:end]) != 0 for start, end in zip(offsets, ends, strict=True)]
        rows["quality"][np.array(bad)] = Quality.FECF
    return TcFrames(octets, rows, taken)


def _offsets(octets: U8Array, overhead: int) -> tuple[list[int], int]:
    """Return where the frames begin, and where the last one ends."""
    view, at, offsets = np.ascontiguousarray(octets).data, 0, list[int]()
    while at + overhead < len(view) and view[at] >> 6 == 0:
        length = ((view[at + 2] & 3) << 8 | view[at + 3]) + 1
        if length <= overhead or at + length > len(view):
            break
        offsets.append(at)
        at += length
    return offsets, at
