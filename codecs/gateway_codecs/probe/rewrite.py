"""Turns a recording that no link plays into one that a link plays: hexadecimal text, bits in octets, shifted units."""

from __future__ import annotations

import numpy as np

from gateway_codecs.probe.findings import Layout
from gateway_codecs.probe.periods import shifted


class Rewriter:
    """Takes the pieces of a recording in order and gives octets that begin with the first unit, upright."""

    def __init__(self, layout: Layout) -> None:
        self._storage = layout.storage
        self._mask = np.uint8(0xFF if layout.inverted else 0)
        self._skip_octets, self._shift = divmod(layout.skip_bits, 8)
        self._held = b""  # digits or bits that make no whole octet yet
        self._last = b""  # the octet before, of which bits are still to come

    def feed(self, data: bytes) -> bytes:
        """Return what the next piece gives. Raises ValueError when text holds other than digits and spaces."""
        octets = self._unpacked(data)
        skipped = min(self._skip_octets, len(octets))
        self._skip_octets -= skipped
        stream = self._last + octets[skipped:]
        self._last = stream[-1:] if self._shift else b""
        return (shifted(np.frombuffer(stream, np.uint8), self._shift) ^ self._mask).tobytes()

    def _unpacked(self, data: bytes) -> bytes:
        if self._storage == "octets":
            return data
        if self._storage == "hex":
            digits = self._held + b"".join(data.split())
            whole = len(digits) // 2 * 2
            self._held = digits[whole:]
            return bytes.fromhex(digits[:whole].decode("ascii"))
        bits = self._held + data
        whole = len(bits) // 8 * 8
        self._held = bits[whole:]
        return np.packbits(np.frombuffer(bits[:whole], np.uint8) & 1).tobytes()
