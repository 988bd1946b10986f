"""R6: every octet that an intake takes ends exactly once: in a packet, idle, padding, or a kept item; cuts too."""

from __future__ import annotations

import random
from typing import Any

import pytest

from gateway_codecs import aos_frame, tm_frame
from gateway_codecs.batches import IntakeBatch, Quality, Unit
from gateway_codecs.frames import FrameFormat, VcFormat
from gateway_codecs.intake import FrameIntake, LinkFormat
from gateway_codecs.packet_stream import PacketIntake
from tests.codecs.links import packet
from tests.conftest import SEEDS

SCID = 42


def some_zone(rng: random.Random, size: int) -> bytes:
    """Packets, rubbish, encapsulation packets, idle octets."""
    out = bytearray()
    while len(out) < size:
        how = rng.random()
        if how < 0.5:
            out += packet(rng.choice([1, 2, 2047]), rng.randrange(16384), rng.choice([1, 3, 9, 30]))
        elif how < 0.65:
            out += b"\xe0" * rng.randrange(1, 5)
        elif how < 0.8:
            n = rng.randrange(2, 12)
            out += bytes([0xE1 | rng.choice([0, 4, 8]), n]) + rng.randbytes(n - 2)
        elif how < 0.9:
            out += bytes([rng.choice([0xE0, 0xE4, 0xE2, 0xE3, 0xE1])])
        else:
            out += rng.randbytes(rng.randrange(1, 10))
    return bytes(out[:size])


def run(intake: Any, script: list[tuple[str, Any]]) -> list[IntakeBatch]:
    batches = []
    for k, (what, data) in enumerate(script):
        if what == "feed":
            batches.append(intake.feed(data, k + 1))
        elif what == "cut":
            batches.append(intake.cut(k + 1, "link cut"))
        else:
            batches.append(intake.give_up(k + 1))
    batches.append(intake.finish(10_000))
    return batches


def rows(batches: list[IntakeBatch]) -> list[tuple[int, int, int, bytes]]:
    return [
        (int(r["unit"]), int(r["quality"]), int(r["vcid"]), b.items.octets_of(k))
        for b in batches
        for k, r in enumerate(b.items.items)
    ]


def split(script: list[tuple[str, Any]], rng: random.Random) -> list[tuple[str, Any]]:
    out = []
    for what, data in script:
        rest = data
        while what == "feed" and len(rest) > 1 and rng.random() < 0.8:
            at = rng.randrange(1, len(rest))
            out.append((what, rest[:at]))
            rest = rest[at:]
        out.append((what, rest))
    return out


def counted(intake: Any, batches: list[IntakeBatch], found: list[tuple[int, int, int, bytes]]) -> None:
    kept: dict[str, int] = {}
    for _, quality, _, _ in found:
        if quality:
            name = Quality(quality).name.lower()
            kept[name] = kept.get(name, 0) + 1
    counters: dict[str, int] = {}
    for b in batches:
        for name, n in b.counters.items():
            if name.startswith("rejected_") and n:
                counters[name[9:]] = counters.get(name[9:], 0) + n
    assert counters == kept
    assert intake.statistics()["causes"] == kept
    assert sum(b.counters.get("packets", 0) for b in batches) == sum(u == Unit.PACKET for u, *_ in found)


