"""One session with a home base over any message channel (docs/wire-format.md)."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from gateway.access.policy import described
from gateway.homes.channel import Channel, SessionLimits
from gateway.homes.digest_asking import DigestAsking
from gateway.homes.entitlement import Entitlement
from gateway.homes.hello import VALUE_KEYS, checked, parse_control
from gateway.homes.lane_sender import LaneSender, lanes_of
from gateway.homes.ledger import HomeLedger, SentBlocks
from gateway.homes.lines import Pace, asked_pace
from gateway.homes.paths import PathTelling
from gateway.homes.registry import Subscription, SubscriptionRegistry
from gateway.homes.timely_sender import TimelyCount, TimelySender, timely_limits
from gateway.homes.value_sender import ValueSender, value_wish
from gateway.homes.versions import ended, lowered, noted, still_missing, taken_back
from gateway.playback.resend import still_to_send
from gateway.playback.returning import PlaybackReturn
from gateway_routes.delivery import Cursor, Delivery, DeliveryError, Lane, Range, parse_cursor
from gateway_routes.rights import LOCAL_OPERATOR, Actor
from gateway_routes.selection import Selection

log = structlog.get_logger()
PROTOCOL = 1
CANCEL_AGAIN_S = 0.5
OFFLINE_PER_HOME_MAX = 4
TIMELY_PER_HOME_MAX = 16


async def _all_ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended: a library that waits on CPython 3.11 may swallow a cancellation."""
    left = list(tasks)
    while left:
        for task in left:
            task.cancel()
        _, still = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
        left = [task for task in left if task in still]
    await asyncio.gather(*tasks, return_exceptions=True)


