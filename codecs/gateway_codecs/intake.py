"""One link's octets become an IntakeBatch: framing, checks, channels, packets, counts, gaps, durable state. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gateway_codecs.batches import (
    ABSENT,
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
    gather,
    no_items,
)
from gateway_codecs.counts import RESET_BEYOND, CountState
from gateway_codecs.frames import IDLE_APID, ONLY_IDLE, FrameFormat, Frames, VcFormat, decode_frames
from gateway_codecs.packet_times import fill_generation_times
from gateway_codecs.packets import NO_POINTER, Extracted, OpenPacket, VcExtractor, Zones


@dataclass(slots=True)
class Part:
    """Items of one source of a batch, with their arrival keys (row, key)."""

    octets: U8Array
    items: Records
    row: I64Array
    key: I64Array


@dataclass(slots=True)
class Channel:
    """What is kept for one virtual channel."""

    settings: VcFormat
    extractor: VcExtractor
    count: CountState = field(default_factory=CountState)
    apids: dict[int, CountState] = field(default_factory=dict)
    groups: dict[str, CountState] = field(default_factory=dict)  # counts that several APIDs share
    frames: int = 0
    unreadable_times: int = 0
    moved_apids: set[int] = field(default_factory=set)
    moved_groups: set[str] = field(default_factory=set)

    def apid(self, apid: int) -> CountState:
        """Return the count of an APID, new when it was not seen before."""
        return self.apids.setdefault(apid, CountState())

    def group(self, name: str) -> CountState:
        """Return the count that the APIDs of a group share, new when it was not seen before."""
        return self.groups.setdefault(name, CountState())

    def packet_counts(self, whole: bool) -> dict[str, dict[str, int]]:
        """Return the durable counts by APID and group: all, or those that moved since they were last asked for."""
        counts: dict[str, dict[str, int]] = {"apids": {}, "groups": {}}
        for apid in self.apids if whole else self.moved_apids:
            counts["apids"][str(apid)] = self.apids[apid].last or 0
        for name in self.groups if whole else self.moved_groups:
            counts["groups"][name] = self.groups[name].last or 0
        self.moved_apids, self.moved_groups = set(), set()
        return counts if whole else {key: rows for key, rows in counts.items() if rows}

    def restore_packet_counts(self, kept: Mapping[str, Mapping[str, int]]) -> None:
        """Take the counts over from a state."""
        for apid, last in kept.get("apids", {}).items():
            self.apid(int(apid)).last = last
        for name, last in kept.get("groups", {}).items():
            self.group(name).last = last

    def expect_gap(self, reason: str) -> None:
        """What is missing before the next frame, and before the next packet of each APID, has this reason."""
        for count in (self.count, *self.apids.values(), *self.groups.values()):
            count.reason = reason


@dataclass(frozen=True, slots=True)
class LinkFormat:
    """How to read one link: frames, or packets back to back with `packet_prefix_octets` before each."""

    link: int
    frames: FrameFormat | None = None
    spacecraft: int = 0
    packets: VcFormat = field(default_factory=VcFormat)
    packet_prefix_octets: int = 0
    data_mode: DataMode = DataMode.REAL_TIME


Reread = Callable[[int, int], bytes]


class FrameIntake:
    """Takes the octets of a frame link. See `make_intake`."""

    def __init__(self, settings: LinkFormat) -> None:
        if settings.frames is None:
            raise ValueError("a frame link needs a frame format")
        self._settings, self._format = settings, settings.frames
        self._rest = b""
        self._offset = 0
        self._channels: dict[tuple[int, int], Channel] = {}
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
            return IntakeBatch(ItemBatch(np.zeros(0, np.uint8), no_items()), octets_in=len(octets))
        frames = decode_frames(np.frombuffer(data, np.uint8, whole), self._format, self._settings.link, self._offset)
        frames.rows["receive_time_ns"] = now_ns
        frames.rows["earth_receive_time_ns"] = earth_receive_time_ns
        self._offset += whole
        return self._take(frames, len(octets))

    def cut(self, now_ns: int, reason: str) -> IntakeBatch:
        """The source was cut: keep the incomplete unit as octets; the next octets begin a new unit."""
        rest, self._rest = self._rest, b""
        for channel in self._channels.values():
            channel.expect_gap(reason)
        return stray(rest, self._settings, now_ns, self._count)

    def finish(self, now_ns: int) -> IntakeBatch:
        """The source ended: keep what is incomplete, packets under way included."""
        given_up = [self._give_up(vc, channel, now_ns) for (_, vc), channel in self._channels.items()]
        parts = [part for part in given_up if part is not None]
        trailing = stray(self._rest, self._settings, now_ns, self._count)
        self._offset += len(self._rest)
        self._rest = b""
        if len(trailing.items):
            parts.append(Part(trailing.items.octets, trailing.items.items, _zeros(1), _zeros(1)))
        return IntakeBatch(_joined(parts), state=self.state(), counters=dict(trailing.counters))

    def _give_up(self, vcid: int, channel: Channel, now_ns: int) -> Part | None:
        lost = channel.extractor.drop_open()
        if lost is None:
            return None
        items = self._rows(1, vcid, Unit.OCTETS, now_ns)
        items["quality"] = Quality.PACKET_TRUNCATED
        items["length"] = len(lost.octets)
        self._count(Quality.PACKET_TRUNCATED, 1)
        return Part(np.frombuffer(lost.octets, np.uint8), items, _zeros(1), _zeros(1))

    def _count(self, cause: int, units: int) -> None:
        name = Quality(cause).name.lower()
        self._causes[name] = self._causes.get(name, 0) + units

    def _take(self, frames: Frames, octets_in: int) -> IntakeBatch:
        rows, before, no_time = frames.rows, dict(self._causes), self._unreadable_times()
        self._frames += len(rows)
        good = rows["quality"] == Quality.GOOD
        gaps: list[Gap] = []
        parts: list[Part | None] = [self._kept_frames(frames)]
        if self._format.version == "tm" and self._format.mc_counting:
            self._count_master_channels(rows[good])
        keys = rows["scid"].astype(np.int64) * 64 + rows["vcid"]
        for key in np.unique(keys[good]).tolist():
            index = np.flatnonzero(good & (keys == key))
            parts.append(self._take_channel(divmod(key, 64), index, frames, gaps))
        counters = {f"rejected_{k}": v - before.get(k, 0) for k, v in self._causes.items() if v != before.get(k, 0)}
        counters |= {"frames": len(rows), "octets": octets_in}
        if self._unreadable_times() > no_time:
            counters["unreadable_times"] = self._unreadable_times() - no_time
        items = _joined([p for p in parts if p is not None and len(p.items)])
        counters["packets"] = int((items.items["unit"] == Unit.PACKET).sum())
        return IntakeBatch(items, rows, tuple(gaps), self._state(whole=False), counters, octets_in)

    def _unreadable_times(self) -> int:
        return sum(channel.unreadable_times for channel in self._channels.values())

    def _count_master_channels(self, rows: Records) -> None:
        for scid in np.unique(rows["scid"]).tolist():
            mine = rows["mc_count"][rows["scid"] == scid].astype(np.int64)
            self._mc.setdefault(scid, CountState()).take(mine, 256)

    def _kept_frames(self, frames: Frames) -> Part:
        """Bad and opaque frames, whole."""
        rows = frames.rows
        bad = rows["quality"] != Quality.GOOD
        for cause in np.unique(rows["quality"][bad]).tolist():
            self._count(cause, int((rows["quality"] == cause).sum()))
        index = np.flatnonzero(bad | ((rows["flags"] & FrameFlag.OPAQUE) != 0))
        items = self._from_frames(rows[index], Unit.FRAME)
        items["quality"] = rows["quality"][index]
        items["offset"] = index * frames.view.shape[1]
        items["length"] = frames.view.shape[1]
        return Part(frames.view.reshape(-1), items, index, np.zeros(len(index), np.int64))

    def _rows(self, count: int, vcid: int, unit: Unit, now_ns: int) -> Records:
        items = no_items(count)
        items["kind"], items["unit"] = Kind.TM, unit
        items["data_mode"] = self._settings.data_mode
        items["link"], items["spacecraft"] = self._settings.link, self._settings.spacecraft
        items["vcid"], items["receive_time_ns"] = vcid, now_ns
        return items

    def _from_frames(self, rows: Records, unit: Unit) -> Records:
        items = self._rows(len(rows), -1, unit, 0)
        for column in ("spacecraft", "version", "vcid", "vc_count", "receive_time_ns", "earth_receive_time_ns"):
            items[column] = rows[column]
        replay = (rows["flags"] & FrameFlag.REPLAY) != 0
        items["flags"] |= np.where(replay, ItemFlag.REPLAY, 0).astype(np.uint16)
        if self._settings.data_mode == DataMode.REAL_TIME:
            items["data_mode"][replay] = DataMode.DUMP
        return items

    def _take_channel(self, key: tuple[int, int], index: I64Array, frames: Frames, gaps: list[Gap]) -> Part | None:
        rows = frames.rows[index]
        channel = self._channels.get(key) or self._open_channel(key)
        channel.frames += len(index)
        jump = self._count_frames(channel, rows, frames.modulus[index], gaps)
        if channel.settings.service != "packets":
            return None
        zones = _zones(frames, index, jump, channel.settings)
        found = channel.extractor.feed(zones)
        self._remember_open(channel, index, frames)
        return self._items(channel, index, found, frames, gaps)

    def _open_channel(self, key: tuple[int, int]) -> Channel:
        settings = self._format.vc(key[1])
        if settings is None:
            raise AssertionError("a good frame belongs to a known channel")
        return self._channels.setdefault(key, Channel(settings, VcExtractor(settings)))

    def _count_frames(self, channel: Channel, rows: Records, modulus: I64Array, gaps: list[Gap]) -> np.ndarray:
        last = channel.count.last
        moved = channel.count.take(rows["vc_count"].astype(np.int64), modulus)
        reason = channel.count.take_reason()
        if channel.settings.counting == "none":
            return np.zeros(len(rows), np.bool_)
        for at in np.flatnonzero(moved.missing).tolist():
            before = int(rows["vc_count"][at - 1]) if at else -1 if last is None else last
            gaps.append(
                Gap(
                    "frames", int(rows["spacecraft"][at]), int(rows["vcid"][at]), -1, before, int(rows["vc_count"][at]),
                    int(moved.missing[at]), "space link" if at else reason, 1, int(modulus[at]) == 256,
                )
            )  # fmt: skip
        return moved.jump

    def _remember_open(self, channel: Channel, index: I64Array, frames: Frames) -> None:
        opened = channel.extractor.open
        if opened is not None and opened.vc_count < 0 and opened.receive_time_ns < 0:
            row = frames.rows[index[opened.source_offset]]
            opened.source_offset = int(row["source_offset"])
            opened.vc_count = int(row["vc_count"])
            opened.receive_time_ns = int(row["receive_time_ns"])

    def _items(self, channel: Channel, index: I64Array, found: Extracted, frames: Frames, gaps: list[Gap]) -> Part:
        self._idle_octets += found.idle_octets
        self._padding_octets += found.padding_octets
        begin = np.where(found.begin_row >= 0, found.begin_row, index[0])
        items = self._from_frames(frames.rows[begin], Unit.PACKET)
        if found.opened is not None and (found.begin_row < 0).any():
            before = found.begin_row < 0
            items["vc_count"][before] = found.opened.vc_count
            items["receive_time_ns"][before] = found.opened.receive_time_ns
        items["offset"], items["length"], items["quality"] = found.offset, found.length, found.quality
        rejected = found.quality != Quality.GOOD
        items["unit"][rejected] = Unit.OCTETS
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
        vcs: dict[str, Any] = {}
        for (scid, vcid), channel in self._channels.items():
            opened = channel.extractor.open
            vcs[f"{scid}/{vcid}"] = {
                "count": channel.count.last,
                "open": None
                if opened is None
                else [opened.source_offset, opened.index, opened.vc_count, opened.receive_time_ns],
                **channel.packet_counts(whole),
            }
        return {"source_offset": self._offset, "vcs": vcs}

    def restore(self, state: dict[str, Any], reread: Reread | None) -> None:
        """Continue after a restart. `reread(offset, octets)` reads a resumable source again; None: it cannot be."""
        self._offset = int(state.get("source_offset", 0)) if reread else 0
        for name, kept in state.get("vcs", {}).items():
            scid, vcid = (int(part) for part in name.split("/"))
            if self._format.vc(vcid) is None:
                continue
            channel = self._open_channel((scid, vcid))
            channel.count.last = kept.get("count")
            channel.restore_packet_counts(kept)
            channel.expect_gap("" if reread else "gateway restart")
            if reread and kept.get("open"):
                self._reopen(channel, (scid, vcid), kept["open"], reread)

    def _reopen(self, channel: Channel, key: tuple[int, int], kept: list[int], reread: Reread) -> None:
        offset, index, vc_count, received = kept
        octets = np.frombuffer(reread(offset, self._offset - offset), np.uint8)
        whole = len(octets) // self._format.unit_octets * self._format.unit_octets
        if not whole:
            return
        frames = decode_frames(octets[:whole], self._format, self._settings.link, offset)
        rows = frames.rows
        mine = (rows["quality"] == Quality.GOOD) & (rows["scid"] == key[0]) & (rows["vcid"] == key[1])
        chosen = np.flatnonzero(mine & ((rows["flags"] & FrameFlag.IDLE) == 0))
        zones = _zones(frames, chosen, np.zeros(len(chosen), np.bool_), channel.settings)
        channel.extractor.open = OpenPacket(zones.octets[index:].tobytes(), offset, index, vc_count, received)

    def statistics(self) -> dict[str, Any]:
        """Return what was counted, JSON-able."""
        return {
            "frames": self._frames,
            "causes": dict(self._causes),
            "idle_octets": self._idle_octets,
            "padding_octets": self._padding_octets,
            "mc_count_jumps": sum(c.jumps for c in self._mc.values()),
            "vcs": {f"{scid}/{vcid}": channel_statistics(c) for (scid, vcid), c in self._channels.items()},
        }


def channel_statistics(channel: Channel) -> dict[str, Any]:
    """Return the counts of one channel and its APIDs, JSON-able."""
    count = channel.count
    return {
        "frames": channel.frames,
        "first_count": count.first,
        "last_count": count.last,
        "count_jumps": count.jumps,
        "repeated_counts": count.repeated,
        "frames_missing_mod": count.missing,
        "packets": sum(a.units for a in channel.apids.values()),
        "unreadable_times": channel.unreadable_times,
        "apids": {
            apid: {
                "packets": a.units, "octets": a.octets, "seq_gaps": a.jumps, "missing": a.missing,
                "first_seq": a.first, "last_seq": a.last,
            }
            for apid, a in sorted(channel.apids.items())
        },
    }  # fmt: skip


def _zeros(count: int) -> I64Array:
    return np.zeros(count, np.int64)


def stray(rest: bytes, settings: LinkFormat, now_ns: int, count: Callable[[int, int], None]) -> IntakeBatch:
    """Return octets that are no whole unit as one kept item."""
    items = no_items(1 if rest else 0)
    items["kind"], items["unit"], items["quality"] = Kind.TM, Unit.OCTETS, Quality.LENGTH
    items["link"], items["spacecraft"], items["data_mode"] = settings.link, settings.spacecraft, settings.data_mode
    items["length"], items["receive_time_ns"] = len(rest), now_ns
    if rest:
        count(Quality.LENGTH, 1)
    return IntakeBatch(ItemBatch(np.frombuffer(rest, np.uint8), items), counters={"rejected_length": 1} if rest else {})


def _zones(frames: Frames, index: I64Array, breaks: np.ndarray, settings: VcFormat) -> Zones:
    start = frames.start[index]
    end = np.where((frames.rows["flags"][index] & FrameFlag.IDLE) != 0, start, frames.end[index])
    pointer = frames.rows["fhp"][index].astype(np.int64)
    if settings.packet_start is None:
        pointer[pointer >= ONLY_IDLE] = NO_POINTER
    if (start == start[0]).all() and (end == end[0]).all():
        octets = frames.view[index, int(start[0]) : int(end[0])].reshape(-1)
    else:
        octets = gather(frames.view.reshape(-1), index * frames.view.shape[1] + start, end - start)
    if settings.packet_start is not None:
        breaks = np.ones(len(index), np.bool_)
    return Zones(octets, end - start, pointer, index, breaks)


def fill_packet_headers(items: Records, octets: U8Array) -> None:
    """Fill the columns that packet primary headers give; encapsulation packets have no APID."""
    first = octets[items["offset"]] if len(items) else np.zeros(0, np.uint8)
    version = (first >> 5).astype(np.uint16)
    packet = items["unit"] == Unit.PACKET
    items["flags"] |= np.where(packet, version << ItemFlag.PACKET_VERSION_SHIFT, 0).astype(np.uint16)
    space = np.flatnonzero(packet & (version != 7))
    at = items["offset"][space]
    apid = ((octets[at].astype(np.int32) & 7) << 8) | octets[at + 1]
    sequence = (octets[at + 2].astype(np.int32) << 8) | octets[at + 3]
    items["apid"][space] = apid
    items["sequence_count"][space] = sequence & 0x3FFF
    flags = (sequence >> 14) | np.where(octets[at] & 0x08, ItemFlag.SECONDARY_HEADER, 0)
    flags |= np.where(octets[at] & 0x10, ItemFlag.TELECOMMAND, 0) | np.where(apid == IDLE_APID, ItemFlag.IDLE, 0)
    items["flags"][space] |= flags.astype(np.uint16)
    idle = packet & (version == 7) & ((first & 0x1C) == 0)
    items["flags"][idle] |= np.uint16(ItemFlag.IDLE)


def read_packets(channel: Channel, items: Records, octets: U8Array, vcid: int, gaps: list[Gap]) -> None:
    """Take a batch's packets APID by APID: count them, fill `missing_before` and times, sum up gaps as values."""
    packets = np.flatnonzero((items["unit"] == Unit.PACKET) & (items["apid"] >= 0))
    apids = items["apid"][packets]
    shared: dict[str, list[int]] = {}
    for apid in np.unique(apids).tolist():
        mine = packets[apids == apid]
        state, rule = channel.apid(apid), channel.settings.counting_of(apid)
        state.octets += int(items["length"][mine].sum())
        channel.moved_apids.add(apid)
        time = channel.settings.time_of(apid)
        if time is not None:
            channel.unreadable_times += fill_generation_times(items, mine, octets, time)
        if rule in {"apid", "none"}:
            _count_steps(state, items, mine, vcid, gaps if rule == "apid" else None)
        else:
            state.note(items["sequence_count"][mine])
            shared.setdefault(rule.removeprefix("shared:"), []).append(apid)
    for group, members in shared.items():
        channel.moved_groups.add(group)
        _count_steps(channel.group(group), items, packets[np.isin(apids, members)], vcid, gaps, group)


