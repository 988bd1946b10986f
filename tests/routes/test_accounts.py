"""Accounting: every gap with its reason, and numbers that add up (issue: never invent a reason)."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_codecs.batches import ItemBatch, ItemFlag, Kind, Quality, Records, Unit, no_items
from gateway_routes.accounts import GapTold, Reason, StreamAccounts, StreamKey, gap_told
from gateway_routes.delivery import Cursor, normalised
from gateway_routes.entitled import Contract, Entitled, Former, within
from gateway_routes.latency import POINTS_MAX, Latencies, percentiles
from gateway_routes.selection import Selection

PACKET, BAD, EVENT, IDLE, FRAME = "packet", "bad", "event", "idle", "frame"


class Tape:
    """A journal written by hand: what came, in order, append by append."""

    def __init__(self, rule: str = "apid") -> None:
        self.accounts = StreamAccounts(lambda key: "vc_count" if key.unit == Unit.FRAME else rule, {"craft": 1})
        self.at = 0
        self.rows: list[dict[str, Any]] = []
        self.gaps: list[GapTold] = []

    def packet(self, missing: int = 0, apid: int = 5, vcid: int = 1, link: int = 1) -> None:
        self._row(kind=Kind.TM, unit=Unit.PACKET, apid=apid, vcid=vcid, link=link, missing_before=missing, length=10)

    def frame(self, vcid: int = 3) -> None:
        self._row(kind=Kind.TM, unit=Unit.FRAME, vcid=vcid, link=1, length=10)

    def bad(self, vcid: int = 1, cause: Quality = Quality.FECF, unit: Unit = Unit.FRAME, link: int = 1) -> None:
        self._row(kind=Kind.TM, unit=unit, vcid=vcid, link=link, quality=cause, length=10)

    def gap(self, missing: int, reason: str = "space link", **more: Any) -> None:
        told = {"what": "packets", "link": 1, "spacecraft": 1, "vcid": 1, "apid": 5, "occurrences": 1, **more}
        self.gaps.append(GapTold(position=self.at, missing=missing, reason=reason, **told))
        self._row(kind=Kind.EVENT, unit=Unit.EVENT, link=1)

    def frames_gap(self, missing: int, vcid: int = 1) -> None:
        self.gap(missing, what="frames", vcid=vcid, apid=-1)

    def _row(self, **values: Any) -> None:
        self.rows.append({"spacecraft": 1, **values})
        self.at += 1

    def commit(self) -> None:
        items = no_items(len(self.rows))
        for k, row in enumerate(self.rows):
            for column, value in row.items():
                items[column][k] = value
        self.accounts.take(np.arange(self.at - len(self.rows), self.at), items, self.gaps)
        self.rows, self.gaps = [], []

    def missing(self, apid: int = 5) -> dict[Reason, int]:
        (found,) = [s.counter.missing for s in self.accounts.streams if s.key.apid == apid]
        return found


def test_nothing_was_refused_so_it_was_lost_on_the_space_link() -> None:
    """A jump of the counts with no refused unit of the link in its window is a loss on the space link."""
    tape = Tape()
    tape.bad()
    tape.packet()
    tape.packet(missing=3)
    tape.bad(vcid=1, link=2)
    tape.gap(3)
    tape.commit()
    assert tape.missing() == {Reason.SPACE_LINK: 3}
    (stream,) = tape.accounts.streams
    assert (stream.received, stream.expected, stream.octets) == (2, 5, 20)


@pytest.mark.parametrize("commits", [1, 2])
def test_bad_frames_explain_what_the_frame_count_misses(commits: int) -> None:
    """As many refused frames that name the VC as its count misses: they held the packets, in one commit or in two."""
    tape = Tape()
    for _ in range(3):
        tape.packet()
        if commits == 2:
            tape.commit()
        tape.bad()
        tape.bad()
        tape.bad(vcid=1, cause=Quality.PACKET_TRUNCATED, unit=Unit.OCTETS)
        tape.packet(missing=3)
        tape.frames_gap(2)
        tape.gap(3)
        tape.commit()
    assert tape.missing() == {Reason.BAD_FRAME: 9}


@pytest.mark.parametrize(("frames", "named"), [(3, 2), (2, 3), (1, 0), (0, 1)])
def test_a_mixture_is_unknown(frames: int, named: int) -> None:
    """Never invent a reason: what refused frames explain only in part, or by a VC that may be wrong, is unknown."""
    tape = Tape()
    tape.packet()
    for _ in range(named):
        tape.bad()
    tape.bad(vcid=7)
    tape.packet(missing=4)
    if frames:
        tape.frames_gap(frames)
    tape.gap(4)
    tape.commit()
    assert tape.missing() == {Reason.UNKNOWN: 4}


def test_what_does_not_fit_into_the_bad_frames_was_not_in_them() -> None:
    """Never invent a reason: the frame count wraps around, so one bad frame and 256 lost ones look like one missing."""
    for missing, reason in ((2, Reason.BAD_FRAME), (3, Reason.UNKNOWN)):
        tape = Tape()
        tape.packet()
        tape.bad()  # of 10 octets: the end of one packet, the beginning of another
        tape.packet(missing)
        tape.frames_gap(1)
        tape.gap(missing)
        tape.commit()
        assert tape.missing() == {reason: missing}


def test_two_gaps_of_one_append() -> None:
    """One gap event may sum up several jumps: each has its own window when nothing was refused in it."""
    tape = Tape()
    for missing in (0, 2, 0):
        tape.packet(missing)
    tape.bad()
    tape.packet(missing=5)
    tape.frames_gap(1)
    tape.frames_gap(1)
    tape.gap(7, occurrences=2)
    tape.commit()
    assert tape.missing() == {Reason.SPACE_LINK: 2, Reason.UNKNOWN: 5}


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("gateway restart", Reason.GATEWAY_RESTART),
        ("link cut", Reason.LINK_CUT),
        ("datagrams lost in the kernel", Reason.KERNEL),
        ("a reason of another version", Reason.UNKNOWN),
    ],
)
def test_a_reason_that_the_journal_tells(told: str, reason: Reason) -> None:
    """What the journal says of a gap is its reason, also of the first packet of the range."""
    tape = Tape()
    tape.packet(missing=9)
    tape.packet(missing=2)
    tape.gap(9, told)
    tape.gap(2)
    tape.commit()
    assert tape.missing() == {reason: 9, Reason.SPACE_LINK: 2}


def test_what_is_missing_before_the_range() -> None:
    """The window of the first jump may begin before the range: that is said, and no reason is made up."""
    tape = Tape()
    tape.packet(missing=9)
    tape.gap(9)
    tape.commit()
    assert tape.missing() == {Reason.BEFORE_RANGE: 9}


def test_a_range_that_cuts_an_append() -> None:
    """The event behind the last items is outside of the range: unknown; one of items before it explains nothing."""
    tape = Tape()
    tape.gap(4, occurrences=2)
    tape.packet()
    tape.packet(missing=3)
    tape.gap(3)
    tape.packet(missing=2)
    tape.commit()
    assert tape.missing() == {Reason.SPACE_LINK: 3, Reason.UNKNOWN: 2}


def test_an_event_that_is_damaged() -> None:
    """More jumps than gaps told: which of them are told cannot be said."""
    tape = Tape()
    for missing in (0, 2, 3):
        tape.packet(missing)
    tape.gap(3)
    tape.commit()
    assert tape.missing() == {Reason.UNKNOWN: 5}


def test_a_full_disk() -> None:
    """What was received and not journalled is expected, and missing for that reason; unknown APIDs too."""
    tape = Tape()
    tape.packet()
    tape.gap(6, "disk: no space", what="items", streams=(("craft", 1, 5, 4), ("craft", 1, 6, 2), ("", -1, -1, 3)))
    tape.commit()
    assert tape.missing() == tape.missing(6) | {Reason.NOT_JOURNALLED: 4}
    assert sorted((s.key.apid, s.received, s.expected) for s in tape.accounts.streams) == [(5, 1, 5), (6, 0, 2)]


def test_a_shared_count() -> None:
    """APIDs that share a count have no number of their own; their group has."""
    tape = Tape("shared:bus")
    for apid, missing in ((5, 0), (6, 0), (5, 2)):
        tape.packet(missing, apid)
    tape.gap(2, group="bus")
    tape.commit()
    assert [(s.received, s.expected) for s in tape.accounts.streams] == [(2, None), (1, None)]
    assert tape.accounts.groups[1, 1, "bus"].missing == {Reason.SPACE_LINK: 2}


@pytest.mark.parametrize("rule", ["none", ""])
def test_no_count(rule: str) -> None:
    """Without a counting rule, or when it is not known, what is expected is not known."""
    tape = Tape(rule)
    tape.packet()
    tape.commit()
    assert [s.expected for s in tape.accounts.streams] == [None]


def test_opaque_frames() -> None:
    """Frames that are kept whole are expected by the frame count of their VC."""
    tape = Tape()
    tape.frame()
    tape.commit()
    tape.frame()
    tape.frames_gap(2, vcid=3)
    tape.commit()
    tape.bad(vcid=3)
    tape.frame()
    tape.frames_gap(1, vcid=3)
    tape.commit()
    tape.bad(vcid=9)
    tape.frame()
    tape.frames_gap(4, vcid=3)
    tape.commit()
    (stream,) = tape.accounts.streams
    assert stream.counter.missing == {Reason.SPACE_LINK: 2, Reason.BAD_FRAME: 1, Reason.UNKNOWN: 4}
    assert (stream.received, stream.expected) == (4, 11)
    assert tape.accounts.link_gaps == {(1, "frames of VC3", "space link"): 7}
    assert tape.accounts.refused == {(1, Quality.FECF): 2}


GAP = {"type": "gap", "what": "items", "reason": "x", "missing": 1, "streams": []}
RUBBISH: list[Any] = [
    {"missing": -1}, {"missing": 1 << 60}, {"missing": 1e300}, {"occurrences": -5}, {"vcid": None}, {"streams": 7},
    {"streams": [{"spacecraft": "s", "vcid": 0, "apid": 0, "items": -9}]}, {"what": None, "vcid": "x"},
]  # fmt: skip


@pytest.mark.parametrize(
    "octets",
    [
        b"", b'{"type":"gap"}', b'["gap"]', b'{"type":"gap","what":1,"reason":[1', b'"gap"',
        b'{"type":"gap","what":"items","reason":"","missing":1e999}',
        *(json.dumps(GAP | one).encode() for one in RUBBISH),
    ],
)  # fmt: skip
def test_rubbish_is_no_gap(octets: bytes) -> None:
    """R6: an event that cannot be read tells nothing, and ends nothing."""
    assert gap_told(3, octets) is None


def test_gaps_as_the_journal_writes_them() -> None:
    """The octets of the journal's own gap events are understood."""
    told = {
        "type": "gap", "what": "packets", "link_id": 2, "spacecraft_id": 1, "vcid": 3, "apid": 4, "missing": 5,
        "occurrences": 2, "reason": "space link", "group": "",
    }  # fmt: skip
    assert gap_told(7, json.dumps(told).encode()) == GapTold(7, "packets", 2, 1, 3, 4, 5, 2, "space link")


