"""An XTCE file as a mission database (CCSDS 660.0-B-2; OMG XTCE 1.0 to 1.3).

In order: the elements (`elements`), what each name means (`scope`), then types, parameters, derivations and
containers. What cannot be read is told, and the rest is read. DatabaseError is raised for what makes a whole file
unusable or dangerous: no XML, no XTCE, beyond the budget, definitions in a circle, layouts that no packet holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway_codecs.mdb import expression
from gateway_codecs.mdb.model import Container, Database, Parameter, ParameterType, Where
from gateway_codecs.mdb.report import Budget, DatabaseError, Reading
from gateway_codecs.mdb.xtce.audit import audit
from gateway_codecs.mdb.xtce.containers import Read, base_name, container, inner_names
from gateway_codecs.mdb.xtce.elements import Element, parse
from gateway_codecs.mdb.xtce.layout import Bounds
from gateway_codecs.mdb.xtce.names import qualified
from gateway_codecs.mdb.xtce.parameters import derive, parameter
from gateway_codecs.mdb.xtce.remarks import Remarks
from gateway_codecs.mdb.xtce.scope import Definition, Scope
from gateway_codecs.mdb.xtce.types import KINDS, parameter_type

USUAL = Budget()
_SYSTEMS = ("TelemetryMetaData", "CommandMetaData")


def read_xtce(data: bytes, file: str, budget: Budget = USUAL) -> Reading:
    """Return the database of an XTCE file, how many elements it has, and what was not read and why.

    `file` is its name, for messages. Raises DatabaseError: no XTCE, beyond the budget, in a circle, or absurd.
    """
    document = parse(data, file, budget)
    scope = Scope(file, budget, Remarks(file, budget.remarks))
    _collect(document.root, "", scope)
    types = _types(scope)
    parameters = _parameters(scope, types)
    _refuse_circles_of_values(scope, types, parameters)
    containers = _containers(scope, types, parameters)
    audit(document, scope.remarks)
    header = document.root.first("Header")
    database = Database(
        name=document.root.get("name"),
        version=header.get("version") if header else "",
        description=document.root.child_text("LongDescription") or document.root.get("shortDescription"),
        types=types,
        parameters=parameters,
        containers=containers,
        roots=_roots(scope, containers),
    )
    return Reading(database, dict(document.counts), scope.remarks.told())


# ---- what is defined ----


def _collect(system: Element, around: str, scope: Scope) -> None:
    path = qualified(around, system.get("name"))
    if not system.get("name"):
        scope.remarks.wrong(f"SpaceSystem in {around or '/'}", "it has no name", system.line)
    for part in system.all(*_SYSTEMS):
        for group in part.all("ParameterTypeSet", "ParameterSet", "ContainerSet", "AlgorithmSet"):
            for one in group.all():
                _define(one, group.name, path, scope)
    for inner in system.all("SpaceSystem"):
        _collect(inner, path, scope)


def _define(one: Element, group: str, system: str, scope: Scope) -> None:
    kinds: Mapping[str, tuple[Iterable[str], dict[str, Definition]]] = {
        "ParameterTypeSet": (KINDS, scope.types),
        "ParameterSet": (("Parameter",), scope.parameters),
        "ContainerSet": (("SequenceContainer",), scope.containers),
        "AlgorithmSet": (("MathAlgorithm",), scope.algorithms),
    }
    names, known = kinds[group]
    name = qualified(system, one.get("name"))
    if one.name not in names:
        if one.name == "include":
            why = "XInclude: no other file is read; put its content here"
        elif one.name == "CustomAlgorithm":
            why = "algorithms in other languages are not run"
        else:
            why = f"{one.name} is not read in a {group}"
        scope.remarks.ignored(f"{one.name} {one.get('name') or one.get('href')}".strip(), why, one.line)
    elif not one.get("name"):
        scope.remarks.wrong(f"{one.name} in {system}", "it has no name", one.line)
    elif name in known:
        why = f"defined before, in line {known[name].element.line}: that one holds"
        scope.remarks.wrong(f"{one.name} {name}", why, one.line)
    else:
        known[name] = Definition(name, one, system)


# ---- types and parameters ----


def _types(scope: Scope) -> dict[str, ParameterType]:
    read = {name: parameter_type(definition, scope) for name, definition in scope.types.items()}
    inner = {
        name: [told.element_type, *(member.type_name for member in told.members)]
        for name, told in read.items()
        if told is not None
    }
    left_out = {name for name, told in read.items() if told is None}
    types: dict[str, ParameterType] = {}
    for name in _in_order(inner, scope, "type", "made of itself", scope.types):
        told = read[name]
        missing = [one for one in inner[name] if one in left_out]
        if told is None or missing:
            why = f"it is made of {', '.join(missing)}, which is left out: so is it"
            scope.remarks.ignored(name, why, scope.types[name].element.line)
            left_out.add(name)
        else:
            types[name] = told
    return {name: types[name] for name in scope.types if name in types}


def _parameters(scope: Scope, types: Mapping[str, ParameterType]) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for name, definition in scope.parameters.items():
        reference = definition.element.get("parameterTypeRef")
        type_name = scope.type_name(reference, definition.system)
        if type_name in types:
            found[name] = parameter(definition, type_name, scope)
        else:
            why = "is not defined" if not type_name else "is left out"
            scope.remarks.wrong(name, f"its type {reference!r} {why}: so is the parameter", definition.element.line)
    for definition in scope.algorithms.values():
        derive(definition, found, scope)
    return found


def _refuse_circles_of_values(
    scope: Scope, types: Mapping[str, ParameterType], parameters: Mapping[str, Parameter]
) -> None:
    """Derived parameters that are made of each other, times that are counted from each other."""
    needs: dict[str, list[str]] = {}
    for name, told in parameters.items():
        time = types[told.type_name].time
        needs[name] = [time.offset_from] if time and time.offset_from else []
        if told.derivation:
            needs[name] += expression.parse(told.derivation).names
    list(_in_order(needs, scope, "parameter", "computed from itself", scope.parameters))


def _in_order(
    needs: Mapping[str, Iterable[str]], scope: Scope, what: str, wrong: str, defined: Mapping[str, Definition]
) -> list[str]:
    """Return the names each behind what it needs. Raises DatabaseError for a circle, or endless depth."""
    depth: dict[str, int] = {}
    for start in needs:
        path: dict[str, None] = {start: None}
        work = [(start, iter(needs[start]))] if start not in depth else []
        while work:
            name, rest = work[-1]
            following = next((one for one in rest if one in needs and one not in depth), None)
            if following in path:
                raise DatabaseError(f"{what} {following} is {wrong}, through {name}", _where(defined[name], scope))
            if following is not None:
                path[following] = None
                work.append((following, iter(needs[following])))
                continue
            depth[name] = 1 + max((depth.get(one, 0) for one in needs[name]), default=0)
            if depth[name] > scope.budget.depth:
                why = f"is nested deeper than {scope.budget.depth}"
                raise DatabaseError(f"{what} {name} {why}", _where(defined[name], scope))
            path.pop(name)
            work.pop()
    return list(depth)


def _where(definition: Definition, scope: Scope) -> Where:
    return scope.where(definition.element)


# ---- containers ----


def _containers(
    scope: Scope, types: dict[str, ParameterType], parameters: dict[str, Parameter]
) -> dict[str, Container]:
    bases = {name: base_name(definition, scope) for name, definition in scope.containers.items()}
    needs = {name: [base or "", *inner_names(scope.containers[name], scope)] for name, base in bases.items()}
    order = _in_order(needs, scope, "container", "its own base or within itself", scope.containers)
    empty = frozenset(name for name in types if types[name].encoding is None and scope.takes_no_place(name))
    read = Read(types, parameters, empty, _within_others(scope, bases))
    bounds = Bounds(read, scope.budget)
    for name in order:
        definition, base = scope.containers[name], bases[name]
        if base is None or (base and base not in read.containers):
            if base:
                why = f"its BaseContainer {base} is left out: so is it"
                scope.remarks.ignored(name, why, definition.element.line)
            continue
        read.containers[name] = container(definition, base, scope, read)
        bounds.check(read.containers[name])
    return {name: read.containers[name] for name in scope.containers if name in read.containers}


def _within_others(scope: Scope, bases: Mapping[str, str | None]) -> frozenset[str]:
    """Return the containers that stand within others, and the bases of these: they end before their packet does."""
    todo = [name for one in scope.containers.values() for name in inner_names(one, scope)]
    found: set[str] = set()
    while todo:
        name = todo.pop()
        if name and name not in found:
            found.add(name)
            todo.append(bases.get(name) or "")
    return frozenset(found)


def _roots(scope: Scope, containers: Mapping[str, Container]) -> tuple[str, ...]:
    """Return where identification begins: the containers without base that others derive from.

    A container that stands alone has nothing that a packet is recognised by. Only where there is nothing else are
    those the roots.
    """
    derived = {one.base for one in containers.values()}
    within = {name for one in containers for name in inner_names(scope.containers[one], scope)}
    alone = [name for name, one in containers.items() if not one.base and name not in within]
    roots = tuple(name for name in alone if name in derived)
    for name in alone if roots else ():
        if name not in derived and not containers[name].abstract:
            why = "no BaseContainer, and nothing derives from it: no packet is recognised as it"
            scope.remarks.ignored(name, why, containers[name].where.line)
    return roots or tuple(alone)
