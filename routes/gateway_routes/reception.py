"""What a receiver checks of a complete session (docs/wire-format.md): each lane goes on where it was, and each mark
agrees with what came. No sockets, no clock; what is stored, and where, is the caller's business."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway_codecs.delivery_block import FINAL, MARK, DeliveryBlock
from gateway_routes.delivery import Lane, Range, normalised


class SomethingLost(ConnectionError):
    """A block does not go on where its lane was: nothing behind it may be acknowledged; a new session gets it again."""


class MarkDiffers(ValueError):
    """What arrived is not what the gateway says it sent: going on would not help."""


@dataclass(slots=True)
class _Tally:
    first: int
    digest: Any
    items: int = 0


class Reception:
    """What was received in one session."""

    def __init__(self, welcome: Mapping[str, Any]) -> None:
        """Begin with the gateway's welcome. Raises KeyError, TypeError, ValueError for one that is none."""
        self.lanes: dict[int, int] = {Lane[name.upper()].value: int(at) for name, at in welcome["lanes"].items()}
        self._known: list[Range] = [(int(first), int(end)) for first, end in welcome["ranges"]]
        self._tallies: dict[int, _Tally] = {}
        self._finals: set[int] = set()
        self.marks_confirmed = 0

    @property
    def finished(self) -> bool:
        """Whether every lane had its last mark: nothing will come any more."""
        return bool(self.lanes) and self._finals >= self.lanes.keys()

    def note_missing(self, first: int, end: int) -> None:
        """These positions will not come: the gateway said so."""
        self._known.append((first, end))

    def take(self, block: DeliveryBlock) -> None:
        """Check the next block. Raises SomethingLost, MarkDiffers."""
        self._check_order(block)
        if block.kind == MARK:
            self._check_mark(block)
            return
        tally = self._tallies.setdefault(block.lane, _Tally(block.from_position, hashlib.sha256()))
        tally.items += len(block.positions)
        tally.digest.update(block.batch.octets)

    def _check_order(self, block: DeliveryBlock) -> None:
        at = self.lanes.get(block.lane)
        begin = block.upto_position if block.kind == MARK else block.from_position
        if at is None or begin < at or normalised(at, self._known).low_water < begin:
            raise SomethingLost(f"lane {block.lane} was at {at}, and goes on at {begin}: something got lost")
        self.lanes[block.lane] = block.upto_position

    def _check_mark(self, block: DeliveryBlock) -> None:
        tally = self._tallies.pop(block.lane, None) or _Tally(block.from_position, hashlib.sha256())
        if tally.first != block.from_position:
            raise SomethingLost(f"a mark of lane {block.lane} is missing before position {block.from_position}")
        if (tally.items, tally.digest.digest()) != (block.items, block.digest):
            raise MarkDiffers(
                f"positions {block.from_position}..{block.upto_position}: {tally.items} items arrived, "
                f"{block.items} were sent, or their SHA-256 differs"
            )
        self.marks_confirmed += 1
        if block.flags & FINAL:
            self._finals.add(block.lane)
