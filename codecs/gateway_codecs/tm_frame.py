"""TM transfer frame (CCSDS 132.0-B-3, clause 4.1): the declaration and one frame as a value. Batches: `frames`."""

from __future__ import annotations

from dataclasses import dataclass

import construct as c

from gateway_codecs.crc import crc16
from gateway_codecs.declared import FormatError, build, fits, parse

HEADER_OCTETS = 6
TM_FRAME_HEADER = c.BitStruct(
    "version" / c.BitsInteger(2),
    "scid" / c.BitsInteger(10),
    "vcid" / c.BitsInteger(3),
    "ocf_flag" / c.Flag,
    "mc_count" / c.BitsInteger(8),
    "vc_count" / c.BitsInteger(8),
    "secondary_header_flag" / c.Flag,
    "synchronisation_flag" / c.Flag,
    "packet_order_flag" / c.Flag,
    "segment_length_id" / c.BitsInteger(2),
    "first_header_pointer" / c.BitsInteger(11),
)
"""The primary header (4.1.2)."""


@dataclass(frozen=True, slots=True)
class TmFrame:
    """One TM frame. `secondary_header` is its data without the first octet; `ocf` four octets or None.

    The book asks for data in a secondary header; one of its first octet alone (length field 0) is read all the same.
    """

    scid: int
    vcid: int
    mc_count: int
    vc_count: int
    first_header_pointer: int
    data: bytes
    secondary_header: bytes | None = None
    ocf: bytes | None = None
    synchronisation_flag: bool = False
    packet_order_flag: bool = False
    segment_length_id: int = 3

    def __post_init__(self) -> None:
        fits(
            "TM frame", scid=(self.scid, 10), vcid=(self.vcid, 3), mc_count=(self.mc_count, 8),
            vc_count=(self.vc_count, 8), first_header_pointer=(self.first_header_pointer, 11),
            segment_length_id=(self.segment_length_id, 2),
        )  # fmt: skip
        if self.ocf is not None and len(self.ocf) != 4:
            raise FormatError(f"TM frame: the OCF has 4 octets, not {len(self.ocf)}")
        if self.secondary_header is not None and len(self.secondary_header) > 63:
            raise FormatError("TM frame: a secondary header has at most 63 octets after its first")


def encode(frame: TmFrame, fecf: bool) -> bytes:
    """Return the frame's octets, with the FECF if asked for."""
    names = ("scid", "vcid", "mc_count", "vc_count", "first_header_pointer", "synchronisation_flag",
             "packet_order_flag", "segment_length_id")  # fmt: skip
    fields = {name: getattr(frame, name) for name in names}
    flags = {
        "ocf_flag": frame.ocf is not None,
        "secondary_header_flag": frame.secondary_header is not None,
        "version": 0,
    }
    octets = build(TM_FRAME_HEADER, {**fields, **flags}, "TM frame")
    if frame.secondary_header is not None:
        octets += bytes([len(frame.secondary_header)]) + frame.secondary_header
    octets += frame.data + (frame.ocf or b"")
    return octets + crc16(octets).to_bytes(2, "big") if fecf else octets


def decode(data: bytes, fecf: bool) -> TmFrame:
    """Decode one frame. Raises FormatError (FECF, version, a secondary header longer than the frame)."""
    head = parse(TM_FRAME_HEADER, data[:HEADER_OCTETS], "TM frame header")
    if fecf and crc16(data) != 0:
        raise FormatError("TM frame: the frame error control field does not match")
    if head.version != 0:
        raise FormatError(f"TM frame: version {head.version}, expected 0")
    end = len(data) - 2 * fecf - 4 * head.ocf_flag
    start, secondary = HEADER_OCTETS, None
    if head.secondary_header_flag and len(data) > HEADER_OCTETS:
        start += (data[HEADER_OCTETS] & 0x3F) + 1
        secondary = data[HEADER_OCTETS + 1 : start]
    if start > end:
        raise FormatError(f"TM frame: headers end at {start}, the data field at {end}")
    ocf = data[end : end + 4] if head.ocf_flag else None
    return TmFrame(
        head.scid, head.vcid, head.mc_count, head.vc_count, head.first_header_pointer, data[start:end], secondary, ocf,
        head.synchronisation_flag, head.packet_order_flag, head.segment_length_id,
    )  # fmt: skip
