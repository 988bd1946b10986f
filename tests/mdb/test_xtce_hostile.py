"""Hostile XTCE files: a clear error in bounded time and memory, and nothing outside the file is touched."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway_codecs.mdb.canonical import from_text, to_text
from gateway_codecs.mdb.report import Budget, DatabaseError
from gateway_codecs.mdb.xtce import read_xtce
from tests.mdb.xtce_documents import container, document, parameter, read, unsigned

SECONDS = 60.0
MEBIBYTE = 1 << 20
U, P = unsigned("U"), parameter("P", "U")
LAUGHS = "".join(f'<!ENTITY l{k} "{f"&l{k - 1};" * 10}">' for k in range(1, 10))


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Each test in here ends soon (wide margins: other tests run beside it)."""
    before = time.process_time()
    yield
    assert time.process_time() - before < SECONDS


def refused(data: bytes, message: str, budget: Budget | None = None, memory: int = 64 * MEBIBYTE) -> None:
    """Assert that a file is refused with a message that names it, and in how much memory beside the file."""
    tracemalloc.start()
    try:
        with pytest.raises(DatabaseError, match=message) as caught:
            read_xtce(data, "bad.xml", budget or Budget())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith("bad.xml")
    assert peak < memory, f"{peak:,} octets"


def test_billion_laughs() -> None:
    """Entities are never expanded: the declaration alone ends the reading."""
    refused(f'<!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]><SpaceSystem name="&l9;"/>'.encode(), "DOCTYPE")


@pytest.mark.parametrize(
    "declaration",
    [
        '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">',
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x [<!ENTITY % e SYSTEM "file:///etc/passwd"> %e;]>',
        '<!DOCTYPE x PUBLIC "-//x" "http://127.0.0.1:1/x.dtd">',
    ],
)
def test_no_dtd_and_no_external_entity(declaration: str) -> None:
    """No declaration is read, so that no address in one is opened."""
    refused(f"{declaration}<SpaceSystem name='x'>&e;</SpaceSystem>".encode(), "DOCTYPE")


def test_an_entity_without_declaration() -> None:
    """Only the five entities of XML itself are known."""
    refused(b'<SpaceSystem name="x">&e;</SpaceSystem>', "undefined entity")
    assert read_xtce(b'<SpaceSystem name="&lt;&amp;&#65;"/>', "x.xml").database.name == "<&A"


@pytest.mark.parametrize(
    ("before", "behind", "message"),
    [
        (b'<SpaceSystem name="', b'"/>', "of more than 1,048,576"),
        (b"<SpaceSystem><!--", b"--></SpaceSystem>", "of more than 1,048,576"),
        (b"<SpaceSystem><?x ", b"?></SpaceSystem>", "of more than 1,048,576"),
        (b"<SpaceSystem>", b"</SpaceSystem>", "a text of more than"),
        (b"<SpaceSystem><![CDATA[", b"]]></SpaceSystem>", "a text of more than"),
        (b"<", b"/>", "of more than 1,048,576"),
    ],
)
def test_a_hundred_megabytes_of_one_line(before: bytes, behind: bytes, message: str) -> None:
    """An endless attribute, comment, instruction, text or name ends the reading soon after its bound."""
    refused(before + b"a" * 100_000_000 + behind, message)


def test_a_hundred_megabytes_of_blanks_are_blanks() -> None:
    """Blanks between elements cost time, not memory."""
    data = b'<SpaceSystem name="x">' + b" " * 100_000_000 + b"</SpaceSystem>"
    tracemalloc.start()
    reading = read_xtce(data, "x.xml")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (reading.database.name, peak < 16 * MEBIBYTE) == ("x", True)


def test_a_file_beyond_its_bound_is_not_begun() -> None:
    """The size of a file is asked first."""
    refused(bytes(2000), "at most 1,000 are read", Budget(file_octets=1000))


def test_deep_nesting() -> None:
    """Elements, systems and conditions nest as deep as the budget says, whatever is in them."""
    refused(b"<SpaceSystem>" * 1_000_000, "nested deeper than 64")
    deep = "<ANDedConditions>" * 70 + "</ANDedConditions>" * 70
    refused(document(U, P, container("C", base=f"<BaseContainer>{deep}</BaseContainer>")), "nested deeper than 64")


def test_more_elements_than_a_database_has() -> None:
    """The number of elements is bounded, kept or not."""
    refused(b"<SpaceSystem>" + b"<Parameter/>" * 60_000, "more than 50,000 elements", Budget(definitions=50_000))
    commands = b"<SpaceSystem><MetaCommandSet>" + b"<MetaCommand/>" * 60_000
    refused(commands, "more than 50,000 elements", Budget(definitions=50_000), memory=8 * MEBIBYTE)


