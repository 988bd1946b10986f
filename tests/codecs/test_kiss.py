"""KISS, AX.25 and CSP: vectors of other people's tools, round trips, rubbish, and a stream cut anywhere."""

from __future__ import annotations

import contextlib
import itertools
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_codecs import ax25, csp, kiss
from gateway_codecs.batches import ABSENT, IntakeBatch
from gateway_codecs.declared import FormatError
from gateway_codecs.intake import LinkFormat
from gateway_codecs.kiss import FRAME_MAX_OCTETS, KissFrame, Splitter
from gateway_codecs.kiss_intake import KissIntake
from gateway_codecs.time_scales import parse_utc
from tests.codecs.links import Item, items
from tests.conftest import RUBBISH_UNITS, SHARED

VECTORS = SHARED / "spec/vectors/amateur.json"
STREAM = st.lists(
    st.one_of(st.binary(max_size=30), st.sampled_from([b"\xc0", b"\xc0\x00", b"\xdb", b"\xc0\x09" + bytes(8)]))
)
CALLSIGNS = st.from_regex(ax25.CALLSIGN, fullmatch=True)
ADDRESSES = st.builds(ax25.Address, CALLSIGNS, st.integers(0, 15), st.booleans(), st.integers(0, 3))


def fed(data: bytes, *cuts: int) -> list[IntakeBatch]:
    intake = KissIntake(LinkFormat(1, container="kiss"))
    places = [0, *sorted(cuts), len(data)]
    return [*[intake.feed(data[a:b], 1) for a, b in itertools.pairwise(places)], intake.finish(1)]


@pytest.mark.skipif(not VECTORS.exists(), reason="the shared vectors are not beside the checkout")
def test_vectors() -> None:
    """The octets of gr-satellites' own definitions, both ways."""
    rows = {row["id"]: row for row in json.loads(VECTORS.read_text())["vectors"]}
    octets = {name: bytes.fromhex(row["hex"]) for name, row in rows.items() if "hex" in row}
    frame = ax25.decode(octets["ax25_ui"])
    assert frame == ax25.Ax25Frame(
        ax25.Address("CQ", 0, True), ax25.Address("ON4SAT", 1), (), ax25.UI, 0xF0, b"hello"
    )  # fmt: skip
    assert ax25.encode(frame) == octets["ax25_ui"]
    assert kiss.encode(KissFrame(0, 0, octets["ax25_ui"])) == octets["kiss_of_ax25_ui"]
    escaped = KissFrame(0, 0, bytes.fromhex(rows["kiss_escape"]["payload"]))
    assert kiss.encode(escaped) == octets["kiss_escape"]
    assert kiss.decode(octets["kiss_escape"][1:-1]) == escaped
    for version, name in ((1, "csp_v1_header"), (2, "csp_v2_header")):
        header = csp.CspHeader(version, 2, 1, 10, 7, 33, csp.CRC32)
        assert csp.decode(octets[name], version) == header
        assert csp.encode(header) == octets[name]


@settings(deadline=None)
@given(st.builds(KissFrame, st.integers(0, 15), st.integers(0, 15), st.binary(max_size=80)))
def test_kiss_round_trip(frame: KissFrame) -> None:
    """decode(encode(v)) == v, and no FEND stands inside."""
    octets = kiss.encode(frame)
    assert octets.count(kiss.FEND) == 2
    assert kiss.decode(octets[1:-1]) == frame


@settings(deadline=None)
@given(
    ADDRESSES,
    ADDRESSES,
    st.lists(ADDRESSES, max_size=8),
    st.integers(0, 255),
    st.integers(0, 255),
    st.binary(max_size=9),
)
def test_ax25_round_trip(
    destination: ax25.Address, source: ax25.Address, repeaters: list[ax25.Address], control: int, pid: int, info: bytes
) -> None:
    """decode(encode(v)) == v for every frame that can be made."""
    wanted = pid if ax25.has_pid(control) else None
    frame = ax25.Ax25Frame(destination, source, tuple(repeaters), control, wanted, info)
    assert ax25.decode(ax25.encode(frame)) == frame


