"""What a check of a database finds, and that it ends whatever it is given."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, given, settings

from gateway_codecs.mdb import layout
from gateway_codecs.mdb.check import check
from gateway_codecs.mdb.model import (
    Calibration,
    Container,
    ContainerEntry,
    Database,
    DynamicInteger,
    FloatEncoding,
    IntegerEncoding,
    IntegerKind,
    Location,
    Parameter,
    ParameterEntry,
    ParameterType,
    Points,
    Repeat,
    StringEncoding,
)
from gateway_codecs.mdb.yaml_form import read_yaml
from tests.mdb.databases import databases

TOP = "mission_database: 1\nname: X\nheader: ccsds\n"
GOOD = """
types:
  volts: {bits: 12, polynomial: [0, 0.01], limits: {warning: [26, 30], critical: [24, 32]}}
parameters:
  POWER: {derived: V1 * V2}
  MODE: {bits: 2, states: {0: A, 1..3: B}, limits: {watch: B}}
containers:
  BLOCK: {parameters: [{LENGTH: 8}, {DATA: {binary: {octets: LENGTH}}}]}
packets:
  HK: {apid: 1, abstract: true, parameters: [SID: 8]}
  HK_1: {base: HK, when: SID == 1, parameters: [V1: volts, V2: volts, MODE]}
  HK_2: {base: HK, when: SID == 2, parameters: [N: 8, {container: BLOCK, repeat: N}, {V1: {when: N > 0}}]}
