"""The JSON Schema (2020-12) of our YAML form: what editors complete and check, and `gateway mdb schema` prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gateway_codecs.mdb.model import IntegerKind, Operator, Source
from gateway_codecs.mdb.yaml_form.definitions import HEADERS, KINDS
from gateway_codecs.mdb.yaml_form.meaning import SEVERITIES
from gateway_codecs.mdb.yaml_form.reader import FORMAT, FORMAT_KEY

Schema = dict[str, Any]
NULL: Schema = {"type": "null"}
FLAG: Schema = {"type": "boolean"}
TEXT: Schema = {"type": ["string", "number", "boolean"]}
"""A text; a number or word that stands unquoted is the text it is written with."""
NAME: Schema = {"type": ["string", "number", "boolean", "null"]}
NUMBER: Schema = {"type": "number"}
BOUND: Schema = {"type": ["number", "null"]}
VALUE: Schema = {"type": ["number", "string", "boolean"]}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the form."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Mission database",
        "description": "What a mission's packets hold and what their parameters mean (usoc-gateway).",
        **_keys(_top(), [FORMAT_KEY, "name"]),
        "$defs": _conditions() | _numbers() | _calibration() | _limits() | _definitions() | _containers(),
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _keys(properties: Mapping[str, Schema], required: Iterable[str] = ()) -> Schema:
    told: Schema = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return told | ({"required": list(required)} if required else {})


def _about(schema: Schema, text: str) -> Schema:
    return schema | {"description": text}


def _whole(least: int | None = None, most: int | None = None) -> Schema:
    bounds = {"minimum": least, "maximum": most}
    return {"type": "integer"} | {key: one for key, one in bounds.items() if one is not None}


def _list(items: Schema, least: int = 0, most: int | None = None) -> Schema:
    told: Schema = {"type": "array", "items": items}
    return told | ({"minItems": least} if least else {}) | ({"maxItems": most} if most is not None else {})


def _any(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def _one(words: Iterable[str]) -> Schema:
    return {"enum": list(words)}


def _named(schema: Schema, text: str) -> Schema:
    return {"type": ["object", "null"], "additionalProperties": schema, "description": text}


def _top() -> dict[str, Schema]:
    return {
        FORMAT_KEY: _about({"const": FORMAT}, "version of this form"),
        "name": _about(TEXT, "of the database; names in it belong to the system /NAME"),
        "version": _about(TEXT, "as its authors count"),
        "description": TEXT,
        "system": _about(TEXT, "the system that short names belong to; without it /NAME"),
        "header": _about(_ref("header"), "what packets begin with"),
        "types": _named(_ref("named_type"), "what several parameters share"),
        "parameters": _named(_ref("parameter"), "parameters that no packet defines: derived ones, constants"),
        "containers": _named(_ref("container"), "parts of packets: what is included in others, and bases"),
        "packets": _named(_ref("container"), "packets; they continue the header"),
        "roots": _about(_list(NAME), "where the identification of a packet begins; without it what has no base"),
    }


def _conditions() -> dict[str, Schema]:
    comparison = {
        "parameter": NAME,
        "raw": _about(FLAG, "compare what is in the packet, not what it means"),
        "operator": _one(str(one) for one in Operator),
        "value": VALUE,
        "other": _about(NAME, "compare with this parameter"),
    }
    keys = {"all": _list(_ref("condition")), "any": _list(_ref("condition")), "not": _ref("condition"), **comparison}
    return {
        "condition": _about(
            _any({"type": "string"}, _list(_ref("condition")), _keys(keys)),
            "MODE == SCIENCE and raw(COUNT) > 3; a list: all hold; or in full with all, any, not, parameter",
        ),
    }


def _numbers() -> dict[str, Schema]:
    integer = {
        "parameter": NAME,
        "slope": NUMBER,
        "intercept": NUMBER,
        "calibrated": FLAG,
        "cases": _list({"type": "array", "prefixItems": [_ref("condition"), _whole()], "minItems": 2, "maxItems": 2}),
    }
    size = _any(_ref("integer"), _keys({"rest_but": _whole(0)}))
    length = {"length_bits": _whole(0, 64), "length_unit_bits": _whole(1)}
    return {
        "integer": _about(
            _any(_whole(), {"type": "string"}, _keys(integer)),
            "a number, or the parameter of the packet that states it",
        ),
        "size": _about(size, "a number, the parameter that states it, rest (of the packet), or {rest_but: N}"),
        "dimensions": _about(
            _list(_any(_ref("integer"), _list(_ref("integer"), 2, 2))), "how many of each, or [first, last]"
        ),
        "text": _keys(
            {
                "octets": _ref("size"),
                "bits": _ref("size"),
                "charset": _about(TEXT, "utf-8 without it"),
                "terminator": _about(TEXT, "octets in hexadecimal digits that end the text"),
                **length,
                "max_bits": _whole(0),
            }
        ),
        "binary": _keys({"octets": _ref("size"), "bits": _ref("size"), **length}),
        "time_code": _any(
            _one(("cuc", "cds")),
            _keys(
                {
                    "code": _one(("cuc", "cds")),
                    "p_field": _one(("present", "implied")),
                    "coarse_octets": _whole(1, 7),
                    "fine_octets": _whole(0, 10),
                    "day_octets": _whole(2, 3),
                    "submillisecond": _one(("none", "us", "ps")),
                    "epoch": TEXT,
                    "scale": _one(("tai", "utc", "gps")),
                },
                ["code"],
            ),
        ),
    }


def _calibrator() -> dict[str, Schema]:
    state = _any(_list(TEXT, 2, 3), _keys({"else": TEXT}))
    return {
        "polynomial": _about(_list(NUMBER), "coefficients, that of raw ** 0 first"),
        "points": _about(_list(_list(NUMBER, 2, 2)), "[raw, value] with rising raw, joined by straight lines"),
        "order": _about(_whole(0, 1), "0: the value of the point before, 1: straight lines"),
        "extrapolate": _about(FLAG, "values outside the points too"),
        "logarithmic": _about(_list(NUMBER), "1 / (a + b ln raw + c (ln raw)^2 ...)"),
        "expression": _about({"type": ["string", "number"]}, "such as 1.8 * raw + 32"),
        "states": _about(
            _any({"type": "object", "additionalProperties": TEXT}, _list(state)),
            "labels by raw value: {0: OFF, 1: ON, 2..7: FAULT, else: unknown}",
        ),
    }


def _calibration() -> dict[str, Schema]:
    context = _keys({"when": _ref("condition"), **_calibrator()}, ["when"])
    return {"calibrations": _about(_list(context), "calibrators that hold under conditions; the first that holds")}


def _limits() -> dict[str, Schema]:
    interval = {"low": BOUND, "high": BOUND, "low_included": FLAG, "high_included": FLAG}
    change = {"change": BOUND, "rise": BOUND, "fall": BOUND}
    pair = _list(BOUND, 2, 2)
    limit = _any({"type": "string"}, pair, _keys({**interval, "inside": FLAG}), _keys(change))
    severity = {"severity": _one(SEVERITIES)}
    full = {
        "ranges": _list(_keys({**severity, **interval, "inside": FLAG}, ["severity"])),
        "labels": _list(_keys({**severity, "label": TEXT}, ["severity"])),
        "deltas": _list(_keys({**severity, **change}, ["severity"])),
        "otherwise": _about(_one(SEVERITIES), "of a label that is not named"),
        "of_raw": _about(FLAG, "check what is in the packet, not what it means"),
        "persistence": _about(_whole(1), "how many samples in a row violate before it is said"),
    }
    of_severity = _about(_any(limit, _list(limit)), "[low, high] that is well, a label that is not, {change: most}")
    limits = _keys({**dict.fromkeys(SEVERITIES, of_severity), **full})
    when = _keys({"when": _ref("condition"), "limits": _ref("limits")}, ["when"])
    return {
        "interval": _about(_any(pair, _keys(interval)), "[low, high], null for an open side"),
        "limits": limits,
        "limits_when": _about(_list(when), "limits that hold under conditions; the first that holds"),
    }


def _type_keys() -> dict[str, Schema]:
    return {
        "kind": _about(_one(KINDS), "what values are; without it what the other keys say"),
        "bits": _about(_whole(1, 64), "an integer of so many bits"),
        "signed": _about(FLAG, "two's complement"),
        "coding": _one(str(one) for one in IntegerKind),
        "float": _about(_one_of_numbers(16, 32, 64), "IEEE 754, bits"),
        "mil_std_1750a": _about(_one_of_numbers(32, 48), "MIL-STD-1750A, bits"),
        "byte_order": _about(
            _any(_one(("big", "little")), _list(_whole(0, 7))), "big without it; a list: weights of the octets as sent"
        ),
        "bit_order": _one(("most_significant_first", "least_significant_first")),
        "text": _ref("text"),
        "binary": _ref("binary"),
        "time_code": _about(_ref("time_code"), "a CCSDS time code as the field itself"),
        **_calibrator(),
        "calibrations": _ref("calibrations"),
        "limits": _ref("limits"),
        "limits_when": _ref("limits_when"),
        "valid_range": _ref("interval"),
        "valid_range_of_raw": FLAG,
        "unit": TEXT,
        "engineering": _about(_keys({"signed": FLAG, "bits": _whole(1, 64)}), "of the engineering value"),
        "time": _about(
            _keys({"scale": NUMBER, "offset": NUMBER, "epoch": TEXT, "after": NAME}),
            "a counted time: seconds = scale * raw + offset after epoch (TAI, J2000, UNIX, GPS, or a UTC time)",
        ),
        "boolean": _about(_list(TEXT, 2, 2), "texts of 0 and of 1"),
        "array": _keys({"of": _any(_ref("named_type"), NAME), "dimensions": _ref("dimensions")}),
        "members": _about(
            _any(
                {"type": "object", "additionalProperties": _any(_ref("named_type"), NAME)},
                _list({"type": "array", "prefixItems": [NAME, _any(_ref("named_type"), NAME)], "minItems": 2}),
            ),
            "of an aggregate: name and type",
        ),
    }


def _one_of_numbers(*numbers: int) -> Schema:
    return {"enum": list(numbers)}


def _parameter_keys() -> dict[str, Schema]:
    return {
        "type": _about(NAME, "the type that says the rest; without it the parameter has one of its own"),
        "source": _one(str(one) for one in Source),
        "valid_when": _about(_ref("condition"), "else the value is invalid"),
        "derived": _about({"type": ["string", "number"]}, "an expression of other parameters"),
        "initial": VALUE,
        "description": TEXT,
        "long_description": TEXT,
        "aliases": _list(TEXT),
        "decimals": _about(_whole(-1, 100), "how many to show"),
    }


def _definitions() -> dict[str, Schema]:
    parameter = {**_type_keys(), **_parameter_keys()}
    header = _keys(
        {
            "time": _ref("time_code"),
            "counter_bits": _whole(0, 64),
            "destination_bits": _whole(0, 64),
            "spare_bits": _whole(0),
        }
    )
    short = [_about(_whole(1, 64), "bits of an unsigned integer"), _about({"type": "string"}, "name of its type")]
    return {
        "named_type": _keys({**_type_keys(), "description": TEXT}),
        "parameter": _any(*short, _keys(parameter)),
        "header": _any(
            _one(HEADERS), {**_keys(dict.fromkeys(HEADERS, header)), "minProperties": 1, "maxProperties": 1}
        ),
    }


def _location_keys() -> dict[str, Schema]:
    return {
        "skip_bits": _about(_ref("integer"), "bits between the entry before and this one"),
        "at_bit": _about(_ref("integer"), "bits from the first of the packet"),
        "container_bit": _about(_ref("integer"), "bits from the first of the container, its bases included"),
        "from_end_bits": _about(_ref("integer"), "bits from its first to the end of the packet; moves nothing"),
        "align_bits": _about(_whole(1), "up to the next multiple"),
    }


def _entry_keys() -> dict[str, Schema]:
    ints = dict.fromkeys(("count", "offset_bits"), _ref("integer"))
    repeat = _keys({**ints, "period_ns": _whole(), "first_ns": _whole()}, ["count"])
    return {
        **_location_keys(),
        "when": _about(_ref("condition"), "it is there only then"),
        "repeat": _about(_any(_ref("integer"), repeat), "how many times it stands there"),
    }


def _containers() -> dict[str, Schema]:
    entry = {**_entry_keys(), "dimensions": _ref("dimensions")}
    named = _any(NULL, *_parameter_shorts(), _keys({**_type_keys(), **_parameter_keys(), **entry}))
    rows = (
        NAME,
        _keys({"spare_bits": _whole(0), "value": TEXT, **_location_keys()}, ["spare_bits"]),
        _keys({"container": NAME, **_entry_keys()}, ["container"]),
        _keys({"parameter": NAME, **entry}, ["parameter"]),
        {"type": "object", "additionalProperties": named, "minProperties": 1, "maxProperties": 1},
    )
    container = {
        "base": _about(NAME, "the container that it continues; without it packets continue the header"),
        "apid": _whole(0, 0x7FF),
        "type": _about(_whole(0, 0xFF), "PUS service type"),
        "subtype": _about(_whole(0, 0xFF), "PUS message subtype"),
        "when": _about(_ref("condition"), "what else must hold of its base"),
        "abstract": _about(FLAG, "no packet of itself"),
        "description": TEXT,
        "parameters": _about(_list(_ref("entry")), "what it holds, in order"),
    }
    return {"entry": _any(*rows), "container": {**_keys(container), "type": ["object", "null"]}}


def _parameter_shorts() -> tuple[Schema, Schema]:
    return _whole(1, 64), {"type": "string"}
