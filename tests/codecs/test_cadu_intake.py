"""R6 for CADU links: every bit ends once, no false frame is taken, intact ones are, a restart goes on exactly."""

from __future__ import annotations

import copy
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_codecs import tm_frame, uslp_frame
from gateway_codecs.batches import FrameFlag, IntakeBatch, Quality, Unit
from gateway_codecs.cadu_intake import CaduIntake
from gateway_codecs.cadus import CaduFormat
from gateway_codecs.datagrams import Datagrams
from gateway_codecs.frames import FrameFormat, VcFormat
from gateway_codecs.intake import LinkFormat
from gateway_codecs.packet_stream import make_intake
from gateway_codecs.randomiser import RandomiserKind, derandomise
from gateway_codecs.reed_solomon import ReedSolomon
from gateway_codecs.sync_markers import SyncMarker
from gateway_codecs.synchroniser import SyncSettings
from tests.codecs.links import NO_START, SCID, VC, ZONE_OCTETS, halves, items, packet, packets, tm
from tests.codecs.rough_bits import bits_of, cadus, rough
from tests.codecs.test_restart import _change
from tests.conftest import SEEDS

VECTORS = Path(__file__).parents[3] / "shared/spec/vectors/cadu.json"
FRAME_OCTETS = ZONE_OCTETS + 8
CODE = ReedSolomon(8, 1, "dual", 239 - FRAME_OCTETS)


def cadu_format(code: ReedSolomon | None = CODE, kind: RandomiserKind = "short", **more: Any) -> CaduFormat:
    block = FRAME_OCTETS if code is None else code.codeblock_octets
    sync = SyncSettings(block, **{k: v for k, v in more.items() if k != "unpacked_bits"})
    return CaduFormat(sync, kind, code, bool(more.get("unpacked_bits", False)))


def intake(fmt: CaduFormat, vc: VcFormat | None = None, fecf: bool = True) -> CaduIntake:
    frames = FrameFormat("tm", FRAME_OCTETS - 2 * (not fecf), {SCID: 1}, {VC: vc or VcFormat()}, fecf=fecf)
    made = make_intake(LinkFormat(1, frames, 1, cadus=fmt))
    assert isinstance(made, CaduIntake)
    return made


def coded(frames: list[bytes], fmt: CaduFormat) -> list[bytes]:
    """Code blocks as sent."""
    rows = np.array([np.frombuffer(frame, np.uint8) for frame in frames])
    blocks = rows if fmt.reed_solomon is None else fmt.reed_solomon.encode(rows)
    return [row.tobytes() for row in derandomise(blocks, fmt.randomiser)]


def sent_bits(frames: list[bytes], fmt: CaduFormat) -> np.ndarray:
    return cadus(coded(frames, fmt), fmt.sync.marker.hex)


def octets(bits: np.ndarray) -> bytes:
    return np.packbits(bits).tobytes()


def fed(tested: CaduIntake, data: bytes, cuts: list[int] | None = None) -> list[IntakeBatch]:
    batches, at = [], 0
    for cut in [*(cuts or []), len(data)]:
        batches.append(tested.feed(data[at:cut], 1))
        at = cut
    return [*batches, tested.finish(2)]


def rows(batches: list[IntakeBatch]) -> np.ndarray:
    return np.concatenate([batch.frames for batch in batches])


def total(batches: list[IntakeBatch], name: str) -> int:
    return sum(batch.counters.get(name, 0) for batch in batches)


