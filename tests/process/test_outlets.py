"""Outlets with a real process and real sockets: plain packets over TCP and UDP, as they were sent by the station."""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path

import pytest

from gateway_simulators.spacecraft import Spacecraft
from tests.process.test_timely import INSTANCE, MINIMAL, packets_of

from .running import Daemon, free_port, http, until

pytestmark = pytest.mark.process
FRAMES = 60
OUTLETS = """
outlets:
  - {{name: back-to-back, type: tcp, mission: demo, support_mode: simulation, port: {tcp}, max_clients: 2}}
  - {{name: display, type: udp, mission: demo, support_mode: simulation, port: {udp}}}
"""


def test_plain_packets_for_plain_tools(tmp_path: Path) -> None:
    """TCP gives the packets back to back, UDP one per datagram; one client too many is closed; all is counted."""
    shutil.copytree(MINIMAL, tmp_path / "config")
    station, tcp = socket.create_server(("127.0.0.1", 0)), free_port()
    display = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    display.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    display.bind(("127.0.0.1", 0))
    link, home = tmp_path / "config/links/station.yaml", tmp_path / "config/homes/laboratory-a.yaml"
    link.write_text(link.read_text().replace("port: 5500", f"port: {station.getsockname()[1]}") + "watchdog_s: 600\n")
    home.write_text(home.read_text() + OUTLETS.format(tcp=tcp, udp=display.getsockname()[1]))
    craft = Spacecraft(3)
    data = b"".join(craft.next_frame().octets for _ in range(FRAMES))
    packets = packets_of(data)
    daemon = Daemon(tmp_path / "config")
    daemon.start()
    station.settimeout(120)
    peer, _ = station.accept()
    tools = [socket.create_connection(("127.0.0.1", tcp), timeout=120) for _ in range(3)]
    try:
        refused = until(lambda: [tool for tool in tools if _closed(tool)], "one client too many")
        assert len(refused) == 1
        for at in range(0, len(data), 4096):
            peer.sendall(data[at : at + 4096])
            time.sleep(0.005)
        wanted = b"".join(packets)
        for tool in [tool for tool in tools if tool not in refused]:
            assert _read(tool, len(wanted)) == wanted
        display.settimeout(120)
        assert [display.recv(1 << 16) for _ in packets] == packets
        rows = {row["outlet"]: row for row in daemon.get(f"/instances/{INSTANCE}")["outlets"]}
        metrics = http.get(f"{daemon.url}/metrics").text
    finally:
        for one in (*tools, peer, station, display):
            one.close()
        daemon.terminate()
    assert (rows["back-to-back"]["clients_refused"], rows["back-to-back"]["clients"]) == (1, 2)
    assert rows["back-to-back"]["delivered_octets"] == 2 * len(wanted)
    assert (rows["display"]["delivered_items"], rows["display"]["skipped_items"]) == (len(packets), 0)
    assert 'gateway_outlet_clients{home="laboratory-a",instance="demo.simulation",outlet="back-to-back"} 2.0' in metrics


def _closed(tool: socket.socket) -> bool:
    """Whether the gateway has closed it."""
    tool.settimeout(0.1)
    try:
        return tool.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def _read(tool: socket.socket, octets: int) -> bytes:
    tool.settimeout(120)
    found = b""
    while len(found) < octets:
        found += tool.recv(1 << 16)
    return found
