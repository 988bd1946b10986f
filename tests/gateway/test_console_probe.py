"""`gateway probe`: what it says, and that the configuration it writes plays the recording as other tools read it."""

from __future__ import annotations

import hashlib
import json
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.console.probe import ProbeOptions, probe_file
from gateway.errors import GatewayError, UsageError
from gateway.wiring import intake_maker
from gateway_codecs.batches import IntakeBatch, Unit
from gateway_codecs.crc import crc32c
from gateway_codecs.reed_solomon import ReedSolomon
from gateway_config import load
from tests.codecs.test_probe import uslp_frames
from tests.codecs.unknown_links import Truth, draw, make
from tests.conftest import SHARED
from tests.recordings.test_recordings import expected_frames

DATA = SHARED / "data"
needs_recordings = pytest.mark.skipif(not DATA.exists(), reason="the shared recordings are not beside the checkout")
LINKS = 100 if os.environ.get("GATEWAY_SOAK") else 4
MORE_THAN_EXPECTED = {"dart_tm_1113_sechdr.bin": {7: 797}, "emm_hope_aos_223_crc.bin": {0: 511}}
"""Channels whose packets the expected results do not know: docs/decisions tells what shows that they are packets."""


def options(file: Path | str, **more: Any) -> ProbeOptions:
    keys = {"write": None, "name": "", "max_octets": 16 << 20, "as_json": False}
    return ProbeOptions(str(file), **{**keys, **more})


def played(directory: Path, name: str) -> tuple[dict[str, Any], list[tuple[int, bytes]]]:
    """Read the written link's file through the written configuration: statistics, packets with their channel."""
    configuration = load(directory)
    link, craft = configuration.links[name], configuration.missions[name].spacecraft[0]
    intake = intake_maker(link, craft, 1, 1)()
    data = (directory / link.path).read_bytes()
    batches = [intake.feed(data[at : at + 65536], 1) for at in range(0, len(data), 65536)]
    batches.append(intake.finish(1))
    return intake.statistics(), [packet for batch in batches for packet in packets_of(batch)]


def packets_of(batch: IntakeBatch) -> list[tuple[int, bytes]]:
    rows = batch.items.items
    return [
        (int(row["vcid"]), batch.items.octets_of(k)) for k, row in enumerate(rows) if int(row["unit"]) == Unit.PACKET
    ]


@needs_recordings
@pytest.mark.parametrize("file", expected_frames())
def test_what_is_written_plays_the_recording(file: str, tmp_path: Path) -> None:
    """Each recording of frames, probed and replayed with the configuration found: the counts and packets of others."""
    expected = expected_frames()[file]
    assert probe_file(options(DATA / "frames" / file, write=tmp_path, name="found")) == 0
    statistics, packets = played(tmp_path, "found")
    assert statistics["frames"] == expected["frames"]
    assert statistics["causes"].get("fecf", 0) == len(expected.get("fecf_bad_frame_indices", []))
    channels = {name.split("/")[1]: vc for name, vc in statistics["vcs"].items()}
    assert set(channels) == set(expected["virtual_channels"])
    for vcid, wanted in expected["virtual_channels"].items():
        have = channels[vcid]
        for key in ("frames", "first_count", "last_count", "count_jumps", "repeated_counts", "frames_missing_mod"):
            assert have[key] == wanted[key], (vcid, key)
        mine = [octets for channel, octets in packets if channel == int(vcid)]
        if "packets_sha256_concatenated" in wanted:
            assert len(mine) == wanted["packets"]
            assert hashlib.sha256(b"".join(mine)).hexdigest() == wanted["packets_sha256_concatenated"]
        elif int(vcid) in MORE_THAN_EXPECTED.get(file, {}):
            assert len(mine) == MORE_THAN_EXPECTED[file][int(vcid)]
    if file in MORE_THAN_EXPECTED:  # as packets they are whole: nothing between them, nothing refused
        assert not {"packet_version", "packet_length", "packet_excess"} & statistics["causes"].keys()


@needs_recordings
def test_suomi_npp_plays(tmp_path: Path) -> None:
    """The CADUs of Suomi NPP, probed and replayed with the configuration found: the counts and packets of others."""
    wanted = expected_cadus("snpp_synchronized_cadus.dat")
    assert probe_file(options(DATA / "cadu" / wanted["file"], write=tmp_path, name="found")) == 0
    statistics, packets = played(tmp_path, "found")
    vc = wanted["virtual_channels"]["16"]
    assert statistics["frames"] == wanted["cadus"]
    assert set(statistics["causes"]) <= {"packet_truncated", "no_packet_start"}  # where a CADU is missing
    assert statistics["vcs"]["157/16/replay"]["count_jumps"] == vc["count_jumps"]
    assert hashlib.sha256(b"".join(octets for _, octets in packets)).hexdigest() == vc["packets_sha256_concatenated"]


