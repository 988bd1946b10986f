"""R6: CADUs are found in octets and bits as they come; each cell of the machine's table; no bit vanishes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_codecs.batches import U8Array
from gateway_codecs.bit_buffer import BitBuffer
from gateway_codecs.declared import FormatError
from gateway_codecs.sync_markers import MARKERS, SyncMarker
from gateway_codecs.synchroniser import (
    PIECE_BITS,
    TABLE,
    SyncBatch,
    Synchroniser,
    SyncInput,
    SyncSettings,
    SyncState,
)
from tests.codecs.rough_bits import RoughStream, bits_of, cadus, joined, rough, synchronised, told
from tests.conftest import SEEDS

SIZE = 24
SETTINGS = SyncSettings(SIZE)
PERIOD = SETTINGS.period_bits
RNG = random.Random(11)
BODIES = [RNG.randbytes(SIZE) for _ in range(12)]
SENT = cadus(BODIES)
MARKER = slice(0, 32)


def changed(*edits: Callable[[RoughStream], object], bits: U8Array = SENT) -> bytes:
    stream = RoughStream(bits.copy())
    for edit in edits:
        edit(stream)
    return stream.octets()


def no_marker(*numbers: int) -> Callable[[RoughStream], None]:
    """The markers of these CADUs are half wrong: they are no markers, and no inverted ones."""
    return lambda stream: stream.flip(np.concatenate([n * PERIOD + np.arange(0, 32, 2) for n in numbers]))


def found(batch: SyncBatch) -> list[bytes]:
    return [row.tobytes() for row in batch.bodies]


def flags(batch: SyncBatch, name: str) -> list[int]:
    return np.flatnonzero(batch.cadus[name]).tolist()


def whats(batch: SyncBatch) -> list[str]:
    return [transition.what for transition in batch.transitions]


def accounted(batch: SyncBatch, octets: bytes, period: int = PERIOD) -> None:
    """Every bit lies in one CADU or outside; only where a slip left too few bits do two CADUs share some."""
    spans = [(int(row["position_bits"]), int(row["position_bits"]) + period) for row in batch.cadus]
    spans += [(piece.position_bits, piece.position_bits + piece.bits) for piece in batch.outside]
    at, shared = 0, 0
    for begin, end in sorted(spans):
        assert begin <= at, "bits vanished"
        shared += at - begin
        at = end
    assert at == 8 * len(octets)
    assert shared == -sum(t.bits for t in batch.transitions if t.what == "slip" and t.bits < 0)
    bits = bits_of(octets)
    for piece in batch.outside:
        assert (bits_of(piece.octets)[: piece.bits] == bits[piece.position_bits :][: piece.bits]).all()
        assert not bits_of(piece.octets)[piece.bits :].any()


# ---- the table ----


class Recorded(Synchroniser):
    """Notes which cells the machine goes through."""

    def _take(self, what: SyncInput) -> None:
        self.cells = [*getattr(self, "cells", []), (self.state, what)]
        super()._take(what)


def cells_of(octets: bytes, options: SyncSettings) -> tuple[set[Any], SyncBatch]:
    machine = Recorded(options)
    batch = joined([machine.feed(octets), machine.end()])
    assert machine.state is SyncState.SEARCH, "the source ended"
    return set(machine.cells), batch


V2, V0, F0 = SyncSettings(SIZE, verify=2), SyncSettings(SIZE, verify=0), SyncSettings(SIZE, flywheel=0)
RUBBISH = np.random.default_rng(5).integers(0, 2, 1000).astype(np.uint8)
LOST = (3, 4, 5, 6)  # missing markers, one more than the flywheel holds


def whole(batch: SyncBatch) -> bool:
    return found(batch) == BODIES


def behind_rubbish(batch: SyncBatch) -> bool:
    return whole(batch) and batch.transitions[0].bits == 1000 and sum(o.bits for o in batch.outside) == 1000


def from_the_second(batch: SyncBatch) -> bool:
    return found(batch) == BODIES[1:] and batch.outside[0].bits == PERIOD and not flags(batch, "suspect")


def suspect_last(batch: SyncBatch) -> bool:
    return found(batch) == BODIES[:1] and flags(batch, "suspect") == [0]


def slipped(batch: SyncBatch) -> bool:
    late = [t.bits for t in batch.transitions if t.what == "slip"]
    return late == [2] and flags(batch, "suspect") == [4] and found(batch)[5:] == BODIES[5:]


def flown(batch: SyncBatch) -> bool:
    return whole(batch) and flags(batch, "sync_miss") == [3, 4] and not flags(batch, "suspect")


def given_up(batch: SyncBatch) -> bool:
    """What was held comes out, then the search finds the next good marker."""
    right = found(batch) == BODIES[:6] + BODIES[7:] and flags(batch, "sync_miss") == [3, 4, 5]
    return right and whats(batch) == ["lock", "loss", "lock"] and flags(batch, "suspect") == [2, 3, 4, 5]


def given_up_at_once(batch: SyncBatch) -> bool:
    return whats(batch) == ["lock", "loss", "lock"] and found(batch) == BODIES[:3] + BODIES[4:]


def slipped_in_flywheel(batch: SyncBatch) -> bool:
    return flags(batch, "suspect") == [2, 3] and found(batch)[4:] == BODIES[4:] and whats(batch) == ["lock", "slip"]


def elsewhere(batch: SyncBatch) -> bool:
    """CADU 4, intact 40 bits too late, is found although CADU 6 stands in its place again."""
    return BODIES[4] in found(batch) and "loss" in whats(batch) and found(batch)[-5:] == BODIES[7:]


def late_and_back(stream: RoughStream) -> None:
    stream.insert(2 * PERIOD + 100, RUBBISH[:40])
    stream.delete(6 * PERIOD + 50, 40)


def lock_then_elsewhere(stream: RoughStream) -> None:
    """The CADU before is 60 bits too short, and what may be a marker stands by chance where the next was expected."""
    stream.delete(3 * PERIOD + 100, 60)
    stream.bits[4 * PERIOD + 1 : 4 * PERIOD + 33] = SENT[MARKER]


def contradicted_in_lock(batch: SyncBatch) -> bool:
    return whats(batch) == ["lock", "loss", "lock"] and found(batch)[-7:] == BODIES[5:]


def held_to_the_end(batch: SyncBatch) -> bool:
    return whole(batch) and flags(batch, "sync_miss") == [11] and flags(batch, "suspect") == [10, 11]


CELLS: dict[tuple[SyncState, SyncInput], tuple[SyncSettings, bytes, Callable[[SyncBatch], bool]]] = {
    (SyncState.SEARCH, SyncInput.HIT): (SETTINGS, changed(lambda s: s.insert(0, RUBBISH)), behind_rubbish),
    (SyncState.SEARCH, SyncInput.CONFIRMED): (V0, changed(), whole),
    (SyncState.SEARCH, SyncInput.END): (SETTINGS, np.packbits(RUBBISH).tobytes(), lambda b: not len(b.cadus)),
    (SyncState.VERIFY, SyncInput.HIT): (V2, changed(), whole),
    (SyncState.VERIFY, SyncInput.CONFIRMED): (SETTINGS, changed(), whole),
    (SyncState.VERIFY, SyncInput.MISS): (V2, b"", lambda b: True),  # see below: it needs pieces
    (SyncState.VERIFY, SyncInput.END): (SETTINGS, changed(bits=SENT[:PERIOD]), suspect_last),
    (SyncState.LOCK, SyncInput.HIT): (SETTINGS, changed(), whole),
    (SyncState.LOCK, SyncInput.SHIFTED): (
        SETTINGS, changed(lambda s: s.insert(4 * PERIOD + 90, RUBBISH[:2])), slipped,
    ),
    (SyncState.LOCK, SyncInput.MISS): (SETTINGS, changed(no_marker(3, 4)), flown),
    (SyncState.LOCK, SyncInput.SPENT): (F0, changed(no_marker(3)), given_up_at_once),
    (SyncState.LOCK, SyncInput.CONTRADICTED): (SETTINGS, changed(lock_then_elsewhere), contradicted_in_lock),
    (SyncState.LOCK, SyncInput.END): (SETTINGS, changed(), whole),
    (SyncState.FLYWHEEL, SyncInput.HIT): (SETTINGS, changed(no_marker(3, 4)), flown),
    (SyncState.FLYWHEEL, SyncInput.SHIFTED): (
        SETTINGS, changed(no_marker(3), lambda s: s.insert(3 * PERIOD + 90, RUBBISH[:1])), slipped_in_flywheel,
    ),
    (SyncState.FLYWHEEL, SyncInput.MISS): (SETTINGS, changed(no_marker(3, 4)), flown),
    (SyncState.FLYWHEEL, SyncInput.SPENT): (SETTINGS, changed(no_marker(*LOST)), given_up),
    (SyncState.FLYWHEEL, SyncInput.CONTRADICTED): (
        SyncSettings(SIZE, flywheel=6), changed(late_and_back), elsewhere,
    ),
    (SyncState.FLYWHEEL, SyncInput.END): (SETTINGS, changed(no_marker(11)), held_to_the_end),
}  # fmt: skip


@pytest.mark.parametrize("cell", sorted(set(TABLE) - {(SyncState.VERIFY, SyncInput.MISS)}), ids="-".join)
def test_each_cell(cell: tuple[SyncState, SyncInput]) -> None:
    """Each cell of the table is gone through, and what comes out is right."""
    options, octets, right = CELLS[cell]
    cells, batch = cells_of(octets, options)
    assert cell in cells
    assert right(batch)
    accounted(batch, octets)


def test_a_false_marker_costs_one_bit() -> None:
    """R6 (the cell verify-miss): behind a marker that none follows the search goes on at the next bit."""
    assert set(CELLS) == set(TABLE)
    stream = RoughStream(np.concatenate([SENT[MARKER], RUBBISH[: PERIOD - 100], SENT]))
    octets = stream.octets()
    machine = Recorded(SETTINGS)
    first = machine.feed(octets[: PERIOD // 8])
    assert machine.state is SyncState.VERIFY
    batch = joined([first, machine.feed(octets[PERIOD // 8 :]), machine.end()])
    assert (SyncState.VERIFY, SyncInput.MISS) in machine.cells
    assert found(batch) == BODIES
    accounted(batch, octets)


# ---- promises over random streams ----


def options_of(rng: random.Random) -> SyncSettings:
    marker = rng.choice(["1ACFFC1D", "1ACFFC1D", *(MARKERS[k] for k in ("Proximity-1", "turbo 1/6")), "1ACFFC1"])
    return SyncSettings(
        rng.choice([20, 33]),
        SyncMarker(marker),
        search_errors=rng.choice([0, 0, 1]),
        verify=rng.choice([0, 1, 1, 1, 2]),
        lock_errors=rng.choice([1, 2, 3]) if len(marker) > 7 else 1,
        flywheel=rng.choice([0, 1, 3, 5]),
        slip_bits=rng.choice([0, 1, 2, 3]),
    )


@pytest.mark.parametrize("seed", range(SEEDS // 4))
def test_every_intact_cadu_is_found(seed: int) -> None:
    """R6: slips, inversions, bursts and noise: each CADU intact between two good markers comes out, with its octets;
    however the octets come in pieces the same comes out; every bit is in a CADU or outside."""
    rng = random.Random(seed)
    options = options_of(rng)
    period, marker_bits, count = options.period_bits, options.marker.bits, rng.randrange(2, 40)
    bodies = [rng.randbytes(options.block_octets) for _ in range(count)]
    noise = rng.choice([0.0, 1e-5, 1e-4, 1e-3, 1e-2])
    stream = rough(rng, cadus(bodies, options.marker.hex), period, noise, rng.randrange(5), rng.randrange(3))
    octets = stream.octets()
    batch = synchronised(options, octets)
    accounted(batch, octets, period)
    if options.verify < 2:  # else two good markers are not enough
        where = {int(row["position_bits"]): body.tobytes() for row, body in zip(batch.cadus, batch.bodies, strict=True)}
        for number, position in stream.intact(period, marker_bits, count).items():
            assert where.get(position) == bodies[number], number
    cuts = sorted(rng.randrange(len(octets) + 1) for _ in range(rng.randrange(12)))
    assert told(synchronised(options, octets, cuts)) == told(batch)


@pytest.mark.parametrize("seed", range(max(4, SEEDS // 40)))
def test_octets_one_by_one(seed: int) -> None:
    """R6: a source that comes octet by octet, and one that was restored from its kept state after each piece."""
    rng = random.Random(seed)
    options = options_of(rng)
    bodies = [rng.randbytes(options.block_octets) for _ in range(10)]
    octets = rough(rng, cadus(bodies, options.marker.hex), options.period_bits, 1e-3, 3, 1).octets()
    batch = told(synchronised(options, octets))
    assert told(synchronised(options, octets, list(range(len(octets))))) == batch
    machine, batches, at = Synchroniser(options), [], 0
    while at < len(octets):
        upto = at + rng.randrange(1, 200)
        batches.append(machine.feed(octets[at:upto]))
        kept = json.loads(json.dumps(machine.kept()))
        machine, at = Synchroniser.restored(options, kept), machine.done_bits // 8
        machine.feed(octets[at:upto])
        at = min(upto, len(octets))
    batches.append(machine.end())
    assert told(joined(batches)) == batch


@given(st.binary(max_size=1500), st.integers(0, 3), st.integers(1, 100))
@settings(max_examples=60, deadline=None)
def test_any_octets_at_all(data: bytes, errors: int, chunk: int) -> None:
    """R6: octets of any kind raise nothing, and none vanishes."""
    for options in (SyncSettings(8, SyncMarker("FAF320"), search_errors=errors), SyncSettings(9, SyncMarker("none"))):
        batch = synchronised(options, data, list(range(0, len(data), chunk)))
        accounted(batch, data, options.period_bits)


@given(st.binary(min_size=1, max_size=40), st.sampled_from(sorted(MARKERS.values())), st.integers(0, 6))
def test_the_search_is_what_it_says(data: bytes, marker: str, errors: int) -> None:
    """The search by words finds the places that a comparison bit by bit finds."""
    mark = SyncMarker(marker)
    rng = random.Random(data)
    bits = np.concatenate(
        [bits_of(data), bits_of(mark.octets.tobytes()), bits_of(data), bits_of(mark.octets.tobytes())]
    )
    bits[-len(bits_of(mark.octets.tobytes())) :] ^= rng.randrange(2)
    for _ in range(errors):
        bits[rng.randrange(len(bits))] ^= 1
    buffer = BitBuffer()
    buffer.append(np.packbits(bits))
    upto = len(bits) - mark.bits + 1
    head = bits_of(mark.octets.tobytes())
    wrong = [int((bits[p : p + mark.bits] != head).sum()) for p in range(upto)]
    for either, octets_only in ((True, False), (False, False), (True, True)):
        places, inverted = buffer.find(mark, 0, upto, errors, octets_only, either)
        step = 8 if octets_only else 1
        hits = [p for p in range(0, upto, step) if wrong[p] <= errors or (either and mark.bits - wrong[p] <= errors)]
        assert places.tolist() == hits
        assert inverted.tolist() == [wrong[p] > mark.bits // 2 for p in hits]


# ---- what is special ----


def test_markers_that_are_none() -> None:
    """Too short, too long, no hex digits: refused in words."""
    for text in ("", "1ACF", "1ACFFC1D" * 7, "xyzxyz", "١٢٣٤٥٦"):
        with pytest.raises(FormatError):
            SyncMarker(text)


@pytest.mark.parametrize("shift", range(8))
@pytest.mark.parametrize("inverted", [False, True])
def test_every_bit_shift_and_both_polarities(shift: int, inverted: bool) -> None:
    """Bits that begin anywhere in an octet, upright or inverted, give the octets that were sent."""
    bits = np.concatenate([np.zeros(shift, np.uint8), SENT ^ int(inverted)])
    batch = synchronised(SETTINGS, np.packbits(bits).tobytes())
    assert found(batch) == BODIES
    assert (batch.cadus["inverted"] == inverted).all()
    assert batch.cadus["position_bits"].tolist() == [shift + k * PERIOD for k in range(12)]


def test_polarity_normal_and_octet_alignment_look_at_nothing_else() -> None:
    """A link that says so takes no inverted marker, and none off an octet boundary."""
    inverted = np.packbits(SENT ^ 1).tobytes()
    assert not len(synchronised(SyncSettings(SIZE, polarity="normal"), inverted).cadus)
    shifted = np.packbits(np.concatenate([[1], SENT])).astype(np.uint8).tobytes()
    assert not len(synchronised(SyncSettings(SIZE, alignment="octet"), shifted).cadus)
    assert len(synchronised(SyncSettings(SIZE, alignment="octet"), np.packbits(SENT).tobytes()).cadus) == 12


def test_an_inversion_in_a_cadu() -> None:
    """The polarity changes within a CADU: that one is suspect, the next ones are as they were sent."""
    octets = changed(lambda s: s.invert(4 * PERIOD + 70))
    batch = synchronised(SETTINGS, octets)
    assert whats(batch) == ["lock", "inversion"]
    assert flags(batch, "suspect") == [4]
    assert [k for k, body in enumerate(found(batch)) if body != BODIES[k]] == [4]
    assert batch.cadus["inverted"].tolist() == [k > 4 for k in range(12)]


@pytest.mark.parametrize("shift", [-2, -1, 1, 2])
def test_a_slip(shift: int) -> None:
    """Bits lost or gained within a CADU: that one is suspect, the slip is told, bits too many are outside."""
    edit = (lambda s: s.insert(4 * PERIOD + 70, RUBBISH[:shift])) if shift > 0 else (
        lambda s: s.delete(4 * PERIOD + 70, -shift)
    )  # fmt: skip
    octets = changed(edit)
    batch = synchronised(SETTINGS, octets)
    assert [(t.what, t.bits) for t in batch.transitions] == [("lock", 0), ("slip", shift)]
    assert flags(batch, "suspect") == [4]
    assert found(batch)[5:] == BODIES[5:]
    accounted(batch, octets)


def test_code_blocks_without_markers() -> None:
    """`none`: code blocks back to back from the first octet on, what is left at the end is outside."""
    data = b"".join(BODIES) + b"rest"
    batch = synchronised(SyncSettings(SIZE, SyncMarker("none")), data, [5, 100, 101])
    assert found(batch) == BODIES
    assert batch.cadus["marker_errors"].tolist() == [-1] * 12
    assert [(o.position_bits, o.octets) for o in batch.outside] == [(8 * 12 * SIZE, b"rest")]


def test_long_garbage_comes_in_pieces_and_takes_bounded_memory() -> None:
    """R13: garbage for ever is told piece by piece and not held."""
    garbage = np.random.default_rng(3).integers(0, 256, 5 * PIECE_BITS // 8, dtype=np.uint8).tobytes()
    machine = Synchroniser(SETTINGS)
    batch = machine.feed(garbage)
    assert [piece.bits for piece in batch.outside] == [PIECE_BITS] * 4
    assert 8 * len(garbage) - machine.done_bits <= PIECE_BITS + PERIOD + 64
    batch = joined([batch, machine.end()])
    assert b"".join(piece.octets for piece in batch.outside) == garbage


@pytest.mark.parametrize("seed", range(4))
def test_any_kept_state(seed: int) -> None:
    """R7: a state that was damaged raises nothing; the machine searches."""
    rng = random.Random(seed)
    octets = changed(no_marker(3))
    strange: list[Any] = [None, True, -1, 0, 1, 77, 1 << 70, "", "lock", "search", [], {}, 1.5]
    for _ in range(200):
        machine = Synchroniser(SETTINGS)
        machine.feed(octets[: rng.randrange(len(octets))])
        kept: Any = machine.kept()
        for _ in range(rng.randrange(1, 3)):
            kept[rng.choice(list(kept))] = rng.choice(strange)
        again = Synchroniser.restored(SETTINGS, rng.choice([kept, kept, kept, rng.choice(strange)]))
        again.feed(octets)
        again.end()
