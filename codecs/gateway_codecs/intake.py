"""One link's octets become an IntakeBatch: framing, checks, channels, packets, counts, gaps, durable state. Pure."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gateway_codecs.batches import (
    ABSENT,
    BoolArray,
    DataMode,
    FrameFlag,
    Gap,
    I64Array,
    IntakeBatch,
    ItemBatch,
    ItemFlag,
    Kind,
    Quality,
    Records,
    U8Array,
    Unit,
    concatenate,
    distinct,
    empty_items,
    gather,
    joined_rows,
    no_frames,
    no_items,
)
from gateway_codecs.channels import Channel, ChannelKey, channel_statistics, fill_packet_headers, read_packets
from gateway_codecs.counts import CountState
from gateway_codecs.datagrams import Datagrams, Units, find_units
from gateway_codecs.frames import (
    ALL_BITS,
    NO_PACKET_STARTS,
    TM_MODULUS,
    VERSION_NUMBER,
    FrameFormat,
    Frames,
    VcFormat,
    Version,
    decode_frames,
    uslp_pointers,
)
from gateway_codecs.kept_state import int64, mapping, natural
from gateway_codecs.packets import NO_POINTER, Extracted, OpenPacket, VcExtractor, Zones

if TYPE_CHECKING:  # a link without CADUs needs none of their decoders
    from gateway_codecs.cadus import CaduFormat

SAMPLE_OCTETS = 1 << 17
"""So many octets of a connection are looked at to say what they are (`hints`)."""
REREAD_OCTETS = 1 << 18
"""A restart reads its source again in pieces of at most this size, or of one frame."""
GOOD, PACKET, FRAME, OCTETS = Quality.GOOD, Unit.PACKET, Unit.FRAME, Unit.OCTETS
"""Before 3.12 a member costs microseconds each time that it is asked of its enumeration."""
OF_A_CHANNEL = np.zeros(256, np.bool_)
"""Qualities of frames whose channel is certain: good ones, and those refused for what stands in their data field."""
OF_A_CHANNEL[[GOOD, Quality.FHP_OUT_OF_RANGE, Quality.SERVICE]] = True


@dataclass(slots=True)
class Part:
    """Items of one source of a batch, with their arrival keys (row, key)."""

    octets: U8Array
    items: Records
    row: I64Array
    key: I64Array


@dataclass(frozen=True, slots=True)
class LinkFormat:
    """How to read one link: frames, packets back to back with `packet_prefix_octets` before each, or a container.

    With `cadus` the frames come as CADUs, and what is stored around frames on other links is not looked at.
    """

    link: int
    frames: FrameFormat | None = None
    spacecraft: int = 0
    packets: VcFormat = field(default_factory=VcFormat)
    packet_prefix_octets: int = 0
    data_mode: DataMode = DataMode.REAL_TIME
    cadus: CaduFormat | None = None
    container: Literal["none", "kiss"] = "none"  # kiss: its frames are items as they are


Reread = Callable[[int, int], bytes]
Restoring = Generator[tuple[int, int], bytes, None]


def drive(restoring: Restoring, reread: Reread | None) -> None:
    """Run a restart whose source can be read at once. Without `reread` nothing is asked for."""
    try:
        wanted = next(restoring)
        while reread is not None:
            wanted = restoring.send(reread(*wanted))
    except StopIteration:
        return


class FrameIntake:
    """Takes the octets of a link of TM or AOS frames. See `make_intake`."""

    versions: tuple[Version, ...] = ("tm", "aos")

    def __init__(self, settings: LinkFormat) -> None:
        if settings.frames is None:
            raise ValueError("a frame link needs a frame format")
        if settings.frames.version not in self.versions:
            raise ValueError(f"{type(self).__name__} is of {' and '.join(self.versions)} frames: use make_intake")
        self._settings, self._format = settings, settings.frames
        self._rest = b""
        self._offset = 0
        self._channels: dict[ChannelKey, Channel] = {}
        self._mc: dict[int, CountState] = {}
        self._causes: dict[str, int] = {}
        self._frames = 0
        self._idle_octets = 0
        self._padding_octets = 0

    @property
    def settings(self) -> LinkFormat:
        """How the link is read."""
        return self._settings

    def feed(self, octets: bytes, now_ns: int, earth_receive_time_ns: int = ABSENT) -> IntakeBatch:
        """Take the next octets of the source and return what they complete."""
        data = self._rest + octets if self._rest else octets
        whole = len(data) // self._format.unit_octets * self._format.unit_octets
        self._rest = bytes(data[whole:])
        if not whole:
            return IntakeBatch(empty_items(), counters={"octets": len(octets)}, octets_in=len(octets))
        frames = decode_frames(np.frombuffer(data, np.uint8, whole), self._format, self._settings.link, self._offset)
        frames.rows["receive_time_ns"] = now_ns
        frames.rows["earth_receive_time_ns"] = earth_receive_time_ns
        self._offset += whole
        return self._take(frames, len(octets))

    def feed_datagrams(self, datagrams: Datagrams, now_ns: int, earth_receive_time_ns: int = ABSENT) -> IntakeBatch:
        """Take datagrams of whole units; what a datagram of the wrong size holds beside good units is kept."""
        if datagrams.lost_at == 0:
            for channel in self._channels.values():
                channel.expect_loss()
        found = find_units(datagrams, self._format.unit_octets, self._good if self._format.fecf else None)
        frames = decode_frames(found.octets, self._format, self._settings.link, 0)
        frames.rows["source_offset"] = self._offset + found.offset
        frames.rows["receive_time_ns"] = now_ns
        frames.rows["earth_receive_time_ns"] = earth_receive_time_ns
        self._offset += len(datagrams.octets)
        strays = self._strays(found, datagrams.octets, now_ns, earth_receive_time_ns)
        return datagrams.told(self._take(frames, len(datagrams.octets), strays))

    def _good(self, octets: U8Array) -> BoolArray:
        good: BoolArray = decode_frames(octets, self._format, self._settings.link, 0).rows["quality"] == GOOD
        return good

    def _strays(self, found: Units, octets: bytes, now_ns: int, earth_receive_time_ns: int) -> Part | None:
        """Return what is no unit as octets that are kept, in their place among the frames."""
        strays = len(found.stray_offset)
        if not strays:
            return None
        items = no_items(strays)
        items["kind"], items["unit"], items["quality"] = Kind.TM, OCTETS, Quality.LENGTH
        items["link"], items["spacecraft"] = self._settings.link, self._settings.spacecraft
        items["data_mode"], items["receive_time_ns"] = self._settings.data_mode, now_ns
        items["earth_receive_time_ns"] = earth_receive_time_ns
        items["offset"], items["length"] = found.stray_offset, found.stray_length
        return Part(np.frombuffer(octets, np.uint8), items, found.stray_row, np.full(strays, -1, np.int64))

    def cut(self, now_ns: int, reason: str) -> IntakeBatch:
        """The source was cut: keep what is incomplete as octets; the next octets begin a new unit.

        A packet under way waits for the next frame of its channel, whose count tells whether any was lost between;
        without counting nothing tells, and it is given up.
        """
        for channel in self._channels.values():
            channel.expect_gap(reason)
        return self._end(now_ns, self._uncounted())

    def _uncounted(self) -> list[ChannelKey]:
        """Return the channels whose frames do not tell by their count that others are missing."""
        return [key for key, channel in self._channels.items() if channel.settings.counting == "none"]

    def give_up(self, now_ns: int) -> IntakeBatch:
        """What was cut did not come back in time: give up the packets under way. A frame under way stays."""
        given_up = self._given_up(self._channels)
        return IntakeBatch(given_up, counters={"rejected_packet_truncated": len(given_up)} if len(given_up) else {})

    def finish(self, now_ns: int) -> IntakeBatch:
        """The source ended: keep what is incomplete, packets under way included."""
        return replace(self._end(now_ns, self._channels), state=self.state())

    def _end(self, now_ns: int, without_end: Iterable[ChannelKey]) -> IntakeBatch:
        given_up, trailing = self._given_up(without_end), stray(self._rest, self._settings, now_ns, self._count)
        self._offset += len(self._rest)
        self._rest = b""
        counters = dict(trailing.counters)
        if len(given_up):
            counters["rejected_packet_truncated"] = len(given_up)
        return IntakeBatch(concatenate([given_up, trailing.items]), counters=counters)

    def _given_up(self, keys: Iterable[ChannelKey]) -> ItemBatch:
        """Return the packets under way as octets that are kept, each as of the frame where it began, in that order."""
        lost = [(key, self._channels[key].extractor.drop_open()) for key in keys]
        begun = [(key, opened) for key, opened in lost if opened is not None]
        begun.sort(key=lambda lost: lost[1].source_offset)
        rows = no_frames(len(begun))
        rows["version"] = VERSION_NUMBER[self._format.version]
        for row, (key, opened) in zip(rows, begun, strict=True):
            row["spacecraft"], row["vcid"], row["map_id"] = self._format.scids[key.scid], key.vcid, key.map_id
            row["flags"] = FrameFlag.REPLAY if key.replay else FrameFlag.EXPEDITED if key.expedited else 0
            row["vc_count"] = opened.vc_count
            row["receive_time_ns"] = opened.receive_time_ns
            row["earth_receive_time_ns"] = opened.earth_receive_time_ns
        items = self._from_frames(rows, OCTETS)
        items["quality"] = Quality.PACKET_TRUNCATED
        items["length"] = [len(opened.octets) for _, opened in begun]
        items["offset"] = np.cumsum(items["length"]) - items["length"]
        if begun:
            self._count(Quality.PACKET_TRUNCATED, len(begun))
        return ItemBatch(np.frombuffer(b"".join(opened.octets for _, opened in begun), np.uint8), items)

    def _count(self, cause: int, units: int) -> None:
        name = Quality(cause).name.lower()
        self._causes[name] = self._causes.get(name, 0) + units

    def _take(self, frames: Frames, octets_in: int, strays: Part | None = None) -> IntakeBatch:
        rows, before, no_time = frames.rows, dict(self._causes), self._unreadable_times()
        self._frames += len(rows)
        good = rows["quality"] == GOOD
        gaps: list[Gap] = []
        parts: list[Part | None] = [strays, self._kept_frames(frames, good)]
        for cause in [] if strays is None else strays.items["quality"].tolist():
            self._count(cause, 1)
        if self._format.version == "tm" and self._format.mc_counting:
            self._count_master_channels(rows, good)
        parts += self._take_channels(frames, OF_A_CHANNEL[rows["quality"]], gaps)
        counters = {f"rejected_{k}": v - before.get(k, 0) for k, v in self._causes.items() if v != before.get(k, 0)}
        counters |= {"frames": len(rows), "octets": octets_in}
        if frames.corrected_headers:
            counters["corrected_headers"] = frames.corrected_headers
        if self._unreadable_times() > no_time:
            counters["unreadable_times"] = self._unreadable_times() - no_time
        items = _joined([p for p in parts if p is not None and len(p.items)])
        counters["packets"] = int(np.count_nonzero(items.items["unit"] == PACKET))
        return IntakeBatch(items, rows, tuple(gaps), self._state(whole=False), counters, octets_in)

    def _take_channels(self, frames: Frames, known: BoolArray, gaps: list[Gap]) -> list[Part | None]:
        """Take the frames whose channel is certain, channel by channel."""
        keys, parts = _channel_keys(frames.rows), list[Part | None]()
        for key in distinct(keys[known]):
            index = (known & (keys == key)).nonzero()[0]
            parts.append(self._take_channel(ChannelKey(key >> 7, (key >> 1) & 63, bool(key & 1)), index, frames, gaps))
        return parts

    def _unreadable_times(self) -> int:
        return sum(channel.unreadable_times for channel in self._channels.values())

    def _count_master_channels(self, rows: Records, good: BoolArray) -> None:
        for scid in distinct(rows["scid"][good]):
            mine = rows["mc_count"][good & (rows["scid"] == scid)].astype(np.int64)
            self._mc.setdefault(scid, CountState()).take(mine, TM_MODULUS, TM_MODULUS)

    def _kept_frames(self, frames: Frames, good: BoolArray) -> Part | None:
        """Bad and opaque frames, whole."""
        rows = frames.rows
        bad = ~good
        for cause in distinct(rows["quality"][bad]):
            self._count(cause, int(np.count_nonzero(rows["quality"] == cause)))
        index = (bad | ((rows["flags"] & FrameFlag.OPAQUE) != 0)).nonzero()[0]
        if not len(index):
            return None
        items = self._from_frames(rows[index], FRAME)
        items["quality"] = rows["quality"][index]
        items["offset"], items["length"] = frames.offset[index], frames.length[index]
        return Part(frames.octets, items, index, _zeros(len(index)))

    def _from_frames(self, rows: Records, unit: Unit) -> Records:
        """Return item rows with the columns that frame rows give, one for each."""
        items = no_items(len(rows))
        items["kind"], items["unit"], items["link"] = Kind.TM, unit, self._settings.link
        items["data_mode"] = self._settings.data_mode
        for column in ("spacecraft", "version", "vcid", "vc_count", "receive_time_ns", "earth_receive_time_ns"):
            items[column] = rows[column]
        replay = (rows["flags"] & FrameFlag.REPLAY) != 0
        if np.count_nonzero(replay):
            items["flags"][replay] |= ItemFlag.REPLAY
            if self._settings.data_mode == DataMode.REAL_TIME:
                items["data_mode"][replay] = DataMode.DUMP
        return items

    def _take_channel(self, key: ChannelKey, index: I64Array, frames: Frames, gaps: list[Gap]) -> Part | None:
        """Count the good frames and extract. A frame refused for its data field only breaks the packet under way."""
        channel = self._channels.get(key) or self._open_channel(key)
        good = frames.rows["quality"][index] == GOOD
        breaks, counted = ~good, index[good]
        channel.frames += len(counted)
        if len(counted):
            breaks[good] = self._count_frames(channel, frames.rows[counted], frames.modulus[counted], gaps)
        if channel.settings.service == "opaque":
            channel.opaque_octets += len(counted) * frames.frame_octets
        if channel.settings.service == "bitstream":
            return self._bits(channel, counted, frames)
        if channel.settings.service != "packets":
            return None
        zones = zones_of(frames, index, breaks, channel.settings)
        found = channel.extractor.feed(zones)
        self._remember_open(channel, zones, frames)
        return self._items(channel, index, found, frames, gaps)

    def _bits(self, channel: Channel, index: I64Array, frames: Frames) -> Part:
        """Return the valid bits of a bitstream's frames: good octets, with how many bits of the last are not valid."""
        index = index[(frames.rows["flags"][index] & FrameFlag.IDLE) == 0]
        rows, start = frames.rows[index], frames.start[index]
        bits = 8 * (frames.end[index] - start)
        if self._format.version == "aos":
            bits = np.where(rows["fhp"] == ALL_BITS, bits, rows["fhp"].astype(np.int64) + 1)
        length = (bits + 7) // 8
        some = length > 0
        items = self._from_frames(rows, OCTETS)
        items["flags"] |= (8 * length - bits).astype(np.uint16)  # ItemFlag.UNUSED_BITS
        items["length"], items["offset"] = length, np.cumsum(length) - length
        channel.opaque_octets += int(length.sum())
        octets = gather(frames.octets, frames.offset[index] + start, length)
        return Part(octets, items[some], index[some], _zeros(int(some.sum())))

    def _open_channel(self, key: ChannelKey) -> Channel:
        settings = self._format.vc(key.vcid)
        if settings is None:
            raise AssertionError("a good frame belongs to a known channel")
        return self._channels.setdefault(key, Channel(settings, VcExtractor(settings)))

    def _count_frames(self, channel: Channel, rows: Records, modulus: I64Array, gaps: list[Gap]) -> BoolArray:
        last = channel.count.last
        # a count of eight bits comes round too often to tell a reset from a loss
        reset_beyond = (
            TM_MODULUS if self._format.version == "tm" else np.where(modulus > TM_MODULUS, modulus // 2, modulus)
        )
        moved = channel.count.take(rows["vc_count"].astype(np.int64), modulus, reset_beyond)
        reason = channel.count.take_reason()
        if channel.settings.counting == "none":
            return np.zeros(len(rows), np.bool_)
        for at in moved.missing.nonzero()[0].tolist():
            before = int(rows["vc_count"][at - 1]) if at else -1 if last is None else last
            gaps.append(
                Gap(
                    "frames", int(rows["spacecraft"][at]), int(rows["vcid"][at]), -1, before, int(rows["vc_count"][at]),
                    int(moved.missing[at]), "space link" if at else reason, 1, int(modulus[at]) == TM_MODULUS,
                )
            )  # fmt: skip
        return moved.jump

    def _remember_open(self, channel: Channel, zones: Zones, frames: Frames) -> None:
        opened = channel.extractor.open
        if opened is not None and opened.vc_count < 0 and opened.receive_time_ns < 0:
            at = int(zones.row[opened.source_offset])
            row, opened.place = frames.rows[at], self._place(at)
            opened.source_offset = int(row["source_offset"])
            opened.vc_count = int(row["vc_count"])
            opened.receive_time_ns = int(row["receive_time_ns"])
            opened.earth_receive_time_ns = int(row["earth_receive_time_ns"])

    def _place(self, row: int) -> tuple[int, ...]:
        """Return what beside its offset is needed to find a frame of the batch in the source again."""
        return ()

    def _items(self, channel: Channel, index: I64Array, found: Extracted, frames: Frames, gaps: list[Gap]) -> Part:
        self._idle_octets += found.idle_octets
        self._padding_octets += found.padding_octets
        begin = np.where(found.begin_row >= 0, found.begin_row, index[0])
        items = self._from_frames(frames.rows[begin], PACKET)
        if found.opened is not None and (found.begin_row < 0).any():
            before = found.begin_row < 0
            items["vc_count"][before] = found.opened.vc_count
            items["receive_time_ns"][before] = found.opened.receive_time_ns
            items["earth_receive_time_ns"][before] = found.opened.earth_receive_time_ns
        items["offset"], items["length"], items["quality"] = found.offset, found.length, found.quality
        rejected = found.quality != GOOD
        items["unit"][rejected] = OCTETS
        for cause in np.unique(found.quality[rejected]).tolist():
            self._count(cause, int((found.quality == cause).sum()))
        fill_packet_headers(items, found.octets)
        read_packets(channel, items, found.octets, int(frames.rows["vcid"][index[0]]), gaps)
        return Part(found.octets, items, found.end_row, found.end_key)

    # ---- durable state ----

    def state(self) -> dict[str, Any]:
        """Return the link's durable state, JSON-able: source offset, counts, open packets."""
        return self._state(whole=True)

    def _state(self, whole: bool) -> dict[str, Any]:
        """Return the state, or a patch that has of the packet counts only those that moved since the last patch.

        Offsets and open packets are always whole: a patch that is lost must never leave them at odds.
        """
        vcs = {
            key.name: {
                "count": channel.count.last,
                "open": _kept_open(channel.extractor.open),
                **channel.packet_counts(whole),
            }
            for key, channel in self._channels.items()
        }
        return {"source_offset": self._offset, "vcs": vcs}

    def restore(self, state: Mapping[str, Any], reread: Reread | None) -> None:
        """Continue after a restart. `reread(offset, octets)` reads a resumable source again; None: it cannot be."""
        drive(self.restoring(state, reread is not None), reread)

    def restoring(self, state: Mapping[str, Any], resumable: bool) -> Restoring:
        """As `restore`, step by step: yields each (offset, octets) to read again, and is sent those octets.

        What does not fit this configuration is left out, and nothing that the state or the source hold raises.
        Of the source at most REREAD_OCTETS are asked for at a time, no more than a longest packet and one such
        piece is held, and each channel's reading stops at the last frame that its open packet had reached: a
        channel that fell silent long ago costs one piece.
        """
        state = mapping(state)
        self._offset = (natural(state.get("source_offset")) or 0) if resumable else 0
        for name, value in mapping(state.get("vcs")).items():
            key, kept = ChannelKey.parse(name), mapping(value)
            if key is None or not self._has(key):
                continue
            channel = self._channels.get(key) or self._open_channel(key)
            channel.count.last = natural(kept.get("count"))
            channel.restore_packet_counts(kept)
            channel.expect_gap("" if resumable else "gateway restart")
            if resumable and channel.settings.service == "packets":
                channel.extractor.open = yield from self._reopen(key, channel, kept.get("open"))

    def _has(self, key: ChannelKey) -> bool:
        """Whether a channel of a durable state can be one of this link."""
        known = key.scid in self._format.scids and self._format.vc(key.vcid) is not None
        return known and key.map_id < 0 and not key.expedited

    def _reopen(
        self, key: ChannelKey, channel: Channel, kept: object
    ) -> Generator[tuple[int, int], bytes, OpenPacket | None]:
        """Gather the octets of a packet under way; None when the source does not hold it as the state says."""
        opened, octets = opened_as_kept(kept)
        if opened is None or (octets or 0) > channel.settings.max_packet_octets:
            return None
        until = opened.index + (channel.settings.max_packet_octets if octets is None else octets)
        at, gathered, unit = opened.source_offset, bytearray(), self._format.unit_octets
        while at < self._offset:
            wanted = min(max(1, REREAD_OCTETS // unit) * unit, self._offset - at)
            data = yield at, wanted
            frames, whole = self._again(data[:wanted], at)
            if not whole:
                return None
            zones = self._zones_again(frames, key, channel, at, opened)
            if zones is None:
                return None
            at += whole
            ends = len(gathered) + np.cumsum(zones.length)
            gathered += zones.octets.tobytes()
            if octets is not None and len(gathered) >= until:
                ends_there = bool((ends == until).any())  # a packet under way fills its last frame
                return replace(opened, octets=bytes(gathered[opened.index : until])) if ends_there else None
            if len(gathered) > until:
                return None
        return replace(opened, octets=bytes(gathered[opened.index :])) if octets is None else None

    def _again(self, data: bytes, at: int) -> tuple[Frames, int]:
        """Return the frames of a piece read again, and how many octets they take."""
        whole = len(data) // self._format.unit_octets * self._format.unit_octets
        return decode_frames(np.frombuffer(data, np.uint8, whole), self._format, self._settings.link, at), whole

    def _zones_again(
        self, frames: Frames, key: ChannelKey, channel: Channel, at: int, opened: OpenPacket
    ) -> Zones | None:
        """Return the zones of a channel in a piece read again; None when the packet did not begin there."""
        rows = frames.rows
        mine = (rows["quality"] == GOOD) & ((rows["flags"] & FrameFlag.IDLE) == 0)
        index = np.flatnonzero(mine & self._of_channel(rows, key))
        zones = zones_of(frames, index, np.zeros(len(index), np.bool_), channel.settings)
        if at > opened.source_offset:
            return zones
        begins = len(index) > 0 and index[0] == 0 and int(rows["vc_count"][0]) == opened.vc_count
        return zones if begins and opened.index < int(zones.length[0]) else None

    def _of_channel(self, rows: Records, key: ChannelKey) -> BoolArray:
        """Which frames are of a channel."""
        mine: BoolArray = _channel_keys(rows) == (key.scid << 7 | key.vcid << 1 | key.replay)
        return mine

    def reset_statistics(self) -> None:
        """Count from zero; what comes next is still compared with what came last."""
        self._causes, self._frames, self._idle_octets, self._padding_octets = {}, 0, 0, 0
        for count in self._mc.values():
            count.reset()
        for channel in self._channels.values():
            channel.reset_statistics()

    def statistics(self) -> dict[str, Any]:
        """Return what was counted, JSON-able."""
        return {
            "frames": self._frames,
            "causes": dict(self._causes),
            "idle_octets": self._idle_octets,
            "padding_octets": self._padding_octets,
            "mc_count_jumps": sum(c.jumps for c in self._mc.values()),
            "vcs": {key.name: channel_statistics(channel) for key, channel in self._channels.items()},
        }


def _zeros(count: int) -> I64Array:
    return np.zeros(count, np.int64)


def stray(rest: bytes, settings: LinkFormat, now_ns: int, count: Callable[[int, int], None]) -> IntakeBatch:
    """Return octets that are no whole unit as one kept item."""
    items = no_items(1 if rest else 0)
    items["kind"], items["unit"], items["quality"] = Kind.TM, OCTETS, Quality.LENGTH
    items["link"], items["spacecraft"], items["data_mode"] = settings.link, settings.spacecraft, settings.data_mode
    items["length"], items["receive_time_ns"] = len(rest), now_ns
    if rest:
        count(Quality.LENGTH, 1)
    return IntakeBatch(ItemBatch(np.frombuffer(rest, np.uint8), items), counters={"rejected_length": 1} if rest else {})


def _channel_keys(rows: Records) -> I64Array:
    """Return a number for the channel of each frame row, int64 (n,)."""
    replay = (rows["flags"] & FrameFlag.REPLAY) != 0
    keys: I64Array = (rows["scid"].astype(np.int64) << 7) | (rows["vcid"].astype(np.int64) << 1) | replay
    return keys


def _kept_open(opened: OpenPacket | None) -> list[int] | None:
    """Return a packet under way as the durable state has it; its octets are in the source."""
    if opened is None:
        return None
    times = [opened.receive_time_ns, opened.earth_receive_time_ns]
    return [opened.source_offset, opened.index, opened.vc_count, *times, len(opened.octets), *opened.place]


def opened_as_kept(kept: object) -> tuple[OpenPacket | None, int | None]:
    """Return (the packet under way without its octets, how many they are); None as the first = none, as the second =
    the state is of a version that did not keep it."""
    if not isinstance(kept, list | tuple) or len(kept) not in {4, 6, 9}:
        return None, None
    offset, index = (natural(value) for value in kept[:2])
    vc_count = -1 if kept[2] == -1 else natural(kept[2])  # USLP: a frame without a count
    octets = natural(kept[5]) if len(kept) > 4 else None
    place = tuple(number for value in kept[6:] if (number := natural(value)) is not None)
    if offset is None or index is None or vc_count is None or (len(kept) > 4 and not octets):
        return None, None
    earth_receive_time_ns = int64(kept[4], ABSENT) if len(kept) > 4 else ABSENT
    return OpenPacket(b"", offset, index, vc_count, int64(kept[3], 0), earth_receive_time_ns, place), octets


def zones_of(
    frames: Frames, index: I64Array, breaks: BoolArray, settings: VcFormat, own: BoolArray | None = None
) -> Zones:
    """Return the packet zones of frames `index` (m,) of one channel; what is not its `own` brings only breaks."""
    rows, start, end = frames.rows, frames.start[index], frames.end[index]
    pointer = rows["fhp"][index].astype(np.int64) if frames.uslp is None else uslp_pointers(frames.uslp, index)
    nothing = FrameFlag.IDLE | FrameFlag.OPAQUE
    empty = ((rows["flags"][index] & nothing) != 0) | (rows["quality"][index] != GOOD)
    if own is not None:
        empty |= ~own
    end[empty] = start[empty]
    pointer[empty] = NO_POINTER
    if settings.packet_start is None and frames.uslp is None:
        pointer[pointer == NO_PACKET_STARTS] = NO_POINTER
    if frames.frame_octets and len(index) and (start == start[0]).all() and (end == end[0]).all():
        octets = frames.view[index, int(start[0]) : int(end[0])].reshape(-1)
    else:
        octets = gather(frames.octets, frames.offset[index] + start, end - start)
    if settings.packet_start is not None:
        breaks = np.ones(len(index), np.bool_)
    return Zones(octets, end - start, pointer, index, breaks)


def _joined(parts: list[Part]) -> ItemBatch:
    """Join the parts of a batch into one, in order of arrival."""
    if not parts:
        return ItemBatch(np.zeros(0, np.uint8), no_items())
    if len(parts) == 1:
        return ItemBatch(parts[0].octets, parts[0].items[np.lexsort((parts[0].key, parts[0].row))])
    items = joined_rows([p.items for p in parts])
    shift = np.repeat(np.cumsum([0, *[len(p.octets) for p in parts[:-1]]]), [len(p.items) for p in parts])
    items["offset"] += shift
    order = np.lexsort((np.concatenate([p.key for p in parts]), np.concatenate([p.row for p in parts])))
    return ItemBatch(np.concatenate([p.octets for p in parts]), items[order])
