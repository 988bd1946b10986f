"""A gateway that has taken a file of packets of a spacecraft with a database, for the tests of home bases."""

from __future__ import annotations

from pathlib import Path

from tests.gateway.values_world import database, temperature, use
from tests.home_files import everything
from tests.process.running import Daemon

MISSION = """name: demo
spacecraft:
  - name: picard
    database: {file: x.json}
    packets: {packet_versions: [0]}
"""
LINK = "name: l\nmission: demo\nspacecraft: picard\ntype: file\nunit: packets\npath: packets.bin\n"
COUNT = 300
PACKETS = [temperature(k, k % 200) for k in range(COUNT)]


def gateway_of_packets(folder: Path) -> Daemon:
    """Return a gateway with PACKETS, started."""
    files = {"missions/demo": MISSION, "links/l": LINK, "homes/laboratory-a": everything("laboratory-a", "demo")}
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(text)
    (folder / "packets.bin").write_bytes(b"".join(PACKETS))
    use(folder, database())
    running = Daemon(folder)
    running.start()
    return running
