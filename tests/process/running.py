"""Real gateway and subscriber processes for the process tests: started, killed, stopped, waited for."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
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


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def run_gateway(*arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
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

    def start(self, timeout_s: float = 40) -> float:
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
                if httpx.get(f"{self.url}/health/ready", timeout=1, trust_env=False).status_code == 200:
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

    def terminate(self, timeout_s: float = 10) -> int:
        """SIGTERM; returns the exit code. Promise R7: within 10 s."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout_s)
        finally:
            self.process.kill()
            self.process.stdout.close()  # type: ignore[union-attr]

    def get(self, path: str, timeout_s: float = 5) -> Any:
        """GET /api/v1..."""
        response = httpx.get(f"{self.url}/api/v1{path}", timeout=timeout_s, trust_env=False, headers=self.headers)
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


def ended(process: subprocess.Popen[str], timeout_s: float) -> dict[str, Any]:
    """Wait for a subscriber's end; returns the JSON summary that it printed last."""
    out, err = process.communicate(timeout=timeout_s)
    assert process.returncode == 0, f"exit {process.returncode}\n{out}\n{err}"
    return dict(json.loads(out.strip().splitlines()[-1]))
