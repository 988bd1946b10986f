"""Types, parameters, containers and headers as YAML has them; both ways, as in `parts`."""

from __future__ import annotations

import dataclasses
from typing import Any, cast, get_args

from gateway_codecs.mdb.headers import HeaderForm, HeaderKind
from gateway_codecs.mdb.model import (
    ALWAYS,
    BinaryEncoding,
    Calibration,
    Encoding,
    FixedEntry,
    IntegerEncoding,
    IntegerKind,
    Member,
    Parameter,
    ParameterType,
    Source,
    States,
    StringEncoding,
    TimeEncoding,
    TimeMeaning,
    TypeKind,
    Where,
)
from gateway_codecs.mdb.yaml_form import fields, meaning, parts
from gateway_codecs.mdb.yaml_form.fields import Refused, given, keys, wanted, whole
from gateway_codecs.mdb.yaml_form.names import Names
from gateway_codecs.mdb.yaml_form.nodes import Mapping, Node, Scalar

KINDS: tuple[TypeKind, ...] = get_args(TypeKind)
TIME_KEYS = ("scale", "offset", "epoch", "after")
ARRAY_KEYS = ("of", "dimensions")
ENGINEERING_KEYS = ("signed", "bits")
TYPE_KEYS = (
    "kind", *parts.ENCODING_KEYS, *meaning.CALIBRATOR_KEYS, "calibrations", "limits", "limits_when", "valid_range",
    "valid_range_of_raw", "unit", "engineering", "time", "boolean", "array", "members",
)  # fmt: skip
NAMED_TYPE_KEYS = (*TYPE_KEYS, "description")
PARAMETER_KEYS = (
    "type", "source", "valid_when", "derived", "initial", "description", "long_description", "aliases", "decimals"
)  # fmt: skip
ENTRY_KEYS = (*parts.LOCATION_KEYS, "when", "repeat", "dimensions")
SPARE_KEYS = ("spare_bits", "value", *parts.LOCATION_KEYS)
HEADER_KEYS = ("time", "counter_bits", "destination_bits", "spare_bits")
HEADERS: tuple[HeaderKind, ...] = get_args(HeaderKind)
ELEMENT, MEMBER = "[]", "."


# ---- types ------------------------------------------------------------------------------------------------------


def usual_kind(encoding: Encoding | None, calibration: Calibration, shape: str, time: TimeMeaning | None) -> TypeKind:
    """Return the kind that a type has when it does not say so. `shape` is array, aggregate, boolean, or nothing."""
    if shape:
        return cast(TypeKind, shape)
    if time is not None and not (time.epoch or time.offset_from):
        return "relative_time"
    if time is not None or isinstance(encoding, TimeEncoding):
        return "absolute_time"
    if isinstance(calibration.default, States):
        return "enumerated"
    if isinstance(encoding, StringEncoding | BinaryEncoding):
        return "string" if isinstance(encoding, StringEncoding) else "binary"
    return "integer" if isinstance(encoding, IntegerEncoding) and calibration.default is None else "float"


def usual_sign(kind: TypeKind, encoding: Encoding | None) -> bool:
    """Whether values are signed when the type does not say so: an integer is what its encoding is."""
    unsigned = {IntegerKind.UNSIGNED, IntegerKind.BCD, IntegerKind.PACKED_BCD}
    return not (kind == "integer" and isinstance(encoding, IntegerEncoding) and encoding.kind in unsigned)


