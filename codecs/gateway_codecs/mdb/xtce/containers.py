"""Containers of XTCE: entries, where they stand, when they are there, how often; what derives from what.

An entry that cannot be read moves nothing only where its size is known. Behind one of unknown size no position can be
known, so that what follows is left out, each entry with a remark, up to one with a place of its own (containerStart);
in derived containers too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from gateway_codecs.mdb.layout import Sizes, repeated, size_bits
from gateway_codecs.mdb.model import (
    ALWAYS,
    Container,
    ContainerEntry,
    Database,
    Dimension,
    DynamicInteger,
    Entry,
    FixedEntry,
    Integer,
    Location,
    LookupInteger,
    Match,
    Parameter,
    ParameterEntry,
    ParameterType,
    Reference,
    Repeat,
)
from gateway_codecs.mdb.xtce.conditions import NEVER, integer, match
from gateway_codecs.mdb.xtce.elements import Element
from gateway_codecs.mdb.xtce.encodings import PACKET_BITS, refuse_absurd
from gateway_codecs.mdb.xtce.numbers import whole
from gateway_codecs.mdb.xtce.scope import Definition, Scope
from gateway_codecs.mdb.xtce.types import dimensions

_REFERENCES = {
    "previousEntry": Reference.PREVIOUS, "containerStart": Reference.CONTAINER, "containerEnd": Reference.END,
}  # fmt: skip


@dataclass(slots=True)
class Read:
    """What is read already, and whether it can stand in a packet."""

    types: dict[str, ParameterType]
    parameters: dict[str, Parameter]
    empty: frozenset[str]  # types of no bits: their parameters take no place
    within: frozenset[str] = frozenset()  # containers that stand within others, and their bases
    containers: dict[str, Container] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)  # containers at whose end the position is unknown, and why


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an entry stands, when and how often. `known` False: that cannot be read."""

    location: Location = Location()
    condition: Match = ALWAYS
    repeat: Repeat | None = None
    known: bool = True

    @property
    def apart(self) -> bool:
        """Whether it is placed from the end: it moves nothing."""
        return self.location.reference is Reference.END

    @property
    def plain(self) -> bool:
        return self.condition == ALWAYS and self.repeat is None


def base_name(definition: Definition, scope: Scope) -> str | None:
    """Return the container that one derives from, "" when from none; None, and a remark, when that is not defined."""
    told = definition.element.first("BaseContainer")
    if told is None:
        return ""
    name = scope.container_name(told.get("containerRef"), definition.system)
    if not name:
        why = f"its BaseContainer {told.get('containerRef')!r} is not defined: the container is left out"
        scope.remarks.wrong(definition.name, why, told.line)
        return None
    return name


def inner_names(definition: Definition, scope: Scope) -> list[str]:
    """Return the containers that stand within one."""
    listed = definition.element.first("EntryList")
    told = listed.all("ContainerRefEntry") if listed else ()
    names = [scope.container_name(one.get("containerRef"), definition.system) for one in told]
    return [name for name in names if name]


def container(definition: Definition, base: str, scope: Scope, read: Read) -> Container:
    """Return a container; its base and those within it are read before."""
    name, element, system = definition
    listed = element.first("EntryList")
    lost = read.lost.get(base, "")
    entries: list[Entry] = []
    for child in listed.all() if listed else ():
        lost = _add(child, entries, lost, scope, system, name, read)
    lost = _fixed_size(element, entries, lost, scope, system, name)
    if lost:
        read.lost[name] = lost
    return Container(
        name,
        tuple(entries),
        base,
        _restriction(element, scope, system, name),
        element.flag("abstract", False),
        element.child_text("LongDescription") or element.get("shortDescription"),
        scope.where(element),
    )


def _restriction(element: Element, scope: Scope, system: str, what: str) -> Match:
    told = element.first("BaseContainer")
    criteria = told.first("RestrictionCriteria") if told else None
    if criteria is None:
        return ALWAYS
    following = criteria.first("NextContainer")
    found = None if following else match(criteria, scope, system, what)
    if following:
        scope.remarks.ignored(
            f"NextContainer in {what}", "what follows a packet does not say what it is", following.line
        )
    if found is None:
        why = "criteria that cannot be evaluated: no packet is taken for this container"
        scope.remarks.ignored(f"RestrictionCriteria of {what}", why, criteria.line)
    return NEVER if found is None else found


def _fixed_size(element: Element, entries: list[Entry], lost: str, scope: Scope, system: str, what: str) -> str:
    """A container of a size of its own ends there, wherever its last entry does."""
    coding = element.first("BinaryEncoding")
    told = coding.first("SizeInBits") if coding else None
    if told is None:
        return lost
    size = integer(told.first("Fixed") or told, scope, system, what)
    if size is None:
        return lost or "the size of the container cannot be read"
    refuse_absurd_offset(size, scope, told, what)
    entries.append(FixedEntry(0, location=Location(Reference.CONTAINER, size)))
    return ""


