"""Whether rows of octets begin with transfer frame headers: one spacecraft id, counts that go up.

TM: CCSDS 132.0-B-3 4.1.2; AOS: CCSDS 732.0-B-4 4.1.2. What random octets would show is weighed against what a
link shows: each frame and each step of a count adds or takes the binary logarithm of that ratio ("bits"). Noise
reaches n bits once in 2**n trials, so a limit on them holds however many places are tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gateway_codecs.batches import BoolArray, I64Array, U8Array

HEADER_OCTETS = 6
NEAR = 16
"""A count that goes up by no more than this lost a few frames."""
LEAST_FRAMES = 4
LEAST_COUNT_BITS = 40.0
LEAST_SHARE = 0.5
"""Of the rows must carry the usual spacecraft id, and of the steps go up."""
LEAST_ALIKE = 0.8
"""Of the frames must have the usual flags: other records that count have data there."""
IDENTITY_BITS = {"tm": 12, "aos": 10, "uslp": 36}  # of USLP frames with the length field
JUMP = 0.05
"""Of the steps of a real count, at most about this share goes anywhere."""

READ_OCTETS = 14
"""The longest header: of a USLP frame with a count of seven octets."""
Version = Literal["tm", "aos", "uslp"]


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """How a count moved from frame to frame of its channel: by one, by a few, not at all, in all."""

    next: int
    near: int
    repeated: int
    total: int
    bits: float

    @property
    def rising(self) -> float:
        """The share that goes up, small losses at a discount, 0 to 1."""
        return (self.next + 0.7 * self.near) / self.total if self.total else 0.0


NO_STEPS = Steps(0, 0, 0, 0, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Headers:
    """Headers that n rows seem to begin with: `own` bool (n,), which carry the version and the usual spacecraft id."""

    version: Version
    scid: int
    own: BoolArray
    vc_steps: Steps
    mc_steps: Steps | None  # TM alone
    alike: float  # share of its own rows whose flags (TM: octet 4; AOS: octet 5) are as usual

    @property
    def share(self) -> float:
        """The share of rows with the usual spacecraft id."""
        return float(self.own.mean()) if len(self.own) else 0.0

    @property
    def steps(self) -> Steps:
        """The count that says more."""
        both = [self.vc_steps] if self.mc_steps is None else [self.vc_steps, self.mc_steps]
        return max(both, key=lambda steps: (steps.bits, steps.rising))

    @property
    def bits(self) -> float:
        """What speaks for headers against chance."""
        alike, others = int(self.own.sum()), int((~self.own).sum())
        identity = (alike - 1) * (IDENTITY_BITS[self.version] - 0.2) - 3.3 * others
        return identity + self.count_bits

    @property
    def count_bits(self) -> float:
        """What of it the counts say."""
        counts = [steps.bits for steps in (self.vc_steps, self.mc_steps) if steps is not None]
        return sum(bits for bits in counts if bits > 0)

    @property
    def score(self) -> float:
        """How well everything fits, 0 to 1."""
        return self.share * self.steps.rising

    @property
    def sure(self) -> bool:
        """Whether chance cannot have made this."""
        own, steps = int(self.own.sum()), self.steps
        enough = own >= (LEAST_FRAMES if own == len(self.own) else 2 * LEAST_FRAMES)
        fits = self.share >= LEAST_SHARE and steps.rising >= LEAST_SHARE and self.alike >= LEAST_ALIKE
        if self.version == "uslp":  # the length field is worth more than a count, which need not be there
            return enough and self.share >= LEAST_SHARE and self.alike >= LEAST_ALIKE
        return enough and fits and self.count_bits >= LEAST_COUNT_BITS


def read_headers(heads: U8Array, unit_octets: int = 0) -> Headers:
    """Return the better reading of rows, uint8 (n, at least 6), n > 0, as TM or as AOS headers.

    With rows of at least 14 octets and the length of the units that they begin, as USLP headers too.
    """
    if unit_octets and heads.shape[1] >= READ_OCTETS and (uslp := as_uslp(heads, unit_octets)).sure:
        return uslp
    return max((as_tm(heads), as_aos(heads)), key=lambda headers: headers.bits)


def as_tm(heads: U8Array) -> Headers:
    """Read rows, uint8 (n, at least 6), as TM headers."""
    first = _word(heads)
    own, scid = _usual(first >> 4, first >> 14 == 0)
    mine = heads[own].astype(np.int64)
    channel = first[own] >> 1 & 7
    vc_steps, mc_steps = steps_by(channel, mine[:, 3], 256), steps_by(channel * 0, mine[:, 2], 256)
    return Headers("tm", scid, own, vc_steps, mc_steps, _alike(channel, mine[:, 4] >> 3))


def as_aos(heads: U8Array) -> Headers:
    """Read rows, uint8 (n, at least 6), as AOS headers."""
    first = _word(heads)
    own, scid = _usual(first >> 6, first >> 14 == 1)
    mine = heads[own].astype(np.int64)
    count = mine[:, 2] << 16 | mine[:, 3] << 8 | mine[:, 4]
    channel = first[own] & 63
    steps = steps_by(channel, count, 1 << 24)
    return Headers("aos", scid & 0xFF, own, steps, None, _alike(channel, mine[:, 5] & 0x3F))


def as_uslp(heads: U8Array, unit_octets: int) -> Headers:
    """Read rows, uint8 (n, at least 14), as headers of USLP frames of so many octets (CCSDS 732.1-B-2 4.1.2)."""
    octets = heads.astype(np.int64)
    identity = octets[:, 0] << 12 | octets[:, 1] << 4 | octets[:, 2] >> 4
    own, scid = _usual(identity, octets[:, 0] >> 4 == 12)
    octets = octets[own]
    right = (octets[:, 4] << 8 | octets[:, 5]) + 1 == unit_octets
    width = octets[:, 6] & 7
    channel = (octets[:, 2] << 8 | octets[:, 3]) >> 5 & 63
    usual = int(np.bincount(width, minlength=8).argmax()) if len(width) else 0
    counted = width == usual
    steps = steps_by(channel[counted], _first_octets(octets[counted], usual), 1 << 8 * usual) if usual else NO_STEPS
    return Headers("uslp", scid & 0xFFFF, own, steps, None, float(right.mean()) if len(right) else 0.0)


def _first_octets(heads: I64Array, width: int) -> I64Array:
    count = np.zeros(len(heads), np.int64)
    for k in range(width):
        count = count << 8 | heads[:, 7 + k]
    return count


def _alike(channel: I64Array, flags: I64Array) -> float:
    """Return the share of rows that have the flags, int64 (n,), that are usual in their channel, 0 without rows."""
    if not len(flags):
        return 0.0
    values, counts = np.unique(channel << 8 | flags, return_counts=True)
    usual = np.zeros(64, np.int64)
    np.maximum.at(usual, values >> 8, counts)
    return float(usual.sum() / len(flags))


def _word(heads: U8Array) -> I64Array:
    word: I64Array = heads[:, 0].astype(np.int64) << 8 | heads[:, 1]
    return word


def _usual(identity: I64Array, right_version: BoolArray) -> tuple[BoolArray, int]:
    values, counts = np.unique(identity[right_version], return_counts=True)
    if not len(values):
        return right_version, 0
    usual = int(values[counts.argmax()])
    return right_version & (identity == usual), usual


def steps_by(channel: I64Array, count: I64Array, modulus: int) -> Steps:
    """Return how counts, int64 (n,), moved within each channel, int64 (n,)."""
    order = np.argsort(channel, kind="stable")
    same = channel[order][1:] == channel[order][:-1]
    forward = (np.diff(count[order]) % modulus)[same]
    total = len(forward)
    nexts, near = int((forward == 1).sum()), int(((forward > 1) & (forward <= NEAR)).sum())
    repeated = int((forward == 0).sum())
    far = total - nexts - near - repeated
    # a step by one is worth what noise would need for it; one that stands still says nothing
    bits = (
        nexts * np.log2(0.7 * modulus) + near * np.log2(0.15 / (NEAR - 1) * modulus) + far * np.log2(JUMP)
    )  # fmt: skip
    return Steps(nexts, near, repeated, total, float(bits))
