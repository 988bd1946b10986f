"""Delivery to home bases: sessions, the WebSocket transport, and the subscriber with its store.

`HomeBase` is the Python client (docs/home-base.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.homes.home_base import HomeBase
    from gateway.homes.received import PacketBatch, ValueBatch

__all__ = ["HomeBase", "PacketBatch", "ValueBatch"]


def __getattr__(name: str) -> Any:
    """Import the client when it is asked for: a gateway starts without it."""
    if name == "HomeBase":
        from gateway.homes.home_base import HomeBase

        return HomeBase
    if name in __all__:
        from gateway.homes import received

        return getattr(received, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
