"""XTCE constructs: each becomes what it means in the model, or is told and kept from doing harm."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gateway_codecs.mdb import expression
from gateway_codecs.mdb.model import (
    ALWAYS,
    UNUSABLE,
    Alarms,
    AllOf,
    AnyOf,
    BinaryEncoding,
    Calibration,
    Comparison,
    ContainerEntry,
    ContextCalibrator,
    ContextLimits,
    DeltaLimit,
    Dimension,
    DynamicInteger,
    Expression,
    FixedEntry,
    FloatEncoding,
    FloatKind,
    IntegerEncoding,
    IntegerKind,
    Interval,
    LabelLimit,
    Limits,
    Location,
    LookupInteger,
    Operator,
    ParameterEntry,
    ParameterType,
    Points,
    Polynomial,
    RangeLimit,
    Reference,
    Repeat,
    Severity,
    Source,
    State,
    States,
    StringEncoding,
    TimeMeaning,
)
from gateway_codecs.mdb.xtce import read_xtce
from tests.mdb.xtce_documents import about, container, document, parameter, read, unsigned


def one_type(element: str, more: str = "") -> ParameterType:
    reading = read(element + more, parameter("MODE", "ModeType") if more else "")
    return next(iter(reading.database.types.values()))


MODE = (
    '<EnumeratedParameterType name="ModeType"><IntegerDataEncoding sizeInBits="2"/><EnumerationList>'
    '<Enumeration value="0" label="OFF"/><Enumeration value="1" maxValue="3" label="ON"/></EnumerationList>'
    "</EnumeratedParameterType>"
)
IS_ON = '<ContextMatch><Comparison parameterRef="MODE" value="ON"/></ContextMatch>'


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        ('<IntegerDataEncoding/>', IntegerEncoding(8)),
        ('<IntegerDataEncoding sizeInBits="12" encoding="twosComplement"/>',
         IntegerEncoding(12, IntegerKind.TWOS_COMPLEMENT)),
        ('<IntegerDataEncoding sizeInBits="12" encoding="twosCompliment"/>',
         IntegerEncoding(12, IntegerKind.TWOS_COMPLEMENT)),
        ('<IntegerDataEncoding sizeInBits="9" encoding="signMagnitude"/>',
         IntegerEncoding(9, IntegerKind.SIGN_MAGNITUDE)),
        ('<IntegerDataEncoding sizeInBits="9" encoding="onesComplement"/>',
         IntegerEncoding(9, IntegerKind.ONES_COMPLEMENT)),
        ('<IntegerDataEncoding sizeInBits="16" encoding="BCD"/>', IntegerEncoding(16, IntegerKind.BCD)),
        ('<IntegerDataEncoding sizeInBits="12" encoding="packedBCD"/>', IntegerEncoding(12, IntegerKind.PACKED_BCD)),
        ('<IntegerDataEncoding sizeInBits="32" byteOrder="leastSignificantByteFirst"/>',
         IntegerEncoding(32, byte_order=(0, 1, 2, 3))),
        ('<IntegerDataEncoding sizeInBits="32" byteOrder="2,3,0,1"/>', IntegerEncoding(32, byte_order=(2, 3, 0, 1))),
        ('<IntegerDataEncoding sizeInBits="32" byteOrder="3,2,1,0"/>', IntegerEncoding(32)),
        ('<IntegerDataEncoding sizeInBits="16"><ByteOrderList><Byte byteSignificance="0"/><Byte byteSignificance="1"/>'
         "</ByteOrderList></IntegerDataEncoding>", IntegerEncoding(16, byte_order=(0, 1))),
        ('<IntegerDataEncoding sizeInBits="5" bitOrder="leastSignificantBitFirst"/>',
         IntegerEncoding(5, least_significant_bit_first=True)),
        ("<FloatDataEncoding/>", FloatEncoding(32)),
        ('<FloatDataEncoding sizeInBits="16" encoding="IEEE754"/>', FloatEncoding(16)),
        ('<FloatDataEncoding sizeInBits="64" byteOrder="leastSignificantByteFirst"/>',
         FloatEncoding(64, byte_order=tuple(range(8)))),
        ('<FloatDataEncoding sizeInBits="48" encoding="MILSTD_1750A"/>', FloatEncoding(48, FloatKind.MIL_STD_1750A)),
        ('<FloatDataEncoding sizeInBits="128"/>', BinaryEncoding(128)),
        ('<FloatDataEncoding sizeInBits="32" encoding="IBM"/>', BinaryEncoding(32)),
        ('<IntegerDataEncoding sizeInBits="96"/>', BinaryEncoding(96)),
        ('<IntegerDataEncoding sizeInBits="12" byteOrder="leastSignificantByteFirst"/>', BinaryEncoding(12)),
        ('<IntegerDataEncoding sizeInBits="32" byteOrder="0,0,1,2"/>', BinaryEncoding(32)),
    ],
)  # fmt: skip
def test_encodings_of_numbers(element: str, expected: object) -> None:
    """Sizes, kinds, byte and bit orders are read in every spelling; what is not decoded is kept as octets, and told."""
    told = read(f'<FloatParameterType name="T">{element}</FloatParameterType>')
    assert told.database.types["/S/T"].encoding == expected
    assert (told.database.types["/S/T"].kind == "binary") == isinstance(expected, BinaryEncoding)
    assert bool(about(told, "kept as octets")) == isinstance(expected, BinaryEncoding)


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        ("<SizeInBits><Fixed><FixedValue>64</FixedValue></Fixed></SizeInBits>", StringEncoding(64)),
        ("<SizeInBits><TerminationChar>00</TerminationChar></SizeInBits>", StringEncoding(None, terminator=b"\0")),
        ("<SizeInBits><Fixed><FixedValue>64</FixedValue></Fixed><TerminationChar>0A</TerminationChar></SizeInBits>",
         StringEncoding(64, terminator=b"\n")),
        ('<SizeInBits><LeadingSize sizeInBitsOfSizeTag="8"/></SizeInBits>',
         StringEncoding(None, tag_bits=8, tag_unit_bits=1)),
        ('<Variable maxSizeInBits="800"><LeadingSize/><TerminationChar>00</TerminationChar></Variable>',
         StringEncoding(None, tag_bits=16, tag_unit_bits=1, max_bits=800)),
        ('<Variable maxSizeInBits="800"><DynamicValue><ParameterInstanceRef parameterRef="N"/>'
         '<LinearAdjustment slope="8" intercept="-16"/></DynamicValue></Variable>',
         StringEncoding(DynamicInteger("/S/N", 8, -16, True), max_bits=800)),
    ],
)  # fmt: skip
def test_encodings_of_texts(element: str, expected: StringEncoding) -> None:
    """Boxes, terminators and size tags (which count bits) are read as XTCE 1.1 and 1.2 write them."""
    text = f'<StringParameterType name="T"><StringDataEncoding>{element}</StringDataEncoding></StringParameterType>'
    reading = read(unsigned("N8") + text, parameter("N", "N8"))
    assert reading.database.types["/S/T"].encoding == expected
    assert reading.remarks == ()


def test_binary_sizes_may_be_dynamic_or_looked_up() -> None:
    """A size is a number, a parameter times slope plus intercept, or the first case of a list whose condition holds."""
    lookup = "".join(
        f'<DiscreteLookup value="{8 * k}"><Comparison parameterRef="N" value="{k}"/></DiscreteLookup>' for k in (1, 2)
    )
    dynamic = '<DynamicValue><ParameterInstanceRef parameterRef="N" useCalibratedValue="false"/></DynamicValue>'
    types = unsigned("N8") + "".join(
        f'<BinaryParameterType name="{name}"><BinaryDataEncoding><SizeInBits>{size}</SizeInBits></BinaryDataEncoding>'
        "</BinaryParameterType>"
        for name, size in (
            ("A", "<FixedValue>12</FixedValue>"),
            ("B", dynamic),
            ("C", f"<DiscreteLookupList>{lookup}</DiscreteLookupList>"),
        )
    )
    found = read(types, parameter("N", "N8")).database.types
    assert found["/S/A"].encoding == BinaryEncoding(12)
    assert found["/S/B"].encoding == BinaryEncoding(DynamicInteger("/S/N"))
    cases = ((Comparison("/S/N", 1), 8), (Comparison("/S/N", 2), 16))
    assert found["/S/C"].encoding == BinaryEncoding(LookupInteger(cases))


def test_calibrators_by_context() -> None:
    """The first context that holds, else the default; terms in any order; points sorted; order and extrapolation."""
    inside = (
        '<DefaultCalibrator><PolynomialCalibrator><Term exponent="2" coefficient="3"/>'
        '<Term exponent="0" coefficient="1"/>'
        "</PolynomialCalibrator></DefaultCalibrator><ContextCalibratorList><ContextCalibrator>" + IS_ON + "<Calibrator>"
        '<SplineCalibrator order="0" extrapolate="true"><SplinePoint raw="5" calibrated="2"/>'
        '<SplinePoint raw="1" calibrated="4"/></SplineCalibrator></Calibrator></ContextCalibrator>'
        "</ContextCalibratorList>"
    )
    context = ContextCalibrator(Comparison("/S/MODE", "ON"), Points(((1.0, 4.0), (5.0, 2.0)), 0, True))
    told = one_type(unsigned("T", 8, inside), MODE)
    assert told.calibration == Calibration(Polynomial((1.0, 0.0, 3.0)), (context,))


def test_exponents_that_no_polynomial_has() -> None:
    """XTCE 1.1 lets exponents be negative or fractions: such terms become an expression, and repeated ones add up."""
    terms = (
        '<Term exponent="-1" coefficient="2"/><Term exponent="0.5" coefficient="3"/>'
        '<Term exponent="-1" coefficient="1"/>'
    )
    inside = f"<DefaultCalibrator><PolynomialCalibrator>{terms}</PolynomialCalibrator></DefaultCalibrator>"
    default = one_type(unsigned("T", 8, inside)).calibration.default
    assert isinstance(default, Expression)
    assert expression.evaluate(expression.parse(default.text), {"raw": np.array([4.0])}) == pytest.approx([3 / 4 + 6])


@pytest.mark.parametrize(
    "calibrator",
    [
        "<PolynomialCalibrator/>",
        '<PolynomialCalibrator><Term exponent="2000" coefficient="1"/></PolynomialCalibrator>',
        '<PolynomialCalibrator><Term exponent="1" coefficient="NaN"/></PolynomialCalibrator>',
        '<SplineCalibrator order="2"><SplinePoint raw="1" calibrated="1"/><SplinePoint raw="2" calibrated="1"/>'
        "</SplineCalibrator>",
        '<SplineCalibrator><SplinePoint raw="1" calibrated="1"/></SplineCalibrator>',
        (
            '<SplineCalibrator><SplinePoint raw="1" calibrated="1"/><SplinePoint raw="1" calibrated="2"/>'
            "</SplineCalibrator>"
        ),
        "<MathOperationCalibrator><ValueOperand>1</ValueOperand><Operator>+</Operator></MathOperationCalibrator>",
        "<MathOperationCalibrator><Operator>exec</Operator></MathOperationCalibrator>",
        "<FancyCalibrator/>",
    ],
)
def test_a_calibrator_that_cannot_be_used_leaves_no_raw_value_behind(calibrator: str) -> None:
    """What cannot be calibrated is flagged, never shown as if the raw value were the engineering one."""
    reading = read(unsigned("T", 8, f"<DefaultCalibrator>{calibrator}</DefaultCalibrator>"))
    assert reading.database.types["/S/T"].calibration.default == UNUSABLE
    assert about(reading, "values are uncalibrated")[0].where.line > 0


def test_a_context_that_cannot_be_evaluated_decides_nothing() -> None:
    """Behind an unreadable context nobody knows which calibrator or limit holds: none does."""
    context = "<ContextMatch><CustomAlgorithm name='x'/></ContextMatch>"
    line = '<PolynomialCalibrator><Term exponent="0" coefficient="1"/></PolynomialCalibrator>'
    inside = (
        f"<DefaultCalibrator>{line}</DefaultCalibrator><ContextCalibratorList><ContextCalibrator>{context}<Calibrator>{line}"
        "</Calibrator></ContextCalibrator></ContextCalibratorList>"
    )
    alarm = (
        f"<DefaultAlarm><StaticAlarmRanges><WarningRange minInclusive='1'/></StaticAlarmRanges></DefaultAlarm>"
        f"<ContextAlarmList><ContextAlarm>{context}<StaticAlarmRanges/></ContextAlarm></ContextAlarmList>"
    )
    element = unsigned("T", 8, inside).replace("</IntegerParameterType>", alarm + "</IntegerParameterType>")
    reading = read(element)
    told = reading.database.types["/S/T"]
    assert (told.calibration, told.alarms) == (Calibration(UNUSABLE), Alarms())
    assert len(about(reading, "cannot be evaluated")) == 2


RPN: list[tuple[str, float, float]] = [
    ("0.5 X * 1.25 +", 4.0, 3.25),
    ("1.234 X * ln 2.0 ln / 64.0 *", 3.0, 64 * math.log2(1.234 * 3.0)),
    ("8 3 - 2 -", 0.0, 3.0),
    ("8 3 2 - -", 0.0, 7.0),
    ("2 3 ^ 2 ^", 0.0, 64.0),
    ("2 3 2 ^ ^", 0.0, 512.0),
    ("2 3 y^x", 0.0, 9.0),
    ("-2 2 ^", 0.0, 4.0),
    ("X -3 *", 5.0, -15.0),
    ("X 1/x", 4.0, 0.25),
    ("12 X 1/x /", 4.0, 48.0),
    ("1 2 swap /", 0.0, 2.0),
    ("3 4 drop X +", 1.0, 4.0),
    ("X dup * 1 +", 3.0, 10.0),
    ("2 X over - *", 5.0, 6.0),
    ("5 x! 2 /", 0.0, 60.0),
    ("1 2 atan2", 0.0, math.atan2(2, 1)),
    ("7 -2 %", 0.0, -1.0),
    ("7 2 div", 0.0, 3.0),
    ("-1.7 int abs", 0.0, 1.0),
    ("6 3 & 8 |", 0.0, 10.0),
    ("1 4 << 2 >>", 0.0, 4.0),
    ("6 3 xor", 0.0, 5.0),
    ("1 0 && 1 ||", 0.0, 1.0),
    ("X 3 > X 9 < &&", 5.0, 1.0),
    ("X ! !", 5.0, 1.0),
    ("3 4 min 9 max", 0.0, 9.0),
    ("100 log e^x", 0.0, math.exp(2)),
    ("0.3 tanh atanh 2 cosh acosh + 1 sinh asinh +", 0.0, 3.3),
    ("0.3 sin asin 0.4 cos acos + 0.5 tan atan +", 0.0, 1.2),
]


def operation(rpn: str) -> str:
    elements = []
    for word in rpn.split():
        if word == "X":
            elements.append("<ThisParameterOperand/>")
        elif word.lstrip("-")[:1].isdigit() and word != "1/x":
            elements.append(f"<ValueOperand>{word}</ValueOperand>")
        else:
            elements.append(f"<Operator>{word.replace('&', '&amp;').replace('<', '&lt;')}</Operator>")
    return "".join(elements)


@pytest.mark.parametrize(("rpn", "x", "expected"), RPN)
def test_postfix_mathematics_keeps_its_meaning(rpn: str, x: float, expected: float) -> None:
    """Each operator of XTCE takes and leaves what the standard's stack notation says (MathOperatorsType)."""
    inside = (
        f"<DefaultCalibrator><MathOperationCalibrator>{operation(rpn)}</MathOperationCalibrator></DefaultCalibrator>"
    )
    default = one_type(unsigned("T", 8, inside)).calibration.default
    assert isinstance(default, Expression)
    parsed = expression.parse(default.text)
    assert np.ravel(expression.evaluate(parsed, {"raw": np.array([x])}))[0] == pytest.approx(expected)


