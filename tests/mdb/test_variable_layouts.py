"""Layouts that the packet itself decides: against the declaration, which reads one packet and one bit at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway_codecs.mdb import declared
from gateway_codecs.mdb.columns import Column, Validity
from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.mdb.model import (
    ALWAYS,
    AllOf,
    AnyOf,
    BinaryEncoding,
    Calibration,
    Comparison,
    Container,
    ContainerEntry,
    Database,
    Dimension,
    DynamicInteger,
    Encoding,
    FixedEntry,
    FloatEncoding,
    Integer,
    IntegerEncoding,
    IntegerKind,
    Location,
    LookupInteger,
    Match,
    Member,
    Not,
    Operator,
    Parameter,
    ParameterEntry,
    ParameterType,
    Polynomial,
    Reference,
    Repeat,
    RestOfPacket,
    StringEncoding,
    TimeEncoding,
)
from gateway_codecs.mdb.scalar import Undecodable
from gateway_codecs.time_codes import TimeCode
from tests.mdb.test_decoder import batch, same

CUC = TimeCode("cuc", "present", 4, 1)


class Drawn:
    """A layout under construction: counts that stood before may be referred to."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.types: dict[str, ParameterType] = {}
        self.containers: dict[str, Container] = {}
        self.counts: list[str] = []

    def choose(self, *options: Any) -> Any:
        """Draw one of several."""
        return self.draw(st.sampled_from(options))

    def type(self, encoding: Encoding | None, kind: Any = "integer", **more: Any) -> str:
        """Make a type, and a parameter of the same name."""
        name = f"/X/T{len(self.types)}"
        self.types[name] = ParameterType(name, kind, encoding, **more)
        return name

    def count(self) -> ParameterEntry:
        """A small number that others may refer to."""
        calibration = Calibration(Polynomial((1.0, 2.0))) if self.choose(False, False, True) else Calibration()
        name = self.type(IntegerEncoding(self.choose(2, 3, 3, 4)), calibration=calibration, signed=False)
        self.counts.append(name)
        return ParameterEntry(name)

    def number(self, small: int, unit: int = 1) -> Integer:
        """A number, stated by the packet or not."""
        if not self.counts or self.choose(True, False):
            return unit * self.draw(st.integers(0, small))
        name = self.choose(*self.counts)
        if self.choose(True, True, False):
            return DynamicInteger(
                name, unit * self.choose(1, 1, 2), unit * self.choose(0, 0, 1, -1), self.choose(True, False)
            )
        return LookupInteger(((self.match(), unit), (Comparison(name, 2, calibrated=False), 2 * unit), (ALWAYS, 0)))

    def match(self, depth: int = 0) -> Match:
        """A condition on what stood before."""
        shape = self.choose("comparison", "comparison", "all", "any", "not") if depth < 2 else "comparison"
        if shape == "all":
            return AllOf((self.match(depth + 1), self.match(depth + 1)))
        if shape == "any":
            return AnyOf((self.match(depth + 1), self.match(depth + 1)))
        if shape == "not":
            return Not(self.match(depth + 1))
        name = self.choose(*self.counts, *(f"{one}[{k}]" for one in self.counts for k in (0, 1)), "/X/NONE")
        other = self.choose("", "", "", *self.counts)
        value = self.draw(st.integers(-1, 8))
        return Comparison(name, value, self.choose(*Operator), self.choose(True, False), other)

    def encoding(self) -> tuple[Encoding, str]:
        """An encoding of fixed or stated size, and a kind for it."""
        octets = self.choose(8, 8, 8, 4)
        match self.choose("integer", "integer", "float", "binary", "string", "unboxed", "time"):
            case "float":
                return FloatEncoding(32), "float"
            case "binary":
                if self.choose(True, False, False):
                    return BinaryEncoding(8, self.choose(3, 4, 8), self.choose(8, 4)), "binary"
                return BinaryEncoding(self.number(4, octets)), "binary"
            case "string":
                tag = self.choose(0, 0, 4, 8)
                terminator = b"" if tag else self.choose(b"", b"\x00", b"\x00\x01")
                return StringEncoding(self.number(5, 8), "latin-1", terminator, tag), "string"
            case "unboxed":
                tag = self.choose(0, 4)
                most = self.choose(64, 8 * 65542)
                return StringEncoding(
                    None, "latin-1", b"" if tag else self.choose(b"\x00", b"\x01\x02"), tag, 8, most
                ), "string"
            case "time":
                return TimeEncoding(CUC), "absolute_time"
            case _:
                return IntegerEncoding(self.draw(st.integers(1, 17)), self.choose(IntegerKind.UNSIGNED,
                                       IntegerKind.TWOS_COMPLEMENT)), "integer"  # fmt: skip

    def location(self) -> Location:
        """Mostly behind the entry before."""
        match self.choose(*["next"] * 6, "gap", "container", "packet", "aligned", "end"):
            case "gap":
                return Location(Reference.PREVIOUS, self.number(5))
            case "container":
                return Location(Reference.CONTAINER, self.number(40))
            case "packet":
                return Location(Reference.PACKET, self.number(60))
            case "end":
                return Location(Reference.END, self.number(60), self.choose(1, 1, 8))
            case "aligned":
                return Location(Reference.PREVIOUS, 0, self.choose(4, 8, 16))
            case _:
                return Location()

    def entry(self, depth: int) -> Any:
        """Any entry."""
        shape = self.choose("count", "one", "one", "padding", "array", "aggregate", "container")
        if shape == "count":
            return self.count()
        if shape == "padding":
            return FixedEntry(self.draw(st.integers(0, 9)), location=self.location())
        location, condition = (
            self.location(),
            self.match() if self.choose(*[False] * 3, True) and self.counts else ALWAYS,
        )
        repeat = Repeat(self.number(4), self.number(3)) if self.choose(*[False] * 3, True) else None
        if shape == "container" and depth < 2:
            name = f"/X/C{len(self.containers)}"
            self.containers[name] = Container(name)
            held = tuple(self.entry(depth + 1) for _ in range(self.draw(st.integers(1, 3))))
            self.containers[name] = Container(name, held)
            return ContainerEntry(name, location, condition, repeat)
        encoding, kind = self.encoding()
        name = self.type(encoding, kind)
        if shape == "aggregate":
            other = self.type(IntegerEncoding(self.choose(3, 8)))
            members = (Member("a", name), Member("b", other))
            name = self.type(None, "aggregate", members=members)
        if shape == "array":
            sizes = tuple(Dimension(0, self.number(3)) for _ in range(self.choose(1, 1, 2)))
            name = self.type(None, "array", element_type=name, dimensions=sizes)
        return ParameterEntry(name, location, condition, repeat)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Database, list[bytes]]:
    """Draw a variable layout and packets that may fit it."""
    drawn = Drawn(draw)
    entries = [drawn.count(), *(drawn.entry(0) for _ in range(draw(st.integers(1, 6))))]
    if draw(st.integers(0, 4)) == 0:
        name = drawn.type(BinaryEncoding(RestOfPacket(draw(st.sampled_from([0, 8, 3])))), "binary")
        entries.append(ParameterEntry(name))
    half = draw(st.integers(0, len(entries)))
    containers = drawn.containers | {
        "/X/BASE": Container("/X/BASE", tuple(entries[:half]), abstract=True),
        "/X/P": Container("/X/P", tuple(entries[half:]), "/X/BASE"),
    }
    parameters = {name: Parameter(name, name) for name in drawn.types}
    roots = ("/X/BASE",)
    mission = Database("X", types=drawn.types, parameters=parameters, containers=containers, roots=roots)
    octets = st.binary(min_size=0, max_size=60) | st.binary(min_size=40, max_size=60).map(
        lambda b: bytes(x & 0x37 for x in b)
    )
    return mission, draw(st.lists(octets, min_size=1, max_size=6))


