"""What is kept for one virtual channel: its counts and those of its APIDs, and what packets say of themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from gateway_codecs.batches import (
    FEW_ROWS,
    Gap,
    I64Array,
    ItemFlag,
    Records,
    U8Array,
    Unit,
)
from gateway_codecs.counts import RESET_BEYOND, SEQUENCE_MODULUS, CountState
from gateway_codecs.datagrams import LOST_IN_KERNEL
from gateway_codecs.frames import (
    IDLE_APID,
    VcFormat,
)
from gateway_codecs.kept_state import mapping, natural
from gateway_codecs.packet_times import PacketTime, fill_generation_times
from gateway_codecs.packets import VcExtractor


class ChannelKey(NamedTuple):
    """One virtual channel of a link, or one MAP of it (USLP); `map_id` -1 = the whole channel.

    Replayed AOS frames have counts and packets of their own (732.0-B-4 4.1.2.5), expedited USLP frames too
    (732.1-B-2 4.1.2.11).
    """

    scid: int
    vcid: int
    replay: bool = False
    map_id: int = -1
    expedited: bool = False

    @property
    def name(self) -> str:
        """The name in the durable state and in statistics."""
        of_map = f"/{self.map_id}" if self.map_id >= 0 else ""
        apart = "/replay" if self.replay else "/expedited" if self.expedited else ""
        return f"{self.scid}/{self.vcid}{of_map}{apart}"

    @classmethod
    def parse(cls, name: str) -> ChannelKey | None:
        """Return the channel of a name, None when it is none."""
        match = re.fullmatch(r"([0-9]{1,5})/([0-9]{1,2})(?:/([0-9]{1,2}))?(?:/(replay|expedited))?", name)
        if match is None:
            return None
        map_id = -1 if match[3] is None else int(match[3])
        return cls(int(match[1]), int(match[2]), match[4] == "replay", map_id, match[4] == "expedited")


@dataclass(slots=True)
class Channel:
    """What is kept for one virtual channel."""

    settings: VcFormat
    extractor: VcExtractor
    count: CountState = field(default_factory=CountState)
    apids: dict[int, CountState] = field(default_factory=dict)
    groups: dict[str, CountState] = field(default_factory=dict)  # counts that several APIDs share
    frames: int = 0
    opaque_octets: int = 0  # of opaque frames and bitstreams
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

    def restore_packet_counts(self, kept: Mapping[str, Any]) -> None:
        """Take the counts over from a state; what is no count is left out."""
        for apid, last in mapping(kept.get("apids")).items():
            if natural(last) is not None and re.fullmatch("[0-9]{1,4}", apid) and int(apid) <= IDLE_APID:
                self.apid(int(apid)).last = last
        for name, last in mapping(kept.get("groups")).items():
            if natural(last) is not None:
                self.group(name).last = last

    def reset_statistics(self) -> None:
        """Count from zero."""
        self.frames = self.opaque_octets = self.unreadable_times = 0
        for count in (self.count, *self.apids.values(), *self.groups.values()):
            count.reset()

    def expect_gap(self, reason: str) -> None:
        """What is missing before the next frame, and before the next packet of each APID, has this reason."""
        for count in (self.count, *self.apids.values(), *self.groups.values()):
            count.reason = reason

    def expect_loss(self) -> None:
        """As `expect_gap` for datagrams that the kernel lost; a reason that is known already stays."""
        for count in (self.count, *self.apids.values(), *self.groups.values()):
            count.reason = count.reason or LOST_IN_KERNEL


def channel_statistics(channel: Channel) -> dict[str, Any]:
    """Return the counts of one channel, its APIDs and the groups of APIDs that share a count, JSON-able.

    `counting` is the configured rule: where it is `none` the steps are counted all the same, and mean nothing.
    """
    count, rule = channel.count, channel.settings.counting_of
    return {
        "counting": channel.settings.counting,
        "frames": channel.frames,
        "first_count": count.first,
        "last_count": count.last,
        "count_jumps": count.jumps,
        "repeated_counts": count.repeated,
        "frames_missing_mod": count.missing,
        "packets": sum(a.units for a in channel.apids.values()),
        "octets": channel.opaque_octets + sum(a.octets for a in channel.apids.values()),
        "unreadable_times": channel.unreadable_times,
        "apids": {
            apid: {
                "counting": rule(apid), "packets": a.units, "octets": a.octets, "seq_gaps": a.jumps,
                "missing": a.missing, "first_seq": a.first, "last_seq": a.last,
            }
            for apid, a in sorted(channel.apids.items())
        },
        "groups": {
            name: {"seq_gaps": group.jumps, "missing": group.missing} for name, group in sorted(channel.groups.items())
        },
    }  # fmt: skip


def _flags_of_first_octet(octet: int) -> int:
    """Return what the first octet of a packet sets in `flags`."""
    version = octet >> 5
    flags = version << ItemFlag.PACKET_VERSION_SHIFT
    if version == ENCAPSULATION:
        return flags | (0 if octet & 0x1C else ItemFlag.IDLE)
    secondary = ItemFlag.SECONDARY_HEADER if octet & 0x08 else 0
    return flags | secondary | (ItemFlag.TELECOMMAND if octet & 0x10 else 0)


PACKET = int(Unit.PACKET)  # an enumeration's member is looked up by Python code
ENCAPSULATION = 7  # packet version number (133.1-B-3 4.1.2.2)
FLAGS_OF_FIRST_OCTET = [_flags_of_first_octet(octet) for octet in range(256)]
_FLAGS = np.array(FLAGS_OF_FIRST_OCTET, np.uint16)
_WORDS = np.arange(4)


def fill_packet_headers(items: Records, octets: U8Array) -> None:
    """Fill the columns that packet primary headers give; encapsulation packets have no APID."""
    if len(items) <= FEW_ROWS:
        _fill_few_packet_headers(items, octets)
        return
    offset, packet = items["offset"], items["unit"] == PACKET
    first = octets[offset]
    flags = _FLAGS[first]
    space = (packet & (first < ENCAPSULATION << 5)).nonzero()[0]
    words = octets[offset[space][:, None] + _WORDS].view(">u2")
    apid = words[:, 0] & 0x7FF
    flags[space] |= (words[:, 1] >> 14) | np.where(apid == IDLE_APID, np.uint16(ItemFlag.IDLE), np.uint16(0))
    items["apid"][space] = apid
    items["sequence_count"][space] = words[:, 1] & 0x3FFF
    items["flags"] |= flags * packet


def _fill_few_packet_headers(items: Records, octets: U8Array) -> None:
    """As `fill_packet_headers`, quicker for a few."""
    view = octets.data
    apids, counts, flags = items["apid"].tolist(), items["sequence_count"].tolist(), items["flags"].tolist()
    for row, (at, unit) in enumerate(zip(items["offset"].tolist(), items["unit"].tolist(), strict=True)):
        if unit != PACKET:
            continue
        flags[row] |= FLAGS_OF_FIRST_OCTET[view[at]]
        if view[at] >> 5 != ENCAPSULATION:
            word = view[at + 2] << 8 | view[at + 3]
            apids[row], counts[row] = (view[at] & 7) << 8 | view[at + 1], word & 0x3FFF
            flags[row] |= word >> 14 | (ItemFlag.IDLE if apids[row] == IDLE_APID else 0)
    items["apid"], items["sequence_count"], items["flags"] = apids, counts, flags


def read_packets(channel: Channel, items: Records, octets: U8Array, vcid: int, gaps: list[Gap]) -> None:
    """Take a batch's packets APID by APID: count them, fill `missing_before` and times, sum up gaps as values."""
    packets = ((items["unit"] == PACKET) & (items["apid"] >= 0)).nonzero()[0]
    if not len(packets):
        return
    shared: dict[str, list[I64Array]] = {}
    timed: dict[PacketTime, list[I64Array]] = {}
    for taken in _by_apid(items, packets):
        state, rule = channel.apid(taken.apid), channel.settings.counting_of(taken.apid)
        state.octets += taken.octets
        channel.moved_apids.add(taken.apid)
        time = channel.settings.time_of(taken.apid)
        if time is not None:
            timed.setdefault(time, []).append(taken.rows)
        if rule not in {"apid", "none"}:
            state.note(items["sequence_count"][taken.rows])
            shared.setdefault(rule.removeprefix("shared:"), []).append(taken.rows)
        elif not (taken.even and state.go_on(taken.first, taken.last, len(taken.rows), SEQUENCE_MODULUS)):
            _count_steps(state, items, taken.rows, vcid, gaps if rule == "apid" else None)
    for time, rows in timed.items():
        channel.unreadable_times += fill_generation_times(items, np.concatenate(rows), octets, time)
    for group, members in shared.items():
        channel.moved_groups.add(group)
        _count_steps(channel.group(group), items, np.sort(np.concatenate(members)), vcid, gaps, group)


