"""Our YAML form: what is written is read back as it was, whatever the model can say; what is wrong is told, all of it.

Files here begin in line 3: two lines are always the same.
"""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway_codecs.mdb import canonical
from gateway_codecs.mdb.headers import HeaderForm, header
from gateway_codecs.mdb.model import (
    ALWAYS,
    Alarms,
    AllOf,
    AnyOf,
    BinaryEncoding,
    Calibration,
    Comparison,
    Container,
    ContainerEntry,
    ContextCalibrator,
    ContextLimits,
    Database,
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
    Member,
    Not,
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
    Source,
    State,
    States,
    StringEncoding,
    TimeEncoding,
    TimeMeaning,
    Where,
    little,
)
from gateway_codecs.mdb.report import Budget, DatabaseError
from gateway_codecs.mdb.yaml_form import json_schema, nodes, read_yaml, write_yaml
from gateway_codecs.mdb.yaml_form import reader as reader_module
from gateway_codecs.mdb.yaml_form.definitions import ENTRY_KEYS, NAMED_TYPE_KEYS, PARAMETER_KEYS, TYPE_KEYS
from gateway_codecs.time_codes import TimeCode
from tests.mdb.databases import databases

TOP = "mission_database: 1\nname: X\n"
UNSIGNED = {"signed": False}


def _read(text: str) -> Database:
    return read_yaml((TOP + text).encode(), "x.yaml").database


def _error(text: str) -> DatabaseError:
    with pytest.raises(DatabaseError) as caught:
        _read(text)
    return caught.value


# ---- both ways


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(databases())
def test_any_database_comes_back(database: Database) -> None:
    """A database that is written as YAML and read again is the same, down to its version."""
    text = write_yaml(database)
    again = read_yaml(text.encode(), "x.yaml").database
    assert again == database, text
    assert canonical.digest(again) == canonical.digest(database), text
    assert write_yaml(again) == text


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(databases())
def test_what_is_written_follows_the_schema(database: Database) -> None:
    """An editor that knows the published schema finds nothing to mend in what the gateway writes."""
    node = nodes.parse(write_yaml(database).encode(), "x.yaml", Budget())
    jsonschema.Draft202012Validator(json_schema()).validate(_plain(node))


def _plain(node: nodes.Node) -> Any:
    if isinstance(node, nodes.Mapping):
        return {key: _plain(one) for key, one in node.items.items()}
    return [_plain(one) for one in node.items] if isinstance(node, nodes.Sequence) else node.value


def test_schema_and_reader_know_the_same_keys() -> None:
    """What the schema offers can be read, and what can be read is in the schema."""
    schema = json_schema()
    told = schema["$defs"]
    assert tuple(schema["properties"]) == reader_module.TOP_KEYS
    assert set(told["named_type"]["properties"]) == set(NAMED_TYPE_KEYS)
    assert set(told["container"]["properties"]) == set(reader_module.CONTAINER_KEYS)
    (entry,) = (one for one in told["entry"]["anyOf"] if "parameter" in one.get("properties", {}))
    assert set(entry["properties"]) == {"parameter", *ENTRY_KEYS}
    assert set(told["parameter"]["anyOf"][-1]["properties"]) == {*TYPE_KEYS, *PARAMETER_KEYS}


# ---- what people write


