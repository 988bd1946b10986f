"""Calibrators, validity and times that depend on other parameters; identification by the tree of containers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_codecs.mdb import scalar
from gateway_codecs.mdb.columns import Validity
from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.mdb.model import (
    AllOf,
    AnyOf,
    Calibration,
    Comparison,
    Container,
    ContextCalibrator,
    Database,
    Expression,
    IntegerEncoding,
    IntegerKind,
    Location,
    Match,
    Not,
    Operator,
    Parameter,
    ParameterEntry,
    ParameterType,
    Polynomial,
    Reference,
    Repeat,
    State,
    States,
    TimeEncoding,
    TimeMeaning,
)
from gateway_codecs.time_codes import TimeCode
from gateway_codecs.time_scales import SECOND_NS, format_utc, parse_utc
from tests.mdb.test_decoder import batch, database

OCTET = IntegerEncoding(8)
ON_OFF = Calibration(States((State(0, 0, "OFF"), State(1, 1, "ON"))))


def decode(mission: Database, *packets: bytes) -> Any:
    """Decode packets of one shape."""
    (found,) = Decoder(mission).decode(*batch(packets))
    return found.columns


def test_the_first_context_that_holds_calibrates() -> None:
    """A calibrator is chosen packet by packet, also by a state that stands behind it; None is the raw value."""
    contexts = (
        ContextCalibrator(Comparison("/X/MODE", "ON"), Polynomial((0.0, 10.0))),
        ContextCalibrator(Comparison("/X/MODE", 7, calibrated=False), None),
    )
    types = {
        "/X/V": ParameterType("/X/V", "float", OCTET, Calibration(Polynomial((1.0, 1.0)), contexts)),
        "/X/MODE": ParameterType("/X/MODE", "enumerated", OCTET, ON_OFF),
    }
    columns = decode(database(types, [ParameterEntry(name) for name in types]), b"\x05\x00", b"\x05\x01", b"\x05\x07")
    assert columns["/X/V"].engineering.tolist() == [6, 50, 5]


def test_expressions_see_parameters() -> None:
    """An expression calibrates with the engineering values of others, in the order of their dependencies."""
    types = {
        "/X/A": ParameterType("/X/A", "float", OCTET, Calibration(Expression("raw + '/X/B' * 2"))),
        "/X/B": ParameterType("/X/B", "integer", OCTET, Calibration(Expression("raw / '/X/C'"))),
        "/X/C": ParameterType("/X/C", "float", OCTET, Calibration(Polynomial((0.0, 0.5)))),
        "/X/D": ParameterType("/X/D", "float", OCTET, Calibration(Expression("raw + '/X/D'"))),
    }
    columns = decode(
        database(types, [ParameterEntry(name) for name in types]), b"\x01\x07\x04\x00", b"\x01\x07\x00\x00"
    )
    assert columns["/X/B"].engineering.tolist() == [4, 0]
    assert columns["/X/A"].engineering.tolist()[0] == 9
    assert columns["/X/B"].validity.tolist() == [0, Validity.UNCALIBRATED]
    assert columns["/X/A"].validity.tolist() == [0, Validity.UNCALIBRATED]
    assert columns["/X/D"].validity.tolist() == [Validity.UNCALIBRATED] * 2


def test_repeated_contexts_go_element_by_element() -> None:
    """Where a parameter and its context repeat together, each occurrence looks at its own."""
    contexts = (ContextCalibrator(Comparison("/X/GAIN", 1), Polynomial((0.0, 100.0))),)
    types = {
        "/X/GAIN": ParameterType("/X/GAIN", "integer", OCTET),
        "/X/V": ParameterType("/X/V", "float", OCTET, Calibration(None, contexts)),
    }
    entries = [
        ParameterEntry("/X/GAIN", repeat=Repeat(3, 8)),
        ParameterEntry("/X/V", Location(Reference.PACKET, 8), repeat=Repeat(3, 8)),
    ]
    columns = decode(database(types, entries), bytes([0, 1, 1, 2, 0, 3]), bytes([1, 1, 0, 2, 1, 3]))
    assert columns["/X/V"].engineering.tolist() == [[1, 200, 3], [100, 2, 300]]


def test_validity_conditions() -> None:
    """Where the condition of a parameter does not hold, its value is invalid, and still there."""
    types = {"/X/ON": ParameterType("/X/ON", "boolean", OCTET), "/X/V": ParameterType("/X/V", "integer", OCTET)}
    made = database(types, [ParameterEntry(name) for name in types])
    parameters = dict(made.parameters) | {"/X/V": Parameter("/X/V", "/X/V", valid_when=Comparison("/X/ON", True))}
    mission = Database("X", types=types, parameters=parameters, containers=made.containers, roots=made.roots)
    column = decode(mission, b"\x00\x05", b"\x02\x05")["/X/V"]
    assert (column.engineering.tolist(), column.validity.tolist()) == ([5, 5], [Validity.INVALID, 0])


@pytest.mark.parametrize(
    ("meaning", "bits", "raw", "utc"),
    [
        (TimeMeaning(1.0, 0.0, "TAI"), 32, 0, "1958-01-01T00:00:00.000000000Z"),
        (TimeMeaning(1.0, 0.0, "UNIX"), 32, 1_700_000_000, "2023-11-14T22:13:20.000000000Z"),
        (TimeMeaning(1e-6, 0.0, "UNIX"), 64, 1_700_000_000_123_457, "2023-11-14T22:13:20.123457000Z"),
        (TimeMeaning(1.0, 0.0, "GPS"), 32, 1_384_000_018, "2023-11-14T12:26:40.000000000Z"),
        (TimeMeaning(2.0**-16, 0.0, "2010-01-01T00:00:00Z"), 48, 0x58000, "2010-01-01T00:00:05.500000000Z"),
        (TimeMeaning(1.0, 0.0, "J2000"), 32, 0, "2000-01-01T11:58:55.816000000Z"),
        (TimeMeaning(0.1, 60.0, "2010-01-01T00:00:00Z"), 32, 3, "2010-01-01T00:01:00.300000000Z"),
    ],
)  # fmt: skip
def test_counted_times(meaning: TimeMeaning, bits: int, raw: int, utc: str) -> None:
    """Counts since an epoch are instants, exact to the nanosecond."""
    kind = ParameterType("/X/T", "absolute_time", IntegerEncoding(bits), time=meaning)
    columns = decode(database({"/X/T": kind}, [ParameterEntry("/X/T")]), raw.to_bytes(bits // 8, "big"))
    assert format_utc(int(columns["/X/T"].engineering[0])) == utc


def test_time_codes_and_times_after_them() -> None:
    """A CUC code is an instant, a time counted from another parameter's is after it."""
    code = TimeCode("cuc", "implied", 4, 2, epoch="2000-01-01T00:00:00Z")
    milliseconds = TimeMeaning(0.001, offset_from="/X/T")
    types = {
        "/X/T": ParameterType("/X/T", "absolute_time", TimeEncoding(code)),
        "/X/D": ParameterType("/X/D", "absolute_time", IntegerEncoding(16), time=milliseconds),
        "/X/R": ParameterType("/X/R", "relative_time", IntegerEncoding(8, IntegerKind.TWOS_COMPLEMENT),
                              time=TimeMeaning(0.25)),
    }  # fmt: skip
    mission = database(types, [ParameterEntry(name) for name in types])
    columns = decode(mission, bytes.fromhex("0000000a 8000 05dc fe"))
    at = parse_utc("2000-01-01T00:00:10Z") - 32 * SECOND_NS + SECOND_NS // 2  # CUC counts TAI
    assert columns["/X/T"].engineering.tolist() == [at]
    assert columns["/X/D"].engineering.tolist() == [at + 1_500_000_000]
    assert columns["/X/R"].engineering.tolist() == [-0.5]
    assert columns["/X/T"].raw.tobytes().hex() == "0000000a8000"


