"""The topics of docs/mqtt.md. Levels are configured names, numbers, or `none`: printable, without wildcards."""

from __future__ import annotations

import re
from typing import NamedTuple

from gateway_routes.shared_topics import topic_level

ROOT = "gw/v1"
LEVEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
REQUEST = "request"


class HomeTopic(NamedTuple):
    """The topic of one subscription of a home base."""

    instance: str
    home: str
    subscription: str

    def __str__(self) -> str:
        return f"{ROOT}/{self.instance}/home/{self.home}/{self.subscription}"

    @property
    def request(self) -> str:
        """Where the home base publishes to."""
        return f"{self}/{REQUEST}"


REQUESTS = f"{ROOT}/+/home/+/+/{REQUEST}"
"""Where all home bases publish to, as a filter."""


def status(name: str) -> str:
    """Return where a gateway tells whether it is there."""
    return f"{ROOT}/status/{name}"


def of_instance(instance: str, what: str) -> str:
    """Return where an instance's retained descriptor is."""
    return f"{ROOT}/{instance}/{what}"


def shared(instance: str, spacecraft: str, vcid: int, apid: int) -> str:
    """Return the shared topic of a stream of telemetry."""
    return f"{ROOT}/{instance}/{spacecraft}/tm/{topic_level(vcid)}/{topic_level(apid)}"


def requested(topic: str) -> HomeTopic | None:
    """Return whose request topic this is; None for one that is none."""
    levels = topic.removeprefix(f"{ROOT}/").split("/")
    if len(levels) != 5 or levels[1] != "home" or levels[4] != REQUEST:
        return None
    instance, home, name = levels[0], levels[2], levels[3]
    if not LEVEL.fullmatch(home) or not LEVEL.fullmatch(name) or not 0 < len(instance) <= 256:
        return None
    return HomeTopic(instance, home, name)