class Types:
    """Reads types, those within types too; what was read is in `types`."""

    def __init__(self, names: Names, file: str) -> None:
        self._names, self._file = names, file
        self.types: dict[str, ParameterType] = {}

    def define(self, full: str, node: Mapping, line: int) -> None:
        """Read the type `full` from its keys."""
        if full in self.types:
            first = self.types[full].where.line
            raise Refused(line, f"the type {self._names.short(full)} is defined twice", f"the first is in line {first}")
        self.types[full] = ParameterType(full, "integer", where=Where(self._file, line))  # its name is taken
        what = self._names.short(full)
        encoding = parts.read_encoding(node, what, self._names)
        calibration = meaning.read_calibration(node, what, self._names)
        time = self._time(node.items["time"]) if "time" in node.items else None
        shape = next((kind for key, kind in _SHAPES.items() if key in node.items), "")
        usual = usual_kind(encoding, calibration, shape, time)
        kind = given(node, "kind", lambda one, key: cast(TypeKind, fields.word(one, key, KINDS)), usual)
        texts = self._texts(node.items["boolean"]) if "boolean" in node.items else ("False", "True")
        array = keys(node.items["array"], "array", ARRAY_KEYS) if "array" in node.items else Mapping(0, {}, {})
        engineering = node.items.get("engineering", Mapping(0, {}, {}))
        size = keys(engineering, "engineering", ENGINEERING_KEYS)
        self.types[full] = ParameterType(
            full,
            kind,
            encoding,
            calibration,
            meaning.read_alarms(node, self._names),
            given(node, "valid_range", meaning.read_interval, None),
            given(node, "valid_range_of_raw", fields.flag, False),
            given(node, "unit", fields.text, ""),
            given(size, "signed", fields.flag, usual_sign(kind, encoding)),
            given(size, "bits", lambda one, key: whole(one, key, 1, 64), 64),
            time,
            *texts,
            self._of(array.items["of"], full + ELEMENT) if "of" in array.items else "",
            given(array, "dimensions", lambda one, key: parts.read_dimensions(one, key, self._names), ()),
            self._members(node.items["members"], full) if "members" in node.items else (),
            given(node, "description", fields.text, ""),
            Where(self._file, line),
        )

    def _time(self, node: Node) -> TimeMeaning:
        told = keys(node, "time", TIME_KEYS)
        after = told.items.get("after")
        name = self._names.refer("parameter", fields.text(after, "after"), after) if after is not None else ""
        epoch = given(told, "epoch", fields.text, "")
        return TimeMeaning(given(told, "scale", fields.real, 1.0), given(told, "offset", fields.real, 0.0), epoch, name)

    @staticmethod
    def _texts(node: Node) -> tuple[str, str]:
        pair = [fields.text(one, "boolean") for one in fields.items(node, "boolean")]
        if len(pair) != 2:
            raise Refused(node, f"boolean has {len(pair)} texts", "boolean: [text of 0, text of 1]")
        return pair[0], pair[1]

    def _of(self, node: Node, full: str) -> str:
        """Return the type that is named, or read the one that is described in its place."""
        if isinstance(node, Mapping):
            self.define(full, keys(node, "of", NAMED_TYPE_KEYS), node.line)
            return full
        return self._names.refer("type", fields.text(node, "a type"), node)

    def _members(self, node: Node, full: str) -> tuple[Member, ...]:
        if isinstance(node, Mapping):
            return tuple(Member(name, self._of(one, full + MEMBER + name)) for name, one in node.items.items())
        rows = [fields.items(one, "a member") for one in fields.items(node, "members")]
        if any(len(row) != 2 for row in rows):
            raise Refused(node, "members is a list of something else", "a member is [name, type]")
        return tuple(Member(fields.text(name, "a member"), self._of(one, full + MEMBER + fields.text(name, "a member")))
                     for name, one in rows)  # fmt: skip


_SHAPES = {"array": "array", "members": "aggregate", "boolean": "boolean"}


