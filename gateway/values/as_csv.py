"""History as CSV, a page at a time: nothing is held while the client does not read."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from gateway_codecs.mdb.samples import Order

if TYPE_CHECKING:
    from gateway.values.service import Values

NAMES = (
    "time_utc", "parameter", "value", "unit", "raw", "validity", "limit", "position", "element", "receive_time_utc",
    "link", "data_mode", "also", "database",
)  # fmt: skip


async def pages(
    values: Values, spacecraft: str | None, parameter: str, span: tuple[int, int], mdb: str | None, page: int
) -> AsyncIterator[str]:
    """Return the lines of a history in pieces. Raises NotFound, UsageError, Conflict, OSError before the first."""
    from gateway.values.service import parse_after

    async def ask(after: str | None) -> dict[str, Any]:
        begin = None if after is None else parse_after(after)
        return await values.history(spacecraft, parameter, span, Order.GENERATION, digest, page, begin, True)

    digest = mdb
    first = await ask(None)
    digest = first["database"]  # one version to the end, whatever is loaded meanwhile

    async def lines() -> AsyncIterator[str]:
        yield ",".join(NAMES) + "\r\n"
        found = first
        while True:
            yield _text(found)
            if found["after"] is None:
                return
            found = await ask(found["after"])

    return lines()


def _text(found: dict[str, Any]) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    for row in found["samples"]:
        also = ";".join(str(one["position"]) for one in row.get("also", ()))
        told = {**row, "also": also, "parameter": found["parameter"], "unit": found["unit"]}
        told["database"] = found["database"]
        writer.writerow([_cell(told.get(name)) for name in NAMES])
    return out.getvalue()


def _cell(value: Any) -> Any:
    """Return a value as a spreadsheet may have it: a text that it would take for a formula is quoted."""
    if value is None:
        return ""
    text_of_formula = isinstance(value, str) and value[:1] in {"=", "+", "@", "-", "\t", "\r"}
    return f"'{value}" if text_of_formula else value