# ---- identification ----

NAMES = ("/X/A", "/X/B")
comparisons = st.builds(
    Comparison, st.sampled_from(NAMES), st.integers(-1, 4), st.sampled_from([Operator.EQUAL] * 3 + [*Operator])
)
matches: st.SearchStrategy[Match] = st.one_of(
    comparisons,
    comparisons,
    st.lists(comparisons, max_size=2).map(lambda terms: AllOf(tuple(terms))),
    st.lists(comparisons, max_size=2).map(lambda terms: AnyOf(tuple(terms))),
    comparisons.map(Not),
)


@st.composite
def trees(draw: st.DrawFn) -> Database:
    """Draw a tree of containers that restrict two small numbers of the root."""
    types = {name: ParameterType(name, "integer", IntegerEncoding(4), signed=False) for name in NAMES}
    root = Container("/X/ROOT", tuple(ParameterEntry(name) for name in NAMES), abstract=draw(st.booleans()))
    containers = {"/X/ROOT": root}
    for number in range(draw(st.integers(0, 9))):
        name = f"/X/C{number}"
        base = draw(st.sampled_from([*containers]))
        containers[name] = Container(name, (), base, draw(matches), draw(st.booleans()))
    parameters = {name: Parameter(name, name) for name in types}
    return Database("X", types=types, parameters=parameters, containers=containers, roots=("/X/ROOT",))


