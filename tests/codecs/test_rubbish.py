"""R6 against rubbish: lengths, pointers and counts that lie, between good units; everything is kept and counted."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_codecs import space_packet, tm_frame
from gateway_codecs.batches import Quality, Unit
from gateway_codecs.frames import FrameFormat, VcFormat
from gateway_codecs.intake import FrameIntake, LinkFormat
from gateway_codecs.packet_stream import make_intake
from gateway_codecs.packet_walk import walk_few, walk_lockstep
from tests.conftest import RUBBISH_UNITS

SIZE = 64
ZONE = SIZE - 6 - 2


def good_frame(count: int, marker: int) -> bytes:
    """A frame on VC1 that holds exactly one good packet and an idle packet, nothing open."""
    first = space_packet.encode(space_packet.SpacePacket(100, marker % 16384, marker.to_bytes(8, "big")))
    idle = space_packet.encode(space_packet.SpacePacket(2047, 0, bytes(ZONE - len(first) - 6)))
    return tm_frame.encode(tm_frame.TmFrame(42, 1, count % 256, count % 256, 0, first + idle), fecf=True)


def lying_frame(rng: random.Random, count: int) -> bytes:
    """A frame whose own check is good and whose contents lie."""
    zone = bytearray(rng.randbytes(ZONE))
    pointer = rng.choice([0, 1, ZONE - 1, ZONE, 0x7FD, 0x7FF, rng.randrange(2048)])
    if rng.random() < 0.5:
        start = min(pointer, ZONE - 1)
        head = (
            bytes([rng.choice([0, 8, 0xE0, 0xE1, 0xEF, 0x20, 0xFF])])
            + rng.randbytes(3)
            + rng.choice([b"\xff\xff", b"\0\0"])
        )
        zone[start : start + 6] = head[: ZONE - start]
    return tm_frame.encode(tm_frame.TmFrame(42, 1, count % 256, count % 256, pointer, bytes(zone)), fecf=True)


def bad_frame(rng: random.Random, count: int) -> tuple[bytes, str]:
    """A frame that its own checks refuse, and the cause."""
    kind = rng.randrange(4)
    if kind == 0:
        octets = bytearray(good_frame(count, count))
        octets[rng.randrange(SIZE)] ^= 1 << rng.randrange(8)
        return bytes(octets), "fecf"
    if kind == 1:
        return tm_frame.encode(tm_frame.TmFrame(99, 1, 0, 0, 0, rng.randbytes(ZONE)), fecf=True), "spacecraft"
    if kind == 2:
        return tm_frame.encode(tm_frame.TmFrame(42, 5, 0, 0, 0, rng.randbytes(ZONE)), fecf=True), "unknown_vc"
    return tm_frame.encode(
        tm_frame.TmFrame(42, 2, 0, 0, 0, rng.randbytes(ZONE), synchronisation_flag=True), fecf=True
    ), "service"


FORMAT = FrameFormat("tm", SIZE, {42: 1}, {1: VcFormat(max_packet_octets=4096), 2: VcFormat()}, unknown_vc="bad")


@pytest.mark.parametrize("seed", [1, 2])
def test_tm_rubbish_between_good_frames(seed: int) -> None:
    """R6: no exception, every bad frame counted by cause and kept, every good frame's packet comes out once."""
    rng = random.Random(seed)
    stream, causes, bad, markers, count = [], {}, [], [], 0
    for k in range(RUBBISH_UNITS):
        choice = rng.random()
        if choice < 0.4:
            octets, cause = bad_frame(rng, count)
            causes[cause] = causes.get(cause, 0) + 1
            bad.append(octets)
        elif choice < 0.7:
            octets = lying_frame(rng, count)
            count += 1
        else:
            octets = good_frame(count, k)
            markers.append(k)
            count += 1
        stream.append(octets)
    data = b"".join(stream)
    intake = FrameIntake(LinkFormat(1, FORMAT, 1))
    batches, at = [], 0
    while at < len(data):
        size = rng.choice([1, 63, 64, 65, 1000, 20_000])
        batches.append(intake.feed(data[at : at + size], 1))
        at += size
    batches.append(intake.finish(1))
    kept = [
        (
            int(b.items.items["unit"][k]),
            int(b.items.items["apid"][k]),
            int(b.items.items["quality"][k]),
            b.items.octets_of(k),
        )
        for b in batches
        for k in range(len(b.items))
    ]
    counted = intake.statistics()["causes"]
    assert {cause: counted.get(cause, 0) for cause in causes} == causes
    frames = [octets for unit, _, quality, octets in kept if unit == Unit.FRAME and quality != Quality.FHP_OUT_OF_RANGE]
    assert frames == bad
    found = [
        int.from_bytes(o[6:], "big")
        for unit, apid, _, o in kept
        if unit == Unit.PACKET and apid == 100 and len(o) == 14
    ]
    sent = set(markers)
    assert [m for m in found if m in sent] == markers
    totals = {}
    for unit, _, quality, _ in kept:
        if unit != Unit.PACKET:
            totals[Quality(quality).name.lower()] = totals.get(Quality(quality).name.lower(), 0) + 1
    assert totals == counted


