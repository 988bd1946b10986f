"""`gateway subscribe`: a home base in one process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import typer

from gateway.access.local import token_for
from gateway.blocking import run_blocking
from gateway.console.tables import many
from gateway.errors import UsageError
from gateway.homes.channel import Channel
from gateway.homes.client import Progress, Subscriber, WebSocketDial, Wish
from gateway.homes.digests import StoreDigester
from gateway.homes.store import HomeStore
from gateway.real import LocalStorage, ThreadWorker

REPORT_S = 5.0


@dataclass(frozen=True, slots=True)
class SubscribeOptions:
    """The command's options."""

    url: str
    instance: str
    home: str
    subscription: str
    store: Path | None
    selection: dict[str, Any]
    sequential: bool
    from_head: bool
    count: int | None
    until_end: bool
    from_position: int | None
    upto_position: int | None
    export: Path | None
    as_json: bool
    mode: str = "complete"
    max_delay_ms: int | None = None
    rate_limit_bps: int | None = None
    priority: str = "normal"

    def chosen(self) -> dict[str, Any]:
        """Return the selection without what was not chosen."""
        return {k: v for k, v in self.selection.items() if v}

    def timely_hello(self) -> dict[str, Any]:
        """Return what a timely session asks for."""
        hello: dict[str, Any] = {"home": self.home, "subscription": self.subscription, "selection": self.chosen()}
        hello |= {"rate_limit_bps": self.rate_limit_bps, "priority": self.priority}
        return hello if self.max_delay_ms is None else {**hello, "max_delay_ms": self.max_delay_ms}

    def wish(self) -> Wish:
        """Return what the session asks for."""
        mode = self.mode
        if self.from_position is not None or self.upto_position is not None:
            mode = "offline"
        return Wish(
            self.home, self.subscription, self.chosen(),
            mode, self.sequential, self.from_head,
            self.from_position, self.upto_position, self.rate_limit_bps, self.priority, whole=mode == "playback",
        )  # fmt: skip


def subscribe_home(options: SubscribeOptions) -> int:
    """Receive until told to stop, or until enough; print a summary. Returns 1 when what is stored is not what the
    gateway has, by a digest. Raises UsageError."""
    folder = _store_of(options)
    new = not folder.exists()
    storage = LocalStorage(folder, lock=True)
    worker = ThreadWorker("home-store")
    store = HomeStore(storage)
    if hint := other_selection_hint(str(folder), store, options.wish().selection):
        typer.echo(hint, err=True)
    try:
        progress = run_blocking(_receive(options, storage, store, worker))
    finally:
        store.close()
        worker.close()
        storage.close()
        if new and not store.meta:  # never welcomed: leave nothing behind
            (folder / "lock").unlink()
            folder.rmdir()
    print_summary(options, store, progress)
    return int(progress.digests_differing > 0)


def _store_of(options: SubscribeOptions) -> Path:
    if options.store is None:
        hint = "--store DIR; without one only --mode timely works, which keeps nothing"
        raise UsageError("a subscriber stores what it receives before it acknowledges: where?", hint)
    if options.mode == "playback" and (options.chosen() or options.wish().mode == "offline"):
        raise UsageError("a playback request says itself what comes", "leave out what selects, and positions")
    if options.max_delay_ms is not None:
        raise UsageError("--max-delay-ms is for --mode timely: the other modes skip nothing", "leave it out")
    return options.store


async def _receive(
    options: SubscribeOptions, storage: LocalStorage, store: HomeStore, worker: ThreadWorker
) -> Progress:
    wish = options.wish()
    wants_end = options.until_end or wish.mode in {"offline", "playback"}

    def enough(store: HomeStore, progress: Progress) -> bool:
        return (options.count is not None and store.packets >= options.count) or (wants_end and progress.final)

    def missing(first: int, end: int, reason: str) -> None:
        line = f"{options.home}/{options.subscription}: positions {first}..{end} will never come: {reason}"
        print(line, file=sys.stderr, flush=True)

    def confirmed(first: int, end: int, same: bool) -> None:
        if not same:
            text = f"positions {first}..{end}: what is stored is not what the gateway has, the digests differ"
            print(f"{options.home}/{options.subscription}: {text}", file=sys.stderr, flush=True)

    subscriber = Subscriber(
        way_in(options), store, worker, wish, enough=enough, on_missing=missing, on_confirmed=confirmed,
        digester=StoreDigester(storage, store, worker),
    )  # fmt: skip
    task = asyncio.create_task(subscriber.run(), name="subscriber")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    reporter = asyncio.create_task(_report(options, store, subscriber), name="report")
    try:
        await task
    except asyncio.CancelledError:
        pass
    finally:
        reporter.cancel()
    return subscriber.progress


