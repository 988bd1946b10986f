"""The headers that most packets share, as definitions: the primary header of space packets and those of the PUS.

A source that describes only what stands behind the headers (SCOS-2000 MIB, ccsdspy CSV, our YAML) gets them from here,
so that the same header has the same names in every database. Standards: CCSDS 133.0-B-2, 4.1.3; ECSS-E-70-41A, 5.4
(PUS-A); ECSS-E-ST-70-41C, 7.4.3 (PUS-C).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gateway_codecs.mdb.model import (
    ALWAYS,
    AllOf,
    Comparison,
    Container,
    Entry,
    FixedEntry,
    IntegerEncoding,
    Match,
    Parameter,
    ParameterEntry,
    ParameterType,
    TimeEncoding,
)
from gateway_codecs.time_codes import TimeCode

HeaderKind = Literal["ccsds", "pus_a", "pus_c"]

PRIMARY = (
    ("CCSDS_VERSION", 3, "packet version number"),
    ("CCSDS_TYPE", 1, "packet type: 0 telemetry, 1 telecommand"),
    ("CCSDS_SEC_HDR", 1, "secondary header flag"),
    ("CCSDS_APID", 11, "application process identifier"),
    ("CCSDS_SEQ_FLAGS", 2, "sequence flags: 1 first, 0 middle, 2 last, 3 whole"),
    ("CCSDS_SEQ_COUNT", 14, "packet sequence count"),
    ("CCSDS_LENGTH", 16, "octets of the packet data field, less one"),
)
TYPE, SUBTYPE = ("PUS_TYPE", 8, "service type"), ("PUS_SUBTYPE", 8, "message subtype")
TIME_STATUS = ("PUS_TIME_STATUS", 4, "spacecraft time reference status")
COUNTER, DESTINATION = ("PUS_COUNTER", "message type counter"), ("PUS_DESTINATION", "destination identifier")
CONTAINERS: Mapping[HeaderKind, str] = {"ccsds": "CCSDS", "pus_a": "PUS", "pus_c": "PUS"}


@dataclass(frozen=True, slots=True)
class HeaderForm:
    """Which headers packets begin with; `time` None = there is none, 0 bits = there is no such field.

    `counter_bits` and `destination_bits` None are those of the standard: 16 in PUS-C, none in PUS-A.
    """

    kind: HeaderKind = "ccsds"
    time: TimeCode | None = None
    counter_bits: int | None = None
    destination_bits: int | None = None
    spare_bits: int = 0


@dataclass(frozen=True, slots=True)
class Header:
    """The definitions of headers, and the names by which packets refer to them. `container` is what they continue."""

    types: Mapping[str, ParameterType]
    parameters: Mapping[str, Parameter]
    containers: Mapping[str, Container]
    root: str
    container: str
    apid: str
    service_type: str
    service_subtype: str

    def of_packet(
        self, apid: int | None = None, service_type: int | None = None, service_subtype: int | None = None
    ) -> Match:
        """Return the restriction of a packet by its header; None = any."""
        told = ((self.apid, apid), (self.service_type, service_type), (self.service_subtype, service_subtype))
        return all_of([Comparison(name, value) for name, value in told if value is not None])


def all_of(terms: list[Match]) -> Match:
    """Return the condition that all terms hold, as short as it can be."""
    return terms[0] if len(terms) == 1 else AllOf(tuple(terms)) if terms else ALWAYS


def header(system: str, form: HeaderForm = HeaderForm()) -> Header:
    """Return the definitions of `form` under the qualified name `system` (`/NAME`)."""
    fields = _Fields(system)
    root = f"{system}/CCSDS"
    containers = {
        root: Container(root, tuple(fields.integer(*one) for one in PRIMARY), abstract=True, description="space packet")
    }
    name = f"{system}/{CONTAINERS[form.kind]}"
    if form.kind != "ccsds":
        restriction = Comparison(f"{system}/CCSDS_SEC_HDR", 1)
        about = "PUS-A telemetry" if form.kind == "pus_a" else "PUS-C telemetry"
        containers[name] = Container(name, fields.pus(form), root, restriction, True, about)
    elif form.time is not None:
        name = f"{system}/CCSDS_TIMED"
        restriction = Comparison(f"{system}/CCSDS_SEC_HDR", 1)
        entries: tuple[Entry, ...] = (fields.time("CCSDS_TIME", form.time), *_spare(form.spare_bits))
        containers[name] = Container(name, entries, root, restriction, True, "space packet with a time")
    names = (f"{system}/CCSDS_APID", f"{system}/PUS_TYPE", f"{system}/PUS_SUBTYPE")
    return Header(fields.types, fields.parameters, containers, root, name, *names)


class _Fields:
    """Makes a parameter and its type for each field."""

    def __init__(self, system: str) -> None:
        self._system = system
        self.types: dict[str, ParameterType] = {}
        self.parameters: dict[str, Parameter] = {}

    def pus(self, form: HeaderForm) -> tuple[Entry, ...]:
        """Return the entries of a PUS telemetry secondary header."""
        usual = 16 if form.kind == "pus_c" else 0
        counter = usual if form.counter_bits is None else form.counter_bits
        destination = usual if form.destination_bits is None else form.destination_bits
        if form.kind == "pus_c":
            first: tuple[Entry, ...] = (
                self.integer("PUS_VERSION", 4, "PUS version number"),
                self.integer(*TIME_STATUS),
            )
        else:
            first = (FixedEntry(1), self.integer("PUS_VERSION", 3, "PUS version number"), FixedEntry(4))
        return (
            *first,
            self.integer(*TYPE),
            self.integer(*SUBTYPE),
            *([self.integer(COUNTER[0], counter, COUNTER[1])] if counter else []),
            *([self.integer(DESTINATION[0], destination, DESTINATION[1])] if destination else []),
            *([self.time("PUS_TIME", form.time)] if form.time is not None else []),
            *_spare(form.spare_bits),
        )

    def integer(self, name: str, size_bits: int, about: str) -> ParameterEntry:
        """Return the entry of an unsigned integer."""
        full = f"{self._system}/{name}"
        self.types[full] = ParameterType(full, "integer", IntegerEncoding(size_bits), signed=False)
        self.parameters[full] = Parameter(full, full, description=about)
        return ParameterEntry(full)

    def time(self, name: str, code: TimeCode) -> ParameterEntry:
        """Return the entry of a time."""
        full = f"{self._system}/{name}"
        self.types[full] = ParameterType(full, "absolute_time", TimeEncoding(code))
        self.parameters[full] = Parameter(full, full, description="generation time")
        return ParameterEntry(full)


def _spare(bits: int) -> tuple[FixedEntry, ...]:
    return (FixedEntry(bits),) if bits else ()
