"""Turns pydantic's errors into problems that name the key, the value and what would be right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from difflib import get_close_matches
from types import NoneType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from gateway_config.documents import Document
from gateway_config.findings import NAME_PATTERN, Finding
from gateway_config.frame_settings import COUNTING_PATTERN
from gateway_config.problems import Problem

KeyPath = tuple[str | int, ...]
ROUNDS_MAX = 8
"""Models stand at most five deep, and each round rids one level of what it found."""

_PATTERNS = {
    NAME_PATTERN: "write 1 to 64 letters, digits, '-' and '_', beginning with a letter or digit",
    COUNTING_PATTERN: "write apid, none or shared:GROUP",
}
_KINDS = {
    "int_type": "write a whole number",
    "int_from_float": "write a whole number",
    "float_type": "write a number",
    "finite_number": "write a finite number",
    "bool_type": "write true or false",
    "string_type": "write text (in quotes if it looks like a number)",
    "model_type": "write keys and values here",
    "mapping_type": "write keys and values here",
    "dict_type": "write keys and values here",
    "tuple_type": "write a list",
    "too_short": "give at least one",
    "string_too_short": "write something here",
    "invalid_key": "write a name as key",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


def explain(error: ValidationError, document: Document, model: type[BaseModel]) -> list[Problem]:
    """Return one problem for each thing that is wrong."""
    problems: list[Problem] = []
    for detail in error.errors(include_url=False):
        path = tuple(part for part in detail["loc"] if part != "[key]")
        context = detail.get("ctx", {})
        if detail["type"] == "findings":
            found: tuple[Finding, ...] = context["findings"]
            problems += [document.problem((*path, *one.path), one.value, one.remedy) for one in found]
        elif detail["type"] == "too_short" and detail.get("input"):
            continue  # only because an element is wrong, which is told by itself
        elif detail["type"] == "missing":
            problems.append(_missing(document, path, model))
        else:
            remedy = _remedy(detail["type"], context, detail["msg"], path, model)
            problems.append(document.problem(path, detail.get("input"), remedy))
    return problems


def look_again(error: ValidationError, document: Document, model: type[BaseModel]) -> list[Problem]:
    """Return what else does not go together, once the keys that are wrong by themselves are left out.

    A model looks at what lies between its keys only when each of them is right, and the models
    above it not at all; without this, one misspelt key would hide everything that those have to say.
    """
    problems: list[Problem] = []
    rest, left_out = deepcopy(document.data), set[KeyPath]()
    for _ in range(ROUNDS_MAX):
        wrong = sorted(set(_wrong_paths(error)), key=len, reverse=True)
        left_out |= {_leave_out(rest, path) for path in wrong}
        try:
            model.model_validate(rest)
        except ValidationError as again:
            error = again
        else:
            break
        for detail in error.errors(include_url=False):
            found = detail.get("ctx", {}).get("findings", ())
            problems += [document.problem(p, f.value, f.remedy) for p, f in _told(detail["loc"], found, left_out)]
    return problems


def _wrong_paths(error: ValidationError) -> Iterator[KeyPath]:
    for detail in error.errors(include_url=False):
        path = tuple(part for part in detail["loc"] if part != "[key]")
        for one in detail.get("ctx", {}).get("findings", ()):
            yield (*path, *one.path)
        if detail["type"] not in {"findings", "missing"}:
            yield path


def _leave_out(data: Any, path: KeyPath) -> KeyPath:
    """Remove a key, return its path; an element of a list takes the list along, so that others keep their numbers."""
    places = [data]
    for part in path[:-1]:
        try:
            places.append(places[-1][part])
        except (KeyError, IndexError, TypeError):
            return path
    for length in range(len(path), 0, -1):
        if isinstance(places[length - 1], dict):
            places[length - 1].pop(path[length - 1], None)
            return path[:length]
    return path


def _told(loc: KeyPath, found: tuple[Finding, ...], left_out: set[KeyPath]) -> Iterator[tuple[KeyPath, Finding]]:
    for one in found:
        path = (*loc, *one.path)
        touched = any(path[: len(gone)] == gone or gone[: len(path)] == path for gone in left_out)
        if not touched and left_out.isdisjoint((*loc, key) for key in one.because):
            yield path, one


def _missing(document: Document, path: KeyPath, model: type[BaseModel]) -> Problem:
    owner = model_at(model, path[:-1])
    described = (owner.model_fields[str(path[-1])].description if owner else None) or "it has no default"
    key = ".".join(map(str, path))
    return Problem(document.file, document.line(path[:-1]), key, "(missing)", f"add this key: {described}")


def _remedy(kind: str, context: Mapping[str, Any], message: str, path: KeyPath, model: type[BaseModel]) -> str:
    if kind == "extra_forbidden":
        return _unknown_key(path, model)
    if kind == "literal_error":
        return f"write {context['expected']}".replace("'", "")
    if kind == "string_pattern_mismatch":
        return _PATTERNS[context["pattern"]]
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"write {words} {context[key]:g}" if abs(context[key]) < 100_000 else f"write {words} {context[key]}"
    return _KINDS.get(kind, message.removeprefix("Value error, "))


def _unknown_key(path: KeyPath, model: type[BaseModel]) -> str:
    owner = model_at(model, path[:-1])
    known = list(owner.model_fields) if owner else []
    close = get_close_matches(str(path[-1])[:100], known, 1)
    return f"unknown key; did you mean {close[0]}?" if close else f"unknown key; known here: {', '.join(known)}"


def model_at(model: type[BaseModel], path: KeyPath) -> type[BaseModel] | None:
    """Return the model that a key path leads to; elements of lists and mappings are steps of the path."""
    current: type[BaseModel] | None = model
    parts = iter(path)
    for part in parts:
        field = current.model_fields.get(str(part)) if current else None
        if field is None:
            return None
        current, container = inner_model(field.annotation)
        if container:
            next(parts, None)
    return current


def inner_model(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """Return (the model inside an annotation, whether it stands in a list or mapping)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    container = get_origin(annotation) in {tuple, Mapping}
    for inner in _arguments(annotation):
        found, nested = inner_model(inner)
        if found is not None:
            return found, container or nested
    return None, container


def _arguments(annotation: Any) -> Iterator[Any]:
    return (a for a in get_args(annotation) if a not in {NoneType, ...} and not isinstance(a, str))
