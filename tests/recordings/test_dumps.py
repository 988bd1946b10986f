"""Dumps of frames and telecommands that another implementation made, against what independent tools found in them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

from gateway_codecs import bch, cltu, tc_frame
from gateway_codecs.batches import FrameFlag, ItemFlag, Quality, Unit
from gateway_codecs.cadus import CaduFormat
from gateway_codecs.crc import fecf_good
from gateway_codecs.declared import FormatError
from gateway_codecs.frames import FrameFormat, VcFormat, decode_frames
from gateway_codecs.intake import FrameIntake, LinkFormat
from gateway_codecs.packet_stream import make_intake
from gateway_codecs.reed_solomon import ReedSolomon
from gateway_codecs.synchroniser import SyncSettings
from tests.conftest import SHARED

VECTORS = SHARED / "data/vectors"
ASM_OCTETS = 4
needs_dumps = pytest.mark.skipif(not VECTORS.exists(), reason="the shared dumps are not beside the checkout")
Row = dict[str, Any]


def described() -> list[Row]:
    return list(json.loads((VECTORS / "expected_dumps.json").read_text())["files"]) if VECTORS.exists() else []


def dumps() -> list[Row]:
    return [row for row in described() if "frame_length" in row]  # the others hold telecommands


def telecommands(key: str) -> Row:
    """The one description of telecommands that has this key."""
    (row,) = (row for row in described() if key in row)
    return row


def of(row: Row) -> str:
    return str(row["file"]).split("/")[-1]


def units(row: Row) -> list[bytes]:
    """The stored units of a dump, which is the file that was looked at."""
    text = (VECTORS / row["file"]).read_bytes()
    assert (len(text), hashlib.sha256(text).hexdigest()) == (row["size"], row["sha256"])
    lines = [bytes.fromhex(line.strip()) for line in text.decode().splitlines() if line.strip()]
    assert len(lines) == row["lines"]
    return lines


def dump_format(row: Row, line_octets: int) -> FrameFormat:
    """The layout that the description says to use: an OCF in every frame, no FECF; RS parity behind some."""
    aos = "aos" in row["file"]
    prefix = ASM_OCTETS if row["asm_attached"] else 0
    vcs = {int(vcid): VcFormat() for vcid in row["vc"] if not (aos and vcid == "63")}
    return FrameFormat(
        "aos" if aos else "tm", row["frame_length"], {int(scid): 1 for scid in row["scid_counts"]}, vcs, fecf=False,
        ocf="present" if aos else "by_flag", prefix_octets=prefix,
        suffix_octets=line_octets - prefix - row["frame_length"],
    )  # fmt: skip


def check_channels(row: Row, intake: FrameIntake, items: Any) -> None:
    """Frames, counts, jumps and packets of each channel are those that were found with the layout to use."""
    statistics = intake.statistics()
    scid = next(iter(row["scid_counts"]))
    for vcid, wanted in row["vc"].items():
        channel = statistics["vcs"][f"{scid}/{vcid}"]
        found = [channel[key] for key in ("frames", "first_count", "last_count", "count_jumps")]
        assert found == [wanted["frames"], wanted["first"], wanted["last"], wanted["jumps"]]
        mine = items[(items["vcid"] == int(vcid)) & (items["unit"] == Unit.PACKET)]
        packets = wanted["layouts_tried"]["4-byte OCF"]
        assert len(mine) + (statistics["idle_octets"] if packets["encapsulation"] else 0) == packets["packets"]
        versions = Counter(((mine["flags"] & ItemFlag.PACKET_VERSION) >> ItemFlag.PACKET_VERSION_SHIFT).tolist())
        assert (versions[0], set(versions) <= {0, 7}) == (packets["version0"], packets["other"] == 0)
        sizes = Counter(mine["length"].tolist())
        assert {octets: sizes[int(octets)] for octets in packets["sizes"]} == packets["sizes"]


@needs_dumps
@pytest.mark.parametrize("row", dumps(), ids=of)
def test_frame_dumps(row: Row) -> None:
    """R6: frames, counts, jumps and packets per VC are those that were found with the layout to use."""
    lines = units(row)
    intake = FrameIntake(LinkFormat(1, dump_format(row, len(lines[0])), 1))
    check_channels(row, intake, intake.feed(b"".join(lines), 1).items.items)


@needs_dumps
@pytest.mark.parametrize("row", dumps(), ids=of)
def test_headers_of_dumps(row: Row) -> None:
    """R6: spacecraft ids, channels, flags and pointers of all frames are theirs, and none has an FECF but by chance."""
    lines = units(row)
    fmt = dump_format(row, len(lines[0]))
    frames = decode_frames(np.frombuffer(b"".join(lines), np.uint8), fmt, 1, 0)
    rows = frames.rows
    assert (rows["quality"] == Quality.GOOD).all()
    for column in ("scid", "vcid"):
        assert Counter(map(str, rows[column].tolist())) == row[f"{column}_counts"]
    flags = row.get("ocf_flag_counts", {"1": len(lines)})
    assert int(((rows["flags"] & FrameFlag.OCF) != 0).sum()) == flags["1"]
    assert int(fecf_good(frames.view).sum()) == row["fecf_ok_frames"]
    for vcid, wanted in row["vc"].items():
        if fmt.version == "tm" or vcid != "63":  # what stands in the data field of AOS fill frames is no pointer
            found = Counter(rows["fhp"][rows["vcid"] == int(vcid)].tolist())
            assert {pointer: found[int(pointer)] for pointer in wanted["pointers"]} == wanted["pointers"]


@needs_dumps
@pytest.mark.parametrize("row", [row for row in dumps() if "rs_interleave" in row], ids=of)
def test_code_words_of_dumps(row: Row) -> None:
    """R6: Reed-Solomon finds in each code word what two independent decoders found; what it cannot correct is kept."""
    lines = units(row)
    interleave, octets = row["rs_interleave"], row["frame_length"]
    code = ReedSolomon(16, interleave, "dual", 223 - octets // interleave)
    blocks = np.frombuffer(b"".join(line[ASM_OCTETS:] for line in lines), np.uint8).reshape(len(lines), -1)
    found = Counter(map(str, code.decode(blocks).corrected.reshape(-1).tolist()))
    assert found == row["rs_symbol_errors_reedsolo"]
    assert sorted(found.values()) == sorted(row["rs_symbol_errors_libfec"].values())
    fmt = dump_format(row, len(lines[0]))
    cadu = CaduFormat(SyncSettings(code.codeblock_octets), reed_solomon=code)
    intake = make_intake(LinkFormat(1, fmt, 1, cadus=cadu))
    assert isinstance(intake, FrameIntake)
    batches = [intake.feed(b"\x55" * 7 + b"".join(lines), 1), intake.finish(2)]
    assert sum(len(batch.frames) for batch in batches) == len(lines)
    if set(found) == {"0"}:
        check_channels(row, intake, np.concatenate([batch.items.items for batch in batches]))
        assert intake.statistics()["sync"]["outside_bits"] == 56
        return
    bad = (code.decode(blocks).corrected < 0).any(axis=1)
    kept = [
        batch.items.octets_of(k)
        for batch in batches
        for k, item in enumerate(batch.items.items)
        if item["quality"] == Quality.REED_SOLOMON
    ]
    assert kept == [line[ASM_OCTETS:][:octets] for line, lost in zip(lines, bad, strict=True) if lost]
    assert len(kept) > 100


@needs_dumps
def test_no_dump_is_left_out() -> None:
    """Every dump that has a description, and every file that is there, is read by a test here."""
    mine = {of(row) for row in dumps()} | {of(telecommands("cltus")), of(telecommands("frames_by_length_field"))}
    assert mine == {of(row) for row in described()} == {path.name for path in (VECTORS / "dumps").iterdir()}


@needs_dumps
def test_cltu_dump() -> None:
    """R6: the start sequences are where they were found, good code blocks as many, and what follows them is theirs."""
    row = telecommands("cltus")
    lines = units(row)
    assert [len(line) for line in lines] == row["unit_lengths"]
    for line, wanted in zip(lines, row["cltus"], strict=True):
        octets = np.frombuffer(line, np.uint8)
        assert cltu.start_sequences(octets).tolist() == [0]
        coded = octets[len(cltu.START) :]
        blocks = bch.decode(coded[: len(coded) // 8 * 8].reshape(-1, 8)).corrected
        good = int(np.argmin(np.append(blocks, bch.UNCORRECTABLE)))
        assert good == wanted["bch_blocks_ok"]
        assert coded[8 * good :].tobytes().hex() == wanted["tail"]
        assert line.endswith(cltu.TAIL)
        with pytest.raises(FormatError, match="cannot be decoded"):
            cltu.decode(line)
    stream = np.frombuffer(b"\x55".join(lines), np.uint8)
    at = np.cumsum([0, *(len(line) + 1 for line in lines[:-1])])
    assert cltu.start_sequences(stream).tolist() == at.tolist()
    assert list(cltu.find_cltus(stream)) == []


@needs_dumps
def test_tc_frame_dump() -> None:
    """R6: lengths, sequence numbers and channels of all frames are theirs, and none ends with an FECF."""
    row = telecommands("frames_by_length_field")
    lines = units(row)
    assert [len(line) for line in lines] == row["unit_lengths"]
    octets = np.frombuffer(b"".join(lines), np.uint8)
    frames = tc_frame.read_frames(octets, fecf=False)
    assert (len(frames.rows), len(octets) - frames.taken) == (row["frames_by_length_field"], row["rest"])
    assert [frames.octets_of(k) for k in range(len(frames.rows))] == lines
    assert Counter(map(str, frames.rows["vcid"].tolist())) == row["vcid_counts"]
    assert Counter(map(str, frames.rows["length"].tolist())) == row["frame_lengths"]
    assert frames.rows["sequence_number"].tolist() == row["seqs"]
    checked = tc_frame.read_frames(octets, fecf=True)
    assert int((checked.rows["quality"] == Quality.GOOD).sum()) == row["fecf_ok"]
    first, wanted = tc_frame.decode(lines[0], fecf=False, segment_header=True), row["first"]
    assert first.segment is not None
    found = {
        "version": lines[0][0] >> 6, "bypass": first.bypass, "control_command": first.control_command,
        "scid": first.scid, "vcid": first.vcid, "length_field": int(frames.rows["length"][0]) - 1,
        "frame_len": int(frames.rows["length"][0]), "seq": first.sequence_number,
        "fecf_ok": bool(fecf_good(octets[: len(lines[0])][None])[0]),
        "segment_header": bytes([first.segment.sequence_flags << 6 | first.segment.map_id]).hex(),
    }  # fmt: skip
    assert found == wanted
    assert tc_frame.encode(first, fecf=False) == lines[0]
