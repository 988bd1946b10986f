"""R2 seen by the kernel: a system-call trace shows that no acknowledgement precedes its forced write."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .running import Daemon, ended, subscriber
from .test_exactness import HERA, hera_config

BLOCK = struct.Struct(">4sBBHIqq")  # docs/wire-format.md: magic, kind, lane, flags, count, from, upto


def strace_works() -> bool:
    """Whether this machine lets us trace a child."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-f", "true"], capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not HERA.exists(), reason="the shared recordings are not beside the checkout"),
    pytest.mark.skipif(not strace_works(), reason="strace is missing or not permitted: apt-get install strace"),
]


@dataclass(frozen=True)
class Call:
    """One finished system call of a trace."""

    name: str
    fd: int
    data: bytes


def traced(file: Path) -> list[str]:
    """The command prefix that traces writes and forced writes, whole and in hexadecimal."""
    calls = "trace=write,writev,pwrite64,sendto,sendmsg,fdatasync,fsync"
    return ["strace", "-f", "-qq", "-xx", "-s", "1000000", "-e", calls, "-o", str(file)]


def calls(file: Path) -> Iterator[Call]:
    """The calls in the order in which they *began*, except forced writes: in the order in which they *returned*."""
    unfinished: dict[str, str] = {}
    for line in file.read_text().splitlines():
        pid, text = line.split(maxsplit=1)
        if "<unfinished ...>" in text:
            unfinished[pid] = text.split(" <unfinished")[0]
            if text.startswith(("fdatasync", "fsync")):
                continue
        elif "resumed>" in text:
            began = unfinished.pop(pid, "")
            if not began.startswith(("fdatasync", "fsync")):
                continue
            text = began
        match = re.match(r"(\w+)\((\d+)", text)
        if match:
            pieces = re.findall(r'"((?:\\x[0-9a-f]{2})*)"', text)
            data = b"".join(bytes.fromhex(p.replace("\\x", "")) for p in pieces)
            yield Call(match[1], int(match[2]), data)


def websocket_payloads(data: bytes) -> Iterator[bytes]:
    """The payloads of the whole WebSocket frames in one write, unmasked."""
    at = 0
    while at + 2 <= len(data) and data[at] in {0x81, 0x82}:
        masked, length, at = data[at + 1] & 0x80, data[at + 1] & 0x7F, at + 2
        if length in {126, 127}:
            size = 2 if length == 126 else 8
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
        mask, at = (data[at : at + 4], at + 4) if masked else (b"\0\0\0\0", at)
        body = data[at : at + length]
        yield bytes(b ^ mask[i % 4] for i, b in enumerate(body)) if masked else body
        at += length


def test_the_subscriber_forces_before_it_acknowledges(tmp_path: Path) -> None:
    """R2: every `ack` of the subscriber follows the fdatasync of the blocks it acknowledges."""
    daemon, trace = Daemon(hera_config(tmp_path, frames_per_s=2000)), tmp_path / "trace"
    daemon.start()
    try:
        client = subscriber(
            daemon.url, "hera.simulation", "laboratory-a", tmp_path / "store",
            "--kind", "tm", "--vc", "1", "--sequential", "--count", "2302", prefix=tuple(traced(trace)),
        )  # fmt: skip
        assert ended(client)["packets"] == 2302
        assert daemon.terminate() == 0
    finally:
        daemon.kill()
    assert _acknowledgements_checked(trace) > 0


def _acknowledgements_checked(trace: Path) -> int:
    written: dict[int, int] = {}
    forced, checked = -1, 0
    for call in calls(trace):
        if call.data[:4] == b"UGB1":
            written[call.fd] = max(written.get(call.fd, -1), BLOCK.unpack_from(call.data)[6])
        elif call.name in {"fdatasync", "fsync"}:
            forced = max(forced, written.get(call.fd, -1))
        else:
            for payload in websocket_payloads(call.data):
                if payload[:1] == b"{" and json.loads(payload).get("type") == "ack":
                    assert json.loads(payload)["upto"] <= forced, "acknowledged before it was forced"
                    checked += 1
    return checked


def test_the_gateway_forces_before_it_delivers(tmp_path: Path) -> None:
    """R3: every block that leaves the gateway follows the fdatasync of the journal blocks that hold its items."""
    trace = tmp_path / "trace"
    daemon = Daemon(hera_config(tmp_path, frames_per_s=400), prefix=traced(trace))
    daemon.start(timeout_s=60)
    try:
        client = subscriber(
            daemon.url,
            "hera.simulation",
            "laboratory-a",
            tmp_path / "store",
            "--kind",
            "tm",
            "--vc",
            "1",
            "--count",
            "500",
        )
        assert ended(client)["packets"] >= 500
    finally:
        daemon.kill()
        subprocess.run(["pkill", "-KILL", "-f", str(tmp_path / "config")], check=False)
    assert _deliveries_checked(trace) > 0


def _deliveries_checked(trace: Path) -> int:
    from gateway.journal.block import MAGIC, read_header

    pending: dict[int, int] = {}
    forced, checked = -1, 0
    for call in calls(trace):
        if call.data[: len(MAGIC)] == MAGIC:
            header = read_header(call.data)
            pending[call.fd] = header.first_position + header.item_count
        elif call.name in {"fdatasync", "fsync"}:
            forced = max(forced, pending.get(call.fd, -1))
        else:
            for payload in websocket_payloads(call.data):
                if payload[:4] == b"UGB1":
                    assert BLOCK.unpack_from(payload)[6] <= forced, "delivered before it was forced"
                    checked += 1
    return checked
