"""Makes configuration directories for tests: a good one, with one thing changed."""

from __future__ import annotations

from pathlib import Path

GATEWAY = "api:\n  port: 0\n"
MISSION = """\
name: demo
support_modes: [flight, simulation]
spacecraft:
  - name: picard
    scids: [42]
    frames:
      version: tm
      frame_length_octets: 1115
      ocf: by_flag
      vcs:
        0: {service: packets}
        7: {service: idle}
  - name: probe
    packets: {packet_versions: [0]}
"""
LINK = """\
name: station
mission: demo
support_mode: flight
spacecraft: picard
type: tcp_client
host: 127.0.0.1
port: 5500
"""
HOME = "name: laboratory-a\n"
GOOD = {
    "gateway.yaml": GATEWAY,
    "missions/demo.yaml": MISSION,
    "links/station.yaml": LINK,
    "homes/laboratory-a.yaml": HOME,
}


def write(folder: Path, files: dict[str, str | bytes | None]) -> Path:
    """Write the good directory with these files put over it (None = left out)."""
    for name, text in {**GOOD, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(text, bytes):
            path.write_bytes(text)
        elif text is not None:
            path.write_text(text)
    return folder


def changed(text: str, old: str, new: str) -> str:
    """Return a text with one place changed; the place must be there."""
    assert text.count(old) == 1
    return text.replace(old, new)
