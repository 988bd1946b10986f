"""How well frames of one virtual channel read as packets: the code that flies reads them, its rejects are counted.

A frame's pointer says where a packet begins (CCSDS 132.0-B-3 4.1.2.7.6, 732.0-B-4 4.1.4.2.3). In frames whose counts
follow each other the packet under way must end exactly there: each such pair is one test of insert zone, trailer
and packet lengths together, which a wrong setting passes about once in the length of the zone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from gateway_codecs.batches import BoolArray, FrameFlag, I64Array, ItemBatch, Quality, U8Array, Unit
from gateway_codecs.crc import fecf_octets
from gateway_codecs.frames import NO_PACKET_STARTS, ONLY_IDLE, FrameFormat, VcFormat, decode_frames
from gateway_codecs.intake import FrameIntake, LinkFormat

BROKEN = frozenset({Quality.PACKET_VERSION, Quality.PACKET_LENGTH, Quality.PACKET_EXCESS, Quality.PACKET_TRUNCATED})
REFUSED = frozenset({Quality.FHP_OUT_OF_RANGE, Quality.SERVICE, Quality.FIELD})
LEAST_AGREED = 3
LEAST_AGREEMENT = 0.8
COUNTED_ENOUGH = 3
"""So many steps of a count at least say how it moves."""


@dataclass(frozen=True, slots=True, eq=False)
class ChannelFit:
    """Frames of one channel, read as packets. `pairs`: frames whose pointer was tested, `agreed`: those that fit."""

    frames: int
    only_idle: int
    lost: int  # places where the frame count jumps
    pairs: int
    agreed: int
    packets: int
    empty_packets: int  # of zeros from the header on: filler that looks like packets
    packet_octets: int
    zone_octets: int
    faults: int
    apid_counts: dict[int, I64Array]
    versions: frozenset[int]
    kinds: int  # different packet headers

    @property
    def real_packets(self) -> int:
        """Packets that are no filler."""
        return self.packets - self.empty_packets

    @property
    def value(self) -> float:
        """What is good less what is bad, at most 1."""
        filled = self.packet_octets / max(1, self.zone_octets)
        return filled - (self.faults + self.empty_packets) / max(1, self.frames - self.only_idle)

    @property
    def holds_packets(self) -> bool:
        """Whether chance or filler cannot have made these packets."""
        enough = self.agreed >= LEAST_AGREED and self.agreed >= LEAST_AGREEMENT * self.pairs
        return enough and self.packs and self.real_packets >= LEAST_AGREED and self.kinds > 1

    @property
    def packs(self) -> bool:
        """Whether all that can be seen are packets, however few."""
        return self.real_packets > 0 and self.empty_packets * 4 <= self.packets and self.faults * 4 <= self.frames


def fit(frames: U8Array, fmt: FrameFormat, vcid: int, settings: VcFormat) -> ChannelFit:
    """Read the frames of one channel, uint8 (n, frame length), as packets."""
    fmt = replace(fmt, vcs={vcid: replace(settings, service="packets")}, octet_interleave=1, prefix_octets=0)
    fmt = replace(fmt, suffix_octets=0, frame_length_octets=frames.shape[1])
    rows = decode_frames(frames.reshape(-1), fmt, 0, 0).rows
    intake = FrameIntake(LinkFormat(0, fmt))
    batch, ended = intake.feed(frames.tobytes(), 0), intake.finish(0)
    causes = Counter(batch.items.items["quality"].tolist()) + Counter(ended.items.items["quality"].tolist())
    idle = (rows["flags"] & FrameFlag.IDLE) != 0
    good = (rows["quality"] == Quality.GOOD) & ~idle
    follows = _follows(rows["vc_count"].astype(np.int64), fmt, settings)
    lost = int((~follows[1:]).sum())
    follows &= good
    pairs = int((follows[1:] & good[:-1]).sum())
    breaks = int((~follows & good).sum()) + 1  # where a packet under way is lost without anyone's fault
    faults = sum(causes[cause] for cause in BROKEN | REFUSED) - min(breaks, causes[Quality.PACKET_TRUNCATED])
    packets = batch.items.items["unit"] == Unit.PACKET
    empty, kinds = _kinds(batch.items, packets)
    zone = int((frames.shape[1] - _beside(fmt)) * (len(rows) - idle.sum()))
    return ChannelFit(
        len(rows), int(idle.sum()), lost, pairs, max(0, pairs - faults), int(packets.sum()), empty,
        int(batch.items.items["length"][packets].sum()) + int(intake.statistics()["idle_octets"]), zone, faults,
        _apid_counts(batch.items, packets), _versions(batch.items, packets), kinds,
    )  # fmt: skip


def _follows(counts: I64Array, fmt: FrameFormat, settings: VcFormat) -> BoolArray:
    follows = np.ones(len(counts), np.bool_)
    if settings.counting == "vc_count":
        follows[1:] = np.diff(counts) % (256 if fmt.version == "tm" else 1 << 24) == 1
    if len(counts):
        follows[0] = False
    return follows


def _beside(fmt: FrameFormat) -> int:
    return (
        6
        + 2 * fmt.header_error_control
        + fmt.insert_zone_octets
        + 2 * (fmt.version == "aos")
        + 4 * (fmt.ocf == "present")
        + fecf_octets(fmt.fecf)
    )


def _kinds(batch: ItemBatch, packets: BoolArray) -> tuple[int, int]:
    """Return (packets whose header is zeros, how many different headers there are)."""
    at = batch.items["offset"][packets]
    if not len(at):
        return 0, 0
    last = len(batch.octets) - 1
    heads = batch.octets[np.minimum(at[:, None] + np.arange(6), last)]
    whole = batch.items["length"][packets] >= 6
    return int((whole & ~heads.any(axis=1)).sum()), len(np.unique(heads, axis=0))


def _apid_counts(batch: ItemBatch, packets: BoolArray) -> dict[int, I64Array]:
    items = batch.items[packets & (batch.items["apid"] >= 0)]
    counts = items["sequence_count"].astype(np.int64)
    return {apid: counts[items["apid"] == apid] for apid in np.unique(items["apid"]).tolist()}


def _versions(batch: ItemBatch, packets: BoolArray) -> frozenset[int]:
    return frozenset((batch.octets[batch.items["offset"][packets]] >> 5).tolist())


def pointers(frames: U8Array, fmt: FrameFormat, vcid: int) -> I64Array:
    """Return the first header pointers of one channel's frames, int64 (n,); -1 = undefined."""
    fmt = replace(fmt, vcs={vcid: VcFormat()}, frame_length_octets=frames.shape[1], fecf=False, suffix_octets=0)
    rows = decode_frames(frames.reshape(-1), fmt, 0, 0).rows
    fhp: I64Array = rows["fhp"].astype(np.int64)
    return fhp


def versions_at_pointers(frames: U8Array, fmt: FrameFormat, vcid: int, start: int) -> Counter[int]:
    """Return how often each packet version stands where pointers point; zones begin at octet `start`."""
    fhp = pointers(frames, fmt, vcid)
    at = start + fhp
    there = (fhp >= 0) & (fhp < ONLY_IDLE) & (fhp != NO_PACKET_STARTS) & (at < frames.shape[1])
    return Counter((frames[np.flatnonzero(there), at[there]] >> 5).tolist())


def stands_still(counts: I64Array, modulus: int) -> bool:
    """Whether counts, int64 (n,), mostly repeat: then they count nothing."""
    steps = np.diff(counts) % modulus
    return len(steps) >= COUNTED_ENOUGH and float((steps == 0).mean()) >= 0.5
