"""What a session talks through, and what one session may hold and take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Channel(Protocol):
    """A connection that carries whole messages: text for control, octets for data."""

    async def receive(self) -> str | bytes:
        """Return the next message. Raises ConnectionError when the channel is closed."""
        ...

    async def send(self, message: str | bytes) -> None:
        """Send one message, waiting while the peer does not read. Raises ConnectionError."""
        ...

    async def close(self, reason: str) -> None:
        """Close; never raises."""
        ...


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What one session may hold and take."""

    block_items: int = 2048
    block_octets: int = 1 << 18
    window_octets: int = 4 << 20
    window_blocks: int = 256
    hello_s: float = 10.0
    mark_items: int = 4096
    idle_mark_s: float = 0.2
    cursor_every_s: float = 0.2
    cursor_retry_s: float = 1.0
    goodbye_s: float = 2.0