def test_a_scientist_writes_a_parameter_in_one_line() -> None:
    """Size, calibration, unit and limits of a parameter stand where it stands in its packet."""
    database = _read("""
header: {pus_c: {time: cuc}}
packets:
  HK_POWER:
    apid: 100
    type: 3
    subtype: 25
    parameters:
      - VOLTAGE: {bits: 12, polynomial: [0, 0.01], unit: V, limits: {warning: [26, 30], critical: [24, 32]}}
      - spare_bits: 4
      - COUNT: 16
""")
    made = header("/X", HeaderForm("pus_c", TimeCode("cuc")))
    warning = RangeLimit(Severity.WARNING, Interval(26, 30))
    critical = RangeLimit(Severity.CRITICAL, Interval(24, 32))
    assert database.types["/X/VOLTAGE"] == ParameterType(
        "/X/VOLTAGE",
        "float",
        IntegerEncoding(12),
        Calibration(Polynomial((0.0, 0.01))),
        Alarms(Limits((warning, critical))),
        unit="V",
    )
    assert database.types["/X/COUNT"] == ParameterType("/X/COUNT", "integer", IntegerEncoding(16), signed=False)
    assert database.parameters["/X/VOLTAGE"] == Parameter("/X/VOLTAGE", "/X/VOLTAGE")
    assert database.parameters["/X/VOLTAGE"].where == Where("x.yaml", 11)
    assert database.containers["/X/HK_POWER"] == Container(
        "/X/HK_POWER",
        (ParameterEntry("/X/VOLTAGE"), FixedEntry(4), ParameterEntry("/X/COUNT")),
        "/X/PUS",
        made.of_packet(100, 3, 25),
    )
    assert database.roots == ("/X/CCSDS",)
    assert made.types.items() <= database.types.items()


