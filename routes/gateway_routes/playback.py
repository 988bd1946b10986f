"""Playback requests as a machine: who asked for what of which range, and how far its return is. No I/O, no clock.

    requested --accept--> accepted --begin--> running --complete--> done
        | refuse              | cancel, fail      | cancel, fail      | begin: the return is had once more
        v                     v                   v                   v
     refused          cancelled | failed   cancelled | failed        done

A request is a value; `after` returns the next one, or says why there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from gateway_codecs.batches import BoolArray, Records

POSITION_END = 1 << 62


class PlaybackState(StrEnum):
    """Where a request stands."""

    REQUESTED = "requested"
    ACCEPTED = "accepted"  # waits for the home base to fetch it
    REFUSED = "refused"
    RUNNING = "running"  # delivery has begun; it may be cut and resumed
    DONE = "done"  # everything was acknowledged, or told as missing
    FAILED = "failed"
    CANCELLED = "cancelled"


class PlaybackAct(StrEnum):
    """What happens to a request."""

    ACCEPT = "accept"
    REFUSE = "refuse"
    BEGIN = "begin"  # a session of the home base begins to fetch it
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"


_S, _A = PlaybackState, PlaybackAct
TABLE: Mapping[tuple[PlaybackState, PlaybackAct], PlaybackState] = {
    (_S.REQUESTED, _A.ACCEPT): _S.ACCEPTED,
    (_S.REQUESTED, _A.REFUSE): _S.REFUSED,
    (_S.REQUESTED, _A.CANCEL): _S.CANCELLED,
    (_S.REQUESTED, _A.FAIL): _S.FAILED,
    (_S.ACCEPTED, _A.BEGIN): _S.RUNNING,
    (_S.ACCEPTED, _A.CANCEL): _S.CANCELLED,
    (_S.ACCEPTED, _A.FAIL): _S.FAILED,
    (_S.RUNNING, _A.BEGIN): _S.RUNNING,
    (_S.RUNNING, _A.COMPLETE): _S.DONE,
    (_S.RUNNING, _A.CANCEL): _S.CANCELLED,
    (_S.RUNNING, _A.FAIL): _S.FAILED,
    (_S.DONE, _A.BEGIN): _S.DONE,
    (_S.DONE, _A.COMPLETE): _S.DONE,
}
"""Every cell that is not here is refused."""
OPEN = frozenset({_S.REQUESTED, _S.ACCEPTED, _S.RUNNING})
"""The states that count against a home base's quota."""


class PlaybackRefused(ValueError):
    """What was wanted of a request that its state does not allow."""


class RangeBy(StrEnum):
    """What the two ends of a range mean."""

    POSITIONS = "positions"
    RECEIVE_TIME = "receive_time"
    GENERATION_TIME = "generation_time"


@dataclass(frozen=True, slots=True)
class Span:
    """[first, end): positions, or times in ns TAI since 1958-01-01."""

    by: RangeBy
    first: int
    end: int

    def __post_init__(self) -> None:
        """Raises ValueError for what is no range."""
        if not self.first < self.end:
            raise ValueError(f"the range is empty: it ends ({self.end}) where it begins ({self.first}), or before")
        if self.by is RangeBy.POSITIONS and not 0 <= self.first < self.end < POSITION_END:
            raise ValueError(f"positions are whole numbers from 0, not {self.first} to {self.end}")


@dataclass(frozen=True, slots=True)
class InSpan:
    """A filter, and a time span beside it. `wanted` has `wants_group` and `mask`, as the journal asks them."""

    wanted: Any
    span: Span

    def wants_group(self, kind: int, unit: int, spacecraft: int, vcid: int, apid: int) -> bool:
        """Whether items of a group can be wanted."""
        return bool(self.wanted.wants_group(kind, unit, spacecraft, vcid, apid))

    def mask(self, items: Records) -> BoolArray:
        """Which of the items (ITEM_DTYPE, (n,)) are wanted, bool (n,). An item without the time is in no span."""
        times = items[f"{self.span.by.value}_ns"]
        keep: BoolArray = self.wanted.mask(items) & (times >= self.span.first) & (times < self.span.end)
        return keep


