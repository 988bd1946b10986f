"""The randomisers' sequences against vectors made by others and against their recurrences, bit by bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gateway_codecs.declared import FormatError
from gateway_codecs.randomiser import RandomiserKind, derandomise, sequence

SHARED = Path(__file__).parents[3] / "shared"
needs_vectors = pytest.mark.skipif(not SHARED.exists(), reason="the shared vectors are not beside the checkout")


def register(seed: str, taps: tuple[int, ...], octets: int) -> bytes:
    """Return the sequence as a shift register makes it: one bit at a time, the first one the highest of its octet."""
    bits = [int(bit) for bit in seed]
    while len(bits) < octets * 8:
        bits.append(sum(bits[len(bits) - len(seed) + tap] for tap in taps) & 1)
    return bytes(int("".join(map(str, bits[at : at + 8])), 2) for at in range(0, octets * 8, 8))


@needs_vectors
def test_sequences_of_two_independent_sets() -> None:
    """Both sequences are those of the vectors, from their first octet on."""
    known = {v["id"]: v for v in json.loads((SHARED / "spec/vectors/randomizers.json").read_text())["vectors"]}
    other = json.loads((SHARED / "vectors/randomiser.json").read_text())["sequences"]["tm_255"]
    for kind, text in (
        ("short", known["tm_short_255"]["first_255_octets"]),
        ("short", other["first_255_bytes"]),
        ("long", known["tm_long_131071"]["first_64_octets"]),
    ):
        assert sequence(kind, len(text) // 2).tobytes().hex() == text


def test_sequences_are_the_shift_registers() -> None:
    """Declared == fast: the sequences follow their polynomials, also behind one period."""
    assert sequence("short", 1000).tobytes() == register("1" * 8, (0, 3, 5, 7), 1000)
    assert sequence("long", 20_000).tobytes() == register("11000111000111000"[::-1], (0, 14), 20_000)
    bits = np.unpackbits(sequence("long", 131_071 + 40))
    assert (bits[131_071 : 131_071 + 300] == bits[:300]).all()  # the period is odd: it ends inside an octet
    assert bits[:131_071].sum() == 1 << 16  # a sequence of the greatest length has one 1 more than zeros


@pytest.mark.parametrize("kind", ["short", "long"])
def test_twice_is_nothing(kind: RandomiserKind) -> None:
    """Derandomising what was randomised gives it back, and the input stays as it was, whatever its layout."""
    whole = np.random.default_rng(1).integers(0, 256, (7, 1279), np.uint8)
    for blocks in (whole, whole[::2], whole[:, :511], whole[:, ::-1], whole[:0], whole[:, :0]):
        kept = blocks.copy()
        blocks.flags.writeable = False
        noise = derandomise(blocks, kind)
        assert (noise == kept ^ sequence(kind, blocks.shape[1])).all()
        assert (derandomise(noise, kind) == kept).all()
        assert (blocks == kept).all()


def test_no_randomiser() -> None:
    """Without a randomiser the blocks are passed on as they are."""
    blocks = np.arange(20, dtype=np.uint8).reshape(2, 10)
    assert derandomise(blocks, "none") is blocks
    assert not sequence("none", 500).any()


def test_a_caller_cannot_spoil_the_sequence() -> None:
    """Two callers never share octets of a sequence."""
    sequence("short", 16)[:] = 0
    assert sequence("short", 2).tobytes() == b"\xff\x48"


@pytest.mark.parametrize("blocks", [np.zeros(255, np.uint8), np.zeros((2, 255), np.uint16)])
def test_wrong_shapes_are_refused(blocks: np.ndarray) -> None:
    """What is no batch of code blocks is refused with what was found."""
    with pytest.raises(FormatError, match="uint8"):
        derandomise(blocks, "short")
    with pytest.raises(FormatError, match="-1 octets"):
        sequence("short", -1)
