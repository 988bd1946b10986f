"""One mission instance: a mission in one support mode (or one replay run), with its journal, links, contacts and sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway_codecs.batches import Kind
from gateway_routes.selection import Selection

DOWNLOAD_OCTETS = 1 << 18
EVENTS_SELECTION = Selection(kinds=frozenset({Kind.EVENT}))


@dataclass(frozen=True, slots=True)
class Identity:
    """Who an instance is, for people and for the API."""

    instance: str
    mission: str
    support_mode: str
    data_mode: str
    lifecycle: str
    spacecraft: tuple[str, ...]
    replay: Mapping[str, Any] | None = None
