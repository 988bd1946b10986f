"""What every link has: a state, the operator's hand, and one task that connects, and connects again."""

from __future__ import annotations

import asyncio
import contextlib
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from gateway.journal import Journal, Recording
from gateway.links.suspicion import bad_units
from gateway.timely import TimelyTap
from gateway.world import Clock, Worker
from gateway_routes.link_state import LinkInput, LinkMachine, LinkStatus

log = structlog.get_logger()


class Contacts(Protocol):
    """What a link asks of the contact book."""

    def in_contact(self, spacecraft: str) -> bool:
        """Whether a contact of the spacecraft is active."""
        ...

    def good_data(self, spacecraft: str, peer: str) -> None:
        """Good real-time data arrived."""
        ...


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """What the configuration says of a link's supervision."""

    name: str
    type: str
    spacecraft: str
    enabled: bool = True
    prime: bool = True
    real_time: bool = True
    watchdog_s: float = 10.0
    retry_min_s: float = 0.5
    retry_max_s: float = 30.0


@dataclass(slots=True)
class LinkContext:
    """What a link uses of its mission instance."""

    journal: Journal
    clock: Clock
    contacts: Contacts
    emit: Callable[[dict[str, Any]], None]
    recorder: Worker  # of blocking writes
    thinker: Worker  # of what takes long and may wait
    recording: Recording | None = None
    on_finished: Callable[[], None] = lambda: None
    chance: Callable[[], float] = random.random
    timely: TimelyTap = field(default_factory=TimelyTap)


class Supervised(ABC):
    """See the module. A link says how it connects and what it does then; all on the event loop."""

    def __init__(self, settings: LinkSettings, context: LinkContext) -> None:
        self.settings, self._context = settings, context
        self._machine = LinkMachine(
            watchdog_s=settings.watchdog_s, retry_min_s=settings.retry_min_s, retry_max_s=settings.retry_max_s
        )
        self._task: asyncio.Task[None] | None = None
        self._counters: dict[str, int] = {
            "octets": 0,
            "frames": 0,
            "packets": 0,
            "connects": 0,
            "cuts": 0,
            "failures": 0,
        }
        self._peer = ""
        self._hand = asyncio.Lock()  # the operator's actions come one after the other

    # ---- what a link does ----

    @abstractmethod
    async def _connection(self) -> None:
        """Connect, and take what comes until the end. Raises OSError when it is cut."""

    @abstractmethod
    def _start_over(self) -> None:
        """Go on from what is journalled, after an error of ours."""

    @abstractmethod
    async def _close(self) -> None:
        """Close the connection; never raises."""

    @abstractmethod
    async def _end_task(self) -> None:
        """End the task; what was received is committed."""

    @abstractmethod
    def statistics(self) -> dict[str, Any]:
        """Return what was counted by channel and APID, JSON-able."""

    async def prepare(self) -> None:  # noqa: B027 there may be nothing to prepare
        """Take what others may have, such as a port, before the start. Raises OSError: somebody has it."""

    async def stop(self) -> None:
        """End for a shutdown."""
        await self._end_task()

    def reset(self) -> None:
        """Set the counters to zero."""
        self._counters = dict.fromkeys(self._counters, 0)

    # ---- the operator's hand ----

    def start(self) -> None:
        """Start, if the configuration says so."""
        if self.settings.enabled:
            self.enable()

    def enable(self) -> None:
        """Enable: open the source and keep it open."""
        if self._task is None or self._task.done():
            self._step(LinkInput.ENABLE)
            self._task = asyncio.create_task(self._supervise(), name=f"link {self.settings.name}")

    async def act(self, action: str) -> None:
        """Enable, disable or reset; the action asked for last wins."""
        async with self._hand:
            if action == "enable":
                self.enable()
            elif action == "disable":
                await self.disable()
            else:
                self.reset()

    async def disable(self, detail: str = "disabled by the operator") -> None:
        """Disable: close the source; what was received is committed."""
        await self._end_task()
        self._step(LinkInput.DISABLE, detail)

    def rest_finished(self) -> None:
        """Show the end of a file that was played to its end before: nothing is opened, nothing is told."""
        self._machine.take(LinkInput.FINISHED, self._now(), "played to its end before")

    async def _cancel_task(self) -> bool:
        """Cancel the task, and wait for its end; returns whether there was one."""
        if self._task is None:
            return False
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        return True

    # ---- the task ----

    async def _supervise(self) -> None:
        """Open, read, wait, again; an unexpected error is counted and told, and the link starts over."""
        while True:
            try:
                await self._connection()
                if self._machine.status in {LinkStatus.FINISHED, LinkStatus.DISABLED}:
                    return
            except OSError as error:
                self._lost(error.strerror or str(error) or type(error).__name__)
            except Exception as error:
                self._counters["failures"] += 1
                log.exception("link failed", link=self.settings.name)
                self._lost(f"internal error: {type(error).__name__}: {error}")
                self._start_over()
            await self._close()
            await asyncio.sleep(self._retry_delay_s())

    def _retry_delay_s(self) -> float:
        """How long to wait before the next attempt."""
        return self._machine.retry_delay_s(self._context.chance())

    def _lost(self, why: str) -> None:
        if self._machine.status in {LinkStatus.CONNECTED, LinkStatus.RECEIVING}:
            self._counters["cuts"] += 1
        self._machine.detail = why
        self._step(LinkInput.LOST, why)

    # ---- what is seen ----

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _step(self, what: LinkInput, detail: str = "") -> None:
        change = self._machine.take(what, self._now(), detail)
        if change is None:
            return
        worse = change.after == LinkStatus.UNAVAILABLE and what == LinkInput.LOST
        text = f"{self.settings.name}: {change.before} -> {change.after} ({change.why})"
        states = {"before": change.before.value, "after": change.after.value}
        self._tell("link", "warning" if worse else "info", text, **states)

    def _tell(self, what: str, severity: str, message: str, **more: Any) -> None:
        link_id = self._context.journal.name_id("links", self.settings.name)
        event = {"type": what, "severity": severity, "message": message, "link": self.settings.name, "link_id": link_id}
        self._context.emit(event | more)

    @property
    def running(self) -> bool:
        """Whether it is enabled: it has what it needs, or looks for it."""
        return self._task is not None and not self._task.done()

    @property
    def recording(self) -> Recording | None:
        """Where its raw octets go."""
        return self._context.recording

    @property
    def status(self) -> LinkStatus:
        """The state an operator sees."""
        return self._machine.status

    def snapshot(self) -> dict[str, Any]:
        """Return the link's state, JSON-able."""
        in_contact = self._context.contacts.in_contact(self.settings.spacecraft)
        return {
            "name": self.settings.name,
            "type": self.settings.type,
            "spacecraft": self.settings.spacecraft,
            "prime": self.settings.prime,
            "state": self._machine.status.value,
            "detail": self._machine.detail,
            "contact": "contact" if in_contact else "no contact",
            "age_s": self._machine.age_s(self._now()),
            "peer": self._peer,
            "notice": "",
            "sync": None,
            "hint": "",
            "unrecorded_octets": 0,
            "unjournalled_items": 0,
            "counters": {**self._counters},
            "rejected": sum(n for name, n in self._counters.items() if name.startswith("rejected_")),
            "bad_frames": bad_units(self._counters, frames=True),
            "progress": None,
            "upstream": None,
        }
