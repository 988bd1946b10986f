"""XTCE files with the defects that real ones have: the rest is read, and each defect is told with its line."""

from __future__ import annotations

import numpy as np
import pytest

from gateway_codecs.mdb.check import check
from gateway_codecs.mdb.columns import Validity
from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.mdb.model import (
    AnyOf,
    Comparison,
    FixedEntry,
    IntegerEncoding,
    Interval,
    Location,
    ParameterEntry,
    Polynomial,
    Reference,
)
from gateway_codecs.mdb.report import Budget
from gateway_codecs.mdb.xtce import read_xtce
from tests.mdb.xtce_documents import about, container, document, parameter, read, unsigned

U, P = unsigned("U"), parameter("P", "U") + parameter("Q", "U")
BEHIND = (
    '<LocationInContainerInBits referenceLocation="containerStart"><FixedValue>32</FixedValue>'
    "</LocationInContainerInBits>"
)
WITH_PLACE = f'<ParameterRefEntry parameterRef="Q">{BEHIND}</ParameterRefEntry>'


def test_a_missing_parameter_set() -> None:
    """Names that nobody defines: each entry is told, what has a place of its own is still read, the tree stands."""
    reading = read(U, P, container("root", "Q") + container("C", "NOBODY", "P", WITH_PLACE, "P", base="root"))
    placed = ParameterEntry("/S/Q", Location(Reference.CONTAINER, 32))
    assert reading.database.containers["/S/C"].entries == (placed, ParameterEntry("/S/P"))
    told = [(remark.kind, remark.where.line) for remark in about(reading, "NOBODY")]
    assert told == [("wrong", 6), ("ignored", 6)]


def test_what_derives_from_an_unknown_place_is_unknown_too() -> None:
    """Behind an entry of unknown size no later entry is guessed, not in derived containers and not around it."""
    containers = (
        container("root", "P", "NOBODY")
        + container("leaf", "P", WITH_PLACE, base="root")
        + container("around", '<ContainerRefEntry containerRef="root"/>', "P")
    )
    found = read(U, P, containers).database.containers
    assert found["/S/leaf"].entries == (ParameterEntry("/S/Q", Location(Reference.CONTAINER, 32)),)
    assert len(found["/S/around"].entries) == 1


def test_duplicate_names() -> None:
    """The first definition holds, the second is told with both lines; duplicate labels and values are told."""
    states = "".join(f'<Enumeration value="{v}" label="{n}"/>' for v, n in ((0, "A"), (1, "A"), (1, "B")))
    types = U + (
        f'<EnumeratedParameterType name="E"><IntegerDataEncoding/><EnumerationList>{states}</EnumerationList>'
        "</EnumeratedParameterType>"
    )
    reading = read(types, P, container("C", "P") + container("C", "Q"))
    assert reading.database.containers["/S/C"].entries == (ParameterEntry("/S/P"),)
    assert [one.what for one in about(reading, "that one holds")] == ["SequenceContainer /S/C"]
    assert len(about(reading, "stands for several values")) == 1
    assert len(about(reading, "the first in the file holds")) == 1


def test_empty_units_and_attributes() -> None:
    """Empty Unit, UnitSet, EntryList and nil systems are no defect."""
    types = U.replace("<IntegerDataEncoding", "<UnitSet><Unit/></UnitSet><IntegerDataEncoding")
    reading = read(types, P, container("C"), more="</TelemetryMetaData><SpaceSystem name='N'/><TelemetryMetaData>")
    assert (reading.database.types["/S/U"].unit, reading.remarks) == ("", ())


@pytest.mark.parametrize(
    "encoding",
    [
        '<IntegerDataEncoding sizeInBits="0"/>',
        "<BinaryDataEncoding><SizeInBits><FixedValue>0</FixedValue></SizeInBits></BinaryDataEncoding>",
        "<StringDataEncoding><SizeInBits><Fixed><FixedValue>0</FixedValue></Fixed></SizeInBits></StringDataEncoding>",
    ],
)
def test_zero_bits(encoding: str) -> None:
    """A value of 0 bits takes no place: it is told and left out, and what stands behind it does not move."""
    types = U + f'<StringParameterType name="Z">{encoding}</StringParameterType>'
    reading = read(types, P + parameter("Z", "Z"), container("C", "P", "Z", "Q"))
    assert reading.database.containers["/S/C"].entries == (ParameterEntry("/S/P"), ParameterEntry("/S/Q"))
    assert about(reading, "takes no place")


@pytest.mark.parametrize(("text", "value"), [("0x1A", 26), ("0b101", 5), ("0o17", 15), (" 7 ", 7), ("-3", -3)])
def test_values_in_other_radices(text: str, value: int) -> None:
    """Comparisons are read in hexadecimal, octal and binary (ComparisonType)."""
    criteria = f'<RestrictionCriteria><Comparison parameterRef="P" value="{text}"/></RestrictionCriteria>'
    base = f'<BaseContainer containerRef="root">{criteria}</BaseContainer>'
    found = read(U, P, container("root", "P") + container("leaf", base=base)).database.containers
    assert found["/S/leaf"].restriction == Comparison("/S/P", value)


