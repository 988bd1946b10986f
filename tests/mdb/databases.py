"""Any database that the model can say, for property tests: every reference resolved, everything else as it comes.

`databases()` draws values, not sense: layouts may overlap, conditions may contradict each other. Whoever needs packets
to decode filters or draws with the smaller strategies below.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, TypeAlias, get_args

from hypothesis import strategies as st

from gateway_codecs.mdb.model import (
    ALWAYS,
    Alarms,
    AllOf,
    AnyOf,
    BinaryEncoding,
    Calibration,
    Calibrator,
    Comparison,
    Container,
    ContainerEntry,
    ContextCalibrator,
    ContextLimits,
    Database,
    DeltaLimit,
    Dimension,
    DynamicInteger,
    Encoding,
    Entry,
    Expression,
    FixedEntry,
    FloatEncoding,
    FloatKind,
    Integer,
    IntegerEncoding,
    IntegerKind,
    Interval,
    LabelLimit,
    Limits,
    Location,
    Logarithmic,
    LookupInteger,
    Match,
    Member,
    Not,
    Number,
    Operator,
    Parameter,
    ParameterEntry,
    ParameterType,
    Points,
    Polynomial,
    RangeLimit,
    Reference,
    Repeat,
    RestOfPacket,
    Severity,
    Size,
    Source,
    State,
    States,
    StringEncoding,
    TimeEncoding,
    TimeMeaning,
    TypeKind,
)
from gateway_codecs.time_codes import TimeCode

KINDS: Sequence[TypeKind] = get_args(TypeKind)
WORDS = ("A", "MODE", "rest", "pad", "else", "and", "true", "null", "0", "1e3", "12", "raw", "parameter", "container")
ODD = " '\"\\:,#{}[]&*!|>%@`?-~=<./\t\né€😀\x00\x85\ufeff"
VALUES = (0, 1, 2, 255)

sizes = st.integers(1, 64)
counts = st.integers(0, 70_000)
severities = st.sampled_from(Severity)
texts = st.one_of(st.sampled_from(("", *WORDS)), st.text(st.characters(exclude_categories=["Cs"]), max_size=6))
plain_names = st.one_of(st.sampled_from(WORDS), st.text("ABCxyz_0123456789", min_size=1, max_size=6))
odd_names = st.text(st.one_of(st.sampled_from(ODD), st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5)
names = st.one_of(plain_names, plain_names, odd_names)
floats = st.floats(allow_nan=False, allow_infinity=False)
numbers: st.SearchStrategy[Number] = st.one_of(st.integers(-(2**64), 2**64), floats, st.sampled_from(VALUES))
values: st.SearchStrategy[Number | str | bool] = st.one_of(numbers, st.booleans(), texts)
bounds = st.none() | numbers


Names: TypeAlias = tuple[str, ...]


def tuples_of(one: st.SearchStrategy[Any], least: int = 0, most: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    """Return a strategy of tuples of any length in a range."""
    return st.lists(one, min_size=least, max_size=most).map(tuple)


# ---- what refers to parameters: `known` are the names it may use


@functools.cache
def comparisons(known: Names) -> st.SearchStrategy[Comparison]:
    """Return a strategy of comparisons."""
    name = st.sampled_from(known)
    plain = st.builds(Comparison, name, values, st.sampled_from(Operator), st.booleans())
    return plain | st.builds(
        Comparison, name, st.just(0) | values, st.sampled_from(Operator), st.booleans(), st.sampled_from(["", *known])
    )


@functools.cache
def matches(known: Names) -> st.SearchStrategy[Match]:
    """Return a strategy of conditions."""
    if not known:
        return st.just(ALWAYS)

    def larger(one: st.SearchStrategy[Match]) -> st.SearchStrategy[Match]:
        terms = tuples_of(one)
        return st.one_of(st.builds(AllOf, terms), st.builds(AnyOf, terms), st.builds(Not, one))

    return st.just(ALWAYS) | st.recursive(comparisons(known), larger, max_leaves=4)


@functools.cache
def integers(known: Names, small: st.SearchStrategy[int] = counts) -> st.SearchStrategy[Integer]:
    """Return a strategy of numbers that a packet may state."""
    if not known:
        return small
    dynamic = st.builds(
        DynamicInteger, st.sampled_from(known), st.just(1) | numbers, st.just(0) | numbers, st.booleans()
    )
    lookup = st.builds(LookupInteger, tuples_of(st.tuples(matches(known), small)))
    return st.one_of(small, dynamic, lookup)


@functools.cache
def sizes_bits(known: Names) -> st.SearchStrategy[Size]:
    """Return a strategy of sizes."""
    octets = st.builds(DynamicInteger, st.sampled_from(known), st.just(8)) if known else counts
    return st.one_of(integers(known), counts.map(lambda k: 8 * k), octets, st.builds(RestOfPacket, st.just(0) | counts))


@functools.cache
def encodings(known: Names) -> st.SearchStrategy[Encoding]:
    """Return a strategy of encodings, each as it can be."""
    octets = st.integers(1, 8)
    orders = octets.flatmap(lambda n: st.permutations(range(n))).map(tuple)
    ordered = orders.flatmap(
        lambda order: st.builds(
            IntegerEncoding, st.just(8 * len(order)), st.sampled_from(IntegerKind), st.just(order), st.booleans()
        )
    )
    return st.one_of(
        st.builds(IntegerEncoding, sizes, st.sampled_from(IntegerKind), st.just(()), st.booleans()),
        ordered,
        st.builds(FloatEncoding, st.sampled_from((16, 32, 64)), least_significant_bit_first=st.booleans()),
        st.builds(FloatEncoding, st.just(32), st.just(FloatKind.MIL_STD_1750A), st.just((0, 1, 2, 3))),
        st.builds(FloatEncoding, st.just(48), st.just(FloatKind.MIL_STD_1750A)),
        st.builds(
            StringEncoding,
            st.none() | sizes_bits(known),
            st.sampled_from(("utf-8", "ascii", "latin-1", "utf-16-be")),
            st.binary(max_size=2),
            st.sampled_from((0, 8, 16)),
            st.sampled_from((8, 1)),
            st.just(8 * 65542) | counts,
        ),
        st.builds(BinaryEncoding, sizes_bits(known), st.sampled_from((0, 8, 16)), st.sampled_from((8, 1))),
        st.builds(TimeEncoding, time_codes),
    )


time_codes = st.one_of(
    st.builds(
        TimeCode,
        st.just("cuc"),
        st.sampled_from(("present", "implied")),
        st.integers(1, 7),
        st.integers(0, 10),
        epoch=st.sampled_from(("1958-01-01T00:00:00Z", "2000-01-01T12:00:00Z", "1970-001T00:00:00Z")),
        scale=st.sampled_from((None, "tai", "utc", "gps")),
    ),
    st.builds(
        TimeCode,
        st.just("cds"),
        st.sampled_from(("present", "implied")),
        day_octets=st.sampled_from((2, 3)),
        submillisecond=st.sampled_from(("none", "us", "ps")),
        scale=st.sampled_from((None, "tai", "utc")),
    ),
)

points = st.lists(st.tuples(floats, floats), max_size=4).map(lambda rows: tuple(sorted(rows)))
states = st.one_of(
    st.builds(lambda value, label: State(value, value, label), numbers, texts),
    st.builds(State, numbers, numbers, texts),
)


def expressions(known: Names) -> st.SearchStrategy[str]:
    """Return a strategy of expressions over parameters, and spaces in them."""
    told = ["1", "pi * 2", " max(1,  2 ) "]
    for name in known:
        if "'" not in name and "\n" not in name:
            told += [f"'{name}'", f"if(not '{name}' > 3, abs('{name}'), -1.5e3)  "]
    return st.sampled_from(told)


@functools.cache
def calibrators(known: Names) -> st.SearchStrategy[Calibrator]:
    """Return a strategy of calibrators."""
    of_raw = st.sampled_from(("raw", "raw * 2 + raw")) | expressions(known)
    return st.one_of(
        st.builds(Polynomial, tuples_of(floats)),
        st.builds(Points, points, st.sampled_from((1, 0)), st.booleans()),
        st.builds(Logarithmic, tuples_of(floats)),
        st.builds(Expression, of_raw),
        st.builds(States, tuples_of(states), texts),
    )


@functools.cache
def calibrations(known: Names) -> st.SearchStrategy[Calibration]:
    """Return a strategy of calibrations with and without contexts."""
    contexts = tuples_of(st.builds(ContextCalibrator, matches(known), st.none() | calibrators(known)), most=2)
    return st.builds(Calibration, st.none() | calibrators(known), st.just(()) | contexts)


intervals = st.builds(Interval, bounds, bounds) | st.builds(Interval, bounds, bounds, st.booleans(), st.booleans())
limits = st.builds(
    Limits,
    tuples_of(
        st.builds(RangeLimit, severities, intervals) | st.builds(RangeLimit, severities, intervals, st.booleans())
    ),
    st.just(()) | tuples_of(st.builds(LabelLimit, severities, texts)),
    st.just(()) | tuples_of(st.builds(DeltaLimit, severities, bounds, bounds)),
    severities,
    st.booleans(),
    st.integers(1, 5),
)


@functools.cache
def alarms(known: Names) -> st.SearchStrategy[Alarms]:
    """Return a strategy of alarms with and without contexts."""
    contexts = tuples_of(st.builds(ContextLimits, matches(known), st.none() | limits), most=2)
    return st.builds(Alarms, st.none() | limits, st.just(()) | contexts)


@functools.cache
def times(known: Names) -> st.SearchStrategy[TimeMeaning]:
    """Return a strategy of what counted times mean."""
    epochs = st.sampled_from(("", "TAI", "J2000", "UNIX", "GPS", "2010-01-01T00:00:00Z"))
    return st.builds(TimeMeaning, floats, floats, epochs, st.sampled_from(["", *known]))


@functools.cache
def dimensions(known: Names) -> st.SearchStrategy[tuple[Dimension, ...]]:
    """Return a strategy of the dimensions of an array."""
    counted = st.builds(lambda last: Dimension(0, last), counts)
    by_name = (
        [st.builds(lambda name: Dimension(0, DynamicInteger(name, 1, -1)), st.sampled_from(known))] if known else []
    )
    return tuples_of(st.one_of(counted, *by_name, st.builds(Dimension, integers(known), integers(known))), 1, 2)


@functools.cache
def _parts_of_types(types: Names, known: Names) -> tuple[dict[str, st.SearchStrategy[Any]], ...]:
    usual: dict[str, st.SearchStrategy[Any]] = {
        "kind": st.sampled_from(KINDS[:8]),
        "encoding": st.none() | encodings(known),
    }
    rare: dict[str, st.SearchStrategy[Any]] = {
        "calibration": calibrations(known),
        "alarms": alarms(known),
        "valid_range": st.none() | intervals,
        "valid_range_of_raw": st.booleans(),
        "unit": texts,
        "signed": st.booleans(),
        "size_bits": st.sampled_from((8, 16, 32, 64)),
        "time": st.none() | times(known),
        "zero_text": texts,
        "one_text": texts,
        "description": texts,
    }
    if types:
        rare |= {
            "element_type": st.sampled_from(types),
            "dimensions": dimensions(known),
            "members": tuples_of(st.builds(Member, names, st.sampled_from(types))),
            "kind": st.sampled_from(KINDS),
        }
    return usual, rare


@st.composite
def parameter_types(draw: st.DrawFn, name: str, types: Names, known: Names) -> ParameterType:
    """Draw a type; arrays and aggregates are made of `types`."""
    usual, rare = _parts_of_types(types, known)
    chosen = draw(st.sets(st.sampled_from(sorted(rare)), max_size=4))
    made = {key: draw(one) for key, one in (usual | {key: rare[key] for key in sorted(chosen)}).items()}
    return ParameterType(name, **made)


def parameters(name: str, type_name: str, known: Names) -> st.SearchStrategy[Parameter]:
    """Return a strategy of parameters of a type."""
    bare = st.just(Parameter(name, type_name))
    described = st.builds(Parameter, st.just(name), st.just(type_name), description=texts)
    derived = st.builds(
        Parameter,
        st.just(name),
        st.just(type_name),
        st.just(Source.DERIVED),
        derivation=expressions(known),
    )
    full = st.builds(
        Parameter,
        st.just(name),
        st.just(type_name),
        st.sampled_from(Source),
        matches(known),
        st.just("") | expressions(known),
        st.none() | values,
        texts,
        texts,
        tuples_of(names),
        st.integers(-1, 9),
    )
    return st.one_of(bare, described, derived, full)


@functools.cache
def locations(known: Names) -> st.SearchStrategy[Location]:
    """Return a strategy of locations."""
    offsets = integers(known, st.integers(-100, 100_000))
    return st.just(Location()) | st.builds(Location, st.sampled_from(Reference), offsets, st.sampled_from((1, 8, 32)))


@functools.cache
def entries(known: Names, containers: Names) -> st.SearchStrategy[Entry]:
    """Return a strategy of entries: of known parameters, of containers, of neither."""
    repeats = st.none() | st.builds(
        Repeat, integers(known), st.just(0) | integers(known, st.integers(-9, 99)), counts, st.integers(-9, 99)
    )
    where, when = locations(known), matches(known)
    kinds: list[st.SearchStrategy[Any]] = [st.builds(FixedEntry, counts, st.binary(max_size=2), where)]
    if known:
        name = st.sampled_from(known)
        kinds += [st.builds(ParameterEntry, name)] * 3
        kinds.append(st.builds(ParameterEntry, name, where, when, repeats, st.just(()) | dimensions(known)))
    if containers:
        kinds.append(st.builds(ContainerEntry, st.sampled_from(containers), where, when, repeats))
    return st.one_of(kinds)


SETS: tuple[Names, ...] = (
    ("/X/A", "/X/MODE", "/X/COUNT_1", "/X/VOLTAGE"),
    ("/X/rest", "/X/pad", "/X/and", "/X/12", "/X/1e3"),
    ("/X/A", "/X/Sub/A", "/Else/A", "/X/A.b", "/X/A[3]"),
    ("/X/ it's", "/X/a b", "/X/-", "/X//", "/X/", "/X/\x00\x85", "/X/é€😀", "/X/#:{}"),
    ("/X/parameter", "/X/container", "/X/null", "/X/true", "/X/raw", "/X/spare_bits"),
    ("/X/" + 1100 * "n", "/a b/A", "/X/X"),
)
"""Names as they are, and as they should not be: what is fixed is drawn from faster than what is made each time."""
TYPE_SETS: tuple[Names, ...] = (("/X/volts", "/X/A", "/X/u8"), ("/X/it's", "/Else/t", "/X/12"), ())


@st.composite
def databases(draw: st.DrawFn) -> Database:
    """Draw a database whose references are resolved."""
    name = draw(st.sampled_from(("X", "X", "SOLAR", "a b", "Else")) | texts)
    known, shared = draw(st.sampled_from(((), *SETS))), draw(st.sampled_from(TYPE_SETS))
    types: dict[str, ParameterType] = {}
    for one in shared:
        types[one] = draw(parameter_types(one, tuple(types), known))
    told: dict[str, Parameter] = {}
    for one in known:
        mine = one not in types and (not shared or draw(st.booleans()))
        if mine:
            types[one] = draw(parameter_types(one, shared, known))
        told[one] = draw(parameters(one, one if mine else draw(st.sampled_from(tuple(types))), known))
    containers: dict[str, Container] = {}
    for one in draw(st.sampled_from(((), *SETS)))[:4]:
        base, restriction = draw(st.sampled_from(("", *containers))), draw(matches(known))
        held = draw(tuples_of(entries(known, tuple(containers)), most=5))
        containers[one] = Container(one, held, base, restriction, draw(st.booleans()), draw(texts))
    roots = draw(st.permutations([one for one in containers if not containers[one].base]))
    return Database(name, draw(texts), draw(texts), types, told, containers, tuple(roots[: draw(st.integers(0, 4))]))
