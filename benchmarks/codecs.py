"""How fast octets become items, beside the spacepackets package and a plain struct loop."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from spacepackets.ccsds import SpacePacketHeader
from spacepackets.ccsds.tm_frame import TmTransferFrame

from gateway_codecs.crc import crc16
from gateway_codecs.frames import FrameFormat, VcFormat, decode_frames
from gateway_codecs.intake import FrameIntake, LinkFormat
from gateway_simulators.space_link import Weather
from gateway_simulators.spacecraft import FRAME_OCTETS, SCID
from gateway_simulators.station import Pass, record

FRAMES = 6000
CHUNK = 1 << 18


def recording(folder: Path, frames: int = FRAMES) -> bytes:
    """Return the octets of a clean simulated pass."""
    target = folder / f"bench-{frames}.bin"
    record(Pass(1.0, float(frames), 1, weather=Weather(0.0, 0.0)), target, None)
    return target.read_bytes()


def best(work: Callable[[], object], times: int = 3) -> float:
    """Return the shortest of several runs, in seconds."""
    return min(_timed(work) for _ in range(times))


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def frame_format() -> FrameFormat:
    """Return the simulated spacecraft's format."""
    vcs = {0: VcFormat(), 1: VcFormat(), 3: VcFormat("opaque"), 7: VcFormat("idle")}
    return FrameFormat("tm", FRAME_OCTETS, {SCID: 1}, vcs, ocf="by_flag")


def intake(data: bytes, chunk: int) -> int:
    """Run an intake over a recording; returns the packets found."""
    made = FrameIntake(LinkFormat(1, frame_format(), 1))
    return sum(made.feed(data[at : at + chunk], 1).counters.get("packets", 0) for at in range(0, len(data), chunk))


def struct_loop(data: bytes) -> int:
    """Check and unpack each frame header and each packet header in it, one by one: no spanning, no items."""
    packets = 0
    for at in range(0, len(data), FRAME_OCTETS):
        frame = data[at : at + FRAME_OCTETS]
        if crc16(frame) != 0:
            continue
        _, _, _, status = struct.unpack_from(">HBBH", frame)
        pointer = status & 0x7FF
        if status & 0x4000 or pointer >= 0x7FE:
            continue
        place, end = 6 + pointer, FRAME_OCTETS - 6
        while place + 6 <= end:
            _, _, length = struct.unpack_from(">HHH", frame, place)
            packets += 1
            place += length + 7
    return packets


def spacepackets_headers(data: bytes) -> int:
    """The same loop with spacepackets' header class for each packet."""
    packets = 0
    for at in range(0, len(data), FRAME_OCTETS):
        frame = data[at : at + FRAME_OCTETS]
        if crc16(frame) != 0:
            continue
        status = int.from_bytes(frame[4:6], "big")
        pointer = status & 0x7FF
        if status & 0x4000 or pointer >= 0x7FE:
            continue
        place, end = 6 + pointer, FRAME_OCTETS - 6
        while place + 6 <= end:
            place += SpacePacketHeader.unpack(frame[place : place + 6]).data_len + 7
            packets += 1
    return packets


def spacepackets_frames(data: bytes) -> int:
    """Parse each frame with spacepackets' frame class (CRC included): no packets."""
    parsed = 0
    for at in range(0, len(data), FRAME_OCTETS):
        frame = TmTransferFrame.unpack(data[at : at + FRAME_OCTETS], FRAME_OCTETS, True)
        parsed += frame.primary_header.vc_frame_count >= 0
    return parsed


def frame_headers(data: bytes) -> int:
    """Our batch decoder alone: CRC, headers, service checks, one row per frame; no packets."""
    fmt = frame_format()
    octets = np.frombuffer(data, np.uint8)
    step = CHUNK // FRAME_OCTETS * FRAME_OCTETS
    return sum(len(decode_frames(octets[at : at + step], fmt, 1, at).rows) for at in range(0, len(data), step))


def measure(folder: Path) -> list[tuple[str, float, str]]:
    """Return rows (what, frames per second, note)."""
    data = recording(folder)
    rows = []
    for name, work in (
        ("intake, 256 KiB feeds", lambda: intake(data, CHUNK)),
        ("intake, one frame a feed", lambda: intake(data[: FRAME_OCTETS * 1000], FRAME_OCTETS)),
        ("struct loop, headers only", lambda: struct_loop(data)),
        ("spacepackets headers only", lambda: spacepackets_headers(data)),
        ("our frames, no packets", lambda: frame_headers(data)),
        ("spacepackets frames, no packets", lambda: spacepackets_frames(data)),
    ):
        frames = 1000 if "one frame" in name else FRAMES
        rows.append((name, frames / best(work), "TM frames/s with CRC, 1115 octets"))
    return rows