# ---- what adds up ----

ROWS = st.lists(
    st.tuples(
        st.sampled_from([PACKET, PACKET, PACKET, BAD, IDLE, EVENT, FRAME]), st.integers(0, 3), st.integers(0, 2),
        st.booleans(), st.sampled_from(["space link", "space link", "gateway restart", "other"]),
    ),
    max_size=60,
)  # fmt: skip


@given(rows=ROWS, seed=st.integers(0, 1 << 30))
def test_expected_is_received_and_gaps_by_reason(rows: list[Any], seed: int) -> None:
    """Counts add up: expected = received + missing by reason, whatever is told and however commits are cut; each
    missing packet has one reason."""
    tape = Tape()
    received = missing = frames_missing = 0
    for what, number, apid, cut, reason in rows:
        if what == PACKET:
            tape.packet(number, apid)
            received, missing = received + 1, missing + number
            if number and (seed >> apid) & 1:
                tape.gap(number, reason, apid=apid)
        elif what == BAD:
            tape.bad(vcid=apid)
        elif what == FRAME:
            tape.frame(vcid=3)
            received += 1
            if number:
                tape.frames_gap(number, vcid=3)
                frames_missing += number
        elif what == EVENT and number:
            tape.frames_gap(number)
        if cut:
            tape.commit()
    tape.commit()
    streams = tape.accounts.streams
    assert sum(s.received for s in streams) == received
    assert sum(s.counter.missing_items for s in streams) == missing + frames_missing
    assert sum(s.expected or 0 for s in streams) == received + missing + frames_missing


