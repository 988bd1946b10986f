"""Delivery to home bases: sessions, the WebSocket transport, and the subscriber with its store.

`HomeBase` is the Python client (docs/home-base.md).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.errors import Conflict
    from gateway.homes.client import MarkMismatch, SubscriptionRefused
    from gateway.homes.home_base import HomeBase
    from gateway.homes.received import PacketBatch, ValueBatch

__all__ = ["Conflict", "HomeBase", "MarkMismatch", "PacketBatch", "SubscriptionRefused", "ValueBatch"]
PLACES = {
    "Conflict": "gateway.errors", "HomeBase": "gateway.homes.home_base", "MarkMismatch": "gateway.homes.client",
    "PacketBatch": "gateway.homes.received", "SubscriptionRefused": "gateway.homes.client",
    "ValueBatch": "gateway.homes.received",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import the client when it is asked for: a gateway starts without it."""
    if name in PLACES:
        return getattr(import_module(PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
