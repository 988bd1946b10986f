"""ccsdspy CSV: one packet type, a field a line, as the Python library ccsdspy reads it (its guide, *Loading Packet
Definitions from a CSV File*).

    name,data_type,bit_length[,bit_offset][,byte_order][,calibration][,unit][,description]
    SHCOARSE,uint,32
    SENSOR_GRID,"uint(32, 32)",16
    COUNT,uint,8
    SAMPLES,uint(COUNT),16
    REST,uint(expand),8
    CHECK,uint,16

Data types are uint, int, float, str and fill, each also as an array: of fixed shape, as many elements as a field
before says, or as many as fit (`expand`). The fields stand behind the primary header, which gets the names that it has
in every database. Columns behind the fourth are our own, but for `calibration`, which ccsdspy's example data have:
JSON, either labels of values and ranges, or coefficients of powers. Where this reads otherwise than ccsdspy is in
docs/decisions.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from gateway_codecs.mdb.headers import HeaderForm, header
from gateway_codecs.mdb.model import (
    ALWAYS,
    BIG,
    BinaryEncoding,
    Calibration,
    Calibrator,
    Container,
    Database,
    Dimension,
    DynamicInteger,
    Encoding,
    Entry,
    FixedEntry,
    FloatEncoding,
    IntegerEncoding,
    IntegerKind,
    Location,
    Number,
    Parameter,
    ParameterEntry,
    ParameterType,
    Polynomial,
    Reference,
    RestOfPacket,
    State,
    States,
    StringEncoding,
    TypeKind,
    Where,
    little,
)
from gateway_codecs.mdb.remarks import RemarkList
from gateway_codecs.mdb.report import Budget, DatabaseError, Reading

REQUIRED = ("name", "data_type", "bit_length")
KNOWN = (*REQUIRED, "bit_offset", "byte_order", "calibration", "unit", "description")
HEADER_BITS, BITS_MAX = 48, 8 * 65542
POWERS = 16
FIELDS_MAX = 100_000  # of one packet, as in every database
_SHAPE = re.compile(r"(\w+)\s*(?:\(\s*(.+?)\s*\))?")
_RANGE = re.compile(r"\[\s*([^,\]]+),\s*([^,\]]+)\]")
_ODD = re.compile(r"[^\w+\-\[\],]")
_WHOLE = re.compile(r"[0-9]{1,9}")
_SIGNED = re.compile(r"[+-]?[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class Field:
    """A line that can be read. `shape`: () = one value; `count` names the field that says how many, or is `expand`."""

    name: str
    data_type: str
    size_bits: int
    where: Where
    offset_bits: int | None = None
    shape: tuple[int, ...] = ()
    count: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def fixed_bits(self) -> int | None:
        """The bits of all elements, None = the packet says."""
        return None if self.count else self.size_bits * math.prod(self.shape)


def read_ccsdspy(data: bytes, file: str, apid: int | None = None, budget: Budget = Budget()) -> Reading:  # noqa: B008
    """Read a ccsdspy CSV; its packet is `/FILE/PACKET`, and without an `apid` every space packet is one.

    What `bit_offset` counts from: the start of the packet, as ccsdspy says, unless a field would stand within the
    primary header; then from its end, as in ccsdspy's own examples. Counts are rows and rows of each data type.

    Raises:
        DatabaseError: no CSV of this form, or more than the budget allows.
    """
    if len(data) > budget.file_octets:
        raise DatabaseError(f"{len(data):,} octets, at most {budget.file_octets:,}", Where(file))
    if apid is not None and not 0 <= apid < 2048:
        raise DatabaseError(f"APID {apid}: 0 to 2047", Where(file))
    remarks = RemarkList(budget)
    counts: dict[str, int] = {"rows": 0}
    fields: list[Field] = []
    for where, columns in _lines(data, file, budget, remarks):
        counts["rows"] += 1
        if len(fields) >= FIELDS_MAX:
            raise DatabaseError(f"more than {FIELDS_MAX:,} fields in one packet", where)
        one = _field(columns, where, remarks)
        if one is None:
            break
        kind = one.data_type + (" array" if one.shape or one.count else "")
        counts[kind] = counts.get(kind, 0) + 1
        fields.append(one)
    if apid is None:
        why = "which packets these are is not in the file: every packet is taken for one, unless an APID is given"
        remarks.ignored("APID", why, Where(file))
    database = _Packet(file, fields, remarks).database(apid)
    return Reading(database, counts, remarks.told())


# ---- lines ----


def _lines(data: bytes, file: str, budget: Budget, remarks: RemarkList) -> Iterator[tuple[Where, dict[str, str]]]:
    reader = csv.reader(_pieces(data, file, budget.text_octets), skipinitialspace=True)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        missing = [name for name in REQUIRED if name not in names]
        if missing:
            hint = f"the first line must name the columns: {', '.join(REQUIRED)}, and if wanted {', '.join(KNOWN[3:])}"
            raise DatabaseError(f"no column {', '.join(missing)}", Where(file, 1), hint)
        for name in names:
            if name not in KNOWN:
                remarks.ignored(f"column {name!r}", "is not known", Where(file, 1))
        for number, cells in enumerate(reader, start=1):
            where = Where(file, reader.line_num)
            if number > budget.definitions or sum(map(len, cells)) > budget.text_octets:
                raise DatabaseError(f"more than {budget.definitions:,} rows, or a line too long", where)
            if any(cell.strip() for cell in cells):
                yield where, {name: cell.strip() for name, cell in zip(names, cells, strict=False)}
    except csv.Error as error:
        raise DatabaseError(f"no CSV: {error}", Where(file, reader.line_num)) from None


def _pieces(data: bytes, file: str, line_max: int) -> Iterator[str]:
    """Yield the lines of a file, never one of more than `line_max` characters: a text of one line costs no copies."""
    encoding = "utf-8-sig"
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        encoding = "latin-1"
    lines, number = io.TextIOWrapper(io.BytesIO(data), encoding, newline=""), 0
    while line := lines.readline(line_max):
        number += 1
        yield line
        if len(line) == line_max and line[-1] not in "\r\n":
            raise DatabaseError(f"a line of more than {line_max:,} characters", Where(file, number))


def _field(columns: Mapping[str, str], where: Where, remarks: RemarkList) -> Field | None:
    """Return a line's field; None when nothing behind it can be placed."""
    name, size, offset = (columns.get(key, "") for key in ("name", "bit_length", "bit_offset"))
    if not _WHOLE.fullmatch(size) or not 1 <= int(size) <= BITS_MAX or (offset and not _WHOLE.fullmatch(offset)):
        why = f"bit_length must be 1 to {BITS_MAX}, bit_offset a number: this and all lines behind it are left out"
        remarks.wrong(f"{name}: bit_length {size!r}, bit_offset {offset!r}", why, where)
        return None
    made = Field(name, "fill", int(size), where, int(offset) if offset else None, columns=columns)
    found = _SHAPE.fullmatch(columns.get("data_type", ""))
    if found is None or found[1] not in {"uint", "int", "float", "str", "fill"} or not name:
        why = "is none of uint, int, float, str, fill, or has no name: its bits are left out"
        remarks.wrong(f"{name}: data_type {columns.get('data_type', '')!r}", why, where)
        return made
    return _shaped(replace(made, data_type=found[1]), found[2] or "", remarks)


