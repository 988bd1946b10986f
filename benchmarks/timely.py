"""Latency of timely delivery: frames over TCP to one timely subscriber, alone or beside a complete one."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from benchmarks.end_to_end import INSTANCE, Bench, arrived, receive, send_paced
from gateway.homes.client import WebSocketDial
from gateway_codecs.delivery_block import decode

SELECTION = {"kinds": ["tm"], "units": ["frame"]}
FLOOR_P99_S = 0.010


async def latency(
    folder: Path, frames: list[bytes], frames_per_s: int, beside: bool
) -> tuple[list[float], list[float], int]:
    """Send one frame at a time; return the seconds from the write to each receipt, sorted: timely, complete (none when
    the timely subscriber is alone, not `beside` it); and how many items the timely subscriber was told as skipped."""
    sent: dict[int, float] = {}
    timely, complete = list[float](), list[float]()

    def note(took: list[float]) -> Any:
        return lambda *block: arrived(*block, sent, took)

    async with Bench(folder) as bench:
        following = asyncio.create_task(receive(bench.api, len(frames), SELECTION, note(complete))) if beside else None
        welcomed = asyncio.Event()
        hearing = asyncio.create_task(_hear(bench.api, len(frames), note(timely), welcomed))
        await welcomed.wait()
        await asyncio.sleep(0.3)
        await send_paced(bench, frames, frames_per_s, sent)
        if following is not None:
            await asyncio.wait_for(following, 60)
        skipped = await asyncio.wait_for(hearing, 60)
    return sorted(timely), sorted(complete), skipped


async def _hear(api: str, wanted: int, on_items: Any, welcomed: asyncio.Event) -> int:
    """Listen until `wanted` items have come or were told as skipped; return how many were skipped."""
    channel = await WebSocketDial(api, INSTANCE)()
    hello = {"home": "laboratory-b", "subscription": "bench", "mode": "timely", "selection": SELECTION}
    await channel.send(json.dumps({"type": "subscribe", **hello}))
    count = skipped = 0
    while count + skipped < wanted:
        message = await channel.receive()
        arrived_s = time.perf_counter()
        if isinstance(message, str):
            told = json.loads(message)
            welcomed.set()
            skipped += told["items"] if told["type"] == "skipped" else 0
            continue
        block = decode(message)
        count += len(block.batch)
        on_items(block, arrived_s)
    await channel.close("")
    return skipped


def percentile(took: list[float], share: float) -> float:
    """Return a percentile of sorted values."""
    return took[min(len(took) - 1, int(len(took) * share))]
