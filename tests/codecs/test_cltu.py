"""BCH code blocks and CLTUs against vectors made by others, every error they must correct or detect, and rubbish."""

from __future__ import annotations

import json
import random
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_codecs import bch, cltu, tc_frame
from gateway_codecs.bch import BchMode
from gateway_codecs.declared import FormatError
from gateway_codecs.randomiser import tc_sequence
from tests.conftest import RUBBISH_UNITS, SHARED

needs_vectors = pytest.mark.skipif(not SHARED.exists(), reason="the shared vectors are not beside the checkout")
MODES: tuple[BchMode, ...] = ("ted", "sec")
FRAME = bytes.fromhex("30ab00090082006428a6")


def of(name: str, key: str) -> list[dict[str, Any]]:
    return list(json.loads((SHARED / name).read_text())[key])


def array(octets: bytes) -> np.ndarray:
    return np.frombuffer(octets, np.uint8)


def flipped(octets: bytes, *bits: int) -> bytes:
    out = bytearray(octets)
    for bit in bits:
        out[bit // 8] ^= 0x80 >> bit % 8
    return bytes(out)


# ---- BCH


@needs_vectors
def test_parity_of_others() -> None:
    """The parity octets are those that three other implementations published or computed."""
    known = [(v["data"], v["parity_byte"]) for v in of("vectors/bch_cltu.json", "bch_63_56")]
    block = of("data/vectors/tc_tm_spacepylibrary.json", "vectors")[0]
    known.append((block["hex"][:14], block["parity_expected"]))
    assert len(known) == 11
    for data, parity in known:
        assert bch.encode(array(bytes.fromhex(data))[None]).tobytes().hex() == data + parity


@given(st.binary(min_size=7, max_size=7))
def test_fast_parity_is_the_declared_one(data: bytes) -> None:
    """Declared == fast: a block, its parity upright again, is a multiple of x^7 + x^6 + x^2 + 1."""
    block = int.from_bytes(bch.encode(array(data)[None]).tobytes(), "big")
    word = block >> 1 ^ 0x7F
    for bit in range(62, 6, -1):
        if word >> bit & 1:
            word ^= 0b11000101 << (bit - 7)
    assert word == 0
    assert block & 1 == 0


@pytest.mark.parametrize("mode", MODES)
def test_every_pattern_of_wrong_bits(mode: BchMode) -> None:
    """Of all 63 single errors *sec* corrects each and *ted* detects each; both detect all 1,953 double ones."""
    data = array(random.Random(1).randbytes(7))
    block = bch.encode(data[None]).tobytes()
    single = bch.decode(array(b"".join(flipped(block, bit) for bit in range(63))).reshape(-1, 8), mode)
    double = b"".join(flipped(block, *bits) for bits in combinations(range(63), 2))
    assert (bch.decode(array(double).reshape(-1, 8), mode).corrected == bch.UNCORRECTABLE).all()
    if mode == "sec":
        assert (single.corrected == 1).all()
        assert (single.data == data).all()
    else:
        assert (single.corrected == bch.UNCORRECTABLE).all()
        triple = b"".join(flipped(block, *bits) for bits in combinations(range(63), 3))
        assert (bch.decode(array(triple).reshape(-1, 8), mode).corrected == bch.UNCORRECTABLE).all()
    filler = bch.decode(array(flipped(block, 63))[None], mode)  # it is not protected
    assert filler.corrected.tolist() == [0]
    assert (filler.data[0] == data).all()


def test_what_was_given_is_not_changed() -> None:
    """A block that is corrected is corrected in a copy; other shapes are refused with what was expected."""
    block = array(flipped(bch.encode(array(b"command")[None]).tobytes(), 3)).reshape(1, 8)
    before = block.copy()
    assert bch.decode(block, "sec").data.tobytes() == b"command"
    assert (block == before).all()
    with pytest.raises(FormatError, match=r"uint8 \(n, 8\), not uint8 \(1, 7\)"):
        bch.decode(block[:, :7])
    with pytest.raises(FormatError, match=r"uint8 \(n, 7\)"):
        bch.encode(block)


# ---- CLTU


@needs_vectors
@pytest.mark.parametrize("mode", MODES)
def test_cltus_of_others(mode: BchMode) -> None:
    """R6: CLTUs are, octet for octet, those of other encoders, randomised or not, and give their frames back."""
    known = [(v["frame"], v["cltu"], False) for v in of("vectors/bch_cltu.json", "cltu")]
    known += [(v["frame"], v["cltu"], True) for v in of("vectors/bch_cltu.json", "cltu_randomised")]
    for v in of("spec/vectors/cltu_bch.json", "vectors"):
        known += [(v["frame"], v["cltu"], False), (v["frame"], v["randomized_cltu"], True)]
    assert len(known) == 15
    for hexes in known:
        (frame, whole), randomised = map(bytes.fromhex, hexes[:2]), hexes[2]
        assert cltu.encode(frame, randomised) == whole
        read = cltu.decode(whole, mode, randomised)
        assert read.data[: len(frame)] == frame
        assert (read.corrected_bits, read.tail, read.end) == (0, True, len(whole) - 8)
        if not randomised:
            assert read.data[len(frame) :] == cltu.FILL * (-len(frame) % 7)


@needs_vectors
@pytest.mark.parametrize("name", ["CLTU_01", "NCTRS_CLTU_01"])
def test_a_cltu_with_another_tail(name: str) -> None:
    """R6: SpacePyLibrary's CLTU, bare and in its envelope, ends where its tail, which is not the book's, begins."""
    vectors = {v["name"]: v for v in of("data/vectors/tc_tm_spacepylibrary.json", "vectors")}
    wanted = vectors["CLTU_01"]
    octets = bytes.fromhex(vectors[name]["hex"])
    (read,) = cltu.find_cltus(array(octets))
    assert (read.blocks, read.data.hex(), read.tail) == (wanted["bch_blocks"], wanted["decoded_with_fill"], False)
    assert octets[read.end :].hex() == wanted["tail"]
    frames = tc_frame.read_frames(array(read.data), fecf=True)
    assert frames.octets_of(0).hex() == vectors["TC_FRAME_01"]["hex"]
    assert (len(frames.rows), read.data[frames.taken :]) == (1, b"UUU")


def test_the_randomiser() -> None:
    """The sequence is the one that the book prints, with a period of 255 bits."""
    assert tc_sequence(16).tobytes().hex() == "ff399e5a68e906f56c892fa1315e08c0"
    bits = np.unpackbits(tc_sequence(3 * 255))
    assert (bits[:255] == bits[255:510]).all()
    assert not any((bits[:255] == bits[step : 255 + step]).all() for step in range(1, 255))
    with pytest.raises(FormatError, match="-1 octets"):
        tc_sequence(-1)


@given(st.binary(min_size=1, max_size=1100), st.booleans(), st.sampled_from(MODES), st.data())
def test_round_trip(frames: bytes, randomised: bool, mode: BchMode, data: st.DataObject) -> None:
    """Whatever is encoded is decoded, and in *sec* mode also with one bit wrong in any block."""
    whole = bytearray(cltu.encode(frames, randomised))
    wrong = 0
    if mode == "sec":
        blocks = range((len(whole) - 10) // 8)
        for block in data.draw(st.sets(st.sampled_from(blocks))):
            bit = data.draw(st.integers(0, 62))
            whole[2 + 8 * block + bit // 8] ^= 0x80 >> bit % 8
            wrong += 1
    read = cltu.decode(bytes(whole), mode, randomised)
    assert read.data[: len(frames)] == frames
    assert (read.blocks, read.corrected_bits, read.tail) == (-(-len(frames) // 7), wrong, True)


@pytest.mark.parametrize("mode", MODES)
def test_the_tail_ends_it(mode: BchMode) -> None:
    """No data follow the tail sequence, not even with one bit of it wrong."""
    whole = cltu.encode(FRAME)
    for bit in range(64):
        damaged = whole[:-8] + flipped(cltu.TAIL, bit) + bch.encode(array(b"no data")[None]).tobytes()
        assert cltu.decode(damaged, mode).blocks == 2


def test_none_hides_another() -> None:
    """R6: CLTUs are found among idle octets and rubbish, behind one that was cut, and behind a start sequence alone."""
    frames = [bytes([k]) * (5 + 9 * k) for k in range(1, 40)]
    stream, wanted = bytearray(b"\x55" * 16), []
    for k, frame in enumerate(frames):
        whole = cltu.encode(frame)
        if k % 3 == 0:
            whole = whole[: 2 + 8 * (len(whole) // 16)]  # cut behind a block, the next one follows at once
        wanted.append((len(stream), frame if k % 3 else frame[: 7 * (len(whole) // 8)]))
        stream += whole + (b"\x55" * (k % 4) if k % 3 else b"") + (cltu.START if k % 5 == 0 else b"")
    found = list(cltu.find_cltus(array(bytes(stream))))
    assert [(one.start, one.data[: len(frame)]) for one, (_, frame) in zip(found, wanted, strict=True)] == wanted
    assert {at for at, _ in wanted} < set(cltu.start_sequences(array(bytes(stream))).tolist())


def test_what_is_none() -> None:
    """Errors say what was expected and found."""
    with pytest.raises(FormatError, match="no frame to send"):
        cltu.encode(b"")
    with pytest.raises(FormatError, match="expected the start sequence EB90, found EB"):
        cltu.decode(b"\xeb")
    with pytest.raises(FormatError, match="first code block, 0000000000000000, cannot be decoded"):
        cltu.decode(cltu.START + bytes(8))
    with pytest.raises(FormatError, match="first code block, , cannot"):
        cltu.decode(cltu.START)


def test_rubbish() -> None:
    """R6: nothing raises, and what is found in noise is as rare as parity allows."""
    rng = random.Random(4)
    seen = good = 0
    for _ in range(max(1, RUBBISH_UNITS // 20)):
        octets = array(b"".join(rng.choice([cltu.START, rng.randbytes(rng.randrange(12))]) for _ in range(200)))
        found = list(cltu.find_cltus(octets))
        seen += len(cltu.start_sequences(octets))
        good += len(found)
        assert all(one.start >= last.end for last, one in pairwise(found))
        list(cltu.find_cltus(octets, "sec", randomised=True))
    assert good < 0.03 * seen
    for size in range(12):
        assert not list(cltu.find_cltus(array((cltu.START * 6)[:size])))
