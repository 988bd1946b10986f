"""How fast markers are found and code blocks decoded, beside plain ways, reedsolo (Python) and galois (numba)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import galois
import numpy as np
import reedsolo

from benchmarks.codecs import CHUNK, FRAMES, best, frame_format, intake, recording
from gateway_codecs.batches import U8Array
from gateway_codecs.cadus import CaduFormat
from gateway_codecs.galois_field import EXP
from gateway_codecs.intake import LinkFormat
from gateway_codecs.packet_stream import make_intake
from gateway_codecs.randomiser import derandomise
from gateway_codecs.reed_solomon import ReedSolomon
from gateway_codecs.sync_markers import SyncMarker
from gateway_codecs.synchroniser import Synchroniser, SyncSettings

CODE = ReedSolomon(16, 5, "conventional")
"""Reedsolo and galois know the conventional basis only; ours takes as long in both."""
BLOCKS = CHUNK // CODE.codeblock_octets
ROOT = int(EXP[11])
FIRST_ROOT = 112
LINK_CODE = ReedSolomon(16, 5, "dual")
MARKER = SyncMarker().octets
NOISE_OCTETS = 1 << 22
CORRELATE_OCTETS = 1 << 19
REEDSOLO_BLOCKS = 4
GALOIS_BLOCKS = 20


def blocks(errors: int) -> U8Array:
    """Return one link's batch of code blocks with so many wrong symbols in every code word."""
    random = np.random.default_rng(1)
    return spoil(CODE.encode(random.integers(0, 256, (BLOCKS, CODE.frame_octets), np.uint8)), errors)


def spoil(sent: U8Array, errors: int) -> U8Array:
    """Return code blocks, I = 5, with so many wrong symbols in every code word."""
    random = np.random.default_rng(4)
    out = sent.copy()
    for row in out:
        for word in range(5):
            places = random.choice(255, errors, replace=False)
            row[places * 5 + word] ^= random.integers(1, 256, errors, np.uint8)
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


def synchronise(data: bytes, settings: SyncSettings) -> int:
    """Feed a link's reads; returns the CADUs found."""
    made = Synchroniser(settings)
    return sum(len(made.feed(data[at : at + CHUNK]).cadus) for at in range(0, len(data), CHUNK)) + len(made.end().cadus)


def shifted(octets: U8Array, bits: int) -> U8Array:
    """Return the octets that begin so many bits later."""
    return (octets[:-1] << bits) | (octets[1:] >> (8 - bits)) if bits else octets


def find_bytes(data: bytes) -> int:
    """Look for the marker, without errors and not inverted, with bytes.count in the eight shifts of the data."""
    octets = np.frombuffer(data, np.uint8)
    return sum(shifted(octets, bits).tobytes().count(MARKER.tobytes()) for bits in range(8))


def correlate(data: bytes) -> int:
    """Look for the marker with up to 2 wrong bits, and for its inverse, by a correlation over all bits."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8)).astype(np.float32) * 2 - 1
    marker = np.unpackbits(MARKER).astype(np.float32) * 2 - 1
    return int((np.abs(np.correlate(bits, marker, "valid")) >= 32 - 2 * 2).sum())


def measure_sync() -> list[tuple[str, float, str]]:
    """Return rows (what, Mbit per second, note)."""
    noise = np.random.default_rng(2).bytes(NOISE_OCTETS)
    block_octets = CODE.codeblock_octets
    body = np.random.default_rng(3).integers(0, 256, (NOISE_OCTETS // (block_octets + 4), block_octets), np.uint8)
    stream = shifted(np.concatenate([np.tile(MARKER, (len(body), 1)), body], axis=1).ravel(), 3).tobytes()

    def rate(octets: int, work: Callable[[], object]) -> float:
        return octets * 8 / 1e6 / best(work)

    plain = rate(NOISE_OCTETS, lambda: find_bytes(noise))
    summed = rate(CORRELATE_OCTETS, lambda: correlate(noise[:CORRELATE_OCTETS]))
    rows = []
    for name, data, settings in (
        ("search", noise, SyncSettings(block_octets)),
        ("search, 2 errors", noise, SyncSettings(block_octets, search_errors=2)),
        ("search, octets", noise, SyncSettings(block_octets, alignment="octet")),
        ("lock", stream, SyncSettings(block_octets)),
    ):
        found = rate(len(data), lambda data=data, settings=settings: synchronise(data, settings))  # type: ignore[misc]
        note = f"Mbit/s; {found / plain:.2f} x bytes.count, {found / summed:.1f} x np.correlate"
        rows.append((f"synchroniser, {name}", found, note))
    rows.append(("  bytes.count in eight shifts", plain, "Mbit/s, without errors, one polarity"))
    rows.append(("  np.correlate", summed, "Mbit/s, 2 errors, both polarities"))
    return rows


def cadu_intake(data: bytes) -> int:
    """Feed a link of CADUs a link's reads; returns the packets found."""
    cadus = CaduFormat(SyncSettings(LINK_CODE.codeblock_octets), "short", LINK_CODE)
    made = make_intake(LinkFormat(1, frame_format(), 1, cadus=cadus))
    batches = [made.feed(data[at : at + CHUNK], 1) for at in range(0, len(data), CHUNK)]
    return sum(batch.counters.get("packets", 0) for batch in [*batches, made.finish(1)])


def measure_intake(folder: Path) -> list[tuple[str, float, str]]:
    """Return rows (what, frames per second, note)."""
    plain = recording(folder)
    frames = np.frombuffer(plain, np.uint8).reshape(FRAMES, LINK_CODE.frame_octets)
    sent = LINK_CODE.encode(frames)
    bare = FRAMES / best(lambda: intake(plain, CHUNK))
    rows = []
    for errors, name in ((0, "clean"), (8, "8 errors a word")):
        noisy = derandomise(spoil(sent, errors), "short")
        data = np.concatenate([np.tile(MARKER, (FRAMES, 1)), noisy], axis=1).tobytes()
        packets, expected = cadu_intake(data), intake(plain, CHUNK)
        if packets != expected:
            raise RuntimeError(f"CADU intake: {packets} packets, expected {expected}")
        rate = FRAMES / best(lambda data=data: cadu_intake(data))  # type: ignore[misc]
        bits = rate * 8 * len(data) / FRAMES
        note = f"frames/s to packets, I=5, randomised; {bits / 1e6:,.0f} Mbit/s; {rate / bare:.2f} x the bare frames"
        rows.append((f"CADU intake, {name}", rate, note + "; floor 2,000" * (errors == 0)))
    return rows


def measure(folder: Path) -> list[tuple[str, float, str]]:
    """Return rows (what, rate, note)."""
    rows = measure_intake(folder) + measure_sync()
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
