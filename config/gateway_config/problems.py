"""What is wrong with a configuration, one readable line each, all of them at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

VALUE_MAX_CHARACTERS = 80
KEY_MAX_CHARACTERS = 200
LINE_MAX_CHARACTERS = 1500


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where, what stands there, what would be right."""

    file: str
    line: int
    key: str
    value: str
    remedy: str

    def __str__(self) -> str:
        key = _clipped(self.key, KEY_MAX_CHARACTERS) or "(whole file)"
        line = f"{self.file}:{self.line}: {key} = {self.value}: {self.remedy}"
        # Keys and names come from files: no line breaks, terminal controls or lone surrogates into a message.
        return _clipped("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line), LINE_MAX_CHARACTERS)


class ConfigError(Exception):
    """A configuration that cannot be used; `problems` holds everything that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems), key=lambda p: (p.file, p.line, p.key, p.remedy)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def shown(value: object) -> str:
    """Return a value as one short printable line."""
    text = ascii(value) if isinstance(value, str | int | float | bool | None) else _kind(value)
    return _clipped(text, VALUE_MAX_CHARACTERS)


def _clipped(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 3] + "..."


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return f"keys and values ({len(value)})"
    if isinstance(value, list | tuple):
        return ascii(list(value)) if all(isinstance(v, str | int) for v in value) else f"a list of {len(value)}"
    return ascii(value)
