"""R7, R8: a restart takes over what the durable state says if it is so, quickly, and whatever the state holds."""

from __future__ import annotations

import copy
import json
import random
import tracemalloc
from typing import Any

import pytest

from gateway_codecs.batches import ABSENT, Quality
from gateway_codecs.frames import VcFormat
from gateway_codecs.intake import REREAD_OCTETS, FrameIntake, LinkFormat
from gateway_codecs.packet_stream import Intake, PacketIntake
from tests.codecs.links import NO_START, VC, aos, aos_intake, halves, items, packet, packets, tm, tm_intake

FIRST, SECOND = halves(packet(5, 0))
OPEN = tm(7, 0, FIRST)
GOES_ON = tm(8, NO_START, SECOND)


def state_after(data: bytes, intake: Intake | None = None) -> dict[str, Any]:
    intake = intake or tm_intake()
    intake.feed(data, 3, 4000)
    return json.loads(json.dumps(intake.state()))  # type: ignore[no-any-return]


def restored(state: Any, data: bytes, intake: FrameIntake | None = None) -> FrameIntake:
    intake = intake or tm_intake()
    intake.restore(state, lambda at, octets: data[at : at + octets])
    return intake


def test_the_open_packet_goes_on() -> None:
    """R8: the packet open at the crash is whole again, with the times and the count of its first octet."""
    batch = restored(state_after(OPEN), OPEN).feed(GOES_ON, 9, 9000)
    assert packets([batch]) == [FIRST + SECOND]
    row = batch.items.items[0]
    assert [int(row[name]) for name in ("vc_count", "receive_time_ns", "earth_receive_time_ns")] == [7, 3, 4000]


def test_a_state_of_an_earlier_version() -> None:
    """R7: an open packet as kept before its octets and earth receive time were: it goes on, the time is absent."""
    state = state_after(OPEN)
    state["vcs"]["42/1"]["open"] = state["vcs"]["42/1"]["open"][:4]
    batch = restored(state, OPEN).feed(GOES_ON, 9, 9000)
    assert packets([batch]) == [FIRST + SECOND]
    assert int(batch.items.items["earth_receive_time_ns"][0]) == ABSENT


LONGER_ZONE = {"fecf": False, "frame_length_octets": 27}


@pytest.mark.parametrize(
    ("data", "settings"),
    [
        (bytes(len(OPEN)), {}),  # another file
        (b"", {}),  # no file
        (tm(7, 0, FIRST, vcid=2), {"vcs": {VC: VcFormat(), 2: VcFormat()}}),
        (tm(9, 0, FIRST), {}),
        (tm(7, 0x7FE, FIRST), {}),
        (OPEN, LONGER_ZONE),
        (OPEN, {"scids": {7: 1}}),
        (OPEN, {"ocf": "present"}),
        (OPEN, {"vcs": {VC: VcFormat("opaque")}}),
        (OPEN, {"vcs": {}, "unknown_vc": "bad"}),
        (OPEN, {"version": "aos"}),
    ],
    ids=[
        "other file",
        "no file",
        "other channel",
        "other count",
        "idle",
        "zone",
        "scid",
        "ocf",
        "service",
        "vc",
        "aos",
    ],
)
def test_a_file_or_a_format_that_changed(data: bytes, settings: dict[str, Any]) -> None:
    """R7: what is no longer where the state says is not joined to what comes; the link runs on."""
    state = state_after(OPEN)
    intake = restored(state, data, tm_intake(**settings))
    assert packets([intake.feed(GOES_ON, 9), intake.finish(9)]) == []


def test_a_state_of_the_other_unit() -> None:
    """R7: a link that changed between packets and frames starts anew."""
    of_packets = state_after(packet(5, 0), PacketIntake(LinkFormat(1, None, 1)))
    assert packets([restored(of_packets, b"").feed(tm(0, 0, packet(5, 1, 14)), 1)]) == [packet(5, 1, 14)]
    stream = PacketIntake(LinkFormat(1, None, 1))
    stream.restore(state_after(OPEN), lambda at, octets: b"")
    assert packets([stream.feed(packet(5, 1), 1)]) == [packet(5, 1)]


