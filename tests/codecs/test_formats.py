"""The declared formats against vectors made by independent implementations, and as round trips."""

from __future__ import annotations

import binascii
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spacepackets.ccsds import SpacePacketHeader

from gateway_codecs import aos_frame, clcw, encapsulation_packet, space_packet, tm_frame
from gateway_codecs.batches import FrameFlag, Quality, Unit
from gateway_codecs.crc import crc16, crc32c, fecf_good
from gateway_codecs.declared import FormatError
from gateway_codecs.frames import FrameFormat, VcFormat, decode_frames
from gateway_codecs.intake import FrameIntake, LinkFormat

SHARED = Path(__file__).parents[3] / "shared"
needs_vectors = pytest.mark.skipif(not SHARED.exists(), reason="the shared vectors are not beside the checkout")


def vectors(name: str) -> list[dict[str, object]]:
    return json.loads((SHARED / "spec/vectors" / f"{name}.json").read_text())["vectors"]


@needs_vectors
def test_crc16_vectors() -> None:
    """CRC-16 agrees with two independent sets of vectors."""
    for vector in vectors("crc"):
        assert f"{crc16(bytes.fromhex(str(vector['data']))):04x}" == vector["crc16_ccitt_ffff"]
    for vector in json.loads((SHARED / "vectors/crc.json").read_text())["crc16_ccitt_false"]:
        data = (
            bytes.fromhex(vector["data"])
            if vector["data"] is not None
            else bytes(i % 256 for i in range(vector["len"]))
        )
        assert f"{crc16(data):04x}" == vector["crc16"]


@given(st.binary(max_size=200))
def test_crc16_is_the_reference(data: bytes) -> None:
    """The fast CRC is the standard library's."""
    assert crc16(data) == binascii.crc_hqx(data, 0xFFFF)


def test_crc32c_check_value() -> None:
    """CRC-32C gives the published check value."""
    assert crc32c(b"123456789") == 0xE3069283


@given(st.lists(st.binary(min_size=10, max_size=10), min_size=1, max_size=8))
def test_batch_crc(frames: list[bytes]) -> None:
    """The batch check is the single check of each row."""
    rows = np.frombuffer(b"".join(frames), np.uint8).reshape(-1, 10)
    assert fecf_good(rows).tolist() == [crc16(f[:-2]).to_bytes(2, "big") == f[-2:] for f in frames]


@needs_vectors
def test_space_packet_vectors() -> None:
    """Space packets decode to the vectors' fields and encode back to their octets."""
    for vector in vectors("space_packet"):
        packet = space_packet.decode(bytes.fromhex(str(vector["hex"])))
        assert (packet.apid, packet.sequence_count, packet.sequence_flags) == (
            vector["apid"], vector["seq_count"], vector["seq_flags"],
        )  # fmt: skip
        assert packet.data.hex() == vector["data"]
        assert space_packet.encode(packet).hex() == vector["hex"]


@given(
    st.integers(0, 2047),
    st.integers(0, 16383),
    st.integers(0, 3),
    st.booleans(),
    st.booleans(),
    st.binary(min_size=1, max_size=50),
)
def test_space_packet_like_spacepackets(apid: int, count: int, flags: int, tc: bool, sec: bool, data: bytes) -> None:
    """Our header is the one that the spacepackets package reads; decode undoes encode."""
    packet = space_packet.SpacePacket(apid, count, data, 0, tc, sec, flags)
    octets = space_packet.encode(packet)
    other = SpacePacketHeader.unpack(octets)
    assert (other.apid, other.seq_count, int(other.seq_flags), other.data_len) == (apid, count, flags, len(data) - 1)
    assert (bool(other.packet_type), other.sec_header_flag) == (tc, sec)
    assert space_packet.decode(octets) == packet


@needs_vectors
def test_encapsulation_vectors() -> None:
    """Encapsulation packets of all four header sizes decode and encode back."""
    for vector in vectors("encapsulation"):
        packet = encapsulation_packet.decode(bytes.fromhex(str(vector["hex"])))
        assert (packet.protocol_id, packet.size_code, packet.length) == (
            vector["protocol_id"], vector["length_of_length"], vector["total_len"],
        )  # fmt: skip
        assert encapsulation_packet.encode(packet).hex() == vector["hex"]


@needs_vectors
def test_clcw_vectors() -> None:
    """CLCWs decode to the vectors' fields and encode back."""
    names = {"vc": "vcid", "rep": "report_value", "rt": "retransmit", "w": "wait", "lo": "lockout", "rf": "no_rf",
             "bl": "no_bit_lock", "fb": "farm_b_counter", "status": "status"}  # fmt: skip
    for vector in vectors("clcw"):
        word = clcw.decode(bytes.fromhex(str(vector["hex"])))
        for key, value in vector["fields"].items():  # type: ignore[attr-defined]
            assert getattr(word, names[key]) == value
        assert clcw.encode(word).hex() == vector["hex"]


