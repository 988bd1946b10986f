"""Random XTCE documents over the constructs that we and space-packet-parser both read, and packets for them.

Packets are put together bit by bit from what was drawn, not by anything that is under test. Numbers are drawn so that
calibrated values are exact in float64: then "equal" means equal.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from xml.sax.saxutils import quoteattr

from hypothesis import strategies as st

from tests.mdb.xtce_documents import NAMESPACE

HEADER = (("VERSION", 3), ("TYPE", 1), ("SEC_HDR_FLG", 1), ("PKT_APID", 11), ("SEQ_FLGS", 2), ("SRC_SEQ_CTR", 14),
          ("PKT_LEN", 16))  # fmt: skip
LETTERS = "abcXYZ 0189-_"
Bits = str
Known = dict[str, int]
Draw = Callable[[st.SearchStrategy[object]], object]


@dataclass
class Field:
    """A parameter with its type: how its XML is, and how its bits are drawn once earlier raw values are known."""

    name: str
    type_xml: str
    bits: Callable[[st.DrawFn, Known], Bits]
    exact: bool = True  # calibrated values are exact
    rounded: bool = False  # an integer type that is calibrated


@dataclass
class Box:
    """A container: its fields, and what a packet must hold to be it."""

    name: str
    base: str
    restriction: str
    entries: list[Field]
    demands: dict[str, int]
    abstract: bool = False
    inner: list[Field] = field(default_factory=list)  # stand in a container of their own, before the entries


@dataclass
class Case:
    """A document and packets for it."""

    xml: bytes
    packets: list[bytes]
    fields: dict[str, Field]


def _pattern(value: int, bits: int) -> Bits:
    return format(value % (1 << bits), f"0{bits}b")


def _swapped(bits: Bits) -> Bits:
    return "".join(bits[k : k + 8] for k in range(len(bits) - 8, -1, -8))


def _octets(data: bytes) -> Bits:
    return "".join(format(octet, "08b") for octet in data)


@st.composite
def _condition(draw: st.DrawFn, known: list[tuple[str, int]]) -> str:
    """A Comparison, ComparisonList or BooleanExpression over integer parameters that stand before."""

    def operands() -> tuple[str, str, str]:
        name, bits = draw(st.sampled_from(known))
        value = draw(st.integers(0, min((1 << bits) - 1, 9)))
        return name, draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">="])), str(value)

    def comparison() -> str:
        name, operator, value = operands()
        calibrated = draw(st.sampled_from(["", ' useCalibratedValue="false"', ' useCalibratedValue="true"']))
        told = "" if operator == "==" and draw(st.booleans()) else f" comparisonOperator={quoteattr(operator)}"
        return f'<Comparison parameterRef="{name}" value="{value}"{told}{calibrated}/>'

    def condition() -> str:
        name, operator, value = operands()
        right = f"<Value>{value}</Value>"
        if draw(st.booleans()):
            right = f'<ParameterInstanceRef parameterRef="{draw(st.sampled_from(known))[0]}"/>'
        sign = operator.replace("<", "&lt;").replace(">", "&gt;")
        return (
            f'<Condition><ParameterInstanceRef parameterRef="{name}"/><ComparisonOperator>{sign}</ComparisonOperator>'
            f"{right}</Condition>"
        )

    shape = draw(st.sampled_from(["one", "list", "condition", "and", "or"]))
    if shape == "one":
        return comparison()
    if shape == "list":
        return f"<ComparisonList>{comparison()}{comparison()}</ComparisonList>"
    if shape == "condition":
        return f"<BooleanExpression>{condition()}</BooleanExpression>"
    outer, other = ("ANDed", "ORed") if shape == "and" else ("ORed", "ANDed")
    nested = f"<{other}Conditions>{condition()}{condition()}</{other}Conditions>" if draw(st.booleans()) else ""
    inside = f"<{outer}Conditions>{condition()}{condition()}{nested}</{outer}Conditions>"
    return f"<BooleanExpression>{inside}</BooleanExpression>"


_EIGHTHS = st.integers(-800, 800).map(lambda k: k / 8)


@st.composite
def _calibrator(draw: st.DrawFn, bits: int) -> str:
    if draw(st.booleans()):
        degree = draw(st.integers(0, 3 if bits <= 10 else 1))
        terms = "".join(f'<Term coefficient="{draw(_EIGHTHS)}" exponent="{k}"/>' for k in range(degree + 1))
        return f"<PolynomialCalibrator>{terms}</PolynomialCalibrator>"
    order, count = draw(st.integers(0, 1)), draw(st.integers(2, 5))
    # a step of a power of two makes slopes exact; half a raw value off, so that no raw value is the last point
    step, start = 1 << draw(st.integers(0, 6)), draw(st.integers(-20, 200)) + 0.5
    points = "".join(f'<SplinePoint raw="{start + k * step}" calibrated="{draw(_EIGHTHS)}"/>' for k in range(count))
    extrapolate = draw(st.sampled_from(["true", "false"]))
    return f'<SplineCalibrator order="{order}" extrapolate="{extrapolate}">{points}</SplineCalibrator>'


@st.composite
def _calibration(draw: st.DrawFn, bits: int, known: list[tuple[str, int]]) -> str:
    inside = ""
    if draw(st.booleans()):
        inside += f"<DefaultCalibrator>{draw(_calibrator(bits))}</DefaultCalibrator>"
    if draw(st.booleans()):
        contexts = "".join(
            f"<ContextCalibrator><ContextMatch>{draw(_condition(known))}</ContextMatch><Calibrator>"
            f"{draw(_calibrator(bits))}</Calibrator></ContextCalibrator>"
            for _ in range(draw(st.integers(1, 2)))
        )
        inside += f"<ContextCalibratorList>{contexts}</ContextCalibratorList>"
    return inside


@st.composite
def _integer(draw: st.DrawFn, name: str, known: list[tuple[str, int]]) -> Field:
    bits = draw(st.integers(1, 64))
    calibration = draw(_calibration(bits, known)) if bits <= 20 and draw(st.booleans()) else ""
    coding = (
        draw(st.sampled_from(["unsigned", "twosComplement", "twosCompliment", "signed"])) if bits > 1 else "unsigned"
    )
    little = bits % 8 == 0 and draw(st.booleans())
    kind = draw(st.sampled_from(["Integer", "Float"]))
    order = ' byteOrder="leastSignificantByteFirst"' if little else ""
    xml = (
        f'<{kind}ParameterType name="{name}T"><UnitSet/>'
        f'<IntegerDataEncoding sizeInBits="{bits}" encoding="{coding}"{order}>'
        f"{calibration}</IntegerDataEncoding></{kind}ParameterType>"
    )

    def drawn(more: st.DrawFn, raws: Known) -> Bits:
        few = more(st.booleans())  # small values meet conditions and points
        value = more(st.integers(0, min(40, (1 << bits) - 1)) if few else st.integers(0, (1 << bits) - 1))
        raws[name] = value
        return _swapped(_pattern(value, bits)) if little else _pattern(value, bits)

    return Field(name, xml, drawn, rounded=bool(calibration) and kind == "Integer")


@st.composite
def _real(draw: st.DrawFn, name: str, known: list[tuple[str, int]]) -> Field:
    coding, bits = draw(st.sampled_from([("IEEE754", 16), ("IEEE754_1985", 32), ("IEEE754", 64), ("MILSTD_1750A", 32)]))
    little = draw(st.booleans())
    order = ' byteOrder="leastSignificantByteFirst"' if little else ""
    calibration = draw(_calibration(10, known)) if draw(st.booleans()) else ""
    xml = (
        f'<FloatParameterType name="{name}T">'
        f'<FloatDataEncoding sizeInBits="{bits}" encoding="{coding}"{order}>{calibration}'
        "</FloatDataEncoding></FloatParameterType>"
    )

    def drawn(more: st.DrawFn, raws: Known) -> Bits:
        if coding == "MILSTD_1750A" or more(st.booleans()):
            return _pattern(more(st.integers(0, (1 << bits) - 1)), bits)
        value = struct.pack({16: ">e", 32: ">f", 64: ">d"}[bits], more(st.integers(-300, 300)) / 4)
        return _swapped(_octets(value)) if little else _octets(value)

    return Field(name, xml, drawn, exact=False)


@st.composite
def _enumerated(draw: st.DrawFn, name: str, known: list[tuple[str, int]]) -> Field:
    bits, signed = draw(st.integers(2, 8)), draw(st.booleans())
    low = -(1 << bits - 1) if signed else 0
    values = draw(st.lists(st.integers(low, low + (1 << bits) - 1), min_size=1, max_size=6, unique=True))
    labels = "".join(f'<Enumeration value="{value}" label="L{k}"/>' for k, value in enumerate(values))
    coding = "twosComplement" if signed else "unsigned"
    xml = (
        f'<EnumeratedParameterType name="{name}T"><UnitSet/>'
        f'<IntegerDataEncoding sizeInBits="{bits}" encoding="{coding}"/>'
        f"<EnumerationList>{labels}</EnumerationList></EnumeratedParameterType>"
    )

    def drawn(more: st.DrawFn, raws: Known) -> Bits:
        known_value = more(st.integers(0, 9)) > 0
        return _pattern(more(st.sampled_from(values) if known_value else st.integers(0, (1 << bits) - 1)), bits)

    return Field(name, xml, drawn)


@st.composite
def _boolean(draw: st.DrawFn, name: str, known: list[tuple[str, int]]) -> Field:
    bits = draw(st.integers(1, 8))
    xml = (
        f'<BooleanParameterType name="{name}T" zeroStringValue="NO" oneStringValue="YES"><IntegerDataEncoding '
        f'sizeInBits="{bits}"/></BooleanParameterType>'
    )
    return Field(name, xml, lambda more, raws: _pattern(more(st.integers(0, (1 << bits) - 1)), bits))


@st.composite
def _time(draw: st.DrawFn, name: str, known: list[tuple[str, int]]) -> Field:
    bits, scale, offset = draw(st.integers(8, 29)), draw(st.integers(1, 64)) / 8, draw(st.integers(0, 80)) / 8
    kind = draw(st.sampled_from(["AbsoluteTime", "RelativeTime"]))
    epoch = "<ReferenceTime><Epoch>TAI</Epoch></ReferenceTime>" if kind == "AbsoluteTime" else ""
    xml = (
        f'<{kind}ParameterType name="{name}T"><Encoding units="seconds" scale="{scale}" offset="{offset}">'
        f'<IntegerDataEncoding sizeInBits="{bits}"/></Encoding>{epoch}</{kind}ParameterType>'
    )
    return Field(name, xml, lambda more, raws: _pattern(more(st.integers(0, (1 << bits) - 1)), bits))


@st.composite
def _sized(draw: st.DrawFn, known: list[tuple[str, int]]) -> tuple[str, Callable[[Known], int]]:
    """A size in octets: fixed, of a parameter by slope and intercept, or from a list; its XML, and its value."""
    shape = draw(st.sampled_from(["fixed", "dynamic", "lookup"]))
    name, bits = draw(st.sampled_from([pair for pair in known if pair[1] <= 4] or [("SEQ_FLGS", 2)]))
    if shape == "fixed":
        octets = draw(st.integers(1, 12))
        return f"<FixedValue>{8 * octets}</FixedValue>", lambda raws: octets
    if shape == "dynamic":
        slope, intercept = draw(st.integers(1, 2)), draw(st.integers(1, 3))
        flag = draw(st.sampled_from(["", ' useCalibratedValue="false"']))
        xml = (
            f'<DynamicValue><ParameterInstanceRef parameterRef="{name}"{flag}/><LinearAdjustment slope="{8 * slope}" '
            f'intercept="{8 * intercept}"/></DynamicValue>'
        )
        return xml, lambda raws: slope * raws[name] + intercept
    sizes = draw(st.lists(st.integers(1, 9), min_size=1 << bits, max_size=1 << bits))
    rows = "".join(
        f'<DiscreteLookup value="{8 * size}"><Comparison parameterRef="{name}" value="{value}"/></DiscreteLookup>'
        for value, size in enumerate(sizes)
    )
    return f"<DiscreteLookupList>{rows}</DiscreteLookupList>", lambda raws: sizes[raws[name]]


@st.composite
def _binary(draw: st.DrawFn, name: str, known: list[tuple[str, int]]) -> Field:
    size, value = draw(_sized(known))
    xml = (
        f'<BinaryParameterType name="{name}T"><BinaryDataEncoding><SizeInBits>{size}</SizeInBits></BinaryDataEncoding>'
        "</BinaryParameterType>"
    )

    def drawn(more: st.DrawFn, raws: Known) -> Bits:
        octets = value(raws)
        return _octets(more(st.binary(min_size=octets, max_size=octets)))

    return Field(name, xml, drawn)


@st.composite
def _text(draw: st.DrawFn, name: str, known: list[tuple[str, int]]) -> Field:
    size, value = draw(_sized(known))
    ends = draw(st.sampled_from(["box", "terminator", "tag"]))
    inside = {"box": "", "terminator": "<TerminationChar>58</TerminationChar>",
              "tag": '<LeadingSize sizeInBitsOfSizeTag="8"/>'}[ends]  # fmt: skip
    holder = f'<Variable maxSizeInBits="4096">{size}{inside}</Variable>'
    if size.startswith("<FixedValue"):
        holder = f"<SizeInBits><Fixed>{size}</Fixed>{inside}</SizeInBits>"
    charset = draw(st.sampled_from(["UTF-8", "US-ASCII", "ISO-8859-1"]))
    xml = (
        f'<StringParameterType name="{name}T"><StringDataEncoding encoding="{charset}">{holder}</StringDataEncoding>'
        "</StringParameterType>"
    )

    def drawn(more: st.DrawFn, raws: Known) -> Bits:
        octets = value(raws)
        text = bytearray(more(st.text(LETTERS.replace("X", ""), min_size=octets, max_size=octets)).encode())
        if ends == "terminator":
            text[more(st.integers(0, octets - 1))] = 0x58
        elif ends == "tag":
            text[0] = 8 * more(st.integers(0, octets - 1))
        return _octets(bytes(text))

    return Field(name, xml, drawn)


KINDS = (_integer, _integer, _real, _enumerated, _boolean, _time, _binary, _text)


@st.composite
def _fields(draw: st.DrawFn, prefix: str, known: list[tuple[str, int]]) -> list[Field]:
    found = []
    for k in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(KINDS))
        found.append(draw(kind(f"{prefix}{k}", known)))
    return found


def _plain(name: str, bits: int) -> Field:
    xml = (
        f'<IntegerParameterType name="{name}T" signed="false"><IntegerDataEncoding sizeInBits="{bits}"/>'
        "</IntegerParameterType>"
    )

    def drawn(more: st.DrawFn, raws: Known) -> Bits:
        raws.setdefault(name, more(st.integers(0, (1 << bits) - 1)))
        return _pattern(raws[name], bits)

    return Field(name, xml, drawn)


@st.composite
def _boxes(draw: st.DrawFn) -> list[Box]:
    """A root, packet types by APID, some of them abstract with kinds of their own by a subtype."""
    known = list(HEADER[:5])
    boxes = [Box("CCSDSPacket", "", "", [_plain(*one) for one in HEADER], {}, abstract=True)]
    for k in range(draw(st.integers(1, 3))):
        name, apid = f"TYPE{k}", 20 + k
        flag = draw(st.sampled_from(["", ' useCalibratedValue="false"']))
        compared = f'<Comparison parameterRef="PKT_APID" value="{apid}"{flag}/>'
        inner = draw(_fields(f"{name}_I", known))
        count = [_plain(f"{name}_N", 3), _plain(f"{name}_SUB", 4)]
        entries = count + draw(_fields(f"{name}_F", [*known, (f"{name}_N", 3), (f"{name}_SUB", 4)]))
        split = draw(st.booleans())
        boxes.append(
            Box(name, "CCSDSPacket", compared, entries, {"PKT_APID": apid}, split and draw(st.booleans()), inner)
        )
        for j in range(2 if split else 0):
            low, high = (0, 5) if j == 0 else (6, draw(st.integers(6, 14)))
            subtype = f'parameterRef="{name}_SUB"'
            both = (
                f'<ComparisonList><Comparison {subtype} value="{low}" comparisonOperator="&gt;="/>'
                f'<Comparison {subtype} value="{high}" comparisonOperator="&lt;="/></ComparisonList>'
            )
            more = draw(_fields(f"{name}_S{j}", [*known, (f"{name}_SUB", 4)]))
            boxes.append(Box(f"{name}_KIND{j}", name, both, more, {f"{name}_SUB": draw(st.integers(low, high))}))
    return boxes


def _document(boxes: list[Box]) -> bytes:
    fields = [one for box in boxes for one in (*box.inner, *box.entries)]
    containers = []
    for box in boxes:
        listed = "".join(f'<ParameterRefEntry parameterRef="{one.name}"/>' for one in box.entries)
        if box.inner:
            inside = "".join(f'<ParameterRefEntry parameterRef="{one.name}"/>' for one in box.inner)
            containers.append(
                f'<SequenceContainer name="{box.name}_IN"><EntryList>{inside}</EntryList></SequenceContainer>'
            )
            listed = f'<ContainerRefEntry containerRef="{box.name}_IN"/>{listed}'
        base = (
            f'<BaseContainer containerRef="{box.base}"><RestrictionCriteria>{box.restriction}</RestrictionCriteria>'
            "</BaseContainer>"
        )
        abstract = ' abstract="true"' if box.abstract else ""
        containers.append(
            f'<SequenceContainer name="{box.name}"{abstract}><EntryList>{listed}</EntryList>{base if box.base else ""}'
            "</SequenceContainer>"
        )
    parameters = "".join(f'<Parameter name="{one.name}" parameterTypeRef="{one.name}T"/>' for one in fields)
    return (
        f'<SpaceSystem name="S" xmlns="{NAMESPACE}"><TelemetryMetaData><ParameterTypeSet>'
        f"{''.join(one.type_xml for one in fields)}</ParameterTypeSet><ParameterSet>{parameters}"
        f"</ParameterSet><ContainerSet>"
        f"{''.join(containers)}</ContainerSet></TelemetryMetaData></SpaceSystem>"
    ).encode()


@st.composite
def _packet(draw: st.DrawFn, boxes: list[Box]) -> bytes:
    box = draw(st.sampled_from(boxes))
    chain, raws = [box], Known()
    while chain[0].base:
        chain.insert(0, next(one for one in boxes if one.name == chain[0].base))
    for one in chain:
        raws.update(one.demands)
    bits = "".join(one.bits(draw, raws) for part in chain for one in (*part.inner, *part.entries))
    bits += "0" * (-len(bits) % 8)
    octets = int(bits, 2).to_bytes(len(bits) // 8, "big")
    cut = draw(st.integers(0, 9)) == 0
    return octets[: draw(st.integers(1, len(octets)))] if cut else octets


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a document and up to 12 packets of its types, a few cut short, a few of no type."""
    boxes = draw(_boxes())
    packets = draw(st.lists(_packet(boxes), min_size=1, max_size=12))
    fields = {one.name: one for box in boxes for one in (*box.inner, *box.entries)}
    return Case(_document(boxes), packets, fields)
