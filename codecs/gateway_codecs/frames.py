"""Transfer frames in batches: TM (CCSDS 132.0-B), AOS (CCSDS 732.0-B) and USLP (CCSDS 732.1-B).

Everything that real links vary is a field of `FrameFormat` or `VcFormat`. `decode_frames` checks a
batch in the order of the fact sheets (error control, version, spacecraft, channel, service, pointer)
and gives one row per frame; nothing here loops over frames in Python but the CRC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from gateway_codecs.batches import BoolArray, FrameFlag, I64Array, Quality, Records, U8Array, distinct, no_frames
from gateway_codecs.crc import Fecf, fecf_good, fecf_octets
from gateway_codecs.header_error_control import FIELD_OCTETS, UNCORRECTABLE, correct
from gateway_codecs.packet_times import PacketTime
from gateway_codecs.uslp_fields import NO_POINTER, UslpFields, uslp_fields
from gateway_codecs.uslp_frame import IDLE_DATA, NONE_STARTS, OCTET_STREAM, PACKETS, SPANNING, STREAM, WHOLE

Version = Literal["tm", "aos", "uslp"]
VERSION_NUMBER: dict[Version, int] = {"tm": 0, "aos": 1, "uslp": 12}
Service = Literal["packets", "opaque", "idle", "bitstream"]
GOOD = Quality.GOOD  # before 3.12 a member costs microseconds each time that it is asked of its enumeration
IDLE_APID = 2047
NO_PACKET_STARTS = 0x7FF
ONLY_IDLE = 0x7FE
TM_HEADER_OCTETS = 6
AOS_HEADER_OCTETS = 6
ALL_BITS, NO_BITS = 0x3FFF, 0x3FFE
TM_MODULUS = 256


@dataclass(frozen=True, slots=True)
class VcFormat:
    """How one virtual channel is used. In USLP frames `service` is that of the MAPs that `maps` does not name."""

    service: Service = "packets"
    counting: Literal["vc_count", "none"] = "vc_count"
    packet_versions: frozenset[int] = frozenset({0, 7})
    max_packet_octets: int = 65542
    packet_start: int | None = None  # None: first header pointer; else octets into the data field, nothing spans
    packet_zone_padding: bool = False  # what follows the first packet of a frame is padding
    apid_counting: Mapping[int, str] = field(default_factory=dict)  # 'apid' | 'none' | 'shared:GROUP'
    default_apid_counting: str = "apid"
    default_time: PacketTime | None = None  # in the secondary headers of APIDs that are not listed
    apid_time: Mapping[int, PacketTime | None] = field(default_factory=dict)
    maps: Mapping[int, Service] = field(default_factory=dict)
    truncated_frame_octets: int | None = (
        None  # USLP frames of varying length: of the truncated ones; None = there are none
    )

    def of_map(self, map_id: int) -> VcFormat:
        """Return how one MAP of the channel is used (USLP)."""
        service = self.maps.get(map_id, self.service)
        return self if service == self.service else replace(self, service=service)

    def counting_of(self, apid: int) -> str:
        """Return the counting rule of an APID; idle packets do not count."""
        return "none" if apid == IDLE_APID else self.apid_counting.get(apid, self.default_apid_counting)

    def time_of(self, apid: int) -> PacketTime | None:
        """Return where the packets of an APID state their time; None = they do not."""
        return None if apid == IDLE_APID else self.apid_time.get(apid, self.default_time)


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """Everything a link's transfer frames vary in. Lengths in octets."""

    version: Version
    frame_length_octets: int
    scids: Mapping[int, int]  # spacecraft id in the frame -> the journal's spacecraft id
    vcs: Mapping[int, VcFormat]
    fecf: Fecf = True
    ocf: Literal["absent", "present", "by_flag"] = "absent"
    insert_zone_octets: int = 0
    secondary_header: Literal["absent", "by_flag"] | int = "by_flag"
    unknown_vc: Literal["opaque", "bad"] = "opaque"
    mc_counting: bool = True
    octet_interleave: int = 1
    prefix_octets: int = 0
    suffix_octets: int = 0
    header_error_control: bool = False  # AOS
    variable_length: bool = False  # USLP: `frame_length_octets` is of the longest frame

    @property
    def unit_octets(self) -> int:
        """Octets of one stored frame, prefix and suffix included."""
        return self.prefix_octets + self.frame_length_octets + self.suffix_octets

    def vc(self, vcid: int) -> VcFormat | None:
        """Return the settings of a virtual channel; None when it is not known and not to be kept as opaque."""
        known = self.vcs.get(vcid)
        if known is not None:
            return known
        if self.version != "tm" and vcid == 63:
            return VcFormat(service="idle", counting="none")
        return VcFormat(service="opaque") if self.unknown_vc == "opaque" else None


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """A decoded batch: `rows` FRAME_DTYPE (n,), each frame octets[offset:offset + length], its data field [start, end).

    `octets` uint8 (total,), the others int64 (n,), `start` and `end` from the frame's first octet on. Frames of one
    length lie back to back; `uslp` is what their headers say beside what the rows hold.
    """

    octets: U8Array
    offset: I64Array
    length: I64Array
    rows: Records
    start: I64Array
    end: I64Array
    modulus: I64Array  # of the VC count of each frame
    frame_octets: int = 0  # of each frame, 0 = they vary
    uslp: UslpFields | None = None
    corrected_headers: int = 0  # of frames whose own check, if they have one, is good

    @property
    def view(self) -> U8Array:
        """Frames of one length as uint8 (n, frame length)."""
        return self.octets.reshape(-1, self.frame_octets)


