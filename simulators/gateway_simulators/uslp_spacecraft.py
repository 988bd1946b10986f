"""The seeded spacecraft with USLP frames: of one length, or of varying length with whole packets. Pure.

SCID 42, CRC-32 and OCF in every frame, counts of two octets: VC0 housekeeping in MAP 0, VC1 science in MAPs 1 (APID
200) and 2 (201) by turns, VC3 opaque SDUs, VC63 idle without a count.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from gateway_codecs import uslp_frame
from gateway_simulators.spacecraft import (
    APIDS,
    CLCW,
    FRAME_OCTETS,
    SCHEDULE,
    SCID,
    Channel,
    Frame,
    Made,
    OnboardClock,
    Spacecraft,
    digest,
)

Frames = Literal["tm", "uslp", "uslp-varying"]
COUNT_OCTETS = 2
BESIDE_OCTETS = 7 + COUNT_OCTETS + 1 + 2 + 4 + 4
"""Header, rule and pointer, OCF and CRC-32 of a frame of fixed length."""
LONGEST_OCTETS = 8192
"""Of a frame of varying length."""
MAPS: dict[int, dict[int, tuple[int, ...]]] = {0: {0: APIDS[0]}, 1: {1: APIDS[1][:1], 2: APIDS[1][1:]}}


class UslpSpacecraft(Spacecraft):
    """Makes USLP frames for ever, the same for the same seed."""

    zone_octets = FRAME_OCTETS - BESIDE_OCTETS

    def __init__(self, seed: int, varying: bool, clock: OnboardClock) -> None:
        super().__init__(seed, clock)
        self._varying = varying
        self._sent = {0: 0, 1: 0, 3: 0, 63: 0}
        self._maps = {(vcid, map_id): Channel() for vcid, maps in MAPS.items() for map_id in maps}

    def next_frame(self) -> Frame:
        """Return the next frame of the downlink."""
        vcid = SCHEDULE[self._slot % len(SCHEDULE)]
        vcid = 63 if vcid == 7 else vcid
        self._slot += 1
        number = self._sent[vcid]
        self._sent[vcid] += 1
        if vcid == 63:
            idle = uslp_frame.UslpFrame(SCID, 63, 0, bytes(self.zone_octets + COUNT_OCTETS), 0, 31, 0xFFFF, ocf=CLCW)
            return Frame(63, number, uslp_frame.encode(idle, "crc32"))
        if vcid == 3:
            octets = self._framed_sdu(3, 0, number, self._random.randbytes(self.zone_octets), 1, 5, 0xFFFF)
            self.made.append(Made(3, -1, number % 65536, len(octets), digest(octets), number, number))
        else:
            octets = self._of_map(vcid, number)
        return Frame(vcid, number, octets)

    def _of_map(self, vcid: int, number: int) -> bytes:
        """Return a frame of the MAP whose turn it is, and say in which frames of the channel its packets lie."""
        maps = MAPS[vcid]
        turn = number % len(maps)
        map_id, apids = list(maps.items())[turn]
        channel, known = self._maps[vcid, map_id], len(self.made)
        if self._varying:
            octets = self._framed_sdu(vcid, map_id, number, self._whole_packets(vcid, apids, channel), 7, 0, None)
        else:
            zone, pointer = self._packets(vcid, apids, channel)
            octets = self._framed_sdu(vcid, map_id, number, zone, 0, 0, 0xFFFF if pointer == 0x7FF else pointer)
        channel.frames += 1
        for k in range(known, len(self.made)):  # its frames are every so manieth of the channel
            first, last = (at * len(maps) + turn for at in (self.made[k].first_frame, self.made[k].last_frame))
            self.made[k] = replace(self.made[k], first_frame=first, last_frame=last)
        return octets

    def _whole_packets(self, vcid: int, apids: tuple[int, ...], channel: Channel) -> bytes:
        for _ in range(self._random.randint(1, 3)):
            if len(channel.rest) < LONGEST_OCTETS // 4:
                self._add_packet(apids, channel)
        data = bytes(channel.rest)
        for _, apid, sequence, length, short, _ in channel.ends:
            self.made.append(Made(vcid, apid, sequence, length, short, channel.frames, channel.frames))
        channel.rest.clear()
        channel.starts, channel.ends = [], []
        return data

    def _framed_sdu(
        self, vcid: int, map_id: int, number: int, data: bytes, rule: int, protocol: int, pointer: int | None
    ) -> bytes:
        frame = uslp_frame.UslpFrame(
            SCID, vcid, map_id, data, rule, protocol, pointer, number % 65536, COUNT_OCTETS, ocf=CLCW
        )
        return uslp_frame.encode(frame, "crc32")


def make_spacecraft(seed: int, frames: Frames, clock: OnboardClock) -> Spacecraft:
    """Return a spacecraft that sends such frames."""
    if frames == "tm":
        return Spacecraft(seed, clock)
    return UslpSpacecraft(seed, frames == "uslp-varying", clock)
