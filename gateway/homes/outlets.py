"""Outlets: space packets as they are, over plain TCP and UDP, for tools that speak nothing else. Best effort.

An outlet is a timely listener (gateway.timely): packets go out before they are journalled, each listener has a queue of
its own, bounded in age and octets, and what does not fit its line is skipped, counted, and cannot be told in band. TCP:
clients connect, packets come back to back. UDP: one packet is one datagram. Rights are those of the home base in mode
timely; when they change every client is ended, and who comes again gets what is granted then.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from gateway.homes.registry import SubscriptionRegistry
from gateway.timely import FeedEnded, TimelyFeed
from gateway.world import DatagramSender, Network, Stream
from gateway_codecs.batches import ItemBatch
from gateway_routes.conditions import Condition
from gateway_routes.rights import LOCAL_OPERATOR, Action
from gateway_routes.selection import Selection
from gateway_routes.timely import TimelyLimits

TAKE_ITEMS, TAKE_OCTETS = 256, 1 << 16
SENT_IN_MAX_OCTETS = 1 << 16
"""A client has nothing to say; who says more than this is cut."""
DATAGRAM_MAX_OCTETS = 65_507
RETRY_S = 5.0
SHOWN_S = 60.0
"""So long after something was skipped the operator still sees it."""


@dataclass(frozen=True, slots=True)
class OutletSettings:
    """One outlet. `wish` is its selection, as in a subscription."""

    home: str
    name: str
    type: str
    host: str
    port: int
    wish: Mapping[str, Any] = field(default_factory=dict, hash=False)
    max_clients: int = 4
    max_delay_s: float = 1.0


@dataclass(slots=True)
class OutletCounts:
    """What was counted since the start, over all clients."""

    connects: int = 0
    clients_refused: int = 0
    delivered_items: int = 0
    delivered_octets: int = 0
    skipped_items: int = 0
    not_sent: int = 0  # udp: longer than a datagram, or refused by the other end


class Outlet:
    """One outlet: `run` serves until cancelled."""

    def __init__(self, settings: OutletSettings, registry: SubscriptionRegistry, network: Network) -> None:
        self.settings, self.counts = settings, OutletCounts()
        self._registry, self._network = registry, network
        self._selection: Selection | None = None
        self._changed = asyncio.Event()
        self._clients: dict[asyncio.Task[None], TimelyFeed] = {}
        self.state, self.detail = "starting", ""
        self.port = settings.port
        self._skipped_seen, self._skipped_s = 0, float("-inf")

    def recheck(self) -> None:
        """The rights may have changed."""
        if self._granted() != self._selection:
            self._changed.set()

    @property
    def ending(self) -> bool:
        """Whether the rights have changed and those who came before have not ended yet."""
        return self._changed.is_set()

    def _granted(self) -> Selection | None:
        """Return what the outlet may give, None = nothing; `detail` says why."""
        registry, settings = self._registry, self.settings
        decision = registry.policy.decide(
            LOCAL_OPERATOR, Action.RECEIVE, home=settings.home, where=registry.where, selector="timely"
        )
        try:
            found = registry.granted(settings.wish, decision) if decision.allowed else None
        except ValueError as error:
            self.detail = str(error)
            return None
        if found is None or found.grants == ():
            self.detail = decision.why or "nothing of it is granted"
            return None
        return found

    async def run(self) -> None:
        """Serve what is granted; begin anew whenever that changes."""
        while True:
            self._changed.clear()
            self._selection = self._granted()
            if self._selection is None:
                self.state = "not granted"
                await self._changed.wait()
                continue
            serve = self._listen if self.settings.type == "tcp" else self._send_on
            try:
                await serve(self._selection)
            except OSError as error:
                self.state, self.detail = "unavailable", error.strerror or str(error)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RETRY_S):
                        await self._changed.wait()

    async def _listen(self, selection: Selection) -> None:
        """TCP: accept clients until the rights change. Raises OSError: the port is not ours."""
        settings = self.settings
        listener = await self._network.listen(settings.host, settings.port, lambda one: self._accepted(one, selection))
        self.port, self.state, self.detail = listener.port, "serving", ""
        try:
            await self._changed.wait()
        finally:
            await listener.close()
            await self._end_clients()

    async def _end_clients(self) -> None:
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _accepted(self, stream: Stream, selection: Selection) -> None:
        """Serve one client in the task that it came with."""
        if len(self._clients) >= self.settings.max_clients or self._changed.is_set():
            self.counts.clients_refused += 1
            await stream.close()
            return
        task = asyncio.current_task()
        if task is None:
            raise AssertionError("a client is served in a task")
        self.counts.connects += 1
        with self._registry.timely.open(selection, TimelyLimits(self.settings.max_delay_s)) as feed:
            self._clients[task] = feed
            parts = [
                asyncio.create_task(part, name="outlet client")
                for part in (_listen_to(stream), self._feed(stream, feed))
            ]
            try:
                await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                pass  # the rights changed, or the gateway stops: this client is done with
            finally:
                for part in parts:
                    part.cancel()
                await asyncio.gather(*parts, return_exceptions=True)
                self._leaves(task)
                await stream.close()

    async def _feed(self, stream: Stream, feed: TimelyFeed) -> None:
        while True:
            batch = await self._take(feed)
            if len(batch):
                await stream.write(batch.octets.tobytes())
                self._note(len(batch), len(batch.octets))

    async def _take(self, feed: TimelyFeed) -> ItemBatch:
        taken = await feed.take(TAKE_ITEMS, TAKE_OCTETS)
        await asyncio.sleep(0)  # a line that takes everything at once leaves the loop to others too
        return taken.batch

    @property
    def skipped_items(self) -> int:
        """What was skipped since the start, by those too who take nothing now."""
        return self.counts.skipped_items + sum(feed.counts.skipped_items for feed in self._clients.values())

    def _leaves(self, task: asyncio.Task[None]) -> None:
        self.counts.skipped_items += self._clients.pop(task).counts.skipped_items

    def _note(self, items: int, octets: int) -> None:
        self.counts.delivered_items += items
        self.counts.delivered_octets += octets

    async def _send_on(self, selection: Selection) -> None:
        """UDP: send until the rights change. Raises OSError: there is no way there."""
        sender = await self._network.send_datagrams(self.settings.host, self.settings.port)
        self.state, self.detail = "serving", ""
        changed = asyncio.create_task(self._changed.wait(), name="outlet rights")
        with self._registry.timely.open(selection, TimelyLimits(self.settings.max_delay_s)) as feed:
            sending = asyncio.create_task(self._send_datagrams(sender, feed), name="outlet datagrams")
            self._clients[sending] = feed
            try:
                await asyncio.wait([changed, sending], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (changed, sending):
                    task.cancel()
                found = await asyncio.gather(changed, sending, return_exceptions=True)
                self._leaves(sending)
                await sender.close()
        if isinstance(found[1], OSError) and not isinstance(found[1], FeedEnded):
            raise found[1]
        if not self._changed.is_set():  # the stream has ended: nothing will come any more
            self.state = "finished"
            await self._changed.wait()

    async def _send_datagrams(self, sender: DatagramSender, feed: TimelyFeed) -> None:
        while True:
            batch = await self._take(feed)
            until_s = asyncio.get_running_loop().time() + self.settings.max_delay_s
            for row in range(len(batch)):
                if asyncio.get_running_loop().time() > until_s:
                    self.counts.skipped_items += len(batch) - row
                    break
                packet = batch.octets_of(row)
                if len(packet) <= DATAGRAM_MAX_OCTETS and await sender.send(packet):
                    self._note(1, len(packet))
                else:
                    self.counts.not_sent += 1

    def row(self) -> dict[str, Any]:
        """Return what the API shows."""
        settings, feeds = self.settings, self._clients.values()
        return {
            "home": settings.home,
            "outlet": settings.name,
            "type": settings.type,
            "address": f"{settings.host}:{self.port}",
            "state": self.state,
            "detail": self.detail,
            "clients": len(self._clients),
            "max_clients": settings.max_clients,
            "waiting_items": sum(feed.counts.waiting_items for feed in feeds),
            **{name: getattr(self.counts, name) for name in OutletCounts.__dataclass_fields__},
            "skipped_items": self.skipped_items,
        }

    def conditions(self, instance: str, now_s: float) -> Iterable[Condition]:
        """Return what the operator should know."""
        settings = self.settings
        subject = f"outlet {settings.home}/{settings.name} of {instance}"
        if self.state == "unavailable":
            remedy = "it is tried again by itself; look at host and port in the home base's file"
            yield Condition(
                "error", "outlet unavailable", subject, f"{settings.host}:{settings.port}: {self.detail}", remedy
            )
        elif self.state == "not granted":
            yield Condition("warning", "outlet not granted", subject, self.detail, "grant it, or take the outlet away")
        if (skipped := self.skipped_items) > self._skipped_seen:
            self._skipped_seen, self._skipped_s = skipped, now_s
        if now_s - self._skipped_s < SHOWN_S:
            text = f"packets are skipped for slow clients or a slow line: {skipped} so far"
            remedy = "nobody is told in band: who needs every packet uses a subscription in mode complete"
            yield Condition("warning", "outlet skips", subject, text, remedy)


async def _listen_to(stream: Stream) -> None:
    """Read what a client has no reason to send, until it leaves or has sent too much."""
    octets = 0
    with contextlib.suppress(OSError):
        while octets < SENT_IN_MAX_OCTETS and (data := await stream.read(4096)):
            octets += len(data)


class Outlets:
    """The outlets of one mission instance."""

    def __init__(
        self, instance: str, registry: SubscriptionRegistry, network: Network, keep: Callable[..., asyncio.Task[None]]
    ) -> None:
        self._instance, self._registry, self._network, self._keep = instance, registry, network, keep
        self._tasks: dict[OutletSettings, tuple[Outlet, asyncio.Task[None]]] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def exchange(self, settings: Iterable[OutletSettings]) -> None:
        """Serve these and no others; who is among them already goes on untouched. Nothing is waited for: who comes
        listens when those that go have closed their ports."""
        wanted = list(settings)
        for known in [one for one in self._tasks if not any(_same(one, other) for other in wanted)]:
            _, task = self._tasks.pop(known)
            task.cancel()
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        for one in wanted:
            if not any(_same(one, other) for other in self._tasks):
                outlet = Outlet(one, self._registry, self._network)
                name = f"outlet {self._instance} {one.home}/{one.name}"
                self._tasks[one] = outlet, self._keep(name, partial(self._serve, outlet, tuple(self._leaving)))

    async def _serve(self, outlet: Outlet, before: Iterable[asyncio.Task[None]]) -> None:
        await asyncio.gather(*before, return_exceptions=True)
        await outlet.run()

    def recheck(self) -> None:
        """The rights may have changed."""
        for outlet, _ in self._tasks.values():
            outlet.recheck()

    @property
    def ending(self) -> bool:
        """Whether clients are left that were to end: their rights changed, or their outlet is gone."""
        return bool(self._leaving) or any(outlet.ending for outlet, _ in self._tasks.values())

    async def close(self) -> None:
        """End them all."""
        self.exchange(())
        await asyncio.gather(*self._leaving, return_exceptions=True)

    def rows(self) -> list[dict[str, Any]]:
        """Return them for the API."""
        return [outlet.row() for outlet, _ in self._tasks.values()]

    def conditions(self, now_s: float) -> list[Condition]:
        """Return what the operator should know."""
        return [row for outlet, _ in self._tasks.values() for row in outlet.conditions(self._instance, now_s)]


def _same(one: OutletSettings, other: OutletSettings) -> bool:
    return one == other and dict(one.wish) == dict(other.wish)


__all__ = ["Outlet", "OutletSettings", "Outlets"]