@pytest.mark.parametrize("value", ["", "seven", "0xZZ", "1e", "9" * 5000, "NaN"])
def test_a_comparison_with_no_value(value: str) -> None:
    """Criteria that cannot be read never hold: no packet is taken for something that it may not be."""
    criteria = f'<RestrictionCriteria><Comparison parameterRef="P" value="{value}"/></RestrictionCriteria>'
    base = f'<BaseContainer containerRef="root">{criteria}</BaseContainer>'
    reading = read(U, P, container("root", "P") + container("leaf", base=base))
    assert reading.database.containers["/S/leaf"].restriction == AnyOf()
    assert {remark.kind for remark in reading.remarks} == {"wrong", "ignored"}


def test_numbers_with_a_comma() -> None:
    """1,5 is read as 1.5, and told."""
    line = '<Term exponent="0" coefficient="1,5"/><Term exponent="1" coefficient="-2,5e1"/>'
    inside = f"<DefaultCalibrator><PolynomialCalibrator>{line}</PolynomialCalibrator></DefaultCalibrator>"
    wide = unsigned("U", 8, inside).replace("</IntegerP", '<ValidRange minInclusive="0,5"/></IntegerP')
    reading = read(wide)
    assert reading.database.types["/S/U"].calibration.default == Polynomial((1.5, -25.0))
    assert reading.database.types["/S/U"].valid_range == Interval(0.5)
    assert len(about(reading, "has a comma")) == 3


def test_labels_where_raw_values_are_asked_for_and_the_other_way_round() -> None:
    """A label compared as raw, or a raw value compared as label, is read as what it is, and told."""
    types = (
        '<EnumeratedParameterType name="E"><IntegerDataEncoding/><EnumerationList><Enumeration value="1" label="ON"/>'
        "</EnumerationList></EnumeratedParameterType>"
    )
    raw = "".join(
        container(
            name,
            base='<BaseContainer containerRef="root"><RestrictionCriteria><Comparison parameterRef="M" '
            f'value="{value}" useCalibratedValue="{flag}"/></RestrictionCriteria></BaseContainer>',
        )
        for name, value, flag in (("a", "ON", "false"), ("b", "1", "true"), ("c", "ON", "true"), ("d", "1", "false"))
    )
    reading = read(types, parameter("M", "E"), container("root", "M") + raw)
    found = [reading.database.containers[f"/S/{name}"].restriction for name in "abcd"]
    label, number = Comparison("/S/M", "ON"), Comparison("/S/M", 1, calibrated=False)
    assert found == [label, number, label, number]
    assert len(about(reading, "read as that")) == 2


def test_xinclude_fetches_nothing() -> None:
    """An XInclude is told; no file or address is opened for it."""
    include = '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd"/>'
    reading = read(U + include, P, container("C", "P") + include, more=include)
    assert len(about(reading, "XInclude")) == 3
    assert "root:" not in repr(reading)


def test_constructs_that_are_not_read_are_told() -> None:
    """Segments and streams leave their bits behind; what has no known size ends what can be known; all is told."""
    containers = container(
        "C",
        '<ParameterSegmentRefEntry parameterRef="P" sizeInBits="4"/>',
        '<StreamSegmentEntry streamRef="s" sizeInBits="12"/>',
        "P",
        '<IndirectParameterRefEntry><ParameterInstance parameterRef="P"/></IndirectParameterRefEntry>',
        "Q",
    )
    types = U + '<FancyParameterType name="X"/>'
    more = "<MessageSet><Message name='m'/></MessageSet><StreamSet/><Surprise/>"
    reading = read(types, P, containers, more)
    assert reading.database.containers["/S/C"].entries == (FixedEntry(4), FixedEntry(12), ParameterEntry("/S/P"))
    for what in ("ParameterSegmentRefEntry", "StreamSegmentEntry", "Indirect", "FancyParameterType", "MessageSet",
                 "StreamSet", "Surprise", "ParameterRefEntry Q"):  # fmt: skip
        assert about(reading, what), what
    assert {one.where.file for one in reading.remarks} == {"t.xml"}
    assert all(one.where.line > 0 and one.why for one in reading.remarks)


def test_telecommands_are_counted_and_told() -> None:
    """What is only for telecommands is counted by name, not read, and said so in one remark."""
    commands = (
        "</TelemetryMetaData><CommandMetaData><MetaCommandSet><MetaCommand name='a'><CommandContainer name='c'/>"
        "</MetaCommand><MetaCommand name='b'/></MetaCommandSet></CommandMetaData><TelemetryMetaData>"
    )
    reading = read(U, P, more=commands)
    assert (reading.counts["MetaCommand"], reading.counts["CommandContainer"]) == (2, 1)
    (told,) = about(reading, "telecommand")
    assert told.what == "MetaCommandSet in CommandMetaData: 1 CommandContainer, 2 MetaCommand"


