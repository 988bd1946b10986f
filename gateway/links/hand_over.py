"""How a link's batches get to the journal, and to timely listeners before: what waits, what is at risk, what is lost.

*Timely* items are offered before they are journalled, but never more than AT_RISK_S of stream ahead of the commit
(R3): while an older offer waits for its commit that long, what comes later is offered when that commit is done.

*While the disk refuses* nothing is committed, however long one waits. Then timely listeners get everything at once
(R12). A link that somebody listens to, and whose source cannot be read again later, is read on: what comes is held
for the journal, HELD_OCTETS at most; what comes after that is lost to the journal, summed up, and journalled as a
gap when the disk takes something again. A link that nobody listens to is not read: its peer holds the data, for a
while. So it is with a file in any case: it can wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.journal import CommitFailed, Journal
from gateway.journal.events import event_items, gap_event
from gateway.journal.state import merge
from gateway.timely import TimelyTap
from gateway.world import Clock
from gateway_codecs.batches import IntakeBatch
from gateway_codecs.time_scales import format_utc
from gateway_routes.timely import StreamCount, StreamKey, Tally

IN_FLIGHT, IN_FLIGHT_OCTETS = 2, 1 << 16
HELD_OCTETS = 8 << 20
HANDED_OCTETS = 1 << 10  # of a batch beside what it holds
AT_RISK_S = 0.05
LOOK_S = 0.05
"""So often a link that waits looks whether the disk refuses now, or somebody listens."""


@dataclass(slots=True, eq=False)
class _Handed:
    batch: IntakeBatch
    octets: int
    offered_s: float = 0.0  # when timely listeners got it


@dataclass(slots=True)
class Loss:
    """What was lost to the journal since the disk refuses."""

    reason: str
    items: Tally = field(default_factory=Tally)
    frames: int = 0
    gaps: int = 0
    state: dict[str, Any] = field(default_factory=dict)

    def add(self, batch: IntakeBatch) -> None:
        """Add a batch. Its state is kept: what is counted and extracted next goes on from there."""
        self.items.add(batch.items.items)
        self.frames += len(batch.frames)
        self.gaps += len(batch.gaps)
        self.state = merge(self.state, batch.state)

    @property
    def lost_items(self) -> int:
        """How many items."""
        return 0 if self.items.total is None else self.items.total.items

    def event(self, link: str, link_id: int, spacecraft: Mapping[int, str]) -> dict[str, Any]:
        """Return the gap as an event."""
        total, streams = self.items.total, self.items.streams.items()
        octets = 0 if total is None else total.octets
        text = f"{link}: {self.lost_items} items ({octets} octets) of {self.frames} frames were not journalled"
        return {
            "type": "gap",
            "severity": "error",
            "message": f"{text} ({self.reason})",
            "what": "items",
            "reason": f"disk: {self.reason}",
            "link": link,
            "link_id": link_id,
            "missing": self.lost_items,
            "octets": octets,
            "frames": self.frames,
            "gaps_not_told": self.gaps,
            **_span(total),
            "streams": [_row(key, count, spacecraft) for key, count in sorted(streams)],
            "others": None if self.items.others is None else self.items.others.items,
        }


class HandOver:
    """See the module. One for a link; all on the event loop."""

    def __init__(
        self, journal: Journal, timely: TimelyTap, clock: Clock, link: str, emit: Callable[..., None], can_wait: bool
    ) -> None:
        self._journal, self._timely, self._clock, self._link = journal, timely, clock, link
        self._emit, self._can_wait = emit, can_wait
        self.pending: set[asyncio.Task[None]] = set()
        self._at_risk: deque[_Handed] = deque()  # offered, not committed; the journal commits in order
        self._held_back: deque[_Handed] = deque()  # neither; all of it came later
        self._held_octets = 0
        self._loss: Loss | None = None
        self._failed: Exception | None = None

    @property
    def lost_items(self) -> int:
        """Items that are lost to the journal since the disk refuses; 0 when it takes them."""
        return 0 if self._loss is None else self._loss.lost_items

    @property
    def busy(self) -> bool:
        """Whether so much is on its way into the journal that the link waits, if it can."""
        much = self._held_octets >= IN_FLIGHT_OCTETS or self._journal.blocked is not None
        return much and len(self.pending) >= IN_FLIGHT

    def give(self, batch: IntakeBatch) -> None:
        """Hand a batch over. Nothing is waited for: what the intake counted must not vanish."""
        if not (len(batch.items) or len(batch.frames) or batch.gaps or batch.state):
            return
        octets = batch.items.octets.nbytes + batch.items.items.nbytes + batch.frames.nbytes
        handed = _Handed(batch, HANDED_OCTETS + octets)
        refused = self._journal.blocked if self._held_octets + handed.octets > HELD_OCTETS else None
        if self._loss is not None or refused is not None:
            self._offer_due()
            self._offer(batch)
            self._lose(batch, refused)
            return
        self._held_back.append(handed)
        self._held_octets += handed.octets
        self._offer_due()
        self._start(self._append(handed))

    def _start(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work, name=f"append {self._link}")
        self.pending.add(task)
        task.add_done_callback(self.pending.discard)

    async def room(self) -> None:
        """Wait until little is on its way into the journal: meanwhile the source is not read.

        Raises CommitFailed when something was not journalled for another reason than the disk.
        """
        while self.busy and not self._reads_on():
            await asyncio.wait(self.pending, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            self._offer_due()
        if self._failed is not None:
            failed, self._failed = self._failed, None
            raise failed

    async def committed(self, most_s: float) -> None:
        """Wait until what was handed over is journalled, or for so long."""
        if self.pending:
            await asyncio.wait(self.pending, timeout=most_s)

    async def settled(self) -> None:
        """Wait until everything handed over is journalled, unless that would end what timely listeners get."""
        while self.pending and not self._reads_on():
            await asyncio.wait(self.pending, timeout=LOOK_S)
            self._offer_due()

    def _reads_on(self) -> bool:
        """Whether the link is read although the disk takes nothing."""
        if self._can_wait or self._journal.blocked is None or not self._timely.wanted:
            return False
        return self._timely.wants_link(self._journal.name_id("links", self._link))

    # ---- to the journal ----

    async def _append(self, handed: _Handed) -> None:
        try:
            await self._journal.append(handed.batch, self._link)
        except CommitFailed as error:  # the link starts over from what is journalled
            self._failed = error
            self._emit("items lost", "error", f"{self._link}: {len(handed.batch.items)} items {error}")
        finally:
            self._over(handed)

    def _over(self, handed: _Handed) -> None:
        """A batch is committed, or will never be: nothing of it is at risk any more."""
        self._held_octets -= handed.octets
        if handed in self._at_risk:  # it is the first, or near it
            self._at_risk.remove(handed)
        else:
            self._held_back.remove(handed)
            self._offer(handed.batch)
        self._offer_due()

    def _lose(self, batch: IntakeBatch, reason: str | None) -> None:
        if self._loss is None:
            self._loss = Loss(reason or "")
            self._start(self._tell_loss(list(self.pending)))
        self._loss.add(batch)

    async def _tell_loss(self, held: list[asyncio.Task[None]]) -> None:
        """Journal the gap behind what was held. What comes while that waits is lost too: the gap is one."""
        await asyncio.wait(held)
        loss, self._loss = self._loss, None
        if loss is None:
            return
        event = loss.event(self._link, self._journal.name_id("links", self._link), self._journal.names("spacecraft"))
        gap = IntakeBatch(event_items([event], self._clock.tai_ns()), state=loss.state)
        try:
            await self._journal.append(gap, self._link)
        except CommitFailed as error:
            self._emit("items lost", "error", f"{self._link}: {loss.lost_items} items, and their gap is {error}")

    # ---- to timely listeners ----

    def _offer_due(self) -> None:
        """Offer what may be offered before its commit."""
        now_s = asyncio.get_running_loop().time()
        while self._held_back:
            risky_s = self._at_risk[0].offered_s if self._at_risk else now_s
            if now_s - risky_s > AT_RISK_S and self._journal.blocked is None:
                return
            handed = self._held_back.popleft()
            handed.offered_s = now_s
            self._at_risk.append(handed)
            self._offer(handed.batch)

    def _offer(self, batch: IntakeBatch) -> None:
        """Offer a batch, gaps as the events that they will be in the journal."""
        if not self._timely.wanted:
            return
        self._timely.offer(batch.items)
        if batch.gaps:
            link_id = self._journal.name_id("links", self._link)
            events = [gap_event(gap, link_id) for gap in batch.gaps]
            self._timely.offer(event_items(events, self._clock.tai_ns()))


def _span(count: StreamCount | None) -> dict[str, str]:
    if count is None:
        return {}
    first, last = count.first_receive_time_ns, count.last_receive_time_ns
    return {"first_receive_utc": format_utc(first), "last_receive_utc": format_utc(last)}


def _row(key: StreamKey, count: StreamCount, spacecraft: Mapping[int, str]) -> dict[str, Any]:
    row = {"spacecraft": spacecraft.get(key.spacecraft), "vcid": key.vcid, "apid": key.apid}
    return {**row, "items": count.items, "octets": count.octets}