def test_what_is_not_kept_costs_no_memory() -> None:
    """Sixty thousand telecommands are counted in a few megabytes."""
    commands = b"<MetaCommand name='c'><LongDescription>x</LongDescription></MetaCommand>" * 60_000
    data = b"<SpaceSystem name='x'><MetaCommandSet>" + commands + b"</MetaCommandSet></SpaceSystem>"
    tracemalloc.start()
    reading = read_xtce(data, "x.xml")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (reading.counts["MetaCommand"], peak < 8 * MEBIBYTE) == (60_000, True)


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 1000, b"<a/>", b"<SpaceSystem>", b"PK\3\4", b'{"a": 1}', b"<SpaceSystem/><SpaceSystem/>",
     b"<?xml version='1.0' encoding='nope'?><SpaceSystem/>", b"<?xml version='1.0' encoding='rot13'?><SpaceSystem/>",
     b"<?xml version='1.0' encoding='utf-7'?><SpaceSystem/>", b"<SpaceSystem a='1' a='2'/>", b"<SpaceSystem>\xff",
     "<SpaceSystem".encode("utf-16")],
)  # fmt: skip
def test_what_is_no_xtce(data: bytes) -> None:
    """Anything else is refused with the file, the line and what was expected."""
    refused(data, "no XML|no XTCE")


@pytest.mark.parametrize("length", [1, 2, 30])
def test_types_in_a_circle(length: int) -> None:
    """baseType circles are refused, of whatever length."""
    types = "".join(f'<IntegerParameterType name="T{k}" baseType="T{(k + 1) % length}"/>' for k in range(length))
    refused(document(types), "is its own baseType")


def test_an_endless_chain_of_base_types() -> None:
    """A chain is as deep as the budget says."""
    types = "".join(f'<IntegerParameterType name="T{k}" baseType="T{k + 1}"/>' for k in range(3000))
    refused(document(types), "has more than 64 baseTypes")


@pytest.mark.parametrize("length", [1, 2, 30])
def test_containers_in_a_circle(length: int) -> None:
    """Circles of BaseContainer, of containers within containers, and of both together are refused."""
    bases = "".join(container(f"C{k}", "P", base=f"C{(k + 1) % length}") for k in range(length))
    refused(document(U, P, bases), "is its own base or within itself")
    inner = "".join(
        container(f"C{k}", f'<ContainerRefEntry containerRef="C{(k + 1) % length}"/>') for k in range(length)
    )
    refused(document(U, P, inner), "is its own base or within itself")
    both = container("A", '<ContainerRefEntry containerRef="B"/>') + container("B", base="A")
    refused(document(U, P, both), "is its own base or within itself")


def test_an_endless_chain_of_containers() -> None:
    """Inheritance is as deep as the budget says."""
    chain = container("C0", "P") + "".join(container(f"C{k}", "P", base=f"C{k - 1}") for k in range(1, 3000))
    refused(document(U, P, chain), "nested deeper than 64")


def test_arrays_aggregates_and_references_in_a_circle() -> None:
    """Types made of themselves, derived parameters made of themselves, times counted from each other are refused."""
    size = "<DimensionList><Dimension><EndingIndex><FixedValue>1</FixedValue></EndingIndex></Dimension></DimensionList>"
    types = f'<ArrayParameterType name="A" arrayTypeRef="B">{size}</ArrayParameterType>'
    types += '<AggregateParameterType name="B"><MemberList><Member name="a" typeRef="A"/></MemberList>'
    refused(document(types + "</AggregateParameterType>"), "made of itself")
    derived = "".join(
        f'<MathAlgorithm name="{a}"><MathOperation outputParameterRef="{a}"><ParameterInstanceRefOperand '
        f'parameterRef="{b}"/></MathOperation></MathAlgorithm>'
        for a, b in ("PQ", "QP")
    )
    two = P + parameter("Q", "U")
    refused(document(U, two, more=f"<AlgorithmSet>{derived}</AlgorithmSet>"), "computed from itself")
    times = "".join(
        f'<RelativeTimeParameterType name="T{k}"><Encoding><IntegerDataEncoding/></Encoding><ReferenceTime><OffsetFrom '
        f'parameterRef="{other}"/></ReferenceTime></RelativeTimeParameterType>'
        for k, other in ((1, "Q"), (2, "P"))
    )
    refused(document(times, parameter("P", "T1") + parameter("Q", "T2")), "computed from itself")


