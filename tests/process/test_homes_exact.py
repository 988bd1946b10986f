"""A home base's agent and a gateway in every weather: cut, killed, killed again; what was sent is what was received."""

from __future__ import annotations

import hashlib
import json
import os
import random
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway_codecs.space_packet import SpacePacket, encode
from tests.home_files import everything

from .brokers import Broker, connected, needs
from .running import ENV, GATEWAY, PATIENCE_S, ROOT, Daemon, http
from .wire import Proxy

pytestmark = pytest.mark.process
INSTANCE, HOME, APIDS = "demo.simulation", "laboratory-a", (100, 101, 102, 103, 104)
ROW_AND_ITEM_OCTETS = 72 + 56  # in a block, on average
HEADER = struct.Struct(">HHH")  # encode() takes a minute for a million packets
MISSION = "name: demo\nspacecraft: [{name: picard, packets: {packet_versions: [0]}}]\n"


@dataclass(frozen=True)
class Weather:
    """How many packets at which pace, and what goes wrong meanwhile."""

    packets: int
    packets_per_s: int
    cuts: int
    gateway_kills: int
    agent_kills: int
    broker_kills: int
    limit_s: float


SHORT = Weather(20_000, 4_000, 10, 2, 2, 2, 240)
LONG = Weather(1_000_000, 3_000, 200, 20, 20, 20, 600)  # some eight minutes; most of it while the station sends


