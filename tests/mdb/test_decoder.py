"""Packets to columns: against the scalar reference, one value at a time, and at the edges of batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_codecs.mdb import declared, scalar
from gateway_codecs.mdb.columns import Column, Decoded, LimitFlag, Validity
from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.mdb.headers import HeaderForm, header
from gateway_codecs.mdb.model import (
    Alarms,
    Calibration,
    Container,
    Database,
    Encoding,
    FixedEntry,
    FloatEncoding,
    FloatKind,
    IntegerEncoding,
    IntegerKind,
    Interval,
    LabelLimit,
    Limits,
    Parameter,
    ParameterEntry,
    ParameterType,
    Points,
    Polynomial,
    RangeLimit,
    Severity,
    State,
    States,
)

Batch = tuple[Any, Any, Any]


def batch(packets: Sequence[bytes]) -> Batch:
    """Return packets as a decoder takes them."""
    length = np.array([len(one) for one in packets], np.int64)
    return np.frombuffer(b"".join(packets), np.uint8), np.cumsum(length) - length, length


def database(types: dict[str, ParameterType], entries: list[Any]) -> Database:
    """Return a database of one packet type without a header, whose parameters have the names of their types."""
    parameters = {name: Parameter(name, name) for name in types}
    packet = Container("/X/P", tuple(entries))
    return Database("X", types=types, parameters=parameters, containers={"/X/P": packet}, roots=("/X/P",))


def value_of(column: Column, row: int) -> Any:
    """Return the engineering value of a row as `scalar` gives it."""
    value = column.engineering[row]
    if column.labels and value.dtype != np.bool_:
        return column.labels[value] if value >= 0 else None
    return value.item()


def sorted_orders(octets: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Return a strategy of byte orders, the usual two often."""
    usual = st.sampled_from([(), tuple(range(octets)), tuple(range(octets))[::-1]])
    return usual | st.permutations(range(octets)).map(tuple)


