"""Our Reed-Solomon decoder beside two others, `reedsolo` and `galois`, on random code words of every kind."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import reedsolo

from gateway_codecs.reed_solomon import ReedSolomon
from tests.codecs.reed_solomon_reference import CONVENTIONAL, DUAL, power

SOAK = bool(os.environ.get("GATEWAY_SOAK"))
REEDSOLO_WORDS = 10_000 if SOAK else 300
GALOIS_WORDS = 10_000 if SOAK else 8
INTERLEAVES = (1, 4, 5, 2, 3, 6, 7, 8)


@dataclass
class Case:
    """One whole code word as received (conventional basis, zeros for the fill), and what we made of it."""

    e: int
    fill: int
    received: bytes
    sent: bytes
    ours: bytes
    corrected: int


def word_errors(random: np.random.Generator, code: ReedSolomon, data_octets: int) -> list[int]:
    """Choose the places of wrong symbols among the 255: anywhere sent, in the parity alone, or in the fill too."""
    first = data_octets + code.virtual_fill_octets if random.random() < 0.2 else code.virtual_fill_octets
    most = min(255 - first, code.e + 4)
    count = int(random.choice([0, 1, code.e - 1, code.e, code.e + 1, int(random.integers(0, most + 1))]))
    places = first + random.choice(255 - first, min(count, most), replace=False)
    if code.virtual_fill_octets and random.random() < 0.2:
        places = np.append(places[:-1], random.integers(0, code.virtual_fill_octets))
    return [int(place) for place in places]


def cases_of(code: ReedSolomon, random: np.random.Generator) -> list[Case]:
    """Spoil and decode one code block. Words that are wrong in the fill are those whose sender had something there."""
    whole = ReedSolomon(code.e, code.interleave, code.basis)
    table = np.array(CONVENTIONAL if code.basis == "dual" else range(256), np.uint8)
    back = np.array(DUAL if code.basis == "dual" else range(256), np.uint8)
    fill, step = code.virtual_fill_octets, code.interleave
    frame = random.integers(0, 256, (1, whole.frame_octets), np.uint8)
    frame[:, : fill * step] = 0
    errors = [word_errors(random, code, code.frame_octets // step) for _ in range(step)]
    for word, places in enumerate(errors):
        frame[0, [place * step + word for place in places if place < fill]] = random.integers(1, 256)
    sent = whole.encode(frame)
    block = sent.copy()
    for word, places in enumerate(errors):
        at = np.array([place * step + word for place in places if place >= fill], np.intp)
        block[0, at] ^= random.integers(1, 256, len(at), np.uint8)
    block[:, : fill * step] = 0
    decoded = code.decode(block[:, fill * step :])
    cases = []
    for word in range(step):
        # Decoders tell the data of a word alone.
        ours = np.concatenate([np.zeros(fill, np.uint8), decoded.frames[0, word::step]])
        row = [table[octets].tobytes() for octets in (block[0, word::step], sent[0, word::step], ours)]
        assert (back[table[ours]] == ours).all()
        cases.append(Case(code.e, fill, *row, int(decoded.corrected[0, word])))
    return cases


def random_cases(count: int, seed: int) -> list[Case]:
    random = np.random.default_rng(seed)
    cases: list[Case] = []
    turn = 0
    while len(cases) < count:
        e: Any = (16, 8)[turn // 2 % 2]
        basis: Any = ("dual", "conventional")[turn % 2]
        fill = int(random.choice([0, 0, 1, 30, int(random.integers(0, 255 - 2 * e))]))
        cases += cases_of(ReedSolomon(e, INTERLEAVES[turn // 4 % 8], basis, fill), random)
        turn += 1
    return cases[:count]


def agrees(case: Case, theirs: bytes, corrected: int) -> None:
    """Compare with a decoder that knows of no fill: what it corrected inside the fill is no success."""
    data = 255 - 2 * case.e
    if corrected < 0 or any(theirs[: case.fill]):
        assert case.corrected == -1
        assert case.ours == case.received[:data]
    else:
        assert case.corrected == corrected
        assert case.ours == theirs[:data]


@pytest.mark.parametrize("part", range(10 if SOAK else 1))
def test_like_reedsolo(part: int) -> None:
    """On random code words of all codes, our data, counts and refusals are those of reedsolo."""
    codecs = {
        e: reedsolo.RSCodec(2 * e, nsize=255, fcr=128 - e, prim=0x187, generator=power(1), single_gen=True)
        for e in (16, 8)
    }
    cases = random_cases(REEDSOLO_WORDS // (10 if SOAK else 1), 100 + part)
    for case in cases:
        try:
            _, whole, places = codecs[case.e].decode(case.received)
            agrees(case, bytes(whole), len(places))
        except reedsolo.ReedSolomonError:
            agrees(case, case.received, -1)
    of_all_kinds(cases)


@pytest.mark.parametrize("part", range(10 if SOAK else 1))
def test_like_galois(part: int) -> None:
    """On random code words of all codes, our data, counts and refusals are those of galois."""
    import galois

    field = galois.GF(
        2**8, irreducible_poly=0x187, primitive_element=2, verify=False, compile=None if SOAK else "python-calculate"
    )
    cases = random_cases(GALOIS_WORDS // (10 if SOAK else 1), 200 + part)
    for e in (16, 8):
        codec = galois.ReedSolomon(255, 255 - 2 * e, field=field, alpha=field(power(1)), c=128 - e)
        chosen = [case for case in cases if case.e == e]
        received = np.frombuffer(b"".join(case.received for case in chosen), np.uint8).reshape(-1, 255)
        words, corrected = codec.decode(field(received), output="codeword", errors=True)
        for case, word, count in zip(chosen, words, corrected, strict=True):
            agrees(case, word.tobytes(), int(count))


def of_all_kinds(cases: list[Case]) -> None:
    """The cases were worth trying: clean, corrected to the last symbol, beyond repair, wrong only inside the fill."""
    counts = {case.corrected for case in cases}
    assert {-1, 0, 1, 7, 8, 15, 16} <= counts
    assert any(case.corrected == -1 and any(case.sent[: case.fill]) for case in cases)
    assert any(case.corrected > 0 and case.received[: 255 - 2 * case.e] == case.ours for case in cases)  # parity alone
    assert any(case.corrected > 0 and case.fill for case in cases)
    assert all(case.ours == case.sent[: 255 - 2 * case.e] for case in cases if case.corrected >= 0 and case.e == 16)