@pytest.mark.parametrize(
    "encoding",
    [
        '<IntegerDataEncoding sizeInBits="99999999999999999999"/>',
        '<FloatDataEncoding sizeInBits="1000000"/>',
        "<BinaryDataEncoding><SizeInBits><FixedValue>1000000000000</FixedValue></SizeInBits></BinaryDataEncoding>",
        "<BinaryDataEncoding><SizeInBits><FixedValue>-8</FixedValue></SizeInBits></BinaryDataEncoding>",
        "<StringDataEncoding><SizeInBits><Fixed><FixedValue>99999999</FixedValue></Fixed></SizeInBits></StringDataEncoding>",
    ],
)
def test_absurd_sizes(encoding: str) -> None:
    """A value longer than any packet is refused, with its line."""
    refused(document(f'<BinaryParameterType name="B">{encoding}</BinaryParameterType>'), "a packet holds at most")


def test_arrays_of_a_million_entries() -> None:
    """Arrays, repeats and offsets beyond any packet are refused before anything of that size is made."""
    million = (
        "<DimensionList><Dimension><StartingIndex><FixedValue>0</FixedValue></StartingIndex><EndingIndex><FixedValue>"
        "1000000</FixedValue></EndingIndex></Dimension></DimensionList>"
    )
    array = f'<ArrayParameterType name="A" arrayTypeRef="U">{million}</ArrayParameterType>'
    refused(document(U + array, parameter("X", "A"), container("C", "X")), "needs at least 8,000,008 bits")
    of_arrays = f'<ArrayParameterType name="B" arrayTypeRef="A">{million}</ArrayParameterType>'
    refused(document(U + array + of_arrays, parameter("X", "B"), container("C", "X")), "needs at least")
    text = '<StringParameterType name="U"><StringDataEncoding><SizeInBits><TerminationChar>00</TerminationChar>'
    text += "</SizeInBits></StringDataEncoding></StringParameterType>"
    refused(document(text + array, parameter("X", "A"), container("C", "X")), "holds at least 1,000,001 values")
    repeat = "<RepeatEntry><Count><FixedValue>{}</FixedValue></Count></RepeatEntry>"
    entry = '<ParameterRefEntry parameterRef="P">{}</ParameterRefEntry>'
    refused(document(U, P, container("C", entry.format(repeat.format(100_000)))), "needs at least 800,000 bits")
    refused(document(U, P, container("C", entry.format(repeat.format(10**12)))), "a packet holds at most")
    at = "<LocationInContainerInBits><FixedValue>-99999999</FixedValue></LocationInContainerInBits>"
    refused(document(U, P, container("C", entry.format(at))), "a packet holds at most")


def test_containers_that_multiply() -> None:
    """A dozen lines that say 10^11 entries, or aggregates of as many members, are refused by counting alone."""
    levels = container("C0", "P") + "".join(
        container(f"C{k}", *[f'<ContainerRefEntry containerRef="C{k - 1}"/>'] * 10) for k in range(1, 12)
    )
    refused(document(U, P, levels), "needs at least")
    empty = container("C0") + "".join(
        container(f"C{k}", *[f'<ContainerRefEntry containerRef="C{k - 1}"/>'] * 10) for k in range(1, 12)
    )
    refused(document(U, P, empty), "entries with all containers within it")
    members = "".join(f'<Member name="m{k}" typeRef="A{{0}}"/>' for k in range(10))
    types = U.replace('name="U"', 'name="A0"') + "".join(
        f'<AggregateParameterType name="A{k}"><MemberList>{members.format(k - 1)}</MemberList></AggregateParameterType>'
        for k in range(1, 30)
    )
    refused(document(types, parameter("X", "A29"), container("C", "X")), "needs at least more than 10")


def test_mathematics_that_multiplies() -> None:
    """`dup` and `over` double the text of a formula: it is refused at its bound, not after a few billion characters."""
    for step in ("<Operator>dup</Operator><Operator>*</Operator>", "<Operator>dup</Operator><Operator>max</Operator>"):
        bomb = f"<MathOperationCalibrator><ThisParameterOperand/>{step * 400}</MathOperationCalibrator>"
        refused(document(unsigned("U", 8, f"<DefaultCalibrator>{bomb}</DefaultCalibrator>")), "mathematics|operations")
    tower = "<ValueOperand>9</ValueOperand>" * 500 + "<Operator>^</Operator>" * 499
    bomb = f"<MathOperationCalibrator>{tower}</MathOperationCalibrator>"
    refused(document(unsigned("U", 8, f"<DefaultCalibrator>{bomb}</DefaultCalibrator>")), "nested deeper")


def test_huge_polynomials_and_lists() -> None:
    """An exponent says how long a polynomial is: one of 10^12 makes none; 50,000 points and labels are read in time."""
    term = '<Term exponent="1000000000000" coefficient="1"/>'
    inside = f"<DefaultCalibrator><PolynomialCalibrator>{term}</PolynomialCalibrator></DefaultCalibrator>"
    assert "at most 1000" in repr(read(unsigned("U", 8, inside)).remarks)
    points = "".join(f'<SplinePoint raw="{k}" calibrated="{-k}"/>' for k in range(50_000))
    inside = f"<DefaultCalibrator><SplineCalibrator>{points}</SplineCalibrator></DefaultCalibrator>"
    labels = "".join(f'<Enumeration value="{k}" label="L{k}"/>' for k in range(50_000))
    types = unsigned("U", 32, inside) + '<EnumeratedParameterType name="E"><IntegerDataEncoding sizeInBits="32"/>'
    found = read(f"{types}<EnumerationList>{labels}</EnumerationList></EnumeratedParameterType>").database.types
    assert len(found) == 2