def test_derived_parameters_are_mathematics_over_others() -> None:
    """A MathAlgorithm gives its output parameter an expression over qualified names; its trigger is implied."""
    algorithm = (
        '<AlgorithmSet><MathAlgorithm name="a"><MathOperation outputParameterRef="D"><ParameterInstanceRefOperand '
        'parameterRef="A"/><ValueOperand>2</ValueOperand><Operator>*</Operator><TriggerSet><OnParameterUpdateTrigger '
        'parameterRef="A"/></TriggerSet></MathOperation></MathAlgorithm></AlgorithmSet>'
    )
    properties = '<ParameterProperties dataSource="derived"/>'
    reading = read(unsigned("U"), parameter("A", "U") + parameter("D", "U", properties), more=algorithm)
    derived = reading.database.parameters["/S/D"]
    assert (derived.derivation, derived.source) == ("'/S/A' * 2", Source.DERIVED)
    assert reading.remarks == ()


def test_alarms() -> None:
    """Ranges (outside and inside), several ranges, changes, contexts and minViolations become limits."""
    alarm = (
        '<DefaultAlarm minViolations="3"><StaticAlarmRanges><WarningRange minInclusive="1" maxExclusive="5"/>'
        '<CriticalRange minInclusive="0"/></StaticAlarmRanges><ChangeAlarmRanges changeType="changePerSample">'
        '<WatchRange minInclusive="-2" maxInclusive="3"/></ChangeAlarmRanges><AlarmMultiRanges><Range level="severe" '
        'rangeForm="inside" minInclusive="7" maxInclusive="8"/></AlarmMultiRanges></DefaultAlarm><ContextAlarmList>'
        '<ContextAlarm><StaticAlarmRanges rangeForm="inside"><DistressRange maxInclusive="4"/></StaticAlarmRanges>'
        f"{IS_ON}</ContextAlarm></ContextAlarmList>"
    )
    told = one_type(unsigned("T").replace("</IntegerParameterType>", alarm + "</IntegerParameterType>"), MODE)
    ranges = (
        RangeLimit(Severity.WARNING, Interval(1, 5, True, False)),
        RangeLimit(Severity.CRITICAL, Interval(0, None)),
        RangeLimit(Severity.SEVERE, Interval(7, 8), inside=True),
    )
    default = Limits(ranges, deltas=(DeltaLimit(Severity.WATCH, 3, 2),), persistence=3)
    inside = Limits((RangeLimit(Severity.DISTRESS, Interval(None, 4), inside=True),))
    assert told.alarms == Alarms(default, (ContextLimits(Comparison("/S/MODE", "ON"), inside),))


