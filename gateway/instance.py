"""One mission instance: a mission in one support mode (or one replay run) with journal, links, contacts, sessions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway import packet_range, wiring
from gateway.access.policy import Policy
from gateway.accounting.accountant import Accountant, accountant_of
from gateway.errors import Conflict, NotFound
from gateway.event_pump import EventPump
from gateway.homes.channel import Channel, SessionLimits
from gateway.homes.lines import Lines
from gateway.homes.outlets import Outlets
from gateway.homes.registry import SubscriptionRegistry, acknowledged_end
from gateway.homes.session import Session
from gateway.instance_conditions import journal_conditions, link_conditions, subscription_conditions
from gateway.instance_rows import apid_row, channel_of, channel_order, condition_row, event_row, vc_row
from gateway.journal import Journal, Recording, SmallStore, stored_id
from gateway.journal.events import event_items
from gateway.links import Link, LinkContext, Supervised
from gateway.playback.book import PlaybackBook
from gateway.supervision import Supervisor
from gateway.timely import TimelyTap
from gateway.values.door import ValuesAround, ValuesDoor
from gateway.world import Clock, Network, Storage, Worker
from gateway_codecs.batches import Kind
from gateway_codecs.time_scales import format_utc, parse_utc
from gateway_config import GatewaySettings, LinkConfig, Mission
from gateway_routes.conditions import Condition, ConditionBook, worst_first
from gateway_routes.contact import Contact, ContactBook, ContactEvent, ContactRefused, Plan
from gateway_routes.playback import OPEN
from gateway_routes.rights import LOCAL_OPERATOR, Actor, ActorKind, Where
from gateway_routes.selection import Selection

EVENTS_OCTETS = 1 << 16
HOUSEKEEPING_S = 1.0
RETENTION_S = 60.0
EVENTS_TOGETHER_S = 0.05
NEWEST_EVENTS_IN = 1 << 18


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an instance is given: the injected world and the shared settings."""

    clock: Clock
    storage: Storage
    network: Network
    writer: Worker
    reader: Worker
    keeper: Worker  # of the small store: its forced writes must not delay commits
    thinker: Worker  # of what takes long and may wait
    gateway: GatewaySettings
    directory: Path
    small_store: SmallStore
    policy: Policy
    supervisor: Supervisor
    lines: Lines = field(default_factory=Lines)
    decoder: Worker | None = None  # of live values, with `historian`, of long ranges; None = no values
    historian: Worker | None = None
    values_folder: Path | None = None  # of their cache
    accountant: Worker | None = None  # of reports and digests; None = the thinker


