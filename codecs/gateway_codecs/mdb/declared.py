"""A container as a `construct` declaration: the readable reference of what a packet holds, and the way to build one.

The stream of the declaration has one octet for each bit (as construct's own `Bitwise` has), so that every location is
a bit. `decoder` reads whole batches and is tested against this module, one packet and one value at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import construct as c

from gateway_codecs.mdb import scalar
from gateway_codecs.mdb.model import (
    ALWAYS,
    AllOf,
    BinaryEncoding,
    Comparison,
    Container,
    ContainerEntry,
    Database,
    Dimension,
    Encoding,
    Entry,
    FixedEntry,
    FloatEncoding,
    IntegerEncoding,
    Location,
    Match,
    Operator,
    ParameterType,
    Reference,
    Repeat,
    RestOfPacket,
    Size,
    States,
    StringEncoding,
    TimeEncoding,
)
from gateway_codecs.mdb.report import DatabaseError
from gateway_codecs.mdb.scalar import Raw, Undecodable, Value
from gateway_codecs.time_codes import layout_of

PACKET_BITS_MAX = 8 * 65542
NESTED_MAX = 64
Given = Mapping[str, Raw | Sequence[Raw]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where one occurrence of a parameter stands: its first bit in the packet, how many bits, how it is coded."""

    parameter: str
    at_bit: int
    size_bits: int
    encoding: Encoding


@dataclass(slots=True)
class State:
    """What one walk through a packet knows: the values met so far, those to build with, where containers began."""

    database: Database
    given: Given = field(default_factory=dict)
    implied: Mapping[str, Raw] = field(default_factory=dict)
    found: dict[str, list[Raw]] = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)
    items: int = 0
    places: list[Place] = field(default_factory=list)
    at_end: list[tuple[int, Callable[[int], None]]] = field(default_factory=list)

    def note(self, name: str, raw: Raw) -> None:
        """Remember an occurrence."""
        self.items += 1
        if self.items > PACKET_BITS_MAX:
            raise Undecodable(f"more than {PACKET_BITS_MAX} values in one packet")
        self.found.setdefault(name, []).append(raw)

    def next(self, name: str) -> Raw | None:
        """Return the value to build the next occurrence with; None = nobody gave one."""
        given = self.given.get(name)
        if given is None:
            return self.implied.get(name)
        if isinstance(given, int | float | bytes):
            return given
        at = len(self.found.get(name, ()))
        if at >= len(given):
            raise Undecodable(f"{name}: {len(given)} values given, one more is needed")
        return given[at]

    def look(self, name: str, wants_calibrated: bool) -> Value:
        """Return the newest value of a parameter. Raises Undecodable when it has not been met."""
        name, met = _occurrences(self.found, name)
        if not met:
            raise Undecodable(f"{name} does not stand before")
        parameter = self.database.parameters.get(name)
        if not wants_calibrated or parameter is None:
            return met[-1]
        return scalar.engineering(met[-1], self.database.types[parameter.type_name], self.look)


def _occurrences(found: Mapping[str, list[Raw]], name: str) -> tuple[str, list[Raw]]:
    """Return what was met of a name; `A[2]` is the third occurrence of A."""
    if name in found or not name.endswith("]"):
        return name, found.get(name, [])
    plain, _, index = name[:-1].rpartition("[")
    at = int(index) if index.isascii() and index.isdigit() else -1
    return plain, found.get(plain, [])[at : at + 1] if at >= 0 else []


def _state(context: Any) -> State:
    state: State = context._params["state"]
    return state


