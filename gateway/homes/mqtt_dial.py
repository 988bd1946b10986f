"""A home base's way in over MQTT (docs/mqtt.md): the same sessions as over WebSocket, through a broker.

Nothing is trusted to arrive: control messages are numbered with the blocks between them, blocks carry positions, a sign
of life is asked for. What is found missing breaks the session off, and the next one asks for exactly that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from typing import Any
from urllib.parse import urlsplit

import aiomqtt

from gateway.errors import UsageError
from gateway.homes.channel import Channel
from gateway.mqtt.clients import (
    BrokerAddress,
    BrokerError,
    BrokerRefuses,
    Client,
    Inbox,
    close_client,
    open_client,
    subscribe,
)
from gateway.mqtt.topics import HomeTopic
from gateway_codecs.mqtt_fragment import MAGIC as PIECE
from gateway_codecs.mqtt_fragment import Assembler, FragmentError

INBOX_OCTETS = 16 << 20
WELCOME_S = 10.0
HELLO_AGAIN_S = 0.5
SIGNS_PER_LEASE = 3
DIGEST_AGAIN = 3
PORTS = {"mqtt": 1883, "mqtts": 8883}
ASK_WHETHER = ": is the token known there, not expired or revoked, and its home base valid?"
UNHEARD = ": a broker passes on what the token's own home base asks for alone. Is it that of {!r}, and is {} there?"
"""What may be wrong: a broker does not say why it refuses, or that it passes nothing on."""


def broker_address(url: str, password: str | None = None, token: str | None = None) -> BrokerAddress:
    """Return the broker of `mqtt://[USER@]HOST[:PORT]` or `mqtts://...`. Raises UsageError.

    Without a user in the address the two halves of the token are user name and password.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is no address: {error}") from None
    if parts.scheme not in PORTS or not host or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise UsageError(f"{url!r} is no broker", "give mqtt://[USER@]HOST[:PORT], or mqtts:// for TLS")
    if parts.password is not None:
        raise UsageError("a password does not belong into an address", "set GATEWAY_MQTT_PASSWORD")
    if parts.username is None and token is not None:
        user, _, secret = token.partition(".")
        return BrokerAddress(host, port or PORTS[parts.scheme], user, secret, parts.scheme == "mqtts")
    return BrokerAddress(host, port or PORTS[parts.scheme], parts.username, password, parts.scheme == "mqtts")


class MqttDial:
    """Opens channels for one subscription of one home base."""

    def __init__(
        self, address: BrokerAddress, instance: str, home: str, subscription: str, token: str | None = None
    ) -> None:
        self._address, self._topic, self._token = address, HomeTopic(instance, home, subscription), token

    async def __call__(self) -> Channel:
        """Connect to the broker and listen. Raises ConnectionError."""
        # what is discarded is found missing, like everything that gets lost
        inbox = Inbox(INBOX_OCTETS, on_discard=lambda topic: None)
        try:
            client = await open_client(self._address, f"home-{secrets.token_hex(8)}", inbox)
        except BrokerRefuses as error:
            raise BrokerRefuses(f"{error}{ASK_WHETHER if self._token is not None else ''}") from None
        try:
            if await subscribe(client, [str(self._topic)]):
                raise BrokerError(f"the broker refuses the subscription to {self._topic}")
        except BaseException:
            await close_client(client)
            raise
        return _HomeChannel(client, self._topic, self._token)


