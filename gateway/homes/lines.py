"""What subscriptions share, and how each gets its part: the gateway's reading of journals, and a home base's line.

*Reading*: who is behind reads blocks by the hundred, from the disk, on the loop that all share. So those take turns,
one at a time, by the weights of their priorities; who is close to the head never waits for them. While anybody is
live, each turn is followed by a rest as long as it took: what is live finds the gateway at rest in between.
*A home base's line* is what `rate_limit_bps` of its file says: its sessions together stay within it. Turns on it go
by weight too, live and timely before what is caught up.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable, Mapping
from contextlib import asynccontextmanager

from gateway.homes.turns import Turns
from gateway_config import Home
from gateway_routes.delivery import DeliveryError
from gateway_routes.pacing import (
    RATE_BPS_MAX,
    RATE_BPS_MIN,
    WEIGHTS,
    FairTurns,
    Priority,
    Ticket,
    TokenBucket,
    message_octets,
)

ROW_OCTETS = 72
READ_COST_OCTETS = 4096
"""What a read costs that finds nothing."""
LIVE_WITHIN_S, REST_MAX_S = 0.1, 0.01
"""So long ago something live was sent while anybody is live; a rest is not for as long as a slow disk takes."""


class Turn:
    """A turn under way; `cost` is what it used."""

    cost = 0


class Line:
    """Something that one may use at a time, in fair turns, at a pace if there is a `bucket`."""

    def __init__(self, bucket: TokenBucket | None = None) -> None:
        self.bucket = bucket
        self._turns = FairTurns()
        self._granted: dict[Ticket, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def turn(self, key: Hashable, weight: float, live: bool) -> AsyncIterator[Turn]:
        """Wait for a turn, and have it for the length of the block."""
        ticket = self._turns.ask(key, weight, live)
        granted = self._granted[ticket] = asyncio.get_running_loop().create_future()
        self._look()
        try:
            await granted
        except asyncio.CancelledError:
            if self._granted.pop(ticket, None) is None:  # it has the turn, and does not know yet
                self._end(ticket, 0)
            else:
                self._turns.leave(ticket)
            raise
        turn = Turn()
        try:
            yield turn
        finally:
            self._end(ticket, turn.cost)

    def _end(self, ticket: Ticket, cost: int) -> None:
        self._turns.done(ticket, cost)
        if self.bucket is not None and cost:
            self.bucket.spend(cost, asyncio.get_running_loop().time())
        self._look()

    def _look(self) -> None:
        """See to it that whoever is next gets the turn, when the pace lets them; all who ask until then compete."""
        if self._timer is None and self._turns.due:
            loop = asyncio.get_running_loop()
            wait_s = 0.0 if self.bucket is None else self.bucket.wait_s(loop.time())
            self._timer = loop.call_later(wait_s, self._grant)

    def _grant(self) -> None:
        self._timer = None
        now_s = asyncio.get_running_loop().time()
        if self.bucket is None or self.bucket.wait_s(now_s) <= 0:
            ticket = self._turns.next()
            if ticket is not None and not (granted := self._granted.pop(ticket)).done():
                granted.set_result(None)
        self._look()


def rates_of(homes: Mapping[str, Home]) -> dict[str, float]:
    """Return the limits that home files say, where they say one."""
    rates = {name: home.quotas.rate_limit_bps for name, home in homes.items()}
    return {name: rate for name, rate in rates.items() if rate is not None}


class Lines:
    """The lines of one gateway. `rates_bps` has the home bases that have a limit."""

    def __init__(self, rates_bps: Mapping[str, float] | None = None) -> None:
        self.reading = Line()
        self.readers: Counter[str] = Counter()  # sessions of each home base that read or wait to read
        self.turns = Turns()
        self.live_s = float("-inf")  # when something live was sent last
        self.homes: dict[str, Line] = {}
        self.change(rates_bps or {})

    async def rest(self, took_s: float) -> None:
        """Leave the gateway to those who are live, if anybody is, after a turn of reading that took so long."""
        if asyncio.get_running_loop().time() - self.live_s <= LIVE_WITHIN_S:
            await asyncio.sleep(min(took_s, REST_MAX_S))

    def change(self, rates_bps: Mapping[str, float]) -> None:
        """Take other limits: from the next message on, sessions go by them. Who waits for a turn keeps it."""
        for home in self.homes.keys() - rates_bps.keys():
            self.homes.pop(home).bucket = None
        for home, rate in rates_bps.items():
            line = self.homes.setdefault(home, Line())
            if line.bucket is None or line.bucket.rate_bps != rate:
                line.bucket = TokenBucket(rate)


class Pace:
    """How one session sends: its own limit, its home base's line, its priority."""

    def __init__(
        self, lines: Lines, key: tuple[str, ...], priority: Priority = Priority.NORMAL, rate_bps: float | None = None
    ) -> None:
        self._lines, self._key, self.priority = lines, key, priority
        self._own = None if rate_bps is None else TokenBucket(rate_bps)

    @property
    def _line(self) -> Line | None:
        """The home base's line, where it has one now: a reload may give it one, or take it."""
        return self._lines.homes.get(self._key[0])

    @property
    def _buckets(self) -> list[TokenBucket]:
        line = self._line
        both = (self._own, None if line is None else line.bucket)
        return [bucket for bucket in both if bucket is not None]

    @property
    def rate_bps(self) -> float | None:
        """The lower of both limits; None = there is none."""
        return min((bucket.rate_bps for bucket in self._buckets), default=None)

    def described(self) -> dict[str, object]:
        """Return what the welcome and the API say of it."""
        rate_bps = self.rate_bps
        return {"priority": self.priority.value, "rate_limit_bps": rate_bps and int(rate_bps)}

    def limits(self, items: int, octets: int) -> tuple[int, int]:
        """Return how many items and octets of items a message may have, rows included, at this pace."""
        rate_bps = self.rate_bps
        if rate_bps is None:
            return items, octets
        most = message_octets(rate_bps, octets)
        return max(1, min(items, most // (2 * ROW_OCTETS))), max(1, most // 2)

    @asynccontextmanager
    async def sending(self, live: bool) -> AsyncIterator[Turn]:
        """Wait until the pace lets a message pass; what it `cost` is said in the block, nothing is waited for there."""
        own, loop = self._own, asyncio.get_running_loop()
        while own is not None and (wait_s := own.wait_s(loop.time())) > 0:
            await asyncio.sleep(wait_s)
        line = self._line
        if line is None:
            turn = Turn()
            yield turn
        else:
            async with line.turn(self._key, WEIGHTS[self.priority], live) as turn:
                yield turn
        if own is not None:
            own.spend(turn.cost, loop.time())

    def spend(self, octets: int) -> None:
        """Note a message that does not wait: control, which is small."""
        if not (buckets := self._buckets):
            return
        now_s = asyncio.get_running_loop().time()
        for bucket in buckets:
            bucket.spend(octets, now_s)

    def went_live(self) -> None:
        """Note that items were sent that came just now."""
        self._lines.live_s = asyncio.get_running_loop().time()

    async def step(self) -> None:
        """Wait for the home base's turn on the event loop: its sessions have one for all (gateway.homes.turns)."""
        await self._lines.turns.mine(self._key[0])

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Turn]:
        """Wait for a turn to read what is far behind the head; the sessions of a home base share one weight."""
        home, readers = self._key[0], self._lines.readers
        readers[home] += 1
        try:
            weight = WEIGHTS[self.priority] / readers[home]
            async with self._lines.reading.turn(self._key, weight, live=False) as turn:
                loop = asyncio.get_running_loop()
                began_s = loop.time()
                yield turn
                turn.cost += READ_COST_OCTETS
                await self._lines.rest(loop.time() - began_s)
        finally:
            readers[home] -= 1
            if not readers[home]:
                del readers[home]


def asked_pace(lines: Lines, key: tuple[str, ...], hello: Mapping[str, object]) -> Pace:
    """Return the pace that a hello asks for. Raises DeliveryError."""
    rate, priority = hello.get("rate_limit_bps"), hello.get("priority", "normal")
    whole = isinstance(rate, int) and not isinstance(rate, bool)
    if rate is not None and not (whole and RATE_BPS_MIN <= rate <= RATE_BPS_MAX):  # type: ignore[operator]
        text = f'"rate_limit_bps" is a whole number from {RATE_BPS_MIN} to {RATE_BPS_MAX}, not {str(rate)[:64]}'
        raise DeliveryError("bad message", text)
    if not isinstance(priority, str) or priority not in [p.value for p in Priority]:
        raise DeliveryError("bad message", f'"priority" is high, normal or low, not {str(priority)[:64]!r}')
    return Pace(lines, key, Priority(priority), None if rate is None else float(rate))  # type: ignore[arg-type]
