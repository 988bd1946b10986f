"""Which packets can hold a parameter, by what the database says: so that a reader of one looks at few packets.

The answer errs on one side only: a packet that holds the parameter is never left out.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway_codecs.mdb.expression import parse
from gateway_codecs.mdb.model import (
    AllOf,
    AnyOf,
    Comparison,
    Container,
    ContainerEntry,
    Database,
    Entry,
    FixedEntry,
    IntegerEncoding,
    Location,
    Match,
    Operator,
    ParameterEntry,
    Source,
)
from gateway_codecs.mdb.report import DatabaseError

APID_AT_BIT, APID_BITS = 5, 11  # CCSDS 133.0-B-2, 4.1.3.3
Apids = frozenset[int] | None
"""None = any."""
DEPTH_MAX = 64


def apids(database: Database, parameter: str) -> Apids:
    """Return the APIDs of the packets that can hold a parameter (qualified name); None = of any."""
    wanted = _inputs(database, parameter)
    users = _users(database)
    found: set[int] = set()
    for name in _holding(database, wanted, users):
        of_container = _restricted(database, name)
        if of_container is None:
            return None
        found |= of_container
    return frozenset(found)


def all_apids(database: Database) -> Apids:
    """Return the APIDs of all packets that the database can name; None = of any."""
    found: set[int] = set()
    for name, container in database.containers.items():
        if not container.abstract and (container.base or name in database.roots):
            of_container = _restricted(database, name)
            if of_container is None:
                return None
            found |= of_container
    return frozenset(found)


def base_name(parameter: str) -> str:
    """Return the parameter that a member or an element belongs to: `/S/POSITION.x` and `/S/A[3]` are of another."""
    head, slash, tail = parameter.rpartition("/")
    return head + slash + tail.split("[")[0].split(".")[0]


def _inputs(database: Database, parameter: str) -> set[str]:
    """Return the parameter and everything that it is derived from."""
    found: set[str] = set()
    todo = [parameter]
    while todo:
        name = todo.pop()
        name = name if name in database.parameters else base_name(name)
        if name in found:
            continue
        found.add(name)
        definition = database.parameters.get(name)
        if definition is not None and definition.source is Source.DERIVED and definition.derivation:
            try:
                todo += parse(definition.derivation).names
            except DatabaseError:  # it has no values: nothing to look for
                continue
    return found


def _users(database: Database) -> dict[str, set[str]]:
    """Return which containers include each container, as an entry."""
    users: dict[str, set[str]] = {}
    for name, container in database.containers.items():
        for entry in container.entries:
            if isinstance(entry, ContainerEntry):
                users.setdefault(entry.container, set()).add(name)
    return users


def _holding(database: Database, wanted: set[str], users: dict[str, set[str]]) -> set[str]:
    """Return the containers that hold one of the parameters, themselves or by one that they include."""
    direct = {
        name
        for name, container in database.containers.items()
        if any(
            isinstance(one, ParameterEntry) and not wanted.isdisjoint((one.parameter, base_name(one.parameter)))
            for one in container.entries
        )
    }
    found, todo = set(direct), list(direct)
    while todo:
        for user in users.get(todo.pop(), set()) - found:
            found.add(user)
            todo.append(user)
    return {name for name in found if database.containers[name].base or name in database.roots}


def _restricted(database: Database, name: str) -> Apids:
    """Return the APIDs that a container's chain of restrictions lets through; None = any."""
    found: Apids = None
    chain = list(_chain(database, name))
    if not chain or chain[-1].base:
        return None  # a chain that does not end: nothing is known
    apid = _apid_parameter(database, chain[-1])
    for container in chain:
        found = _both(found, _of_match(container.restriction, apid))
    return found


def _chain(database: Database, name: str) -> Iterator[Container]:
    for _ in range(DEPTH_MAX):
        container = database.containers.get(name)
        if container is None:
            return
        yield container
        name = container.base
        if not name:
            return


def _apid_parameter(database: Database, root: Container) -> str:
    """Return the parameter that is the APID by where it stands, empty when that cannot be told."""
    at = 0
    for entry in _leading(database, root, DEPTH_MAX):
        size = _plain_size(database, entry)
        if size is None:
            return ""
        if at == APID_AT_BIT and size == APID_BITS and isinstance(entry, ParameterEntry):
            return entry.parameter
        at += size
    return ""


def _plain_size(database: Database, entry: Entry) -> int | None:
    """Return the bits of an entry that follows the one before and is an unsigned integer or filler; None = other."""
    if isinstance(entry, ContainerEntry) or entry.location != Location():
        return None
    if isinstance(entry, FixedEntry):
        return entry.size_bits
    definition = database.parameters.get(entry.parameter)
    kind = database.types.get(definition.type_name) if definition is not None else None
    if kind is None or entry.repeat is not None or not isinstance(kind.encoding, IntegerEncoding):
        return None
    is_plain = kind.encoding == IntegerEncoding(kind.encoding.size_bits) and kind.calibration.default is None
    return kind.encoding.size_bits if is_plain else None


def _leading(database: Database, container: Container, depth: int) -> Iterator[Entry]:
    """Yield the entries with which a packet begins, those of included containers in place."""
    for entry in container.entries:
        inner = database.containers.get(entry.container) if isinstance(entry, ContainerEntry) else None
        if inner is not None and entry.location == Location() and not inner.base and depth:
            yield from _leading(database, inner, depth - 1)
        else:
            yield entry


def _of_match(match: Match, apid: str) -> Apids:
    if isinstance(match, Comparison):
        of_apid = match.parameter == apid and match.operator is Operator.EQUAL and not match.other
        return frozenset({match.value}) if of_apid and isinstance(match.value, int) else None
    if isinstance(match, AllOf):
        found: Apids = None
        for term in match.terms:
            found = _both(found, _of_match(term, apid))
        return found
    if isinstance(match, AnyOf) and match.terms:
        parts = [_of_match(term, apid) for term in match.terms]
        return None if any(part is None for part in parts) else frozenset().union(*(part or () for part in parts))
    return None


def _both(one: Apids, other: Apids) -> Apids:
    if one is None or other is None:
        return one if other is None else other
    return one & other
