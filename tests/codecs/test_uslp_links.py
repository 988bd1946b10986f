"""USLP links in single stories: the largest values, MAPs and gaps, cuts, datagrams, rubbish, restarts, old states."""

from __future__ import annotations

import json
import random
import time
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.journal.block import build_block, decode_block
from gateway_codecs import uslp_frame
from gateway_codecs.batches import FrameFlag, IntakeBatch, ItemFlag, Quality, Unit
from gateway_codecs.crc import Fecf, frame_check
from gateway_codecs.datagrams import Datagrams
from gateway_codecs.declared import FormatError
from gateway_codecs.frames import FrameFormat, VcFormat, decode_frames
from gateway_codecs.intake import ChannelKey, FrameIntake, LinkFormat
from gateway_codecs.packet_stream import make_intake
from tests.codecs.links import Item, items, packet, packets
from tests.codecs.test_uslp_frame import uslp_frames
from tests.conftest import RUBBISH_UNITS

SCID, VC = 0xABCD, 5
NONE = 0xFFFF


def uslp(count: int | None, data: bytes, fecf: Fecf = True, map_id: int = 0, **more: Any) -> bytes:
    """A frame with a count of one octet; spanning packets with a pointer, whole packets without."""
    rule = 7 if more.get("pointer") is None else 0
    counted = {} if count is None else {"vc_count": count % 256, "vc_count_octets": 1}
    frame = uslp_frame.UslpFrame(**{"scid": SCID, "vcid": VC, "map_id": map_id, "data": data, "construction_rule": rule,
                                    **counted, **more})  # fmt: skip
    return uslp_frame.encode(frame, fecf)


def spanning(count: int | None, pointer: int, zone: bytes, map_id: int = 0, **more: Any) -> bytes:
    return uslp(count, zone, map_id=map_id, pointer=pointer, **more)


def intake(octets: int, vc: VcFormat | None = None, **more: Any) -> FrameIntake:
    fmt = {"version": "uslp", "frame_length_octets": octets, "scids": {SCID: 1}, "vcs": {VC: vc or VcFormat()}}
    return make_intake(LinkFormat(1, FrameFormat(**{**fmt, **more}), 1))  # type: ignore[return-value]


def varying(octets: int = 300, vc: VcFormat | None = None, **more: Any) -> FrameIntake:
    return intake(octets, vc, variable_length=True, **more)


def fed(link: FrameIntake, *pieces: bytes) -> list[IntakeBatch]:
    return [link.feed(piece, k + 1) for k, piece in enumerate(pieces)]


def lost_frames(batches: list[IntakeBatch]) -> list[int]:
    return [gap.missing for batch in batches for gap in batch.gaps if gap.what == "frames"]


# ---- the batch against the declaration ----

CHANNELS = {vcid: VcFormat("opaque") for vcid in range(64)}


