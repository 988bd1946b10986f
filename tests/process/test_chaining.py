"""Two real gateways, one the peer of the other; both are killed again and again."""

from __future__ import annotations

import hashlib
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.access.local import token_for, write
from gateway.console.journal import items_of, names_of
from gateway_codecs.batches import Kind
from tests.home_files import everything

from .running import Daemon, http, until
from .test_exactness import HERA, hera_config, hera_expected

SOAK = bool(os.environ.get("GATEWAY_SOAK"))
KILLS = 40 if SOAK else 2
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not HERA.exists(), reason="the shared recordings are not beside the checkout"),
]
RELAY = """name: relay
mission: hera
support_mode: simulation
spacecraft: hera
type: gateway
retry_min_s: 0.05
retry_max_s: 0.2
upstream:
  url: http://127.0.0.1:{port}
  instance: hera.simulation
  home: second-gateway
  token_file: first.token
  selection: {{kinds: [tm], idle: true, bad_quality: true}}
"""


def two_gateways(folder: Path, frames_per_s: float) -> tuple[Daemon, Daemon]:
    """A gateway that replays a recording, and one that gets everything of it."""
    first = Daemon(hera_config(folder / "first", frames_per_s), access=())
    second = Daemon(hera_config(folder / "second", frames_per_s))
    (first.config / "homes" / "second-gateway.yaml").write_text(everything("second-gateway", "hera"))
    (second.config / "links" / "recorded-pass.yaml").unlink()
    (second.config / "links" / "relay.yaml").write_text(RELAY.format(port=first.port))
    return first, second


def as_operator(daemon: Daemon, path: str, body: Any = None) -> Any:
    """Ask a gateway that wants to see a token."""
    headers = {"Authorization": f"Bearer {token_for(daemon.url)}"}
    method = "GET" if body is None else "POST"
    answer = http.request(
        method, f"{daemon.url}/api/v1{path}", json=body, headers=headers
    )  # fmt: skip
    answer.raise_for_status()
    return answer.json()


def save_token(daemon: Daemon, file: Path) -> None:
    """Make a token of the second gateway at the first."""
    body = {"kind": "home", "name": "second-gateway", "expires_utc": None, "instances": None}
    write(file, as_operator(daemon, "/tokens", body)["token"])


def telemetry(folder: Path) -> list[dict[str, Any]]:
    """Return the telemetry in a gateway's journal, as `gateway journal show --json` tells it."""
    journal, damage = folder / "var/hera.simulation", list[dict[str, Any]]()
    items = [item for item in items_of(journal, damage, names_of(journal)) if item["kind"] == Kind.TM]
    assert not damage
    return items


def test_kills_of_both(tmp_path: Path) -> None:
    """R2, R4: kill -9 of either gateway at random instants: the second ends with each item of the first once."""
    seed = int(os.environ.get("GATEWAY_SEED", random.randrange(1 << 30)))
    print(f"seed {seed} (repeat with GATEWAY_SEED={seed})")
    rng = random.Random(seed)
    first, second = two_gateways(tmp_path, frames_per_s=30 if SOAK else 150)
    first.start()
    try:
        save_token(first, second.config / "first.token")
        second.start()
        for k in range(KILLS):
            time.sleep(rng.uniform(0.05, 0.6))
            killed = [(first, second), (second,), (first,)][k % 3]
            for daemon in killed:
                daemon.kill()
            for daemon in killed:
                daemon.start()
        until(lambda: as_operator(first, "/links")[0]["state"] == "finished", "the pass is over")
        head = as_operator(first, "/instances/hera.simulation/journal")["head"]
        until(lambda: caught_up(second, head), "the second has all")
        text = http.get(f"{second.url}/metrics").text
        assert f'gateway_upstream_low_water{{instance="hera.simulation",link="relay"}} {float(head)}' in text
        assert second.terminate() == 0
        assert first.terminate() == 0
    finally:
        first.kill()
        second.kill()
    theirs, ours = telemetry(tmp_path / "first"), telemetry(tmp_path / "second")
    ours.sort(key=lambda item: int(item["upstream_position"]))
    assert [item["upstream_position"] for item in ours] == [item["position"] for item in theirs], "each once"
    for key in (
        "octets",
        "apid",
        "vcid",
        "sequence_count",
        "quality",
        "data_mode",
        "generation_time_ns",
        "spacecraft_name",
    ):
        assert [item[key] for item in ours] == [item[key] for item in theirs], key
    packets = [item["octets"] for item in ours if item["vcid"] == 1 and item["unit"] == 1]
    assert hashlib.sha256(b"".join(packets)).hexdigest() == hera_expected()["packets_sha256_concatenated"]
    assert len({item["upstream_journal"] for item in ours}) == 1


def caught_up(daemon: Daemon, head: int) -> bool:
    """Whether a gateway has all of its upstream below a position."""
    upstream = daemon.get("/links")[0]["upstream"]
    return bool(upstream["low_water"] >= head)
