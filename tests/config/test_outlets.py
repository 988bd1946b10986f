"""What the outlets of a home base may not say: refused with file, key, value and the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway_config import load
from tests.config.test_config import LINK, MISSION, problems, write

OUTLET = "{name: o, type: tcp, mission: m, support_mode: simulation, port: 5600}"
SERVER = LINK.replace("tcp_client", "tcp_server").replace("port: 1", "port: 45131")


def home(*outlets: str, name: str = "h") -> str:
    return f"name: {name}\noutlets:\n" + "".join(f"  - {one}\n" for one in outlets)


def changed(old: str, new: str) -> str:
    return OUTLET.replace(old, new)


REFUSED = [
    (changed("mission: m", "mission: n"), "outlets.0.mission = n: no such mission; there are m"),
    (changed("support_mode: simulation, ", ""), "outlets.0.support_mode = flight: m is run in simulation"),
    (changed("}", ", spacecraft: [x]}"), "outlets.0.spacecraft = x: m has no such spacecraft; it has s"),
    (changed("}", ", host: 10.1.2.3}"), "outlets.0.host = '10.1.2.3': not loopback, and plain packets go to whoever"),
    (changed("}", ", host: 10.1.2.3}").replace("tcp", "udp"), "outlets.0.host = '10.1.2.3': not loopback"),
    (changed("}", ", host: tool.example}"), "outlets.0.host = 'tool.example': give an IP address, for example 127.0."),
    (changed("5600", "8440"), "outlets.0.port = 8440: the control plane listens there (api.port)"),
    (changed("5600", "45131"), "outlets.0.port = 45131: l listens there already: give each its own port"),
    (changed("5600", "0"), "outlets.0.port = 0: "),
    (changed("tcp", "serial"), "outlets.0.type = 'serial': expected 'tcp' or 'udp'"),
    (changed("}", ", max_clients: 65}"), "outlets.0.max_clients = 65: "),
    (changed("}", ", max_delay_ms: 0}"), "outlets.0.max_delay_ms = 0: "),
    (changed("}", ", apids: []}"), "outlets.0.apids = "),
    (changed("}", ", colour: red}"), "outlets.0.colour"),
]


@pytest.mark.parametrize(("outlet", "told"), REFUSED)
def test_what_is_refused(tmp_path: Path, outlet: str, told: str) -> None:
    """Configuration: each mistake is told with its place, its value and what would be right."""
    found = problems(write(tmp_path, missions__m=MISSION, links__l=SERVER, homes__h=home(outlet)))
    assert f"homes/h.yaml:3: {told}" in found, found


def test_two_that_are_in_each_others_way(tmp_path: Path) -> None:
    """Names and ports are used once, over all home bases; UDP listens nowhere, so it meets nobody."""
    other = changed("name: o", "name: p")
    files = {"homes__h": home(OUTLET, changed("5600", "5601")), "homes__i": home(other, name="i")}
    found = problems(write(tmp_path, missions__m=MISSION, **files))
    assert "outlets.1.name = o: stands twice" in found
    assert "homes/i.yaml:3: outlets.0.port = 5600: outlet h/o listens there already: give each its own port" in found
    write(tmp_path, homes__h=home(OUTLET, changed("name: o, type: tcp", "name: u, type: udp")), homes__i="name: i\n")
    assert [one.name for one in load(tmp_path).homes["h"].outlets] == ["o", "u"]


def test_beyond_loopback_where_it_says_so(tmp_path: Path) -> None:
    """An address that is not loopback is allowed when the file says that it is meant."""
    outlet = changed("}", ", host: 10.1.2.3, expose: true}")
    found = load(write(tmp_path, missions__m=MISSION, homes__h=home(outlet)))
    assert found.homes["h"].outlets[0].host == "10.1.2.3"