ONE_TYPE = [
    ("{bits: 8, signed: true}", {"encoding": IntegerEncoding(8, IntegerKind.TWOS_COMPLEMENT)}),
    ("{bits: 16, coding: bcd}", {"encoding": IntegerEncoding(16, IntegerKind.BCD), **UNSIGNED}),
    ("{bits: 32, byte_order: little}", {"encoding": IntegerEncoding(32, byte_order=little(4)), **UNSIGNED}),
    ("{bits: 16, byte_order: big}", {"encoding": IntegerEncoding(16), **UNSIGNED}),
    (
        "{bits: 16, byte_order: [0, 1], bit_order: least_significant_first}",
        {"encoding": IntegerEncoding(16, byte_order=(0, 1), least_significant_bit_first=True), **UNSIGNED},
    ),
    ("{float: 32}", {"kind": "float", "encoding": FloatEncoding(32)}),
    ("{mil_std_1750a: 48}", {"kind": "float", "encoding": FloatEncoding(48, FloatKind.MIL_STD_1750A)}),
    ("{text: {octets: 8}}", {"kind": "string", "encoding": StringEncoding(64)}),
    (
        "{text: {octets: N, charset: ascii, terminator: 00}}",
        {"kind": "string", "encoding": StringEncoding(DynamicInteger("/X/N", 8), "ascii", b"\0")},
    ),
    ("{binary: {octets: rest}}", {"kind": "binary", "encoding": BinaryEncoding(RestOfPacket())}),
    ("{binary: {octets: {rest_but: 2}}}", {"kind": "binary", "encoding": BinaryEncoding(RestOfPacket(16))}),
    ("{binary: {bits: N, length_bits: 8}}", {"kind": "binary", "encoding": BinaryEncoding(DynamicInteger("/X/N"), 8)}),
    ("{time_code: cds}", {"kind": "absolute_time", "encoding": TimeEncoding(TimeCode("cds"))}),
    (
        "{bits: 32, time: {scale: 0.001, epoch: GPS}}",
        {"kind": "absolute_time", "encoding": IntegerEncoding(32), "time": TimeMeaning(0.001, 0.0, "GPS")},
    ),
    (
        "{bits: 32, time: {after: N}}",
        {"kind": "absolute_time", "encoding": IntegerEncoding(32), "time": TimeMeaning(offset_from="/X/N")},
    ),
    ("{bits: 8, time: {}}", {"kind": "relative_time", "encoding": IntegerEncoding(8), "time": TimeMeaning()}),
    (
        "{bits: 1, boolean: [off, on]}",
        {"kind": "boolean", "encoding": IntegerEncoding(1), "zero_text": "off", "one_text": "on"},
    ),
    (
        "{bits: 3, states: {0: off, 1: on, -2..-1: 7, 1e3: yes, else: unknown}}",
        {
            "kind": "enumerated",
            "encoding": IntegerEncoding(3),
            "calibration": Calibration(
                States((State(0, 0, "off"), State(1, 1, "on"), State(-2, -1, "7"), State(1e3, 1e3, "yes")), "unknown")
            ),
        },
    ),
    (
        "{bits: 3, points: [[0, -40], [7, 85.5]], extrapolate: true}",
        {
            "kind": "float",
            "encoding": IntegerEncoding(3),
            "calibration": Calibration(Points(((0, -40), (7, 85.5)), extrapolate=True)),
        },
    ),
    (
        "{bits: 3, expression: raw * N + '/X/N' - abs(raw)}",
        {
            "kind": "float",
            "encoding": IntegerEncoding(3),
            "calibration": Calibration(Expression("raw * '/X/N' + '/X/N' - abs(raw)")),
        },
    ),
    (
        "{bits: 3, calibrations: [{when: N > 3, polynomial: [1, 2]}, {when: N == 0}]}",
        {
            "encoding": IntegerEncoding(3),
            "calibration": Calibration(
                None,
                (
                    ContextCalibrator(Comparison("/X/N", 3, Operator.GREATER), Polynomial((1.0, 2.0))),
                    ContextCalibrator(Comparison("/X/N", 0), None),
                ),
            ),
            **UNSIGNED,
        },
    ),
    (
        "{float: 64, limits: {watch: {low: 1, low_included: false}, severe: {change: 5}, critical: [BAD, WORSE],"
        " distress: [[null, 9], {rise: 1}], otherwise: warning, persistence: 3}}",
        {
            "kind": "float",
            "encoding": FloatEncoding(64),
            "alarms": Alarms(
                Limits(
                    (
                        RangeLimit(Severity.WATCH, Interval(1, None, False)),
                        RangeLimit(Severity.DISTRESS, Interval(None, 9)),
                    ),
                    (LabelLimit(Severity.CRITICAL, "BAD"), LabelLimit(Severity.CRITICAL, "WORSE")),
                    (DeltaLimit(Severity.SEVERE, 5, 5), DeltaLimit(Severity.DISTRESS, 1)),
                    Severity.WARNING,
                    persistence=3,
                )
            ),
        },
    ),
    (
        "{bits: 8, limits_when: [{when: N == A, limits: {critical: [0, 1]}}, {when: N == B}]}",
        {
            "encoding": IntegerEncoding(8),
            "alarms": Alarms(
                None,
                (
                    ContextLimits(Comparison("/X/N", "A"), Limits((RangeLimit(Severity.CRITICAL, Interval(0, 1)),))),
                    ContextLimits(Comparison("/X/N", "B"), None),
                ),
            ),
            **UNSIGNED,
        },
    ),
    (
        "{bits: 8, valid_range: [1, null], valid_range_of_raw: true, engineering: {signed: true, bits: 16}}",
        {"encoding": IntegerEncoding(8), "valid_range": Interval(1), "valid_range_of_raw": True, "size_bits": 16},
    ),
    (
        "{array: {of: t, dimensions: [4, N, [1, 3]]}}",
        {
            "kind": "array",
            "element_type": "/X/t",
            "dimensions": (Dimension(0, 3), Dimension(0, DynamicInteger("/X/N", 1, -1)), Dimension(1, 3)),
        },
    ),
    ("{members: {x: t, y: t}}", {"kind": "aggregate", "members": (Member("x", "/X/t"), Member("y", "/X/t"))}),
]


@pytest.mark.parametrize(("text", "told"), ONE_TYPE)
def test_every_key_of_a_type_means_what_the_page_says(text: str, told: dict[str, Any]) -> None:
    """The form says whatever a type can be, and a short text is enough."""
    database = _read(f"parameters:\n  N: 8\n  P: {text}\ntypes:\n  t: {{bits: 8}}\n")
    expected = ParameterType("/X/P", **({"kind": "integer"} | told))
    assert database.types["/X/P"] == expected
    assert read_yaml(write_yaml(database).encode(), "y.yaml").database.types["/X/P"] == expected


