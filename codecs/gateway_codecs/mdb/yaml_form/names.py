"""Names of a file and the qualified names of the model: `VOLTAGE` in the system /SOLAR is `/SOLAR/VOLTAGE`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gateway_codecs.mdb import expression
from gateway_codecs.mdb.report import DatabaseError
from gateway_codecs.mdb.yaml_form.fields import Refused
from gateway_codecs.mdb.yaml_form.nodes import Node

Kind = Literal["parameter", "type", "container"]
COMPARED_MAX = 2000  # names among which the nearest is looked for


@dataclass(slots=True)
class Names:
    """The system that short names belong to, and every reference that was made, with its line."""

    system: str
    references: dict[tuple[Kind, str], int] = field(default_factory=dict)

    def qualified(self, name: str) -> str:
        """Return the qualified name of a name as it is written."""
        return name if name.startswith("/") else f"{self.system}/{name}"

    def short(self, full: str) -> str:
        """Return the shortest text that `qualified` makes `full` of."""
        tail = full.removeprefix(f"{self.system}/")
        return tail if tail and len(tail) < len(full) and not tail.startswith("/") else full

    def refer(self, kind: Kind, name: str, node: Node | int) -> str:
        """Return the qualified name, and remember that it must be defined."""
        full = self.qualified(name)
        self.references.setdefault((kind, full), node if isinstance(node, int) else node.line)
        return full

    def expression(self, text: str, node: Node) -> str:
        """Return an expression with qualified names. Raises Refused when it is none."""
        try:
            named = expression.renamed(text, lambda name: name if name == "raw" else self.qualified(name))
            for name in expression.parse(named).names:
                if name != "raw":
                    self.refer("parameter", name, node)
        except DatabaseError as error:
            raise Refused(node, error.message, error.hint) from None
        return named

    def short_expression(self, text: str) -> str:
        """Return an expression with the shortest names that are read back as they are."""
        try:
            short = expression.renamed(text, self.short)
            back = expression.renamed(short, lambda name: name if name == "raw" else self.qualified(name))
            return short if back == text else text
        except DatabaseError:
            return text


def unresolved(
    names: Names, defined: Mapping[Kind, Mapping[str, object]], refused: frozenset[str], most: int
) -> list[Refused]:
    """Return an error for each reference to something that is not defined, by lines, `most` at most.

    Names whose definitions were `refused` are not told again.
    """
    missing = [
        (line, kind, full)
        for (kind, full), line in names.references.items()
        if full not in refused and full not in defined[kind]
    ]
    wrong = []
    for line, kind, full in sorted(missing):
        if kind == "parameter" and _is_part(full, defined[kind]):
            continue
        near = difflib.get_close_matches(full, list(defined[kind])[:COMPARED_MAX], 1)
        hint = f"did you mean {names.short(near[0])}?" if near else "define it, or remove what names it"
        wrong.append(Refused(line, f"there is no {kind} {names.short(full)[:80]}", hint))
        if len(wrong) >= most:
            break
    return wrong


def _is_part(full: str, defined: Mapping[str, object]) -> bool:
    """Whether a name is that of an aggregate's member or an array's element (`POSITION.x`, `SAMPLES[3]`)."""
    return any(full[:k] in defined for k, sign in enumerate(full) if sign in ".[" and k > full.rfind("/"))
