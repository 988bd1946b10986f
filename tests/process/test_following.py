"""`gateway events --follow` over a restart of the gateway: an operator leaves it running for the night."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from .running import ENV, GATEWAY, ROOT, Daemon, http, run_gateway

pytestmark = pytest.mark.process
MINIMAL = ROOT / "config/gateway_config/examples/minimal"


def test_following_events_over_a_restart(tmp_path: Path) -> None:
    """Who waits for events is answered when the gateway stops, waits for it, and misses no event of the new start."""
    shutil.copytree(MINIMAL, tmp_path / "config")
    daemon = Daemon(tmp_path / "config")
    daemon.start()
    following = subprocess.Popen(
        [*GATEWAY, "events", "--follow", "--json", "--url", daemon.url],
        env=ENV, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    told: list[str] = []
    assert following.stdout is not None
    lines = iter(following.stdout)
    threading.Thread(target=lambda: told.extend(lines), daemon=True).start()
    try:
        deadline, url = time.monotonic() + 120, f"{daemon.url}/api/v1/instances/demo.simulation/links/station"
        while not told and time.monotonic() < deadline:  # until it has heard something, and waits for the next event
            for action in ("disable", "enable"):
                http.post(f"{url}/{action}").raise_for_status()
            time.sleep(0.3)
        time.sleep(0.5)
        before = len(told)
        process = daemon.process
        assert process is not None
        assert process.stdout is not None
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
        assert (process.returncode, "Traceback" in said) == (0, False), said
        daemon.start()
        run_gateway("links", "disable", "station", "--url", daemon.url)
        deadline = time.monotonic() + 120
        while not any("disabled by the operator" in line for line in told[before:]) and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        following.send_signal(signal.SIGINT)
        _, complaint = following.communicate(timeout=60)
        daemon.terminate()
    events = [json.loads(line) for line in told]
    messages = [event["message"] for event in events[before:]]
    assert [text for text in messages if "disabled by the operator" in text], messages
    assert len(events) == len({event["position"] for event in events}), "each event once"
    assert "waiting for it" in complaint
