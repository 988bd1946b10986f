"""What transfer frames hold beside their data: FECF, OCF, insert zone, secondary header; and what their channels carry.

TM: CCSDS 132.0-B-3 clause 4.1; AOS: CCSDS 732.0-B-4 clause 4.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from gateway_codecs.batches import I64Array, U8Array
from gateway_codecs.crc import fecf_good, fecf_octets
from gateway_codecs.frames import ALL_BITS, NO_BITS, NO_PACKET_STARTS, ONLY_IDLE, FrameFormat, VcFormat
from gateway_codecs.header_error_control import protect
from gateway_codecs.probe.channels import LEAST_AGREED, ChannelFit, fit, pointers, stands_still, versions_at_pointers
from gateway_codecs.probe.checksums import FecfFound, find_fecf
from gateway_codecs.probe.findings import Notes
from gateway_codecs.probe.headers import HEADER_OCTETS, LEAST_COUNT_BITS, LEAST_SHARE, Headers, steps_by

LONGEST_INSERT_ZONE_OCTETS = 128
ZONE_FRAMES = 120
"""So many frames of a channel are read for each insert zone and trailer that is tried."""
ZONE_CHANNELS = 3
PLAUSIBLE = 0.9
LONGEST_PLACE_OCTETS = 64
COMMON_TRAILERS = (0, 4, 2, 6)
"""Octets behind the data without FECF: nothing, an OCF, another check of 16 bits, both."""
OTHER_TRAILERS = tuple(sorted({*range(1, 65), *(32 * k for k in range(1, 9)), *(16 * k for k in range(1, 9))}))
OTHER_FRAMES = 40
MOST_INSERTS, BEST_INSERTS = 12, 2
AOS_IDLE_VC = 63
LEAST_BITSTREAM = 8
Counting = Literal["vc_count", "none"]
USUAL_VERSIONS = frozenset({0, 7})


@dataclass(frozen=True, slots=True)
class Zone:
    """Where the packet zones lie: `trailer_octets` stand behind them, FECF included."""

    insert_zone_octets: int
    trailer_octets: int
    versions: frozenset[int]


@dataclass(frozen=True, slots=True, eq=False)
class ZoneFit:
    """A zone with the channel that shows it; `equals`: other zones that fit as well."""

    zone: Zone
    vcid: int
    fit: ChannelFit
    equals: tuple[Zone, ...]


def describe_frames(units: U8Array, headers: Headers, exact: bool, notes: Notes) -> FrameFormat:
    """Return the format of frames, uint8 (n, U), that begin with these headers, and note what says so.

    `exact`: the frames have U octets; else other octets may follow them. The format's suffix says how many do.
    """
    own = units[headers.own]
    _note_identity(units, headers, notes)
    fecf = find_fecf(own)
    length = units.shape[1] if fecf is None or exact else fecf.length_octets
    if fecf is not None and fecf.length_octets != length:
        fecf = None  # what fits inside is no check of these frames
    fmt = _format(headers, length, fecf is not None)
    if fecf is not None:
        own = own[fecf_good(own[:, :length])]
    vcids = vcids_of(own, fmt)
    fmt = _tm_headers(own, fmt, notes) if headers.version == "tm" else _aos_headers(own, fmt, notes)
    zone = _find_zone(own[:, :length], fmt, vcids, () if exact or fecf else OTHER_TRAILERS)
    fmt = _with_zone(own, fmt, units.shape[1], zone, exact, notes)
    _note_fecf(own, fmt, fecf, zone, notes)
    notes.found(
        "frame length", f"{fmt.frame_length_octets} octets", int(headers.own.sum()), len(units),
        "units of this length begin with such a header",
    )  # fmt: skip
    if fmt.suffix_octets:
        notes.open("suffix", f"{fmt.suffix_octets} octets follow each frame: what they hold was not looked at")
    versions = USUAL_VERSIONS if zone is None else zone.zone.versions
    vcs = describe_channels(own[:, : fmt.frame_length_octets], fmt, vcids, versions, zone is not None, notes)
    notes.open(
        "other channels", "those that send nothing in these octets cannot be known; frames of theirs are kept whole"
    )
    return replace(fmt, vcs=vcs)


def _format(headers: Headers, length: int, fecf: bool) -> FrameFormat:
    return FrameFormat(headers.version, length, {headers.scid: 0}, {}, fecf=fecf)


def vcids_of(frames: U8Array, fmt: FrameFormat) -> I64Array:
    """Return the virtual channel of each frame, int64 (n,)."""
    second = frames[:, 1].astype(np.int64)
    vcids: I64Array = second >> 1 & 7 if fmt.version == "tm" else second & 63
    return vcids


def _note_identity(units: U8Array, headers: Headers, notes: Notes) -> None:
    name = {"tm": "TM (version 1, CCSDS 132.0-B)", "aos": "AOS (version 2, CCSDS 732.0-B)"}[headers.version]
    steps = headers.steps
    notes.found("frame type", name, steps.next + steps.near, steps.total, "frame counts go up from frame to frame")
    own = int(headers.own.sum())
    notes.found("spacecraft id", headers.scid, own, len(units), "frames carry it")
    if own < len(units):
        why = "they are damaged, or another spacecraft's: without a good check of their own nothing tells"
        notes.open("other spacecraft ids", f"{len(units) - own} frames have another version or spacecraft id: {why}")


def _tm_headers(own: U8Array, fmt: FrameFormat, notes: Notes) -> FrameFormat:
    flagged = own[:, 4] & 0x80 != 0
    if flagged.any():
        first = own[flagged, HEADER_OCTETS]
        values, counts = np.unique(first, return_counts=True)
        usual, count = int(values[counts.argmax()]), int(counts.max())
        notes.found(
            "secondary header", f"by flag, {(usual & 63) + 1} octets", count, len(own),
            "frames have the flag and the same length in the secondary header",
        )  # fmt: skip
        if usual >> 6:
            notes.open("secondary header", f"its version is {usual >> 6}, the book knows 0 alone")
    else:
        notes.found("secondary header", "absent", len(own), len(own), "frames do not have the flag")
    with_ocf = int((own[:, 1] & 1).sum())
    agreed = max(with_ocf, len(own) - with_ocf)
    ocf = "present (by flag)" if with_ocf * 2 > len(own) else "absent (by flag)"
    notes.found("OCF", ocf, agreed, len(own), "frames agree in the OCF flag")
    return replace(fmt, ocf="by_flag")


def _aos_headers(own: U8Array, fmt: FrameFormat, notes: Notes) -> FrameFormat:
    if own.shape[1] < HEADER_OCTETS + 4:
        return fmt
    heads = own[:, : HEADER_OCTETS + 2]
    good = int((protect(np.ascontiguousarray(heads[:, :HEADER_OCTETS])) == heads[:, HEADER_OCTETS:]).all(axis=1).sum())
    if good < PLAUSIBLE * len(own):
        return fmt
    notes.found("header error control", "present", good, len(own), "headers are followed by their check")
    if len(np.unique(heads[:, [0, 1, 5]], axis=0)) == 1:
        notes.open("header error control", "it is the same in every frame: one constant in 65,536 looks like that")
    return replace(fmt, header_error_control=True)


def _header_octets(fmt: FrameFormat) -> int:
    return HEADER_OCTETS + 2 * fmt.header_error_control


# ---- where the data begin and end


def _find_zone(own: U8Array, fmt: FrameFormat, vcids: I64Array, more_trailers: tuple[int, ...]) -> ZoneFit | None:
    fecf = fecf_octets(fmt.fecf)
    trailers: tuple[int, ...] = (fecf, fecf + 4) if fmt.fecf else COMMON_TRAILERS
    if fmt.version == "tm":  # the OCF has a flag
        trailers = (2,) if fmt.fecf else (0, 2)
    return _best_zone(own, fmt, vcids, trailers, more_trailers)


def _best_zone(
    own: U8Array, fmt: FrameFormat, vcids: I64Array, trailers: tuple[int, ...], more_trailers: tuple[int, ...]
) -> ZoneFit | None:
    values, counts = np.unique(vcids, return_counts=True)
    order = [int(values[k]) for k in np.argsort(-counts, kind="stable")]
    for vcid in [vcid for vcid in order if fmt.version == "tm" or vcid != AOS_IDLE_VC][:ZONE_CHANNELS]:
        frames = own[vcids == vcid][:ZONE_FRAMES]
        inserts = [0] if fmt.version == "tm" else _plausible_inserts(frames, _header_octets(fmt))
        fits = list(_zones(frames, fmt, vcid, inserts, trailers))
        if more_trailers and not any(fitted.holds_packets for _, fitted in fits):
            ranked = sorted(fits, key=lambda row: row[1].empty_packets - row[1].real_packets)
            best = dict.fromkeys(row[0].insert_zone_octets for row in ranked if row[1].real_packets >= LEAST_AGREED)
            fits = list(_zones(frames[:OTHER_FRAMES], fmt, vcid, list(best)[:BEST_INSERTS], more_trailers))
        good = [row for row in fits if row[1].holds_packets]
        if good:
            zone, fitted = max(good, key=lambda row: (row[1].value, row[1].agreed, -row[0].trailer_octets))
            equals = [other for other, equal in good if other != zone and equal.value >= fitted.value - 0.01]
            return ZoneFit(zone, vcid, fitted, tuple(equals))
    return None


def _zones(
    frames: U8Array, fmt: FrameFormat, vcid: int, inserts: list[int], trailers: tuple[int, ...]
) -> Iterator[tuple[Zone, ChannelFit]]:
    bare = replace(fmt, fecf=False, ocf="by_flag" if fmt.version == "tm" else "absent")
    settings = VcFormat(counting=_counting(frames, fmt))
    for insert in inserts:
        at = replace(bare, insert_zone_octets=insert)
        seen = versions_at_pointers(frames, at, vcid, _zone_start(frames, at))
        versions = _versions(seen.most_common(1)[0][0]) if seen else USUAL_VERSIONS
        for trailer in trailers:
            if frames.shape[1] - trailer < _header_octets(fmt) + insert + 8:
                continue
            cut = np.ascontiguousarray(frames[:, : frames.shape[1] - trailer])
            yield Zone(insert, trailer, versions), fit(cut, at, vcid, replace(settings, packet_versions=versions))


def _versions(usual: int) -> frozenset[int]:
    return USUAL_VERSIONS if usual in USUAL_VERSIONS else frozenset({usual})


def _zone_start(frames: U8Array, fmt: FrameFormat) -> int:
    if fmt.version == "aos":
        return _header_octets(fmt) + fmt.insert_zone_octets + 2
    flagged = bool(np.median(frames[:, 4] & 0x80))
    return HEADER_OCTETS + (int(np.median(frames[:, HEADER_OCTETS] & 63)) + 1 if flagged else 0)


def _plausible_inserts(frames: U8Array, header: int) -> list[int]:
    """Return the insert zones behind which an M_PDU header seems to stand, in octets, the shortest first."""
    length = frames.shape[1]
    last = min(LONGEST_INSERT_ZONE_OCTETS, length - header - 10)
    if last < 0:
        return []
    words = frames[:, header : header + last + 1].astype(np.int64) << 8
    words |= frames[:, header + 1 : header + last + 2]
    zone = length - header - 2 - np.arange(last + 1)
    right = ((words < zone) | (words == ONLY_IDLE) | (words == NO_PACKET_STARTS)).mean(axis=0) >= PLAUSIBLE
    right &= (words != words[:1]).any(axis=0) | (np.arange(last + 1) == 0)  # what never changes points at nothing
    return [int(octets) for octets in np.flatnonzero(right)[:MOST_INSERTS]]


def _counting(frames: U8Array, fmt: FrameFormat) -> Counting:
    return "none" if stands_still(vc_counts(frames, fmt), 256 if fmt.version == "tm" else 1 << 24) else "vc_count"


def vc_counts(frames: U8Array, fmt: FrameFormat) -> I64Array:
    """Return the 8 or 24 bits of the VC frame count of each frame, int64 (n,)."""
    octets = frames.astype(np.int64)
    counts: I64Array = (
        octets[:, 3] if fmt.version == "tm" else octets[:, 2] << 16 | octets[:, 3] << 8 | octets[:, 4]
    )  # fmt: skip
    return counts


def _with_zone(
    own: U8Array, fmt: FrameFormat, unit_octets: int, found: ZoneFit | None, exact: bool, notes: Notes
) -> FrameFormat:
    if found is None:
        _note_no_zone(own, fmt, notes)
        return replace(fmt, suffix_octets=unit_octets - fmt.frame_length_octets)
    zone, fitted = found.zone, found.fit
    trailer = zone.trailer_octets - fecf_octets(fmt.fecf)
    ocf = fmt.ocf if fmt.version == "tm" else "present" if trailer in (4, 6) else "absent"
    beyond = trailer - 4 * (ocf == "present")
    how = f"packets of VC{found.vcid} end where the next frame's pointer says"
    if fmt.version == "aos":
        value = f"{zone.insert_zone_octets} octets" if zone.insert_zone_octets else "absent"
        notes.found("insert zone", value, fitted.agreed, fitted.pairs, how)
        notes.found("OCF", ocf, fitted.agreed, fitted.pairs, how)
        if ocf == "present":
            _note_ocf(own, fmt.frame_length_octets - fecf_octets(fmt.fecf) - beyond, notes)
    length = fmt.frame_length_octets
    if beyond and exact:
        notes.open(
            "trailer", f"{beyond} octets at the end of each frame belong to no packet: no setting leaves them out"
        )
    elif beyond:
        length -= beyond
    for other in found.equals[:3]:
        said = f"insert zone {other.insert_zone_octets}, {other.trailer_octets} octets behind the data"
        notes.open("insert zone and trailer", f"{said} fit as well: no packet reaches the end of its frame")
    return replace(
        fmt, insert_zone_octets=zone.insert_zone_octets, ocf=ocf, frame_length_octets=length,
        suffix_octets=unit_octets - length,
    )  # fmt: skip


def _note_no_zone(own: U8Array, fmt: FrameFormat, notes: Notes) -> None:
    if fmt.version == "aos":
        notes.open("insert zone", "no channel carries packets whose pointers could tell it from data; taken as absent")
        words = len(np.unique(own[:, -4 - fecf_octets(fmt.fecf) : own.shape[1] - fecf_octets(fmt.fecf)], axis=0))
        why = "AOS frames have no flag for it, and no packets show where the data end; taken as absent"
        notes.open("OCF", f"{why} (the last four octets{' before the FECF' if fmt.fecf else ''} take {words} values)")


def _note_ocf(own: U8Array, end: int, notes: Notes) -> None:
    words = np.unique(own[:, end - 4 : end], axis=0)
    clcw = int((own[:, end - 4] & 0xE3 == 0x01).sum())
    if len(words) == 1:
        text = f"it is {words[0].tobytes().hex().upper()} in every frame: a constant trailer would look the same"
        notes.open("OCF", text)
    elif clcw:
        notes.found("OCF content", "CLCW of COP-1", clcw, len(own), "words have type 0, version 0, COP 1")


def _note_fecf(own: U8Array, fmt: FrameFormat, fecf: FecfFound | None, zone: ZoneFit | None, notes: Notes) -> None:
    if fecf is not None:
        notes.found("FECF", "present", fecf.good, fecf.tested, "frames end with their CRC-16")
        return
    tested = min(len(own), 96)
    reaches = zone is not None and not zone.equals and zone.zone.trailer_octets in (0, 4)
    if zone is not None and reaches:
        how = f"packets of VC{zone.vcid} reach the end of the frame{' before the OCF' if fmt.ocf != 'absent' else ''}"
        notes.found("FECF", "absent", zone.fit.agreed, zone.fit.pairs, how)
        return
    why = f"the last two octets are the CRC-16 in none of {tested} frames: removed, or another check"
    notes.open("FECF", f"{why}; taken as absent")


# ---- what the channels carry


def describe_channels(
    own: U8Array, fmt: FrameFormat, vcids: I64Array, versions: frozenset[int], proven: bool, notes: Notes
) -> dict[int, VcFormat]:
    """Return the settings of every channel seen; `proven`: some channel's packets showed the zone and `versions`."""
    found: dict[int, VcFormat] = {}
    for vcid in np.unique(vcids).tolist():
        frames = np.ascontiguousarray(own[vcids == vcid])
        counting = _counting(frames, fmt)
        settings = _service(frames, fmt, vcid, VcFormat(counting=counting), versions, proven, notes)
        found[vcid] = settings
        if counting == "none":
            steps = np.diff(vc_counts(frames, fmt))
            notes.found(
                f"VC{vcid} counting", "none", int((steps == 0).sum()), len(steps), "steps of the frame count are 0"
            )
        elif len(frames) < 4:
            notes.open(f"VC{vcid} counting", f"only {len(frames)} frames; taken as counting")
    return found