@given(st.lists(uslp_frames(), min_size=1, max_size=6), st.sampled_from([False, True, "crc32"]), st.data())
def test_fast_is_declared(frames: list[uslp_frame.UslpFrame], fecf: Fecf, data: st.DataObject) -> None:
    """fast == declared: every field of every frame, or the refusal, also of frames that were damaged or cut."""
    octets = [bytearray(uslp_frame.encode(frame, fecf)) for frame in frames]
    length = data.draw(st.sampled_from(sorted({len(one) for one in octets})))
    for one in octets:
        one[:] = one[:length].ljust(length, b"\x15")
        if data.draw(st.booleans()):
            one[data.draw(st.integers(0, length - 1))] ^= data.draw(st.integers(0, 255))
        if data.draw(st.booleans()):
            check = frame_check(bytes(one[: length - 2 * bool(fecf) - 2 * (fecf == "crc32")]), fecf)
            one[length - len(check) :] = check
    insert = data.draw(st.sampled_from([0, 3]))
    scids = {frame.scid: 1 for frame in frames}
    fmt = FrameFormat("uslp", length, scids, CHANNELS, fecf, insert_zone_octets=insert)
    decoded = decode_frames(np.frombuffer(b"".join(octets), np.uint8), fmt, 1, 0)
    assert decoded.uslp is not None
    for k, one in enumerate(octets):
        row, frame, cause = decoded.rows[k], None, Quality.GOOD
        try:
            frame = uslp_frame.decode(bytes(one), fecf, insert)
        except FormatError as error:
            cause = Quality.FECF if "error control" in str(error) else Quality.FIELD
        if cause == Quality.FIELD and one[0] >> 4 != 12:
            cause = Quality.VERSION
        elif cause in {Quality.GOOD, Quality.FIELD} and int.from_bytes(one[:3], "big") >> 4 & 0xFFFF not in scids:
            cause = Quality.SPACECRAFT
        elif cause == Quality.GOOD and frame is not None and frame.truncated:
            cause = Quality.FIELD  # frames of a fixed length are never truncated
        assert row["quality"] == cause
        if frame is None or cause:
            continue
        assert (row["version"], row["scid"], row["vcid"], row["map_id"]) == (12, frame.scid, frame.vcid, frame.map_id)
        assert row["vc_count"] == (-1 if frame.vc_count is None else frame.vc_count)
        assert int(row["fhp"]) & 0xFFFF == (0xFFFF if frame.pointer is None else frame.pointer)
        assert int(row["ocf"]).to_bytes(4, "big") == (frame.ocf or bytes(4))
        assert bool(row["flags"] & FrameFlag.EXPEDITED) == frame.expedited
        fields = decoded.uslp
        assert (fields.construction_rule[k], fields.protocol_id[k]) == (frame.construction_rule, frame.protocol_id)
        assert fields.pointer[k] == (-1 if frame.pointer is None else frame.pointer)
        assert bool(fields.control_command[k]) == frame.control_command
        assert decoded.modulus[k] == 1 << 8 * frame.vc_count_octets
        assert decoded.view[k, decoded.start[k] : decoded.end[k]].tobytes() == frame.data


# ---- values beyond signed 16-bit numbers ----


@pytest.mark.parametrize("octets", [32767, 32768, 32769, 40000, 65535, 65536])
@pytest.mark.parametrize("many", [False, True])
def test_long_frames(octets: int, many: bool) -> None:
    """R6: frames, and pointers in them, beyond 32,768 octets; 0xFFFF is no packet start, and no place either."""
    zone = octets - 8 - 3 - 2
    sent = [packet(5, 0, zone - 306), packet(5, 1, 594), packet(5, 2, zone - 306)]
    sent += [packet(5, 3, zone + 4), packet(5, 4, zone - 16)]
    stream = b"".join(sent)
    pointers = [0, 300, 0, 10, zone - 1]
    zones = [stream[at : at + zone] for at in range(0, 4 * zone, zone)] + [bytes(zone)]
    frames = [spanning(k, pointer, part) for k, (pointer, part) in enumerate(zip(pointers, zones, strict=True))]
    link = varying(octets) if many else intake(octets)
    assert {len(frame) for frame in frames} == {octets}
    batches = [*fed(link, *frames), link.finish(9)]
    assert packets(batches) == sent
    assert int(batches[4].frames["fhp"][0]) & 0xFFFF == zone - 1
    assert batches[4].frames["quality"][0] == Quality.GOOD


def test_a_packet_over_frames_without_a_start() -> None:
    """R6: 0xFFFF says that no packet starts; 0xFFFE is a pointer, and beyond the zone."""
    whole = packet(5, 0, 54)
    link = intake(33)
    batches = fed(link, spanning(0, 0, whole[:20]), spanning(1, NONE, whole[20:40]), spanning(2, NONE, whole[40:]))
    assert packets(batches) == [whole]
    assert [int(batch.frames["fhp"][0]) for batch in batches] == [0, -1, -1]
    refused = link.feed(spanning(3, 0xFFFE, bytes(20)), 9)
    assert [item.quality for item in items([refused])] == ["FHP_OUT_OF_RANGE"]
    assert int(refused.frames["fhp"][0]) & 0xFFFF == 0xFFFE


def test_pointers_are_journalled() -> None:
    """R14: frame rows with pointers beyond 32,767, MAPs and long counts are the same behind the journal."""
    made = [uslp(None, bytes(65516), False, k, pointer=p, vc_count=(1 << 56) - 1 - k, vc_count_octets=7)
            for k, p in enumerate((0, 32767, 32768, 65515, NONE))]  # fmt: skip
    batch = intake(len(made[0]), VcFormat("opaque"), fecf=False).feed(b"".join(made), 1)
    octets = build_block(batch.items, batch.frames, {}, first_position=0, sequence=0, commit_time_ns=1,
                         journal_id=b"j" * 16, revision=1, snapshot=False)[1]  # fmt: skip
    read = decode_block(octets)
    assert (read.frames == batch.frames).all()
    assert (read.frames["fhp"].astype(np.int64) & 0xFFFF).tolist() == [0, 32767, 32768, 65515, NONE]
    assert read.frames["vc_count"].tolist() == [(1 << 56) - 1 - k for k in range(5)]
    kept = read.items[np.argsort(read.arrival)]
    assert ((kept["flags"] & ItemFlag.MAP) >> ItemFlag.MAP_SHIFT).tolist() == [0, 1, 2, 3, 4]


