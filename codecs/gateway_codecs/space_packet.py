"""Space packet (CCSDS 133.0-B-2, clause 4.1)."""

from __future__ import annotations

from dataclasses import dataclass

import construct as c

from gateway_codecs.declared import FormatError, build, fits, parse

HEADER_OCTETS = 6
IDLE_APID = 2047
SPACE_PACKET = c.BitStruct(
    "version" / c.BitsInteger(3),
    "telecommand" / c.Flag,
    "secondary_header" / c.Flag,
    "apid" / c.BitsInteger(11),
    "sequence_flags" / c.BitsInteger(2),
    "sequence_count" / c.BitsInteger(14),
    "data_length" / c.BitsInteger(16),
)
"""The primary header (4.1.3); `data_length` is the octets of the data field minus one."""


@dataclass(frozen=True, slots=True)
class SpacePacket:
    """One space packet; refuses values that do not fit. `data` has 1 to 65536 octets."""

    apid: int
    sequence_count: int
    data: bytes
    version: int = 0
    telecommand: bool = False
    secondary_header: bool = False
    sequence_flags: int = 3

    def __post_init__(self) -> None:
        fits(
            "space packet", version=(self.version, 3), apid=(self.apid, 11),
            sequence_flags=(self.sequence_flags, 2), sequence_count=(self.sequence_count, 14),
            data_length=(len(self.data) - 1, 16),
        )  # fmt: skip


def encode(packet: SpacePacket) -> bytes:
    """Return the packet's octets."""
    fields = {name: getattr(packet, name) for name in packet.__slots__ if name != "data"}
    return build(SPACE_PACKET, {**fields, "data_length": len(packet.data) - 1}, "space packet") + packet.data


def decode(data: bytes) -> SpacePacket:
    """Decode exactly one packet. Raises FormatError."""
    head = parse(SPACE_PACKET, data[:HEADER_OCTETS], "space packet header")
    if len(data) != head.data_length + 7:
        raise FormatError(f"space packet: the header says {head.data_length + 7} octets, here are {len(data)}")
    return SpacePacket(
        head.apid, head.sequence_count, data[HEADER_OCTETS:], head.version, head.telecommand, head.secondary_header,
        head.sequence_flags,
    )  # fmt: skip
