"""KISS (Chepponis and Karn, 1987): frames between FEND octets, each a type octet and data with two octets escaped.

The low nibble of the type is the command (0 = data), the high one the port. gr-satellites writes a frame of command 9
before each data frame: eight octets, big-endian, milliseconds since 1970, when the frame was received (in a file that
was demodulated from a recording, when that was done).
"""

from __future__ import annotations

from dataclasses import dataclass

import construct as c

from gateway_codecs.declared import FormatError, fits, parse

FEND, FESC, TFEND, TFESC = b"\xc0", b"\xdb", b"\xdc", b"\xdd"
DATA, TIMESTAMP = 0, 9
TIME_OCTETS = 8
FRAME_MAX_OCTETS = 1 << 16
"""A frame, as it stands in the file, is at most so long; what goes on without FEND is kept in pieces, as no frame."""
COMMANDS = frozenset({0, 1, 2, 3, 4, 5, 6, 9})
KISS_FRAME = c.Struct(
    "type" / c.BitStruct("port" / c.BitsInteger(4), "command" / c.BitsInteger(4)), "data" / c.GreedyBytes
)
"""A frame between two FENDs, after its escapes were undone."""


@dataclass(frozen=True, slots=True)
class KissFrame:
    """One frame: port 0-15, command 0-15 (0 = data), and its data without the type octet."""

    port: int
    command: int
    data: bytes

    def __post_init__(self) -> None:
        fits("KISS frame", port=(self.port, 4), command=(self.command, 4))


def encode(frame: KissFrame) -> bytes:
    """Return the frame with a FEND on either side."""
    whole = bytes([frame.port << 4 | frame.command]) + frame.data
    return FEND + whole.replace(FESC, FESC + TFESC).replace(FEND, FESC + TFEND) + FEND


def decode(piece: bytes) -> KissFrame:
    """Return the frame of what stands between two FENDs. Raises FormatError."""
    found = parse(KISS_FRAME, unescaped(piece), "KISS frame")
    return KissFrame(found.type.port, found.type.command, bytes(found.data))


def unescaped(piece: bytes) -> bytes:
    """Return what stands between two FENDs with its escapes undone. Raises FormatError for one that is none."""
    escapes = piece.count(FESC)
    if not escapes:
        return piece
    if escapes != piece.count(FESC + TFEND) + piece.count(FESC + TFESC):
        bad = next(
            k for k in range(len(piece)) if piece[k : k + 1] == FESC and piece[k + 1 : k + 2] not in {TFEND, TFESC}
        )
        raise FormatError(f"KISS frame: {piece[bad : bad + 2].hex()} at octet {bad} is no escape")
    return piece.replace(FESC + TFEND, FEND).replace(FESC + TFESC, FESC)


@dataclass(frozen=True, slots=True)
class Piece:
    """What stands between two FENDs, escaped as it came; not `framed`: before the first, or longer than any frame."""

    octets: bytes
    framed: bool = True


class Splitter:
    """Cuts a stream at its FENDs, whatever its pieces. `rest` waits for its end; `begun`: a FEND has come."""

    def __init__(self, begun: bool = False, overlong: bool = False) -> None:
        self.rest = b""
        self.begun, self.overlong = begun, overlong

    def feed(self, octets: bytes) -> list[Piece]:
        """Return what the octets complete; nothing of no length."""
        *whole, self.rest = (self.rest + octets).split(FEND)
        pieces = []
        for one in whole:
            if one:
                pieces += self._pieces(one)
            self.begun, self.overlong = True, False
        while len(self.rest) > FRAME_MAX_OCTETS:
            pieces.append(Piece(self.rest[:FRAME_MAX_OCTETS], framed=False))
            self.rest, self.overlong = self.rest[FRAME_MAX_OCTETS:], True
        return pieces

    def _pieces(self, one: bytes) -> list[Piece]:
        framed = self.begun and not self.overlong and len(one) <= FRAME_MAX_OCTETS
        return [Piece(one[at : at + FRAME_MAX_OCTETS], framed) for at in range(0, len(one), FRAME_MAX_OCTETS)]

    def cut(self) -> bytes:
        """Return the frame under way, which will not end; the next octets begin anew."""
        rest, self.rest, self.begun, self.overlong = self.rest, b"", False, False
        return rest


def looks_like_kiss(octets: bytes) -> bool:
    """Whether octets from the beginning of a file are KISS: from FEND to FEND nothing but frames of known commands."""
    if octets[:1] != FEND:
        return False
    pieces = [one for one in octets.split(FEND)[:-1] if one]
    try:
        frames = [decode(one) for one in pieces]
    except FormatError:
        return False
    return bool(frames) and all(
        frame.command in COMMANDS and len(frame.data) > 0 and (frame.command != TIMESTAMP or len(frame.data) == 8)
        for frame in frames
    )