class _Field(c.Construct):  # type: ignore[misc]
    """One value of an encoding under a name."""

    def __init__(self, name: str, encoding: Encoding) -> None:
        super().__init__()
        self.value_name, self.encoding, self.flagbuildnone = name, encoding, True

    def _parse(self, stream: Any, context: Any, path: str) -> Raw:
        state, at = _state(context), stream.tell()
        raw = self._read(stream, state)
        self._note(state, raw, at, stream.tell() - at)
        return raw

    def _note(self, state: State, raw: Raw, at_bit: int, size_bits: int) -> None:
        state.note(self.value_name, raw)
        state.places.append(Place(self.value_name, at_bit, size_bits, self.encoding))

    def _read(self, stream: Any, state: State) -> Raw:
        encoding = self.encoding
        if isinstance(encoding, IntegerEncoding | FloatEncoding):
            return scalar.from_bits(_take(stream, encoding.size_bits), encoding)
        if isinstance(encoding, TimeEncoding):
            return _time_code(stream, encoding)
        if isinstance(encoding, BinaryEncoding):
            size = _tagged(stream, encoding) if encoding.tag_bits else _size(encoding.size, stream, state)
            return scalar.octets(_take(stream, size))
        return _text(stream, encoding, state)

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Raw:
        state, at = _state(context), stream.tell()
        bits, raw = _built(state.next(self.value_name), self.encoding, stream, state)
        stream.write(bits)
        self._note(state, raw, at, len(bits))
        return raw


def _take(stream: Any, size_bits: int) -> bytes:
    if size_bits < 0:
        raise Undecodable(f"a size of {size_bits} bits")
    bits: bytes = stream.read(min(size_bits, PACKET_BITS_MAX))
    if len(bits) < size_bits:
        raise Undecodable(f"{size_bits} bits wanted, {len(bits)} left: the packet ends before")
    return bits


def _left(stream: Any) -> int:
    at: int = stream.tell()
    end: int = stream.seek(0, 2)
    stream.seek(at)
    return end - at


def _size(size: Size, stream: Any, state: State) -> int:
    if isinstance(size, RestOfPacket):
        return _left(stream) - size.trailing_bits
    return scalar.integer(size, state.look)


def _tagged(stream: Any, encoding: BinaryEncoding | StringEncoding) -> int:
    return int(scalar.from_bits(_take(stream, encoding.tag_bits), IntegerEncoding(encoding.tag_bits))) * (
        encoding.tag_unit_bits
    )


def _time_code(stream: Any, encoding: TimeEncoding) -> bytes:
    code = encoding.code
    if code.p_field == "implied":
        return scalar.octets(_take(stream, 8 * code.t_field_octets))
    at = stream.tell()
    laid_out = layout_of(scalar.octets(stream.read(16)), code)
    stream.seek(at)
    if laid_out is None:
        raise Undecodable("no P-field of this time code")
    layout, used = laid_out
    return scalar.octets(_take(stream, 8 * (used + layout.t_field_octets)))


def _text(stream: Any, encoding: StringEncoding, state: State) -> bytes:
    """Return the octets of a text; the whole box is taken, whatever of it is text."""
    if encoding.size is None:
        return _unboxed(stream, encoding, min(_left(stream), encoding.max_bits))
    box = _take(stream, _size(encoding.size, stream, state))
    if encoding.tag_bits or encoding.terminator:
        return _unboxed(BytesIO(box), encoding, len(box))
    return scalar.octets(box)


def _unboxed(stream: Any, encoding: StringEncoding, most_bits: int) -> bytes:
    if encoding.tag_bits:
        return scalar.octets(_take(stream, _tagged(stream, encoding)))
    here = stream.tell()
    room = scalar.octets(stream.read(most_bits - most_bits % 8))
    step = len(encoding.terminator)
    end = next((k for k in range(0, len(room) - step + 1, step) if room[k : k + step] == encoding.terminator), -1)
    if end < 0 and encoding.size is None:
        raise Undecodable(f"no terminator {encoding.terminator.hex()} in the {len(room)} octets that follow")
    text = room if end < 0 else room[:end]
    stream.seek(here + 8 * (len(text) + (step if end >= 0 else 0)))
    return text


