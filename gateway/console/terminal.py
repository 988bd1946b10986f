"""A console for texts of others: names, units and descriptions of untrusted databases, messages of home bases.

What they say is shown, and does nothing: no escape sequence, no control character, no turning of the writing direction
reaches the terminal, and square brackets are square brackets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from gateway.console.harmless import harmless


class Terminal(Console):
    """See the module; arguments are those of rich's `Console`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield what is written, made harmless; rich's own control codes have segments of their own."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(harmless(segment.text), segment.style)
