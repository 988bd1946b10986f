"""Which Reed-Solomon code and which randomiser code blocks have (CCSDS 131.0-B-5, clauses 4 and 10).

A code is shown by code words without error, or corrected; a randomiser is not: the short sequence is itself a code
block of the codes with interleave 1, 2, 4 and 8, so blocks stay code words whether it is taken off or not. Where more
than one randomiser leaves code words, frame headers decide. The words of e = 16 are words of e = 8 as well, so the
stronger code is asked first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gateway_codecs.batches import BoolArray, U8Array
from gateway_codecs.probe.checksums import different_rows
from gateway_codecs.probe.headers import HEADER_OCTETS, READ_OCTETS, Headers, read_headers
from gateway_codecs.randomiser import RandomiserKind, derandomise
from gateway_codecs.reed_solomon import MAX_INTERLEAVE, WORD_OCTETS, Basis, ReedSolomon

BLOCKS = 24
"""So many blocks are tried with each code."""
LEAST_WORDS = 4
LEAST_SHARE = 0.25
LONGEST_TAIL_OCTETS = 8
STRENGTHS: tuple[Literal[16, 8], ...] = (16, 8)
BASES: tuple[Basis, ...] = ("dual", "conventional")
RANDOMISERS: tuple[RandomiserKind, ...] = ("none", "short", "long")


@dataclass(frozen=True, slots=True, eq=False)
class Code:
    """A code that blocks have, followed by `tail_octets` that do not belong to it; `randomisers` leave code words."""

    code: ReedSolomon
    tail_octets: int
    randomisers: tuple[RandomiserKind, ...]
    good: int
    tested: int
    corrected: bool  # words have errors; else they were counted without correction


def find_code(blocks: U8Array) -> Code | None:
    """Return the code of blocks uint8 (n, L), None when they have none of them.

    Words of one value all over (zeros, FF) are words of every code, and the randomiser's sequence is one of many:
    they are not counted, nor are equal blocks twice.
    """
    different = different_rows(blocks)
    sample = different[np.linspace(0, len(different) - 1, min(BLOCKS, len(different))).astype(np.int64)]
    if not len(sample):
        return None
    for e in STRENGTHS:
        for tail in range(LONGEST_TAIL_OCTETS + 1):
            found = _best(sample, e, tail, correct=False)
            if found is not None:
                return found
    for e in STRENGTHS:
        found = _best(sample, e, 0, correct=True)
        if found is not None:
            return found
    return None


def _best(sample: U8Array, e: Literal[8, 16], tail: int, correct: bool) -> Code | None:
    length = sample.shape[1] - tail
    blocks = np.ascontiguousarray(sample[:, :length])
    found: list[Code] = []
    for code in _codes(length, e):
        counted = {kind: _words(derandomise(blocks, kind), code, correct) for kind in RANDOMISERS}
        good = {kind: row for kind, row in counted.items() if _enough(*row, len(sample), correct)}
        if good:
            best = max(good.values())
            kinds = tuple(kind for kind, row in good.items() if row[0] * 2 >= best[0])
            found.append(Code(code, tail, kinds, *best, correct))
    return max(found, key=lambda row: (row.good, -row.code.interleave), default=None)


def _codes(length: int, e: Literal[8, 16]) -> Iterator[ReedSolomon]:
    for interleave in range(1, MAX_INTERLEAVE + 1):
        word, rest = divmod(length, interleave)
        if not rest and 2 * e < word <= WORD_OCTETS:
            for basis in BASES:
                yield ReedSolomon(e, interleave, basis, WORD_OCTETS - word)


def _words(blocks: U8Array, code: ReedSolomon, correct: bool) -> tuple[int, int]:
    """Return (good words, words), those left out that are of one value, or would be with some randomiser."""
    if correct:
        decoded = code.decode(blocks)
        blocks, good = decoded.frames, decoded.corrected >= 0
    else:
        good = code.are_words(blocks)
    told: BoolArray = np.ones(good.shape, np.bool_)
    for kind in RANDOMISERS:
        words = derandomise(blocks, kind).reshape(len(blocks), -1, code.interleave)
        told &= np.any(words != words[:, :1], axis=1)
    return int((good & told).sum()), int(told.sum())


def _enough(good: int, words: int, blocks: int, correct: bool) -> bool:
    # a word without error shows 2 e octets that chance would have to make zero, a corrected one much less
    few = not correct and blocks < LEAST_WORDS and 0 < good == words
    return few or (good >= LEAST_WORDS and good >= LEAST_SHARE * words)


@dataclass(frozen=True, slots=True, eq=False)
class Derandomised:
    """Frames uint8 (n, L) without randomiser, parity and tail; `headers` None when none of them reads as frames.

    `good` bool (n,): no uncorrectable code word. `left`: other randomisers that nothing rules out.
    """

    frames: U8Array
    good: BoolArray
    randomiser: RandomiserKind
    headers: Headers | None
    left: tuple[RandomiserKind, ...]


def derandomised(blocks: U8Array, code: Code | None) -> Derandomised:
    """Return the frames of blocks uint8 (n, L), n > 0, with the randomiser that headers choose."""
    kinds = RANDOMISERS if code is None else code.randomisers
    tried = [_frames(blocks, code, kind) for kind in kinds]
    sure = [row for row in tried if row.headers is not None]
    best = max(sure or tried, key=lambda row: 0.0 if row.headers is None else row.headers.bits)
    left = () if sure or len(tried) == 1 else tuple(row.randomiser for row in tried if row is not best)
    return Derandomised(best.frames, best.good, best.randomiser, best.headers, left)


def _frames(blocks: U8Array, code: Code | None, kind: RandomiserKind) -> Derandomised:
    plain = derandomise(blocks, kind)
    good: BoolArray = np.ones(len(blocks), np.bool_)
    if code is not None:
        decoded = code.code.decode(np.ascontiguousarray(plain[:, : code.code.codeblock_octets]))
        plain, good = decoded.frames, np.all(decoded.corrected >= 0, axis=1)
    rows = plain[good] if good.any() else plain
    headers = read_headers(rows[:, :READ_OCTETS], rows.shape[1]) if rows.shape[1] >= HEADER_OCTETS else None
    return Derandomised(plain, good, kind, headers if headers is not None and headers.sure else None, ())
