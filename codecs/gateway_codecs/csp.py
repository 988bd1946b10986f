"""CubeSat Space Protocol headers: version 1 of four octets, version 2 of six (libcsp's documentation)."""

from __future__ import annotations

from dataclasses import dataclass

import construct as c

from gateway_codecs.declared import FormatError, build, fits, parse

CSP_V1 = c.BitStruct(
    "priority" / c.BitsInteger(2),
    "source" / c.BitsInteger(5),
    "destination" / c.BitsInteger(5),
    "destination_port" / c.BitsInteger(6),
    "source_port" / c.BitsInteger(6),
    "flags" / c.BitsInteger(8),
)
CSP_V2 = c.BitStruct(
    "priority" / c.BitsInteger(2),
    "destination" / c.BitsInteger(14),
    "source" / c.BitsInteger(14),
    "destination_port" / c.BitsInteger(6),
    "source_port" / c.BitsInteger(6),
    "flags" / c.BitsInteger(6),
)
HEADERS = {1: (CSP_V1, 4, 5, 8), 2: (CSP_V2, 6, 14, 6)}
"""By version: the declaration, octets, bits of an address, bits of the flags."""
CRC32, RDP, XTEA, HMAC = 1, 2, 4, 8
"""Flags of both versions; the others are reserved or of fragments."""


@dataclass(frozen=True, slots=True)
class CspHeader:
    """A header. `swapped`: some satellites send its octets in reverse order."""

    version: int
    priority: int
    source: int
    destination: int
    destination_port: int
    source_port: int
    flags: int = 0
    swapped: bool = False

    def __post_init__(self) -> None:
        if self.version not in HEADERS:
            raise FormatError(f"CSP: version 1 or 2, not {self.version}")
        _, _, address, flags = HEADERS[self.version]
        fits(
            "CSP header", priority=(self.priority, 2), source=(self.source, address),
            destination=(self.destination, address), destination_port=(self.destination_port, 6),
            source_port=(self.source_port, 6), flags=(self.flags, flags),
        )  # fmt: skip


def encode(header: CspHeader) -> bytes:
    """Return the header's octets."""
    names = ("priority", "source", "destination", "destination_port", "source_port", "flags")
    octets = build(HEADERS[header.version][0], {name: getattr(header, name) for name in names}, "CSP header")
    return octets[::-1] if header.swapped else octets


def decode(octets: bytes, version: int = 1, swapped: bool = False) -> CspHeader:
    """Return the header at the beginning of a packet. Raises FormatError."""
    if version not in HEADERS:
        raise FormatError(f"CSP: version 1 or 2, not {version}")
    declaration, length, _, _ = HEADERS[version]
    head = octets[:length][::-1] if swapped else octets[:length]
    if len(head) < length:
        raise FormatError(f"CSP: a header of version {version} has {length} octets, here are {len(head)}")
    found = parse(declaration, head, "CSP header")
    ports = (found.destination_port, found.source_port)
    return CspHeader(version, found.priority, found.source, found.destination, *ports, found.flags, swapped)
