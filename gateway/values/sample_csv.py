"""Samples of parameters as CSV: the one place that names the columns, for the API, the console and the agent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

SAMPLE_COLUMNS = (
    "time_utc", "parameter", "value", "unit", "raw", "validity", "limit", "position", "element", "receive_time_utc",
    "link", "data_mode", "database",
)  # fmt: skip
"""Of a sample. `element` is empty for a parameter that its packets hold once."""
HISTORY_COLUMNS = (*SAMPLE_COLUMNS, "also")
"""Of a sample of a history that is streamed whole, which has a packet once: the positions of its other receptions."""
NOT_OF_LATEST = frozenset({"element", "link", "data_mode"})
LATEST_COLUMNS = (*(name for name in SAMPLE_COLUMNS if name not in NOT_OF_LATEST), "age_s", "stale")
"""Of a newest value."""


def heading(columns: Iterable[str]) -> str:
    """Return the first line."""
    return ",".join(columns) + "\r\n"


def line(columns: Iterable[str], row: Mapping[str, Any]) -> str:
    """Return a row, as JSON has it, as a line; what it does not have is empty."""
    return ",".join([cell(row.get(name)) for name in columns]) + "\r\n"


def cell(value: Any) -> str:
    """Return a value as a cell: a text that a spreadsheet would take for a formula has a quote in front."""
    if value is None:
        return ""
    text = str(value)
    if isinstance(value, str) and text[:1] in {"=", "+", "@", "-", "\t", "\r"}:
        text = f"'{text}"
    if any(one in text for one in ',"\r\n'):
        text = '"' + text.replace('"', '""') + '"'
    return text