@st.composite
def numbers(draw: st.DrawFn) -> Encoding:
    """Draw the encoding of a number."""
    turned = draw(st.booleans())
    if draw(st.integers(0, 3)) == 0:
        kind, size = draw(st.sampled_from([(FloatKind.IEEE_754, 16), (FloatKind.IEEE_754, 32),
                                           (FloatKind.IEEE_754, 64), (FloatKind.MIL_STD_1750A, 32),
                                           (FloatKind.MIL_STD_1750A, 48)]))  # fmt: skip
        return FloatEncoding(size, kind, draw(sorted_orders(size // 8)), turned)
    kind = draw(st.sampled_from(IntegerKind))
    unit = {IntegerKind.BCD: 8, IntegerKind.PACKED_BCD: 4}.get(kind, 1)
    size = draw(st.integers(1, 64 // unit)) * unit
    return IntegerEncoding(size, kind, draw(sorted_orders(size // 8)) if size % 8 == 0 else (), turned)


pairs = st.tuples(st.integers(-300, 300), st.floats(-1e3, 1e3))
calibrators = st.one_of(
    st.none(),
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5).map(lambda one: Polynomial(tuple(one))),
    st.builds(
        Points,
        st.lists(pairs, min_size=1, max_size=5, unique_by=lambda pair: pair[0])
        .map(lambda rows: tuple(sorted((float(x), y) for x, y in rows))),
        st.integers(0, 1),
        st.booleans(),
    ),
)  # fmt: skip
states = st.lists(
    st.tuples(st.integers(-4, 40), st.integers(0, 9), st.sampled_from("ABCDEF")), min_size=1, max_size=6
).map(lambda rows: States(tuple(State(low, low + more, label) for low, more, label in rows), ""))


@st.composite
def scalar_types(draw: st.DrawFn, name: str) -> ParameterType:
    """Draw a numeric, enumerated or boolean type."""
    kind = draw(st.sampled_from(["integer", "float", "enumerated", "boolean"]))
    encoding = draw(numbers())
    if kind == "boolean":
        return ParameterType(name, "boolean", encoding)
    if kind == "enumerated":
        otherwise = draw(st.sampled_from(["", "else"]))
        return ParameterType(name, "enumerated", encoding, Calibration(States(draw(states).states, otherwise)))
    return ParameterType(name, "float" if kind == "float" else "integer", encoding, Calibration(draw(calibrators)))


@st.composite
def fixed_layouts(draw: st.DrawFn) -> tuple[Database, list[bytes]]:
    """Draw a fixed layout of numbers with gaps between them, and packets."""
    types, entries, bits = {}, [], 0
    for number in range(draw(st.integers(1, 12))):
        name = f"/X/P{number}"
        types[name] = draw(scalar_types(name))
        gap = draw(st.sampled_from([0, 0, 0, 1, 3, 8]))
        if gap:
            entries.append(FixedEntry(gap))
        entries.append(ParameterEntry(name))
        bits += gap + types[name].encoding.size_bits  # type: ignore[union-attr]
    size = -(-bits // 8)
    packets = draw(st.lists(st.binary(min_size=size, max_size=size + 2), min_size=1, max_size=5))
    return database(types, entries), packets


def expected(kind: ParameterType, bits: bytes) -> tuple[Any, Any, Validity]:
    """Return (raw, engineering, validity) of the bits of a field, by the reference."""

    def alone(name: str, calibrated: bool) -> scalar.Value:
        raise scalar.Undecodable(name)

    try:
        raw = scalar.from_bits(bits, kind.encoding)  # type: ignore[arg-type]
    except scalar.Undecodable:
        return 0, None, Validity.UNDECODABLE
    try:
        value: Any = scalar.engineering(raw, kind, alone)
    except scalar.Undecodable:
        return raw, None, Validity.UNCALIBRATED
    calibrated = kind.calibration.default is not None
    if kind.kind == "enumerated" and not isinstance(value, str):
        return raw, None, Validity.UNCALIBRATED
    if kind.kind in {"integer", "float"} and math.isnan(value) and (calibrated or kind.kind == "integer"):
        return raw, None, Validity.UNCALIBRATED
    if kind.kind == "integer" and (calibrated or isinstance(raw, float)):
        if not abs(value) < 2**63:
            return raw, None, Validity.UNCALIBRATED
        value = round(value)
    return raw, value, Validity.VALID


def check(column: Column, row: int, kind: ParameterType, bits: bytes) -> None:
    """Compare one sample with the reference."""
    raw, value, validity = expected(kind, bits)
    assert column.validity[row] == validity
    assert column.raw[row] == raw or (math.isnan(raw) and math.isnan(column.raw[row]))
    if value is None:
        nothing = column.engineering[row]
        assert nothing == (-1 if kind.kind == "enumerated" else 0) or math.isnan(nothing)
    elif isinstance(value, float | int) and not isinstance(value, bool):
        rounding = 1 if kind.kind == "integer" and kind.calibration.default is not None else 0
        assert value_of(column, row) == pytest.approx(value, rel=1e-9, abs=1e-6 + rounding, nan_ok=True)
    else:
        assert value_of(column, row) == value


@given(fixed_layouts())
def test_fixed_layouts_equal_the_reference(drawn: tuple[Database, list[bytes]]) -> None:
    """Every integer, real, label and boolean at any bit has the values that one bit at a time gives."""
    mission, packets = drawn
    (decoded,) = Decoder(mission).decode(*batch(packets))
    assert decoded.rows.tolist() == list(range(len(packets)))
    at = 0
    for entry in mission.containers["/X/P"].entries:
        if isinstance(entry, FixedEntry):
            at += entry.size_bits
            continue
        kind = mission.types[entry.parameter]  # type: ignore[union-attr]
        size = kind.encoding.size_bits  # type: ignore[union-attr]
        for row, packet in enumerate(packets):
            check(decoded.columns[kind.name], row, kind, scalar.bits_of(packet)[at : at + size])
        at += size


def test_a_constant_polynomial_is_constant_of_infinity_too() -> None:
    """Fast == reference where Horner's rule, begun with zero, would make no number of an infinite raw value."""
    kind = ParameterType("/X/P0", "integer", FloatEncoding(16), Calibration(Polynomial((7.0,))))
    mission = database({"/X/P0": kind}, [ParameterEntry("/X/P0")])
    (decoded,) = Decoder(mission).decode(*batch([b"\x7c\x00"]))
    check(decoded.columns["/X/P0"], 0, kind, scalar.bits_of(b"\x7c\x00"))
    assert decoded.columns["/X/P0"].engineering.tolist() == [7]


def same(one: Column, other: Column, rows: Any = slice(None)) -> None:
    """Columns are equal, row by row."""
    for what in ("raw", "engineering", "validity", "limit"):
        np.testing.assert_array_equal(getattr(one, what), getattr(other, what)[rows])


@given(fixed_layouts(), st.randoms())
def test_a_batch_is_its_packets(drawn: tuple[Database, list[bytes]], random: Any) -> None:
    """A batch of n is n batches of one, and packets in another order give the same values in that order."""
    mission, packets = drawn
    decoder = Decoder(mission)
    (whole,) = decoder.decode(*batch(packets))
    for row, packet in enumerate(packets):
        (alone,) = decoder.decode(*batch([packet]))
        for name, column in alone.columns.items():
            same(column, whole.columns[name], slice(row, row + 1))
    order = list(range(len(packets)))
    random.shuffle(order)
    (turned,) = decoder.decode(*batch([packets[k] for k in order]))
    for name, column in turned.columns.items():
        same(column, whole.columns[name], order)


def housekeeping() -> Database:
    """Return two packet types behind a space packet header, with limits and states."""
    head = header("/H", HeaderForm())
    limits = Limits(
        (RangeLimit(Severity.WARNING, Interval(0, 40)), RangeLimit(Severity.CRITICAL, Interval(-10, 50, True, False)))
    )
    types = dict(head.types) | {
        "/H/T": ParameterType(
            "/H/T", "float", IntegerEncoding(8, IntegerKind.TWOS_COMPLEMENT), Calibration(Polynomial((0.0, 0.5))),
            Alarms(limits), Interval(-20, 60), unit="degC",
        ),
        "/H/MODE": ParameterType(
            "/H/MODE", "enumerated", IntegerEncoding(8), Calibration(States((State(0, 0, "OFF"), State(1, 9, "ON")))),
            Alarms(Limits(labels=(LabelLimit(Severity.DISTRESS, "OFF"),))),
        ),
    }  # fmt: skip
    parameters = dict(head.parameters) | {name: Parameter(name, name) for name in ("/H/T", "/H/MODE")}
    entries = (ParameterEntry("/H/T"), ParameterEntry("/H/MODE"))
    packets = {
        name: Container(name, entries, head.container, head.of_packet(apid))
        for name, apid in (("/H/FIRST", 10), ("/H/SECOND", 20))
    }
    return Database("H", types=types, parameters=parameters, containers=dict(head.containers) | packets,
                    roots=(head.root,))  # fmt: skip


def space_packet(apid: int, data: bytes) -> bytes:
    """Return a telemetry packet without secondary header."""
    return apid.to_bytes(2, "big") + b"\xc0\x00" + (len(data) - 1).to_bytes(2, "big") + data


def decode(mission: Database, packets: list[bytes], want: frozenset[str] | None = None) -> list[Decoded]:
    """Decode packets with a new decoder."""
    return Decoder(mission).decode(*batch(packets), want)


def test_types_are_found_and_limits_checked() -> None:
    """Packets go to their types by APID, those of no type to none; each sample has its validity and limit state."""
    decoder = Decoder(housekeeping())
    values = [0, 80, 90, 110, 127, -10, -30, -60]
    packets = [space_packet(10, bytes([value & 0xFF, 1])) for value in values]
    packets += [space_packet(20, b"\x00\x00"), space_packet(30, b"\x00\x00"), space_packet(20, b"\x10\x0a")]
    types = decoder.identify(*batch(packets))
    assert [decoder.packet_types[t] if t >= 0 else "" for t in types] == ["/H/FIRST"] * 8 + [
        "/H/SECOND",
        "",
        "/H/SECOND",
    ]
    first, second = decoder.decode(*batch(packets))
    temperature = first.columns["/H/T"]
    assert temperature.engineering.tolist() == [0, 40, 45, 55, 63.5, -5, -15, -30]
    assert temperature.validity.tolist() == [0, 0, 0, 0, Validity.OUT_OF_RANGE, 0, 0, Validity.OUT_OF_RANGE]
    high, low = LimitFlag.HIGH, LimitFlag.LOW
    assert temperature.limit.tolist() == [0, 0, 2 | high, 4 | high, 0, 2 | low, 4 | low, 0]
    assert second.rows.tolist() == [8, 10]
    mode = second.columns["/H/MODE"]
    assert (mode.labels, mode.engineering.tolist()) == (("OFF", "ON"), [0, -1])
    assert mode.validity.tolist() == [0, Validity.UNCALIBRATED]
    assert mode.limit.tolist() == [3 | LimitFlag.LABEL, 0]


def test_a_short_packet_hides_nothing() -> None:
    """A packet that ends early has what fits and says what is truncated; the others of the batch are not touched."""
    packets = [space_packet(10, b"\x10\x01"), space_packet(10, b"\x10"), space_packet(10, b"\x10\x00")]
    whole, short = decode(housekeeping(), packets)
    assert (whole.rows.tolist(), short.rows.tolist()) == ([0, 2], [1])
    assert whole.columns["/H/MODE"].engineering.tolist() == [1, 0]
    assert short.columns["/H/T"].engineering.tolist() == [8.0]
    assert short.columns["/H/MODE"].validity.tolist() == [Validity.TRUNCATED]
    assert short.columns["/H/MODE"].engineering.tolist() == [-1]


def test_only_what_is_wanted() -> None:
    """`want` restricts the columns; every packet of a type is in one Decoded all the same."""
    packets = [space_packet(10, b"\x10\x01"), space_packet(20, b"\x10\x01")]
    found = decode(housekeeping(), packets, frozenset(["/H/T"]))
    assert [list(one.columns) for one in found] == [["/H/T"], ["/H/T"]]
    assert [list(one.columns) for one in decode(housekeeping(), packets, frozenset(["/H/NONE"]))] == [[], []]


def test_packets_beyond_the_octets_are_refused() -> None:
    """A batch whose packets do not lie in its octets is the caller's mistake, and said so."""
    with pytest.raises(ValueError, match="beyond"):
        Decoder(housekeeping()).decode(np.zeros(5, np.uint8), np.array([0]), np.array([6]))


def test_declared_packets_come_back() -> None:
    """A packet that is built by its declaration decodes to the values it was built from."""
    mission = housekeeping()
    packet = declared.space_packet(mission, "/H/SECOND", {"/H/T": -3, "/H/MODE": 4})
    (found,) = decode(mission, [packet])
    assert (found.packet_type, found.columns["/H/T"].raw.tolist()) == ("/H/SECOND", [-3])
    assert found.columns["/H/MODE"].raw.tolist() == [4]