def test_alarms_of_labels_texts_and_conditions() -> None:
    """Labels by name or value (1.1), default levels, and conditions of each level, the most severe first."""
    labels = (
        '<DefaultAlarm defaultAlarmLevel="watch"><EnumerationAlarmList><EnumerationAlarm enumerationLabel="ON" '
        'alarmLevel="critical"/><EnumerationAlarm enumerationValue="0" alarmLevel="warning"/></EnumerationAlarmList>'
        "</DefaultAlarm></EnumeratedParameterType>"
    )
    told = one_type(MODE.replace("</EnumeratedParameterType>", labels))
    limits = (LabelLimit(Severity.CRITICAL, "ON"), LabelLimit(Severity.WARNING, "OFF"))
    assert told.alarms == Alarms(Limits(labels=limits, otherwise=Severity.WATCH))
    conditions = (
        '<DefaultAlarm><AlarmConditions><WarningAlarm><Comparison parameterRef="MODE" value="OFF"/></WarningAlarm>'
        '<SevereAlarm><Comparison parameterRef="MODE" value="ON"/></SevereAlarm></AlarmConditions></DefaultAlarm>'
        "</IntegerParameterType>"
    )
    told = one_type(unsigned("T").replace("</IntegerParameterType>", conditions), MODE)
    always = [
        Limits((RangeLimit(severity, Interval(), inside=True),)) for severity in (Severity.SEVERE, Severity.WARNING)
    ]
    contexts = (Comparison("/S/MODE", "ON"), Comparison("/S/MODE", "OFF"))
    assert told.alarms == Alarms(None, tuple(ContextLimits(c, s) for c, s in zip(contexts, always, strict=True)))


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("<ReferenceTime><Epoch>TAI</Epoch></ReferenceTime>", ("absolute_time", "TAI")),
        ("<ReferenceTime><Epoch>1970-01-01</Epoch></ReferenceTime>", ("absolute_time", "UNIX")),
        ("<ReferenceTime><Epoch>2010-01-01</Epoch></ReferenceTime>", ("absolute_time", "2010-01-01T00:00:00Z")),
        (
            "<ReferenceTime><Epoch>2000-01-01T12:00:00</Epoch></ReferenceTime>",
            ("absolute_time", "2000-01-01T12:00:00Z"),
        ),
        ("<ReferenceTime><Epoch>yesterday</Epoch></ReferenceTime>", ("relative_time", "")),
        ("", ("relative_time", "")),
    ],
)
def test_times(reference: str, expected: tuple[str, str]) -> None:
    """Scale, offset and units become seconds after an epoch; without an epoch a time is seconds, and that is told."""
    encoding = '<Encoding scale="2" offset="1" units="days"><IntegerDataEncoding sizeInBits="32"/></Encoding>'
    reading = read(f'<AbsoluteTimeParameterType name="T">{encoding}{reference}</AbsoluteTimeParameterType>')
    told = reading.database.types["/S/T"]
    assert (told.kind, told.time) == (expected[0], TimeMeaning(172_800.0, 86_400.0, expected[1]))
    assert bool(about(reading, "no ReferenceTime")) == (not expected[1])