def _service(
    frames: U8Array, fmt: FrameFormat, vcid: int, base: VcFormat, versions: frozenset[int], proven: bool, notes: Notes
) -> VcFormat:
    name, count = f"VC{vcid}", len(frames)
    idle = int((pointers(frames, fmt, vcid) == ONLY_IDLE).sum())
    if idle == count or (fmt.version == "aos" and vcid == AOS_IDLE_VC):
        how = "frames say so by their pointer" if idle == count else "frames are of the channel for idle data"
        notes.found(name, "idle", count, count, how)
        return replace(base, service="idle")
    for settings in _packet_settings(frames, fmt, vcid, base, versions):
        fitted = fit(frames, fmt, vcid, settings)
        if fitted.holds_packets or (proven and fitted.packs and fitted.versions <= versions and not fitted.faults):
            return _note_packets(name, fitted, settings, notes)
    if fmt.version == "aos" and _is_bitstream(name, frames, fmt, notes):
        return replace(base, service="bitstream")
    placed = _fixed_place(frames, fmt, vcid, base)
    if placed is not None:
        return _note_packets(f"{name}, {placed[1].packet_start} octets into the data field", *placed, notes)
    sync = int((frames[:, 4] & 0x40 != 0).sum()) if fmt.version == "tm" else 0
    if sync * 2 > count:
        notes.found(name, "opaque", sync, count, "frames have the synchronisation flag: no packets by pointer")
    else:
        notes.open(name, f"{_why_opaque(frames, fmt)}; taken as opaque: its frames are kept whole")
    return replace(base, service="opaque")


