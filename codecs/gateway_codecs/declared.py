"""What the declared formats share: construct's errors as ours, and values that must fit their fields."""

from __future__ import annotations

from typing import Any

import construct as c


class FormatError(ValueError):
    """Octets that are not the format, or a value that does not fit: what was expected, what was found, where."""


def parse(declaration: Any, data: bytes, what: str) -> Any:
    """Parse with a construct declaration. Raises FormatError."""
    try:
        return declaration.parse(data)
    except c.ConstructError as error:
        raise FormatError(f"{what}: {str(error).splitlines()[0]} in {len(data)} octets") from None


def build(declaration: Any, value: dict[str, Any], what: str) -> bytes:
    """Build with a construct declaration. Raises FormatError."""
    try:
        return bytes(declaration.build(value))
    except c.ConstructError as error:
        raise FormatError(f"{what}: {str(error).splitlines()[0]}") from None


def fits(what: str, **fields: tuple[int, int]) -> None:
    """Refuse values that do not fit: name=(value, bits). Raises FormatError."""
    for name, (value, bits) in fields.items():
        if not 0 <= value < 1 << bits:
            raise FormatError(f"{what}: {name} {value} does not fit {bits} bits (0..{(1 << bits) - 1})")
