"""The batch extraction of USLP links against a slow and simple one that reads each frame with the declared format.

Frames of one length and of varying length, with rubbish and cut frames between the latter; losses, repeats, damage,
pointers that lie, truncated frames, several MAPs and both qualities of service. What is found must not depend on how
the stream was cut, nor on restarts from the durable state in between.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway_codecs import uslp_frame
from gateway_codecs.batches import IntakeBatch, ItemFlag, Quality, Unit
from gateway_codecs.channels import ChannelKey
from gateway_codecs.crc import fecf_octets
from gateway_codecs.declared import FormatError
from gateway_codecs.frames import FrameFormat, VcFormat
from gateway_codecs.intake import LinkFormat
from gateway_codecs.packet_stream import make_intake
from tests.codecs.test_reference import Channel, Packet, some_packet
from tests.conftest import SEEDS

EARTH = 2
NONE_STARTS, IDLE = 0xFFFF, 31
OUTSIDE = {Quality.FECF, Quality.SYNC, Quality.LENGTH}


# ---- the reference ----


class Reference:
    """A link of the reference: frame by frame; `outside` is what is no good frame."""

    def __init__(self, fmt: FrameFormat, parts: list[tuple[bytes, bool]]) -> None:
        self.fmt = fmt
        self.channels: dict[ChannelKey, Channel] = {}
        self.bits: dict[ChannelKey, bytes] = {}
        self.counts: dict[ChannelKey, int] = {}
        self.missing: list[int] = []
        self.outside = b""
        self.refused = self.opaque = 0
        self.lost = False
        at = 0
        for octets, intact in parts:
            self._part(octets, intact, at)
            at += len(octets)
        for channel in self.channels.values():
            channel.lose()

    def _part(self, octets: bytes, intact: bool, at: int) -> None:
        frame = self._frame(octets) if intact or not self.fmt.variable_length else None
        known = frame is not None and frame.scid in self.fmt.scids
        if self.fmt.variable_length and (frame is None or (self.lost and not known)):
            self.outside, self.lost = self.outside + octets, True
            return
        self.lost = False
        if frame is None:
            self.outside += octets if self._fecf_bad(octets) else b""
            self.refused += not self._fecf_bad(octets)
            return
        settings = self.fmt.vc(frame.vcid) if known else None
        if settings is None or (frame.truncated and not self.fmt.variable_length):
            self.refused += 1
            return
        self._take(frame, settings, at)

    def _frame(self, octets: bytes) -> uslp_frame.UslpFrame | None:
        try:
            return uslp_frame.decode(octets, self.fmt.fecf, self.fmt.insert_zone_octets)
        except FormatError:
            return None

    def _fecf_bad(self, octets: bytes) -> bool:
        try:
            uslp_frame.decode(octets, self.fmt.fecf, self.fmt.insert_zone_octets)
        except FormatError as error:
            return "error control" in str(error)
        return False

    def _take(self, frame: uslp_frame.UslpFrame, settings: VcFormat, at: int) -> None:
        key = ChannelKey(frame.scid, frame.vcid, False, frame.map_id, frame.expedited)
        service = settings.of_map(frame.map_id).service
        what = self._what(frame, service)
        channel = self.channels.setdefault(key, Channel(settings)) if service == "packets" else None
        if what == "refused":
            self.refused += 1
            if channel is not None:
                channel.lose()
            return
        self._count(frame, settings, key)
        if what == "opaque":
            self.opaque += 1
        elif what == "bits":
            self.bits[key] = self.bits.get(key, b"") + frame.data
        elif channel is not None and what == "packets":
            where = (-1 if frame.vc_count is None else frame.vc_count, at)
            if frame.construction_rule == 0:
                channel.take(frame.data, None if frame.pointer == NONE_STARTS else frame.pointer, where)
            elif frame.data:
                channel.take(frame.data, 0, where)
                channel.lose()

    def _what(self, frame: uslp_frame.UslpFrame, service: str) -> str:
        if service in {"idle", "opaque"}:
            return service
        if frame.protocol_id == IDLE:
            return "idle"
        if frame.pointer not in {None, NONE_STARTS} and frame.pointer >= len(frame.data):
            return "refused"
        rules = {"packets": (0, 0, 7), "bitstream": (4, 3)}[service]
        if frame.control_command or frame.protocol_id != rules[0]:
            return "opaque"
        if frame.construction_rule not in rules[1:]:
            return "refused"
        return "packets" if service == "packets" else "bits"

    def _count(self, frame: uslp_frame.UslpFrame, settings: VcFormat, key: ChannelKey) -> None:
        if frame.vc_count is None:
            return
        whole, modulus = key._replace(map_id=-1), 1 << 8 * frame.vc_count_octets
        last = self.counts.get(whole)
        self.counts[whole] = frame.vc_count
        lost = 0 if last is None else (frame.vc_count - last - 1) % modulus
        if settings.counting == "none" or not lost:
            return
        for other, channel in self.channels.items():
            if other._replace(map_id=-1) == whole:
                channel.lose()
        if lost != modulus - 1 and not (modulus > 256 and lost > modulus // 2):
            self.missing.append(lost)


# ---- random links ----


@dataclass
class Sender:
    """The packets of one MAP on their way into frames."""

    waiting: bytes = b""
    starts: list[int] = field(default_factory=list)
    packets: int = 0

    def _add(self, rng: random.Random) -> None:
        self.starts.append(len(self.waiting))
        self.waiting += some_packet(rng, 100 + rng.randrange(3), self.packets)
        self.packets += 1

    def zone(self, rng: random.Random, octets: int) -> tuple[bytes, int]:
        """The next zone of a stream of packets, and its pointer."""
        while len(self.waiting) < octets:
            self._add(rng)
        zone, self.waiting = self.waiting[:octets], self.waiting[octets:]
        here = [start for start in self.starts if start < octets]
        self.starts = [start - octets for start in self.starts if start >= octets]
        return zone, here[0] if here else NONE_STARTS


def some_format(rng: random.Random) -> FrameFormat:
    varying = rng.random() < 0.5
    vcs = {
        vcid: VcFormat(
            service=rng.choice(["packets"] * 5 + ["opaque", "bitstream"]),
            counting=rng.choice(["vc_count"] * 5 + ["none"]),
            max_packet_octets=rng.choice([65542, 100, 300]),
            packet_zone_padding=rng.random() < 0.05,
            maps=rng.choice([{}, {}, {1: "opaque"}, {2: "bitstream"}, {0: "packets", 1: "idle"}]),
            truncated_frame_octets=rng.choice([None, 12, 30]) if varying else None,
        )
        for vcid in range(rng.choice([1, 2]))
    }
    return FrameFormat(
        "uslp",
        rng.choice([100, 200]) if varying else rng.choice([24, 40, 64, 120]),
        rng.choice([{0xABCD: 1}, {0xABCD: 1, 7: 2}]),
        vcs,
        fecf=rng.choice([True, True, "crc32", False]),
        insert_zone_octets=rng.choice([0, 0, 3]),
        unknown_vc=rng.choice(["opaque", "bad"]),
        variable_length=varying,
    )


class Link:
    """Random frames; `parts` are (octets, intact): good frames, damaged ones, and rubbish between varying ones."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.fmt = rng, some_format(rng)
        self.maps, self.count_octets = rng.choice([1, 3]), rng.choice([0, 1, 1, 2, 4, 7])
        self.expedited, self.lie = rng.choice([0, 0, 0.3]), rng.choice([0, 0, 0.05])
        can_damage = bool(self.fmt.fecf) or not self.fmt.variable_length
        self.damage = rng.choice([0, 0.08]) if can_damage else 0
        self.rubbish = rng.choice([0, 0.1]) if self.fmt.variable_length and self.fmt.fecf else 0
        self.counts: dict[tuple[int, int, bool], int] = {}
        self.senders: dict[tuple[int, ...], Sender] = {}
        loss, repeat = rng.choice([0, 0.05, 0.2]), rng.choice([0, 0.03])
        self.parts: list[tuple[bytes, bool]] = []
        for _ in range(rng.choice([5, 20, 60])):
            frame = self._frame()
            if rng.random() < loss:
                continue
            damaged = self._damaged(frame, self.damage)
            self.parts += [(damaged, damaged == frame)] * (2 if rng.random() < repeat else 1)
            if rng.random() < self.rubbish:
                self.parts.append((self._rubbish(), False))

    def _frame(self) -> bytes:
        rng, fmt = self.rng, self.fmt
        scid = 999 if rng.random() < 0.02 and fmt.fecf else rng.choice(list(fmt.scids))
        vcid = rng.choice([*fmt.vcs] * 8 + [9, 63])
        map_id, expedited = rng.randrange(self.maps), rng.random() < self.expedited
        settings = fmt.vcs.get(vcid, VcFormat("opaque"))
        octets = settings.truncated_frame_octets
        if octets and rng.random() < 0.1:
            data = self._whole_packets(scid, octets - 5 - fecf_octets(fmt.fecf))
            return uslp_frame.encode(uslp_frame.UslpFrame(scid, vcid, map_id, data, truncated=True), fmt.fecf)
        n = self.count_octets if rng.random() < 0.95 else rng.choice([0, 1, 3])
        count = self.counts.get((scid, vcid, expedited), rng.choice([0, 250, 65530])) + 1
        if n:
            self.counts[scid, vcid, expedited] = count
        ocf = rng.choice([None, None, b"OCF!"])
        beside = 7 + n + fmt.insert_zone_octets + 1 + 4 * (ocf is not None) + fecf_octets(fmt.fecf)
        room = fmt.frame_length_octets - beside
        if fmt.variable_length:
            room = rng.randrange(3, room)
        rule, protocol, pointer, data = self._data((scid, vcid, map_id, expedited), room)
        frame = uslp_frame.UslpFrame(
            scid, vcid, map_id, data, rule, protocol, pointer, count % (1 << 8 * n) if n else None, n, expedited,
            rng.random() < 0.03, rng.random() < 0.5, b"i" * fmt.insert_zone_octets, ocf,
        )  # fmt: skip
        return uslp_frame.encode(frame, fmt.fecf)

    def _data(self, key: tuple[int, ...], room: int) -> tuple[int, int, int | None, bytes]:
        """Rule, protocol, pointer and data of a frame with so much room behind the first octet of its data field."""
        rng, chance = self.rng, self.rng.random()
        if chance < 0.08 or room < 3:
            return 7, IDLE, None, rng.randbytes(room)
        if chance < 0.16:
            return 3, rng.choice([4, 4, 0]), None, rng.randbytes(room)
        if chance < 0.22:
            rule = rng.choice([1, 2])
            return rule, 5, rng.choice([NONE_STARTS, rng.randrange(room)]), rng.randbytes(room - 2)
        if chance < (0.6 if self.fmt.variable_length else 0.3):
            return 7, 0, None, self._whole_packets(key[0], room)
        zone, pointer = self.senders.setdefault(key, Sender()).zone(rng, room - 2)
        if rng.random() < self.lie:
            pointer = rng.choice([0, 1, max(0, room - 3), room - 2, NONE_STARTS, 0xFFFE, 0x8000])
        return 0, 0, pointer, self._damaged(zone, self.lie)

    def _whole_packets(self, seed: int, room: int) -> bytes:
        data = b""
        while len(data) < room and self.rng.random() < 0.9:
            packet = some_packet(self.rng, 7, len(data) + seed)
            if len(data) + len(packet) > room and self.rng.random() < 0.8:
                break
            data += packet
        return data[:room].ljust(room, b"\xe0")

    def _damaged(self, octets: bytes, chance: float) -> bytes:
        changed = bytearray(octets)
        if changed and self.rng.random() < chance:
            changed[self.rng.randrange(len(changed))] ^= 1 << self.rng.randrange(8)
        return bytes(changed)

    def _rubbish(self) -> bytes:
        rng = self.rng
        head = b"\xca\xbc\xd0\xa0"
        kind = rng.randrange(5)
        if kind == 0:
            return rng.randbytes(rng.randrange(1, 40))
        if kind == 1:
            return head + rng.choice([b"", b"\0", b"\0\x30", b"\xff\xff", b"\0\x02\0\0"])
        if kind == 2:
            return self._frame()[: rng.randrange(1, 12)]
        if kind == 3:
            return (b"\xca\xbc\xd0\xa1" + rng.randbytes(20)) * 3
        return b"\xca\xbc" * rng.randrange(1, 30)


