"""Small XTCE documents for tests: only what a test is about has to be written."""

from __future__ import annotations

from gateway_codecs.mdb.report import Reading, Remark
from gateway_codecs.mdb.xtce import read_xtce

NAMESPACE = "http://www.omg.org/spec/XTCE/20180204"


def document(types: str = "", parameters: str = "", containers: str = "", more: str = "", name: str = "S") -> bytes:
    """Return a document of one system; parameters and containers each in a line of their own."""
    return f"""<?xml version="1.0"?>
<SpaceSystem name="{name}" xmlns="{NAMESPACE}">
<TelemetryMetaData>
<ParameterTypeSet>{types}</ParameterTypeSet>
<ParameterSet>{parameters}</ParameterSet>
<ContainerSet>{containers}</ContainerSet>
{more}
</TelemetryMetaData>
</SpaceSystem>""".encode()


def read(types: str = "", parameters: str = "", containers: str = "", more: str = "") -> Reading:
    """Return what is read of `document`."""
    return read_xtce(document(types, parameters, containers, more), "t.xml")


def unsigned(name: str, bits: int = 8, inside: str = "") -> str:
    """Return an IntegerParameterType with an unsigned encoding and a parameter type name."""
    return (
        f'<IntegerParameterType name="{name}" signed="false">'
        f'<IntegerDataEncoding sizeInBits="{bits}">{inside}</IntegerDataEncoding></IntegerParameterType>'
    )


def parameter(name: str, of: str, more: str = "") -> str:
    """Return a Parameter."""
    return f'<Parameter name="{name}" parameterTypeRef="{of}">{more}</Parameter>'


def container(name: str, *entries: str, base: str = "", more: str = "") -> str:
    """Return a SequenceContainer; entries are parameter names or elements; `base` is `NAME` or a whole element."""
    inside = "".join(one if one.startswith("<") else f'<ParameterRefEntry parameterRef="{one}"/>' for one in entries)
    if base and not base.startswith("<"):
        base = f'<BaseContainer containerRef="{base}"/>'
    return f'<SequenceContainer name="{name}" {more}><EntryList>{inside}</EntryList>{base}</SequenceContainer>'


def about(reading: Reading, what: str) -> list[Remark]:
    """Return the remarks whose `what` or `why` has a text."""
    return [remark for remark in reading.remarks if what in remark.what or what in remark.why]