def test_arrays_and_aggregates_describe_their_parts_in_place() -> None:
    """A table of samples needs no name for the type of its cells."""
    database = _read("types:\n  T: {array: {of: {members: {x: {bits: 8}, z: {float: 32}}}, dimensions: [2]}}\n")
    assert database.types["/X/T"].element_type == "/X/T[]"
    assert database.types["/X/T[]"].members == (Member("x", "/X/T[].x"), Member("z", "/X/T[].z"))
    assert database.types["/X/T[].z"].encoding == FloatEncoding(32)
    assert "T: {array: {of: {members: {x: {bits: 8}, z: {float: 32}}}, dimensions: [2]}}" in write_yaml(database)


ENTRIES = [
    ("A", ParameterEntry("/X/A")),
    ("A: {skip_bits: 4}", ParameterEntry("/X/A", Location(bits=4))),
    ("A: {at_bit: 96}", ParameterEntry("/X/A", Location(Reference.PACKET, 96))),
    ("A: {container_bit: N, align_bits: 8}",
     ParameterEntry("/X/A", Location(Reference.CONTAINER, DynamicInteger("/X/N"), 8))),
    ("A: {when: N == 1}", ParameterEntry("/X/A", condition=Comparison("/X/N", 1))),
    ("A: {repeat: 5}", ParameterEntry("/X/A", repeat=Repeat(5))),
    ("A: {repeat: {count: N, offset_bits: 3, period_ns: 10, first_ns: -5}}",
     ParameterEntry("/X/A", repeat=Repeat(DynamicInteger("/X/N"), 3, 10, -5))),
    ("A: {repeat: {parameter: N, slope: 2, intercept: -1}}",
     ParameterEntry("/X/A", repeat=Repeat(DynamicInteger("/X/N", 2, -1)))),
    ("A: {dimensions: [3]}", ParameterEntry("/X/A", dimensions=(Dimension(0, 2),))),
    ("{container: C, repeat: N, when: N > 0}",
     ContainerEntry("/X/C", condition=Comparison("/X/N", 0, Operator.GREATER), repeat=Repeat(DynamicInteger("/X/N")))),
    ("{spare_bits: 16, value: 1ACF}", FixedEntry(16, b"\x1a\xcf")),
    ("{parameter: A, at_bit: 0}", ParameterEntry("/X/A", Location(Reference.PACKET))),
]  # fmt: skip


@pytest.mark.parametrize(("row", "entry"), ENTRIES)
def test_every_key_of_an_entry_means_what_the_page_says(row: str, entry: object) -> None:
    """Where a value stands, when, and how often."""
    database = _read(
        f"containers:\n  C: {{}}\nparameters:\n  N: 8\n  A: 8\npackets:\n  P:\n    parameters:\n    - {row}\n"
    )
    assert database.containers["/X/P"].entries == (entry,)
    assert read_yaml(write_yaml(database).encode(), "y.yaml").database == database


A, B = Comparison("/X/A", 1), Comparison("/X/B", "ON")
CONDITIONS = [
    ("A == 1", A),
    ("A == 1 and B == ON", AllOf((A, B))),
    ("A == 1 or B == ON and A == 1", AnyOf((A, AllOf((B, A))))),
    ("not (A == 1 or B == ON)", Not(AnyOf((A, B)))),
    ("raw(A) >= -1.5", Comparison("/X/A", -1.5, Operator.GREATER_OR_EQUAL, False)),
    ("A != parameter(/X/B)", Comparison("/X/A", 0, Operator.NOT_EQUAL, other="/X/B")),
    ("B == 'it''s'", Comparison("/X/B", "it's")),
    ("B == true", Comparison("/X/B", True)),
    ("B == 'true'", Comparison("/X/B", "true")),
    ("'A' < 0x10", Comparison("/X/A", 16, Operator.LESS)),
    ("[A == 1, B == ON]", AllOf((A, B))),
    ("[A == 1]", AllOf((A,))),
    ("{any: []}", AnyOf()),
    ("{parameter: A, value: .inf, operator: <}", Comparison("/X/A", float("inf"), Operator.LESS)),
]


