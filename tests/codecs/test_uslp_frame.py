"""The declared USLP frame against vectors and an independent implementation, and as a round trip."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spacepackets.uslp.frame import (
    FrameType,
    TfdzConstructionRules,
    TransferFrame,
    TransferFrameDataField,
    UslpProtocolIdentifier,
    VarFrameProperties,
)
from spacepackets.uslp.header import (
    BypassSequenceControlFlag,
    PrimaryHeader,
    ProtocolCommandFlag,
    SourceOrDestField,
    TruncatedPrimaryHeader,
)

from gateway_codecs import uslp_frame
from gateway_codecs.crc import Fecf, crc32, frame_check
from gateway_codecs.declared import FormatError
from tests.conftest import SHARED

needs_vectors = pytest.mark.skipif(not SHARED.exists(), reason="the shared vectors are not beside the checkout")
FECF: tuple[Fecf, ...] = (False, True, "crc32")


def vectors(name: str) -> list[dict[str, Any]]:
    return json.loads((SHARED / f"spec/vectors/{name}.json").read_text())["vectors"]


@st.composite
def uslp_frames(draw: st.DrawFn) -> uslp_frame.UslpFrame:
    """Any frame that can be made."""
    truncated, count_octets = draw(st.booleans()), draw(st.integers(0, 7))
    counts = st.integers(0, (1 << 8 * count_octets) - 1) if count_octets else st.none()
    rule = draw(st.integers(3 if truncated else 0, 7))
    data = draw(st.binary(min_size=1, max_size=40))
    pointers = st.integers(0, len(data) - 1) | st.just(0xFFFF) if rule < 3 else st.none()
    what = {
        "scid": draw(st.integers(0, 65535)), "vcid": draw(st.integers(0, 63)), "map_id": draw(st.integers(0, 15)),
        "data": data, "construction_rule": rule, "protocol_id": draw(st.integers(0, 31)), "pointer": draw(pointers),
        "destination": draw(st.booleans()), "truncated": truncated,
    }  # fmt: skip
    more = {
        "vc_count": draw(counts), "vc_count_octets": count_octets, "expedited": draw(st.booleans()),
        "control_command": draw(st.booleans()), "insert_zone": draw(st.sampled_from([b"", b"in!"])),
        "ocf": draw(st.none() | st.binary(min_size=4, max_size=4)),
    }  # fmt: skip
    return uslp_frame.UslpFrame(**what) if truncated else uslp_frame.UslpFrame(**what, **more)


@needs_vectors
def test_crc32_vectors() -> None:
    """The 32-bit frame error control field is that of the vectors, and its check value the published one."""
    assert crc32(b"123456789") == 0x51693C0C
    for vector in vectors("crc"):
        assert f"{crc32(bytes.fromhex(vector['data'])):08x}" == vector["crc32_uslp_a00805_init0"]


@needs_vectors
def test_uslp_frame_vectors() -> None:
    """USLP frames of every kind decode to what the sheet says of them, and encode back."""
    found = {}
    for vector in vectors("uslp_frames"):
        octets, name = bytes.fromhex(vector["hex"]), vector["id"]
        fecf: Fecf = "crc32" if "crc32" in name else "truncated" not in name
        found[name] = frame = uslp_frame.decode(octets, fecf)
        assert uslp_frame.encode(frame, fecf) == octets
    whole, first = found["uslp_rule7_vca_nolen"], found["uslp_rule0_packets_fhp0"]
    assert (whole.scid, whole.vcid, whole.map_id, whole.vc_count, whole.vc_count_octets) == (0xABCD, 5, 2, 0x0102, 2)
    assert (whole.construction_rule, whole.protocol_id, whole.pointer, whole.ocf) == (
        7,
        0,
        None,
        bytes.fromhex("01000003"),
    )
    assert (first.construction_rule, first.pointer, first.vc_count, first.ocf) == (0, 0, 0x01020304, None)
    assert found["uslp_rule0_no_start_crc32"].pointer == 0xFFFF
    idle, short = found["uslp_oid_vc63"], found["uslp_truncated"]
    assert (idle.vcid, idle.expedited, idle.vc_count, idle.protocol_id) == (63, True, None, 31)
    assert (short.truncated, short.destination, short.vcid, short.data) == (True, True, 1, b"\1\2\3")


@given(uslp_frames(), st.sampled_from(FECF))
def test_round_trip(frame: uslp_frame.UslpFrame, fecf: Fecf) -> None:
    """decode undoes encode, for every count length, rule, quality of service and error control field."""
    octets = uslp_frame.encode(frame, fecf)
    assert uslp_frame.decode(octets, fecf, len(frame.insert_zone)) == frame


KNOWN_PROTOCOLS = sorted(int(one) for one in UslpProtocolIdentifier)


@given(uslp_frames(), st.booleans(), st.sampled_from(KNOWN_PROTOCOLS))
def test_as_spacepackets_makes_it(frame: uslp_frame.UslpFrame, fecf: bool, protocol: int) -> None:
    """The octets of the spacepackets package decode to the same fields, and it reads ours."""
    ids = (frame.scid, SourceOrDestField(int(frame.destination)), frame.vcid, frame.map_id)
    header = TruncatedPrimaryHeader(*ids) if frame.truncated else PrimaryHeader(
        *ids, 0, BypassSequenceControlFlag(int(frame.expedited)), ProtocolCommandFlag(int(frame.control_command)),
        frame.ocf is not None, frame.vc_count_octets, frame.vc_count,
    )  # fmt: skip
    rule = TfdzConstructionRules(frame.construction_rule)
    field = TransferFrameDataField(rule, UslpProtocolIdentifier(protocol), frame.data, frame.pointer)
    other = TransferFrame(header, field, frame.insert_zone or None, frame.ocf, fecf)
    other.set_frame_len_in_header()
    octets = bytes(other.pack(truncated=frame.truncated))
    found = uslp_frame.decode(octets, fecf, len(frame.insert_zone))
    assert (found.data, found.pointer, found.protocol_id) == (frame.data, frame.pointer, protocol)
    assert uslp_frame.encode(found, fecf) == octets
    if frame.construction_rule >= 3:  # it reads the others as fixed-length frames only
        properties = VarFrameProperties(bool(frame.insert_zone), fecf, len(octets), len(frame.insert_zone))
        again = TransferFrame.unpack(octets, FrameType.VARIABLE, properties)
        assert (bytes(again.tfdf.tfdz), again.op_ctrl_field) == (found.data, found.ocf)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"scid": 65536}, "scid 65536 does not fit 16 bits"),
        ({"vcid": 64}, "vcid 64 does not fit"),
        ({"map_id": 16}, "map_id 16 does not fit"),
        ({"vc_count": 256, "vc_count_octets": 1}, "vc_count 256 does not fit 8 bits"),
        ({"vc_count_octets": 2}, "a count of 2 octets and vc_count None"),
        ({"construction_rule": 0}, "rule 0 with pointer None"),
        ({"pointer": 0}, "rule 7 with pointer 0"),
        ({"ocf": b"123"}, "the OCF has 4 octets, not 3"),
        ({"truncated": True, "expedited": True}, "a truncated one has neither"),
    ],
)
def test_values_that_do_not_fit_are_refused(fields: dict[str, Any], says: str) -> None:
    """A value that does not fit its field, or the frame, is refused when it is made."""
    with pytest.raises(FormatError, match=says):
        uslp_frame.UslpFrame(**{"scid": 1, "vcid": 1, "map_id": 1, "data": b"x", **fields})


def test_the_longest_frame() -> None:
    """A frame has up to 65,536 octets: its length field and its pointer reach beyond signed 16-bit numbers."""
    frame = uslp_frame.UslpFrame(1, 2, 3, bytes(65520), 0, 0, 65519, 7, 2)
    octets = uslp_frame.encode(frame, "crc32")
    assert len(octets) == 65536
    assert octets[4:6] == b"\xff\xff"
    assert uslp_frame.decode(octets, "crc32") == frame
    with pytest.raises(FormatError, match="65537 octets, at most 65536"):
        uslp_frame.encode(uslp_frame.UslpFrame(1, 2, 3, bytes(65521), 0, 0, 65519, 7, 2), "crc32")


def test_octets_that_are_no_frame_say_why() -> None:
    """R6: what does not fit is refused with what was expected and what was found."""
    good = uslp_frame.encode(uslp_frame.UslpFrame(1, 2, 3, b"data", 0, 0, 2, 7, 1), False)
    for octets, says in (
        (good[:-1], "length field says 15 octets, there are 14"),
        (b"\x40" + good[1:], "version 4, expected 12"),
        (b"\xc0\0\x10\x46\0\x08\1\1\0", "data field pointer"),
        (b"\xc0\0\x10\x46\0\6\1\1", "length field says 7"),
        (b"\xc0\0\x10\x46\0\7\1\1", "headers end at 8, the data field at 8"),
        (b"\xc0\0\x10\x47\0\1\2\3", "a truncated one has no rule with a pointer"),
        (b"\xc0\0", "USLP frame header"),
    ):
        with pytest.raises(FormatError, match=says):
            uslp_frame.decode(octets, False)
    with pytest.raises(FormatError, match="error control field does not match"):
        uslp_frame.decode(good + frame_check(good, True), "crc32")


@given(st.binary(max_size=60), st.sampled_from(FECF), st.integers(0, 5))
def test_any_octets(data: bytes, fecf: Fecf, insert: int) -> None:
    """R6: octets of any kind are a frame of as many octets, or a FormatError."""
    octets = b"\xc5" + data
    octets += frame_check(octets, fecf)
    try:
        frame = uslp_frame.decode(octets, fecf, insert)
    except FormatError:
        return
    assert len(uslp_frame.encode(frame, fecf)) == len(octets)
