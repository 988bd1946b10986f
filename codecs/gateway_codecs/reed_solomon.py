"""Reed-Solomon codes (255,223) and (255,239) of telemetry (CCSDS 131.0-B-5, clause 4), in batches of code blocks.

Octet i of a frame belongs to code word i mod I, and the parity is interleaved the same way behind the
frame (4.4.1). Symbols are in Berlekamp's dual basis by the book (4.4.2, annex F) or in the conventional
one. A shortened code has zero symbols in front of each code word that are never sent (4.3.6).

The tables have the basis inside, so a batch without errors costs one sum of table rows per code word (its
syndromes) and nothing else. Code words with errors are taken out and decoded together: Berlekamp-Massey
without inversions, all positions tried at once (Chien), error values by Forney's formula. Every corrected
word's syndromes are computed anew, so that what is called corrected is a code word.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import BoolArray, U8Array
from gateway_codecs.declared import FormatError
from gateway_codecs.galois_field import LOG, as_rows, multiply, row_sums, times_power

Basis = Literal["dual", "conventional"]
Places = NDArray[np.intp]
WORD_OCTETS = 255
MAX_INTERLEAVE = 8
UNCORRECTABLE = -1
BAD_WORDS_AT_A_TIME = 1024
"""Code words with errors that are decoded together: their working arrays stay in the cache."""

_ROOT_STEP = 11
"""The roots of the generator are powers of alpha^11."""
_TO_DUAL = (0x8D, 0xEF, 0xEC, 0x86, 0xFA, 0x99, 0xAF, 0x7B)
_TO_CONVENTIONAL = (0xC5, 0x42, 0x2E, 0xFD, 0xF0, 0x79, 0xAC, 0xCC)
"""The images of the single bits, the highest first (annex F)."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """Decoded code blocks: `frames` uint8 (n, frame_octets) without the parity; `corrected` int16 (n, interleave),
    the symbols corrected in each code word (parity included), -1 = uncorrectable: its octets are as received."""

    frames: U8Array
    corrected: NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class ReedSolomon:
    """One code: up to `e` wrong symbols per code word are corrected. `virtual_fill_octets` are per code word.

    Raises FormatError when a value is none of the code's. Interleaving by 6 and 7 is not in the book, but met.
    The first code of a strength and basis makes the decoder's tables (tens of milliseconds, 3 MB), so that the first
    code blocks of a link take no longer than others.
    """

    e: Literal[16, 8] = 16
    interleave: int = 1
    basis: Basis = "dual"
    virtual_fill_octets: int = 0

    def __post_init__(self) -> None:
        if self.e not in (16, 8):
            raise FormatError(f"Reed-Solomon: e is 16 or 8, not {self.e}")
        if not 1 <= self.interleave <= MAX_INTERLEAVE:
            raise FormatError(f"Reed-Solomon: interleave is 1 to {MAX_INTERLEAVE}, not {self.interleave}")
        if self.basis not in ("dual", "conventional"):
            raise FormatError(f"Reed-Solomon: basis is dual or conventional, not {self.basis}")
        if not 0 <= self.virtual_fill_octets < WORD_OCTETS - 2 * self.e:
            most = WORD_OCTETS - 2 * self.e - 1
            raise FormatError(f"Reed-Solomon: virtual fill is 0 to {most} octets, not {self.virtual_fill_octets}")
        self._syndrome_table()
        _value_table()

    @property
    def frame_octets(self) -> int:
        """Octets of the frame in a code block."""
        return self.interleave * (WORD_OCTETS - 2 * self.e - self.virtual_fill_octets)

    @property
    def codeblock_octets(self) -> int:
        """Octets of a code block as sent: frame and parity."""
        return self.frame_octets + self.interleave * 2 * self.e

    def encode(self, frames: U8Array) -> U8Array:
        """Return the code blocks, uint8 (n, codeblock_octets), of frames uint8 (n, frame_octets).

        Raises FormatError for another shape or type.
        """
        _check(frames, self.frame_octets, "frames")
        table = _parity_table(self.e, self.basis)[self.virtual_fill_octets :]
        parity = row_sums(table, self._words(frames))
        parity = parity.reshape(len(frames), self.interleave, 2 * self.e).transpose(0, 2, 1)
        return np.concatenate([frames, parity.reshape(len(frames), self.interleave * 2 * self.e)], axis=1)

    def decode(self, blocks: U8Array) -> Decoded:
        """Return the frames of code blocks uint8 (n, codeblock_octets), corrected where that is possible.

        More than `e` wrong symbols in a code word are told as uncorrectable, and so is a word that could only be
        corrected inside the virtual fill. (As with every such code, a word so wrong that it lies within
        `e` symbols of another code word is taken for that one: about 1 in `e` factorial of wholly random words.)
        The input is not changed. Raises FormatError for another shape or type.
        """
        _check(blocks, self.codeblock_octets, "code blocks")
        frames = blocks[:, : self.frame_octets].copy()
        corrected = np.zeros((len(blocks), self.interleave), np.int16)
        words = self._words(blocks)
        syndromes = row_sums(self._syndrome_table(), words)
        bad = np.flatnonzero(_not_zero(syndromes))
        for at in range(0, len(bad), BAD_WORDS_AT_A_TIME):
            chosen = bad[at : at + BAD_WORDS_AT_A_TIME]
            self._correct(words, syndromes[chosen], chosen, frames, corrected)
        return Decoded(frames, corrected)

    def are_words(self, blocks: U8Array) -> BoolArray:
        """Return which code words of blocks uint8 (n, codeblock_octets) have no error, bool (n, interleave).

        Raises FormatError for another shape or type.
        """
        _check(blocks, self.codeblock_octets, "code blocks")
        syndromes = row_sums(self._syndrome_table(), self._words(blocks))
        return ~_not_zero(syndromes).reshape(len(blocks), self.interleave)

    def _words(self, blocks: U8Array) -> U8Array:
        """Return the interleaved code words as columns, (octets of a word, n * interleave)."""
        rows = blocks.reshape(len(blocks), blocks.shape[1] // self.interleave, self.interleave)
        return rows.transpose(1, 0, 2).reshape(rows.shape[1], len(blocks) * self.interleave)

    def _syndrome_table(self) -> NDArray[np.uint64]:
        return _syndrome_table(self.e, self.basis)[self.virtual_fill_octets :]

    def _correct(
        self,
        words: U8Array,
        syndromes: U8Array,
        chosen: Places,
        frames: U8Array,
        corrected: NDArray[np.int16],
    ) -> None:
        """Correct the chosen columns of `words`: write into `frames` and `corrected`."""
        row, place, value, count = _errors(syndromes, self.e, self.virtual_fill_octets)
        if self.basis == "dual":
            value = _basis_table(_TO_DUAL)[value]
        fixed = words[:, chosen]
        fixed[place, row] ^= value
        still_bad = _not_zero(row_sums(self._syndrome_table(), fixed))
        count[still_bad] = UNCORRECTABLE
        corrected.reshape(-1)[chosen] = count
        in_frame = (place < len(words) - 2 * self.e) & ~still_bad[row]
        row, place, value = row[in_frame], place[in_frame], value[in_frame]
        block, word = np.divmod(chosen[row], self.interleave)
        frames[block, place * self.interleave + word] ^= value


def _check(rows: U8Array, octets: int, what: str) -> None:
    if rows.ndim != 2 or rows.shape[1] != octets or rows.dtype != np.uint8:
        raise FormatError(f"Reed-Solomon: {what} are uint8 (n, {octets}), not {rows.dtype} {rows.shape}")


def _not_zero(syndromes: U8Array) -> BoolArray:
    found: BoolArray = (syndromes.view(np.uint64) != 0).any(axis=1)
    return found


def _errors(syndromes: U8Array, e: int, fill: int) -> tuple[Places, Places, U8Array, NDArray[np.int16]]:
    """Find the errors of words with syndromes (n, 2e), none of which is zero.

    Returns for each error its word (row), its place among the octets sent and its value (conventional basis);
    and for each word how many it has, int16 (n,), -1 = no pattern of up to e errors fits.
    """
    by_power = np.ascontiguousarray(syndromes.T)
    locator, length = _locators(by_power, e)
    degree = e - np.argmax(locator[::-1] != 0, axis=0)
    most = int(length.max(initial=0, where=length <= e))
    omega = _evaluator(by_power, locator, most)
    even = row_sums(_value_table()[: e + 1 : 2], locator[::2])
    odd = row_sums(_value_table()[1:e:2], locator[1::2])
    root = (even == odd)[:, fill:WORD_OCTETS]
    # A root inside the virtual fill is not counted here, so that such a word has too few.
    good = (length <= e) & (degree == length) & (root.sum(axis=1) == length)
    row, place = np.nonzero(root & good[:, None])
    at = place + fill
    value = _forney(row_sums(_value_table()[:most], omega)[row, at], odd[row, at], at, e)
    count = np.where(good, length, UNCORRECTABLE).astype(np.int16)
    return row, place, value, count


def _locators(syndromes: U8Array, e: int) -> tuple[U8Array, Places]:
    """Return the error locators of syndromes (2e, n), coefficients (e + 1, n), and their lengths (n,).

    Berlekamp-Massey without inversions. A length above e says that there are more errors than the code
    corrects; only then coefficients beyond e would have been needed.
    """
    count = syndromes.shape[1]
    locator = np.zeros((e + 1, count), np.uint8)
    locator[0] = 1
    before = locator.copy()  # the locator before the length last changed, times a power of x
    scale = np.ones(count, np.uint8)  # the discrepancy then
    length = np.zeros(count, np.intp)
    for step in range(2 * e):
        top = min(step, e)
        recent = syndromes[step - top : step + 1][::-1]
        discrepancy = np.bitwise_xor.reduce(multiply(locator[: top + 1], recent), axis=0)
        before[1:] = before[:-1]
        before[0] = 0
        if not discrepancy.any():
            continue
        top = min(step + 1, e)
        changed = multiply(scale, locator[: top + 1]) ^ multiply(discrepancy, before[: top + 1])
        grows = (discrepancy != 0) & (2 * length <= step)
        np.copyto(before, locator, where=grows)
        np.copyto(scale, discrepancy, where=grows)
        np.copyto(length, step + 1 - length, where=grows)
        locator[: top + 1] = changed
    return locator, length


def _evaluator(syndromes: U8Array, locator: U8Array, most: int) -> U8Array:
    """Return the first `most` coefficients (most, n) of syndromes times locator."""
    omega = np.zeros((most, syndromes.shape[1]), np.uint8)
    for power in range(most):
        products = multiply(locator[: power + 1], syndromes[power::-1])
        np.bitwise_xor.reduce(products, axis=0, out=omega[power])
    return omega


def _forney(omega: U8Array, odd: U8Array, at: Places, e: int) -> U8Array:
    """Return the values of errors at octet `at` of their words, from the values of omega and of the locator's odd part.

    The odd part is x times the derivative. A zero omega (no error there) gives zero, and the check of the syndromes
    refuses the word.
    """
    first_root = _ROOT_STEP * (128 - e)
    return times_power(omega, -LOG[odd] - first_root * (WORD_OCTETS - 1 - at))


@cache
def _basis_table(images: tuple[int, ...]) -> U8Array:
    """Return the linear map of octets that takes bit 7 to the first image, bit 6 to the second, ..., uint8 (256,)."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    table: U8Array = np.bitwise_xor.reduce(bits * np.array(images, np.uint8), axis=1)
    return table


