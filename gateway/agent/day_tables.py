"""Samples of parameters as CSV, a file a UTC day, each sample once; the columns are those of the API's CSV."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.agent.exact_files import ExactFiles
from gateway.agent.outlet import Outlet
from gateway.homes.line import Line
from gateway.homes.loops import CompleteValues, place_of
from gateway.homes.received import ValueBatch
from gateway.homes.ways_in import Dial
from gateway.values.sample_csv import SAMPLE_COLUMNS, heading, line
from gateway.world import Worker

HEADER = heading(SAMPLE_COLUMNS).encode()


class DayTables(Outlet):
    """See AgentOutlet, type csv: `YYYY-MM-DD.csv` by the day of a sample; `unknown.csv` for those without a time."""

    kind = "csv"

    def __init__(
        self,
        name: str,
        dial: Dial,
        hello: Mapping[str, Any],
        files: ExactFiles,
        worker: Worker,
        *,
        begin: str,
        jitter: Callable[[], float],
    ) -> None:
        super().__init__(name)
        self._dial, self._hello, self._files, self._worker = dial, hello, files, worker
        self._begin, self._jitter = begin, jitter
        self._line: Line | None = None
        self._rows: ValueBatch | None = None
        self.missing: list[tuple[int, int]] = []
        self.upto: int | None = None

    async def _serve(self) -> None:
        place = place_of(await self._worker(self._files.load), f"outlets/{self.name}.json")
        self.upto, self._rows = place.upto, None

        def hello() -> dict[str, Any]:
            first = place.upto if place.upto is not None else 0 if self._begin == "oldest" else None
            return dict(self._hello) if first is None else {**self._hello, "from_position": first}

        self._line = Line(self._dial, hello, self._jitter)
        values = CompleteValues(self._line, place, self._keep)
        self._well()
        async for batch in values:
            if batch.missing:
                self.missing.append(batch.missing)
            self._rows = batch

    async def _keep(self, told: dict[str, Any]) -> None:
        """Write the rows of the batch that came, and that it is done; both or nothing."""
        batch, database = self._rows, self._rows.database if self._rows else None
        parts = {} if batch is None else by_day(batch.rows, database)
        await self._worker(lambda: self._files.append(parts, told, HEADER))
        await self._worker(self._files.settle)
        self._rows, self.upto = None, told["upto"]
        self.items += len(batch) if batch is not None else 0
        self.octets = self._files.octets

    async def _close(self) -> None:
        if self._line is not None:
            line, self._line = self._line, None
            await line.close()

    def described(self) -> dict[str, Any]:
        """Return what the status shows."""
        connected = self._line is not None and self._line.connected
        about = {"connected": connected, "upto": self.upto, "missing": self.missing[-100:]}
        error = "" if self._line is None or connected else self._line.last_error
        return {**super().described(), **about, "last_error": error}


def by_day(rows: tuple[Mapping[str, Any], ...], database: str | None) -> dict[str, bytes]:
    """Return lines of CSV by file name, in the order of the rows."""
    tables: dict[str, list[str]] = {}
    for row in rows:
        day = str(row.get("time_utc") or "unknown")[:10]
        name = f"{day if day.replace('-', '').isdigit() else 'unknown'}.csv"
        tables.setdefault(name, []).append(line(SAMPLE_COLUMNS, {"database": database, **row}))
    return {name: "".join(lines).encode() for name, lines in tables.items()}
