"""Real gateway and subscriber processes for the process tests: started, killed, stopped, waited for."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
ENV = {
    # compiled modules are kept, as an installed gateway keeps them: dozens of starts then cost half
    **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
    "PYTHONPATH": os.pathsep.join(str(ROOT / room) for room in (".", "codecs", "routes", "config", "simulators")),
    "PYTHONUNBUFFERED": "1",
}
GATEWAY = [sys.executable, "-m", "gateway"]
PATIENCE_S = 120.0
"""How long to wait for what must come: on a machine that does much else at the same time, all things take long."""
http = httpx.Client(verify=False, trust_env=False, timeout=PATIENCE_S, headers={"Connection": "close"})
"""Asks gateways. One for all: `httpx.get` reads all certificates anew each time, for longer than a gateway answers."""


def _ports() -> Iterator[int]:
    """Yield ports of this process's own: below those that the system gives to whoever asks for any, in a part of them
    that no other worker of this run uses. So a gateway that is killed finds its port free when it is started again."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS_MAX
    count = (PORTS[1] - PORTS[0]) // WORKERS_MAX
    first = PORTS[0] + worker * count
    start = random.randrange(count)
    return (first + (start + k) % count for k in itertools.count())


PORTS, WORKERS_MAX = (10_000, 32_000), 8
_port = _ports()


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a loopback port that nobody has."""
    for port in _port:
        with socket.socket(type=kind) as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise AssertionError("the ports do not end")


def until(true: Callable[[], Any], what: str = "", limit_s: float = PATIENCE_S) -> Any:
    """Poll until something holds; return it."""
    end_s = time.monotonic() + limit_s
    while not (found := true()):
        assert time.monotonic() < end_s, f"not within {limit_s} s: {what}"
        time.sleep(0.05)
    return found


def run_gateway(*arguments: str, timeout_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
    """Run one gateway command to its end."""
    return subprocess.run(
        [*GATEWAY, *arguments], env=ENV, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False
    )


@dataclass
class Daemon:
    """`gateway run` on a fixed port, so that it can be killed and started again."""

    config: Path
    port: int = field(default_factory=free_port)
    prefix: list[str] = field(default_factory=list)
    access: tuple[str, ...] = ("--access", "open")
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, timeout_s: float = PATIENCE_S) -> float:
        """Start and wait until it is ready; returns the seconds that took."""
        began = time.monotonic()
        self.process = subprocess.Popen(
            [*self.prefix, *GATEWAY, "run", "--config", str(self.config), "--port", str(self.port), *self.access],
            env=ENV, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        while time.monotonic() - began < timeout_s:
            if self.process.poll() is not None:
                raise AssertionError(f"gateway ended: {self.process.stdout.read()}")  # type: ignore[union-attr]
            try:
                if http.get(f"{self.url}/health/ready", timeout=5).status_code == 200:
                    return time.monotonic() - began
            except httpx.HTTPError:
                time.sleep(0.02)
        raise AssertionError("gateway did not become ready")

    @property
    def headers(self) -> dict[str, str]:
        """What a request shows: the operator's token, where the gateway asks for one."""
        if self.access:
            return {}
        token = (self.config.parent / "var/operator.token").read_text().strip()
        return {"Authorization": f"Bearer {token}"}

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()  # type: ignore[union-attr]

    def terminate(self, timeout_s: float = PATIENCE_S) -> int:
        """SIGTERM; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout_s)
        finally:
            self.process.kill()
            self.process.stdout.close()  # type: ignore[union-attr]

    def get(self, path: str, timeout_s: float = PATIENCE_S) -> Any:
        """GET /api/v1..."""
        response = http.get(f"{self.url}/api/v1{path}", timeout=timeout_s, headers=self.headers)
        response.raise_for_status()
        return response.json()

    def output(self) -> str:
        """What it printed so far (does not block)."""
        assert self.process is not None
        stream, text = self.process.stdout, ""
        while stream is not None and select.select([stream], [], [], 0)[0]:
            line = stream.readline()
            if not line:
                break
            text += line
        return text


def subscriber(
    url: str,
    instance: str,
    home: str,
    store: Path,
    *arguments: str,
    prefix: tuple[str, ...] = (),
    token_file: Path | None = None,
) -> subprocess.Popen[str]:
    """Start `gateway subscribe`."""
    return subprocess.Popen(
        [
            *prefix, *GATEWAY, "subscribe", instance, "--home", home, "--store", str(store),
            "--url", url, "--json", *arguments,
        ],
        env=ENV if token_file is None else ENV | {"GATEWAY_TOKEN_FILE": str(token_file)}, cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str], timeout_s: float = PATIENCE_S) -> dict[str, Any]:
    """Wait for a subscriber's end; returns the JSON summary that it printed last."""
    out, err = process.communicate(timeout=timeout_s)
    assert process.returncode == 0, f"exit {process.returncode}\n{out}\n{err}"
    return dict(json.loads(out.strip().splitlines()[-1]))
