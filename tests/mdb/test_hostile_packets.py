"""Hostile packets: whatever they say, nothing is raised, the others are untouched, and memory is bounded by octets."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway_codecs.mdb import shapes
from gateway_codecs.mdb.bounds import refuse_absurd
from gateway_codecs.mdb.columns import Decoded, Validity
from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.mdb.model import (
    Alarms,
    BinaryEncoding,
    Calibration,
    Comparison,
    Container,
    ContainerEntry,
    ContextCalibrator,
    Database,
    Dimension,
    DynamicInteger,
    Encoding,
    IntegerEncoding,
    IntegerKind,
    Location,
    Parameter,
    ParameterEntry,
    ParameterType,
    Polynomial,
    Reference,
    Repeat,
    Source,
    StringEncoding,
)
from gateway_codecs.mdb.report import DatabaseError
from tests.conftest import SEEDS
from tests.mdb.databases import databases
from tests.mdb.test_decoder import batch

FLAGGED = {Validity.TRUNCATED, Validity.UNDECODABLE, Validity.ABSENT}
Values = dict[str, tuple[Any, Any, Any, Any]]


def values(found: list[Decoded], row: int) -> Values | None:
    """Return everything that is known of one packet."""
    mine = [(one, int(np.flatnonzero(one.rows == row)[0])) for one in found if row in one.rows]
    assert len(mine) <= 1
    return {
        name: (column.raw[k].tolist(), column.engineering[k].tolist(), column.validity[k].tolist(),
               column.limit[k].tolist())
        for one, k in mine for name, column in one.columns.items()
    } if mine else None  # fmt: skip


def met(database: Database) -> Database:
    """The same, with every container without base as a root and none abstract: packets are of some type."""
    containers = {name: replace(one, abstract=False) for name, one in database.containers.items()}
    return replace(
        database, containers=containers, roots=tuple(name for name, one in containers.items() if not one.base)
    )


packets = st.lists(
    st.binary(max_size=40) | st.sampled_from([b"", b"\xff" * 40, bytes(40), b"\xff", b"\x80" * 17]), max_size=6
)


@settings(
    max_examples=max(SEEDS // 4, 50), deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)  # fmt: skip
@given(databases().map(met), packets, st.binary(min_size=8, max_size=8))
def test_no_packet_of_any_database_raises_or_touches_another(
    mission: Database, hostile: list[bytes], other: bytes
) -> None:
    """Whatever the database and the packets: values or flags, and a packet has the same among them and alone."""
    try:
        refuse_absurd(mission)
    except DatabaseError:
        return  # it is refused when it is loaded
    alone = values(Decoder(mission).decode(*batch([other])), 0)
    together = Decoder(mission).decode(*batch([*hostile, other]))
    for row in range(len(hostile)):
        values(together, row)
    assert repr(_short(values(together, len(hostile)))) == repr(_short(alone))  # NaN is NaN


def _short(found: Values | None) -> Any:
    """Octets without the zeros with which the longest of a batch fills the others."""
    if found is None:
        return None
    return {name: [_unfilled(part) for part in parts] for name, parts in found.items()}


def _unfilled(part: Any) -> Any:
    if isinstance(part, bytes):
        return part.rstrip(b"\0")
    if isinstance(part, list) and part and all(isinstance(one, int) and not isinstance(one, bool) for one in part):
        return bytes(one & 0xFF for one in part).rstrip(b"\0"), max(part), min(part)
    return [_unfilled(one) for one in part] if isinstance(part, list) else part


# ---- counts that lie ----

UINT32 = IntegerEncoding(32)
INT32 = IntegerEncoding(32, IntegerKind.TWOS_COMPLEMENT)


def counted(encoding: Encoding, *entries: Any, **types: ParameterType) -> Database:
    """A packet that begins with a number of 32 bits, N, which says what is in the rest."""
    every = {
        "N": ParameterType("/X/N", "integer", encoding),
        "U8": ParameterType("/X/U8", "integer", IntegerEncoding()),
    }
    every |= types
    parameters = {f"/X/{name}": Parameter(f"/X/{name}", f"/X/{name}") for name in every}
    inner = Container("/X/INNER", (ParameterEntry("/X/U8"), ParameterEntry("/X/N")))
    packet = Container("/X/P", (ParameterEntry("/X/N"), *entries))
    return Database(
        "X", types={f"/X/{name}": replace(one, name=f"/X/{name}") for name, one in every.items()},
        parameters=parameters, containers={"/X/P": packet, "/X/INNER": inner}, roots=("/X/P",),
    )  # fmt: skip


N = DynamicInteger("/X/N")
MANY = DynamicInteger("/X/N", 1 << 40, -(1 << 50))
GRID = ParameterType("/X/A", "array", element_type="/X/U8", dimensions=(Dimension(0, N), Dimension(0, N)))
COUNTED: dict[str, Database] = {}
for name, (kind, stated) in {"unsigned": (UINT32, N), "signed": (INT32, N), "scaled": (INT32, MANY)}.items():
    COUNTED |= {
        f"{name} repeats": counted(kind, ParameterEntry("/X/U8", repeat=Repeat(stated))),
        f"{name} containers": counted(kind, ContainerEntry("/X/INNER", repeat=Repeat(stated))),
        f"{name} gaps": counted(kind, ParameterEntry("/X/U8", repeat=Repeat(9, stated))),
        f"{name} places": counted(kind, ParameterEntry("/X/U8", Location(Reference.PACKET, stated))),
        f"{name} steps back": counted(kind, ContainerEntry("/X/INNER", Location(bits=stated), repeat=Repeat(3, -48))),
        f"{name} grid": counted(kind, ParameterEntry("/X/A"), A=GRID),
        f"{name} bounds": counted(
            kind, ParameterEntry("/X/A"), A=replace(GRID, dimensions=(Dimension(stated, N), Dimension(0, 2)))
        ),
        f"{name} octets": counted(
            kind, ParameterEntry("/X/A"), A=ParameterType("/X/A", "binary", BinaryEncoding(stated))
        ),
        f"{name} text": counted(
            kind, ParameterEntry("/X/A"), A=ParameterType("/X/A", "string", StringEncoding(stated))
        ),
        f"{name} tag": counted(
            kind, ParameterEntry("/X/A"),
            A=ParameterType("/X/A", "string", StringEncoding(None, tag_bits=32, tag_unit_bits=1 << 40)),
        ),
    }  # fmt: skip
LIES = [0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, 65_542, 1 << 20, 0]
MEMORY_PER_OCTET = 400
"""A sample has raw and engineering value, validity and limit, and what is between: tens of octets for one received."""


@pytest.mark.parametrize("name", COUNTED)
def test_counts_that_lie(name: str) -> None:
    """64 KiB packets that promise 2^32 values, or less than none: flags, good neighbours, memory by their octets."""
    body = bytes(range(256)) * 255 + bytes(250)
    hostile = [lie.to_bytes(4, "big") + body for lie in LIES] + [b"\xff\xff\xff\xff", b"\xff", b""]
    good = (1).to_bytes(4, "big") + bytes(range(60))
    decoder = Decoder(COUNTED[name])
    alone = values(decoder.decode(*batch([good])), 0)
    octets, offset, length = batch([*hostile, good])
    tracemalloc.start()
    try:
        found = decoder.decode(octets, offset, length)
        every = [values(found, row) for row in (len(hostile) - 1, len(hostile) - 2, len(hostile))]
        assert tracemalloc.get_traced_memory()[1] < MEMORY_PER_OCTET * len(octets)
    finally:
        tracemalloc.stop()
    assert repr(_short(every[2])) == repr(_short(alone))
    assert sorted(row for one in found for row in one.rows.tolist()) == list(range(len(hostile) + 1))
    for empty in every[:2]:
        assert empty is not None
        assert {flag for _, _, flags, _ in empty.values() for flag in np.ravel(flags).tolist()} <= FLAGGED


def test_a_type_that_is_too_long_for_any_packet() -> None:
    """A fixed box of 2^31 bits is truncated in every packet, and nothing of its size is made."""
    box = ParameterType("/X/A", "binary", BinaryEncoding(1 << 31))
    tracemalloc.start()
    try:
        (found,) = Decoder(counted(UINT32, ParameterEntry("/X/A"), A=box)).decode(*batch([bytes(100)] * 50))
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()
    assert set(found.columns["/X/A"].validity.tolist()) == {Validity.TRUNCATED}
    assert set(found.columns["/X/N"].validity.tolist()) == {Validity.VALID}


def test_what_is_repeated_no_times() -> None:
    """A packet of nothing but what its database repeats no times: an empty column of whatever coding."""
    little = ParameterType("", "integer", IntegerEncoding(24, byte_order=(0, 1, 2)))
    mission = counted(UINT32, A=little)
    packet = Container("/X/P", (ParameterEntry("/X/A", repeat=Repeat(0)),))
    (found,) = Decoder(replace(mission, containers={"/X/P": packet})).decode(*batch([bytes(8)] * 2))
    assert found.columns["/X/A"].engineering.shape == (2, 0)


def test_a_derived_parameter_whose_context_names_an_array() -> None:
    """A condition sees the last element, or the one that it names, also where it decides on derived values."""
    ramp = Polynomial((0.0, 2.0))
    kind = ParameterType(
        "/X/D", "float",
        calibration=Calibration(None, (
            ContextCalibrator(Comparison("/X/A[1]", 7), Polynomial((100.0,))),
            ContextCalibrator(Comparison("/X/A", 3), ramp),
        )),
        alarms=Alarms(),
    )  # fmt: skip
    array = ParameterType("/X/A", "array", element_type="/X/U8", dimensions=(Dimension(0, 2),))
    mission = counted(UINT32, ParameterEntry("/X/A"), A=array, D=kind)
    derived = Parameter("/X/D", "/X/D", Source.DERIVED, derivation="'/X/N' + 1")
    mission = replace(mission, parameters={**mission.parameters, "/X/D": derived})
    sent = [b"\0\0\0\1" + bytes(rest) for rest in ((0, 0, 3), (0, 7, 3), (3, 3, 0))]
    (found,) = Decoder(mission).decode(*batch(sent))
    assert found.columns["/X/D"].engineering.tolist() == [4.0, 100.0, 2.0]


# ---- layouts that ask ----

ASKING = counted(
    UINT32, ContainerEntry("/X/TURN", repeat=Repeat(100_000)),
    FLAG=ParameterType("", "integer", IntegerEncoding(1)),
)  # fmt: skip
TURN = Container("/X/TURN", (ParameterEntry("/X/FLAG"), ParameterEntry("/X/FLAG", condition=Comparison("/X/FLAG", 1))))
ASKING = replace(ASKING, containers={**ASKING.containers, "/X/TURN": TURN})
"""Each bit says whether another follows: a question for each of them, and a shape for each packet."""


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many packets were asked, question by question: each takes a tenth of a millisecond or two."""
    asked: list[int] = []

    def counting(question: Any, plan: Any, octet: int, packets: shapes.Packets) -> Any:
        asked.append(len(packets))
        return ask(question, plan, octet, packets)

    ask = shapes.ask
    monkeypatch.setattr(shapes, "ask", counting)
    return asked


