"""The whole way, seeded, on virtual time: source, link, journal, sessions, home stores, with bad weather everywhere.

Real code but for the world: a disk that loses what was not forced, a source that stalls and breaks, channels
that are delayed, cut and stop reading, crashes of the gateway and of the home bases at any instant.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from gateway.homes.client import Subscriber, Wish
from gateway.homes.registry import SubscriptionRegistry
from gateway.homes.session import Session, SessionLimits
from gateway.homes.store import HomeStore
from gateway.journal import Journal, JournalSettings, stored_id
from gateway.links import Link, LinkContext, LinkSettings
from gateway.links.sources import Remarks
from gateway_codecs.batches import Unit
from gateway_codecs.frames import FrameFormat, VcFormat
from gateway_codecs.intake import FrameIntake, LinkFormat
from gateway_routes.delivery import Cursor, parse_cursor
from gateway_simulators.space_link import SpaceLink, Weather
from gateway_simulators.spacecraft import FRAME_OCTETS, SCID, Spacecraft
from tests.conftest import WORLDS
from tests.gateway.simulated import PowerLoss, SimClock, SimLoop, SimStorage, end_all, granted, inline, small_store

SETTINGS = JournalSettings(
    segment_octets=1 << 14, reserve_octets=0, memory_octets=1 << 16, snapshot_every=8, retry_s=0.01
)
LIMITS = SessionLimits(block_items=16, block_octets=8192, window_octets=32768, window_blocks=6, mark_items=20)
FRAMES = 60
HOMES = ("a", "b")


def fmt(spacecraft: int) -> FrameFormat:
    vcs = {0: VcFormat(), 1: VcFormat(), 3: VcFormat("opaque"), 7: VcFormat("idle")}
    return FrameFormat("tm", FRAME_OCTETS, {SCID: spacecraft}, vcs, ocf="by_flag")


def recording(seed: int) -> bytes:
    craft, link = Spacecraft(seed), SpaceLink(seed, Weather(noise=0.03, loss=0.03))
    return b"".join(link.pass_on(craft.next_frame().octets)[1] for _ in range(FRAMES))


def expected(data: bytes) -> list[bytes]:
    intake = FrameIntake(LinkFormat(1, fmt(1), 1))
    batches = [intake.feed(data, 1), intake.finish(1)]
    return [
        b.items.octets_of(k) for b in batches for k in range(len(b.items)) if b.items.items["unit"][k] == Unit.PACKET
    ]


class SimSource:
    """A resumable source with short reads, stalls and breaks."""

    resumable = True
    refused, read_octets = 0, 1 << 18
    listening = connectionless = False

    def __init__(self, data: bytes, rng: random.Random) -> None:
        self.data, self.rng, self.at = data, rng, 0

    async def open(self, offset: int) -> str:
        if self.rng.random() < 0.2:
            raise OSError("refused")
        self.at = offset
        return "sim"

    async def read(self) -> bytes:
        await asyncio.sleep(self.rng.choice([0, 0.001, 0.05, 1.0]))
        if self.rng.random() < 0.05:
            raise OSError("broken")
        part = self.data[self.at : self.at + self.rng.randrange(1, 9000)]
        self.at += len(part)
        return part

    def waiting(self) -> None:
        """Nothing has come that was not read: what was not read is still at the peer."""

    async def reread(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]

    async def close(self) -> None:
        pass

    async def shut(self) -> None:
        pass

    def progress(self) -> tuple[int, int] | None:
        return self.at, len(self.data)

    def remarks(self) -> Remarks:
        return Remarks()


class SimChannel:
    """One end of a message channel with delays, stalls and cuts; bounded, so that a stopped reader stops the sender."""

    def __init__(
        self,
        rng: random.Random,
        into: asyncio.Queue[Any],
        out_of: asyncio.Queue[Any],
        cut: asyncio.Event,
        on_send: Callable[[str | bytes], None] = lambda message: None,
    ) -> None:
        self._rng, self._into, self._out_of, self._cut = rng, into, out_of, cut
        self._on_send = on_send

    async def _or_cut(self, work: Awaitable[Any]) -> Any:
        tasks = [asyncio.ensure_future(work), asyncio.ensure_future(self._cut.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[0].done():
                return tasks[0].result()
            raise ConnectionError("cut")
        finally:
            for task in tasks:
                task.cancel()

    async def receive(self) -> str | bytes:
        await asyncio.sleep(self._rng.choice([0, 0, 0.002, 0.3]))
        return await self._or_cut(self._out_of.get())  # type: ignore[no-any-return]

    async def send(self, message: str | bytes) -> None:
        self._on_send(message)
        if self._cut.is_set() or self._rng.random() < 0.01:
            self._cut.set()
            raise ConnectionError("cut")
        await self._or_cut(self._into.put(message))

    async def close(self, reason: str) -> None:
        self._cut.set()


def _unless_power_loss(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tasks that die with the power are not worth a word."""
    if not isinstance(context.get("exception"), PowerLoss):
        loop.default_exception_handler(context)