def test_older_samples_cannot_be_asked_for() -> None:
    """instance=-1 asks for the sample before: the condition is told and never holds."""
    condition = '<IncludeCondition><Comparison parameterRef="P" instance="-1" value="1"/></IncludeCondition>'
    reading = read(
        U, P, container("C", "P", f'<ParameterRefEntry parameterRef="Q">{condition}</ParameterRefEntry>', "P")
    )
    assert reading.database.containers["/S/C"].entries == (ParameterEntry("/S/P"),)
    assert about(reading, "instance=-1")
    assert about(reading, "presence of")


def test_types_that_cannot_be_take_their_parameters_along() -> None:
    """Unknown types, arrays of nothing and aggregates of unknown members are left out, and what is made of them."""
    types = U + (
        '<ArrayParameterType name="A" arrayTypeRef="B"><DimensionList><Dimension><EndingIndex>'
        "<FixedValue>1</FixedValue></EndingIndex></Dimension></DimensionList></ArrayParameterType>"
        '<AggregateParameterType name="B"><MemberList>'
        '<Member name="x" typeRef="NOBODY"/></MemberList></AggregateParameterType>'
    )
    reading = read(types, P + parameter("X", "A") + parameter("Y", "NOTHING"), container("C", "P", "X", "Q"))
    assert list(reading.database.types) == ["/S/U"]
    assert list(reading.database.parameters) == ["/S/P", "/S/Q"]
    assert reading.database.containers["/S/C"].entries == (ParameterEntry("/S/P"),)


def test_a_type_that_is_in_no_packet() -> None:
    """Parameters without an encoding (local, derived) are kept; an entry of one is a defect."""
    types = U + '<IntegerParameterType name="L"/>'
    reading = read(types, P + parameter("X", "L"), container("C", "P", "X", "Q"))
    assert reading.database.types["/S/L"].encoding is None
    assert reading.database.containers["/S/C"].entries == (ParameterEntry("/S/P"),)
    assert about(reading, "has no encoding")


def test_more_remarks_than_anyone_reads_are_summed_up() -> None:
    """A file of nothing but defects gives so many remarks as the budget says, and the number of the others."""
    many = container("C", *(f"N{k}" for k in range(300)))
    reading = read_xtce(document(U, P, many), "t.xml", Budget(remarks=20))
    assert len(reading.remarks) <= 22
    assert reading.remarks[-1].what == "280 further remarks"


def test_integers_in_octet_and_text_encodings() -> None:
    """A type whose encoding is of another kind is read as what its bits are, and told."""
    text = (
        "<StringDataEncoding><SizeInBits><Fixed><FixedValue>16</FixedValue></Fixed></SizeInBits></StringDataEncoding>"
    )
    types = f'<IntegerParameterType name="A">{text}</IntegerParameterType><BinaryParameterType name="B">'
    types += '<IntegerDataEncoding sizeInBits="16"/></BinaryParameterType>'
    found = read(types).database.types
    assert (found["/S/A"].kind, found["/S/B"].kind) == ("string", "integer")
    assert found["/S/B"].encoding == IntegerEncoding(16)


def test_what_cannot_be_read_is_flagged_when_packets_come() -> None:
    """From file to packet: no calibrator, no validity, no type is guessed; what stands beside it has its value."""
    spoiled = unsigned("BAD", 8, "<DefaultCalibrator><PolynomialCalibrator/></DefaultCalibrator>")
    unknown = (
        "<ParameterProperties><ValidityCondition><CustomAlgorithm name='x'/></ValidityCondition></ParameterProperties>"
    )
    criteria = "<RestrictionCriteria><Comparison parameterRef='P' value='?'/></RestrictionCriteria>"
    reading = read(
        U + spoiled,
        P + parameter("B", "BAD") + parameter("V", "U", unknown),
        container("root", "P", "B", "V", "Q")
        + container("leaf", base=f"<BaseContainer containerRef='root'>{criteria}</BaseContainer>"),
    )
    (group,) = Decoder(reading.database).decode(np.array([1, 2, 3, 4], np.uint8), np.array([0]), np.array([4]))
    assert group.packet_type == "/S/root"
    found = {name: Validity(int(column.validity[0])) for name, column in group.columns.items()}
    assert found == {"/S/P": Validity.VALID, "/S/B": Validity.UNCALIBRATED, "/S/V": Validity.INVALID,
                     "/S/Q": Validity.VALID}  # fmt: skip
    assert int(group.columns["/S/Q"].engineering[0]) == 4


def test_a_calibrator_that_cannot_be_read_is_told_once() -> None:
    """The check of the model says nothing about what a reader has told already."""
    reading = read(unsigned("BAD", 8, "<DefaultCalibrator><PolynomialCalibrator/></DefaultCalibrator>"))
    assert about(reading, "without Term")
    assert not [one for one in check(reading.database) if "points" in one.why]
