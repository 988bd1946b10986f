"""How much of what a link brought is taken apart at a time: what everybody else waits for (R13).

Most octets cost the same, whatever they are. Not so where frames are searched: each marker that stands where none
should, each CADU that slipped, and each header of a USLP frame of varying length costs a tenth of a millisecond or so,
and a hostile peer can send one every four octets. So pieces are cut where they hold many of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway_codecs.cadus import CaduFormat
    from gateway_codecs.intake import LinkFormat

LONGEST_OCTETS = 1 << 18
MOST_CADUS, MOST_MARKERS, MOST_HEADERS = 96, 1024, 1024
"""Of one piece. A CADU that slipped was measured to cost 0.18 ms, a false marker or a USLP header 0.01 ms."""
BIT_STREAM_OCTETS, USLP_OCTETS = 1 << 16, 1 << 16
"""The longest pieces where what costs much cannot be counted: markers between octets, frames of other spacecraft."""


@dataclass(frozen=True, slots=True)
class Turns:
    """Cuts octets into pieces of at most `most_octets`, and of about `most_needles` of what costs much."""

    most_octets: int = LONGEST_OCTETS
    needles: tuple[bytes, ...] = ()
    most_needles: int = 1

    def cut(self, octets: bytes) -> Iterator[bytes]:
        """Return the pieces, in order: together they are the octets; none when there are none."""
        if sum(map(octets.count, self.needles)) <= self.most_needles:
            for at in range(0, len(octets), self.most_octets):
                yield octets[at : at + self.most_octets]
            return
        costly, at = re.compile(b"|".join(map(re.escape, self.needles))), 0
        while at < len(octets):
            end = min(len(octets), at + self.most_octets)
            beyond = next(islice(costly.finditer(octets, at, end), self.most_needles, None), None)
            end = end if beyond is None else beyond.start()
            yield octets[at:end]
            at = end


def turns(settings: LinkFormat) -> Turns:
    """Return how a link's octets are cut."""
    if settings.container == "kiss":
        return Turns()
    if settings.cadus is not None:
        return _of_cadus(settings.cadus)
    frames = settings.frames
    if frames is None or not frames.variable_length:
        return Turns()
    heads = {bytes([0xC0 | scid >> 12, scid >> 4 & 0xFF]) for scid in frames.scids}  # version 12, and twelve bits of it
    return Turns(USLP_OCTETS, tuple(sorted(heads)), MOST_HEADERS)


def _of_cadus(cadus: CaduFormat) -> Turns:
    sync = cadus.sync
    unit = max(1, sync.period_bits if cadus.unpacked_bits else sync.period_bits // 8)
    longest = LONGEST_OCTETS if sync.alignment == "octet" and sync.marker.bits else BIT_STREAM_OCTETS
    longest *= 8 if cadus.unpacked_bits else 1
    if cadus.unpacked_bits or not sync.marker.bits:
        return Turns(min(longest, MOST_CADUS * unit))
    whole = bytes(sync.marker.octets[: sync.marker.bits // 8])
    inverted = bytes(255 - octet for octet in whole)
    return Turns(min(longest, MOST_CADUS * unit), (whole, inverted), MOST_MARKERS)
