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
