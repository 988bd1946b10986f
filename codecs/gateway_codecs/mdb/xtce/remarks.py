"""What an XTCE file says that is not read, collected: one by one, or once for many of a kind, and bounded."""

from __future__ import annotations

from typing import Literal

from gateway_codecs.mdb.model import Where
from gateway_codecs.mdb.report import Remark

Kind = Literal["ignored", "wrong"]


class Remarks:
    """The remarks of one file, at most `most` told one by one; the rest is summed up."""

    def __init__(self, file: str, most: int) -> None:
        self._file, self._most = file, most
        self._single: list[Remark] = []
        self._said: set[tuple[str, str, int]] = set()
        self._beyond = 0
        self._grouped: dict[tuple[Kind, str, str], tuple[int, int]] = {}

    def wrong(self, what: str, why: str, line: int) -> None:
        """Tell of a defect of the file."""
        self._add("wrong", what, why, line)

    def ignored(self, what: str, why: str, line: int) -> None:
        """Tell of something that is not read."""
        self._add("ignored", what, why, line)

    def grouped(self, what: str, why: str, line: int, kind: Kind = "ignored") -> None:
        """Tell once of all that have the same `what` and `why`, with their number and the first line."""
        first, count = self._grouped.get((kind, what, why), (line, 0))
        self._grouped[kind, what, why] = min(first, line), count + 1

    def _add(self, kind: Kind, what: str, why: str, line: int) -> None:
        if len(self._single) >= self._most:
            self._beyond += 1
        elif (what, why, line) not in self._said:
            self._said.add((what, why, line))
            self._single.append(Remark(kind, what, why, Where(self._file, line)))

    def told(self) -> tuple[Remark, ...]:
        """Return all remarks in the order of the lines."""
        grouped = [
            Remark(kind, f"{what} ({count} times, first here)" if count > 1 else what, why, Where(self._file, line))
            for (kind, what, why), (line, count) in self._grouped.items()
        ]
        told = sorted([*self._single, *grouped[: self._most]], key=lambda remark: remark.where.line)
        beyond = self._beyond + max(0, len(grouped) - self._most)
        if beyond:
            told.append(
                Remark("wrong", f"{beyond:,} further remarks", "more than are told one by one", Where(self._file))
            )
        return tuple(told)
