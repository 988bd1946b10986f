"""Runs one gateway: opens the instances, serves the control plane, and stops in order with a deadline.

SIGHUP reads the configuration again (gateway/reload).

Order of stopping: links first (nothing new comes in), then the journal's pending commits, then the
sessions, then the HTTP server. A second interrupt stops at once; nothing acknowledged can be lost by that.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from typing import Any, TypeVar

import structlog
import uvicorn
from fastapi import FastAPI

from gateway.access import local
from gateway.api.app import build_app, prepare
from gateway.api.connections import Connections
from gateway.errors import StartError
from gateway.homes.hello import CONTROL_MAX_OCTETS
from gateway.service import Gateway

log = structlog.get_logger()
T = TypeVar("T")
STOP_DEADLINE_S = 10.0
SERVER_AGAIN_S = 1.0
UNSENT_OCTETS = 1 << 17
OPEN_FILES = 65_536


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the daemon decides the order of stopping."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(service: Gateway, sock: socket.socket) -> AsyncIterator[int]:
    """Serve the control plane of a started service on a bound socket; yields its port. Raises StartError.

    A server that fails is started again on the same port; who asks meanwhile finds nobody, or waits.
    """
    host, port = sock.getsockname()[:2]
    connections = Connections(
        service.admission, service.tolls, service.lines.turns, service.access.whoever, service.access.count
    )
    app = build_app(service)
    current = _made(app, connections, host, port)
    ending = False

    async def serve() -> None:
        nonlocal current, sock
        while not ending:
            await current.serve(sockets=[sock])
            if not ending:
                service.supervisor.note("http server", None, "it ended by itself; it is started again")
                await asyncio.sleep(SERVER_AGAIN_S)
                sock.close()
                sock, current = bind(host, port), _made(app, connections, host, port)

    _leave_token(service, port)  # before anybody can be answered: who comes at once must not show the one before
    task = service.supervisor.keep("http server", serve)
    others = [service.supervisor.keep("connections", connections.watch)]
    try:
        while not current.started and not task.done() and "http server" not in service.supervisor.failures:
            await asyncio.sleep(0.01)
        if not current.started:
            raise StartError(f"the control plane did not start on {host}:{port}")
        others.append(service.supervisor.keep("routes", partial(service.study, partial(prepare, app))))
        yield port
    finally:
        local.take_away(port)
        connections.leave_unasked()
        ending = current.should_exit = True
        await asyncio.wait([task], timeout=STOP_DEADLINE_S)
        tasks = [task, *others]
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        sock.close()


def _made(app: FastAPI, connections: Connections, host: str, port: int) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            lifespan="off",
            http=connections.http,  # type: ignore[arg-type]  # called as a class is
            ws=connections.websocket,  # type: ignore[arg-type]
            ws_per_message_deflate=False,
            ws_max_size=CONTROL_MAX_OCTETS,  # refused by its length, before anything of it is kept
            ws_ping_interval=20.0,
            ws_ping_timeout=60.0,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=3,
        )
    )


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound for the control plane; port 0 = any free one. Raises StartError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # so named, asyncio sets TCP_NODELAY
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        hint = "another program has it: stop that, or set api.port in gateway.yaml"
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror}", hint) from error
    sock.set_inheritable(False)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # what a peer does not read must not fill megabytes of the kernel
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_OCTETS)
    return sock


async def run(service: Gateway, host: str, port: int, on_ready: Callable[[int], None]) -> None:
    """Bind, start the service, serve until SIGINT or SIGTERM, stop in order. Raises StartError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _on_signal, stop)
    loop.set_exception_handler(service.supervisor.on_loop_error)
    _raise_open_files()
    try:
        sock = bind(host, port)  # first: a port that is taken must not cost a start of all links
        loop.add_signal_handler(signal.SIGHUP, service.reloader.ask, "SIGHUP")
        if not await _before(stop, service.start()):
            return
        async with serving(service, sock) as bound:
            _settle_memory()
            on_ready(bound)
            await stop.wait()
            log.info("stopping", deadline_s=STOP_DEADLINE_S)
            await service.drain()
    finally:
        await service.stop()


def _leave_token(service: Gateway, port: int) -> None:
    """Leave the operator's token for who may read our files; without it the gateway runs all the same."""
    token = service.access.local_token()
    for leave in (partial(local.leave, port, token), partial(local.write, service.data_dir / "operator.token", token)):
        try:
            leave()
        except OSError as error:
            log.warning("the operator's token is not left on this machine", why=str(error))


async def _before(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do `work`, unless we are told to stop first; returns whether it was done."""
    doing, told = asyncio.create_task(work, name="start"), asyncio.create_task(stop.wait(), name="told to stop")
    await asyncio.wait([doing, told], return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not doing.done():
        doing.cancel()
        await asyncio.wait([doing])
        return False
    await doing
    return True


def _settle_memory() -> None:
    """Take what the start made out of the collector's sight: a full collection of it stalls the loop for 90 ms."""
    gc.freeze()


def _raise_open_files() -> None:
    """Every connection and segment is a file: take as many as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _on_signal(stop: asyncio.Event) -> None:
    if stop.is_set():
        raise SystemExit(130)
    stop.set()