@needs_vectors
def test_tm_frame_vectors() -> None:
    """TM frames decode, encode back, and give the packets that the vector file says."""
    rows = {str(v["id"]): v for v in vectors("tm_frames")}
    for name, vector in rows.items():
        if name == "packets_in_sequence":
            continue
        octets = bytes.fromhex(str(vector["hex"]))
        frame = tm_frame.decode(octets, fecf=True)
        assert frame.first_header_pointer == vector["fhp"]
        assert tm_frame.encode(frame, fecf=True) == octets
    sequence = [bytes.fromhex(str(rows[n]["hex"])) for n in ("tm_fhp0", "tm_fhp_7ff", "tm_fhp_2_idle_packet")]
    scid = tm_frame.decode(sequence[0], fecf=True).scid
    fmt = FrameFormat("tm", len(sequence[0]), {scid: 1}, {1: VcFormat()}, ocf="by_flag")
    batch = FrameIntake(LinkFormat(1, fmt, 1)).feed(b"".join(sequence), 0)
    packets = [batch.items.octets_of(k) for k in range(len(batch.items)) if batch.items.items["unit"][k] == Unit.PACKET]
    assert b"".join(packets[:2]).hex() == rows["packets_in_sequence"]["hex"]
    assert len(packets) == 3


@needs_vectors
def test_aos_frame_vectors() -> None:
    """AOS frames of every kind decode and encode back."""
    for vector in vectors("aos_frames"):
        _, insert, kind, ocf, fecf = str(vector["params(fhec insert_len type ocf fecf)"]).split()
        octets = bytes.fromhex(str(vector["hex"]))
        m_pdu = kind == "M_PDU"
        frame = aos_frame.decode(octets, fecf == "1", int(insert), ocf == "1", m_pdu)
        assert aos_frame.encode(frame, fecf == "1") == octets


@needs_vectors
def test_aos_frame_vectors_in_a_batch() -> None:
    """The batch decoder reads the vectors' ids, counts, OCFs and data fields as the declaration does."""
    for vector in vectors("aos_frames"):
        fhec, insert, kind, ocf, fecf = str(vector["params(fhec insert_len type ocf fecf)"]).split()
        octets, m_pdu = bytes.fromhex(str(vector["hex"])), kind == "M_PDU"
        header_octets = int(insert) + 2 * (fhec == "1")
        declared = aos_frame.decode(octets, fecf == "1", header_octets, ocf == "1", m_pdu)
        service = VcFormat("packets" if m_pdu else "opaque")
        fmt = FrameFormat(
            "aos", len(octets), {declared.scid: 1}, {declared.vcid: service}, fecf == "1",
            "present" if ocf == "1" else "absent", header_octets,
        )  # fmt: skip
        decoded = decode_frames(np.frombuffer(octets * 2, np.uint8), fmt, 1, 0)
        for row in decoded.rows:
            assert (row["quality"], row["scid"], row["vcid"]) == (Quality.GOOD, declared.scid, declared.vcid)
            assert row["vc_count"] == declared.vc_count + ((declared.vc_count_cycle or 0) << 24)
            assert bool(row["flags"] & FrameFlag.REPLAY) == declared.replay_flag
            assert not m_pdu or row["fhp"] == declared.first_header_pointer
            assert int(row["ocf"]).to_bytes(4, "big") == (declared.ocf or bytes(4))
        assert decoded.view[1, decoded.start[1] : decoded.end[1]].tobytes() == declared.data


@pytest.mark.parametrize(
    "make",
    [
        lambda: space_packet.SpacePacket(2048, 0, b"x"),
        lambda: space_packet.SpacePacket(0, 16384, b"x"),
        lambda: space_packet.SpacePacket(0, 0, b""),
        lambda: tm_frame.TmFrame(0, 8, 0, 0, 0, b""),
        lambda: tm_frame.TmFrame(1024, 0, 0, 0, 0, b""),
        lambda: aos_frame.AosFrame(256, 0, 0, b""),
        lambda: clcw.Clcw(64, 0),
        lambda: encapsulation_packet.EncapsulationPacket(1, 0),
        lambda: encapsulation_packet.EncapsulationPacket(1, 1, bytes(300)),
    ],
)
def test_values_that_do_not_fit_are_refused(make: object) -> None:
    """A value that does not fit its field is refused when it is made."""
    with pytest.raises(FormatError):
        make()  # type: ignore[operator]


