"""A simulated chain of gateways: each has its items from the one before, over channels that cut; any can be killed."""

from __future__ import annotations

import asyncio
import contextvars
import json
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from gateway.homes.registry import SubscriptionRegistry
from gateway.homes.session import Session, SessionLimits
from gateway.journal import Journal, JournalSettings, stored_id
from gateway.links import Link, LinkContext, LinkSettings, Supervised
from gateway.links.upstream import UpstreamLink, UpstreamWish
from gateway_codecs.batches import I64Array, ItemBatch, concatenate
from gateway_codecs.intake import FrameIntake, LinkFormat
from gateway_routes.delivery import parse_cursor
from gateway_routes.selection import Selection
from gateway_routes.upstream import UpstreamState
from tests.gateway.simulated import PowerLoss, SimClock, SimStorage, all_tasks, granted, inline, small_store
from tests.simulation.test_whole_gateway import SimChannel, SimSource, fmt

SETTINGS = JournalSettings(
    segment_octets=1 << 14, reserve_octets=0, memory_octets=1 << 16, snapshot_every=8, retry_s=0.01
)
LIMITS = SessionLimits(block_items=16, block_octets=8192, window_octets=32768, window_blocks=6, mark_items=20)
OWNER: contextvars.ContextVar[str] = contextvars.ContextVar("owner", default="")
OWNERS: WeakKeyDictionary[asyncio.Task[Any], str] = WeakKeyDictionary()
EVERYTHING = Selection(kinds=None, idle=True, bad_quality=True)
ALL = {"idle": True, "bad_quality": True}


def owned_tasks(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **more: Any) -> asyncio.Task[Any]:
    """Make a task, and note which gateway it belongs to: a process that is killed takes its own tasks with it."""
    task = asyncio.Task(coro, loop=loop, **more)
    OWNERS[task] = (more.get("context") or contextvars.copy_context()).get(OWNER, "")
    return task


def in_process(name: str) -> contextvars.Context:
    """Return a context in which tasks belong to a gateway."""
    context = contextvars.copy_context()
    context.run(OWNER.set, name)
    return context


class Station(SimSource):
    """A resumable source."""

    def waiting(self) -> None:
        """Nothing waits."""