@pytest.mark.parametrize(("text", "match"), CONDITIONS)
def test_conditions_read_as_people_write_them(text: str, match: object) -> None:
    """A condition is a line that one can say aloud."""
    told = f'"{text}"' if text[0] == "'" else text
    database = _read(f"parameters:\n  A: 8\n  B: 8\n  P: {{bits: 8, valid_when: {told}}}\n")
    assert repr(database.parameters["/X/P"].valid_when) == repr(match)


def test_words_and_numbers_are_those_of_yaml_1_2() -> None:
    """`on` is a label and 1e-3 a number, whatever older YAML makes of them."""
    database = _read(
        "parameters:\n  P: {bits: 8, states: {0: no, 1: on}, unit: 010}\n  Q: {float: 32, polynomial: [1e-3]}\n"
    )
    assert database.types["/X/P"].calibration.default == States((State(0, 0, "no"), State(1, 1, "on")))
    assert database.types["/X/P"].unit == "010"
    assert database.types["/X/Q"].calibration.default == Polynomial((0.001,))


def test_what_is_written_is_short() -> None:
    """A conversion gives what a person would have written."""
    text = (
        TOP + "\nheader:\n  pus_c: {time: cuc}\n\n"
        "types:\n  volts: {bits: 12, polynomial: [0, 0.01], unit: V, description: bus voltages}\n\n"
        "parameters:\n  P: {unit: W, derived: V1 * 2}\n\n"
        "containers:\n  BLOCK:\n    parameters:\n      - V2: volts\n\n"
        "packets:\n  HK:\n    apid: 100\n    type: 3\n    subtype: 25\n    when: SID == 4\n    parameters:\n"
        "      - SID: 8\n      - V1: volts\n      - spare_bits: 4\n      - V1\n"
        "      - {container: BLOCK, repeat: SID}\n"
        '      - M: {bits: 2, states: {0: "OFF", 1: RUN, else: bad}, limits: {critical: bad}}\n'
        "      - DATA: {binary: {octets: rest}, when: M == RUN}\n"
    )
    assert write_yaml(read_yaml(text.encode(), "x.yaml").database) == text


def test_a_packet_that_is_no_pus_packet_has_another_base() -> None:
    """Whatever the header of the database, a packet may continue what it wants."""
    database = _read(
        "header: pus_a\npackets:\n  TIME: {base: CCSDS, apid: 0}\n  ODD: {apid: 3, when: [CCSDS_TYPE == 0]}\n"
    )
    assert database.containers["/X/TIME"].base == "/X/CCSDS"
    assert database.containers["/X/TIME"].restriction == Comparison("/X/CCSDS_APID", 0)
    assert database.containers["/X/ODD"].restriction == AllOf(
        (Comparison("/X/CCSDS_APID", 3), Comparison("/X/CCSDS_TYPE", 0))
    )
    assert _read("containers:\n  C: {parameters: []}\npackets:\n  P: {}\n").roots == ("/X/C", "/X/P")
    assert _read("packets:\n  P: {}\n").containers["/X/P"].restriction == ALWAYS


# ---- what is wrong


