"""`gateway subscribe --mode timely`: what comes now, as it comes; nothing is kept but what is exported."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from typing import IO, Any

import typer

from gateway.blocking import run_blocking
from gateway.console.subscribe import REPORT_S, SubscribeOptions, way_in
from gateway.errors import UsageError
from gateway.homes.timely_client import Heard, Listener
from gateway_codecs.batches import ItemBatch, Unit
from gateway_codecs.time_scales import format_utc

STREAMS_SHOWN = 5


def listen(options: SubscribeOptions) -> int:
    """Receive until told to stop, or until enough; print a summary."""
    _refuse_what_has_no_meaning(options)
    with ExitStack() as stack:
        export = None if options.export is None else stack.enter_context(options.export.open("wb"))
        heard = run_blocking(_listen(options, export))
    _print_summary(options, heard)
    return 0


def _refuse_what_has_no_meaning(options: SubscribeOptions) -> None:
    """Raise UsageError for an option of the modes that have positions."""
    given = {
        "--store": options.store, "--from-position": options.from_position, "--upto-position": options.upto_position,
        "--sequential": options.sequential or None, "--from-head": options.from_head or None,
    }  # fmt: skip
    for name, value in given.items():
        if value is not None:
            hint = "leave it out, or use --mode complete; --export FILE keeps the packets of a timely subscription"
            raise UsageError(
                f"{name} has no meaning in timely mode: it begins now, stores and acknowledges nothing", hint
            )


async def _listen(options: SubscribeOptions, export: IO[bytes] | None) -> Heard:
    def took(batch: ItemBatch) -> None:
        if export is not None:
            rows = (batch.items["unit"] == Unit.PACKET).nonzero()[0].tolist()
            export.write(b"".join(batch.octets_of(row) for row in rows))

    def enough(heard: Heard) -> bool:
        return options.count is not None and heard.packets >= options.count

    listener = Listener(
        way_in(options), options.timely_hello(), on_items=took,
        on_skipped=lambda told: _say(options, skipped_line(told)), enough=enough,
    )  # fmt: skip
    task = asyncio.create_task(listener.run(), name="listener")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    reporter = asyncio.create_task(_report(options, listener.heard), name="report")
    try:
        await task
    except asyncio.CancelledError:
        pass
    finally:
        reporter.cancel()
    return listener.heard


def _say(options: SubscribeOptions, line: str) -> None:
    print(f"{options.home}/{options.subscription}: {line}", file=sys.stderr, flush=True)


def skipped_line(told: dict[str, Any]) -> str:
    """Return what a `skipped` message says, for people."""
    rows = sorted(told["streams"], key=lambda row: -row["items"])
    parts = [f"{_stream(row)} {row['items']}" for row in rows[:STREAMS_SHOWN]]
    more = f", and {len(rows) - STREAMS_SHOWN} streams more" if len(rows) > STREAMS_SHOWN else ""
    when = " to ".join(format_utc(told[f"{end}_receive_time_ns"]) for end in ("first", "last"))
    return f"{told['items']} items skipped ({told['reason']}), received {when}: {', '.join(parts)}{more}"


def _stream(row: dict[str, Any]) -> str:
    parts = [row["spacecraft"], f"VC{row['vcid']}" if row["vcid"] >= 0 else None]
    parts.append(f"APID {row['apid']}" if row["apid"] >= 0 else None)
    return " ".join(part for part in parts if part) or "of no stream"


async def _report(options: SubscribeOptions, heard: Heard) -> None:
    """Say every few seconds how it goes, on standard error."""
    before, began = 0, time.monotonic()
    _say(options, f"connecting to {options.url}")
    while True:
        await asyncio.sleep(REPORT_S)
        rate, before = (heard.items - before) / REPORT_S, heard.items
        problem = f"; last problem: {heard.last_error}" if heard.last_error else ""
        line = f"{heard.items} items received, {rate:.0f}/s, {heard.skipped_items} skipped{problem}"
        _say(options, f"{time.monotonic() - began:5.0f} s  {line}")


def _print_summary(options: SubscribeOptions, heard: Heard) -> None:
    summary = {"home": options.home, "subscription": options.subscription, "mode": "timely", **asdict(heard)}
    if options.export is not None:
        summary["exported"] = str(options.export)
    if options.as_json:
        print(json.dumps(summary), flush=True)
        return
    typer.echo(
        f"{heard.items} items received, {heard.packets} of them packets; {heard.skipped_items} items were skipped"
    )
    if options.export is not None:
        typer.echo(f"packets in {options.export}, those that were not skipped, in order of their coming")
