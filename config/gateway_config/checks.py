"""What no file shows alone: names that must be known or used once, ports, paths; each a problem with its line."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel

from gateway_config.documents import Document, Problem
from gateway_config.models import ApiSettings, GatewaySettings, LinkConfig, Mission

M = TypeVar("M", bound=BaseModel)
ANY_ADDRESS = {"0.0.0.0", "::"}  # noqa: S104 names what others listen on, listens on nothing


@dataclass(slots=True)
class Group(Generic[M]):
    """The files of one folder: what could be read, by name, and the names of what could not."""

    read: dict[str, tuple[M, Document]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    nameless: bool = False  # a broken file does not even tell its name

    def models(self) -> dict[str, M]:
        """Return what could be read."""
        return {name: model for name, (model, _) in self.read.items()}

    def may_have(self, name: str) -> bool:
        """Whether a name could be that of a file which is broken."""
        return self.nameless or name in self.broken


def check_gateway(gateway: GatewaySettings, document: Document, directory: Path) -> Iterator[Problem]:
    """The control plane's address, and a data directory that can be one."""
    api = gateway.api
    try:
        loopback = api.host == "localhost" or ipaddress.ip_address(api.host).is_loopback
    except ValueError:
        yield document.wrong(("api", "host"), repr(api.host), "give an IP address, for example 127.0.0.1")
        return
    if not loopback and not api.expose:
        remedy = "not loopback: there is no authentication yet; set api.expose: true if the network is yours alone"
        yield document.wrong(("api", "host"), repr(api.host), remedy)
    if not _can_be_folder(directory / gateway.data_dir):
        yield document.wrong(("data_dir",), repr(gateway.data_dir), "a file is there: give a folder, it may be new")


def _can_be_folder(path: Path) -> bool:
    there = next((part for part in (path, *path.parents) if os.path.lexists(part)), path)
    return there.is_dir()


def check_missions(missions: Group[Mission]) -> Iterator[Problem]:
    """Spacecraft have names and ids of their own."""
    for mission, document in missions.read.values():
        names = [craft.name for craft in mission.spacecraft]
        users: dict[int, str] = {}
        for k, craft in enumerate(mission.spacecraft):
            ids = ("spacecraft", k, "scids")
            if craft.name in names[:k]:
                yield document.wrong(("spacecraft", k, "name"), craft.name, "stands twice")
            if craft.frames is not None and not craft.scids:
                yield document.wrong(ids, "[]", "frames need at least one spacecraft id")
            for scid in craft.scids:
                if users.setdefault(scid, craft.name) != craft.name:
                    remedy = f"spacecraft id {scid} is used by {users[scid]} already: frames could not be told apart"
                    yield document.wrong(ids, str(craft.scids), remedy)


def check_links(missions: Group[Mission], links: Group[LinkConfig]) -> Iterator[Problem]:
    """Links name what their mission has; one is prime."""
    primes: dict[tuple[str, str, str], str] = {}
    for link, document in links.read.values():
        if link.mission in missions.read:
            mission, _ = missions.read[link.mission]
            yield from _check_link(link, document, mission)
        elif not missions.may_have(link.mission):
            known = ", ".join(sorted({*missions.read, *missions.broken})) or "none"
            yield document.wrong(("mission",), repr(link.mission), f"no such mission; known: {known}")
        key = (link.mission, link.support_mode, link.spacecraft)
        if link.prime and primes.setdefault(key, link.name) != link.name:
            remedy = f"{primes[key]} is the prime link of {link.spacecraft} already: set prime: false"
            yield document.wrong(("prime",), "True", remedy)


def _check_link(link: LinkConfig, document: Document, mission: Mission) -> Iterator[Problem]:
    if link.support_mode not in mission.support_modes:
        known = ", ".join(mission.support_modes)
        yield document.wrong(("support_mode",), repr(link.support_mode), f"{mission.name} has {known}")
    craft = next((c for c in mission.spacecraft if c.name == link.spacecraft), None)
    if craft is None:
        known = ", ".join(c.name for c in mission.spacecraft)
        yield document.wrong(("spacecraft",), repr(link.spacecraft), f"{mission.name} has {known}")
    elif link.unit == "frames" and craft.frames is None:
        remedy = f"{craft.name} has no frames settings: add them, or use unit: packets"
        yield document.wrong(("unit",), repr(link.unit), remedy)


def check_ports(api: ApiSettings | None, links: Group[LinkConfig]) -> Iterator[Problem]:
    """Nobody listens where another does; `api` None = not known. Port 0 is any free one, so it meets nobody."""
    listeners = [(api.host, api.port, "the control plane listens there (api.port)")] if api else []
    for link, document in links.read.values():
        if link.type != "tcp_server" or not link.port:
            continue
        for host, port, who in listeners:
            if port == link.port and _meet(host, link.host):
                yield document.wrong(("port",), str(port), f"{who}: give each its own port")
                break
        listeners.append((link.host, link.port, f"{link.name} listens there already"))


def _meet(one: str, other: str) -> bool:
    one, other = ("127.0.0.1" if host.lower() == "localhost" else host for host in (one, other))
    return one == other or bool({one, other} & ANY_ADDRESS)


def warnings(
    gateway: GatewaySettings, document: Document, links: Mapping[str, tuple[LinkConfig, Document]], directory: Path
) -> Iterator[Problem]:
    """What is not there now and may come later."""
    for k, folder in enumerate(gateway.replay_folders):
        if not (directory / folder).is_dir():
            yield document.wrong(("replay_folders", k), repr(folder), "no such folder yet")
    for link, file in links.values():
        if link.type == "file" and not (directory / link.path).is_file():
            yield file.wrong(("path",), repr(link.path), "no such file yet; the link will wait for it")
