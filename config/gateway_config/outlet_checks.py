"""What no home file shows alone of its outlets: missions, spacecraft and ports that are there, or taken."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from gateway_config.checks import Group, Listener, listeners_of, meet
from gateway_config.documents import Document, Problem
from gateway_config.gateway_models import GatewaySettings
from gateway_config.home_models import Home
from gateway_config.link_models import LinkConfig
from gateway_config.models import Mission, judged
from gateway_config.outlet_models import Outlet


def check_outlets(
    gateway: GatewaySettings | None, missions: Group[Mission], links: Group[LinkConfig], homes: Group[Home]
) -> Iterator[Problem]:
    """Outlets name what is there, listen where nobody else does, and go beyond loopback only if they say so."""
    listeners = listeners_of(gateway, links)
    for home, document in homes.read:
        for k, outlet in enumerate(home.outlets):
            names = [other.name for other in home.outlets[:k]]
            yield from judged(_check_outlet(outlet, k, names, missions, document))
            yield from judged(_check_port(outlet, k, f"outlet {home.name}/{outlet.name}", listeners, document))


def _check_outlet(
    outlet: Outlet, k: int, names: list[str], missions: Group[Mission], document: Document
) -> Iterator[Problem]:
    if outlet.name in names:
        yield document.wrong(("outlets", k, "name"), outlet.name, "stands twice")
    known = missions.by_name()
    mission = known.get(outlet.mission)
    if mission is None:
        if not missions.nameless:
            there = ", ".join(sorted(known)) or "none"
            yield document.wrong(("outlets", k, "mission"), outlet.mission, f"no such mission; there are {there}")
        return
    if outlet.support_mode not in mission.support_modes:
        remedy = f"{mission.name} is run in {', '.join(mission.support_modes)}"
        yield document.wrong(("outlets", k, "support_mode"), outlet.support_mode, remedy)
    crafts = sorted(craft.name for craft in mission.spacecraft)
    for name in outlet.spacecraft or ():
        if name not in crafts:
            remedy = f"{mission.name} has no such spacecraft; it has {', '.join(crafts)}"
            yield document.wrong(("outlets", k, "spacecraft"), name, remedy)


def _check_port(outlet: Outlet, k: int, who: str, listeners: list[Listener], document: Document) -> Iterator[Problem]:
    try:
        loopback = ipaddress.ip_address(outlet.host).is_loopback
    except ValueError:
        yield document.wrong(("outlets", k, "host"), repr(outlet.host), "give an IP address, for example 127.0.0.1")
        return
    if not loopback and not outlet.expose:
        remedy = "not loopback, and plain packets go to whoever is there: set expose: true if that network is yours"
        yield document.wrong(("outlets", k, "host"), repr(outlet.host), remedy)
    if outlet.type != "tcp":
        return
    for protocol, host, port, other in listeners:
        if protocol == "tcp" and port == outlet.port and meet(host, outlet.host):
            yield document.wrong(("outlets", k, "port"), str(port), f"{other}: give each its own port")
            break
    listeners.append(("tcp", outlet.host, outlet.port, f"{who} listens there already"))
