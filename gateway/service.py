"""The gateway as one service: every mission instance and replay run. The API and the console call it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from gateway import __version__, replays
from gateway.access.access import Access
from gateway.access.policy import Policy, home_row, rights_of
from gateway.descriptors import Descriptors
from gateway.errors import Conflict, GatewayError, NotFound, Refused, StartError
from gateway.homes.lines import Lines, rates_of
from gateway.instance import MissionInstance, Surroundings
from gateway.instance_rows import condition_row
from gateway.journal import SmallStore
from gateway.journal.tally import journalled_packets
from gateway.machine import Machine
from gateway.real import LocalStorage, SystemClock, TcpNetwork, ThreadWorker
from gateway.reload.reloader import Reloader
from gateway.supervision import Supervisor
from gateway.warm_up import warm_up
from gateway.wiring import cadu_format, outlets_of
from gateway_codecs.time_scales import format_utc
from gateway_config import ConfigError, Configuration, LinkConfig, Mission, Spacecraft, example_mission, example_names
from gateway_routes.admission import Admission
from gateway_routes.conditions import SEVERITIES, Condition, ConditionBook
from gateway_routes.disk_watch import DiskWatch
from gateway_routes.tolls import Tolls

if TYPE_CHECKING:
    from gateway.mqtt.service import Mqtt

log = structlog.get_logger()
T = TypeVar("T")
WATCH_S, DISK_WATCH_S = 1.0, 2.0
REPLAYS = "replays"
LOOK_OCTETS = 1 << 18


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that the system does not take
        return False


def _container(path: Path) -> str:
    """Return in what a file's frames seem to be packed. Raises OSError."""
    from gateway_codecs.kiss import looks_like_kiss  # late: only a replay asks

    with path.open("rb") as file:
        return "kiss" if looks_like_kiss(file.read(LOOK_OCTETS)) else "none"


def _storage(data_dir: Path, descriptors: Descriptors) -> LocalStorage:
    """Take the data directory. Raises StartError: another gateway has it, or the disk refuses."""
    try:
        return LocalStorage(data_dir, lock=True, descriptors=descriptors)
    except OSError as error:
        hint = "make it writable, or choose another one: data_dir in gateway.yaml, or --data-dir"
        raise StartError(f"the data directory {data_dir} cannot be used: {error.strerror}", hint) from error


def _holds_cadus(path: Path, link: LinkConfig, craft: Spacecraft) -> bool:
    """Return whether a file plainly holds a link's CADUs. Raises OSError."""
    from gateway_codecs.cadu_hints import holds_cadus  # late: only a replay asks

    with path.open("rb") as file:
        return holds_cadus(file.read(LOOK_OCTETS), cadu_format(link, craft))


def _small_store(path: Path) -> SmallStore:
    try:
        return SmallStore(path)
    except OSError as error:
        hint = f"move {path} away: home bases go on from the cursors in their own stores, open contacts are forgotten"
        raise StartError(error.strerror or str(error), hint) from error


async def _hint_told(instance: MissionInstance) -> str:
    """Return the last hint of a run that was played in an earlier start, and of which no packet came."""
    newest = await instance.events(None, 1000, 0.0)
    return next((str(event["hint"]) for event in reversed(newest["events"]) if event["type"] == "hint"), "")


