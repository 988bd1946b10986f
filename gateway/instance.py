"""One mission instance: a mission in one support mode (or one replay run), with its journal, links, contacts and sessions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway_codecs.batches import Kind
from gateway_codecs.time_scales import format_utc, parse_utc
from gateway_routes.contact import ContactBook
from gateway_routes.selection import Selection

from gateway.errors import Conflict, NotFound
from gateway.event_pump import EventPump
from gateway.homes.registry import SubscriptionRegistry
from gateway.journal import Journal, Recording, SmallStore
from gateway.links import Link
from gateway.world import Clock

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
