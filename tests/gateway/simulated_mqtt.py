"""A broker in memory that loses messages and breaks connections, as QoS 0 allows."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import aiomqtt

from gateway.homes.mqtt_dial import _HomeChannel
from gateway.homes.registry import SubscriptionRegistry
from gateway.homes.session import Channel, Session, SessionLimits
from gateway.mqtt.clients import BrokerError
from gateway.mqtt.door import HomeDoor
from gateway.mqtt.topics import HomeTopic
from gateway_routes.rights import LOCAL_OPERATOR, Actor


class SimInstance:
    """The part of a mission instance that serves sessions."""

    def __init__(self, registry: SubscriptionRegistry) -> None:
        self.registry = registry

    async def serve(self, channel: Channel, limits: SessionLimits | None = None, actor: Actor = LOCAL_OPERATOR) -> str:
        session = Session(channel, self.registry, limits or SessionLimits(), actor)
        await asyncio.create_task(session.run(), name="session")
        return session.refused


class SimClient:
    """See gateway.mqtt.clients.Client: what a home base uses of it."""

    def __init__(self, broker: SimBroker, topic: str) -> None:
        self._broker, self.topic = broker, topic
        self.inbox: asyncio.Queue[aiomqtt.Message | None] = asyncio.Queue()
        broker.clients.append(self)

    async def next(self) -> aiomqtt.Message:
        message = await self.inbox.get()
        if message is None:
            self.inbox.put_nowait(None)
            raise BrokerError("the connection to the broker broke")
        return message

    async def publish(self, topic: str, payload: str) -> None:
        if self not in self._broker.clients:
            raise aiomqtt.MqttError("not connected")
        self._broker.to_gateway(topic, payload.encode())

    async def __aexit__(self, *_: object) -> None:
        self.drop()

    def cut(self) -> None:
        self.drop()

    def close_socket(self) -> None:
        self.drop()

    def broken(self) -> str:
        return ""

    def drop(self) -> None:
        if self in self._broker.clients:
            self._broker.clients.remove(self)
        self.inbox.put_nowait(None)


@dataclass
class SimBroker:
    """`loss` is the chance that a message disappears; `heard` is everything that the gateway published."""

    rng: random.Random
    instances: dict[str, Any]
    loss: float = 0.0
    lease_s: float = 3.0
    max_octets: int = 900_000
    clients: list[SimClient] = field(default_factory=list)
    heard: list[tuple[str, bytes]] = field(default_factory=list)
    up: bool = True
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.door = HomeDoor(lambda: self.instances, self.publish, self.lease_s, self.max_octets)

    async def publish(self, topic: str, payload: bytes) -> None:
        async with self._writing:
            await self._published(topic, payload)

    async def _published(self, topic: str, payload: bytes) -> None:
        if not self.up:
            raise BrokerError("not connected to the broker")
        await asyncio.sleep(0.0005)
        assert len(payload) <= self.max_octets or payload[:1] == b"{"
        self.heard.append((topic, payload))
        for client in self.clients:
            if client.topic == topic and self.rng.random() >= self.loss:
                client.inbox.put_nowait(aiomqtt.Message(topic, payload, 0, False, 0, None))

    def to_gateway(self, topic: str, payload: bytes) -> None:
        if self.up and self.rng.random() >= self.loss:
            self.door.take(topic, payload, False)

    def cut(self) -> None:
        """The broker dies: everybody is disconnected."""
        self.up = False
        self.door.cut_all("the broker died")
        for client in list(self.clients):
            client.drop()

    async def dial(self, topic: HomeTopic) -> Channel:
        if not self.up:
            raise BrokerError("connection refused")
        client: Any = SimClient(self, str(topic))
        return _HomeChannel(client, topic)
