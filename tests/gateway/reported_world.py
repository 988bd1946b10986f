"""A gateway that keeps accounts on a simulated disk, and home bases that confirm what they have stored."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from gateway.accounting.accountant import LOOK_S, Accountant, AccountedFor, span_asked
from gateway.homes.client import Subscriber, Wish
from gateway.homes.digests import StoreDigester
from gateway.homes.registry import SubscriptionRegistry
from gateway.homes.session import Session
from gateway.homes.store import HomeStore
from gateway.journal import Journal, JournalSettings, SmallStore
from gateway_codecs.batches import Gap, IntakeBatch
from gateway_config import example_mission, example_names
from tests.gateway.simulated import SimClock, SimStorage, granted, inline, small_store
from tests.gateway.test_journal import packets
from tests.gateway.test_sessions import LIMITS

S = 1_000_000_000
DAY = 86_400 * S
SETTINGS = JournalSettings(reserve_octets=0, segment_octets=1 << 16)


class World:
    """A journal, its registry, its accountant, and a contact book that the test writes."""

    def __init__(self, disk: SimStorage, store: SmallStore, clock: SimClock) -> None:
        self.disk, self.store, self.clock = disk, store, clock
        self.contacts: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.journal: Journal
        self.registry: SubscriptionRegistry
        self.accounts: Accountant
        self.sent = 0

    @classmethod
    async def open(cls, before: World | None = None) -> World:
        world = cls(SimStorage(random.Random(1)), small_store(), SimClock()) if before is None else before
        world.journal = await Journal.open(world.disk, world.clock, inline, inline, SETTINGS, "m")
        world.journal.name_id("spacecraft", "picard")
        world.journal.name_id("links", "station")
        world.registry = SubscriptionRegistry(world.journal, world.store, inline, *granted("a", "b"))
        await world.registry.load()
        mission = example_mission(example_names()[0])
        world.accounts = Accountant(
            AccountedFor(
                "m", lambda: (mission, []), world.registry, world.store, inline, inline, world.clock,
                lambda: world.contacts, world.events.append,
            )
        )  # fmt: skip
        await world.accounts.open()
        return world

    async def commit(self, count: int, apid: int = 5, missing: int = 0, reason: str = "space link") -> None:
        """Commit packets one by one; the first has a gap before it."""
        for k in range(count):
            batch = packets([b"%d %d %d" % (apid, self.sent, k)], apid=apid)
            batch.items["link"] = batch.items["spacecraft"] = 1
            batch.items["receive_time_ns"] = self.clock.tai_ns()
            gaps: tuple[Gap, ...] = ()
            if missing and not k:
                batch.items["missing_before"] = missing
                gaps = (Gap("packets", 1, 0, apid, 0, missing + 1, missing, reason),)
            self.sent += 1
            await self.journal.append(IntakeBatch(batch, gaps=gaps), "station")

    def contact(self, number: int, first: int, last: int, state: str = "done") -> None:
        """Write a contact into the book, with good data then."""
        row = {"id": str(number), "spacecraft": "picard", "peer": "kiruna", "state": state}
        self.contacts.append(row | {"first_good_ns": first, "last_good_ns": last})

    async def report(self, **asked: Any) -> dict[str, Any]:
        return await self.accounts.report(span_asked(self.accounts, asked))


def row_of(report: dict[str, Any], home: str = "a", subscription: str = "all") -> dict[str, Any]:
    (found,) = [
        row
        for one in report["homes"]
        if one["home"] == home
        for row in one["subscriptions"]
        if row["subscription"] == subscription
    ]
    return dict(found)


class Home:
    """A home base with a store, that confirms."""

    def __init__(self, world: World, disk: SimStorage | None = None, dial: Any = None) -> None:
        self.disk = disk or SimStorage(random.Random(2))
        self.store = HomeStore(self.disk, "store")
        self.told: list[tuple[int, int, bool]] = []
        self._world = world
        digester = StoreDigester(self.disk, self.store, inline)
        self.client = Subscriber(
            dial or self._dial, self.store, inline, Wish("a", "all"), digester=digester,
            on_confirmed=lambda *told: self.told.append(told),
        )  # fmt: skip
        self._task = asyncio.create_task(self.client.run(), name="home")

    async def _dial(self) -> Any:
        return Ends(self._world.registry)

    async def stored(self, upto: int) -> None:
        while (cursor := self.store.cursor()) is None or cursor.low_water < upto:
            await asyncio.sleep(0.05)

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.sleep(1)


class Ends:
    """A client's channel to a session in memory."""

    def __init__(self, registry: SubscriptionRegistry) -> None:
        self._up: asyncio.Queue[Any] = asyncio.Queue()
        self._down: asyncio.Queue[Any] = asyncio.Queue()
        up, down = self._up, self._down

        class Far:
            async def receive(self) -> Any:
                message = await up.get()
                if message is None:
                    raise ConnectionError("gone")
                return message

            async def send(self, message: Any) -> None:
                down.put_nowait(message)

            async def close(self, reason: str) -> None:
                down.put_nowait(None)

        self._task = asyncio.create_task(Session(Far(), registry, LIMITS).run(), name="session")
        self._task.add_done_callback(lambda task: down.put_nowait(None))

    async def receive(self) -> Any:
        message = await self._down.get()
        if message is None:
            raise ConnectionError("gone")
        return message

    async def send(self, message: Any) -> None:
        self._up.put_nowait(message)

    async def close(self, reason: str) -> None:
        self._up.put_nowait(None)
        await asyncio.wait([self._task])


async def until(what: Any) -> None:
    """Wait for something, a minute of virtual time at most."""
    async with asyncio.timeout(60):
        while not what():
            await asyncio.sleep(LOOK_S / 4)