def many(count: int) -> tuple[list[bytes], list[bytes]]:
    """Frames, two for each packet, and the packets."""
    sent = [packet(5, k) for k in range(count // 2)]
    parts = [half for whole in sent for half in halves(whole)]
    return [tm(k, NO_START if k % 2 else 0, part) for k, part in enumerate(parts)], sent


# ---- vectors of others ----


def test_a_tail_behind_each_code_block() -> None:
    """Octets between code blocks and markers that belong to neither are left out and counted, and hurt nothing."""
    fmt, (frames, sent) = cadu_format(), many(20)
    tailed = replace(fmt, sync=replace(fmt.sync, block_octets=fmt.sync.block_octets + 3), tail_octets=3)
    stream = cadus([block + b"\x11\x22\x33" for block in coded(frames, fmt)], fmt.sync.marker.hex)
    tested = intake(tailed)
    assert packets(fed(tested, octets(stream))) == sent
    assert tested.statistics()["sync"]["tail_octets"] == 3 * len(frames)


@pytest.mark.skipif(not VECTORS.exists(), reason="the shared vectors are not beside the checkout")
@pytest.mark.parametrize(
    ("name", "kind", "corrected"),
    [
        ("cadu_no_randomizer", "none", 0), ("cadu_short_randomizer", "short", 0), ("cadu_long_randomizer", "long", 0),
        ("cadu_short_inverted", "short", 0), ("bit_shifted_5_cadu_short_plus_next_asm", "short", 0),
        ("16 errors", "none", 16), ("17 errors", "none", -1),
    ],
)  # fmt: skip
def test_vectors(name: str, kind: RandomiserKind, corrected: int) -> None:
    """CADUs made by others give their frame, plain, randomised, inverted, shifted by five bits, and damaged."""
    known = {v["id"]: bytes.fromhex(v["hex"]) for v in json.loads(VECTORS.read_text())["vectors"]}
    data = known.get(name) or b"\x1a\xcf\xfc\x1d" + known["codeblock_16_symbol_errors"]
    if name == "17 errors":
        data = data[:100] + bytes([data[100] ^ 1]) + data[101:]
    frames = FrameFormat("tm", 223, {0xAB: 1}, {2: VcFormat("opaque")}, ocf="by_flag")
    made = make_intake(LinkFormat(1, frames, 1, cadus=CaduFormat(SyncSettings(255), kind, ReedSolomon())))
    batches = [made.feed(data, 1), made.finish(1)]
    assert rows(batches)["corrected_symbols"].tolist() == [corrected]
    kept = next(item for item in items(batches) if item.unit == "FRAME")
    if corrected < 0:
        assert kept.quality == "REED_SOLOMON"
        assert kept.octets == data[4:227], "kept as received"
    else:
        assert kept == ("FRAME", "GOOD", known["frame"])


# ---- rough streams ----


@pytest.mark.parametrize("seed", range(SEEDS // 8))
def test_rough_streams(seed: int) -> None:
    """R6: slips, inversions, bursts and noise: no false frame is taken, intact ones are; every bit is counted once;
    counters are what is kept; pieces do not matter."""
    rng = random.Random(seed)
    code = rng.choice([CODE, CODE, None])
    marker = SyncMarker(rng.choice(["1ACFFC1D", "1ACFFC1D", "FAF320", "034776C7272895B0"]))
    fmt = cadu_format(code, rng.choice(["none", "short", "long"]), marker=marker, lock_errors=rng.choice([1, 3]))
    service = VcFormat(rng.choice(["packets", "opaque"]))
    frames, sent = many(2 * rng.randrange(1, 25))
    period, marker_bits = fmt.sync.period_bits, marker.bits
    noise = rng.choice([1e-5, 1e-4, 1e-3, 1e-2])
    stream = rough(rng, sent_bits(frames, fmt), period, noise, rng.randrange(5), rng.randrange(3))
    data = stream.octets()
    whole = fed(tested := intake(fmt, service), data)
    found, kept = rows(whole), items(whole)
    good = found[found["quality"] == Quality.GOOD]
    if service.service == "opaque":
        assert {item.octets for item in kept if item.quality == "GOOD"} <= set(frames)
    else:
        assert set(packets(whole)) <= set(sent)
    offsets = good["source_offset"].tolist()
    for number, place in stream.intact(period, marker_bits, len(frames)).items():
        assert place // 8 in offsets, number
        assert int(good["vc_count"][offsets.index(place // 8)]) == number % 256
    outside, slips = total(whole, "outside_bits"), total(whole, "slips")
    shared = sum(-t.bits for b in whole for t in b.transitions if t.what == "slip" and t.bits < 0)
    assert len(found) * period + outside - shared == 8 * len(data)
    assert slips == sum(t.what == "slip" for b in whole for t in b.transitions)
    counted(tested, whole)
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(9)))
    again = fed(other := intake(fmt, service), data, cuts)
    assert items(again) == kept
    assert (rows(again)[["source_offset", "quality", "flags", "corrected_symbols"]]
            == found[["source_offset", "quality", "flags", "corrected_symbols"]]).all()  # fmt: skip
    assert other.statistics() == tested.statistics()


def counted(tested: CaduIntake, batches: list[IntakeBatch]) -> None:
    """What is counted as rejected is what is kept."""
    kept: dict[str, int] = {}
    for item in items(batches):
        if item.quality != "GOOD":
            kept[item.quality.lower()] = kept.get(item.quality.lower(), 0) + 1
    names = {name for batch in batches for name in batch.counters if name.startswith("rejected_")}
    assert {name[9:]: total(batches, name) for name in names if total(batches, name)} == kept
    assert tested.statistics()["causes"] == kept
    assert total(batches, "packets") == len(packets(batches))


# ---- restart ----


@pytest.mark.parametrize("seed", range(max(6, SEEDS // 20)))
@pytest.mark.parametrize("unpacked", [False, True])
def test_a_restart_anywhere_continues_exactly(seed: int, unpacked: bool) -> None:
    """R8: after a crash a source goes on at its bit, polarity and lock; packets under way are whole."""
    rng = random.Random(seed)
    fmt = cadu_format(unpacked_bits=unpacked)
    frames, _ = many(30)
    bits = rough(rng, sent_bits(frames, fmt), fmt.sync.period_bits, 2e-4, rng.randrange(4), rng.randrange(2)).bits
    data = bits.tobytes() if unpacked else octets(bits)
    wanted = items(fed(intake(fmt), data))
    for _ in range(4):
        cut = rng.randrange(len(data))
        before, after = intake(fmt), intake(fmt)
        first = before.feed(data[:cut], 1)
        state = json.loads(json.dumps(before.state()))
        after.restore(state, lambda at, length: data[at : at + length])
        assert items([first, *fed(after, data[state["source_offset"] :])]) == wanted, cut


def test_a_restart_in_flywheel_reads_the_open_packet_again() -> None:
    """R8: a packet that began in a CADU without a marker is found again from the last marker that was good."""
    fmt = cadu_format()
    frames, sent = many(12)
    bits = sent_bits(frames, fmt)
    period = fmt.sync.period_bits
    for number in (4, 5):
        bits[number * period : number * period + 32 : 2] ^= 1
    data = octets(bits)
    cut = (6 * period + 1000) // 8
    before, after = intake(fmt), intake(fmt)
    first = before.feed(data[:cut], 1)
    state = json.loads(json.dumps(before.state()))
    after.restore(state, lambda at, length: data[at : at + length])
    assert packets([first, *fed(after, data[state["source_offset"] :])]) == sent


@pytest.mark.parametrize("seed", range(4))
def test_any_state_at_all(seed: int) -> None:
    """R7: no state raises, neither when it is taken over nor later."""
    rng = random.Random(seed)
    frames, _ = many(9)
    fmt = cadu_format()
    data = octets(sent_bits([*frames, tm(8, 0, halves(packet(5, 4))[0])], fmt))
    before = intake(fmt)
    before.feed(data[:-3], 1)
    good = json.loads(json.dumps(before.state()))
    for _ in range(150):
        state = copy.deepcopy(good)
        for _ in range(rng.randrange(1, 4)):
            state = _change(rng, state)
        tested = intake(fmt)
        tested.restore(state, rng.choice([None, lambda at, length: data[at : at + length]]))
        tested.feed(data, 1)
        tested.finish(1)
        json.dumps(tested.state())
        tested.statistics()


# ---- what is special ----


def test_a_cut_keeps_what_is_incomplete_and_searches_again() -> None:
    """A TCP stream that is cut: the whole CADU at its end is taken, the incomplete one kept, the next one found."""
    fmt = cadu_format()
    frames, sent = many(8)
    data = octets(sent_bits(frames, fmt))
    unit = fmt.sync.period_bits // 8
    tested = intake(fmt)
    batches = [tested.feed(data[: 4 * unit + 10], 1), tested.cut(2, "link cut")]
    assert tested.sync_state == "search"
    assert [(item.quality, item.octets) for item in items(batches) if item.unit == "OCTETS"] == [
        ("SYNC", data[4 * unit : 4 * unit + 10])
    ]
    batches += [tested.feed(b"\x55" + data[4 * unit :], 3), tested.finish(4)]
    assert packets(batches) == sent


def test_the_check_of_reed_solomon_comes_first() -> None:
    """A frame with an uncorrectable code word is bad though its FECF fits: the errors lie in the parity alone."""
    fmt = cadu_format(kind="none")
    block = bytearray(coded([tm(0, 0, packet(5, 0, 14))], fmt)[0])
    for k in range(9):
        block[FRAME_OCTETS + k] ^= 0x5A
    bits = np.concatenate([cadus([bytes(block)]), cadus([bytes(block)])])
    batches = fed(intake(fmt), octets(bits))
    assert rows(batches)["quality"].tolist() == [Quality.REED_SOLOMON] * 2
    assert [item[:2] for item in items(batches)] == [("FRAME", "REED_SOLOMON")] * 2
    assert rows(batches)["corrected_symbols"].tolist() == [-1, -1]


def test_without_fecf_reed_solomon_is_the_frames_quality() -> None:
    """Frames without FECF: correctable ones are good, their corrected symbols counted; uncorrectable ones are bad."""
    code = ReedSolomon(8, 1, "conventional", 239 - FRAME_OCTETS + 2)
    fmt = CaduFormat(SyncSettings(code.codeblock_octets), "long", code)
    frames = [
        tm_frame.encode(tm_frame.TmFrame(SCID, VC, k, k, 0, packet(5, k, 14)), fecf=False) for k in range(6)
    ]  # fmt: skip
    blocks = [bytearray(block) for block in coded(frames, fmt)]
    for k, errors in enumerate([0, 3, 8, 9, 0, 0]):
        for at in range(errors):
            blocks[k][2 * at] ^= 0xFF
    batches = fed(tested := intake(fmt, fecf=False), octets(cadus([bytes(block) for block in blocks])))
    assert rows(batches)["corrected_symbols"].tolist() == [0, 3, 8, -1, 0, 0]
    assert packets(batches) == [packet(5, k, 14) for k in (0, 1, 2, 4, 5)]
    assert tested.statistics()["sync"]["corrected_symbols"] == total(batches, "corrected_symbols") == 11


def test_flags_and_transitions() -> None:
    """Frames without a marker and frames before a slip are flagged; what happened comes as values and counters."""
    fmt = cadu_format()
    frames, _ = many(20)
    bits = sent_bits(frames, fmt)
    period = fmt.sync.period_bits
    bits[7 * period : 7 * period + 32 : 2] ^= 1
    bits = np.insert(bits, 12 * period + 200, 1)
    bits[16 * period + 200 :] ^= 1
    batches = fed(intake(fmt), octets(bits))
    flags = rows(batches)["flags"]
    assert np.flatnonzero(flags & FrameFlag.SYNC_MISS).tolist() == [7]
    assert np.flatnonzero(flags & FrameFlag.SUSPECT).tolist() == [12, 16]
    assert [t.what for b in batches for t in b.transitions] == ["lock", "slip", "inversion"]
    names = ("locks", "sync_losses", "slips", "inversions", "sync_misses", "suspect_frames")
    assert [total(batches, name) for name in names] == [1, 0, 1, 1, 1, 2]


def test_unpacked_bits_are_the_same_as_packed_ones() -> None:
    """One bit per octet: the same frames; offsets are octets of that source; a last bit is not lost; rubbish counts."""
    packed, unpacked = cadu_format(), cadu_format(unpacked_bits=True)
    frames, sent = many(6)
    bits = np.concatenate([[1, 0, 1], sent_bits(frames, packed)]).astype(np.uint8)
    one, other = fed(intake(packed), octets(bits)), fed(intake(unpacked), bits.tobytes(), [5, 77, 900])
    assert packets(one) == packets(other) == sent
    period = packed.sync.period_bits
    assert rows(other)["source_offset"].tolist() == [3 + k * period for k in range(6)]
    assert rows(one)["source_offset"].tolist() == [(3 + k * period) // 8 for k in range(6)]
    assert total(fed(intake(unpacked), b"\x02\x01\x30" + bytes(50)), "no_bits") == 2


@pytest.mark.parametrize("marker", ["1ACFFC1D", "none"])
def test_datagrams(marker: str) -> None:
    """One datagram holds whole CADUs, or bare code blocks; one of the wrong size is kept and shifts nothing."""
    fmt = cadu_format(marker=SyncMarker(marker))
    frames, sent = many(8)
    head = SyncMarker(marker).octets.tobytes()
    units = [head + block for block in coded(frames, fmt)]
    units[2] = bytes(octet ^ 0xFF for octet in units[2]) if marker != "none" else units[2]
    parts = [units[0], units[1] + units[2], b"odd", units[3], units[4][:-1], *units[4:]]
    tested = intake(fmt)
    batch = tested.feed_datagrams(Datagrams(b"".join(parts), np.array([len(part) for part in parts])), 1)
    assert packets([batch]) == sent
    assert [item.octets for item in items([batch]) if item.quality == "LENGTH"] == [b"odd", units[4][:-1]]
    assert batch.frames["corrected_symbols"].tolist() == [0] * 8
    assert not (batch.frames["flags"] & FrameFlag.SYNC_MISS).any()


def test_a_datagram_whose_marker_is_wrong() -> None:
    """The place of a CADU in a datagram is known: without its marker it is flagged, its code decides."""
    fmt = cadu_format()
    frames, sent = many(2)
    data = b"".join(b"\0\0\0\0" + block for block in coded(frames, fmt))
    batch = intake(fmt).feed_datagrams(Datagrams(data, np.array([len(data)])), 1)
    assert packets([batch]) == sent
    assert batch.counters["sync_misses"] == 2


@given(st.binary(max_size=1200), st.integers(1, 300), st.booleans())
@settings(max_examples=50, deadline=None)
def test_any_octets_at_all(data: bytes, chunk: int, unpacked: bool) -> None:
    """R6: octets of any kind raise nothing, in any intake of CADUs."""
    tested = intake(cadu_format(unpacked_bits=unpacked))
    for at in range(0, len(data), chunk):
        tested.feed(data[at : at + chunk], 1)
    tested.feed_datagrams(Datagrams(data, np.array([len(data)])), 1)
    tested.cut(1, "link cut")
    tested.feed(data, 1)
    batch = tested.finish(1)
    assert all(row["unit"] in {Unit.OCTETS, Unit.FRAME, Unit.PACKET} for row in batch.items.items)


def test_uslp_frames_in_cadus_and_their_restart() -> None:
    """CADUs hold USLP frames too: packets of a MAP across frames, and over a restart."""
    sent = [packet(5, k, 44) for k in range(8)]  # two zones and a half
    stream = b"".join(sent)
    zones = [stream[at : at + 20] for at in range(0, len(stream), 20)]
    pointers = [next((at for at in range(20) if (20 * k + at) % 50 == 0), 0xFFFF) for k in range(len(zones))]
    frames = [
        uslp_frame.encode(
            uslp_frame.UslpFrame(
                SCID, VC, 2, zone, uslp_frame.SPANNING, pointer=pointer, vc_count=k, vc_count_octets=1
            ),
            fecf=True,
        )
        for k, (zone, pointer) in enumerate(zip(zones, pointers, strict=True))
    ]
    code = ReedSolomon(16, 1, "dual", 223 - len(frames[0]))
    fmt = CaduFormat(SyncSettings(code.codeblock_octets), "long", code)
    format_ = FrameFormat("uslp", len(frames[0]), {SCID: 1}, {VC: VcFormat()})
    data = octets(np.concatenate([[1, 1, 0], cadus(coded(frames, fmt))]).astype(np.uint8))

    def made() -> Any:
        return make_intake(LinkFormat(1, format_, 1, cadus=fmt))

    assert packets(fed(made(), data)) == sent
    for cut in range(0, len(data), 131):
        before, after = made(), made()
        first = before.feed(data[:cut], 1)
        state = json.loads(json.dumps(before.state()))
        after.restore(state, lambda at, length: data[at : at + length])
        assert packets([first, *fed(after, data[state["source_offset"] :])]) == sent, cut


def test_octets_before_lock_are_kept_in_their_place() -> None:
    """What lies before the first CADU and between CADUs is kept as it was received, in order of arrival."""
    fmt = cadu_format()
    frames, _ = many(12)
    bits = sent_bits(frames, fmt)
    period = fmt.sync.period_bits
    garbage = bits_of(b"garbage")
    stream = np.concatenate([garbage, bits[: 6 * period], garbage, garbage, bits[6 * period :]])
    batches = fed(intake(fmt, VcFormat("opaque")), octets(stream))
    kept = [(item.quality, item.octets) for item in items(batches)]
    good = [("GOOD", frame) for frame in frames]
    assert kept == [("SYNC", b"garbage"), *good[:6], ("SYNC", b"garbagegarbage"), *good[6:]]
