"""A simulated gateway with a journal, and home bases that come to it over channels that break."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from gateway.homes.home_base import Around, HomeBase
from gateway.homes.registry import SubscriptionRegistry
from gateway.homes.session import Session, SessionLimits
from gateway.homes.ways_in import Dial
from gateway.journal import Journal, JournalSettings
from gateway_codecs.batches import IntakeBatch
from tests.gateway.simulated import SimClock, SimStorage, end_all, granted, inline, small_store
from tests.gateway.test_journal import packets
from tests.simulation.test_whole_gateway import SimChannel

SETTINGS = JournalSettings(reserve_octets=0, segment_octets=1 << 16)
HOME = "a"
LIMITS = SessionLimits(block_items=8, block_octets=4096, window_octets=1 << 16, window_blocks=8, mark_items=20)


class Calm(random.Random):
    """Nothing breaks by chance."""

    def random(self) -> float:
        return 0.5


class HomeWorld:
    """A gateway that serves `HOME`, and the disk of that home base."""

    def __init__(self, journal: Journal, registry: SubscriptionRegistry, rng: random.Random) -> None:
        self.journal, self.registry, self.rng = journal, registry, rng
        self.disk = SimStorage(rng)
        self.cuts: list[asyncio.Event] = []
        self.reachable, self.calm = True, False
        self.made = 0
        self.large: list[bytes] = []
        self.tasks: set[asyncio.Task[Any]] = set()

    @classmethod
    async def open(cls, seed: int = 1) -> HomeWorld:
        rng = random.Random(seed)
        journal = await Journal.open(SimStorage(rng), SimClock(), inline, inline, SETTINGS, "m")
        registry = SubscriptionRegistry(journal, small_store(), inline, *granted(HOME))
        await registry.load()
        return cls(journal, registry, rng)

    async def commit(self, count: int, apid: int = 5) -> None:
        """Packets arrive at the gateway, numbered through."""
        for _ in range(count):
            await self.journal.append(IntakeBatch(packets([b"packet %d" % self.made], apid=apid)))
            self.made += 1

    async def commit_large(self, count: int) -> None:
        """Packets of 1000 octets arrive at the gateway, together."""
        made = [b"%04d" % (len(self.large) + k) * 250 for k in range(count)]
        await self.journal.append(IntakeBatch(packets(made)))
        self.large += made

    def wanted(self) -> list[bytes]:
        """Everything that was committed, when it was all of one APID."""
        return [b"packet %d" % k for k in range(self.made)]

    def dial(self, name: str) -> Dial:
        """The way in."""

        async def connect() -> Any:
            await asyncio.sleep(0.01)
            if not self.reachable:
                raise ConnectionError("nobody there")
            up: asyncio.Queue[Any] = asyncio.Queue(2)
            down: asyncio.Queue[Any] = asyncio.Queue(2)
            cut = asyncio.Event()
            self.cuts.append(cut)
            rng = Calm(1) if self.calm else self.rng
            session = Session(SimChannel(rng, down, up, cut), self.registry, LIMITS)
            self.tasks.add(asyncio.create_task(session.run(), name="session"))
            return SimChannel(rng, up, down, cut)

        return connect

    def cut(self) -> None:
        """Every connection breaks."""
        for event in self.cuts:
            event.set()
        self.cuts.clear()

    def around(self) -> Around:
        """What a client stands on here."""
        return Around(self.disk, inline, inline, self.dial, jitter=self.rng.random)

    def home(self) -> HomeBase:
        """A client on the home base's disk."""
        return HomeBase.around(self.around(), HOME)

    async def end(self) -> None:
        """Everything ends."""
        self.cut()
        await end_all("session", "cursor", "home base", "subscriber")
        await self.journal.close()


class Program(ABC):
    """Somebody's program that reads, in a task: it is left, killed with the power, and begun again."""

    def __init__(self, world: HomeWorld) -> None:
        self.world = world
        self.task: asyncio.Task[None] | None = None
        self.over = False  # it has all that it wanted

    @abstractmethod
    async def run(self) -> None:
        """Read, and note what came and what was finished."""

    def start(self) -> None:
        """Begin, if it does not run."""
        if self.task is None and not self.over:
            self.task = asyncio.create_task(self.run(), name="reader")

    async def stop(self, kill: bool) -> None:
        """End; where it is killed, the disk's cache is lost too."""
        task, self.task = self.task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if kill:
            await end_all("home base", "subscriber")
            self.world.disk.crash()

    async def through(self, steps: Iterable[str]) -> None:
        """Let happen what the steps say: commit, loop, leave, kill, cut, full, away."""
        for step in steps:
            if step == "commit":
                await self.world.commit(self.world.rng.randrange(1, 30))
            elif step == "loop":
                self.start()
            elif step in {"leave", "kill"}:
                await self.stop(step == "kill")
            elif step == "cut":
                self.world.cut()
            elif step == "full":
                self.world.disk.fail_writes = self.world.rng.randrange(1, 4)
            self.world.reachable = step != "away"
            await asyncio.sleep(self.world.rng.choice([0, 0.05, 2.0]))

    async def until(self, enough: Callable[[], bool]) -> None:
        """Run where nothing more happens, until it is enough."""
        self.world.reachable = True
        self.start()
        async with asyncio.timeout(3000):
            while not enough():
                await asyncio.sleep(1)
                if self.task is not None and self.task.done():
                    self.task.result()