def station(seed: int, count: int) -> bytes:
    """Packets of one station, no two alike: each carries its number and octets of chance."""
    rng, apids = random.Random(seed), len(APIDS)
    bodies = [k.to_bytes(8, "big") + rng.randbytes(rng.randrange(4, 80)) for k in range(count)]
    heads = (HEADER.pack(APIDS[k % apids], 0xC000 | k // apids % 16384, len(b) - 1) for k, b in enumerate(bodies))
    packets = [head + body for head, body in zip(heads, bodies, strict=True)]
    assert packets[-1] == encode(SpacePacket(APIDS[(count - 1) % apids], (count - 1) // apids % 16384, bodies[-1]))
    return b"".join(packets)


class Agent:
    """`gateway home run`, and what it writes of itself."""

    def __init__(self, folder: Path, url: str) -> None:
        self.store = folder / "store"
        self._config = folder / "home.yaml"
        self._config.write_text(
            f"url: {url}\ninstance: {INSTANCE}\nhome: {HOME}\nstore: store\nsubscriptions: {{all: {{}}}}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "agent.log"

    def start(self) -> None:
        with self._log.open("ab") as log:
            command = [*GATEWAY, "home", "run", "--config", str(self._config), "--json"]
            self._process = subprocess.Popen(command, env=ENV, cwd=ROOT, stdout=log, stderr=log)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def row(self) -> dict[str, Any]:
        """How its subscription is; empty before it has said so."""
        try:
            return dict(json.loads((self.store / "status.json").read_bytes())["subscriptions"]["all"])
        except (FileNotFoundError, KeyError):
            return {}


@dataclass
class Site:
    """A station's file, a gateway, a proxy and an agent behind it."""

    daemon: Daemon
    proxy: Proxy
    agent: Agent
    broker: Broker | None
    rng: random.Random

    def happen(self, what: str) -> None:
        """Let one thing go wrong."""
        if what == "cut":
            self.until(lambda: self.proxy.cut() > 0, "a connection to cut")
        elif what == "gateway":
            self.daemon.kill()
            self.daemon.start()
        elif what == "agent":
            self.agent.kill()
            self.agent.start()
        elif self.broker is not None:
            connected(self.daemon)
            self.broker.kill(self.daemon)

    def until(self, told: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
        limit = time.monotonic() + timeout_s
        while not (found := told()):
            assert self.agent.running(), f"the agent ended: {self.agent.row()}"
            assert time.monotonic() < limit, f"not within {timeout_s} s: {what}; {self.agent.row()}"
            time.sleep(0.02)
        return found

    def play(self) -> None:
        """Once the agent is there the station sends; the gateways to come know that too."""
        self.until(lambda: self.daemon.get(f"/instances/{INSTANCE}/subscriptions"), "a session")
        link = self.daemon.config / "links/l.yaml"
        link.write_text(link.read_text().replace("enabled: false", "enabled: true"))
        url = f"{self.daemon.url}/api/v1/instances/{INSTANCE}/links/l/enable"
        http.post(url).raise_for_status()

    def playing(self) -> bool:
        return bool(self.daemon.get("/links")[0]["state"] != "finished")


def weather_of(weather: Weather, broker: bool, rng: random.Random) -> list[str]:
    """What goes wrong, in which order."""
    events = ["cut"] * weather.cuts + ["gateway"] * weather.gateway_kills + ["agent"] * weather.agent_kills
    events += ["broker"] * weather.broker_kills if broker else []
    rng.shuffle(events)
    first = events.index("gateway")  # while the station sends, on any machine
    events[0], events[first] = events[first], events[0]
    return events


def configured(folder: Path, sent: bytes, weather: Weather, broker: Broker | None) -> Path:
    """The configuration of the gateway. The station is a file: its offset is journalled with the packets, so that a
    gateway that is killed asks the station again for exactly what it had not committed."""
    config = folder / "config"
    rate_bps = weather.packets_per_s * 8 * len(sent) // weather.packets
    link = (
        f"name: l\nmission: demo\nspacecraft: picard\ntype: file\nunit: packets\npath: sent.bin\nrate_bps: {rate_bps}"
    )
    link += "\nenabled: false"
    files = {"missions/demo": MISSION, "links/l": link + "\n", f"homes/{HOME}": everything(HOME, "demo")}
    files["gateway"] = "data_dir: ../var\n" + (broker.keys() if broker else "")
    for name, text in files.items():
        (config / name).parent.mkdir(parents=True, exist_ok=True)
        (config / f"{name}.yaml").write_text(text)
    (config / "sent.bin").write_bytes(sent)
    return config


def script(store: Path, *arguments: str) -> list[str]:
    """What docs/read_blocks.py says of a store: a count and a SHA-256."""
    command = [sys.executable, "-I", str(ROOT / "docs/read_blocks.py"), str(store), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout.split()


def assert_exact(site: Site, sent: bytes, weather: Weather) -> None:
    """Every packet once, in order, octet for octet; each digest said by three: gateway, agent, script."""
    want = [str(weather.packets), hashlib.sha256(sent).hexdigest()]
    assert script(site.agent.store / "all") == want, "sent = received, each once, in order"
    for contact in site.daemon.get("/contacts"):
        if contact["state"] != "done":
            close = f"{site.daemon.url}/api/v1/instances/{INSTANCE}/contacts/{contact['id']}/close"
            http.post(close).raise_for_status()

    def confirmed() -> list[dict[str, Any]]:
        if any(row["digests_unconfirmed"] for row in site.daemon.get(f"/instances/{INSTANCE}")["homes"]):
            return []  # a report of a million packets takes a while
        contacts = [contact["id"] for contact in site.daemon.get("/contacts")]
        reports = [site.daemon.get(f"/instances/{INSTANCE}/reports?contact={contact}", 120) for contact in contacts]
        digests = [report["homes"][0]["subscriptions"][0]["digest"] for report in reports]
        assert not any(digest["state"] == "differs" for digest in digests), digests
        return digests if digests and all(digest["state"] == "confirmed" for digest in digests) else []

    for digest in site.until(confirmed, "every digest confirmed", weather.limit_s):
        said = script(site.agent.store / "all", str(digest["first"]), str(digest["end"]))
        assert said == [str(digest["items"]), digest["sha256"]]
    assert site.agent.row()["trouble"] is None


SOAK = pytest.mark.soak


@pytest.mark.parametrize(
    ("transport", "weather"),
    [
        pytest.param("websocket", SHORT, id="websocket"),
        pytest.param("nats", SHORT, id="mqtt", marks=SOAK),
        pytest.param("mosquitto", SHORT, id="mqtt-mosquitto", marks=SOAK),
        pytest.param("websocket", LONG, id="websocket-long", marks=SOAK),
        pytest.param("nats", LONG, id="mqtt-long", marks=SOAK),
    ],
)
def test_every_packet_once_in_every_weather(tmp_path: Path, transport: str, weather: Weather) -> None:
    """R2-R4, issue: connections cut at random, gateway, agent and broker killed with SIGKILL: the home base ends with
    what the station sent, each packet once and in order, and gateway, agent and the 50-line script agree on it."""
    seed = int(os.environ.get("GATEWAY_SEED", random.randrange(1 << 30)))
    print(f"seed {seed} (repeat with GATEWAY_SEED={seed})")
    rng = random.Random(seed)
    broker = None if transport == "websocket" else Broker(transport, tmp_path)
    if broker is not None:
        needs(transport)
        broker.start()
    sent = station(seed, weather.packets)
    events = weather_of(weather, broker is not None, rng)
    daemon = Daemon(configured(tmp_path, sent, weather, broker))
    octets_each = weather.packets * ROW_AND_ITEM_OCTETS // len(events)
    with Proxy(broker.port if broker else daemon.port) as proxy:
        scheme = "mqtt" if broker else "http"
        agent = Agent(tmp_path, f"{scheme}://127.0.0.1:{proxy.port}")
        site = Site(daemon, proxy, agent, broker, rng)
        try:
            agent.start()
            daemon.start()
            site.play()
            while_playing = 0
            for event in events:
                proxy.allow(rng.randrange(octets_each * 4 // 5))  # so that there is always something left to lose
                site.until(proxy.is_holding, "more octets")
                while_playing += site.playing()
                site.happen(event)
            print(f"{while_playing} of {len(events)} events while the station sent")
            assert while_playing > 0, "gateways that take what a station sends were killed"
            proxy.allow(None)
            site.until(lambda: agent.row().get("packets") == weather.packets, "every packet", weather.limit_s)
            assert proxy.cuts >= weather.cuts
            assert_exact(site, sent, weather)
            assert daemon.terminate() == 0
        finally:
            agent.kill()
            daemon.kill()
            if broker is not None:
                broker.stop()
