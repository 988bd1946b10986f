"""R6 against rubbish: lengths, pointers and counts that lie, between good units; everything is kept and counted."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.journal.block import HEADER_OCTETS, BlockError, build_block, decode_block, read_header
from gateway_codecs import aos_frame, delivery_block, encapsulation_packet, space_packet, tm_frame
from gateway_codecs.batches import ItemBatch, Quality, Unit, no_frames, no_items
from gateway_codecs.cadus import CaduFormat
from gateway_codecs.crc import crc32c
from gateway_codecs.frames import FrameFormat, VcFormat
from gateway_codecs.intake import FrameIntake, LinkFormat
from gateway_codecs.packet_stream import make_intake
from gateway_codecs.packet_walk import walk_few, walk_lockstep
from gateway_codecs.randomiser import derandomise
from gateway_codecs.reed_solomon import ReedSolomon
from gateway_codecs.synchroniser import SyncSettings
from gateway_routes.selection import Selection
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


def _stream_part(rng: random.Random, count: int) -> tuple[bytes, list[bytes]]:
    """Rubbish that no packet can begin in, then a few packets whose octets hold no header either."""
    octets = 65_536 if rng.random() < 4 / RUBBISH_UNITS else rng.randrange(1, 40)
    rubbish = bytes([rng.choice([0x40, 0x60, 0x80, 0xFF])]) * octets
    run = []
    for k in range(rng.randrange(1, 4)):
        body = bytes(rng.randrange(0x40, 256) for _ in range(20))
        run.append(space_packet.encode(space_packet.SpacePacket(rng.randrange(2047), (count + k) % 16384, body)))
    return rubbish, run


@pytest.mark.parametrize("seed", [3, 4])
def test_packet_stream_rubbish(seed: int) -> None:
    """A packet stream with bad headers: no exception, no octet lost, whatever the chunks.

    Every packet that another one or the end follows comes out, and nothing else does.
    """
    rng = random.Random(seed)
    parts = [_stream_part(rng, k * 4) for k in range(RUBBISH_UNITS // 2)]
    last_rubbish, last_run = parts[-1]
    parts[-1] = (last_rubbish, last_run[:1])
    wanted = [packet for _, run in parts[:-1] for packet in run if len(run) > 1] + last_run[:1]
    data = b"".join(rubbish + b"".join(run) for rubbish, run in parts)
    results = []
    for chunk in (len(data), 1000, 17):
        intake = make_intake(LinkFormat(1, None, 1, VcFormat(packet_versions=frozenset({0}), max_packet_octets=2000)))
        batches = [intake.feed(data[at : at + chunk], 1) for at in range(0, len(data), chunk)] + [intake.finish(1)]
        kept = [(int(b.items.items["unit"][k]), b.items.octets_of(k)) for b in batches for k in range(len(b.items))]
        assert b"".join(octets for _, octets in kept) == data
        assert [octets for unit, octets in kept if unit == Unit.PACKET] == wanted
        results.append(kept)
    assert results[0] == results[1] == results[2]


AOS_FORMAT = FrameFormat(
    "aos", SIZE, {42: 1}, {1: VcFormat(max_packet_octets=4096), 2: VcFormat("idle")}, insert_zone_octets=3,
    ocf="present", unknown_vc="bad",
)  # fmt: skip
AOS_ZONE = SIZE - 6 - 3 - 2 - 4 - 2


def aos(count: int, pointer: int, zone: bytes, scid: int = 42, vcid: int = 1) -> bytes:
    frame = aos_frame.AosFrame(scid, vcid, count % (1 << 24), zone, pointer, b"IZ!", b"OCF!")
    return aos_frame.encode(frame, fecf=True)


@pytest.mark.parametrize("seed", [5, 6])
def test_aos_rubbish_between_good_frames(seed: int) -> None:
    """R6 for AOS with insert zone and OCF, encapsulation packets and idle octets among the good ones."""
    rng = random.Random(seed)
    stream, bad, bodies, count, causes = [], [], [], rng.randrange(1 << 24), {}
    for k in range(RUBBISH_UNITS):
        choice = rng.random()
        if choice < 0.3:
            octets = bytearray(aos(count, 0, rng.randbytes(AOS_ZONE), *rng.choice([(42, 1), (7, 1), (42, 5)])))
            cause = (
                "spacecraft"
                if octets[:2] == aos(0, 0, b"", 7, 1)[:2]
                else "unknown_vc"
                if octets[1] & 63 == 5
                else "fecf"
            )
            if cause == "fecf":
                octets[rng.randrange(SIZE)] ^= 1 << rng.randrange(8)
            causes[cause] = causes.get(cause, 0) + 1
            bad.append(bytes(octets))
            stream.append(bad[-1])
            continue
        count += 1
        if choice < 0.6:
            pointer = rng.choice([0, 1, AOS_ZONE - 1, 0x7FE, 0x7FF, rng.randrange(AOS_ZONE)])
            stream.append(
                aos(
                    count,
                    pointer,
                    rng.choice([b"\xe0", b"\xe3\xff", b"\x00", rng.randbytes(9)]).ljust(AOS_ZONE, b"\xff"),
                )
            )
            continue
        body = b"good" + k.to_bytes(6, "big")
        wrapped = encapsulation_packet.encode(encapsulation_packet.EncapsulationPacket(2, 1, body))
        bodies.append(body)
        stream.append(aos(count, 0, wrapped + b"\xe0" * (AOS_ZONE - len(wrapped))))
    data = b"".join(stream)
    intake = FrameIntake(LinkFormat(1, AOS_FORMAT, 1))
    batches, at = [], 0
    while at < len(data):
        size = rng.choice([1, 63, 64, 65, 1000, 20_000])
        batches.append(intake.feed(data[at : at + size], 1).items)
        at += size
    batches.append(intake.finish(1).items)
    kept = [(int(b.items["unit"][k]), b.octets_of(k)) for b in batches for k in range(len(b))]
    statistics = intake.statistics()
    assert [octets for unit, octets in kept if unit == Unit.FRAME] == bad
    assert {cause: statistics["causes"][cause] for cause in causes} == causes
    assert [o[2:] for unit, o in kept if unit == Unit.PACKET and o[2:6] == b"good"] == bodies


CADU_CODE = ReedSolomon(8, 1, "dual", 239 - SIZE)
CADU_FORMAT = CaduFormat(SyncSettings(CADU_CODE.codeblock_octets), "short", CADU_CODE)


def _cadu_bits(frame: bytes) -> np.ndarray:
    block = CADU_CODE.encode(np.frombuffer(frame, np.uint8)[None])
    return np.unpackbits(np.concatenate([CADU_FORMAT.sync.marker.octets, derandomise(block, "short")[0]]))


@pytest.mark.parametrize("seed", [9, 10])
def test_rubbish_in_and_between_cadus(seed: int) -> None:
    """R6 for CADUs: uncorrectable ones, frames that lie, garbage that holds markers, slips: no exception, all is kept.

    Good frames come in pairs of CADUs, so that each has a marker before and behind it: each one's packet comes out.
    """
    rng, numpy_rng = random.Random(seed), np.random.default_rng(seed)
    parts, bad, markers, count = list[np.ndarray](), 0, [], 0
    for k in range(RUBBISH_UNITS // 4):
        choice = rng.random()
        if choice < 0.15:
            garbage = numpy_rng.integers(0, 2, rng.randrange(1, 2000)).astype(np.uint8)
            at = rng.randrange(len(garbage))
            marker = np.unpackbits(CADU_FORMAT.sync.marker.octets) ^ np.uint8(rng.randrange(2))
            parts += [garbage[:at], marker, garbage[at:]] if rng.random() < 0.5 else [garbage]
        elif choice < 0.35:
            bits = _cadu_bits(good_frame(count, k))
            block = bits[32:].reshape(-1, 8)
            block[rng.sample(range(len(block)), 9), rng.randrange(8)] ^= 1
            parts.append(bits)
            bad += 1
        elif choice < 0.5:
            parts.append(_cadu_bits(lying_frame(rng, count)))
            count += 1
        else:
            markers.append(k)
            pair = [_cadu_bits(good_frame(count, k)), _cadu_bits(good_frame(count + 1, 16383))]
            count += 2
            parts += [bits ^ np.uint8(k % 2) for bits in pair]
    stream = np.concatenate(parts)
    data = np.packbits(stream).tobytes()
    intake = make_intake(LinkFormat(1, FORMAT, 1, cadus=CADU_FORMAT))
    batches, at = [], 0
    while at < len(data):
        size = rng.choice([1, 63, 1000, 20_000])
        batches.append(intake.feed(data[at : at + size], 1))
        at += size
    batches.append(intake.finish(1))
    kept = [(row, batch.items.octets_of(k)) for batch in batches for k, row in enumerate(batch.items.items)]
    found = [int.from_bytes(octets[6:], "big") for row, octets in kept if row["apid"] == 100 and len(octets) == 14]
    assert [marker for marker in found if marker in set(markers)] == markers
    totals: dict[str, int] = {}
    for row, _ in kept:
        if row["quality"]:
            name = Quality(int(row["quality"])).name.lower()
            totals[name] = totals.get(name, 0) + 1
    statistics = intake.statistics()
    assert totals == statistics["causes"]
    assert totals["reed_solomon"] >= bad // 2, "some stand alone between garbage and are no CADUs to anybody"
    frames = sum(len(batch.frames) for batch in batches)
    shared = sum(-t.bits for batch in batches for t in batch.transitions if t.what == "slip" and t.bits < 0)
    assert frames * CADU_FORMAT.sync.period_bits + statistics["sync"]["outside_bits"] - shared == 8 * len(data)


def _sealed_delivery(rng: random.Random) -> bytes:
    """A delivery block whose CRC is right and whose fields may lie."""
    count = rng.choice([0, 1, 2, 3, 1 << 31, rng.randrange(1 << 32)])
    rows = np.zeros(rng.randrange(4), delivery_block.ROW_DTYPE)
    rows["position"] = rng.choice([np.arange(len(rows)), -np.arange(len(rows)), 1 << 62])
    rows["length"] = [rng.choice([0, 1, 5, (1 << 32) - 1]) for _ in rows]
    body = rows.tobytes() + rng.randbytes(rng.randrange(12))
    first, upto = (rng.choice([-1, 0, 3, 1 << 62]) for _ in range(2))
    return delivery_block._sealed(rng.randrange(4), rng.randrange(256), rng.randrange(65536), count, first, upto, body)


def test_delivery_blocks_that_lie() -> None:
    """Counts, lengths, positions and kinds that lie behind a right CRC: refused, or consistent; good ones are read."""
    rng = random.Random(7)
    good = delivery_block.encode_mark(0, 5, 9, 3, bytes(32))
    for _ in range(RUBBISH_UNITS):
        data = _sealed_delivery(rng)
        try:
            block = delivery_block.decode(data)
        except delivery_block.DeliveryBlockError:
            assert delivery_block.decode(good).items == 3
            continue
        assert len(block.positions) == len(block.batch)
        assert int(block.batch.items["length"].astype(np.int64).sum()) == len(block.batch.octets)


def _resealed(data: bytearray) -> bytes:
    """Make a journal block's CRCs right again."""
    head_octets = min(int.from_bytes(data[56:60], "little"), len(data))
    data[HEADER_OCTETS - 8 : HEADER_OCTETS - 4] = crc32c(bytes(data[HEADER_OCTETS:head_octets])).to_bytes(4, "little")
    data[HEADER_OCTETS - 4 : HEADER_OCTETS] = crc32c(bytes(data[: HEADER_OCTETS - 4])).to_bytes(4, "little")
    return bytes(data)


