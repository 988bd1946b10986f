"""One reload in steps: what can fail comes first, and can be taken back; then all is switched at once.

1. `prepare`: instances that come are opened, links that come are made, and take their ports. Nothing runs yet.
2. `release`: links that go or change end; what they received is committed. Then links that come to ports which were
   theirs take them. What fails until here is taken back by `take_back`: what ran runs on from where it was.
3. `switch`: rights, links, instances, limits: in one turn of the event loop, nothing is waited for, nothing can fail.
4. `settle`: sessions whose rights changed have ended, values go on, what was removed is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from gateway.access.policy import rights_of
from gateway.errors import Conflict
from gateway.homes.lines import rates_of
from gateway.links.supervised import Supervised
from gateway.wiring import outlets_of
from gateway_config import Configuration, LinkConfig
from gateway_config.differences import Difference, Effect, instance_of, instances_of
from gateway_routes.link_state import LinkStatus

if TYPE_CHECKING:
    from gateway.homes.session import Session
    from gateway.instance import MissionInstance
    from gateway.service import Gateway

log = structlog.get_logger()
SESSIONS_END_S = 5.0
SESSIONS_LOOK_S = 0.01
REMOVED = "the mission instance was taken out of the configuration"
VALUES_CHANGED = "the mission database or the links changed: subscribe again"
ENDING = frozenset({Effect.REMOVED, Effect.RESTARTED})
COMING = frozenset({Effect.ADDED, Effect.RESTARTED})
Port = tuple[str, int]


@dataclass(slots=True)
class _Ending:
    """A link that ends, and how it was."""

    link: Supervised
    status: LinkStatus
    running: bool


@dataclass(slots=True)
class Plan:
    """See the module."""

    service: Gateway
    after: Configuration
    found: Difference
    opened: dict[str, MissionInstance] = field(default_factory=dict)
    made: dict[str, dict[str, Supervised]] = field(default_factory=dict)  # by instance and name
    removed: list[MissionInstance] = field(default_factory=list)
    ended: list[Session] = field(default_factory=list)
    _ending: dict[str, _Ending] = field(default_factory=dict)  # by the link's name
    _starting: list[Supervised] = field(default_factory=list)  # of instances that are there
    _prepared: list[Supervised] = field(default_factory=list)
    _later: list[tuple[LinkConfig, Supervised]] = field(default_factory=list)  # whose ports others of ours have still

    # ---- what can fail ----

    async def prepare(self) -> None:
        """Open instances and make links. Raises Conflict; what is done until then, `take_back` takes back."""
        self._find_ending()
        freed = self._freed_ports()
        for change in self.found.instances:
            if change.effect is Effect.ADDED:
                await self._open(change.name)
        for of_link in self.found.links:
            config = self.after.links.get(of_link.name)
            if of_link.effect in COMING and config is not None and instance_of(config) not in self.opened:
                self._make(config)
        coming = [(config, link) for config, link in self._coming() if self._starts(config)]
        self._starting = [link for config, link in coming if instance_of(config) not in self.opened]
        for config, link in coming:
            if _port(config) in freed:
                self._later.append((config, link))
            else:
                await self._take_port(config, link)

    def _find_ending(self) -> None:
        before, instances = self.service.configuration.links, self.service.instances
        for change in self.found.links:
            if change.effect in ENDING:
                link = instances[instance_of(before[change.name])].links[change.name]
                self._ending[change.name] = _Ending(link, link.status, link.running)

    def _freed_ports(self) -> set[Port]:
        before = self.service.configuration.links
        ports = (_port(before[name]) for name, ending in self._ending.items() if ending.running)
        return {port for port in ports if port is not None}

    async def _open(self, name: str) -> None:
        mission, mode = instances_of(self.after)[name]
        instance = self.service.make(name, mission, mode, _links_of(self.after, name))
        try:
            await instance.open()
        except (OSError, ValueError) as error:
            raise Conflict(f"{name} cannot be opened: {error}", "mend it, and reload again") from error
        self.opened[name] = instance

    def _make(self, config: LinkConfig) -> None:
        name = instance_of(config)
        try:
            link = self.service.instances[name].make_link(config, self.after.missions[config.mission])
        except (OSError, ValueError) as error:
            raise Conflict(f"link {config.name} cannot be made: {error}", "mend it, and reload again") from error
        self.made.setdefault(name, {})[config.name] = link

    def _coming(self) -> list[tuple[LinkConfig, Supervised]]:
        links = [row for made in self.made.values() for row in made.items()]
        links += [row for instance in self.opened.values() for row in instance.links.items()]
        return [(self.after.links[name], link) for name, link in links]

    def _starts(self, config: LinkConfig) -> bool:
        """Whether a link that comes is started: as the file says, or, where it says nothing new, as it was before."""
        before, ending = self.service.configuration.links.get(config.name), self._ending.get(config.name)
        if before is None or ending is None or before.enabled != config.enabled:
            return config.enabled
        return ending.status is not LinkStatus.DISABLED

    async def _take_port(self, config: LinkConfig, link: Supervised) -> None:
        self._prepared.append(link)
        try:
            await link.prepare()
        except OSError as error:
            text = f"link {config.name} cannot be opened: {error.strerror or error} ({config.host} port {config.port})"
            raise Conflict(text, "another program has the port: stop it, or give the link another one") from error

    async def release(self) -> None:
        """End the links that go or change, and take the ports that they had. Raises Conflict."""
        names = {change.name for change in self.found.instances if change.effect is Effect.REMOVED}
        self.removed = [self.service.instances[name] for name in sorted(names)]
        await asyncio.gather(*[ending.link.disable("ended by a reload") for ending in self._ending.values()])
        await asyncio.gather(*[ending.link.stop() for ending in self._ending.values()])
        for config, link in self._later:
            await self._take_port(config, link)

    async def take_back(self) -> None:
        """Leave everything as it was: what was prepared is closed, what was ended runs on. Never raises."""
        for link in self._prepared:
            await self._surely("a prepared link", link.stop())
        for ending in self._ending.values():
            if ending.running:
                ending.link.enable()
        for name, instance in self.opened.items():
            await self._surely(name, instance.close())

    # ---- what cannot ----

    def switch(self) -> None:
        """Put the new in the place of the old. On the event loop, without waiting."""
        service, after = self.service, self.after
        gone = {instance.name for instance in self.removed}
        service.configuration = after
        service.lines.change(rates_of(after.homes))
        service.policy.exchange(rights_of(after.homes))
        service.instances = {name: one for name, one in service.instances.items() if name not in gone}
        for name, instance in service.instances.items():
            instance.retain_as(after.gateway)
            if instance.replay is None:
                mission = after.missions[instance.mission.name]
                instance.change(mission, _links_of(after, name), self.made.get(name, {}))
                instance.outlets.exchange(outlets_of(after.homes, mission.name, instance.support_mode))
        for instance in self.opened.values():
            instance.retain_as(after.gateway)
            service.adopt(instance)
        for link in self._starting:
            link.enable()
        for instance in [*service.instances.values(), *self.removed]:
            sessions = instance.registry.all_sessions()
            instance.registry.recheck()
            self.ended += [session for session in sessions if session.ending]

    async def settle(self) -> int:
        """Wait for the ends; returns how many sessions have not ended in time (0). Never raises."""
        for change in self.found.instances:
            instance = self.service.instances.get(change.name)
            if instance is not None and (change.databases or change.prime):
                await self._surely(f"values of {change.name}", instance.renew_values(VALUES_CHANGED))
            if instance is not None and change.effect is Effect.CHANGED:
                self.service.renew_topics(instance)
        await self._surely("rights at the broker", self.service.follow_rights())
        left = await self._sessions_left()
        for instance in self.removed:
            await self._surely(instance.name, instance.drain(REMOVED))
            await self._surely(instance.name, instance.close())
        return left

    async def _sessions_left(self) -> int:
        """Wait for sessions and clients of outlets to end; return how many have not."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + SESSIONS_END_S
        while loop.time() < until_s:
            left = sum(one.state != "away" for one in self.ended)
            outlets = sum(instance.outlets.ending for instance in self.service.instances.values())
            if not left + outlets:
                return 0
            await asyncio.sleep(SESSIONS_LOOK_S)
        return left + outlets

    async def _surely(self, what: str, work: Coroutine[Any, Any, Any]) -> None:
        """Do what must not keep the rest from being done."""
        try:
            await work
        except Exception as error:
            log.exception("reload", part=what)
            self.service.supervisor.note(f"reload: {what}", error)


def _links_of(configuration: Configuration, instance: str) -> list[LinkConfig]:
    return [link for link in configuration.links.values() if instance_of(link) == instance]


def _port(link: LinkConfig) -> Port | None:
    """Return the port that a link listens on; None = none, or any free one."""
    return (link.type, link.port) if link.type in {"tcp_server", "udp"} and link.port else None
