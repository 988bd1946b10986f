"""Our reader and decoder against space-packet-parser, an independent program, on random documents and packets.

Only constructs that both read are drawn (`xtce_strategies`); where the two are known to differ, and why, is decision
0022, and each difference is a test here.
"""

from __future__ import annotations

import os
import warnings
from fractions import Fraction
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from space_packet_parser.exceptions import CalibrationError, ComparisonError, UnrecognizedPacketTypeError
from space_packet_parser.xtce.definitions import XtcePacketDefinition

from gateway_codecs.mdb.columns import Column, Decoded, Validity
from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.mdb.xtce import read_xtce
from tests.conftest import SEEDS
from tests.mdb.xtce_documents import container, document, parameter, unsigned
from tests.mdb.xtce_strategies import Case, Field, cases

EXAMPLES = 2000 if os.environ.get("GATEWAY_SOAK") else min(SEEDS, 40)


def ours(xml: bytes, packets: list[bytes]) -> tuple[list[Decoded], Any]:
    reading = read_xtce(xml, "t.xml")
    assert reading.remarks == ()  # everything that is drawn is read: nothing unsupported is counted as agreement
    lengths = np.array([len(one) for one in packets], np.int64)
    offsets = np.cumsum(lengths) - lengths
    octets = np.frombuffer(b"".join(packets), np.uint8)
    return Decoder(reading.database).decode(octets, offsets, lengths), reading