def _is_bitstream(name: str, frames: U8Array, fmt: FrameFormat, notes: Notes) -> bool:
    """Whether data fields begin with B_PDU headers (732.0-B-4 4.1.4.3), most of them of full frames; note it."""
    start = _zone_start(frames, fmt) - 2
    words = frames[:, start].astype(np.int64) << 8 | frames[:, start + 1]
    room = 8 * (frames.shape[1] - start - 2)
    right = int(((words == ALL_BITS) | (words == NO_BITS) | (words < room)).sum())
    full = int((words == ALL_BITS).sum())
    if len(frames) < LEAST_BITSTREAM or right < len(frames) or full * 2 < len(frames):
        return False
    notes.found(name, "bitstream", full, len(frames), "frames begin with 3FFF: all bits of a B_PDU are valid")
    if full == right:
        notes.open(name, "data that always begin with 3FFF would look like a bitstream of full frames")
    return True


def _packet_settings(
    frames: U8Array, fmt: FrameFormat, vcid: int, base: VcFormat, versions: frozenset[int]
) -> Iterator[VcFormat]:
    seen = versions_at_pointers(frames, fmt, vcid, _zone_start(frames, fmt))
    usual = [_versions(version) for version, _ in seen.most_common(1)]
    for accepted in dict.fromkeys([versions, *usual]):
        yield replace(base, packet_versions=accepted)
        yield replace(base, packet_versions=accepted, packet_zone_padding=True)


