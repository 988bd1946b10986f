"""Bad weather around a whole gateway on real threads and files: in status, events and metrics; none fatal.

The clock is set, the disk is slow or refuses, tasks die; each time the gateway goes on by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from gateway import daemon, machine
from gateway.api import connections
from gateway.api.app import build_app
from gateway.descriptors import Descriptors
from gateway.instance import MissionInstance
from gateway.patient_log import LINES_LOST, PatientLogger, set_up_logging
from gateway.real import LocalAppendFile, LocalStorage, SystemClock
from gateway.service import Gateway
from gateway.supervision import Supervisor
from gateway_codecs.batches import IntakeBatch
from gateway_config import load
from tests.gateway.test_journal import packets
from tests.home_files import everything, opened

MISSION = "name: m\nspacecraft: [{name: s, packets: {packet_versions: [0]}}]\n"
INSTANCE = "/api/v1/instances/m.simulation"
DAY_S = 86_400


class Wall:
    """A wall clock that the test sets, beside one that nobody can."""

    def __init__(self) -> None:
        self.offset_s = 0

    def read(self) -> tuple[int, int]:
        now_ns = time.monotonic_ns()
        return 2_000_000_000 * 10**9 + now_ns + self.offset_s * 10**9, now_ns


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
async def service(tmp_path: Path, wall: Wall) -> AsyncIterator[Gateway]:
    """A gateway without links."""
    for name, text in {"missions/m": MISSION, "homes/h": everything("h", "m")}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(text)
    running = Gateway(opened(load(tmp_path)), clock=SystemClock(wall.read))
    await running.start()
    yield running
    await running.drain()
    await running.stop()


class Eyes:
    """What an operator has: status, events, metrics."""

    def __init__(self, service: Gateway) -> None:
        transport = httpx.ASGITransport(build_app(service))
        self._client = httpx.AsyncClient(transport=transport, base_url="http://localhost")

    async def status(self) -> dict[str, Any]:
        return dict((await self._client.get("/api/v1/status")).json())

    async def condition(self, what: str) -> dict[str, Any] | None:
        rows = (await self.status())["conditions"]
        return next((row for row in rows if row["what"] == what), None)

    async def events(self, kind: str, what: str = "") -> list[dict[str, Any]]:
        rows = (await self._client.get(f"{INSTANCE}/events?limit=1000")).json()["events"]
        return [row for row in rows if row["type"] == kind and row.get("condition", "") == what]

    async def metric(self, begins: str) -> float:
        text = (await self._client.get("/metrics")).text
        found = [line for line in text.splitlines() if line.startswith(begins)]
        return float(found[0].rsplit(" ", 1)[1]) if found else 0.0

    async def post(self, path: str, body: Any = None) -> Any:
        answer = await self._client.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()


@pytest.fixture
def eyes(service: Gateway) -> Eyes:
    return Eyes(service)


async def until(true: Callable[[], Any], limit_s: float = 60.0) -> Any:
    """Wait until something holds."""
    async with asyncio.timeout(limit_s):
        while True:
            found = true()
            found = await found if asyncio.iscoroutine(found) else found
            if found:
                return found
            await asyncio.sleep(0.05)


async def test_a_clock_that_is_set_by_a_day(service: Gateway, wall: Wall, eyes: Eyes) -> None:
    """R11: told within seconds, with its size; no contact moves; when it is set back, or accepted, all is as ever."""
    instance = service.instance("m.simulation")
    now_ns = service._clock.tai_ns()
    contact = instance._book.plan("s", "kiruna", now_ns - 10**9, now_ns + 600 * 10**9)
    await until(lambda: contact.state == "active")
    later = instance._book.plan("s", "kiruna", now_ns + 3600 * 10**9, now_ns + 4200 * 10**9)
    for step_s in (DAY_S, -DAY_S):
        wall.offset_s = step_s
        row = await until(lambda: eyes.condition("clock step"))
        assert f"{step_s:+d} s ({step_s / DAY_S:+.2f} days)" in row["text"]
        assert "gateway clock accept" in row["remedy"]
        assert await eyes.metric("gateway_clock_offset_seconds") == step_s
        await asyncio.sleep(1.2)
        assert (contact.state, later.state) == ("active", "planned"), "a plan goes by time without the step"
        wall.offset_s = 0
        assert await until(lambda: eyes.condition("clock stepped"))
    assert await eyes.metric("gateway_clock_steps_total") == 4
    wall.offset_s = DAY_S
    await until(lambda: eyes.condition("clock step"))
    moved = await eyes.post("/api/v1/clock/accept")
    assert moved["moved_s"] == pytest.approx(DAY_S)
    await until(lambda: (contact.state, later.state) == ("missed", "missed"))
    assert await eyes.condition("clock step") is None
    told = await until(lambda: eyes.events("condition", "clock step"))
    assert told[0]["severity"] == "warning"
    assert "the wall clock has stepped" in told[0]["message"]
    assert await until(lambda: eyes.events("clock"))


async def test_a_disk_that_is_slow(service: Gateway, eyes: Eyes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen while a commit is under way and afterwards; nothing is lost, the control plane answers at once."""
    real, seen = LocalAppendFile.sync, threading.Event()

    def sync(self: LocalAppendFile) -> None:
        seen.wait(60)
        real(self)

    journal = service.instance("m.simulation").journal
    await journal.append(IntakeBatch(packets([b"before"])))
    monkeypatch.setattr(LocalAppendFile, "sync", sync)
    task = asyncio.create_task(journal.append(IntakeBatch(packets([b"slow"]))))
    row = await until(lambda: eyes.condition("slow commits"))
    assert "one is under way for" in row["text"]
    assert await eyes.status(), "while the disk is still busy"
    assert not task.done()
    seen.set()
    await task
    row = await eyes.condition("slow commits")
    assert row is not None
    assert "p99" in row["text"]
    assert await until(lambda: eyes.events("condition", "slow commits"))
    assert await eyes.metric('gateway_journal_commit_seconds{instance="m.simulation",quantile="1"}') > 2
    assert await eyes.metric('gateway_condition{condition="slow commits"') == 1