@pytest.mark.parametrize(("octets", "most"), [(20, 210), (600, 350), (65_000, 4_000)])
def test_a_packet_is_asked_as_much_as_its_size_allows(octets: int, most: int, questions: list[int]) -> None:
    """The work for one packet is bounded by its octets; what the walk reached keeps its values."""
    packet = np.random.default_rng(1).bytes(octets)
    (found,) = Decoder(ASKING).decode(*batch([packet]))
    assert len(questions) <= most
    assert found.columns["/X/N"].engineering.tolist() == [int.from_bytes(packet[:4], "big")]
    flags = found.columns["/X/FLAG"].validity[0]
    assert int((flags == Validity.VALID).sum()) >= min(most // 2, 8 * octets - 40)
    if octets > 20:
        assert (flags == Validity.UNDECODABLE).any()


def test_a_batch_is_asked_as_much_as_its_size_allows(questions: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of hostile packets, each of a shape of its own: bounded work, counted, and good ones are not touched."""
    monkeypatch.setattr(shapes, "WORK_OF_ANY", 1_000)
    draw = np.random.default_rng(2)
    good = [bytes([0, 0, 0, k]) + b"\0" * 9 for k in range(40)]  # one shape, without a flag that is set
    sent = [draw.bytes(100) for _ in range(80)]
    sent[10:10] = good
    decoder = Decoder(ASKING)
    found = decoder.decode(*batch(sent))
    work = shapes.WORK_OF_ANY + shapes.WORK_PER_OCTET * sum(map(len, sent))
    assert len(questions) <= work // shapes.QUESTION_WORK + 1
    assert sorted(row for one in found for row in one.rows.tolist()) == list(range(len(sent)))
    (mine,) = (one for one in found if 10 in one.rows)
    assert mine.rows.tolist() == list(range(10, 50))
    assert mine.columns["/X/N"].engineering.tolist() == list(range(40))
    assert (mine.columns["/X/FLAG"].validity[:, :72] == Validity.VALID).all()
    left = max(found, key=len)
    assert decoder.given_up == {"/X/P": len(left)}
    assert len(left) > 60
    assert (left.columns["/X/FLAG"].validity[:, 1:] == Validity.UNDECODABLE).all()
    told = [int.from_bytes(sent[row][:4], "big") for row in left.rows.tolist()]
    assert left.columns["/X/N"].engineering.tolist() == told  # it stands before the first question
    assert (left.columns["/X/N"].validity == Validity.VALID).all()


def test_packets_of_shapes_of_their_own_are_decoded_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Good packets of a variable layout, hundreds of them and hardly two of one shape: none is given up."""
    monkeypatch.setattr(shapes, "WORK_OF_ANY", 0)
    text = ParameterType("", "string", StringEncoding(None, terminator=b"\0"))
    mission = counted(UINT32, ParameterEntry("/X/A"), ParameterEntry("/X/B"), A=text, B=replace(text, name="/X/B"))
    draw = np.random.default_rng(3)
    lengths = draw.integers(1, 60, (400, 2))
    sent = [bytes(4) + b"a" * int(a) + b"\0" + b"b" * int(b) + b"\0" for a, b in lengths]
    decoder = Decoder(mission)
    found = decoder.decode(*batch(sent))
    assert not decoder.given_up
    assert all((column.validity == Validity.VALID).all() for one in found for column in one.columns.values())
