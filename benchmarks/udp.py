"""UDP from a cold start: a whole gateway, journal and recording on, beside asyncio's DatagramProtocol and the intake.

Each receiver is a process that has just started; the flood begins the moment it says that it is ready. What the kernel
says it dropped stands beside what the frame counts miss.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

FRAME_OCTETS, DURATION_S, QUIET_S = 1115, 5.0, 2.0
RATES = (5_000, 30_000)
MISSION = """
name: load
spacecraft:
  - name: aos
    scids: [42]
    frames: {version: aos, frame_length_octets: 1115, vcs: {1: {service: opaque}}}
"""
Row = tuple[str, float, int, int, int, int]
"""Receiver, frames/s really sent, frames sent, received, lost by the kernel's count, lost by the frame counts."""


def measure(folder: Path) -> Iterator[Row]:
    """Yield a row for each receiver and rate."""
    for rate in RATES:
        yield _row(f"UDP at {rate}, gateway", *_gateway(folder / f"udp-{rate}", rate))
        yield _row(f"UDP at {rate}, asyncio's protocol", *_protocol(rate))


def _row(what: str, sent: dict[str, Any], got: dict[str, int]) -> Row:
    return what, sent["frames_per_s"], sent["sent"], got["received"], got["kernel"], got["counts"]


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _child(module: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def _waiting_flood(port: int, rate: int) -> subprocess.Popen[str]:
    flood = _child(
        "gateway_simulators", "flood", "--port", str(port), "--frames-per-s", str(rate), "--duration-s",
        str(DURATION_S), "--frame-octets", str(FRAME_OCTETS), "--wait",
    )  # fmt: skip
    flood.stdout.readline()  # type: ignore[union-attr]
    return flood


def _gateway(folder: Path, rate: int) -> tuple[dict[str, Any], dict[str, int]]:
    port = _free_port()
    for sub in ("missions", "links"):
        (folder / sub).mkdir(parents=True)
    (folder / "missions/load.yaml").write_text(MISSION)
    (folder / "links/u.yaml").write_text(f"name: u\nmission: load\nspacecraft: aos\ntype: udp\nport: {port}\n")
    with (
        _waiting_flood(port, rate) as flood,
        _child("gateway", "run", "--config", str(folder), "--port", "0", "--access", "open") as daemon,
    ):
        line = daemon.stdout.readline()  # type: ignore[union-attr]
        sent = json.loads(flood.communicate("now\n")[0])
        url = f"http://{line.split('http://')[1].split()[0].rstrip('/,')}/api/v1/instances/load.simulation/links/u"
        link = _settled(url, sent["sent"])
        daemon.terminate()
    counters = link["counters"]
    missing = link["statistics"]["vcs"]["42/1"]["frames_missing_mod"]
    return sent, {"received": counters["frames"], "kernel": counters["datagrams_lost"], "counts": missing}


def _settled(url: str, sent: int) -> Any:
    until_s = time.monotonic() + 30
    while True:
        link = httpx.get(url, timeout=10, trust_env=False).json()
        if link["counters"]["frames"] + link["counters"]["datagrams_lost"] >= sent or time.monotonic() > until_s:
            return link
        time.sleep(0.2)


def _protocol(rate: int) -> tuple[dict[str, Any], dict[str, int]]:
    port = _free_port()
    with _waiting_flood(port, rate) as flood, _child("benchmarks.udp", str(port)) as receiver:
        receiver.stdout.readline()  # type: ignore[union-attr]
        sent = json.loads(flood.communicate("now\n")[0])
        return sent, json.loads(receiver.communicate()[0])


async def _receive(port: int) -> dict[str, int]:
    """Receive as asyncio's documentation shows: a protocol object, the kernel's default buffer."""
    from gateway.datagram_socket import _dropped
    from gateway_codecs.frames import FrameFormat, VcFormat
    from gateway_codecs.intake import FrameIntake, LinkFormat

    fmt = FrameFormat("aos", FRAME_OCTETS, {42: 1}, {1: VcFormat("opaque")})
    intake = FrameIntake(LinkFormat(1, fmt, 1))
    heard_s = 0.0

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            nonlocal heard_s
            heard_s = time.monotonic()
            intake.feed(data, 1)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Receiver, ("127.0.0.1", port))
    print("ready", flush=True)
    while not heard_s or time.monotonic() - heard_s < QUIET_S:
        await asyncio.sleep(0.1)
    dropped = _dropped(transport.get_extra_info("socket")) or 0
    channel = intake.statistics()["vcs"]["42/1"]
    transport.close()
    return {"received": channel["frames"], "kernel": dropped, "counts": channel["frames_missing_mod"]}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_receive(int(sys.argv[1])))), flush=True)
