"""The control plane and the console of a running gateway."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from .running import Daemon, ended, http, run_gateway, subscriber
from .test_exactness import HERA, hera_config

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not HERA.exists(), reason="the shared recordings are not beside the checkout"),
]
INSTANCE = "hera.simulation"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A gateway that has replayed Hera through a file link."""
    config = hera_config(tmp_path_factory.mktemp("d"), frames_per_s=5000)
    (config / "gateway.yaml").write_text(f"data_dir: ../var\nreplay_folders: [{HERA.parent.resolve()}]\n")
    running = Daemon(config)
    running.start()
    while running.get("/links")[0]["state"] != "finished":
        time.sleep(0.05)
    yield running
    assert running.terminate(10) == 0, "R7: SIGTERM drains within 10 s"


def test_every_get_answers(daemon: Daemon) -> None:
    """Every parameterless GET of the OpenAPI document answers 200, and the document has examples."""
    document = daemon.get("/openapi.json")
    paths = [
        p for p, methods in document["paths"].items() if "get" in methods and "{" not in p and p.startswith("/api/v1")
    ]
    assert len(paths) >= 6
    for path in paths:
        assert http.get(daemon.url + path).status_code == 200, path
    assert "examples" in json.dumps(document)


def test_what_it_shows(daemon: Daemon) -> None:
    """Streams, journal and metrics say what the recording holds."""
    rows = daemon.get(f"/instances/{INSTANCE}/streams")
    assert {(r["vcid"], r["apid"]): r["packets"] for r in rows}[1, 260] == 2237
    assert daemon.get(f"/instances/{INSTANCE}")["journal"]["head"] > 2302
    metrics = http.get(f"{daemon.url}/metrics").text
    assert re.search('gateway_stream_packets_total{apid="260",.*instance="hera.simulation"', metrics)
    assert http.get(f"{daemon.url}/health/live").status_code == 200


def test_downloads(daemon: Daemon) -> None:
    """A journal range downloads as packets, octet for octet."""
    import hashlib

    from .test_exactness import hera_expected

    answer = http.get(f"{daemon.url}/api/v1/instances/{INSTANCE}/journal/packets?vcid=1&idle=true")
    assert hashlib.sha256(answer.content).hexdigest() == hera_expected()["packets_sha256_concatenated"]


def test_errors_name_the_way_out(daemon: Daemon) -> None:
    """Unknown things are 404 with a hint; wrong input is 422; a file outside the replay folders is refused."""
    answer = http.get(f"{daemon.url}/api/v1/instances/nope")
    assert (answer.status_code, INSTANCE in answer.json()["hint"]) == (404, True)
    assert http.get(f"{daemon.url}/api/v1/instances/{INSTANCE}/events?limit=0").status_code == 422
    body = {"file": "/etc/passwd", "mission": "hera", "run": "x"}
    answer = http.post(f"{daemon.url}/api/v1/replays", json=body)
    assert (answer.status_code, "replay_folders" in answer.json()["hint"]) == (403, True)


def test_links_and_contacts_by_hand(daemon: Daemon) -> None:
    """The operator disables, enables and resets a link, plans, opens and closes contacts; all of it becomes events."""
    assert run_gateway("links", "disable", "recorded-pass", "--url", daemon.url).returncode == 0
    assert daemon.get("/links")[0]["state"] == "disabled"
    assert run_gateway("links", "enable", "recorded-pass", "--url", daemon.url).returncode == 0
    made = http.post(f"{daemon.url}/api/v1/instances/{INSTANCE}/contacts", json={"spacecraft": "hera"})
    assert made.json()["state"] == "active"
    done = http.post(f"{daemon.url}/api/v1/instances/{INSTANCE}/contacts/{made.json()['id']}/close")
    assert done.json()["state"] == "missed"
    events = daemon.get(f"/instances/{INSTANCE}/events?limit=1000&wait_s=1")["events"]
    assert {"link", "contact", "gap"} <= {e["type"] for e in events}
    shown = run_gateway("events", "--url", daemon.url, "-n", "1000").stdout
    assert "disabled" in shown
    assert "missed" in shown


