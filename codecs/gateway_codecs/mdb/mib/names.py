"""Identifiers of a MIB as qualified names, each given once."""

from __future__ import annotations

import re

_ODD = re.compile(r"[^\w+-]")


class Names:
    """Qualified names under one system; what a name cannot hold becomes `_`."""

    def __init__(self, system: str) -> None:
        self.system = f"/{clean(system) or 'MIB'}"
        self._given: dict[str, str] = {}
        self._taken: set[str] = set()

    def reserve(self, name: str) -> None:
        """Keep a qualified name from being given."""
        self._taken.add(name)

    def give(self, name: str) -> str | None:
        """Return a new qualified name; None when another identifier has it already."""
        full = f"{self.system}/{clean(name)}"
        if full in self._taken:
            return None
        self._taken.add(full)
        self._given[name] = full
        return full

    def of(self, name: str) -> str | None:
        """Return the qualified name that was given to an identifier, None = there is no such thing."""
        return self._given.get(name)


def clean(name: str) -> str:
    """Return an identifier with nothing in it that separates names, members or elements."""
    return _ODD.sub("_", name.strip())