@settings(deadline=None)
@given(st.data(), st.sampled_from([1, 2]), st.booleans())
def test_csp_round_trip(data: st.DataObject, version: int, swapped: bool) -> None:
    """decode(encode(v)) == v in both versions and octet orders."""
    _, octets, address, flags = csp.HEADERS[version]
    fields = [data.draw(st.integers(0, (1 << bits) - 1)) for bits in (2, address, address, 6, 6, flags)]
    header = csp.CspHeader(version, *fields, swapped)
    assert len(csp.encode(header)) == octets
    assert csp.decode(csp.encode(header) + b"data", version, swapped) == header


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        ("", "address at octet 0"),
        ("86a240404040e0", "address at octet 7"),
        ("86a240404040e19e9c68a682a86303f0", "the first is marked as the last"),
        ("86a240404040e09e9c68a682a863", "end within the header"),
        ("86a240404040e09e9c68a682a86303", "end within the header"),
        ("87a240404040e09e9c68a682a86303f0", "no shifted characters"),
        ("c2a240404040e09e9c68a682a86303f0", "no callsign"),
        ("86a240404040e0" * 11, "no end within 10 addresses"),
    ],
)
def test_what_is_no_ax25(octets: str, words: str) -> None:
    """A header that is none is refused with what is wrong."""
    with pytest.raises(FormatError, match=words):
        ax25.decode(bytes.fromhex(octets))


def test_values_that_do_not_fit() -> None:
    """A value that does not fit its field is refused when it is made."""
    with pytest.raises(FormatError):
        KissFrame(16, 0, b"")
    with pytest.raises(FormatError):
        ax25.Address("ON4SATX")
    with pytest.raises(FormatError):
        ax25.Ax25Frame(ax25.Address("A"), ax25.Address("B"), control=0x01)
    with pytest.raises(FormatError):
        csp.CspHeader(1, 0, 32, 0, 0, 0)
    with pytest.raises(FormatError):
        csp.decode(bytes(3))
    with pytest.raises(FormatError):
        csp.decode(bytes(9), version=3)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_rubbish_is_refused_in_words(octets: bytes) -> None:
    """R6: rubbish is a FormatError or a value, nothing else."""
    for decode in (kiss.decode, ax25.decode, csp.decode):
        with contextlib.suppress(FormatError):
            decode(octets)


def test_frames_between_what_is_none() -> None:
    """R6: octets before the first FEND, bad escapes, modem commands and an open end cost no good frame."""
    good = [kiss.encode(KissFrame(0, 0, b"one \xc0\xdb")), kiss.encode(KissFrame(3, 0, b"two"))]
    data = b"lead" + good[0] + b"\xc0\x00a\xdbb\xc0\xc0\xc0" + b"\x01\x20" + good[1] + b"\x00" + b"\xc0" + b"\x00open"
    assert items(fed(data)) == [
        Item("OCTETS", "CONTAINER", b"lead"),
        Item("FRAME", "GOOD", b"one \xc0\xdb"),
        Item("OCTETS", "CONTAINER", b"\x00a\xdbb"),
        Item("OCTETS", "CONTAINER", b"\x01\x20"),
        Item("FRAME", "GOOD", b"two"),
        Item("OCTETS", "CONTAINER", b"\x00"),
        Item("OCTETS", "LENGTH", b"\x00open"),
    ]
    assert sum(batch.counters.get("rejected_container", 0) for batch in fed(data)) == 4


def test_timestamps_are_of_the_next_frame_of_their_port() -> None:
    """A timestamp frame states the earth receive time of one data frame; one that cannot be a time is counted."""

    def time(port: int, unix_ms: int) -> bytes:
        return kiss.encode(KissFrame(port, 9, unix_ms.to_bytes(8, "big")))

    def frame(port: int) -> bytes:
        return kiss.encode(KissFrame(port, 0, b"x"))

    ms = 1_733_000_000_123
    data = time(0, ms) + time(1, ms + 1000) + frame(1) + frame(0) + frame(0) + time(0, 1 << 63) + frame(0)
    batch = fed(data)[0]
    when = parse_utc("2024-11-30T20:53:20.123Z")
    assert batch.items.items["earth_receive_time_ns"].tolist() == [when + 10**9, when, ABSENT, ABSENT]
    assert batch.counters["unreadable_times"] == 1


