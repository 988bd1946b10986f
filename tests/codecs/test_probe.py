"""The probe finds from the octets alone what a recording holds, says what they do not decide, and invents nothing."""

from __future__ import annotations

import os
import random
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway_codecs import aos_frame, space_packet, uslp_frame
from gateway_codecs.crc import crc16
from gateway_codecs.header_error_control import protect
from gateway_codecs.probe import Layout, Report, probe
from gateway_codecs.randomiser import derandomise
from gateway_codecs.reed_solomon import ReedSolomon
from tests.codecs.unknown_links import MARKER, Truth, draw, make
from tests.conftest import SEEDS, SHARED

DATA = SHARED / "data"
needs_recordings = pytest.mark.skipif(not DATA.exists(), reason="the shared recordings are not beside the checkout")
SOAK = bool(os.environ.get("GATEWAY_SOAK"))
LINKS = SEEDS if SOAK else 12
RUBBISH = SEEDS if SOAK else 1
FRAMES: dict[str, dict[str, Any]] = {
    "frames/hera_tm_1113_lowrate.bin": {
        "frame": ("tm", 1113, False, "by_flag", 0, 1),
        "scid": 181,
        "vcs": {1: "packets", 7: "idle"},
    },
    "frames/dart_tm_1113_sechdr.bin": {
        "frame": ("tm", 1113, False, "by_flag", 0, 1),
        "scid": 318,
        "vcs": {0: "idle", 7: "packets"},
        "undecided": "VC7 sequence counts",
    },
    "frames/integral_tm_890.bin": {
        "frame": ("tm", 890, False, "by_flag", 0, 1),
        "scid": 121,
        "vcs": {0: "packets", 7: "packets"},
    },
    "frames/lucy_aos_1113.bin": {
        "frame": ("aos", 1113, False, "absent", 0, 1),
        "scid": 49,
        "vcs": {0: "packets", 63: "idle"},
    },
    "frames/emm_hope_aos_223_crc.bin": {
        "frame": ("aos", 223, True, "absent", 13, 1),
        "scid": 242,
        "vcs": {0: "packets", 62: "opaque"},
        "undecided": "VC62",
    },
    "frames/change5_aos_220_insert8.bin": {
        "frame": ("aos", 220, False, "absent", 8, 1),
        "scid": 91,
        "vcs": {1: "packets", 2: "packets"},
        "undecided": "VC2 counting",
    },
    "frames/equuleus_aos_444_ocf.bin": {
        "frame": ("aos", 444, False, "present", 0, 1),
        "scid": 80,
        "vcs": {1: "packets", 63: "idle"},
        "undecided": "other spacecraft ids",
    },
    "frames/queqiao2_aos_220.bin": {
        "frame": ("aos", 220, False, "absent", 8, 1),
        "scid": 179,
        "vcs": {0: "packets"},
    },
    "frames/bgm1_tm_892_crc_interleaved.bin": {
        "frame": ("tm", 892, True, "by_flag", 0, 4),
        "scid": 4,
        "vcs": {2: "opaque", 7: "opaque"},
        "undecided": "VC7",
    },
    "cadu/snpp_synchronized_cadus.dat": {
        "frame": ("aos", 892, False, "absent", 0, 1),
        "scid": 157,
        "vcs": {16: "packets"},
        "coding": ("1acffc1d", "short", (16, 4, "dual", 0)),
    },
    "cadu/bluewalker3_bits_packed.bin": {
        "frame": ("tm", 290, False, "absent", 0, 1),
        "scid": 0,
        "vcs": {0: "opaque"},
        "coding": ("1acffc1d", "short", (16, 2, "dual", 78)),
        "undecided": "frame type",
    },
    "cadu/bluewalker3_bits_with_asm.u8": {
        "frame": ("tm", 290, False, "absent", 0, 1),
        "scid": 0,
        "vcs": {0: "opaque"},
        "coding": ("1acffc1d", "short", (16, 2, "dual", 78)),
        "undecided": "FECF, OCF, services",
    },
}
PACKETS = {
    "packets/jpss1_J01_G011_2021-04-09.dat": (7200, 0),
    "packets/idex_sciData_2023_052_14_45_05.bin": (78, 0),
    "packets/suda_sciData_2022_130_17_41_53.spl": (13, 4),
    "packets/packets_only/europa_clipper_ecm_raw2.bin": (1030, 0),
    "packets/byte_order/byteorder_1234.bin": (10, 0),
    "packets/ccsdspy_hs/apid035.tlm": (7200, 0),
}


