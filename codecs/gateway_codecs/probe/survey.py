"""Finds out what an unknown recording holds: the order in which everything is tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from gateway_codecs.batches import U8Array
from gateway_codecs.frames import FrameFormat, VcFormat
from gateway_codecs.probe.checksums import find_other_check
from gateway_codecs.probe.coding import Code, Derandomised, derandomised, find_code
from gateway_codecs.probe.containers import Unpacked, find_kiss, known_file, unpack
from gateway_codecs.probe.fields import describe_frames
from gateway_codecs.probe.findings import Coding, Kind, Layout, Notes, ReedSolomonCode, Report
from gateway_codecs.probe.headers import HEADER_OCTETS, LEAST_SHARE, READ_OCTETS, Headers, read_headers
from gateway_codecs.probe.markers import MarkerTrain, find_markers
from gateway_codecs.probe.packet_files import describe_packets, find_packets
from gateway_codecs.probe.periods import Reading, find_units, units
from gateway_codecs.probe.telecommands import describe_cltus, describe_tc_frames
from gateway_codecs.probe.uslp import UslpChain, describe_uslp, find_uslp
from gateway_codecs.sync_markers import MARKERS

MOST_FRAMES = 4096
MOST_OCTETS = 4 << 20
"""So much of the frames is looked at for their fields and channels."""
MANY_FRAMES = 8
SCORE = 0.8
"""Frames that nothing but their headers shows: so many, and so good a score."""
MANY_PLACES = 128
Progress = Callable[[str], None]


def _quiet(_: str) -> None:
    """Say nothing."""


def probe(data: bytes, whole_file: bool = True, progress: Progress = _quiet) -> Report:
    """Return what the octets hold. `whole_file`: they are all there is, not the beginning of more.

    Nothing raises, whatever the octets are. `progress` is told what is tried next.
    """
    octets, notes = np.frombuffer(data, np.uint8), Notes()
    known = known_file(octets)
    if known is not None:
        return Report("nothing", len(data), about=f"{known[0]}: {known[1]}")
    if find_kiss(octets, whole_file, notes):
        notes.open("content", "what KISS frames carry is not told by their container: AX.25, CSP or another format")
        return _report("container", octets, notes, Layout(storage="kiss"), "KISS frames")
    held = unpack(octets, notes)
    for kind, search in SEARCHES:
        progress(kind)
        found = Notes()
        layout = search(held.octets, whole_file, found)
        notes.take(found)
        if found.findings:
            layout = None if layout is None else replace(layout, storage=held.storage)
            return _report(_kind_of(layout, kind), octets, notes, layout, "")
    return _report("nothing", octets, notes, None, _about(held))


def _report(kind: Kind, octets: U8Array, notes: Notes, layout: Layout | None, about: str) -> Report:
    tried = tuple(notes.tried) if kind == "nothing" else ()
    return Report(kind, len(octets), tuple(notes.findings), tuple(notes.undecided), layout, tried, about)


def _kind_of(layout: Layout | None, kind: Kind) -> Kind:
    return "cadus" if layout is not None and layout.coding is not None else kind


def _about(held: Unpacked) -> str:
    """Return what octets look like in which nothing was recognised, and which ones if they are not the file's own."""
    said = _looks(held.octets)
    if held.storage == "octets":
        return said
    read = {"hex": "text of hexadecimal digits", "bits": "one bit in each octet", "kiss": "KISS frames"}[held.storage]
    return f"{read}: the {len(held.octets):,} octets that it stands for were looked at" + (said and f"; {said}")


def _looks(octets: U8Array) -> str:
    if not len(octets):
        return "the file is empty"
    if (octets == octets[0]).all():
        return f"every octet is {octets[0]:02X}"
    counts = np.bincount(octets, minlength=256) / len(octets)
    entropy = -float((counts[counts > 0] * np.log2(counts[counts > 0])).sum())
    if entropy > 7.9 and len(octets) > 4096:
        return "it looks like noise: encrypted, compressed, or bits of a channel code that is still to be decoded"
    digits = "of text only hexadecimal digits and white space are read on (no offsets, commas or 0x)"
    return f"it looks like text; {digits}" if _is_text(octets) else ""


def _is_text(octets: U8Array) -> bool:
    return len(octets) > 0 and float(np.isin(octets, [9, 10, 13, *range(32, 127)]).mean()) > 0.97


