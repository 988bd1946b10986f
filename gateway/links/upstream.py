"""A link whose peer is another gateway: a complete subscription there is its source (docs/chaining.md).

One commit holds items, gaps, and the cursor that says that they have been here; only then the upstream is told. So
nothing is lost and nothing comes twice, whoever is killed when. Its items come as they are journalled there, decoded:
there is no intake.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import structlog

from gateway.homes.channel import Channel
from gateway.homes.client import SubscriptionRefused
from gateway.homes.paths import Paths
from gateway.journal import Commit
from gateway.journal.events import event_items
from gateway.links.supervised import LinkContext, LinkSettings, Supervised
from gateway.links.upstream_counts import UpstreamCounts
from gateway.links.upstream_items import Nameless, Numbers, as_ours, live, missing_items
from gateway.links.upstream_read import ReadAhead
from gateway_codecs.batches import (
    DataMode,
    IntakeBatch,
    ItemBatch,
    Kind,
    Quality,
    Unit,
    concatenate,
    distinct,
)
from gateway_codecs.delivery_block import DATA, MARK, TIMELY, DeliveryBlock, DeliveryBlockError, decode
from gateway_routes.delivery import Cursor
from gateway_routes.link_state import LinkInput, LinkStatus
from gateway_routes.reception import MarkDiffers, Reception
from gateway_routes.upstream import (
    SEQUENTIAL_RANGES,
    JournalKey,
    Path,
    UpstreamError,
    UpstreamState,
    Welcome,
    check_loop,
    missing_range,
    not_had,
    parse_path,
    parse_welcome,
)

log = structlog.get_logger()
CONNECT_S = 10.0
CLOSE_S = 2.0
WATCH_S = 0.25
SHAKES = 3  # a cursor of another journal, one that is not ours, and then it must be right


class UpstreamRefused(UpstreamError):
    """The upstream does not let us in, and says why."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.code = str(told.get("code"))[:64]
        super().__init__(f"the upstream refused ({self.code}): {str(told.get('message'))[:400]}")
        self.told = told


@dataclass(frozen=True, slots=True)
class UpstreamWish:
    """What to subscribe to at the upstream, and as whom."""

    address: str  # for people
    home: str
    subscription: str
    selection: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Session:
    """One session with the upstream."""

    channel: Channel
    welcome: Welcome
    reception: Reception
    numbers: Numbers
    head: int  # of its journal, as far as we know
    path: Path  # of its items; journalled with the first of them, not before


@dataclass(slots=True)
class _Taken:
    """What some messages became, in the order in which they came."""

    state: UpstreamState
    parts: list[ItemBatch] = field(default_factory=list)
    acknowledgements: dict[int, int] = field(default_factory=dict)
    missing: int = 0
    wrong: Exception | None = None  # found behind all this