def test_status_and_links_on_the_console(daemon: Daemon) -> None:
    """`status` and `links list` draw the state; without a gateway they say how to start one."""
    shown = run_gateway("status", "--url", daemon.url)
    assert shown.returncode == 0
    assert "APID 260" in shown.stdout
    assert "recorded-pass" in run_gateway("links", "list", "--url", daemon.url).stdout
    nobody = run_gateway("status", "--url", "http://127.0.0.1:9")
    assert nobody.returncode == 1
    assert "gateway run" in nobody.stderr


def test_a_replay_run_through_the_api(daemon: Daemon, tmp_path: Path) -> None:
    """A run has its own instance; the same id continues it, another file under that id is a conflict."""
    arguments = ("replay", str(HERA), "--mission", "hera", "--run", "api", "--url", daemon.url, "--json")
    first = json.loads(run_gateway(*arguments).stdout.strip().splitlines()[-1])
    again = json.loads(run_gateway(*arguments).stdout.strip().splitlines()[-1])
    assert (first["finished"], first["head"]) == (True, again["head"])
    other = run_gateway(
        "replay", str(HERA.parent / "lucy_aos_1113.bin"), "--mission", "lucy", "--run", "api", "--url", daemon.url
    )
    assert other.returncode == 1
    assert "new run id" in other.stderr
    summary = ended(
        subscriber(daemon.url, first["instance"], "laboratory-a", tmp_path / "s", "--until-end", "--vc", "1"), 30
    )
    assert summary["packets"] == 2302


def test_offline_subscription(daemon: Daemon, tmp_path: Path) -> None:
    """An offline subscription gives a range of the journal and ends."""
    client = subscriber(
        daemon.url,
        INSTANCE,
        "laboratory-a",
        tmp_path / "s",
        "--from-position",
        "10",
        "--upto-position",
        "200",
        "--kind",
        "tm",
    )
    summary = ended(client)
    assert summary["finished"]
    assert 0 < summary["items"] <= 190


RUBBISH = [
    "", "{", "[]", "null", '{"type": 5}', '{"type": "ack"}', b"\x00\x01", "x" * (1 << 18),
    '{"type": "subscribe"}',
    '{"type": "subscribe", "home": "nobody", "subscription": "s"}',
    '{"type": "subscribe", "home": "laboratory-a", "subscription": "a b"}',
    '{"type": "subscribe", "home": "laboratory-a", "subscription": "s", "mode": "sometimes"}',
    '{"type": "subscribe", "home": "laboratory-a", "subscription": "s", "selection": {"apids": "all"}}',
    '{"type": "subscribe", "home": "laboratory-a", "subscription": "s", "cursor": {"journal_id": "other"}}',
    '{"type": "subscribe", "home": "laboratory-a", "subscription": "s", "mode": "offline", "from_position": 9999999}',
]  # fmt: skip


@pytest.mark.parametrize("message", RUBBISH)
def test_a_client_that_breaks_the_protocol(daemon: Daemon, message: str | bytes) -> None:
    """A clear error message, its session alone closed; the gateway goes on."""
    address = daemon.url.replace("http", "ws") + f"/api/v1/instances/{INSTANCE}/subscribe"
    with connect(address, proxy=None, open_timeout=60) as socket:
        socket.send(message)
        told = json.loads(socket.recv(timeout=60))
        assert told["type"] == "error"
        assert told["message"]
        assert told["code"]
    assert daemon.get("/status")["ready"]


def test_a_bad_acknowledgement(daemon: Daemon) -> None:
    """Acknowledging what was never sent is an error; the cursor does not move."""
    address = daemon.url.replace("http", "ws") + f"/api/v1/instances/{INSTANCE}/subscribe"
    with connect(address, proxy=None, open_timeout=60) as socket:
        socket.send(json.dumps({"type": "subscribe", "home": "laboratory-b", "subscription": "bad"}))
        socket.recv(timeout=60)
        socket.send(json.dumps({"type": "ack", "lane": 0, "upto": 1 << 40}))
        while isinstance(told := socket.recv(timeout=60), bytes):
            pass
        assert json.loads(told)["code"] == "bad acknowledgement"
    rows = daemon.get(f"/instances/{INSTANCE}/subscriptions")
    assert next(r for r in rows if r["subscription"] == "bad")["low_water"] == 0
