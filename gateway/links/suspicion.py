"""Notices that most of what a link brings is refused, and asks what it looks like instead."""

from __future__ import annotations

from collections.abc import Mapping

from gateway_codecs.batches import FRAME_CAUSES, Quality
from gateway_codecs.intake import SAMPLE_OCTETS, LinkFormat

FIRST_ASK_OCTETS, ASK_AGAIN = 8192, 4
NEWEST_OCTETS = 1 << 19
"""A read, and what waited before it for the rest of the longest frame."""
_OF_ALL = [f"rejected_{cause.name.lower()}" for cause in Quality if cause]
_OF_FRAMES = [f"rejected_{cause.name.lower()}" for cause in Quality if cause and cause in FRAME_CAUSES]


def bad_units(counters: Mapping[str, int], frames: bool) -> int:
    """Return how many units were refused: whole frames, or anything of a packet link."""
    return sum(counters.get(name, 0) for name in (_OF_FRAMES if frames else _OF_ALL))


class Suspicion:
    """Keeps the first octets of a connection, and of frames of varying length the newest ones too."""

    def __init__(self, settings: LinkFormat) -> None:
        self._settings = settings
        self._sample = bytearray()
        self._ask_octets = FIRST_ASK_OCTETS
        self._units = self._rejected = self._outside_bits = 0
        self._varying = settings.frames is not None and settings.frames.variable_length
        self._strays = 0  # since last asked; only where frames tell their length
        self._longer = False
        self._newest = bytearray()  # what may show why: a frame that is too long for the link shows itself at any time

    def note(self, data: bytes, counters: Mapping[str, int]) -> bool:
        """Take a piece of the connection and what it counted; returns whether it is time to ask for a hint."""
        self._units += counters.get("frames", 0) or counters.get("packets", 0)
        frames = self._settings.frames
        self._rejected += bad_units(counters, frames is not None)
        if self._varying:  # what begins as no frame of these is none
            self._rejected += counters.get("rejected_sync", 0)
        self._outside_bits += counters.get("outside_bits", 0)
        if self._varying:
            self._strays += counters.get("rejected_sync", 0)
            self._newest += data
            del self._newest[:-NEWEST_OCTETS]
        if self._ask_octets > SAMPLE_OCTETS:
            return self._strays > 0
        self._sample += data[: SAMPLE_OCTETS - len(self._sample)]
        if len(self._sample) < self._ask_octets:
            return False
        while self._ask_octets <= len(self._sample):
            self._ask_octets *= ASK_AGAIN
        return self.suspicious

    @property
    def suspicious(self) -> bool:
        """Whether there is something to ask: most is refused, or frames of varying length may be longer than said."""
        return self.mostly_refused or self._strays > 0

    @property
    def stands(self) -> bool:
        """Whether good frames do not refute what was found: most is refused, or the longest frames are."""
        return self.mostly_refused or self._longer

    @property
    def mostly_refused(self) -> bool:
        """Whether more was refused than taken; of a frame link whole frames, not the pieces that a cut leaves.

        Of a link of CADUs also bits outside them.
        """
        cadus = self._settings.cadus
        if cadus is not None and self._outside_bits > self._units * cadus.sync.period_bits:
            return True
        good = self._units - self._rejected if self._settings.frames is not None else self._units
        return self._rejected > max(0, good)

    def ask(self) -> str:
        """Return a hint, '' when there is none. Takes some tenths of a second: call in a worker."""
        from gateway_codecs.hints import hint, longer_hint  # the probe is behind it: a start needs none of that

        found, self._strays = "", 0
        if self.mostly_refused:
            found = hint(bytes(self._sample), self._settings)
        if not found and self._varying and self._settings.frames is not None:
            found = longer_hint(bytes(self._newest), self._settings.frames)
            self._longer = bool(found)
        return found
