"""Encapsulation packet (CCSDS 133.1-B-3, clause 4.1), the one-octet idle packet E0 included."""

from __future__ import annotations

from dataclasses import dataclass

import construct as c

from gateway_codecs.declared import FormatError, build, fits, parse

VERSION = 7
HEADER_OCTETS = (1, 2, 4, 8)
ENCAPSULATION_PACKET = c.Struct(
    "first"
    / c.BitStruct(
        "version" / c.Const(VERSION, c.BitsInteger(3)), "protocol_id" / c.BitsInteger(3), "size_code" / c.BitsInteger(2)
    ),
    "extension"
    / c.If(c.this.first.size_code >= 2, c.BitStruct("user" / c.BitsInteger(4), "protocol" / c.BitsInteger(4))),
    "ccsds_defined" / c.If(c.this.first.size_code == 3, c.Int16ub),
    "length" / c.Switch(c.this.first.size_code, {1: c.Int8ub, 2: c.Int16ub, 3: c.Int32ub}, default=c.Computed(1)),
)
"""The header; `length` counts the whole packet, header included."""


@dataclass(frozen=True, slots=True)
class EncapsulationPacket:
    """One encapsulation packet. `size_code` 0 is only legal for the idle octet."""

    protocol_id: int
    size_code: int
    data: bytes = b""
    user: int = 0
    protocol_extension: int = 0
    ccsds_defined: int = 0

    def __post_init__(self) -> None:
        fits(
            "encapsulation packet", protocol_id=(self.protocol_id, 3), size_code=(self.size_code, 2),
            user=(self.user, 4), protocol_extension=(self.protocol_extension, 4),
            ccsds_defined=(self.ccsds_defined, 16),
        )  # fmt: skip
        if self.size_code == 0 and (self.protocol_id or self.data):
            raise FormatError("encapsulation packet: without a length field only the idle packet E0 is legal")
        fits("encapsulation packet", length=(self.length, (1, 8, 16, 32)[self.size_code]))

    @property
    def length(self) -> int:
        """Octets of the whole packet."""
        return HEADER_OCTETS[self.size_code] + len(self.data)


def encode(packet: EncapsulationPacket) -> bytes:
    """Return the packet's octets."""
    value = {
        "first": {"version": VERSION, "protocol_id": packet.protocol_id, "size_code": packet.size_code},
        "extension": {"user": packet.user, "protocol": packet.protocol_extension},
        "ccsds_defined": packet.ccsds_defined,
        "length": packet.length,
    }
    return build(ENCAPSULATION_PACKET, value, "encapsulation packet") + packet.data


def decode(data: bytes) -> EncapsulationPacket:
    """Decode exactly one packet. Raises FormatError."""
    head = parse(ENCAPSULATION_PACKET, data[:8], "encapsulation packet header")
    size = head.first.size_code
    if head.length != len(data) or head.length < HEADER_OCTETS[size]:
        raise FormatError(f"encapsulation packet: the header says {head.length} octets, here are {len(data)}")
    extension = head.extension or c.Container(user=0, protocol=0)
    return EncapsulationPacket(
        head.first.protocol_id, size, data[HEADER_OCTETS[size] :], extension.user, extension.protocol,
        head.ccsds_defined or 0,
    )  # fmt: skip