def theirs(definition: XtcePacketDefinition, packet: bytes) -> dict[str, Any] | str:
    """Return the parameters of a packet by name, or why it is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of trailing bits
        try:
            return dict(definition.parse_bytes(packet))
        except UnrecognizedPacketTypeError:
            return "unidentified"
        except OverflowError:
            return "overflow"  # Python's power of a float: nothing to compare with
        except (CalibrationError, ValueError) as error:
            return f"refused: {error}"


def one(xml: bytes, packet: bytes, name: str) -> tuple[Any, Any, Validity]:
    """Return the raw and engineering value that we find, and its validity."""
    (group,) = ours(xml, [packet])[0]
    column = group.columns[f"/S/{name}"]
    return column.raw[0], column.engineering[0], Validity(int(column.validity.ravel()[0]))


def definition(xml: bytes) -> XtcePacketDefinition:
    return XtcePacketDefinition.from_xtce(BytesIO(xml))


def equal(field: Field, column: Column, row: int, told: Any) -> bool:
    raw, value = column.raw[row], column.engineering[row]
    if column.labels and "Enumerated" in field.type_xml:
        return bool(column.labels[int(value)] == str(told) and int(raw) == told.raw_value)
    if isinstance(told, bytes):
        return raw.tobytes() == bytes(told) == value.tobytes()
    if isinstance(told, str):
        return bytes(value).decode() == str(told).rstrip("\0")
    if "BooleanParameterType" in field.type_xml:
        return bool(value) == bool(told) and int(raw) == told.raw_value
    if "AbsoluteTime" in field.type_xml:
        return int(value) == round(Fraction(float(told)) * 10**9)
    expected = round(float(told)) if field.rounded and isinstance(told, float) else told
    return same_number(raw.item(), told.raw_value, True) and same_number(value.item(), expected, field.exact)


def same_number(found: float, told: float, exact: bool) -> bool:
    if isinstance(found, float) and not isinstance(told, float):
        told = float(told)
    if found == told or (found != found and told != told):
        return True
    return not exact and bool(found == pytest.approx(float(told), rel=1e-9, abs=1e-9))


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(cases())
def test_values_are_those_of_an_independent_decoder(case: Case) -> None:
    """The same packets are of a type, the same parameters stand in them, and every raw and engineering value is equal.

    A packet that the other program refuses has a flagged value here (it gives up the whole packet), and only then.
    """
    groups, _ = ours(case.xml, case.packets)
    reference = definition(case.xml)
    where = {int(row): (group, k) for group in groups for k, row in enumerate(group.rows)}
    for index, packet in enumerate(case.packets):
        told = theirs(reference, packet)
        if told == "overflow":
            continue
        if index not in where:
            assert isinstance(told, str), "identified by them only"
            continue
        group, row = where[index]
        flagged = [name for name, one in group.columns.items() if (one.validity[row] != Validity.VALID).any()]
        if isinstance(told, str):
            assert told != "unidentified", "identified by us only"
            assert flagged, told
            continue
        assert {name.removeprefix("/S/") for name in group.columns} == set(told)
        for name, column in group.columns.items():
            short = name.removeprefix("/S/")
            if "Calibrator" in case.fields[short].type_xml and not np.isfinite(told[short].raw_value):
                continue  # difference 10
            assert name not in flagged
            assert equal(case.fields[short], column, row, told[short]), (name, column.raw[row], told[short])


# ---- where the two differ: decision 0022 ----

APID = unsigned("APID", 8)


def only(inside: str, bits: int = 8, kind: str = "Float", more: str = "") -> bytes:
    """Return a document of one packet of one parameter P."""
    element = (
        f'<{kind}ParameterType name="T"><IntegerDataEncoding sizeInBits="{bits}">{inside}</IntegerDataEncoding>{more}'
        f"</{kind}ParameterType>"
    )
    return document(element, parameter("P", "T"), container("CCSDSPacket", "P"))


def spline(attributes: str) -> str:
    points = '<SplinePoint raw="0" calibrated="0"/><SplinePoint raw="10" calibrated="100"/>'
    return f"<DefaultCalibrator><SplineCalibrator {attributes}>{points}</SplineCalibrator></DefaultCalibrator>"


def test_a_spline_without_order_is_linear() -> None:
    """Difference 1: `order` is 1 unless it is said (SplineCalibratorType); the other program takes 0."""
    xml = only(spline(""))
    assert one(xml, b"\5", "P")[1] == 50.0
    assert theirs(definition(xml), b"\5") == {"P": 0.0}


@pytest.mark.parametrize(("order", "value"), [(0, 100.0), (1, 100.0)])
def test_the_last_point_of_a_spline_belongs_to_it(order: int, value: float) -> None:
    """Difference 2: the last point has its own value; the other program finds no point greater and refuses."""
    xml = only(spline(f'order="{order}"'))
    assert one(xml, b"\x0a", "P")[1:] == (value, Validity.VALID)
    assert theirs(definition(xml), b"\x0a") == "refused: True is not in list"


def test_calibrated_integers_are_integers() -> None:
    """Difference 3: an IntegerParameterType has whole engineering values, halves to even; the other gives a real."""
    line = '<PolynomialCalibrator><Term coefficient="0.5" exponent="1"/></PolynomialCalibrator>'
    xml = only(f"<DefaultCalibrator>{line}</DefaultCalibrator>", kind="Integer")
    assert [one(xml, bytes([raw]), "P")[1] for raw in (1, 3, 5)] == [0, 2, 2]
    assert theirs(definition(xml), b"\3") == {"P": 1.5}


def test_a_label_for_a_range_of_values() -> None:
    """Difference 4: maxValue makes a range (ValueEnumerationType); the other program knows the first value only."""
    labels = '<EnumerationList><Enumeration value="1" maxValue="5" label="LOW"/></EnumerationList>'
    xml = only("", kind="Enumerated", more=labels)
    assert one(xml, b"\3", "P") == (3, 0, Validity.VALID)
    assert str(theirs(definition(xml), b"\3")).startswith("refused: Failed to find the value 3")


def test_comparisons_in_hexadecimal() -> None:
    """Difference 5: 0x10 is a number (ComparisonType); the other program refuses it."""
    criteria = '<RestrictionCriteria><Comparison parameterRef="P" value="0x10"/></RestrictionCriteria>'
    leaf = container("LEAF", base=f'<BaseContainer containerRef="CCSDSPacket">{criteria}</BaseContainer>')
    xml = document(APID, parameter("P", "APID"), container("CCSDSPacket", "P") + leaf)
    assert ours(xml, [b"\x10"])[0][0].packet_type == "/S/LEAF"
    with pytest.raises(ComparisonError):
        definition(xml).parse_bytes(b"\x10")


def test_several_types_for_one_packet() -> None:
    """Difference 6: of several containers whose criteria hold the first is taken, and that can be seen; the other
    program refuses the packet."""
    criteria = "<RestrictionCriteria><Comparison parameterRef='P' value='1'/></RestrictionCriteria>"
    base = f'<BaseContainer containerRef="CCSDSPacket">{criteria}</BaseContainer>'
    types = container("A", base=base) + container("B", base=base)
    xml = document(APID, parameter("P", "APID") + parameter("PKT_APID", "APID"),
                   container("CCSDSPacket", "P", more='abstract="true"') + types)  # fmt: skip
    assert ours(xml, [b"\1"])[0][0].packet_type == "/S/A"
    assert theirs(definition(xml), b"\1") == "unidentified"


def test_a_text_that_fills_its_box() -> None:
    """Difference 7: a text without its terminator is the whole box; the other program refuses the packet."""
    sizes = "<SizeInBits><Fixed><FixedValue>24</FixedValue></Fixed><TerminationChar>00</TerminationChar></SizeInBits>"
    text = f'<StringParameterType name="T"><StringDataEncoding>{sizes}</StringDataEncoding></StringParameterType>'
    xml = document(text, parameter("P", "T"), container("CCSDSPacket", "P"))
    assert one(xml, b"abc", "P")[1:] == (b"abc", Validity.VALID)
    assert "without finding the termination character" in str(theirs(definition(xml), b"abc"))


def test_octets_that_are_not_whole() -> None:
    """Difference 8: bits of a binary value stand left in their octets, as they came; there they stand right."""
    size = "<SizeInBits><FixedValue>12</FixedValue></SizeInBits>"
    element = f'<BinaryParameterType name="T"><BinaryDataEncoding>{size}</BinaryDataEncoding></BinaryParameterType>'
    xml = document(element, parameter("P", "T"), container("CCSDSPacket", "P"))
    assert one(xml, b"\xab\xcd", "P")[1].tobytes() == b"\xab\xc0"
    assert theirs(definition(xml), b"\xab\xcd") == {"P": b"\x0a\xbc"}


def test_a_bad_value_costs_its_packet_nothing_else() -> None:
    """Difference 9: a value without label is flagged and the others are there; the other program gives none."""
    labels = '<EnumerationList><Enumeration value="1" label="ON"/></EnumerationList>'
    coding = '<IntegerDataEncoding sizeInBits="8"/>'
    types = APID + f'<EnumeratedParameterType name="E">{coding}{labels}</EnumeratedParameterType>'
    xml = document(types, parameter("P", "E") + parameter("Q", "APID"), container("CCSDSPacket", "P", "Q"))
    assert one(xml, b"\7\x2a", "P")[2] == Validity.UNCALIBRATED
    assert one(xml, b"\7\x2a", "Q") == (42, 42, Validity.VALID)
    assert str(theirs(definition(xml), b"\7\x2a")).startswith("refused")


def test_what_is_no_number_has_no_calibrated_value() -> None:
    """Difference 10: a raw value that is no number is flagged as uncalibrated; there it is a value like others."""
    line = '<PolynomialCalibrator><Term coefficient="1" exponent="1"/></PolynomialCalibrator>'
    coding = f'<FloatDataEncoding sizeInBits="32"><DefaultCalibrator>{line}</DefaultCalibrator></FloatDataEncoding>'
    element = f'<FloatParameterType name="T">{coding}</FloatParameterType>'
    xml = document(element, parameter("P", "T"), container("CCSDSPacket", "P"))
    assert one(xml, b"\x7f\xc0\0\0", "P")[2] == Validity.UNCALIBRATED
    assert str(theirs(definition(xml), b"\x7f\xc0\0\0")) == "{'P': nan}"


PLACED = "<LocationInContainerInBits><FixedValue>8</FixedValue></LocationInContainerInBits>"
REPEATED = "<RepeatEntry><Count><FixedValue>2</FixedValue></Count></RepeatEntry>"
ABSENT = '<IncludeCondition><Comparison parameterRef="P" value="99"/></IncludeCondition>'


@pytest.mark.parametrize("inside", [PLACED, REPEATED, ABSENT])
def test_what_the_other_program_passes_over_is_no_agreement(inside: str) -> None:
    """Places, repeats and conditions of entries: read here, passed over without a word there, so never compared."""
    entry = f'<ParameterRefEntry parameterRef="Q">{inside}</ParameterRefEntry>'
    xml = document(APID, parameter("P", "APID") + parameter("Q", "APID"), container("CCSDSPacket", "P", entry))
    packet = b"\1\2\3"
    (group,) = ours(xml, [packet])[0]
    column = group.columns["/S/Q"]
    found = [
        int(raw) for raw, validity in zip(np.ravel(column.raw), np.ravel(column.validity), strict=True) if not validity
    ]
    assert theirs(definition(xml), packet) == {"P": 1, "Q": 2}
    assert found == {PLACED: [3], REPEATED: [2, 3], ABSENT: []}[inside]


@pytest.mark.parametrize(
    "element",
    [
        '<ArrayParameterType name="X" arrayTypeRef="APID"><DimensionList><Dimension><StartingIndex><FixedValue>0'
        "</FixedValue></StartingIndex><EndingIndex><FixedValue>1</FixedValue></EndingIndex></Dimension></DimensionList>"
        "</ArrayParameterType>",
        '<AggregateParameterType name="X"><MemberList><Member name="x" typeRef="APID"/></MemberList>'
        "</AggregateParameterType>",
        unsigned("X", 8, "<DefaultCalibrator><MathOperationCalibrator><ThisParameterOperand/></MathOperationCalibrator>"
                         "</DefaultCalibrator>"),
        unsigned("X").replace("sizeInBits", 'encoding="signMagnitude" sizeInBits'),
        unsigned("X").replace("sizeInBits", 'encoding="packedBCD" sizeInBits'),
        unsigned("X", 16).replace("sizeInBits", 'byteOrder="0,1" sizeInBits'),
        '<FloatParameterType name="X"><FloatDataEncoding sizeInBits="48" encoding="MILSTD_1750A"/>'
        "</FloatParameterType>",
        '<IntegerParameterType name="X"/>',
    ],
)  # fmt: skip
def test_what_the_other_program_does_not_read_is_no_agreement(element: str) -> None:
    """Constructs that are read here and refused there: never drawn, so never counted as agreement."""
    xml = document(APID + element, parameter("P", "APID"), container("CCSDSPacket", "P"))
    assert one(xml, b"\1", "P") == (1, 1, Validity.VALID)
    with pytest.raises((NotImplementedError, ValueError)):
        definition(xml)