def of_file(name: str) -> Report:
    return probe((DATA / name).read_bytes())


def frame_of(layout: Layout) -> tuple[Any, ...]:
    fmt = layout.frames
    assert fmt is not None
    return (
        fmt.version, fmt.frame_length_octets, fmt.fecf, fmt.ocf, fmt.insert_zone_octets, fmt.octet_interleave,
    )  # fmt: skip


def coding_of(layout: Layout) -> tuple[Any, ...] | None:
    coding = layout.coding
    if coding is None:
        return None
    code = coding.reed_solomon
    settings = None if code is None else (code.e, code.interleave, code.basis, code.virtual_fill_octets)
    return coding.marker.hex(), coding.randomiser, settings


def test_every_recording_is_here() -> None:
    """No recording of frames or CADUs is left out."""
    here = {f"{kind}/{path.name}" for kind in ("frames", "cadu") for path in (DATA / kind).glob("*[!n]")}
    assert {name for name in here if not name.endswith(".json")} <= set(FRAMES)


@needs_recordings
@pytest.mark.parametrize("name", FRAMES)
def test_real_recordings(name: str) -> None:
    """Marker, code, randomiser, frames and services of each real recording are found, and what is open is said."""
    report, wanted = of_file(name), FRAMES[name]
    layout = report.layout
    assert layout is not None
    assert layout.frames is not None
    assert report.kind == ("cadus" if "coding" in wanted else "frames")
    assert frame_of(layout) == wanted["frame"]
    assert layout.scids == (wanted["scid"],)
    assert {vcid: vc.service for vcid, vc in layout.frames.vcs.items()} == wanted["vcs"]
    assert coding_of(layout) == wanted.get("coding")
    assert layout.playable_as_it_is
    assert wanted.get("undecided", "") in {"", *(row.item for row in report.undecided)}
    assert all(row.why for row in report.undecided)
    assert all(0 <= row.agreed <= row.tested and row.how for row in report.findings)


@needs_recordings
@pytest.mark.parametrize("name", PACKETS)
def test_files_of_packets(name: str) -> None:
    """Packets back to back are told from frames, with what stands before each of them."""
    report, (count, prefix) = of_file(name), PACKETS[name]
    assert report.kind == "packets"
    assert report.layout is not None
    assert report.layout.packet_prefix_octets == prefix
    assert report.findings[0].agreed == count


@needs_recordings
def test_other_storage() -> None:
    """Text dumps, KISS files and frames behind a header of their own are read for what they are."""
    kiss = of_file("kiss/by02.kiss")
    assert (kiss.kind, kiss.layout and kiss.layout.storage) == ("container", "kiss")
    dump = of_file("vectors/dumps/dumpFile_aos_1.hex")
    assert dump.layout is not None
    assert dump.layout.storage == "hex"
    assert coding_of(dump.layout) == ("1acffc1d", "none", (16, 4, "dual", 0))
    behind = of_file("vectors/nctrs/TMframes3.bin").layout
    assert behind is not None
    assert behind.frames is not None
    assert (behind.frames.prefix_octets, behind.frames.frame_length_octets, behind.frames.fecf) == (20, 1115, True)


def expected_layout(truth: Truth) -> tuple[Any, ...]:
    ocf = "by_flag" if truth.version == "tm" else "present" if truth.ocf else "absent"
    return truth.version, truth.frame_length_octets, truth.fecf, ocf, truth.insert_zone_octets, 1


def settings_of(code: ReedSolomon | None) -> tuple[Any, ...] | None:
    return None if code is None else (code.e, code.interleave, code.basis, code.virtual_fill_octets)


@pytest.mark.parametrize("seed", range(LINKS))
def test_links_from_seeds(seed: int) -> None:
    """Whatever marker, shift, polarity, randomiser, code, frame and fields are drawn, and with bit errors of 1e-4,
    the probe finds all of them, and the channels that carry packets."""
    truth = draw(seed)
    data = make(truth, seed)
    layout = probe(data).layout
    assert layout is not None
    assert layout.frames is not None
    assert frame_of(layout) == expected_layout(truth)
    assert layout.scids == (truth.scid,)
    if truth.coded:
        marker = "1acffc1d" if truth.marker else ""
        assert coding_of(layout) == (marker, truth.randomiser, settings_of(truth.reed_solomon))
    else:
        assert layout.coding is None
    if not truth.marker:
        assert (layout.skip_bits, layout.inverted) == (truth.shift_bits, truth.inverted)
    for vcid, packets in truth.packets.items():
        if len(packets) > 3:
            assert layout.frames.vcs[vcid].service == "packets"