def test_journal_blocks_that_lie() -> None:
    """A journal block's lengths, counts, widths and tags that lie behind right CRCs: BlockError, nothing else."""
    rng = random.Random(8)
    items = no_items(5)
    items["kind"], items["unit"], items["apid"] = 1, 1, [1, 2, 1, 2, 3]
    items["length"], items["offset"], items["vc_count"] = 4, np.arange(5) * 4, [9, 9, 10, 300, 70_000]
    batch = ItemBatch(np.arange(20, dtype=np.uint8), items)
    good = build_block(
        batch, no_frames(2), {"a": 1}, first_position=3, sequence=2, commit_time_ns=1, journal_id=b"j" * 16,
        revision=1, snapshot=False,
    )[1]  # fmt: skip
    head_octets, refused, taken = read_header(good).head_octets, 0, 0
    assert _resealed(bytearray(good)) == good
    for _ in range(RUBBISH_UNITS):
        changed = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(8, head_octets)
            size = rng.choice([1, 2, 4])
            changed[at : at + size] = rng.choice([b"\xff" * size, bytes(size), rng.randbytes(size)])[: head_octets - at]
        try:
            block = decode_block(_resealed(changed))
        except BlockError:
            refused += 1
            assert len(decode_block(good).items) == 5
            continue
        positions, chosen = block.select(Selection(kinds=None, bad_quality=True, idle=True), 0)
        assert positions.tolist() == [block.header.first_position + k for k in range(len(chosen))]
        assert (chosen["offset"] + chosen["length"] <= len(block.octets)).all()
        taken += 1
    assert refused > RUBBISH_UNITS // 4
    assert taken > RUBBISH_UNITS // 100, "the CRCs are right: some lies cannot be seen"


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
    cadus = make_intake(LinkFormat(1, FORMAT, 1, cadus=CADU_FORMAT))
    for intake in (FrameIntake(LinkFormat(1, FORMAT, 1)), make_intake(LinkFormat(1, None, 1)), cadus):
        for at in range(0, len(data), chunk):
            intake.feed(data[at : at + chunk], 1)
        intake.cut(1, "link cut")
        intake.finish(1)
        intake.statistics()