STRANGE: list[Any] = [
    None, True, -1, 0, 1 << 70, -(1 << 70), 1.5, "", "x", "42/1", [], [1], [[]], {}, {"open": [0]}, {"": 0},
    [0, 1, 2, 3, 4, 5], [-1, -1, -1, -1, -1, -1], [0, 1 << 70, 0, 0, 0, 0], ["0"] * 6, [0, 0, 7, 3, 4, 1 << 40],
]  # fmt: skip


def _change(rng: random.Random, value: Any) -> Any:
    """Replace something somewhere in a JSON value."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.1:
            value[rng.choice(["", "x", "42", "42/1/replay", "42/99", "9999/1", "42/1/x", "-1/1", "packets"])] = (
                value.pop(key)
            )
        else:
            value[key] = _change(rng, value[key])
        return value
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        value[at] = _change(rng, value[at])
        return value
    return rng.choice(STRANGE)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("make", [tm_intake, aos_intake, lambda: PacketIntake(LinkFormat(1, None, 1))])
def test_any_state_at_all(make: Any, seed: int) -> None:
    """R7: no state raises, neither when it is taken over nor later; a good one is taken over by the next start."""
    rng = random.Random(seed)
    data = {tm_intake: OPEN, aos_intake: aos(7, 0, FIRST)}.get(make, packet(5, 0) + b"\x40")
    good = state_after(data, make())
    for _ in range(500):
        state = _change(rng, copy.deepcopy(good))
        for _ in range(rng.randrange(2)):
            state = _change(rng, state)
        intake = make()
        intake.restore(state, rng.choice([None, lambda at, octets: data[at : at + octets]]))
        intake.feed(data, 1)
        intake.finish(1)
        json.dumps(intake.state())
        intake.statistics()
    assert state_after(data, make()) == good


def test_a_silent_channel_costs_a_restart_nothing() -> None:
    """R8: with a packet open on a VC that fell silent, a restart reads some pieces, never all that came since."""
    other = b"".join(tm(k, 0, packet(6, k, 14), vcid=2) for k in range(256))
    data = OPEN + other * (4 * REREAD_OCTETS // len(other))
    state, asked = state_after(OPEN), []
    state["source_offset"] = len(data)

    def reread(at: int, octets: int) -> bytes:
        asked.append(octets)
        return data[at : at + octets]

    intake = tm_intake(vcs={VC: VcFormat(), 2: VcFormat()})
    intake.restore(state, reread)
    assert packets([intake.feed(GOES_ON, 9)]) == [FIRST + SECOND]
    assert sum(asked) <= REREAD_OCTETS


def test_a_packet_over_much_of_the_file_is_read_in_pieces() -> None:
    """R8: a packet whose frames lie far apart is gathered in pieces of bounded size."""
    assert REREAD_OCTETS <= 1 << 20
    whole = packet(5, 0, 994)
    zones = [whole[at : at + 20] for at in range(0, len(whole), 20)]
    filler = b"".join(tm(k, 0, packet(6, k, 14), vcid=2) for k in range(256)) * 8
    parts = [tm(k, NO_START if k else 0, zone) + filler for k, zone in enumerate(zones)]
    data = b"".join(parts)
    vcs = {VC: VcFormat(), 2: VcFormat()}
    before = tm_intake(vcs=vcs)
    for part in parts[:-1]:
        before.feed(part, 1)
    state = json.loads(json.dumps(before.state()))
    tracemalloc.start()
    intake = restored(state, data, tm_intake(vcs=vcs))
    peak_octets = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_octets < 16 * REREAD_OCTETS
    assert packets([intake.feed(parts[-1][: len(OPEN)], 9)]) == [whole]


@pytest.mark.parametrize("octets_kept", [0, 5, 19, 21, 1000])
def test_an_open_packet_of_another_size_is_not_believed(octets_kept: int) -> None:
    """R6: when the octets read again are not as many as were open, they are not joined to what comes."""
    state = state_after(OPEN)
    state["vcs"]["42/1"]["open"][5] = octets_kept
    found = items([restored(state, OPEN).feed(GOES_ON, 9)])
    assert [item.quality for item in found] == [Quality.NO_PACKET_START.name]