def some_items(draw: Any) -> ItemBatch:
    """Items of a few streams, some idle, some refused, some events."""
    count = draw(st.integers(1, 40))
    items = no_items(count)
    for k in range(count):
        items["kind"][k] = draw(st.sampled_from([Kind.TM, Kind.TM, Kind.EVENT]))
        items["unit"][k] = Unit.EVENT if items["kind"][k] == Kind.EVENT else Unit.PACKET
        items["apid"][k], items["vcid"][k] = draw(st.integers(0, 3)), 1
        items["quality"][k] = draw(st.sampled_from([0, 0, 0, 1]))
        items["flags"][k] = draw(st.sampled_from([0, 0, ItemFlag.IDLE]))
        items["length"][k] = draw(st.integers(0, 5))
    lengths = items["length"].astype(np.int64)
    items["offset"] = np.cumsum(lengths) - lengths
    return ItemBatch(np.frombuffer(np.random.default_rng(1).bytes(int(lengths.sum())), np.uint8), items)


def pieces(batch: ItemBatch, cuts: Sequence[int]) -> list[tuple[Any, ItemBatch]]:
    """The items cut into pieces, with their positions from 100 on."""
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(batch)}), len(batch)]
    parts = []
    for begin, end in itertools.pairwise(edges):
        parts.append((np.arange(100 + begin, 100 + end), ItemBatch(batch.octets, batch.items[begin:end])))
    return parts


