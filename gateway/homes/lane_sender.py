"""The sending half of a session with positions: blocks, marks, what is missing, by lane (docs/wire-format.md)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gateway.homes.channel import SessionLimits
from gateway.homes.ledger import SentBlocks
from gateway.homes.lines import Pace
from gateway.homes.paths import PathTelling, settle
from gateway.homes.sharing import Portion, SharedReading
from gateway.journal import Journal, Slice
from gateway.playback.returning import PlaybackReturn, as_playback
from gateway_codecs.batches import empty_items
from gateway_codecs.delivery_block import FINAL, encode_mark
from gateway_routes.delivery import Cursor, Delivery, Lane, Range
from gateway_routes.pacing import DelayWindow
from gateway_routes.selection import Selection

NEAR_POSITIONS = 8192
"""So close to the head a session waits for nobody's reading: what it reads is in memory, or little."""
FIRST_BLOCK_OCTETS = 1 << 15
"""Blocks begin small and grow as they are acknowledged: who never reads costs little memory."""


@dataclass(slots=True)
class _Tally:
    """What a lane delivered since its previous mark."""

    first: int
    upto: int
    digest: Any
    items: int = 0
    due: bool = False  # it is time for a mark, if nothing more is to be sent now


@dataclass(slots=True)
class LaneSender:
    """Sends what `delivery` says, in its lanes, as far as the window lets it. `run` is one task.

    `give` sends data and raises ConnectionError once nothing may be sent any more; `send` sends marks; `tell_missing`
    tells positions that will never come. `end`: nothing from there on comes in this session (None = it has no end).
    """

    journal: Journal
    reading: SharedReading
    delivery: Delivery
    selection: Callable[[], Selection]
    pace: Pace
    limits: SessionLimits
    blocks: SentBlocks
    give: Callable[[bytes], Awaitable[None]]
    send: Callable[[bytes], Awaitable[None]]
    tell_missing: Callable[[Lane, int, int, str], Awaitable[None]]
    end: int | None = None
    returning: PlaybackReturn | None = None
    telling: PathTelling | None = None
    on_final: Callable[[], None] = lambda: None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    finals: set[Lane] = field(default_factory=set)  # whose last mark was sent
    sent_items: int = 0
    sent_octets: int = 0
    _tallies: dict[Lane, _Tally] = field(default_factory=dict)
    _scanned: dict[Lane, int] = field(default_factory=dict)
    _block_octets: int = 0
    _catching_up: DelayWindow = field(init=False)

    def __post_init__(self) -> None:
        self._block_octets = min(self.limits.block_octets, FIRST_BLOCK_OCTETS)
        self._catching_up = DelayWindow(self.limits.window_octets)

    @property
    def head(self) -> int:
        """Where there is nothing to send any more, for now."""
        return self.journal.head if self.end is None else self.end

    @property
    def all_done(self) -> bool:
        """Whether everything was sent, marked and acknowledged."""
        return Lane.LIVE in self.finals and self.delivery.idle(self.head)

    def acknowledged(self, lane: Lane, upto: int) -> None:
        """Something was acknowledged: blocks may be larger."""
        self._block_octets = min(2 * self._block_octets, self.limits.block_octets)
        if lane == Lane.BACKFILL:
            self._catching_up.acknowledged(upto, asyncio.get_running_loop().time())
            self.delivery.lanes[lane].most_octets = self._catching_up.octets

    async def run(self) -> None:
        """Send until cancelled. Raises ConnectionError."""
        if self.telling is not None:
            await settle(self.wake, self._tell_path)
        while True:
            self.wake.clear()
            await self._tell_path()
            lane = self.delivery.next_lane(self.head)
            if lane is not None and self._is_news(lane):
                await self._send_from(lane)
                continue
            if due := [lane for lane in self.delivery.lanes if self._mark_due(lane)]:
                for marked in due:
                    await self._send_mark(marked)
            elif lane is not None:
                await self._idle_mark(lane)
            else:
                await self.wake.wait()

    async def _send_from(self, lane: Lane) -> None:
        first, end = self.delivery.next_range(lane, self.head)
        at = max(first, self._scanned.get(lane, first))
        near = self.head - at <= NEAR_POSITIONS
        portion = await (self._read(at, near) if near or lane == Lane.LIVE else self._read_beside_live(at))
        found = portion.found
        if found.expired is not None:
            await self._tell_expired(lane, found.end_position)
            return
        await self._tell_damaged(lane, found, at, end)
        portion = portion.until(end)
        if not portion.items and portion.end_position >= self.head and self.end is None:
            self._scanned[lane] = portion.end_position
            return
        self._scanned.pop(lane, None)
        if not portion.items and portion.end_position < end:
            self._scanned[lane] = portion.end_position
            return
        await self._send_block(lane, first, portion, live=near and lane == Lane.LIVE)

    def _is_news(self, lane: Lane) -> bool:
        return self._scanned.get(lane, -1) < self.head

    def _live_waits(self) -> bool:
        there = Lane.LIVE in self.delivery.lanes and self.delivery.is_ready(Lane.LIVE, self.head)
        return there and self._is_news(Lane.LIVE)

    async def _read_beside_live(self, at: int) -> Portion:
        """Read a block far behind; what comes live meanwhile does not wait for it."""
        reading = asyncio.create_task(self._read(at, near=False), name="session reading")
        reading.add_done_callback(lambda _: self.wake.set())
        try:
            while not reading.done():
                self.wake.clear()
                if self._live_waits():
                    await self._send_from(Lane.LIVE)
                else:
                    await self.wake.wait()
            return reading.result()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, at: int, near: bool) -> Portion:
        """Read a block; who is behind takes turns with the others who are, and leaves the loop to those who are not."""
        limits = self.pace.limits(self.limits.block_items, self._block_octets)
        if near:
            await self.pace.step()
            return await self._read_now(at, limits)
        async with self.pace.reading() as turn:
            portion = await self._read_now(at, limits)
            turn.cost = len(portion.found.batch.octets) + portion.found.batch.items.nbytes
        return portion

    async def _read_now(self, at: int, limits: tuple[int, int]) -> Portion:
        if self.returning is None:
            return await self.reading.read(at, self.selection(), limits)
        found = await self.journal.read(at, self.returning.limited(self.selection()), *limits)
        return Portion(replace(found, batch=as_playback(found.batch)))

    async def _send_block(self, lane: Lane, first: int, portion: Portion, live: bool) -> None:
        batch, upto, data = portion.found.batch, portion.end_position, portion.block(lane, first)
        tally = self._tally(lane, first)
        tally.items += portion.items
        tally.upto = upto
        tally.digest.update(batch.octets)
        self.delivery.sent(lane, first, upto, len(data))
        if self.returning is not None:
            self.returning.sent(upto, batch)
        self.blocks.sent(lane, first, upto, portion.items, portion.oldest_ns)
        async with self.pace.sending(live) as turn:
            turn.cost = len(data)
        if live and portion.items:
            self.pace.went_live()
        await self._tell_path()
        if lane == Lane.BACKFILL:
            self._catching_up.sent(upto, len(data), asyncio.get_running_loop().time())
            self.delivery.lanes[lane].most_octets = self._catching_up.octets
        await self.give(data)
        self.sent_items += portion.items
        self.sent_octets += len(data)
        if tally.items >= self.limits.mark_items or self._lane_ended(lane):
            await self._send_mark(lane)

    def _tally(self, lane: Lane, first: int) -> _Tally:
        if lane not in self._tallies:
            tally = self._tallies[lane] = _Tally(first, first, hashlib.sha256())
            asyncio.get_running_loop().call_later(self.limits.idle_mark_s, self._mark_is_due, tally)
        return self._tallies[lane]

    def _mark_is_due(self, tally: _Tally) -> None:
        tally.due = True
        self.wake.set()

    def _lane_ended(self, lane: Lane) -> bool:
        return not self.delivery.lanes[lane].todo

    # ---- marks ----

    @property
    def _is_final(self) -> bool:
        return self.journal.finished or self.end is not None

    def _mark_due(self, lane: Lane) -> bool:
        """Whether a mark is to be sent now: not for every block of who follows, but soon when nothing more is there."""
        if not self.delivery.drained(lane, self.head):
            return False
        tally = self._tallies.get(lane)
        return (tally is not None and tally.due and tally.items > 0) or (self._is_final and lane not in self.finals)

    async def _send_mark(self, lane: Lane) -> None:
        final = self._is_final and self.delivery.drained(lane, self.head)
        state = self.delivery.lanes[lane]
        tally = self._tallies.pop(lane, None) or _Tally(state.sent, state.sent, hashlib.sha256())
        if final:
            self.finals.add(lane)
        flags = FINAL if final else 0
        mark = encode_mark(lane, tally.first, tally.upto, tally.items, tally.digest.digest(), flags)
        self.pace.spend(len(mark))
        await self.send(mark)
        if final:
            self.on_final()

    async def _idle_mark(self, lane: Lane) -> None:
        """Nothing for this home below the head: say so, but not for every commit of others."""
        try:
            async with asyncio.timeout(self.limits.idle_mark_s):
                await self.wake.wait()
                return
        except TimeoutError:
            pass
        upto = self._scanned.pop(lane, None)
        first, _ = self.delivery.next_range(lane, self.head)
        if upto is not None and upto > first:
            empty = Slice(np.zeros(0, np.int64), empty_items(), upto)
            await self._send_block(lane, first, Portion(empty), live=True)

    # ---- what will not come, and where from what comes came ----

    async def _tell_expired(self, lane: Lane, tail: int) -> None:
        if lane in self._tallies:
            await self._send_mark(lane)  # what was delivered before the hole is confirmed first
        gone = self.delivery.skip_expired(lane, tail if self.end is None else min(tail, self.end))
        self._scanned.pop(lane, None)
        if gone is not None:
            await self.tell_missing(lane, *gone, "expired")

    async def _tell_damaged(self, lane: Lane, found: Slice, at: int, end: int) -> None:
        """Tell what is damaged within [at, end): the rest of such a block was acknowledged, or is told later."""
        for damage in found.damaged:
            first, upto = max(damage.first, at), min(damage.end, end)
            if first < upto:
                await self.tell_missing(lane, first, upto, f"damaged: {damage.cause}")

    async def _tell_path(self) -> None:
        """Tell what changed of where items come from: before anything is sent that came by it."""
        if self.telling is not None:
            await self.telling.tell(self.selection().links)


def lanes_of(
    limits: SessionLimits, cursor: Cursor, head: int, sequential: bool = True, again: tuple[Range, ...] = ()
) -> Delivery:
    """Return the lanes of a session from a cursor on. Raises DeliveryError for a cursor beyond the head."""
    octets, blocks = limits.window_octets, limits.window_blocks
    return Delivery(cursor, head, sequential=sequential, window_octets=octets, window_blocks=blocks, again=again)
