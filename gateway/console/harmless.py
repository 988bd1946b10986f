"""Texts of others as a terminal may show them: quickly imported, for every command may print an error."""

from __future__ import annotations

import unicodedata

HARMFUL = "\ufffd"
"""What stands where a character was that is none to show: one column wide, as it is counted."""


def harmless(text: str) -> str:
    """Return text with a replacement for each character that a terminal would obey; spaces of any kind are spaces."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\t" else _shown(one) for one in text)


def _shown(one: str) -> str:
    return " " if unicodedata.category(one) == "Zs" else HARMFUL
