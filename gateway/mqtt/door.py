"""The home bases' door at the broker: requests become sessions, rubbish is counted, nothing grows without bound."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from gateway.access.tokens import TokenRefused
from gateway.homes.channel import SessionLimits
from gateway.homes.hello import parse_control
from gateway.instance import MissionInstance
from gateway.mqtt import topics
from gateway.mqtt.channel import MqttChannel, told_to
from gateway.mqtt.floods import Answers, Floods
from gateway.mqtt.topics import HomeTopic
from gateway_routes.delivery import DeliveryError
from gateway_routes.rights import LOCAL_OPERATOR, Actor

log = structlog.get_logger()
SESSIONS_MAX = 256
SESSIONS_PER_HOME_MAX = 64
ANSWERS_PER_S = 20.0
SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
ROW_OCTETS = 72
FROM_SESSIONS = {"ack", "alive", "digest", "leave"}


@dataclass(slots=True)
class DoorCounters:
    """What was counted since the start."""

    requests: int = 0
    bad_requests: int = 0
    sessions: int = 0  # begun
    unheard: int = 0  # of home bases that publish too much


def session_limits(max_octets: int) -> SessionLimits:
    """Return limits with which nearly every block fits one message; what does not goes in pieces."""
    half = max_octets // 2
    plain = SessionLimits()
    return SessionLimits(
        block_items=max(1, min(plain.block_items, half // ROW_OCTETS)), block_octets=min(plain.block_octets, half)
    )


@dataclass(slots=True)
class HomeDoor:
    """See the module. `take` is called for each message; `run` is one task, which answers what has no session."""

    instances: Callable[[], Mapping[str, MissionInstance]]
    publish: Callable[[str, bytes], Awaitable[None]]
    lease_s: float
    max_octets: int
    identify: Callable[[str | None], Actor] = lambda token: LOCAL_OPERATOR  # raises TokenRefused
    count: Callable[[str], None] = lambda code: None  # what is refused, by code
    floods: Floods = field(default_factory=Floods)
    counters: DoorCounters = field(default_factory=DoorCounters)
    _channels: dict[HomeTopic, MqttChannel] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _answers: Answers = field(default_factory=Answers)
    _closed: bool = False

    @property
    def open_sessions(self) -> int:
        """How many sessions there are."""
        return len(self._tasks)

    def take(self, topic: str, payload: bytes, retained: bool) -> str | None:
        """Take one message of a home base, and return whose it is; never raises, never waits."""
        whose = topics.requested(topic)
        if whose is None or retained:  # a request that was kept is nobody's who waits for an answer
            self.counters.bad_requests += 1
            return None
        self.counters.requests += 1
        session: str | None = None
        now_s = asyncio.get_running_loop().time()
        try:
            if not self.floods.hears(whose.home, now_s):
                self.counters.unheard += 1
                raise DeliveryError("too fast", "this home base publishes more than can be read: wait half a minute")
            request = parse_control(payload)
            session = _session_of(request)
            self._dispatch(whose, session, request)
        except DeliveryError as error:
            self.counters.bad_requests += 1
            self.count(error.code)
            told = {"type": "error", "code": error.code, "message": str(error), "session": session}
            self._answer(whose, told)
        return whose.home

    def discarded(self, topic: str) -> None:
        """A message was thrown away before it came here, for too many wait: it is paid for too."""
        whose = topics.requested(topic)
        if whose is not None and not self.floods.hears(whose.home, asyncio.get_running_loop().time()):
            self.counters.unheard += 1

    def _dispatch(self, whose: HomeTopic, session: str, request: dict[str, Any]) -> None:
        now_s = asyncio.get_running_loop().time()
        channel, token = self._channels.get(whose), request.pop("token", None)
        if request["type"] in FROM_SESSIONS:
            if channel is None or channel.session != session:
                self._answer(whose, {"type": "closed", "reason": "no such session: subscribe", "session": session})
                return
            channel.push(request, now_s)
            return
        if channel is not None and channel.session == session:
            return  # said again by a home base that has not heard the welcome yet
        if not self.floods.may_subscribe(whose.home, now_s):
            raise DeliveryError("too fast", "this home base begins more sessions than it may: wait a little")
        try:
            self._begin(whose, session, _placed(whose, request), now_s, self._actor(token))
        except DeliveryError:
            self.floods.refused(whose.home, now_s)
            raise

    def _actor(self, token: Any) -> Actor:
        """Return who shows a token. Raises DeliveryError."""
        try:
            return self.identify(token if isinstance(token, str) else None)
        except TokenRefused as error:
            raise DeliveryError("bad token" if token is not None else "no token", str(error)) from None

    def _begin(self, whose: HomeTopic, session: str, hello: dict[str, Any], now_s: float, actor: Actor) -> None:
        """Begin a session; one on the same topic sends nothing more from now on."""
        if self._closed:
            self._answer(whose, {"type": "closed", "reason": "the gateway is stopping", "session": session})
            return
        instance = self.instances().get(whose.instance)
        if instance is None:
            known = ", ".join(sorted(self.instances())) or "none"
            raise DeliveryError("unknown instance", f"no mission instance {whose.instance[:80]!r}; there are {known}")
        before = self._channels.get(whose)
        if before is None and len(self._channels) >= SESSIONS_MAX:
            raise DeliveryError("too many", f"at most {SESSIONS_MAX} sessions over MQTT at a time")
        if before is None and sum(topic.home == whose.home for topic in self._channels) >= SESSIONS_PER_HOME_MAX:
            raise DeliveryError(
                "too many", f"a home base has at most {SESSIONS_PER_HOME_MAX} sessions over MQTT at a time"
            )
        if before is not None:
            before.cut("replaced by a newer session of the same subscription")
        channel = MqttChannel(whose, session, self.publish, self.lease_s, self.max_octets, now_s)
        channel.push(hello, now_s)
        self._channels[whose] = channel
        self.counters.sessions += 1
        task = asyncio.create_task(self._serve(instance, channel, actor), name=f"mqtt session {whose}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, instance: MissionInstance, channel: MqttChannel, actor: Actor) -> None:
        try:
            if await instance.serve(channel, session_limits(self.max_octets), actor):
                self.floods.refused(channel.topic.home, asyncio.get_running_loop().time())
        finally:
            channel.cut("the session has ended")
            if self._channels.get(channel.topic) is channel:
                del self._channels[channel.topic]

    # ---- answers without a session ----

    def _answer(self, whose: HomeTopic, message: dict[str, Any]) -> None:
        """Queue an answer; a flood of bad requests is not answered to the last."""
        self._answers.put(whose.home, *told_to(whose, message))

    async def run(self) -> None:
        """Send such answers, not too many a second; until cancelled."""
        while True:
            topic, payload = await self._answers.next()
            try:
                await self.publish(topic, payload)
            except ConnectionError:
                continue
            await asyncio.sleep(1 / ANSWERS_PER_S)

    # ---- ends ----

    def cut_all(self, why: str) -> None:
        """The connection to the broker is gone: so are the sessions over it."""
        for channel in self._channels.values():
            channel.cut(why)

    async def close(self, within_s: float) -> None:
        """Take no new session, and wait for the end of those that there are; what is left then is cut."""
        self._closed = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _session_of(request: dict[str, Any]) -> str:
    session = request.pop("session", None)
    if not isinstance(session, str) or not SESSION_ID.fullmatch(session):
        raise DeliveryError(
            "bad session", '"session" is 1 to 64 letters, digits, "-" or "_", chosen anew for each subscribe'
        )
    return session


def _placed(whose: HomeTopic, request: dict[str, Any]) -> dict[str, Any]:
    """Return the first message with the names of its topic; it may say them too, but no others."""
    for key, level in (("home", whose.home), ("subscription", whose.subscription)):
        if request.get(key, level) != level:
            raise DeliveryError("bad name", f"{key!r} is not that of the topic, {level!r}")
    return {**request, "home": whose.home, "subscription": whose.subscription}