def _built(raw: Raw | None, encoding: Encoding, stream: Any, state: State) -> tuple[bytes, Raw]:
    """Return the bits of a value, or of nothing (zeros) where none is given, and the value that they hold."""
    if isinstance(encoding, IntegerEncoding | FloatEncoding):
        return scalar.to_bits(raw or 0, encoding, encoding.size_bits), raw or 0
    if isinstance(encoding, TimeEncoding):
        content = raw if isinstance(raw, bytes) else bytes(encoding.code.t_field_octets)
        return scalar.bits_of(content), content
    content = raw if isinstance(raw, bytes) else b""
    if isinstance(encoding, StringEncoding):
        return _built_text(content, encoding, state), content
    if encoding.tag_bits:
        return _tag(content, encoding) + scalar.bits_of(content), content
    size = 8 * len(content) if isinstance(encoding.size, RestOfPacket) else scalar.integer(encoding.size, state.look)
    bits = scalar.to_bits(content, encoding, size)
    return bits, scalar.octets(bits)


def _tag(content: bytes, encoding: BinaryEncoding | StringEncoding) -> bytes:
    count = 8 * len(content) // encoding.tag_unit_bits
    return scalar.to_bits(count, IntegerEncoding(encoding.tag_bits), encoding.tag_bits)


def _built_text(content: bytes, encoding: StringEncoding, state: State) -> bytes:
    bits = scalar.bits_of(content)
    if encoding.tag_bits:
        bits = _tag(content, encoding) + bits
    size = encoding.size
    fixed = None if size is None or isinstance(size, RestOfPacket) else scalar.integer(size, state.look)
    if encoding.terminator and not encoding.tag_bits and fixed != len(bits):
        bits += scalar.bits_of(encoding.terminator)
    if fixed is None:
        return bits
    if len(bits) > fixed:
        raise Undecodable(f"{len(content)} octets of text do not fit a box of {fixed} bits")
    return bits + bytes(fixed - len(bits))


class _Move(c.Construct):  # type: ignore[misc]
    """Go where the next entry stands."""

    def __init__(self, location: Location) -> None:
        super().__init__()
        self.location, self.flagbuildnone = location, True

    def _parse(self, stream: Any, context: Any, path: str) -> None:
        state, location = _state(context), self.location
        at = scalar.integer(location.bits, state.look)
        if location.reference is Reference.PREVIOUS:
            at += stream.tell()
        elif location.reference is Reference.CONTAINER:
            at += state.starts[-1]
        _go(stream, at + -at % location.align_bits)

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> None:
        self._parse(stream, context, path)


class _FromEnd(c.Construct):  # type: ignore[misc]
    """Something at the end of the packet; what follows goes on where it was. It is built last, behind all else."""

    def __init__(self, location: Location, what: c.Construct) -> None:
        super().__init__()
        self.location, self.what, self.flagbuildnone = location, what, True

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        here, bits = stream.tell(), scalar.integer(self.location.bits, _state(context).look)
        at = stream.seek(0, 2) - bits
        _go(stream, at + -at % self.location.align_bits)
        value = self.what._parsereport(stream, context, path)
        stream.seek(here)
        return value

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> None:
        state = _state(context)
        bits, align = scalar.integer(self.location.bits, state.look), self.location.align_bits
        starts = list(state.starts)

        def work(length_bits: int) -> None:
            _go(stream, length_bits - bits + -(length_bits - bits) % align)
            state.starts[:] = starts
            self.what._build(None, stream, context, path)

        state.at_end.append((bits, work))


def _build_ends(stream: Any, state: State) -> None:
    """Build what stands at the end of a packet: that is as far behind the rest as the first of it needs."""
    if not state.at_end:
        return
    length_bits = stream.seek(0, 2) + max(0, *(bits for bits, _ in state.at_end))
    length_bits += -length_bits % 8
    for _, work in state.at_end:
        work(length_bits)
    stream.write(bytes(max(0, length_bits - stream.seek(0, 2))))


def _go(stream: Any, at: int) -> None:
    if not 0 <= at <= PACKET_BITS_MAX:
        raise Undecodable(f"an entry at bit {at}")
    stream.seek(at)