@settings(deadline=None)
@given(STREAM, st.lists(st.integers(0, 300), max_size=5))
def test_chunks_do_not_matter(parts: list[bytes], cuts: list[int]) -> None:
    """However a stream is cut, items and times are the same, and every octet but FENDs, types and times is kept."""
    data = b"".join(parts)
    whole, pieces = fed(data), fed(data, *[cut for cut in cuts if cut < len(data)])
    assert items(whole) == items(pieces)
    assert [b.items.items["earth_receive_time_ns"].tolist() for b in whole if len(b.items)] == [
        rows
        for rows in [[t for b in pieces[:-1] for t in b.items.items["earth_receive_time_ns"].tolist()],
                     pieces[-1].items.items["earth_receive_time_ns"].tolist()]
        if rows
    ]  # fmt: skip
    for item in items(whole):
        raw = kiss.encode(KissFrame(0, 0, item.octets))[2:-1] if item.unit == "FRAME" else item.octets
        assert raw in data


@settings(deadline=None)
@given(STREAM, st.integers(0, 300))
def test_a_restart_anywhere_continues_exactly(parts: list[bytes], cut: int) -> None:
    """A resumable source goes on after a crash with the frame under way and its time."""
    data = b"".join(parts)
    before, after = (KissIntake(LinkFormat(1, container="kiss")) for _ in range(2))
    first = before.feed(data[:cut], 1)
    state = json.loads(json.dumps(before.state()))
    after.restore(state, lambda at, length: data[at : at + length])
    batches = [first, after.feed(data[state["source_offset"] :], 1), after.finish(1)]
    whole = fed(data)
    assert items(batches) == items(whole)
    times = [[t for b in found for t in b.items.items["earth_receive_time_ns"].tolist()] for found in (batches, whole)]
    assert times[0] == times[1]


@pytest.mark.parametrize(
    "state", [{}, {"kiss": 5}, {"kiss": {"times": [[99, 5], [1, "x"], 7], "begun": 3}}, {"source_offset": -1}]
)
def test_a_state_of_another_making_raises_nothing(state: dict[str, object]) -> None:
    """R7: what a state holds that is none is left out."""
    intake = KissIntake(LinkFormat(1, container="kiss"))
    intake.restore(state, lambda at, length: b"")
    assert items([intake.feed(kiss.encode(KissFrame(0, 0, b"x")), 1)]) == [Item("FRAME", "GOOD", b"x")]


@pytest.mark.parametrize("extra", [-1, 0, 1, 2 * FRAME_MAX_OCTETS + 5])
def test_a_stream_without_end_is_kept_in_pieces(extra: int) -> None:
    """R13: what goes on without FEND is held up to the longest frame, kept as no frame, and the next frame is good."""
    long, good = b"\x00" + b"a" * (FRAME_MAX_OCTETS - 1 + extra), kiss.encode(KissFrame(0, 0, b"x"))
    whole = items(fed(b"\xc0" + long + good))
    pieces = items(fed(b"\xc0" + long + good, *range(1, len(long), 40_000)))
    assert whole == pieces
    assert whole[-1] == Item("FRAME", "GOOD", b"x")
    if extra <= 0:
        assert whole[0] == Item("FRAME", "GOOD", long[1:])
    else:
        assert {item.quality for item in whole[:-1]} == {"CONTAINER"}
        assert b"".join(item.octets for item in whole[:-1]) == long


def test_rubbish() -> None:
    """R6: rubbish raises nothing and hides no frame behind it."""
    rng, splitter, octets = random.Random(5), Splitter(), 0
    intake, wanted = KissIntake(LinkFormat(1, container="kiss")), list[bytes]()
    found: list[bytes] = []
    for _ in range(RUBBISH_UNITS):
        payload = rng.randbytes(rng.randrange(1, 40))
        data = rng.randbytes(rng.randrange(60)) + kiss.encode(KissFrame(0, 0, payload))
        wanted.append(payload)
        octets += len(data)
        splitter.feed(data)
        found.append(items([intake.feed(data, 1)])[-1].octets)
    assert found == wanted


@pytest.mark.parametrize(
    ("octets", "is_kiss"),
    [
        (b"", False),
        (b"\xc0", False),
        (b"\xc0\x00", False),
        (b"\xc0\x00x\xc0", True),
        (b"\xc0\x09" + bytes(8) + b"\xc0\xc0\x00x\xc0\xc0\x00under way", True),
        (b"\xc0\x07x\xc0", False),
        (b"\xc0\x00\xdbx\xc0", False),
        (b"\x00\xc0\x00x\xc0", False),
        (b"\xc0\x00" + random.Random(1).randbytes(2000), False),
    ],
)
def test_what_looks_like_kiss(octets: bytes, is_kiss: bool) -> None:
    """A file is taken for KISS only when all that can be judged of it is."""
    assert kiss.looks_like_kiss(octets) is is_kiss