def _symbols(basis: Basis) -> U8Array:
    """Return the symbol, in the conventional basis, that each octet on the channel stands for, uint8 (256,)."""
    return _basis_table(_TO_CONVENTIONAL) if basis == "dual" else np.arange(256, dtype=np.uint8)


@cache
def _syndrome_table(e: int, basis: Basis) -> NDArray[np.uint64]:
    """Return what each octet at each place of a code word adds to the 2e syndromes; rows for `row_sums`."""
    degree = np.arange(WORD_OCTETS)[::-1, None, None]
    root = _ROOT_STEP * np.arange(128 - e, 128 + e)
    return as_rows(times_power(_symbols(basis)[None, :, None], degree * root))


@cache
def _parity_table(e: int, basis: Basis) -> NDArray[np.uint64]:
    """Return what each octet at each place of the data adds to the parity, in the basis of the channel."""
    generator = np.ones(1, np.uint8)  # the highest power first
    for root in range(128 - e, 128 + e):
        times_root = times_power(generator, np.array(_ROOT_STEP * root))
        generator = np.append(generator, np.uint8(0)) ^ np.insert(times_root, 0, 0)
    remainders = np.zeros((WORD_OCTETS - 2 * e, 2 * e), np.uint8)  # of x^degree, the last place first
    remainder = generator[1:]
    for row in remainders:
        row[:] = remainder
        remainder = np.append(remainder[1:], np.uint8(0)) ^ multiply(remainder[:1], generator[1:])
    table = multiply(_symbols(basis)[None, :, None], remainders[::-1, None, :])
    return as_rows(_basis_table(_TO_DUAL)[table] if basis == "dual" else table)


@cache
def _value_table() -> NDArray[np.uint64]:
    """Return the values of coefficient * x^power at the inverse locators of all places (one more for alignment)."""
    power = np.arange(17)[:, None, None]
    degree = np.append(np.arange(WORD_OCTETS)[::-1], 0)
    return as_rows(times_power(np.arange(256, dtype=np.uint8)[None, :, None], -power * _ROOT_STEP * degree))
