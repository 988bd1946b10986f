"""`gateway subscribe --mode timely`: by which way it listens."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.console.app import app
from gateway.homes.mqtt_dial import MqttDial
from gateway_codecs.delivery_block import encode_timely
from tests.gateway.test_journal import packets

WELCOME = {"type": "welcome", "mode": "timely", "names": {}}


class OneBlock:
    """A session of a timely listener: the welcome, a block, the end."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self._says = [json.dumps(WELCOME), encode_timely(packets([b"now", b"and then"], apid=5)), '{"type":"finished"}']

    async def send(self, message: str | bytes) -> None:
        """Take what the listener says."""
        self.heard.append(json.loads(message))

    async def receive(self) -> str | bytes:
        """Give the next message."""
        return self._says.pop(0)

    async def close(self, reason: str) -> None:
        """End."""


def test_a_timely_listener_over_mqtt(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address of a broker is dialled as one, in timely mode too; the session is the same as over WebSocket."""
    session = OneBlock()

    async def dialled(self: MqttDial) -> OneBlock:
        return session

    monkeypatch.setattr(MqttDial, "__call__", dialled)
    words = ["subscribe", "m.simulation", "--home", "h", "--mode", "timely", "--url", "mqtt://127.0.0.1:1", "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["items"], told["packets"], told["finished"]) == (2, 2, True)
    assert (session.heard[0]["type"], session.heard[0]["mode"]) == ("subscribe", "timely")