def way_in(options: SubscribeOptions) -> Callable[[], Awaitable[Channel]]:
    """Return the way in that the address names. Raises UsageError."""
    if not options.url.startswith(("mqtt:", "mqtts:")):
        return WebSocketDial(options.url, options.instance, partial(token_for, options.url))
    from gateway.homes.mqtt_dial import MqttDial, broker_address

    address = broker_address(options.url, os.environ.get("GATEWAY_MQTT_PASSWORD"), token_for(options.url))
    return MqttDial(address, options.instance, options.home, options.subscription, token_for(options.url))


async def _report(options: SubscribeOptions, store: HomeStore, subscriber: Subscriber) -> None:
    """Say every few seconds how it goes, on standard error."""
    before, began = store.items, time.monotonic()
    print(f"{options.home}/{options.subscription}: connecting to {options.url}", file=sys.stderr, flush=True)
    while True:
        await asyncio.sleep(REPORT_S)
        if hint := _new_store_hint(subscriber.progress):
            print(hint, file=sys.stderr, flush=True)
        rate, before = (store.items - before) / REPORT_S, store.items
        problem = f"; last problem: {subscriber.progress.last_error}" if subscriber.progress.last_error else ""
        line = f"{time.monotonic() - began:5.0f} s  {store.items} items stored, {rate:.0f}/s{problem}"
        print(f"{options.home}/{options.subscription}: {line}", file=sys.stderr, flush=True)


def _new_store_hint(progress: Progress) -> str:
    """Say why a new store does not begin at the oldest item; once."""
    began, progress.began_at = progress.began_at, 0
    if not began:
        return ""
    return (
        f"this store is new, but the subscription has received everything below position {began} before: to get that "
        "again use another --subscription name, or --from-position and --upto-position"
    )


def other_selection_hint(name: str, store: HomeStore, now: dict[str, Any]) -> str:
    """Say when a store was filled with another selection than this run asks for."""
    before = store.meta.get("selection")
    if before is None or before == now:
        return ""
    return (
        f"{name} was filled with {_described(before)}, and from here on receives {_described(now)}: "
        "for one of them alone use another --store"
    )


def _described(selection: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in selection.items()) or "everything"


def _confirmed(progress: Progress) -> str:
    """Say with what of the gateway's own count what came, and what is stored, agreed."""
    marks, digests = many(progress.marks_confirmed, "mark"), many(progress.digests_confirmed, "digest")
    differing = f", {progress.digests_differing} differ" if progress.digests_differing else ""
    return f"{marks} confirmed, {digests} of ranges confirmed{differing}"


def print_summary(options: SubscribeOptions, store: HomeStore, progress: Progress) -> None:
    """Print what is stored now."""
    summary: dict[str, Any] = {
        "home": options.home, "subscription": options.subscription, "items": store.items, "packets": store.packets,
        "connects": progress.connects, "marks_confirmed": progress.marks_confirmed, "duplicates": progress.duplicates,
        "digests_confirmed": progress.digests_confirmed, "digests_differing": progress.digests_differing,
        "finished": progress.final, "missing": store.missing, "store": str(options.store),
    }  # fmt: skip
    if options.export is not None:
        count, digest = store.export_packets(options.export)
        summary |= {"exported": str(options.export), "exported_packets": count, "sha256": digest}
    if options.as_json:
        print(json.dumps(summary), flush=True)
        return
    if hint := _new_store_hint(progress):
        typer.echo(hint, err=True)
    typer.echo(f"{store.items} items stored in {options.store}, {store.packets} of them packets; "
               f"in this run {_confirmed(progress)}")  # fmt: skip
    if store.missing:
        told = ", ".join(f"{first}..{end}" for first, end in store.missing)
        typer.echo(f"gone for ever, as the gateway told: positions {told}")
    if options.export is not None:
        typer.echo(f"{summary['exported_packets']} packets in {options.export}, SHA-256 {summary['sha256']}")
