"""R6 for packets without frames: one bad header costs the packets it hides, never those behind it."""

from __future__ import annotations

import json
import random

import pytest

from gateway_codecs.batches import IntakeBatch, Quality
from gateway_codecs.frames import VcFormat
from gateway_codecs.intake import LinkFormat
from gateway_codecs.packet_stream import SKIPPED_MAX_OCTETS, PacketIntake
from tests.codecs.links import items, packet, packets

RUBBISH = b"\x40"  # no packet begins with version 2
GOOD = [packet(5, k, 20) for k in range(100)]
LONGEST_LIE = bytes.fromhex("0005c000ffff")  # a header that claims 65542 octets
CHUNKS = [1 << 20, 4096, 1000]


def stream(settings: VcFormat | None = None) -> PacketIntake:
    return PacketIntake(LinkFormat(1, None, 1, settings or VcFormat()))


def fed(data: bytes, chunk: int, settings: VcFormat | None = None) -> list[IntakeBatch]:
    intake = stream(settings)
    batches = [intake.feed(data[at : at + chunk], 1) for at in range(0, len(data), chunk)]
    return [*batches, intake.finish(1)]


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("rubbish_octets", [1, 17, 65_534, 65_535, 65_536, 65_537, 131_071, 131_072, 300_000])
def test_packets_behind_rubbish_of_any_length(rubbish_octets: int, chunk: int) -> None:
    """R6: a search finds the packets behind it however much it skips, and keeps what it skipped, octet for octet."""
    data = RUBBISH * rubbish_octets + b"".join(GOOD)
    batches = fed(data, chunk)
    assert packets(batches) == GOOD
    kept = [item for item in items(batches) if item.unit == "OCTETS"]
    assert b"".join(item.octets for item in kept) == RUBBISH * rubbish_octets
    assert {item.quality for item in kept} == {"PACKET_VERSION"}
    assert max(len(item.octets) for item in kept) <= SKIPPED_MAX_OCTETS


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("ends_by", ["finish", "cut"])
@pytest.mark.parametrize("hidden", [RUBBISH, RUBBISH + LONGEST_LIE])
@pytest.mark.parametrize("behind", [1, 2, 100])
def test_packets_behind_a_bad_header_near_the_end(behind: int, hidden: bytes, ends_by: str, chunk: int) -> None:
    """R6: when nothing more comes, what a search still waited for is decided: a chain up to the end is packets."""
    data, intake = GOOD[0] + hidden + b"".join(GOOD[:behind]), stream()
    batches = [intake.feed(data[at : at + chunk], 1) for at in range(0, len(data), chunk)]
    batches.append(intake.finish(1) if ends_by == "finish" else intake.cut(1, "link cut"))
    assert packets(batches) == [GOOD[0], *GOOD[:behind]]
    assert b"".join(item.octets for item in items(batches)) == data
    counted = {name: sum(b.counters.get(name, 0) for b in batches) for name in ("packets", "rejected_packet_version")}
    assert counted == {"packets": 1 + behind, "rejected_packet_version": 1}


def test_a_packet_cut_off_by_the_end_is_not_searched() -> None:
    """R6: a stream in step that ends inside a packet ends there: no packet is made up from its inside."""
    data = b"".join(GOOD[:3]) + packet(6, 0, 200).replace(b"A" * 54, b"".join(GOOD[:2]) + b"AA", 1)[:150]
    assert items(fed(data, 1 << 20))[3:] == [("OCTETS", "LENGTH", data[78:])]


def test_a_search_without_success_waits_with_few_octets() -> None:
    """R13: rubbish without end keeps no more than one skipped piece, a longest packet and one read waiting."""
    intake = stream()
    for feeds in range(1, 9):
        intake.feed(RUBBISH * (1 << 18), 1)
        assert intake.state()["source_offset"] >= feeds * (1 << 18) - SKIPPED_MAX_OCTETS - 65_542


@pytest.mark.parametrize("restart_after", range(1, 25, 3))
def test_a_restart_in_the_middle_of_a_search(restart_after: int) -> None:
    """A restart searches on: a lone header in the rubbish is no packet then either."""
    rubbish = bytearray(RUBBISH * 100_000)
    for at in (SKIPPED_MAX_OCTETS - 1, SKIPPED_MAX_OCTETS, 4096):
        rubbish[at : at + 6] = bytes.fromhex("0007c0004000")
    data = bytes(rubbish) + b"".join(GOOD)
    intake, batches, at = stream(), [], 0
    for feeds in range(1, 1000):
        batches.append(intake.feed(data[at : at + 4096], 1))
        at += 4096
        if feeds == restart_after:
            state = json.loads(json.dumps(intake.state()))
            assert state["searching"] == Quality.PACKET_VERSION
            intake = stream()
            intake.restore(state, lambda offset, octets: data[offset : offset + octets])
            at = state["source_offset"]
        if at >= len(data):
            break
    assert items([*batches, intake.finish(1)]) == items(fed(data, 4096))


def test_a_damaged_header_in_the_middle() -> None:
    """R6: of a thousand packets with one damaged version all others come out, and nothing else does."""
    rng = random.Random(3)
    sent = [packet(100, k, 40)[:6] + rng.randbytes(40) for k in range(1000)]
    damaged = [*sent[:500], RUBBISH + sent[500][1:], *sent[501:]]
    for chunk in CHUNKS:
        found = packets(fed(b"".join(damaged), chunk))
        assert found == [*sent[:500], *sent[501:]]


@pytest.mark.parametrize("seed", range(8))
def test_chunks_do_not_matter(seed: int) -> None:
    """R6: rubbish of any kind between packets gives the same items, all octets among them, whatever the chunks."""
    rng, parts = random.Random(seed), []
    for k in range(300):
        rubbish = bytes([rng.choice([0x40, 0x60, 0x80, 0xFF])]) + rng.randbytes(rng.randrange(40))
        parts.append(packet(rng.randrange(2047), k, rng.randrange(1, 40)) if rng.random() < 0.5 else rubbish)
    data, only_space_packets = b"".join(parts), VcFormat(packet_versions=frozenset({0}), max_packet_octets=2000)
    found = [items(fed(data, chunk, only_space_packets)) for chunk in (len(data), 1000, 17)]
    assert b"".join(item.octets for item in found[0]) == data
    assert found[0] == found[1] == found[2]
