"""Everything that real links vary is a setting: each one changes what is read, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from gateway_codecs import aos_frame, encapsulation_packet, space_packet, tm_frame
from gateway_codecs.batches import FrameFlag, Gap, IntakeBatch, Quality, Unit
from gateway_codecs.frames import FrameFormat, VcFormat
from gateway_codecs.intake import FrameIntake, LinkFormat
from gateway_codecs.packet_stream import PacketIntake

SCID, LENGTH = 33, 64


def packet(apid: int, count: int, octets: int = 12) -> bytes:
    return space_packet.encode(space_packet.SpacePacket(apid, count, bytes([count & 255]) * octets))


def intake(vc: VcFormat, **more: object) -> FrameIntake:
    settings = {"version": "tm", "frame_length_octets": LENGTH, "scids": {SCID: 1}, "vcs": {0: vc}, "fecf": False}
    return FrameIntake(LinkFormat(1, FrameFormat(**{**settings, **more}), 1))  # type: ignore[arg-type]


def header(count: int, fhp: int = 0, ocf: bool = False, secondary: bool = False) -> bytes:
    first = (SCID << 4) | ocf
    status = (secondary << 15) | (3 << 11) | fhp
    return first.to_bytes(2, "big") + bytes([count & 255, count & 255]) + status.to_bytes(2, "big")


def packets(batch: IntakeBatch) -> list[bytes]:
    rows = batch.items.items
    return [batch.items.octets_of(k) for k in range(len(rows)) if rows["unit"][k] == Unit.PACKET]


def rejected(batch: IntakeBatch) -> list[bytes]:
    rows = batch.items.items
    return [batch.items.octets_of(k) for k in range(len(rows)) if rows["quality"][k] != Quality.GOOD]


def test_packets_at_a_fixed_offset_without_a_pointer() -> None:
    """A data field with the packet at octet 4 and no header pointer: whole packets, none spans frames."""
    wanted = [packet(5, k, 48) for k in range(3)]
    frames = b"".join(header(k, 0x7FF) + b"\xaa\xbb\xcc\xdd" + p for k, p in enumerate(wanted))
    batch = intake(VcFormat(packet_start=4)).feed(frames + header(3) + b"\xaa\xbb\xcc\xdd" + wanted[0][:54], 1)
    assert packets(batch)[:3] == wanted
    assert len(batch.items.items[batch.items.items["quality"] == Quality.NO_PACKET_START]) == 4, "kept, not dropped"


@pytest.mark.parametrize("chunk", [1, 50, 64, 640])
def test_padding_after_a_packet(chunk: int) -> None:
    """packet_zone_padding: what follows the one packet of a frame is counted, not read and not kept."""
    wanted = [packet(5, k, 10 + k) for k in range(10)]
    data = b"".join((header(k) + p).ljust(LENGTH, b"\x00") for k, p in enumerate(wanted))
    tested = intake(VcFormat(packet_zone_padding=True))
    batches = [tested.feed(data[at : at + chunk], 1) for at in range(0, len(data), chunk)]
    assert [p for b in batches for p in packets(b)] == wanted
    assert not [r for b in batches for r in rejected(b)]
    assert tested.statistics()["padding_octets"] == sum(58 - len(p) for p in wanted)
    as_packets = intake(VcFormat()).feed(data, 1)
    assert packets(as_packets) != wanted, "without the setting padding would be read as packets"


def test_padding_at_a_fixed_offset() -> None:
    """Both together: one packet at octet 2 of each data field, the rest padding."""
    wanted = [packet(5, k, 20) for k in range(4)]
    data = b"".join((header(k, 0x155) + b"\x01\x02" + p).ljust(LENGTH, b"\xff") for k, p in enumerate(wanted))
    batch = intake(VcFormat(packet_start=2, packet_zone_padding=True)).feed(data, 1)
    assert packets(batch) == wanted
    assert [len(r) for r in rejected(batch)] == [2, 2, 2, 2], "octets before the packets are kept with a cause"


def test_a_secondary_header_of_fixed_length() -> None:
    """secondary_header: 5 skips five octets whatever the flag says; by_flag reads the length; absent skips none."""
    for setting, data in (
        (5, header(0) + b"12345" + packet(5, 0, 47)),
        ("by_flag", header(0, secondary=True) + b"\x04abcd" + packet(5, 0, 47)),
        ("absent", header(0, secondary=True) + packet(5, 0, 52)),
    ):
        found = intake(VcFormat(), secondary_header=setting).feed(data, 1)
        assert [len(p) for p in packets(found)] == [LENGTH - 6 if setting == "absent" else LENGTH - 11]


def test_prefix_and_suffix_octets() -> None:
    """Stored frames with octets before and after each: they are stepped over, the frame is the frame."""
    wanted = [packet(5, k, 52) for k in range(5)]
    data = b"".join(b"PRE" + header(k) + p + b"SUFFIX" for k, p in enumerate(wanted))
    tested = intake(VcFormat(), prefix_octets=3, suffix_octets=6)
    assert [p for at in range(0, len(data), 17) for p in packets(tested.feed(data[at : at + 17], 1))] == wanted


def test_an_ocf_by_flag_in_some_frames_only() -> None:
    """ocf: by_flag takes four octets from the frames that say so, in the same batch as frames that do not."""
    stream, data, words = b"".join(packet(5, k, 13) for k in range(40)), b"", []
    for count in range(12):
        has = count % 3 == 0
        room = LENGTH - 6 - 4 * has
        part, stream = stream[:room], stream[room:]
        fhp = (19 - (sum(LENGTH - 6 - 4 * (k % 3 == 0) for k in range(count)) % 19)) % 19
        word = bytes([1, 2, 3, count]) if has else b""
        words.append(int.from_bytes(word, "big"))
        data += header(count, fhp, ocf=has) + part + word
    batch = intake(VcFormat(), ocf="by_flag").feed(data, 1)
    got = packets(batch)
    assert got == [packet(5, k, 13) for k in range(len(got))]
    assert len(got) == (12 * 58 - 16) // 19
    assert batch.frames["ocf"].tolist() == words
    assert [(f & FrameFlag.OCF) != 0 for f in batch.frames["flags"]] == [k % 3 == 0 for k in range(12)]


@pytest.mark.parametrize("stream", [False, True])
def test_apids_that_share_a_count(stream: bool) -> None:
    """counting: shared: one count over several APIDs; a gap is seen across them, once, and told with the group."""
    order = [(5, 0), (6, 1), (5, 2), (6, 5), (7, 100), (5, 6)]
    rules = {5: "shared:payload", 6: "shared:payload"}
    if stream:
        tested: FrameIntake | PacketIntake = PacketIntake(LinkFormat(1, None, 1, VcFormat(apid_counting=rules)))
        pieces = [packet(a, c, 52) for a, c in order]
    else:
        tested = intake(VcFormat(apid_counting=rules))
        pieces = [header(k) + packet(a, c, 52) for k, (a, c) in enumerate(order)]
    gaps: list[Gap] = []
    missing: list[int] = []
    for k, piece in enumerate(pieces):
        if k == 3:  # the shared count goes on after a restart
            state, old = tested.state(), tested
            tested = type(old)(old._settings)
            tested.restore(state, lambda at, octets: b"")
        batch = tested.feed(piece, 1)
        gaps += batch.gaps
        missing += batch.items.items["missing_before"].tolist()
    assert missing == [0, 0, 0, 2, 0, 0]
    assert [(g.apid, g.missing, g.group) for g in gaps if g.what == "packets"] == [(6, 2, "payload")]


def test_packet_versions_and_idle_rules() -> None:
    """packet_versions: version 7 only where accepted; one-octet idle packets are counted; idle VCs give no items."""
    body = encapsulation_packet.encode(encapsulation_packet.EncapsulationPacket(2, 1, b"x" * 20))
    zone = (body + b"\xe0" * 58)[:58]
    accepted, refused = intake(VcFormat()), intake(VcFormat(packet_versions=frozenset({0})))
    assert packets(accepted.feed(header(0) + zone, 1)) == [body]
    assert accepted.statistics()["idle_octets"] == 58 - len(body)
    batch = refused.feed(header(0) + zone, 1)
    assert (packets(batch), rejected(batch)) == ([], [zone])
    idle = intake(VcFormat("idle")).feed(header(0, 0x7FE) + zone, 1)
    assert (len(idle.items), len(idle.frames)) == (0, 1)


def test_insert_zone_and_replay_flag_of_aos() -> None:
    """AOS: an insert zone of any length is stepped over, in idle frames too; the replay flag makes a dump item."""
    wanted = [packet(5, k, 33) for k in range(3)]
    frames = b"".join(
        aos_frame.encode(aos_frame.AosFrame(SCID, 1, k, p + b"\xe0" * 9, 0, b"I" * 8, replay_flag=k == 1), fecf=False)
        for k, p in enumerate(wanted)
    )
    settings = {"version": "aos", "vcs": {1: VcFormat()}, "insert_zone_octets": 8}
    batch = intake(VcFormat(), **settings).feed(frames, 1)
    assert packets(batch) == wanted
    assert batch.items.items["data_mode"].tolist() == [0, 1, 0]


def test_a_longest_packet() -> None:
    """max_packet_octets: a longer one is refused by its length field, before anything waits for its octets."""
    data = header(0) + packet(5, 0, 24) + packet(6, 0, 22)
    batch = intake(VcFormat(max_packet_octets=28)).feed(data.ljust(LENGTH, b"\xe0"), 1)
    assert packets(batch) == []
    assert batch.items.items["quality"].tolist()[0] == Quality.PACKET_LENGTH


def test_declared_frames_agree_with_these_headers() -> None:
    """The headers made by hand here are those of the declaration."""
    frame = tm_frame.decode(header(7, 3, ocf=False) + bytes(58), fecf=False)
    assert (frame.scid, frame.vc_count, frame.first_header_pointer) == (SCID, 7, 3)
    assert np.frombuffer(header(7, 3), np.uint8)[2] == 7
