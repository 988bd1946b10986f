"""Sync markers of telemetry (CCSDS 131.0-B-4, clause 9.3; Proximity-1: CCSDS 211.2-B).

A marker stands before each code block, is never randomised nor coded, and tells which code was used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gateway_codecs.batches import U8Array
from gateway_codecs.declared import FormatError

SHORTEST_BITS, LONGEST_BITS = 24, 192
NO_MARKER = "none"
CODED_OR_NOT = "1ACFFC1D"
"""Uncoded, convolutional, Reed-Solomon, concatenated, LDPC 7/8."""
TURBO_1_2 = "034776C7272895B0"
"""Turbo 1/2; LDPC 1/2, 2/3 and 4/5."""
TURBO_1_3 = "25D5C0CE8990F6C9461BF79C"
TURBO_1_4 = "034776C7272895B0FCB88938D8D76A4F"
TURBO_1_6 = "25D5C0CE8990F6C9461BF79CDA2A3F31766F0936B9E40863"
EMBEDDED = "352EF853"
"""Of frame streams embedded in others (to issue 5)."""
PROXIMITY_1 = "FAF320"
MARKERS = {
    "uncoded, convolutional, Reed-Solomon, LDPC 7/8": CODED_OR_NOT,
    "turbo 1/2, LDPC 1/2, 2/3, 4/5": TURBO_1_2,
    "turbo 1/3": TURBO_1_3,
    "turbo 1/4": TURBO_1_4,
    "turbo 1/6": TURBO_1_6,
    "embedded": EMBEDDED,
    "Proximity-1": PROXIMITY_1,
}
"""Markers by what they stand before."""


@dataclass(frozen=True, slots=True)
class SyncMarker:
    """A marker as hex digits, 24 to 192 bits; `none` = code blocks back to back. Raises FormatError."""

    hex: str = CODED_OR_NOT

    def __post_init__(self) -> None:
        if self.hex == NO_MARKER:
            return
        if not self.hex or set(self.hex) - set("0123456789ABCDEFabcdef"):
            raise FormatError(f"sync marker {self.hex!r}: expected hex digits, or none")
        if not SHORTEST_BITS <= self.bits <= LONGEST_BITS:
            raise FormatError(f"sync marker {self.hex}: {self.bits} bits, expected {SHORTEST_BITS} to {LONGEST_BITS}")

    @property
    def bits(self) -> int:
        """Length in bits, 0 without a marker."""
        return 0 if self.hex == NO_MARKER else 4 * len(self.hex)

    @property
    def value(self) -> int:
        """The marker as a number of so many bits, 0 without a marker."""
        return int(self.hex, 16) if self.bits else 0

    @property
    def octets(self) -> U8Array:
        """The marker, uint8 (n,), from the highest bit of the first octet on; spare bits of the last one are zero."""
        digits = self.hex if self.bits else ""
        return np.frombuffer(bytes.fromhex(digits + "0" * (len(digits) % 2)), np.uint8)