class UpstreamLink(Supervised):
    """See the module. `dial` opens a channel to the upstream; `known` are the spacecraft of our mission."""

    def __init__(
        self,
        settings: LinkSettings,
        wish: UpstreamWish,
        dial: Callable[[], Awaitable[Channel]],
        context: LinkContext,
        paths: Paths,
        known: frozenset[str],
    ) -> None:
        super().__init__(settings, context)
        self._wish, self._dial, self._paths, self._known = wish, dial, paths, known
        self._counters |= {"duplicates": 0, "missing_positions": 0, "unknown_spacecraft": 0}
        self._link_id = context.journal.name_id("links", settings.name)
        self._counts = UpstreamCounts(settings.spacecraft)
        self._channel: Channel | None = None
        self._session: _Session | None = None
        self._append: asyncio.Task[Commit] | None = None
        self._nameless: frozenset[int] = frozenset()
        self._unknown: set[str] = set()
        self._refused_text = ""

    # ---- the connection ----

    def _start_over(self) -> None:
        """Nothing of a session outlives it: the next begins with what is journalled."""

    async def _close(self) -> None:
        channel, self._channel, self._session = self._channel, None, None
        self._paths.disconnect(self.settings.name)
        if channel is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSE_S):
                    await channel.close("")

    async def _end_task(self) -> None:
        await self._cancel_task()
        await self._close()
        if self._append is not None:
            await self._context.journal.or_blocked([self._append])

    async def _connection(self) -> None:
        try:
            await self._connected()
        except Nameless as error:
            self._nameless |= {error.number}
            raise
        except MarkDiffers as error:  # what was sent is not what came: to go on would hide it
            text = f"{self.settings.name}: not what the upstream says it sent: {error}"
            self._tell("upstream", "error", f"{text}; the link stays disabled until it is enabled again")
            self._step(LinkInput.DISABLE, str(error))
        except UpstreamError as error:
            if self._refused_text != str(error):
                self._refused_text = str(error)
                self._tell("upstream", "error", f"{self.settings.name}: {error}")
            raise
        finally:
            await self._close()

    async def _connected(self) -> None:
        if self._append is not None:  # of the session before: its cursor counts
            await asyncio.wait([self._append])
        session = await self._shake_hands()
        self._session, self._refused_text, self._peer = session, "", self._wish.address
        self._counters["connects"] += 1
        self._step(LinkInput.CONNECTED, self._peer)
        watch = asyncio.create_task(self._watch(), name=f"watch {self.settings.name}")
        try:
            await self._receive(session)
        finally:
            watch.cancel()

    async def _shake_hands(self) -> _Session:
        """Subscribe with the cursor that is journalled, of the journal that is there. Raises OSError."""
        state = self._state()
        key, cursors = state.now, {**state.cursors}
        for _ in range(SHAKES):
            try:
                async with asyncio.timeout(CONNECT_S):
                    channel = self._channel = await self._dialled()
                    told = await self._subscribe(channel, key, cursors.get(key))
            except TimeoutError:
                raise ConnectionError(f"no answer from {self._wish.address} in {CONNECT_S:.0f} s") from None
            except UpstreamRefused as error:
                if error.code != "other journal":
                    raise
                key = str(JournalKey.told(error.told))
                await self._close()
                continue
            welcome = parse_welcome(told)
            check_loop(str(self._context.journal.journal_id), welcome.path)
            key = str(welcome.key)
            if welcome.cursor == cursors.setdefault(key, Cursor(welcome.tail)):
                return await self._begun(channel, told, welcome, cursors[key].low_water)
            await self._close()  # whoever acknowledged more than we have: our own cursor wins
        raise UpstreamError("it serves one journal now and another one then")

    async def _dialled(self) -> Channel:
        """Open a channel. Raises OSError."""
        try:
            return await self._dial()
        except SubscriptionRefused as error:
            raise UpstreamError(str(error)) from None

    async def _subscribe(self, channel: Channel, key: str, cursor: Cursor | None) -> dict[str, Any]:
        """Say what we want and where we are; return the welcome. Raises UpstreamError."""
        hello: dict[str, Any] = {
            "type": "subscribe", "home": self._wish.home, "subscription": self._wish.subscription, "mode": "complete",
            "selection": dict(self._wish.selection), "path": True,
        }  # fmt: skip
        if cursor is not None:
            journal_id, _, revision = key.partition("/")
            hello["sequential"] = len(cursor.ranges) >= SEQUENTIAL_RANGES
            hello["cursor"] = {
                "journal_id": journal_id, "revision": int(revision), "low_water": cursor.low_water,
                "ranges": [list(pair) for pair in cursor.ranges],
            }  # fmt: skip
        await channel.send(json.dumps(hello))
        return _control(await channel.receive())

    async def _begun(self, channel: Channel, told: Mapping[str, Any], welcome: Welcome, begin: int) -> _Session:
        """Make the session; from which journal items come now is journalled when it is news. Raises UpstreamError."""
        name, journal = self.settings.name, self._context.journal
        try:
            reception = Reception(told)
        except (KeyError, TypeError, ValueError) as error:
            raise UpstreamError(f"its welcome cannot be understood: {error}") from error
        before = self._state()
        state = before.serving(welcome.key, begin)
        if state.now != before.now:
            await self._commit(event_items([self._news(before, state)], self._context.clock.tai_ns()), state)
        self._paths.connect(name, welcome.path.all)
        numbers = Numbers(
            welcome.spacecraft, lambda one: journal.name_id("spacecraft", one), self._nameless, self._known
        )
        return _Session(channel, welcome, reception, numbers, welcome.head, welcome.path)

    def _news(self, before: UpstreamState, now: UpstreamState) -> dict[str, Any]:
        """Return the event that another journal is served."""
        name, low_water = self.settings.name, now.cursor.low_water
        text = f"{name}: the upstream serves journal {now.now}, taken from position {low_water} on"
        if before.now:
            gone = before.cursor
            text += f"; it served {before.now} before: what that had beyond position {gone.highest} is not there"
        return {
            "type": "upstream", "severity": "error" if before.now else "info", "message": text, "link": name,
            "link_id": self._link_id, "journal": now.now, "before": before.now or None, "from": low_water,
        }  # fmt: skip

    def _state(self) -> UpstreamState:
        """Return what is journalled of the upstream."""
        return UpstreamState.of(self._context.journal.state.get("links", {}).get(self.settings.name, {}))

    # ---- what comes ----

    async def _receive(self, session: _Session) -> None:
        async with ReadAhead(session.channel, f"read {self.settings.name}") as ahead:
            while not session.reception.finished:
                taken = self._taken(session, await ahead.take())
                if taken.parts or taken.acknowledgements or taken.missing:
                    await self._keep(session, taken)
                if taken.wrong is not None:
                    raise taken.wrong
        self._step(LinkInput.FINISHED, "the upstream's stream has ended")
        self._context.on_finished()

    def _taken(self, session: _Session, messages: list[str | bytes]) -> _Taken:
        """Take messages until one is wrong."""
        taken = _Taken(self._state())
        try:
            for message in messages:
                if isinstance(message, str):
                    self._take_control(session, _control(message), taken)
                else:
                    self._take_block(session, _block(message), taken)
                    self._counters["octets"] += len(message)
        except (UpstreamError, MarkDiffers, ConnectionError) as error:
            taken.wrong = error
        return taken

    def _take_control(self, session: _Session, told: Mapping[str, Any], taken: _Taken) -> None:
        if told["type"] == "path":
            path = parse_path(told)
            check_loop(str(self._context.journal.journal_id), path)
            session.path = path
            self._paths.connect(self.settings.name, path.all)
        elif told["type"] == "missing":
            first, end, why = missing_range(told)
            session.reception.note_missing(first, end)
            now_ns = self._context.clock.tai_ns()
            span = (first, end, why)
            taken.parts.append(missing_items(self.settings.name, self._link_id, taken.state.now, span, now_ns))
            taken.state = taken.state.moved(taken.state.cursor.with_range(first, end))
            taken.missing += end - first

    def _take_block(self, session: _Session, block: DeliveryBlock, taken: _Taken) -> None:
        session.reception.take(block)
        if block.kind == MARK:
            return
        cursor = taken.state.cursor
        new = not_had(cursor, block.positions)
        now_ns = self._context.clock.tai_ns()
        items = as_ours(block, new, self._link_id, session.welcome.head, session.numbers, now_ns)
        if len(items):
            taken.parts.append(items)
        self._counters["duplicates"] += len(block.positions) - len(items)
        taken.state = taken.state.moved(cursor.with_range(block.from_position, block.upto_position))
        taken.acknowledgements[block.lane] = block.upto_position
        session.head = max(session.head, block.upto_position)

    async def _keep(self, session: _Session, taken: _Taken) -> None:
        """Journal what was taken, then acknowledge it: never the other way round."""
        batch = concatenate(taken.parts)
        came = bool((batch.items["upstream_position"] >= 0).any())
        await self._commit(batch, taken.state.with_path(session.path.passed) if came else taken.state)
        self._note(session, batch, taken)
        for lane, upto in taken.acknowledgements.items():
            await session.channel.send(json.dumps({"type": "ack", "lane": lane, "upto": upto}))

    async def _commit(self, batch: ItemBatch, state: UpstreamState) -> None:
        """Commit items with the state that says that they are here. Whoever ends the link does not end the commit."""
        work = self._context.journal.append(IntakeBatch(batch, state=state.patch()), self.settings.name)
        self._append = asyncio.create_task(work, name=f"append {self.settings.name}")
        await asyncio.shield(self._append)

    # ---- what is counted and told ----

    def _note(self, session: _Session, batch: ItemBatch, taken: _Taken) -> None:
        """Count what is journalled, and tell whom it concerns."""
        items = batch.items[batch.items["upstream_position"] >= 0]
        self._counts.take(items, self._context.journal.names("spacecraft"))
        packets = items["unit"] == Unit.PACKET
        self._counters["packets"] += int(np.count_nonzero(packets))
        self._counters["missing_positions"] += taken.missing
        for cause in distinct(items["quality"]):
            if cause != Quality.GOOD:
                label = f"rejected_{Quality(cause).name.lower()}"
                count = int(np.count_nonzero(items["quality"] == cause))
                self._counters[label] = self._counters.get(label, 0) + count
        self._tell_unknown(session.numbers)
        good = items[(items["kind"] == Kind.TM) & (items["quality"] == Quality.GOOD)]
        if len(good):
            self._heard()
        now = good[live(good) & (good["data_mode"] == DataMode.REAL_TIME)]
        names = self._context.journal.names("spacecraft")
        for number in distinct(now["spacecraft"]):
            if names.get(number) in self._known:
                self._context.contacts.good_data(names[number], self.settings.name)
        if self._context.timely.wanted:
            self._context.timely.offer(ItemBatch(batch.octets, batch.items[live(batch.items)]))

    def _heard(self) -> None:
        if self._machine.status == LinkStatus.UNAVAILABLE:  # it was silent in a contact
            self._step(LinkInput.CONNECTED, self._peer)
        self._step(LinkInput.GOOD)

    def _tell_unknown(self, numbers: Numbers) -> None:
        """Count items of spacecraft that our mission does not have, and tell of each spacecraft once."""
        self._counters["unknown_spacecraft"] += numbers.unknown.total()
        for name in numbers.unknown.keys() - self._unknown:
            self._unknown.add(name)
            text = f"items of spacecraft {name}, which this mission does not have, are kept under that name"
            self._tell("upstream", "warning", f"{self.settings.name}: {text}")
        numbers.unknown.clear()

    async def _watch(self) -> None:
        """Silence in a contact means down, though the connection stands: the upstream has nothing to send."""
        was_in_contact, watchdog_s = False, self.settings.watchdog_s
        while True:
            await asyncio.sleep(min(WATCH_S, watchdog_s / 2))
            now_s = self._now()
            in_contact = self._context.contacts.in_contact(self.settings.spacecraft)
            if in_contact and not was_in_contact:
                self._machine.begin_period(now_s)
            was_in_contact = in_contact
            if self._machine.silent(now_s, in_contact):
                self._lost(f"silent for {watchdog_s:g} s inside a contact; the upstream is connected")
            elif self._machine.status == LinkStatus.UNAVAILABLE and not in_contact:
                self._step(LinkInput.CONNECTED, self._peer)
            if self._machine.quiet(now_s):
                self._step(LinkInput.QUIET, "no data")

    def reset(self) -> None:
        """Set the counters to zero, those of channels and APIDs too."""
        super().reset()
        self._counts = UpstreamCounts(self.settings.spacecraft)

    def statistics(self) -> dict[str, Any]:
        """Return what was counted by spacecraft, channel and APID."""
        return self._counts.statistics()

    def snapshot(self) -> dict[str, Any]:
        """Return the link's state, JSON-able."""
        notice = f"spacecraft that this mission does not have: {', '.join(sorted(self._unknown))}"
        state, session = self._state(), self._session
        known = state.now in state.cursors
        journal_id, _, revision = state.now.partition("/")
        return super().snapshot() | {
            "notice": notice if self._unknown else "",
            "upstream": {
                "address": self._wish.address,
                "subscription": f"{self._wish.home}/{self._wish.subscription}",
                "journal_id": journal_id or None,
                "revision": int(revision) if revision else None,
                "low_water": state.cursor.low_water if known else 0,
                "acknowledged_ranges": [list(pair) for pair in state.cursor.ranges] if known else [],
                "lag_items": _lag(state.cursor, session.head) if known and session else None,
                "path": list(state.path),
            },
        }


def _lag(cursor: Cursor, head: int) -> int:
    return sum(end - first for first, end in cursor.missing(head))


def _control(message: str | bytes) -> dict[str, Any]:
    """Return a control message. Raises UpstreamError, UpstreamRefused."""
    try:
        told = json.loads(message) if isinstance(message, str) else None
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict) or not isinstance(told.get("type"), str):
        raise UpstreamError("it sends what is no control message of a gateway")
    if told["type"] == "error":
        raise UpstreamRefused(told)
    return told


def _block(message: bytes) -> DeliveryBlock:
    """Return a block of a complete session. Raises UpstreamError."""
    try:
        block = decode(message)
    except DeliveryBlockError as error:
        raise UpstreamError(f"it sends a block that cannot be read: {error}") from error
    if block.kind == TIMELY or block.kind not in {DATA, MARK}:
        raise UpstreamError("it sends a timely block in a session that is not timely")
    return block