class Session:
    """Serves one subscription over one channel until either end leaves."""

    def __init__(
        self, channel: Channel, registry: SubscriptionRegistry, limits: SessionLimits, actor: Actor = LOCAL_OPERATOR
    ) -> None:
        self.actor = actor
        self._rights: Entitlement | None = None  # once they were granted
        self._channel, self._registry, self._limits = channel, registry, limits
        self._journal = registry.journal
        self._wake = asyncio.Event()
        self._store_wake = asyncio.Event()
        self._ending = ""
        self._told_to_end = asyncio.Event()
        self.state = "connecting"
        self.refused = ""  # the code of what it was refused or ended with
        self.drops = 0
        self.home = self.name = ""
        self.mode = "complete"
        self._subscription: Subscription | None = None
        self._positioned: LaneSender | None = None  # of the modes with positions, once it began
        self._timely: TimelySender | None = None
        self._values: ValueSender | None = None
        self._return: PlaybackReturn | None = None
        self._pace: Pace
        self._telling: PathTelling | None = None  # of where items come from; None = nobody asked
        self.asking = DigestAsking(self._say)
        self._blocks: SentBlocks

    async def run(self) -> None:
        """Shake hands and serve. Ends without raising, whatever the peer does."""
        try:
            async with asyncio.timeout(self._limits.hello_s):
                hello = self._control(await self._channel.receive())
            await self._welcome(hello)
            await self._serve()
        except DeliveryError as error:
            await self._refuse(error.code, str(error), **error.facts)
        except TimeoutError:
            await self._refuse("no subscribe", f"no subscribe message within {self._limits.hello_s} s")
        except ConnectionError:
            pass
        except Exception as error:  # the edge: a fault on our side ends this session alone, and the peer is told
            log.exception("session failed", home=self.home, subscription=self.name)
            await self._refuse("internal", f"the gateway cannot serve now ({error}); connect again")
        finally:
            self.state = "away"
            self._leave()
            if self._return is not None:
                with contextlib.suppress(OSError):  # not durable: after a restart it goes on from what is
                    await self._return.keep()
            await self._say_goodbye()

    async def _say_goodbye(self) -> None:
        """Close; a peer that does not read must not hold us."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.goodbye_s):
                await self._channel.close(self._ending)

    def stop(self, reason: str) -> None:
        """End this session from outside, also when its peer does not read: replaced by a newer one, or shutdown."""
        self._ending = reason
        self._told_to_end.set()

    @property
    def ending(self) -> bool:
        """Whether it was told to end."""
        return self._told_to_end.is_set()

    # ---- handshake ----

    def _control(self, message: str | bytes) -> dict[str, Any]:
        if not isinstance(message, str):
            raise DeliveryError("bad message", "the client sends JSON text; binary blocks go the other way only")
        return parse_control(message)

    async def _welcome(self, hello: Mapping[str, Any]) -> None:
        self.home, self.name, mode, wish = checked(hello)
        if hello.get("path") is True:
            self._telling = PathTelling(self._registry.paths, self._say, self._wake.set)
        self.mode = mode
        if mode == "playback":
            wish = self._registry.playback_wish(self.home, self.name, wish)
        self.asking.wanted = hello.get("confirm") is True and mode == "complete"
        self._rights = Entitlement(self._registry, self.actor, self.home, self.name, mode, wish)
        await self._begin(hello, wish)
        self.recheck()  # the rights may have changed while it began
        if self._told_to_end.is_set():
            raise ConnectionError(self._ending)
        self._registry.ledger.seen(self.home)
        self.state = "live"

    def recheck(self) -> None:
        """End when what this session may have is not the same any more: the next one begins with what it is now."""
        if self._rights is not None:
            why = self._rights.change(self._values.names if self._values is not None else ())
            if why:
                self.stop(why)

    async def _begin(self, hello: Mapping[str, Any], wish: dict[str, Any]) -> None:
        mode = self.mode
        self._blocks = SentBlocks(self._registry.ledger if mode == "complete" else HomeLedger(), self.home, self.name)
        if mode != "timely" and hello.get("max_delay_ms") is not None:
            raise DeliveryError("bad message", '"max_delay_ms" is for mode timely: the other modes skip nothing')
        self._pace = asked_pace(self._registry.lines, (self.home, self.name, mode), hello)
        if mode != "values" and (given := sorted(VALUE_KEYS & set(hello))):
            raise DeliveryError("bad message", f"{given[0]!r} is for mode values")
        if mode == "timely":
            await self._begin_timely(hello)
        elif mode == "values":
            await self._begin_values(hello)
        elif mode == "complete":
            await self._begin_complete(hello, wish)
            await self._send_welcome()
        elif mode == "playback":
            await self._begin_playback(hello)
            await self._send_welcome()
        else:
            self._begin_offline(hello)
            await self._send_welcome()

    async def _begin_complete(self, hello: Mapping[str, Any], wish: dict[str, Any]) -> None:
        """Take the subscription over; nothing is changed by a hello that is refused."""
        key = (self.home, self.name)
        known = self._registry.subscriptions.get(key)
        if known is None:
            self._registry.check_room(self.home)
        cursor = self._cursor(hello, known)
        again = known.resend if known is not None else ()
        for first, end in again:  # whatever the client holds: the operator ordered it to be sent again
            cursor = cursor.without(first, end)
        delivery = lanes_of(self._limits, cursor, self._journal.head, hello.get("sequential") is True, again)
        self._positioned = self._sender(delivery)
        before = self._registry.sessions.get(key)
        if before is not None:
            before.stop("replaced by a newer session of the same subscription")
        self._registry.sessions[key] = self
        granted = described(self._selection)
        if known is None:
            begin = cursor.low_water
            self._subscription = Subscription(
                self.home, self.name, 1, dict(wish), cursor, begin, granted=granted, begun=begin
            )
        else:
            self._subscription = await self._gone_on(known, wish, granted, cursor)
        if known is None or known.version != self._subscription.version:
            await self._registry.put(self._subscription)  # durable before it is told
        if self._told_to_end.is_set():
            raise ConnectionError(self._ending)  # a newer session came while this one was stored
        self._registry.subscriptions[key] = self._subscription

    async def _gone_on(
        self, known: Subscription, wish: dict[str, Any], granted: dict[str, Any], cursor: Cursor
    ) -> Subscription:
        """Return a subscription as it goes on: when what it gets is another, as a new version. Raises OSError."""
        versions = self._registry.versions
        former, begun = versions.of(self.home, self.name, known.version), lowered(known.begun, cursor)
        missing, left = still_missing(known.missing, cursor), taken_back(former, cursor)
        known = replace(known, cursor=cursor, begun=begun, missing=missing)
        if (known.selection, known.granted) == (wish, granted):
            if left != former:
                await versions.put(self.home, self.name, left)
            return known
        # what was acknowledged under the old selection stays so: the new one is exact from there on
        left, begun = ended(former, known.version, known.selection, known.granted, cursor, begun)
        await versions.put(self.home, self.name, left)
        return replace(
            known, version=known.version + 1, selection=dict(wish), version_from=cursor.highest, granted=granted,
            begun=begun,
        )  # fmt: skip

    def _cursor(self, hello: Mapping[str, Any], known: Subscription | None) -> Cursor:
        told = hello.get("cursor")
        if told is not None:
            if not isinstance(told, dict):
                raise DeliveryError("bad cursor", "cursor must be an object or null")
            self._check_journal(told)
            return parse_cursor(told)
        if known is not None:
            return known.cursor
        return Cursor(self._journal.head if hello.get("from") == "head" else self._journal.tail)

    def _check_journal(self, told: Mapping[str, Any]) -> None:
        journal, revision = str(self._journal.journal_id), self._journal.revision
        facts = {"journal_id": journal, "revision": revision}
        if told.get("journal_id") != journal:
            raise DeliveryError("other journal", f"the cursor is of another journal; this one is {journal}", **facts)
        if told.get("revision") != revision:
            shown = str(told.get("revision"))[:64]
            text = f"the cursor is of revision {shown} of this journal, now at {revision}"
            raise DeliveryError("other journal", text, **facts)

    def _begin_offline(self, hello: Mapping[str, Any]) -> None:
        first, upto = hello.get("from_position", self._journal.tail), hello.get("upto_position", self._journal.head)
        if not all(isinstance(p, int) and not isinstance(p, bool) for p in (first, upto)) or not 0 <= first <= upto:
            raise DeliveryError("bad range", "from_position and upto_position must be whole numbers, from <= upto")
        if upto > self._journal.head:
            raise DeliveryError("bad range", f"upto_position {upto} is beyond the head {self._journal.head}")
        if sum(session.home == self.home for session in self._registry.offline) >= OFFLINE_PER_HOME_MAX:
            most = OFFLINE_PER_HOME_MAX
            raise DeliveryError("too many", f"a home base has at most {most} offline sessions at a time")
        self._positioned = self._sender(lanes_of(self._limits, Cursor(first), upto), upto)
        self._registry.offline.append(self)

    async def _begin_playback(self, hello: Mapping[str, Any]) -> None:
        """Go on with the return of a playback request; the subscription bears the request's name."""
        told = hello.get("cursor")
        cursor = None if told is None else self._cursor(hello, None)
        self._return = await self._registry.book.begin(self.name, cursor, self)
        end = self._return.end
        self._positioned = self._sender(lanes_of(self._limits, self._return.cursor, end), end)

    def _sender(self, delivery: Delivery, end: int | None = None) -> LaneSender:
        return LaneSender(
            self._journal, self._registry.reading, delivery, lambda: self._selection, self._pace, self._limits,
            self._blocks, self._give, self._channel.send, self._tell_missing, end, self._return, self._telling,
            self._note_return, self._wake,
        )  # fmt: skip

    async def _begin_timely(self, hello: Mapping[str, Any]) -> None:
        """Listen, then welcome: from the welcome on everything comes, or is told as skipped."""
        others = self._registry.timely_sessions
        before, have = others.get((self.home, self.name)), sum(home == self.home for home, _ in others)
        limits = timely_limits(hello, have - (before is not None))
        if before is None and have >= TIMELY_PER_HOME_MAX:
            raise DeliveryError("too many", f"a home base has at most {TIMELY_PER_HOME_MAX} timely sessions at a time")
        if before is not None:
            before.stop("replaced by a newer session of the same subscription")
        others[self.home, self.name] = self
        journal = self._journal
        feed = self._registry.timely.open(self._selection, limits)
        count = self._registry.timely_counts.setdefault(self.home, TimelyCount())
        self._timely = TimelySender(feed, self._give, self._pace, lambda: journal.names("spacecraft"), count)
        welcome = {
            "type": "welcome",
            "protocol": PROTOCOL,
            "mode": "timely",
            "journal_id": str(journal.journal_id),
            "revision": journal.revision,
            "names": {"spacecraft": journal.names("spacecraft"), "links": journal.names("links")},
            "max_delay_ms": round(limits.max_delay_s * 1000),
            **self._pace.described(),
        }
        await self._say(welcome)

    async def _begin_values(self, hello: Mapping[str, Any]) -> None:
        """Find the parameters, then welcome."""
        wish, door, others = value_wish(hello), self._registry.values, self._registry.value_sessions
        if door is None:
            raise DeliveryError("no values", "this mission instance has no engineering values")
        before = others.get((self.home, self.name))
        if before is None and sum(home == self.home for home, _ in others) >= TIMELY_PER_HOME_MAX:
            most = TIMELY_PER_HOME_MAX
            raise DeliveryError("too many", f"a home base has at most {most} sessions of values at a time")
        if before is not None:
            before.stop("replaced by a newer session of the same subscription")
        others[self.home, self.name] = self
        allowed = self._rights.check_parameter if self._rights is not None else lambda name: None
        self._values = ValueSender(door, wish, self._give, self._pace, self._limits.block_octets, allowed)
        journal = self._journal
        about = {"journal_id": str(journal.journal_id), "revision": journal.revision}
        welcome = {"type": "welcome", "protocol": PROTOCOL, "mode": "values", **about, **await self._values.begin()}
        await self._say({**welcome, **self._pace.described()})

    async def _send_welcome(self) -> None:
        journal = self._journal
        cursor = self._lanes.delivery.cursor
        welcome = {
            "type": "welcome",
            "protocol": PROTOCOL,
            "journal_id": str(journal.journal_id),
            "revision": journal.revision,
            "version": self._subscription.version if self._subscription else 0,
            "version_from": self._subscription.version_from if self._subscription else 0,
            "tail": journal.tail if self._return is None else self._return.first,
            "head": self._lanes.head,
            "low_water": cursor.low_water,
            "ranges": [list(r) for r in cursor.ranges],
            "resend": [list(r) for r in self._subscription.resend] if self._subscription else [],
            "lanes": {
                lane.name.lower(): state.todo[0][0] for lane, state in self._lanes.delivery.lanes.items() if state.todo
            },
            "names": {"spacecraft": journal.names("spacecraft"), "links": journal.names("links")},
            "window": {"octets": self._limits.window_octets, "blocks": self._limits.window_blocks},
            **self._pace.described(),
        }
        if self._telling is not None:
            welcome |= self._telling.begin(self._selection.links)
        await self._say(welcome)

    async def _say(self, told: Mapping[str, Any]) -> None:
        """Send a control message: it counts for the rate, and does not wait for it."""
        message = json.dumps(told)
        self._pace.spend(len(message))
        await self._channel.send(message)

    @property
    def _lanes(self) -> LaneSender:
        if self._positioned is None:
            raise AssertionError("a mode with positions has lanes once it began")
        return self._positioned

    @property
    def sent_items(self) -> int:
        """Items sent in the modes with positions."""
        return 0 if self._positioned is None else self._positioned.sent_items

    @property
    def sent_octets(self) -> int:
        """Octets sent in the modes with positions."""
        return 0 if self._positioned is None else self._positioned.sent_octets

    @property
    def _selection(self) -> Selection:
        """What of the wish is granted."""
        if self._rights is None:
            raise AssertionError("nothing is served before it is granted")
        return self._rights.selection

    # ---- serving ----

    async def _serve(self) -> None:
        """Run the parts until one ends: the peer left, broke the protocol, or we were told to stop."""
        if self._timely is not None:
            parts = [self._receive_nothing(), self._send_timely(self._timely), self._until_told()]
        elif self._values is not None:
            parts = [self._receive_nothing(), self._send_values(self._values), self._until_told()]
        else:
            parts = [self._receive(), self._lanes.run(), self._keep_cursor(), self._until_told()]
        tasks = [asyncio.create_task(part, name=f"session {self.home}/{self.name}") for part in parts]
        try:
            with self._journal.followed(by=self._wake.set):
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await _all_ended(tasks)

    async def _until_told(self) -> None:
        await self._told_to_end.wait()

    async def _receive_nothing(self) -> None:
        told = self._control(await self._channel.receive())["type"]
        why = (
            "its items have no positions, nothing to acknowledge" if self.mode == "timely" else "nothing to acknowledge"
        )
        text = f"a session in mode {self.mode} takes no messages after subscribe: {why}"
        raise DeliveryError("bad message", f"{text}; {told[:64]!r} came")

    async def _send_timely(self, sender: TimelySender) -> None:
        """Send until the stream has ended; then it is the peer who leaves."""
        await sender.run(self._limits.block_items, self._limits.block_octets)
        await asyncio.Event().wait()

    async def _send_values(self, sender: ValueSender) -> None:
        """Send until the stream has ended; then it is the peer who leaves."""
        await sender.run()
        await asyncio.Event().wait()

    async def _receive(self) -> None:
        while True:
            message = self._control(await self._channel.receive())
            self._registry.ledger.seen(self.home)
            if message["type"] == "digest" and self.asking.expects:
                await self.asking.take(message, self, self._registry.on_digest)
                continue
            if message["type"] != "ack":
                raise DeliveryError("bad message", f"a running session takes ack, not {message['type'][:64]!r}")
            moved = self._lanes.delivery.acknowledge(message.get("lane", -1), message.get("upto", -1))
            self._blocks.acknowledged(message["lane"], message["upto"])
            if moved and self._subscription is not None and not self._told_to_end.is_set():
                cursor = self._lanes.delivery.cursor
                resend = still_to_send(self._subscription.resend, cursor)
                self._change(replace(self._subscription, cursor=cursor, resend=resend))
                self._store_wake.set()
            if moved:
                self._note_return()
                self._lanes.acknowledged(Lane(message["lane"]), message["upto"])
            self._wake.set()

    def _note_return(self) -> None:
        """Count what was acknowledged of a playback; it is done when all was sent, marked and acknowledged."""
        if self._return is not None:
            self._return.moved(self._lanes.delivery.cursor, self._lanes.all_done)
            self._store_wake.set()

    def sent_ranges(self) -> list[Range]:
        """Return the ranges that were sent in complete mode and are not acknowledged, in order of position."""
        return self._lanes.delivery.in_flight() if self.mode == "complete" and self.state == "live" else []

    def _change(self, subscription: Subscription) -> None:
        """Take the subscription's new state; it is stored with the next cursor."""
        self._subscription = self._registry.subscriptions[self.home, self.name] = subscription

    async def _keep_cursor(self) -> None:
        """Store the cursor, then tell the peer: never the other way round."""
        while True:
            await self._store_wake.wait()
            self._store_wake.clear()
            if self._told_to_end.is_set():
                continue
            cursor = self._lanes.delivery.cursor
            try:
                if self._return is not None:
                    await self._return.keep()
                elif self._subscription is not None:
                    cursor = self._subscription.cursor
                    await self._registry.put(self._subscription)
            except OSError:  # not durable, so not told; tried again
                self._store_wake.set()
                await asyncio.sleep(self._limits.cursor_retry_s)
                continue
            told = {"type": "cursor", "low_water": cursor.low_water, "ranges": [list(r) for r in cursor.ranges]}
            await self._say(told)
            # each stored cursor is a forced write of its own: too many of them would delay the journal's
            await asyncio.sleep(self._limits.cursor_every_s)

    async def _give(self, message: str | bytes) -> None:
        """Send data, unless we were told to end: nothing leaves under rights that are there no more."""
        if self._told_to_end.is_set():
            raise ConnectionError(self._ending)
        await self._channel.send(message)

    async def _tell_missing(self, lane: Lane, first: int, end: int, reason: str) -> None:
        self._count_drops(first, end, reason)
        self._registry.ledger.dropped(self.home, reason, end - first)
        told = {"type": "missing", "lane": int(lane), "first": first, "end": end, "reason": reason}
        await self._say(told)

    def _count_drops(self, first: int, end: int, reason: str) -> None:
        positions = end - first
        self.drops += positions
        if self._return is not None:
            self._return.missing(positions)
        if self._subscription is not None and not self._told_to_end.is_set():
            known = self._subscription
            missing = noted(known.missing, first, end, reason)
            self._change(replace(known, drops=known.drops + positions, missing=missing))

    async def _refuse(self, code: str, message: str, **facts: Any) -> None:
        self._ending = message
        self.refused = code
        self._registry.refused[code] += 1
        try:
            async with asyncio.timeout(5):
                await self._channel.send(json.dumps({"type": "error", "code": code, "message": message, **facts}))
        except (ConnectionError, TimeoutError):
            pass

    def _leave(self) -> None:
        if self._telling is not None:
            self._telling.end()
        if self._registry.sessions.get((self.home, self.name)) is self:
            del self._registry.sessions[self.home, self.name]
        if self in self._registry.offline:
            self._registry.offline.remove(self)
        if self._registry.playbacks is not None:
            self._registry.playbacks.leave(self.name, self)
        if self._registry.timely_sessions.get((self.home, self.name)) is self:
            del self._registry.timely_sessions[self.home, self.name]
        if self._registry.value_sessions.get((self.home, self.name)) is self:
            del self._registry.value_sessions[self.home, self.name]
        if self._timely is not None:
            self._timely.feed.close()

    def snapshot(self) -> dict[str, Any]:
        """Return what the API shows of this session."""
        if self.mode in {"timely", "values"}:
            return self._unpositioned_snapshot(self._timely or self._values)
        return {
            "home": self.home,
            "subscription": self.name,
            "mode": self.mode,
            "state": self.state,
            "sent_items": self.sent_items,
            "sent_octets": self.sent_octets,
            "drops": self._subscription.drops if self._subscription else self.drops,
            "window_octets": {
                lane.name.lower(): state.window_octets for lane, state in self._lanes.delivery.lanes.items()
            } if self.state == "live" else {},
            **(self._pace.described() if self.state == "live" else {}),
        }  # fmt: skip

    def _unpositioned_snapshot(self, sender: TimelySender | ValueSender | None) -> dict[str, Any]:
        row: dict[str, Any] = {
            "home": self.home,
            "subscription": self.name,
            "mode": self.mode,
            "state": self.state,
            "sent_items": sender.sent_items if sender else 0,
            "sent_octets": sender.sent_octets if sender else 0,
            "drops": 0,
        }
        if self.mode == "timely":
            counts = self._timely.feed.counts if self._timely else None
            row["drops"] = counts.skipped_items if counts else 0
            row["waiting_items"] = counts.waiting_items if counts else 0
            row["max_delay_ms"] = round(counts.limits.max_delay_s * 1000) if counts else None
        return {**row, **self._pace.described()}


__all__ = ["Channel", "Session", "SessionLimits"]