def _shaped(made: Field, shape: str, remarks: RemarkList) -> Field | None:
    if not shape:
        return made
    sizes = [one.strip() for one in shape.split(",")]
    if not all(_WHOLE.fullmatch(one) for one in sizes):
        return replace(made, count=shape)
    dimensions = tuple(int(one) for one in sizes)
    if not 1 <= math.prod(dimensions) * made.size_bits <= BITS_MAX or len(dimensions) > 8:
        why = f"holds nothing, or more than a packet ({BITS_MAX} bits): this and all lines behind it are left out"
        remarks.wrong(f"{made.name}: array ({shape})", why, made.where)
        return None
    return replace(made, shape=dimensions)


# ---- the packet ----


class _Packet:
    """The definitions of one packet type, made of its fields in order."""

    def __init__(self, file: str, fields: list[Field], remarks: RemarkList) -> None:
        stem = file.replace("\\", "/").rpartition("/")[2].rpartition(".")[0] or "PACKET"
        self._system, self._file, self._fields, self._remarks = f"/{_clean(stem)}", file, fields, remarks
        self._header = header(self._system, HeaderForm())
        self._types, self._parameters = dict(self._header.types), dict(self._header.parameters)
        self._length = f"{self._system}/CCSDS_LENGTH"
        self._named: dict[str, str] = {}
        self._numbers: dict[str, int] = {}  # the last number behind a name that several want
        self._entries: list[Entry] = []
        self._at: int | None = HEADER_BITS  # the next bit from the packet's start, when it is the same in every packet
        self._from_end: int | None = None  # bits that are left behind an expanding array
        self._shift = self._offset_shift()
        self._behind = _bits_behind(fields)

    def database(self, apid: int | None) -> Database:
        """Return the database of this packet."""
        for index, one in enumerate(self._fields):
            if not self._add(one, index):
                break
        restriction = ALWAYS if apid is None else self._header.of_packet(apid)
        name = f"{self._system}/PACKET"
        packet = Container(name, tuple(self._entries), self._header.root, restriction, where=Where(self._file))
        containers = {**self._header.containers, name: packet}
        return Database(
            self._system.removeprefix("/"), "", "", self._types, self._parameters, containers, (self._header.root,)
        )

    def _offset_shift(self) -> int:
        told = [one for one in self._fields if one.offset_bits is not None]
        if not told or min(one.offset_bits or 0 for one in told) >= HEADER_BITS:
            return 0
        why = f"some are below {HEADER_BITS}, within it: all are taken as counted from its end"
        self._remarks.ignored("bit_offset: the primary header", why, told[0].where)
        return HEADER_BITS

    def _add(self, one: Field, index: int) -> bool:
        """Add the field of that index; False when nothing behind it can be placed."""
        location = self._location(one)
        if one.fixed_bits is not None:
            self._entries.append(self._fixed(one, one.fixed_bits, location))
            self._move(one.fixed_bits)
            return True
        if one.count == "expand":
            return self._expand(one, *self._behind[index], location)
        counter = self._named.get(one.count)
        if counter is None or not _counts(self._types[self._parameters[counter].type_name]):
            why = f"{one.count!r} is neither `expand`, a shape, nor a whole number before it: it and the rest left out"
            self._remarks.wrong(f"{one.name}: data_type {one.columns['data_type']!r}", why, one.where)
            return False
        self._array(one, (Dimension(0, DynamicInteger(counter, 1, -1)),), location)
        self._at = None
        return True

    def _location(self, one: Field) -> Location:
        if one.offset_bits is not None:
            self._at, self._from_end = one.offset_bits + self._shift, None
            return Location(Reference.PACKET, self._at)
        if self._from_end is not None:
            left, self._from_end = self._from_end, None
            return Location(Reference.PACKET, DynamicInteger(self._length, 8, 8 * 7 - left))
        return Location()

    def _move(self, bits: int) -> None:
        if self._at is not None:
            self._at += bits

    def _fixed(self, one: Field, bits: int, location: Location) -> Entry:
        if one.data_type == "fill":
            return FixedEntry(bits, b"", location)
        name = self._name(one)
        kind = self._type(one, name)
        if not one.shape:
            self._types[name] = kind
            self._parameters[name] = self._parameter(one, name)
            return ParameterEntry(name, location)
        return self._of_elements(one, name, kind, tuple(Dimension(0, size - 1) for size in one.shape), location)

    def _array(self, one: Field, dimensions: tuple[Dimension, ...], location: Location) -> None:
        name = self._name(one)
        self._entries.append(self._of_elements(one, name, self._type(one, name), dimensions, location))

    def _of_elements(
        self, one: Field, name: str, kind: ParameterType, dimensions: tuple[Dimension, ...], location: Location
    ) -> Entry:
        element = self._free(f"{name}-element")
        self._types[element] = replace(kind, name=element)
        self._types[name] = ParameterType(
            name, "array", element_type=element, dimensions=dimensions, unit=kind.unit, where=one.where
        )
        self._parameters[name] = self._parameter(one, name)
        return ParameterEntry(name, location)

    def _expand(self, one: Field, can_follow: bool, left: int, location: Location) -> bool:
        """Add an array up to the `left` bits of what stands behind it, which are counted from the packet's end."""
        if not can_follow:
            why = "fields of unknown size stand behind it: it takes the rest of the packet, they are left out"
            self._remarks.wrong(f"{one.name}: {one.columns['data_type']}", why, one.where)
        if self._at is None:
            self._rest(one, left, location)
        else:
            # (8 * (LENGTH + 7) - at - left) / size, rounded down; half a step guards against a quotient just below
            room = (8 * 7 - self._at - left) / one.size_bits + 0.5 / one.size_bits
            last = DynamicInteger(self._length, 8 / one.size_bits, room - 1)
            self._array(one, (Dimension(0, last),), location)
        self._at, self._from_end = None, left
        return can_follow

    def _rest(self, one: Field, left: int, location: Location) -> None:
        why = "an array of elements whose number depends on two others: it is read as octets"
        self._remarks.ignored(f"{one.name}: {one.columns['data_type']}", why, one.where)
        name = self._name(one)
        self._types[name] = ParameterType(name, "binary", BinaryEncoding(RestOfPacket(left)), where=one.where)
        self._parameters[name] = self._parameter(one, name)
        self._entries.append(ParameterEntry(name, location))

    # ---- names and types ----

    def _name(self, one: Field) -> str:
        plain = _clean(one.name)
        name = self._free(f"{self._system}/{plain}")
        if name != f"{self._system}/{plain}":
            why = f"another field has this name: it is {name}"
            self._remarks.wrong(f"{one.name}", why, one.where)
        self._named.setdefault(one.name, name)
        return name

    def _free(self, wanted: str) -> str:
        """Return the name, or with the first number behind it that makes another of it."""
        name = wanted
        while name in self._types or name in self._parameters:
            self._numbers[wanted] = self._numbers.get(wanted, 1) + 1
            name = f"{wanted}-{self._numbers[wanted]}"
        return name

    def _parameter(self, one: Field, name: str) -> Parameter:
        aliases = () if name.endswith("/" + one.name) else (one.name,)
        return Parameter(name, name, description=one.columns.get("description", ""), aliases=aliases, where=one.where)

    def _type(self, one: Field, name: str) -> ParameterType:
        kind, encoding = self._encoding(one)
        made = ParameterType(
            name, kind, encoding, signed=one.data_type != "uint", unit=one.columns.get("unit", ""), where=one.where
        )
        told = one.columns.get("calibration", "")
        if not told:
            return made
        calibrator = _calibrator(told) if kind in {"integer", "float"} else None
        if calibrator is None:
            why = "is neither labels of values and ranges nor coefficients of powers, for a number: left out"
            self._remarks.wrong(f"{one.name}: calibration {told[:60]!r}", why, one.where)
            return made
        kind = "enumerated" if isinstance(calibrator, States) else "float"
        return replace(made, kind=kind, calibration=Calibration(calibrator), signed=True)

    def _encoding(self, one: Field) -> tuple[TypeKind, Encoding]:
        size, order = one.size_bits, self._byte_order(one)
        if one.data_type == "str" and size % 8 == 0:
            return "string", StringEncoding(size, "latin-1")
        if one.data_type == "float" and size in {16, 32, 64}:
            return "float", FloatEncoding(size, byte_order=order)
        if one.data_type in {"uint", "int"} and size <= 64:
            is_signed = one.data_type == "int"
            sign = IntegerKind.TWOS_COMPLEMENT if is_signed else IntegerKind.UNSIGNED
            return "integer", IntegerEncoding(size, sign, order)
        if one.data_type != "fill":
            why = f"cannot have {size} bits: it is read as octets"
            self._remarks.wrong(f"{one.name}: {one.data_type}", why, one.where)
        return "binary", BinaryEncoding(size)

    def _byte_order(self, one: Field) -> tuple[int, ...]:
        told = one.columns.get("byte_order", "")
        octets = one.size_bits // 8
        if told in {"", "big"}:
            return BIG
        digits = [int(digit) for digit in told] if told.isascii() and told.isdigit() else []
        order = little(octets) if told == "little" else tuple(octets - digit for digit in digits)
        if one.data_type in {"str", "fill"} or one.size_bits % 8 or sorted(order) != list(range(octets)):
            why = "is neither big, little, nor each octet's number once, for a number of whole octets: read as big"
            self._remarks.wrong(f"{one.name}: byte_order {told!r}", why, one.where)
            return BIG
        return order