def refuse_absurd_offset(offset: Integer, scope: Scope, element: Element, what: str) -> None:
    """Raise DatabaseError for a fixed offset or count that no packet holds."""
    if isinstance(offset, int) and abs(offset) > PACKET_BITS:
        raise scope.error(f"{what}: {offset:,}, where a packet holds at most {PACKET_BITS:,} bits", element)


def _add(child: Element, entries: list[Entry], lost: str, scope: Scope, system: str, what: str, read: Read) -> str:
    """Read one entry; return why the position behind it is unknown, "" when it is known."""
    label = _label(child)
    place = _place(child, scope, system, what)
    if place.apart:
        if place.known:
            _from_the_end(child, entries, place, scope, system, what, read)
        return lost
    if lost and place.location.reference is not Reference.CONTAINER:
        scope.remarks.ignored(f"{label} in {what}", f"its position is unknown: {lost}", child.line)
        return lost
    if not place.known:
        return f"the place or presence of {label} cannot be read"
    return _entry(child, entries, place, scope, system, what, read)


def _entry(
    child: Element, entries: list[Entry], place: _Place, scope: Scope, system: str, what: str, read: Read
) -> str:
    if child.name in {"ParameterRefEntry", "ArrayParameterRefEntry"}:
        return _parameter(child, entries, place, scope, system, what, read)
    if child.name == "ContainerRefEntry":
        return _container(child, entries, place, scope, system, what, read)
    return _other(child, entries, place, scope, what)


def _label(child: Element) -> str:
    named = child.get("parameterRef") or child.get("containerRef") or child.get("streamRef")
    return f"{child.name} {named}".strip()


def _place(child: Element, scope: Scope, system: str, what: str) -> _Place:
    label = f"{_label(child)} in {what}"
    location, known = _location(child, scope, system, label)
    condition: Match | None = ALWAYS
    if told := child.first("IncludeCondition"):
        condition = match(told, scope, system, label)
    repeat, repeat_known = _repeat(child, scope, system, label)
    known = known and condition is not None and repeat_known
    return _Place(location, condition or ALWAYS, repeat, known)


def _from_the_end(
    child: Element, entries: list[Entry], place: _Place, scope: Scope, system: str, what: str, read: Read
) -> None:
    """An entry that ends so many bits before its container does: that is told from its size."""
    label = f"{_label(child)} in {what}"
    own_size = scope.containers[what].element.first("BinaryEncoding")
    if what in read.within or own_size is not None:
        why = "it is placed from the end of a container that ends before its packet does: not read"
        scope.remarks.ignored(label, why, child.line)
        return
    found: list[Entry] = []
    if _entry(child, found, place, scope, system, what, read) or not found:
        return  # a remark says why
    size = _size(found[0], read)
    bits = place.location.bits
    if size is None:
        why = "it is placed from the end of its container, and its size varies: not read"
        scope.remarks.ignored(label, why, child.line)
    elif isinstance(bits, int) and bits < 0:
        scope.remarks.wrong(label, f"it ends {-bits} bits behind the end of its container: not read", child.line)
    else:
        entries.append(replace(found[0], location=Location(Reference.END, _sum(bits, size))))


def _size(entry: Entry, read: Read) -> int | None:
    """Return the bits of an entry with its repeats, None when they vary."""
    known = Database("", types=read.types, parameters=read.parameters, containers=read.containers)
    if isinstance(entry, FixedEntry):
        return entry.size_bits
    if isinstance(entry, ContainerEntry):
        return repeated(size_bits(known, entry.container), entry.repeat)
    return repeated(Sizes(known).of_entry(entry), entry.repeat)


def _sum(bits: Integer, size: int) -> Integer:
    if isinstance(bits, DynamicInteger):
        return replace(bits, intercept=bits.intercept + size)
    if isinstance(bits, LookupInteger):
        return LookupInteger(tuple((condition, value + size) for condition, value in bits.cases))
    return bits + size


def _location(child: Element, scope: Scope, system: str, label: str) -> tuple[Location, bool]:
    told = child.first("LocationInContainerInBits")
    if told is None:
        return Location(), True
    named = told.get("referenceLocation") or "previousEntry"
    bits = integer(told, scope, system, label)
    if named not in _REFERENCES or bits is None:
        if named not in _REFERENCES:
            scope.remarks.ignored(label, f"referenceLocation={named!r} is not read", told.line)
        return Location(_REFERENCES.get(named, Reference.PREVIOUS)), False
    refuse_absurd_offset(bits, scope, told, label)
    return Location(_REFERENCES[named], bits), True