def _fixed_place(frames: U8Array, fmt: FrameFormat, vcid: int, base: VcFormat) -> tuple[ChannelFit, VcFormat] | None:
    """Return how packets fit that begin at the same octet of each data field, None when they do not."""
    start = _zone_start(frames, fmt) - 2 * (fmt.version == "aos")
    end = frames.shape[1] - fecf_octets(fmt.fecf) - 4 * (fmt.ocf == "present")
    for place in range(min(LONGEST_PLACE_OCTETS, end - start - 7) + 1):
        heads = frames[:, start + place : start + place + 6].astype(np.int64)
        length = (heads[:, 4] << 8 | heads[:, 5]) + 7
        usual = np.bincount(heads[:, 0] >> 5, minlength=8)
        if usual.max() < PLAUSIBLE * len(heads) or float((length <= end - start - place).mean()) < PLAUSIBLE:
            continue
        counts, apids = (heads[:, 2] & 63) << 8 | heads[:, 3], (heads[:, 0] & 7) << 8 | heads[:, 1]
        steps = steps_by(apids, counts, 16384)
        if steps.bits < LEAST_COUNT_BITS or steps.rising < LEAST_SHARE:
            continue
        for padding in (False, True):
            versions = _versions(int(usual.argmax()))
            settings = replace(base, packet_start=place, packet_zone_padding=padding, packet_versions=versions)
            fitted = fit(frames, fmt, vcid, settings)
            if fitted.packs and fitted.real_packets >= PLAUSIBLE * len(frames):
                return fitted, settings
    return None