# ---- the intake under test ----


def key_of(row: Any, fmt: FrameFormat) -> ChannelKey:
    scid = {spacecraft: scid for scid, spacecraft in fmt.scids.items()}.get(int(row["spacecraft"]), 0)
    map_id = (int(row["flags"]) & ItemFlag.MAP) >> ItemFlag.MAP_SHIFT
    return ChannelKey(scid, int(row["vcid"]), False, map_id, bool(row["flags"] & ItemFlag.EXPEDITED))


@dataclass
class Found:
    """What an intake made of a stream."""

    packets: dict[ChannelKey, list[Packet]] = field(default_factory=dict)
    rejected: dict[ChannelKey, bytes] = field(default_factory=dict)
    bits: dict[ChannelKey, bytes] = field(default_factory=dict)
    outside: bytes = b""
    missing: list[int] = field(default_factory=list)
    units: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    counted: Counter[str] = field(default_factory=Counter)
    order: list[tuple[Any, ...]] = field(default_factory=list)

    def take(self, batch: IntakeBatch, fmt: FrameFormat) -> None:
        """Take a batch."""
        names = [name[9:] for name in batch.counters if name.startswith("rejected_")]
        self.counted.update({name: batch.counters[f"rejected_{name}"] for name in names})
        self.missing += [gap.missing for gap in batch.gaps if gap.what == "frames"]
        for k, row in enumerate(batch.items.items):
            self._item(row, batch.items.octets_of(k), fmt)

    def _item(self, row: Any, octets: bytes, fmt: FrameFormat) -> None:
        unit, cause, key = Unit(int(row["unit"])), Quality(int(row["quality"])), key_of(row, fmt)
        self.order.append((int(unit), int(cause), *key, int(row["vc_count"]), octets))
        if cause:
            self.causes[cause.name.lower()] += 1
        if cause in OUTSIDE:
            self.outside += octets
        elif unit == Unit.PACKET:
            self.packets.setdefault(key, []).append(Packet(octets, int(row["vc_count"]), 0))
        elif unit == Unit.FRAME:
            self.units["refused" if cause else "opaque"] += 1
        elif cause:
            self.rejected[key] = self.rejected.get(key, b"") + octets
        else:
            assert not row["flags"] & ItemFlag.UNUSED_BITS
            self.bits[key] = self.bits.get(key, b"") + octets


