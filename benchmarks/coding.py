"""How fast code blocks are decoded, beside reedsolo (plain Python) and galois (compiled by numba)."""

from __future__ import annotations

from collections.abc import Callable

import galois
import numpy as np
import reedsolo

from benchmarks.codecs import CHUNK, best
from gateway_codecs.batches import U8Array
from gateway_codecs.galois_field import EXP
from gateway_codecs.reed_solomon import ReedSolomon

CODE = ReedSolomon(16, 5, "conventional")
"""Reedsolo and galois know the conventional basis only; ours takes as long in both."""
BLOCKS = CHUNK // CODE.codeblock_octets
ROOT = int(EXP[11])
FIRST_ROOT = 112
REEDSOLO_BLOCKS = 4
GALOIS_BLOCKS = 20


def blocks(errors: int) -> U8Array:
    """Return one link's batch of code blocks with so many wrong symbols in every code word."""
    random = np.random.default_rng(1)
    out = CODE.encode(random.integers(0, 256, (BLOCKS, CODE.frame_octets), np.uint8))
    for row in out:
        for word in range(CODE.interleave):
            places = random.choice(255, errors, replace=False)
            row[places * CODE.interleave + word] ^= random.integers(1, 256, errors, np.uint8)
    return out


def ours(batch: U8Array) -> Callable[[], object]:
    """Decode the batch."""
    return lambda: CODE.decode(batch)


def words(batch: U8Array, count: int) -> U8Array:
    """Return the code words of the first blocks, one per row."""
    return batch[:count].reshape(count, 255, CODE.interleave).transpose(0, 2, 1).reshape(-1, 255)


def with_reedsolo(batch: U8Array) -> Callable[[], object]:
    """Decode the code words of a few blocks one by one (the package's compiled form is not in its wheel)."""
    codec = reedsolo.RSCodec(32, nsize=255, fcr=FIRST_ROOT, prim=0x187, generator=ROOT)
    singles = [row.tobytes() for row in words(batch, REEDSOLO_BLOCKS)]
    return lambda: [codec.decode(single) for single in singles]


def with_galois(batch: U8Array) -> Callable[[], object]:
    """Decode the code words of some blocks in one call, when everything is compiled."""
    field = galois.GF(2**8, irreducible_poly=0x187, primitive_element=2, verify=False)
    codec = galois.ReedSolomon(255, 223, field=field, alpha=field(ROOT), c=FIRST_ROOT)
    chosen = field(words(batch, GALOIS_BLOCKS))
    codec.decode(chosen[:1])
    return lambda: codec.decode(chosen)


def measure() -> list[tuple[str, float, str]]:
    """Return rows (what, frames per second, note)."""
    rows = []
    for errors, name in ((0, "clean"), (8, "8 errors a code word")):
        batch = blocks(errors)
        rate = BLOCKS / best(ours(batch), 10)
        theirs = {
            "reedsolo": REEDSOLO_BLOCKS / best(with_reedsolo(batch), 2),
            "galois": GALOIS_BLOCKS / best(with_galois(batch), 2),
        }
        bits = CODE.codeblock_octets * 8 * rate
        note = f"frames/s, (255,223) I=5; {bits / 1e6:,.0f} Mbit/s" + "; floor 2,000" * (errors == 0)
        rows.append((f"Reed-Solomon, {name}", rate, note))
        for other, slower in theirs.items():
            rows.append((f"  {other}, {name}", slower, f"frames/s; ours is {rate / slower:,.0f} x that"))
    return rows