# ---- CADUs


def _cadus(octets: U8Array, whole_file: bool, notes: Notes) -> Layout | None:
    train = find_markers(octets)
    if train is None or not len(train.positions):
        notes.tried.append(
            f"sync markers at a fixed distance, at every bit, in both polarities: {', '.join(MARKERS.values())}"
        )
        return None
    _note_markers(train, notes)
    octets_each = max(1, train.period_bits // 8)
    blocks = train.blocks(octets, min(MOST_FRAMES, max(1, MOST_OCTETS // octets_each)))
    if blocks.shape[1] < HEADER_OCTETS:
        notes.open("frames", "no room for a header between the markers")
        return None
    layout = _decoded(blocks, train.marker, notes)
    return None if layout is None else replace(layout, octet_aligned=train.octet_aligned)


def _note_markers(train: MarkerTrain, notes: Notes) -> None:
    name = train.marker.hex().upper()
    use = next(use for use, marker in MARKERS.items() if marker == name)
    at, last = int(train.positions[0]), train.period_bits
    notes.found("marker", f"{name} ({use})", train.on_time, train.seen, "markers stand one period from another")
    text = f"{last // 8} octets" if last % 8 == 0 else f"{last} bits, no whole octets"
    notes.found("period", text, train.on_time, train.seen, "markers stand one period from another")
    aligned = "octets" if train.octet_aligned else f"bits, the first unit begins at bit {at} (octet {at / 8:g})"
    notes.found("alignment", aligned, len(train.positions), len(train.positions), "units begin there")
    inverted = int(train.inverted.sum())
    upright = len(train.inverted) - inverted
    polarity = "inverted" if not upright else "both" if inverted else "normal"
    notes.found("polarity", polarity, max(inverted, upright), len(train.inverted), "units have it")


def _decoded(blocks: U8Array, marker: bytes, notes: Notes) -> Layout | None:
    """Note code, randomiser and frames of code blocks, uint8 (n, L)."""
    code = find_code(blocks)
    found = derandomised(blocks, code)
    if not marker and (found.headers is None or (code is None and found.randomiser == "none")):
        return None
    if code is not None:
        _note_code(code, found, notes)
    elif marker:
        notes.open(
            "Reed-Solomon", "no code of the book fits any block, with any randomiser: not coded, or another code"
        )
    frames, headers = found.frames[found.good] if found.good.any() else found.frames, found.headers
    _note_randomiser(found, code, headers, notes)
    coding = Coding(marker, found.randomiser, None if code is None else _settings(code))
    fmt = _frames_without_headers(frames, notes) if headers is None else _described(frames, code is not None, notes)
    if fmt is None:
        return None
    tail = 0 if code is None else code.tail_octets
    return Layout(replace(fmt, suffix_octets=fmt.suffix_octets + tail), tuple(fmt.scids), coding=coding)


def _described(frames: U8Array, exact: bool, notes: Notes) -> FrameFormat:
    headers = read_headers(frames[:, :READ_OCTETS], frames.shape[1])
    if headers.version != "uslp":
        return describe_frames(frames, headers, exact, notes)
    own = np.flatnonzero(headers.own)
    length = frames.shape[1]
    chain = UslpChain(frames.reshape(-1), own * length, np.full(len(own), length), headers.scid, len(frames), 0)
    return describe_uslp(chain, notes)


def _settings(code: Code) -> ReedSolomonCode:
    rs = code.code
    return ReedSolomonCode(rs.e, rs.interleave, rs.basis, rs.virtual_fill_octets)


def _note_code(code: Code, found: Derandomised, notes: Notes) -> None:
    rs = code.code
    fill = f", {rs.virtual_fill_octets} octets of virtual fill per code word" if rs.virtual_fill_octets else ""
    value = f"(255,{255 - 2 * rs.e}), {rs.basis} basis, interleave {rs.interleave}{fill}"
    how = "code words can be corrected" if code.corrected else "code words have no error"
    notes.found("Reed-Solomon", value, code.good, code.tested, how)
    notes.found(
        "code blocks", f"{rs.codeblock_octets} octets", int(found.good.sum()), len(found.good), "blocks are good"
    )
    if rs.virtual_fill_octets:
        notes.open(
            "virtual fill", "it is never sent: its length follows from the code block's, its place is by the book"
        )
    if code.tail_octets:
        why = f"{code.tail_octets} octets between the code block and the next marker belong to neither"
        notes.open("tail", why)


def _note_randomiser(found: Derandomised, code: Code | None, headers: Headers | None, notes: Notes) -> None:
    name = {"none": "none", "short": "short (255 bits)", "long": "long (131,071 bits)"}[found.randomiser]
    if headers is not None:
        agreed, tested = int(headers.own.sum()), len(headers.own)
        also = () if code is None else [kind for kind in code.randomisers if kind != found.randomiser]
        more = f" (code words alone allow {' and '.join(also)} too)" if also else ""
        notes.found("randomiser", name, agreed, tested, f"frames begin with the same header when it is taken off{more}")
    elif code is not None and not found.left:
        notes.found("randomiser", name, code.good, code.tested, "code words are none with another")
    else:
        others = ", ".join((found.randomiser, *found.left)) if found.left else "none, short and long"
        notes.open("randomiser", f"no frame headers show which of {others} it is; taken as {found.randomiser}")


def _frames_without_headers(frames: U8Array, notes: Notes) -> FrameFormat | None:
    """Note frames whose headers say nothing; those that look alike can still be kept, whole."""
    headers = read_headers(frames[:, :HEADER_OCTETS])
    length, own = frames.shape[1], int(headers.own.sum())
    check = find_other_check(frames)
    if check is not None:
        how = "different frames end with it: no setting checks it"
        notes.found("frame check", "CRC-32C in the last four octets", check.good, check.tested, how)
    empty = int((~frames[:, : length - 4].any(axis=1)).sum())
    if empty * 2 > len(frames):
        notes.found("content", "zeros", empty, len(frames), "frames have zeros in all but the last four octets")
    if headers.share < LEAST_SHARE:
        notes.open("frame type", "frames begin with no TM or AOS header: encrypted, or a format of their own")
        return None
    why = "the headers are the same in every frame and count nothing, so that they may be none"
    value = f"taken as {headers.version.upper()} of spacecraft {headers.scid}, kept whole"
    notes.open("frame type", f"{own} of {len(frames)} frames begin alike, but {why}; {value}")
    notes.open("FECF, OCF, services", "without headers that count nothing tells them from data")
    fmt = FrameFormat(headers.version, length, {headers.scid: 0}, {}, fecf=False, mc_counting=False)
    vcid = int(frames[headers.own][0, 1] >> 1 & 7 if fmt.version == "tm" else frames[headers.own][0, 1] & 63)
    return replace(fmt, vcs={vcid: VcFormat(service="opaque", counting="none")})


# ---- packets and frames without markers


def _packets(octets: U8Array, whole_file: bool, notes: Notes) -> Layout | None:
    chain = find_packets(octets, whole_file)
    if chain is None:
        notes.tried.append("packets back to back, with up to 64 octets before each")
        return None
    return Layout(packets=describe_packets(chain, notes), packet_prefix_octets=chain.prefix_octets)


def _cltus(octets: U8Array, whole_file: bool, notes: Notes) -> None:
    describe_cltus(octets, notes)
    if not notes.findings:
        notes.tried.append("CLTUs: start sequences EB90 at octets, BCH code blocks and tail sequences behind them")


def _tc_frames(octets: U8Array, whole_file: bool, notes: Notes) -> None:
    describe_tc_frames(octets, whole_file, notes)
    if not notes.findings:
        notes.tried.append("TC frames whose length fields lead from one to the next, from the first octet on")


def _uslp_frames(octets: U8Array, whole_file: bool, notes: Notes) -> Layout | None:
    chain = find_uslp(octets)
    if chain is None:
        notes.tried.append("USLP frames whose length fields lead from one to the next, from the first octet on")
        return None
    fmt = describe_uslp(chain, notes)
    if chain.left_octets and whole_file:
        notes.open("end", f"the last {chain.left_octets} octets are no whole frame")
    notes.open("before the recording", "markers, randomiser, parity or a FECF that were taken off leave no trace")
    return Layout(fmt, tuple(fmt.scids))


def _plain_units(octets: U8Array, whole_file: bool, notes: Notes) -> Layout | None:
    found = find_units(octets)
    tried = (
        "TM and AOS headers every 16 to 4096 octets: each bit shift, polarity, randomiser, up to 64 octets before"
        " each frame, octet interleave up to 8"
    )
    if found is None:
        notes.tried.append(tried)
        return None
    inner = Notes()
    layout = _units_layout(octets, found, whole_file, inner)
    if not _confirmed(inner) and not _plain_enough(octets, found):
        notes.tried.append(f"{tried} (one place looks like headers that count, but nothing else bears it out)")
        return None
    notes.take(inner)
    return layout


def _plain_enough(octets: U8Array, found: Reading) -> bool:
    """Whether headers at the simplest place are so many and so good that they need nothing beside them."""
    headers, place = found.headers, found.place
    simple = not place.start_bits and place.interleave == 1 and not found.inverted and found.randomiser == "none"
    many = int(headers.own.sum()) >= MANY_FRAMES and headers.score >= SCORE
    return simple and many and not _is_text(octets) and not _counts_all_over(units(octets, place)[:MANY_PLACES])


def _counts_all_over(rows: U8Array) -> bool:
    """Whether other places of the rows, uint8 (n, U), look like headers too: tables of numbers do."""
    places = range(4, min(MANY_PLACES, rows.shape[1] - HEADER_OCTETS), 4)
    return sum(read_headers(rows[:, at : at + HEADER_OCTETS]).sure for at in places) > 2


def _confirmed(notes: Notes) -> bool:
    """Whether something beside the headers shows that these are frames."""
    shown = {"packets", "idle"}
    return any(row.item in {"FECF", "Reed-Solomon"} or row.value.split(" ")[0] in shown for row in notes.findings)


def _units_layout(octets: U8Array, found: Reading, whole_file: bool, notes: Notes) -> Layout | None:
    place = found.place
    rows = units(octets[: MOST_OCTETS + place.unit_octets + place.start_bits // 8], place)[:MOST_FRAMES]
    upright = ~rows if found.inverted else rows
    coded = _decoded(upright, b"", notes) if place.interleave == 1 else None
    if coded is None:
        coded = _bare_frames(octets, upright, found, whole_file, notes)
    if found.inverted:
        notes.found(
            "polarity", "inverted", int(found.headers.own.sum()), len(found.headers.own), "headers read so alone"
        )
    skip = coded.skip_bits if coded.coding is None else place.start_bits
    if skip:
        text = f"the first unit begins {skip} bits into the file"
        notes.open("start", f"{text}, with no marker that says so: no link plays the file as it is")
    return replace(coded, skip_bits=skip, inverted=found.inverted)


def _bare_frames(octets: U8Array, rows: U8Array, found: Reading, whole_file: bool, notes: Notes) -> Layout:
    """Describe frames without marker, randomiser and code; what stands before the first is a prefix or a rest."""
    place, length = found.place, found.place.unit_octets
    before, shift = divmod(place.start_bits, 8)
    prefix = before if before and not shift and whole_file and len(octets) % length == 0 else 0
    if prefix:
        rows = octets.reshape(-1, length)[: len(rows) + 1, prefix:]
    rows = np.ascontiguousarray(rows)
    headers = read_headers(rows[:, :HEADER_OCTETS])
    fmt = describe_frames(rows, headers, place.interleave > 1, notes)
    fmt = replace(fmt, octet_interleave=place.interleave, prefix_octets=prefix)
    if place.interleave > 1:
        own = int(headers.own.sum())
        notes.found("octet interleave", place.interleave, own, len(rows), "headers stand in every so many octets")
    if prefix:
        notes.found(
            "prefix", f"{prefix} octets", int(headers.own.sum()), len(rows), "frames stand behind so many octets"
        )
    notes.open("before the recording", "markers, randomiser, parity or a FECF that were taken off leave no trace")
    return Layout(fmt, tuple(fmt.scids), skip_bits=0 if prefix else place.start_bits)


SEARCHES: tuple[tuple[Kind, Callable[[U8Array, bool, Notes], Layout | None]], ...] = (
    ("packets", _packets),
    ("cadus", _cadus),
    ("cltus", _cltus),
    ("frames", _uslp_frames),
    ("tc_frames", _tc_frames),
    ("frames", _plain_units),
)