async def test_a_task_that_dies_is_seen_and_started_again(
    service: Gateway, eyes: Eyes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """House-keeping with a bug: which task, since when, as a condition, an event and a metric; it goes on by itself."""
    instance = service.instance("m.simulation")
    failures = 1

    async def contact_events() -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise ZeroDivisionError("a bug")
        await MissionInstance._contact_events(instance)

    monkeypatch.setattr(instance, "_contact_events", contact_events)
    row = await until(lambda: eyes.condition("internal failure"))
    assert row["subject"] == "task housekeeping m.simulation"
    assert "ZeroDivisionError: a bug" in row["text"]
    await until(lambda: not service.supervisor.failures["housekeeping m.simulation"].down)
    assert "it goes on" in (await until(lambda: eyes.condition("internal failure")))["text"]
    assert await eyes.metric('gateway_task_failures_total{task="housekeeping m.simulation"}') == 1
    assert await until(lambda: eyes.events("condition", "internal failure"))
    made = await eyes.post(f"{INSTANCE}/contacts", {"spacecraft": "s"})
    kept = await until(
        lambda: [r for r in service._small_store.get("contacts m.simulation") or [] if r["id"] == made["id"]]
    )
    assert kept[0]["state"] == "active"


async def test_a_thread_that_does_not_come_back_is_seen(
    service: Gateway, eyes: Eyes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that hangs: which thread, for how long, how much waits behind it; nothing else stops, and it ends."""
    monkeypatch.setitem(machine.BUSY_S, "small-store", 0.2)
    answers = threading.Event()
    try:
        work = [asyncio.ensure_future(service._keeper(answers.wait)) for _ in range(3)]
        row = await until(lambda: eyes.condition("worker busy"))
        assert (row["severity"], row["subject"]) == ("error", "worker small-store")
        assert ", 2 more wait" in row["text"]
        assert (await eyes.status())["machine"]["workers"]["small-store"] > 0.2
        assert await until(lambda: eyes.events("condition", "worker busy"))
    finally:
        answers.set()
    await asyncio.gather(*work)
    assert await until(lambda: gone(eyes, "worker busy"))


async def gone(eyes: Eyes, what: str) -> bool:
    return await eyes.condition(what) is None


async def test_an_http_server_that_ends_is_started_again(
    service: Gateway, eyes: Eyes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that ends by itself is back on the same port, for the clients of before too, and was seen to fail."""
    monkeypatch.setattr(daemon, "SERVER_AGAIN_S", 0.05)
    servers, make = list[daemon._Server](), daemon._made

    def made(*arguments: Any) -> daemon._Server:
        servers.append(make(*arguments))
        return servers[-1]

    monkeypatch.setattr(daemon, "_made", made)
    async with (
        daemon.serving(service, daemon.bind("127.0.0.1", 0)) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=False, trust_env=False, timeout=60) as client,
    ):
        assert (await client.get("/health/live")).status_code == 200
        servers[0].should_exit = True
        assert await until(lambda: len(servers) == 2 and servers[1].started)
        assert (await client.get("/health/live")).status_code == 200
        row = await until(lambda: eyes.condition("internal failure"))
        assert (row["subject"], "it goes on" in row["text"]) == ("task http server", True)
    assert len(servers) == 2, "a server that is told to end is not started again"


async def test_who_never_sends_the_rest_of_a_request_is_ended(
    service: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R13: half a body has its deadline, and a few more octets of it win no time; it is counted by its reason."""
    monkeypatch.setattr(connections, "BODY_S", 1.0)
    monkeypatch.setattr(connections, "LOOK_S", 0.1)
    began_s = time.monotonic()
    async with daemon.serving(service, daemon.bind("127.0.0.1", 0)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /api/v1/replays HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{")
        asked = asyncio.ensure_future(reader.read())
        while not asked.done() and time.monotonic() - began_s < 10:
            with contextlib.suppress(ConnectionError):
                writer.write(b" ")
                await writer.drain()
            await asyncio.sleep(0.05)
        with contextlib.suppress(ConnectionError):
            assert await asked == b"", "no answer to half a request"
        assert time.monotonic() - began_s >= 1.0
        assert dict(service.admission.closed) == {"half a request": 1}
        writer.close()


async def test_cursors_that_cannot_be_stored_are_seen(
    service: Gateway, eyes: Eyes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R2, R12: the small store refuses: a condition with the reason, gone when it takes them again."""
    registry = service.instance("m.simulation").registry
    real = service._small_store.put_cursors

    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    from gateway.homes.registry import Subscription
    from gateway_routes.delivery import Cursor

    monkeypatch.setattr(service._small_store, "put_cursors", refuse)
    subscription = Subscription("h", "all", 1, {}, Cursor(0))
    with pytest.raises(OSError, match="No space"):
        await registry.put(subscription)
    row = await until(lambda: eyes.condition("cursors not stored"))
    assert "No space left on device" in row["text"]
    assert await until(lambda: eyes.events("condition", "cursors not stored"))
    monkeypatch.setattr(service._small_store, "put_cursors", real)
    await registry.put(subscription)
    assert await eyes.condition("cursors not stored") is None


async def test_an_error_that_nobody_takes_is_seen() -> None:
    """A task without a supervisor that dies is told by its name, not lost until the garbage is collected."""
    supervisor, loop = Supervisor(), asyncio.get_running_loop()
    loop.set_exception_handler(supervisor.on_loop_error)

    async def die() -> None:
        raise LookupError("unseen")

    task = asyncio.create_task(die(), name="somebody")
    await asyncio.sleep(0.01)
    del task
    loop.call_exception_handler({"message": "a callback failed"})
    loop.call_exception_handler({"message": "no failure", "exception": asyncio.CancelledError()})
    assert {row.subject for row in supervisor.conditions()} == {"task somebody", "task event loop"}
    assert supervisor.failures["event loop"].times == 1


async def test_a_supervised_task_ends_when_it_is_done_or_cancelled() -> None:
    """No supervisor keeps alive what is to end."""
    supervisor = Supervisor()

    async def nothing() -> None:
        pass

    await supervisor.keep("short", nothing)
    task = supervisor.keep("long", asyncio.Event().wait)  # type: ignore[arg-type]
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert not supervisor.failures


def test_a_log_that_cannot_be_written_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error on a full disk: the line is counted, and nobody hears of it but the operator."""
    before = LINES_LOST[0]
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stderr", full)
        PatientLogger().error("a line")
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            full.close()
    assert LINES_LOST[0] == before + 1
    LINES_LOST[0] = before


def test_a_log_that_nobody_reads_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of standard error that hangs: lines are counted, not waited for, and go on when it does."""
    before, reading = LINES_LOST[0], os.pipe()
    with open(reading[0], "rb") as reader, open(reading[1], "w", encoding="utf-8") as writer:
        monkeypatch.setattr(sys, "stderr", writer)
        began = time.monotonic()
        for number in range(1000):
            PatientLogger().error(f"line {number} " + "x" * 5000)
        assert time.monotonic() - began < 60
        lost = LINES_LOST[0] - before
        assert lost > 900
        os.set_blocking(reader.fileno(), False)
        taken = reader.read() or b""
        assert taken.startswith(b"line 0 xxx")
        PatientLogger().error("again")
        taken += reader.read() or b""
        assert LINES_LOST[0] == before + lost
        assert taken.splitlines()[-1] == b"again", "on a line of its own"
        monkeypatch.undo()
    LINES_LOST[0] = before


def test_what_libraries_log_goes_the_same_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A library that logs an error is heard, with its traceback, in the log's own form; its chatter is not."""
    monkeypatch.setattr(logging.root, "handlers", [])
    set_up_logging(as_json=True)
    try:
        with contextlib.suppress(ZeroDivisionError):
            try:
                print(1 / 0)
            except ZeroDivisionError:
                logging.getLogger("some.library").exception("it %s", "failed")
                raise
        logging.getLogger("some.library").info("chatter")
    finally:
        structlog.reset_defaults()
    rows = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(row["event"], row["level"], row["of"]) for row in rows] == [("it failed", "error", "some.library")]
    assert "ZeroDivisionError" in rows[0]["exception"]


def test_files_open_when_no_descriptor_is_left(tmp_path: Path) -> None:
    """R13: with every descriptor taken, a segment can be begun, forced, listed and read, out of the reserve."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors = Descriptors(8)
    storage = LocalStorage(tmp_path, descriptors=descriptors)
    taken: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 10, hard))
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(OSError, match="Too many open files"):
            open(tmp_path / "x", "wb").close()
        file = storage.open_append("m/journal/00000001.seg")
        file.append([b"octets"])
        file.sync()
        file.close()
        storage.write_whole("m/about.json", b"{}")
        assert storage.names("m/journal") == ["00000001.seg"]
        assert storage.read("m/journal/00000001.seg", 0, 10) == b"octets"
        assert descriptors.usage()[0] > 0
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    storage.open_append("m/journal/00000002.seg").close()
    assert descriptors.kept == 8, "the reserve is filled again"
    descriptors.close()
