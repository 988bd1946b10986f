"""AOS transfer frame (CCSDS 732.0-B-4, clause 4.1) with M_PDU (4.1.4.2) or B_PDU (4.1.4.3), and with header error
control (4.1.2.6): the declaration and one frame as a value. Batches: `frames`."""

from __future__ import annotations

from dataclasses import dataclass

import construct as c
import numpy as np

from gateway_codecs.crc import crc16
from gateway_codecs.declared import FormatError, build, fits, parse
from gateway_codecs.header_error_control import FIELD_OCTETS, HEADER_OCTETS, UNCORRECTABLE, correct, protect

AOS_FRAME_HEADER = c.BitStruct(
    "version" / c.BitsInteger(2),
    "scid" / c.BitsInteger(8),
    "vcid" / c.BitsInteger(6),
    "vc_count" / c.BitsInteger(24),
    "replay_flag" / c.Flag,
    "vc_count_usage_flag" / c.Flag,
    "spare" / c.BitsInteger(2),
    "vc_count_cycle" / c.BitsInteger(4),
)
M_PDU_HEADER = c.BitStruct("spare" / c.BitsInteger(5), "first_header_pointer" / c.BitsInteger(11))
B_PDU_HEADER = c.BitStruct("spare" / c.BitsInteger(2), "bitstream_data_pointer" / c.BitsInteger(14))
ALL_BITS, NO_BITS = 0x3FFF, 0x3FFE


@dataclass(frozen=True, slots=True)
class AosFrame:
    """One AOS frame. `first_header_pointer` None = no M_PDU, `bitstream_data_pointer` None = no B_PDU;
    `vc_count_cycle` None = a 24-bit count."""

    scid: int
    vcid: int
    vc_count: int
    data: bytes
    first_header_pointer: int | None = None
    insert_zone: bytes = b""
    ocf: bytes | None = None
    replay_flag: bool = False
    vc_count_cycle: int | None = None
    bitstream_data_pointer: int | None = None

    def __post_init__(self) -> None:
        fits(
            "AOS frame", scid=(self.scid, 8), vcid=(self.vcid, 6), vc_count=(self.vc_count, 24),
            first_header_pointer=(self.first_header_pointer or 0, 11), vc_count_cycle=(self.vc_count_cycle or 0, 4),
            bitstream_data_pointer=(self.bitstream_data_pointer or 0, 14),
        )  # fmt: skip
        if self.first_header_pointer is not None and self.bitstream_data_pointer is not None:
            raise FormatError("AOS frame: its data field is an M_PDU or a B_PDU, not both")
        if self.ocf is not None and len(self.ocf) != 4:
            raise FormatError(f"AOS frame: the OCF has 4 octets, not {len(self.ocf)}")

    @property
    def valid_bits(self) -> int | None:
        """How many bits of a bitstream's data are valid; None = no bitstream, or a pointer beyond the data."""
        pointer, bits = self.bitstream_data_pointer, 8 * len(self.data)
        if pointer is None or (pointer < NO_BITS and pointer >= bits):
            return None
        return bits if pointer == ALL_BITS else 0 if pointer == NO_BITS else pointer + 1


def encode(frame: AosFrame, fecf: bool, header_error_control: bool = False) -> bytes:
    """Return the frame's octets, with the FECF and the header error control field if asked for."""
    fields = {
        "version": 1, "scid": frame.scid, "vcid": frame.vcid, "vc_count": frame.vc_count,
        "replay_flag": frame.replay_flag, "vc_count_usage_flag": frame.vc_count_cycle is not None, "spare": 0,
        "vc_count_cycle": frame.vc_count_cycle or 0,
    }  # fmt: skip
    octets = build(AOS_FRAME_HEADER, fields, "AOS frame")
    if header_error_control:
        octets += protect(np.frombuffer(octets, np.uint8)[None]).tobytes()
    octets += frame.insert_zone
    if frame.first_header_pointer is not None:
        octets += build(M_PDU_HEADER, {"spare": 0, "first_header_pointer": frame.first_header_pointer}, "M_PDU")
    if frame.bitstream_data_pointer is not None:
        octets += build(B_PDU_HEADER, {"spare": 0, "bitstream_data_pointer": frame.bitstream_data_pointer}, "B_PDU")
    octets += frame.data + (frame.ocf or b"")
    return octets + crc16(octets).to_bytes(2, "big") if fecf else octets


def decode(
    data: bytes,
    fecf: bool,
    insert_zone_octets: int,
    ocf: bool,
    m_pdu: bool,
    b_pdu: bool = False,
    header_error_control: bool = False,
) -> AosFrame:
    """Decode one frame; what the header does not say is given. Raises FormatError.

    With header error control up to two wrong symbols of the header are corrected, before anything is read in it.
    """
    front = HEADER_OCTETS + FIELD_OCTETS * header_error_control
    octets, correctable = data[:front], True
    if header_error_control and len(octets) == front:
        fixed = correct(np.frombuffer(octets, np.uint8)[None])
        octets, correctable = fixed.headers.tobytes(), fixed.corrected[0] != UNCORRECTABLE
    head = parse(AOS_FRAME_HEADER, octets[:HEADER_OCTETS], "AOS frame header")
    if fecf and crc16(data) != 0:
        raise FormatError("AOS frame: the frame error control field does not match")
    if head.version != 1:
        raise FormatError(f"AOS frame: version {head.version}, expected 1")
    if not correctable:
        raise FormatError("AOS frame: the header has more wrong symbols than its error control corrects")
    zone = front + insert_zone_octets
    start, end = zone + 2 * (m_pdu or b_pdu), len(data) - 2 * fecf - 4 * ocf
    if start > end:
        raise FormatError(f"AOS frame: headers end at {start}, the data field at {end}")
    pointer = parse(M_PDU_HEADER, data[zone:start], "M_PDU header").first_header_pointer if m_pdu else None
    bits = parse(B_PDU_HEADER, data[zone:start], "B_PDU header").bitstream_data_pointer if b_pdu else None
    return AosFrame(
        head.scid, head.vcid, head.vc_count, data[start:end], pointer, data[front:zone],
        data[end : end + 4] if ocf else None, head.replay_flag,
        head.vc_count_cycle if head.vc_count_usage_flag else None, bits,
    )  # fmt: skip
