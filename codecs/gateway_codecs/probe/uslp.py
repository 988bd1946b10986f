"""USLP frames (CCSDS 732.1-B-2): found by their length fields, described by reading them with the code that flies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from gateway_codecs.batches import I64Array, Quality, U8Array, Unit, gather
from gateway_codecs.crc import Fecf, fecf_octets, frame_check
from gateway_codecs.frames import FrameFormat, Service, VcFormat
from gateway_codecs.intake import LinkFormat
from gateway_codecs.packet_stream import make_intake
from gateway_codecs.probe.channels import BROKEN, REFUSED
from gateway_codecs.probe.findings import Notes
from gateway_codecs.uslp_frame import IDLE_DATA, OCTET_STREAM, PACKETS, SHORTEST_HEADER_OCTETS, STREAM, VERSION, WHOLE

LEAST_FRAMES = 4
MOST_FRAMES = 20_000
FITTED_FRAMES, CHECKED_FRAMES = 400, 64
LONGEST_INSERT_ZONE_OCTETS = 64
PLAUSIBLE = 0.9
IDLE_VC = 63
RULES, PROTOCOLS = (0, STREAM, WHOLE), (PACKETS, OCTET_STREAM, IDLE_DATA)


@dataclass(frozen=True, slots=True, eq=False)
class UslpChain:
    """Frames octets[offset:offset + length] of one spacecraft, int64 (n,), of `units` that were looked at."""

    octets: U8Array
    offsets: I64Array
    lengths: I64Array
    scid: int
    units: int
    left_octets: int

    @property
    def variable(self) -> bool:
        """Whether the frames have more than one length."""
        return bool((self.lengths != self.lengths[0]).any())

    def heads(self, octets: int) -> I64Array:
        """Return the first octets of the frames, int64 (n, octets); what lies behind the last is zero."""
        at = self.offsets[:, None] + np.arange(octets)
        there = at < len(self.octets)
        return np.where(there, self.octets[np.where(there, at, 0)], 0).astype(np.int64)


def find_uslp(octets: U8Array) -> UslpChain | None:
    """Return USLP frames that follow each other from the first octet, uint8 (n,), on; None when there are too few.

    Chance would need version, spacecraft id and a fitting length in each: 36 bits. One octet for ever has all of them
    when it is C0, and says nothing.
    """
    if len(octets) and bool((octets == octets[0]).all()):
        return None
    view, at, offsets, lengths = np.ascontiguousarray(octets).data, 0, list[int](), list[int]()
    while at + SHORTEST_HEADER_OCTETS <= len(view) and len(offsets) < MOST_FRAMES:
        length = (view[at + 4] << 8 | view[at + 5]) + 1
        alike = view[at : at + 2] == view[:2] and view[at + 2] >> 4 == view[2] >> 4
        if view[at] >> 4 != VERSION or not alike or view[at + 3] & 1 or length <= SHORTEST_HEADER_OCTETS:
            return None
        if at + length > len(view):
            break
        offsets.append(at)
        lengths.append(length)
        at += length
    if len(offsets) < LEAST_FRAMES:
        return None
    scid = (view[0] & 15) << 12 | view[1] << 4 | view[2] >> 4
    begin, left = np.array(offsets, np.int64), len(view) - at if len(offsets) < MOST_FRAMES else 0
    return UslpChain(octets, begin, np.array(lengths, np.int64), scid, len(offsets), left)


def describe_uslp(chain: UslpChain, notes: Notes) -> FrameFormat:
    """Return the format of the frames, and note what says so."""
    total = len(chain.offsets)
    notes.found("frame type", "USLP (version 4, CCSDS 732.1-B)", total, chain.units, "length fields fit the frames")
    notes.found("spacecraft id", chain.scid, total, chain.units, "frames carry it")
    longest = int(chain.lengths.max())
    value = f"{int(chain.lengths.min())} to {longest} octets" if chain.variable else f"{longest} octets"
    notes.found("frame length", value, total, chain.units, "frames say so")
    fecf = _fecf(chain, notes)
    fmt = FrameFormat("uslp", longest, {chain.scid: 0}, {}, fecf=fecf, variable_length=chain.variable)
    heads = chain.heads(SHORTEST_HEADER_OCTETS + 7 + LONGEST_INSERT_ZONE_OCTETS + 1)
    with_ocf = int((heads[:, 6] >> 3 & 1).sum())
    notes.found("OCF", "present (by flag)" if with_ocf * 2 > total else "absent (by flag)",
                max(with_ocf, total - with_ocf), total, "frames agree in the OCF flag")  # fmt: skip
    fmt = replace(fmt, insert_zone_octets=_insert_zone(chain, heads, fmt, notes))
    vcs = dict(_channels(chain, heads, fmt, notes))
    notes.open(
        "other channels", "those that send nothing in these octets cannot be known; frames of theirs are kept whole"
    )
    return replace(fmt, vcs=vcs)


def _fecf(chain: UslpChain, notes: Notes) -> Fecf:
    which = np.linspace(0, len(chain.offsets) - 1, min(CHECKED_FRAMES, len(chain.offsets))).astype(np.int64)
    view = np.ascontiguousarray(chain.octets).data
    frames = [bytes(view[chain.offsets[k] : chain.offsets[k] + chain.lengths[k]]) for k in which]
    choices: tuple[Fecf, ...] = (True, "crc32")
    for fecf in choices:
        size = fecf_octets(fecf)
        good = sum(frame[-size:] == frame_check(frame[:-size], fecf) for frame in frames)
        if good >= 3 and good * 20 >= len(frames):
            name = "CRC-32" if fecf == "crc32" else "CRC-16"
            notes.found("FECF", f"present, {name}", good, len(frames), f"frames end with their {name}")
            return fecf
    notes.open("FECF", "the frames end with neither CRC-16 nor CRC-32: removed, or another check; taken as absent")
    return False


def _field_headers(heads: I64Array, insert: int) -> I64Array:
    """Return the first octet of each data field, int64 (n,)."""
    field: I64Array = heads[np.arange(len(heads)), SHORTEST_HEADER_OCTETS + (heads[:, 6] & 7) + insert]
    return field


def _insert_zone(chain: UslpChain, heads: I64Array, fmt: FrameFormat, notes: Notes) -> int:
    """Return the insert zone behind which data field headers stand, and packets if there are any."""
    plausible: list[int] = []
    shortest = int(chain.lengths.min()) - SHORTEST_HEADER_OCTETS - 7 - 2
    for insert in range(max(0, min(LONGEST_INSERT_ZONE_OCTETS, shortest)) + 1):
        field = _field_headers(heads, insert)
        right = np.isin(field >> 5, RULES) & np.isin(field & 31, PROTOCOLS)
        if float(right.mean()) >= PLAUSIBLE:
            plausible.append(insert)
    if not plausible:
        notes.open("insert zone", "no data field header is plausible behind any; taken as absent")
        return 0
    fits = [(insert, *_packets(chain, replace(fmt, insert_zone_octets=insert))) for insert in plausible[:16]]
    insert, packets, faults = max(fits, key=lambda row: (row[1] - 4 * row[2], -row[0]))
    value = f"{insert} octets" if insert else "absent"
    if packets >= 3 and faults * 4 <= packets:
        notes.found("insert zone", value, packets, packets + faults, "packets are whole when read so")
    elif len(plausible) == 1:
        field = _field_headers(heads, insert)
        right = np.isin(field >> 5, RULES) & np.isin(field & 31, PROTOCOLS)
        notes.found(
            "insert zone", value, int(right.sum()), len(right), "data field headers are plausible behind it alone"
        )
    else:
        insert = plausible[0]
        why = "no packets tell which"
        notes.open("insert zone", f"data field headers are plausible behind {len(plausible)}, {why}; taken as {insert}")
    return insert


def _packets(chain: UslpChain, fmt: FrameFormat, vcid: int | None = None) -> tuple[int, int]:
    """Return (whole packets, faults) of the first frames, of one channel alone if asked for."""
    heads = chain.heads(4)
    channel = (heads[:, 2] << 8 | heads[:, 3]) >> 5 & 63
    which = np.flatnonzero(channel == vcid if vcid is not None else channel >= 0)[:FITTED_FRAMES]
    fmt = replace(fmt, vcs={one: VcFormat() for one in np.unique(channel).tolist() if one != IDLE_VC})
    octets = gather(chain.octets, chain.offsets[which], chain.lengths[which])
    intake = make_intake(LinkFormat(0, fmt))
    items = [batch.items.items for batch in (intake.feed(octets.tobytes(), 0), intake.finish(0))]
    rows = np.concatenate(items)
    causes = Counter(rows["quality"].tolist())
    faults = sum(causes[cause] for cause in (BROKEN | REFUSED) - {Quality.PACKET_TRUNCATED})
    return int(((rows["unit"] == Unit.PACKET) & (rows["length"] > 7)).sum()), faults


def _channels(chain: UslpChain, heads: I64Array, fmt: FrameFormat, notes: Notes) -> Iterator[tuple[int, VcFormat]]:
    channel, map_id = (heads[:, 2] << 8 | heads[:, 3]) >> 5 & 63, heads[:, 3] >> 1 & 15
    field = _field_headers(heads, fmt.insert_zone_octets)
    for vcid in np.unique(channel).tolist():
        mine = channel == vcid
        services = {
            int(one): _service(chain, fmt, vcid, int(one), field[mine & (map_id == one)], notes)
            for one in np.unique(map_id[mine])
        }
        usual = Counter(map_id[mine].tolist()).most_common(1)[0][0]
        service = services[usual]
        others = {one: other for one, other in services.items() if other != service}
        counted = int((heads[mine, 6] & 7 > 0).sum())
        if not counted:
            notes.found(f"VC{vcid} counting", "none", int(mine.sum()), int(mine.sum()), "frames have no count")
        yield vcid, VcFormat(service=service, counting="vc_count" if counted else "none", maps=others)


def _service(chain: UslpChain, fmt: FrameFormat, vcid: int, map_id: int, field: I64Array, notes: Notes) -> Service:
    name, total = f"VC{vcid} MAP{map_id}", len(field)
    protocol = Counter((field & 31).tolist())
    if vcid == IDLE_VC or protocol[IDLE_DATA] == total:
        notes.found(name, "idle", total if vcid == IDLE_VC else protocol[IDLE_DATA], total, "frames say so")
        return "idle"
    stream = int(((field & 31 == OCTET_STREAM) & (field >> 5 == STREAM)).sum())
    if stream * 10 >= 9 * total:
        notes.found(name, "bitstream (an octet stream)", stream, total, "data field headers say so")
        return "bitstream"
    packets, faults = _packets(chain, fmt, vcid)
    said = int(((field & 31 == PACKETS) & np.isin(field >> 5, (0, WHOLE))).sum())
    if said * 10 >= 9 * total and packets and faults * 4 <= packets:
        notes.found(name, "packets", said, total, f"data field headers say so, and {packets} packets are whole")
        return "packets"
    notes.open(name, "its data field headers say neither packets that can be read nor an octet stream; taken as opaque")
    return "opaque"
