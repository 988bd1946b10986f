"""Accounting with real processes: a contact is reconciled, and its digest confirmed by a home base and by a script."""

from __future__ import annotations

import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from .running import ROOT, Daemon, http, run_gateway, subscriber, until
from .test_exactness import HERA, hera_config, hera_expected

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not HERA.exists(), reason="the shared recordings are not beside the checkout"),
]
INSTANCE = "hera.simulation"


def rewritten(store: Path) -> None:
    """Change one octet of a store so that its own check does not see it."""
    path = next(store.glob("*.blocks"))
    data = bytearray(path.read_bytes())
    body = int.from_bytes(data[28:32], "big")
    data[36 + body - 1] ^= 1
    data[32:36] = bytes(4)
    data[32:36] = zlib.crc32(data[36 : 36 + body], zlib.crc32(data[:36])).to_bytes(4, "big")
    path.write_bytes(data)


def test_a_contact_is_reconciled_and_confirmed(tmp_path: Path) -> None:
    """Issue: the digest is confirmed by the gateway, the home base's store and the 50-line script; a store with one
    changed octet is loud; report and page say what became of each packet."""
    config = hera_config(tmp_path, frames_per_s=2000)
    link = config / "links" / "recorded-pass.yaml"
    link.write_text(link.read_text().replace("data_mode: playback", "data_mode: real_time"))
    daemon = Daemon(config)
    daemon.start()
    options = ("--kind", "tm", "--vc", "1", "--subscription", "vc1")
    clients = []
    try:
        clients.append(subscriber(daemon.url, INSTANCE, "laboratory-b", tmp_path / "b", *options, "--count", "2302"))
        clients.append(subscriber(daemon.url, INSTANCE, "laboratory-a", tmp_path / "a", *options))
        assert clients[0].communicate(timeout=120) is not None
        rewritten(tmp_path / "b")
        (contact,) = [row for row in daemon.get("/contacts") if row["instance"] == INSTANCE]
        close = f"{daemon.url}/api/v1/instances/{INSTANCE}/contacts/{contact['id']}/close"
        assert http.post(close).json()["state"] == "done"
        clients.append(subscriber(daemon.url, INSTANCE, "laboratory-b", tmp_path / "b", *options))
        ask = ("homes", "report", "--instance", INSTANCE, "--contact", contact["id"], "--url", daemon.url)

        def told() -> dict[str, Any] | None:
            report = daemon.get(f"/instances/{INSTANCE}/reports?contact={contact['id']}")
            states = {home["subscriptions"][0]["digest"]["state"] for home in report["homes"]}
            return report if states == {"confirmed", "differs"} else None

        report = until(told)
        digests = {home["home"]: home["subscriptions"][0]["digest"] for home in report["homes"]}
        right, wrong = digests["laboratory-a"], digests["laboratory-b"]
        assert (right["state"], wrong["state"]) == ("confirmed", "differs")
        assert (right["items"], right["sha256"]) == (2302, wrong["sha256"])
        assert right["sha256"] == hera_expected()["packets_sha256_concatenated"], "other people's tools agree"
        for store, same in (("a", True), ("b", False)):
            script = [sys.executable, "-I", str(ROOT / "docs/read_blocks.py"), str(tmp_path / store)]
            span = [str(right["first"]), str(right["end"])]
            out = subprocess.run([*script, *span], capture_output=True, text=True, check=True).stdout
            assert (out.split() == ["2302", right["sha256"]]) is same
        assert sum(row["received"] for row in report["streams"]) == 2302
        for row in report["streams"]:
            assert row["expected"] == row["received"] + sum(row["missing"].values())
        shown = run_gateway(*ask)
        assert shown.returncode == 0, shown.stderr
        assert "confirmed" in shown.stdout
        assert max(map(len, shown.stdout.splitlines())) <= 80
        page = tmp_path / "page.html"
        assert run_gateway(*ask, "--html", str(page)).returncode == 0
        assert not re.findall(r"(?:src|href)=|url\(|@import|<script", page.read_text())
        state = daemon.get("/status")
        assert "digest differs" in [row["what"] for row in state["conditions"]]
        homes = next(one["homes"] for one in state["instances"] if one["instance"] == INSTANCE)
        assert [(row["home"], row["digests_differing"]) for row in homes] == [("laboratory-b", 1), ("laboratory-a", 0)]

        def differing() -> list[str]:
            events = daemon.get(f"/instances/{INSTANCE}/events?limit=1000")["events"]
            return [event["home"] for event in events if event["type"] == "digest differs"]

        until(differing, "an event")
        assert differing() == ["laboratory-b"]
    finally:
        for client in clients:
            client.kill()
            client.communicate()
        daemon.kill()