# ---- MAPs, gaps, qualities of service ----


def test_packets_of_maps_are_woven() -> None:
    """R6: packets of several MAPs span frames of one channel between each other, and each item tells its MAP."""
    one, two = packet(5, 0, 34), packet(6, 0, 34)
    frames = [spanning(0, 0, one[:20], 1), spanning(1, 0, two[:20], 15), spanning(2, NONE, one[20:], 1),
              spanning(3, NONE, two[20:], 15)]  # fmt: skip
    link = intake(33)
    batches = fed(link, *frames)
    rows = np.concatenate([batch.items.items for batch in batches])
    assert packets(batches) == [one, two]
    assert ((rows["flags"] & ItemFlag.MAP) >> ItemFlag.MAP_SHIFT).tolist() == [1, 15]
    assert rows["vc_count"].tolist() == [0, 1]
    shown = link.statistics()["vcs"]
    assert {name: (vc["frames"], vc["packets"], vc["counting"]) for name, vc in shown.items()} == {
        f"{SCID}/{VC}": (4, 0, "vc_count"), f"{SCID}/{VC}/1": (2, 1, "none"), f"{SCID}/{VC}/15": (2, 1, "none"),
    }  # fmt: skip


@pytest.mark.parametrize("pieces", [1, 5])
def test_a_gap_breaks_the_packets_of_all_maps(pieces: int) -> None:
    """R6: the missing frame may have been of any MAP: what is under way in each is given up, and told once as a gap."""
    one, two, three = (packet(apid, 0, 34) for apid in (5, 6, 7))
    frames = [spanning(0, 0, one[:20], 1), spanning(1, 0, two[:20], 2), spanning(3, 0, three[:20], 3),
              spanning(4, NONE, one[20:], 1), spanning(5, NONE, three[20:], 3)]  # fmt: skip
    link = intake(33)
    batches = fed(link, *frames) if pieces > 1 else fed(link, b"".join(frames))
    found = items(batches)
    assert packets(batches) == [three]
    lost = [Item("OCTETS", "PACKET_TRUNCATED", octets[:20]) for octets in (one, two)]
    assert found == [*lost, Item("OCTETS", "NO_PACKET_START", one[20:]), Item("PACKET", "GOOD", three)]
    assert [(gap.what, gap.missing, gap.ambiguous) for batch in batches for gap in batch.gaps] == [("frames", 1, True)]


def test_qualities_of_service_are_counted_apart() -> None:
    """R6: expedited frames between sequence-controlled ones have counts and packets of their own."""
    one, two = packet(5, 0, 34), packet(6, 0, 34)
    frames = [spanning(7, 0, one[:20]), spanning(200, 0, two[:20], expedited=True), spanning(8, NONE, one[20:]),
              spanning(203, NONE, two[20:], expedited=True)]  # fmt: skip
    link = intake(33)
    batches = fed(link, *frames)
    assert packets(batches) == [one]
    assert lost_frames(batches) == [2]
    assert {f"{SCID}/{VC}", f"{SCID}/{VC}/expedited", f"{SCID}/{VC}/0/expedited"} < set(link.statistics()["vcs"])
    lost = [row for batch in batches for row in batch.items.items if row["quality"] == Quality.PACKET_TRUNCATED]
    assert [bool(row["flags"] & ItemFlag.EXPEDITED) for row in lost] == [True]


@pytest.mark.parametrize("n", range(1, 8))
def test_counts_of_every_length(n: int) -> None:
    """R6: the count comes round at its own length; a gap is counted over it."""
    top = (1 << 8 * n) - 1
    link = intake(26 + n)
    frames = [uslp(None, packet(5, 0, 10), vc_count=count, vc_count_octets=n) for count in (top - 1, top, 0, 1, 5)]
    batches = fed(link, *frames)
    assert [(gap.last, gap.next, gap.missing) for batch in batches for gap in batch.gaps] == [(1, 5, 3)]