class Gateway:
    """One gateway over one data directory. Raises StartError when another has it."""

    def __init__(
        self, configuration: Configuration, data_dir: Path | None = None, clock: SystemClock | None = None
    ) -> None:
        self.configuration = configuration
        self.data_dir = data_dir or configuration.data_dir
        self.instances: dict[str, MissionInstance] = {}
        self.supervisor, self._descriptors = Supervisor(), Descriptors()
        self._storage = _storage(self.data_dir, self._descriptors)
        self._writer, self._reader, self._keeper, self._thinker = self._workers = tuple(
            ThreadWorker(name) for name in ("journal-writer", "journal-reader", "small-store", "thinker")
        )
        self._decoder, self._historian, self._accountant = (
            ThreadWorker(name) for name in ("values-live", "values-history", "accounts")
        )
        self._clock = clock or SystemClock()
        self.lines = Lines(rates_of(configuration.homes))
        self._small_store = _small_store(self.data_dir / "small.sqlite")
        self.policy = Policy(rights_of(configuration.homes), self._clock.steady_tai_ns)
        self.access = self._access(configuration)
        self._began: float | None = None
        self._replays: dict[str, dict[str, Any]] = {}
        self._replay_lock = asyncio.Lock()
        self._not_reopened: list[Condition] = []  # replay runs that the start had to leave out
        gateway = configuration.gateway
        self.tolls = Tolls()
        self.admission = Admission(gateway.api.connections_per_peer, 0)
        disk = DiskWatch(gateway.journal.reserve_octets)
        self._machine = Machine(self._clock, self._descriptors, self.admission, disk, self._workers, self.supervisor)
        self._book = ConditionBook()
        self._watching: list[asyncio.Task[None]] = []
        self._mqtt: Mqtt | None = None
        self.reloader = Reloader(self)

    def _access(self, configuration: Configuration) -> Access:
        store, keeper, is_open = self._small_store, self._keeper, configuration.gateway.api.access == "open"
        found = Access(
            store, keeper, self._clock.steady_tai_ns, lambda: self.policy.rights, lambda: self.instances,
            open_to_all=is_open,
        )  # fmt: skip
        self.policy.token_holds = found.holds
        return found

    async def start(self, missions: bool = True) -> None:
        """Open every configured instance and every replay run, and start the links.

        Without `missions` only a replay run that is asked for will be opened: nothing else moves.
        """
        self._began = asyncio.get_running_loop().time()
        warm_up()
        await self._keeper(self.access.load)
        self._read_kept_replays()
        if missions:
            self._start_mqtt()
            await self._open_missions()
            for run in list(self._replays):
                await self._reopen_kept(run)
        self._watching = [
            self.supervisor.keep("watch", self._watch),
            self.supervisor.keep("disk watch", self._watch_disk),
        ]
        self.reloader.started(missions)
        log.info("gateway started", instances=sorted(self.instances), data_dir=str(self.data_dir))

    def _start_mqtt(self) -> None:
        keys = self.configuration.gateway.mqtt
        if keys.enabled:
            from gateway.mqtt.rights import broker_accounts  # late: who does without MQTT starts faster
            from gateway.mqtt.service import Mqtt

            self._mqtt = Mqtt(
                keys, self.configuration.directory, self.data_dir, lambda: self.instances, self.supervisor,
                self.access.whoever, lambda: broker_accounts(self), self.access.count,
            )  # fmt: skip
            self._mqtt.start()

    async def _open_missions(self) -> None:
        for mission in self.configuration.missions.values():
            for mode in mission.support_modes:
                links = [
                    link
                    for link in self.configuration.links.values()
                    if link.mission == mission.name and link.support_mode == mode
                ]
                await self._open(f"{mission.name}.{mode}", mission, mode, links)

    async def _watch(self) -> None:
        """Each second: look at the machine, and tell what began and ended, of it and of each instance."""
        while True:
            self._machine.look(self._now())
            changes = self._book.update(self._conditions(), self._now())
            open_ones = [instance for instance in self.instances.values() if instance.replay is None]
            for instance in open_ones:
                for change in changes:
                    instance.emit(change.event())
            for instance in self.instances.values():
                instance.watch()
                instance.registry.recheck()  # a date, or the end of a token, may have come
            await asyncio.sleep(WATCH_S)

    async def _watch_disk(self) -> None:
        """Measure in a worker: a device that hangs is seen by its worker being busy, and holds nobody else."""
        while True:
            self._machine.disk.observe(self._now(), await self._thinker(self._storage.free_octets))
            await asyncio.sleep(DISK_WATCH_S)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def accept_clock(self) -> dict[str, Any]:
        """Take the wall clock as right: plans and retention go by it from now on. Returns by how much they move."""
        moved_s = self._clock.accept()
        message = f"the operator accepted the wall clock: plans and retention move by {moved_s:+.3f} s"
        log.warning("wall clock accepted", moved_s=moved_s)
        for instance in self.instances.values():
            if instance.replay is None:
                instance.emit({"type": "clock", "severity": "warning", "message": message, "moved_s": moved_s})
        return {"moved_s": moved_s}

    def homes(self) -> list[dict[str, Any]]:
        """Return the home bases with what they are granted."""
        valid = Counter(row["name"] for row in self.access.tokens() if (row["kind"], row["state"]) == ("home", "valid"))
        return [
            home_row(home, self.policy.rights[name], self._clock.steady_tai_ns(), valid[name])
            for name, home in sorted(self.configuration.homes.items())
        ]

    async def make_token(self, wish: dict[str, Any]) -> dict[str, Any]:
        """Make a token; what was made is an event, its secret is not. Raises UsageError, NotFound, OSError."""
        made = await self.access.make(wish["kind"], wish["name"], wish["expires_utc"], wish["instances"])
        self._tell_token(made, "made")
        return made

    async def revoke_token(self, token_id: str) -> dict[str, Any]:
        """End a token, and the sessions that showed it, at once. Raises NotFound, OSError."""
        try:
            ended = await self.access.revoke(token_id)
        finally:
            for instance in self.instances.values():
                instance.registry.recheck()
        self._tell_token(ended, "revoked")
        return ended

    def _tell_token(self, row: dict[str, Any], what: str) -> None:
        message = f"a token of {row['kind']} {row['name']} was {what}: {row['id']}"
        for instance in self.instances.values():
            if instance.replay is None:
                instance.emit({"type": "access", "severity": "info", "message": message, "token": row["id"]})

    def _read_kept_replays(self) -> None:
        for name in self._storage.names(REPLAYS):
            if not name.endswith(".json"):
                continue
            try:
                kept = json.loads(self._storage.read(f"{REPLAYS}/{name}", 0, 1 << 20))
                self._replays[kept["run"]] = replays.kept_run(kept)
            except (ValueError, KeyError, TypeError) as error:
                self._leave_out(name, f"{type(error).__name__}: {error}")

    async def _reopen_kept(self, run: str) -> None:
        """Reopen a kept replay run; one that cannot be must not keep the missions from starting."""
        try:
            kept = self._replays[run] = self._settled(self._replays[run])
            await self._open_replay(kept)
        except (GatewayError, ConfigError, ValueError) as error:
            del self._replays[run]
            self._leave_out(f"{run}.json", str(error))

    def _leave_out(self, name: str, why: str) -> None:
        path = self.data_dir / REPLAYS / name
        text = f"not reopened: {why}. Mend it and start again, or remove {path}"
        self._not_reopened.append(Condition("warning", "replay not reopened", f"replay run {name}", text))
        log.warning("replay run not reopened", file=str(path), why=why)

    def make(
        self, name: str, mission: Mission, mode: str, links: list[LinkConfig], replay: dict[str, Any] | None = None
    ) -> MissionInstance:
        """Return a mission instance that is not open yet. Raises Conflict."""
        around = Surroundings(
            self._clock, self._storage, TcpNetwork(), self._writer, self._reader, self._keeper,
            self._thinker, self.configuration.gateway,
            self.configuration.directory, self._small_store, self.policy, self.supervisor,
            self.lines, self._decoder, self._historian, self.data_dir / "values", self._accountant,
        )  # fmt: skip
        if name in self.instances:
            raise Conflict(f"the mission instance {name} is open already", "one journal has one writer")
        return MissionInstance(name, mission, mode, links, around, replay)

    async def _open(
        self, name: str, mission: Mission, mode: str, links: list[LinkConfig], replay: dict[str, Any] | None = None
    ) -> None:
        instance = self.make(name, mission, mode, links, replay)
        await instance.open()
        self.adopt(instance)

    def adopt(self, instance: MissionInstance) -> None:
        """Take an open instance: its links start, home bases may come."""
        self.instances[instance.name] = instance
        if self._mqtt is not None:
            self._mqtt.add(instance)
        if instance.replay is None:
            instance.outlets.exchange(
                outlets_of(self.configuration.homes, instance.mission.name, instance.support_mode)
            )
        instance.start()

    def renew_topics(self, instance: MissionInstance) -> None:
        """The links or spacecraft of an instance are others: its shared topics go on with what it has now."""
        if self._mqtt is not None:
            self._mqtt.renew(instance)

    async def follow_rights(self) -> None:
        """The rights are others: return when the broker goes by them, if it is ours."""
        if self._mqtt is not None:
            await self._mqtt.follow_rights()

    async def study(self, work: Callable[[], T]) -> T:
        """Do what takes long, off the loop."""
        return await self._historian(work)

    def now_tai_ns(self) -> int:
        """Return the wall clock's time."""
        return self._clock.tai_ns()

    async def drain(self) -> None:
        """Stop intake, commit, end the sessions. A reload under way is taken back, or finished."""
        await self.reloader.end()
        await asyncio.gather(*[instance.drain() for instance in self.instances.values()])
        if self._mqtt is not None:
            await self._mqtt.drain()

    async def stop(self) -> None:
        """Close everything."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        if self._mqtt is not None:
            await self._mqtt.stop()
        for instance in self.instances.values():
            await instance.close()
        for worker in (*self._workers, self._decoder, self._historian, self._accountant):
            worker.close()
        self._small_store.close()
        self._storage.close()
        self._descriptors.close()

    # ---- what is seen ----

    def instance(self, name: str) -> MissionInstance:
        """Return one instance. Raises NotFound."""
        if name not in self.instances:
            raise NotFound(f"no mission instance {name!r}", f"there are {', '.join(sorted(self.instances)) or 'none'}")
        return self.instances[name]

    def state(self) -> dict[str, Any]:
        """Return everything, worst conditions first."""
        now = self._now()
        instances = [instance.state() for instance in self.instances.values()]
        mqtt = self._mqtt
        own = [condition_row(row, self._book, now, self._clock) for row in self._conditions()]
        conditions = [*own, *(c for state in instances for c in state["conditions"])]
        conditions.sort(key=lambda c: SEVERITIES.index(c["severity"]))
        return {
            "version": __version__,
            "configuration": self.reloader.state(),
            "time_utc": format_utc(self._clock.tai_ns()),
            "ready": not self.not_ready(),
            "uptime_s": 0.0 if self._began is None else now - self._began,
            "conditions": conditions,
            "machine": self._machine.state(),
            "access": {"open": self.access.open, "refused": dict(self.access.refused)},
            "mqtt": mqtt.state() if mqtt is not None else None,
            "instances": instances,
        }

    def _conditions(self) -> list[Condition]:
        """Return what concerns the gateway as a whole."""
        of_mqtt = self._mqtt.conditions() if self._mqtt is not None else []
        return [*self._machine.conditions(), *self._not_reopened, *self.reloader.conditions(), *of_mqtt]

    def not_ready(self) -> list[str]:
        """Return why the gateway cannot do its work; empty when it can."""
        if not self.instances:
            return ["no mission instance is open"]
        rows = self.instances.items()
        return [f"{name}: {instance.journal.blocked}" for name, instance in rows if instance.journal.blocked]

    def missions(self) -> list[dict[str, Any]]:
        """Return the missions with spacecraft and instances."""
        found: dict[str, dict[str, Any]] = {}
        for name, instance in self.instances.items():
            mission = instance.mission
            row = found.setdefault(
                mission.name,
                {
                    "mission": mission.name,
                    "description": mission.description,
                    "lifecycle": mission.lifecycle,
                    "spacecraft": [{"name": c.name, "scids": c.scids} for c in mission.spacecraft],
                    "instances": [],
                },
            )
            row["instances"].append(name)
        return list(found.values())

    # ---- replay runs ----

    def replays(self) -> list[dict[str, Any]]:
        """Return all runs."""
        return [self.replay(run) for run in self._open_runs()]

    def _open_runs(self) -> list[str]:
        return sorted(run for run, kept in self._replays.items() if kept["instance"] in self.instances)

    def replay(self, run: str) -> dict[str, Any]:
        """Return one run with its progress. Raises NotFound."""
        kept = self._replays.get(run, {"instance": ""})
        if kept["instance"] not in self.instances:
            raise NotFound(f"no replay run {run!r}", f"there are {', '.join(self._open_runs()) or 'none'}")
        instance = self.instances[kept["instance"]]
        link, finished = instance.links[replays.LINK].snapshot(), instance.journal.finished
        return {
            **kept,
            "finished": finished,
            "state": link["state"],
            "detail": link["detail"],
            "progress": replays.progress(kept, finished, link["progress"]),
            "head": instance.journal.head,
        }

    async def replay_report(self, run: str) -> dict[str, Any]:
        """Return one run with everything that was counted of it. Raises NotFound, OSError."""
        state = self.replay(run)
        instance = self.instances[state["instance"]]
        link = instance.links[replays.LINK].snapshot()
        folder = f"{instance.name}/journal"
        packets = await self._thinker(lambda: journalled_packets(self._storage, folder))
        hint = link["hint"] if packets or link["counters"]["octets"] else await _hint_told(instance)
        counted = {"streams": instance.streams(), "counters": link["counters"], "hint": hint}
        return {**state, **counted, "journalled_packets": {str(vcid): count for vcid, count in packets.items()}}

    async def start_replay(self, request: dict[str, Any], trusted: bool = False) -> dict[str, Any]:
        """Start or continue a run. Raises Refused, Conflict, NotFound, UsageError, OSError."""
        async with self._replay_lock:
            return await self._start_replay(request, trusted)

    async def _start_replay(self, request: dict[str, Any], trusted: bool) -> dict[str, Any]:
        path = await asyncio.to_thread(self._allowed_file, Path(request["file"]), trusted)
        size = (await asyncio.to_thread(path.stat)).st_size
        if not size:
            raise Conflict(f"{path} is empty", "there is nothing to replay")
        instance = f"{request['mission']}.{request['support_mode']}.replay-{request['run']}"
        wish = {**request, "file": str(path), "size_octets": size, "instance": instance}
        if not request.get("container") and not request.get("unit"):
            wish["container"] = await asyncio.to_thread(_container, path)
        kept = await self._looked_at(path, wish, self._settled(replays.kept_run(wish)))
        self._check_known(kept)
        if instance not in self.instances:
            await self._open_replay(kept)
            self._storage.write_whole(f"{REPLAYS}/{kept['run']}.json", json.dumps(kept).encode())
            self._replays[kept["run"]] = kept
        return self.replay(kept["run"])

    async def _looked_at(self, path: Path, wish: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
        """Return the run with the unit that the file plainly holds, where the request does not say it."""
        craft = next(c for c in self._mission(kept["mission"]).spacecraft if c.name == kept["spacecraft"])
        if wish.get("unit") or craft.frames is None or craft.coding is None or kept["container"] != "none":
            return kept
        coded = {**kept, "unit": "cadus"}
        return coded if await asyncio.to_thread(_holds_cadus, path, replays.link_of(coded), craft) else kept

    def _check_known(self, kept: dict[str, Any]) -> None:
        """A run plays the same for ever; its pace may change while it is not open. Raises Conflict."""
        run = kept["run"]
        if run not in self._replays:
            return
        known = self._replays[run]
        if other := replays.differing(known, kept, replays.REPLAYED):
            raise Conflict(f"run {run!r} plays {other}", "use a new run id")
        if known["instance"] in self.instances and (other := replays.differing(known, kept, replays.PACE)):
            raise Conflict(f"run {run!r} is open with {other}", "use a new run id, or the same pace")

    def _allowed_file(self, file: Path, trusted: bool) -> Path:
        """Return the file; a relative path is of the first replay folder that has it. Raises NotFound, Refused."""
        folders = [(self.configuration.directory / f).resolve() for f in self.configuration.gateway.replay_folders]
        named = [file] if trusted or file.is_absolute() else [folder / file for folder in folders]
        try:
            found = [path.resolve() for path in named]
        except (OSError, ValueError) as error:
            raise NotFound(f"{str(file)[:200]!r} is no file: {error}") from None
        allowed = [path for path in found if trusted or any(path.is_relative_to(folder) for folder in folders)]
        if not allowed:
            hint = "add its folder to replay_folders in gateway.yaml, or replay without --url"
            raise Refused(f"{str(file)[:200]!r} is in none of the replay folders", hint)
        for path in allowed:
            if _is_file(path):
                return path
        raise NotFound(f"{str(file)[:200]!r} is no file")

    def _settled(self, run: dict[str, Any]) -> dict[str, Any]:
        return replays.settled(self._mission(run["mission"]), run)

    async def _open_replay(self, kept: dict[str, Any]) -> None:
        """Open a run's instance. Raises NotFound, ConfigError, ValueError, Conflict; then nothing is kept of it."""
        mission, link = self._mission(kept["mission"]), replays.link_of(kept)
        await self._open(kept["instance"], mission, kept["support_mode"], [link], kept)

    def _mission(self, name: str) -> Mission:
        known = self.configuration.missions.get(name)
        if known is not None:
            return known
        if name in example_names():
            return example_mission(name)
        there = sorted({*self.configuration.missions, *example_names()})
        raise NotFound(f"no mission {name!r}", f"there are {', '.join(there)}")
