"""The gateway's side of a confirmation in a session: which digest was asked for, and what came (wire-format.md)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway_routes.delivery import DeliveryError

if TYPE_CHECKING:
    from gateway.homes.registry import DigestTaken
    from gateway.homes.session import Session


@dataclass(slots=True, eq=False)
class DigestAsking:
    """`wanted`: the home base said that it confirms. One digest is asked for at a time: (what of, first, end)."""

    say: Callable[[Mapping[str, Any]], Awaitable[None]]
    wanted: bool = False
    asked: tuple[str, int, int] | None = None

    async def ask(self, what: str, first: int, end: int) -> None:
        """Ask the home base for the digest of what it has stored of a range. Raises ConnectionError."""
        self.asked = (what, first, end)
        await self.say({"type": "confirm", "first": first, "end": end})

    async def take(self, told: Mapping[str, Any], session: Session, keep: DigestTaken | None) -> None:
        """Take an answer, and tell what came of it. Raises DeliveryError when it answers something else."""
        asked = self.asked
        if asked is None or keep is None or (told.get("first"), told.get("end")) != asked[1:]:
            span = "nothing" if asked is None else f"positions {asked[1]}..{asked[2]}"
            raise DeliveryError("bad message", f"the digest asked for is of {span}")
        answer = await keep(session, told)
        self.asked = None
        if answer is not None:
            await self.say({"first": asked[1], "end": asked[2], **answer})
