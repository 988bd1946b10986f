"""A rough bit stream to test with: CADUs, and what a seeded channel does to their bits; what must be found in them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np

from gateway_codecs.batches import U8Array
from gateway_codecs.sync_markers import SyncMarker
from gateway_codecs.synchroniser import SyncBatch, Synchroniser, SyncSettings


def bits_of(octets: bytes) -> U8Array:
    """Octets as bits, uint8 (8 n,)."""
    return np.unpackbits(np.frombuffer(octets, np.uint8))


def cadus(bodies: list[bytes], marker: str = "1ACFFC1D") -> U8Array:
    """CADUs back to back as bits."""
    head = bits_of(SyncMarker(marker).octets.tobytes())[: SyncMarker(marker).bits]
    return np.concatenate([np.concatenate([head, bits_of(body)]) for body in bodies])


@dataclass
class RoughStream:
    """Bits on their way: `bits` as they are now, `origin` where each was sent (-1 = never), `polarity` 1 = inverted."""

    bits: U8Array
    origin: np.ndarray = field(init=False)
    flipped: np.ndarray = field(init=False)
    polarity: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.origin = np.arange(len(self.bits))
        self.flipped = np.zeros(len(self.bits), np.bool_)
        self.polarity = np.zeros(len(self.bits), np.uint8)

    def _columns(self) -> tuple[str, ...]:
        return ("bits", "origin", "flipped", "polarity")

    def insert(self, at: int, bits: U8Array) -> None:
        """Bits that were never sent."""
        n = len(bits)
        polarity = self.polarity[min(at, len(self.polarity) - 1)]
        values = {"bits": bits, "origin": np.full(n, -1), "flipped": np.zeros(n, np.bool_),
                  "polarity": np.full(n, polarity, np.uint8)}  # fmt: skip
        for name in self._columns():
            column = getattr(self, name)
            setattr(self, name, np.concatenate([column[:at], values[name], column[at:]]))

    def delete(self, at: int, count: int) -> None:
        """Bits that were sent and do not arrive."""
        for name in self._columns():
            column = getattr(self, name)
            setattr(self, name, np.concatenate([column[:at], column[at + count :]]))

    def invert(self, at: int) -> None:
        """From here on the polarity is the other one."""
        self.polarity[at:] ^= 1
        self.bits[at:] ^= 1

    def flip(self, which: np.ndarray) -> None:
        """Noise: these bits are wrong."""
        self.bits[which] ^= 1
        self.flipped[which] ^= True

    def octets(self) -> bytes:
        """What arrives; the last octet is filled with zeros."""
        return np.packbits(self.bits).tobytes()

    def intact(self, period: int, marker_bits: int, count: int) -> dict[int, int]:
        """The CADUs that are whole between two exact markers of one polarity: number -> bit where it arrives."""
        where = np.full(count * period + marker_bits, -1)
        real = self.origin >= 0
        where[self.origin[real]] = np.flatnonzero(real)
        found = {}
        for number in range(count - 1):
            first, size = int(where[number * period]), period + marker_bits
            part = slice(first, first + size)
            if first < 0 or first + size > len(self.bits):
                continue
            straight = (self.origin[part] == number * period + np.arange(size)).all()
            if straight and not self.flipped[part].any() and len(np.unique(self.polarity[part])) == 1:
                found[number] = first
        return found


def rough(rng: random.Random, sent: U8Array, period: int, noise: float, slips: int, inversions: int) -> RoughStream:
    """Send bits over a rough channel: slips of 1 to 3 or many bits, inversions, bursts, noise, garbage around."""
    stream = RoughStream(sent.copy())
    numpy_rng = np.random.default_rng(rng.randrange(1 << 32))
    for _ in range(slips):
        at, size = rng.randrange(len(stream.bits)), rng.choice([1, 1, 2, 2, 3, 5, rng.randrange(1, 2 * period)])
        if rng.random() < 0.5:
            stream.insert(at, numpy_rng.integers(0, 2, size).astype(np.uint8))
        else:
            stream.delete(at, size)
    for _ in range(inversions):
        stream.invert(rng.randrange(len(stream.bits)))
    which = numpy_rng.random(len(stream.bits)) < noise
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(stream.bits))
        which[at : at + rng.randrange(1, 3 * period)] |= numpy_rng.random(1)[0] < 0.5
    stream.flip(which)
    if rng.random() < 0.5:
        stream.insert(0, numpy_rng.integers(0, 2, rng.randrange(1, 3000)).astype(np.uint8))
    return stream


def synchronised(
    settings: SyncSettings, octets: bytes, cuts: list[int] | None = None, kind: type[Synchroniser] = Synchroniser
) -> SyncBatch:
    """All that comes out of a source that is fed in pieces and ends."""
    machine, batches, at = kind(settings), [], 0
    for cut in [*(cuts or []), len(octets)]:
        batches.append(machine.feed(octets[at:cut]))
        at = cut
    batches.append(machine.end())
    return joined(batches)


def joined(batches: list[SyncBatch]) -> SyncBatch:
    """Batches as one."""
    return SyncBatch(
        np.concatenate([b.bodies for b in batches]),
        np.concatenate([b.cadus for b in batches]),
        tuple(o for b in batches for o in b.outside),
        tuple(t for b in batches for t in b.transitions),
    )


def told(batch: SyncBatch) -> tuple[object, ...]:
    """A batch as values that can be compared."""
    return batch.bodies.tobytes(), batch.cadus.tobytes(), batch.outside, batch.transitions
