"""Reed-Solomon against vectors made by others, a slow reference, and the limits of what a code can correct."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_codecs.declared import FormatError
from gateway_codecs.randomiser import sequence
from gateway_codecs.reed_solomon import BAD_WORDS_AT_A_TIME, ReedSolomon
from tests.codecs import reed_solomon_reference as slow

SHARED = Path(__file__).parents[3] / "shared"
needs_vectors = pytest.mark.skipif(not SHARED.exists(), reason="the shared vectors are not beside the checkout")
BASES = ("dual", "conventional")
CODES = [ReedSolomon(e, i, basis) for e in (16, 8) for i in range(1, 9) for basis in BASES]  # type: ignore[arg-type]
SHORT_CODES = [
    ReedSolomon(16, 1, "dual", 109), ReedSolomon(16, 4, "dual", 3), ReedSolomon(16, 5, "conventional", 1),
    ReedSolomon(8, 2, "conventional", 238), ReedSolomon(16, 3, "dual", 222), ReedSolomon(8, 7, "dual", 100),
]  # fmt: skip


def named(code: ReedSolomon) -> str:
    return f"e{code.e}-i{code.interleave}-{code.basis}-q{code.virtual_fill_octets}"


def noise(code: ReedSolomon, count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, code.frame_octets), np.uint8)


def spoilt(code: ReedSolomon, blocks: np.ndarray, errors: int, seed: int, first: int = 0) -> np.ndarray:
    """Return the blocks with so many wrong symbols in every code word, from place `first` of the word on."""
    random = np.random.default_rng(seed)
    length = code.codeblock_octets // code.interleave
    out = blocks.copy()
    for row in out:
        for word in range(code.interleave):
            places = first + random.choice(length - first, errors, replace=False)
            row[places * code.interleave + word] ^= random.integers(1, 256, errors, np.uint8)
    return out


def known(name: str) -> Any:
    return json.loads((SHARED / name).read_text())


def octets(text: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(text), np.uint8)


@needs_vectors
@pytest.mark.parametrize("basis", BASES)
def test_parity_of_the_first_vectors(basis: Any) -> None:
    """Parity agrees with libfec, galois and reedsolo, at both strengths, in both bases, also shortened."""
    vectors = known("vectors/reed_solomon.json")
    key = "parity_dual_basis" if basis == "dual" else "parity_conventional"
    for e, name in ((16, "rs_255_223"), (8, "rs_255_239")):
        for vector in vectors[name]:
            frame = octets(vector["data"])[None]
            code = ReedSolomon(e, 1, basis, 255 - 2 * e - frame.shape[1])  # type: ignore[arg-type]
            assert code.encode(frame)[0, code.frame_octets :].tobytes().hex() == vector[key]
    if basis == "dual":
        code = ReedSolomon(16, 5, basis)
        ramp = (7 * np.arange(1115) + 3).astype(np.uint8)[None]
        expected = vectors["rs_255_223_interleave_5_dual"]["parity_160_bytes"]
        assert code.encode(ramp)[0, 1115:].tobytes().hex() == expected


@needs_vectors
@pytest.mark.parametrize("basis", BASES)
def test_parity_of_the_second_vectors(basis: Any) -> None:
    """The other set agrees too, with interleaving and virtual fill."""
    rules = {"rs255_223_I5": (7, 3, 1115), "rs255_223_I4_Q3_shortened": (5, 1, 880)}
    checked = 0
    for vector in known("spec/vectors/reed_solomon.json")["vectors"]:
        parity = vector.get(f"parity_{basis}") or vector.get(f"parity_{basis}_all")
        if parity is None:
            continue
        if "message" in vector:
            frame = octets(vector["message"])
        else:
            factor, plus, length = rules[vector["id"]]
            frame = (factor * np.arange(length) + plus).astype(np.uint8)
        code = ReedSolomon(vector["E"], vector["I"], basis, vector["Q"])
        block = code.encode(frame[None])
        assert block[0, code.frame_octets :].tobytes().hex() == parity
        decoded = code.decode(block)
        assert (decoded.frames[0] == frame).all()
        assert not decoded.corrected.any()
        checked += 1
    assert checked >= 4


@needs_vectors
@pytest.mark.parametrize("e", [16, 8])
def test_bases_differ_by_the_published_tables(e: Any) -> None:
    """A dual-basis code block is the conventional one, octet by octet through the table of the book."""
    tables = known("spec/vectors/dual_basis.json")
    to_dual, back = octets(tables["conventional_to_dual"]), octets(tables["dual_to_conventional"])
    dual, conventional = ReedSolomon(e, 3, "dual"), ReedSolomon(e, 3, "conventional")
    frames = noise(dual, 20)
    assert (dual.encode(frames) == to_dual[conventional.encode(back[frames])]).all()
    other = known("vectors/reed_solomon.json")
    assert (to_dual == octets(other["dual_basis_table_conventional_to_dual"])).all()


@pytest.mark.parametrize("code", CODES + SHORT_CODES, ids=named)
def test_all_that_a_code_can_correct(code: ReedSolomon) -> None:
    """Up to e wrong symbols per code word are corrected and counted; the next one is told as uncorrectable."""
    frames = noise(code, 6)
    blocks = code.encode(frames)
    for errors in (0, 1, 2, code.e - 1, code.e):
        decoded = code.decode(spoilt(code, blocks, min(errors, blocks.shape[1] // code.interleave), errors))
        assert (decoded.corrected == errors).all()
        assert (decoded.frames == frames).all()
    if code.codeblock_octets // code.interleave > code.e:
        wrong = spoilt(code, blocks, code.e + 1, 17)
        decoded = code.decode(wrong)
        assert (decoded.corrected == -1).all()
        assert (decoded.frames == wrong[:, : code.frame_octets]).all()  # as received


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_fast_is_declared(data: st.DataObject) -> None:
    """Batches give what the slow reference gives for every block: frames, counts, refusals."""
    e = data.draw(st.sampled_from([16, 8]))
    interleave = data.draw(st.integers(1, 8))
    basis = data.draw(st.sampled_from(BASES))
    fill = data.draw(st.sampled_from([0, 1, 3, 100, 255 - 2 * e - 1]))
    code = ReedSolomon(e, interleave, basis, fill)
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    frame = random.integers(0, 256, (1, code.frame_octets), np.uint8)
    block = code.encode(frame)
    assert block.tobytes() == slow.encode(frame.tobytes(), e, interleave, basis == "dual", fill)
    length = code.codeblock_octets // interleave
    for word in range(interleave):
        errors = min(length, data.draw(st.sampled_from([0, 1, 3, e - 1, e, e + 1, e + 5])))
        places = random.choice(length, errors, replace=False)
        block[0, places * interleave + word] ^= random.integers(1, 256, errors, np.uint8)
    decoded = code.decode(block)
    expected, counts = slow.decode(block.tobytes(), e, interleave, basis == "dual", fill)
    assert decoded.corrected[0].tolist() == counts
    assert decoded.frames.tobytes() == expected


@pytest.mark.parametrize("code", CODES[:6] + SHORT_CODES, ids=named)
def test_errors_inside_the_parity(code: ReedSolomon) -> None:
    """Wrong symbols of the parity are corrected and counted like others."""
    frames = noise(code, 5)
    data_octets = code.frame_octets // code.interleave
    decoded = code.decode(spoilt(code, code.encode(frames), code.e, 3, data_octets))
    assert (decoded.corrected == code.e).all()
    assert (decoded.frames == frames).all()


@pytest.mark.parametrize("others", [0, 1, 7])
@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("e", [16, 8])
def test_a_correction_inside_the_fill_is_none(e: Any, basis: Any, others: int) -> None:
    """A code word that only fits with another symbol in the fill, which was never sent, is uncorrectable."""
    whole, short = ReedSolomon(e, 2, basis), ReedSolomon(e, 2, basis, 9)
    frames = noise(whole, 40)
    frames[:, :18] = 0
    frames[:20, 5] = 0x5A  # word 1 of the first twenty has something in the fill
    blocks = spoilt(whole, whole.encode(frames), others, 4, 9)
    blocks[:, :18] = 0  # the receiver puts zeros there
    assert (whole.decode(blocks).corrected[:20, 1] == others + 1).all()  # a decoder that knows of no fill
    decoded = short.decode(blocks[:, 18:])
    assert (decoded.corrected[:20, 1] == -1).all()
    assert (decoded.corrected[:20, 0] == others).all()
    assert (decoded.corrected[20:] == others).all()
    assert (decoded.frames[:20, 1::2] == blocks[:20, 19 : 18 + short.frame_octets : 2]).all()
    assert (decoded.frames[20:] == frames[20:, 18:]).all()


def test_a_hopeless_word_hides_no_other() -> None:
    """In one block, a word beyond repair stays as received while its neighbours are corrected."""
    code = ReedSolomon(16, 5)
    frames = noise(code, 50)
    blocks = code.encode(frames)
    wrong = spoilt(code, blocks, 9, 5)
    wrong[::7, 3::5] = np.random.default_rng(6).integers(0, 256, wrong[::7, 3::5].shape)
    decoded = code.decode(wrong)
    hopeless = np.zeros((50, 5), np.bool_)
    hopeless[::7, 3] = True
    assert (decoded.corrected == np.where(hopeless, -1, 9)).all()
    assert (decoded.frames[::7, 3::5] == wrong[::7, 3 : code.frame_octets : 5]).all()
    good = np.arange(code.frame_octets) % 5 != 3
    assert (decoded.frames[:, good] == frames[:, good]).all()


def test_many_bad_words_are_the_single_ones() -> None:
    """A batch with more bad words than are decoded at a time gives what its blocks give one by one."""
    code = ReedSolomon(16, 8, "dual", 30)
    blocks = code.encode(noise(code, BAD_WORDS_AT_A_TIME // 8 + 40))
    random = np.random.default_rng(7)
    wrong = np.concatenate(
        [spoilt(code, blocks[k : k + 1], int(random.integers(0, 19)), k) for k in range(len(blocks))]
    )
    assert (code.decode(wrong).corrected != 0).sum() > BAD_WORDS_AT_A_TIME
    together = code.decode(wrong)
    single = [code.decode(wrong[k : k + 1]) for k in range(len(wrong))]
    assert (together.frames == np.concatenate([s.frames for s in single])).all()
    assert (together.corrected == np.concatenate([s.corrected for s in single])).all()


@pytest.mark.parametrize(
    "code", [ReedSolomon(16, 5), ReedSolomon(16, 1, "conventional"), ReedSolomon(16, 4, "dual", 99)]
)
def test_rubbish_is_refused_as_it_came(code: ReedSolomon) -> None:
    """Octets that are no code blocks come out as they went in, every word uncorrectable."""
    rubbish = np.random.default_rng(8).integers(0, 256, (400, code.codeblock_octets), np.uint8)
    decoded = code.decode(rubbish)
    assert (decoded.corrected == -1).all()
    assert (decoded.frames == rubbish[:, : code.frame_octets]).all()


@pytest.mark.parametrize("code", [ReedSolomon(16, 4), ReedSolomon(8, 3, "conventional", 11)], ids=named)
def test_any_layout_in_memory(code: ReedSolomon) -> None:
    """Read-only, strided, reversed and empty batches are decoded like any other, and stay as they were."""
    frames = noise(code, 12)
    blocks = spoilt(code, code.encode(frames), 3, 9)
    wide = np.zeros((24, code.codeblock_octets * 2), np.uint8)
    wide[::2, 1::2] = blocks
    backwards = np.ascontiguousarray(blocks[::-1, ::-1])[::-1, ::-1]
    for layout in (blocks, wide[::2, 1::2], np.asfortranarray(blocks), backwards, blocks[:0], blocks[3:4]):
        kept = layout.copy()
        layout.flags.writeable = False
        decoded = code.decode(layout)
        assert decoded.frames.shape == (len(layout), code.frame_octets)
        assert decoded.corrected.shape == (len(layout), code.interleave)
        assert decoded.corrected.dtype == np.int16
        assert (decoded.corrected == 3).all()
        assert (layout == kept).all()
        assert not np.shares_memory(decoded.frames, layout)
        assert (code.encode(decoded.frames)[:, : code.frame_octets] == decoded.frames).all()
    assert (code.encode(np.asfortranarray(frames)) == code.encode(frames)).all()
    assert code.encode(frames[:0]).shape == (0, code.codeblock_octets)


@pytest.mark.parametrize("fill", [0, 1, 111, 221, 222])
def test_every_fill(fill: int) -> None:
    """A code shortened to a single octet of data still corrects."""
    code = ReedSolomon(16, 2, "dual", fill)
    assert code.frame_octets == 2 * (223 - fill)
    frames = noise(code, 3)
    decoded = code.decode(spoilt(code, code.encode(frames), 16, 11))
    assert (decoded.frames == frames).all()
    assert (decoded.corrected == 16).all()


@pytest.mark.parametrize(
    ("settings_", "text"),
    [
        ({"e": 4}, "e is 16 or 8"),
        ({"interleave": 0}, "1 to 8"),
        ({"interleave": 9}, "1 to 8"),
        ({"basis": "berlekamp"}, "dual or conventional"),
        ({"virtual_fill_octets": -1}, "0 to 222"),
        ({"virtual_fill_octets": 223}, "0 to 222"),
        ({"e": 8, "virtual_fill_octets": 239}, "0 to 238"),
    ],
)
def test_impossible_codes_are_refused(settings_: dict[str, Any], text: str) -> None:
    """A code that does not exist is refused when it is made, with what would be right."""
    with pytest.raises(FormatError, match=text):
        ReedSolomon(**settings_)


@pytest.mark.parametrize(
    "rows", [np.zeros(1275, np.uint8), np.zeros((2, 1274), np.uint8), np.zeros((2, 1275), np.int16)]
)
def test_wrong_shapes_are_refused(rows: np.ndarray) -> None:
    """What is no batch of code blocks of this code is refused with what was found."""
    with pytest.raises(FormatError, match=r"uint8 \(n, 1275\)"):
        ReedSolomon(16, 5).decode(rows)
    with pytest.raises(FormatError, match=r"uint8 \(n, 1115\)"):
        ReedSolomon(16, 5).encode(rows)


@pytest.mark.parametrize(("e", "interleaves"), [(16, {1, 2, 4, 8}), (8, {1, 2, 4, 5, 8})])
def test_what_success_does_not_prove(e: Any, interleaves: set[int]) -> None:
    """The short randomiser's sequence is a code block for I = 1, 2, 4 and 8: decoding proves no derandomising."""
    for basis in BASES:
        codes = [ReedSolomon(e, interleave, basis) for interleave in range(1, 9)]  # type: ignore[arg-type]
        noise_blocks = [sequence("short", code.codeblock_octets)[None] for code in codes]
        clean = [(code.decode(block).corrected == 0).all() for code, block in zip(codes, noise_blocks, strict=True)]
        assert {interleave for interleave, found in enumerate(clean, 1) if found} == interleaves
