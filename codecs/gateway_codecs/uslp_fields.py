"""The header fields of many USLP frames at once (CCSDS 732.1-B-2, 4.1 and D1); the declaration is `uslp_frame`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gateway_codecs.batches import BoolArray, I64Array, U8Array
from gateway_codecs.uslp_frame import POINTER_RULES, SHORTEST_HEADER_OCTETS, TRUNCATED_HEADER_OCTETS

NO_POINTER = -1


@dataclass(frozen=True, slots=True, eq=False)
class UslpFields:
    """What the headers of n frames say; all (n,), int64 and bool.

    `vc_count` -1 = none, `modulus` of the count (1 without one); `start`, `end` of the data zone, in octets of the
    frame; `pointer` the 16 bits of the rules that have one, else -1; `whole` = the headers are possible and the length
    field is that of the frame: without it nothing behind the ids means anything.
    """

    version: I64Array
    scid: I64Array
    vcid: I64Array
    map_id: I64Array
    expedited: BoolArray
    control_command: BoolArray
    truncated: BoolArray
    vc_count: I64Array
    modulus: I64Array
    has_ocf: BoolArray
    ocf: I64Array
    start: I64Array
    end: I64Array
    construction_rule: I64Array
    protocol_id: I64Array
    pointer: I64Array
    whole: BoolArray


def uslp_fields(
    octets: U8Array, offset: I64Array, length: I64Array, fecf_octets: int, insert_zone_octets: int
) -> UslpFields:
    """Read the fields of the frames octets[offset:offset + length] (at least one octet each)."""
    last = offset + length - 1

    def octet(at: I64Array | int) -> I64Array:
        """The octets at a place of each frame; what is not there is the frame's last one."""
        found: I64Array = octets[np.minimum(offset + at, last)].astype(np.int64)
        return found

    ids = octet(0) << 24 | octet(1) << 16 | octet(2) << 8 | octet(3)
    frame_length, flags = octet(4) << 8 | octet(5), octet(6)
    truncated = (ids & 1) != 0
    count_octets = np.where(truncated, 0, flags & 7)
    vc_count = np.zeros(len(offset), np.int64)
    for k in range(int(count_octets.max(initial=0))):
        counted = np.flatnonzero(count_octets > k)
        vc_count[counted] = vc_count[counted] << 8 | octet(SHORTEST_HEADER_OCTETS + k)[counted]
    has_ocf = ~truncated & ((flags & 8) != 0)
    field = np.where(truncated, TRUNCATED_HEADER_OCTETS, SHORTEST_HEADER_OCTETS + count_octets + insert_zone_octets)
    end = length - fecf_octets - 4 * has_ocf
    what = octet(field)
    rule = what >> 5
    has_pointer = rule < POINTER_RULES
    start = field + 1 + 2 * has_pointer
    possible = (field < end) & (start <= end) & ~(truncated & has_pointer) & (truncated | (frame_length == length - 1))
    at = np.maximum(end, 0)
    ocf = octet(at) << 24 | octet(at + 1) << 16 | octet(at + 2) << 8 | octet(at + 3) if has_ocf.any() else 0 * ids
    return UslpFields(
        version=ids >> 28,
        scid=ids >> 12 & 0xFFFF,
        vcid=ids >> 5 & 63,
        map_id=ids >> 1 & 15,
        expedited=~truncated & ((flags & 0x80) != 0),
        control_command=~truncated & ((flags & 0x40) != 0),
        truncated=truncated,
        vc_count=np.where(count_octets > 0, vc_count, -1),
        modulus=np.int64(1) << 8 * count_octets,
        has_ocf=has_ocf,
        ocf=np.where(has_ocf, ocf, 0),
        start=start,
        end=end,
        construction_rule=rule,
        protocol_id=what & 31,
        pointer=np.where(has_pointer, octet(field + 1) << 8 | octet(field + 2), NO_POINTER),
        whole=possible,
    )