def test_packets_at_a_fixed_place() -> None:
    """A channel without pointers whose frames each hold a packet at the same octet is seen to do so."""
    truth = Truth("aos", 99, 100, True, False, 0, 0, "none", None, False, 0, False, 60, {})
    rng = random.Random(5)
    frames = []
    for count in range(60):
        packet = bytes([0x08, 0x42, 0xC0, count, 0, 40]) + rng.randbytes(41)
        zone = b"\xff\xff\xff" + packet + bytes([0xFF]) * (100 - 8 - 3 - len(packet))
        frames.append(fixed_frame(truth, count, zone))
    layout = probe(b"".join(frames)).layout
    assert layout is not None
    assert layout.frames is not None
    vc = layout.frames.vcs[5]
    assert (vc.service, vc.packet_start, vc.packet_zone_padding) == ("packets", 3, True)


def fixed_frame(truth: Truth, count: int, zone: bytes) -> bytes:
    return aos_frame.encode(aos_frame.AosFrame(truth.scid, 5, count, zone), fecf=True)


def uslp_frames(seed: int, varying: bool) -> tuple[dict[str, Any], list[bytes]]:
    """Frames of two channels: packets over frames of one length (or whole ones in frames of several), idle data."""
    rng = random.Random(seed)
    truth = {"fecf": rng.choice((False, True, "crc32")), "ocf": rng.random() < 0.5, "insert": rng.choice((0, 5)),
             "scid": rng.randrange(1 << 16), "width": rng.choice((1, 3))}  # fmt: skip
    stream, starts = b"", []
    for k in range(300):
        starts.append(len(stream))
        stream += space_packet.encode(space_packet.SpacePacket(77, k, rng.randbytes(rng.randrange(9, 90))))
    frames, at, counts = [], 0, {4: 250, 63: 0}
    for number in range(60):
        vcid = 63 if number % 7 == 3 else 4
        size = 150
        data, pointer, protocol, rule = bytes(size), 0xFFFF, 31, 0
        if vcid == 4 and varying:
            first = number % 20
            data, pointer, protocol, rule = stream[starts[first * 9] : starts[first * 9 + 5]], None, 0, 7
        elif vcid == 4:
            pointer = next((start - at for start in starts if start >= at), 0xFFFF)
            data, protocol = stream[at : at + size], 0
            pointer, at = pointer if pointer < size else 0xFFFF, at + size
        counts[vcid] = (counts[vcid] + 1) % 256 ** truth["width"]
        frame = uslp_frame.UslpFrame(
            truth["scid"], vcid, 2 if vcid == 4 else 0, data, rule, protocol, pointer, counts[vcid], truth["width"],
            insert_zone=bytes([0xA5, 1, 2, 3, number])[: truth["insert"]],
            ocf=bytes([1, 0, 0, number]) if truth["ocf"] else None,
        )  # fmt: skip
        frames.append(uslp_frame.encode(frame, truth["fecf"]))
    return truth, frames