WRONG = [
    ("packets:\n  HK:\n    parameters:\n      - V: {bits: 70}\n", 6, "V: bits is 70", "1 to 64"),
    ("packets:\n  HK:\n    parameters:\n      - V: {bit: 7}\n", 6, "V has no key bit", "did you mean bits?"),
    ("packets:\n  HK:\n    parameters:\n      - V\n", 6, "there is no parameter V", "define it"),
    ("parameters: {VOLT: 8}\npackets:\n  HK:\n    parameters:\n      - VOLTT\n", 7, "VOLTT", "did you mean VOLT?"),
    ("parameters:\n  V: volts\ntypes:\n  volt: {bits: 8}\n", 4, "there is no type volts", "did you mean volt?"),
    ("packets:\n  HK: {base: TOP}\n", 4, "there is no container TOP", "define it"),
    ("packets:\n  HK: {apid: 4}\n", 4, "apid without a header", "header: ccsds"),
    ("header: ccsds\npackets:\n  HK: {type: 4}\n", 5, "type in a header without one", "pus"),
    ("header: ccsds\npackets:\n  HK: {apid: 4000}\n", 5, "HK: apid is 4000", "0 to 2047"),
    ("header: eccs\n", 3, "header is eccs", "ccsds"),
    ("parameters:\n  V: 8\n  V: 9\n", 5, "V stands twice", "line 4"),
    ("parameters:\n  V: 8\npackets:\n  P:\n    parameters:\n      - V: 8\n", 8, "V is defined twice", "line 4"),
    ("header: ccsds\nparameters:\n  CCSDS_APID: 8\n", 5, "defined twice", "the header has it"),
    ("parameters:\n  V: {type: t, unit: V}\n", 4, "type and unit", "remove type"),
    ("parameters:\n  V: {bits: 8, float: 32}\n", 4, "bits and float", "one of them"),
    ("parameters:\n  V: {float: 24}\n", 4, "float is 24", "16, 32 or 64"),
    ("parameters:\n  V: {bits: 12, byte_order: little}\n", 4, "byte order of 12 bits", "whole octets"),
    ("parameters:\n  V: {bits: 16, byte_order: [0, 0]}\n", 4, "byte_order", "each of 0 to 1 once"),
    ("parameters:\n  V: {signed: true}\n", 4, "signed without bits", "give bits"),
    ("parameters:\n  V: {bits: 8, polynomial: [1, a]}\n", 4, "a coefficient is a", "a number"),
    ("parameters:\n  V: {bits: 8, polynomial: [1e999, 2]}\n", 4, "a coefficient is .inf", "a finite number"),
    ("parameters:\n  V: {bits: 8, polynomial: [0, .nan]}\n", 4, "a coefficient is .nan", "a finite number"),
    ("parameters:\n  V: {bits: 8, logarithmic: [-.inf]}\n", 4, "a coefficient is -.inf", "a finite number"),
    ("parameters:\n  V: {bits: 8, points: [[0, .inf]]}\n", 4, "is .inf", "a finite number"),
    ("parameters:\n  V: {bits: 8, points: [[.nan, 0]]}\n", 4, "is .nan", "a finite number"),
    ("parameters:\n  V: {bits: 8, states: [[0, .inf, A]]}\n", 4, "a state is .inf", "a finite number"),
    ("parameters:\n  V: {bits: 8, states: {0..1e999: A}}\n", 4, "states has the key 0..1e999", "low..high"),
    ("parameters:\n  V: {bits: 8, limits: {warning: [.nan, 2]}}\n", 4, "is .nan", "a finite number"),
    ("parameters:\n  V: {bits: 8, limits: {warning: {change: .inf}}}\n", 4, "change is .inf", "a finite number"),
    ("parameters:\n  V: {bits: 8, valid_range: [0, .inf]}\n", 4, "is .inf", "a finite number"),
    ("parameters:\n  V: {bits: 8, time: {scale: .inf}}\n", 4, "scale is .inf", "a finite number"),
    ("parameters:\n  N: 8\n  V: {binary: {octets: {parameter: N, slope: 1e999}}}\n", 5, "slope is .inf", "a finite"),
    ("parameters:\n  V: {bits: 8, points: [[2, 1], [1, 1]]}\n", 4, "1 stands behind 2", "rise"),
    ("parameters:\n  V: {bits: 8, expression: raw +}\n", 4, "expected at character", ""),
    ("parameters:\n  V: {bits: 8, expression: raw + W}\n", 4, "there is no parameter W", ""),
    ("parameters:\n  V: {bits: 8, states: {a: b}}\n", 4, "states has the key a", "low..high"),
    ("parameters:\n  V: {bits: 8, limits: {warning: [3, 2]}}\n", 4, "from 3 to 2", "lower bound"),
    ("parameters:\n  V: {bits: 8, limits: {warning: 3}}\n", 4, "warning is 3", "[low, high]"),
    ("parameters:\n  V: {bits: 8, limits: {warnin: [1, 2]}}\n", 4, "warnin", "did you mean warning?"),
    ("parameters:\n  V: {bits: 8, valid_when: V = 1}\n", 4, "condition 'V = 1'", "MODE == SCIENCE"),
    ("parameters:\n  V: {bits: 8, valid_when: V == 1 and}\n", 4, "the end", ""),
    ("parameters:\n  V: {text: {octets: 1, bits: 8}}\n", 4, "in octets and one in bits", "one of them"),
    ("parameters:\n  V: {text: {charset: klingon}}\n", 4, "charset is klingon", "utf-8"),
    ("parameters:\n  V: {time_code: {code: cuc, coarse_octets: 9}}\n", 4, "coarse_octets", ""),
    ("packets:\n  P:\n    parameters:\n      - V: 8\n        W: 8\n", 7, "two names, V and W", "indent"),
    ("packets:\n  P:\n    parameters: {V: 8}\n", 5, "parameters is keys (V)", "a list"),
    ("packets: 3\n", 3, "packets is 3", "a key for each name"),
    ("colour: red\n", 3, "no key colour", "known here"),
    ("types:\n  t: &a {bits: 8}\n", 4, "&a: anchors and aliases are not read", "define it under types"),
    ("types:\n  t: !!map {bits: 8}\n", 4, "tag", "remove it"),
    ("description: !!str x\n", 3, "tag", "quote"),
    ("description: 'x\n", 0, "", "no YAML"),
    ("description: a: b\n", 3, "':'", "no YAML"),
    ("\tdescription: a\n", 3, "spaces instead of tabs", "no YAML"),
    ("---\nname: Y\n", 3, "one file holds one database", "---"),
    ("roots: [P]\n", 3, "there is no container P", ""),
    ("parameters:\n  V: {bits: " + 500 * "9" + "}\n", 4, "a number of 500 digits", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "message", "hint"), WRONG, ids=[str(k) for k in range(len(WRONG))])
