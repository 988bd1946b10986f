"""Small links to test with: frames with a zone of 20 octets, packets that fill one or two of them, what comes out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gateway_codecs import aos_frame, space_packet, tm_frame
from gateway_codecs.batches import IntakeBatch, Quality, Unit
from gateway_codecs.frames import FrameFormat, VcFormat
from gateway_codecs.intake import FrameIntake, LinkFormat

SCID, VC, ZONE_OCTETS = 42, 1, 20
IDLE, NO_START, FAR = 0x7FE, 0x7FF, 500  # pointers: only idle data, no packet starts, beyond the zone


class Item(NamedTuple):
    """An item as the tests look at it."""

    unit: str
    quality: str
    octets: bytes


def packet(apid: int, count: int, octets: int = 34) -> bytes:
    """A packet with so many data octets: 14 fill one zone, 34 two."""
    return space_packet.encode(space_packet.SpacePacket(apid, count, bytes([65 + count % 26]) * octets))


def halves(whole: bytes) -> tuple[bytes, bytes]:
    """A packet of two zones, zone by zone."""
    return whole[:ZONE_OCTETS], whole[ZONE_OCTETS:]


def tm(count: int, pointer: int, zone: bytes = bytes(ZONE_OCTETS), vcid: int = VC, sync: bool = False) -> bytes:
    """A TM frame with FECF."""
    frame = tm_frame.TmFrame(SCID, vcid, count % 256, count % 256, pointer, zone, synchronisation_flag=sync)
    return tm_frame.encode(frame, fecf=True)


def aos(count: int, pointer: int, zone: bytes = bytes(ZONE_OCTETS), replay: bool = False) -> bytes:
    """An AOS frame with M_PDU and FECF."""
    return aos_frame.encode(aos_frame.AosFrame(SCID, VC, count, zone, pointer, replay_flag=replay), fecf=True)


def tm_intake(vc: VcFormat | None = None, **more: object) -> FrameIntake:
    """An intake of the TM frames."""
    settings = {
        "version": "tm",
        "frame_length_octets": ZONE_OCTETS + 8,
        "scids": {SCID: 1},
        "vcs": {VC: vc or VcFormat()},
    }
    return FrameIntake(LinkFormat(1, FrameFormat(**{**settings, **more}), 1))  # type: ignore[arg-type]


def aos_intake(vc: VcFormat | None = None) -> FrameIntake:
    """An intake of the AOS frames."""
    return tm_intake(vc, version="aos", frame_length_octets=ZONE_OCTETS + 10)


def items(batches: Iterable[IntakeBatch]) -> list[Item]:
    """The items of batches, in order."""
    return [
        Item(Unit(int(row["unit"])).name, Quality(int(row["quality"])).name, batch.items.octets_of(k))
        for batch in batches
        for k, row in enumerate(batch.items.items)
    ]


def packets(batches: Iterable[IntakeBatch]) -> list[bytes]:
    """The packets of batches, in order."""
    return [item.octets for item in items(batches) if item.unit == "PACKET"]


def in_pieces(intake: FrameIntake, frames: list[bytes], cuts: Iterable[int]) -> list[IntakeBatch]:
    """Feed so many frames at a time, then the rest, then the end; the receive time is the batch's number from 1."""
    batches: list[IntakeBatch] = []
    left = list(frames)
    for count in [*cuts, len(frames)]:
        piece, left = left[:count], left[count:]
        if piece:
            batches.append(intake.feed(b"".join(piece), len(batches) + 1, 1000 * (len(batches) + 1)))
    return [*batches, intake.finish(len(batches) + 1)]
