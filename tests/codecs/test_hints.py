"""A link that brings something else than it says is told what it looks like."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gateway.wiring import intake_maker
from gateway_codecs import uslp_frame
from gateway_codecs.cadus import CaduFormat
from gateway_codecs.crc import Fecf, fecf_octets
from gateway_codecs.frames import FrameFormat, VcFormat
from gateway_codecs.hints import guess_frames, hint, longer_hint
from gateway_codecs.intake import SAMPLE_OCTETS, LinkFormat
from gateway_codecs.reed_solomon import ReedSolomon
from gateway_codecs.synchroniser import SyncSettings
from gateway_config import LinkConfig, example_mission
from gateway_config.models import ReedSolomonSettings
from tests.recordings.test_recordings import SHARED

needs_recordings = pytest.mark.skipif(not SHARED.exists(), reason="the shared recordings are not beside the checkout")
FILES = {
    "frames/hera_tm_1113_lowrate.bin": ("tm", 1113, 181),
    "frames/dart_tm_1113_sechdr.bin": ("tm", 1113, 318),
    "frames/integral_tm_890.bin": ("tm", 890, 121),
    "frames/lucy_aos_1113.bin": ("aos", 1113, 49),
    "frames/emm_hope_aos_223_crc.bin": ("aos", 223, 242),
    "frames/equuleus_aos_444_ocf.bin": ("aos", 444, 80),
    "frames/change5_aos_220_insert8.bin": ("aos", 220, 91),
    "frames/queqiao2_aos_220.bin": ("aos", 220, 179),
}


def settings(mission: str) -> LinkFormat:
    craft = example_mission(mission).spacecraft[0]
    link = LinkConfig(
        name="x",
        mission=mission,
        spacecraft=craft.name,
        type="file",
        path="-",
        unit="frames" if craft.frames else "packets",
    )
    return intake_maker(link, craft, 1, 1)().settings


def sample(file: str) -> bytes:
    return (SHARED / file).read_bytes()[:SAMPLE_OCTETS]


@needs_recordings
@pytest.mark.parametrize("file", FILES)
def test_real_frames_are_recognised(file: str) -> None:
    """Version, length and spacecraft id of every recording of plain frames are found from its octets alone."""
    guess = guess_frames(np.frombuffer(sample(file), np.uint8))
    assert guess is not None
    assert (guess.version, guess.length_octets, guess.scid) == FILES[file]


@needs_recordings
@pytest.mark.parametrize(
    ("file", "mission", "says"),
    [
        ("frames/integral_tm_890.bin", "hera", "a TM header repeats every 890 octets, the link says 1113"),
        ("frames/lucy_aos_1113.bin", "hera", "an AOS header repeats every 1113 octets, the link says version: tm"),
        ("frames/dart_tm_1113_sechdr.bin", "hera", "the frames carry spacecraft id 318, the link accepts 181"),
        (
            "frames/hera_tm_1113_lowrate.bin",
            "suda",
            "a TM header repeats every 1113 octets, the link says unit: packets",
        ),
        ("packets/jpss1_J01_G011_2021-04-09.dat", "hera", "packets follow each other without frames"),
        ("cadu/snpp_synchronized_cadus.dat", "lucy", "the sync marker 1ACFFC1D repeats every 1024 octets"),
        ("frames/bgm1_tm_892_crc_interleaved.bin", "hera", ""),
    ],
)
def test_hints(file: str, mission: str, says: str) -> None:
    """A file that is not what the mission says: the hint names what was found and what the link says."""
    found = hint(sample(file), settings(mission))
    assert found.startswith(says) if says else found == ""


def snpp(**coding: object) -> LinkFormat:
    """The link of the SNPP CADUs with another coding, or another way to look for them."""
    craft = example_mission("snpp").spacecraft[0]
    assert craft.coding is not None
    own = {key: coding.pop(key) for key in ("container", "sync") if key in coding}
    link = LinkConfig.model_validate(
        {"name": "x", "mission": "snpp", "spacecraft": "snpp", "type": "file", "path": "-", "unit": "cadus", **own}
    )
    craft = craft.model_copy(update={"coding": craft.coding.model_copy(update=coding)})
    return intake_maker(link, craft, 1, 1)().settings


@needs_recordings
@pytest.mark.parametrize(
    ("coding", "says"),
    [
        ({}, ""),
        ({"randomiser": "none"}, "frames are RS-correct but no header fits: with randomiser: short they do"),
        ({"randomiser": "long"}, "with randomiser: short the code blocks are correct and the headers fit"),
        ({"reed_solomon": ReedSolomonSettings(interleave=4, basis="conventional")},
         "with basis: dual the code blocks are correct and the headers fit"),
        ({"reed_solomon": ReedSolomonSettings(e=8, interleave=4)},
         "the sync marker 1ACFFC1D repeats every 1024 octets, the link says 32 bits of marker and 956 octets"),
        ({"reed_solomon": None}, "the sync marker 1ACFFC1D repeats every 1024 octets, the link says 32 bits of marker"),
        ({"marker": "352EF853"},
         "the marker 1ACFFC1D (uncoded, convolutional, Reed-Solomon, LDPC 7/8) repeats every 8192 bits"),
        ({"container": "unpacked_bits"}, "octets are not only 0 and 1"),
    ],
)  # fmt: skip
def test_hints_of_cadus(coding: dict[str, object], says: str) -> None:
    """CADUs that are not coded as the link says: the hint names the setting; RS alone proves no randomiser."""
    found = hint(sample("cadu/snpp_synchronized_cadus.dat"), snpp(**coding))
    assert found.startswith(says) if says else found == ""


@needs_recordings
def test_hints_of_cadus_in_other_clothes() -> None:
    """Inverted, shifted, unpacked, or no CADUs at all: the hint says what would find them."""
    data = sample("cadu/snpp_synchronized_cadus.dat")
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    shifted = np.packbits(np.concatenate([[0, 1, 1], bits]).astype(np.uint8)).tobytes()
    inverted = bytes(octet ^ 0xFF for octet in data)
    assert hint(inverted, snpp(sync={"polarity": "normal"})).endswith("is inverted, the link says polarity: normal")
    assert "alignment: octet" in hint(shifted, snpp(sync={"alignment": "octet"}))
    assert "unpacked bits" in hint(bits.tobytes()[:SAMPLE_OCTETS], snpp())
    assert hint(shifted, snpp()) == hint(inverted, snpp()) == ""
    lucy = LinkFormat(1, settings("lucy").frames, 1, cadus=snpp().cadus)
    assert "frames of 1113 octets follow each other without markers" in hint(sample("frames/lucy_aos_1113.bin"), lucy)


@needs_recordings
def test_a_wrong_fecf_setting() -> None:
    """Frames without FECF on a link that expects it: the hint asks about that setting."""
    fmt = FrameFormat("tm", 1113, {181: 1}, {1: VcFormat()}, fecf=True)
    assert "is fecf: true right" in hint(sample("frames/hera_tm_1113_lowrate.bin"), LinkFormat(1, fmt, 1))


def uslp(octets: int, count: int, fecf: Fecf = True, scid: int = 999) -> bytes:
    frame = uslp_frame.UslpFrame(scid, 1, 0, bytes(octets - 8 - 1 - fecf_octets(fecf)), 7, 0, None, count % 256, 1)
    return uslp_frame.encode(frame, fecf)


@pytest.mark.parametrize(
    ("lengths", "change", "says"),
    [
        ([200], {}, ""),
        ([200], {"version": "tm"}, "a USLP header repeats every 200 octets, the link says version: tm"),
        ([200], {"frame_length_octets": 100}, "a USLP header repeats every 200 octets, the link says 100"),
        ([6000], {"frame_length_octets": 100}, "a USLP header repeats every 6000 octets, the link says 100"),
        ([200], {"scids": {5: 1}}, "the frames carry spacecraft id 999, the link accepts 5"),
        ([200], {"fecf": True}, "is fecf: true right"),
        ([200], {"fecf": "crc32"}, "is fecf: crc32 right"),
        (
            [200, 80, 120],
            {},
            "USLP frames of 80 to 200 octets follow each other, the link says 200: is variable",
        ),
        ([200, 80, 120], {"variable_length": True}, ""),
        ([200, 80], {"variable_length": True, "frame_length_octets": 120}, "the link says at most 120"),
    ],
)
def test_uslp_frames(lengths: list[int], change: dict[str, Any], says: str) -> None:
    """USLP frames tell their length: what the link says otherwise is named, whether they vary or not."""
    data = b"".join(uslp(lengths[k % len(lengths)], k) for k in range(40))
    fmt = FrameFormat(
        **{"version": "uslp", "frame_length_octets": 200, "scids": {999: 1}, "vcs": {}, "fecf": False, **change}
    )
    found = hint(data, LinkFormat(1, fmt, 1))
    assert says in found
    assert bool(says) == bool(found)
    assert "the link says unit: packets" in hint(data, LinkFormat(1, None, 1))


@pytest.mark.parametrize("fecf", [True, "crc32", False])
def test_a_few_uslp_frames_are_longer_than_the_link_says(fecf: Fecf) -> None:
    """A length that is too small is named also where most frames are short enough, from the midst of a frame on."""
    data = b"".join(uslp(900 if k % 10 == 5 else 100, k, fecf) for k in range(60))[37:]
    fmt = FrameFormat("uslp", 500, {999: 1}, {}, fecf=fecf, variable_length=True)
    says = "USLP frames of up to 900 octets come, the link says at most 500 (frame_length_octets)"
    assert longer_hint(data, fmt) == says
    assert longer_hint(data, replace(fmt, frame_length_octets=900)) == ""
    assert longer_hint(data, replace(fmt, scids={5: 1})) == ""
    damaged = bytearray(data)
    damaged[::30] = bytes(255 - octet for octet in damaged[::30])
    assert longer_hint(bytes(damaged), fmt) == ("" if fecf else says), "without error control the next header tells"


@pytest.mark.parametrize("seed", range(20))
def test_noise_gives_no_hint(seed: int) -> None:
    """No hint is invented for noise, zeros or text."""
    rng = random.Random(seed)
    fmt = LinkFormat(1, FrameFormat("tm", 1113, {181: 1}, {}), 1)
    noise = rng.randbytes(16_384)
    cadus = LinkFormat(1, fmt.frames, 1, cadus=CaduFormat(SyncSettings(1275), "short", ReedSolomon(16, 5)))
    samples = (
        noise,
        bytes(20_000),
        bytes([rng.randrange(256)]) * 9000,
        noise[: rng.randrange(200)],
        b"telemetry " * 900,
    )
    assert [hint(data, fmt) for data in samples] == [""] * 5
    assert [hint(data, cadus) for data in samples] == [""] * 5