def _why_opaque(frames: U8Array, fmt: FrameFormat) -> str:
    data = frames[:, _header_octets(fmt) + fmt.insert_zone_octets :]
    if len(frames) < 4:
        return f"only {len(frames)} frames, too few to tell what they carry"
    if (data == data[0]).all():
        return f"all {len(frames)} frames carry the same data: idle data, or packets that never change"
    return f"in {len(frames)} frames no packets begin where pointers point, nor at a fixed place"


def _note_packets(name: str, fitted: ChannelFit, settings: VcFormat, notes: Notes) -> VcFormat:
    versions = ", ".join(str(version) for version in sorted(fitted.versions))
    value = f"packets (version {versions})" + (", padding behind the first" if settings.packet_zone_padding else "")
    if fitted.pairs:
        how = f"frames whose pointer fits the packets before ({fitted.packets} packets)"
        notes.found(name, value, fitted.agreed, fitted.pairs, how)
    else:
        how = "packets end in their frame"
        notes.found(name, value, fitted.real_packets, fitted.packets, how)
    if fitted.only_idle:
        notes.found(
            f"{name} idle frames", fitted.only_idle, fitted.only_idle, fitted.frames, "frames say only idle data"
        )
    return replace(settings, **_apid_counting(name, fitted, notes))  # type: ignore[arg-type]


