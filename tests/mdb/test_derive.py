"""Derived parameters: right values, in the right order, never an exception."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_codecs.mdb import declared
from gateway_codecs.mdb.columns import Column, LimitFlag, Validity
from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.mdb.derive import as_of
from gateway_codecs.mdb.model import Database, Severity
from gateway_codecs.mdb.yaml_form import read_yaml

HEAD = """
mission_database: 1
name: D
header: ccsds
packets:
  P:
    apid: 1
    parameters:
      - A: {bits: 8}
      - B: {bits: 8, polynomial: [0, 0.5]}
      - MODE: {bits: 8, states: {0: SLOW, 1: FAST}}
      - S: {array: {of: {bits: 8}, dimensions: [3]}}
  Q:
    apid: 2
    parameters: [{C: {bits: 8}}]
parameters:
"""


def database(derived: str) -> Database:
    """Return a database with two packets and these derived parameters."""
    return read_yaml((HEAD + derived).encode(), "d.yaml").database


def decoded(one: Database, rows: list[dict[str, object]], want: frozenset[str] | None = None) -> dict[str, Column]:
    """Return the columns of packets P with these raw values."""
    packets = [declared.space_packet(one, "/D/P", {f"/D/{k}": v for k, v in row.items()}) for row in rows]  # type: ignore[misc]
    lengths = np.array([len(packet) for packet in packets])
    octets = np.frombuffer(b"".join(packets), np.uint8)
    (found,) = Decoder(one).decode(octets, np.cumsum(lengths) - lengths, lengths, want)
    return dict(found.columns)


def test_values_limits_and_states() -> None:
    """A derived parameter has a value, states, limits and validity like any other."""
    one = database("""
  SUM: {derived: A + B, unit: V, limits: {warning: [null, 20], critical: [null, 100]}}
  TWICE: {derived: 2 * SUM}
  HIGH: {derived: TWICE > 30, kind: boolean}
  LEVEL: {derived: floor(SUM / 10), states: {0: LOW, 1: MIDDLE, 2..9: TOP}, limits: {watch: TOP}}
  ELEMENT: {derived: 'S[1] - S[0]', valid_when: MODE == FAST}
  RATIO: {derived: A / (B - 1)}
""")
    columns = decoded(one, [{"A": 1, "B": 2, "MODE": 1, "S": [5, 9, 0]}, {"A": 200, "B": 8, "MODE": 0, "S": [9, 5, 0]}])
    assert columns["/D/SUM"].engineering.tolist() == [2.0, 204.0]
    assert columns["/D/SUM"].unit == "V"
    assert columns["/D/SUM"].limit.tolist() == [0, Severity.CRITICAL | LimitFlag.HIGH]
    assert columns["/D/TWICE"].engineering.tolist() == [4.0, 408.0]
    assert columns["/D/HIGH"].engineering.tolist() == [False, True]
    level = columns["/D/LEVEL"]
    assert [level.labels[k] if k >= 0 else "" for k in level.engineering] == ["LOW", ""]
    assert level.validity.tolist() == [Validity.VALID, Validity.UNCALIBRATED]
    assert columns["/D/ELEMENT"].engineering.tolist() == [4.0, -4.0]
    assert columns["/D/ELEMENT"].validity.tolist() == [Validity.VALID, Validity.INVALID]
    assert np.isinf(columns["/D/RATIO"].engineering[0])


def test_only_what_is_wanted_is_returned() -> None:
    """Who asks for one derived parameter gets it alone, its inputs being decoded for it."""
    one = database("  X: {derived: A * 2}\n  Y: {derived: X + B}\n")
    assert list(decoded(one, [{"A": 3, "B": 4, "S": [0, 0, 0]}], frozenset({"/D/Y"}))) == ["/D/Y"]


def test_inputs_that_are_not_there_make_no_column() -> None:
    """A parameter of two packet types has no column in either: who has both joins them."""
    one = database("  X: {derived: A + C}\n")
    assert "/D/X" not in decoded(one, [{"S": [0, 0, 0]}])
    assert Decoder(one).derivations.inputs(frozenset({"/D/X"})) == {"/D/X", "/D/A", "/D/C"}


def test_a_cycle_is_told_and_the_rest_computed() -> None:
    """Parameters that are derived of each other have no values, and it is said; what does not read them has."""
    one = database("  X: {derived: Y + 1}\n  Y: {derived: X + 1}\n  Z: {derived: A + 1}\n  W: {derived: X + A}\n")
    decoder = Decoder(one)
    assert set(decoder.derivations.problems) >= {"/D/X", "/D/Y"}
    assert [each.name for each in decoder.derivations.order] == ["/D/Z"]


def test_what_is_cut_off_has_no_derived_value() -> None:
    """A derived parameter is as valid as its inputs."""
    one = database("  X: {derived: A + B}\n")
    packet = declared.space_packet(one, "/D/P", {"/D/S": [0, 0, 0]})[:7]
    (found,) = Decoder(one).decode(np.frombuffer(packet, np.uint8), np.array([0]), np.array([7]))
    assert found.columns["/D/X"].validity.tolist() == [Validity.TRUNCATED]
    assert np.isnan(found.columns["/D/X"].engineering[0])


rising = st.lists(st.integers(0, 30), min_size=0, max_size=8, unique=True).map(sorted)


@given(rising, rising)
def test_inputs_are_joined_over_time(a: list[int], b: list[int]) -> None:
    """At each sample of any input, the others have their newest value at or before it."""
    times, rows = as_of({"a": np.array(a, np.int64), "b": np.array(b, np.int64)})
    expected = sorted(t for t in {*a, *b} if a and b and t >= max(a[0], b[0]))
    assert times.tolist() == expected
    for name, each in (("a", a), ("b", b)):
        assert rows[name].tolist() == [max(k for k, t in enumerate(each) if t <= time) for time in expected]


def test_the_demo_has_derived_parameters() -> None:
    """The payload of the demo derives its bus power from voltage and current of one packet."""
    file = Path(__file__).parents[2] / "config/gateway_config/examples/demo/databases/solar.yaml"
    one = read_yaml(file.read_bytes(), file.name).database
    packet = declared.space_packet(one, "/SOLAR/HK_POWER", {"/SOLAR/V_BUS": 2800, "/SOLAR/I_BUS": 1500})
    (found,) = Decoder(one).decode(np.frombuffer(packet, np.uint8), np.array([0]), np.array([len(packet)]))
    assert found.columns["/SOLAR/P_BUS"].engineering.tolist() == [pytest.approx(84.0)]
    assert not Decoder(one).derivations.problems