def test_what_is_wrong_is_told_with_line_value_and_way_out(text: str, line: int, message: str, hint: str) -> None:
    """Whoever mistypes is told where, what, and what would be right."""
    error = _error(text)
    assert error.where.file == "x.yaml"
    assert line in {0, error.where.line}
    assert message in str(error)
    assert hint in error.hint


def test_everything_that_is_wrong_is_told_at_once() -> None:
    """A file with five mistakes is mended in one go."""
    error = _error("""
header: {pus_c: {time: cxc}}
types:
  t: {bits: 0}
packets:
  P:
    parameters:
      - A: {bits: 8, unti: V}
      - B: {bits: 8, polynomial: 3}
      - C
""")
    lines = [error.where.line, *(one.where.line for one in error.others)]
    assert lines == [4, 6, 10, 11, 12]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "empty"),
        (b"# nothing\n", "empty"),
        (b"[]", "mission_database is missing"),
        (b"name: X\n", "mission_database is missing"),
        (b"mission_database: 2\nname: X\n", "mission_database is 2"),
        (b"mission_database: 1\n", "no name"),
        (b"\xff\xfe\x00", "no YAML"),
        (b"\x00", "no YAML"),
    ],
)
def test_other_files_are_refused(text: bytes, message: str) -> None:
    """A file that is no database says so."""
    with pytest.raises(DatabaseError, match=message) as caught:
        read_yaml(text, "x.yaml")
    assert "x.yaml" in str(caught.value)


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + k)}: &{chr(98 + k)} [*{chr(97 + k)}, *{chr(97 + k)}]\n" for k in range(20)
)
HOSTILE = [
    (LAUGHS.encode(), "anchors"),
    (b"[" * 1_000_000, "nested deeper"),
    (b"{a: " * 1_000_000, "nested deeper"),
    (b"- " * 1_000_000, "nested deeper"),
    (b"? " * 1_000_000, "a key is a short text"),
    (b"x" * 20_000_000, "characters"),
    (b"x: " + b"9" * 100_000, "digits"),
    (b"x: '" + b"y" * 20_000_000 + b"'", "characters"),
    (b"[" + b"1," * 150_000 + b"]", "values"),
    ((TOP + "parameters:\n  A: {bits: 8, valid_when: " + "not " * 10_000 + "A == 1}\n").encode(), "condition"),
    ((TOP + "parameters:\n  A: {bits: 8, valid_when: " + "(" * 4_000 + "}\n").encode(), "nested deeper"),
    ((TOP + "parameters:\n  A: {bits: 8, expression: " + "-" * 9_000 + "1}\n").encode(), "nested deeper"),
    ((TOP + "parameters:\n  A: {bits: 8, valid_when: A == " + "(9" * 5_000 + "}\n").encode(), "value"),
]