tm_frames = st.builds(
    tm_frame.TmFrame,
    scid=st.just(42), vcid=st.integers(0, 7), mc_count=st.integers(0, 255), vc_count=st.integers(0, 255),
    first_header_pointer=st.integers(0, 2047), data=st.binary(min_size=20, max_size=20),
    ocf=st.none() | st.binary(min_size=4, max_size=4), synchronisation_flag=st.booleans(),
)  # fmt: skip
frames_with_secondary_headers = st.builds(
    tm_frame.TmFrame,
    scid=st.just(42), vcid=st.integers(0, 7), mc_count=st.just(0), vc_count=st.just(0),
    first_header_pointer=st.integers(0, 2047), data=st.binary(max_size=20),
    ocf=st.none() | st.binary(min_size=4, max_size=4), secondary_header=st.none() | st.binary(max_size=63),
)  # fmt: skip


@given(st.lists(frames_with_secondary_headers, min_size=1, max_size=6), st.integers(12, 96))
def test_fast_tm_is_declared_tm_with_secondary_headers(frames: list[tm_frame.TmFrame], length: int) -> None:
    """fast == declared: with a secondary header of any length, one octet included, or longer than its frame."""
    octets = [tm_frame.encode(frame, fecf=False).ljust(length, b"\x15")[:length] for frame in frames]
    fmt = FrameFormat("tm", length, {42: 1}, {v: VcFormat("opaque") for v in range(8)}, fecf=False, ocf="by_flag")
    decoded = decode_frames(np.frombuffer(b"".join(octets), np.uint8), fmt, 1, 0)
    for k, data in enumerate(octets):
        try:
            declared = tm_frame.decode(data, fecf=False)
        except FormatError:
            assert decoded.rows["quality"][k] == Quality.FIELD
            continue
        assert decoded.rows["quality"][k] == Quality.GOOD
        assert decoded.view[k, decoded.start[k] : decoded.end[k]].tobytes() == declared.data
        ocf = b"\0\0\0\0" if declared.ocf is None else declared.ocf
        assert int(decoded.rows["ocf"][k]).to_bytes(4, "big") == ocf


@given(st.lists(tm_frames, min_size=1, max_size=6))
def test_fast_tm_is_declared_tm(frames: list[tm_frame.TmFrame]) -> None:
    """fast == declared: the batch decoder reads the same fields as the declaration, frame by frame."""
    padded = [tm_frame.encode(f, fecf=False).ljust(30, b"\0") for f in frames]
    fmt = FrameFormat("tm", 30, {42: 1}, {v: VcFormat("opaque") for v in range(8)}, fecf=False, ocf="by_flag")
    rows = decode_frames(np.frombuffer(b"".join(padded), np.uint8), fmt, 1, 0).rows
    for row, octets in zip(rows, padded, strict=True):
        head = tm_frame.TM_FRAME_HEADER.parse(octets)
        assert (row["scid"], row["vcid"], row["mc_count"], row["vc_count"]) == (
            head.scid, head.vcid, head.mc_count, head.vc_count,
        )  # fmt: skip
        assert row["fhp"] == (-1 if head.synchronisation_flag else head.first_header_pointer)
        assert row["ocf"] == (int.from_bytes(octets[26:30], "big") if head.ocf_flag else 0)
        assert row["quality"] == Quality.GOOD


@given(
    st.lists(
        st.tuples(st.integers(0, 62), st.integers(0, (1 << 24) - 1), st.booleans(), st.none() | st.integers(0, 15)),
        min_size=1,
        max_size=6,
    )
)
def test_fast_aos_is_declared_aos(rows_in: list[tuple[int, int, bool, int | None]]) -> None:
    """fast == declared for AOS: ids, 24- and 28-bit counts, replay flag, M_PDU pointer behind an insert zone."""
    frames = [
        aos_frame.encode(aos_frame.AosFrame(7, vcid, count, bytes(20), 5, b"zz", None, replay, cycle), fecf=True)
        for vcid, count, replay, cycle in rows_in
    ]
    fmt = FrameFormat("aos", len(frames[0]), {7: 1}, {v: VcFormat() for v in range(63)}, insert_zone_octets=2)
    decoded = decode_frames(np.frombuffer(b"".join(frames), np.uint8), fmt, 1, 0)
    for row, (vcid, count, replay, cycle) in zip(decoded.rows, rows_in, strict=True):
        assert (row["vcid"], row["fhp"], row["quality"]) == (vcid, 5, Quality.GOOD)
        assert row["vc_count"] == count + ((cycle or 0) << 24)
        assert bool(row["flags"] & 4) == replay
    assert (decoded.start == 10).all()
