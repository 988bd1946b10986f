"""Packets back to back without frames (files, TCP): the same items, counts and durable state as a frame link.

A stream of packets has no sync marker. After a bad header the octets are searched one by one for a
place where two plausible headers follow each other; what was skipped is kept as rejected items. When nothing
more will come, one packet that ends with the stream is plausible too. Only a search looks inside octets: a
stream in step that ends inside a packet ends with a cut packet, and nothing is made of its inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from gateway_codecs.batches import (
    ABSENT,
    Gap,
    IntakeBatch,
    ItemBatch,
    Kind,
    Quality,
    Records,
    U8Array,
    Unit,
    concatenate,
    empty_items,
    no_items,
)
from gateway_codecs.channels import Channel, channel_statistics, fill_packet_headers, read_packets
from gateway_codecs.datagrams import Datagrams
from gateway_codecs.frames import VcFormat
from gateway_codecs.intake import FrameIntake, LinkFormat, Reread, Restoring, drive, stray
from gateway_codecs.kept_state import mapping, natural
from gateway_codecs.packet_walk import IDLE_OCTET, packet_length
from gateway_codecs.packets import VcExtractor

if TYPE_CHECKING:
    from gateway_codecs.kiss_intake import KissIntake

GOOD, TM, PACKET, OCTETS = int(Quality.GOOD), int(Kind.TM), int(Unit.PACKET), int(Unit.OCTETS)
SKIPPED_MAX_OCTETS = 65536
"""A search without success keeps what it skipped in items of at most this size."""


class PacketIntake:
    """Takes the octets of a packet link."""

    def __init__(self, settings: LinkFormat) -> None:
        self._settings = settings
        self._prefix, self._max = settings.packet_prefix_octets, settings.packets.max_packet_octets
        self._accepted = [version in settings.packets.packet_versions for version in range(8)]
        self._channel = Channel(settings.packets, VcExtractor(settings.packets))
        self._rest = b""
        self._offset = 0
        self._searching = False
        self._fault = int(Quality.PACKET_VERSION)  # why it is searching
        self._ruled_out = 0  # octets after the fault where a search found no packet, kept while it waits for more
        self._causes: dict[str, int] = {}
        self._idle_octets = 0

    @property
    def settings(self) -> LinkFormat:
        """How the link is read."""
        return self._settings

    def feed(self, octets: bytes, now_ns: int, earth_receive_time_ns: int = ABSENT) -> IntakeBatch:
        """Take the next octets of the source and return what they complete."""
        return self._take(octets, now_ns, earth_receive_time_ns, last=False)

    def feed_datagrams(self, datagrams: Datagrams, now_ns: int, earth_receive_time_ns: int = ABSENT) -> IntakeBatch:
        """Take datagrams of whole packets: each begins with a packet, and what ends within one is kept."""
        if datagrams.lost_at == 0:
            self._channel.expect_loss()
        view, at, pieces = memoryview(datagrams.octets), 0, list[tuple[int, int, int]]()
        for length in datagrams.lengths.tolist():
            found = self._in_datagram(view[at : at + length])
            pieces += [(at + offset, octets, quality) for offset, octets, quality in found]
            at += length
        self._offset += at
        buffer = np.frombuffer(datagrams.octets, np.uint8)
        return datagrams.told(self._batch(buffer, pieces, at, now_ns, earth_receive_time_ns))

    def _in_datagram(self, view: memoryview) -> list[tuple[int, int, int]]:
        """Return the pieces (offset, length, quality) of one datagram, to its end."""
        pieces, done = self._scan(view, last=True)
        self._searching, self._ruled_out = False, 0
        return pieces + [(done, len(view) - done, int(Quality.LENGTH))] * (done < len(view))

    def cut(self, now_ns: int, reason: str) -> IntakeBatch:
        """The source was cut: keep the incomplete packet as octets; the next octets begin a new packet."""
        batch = self._end(now_ns) if self._rest else IntakeBatch(empty_items())
        self._searching = False
        self._channel.expect_gap(reason)
        return batch

    def give_up(self, now_ns: int) -> IntakeBatch:
        """Give up what waits for octets after a cut: nothing, for a cut ends every packet."""
        return IntakeBatch(empty_items())

    def reset_statistics(self) -> None:
        """Count from zero; what comes next is still compared with what came last."""
        self._causes, self._idle_octets = {}, 0
        self._channel.reset_statistics()

    def finish(self, now_ns: int) -> IntakeBatch:
        """The source ended: keep what is incomplete."""
        return replace(self._end(now_ns), state=self.state())

    def _end(self, now_ns: int) -> IntakeBatch:
        """Decide what was waiting for more octets; what is no whole packet even so is kept."""
        batch = self._take(b"", now_ns, ABSENT, last=True)
        self._offset += len(self._rest)
        rest, self._rest, self._ruled_out = self._rest, b"", 0
        trailing = stray(rest, self._settings, now_ns, self._count)
        items = concatenate([batch.items, trailing.items])
        return replace(batch, items=items, counters=batch.counters | trailing.counters)

    def _count(self, cause: int, units: int) -> None:
        name = Quality(cause).name.lower()
        self._causes[name] = self._causes.get(name, 0) + units

    def _take(self, octets: bytes, now_ns: int, earth_ns: int, last: bool) -> IntakeBatch:
        data = self._rest + octets if self._rest else octets
        pieces, done = self._scan(memoryview(data), last)
        self._rest = bytes(data[done:])
        self._offset += done
        return self._batch(np.frombuffer(data, np.uint8, done), pieces, len(octets), now_ns, earth_ns)

    def _batch(
        self, buffer: U8Array, pieces: list[tuple[int, int, int]], octets_in: int, now_ns: int, earth_ns: int
    ) -> IntakeBatch:
        items = self._rows(pieces, now_ns, earth_ns)
        fill_packet_headers(items, buffer)
        gaps: list[Gap] = []
        no_time = self._channel.unreadable_times
        if len(items):
            read_packets(self._channel, items, buffer, -1, gaps)
        causes = [quality for _, _, quality in pieces if quality != GOOD]
        counters = {"octets": octets_in, "packets": len(pieces) - len(causes)}
        if self._channel.unreadable_times > no_time:
            counters["unreadable_times"] = self._channel.unreadable_times - no_time
        for cause in causes:
            self._count(cause, 1)
            name = f"rejected_{Quality(cause).name.lower()}"
            counters[name] = counters.get(name, 0) + 1
        batch = ItemBatch(buffer, items)
        return IntakeBatch(
            batch, gaps=tuple(gaps), state=self._state(whole=False), counters=counters, octets_in=octets_in
        )

    def _rows(self, pieces: list[tuple[int, int, int]], now_ns: int, earth_ns: int) -> Records:
        items = no_items(len(pieces))
        if pieces:
            items["offset"], items["length"], items["quality"] = np.array(pieces, np.int64).T
        items["kind"] = TM
        items["unit"] = np.where(items["quality"] == GOOD, PACKET, OCTETS)
        items["data_mode"], items["link"] = self._settings.data_mode, self._settings.link
        items["spacecraft"] = self._settings.spacecraft
        items["receive_time_ns"], items["earth_receive_time_ns"] = now_ns, earth_ns
        return items

    def _scan(self, view: memoryview, last: bool) -> tuple[list[tuple[int, int, int]], int]:
        """Return pieces (offset, length, quality) and how many octets they and their prefixes take."""
        pieces: list[tuple[int, int, int]] = []
        at, size = 0, len(view)
        while at < size:
            if self._searching:
                found = self._search(view, at, last)
                if found == at:
                    break
                pieces.append((at, found - at, self._fault))
                at, self._ruled_out = found, 0
                if self._searching:
                    continue
            begin = at + self._prefix
            if begin >= size:
                break
            length, fault = packet_length(view, begin, size, self._accepted, self._max)
            if fault:
                self._searching, self._fault = True, fault
                continue
            if not length or begin + length > size:
                break
            if view[begin] == IDLE_OCTET:
                self._idle_octets += 1
            else:
                pieces.append((begin, length, GOOD))
            at = begin + length
        return pieces, at

    def _search(self, view: memoryview, at: int, last: bool) -> int:
        """Return where the search ended: at a plausible packet (no longer searching), or as far as was kept."""
        size = len(view)
        for place in range(at + 1 + self._ruled_out, size):
            if place - at >= SKIPPED_MAX_OCTETS:
                return place - 1  # the search goes on behind its first octet, which is ruled out
            plausible = self._plausible(view, place, size, last)
            if plausible is None:
                break
            if plausible:
                self._searching = False
                return place
            self._ruled_out += 1
        return size if last else at

    def _plausible(self, view: memoryview, place: int, size: int, last: bool) -> bool | None:
        """Whether two packet headers follow each other here, or one packet and the end; None = more is needed."""
        for packets in range(2):
            begin = place + self._prefix
            if begin >= size:
                return (packets == 1 and place == size) if last else None
            length, fault = packet_length(view, begin, size, self._accepted, self._max)
            if fault:
                return False
            if not length:
                return False if last else None
            place = begin + length
        return True

    def state(self) -> dict[str, Any]:
        """Return the link's durable state, JSON-able."""
        return self._state(whole=True)

    def _state(self, whole: bool) -> dict[str, Any]:
        channel = {"count": None, "open": None, **self._channel.packet_counts(whole)}
        searching = self._fault if self._searching else None
        return {"source_offset": self._offset, "vcs": {"packets": channel}, "searching": searching}

    def restore(self, state: Mapping[str, Any], reread: Reread | None) -> None:
        """Continue after a restart; a packet stream needs nothing read again."""
        drive(self.restoring(state, reread is not None), reread)

    def restoring(self, state: Mapping[str, Any], resumable: bool) -> Restoring:
        """As `restore`; see FrameIntake. Nothing is asked for, and nothing that the state holds raises.

        A search goes on where it was: after a restart in the midst of rubbish a lone header is no packet either.
        """
        state = mapping(state)
        self._offset = (natural(state.get("source_offset")) or 0) if resumable else 0
        fault = natural(state.get("searching"))
        if resumable and fault is not None and fault in {Quality.PACKET_VERSION, Quality.PACKET_LENGTH}:
            self._searching, self._fault = True, fault
        self._channel.restore_packet_counts(mapping(mapping(state.get("vcs")).get("packets")))
        self._channel.expect_gap("" if resumable else "gateway restart")
        yield from ()

    def statistics(self) -> dict[str, Any]:
        """Return what was counted, JSON-able."""
        vcs = {"packets": channel_statistics(self._channel)}
        return {
            "frames": 0,
            "causes": dict(self._causes),
            "idle_octets": self._idle_octets,
            "padding_octets": 0,
            "mc_count_jumps": 0,
            "vcs": vcs,
        }


Intake: TypeAlias = "FrameIntake | PacketIntake | KissIntake"


def make_intake(settings: LinkFormat) -> Intake:
    """Return the intake for a link: of its container, of CADUs or frames when their formats are given, else packets.

    Imported here: a gateway that has no such link starts without the synchroniser, Reed-Solomon, USLP and KISS.
    """
    if settings.container == "kiss":
        from gateway_codecs.kiss_intake import KissIntake

        return KissIntake(settings)
    if settings.cadus is not None:
        from gateway_codecs.cadu_intake import make_cadu_intake

        return make_cadu_intake(settings)
    if settings.frames is None:
        return PacketIntake(settings)
    if settings.frames.version == "uslp":
        from gateway_codecs.uslp_intake import UslpIntake

        return UslpIntake(settings)
    return FrameIntake(settings)


__all__ = ["Intake", "PacketIntake", "VcFormat", "make_intake"]