def test_control_commands_and_foreign_protocols_are_kept() -> None:
    """R6: what is no packet is kept whole and good, and breaks nothing; rules that packets cannot have are refused."""
    whole = packet(5, 0, 34)
    others = [uslp(1, bytes(22), protocol_id=1), uslp(2, bytes(22), protocol_id=5),
              uslp(3, bytes(22), control_command=True), uslp(4, bytes(22), protocol_id=31)]  # fmt: skip
    link = intake(33)
    batches = fed(link, spanning(0, 0, whole[:20]), *others, spanning(5, NONE, whole[20:]))
    assert items(batches) == [*[Item("FRAME", "GOOD", one) for one in others[:3]], Item("PACKET", "GOOD", whole)]
    refused = uslp(6, bytes(22), construction_rule=4)
    assert items([link.feed(refused, 9)]) == [Item("FRAME", "SERVICE", refused)]


def test_an_octet_stream() -> None:
    """R6: an octet stream is delivered as octets; other data of the channel's MAPs are what their settings say."""
    link = intake(33, VcFormat("bitstream", maps={1: "packets", 2: "opaque"}))
    whole = packet(5, 0, 16)
    frames = [uslp(0, b"octet stream, 22 of it", construction_rule=3, protocol_id=4), uslp(1, whole, map_id=1),
              uslp(2, whole, map_id=2), uslp(3, whole)]  # fmt: skip
    assert items(fed(link, *frames)) == [
        Item("OCTETS", "GOOD", b"octet stream, 22 of it"), Item("PACKET", "GOOD", whole),
        Item("FRAME", "GOOD", frames[2]), Item("FRAME", "GOOD", frames[3]),
    ]  # fmt: skip
    assert link.statistics()["vcs"][f"{SCID}/{VC}/0"]["octets"] == 22 + len(frames[3])


def test_whole_packets_end_with_their_frame() -> None:
    """R6: with rule 111 a packet that its frame does not hold whole is cut off at once, and joins nothing."""
    whole, cut = packet(5, 0, 6), packet(5, 1, 34)
    link = intake(33)
    first = link.feed(uslp(0, whole + cut[:10]), 1)
    assert items([first]) == [Item("PACKET", "GOOD", whole), Item("OCTETS", "PACKET_TRUNCATED", cut[:10])]
    assert link.state()["vcs"][f"{SCID}/{VC}/0"]["open"] is None
    assert packets([link.feed(spanning(1, NONE, cut[10:30]), 2)]) == []


# ---- cuts, restarts, states ----


@pytest.mark.parametrize("counted", [True, False])
def test_a_cut(counted: bool) -> None:
    """A packet under way waits over a cut only where a count will tell whether frames were lost (decision 0005)."""
    whole = packet(5, 0, 34)
    link = intake(33 - (not counted))
    count = iter(range(9))
    number = (lambda: next(count)) if counted else (lambda: None)
    batches = [link.feed(spanning(number(), 0, whole[:20]), 1), link.cut(2, "link cut")]
    batches.append(link.feed(spanning(number(), NONE, whole[20:]), 3))
    assert packets(batches) == ([whole] if counted else [])
    assert not counted or not any(batch.gaps for batch in batches)


@pytest.mark.parametrize("vary", [False, True])
@pytest.mark.parametrize("count", [0, None])
def test_a_restart_in_a_packet(vary: bool, count: int | None) -> None:
    """R7: a packet under way in a MAP is read again from its source, among frames of other MAPs."""
    whole = packet(5, 0, 54)
    number = [None if count is None else k for k in range(6)]
    frames = [spanning(number[0], 0, whole[:20], 2), spanning(number[1], 0, packet(9, 0, 14), 1),
              spanning(number[2], NONE, whole[20:40], 2), spanning(number[3], NONE, whole[40:], 2)]  # fmt: skip
    data = b"".join(frames)
    make = varying if vary else partial(intake, len(frames[0]))
    before = make()
    first = before.feed(b"".join(frames[:3]) + frames[3][:5], 1)
    state = json.loads(json.dumps(before.state()))
    assert state["source_offset"] == 3 * len(frames[0])
    again = make()
    again.restore(state, lambda at, octets: data[at : at + octets])
    assert packets([first, again.feed(frames[3], 2)]) == [packet(9, 0, 14), whole]
    assert again.state()["vcs"] == {**state["vcs"], **again.state()["vcs"]}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("42/1", ChannelKey(42, 1)), ("42/1/replay", ChannelKey(42, 1, True)), ("42/1/7", ChannelKey(42, 1, False, 7)),
        ("65535/63/15/expedited", ChannelKey(65535, 63, False, 15, True)),
        ("9/1/expedited", ChannelKey(9, 1, False, -1, True)), ("packets", None), ("42", None), ("42/1/x", None),
        ("42/1/7/x", None), ("42/1/replay/7", None), ("-1/1", None),
    ],
)  # fmt: skip
def test_names_of_channels(name: str, key: ChannelKey | None) -> None:
    """R7: names in states are those of before, with the MAP behind; a name is one channel's."""
    assert ChannelKey.parse(name) == key
    assert key is None or key.name == name