class _Packets(NamedTuple):
    """The packets of one APID in a batch: `rows` in order of arrival; `even`: each count follows the previous one."""

    apid: int
    rows: I64Array
    octets: int
    first: int
    last: int
    even: bool


def _by_apid(items: Records, packets: I64Array) -> list[_Packets]:
    """Return the packets (n >= 1) APID by APID."""
    if len(packets) <= FEW_ROWS:
        return _few_by_apid(items, packets)
    rows = packets[np.argsort(items["apid"][packets], kind="stable")]
    apids, counts = items["apid"][rows], items["sequence_count"][rows]
    heads = np.append(0, (apids[1:] != apids[:-1]).nonzero()[0] + 1)
    ends = np.append(heads[1:], len(rows))
    octets = np.add.reduceat(items["length"][rows], heads, dtype=np.int64)
    uneven = (counts[1:] - counts[:-1] - 1) % SEQUENCE_MODULUS != 0
    uneven[ends[:-1] - 1] = False
    broken = set((np.searchsorted(heads, uneven.nonzero()[0], "right") - 1).tolist())
    columns = (apids[heads], heads, ends, octets, counts[heads], counts[ends - 1])
    return [
        _Packets(apid, rows[begin:end], size, first, last, k not in broken)
        for k, (apid, begin, end, size, first, last) in enumerate(zip(*(c.tolist() for c in columns), strict=True))
    ]


def _few_by_apid(items: Records, packets: I64Array) -> list[_Packets]:
    """As `_by_apid`, quicker for a few."""
    rows: dict[int, list[int]] = {}
    found: dict[int, tuple[int, int, int, bool]] = {}
    columns = (items[name][packets].tolist() for name in ("apid", "length", "sequence_count"))
    for row, apid, length, count in zip(packets.tolist(), *columns, strict=True):
        if apid in found:
            octets, first, last, even = found[apid]
            found[apid] = octets + length, first, count, even and (count - last) % SEQUENCE_MODULUS == 1
            rows[apid].append(row)
        else:
            found[apid], rows[apid] = (length, count, count, True), [row]
    return [_Packets(apid, np.array(rows[apid], np.int64), *found[apid]) for apid in sorted(found)]


def _count_steps(
    state: CountState, items: Records, mine: I64Array, vcid: int, gaps: list[Gap] | None, group: str = ""
) -> None:
    """Count the steps of the packets `mine`; without `gaps` they are shown but mean nothing."""
    last, reason = state.last, state.take_reason()
    moved = state.take(items["sequence_count"][mine].astype(np.int64), SEQUENCE_MODULUS, RESET_BEYOND)
    if gaps is None:
        return
    real = moved.missing
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