class _Repeat(c.Construct):  # type: ignore[misc]
    """The same thing several times, with room between."""

    def __init__(self, what: c.Construct, count: Any, gap: Any) -> None:
        super().__init__()
        self.what, self.count, self.gap, self.flagbuildnone = what, count, gap, True

    def _times(self, context: Any) -> tuple[int, int]:
        count, gap = self.count(_state(context)), self.gap(_state(context))
        if not 0 <= count <= PACKET_BITS_MAX:
            raise Undecodable(f"{count} occurrences")
        return count, gap

    def _parse(self, stream: Any, context: Any, path: str) -> list[Any]:
        return self._each(stream, context, lambda: self.what._parsereport(stream, context, path))

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> list[Any]:
        return self._each(stream, context, lambda: self.what._build(None, stream, context, path))

    def _each(self, stream: Any, context: Any, work: Any) -> list[Any]:
        count, gap = self._times(context)
        done = []
        for k in range(count):
            if k and gap:
                _go(stream, stream.tell() + gap)
            done.append(work())
        return done


class _Within(c.Construct):  # type: ignore[misc]
    """A container's entries: locations may count from where it began."""

    def __init__(self, what: c.Construct) -> None:
        super().__init__()
        self.what, self.flagbuildnone = what, True

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        starts = _state(context).starts
        starts.append(stream.tell())
        value = self.what._parsereport(stream, context, path)
        starts.pop()
        return value

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        starts = _state(context).starts
        starts.append(stream.tell())
        value = self.what._build(None, stream, context, path)
        starts.pop()
        return value


def chain(database: Database, container: str) -> list[Container]:
    """Return a container with its bases, the outermost base first. Raises DatabaseError for a cycle or a stranger."""
    found: list[Container] = []
    name = container
    while name:
        if name not in database.containers or len(found) > NESTED_MAX:
            raise DatabaseError(f"container {container}: {name} is unknown, or its bases never end")
        found.append(database.containers[name])
        name = found[-1].base
    return found[::-1]


def declare(database: Database, container: str) -> c.Construct:
    """Return the declaration of a packet of this container, bases first; its stream has an octet for each bit."""
    parts = [_entry(database, entry, 0) for one in chain(database, container) for entry in one.entries]
    return _Within(_sequence(parts))


def _sequence(parts: list[c.Construct]) -> c.Construct:
    return c.Sequence(*parts)


def _entry(database: Database, entry: Entry, depth: int) -> c.Construct:
    if depth > NESTED_MAX:
        raise DatabaseError("containers within containers never end")
    at_end = entry.location.reference is Reference.END
    parts: list[c.Construct] = [] if at_end or entry.location == Location() else [_Move(entry.location)]
    if isinstance(entry, FixedEntry):
        whole = _sequence([*parts, _padding(entry)])
        return _FromEnd(entry.location, whole) if at_end else whole
    if isinstance(entry, ContainerEntry):
        inner = chain(database, entry.container)
        what = _Within(_sequence([_entry(database, e, depth + 1) for one in inner for e in one.entries]))
    else:
        parameter = database.parameters[entry.parameter]
        what = _typed(database, entry.parameter, database.types[parameter.type_name], entry.dimensions, depth)
    parts.append(_repeated(what, entry.repeat))
    whole = _FromEnd(entry.location, _sequence(parts)) if at_end else _sequence(parts)
    return whole if entry.condition == ALWAYS else _When(entry.condition, whole)


class _When(c.Construct):  # type: ignore[misc]
    """An entry that stands there only when its condition holds."""

    def __init__(self, condition: Match, what: c.Construct) -> None:
        super().__init__()
        self.condition, self.what, self.flagbuildnone = condition, what, True

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        met = scalar.holds(self.condition, _state(context).look)
        return self.what._parsereport(stream, context, path) if met else None

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        met = scalar.holds(self.condition, _state(context).look)
        return self.what._build(None, stream, context, path) if met else None


def _padding(entry: FixedEntry) -> c.Construct:
    bits = (scalar.bits_of(entry.value) + bytes(entry.size_bits))[: entry.size_bits]
    return c.Padding(entry.size_bits) if not any(bits) else c.Default(c.Bytes(entry.size_bits), bits)


