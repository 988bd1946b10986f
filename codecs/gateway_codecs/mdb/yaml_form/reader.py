"""Our YAML form of a mission database, read: everything that is wrong at once, each with its line."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as AnyMapping
from typing import Any

from gateway_codecs.mdb import headers
from gateway_codecs.mdb.model import (
    ALWAYS,
    AllOf,
    Container,
    ContainerEntry,
    Database,
    Entry,
    Match,
    Parameter,
    ParameterEntry,
    Where,
)
from gateway_codecs.mdb.report import Budget, DatabaseError, Reading
from gateway_codecs.mdb.yaml_form import definitions, fields, nodes, parts
from gateway_codecs.mdb.yaml_form.fields import Refused, given, keys, whole
from gateway_codecs.mdb.yaml_form.names import Kind, Names, unresolved
from gateway_codecs.mdb.yaml_form.nodes import Mapping, Node, Scalar

FORMAT_KEY, FORMAT = "mission_database", 1
TOP_KEYS = (
    FORMAT_KEY, "name", "version", "description", "system", "header", "types", "parameters", "containers", "packets",
    "roots",
)  # fmt: skip
CONTAINER_KEYS = ("base", "apid", "type", "subtype", "when", "abstract", "description", "parameters")
RESERVED = ("parameter", "container", "spare_bits")
ERRORS_MAX = 50
_APID_MAX, _OCTET_MAX = 0x7FF, 0xFF
_BUDGET = Budget()


def read_yaml(data: bytes, file: str, budget: Budget = _BUDGET) -> Reading:
    """Read our YAML form. `file` is the name for messages.

    Counts are of packets, containers, parameters, types and derived parameters. Raises DatabaseError for the first
    thing that is wrong, by lines; `others` of it are the rest, at most 50.
    """
    root = nodes.parse(data, file, budget)
    reader = _Reader(file, budget)
    return reader.read(root)


class _Reader:
    def __init__(self, file: str, budget: Budget) -> None:
        self._file, self._budget = file, budget
        self._errors: list[DatabaseError] = []
        self._refused: set[str] = set()  # names whose definitions are wrong
        self._names = Names("")
        self._types = definitions.Types(self._names, file)
        self._parameters: dict[str, Parameter] = {}
        self._containers: dict[str, Container] = {}
        self._header: headers.Header | None = None

    # ---- the document

    def read(self, root: Node) -> Reading:
        """Return the database of a document."""
        try:
            top = self._top(root)
            name = given(top, "name", fields.text, "")
            usual = f"/{name}" if name else ""
            self._names = Names(given(top, "system", fields.text, usual))
            version, description = (given(top, key, fields.text, "") for key in ("version", "description"))
        except Refused as error:
            raise error.placed(self._file, "") from None
        self._types = definitions.Types(self._names, self._file)
        self._read_header(top)
        self._read_sections(top)
        roots = self._roots(top)
        self._check_references()
        self._raise_errors()
        database = Database(name, version, description, self._types.types, self._parameters, self._containers, roots)
        return Reading(database, self._counts(top))

    @staticmethod
    def _top(root: Node) -> Mapping:
        if not isinstance(root, Mapping) or FORMAT_KEY not in root.items:
            hint = f"{FORMAT_KEY}: {FORMAT} stands at the top; gateway mdb schema says what else may"
            raise Refused(root, f"no mission database: the key {FORMAT_KEY} is missing", hint)
        whole(root.items[FORMAT_KEY], FORMAT_KEY, FORMAT, FORMAT)
        if "name" not in root.items:
            raise Refused(root, "the database has no name", "name: SOLAR")
        return keys(root, "the file", TOP_KEYS)

    def _read_header(self, top: Mapping) -> None:
        if "header" not in top.items:
            return
        with _Kept(self, "header"):
            form = definitions.read_header(top.items["header"])
            self._header = headers.header(self._names.system, form)
            self._types.types.update(self._header.types)
            self._parameters.update(self._header.parameters)
            self._containers.update(self._header.containers)

    def _read_sections(self, top: Mapping) -> None:
        for name, one, line in self._section(top, "types"):
            with _Kept(self, name):
                body = keys(one, "a type", definitions.NAMED_TYPE_KEYS)
                self._types.define(self._names.qualified(name), body, line)
        for name, one, line in self._section(top, "parameters"):
            with _Kept(self, name):
                self._define(name, one, line)
        for section in ("containers", "packets"):
            for name, one, line in self._section(top, section):
                with _Kept(self, name):
                    self._container(name, one, line, section == "packets")

    def _section(self, top: Mapping, section: str) -> Iterator[tuple[str, Node, int]]:
        node = top.items.get(section)
        if node is None or (isinstance(node, Scalar) and node.value is None):
            return
        if not isinstance(node, Mapping):
            self.keep(Refused(node, f"{section} is {fields.shown(node)}", f"{section} has a key for each name"), "")
            return
        for name, one in node.items.items():
            yield name, one, node.lines[name]

    def _roots(self, top: Mapping) -> tuple[str, ...]:
        if "roots" not in top.items:
            return usual_roots(self._containers)
        names: list[str] = []
        with _Kept(self, "roots"):
            for one in fields.items(top.items["roots"], "roots"):
                names.append(self._names.refer("container", fields.text(one, "a root"), one))
        return tuple(names)

    def _check_references(self) -> None:
        defined: dict[Kind, AnyMapping[str, object]] = {
            "parameter": self._parameters, "type": self._types.types, "container": self._containers
        }  # fmt: skip
        for error in unresolved(self._names, defined, frozenset(self._refused), ERRORS_MAX):
            self.keep(error, "")

    def _counts(self, top: Mapping) -> dict[str, int]:
        packets = top.items.get("packets")
        return {
            "packets": len(packets.items) if isinstance(packets, Mapping) else 0,
            "containers": len(self._containers),
            "parameters": len(self._parameters),
            "types": len(self._types.types),
            "derived": sum(bool(one.derivation) for one in self._parameters.values()),
        }

    # ---- parameters

    def _define(self, name: str, node: Node, line: int) -> str:
        full = self._names.qualified(name)
        if full in self._parameters:
            first = self._parameters[full].where.line
            hint = f"the first is in line {first}; a packet names it without keys" if first else "the header has it"
            raise Refused(line, f"the parameter {name[:80]} is defined twice", hint)
        self._parameters[full] = Parameter(full, full, where=Where(self._file, line))  # its name is taken
        if isinstance(node, Scalar):
            key = "type" if isinstance(node.value, str) else "bits"
            node = Mapping(node.line, {key: node}, {key: node.line})
        known = (*definitions.TYPE_KEYS, *definitions.PARAMETER_KEYS)
        body = keys(node, "a parameter", known)
        self._parameters[full] = definitions.read_parameter(full, body, line, self._types, self._names, self._file)
        return full

    # ---- containers

    def _container(self, name: str, node: Node, line: int, is_packet: bool) -> None:
        full = self._names.qualified(name)
        if full in self._containers:
            first = self._containers[full].where.line
            hint = f"the first is in line {first}" if first else "the header has it"
            raise Refused(line, f"the container {name[:80]} is defined twice", hint)
        self._containers[full] = Container(full, where=Where(self._file, line))  # its name is taken
        if isinstance(node, Scalar) and node.value is None:
            node = Mapping(line, {}, {})
        body = keys(node, "a packet" if is_packet else "a container", CONTAINER_KEYS)
        base = self._base(body, is_packet)
        restriction = self._restriction(body)
        rows = given(body, "parameters", fields.items, [])
        self._containers[full] = Container(
            full,
            tuple(entry for row in rows for entry in self._entry(row)),
            base,
            restriction,
            given(body, "abstract", fields.flag, False),
            given(body, "description", fields.text, ""),
            Where(self._file, line),
        )

    def _base(self, body: Mapping, is_packet: bool) -> str:
        if "base" in body.items:
            one = body.items["base"]
            return self._names.refer("container", fields.text(one, "base"), one)
        return self._header.container if is_packet and self._header is not None else ""

    def _restriction(self, body: Mapping) -> Match:
        told: dict[str, Node] = {key: body.items[key] for key in ("apid", "type", "subtype") if key in body.items}
        for key in told:
            if self._header is None:
                hint = "header: ccsds (or pus_a, pus_c) at the top says where it stands"
                raise Refused(body.lines[key], f"{key} without a header", hint)
            if key != "apid" and self._header.service_type not in self._parameters:
                raise Refused(body.lines[key], f"{key} in a header without one", "header: pus_a or pus_c has it")
        terms = self._header_terms(told)
        if "when" in body.items:
            match = parts.read_match(body.items["when"], "when", self._names)
            if not terms:
                return match
            terms += match.terms if isinstance(match, AllOf) else (match,)
        return headers.all_of(terms)

    def _header_terms(self, told: AnyMapping[str, Node]) -> list[Match]:
        if self._header is None:
            return []
        numbers = {key: whole(one, key, 0, _APID_MAX if key == "apid" else _OCTET_MAX) for key, one in told.items()}
        return header_terms(self._header, numbers)

    def _entry(self, row: Node) -> list[Entry]:
        """Return the entry of a row; none when it is wrong, and kept so."""
        try:
            return [self._read_entry(row)]
        except Refused as error:
            self.keep(error, _name_of(row))
            return []

    def _read_entry(self, row: Node) -> Entry:
        if isinstance(row, Scalar):
            return ParameterEntry(self._names.refer("parameter", fields.text(row, "a parameter"), row))
        if not isinstance(row, Mapping) or not row.items:
            raise Refused(row, f"an entry is {fields.shown(row)}", "an entry is a name, or a name with keys")
        if "spare_bits" in row.items:
            return definitions.read_spare(row, self._names)
        if "container" in row.items:
            return self._container_entry(row)
        if "parameter" in row.items:
            told = keys(row, "an entry", ("parameter", *definitions.ENTRY_KEYS))
            name = told.items["parameter"]
            return self._parameter_entry(self._names.refer("parameter", fields.text(name, "parameter"), name), told)
        name_text, *others = row.items
        if others:
            hint = f"indent {others[0]} below {name_text}, or begin a new entry with -"
            raise Refused(row.lines[others[0]], f"an entry has two names, {name_text[:40]} and {others[0][:40]}", hint)
        return self._named_entry(name_text, row.items[name_text], row.lines[name_text])

    def _named_entry(self, name: str, node: Node, line: int) -> Entry:
        if isinstance(node, Scalar) and node.value is None:
            return ParameterEntry(self._names.refer("parameter", name, line))
        if isinstance(node, Scalar):
            return ParameterEntry(self._define(name, node, line))
        every = (*definitions.ENTRY_KEYS, *definitions.TYPE_KEYS, *definitions.PARAMETER_KEYS)
        body = keys(node, name[:80], every)
        mine = {key: one for key, one in body.items.items() if key not in definitions.ENTRY_KEYS}
        full = self._names.qualified(name)
        if mine:
            self._define(name, Mapping(body.line, mine, body.lines), line)
        else:
            self._names.refer("parameter", name, line)
        return self._parameter_entry(full, body)

    def _parameter_entry(self, full: str, body: Mapping) -> ParameterEntry:
        names = self._names
        return ParameterEntry(
            full,
            parts.read_location(body, names),
            given(body, "when", lambda one, key: parts.read_match(one, key, names), ALWAYS),
            given(body, "repeat", lambda one, key: parts.read_repeat(one, key, names), None),
            given(body, "dimensions", lambda one, key: parts.read_dimensions(one, key, names), ()),
        )

    def _container_entry(self, row: Mapping) -> ContainerEntry:
        names = self._names
        keys(row, "an entry", ("container", *parts.LOCATION_KEYS, "when", "repeat"))
        name = row.items["container"]
        return ContainerEntry(
            names.refer("container", fields.text(name, "container"), name),
            parts.read_location(row, names),
            given(row, "when", lambda one, key: parts.read_match(one, key, names), ALWAYS),
            given(row, "repeat", lambda one, key: parts.read_repeat(one, key, names), None),
        )

    # ---- errors

    def keep(self, error: Refused, within: str) -> None:
        """Keep an error, to be raised with all others; what is `within` is not missed besides."""
        self._refused.add(self._names.qualified(within))
        self._errors.append(error.placed(self._file, within))
        if len(self._errors) >= ERRORS_MAX:
            self._raise_errors()

    def _raise_errors(self) -> None:
        if self._errors:
            first, *others = sorted(self._errors, key=lambda one: one.where.line)
            raise DatabaseError(first.message, first.where, first.hint, tuple(others)) from None


class _Kept:
    """Keeps what is refused within it, so that the rest is read too."""

    def __init__(self, reader: _Reader, within: str) -> None:
        self._reader, self._within = reader, within[:80]

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if not isinstance(error, Refused):
            return False
        self._reader.keep(error, self._within)
        return True


def _name_of(row: Node) -> str:
    return next(iter(row.items))[:80] if isinstance(row, Mapping) and row.items else ""


def header_terms(header: headers.Header, numbers: AnyMapping[str, int]) -> list[Match]:
    """Return what must hold in the header; `numbers` by the keys apid, type and subtype."""
    match = header.of_packet(numbers.get("apid"), numbers.get("type"), numbers.get("subtype"))
    return list(match.terms) if isinstance(match, AllOf) else [match]


def usual_roots(containers: AnyMapping[str, Container]) -> tuple[str, ...]:
    """Return the containers with which identification begins when the file does not say so."""
    within = {
        entry.container for one in containers.values() for entry in one.entries if isinstance(entry, ContainerEntry)
    }
    return tuple(name for name, one in containers.items() if not one.base and name not in within)
