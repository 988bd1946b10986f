"""Finding things in a database by name: parameters, members and elements, and what is in which packet. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gateway_codecs.mdb.model import Database, ParameterType, TypeKind

ELEMENT = re.compile(r"\[(\d+)\]")
PATHS_MAX = 256
"""So many members of one aggregate are listed."""


def type_of(database: Database, name: str) -> ParameterType | None:
    """Return the type of a parameter, member (`/S/POSITION.x`) or element (`/S/A[3]`); None when there is none such."""
    if name in database.parameters:
        return database.types.get(database.parameters[name].type_name)
    head, slash, tail = name.rpartition("/")
    first, *path = re.split(r"(?=[.\[])", tail)
    definition = database.parameters.get(head + slash + first)
    found = database.types.get(definition.type_name) if definition is not None else None
    for step in path:
        if found is None:
            return None
        found = database.types.get(_inner(found, step))
    return found


def _inner(of: ParameterType, step: str) -> str:
    """Return the name of the type behind `.member` or `[index]`, empty when there is none."""
    if step.startswith("."):
        return next((member.type_name for member in of.members if member.name == step[1:]), "")
    return of.element_type if ELEMENT.fullmatch(step) else ""


def kind_of(database: Database, name: str) -> TypeKind | None:
    """Return the kind of a parameter's values; of an array that of its elements."""
    found = type_of(database, name)
    for _ in range(8):
        if found is None or found.kind != "array":
            break
        found = database.types.get(found.element_type)
    return None if found is None else found.kind


def members(database: Database, name: str) -> Iterator[str]:
    """Yield the names that have values: the parameter itself, or the members of an aggregate, down to the last."""
    todo, told = [name], 0
    while todo and told < PATHS_MAX:
        here = todo.pop()
        found = type_of(database, here)
        if found is not None and found.kind == "aggregate":
            todo += [f"{here}.{member.name}" for member in reversed(found.members)]
        else:
            told += 1
            yield here


def resolve(database: Database, text: str) -> list[str]:
    """Return the qualified names with values that `text` may mean; a short name, an alias, a member of either."""
    if type_of(database, text) is not None:
        return [text]
    match = re.fullmatch(r"([^.\[]+)(.*)", text)
    if match is None:
        return []
    return [full + match[2] for full in database.find_parameter(match[1]) if type_of(database, full + match[2])]