def decode_frames(octets: U8Array, fmt: FrameFormat, link: int, source_offset: int) -> Frames:
    """Decode whole stored frames, uint8 (n * unit_octets,), into rows with quality, counts and data fields."""
    frames = decode_bare_frames(_frames_view(octets, fmt), fmt, link)
    frames.rows["source_offset"] = source_offset + np.arange(len(frames.rows)) * fmt.unit_octets
    return frames


def decode_bare_frames(view: U8Array, fmt: FrameFormat, link: int, quality: U8Array | None = None) -> Frames:
    """Decode frames of one length without what is stored around them, uint8 (n, frame length).

    `quality` uint8 (n,) is what checks before these say (Quality); the frame's own checks do not take it back.
    """
    rows = no_frames(len(view))
    rows["link"] = link
    if quality is not None:
        rows["quality"] = quality
    if fmt.fecf:
        _set_quality(rows, ~fecf_good(view, fmt.fecf), Quality.FECF)
    offset = np.arange(len(view)) * fmt.frame_length_octets
    length = np.full(len(view), fmt.frame_length_octets, np.int64)
    if fmt.version == "uslp":
        return _decode_uslp(view.reshape(-1), offset, length, fmt, rows, fmt.frame_length_octets)
    start = np.zeros(len(view), np.int64)
    end = length - fecf_octets(fmt.fecf)
    if fmt.version == "tm":
        modulus, corrected = _tm_headers(view, fmt, rows, start, end), 0
    else:
        head, corrected = _corrected(view, rows, start) if fmt.header_error_control else (view, 0)
        modulus = _aos_headers(view, head, fmt, rows, start, end)
    _check_identity(fmt, rows)
    _check_services(view, fmt, rows, start, end)
    octets = view.reshape(-1)
    return Frames(
        octets, offset, length, rows, start, end, modulus, fmt.frame_length_octets, corrected_headers=corrected
    )


def decode_varying(
    octets: U8Array,
    offset: I64Array,
    length: I64Array,
    good: BoolArray,
    fmt: FrameFormat,
    link: int,
    source_offset: int,
) -> Frames:
    """Decode USLP frames of varying length, octets[offset:offset + length], `good` by their error control or not."""
    rows = no_frames(len(offset))
    rows["link"] = link
    rows["source_offset"] = source_offset + offset
    rows["quality"] = np.where(good, GOOD, Quality.FECF)
    return _decode_uslp(octets, offset, length, fmt, rows, 0)


def _frames_view(octets: U8Array, fmt: FrameFormat) -> U8Array:
    stored = octets.reshape(-1, fmt.unit_octets)
    view = stored[:, fmt.prefix_octets : fmt.prefix_octets + fmt.frame_length_octets]
    if fmt.octet_interleave > 1:
        depth = fmt.octet_interleave
        view = view.reshape(len(view), -1, depth).transpose(0, 2, 1).reshape(len(view), -1)
    return np.ascontiguousarray(view)


def _word(view: U8Array, at: int) -> I64Array:
    return (view[:, at].astype(np.int64) << 8) | view[:, at + 1]


def _set_quality(rows: Records, bad: np.ndarray, cause: Quality) -> None:
    """Mark frames that are still good; the first cause in the order of checks stays."""
    if np.count_nonzero(bad):
        rows["quality"][bad & (rows["quality"] == GOOD)] = cause


