"""`gateway home`: runs the agent over the real world, and shows its status."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import typer
from rich.console import Console, Group
from rich.live import Live

from gateway.access.local import read_token, token_for
from gateway.agent.agent import STATUS, AgentAround, HomeAgent
from gateway.agent.status import STALE_S, picture
from gateway.agent.systemd import Notifier, this_command, unit
from gateway.blocking import run_blocking
from gateway.errors import Conflict, NotFound, StartError, UsageError
from gateway.homes.channel import Channel
from gateway.homes.ways_in import Dial, way_in
from gateway.patient_log import set_up_logging
from gateway.real import LocalStorage, SystemClock, TcpNetwork, ThreadWorker
from gateway_config import AgentSettings, agent_example, load_agent, schemas

USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
STATUS_MAX_OCTETS = 1 << 24
PIPE_WIDTH = 300


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The command's options."""

    config: Path
    as_json: bool
    every_s: float
    until_end: bool
    log_json: bool


def run_agent(options: RunOptions) -> int:
    """Run until a signal, or the end; returns 1 when it ended in trouble. Raises ConfigError, StartError, OSError."""
    settings = load_agent(options.config)
    set_up_logging(options.log_json)
    world = _World(settings, options.config.parent)
    try:
        return run_blocking(_run(world, settings, options))
    finally:
        world.close()