class _HomeChannel:
    """See gateway.homes.session.Channel. One session; ended by the first message that is missing."""

    def __init__(self, client: Client, topic: HomeTopic, token: str | None = None) -> None:
        self._client, self._topic, self._token = client, topic, token
        self._session = secrets.token_hex(8)
        self._assembler = Assembler()
        self._number = 0
        self._silence_s = WELCOME_S
        self._acknowledged: dict[int, dict[str, Any]] = {}
        self._digests: list[dict[str, Any]] = []  # the newest answer, as often as it is to be said again
        self._signs: asyncio.Task[None] | None = None

    async def send(self, message: str | bytes) -> None:
        """Publish a control message of this session."""
        told = json.loads(message)
        if told["type"] == "subscribe" and self._token is not None:
            told["token"] = self._token  # a broker passes no headers on
        if told["type"] == "ack":
            self._acknowledged[told["lane"]] = told
        if told["type"] == "digest":
            self._digests = [told] * DIGEST_AGAIN
        await self._publish(told)
        if told["type"] == "subscribe":
            self._signs = asyncio.create_task(self._give_signs(told), name=f"signs of life {self._topic}")

    async def _publish(self, told: dict[str, Any]) -> None:
        payload = json.dumps({**told, "session": self._session})
        try:
            await self._client.publish(self._topic.request, payload)
        except (aiomqtt.MqttError, OSError, ValueError, RuntimeError) as error:
            raise BrokerError(f"the broker does not take what is published: {error}") from None

    async def receive(self) -> str | bytes:
        """Return the next message of this session. Raises ConnectionError when one is missing, or none comes.

        What is of other sessions on the same topic is no sign that the gateway serves this one.
        """
        loop = asyncio.get_running_loop()
        heard_s = loop.time()
        while True:
            try:
                async with asyncio.timeout_at(heard_s + self._silence_s):
                    message = await self._client.next()
            except TimeoutError:
                why = "" if self._number else UNHEARD.format(self._topic.home, self._topic.instance)
                raise ConnectionError(f"the gateway has said nothing for {self._silence_s:g} s{why}") from None
            if not isinstance(message.payload, bytes) or message.retain:
                continue
            number = self._number
            whole = self._taken(message.payload)
            if whole is not None:
                return whole
            if self._number and (self._number != number or message.payload[:4] == PIECE):
                heard_s = loop.time()

    def _taken(self, payload: bytes) -> str | bytes | None:
        """Return what a payload makes whole for the subscriber; None for what is not his."""
        try:
            whole = self._assembler.add(payload)
        except FragmentError as error:
            if self._number:
                raise ConnectionError(f"a piece of a message got lost: {error}") from None
            whole = None if payload[:4] == PIECE else payload  # an older session was cut off in the midst of a message
        if whole is None:
            return None
        if whole[:1] == b"{":
            return self._control(whole)
        if not self._number:  # blocks before the welcome are of an older session
            return None
        self._number += 1
        return whole

    def _control(self, whole: bytes) -> str | None:
        """Return a control message for the subscriber; None for one that is not ours, or is done with."""
        try:
            told: dict[str, Any] = json.loads(whole)
        except ValueError:
            raise ConnectionError("a control message that cannot be read") from None
        if told.get("session") != self._session:
            return None
        if told.get("type") == "closed":
            raise ConnectionError(f"the gateway ended the session: {told.get('reason')}")
        if "number" in told:  # else it is an answer to a request that never became a session
            self._number += 1
            if told["number"] != self._number:
                raise ConnectionError(f"message {self._number} of this session was expected, here is {told['number']}")
        if told.get("type") == "welcome":
            self._silence_s = float(told["lease_s"])
        return None if told.get("type") == "alive" else json.dumps(told)

    async def _give_signs(self, hello: dict[str, Any]) -> None:
        """Say hello until the welcome comes; then that we are there, and again what we answered: it may be lost.

        When that cannot be said any more the connection is cut: nobody goes on who gives no sign of life.
        """
        try:
            while not self._number:
                await asyncio.sleep(HELLO_AGAIN_S)
                if not self._number:
                    await self._publish(hello)
            while True:
                await asyncio.sleep(self._silence_s / SIGNS_PER_LEASE)
                digests = [self._digests.pop()] if self._digests else []
                for told in [*self._acknowledged.values(), *digests, {"type": "alive"}]:
                    await self._publish(told)
        except ConnectionError:
            self._client.cut()

    async def close(self, reason: str) -> None:
        """Leave; never raises."""
        if self._signs is not None:
            self._signs.cancel()
            await asyncio.gather(self._signs, return_exceptions=True)
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._publish({"type": "leave"})
        await close_client(self._client)