@pytest.mark.parametrize("seed", [3, 4])
def test_packet_stream_rubbish(seed: int) -> None:
    """A packet stream with bad headers: no exception, no octet lost, whatever the chunks."""
    rng = random.Random(seed)
    parts = []
    for k in range(RUBBISH_UNITS):
        if rng.random() < 0.5:
            parts.append(
                space_packet.encode(space_packet.SpacePacket(rng.randrange(2047), k % 16384, rng.randbytes(20)))
            )
        else:
            parts.append(bytes([rng.choice([0x40, 0x60, 0x80, 0xFF])]) + rng.randbytes(rng.randrange(40)))
    data = b"".join(parts)
    results = []
    for chunk in (len(data), 1000, 17):
        intake = make_intake(LinkFormat(1, None, 1, VcFormat(packet_versions=frozenset({0}), max_packet_octets=2000)))
        batches = [intake.feed(data[at : at + chunk], 1) for at in range(0, len(data), chunk)] + [intake.finish(1)]
        results.append([b.items.octets_of(k) for b in batches for k in range(len(b.items))])
        assert b"".join(results[-1]) == data
    assert results[0] == results[1] == results[2]


@given(st.binary(min_size=1, max_size=300), st.data())
def test_the_two_walks_agree(zone: bytes, data: st.DataObject) -> None:
    """The lockstep walk and the one-by-one walk find the same packets, stops, faults and idle octets."""
    octets = np.frombuffer(zone, np.uint8)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(zone)), min_size=2, max_size=6)))
    if len(cuts) < 2:
        return
    start, end = np.array(cuts[:-1]), np.array(cuts[1:])
    versions = np.array([True, False, False, False, True, False, False, True])
    arguments = (octets, start, end, end, versions, 200)
    few, many = walk_few(*arguments), walk_lockstep(*arguments)
    assert few.offset.tolist() == many.offset.tolist()
    assert few.length.tolist() == many.length.tolist()
    assert few.stop.tolist() == many.stop.tolist()
    assert few.fault.tolist() == many.fault.tolist()
    assert few.idle_octets == many.idle_octets


@given(st.binary(max_size=2000), st.integers(1, 200))
def test_any_octets_at_all(data: bytes, chunk: int) -> None:
    """Octets of any kind raise nothing in any intake."""
    for intake in (FrameIntake(LinkFormat(1, FORMAT, 1)), make_intake(LinkFormat(1, None, 1))):
        for at in range(0, len(data), chunk):
            intake.feed(data[at : at + chunk], 1)
        intake.cut(1, "link cut")
        intake.finish(1)
        intake.statistics()
