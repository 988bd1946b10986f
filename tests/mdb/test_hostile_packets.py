"""Packets that end early, lie about themselves or are rubbish; databases that make no sense: flagged, never raised."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway_codecs.mdb.columns import Column, Validity
from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.mdb.model import (
    BinaryEncoding,
    Container,
    ContainerEntry,
    Database,
    Dimension,
    DynamicInteger,
    FixedEntry,
    IntegerEncoding,
    Parameter,
    ParameterEntry,
    ParameterType,
    Repeat,
    StringEncoding,
)
from gateway_codecs.mdb.walk import ELEMENTS_MAX
from tests.mdb.databases import databases
from tests.mdb.test_decoder import batch, database, fixed_layouts

EXAMPLES = 2000 if os.environ.get("GATEWAY_SOAK") else 50


def columns_fit(columns: Any, packets: int) -> int:
    """Check that columns have one row for each packet and only known flags; return their octets."""
    size = 0
    for column in columns.values():
        assert column.validity.shape[0] == column.raw.shape[0] == column.engineering.shape[0] == packets
        assert column.validity.shape == column.limit.shape
        assert column.validity.max(initial=0) <= max(Validity)
        assert not column.limit[column.validity != 0].any()
        size += column.raw.nbytes + column.engineering.nbytes + column.validity.nbytes + column.limit.nbytes
    return size


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(databases(), st.lists(st.binary(max_size=40), max_size=4), st.booleans())
def test_no_database_and_no_packet_raises(mission: Database, packets: list[bytes], only_some: bool) -> None:
    """Whatever the model can say and whatever comes: each packet of a type is decoded once, nothing is raised."""
    decoder = Decoder(mission)
    want = frozenset(list(mission.parameters)[:2]) if only_some else None
    types = decoder.identify(*batch(packets))
    found = decoder.decode(*batch(packets), want)
    rows = sorted(row for one in found for row in one.rows.tolist())
    assert rows == np.flatnonzero(types >= 0).tolist()
    for one in found:
        columns_fit(one.columns, len(one))


@given(fixed_layouts(), st.data())
def test_what_fits_is_decoded(drawn: tuple[Database, list[bytes]], data: st.DataObject) -> None:
    """A packet cut anywhere has the values that end before the cut, as if it were whole; the others are truncated."""
    mission, packets = drawn
    (whole,) = Decoder(mission).decode(*batch(packets))
    cuts = [packet[: data.draw(st.integers(0, len(packet)))] for packet in packets]
    ends, at = {}, 0
    for entry in mission.containers["/X/P"].entries:
        is_padding = isinstance(entry, FixedEntry)
        at += entry.size_bits if is_padding else mission.types[entry.parameter].encoding.size_bits  # type: ignore[union-attr]
        if not is_padding:
            ends[entry.parameter] = at  # type: ignore[union-attr]
    seen = 0
    for one in Decoder(mission).decode(*batch(cuts)):
        for k, row in enumerate(one.rows.tolist()):
            seen += 1
            for name, column in one.columns.items():
                if ends[name] > 8 * len(cuts[row]):
                    assert column.validity[k] == Validity.TRUNCATED
                    continue
                right = whole.columns[name]
                for what in ("raw", "engineering", "validity", "limit"):
                    np.testing.assert_array_equal(getattr(column, what)[k], getattr(right, what)[row])
    assert seen == len(packets)


def counted(
    body: list[Any], types: dict[str, ParameterType], containers: dict[str, Container] | None = None
) -> Database:
    """Return a packet that begins with a count of 16 bits, /X/N."""
    count = ParameterType("/X/N", "integer", IntegerEncoding(16), signed=False)
    made = database({"/X/N": count} | types, [ParameterEntry("/X/N"), *body])
    return Database("X", types=made.types, parameters=made.parameters, roots=made.roots,
                    containers=dict(made.containers) | (containers or {}))  # fmt: skip


OCTET = ParameterType("/X/A", "integer", IntegerEncoding(8), signed=False)
LISTS: dict[str, Database] = {
    "array": counted(
        [ParameterEntry("/X/L")],
        {"/X/A": OCTET, "/X/L": ParameterType("/X/L", "array", element_type="/X/A",
                                              dimensions=(Dimension(0, DynamicInteger("/X/N", 1, -1)),))},
    ),
    "repeat": counted([ParameterEntry("/X/A", repeat=Repeat(DynamicInteger("/X/N")))], {"/X/A": OCTET}),
    "containers": counted(
        [ContainerEntry("/X/C", repeat=Repeat(DynamicInteger("/X/N")))],
        {"/X/A": OCTET},
        {"/X/C": Container("/X/C", (ParameterEntry("/X/A"),))},
    ),
    "walked": counted(
        [ContainerEntry("/X/C", repeat=Repeat(DynamicInteger("/X/N")))],
        {"/X/A": ParameterType("/X/A", "string", StringEncoding(None, tag_bits=8))},
        {"/X/C": Container("/X/C", (ParameterEntry("/X/A"),))},
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", LISTS)
def test_counts_that_lie(form: str) -> None:
    """A count beyond the packet gives what is there and one occurrence that is truncated; others keep their values."""
    lying, honest = b"\xff\xff" + bytes([0, 0, 0]), b"\x00\x03" + bytes([0, 0, 0])
    found = Decoder(LISTS[form]).decode(*batch([honest, lying, honest]))
    by_row = {int(row): one.columns for one in found for row in one.rows}
    name = "/X/L" if form == "array" else "/X/A"
    honest_column, lying_column = by_row[0][name], by_row[1][name]
    assert honest_column.validity.shape == (2, 3)
    assert not honest_column.validity.any()
    assert lying_column.validity.tolist() == [[0, 0, 0, Validity.TRUNCATED]]


def test_sizes_that_lie() -> None:
    """A size beyond the packet takes nothing; below zero it cannot be; what stands at a fixed place is not touched."""
    data = ParameterType("/X/D", "binary", BinaryEncoding(DynamicInteger("/X/N", 8, -16)))
    mission = counted([ParameterEntry("/X/D"), ParameterEntry("/X/A")], {"/X/D": data, "/X/A": OCTET})
    packets = [b"\x00\x04ab\x05", b"\xff\xffab\x05", b"\x00\x01ab\x05", b"\x00\x02\x07"]
    by_row = {int(row): one.columns for one in Decoder(mission).decode(*batch(packets)) for row in one.rows}
    assert by_row[0]["/X/D"].raw.tobytes() == b"ab"
    assert by_row[0]["/X/A"].raw.tolist() == [5]
    said = [[int(by_row[row][name].validity[0]) for name in ("/X/D", "/X/A")] for row in (1, 2, 3)]
    assert said == [[Validity.TRUNCATED] * 2, [Validity.UNDECODABLE] * 2, [Validity.VALID] * 2]


def test_huge_arrays_take_no_more_than_the_packets_have() -> None:
    """A definition of a million entries costs small packets nothing: their arrays end where the packets end."""
    big = ParameterType("/X/L", "array", element_type="/X/A", dimensions=(Dimension(0, 999), Dimension(0, 999)))
    mission = database({"/X/A": OCTET, "/X/L": big}, [ParameterEntry("/X/L")])
    packets = [bytes(k % 30) for k in range(2000)]
    found = Decoder(mission).decode(*batch(packets))
    assert sum(len(one) for one in found) == 2000
    assert sum(columns_fit(one.columns, len(one)) for one in found) < 100 * sum(len(one) + 1 for one in packets)


def test_texts_of_many_sizes_do_not_multiply() -> None:
    """One long text among thousands of short ones: the column stays near what the packet has."""
    mission = LISTS["walked"]
    octets = b"\x1f\xff" + b"\x00" * 4000 + b"\xff" + bytes(255) + b"\x00" * 4000
    (one,) = Decoder(mission).decode(*batch([octets]))
    assert columns_fit(one.columns, 1) < 2_000_000
    assert one.columns["/X/A"].validity.shape[1] <= 8192


def test_walks_end() -> None:
    """Layouts that are walked step by step end at a bound, whatever a packet claims; the rest is undecodable."""
    (one,) = Decoder(LISTS["walked"]).decode(*batch([b"\xff\xff" + bytes(65000)]))
    column: Column = one.columns["/X/A"]
    assert column.validity.size < ELEMENTS_MAX
    assert set(np.unique(column.validity).tolist()) <= {0, Validity.UNDECODABLE, Validity.TRUNCATED}


@pytest.mark.parametrize("nested", ["itself", "two", "deep"])
def test_definitions_without_end_are_problems(nested: str) -> None:
    """Containers that hold themselves, or double at each level, are told as problems; their packets keep their type."""
    names = [f"/X/C{k}" for k in range(60)]
    inner = {"itself": ["/X/P"], "two": ["/X/C0"], "deep": ["/X/C0", "/X/C0"]}[nested]
    containers = {"/X/P": Container("/X/P", tuple(ContainerEntry(name) for name in inner))}
    for k, name in enumerate(names):
        following = names[(k + 1) % len(names)] if nested == "two" or k + 1 < len(names) else ""
        held = (ContainerEntry(following),) * (2 if nested == "deep" else 1) if following else (ParameterEntry("/X/A"),)
        containers[name] = Container(name, held)
    mission = Database("X", types={"/X/A": OCTET}, parameters={"/X/A": Parameter("/X/A", "/X/A")},
                       containers=containers, roots=("/X/P",))  # fmt: skip
    decoder = Decoder(mission)
    (one,) = decoder.decode(*batch([b"abc"]))
    assert (one.packet_type, dict(one.columns)) == ("/X/P", {})
    assert "/X/P" in decoder.problems
