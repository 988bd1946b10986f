"""One link's USLP frames become an IntakeBatch: MAPs in virtual channels, frames of one length or of varying length.

The frame count is of the virtual channel, and of its sequence-controlled and expedited frames apart (CCSDS 732.1-B-2
4.1.2.11); packets are of a MAP. A frame that is missing may have been of any MAP: it breaks the packets of all. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gateway_codecs.batches import (
    ABSENT,
    BoolArray,
    FrameFlag,
    Gap,
    I64Array,
    IntakeBatch,
    ItemFlag,
    Kind,
    Quality,
    Records,
    Unit,
    concatenate,
    empty_items,
    no_items,
)
from gateway_codecs.channels import Channel, ChannelKey
from gateway_codecs.datagrams import Datagrams
from gateway_codecs.frames import Frames, decode_varying
from gateway_codecs.intake import FrameIntake, LinkFormat, Part, Restoring, zones_of
from gateway_codecs.packets import NO_POINTER, Zones
from gateway_codecs.uslp_frame import WHOLE
from gateway_codecs.uslp_stream import Delimited, UslpDelimiter

_CHANNEL_BITS = (1 << 23) - 1
_NO_ROWS = np.zeros(0, np.int64)


def _numbers(rows: Records) -> I64Array:
    """Return a number for the MAP of each frame row, int64 (n,)."""
    expedited = (rows["flags"] & FrameFlag.EXPEDITED) != 0
    channel: I64Array = (rows["scid"].astype(np.int64) << 7) | (rows["vcid"].astype(np.int64) << 1) | expedited
    return (rows["map_id"].astype(np.int64) + 1) << 23 | channel


def _number(key: ChannelKey) -> int:
    return (key.map_id + 1) << 23 | key.scid << 7 | key.vcid << 1 | key.expedited


def _key(number: int) -> ChannelKey:
    return ChannelKey(number >> 7 & 0xFFFF, number >> 1 & 63, False, (number >> 23) - 1, bool(number & 1))


class UslpIntake(FrameIntake):
    """Takes the octets of a link of USLP frames."""

    versions = ("uslp",)

    def __init__(self, settings: LinkFormat) -> None:
        super().__init__(settings)
        fmt = self._format
        self._uncounted_channels: set[ChannelKey] = set()  # whose last frame had no count
        self._delimiter: UslpDelimiter | None = None
        if fmt.variable_length:
            truncated = {vcid: vc.truncated_frame_octets for vcid, vc in fmt.vcs.items() if vc.truncated_frame_octets}
            self._delimiter = UslpDelimiter(frozenset(fmt.scids), fmt.frame_length_octets, fmt.fecf, truncated)
        self._lost, self._ruled_out = False, 0  # of the rest, in a stream of frames of varying length

    # ---- channels and MAPs ----

    def _take_channels(self, frames: Frames, known: BoolArray, gaps: list[Gap]) -> list[Part | None]:
        numbers, parts = _numbers(frames.rows), list[Part | None]()
        channels = numbers & _CHANNEL_BITS
        for channel in np.unique(channels[known]).tolist():
            index = np.flatnonzero(known & (channels == channel))
            jumps = self._count_channel(_key(channel), index, frames, gaps)
            maps = set(np.unique(numbers[index]).tolist()) | (self._under_way(channel) if len(jumps) else set())
            for number in sorted(maps):  # the order in which a jump shows packets of several to be lost
                parts.append(self._take_map(_key(number), index[numbers[index] == number], jumps, frames, gaps))
        return parts

    def _count_channel(self, key: ChannelKey, index: I64Array, frames: Frames, gaps: list[Gap]) -> I64Array:
        """Count the good frames of a virtual channel; return those before which others are missing."""
        channel = self._channels.get(key) or self._open_channel(key)
        good = index[frames.rows["quality"][index] == Quality.GOOD]
        channel.frames += len(good)
        has_count = frames.rows["vc_count"][good] >= 0
        if len(good):
            (self._uncounted_channels.discard if has_count[-1] else self._uncounted_channels.add)(key)
        counted = good[has_count]
        if not len(counted):
            return _NO_ROWS
        jumps: I64Array = counted[self._count_frames(channel, frames.rows[counted], frames.modulus[counted], gaps)]
        return jumps

    def _under_way(self, channel: int) -> set[int]:
        """Return the MAPs of a channel that have a packet under way."""
        numbers = {_number(key): kept for key, kept in self._channels.items()}
        return {n for n, kept in numbers.items() if n & _CHANNEL_BITS == channel and kept.extractor.open is not None}

    def _take_map(
        self, key: ChannelKey, mine: I64Array, jumps: I64Array, frames: Frames, gaps: list[Gap]
    ) -> Part | None:
        """Extract from the frames of a MAP; `jumps` are the frames of the channel before which others are missing."""
        channel, rows = self._channels.get(key) or self._open_channel(key), frames.rows
        good = mine[rows["quality"][mine] == Quality.GOOD]
        opaque = (rows["flags"][good] & FrameFlag.OPAQUE) != 0
        channel.frames += len(good)
        channel.opaque_octets += int(frames.length[good[opaque]].sum())
        if channel.settings.service == "bitstream":
            return self._of_map(key, self._bits(channel, good[~opaque], frames))
        if channel.settings.service != "packets":
            return None
        index = np.union1d(mine, jumps)
        breaks = np.isin(index, jumps) | (rows["quality"][index] != Quality.GOOD)
        zones = _ended(zones_of(frames, index, breaks, channel.settings, np.isin(index, mine)), frames)
        found = channel.extractor.feed(zones)
        self._remember_open(channel, zones, frames)
        return self._of_map(key, self._items(channel, index, found, frames, gaps))

    def _of_map(self, key: ChannelKey, part: Part) -> Part:
        """Say of items which MAP they are of: it may be that a frame of another one showed them to be lost."""
        part.items["flags"] &= np.uint16(0xFFFF & ~ItemFlag.MAP)
        part.items["flags"] |= np.uint16(key.map_id << ItemFlag.MAP_SHIFT)
        return part

    def _from_frames(self, rows: Records, unit: Unit) -> Records:
        items = super()._from_frames(rows, unit)
        items["flags"] |= rows["map_id"].astype(np.uint16) << ItemFlag.MAP_SHIFT
        expedited = (rows["flags"] & FrameFlag.EXPEDITED) != 0
        items["flags"] |= np.where(expedited, ItemFlag.EXPEDITED, 0).astype(np.uint16)
        return items

    def _open_channel(self, key: ChannelKey) -> Channel:
        """Return the channel, or the MAP: it has no frame count of its own."""
        channel = super()._open_channel(key)
        if key.map_id >= 0:
            channel.settings = replace(channel.settings.of_map(key.map_id), counting="none")
        return channel

    def _uncounted(self) -> list[ChannelKey]:
        without = set(self._uncounted_channels)
        without |= {
            key for key, channel in self._channels.items() if key.map_id < 0 and channel.settings.counting == "none"
        }
        return [key for key in self._channels if key._replace(map_id=-1) in without]

    def _has(self, key: ChannelKey) -> bool:
        known = key.scid in self._format.scids and self._format.vc(key.vcid) is not None
        return known and key.map_id < 16 and not key.replay

    def _of_channel(self, rows: Records, key: ChannelKey) -> BoolArray:
        mine: BoolArray = _numbers(rows) == _number(key)
        return mine

    # ---- frames of varying length ----

    def feed(self, octets: bytes, now_ns: int, earth_receive_time_ns: int = ABSENT) -> IntakeBatch:
        """Take the next octets of the source and return what they complete."""
        if self._delimiter is None:
            return super().feed(octets, now_ns, earth_receive_time_ns)
        return self._scan(self._delimiter, octets, now_ns, earth_receive_time_ns, last=False)

    def feed_datagrams(self, datagrams: Datagrams, now_ns: int, earth_receive_time_ns: int = ABSENT) -> IntakeBatch:
        """Take datagrams of whole frames; what is no frame is kept."""
        if self._delimiter is None:
            return super().feed_datagrams(datagrams, now_ns, earth_receive_time_ns)
        if datagrams.lost_at == 0:
            for channel in self._channels.values():
                channel.expect_loss()
        at, scans, data = 0, list[tuple[int, Delimited]](), datagrams.octets
        for length in datagrams.lengths.tolist():
            scans.append((at, self._delimiter.scan(data[at : at + length], last=True)))
            at += length
        return datagrams.told(self._taken(_joined(scans), data, len(data), now_ns, earth_receive_time_ns))

    def cut(self, now_ns: int, reason: str) -> IntakeBatch:
        """The source was cut: keep what is incomplete as octets; the next octets begin a new frame. See FrameIntake."""
        rest = self._last(now_ns)
        return _followed(rest, super().cut(now_ns, reason))

    def finish(self, now_ns: int) -> IntakeBatch:
        """The source ended: keep what is incomplete, packets under way included."""
        rest = self._last(now_ns)
        return _followed(rest, super().finish(now_ns))

    def _last(self, now_ns: int) -> IntakeBatch:
        if self._delimiter is None or not self._rest:
            return IntakeBatch(empty_items())
        return self._scan(self._delimiter, b"", now_ns, ABSENT, last=True)

    def _scan(
        self, delimiter: UslpDelimiter, octets: bytes, now_ns: int, earth_receive_time_ns: int, last: bool
    ) -> IntakeBatch:
        data = self._rest + octets if self._rest else octets
        found = delimiter.scan(data, self._lost, self._ruled_out, last)
        self._rest, self._lost, self._ruled_out = bytes(data[found.taken :]), found.lost, found.ruled_out
        if not found.taken:
            return IntakeBatch(empty_items(), counters={"octets": len(octets)}, octets_in=len(octets))
        return self._taken(found, data, len(octets), now_ns, earth_receive_time_ns)

    def _taken(
        self, found: Delimited, data: bytes, octets_in: int, now_ns: int, earth_receive_time_ns: int
    ) -> IntakeBatch:
        frames = self._frames_of(found, data, self._offset)
        strays = no_items(len(found.stray_offset))
        strays["kind"], strays["unit"], strays["quality"] = Kind.TM, Unit.OCTETS, found.stray_cause
        strays["link"], strays["spacecraft"] = self._settings.link, self._settings.spacecraft
        strays["data_mode"] = self._settings.data_mode
        strays["offset"], strays["length"] = found.stray_offset, found.stray_length
        for rows in (frames.rows, strays):
            rows["receive_time_ns"], rows["earth_receive_time_ns"] = now_ns, earth_receive_time_ns
        self._offset += found.taken
        key = np.full(len(strays), -1, np.int64)
        return self._take(frames, octets_in, Part(frames.octets, strays, found.stray_row, key))

    def _frames_of(self, found: Delimited, data: bytes, at: int) -> Frames:
        octets = np.frombuffer(data, np.uint8, found.taken)
        return decode_varying(octets, found.offset, found.length, found.good, self._format, self._settings.link, at)

    def _again(self, data: bytes, at: int) -> tuple[Frames, int]:
        if self._delimiter is None:
            return super()._again(data, at)
        found = self._delimiter.scan(data)
        return self._frames_of(found, data, at), found.taken

    # ---- durable state ----

    def _state(self, whole: bool) -> dict[str, Any]:
        state = super()._state(whole)
        return state if self._delimiter is None else {**state, "lost": self._lost}

    def restoring(self, state: Mapping[str, Any], resumable: bool) -> Restoring:
        """As `restore`; see FrameIntake. A search goes on where it was."""
        yield from super().restoring(state, resumable)
        self._lost = resumable and isinstance(state, Mapping) and state.get("lost") is True


def _ended(zones: Zones, frames: Frames) -> Zones:
    """Say that nothing spans the end of frames with rule 111: what begins there and does not end is cut off."""
    if frames.uslp is None:
        return zones
    whole = (zones.length > 0) & (frames.uslp.construction_rule[zones.row] == WHOLE)
    if not whole.any():
        return zones
    behind = np.flatnonzero(whole) + 1
    return Zones(
        zones.octets,
        np.insert(zones.length, behind, 0),
        np.insert(zones.pointer, behind, NO_POINTER),
        np.insert(zones.row, behind, zones.row[whole]),
        np.insert(zones.breaks, behind, True),
    )


def _joined(scans: list[tuple[int, Delimited]]) -> Delimited:
    """Return the scans of pieces, each with where it began, as one."""
    at = np.array([begin for begin, _ in scans], np.int64)
    frames = np.array([len(found.offset) for _, found in scans], np.int64)
    strays = np.array([len(found.stray_offset) for _, found in scans], np.int64)

    def all_of(name: str) -> Any:
        parts = [getattr(found, name) for _, found in scans]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    return Delimited(
        all_of("offset") + np.repeat(at, frames), all_of("length"), all_of("good").astype(np.bool_),
        all_of("stray_offset") + np.repeat(at, strays), all_of("stray_length"),
        all_of("stray_row") + np.repeat(np.cumsum(frames) - frames, strays), all_of("stray_cause"),
        sum(found.taken for _, found in scans), False, 0,
    )  # fmt: skip


def _followed(batch: IntakeBatch, end: IntakeBatch) -> IntakeBatch:
    """Return a batch with what the end of the source adds to it."""
    counters = dict(batch.counters)
    for name, units in end.counters.items():
        counters[name] = counters.get(name, 0) + units
    return replace(
        batch, items=concatenate([batch.items, end.items]), state=end.state or batch.state, counters=counters
    )
