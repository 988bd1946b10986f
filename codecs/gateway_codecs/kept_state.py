"""Reads values of a durable state that may be of another version, another configuration, or damaged: none raises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LARGEST = (1 << 62) - 1
"""Counts and offsets beyond are not believed: arithmetic in int64 goes on from them."""


def mapping(value: object) -> Mapping[str, Any]:
    """Return the dictionary, an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def natural(value: object) -> int | None:
    """Return a count or an offset, None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST else None


def int64(value: object, default: int) -> int:
    """Return a number that int64 holds (a time in ns), the default for anything else."""
    return value if isinstance(value, int) and -(1 << 63) <= value < 1 << 63 else default