def _count_steps(
    state: CountState, items: Records, mine: I64Array, vcid: int, gaps: list[Gap] | None, group: str = ""
) -> None:
    """Count the steps of the packets `mine`; without `gaps` they are shown but mean nothing."""
    last, reason = state.last, state.take_reason()
    moved = state.take(items["sequence_count"][mine].astype(np.int64), 16384)
    if gaps is None:
        return
    real = np.where(moved.missing > RESET_BEYOND, 0, moved.missing)
    items["missing_before"][mine] = real
    first = 1 if real[0] and reason != "space link" else 0  # the reason explains the first jump alone
    for jumps, why in ((np.flatnonzero(real[:first]), reason), (first + np.flatnonzero(real[first:]), "space link")):
        if len(jumps):
            gaps.append(_packet_gap(items, mine, real, jumps, vcid, last, why, group))


def _packet_gap(
    items: Records,
    mine: I64Array,
    missing: I64Array,
    jumps: I64Array,
    vcid: int,
    last: int | None,
    reason: str,
    group: str,
) -> Gap:
    """Sum up the jumps of one count's packets: `mine` their rows, `missing` before each, `jumps` which of them."""
    at, total = int(jumps[0]), int(missing[jumps].sum())
    row, counts = items[mine[at]], items["sequence_count"]
    before = int(counts[mine[at - 1]]) if at else -1 if last is None else last
    spacecraft, apid, after = int(row["spacecraft"]), int(row["apid"]), int(row["sequence_count"])
    return Gap("packets", spacecraft, vcid, apid, before, after, total, reason, len(jumps), group=group)


def _joined(parts: list[Part]) -> ItemBatch:
    """Join the parts of a batch into one, in order of arrival."""
    if not parts:
        return ItemBatch(np.zeros(0, np.uint8), no_items())
    items = np.concatenate([p.items for p in parts])
    shift = np.repeat(np.cumsum([0, *[len(p.octets) for p in parts[:-1]]]), [len(p.items) for p in parts])
    items["offset"] += shift
    order = np.lexsort((np.concatenate([p.key for p in parts]), np.concatenate([p.row for p in parts])))
    octets = parts[0].octets if len(parts) == 1 else np.concatenate([p.octets for p in parts])
    return ItemBatch(octets, items[order])
