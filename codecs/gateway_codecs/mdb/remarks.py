"""The remarks of a reader, collected: one by one, or once for many of a kind, and never more than the budget."""

from __future__ import annotations

from typing import Literal

from gateway_codecs.mdb.model import Where
from gateway_codecs.mdb.report import Budget, Remark

Kind = Literal["ignored", "wrong"]


class RemarkList:
    """Collects remarks: at most `budget.remarks` one by one, the rest is summed up in a last one."""

    def __init__(self, budget: Budget) -> None:
        self._most = budget.remarks
        self._said: set[Remark] = set()
        self._single: list[Remark] = []
        self._grouped: dict[tuple[Kind, str, str], tuple[Where, int]] = {}
        self._beyond = 0

    def wrong(self, what: str, why: str, where: Where) -> None:
        """Tell of a defect of the file."""
        self._add(Remark("wrong", what, why, where))

    def ignored(self, what: str, why: str, where: Where) -> None:
        """Tell of something that is not read."""
        self._add(Remark("ignored", what, why, where))

    def often(self, kind: Kind, what: str, why: str, where: Where) -> None:
        """Tell once of all that have the same `what` and `why`: their number, and where the first one stands."""
        first, count = self._grouped.get((kind, what, why), (where, 0))
        if count or len(self._grouped) < self._most:
            self._grouped[kind, what, why] = min(first, where, key=_place), count + 1
        else:
            self._beyond += 1

    def _add(self, remark: Remark) -> None:
        if len(self._single) >= self._most:
            self._beyond += 1
        elif remark not in self._said:
            self._said.add(remark)
            self._single.append(remark)

    def told(self) -> tuple[Remark, ...]:
        """Return the remarks by file and line."""
        grouped = [
            Remark(kind, f"{what} ({count:,} times, first here)" if count > 1 else what, why, where)
            for (kind, what, why), (where, count) in self._grouped.items()
        ]
        found = sorted([*self._single, *grouped], key=lambda remark: _place(remark.where))
        if self._beyond:
            found.append(Remark("wrong", f"{self._beyond:,} further remarks", "only so many are told one by one"))
        return tuple(found)


def _place(where: Where) -> tuple[str, int]:
    return where.file, where.line