def test_containers_in_full() -> None:
    """Locations, conditions, repeats, arrays, inner containers, fixed values, own sizes and restrictions are kept."""
    types = unsigned("U") + MODE + (
        '<ArrayParameterType name="Arr" arrayTypeRef="U"><DimensionList><Dimension><StartingIndex>'
        '<FixedValue>0</FixedValue>'
        "</StartingIndex><EndingIndex><FixedValue>3</FixedValue></EndingIndex></Dimension></DimensionList>"
        '</ArrayParameterType><AggregateParameterType name="Agg"><MemberList><Member name="x" typeRef="U"/>'
        '<Member name="y" typeRef="Arr"/></MemberList></AggregateParameterType>'
    )  # fmt: skip
    parameters = "".join(
        parameter(name, kind)
        for name, kind in (("A", "U"), ("N", "U"), ("ARR", "Arr"), ("AGG", "Agg"), ("MODE", "ModeType"))
    )
    at = (
        '<LocationInContainerInBits referenceLocation="containerStart"><FixedValue>40</FixedValue>'
        "</LocationInContainerInBits>"
    )
    dynamic = '<DynamicValue><ParameterInstanceRef parameterRef="N"/></DynamicValue>'
    repeat = f"<RepeatEntry><Count>{dynamic}</Count><Offset><FixedValue>4</FixedValue></Offset></RepeatEntry>"
    when = (
        "<IncludeCondition><BooleanExpression><ORedConditions><Condition><ParameterInstanceRef parameterRef='AGG.y[2]' "
        "useCalibratedValue='false'/><ComparisonOperator>&gt;=</ComparisonOperator><Value>0x1A</Value></Condition>"
        "<Condition><ParameterInstanceRef parameterRef='A'/><ComparisonOperator>!=</ComparisonOperator>"
        "<ParameterInstanceRef parameterRef='N'/></Condition></ORedConditions></BooleanExpression></IncludeCondition>"
    )
    sub = (
        "<ArrayParameterRefEntry parameterRef='ARR'><DimensionList><Dimension><StartingIndex><FixedValue>1</FixedValue>"
        f"</StartingIndex><EndingIndex>{dynamic}</EndingIndex></Dimension></DimensionList></ArrayParameterRefEntry>"
    )
    criteria = (
        '<BaseContainer containerRef="root"><RestrictionCriteria><ComparisonList>'
        '<Comparison parameterRef="N" value="7"/>'
        '<Comparison parameterRef="MODE" value="OFF" comparisonOperator="!="/></ComparisonList></RestrictionCriteria>'
        "</BaseContainer>"
    )
    containers = (
        container("root", "N", "AGG", "MODE", more='abstract="true"')
        + container("rec", "A").replace(
            "<EntryList>",
            "<BinaryEncoding><SizeInBits><FixedValue>16</FixedValue></SizeInBits></BinaryEncoding><EntryList>",
        )
        + container(
            "leaf",
            f"<ParameterRefEntry parameterRef='A'>{at}{when}</ParameterRefEntry>",
            f"<ContainerRefEntry containerRef='rec'>{repeat}</ContainerRefEntry>",
            '<FixedValueEntry sizeInBits="12" binaryValue="0FF0"/>',
            sub,
            base=criteria,
        )
    )
    reading = read(types, parameters, containers)
    assert reading.remarks == ()
    found = reading.database.containers
    count = DynamicInteger("/S/N", calibrated=True)
    condition = AnyOf((
        Comparison("/S/AGG.y[2]", 26, Operator.GREATER_OR_EQUAL, False),
        Comparison("/S/A", operator=Operator.NOT_EQUAL, other="/S/N"),
    ))  # fmt: skip
    assert found["/S/leaf"].entries == (
        ParameterEntry("/S/A", Location(Reference.CONTAINER, 40), condition),
        ContainerEntry("/S/rec", repeat=Repeat(count, 4)),
        FixedEntry(12, b"\x0f\xf0"),
        ParameterEntry("/S/ARR", dimensions=(Dimension(1, count),)),
    )
    assert found["/S/rec"].entries[-1] == FixedEntry(0, location=Location(Reference.CONTAINER, 16))
    terms = (Comparison("/S/N", 7), Comparison("/S/MODE", "OFF", Operator.NOT_EQUAL))
    assert (found["/S/leaf"].base, found["/S/leaf"].restriction) == ("/S/root", AllOf(terms))
    assert (found["/S/root"].abstract, found["/S/root"].restriction) == (True, ALWAYS)
    assert reading.database.roots == ("/S/root",)


