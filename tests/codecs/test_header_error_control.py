"""The AOS frame header error control against vectors made by others, and every pattern of errors it can correct."""

from __future__ import annotations

import json
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest

from gateway_codecs.declared import FormatError
from gateway_codecs.header_error_control import correct, protect

SHARED = Path(__file__).parents[3] / "shared"
needs_vectors = pytest.mark.skipif(not SHARED.exists(), reason="the shared vectors are not beside the checkout")
PLACES = [(octet, shift) for octet in (0, 1, 5, 6, 7) for shift in (4, 0)]
"""The ten symbols: octet of the header with its field, and where in it."""


def headers(count: int, seed: int = 1) -> np.ndarray:
    plain = np.random.default_rng(seed).integers(0, 256, (count, 6), np.uint8)
    return np.concatenate([plain, protect(plain)], axis=1)


@needs_vectors
def test_vectors() -> None:
    """The field is that of two independent sets of vectors; the frame count does not change it."""
    known = [(v["octets_0_1"], v["octet_5"], v["fhec"]) for v in of("spec/vectors/aos_fhec.json", "vectors")]
    for vector in of("vectors/reed_solomon.json", "aos_frame_header_error_control"):
        known.append((vector["first_two_octets"], vector["signaling_octet"], vector["fhec"]))
    assert len(known) == 10
    for first, signalling, field in known:
        for count in ("000000", "ABCDEF"):
            header = np.frombuffer(bytes.fromhex(first + count + signalling), np.uint8)[None]
            assert protect(header).tobytes().hex() == field
            whole = np.concatenate([header, protect(header)], axis=1)
            assert correct(whole).corrected.tolist() == [0]


def of(name: str, key: str) -> list[dict[str, str]]:
    return list(json.loads((SHARED / name).read_text())[key])


def test_vanishes_at_the_roots() -> None:
    """Declared == fast: as polynomials over GF(16) all words have the roots alpha^6 to alpha^9."""
    powers = [1]
    while len(powers) < 15:
        powers.append((powers[-1] << 1) ^ (0x13 if powers[-1] & 8 else 0))
    for header in headers(300):
        symbols = [int(header[octet]) >> shift & 15 for octet, shift in PLACES]
        for root in range(6, 10):
            total = 0
            for degree, symbol in zip(range(9, -1, -1), symbols, strict=True):
                total ^= powers[(powers.index(symbol) + root * degree) % 15] if symbol else 0
            assert total == 0


def test_every_one_and_two_wrong_symbols() -> None:
    """All 150 patterns of one wrong symbol and all 10,125 of two are corrected and counted; the count is left alone."""
    patterns = [((place, value),) for place, value in product(PLACES, range(1, 16))]
    patterns += [
        ((one, a), (other, b)) for (one, other), a, b in product(combinations(PLACES, 2), range(1, 16), range(1, 16))
    ]
    assert len(patterns) == 150 + 10_125
    sent = headers(len(patterns))
    received = sent.copy()
    for row, pattern in zip(received, patterns, strict=True):
        for (octet, shift), value in pattern:
            row[octet] ^= value << shift
    got = correct(received)
    assert (got.headers == sent).all()
    assert got.corrected.tolist() == [len(pattern) for pattern in patterns]


def test_more_wrong_symbols() -> None:
    """Three wrong symbols are told as uncorrectable, or taken for a header that is no more than two symbols away."""
    sent = headers(4000, 2)
    received = sent.copy()
    random = np.random.default_rng(3)
    for row in received:
        for place in random.choice(10, 3, replace=False):
            octet, shift = PLACES[place]
            row[octet] ^= int(random.integers(1, 16)) << shift
    got = correct(received)
    refused = got.corrected == -1
    assert 0.8 < refused.mean() < 1  # 10,276 of the 65,536 syndromes are those of correctable words
    assert (got.headers[refused] == received[refused]).all()
    taken = got.headers[~refused]
    assert (got.corrected[~refused] == 2).all()
    assert (protect(taken[:, :6]) == taken[:, 6:]).all()
    assert (taken[:, 2:5] == received[~refused, 2:5]).all()


def test_any_layout_in_memory() -> None:
    """Read-only, strided and empty batches are like any other, and stay as they were."""
    sent = headers(9, 4)
    wide = np.zeros((18, 16), np.uint8)
    wide[::2, 1::2] = sent
    wide[::2, 1] ^= 0x31
    for layout in (wide[::2, 1::2], np.asfortranarray(wide[::2, 1::2]), wide[:0, 1::2]):
        kept = layout.copy()
        layout.flags.writeable = False
        got = correct(layout)
        assert (got.headers == sent[: len(layout)]).all()
        assert got.headers.shape == layout.shape
        assert got.corrected.tolist() == [2] * len(layout)
        assert got.corrected.dtype == np.int8
        assert (layout == kept).all()
        assert (protect(got.headers[:, :6]) == got.headers[:, 6:]).all()


@pytest.mark.parametrize("wrong", [np.zeros(8, np.uint8), np.zeros((2, 7), np.uint8), np.zeros((2, 8), np.uint16)])
def test_wrong_shapes_are_refused(wrong: np.ndarray) -> None:
    """What is no batch of headers is refused with what was found."""
    with pytest.raises(FormatError, match=r"uint8 \(n, 8\)"):
        correct(wrong)
    with pytest.raises(FormatError, match=r"uint8 \(n, 6\)"):
        protect(wrong)
