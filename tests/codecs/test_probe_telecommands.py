"""The probe tells telecommands for what they are, and takes nothing else for them."""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass

import pytest

from gateway_codecs import cltu, space_packet, tc_frame
from gateway_codecs.probe import Report, probe
from gateway_codecs.space_packet import SpacePacket
from gateway_codecs.tc_frame import Segment, TcFrame
from tests.conftest import SEEDS, SHARED

VECTORS = SHARED / "data/vectors"
needs_vectors = pytest.mark.skipif(not SHARED.exists(), reason="the shared vectors are not beside the checkout")
LINKS = max(6, SEEDS // 30)


def found(report: Report) -> dict[str, str]:
    return {row.item: row.value for row in report.findings}


def undecided(report: Report) -> dict[str, str]:
    return {row.item: row.why for row in report.undecided}


@dataclass(frozen=True)
class Uplink:
    """Frames that were sent, and how."""

    scid: int
    segmented: bool
    fecf: bool
    randomised: bool
    frames: list[bytes]


def uplink(seed: int) -> Uplink:
    rng = random.Random(seed)
    scid, segmented, fecf, randomised = rng.randrange(1024), *(rng.random() < 0.5 for _ in range(3))
    segment = Segment(tc_frame.UNSEGMENTED, rng.randrange(64)) if segmented else None
    frames = [tc_frame.encode(TcFrame(scid, 3, 0, b"\x00", bypass=True, control_command=True), fecf)]
    for number in range(rng.randrange(8, 30)):
        packet = space_packet.encode(SpacePacket(7, number, rng.randbytes(rng.randrange(1, 200)), telecommand=True))
        frames.append(tc_frame.encode(TcFrame(scid, 3, (200 + number) % 256, packet, segment=segment), fecf))
    return Uplink(scid, segmented, fecf, randomised, frames)


def check(report: Report, sent: Uplink) -> None:
    told, open_ = found(report), undecided(report)
    sizes = [len(frame) for frame in sent.frames]
    assert told["spacecraft id"] == str(sent.scid)
    assert told["frame length"] == f"{min(sizes)} to {max(sizes)} octets"
    assert told["VC3"] == f"{len(sizes) - 1} of type AD, 1 of type BC"
    assert told["VC3 segment header"] == ("present" if sent.segmented else "absent")
    assert ("FECF" in told) == sent.fecf
    assert ("FECF" in open_) != sent.fecf
    assert all(row.agreed == row.tested for row in report.findings)
    assert report.layout is None


@pytest.mark.parametrize("seed", range(LINKS))
def test_cltus_are_told(seed: int) -> None:
    """Randomiser, frames, channels, error control and segment headers of uplinks from seeds, in octets and as text."""
    sent, rng = uplink(seed), random.Random(seed)
    data = b"\x55" * 16
    for frame in sent.frames:
        data += cltu.encode(frame, sent.randomised) + b"\x55" * rng.randrange(20)
    for storage in (data, data.hex().encode()):
        report = probe(storage)
        assert report.kind == "cltus"
        assert found(report)["code blocks"] == "BCH (63,56)"
        assert found(report)["tail sequence"] == "C5C5C5C5C5C5C579"
        assert found(report)["randomiser"] == ("of telecommands (255 bits)" if sent.randomised else "none")
        check(report, sent)


@pytest.mark.parametrize("seed", range(LINKS))
def test_tc_frames_are_told(seed: int) -> None:
    """Frames back to back, whole and cut, from one on that nothing stands before."""
    sent = uplink(seed)
    data = b"".join(sent.frames)
    report = probe(data)
    assert report.kind == "tc_frames"
    check(report, sent)
    cut = probe(data[:-3])
    assert cut.kind == "tc_frames"
    assert undecided(cut)["end"] == f"the last {len(sent.frames[-1]) - 3} octets are no whole frame"
    assert "end" not in undecided(probe(data[:-3], whole_file=False))


def test_damaged_cltus_hide_none() -> None:
    """CLTUs with a wrong bit are counted among the others, whose frames are told."""
    sent, rng = uplink(3), random.Random(3)
    coded = [bytearray(cltu.encode(frame)) for frame in sent.frames]
    for damaged in coded[1::4]:
        damaged[rng.randrange(2, len(damaged) - 8)] ^= 0x10
    report = probe(b"".join(coded))
    rows = {row.item: row for row in report.findings}
    assert (rows["start sequence"].agreed, rows["start sequence"].tested) == (len(coded), len(coded))
    assert rows["code blocks"].agreed < rows["code blocks"].tested == sum((len(one) - 10) // 8 for one in coded)
    assert rows["spacecraft id"].value == str(sent.scid)
    assert rows["randomiser"].agreed < rows["randomiser"].tested


@needs_vectors
def test_cltu_dump() -> None:
    """The dump of start sequences and zeros: CLTUs, and of their blocks it says that none is a code block."""
    report = probe((VECTORS / "dumps/dumpFile_tc_1.hex").read_bytes())
    assert report.kind == "cltus"
    assert found(report)["CLTU length"] == "58 octets"
    assert report.findings[1].agreed == report.findings[1].tested == 7
    assert "none of 42 code blocks" in undecided(report)["code blocks"]
    assert "frame type" not in found(report)


@needs_vectors
def test_tc_frame_dump() -> None:
    """The dump of frames: what its description says, packets behind a segment header, and no FECF."""
    report = probe((VECTORS / "dumps/dumpFile_tc_plain_1.hex").read_bytes())
    assert report.kind == "tc_frames"
    told = found(report)
    assert told["frame type"].startswith("TC ")
    assert (told["spacecraft id"], told["frame length"]) == ("123", "724 octets")
    assert (told["VC0"], told["VC0 segment header"]) == ("10 of type AD", "present")
    assert undecided(report)["FECF"].startswith("0 of 10")


@needs_vectors
@pytest.mark.parametrize("name", ["CLTU_01", "NCTRS_CLTU_01"])
def test_one_cltu_of_others(name: str) -> None:
    """One CLTU, bare or in an envelope, is told with its frame, and that it ends with a tail of its own."""
    vectors = json.loads((VECTORS / "tc_tm_spacepylibrary.json").read_text())["vectors"]
    report = probe(bytes.fromhex(next(v["hex"] for v in vectors if v["name"] == name)))
    assert report.kind == "cltus"
    told = found(report)
    assert (told["spacecraft id"], told["frame length"], told["FECF"]) == ("758", "256 octets", "present, CRC-16")
    assert "5555555555555555 (1 of 1)" in undecided(report)["tail sequence"]


def test_what_is_none() -> None:
    """Noise with start sequences in it, patterns whose lengths lead on, one frame over and over: nothing is told."""
    rng = random.Random(5)
    noise = b"".join(rng.randbytes(40) + cltu.START for _ in range(500))
    lonely = rng.randbytes(100_000) + cltu.encode(b"a frame") + rng.randbytes(100_000)
    pattern = bytes.fromhex("0101010101010101") * 500  # a header of version 0 at every place, all frames alike
    frame = tc_frame.encode(TcFrame(9, 1, 0, b"data", bypass=True), fecf=True)
    for data in (noise, lonely, pattern, frame * 40, bytes(5000), b"\x00\x09\x04\x06" * 700):
        assert probe(data).kind not in {"cltus", "tc_frames"}


def test_start_sequences_all_over_take_no_time() -> None:
    """R13: octets made of start sequences, and of CLTUs of one block, are looked at in bounded time."""
    began = time.process_time()
    probe(cltu.START * 500_000)
    assert probe(cltu.encode(b"7octets")[:10] * 100_000).kind == "nothing"  # without tails one block says little
    assert probe(cltu.encode(b"7octets") * 50_000).kind == "cltus"
    assert time.process_time() - began < 20


def test_digits_are_read_on_and_that_is_said() -> None:
    """Text of digits with nothing in it: the report says how many octets were looked at, and of a last digit alone."""
    octets = random.Random(6).randbytes(600)
    report = probe(octets.hex(" ").encode() + b"\n")
    assert (report.kind, found(report)["storage"]) == ("nothing", "text, hexadecimal digits")
    assert report.about == "text of hexadecimal digits: the 600 octets that it stands for were looked at"
    assert "the last one was not looked at" in undecided(probe(octets.hex().encode() + b"a"))["last digit"]
    said = probe(b"0000: 00 11 22 33\n" * 50).about
    assert said.startswith("it looks like text; of text only hexadecimal digits")
