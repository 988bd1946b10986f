"""`gateway home playback` over the real world: beside an agent that runs, for its store is not touched."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from gateway.access.local import read_token, token_for
from gateway.agent.playback_run import FILES, STORE, PlaybackAround, PlaybackRun
from gateway.blocking import run_blocking
from gateway.console.harmless import harmless
from gateway.errors import StartError, UsageError
from gateway.homes.playback_desk import ApiDesk, Desk, NoDesk, asked_for
from gateway.homes.playback_loop import REQUEST
from gateway.homes.ways_in import Dial, way_in
from gateway.patient_log import set_up_logging
from gateway.real import LocalStorage, SystemClock, ThreadWorker
from gateway_codecs.time_scales import format_utc, parse_utc
from gateway_config import load_agent

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class PlaybackOptions:
    """The command's options."""

    config: Path
    into: Path
    request: str | None
    times: tuple[str | None, str | None]
    by: str
    positions: tuple[int | None, int | None]
    selection: Mapping[str, Any]
    as_json: bool

    def asked(self, home: str) -> Mapping[str, Any] | str | None:
        """Return what is asked for; None: nothing, to go on. Raises UsageError."""
        ends = [end for end in (*self.times, *self.positions) if end is not None]
        chosen = {key: value for key, value in self.selection.items() if value}
        if self.request is not None and (ends or chosen):
            raise UsageError("a playback request says itself what comes", "leave out what selects, and the range")
        if self.request is not None or not ends:
            return self.request
        times = (_time(self.times[0]), _time(self.times[1]))
        return asked_for(home, {"kinds": ["tm"], "units": ["packet"], **chosen}, times, self.by, self.positions)


def fetch(options: PlaybackOptions) -> int:
    """Fetch to the end; returns 130 when it was stopped before. Raises ConfigError, GatewayError, OSError."""
    settings, beside = load_agent(options.config), options.config.parent
    set_up_logging(False)
    asked = options.asked(settings.home)
    token_file = beside / settings.token_file if settings.token_file else None

    def token() -> str | None:
        return token_for(settings.url, token_file)

    def password() -> str | None:
        return read_token(beside / settings.password_file) if settings.password_file else None

    def dial(request: str) -> Dial:
        return way_in(settings.url, settings.instance, settings.home, request, token, password)

    desk: Desk = ApiDesk(settings.url, settings.instance, token) if settings.url.startswith("http") else NoDesk()
    workers: list[ThreadWorker] = []

    def worker(name: str) -> ThreadWorker:
        workers.append(ThreadWorker(name))
        return workers[-1]

    token()
    if asked is None and not (options.into / STORE / REQUEST).exists():
        raise UsageError("a playback of what?", "--from and --to, two positions, or --request playback-7")
    try:
        storage = LocalStorage(options.into, lock=True)
    except StartError as error:
        raise StartError(f"{options.into} is in use by another process", f"one at a time ({error})") from None
    try:
        output = LocalStorage(options.into / FILES)
        run = PlaybackRun(settings.home, asked, PlaybackAround(storage, output, worker, dial, desk))
        return run_blocking(_run(run, options))
    finally:
        for one in workers:
            one.close()
        storage.close()


async def _run(run: PlaybackRun, options: PlaybackOptions) -> int:
    said = [""]

    def tell(told: dict[str, Any]) -> None:
        line = _in_words(told)
        if line != said[0]:
            said[0] = line
            print(line, file=sys.stderr, flush=True)

    task = asyncio.create_task(run.run(tell), name="playback")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        typer.echo(f"stopped; the same command without a range goes on: --into {options.into}", err=True)
        return 130
    told = run.last
    if options.as_json:
        print(json.dumps({**told, "into": str(options.into)}), flush=True)
        return 0
    typer.echo(f"{told['request']}: {told['packets']} packets, all of it, in {options.into / FILES}")
    for first, end in told["missing"]:
        typer.echo(f"gone for ever, as the gateway told: positions {first}..{end}")
    return 0


def _in_words(told: Mapping[str, Any]) -> str:
    problem = told["trouble"] or told["last_error"]
    state = "connected" if told["connected"] else "not connected"
    return harmless(
        f"{told['request']}: {told['packets']} packets stored, {told['written']} in files, {state}"
        + (f": {problem}" if problem else "")
    )


def _time(text: str | None) -> str | None:
    """Return a time in UTC: as it is, or before now by this machine's clock. Raises UsageError."""
    ago = re.fullmatch(r"-(\d{1,9}(?:\.\d{1,3})?)([smhd])", text or "")
    if text is None or (ago is None and text != "now"):
        try:
            return None if text is None else format_utc(parse_utc(text))
        except ValueError as error:
            raise UsageError(str(error), "or say it before now: -90s, -10m, -2h, -3d") from None
    back_s = float(ago[1]) * UNITS_S[ago[2]] if ago is not None else -1.0  # `now` has what came this second
    return format_utc(SystemClock().tai_ns() - int(back_s * 10**9))