def run(link: Link, cuts: Iterator[int], restart: float, rng: random.Random) -> tuple[Found, Counter[str]]:
    """Feed a new intake in pieces; after some of them it starts again from its durable state."""
    found, statistics = Found(), Counter[str]()
    data, at, time = b"".join(octets for octets, _ in link.parts), 0, 1
    settings = LinkFormat(1, link.fmt, 9)
    intake = make_intake(settings)

    def note() -> None:
        shown = intake.statistics()
        statistics.update({**shown["causes"], **{name: shown[name] for name in ("idle_octets", "padding_octets")}})

    while at < len(data):
        piece = data[at : at + next(cuts)]
        found.take(intake.feed(piece, time, EARTH * time), link.fmt)
        at, time = at + len(piece), time + 1
        if rng.random() < restart:
            note()
            state = json.loads(json.dumps(intake.state()))
            intake = make_intake(settings)
            intake.restore(state, lambda offset, octets: data[offset : offset + octets])
            at = state["source_offset"]
    found.take(intake.finish(1 << 40), link.fmt)
    note()
    return found, statistics


def forever(sizes: list[int]) -> Iterator[int]:
    yield from sizes
    while True:
        yield 1 << 20


@pytest.mark.parametrize("seed", range(SEEDS // 4))
def test_extraction_is_the_reference_however_it_is_cut(seed: int) -> None:
    """R6, R7: packets by MAP, bitstreams, kept octets, gaps, causes and order are the reference's for every cut."""
    rng = random.Random(seed)
    link = Link(rng)
    wanted = Reference(link.fmt, link.parts)
    by_part = [len(octets) for octets, _ in link.parts]
    anyhow = [rng.choice([1, 3, 17, 64, 300, 2000]) for _ in range(len(link.parts) * 20)]
    first: Found | None = None
    for name, cuts, restart in (
        ("whole", [], 0),
        ("by part", by_part, 0),
        ("anyhow", anyhow, 0),
        ("restarts", anyhow, 0.3),
    ):
        found, statistics = run(link, forever(cuts), restart, random.Random(seed))
        where = f"seed {seed}, {name}"
        for key, channel in wanted.channels.items():
            assert found.packets.pop(key, []) == [packet._replace(frame=0) for packet in channel.packets], (where, key)
            assert found.rejected.pop(key, b"") == channel.rejected, (where, key)
        assert not found.packets, where
        assert not found.rejected, where
        assert found.bits == wanted.bits, where
        assert found.outside == wanted.outside, where
        assert (found.units["refused"], found.units["opaque"]) == (wanted.refused, wanted.opaque), where
        assert sorted(found.missing) == sorted(wanted.missing), where
        for octets in ("idle_octets", "padding_octets"):
            assert statistics.pop(octets) == sum(getattr(c, octets) for c in wanted.channels.values()), where
        assert found.causes == found.counted == statistics, where
        first = first or found
        assert (found.order, found.causes) == (first.order, first.causes), where
