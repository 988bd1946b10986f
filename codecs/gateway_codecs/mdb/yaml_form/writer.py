"""Our YAML form of a mission database, written: short where it can be, whole always."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from gateway_codecs.mdb import headers
from gateway_codecs.mdb.headers import HeaderForm, HeaderKind
from gateway_codecs.mdb.model import (
    AllOf,
    Comparison,
    Container,
    ContainerEntry,
    Database,
    Entry,
    FixedEntry,
    IntegerEncoding,
    Match,
    TimeEncoding,
)
from gateway_codecs.mdb.report import DatabaseError
from gateway_codecs.mdb.yaml_form import definitions, nodes, parts
from gateway_codecs.mdb.yaml_form.names import Names
from gateway_codecs.mdb.yaml_form.reader import FORMAT, FORMAT_KEY, RESERVED, header_terms, usual_roots
from gateway_codecs.time_codes import TimeCode

T = TypeVar("T")


def write_yaml(database: Database) -> str:
    """Return the database in our YAML form; `read_yaml` gives it back.

    Raises DatabaseError for names that are not qualified, and for definitions under another name than their own.
    """
    _check_names(database)
    return nodes.write(_Writer(database).document())


def _check_names(database: Database) -> None:
    for definitions_ in (database.types, database.parameters, database.containers):
        for name, one in definitions_.items():
            if not name.startswith("/"):
                raise DatabaseError(f"the name {name!r} is not qualified", hint="a qualified name begins with /")
            if name != one.name:
                raise DatabaseError(f"{name!r} is the definition of {one.name!r}", hint="one name for one definition")


class _Writer:
    """Writes packets first, so that each parameter is defined where it first stands; what is left has its section."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._names = Names(_system(database))
        self._types = dict(database.types)
        self._parameters = dict(database.parameters)
        self._containers = dict(database.containers)
        self._header, self._form = self._take_header()
        self._within = definitions.written_within(self._types)
        self._own = {name for name in self._parameters if self._is_own_type(name)}

    def _is_own_type(self, name: str) -> bool:
        """Whether a parameter's type is written with it: it has its name, and nothing that only a type can say."""
        mine = self._parameters[name].type_name == name and name in self._types and name not in self._within
        return mine and not self._types[name].description

    def document(self) -> dict[str, Any]:
        """Return the file as plain values."""
        database, names = self._database, self._names
        top: dict[str, Any] = {FORMAT_KEY: FORMAT, "name": database.name}
        top |= {key: getattr(database, key) for key in ("version", "description") if getattr(database, key)}
        if names.system != (f"/{database.name}" if database.name else ""):
            top["system"] = names.system
        if self._form is not None:
            top["header"] = definitions.write_header(self._form)
        held, sent = self._sorted()
        containers = {names.short(name): self._container(one, False) for name, one in held.items()}
        packets = {names.short(name): self._container(one, True) for name, one in sent.items()}
        parameters = {names.short(name): _shortest(self._define(name)) for name in list(self._parameters)}
        types = {
            names.short(name): definitions.write_named_type(one, names, self._within)
            for name, one in self._types.items()
            if name not in self._within and name not in self._own
        }
        made: dict[str, Container] = {} if self._header is None else dict(self._header.containers)
        if usual_roots(made | held | sent) != database.roots:
            top["roots"] = [names.short(name) for name in database.roots]
        sections = {"types": types, "parameters": parameters, "containers": containers, "packets": packets}
        return top | {key: section for key, section in sections.items() if section}

    # ---- headers

    def _take_header(self) -> tuple[headers.Header | None, HeaderForm | None]:
        """Return the header whose definitions are all here as they are, and take them out of the rest."""
        for form in self._header_forms():
            made = headers.header(self._names.system, form)
            typed = _held(made.types, self._types) and _held(made.parameters, self._parameters)
            if typed and _held(made.containers, self._containers):
                self._types = _without(self._types, made.types)
                self._parameters = _without(self._parameters, made.parameters)
                self._containers = _without(self._containers, made.containers)
                return made, form
        return None, None

    def _header_forms(self) -> list[HeaderForm]:
        """Return the forms that a header here could have, by its fields."""
        forms = []
        kinds: tuple[tuple[HeaderKind, str, str], ...] = (
            ("pus_c", "PUS", "PUS"), ("pus_a", "PUS", "PUS"), ("ccsds", "CCSDS", "CCSDS_TIMED")
        )  # fmt: skip
        for kind, prefix, container in kinds:
            spare = self._spare_behind(container)
            code = self._time_of(f"{prefix}_TIME")
            usual = 16 if kind == "pus_c" else 0
            bits = [self._bits_of(f"{prefix}_{name}") for name in ("COUNTER", "DESTINATION")]
            counter, destination = (None if one == usual else one for one in bits)
            if kind != "ccsds" or code is not None:
                forms.append(HeaderForm(kind, code, counter, destination, spare))
        return [*forms, HeaderForm("ccsds")]

    def _spare_behind(self, container: str) -> int:
        one = self._containers.get(f"{self._names.system}/{container}")
        last = one.entries[-1] if one is not None and one.entries else None
        return last.size_bits if isinstance(last, FixedEntry) else 0

    def _bits_of(self, name: str) -> int:
        one = self._types.get(f"{self._names.system}/{name}")
        return one.encoding.size_bits if one is not None and isinstance(one.encoding, IntegerEncoding) else 0

    def _time_of(self, name: str) -> TimeCode | None:
        one = self._types.get(f"{self._names.system}/{name}")
        return one.encoding.code if one is not None and isinstance(one.encoding, TimeEncoding) else None

    # ---- parameters

    def _define(self, name: str) -> dict[str, Any]:
        """Return the keys of a parameter, which is then written."""
        own = self._types[name] if name in self._own else None
        return definitions.write_parameter(self._parameters.pop(name), own, self._names, self._within)

    # ---- containers

    def _sorted(self) -> tuple[dict[str, Container], dict[str, Container]]:
        """Return what is no packet, and what is one: it continues another, or is not used within others."""
        within = {
            entry.container
            for one in self._containers.values()
            for entry in one.entries
            if isinstance(entry, ContainerEntry)
        }
        packets = {
            name: one
            for name, one in self._containers.items()
            if one.base or (self._header is None and name not in within)
        }
        return _without(self._containers, packets), packets

    def _container(self, one: Container, is_packet: bool) -> dict[str, Any]:
        told: dict[str, Any] = {}
        usual = self._header.container if is_packet and self._header is not None else ""
        if one.base != usual:
            told["base"] = self._names.short(one.base)
        told |= self._restriction(one.restriction)
        if one.abstract:
            told["abstract"] = True
        if one.description:
            told["description"] = one.description
        return told | ({"parameters": [self._entry(entry) for entry in one.entries]} if one.entries else {})

    def _restriction(self, restriction: Match) -> dict[str, Any]:
        if parts.is_always(restriction):
            return {}
        for numbers, rest in self._splits(restriction):
            if rest is None:
                return numbers
            return numbers | {"when": parts.write_match(rest, self._names)}
        return {"when": parts.write_match(restriction, self._names)}

    def _splits(self, restriction: Match) -> list[tuple[dict[str, Any], Match | None]]:
        """Return what the header says of a packet, and the rest; nothing when it does not begin so."""
        if self._header is None:
            return []
        terms = list(restriction.terms) if isinstance(restriction, AllOf) else [restriction]
        numbers: dict[str, Any] = {}
        fields = (
            ("apid", self._header.apid, 0x7FF),
            ("type", self._header.service_type, 0xFF),
            ("subtype", self._header.service_subtype, 0xFF),
        )
        for key, name, most in fields:
            if terms and name in self._header.parameters and _is_number(terms[0], name, most):
                numbers[key] = terms.pop(0).value  # type: ignore[union-attr]
        rest = None if not terms else terms[0] if len(terms) == 1 else AllOf(tuple(terms))
        back = header_terms(self._header, numbers)
        if rest is not None:
            back += rest.terms if isinstance(rest, AllOf) else (rest,)
        return [(numbers, rest)] if numbers and parts.same_match(headers.all_of(back), restriction) else []

    def _entry(self, entry: Entry) -> Any:
        if isinstance(entry, FixedEntry):
            return definitions.write_spare(entry, self._names)
        told = parts.write_location(entry.location, self._names)
        if not parts.is_always(entry.condition):
            told["when"] = parts.write_match(entry.condition, self._names)
        if entry.repeat is not None:
            told["repeat"] = parts.write_repeat(entry.repeat, self._names)
        if isinstance(entry, ContainerEntry):
            return {"container": self._names.short(entry.container)} | told
        if entry.dimensions:
            told["dimensions"] = parts.write_dimensions(entry.dimensions, self._names)
        name = self._names.short(entry.parameter)
        if name in RESERVED:
            return {"parameter": name} | told
        if self._can_stand_here(entry.parameter):
            defined = self._define(entry.parameter)
            return {name: defined | told if told else _shortest(defined)}
        return {name: told} if told else name

    def _can_stand_here(self, name: str) -> bool:
        """Whether a parameter is not written yet, and has a key that shows that it is defined."""
        one = self._parameters.get(name)
        if one is None:
            return False
        own = self._types[name] if name in self._own else None
        return bool(definitions.write_parameter(one, own, self._names, self._within))


def _system(database: Database) -> str:
    """Return the system that short names are in: that of all that is defined, else the database's own."""
    first = {name.split("/")[1] for name in (*database.parameters, *database.containers, *database.types)}
    own = f"/{database.name}" if database.name else ""
    return f"/{first.pop()}" if len(first) == 1 else own


def _held(made: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    return all(name in here and definitions.same(one, here[name]) for name, one in made.items())


def _without(here: dict[str, T], gone: Mapping[str, Any]) -> dict[str, T]:
    return {name: one for name, one in here.items() if name not in gone}


def _shortest(told: dict[str, Any]) -> Any:
    """Return the size alone, or the name of the type, where that is all."""
    return next(iter(told.values())) if list(told) in (["bits"], ["type"]) else told


def _is_number(match: Match, name: str, most: int) -> bool:
    if not isinstance(match, Comparison) or type(match.value) is not int or not 0 <= match.value <= most:
        return False
    return parts.same_match(match, Comparison(name, match.value))
