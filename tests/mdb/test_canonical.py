"""The text that a gateway keeps of a database."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given

from gateway_codecs.mdb import canonical
from gateway_codecs.mdb.model import (
    Alarms,
    AllOf,
    Calibration,
    Comparison,
    Container,
    Database,
    DynamicInteger,
    FixedEntry,
    IntegerEncoding,
    IntegerKind,
    Interval,
    Limits,
    Location,
    Parameter,
    ParameterEntry,
    ParameterType,
    Polynomial,
    RangeLimit,
    Reference,
    Severity,
    Source,
    TimeEncoding,
    Where,
)
from gateway_codecs.mdb.report import DatabaseError
from gateway_codecs.time_codes import TimeCode
from tests.mdb.databases import databases

VOLTS = ParameterType(
    "/X/volts",
    "float",
    IntegerEncoding(12, IntegerKind.SIGN_MAGNITUDE),
    Calibration(Polynomial((0.0, 0.5))),
    Alarms(Limits((RangeLimit(Severity.CRITICAL, Interval(0, float("inf"))),))),
)
TIME = ParameterType("/X/time", "absolute_time", TimeEncoding(TimeCode("cds")))
DATABASE = Database(
    "X",
    types={one.name: one for one in (VOLTS, TIME)},
    parameters={
        "/X/A": Parameter("/X/A", VOLTS.name, Source.DERIVED, valid_when=AllOf((Comparison("/X/B", 3),))),
        "/X/B": Parameter("/X/B", TIME.name, where=Where("x.xml", 7)),
    },
    containers={
        "/X/C": Container(
            "/X/C",
            (
                ParameterEntry("/X/B"),
                FixedEntry(3, b"\x01"),
                ParameterEntry("/X/A", Location(Reference.PACKET, DynamicInteger("/X/B"))),
            ),
        )
    },
    roots=("/X/C",),
)


def test_the_text_comes_back_as_the_same_database() -> None:
    """A database kept as text decodes as it did: nothing of it is lost."""
    text = canonical.to_text(DATABASE)
    assert canonical.from_text(text) == DATABASE
    assert canonical.to_text(canonical.from_text(text)) == text


def test_which_container_is_the_first_is_kept() -> None:
    """Of containers with one base the first that holds is a packet's: their order is a part of the version."""
    base = DATABASE.containers["/X/C"]
    heirs = {name: Container(name, (), base.name) for name in ("/X/N", "/X/A1", "/X/Z")}
    of = dataclasses.replace(DATABASE, containers={base.name: base, **heirs})
    again = canonical.from_text(canonical.to_text(of))
    assert [name for name in again.containers if name in heirs] == [*heirs]
    assert (again, canonical.to_text(again)) == (of, canonical.to_text(of))
    other = dataclasses.replace(of, containers=dict(sorted(of.containers.items())))
    assert canonical.digest(other) != canonical.digest(of)
    assert b'"order"' not in canonical.to_text(other)
    for order in ('"/X/N"', '["/X/NONE"]', '["/X/N","/X/N"]', "[3]"):
        text = canonical.to_text(other)[:-1] + f',"order":{order}}}'.encode()
        with pytest.raises(DatabaseError, match="order"):
            canonical.from_text(text)


def test_only_what_decodes_is_in_the_hash() -> None:
    """The version of a database changes with its meaning, not with the lines of its files."""
    moved = {**DATABASE.parameters, "/X/B": dataclasses.replace(DATABASE.parameters["/X/B"], where=Where("y.xml", 9))}
    assert canonical.digest(dataclasses.replace(DATABASE, parameters=moved)) == canonical.digest(DATABASE)
    other = dataclasses.replace(VOLTS, calibration=Calibration(Polynomial((0.0, 0.25))))
    corrected = dataclasses.replace(DATABASE, types={**DATABASE.types, VOLTS.name: other})
    assert canonical.digest(corrected) != canonical.digest(DATABASE)


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{}", b'{"format":"else"}', b"[" * 100_000, b'{"format":"usoc-gateway mission database 1"}'],
)
def test_other_texts_are_refused(text: bytes) -> None:
    """A damaged store says so and raises nothing else."""
    with pytest.raises(DatabaseError):
        canonical.from_text(text)


@given(databases())
def test_any_database_comes_back(database: Database) -> None:
    """Whatever the model can say is kept, whole."""
    text = canonical.to_text(database)
    assert canonical.from_text(text) == database
    assert canonical.to_text(canonical.from_text(text)) == text
