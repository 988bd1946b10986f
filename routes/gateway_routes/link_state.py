"""The state of a link as a table: what an operator sees, and when a watchdog or a retry is due. Pure.

Time is the monotonic time in seconds, given as an argument. `deadline()` says when `tick` is due.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class LinkStatus(StrEnum):
    """The four states of DESIGN 1, and the end of a source that ends."""

    DISABLED = "disabled"
    UNAVAILABLE = "unavailable"
    CONNECTED = "connected"  # connected, no data
    RECEIVING = "receiving"
    FINISHED = "finished"


class LinkInput(StrEnum):
    """What can happen to a link."""

    ENABLE = "enable"
    DISABLE = "disable"
    CONNECTED = "connected"
    GOOD = "good unit"
    QUIET = "quiet"
    LOST = "lost"
    FINISHED = "finished"


S, In = LinkStatus, LinkInput
TABLE: dict[tuple[LinkStatus, LinkInput], LinkStatus] = {
    (S.DISABLED, In.ENABLE): S.UNAVAILABLE,
    (S.DISABLED, In.FINISHED): S.FINISHED,
    (S.UNAVAILABLE, In.CONNECTED): S.CONNECTED,
    (S.UNAVAILABLE, In.FINISHED): S.FINISHED,
    (S.CONNECTED, In.GOOD): S.RECEIVING,
    (S.CONNECTED, In.LOST): S.UNAVAILABLE,
    (S.CONNECTED, In.FINISHED): S.FINISHED,
    (S.RECEIVING, In.QUIET): S.CONNECTED,
    (S.RECEIVING, In.LOST): S.UNAVAILABLE,
    (S.RECEIVING, In.FINISHED): S.FINISHED,
    (S.FINISHED, In.ENABLE): S.UNAVAILABLE,
    **{(state, In.DISABLE): S.DISABLED for state in S},
}
"""Where an input leads; a pair that is not here changes nothing."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of state."""

    before: LinkStatus
    after: LinkStatus
    why: str


class LinkMachine:
    """One link's state, data age, watchdog and retry delay."""

    def __init__(self, *, watchdog_s: float, retry_min_s: float, retry_max_s: float) -> None:
        self._watchdog_s, self._retry_min_s, self._retry_max_s = watchdog_s, retry_min_s, retry_max_s
        self.status = LinkStatus.DISABLED
        self.detail = ""
        self.last_good_s: float | None = None
        self._heard_s = 0.0
        self._failures = 0

    def take(self, what: LinkInput, now_s: float, detail: str = "") -> Transition | None:
        """Take an input; returns the transition if the state changed."""
        if what == LinkInput.GOOD:
            self.last_good_s, self._failures = now_s, 0
        if what in {LinkInput.CONNECTED, LinkInput.GOOD, LinkInput.ENABLE}:
            self._heard_s = now_s
        if what == LinkInput.LOST:
            self._failures += 1
        after = TABLE.get((self.status, what), self.status)
        self.detail = detail or self.detail if after == self.status else detail
        if after == self.status:
            return None
        before, self.status = self.status, after
        return Transition(before, after, detail or what.value)

    def silent(self, now_s: float, in_contact: bool) -> bool:
        """Whether the watchdog says that the link is dead: inside a contact, nothing good for a whole period."""
        watched = self.status in {LinkStatus.CONNECTED, LinkStatus.RECEIVING}
        return watched and in_contact and now_s - self._heard_s >= self._watchdog_s

    def quiet(self, now_s: float) -> bool:
        """Whether a receiving link has gone quiet (shown as connected; nobody is woken for it)."""
        return self.status == LinkStatus.RECEIVING and now_s - self._heard_s >= self._watchdog_s

    def begin_period(self, now_s: float) -> None:
        """Start the watchdog's period anew: silence before now does not count."""
        self._heard_s = now_s

    def retry_delay_s(self, chance: float) -> float:
        """Return how long to wait before the next attempt: doubling, capped, jittered by `chance` in [0, 1)."""
        doubled = self._retry_min_s * 2 ** min(max(self._failures - 1, 0), 30)
        return float(min(doubled, self._retry_max_s) * (0.5 + chance / 2))

    def age_s(self, now_s: float) -> float | None:
        """Return the age of the last good unit, None = never."""
        return None if self.last_good_s is None else now_s - self.last_good_s