def test_what_parameters_say() -> None:
    """Descriptions, aliases, sources, validity, initial values, units, ranges, decimals and signs are kept."""
    number = (
        '<FloatParameterType name="F" initialValue="1.5" sizeInBits="64"><UnitSet><Unit>m</Unit>'
        '<Unit power="-1">s</Unit>'
        '</UnitSet><ToString><NumberFormat maximumFractionDigits="2"/></ToString><FloatDataEncoding/>'
        '<ValidRange minInclusive="-1" maxExclusive="5" validRangeAppliesToCalibrated="false"/></FloatParameterType>'
    )
    told = (
        '<Parameter name="P" parameterTypeRef="F" shortDescription="short" initialValue="2.5"><LongDescription>long'
        '</LongDescription><AliasSet><Alias nameSpace="n" alias="X1"/></AliasSet>'
        '<ParameterProperties dataSource="local">'
        '<ValidityCondition><Comparison parameterRef="MODE" value="ON"/></ValidityCondition>'
        "</ParameterProperties></Parameter>"
    )
    database = read(number + MODE, told + parameter("Q", "F") + parameter("MODE", "ModeType")).database
    one, other, kind = database.parameters["/S/P"], database.parameters["/S/Q"], database.types["/S/F"]
    assert (one.description, one.long_description, one.aliases) == ("short", "long", ("X1",))
    assert (one.source, one.valid_when) == (Source.LOCAL, Comparison("/S/MODE", "ON"))
    assert (one.initial, other.initial, one.decimals) == (2.5, 1.5, 2)
    assert (kind.unit, kind.valid_range, kind.valid_range_of_raw) == ("m s^-1", Interval(-1, 5, True, False), True)
    states = States((State(0, 0, "OFF"), State(1, 3, "ON")))
    assert database.types["/S/ModeType"].calibration == Calibration(states)
    assert database.find_parameter("X1") == ["/S/P"]


