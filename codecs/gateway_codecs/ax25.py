"""AX.25 2.2, clause 3: addresses, control and PID before what an amateur satellite says; without flags and FCS."""

from __future__ import annotations

import re
from dataclasses import dataclass

import construct as c

from gateway_codecs.declared import FormatError, build, fits, parse

ADDRESSES_MAX, ADDRESS_OCTETS = 10, 7
UI = 0x03
AX25_ADDRESS = c.Struct(
    "callsign" / c.Bytes(6),  # each character shifted left by one bit
    "flags" / c.BitStruct(
        "command_or_repeated" / c.Flag, "reserved" / c.BitsInteger(2), "ssid" / c.BitsInteger(4), "last" / c.Flag
    ),
)  # fmt: skip
"""One address (3.12)."""
CALLSIGN = re.compile(r"[A-Z0-9]{0,6}")


@dataclass(frozen=True, slots=True)
class Address:
    """A station: up to six capital letters and digits, and a secondary id of 0 to 15."""

    callsign: str
    ssid: int = 0
    command_or_repeated: bool = False
    reserved: int = 3

    def __post_init__(self) -> None:
        if not CALLSIGN.fullmatch(self.callsign):
            raise FormatError(f"AX.25: {self.callsign!r} is no callsign: up to six of A-Z and 0-9")
        fits("AX.25 address", ssid=(self.ssid, 4), reserved=(self.reserved, 2))

    def __str__(self) -> str:
        return f"{self.callsign}-{self.ssid}"


@dataclass(frozen=True, slots=True)
class Ax25Frame:
    """A frame; `pid` is None where the control field says that there is none."""

    destination: Address
    source: Address
    repeaters: tuple[Address, ...] = ()
    control: int = UI
    pid: int | None = 0xF0
    info: bytes = b""

    def __post_init__(self) -> None:
        fits("AX.25", control=(self.control, 8), pid=(self.pid or 0, 8))
        if len(self.repeaters) > ADDRESSES_MAX - 2:
            raise FormatError(f"AX.25: at most {ADDRESSES_MAX - 2} repeaters, not {len(self.repeaters)}")
        if (self.pid is None) == has_pid(self.control):
            raise FormatError(
                f"AX.25: control {self.control:02x} {'needs a' if has_pid(self.control) else 'has no'} PID"
            )


def has_pid(control: int) -> bool:
    """Whether a PID follows a control field (modulo 8): of information and UI frames."""
    return not control & 1 or control & ~0x10 == UI


def encode(frame: Ax25Frame) -> bytes:
    """Return the frame's octets."""
    addresses = [frame.destination, frame.source, *frame.repeaters]
    rows = [_address(address, k == len(addresses) - 1) for k, address in enumerate(addresses)]
    pid = b"" if frame.pid is None else bytes([frame.pid])
    return b"".join(rows) + bytes([frame.control]) + pid + frame.info


def _address(address: Address, last: bool) -> bytes:
    shifted = bytes(ord(char) << 1 for char in address.callsign.ljust(6))
    flags = {
        "command_or_repeated": address.command_or_repeated, "reserved": address.reserved, "ssid": address.ssid,
        "last": last,
    }  # fmt: skip
    return build(AX25_ADDRESS, {"callsign": shifted, "flags": flags}, "AX.25 address")


def decode(octets: bytes) -> Ax25Frame:
    """Return the frame. Raises FormatError."""
    addresses, at, last = list[Address](), 0, False
    while not last:
        if len(addresses) == ADDRESSES_MAX:
            raise FormatError(f"AX.25: no end within {ADDRESSES_MAX} addresses")
        address, last = _decode_address(octets[at : at + ADDRESS_OCTETS], at)
        addresses.append(address)
        at += ADDRESS_OCTETS
    if len(addresses) < 2:
        raise FormatError("AX.25: two addresses at least, the first is marked as the last")
    if at + 1 + (at < len(octets) and has_pid(octets[at])) > len(octets):
        raise FormatError(f"AX.25: {len(octets)} octets end within the header")
    control = octets[at]
    pid = octets[at + 1] if has_pid(control) else None
    info = octets[at + 1 + (pid is not None) :]
    return Ax25Frame(addresses[0], addresses[1], tuple(addresses[2:]), control, pid, info)


def _decode_address(octets: bytes, at: int) -> tuple[Address, bool]:
    found = parse(AX25_ADDRESS, octets, f"AX.25 address at octet {at}")
    text = "".join(chr(octet >> 1) for octet in found.callsign)
    if any(octet & 1 for octet in found.callsign):
        raise FormatError(f"AX.25 address at octet {at}: {found.callsign.hex()} are no shifted characters")
    flags = found.flags
    return Address(text.rstrip(), flags.ssid, flags.command_or_repeated, flags.reserved), bool(flags.last)
