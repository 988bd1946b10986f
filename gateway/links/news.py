"""What a source noticed beside its data, as counts, a gap and events: each loss once, and no flood of events."""

from __future__ import annotations

from typing import Any

from gateway.links.sources import Remarks
from gateway_codecs.batches import IntakeBatch, empty_items
from gateway_codecs.datagrams import lost_datagrams

LOSS_EVERY_S = 5.0
REFUSED_EVERY_S = 60.0


class SourceNews:
    """Remembers what was told. Times are monotonic seconds, given as arguments."""

    def __init__(self, link: str, spacecraft: int) -> None:
        self._link, self._spacecraft = link, spacecraft
        self._lost = 0  # counted
        self._untold = 0  # counted, and not yet a gap in the journal
        self._next_loss_s = self._next_refused_s = 0.0
        self._refused = 0  # told
        self._notice = ""

    def take(
        self, remarks: Remarks, now_s: float, last: bool = False, busy: bool = False
    ) -> tuple[IntakeBatch | None, list[dict[str, Any]]]:
        """Return what to keep, or None, and events. A `busy` journal gets no gap; at the `last` time all is told."""
        events = [*self._refusals(remarks, now_s, last), *self._notices(remarks)]
        return self._losses(remarks, now_s, last, busy), events

    def _losses(self, remarks: Remarks, now_s: float, last: bool, busy: bool) -> IntakeBatch | None:
        new, self._lost = remarks.lost - self._lost, remarks.lost
        self._untold += new
        gaps = []
        if self._untold and (last or (now_s >= self._next_loss_s and not busy)):
            gaps.append(lost_datagrams(self._untold, self._spacecraft))
            self._untold, self._next_loss_s = 0, now_s + LOSS_EVERY_S
        if not new and not gaps:
            return None
        return IntakeBatch(empty_items(), gaps=tuple(gaps), counters={"datagrams_lost": new})

    def _refusals(self, remarks: Remarks, now_s: float, last: bool) -> list[dict[str, Any]]:
        self._refused = min(self._refused, remarks.refused)  # the counter was reset
        new = remarks.refused - self._refused
        if not new or (now_s < self._next_refused_s and not last):
            return []
        self._refused, self._next_refused_s = remarks.refused, now_s + REFUSED_EVERY_S
        peers = ", ".join(remarks.refused_peers)
        what = "datagram" if new == 1 else "datagrams"
        message = f"{self._link}: {new} {what} refused: allowed_peers does not have {peers}"
        return [{"what": "refused", "severity": "warning", "message": message, "refused": new}]

    def _notices(self, remarks: Remarks) -> list[dict[str, Any]]:
        if remarks.notice == self._notice:
            return []
        self._notice = remarks.notice
        message = f"{self._link}: {remarks.notice}"
        return [{"what": "notice", "severity": "warning", "message": message}] if remarks.notice else []