"""


def _remarks(text: str) -> list[tuple[int, str, str]]:
    return [(one.where.line, one.what, one.why) for one in check(read_yaml((TOP + text).encode(), "x").database)]


def test_a_good_database_has_no_remarks() -> None:
    """A check that is silent is worth something only if it is so of what is right."""
    assert _remarks(GOOD) == []


WRONG = [
    ("packets:\n  A: {apid: 1}\n  B: {apid: 1}\n", 6, "B", "nothing tells it from A: both are met when CCSDS_APID = 1"),
    ("packets:\n  A: {base: B}\n  B: {base: A}\n", 5, "A", "it continues itself: A -> B -> A"),
    ("containers:\n  A: {parameters: [container: A]}\n", 5, "A", "it includes itself: A -> A"),
    ("types:\n  t: {array: {of: t, dimensions: [2]}}\n", 5, "t", "it is made of itself: t -> t"),
    ("parameters:\n  P: {derived: Q}\n  Q: {derived: P}\n", 5, "P", "it is derived from itself: P -> Q -> P"),
    ("packets:\n  A: {apid: 1, parameters: [P: {derived: 1 + 1}]}\n", 5, "A", "does not say how it is coded"),
    ("packets:\n  A: {when: S == 1, parameters: [S: 8]}\n", 5, "A", "told by S, which does not stand in CCSDS"),
    ("packets:\n  A: {parameters: [D: {binary: {octets: N}}, N: 8]}\n", 5, "A", "D depends on N, which does not"),
    ("packets:\n  A: {parameters: [P: {bits: 8, at_bit: 60}, Q: {bits: 8, at_bit: 64}]}\n", 5, "A",
     "Q (bit 64) lies on P (bits 60 to 67)"),
    ("packets:\n  A: {parameters: [P: {bits: 8, skip_bits: -60}]}\n", 5, "A", "P stands 12 bits before the packet"),
    ("packets:\n  A: {parameters: [P: {bits: 64, repeat: 1000000}]}\n", 5, "A", "octets; a packet has at most 65,542"),
    ("parameters:\n  P: {bits: 8, limits: {warning: [1, 9], critical: [2, 8]}}\n", 5, "P", "1 to 9 are never seen"),
    ("parameters:\n  P: {bits: 8, states: {0: A}, limits: {critical: B}}\n", 5, "P", "the label 'B'"),
    ("parameters:\n  P: {bits: 8, states: {0..5: A, 3: B}}\n", 5, "P", "the state 'B' (3) lies on another"),
    ("parameters:\n  P: {bits: 8, states: {5..1: A}}\n", 5, "P", "a state from 5 to 1"),
    ("parameters:\n  P: {bits: 8, points: [[1, 1]]}\n", 5, "P", "1 points; straight lines need 2"),
    ("parameters:\n  P: {bits: 8, polynomial: []}\n", 5, "P", "a polynomial without coefficients"),
    ("parameters:\n  P: {bits: 8, valid_range: {low: 3, high: 2}}\n", 5, "P", "its valid range 3 to 2 holds nothing"),
    ("parameters:\n  P: {bits: 6, coding: packed_bcd}\n", 5, "P", "packed_bcd of 6 bits; a digit has 4"),
    ("parameters:\n  P: {array: {dimensions: [1]}}\n", 5, "P", "an array of nothing"),
    ("roots: []\n", 0, "roots", "no packet is ever identified"),
    ("", 0, "the database", "all containers are abstract"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "what", "why"), WRONG, ids=[why for *_, why in WRONG])
def test_what_is_wrong_is_found_with_its_line(text: str, line: int, what: str, why: str) -> None:
    """A database that can be read and not used says where and why."""
    found = _remarks(text)
    assert any((line, what) == one[:2] and why in one[2] for one in found), found


def test_what_no_reader_lets_through_is_found_too() -> None:
    """Dangling names and absurd encodings of a database that came as canonical text are told."""
    bad = (
        ParameterType("/X/a", "integer", IntegerEncoding(70)),
        ParameterType("/X/b", "float", FloatEncoding(24)),
        ParameterType("/X/c", "string", StringEncoding(8, charset="klingon")),
        ParameterType("/X/d", "integer", IntegerEncoding(16, byte_order=(0, 3))),
        ParameterType("/X/e", "integer", IntegerEncoding(12, IntegerKind.BCD, byte_order=(0, 1))),
        ParameterType("/X/f", "float", IntegerEncoding(8), Calibration(Points(((2, 1), (1, 1))))),
        ParameterType("/X/g", "array", element_type="/X/none"),
    )
    database = Database(
        "X",
        types={one.name: one for one in bad},
        parameters={"/X/P": Parameter("/X/P", "/X/q", derivation="1 +")},
        containers={"/X/C": Container("/X/C", (ParameterEntry("/X/Q"), ContainerEntry("/X/D")), "/X/E")},
        roots=("/X/F",),
    )
    found = "\n".join(f"{one.what}: {one.why}" for one in check(database))
    for wanted in (
        "a: an integer of 70 bits", "b: a real number of 24 bits", "c: the character set klingon", "d: the byte order",
        "e: a byte order of 12 bits", "e: bcd of 12 bits", "f: points whose raw values", "g: there is no type",
        "P: there is no type q", "P: expression '1 +'", "C: there is no parameter Q", "C: there is no container D",
        "C: there is no container E", "roots: there is no container F",
    ):  # fmt: skip
        assert wanted in found


def test_a_name_of_which_the_short_form_is_empty_is_told_whole() -> None:
    """A remark always says of what it is."""
    odd = Parameter("/X/", "/X/none")
    found = check(Database("X", parameters={odd.name: odd}))
    assert "/X/" in {one.what for one in found}
    assert all(one.what for one in found)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(databases())
def test_a_check_says_something_of_any_database_and_never_fails(database: Database) -> None:
    """Whatever a file says, checking it ends with remarks."""
    assert all(one.kind == "wrong" and one.what and one.why for one in check(database))


def _bomb(levels: int) -> Database:
    """Containers that include each other twice: 2 ** levels entries."""
    containers = {"/X/0": Container("/X/0", (ParameterEntry("/X/P"),))}
    for k in range(1, levels):
        containers[f"/X/{k}"] = Container(f"/X/{k}", (ContainerEntry(f"/X/{k - 1}"), ContainerEntry(f"/X/{k - 1}")))
    kind = ParameterType("/X/P", "integer", IntegerEncoding(8))
    return Database("X", types={"/X/P": kind}, parameters={"/X/P": Parameter("/X/P", "/X/P")}, containers=containers,
                    roots=tuple(containers))  # fmt: skip


def _chain(length: int) -> Database:
    """Containers and types that each need the next."""
    entry = (ParameterEntry("/X/P"),)
    containers = {f"/X/{k}": Container(f"/X/{k}", entry, f"/X/{k + 1}") for k in range(length)}
    types = {f"/X/{k}": ParameterType(f"/X/{k}", "array", element_type=f"/X/{k + 1}") for k in range(length)}
    return Database("X", types=types, parameters={"/X/P": Parameter("/X/P", "/X/0")}, containers=containers)


@pytest.mark.parametrize("database", [_bomb(16), _chain(1_000)], ids=["inclusions", "chains"])
def test_a_check_ends_in_bounded_time(database: Database) -> None:
    """A database that is built to explode is told to be too large."""
    start = time.process_time()
    assert check(database)
    assert time.process_time() - start < 20


# ---- where entries stand


def test_entries_stand_where_they_say() -> None:
    """Bits count from the first of the packet, through bases, included containers, repeats and gaps."""
    database = read_yaml(
        (TOP + "containers:\n  B: {parameters: [X: 8, Y: 4]}\npackets:\n  P:\n    parameters:\n"
         "    - A: 4\n    - {container: B, repeat: {count: 3, offset_bits: 4}}\n    - C: {bits: 8, align_bits: 32}\n"
         "    - D: {bits: 8, at_bit: 8}\n    - E: {bits: 8, repeat: A}\n    - F: 8\n    - G: {bits: 8, at_bit: 200}\n"
         ).encode(), "x").database  # fmt: skip
    places = layout.places(database, "/X/P")[7:]
    found = [
        (getattr(one.entry, "parameter", getattr(one.entry, "container", "")), one.depth, one.first_bit, one.size_bits)
        for one in places
    ]
    assert found == [
        ("/X/A", 0, 48, 4), ("/X/B", 0, 52, 44), ("/X/X", 1, 52, 8), ("/X/Y", 1, 60, 4), ("/X/C", 0, 96, 8),
        ("/X/D", 0, 8, 8), ("/X/E", 0, 16, None), ("/X/F", 0, None, 8), ("/X/G", 0, 200, 8),
    ]  # fmt: skip
    assert layout.size_bits(database, "/X/P") is None
    assert layout.size_bits(database, "/X/CCSDS") == 48


def test_places_that_vary_are_told_apart_by_what_they_depend_on() -> None:
    """Behind something of varying size, a place is the same only behind the same."""

    def behind(count: int, location: Location) -> str:
        kind = ParameterType("/X/P", "integer", IntegerEncoding(8))
        rows = (ParameterEntry("/X/P", location, repeat=Repeat(DynamicInteger("/X/P", count))), ParameterEntry("/X/P"))
        database = Database("X", types={"/X/P": kind}, parameters={"/X/P": Parameter("/X/P", "/X/P")},
                            containers={"/X/C": Container("/X/C", rows)})  # fmt: skip
        return layout.places(database, "/X/C")[1].behind

    assert behind(1, Location()) == behind(1, Location())
    assert behind(1, Location()) != behind(2, Location())
