"""The whole gateway as a process: frames over TCP in, packets to one complete subscriber out, journal on."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from gateway.homes.client import WebSocketDial
from gateway_codecs.batches import Kind
from gateway_codecs.delivery_block import MARK, decode
from gateway_config.loader import EXAMPLES

FRAME_OCTETS = 1115
INSTANCE = "demo.simulation"
WARM_UP_FRAMES, WARM_UP_MAX_S = 400, 30.0
STAMP = struct.Struct(">d")


class Bench:
    """A gateway process on the demo configuration, and a station that we play.

    With `values` packets have generation times and become engineering values; without, they are packets and no more.
    `prepare(config, port)` changes the configuration before the gateway reads it; the station listens on the port.
    """

    def __init__(
        self, folder: Path, values: bool = False, prepare: Callable[[Path, int], object] = lambda config, port: None
    ) -> None:
        self.folder, self.values, self._prepare = folder, values, prepare
        self.process: subprocess.Popen[str]
        self.api, self.api_s = "", 0.0  # where the API is, and since when, by the monotonic clock
        self._writer: asyncio.Future[asyncio.StreamWriter]

    async def __aenter__(self) -> Bench:
        self._writer = asyncio.get_running_loop().create_future()
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        config = self.folder / "config"
        shutil.copytree(str(EXAMPLES / "demo"), config)
        mission = config / "missions/demo.yaml"
        if not self.values:
            mission.write_text(re.sub(r"\n +(database|default_time): .*", "", mission.read_text()))
        link = config / "links/station.yaml"
        link.write_text(
            re.sub(r"port: \d+", f"port: {port}", link.read_text()).replace("watchdog_s: 2", "watchdog_s: 60")
        )
        self._prepare(config, port)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "run", "--config", str(config), "--port", "0", "--access", "open"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        line = await asyncio.to_thread(self.process.stdout.readline)  # type: ignore[union-attr]
        self.api, self.api_s = re.findall(r"http://\S+", line)[0], time.monotonic()
        self.writer = await self._writer
        return self

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._writer.done():
            self._writer.set_result(writer)

    async def __aexit__(self, *_: object) -> None:
        self.process.terminate()
        await asyncio.to_thread(self.process.wait)
        self._server.close()

    def memory_octets(self) -> int:
        """Resident memory of the gateway."""
        return rss_octets(self.process.pid)

    def cpu_s(self) -> float:
        """CPU seconds that the gateway has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def state(self) -> dict[str, Any]:
        """The instance's state from the API."""
        return dict(httpx.get(f"{self.api}/api/v1/instances/{INSTANCE}", trust_env=False).json())


def rss_octets(pid: int | str) -> int:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) << 10


async def receive(api: str, wanted: int, selection: dict[str, Any], on_items: Any) -> int:
    """Receive until `wanted` telemetry items have come, acknowledging at once; returns the octets.

    `on_items(block, arrived_s)` gets each block and when it had arrived whole: what it costs us to read it is ours.
    """
    channel = await WebSocketDial(api, INSTANCE)()
    hello = {
        "type": "subscribe",
        "home": "laboratory-a",
        "subscription": "bench",
        "mode": "complete",
        "selection": selection,
    }
    await channel.send(json.dumps(hello))
    count = octets = 0
    while count < wanted:
        message = await channel.receive()
        arrived_s = time.perf_counter()
        if isinstance(message, str):
            continue
        block = decode(message)
        if block.kind == MARK:
            continue
        await channel.send(json.dumps({"type": "ack", "lane": block.lane, "upto": block.upto_position}))
        items = block.batch.items
        count += int((items["kind"] == Kind.TM).sum())
        octets += len(block.batch.octets)
        on_items(block, arrived_s)
    await channel.close("")
    return octets


async def throughput(folder: Path, data: bytes, packets: int, values: bool = False) -> dict[str, float]:
    """Push a recording as fast as the gateway takes it; `behind`: packets that are not values yet at the end.

    The clock starts behind the first frames: with the first packet the gateway reads its mission database, once.
    """
    async with Bench(folder, values) as bench:
        idle = bench.memory_octets()
        task = asyncio.create_task(receive(bench.api, packets, {"kinds": ["tm"], "idle": True}, lambda *_: None))
        await asyncio.sleep(0.3)
        first = WARM_UP_FRAMES * FRAME_OCTETS
        opened_s = await _warmed_up(bench, data[:first])
        began, cpu = time.perf_counter(), bench.cpu_s()
        for at in range(first, len(data), 1 << 16):
            bench.writer.write(data[at : at + (1 << 16)])
            await bench.writer.drain()
        await asyncio.wait_for(task, 120)
        took = time.perf_counter() - began
        state = bench.state()
        return {
            "idle_octets": idle, "frames_per_s": (len(data) - first) / FRAME_OCTETS / took, "opened_s": opened_s,
            "packets_per_s": packets * (1 - first / len(data)) / took, "cpu_share": (bench.cpu_s() - cpu) / took,
            "journal_ratio": state["journal"]["octets"] / len(data), "busy_octets": bench.memory_octets(),
            "behind": state["values"]["behind"] if state["values"] else 0,
        }  # fmt: skip


async def _warmed_up(bench: Bench, data: bytes) -> float:
    """Send first frames; return how long it took until they are all journalled and, if so wanted, values."""
    began = time.perf_counter()
    bench.writer.write(data)
    while True:
        await asyncio.sleep(0.02)
        state = bench.state()
        if not bench.values and state["journal"]["head"] > 0:
            return time.perf_counter() - began
        if bench.values and state["values"]["databases"] and not state["values"]["behind"]:
            return time.perf_counter() - began
        if time.perf_counter() - began > WARM_UP_MAX_S:
            raise TimeoutError(f"the first frames are no values after {WARM_UP_MAX_S:.0f} s")


async def latency(folder: Path, frames: list[bytes], frames_per_s: int) -> list[float]:
    """Send one frame at a time; returns seconds from the write to the subscriber's receipt, one per frame."""
    sent: dict[int, float] = {}
    took: list[float] = []
    async with Bench(folder) as bench:
        selection = {"kinds": ["tm"], "units": ["frame"]}
        task = asyncio.create_task(
            receive(bench.api, len(frames), selection, lambda *block: arrived(*block, sent, took))
        )
        await asyncio.sleep(0.3)
        await send_paced(bench, frames, frames_per_s, sent)
        await asyncio.wait_for(task, 60)
    return sorted(took)


async def send_paced(bench: Bench, frames: list[bytes], frames_per_s: float, sent: dict[int, float]) -> None:
    """Send one numbered frame at a time, and note when."""
    began = time.perf_counter()
    for number, frame in enumerate(frames):
        due = began + number / frames_per_s
        if due > time.perf_counter():
            await asyncio.sleep(due - time.perf_counter())
        sent[number] = time.perf_counter()
        bench.writer.write(frame)


def arrived(block: Any, arrived_s: float, sent: dict[int, float], took: list[float]) -> None:
    """Note how long each numbered frame of a block took."""
    for row in (block.batch.items["unit"] == 2).nonzero()[0].tolist():
        took.append(arrived_s - sent[int.from_bytes(block.batch.octets_of(row)[6:10], "big")])