def test_a_type_inherits_what_it_does_not_say() -> None:
    """`baseType`: encoding, unit and alarms come from the base unless the type has its own; the chain may be long."""
    base = unsigned("A", 12).replace("<IntegerDataEncoding", "<UnitSet><Unit>V</Unit></UnitSet><IntegerDataEncoding")
    more = (
        '<IntegerParameterType name="C" baseType="B"><UnitSet><Unit>mV</Unit></UnitSet></IntegerParameterType>'
        '<FloatParameterType name="B" baseType="A"><FloatDataEncoding/></FloatParameterType>'
    )
    found = read(base + more).database.types
    assert [(found[f"/S/{n}"].encoding, found[f"/S/{n}"].unit) for n in "ABC"] == [
        (IntegerEncoding(12), "V"),
        (FloatEncoding(32), "V"),
        (FloatEncoding(32), "mV"),
    ]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [("x", "/A/B/x"), ("y", "/A/y"), ("../y", "/A/y"), ("/A/B/x", "/A/B/x"), ("B/x", "/A/B/x"), ("./x", "/A/B/x"),
     ("/A//B/x", "/A/B/x"), ("/B/x", "/A/B/x"), ("../B/./x", "/A/B/x")],
)  # fmt: skip
def test_names_are_found_as_in_a_file_system(reference: str, expected: str) -> None:
    """Absolute, relative and plain names; what the own system does not have is looked for in those around it."""
    types, inner = unsigned("U"), parameter("x", "/A/U")
    outer = document(types, parameter("y", "U"), name="A").decode()
    nested = (
        f'<SpaceSystem name="B"><TelemetryMetaData><ParameterSet>{inner}</ParameterSet><ContainerSet>'
        f"{container('c', reference)}</ContainerSet></TelemetryMetaData></SpaceSystem></SpaceSystem>"
    )
    reading = read_xtce(outer.replace("</SpaceSystem>", nested).encode(), "t.xml")
    assert reading.database.containers["/A/B/c"].entries == (ParameterEntry(expected),)