def _bits_behind(fields: list[Field]) -> list[tuple[bool, int]]:
    """Return for each field whether all behind it have a size, and their bits; those with an offset do not count."""
    found, known, bits = [], True, 0
    for one in reversed(fields):
        found.append((known, bits if known else 0))
        if one.offset_bits is None:
            known, bits = known and one.fixed_bits is not None, bits + (one.fixed_bits or 0)
    return found[::-1]


def _counts(kind: ParameterType) -> bool:
    return isinstance(kind.encoding, IntegerEncoding)


def _clean(name: str) -> str:
    return _ODD.sub("_", name)


def _calibrator(told: str) -> Calibrator | None:
    try:
        content = json.loads(told)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not content:
        return None
    if all(isinstance(value, str) for value in content.values()):
        states = [_state(key, label) for key, label in content.items()]
        return None if None in states else States(tuple(state for state in states if state is not None))
    powers = {int(key): value for key, value in content.items() if _WHOLE.fullmatch(key) and int(key) <= POWERS}
    if len(powers) < len(content) or not all(_is_number(value) for value in powers.values()):
        return None
    return Polynomial(tuple(float(powers.get(power, 0)) for power in range(max(powers) + 1)))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _state(key: str, label: str) -> State | None:
    found = _RANGE.fullmatch(key)
    bounds = [_bound(text) for text in (found.groups() if found else (key, key))]
    low, high = bounds
    return None if low is None or high is None or low > high else State(low, high, label)


def _bound(text: str) -> Number | None:
    text = text.strip()
    if _SIGNED.fullmatch(text):
        return int(text)
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
