"""What a probe says: findings with the numbers behind them, what stays undecided and why, a layout to read it with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gateway_codecs.frames import FrameFormat, VcFormat
from gateway_codecs.randomiser import RandomiserKind

Kind = Literal["frames", "cadus", "packets", "cltus", "tc_frames", "container", "nothing"]
"""What was recognised; of CLTUs and TC frames, which go up, no configuration is made."""
Storage = Literal["octets", "bits", "hex", "kiss"]
"""Octets as they are; one bit in each octet; text of hexadecimal digits; KISS frames."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One item that was decided: `agreed` of `tested` things that were looked at say so; `how` tells what they are."""

    item: str
    value: str
    agreed: int
    tested: int
    how: str

    @property
    def score(self) -> float:
        """The share that agreed, 0 to 1."""
        return self.agreed / self.tested if self.tested else 0.0


@dataclass(frozen=True, slots=True)
class Undecided:
    """One item that these octets do not decide, and why."""

    item: str
    why: str


@dataclass(frozen=True, slots=True)
class ReedSolomonCode:
    """The Reed-Solomon code of code blocks, as `reed_solomon.ReedSolomon` takes it."""

    e: Literal[8, 16]
    interleave: int
    basis: Literal["dual", "conventional"]
    virtual_fill_octets: int


@dataclass(frozen=True, slots=True)
class Coding:
    """The physical channel. `marker` empty = code blocks back to back; `reed_solomon` None = not coded."""

    marker: bytes
    randomiser: RandomiserKind
    reed_solomon: ReedSolomonCode | None


@dataclass(frozen=True, slots=True)
class Layout:
    """How to read the recording: the plain values that a configuration is made of.

    `skip_bits` stand before the first unit and `inverted` says that every bit is; both only where no marker
    tells. `scids` are the spacecraft ids of good frames, the usual one first.
    """

    frames: FrameFormat | None = None
    scids: tuple[int, ...] = ()
    packets: VcFormat | None = None
    packet_prefix_octets: int = 0
    coding: Coding | None = None
    storage: Storage = "octets"
    skip_bits: int = 0
    inverted: bool = False
    octet_aligned: bool = True

    @property
    def playable_as_it_is(self) -> bool:
        """Whether a link reads the file itself; else only what `Rewriter` makes of it."""
        bits = self.storage == "bits" and self.coding is not None  # links of CADUs take them
        return (bits or self.storage in {"octets", "kiss"}) and not self.skip_bits and not self.inverted


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in `octets_looked_at` octets. `tried` says what was looked for in vain."""

    kind: Kind
    octets_looked_at: int
    findings: tuple[Finding, ...] = ()
    undecided: tuple[Undecided, ...] = ()
    layout: Layout | None = None
    tried: tuple[str, ...] = ()
    about: str = ""


@dataclass(slots=True)
class Notes:
    """Collects findings and what stays undecided."""

    findings: list[Finding] = field(default_factory=list)
    undecided: list[Undecided] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)

    def found(self, item: str, value: object, agreed: int, tested: int, how: str) -> None:
        """Note what was decided."""
        self.findings.append(Finding(item, str(value), int(agreed), int(tested), how))

    def open(self, item: str, why: str) -> None:
        """Note what stays undecided."""
        self.undecided.append(Undecided(item, why))

    def take(self, other: Notes) -> None:
        """Take over another's notes."""
        self.findings += other.findings
        self.undecided += other.undecided
        self.tried += other.tried