def test_a_state_of_other_frames() -> None:
    """R7: a state that was of TM frames, or of channels that USLP frames cannot have, is left out and harms nothing."""
    kept = {"count": 3, "open": [0, 0, 3, 1, 1, 20], "apids": {"5": 7}}
    names = [f"{SCID}/{VC}/replay", f"{SCID}/{VC}/16", "42/1", f"{SCID}/{VC}/0", f"{SCID}/{VC}"]
    link = intake(33)
    link.restore({"source_offset": 0, "vcs": dict.fromkeys(names, kept)}, lambda at, octets: b"")
    assert set(link.state()["vcs"]) == {f"{SCID}/{VC}/0", f"{SCID}/{VC}"}
    other = make_intake(LinkFormat(1, FrameFormat("tm", 64, {42: 1}, {1: VcFormat()}), 1))
    other.restore({"source_offset": 0, "vcs": {"42/1/5": kept, "42/1/expedited": kept, "42/1": kept}}, None)
    assert set(other.state()["vcs"]) == {"42/1"}


# ---- frames of varying length ----

ODD = [packet(5, k, 3 + 7 * (k % 9)) for k in range(60)]
WHOLE = [uslp(k, one) for k, one in enumerate(ODD)]


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=20), st.lists(st.integers(1, 400), max_size=30))
def test_rubbish_between_varying_frames(rubbish: list[bytes], cuts: list[int]) -> None:
    """R6: whatever lies between frames that are good by their FECF, all of them come out, and the rubbish is kept."""
    stream = b"".join(one + rubbish[k % len(rubbish)] for k, one in enumerate(WHOLE))
    link, at, batches = varying(), 0, []
    for size in [*cuts, len(stream)]:
        batches.append(link.feed(stream[at : at + size], 1))
        at += size
    batches.append(link.finish(2))
    assert packets(batches) == ODD
    kept = b"".join(item.octets for item in items(batches) if item.unit != "PACKET")
    assert kept == b"".join(rubbish[k % len(rubbish)] for k in range(len(WHOLE)))
    assert not lost_frames(batches)


@pytest.mark.parametrize("field", [4, 5])
@pytest.mark.parametrize("value", range(0, 256, 5))
def test_no_length_that_lies_hides_a_good_frame(field: int, value: int) -> None:
    """R6: a damaged length field, shorter or longer than its frame, costs that frame alone."""
    hurt = bytearray(WHOLE[3])
    if hurt[field] == value:
        return
    hurt[field] = value
    link = varying()
    batches = [link.feed(b"".join(WHOLE[:3]) + bytes(hurt) + b"".join(WHOLE[4:]), 1), link.finish(2)]
    assert packets(batches) == ODD[:3] + ODD[4:]
    assert b"".join(item.octets for item in items(batches) if item.unit != "PACKET") == bytes(hurt)
    assert lost_frames(batches) == [1]


def test_frames_that_fail_are_told_from_rubbish() -> None:
    """R6: a chain of headers and lengths between good frames are frames that failed; other octets are none."""
    hurt = [one[:-1] + bytes([one[-1] ^ 1]) for one in WHOLE[1:4]]
    link = varying()
    found = items([link.feed(WHOLE[0] + b"".join(hurt) + WHOLE[4] + hurt[0][:-1] + WHOLE[5], 1)])
    assert [(item.unit, item.quality) for item in found] == [
        ("PACKET", "GOOD"), *[("FRAME", "FECF")] * 3, ("PACKET", "GOOD"), ("OCTETS", "SYNC"), ("PACKET", "GOOD"),
    ]  # fmt: skip


