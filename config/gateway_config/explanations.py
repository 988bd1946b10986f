"""Turns what pydantic finds into problems: the key as it stands in the file, and words for an operator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from gateway_config.documents import Document, Problem
from gateway_config.models import COUNTING, EPOCH, MARKER, NAME, WRONGS, Model

DICTIONARY = "expected a dictionary of keys and values"
REMEDIES = {
    "missing": "this key is required",
    "string_type": "expected text",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "bool_type": "expected true or false",
    "literal_error": "expected {expected}",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected {ge} or more",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected at most {le}",
    "list_type": "expected a list, such as [a, b]",
    "too_short": "expected at least one entry",
    "string_too_short": "expected text that is not empty",
    "string_too_long": "expected at most {max_length} characters",
    "model_type": DICTIONARY,
    "dict_type": DICTIONARY,
}
PATTERNS = {
    NAME: "expected letters, digits, - and _, beginning with a letter or digit, at most 64",
    EPOCH: "expected a UTC time such as 2026-11-24T12:00:00Z",
    MARKER: "expected 6 to 48 hex digits, such as 1ACFFC1D, or none",
    COUNTING: "expected apid, none or shared:GROUP",
}
Found = tuple[tuple[str, ...], Any, str, bool]
"""Path in the file, value, remedy, whether it is one of several ways in which the value could have been right."""


def explained(error: ValidationError, document: Document, model: type[BaseModel]) -> list[Problem]:
    """Return the problems of a document that is no such model, each key once."""
    found = [row for one in error.errors() for row in _found(one, document, model)]
    rows: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for path, value, remedy, one_of_several in found:
        deeper = any(other != path and other[: len(path)] == path for other, *_ in found)
        if not (one_of_several and deeper):  # the value was meant in the way whose parts are told
            rows.setdefault((path, _shown(value)), []).append(remedy)
    told = {(problem.line, problem.key) for problem in document.problems}
    problems = [document.wrong(path, value, _either(remedies)) for (path, value), remedies in rows.items()]
    return [problem for problem in problems if (problem.line, problem.key) not in told]


def inconsistent(part: Model, document: Document) -> Iterator[Problem]:
    """Yield what does not fit together in what could be read of a file."""
    for path, model in _models(part, ()):
        for keys, value, remedy in model.wrongs():
            yield document.wrong((*path, *keys), _shown(value), remedy)


def _models(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Model]]:
    """Yield every model in a value, with the keys that lead to it."""
    children = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    if isinstance(value, Model):
        yield path, value
        children = vars(value).items()
    for key, child in children:
        yield from _models(child, (*path, key))


def _found(error: Any, document: Document, model: type[BaseModel]) -> Iterator[Found]:
    path = _as_written(error["loc"], document, error["type"] == "missing")
    if error["type"] == WRONGS:
        for parts, value, remedy in error["ctx"]["wrongs"]:
            yield (*path, *map(str, parts)), value, remedy, False
    elif error["type"] in {"extra_forbidden", "invalid_key"}:
        *parts, key = error["loc"]
        known = _keys_at(model.model_json_schema(), parts)
        yield (*_as_written(parts, document, False), str(key)), error["input"], _unknown(str(key), known), False
    elif error["loc"][-1:] == ("[key]",) and path and path not in document.lines:
        return  # a key of a kind that YAML alone shows to be wrong
    else:
        value = _Missing if error["type"] == "missing" else error["input"]
        extra = sum(part != "[key]" for part in error["loc"]) - len(path)
        yield path, value, _remedy(error), extra > 0


class _Missing:
    """Stands for the value of a key that is not there."""


def _shown(value: Any) -> str:
    return "missing" if value is _Missing else repr(value)[:80]


def _as_written(loc: Sequence[Any], document: Document, missing: bool) -> tuple[str, ...]:
    """Leave out of a pydantic location what does not stand in the file: names of types, and of choices."""
    path: tuple[str, ...] = ()
    for k, part in enumerate(map(str, loc)):
        if (*path, part) in document.lines or (missing and k == len(loc) - 1):
            path = (*path, part)
    return path


def _remedy(error: Any) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "string_pattern_mismatch" and context["pattern"] in PATTERNS:
        return PATTERNS[context["pattern"]]
    if kind == "string_type" and isinstance(error["input"], bool | int | float):
        return "expected text: quote it"
    words = REMEDIES.get(kind, str(error["msg"]).removeprefix("Value error, ").replace("Input should be", "expected"))
    return words.format(**context) if kind in REMEDIES else words


def _either(remedies: list[str]) -> str:
    once = list(dict.fromkeys(remedies))
    return ", or ".join([once[0], *(remedy.removeprefix("expected ") for remedy in once[1:])])


def _unknown(key: str, known: list[str]) -> str:
    near = get_close_matches(key, known, 1)
    return f"unknown key{f': did you mean {near[0]}?' if near else ';'} known here: {', '.join(sorted(known))}"


def _keys_at(schema: dict[str, Any], loc: Sequence[Any]) -> list[str]:
    """Return the keys that a model knows at a location."""
    node = schema
    for part in loc:
        node = next((found for option in _options(schema, node) if (found := _step(option, part))), node)
    return [key for option in _options(schema, node) for key in option.get("properties", {})]


def _step(option: dict[str, Any], part: Any) -> dict[str, Any] | None:
    below = option.get("properties", {}).get(part) or option.get("items") or option.get("additionalProperties")
    return below if isinstance(below, dict) else None


def _options(schema: dict[str, Any], node: dict[str, Any]) -> list[dict[str, Any]]:
    options = node.get("anyOf", [node])
    return [schema["$defs"][o["$ref"].rsplit("/", 1)[1]] if "$ref" in o else o for o in options]