def plainly(mission: Database, name: str, values: dict[str, int]) -> tuple[str, bool]:
    """Return (type, whether several children held) of one packet below a container, '' = none."""

    def look(parameter: str, calibrated: bool) -> int:
        return values[parameter]

    children = [one for one in mission.containers.values() if one.base == name]
    held = [one for one in children if scalar.holds(one.restriction, look)]
    ambiguous = len(held) > 1
    for one in held:
        found, more = plainly(mission, one.name, values)
        ambiguous |= more
        if found:
            return found, ambiguous
    return "" if mission.containers[name].abstract else name, ambiguous


@given(trees(), st.lists(st.integers(0, 255), min_size=1, max_size=8))
def test_the_first_child_that_holds(mission: Database, packets: list[int]) -> None:
    """Tables, columns and the plain walk of one packet find the same type, and the same packets are ambiguous."""
    decoder = Decoder(mission)
    found = decoder.identification(*batch([bytes([one]) for one in packets]))
    for k, packet in enumerate(packets):
        name, ambiguous = plainly(mission, "/X/ROOT", {"/X/A": packet >> 4, "/X/B": packet & 15})
        assert (decoder.packet_types[found.types[k]] if found.types[k] >= 0 else "") == name
        assert found.ambiguous[k] == ambiguous


def test_packets_too_short_to_say_are_of_no_type() -> None:
    """A packet that ends before what its type depends on is not identified; the others are."""
    types = {"/X/A": ParameterType("/X/A", "integer", IntegerEncoding(16), signed=False)}
    containers = {
        "/X/ROOT": Container("/X/ROOT", (ParameterEntry("/X/A"),), abstract=True),
        "/X/P": Container("/X/P", (), "/X/ROOT", Comparison("/X/A", 0)),
    }
    mission = Database("X", types=types, parameters={"/X/A": Parameter("/X/A", "/X/A")}, containers=containers,
                       roots=("/X/ROOT",))  # fmt: skip
    assert Decoder(mission).identify(*batch([b"\x00\x00", b"\x00", b"", b"\x00\x00\x00"])).tolist() == [0, -1, -1, 0]


def test_a_table_of_two_thousand_types() -> None:
    """Types by APID, type and subtype are found by tables, whatever their number."""
    names = ("/X/APID", "/X/TYPE", "/X/SUBTYPE")
    types = {name: ParameterType(name, "integer", IntegerEncoding(bits), signed=False)
             for name, bits in zip(names, (16, 8, 8), strict=True)}  # fmt: skip
    containers = {"/X/ROOT": Container("/X/ROOT", tuple(ParameterEntry(name) for name in names), abstract=True)}
    keys = [(apid, service, sub) for apid in range(0, 2000, 100) for service in range(10) for sub in range(10)]
    for key in keys:
        terms = tuple(Comparison(name, value) for name, value in zip(names, key, strict=True))
        containers[f"/X/{key}"] = Container(f"/X/{key}", (), "/X/ROOT", AllOf(terms))
    mission = Database("X", types=types, parameters={name: Parameter(name, name) for name in names},
                       containers=containers, roots=("/X/ROOT",))  # fmt: skip
    decoder = Decoder(mission)
    order = np.random.default_rng(1).permutation(len(keys))
    packets = [keys[k][0].to_bytes(2, "big") + bytes(keys[k][1:]) for k in order] + [b"\xff\xff\x00\x00"]
    found = decoder.identify(*batch(packets))
    assert [decoder.packet_types[one] for one in found[:-1]] == [f"/X/{keys[k]}" for k in order]
    assert found[-1] == -1
