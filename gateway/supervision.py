"""Tasks that must not end: started again when they fail, and what failed is seen (conditions, events, metrics)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog

from gateway_routes.conditions import Condition

log = structlog.get_logger()
AGAIN_MIN_S, AGAIN_MAX_S = 1.0, 30.0
SHOWN_S = 600.0
"""So long after its last failure a task that works again is still shown."""
NAMES_MAX = 64
REMEDY = (
    "the log has the traceback: report it; `gateway run` can be restarted at any time, nothing acknowledged is lost"
)


@dataclass(slots=True)
class Failure:
    """What failed, how often, first and last (monotonic s), and whether it is down now."""

    error: str
    first_s: float
    last_s: float
    times: int = 1
    down: bool = False


class Supervisor:
    """Keeps tasks alive and remembers what failed, by the task's name."""

    def __init__(self) -> None:
        self.failures: dict[str, Failure] = {}

    def keep(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Run `work` in a task until it returns or is cancelled; when it fails, again, after a second at first."""
        return asyncio.create_task(self._keep(name, work), name=name)

    async def _keep(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        wait_s = AGAIN_MIN_S
        while True:
            began_s = _now()
            try:
                await work()
                return
            except Exception as error:  # the edge: a bug of ours ends neither the task nor the gateway
                log.exception("task failed", task=name)
                self.note(name, error, down=True)
            wait_s = AGAIN_MIN_S if _now() - began_s > AGAIN_MAX_S else wait_s
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, AGAIN_MAX_S)
            self.failures[name].down = False

    def note(self, name: str, error: BaseException | None, text: str = "", down: bool = False) -> None:
        """Remember a failure."""
        told = f"{type(error).__name__}: {error}" if error is not None else text
        known = self.failures.get(name)
        if known is not None:
            known.error, known.last_s, known.times, known.down = told[:300], _now(), known.times + 1, down
        elif len(self.failures) < NAMES_MAX:
            self.failures[name] = Failure(told[:300], _now(), _now(), down=down)

    def on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that nobody took: a task of no supervisor, a callback."""
        task = context.get("task") or context.get("future")
        name = task.get_name() if isinstance(task, asyncio.Task) else "event loop"
        error = context.get("exception")
        if isinstance(error, asyncio.CancelledError):  # somebody was told to end, and a library says so aloud
            log.warning("cancelled", task=name, message=context.get("message"))
            return
        log.error("nobody took an error", task=name, message=context.get("message"), exc_info=error)
        self.note(name, error, str(context.get("message", "")))

    def conditions(self) -> list[Condition]:
        """Return what failed lately."""
        now_s = _now()
        return [_condition(name, row, now_s) for name, row in self.failures.items() if now_s - row.last_s < SHOWN_S]


def _condition(name: str, row: Failure, now_s: float) -> Condition:
    times = "once" if row.times == 1 else f"{row.times} times in {now_s - row.first_s:.0f} s"
    state = "it is down" if row.down else "it goes on"
    text = f"internal failure, {times}, last {now_s - row.last_s:.0f} s ago; {state}: {row.error}"
    return Condition("error" if row.down else "warning", "internal failure", f"task {name}", text, REMEDY)


def _now() -> float:
    return asyncio.get_running_loop().time()
