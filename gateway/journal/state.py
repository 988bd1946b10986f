"""The journal's durable state: patches committed with the blocks, merged in order.

A dictionary in a patch is merged into the one that is there; any other value, null included, replaces. A key
holds either always dictionaries or never one: then merging is associative, and the patches of a group of
appends can be merged into one before they are committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merge(state: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return `state` (or an earlier patch) with `patch` merged in."""
    result = dict(state)
    for key, value in patch.items():
        if isinstance(value, Mapping):
            before = result.get(key)
            result[key] = merge(before if isinstance(before, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def names_not_in(state: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names of a patch that the state does not hold."""
    known, left = state.get("names", {}), dict[str, Any]()
    for what, names in patch.get("names", {}).items():
        fresh = {name: number for name, number in names.items() if name not in known.get(what, {})}
        left |= {what: fresh} if fresh else {}
    return {"names": left} if left else {}
