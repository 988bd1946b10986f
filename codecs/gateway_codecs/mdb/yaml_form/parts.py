"""The parts of definitions that packets depend on: conditions, stated numbers, encodings, locations; both ways.

Each `read_` takes a node and gives the part of the model, each `write_` gives the plain value that reads so. The short
form is used wherever it says the same.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from gateway_codecs.mdb.model import (
    ALWAYS,
    BIG,
    AllOf,
    AnyOf,
    BinaryEncoding,
    Comparison,
    Dimension,
    DynamicInteger,
    Encoding,
    FloatEncoding,
    FloatKind,
    Integer,
    IntegerEncoding,
    IntegerKind,
    Location,
    LookupInteger,
    Match,
    Not,
    Operator,
    Reference,
    Repeat,
    RestOfPacket,
    Size,
    StringEncoding,
    TimeEncoding,
    little,
)
from gateway_codecs.mdb.report import DatabaseError
from gateway_codecs.mdb.yaml_form import conditions, fields
from gateway_codecs.mdb.yaml_form.fields import Refused, given, keys, wanted, whole
from gateway_codecs.mdb.yaml_form.names import Names
from gateway_codecs.mdb.yaml_form.nodes import Mapping, Node, Scalar, Sequence
from gateway_codecs.time_codes import TimeCode, TimeCodeError

REST = "rest"
BITS_MAX = 1 << 40
COMPARISON_KEYS = ("parameter", "raw", "operator", "value", "other")
MATCH_KEYS = ("all", "any", "not", *COMPARISON_KEYS)
INTEGER_KEYS = ("parameter", "slope", "intercept", "calibrated", "cases")
TEXT_KEYS = ("octets", "bits", "charset", "terminator", "length_bits", "length_unit_bits", "max_bits")
BINARY_KEYS = ("octets", "bits", "length_bits", "length_unit_bits")
TIME_CODE_KEYS = tuple(one.name for one in dataclasses.fields(TimeCode))
LOCATION_KEYS = ("skip_bits", "at_bit", "container_bit", "from_end_bits", "align_bits")
REPEAT_KEYS = ("count", "offset_bits", "period_ns", "first_ns")
ENCODING_KEYS = (
    "bits", "signed", "coding", "float", "mil_std_1750a", "byte_order", "bit_order", "text", "binary", "time_code"
)  # fmt: skip
_BIT_ORDERS = ("most_significant_first", "least_significant_first")
_REFERENCES = {
    "skip_bits": Reference.PREVIOUS, "at_bit": Reference.PACKET, "container_bit": Reference.CONTAINER,
    "from_end_bits": Reference.END,
}  # fmt: skip
_LOCATION_KEY = {reference: key for key, reference in _REFERENCES.items()}


# ---- conditions -------------------------------------------------------------------------------------------------


def read_match(node: Node, key: str, names: Names) -> Match:
    """Return a condition: a text, a list of which all hold, or keys that say it in full."""
    if isinstance(node, Sequence):
        return AllOf(tuple(read_match(one, key, names) for one in node.items))
    if isinstance(node, Scalar):
        if not isinstance(node.value, str):
            raise wanted(node, key, "a condition such as MODE == SCIENCE")
        try:
            return conditions.parse(node.value, lambda name: names.refer("parameter", name, node))
        except DatabaseError as error:
            raise Refused(node, error.message, error.hint) from None
    return _read_match_keys(keys(node, key, MATCH_KEYS), key, names)


def _read_match_keys(node: Mapping, key: str, names: Names) -> Match:
    for joined, kind in (("all", AllOf), ("any", AnyOf)):
        if joined in node.items:
            keys(node, key, (joined,))
            return kind(tuple(read_match(one, key, names) for one in fields.items(node.items[joined], joined)))
    if "not" in node.items:
        keys(node, key, ("not",))
        return Not(read_match(node.items["not"], "not", names))
    keys(node, key, COMPARISON_KEYS)
    if "parameter" not in node.items:
        raise Refused(node, f"{key} names no parameter", "a condition such as MODE == SCIENCE")
    name = names.refer("parameter", fields.text(node.items["parameter"], "parameter"), node.items["parameter"])
    value = node.items.get("value")
    if value is not None and (not isinstance(value, Scalar) or value.value is None):
        raise wanted(value, "value", "a number, a text, true or false")
    other = node.items.get("other")
    return Comparison(
        name,
        value.value if value is not None and value.value is not None else 0,
        given(node, "operator", lambda one, called: fields.member(one, called, Operator), Operator.EQUAL),
        not given(node, "raw", fields.flag, False),
        names.refer("parameter", fields.text(other, "other"), other) if other is not None else "",
    )


def write_match(match: Match, names: Names) -> Any:
    """Return a condition as text, or as keys where there is no text."""
    text = conditions.text_of(match, names.short)
    if text is not None and len(text) <= conditions.TEXT_MAX:
        try:
            if same_match(conditions.parse(text, names.qualified), match):
                return text
        except DatabaseError:
            pass
    if isinstance(match, Not):
        return {"not": write_match(match.term, names)}
    if not isinstance(match, Comparison):
        return {"all" if isinstance(match, AllOf) else "any": [write_match(one, names) for one in match.terms]}
    told: dict[str, Any] = {"parameter": names.short(match.parameter)}
    if not match.calibrated:
        told["raw"] = True
    if match.operator is not Operator.EQUAL:
        told["operator"] = str(match.operator)
    if match.value != 0 or type(match.value) is not int:
        told["value"] = match.value
    return told | ({"other": names.short(match.other)} if match.other else {})


def same_match(one: Match, other: Match) -> bool:
    """Whether two conditions are the same, 1 and 1.0 and true told apart."""
    return repr(one) == repr(other)


# ---- numbers that a packet may state ----------------------------------------------------------------------------


def read_integer(node: Node, key: str, names: Names, least: int | None = 0) -> Integer:
    """Return a number, or what says where it stands: the name of a parameter, or keys."""
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return DynamicInteger(names.refer("parameter", node.value, node))
    if not isinstance(node, Mapping):
        return whole(node, key, least, BITS_MAX)
    keys(node, key, INTEGER_KEYS)
    if "cases" in node.items:
        keys(node, key, ("cases",))
        return LookupInteger(tuple(_read_case(one, names) for one in fields.items(node.items["cases"], "cases")))
    if "parameter" not in node.items:
        raise Refused(
            node, f"{key} names no parameter", f"{key} is a number, a parameter, or has keys: parameter, slope"
        )
    name = node.items["parameter"]
    return DynamicInteger(
        names.refer("parameter", fields.text(name, "parameter"), name),
        given(node, "slope", fields.number, 1),
        given(node, "intercept", fields.number, 0),
        given(node, "calibrated", fields.flag, False),
    )


def _read_case(node: Node, names: Names) -> tuple[Match, int]:
    pair = fields.items(node, "a case")
    if len(pair) != 2:
        raise Refused(node, f"a case of {len(pair)} values", "a case is [condition, number]")
    return read_match(pair[0], "a case", names), whole(pair[1], "a case")


def write_integer(value: Integer, names: Names) -> Any:
    """Return a number, the name of a parameter, or keys."""
    if isinstance(value, int):
        return value
    if isinstance(value, LookupInteger):
        return {"cases": [[write_match(match, names), number] for match, number in value.cases]}
    name = names.short(value.parameter)
    told: dict[str, Any] = {"parameter": name}
    if value.slope != 1 or type(value.slope) is not int:
        told["slope"] = value.slope
    if value.intercept != 0 or type(value.intercept) is not int:
        told["intercept"] = value.intercept
    if value.calibrated:
        told["calibrated"] = True
    return name if len(told) == 1 and name != REST else told


def _read_size(node: Mapping, what: str, names: Names) -> Size | None:
    """Return the size that `octets` or `bits` states; None = neither is there."""
    if "octets" in node.items and "bits" in node.items:
        raise Refused(node.lines["bits"], f"{what} has a size in octets and one in bits", "one of them says it")
    key = "octets" if "octets" in node.items else "bits"
    unit = 8 if key == "octets" else 1
    if key not in node.items:
        return None
    one = node.items[key]
    if isinstance(one, Scalar) and one.value == REST:
        return RestOfPacket()
    if isinstance(one, Mapping) and "rest_but" in one.items:
        keys(one, key, ("rest_but",))
        return RestOfPacket(unit * whole(one.items["rest_but"], "rest_but", 0, BITS_MAX))
    return _times(read_integer(one, key, names), unit)


def _times(size: Integer, unit: int) -> Integer:
    if isinstance(size, int):
        return unit * size
    if unit == 1:
        return size
    if isinstance(size, LookupInteger):
        return LookupInteger(tuple((match, unit * number) for match, number in size.cases))
    return dataclasses.replace(size, slope=unit * size.slope, intercept=unit * size.intercept)


def _write_size(size: Size, names: Names) -> dict[str, Any]:
    if isinstance(size, RestOfPacket):
        octets, bits = divmod(size.trailing_bits, 8)
        rest = {"rest_but": size.trailing_bits if bits else octets}
        return {"bits": rest} if bits else {"octets": rest if octets else REST}
    if isinstance(size, int):
        return {"bits": size} if size % 8 else {"octets": size // 8}
    if isinstance(size, DynamicInteger) and repr(size) == repr(DynamicInteger(size.parameter, 8)):
        return {"octets": write_integer(DynamicInteger(size.parameter), names)}
    return {"bits": write_integer(size, names)}


# ---- encodings --------------------------------------------------------------------------------------------------


def read_encoding(node: Mapping, what: str, names: Names) -> Encoding | None:
    """Return the encoding that the keys of a type state; None = they state none."""
    stated = [key for key in ("bits", "float", "mil_std_1750a", "text", "binary", "time_code") if key in node.items]
    if len(stated) > 1:
        raise Refused(
            node.lines[stated[1]], f"{what} is {stated[0]} and {stated[1]}", "one of them says how it is coded"
        )
    if not stated or stated[0] != "bits":
        _refuse_without(node, ("signed", "coding"), "bits")
    if not stated or stated[0] in {"text", "binary", "time_code"}:
        _refuse_without(node, ("byte_order", "bit_order"), "bits, float or mil_std_1750a")
    if not stated:
        return None
    key, one = stated[0], node.items[stated[0]]
    if key == "bits":
        return _read_integer_encoding(node, one)
    if key in {"float", "mil_std_1750a"}:
        return _read_float_encoding(node, key, one)
    if key == "time_code":
        return TimeEncoding(read_time_code(one, key))
    return _read_text(one, names) if key == "text" else _read_binary(one, names)


def _refuse_without(node: Mapping, extra: tuple[str, ...], needed: str) -> None:
    for key in extra:
        if key in node.items:
            raise Refused(node.lines[key], f"{key} without {needed}", f"give {needed}, or remove {key}")


def _read_integer_encoding(node: Mapping, bits: Node) -> IntegerEncoding:
    size = whole(bits, "bits", 1, 64)
    if "signed" in node.items and "coding" in node.items:
        raise Refused(node.lines["signed"], "signed and coding", "coding alone says it")
    kind = given(node, "coding", lambda one, key: fields.member(one, key, IntegerKind), IntegerKind.UNSIGNED)
    if given(node, "signed", fields.flag, False):
        kind = IntegerKind.TWOS_COMPLEMENT
    return IntegerEncoding(size, kind, _read_byte_order(node, size), _read_bit_order(node))


def _read_float_encoding(node: Mapping, key: str, bits: Node) -> FloatEncoding:
    size = whole(bits, key)
    sizes, kind = ((16, 32, 64), FloatKind.IEEE_754) if key == "float" else ((32, 48), FloatKind.MIL_STD_1750A)
    if size not in sizes:
        raise wanted(bits, key, f"{', '.join(map(str, sizes[:-1]))} or {sizes[-1]} (bits)")
    return FloatEncoding(size, kind, _read_byte_order(node, size), _read_bit_order(node))


def _read_byte_order(node: Mapping, size_bits: int) -> tuple[int, ...]:
    one = node.items.get("byte_order")
    if one is None or (isinstance(one, Scalar) and one.text == "big"):
        return BIG
    octets, bits = divmod(size_bits, 8)
    if bits:
        raise Refused(node.lines["byte_order"], f"a byte order of {size_bits} bits", "only whole octets have an order")
    if isinstance(one, Scalar) and one.text == "little":
        return little(octets)
    if not isinstance(one, Sequence):
        raise wanted(one, "byte_order", "big, little, or a list of the octets as sent by their weight (0 = least)")
    order = tuple(whole(each, "byte_order", 0, octets - 1) for each in one.items)
    if sorted(order) != list(range(octets)):
        raise wanted(one, "byte_order", f"each of 0 to {octets - 1} once, as the octets are sent")
    return order


def _read_bit_order(node: Mapping) -> bool:
    return given(node, "bit_order", lambda one, key: fields.word(one, key, _BIT_ORDERS), "") == _BIT_ORDERS[1]


def read_time_code(node: Node, key: str) -> TimeCode:
    """Return a time code: `cuc` or `cds` with the usual widths, or keys of `TimeCode`."""
    if isinstance(node, Scalar):
        return TimeCode("cuc" if fields.word(node, key, ("cuc", "cds")) == "cuc" else "cds")
    told: dict[str, Any] = {}
    for name, one in keys(node, key, TIME_CODE_KEYS).items.items():
        told[name] = whole(one, name) if name.endswith("_octets") else fields.text(one, name)
    if "code" not in told:
        raise Refused(node, f"{key} has no code", "code: cuc, or code: cds")
    try:
        return TimeCode(**told)
    except TimeCodeError as error:
        raise Refused(node, str(error)) from None


def _read_text(node: Node, names: Names) -> StringEncoding:
    told, default = keys(node, "text", TEXT_KEYS), StringEncoding()
    charset = given(told, "charset", fields.text, default.charset)
    try:
        "".encode(charset)
    except (LookupError, ValueError):
        raise wanted(told.items["charset"], "charset", "a character set that Python knows, such as utf-8") from None
    return StringEncoding(
        _read_size(told, "text", names),
        charset,
        given(told, "terminator", fields.octets, b""),
        given(told, "length_bits", lambda one, key: whole(one, key, 0, 64), 0),
        given(told, "length_unit_bits", lambda one, key: whole(one, key, 1, 1 << 16), 8),
        given(told, "max_bits", lambda one, key: whole(one, key, 0, BITS_MAX), default.max_bits),
    )


def _read_binary(node: Node, names: Names) -> BinaryEncoding:
    told = keys(node, "binary", BINARY_KEYS)
    size = _read_size(told, "binary", names)
    return BinaryEncoding(
        BinaryEncoding().size if size is None else size,
        given(told, "length_bits", lambda one, key: whole(one, key, 0, 64), 0),
        given(told, "length_unit_bits", lambda one, key: whole(one, key, 1, 1 << 16), 8),
    )


def write_encoding(encoding: Encoding | None, names: Names) -> dict[str, Any]:
    """Return the keys that state an encoding."""
    if encoding is None:
        return {}
    if isinstance(encoding, TimeEncoding):
        return {"time_code": write_time_code(encoding.code)}
    if isinstance(encoding, StringEncoding):
        return {"text": _write_text(encoding, names)}
    if isinstance(encoding, BinaryEncoding):
        keys_of = _write_size(encoding.size, names)
        return {"binary": keys_of | _write_length(encoding.tag_bits, encoding.tag_unit_bits)}
    if isinstance(encoding, FloatEncoding):
        key = "float" if encoding.kind is FloatKind.IEEE_754 else "mil_std_1750a"
        return {key: encoding.size_bits} | _write_orders(encoding)
    told: dict[str, Any] = {"bits": encoding.size_bits}
    if encoding.kind is IntegerKind.TWOS_COMPLEMENT:
        told["signed"] = True
    elif encoding.kind is not IntegerKind.UNSIGNED:
        told["coding"] = str(encoding.kind)
    return told | _write_orders(encoding)


def _write_orders(encoding: IntegerEncoding | FloatEncoding) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if encoding.byte_order != BIG:
        plain = encoding.byte_order == little(encoding.size_bits // 8)
        told["byte_order"] = "little" if plain else list(encoding.byte_order)
    if encoding.least_significant_bit_first:
        told["bit_order"] = _BIT_ORDERS[1]
    return told


def write_time_code(code: TimeCode) -> Any:
    """Return a time code as it is read."""
    usual = TimeCode(code.code)
    told = {
        one.name: getattr(code, one.name)
        for one in dataclasses.fields(code)
        if one.name == "code" or getattr(code, one.name) != getattr(usual, one.name)
    }
    return told if len(told) > 1 else code.code


def _write_text(encoding: StringEncoding, names: Names) -> dict[str, Any]:
    told = {} if encoding.size is None else _write_size(encoding.size, names)
    if encoding.charset != "utf-8":
        told["charset"] = encoding.charset
    if encoding.terminator:
        told["terminator"] = encoding.terminator.hex()
    told |= _write_length(encoding.tag_bits, encoding.tag_unit_bits)
    return told | ({} if encoding.max_bits == StringEncoding().max_bits else {"max_bits": encoding.max_bits})


def _write_length(bits: int, unit_bits: int) -> dict[str, Any]:
    told = {"length_bits": bits} if bits else {}
    return told | ({"length_unit_bits": unit_bits} if unit_bits != 8 else {})


# ---- where entries stand ----------------------------------------------------------------------------------------


def read_location(node: Mapping, names: Names) -> Location:
    """Return the location that the keys of an entry state."""
    stated = [key for key in _REFERENCES if key in node.items]
    if len(stated) > 1:
        raise Refused(node.lines[stated[1]], f"{stated[0]} and {stated[1]}", "one of them says where it stands")
    align = given(node, "align_bits", lambda one, key: whole(one, key, 1, BITS_MAX), 1)
    if not stated:
        return Location(align_bits=align)
    bits = read_integer(node.items[stated[0]], stated[0], names, None)
    return Location(_REFERENCES[stated[0]], bits, align)


def write_location(location: Location, names: Names) -> dict[str, Any]:
    """Return the keys that state a location."""
    told: dict[str, Any] = {}
    if location.reference is not Reference.PREVIOUS or location.bits != 0 or not isinstance(location.bits, int):
        told[_LOCATION_KEY[location.reference]] = write_integer(location.bits, names)
    return told | ({"align_bits": location.align_bits} if location.align_bits != 1 else {})


def read_repeat(node: Node, key: str, names: Names) -> Repeat:
    """Return a repeat: a count, or keys."""
    if not isinstance(node, Mapping) or "count" not in node.items:
        return Repeat(read_integer(node, key, names))
    keys(node, key, REPEAT_KEYS)
    return Repeat(
        read_integer(node.items["count"], "count", names),
        given(node, "offset_bits", lambda one, called: read_integer(one, called, names, None), 0),
        given(node, "period_ns", whole, 0),
        given(node, "first_ns", whole, 0),
    )


def write_repeat(repeat: Repeat, names: Names) -> Any:
    """Return a repeat as it is read."""
    told: dict[str, Any] = {"count": write_integer(repeat.count, names)}
    if repeat.offset_bits != 0 or not isinstance(repeat.offset_bits, int):
        told["offset_bits"] = write_integer(repeat.offset_bits, names)
    told |= {key: getattr(repeat, key) for key in ("period_ns", "first_ns") if getattr(repeat, key)}
    return told if len(told) > 1 else told["count"]


def read_dimensions(node: Node, key: str, names: Names) -> tuple[Dimension, ...]:
    """Return dimensions: for each how many there are (a number, or the parameter that says it), or first and last."""
    return tuple(_read_dimension(one, names) for one in fields.items(node, key))


def _read_dimension(node: Node, names: Names) -> Dimension:
    if isinstance(node, Sequence):
        if len(node.items) != 2:
            raise Refused(node, f"a dimension of {len(node.items)} values", "a dimension is a size, or [first, last]")
        first, last = (read_integer(one, "a dimension", names, None) for one in node.items)
        return Dimension(first, last)
    size = read_integer(node, "a dimension", names)
    if isinstance(size, int):
        return Dimension(0, size - 1)
    if isinstance(size, LookupInteger):
        return Dimension(0, LookupInteger(tuple((match, number - 1) for match, number in size.cases)))
    return Dimension(0, dataclasses.replace(size, intercept=size.intercept - 1))


def write_dimensions(dimensions: tuple[Dimension, ...], names: Names) -> list[Any]:
    """Return dimensions as they are read."""
    return [_write_dimension(one, names) for one in dimensions]


def _write_dimension(one: Dimension, names: Names) -> Any:
    if isinstance(one.first, int) and one.first == 0:
        if isinstance(one.last, int) and one.last >= -1:
            return one.last + 1
        if isinstance(one.last, DynamicInteger) and repr(one.last) == repr(DynamicInteger(one.last.parameter, 1, -1)):
            return write_integer(DynamicInteger(one.last.parameter), names)
    return [write_integer(one.first, names), write_integer(one.last, names)]


def is_always(match: Match) -> bool:
    """Whether a condition is the one that needs no key."""
    return isinstance(match, AllOf) and match == ALWAYS
