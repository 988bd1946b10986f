"""The generation time of packets: the time code in their secondary headers, a batch at a time.

Space packet secondary header: CCSDS 133.0-B-2, 4.1.4.2; time codes: CCSDS 301.0-B-4. Only a code that
counts in a real time scale gives a generation time here; a free-running on-board counter needs a time
correlation, so its missions state no code and the time stays `ABSENT`. The octets are kept as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gateway_codecs.batches import I64Array, ItemFlag, Records, U8Array
from gateway_codecs.time_codes import TimeCode, decode_batch

PRIMARY_HEADER_OCTETS = 6
P_FIELD_MAX_OCTETS = 2
T_FIELD_MAX_OCTETS = 17


@dataclass(frozen=True, slots=True)
class PacketTime:
    """Where a packet's time code stands: `offset_octets` into the secondary header."""

    code: TimeCode
    offset_octets: int = 0

    @property
    def octets(self) -> int:
        """Octets to look at, the longest code that a P-field can state included."""
        if self.code.p_field == "implied":
            return self.code.t_field_octets
        return P_FIELD_MAX_OCTETS + T_FIELD_MAX_OCTETS


def fill_generation_times(items: Records, rows: I64Array, octets: U8Array, time: PacketTime) -> int:
    """Set `generation_time_ns` of the packets `rows`, int64 (m,) of items; return how many hold no readable time.

    Packets without a secondary header have no time and count as readable. A packet too short for its code, or a
    code that says no time, keeps `ABSENT`: the packet itself is good and stays as it is.
    """
    flagged = rows[(items["flags"][rows] & ItemFlag.SECONDARY_HEADER) != 0]
    if not len(flagged):
        return 0
    skip = PRIMARY_HEADER_OCTETS + time.offset_octets
    room = items["length"][flagged].astype(np.int64) - skip
    unreadable = 0
    for width, chosen in _by_width(np.minimum(room, time.octets)):
        mine = flagged[chosen]
        if width <= 0:
            unreadable += len(mine)
            continue
        at = items["offset"][mine][:, None] + np.arange(skip, skip + width)
        times, valid = decode_batch(octets[at], time.code)
        items["generation_time_ns"][mine] = times
        unreadable += int((~valid).sum())
    return unreadable


def _by_width(widths: I64Array) -> list[tuple[int, I64Array]]:
    """Group rows by how many octets they offer: one group in reality, as many as the widest code at the very most."""
    widths = np.maximum(widths, 0)
    return [(int(width), np.flatnonzero(widths == width)) for width in np.unique(widths)]
