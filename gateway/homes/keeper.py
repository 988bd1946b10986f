"""Keeps one subscription in one store for ever: subscribes, and goes on by itself after what goes wrong on either side.

The store's disk is full or fails: nothing is acknowledged, what was not forced is taken back, and when there is room
again everything behind it is asked for. The gateway refuses: it is asked again now and then, if the owner is patient.
A digest differs: nothing more is taken, for somebody has to look.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

import structlog

from gateway.console.harmless import harmless
from gateway.errors import Conflict, GatewayError
from gateway.homes.channel import Channel
from gateway.homes.client import MarkMismatch, Progress, Subscriber, SubscriptionRefused, Wish
from gateway.homes.digests import StoreDigester
from gateway.homes.places import read_cursor
from gateway.homes.retention import Keep, Retention
from gateway.homes.store import HomeStore
from gateway.homes.store_reader import READ_OCTETS, DamagedStore, Order, Portion, StoreReader
from gateway.world import Storage, Worker
from gateway_routes.delivery import Cursor

log = structlog.get_logger()
DISK_AGAIN_S = 2.0
REFUSED_AGAIN_S = 20.0
DAMAGED_AGAIN_S = 1.0


class Bell:
    """Rings when there may be something new: take `count`, look, then wait for what is beyond it."""

    def __init__(self) -> None:
        self.count = 0
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake everybody who waits."""
        self.count += 1
        self._event.set()
        self._event = asyncio.Event()

    async def beyond(self, count: int) -> None:
        """Return when it has rung since it stood at `count`."""
        if self.count == count:
            await self._event.wait()


@dataclass(slots=True)
class Trouble:
    """What is wrong now; `kind` is disk, refused, mark, digest or journal."""

    kind: str
    text: str


class Keeper:
    """One subscription of a home base in its folder of the storage. `run` has one owner."""

    def __init__(
        self,
        dial: Callable[[], Awaitable[Channel]],
        storage: Storage,
        folder: str,
        worker: Worker,
        wish: Wish,
        *,
        reserve_octets: int = 0,
        patient: bool = False,
        jitter: Callable[[], float] = random.random,
        keep: Keep | None = None,
    ) -> None:
        self.storage, self.folder, self.wish = storage, folder, wish
        self._dial, self._worker, self._reserve_octets = dial, worker, reserve_octets
        self._patient, self._jitter = patient, jitter
        self.retention = Retention(keep) if keep else None
        self.bell = Bell()
        self.trouble: Trouble | None = None
        self.progress = Progress()
        self.store: HomeStore | None = None
        self.finished = False  # the stream has ended, and everything of it is stored
        self.failure: GatewayError | None = None  # why `run` has ended for good
        self._subscriber: Subscriber | None = None

    async def open(self) -> HomeStore:
        """Open the store, if it is not. Raises OSError, Conflict."""
        if self.store is None:
            made = partial(HomeStore, self.storage, self.folder, reserve_octets=self._reserve_octets)
            if self.retention is not None:
                made = partial(made, file_octets=self.retention.keep.file_octets)
            self.store = await self._worker(made)
            self.bell.ring()
        return self.store

    async def close(self) -> None:
        """Force and close the store; what cannot be forced was not acknowledged."""
        self.bell.ring()
        if self.store is not None:
            store, self.store = self.store, None
            try:
                await self._worker(store.close)
            except OSError as error:
                log.warning("the store is closed without its end", folder=self.folder, why=str(error))

    async def settled(self) -> None:
        """Open a store that holds all of a stream that has ended: nothing more is asked for. A disk is waited for."""
        while not self.finished:
            try:
                await self.open()
                self.finished = True
                self._told(None)
            except Conflict as error:
                self.failure = error
                self._told(Trouble("journal", str(error)))
                return
            except OSError as error:
                await self._mend(error)

    async def run(self) -> None:
        """Receive until the stream has ended, or `failure` says why not: a refusal (of an owner that is not patient),
        another journal, a mark that differs."""
        while not self.finished and self.failure is None:
            try:
                await self._receive()
                self.finished = True
                self._told(None)
            except SubscriptionRefused as error:
                await self._refused(error)
            except (MarkMismatch, Conflict) as error:
                self.failure = error
                self._told(Trouble("mark" if isinstance(error, MarkMismatch) else "journal", str(error)))
            except OSError as error:
                await self._mend(error)

    async def _refused(self, error: SubscriptionRefused) -> None:
        if not (self._patient or error.passing):
            self.failure = error
        self._told(Trouble("refused", str(error)))
        if self.failure is None:
            await asyncio.sleep(REFUSED_AGAIN_S * (0.5 + self._jitter() / 2))

    async def _receive(self) -> None:
        store = await self.open()
        self._subscriber = Subscriber(
            self._dial, store, self._worker, self.wish, enough=lambda _, progress: progress.final, jitter=self._jitter,
            on_missing=self._on_missing, on_stored=self._on_stored, on_confirmed=self._on_confirmed,
            digester=partial(self._digest, StoreDigester(self.storage, store, self._worker)),
        )  # fmt: skip
        self.progress = self._subscriber.progress
        await self._subscriber.run()

    async def _mend(self, error: OSError) -> None:
        """Wait until the disk takes something again; what was not forced is taken back first."""
        self._told(Trouble("disk", f"nothing is stored or acknowledged: {error}"))
        while True:
            await asyncio.sleep(DISK_AGAIN_S * (0.5 + self._jitter() / 2))
            try:
                store = await self.open()
                await self._worker(store.recover)
                await self._worker(store.check_room)
                return
            except OSError as again:
                self._told(Trouble("disk", f"nothing is stored or acknowledged: {again}"))

    def _told(self, trouble: Trouble | None) -> None:
        before, self.trouble = self.trouble, trouble
        if (before and before.text) != (trouble and trouble.text):
            if trouble is None:
                log.info("well again", subscription=self.wish.subscription)
            else:
                log.warning(trouble.kind, subscription=self.wish.subscription, why=harmless(trouble.text))
        self.bell.ring()

    def _on_stored(self) -> None:
        if self.trouble is not None:
            self._told(None)
        self.bell.ring()

    def _on_missing(self, first: int, end: int, reason: str) -> None:
        name = self.wish.subscription
        log.warning("positions that will never come", subscription=name, first=first, end=end, why=harmless(reason))

    def _on_confirmed(self, first: int, end: int, same: bool) -> None:
        if not same:
            why = "what is stored is not what the gateway has: the digests differ"
            log.error("store", subscription=self.wish.subscription, first=first, end=end, why=why)

    async def retain(self, holders: Mapping[str, Cursor | None], now_ns: int) -> None:
        """Remove what need not be kept any more, when `holders` (see Retention.look) and the consumers of this folder
        are done with it. Never raises: it is told, and tried again."""
        retention, store = self.retention, self.store
        kind = self.trouble.kind if self.trouble is not None else ""
        if retention is None or store is None or not store.meta or kind in {"mark", "journal"}:
            return  # what somebody has to look at stays as it is
        try:
            consumers = await self._worker(self._consumers)
            await self._worker(partial(retention.look, store, {**holders, **consumers}, now_ns, closing=kind != "disk"))
            retention.trouble = None
        except (OSError, Conflict) as error:
            retention.trouble = str(error)
        self.bell.ring()

    def _consumers(self) -> dict[str, Cursor | None]:
        """Return what loops of HomeBase over this folder are done with. Raises Conflict, OSError."""
        folder = f"{self.folder}/consumers"
        return {
            f"consumer {name.removesuffix('.json')}": read_cursor(self.storage, f"{folder}/{name}")
            for name in self.storage.names(folder)
            if name.endswith(".json")
        }

    async def _digest(self, digester: StoreDigester, first: int, end: int) -> tuple[int, str]:
        """Return what the store holds of a range; damage that is found is mended first. Raises as the digester."""
        try:
            return await digester(first, end)
        except DamagedStore as error:
            await self.damaged(error)
            raise

    async def damaged(self, error: DamagedStore) -> None:
        """A reader found damage: what is bad is taken out, and asked for again."""
        log.error("store", subscription=self.wish.subscription, why=str(error))
        store = await self.open()
        await self._worker(lambda: store.inspect(error.name))
        if self._subscriber is not None:
            self._subscriber.again()


