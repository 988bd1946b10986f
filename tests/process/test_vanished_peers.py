"""200 half-open connections: peers that are gone without a word, not even a reset (R5, R7, R13)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .running import ENV, ROOT

pytestmark = pytest.mark.process
AS_USER, AS_ROOT = ["unshare", "-Urnm", "--fork", "--kill-child"], ["unshare", "-nm", "--fork", "--kill-child"]


PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
A_CABLE = ["ip", "link", "add", "near", "type", "veth", "peer", "name", "far"]


def network_of_our_own() -> list[str]:
    """The command before a command that gives it a network of its own. Root is not needed where users may make one."""
    missing = [name for name in ("unshare", "nsenter", "ip") if shutil.which(name, path=PATH) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)}: not installed (apt-get install util-linux iproute2)")
    tried = []
    for command in (AS_USER, AS_ROOT):
        done = subprocess.run([*command, *A_CABLE], capture_output=True, text=True, check=False)
        if not done.returncode:
            return command
        tried.append(f"{' '.join(command)}: {done.stderr.strip()}")
    pytest.skip(f"no network namespaces here: {'; '.join(tried)}")


def vanish(folder: Path, watch_s: float, *mended: str) -> dict[str, Any]:
    """Let 200 peers vanish, watch the gateway for so long; returns what was seen (tests/process/vanishing.py)."""
    site = [sys.executable, "-m", "tests.process.vanishing", "site", str(folder), str(watch_s), *mended]
    command = [*network_of_our_own(), *site]
    done = subprocess.run(command, env=ENV, cwd=ROOT, capture_output=True, text=True, timeout=watch_s + 90, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = dict(json.loads(done.stdout.splitlines()[-1]))
    print(seen)
    return seen


def costs_nobody_else(seen: dict[str, Any], behind: float = 0.95) -> None:
    """R5: 95 % of the rate, less than 64 MB, every position once, in order; of what was committed while it was looked
    at, which share has come on: `behind` is less where a look is short, and how far it is behind at its ends counts."""
    (alone, with_them), (share, share_with_them) = seen["frames_per_s"], seen["shares"]
    assert seen["peers"] == 200
    assert seen["there"] in {201, 202}, "they are open connections for the gateway, beside the good one and our own"
    assert with_them > 0.95 * alone, seen
    assert share_with_them > behind * min(1.0, share), seen
    assert seen["growth"] < 64 << 20, seen
    assert seen["exact"], seen
    assert seen["connects"] == 1, seen


def test_who_vanishes_costs_nobody_else(tmp_path: Path) -> None:
    """R5: 200 peers vanish, 24 of them in the middle of a subscription: who is there keeps its rate."""
    costs_nobody_else(vanish(tmp_path, 0, "mended"), behind=0.8)


@pytest.mark.soak
def test_a_gateway_ends_beside_them(tmp_path: Path) -> None:
    """R7: the gateway ends in order within 10 s though nobody of those who vanished answers its good-bye."""
    costs_nobody_else(vanish(tmp_path, 0), behind=0.8)


@pytest.mark.soak
def test_who_vanished_is_noticed(tmp_path: Path) -> None:
    """R5, R13: all of them are closed within the times of docs/bad-weather.md, by cause, and shown as away."""
    seen = vanish(tmp_path, 120)
    costs_nobody_else(seen)
    closed = seen["closed"]
    assert closed["no request"] == 80
    assert closed["half a request"] == 40
    assert closed["no answer to a ping"] == seen["metric"] == 80
    assert seen["gone_s"] < 20 + 60 + 5
    assert seen["link_gone_s"] < 35, "a station too"
    assert {f"away: home laboratory-{home} of demo.simulation" for home in "ab"} <= set(seen["conditions"])
    assert "link unavailable: link far of demo.simulation" in seen["conditions"]
