"""The batch extraction against a slow and simple one, over random links: losses, repeats, lies, idle, cuts, restarts.

The reference takes one frame after the other and knows nothing of batches, numpy or durable state. What both find
must be equal, and equal for every way of cutting the stream, with restarts from the durable state in between.
"""

from __future__ import annotations

import binascii
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

from gateway_codecs.batches import IntakeBatch, Quality, Unit
from gateway_codecs.channels import ChannelKey
from gateway_codecs.frames import FrameFormat, VcFormat
from gateway_codecs.intake import FrameIntake, LinkFormat
from tests.conftest import SEEDS

NO_START, ONLY_IDLE = 0x7FF, 0x7FE
EARTH = 2  # earth receive times are the receive times so many times


class Packet(NamedTuple):
    """A packet: its octets, and of the frame of its first octet the count and the place (when found: the time)."""

    octets: bytes
    vc_count: int
    frame: int


# ---- the reference ----


@dataclass
class Channel:
    """One virtual channel, a frame at a time."""

    settings: VcFormat
    last: int | None = None
    part: bytes = b""
    begun: tuple[int, int] = (0, 0)  # VC count and frame where the packet under way began
    packets: list[Packet] = field(default_factory=list)
    rejected: bytes = b""
    missing: list[int] = field(default_factory=list)
    idle_octets: int = 0
    padding_octets: int = 0

    def lose(self) -> None:
        """Give up the packet under way."""
        self.rejected, self.part = self.rejected + self.part, b""

    def count(self, count: int, modulus: int) -> None:
        """Take a frame's count."""
        lost = 0 if self.last is None else (count - self.last - 1) % modulus
        self.last = count
        if self.settings.counting == "none" or not lost:
            return
        self.lose()
        went_back = modulus > 256 and lost > modulus // 2
        if lost != modulus - 1 and not went_back:
            self.missing.append(lost)

    def take(self, zone: bytes, pointer: int | None, where: tuple[int, int]) -> None:
        """Take a zone: what comes before its pointer, then packets back to back."""
        head = zone if pointer is None else zone[:pointer]
        if self.part:
            self._continue(head, pointer is not None)
        else:
            self.rejected += head
        if pointer is not None:
            self._packets(zone[pointer:], where)

    def _continue(self, head: bytes, all_there: bool) -> None:
        octets, self.part = self.part + head, b""
        length = self._length(octets)
        if length is None or length > len(octets):
            self.part = octets
            if all_there:
                self.lose()
        elif length < 0:
            self.rejected += octets
        else:
            self._emit(octets[:length], self.begun)
            self._behind(octets[length:])

    def _behind(self, octets: bytes) -> None:
        if self.settings.packet_zone_padding:
            self.padding_octets += len(octets)
        else:
            self.rejected += octets

    def _packets(self, octets: bytes, where: tuple[int, int]) -> None:
        while octets:
            length = self._length(octets)
            if length is None or length > len(octets):
                self.part, self.begun = octets, where
                if self.settings.packet_start is not None:
                    self.lose()
                return
            if length < 0:
                self.rejected += octets
                return
            self._emit(octets[:length], where)
            octets = octets[length:]
            if self.settings.packet_zone_padding:
                self.padding_octets += len(octets)
                return

    def _emit(self, octets: bytes, where: tuple[int, int]) -> None:
        if octets == b"\xe0":
            self.idle_octets += 1
        else:
            self.packets.append(Packet(octets, *where))

    def _length(self, octets: bytes) -> int | None:
        """Octets that the header states; None = it is not whole, -1 = it is bad."""
        version = octets[0] >> 5
        if version not in self.settings.packet_versions:
            return -1
        if version == 7 and octets[0] & 3 == 0:
            length = 1 if octets[0] == 0xE0 else -1
        elif version == 7:
            header = 1 << (octets[0] & 3)
            if len(octets) < header:
                return None
            length = int.from_bytes(octets[header // 2 : header], "big")
            length = length if length >= header else -1
        elif len(octets) < 6:
            return None
        else:
            length = int.from_bytes(octets[4:6], "big") + 7
        return -1 if length > self.settings.max_packet_octets else length


class Reference:
    """A link of the reference."""

    def __init__(self, fmt: FrameFormat, frames: list[bytes]) -> None:
        self.fmt = fmt
        self.channels: dict[ChannelKey, Channel] = {}
        self.bad = self.opaque = 0
        for place, frame in enumerate(frames):
            self._frame(frame, place)
        for channel in self.channels.values():
            channel.lose()

    def _frame(self, frame: bytes, place: int) -> None:
        fmt, first, end = self.fmt, int.from_bytes(frame[:2], "big"), len(frame) - 2 * self.fmt.fecf
        fecf_good = not fmt.fecf or binascii.crc_hqx(frame[:-2], 0xFFFF) == int.from_bytes(frame[-2:], "big")
        head = (self._tm if fmt.version == "tm" else self._aos)(frame, first, end)
        key, start, end, count, modulus, pointer = head
        good = fecf_good and first >> 14 == (fmt.version == "aos") and key.scid in fmt.scids and start <= end
        if not good:
            self.bad += 1
            return
        settings = fmt.vcs.get(key.vcid)
        if settings is None and fmt.version == "aos" and key.vcid == 63:
            return
        if settings is None or settings.service != "packets":
            self.opaque += settings.service == "opaque" if settings else fmt.unknown_vc == "opaque"
            self.bad += settings is None and fmt.unknown_vc == "bad"
            return
        channel = self.channels.setdefault(key, Channel(settings))
        self._packets(channel, frame, start, end, count, modulus, pointer, place)

    def _tm(self, frame: bytes, first: int, end: int) -> Any:
        status, start = int.from_bytes(frame[4:6], "big"), 6
        if self.fmt.secondary_header == "by_flag":
            start += (frame[6] & 63) + 1 if status >> 15 else 0
        elif self.fmt.secondary_header != "absent":
            start += self.fmt.secondary_header
        has_ocf = first & 1 if self.fmt.ocf == "by_flag" else self.fmt.ocf == "present"
        pointer = -1 if status >> 14 & 1 else status & 2047
        return ChannelKey(first >> 4 & 1023, first >> 1 & 7, False), start, end - 4 * has_ocf, frame[3], 256, pointer

    def _aos(self, frame: bytes, first: int, end: int) -> Any:
        count, modulus = int.from_bytes(frame[2:5], "big"), 1 << 24
        if frame[5] & 0x40:
            count, modulus = count | (frame[5] & 15) << 24, 1 << 28
        key = ChannelKey(first >> 6 & 255, first & 63, bool(frame[5] & 0x80))
        return key, 6 + self.fmt.insert_zone_octets, end - 4 * (self.fmt.ocf == "present"), count, modulus, 0

    def _packets(
        self, channel: Channel, frame: bytes, start: int, end: int, count: int, modulus: int, pointer: int, place: int
    ) -> None:
        fixed = channel.settings.packet_start
        if fixed is not None:
            pointer = fixed
        elif self.fmt.version == "aos":
            if start + 2 > end:
                self.bad += 1
                return
            pointer, start = int.from_bytes(frame[start : start + 2], "big") & 2047, start + 2
        special = fixed is None and pointer in {NO_START, ONLY_IDLE}
        if pointer == -1 or (not special and pointer >= end - start):
            self.bad += 1
            channel.lose()
            return
        channel.count(count, modulus)
        if special and pointer == ONLY_IDLE:
            return
        channel.take(frame[start:end], None if special else pointer, (count, place))
        if fixed is not None:
            channel.lose()


# ---- random links ----


def some_packet(rng: random.Random, apid: int, count: int) -> bytes:
    kind = rng.random()
    if kind < 0.08:
        return b"\xe0"
    if kind < 0.16:
        code, body = rng.choice([1, 2, 3]), rng.randbytes(rng.choice([0, 1, 5, 30]))
        header = 1 << code
        more = {1: b"", 2: b"\x35", 3: b"\x35\0\1"}[code]
        return bytes([0xE0 | rng.randrange(8) << 2 | code]) + more + (header + len(body)).to_bytes(header // 2) + body
    octets = rng.choice([1, 1, 2, 3, 8, 20, 60, 150, rng.randrange(1, 400)])
    first = (rng.random() < 0.1) << 12 | (rng.random() < 0.3) << 11 | apid
    return first.to_bytes(2) + (0xC000 | count & 0x3FFF).to_bytes(2) + (octets - 1).to_bytes(2) + rng.randbytes(octets)


def some_format(rng: random.Random) -> FrameFormat:
    tm = rng.random() < 0.5
    vcs = {
        vcid: VcFormat(
            counting=rng.choice(["vc_count"] * 4 + ["none"]),
            packet_versions=rng.choice([frozenset({0, 7})] * 3 + [frozenset({0})]),
            max_packet_octets=rng.choice([65542, 100, 300]),
            packet_start=rng.choice([None] * 6 + [0, 2]),
            packet_zone_padding=rng.random() < 0.1,
        )
        for vcid in range(rng.choice([1, 2, 3]))
    }
    if rng.random() < 0.5:
        vcs[7 if tm else 63] = VcFormat("idle", "none")
    if rng.random() < 0.3:
        vcs[5] = VcFormat("opaque")
    prefix, suffix = rng.choice([(0, 0), (0, 0), (3, 2)])
    return FrameFormat(
        "tm" if tm else "aos",
        rng.choice([24, 32, 64, 100, 200]),
        {42: 1} if rng.random() < 0.7 else {42: 1, 17: 2},
        vcs,
        fecf=rng.random() < 0.7,
        ocf=rng.choice(["absent", "present", "by_flag"] if tm else ["absent", "present"]),
        insert_zone_octets=0 if tm else rng.choice([0, 0, 3]),
        secondary_header=rng.choice(["absent", "by_flag", "by_flag", 2]) if tm else "by_flag",
        unknown_vc=rng.choice(["opaque", "bad"]),
        octet_interleave=rng.choice([1] * 9 + [4]),
        prefix_octets=prefix,
        suffix_octets=suffix,
    )


@dataclass
class Sender:
    """The packets of one channel on their way into frames."""

    count: int
    waiting: bytes = b""
    starts: list[int] = field(default_factory=list)  # of the packets in what waits
    packets: int = 0

    def zone(self, rng: random.Random, octets: int) -> tuple[bytes, int]:
        """The next zone and its pointer."""
        while len(self.waiting) < octets:
            self.starts.append(len(self.waiting))
            self.waiting += some_packet(rng, 100 + rng.randrange(3), self.packets)
            self.packets += 1
        zone, self.waiting = self.waiting[:octets], self.waiting[octets:]
        here = [start for start in self.starts if start < octets]
        self.starts = [start - octets for start in self.starts if start >= octets]
        return zone, here[0] if here else NO_START


class Link:
    """Random frames of a random format: some lost, repeated, swapped, damaged, idle, with pointers that lie."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.fmt = rng, some_format(rng)
        self.lie, self.damage = rng.choice([0, 0, 0.05]), rng.choice([0, 0.05])
        self.idle, self.long_counts = rng.choice([0, 0.2]), rng.random() < 0.3
        self.senders: dict[ChannelKey, Sender] = {}
        loss, repeat, swap = rng.choice([0, 0.05, 0.2]), rng.choice([0, 0.03]), rng.choice([0, 0.03])
        self.frames: list[bytes] = []
        for sent in range(rng.choice([5, 20, 60])):
            frame = self.next_frame(sent)
            if rng.random() >= loss:
                self.frames += [frame] * (2 if rng.random() < repeat else 1)
        for at in range(len(self.frames) - 1):
            if rng.random() < swap:
                self.frames[at : at + 2] = reversed(self.frames[at : at + 2])

    def next_frame(self, sent: int) -> bytes:
        rng, fmt = self.rng, self.fmt
        replay = fmt.version == "aos" and rng.random() < 0.2
        key = ChannelKey(rng.choice(list(fmt.scids)), rng.choice(list(fmt.vcs)), replay)
        sender = self.senders.setdefault(key, Sender(rng.choice([0, 250, (1 << 24) - 5])))
        sender.count += 1
        secondary = rng.choice([b"", b"", b"\x00", b"\x03tim"]) if fmt.secondary_header == "by_flag" else b""
        has_ocf = rng.random() < 0.5 if fmt.ocf == "by_flag" else fmt.ocf == "present"
        head = self._tm_head if fmt.version == "tm" else self._aos_head
        middle = secondary if fmt.version == "tm" else b"i" * fmt.insert_zone_octets
        middle = b"zz" if fmt.secondary_header == 2 else middle
        settings = fmt.vcs[key.vcid]
        m_pdu = fmt.version == "aos" and settings.service == "packets" and settings.packet_start is None
        room = fmt.frame_length_octets - 6 - len(middle) - 2 * m_pdu - 4 * has_ocf - 2 * fmt.fecf
        zone, pointer = self._zone(settings, sender, room)
        octets = head(key, sender.count, sent, has_ocf, bool(secondary), pointer) + middle
        octets += (rng.randrange(32) << 11 | pointer).to_bytes(2) if m_pdu else b""
        octets += zone + (b"OCF!" if has_ocf else b"")
        octets += binascii.crc_hqx(octets, 0xFFFF).to_bytes(2) if fmt.fecf else b""
        return self._damaged(octets, self.damage)

    def _zone(self, settings: VcFormat, sender: Sender, octets: int) -> tuple[bytes, int]:
        rng = self.rng
        alone = settings.packet_start is not None or settings.packet_zone_padding
        if settings.service != "packets":
            zone, pointer = rng.randbytes(octets), rng.choice([ONLY_IDLE, rng.randrange(2048)])
        elif settings.packet_start is None and rng.random() < self.idle:
            zone, pointer = rng.randbytes(octets), ONLY_IDLE
        elif alone:
            pointer = settings.packet_start if settings.packet_start is not None else rng.choice([0, 0, 3])
            zone = (rng.randbytes(pointer) + some_packet(rng, 5, sender.count)).ljust(octets, b"\x55")[:octets]
        else:
            zone, pointer = sender.zone(rng, octets)
        if rng.random() < self.lie:
            pointer = rng.choice([0, 1, octets - 1, octets, NO_START, ONLY_IDLE, 0x7FD, rng.randrange(2048)]) & 0x7FF
        return self._damaged(zone, self.lie), pointer

    def _damaged(self, octets: bytes, chance: float) -> bytes:
        changed = bytearray(octets)
        if changed and self.rng.random() < chance:
            changed[self.rng.randrange(len(changed))] ^= 1 << self.rng.randrange(8)
        return bytes(changed)

    def _tm_head(self, key: ChannelKey, count: int, sent: int, ocf: bool, secondary: bool, pointer: int) -> bytes:
        sync = self.rng.random() < 0.02
        status = secondary << 15 | sync << 14 | 3 << 11 | pointer
        return (key.scid << 4 | key.vcid << 1 | ocf).to_bytes(2) + bytes([sent & 255, count & 255]) + status.to_bytes(2)

    def _aos_head(self, key: ChannelKey, count: int, sent: int, ocf: bool, secondary: bool, pointer: int) -> bytes:
        signalling = key.replay << 7 | (0x40 | count >> 24 & 15 if self.long_counts else 0)
        return (1 << 14 | key.scid << 6 | key.vcid).to_bytes(2) + (count & 0xFFFFFF).to_bytes(3) + bytes([signalling])

    def stored(self) -> bytes:
        """The octets of the source: interleaved, between prefix and suffix."""
        depth, fmt = self.fmt.octet_interleave, self.fmt
        size = fmt.frame_length_octets // depth
        turned = [b"".join(frame[at::size] for at in range(size)) for frame in self.frames]
        return b"".join(b"P" * fmt.prefix_octets + frame + b"S" * fmt.suffix_octets for frame in turned)


# ---- the intake under test ----


def has_packets(fmt: FrameFormat, vcid: int) -> bool:
    """Whether the channel is one of packets: the reference counts no others."""
    return vcid in fmt.vcs and fmt.vcs[vcid].service == "packets"


@dataclass
class Found:
    """What an intake made of a stream."""

    packets: dict[ChannelKey, list[Packet]] = field(default_factory=dict)
    rejected: dict[ChannelKey, bytes] = field(default_factory=dict)
    missing: list[int] = field(default_factory=list)
    units: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)  # of the items
    counted: Counter[str] = field(default_factory=Counter)  # by the batches
    order: list[tuple[int, ...]] = field(default_factory=list)

    def take(self, batch: IntakeBatch, fmt: FrameFormat) -> None:
        """Take a batch."""
        scids = {spacecraft: scid for scid, spacecraft in fmt.scids.items()}
        names = [name[9:] for name in batch.counters if name.startswith("rejected_")]
        self.counted.update({name: batch.counters[f"rejected_{name}"] for name in names})
        self.missing += [gap.missing for gap in batch.gaps if gap.what == "frames" and has_packets(fmt, gap.vcid)]
        for k, row in enumerate(batch.items.items):
            octets, unit, cause = batch.items.octets_of(k), Unit(int(row["unit"])), Quality(int(row["quality"]))
            key = ChannelKey(scids.get(int(row["spacecraft"]), 0), int(row["vcid"]), bool(row["flags"] & 0x100))
            self.order.append((int(unit), int(cause), *key, int(row["vc_count"]), len(octets)))
            assert int(row["earth_receive_time_ns"]) == EARTH * int(row["receive_time_ns"])
            if cause:
                self.causes[cause.name.lower()] += 1
            if unit == Unit.PACKET:
                packet = Packet(octets, int(row["vc_count"]), int(row["receive_time_ns"]))
                self.packets.setdefault(key, []).append(packet)
            elif unit == Unit.OCTETS:
                self.rejected[key] = self.rejected.get(key, b"") + octets
            else:
                self.units["bad" if cause else "opaque"] += 1


class Run:
    """An intake fed in pieces; after some of them it starts again from its durable state."""

    def __init__(self, link: Link, cuts: list[int], restart: float, rng: random.Random) -> None:
        self.found, self.statistics, self.received = Found(), Counter[str](), dict[int, int]()
        data, pieces, at, frames = link.stored(), list(cuts), 0, 0
        intake = FrameIntake(LinkFormat(1, link.fmt, 9))
        while at < len(data):
            piece, time = data[at : at + (pieces.pop(0) if pieces else len(data))], 1 + len(self.received)
            self.found.take(intake.feed(piece, time, EARTH * time), link.fmt)
            at += len(piece)
            begun, frames = frames, at // link.fmt.unit_octets
            self.received |= dict.fromkeys(range(begun, frames), time)
            if rng.random() < restart:
                self._note(intake)
                state = json.loads(json.dumps(intake.state()))
                intake = FrameIntake(LinkFormat(1, link.fmt, 9))
                intake.restore(state, lambda offset, octets: data[offset : offset + octets])
                at = state["source_offset"]
        self.found.take(intake.finish(1 << 40), link.fmt)
        self._note(intake)

    def _note(self, intake: FrameIntake) -> None:
        shown = intake.statistics()
        self.statistics.update({**shown["causes"], **{name: shown[name] for name in ("idle_octets", "padding_octets")}})


def ways(link: Link, rng: random.Random) -> list[tuple[str, list[int], float]]:
    """Ways to cut the stream: all at once, frame by frame, anyhow, and with restarts."""
    unit = link.fmt.unit_octets
    anyhow = [rng.choice([1, unit - 1, unit, unit, unit + 1, 3 * unit, 10 * unit]) for _ in range(len(link.frames) * 8)]
    by_frame = [unit] * len(link.frames)
    restarts = rng.choice([("restarts", anyhow, 0.3), ("restart after each frame", by_frame, 1.0)])
    return [("whole", [], 0), ("by frame", by_frame, 0), ("anyhow", anyhow, 0), restarts]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_extraction_is_the_reference_however_it_is_cut(seed: int) -> None:
    """R6, R7: packets, kept octets, counts, gaps, causes and order are the reference's, for every cut and restart."""
    rng = random.Random(seed)
    link = Link(rng)
    wanted = Reference(link.fmt, link.frames)
    channels = wanted.channels.items()
    first: Found | None = None
    for name, cuts, restart in ways(link, rng):
        made = Run(link, cuts, restart, random.Random(seed))
        found, where = made.found, f"seed {seed}, {name}"
        for key, channel in channels:
            packets = [packet._replace(frame=made.received[packet.frame]) for packet in channel.packets]
            assert found.packets.pop(key, []) == packets, (where, key)
            assert found.rejected.pop(key, b"") == channel.rejected, (where, key)
        assert not found.packets, where
        assert not found.rejected, where
        assert sorted(found.missing) == sorted(gap for _, channel in channels for gap in channel.missing), where
        assert (found.units["bad"], found.units["opaque"]) == (wanted.bad, wanted.opaque), where
        for octets in ("idle_octets", "padding_octets"):
            assert made.statistics.pop(octets) == sum(getattr(channel, octets) for _, channel in channels), where
        assert found.causes == found.counted == made.statistics, where
        first = first or found
        assert (found.order, found.causes) == (first.order, first.causes), where
