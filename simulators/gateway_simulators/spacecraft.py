"""A seeded spacecraft: packets of several APIDs in TM frames of several virtual channels. Pure: no clock, no I/O.

Matches the demo mission of the config room: SCID 42, frames of 1115 octets with FECF and OCF, VC0 housekeeping
(APIDs 100, 101, 102), VC1 science (200, 201), VC3 opaque, VC7 idle.
"""

from __future__ import annotations

import hashlib
import random
import struct
from dataclasses import dataclass, field

from gateway_codecs.crc import crc16

SCID = 42
FRAME_OCTETS = 1115
ZONE_OCTETS = FRAME_OCTETS - 6 - 4 - 2
CLCW = bytes.fromhex("01000005")
IDLE_APID = 2047
APIDS = {0: (100, 101, 102), 1: (200, 201)}
LENGTHS = {100: (40, 120), 101: (60, 60), 102: (24, 200), 200: (200, 900), 201: (1500, 6000)}
SCHEDULE = (0, 1, 1, 7, 1, 0, 1, 3, 1, 7)


@dataclass(frozen=True, slots=True)
class Made:
    """A packet (or opaque frame, apid -1) and the frames it lies in, by absolute frame number of its VC."""

    vcid: int
    apid: int
    sequence_count: int
    length: int
    digest: str
    first_frame: int
    last_frame: int


@dataclass(frozen=True, slots=True)
class Frame:
    """One transfer frame; `number` is the VC's frame count without its modulus."""

    vcid: int
    number: int
    octets: bytes


@dataclass(slots=True)
class Channel:
    """Packets on their way into the frames of one channel."""

    frames: int = 0
    rest: bytearray = field(default_factory=bytearray)  # octets of packets not yet in a frame
    starts: list[int] = field(default_factory=list)  # where packets begin in `rest`
    ends: list[tuple[int, int, int, int, str, int]] = field(default_factory=list)


def digest(octets: bytes) -> str:
    """Return the short SHA-256 that ledgers use."""
    return hashlib.sha256(octets).hexdigest()[:16]


class Spacecraft:
    """Makes frames for ever, the same for the same seed; `made` collects what each finished packet was."""

    zone_octets = ZONE_OCTETS

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._channels = {vcid: Channel() for vcid in (0, 1, 3, 7)}
        self._sequence: dict[int, int] = {}
        self._slot = 0
        self._mc_count = 0
        self.made: list[Made] = []

    def next_frame(self) -> Frame:
        """Return the next frame of the downlink."""
        vcid = SCHEDULE[self._slot % len(SCHEDULE)]
        self._slot += 1
        channel = self._channels[vcid]
        if vcid == 3:
            zone, pointer, sync = self._opaque(), 0x7FF, 1
        elif vcid == 7:
            zone, pointer, sync = bytes(ZONE_OCTETS), 0x7FE, 0
        else:
            zone, pointer, sync = *self._packets(vcid, APIDS[vcid], channel), 0
        octets = self._framed(vcid, channel.frames, zone, pointer, sync)
        if vcid == 3:
            self.made.append(
                Made(3, -1, channel.frames % 256, len(octets), digest(octets), channel.frames, channel.frames)
            )
        frame = Frame(vcid, channel.frames, octets)
        channel.frames += 1
        self._mc_count += 1
        return frame

    def _framed(self, vcid: int, number: int, zone: bytes, pointer: int, sync: int) -> bytes:
        word = (SCID << 4) | (vcid << 1) | 1
        status = (sync << 14) | (0 if sync else 0x1800) | pointer
        body = struct.pack(">HBBH", word, self._mc_count % 256, number % 256, status) + zone + CLCW
        return body + crc16(body).to_bytes(2, "big")

    def _opaque(self) -> bytes:
        return self._random.randbytes(ZONE_OCTETS)

    def _packets(self, vcid: int, apids: tuple[int, ...], channel: Channel) -> tuple[bytes, int]:
        """Return the next zone of a stream of packets, and where the first one begins in it (0x7FF = none does)."""
        octets = self.zone_octets
        while len(channel.rest) < octets:
            self._add_packet(apids, channel)
        inside = [start for start in channel.starts if start < octets]
        zone = bytes(channel.rest[:octets])
        del channel.rest[:octets]
        channel.starts = [start - octets for start in channel.starts if start >= octets]
        open_ends = []
        for end, apid, sequence, length, short, first in channel.ends:
            if end <= octets:
                self.made.append(Made(vcid, apid, sequence, length, short, first, channel.frames))
            else:
                open_ends.append((end - octets, apid, sequence, length, short, first))
        channel.ends = open_ends
        return zone, inside[0] if inside else 0x7FF

    def _add_packet(self, apids: tuple[int, ...], channel: Channel) -> None:
        idle = self._random.random() < 0.05
        apid = IDLE_APID if idle else self._random.choice(apids)
        low, high = (7, 60) if idle else LENGTHS[apid]
        packet = self._packet(apid, self._random.randint(low, high))
        start = len(channel.rest)
        first = channel.frames + start // self.zone_octets
        channel.starts.append(start)
        sequence = int.from_bytes(packet[2:4], "big") & 0x3FFF
        if not idle:
            channel.ends.append((start + len(packet), apid, sequence, len(packet), digest(packet), first))
        channel.rest += packet

    def _packet(self, apid: int, length: int) -> bytes:
        sequence = self._sequence.get(apid, 0)
        self._sequence[apid] = (sequence + 1) % 16384
        head = struct.pack(">HHH", apid, 0xC000 | sequence, length - 7)
        return head + self._random.randbytes(length - 6)
