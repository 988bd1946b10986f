"""What a comparison of two databases tells: whose values are other, and nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.mdb.diff import Change, Difference, diff
from gateway_codecs.mdb.model import Database
from gateway_codecs.mdb.yaml_form import read_yaml, write_yaml
from tests.mdb.databases import databases

TOP = "mission_database: 1\nname: X\nheader: ccsds\n"
OLD = """
types:
  volts: {bits: 8, polynomial: [0, 0.5], unit: V, limits: {warning: [3, 90]}}
parameters:
  POWER: {derived: V1 * CURRENT, unit: W}
  SUM: {derived: POWER + COUNT}
packets:
  HK:
    apid: 1
    parameters:
      - V1: volts
      - V2: volts
      - CURRENT: {bits: 8, points: [[0, 0], [255, 5]]}
      - MODE: {bits: 8, states: {0: OFF, 1: ON, else: BAD}}
      - N: 8
      - SAMPLES: {bits: 8, repeat: N}
      - TAIL: 8
      - EXTRA: {bits: 8, when: MODE == ON, description: sometimes}
  OTHER: {apid: 2, parameters: [COUNT: 16]}
"""


def _database(text: str) -> Database:
    return read_yaml((TOP + text).encode(), "x").database


def _compare(old: str, new: str, text: str = OLD) -> Difference:
    assert old in text
    return diff(_database(text), _database(text.replace(old, new)))


def _names(difference: Difference) -> set[str]:
    return {name.removeprefix("/X/") for name in difference.other_values}


CHANGES = [
    ("polynomial: [0, 0.5]", "polynomial: [0, 0.6]", {"V1", "V2", "POWER", "SUM"}),
    ("[255, 5]", "[255, 6]", {"CURRENT", "POWER", "SUM"}),
    ("0: OFF", "0: NO", {"MODE", "EXTRA"}),
    ("- V2: volts\n", "- V2: volts\n      - spare_bits: 8\n",
     {"CURRENT", "MODE", "N", "SAMPLES", "TAIL", "EXTRA", "POWER", "SUM"}),
    ("apid: 1\n", "apid: 3\n",
     {"V1", "V2", "CURRENT", "MODE", "N", "SAMPLES", "TAIL", "EXTRA", "POWER", "SUM"}),
    ("repeat: N", "repeat: {parameter: N, slope: 2}", {"SAMPLES", "TAIL", "EXTRA"}),
    ("- N: 8", "- N: {bits: 8, signed: true}", {"N", "SAMPLES", "TAIL", "EXTRA"}),
    ("MODE == ON", "MODE == OFF", {"EXTRA"}),
    ("V1 * CURRENT", "V2 * CURRENT", {"POWER", "SUM"}),
    ("COUNT: 16", "COUNT: {bits: 16, byte_order: little}", {"COUNT", "SUM"}),
    ("COUNT: 16", "COUNT: {bits: 16, valid_when: COUNT > 5}", {"COUNT", "SUM"}),
    ("COUNT: 16", "COUNT: {bits: 16, valid_range: [0, 5]}", {"COUNT", "SUM"}),
    ("      - TAIL: 8\n", "", {"EXTRA"}),
    ("unit: V", "unit: mV", set()),
    ("[3, 90]", "[4, 90]", set()),
    ("description: sometimes", "description: often", set()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "names"), CHANGES, ids=[f"{old.strip()} - {new.strip()}" for old, new, _ in CHANGES]
)
def test_the_parameters_whose_values_change_are_named(old: str, new: str, names: set[str]) -> None:
    """Before a corrected database flies, one knows whose values it changes, directly or through others."""
    difference = _compare(old, new)
    assert _names(difference) == names
    assert difference.changes


def test_the_reasons_are_told_in_words() -> None:
    """Each change says what was and what is."""
    difference = _compare("polynomial: [0, 0.5], unit: V", "polynomial: [0, 0.6], unit: mV")
    told = {one.name: one for one in difference.changes}
    assert told["/X/V1"].words == ("calibration: 0.5 × raw -> 0.6 × raw", "unit: V -> mV")
    assert told["/X/POWER"].words in {("depends on V1",), ("depends on CURRENT",)}
    assert told["/X/volts"] == Change("type", "changed", "/X/volts", words=("used by V1, V2",))
    moved = {one.name: one.words for one in _compare("      - V2: volts\n", "").changes}
    assert moved["/X/CURRENT"] == ("HK: place bit 64 -> bit 56",)
    assert moved["/X/V2"] == ()
    assert moved["/X/HK"] == ("loses V2",)
    limits = {one.name: one for one in _compare("[3, 90]", "[4, 90]").changes}
    assert limits["/X/V1"].words == ("limits: warning: outside 3 to 90 -> warning: outside 4 to 90",)
    assert not limits["/X/V1"].values
    told_by = {one.name: one.words for one in _compare("apid: 2", "apid: 4").changes}
    assert told_by["/X/OTHER"] == ("told by: CCSDS with CCSDS_APID = 2 -> CCSDS with CCSDS_APID = 4",)


def test_what_came_and_went_is_told() -> None:
    """New and lost parameters and packets have their own lines."""
    difference = _compare(
        "OTHER: {apid: 2, parameters: [COUNT: 16]}", "NEW: {apid: 2, parameters: [COUNT: 16, PLUS: 8]}"
    )
    rows = {(one.kind, one.what, one.name) for one in difference.changes}
    assert {("packet", "added", "/X/NEW"), ("packet", "removed", "/X/OTHER"), ("parameter", "added", "/X/PLUS")} <= rows
    assert _names(difference) == {"COUNT", "SUM"}


def test_order_and_comments_are_no_difference() -> None:
    """A file that was sorted and explained is the same version."""
    head, _, packets = OLD.partition("packets:")
    sorted_text = f"# explained\npackets:{packets}\n{head}"
    difference = diff(_database(OLD), _database(sorted_text))
    assert difference.changes == ()
    assert difference.old_digest == difference.new_digest


def test_what_the_decoder_gives_differs_where_it_is_told() -> None:
    """The names are checked against decoding: packets decoded with both databases differ in these parameters only."""
    packets = np.frombuffer(bytes.fromhex("0801c000000a1020300103aabbcc0405"), np.uint8)
    offset, length = np.array([0], np.int64), np.array([len(packets)], np.int64)

    def decoded(database: Database) -> dict[str, list[object]]:
        (one,) = Decoder(database).decode(packets, offset, length)
        return {name: [column.engineering.tolist(), column.validity.tolist(), column.labels]
                for name, column in one.columns.items()}  # fmt: skip

    before = decoded(_database(OLD))
    for old, new, names in CHANGES[:3] + CHANGES[7:9] + CHANGES[13:]:
        after = decoded(_database(OLD.replace(old, new)))
        changed = {name.removeprefix("/X/") for name in before if before[name] != after.get(name)}
        assert changed <= names
        assert changed or not names or names == {"EXTRA"}


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(databases(), databases())
def test_any_two_databases_compare(one: Database, other: Database) -> None:
    """Whatever they are, the same has no difference and others have one."""
    again = read_yaml(write_yaml(one).encode(), "x").database
    assert diff(one, again).changes == ()
    for difference in (diff(one, other), diff(dataclasses.replace(one, containers=other.containers), one)):
        assert bool(difference.changes) <= (difference.old_digest != difference.new_digest)