def _tm_headers(view: U8Array, fmt: FrameFormat, rows: Records, start: I64Array, end: I64Array) -> I64Array:
    first, _, status = np.ascontiguousarray(view[:, :TM_HEADER_OCTETS]).view(">u2").astype(np.int64).T
    rows["version"] = first >> 14
    rows["scid"] = (first >> 4) & 0x3FF
    rows["vcid"] = (first >> 1) & 7
    rows["mc_count"] = view[:, 2]
    rows["vc_count"] = view[:, 3]
    rows["fhp"] = status & 0x7FF
    has_secondary = (status & 0x8000) != 0
    rows["flags"][has_secondary] |= FrameFlag.SECONDARY_HEADER
    start += TM_HEADER_OCTETS
    if fmt.secondary_header == "by_flag":
        if np.count_nonzero(has_secondary):
            start += np.where(has_secondary, (view[:, TM_HEADER_OCTETS] & 0x3F).astype(np.int64) + 1, 0)
    elif fmt.secondary_header != "absent":
        start += int(fmt.secondary_header)
    has_ocf = (first & 1) != 0 if fmt.ocf == "by_flag" else np.full(len(view), fmt.ocf == "present")
    _take_ocf(view, rows, end, has_ocf)
    _set_sync(rows, (status & 0x4000) != 0)
    return np.full(len(view), TM_MODULUS, np.int64)


def _set_sync(rows: Records, sync: np.ndarray) -> None:
    rows["fhp"][sync] = -1  # the pointer is undefined when the synchronisation flag is set


def _corrected(view: U8Array, rows: Records, start: I64Array) -> tuple[U8Array, int]:
    """Return corrected headers and in how many something was corrected; mark frames that could not be.

    A header that is not one of AOS even so is told as that.
    """
    fixed = correct(view[:, : AOS_HEADER_OCTETS + FIELD_OCTETS])
    start += FIELD_OCTETS
    lost = (fixed.corrected == UNCORRECTABLE) & (fixed.headers[:, 0] >> 6 == VERSION_NUMBER["aos"])
    _set_quality(rows, lost, Quality.FHEC)
    return fixed.headers, int(((fixed.corrected > 0) & (rows["quality"] == GOOD)).sum())


def _aos_headers(
    view: U8Array, head: U8Array, fmt: FrameFormat, rows: Records, start: I64Array, end: I64Array
) -> I64Array:
    first = _word(head, 0)
    rows["version"] = first >> 14
    rows["scid"] = (first >> 6) & 0xFF
    rows["vcid"] = first & 0x3F
    signalling = head[:, 5].astype(np.int64)
    count = (_word(head, 2) << 8) | head[:, 4]
    cycle = (signalling & 0x40) != 0
    rows["vc_count"] = np.where(cycle, ((signalling & 0x0F) << 24) | count, count)
    rows["flags"] |= np.where(signalling & 0x80, FrameFlag.REPLAY, 0).astype(np.uint8)
    start += AOS_HEADER_OCTETS + fmt.insert_zone_octets
    _take_ocf(view, rows, end, np.full(len(view), fmt.ocf == "present"))
    return np.where(cycle, 1 << 28, 1 << 24)


def _take_ocf(view: U8Array, rows: Records, end: I64Array, has_ocf: np.ndarray) -> None:
    if not np.count_nonzero(has_ocf):
        return
    end -= 4 * has_ocf
    at = max(0, int(end[has_ocf.argmax()]))
    word = np.ascontiguousarray(view[:, at : at + 4]).view(">u4")[:, 0]
    rows["ocf"] = word * has_ocf
    rows["flags"][has_ocf] |= FrameFlag.OCF


def _check_identity(fmt: FrameFormat, rows: Records) -> None:
    """Check version, spacecraft and channel, and set the journal's spacecraft id."""
    _set_quality(rows, rows["version"] != VERSION_NUMBER[fmt.version], Quality.VERSION)
    unknown = np.ones(len(rows), np.bool_)
    for scid, spacecraft in fmt.scids.items():
        mine = rows["scid"] == scid
        rows["spacecraft"][mine] = spacecraft
        unknown &= ~mine
    _set_quality(rows, unknown, Quality.SPACECRAFT)


def _check_services(view: U8Array, fmt: FrameFormat, rows: Records, start: I64Array, end: I64Array) -> None:
    """Check each frame against the service of its VC; mark idle and opaque frames; find pointers and zones."""
    _set_quality(rows, start > end, Quality.FIELD)
    for vcid in distinct(rows["vcid"][rows["quality"] == GOOD]):
        mine = (rows["vcid"] == vcid) & (rows["quality"] == GOOD)
        settings = fmt.vc(vcid)
        if settings is None:
            _set_quality(rows, mine, Quality.UNKNOWN_VC)
        elif settings.service == "idle":
            rows["flags"][mine] |= FrameFlag.IDLE
        elif settings.service == "opaque":
            rows["flags"][mine] |= FrameFlag.OPAQUE
        elif settings.service == "bitstream":
            _check_bits(view, rows, mine, start, end)
        else:
            _check_packets(view, fmt, settings, rows, mine, start, end)


