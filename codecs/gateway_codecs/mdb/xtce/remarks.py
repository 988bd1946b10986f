"""The remarks of one XTCE file: those of `mdb.remarks`, by line."""

from __future__ import annotations

from gateway_codecs.mdb.model import Where
from gateway_codecs.mdb.remarks import Kind, RemarkList
from gateway_codecs.mdb.report import Budget, Remark


class Remarks:
    """Collects the remarks of one file, at most `most` told one by one."""

    def __init__(self, file: str, most: int) -> None:
        self._file, self._list = file, RemarkList(Budget(remarks=most))

    def wrong(self, what: str, why: str, line: int) -> None:
        """Tell of a defect of the file."""
        self._list.wrong(what, why, Where(self._file, line))

    def ignored(self, what: str, why: str, line: int) -> None:
        """Tell of something that is not read."""
        self._list.ignored(what, why, Where(self._file, line))

    def grouped(self, what: str, why: str, line: int, kind: Kind = "ignored") -> None:
        """Tell once of all that have the same `what` and `why`, with their number and the first line."""
        self._list.often(kind, what, why, Where(self._file, line))

    def told(self) -> tuple[Remark, ...]:
        """Return all remarks in the order of the lines."""
        return self._list.told()
