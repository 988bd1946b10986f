"""Whether packets stand back to back, from the first octet on, each behind a prefix of some octets.

Space packets: CCSDS 133.0-B-2 4.1; encapsulation packets: CCSDS 133.1-B-3 4.1. The chain of lengths must hold to the
end; what else random octets would need for it is weighed in bits, as in `headers`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from gateway_codecs.batches import I64Array, U8Array
from gateway_codecs.frames import IDLE_APID, VcFormat
from gateway_codecs.packet_walk import packet_length
from gateway_codecs.probe.channels import stands_still
from gateway_codecs.probe.findings import Notes
from gateway_codecs.probe.headers import LEAST_SHARE, Steps, steps_by

LONGEST_PREFIX_OCTETS = 64
LEAST_PACKETS = 3
LEAST_BITS = 40.0
ANY_VERSION = [True] * 8
FIRST_PACKETS, MANY_PACKETS = 64, 200
MOST_PACKETS = 200_000
"""So many are followed at most: more would say no more."""


@dataclass(frozen=True, slots=True, eq=False)
class PacketChain:
    """Packets back to back: `offsets` int64 (n,) and `heads` uint8 (n, 6), zeros behind shorter packets."""

    prefix_octets: int
    offsets: I64Array
    heads: U8Array
    left_octets: int  # of a last packet that is not whole

    @property
    def versions(self) -> Counter[int]:
        """How often each packet version stands there."""
        return Counter((self.heads[:, 0] >> 5).tolist())

    @property
    def apids(self) -> I64Array:
        """APIDs, int64 (n,)."""
        apids: I64Array = (self.heads[:, 0].astype(np.int64) & 7) << 8 | self.heads[:, 1]
        return apids

    @property
    def counts(self) -> I64Array:
        """Sequence counts, int64 (n,)."""
        counts: I64Array = (self.heads[:, 2].astype(np.int64) & 0x3F) << 8 | self.heads[:, 3]
        return counts

    @property
    def steps(self) -> Steps:
        """How the sequence counts move in their APIDs."""
        return steps_by(self.apids, self.counts, 16384)

    @property
    def sure(self) -> bool:
        """Whether neither chance nor filler makes this: counts go up, or all fits to the end and APIDs come again."""
        total = len(self.heads)
        if total < LEAST_PACKETS or int((~self.heads.any(axis=1)).sum()) * 10 > total:
            return False
        if max(self.versions.values()) < 0.9 * total:
            return False
        steps = self.steps
        if steps.bits >= LEAST_BITS and steps.rising >= LEAST_SHARE and steps.next * 2 >= steps.total:
            return True
        known = len(set(self.apids.tolist()))
        again = (total - known) * float(np.log2(2048 / known)) >= LEAST_BITS
        whole = self.left_octets == 0 or total >= MANY_PACKETS
        different = len(np.unique(self.heads, axis=0)) * 4 > total
        return self.prefix_octets == 0 and whole and again and different and known * 4 <= total


def find_packets(octets: U8Array, whole_file: bool) -> PacketChain | None:
    """Return packets back to back in the octets, uint8 (n,), None when there are none.

    `whole_file`: the octets are all there is, so that the last packet must be whole, or nearly so.
    """
    for prefix in range(LONGEST_PREFIX_OCTETS + 1):
        first = _follow(octets, prefix, whole_file, FIRST_PACKETS)
        if first is None or not first.sure:
            continue
        chain = _follow(octets, prefix, whole_file, MOST_PACKETS)
        if chain is not None and chain.sure:
            return chain
    return None


def _follow(octets: U8Array, prefix: int, whole_file: bool, most: int) -> PacketChain | None:
    view, at, size = np.ascontiguousarray(octets).data, 0, len(octets)
    offsets: list[int] = []
    while at + prefix < size and len(offsets) < most:
        length, fault = packet_length(view, at + prefix, size, ANY_VERSION, 65542)
        if fault:
            return None
        if not length or at + prefix + length > size:
            break
        offsets.append(at + prefix)
        at += prefix + length
    left = size - at if len(offsets) < most else 0
    # a sample ends anywhere; of a file that was cut in its last packet, most is whole
    if not offsets or (whole_file and left > size // 4):
        return None
    begin = np.array(offsets, np.int64)
    heads = octets[np.minimum(begin[:, None] + np.arange(6), size - 1)]
    return PacketChain(prefix, begin, heads, left)


def describe_packets(chain: PacketChain, notes: Notes) -> VcFormat:
    """Return the settings of these packets, and note what says so."""
    total, versions = len(chain.heads), chain.versions
    notes.found("packets", f"{total} back to back", total, total, "lengths lead to the next packet")
    accepted = frozenset(version for version, count in versions.items() if count * 50 >= total)
    agreed = sum(versions[version] for version in accepted)
    notes.found("packet version", ", ".join(map(str, sorted(accepted))), agreed, total, "packets have it")
    if chain.prefix_octets:
        notes.found(
            "prefix", f"{chain.prefix_octets} octets before each packet", total, total, "packets stand behind it"
        )
    if chain.left_octets:
        notes.open("end", f"the last {chain.left_octets} octets are no whole packet: the recording was cut")
    apids, counts, steps = chain.apids, chain.counts, chain.steps
    known = np.unique(apids[apids != IDLE_APID])
    notes.found(
        "APIDs", f"{len(known)}: {', '.join(map(str, known[:12]))}{', ...' if len(known) > 12 else ''}",
        steps.next, steps.total, "sequence counts go up by one in their APID",
    )  # fmt: skip
    still = [apid for apid in known.tolist() if stands_still(counts[apids == apid], 16384)]
    if still:
        notes.found(
            "counting", f"none of APID {', '.join(map(str, still[:12]))}", len(still), len(known), "APIDs stand still"
        )
    return VcFormat(packet_versions=accepted, apid_counting=dict.fromkeys(still, "none"))