def _repeat(child: Element, scope: Scope, system: str, label: str) -> tuple[Repeat | None, bool]:
    told = child.first("RepeatEntry")
    if told is None:
        return None, True
    counted, gap = told.first("Count"), told.first("Offset")
    count = integer(counted, scope, system, label) if counted else None
    offset = integer(gap, scope, system, label) if gap else 0
    if count is None or offset is None:
        return None, False
    refuse_absurd_offset(count, scope, told, label)
    refuse_absurd_offset(offset, scope, told, label)
    return Repeat(count, offset), True


def _parameter(
    child: Element, entries: list[Entry], place: _Place, scope: Scope, system: str, what: str, read: Read
) -> str:
    reference = child.get("parameterRef")
    name = scope.parameter_name(reference, system)
    if name not in read.parameters:
        why = "is not defined" if not name else "is no whole parameter, or has no type"
        scope.remarks.wrong(f"{_label(child)} in {what}", f"parameter {reference!r} {why}", child.line)
        return f"the size of {reference!r} is unknown"
    told = read.types[read.parameters[name].type_name]
    if told.name in read.empty:
        scope.remarks.wrong(f"{_label(child)} in {what}", "it has 0 bits: it takes no place", child.line)
        return ""
    found = dimensions(child, scope, system, what) if child.name == "ArrayParameterRefEntry" else ()
    if found is None:
        return f"the dimensions of {reference!r} cannot be read"
    if why := _unplaceable(told, found, read.types, scope):
        scope.remarks.wrong(f"{_label(child)} in {what}", why, child.line)
        return f"the size of {reference!r} is unknown"
    entries.append(ParameterEntry(name, place.location, place.condition, place.repeat, found))
    return ""


def _unplaceable(
    told: ParameterType, found: tuple[Dimension, ...], types: dict[str, ParameterType], scope: Scope
) -> str:
    """Return why a type cannot stand in a packet."""
    if told.kind == "array":
        if not (found or told.dimensions):
            return f"neither the entry nor its type {told.name} has dimensions"
        if found and told.dimensions and len(found) != len(told.dimensions):
            return f"{len(found)} dimensions, where its type {told.name} has {len(told.dimensions)}"
    elif found:
        return f"dimensions, but its type {told.name} is no array"
    return _uncoded(told, types, scope, 0)


def _uncoded(told: ParameterType, types: dict[str, ParameterType], scope: Scope, depth: int) -> str:
    if depth > scope.budget.depth:
        return f"types within types nested deeper than {scope.budget.depth}"
    inner = [told.element_type] if told.kind == "array" else [member.type_name for member in told.members]
    if not inner:
        return "" if told.encoding is not None else f"its type {told.name} has no encoding: it is in no packet"
    for name in dict.fromkeys(inner):
        if name not in types:
            return f"type {name} is left out"
        if types[name].kind == "array" and not types[name].dimensions:
            return f"type {name} has no dimensions"
        if why := _uncoded(types[name], types, scope, depth + 1):
            return why
    return ""


def _container(
    child: Element, entries: list[Entry], place: _Place, scope: Scope, system: str, what: str, read: Read
) -> str:
    reference = child.get("containerRef")
    name = scope.container_name(reference, system)
    if name not in read.containers:
        why = f"container {reference!r} is not defined" if not name else f"container {name} is left out"
        scope.remarks.wrong(f"{_label(child)} in {what}", why, child.line)
        return f"the size of {reference!r} is unknown"
    entries.append(ContainerEntry(name, place.location, place.condition, place.repeat))
    return f"within {name}: {read.lost[name]}"[:300] if name in read.lost else ""


def _other(child: Element, entries: list[Entry], place: _Place, scope: Scope, what: str) -> str:
    """An entry that carries no parameter of ours: its bits are passed over when their number is known."""
    label = f"{_label(child)} in {what}"
    size = whole(child.get("sizeInBits"))
    if child.name != "FixedValueEntry":
        scope.remarks.ignored(label, f"{child.name} is not read", child.line)
    if size is None or size < 0 or not place.plain:
        if child.name == "FixedValueEntry":
            scope.remarks.ignored(label, "a fixed value without a size, with a condition or repeated", child.line)
        return f"the size of {_label(child)} is unknown"
    refuse_absurd(size, scope, child, label)
    try:
        value = bytes.fromhex(child.get("binaryValue"))
    except ValueError:
        scope.remarks.wrong(label, f"binaryValue={child.get('binaryValue')[:40]!r} is not hexadecimal", child.line)
        value = b""
    entries.append(FixedEntry(size, value, place.location))
    return ""