def write_type(one: ParameterType, names: Names, within: dict[str, ParameterType]) -> dict[str, Any]:
    """Return the keys of a type; `within` are the types that are written inside others."""
    told = parts.write_encoding(one.encoding, names) | meaning.write_calibration(one.calibration, names)
    if one.time is not None:
        told["time"] = _write_time(one.time, names)
    if (one.zero_text, one.one_text) != ("False", "True"):
        told["boolean"] = [one.zero_text, one.one_text]
    if one.element_type or one.dimensions:
        array = {"of": _write_of(one.element_type, one.name + ELEMENT, names, within)} if one.element_type else {}
        told["array"] = array | (
            {"dimensions": parts.write_dimensions(one.dimensions, names)} if one.dimensions else {}
        )
    if one.members:
        told["members"] = _write_members(one, names, within)
    shape = next((kind for key, kind in _SHAPES.items() if key in told), "")
    if one.kind != usual_kind(one.encoding, one.calibration, shape, one.time):
        told["kind"] = one.kind
    if one.unit:
        told["unit"] = one.unit
    told |= meaning.write_alarms(one.alarms, names)
    if one.valid_range is not None:
        told["valid_range"] = meaning.write_interval(one.valid_range)
    if one.valid_range_of_raw:
        told["valid_range_of_raw"] = True
    sign = {} if one.signed == usual_sign(one.kind, one.encoding) else {"signed": one.signed}
    engineering = sign | ({} if one.size_bits == 64 else {"bits": one.size_bits})
    return told | ({"engineering": engineering} if engineering else {})


def _write_time(time: TimeMeaning, names: Names) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if time.scale != 1.0:
        told["scale"] = meaning.short_real(time.scale)
    if repr(float(time.offset)) != "0.0":
        told["offset"] = meaning.short_real(time.offset)
    if time.epoch:
        told["epoch"] = time.epoch
    return told | ({"after": names.short(time.offset_from)} if time.offset_from else {})


def _write_of(full: str, own: str, names: Names, within: dict[str, ParameterType]) -> Any:
    if full == own and full in within:
        return write_named_type(within[full], names, within)
    return names.short(full)


def _write_members(one: ParameterType, names: Names, within: dict[str, ParameterType]) -> Any:
    rows = [
        (each.name, _write_of(each.type_name, one.name + MEMBER + each.name, names, within)) for each in one.members
    ]
    told = dict(rows)
    return told if len(told) == len(rows) else [list(row) for row in rows]


def write_named_type(one: ParameterType, names: Names, within: dict[str, ParameterType]) -> dict[str, Any]:
    """Return the keys of a type that stands under `types` or within another."""
    return write_type(one, names, within) | ({"description": one.description} if one.description else {})


def written_within(types: dict[str, ParameterType]) -> dict[str, ParameterType]:
    """Return the types that are written inside the array or aggregate that they are part of."""
    found: dict[str, ParameterType] = {}
    for one in types.values():
        names = [one.element_type] if one.element_type == one.name + ELEMENT else []
        members = [each for each in one.members if each.type_name == one.name + MEMBER + each.name]
        single = [each for each in members if sum(other.name == each.name for other in one.members) == 1]
        for name in [*names, *(each.type_name for each in single)]:
            if name in types and name not in found:
                found[name] = types[name]
    return found


# ---- parameters -------------------------------------------------------------------------------------------------


def read_parameter(full: str, node: Mapping, line: int, types: Types, names: Names, file: str) -> Parameter:
    """Return a parameter from its keys, and define the type that they describe."""
    described = [key for key in node.items if key in TYPE_KEYS]
    if "type" in node.items:
        if described:
            hint = "the type says it; or remove type, and the parameter has one of its own"
            raise Refused(node.lines[described[0]], f"type and {described[0]}", hint)
        one = node.items["type"]
        type_name = names.refer("type", fields.text(one, "type"), one)
    else:
        type_name = full
        types.define(full, Mapping(node.line, {key: node.items[key] for key in described}, node.lines), line)
    derived = node.items.get("derived")
    source = Source.DERIVED if derived is not None else Source.TELEMETERED
    initial = node.items.get("initial")
    if initial is not None and (not isinstance(initial, Scalar) or initial.value is None):
        raise wanted(initial, "initial", "a number, a text, true or false")
    return Parameter(
        full,
        type_name,
        given(node, "source", lambda each, key: fields.member(each, key, Source), source),
        given(node, "valid_when", lambda each, key: parts.read_match(each, key, names), ALWAYS),
        names.expression(fields.text(derived, "derived"), derived) if derived is not None else "",
        initial.value if initial is not None else None,
        given(node, "description", fields.text, ""),
        given(node, "long_description", fields.text, ""),
        tuple(fields.text(each, "an alias") for each in given(node, "aliases", fields.items, [])),
        given(node, "decimals", lambda each, key: whole(each, key, -1, 100), -1),
        Where(file, line),
    )