def _apid_counting(name: str, fitted: ChannelFit, notes: Notes) -> dict[str, object]:
    """Return how the APIDs of a channel count, as settings."""
    steps = {apid: np.diff(row) % 16384 for apid, row in fitted.apid_counts.items() if apid != 2047 and len(row) > 3}
    by_one = {apid for apid, row in steps.items() if float((row == 1).mean()) >= 0.5}
    still = {apid for apid, row in steps.items() if float((row == 0).mean()) >= 0.5}
    others = steps.keys() - by_one - still
    if others and fitted.lost * 5 > fitted.frames:  # so much is missing that steps say little
        which = ", ".join(map(str, sorted(others)[:6]))
        notes.open(
            f"{name} sequence counts", f"too many frames are missing to say how APID {which} counts; taken as by one"
        )
        others = set()
    elif others:
        which = ", ".join(map(str, sorted(others)[:6])) + (", ..." if len(others) > 6 else "")
        why = "few frames are missing, so they count something else, or for several APIDs together; taken as none"
        notes.open(f"{name} sequence counts", f"those of APID {which} do not go up by one though {why}")
    if still:
        agreed, tested = (sum(int(row) for row in rows) for rows in zip(*_zero_steps(steps, still), strict=True))
        which = ", ".join(map(str, sorted(still)[:6]))
        notes.found(f"{name} sequence counts", f"none of APID {which}", agreed, tested, "steps of the counts are 0")
    uncounted = sorted(still | others)
    if uncounted and not by_one:
        return {"default_apid_counting": "none"}
    return {"apid_counting": dict.fromkeys(uncounted, "none")} if uncounted else {}


def _zero_steps(steps: dict[int, I64Array], apids: set[int]) -> Iterator[tuple[int, int]]:
    for apid in apids:
        yield int((steps[apid] == 0).sum()), len(steps[apid])