TAGS = [
        "SpaceSystem", "TelemetryMetaData", "ParameterTypeSet", "IntegerParameterType", "FloatParameterType",
        "EnumeratedParameterType", "ArrayParameterType", "AggregateParameterType", "AbsoluteTimeParameterType",
        "Encoding", "ReferenceTime", "Epoch", "OffsetFrom", "IntegerDataEncoding", "FloatDataEncoding",
        "StringDataEncoding", "BinaryDataEncoding", "SizeInBits", "Fixed", "FixedValue", "DynamicValue",
        "ParameterInstanceRef", "ParameterSet", "DiscreteLookupList", "DiscreteLookup", "Comparison",
        "ComparisonList", "BooleanExpression", "ANDedConditions", "Condition", "DefaultCalibrator",
        "PolynomialCalibrator", "Term", "SplineCalibrator", "SplinePoint", "Parameter",
        "MathOperationCalibrator", "Operator", "ValueOperand", "DefaultAlarm", "StaticAlarmRanges",
        "WarningRange", "ContainerSet", "SequenceContainer", "EntryList", "ParameterRefEntry",
        "ContainerRefEntry", "BaseContainer", "RestrictionCriteria", "LocationInContainerInBits",
        "RepeatEntry", "Count", "IncludeCondition", "MemberList", "Member", "DimensionList", "Dimension",
        "EndingIndex", "EnumerationList", "Enumeration", "AlgorithmSet", "MathAlgorithm", "MathOperation",
        "AliasSet", "Alias", "ParameterProperties", "ValidityCondition", "ContextAlarmList", "ContextAlarm",
        "ContextMatch", "ContextCalibratorList", "ContextCalibrator", "Calibrator",
]  # fmt: skip
NAMES = [
        "name", "parameterRef", "containerRef", "parameterTypeRef", "typeRef", "arrayTypeRef", "baseType",
        "value", "label", "sizeInBits", "encoding", "exponent", "coefficient", "raw", "calibrated",
        "referenceLocation", "byteOrder", "instance", "minViolations", "outputParameterRef", "alias",
        "dataSource", "scale", "comparisonOperator",
]  # fmt: skip
VALUES = ["A", "B", "C", "/A/B", "..", "A.x", "A[0]", "", "0", "1", "-1", "8", "1e400", "nan", "0x10", "x'y",
          "containerStart", "containerEnd", "twosComplement", "1,0", "==", "&lt;", "dup"]  # fmt: skip
ATTRIBUTES = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), max_size=4)


def _element(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def written(tag: str, attributes: dict[str, str], inside: list[str], text: str) -> str:
        told = "".join(f' {name}="{value}"' for name, value in attributes.items())
        return f"<{tag}{told}>{text}{''.join(inside)}</{tag}>"

    return st.builds(
        written, st.sampled_from(TAGS), ATTRIBUTES, st.lists(children, max_size=5), st.sampled_from(VALUES)
    )


FRAGMENTS = st.recursive(st.builds(lambda tag: f"<{tag}/>", st.sampled_from(TAGS)), _element, max_leaves=25)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(FRAGMENTS, max_size=4), st.lists(FRAGMENTS, max_size=4), st.lists(FRAGMENTS, max_size=4))
def test_rubbish_of_known_elements(types: list[str], parameters: list[str], containers: list[str]) -> None:
    """Whatever known elements stand wherever: a database that can be written down, or a DatabaseError, nothing else."""
    parts = (
        U + "".join(types) + '<IntegerParameterType name="A"><IntegerDataEncoding/></IntegerParameterType>',
        "".join(parameters) + parameter("A", "A"),
        "".join(containers) + container("B", *containers),
    )
    try:
        reading = read(*parts)
    except DatabaseError:
        return
    assert from_text(to_text(reading.database)) == reading.database


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2000), st.integers(0, 400))
def test_damaged_files(rubbish: bytes, at: int, cut: int) -> None:
    """A file with a piece overwritten or missing is read or refused, with the line."""
    whole = document(U, P, container("root", "P") + container("leaf", "P", base="root"))
    told = ""
    try:
        read_xtce(whole[:at] + rubbish + whole[at + cut :], "x.xml")
    except DatabaseError as error:
        told = str(error)
    assert told.startswith("x.xml") or not told
