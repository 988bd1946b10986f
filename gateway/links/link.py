"""One link: a supervised task that opens its source, feeds the intake and commits what comes out."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import structlog

from gateway.links.hand_over import HandOver
from gateway.links.news import SourceNews
from gateway.links.raw_octets import RawOctets
from gateway.links.sources import Pause, Source, next_read_octets
from gateway.links.supervised import LinkContext, LinkSettings, Supervised
from gateway.links.suspicion import Suspicion
from gateway.links.sync_news import SyncNews
from gateway_codecs.batches import IntakeBatch, Quality, Transition, Unit
from gateway_codecs.datagrams import Datagrams
from gateway_codecs.packet_stream import Intake
from gateway_codecs.turns import turns
from gateway_routes.link_state import LinkInput, LinkStatus

log = structlog.get_logger()
WATCH_S = 0.25
LOOK_EVERY_S = 30.0
LISTEN_AGAIN_S = 0.1
GATHER_S, COMMIT_S, LITTLE_OCTETS = 0.003, 0.02, 1 << 14
DRAIN_S = 3.0
"""So long a link that ends takes what the kernel has of it: a stop has ten seconds for everything."""
SEAMLESS_S = 60.0
"""No packet spans a cut with a longer silence: a TM count has eight bits, and goes on by chance sooner or later."""


class Link(Supervised):
    """See the module. `make_intake` gives a fresh intake for each start."""

    def __init__(
        self, settings: LinkSettings, source: Source, make_intake: Callable[[], Intake], context: LinkContext
    ) -> None:
        super().__init__(settings, context)
        self._source, self._make_intake = source, make_intake
        self._intake = make_intake()
        self._restored = False
        self._out = HandOver(
            context.journal, context.timely, context.clock, settings.name, self._tell, can_wait=source.resumable
        )
        if source.connectionless:
            self._counters |= {"datagrams": 0, "datagrams_empty": 0, "datagrams_lost": 0}
        self._news = SourceNews(settings.name, self._intake.settings.spacecraft)
        self._sync_news = SyncNews(settings.name)
        self._suspicion = Suspicion(self._intake.settings)
        self._turns, self._pause = turns(self._intake.settings), Pause()
        self._hint = ""
        self._was_cut = False  # and nothing good has come since
        self._next_look_s = 0.0
        self._raw = RawOctets(
            context.recording,
            context.recorder,
            lambda severity, text: self._tell("recording", severity, f"{settings.name}: {text}"),
        )

    # ---- the operator's hand ----

    def reset(self) -> None:
        """Set the counters to zero, those of channels and APIDs too."""
        super().reset()
        self._intake.reset_statistics()
        self._source.refused = 0
        self._hint = ""

    async def prepare(self) -> None:
        """Listen, where peers come to us. Raises OSError."""
        await self._source.prepare()

    async def stop(self) -> None:
        """End for a shutdown."""
        await super().stop()
        with contextlib.suppress(OSError):
            await self._raw.close()

    async def _end_task(self) -> None:
        if await self._cancel_task():
            self._give_up()
        await self._context.journal.or_blocked(self._out.pending)
        await self._source.shut()
        self._heed_source(last=True)
        await self._context.journal.or_blocked(self._out.pending)
        await self._raw.settled()

    async def _take_waiting(self) -> None:
        """Take the datagrams that had come before the end, for a while; the source counts what is left as lost."""
        until_s = self._now() + DRAIN_S
        try:
            while self._now() < until_s and (data := self._source.waiting()) is not None:
                try:
                    self._take_datagrams(data)
                finally:
                    self._raw.give(self._context.clock.tai_ns(), data.octets, data.lengths.tolist())
                await self._raw.room()
                await self._context.journal.or_blocked(self._out.pending)
        except Exception as error:  # what is wrong with them must not keep the link from ending
            self._counters["failures"] += 1
            log.exception("datagrams at the end of a link", link=self.settings.name, error=str(error))

    # ---- the task ----

    async def _close(self) -> None:
        await self._source.close()

    def _start_over(self) -> None:
        """Go on with a fresh intake, from what is journalled; what the old one holds is kept if it can still say."""
        try:
            self._give_up()
        except Exception:
            log.exception("packets under way are lost", link=self.settings.name)
        self._intake, self._restored = self._make_intake(), False

    def _give_up(self) -> None:
        """Keep what was under way as octets; what a resumable source was in the midst of is read again instead."""
        if not self._source.resumable:
            self._keep(self._intake.give_up(self._context.clock.tai_ns()))

    def _retry_delay_s(self) -> float:
        """How long to wait; who is listening goes on soon: a peer that flaps must not shut out the next for long."""
        return LISTEN_AGAIN_S if self._source.listening else super()._retry_delay_s()

    async def _connection(self) -> None:
        await self._out.settled()
        state = self._context.journal.state.get("links", {}).get(self.settings.name, {})
        resumable = self._source.resumable
        if not self._restored and resumable:
            self._intake = self._make_intake()
        self._peer = await self._source.open(int(state.get("source_offset", 0)) if resumable else 0)
        self._suspicion = Suspicion(self._intake.settings)
        self._raw.give(self._context.clock.tai_ns(), b"")
        self._counters["connects"] += 1
        self._step(LinkInput.CONNECTED, self._peer)
        if not self._restored:
            await self._restore(state)
        watch = asyncio.create_task(self._watch(asyncio.current_task()), name=f"watch {self.settings.name}")
        try:
            await self._read()
        except asyncio.CancelledError:
            if not self._only_silent():
                await self._take_waiting()
                raise
            raise OSError(f"silent for {self.settings.watchdog_s:g} s inside a contact") from None
        finally:
            watch.cancel()
            if not resumable:
                self._was_cut = True
                self._keep(self._intake.cut(self._context.clock.tai_ns(), "link cut"))
            else:
                self._restored = False
            self._tell_sync(last=True)

    async def _restore(self, state: dict[str, Any]) -> None:
        """Let the intake take the state over; what it wants read again is read piece by piece, off the loop."""
        restoring = self._intake.restoring(state, self._source.resumable)
        if state:
            with contextlib.suppress(StopIteration):
                wanted = next(restoring)
                while True:
                    wanted = restoring.send(await self._source.reread(*wanted))
        self._restored = True

    def _only_silent(self) -> bool:
        """Whether it was the watchdog that ended the reading, and nobody else in the same turn."""
        silent, self._silent = self._silent, False
        task = asyncio.current_task()
        return silent and task is not None and task.uncancel() == 0

    _silent = False
    _waiting = False  # for octets of the peer

    async def _watch(self, reader: asyncio.Task[Any] | None) -> None:
        """The watchdog: inside a contact, silence means dead; outside it is just quiet."""
        was_in_contact = False
        while True:
            await asyncio.sleep(min(WATCH_S, self.settings.watchdog_s / 2))
            now = self._now()
            in_contact = self._context.contacts.in_contact(self.settings.spacecraft)
            if (in_contact and not was_in_contact) or not self._waiting:
                self._machine.begin_period(now)  # silence counts from here: before a contact, or while we do not read
            was_in_contact = in_contact
            self._tell_sync()
            if self._source.resumable:
                continue
            if self._source.connectionless:
                self._watch_datagrams(now, in_contact)
            elif self._machine.silent(now, in_contact) and reader is not None:
                self._silent = True
                reader.cancel()
                return
            if self._machine.quiet(now):
                self._step(LinkInput.QUIET, "no data")

    def _watch_datagrams(self, now: float, in_contact: bool) -> None:
        """Without a connection silence ends nothing: the link is down until data come, or the contact is over."""
        self._heed_source()
        if self._machine.silent(now, in_contact):
            self._was_cut = True
            self._lost(f"silent for {self.settings.watchdog_s:g} s inside a contact")
        elif self._machine.status == LinkStatus.UNAVAILABLE and not in_contact:
            self._step(LinkInput.CONNECTED, self._peer)

    def _heed_source(self, last: bool = False) -> None:
        """Count, journal and tell what the source noticed beside its data."""
        busy = self._out.busy
        batch, events = self._news.take(self._source.remarks(), self._now(), last, busy)
        if batch is not None:
            self._keep(batch)
        for event in events:
            self._tell(**event)

    async def _read(self) -> None:
        self._pause = Pause()
        while True:
            self._waiting = True
            data = await self._source.read()
            self._waiting = False
            if not data:
                await self._ended()
                return
            began_s = self._now()
            await self._feed(data)
            await self._pause.fair()
            await self._gather(data, began_s)

    async def _gather(self, data: bytes | Datagrams, read_s: float) -> None:
        """Let a little more come before it is read when what was read at `read_s` was little, and came just now.

        Each read costs as much as tens of frames do: who sends a thousand frames each second, one by one, would keep
        the loop busy with reading alone. What comes alone never waits. Where nobody wants items before their commit,
        what comes while one is under way waits for its end: it could not be in an earlier one anyway.
        """
        octets = data.octets if isinstance(data, Datagrams) else data
        if len(octets) >= LITTLE_OCTETS or self._source.resumable:
            return
        if not self._context.timely.wanted:
            await self._out.committed(COMMIT_S)
        left_s = read_s + GATHER_S - self._now()
        if left_s > 0:
            await asyncio.sleep(left_s)

    async def _feed(self, data: bytes | Datagrams) -> None:
        if self._was_cut and (self._machine.age_s(self._now()) or 0.0) > SEAMLESS_S:
            self._give_up()
        octets = data.octets if isinstance(data, Datagrams) else data
        try:  # who ends the link between reading and handing over must lose nothing
            counters = self._take_datagrams(data) if isinstance(data, Datagrams) else await self._take_in_turns(data)
        finally:
            lengths = data.lengths.tolist() if isinstance(data, Datagrams) else None
            self._raw.give(self._context.clock.tai_ns(), octets, lengths)
        await self._raw.room()
        await self._out.room()
        if self._suspicion.note(octets, counters) and self._now() >= self._next_look_s:
            await self._look_closer()

    async def _take_in_turns(self, octets: bytes) -> Mapping[str, int]:
        """Take what was read, and let the others run where it costs much. Who ends the link waits for the rest."""
        now_ns, counters = self._context.clock.tai_ns(), Counter[str]()
        pieces = self._turns.cut(octets)
        for piece in pieces:
            counters.update(self._take(piece, now_ns))
            try:
                await self._pause.fair()
            except asyncio.CancelledError:
                for left in pieces:
                    self._take(left, now_ns)
                raise
        return counters

    def _take(self, octets: bytes, now_ns: int) -> Mapping[str, int]:
        began_ns = self._context.clock.steady_tai_ns()
        batch = self._intake.feed(octets, now_ns)
        self._keep(batch)
        took_s = (self._context.clock.steady_tai_ns() - began_ns) / 1e9
        self._source.read_octets = next_read_octets(self._source.read_octets, took_s)
        return batch.counters

    def _take_datagrams(self, datagrams: Datagrams) -> Mapping[str, int]:
        """Take datagrams; what came before a loss in the kernel is taken by itself, so that the loss has its place."""
        if self._machine.status == LinkStatus.UNAVAILABLE:
            self._step(LinkInput.CONNECTED, self._peer)
        counters, now_ns = Counter[str](), self._context.clock.tai_ns()
        for part in datagrams.parts():
            batch = self._intake.feed_datagrams(part, now_ns)
            self._keep(batch)
            counters.update(batch.counters)
        return counters

    async def _look_closer(self) -> None:
        """Too much of the input is refused: say what it looks like. Not often: a peer may bring rubbish for ever."""
        self._next_look_s = self._now() + LOOK_EVERY_S
        found = await self._context.thinker(self._suspicion.ask)
        if found and found != self._hint:
            self._hint = found
            self._tell("hint", "warning", f"{self.settings.name}: {found}", hint=found)

    async def _ended(self) -> None:
        if not self._source.resumable:
            raise ConnectionError("closed by the peer")
        last = self._intake.finish(self._context.clock.tai_ns())
        self._keep(last)
        await self._out.room()
        self._suspicion.note(b"", last.counters)
        if self._suspicion.suspicious:
            await self._look_closer()
        await self._out.settled()
        self._step(LinkInput.FINISHED, "end of the file")
        self._context.on_finished()

    def _note(self, batch: IntakeBatch) -> None:
        for name, count in batch.counters.items():
            self._counters[name] = self._counters.get(name, 0) + count
        self._tell_sync(batch.transitions)
        if _has_good(batch):
            self._was_cut = False
            self._step(LinkInput.GOOD)
            if self._hint and not self._suspicion.stands:
                self._hint = ""
            if self.settings.real_time:
                self._context.contacts.good_data(self.settings.spacecraft, self.settings.name)

    def _tell_sync(self, transitions: Iterable[Transition] = (), last: bool = False) -> None:
        for event in self._sync_news.take(transitions, self._now(), last):
            self._tell(**event)

    def _keep(self, batch: IntakeBatch) -> None:
        """Count a batch and hand it to the journal; nothing is waited for: what the intake counted must not vanish."""
        self._note(batch)
        self._out.give(batch)

    # ---- what is seen ----

    def statistics(self) -> dict[str, Any]:
        """Return the intake's counts."""
        return self._intake.statistics()

    def _sync_state(self) -> str | None:
        """Return where the synchroniser stands, None where there is none."""
        state = getattr(self._intake, "sync_state", None)  # its class is imported only where there are CADUs
        return None if state is None or self._source.connectionless else str(state.value)

    def snapshot(self) -> dict[str, Any]:
        """Return the link's state, JSON-able."""
        remarks, progress = self._source.remarks(), self._source.progress()
        counters = {**self._counters, "refused": self._source.refused}
        return super().snapshot() | {
            "peer": f"{self._peer} from {', '.join(remarks.peers)}" if remarks.peers else self._peer,
            "notice": remarks.notice,
            "sync": self._sync_state(),
            "hint": self._hint,
            "unrecorded_octets": self._raw.unrecorded,
            "unjournalled_items": self._out.lost_items,
            "counters": counters,
            "progress": None if progress is None else {"octets": progress[0], "of_octets": progress[1]},
        }


def _has_good(batch: IntakeBatch) -> bool:
    """Whether there is a good frame or packet."""
    if len(batch.frames) and np.count_nonzero(batch.frames["quality"] == 0):
        return True
    units, quality = batch.items.items["unit"], batch.items.items["quality"]
    return bool(((units == Unit.PACKET) | ((units == Unit.FRAME) & (quality == Quality.GOOD))).any())
