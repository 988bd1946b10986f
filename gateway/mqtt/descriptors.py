"""Retained descriptors: where a late listener finds itself. Published when they change, anew at each connection.

`gw/v1/status/NAME` tells whether the gateway is there: the broker says `offline` for one that is gone (last will).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from gateway import __version__
from gateway.instance import MissionInstance
from gateway.mqtt import topics
from gateway.mqtt.clients import BrokerError
from gateway.mqtt.connection import BrokerConnection
from gateway_codecs.mqtt_message import VERSION

LOOK_S = 0.5
REPEAT_LOOKS = 20  # home bases in accounts of their own are given no retained messages: they hear it again
STREAMS_EVERY = 4  # looks: counting through all channels takes longer, and they are seldom new
PLANNED_SHOWN = 5
Instances = Callable[[], Mapping[str, MissionInstance]]


def status(name: str, *, online: bool, instances: list[str] | None = None) -> bytes:
    """Return the status descriptor of a gateway."""
    told: dict[str, Any] = {"gateway": name, "state": "online" if online else "offline"}
    if online:
        told |= {"version": __version__, "message_version": VERSION, "instances": instances or []}
    return _json(told)


class Descriptors:
    """Keeps the retained topics of all instances as things are."""

    def __init__(self, name: str, instances: Instances, connection: BrokerConnection, max_octets: int) -> None:
        self._name, self._instances, self._connection = name, instances, connection
        self._max_octets = max_octets
        self._published: dict[str, bytes] = {}
        self._streams: dict[str, bytes] = {}
        self._looks = 0

    async def run(self) -> None:
        """Publish what changed; until cancelled."""
        while True:
            await self._connection.up.wait()
            with contextlib.suppress(BrokerError):  # all is published again at the next connection
                await self._publish_changes()
            await asyncio.sleep(LOOK_S)

    def forget(self) -> None:
        """A new connection, perhaps a new broker: everything is published again."""
        self._published.clear()
        self._looks = 0

    def told_otherwise(self, payload: bytes) -> None:
        """Somebody said something of our status: the last will of a connection that was thought dead."""
        topic = topics.status(self._name)
        if payload != self._published.get(topic, payload):
            del self._published[topic]  # said again at the next look

    async def _publish_changes(self) -> None:
        wanted, again = self._wanted(), self._looks % REPEAT_LOOKS == 0
        for topic, payload in wanted.items():
            if again or self._published.get(topic) != payload:
                await self._connection.publish(topic, payload, retain=True)
                self._published[topic] = payload
        for topic in [topic for topic in self._published if topic not in wanted]:  # its instance is not there any more
            await self._connection.publish(topic, b"", retain=True)
            self._published.pop(topic, None)
        self._looks += 1

    def last_words(self) -> dict[str, bytes]:
        """Return what is published when the gateway stops: `offline`, and every other descriptor is cleared."""
        ours = topics.status(self._name)
        return {ours: status(self._name, online=False), **{t: b"" for t in self._published if t != ours}}

    def _wanted(self) -> dict[str, bytes]:
        found = {}
        for name, instance in self._instances().items():
            if self._looks % STREAMS_EVERY == 0 or name not in self._streams:
                self._streams[name] = self._of_streams(instance)
            found[topics.of_instance(name, "streams")] = self._streams[name]
            found[topics.of_instance(name, "links")] = _of_links(instance)
            found[topics.of_instance(name, "contacts")] = _of_contacts(instance)
        found[topics.status(self._name)] = status(self._name, online=True, instances=sorted(self._instances()))
        return found

    def _of_streams(self, instance: MissionInstance) -> bytes:
        """Return what the instance is and which streams were seen; as many of them as a message holds."""
        journal = instance.journal
        rows = [
            {key: row[key] for key in ("spacecraft", "link", "scid", "vcid", "apid")}
            for row in instance.streams()
            if row["apid"] is not None
        ]
        about = {
            "gateway": self._name, "instance": instance.name, "mission": instance.mission.name,
            "support_mode": instance.support_mode, "replay": instance.replay is not None, "message_version": VERSION,
            "journal_id": str(journal.journal_id), "revision": journal.revision,
            "names": {"spacecraft": journal.names("spacecraft"), "links": journal.names("links")},
        }  # fmt: skip
        payload, all_of_them = _json({**about, "streams": rows, "streams_left_out": 0}), len(rows)
        while len(payload) > self._max_octets and rows:
            rows = rows[: len(rows) // 2]
            payload = _json({**about, "streams": rows, "streams_left_out": all_of_them - len(rows)})
        return payload


def _of_links(instance: MissionInstance) -> bytes:
    keys = ("name", "type", "spacecraft", "prime", "state", "contact")
    links = [{key: row[key] for key in keys} for row in (link.snapshot() for link in instance.links.values())]
    return _json({"instance": instance.name, "links": links})


def _of_contacts(instance: MissionInstance) -> bytes:
    """Return the contacts under way and the next planned ones; no times of data, which change with each frame."""
    keys = ("id", "spacecraft", "peer", "state", "planned_aos_utc", "planned_los_utc", "first_good_utc")
    rows = [{key: row[key] for key in keys} for row in instance.contacts() if row["state"] in {"active", "planned"}]
    active = [row for row in rows if row["state"] == "active"]
    planned = sorted((row for row in rows if row["state"] == "planned"), key=lambda row: str(row["planned_aos_utc"]))
    return _json({"instance": instance.name, "contacts": active + planned[:PLANNED_SHOWN]})


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode()