class Follower:
    """Reads a keeper's store for one consumer, waiting for what is to come. Cancelling `next` loses nothing.

    `done` is what the consumer has finished before; None: nothing, or, with `from_now`, what is stored before it began.
    """

    def __init__(
        self, keeper: Keeper, worker: Worker, done: Cursor | None, order: Order = "position", from_now: bool = False
    ) -> None:
        self.keeper, self._worker = keeper, worker
        self._done, self._order, self._from_now = done, order, from_now
        self._reader: StoreReader | None = None

    @property
    def done(self) -> Cursor | None:
        """What is finished; None before there is a store that began."""
        return self._done if self._reader is None else self._reader.done

    def waiting(self) -> int:
        """How many positions are stored, and not finished."""
        return 0 if self._reader is None else self._reader.waiting()

    async def next(self, octets_max: int = READ_OCTETS) -> Portion | None:
        """Return what comes next; None: the stream has ended. Raises the keeper's failure, OSError."""
        while True:
            count, found = self.keeper.bell.count, None
            reader = self._known_reader()
            if reader is not None:
                try:
                    found = await self._worker(partial(reader.next, octets_max))
                except DamagedStore as error:
                    await self.keeper.damaged(error)
                    await asyncio.sleep(DAMAGED_AGAIN_S)
                    continue
            if found is not None:
                return found
            if count == self.keeper.bell.count:
                if self.keeper.failure is not None:
                    raise self.keeper.failure
                if self.keeper.finished:
                    return None
            await self.keeper.bell.beyond(count)

    def finish(self, portion: Portion) -> None:
        """What was taken is done."""
        if self._reader is not None:
            self._reader.finish(portion)

    def _known_reader(self) -> StoreReader | None:
        """Return the reader, as soon as the store knows where it begins."""
        store = self.keeper.store
        if self._reader is None and store is not None and store.meta:
            self._reader = StoreReader(self.keeper.storage, store, self._done, self._order)
            if self._done is None and self._from_now:
                self._reader.from_here()
        return self._reader