@settings(max_examples=40)
@given(data=st.data())
def test_entitled_is_acknowledged_sent_and_waiting(data: Any) -> None:
    """Counts add up: received = not selected + not granted + of before + entitled; entitled = acknowledged + sent +
    waiting; and the digest is the same however the range is read."""
    batch = some_items(data.draw)
    ids = st.frozensets(st.integers(0, 3), max_size=4)
    wish = Selection(apids=data.draw(st.none() | ids), bad_quality=data.draw(st.booleans()), idle=True)
    granted = Selection(apids=data.draw(ids), kinds=frozenset({Kind.TM}), grants=(wish,), idle=True, bad_quality=True)
    spans = data.draw(st.lists(st.tuples(st.integers(95, 140), st.integers(1, 9)), max_size=3))
    cursor = normalised(data.draw(st.integers(90, 150)), [(a, a + n) for a, n in spans])
    sent = tuple(cursor.missing(145))[:1]
    version_from = data.draw(st.integers(90, 145))
    contract = Contract("h", "s", wish, granted, cursor, 1, version_from, sent)
    found = []
    cuts: list[int]
    for cuts in ([], data.draw(st.lists(st.integers(1, 40), max_size=4))):
        streams, entitled = StreamAccounts(lambda key: "apid"), Entitled(contract)
        for positions, part in pieces(batch, cuts):
            entitled.take(positions, part, streams.take(positions, part.items))
        found.append((entitled.total, entitled.sha256, entitled.items))
    total, sha256, items = found[0]
    assert found[0] == found[1]
    assert total.received == len(batch) == total.not_selected + total.not_granted + total.of_before + total.entitled
    parts = (total.acknowledged, total.sent, total.waiting, total.expired, total.damaged)
    assert total.entitled == sum(parts)
    mine = granted.mask(batch.items) & (np.arange(100, 100 + len(batch)) >= version_from)
    octets = b"".join(batch.octets_of(k) for k in np.flatnonzero(mine).tolist())
    assert (sha256, items) == (hashlib.sha256(octets).hexdigest(), int(mine.sum()))


def test_filtered_is_not_selected_or_not_granted() -> None:
    """Filtered has two causes: the home base did not ask, or no grant gives it."""
    items = no_items(6)
    items["kind"], items["unit"], items["apid"], items["length"] = Kind.TM, Unit.PACKET, [1, 1, 2, 2, 3, 3], 0
    both = Selection(apids=frozenset({1, 2}))
    entitled = Entitled(Contract("h", "s", both, Selection(apids=frozenset({1})), Cursor(1), 1, 0, ((1, 2),)))
    batch = ItemBatch(np.zeros(0, np.uint8), items)
    entitled.take(np.arange(6), batch, StreamAccounts(lambda key: "apid").take(np.arange(6), items))
    total = entitled.total
    assert (total.not_selected, total.not_granted, total.entitled) == (2, 2, 2)
    assert (total.acknowledged, total.sent, total.waiting, total.delivered) == (1, 1, 0, 2)


