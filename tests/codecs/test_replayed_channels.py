"""CCSDS 732.0-B-4 4.1.2.5: replayed frames of a virtual channel count for themselves, beside the live ones."""

from __future__ import annotations

import json

import pytest

from gateway_codecs.batches import DataMode
from tests.codecs.links import NO_START, aos, aos_intake, halves, in_pieces, items, packet, packets


def interleaved() -> tuple[list[bytes], list[bytes]]:
    """Frames of one VC, live and replayed in turn, and the packets they carry in order of their ends."""
    frames, sent = [], []
    for k in range(4):
        live, replayed = packet(5, k), packet(6, 40 + k)
        (a, b), (c, d) = halves(live), halves(replayed)
        frames += [aos(1000 + 2 * k, 0, a), aos(10 + 2 * k, 0, c, True)]
        frames += [aos(1001 + 2 * k, NO_START, b), aos(11 + 2 * k, NO_START, d, True)]
        sent += [live, replayed]
    return frames, sent


@pytest.mark.parametrize("cuts", [[], [1] * 16, [3, 3, 3]])
def test_live_and_replayed_frames_in_turn(cuts: list[int]) -> None:
    """R6: packets of the live and of the replayed frames of one VC all come out; no gap is made up between them."""
    frames, sent = interleaved()
    intake = aos_intake()
    batches = in_pieces(intake, frames, cuts)
    assert sorted(packets(batches)) == sorted(sent)
    assert not [gap for batch in batches for gap in batch.gaps]
    modes = {int(row["apid"]): int(row["data_mode"]) for batch in batches for row in batch.items.items}
    assert modes == {5: DataMode.REAL_TIME, 6: DataMode.DUMP}
    shown = intake.statistics()["vcs"]
    assert {name: (vc["frames"], vc["last_count"], vc["packets"]) for name, vc in shown.items()} == {
        "42/1": (8, 1007, 4),
        "42/1/replay": (8, 17, 4),
    }


@pytest.mark.parametrize("restart_after", range(1, 16))
def test_a_restart_between_live_and_replayed_frames(restart_after: int) -> None:
    """A restart anywhere continues both: the durable state holds each under its own name."""
    frames, _ = interleaved()
    data, before, after = b"".join(frames), aos_intake(), aos_intake()
    first = before.feed(b"".join(frames[:restart_after]), 1)
    state = json.loads(json.dumps(before.state()))
    after.restore(state, lambda at, octets: data[at : at + octets])
    rest = [after.feed(data[state["source_offset"] :], 1), after.finish(1)]
    whole = items(in_pieces(aos_intake(), frames, []))
    assert sorted(items([first, *rest])) == sorted(whole)
    assert not [gap for batch in [first, *rest] for gap in batch.gaps]


@pytest.mark.parametrize("cuts", [[], [1]])
def test_a_count_that_starts_anew(cuts: list[int]) -> None:
    """A count that goes back by less than half its modulus was reset: the packet breaks, nothing is told missing."""
    (first, _), (third, fourth) = halves(packet(5, 0)), halves(packet(5, 1))
    intake = aos_intake()
    batches = in_pieces(intake, [aos(1000, 0, first), aos(0, 0, third), aos(1, NO_START, fourth)], cuts)
    assert items(batches) == [("OCTETS", "PACKET_TRUNCATED", first), ("PACKET", "GOOD", third + fourth)]
    assert not [gap for batch in batches for gap in batch.gaps]
    channel = intake.statistics()["vcs"]["42/1"]
    assert (channel["count_jumps"], channel["frames_missing_mod"]) == (1, 0)


def test_a_count_that_jumps_forward() -> None:
    """A jump forward over less than half the modulus is a gap of that many frames, across the wrap too."""
    batches = in_pieces(aos_intake(), [aos((1 << 24) - 2, NO_START), aos(8_000_000, NO_START)], [])
    assert [gap.missing for batch in batches for gap in batch.gaps] == [8_000_001]
