"""The second fence: home bases at the gateway's own broker hear and say what they are granted, whatever they try."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.mqtt.accounts import Accounts, BrokerUser, HomeAccount, accounts_text, shared_topics, shrunk, subject
from gateway_config import load
from gateway_routes.rights import Grant, Where

from .brokers import MOSQUITTO_PUB, MOSQUITTO_SUB, Broker, heard, mosquitto_sub, needs
from .running import Daemon, ended, subscriber, until
from .test_exactness import HERA, hera_config, hera_expected

INSTANCE = "hera.simulation"
GRANT = "name: {home}\ngrants:\n  - {{mission: hera, support_modes: [simulation], vcids: [1], apids: [{apids}]}}\n"
VC1 = {int(apid): row["packets"] for apid, row in hera_expected()["apids"].items()} if HERA.exists() else {}
A, B, SHARED = [*sorted(VC1, key=lambda apid: -VC1[apid]), 0, 0, 0][:3]


class Site:
    """A gateway that asks for tokens, with its own broker, and two home bases with one APID each and one together."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.broker = folder, Broker("nats", folder)
        config = hera_config(folder, 400)
        for home, apids in (("laboratory-a", f"{A}, {SHARED}"), ("laboratory-b", f"{B}, {SHARED}")):
            (config / f"homes/{home}.yaml").write_text(GRANT.format(home=home, apids=apids))
        with (config / "gateway.yaml").open("a") as file:
            file.write(self.broker.keys())
        with (config / "links/recorded-pass.yaml").open("a") as file:
            file.write("enabled: false\n")
        self.daemon = Daemon(config, access=())
        self.daemon.start()
        operator = (folder / "var/operator.token").read_text().strip()
        self.api = httpx.Client(
            base_url=f"{self.daemon.url}/api/v1",
            headers={"Authorization": f"Bearer {operator}"},
            trust_env=False,
            timeout=60,
        )
        self.operator = operator

    def status(self) -> dict[str, Any]:
        return dict(self.api.get("/status").json()["mqtt"])

    def token(self, home: str) -> str:
        """Make a token and wait until the broker knows it."""
        text = str(self.api.post("/tokens", json={"name": home}).json()["token"])
        until(lambda: self.say(text, "gw/v1/x.y/none", "") == 0, "the broker does not let the home base in")
        return text

    def arguments(self, token: str) -> list[str]:
        user, _, secret = token.partition(".")
        return ["-p", str(self.broker.port), "-u", user, "-P", secret]

    def say(self, token: str, topic: str, text: str) -> int:
        assert MOSQUITTO_PUB is not None
        return subprocess.run(
            [MOSQUITTO_PUB, *self.arguments(token), "-t", topic, "-m", text],
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        ).returncode

    def listen(self, token: str, into: str, *more: str) -> subprocess.Popen[bytes]:
        return mosquitto_sub(self.folder / into, *self.arguments(token), "-t", "#", "-F", "%t", *more)

    def heard(self, into: str) -> list[str]:
        return [line.decode() for line in heard((self.folder / into).read_bytes().splitlines())]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Run it."""
    needs("nats")
    if not HERA.exists():
        pytest.skip("the shared recordings are not beside the checkout")
    if MOSQUITTO_SUB is None:
        pytest.skip("mosquitto_sub is not installed (apt-get install mosquitto-clients)")
    made = Site(tmp_path)
    until(lambda: made.status()["state"] == "connected", "connected to the broker")
    yield made
    made.api.close()
    if made.daemon.process is not None and made.daemon.process.poll() is None:
        assert made.daemon.terminate() == 0


@pytest.mark.process
def test_each_hears_its_own(site: Site) -> None:
    """Home bases that listen to everything hear the shared topics that they are granted and their own subscriptions;
    what they say for another is not heard, a client id that they take is theirs alone, a wrong secret is refused; a
    revoked token is put out within seconds; and the complete subscription over MQTT is exact."""
    a, b = site.token("laboratory-a"), site.token("laboratory-b")
    assert site.say(a[:-1], "x", "") != 0, "a wrong secret"
    listeners = [site.listen(a, "a", "-i", "same-name"), site.listen(b, "b", "-i", "same-name")]
    forged = {"type": "subscribe", "session": "forged", "home": "laboratory-b", "subscription": "s", "token": b}
    site.say(a, f"gw/v1/{INSTANCE}/home/laboratory-b/s/request", json.dumps(forged))
    (site.folder / "b.token").write_text(b + "\n")
    client = subscriber(
        f"mqtt://127.0.0.1:{site.broker.port}", INSTANCE, "laboratory-b", site.folder / "store", "--kind", "tm",
        "--count", str(VC1[B] + VC1[SHARED]), token_file=site.folder / "b.token",
    )  # fmt: skip
    site.api.post(f"/instances/{INSTANCE}/links/recorded-pass/enable").raise_for_status()
    assert ended(client)["packets"] == VC1[B] + VC1[SHARED]
    until(lambda: site.status()["counters"]["shared_items"] >= 2302, "all is published")
    for into, apids in (("a", {A, SHARED}), ("b", {B, SHARED})):
        mine = {f"gw/v1/{INSTANCE}/hera/tm/1/{n}" for n in apids}
        until(lambda into=into, mine=mine: mine <= set(site.heard(into)), "they hear theirs")  # type: ignore[misc]
    for into, home, apids in (("a", "laboratory-a", {A, SHARED}), ("b", "laboratory-b", {B, SHARED})):
        topics = set(site.heard(into))
        assert {topic for topic in topics if "/tm/" in topic} == {f"gw/v1/{INSTANCE}/hera/tm/1/{n}" for n in apids}
        assert all(topic.split("/")[4] == home for topic in topics if "/home/" in topic)
    assert any("/home/laboratory-b/" in topic for topic in site.heard("b"))
    assert all(one.poll() is None for one in listeners), "nobody threw the other off"
    assert "forged" not in json.dumps(site.api.get(f"/instances/{INSTANCE}/subscriptions").json())
    token_id = a.partition(".")[0].removeprefix("gwt_")
    assert site.api.delete(f"/tokens/{token_id}").status_code == 200
    until(lambda: site.say(a, "x", "") != 0, "a revoked token still comes in")
    for one in listeners:
        one.kill()
        one.wait()


def test_which_shared_topics_a_grant_gives(tmp_path: Path) -> None:
    """A shared topic carries all data modes: it is given whole or not at all; no two of them overlap."""
    config = hera_config(tmp_path, 1)
    mission, where = load(config).missions["hera"], Where(INSTANCE, "hera", "simulation")
    mode = frozenset({"simulation"})

    def given(*grants: Grant, bad_quality: bool = False) -> list[str]:
        found = shared_topics(grants, where, mission, bad_quality=bad_quality)
        return [topic.removeprefix(f"gw/v1/{INSTANCE}/hera/tm/") for topic in found]

    assert given(Grant("hera")) == [], "flight alone"
    assert given(Grant("hera", mode, items={"vcids": [1], "apids": [7, 5]})) == ["1/5", "1/7"]
    both = (Grant("hera", mode, items={"vcids": [1]}), Grant("hera", mode, items={"apids": [5]}))
    assert given(*both) == ["none/5", "1/+", "7/5"]
    assert given(Grant("hera", mode, items={"data_modes": ["real_time"]})) == []
    assert given(Grant("hera", mode, modes=frozenset({"complete"}))) == []
    assert given(Grant("hera", mode, items={"vcids": [1]}), bad_quality=True) == []
    assert given(Grant("hera", mode, items={"vcids": [1], "bad_quality": True}), bad_quality=True) == ["1/+"]


def test_who_loses_is_put_out_first() -> None:
    """A broker goes on with what was subscribed when rights become narrower: so the users go first, of that home base
    alone; names go into the configuration as they are meant."""
    user = BrokerUser("gwt_1", "$2a$04$x")
    before = Accounts(
        (), (HomeAccount("a", (user,), ("m.f",), ("t/1", "t/2")), HomeAccount("b", (user,), (), ("t/1",)))
    )
    after = Accounts((), (HomeAccount("a", (user,), ("m.f",), ("t/1",)), HomeAccount("b", (user,), (), ("t/1", "t/3"))))
    assert [len(one.users) for one in shrunk(before, after).homes] == [0, 1]
    assert shrunk(after, before).homes[0].users == (user,)
    assert subject("gw/v1/hera.flight/home/a/s") == "gw.v1.hera//flight.home.a.s"
    text = "\n".join(accounts_text(before, ("g", 'p"w'), ("l", "x")))
    assert '"p\\"w"' in text
    assert 'account: "home-a", subject: "gw.v1.*.home.a.*.request"' in text