class MissionInstance:
    """See the module. `replay` says which file a replay run plays, for the API."""

    def __init__(
        self,
        name: str,
        mission: Mission,
        support_mode: str,
        links: list[LinkConfig],
        around: Surroundings,
        replay: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.mission, self.support_mode, self.replay = name, mission, support_mode, replay
        self.where = Where(name, mission.name, support_mode, replay is not None)
        self._configs, self._around = links, around
        self._book = ContactBook(mission.contact_silence_s)
        self._tasks: list[asyncio.Task[None]] = []
        self._sessions: set[asyncio.Task[None]] = set()
        self.links: dict[str, Supervised] = {}
        self.journal: Journal
        self.registry: SubscriptionRegistry
        self.timely = TimelyTap()
        self.values: ValuesDoor
        self.playbacks: PlaybackBook
        self.accounts: Accountant
        self.outlets: Outlets
        self._pump: EventPump
        self._recordings: list[Recording] = []
        self._house_problem = self._retention_problem = ""
        self._conditions = ConditionBook()
        self._contacts_kept = 0  # the version of the book that is kept
        self._stopping = asyncio.Event()

    # ---- life ----

    async def open(self) -> None:
        """Recover the journal and make the links. Raises OSError."""
        around = self._around
        settings = wiring.journal_settings(around.gateway)
        self.journal = await Journal.open(
            around.storage, around.clock, around.writer, around.reader, settings, self.name, await self._promised()
        )
        for craft in self.mission.spacecraft:
            self.journal.name_id("spacecraft", craft.name)
        prime = frozenset(link.name for link in self._configs if link.prime)
        self.registry = SubscriptionRegistry(
            self.journal,
            around.small_store,
            around.keeper,
            around.policy,
            self.where,
            prime,
            lines=around.lines,
            timely=self.timely,
        )
        self._put_links({config.name: self.make_link(config, self.mission) for config in self._configs})
        await self.registry.load()
        self._pump = EventPump(self.journal)
        now = lambda: (self.mission, self._configs)  # noqa: E731
        self.accounts = accountant_of(self.name, now, self.registry, around, self._book.snapshot, self.emit)
        await self.accounts.open()
        self.outlets = self.registry.outlets = Outlets(self.name, self.registry, around.network, around.supervisor.keep)
        self.values = self.registry.values = self._values_door()
        self.playbacks = self.registry.playbacks = PlaybackBook(
            self.name, self.registry, around.small_store, around.keeper, around.clock, self.emit, around.historian
        )
        await self.playbacks.load()
        self._book.restore(
            await around.keeper(lambda: around.small_store.get(f"contacts {self.name}")) or [], self._now()
        )
        self._book.tick(self._now(), around.clock.steady_tai_ns())  # what ended while we were away takes no data
        self._plan_configured_contacts()
        keep = around.supervisor.keep
        self._tasks = [
            keep(f"events {self.name}", self._pump.run),
            keep(f"contacts {self.name}", self._keep_time),
            keep(f"housekeeping {self.name}", self._keep_house),
            keep(f"retention {self.name}", self._keep_to_limits),
            keep(f"accounts {self.name}", self.accounts.run),
        ]
        if self.values.around.databases:
            self._tasks += self._value_tasks()

    def _values_door(self) -> ValuesDoor:
        around, folder = self._around, self._around.values_folder
        worker = around.decoder or around.thinker
        databases = {craft.name: craft.database for craft in self.mission.spacecraft if craft.database is not None}
        prime = frozenset(link.name for link in self._configs if link.prime)
        return ValuesDoor(
            ValuesAround(
                self.name, self.journal, around.storage, around.clock, worker, around.historian or worker,
                around.keeper, around.small_store, around.directory, folder and folder / self.name,
                around.gateway.values.cache_octets, databases, prime, self.emit,
            )
        )  # fmt: skip

    async def _promised(self) -> int:
        """Return the highest position that a durable cursor has acknowledged: it is never given again."""
        around = self._around
        journal_id = await around.reader(lambda: stored_id(around.storage, self.name))
        kept = await around.keeper(lambda: around.small_store.cursors(str(journal_id)))
        return max((acknowledged_end(cursor) for _, _, cursor in kept), default=0)

    def _plan_configured_contacts(self) -> None:
        """Plan what the configuration plans, once: what is in the book stays, what is over is not begun."""
        now_ns = self._around.clock.steady_tai_ns()
        plans = [plan for plan in _plans(self.mission) if not self._book.has_plan(*plan[:3])]
        self._tell_not_planned(self._book.follow((), plans, now_ns, self.mission.contact_silence_s))

    def _tell_not_planned(self, told: list[tuple[str, str]]) -> None:
        for spacecraft, message in told:
            self.emit({"type": "contact", "severity": "warning", "message": message, "spacecraft": spacecraft})

    def make_link(self, config: LinkConfig, mission: Mission) -> Supervised:
        """Return a link as a mission file says, not started, and not yet of this instance. Raises ValueError."""
        around = self._around
        craft = next(c for c in mission.spacecraft if c.name == config.spacecraft)
        recording = None
        if wiring.is_recorded(config):
            keep_days = around.gateway.recording.keep_days
            folder = f"{self.name}/recording/{config.name}"
            about, reserve = wiring.about_recording(self.name, config, craft), around.gateway.journal.reserve_octets
            recording = Recording(around.storage, around.clock, folder, about, keep_days, reserve)
        context = LinkContext(
            self.journal,
            around.clock,
            self,
            self.emit,
            around.writer,
            around.thinker,
            recording,
            on_finished=self._link_finished,
            timely=self.timely,
        )
        if config.type == "gateway":
            paths = self.registry.paths
            return wiring.upstream_link(config, around.directory, context, paths, mission)
        ids = (self.journal.name_id("links", config.name), self.journal.name_id("spacecraft", craft.name))
        source = wiring.source(config, craft, around.directory, around.network, around.reader)
        maker = wiring.intake_maker(config, craft, *ids)
        return Link(wiring.link_settings(config), source, maker, context)

    def _put_links(self, links: Mapping[str, Supervised]) -> None:
        """Take links, in the order of the configuration; what had their names is gone, and what it does not name."""
        gone = [link for name, link in self.links.items() if links.get(name, link) is not link]
        found = {**self.links, **links}
        gone += [link for name, link in found.items() if name not in {config.name for config in self._configs}]
        self.links = {config.name: found[config.name] for config in self._configs}
        left = [link.recording for link in gone]
        self._recordings = [one for one in self._recordings if one not in left]
        self._recordings += [link.recording for link in links.values() if link.recording is not None]

    # ---- another configuration (gateway/reload) ----

    def change(self, mission: Mission, configs: list[LinkConfig], links: Mapping[str, Supervised]) -> None:
        """Take what a reload has prepared: `links` are the new ones; what is not configured any more is stopped."""
        before, self.mission, self._configs = self.mission, mission, configs
        for craft in mission.spacecraft:
            self.journal.name_id("spacecraft", craft.name)
        self._put_links(links)
        self.registry.prime_links = frozenset(config.name for config in configs if config.prime)
        plans, now_ns = (_plans(before), _plans(mission)), self._around.clock.steady_tai_ns()
        self._tell_not_planned(self._book.follow(*plans, now_ns, mission.contact_silence_s))
        self._emit_contacts()

    def retain_as(self, gateway: GatewaySettings) -> None:
        """Take other limits of what is kept."""
        self._around = replace(self._around, gateway=gateway)
        self.journal.settings = wiring.journal_settings(gateway)

    async def renew_values(self, reason: str) -> None:
        """Let values go on as the configuration is now; sessions that get some end with a reason, and come again."""
        names, old = {f"values {self.name}", f"databases {self.name}"}, self.values
        if ending := [task for task in self._tasks if task.get_name() in names]:
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
            self._tasks = [task for task in self._tasks if task not in ending]
            await old.keep()
        self.values = self.registry.values = self._values_door()
        for session in list(self.registry.value_sessions.values()):
            session.stop(reason)
        if self.values.around.databases:
            self._tasks += self._value_tasks()

    def _value_tasks(self) -> list[asyncio.Task[None]]:
        keep = self._around.supervisor.keep
        return [
            keep(f"values {self.name}", self.values.follow), keep(f"databases {self.name}", self.values.watch),
        ]  # fmt: skip

    def start(self) -> None:
        """Start the enabled links; a replay run that has come to its end stays there, to be read."""
        for link in self.links.values():
            if self.replay is not None and self._played(link) >= self.replay["size_octets"]:
                link.rest_finished()
                self.journal.finish()
                self.timely.finish()
            else:
                link.start()

    def _played(self, link: Supervised) -> int:
        state = self.journal.state.get("links", {}).get(link.settings.name, {})
        return int(state.get("source_offset", 0))

    async def drain(self, reason: str = "the gateway is stopping") -> None:
        """Stop the links, commit what came in, then end the sessions and who waits for events."""
        for link in self.links.values():
            await link.stop()
        committing = asyncio.create_task(self._everything_committed(), name=f"drain {self.name}")
        await self.journal.or_blocked([committing])
        committing.cancel()
        self._stopping.set()
        self.timely.finish()
        for session in self.registry.all_sessions():
            session.stop(reason)
        if self._sessions:
            await asyncio.wait(self._sessions, timeout=2.0)

    async def close(self) -> None:
        """Close everything, whatever `drain` left."""
        for link in self.links.values():
            await link.stop()
        await self.outlets.close()
        for task in [*self._tasks, *self._sessions]:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._sessions, return_exceptions=True)
        with contextlib.suppress(OSError):  # the disk refuses: they are as they were kept last
            await self._keep_contacts()
            await self.accounts.keep_seen()
        await self.journal.close()

    async def _keep_time(self) -> None:
        """Let time pass for the contacts; the disk, however slow, has no say in it."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            self._book.tick(self._now(), self._around.clock.steady_tai_ns())
            self._emit_contacts()

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            try:
                await self._contact_events()
                for recording in self._recordings:
                    await self._around.writer(recording.force)
            except OSError as error:  # tried again at the next turn; meanwhile the operator sees it
                self._house_problem = str(error)
            else:
                self._house_problem = ""

    async def _keep_to_limits(self) -> None:
        """Let retention work; it counts what goes, which takes its time."""
        while True:
            await asyncio.sleep(max(RETENTION_S, HOUSEKEEPING_S))
            try:
                await self._retain()
            except OSError as error:
                self._retention_problem = str(error)
            else:
                self._retention_problem = ""

    async def _retain(self) -> None:
        for recording in self._recordings:
            await self._around.writer(recording.retain)
        upto = await self.journal.outlived()
        await self.accounts.count_outlived(upto)
        await self.journal.retain(upto)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # ---- events and contacts ----

    def emit(self, event: dict[str, Any]) -> None:
        """Journal an event; nothing is waited for."""
        now_ns = self._around.clock.tai_ns()
        event = {"time": format_utc(now_ns), **event}
        self._pump.emit(event)
        if self.timely.wanted:
            self.timely.offer(event_items([event], now_ns))

    def _link_finished(self) -> None:
        """A replay run is finished when its link is: nothing will be appended after the last event."""
        if self.replay is not None:
            self._tasks.append(asyncio.create_task(self._finish(), name=f"finish {self.name}"))

    async def _finish(self) -> None:
        await self._everything_committed()
        self.journal.finish()
        self.timely.finish()

    async def _everything_committed(self) -> None:
        await self._pump.flushed()
        await self.journal.drain()

    def in_contact(self, spacecraft: str) -> bool:
        """Whether a contact of the spacecraft is active."""
        return self._book.active(spacecraft) is not None

    def good_data(self, spacecraft: str, peer: str) -> None:
        """Good real-time data arrived from a link."""
        if self._book.good_data(spacecraft, peer, self._now(), self._around.clock.steady_tai_ns()):
            self._emit_contacts()

    def _emit_contacts(self) -> None:
        for change in self._book.take_events():
            self.emit(self._contact_event(change))

    def _contact_event(self, change: ContactEvent) -> dict[str, Any]:
        contact = change.contact
        return {
            "type": "contact",
            "severity": "warning" if change.what == "missed" else "info",
            "message": f"{contact.spacecraft} with {contact.peer}: contact {contact.id} {change.what} ({change.why})",
            "contact": contact.id,
            "spacecraft": contact.spacecraft,
            "spacecraft_id": self.journal.name_id("spacecraft", contact.spacecraft),
            "state": change.what,
        }

    async def _contact_events(self) -> None:
        self._emit_contacts()
        if self._book.version != self._contacts_kept:
            await self._keep_contacts()

    async def _keep_contacts(self) -> None:
        rows, version = self._book.snapshot(), self._book.version
        await self._around.keeper(lambda: self._around.small_store.put(f"contacts {self.name}", rows))
        self._contacts_kept = version  # what changed meanwhile is kept at the next turn

    def contacts(self) -> list[dict[str, Any]]:
        """Return all contacts for the API."""
        rows = []
        for row in self._book.snapshot():
            times = {key: row.pop(key) for key in list(row) if key.endswith("_ns")}
            texts = {f"{k.removesuffix('_ns')}_utc": None if v is None else format_utc(v) for k, v in times.items()}
            rows.append(row | texts)
        return rows

    async def end_subscription(self, home: str, name: str, by: Actor) -> dict[str, Any]:
        """End a subscription that nobody is served by; returns the event that tells it. Raises NotFound, Conflict,
        OSError: then it is there still."""
        known = self.registry.that_can_end(home, name)
        if by.kind is ActorKind.HOME:
            self.playbacks.check_pace(home)
        await self.accounts.confirmations.forget((home, name))
        await self.registry.remove(home, name)
        backlog = sum(end - first for first, end in known.cursor.missing(self.journal.head))
        text = f"{by} ended subscription {home}/{name}: {backlog} positions were not acknowledged"
        told = {
            "type": "subscription ended", "severity": "info", "message": text, "home": home, "subscription": name,
            "by": str(by), "low_water": known.cursor.low_water, "backlog_items": backlog,
        }  # fmt: skip
        self.emit(told)
        return told

    async def add_contact(self, spacecraft: str, peer: str, aos_utc: str | None, los_utc: str | None) -> dict[str, Any]:
        """Open a contact now, or plan one that is not over. Raises NotFound, Conflict."""
        if spacecraft not in [c.name for c in self.mission.spacecraft]:
            raise NotFound(f"{self.name} has no spacecraft {spacecraft!r}")
        try:
            contact = self._new_contact(spacecraft, peer, aos_utc, los_utc)
        except ContactRefused as error:
            raise Conflict(str(error), error.hint) from None
        except ValueError as error:
            raise Conflict(str(error)) from None
        await self._contact_events()
        return next(row for row in self.contacts() if row["id"] == contact.id)

    def _new_contact(self, spacecraft: str, peer: str, aos_utc: str | None, los_utc: str | None) -> Contact:
        if aos_utc is None and los_utc is None:
            return self._book.open(spacecraft, peer, self._now())
        if aos_utc is None or los_utc is None:
            raise ValueError("give both aos_utc and los_utc, or neither")
        aos_ns, los_ns = parse_utc(aos_utc), parse_utc(los_utc)
        if los_ns <= self._around.clock.steady_tai_ns():
            raise ValueError(f"a contact until {los_utc} is over already")
        return self._book.plan(spacecraft, peer, aos_ns, los_ns)

    async def close_contact(self, contact: str) -> dict[str, Any]:
        """Close a contact, or withdraw a planned one, by the operator's hand. Raises NotFound."""
        try:
            self._book.close(contact)
        except KeyError:
            raise NotFound(f"{self.name} has no contact {contact!r}") from None
        await self._contact_events()
        return next(row for row in self.contacts() if row["id"] == contact)

    # ---- links ----

    def _link(self, name: str) -> Supervised:
        if name not in self.links:
            raise NotFound(f"{self.name} has no link {name!r}", f"it has {', '.join(sorted(self.links)) or 'none'}")
        return self.links[name]

    def link_state(self, name: str) -> dict[str, Any]:
        """Return one link's state."""
        return {**self._link(name).snapshot(), "statistics": self._link(name).statistics()}

    async def link_action(self, name: str, action: str) -> None:
        """Enable, disable or reset a link."""
        await self._link(name).act(action)

    # ---- sessions ----

    async def serve(self, channel: Channel, limits: SessionLimits | None = None, actor: Actor = LOCAL_OPERATOR) -> str:
        """Serve one home base until it leaves; `actor` is who the other end has shown to be.

        Returns the code of why it was refused, or ended for what it said; empty for neither.
        """
        session = Session(channel, self.registry, limits or SessionLimits(), actor)
        task = asyncio.create_task(session.run(), name="session")
        self._sessions.add(task)
        try:
            await task
        finally:
            self._sessions.discard(task)
        return session.refused

    # ---- what is seen ----

    def subscriptions(self) -> list[dict[str, Any]]:
        """Return the subscriptions."""
        return self.registry.snapshot()

    def streams(self) -> list[dict[str, Any]]:
        """Return counts by link, virtual channel and APID."""
        rows: list[dict[str, Any]] = []
        for name, link in self.links.items():
            for channel, vc in sorted(link.statistics()["vcs"].items(), key=channel_order):
                base = {"link": name, "spacecraft": vc.get("spacecraft", link.settings.spacecraft)}
                base |= channel_of(channel) | ({"vcid": vc["vcid"]} if "vcid" in vc else {})
                rows.append(base | vc_row(vc, of_frames=base["scid"] is not None))
                rows += [base | apid_row(apid, counts) for apid, counts in vc["apids"].items()]
        return rows

    def state(self) -> dict[str, Any]:
        """Return everything the API shows of the instance."""
        journal, times = self.journal, self.journal.durations()
        return {
            "instance": self.name,
            "mission": self.mission.name,
            "support_mode": self.support_mode,
            "data_mode": "playback" if self.replay else "real time",
            "lifecycle": self.mission.lifecycle,
            "replay": dict(self.replay) if self.replay else None,
            "spacecraft": [c.name for c in self.mission.spacecraft],
            "journal": {
                "journal_id": str(journal.journal_id),
                "revision": journal.revision,
                "tail": journal.tail,
                "head": journal.head,
                "octets": journal.octets,
                "blocked": journal.blocked,
                "damaged": [(d.first, d.end) for d in journal.damaged],
                "commits": {
                    "last_minute": times.commits,
                    "p50_s": times.p50_s,
                    "p99_s": times.p99_s,
                    "longest_s": times.longest_s,
                    "under_way_s": times.under_way_s,
                },
            },
            "links": [link.snapshot() for link in self.links.values()],
            "contacts": self.contacts()[-20:],
            "streams": self.streams(),
            "subscriptions": self.subscriptions(),
            "homes": self.accounts.homes(),
            "timely": self.registry.timely_snapshot(),
            "refused": dict(self.registry.refused),
            "values": self.values.state(),
            "outlets": self.outlets.rows(),
            "playbacks": [row for row in self.playbacks.rows() if row["state"] in OPEN],
            "conditions": self.conditions(),
        }

    def watch(self) -> None:
        """Tell what began and ended since the last time, about each second."""
        changes = self._conditions.update(self._found(), self._now())
        if not self.journal.finished:
            for change in changes:
                self.emit(change.event())

    def conditions(self) -> list[dict[str, Any]]:
        """Return what the operator should know, worst first."""
        clock, now = self._around.clock, self._now()
        return [condition_row(row, self._conditions, now, clock) for row in worst_first(self._found())]

    def _found(self) -> list[Condition]:
        own = [
            *journal_conditions(
                self.name, self.journal, self._house_problem or self._retention_problem, self._pump.dropped
            ),
            *link_conditions(self.name, self.links, self.in_contact),
            *subscription_conditions(self.name, self.registry),
        ]
        return (
            own
            + self.outlets.conditions(self._now())
            + self.values.conditions(self._now())
            + self.accounts.conditions()
        )

    async def events(self, position: int | None, limit: int, wait_s: float) -> dict[str, Any]:
        """Return events from a position on (None = the newest `limit`), and the position to go on with.

        Raises Conflict for a position that this journal has not given yet: it is of another journal. The newest are
        searched backwards, at most NEWEST_EVENTS_IN positions deep: a journal may hold years.
        """
        if position is None:
            return await self._newest_events(limit)
        if position > self.journal.head:
            text = f"position {position} is beyond the head {self.journal.head} of journal {self.journal.journal_id}"
            raise Conflict(text, "begin without a position: it seems to be of another journal")
        at, rows = max(position, self.journal.tail), list[dict[str, Any]]()
        until_s = self._now() + wait_s
        while True:
            while at < self.journal.head and len(rows) < limit:
                found, at = await self._events_from(at, limit - len(rows))
                rows += found
            left_s = until_s - self._now()
            if rows or left_s <= 0 or self._stopping.is_set():
                return {"events": rows, "next_position": at}
            await self._wait_for_items(at, left_s)

    async def _wait_for_items(self, at: int, wait_s: float) -> None:
        """Wait until the head is beyond `at`, at most so long, and not when the gateway stops.

        Commits may come by the hundred a second: they are looked at together.
        """
        waiting = [asyncio.create_task(self._grown_beyond(at, wait_s)), asyncio.create_task(self._stopping.wait())]
        try:
            await asyncio.wait(waiting, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def _grown_beyond(self, at: int, wait_s: float) -> None:
        await self.journal.wait_beyond(at)
        finished = self.journal.head <= at  # nothing will come, and who asks again at once gains nothing
        await asyncio.sleep(wait_s if finished else EVENTS_TOGETHER_S)

    async def _newest_events(self, limit: int) -> dict[str, Any]:
        head = until = self.journal.head
        lowest = max(self.journal.tail, head - NEWEST_EVENTS_IN)
        rows: list[dict[str, Any]] = []
        step = 1024
        while until > lowest and len(rows) < limit:
            at = begin = max(lowest, until - step)
            part: list[dict[str, Any]] = []
            while at < until:
                found, at = await self._events_from(at, 1 << 20)
                part += [row for row in found if row["position"] < until]
            rows, until, step = part + rows, begin, step * 2
        return {"events": rows[-limit:], "next_position": head}

    async def _events_from(self, at: int, limit: int) -> tuple[list[dict[str, Any]], int]:
        """Return some events from a position on, and how far was looked."""
        only_events = Selection(kinds=frozenset({Kind.EVENT}), bad_quality=True)
        found = await self.journal.read(at, only_events, limit, EVENTS_OCTETS)
        links = self.journal.names("links")
        rows = [event_row(where, found.batch, row, links) for row, where in enumerate(found.positions.tolist())]
        return rows, max(found.end_position, at + 1)

    async def journal_ranges(self) -> dict[str, Any]:
        """Return the journal's readable range and segments."""
        segments = await self._around.reader(lambda: self._around.storage.names(f"{self.name}/journal"))
        return {**self.state()["journal"], "segments": [s for s in segments if s.endswith(".seg")]}

    async def packets(
        self, position: int | None, upto: int | None, wish: Mapping[str, Any], partial: bool
    ) -> AsyncIterator[bytes]:
        """Return the packets of a range, in pieces: see `packet_range.packets`."""
        return await packet_range.packets(self.journal, self.registry, position, upto, wish, partial)


def _plans(mission: Mission) -> list[Plan]:
    """Return the contacts that a mission file plans."""
    return [
        (craft.name, contact.peer, parse_utc(contact.aos_utc), parse_utc(contact.los_utc))
        for craft in mission.spacecraft
        for contact in craft.contacts
    ]
