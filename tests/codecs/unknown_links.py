"""Recordings made from a seed: everything that a link may vary is drawn at random; what was drawn is the truth."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from gateway_codecs import aos_frame, space_packet, tm_frame
from gateway_codecs.batches import U8Array
from gateway_codecs.randomiser import RandomiserKind, derandomise
from gateway_codecs.reed_solomon import ReedSolomon

MARKER = bytes.fromhex("1ACFFC1D")


@dataclass(frozen=True, slots=True)
class Truth:
    """What a recording was made with; `packets` by virtual channel, whole ones only."""

    version: Literal["tm", "aos"]
    scid: int
    frame_length_octets: int
    fecf: bool
    ocf: bool
    insert_zone_octets: int
    secondary_header: int
    randomiser: RandomiserKind
    reed_solomon: ReedSolomon | None
    marker: bool
    shift_bits: int
    inverted: bool
    frames: int
    packets: dict[int, list[bytes]] = field(compare=False)

    @property
    def coded(self) -> bool:
        """Whether a link must take something off before there are frames."""
        return self.marker or self.randomiser != "none" or self.reed_solomon is not None


@dataclass(slots=True)
class _Channel:
    apids: list[int]
    count: int
    rest: bytes = b""
    begun: list[bytes] = field(default_factory=list)
    sequence: dict[int, int] = field(default_factory=dict)


def draw(seed: int, frames: int = 90) -> Truth:
    """Draw the settings of a recording."""
    rng = random.Random(seed)
    version: Literal["tm", "aos"] = rng.choice(("tm", "aos"))
    coded = rng.random() < 0.6
    code = None
    if coded:
        e, interleave = rng.choice((16, 8)), rng.choice((1, 2, 3, 4, 5, 8))
        fill = rng.choice((0, 0, rng.randrange(1, 100)))
        code = ReedSolomon(e, interleave, rng.choice(("dual", "conventional")), fill)  # type: ignore[arg-type]
    return Truth(
        version=version,
        scid=rng.randrange(1, 1024 if version == "tm" else 256),
        frame_length_octets=rng.randrange(120, 1200) if code is None else code.frame_octets,
        fecf=rng.random() < 0.5,
        ocf=rng.random() < 0.5,
        insert_zone_octets=rng.choice((0, 0, rng.randrange(1, 17))) if version == "aos" else 0,
        secondary_header=rng.choice((0, 0, rng.randrange(1, 12))) if version == "tm" else 0,
        randomiser=rng.choice(("none", "short", "long")),
        reed_solomon=code,
        marker=rng.random() < 0.6,
        shift_bits=rng.choice((0, 0, rng.randrange(1, 8))),
        inverted=rng.random() < 0.3,
        frames=frames,
        packets={},
    )


def make(truth: Truth, seed: int, bit_errors: float = 1e-4) -> bytes:
    """Return the recording, and put the packets that lie in it into `truth.packets`."""
    rng = random.Random(seed + 1_000_003)
    rows = np.frombuffer(b"".join(_frames(truth, rng)), np.uint8).reshape(truth.frames, -1)
    blocks = rows if truth.reed_solomon is None else truth.reed_solomon.encode(rows)
    blocks = derandomise(np.ascontiguousarray(blocks), truth.randomiser)
    octets = b"".join((MARKER if truth.marker else b"") + block.tobytes() for block in blocks)
    bits = np.unpackbits(np.frombuffer(octets, np.uint8))
    bits = np.concatenate([np.array([rng.randrange(2) for _ in range(truth.shift_bits)], np.uint8), bits])
    flips = np.random.default_rng(seed).random(len(bits)) < bit_errors
    bits = bits ^ flips ^ np.uint8(truth.inverted)
    padding = np.zeros(-len(bits) % 8, np.uint8)
    return np.packbits(np.concatenate([bits, padding])).tobytes()


def _frames(truth: Truth, rng: random.Random) -> list[bytes]:
    vcids = rng.sample(range(7 if truth.version == "tm" else 62), rng.choice((1, 2, 3)))
    modulus = 256 if truth.version == "tm" else 1 << 24
    channels = {
        vcid: _Channel(rng.sample(range(2047), rng.choice((1, 2, 4))), rng.randrange(modulus)) for vcid in vcids
    }
    idle, idle_count, mc_count = 7 if truth.version == "tm" else 63, rng.randrange(modulus), rng.randrange(256)
    made, weights = [], [1 + rng.randrange(3) for _ in vcids]
    for number in range(truth.frames):
        mc_count = (mc_count + 1) % 256
        if rng.random() < 0.15:
            idle_count = (idle_count + 1) % modulus
            made.append(_frame(truth, rng, idle, idle_count, mc_count, 0x7FE, bytes(_zone(truth)), number))
            continue
        vcid = rng.choices(vcids, weights)[0]
        channel = channels[vcid]
        channel.count = (channel.count + 1) % modulus
        pointer, zone = _fill(truth, rng, vcid, channel)
        made.append(_frame(truth, rng, vcid, channel.count, mc_count, pointer, zone, number))
    return made


def _zone(truth: Truth) -> int:
    beside = 6 + truth.insert_zone_octets + truth.secondary_header + 4 * truth.ocf + 2 * truth.fecf
    return truth.frame_length_octets - beside - 2 * (truth.version == "aos")


def _fill(truth: Truth, rng: random.Random, vcid: int, channel: _Channel) -> tuple[int, bytes]:
    """Return the pointer and the next zone of a channel."""
    size = _zone(truth)
    pointer = len(channel.rest) if len(channel.rest) < size else 0x7FF
    while len(channel.rest) < size:
        if channel.begun:
            truth.packets.setdefault(vcid, []).append(channel.begun.pop())
        apid = rng.choice(channel.apids)
        channel.sequence[apid] = (channel.sequence.get(apid, rng.randrange(16384)) + 1) % 16384
        data = rng.randbytes(rng.randrange(8, 400))
        packet = space_packet.encode(space_packet.SpacePacket(apid, channel.sequence[apid], data))
        channel.begun.append(packet)
        channel.rest += packet
    zone, channel.rest = channel.rest[:size], channel.rest[size:]
    if not channel.rest:
        truth.packets.setdefault(vcid, []).append(channel.begun.pop())
    return pointer, zone


def _frame(
    truth: Truth, rng: random.Random, vcid: int, count: int, mc_count: int, pointer: int, zone: bytes, number: int
) -> bytes:
    ocf = bytes([1, rng.randrange(64) << 2, rng.choice((0, 8)), number % 256]) if truth.ocf else None
    if truth.version == "tm":
        secondary = rng.randbytes(truth.secondary_header - 1) if truth.secondary_header else None
        return tm_frame.encode(
            tm_frame.TmFrame(truth.scid, vcid, mc_count, count, pointer, zone, secondary, ocf), truth.fecf
        )
    insert = number.to_bytes(4, "big")[-truth.insert_zone_octets :] if truth.insert_zone_octets else b""
    insert = insert.rjust(truth.insert_zone_octets, b"\x5a")
    return aos_frame.encode(aos_frame.AosFrame(truth.scid, vcid, count, zone, pointer, insert, ocf), truth.fecf)


def as_octets(data: bytes) -> U8Array:
    """The octets, uint8 (n,)."""
    return np.frombuffer(data, np.uint8)
