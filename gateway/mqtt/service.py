"""Delivery over MQTT as one part of the gateway: wires broker, connection, shared topics, descriptors and the door."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import aiomqtt
import structlog

from gateway.homes.hello import CONTROL_MAX_OCTETS
from gateway.instance import MissionInstance
from gateway.mqtt import descriptors, topics
from gateway.mqtt.accounts import Accounts, without
from gateway.mqtt.broker import BrokerProblem, NatsServer, NatsSettings
from gateway.mqtt.clients import BrokerAddress, BrokerError
from gateway.mqtt.connection import BrokerConnection, ConnectionState, Hooks
from gateway.mqtt.descriptors import Descriptors
from gateway.mqtt.door import HomeDoor
from gateway.mqtt.floods import Floods
from gateway.mqtt.shared import SharedCounters, SharedTopics
from gateway.supervision import Supervisor
from gateway_config import MqttSettings
from gateway_routes.conditions import Condition
from gateway_routes.rights import Actor

log = structlog.get_logger()
HANGS_S = 25.0
WATCH_S = 1.0
LAST_WORDS_S = 1.0
SESSIONS_END_S = 1.0
PASSWORD_OCTETS = 4096
LOOK_AT = {
    "nats": "it is started again by itself; its log is mqtt/nats.log in the data directory",
    "external": "it is tried again by itself; look at the broker, its log and the network",
}
Part = Callable[[], Coroutine[Any, Any, None]]


class Mqtt:
    """See the module. Made when `mqtt.enabled`; its tasks end with `stop`."""

    def __init__(
        self,
        settings: MqttSettings,
        directory: Path,
        data_dir: Path,
        instances: Callable[[], Mapping[str, MissionInstance]],
        supervisor: Supervisor,
        identify: Callable[[str | None], Actor],
        accounts: Callable[[], Accounts | None] = lambda: None,
        count: Callable[[str], None] = lambda code: None,
    ) -> None:
        self._settings, self._directory, self._instances = settings, directory, instances
        self._supervisor, self._accounts = supervisor, accounts
        self._broker = self._own_broker(data_dir) if settings.broker == "nats" else None
        self._connection = BrokerConnection(
            Hooks(
                address=self._address,
                connected=self._connected,
                lost=self._lost,
                message=self._message,
                discarded=self._discarded,
                tell=self._tell,
                topics=(topics.REQUESTS, topics.status(settings.name)),
                will=aiomqtt.Will(
                    topics.status(settings.name), descriptors.status(settings.name, online=False), 0, retain=True
                ),
                message_max_octets=CONTROL_MAX_OCTETS,
            )
        )
        floods = Floods(lambda text: self._tell("warning", text), self._connection.waiting_octets)
        self._shared = SharedCounters()
        self._door = HomeDoor(
            instances,
            self._connection.publish,
            settings.lease_s,
            settings.max_message_octets,
            identify,
            count,
            floods,
        )
        self._descriptors = Descriptors(settings.name, instances, self._connection, settings.max_message_octets)
        self._tasks: list[asyncio.Task[None]] = []
        self._publishing: dict[str, SharedTopics] = {}  # by instance
        self._down_since_s: float | None = None
        self._following = asyncio.Lock()
        self._out: frozenset[str] = frozenset()  # home bases that publish too much

    def _own_broker(self, data_dir: Path) -> NatsServer:
        keys = self._settings
        about = NatsSettings(
            data_dir / "mqtt", keys.host, keys.port, keys.max_message_octets, keys.username, self._password,
            self._heard_accounts,
        )  # fmt: skip
        return NatsServer(about, self._tell)

    def _heard_accounts(self) -> Accounts | None:
        """Return who may come in at our own broker: not who publishes without end."""
        accounts = self._accounts()
        return accounts and without(accounts, self._out)

    # ---- life ----

    def start(self) -> None:
        """Start; nothing waits for a broker."""
        parts: dict[str, Part] = {
            "connection": self._connection.run, "rights": self._connection.ask_again,
            "descriptors": self._descriptors.run, "answers": self._door.run, "watch": self._watch,
        }  # fmt: skip
        if self._broker is not None:
            parts["broker"] = self._broker.run
        for name, part in parts.items():
            self._keep(f"mqtt {name}", part)

    def add(self, instance: MissionInstance) -> None:
        """Publish the telemetry of an instance, from now on until its stream ends."""
        keys = self._settings
        shared = SharedTopics(
            instance, self._connection, keys.max_message_octets, keys.idle, keys.bad_quality, self._shared, self._tell
        )
        self._publishing[instance.name] = shared
        self._keep(f"mqtt shared {instance.name}", shared.run)

    def renew(self, instance: MissionInstance) -> None:
        """An instance has other links or spacecraft: go on with what it has now."""
        self._publishing[instance.name].renew()

    def _keep(self, name: str, part: Part) -> None:
        self._tasks.append(self._supervisor.keep(name, part))

    async def drain(self) -> None:
        """End the sessions over MQTT, which the instances have told to end, and say goodbye."""
        await self._door.close(SESSIONS_END_S)
        self._end("mqtt descriptors")
        await self._connection.farewell(self._descriptors.last_words(), LAST_WORDS_S)

    async def stop(self) -> None:
        """End everything, the broker last; a broker that hangs does not hold us."""
        await self._door.close(0.0)
        own = [task for task in self._tasks if task.get_name() == "mqtt broker"]
        for tasks in ([task for task in self._tasks if task not in own], own):
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, name: str) -> None:
        for task in self._tasks:
            if task.get_name() == name:
                task.cancel()

    async def _watch(self) -> None:
        """A broker of our own that runs, and with which nobody can connect, hangs: it is ended and started again."""
        loop = asyncio.get_running_loop()
        while self._broker is not None:
            await asyncio.sleep(WATCH_S)
            await self.follow_rights()
            if self._connection.up.is_set() or not self._broker.ready.is_set():
                self._down_since_s = None
                continue
            self._down_since_s = self._down_since_s or loop.time()
            if loop.time() - self._down_since_s > HANGS_S:
                self._tell("error", f"the MQTT broker has not answered for {HANGS_S:g} s: it is started again")
                self._down_since_s = None
                self._broker.kill()

    async def follow_rights(self) -> None:
        """Let a broker of our own give the home bases what they are granted now; returns when it does."""
        async with self._following:
            try:
                self._out = self._door.floods.out(asyncio.get_running_loop().time())
                if self._broker is not None:
                    await self._broker.follow_rights()
            except (BrokerProblem, OSError) as error:
                self._tell("error", str(error))

    # ---- what the connection asks and tells ----

    async def _address(self) -> BrokerAddress:
        """Return where the broker is, once it runs. Raises BrokerError."""
        keys = self._settings
        if self._broker is not None:
            await self._broker.ready.wait()
            host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(keys.host, keys.host)  # noqa: S104 listens nowhere
            return BrokerAddress(host, self._broker.port, *self._broker.credentials)
        password = await asyncio.to_thread(self._password) if keys.username is not None else None
        if keys.username is not None and password is None:
            raise BrokerError("there is no password yet (mqtt.password_file, mqtt.password_env)")
        authorities = str(self._directory / keys.tls_ca) if keys.tls_ca is not None else None
        return BrokerAddress(keys.host, keys.port, keys.username, password, keys.tls, authorities)

    def _password(self) -> str | None:
        """Read the password where the configuration says; None = it is not there. In a thread."""
        keys = self._settings
        if keys.password_env is not None:
            return os.environ.get(keys.password_env)
        if keys.password_file is None:
            return None
        try:
            with (self._directory / keys.password_file).open("rb") as file:
                return file.readline(PASSWORD_OCTETS).decode().strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    async def _connected(self) -> None:
        self._descriptors.forget()

    def _lost(self, why: str) -> None:
        self._door.cut_all(why)

    def _message(self, topic: str, payload: bytes, retained: bool) -> str | None:
        """Take a message; returns the home base whose it is."""
        if topic == topics.status(self._settings.name):
            self._descriptors.told_otherwise(payload)
            return None
        return self._door.take(topic, payload, retained)

    def _discarded(self, topic: str) -> None:
        self._door.discarded(topic)

    def _tell(self, severity: str, message: str) -> None:
        """Journal an event in every instance: what happens to the broker concerns them all."""
        for instance in self._instances().values():
            if instance.replay is None:
                instance.emit({"type": "mqtt", "severity": severity, "message": message})

    # ---- what is seen ----

    def state(self) -> dict[str, Any]:
        """Return what the API shows."""
        connection, broker = self._connection, self._broker
        down = broker is not None and not broker.ready.is_set() and connection.state != ConnectionState.CONNECTED
        port = broker.port if broker is not None else self._settings.port
        return {
            "broker": self._settings.broker,
            "address": str(BrokerAddress(self._settings.host, port)),
            "state": ConnectionState.UNAVAILABLE.value if down else connection.state.value,
            "detail": broker.detail if down and broker is not None else connection.detail,
            "broker_pid": broker.pid if broker is not None else None,
            "refused_topics": list(connection.refused),
            "sessions": self._door.open_sessions,
            "counters": self._counters(),
        }

    def _counters(self) -> dict[str, int]:
        connection, shared, door = self._connection.counters, self._shared, self._door.counters
        return {
            "broker_starts": self._broker.starts if self._broker is not None else 0,
            "connects": connection.connects,
            "cuts": connection.cuts,
            "connect_failures": connection.failures,
            "messages": connection.messages,
            "octets": connection.octets,
            "shared_messages": shared.messages,
            "shared_items": shared.items,
            "skipped_items": shared.skipped,
            "oversize_items": shared.oversize,
            "received": connection.received,
            "discarded": connection.discarded,
            "requests": door.requests,
            "bad_requests": door.bad_requests,
            "sessions_begun": door.sessions,
            "unheard": door.unheard,
        }

    def conditions(self) -> list[Condition]:
        """Return what the operator should know; what happens to the broker has events of its own."""
        state, found = self.state(), list[Condition]()
        if state["state"] != ConnectionState.CONNECTED.value:
            text = f"no broker: {state['detail']}; who listens over MQTT gets nothing"
            found.append(Condition("error", "mqtt unavailable", "mqtt", text, LOOK_AT[state["broker"]], told=True))
        if state["refused_topics"]:
            text = f"the broker refuses the gateway's subscription to {', '.join(state['refused_topics'])}"
            remedy = f"give {self._settings.username or 'the gateway'} that right at the broker; it is asked again"
            found.append(Condition("error", "mqtt refused", "mqtt", text, remedy, told=True))
        if oversize := self._shared.oversize:
            text = f"{oversize} items were larger than mqtt.max_message_octets, and skipped on shared topics"
            remedy = "raise mqtt.max_message_octets, and the limit of an external broker; subscriptions got them"
            found.append(Condition("warning", "mqtt oversize", "mqtt", text, remedy, told=True))
        return found