@pytest.mark.parametrize(("data", "message"), HOSTILE, ids=[message + str(k) for k, (_, message) in enumerate(HOSTILE)])
def test_hostile_files_end_in_bounded_time_and_memory(data: bytes, message: str) -> None:
    """What is built to exhaust the machine is a clear error soon."""
    start = time.process_time()
    with pytest.raises(DatabaseError, match=message):
        read_yaml(data, "x.yaml", Budget(definitions=100_000))
    assert time.process_time() - start < 30


def test_a_file_beyond_the_budget_is_not_looked_at() -> None:
    """A budget of octets holds before anything is parsed."""
    tracemalloc.start()
    try:
        with pytest.raises(DatabaseError, match="at most 100 are read"):
            read_yaml(b" " * 101, "x.yaml", Budget(file_octets=100))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


PIECES = [
    "mission_database: 1\nname: X\n", "packets:\n", "  P:\n", "    parameters:\n", "      - ", "A: ", "{", "}", "[",
    "]", "bits: 8", ", ", "states: ", "limits: ", "when: ", "A == 1", "\n", "null", "3", "- ", "header: pus_c\n",
]  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
def test_rubbish_is_a_database_or_a_clear_error(text: str) -> None:
    """Whatever a file holds, nothing else is raised."""
    try:
        write_yaml(read_yaml(text.encode(), "x.yaml").database)
    except DatabaseError as error:
        assert str(error).startswith("x.yaml")  # noqa: PT017


def test_names_that_are_not_qualified_are_not_written() -> None:
    """A database that no reader makes is refused before it becomes a file that says something else."""
    with pytest.raises(DatabaseError, match="not qualified"):
        write_yaml(Database("X", parameters={"A": Parameter("A", "A")}))
    with pytest.raises(DatabaseError, match="is the definition of"):
        write_yaml(Database("X", parameters={"/A": Parameter("/B", "/A")}))
    assert _read("parameters:\n  A: {derived: 1 + 1}\n").parameters["/X/A"].source == Source.DERIVED


def test_a_definition_that_is_wrong_is_not_missed_besides() -> None:
    """One mistake is one message: whoever names what is wrong is not blamed too."""
    error = _error("parameters:\n  A: {bits: 80}\n  B: {derived: A + 1}\npackets:\n  P: {parameters: [A]}\n")
    assert (error.where.line, error.others) == (4, ())


def test_a_file_full_of_mistakes_ends_soon() -> None:
    """Fifty mistakes are told; a hundred thousand more cost little."""
    start = time.process_time()
    error = _error("packets:\n  P:\n    parameters:\n" + "".join(f"      - A{k}\n" for k in range(100_000)))
    assert len(error.others) == 49
    assert time.process_time() - start < 30
