"""One link's CADUs become an IntakeBatch: synchronised, derandomised, Reed-Solomon decoded, then taken as frames. Pure.

A frame with an uncorrectable code word is bad (docs/decisions/0012), whatever its FECF says: its octets are kept as
they were received. Bits outside CADUs are kept as octets. A CADU comes out when the marker behind it has come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gateway_codecs.batches import (
    ABSENT,
    BoolArray,
    FrameFlag,
    I64Array,
    IntakeBatch,
    Kind,
    Quality,
    Records,
    U8Array,
    Unit,
    concatenate,
    empty_items,
    no_items,
)
from gateway_codecs.cadus import CaduFormat, decode_blocks, pack_bits, source_offsets
from gateway_codecs.channels import Channel, ChannelKey
from gateway_codecs.datagrams import Datagrams, find_units
from gateway_codecs.frames import Frames, decode_bare_frames
from gateway_codecs.intake import REREAD_OCTETS, FrameIntake, LinkFormat, Part, Restoring, opened_as_kept
from gateway_codecs.kept_state import mapping, natural
from gateway_codecs.packets import OpenPacket
from gateway_codecs.synchroniser import CADU_DTYPE, Outside, SyncBatch, Synchroniser, SyncState
from gateway_codecs.uslp_intake import UslpIntake

FARTHEST_OCTET = 1 << 56
"""Offsets beyond are not believed: bits are counted in int64."""
COUNTED = {"lock": "locks", "loss": "sync_losses", "slip": "slips", "inversion": "inversions"}
"""Counters of transitions."""


class CaduIntake(FrameIntake):
    """Takes the octets of a link of CADUs with TM or AOS frames. See `make_intake`."""

    def __init__(self, settings: LinkFormat) -> None:
        super().__init__(settings)
        if settings.cadus is None:
            raise ValueError("a CADU link needs a CADU format")
        self._cadu = settings.cadus
        self._sync = Synchroniser(self._cadu.sync)
        self._cadus = np.zeros(0, CADU_DTYPE)  # of the batch under way
        self._counted: Counter[str] = Counter()

    @property
    def sync_state(self) -> SyncState:
        """Where the synchroniser stands."""
        return self._sync.state

    # ---- what comes in ----

    def feed(self, octets: bytes, now_ns: int, earth_receive_time_ns: int = ABSENT) -> IntakeBatch:
        """Take the next octets of the source and return what they complete."""
        packed, no_bits = self._packed(octets)
        return self._take_synchronised(self._sync.feed(packed), len(octets), no_bits, now_ns, earth_receive_time_ns)

    def _packed(self, octets: bytes) -> tuple[U8Array, int]:
        """Return whole octets of bits, and how many octets were no bit; what is left waits for more."""
        if not self._cadu.unpacked_bits:
            return np.frombuffer(octets, np.uint8), 0
        data = self._rest + octets
        whole = len(data) - len(data) % 8
        self._rest = data[whole:]
        return pack_bits(np.frombuffer(data, np.uint8, whole))

    def feed_datagrams(self, datagrams: Datagrams, now_ns: int, earth_receive_time_ns: int = ABSENT) -> IntakeBatch:
        """Take datagrams of one or more whole CADUs (without a marker: code blocks).

        A CADU whose marker is wrong is taken all the same and flagged; what a datagram of the wrong size holds
        beside good ones is kept.
        """
        if datagrams.lost_at == 0:
            for channel in self._channels.values():
                channel.expect_loss()
        unit = self._cadu.sync.period_bits // 8
        checked = self._format.fecf or self._cadu.reed_solomon is not None
        found = find_units(datagrams, unit, self._good_cadus if checked else None)
        bodies, cadus = self._at_octets(found.octets.reshape(-1, unit))
        cadus["position_bits"] = cadus["mark_bits"] = 8 * (self._offset + found.offset)
        strays = self._strays(found, datagrams.octets, now_ns, earth_receive_time_ns)
        self._offset += len(datagrams.octets)
        frames = self._decoded(bodies, cadus, now_ns, earth_receive_time_ns)
        return datagrams.told(self._take_cadus(frames, cadus, len(datagrams.octets), strays))

    def _at_octets(self, units: U8Array) -> tuple[U8Array, Records]:
        """Return code blocks and their columns of CADUs that begin at an octet, uint8 (n, marker and block)."""
        marker, settings = self._cadu.sync.marker, self._cadu.sync
        cadus = np.zeros(len(units), CADU_DTYPE)
        head, bodies = units[:, : marker.bits // 8], units[:, marker.bits // 8 :].copy()
        if not marker.bits:
            cadus["marker_errors"] = -1
            return bodies, cadus
        errors = np.bitwise_count(head ^ marker.octets).sum(axis=1, dtype=np.int16)
        if settings.polarity == "either":
            cadus["inverted"] = marker.bits - errors <= settings.lock_errors
        bodies[cadus["inverted"]] ^= 0xFF
        cadus["marker_errors"] = np.where(cadus["inverted"], marker.bits - errors, errors)
        cadus["sync_miss"] = cadus["marker_errors"] > settings.lock_errors
        return bodies, cadus

    def _good_cadus(self, octets: U8Array) -> BoolArray:
        bodies, cadus = self._at_octets(octets.reshape(-1, self._cadu.sync.period_bits // 8))
        good: BoolArray = self._decoded(bodies, cadus, 0, ABSENT).rows["quality"] == Quality.GOOD
        return good

    # ---- CADUs become frames ----

    def _take_synchronised(
        self, batch: SyncBatch, octets_in: int, no_bits: int, now_ns: int, earth_ns: int
    ) -> IntakeBatch:
        """Take what was synchronised; `no_bits` octets of unpacked bits were none."""
        self._offset = self._source_offset(self._sync.done_bits)
        if not (len(batch.cadus) or batch.outside or batch.transitions):
            counters = {"octets": octets_in} | ({"no_bits": no_bits} if no_bits else {})
            return IntakeBatch(empty_items(), counters=counters, octets_in=octets_in)
        frames = self._decoded(batch.bodies, batch.cadus, now_ns, earth_ns)
        taken = self._take_cadus(frames, batch.cadus, octets_in, self._outside(batch, now_ns, earth_ns))
        moved = Counter(COUNTED[transition.what] for transition in batch.transitions)
        if no_bits:
            moved["no_bits"] = no_bits
        if batch.outside:
            moved["outside_bits"] = sum(piece.bits for piece in batch.outside)
        self._counted += moved
        return replace(taken, counters={**taken.counters, **moved}, transitions=batch.transitions)

    def _decoded(self, bodies: U8Array, cadus: Records, now_ns: int, earth_ns: int) -> Frames:
        """Return the frames of code blocks."""
        blocks = decode_blocks(bodies, self._cadu)
        frames = decode_bare_frames(blocks.frames, self._format, self._settings.link, blocks.quality)
        rows = frames.rows
        rows["source_offset"] = source_offsets(cadus["position_bits"], self._cadu)
        rows["corrected_symbols"] = blocks.corrected
        rows["flags"] |= np.where(cadus["sync_miss"], FrameFlag.SYNC_MISS, 0).astype(np.uint8)
        rows["flags"] |= np.where(cadus["suspect"], FrameFlag.SUSPECT, 0).astype(np.uint8)
        rows["receive_time_ns"], rows["earth_receive_time_ns"] = now_ns, earth_ns
        return frames

    def _take_cadus(self, frames: Frames, cadus: Records, octets_in: int, strays: Part | None) -> IntakeBatch:
        self._cadus = cadus
        batch = self._take(frames, octets_in, strays)
        corrected = frames.rows["corrected_symbols"]
        moved = Counter(
            corrected_symbols=int(corrected[corrected > 0].sum()),
            sync_misses=int(cadus["sync_miss"].sum()),
            suspect_frames=int(cadus["suspect"].sum()),
        )
        self._counted += moved
        return replace(batch, counters=batch.counters | {name: count for name, count in moved.items() if count})

    def _outside(self, batch: SyncBatch, now_ns: int, earth_ns: int) -> Part | None:
        """Return bits outside CADUs as octets that are kept, in their place among the frames."""
        if not batch.outside:
            return None
        items = no_items(len(batch.outside))
        items["kind"], items["unit"], items["quality"] = Kind.TM, Unit.OCTETS, Quality.SYNC
        items["link"], items["spacecraft"] = self._settings.link, self._settings.spacecraft
        items["data_mode"] = self._settings.data_mode
        items["receive_time_ns"], items["earth_receive_time_ns"] = now_ns, earth_ns
        items["length"] = [len(piece.octets) for piece in batch.outside]
        items["offset"] = np.cumsum(items["length"].astype(np.int64)) - items["length"]
        octets = np.frombuffer(b"".join(piece.octets for piece in batch.outside), np.uint8)
        return Part(octets, items, _rows_behind(batch.cadus, batch.outside), np.full(len(items), -1, np.int64))

    def _place(self, row: int) -> tuple[int, ...]:
        cadu = self._cadus[row]
        return int(cadu["position_bits"]), int(cadu["mark_bits"]), int(cadu["inverted"])

    # ---- ends ----

    def cut(self, now_ns: int, reason: str) -> IntakeBatch:
        """The source was cut: what is whole is taken, what is incomplete kept; the next octets are searched anew."""
        last = self._close(now_ns)
        return _joined(last, super().cut(now_ns, reason))

    def finish(self, now_ns: int) -> IntakeBatch:
        """The source ended: take what is whole, keep what is incomplete, packets under way included."""
        last = self._close(now_ns)
        return _joined(last, super().finish(now_ns))

    def _close(self, now_ns: int) -> IntakeBatch:
        rest, self._rest = np.frombuffer(self._rest, np.uint8), b""
        packed, no_bits = pack_bits(rest)
        return self._take_synchronised(self._sync.end(packed, -len(rest) % 8), 0, no_bits, now_ns, ABSENT)

    # ---- durable state ----

    def _source_offset(self, bits: int) -> int:
        """Return the octet of the source where the octet of bits begins that holds a bit."""
        return bits // 8 * 8 if self._cadu.unpacked_bits else bits // 8

    def _state(self, whole: bool) -> dict[str, Any]:
        return {**super()._state(whole), "sync": self._sync.kept()}

    def restoring(self, state: Mapping[str, Any], resumable: bool) -> Restoring:
        """As of a frame link. The synchroniser goes on as it was, bit shift and polarity included."""
        state = mapping(state)
        offset = natural(state.get("source_offset")) or 0
        if resumable and offset < FARTHEST_OCTET:
            self._sync = Synchroniser.restored(self._cadu.sync, state.get("sync"))
            if self._source_offset(self._sync.done_bits) != offset:
                begin = offset if self._cadu.unpacked_bits else 8 * offset
                self._sync = Synchroniser(self._cadu.sync, begin)
        else:
            state = {**state, "source_offset": 0}
        yield from super().restoring(state, resumable)

    def _reopen(
        self, key: ChannelKey, channel: Channel, kept: object
    ) -> Generator[tuple[int, int], bytes, OpenPacket | None]:
        """Gather the octets of a packet under way; None when the source does not hold it as the state says."""
        opened, octets = opened_as_kept(kept)
        if opened is None or octets is None or octets > channel.settings.max_packet_octets or len(opened.place) != 3:
            return None
        position, mark, inverted = opened.place
        sync, gathered = Synchroniser.locked(self._cadu.sync, min(mark, position), bool(inverted)), bytearray()
        at, until = self._source_offset(min(mark, position)), opened.index + octets
        end = self._source_offset(self._sync.done_bits + self._look_ahead_bits()) + 8
        first = True
        while at < end:
            data = yield at, min(REREAD_OCTETS, end - at)
            if not data:
                break
            at += len(data)
            frames = self._frames_again(sync, data, position)
            if not len(frames.rows):
                continue
            zones = self._zones_again(frames, key, channel, opened.source_offset + (not first), opened)
            if zones is None:
                break
            first = False
            ends = len(gathered) + np.cumsum(zones.length)
            gathered += zones.octets.tobytes()
            if len(gathered) >= until:
                ends_there = bool((ends == until).any())  # a packet under way fills its last frame
                return replace(opened, octets=bytes(gathered[opened.index : until])) if ends_there else None
        return None

    def _frames_again(self, sync: Synchroniser, data: bytes, position_bits: int) -> Frames:
        """Return those frames read again that begin at a bit or behind it, and were taken before the restart."""
        octets = np.frombuffer(data, np.uint8)
        batch = sync.feed(pack_bits(octets[: len(octets) // 8 * 8])[0] if self._cadu.unpacked_bits else octets)
        places = batch.cadus["position_bits"]
        again = (places >= position_bits) & (places < self._sync.done_bits)
        return self._decoded(batch.bodies[again], batch.cadus[again], 0, ABSENT)

    def _look_ahead_bits(self) -> int:
        """How far behind the last CADU told of the source was looked at."""
        settings = self._cadu.sync
        return (settings.flywheel + max(1, settings.verify) + 3) * settings.period_bits + settings.slip_bits

    # ---- what is seen ----

    def reset_statistics(self) -> None:
        """Count from zero."""
        super().reset_statistics()
        self._counted.clear()

    def statistics(self) -> dict[str, Any]:
        """Return what was counted, JSON-able: as of a frame link, and what became of the bits that are in no frame."""
        frames = super().statistics()
        sync = {
            "state": self._sync.state.value,
            "marker_bits": frames["frames"] * self._cadu.sync.marker.bits,
            "parity_octets": frames["frames"] * self._cadu.parity_octets,
            "tail_octets": frames["frames"] * self._cadu.tail_octets,
            **{name: self._counted[name] for name in (*COUNTED.values(), *FRAME_COUNTS)},
        }
        return {**frames, "sync": sync}


class UslpCaduIntake(CaduIntake, UslpIntake):
    """Takes the octets of a link of CADUs with USLP frames, all of one length."""


FRAME_COUNTS = ("outside_bits", "corrected_symbols", "sync_misses", "suspect_frames")


def _rows_behind(cadus: Records, outside: tuple[Outside, ...]) -> I64Array:
    """Return how many CADUs begin before each piece that lies outside, int64 (n,)."""
    places = np.array([piece.position_bits for piece in outside], np.int64)
    rows: I64Array = np.searchsorted(cadus["position_bits"], places).astype(np.int64)
    return rows


def _joined(first: IntakeBatch, then: IntakeBatch) -> IntakeBatch:
    counters = Counter(first.counters)
    counters.update(then.counters)
    return replace(
        first,
        items=concatenate([first.items, then.items]),
        gaps=first.gaps + then.gaps,
        state={**first.state, **then.state},
        counters=dict(counters),
    )


def make_cadu_intake(settings: LinkFormat) -> CaduIntake:
    """Return the intake for a link of CADUs. Raises ValueError when it has no frames of one length."""
    if settings.frames is None or settings.frames.variable_length:
        raise ValueError("CADUs hold frames of one length")
    return UslpCaduIntake(settings) if settings.frames.version == "uslp" else CaduIntake(settings)


__all__ = ["CaduFormat", "CaduIntake", "make_cadu_intake"]
