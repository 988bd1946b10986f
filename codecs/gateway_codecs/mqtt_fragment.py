"""Messages of a home base's topic that are larger than the broker takes, in pieces (docs/mqtt.md). Big-endian."""

from __future__ import annotations

import struct

import construct as c

MAGIC = b"UGF1"
_HEADER = struct.Struct(">4sIII")
HEADER_OCTETS = _HEADER.size
WHOLE_MAX_OCTETS = 32 << 20

HEADER = c.Struct(
    "magic" / c.Const(MAGIC),
    "index" / c.Int32ub,
    "count" / c.Int32ub,
    "whole_octets" / c.Int32ub,
)
"""The header of a piece as declared: which of how many, and the octets of the whole message."""


class FragmentError(ValueError):
    """A piece that does not continue what came before: what was expected, what was found."""


def fragments(data: bytes, max_octets: int) -> list[bytes]:
    """Return the messages that carry `data`, each at most `max_octets` (more than 16): itself if it fits.

    Raises FragmentError for more than 32 MiB, or what begins like a piece itself.
    """
    if data[:4] == MAGIC:
        raise FragmentError("a message that begins like a piece could not be told from one")
    if len(data) <= max_octets:
        return [data]
    if len(data) > WHOLE_MAX_OCTETS:
        raise FragmentError(f"a message has at most {WHOLE_MAX_OCTETS} octets, this one {len(data)}")
    room = max_octets - HEADER_OCTETS
    count = -(-len(data) // room)
    pieces = enumerate(data[at : at + room] for at in range(0, len(data), room))
    return [_HEADER.pack(MAGIC, index, count, len(data)) + piece for index, piece in pieces]


class Assembler:
    """Puts pieces together again, in the order in which they were cut."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._count = self._octets = 0

    def add(self, message: bytes) -> bytes | None:
        """Return a whole message, or None while pieces are missing. Raises FragmentError; then it begins anew."""
        if message[:4] != MAGIC:
            under_way, expected = len(self._pieces), self._count
            self._clear()
            if under_way:
                raise FragmentError(f"piece {under_way} of {expected} was expected, here is a whole message")
            return message
        try:
            self._take(message)
        except FragmentError:
            self._clear()
            raise
        if len(self._pieces) < self._count:
            return None
        whole, octets = b"".join(self._pieces), self._octets
        self._clear()
        if len(whole) != octets:
            raise FragmentError(f"the pieces make {len(whole)} octets, not {octets}")
        return whole

    def _take(self, message: bytes) -> None:
        if len(message) <= HEADER_OCTETS:
            raise FragmentError(f"a piece has more than {HEADER_OCTETS} octets, this one {len(message)}")
        _, index, count, octets = _HEADER.unpack_from(message)
        if not self._pieces:
            self._count, self._octets = count, octets
        held = sum(map(len, self._pieces)) + len(message) - HEADER_OCTETS
        if (index, count, octets) != (len(self._pieces), self._count, self._octets) or index >= count:
            raise FragmentError(f"piece {len(self._pieces)} of {self._count} was expected, here is {index} of {count}")
        if held > min(octets, WHOLE_MAX_OCTETS):
            raise FragmentError(f"the pieces make more than the {min(octets, WHOLE_MAX_OCTETS)} octets that they may")
        self._pieces.append(message[HEADER_OCTETS:])

    def _clear(self) -> None:
        self._pieces, self._count, self._octets = [], 0, 0
