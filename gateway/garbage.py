"""How often Python looks for garbage."""

from __future__ import annotations

import gc

USUAL = gc.get_threshold()
RARELY = 50_000


def look_rarely() -> None:
    """For imports: what is imported stays, and to look through it took a tenth of a start."""
    gc.set_threshold(RARELY, *USUAL[1:])


def look_as_usual() -> None:
    """For who runs long: in Python's own rhythm."""
    gc.set_threshold(*USUAL)
