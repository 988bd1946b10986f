"""The machine under the gateway: clock, descriptors, connections, disk, workers; measured, and told as conditions.

Everything here is the whole gateway's; what is one mission instance's own (its journal, its links) is told there.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import Any, Protocol

from gateway.descriptors import Descriptors
from gateway.patient_log import LINES_LOST
from gateway.real import ClockSteps, ThreadWorker
from gateway.supervision import Supervisor
from gateway_routes.admission import NEWCOMERS_EXTRA, OWN_EXTRA, Admission
from gateway_routes.conditions import Condition
from gateway_routes.disk_watch import DiskWatch

HEADROOM_MAX, HEADROOM_SHARE = 64, 8
"""Descriptors that connections leave to links, segments and readers: an eighth of all, at most so many."""
CONNECTIONS_MIN = 8
NEARLY = 0.8
STEP_SHOWN_S = 3600.0
REFUSALS_SHOWN_S = 60.0
BUSY_S = {"journal-writer": 5.0, "small-store": 5.0, "journal-reader": 30.0, "thinker": 120.0}


class WatchedClock(Protocol):
    """A clock that knows its steps."""

    def steps(self) -> ClockSteps:
        """Return what its steps were."""
        ...


class Machine:
    """`look` measures, about each second; `conditions` and `state` say what was found."""

    def __init__(
        self,
        clock: WatchedClock,
        descriptors: Descriptors,
        admission: Admission,
        disk: DiskWatch,
        workers: Iterable[ThreadWorker],
        supervisor: Supervisor,
    ) -> None:
        self._clock, self._descriptors, self.admission, self.disk = clock, descriptors, admission, disk
        self._workers, self._supervisor = tuple(workers), supervisor
        self._steps = clock.steps()
        self._open = self._limit = 0
        self._refusals: deque[tuple[float, int, dict[str, int]]] = deque()
        self.look(0.0)

    def look(self, now_s: float) -> None:
        """Measure everything that is measured at once; make room for connections, or take it."""
        self._steps = self._clock.steps()
        self._descriptors.leave_room()
        self._open, self._limit = self._descriptors.usage()
        headroom = min(HEADROOM_MAX, self._limit // HEADROOM_SHARE)
        others = max(0, self._open - self.admission.inside) + self._descriptors.kept + NEWCOMERS_EXTRA + OWN_EXTRA
        self.admission.in_all = max(CONNECTIONS_MIN, self._limit - others - headroom)
        self.admission.told_at_once = max(1, headroom // 2)
        total, most = self.admission.take_refused()
        if total:
            self._refusals.append((now_s, total, most))
        while self._refusals and now_s - self._refusals[0][0] > REFUSALS_SHOWN_S:
            self._refusals.popleft()

    # ---- what is seen ----

    def conditions(self) -> list[Condition]:
        """Return what is wrong."""
        found = [*self.disk.conditions(), *self._clock_conditions(), *self._descriptor_conditions()]
        return [*found, *self._refused(), *self._busy(), *_log_conditions(), *self._supervisor.conditions()]

    def _clock_conditions(self) -> list[Condition]:
        steps = self._steps
        if steps.offset_s:
            text = (
                f"the wall clock has stepped, by {_seconds(steps.offset_s)} in all (last by {_seconds(steps.last_s)}); "
                "times of receipt follow it, plans of contacts and retention go on without the step"
            )
            remedy = "if the clock is wrong, set it right; if it is right now: `gateway clock accept`"
            return [Condition("warning", "clock step", "clock", text, remedy)]
        if steps.age_s is not None and steps.age_s < STEP_SHOWN_S:
            text = f"the wall clock stepped {steps.steps} times, last by {_seconds(steps.last_s)}; it is accepted now"
            return [Condition("info", "clock stepped", "clock", text, "look for what sets the clock")]
        return []

    def _descriptor_conditions(self) -> list[Condition]:
        kept, short = self._descriptors.kept, self._descriptors.short
        if self._open + kept < NEARLY * self._limit and not short:
            return []
        text = f"file descriptors: {self._open} of {self._limit} in use, {kept} more are kept for the journal"
        severity = "error" if short else "warning"
        remedy = "raise the limit (LimitNOFILE= of the service, or ulimit -n), or find who holds so many connections"
        return [Condition(severity, "file descriptors", "descriptors", text, remedy)]

    def _refused(self) -> list[Condition]:
        if not self._refusals:
            return []
        by_peer = Counter[str]()
        for _, _, most in self._refusals:
            by_peer.update(most)
        total = sum(count for _, count, _ in self._refusals)
        worst = ", ".join(f"{peer} ({count})" for peer, count in by_peer.most_common(3))
        limits = f"{self.admission.per_peer} per peer, {self.admission.in_all} in all"
        text = f"{total} connections were refused in the last minute, most of them of {worst}; at most {limits}"
        remedy = "if these are wanted, raise api.connections_per_peer in gateway.yaml or the limit of open files"
        return [Condition("warning", "connections refused", "connections", text, remedy)]

    def _busy(self) -> list[Condition]:
        found = []
        for worker in self._workers:
            busy_s = worker.busy_s()
            if busy_s > BUSY_S.get(worker.name, 30.0):
                text = f"busy with one piece of work for {busy_s:.0f} s, {worker.waiting} more wait"
                remedy = "the disk does not answer: look at its errors (dmesg) and at what else uses it"
                found.append(Condition("error", "worker busy", f"worker {worker.name}", text, remedy))
        return found

    def state(self) -> dict[str, Any]:
        """Return what the API and the metrics show."""
        steps, disk, admission = self._steps, self.disk, self.admission
        return {
            "clock": {"steps": steps.steps, "offset_s": steps.offset_s, "last_step_s": steps.last_s},
            "descriptors": {"open": self._open, "limit": self._limit, "reserve": self._descriptors.kept},
            "connections": {
                "open": admission.inside,
                "admitted": admission.admitted,
                "refused": dict(admission.refused),
                "closed": dict(admission.closed),
                "limit": admission.in_all,
                "limit_per_peer": admission.per_peer,
            },
            "disk": {"free_octets": disk.free_octets, "reserve_octets": disk.reserve_octets},
            "workers": {worker.name: round(worker.busy_s(), 3) for worker in self._workers},
            "log_lines_lost": LINES_LOST[0],
            "task_failures": {name: row.times for name, row in self._supervisor.failures.items()},
        }


def _log_conditions() -> list[Condition]:
    if not LINES_LOST[0]:
        return []
    text = f"{LINES_LOST[0]} lines could not be written to standard error since the start"
    return [
        Condition("warning", "log lines lost", "log", text, "look at where the log of the service goes: is it full?")
    ]


def _seconds(value: float) -> str:
    return f"{value:+.3f} s" if abs(value) < 3600 else f"{value:+.0f} s ({value / 86400:+.2f} days)"
