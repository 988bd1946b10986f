"""History as CSV, a page at a time: nothing is held while the client does not read.

The text is made by columns, some thousand rows at a time, so that a day is a matter of seconds and no piece keeps
the event loop from the interpreter for long.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gateway.values import rendered
from gateway.values.sample_csv import HISTORY_COLUMNS, cell, heading
from gateway_codecs.batches import ABSENT, I64Array
from gateway_codecs.mdb.samples import Samples
from gateway_codecs.time_scales import format_utc_batch

if TYPE_CHECKING:
    from gateway.values.service import Values

PIECE_ROWS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """Rows of a history as text, with the digest of the database, and where the next page begins (None = nowhere)."""

    pieces: tuple[str, ...]
    database: str
    after: str | None


async def pages(
    values: Values, spacecraft: str | None, parameter: str, span: tuple[int, int], mdb: str | None, page: int
) -> AsyncIterator[str]:
    """Return the lines of a history in pieces. Raises NotFound, UsageError, Conflict, OSError before the first."""
    first = await values.history_csv(spacecraft, parameter, span, mdb, page, None)

    async def lines() -> AsyncIterator[str]:
        yield heading(HISTORY_COLUMNS)
        found = first
        while True:
            for piece in found.pieces:
                yield piece
            if found.after is None:
                return
            # one version to the end, whatever is loaded meanwhile
            found = await values.history_csv(spacecraft, parameter, span, first.database, page, found.after)

    return lines()


def pieces(samples: Samples, kind: str | None, links: Mapping[int, str], database: str) -> Iterator[str]:
    """Yield the lines of samples in HISTORY_COLUMNS, `PIECE_ROWS` at a time; `kind` is that of the parameter's type."""
    again = dict[int, list[str]]()
    for row, position in zip(samples.again.row.tolist(), samples.again.position.tolist(), strict=True):
        again.setdefault(row, []).append(str(position))
    also = {row: cell(";".join(positions)) for row, positions in again.items()}
    several = len(samples) > 0 and int(samples["element"].max()) > 0
    for first in range(0, len(samples), PIECE_ROWS):
        some = samples.take(slice(first, first + PIECE_ROWS))
        yield _lines(some, kind, links, database, [also.get(first + row, "") for row in range(len(some))], several)


def _lines(
    samples: Samples, kind: str | None, links: Mapping[int, str], database: str, also: list[str], several: bool
) -> str:
    rows = len(samples)
    columns: tuple[Sequence[str], ...] = (
        _times(samples["time_ns"]),
        [cell(samples.parameter)] * rows,
        _values(samples["engineering"], samples.labels, kind),
        [cell(samples.unit)] * rows,
        _values(samples["raw"], (), None),
        _told(samples["validity"], rendered.VALIDITY.__getitem__),
        _told(samples["limit"], rendered.limit_text),
        list(map(str, samples["position"].tolist())),
        list(map(str, samples["element"].tolist())) if several else [""] * rows,
        _times(samples["receive_time_ns"]),
        _told(samples["link"], links.get),
        _told(samples["data_mode"], rendered.MODES.__getitem__),
        [cell(database)] * rows,
        also,
    )
    return "\r\n".join([*map(",".join, zip(*columns, strict=True)), ""])


def _times(tai_ns: I64Array) -> list[str]:
    absent = np.flatnonzero(tai_ns == ABSENT).tolist()
    found = format_utc_batch(np.where(tai_ns == ABSENT, 0, tai_ns) if absent else tai_ns)
    for row in absent:
        found[row] = ""
    return found


def _values(column: NDArray[Any], labels: Sequence[str], kind: str | None) -> list[str]:
    """Return values as cells; numbers and labels without a look at each."""
    what = column.dtype.kind
    if column.ndim == 1 and what in "iub" and kind in {"enumerated", "boolean"} and labels:
        return _told(column, lambda number: labels[number] if 0 <= number < len(labels) else None)
    if column.ndim == 1 and what in "iu" and kind == "absolute_time":
        return _times(column.astype(np.int64))
    if column.ndim == 1 and what in "iub":
        return list(map(str, column.tolist()))
    if column.ndim == 1 and what == "f":
        found = list(map(repr, column.tolist()))
        for row in np.flatnonzero(~np.isfinite(column)).tolist():
            found[row] = ""
        return found
    return list(map(cell, rendered.values(column, labels, kind)))


def _told(column: NDArray[Any], told: Callable[[int], str | None]) -> list[str]:
    """Return numbers of which there are few as the cells that they are told by."""
    if len(column) and (column == column[0]).all():
        return [cell(told(int(column[0])))] * len(column)
    known = {number: cell(told(int(number))) for number in np.unique(column).tolist()}
    return list(map(known.__getitem__, column.tolist()))