class Gate:
    """One gateway: what it has on its disks stays, the rest lives from `start` to `kill`."""

    def __init__(self, name: str, rng: random.Random, data: bytes | None = None, fuses: bool = True) -> None:
        self.name, self.rng, self.data, self.fuses = name, rng, data, fuses
        self.disk, self.small, self.clock = SimStorage(rng), small_store(), SimClock()
        self.upstreams: dict[str, tuple[Gate, dict[str, Any]]] = {}  # by link
        self.links: dict[str, Supervised] = {}
        self.events: list[dict[str, Any]] = []
        self.good: list[str] = []  # spacecraft of which good data came
        self.contact = False
        self.journal: Journal
        self.registry: SubscriptionRegistry | None = None
        self.power_lost = asyncio.Event()
        self.disk.on_loss = self.power_lost.set
        self.known = frozenset({"picard"})
        self.weather = True
        self.own_links: frozenset[str] | None = None  # prime
        self.finishes = True
        self.broken: list[str] = []  # promises that were not kept
        self.chance = rng.random
        self.sessions: list[asyncio.Task[None]] = []  # the oldest first

    def after(self, upstream: Gate, selection: dict[str, Any] | None = None, link: str = "relay") -> Gate:
        """Get items of another gateway, from the next start on."""
        self.upstreams[link] = (upstream, ALL if selection is None else selection)
        return self

    def in_contact(self, spacecraft: str) -> bool:
        return self.contact

    def good_data(self, spacecraft: str, peer: str) -> None:
        self.good.append(spacecraft)

    def context(self) -> LinkContext:
        """What its links are given."""
        ended = self.journal.finish if self.finishes else lambda: None
        return LinkContext(
            self.journal, self.clock, self, self.events.append, inline, inline, on_finished=ended,
            chance=self.chance,
        )  # fmt: skip

    async def start(self) -> None:
        """Start, and start again when the power goes in the middle of it."""
        while True:
            self.power_lost.clear()
            starting = asyncio.create_task(self._start(), context=in_process(self.name))
            await asyncio.wait([starting])
            error = starting.exception()
            if error is None:
                return
            if not isinstance(error, PowerLoss):
                raise error
            await self.kill()

    async def _start(self) -> None:
        if self.fuses and self.rng.random() < 0.4:
            self.disk.fuse = self.rng.randrange(1, 300)
        rows = self.small.cursors(str(stored_id(self.disk, self.name)))
        promised = max((parse_cursor(row).highest for _, _, row in rows), default=0)
        self.journal = await Journal.open(self.disk, self.clock, inline, inline, SETTINGS, self.name, promised)
        lost = [damage for damage in self.journal.damaged if "acknowledged" in damage.cause]
        assert not lost, f"{self.name} acknowledged, and lost: {lost}"
        self.journal.name_id("spacecraft", "picard")
        registry = SubscriptionRegistry(
            self.journal, self.small, inline, *granted("a", "b", "c", "d"), prime_links=self.own_links
        )
        await registry.load()
        self.links = {}
        if self.data is not None:
            self.links["station"] = self._station(self.data)
        for link, (upstream, selection) in self.upstreams.items():
            self.links[link] = self.upstream_link(link, upstream, selection, registry)
        for one in self.links.values():
            one.start()
        self.registry = registry

    def _station(self, data: bytes) -> Link:
        ids = self.journal.name_id("links", "station"), self.journal.name_id("spacecraft", "picard")
        settings = LinkSettings("station", "sim", "picard", real_time=False)
        source = Station(data, self.rng if self.weather else random.Random(0))
        return Link(settings, source, lambda: FrameIntake(LinkFormat(ids[0], fmt(ids[1]), ids[1])), self.context())

    def upstream_link(
        self, link: str, upstream: Gate, selection: dict[str, Any], registry: SubscriptionRegistry
    ) -> UpstreamLink:
        """Return a link to another gateway."""
        settings = LinkSettings(link, "gateway", "picard", watchdog_s=5.0, retry_min_s=0.1, retry_max_s=2.0)
        wish = UpstreamWish(f"{upstream.name}!", self.name, f"{link}-{self.journal.journal_id}", selection)
        return UpstreamLink(settings, wish, upstream.dial(self), self.context(), registry.paths, self.known)

    def dial(self, caller: Gate) -> Callable[[], Awaitable[Any]]:
        """Return how a gateway comes here."""
        rng = self.rng if self.weather else random.Random(1)

        async def connect() -> SimChannel:
            await asyncio.sleep(0.01)
            if self.registry is None:
                raise ConnectionError("nobody there")
            up: asyncio.Queue[Any] = asyncio.Queue(2)
            down: asyncio.Queue[Any] = asyncio.Queue(2)
            cut = asyncio.Event()
            session = Session(SimChannel(rng, down, up, cut), self.registry, LIMITS)
            task = asyncio.create_task(session.run(), name="session", context=in_process(self.name))
            self.sessions.append(task)
            self.cut = cut
            return SimChannel(rng, up, down, cut, caller.check_acknowledged)

        return connect

    def check_acknowledged(self, message: str | bytes) -> None:
        """R2: what is acknowledged is on our disk already: the journal's state is what was forced."""
        told = json.loads(message)
        if told["type"] != "ack":
            return
        link = next(link for link in self.upstreams)
        kept = UpstreamState.of(self.journal.state.get("links", {}).get(link, {}))
        if not kept.now or any(first < told["upto"] <= end for first, end in kept.cursor.missing(told["upto"])):
            self.broken.append(f"{self.name} acknowledged {told}, and has {kept}")

    async def act(self, link: str, action: str) -> None:
        """The operator's hand on a link: what it starts belongs to this gateway."""
        doing = asyncio.create_task(self.links[link].act(action), context=in_process(self.name))
        await asyncio.wait([doing])

    async def kill(self) -> None:
        """kill -9 and loss of power: every task dies where it is, the disk keeps what was forced."""
        self.registry = None
        while tasks := [t for t in all_tasks() if OWNERS.get(t) == self.name and not t.done()]:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self.disk.crash()
        self.power_lost.clear()

    async def items(self) -> tuple[I64Array, ItemBatch]:
        """Return everything in its journal, in order of positions."""
        at, parts, positions = self.journal.tail, list[ItemBatch](), list[Any]()
        while at < self.journal.head:
            found = await self.journal.read(at, EVERYTHING, 4096, 1 << 20)
            parts.append(found.batch)
            positions += found.positions.tolist()
            at = max(at + 1, found.end_position)
        import numpy as np

        return np.array(positions, np.int64), concatenate(parts)


async def until(what: Callable[[], bool], limit_s: float = 3600) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(limit_s):
        while not what():
            await asyncio.sleep(0.05)


def quiet_power_loss(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tasks that die with the power are not worth a word."""
    if not isinstance(context.get("exception"), PowerLoss):
        loop.default_exception_handler(context)


def begin() -> None:
    """Prepare the loop that runs."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(owned_tasks)  # type: ignore[arg-type]
    loop.set_exception_handler(quiet_power_loss)


async def end(gates: Sequence[Gate]) -> None:
    """Kill all."""
    for gate in gates:
        await gate.kill()
