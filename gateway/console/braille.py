"""A plot in a terminal, of braille dots: two columns and four rows of dots in a character. Pure text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich.text import Text

DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # Unicode 2800: by column, then row
EMPTY = 0x2800


@dataclass(frozen=True, slots=True)
class Span:
    """What one column of dots shows: lowest, highest, mean; `style` is its colour."""

    low: float
    high: float
    mean: float
    style: str = ""


@dataclass(slots=True)
class Canvas:
    """`width` x `height` characters for values from `low` to `high`."""

    width: int
    height: int
    low: float
    high: float
    _dots: dict[tuple[int, int], int] = field(default_factory=dict)
    _styles: dict[tuple[int, int], str] = field(default_factory=dict)

    def draw(self, spans: Sequence[Span | None], reach: int) -> None:
        """Draw columns of dots; None = nothing there. Means no more than `reach` columns apart are joined."""
        before: int | None = None
        for k, span in enumerate(spans[: 2 * self.width]):
            if span is None:
                continue
            if before is not None and 1 < k - before <= reach:
                self._join(before, spans[before], k, span)
            self._column(k, span.low, span.high, span.style)
            if before is not None and k - before == 1:
                self._meet(k, spans[before], span)
            before = k

    def _row(self, value: float) -> int:
        """Return the row of dots of a value, 0 = the top one."""
        rows = 4 * self.height
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return min(rows - 1, max(0, rows - 1 - round(share * (rows - 1))))

    def _column(self, k: int, low: float, high: float, style: str) -> None:
        for row in range(self._row(high), self._row(low) + 1):
            self._dot(k, row, style)

    def _meet(self, k: int, before: Span | None, span: Span) -> None:
        """Fill the gap between columns that do not touch."""
        if before is not None and (before.high < span.low or before.low > span.high):
            self._column(k, min(before.mean, span.mean), max(before.mean, span.mean), span.style)

    def _join(self, first: int, before: Span | None, k: int, span: Span) -> None:
        if before is None:
            return
        for column in range(first + 1, k):
            share = (column - first) / (k - first)
            self._dot(column, self._row(before.mean + share * (span.mean - before.mean)), span.style)

    def _dot(self, column: int, row: int, style: str) -> None:
        cell = (row // 4, column // 2)
        self._dots[cell] = self._dots.get(cell, 0) | DOTS[column % 2][row % 4]
        if style or cell not in self._styles:
            self._styles[cell] = style

    def lines(self, labels: Iterable[str]) -> list[Text]:
        """Return the rows of characters, each with a label in front, all labels of one width."""
        lines = []
        for row, label in zip(range(self.height), labels, strict=True):
            line = Text(f"{label} \u2524", style="dim")
            for column in range(self.width):
                dots = self._dots.get((row, column), 0)
                line.append(chr(EMPTY + dots) if dots else " ", style=self._styles.get((row, column)) or "default")
            lines.append(line)
        return lines


def nice_steps(low: float, high: float, count: int) -> list[float]:
    """Return round values between low and high, about so many."""
    if not high > low or not math.isfinite(high - low):
        return [low]
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step)
    return [k * step for k in range(first, math.floor(high / step) + 1)]


def margins(low: float, high: float) -> tuple[float, float]:
    """Return a range with some room around; of a constant a range around it."""
    room = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
    return low - room, high + room
