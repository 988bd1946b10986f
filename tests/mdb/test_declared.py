"""The readable reference: packets built from a database, and read again."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_codecs.mdb import declared, scalar
from gateway_codecs.mdb.model import (
    AllOf,
    BinaryEncoding,
    Comparison,
    Container,
    ContainerEntry,
    Database,
    Dimension,
    DynamicInteger,
    Encoding,
    FixedEntry,
    FloatEncoding,
    FloatKind,
    IntegerEncoding,
    IntegerKind,
    Location,
    Member,
    Parameter,
    ParameterEntry,
    ParameterType,
    Reference,
    Repeat,
    RestOfPacket,
    StringEncoding,
)
from gateway_codecs.mdb.scalar import Undecodable

KINDS = st.sampled_from(list(IntegerKind))


@given(KINDS, st.integers(1, 8), st.booleans(), st.randoms(), st.integers(0, 2**64 - 1))
def test_integers_come_back(kind: IntegerKind, width: int, turned: bool, random: object, pattern: int) -> None:
    """Every pattern of an integer field has one value, and that value has a pattern of the same value."""
    order = list(range(width))
    random.shuffle(order)  # type: ignore[attr-defined]
    encoding = IntegerEncoding(8 * width, kind, tuple(order), turned)
    bits = scalar.bits_of((pattern % 256**width).to_bytes(width, "big"))
    try:
        raw = scalar.from_bits(bits, encoding)
    except Undecodable:
        assert kind in {IntegerKind.BCD, IntegerKind.PACKED_BCD}
        return
    again = scalar.to_bits(raw, encoding, 8 * width)
    assert scalar.from_bits(again, encoding) == raw
    if kind not in {IntegerKind.ONES_COMPLEMENT, IntegerKind.SIGN_MAGNITUDE}:  # those have two zeros
        assert again == bits


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("4000007f", 0.5 * 2**127),
        ("40000000", 0.5),
        ("400000ff", 0.25),
        ("40000080", 0.5 * 2**-128),
        ("00000000", 0.0),
        ("80000000", -1.0),
        ("bfffff80", -0.5000001 * 2**-128),
        ("9ffffF04".lower(), -0.7500001 * 2**4),
        ("7fffff7f", 0.9999998 * 2**127),
    ],
)
def test_mil_std_1750a(pattern: str, value: float) -> None:
    """The examples of MIL-STD-1750A, table IV, have their values."""
    encoding = FloatEncoding(32, FloatKind.MIL_STD_1750A)
    raw = scalar.from_bits(scalar.bits_of(bytes.fromhex(pattern)), encoding)
    assert raw == pytest.approx(value, rel=1e-6)
    if value and not 0xBF <= int(pattern[:2], 16) <= 0xBF:
        assert scalar.octets(scalar.to_bits(raw, encoding, 32)).hex() == pattern


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e38, max_value=1e38), st.sampled_from([32, 48]))
def test_mil_std_1750a_round_trip(value: float, size: int) -> None:
    """What MIL-STD-1750A can hold comes back to its precision."""
    encoding = FloatEncoding(size, FloatKind.MIL_STD_1750A)
    found = scalar.from_bits(scalar.to_bits(value, encoding, size), encoding)
    assert found == pytest.approx(value, rel=2.0 ** (-22 if size == 32 else -38), abs=1e-37)


@given(st.floats(width=32) | st.floats())
def test_ieee_754(value: float) -> None:
    """IEEE numbers are those of the struct module, in every byte order."""
    encoding = FloatEncoding(64, byte_order=tuple(range(8)))
    bits = scalar.to_bits(value, encoding, 64)
    assert scalar.octets(bits) == struct.pack("<d", value)
    found = scalar.from_bits(bits, encoding)
    assert found == value or math.isnan(value)


def database(entries: tuple[object, ...], encodings: dict[str, Encoding], **more: object) -> Database:
    """Return a database of one container /C and raw parameters."""
    types = {f"/t{name}": ParameterType(f"/t{name}", "integer", encoding) for name, encoding in encodings.items()}
    parameters = {name: Parameter(name, f"/t{name}") for name in encodings}
    containers = {"/C": Container("/C", entries)} | more.pop("containers", {})  # type: ignore[arg-type, operator]
    types |= more.pop("types", {})  # type: ignore[arg-type]
    parameters |= more.pop("parameters", {})  # type: ignore[arg-type]
    return Database("D", types=types, parameters=parameters, containers=containers, roots=("/C",))


def test_a_layout_that_has_everything() -> None:
    """Counts, conditions, locations, repeats, arrays and texts stand where the packet says."""
    point = ParameterType("/point", "aggregate", members=(Member("x", "/t/N"), Member("y", "/t/B")))
    path = ParameterType(
        "/path", "array", element_type="/point", dimensions=(Dimension(0, DynamicInteger("/N", intercept=-1)),)
    )
    one = database(
        (
            ParameterEntry("/N"),
            ParameterEntry("/B", condition=Comparison("/N", 2)),
            ParameterEntry("/S"),
            ContainerEntry("/G", repeat=Repeat(DynamicInteger("/N"), 4)),
            ParameterEntry("/P", Location(align_bits=8)),
            ParameterEntry("/R"),
            ParameterEntry("/LAST", Location(Reference.PACKET, 4)),
        ),
        {
            "/N": IntegerEncoding(4),
            "/B": IntegerEncoding(8),
            "/S": StringEncoding(terminator=b"\0"),
            "/G1": IntegerEncoding(3),
            "/R": BinaryEncoding(RestOfPacket()),
            "/LAST": IntegerEncoding(4),
        },
        containers={"/G": Container("/G", (FixedEntry(1, b"\x80"), ParameterEntry("/G1")))},
        types={"/point": point, "/path": path},
        parameters={"/P": Parameter("/P", "/path")},
    )
    values = {
        "/N": 2,
        "/B": 0xAA,
        "/S": b"hi",
        "/G1": [5, 6],
        "/P.x": [1, 3],
        "/P.y": [2, 4],
        "/R": b"end",
        "/LAST": 0xA,
    }
    packet = declared.build(one, "/C", values)
    head = "0010" + "10101010" + "01101000" + "01101001" + "00000000"  # N, B, "hi" and its end
    groups = "1101" + "0000" + "1110"  # a fixed bit and three, a gap, and again
    bits = (head + groups).ljust(-(-len(head + groups) // 8) * 8, "0") + "000100000010001100000100"
    bits += "".join(f"{octet:08b}" for octet in b"end")
    bits = bits[:4] + "1010" + bits[8:]  # LAST lies over the first half of B
    assert packet == int(bits, 2).to_bytes(len(bits) // 8, "big")
    found = declared.parse(one, "/C", packet)
    assert found == {name: value if isinstance(value, list) else [value] for name, value in values.items()}


def test_what_the_restriction_demands_is_put_in() -> None:
    """A packet built for a container is recognised as one: its identification needs not be given."""
    base = Container("/HEAD", (ParameterEntry("/APID"), ParameterEntry("/LEN"), ParameterEntry("/TYPE")))
    one = database(
        (ParameterEntry("/V"),),
        {
            "/APID": IntegerEncoding(32),
            "/LEN": IntegerEncoding(16),
            "/TYPE": IntegerEncoding(8),
            "/V": IntegerEncoding(8),
        },
        containers={
            "/HEAD": base,
            "/C": Container(
                "/C", (ParameterEntry("/V"),), "/HEAD", AllOf((Comparison("/APID", 7), Comparison("/TYPE", 3)))
            ),
        },
    )
    assert declared.space_packet(one, "/C", {"/V": 9}).hex() == "00000007" + "0001" + "03" + "09"


@pytest.mark.parametrize("size", [-8, 10**9])
def test_lying_sizes_are_refused(size: int) -> None:
    """A size that cannot be is told, not allocated."""
    one = database(
        (ParameterEntry("/N"), ParameterEntry("/R")),
        {"/N": IntegerEncoding(8), "/R": BinaryEncoding(DynamicInteger("/N", 0, size))},
    )
    with pytest.raises(Undecodable):
        declared.parse(one, "/C", b"\x01\x02")


@given(st.binary(max_size=12))
def test_rubbish_is_undecodable_or_read(packet: bytes) -> None:
    """No packet raises anything else."""
    one = database(
        (
            ParameterEntry("/N"),
            ParameterEntry("/B", Location(Reference.PREVIOUS, DynamicInteger("/N", 1, -40))),
            ContainerEntry("/G", repeat=Repeat(DynamicInteger("/N"), DynamicInteger("/B", 1, -9))),
            ParameterEntry("/S"),
        ),
        {
            "/N": IntegerEncoding(6),
            "/B": IntegerEncoding(9, IntegerKind.TWOS_COMPLEMENT),
            "/G1": IntegerEncoding(8, IntegerKind.BCD),
            "/S": StringEncoding(DynamicInteger("/B"), tag_bits=3),
        },
        containers={"/G": Container("/G", (ParameterEntry("/G1"),))},
    )
    try:
        declared.parse(one, "/C", packet)
    except Undecodable:
        return