def write_parameter(
    one: Parameter, own: ParameterType | None, names: Names, within: dict[str, ParameterType]
) -> dict[str, Any]:
    """Return the keys of a parameter; with those of its type when that is its own."""
    told: dict[str, Any] = {"type": names.short(one.type_name)} if own is None else write_type(own, names, within)
    if one.derivation:
        told["derived"] = names.short_expression(one.derivation)
    if one.source is not (Source.DERIVED if one.derivation else Source.TELEMETERED):
        told["source"] = str(one.source)
    if not parts.is_always(one.valid_when):
        told["valid_when"] = parts.write_match(one.valid_when, names)
    if one.initial is not None:
        told["initial"] = one.initial
    told |= {key: getattr(one, key) for key in ("description", "long_description") if getattr(one, key)}
    if one.aliases:
        told["aliases"] = list(one.aliases)
    return told | ({"decimals": one.decimals} if one.decimals != -1 else {})


# ---- headers and padding ----------------------------------------------------------------------------------------


def read_header(node: Node) -> HeaderForm:
    """Return the headers that packets begin with."""
    if isinstance(node, Scalar):
        return HeaderForm(cast(HeaderKind, fields.word(node, "header", HEADERS)))
    if not isinstance(node, Mapping) or len(node.items) != 1 or next(iter(node.items)) not in HEADERS:
        raise wanted(node, "header", f"one of {', '.join(HEADERS)}; or with keys, as in pus_c: {{time: cuc}}")
    kind, one = next(iter(node.items.items()))
    told = keys(one, kind, HEADER_KEYS)

    def bits(each: Node, key: str) -> int:
        return whole(each, key, 0, 64)

    return HeaderForm(
        cast(HeaderKind, kind),
        parts.read_time_code(told.items["time"], "time") if "time" in told.items else None,
        bits(told.items["counter_bits"], "counter_bits") if "counter_bits" in told.items else None,
        bits(told.items["destination_bits"], "destination_bits") if "destination_bits" in told.items else None,
        given(told, "spare_bits", lambda each, key: whole(each, key, 0, parts.BITS_MAX), 0),
    )


def write_header(form: HeaderForm) -> Any:
    """Return the headers as they are read."""
    told: dict[str, Any] = {} if form.time is None else {"time": parts.write_time_code(form.time)}
    usual = HeaderForm(form.kind)
    for key in HEADER_KEYS[1:]:
        if getattr(form, key) != getattr(usual, key):
            told[key] = getattr(form, key)
    return {form.kind: told} if told else form.kind


def read_spare(node: Mapping, names: Names) -> FixedEntry:
    """Return bits that carry no parameter."""
    keys(node, "spare_bits", SPARE_KEYS)
    size = whole(node.items["spare_bits"], "spare_bits", 0, parts.BITS_MAX)
    return FixedEntry(size, given(node, "value", fields.octets, b""), parts.read_location(node, names))


def write_spare(entry: FixedEntry, names: Names) -> dict[str, Any]:
    """Return padding as it is read."""
    told: dict[str, Any] = {"spare_bits": entry.size_bits}
    return told | ({"value": entry.value.hex()} if entry.value else {}) | parts.write_location(entry.location, names)


def same(one: Any, other: Any) -> bool:
    """Whether two parts of the model are the same, `where` apart and 1, 1.0 and true told apart."""
    return repr(_bare(one)) == repr(_bare(other))


def _bare(value: Any) -> Any:
    return dataclasses.replace(value, where=Where()) if hasattr(value, "where") else value