@needs_recordings
@pytest.mark.parametrize("file", ["bluewalker3_bits_with_asm.u8", "bluewalker3_bits_packed.bin"])
def test_bluewalker_plays(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """BlueWalker's bits, in both forms, of which only the marker was known: all code blocks are good with the code
    that was found, and each frame is kept with the CRC-32C that shows it to be right."""
    wanted = expected_cadus("bluewalker3_bits_with_asm.u8")
    assert probe_file(options(DATA / "cadu" / file, write=tmp_path, name="found")) == 0
    how = "--unit cadus --container unpacked_bits" if file.endswith(".u8") else "--unit cadus"
    assert f"--mission found --config {tmp_path} {how}\n" in capsys.readouterr().out
    configuration = load(tmp_path)
    link, craft = configuration.links["found"], configuration.missions["found"].spacecraft[0]
    intake = intake_maker(link, craft, 1, 1)()
    batch = intake.feed((DATA / "cadu" / file).read_bytes(), 1)
    frames = [octets for octets, row in kept(batch) if int(row["unit"]) == Unit.FRAME]
    assert len(frames) == wanted["asm_exact_positions"] - 1  # the last one is not whole
    assert "reed_solomon" not in intake.statistics()["causes"]
    assert all(crc32c(frame[:-4]).to_bytes(4, "big") == frame[-4:] for frame in frames)


@needs_recordings
def test_kiss_files_play(tmp_path: Path) -> None:
    """A KISS file is written as a link with that container, and gives its frames."""
    rows = json.loads((DATA / "kiss/expected_kiss.json").read_text())["files"]
    wanted = next(row for row in rows if row["file"] == "by02.kiss")
    assert probe_file(options(DATA / "kiss/by02.kiss", write=tmp_path, name="found")) == 0
    configuration = load(tmp_path)
    intake = intake_maker(configuration.links["found"], configuration.missions["found"].spacecraft[0], 1, 1)()
    batch = intake.feed((DATA / "kiss/by02.kiss").read_bytes(), 1)
    assert len(kept(batch)) == wanted["kiss_frames"]


@pytest.mark.parametrize("seed", range(LINKS))
def test_coded_links_play(seed: int, tmp_path: Path) -> None:
    """Of links from seeds, with bit errors that the code corrects, every packet comes out by what is written."""
    truth = next(truth for truth in map(draw, range(100 * seed, 100 * seed + 100)) if truth.coded)
    if truth.reed_solomon is None:
        truth = replace(truth, reed_solomon=ReedSolomon(16, 2), frame_length_octets=446)
    file = tmp_path / "coded.bin"
    file.write_bytes(make(truth, seed, bit_errors=1e-4))
    assert probe_file(options(file, write=tmp_path / "out")) == 0
    _, packets = played(tmp_path / "out", "coded")
    for vcid, wanted in truth.packets.items():
        mine = [octets for channel, octets in packets if channel == vcid]
        assert mine == wanted


def expected_cadus(file: str) -> dict[str, Any]:
    rows = json.loads((DATA / "cadu/expected_cadu.json").read_text())["files"]
    return next(row for row in rows if row["file"] == file)


def kept(batch: IntakeBatch) -> list[tuple[bytes, Any]]:
    return [(batch.items.octets_of(k), row) for k, row in enumerate(batch.items.items)]


@pytest.mark.parametrize("varying", [False, True])
def test_uslp_frames_play(varying: bool, tmp_path: Path) -> None:
    """USLP frames of one length or several come out as their packets."""
    _, frames = uslp_frames(2, varying)
    file = tmp_path / "uslp.bin"
    file.write_bytes(b"".join(frames))
    assert probe_file(options(file, write=tmp_path / "out")) == 0
    statistics, packets = played(tmp_path / "out", "uslp")
    assert statistics["frames"] == len(frames)
    assert set(statistics["causes"]) <= {"packet_truncated"}  # the last one is not whole
    counts = [int.from_bytes(octets[2:4], "big") & 0x3FFF for _, octets in packets]
    assert len(counts) > 100
    assert varying or counts == list(range(len(counts)))


def plain_link(seed: int) -> Truth:
    """Draw a link that needs nothing taken off but a shift."""
    return next(truth for truth in map(draw, range(seed, seed + 1000)) if not truth.coded and truth.shift_bits)


@pytest.mark.parametrize("seed", [0, 300])
def test_a_shifted_recording_is_written_anew(seed: int, tmp_path: Path) -> None:
    """Frames that begin inside an octet, inverted or not, are written as a file that a link plays to every packet."""
    truth = plain_link(seed)
    file = tmp_path / "shifted.bin"
    file.write_bytes(make(truth, seed, bit_errors=0))
    assert probe_file(options(file, write=tmp_path / "out")) == 0
    _, packets = played(tmp_path / "out", "shifted")
    for vcid, wanted in truth.packets.items():
        assert [octets for channel, octets in packets if channel == vcid] == wanted


def test_text_of_digits_is_written_as_octets(tmp_path: Path) -> None:
    """A dump in hexadecimal digits, a line a frame, becomes a file of frames."""
    truth = Truth("tm", 77, 300, True, True, 0, 0, "none", None, False, 0, False, 40, {})
    data = make(truth, 1, bit_errors=0)
    file = tmp_path / "dump.hex"
    file.write_text("".join(f"{data[at : at + 300].hex()}\n" for at in range(0, len(data), 300)))
    assert probe_file(options(file, write=tmp_path / "out")) == 0
    assert (tmp_path / "out/recordings/dump.bin").read_bytes() == data
    _, packets = played(tmp_path / "out", "dump")
    assert {vcid for vcid, _ in packets} == set(truth.packets)


@needs_recordings
@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("dumpFile_tc_1.hex", ["CLTUs: telecommands", "EB90", "none of 42 code blocks"]),
        ("dumpFile_tc_plain_1.hex", ["TC transfer frames: telecommands", "123", "VC0", "FECF: 0 of 10"]),
    ],
)
def test_telecommands_are_told(file: str, said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A dump of telecommands is recognised, exit code 0; that no link plays it is said, and nothing is written."""
    dump = DATA / "vectors/dumps" / file
    assert probe_file(options(dump)) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert all(text in out for text in [*said, "no configuration: telecommands go up"])
    with pytest.raises(GatewayError, match="nothing was written"):
        probe_file(options(dump, write=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_text_in_which_nothing_is_recognised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of text of digits it says that the octets they stand for were looked at, and how many."""
    file = tmp_path / "digits.txt"
    file.write_text(random.Random(4).randbytes(300).hex("\n", 2))
    assert probe_file(options(file)) == 1
    assert "hexadecimal digits: the 300 octets that it stands for were looked at" in capsys.readouterr().out


def test_noise_is_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, what was tried, and no configuration."""
    file = tmp_path / "noise"
    file.write_bytes(random.Random(3).randbytes(20_000))
    assert probe_file(options(file)) == 1
    assert "nothing recognised" in (out := capsys.readouterr().out)
    assert "not there: " in out
    with pytest.raises(GatewayError, match="nothing was written"):
        probe_file(options(file, write=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_json_and_a_part_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json gives findings with scores, what is undecided and both documents; it says that it saw a part alone."""
    truth = Truth("aos", 9, 200, True, False, 4, 0, "none", None, False, 0, False, 60, {})
    file = tmp_path / "Frames of 2026.bin"
    file.write_bytes(make(truth, 2, bit_errors=0))
    assert probe_file(options(file, max_octets=8000, as_json=True)) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["recognised"], told["octets_looked_at"], told["whole_file"]) == ("frames", 8000, False)
    assert {"frame type", "spacecraft id", "FECF", "insert zone"} <= {row["item"] for row in told["findings"]}
    assert all(0 < row["score"] <= 1 for row in told["findings"])
    assert told["mission"]["spacecraft"][0]["frames"]["insert_zone_octets"] == 4
    assert (told["mission"]["name"], told["link"]["unit"]) == ("frames-of-2026", "frames")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A second recording goes into the same directory under another name; the same name is refused."""
    truth = Truth("tm", 5, 150, True, False, 0, 0, "none", None, False, 0, False, 50, {})
    file = tmp_path / "a.bin"
    file.write_bytes(make(truth, 4, bit_errors=0))
    probe_file(options(file, write=tmp_path / "out"))
    with pytest.raises(GatewayError, match="is there already"):
        probe_file(options(file, write=tmp_path / "out"))
    probe_file(options(file, write=tmp_path / "out", name="7"))
    assert set(load(tmp_path / "out").missions) == {"a", "7"}


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    """A folder, a name that is none, writing for standard input: each error names the way out."""
    with pytest.raises(UsageError, match="is a folder"):
        probe_file(options(tmp_path))
    with pytest.raises(UsageError, match="--name"):
        probe_file(options(tmp_path / "x", name="-x"))
    with pytest.raises(UsageError, match="--write needs a file"):
        probe_file(options("-", write=tmp_path / "out"))
    with pytest.raises(FileNotFoundError):
        probe_file(options(tmp_path / "absent"))