@pytest.mark.parametrize("namespace", ["http://www.omg.org/space/xtce", "http://www.omg.org/spec/XTCE/20180204",
                                       "http://www.omg.org/space", "http://x.org/XTCE/20250101"])  # fmt: skip
@pytest.mark.parametrize("prefix", ["", "xtce:"])
def test_versions_and_prefixes_make_no_difference(namespace: str, prefix: str) -> None:
    """Elements are met by their local names, whatever version the namespace says and whatever prefix they bear."""
    text = document(unsigned("U"), parameter("P", "U"), container("C", "P")).decode()
    text = text.replace("http://www.omg.org/spec/XTCE/20180204", namespace)
    if prefix:
        text = text.replace("</", "</\0").replace("<", f"<{prefix}").replace(f"<{prefix}/\0", f"</{prefix}")
        text = text.replace(f"<{prefix}?", "<?").replace("xmlns=", f"xmlns:{prefix[:-1]}=")
    reading = read_xtce(text.encode(), "t.xml")
    assert reading.database.containers["/S/C"].entries == (ParameterEntry("/S/P"),)
    assert (reading.counts["Parameter"], reading.remarks) == (1, ())


def test_roots_are_what_packets_begin_with() -> None:
    """A container that others derive from is a root; one that stands alone is told; alone in a file it is a root."""
    types, parameters = unsigned("U"), parameter("P", "U")
    lone = container("lone", "P")
    both = read(types, parameters, container("root", "P") + container("leaf", base="root") + lone)
    assert (both.database.roots, len(about(both, "no packet is recognised"))) == (("/S/root",), 1)
    assert read(types, parameters, lone).database.roots == ("/S/lone",)