class _World:
    """The real world of an agent: its store is locked, its workers are threads."""

    def __init__(self, settings: AgentSettings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._token_file = _beside(folder, settings.token_file)
        self._password_file = _beside(folder, settings.password_file)
        self._token()
        self._password()
        self._dial("all")  # a bad address or token is told before anything is made
        store = folder / settings.store
        try:
            self.storage = LocalStorage(store, lock=True)
        except StartError as error:
            raise StartError(f"the store {store} is in use by another process", f"one agent has it ({error})") from None
        self.workers: list[ThreadWorker] = []

    def around(self) -> AgentAround:
        """Return what the agent stands on."""
        return AgentAround(
            self.storage, lambda folder: LocalStorage(self._folder / folder), self._worker, TcpNetwork(), SystemClock(),
            self._dial,
        )  # fmt: skip

    def _worker(self, name: str) -> ThreadWorker:
        self.workers.append(ThreadWorker(name))
        return self.workers[-1]

    def _dial(self, subscription: str) -> Dial:
        settings = self._settings
        dial = way_in(settings.url, settings.instance, settings.home, subscription, self._token, self._password)

        async def connect() -> Channel:
            try:
                return await dial()
            except UsageError as error:  # a file that was exchanged, and is not whole yet
                raise ConnectionError(str(error)) from None

        return connect

    def _token(self) -> str | None:
        return token_for(self._settings.url, self._token_file)

    def _password(self) -> str | None:
        return None if self._password_file is None else read_token(self._password_file)

    def close(self) -> None:
        """Wait for what is being written, and give the store back."""
        for worker in self.workers:
            worker.close()
        self.storage.close()


def _beside(folder: Path, name: str) -> Path | None:
    return folder / name if name else None


async def _run(world: _World, settings: AgentSettings, options: RunOptions) -> int:
    notifier = Notifier(os.environ)
    live = sys.stdout.isatty() and not options.as_json
    show = _live_display() if live else _lines(options)

    def on_status(status: dict[str, Any]) -> None:
        if _store_works(world, notifier.watchdog_s):
            notifier.tell(WATCHDOG=1, STATUS=f"{status['state']}: {_in_words(status)}")
        show(status)

    agent = HomeAgent(settings, world.around(), on_status)
    task = asyncio.create_task(agent.run(options.until_end), name="agent")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    telling = asyncio.create_task(_tell_ready(agent, notifier), name="agent ready")
    try:
        await task
    except asyncio.CancelledError:
        notifier.tell(STOPPING=1)
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        getattr(show, "close", lambda: None)()
    if not live:
        _print_status(options, agent.last)
    return int(agent.last["state"] == "trouble")


async def _tell_ready(agent: HomeAgent, notifier: Notifier) -> None:
    await agent.ready()
    notifier.tell(READY=1)


def _store_works(world: _World, watchdog_s: float | None) -> bool:
    """Return whether no write has hung for so long that the watchdog is to see it."""
    return watchdog_s is None or all(worker.busy_s() < watchdog_s for worker in world.workers)


def _in_words(status: dict[str, Any]) -> str:
    rows = status["subscriptions"].items()
    return ", ".join(f"{name} {row['state']}, {row['items']} items, lag {row['lag_positions']}" for name, row in rows)


def _lines(options: RunOptions) -> Callable[[dict[str, Any]], None]:
    """Return what prints the status now and then, at first at once."""
    due = [0.0]

    def show(status: dict[str, Any]) -> None:
        now = time.monotonic()
        if now >= due[0]:
            due[0] = now + options.every_s
            _print_status(options, status)

    return show


def _print_status(options: RunOptions, status: dict[str, Any]) -> None:
    text = json.dumps(status) if options.as_json else f"{status['home']}: {status['state']}: {_in_words(status)}"
    with contextlib.suppress(OSError):  # nobody reads it any more: the agent goes on
        print(text, flush=True)


class _LiveDisplay:
    """The status on a terminal, with the newest lines of the log below."""

    def __init__(self) -> None:
        self._log: deque[str] = deque(maxlen=8)
        structlog.configure(logger_factory=lambda *_: self)
        self._console = Console()
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._live.start()

    def msg(self, message: str) -> None:
        """Take a line of the log."""
        self._log.append(message)

    log = debug = info = warn = warning = error = critical = exception = fatal = failure = msg

    def __call__(self, status: dict[str, Any]) -> None:
        from rich.text import Text

        self._live.update(
            Group(picture(status, width=self._console.width), *(Text.from_ansi(line) for line in self._log)),
            refresh=True,
        )

    def close(self) -> None:
        """Leave the last picture on the terminal."""
        self._live.stop()


def _live_display() -> _LiveDisplay:
    return _LiveDisplay()


def check_agent(config: Path, schema: bool) -> None:
    """Check a file, or print its schema. Raises ConfigError, UsageError."""
    if schema:
        typer.echo(json.dumps(schemas()["home"], indent=2))
        return
    found = load_agent(config)
    for name in (found.token_file, found.password_file):
        if name:
            read_token(config.parent / name)
    if not found.token_file and token_for(found.url) is None:
        text = "no token_file, no GATEWAY_TOKEN_FILE: only a gateway with open access takes that"
        typer.secho(f"warning: {text}", fg="yellow", err=True)
    outlets = ", ".join(f"{name} ({outlet.type})" for name, outlet in found.outlets.items()) or "none"
    typer.echo(
        f"{config}: well. Home base {found.home} of {found.instance} at {found.url}; "
        f"store {config.parent / found.store}; subscriptions: {', '.join(found.subscriptions) or 'none'}; "
        f"outlets: {outlets}"
    )


def write_example(config: Path) -> None:
    """Write a commented configuration. Raises Conflict when something is there."""
    try:
        with config.open("x", encoding="utf-8") as file:
            file.write(agent_example())
    except FileExistsError:
        raise Conflict(f"{config} is there already", "give another name, or edit that one") from None
    typer.echo(f"{config} written: edit url, instance, home, then `gateway home check {config}`")


def show_status(config: Path, store: Path | None, as_json: bool, follow: bool) -> int:
    """Print what the agent wrote last; returns 1 when it does not run or is in trouble. Raises UsageError, NotFound."""
    folder = store if store is not None else config.parent / load_agent(config).store
    console = Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH)
    while True:
        status, age_s = _read_status(folder / STATUS)
        running = age_s < STALE_S and status["state"] != "stopped" and _is_there(status["process"])
        if as_json:
            print(json.dumps({**status, "running": running, "age_s": round(age_s, 1)}), flush=True)
        else:
            if follow:
                console.clear()
            console.print(picture(status, age_s, console.width))
            if not running:
                console.print("the agent does not run", style="red")
        if not follow:
            return int(not running or status["state"] == "trouble")
        time.sleep(1)


def _read_status(path: Path) -> tuple[dict[str, Any], float]:
    try:
        with path.open("rb") as file:
            age_s = max(0.0, time.time() - os.fstat(file.fileno()).st_mtime)
            return dict(json.loads(file.read(STATUS_MAX_OCTETS))), age_s
    except FileNotFoundError:
        hint = "`gateway home run` runs it; is it another one: --store DIR, or --config FILE"
        raise NotFound(f"no agent has run over the store {path.parent}", hint) from None
    except ValueError as error:
        raise UsageError(f"{path} cannot be read: {error}", "the agent writes it every second") from None


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def print_unit(config: Path, user: str) -> None:
    """Print a unit. Raises ConfigError, UsageError."""
    if not USER.fullmatch(user):
        raise UsageError(f"{user[:80]!r} is no name of a user", "small letters, digits, - and _")
    config = config.resolve()
    settings = load_agent(config)
    folders = [settings.store, *(outlet.folder for outlet in settings.outlets.values() if outlet.folder)]
    writable = [config.parent / folder for folder in folders]
    typer.echo(unit(config, user, writable, this_command()), nl=False)