def flat(column: Column, row: int) -> list[tuple[Any, int]]:
    """Return (raw value, validity) of each occurrence in a packet."""
    validity = column.validity[row].ravel()
    raw = column.raw[row]
    if column.raw.dtype == np.uint8:
        raw = raw.reshape(validity.size, -1) if validity.size else raw[:0]
        values = [one.tobytes() for one in raw]
    else:
        values = raw.ravel().tolist()
    return list(zip(values, validity.tolist(), strict=True))


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(layouts())
def test_variable_layouts_equal_the_declaration(drawn: tuple[Database, list[bytes]]) -> None:
    """Where the declaration reads a packet to its end, every column has its values; where not, something is flagged."""
    mission, packets = drawn
    found = Decoder(mission).decode(*batch(packets))
    assert sorted(row for one in found for row in one.rows.tolist()) == list(range(len(packets)))
    for one in found:
        for k, row in enumerate(one.rows):
            try:
                expected = declared.parse(mission, "/X/P", packets[row])
            except Undecodable:
                continue
            got = {name: flat(column, k) for name, column in one.columns.items()}
            got = {name: [value for value in values if value[1] != Validity.ABSENT] for name, values in got.items()}
            for name, values in got.items():
                wanted = expected.get(name, [])
                behind_the_end = wanted[len(values) :]  # what has no bits may be repeated without end
                assert len(values) <= len(wanted), name
                assert not any(behind_the_end), name
                for (value, validity), right in zip(values, wanted, strict=False):
                    flagged = validity in {Validity.TRUNCATED, Validity.UNDECODABLE}
                    assert not flagged or _bad_text(mission, name) or right == b"", name  # nothing, behind the end
                    assert _alike(value, right), name


