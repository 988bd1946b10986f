"""R6 for datagrams: each begins with a unit, and one of the wrong size costs nothing but itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_codecs.batches import IntakeBatch, Quality
from gateway_codecs.datagrams import LOST_IN_KERNEL, SPACE_OR_NETWORK, Datagrams
from gateway_codecs.frames import VcFormat
from gateway_codecs.intake import LinkFormat
from gateway_codecs.packet_stream import PacketIntake
from tests.codecs.links import Item, halves, items, packet, packets, tm, tm_intake

FRAMES = [tm(k, 0 if k % 2 == 0 else 0x7FF, halves(packet(5, k // 2))[k % 2]) for k in range(40)]
PACKETS = [packet(5, k // 2) for k in range(0, 40, 2)]
UNIT = len(FRAMES[0])


def datagrams(*octets: bytes, lost_at: int = -1) -> Datagrams:
    return Datagrams(b"".join(octets), np.array([len(one) for one in octets], np.int64), lost_at)


def bad(frame: bytes) -> bytes:
    """A frame whose error control fails."""
    return frame[:10] + bytes([frame[10] ^ 1]) + frame[11:]


def kept(batch: IntakeBatch) -> list[Item]:
    """What is no packet, in order."""
    return [item for item in items([batch]) if item.unit != "PACKET"]


@settings(deadline=None)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=20), st.data())
def test_however_units_lie_in_datagrams(sizes: list[int], data: st.DataObject) -> None:
    """R6: packets span frames and datagrams; empty and foreign datagrams between them change nothing."""
    sent, left = [], list(FRAMES)
    for size in sizes:
        sent.append(b"".join(left[:size]))
        left = left[size:]
    sent.append(b"".join(left))
    whole = list(sent)
    for _ in range(data.draw(st.integers(0, 4))):
        octets = data.draw(st.integers(0, 3 * UNIT).filter(lambda n: n % UNIT or not n))
        sent.insert(data.draw(st.integers(0, len(sent))), bytes(octets))
    intake = tm_intake()
    at = data.draw(st.integers(0, len(sent)))
    batches = [intake.feed_datagrams(datagrams(*part), 1) for part in (sent[:at], sent[at:])]
    assert packets(batches) == PACKETS
    strays = [item for batch in batches for item in kept(batch)]
    foreign = [one for one in sent if one and one not in whole]
    assert strays == [Item("OCTETS", "LENGTH", one) for one in foreign]
    counters = {name: sum(b.counters.get(name, 0) for b in batches) for batch in batches for name in batch.counters}
    assert counters["datagrams"] == len(sent)
    assert counters.get("datagrams_empty", 0) == sum(not one for one in sent)
    assert counters.get("rejected_length", 0) == len(foreign) == intake.statistics()["causes"].get("length", 0)
    assert not any(batch.gaps for batch in batches)


@pytest.mark.parametrize(
    ("one", "good", "stray"),
    [
        (FRAMES[0] + FRAMES[1][:7], 1, FRAMES[1][:7]),
        (FRAMES[0] + FRAMES[1] + b"x", 2, b"x"),
        (FRAMES[0] + bad(FRAMES[1]) + b"xy", 1, bad(FRAMES[1]) + b"xy"),
        (bad(FRAMES[0]) + FRAMES[1] + b"xy", 0, bad(FRAMES[0]) + FRAMES[1] + b"xy"),
        (b"\0" * (3 * UNIT + 1), 0, b"\0" * (3 * UNIT + 1)),
        (FRAMES[0][:-1], 0, FRAMES[0][:-1]),
    ],
)
def test_good_frames_in_front_of_a_datagram_of_the_wrong_size(one: bytes, good: int, stray: bytes) -> None:
    """R6: no frame good by its own check is lost, the rest of the datagram is kept whole, the next one is in step."""
    intake = tm_intake()
    batch = intake.feed_datagrams(datagrams(one, *FRAMES[2:4], one), 1)
    assert int((batch.frames["quality"] == Quality.GOOD).sum()) == 2 * good + 2
    assert len(batch.frames) == 2 * good + 2
    assert [item for item in kept(batch) if item.quality == "LENGTH"] == [Item("OCTETS", "LENGTH", stray)] * 2
    places = batch.frames["source_offset"].tolist()
    wanted = [*range(0, good * UNIT, UNIT), len(one), len(one) + UNIT]
    assert places == [*wanted, *[len(one) + 2 * UNIT + at for at in range(0, good * UNIT, UNIT)]]


def test_without_error_control_a_datagram_of_the_wrong_size_is_doubted_whole() -> None:
    """R6: nothing says that its first octets are a frame, so all of it is kept as it came."""
    intake = tm_intake(fecf=False, frame_length_octets=UNIT - 2)
    odd = FRAMES[0][:-2] + b"x"
    batch = intake.feed_datagrams(datagrams(odd, FRAMES[0][:-2]), 1)
    assert len(batch.frames) == 1
    assert kept(batch)[0] == Item("OCTETS", "LENGTH", odd)


def test_reordered_and_repeated_datagrams() -> None:
    """Counts tell: a repeated count is no loss, a jump is; nothing stops, and what is whole is extracted."""
    intake = tm_intake()
    order = [0, 1, 2, 3, 3, 6, 7, 4, 5, 8, 9]
    batch = intake.feed_datagrams(datagrams(*[FRAMES[k] for k in order]), 1)
    counted = intake.statistics()["vcs"]["42/1"]
    assert (counted["frames"], counted["repeated_counts"]) == (11, 1)
    assert counted["count_jumps"] == 4  # the repeated one, to 6, back to 4, to 8
    assert [one for one in packets([batch]) if one in PACKETS] == [PACKETS[k] for k in (0, 1, 3, 2, 4)]
    assert {gap.reason for gap in batch.gaps} == {SPACE_OR_NETWORK}


def test_a_loss_in_the_kernel_is_the_reason_from_its_place_on() -> None:
    """Frames missing where the kernel lost datagrams have that reason, for every channel; others have the usual one."""
    other = [tm(k, 0x7FE, vcid=2) for k in range(4)]
    intake = tm_intake(vcs={1: VcFormat(), 2: VcFormat()})
    sent = datagrams(other[0], FRAMES[0], FRAMES[1], FRAMES[4], FRAMES[8], lost_at=4)
    parts = list(sent.parts())
    assert [len(part.lengths) for part in parts] == [4, 1]
    assert b"".join(part.octets for part in parts) == sent.octets
    batches = [intake.feed_datagrams(part, 1) for part in parts]
    batches.append(intake.feed_datagrams(datagrams(other[2], FRAMES[9], FRAMES[11]), 1))
    frames = [(gap.vcid, gap.next, gap.reason) for batch in batches for gap in batch.gaps if gap.what == "frames"]
    assert frames == [
        (1, 4, SPACE_OR_NETWORK), (1, 8, LOST_IN_KERNEL), (1, 11, SPACE_OR_NETWORK), (2, 2, LOST_IN_KERNEL)
    ]  # fmt: skip
    lost = [(gap.missing, gap.reason) for batch in batches for gap in batch.gaps if gap.what == "packets"]
    assert lost == [(3, LOST_IN_KERNEL)]  # from the first packet to that in frames 8 and 9


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(7, 60), max_size=4), max_size=8), st.integers(0, 3), st.data())
def test_packets_in_datagrams(sizes: list[list[int]], prefix: int, data: st.DataObject) -> None:
    """R6: each datagram begins with a packet; rubbish, a cut packet or a bad header hides nothing of the next one."""
    good, sent, count = [], [], 0
    for row in sizes:
        here = [packet(5, count + k, size - 6) for k, size in enumerate(row)]
        count += len(row)
        cut = data.draw(st.sampled_from([b"", b"\0" * prefix + packet(9, 0, 20)[:-3], b"\x40\x40\x40"]))
        sent.append(b"".join(b"\1" * prefix + one for one in here) + cut)
        good += here
    intake = PacketIntake(LinkFormat(1, None, 1, packet_prefix_octets=prefix))
    batch = intake.feed_datagrams(datagrams(*sent), 1)
    assert packets([batch]) == good
    cuts = [item for item in kept(batch) if item.unit == "OCTETS"]
    assert sum(len(item.octets) for item in cuts) == sum(map(len, sent)) - sum(len(one) + prefix for one in good)
    assert batch.counters["datagrams"] == len(sent)
    assert not batch.gaps


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=12), st.booleans())
def test_rubbish_in_datagrams(sent: list[bytes], of_packets: bool) -> None:
    """R6: nothing raises, every octet is kept, and good units behind are found."""
    intake = PacketIntake(LinkFormat(1, None, 1)) if of_packets else tm_intake()
    last = packet(5, 1) if of_packets else FRAMES[0] + FRAMES[1]
    batches = [intake.feed_datagrams(datagrams(*sent), 1), intake.feed_datagrams(datagrams(last), 1)]
    assert packets(batches)[-1] == packet(5, 1 if of_packets else 0)
    if not of_packets:
        octets = sum(len(item.octets) for item in kept(batches[0]))
        assert octets == sum(map(len, sent))