def _check_packets(
    view: U8Array, fmt: FrameFormat, settings: VcFormat, rows: Records, mine: np.ndarray, start: I64Array, end: I64Array
) -> None:
    if settings.packet_start is not None:
        rows["fhp"][mine] = settings.packet_start
    elif fmt.version == "aos":
        # the M_PDU header is the first two octets of the data field
        room = mine & (start + 2 <= end)
        _set_quality(rows, mine & ~room, Quality.FIELD)
        at = start[room]
        index = np.flatnonzero(room)
        rows["fhp"][room] = ((view[index, at].astype(np.int64) << 8) | view[index, at + 1]) & 0x7FF
        start[room] += 2
    else:
        _set_quality(rows, mine & (rows["fhp"] == -1), Quality.SERVICE)
    good = mine & (rows["quality"] == GOOD)
    idle = good & (rows["fhp"] == ONLY_IDLE) if settings.packet_start is None else good & False
    rows["flags"][idle] |= FrameFlag.IDLE
    none = (rows["fhp"] == NO_PACKET_STARTS) & (settings.packet_start is None)
    _set_quality(rows, good & ~idle & ~none & (rows["fhp"] >= end - start), Quality.FHP_OUT_OF_RANGE)


def _check_bits(view: U8Array, rows: Records, mine: np.ndarray, start: I64Array, end: I64Array) -> None:
    """Read the B_PDU header, the first two octets of the data field (732.0-B-4 4.1.4.3)."""
    room = mine & (start + 2 <= end)
    _set_quality(rows, mine & ~room, Quality.FIELD)
    index = np.flatnonzero(room)
    at = start[index]
    pointer = ((view[index, at].astype(np.int64) << 8) | view[index, at + 1]) & ALL_BITS
    rows["fhp"][index] = pointer
    start[index] += 2
    rows["flags"][index[pointer == NO_BITS]] |= FrameFlag.IDLE
    beyond = (pointer < NO_BITS) & (pointer >= 8 * (end - start)[index])
    rows["quality"][index[beyond]] = Quality.FHP_OUT_OF_RANGE


def _decode_uslp(
    octets: U8Array, offset: I64Array, length: I64Array, fmt: FrameFormat, rows: Records, frame_octets: int
) -> Frames:
    """Fill rows whose quality says what the error control found. Every frame says itself what its data field holds."""
    fields = uslp_fields(octets, offset, length, fecf_octets(fmt.fecf), fmt.insert_zone_octets)
    for column in ("version", "scid", "vcid", "map_id", "vc_count", "ocf"):
        rows[column] = getattr(fields, column)
    rows["fhp"] = fields.pointer.astype(np.int16)
    for told, flag in ((fields.has_ocf, FrameFlag.OCF), (fields.expedited, FrameFlag.EXPEDITED)):
        rows["flags"] |= np.where(told, flag, 0).astype(np.uint8)
    _check_identity(fmt, rows)
    _set_quality(rows, ~fields.whole | (fields.truncated & (frame_octets > 0)), Quality.FIELD)
    channels = fields.vcid << 4 | fields.map_id
    for channel in distinct(channels[rows["quality"] == GOOD]):
        mine = (channels == channel) & (rows["quality"] == GOOD)
        settings = fmt.vc(channel >> 4)
        if settings is None:
            _set_quality(rows, mine, Quality.UNKNOWN_VC)
        else:
            _check_data_fields(settings.of_map(channel & 15).service, rows, mine, fields)
    return Frames(octets, offset, length, rows, fields.start, fields.end, fields.modulus, frame_octets, fields)


def _check_data_fields(service: Service, rows: Records, mine: np.ndarray, fields: UslpFields) -> None:
    """Check pointers, and mark the frames whose data field is idle, or holds something else than the service."""
    if service in {"opaque", "idle"}:
        rows["flags"][mine] |= FrameFlag.OPAQUE if service == "opaque" else FrameFlag.IDLE
        return
    idle = mine & (fields.protocol_id == IDLE_DATA)
    rows["flags"][idle] |= FrameFlag.IDLE
    pointed = (fields.pointer != NO_POINTER) & (fields.pointer != NONE_STARTS)
    _set_quality(rows, mine & ~idle & pointed & (fields.pointer >= fields.end - fields.start), Quality.FHP_OUT_OF_RANGE)
    rule, protocol, rules = fields.construction_rule, PACKETS, [SPANNING, WHOLE]
    if service == "bitstream":
        protocol, rules = OCTET_STREAM, [STREAM]
    served = (fields.protocol_id == protocol) & ~fields.control_command
    _set_quality(rows, mine & served & ~np.isin(rule, rules), Quality.SERVICE)
    rows["flags"][mine & ~idle & ~served & (rows["quality"] == GOOD)] |= FrameFlag.OPAQUE


def uslp_pointers(fields: UslpFields, index: I64Array) -> I64Array:
    """Return where the first packet begins in the zones of frames that hold packets, -1 = none does."""
    pointer = fields.pointer[index]
    pointer[pointer == NONE_STARTS] = NO_POINTER
    return np.where((fields.construction_rule[index] == WHOLE) & (fields.start < fields.end)[index], 0, pointer)