def limited(wanted: Any, span: Span) -> Any:
    """Return the filter of a span of times; positions are no matter of the filter."""
    return wanted if span.by is RangeBy.POSITIONS else InSpan(wanted, span)


@dataclass(frozen=True, slots=True)
class PlaybackRequest:
    """One request. Times are ns TAI; 0 = not yet. `first_position` and `end_position` bound what is looked through."""

    id: str
    home: str
    asked_by: str  # "home NAME" or "operator NAME"
    selection: dict[str, Any]
    span: Span
    source: str = "journal"
    state: PlaybackState = PlaybackState.REQUESTED
    reason: str = ""
    first_position: int = 0
    end_position: int = 0
    low_water: int = 0  # everything below it is acknowledged, or was told as missing
    items: int = 0
    octets: int = 0
    missing_positions: int = 0
    requested_ns: int = 0
    accepted_ns: int = 0
    began_ns: int = 0
    ended_ns: int = 0
    sessions: int = 0

    @property
    def open(self) -> bool:
        """Whether it can still come to an end."""
        return self.state in OPEN

    def after(self, act: PlaybackAct, now_ns: int, reason: str = "") -> PlaybackRequest:
        """Return the request after an act. Raises PlaybackRefused."""
        state = TABLE.get((self.state, act))
        if state is None:
            raise PlaybackRefused(_why_not(self, act))
        changed = replace(self, state=state, reason=reason or self.reason)
        if act is PlaybackAct.ACCEPT:
            return replace(changed, accepted_ns=now_ns)
        if act is PlaybackAct.BEGIN:
            return replace(changed, began_ns=self.began_ns or now_ns, sessions=self.sessions + 1)
        return replace(changed, ended_ns=self.ended_ns or now_ns)

    def bounded(self, first_position: int, end_position: int) -> PlaybackRequest:
        """Return the request with the positions to look through."""
        return replace(self, first_position=first_position, end_position=end_position, low_water=first_position)

    def progressed(self, low_water: int, items: int = 0, octets: int = 0, missing: int = 0) -> PlaybackRequest:
        """Return the request with everything below `low_water` done, and so many more items acknowledged."""
        return replace(
            self,
            low_water=low_water,
            items=self.items + items,
            octets=self.octets + octets,
            missing_positions=self.missing_positions + missing,
        )

    @property
    def progress(self) -> float:
        """How much of the positions is done, 0 to 1."""
        whole = self.end_position - self.first_position
        if self.state is PlaybackState.DONE:
            return 1.0
        return 0.0 if whole <= 0 else min(1.0, (self.low_water - self.first_position) / whole)

    def stored(self) -> dict[str, Any]:
        """Return the durable form."""
        return asdict(self)


def restored(kept: Mapping[str, Any]) -> PlaybackRequest:
    """Return the request of a durable form. Raises KeyError, TypeError, ValueError for what is none."""
    span = kept["span"]
    made = Span(RangeBy(span["by"]), int(span["first"]), int(span["end"]))
    return PlaybackRequest(**{**kept, "span": made, "state": PlaybackState(kept["state"])})


_DONE = {
    _A.ACCEPT: "accepted", _A.REFUSE: "refused", _A.BEGIN: "fetched", _A.COMPLETE: "completed", _A.FAIL: "given up",
    _A.CANCEL: "cancelled",
}  # fmt: skip


def _why_not(request: PlaybackRequest, act: PlaybackAct) -> str:
    because = f": {request.reason}" if request.reason else ""
    return f"playback request {request.id} is {request.state}{because}; it cannot be {_DONE[act]} now"


@dataclass(slots=True)
class Unacknowledged:
    """What was sent of a playback and is not acknowledged: counts it when it is."""

    _sent: list[tuple[int, int, int]] = field(default_factory=list)  # (upto, items, octets)

    def sent(self, upto: int, items: int, octets: int) -> None:
        """Note a block."""
        self._sent.append((upto, items, octets))

    def take(self, low_water: int) -> tuple[int, int]:
        """Return items and octets of the blocks that are acknowledged now, once."""
        done = 0
        while done < len(self._sent) and self._sent[done][0] <= low_water:
            done += 1
        taken, self._sent = self._sent[:done], self._sent[done:]
        return sum(items for _, items, _ in taken), sum(octets for *_, octets in taken)
