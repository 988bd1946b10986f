"""Reads the configuration directory again, and applies what changed: whole, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from gateway.errors import Conflict, GatewayError, UsageError
from gateway.reload.plan import Plan
from gateway_codecs.time_scales import format_utc
from gateway_config import ConfigError, Configuration, DatabaseSettings, load
from gateway_config.differences import (
    Change,
    Difference,
    Effect,
    HomeChange,
    as_rows,
    contents,
    difference,
    instance_of,
    revision,
)
from gateway_routes.conditions import Condition

if TYPE_CHECKING:
    from gateway.service import Gateway

log = structlog.get_logger()
TOLD_MAX, MESSAGE_MAX = 100, 600
NOTHING_CHANGED = "nothing is changed: mend it, `gateway check` and `gateway diff` tell all of it, and reload again"
RESTART = "nothing is changed: leave these as they were, or restart the gateway (it drains within 10 s)"


class Reloader:
    """One for a gateway. Reloads come one after the other; `ready` is set when the gateway has started."""

    def __init__(self, service: Gateway) -> None:
        self._service = service
        self._lock, self.ready = asyncio.Lock(), asyncio.Event()
        self._tasks: set[asyncio.Task[dict[str, Any]]] = set()
        self._switching: asyncio.Task[Any] | None = None  # this one is beyond return
        self._stopping = self._of_missions = False
        self._applied = self._refused = 0
        self._last_refusal = self._way_out = ""
        self.follow(service.configuration)
        self._since_utc = ""

    def follow(
        self, files: Configuration, adapt: Callable[[Configuration], Configuration] = lambda found: found
    ) -> None:
        """What is in use is what the files say, as `adapt` makes it: options of the command line go before them."""
        self._files, self._adapt, self._revision = files, adapt, revision(files)

    # ---- asking ----

    def ask(self, who: str) -> asyncio.Task[dict[str, Any]]:
        """Begin a reload, or queue it; what comes of it is logged and journalled."""
        task = asyncio.create_task(self._one_at_a_time(who), name="reload")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[dict[str, Any]]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, GatewayError):
            log.error("reload failed", exc_info=error)
            self._service.supervisor.note("reload", error)

    async def reload(self, who: str) -> dict[str, Any]:
        """Reload and return the report. Raises UsageError (every problem of the files), Conflict: nothing changed.

        Who asked may go away: the reload goes on.
        """
        return await asyncio.shield(self.ask(who))

    async def end(self) -> None:
        """The gateway stops: what is not beyond return is taken back, the rest is finished."""
        self._stopping = True
        for task in self._tasks:
            if task is not self._switching:
                task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # ---- doing ----

    async def _one_at_a_time(self, who: str) -> dict[str, Any]:
        await self.ready.wait()
        async with self._lock:
            if self._stopping:
                raise Conflict("the gateway is stopping", "the next start reads the files")
            if not self._of_missions:
                raise Conflict("this gateway plays a recording alone", "`gateway run` starts what is configured")
            try:
                return await self._reload(who)
            except GatewayError as error:
                self._tell_refused(who, error)
                raise
            finally:
                self._switching = None

    async def _reload(self, who: str) -> dict[str, Any]:
        service, began_s = self._service, asyncio.get_running_loop().time()
        before = self._files
        after = await self._read(before)
        found = difference(before, after)
        _refuse_restarts(found)
        left = ended = 0
        if found.changes or found.before != found.after:
            await self._check_databases(found, after)
            plan = Plan(service, self._adapt(after), found)
            try:
                await plan.prepare()
                await plan.release()
            except BaseException:  # a stop of the gateway too
                await plan.take_back()
                raise
            self._switching = asyncio.current_task()
            plan.switch()
            self._note_applied(found, after)
            self._tell_applied(who, found, before, after, [instance.name for instance in plan.removed], plan)
            left, ended = await plan.settle(), len(plan.ended)
        elif self._last_refusal:
            self._last_refusal = ""
            self._tell("info", f"reload by {who}: the files are again as they are in use, nothing is refused", who)
        took_s = asyncio.get_running_loop().time() - began_s
        log.info("reloaded", who=who, before=found.before, after=found.after, changes=len(found.changes))
        warnings = [str(warning) for warning in after.warnings]
        about = {"applied": bool(found.changes), "sessions_ended": ended, "sessions_left": left, "took_s": took_s}
        return {**as_rows(found), **about, "warnings": warnings}

    async def _read(self, before: Configuration) -> Configuration:
        try:
            return await asyncio.to_thread(load, before.directory)
        except ConfigError as error:
            raise UsageError(str(error), NOTHING_CHANGED) from None

    async def _check_databases(self, found: Difference, after: Configuration) -> None:
        """Read the mission databases that are other ones now. Raises UsageError: one cannot be used."""
        crafts = {(change.name.split(".")[0], name) for change in found.instances for name in change.databases}
        settings = [
            craft.database
            for mission in after.missions.values()
            for craft in mission.spacecraft
            if (mission.name, craft.name) in crafts and craft.database is not None
        ]
        for keys in settings:
            if problem := await self._service.study(lambda keys=keys: _unusable(after, keys)):  # type: ignore[misc]
                raise UsageError(problem, NOTHING_CHANGED)

    def _note_applied(self, found: Difference, files: Configuration) -> None:
        self._files = files
        self._applied, self._revision, self._last_refusal = self._applied + 1, found.after, ""
        self._since_utc = format_utc(self._service.now_tai_ns())

    # ---- telling ----

    def _tell_refused(self, who: str, error: GatewayError) -> None:
        self._refused += 1
        self._last_refusal, self._way_out = str(error)[:MESSAGE_MAX], error.hint
        log.warning("reload refused", who=who, why=str(error))
        self._tell("warning", f"reload by {who} refused, nothing is changed: {self._last_refusal}", who)

    def _tell(self, severity: str, message: str, who: str) -> None:
        for instance in self._service.instances.values():
            if instance.replay is None:
                instance.emit({"type": "reload", "severity": severity, "message": message, "who": who})

    def _tell_applied(
        self, who: str, found: Difference, before: Configuration, after: Configuration, gone: list[str], plan: Plan
    ) -> None:
        """Journal in each instance what of it concerns it."""
        instances = [*self._service.instances.values(), *plan.removed]
        for instance in instances:
            changes = [change for change in found.changes if _concerns(change, instance.name, before, after)]
            told = [text for change in changes if (text := _told_in(change, instance.mission.name))]
            if instance.replay is not None or not told:
                continue
            text = f"configuration {found.before} -> {found.after} by {who}: {'; '.join(told)}"
            message = text if len(text) <= MESSAGE_MAX else f"{text[: MESSAGE_MAX - 3]}..."
            about = {"who": who, "before": found.before, "after": found.after, "changes": told[:TOLD_MAX]}
            instance.emit({"type": "reload", "severity": "info", "message": message, **about})

    # ---- what is seen ----

    def state(self) -> dict[str, Any]:
        """Return what the API shows of the configuration in use."""
        return {
            "revision": self._revision,
            "since_utc": self._since_utc,
            "reloads": {"applied": self._applied, "refused": self._refused},
            "last_refusal": self._last_refusal,
        }

    def conditions(self) -> list[Condition]:
        """Return that the last reload was refused, until one is accepted."""
        if not self._last_refusal:
            return []
        first, *more = self._last_refusal.splitlines()
        text = f"the last reload was refused: {first}" + (f" (and {len(more)} lines more)" if more else "")
        return [Condition("warning", "reload refused", "configuration", text, self._way_out, told=True)]

    def started(self, missions: bool = True) -> None:
        """The gateway has started: reloads may come, if it has the `missions` of its configuration."""
        self._of_missions = missions
        self._since_utc = format_utc(self._service.now_tai_ns())
        self.ready.set()

    def contents(self) -> dict[str, Any]:
        """Return the configuration in use, as its files say it. It holds no secrets: it names where they are."""
        about = {"revision": self._revision, "directory": str(self._files.directory)}
        return {**about, **contents(self._files)}


def _refuse_restarts(found: Difference) -> None:
    if found.refused:
        raise Conflict("needs a restart: " + "; ".join(f"{one.name} ({one.why[0]})" for one in found.refused), RESTART)


def _unusable(after: Configuration, keys: DatabaseSettings) -> str:
    """Return why a mission database cannot be used; one that is not there yet is a warning of the files. Blocking."""
    from gateway.databases import load_database  # late: most configurations have no database
    from gateway_codecs.mdb.report import DatabaseError

    with contextlib.suppress(FileNotFoundError):
        try:
            load_database(after.directory / keys.file, None if keys.format == "auto" else keys.format, keys.apid)
        except (DatabaseError, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            return f"database.file {keys.file}: {error}"
    return ""


def _concerns(change: Change, instance: str, before: Configuration, after: Configuration) -> bool:
    """Whether a change is about an instance: its own, of its links, of home bases that are granted some of it."""
    if change.what == "gateway" or change.name == instance:
        return True
    sides = (before, after)
    if change.what == "link":
        return any(change.name in side.links and instance_of(side.links[change.name]) == instance for side in sides)
    homes = [side.homes[change.name] for side in sides if change.name in side.homes]
    return any(f"{grant.mission}.{mode}" == instance for grant in _grants(homes) for mode in grant.support_modes)


def _told_in(change: Change, mission: str) -> str:
    """Return a change in words for the events of a mission: what home bases get of others does not belong there."""
    if not isinstance(change, HomeChange):
        return str(change)
    own = [tuple(one for one in lines if one.startswith(f"{mission} (")) for lines in (change.gained, change.lost)]
    change = replace(change, gained=own[0], lost=own[1])
    return str(change) if change.told or change.effect is not Effect.CHANGED else ""


def _grants(homes: Iterable[Any]) -> list[Any]:
    return [grant for home in homes for grant in home.grants]
