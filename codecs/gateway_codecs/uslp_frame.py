"""USLP transfer frame (CCSDS 732.1-B-2, clauses 4.1 and D1): the declaration and one frame as a value.

The primary header with a VC count of 0 to 7 octets, or truncated; the insert zone; the transfer frame data field with
its construction rule and pointer (4.1.4); the operational control field by its flag; the frame error control field of
16 bits (that of TM frames) or 32 bits (that of Proximity-1). Batches: `frames`.
"""

from __future__ import annotations

from dataclasses import dataclass

import construct as c

from gateway_codecs.crc import Fecf, fecf_octets, frame_check
from gateway_codecs.declared import FormatError, build, fits, parse

VERSION = 12
LONGEST_OCTETS = 65536
TRUNCATED_HEADER_OCTETS, SHORTEST_HEADER_OCTETS = 4, 7
NONE_STARTS = 0xFFFF
"""First header pointer: no packet starts; last valid octet pointer: the SDU does not end in this frame."""
PACKETS, OCTET_STREAM, IDLE_DATA = 0, 4, 31
"""Protocol ids that are looked at (SANA registry uslp_protocol_id)."""
SPANNING, STREAM, WHOLE = 0, 3, 7
"""Construction rules that are looked at: packets over frames, an octet stream, no segmentation."""
POINTER_RULES = 3
"""Rules below this one have a pointer."""

USLP_FRAME_HEADER = c.Struct(
    "start"
    / c.BitStruct(
        "version" / c.BitsInteger(4),
        "scid" / c.BitsInteger(16),
        "destination_flag" / c.Flag,
        "vcid" / c.BitsInteger(6),
        "map_id" / c.BitsInteger(4),
        "end_of_primary_header_flag" / c.Flag,
    ),
    "rest"
    / c.If(
        lambda header: not header.start.end_of_primary_header_flag,
        c.BitStruct(
            "frame_length" / c.BitsInteger(16),
            "bypass_flag" / c.Flag,
            "protocol_control_command_flag" / c.Flag,
            "spare" / c.BitsInteger(2),
            "ocf_flag" / c.Flag,
            "vc_count_octets" / c.BitsInteger(3),
        ),
    ),
    "vc_count"
    / c.If(
        lambda header: header.rest is not None and header.rest.vc_count_octets > 0,
        c.BytesInteger(lambda header: header.rest.vc_count_octets),
    ),
)
"""The primary header (4.1.2); a truncated one (D1.2) ends with its flag. `frame_length` is the frame's octets - 1."""
TFDF_HEADER = c.BitStruct("construction_rule" / c.BitsInteger(3), "protocol_id" / c.BitsInteger(5))
TFDF_POINTER = c.Int16ub
"""The data field's header (4.1.4.2); the pointer follows for the rules 000, 001 and 010."""


@dataclass(frozen=True, slots=True)
class UslpFrame:
    """One USLP frame. `pointer` belongs to the rules 0 to 2 alone; `vc_count` None = no count in the header.

    A truncated frame has neither count, flags, insert zone nor OCF, and a rule from 3 on.
    """

    scid: int
    vcid: int
    map_id: int
    data: bytes
    construction_rule: int = WHOLE
    protocol_id: int = PACKETS
    pointer: int | None = None
    vc_count: int | None = None
    vc_count_octets: int = 0
    expedited: bool = False
    control_command: bool = False
    destination: bool = False
    insert_zone: bytes = b""
    ocf: bytes | None = None
    truncated: bool = False

    def __post_init__(self) -> None:
        fits(
            "USLP frame", scid=(self.scid, 16), vcid=(self.vcid, 6), map_id=(self.map_id, 4),
            construction_rule=(self.construction_rule, 3), protocol_id=(self.protocol_id, 5),
            pointer=(self.pointer or 0, 16), vc_count_octets=(self.vc_count_octets, 3),
            vc_count=(self.vc_count or 0, 8 * self.vc_count_octets),
        )  # fmt: skip
        if (self.vc_count is None) != (self.vc_count_octets == 0):
            raise FormatError(f"USLP frame: a count of {self.vc_count_octets} octets and vc_count {self.vc_count}")
        if (self.pointer is None) != (self.construction_rule >= POINTER_RULES):
            raise FormatError(f"USLP frame: rule {self.construction_rule} with pointer {self.pointer}")
        if self.ocf is not None and len(self.ocf) != 4:
            raise FormatError(f"USLP frame: the OCF has 4 octets, not {len(self.ocf)}")
        if self.truncated and (
            self.construction_rule < POINTER_RULES
            or self.vc_count is not None
            or self.insert_zone
            or self.ocf
            or self.expedited
            or self.control_command
        ):
            raise FormatError("USLP frame: a truncated one has neither count, flags, insert zone, OCF nor pointer")


