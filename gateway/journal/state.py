"""The journal's durable state: JSON merge patches (RFC 7396) committed with the blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merge(state: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return `state` with `patch` merged in: dictionaries merge, null deletes, anything else replaces."""
    result = dict(state)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            before = result.get(key)
            result[key] = merge(before if isinstance(before, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def compose(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return one patch that does what `first` and then `second` would do: unlike in `merge`, null stays, to delete."""
    result = dict(first)
    for key, value in second.items():
        before = result.get(key)
        both = isinstance(value, Mapping) and isinstance(before, Mapping)
        result[key] = compose(before, value) if both else value  # type: ignore[arg-type]
    return result