@pytest.mark.parametrize("varying", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_uslp_frames(seed: int, varying: bool) -> None:
    """USLP frames, of one length or several, with either error control field: fields and services are found."""
    truth, frames = uslp_frames(seed, varying)
    layout = probe(b"".join(frames)).layout
    assert layout is not None
    fmt = layout.frames
    assert fmt is not None
    assert (fmt.version, fmt.variable_length, fmt.fecf) == ("uslp", varying, truth["fecf"])
    assert (fmt.insert_zone_octets, layout.scids) == (truth["insert"], (truth["scid"],))
    assert {vcid: vc.service for vcid, vc in fmt.vcs.items()} == {4: "packets", 63: "idle"}


@pytest.mark.parametrize("seed", range(3))
def test_uslp_frames_in_cadus(seed: int) -> None:
    """USLP frames behind markers, coded and randomised."""
    truth, frames = uslp_frames(seed, varying=False)
    code = ReedSolomon(16, 1, "conventional", 223 - len(frames[0]))
    rows = np.frombuffer(b"".join(frames), np.uint8).reshape(len(frames), -1)
    blocks = derandomise(code.encode(rows), "long")
    layout = probe(b"".join(MARKER + block.tobytes() for block in blocks)).layout
    assert layout is not None
    assert layout.frames is not None
    assert coding_of(layout) == ("1acffc1d", "long", settings_of(code))
    assert (layout.frames.version, layout.frames.fecf) == ("uslp", truth["fecf"])
    assert {vcid: vc.service for vcid, vc in layout.frames.vcs.items()} == {4: "packets", 63: "idle"}


def test_header_error_control_and_bitstreams() -> None:
    """AOS headers with their own check, a channel of B_PDUs, most of them full, beside one of packets."""
    rng, frames = random.Random(8), []
    for number in range(80):
        vcid, count = (9, number // 2) if number % 2 else (3, number // 2)
        full = number % 11
        data = (b"\x3f\xff" if full else b"\x01\x2b") + rng.randbytes(120)
        if vcid == 3:
            packet = space_packet.encode(space_packet.SpacePacket(5, count, rng.randbytes(120 - 6)))
            data = b"\x00\x00" + packet
        head = np.frombuffer(aos_frame.encode(aos_frame.AosFrame(200, vcid, count, b""), fecf=False), np.uint8)
        bare = head.tobytes() + protect(head.reshape(1, 6)).tobytes() + data
        frames.append(bare + crc16(bare).to_bytes(2, "big"))
    layout = probe(b"".join(frames)).layout
    assert layout is not None
    assert layout.frames is not None
    assert (layout.frames.header_error_control, layout.frames.fecf, layout.frames.insert_zone_octets) == (True, True, 0)
    assert {vcid: vc.service for vcid, vc in layout.frames.vcs.items()} == {3: "packets", 9: "bitstream"}


def rubbish(seed: int) -> dict[str, bytes]:
    """Octets that hold no telemetry, and are not all noise."""
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    size = rng.choice((0, 1, 7, 64, 500, 5000, 60_000))
    text = Path(__file__).read_bytes()
    records = numbers.integers(0, 256, (size // 50 + 1, 50)).astype(np.uint8)
    records[:, 20:24] = np.arange(len(records), dtype=">u4").view(np.uint8).reshape(-1, 4)
    walk = np.cumsum(numbers.normal(size=size // 2)) * 100
    return {
        "noise": rng.randbytes(size),
        "compressed": zlib.compress(text * 3)[2:],
        "text": text[seed:][:size],
        "table": "".join(f"{k},{k * k % 977},{rng.random():.5f}\n" for k in range(size // 20)).encode(),
        "samples": walk.astype(">i2").tobytes(),
        "counters": np.arange(size // 4, dtype=">u4").tobytes(),
        "records": records.tobytes(),
        "repeated": rng.randbytes(rng.randrange(1, 300)) * (size // 100),
        "bits": bytes(rng.choice((0, 1)) for _ in range(min(size, 20_000))),
        "digits": rng.randbytes(min(size, 20_000)).hex().encode(),
        "zeros": bytes(size),
        "one octet that is a USLP header too": b"\xc0" * 500_000,
    }


@pytest.mark.parametrize("seed", range(RUBBISH))
def test_nothing_is_invented(seed: int) -> None:
    """Noise, compressed data, text, tables, samples, counters and zeros are recognised as nothing, and that is said
    with what was tried."""
    for name, data in rubbish(seed).items():
        report = probe(data)
        assert (name, report.kind, report.layout) == (name, "nothing", None)
        assert report.tried


@pytest.mark.parametrize("seed", range(3 * RUBBISH))
def test_nothing_raises(seed: int) -> None:
    """R6: recordings that are cut, mutilated and mixed are probed to an end, and what is said is well-formed."""
    rng = random.Random(seed)
    pieces = []
    for part in range(rng.randrange(1, 4)):
        truth = draw(rng.randrange(1000), frames=rng.randrange(2, 40))
        data = bytearray(make(truth, part, bit_errors=rng.choice((0, 1e-3, 1e-2))))
        for _ in range(rng.randrange(5)):
            at = rng.randrange(len(data))
            data[at : at + rng.randrange(300)] = rng.choice((b"", bytes(rng.randrange(100)), rng.randbytes(50)))
        begin = rng.randrange(len(data) + 1)
        pieces.append(bytes(data[begin : begin + rng.randrange(len(data) + 1)]))
    data = b"".join(pieces)
    for storage in (data, data.hex().encode(), np.unpackbits(np.frombuffer(data, np.uint8)).tobytes()):
        report = probe(storage, whole_file=rng.random() < 0.5)
        assert all(0 <= row.agreed <= row.tested for row in report.findings)
        assert (report.kind == "nothing") <= (report.layout is None)


def test_a_compressed_file_is_named() -> None:
    """A file that must be unpacked first is called by its name."""
    assert "gzip" in probe(b"\x1f\x8b\x08" + bytes(100)).about