def encode(frame: UslpFrame, fecf: Fecf) -> bytes:
    """Return the frame's octets, with the FECF if asked for. Raises FormatError when they are more than 65,536."""
    start = {
        "version": VERSION, "scid": frame.scid, "destination_flag": frame.destination, "vcid": frame.vcid,
        "map_id": frame.map_id, "end_of_primary_header_flag": frame.truncated,
    }  # fmt: skip
    field = {"construction_rule": frame.construction_rule, "protocol_id": frame.protocol_id}
    body = frame.insert_zone + build(TFDF_HEADER, field, "USLP data field")
    body += b"" if frame.pointer is None else frame.pointer.to_bytes(2, "big")
    body += frame.data + (frame.ocf or b"")
    header_octets = TRUNCATED_HEADER_OCTETS if frame.truncated else SHORTEST_HEADER_OCTETS + frame.vc_count_octets
    octets = header_octets + len(body) + fecf_octets(fecf)
    if octets > LONGEST_OCTETS:
        raise FormatError(f"USLP frame: {octets} octets, at most {LONGEST_OCTETS}")
    rest = {
        "frame_length": octets - 1, "bypass_flag": frame.expedited,
        "protocol_control_command_flag": frame.control_command, "spare": 0, "ocf_flag": frame.ocf is not None,
        "vc_count_octets": frame.vc_count_octets,
    }  # fmt: skip
    header = {"start": start, "rest": None if frame.truncated else rest, "vc_count": frame.vc_count}
    whole = build(USLP_FRAME_HEADER, header, "USLP frame header") + body
    return whole + frame_check(whole, fecf)


def decode(data: bytes, fecf: Fecf, insert_zone_octets: int = 0) -> UslpFrame:
    """Decode one frame, all of `data`; what the header does not say is given.

    Raises FormatError: FECF, version, a length field of another frame, a header longer than the frame, a rule that
    needs a pointer in a truncated frame. Where a pointer points to is for the service to judge.
    """
    octets = fecf_octets(fecf)
    if octets and frame_check(data[:-octets], fecf) != data[-octets:]:
        raise FormatError("USLP frame: the frame error control field does not match")
    head = parse(USLP_FRAME_HEADER, data, "USLP frame header")
    start, rest, truncated = head.start, head.rest, head.start.end_of_primary_header_flag
    if start.version != VERSION:
        raise FormatError(f"USLP frame: version {start.version}, expected {VERSION}")
    if not truncated and rest.frame_length != len(data) - 1:
        raise FormatError(f"USLP frame: the length field says {rest.frame_length + 1} octets, there are {len(data)}")
    count_octets, has_ocf = (0, False) if truncated else (rest.vc_count_octets, rest.ocf_flag)
    zone = TRUNCATED_HEADER_OCTETS if truncated else SHORTEST_HEADER_OCTETS + count_octets
    field = zone if truncated else zone + insert_zone_octets
    end = len(data) - octets - 4 * has_ocf
    if field >= end:
        raise FormatError(f"USLP frame: headers end at {field}, the data field at {end}")
    what = parse(TFDF_HEADER, data[field:end], "USLP data field header")
    pointer, begin = None, field + 1
    if what.construction_rule < POINTER_RULES:
        pointer, begin = _pointer(data[begin:end], truncated), begin + 2
    return UslpFrame(
        start.scid, start.vcid, start.map_id, data[begin:end], what.construction_rule, what.protocol_id, pointer,
        head.vc_count, count_octets, not truncated and rest.bypass_flag,
        not truncated and rest.protocol_control_command_flag, start.destination_flag, data[zone:field],
        data[end : end + 4] if has_ocf else None, truncated,
    )  # fmt: skip


def _pointer(data: bytes, truncated: bool) -> int:
    """Return the pointer that a data field has after its first octet."""
    if truncated:
        raise FormatError("USLP frame: a truncated one has no rule with a pointer")
    return int(parse(TFDF_POINTER, data, "USLP data field pointer"))
