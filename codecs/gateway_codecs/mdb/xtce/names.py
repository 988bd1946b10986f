"""Names and references of XTCE (CCSDS 660.0-B-2, NameReferenceType): paths of SpaceSystems as in a file system.

`/A/B/x` is absolute; `B/x`, `../x` and `x` begin at the own system. What is not found there is looked for in the
systems around it, up to the root. A reference to a parameter may go on with `.member` or `[index]`.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator

_PART = re.compile(r"(?:\.[^./\[\]]+|\[\d+\])+$")


def qualified(system: str, name: str) -> str:
    """Return the qualified name of what is defined in a system."""
    return f"{system}/{name}"


def candidates(reference: str, system: str) -> Iterator[str]:
    """Give the qualified names that a reference made in `system` may mean, the nearest first."""
    if reference.startswith("/"):
        yield _normal(reference)
        root = system.split("/")[1] if system else ""
        yield _normal(f"/{root}/{reference}")  # files that leave the root system out
        return
    while system:
        yield _normal(f"{system}/{reference}")
        system = system.rpartition("/")[0]


def resolve(reference: str, system: str, known: Container[str]) -> str:
    """Return the qualified name of what a reference means; "" when nothing of that name is known."""
    return next((name for name in candidates(reference, system) if name in known), "")


def resolve_parameter(reference: str, system: str, known: Container[str]) -> tuple[str, str]:
    """Return the parameter that a reference means, and the path into it (`.x[2]`) that the reference goes on with."""
    name = resolve(reference, system, known)
    part = _PART.search(reference)
    if name or not part:
        return name, ""
    return resolve(reference[: part.start()], system, known), part[0]


def _normal(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in {"", "."}:
            parts.append(part)
    return "/" + "/".join(parts)
