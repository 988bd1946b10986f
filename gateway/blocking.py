"""Runs a coroutine as a whole process: uvloop, signals, and the settings that the gateway needs."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

from gateway import garbage

T = TypeVar("T")
SWITCH_INTERVAL_S = 0.0005  # CPython's default lets a busy loop starve the journal's writer thread (DESIGN 3)


def run_blocking(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop with the settings the gateway needs.

    SIGTERM cancels it, unless it handles that itself: it cleans up like after Ctrl-C. Raises SystemExit(143) then.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    garbage.look_as_usual()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(_terminable(main))
        except asyncio.CancelledError:
            raise SystemExit(128 + signal.SIGTERM) from None


async def _terminable(main: Coroutine[Any, Any, T]) -> T:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await main
