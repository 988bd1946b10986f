"""What all outlets have in common: a name, counts, and that what goes wrong in one is told, and tried again."""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import structlog

from gateway.console.harmless import harmless
from gateway.errors import GatewayError
from gateway_codecs.batches import BoolArray, ItemBatch, Quality, Unit

log = structlog.get_logger()
AGAIN_S = 5.0
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class Outlet(ABC):
    """Serves a local tool for ever. `run` has one owner, and ends when it is cancelled or the stream has ended."""

    kind = ""

    def __init__(self, name: str) -> None:
        self.name = name
        self.trouble: str | None = None
        self.ended = False
        self.items = 0
        self.octets = 0
        self.ready = asyncio.Event()  # it serves, or is in trouble

    async def run(self) -> None:
        """Serve; after an error of this outlet alone, again."""
        while not self.ended:
            try:
                await self._serve()
                self.ended = True
            except (OSError, GatewayError) as error:
                hint = f" ({error.hint})" if isinstance(error, GatewayError) and error.hint else ""
                text = f"{error}{hint}"
                if text != self.trouble:
                    log.warning("outlet", outlet=self.name, why=harmless(text))
                self.trouble = text
                self.ready.set()
                await asyncio.sleep(AGAIN_S)
            finally:
                await self._close()
        self.ready.set()

    def _well(self) -> None:
        """It serves."""
        if self.trouble is not None:
            log.info("outlet is well again", outlet=self.name)
        self.trouble = None
        self.ready.set()

    @abstractmethod
    async def _serve(self) -> None:
        """Serve until it cannot, or has nothing more to serve. Raises OSError, GatewayError."""

    async def _close(self) -> None:  # noqa: B027 there may be nothing to give back
        """Give back what `_serve` took; never raises."""

    def lag(self) -> int | None:
        """Return how many positions are stored and not served; None = not known."""
        return None

    def described(self) -> dict[str, Any]:
        """Return what the status shows."""
        state = (
            "trouble" if self.trouble else "ended" if self.ended else "serving" if self.ready.is_set() else "starting"
        )
        return {
            "type": self.kind, "state": state, "trouble": self.trouble, "items": self.items, "octets": self.octets,
            "lag_positions": self.lag(),
        }  # fmt: skip


def good_packets(batch: ItemBatch) -> BoolArray:
    """Return which items are packets that were not rejected."""
    wanted: BoolArray = (batch.items["unit"] == Unit.PACKET) & (batch.items["quality"] == Quality.GOOD)
    return wanted


def spacecraft_names(names: Mapping[str, Mapping[str, str]]) -> dict[int, str]:
    """Return names by number, as far as they are names: they become folders."""
    return {
        int(number): name
        for number, name in names.get("spacecraft", {}).items()
        if str(number).isdecimal() and NAME.fullmatch(str(name))
    }


def spacecraft_name(number: int, names: Mapping[int, str]) -> str:
    """Return the name of a spacecraft, or a text with its number."""
    return names.get(number, f"spacecraft-{number}")


def numbers(column: np.ndarray[Any, Any]) -> list[int]:
    """Return a column as numbers of Python."""
    found: list[int] = column.tolist()
    return found