async def ended(homes: dict[str, asyncio.Task[None]]) -> None:
    """Wait until every home base has everything."""
    done, late = await asyncio.wait(homes.values(), timeout=3500)
    for task in done:
        task.result()
    assert not late, "home bases that never got everything"


def _positions(ranges: list[tuple[int, int]]) -> set[int]:
    return {position for first, end in ranges for position in range(first, end)}


class World:
    """One seeded world."""

    homes: tuple[str, ...] = HOMES

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.data = recording(seed)
        self.disk, self.small = SimStorage(self.rng), small_store()
        self.home_disks = {home: SimStorage(self.rng) for home in self.homes}
        self.clock = SimClock()
        self.journal: Journal | None = None
        self.registry: SubscriptionRegistry | None = None
        self.tasks: list[asyncio.Task[Any]] = []  # the oldest first
        self.events: list[dict[str, Any]] = []
        self.power_lost = asyncio.Event()
        self.disk.on_loss = self.power_lost.set
        self.losses = 0
        self.broken: list[str] = []  # promises that were not kept

    def in_contact(self, spacecraft: str) -> bool:
        return False

    def good_data(self, spacecraft: str, peer: str) -> None:
        pass

    async def start_gateway(self) -> None:
        """Start, and start again when the power goes in the middle of the recovery."""
        while not await self.before_power_loss(self._start(), 3600):
            await self.crash_gateway()

    async def before_power_loss(self, work: Coroutine[Any, Any, None], limit_s: float) -> bool:
        """Do `work` (at most so long); returns whether the power stayed."""
        doing, losing = asyncio.create_task(work), asyncio.create_task(self.power_lost.wait())
        await asyncio.wait([doing, losing], timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        lost = self.power_lost.is_set()
        for task in (doing, losing):
            task.cancel()
        result = (await asyncio.gather(doing, losing, return_exceptions=True))[0]
        if not lost and isinstance(result, Exception):
            raise result
        return not lost

    async def _start(self) -> None:
        if self.rng.random() < 0.6:
            self.disk.fuse = self.rng.randrange(1, 200)
        promised = self.promised()
        journal = await Journal.open(self.disk, self.clock, inline, inline, SETTINGS, "m", promised)
        self.journal = journal
        if any(damage.end == promised and "acknowledged" in damage.cause for damage in journal.damaged):
            self.broken.append(f"positions up to {promised} were acknowledged, and lost: {journal.damaged}")
        ids = journal.name_id("links", "sim"), journal.name_id("spacecraft", "picard")
        context = LinkContext(
            journal,
            self.clock,
            self,
            self.events.append,
            inline,
            inline,
            on_finished=journal.finish,
            chance=self.rng.random,
        )
        link = Link(
            LinkSettings("sim", "sim", "picard", real_time=False), SimSource(self.data, self.rng),
            lambda: FrameIntake(LinkFormat(ids[0], fmt(ids[1]), ids[1])), context,
        )  # fmt: skip
        self.registry = self.make_registry(journal)
        await self.registry.load()
        link.start()
        self.tasks.append(link._task)  # type: ignore[arg-type]

    def make_registry(self, journal: Journal) -> SubscriptionRegistry:
        return SubscriptionRegistry(journal, self.small, inline, *granted(*self.homes))

    def promised(self) -> int:
        """R2: what the small store says that home bases have acknowledged; no loss of power may take it."""
        rows = self.small.cursors(str(stored_id(self.disk, "m")))
        return max((parse_cursor(row).highest for _, _, row in rows), default=0)

    async def crash_gateway(self) -> None:
        """Power off: every task dies where it is, the disk keeps what was forced."""
        tasks, self.registry, self.journal = list(self.tasks), None, None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await end_all("journal", "append", "session", "cursor", "link")
        self.tasks.clear()
        self.disk.crash()
        self.power_lost.clear()

    def check_told(self, home: str, message: str | bytes) -> None:
        """R2: a cursor that a home base is told is in the small store already."""
        told = json.loads(message) if isinstance(message, str) else {}
        if told.get("type") != "cursor" or self.journal is None:
            return
        rows = {name: row for name, _, row in self.small.cursors(str(self.journal.journal_id))}
        if rows.get(home, {}).get("low_water", -1) < told["low_water"]:
            self.broken.append(f"{home} was told the cursor {told}, stored is {rows.get(home)}")

    def check_kept(self, home: str) -> None:
        """R2: what a home base acknowledged is in its store after a crash, for it was forced before."""
        known = self.registry.subscriptions.get((home, "all")) if self.registry else None
        if known is None or not (end := known.cursor.highest):
            return
        kept = HomeStore(self.home_disks[home]).cursor() or Cursor()
        lost = _positions(kept.missing(end)) - _positions(known.cursor.missing(end))
        if lost:
            self.broken.append(f"{home} acknowledged {known.cursor}, its crash lost {sorted(lost)}")

    def dial(self, home: str) -> Callable[[], Awaitable[Any]]:
        async def connect() -> SimChannel:
            await asyncio.sleep(0.01)
            if self.registry is None:
                raise ConnectionError("nobody there")
            up: asyncio.Queue[Any] = asyncio.Queue(2)
            down: asyncio.Queue[Any] = asyncio.Queue(2)
            cut = asyncio.Event()
            channel = SimChannel(self.rng, down, up, cut, lambda message: self.check_told(home, message))
            session = Session(channel, self.registry, LIMITS)
            self.tasks.append(asyncio.create_task(session.run(), name="session"))
            return SimChannel(self.rng, up, down, cut)

        return connect

    def start_home(self, home: str) -> asyncio.Task[None]:
        store = HomeStore(self.home_disks[home])
        wish = Wish(home, "all", {"idle": True, "kinds": ["tm"], "units": ["packet"]}, sequential=home == "b")
        subscriber = Subscriber(
            self.dial(home), store, inline, wish, enough=lambda s, p: p.final, jitter=self.rng.random
        )  # fmt: skip
        return asyncio.create_task(subscriber.run(), name=f"home {home}")

    async def run(self) -> None:
        asyncio.get_running_loop().set_exception_handler(_unless_power_loss)
        await self.start_gateway()
        homes = {home: self.start_home(home) for home in self.homes}
        for _ in range(self.rng.randrange(0, 8)):
            lost = not await self.before_power_loss(asyncio.sleep(self.rng.uniform(0, 4)), 5)
            self.losses += lost
            if lost or self.rng.random() < 0.3:
                await self.crash_gateway()
                await asyncio.sleep(self.rng.uniform(0, 1))
                await self.start_gateway()
            else:
                home = self.rng.choice(self.homes)
                homes[home].cancel()
                await asyncio.gather(homes[home], return_exceptions=True)
                self.home_disks[home].crash()
                self.check_kept(home)
                homes[home] = self.start_home(home)
        while not await self.before_power_loss(ended(homes), 3600):
            await self.crash_gateway()
            await self.start_gateway()
        await self.crash_gateway()

    def stored(self, home: str) -> list[bytes]:
        blocks = HomeStore(self.home_disks[home]).blocks()
        return [block.batch.octets_of(k) for block in blocks for k in range(len(block.positions))]


@pytest.mark.parametrize("seed", range(WORLDS))
def test_every_packet_once_in_order(seed: int) -> None:
    """R3, R4: whatever is cut, stalled or killed, each home base ends with every packet once, in order."""
    world = World(seed)
    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(world.run())
    assert not world.broken, f"seed {seed}"
    wanted = expected(world.data)
    for home in HOMES:
        assert world.stored(home) == wanted, f"seed {seed}, home {home}"
    journalled = {e["message"] for e in world.events if e["type"] == "link"}
    assert any("receiving" in text for text in journalled)
