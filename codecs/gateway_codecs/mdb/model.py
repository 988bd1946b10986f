"""The mission database as values: what a packet holds, and what its parameters mean.

One model for every source: XTCE (CCSDS 660.0-B-2), SCOS-2000 MIB, ccsdspy CSV and our YAML are read into it, and
nothing behind a reader asks where a definition came from. Everything is frozen and holds plain values, so that two
databases compare, hash and travel as text (`canonical`). The words are those of XTCE.

Names are qualified: `/System/Sub/NAME`; every reference in here is such a name. A member of an aggregate is
`/System/POSITION.x`, an element of an array `/System/SAMPLES[3]`. Bits are counted from the first bit sent, 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Literal, TypeAlias

from gateway_codecs.time_codes import TimeCode

Number: TypeAlias = int | float


@dataclass(frozen=True, slots=True)
class Where:
    """Where a definition stands in what was read; `line` counts from 1, 0 = the whole file."""

    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


NOWHERE = Where()


# ---- conditions -------------------------------------------------------------------------------------------------


class Operator(StrEnum):
    """Comparison operators (XTCE ComparisonOperatorsType)."""

    EQUAL = "=="
    NOT_EQUAL = "!="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="


@dataclass(frozen=True, slots=True)
class Comparison:
    """`parameter operator value`: an engineering value (number, label, text, bool) or, not `calibrated`, a raw one.

    `other` names a parameter to compare with instead of `value`. What cannot be looked up or compared does not hold;
    a boolean compares with true and false, whatever its texts are.
    """

    parameter: str
    value: Number | str | bool = 0
    operator: Operator = Operator.EQUAL
    calibrated: bool = True
    other: str = ""


@dataclass(frozen=True, slots=True)
class AllOf:
    """True when every term is; without terms it is true."""

    terms: tuple[Match, ...] = ()


@dataclass(frozen=True, slots=True)
class AnyOf:
    """True when one term is; without terms it is false."""

    terms: tuple[Match, ...] = ()


@dataclass(frozen=True, slots=True)
class Not:
    """True when the term is not."""

    term: Match


Match: TypeAlias = Comparison | AllOf | AnyOf | Not
ALWAYS = AllOf()


# ---- numbers that a packet may state ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DynamicInteger:
    """slope * (value of `parameter`) + intercept, rounded down; the parameter stands earlier in the same packet."""

    parameter: str
    slope: Number = 1
    intercept: Number = 0
    calibrated: bool = False


@dataclass(frozen=True, slots=True)
class LookupInteger:
    """The value of the first case whose condition holds; none holds = the item cannot be decoded."""

    cases: tuple[tuple[Match, int], ...]


@dataclass(frozen=True, slots=True)
class RestOfPacket:
    """As many bits as are left of the packet, `trailing_bits` kept for what stands behind."""

    trailing_bits: int = 0


Integer: TypeAlias = int | DynamicInteger | LookupInteger
Size: TypeAlias = int | DynamicInteger | LookupInteger | RestOfPacket
"""In bits."""


# ---- encodings --------------------------------------------------------------------------------------------------


class IntegerKind(StrEnum):
    """How an integer is coded (XTCE IntegerEncodingType); `bcd` has a digit an octet, `packed_bcd` one in four bits."""

    UNSIGNED = "unsigned"
    TWOS_COMPLEMENT = "twos_complement"
    ONES_COMPLEMENT = "ones_complement"
    SIGN_MAGNITUDE = "sign_magnitude"
    BCD = "bcd"
    PACKED_BCD = "packed_bcd"


class FloatKind(StrEnum):
    """How a real number is coded: IEEE 754 (16, 32, 64 bits) or MIL-STD-1750A (32, 48 bits)."""

    IEEE_754 = "ieee_754"
    MIL_STD_1750A = "mil_std_1750a"


BIG: tuple[int, ...] = ()
"""Byte order: most significant octet first."""


def little(octets: int) -> tuple[int, ...]:
    """Return the byte order of `octets` octets with the least significant one first."""
    return tuple(range(octets))


@dataclass(frozen=True, slots=True)
class IntegerEncoding:
    """An integer of 1 to 64 bits.

    `byte_order` names the octets as they are sent by their significance (0 = least), as XTCE's ByteOrderList does;
    empty = most significant first. Any order but that needs `size_bits` to be a multiple of 8.
    `least_significant_bit_first`: the bits of the field come in reverse (XTCE bitOrder); they are turned first, then
    the octets are put in order.
    """

    size_bits: int = 8
    kind: IntegerKind = IntegerKind.UNSIGNED
    byte_order: tuple[int, ...] = BIG
    least_significant_bit_first: bool = False


@dataclass(frozen=True, slots=True)
class FloatEncoding:
    """A real number; byte and bit order as in `IntegerEncoding`."""

    size_bits: int = 32
    kind: FloatKind = FloatKind.IEEE_754
    byte_order: tuple[int, ...] = BIG
    least_significant_bit_first: bool = False


@dataclass(frozen=True, slots=True)
class StringEncoding:
    """Text in a box of `size` bits (None = no box: `terminator` or `tag_bits` says where it ends).

    `terminator` ends the text (and is no part of it); `tag_bits` > 0: an unsigned integer of so many bits stands
    first and says how long the text is, in units of `tag_unit_bits`. `charset` is one of Python's codec names.
    """

    size: Size | None = None
    charset: str = "utf-8"
    terminator: bytes = b""
    tag_bits: int = 0
    tag_unit_bits: int = 8
    max_bits: int = 8 * 65542


@dataclass(frozen=True, slots=True)
class BinaryEncoding:
    """Octets (or bits, left-aligned in octets), of fixed or stated size."""

    size: Size = 8
    tag_bits: int = 0
    tag_unit_bits: int = 8


@dataclass(frozen=True, slots=True)
class TimeEncoding:
    """A CCSDS time code (301.0-B-4) as the field itself: CUC or CDS, P-field implied or in front."""

    code: TimeCode


Encoding: TypeAlias = IntegerEncoding | FloatEncoding | StringEncoding | BinaryEncoding | TimeEncoding


# ---- calibration ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Polynomial:
    """sum(coefficients[k] * raw ** k); MIB `mcf`."""

    coefficients: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Points:
    """Point pairs (raw, engineering) in rising order of raw: order 0 = the value of the point at or before, 1 = linear.

    Outside the points: `extrapolate`, else the value is uncalibrated (validity).
    """

    points: tuple[tuple[float, float], ...]
    order: int = 1
    extrapolate: bool = False


UNUSABLE = Points(())
"""No raw value is reached: stands where a reader met a calibrator that it cannot read, so that values are flagged."""


@dataclass(frozen=True, slots=True)
class Logarithmic:
    """1 / sum(coefficients[k] * ln(raw) ** k); MIB `lgf`."""

    coefficients: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Expression:
    """Text in the expression language of `expression`; `raw` is the value to calibrate, other names are parameters."""

    text: str


@dataclass(frozen=True, slots=True)
class State:
    """Raw values low to high, both included, are called `label`."""

    low: Number
    high: Number
    label: str


@dataclass(frozen=True, slots=True)
class States:
    """The first state that holds the raw value; none = `otherwise`, and without that the value is uncalibrated."""

    states: tuple[State, ...]
    otherwise: str = ""


Calibrator: TypeAlias = Polynomial | Points | Logarithmic | Expression | States


@dataclass(frozen=True, slots=True)
class ContextCalibrator:
    """A calibrator that is used where its condition holds."""

    context: Match
    calibrator: Calibrator | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """The first context that holds gives the calibrator, else `default`; None = the value is the raw value."""

    default: Calibrator | None = None
    contexts: tuple[ContextCalibrator, ...] = ()


# ---- limits -----------------------------------------------------------------------------------------------------


class Severity(IntEnum):
    """XTCE alarm levels. MIB: soft limits are WARNING, hard limits CRITICAL, deltas WARNING, events WATCH."""

    NONE = 0
    WATCH = 1
    WARNING = 2
    DISTRESS = 3
    CRITICAL = 4
    SEVERE = 5


@dataclass(frozen=True, slots=True)
class Interval:
    """Low to high; None = open on that side; each bound included or not."""

    low: Number | None = None
    high: Number | None = None
    low_included: bool = True
    high_included: bool = True


@dataclass(frozen=True, slots=True)
class RangeLimit:
    """Values outside (`inside`: within) the interval have this severity."""

    severity: Severity
    interval: Interval
    inside: bool = False


@dataclass(frozen=True, slots=True)
class LabelLimit:
    """Values with this label (of a state, or a text) have this severity."""

    severity: Severity
    label: str


@dataclass(frozen=True, slots=True)
class DeltaLimit:
    """A change from the sample before of more than `rise` up, or `fall` down (both >= 0, None = free)."""

    severity: Severity
    rise: Number | None = None
    fall: Number | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """All that applies together; the most severe wins.

    `of_raw`: the raw value is checked. `otherwise` is the severity of a label in no `labels`. `persistence`: so many
    samples in a row must violate before the limit state says so (XTCE minViolations, MIB OCF_NBCHCK).
    """

    ranges: tuple[RangeLimit, ...] = ()
    labels: tuple[LabelLimit, ...] = ()
    deltas: tuple[DeltaLimit, ...] = ()
    otherwise: Severity = Severity.NONE
    of_raw: bool = False
    persistence: int = 1


@dataclass(frozen=True, slots=True)
class ContextLimits:
    """Limits that are used where their condition holds; None = none then."""

    context: Match
    limits: Limits | None


@dataclass(frozen=True, slots=True)
class Alarms:
    """The first context that holds gives the limits, else `default`."""

    default: Limits | None = None
    contexts: tuple[ContextLimits, ...] = ()


# ---- types and parameters ---------------------------------------------------------------------------------------

TypeKind: TypeAlias = Literal[
    "integer", "float", "enumerated", "boolean", "string", "binary", "absolute_time", "relative_time", "array",
    "aggregate",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class TimeMeaning:
    """What a counted time means: seconds = scale * raw + offset, after `epoch`.

    `epoch` is TAI (1958-01-01), J2000, UNIX, GPS or a UTC date and time in text; empty: relative, or after the time of
    the parameter `offset_from`.
    """

    scale: float = 1.0
    offset: float = 0.0
    epoch: str = ""
    offset_from: str = ""


@dataclass(frozen=True, slots=True)
class Dimension:
    """Indices first to last of one dimension, both included."""

    first: Integer = 0
    last: Integer = 0


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an aggregate: `type_name` is a qualified type name."""

    name: str
    type_name: str