def _repeated(what: c.Construct, repeat: Repeat | None) -> c.Construct:
    if repeat is None:
        return what
    return _Repeat(
        what,
        lambda state: scalar.integer(repeat.count, state.look),
        lambda state: scalar.integer(repeat.offset_bits, state.look),
    )


def _typed(
    database: Database, name: str, kind: ParameterType, dimensions: tuple[Dimension, ...], depth: int
) -> c.Construct:
    if depth > NESTED_MAX:
        raise DatabaseError(f"{name}: types within types never end")
    if kind.kind == "aggregate":
        members = [
            _typed(database, f"{name}.{member.name}", database.types[member.type_name], (), depth + 1)
            for member in kind.members
        ]
        return _sequence(members)
    if kind.kind == "array":
        what = _typed(database, name, database.types[kind.element_type], (), depth + 1)
        for dimension in reversed(dimensions or kind.dimensions):
            what = _Repeat(what, _length(dimension), lambda state: 0)
        return what
    if kind.encoding is None:
        raise DatabaseError(f"{name}: its type {kind.name} has no encoding, so it cannot stand in a packet")
    return _Field(name, kind.encoding)


def _length(dimension: Dimension) -> Any:
    return lambda state: scalar.integer(dimension.last, state.look) - scalar.integer(dimension.first, state.look) + 1


def parse(database: Database, container: str, packet: bytes) -> dict[str, list[Raw]]:
    """Return the raw values of a packet, each parameter's in the order of the packet. Raises Undecodable."""
    state = State(database)
    try:
        declare(database, container).parse(scalar.bits_of(packet), state=state)
    except c.ConstructError as error:
        raise Undecodable(str(error)) from None
    return state.found


def build(database: Database, container: str, given: Given) -> bytes:
    """Return a packet of a container from raw values; a parameter that occurs several times takes a list.

    What is not given is what the restrictions of the container demand, else its initial value, else zero (texts and
    octets: empty). Raises Undecodable, DatabaseError.
    """
    return build_with_places(database, container, given)[0]


def build_with_places(database: Database, container: str, given: Given) -> tuple[bytes, tuple[Place, ...]]:
    """Return a packet as `build` does, and where its parameters stand in it, in the order of the packet."""
    state = State(database, given, _implied(database, container))
    stream = BytesIO()
    try:
        declare(database, container).build_stream(None, stream, state=state)
        _build_ends(stream, state)
    except c.ConstructError as error:
        raise Undecodable(str(error)) from None
    return scalar.octets(stream.getvalue()), tuple(state.places)


def space_packet(database: Database, container: str, given: Given) -> bytes:
    """Return `build`'s packet with the packet data length of its primary header put right. Raises as `build` does."""
    packet = build(database, container, given)
    if not 7 <= len(packet) <= 65542:
        raise Undecodable(f"a space packet of {len(packet)} octets: 7 to 65542")
    return packet[:4] + (len(packet) - 7).to_bytes(2, "big") + packet[6:]


def _implied(database: Database, container: str) -> dict[str, Raw]:
    """Return the raw values that the restrictions of a container and its bases demand."""
    demanded: dict[str, Raw] = {
        name: parameter.initial
        for name, parameter in database.parameters.items()
        if isinstance(parameter.initial, int | float)
    }
    for one in chain(database, container):
        for term in _conjunction(one.restriction):
            raw = _demanded(database, term)
            if raw is not None:
                demanded[term.parameter] = raw
    return demanded


def _conjunction(match: Match) -> list[Comparison]:
    if isinstance(match, Comparison):
        return [match]
    return [one for term in match.terms for one in _conjunction(term)] if isinstance(match, AllOf) else []


def _demanded(database: Database, term: Comparison) -> Raw | None:
    if term.operator is not Operator.EQUAL or term.other:
        return None
    if not isinstance(term.value, str):
        return term.value
    kind = database.types[database.parameters[term.parameter].type_name]
    states = kind.calibration.default
    if isinstance(states, States):
        return next((state.low for state in states.states if state.label == term.value), None)
    return None