def test_what_a_version_acknowledged_counts_by_its_rights() -> None:
    """What was acknowledged under another version counts by what that selected and was granted; what no version is
    known of is of before; what was not acknowledged is delivered under the newest."""
    items = no_items(4)
    items["kind"], items["unit"], items["apid"] = Kind.TM, Unit.PACKET, 1
    cursor = Cursor(1, ((2, 3),))
    batch: Records = items
    for former, begun, expected in (
        ((), 3, (2, 2, 0, 0)),
        ((Former(1, Selection(), Selection(), ((0, 1), (2, 3))),), 0, (0, 4, 0, 0)),
        ((Former(1, Selection(), Selection(apids=frozenset({2})), ((0, 1), (2, 3))),), 0, (0, 2, 2, 0)),
        ((Former(1, Selection(apids=frozenset({2})), Selection(apids=frozenset()), ((0, 1),)),), 2, (0, 3, 0, 1)),
    ):
        contract = Contract("h", "s", Selection(), Selection(), cursor, 2, 3, former=former, begun=begun)
        entitled = Entitled(contract)
        entitled.take(np.arange(4), ItemBatch(np.zeros(0, np.uint8), batch), np.full(4, -1))
        total = entitled.total
        assert (total.of_before, total.entitled, total.not_granted, total.not_selected) == expected, former
        assert (total.waiting, entitled.items) == (2, 1)


@given(
    positions=st.lists(st.integers(0, 60)), spans=st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), max_size=5)
)
def test_within(positions: list[int], spans: list[tuple[int, int]]) -> None:
    """A position is in a range or not."""
    ranges = normalised(0, [(a, a + n) for a, n in spans])
    whole = [(0, ranges.low_water), *ranges.ranges]
    expected = [any(a <= p < b for a, b in whole) for p in positions]
    assert within(np.array(positions, np.int64), whole).tolist() == expected


@settings(max_examples=30)
@given(times=st.lists(st.integers(0, 1000), min_size=1, max_size=40))
def test_percentiles_are_bounds(times: list[int]) -> None:
    """Of the items noted, at least that share took no longer than its percentile says, coarse or not."""
    kept = Latencies()
    for k in range(3 * POINTS_MAX // len(times)):
        for n, time in enumerate(times):
            at = k * len(times) + n
            kept.note(at, at + 1, 1, time * 1_000_000)
    assert len(kept.points) <= POINTS_MAX
    found = percentiles(kept.of(0, 1 << 40))
    for name, share in (("p50_s", 0.5), ("p90_s", 0.9), ("p99_s", 0.99), ("p100_s", 1.0)):
        assert sum(time / 1000 <= found[name] + 1e-12 for time in times) >= share * len(times) - 1e-9
    assert percentiles([]) == {}


def test_a_clock_that_was_set_back() -> None:
    """R11: a step of the wall clock makes no time shorter than nothing; no items are no measurement."""
    kept = Latencies()
    kept.note(0, 1, 1, -5)
    kept.note(1, 2, 0, 7)
    assert kept.points == [(0, 1, 1, 0)]


def test_streams_beyond_the_bound_are_summed_up() -> None:
    """R13: a peer that invents streams costs bounded memory, and nothing of it is lost from the sums."""
    accounts = StreamAccounts(lambda key: "apid")
    items = no_items(64 * 200)
    items["kind"], items["unit"] = Kind.TM, Unit.PACKET
    items["vcid"], items["apid"] = np.repeat(np.arange(64), 200), np.tile(np.arange(200), 64)
    accounts.take(np.arange(len(items)), items)
    assert sum(s.received for s in accounts.streams) == len(items)
    assert len(accounts.streams) < 8200
    assert StreamKey(-1, -1, -1, -1, 0) in [s.key for s in accounts.streams]