def _bad_text(mission: Database, name: str) -> bool:
    return name in mission.types and mission.types[name].kind in {"string", "absolute_time"}


def _alike(value: Any, right: Any) -> bool:
    if isinstance(right, bytes):
        return bool(value.rstrip(b"\0") == right.rstrip(b"\0"))
    return bool(value == right or (value != value and right != right))


@given(layouts(), st.randoms())
def test_a_batch_of_variable_packets_is_its_packets(drawn: tuple[Database, list[bytes]], random: Any) -> None:
    """However packets are batched and ordered, each has the same values."""
    mission, packets = drawn
    whole = {int(row): (one, k) for one in Decoder(mission).decode(*batch(packets)) for k, row in enumerate(one.rows)}
    decoder = Decoder(mission)
    order = list(range(len(packets)))
    random.shuffle(order)
    turned = [
        (one, k, order[row])
        for one in decoder.decode(*batch([packets[k] for k in order]))
        for k, row in enumerate(one.rows)
    ]
    alone = [(one, 0, row) for row, packet in enumerate(packets) for one in decoder.decode(*batch([packet]))]
    for one, k, row in turned + alone:
        right, at = whole[row]
        assert list(one.columns) == list(right.columns)
        for name, column in one.columns.items():
            mine = {what: getattr(column, what)[k : k + 1] for what in ("raw", "engineering", "validity", "limit")}
            same(Column(name, **mine), right.columns[name], slice(at, at + 1))


@settings(max_examples=30)
@given(layouts())
def test_columns_made_together_are_those_made_one_by_one(drawn: tuple[Database, list[bytes]]) -> None:
    """However the columns of a batch are asked for, they are the same, in the order of the packet."""
    mission, packets = drawn
    asked, together = (Decoder(mission).decode(*batch(packets)) for _ in range(2))
    for one, other in zip(asked, together, strict=True):
        single = {name: one.columns[name] for name in one.columns}
        assert list(single) == list(dict(other.columns.items()))
        for name, column in other.columns.items():
            same(column, single[name], slice(None))
            assert column[5:] == single[name][5:] or column.time_offset_ns is not None


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_condition_on_one_turn_of_a_repetition(index: int) -> None:
    """A[1] is the second A of the packet, whether its turns are all alike or have to be walked one by one."""
    text = ParameterType("/X/T", "string", StringEncoding(None, "latin-1", b"\x00"))
    types = {name: ParameterType(name, "integer", IntegerEncoding()) for name in ("/X/A", "/X/B")} | {"/X/T": text}
    turn = Container("/X/TURN", (ParameterEntry("/X/A"), ParameterEntry("/X/T")))
    held = (
        ContainerEntry("/X/TURN", repeat=Repeat(3)),
        ParameterEntry("/X/B", condition=Comparison(f"/X/A[{index}]", 7)),
    )
    mission = Database(
        "X", types=types, parameters={name: Parameter(name, name) for name in types},
        containers={"/X/TURN": turn, "/X/P": Container("/X/P", held)}, roots=("/X/P",),
    )  # fmt: skip
    for at in range(3):
        packet = b"".join(bytes([7 if k == at else 1]) + b"ab"[:k] + b"\0" for k in range(3)) + b"\x63"
        (found,) = Decoder(mission).decode(*batch([packet]))
        there = "/X/B" in declared.parse(mission, "/X/P", packet)
        assert there == (at == index)
        assert (found.columns["/X/B"].validity.tolist() == [Validity.VALID]) == there
