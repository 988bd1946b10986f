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
    """`wanted`: the home base said that it confirms. One digest is asked for at a time: (what of, first, end).

    An answer may come again (MQTT loses messages): one that was taken is not looked at twice.
    """

    say: Callable[[Mapping[str, Any]], Awaitable[None]]
    wanted: bool = False
    asked: tuple[str, int, int] | None = None
    answered: tuple[int, int] | None = None

    @property
    def expects(self) -> bool:
        """Whether a digest may come."""
        return self.asked is not None or self.answered is not None

    async def ask(self, what: str, first: int, end: int) -> None:
        """Ask the home base for the digest of what it has stored of a range. Raises ConnectionError."""
        self.asked = (what, first, end)
        await self.say({"type": "confirm", "first": first, "end": end})

    async def take(self, told: Mapping[str, Any], session: Session, keep: DigestTaken | None) -> None:
        """Take an answer, and tell what came of it. Raises DeliveryError when it answers something else."""
        asked, of = self.asked, (told.get("first"), told.get("end"))
        if of == self.answered and (asked is None or of != asked[1:]):
            return
        if asked is None or keep is None or of != asked[1:]:
            span = "nothing" if asked is None else f"positions {asked[1]}..{asked[2]}"
            raise DeliveryError("bad message", f"the digest asked for is of {span}")
        answer = await keep(session, told)
        self.asked, self.answered = None, asked[1:]
        if answer is not None:
            await self.say({"first": asked[1], "end": asked[2], **answer})
