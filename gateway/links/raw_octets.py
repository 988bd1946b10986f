"""A link's raw octets on their way into its recording. The link goes on meanwhile: it waits only when much waits.

What comes while the writer is busy is written in its next turn, each piece as a record of its own. A recording that
fails costs the link nothing else: the octets that it refused are counted, and the operator is told once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from gateway.journal import Recording
from gateway.world import Worker

WAITING_OCTETS_MAX = 1 << 20


class _Piece(NamedTuple):
    receive_time_ns: int
    octets: bytes
    datagrams: list[int] | None  # their lengths


class RawOctets:
    """One for a link; all on the event loop. `tell(severity, message)` tells the operator."""

    def __init__(self, recording: Recording | None, worker: Worker, tell: Callable[[str, str], None]) -> None:
        self._recording, self._worker, self._tell = recording, worker, tell
        self._waiting: list[_Piece] = []
        self._waiting_octets = 0  # those that are being written included
        self._task: asyncio.Task[None] | None = None
        self.unrecorded = 0  # octets that could not be recorded since the recording failed

    def give(self, receive_time_ns: int, octets: bytes, datagrams: list[int] | None = None) -> None:
        """Record octets of a stream, or of datagrams of so many octets each; none = a connection begins."""
        if self._recording is None:
            return
        self._waiting.append(_Piece(receive_time_ns, octets, datagrams))
        self._waiting_octets += len(octets)
        if self._task is None:
            self._task = asyncio.create_task(self._write_waiting(self._recording), name="raw octets")

    async def room(self) -> None:
        """Wait while more than WAITING_OCTETS_MAX wait. Raises what broke the writing, if it was not the disk."""
        if self._task is not None and (self._waiting_octets > WAITING_OCTETS_MAX or self._task.done()):
            await self.settled()

    async def settled(self) -> None:
        """Wait until everything given is written, or refused. Raises as `room`."""
        while self._task is not None:
            task = self._task
            await asyncio.wait([task])
            if task is self._task:
                self._task = None
                task.result()

    async def close(self) -> None:
        """Write what waits, force and close the recording. Raises OSError."""
        await self.settled()
        if self._recording is not None:
            await self._worker(self._recording.close)

    async def _write_waiting(self, recording: Recording) -> None:
        while self._waiting:
            pieces, self._waiting = self._waiting, []
            try:
                refusals = await self._worker(lambda pieces=pieces: _written(recording, pieces))  # type: ignore[misc]
            finally:
                self._waiting_octets -= sum(len(piece.octets) for piece in pieces)
            for piece, refused in zip(pieces, refusals, strict=True):
                self._note(len(piece.octets), refused)
        self._task = None

    def _note(self, octets: int, refused: OSError | None) -> None:
        if refused is not None:
            if not self.unrecorded:
                self._tell("error", f"raw octets are not recorded: {refused.strerror or refused}")
            self.unrecorded += octets or 1
        elif self.unrecorded:
            self._tell("info", f"recording goes on, {self.unrecorded} octets were not recorded")
            self.unrecorded = 0


def _written(recording: Recording, pieces: list[_Piece]) -> list[OSError | None]:
    """Write pieces; return why each was refused, None = it was not. In the worker."""
    refusals: list[OSError | None] = []
    for piece in pieces:
        try:
            recording.append_all(*piece)
            refusals.append(None)
        except OSError as error:
            refusals.append(error)
    return refusals
