"""`gateway home playback`: one playback into a folder of its own, and from there into files by APID and hour."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.agent.exact_files import ExactFiles
from gateway.agent.hour_files import HourFiles
from gateway.errors import Conflict, UsageError
from gateway.homes.client import Wish
from gateway.homes.keeper import Keeper
from gateway.homes.playback_desk import Desk
from gateway.homes.playback_loop import PlaybackFolder
from gateway.homes.ways_in import Dial
from gateway.world import Storage, Worker

STORE, FILES = "store", "packets"
TOLD_S = 1.0
RESERVE_OCTETS = 16 << 20


@dataclass(frozen=True, slots=True)
class PlaybackAround:
    """What it stands on: its folder, the folder of the files in it, workers, the way in, and where one asks."""

    storage: Storage
    output: Storage
    worker: Callable[[str], Worker]
    dial: Callable[[str], Dial]
    desk: Desk
    jitter: Callable[[], float] = random.random


class PlaybackRun:
    """One playback for `home`. `asked`: what is asked for, or the id of a request; None: what the folder has noted."""

    def __init__(self, home: str, asked: Mapping[str, Any] | str | None, around: PlaybackAround) -> None:
        """Raises UsageError for a new folder without anything asked, Conflict for one of another playback, OSError."""
        self._home, self._asked, self._around = home, asked, around
        self._writer, self._filer = around.worker("playback-store"), around.worker("playback-files")
        self._folder = PlaybackFolder(around.storage, self._writer, STORE)
        self.request: str | None = None
        self.keeper: Keeper | None = None
        self.files: HourFiles | None = None
        self.last: dict[str, Any] = {}  # how it went, when it ended
        self._check()

    def _check(self) -> None:
        noted, asked = self._folder.told, self._asked
        if noted is None and asked is None:
            raise UsageError("a playback of what?", "--from and --to, two positions, or --request playback-7")
        if noted is None or asked is None or asked == noted["playback"] or asked == noted["asked"]:
            return
        of = noted["playback"] if noted["asked"] is None else f"{noted['playback']}: {noted['asked']}"
        raise Conflict(
            f"this folder has another playback, {of}", "leave the range out to go on with it, or name another"
        )

    async def run(self, tell: Callable[[dict[str, Any]], None]) -> None:
        """Fetch and write to the end. Raises SubscriptionRefused, MarkMismatch, Conflict, UsageError."""
        around = self._around
        self.request = await self._folder.request(self._asked or "", around.desk, around.jitter)
        wish = Wish(self._home, self.request, mode="playback", whole=True)
        keeper = self.keeper = Keeper(
            around.dial(self.request), around.storage, STORE, self._writer, wish, reserve_octets=RESERVE_OCTETS,
            jitter=around.jitter,
        )  # fmt: skip
        exact = ExactFiles(around.storage, "files.json", around.output)
        files = self.files = HourFiles(FILES, keeper, exact, self._filer, "receive_time")
        tasks = [
            asyncio.create_task(self._folder.fill(keeper), name=f"home base {self.request}"),
            asyncio.create_task(files.run(), name=f"outlet {self.request}"),
        ]
        try:
            while not files.ended and keeper.failure is None:
                tell(self.told())
                await asyncio.wait(tasks, timeout=TOLD_S, return_when=asyncio.FIRST_COMPLETED)
                if all(task.done() for task in tasks):
                    break
            if keeper.failure is not None:
                raise keeper.failure
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.last = self.told()
            await keeper.close()

    def told(self) -> dict[str, Any]:
        """Return how it goes."""
        keeper, store = self.keeper, self.keeper.store if self.keeper else None
        files = self.files.described() if self.files else {}
        missing = store.missing if store is not None else []
        return {
            "request": self.request,
            "connected": keeper is not None and keeper.progress.connected,
            "packets": store.packets if store is not None else 0,
            "octets": store.octets if store is not None else 0,
            "written": files.get("items", 0),
            "missing": missing,
            "marks_confirmed": keeper.progress.marks_confirmed if keeper else 0,
            "finished": keeper is not None and keeper.finished and bool(self.files and self.files.ended),
            "trouble": (keeper.trouble.text if keeper and keeper.trouble else None) or files.get("trouble"),
            "last_error": keeper.progress.last_error if keeper and not keeper.progress.connected else "",
        }
