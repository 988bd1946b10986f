"""The second fence at a broker that is not ours: mosquitto with the file that `gateway homes acl` writes."""

from __future__ import annotations

import queue
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from typer.testing import CliRunner

from gateway.console.app import app

from .brokers import Broker, needs

pytestmark = pytest.mark.process
GATEWAY_YAML = "mqtt: {enabled: true, broker: external, name: main, username: usoc, password_env: USOC_SECRET}\n"
MISSION = "name: demo\nsupport_modes: [flight, simulation]\nspacecraft: [{name: picard, packets: {}}]\n"
HOMES = {
    "a": "name: a\ngrants:\n  - {mission: demo, support_modes: [flight], apids: [100, 101]}\n",
    "b": "name: b\ngrants:\n  - {mission: demo, support_modes: [simulation]}\n",
    "late": "name: late\nvalid_until_utc: 2020-01-01T00:00:00Z\ngrants:\n  - {mission: demo}\n",
}
SHARED = [f"gw/v1/demo.{mode}/picard/tm/none/{apid}" for mode in ("flight", "simulation") for apid in (100, 102)]
SAID = [
    *SHARED, *(f"gw/v1/demo.flight/home/{home}/all" for home in ("a", "b", "late")), "gw/v1/status/main",
    *(f"gw/v1/demo.{mode}/streams" for mode in ("flight", "simulation")), "elsewhere",
]  # fmt: skip
HEARD = {
    "a": {SHARED[0], "gw/v1/demo.flight/home/a/all", "gw/v1/status/main", "gw/v1/demo.flight/streams"},
    "b": {*SHARED[2:], "gw/v1/demo.flight/home/b/all", "gw/v1/status/main", "gw/v1/demo.simulation/streams"},
    "late": set[str](),
    "stranger": set[str](),
}


def configured(folder: Path, gateway: str = GATEWAY_YAML) -> Path:
    files = {"gateway": gateway, "missions/demo": MISSION, **{f"homes/{k}": v for k, v in HOMES.items()}}
    for name, text in files.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


class Listener:
    """Somebody who comes in under a name and listens to everything."""

    def __init__(self, name: str, port: int) -> None:
        self.heard: list[str] = []
        self._subscribed: queue.Queue[int] = queue.Queue()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        self.client.username_pw_set(name, "x")
        self.client.on_message = lambda client, data, message: self.heard.append(message.topic)
        self.client.on_subscribe = lambda client, data, mid, codes, properties: self._subscribed.put(mid)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.listen()

    def listen(self) -> None:
        """Ask for everything. Once more: what was on its way has been heard when the answer is there."""
        self.client.subscribe("#")
        self._subscribed.get(timeout=60)

    def say(self, topic: str) -> None:
        self.client.publish(topic, "x", qos=1).wait_for_publish(60)

    def leave(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def test_home_bases_hear_and_say_what_they_are_granted(tmp_path: Path) -> None:
    """Issue (a second fence at the broker): with the written file each home base that listens to everything hears its
    own and what it is granted; its requests reach the gateway, what it says for others or for the gateway nobody."""
    needs("mosquitto")
    answer = CliRunner().invoke(app, ["homes", "acl", str(configured(tmp_path / "config"))])
    assert answer.exit_code == 0, answer.output
    acl = tmp_path / "acl"
    acl.write_text(answer.output)
    # root, if we are: the user that mosquitto becomes may not read pytest's folders
    broker = Broker("mosquitto", tmp_path, settings=f"user root\nallow_anonymous true\nacl_file {acl}\n")
    listeners: dict[str, Listener] = {}
    try:
        broker.start()
        for name in (*HEARD, "usoc"):
            listeners[name] = Listener(name, broker.port)
        for topic in SAID:
            listeners["usoc"].say(topic)
        for home in ("a", "b", "stranger"):
            listeners[home].say(f"gw/v1/demo.flight/home/{home}/all/request")
            listeners[home].say("gw/v1/demo.flight/home/late/all/request")
            listeners[home].say("gw/v1/demo.flight/home/a/all")
        for one in listeners.values():
            one.listen()
    finally:
        for one in listeners.values():
            one.leave()
        broker.stop()
    for name, wanted in HEARD.items():
        assert (name, sorted(listeners[name].heard)) == (name, sorted(wanted))
    assert listeners["usoc"].heard.count("gw/v1/status/main") == 1
    requests = [topic for topic in listeners["usoc"].heard if topic.endswith("/request")]
    assert requests == [f"gw/v1/demo.flight/home/{home}/all/request" for home in ("a", "b")]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("mqtt: {enabled: true}\n", "mqtt.broker is nats"),
        ("mqtt: {enabled: true, broker: external}\n", "mqtt.username is not set"),
        (GATEWAY_YAML.replace("usoc,", "a,"), "name of a home base"),
    ],
)
def test_a_file_without_use_is_refused(tmp_path: Path, keys: str, told: str) -> None:
    """House rule: the command says why there is no file, and what to set."""
    answer = CliRunner().invoke(app, ["homes", "acl", str(configured(tmp_path, keys))])
    assert answer.exit_code != 0
    assert told in answer.output