@pytest.mark.parametrize("seed", range(SEEDS // 4))
def test_frames(seed: int) -> None:
    """R6: frames that lie and packets that lie: all octets once, counters are what is kept, batches do not matter."""
    rng = random.Random(seed)
    aos = rng.random() < 0.5
    size = rng.choice([8, 20, 61])
    version: Any = "aos" if aos else "tm"
    vcs = {
        0: VcFormat(), 1: VcFormat(counting="none", max_packet_octets=30),
        2: VcFormat(packet_zone_padding=True), 3: VcFormat(packet_start=rng.choice([0, 3])), 4: VcFormat("idle"),
        5: VcFormat("opaque"), 6: VcFormat(packet_versions=frozenset({0})),
    }  # fmt: skip
    unknown: Any = rng.choice(["opaque", "bad"])
    pre, suf = rng.choice([0, 0, 3]), rng.choice([0, 0, 2])
    length = size + (10 if aos else 8)
    fmt = FrameFormat(version, length, {SCID: 1}, vcs, unknown_vc=unknown, prefix_octets=pre, suffix_octets=suf)
    counts: dict[int, int] = {}
    script: list[tuple[str, Any]] = []
    for _ in range(rng.randrange(1, 25)):
        chunk = bytearray()
        for _ in range(rng.randrange(1, 12)):
            vcid = rng.choice([0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 6, 7])
            step = rng.choice([1] * 12 + [0, 2, 5, 255])
            counts[vcid] = count = (counts.get(vcid, 0) + step) % 256
            fhp = rng.choice([0x7FF, 0x7FE, 0, rng.randrange(size), rng.randrange(size), rng.randrange(size + 5)])
            zone = some_zone(rng, size)
            if aos:
                frame = aos_frame.encode(
                    aos_frame.AosFrame(SCID, vcid, count, zone, fhp, replay_flag=rng.random() < 0.1), fecf=True
                )
            else:
                frame = tm_frame.encode(
                    tm_frame.TmFrame(SCID, vcid, count, count, fhp, zone, synchronisation_flag=rng.random() < 0.03),
                    fecf=True,
                )
            if rng.random() < 0.05:
                frame = frame[:-1] + bytes([frame[-1] ^ 1])
            chunk += rng.randbytes(pre) + frame + rng.randbytes(suf)
        if rng.random() < 0.15:
            del chunk[rng.randrange(1, len(chunk) + 1) :]
        script.append(("feed", bytes(chunk)))
        if rng.random() < 0.3 or len(chunk) % (pre + length + suf):
            script.append(("cut", None))
            if rng.random() < 0.3:
                script.append(("give_up", None))
    intake = FrameIntake(LinkFormat(1, fmt, 1))
    whole = rows(batches := run(intake, script))
    counted(intake, batches, whole)
    stats = intake.statistics()
    unit = pre + length + suf
    fed = sum(len(d) for w, d in script if w == "feed")
    frames = sum(len(b.frames) for b in batches)
    stray = sum(len(o) for u, q, v, o in whole if q == Quality.LENGTH)
    assert frames * unit + stray == fed
    zones = 0
    for b in batches:
        for f in b.frames:
            good = f["quality"] == 0 and not f["flags"] & 0x18
            zones += size * bool(good)
            if good and aos and int(f["vcid"]) == 3:
                zones += 2
    taken = sum(len(o) for u, q, v, o in whole if u != Unit.FRAME and q != Quality.LENGTH)
    assert taken + stats["idle_octets"] + stats["padding_octets"] == zones
    other = FrameIntake(LinkFormat(1, fmt, 1))
    pieces = rows(batches := run(other, split(script, rng)))
    counted(other, batches, pieces)

    def by_channel(found: list[Any]) -> dict[Any, Any]:
        out: dict[Any, Any] = {}
        for u, q, v, o in found:
            out.setdefault((v, u == Unit.FRAME), []).append((u, q, o))
        return out

    assert by_channel(pieces) == by_channel(whole)
    assert pieces == whole
    again, end = other.statistics(), stats
    assert again == end


@pytest.mark.parametrize("seed", range(SEEDS // 4))
def test_packets(seed: int) -> None:
    """R6: packets and rubbish with cuts: all octets once, counters are what is kept, batches do not matter."""
    rng = random.Random(seed)
    prefix = rng.choice([0, 0, 2])
    settings = LinkFormat(1, None, 1, VcFormat(max_packet_octets=rng.choice([40, 65542])), prefix)
    script: list[tuple[str, Any]] = []
    for _ in range(rng.randrange(1, 15)):
        out = bytearray()
        for _ in range(rng.randrange(1, 10)):
            how = rng.random()
            if how < 0.7:
                out += rng.randbytes(prefix) + packet(
                    rng.choice([1, 2, 2047]), rng.randrange(16384), rng.choice([1, 3, 30])
                )
            elif how < 0.8:
                out += rng.randbytes(prefix) + b"\xe0"
            else:
                out += rng.randbytes(rng.randrange(1, 20))
        if rng.random() < 0.3:
            del out[rng.randrange(1, len(out) + 1) :]
        script.append(("feed", bytes(out)))
        if rng.random() < 0.4:
            script.append((rng.choice(["cut", "cut", "give_up"]), None))
    intake = PacketIntake(settings)
    whole = rows(batches := run(intake, script))
    counted(intake, batches, whole)
    idle = intake.statistics()["idle_octets"]
    good = sum(u == Unit.PACKET for u, *_ in whole)
    fed = sum(len(d) for w, d in script if w == "feed")
    assert sum(len(o) for *_, o in whole) + idle + prefix * (idle + good) == fed
    other = PacketIntake(settings)
    pieces = rows(batches := run(other, split(script, rng)))
    counted(other, batches, pieces)
    assert pieces == whole
