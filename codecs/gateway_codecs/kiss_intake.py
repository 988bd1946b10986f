"""KISS frames (files, TNCs over TCP): each data frame is one item with all its octets, AX.25 or CSP headers included.

What is no data frame is kept with Quality.CONTAINER as it came: bad escapes, commands that set a modem, octets outside
frames. A timestamp frame gives the next data frame of its port its earth receive time, and is no item.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gateway_codecs.batches import ABSENT, IntakeBatch, ItemBatch, Kind, Quality, Unit, empty_items, no_items
from gateway_codecs.datagrams import Datagrams
from gateway_codecs.declared import FormatError
from gateway_codecs.intake import LinkFormat, Reread, Restoring, drive, stray
from gateway_codecs.kept_state import int64, mapping, natural
from gateway_codecs.kiss import DATA, TIME_OCTETS, TIMESTAMP, Piece, Splitter, unescaped
from gateway_codecs.time_scales import unix_ns_to_tai_ns

TIME_MAX_MS = 7_258_118_400_000
"""2200-01-01: a later time in a timestamp frame is none."""


class KissIntake:
    """Takes the octets of a KISS link."""

    def __init__(self, settings: LinkFormat) -> None:
        self._settings = settings
        self._splitter = Splitter()
        self._offset = 0  # of what waits in the splitter
        self._times_ns: dict[int, int] = {}  # by port: earth receive time of the next data frame
        self._causes: dict[str, int] = {}
        self._frames = self._commands = self._unreadable_times = 0

    @property
    def settings(self) -> LinkFormat:
        """How the link is read."""
        return self._settings

    def feed(self, octets: bytes, now_ns: int, earth_receive_time_ns: int = ABSENT) -> IntakeBatch:
        """Take the next octets of the source and return the frames that they complete."""
        waiting, unreadable = len(self._splitter.rest), self._unreadable_times
        pieces = self._splitter.feed(octets)
        self._offset += waiting + len(octets) - len(self._splitter.rest)
        found = [row for piece in pieces if (row := self._row(piece, earth_receive_time_ns)) is not None]
        counters = {"octets": len(octets), "frames": sum(quality == Quality.GOOD for _, quality, _ in found)}
        if bad := len(found) - counters["frames"]:
            counters["rejected_container"] = bad
            self._count(Quality.CONTAINER, bad)
        if self._unreadable_times > unreadable:
            counters["unreadable_times"] = self._unreadable_times - unreadable
        self._frames += counters["frames"]
        return IntakeBatch(self._items(found, now_ns), state=self.state(), counters=counters, octets_in=len(octets))

    def _row(self, piece: Piece, earth_ns: int) -> tuple[bytes, Quality, int] | None:
        """Return what a piece is kept as: octets, quality, earth receive time; None for a timestamp."""
        bad = (piece.octets, Quality.CONTAINER, earth_ns)
        try:
            frame = unescaped(piece.octets) if piece.framed else b""
        except FormatError:
            return bad
        port, command = divmod(frame[0] if frame else 0, 16)
        if command == TIMESTAMP and len(frame) == 1 + TIME_OCTETS:
            self._take_time(port, int.from_bytes(frame[1:], "big"))
            return None
        if command != DATA or len(frame) < 2:
            self._commands += piece.framed
            return bad
        return frame[1:], Quality.GOOD, self._times_ns.pop(port, earth_ns)

    def _take_time(self, port: int, unix_ms: int) -> None:
        self._times_ns.pop(port, None)
        if unix_ms < TIME_MAX_MS:
            self._times_ns[port] = unix_ns_to_tai_ns(unix_ms * 1_000_000)
        else:
            self._unreadable_times += 1

    def _items(self, found: list[tuple[bytes, Quality, int]], now_ns: int) -> ItemBatch:
        items = no_items(len(found))
        lengths = np.array([len(octets) for octets, *_ in found], np.int64)
        items["quality"] = [quality for _, quality, _ in found]
        items["earth_receive_time_ns"] = [earth_ns for *_, earth_ns in found]
        items["length"], items["offset"] = lengths, np.cumsum(lengths) - lengths
        items["kind"], items["receive_time_ns"] = Kind.TM, now_ns
        items["unit"] = np.where(items["quality"] == Quality.GOOD, Unit.FRAME, Unit.OCTETS)
        items["link"], items["spacecraft"] = self._settings.link, self._settings.spacecraft
        items["data_mode"] = self._settings.data_mode
        return ItemBatch(np.frombuffer(b"".join(octets for octets, *_ in found), np.uint8), items)

    def _count(self, cause: int, units: int) -> None:
        name = Quality(cause).name.lower()
        self._causes[name] = self._causes.get(name, 0) + units

    def feed_datagrams(self, datagrams: Datagrams, now_ns: int, earth_receive_time_ns: int = ABSENT) -> IntakeBatch:
        """Take datagrams as the stream that they are pieces of."""
        return datagrams.told(self.feed(datagrams.octets, now_ns, earth_receive_time_ns))

    def cut(self, now_ns: int, reason: str) -> IntakeBatch:
        """The source was cut: keep the frame under way as octets; the next octets begin with a FEND."""
        return self._end(now_ns)

    def give_up(self, now_ns: int) -> IntakeBatch:
        """Give up what waits for octets after a cut: nothing, for a cut ends every frame."""
        return IntakeBatch(empty_items())

    def finish(self, now_ns: int) -> IntakeBatch:
        """The source ended: keep what is incomplete."""
        return replace(self._end(now_ns), state=self.state())

    def _end(self, now_ns: int) -> IntakeBatch:
        rest = self._splitter.cut()
        self._offset += len(rest)
        self._times_ns.clear()
        return stray(rest, self._settings, now_ns, self._count)

    def state(self) -> dict[str, Any]:
        """Return the link's durable state, JSON-able: where the frame under way begins, and the time it will have."""
        times = [[port, time_ns] for port, time_ns in self._times_ns.items()]
        kiss = {"begun": self._splitter.begun, "overlong": self._splitter.overlong, "times": times}
        return {"source_offset": self._offset, "kiss": kiss}

    def restore(self, state: Mapping[str, Any], reread: Reread | None) -> None:
        """Continue after a restart: the frame under way is fed again by the source, nothing is read twice."""
        drive(self.restoring(state, reread is not None), reread)

    def restoring(self, state: Mapping[str, Any], resumable: bool) -> Restoring:
        """As `restore`; nothing is asked for, and nothing that the state holds raises."""
        state = mapping(state)
        if resumable:
            kept = mapping(state.get("kiss"))
            self._offset = natural(state.get("source_offset")) or 0
            self._splitter = Splitter(kept.get("begun") is True, kept.get("overlong") is True)
            self._times_ns = _times(kept.get("times"))
        yield from ()

    def reset_statistics(self) -> None:
        """Count from zero."""
        self._causes = {}
        self._frames = self._commands = self._unreadable_times = 0

    def statistics(self) -> dict[str, Any]:
        """Return what was counted, JSON-able."""
        return {
            "frames": self._frames,
            "causes": dict(self._causes),
            "idle_octets": 0,
            "padding_octets": 0,
            "mc_count_jumps": 0,
            "commands": self._commands,
            "vcs": {},
        }


def _times(kept: object) -> dict[int, int]:
    """Return the times by port that a state holds; what is none is left out."""
    rows = kept if isinstance(kept, list) else []
    pairs = [row for row in rows if isinstance(row, list) and len(row) == 2 and natural(row[0]) is not None]
    times = {port: int64(time_ns, ABSENT) for port, time_ns in pairs if port < 16}
    return {port: time_ns for port, time_ns in times.items() if time_ns != ABSENT}