@dataclass(frozen=True, slots=True)
class ParameterType:
    """The type of parameters: how they are coded, calibrated, checked. Without an encoding it is in no packet."""

    name: str
    kind: TypeKind
    encoding: Encoding | None = None
    calibration: Calibration = Calibration()
    alarms: Alarms = Alarms()
    valid_range: Interval | None = None
    valid_range_of_raw: bool = False
    unit: str = ""
    signed: bool = True  # of an engineering integer
    size_bits: int = 64  # of an engineering integer or float
    time: TimeMeaning | None = None
    zero_text: str = "False"  # booleans
    one_text: str = "True"
    element_type: str = ""  # arrays: a qualified type name
    dimensions: tuple[Dimension, ...] = ()
    members: tuple[Member, ...] = ()  # aggregates
    description: str = ""
    where: Where = field(default=NOWHERE, compare=False)


class Source(StrEnum):
    """Where a parameter's value comes from (XTCE dataSource)."""

    TELEMETERED = "telemetered"
    DERIVED = "derived"
    CONSTANT = "constant"
    LOCAL = "local"
    GROUND = "ground"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A named parameter. `valid_when`: else its value is invalid. `derivation`: a derived parameter's expression.

    `decimals` is how many to show, -1 = as many as needed.
    """

    name: str
    type_name: str
    source: Source = Source.TELEMETERED
    valid_when: Match = ALWAYS
    derivation: str = ""
    initial: Number | str | bool | None = None
    description: str = ""
    long_description: str = ""
    aliases: tuple[str, ...] = ()
    decimals: int = -1
    where: Where = field(default=NOWHERE, compare=False)


# ---- containers -------------------------------------------------------------------------------------------------


class Reference(StrEnum):
    """What a location counts from."""

    PREVIOUS = "previous"  # the end of the entry before (of the container: where its base ended)
    CONTAINER = "container"  # the first bit of the container whose entry it is (its bases included)
    PACKET = "packet"  # the first bit of the packet
    END = "end"  # back from the end of the packet to the first bit of the entry, which moves nothing that follows


@dataclass(frozen=True, slots=True)
class Location:
    """`bits` after the reference (below zero, or of END: before it), then up to the next multiple of `align_bits`."""

    reference: Reference = Reference.PREVIOUS
    bits: Integer = 0
    align_bits: int = 1


@dataclass(frozen=True, slots=True)
class Repeat:
    """`count` occurrences, `offset_bits` between the end of one and the start of the next.

    `period_ns` is the time between their samples, `first_ns` that of the first after the packet's (MIB plf).
    """

    count: Integer
    offset_bits: Integer = 0
    period_ns: int = 0
    first_ns: int = 0


@dataclass(frozen=True, slots=True)
class ParameterEntry:
    """A parameter. `dimensions` replace those of its array type (XTCE ArrayParameterRefEntry)."""

    parameter: str
    location: Location = Location()
    condition: Match = ALWAYS
    repeat: Repeat | None = None
    dimensions: tuple[Dimension, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerEntry:
    """Another container, in place."""

    container: str
    location: Location = Location()
    condition: Match = ALWAYS
    repeat: Repeat | None = None


@dataclass(frozen=True, slots=True)
class FixedEntry:
    """Bits that carry no parameter: padding, or a known value."""

    size_bits: int
    value: bytes = b""
    location: Location = Location()


Entry: TypeAlias = ParameterEntry | ContainerEntry | FixedEntry


@dataclass(frozen=True, slots=True)
class Container:
    """Entries in order, after those of `base`; it is met where `restriction` holds of a `base` that was decoded.

    A container without base that is not only used within others is a root (`Database.roots`).
    """

    name: str
    entries: tuple[Entry, ...] = ()
    base: str = ""
    restriction: Match = ALWAYS
    abstract: bool = False
    description: str = ""
    where: Where = field(default=NOWHERE, compare=False)


# ---- the database -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Database:
    """A mission database; every reference is resolved. Mappings go from qualified name to definition.

    `roots` are the containers with which the identification of a packet begins, in order.
    """

    name: str
    version: str = ""
    description: str = ""
    types: Mapping[str, ParameterType] = field(default_factory=dict)
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    containers: Mapping[str, Container] = field(default_factory=dict)
    roots: tuple[str, ...] = ()

    def find_parameter(self, name: str) -> list[str]:
        """Return the qualified names that `name` may mean: itself, or all that end with it or have it as an alias."""
        if name in self.parameters:
            return [name]
        tail = "/" + name.lstrip("/")
        return [full for full, one in self.parameters.items() if full.endswith(tail) or name in one.aliases]
