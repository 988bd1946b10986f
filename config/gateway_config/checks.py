"""What no file shows alone: names that must be known or used once, ports, paths; each a problem with its line.

Files with problems are judged as well, as far as they could be read (`judged`): all errors are told at once.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from gateway_config.documents import Document, Problem
from gateway_config.gateway_models import GatewaySettings
from gateway_config.home_models import Grant, Home
from gateway_config.link_models import LinkConfig
from gateway_config.models import Mission, Model, Spacecraft, judged

M = TypeVar("M", bound=Model)
Listener = tuple[str, str, int, str]
"""Protocol, host, port, who listens there."""
DATAGRAM_OCTETS_MAX = 65_507
TOPIC_LEVELS = frozenset({"home", "streams", "links", "contacts"})
"""What stands where a spacecraft does in MQTT topics (docs/mqtt.md)."""
ANY_ADDRESS = {"0.0.0.0", "::"}  # noqa: S104 names what others listen on, listens on nothing


@dataclass(slots=True)
class Group(Generic[M]):
    """The files of one folder: what could be read of each. In files with problems some values are not there."""

    read: list[tuple[M, Document]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    nameless: bool = False  # a file with problems does not even tell its name
    _files: dict[str, str] = field(default_factory=dict)  # by name

    def add(self, model: M | None, document: Document) -> None:
        """Take a file; its name must be its own."""
        self.problems += document.problems
        name: str | None = getattr(model, "name", None)
        self.nameless |= name is None
        if name is not None and (other := self._files.setdefault(name, document.file)) != document.file:
            self.problems.append(document.wrong(("name",), name, f"already used in {other}"))
        elif model is not None:
            self.read.append((model, document))

    def documents(self) -> dict[str, Document]:
        """Return the files by what they are the names of."""
        return {name: document for model, document in self.read if (name := getattr(model, "name", None)) is not None}

    def by_name(self) -> dict[str, M]:
        """Return what tells its name."""
        return {name: model for model, _ in self.read if (name := getattr(model, "name", None)) is not None}


def check_gateway(gateway: GatewaySettings, document: Document, directory: Path) -> Iterator[Problem]:
    """The control plane's address and the broker's, and a data directory that can be one."""
    yield from judged(_check_host(gateway, document))
    yield from judged(_check_broker(gateway, document))
    yield from judged(_check_data_dir(gateway, document, directory))


def _check_host(gateway: GatewaySettings, document: Document) -> Iterator[Problem]:
    remedy = (
        "not loopback, and there is no TLS: set api.expose: true if the network is yours, or a TLS proxy stands before"
    )
    yield from _check_address(("api", "host"), gateway.api.host, gateway.api.expose, remedy, document)
    if gateway.api.access == "open" and gateway.api.expose:
        yield document.wrong(("api", "access"), "open", "open is for loopback alone: leave expose out, or use tokens")


def _check_broker(gateway: GatewaySettings, document: Document) -> Iterator[Problem]:
    mqtt = gateway.mqtt
    if mqtt.enabled and mqtt.broker == "nats":
        if mqtt.port and mqtt.port == gateway.api.port and meet(mqtt.host, gateway.api.host):
            remedy = "the control plane listens there (api.port): give each its own port"
            yield document.wrong(("mqtt", "port"), str(mqtt.port), remedy)
        remedy = "not loopback, and MQTT here is not encrypted: set mqtt.expose: true if the network is yours alone"
        yield from _check_address(("mqtt", "host"), mqtt.host, mqtt.expose, remedy, document)


def _check_address(key: tuple[str, str], host: str, expose: bool, remedy: str, document: Document) -> Iterator[Problem]:
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        yield document.wrong(key, repr(host), "give an IP address, for example 127.0.0.1")
        return
    if not loopback and not expose:
        yield document.wrong(key, repr(host), remedy)


def _check_data_dir(gateway: GatewaySettings, document: Document, directory: Path) -> Iterator[Problem]:
    if not _can_be_folder(directory / gateway.data_dir):
        yield document.wrong(("data_dir",), repr(gateway.data_dir), "a file is there: give a folder, it may be new")


def _can_be_folder(path: Path) -> bool:
    there = next((part for part in (path, *path.parents) if os.path.lexists(part)), path)
    return there.is_dir()


def check_missions(missions: Group[Mission]) -> Iterator[Problem]:
    """Spacecraft have names and ids of their own."""
    for mission, document in missions.read:
        yield from judged(_check_names(mission, document))
        yield from judged(_check_ids(mission, document))


def check_homes(missions: Group[Mission], homes: Group[Home], built_in: Iterable[str]) -> Iterator[Problem]:
    """What home bases are granted is there; of a mission that is `built_in` there may be replay runs."""
    for home, document in homes.read:
        yield from judged(_check_grants(home, missions, frozenset(built_in), document))


def _check_grants(
    home: Home, missions: Group[Mission], built_in: frozenset[str], document: Document
) -> Iterator[Problem]:
    known = missions.by_name()
    for k, grant in enumerate(home.grants):
        mission = known.get(grant.mission)
        if mission is None:
            if not missions.nameless and not (grant.replays and grant.mission in built_in):
                there = ", ".join(sorted(known)) or "none"
                yield document.wrong(("grants", k, "mission"), grant.mission, f"no such mission; there are {there}")
            continue
        yield from judged(_check_grant(grant, k, mission, document))


def _check_grant(grant: Grant, k: int, mission: Mission, document: Document) -> Iterator[Problem]:
    known = sorted(craft.name for craft in mission.spacecraft)
    for name in grant.spacecraft or ():
        if name not in known:
            remedy = f"{mission.name} has no such spacecraft; it has {', '.join(known)}"
            yield document.wrong(("grants", k, "spacecraft"), name, remedy)
    for mode in grant.support_modes:
        if mode not in mission.support_modes and not grant.replays:
            have = ", ".join(mission.support_modes)
            stated = "support_modes" in grant.model_fields_set
            remedy = f"{mission.name} is run in {have}" + ("" if stated else ": name one (default: flight)")
            yield document.wrong(("grants", k, "support_modes"), mode, remedy)


def _check_names(mission: Mission, document: Document) -> Iterator[Problem]:
    names = [craft.name for craft in mission.spacecraft]
    for k, name in enumerate(names):
        if name in names[:k]:
            yield document.wrong(("spacecraft", k, "name"), name, "stands twice")


def _check_ids(mission: Mission, document: Document) -> Iterator[Problem]:
    users: dict[int, str] = {}
    for k, craft in enumerate(mission.spacecraft):
        yield from judged(_check_ids_of(craft, k, users, document))


def _check_ids_of(craft: Spacecraft, k: int, users: dict[int, str], document: Document) -> Iterator[Problem]:
    ids = ("spacecraft", k, "scids")
    if craft.frames is not None and not craft.scids:
        yield document.wrong(ids, "[]", "frames need at least one spacecraft id")
    for scid in craft.scids:
        if users.setdefault(scid, craft.name) != craft.name:
            remedy = f"spacecraft id {scid} is used by {users[scid]} already: frames could not be told apart"
            yield document.wrong(ids, str(craft.scids), remedy)


def check_links(missions: Group[Mission], links: Group[LinkConfig]) -> Iterator[Problem]:
    """Links name what their mission has; one is prime."""
    known = missions.by_name()
    primes: dict[tuple[str, str, str], str] = {}
    for link, document in links.read:
        mission = known.get(getattr(link, "mission", ""))
        if mission is not None:
            yield from judged(_check_mode(link, document, mission))
            yield from judged(_check_spacecraft(link, document, mission))
        elif not missions.nameless:
            yield from judged(_unknown_mission(link, document, known))
        yield from judged(_check_prime(link, document, primes))


def _unknown_mission(link: LinkConfig, document: Document, known: Iterable[str]) -> Iterator[Problem]:
    remedy = f"no such mission; known: {', '.join(sorted(known)) or 'none'}"
    yield document.wrong(("mission",), repr(link.mission), remedy)


def _check_prime(link: LinkConfig, document: Document, primes: dict[tuple[str, str, str], str]) -> Iterator[Problem]:
    key = (link.mission, link.support_mode, link.spacecraft)
    if link.prime and primes.setdefault(key, link.name) != link.name:
        remedy = f"{primes[key]} is the prime link of {link.spacecraft} already: set prime: false"
        yield document.wrong(("prime",), "True", remedy)


def _check_mode(link: LinkConfig, document: Document, mission: Mission) -> Iterator[Problem]:
    if link.support_mode not in mission.support_modes:
        known = ", ".join(mission.support_modes)
        yield document.wrong(("support_mode",), repr(link.support_mode), f"{mission.name} has {known}")


def _check_spacecraft(link: LinkConfig, document: Document, mission: Mission) -> Iterator[Problem]:
    crafts = {craft.name: craft for craft in mission.spacecraft}
    if link.spacecraft not in crafts:
        yield document.wrong(("spacecraft",), repr(link.spacecraft), f"{mission.name} has {', '.join(crafts)}")
    elif link.container == "kiss" or link.type == "gateway":
        return
    elif link.unit == "frames" and crafts[link.spacecraft].frames is None:
        remedy = f"{link.spacecraft} has no frames settings: add them, or use unit: packets"
        yield document.wrong(("unit",), repr(link.unit), remedy)
    elif link.unit != "packets" and link.frames_per_s and _varies(crafts[link.spacecraft]):
        remedy = f"frames of {link.spacecraft} vary in length: give the pace in rate_bps"
        yield document.wrong(("frames_per_s",), f"{link.frames_per_s:g}", remedy)
    elif link.unit == "cadus" and crafts[link.spacecraft].coding is None:
        remedy = f"{link.spacecraft} has no coding settings: add them, or use unit: frames"
        yield document.wrong(("unit",), repr(link.unit), remedy)
    else:
        if link.unit == "cadus":
            yield from judged(_check_sync(link, crafts[link.spacecraft], document))
        if link.type == "udp" and link.unit != "packets":
            yield from judged(_check_datagrams(link, crafts[link.spacecraft], document))


def _varies(craft: Spacecraft) -> bool:
    return craft.frames is not None and craft.frames.variable_length


def _check_sync(link: LinkConfig, craft: Spacecraft, document: Document) -> Iterator[Problem]:
    """The marker is one that the settings can look for."""
    bits = craft.coding.marker_bits if craft.coding else 0
    if not bits:
        for key in sorted(link.sync.model_fields_set):
            remedy = f"coding of {craft.name} says marker: none, so nothing is searched for: leave it out"
            yield document.wrong(("sync", key), repr(getattr(link.sync, key)), remedy)
        return
    if link.sync.lock_errors > bits // 4:
        remedy = f"the marker of {craft.name} has {bits} bits: at most {bits // 4} may be wrong, or anything is one"
        yield document.wrong(("sync", "lock_errors"), str(link.sync.lock_errors), remedy)
    if bits % 8 and (link.sync.alignment == "octet" or link.type == "udp"):
        keys, value = (("type",), "'udp'") if link.type == "udp" else (("sync", "alignment"), "'octet'")
        remedy = f"the marker of {craft.name} has {bits} bits: its CADUs do not begin at octets"
        yield document.wrong(keys, value, remedy)


def _check_datagrams(link: LinkConfig, craft: Spacecraft, document: Document) -> Iterator[Problem]:
    octets, what = unit_octets(link, craft)
    if octets > DATAGRAM_OCTETS_MAX:
        remedy = f"a datagram holds at most {DATAGRAM_OCTETS_MAX} octets, and a {what} of {craft.name} has {octets}"
        yield document.wrong(("type",), "'udp'", remedy)


def unit_octets(link: LinkConfig, craft: Spacecraft) -> tuple[int, str]:
    """Return how long a unit of a link is, and its name."""
    frames, coding = craft.frames, craft.coding
    if frames is None:
        return 0, "frame"
    if link.unit == "cadus" and coding is not None:
        return coding.marker_bits // 8 + coding.block_octets(frames.frame_length_octets), "CADU"
    return frames.unit_octets, "stored frame"


def check_topics(gateway: GatewaySettings | None, missions: Group[Mission]) -> Iterator[Problem]:
    """Names that are levels of MQTT topics of ours are no spacecraft. That names are printable, their pattern says."""
    if gateway is None or not gateway.mqtt.enabled:
        return
    for mission, document in missions.read:
        yield from judged(_check_levels(mission, document))


def _check_levels(mission: Mission, document: Document) -> Iterator[Problem]:
    for k, craft in enumerate(mission.spacecraft):
        if craft.name in TOPIC_LEVELS:
            remedy = f"with mqtt.enabled, {', '.join(sorted(TOPIC_LEVELS))} are levels of topics: name it otherwise"
            yield document.wrong(("spacecraft", k, "name"), repr(craft.name), remedy)


def check_ports(gateway: GatewaySettings | None, links: Group[LinkConfig]) -> Iterator[Problem]:
    """Nobody listens where another does. Port 0 is any free one, so it meets nobody."""
    listeners = list(judged(_control_plane(gateway))) if gateway else []
    for link, document in links.read:
        yield from judged(_check_port(link, document, listeners))


def _control_plane(gateway: GatewaySettings) -> Iterator[Listener]:
    yield "tcp", gateway.api.host, gateway.api.port, "the control plane listens there (api.port)"
    if gateway.mqtt.enabled and gateway.mqtt.broker == "nats" and gateway.mqtt.port:
        yield "tcp", gateway.mqtt.host, gateway.mqtt.port, "the MQTT broker listens there (mqtt.port)"


def listeners_of(gateway: GatewaySettings | None, links: Group[LinkConfig]) -> list[Listener]:
    """Return who listens where, by the files that could be read."""
    found = list(judged(_control_plane(gateway))) if gateway else []
    for link, document in links.read:
        list(judged(_check_port(link, document, found)))
    return found


def _check_port(link: LinkConfig, document: Document, listeners: list[Listener]) -> Iterator[Problem]:
    if link.type not in {"tcp_server", "udp"} or not link.port:
        return
    protocol = link.type.removesuffix("_server")
    for other, host, port, who in listeners:
        if other == protocol and port == link.port and meet(host, link.host):
            yield document.wrong(("port",), str(port), f"{who}: give each its own port")
            break
    listeners.append((protocol, link.host, link.port, f"{link.name} listens there already"))


def meet(one: str, other: str) -> bool:
    """Whether who listens on one address is met by who listens on the other."""
    one, other = ("127.0.0.1" if host.lower() == "localhost" else host for host in (one, other))
    return one == other or bool({one, other} & ANY_ADDRESS)


def warnings(
    gateway: GatewaySettings, document: Document, links: Group[LinkConfig], directory: Path, missions: Group[Mission]
) -> Iterator[Problem]:
    """What is not there now and may come later."""
    for mission, of_mission in missions.read:
        yield from _missing_databases(mission, of_mission, directory)
    file = gateway.mqtt.password_file
    if gateway.mqtt.enabled and file is not None and not (directory / file).is_file():
        yield document.wrong(("mqtt", "password_file"), repr(file), "no such file yet; MQTT will wait for it")
    for k, folder in enumerate(gateway.replay_folders):
        if not (directory / folder).is_dir():
            yield document.wrong(("replay_folders", k), repr(folder), "no such folder yet")
    for link, about in links.read:
        if link.type == "file" and not (directory / link.path).is_file():
            yield about.wrong(("path",), repr(link.path), "no such file yet; the link will wait for it")
        token = link.upstream and link.upstream.token_file
        if token and not (directory / token).is_file():
            yield about.wrong(("upstream", "token_file"), repr(token), "no such file yet; the link will wait for it")


def _missing_databases(mission: Mission, document: Document, directory: Path) -> Iterator[Problem]:
    for k, craft in enumerate(mission.spacecraft):
        if craft.database is not None and not (directory / craft.database.file).exists():
            keys = ("spacecraft", k, "database", "file")
            yield document.wrong(keys, repr(craft.database.file), "no such file yet; there are no values without it")
