"""Writes the tables of docs/configuration.md from the models: `python -m gateway_config.documentation FILE`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway_config.explain import inner_model
from gateway_config.findings import NAME_PATTERN
from gateway_config.gateway_settings import GatewaySettings
from gateway_config.homes import Home
from gateway_config.links import LinkConfig
from gateway_config.missions import Mission

FILES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("gateway.yaml", GatewaySettings),
    ("missions/NAME.yaml", Mission),
    ("links/NAME.yaml", LinkConfig),
    ("homes/NAME.yaml", Home),
)
BEGIN, END = "<!-- keys: begin (written by gateway_config.documentation) -->", "<!-- keys: end -->"
_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def tables() -> str:
    """Return one Markdown table for each file and each part of it."""
    return "\n\n".join(_table(title, model) for file, model in FILES for title, model in _parts(f"`{file}`", model))


def with_tables(page: str) -> str:
    """Return a page with what stands between its markers replaced. Raises ValueError without markers."""
    if BEGIN not in page or END not in page:
        raise ValueError(f"the page has no markers {BEGIN} and {END}")
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n\n{tables()}\n\n{END}", page)


def _parts(title: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield title, model
    for name, field in model.model_fields.items():
        part, container = inner_model(field.annotation)
        if part is not None:
            keyed = get_origin(field.annotation) is Mapping
            step = f"{name}.ID" if keyed else f"{name}[]" if container else name
            separator = ": " if title.endswith(".yaml`") else "."
            yield from _parts(f"{title.removesuffix('`')}`{separator}`{step}`".replace("``", "`"), part)


def _table(title: str, model: type[BaseModel]) -> str:
    rows = [
        f"| `{name}` | {_kind(field.annotation, tuple(field.metadata))} | {_default(field)} | {field.description} |"
        for name, field in model.model_fields.items()
    ]
    return "\n".join([f"### {title}", "", "| key | value | default | meaning |", "|---|---|---|---|", *rows])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    if field.default_factory is not None:
        return "(its own defaults)" if inner_model(field.annotation)[0] and not _keyed(field) else "none"
    value = field.default
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, bool):
        return f"`{value}`".lower()
    return "none" if value is None or value == "" else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _keyed(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is Mapping


def _kind(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """Return what a value may be, in words."""
    if get_origin(annotation) is Annotated:
        base, *rest = get_args(annotation)
        return _kind(base, tuple(rest))
    if inner_model(annotation)[0] is not None or get_origin(annotation) in {Literal, Union, UnionType, tuple}:
        return _compound(annotation)
    if NAME_PATTERN in str(metadata):
        return "name"
    return _WORDS[annotation] + _range(metadata)


def _compound(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{word}`" for word in arguments)
    if origin in {Union, UnionType}:
        return " or ".join(_kind(part) for part in arguments if part is not NoneType)
    if origin is tuple:
        return f"list of {_kind(arguments[0])}"
    return "keys by id" if origin is Mapping else "keys"


def _range(metadata: tuple[Any, ...]) -> str:
    flat = [bound for item in metadata for bound in getattr(item, "metadata", [item])]
    words = [f"≥ {b.ge:,}" for b in flat if isinstance(b, Ge)] + [f"> {b.gt:,}" for b in flat if isinstance(b, Gt)]
    words += [f"≤ {b.le:,}" for b in flat if isinstance(b, Le)]
    return f" {', '.join(words)}" if words else ""


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(with_tables(target.read_text(encoding="utf-8")), encoding="utf-8")