@pytest.mark.parametrize("what", ["noise", "zeros", "all frames bad", "headers"])
def test_long_rubbish_is_decided_in_pieces(what: str) -> None:
    """R6: without a good frame, octets are told after a bounded number of them, the same however they arrive."""
    rng = random.Random(1)
    bad = b"".join(one[:-1] + bytes([one[-1] ^ 1]) for one in WHOLE) * 6
    rubbish = {
        "noise": rng.randbytes(20_000), "zeros": bytes(20_000), "all frames bad": bad, "headers": WHOLE[0][:4] * 5000,
    }[what]  # fmt: skip
    stream = WHOLE[0] + rubbish + WHOLE[1]
    results = []
    for size in (len(stream), 1000, 77, 3):
        link = varying()
        batches = [link.feed(stream[at : at + size], 1) for at in range(0, len(stream), size)]
        assert packets(batches) == ODD[:2]
        waiting = sum(len(batch.items) for batch in batches[: len(batches) // 2])
        assert waiting > 1 or size == len(stream), "rubbish is told before a good frame comes"
        results.append(items([*batches, link.finish(2)]))
        assert len(b"".join(item.octets for item in results[-1][1:-1])) == len(rubbish)
    assert results[0] == results[1] == results[2] == results[3]
    causes = {item.quality for item in results[0][1:-1]}
    assert causes == ({"FECF"} if what == "all frames bad" else {"SYNC"})


def test_a_restart_in_rubbish() -> None:
    """R7: a restart in the midst of rubbish goes on searching: a frame of another spacecraft there is none either."""
    foreign = uslp(0, packet(5, 0, 9), scid=7)
    link = varying()
    found = [link.feed(WHOLE[0] + bytes(4096 + 300), 1)]
    state = json.loads(json.dumps(link.state()))
    assert state["lost"] is True
    assert state["source_offset"] == len(WHOLE[0]) + 2048
    again = varying()
    again.restore({**state, "source_offset": 5}, lambda at, octets: b"")
    found += [again.feed(foreign + WHOLE[1], 2)]
    assert packets(found) == ODD[:2]
    assert items(found[1:])[0] == Item("OCTETS", "SYNC", foreign)
    assert again.state()["lost"] is False
    assert items([again.feed(foreign, 3)]) == [Item("FRAME", "SPACECRAFT", foreign)]


def test_the_end_of_a_stream() -> None:
    """R6: an incomplete frame at the end is kept; frames behind a length that lies come out at the latest then."""
    lying = WHOLE[0][:4] + b"\x01\x20" + WHOLE[0][6:]
    for end in (lambda link: link.finish(2), lambda link: link.cut(2, "link cut")):
        link = varying()
        batches = [link.feed(lying + WHOLE[1] + WHOLE[2] + WHOLE[3][:9], 1)]
        assert packets(batches) == []
        batches.append(end(link))
        assert packets(batches) == ODD[1:3]
        kept = [item for item in items(batches) if item.unit != "PACKET"]
        assert kept == [Item("OCTETS", "SYNC", lying), Item("OCTETS", "LENGTH", WHOLE[3][:9])]
        assert link.statistics()["causes"] == {"sync": 1, "length": 1}
        assert packets([link.feed(WHOLE[4], 3)]) == [ODD[4]]


def test_truncated_frames() -> None:
    """R6: truncated frames have the length that their channel says, between others; elsewhere they are rubbish."""
    short = uslp_frame.encode(uslp_frame.UslpFrame(SCID, VC, 1, packet(5, 9, 5), truncated=True), True)
    vcs = {VC: VcFormat(truncated_frame_octets=len(short)), 6: VcFormat()}
    foreign = uslp_frame.encode(uslp_frame.UslpFrame(SCID, 6, 1, packet(5, 9, 5), truncated=True), True)
    link = varying(vcs=vcs)
    batches = [link.feed(WHOLE[0] + short + WHOLE[1] + foreign + short + WHOLE[2], 1)]
    assert packets(batches) == [ODD[0], packet(5, 9, 5), ODD[1], packet(5, 9, 5), ODD[2]]
    assert [item for item in items(batches) if item.unit != "PACKET"] == [Item("OCTETS", "SYNC", foreign)]
    assert not batches[0].gaps


def test_without_error_control_headers_are_believed() -> None:
    """Without an FECF the next plausible header of the spacecraft goes on after rubbish."""
    plain = [uslp(k, one, False) for k, one in enumerate(ODD[:4])]
    link = varying(fecf=False)
    batches = [link.feed(plain[0] + b"rubbish" + plain[1] + plain[2] + b"\xca\xbc" + plain[3], 1), link.finish(2)]
    assert packets(batches) == ODD[:4]
    assert [item.octets for item in items(batches) if item.unit != "PACKET"] == [b"rubbish", b"\xca\xbc"]


def test_varying_frames_in_datagrams() -> None:
    """R6: a datagram holds whole frames; what is none is kept, and the next datagram begins anew."""
    sent = [WHOLE[0] + WHOLE[1], b"", WHOLE[2][:-1], WHOLE[3], b"x" + WHOLE[4], WHOLE[5] + b"tail"]
    link = varying()
    lengths = np.array([len(one) for one in sent], np.int64)
    batch = link.feed_datagrams(Datagrams(b"".join(sent), lengths), 1)
    assert packets([batch]) == [ODD[k] for k in (0, 1, 3, 4, 5)]
    kept = [item for item in items([batch]) if item.unit != "PACKET"]
    assert kept == [
        Item("OCTETS", "LENGTH", WHOLE[2][:-1]),
        Item("OCTETS", "SYNC", b"x"),
        Item("OCTETS", "LENGTH", b"tail"),
    ]
    assert (batch.counters["rejected_length"], batch.counters["rejected_sync"], batch.counters["datagrams"]) == (
        2,
        1,
        6,
    )
    assert batch.frames["source_offset"].tolist()[:2] == [0, len(WHOLE[0])]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("fecf", [True, "crc32"])
def test_varying_rubbish_in_masses(seed: int, fecf: Fecf) -> None:
    """R6 in masses: good frames, damaged ones, cut ones, headers, noise: each good one's packet comes out once."""
    rng = random.Random(seed)
    stream, wanted, count = [], [], 0
    for k in range(RUBBISH_UNITS):
        choice = rng.random()
        whole = packet(5, k % 16384, rng.randrange(1, 60))
        octets = uslp(count, whole, fecf, rng.randrange(3))
        if choice < 0.5:
            stream.append(octets)
            wanted.append(whole)
            count += 1
            continue
        hurt = bytearray(octets)
        hurt[rng.randrange(len(hurt))] ^= 1 << rng.randrange(8)
        cut = octets[: rng.randrange(len(octets) - 8)]  # what lacks an octet or two is good by the next header's first
        stream.append(rng.choice([bytes(hurt), cut, octets[:4], rng.randbytes(9)]))
    data, link, at, batches = b"".join(stream), varying(fecf=fecf), 0, []
    while at < len(data):
        size = rng.choice([1, 63, 64, 65, 1000, 20_000])
        batches.append(link.feed(data[at : at + size], 1))
        at += size
    batches.append(link.finish(1))
    assert packets(batches) == wanted
    assert not lost_frames(batches)
    kept = sum(len(item.octets) for item in items(batches) if item.unit != "PACKET")
    assert kept == sum(len(octets) for octets in stream) - sum(
        9 + len(whole) + (4 if fecf == "crc32" else 2) for whole in wanted
    )


@given(st.binary(max_size=3000), st.integers(1, 300), st.booleans(), st.sampled_from([False, True]))
def test_any_octets_at_all(data: bytes, chunk: int, vary: bool, fecf: Fecf) -> None:
    """R6: octets of any kind raise nothing, all of them end once."""
    data = data.replace(b"\x01", b"\xca\xbc\xd0\xa0\x00\x0f")
    link = varying(64, fecf=fecf) if vary else intake(64, fecf=fecf)
    batches = [link.feed(data[at : at + chunk], 1) for at in range(0, len(data), chunk)] + [link.finish(1)]
    json.dumps(link.statistics())
    bad = [row for batch in batches for row in batch.items.items if row["quality"] and row["unit"] != Unit.PACKET]
    assert len(bad) == sum(link.statistics()["causes"].values())


def test_headers_that_lie_cost_bounded_work() -> None:
    """R13: nothing but headers with long lengths: the search stays within some passes over the octets."""
    hostile = WHOLE[0][:4] + b"\x07\xff\x01"
    data = hostile * (1 << 14)
    link = varying(2048)
    began = time.process_time()
    link.feed(data, 1)
    assert time.process_time() - began < 5
