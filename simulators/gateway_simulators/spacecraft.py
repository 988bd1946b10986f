"""A seeded spacecraft: packets of several APIDs in TM frames of several virtual channels. Pure: no clock, no I/O.

Matches the demo mission of the config room: SCID 42, frames of 1115 octets with FECF and OCF, VC0 housekeeping
(APIDs 100, 101, 102), VC1 science (200, 201), VC3 opaque, VC7 idle. What packets say: `solar_payload`.
"""

from __future__ import annotations

import hashlib
import random
import struct
from dataclasses import dataclass, field

from gateway_codecs.crc import crc16
from gateway_codecs.time_scales import SECOND_NS, parse_utc
from gateway_simulators.solar_payload import SolarPayload

SCID = 42
FRAME_OCTETS = 1115
ZONE_OCTETS = FRAME_OCTETS - 6 - 4 - 2
CLCW = bytes.fromhex("01000005")
IDLE_APID = 2047
APIDS = {0: (100, 101, 102), 1: (200, 201)}
IDLE_OCTETS, IMAGE_PART_OCTETS = (7, 60), (1500, 6000)
SCHEDULE = (0, 1, 1, 7, 1, 0, 1, 3, 1, 7)


@dataclass(frozen=True, slots=True)
class OnboardClock:
    """On-board time by the frames that were sent: ns TAI since 1958-01-01 of the first, and ns from one to the next."""

    start_tai_ns: int = parse_utc("2026-01-01T00:00:00Z")
    frame_ns: int = SECOND_NS // 200


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
    """Makes frames for ever, the same for the same seed and clock; `made` collects what each finished packet was."""

    zone_octets = ZONE_OCTETS

    def __init__(self, seed: int, clock: OnboardClock = OnboardClock()) -> None:
        self._random, self._clock, self._payload = random.Random(seed), clock, SolarPayload(seed)
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
        packet = self._idle() if idle else self._packet(apid)
        start = len(channel.rest)
        first = channel.frames + start // self.zone_octets
        channel.starts.append(start)
        sequence = int.from_bytes(packet[2:4], "big") & 0x3FFF
        if not idle:
            channel.ends.append((start + len(packet), apid, sequence, len(packet), digest(packet), first))
        channel.rest += packet

    def _packet(self, apid: int) -> bytes:
        tai_ns = self._clock.start_tai_ns + self._slot * self._clock.frame_ns
        return self._payload.packet(apid, self._next_count(apid), tai_ns, self._random.randint(*IMAGE_PART_OCTETS))

    def _idle(self) -> bytes:
        length = self._random.randint(*IDLE_OCTETS)
        head = struct.pack(">HHH", IDLE_APID, 0xC000 | self._next_count(IDLE_APID), length - 7)
        return head + self._random.randbytes(length - 6)

    def _next_count(self, apid: int) -> int:
        count = self._sequence.get(apid, 0)
        self._sequence[apid] = (count + 1) % 16384
        return count
