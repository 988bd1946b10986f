"""Runs a few frames through the whole way in memory: numpy's first use would delay the first real frame."""

from __future__ import annotations

from gateway.journal.block import build_block, decode_block
from gateway_codecs.delivery_block import decode, encode_data
from gateway_codecs.frames import FrameFormat, VcFormat
from gateway_codecs.intake import FrameIntake, LinkFormat
from gateway_codecs.space_packet import SpacePacket
from gateway_codecs.space_packet import encode as encode_packet
from gateway_codecs.tm_frame import TmFrame
from gateway_codecs.tm_frame import encode as encode_frame
from gateway_routes.selection import Selection

FRAMES = 8


def warm_up() -> None:
    """Decode, extract, journal, select and encode a few frames (measured: 40 ms the first time, 1 ms afterwards)."""
    zone = b"".join(encode_packet(SpacePacket(apid, 0, bytes(13))) for apid in (1, 2, 2047))
    octets = b"".join(
        encode_frame(TmFrame(1, vcid, k, k, 0, zone, ocf=bytes(4)), fecf=True)
        for k in range(FRAMES)
        for vcid in (0, 1, 2)
    )
    vcs = {0: VcFormat(), 1: VcFormat("opaque"), 2: VcFormat("idle")}
    fmt = FrameFormat("tm", len(octets) // FRAMES // 3, {1: 1}, vcs, ocf="by_flag")
    intake = FrameIntake(LinkFormat(1, fmt, 1))
    for part in (octets[: len(octets) // 3], octets[len(octets) // 3 :]):
        batch = intake.feed(part, 0)
        block, data = build_block(
            batch.items, batch.frames, batch.state, first_position=0, sequence=0, commit_time_ns=0,
            journal_id=bytes(16), revision=1, snapshot=True,
        )  # fmt: skip
        decode_block(data)
        positions, items = block.select(Selection(), 0)
        decode(encode_data(0, 0, len(batch.items), positions[:0], type(batch.items)(block.octets[:0], items[:0])))
    intake.finish(0)
