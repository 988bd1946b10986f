"""Who names whom in a database: every reference with what makes it, for checks and comparisons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from gateway_codecs.mdb.expression import parse
from gateway_codecs.mdb.model import (
    BinaryEncoding,
    Calibrator,
    Comparison,
    ContainerEntry,
    Database,
    DynamicInteger,
    Encoding,
    Entry,
    Expression,
    FixedEntry,
    LookupInteger,
    Match,
    Not,
    Parameter,
    ParameterEntry,
    ParameterType,
    Repeat,
    Size,
    StringEncoding,
    Where,
)
from gateway_codecs.mdb.report import DatabaseError

RAW = "raw"


@dataclass(frozen=True, slots=True)
class Ref:
    """`of` names the `kind` called `name`."""

    kind: Literal["parameter", "type", "container"]
    name: str
    of: str
    where: Where


def of(database: Database) -> Iterator[Ref]:
    """Yield every reference of a database."""
    for one in database.types.values():
        for name in [one.element_type] if one.element_type else []:
            yield Ref("type", name, one.name, one.where)
        for member in one.members:
            yield Ref("type", member.type_name, one.name, one.where)
        for name in in_type(one):
            yield Ref("parameter", name, one.name, one.where)
    for parameter in database.parameters.values():
        yield Ref("type", parameter.type_name, parameter.name, parameter.where)
        for name in (*derived_from(parameter), *in_match(parameter.valid_when)):
            yield Ref("parameter", name, parameter.name, parameter.where)
    for container in database.containers.values():
        if container.base:
            yield Ref("container", container.base, container.name, container.where)
        for name in in_match(container.restriction):
            yield Ref("parameter", name, container.name, container.where)
        for entry in container.entries:
            if isinstance(entry, ContainerEntry):
                yield Ref("container", entry.container, container.name, container.where)
            for name in in_entry(entry):
                yield Ref("parameter", name, container.name, container.where)


def defined_part(database: Database, name: str) -> str | None:
    """Return the parameter that a name means: itself, or what it is a member or an element of; None = there is none."""
    if name in database.parameters:
        return name
    tail = name.rfind("/")
    for k in range(len(name) - 1, tail, -1):
        if name[k] in ".[" and name[:k] in database.parameters:
            return name[:k]
    return None


def is_defined(database: Database, reference: Ref) -> bool:
    """Whether what is named is there."""
    if reference.kind == "parameter":
        return defined_part(database, reference.name) is not None
    return reference.name in (database.types if reference.kind == "type" else database.containers)


def in_match(match: Match) -> list[str]:
    """Return the parameters of a condition."""
    if isinstance(match, Comparison):
        return [match.parameter, *([match.other] if match.other else [])]
    terms = [match.term] if isinstance(match, Not) else list(match.terms)
    return [name for term in terms for name in in_match(term)]


def in_expression(text: str) -> list[str]:
    """Return the parameters of an expression, none of one that cannot be understood."""
    try:
        return [name for name in parse(text).names if name != RAW]
    except DatabaseError:
        return []


def derived_from(one: Parameter) -> list[str]:
    """Return the parameters that a parameter is computed from."""
    return in_expression(one.derivation) if one.derivation else []


def in_size(size: Size | None) -> list[str]:
    """Return the parameters that state a number."""
    if isinstance(size, DynamicInteger):
        return [size.parameter]
    if isinstance(size, LookupInteger):
        return [name for match, _ in size.cases for name in in_match(match)]
    return []


def in_encoding(encoding: Encoding | None) -> list[str]:
    """Return the parameters that state a size."""
    return in_size(encoding.size) if isinstance(encoding, StringEncoding | BinaryEncoding) else []


def in_type(one: ParameterType) -> list[str]:
    """Return the parameters that a type depends on."""
    names = in_encoding(one.encoding) + in_meaning(one)
    for dimension in one.dimensions:
        names += in_size(dimension.first) + in_size(dimension.last)
    return names


def in_values(one: ParameterType) -> list[str]:
    """Return the parameters that decide which value a raw one has, or how large it is."""
    names = in_encoding(one.encoding) + _in_calibrator(one.calibration.default)
    for context in one.calibration.contexts:
        names += in_match(context.context) + _in_calibrator(context.calibrator)
    return names + ([one.time.offset_from] if one.time is not None and one.time.offset_from else [])


def in_meaning(one: ParameterType) -> list[str]:
    """Return the parameters that decide what a raw value means, and how it is checked."""
    names = _in_calibrator(one.calibration.default)
    for context in one.calibration.contexts:
        names += in_match(context.context) + _in_calibrator(context.calibrator)
    for limits in one.alarms.contexts:
        names += in_match(limits.context)
    return names + ([one.time.offset_from] if one.time is not None and one.time.offset_from else [])


def _in_calibrator(one: Calibrator | None) -> list[str]:
    return in_expression(one.text) if isinstance(one, Expression) else []


def _in_repeat(repeat: Repeat | None) -> list[str]:
    return in_size(repeat.count) + in_size(repeat.offset_bits) if repeat is not None else []


def in_entry(entry: Entry) -> list[str]:
    """Return the parameters that an entry names: its own, and those that say where, whether and how often it is."""
    names = in_size(entry.location.bits)
    if isinstance(entry, FixedEntry):
        return names
    names += in_match(entry.condition) + _in_repeat(entry.repeat)
    if isinstance(entry, ParameterEntry):
        names = [entry.parameter, *names]
        for dimension in entry.dimensions:
            names += in_size(dimension.first) + in_size(dimension.last)
    return names


def stating(database: Database, entry: Entry) -> list[str]:
    """Return the parameters that must stand earlier in the packet: those that say where an entry is, and how large."""
    names = in_size(entry.location.bits)
    if isinstance(entry, FixedEntry):
        return names
    names += _in_repeat(entry.repeat)
    if isinstance(entry, ParameterEntry) and entry.parameter in database.parameters:
        one = database.types.get(database.parameters[entry.parameter].type_name)
        dimensions = entry.dimensions or (one.dimensions if one is not None else ())
        for dimension in dimensions:
            names += in_size(dimension.first) + in_size(dimension.last)
        names += in_encoding(one.encoding) if one is not None else []
    return names


def wrong_expressions(database: Database, one: Parameter) -> Iterator[tuple[str, str]]:
    """Yield (expression, what is wrong with it) of a parameter and its type."""
    told = [one.derivation] if one.derivation else []
    kind = database.types.get(one.type_name)
    if kind is not None:
        every = [kind.calibration.default, *(context.calibrator for context in kind.calibration.contexts)]
        told += [each.text for each in every if isinstance(each, Expression)]
    for text in told:
        try:
            parse(text)
        except DatabaseError as error:
            yield text, error.message
